// What a run of mayfly-bench has found, for eyes and for programs.
#ifndef MF_BENCH_LOAD_REPORT_H
#define MF_BENCH_LOAD_REPORT_H

#include "bench/load/observe.h"
#include "bench/load/worker.h"

struct load_report {
    struct load_figures figures; // of all threads
    struct mf_hist all_us;       // of all kinds
    struct load_observed observed;
    bool counted_known; // the counters could be read
};

// No request has failed, no answer was wrong, and the counters hold what was added.
bool load_report_is_fine(const struct load_report *report);
void load_report_print(const struct load_plan *plan, const struct load_report *report);

#endif
