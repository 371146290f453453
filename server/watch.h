// Watches: clients that are told of changes as they are applied.
//
// A watch is for one key, or for all keys that begin with a prefix. It lives on its client's
// reactor, its home. The reactors that own the shards in question, its owners, are told of it, ask
// each shard's leader how far its log is, wait until the replica here has applied that much, and
// from then on send home what matches; so a watch that has begun misses no write that was asked for
// later. A change is sent when this node's replica applies it, whoever leads.
//
// What this node has no copy of another node keeps (watch_relay.h); to the home it is one more
// owner. Where nobody can be reached who has a copy, the watch waits up to the request timeout.
//
// With a version to begin from, the owner first sends what it has in its history (history.h), which
// has to reach back that far.
//
// Who wants progress hears how far each shard is: at first of all that the watch covers, and then
// about once a second of those that have moved, whatever has changed in them. It goes the way of
// the events and behind those that it stands for, and a shard's version is looked at between two
// entries of its log: so what comes after it begins exactly one version later, even where a flush
// has given many events one version.
//
// Nothing is left out silently. Where events are too many for what carries them (between reactors,
// or to the client), or where the replica takes over another state or is given up, or another node
// that keeps it is lost, the watch ends, and its client hears that it is lost.
//
// Everything here runs on the home's thread; watchers.h is the owners' side.
#ifndef MF_SERVER_WATCH_H
#define MF_SERVER_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/event.h"

struct mf_reactor;

struct mf_watch_want {
    bool by_prefix;
    struct mf_bytes pattern;
    uint32_t events; // a set of them
    bool one_shard;  // all that matches is in `shard`
    uint32_t shard;
    const uint32_t *shards; // those that are meant, ascending; shard_count 0: every one
    uint32_t shard_count;
    const struct mf_shard_version *froms; // events of shards not named here begin now
    uint32_t from_count;
    bool progress; // tell how far it is
};

// How a watch speaks to its client. None of these may call mf_watch_end for the watch itself.
struct mf_watch_sink {
    // Once, and first: MF_OK and its id, or why there is no watch. It is gone then.
    void (*begun)(void *arg, uint64_t id, enum mf_err err, const char *message);
    // False: the client cannot take any more, and the watch is lost.
    bool (*event)(void *arg, uint64_t id, const struct mf_event *event);
    // Every event of these shards up to and including these versions has been told. The same. NULL
    // where no progress is wanted.
    bool (*progress)(void *arg, uint64_t id, const struct mf_shard_version *versions,
                     uint32_t count);
    // It has ended, because it would have had to leave something out.
    void (*lost)(void *arg, uint64_t id);
};

struct mf_watches; // of one reactor
struct mf_watches *mf_watches_new(void);
void mf_watches_free(struct mf_watches *watches); // they have all ended

// Copies `want`. Returns the watch's id, which is unique on this reactor; `begun` is called later.
// It counts among the node's watches as long as it is there.
uint64_t mf_watch_begin(struct mf_reactor *reactor, const struct mf_watch_want *want,
                        const struct mf_watch_sink *sink, void *arg);
// Ends it without a word. False when there is no such watch of `arg`.
bool mf_watch_end(struct mf_reactor *reactor, uint64_t id, const void *arg);
// Every few tens of milliseconds: looks whether somebody can keep what nobody could.
void mf_watches_tick(struct mf_reactor *reactor);

#endif
