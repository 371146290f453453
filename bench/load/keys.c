// Distributions of keys; see keys.h.
#include "bench/load/keys.h"

#include <math.h>

#define THETA 0.99
#define HOT_PART 100 // one key in so many is hot ...
#define HOT_TIMES 90 // ... and gets so many of a hundred requests

static double zeta(uint64_t count)
{
    double sum = 0;
    for (uint64_t i = 1; i <= count; i++)
        sum += pow((double)i, -THETA);
    return sum;
}

void load_keys_init(struct load_keys *keys, enum load_distribution distribution, uint64_t count)
{
    *keys = (struct load_keys){.distribution = distribution, .count = count};
    if (distribution != LOAD_ZIPF)
        return;
    keys->zeta = zeta(count);
    keys->half = 1 + pow(0.5, THETA);
    keys->eta = (1 - pow(2.0 / (double)count, 1 - THETA)) / (1 - zeta(2) / keys->zeta);
}

static double fraction(struct mf_rand *rand)
{
    return (double)(mf_rand_next(rand) >> 11) * 0x1p-53;
}

// 0 is the most frequent.
static uint64_t zipf_rank(const struct load_keys *keys, struct mf_rand *rand)
{
    double u = fraction(rand);
    double scaled = u * keys->zeta;
    if (scaled < 1 || keys->count == 1)
        return 0;
    if (scaled < keys->half)
        return 1;
    double rank = (double)keys->count * pow(keys->eta * u - keys->eta + 1, 1 / (1 - THETA));
    uint64_t whole = (uint64_t)rank;
    return whole < keys->count ? whole : keys->count - 1;
}

uint64_t load_keys_next(const struct load_keys *keys, struct mf_rand *rand)
{
    if (keys->distribution == LOAD_ZIPF) {
        // Spread, so that neighbours in rank are not neighbours in anything else.
        struct mf_rand spread = {zipf_rank(keys, rand)};
        return mf_rand_below(&spread, keys->count);
    }
    uint64_t hot = keys->count / HOT_PART;
    if (keys->distribution == LOAD_HOT && hot > 0) {
        if (mf_rand_below(rand, 100) < HOT_TIMES)
            return mf_rand_below(rand, hot);
        return hot + mf_rand_below(rand, keys->count - hot);
    }
    return mf_rand_below(rand, keys->count);
}
