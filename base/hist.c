// The buckets of the latency histogram; see hist.h.
//
// Values below 64 have a bucket each. Above, a value's leading bit picks one of 58 rows and the six
// bits after it one of 64 columns, so a bucket is never wider than 1/64 of the values in it.
#include "base/hist.h"

#include <stddef.h>

uint64_t mf_hist_bucket_max(uint32_t bucket, uint32_t bits)
{
    uint64_t columns = UINT64_C(1) << bits;
    if (bucket < columns)
        return bucket;
    uint32_t shift = (bucket >> bits) - 1;
    uint64_t lower = (columns + (bucket & (columns - 1))) << shift;
    return lower + ((UINT64_C(1) << shift) - 1);
}

void mf_hist_add(struct mf_hist *hist, uint64_t value)
{
    hist->count++;
    hist->sum += value;
    if (value > hist->max)
        hist->max = value;
    hist->buckets[mf_hist_bucket_of(value, MF_HIST_SUB_BITS)]++;
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

uint64_t mf_hist_rank(uint64_t count, double percent)
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
    uint64_t rank = mf_hist_rank(hist->count, percent);
    uint64_t seen = 0;
    for (uint32_t i = 0; i < MF_HIST_BUCKETS; i++) {
        uint64_t bound = mf_hist_bucket_max(i, MF_HIST_SUB_BITS);
        seen += hist->buckets[i];
        if (seen >= rank)
            return bound < hist->max ? bound : hist->max;
    }
    return hist->max;
}
