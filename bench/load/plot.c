// The picture of a run; see plot.h.
#include "bench/load/plot.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// x is how many requests there are for each that is slower: 1, 10 for p90, 100 for p99.
static const double percents[] = {0,    10,   20,   30,   40,    50,    60,    70,    80,
                                  90,   92,   94,   95,   96,    97,    98,    99,    99.2,
                                  99.4, 99.6, 99.8, 99.9, 99.95, 99.98, 99.99, 99.999};
#define PERCENTS (sizeof(percents) / sizeof(percents[0]))

static const char terminal[] =
    "set terminal svg size 900,760 enhanced font 'sans-serif,13' background 'white'\n";
static const char settings[] =
    "set multiplot layout 2,1\n"
    "set grid\n"
    "set key top left\n"
    "set title 'latency by percentile'\n"
    "set ylabel 'ms'\n"
    "set logscale xy\n"
    "set xrange [1:100000]\n"
    "set xtics ('0' 1, 'p50' 2, 'p90' 10, 'p99' 100, 'p99.9' 1000, 'p99.99' 10000, "
    "'p99.999' 100000)\n";
static const char over_time[] = "set title 'thousands of requests a second'\n"
                                "unset logscale\n"
                                "set xlabel 'seconds; what is negative is the warm-up'\n"
                                "unset ylabel\n"
                                "set xtics autofreq\n"
                                "set xrange [*:*]\n"
                                "set yrange [0:*]\n"
                                "unset key\n"
                                "plot '-' with lines linewidth 2\n";

bool load_plot_is_possible(void)
{
    const char *at = getenv("PATH");
    while (at != NULL && *at != '\0') {
        char path[PATH_MAX];
        size_t len = strcspn(at, ":");
        int written = snprintf(path, sizeof(path), "%.*s/gnuplot", (int)len, at);
        if (written < (int)sizeof(path) && access(path, X_OK) == 0)
            return true;
        at += len + (at[len] == ':');
    }
    return false;
}

static void put_name(FILE *to, const char *name)
{
    fputs("set output '", to);
    for (const char *at = name; *at != '\0'; at++)
        fputs(*at == '\'' ? "''" : (char[]){*at, '\0'}, to);
    fputs("'\n", to);
}

static void put_latencies(FILE *to, const struct load_plan *plan, const struct load_report *report)
{
    const char *between = "plot ";
    for (unsigned i = 0; i < LOAD_KINDS; i++) {
        if (plan->mix[i] > 0)
            fprintf(to, "%s'-' with linespoints linewidth 2 pointsize 0.4 title '%s'", between,
                    load_kind_name((enum load_kind)i));
        between = plan->mix[i] > 0 ? ", " : between;
    }
    fputs("\n", to);
    for (unsigned i = 0; i < LOAD_KINDS; i++) {
        for (size_t k = 0; plan->mix[i] > 0 && k < PERCENTS; k++)
            fprintf(to, "%g %g\n", 100 / (100 - percents[k]),
                    (double)mf_hist_percentile(&report->figures.took_us[i], percents[k]) / 1000);
        if (plan->mix[i] > 0)
            fputs("e\n", to);
    }
}

static void put_steps(FILE *to, const struct load_plan *plan, const struct load_observed *observed)
{
    double step_s = (double)observed->step_us / 1e6;
    fputs(over_time, to);
    for (size_t i = 0; i < observed->step_count; i++)
        fprintf(to, "%g %g\n", ((double)i + 0.5) * step_s - plan->warmup,
                (double)observed->answers[i] / step_s / 1000);
    fputs("e\n", to);
}

bool load_plot(const struct load_plan *plan, const struct load_report *report)
{
    // Nothing of what a user gives is in the command. NOLINTNEXTLINE(cert-env33-c)
    FILE *to = popen("gnuplot", "we");
    bool fine = to != NULL;
    if (fine) {
        fputs(terminal, to);
        put_name(to, plan->plot);
        fputs(settings, to);
        put_latencies(to, plan, report);
        put_steps(to, plan, &report->observed);
        fine = pclose(to) == 0 && access(plan->plot, R_OK) == 0;
    }
    if (!fine)
        fprintf(stderr, "mayfly-bench: gnuplot could not write %s\n", plan->plot);
    return fine;
}
