// What mayfly-bench sees while its threads put load on: how many answers came when, and the
// processor time that they took, here and in the server's processes.
#ifndef MF_BENCH_LOAD_OBSERVE_H
#define MF_BENCH_LOAD_OBSERVE_H

#include "bench/load/worker.h"

struct load_observed {
    uint64_t step_us;
    uint64_t *answers; // in each step from the beginning of the warm-up; to be freed
    size_t step_count;
    // Of the time that is measured.
    uint64_t answered;
    uint64_t own_cpu_ns;
    uint64_t server_cpu_ns;
    bool server_cpu_known; // the plan names processes, and they were there all the time
};

// The processor time of a process, user and system, of all threads that it has now. False when
// there is no such process, or nothing that tells.
bool load_cpu_ns(uint32_t pid, uint64_t *ns);

// Follows the run to its end, with a line a second on stderr where the plan says so.
void load_observe(const struct load_run *run, struct load_worker *workers,
                  struct load_observed *observed);

#endif
