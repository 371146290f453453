// A latency histogram with bounded relative error: 64 sub-buckets for every power of two, as
// HdrHistogram (Gil Tene) lays them out. Recording is a few instructions and allocates nothing.
// One thread writes; merge copies for a total.
#ifndef MF_BASE_HIST_H
#define MF_BASE_HIST_H

#include <stdint.h>

#define MF_HIST_SUB_BITS 6
#define MF_HIST_BUCKETS ((64 - MF_HIST_SUB_BITS + 1) << MF_HIST_SUB_BITS)

struct mf_hist {
    uint64_t count;
    uint64_t sum;
    uint64_t max;
    uint64_t buckets[MF_HIST_BUCKETS];
};

// The layout, for histograms of another size: 2^bits sub-buckets for every power of two. Values
// below 2^bits have a bucket each.
static inline uint32_t mf_hist_bucket_of(uint64_t value, uint32_t bits)
{
    if (value >> bits == 0)
        return (uint32_t)value;
    uint32_t shift = 63u - (uint32_t)__builtin_clzll(value) - bits;
    return (shift << bits) + (uint32_t)(value >> shift);
}
// The highest value of a bucket.
uint64_t mf_hist_bucket_max(uint32_t bucket, uint32_t bits);

// Adds one value, in whatever unit the owner chose.
void mf_hist_add(struct mf_hist *hist, uint64_t value);
void mf_hist_merge(struct mf_hist *into, const struct mf_hist *from);

// The smallest recorded bucket's upper bound that `percent` (0..100) of the values do not exceed;
// never above the true maximum; 0 when empty. Error at most 1/64 of the value.
uint64_t mf_hist_percentile(const struct mf_hist *hist, double percent);
// How many of `count` values (at least 1) must be at or below the answer for `percent` of them.
uint64_t mf_hist_rank(uint64_t count, double percent);

#endif
