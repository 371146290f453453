// The buckets of the latency histogram; see hist.h.
//
// Values below 64 have a bucket each. Above, a value's leading bit picks one of 58 rows and the six
// bits after it one of 64 columns, so a bucket is never wider than 1/64 of the values in it.
#include "base/hist.h"

#include <stddef.h>

#define SUB_BUCKETS (UINT64_C(1) << MF_HIST_SUB_BITS)

static size_t bucket_of(uint64_t value)
{
    if (value < SUB_BUCKETS)
        return (size_t)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - MF_HIST_SUB_BITS;
    uint64_t column = (value >> shift) - SUB_BUCKETS;
    return (size_t)(((shift + 1) << MF_HIST_SUB_BITS) + column);
}

static uint64_t upper_bound(size_t bucket)
{
    if (bucket < SUB_BUCKETS)
        return bucket;
    unsigned shift = (unsigned)(bucket >> MF_HIST_SUB_BITS) - 1;
    uint64_t column = bucket & (SUB_BUCKETS - 1);
    uint64_t lower = (SUB_BUCKETS + column) << shift;
    return lower + ((UINT64_C(1) << shift) - 1);
}

void mf_hist_add(struct mf_hist *hist, uint64_t value)
{
    hist->count++;
    hist->sum += value;
    if (value > hist->max)
        hist->max = value;
    hist->buckets[bucket_of(value)]++;
}

void mf_hist_merge(struct mf_hist *into, const struct mf_hist *from)
{
    into->count += from->count;
    into->sum += from->sum;
    if (from->max > into->max)
        into->max = from->max;
    for (size_t i = 0; i < MF_HIST_BUCKETS; i++)
        into->buckets[i] += from->buckets[i];
}

// How many values must be at or below the answer: at least 1, at most all of them.
static uint64_t rank_of(uint64_t count, double percent)
{
    if (!(percent > 0))
        return 1;
    if (percent >= 100)
        return count;
    double exact = percent / 100 * (double)count;
    uint64_t rank = (uint64_t)exact;
    // Rounds up, but not for the last bits of a product such as 99.9 / 100 * 1000.
    if (exact - (double)rank > exact * 1e-12)
        rank++;
    if (rank < 1)
        return 1;
    return rank < count ? rank : count;
}

uint64_t mf_hist_percentile(const struct mf_hist *hist, double percent)
{
    if (hist->count == 0)
        return 0;
    uint64_t rank = rank_of(hist->count, percent);
    uint64_t seen = 0;
    for (size_t i = 0; i < MF_HIST_BUCKETS; i++) {
        seen += hist->buckets[i];
        if (seen >= rank)
            return upper_bound(i) < hist->max ? upper_bound(i) : hist->max;
    }
    return hist->max;
}
