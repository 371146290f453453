// The roster: which nodes the cluster has, where they are, and on which of them each shard is to
// have its copies.
//
// Every change of it is a new version, made from the one before by one of the functions below and
// put into the log of shard 0 (MF_OP_ROSTER), which takes only the successor of what it has: so
// versions are a sequence that all nodes agree on. Version 1 is what the nodes' configurations say,
// and is in no log. Each node keeps the newest that it has heard of, and hands it on
// (server/membership.h).
//
// It is a wish and an address book, never an authority: who votes in a group is in the group's own
// log. A node that acts by an old roster can cost time, and nothing else.
//
// Places are stored, not computed, so that a change moves no more copies than it must: the first of
// a shard's places is the node that is to lead it.
//
// Pure. A roster never changes once it is made; references are counted and may be passed between
// threads.
#ifndef MF_SERVER_ROSTER_H
#define MF_SERVER_ROSTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "server/config.h"

#define MF_ROSTER_PEER_BYTES 300
#define MF_ROSTER_BYTES_MAX (200u * 1024u)

struct mf_roster_node {
    uint16_t id;
    bool leaving;                    // it is to have no copy, and then to be dropped
    char peer[MF_ROSTER_PEER_BYTES]; // "host:port"
};

struct mf_roster {
    uint64_t version;  // from 1
    uint64_t identity; // of the cluster: random, from version 2 on; 0 before
    uint64_t genesis;  // of the snapshot that the cluster began with; 0 = none
    uint32_t shards;
    uint32_t replicas; // wanted copies of a shard
    uint32_t copies;   // of them possible: not more than nodes that stay
    uint32_t first_count;
    uint16_t first[MF_NODES_MAX]; // the nodes that formed the cluster, ascending
    uint32_t count;
    struct mf_roster_node nodes[MF_NODES_MAX]; // ascending by id
    uint16_t *places;                          // node ids, `copies` for each shard
    _Atomic uint32_t references;
};

// Version 1. nodes: ascending by id.
struct mf_roster *mf_roster_new(const struct mf_config_node *nodes, uint32_t count, uint32_t shards,
                                uint32_t replicas, uint64_t genesis);
const struct mf_roster *mf_roster_ref(const struct mf_roster *roster);
void mf_roster_unref(const struct mf_roster *roster); // NULL is fine

void mf_roster_encode(const struct mf_roster *roster, struct mf_buf *out);
// MF_CORRUPT for anything that encode would not have written.
MF_MUST_USE enum mf_err mf_roster_decode(struct mf_bytes bytes, struct mf_roster **out);

// The node's index, or -1.
int mf_roster_find(const struct mf_roster *roster, uint16_t id);
// The shard's `copies` places; the first is to lead.
const uint16_t *mf_roster_places(const struct mf_roster *roster, uint32_t shard);
bool mf_roster_has_place(const struct mf_roster *roster, uint32_t shard, uint16_t id);
// The places with which the cluster was formed, whatever became of them: shard s is on the first
// members s, s + 1, ... modulo their number. Fills ids (MF_VOTERS_MAX); returns how many.
uint32_t mf_roster_first_places(const struct mf_roster *roster, uint32_t shard, uint16_t *ids);

// The successors. The node must fit: add one that is not there, of at most MF_NODES_MAX; leave one
// that is there and does not leave, and not the last; drop one that leaves. random: the identity,
// where there is none yet. peer: "host:port".
struct mf_roster *mf_roster_add(const struct mf_roster *roster, uint16_t id, const char *peer,
                                uint64_t random);
struct mf_roster *mf_roster_leave(const struct mf_roster *roster, uint16_t id, uint64_t random);
struct mf_roster *mf_roster_drop(const struct mf_roster *roster, uint16_t id);

#endif
