// A scan over the map that keeps nothing between its steps; see mf_map_scan in map.h.
//
// A bucket has the hashes that agree in certain low bits. With the bits of every hash turned round
// these are the high ones, so a bucket is a piece of the line of numbers from 0 to 2^64, and the
// buckets of a table of any size cut the same line (the scan of Redis's dictionary, for a table
// that grows by single buckets). A scan goes along that line. Where it stands means the same in
// every table and, with the same seed, in every map: all that lies before has been visited. In a
// table that has shrunk meanwhile the position may lie within a bucket's piece; what is before it
// there is passed over.
#include <assert.h>

#include "shards/map.h"
#include "shards/map_internal.h"

// Buckets that are passed for nothing; a table that has become too large is walked in many steps.
#define EMPTY_BUCKETS_MAX 64u

struct scan {
    const struct mf_map *map;
    uint64_t position;
    void (*visit)(void *arg, struct mf_entry *entry);
    void *arg;
    size_t visited;
};

static uint64_t turn_round(uint64_t bits)
{
    const uint64_t ones = UINT64_C(0x5555555555555555);
    const uint64_t twos = UINT64_C(0x3333333333333333);
    const uint64_t fours = UINT64_C(0x0f0f0f0f0f0f0f0f);
    bits = (bits >> 1 & ones) | (bits & ones) << 1;
    bits = (bits >> 2 & twos) | (bits & twos) << 2;
    bits = (bits >> 4 & fours) | (bits & fours) << 4;
    return __builtin_bswap64(bits);
}

// Relaxed, here and below: the writer reads what it stored itself.
static const struct mf_bucket *bucket_at(const struct mf_map *map, uint64_t index)
{
    const struct mf_directory *directory =
        atomic_load_explicit(&map->directory, memory_order_relaxed);
    const struct mf_bucket *first =
        atomic_load_explicit(&directory->segments[mf_map_segment(index)], memory_order_relaxed);
    return first + mf_map_offset(index);
}

// How many low bits all hashes of this hash's bucket have in common: see mf_map_index. Where the
// bucket that would share them is not there yet, one less.
static unsigned common_bits(uint64_t hash, uint64_t buckets)
{
    unsigned bits = 64u - (unsigned)__builtin_clzll(buckets - 1);
    uint64_t half = UINT64_C(1) << (bits - 1);
    return ((hash & (half - 1)) | half) < buckets ? bits : bits - 1;
}

static void scan_bucket(struct scan *scan, const struct mf_bucket *bucket, bool all)
{
    for (; bucket != NULL; bucket = mf_bucket_next(bucket)) {
        unsigned used = mf_bucket_used(atomic_load_explicit(&bucket->word, memory_order_relaxed));
        for (; used != 0; used &= used - 1) {
            struct mf_entry *entry = mf_bucket_entry(bucket, (unsigned)__builtin_ctz(used));
            uint64_t hash = all ? 0 : mf_map_hash(scan->map, mf_entry_key(entry));
            if (!all && turn_round(hash) < scan->position)
                continue;
            scan->visit(scan->arg, entry);
            scan->visited++;
        }
    }
}

uint64_t mf_map_scan(const struct mf_map *map, uint64_t position, size_t entries_min,
                     void (*visit)(void *arg, struct mf_entry *entry), void *arg)
{
    uint64_t buckets = atomic_load_explicit(&map->buckets, memory_order_relaxed);
    assert(buckets <= UINT64_C(1) << MF_MAP_SCAN_BITS);
    struct scan scan = {.map = map, .position = position, .visit = visit, .arg = arg};
    size_t steps_left =
        entries_min < SIZE_MAX - EMPTY_BUCKETS_MAX ? entries_min + EMPTY_BUCKETS_MAX : SIZE_MAX;
    do {
        uint64_t hash = turn_round(scan.position);
        unsigned shift = 64u - common_bits(hash, buckets);
        bool at_its_start = (scan.position & ((UINT64_C(1) << shift) - 1)) == 0;
        scan_bucket(&scan, bucket_at(map, mf_map_index(hash, buckets)), at_its_start);
        scan.position = ((scan.position >> shift) + 1) << shift;
    } while (scan.position != 0 && scan.visited < entries_min && --steps_left > 0);
    return scan.position;
}
