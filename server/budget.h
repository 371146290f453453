// How much memory the shards of a node may take together, and what each takes of it.
//
// What counts is the shards' state: keys, values, remembered ids, tables and heaps, in the
// allocator's sizes (struct mf_shard_memory); beside it what the writes that are on their way may
// still add. Logs and buffers do not count: no eviction would make them smaller.
//
// Only leaders look at it, and only before they propose: whatever is chosen is applied everywhere.
// A leader admits a write that may grow (mf_op_grows) while it fits. At the limit it refuses it,
// or, where a policy has something to evict, lets it wait until there is room. So that this is
// rare, eviction begins a little before the limit: fifty times a second each leader is given its
// part of what is too much, by its part of the keys. Writes that only carry an id, a DEL say, may
// go on a little above the limit, and those that need nothing always.
//
// The limit and the policy may change while the node runs (server/resp_config.c). Whoever sets them
// then visits every reactor, and each of its replicas readies its shard
// (mf_replica_budget_changed).
//
// Threads: any replica's, by atomics. All relaxed: each is a reading of its own, and one that is a
// little old lets in a batch too much.
#ifndef MF_SERVER_BUDGET_H
#define MF_SERVER_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "shards/evict.h"

struct mf_budget {
    _Atomic uint64_t bytes_max; // 0: no limit
    _Atomic uint32_t eviction;  // an enum mf_eviction
    _Atomic bool counts;        // there is a limit, or was: what is used is told
    _Atomic uint64_t used;      // by the shards' state
    _Atomic uint64_t pending;   // what proposed writes may add
    _Atomic uint64_t waiting;   // what those may add that wait for room
    _Atomic uint64_t evicting;  // what leaders here are about to evict
    _Atomic uint64_t evictable; // keys that they could evict
};

// What one replica has told the budget; all zero before the first time.
struct mf_budget_share {
    uint64_t used;
    uint64_t pending;
    uint64_t waiting;
    uint64_t evicting;
    uint64_t evictable;
};

// Any thread. Replicas that are there have yet to hear of it.
void mf_budget_set_max(struct mf_budget *budget, uint64_t bytes_max);
void mf_budget_set_eviction(struct mf_budget *budget, enum mf_eviction eviction);
// What shards have to be ready for: without a limit nothing is evicted.
enum mf_eviction mf_budget_eviction(const struct mf_budget *budget);

// Takes the place of what the replica told before.
void mf_budget_report(struct mf_budget *budget, struct mf_budget_share *share,
                      struct mf_budget_share now);

enum mf_admission {
    MF_ADMIT,
    MF_ADMIT_LATER, // something is being evicted
    MF_ADMIT_NEVER, // OUT_OF_MEMORY
};
// Whether a write that needs `growth` bytes may be proposed now. grows: as mf_op_grows has it; else
// the growth is its id's.
enum mf_admission mf_budget_admit(const struct mf_budget *budget, bool grows, uint64_t growth);
// Bytes to evict, beside those that will be anyhow, so that what waits fits with some to spare; 0
// when there is nothing to do.
uint64_t mf_budget_excess(const struct mf_budget *budget);

#endif
