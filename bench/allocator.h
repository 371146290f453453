// The allocator of a benchmark: jemalloc, but for sanitizers, which bring their own.
#ifndef MF_BENCH_ALLOCATOR_H
#define MF_BENCH_ALLOCATOR_H

#include <stdbool.h>
#include <stddef.h>

#ifdef MF_HAVE_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif

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
