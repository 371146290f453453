// A small seeded generator (SplitMix64) for jitter and tests, and the system's entropy for secrets.
#ifndef MF_BASE_RAND_H
#define MF_BASE_RAND_H

#include <stddef.h>
#include <stdint.h>

struct mf_rand {
    uint64_t state;
};

// The next 64 bits. Not for secrets.
uint64_t mf_rand_next(struct mf_rand *rand);

// Uniform enough in [0, bound) for bound far below 2^64; 0 for bound 0.
uint64_t mf_rand_below(struct mf_rand *rand, uint64_t bound);

// Fills from getrandom(2); aborts the process if the kernel has no entropy to give.
void mf_entropy(void *out, size_t len);

#endif
