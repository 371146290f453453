// Work that is many alike, on a few threads, while the caller waits and can tell how far it is.
#ifndef MF_BASE_PARALLEL_H
#define MF_BASE_PARALLEL_H

#include <stdint.h>

#include "base/err.h"

struct mf_parallel {
    uint32_t count;   // of the items
    uint32_t threads; // at most as many at a time; 0 or 1: the items run on the caller's thread
                      // unless `waiting` wants it
    // On any of the threads: does item i. Items begin in ascending order.
    enum mf_err (*run)(void *arg, uint32_t i);
    // On the caller's thread, unless NULL: every wait_ms until all is done.
    void (*waiting)(void *arg);
    uint32_t wait_ms;
    void *arg;
};

// Runs all items. At the first that fails no more are begun; those under way end. Returns the error
// of the lowest item that failed and, unless NULL, its number. What the items wrote is visible to
// the caller afterwards. A thread that cannot be started is done without.
MF_MUST_USE enum mf_err mf_parallel_run(const struct mf_parallel *work, uint32_t *failed);

#endif
