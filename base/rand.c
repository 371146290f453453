// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
#include "base/rand.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

uint64_t mf_rand_next(struct mf_rand *rand)
{
    uint64_t z = (rand->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t mf_rand_below(struct mf_rand *rand, uint64_t bound)
{
    return bound == 0 ? 0 : mf_rand_next(rand) % bound;
}

void mf_entropy(void *out, size_t len)
{
    unsigned char *at = out;
    while (len > 0) {
        ssize_t got = getrandom(at, len, 0);
        if (got <= 0) {
            perror("mayfly: getrandom");
            abort();
        }
        at += got;
        len -= (size_t)got;
    }
}
