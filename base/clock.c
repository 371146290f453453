// System clocks; see clock.h.
#include "base/clock.h"

#include <time.h>

static uint64_t read_us(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

uint64_t mf_mono_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

uint64_t mf_thread_cpu_us(void)
{
    return read_us(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t mf_wall_us(void)
{
    return read_us(CLOCK_REALTIME);
}
