// mayfly-bench: puts load on a cluster, or on another server that speaks its protocols, and
// measures it.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "bench/load/observe.h"
#include "bench/load/plan.h"
#include "bench/load/plot.h"
#include "bench/load/report.h"
#include "bench/load/worker.h"

static void add_figures(struct load_report *report, const struct load_figures *figures)
{
    struct load_figures *sum = &report->figures;
    for (unsigned i = 0; i < LOAD_KINDS; i++) {
        mf_hist_merge(&sum->took_us[i], &figures->took_us[i]);
        mf_hist_merge(&report->all_us, &figures->took_us[i]);
        sum->failed[i] += figures->failed[i];
    }
    load_errors_merge(&sum->errors, &figures->errors);
    sum->checked += figures->checked;
    sum->wrong += figures->wrong;
    sum->resent += figures->resent;
    sum->skipped += figures->skipped;
    sum->added += figures->added;
    sum->counted += figures->counted;
    sum->unsure = sum->unsure || figures->unsure;
}

// All threads do this phase; false with a message when one cannot be started.
static bool run_phase(struct load_run *run, struct load_worker *workers, enum load_phase phase,
                      struct load_observed *observed)
{
    const struct load_plan *plan = run->plan;
    run->phase = phase;
    run->begin_us = mf_mono_us();
    run->measure_us = run->begin_us + (uint64_t)(plan->warmup * 1e6);
    run->end_us = run->measure_us + (uint64_t)(plan->seconds * 1e6);
    uint32_t started = 0;
    while (started < plan->threads &&
           pthread_create(&workers[started].thread, NULL, load_worker_run, &workers[started]) == 0)
        started++;
    if (started == plan->threads && observed != NULL)
        load_observe(run, workers, observed);
    for (uint32_t i = 0; i < started; i++)
        pthread_join(workers[i].thread, NULL);
    if (started < plan->threads)
        fprintf(stderr, "mayfly-bench: cannot start thread %u of %u\n", started + 1, plan->threads);
    return started == plan->threads;
}

static bool fill(struct load_run *run, struct load_worker *workers)
{
    if (!run_phase(run, workers, LOAD_FILL, NULL))
        return false;
    for (uint32_t i = 0; i < run->plan->threads; i++) {
        const struct load_figures *figures = &workers[i].figures;
        if (figures->errors.used == 0 && figures->wrong == 0)
            continue;
        fprintf(stderr, "mayfly-bench: setting the keys: %s\n",
                figures->errors.used > 0 ? figures->errors.rows[0].text
                                         : "an answer that cannot be right");
        return false;
    }
    return true;
}

// Reads the counters, and deletes them; whether they are all known.
static bool count(struct load_run *run, struct load_worker *workers)
{
    bool known = run_phase(run, workers, LOAD_COUNT, NULL);
    for (uint32_t i = 0; i < run->plan->threads; i++)
        known = known && !workers[i].gave_up;
    return run_phase(run, workers, LOAD_TIDY, NULL) && known;
}

static int measure(const struct load_plan *plan, struct load_run *run, struct load_worker *workers)
{
    struct load_report *report = mf_calloc(1, sizeof(*report));
    bool fine = (!plan->fill || fill(run, workers)) &&
                run_phase(run, workers, LOAD_MEASURE, &report->observed);
    if (fine) {
        report->counted_known = plan->mix[LOAD_INCR] > 0 && count(run, workers);
        for (uint32_t i = 0; i < plan->threads; i++)
            add_figures(report, &workers[i].figures);
        load_report_print(plan, report);
        fine = load_report_is_fine(report);
        fine = (plan->plot == NULL || load_plot(plan, report)) && fine;
    }
    free(report->observed.answers);
    free(report);
    return fine ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int run_all(struct load_run *run)
{
    const struct load_plan *plan = run->plan;
    struct load_worker *workers = mf_calloc(plan->threads, sizeof(*workers));
    uint32_t opened = 0;
    bool fine = true;
    for (; fine && opened < plan->threads; opened++)
        fine = load_worker_open(&workers[opened], run, opened);
    int status = fine ? measure(plan, run, workers) : EXIT_FAILURE;
    for (uint32_t i = 0; i < opened; i++)
        load_worker_free(&workers[i]);
    free(workers);
    return status;
}

int main(int argc, char **argv)
{
    struct load_plan plan;
    struct load_run run = {.plan = &plan};
    int status;
    if (!load_plan_parse(&plan, argc, argv, &status))
        return status;
    signal(SIGPIPE, SIG_IGN); // a gnuplot that ends early is an error, not the end
    load_keys_init(&run.keys, plan.distribution, plan.keys);
    mf_entropy(&run.number, sizeof(run.number));
    for (unsigned i = 0; i < LOAD_KINDS; i++)
        run.mix_sum += plan.mix[i];
    status = plan.protocol->begin(&run) ? run_all(&run) : EXIT_FAILURE;
    plan.protocol->end(&run);
    return status;
}
