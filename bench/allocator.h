// The memory of a benchmark: what its process takes, and its allocator, which is jemalloc but for
// sanitizers, which bring their own.
#ifndef MF_BENCH_ALLOCATOR_H
#define MF_BENCH_ALLOCATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#ifdef MF_HAVE_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif

// 0 where the system does not tell.
static inline uint64_t bench_resident_bytes(void)
{
    unsigned long long total = 0;
    unsigned long long resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL || fscanf(file, "%llu %llu", &total, &resident) != 2)
        resident = 0;
    if (file != NULL)
        fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

// Gives what has been freed back to the system, as jemalloc does by itself after some seconds.
static inline void bench_purge(void)
{
#ifdef MF_HAVE_JEMALLOC
    bool done = mallctl("thread.tcache.flush", NULL, NULL, NULL, 0) == 0 &&
                mallctl("arena.4096.purge", NULL, NULL, NULL, 0) == 0; // MALLCTL_ARENAS_ALL
    (void)done;
#endif
}

#endif
