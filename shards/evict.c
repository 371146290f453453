// Choosing what to evict; see evict.h.
#include "shards/evict.h"

#include <endian.h>
#include <string.h>

#include "base/hash.h"
#include "shards/shard_internal.h"

// Samples that found nothing, in a table that is nearly empty, before the choice is given up.
#define MISSES_MAX 32u

_Static_assert(MF_VICTIMS_MAX <= MF_HEAP_FIRST_MAX, "the heap can name as many");

void mf_shard_set_eviction(struct mf_shard *shard, enum mf_eviction eviction)
{
    shard->eviction = eviction;
    mf_map_track_use(shard->keys, eviction == MF_EVICT_ALLKEYS_LRU);
}

uint64_t mf_shard_evictable(const struct mf_shard *shard)
{
    switch (shard->eviction) {
    case MF_EVICT_VOLATILE_TTL:
        return shard->heap.count;
    case MF_EVICT_ALLKEYS_LRU:
        return mf_map_count(shard->keys);
    case MF_EVICT_NONE:
        break;
    }
    return 0;
}

static void add(struct mf_victims *victims, const struct mf_entry *entry)
{
    uint32_t n = victims->command.item_count++;
    uint64_t version = htole64(mf_entry_version(entry));
    memcpy(victims->versions[n], &version, sizeof(version));
    victims->items[n].key = mf_entry_key(entry);
    victims->items[n].value = mf_bytes_of(victims->versions[n], sizeof(version));
    victims->bytes += mf_entry_bytes(entry);
}

static void choose_next_to_die(const struct mf_shard *shard, uint64_t bytes,
                               struct mf_victims *victims)
{
    struct mf_heap_node *nodes[MF_VICTIMS_MAX];
    uint32_t count = mf_heap_first(&shard->heap, UINT64_MAX, nodes, MF_VICTIMS_MAX);
    for (uint32_t i = 0; i < count && victims->bytes < bytes; i++)
        add(victims, mf_entry_of_node(nodes[i]));
}

// A sample may come upon a key again when the table is small; it is then named twice, and dropped
// once.
static void choose_unused(struct mf_shard *shard, uint64_t bytes, uint64_t random,
                          struct mf_victims *victims)
{
    uint32_t misses = 0;
    while (victims->bytes < bytes && victims->command.item_count < MF_VICTIMS_MAX &&
           misses < MISSES_MAX) {
        random = mf_hash_mix(random, victims->command.item_count + misses);
        const struct mf_entry *entry = mf_map_sample_oldest(shard->keys, random);
        if (entry != NULL)
            add(victims, entry);
        else
            misses++;
    }
}

void mf_shard_choose_victims(struct mf_shard *shard, uint64_t bytes, uint64_t random,
                             struct mf_victims *victims)
{
    victims->command = (struct mf_command){.op = MF_OP_EVICT, .items = victims->items};
    victims->bytes = 0;
    if (shard->eviction == MF_EVICT_VOLATILE_TTL)
        choose_next_to_die(shard, bytes, victims);
    else if (shard->eviction == MF_EVICT_ALLKEYS_LRU)
        choose_unused(shard, bytes, random, victims);
}
