// A scan over the map that needs nothing kept between its steps; see mf_map_scan in map.h.
//
// A bucket holds the keys whose hashes agree in their low bits, so with the bits of every hash in
// reverse a bucket is an interval, and the buckets of a table of any size cut the same line of
// numbers into intervals (the scan of Redis's dictionary, by Pieter Noordhuis, for tables that
// double; here for one that grows by single buckets). A position on that line means the same in
// every table: all that lies before it has been visited. A table that has shrunk since may have an
// interval around the position; then part of it is visited twice, and never is a part left out.
#include "shards/map.h"

#include "shards/map_internal.h"

static uint64_t reverse_bits(uint64_t bits)
{
    const uint64_t ones = UINT64_C(0x5555555555555555);
    const uint64_t twos = UINT64_C(0x3333333333333333);
    const uint64_t fours = UINT64_C(0x0f0f0f0f0f0f0f0f);
    bits = (bits >> 1 & ones) | (bits & ones) << 1;
    bits = (bits >> 2 & twos) | (bits & twos) << 2;
    bits = (bits >> 4 & fours) | (bits & fours) << 4;
    return __builtin_bswap64(bits);
}

static const struct mf_bucket *bucket_at(const struct mf_map *map, uint64_t index)
{
    // Relaxed, here and below: the writer reads what it stored itself.
    const struct mf_directory *directory =
        atomic_load_explicit(&map->directory, memory_order_relaxed);
    const struct mf_bucket *first =
        atomic_load_explicit(&directory->segments[mf_map_segment(index)], memory_order_relaxed);
    return first + mf_map_offset(index);
}

static size_t visit_chain(const struct mf_bucket *bucket,
                          void (*visit)(void *arg, struct mf_entry *entry), void *arg)
{
    size_t visited = 0;
    for (; bucket != NULL; bucket = mf_bucket_next(bucket)) {
        unsigned used = mf_bucket_used(atomic_load_explicit(&bucket->word, memory_order_relaxed));
        for (; used != 0; used &= used - 1, visited++)
            visit(arg, mf_bucket_entry(bucket, (unsigned)__builtin_ctz(used)));
    }
    return visited;
}

uint64_t mf_map_scan(const struct mf_map *map, uint64_t position, size_t entries_min,
                     void (*visit)(void *arg, struct mf_entry *entry), void *arg)
{
    uint64_t buckets = atomic_load_explicit(&map->buckets, memory_order_relaxed);
    unsigned bits_max = 64u - (unsigned)__builtin_clzll(buckets - 1);
    size_t visited = 0;
    do {
        uint64_t hash = reverse_bits(position);
        visited += visit_chain(bucket_at(map, mf_map_index(hash, buckets)), visit, arg);
        // The bits that all hashes of this bucket have in common: see mf_map_index.
        uint64_t half = UINT64_C(1) << (bits_max - 1);
        bool split = ((hash & (half - 1)) | half) < buckets;
        unsigned shift = 64u - (split ? bits_max : bits_max - 1);
        position = ((position >> shift) + 1) << shift;
    } while (position != 0 && visited < entries_min);
    return position;
}
