// What map.c (the table and its writer), map_rest.c (tables that were taken out) and map_read.c
// (readers and reclamation) share.
//
// The table is an array of segments: 4 buckets, 4, 8, 16 ... 256, and from there on 512 each. So an
// empty shard costs 256 bytes, and growth allocates 32 KB at a time and copies nothing but the
// directory of segments, one pointer for 512 buckets. Its successor is filled while it fills up, so
// that no step of growth is larger in a larger table.
//
// Shared between threads: moves (in chains), buckets, directory and its segments, the buckets, age,
// seed and count. The writer alone stores to them, but for the ages in the buckets.
#ifndef MF_SHARDS_MAP_INTERNAL_H
#define MF_SHARDS_MAP_INTERNAL_H

#include <ck_epoch.h>
#include <stdatomic.h>

#include "base/hash.h"
#include "shards/map.h"
#include "shards/map_bucket.h"

#define MF_SEGMENT_FIRST 4u                    // buckets of the first segment
#define MF_SEGMENT_BITS 9u                     // of a full-sized one
#define MF_SEGMENT_SMALL (MF_SEGMENT_BITS - 1) // number of segments that are smaller

struct mf_directory {
    size_t cap;
    _Atomic(struct mf_bucket *) segments[];
};

// Memory that readers may still hold, gathered to be handed to the epoch as one.
#define MF_LIMBO_ITEMS 61u
struct mf_limbo {
    ck_epoch_entry_t epoch;
    struct mf_map *map;
    size_t count;
    uintptr_t items[MF_LIMBO_ITEMS]; // address, plus one when it is not an entry
};

struct mf_map {
    // Readers start here.
    struct mf_chain_owner chains; // with the count of moves
    _Atomic uint64_t buckets;     // in use; at least MF_SEGMENT_FIRST
    _Atomic(struct mf_directory *) directory;
    _Atomic uint16_t age;  // what is used now gets this age; 0 = use is not tracked
    _Atomic uint64_t seed; // relaxed: see mf_map_reseed
    ck_epoch_t epoch;
    // The writer's own, but for count.
    _Atomic size_t count CK_CC_CACHELINE;
    size_t entry_bytes;
    size_t waiting_bytes; // of entries that readers may still hold, and of rests
    size_t rests;         // how many
    size_t segment_bytes;
    struct mf_directory *next_directory; // being filled, to come when this one is full; or NULL
    size_t next_filled;                  // places of it that agree with this one's
    uint64_t work;                       // see mf_map_work
    size_t aged;                         // insertions since the age was raised
    bool hold_shrink;
    bool unshared;          // see mf_map_unshare
    struct mf_limbo *limbo; // the one being filled, or NULL
    struct mf_limbo *spare; // an empty one, or NULL
    ck_epoch_record_t record;
};

static inline uint64_t mf_map_hash(const struct mf_map *map, struct mf_bytes key)
{
    return mf_hash64(key, atomic_load_explicit(&map->seed, memory_order_relaxed));
}

// A key's hash gives the bucket by its low bits and the tag by its top byte.
static inline uint8_t mf_map_tag(uint64_t hash)
{
    return (uint8_t)(hash >> 56);
}

// Linear hashing: with 2^k >= buckets > 2^(k-1), the low k bits, or one bit less for those buckets
// that are not there yet.
static inline uint64_t mf_map_index(uint64_t hash, uint64_t buckets)
{
    uint64_t mask = UINT64_MAX >> __builtin_clzll(buckets - 1);
    uint64_t index = hash & mask;
    return index < buckets ? index : index & mask >> 1;
}

static inline size_t mf_map_segment(uint64_t index)
{
    if (index < MF_SEGMENT_FIRST)
        return 0;
    if (index >> MF_SEGMENT_BITS == 0)
        return 62u - (unsigned)__builtin_clzll(index);
    return MF_SEGMENT_SMALL - 1 + (size_t)(index >> MF_SEGMENT_BITS);
}

static inline size_t mf_map_offset(uint64_t index)
{
    if (index < MF_SEGMENT_FIRST)
        return (size_t)index;
    if (index >> MF_SEGMENT_BITS == 0)
        return (size_t)(index ^ UINT64_C(1) << (63 - __builtin_clzll(index)));
    return (size_t)(index & ((1u << MF_SEGMENT_BITS) - 1));
}

// Writer.
static inline uint64_t mf_map_bucket_count(const struct mf_map *map)
{
    return atomic_load_explicit(&map->buckets, memory_order_relaxed);
}

static inline struct mf_directory *mf_map_directory(const struct mf_map *map)
{
    return atomic_load_explicit(&map->directory, memory_order_relaxed);
}

static inline struct mf_bucket *mf_map_bucket_at(const struct mf_map *map, uint64_t index)
{
    struct mf_bucket *first = atomic_load_explicit(
        &mf_map_directory(map)->segments[mf_map_segment(index)], memory_order_relaxed);
    return first + mf_map_offset(index);
}

static inline uint16_t mf_map_age(const struct mf_map *map)
{
    return atomic_load_explicit(&map->age, memory_order_relaxed);
}

// Writer. Publishes an empty table in the place of the one that is there.
void mf_map_start_table(struct mf_map *map);
// Writer. To be freed once no reader can hold it: an entry, one that waits already (it is of a
// rest), or other memory.
void mf_map_retire_entry(struct mf_map *map, struct mf_entry *entry);
void mf_map_retire_waiting(struct mf_map *map, struct mf_entry *entry);
void mf_map_retire_memory(struct mf_map *map, void *memory);
// Writer. Frees what no reader can hold any more.
void mf_map_poll(struct mf_map *map);
// Writer, no reader inside: frees all that waits, and the readers' records.
void mf_map_reclaim_all(struct mf_map *map);

#endif
