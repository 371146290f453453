// A picture of a run: latency by percentile, and requests a second over time; drawn by gnuplot.
#ifndef MF_BENCH_LOAD_PLOT_H
#define MF_BENCH_LOAD_PLOT_H

#include "bench/load/report.h"

// Whether there is a gnuplot on the path.
bool load_plot_is_possible(void);
// Writes plan->plot; false with a message on stderr.
bool load_plot(const struct load_plan *plan, const struct load_report *report);

#endif
