// Watches: clients that are told of changes as they are applied.
//
// A watch is for one key, or for all keys that begin with a prefix. It lives on its client's
// reactor, its home. The reactors that own the shards in question, its owners, are told of it, ask
// each shard's leader how far its log is, wait until the replica here has applied that much, and
// from then on send home what matches; so a watch that has begun misses no write that was asked for
// later. A change is sent when this node's replica applies it, whoever leads.
//
// With a version to begin from, the owner first sends what it has in its history (history.h), which
// has to reach back that far.
//
// Nothing is left out silently. Where events are too many for what carries them (between reactors,
// or to the client), or where the replica takes over another state or is given up, the watch ends,
// and its client hears that it is lost.
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

struct mf_watch_from {
    uint32_t shard;
    uint64_t version;
};

struct mf_watch_want {
    bool by_prefix;
    struct mf_bytes pattern;
    uint32_t events; // a set of them
    bool one_shard;  // all that matches is in `shard`
    uint32_t shard;
    const struct mf_watch_from *froms; // events of shards not named here begin now
    uint32_t from_count;
};

// How a watch speaks to its client. None of these may call mf_watch_end for the watch itself.
struct mf_watch_sink {
    // Once, and first: MF_OK and its id, or why there is no watch. It is gone then.
    void (*begun)(void *arg, uint64_t id, enum mf_err err, const char *message);
    // False: the client cannot take any more, and the watch is lost.
    bool (*event)(void *arg, uint64_t id, const struct mf_event *event);
    // It has ended, because it would have had to leave something out.
    void (*lost)(void *arg, uint64_t id);
};

struct mf_watches; // of one reactor
struct mf_watches *mf_watches_new(void);
void mf_watches_free(struct mf_watches *watches); // they have all ended

// Copies `want`. Returns the watch's id, which is unique on this reactor; `begun` is called later.
uint64_t mf_watch_begin(struct mf_reactor *reactor, const struct mf_watch_want *want,
                        const struct mf_watch_sink *sink, void *arg);
// Ends it without a word. False when there is no such watch of `arg`.
bool mf_watch_end(struct mf_reactor *reactor, uint64_t id, const void *arg);

#endif
