// Which key comes next: numbers below a count, by a distribution.
#ifndef MF_BENCH_LOAD_KEYS_H
#define MF_BENCH_LOAD_KEYS_H

#include <stdint.h>

#include "base/rand.h"
#include "bench/load/plan.h"

// Made once, then only read: any thread, each with a generator of its own.
struct load_keys {
    enum load_distribution distribution;
    uint64_t count;
    // Of the Zipf distribution, as Gray and others (SIGMOD 1994) draw from it, and YCSB after them.
    double zeta;
    double eta;
    double half; // what the second rank adds
};

// For a Zipf distribution the time is linear in the count.
void load_keys_init(struct load_keys *keys, enum load_distribution distribution, uint64_t count);
uint64_t load_keys_next(const struct load_keys *keys, struct mf_rand *rand);

#endif
