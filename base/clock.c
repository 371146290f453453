// System clocks; see clock.h.
#include "base/clock.h"

// What the two clocks may be read apart, and how often that is tried.
#define APART_US 20u
#define TRIES 8

static uint64_t read_us(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

uint64_t mf_mono_us(void)
{
    return read_us(CLOCK_BOOTTIME);
}

struct timespec mf_wait_until(uint64_t us)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + us % 1000000 * 1000;
    until.tv_sec += (time_t)(us / 1000000 + ns / 1000000000);
    until.tv_nsec = (long)(ns % 1000000000);
    return until;
}

uint64_t mf_thread_cpu_us(void)
{
    return read_us(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t mf_wall_us(void)
{
    return read_us(CLOCK_REALTIME);
}

void mf_clocks_us(uint64_t *mono_us, uint64_t *wall_us)
{
    uint64_t least_us = UINT64_MAX;
    for (int i = 0; i < TRIES && least_us > APART_US; i++) {
        uint64_t before_us = mf_mono_us();
        uint64_t between_us = mf_wall_us();
        uint64_t apart_us = mf_mono_us() - before_us;
        if (apart_us >= least_us)
            continue;
        least_us = apart_us;
        *mono_us = before_us;
        *wall_us = between_us;
    }
}
