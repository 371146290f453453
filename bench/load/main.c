// mayfly-bench: puts load on a cluster through libmayfly, and measures it.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "bench/load/plan.h"
#include "bench/load/report.h"
#include "bench/load/worker.h"

static void sleep_until(uint64_t until_us)
{
    const struct timespec until = {.tv_sec = (time_t)(until_us / 1000000),
                                   .tv_nsec = (long)(until_us % 1000000) * 1000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) != 0)
        continue;
}

// A line a second while the workers run.
static void tell(const struct load_run *run, struct load_worker *workers)
{
    const struct load_plan *plan = run->plan;
    uint64_t before = 0;
    for (uint64_t at_us = run->begin_us + 1000000; at_us <= run->end_us; at_us += 1000000) {
        uint64_t answered = 0;
        uint64_t failed = 0;
        sleep_until(at_us);
        for (uint32_t i = 0; i < plan->threads; i++) {
            answered += atomic_load_explicit(&workers[i].answered, memory_order_relaxed);
            failed += atomic_load_explicit(&workers[i].failed, memory_order_relaxed);
        }
        fprintf(stderr, "%4" PRIu64 " s  %9" PRIu64 " requests  %" PRIu64 " failed in all%s\n",
                (at_us - run->begin_us) / 1000000, answered - before, failed,
                at_us <= run->measure_us ? "  (warm-up)" : "");
        before = answered;
    }
}

// What all counters of this run hold together.
static bool read_counters(const struct load_run *run, struct mayfly_client *client, uint64_t *sum)
{
    *sum = 0;
    for (uint64_t i = 0; i < LOAD_COUNTERS; i++) {
        char text[LOAD_KEY_BYTES];
        struct mayfly_entry entry;
        if (mayfly_get(client, load_counter_key(run, text, i), NULL, &entry) != MAYFLY_OK)
            return false;
        char digits[24] = "0";
        if (entry.found && entry.value.len < sizeof(digits)) {
            memcpy(digits, entry.value.data, entry.value.len);
            digits[entry.value.len] = '\0';
        }
        *sum += strtoull(digits, NULL, 10);
    }
    return true;
}

static void add_figures(struct load_report *report, const struct load_figures *figures)
{
    struct load_figures *sum = &report->figures;
    for (unsigned i = 0; i < LOAD_KINDS; i++) {
        mf_hist_merge(&sum->took_us[i], &figures->took_us[i]);
        mf_hist_merge(&report->all_us, &figures->took_us[i]);
        sum->errors[i] += figures->errors[i];
    }
    sum->wrong += figures->wrong;
    sum->resent += figures->resent;
    sum->skipped += figures->skipped;
    sum->added += figures->added;
    sum->unsure = sum->unsure || figures->unsure;
    if (sum->first_error[0] == '\0')
        memcpy(sum->first_error, figures->first_error, sizeof(sum->first_error));
}

static bool fill(const struct load_plan *plan, struct load_worker *workers)
{
    bool fine = true;
    for (uint32_t i = 0; plan->fill && fine && i < plan->threads; i++)
        fine = load_worker_fill(&workers[i]);
    return fine;
}

static bool run_threads(struct load_run *run, struct load_worker *workers)
{
    const struct load_plan *plan = run->plan;
    run->begin_us = mf_mono_us();
    run->measure_us = run->begin_us + (uint64_t)(plan->warmup * 1e6);
    run->end_us = run->measure_us + (uint64_t)(plan->seconds * 1e6);
    uint32_t started = 0;
    while (started < plan->threads &&
           pthread_create(&workers[started].thread, NULL, load_worker_run, &workers[started]) == 0)
        started++;
    if (started == plan->threads && plan->live)
        tell(run, workers);
    for (uint32_t i = 0; i < started; i++)
        pthread_join(workers[i].thread, NULL);
    if (started < plan->threads)
        fprintf(stderr, "mayfly-bench: cannot start thread %u of %u\n", started + 1, plan->threads);
    return started == plan->threads;
}

static int measure(const struct load_plan *plan, struct load_run *run, struct load_worker *workers)
{
    if (!fill(plan, workers) || !run_threads(run, workers))
        return EXIT_FAILURE;
    struct load_report *report = mf_calloc(1, sizeof(*report));
    for (uint32_t i = 0; i < plan->threads; i++)
        add_figures(report, &workers[i].figures);
    struct mayfly_client *client = load_worker_client(&workers[0]);
    if (plan->mix[LOAD_INCR] > 0)
        report->counted_known = read_counters(run, client, &report->counted);
    load_report_print(plan, report);
    bool fine = load_report_is_fine(report);
    free(report);
    return fine ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct load_plan plan;
    struct load_run run = {.plan = &plan};
    int status;
    if (!load_plan_parse(&plan, argc, argv, &status))
        return status;
    load_keys_init(&run.keys, plan.distribution, plan.keys);
    mf_entropy(&run.number, sizeof(run.number));
    struct load_worker *workers = mf_calloc(plan.threads, sizeof(*workers));
    uint32_t opened = 0;
    bool fine = true;
    for (; fine && opened < plan.threads; opened++)
        fine = load_worker_open(&workers[opened], &run, opened);
    status = fine ? measure(&plan, &run, workers) : EXIT_FAILURE;
    for (uint32_t i = 0; i < opened; i++)
        load_worker_free(&workers[i]);
    free(workers);
    return status;
}
