// What goes when memory is full.
//
// The leader of a shard chooses keys by its own memory and its own knowledge of what is used, and
// proposes an EVICT command that names them with their versions. Replicas drop what it names,
// unless it has changed meanwhile; none decides anything by its own memory.
//
// volatile-ttl takes the keys that die next, and none without a TTL; allkeys-lru those that were
// not used for long, by samples. Remembered ids are never evicted: they are a promise.
//
// Threads: the shard's owner.
#ifndef MF_SHARDS_EVICT_H
#define MF_SHARDS_EVICT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/command.h"
#include "shards/shard.h"

enum mf_eviction { MF_EVICT_NONE, MF_EVICT_VOLATILE_TTL, MF_EVICT_ALLKEYS_LRU };

// Readies a shard for the policy: allkeys-lru keeps track of use from now on.
void mf_shard_set_eviction(struct mf_shard *shard, enum mf_eviction eviction);
// How many keys the policy could take.
uint64_t mf_shard_evictable(const struct mf_shard *shard);

// Keys of one EVICT command: bounds what a turn does.
#define MF_VICTIMS_MAX 256u
struct mf_victims {
    struct mf_command command; // its items; views into entries, valid until the next entry
    uint64_t bytes;            // what they take
    struct mf_item items[MF_VICTIMS_MAX];
    uint8_t versions[MF_VICTIMS_MAX][8];
};

// Chooses keys that take at least `bytes` together, if the policy finds that many: at most
// MF_VICTIMS_MAX. None: item_count is 0. `random` is where samples come from.
void mf_shard_choose_victims(struct mf_shard *shard, uint64_t bytes, uint64_t random,
                             struct mf_victims *victims);

#endif
