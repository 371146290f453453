// How fast a count grows just now: the mean of its growth over the last 16 tenths of a second, as
// Redis's instantaneous metrics are. One thread samples, any reads.
#ifndef MF_SERVER_RATE_H
#define MF_SERVER_RATE_H

#include <stdatomic.h>
#include <stdint.h>

#define MF_RATE_SAMPLES 16u
#define MF_RATE_INTERVAL_US UINT64_C(100000)

// All zero is a start.
struct mf_rate {
    uint64_t count;
    uint64_t at_us;                            // when it was that; 0: never yet
    uint32_t next;                             // sample to be written
    _Atomic uint64_t samples[MF_RATE_SAMPLES]; // each a second (relaxed)
};

// What the count is now. Nothing happens before a tenth of a second has gone by; a count that has
// been set back counts on from there.
void mf_rate_sample(struct mf_rate *rate, uint64_t now_us, uint64_t count);
// A second.
uint64_t mf_rate_read(const struct mf_rate *rate);

#endif
