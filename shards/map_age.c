// Which entries were not used for long; see mf_map_track_use.
//
// An entry's age stands in the bits of its slot that an address leaves free. It is the map's age
// when the entry was last used: a find or read stores it only where it differs, so a key in use is
// written to once for each age. To sample takes the buckets alone and touches no entry.
#include "base/hash.h"
#include "shards/map_internal.h"

// Some five entries a bucket.
#define SAMPLE_BUCKETS 3u

void mf_map_track_use(struct mf_map *map, bool on)
{
    if (on != (mf_map_age(map) != 0))
        atomic_store_explicit(&map->age, on, memory_order_relaxed);
}

// The oldest of the entries seen so far.
struct sample {
    uint16_t now;
    uint16_t oldest; // how long ago it was used
    struct mf_bucket_place place;
    uintptr_t slot;
};

static void sample_chain(struct sample *sample, struct mf_bucket *head)
{
    for (struct mf_bucket *bucket = head; bucket != NULL; bucket = mf_bucket_next(bucket)) {
        unsigned used = mf_bucket_used(atomic_load_explicit(&bucket->word, memory_order_relaxed));
        for (; used != 0; used &= used - 1) {
            unsigned i = (unsigned)__builtin_ctz(used);
            uintptr_t slot = mf_bucket_slot(bucket, i);
            uint16_t unused = (uint16_t)(sample->now - mf_slot_age(slot));
            if (sample->place.bucket != NULL && unused <= sample->oldest)
                continue;
            sample->oldest = unused;
            sample->place = (struct mf_bucket_place){bucket, i};
            sample->slot = slot;
        }
    }
}

struct mf_entry *mf_map_sample_oldest(struct mf_map *map, uint64_t random)
{
    struct sample sample = {.now = mf_map_age(map)};
    if (sample.now == 0)
        return NULL;
    for (unsigned i = 0; i < SAMPLE_BUCKETS; i++) {
        uint64_t index = mf_map_index(random, mf_map_bucket_count(map));
        __builtin_prefetch(mf_map_bucket_at(map, index));
        sample_chain(&sample, mf_map_bucket_at(map, index));
        random = mf_hash_mix(random, i);
    }
    if (sample.place.bucket == NULL)
        return NULL;
    mf_slot_touch(&sample.place.bucket->slots[sample.place.slot], sample.slot, sample.now);
    return mf_slot_entry(sample.slot);
}
