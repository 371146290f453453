// Reports of mayfly-bench; see report.h.
#include "bench/load/report.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

#include "bench/load/protocol.h"
#include "mayfly/client.h"

static const double percents[] = {50, 90, 99, 99.9, 99.99};
static const char *const percent_names[] = {"p50", "p90", "p99", "p99.9", "p99.99"};
#define PERCENTS (sizeof(percents) / sizeof(percents[0]))

static uint64_t errors_of(const struct load_report *report)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < LOAD_KINDS; i++)
        sum += report->figures.failed[i];
    return sum;
}

// What was added and not answered for may be in the counters or not.
static bool counters_are_right(const struct load_report *report)
{
    if (!report->counted_known)
        return report->figures.added == 0;
    return report->figures.unsure ? report->figures.counted >= report->figures.added
                                  : report->figures.counted == report->figures.added;
}

bool load_report_is_fine(const struct load_report *report)
{
    return errors_of(report) == 0 && report->figures.wrong == 0 && counters_are_right(report);
}

static double in_ms(uint64_t us)
{
    return (double)us / 1000;
}

static double mean_ms(const struct mf_hist *took_us)
{
    return took_us->count > 0 ? (double)took_us->sum / (double)took_us->count / 1000 : 0;
}

// Microseconds of processor time for each answer of the measured time.
static double cpu_us(const struct load_report *report, uint64_t ns)
{
    uint64_t answered = report->observed.answered;
    return answered > 0 ? (double)ns / (double)answered / 1000 : 0;
}

static void print_row(const char *name, const struct mf_hist *took_us, uint64_t errors,
                      double seconds)
{
    printf("%-5s %12" PRIu64 " %12.0f %9.3f", name, took_us->count,
           (double)took_us->count / seconds, mean_ms(took_us));
    for (size_t i = 0; i < PERCENTS; i++)
        printf(" %9.3f", in_ms(mf_hist_percentile(took_us, percents[i])));
    printf(" %9.3f %7" PRIu64 "\n", in_ms(took_us->max), errors);
}

static void print_table(const struct load_plan *plan, const struct load_report *report, bool head)
{
    if (head) {
        printf("mayfly-bench %s: %s, %u clients on %u threads, pipeline %u, ", mayfly_version(),
               plan->protocol->name, plan->clients, plan->threads, plan->pipeline);
        if (plan->rate > 0)
            printf("%" PRIu64 " requests a second", plan->rate);
        else
            printf("the next request when one is answered");
        printf("\n%" PRIu64 " keys, %s, values of %zu bytes, %.1f s measured after %.1f s, %ld "
               "processors\n\n",
               plan->keys, load_distribution_name(plan->distribution), plan->value_bytes,
               plan->seconds, plan->warmup, sysconf(_SC_NPROCESSORS_ONLN));
        printf("%-5s %12s %12s %9s", "", "requests", "per second", "mean");
        for (size_t i = 0; i < PERCENTS; i++)
            printf(" %9s", percent_names[i]);
        printf(" %9s %7s\n", "max, ms", "errors");
    }
    for (unsigned i = 0; i < LOAD_KINDS; i++) {
        if (plan->mix[i] > 0)
            print_row(load_kind_name((enum load_kind)i), &report->figures.took_us[i],
                      report->figures.failed[i], plan->seconds);
    }
    print_row("all", &report->all_us, errors_of(report), plan->seconds);
}

static void print_words(const struct load_plan *plan, const struct load_report *report)
{
    const struct load_figures *figures = &report->figures;
    const struct load_observed *observed = &report->observed;
    printf("processor time of a request: ");
    if (observed->server_cpu_known)
        printf("%.2f us in the server, ", cpu_us(report, observed->server_cpu_ns));
    printf("%.2f us in mayfly-bench\n", cpu_us(report, observed->own_cpu_ns));
    if (plan->server_count > 0 && !observed->server_cpu_known)
        printf("the server's processor time is not known: a process has ended\n");
    if (figures->resent > 0)
        printf("%" PRIu64 " requests were sent again\n", figures->resent);
    if (figures->skipped > 0)
        printf("%" PRIu64 " requests found no room before the end: more clients, a deeper pipeline "
               "or a lower rate\n",
               figures->skipped);
    if (plan->mix[LOAD_INCR] > 0 && report->counted_known)
        printf("counters hold %" PRIu64 ", %" PRIu64 " were added\n", figures->counted,
               figures->added);
    for (size_t i = 0; i < figures->errors.used; i++)
        printf("%" PRIu64 " times: %s\n", figures->errors.rows[i].count,
               figures->errors.rows[i].text);
    if (figures->wrong > 0)
        printf("WRONG: %" PRIu64 " answers cannot be right\n", figures->wrong);
    if (figures->added > 0 && !report->counted_known)
        printf("the counters could not be read\n");
    else if (!counters_are_right(report))
        printf("WRONG: the counters do not hold what was added\n");
}

static json_t *json_of(const struct mf_hist *took_us, uint64_t errors, double seconds)
{
    json_t *object = json_object();
    json_object_set_new(object, "requests", json_integer((json_int_t)took_us->count));
    json_object_set_new(object, "per_second", json_real((double)took_us->count / seconds));
    json_object_set_new(object, "mean_ms", json_real(mean_ms(took_us)));
    for (size_t i = 0; i < PERCENTS; i++) {
        char name[24];
        snprintf(name, sizeof(name), "%s_ms", percent_names[i]);
        json_object_set_new(object, name,
                            json_real(in_ms(mf_hist_percentile(took_us, percents[i]))));
    }
    json_object_set_new(object, "max_ms", json_real(in_ms(took_us->max)));
    json_object_set_new(object, "errors", json_integer((json_int_t)errors));
    return object;
}

static void print_json(const struct load_plan *plan, const struct load_report *report)
{
    const struct load_figures *figures = &report->figures;
    const struct load_observed *observed = &report->observed;
    json_t *root = json_object();
    json_object_set_new(root, "version", json_string(mayfly_version()));
    json_object_set_new(root, "protocol", json_string(plan->protocol->name));
    json_object_set_new(root, "clients", json_integer(plan->clients));
    json_object_set_new(root, "threads", json_integer(plan->threads));
    json_object_set_new(root, "pipeline", json_integer(plan->pipeline));
    json_object_set_new(root, "rate", json_integer((json_int_t)plan->rate));
    json_object_set_new(root, "keys", json_integer((json_int_t)plan->keys));
    json_object_set_new(root, "distribution",
                        json_string(load_distribution_name(plan->distribution)));
    json_object_set_new(root, "value_bytes", json_integer((json_int_t)plan->value_bytes));
    json_object_set_new(root, "seconds", json_real(plan->seconds));
    json_t *kinds = json_object();
    for (unsigned i = 0; i < LOAD_KINDS; i++) {
        if (plan->mix[i] > 0)
            json_object_set_new(kinds, load_kind_name((enum load_kind)i),
                                json_of(&figures->took_us[i], figures->failed[i], plan->seconds));
    }
    json_object_set_new(root, "kinds", kinds);
    json_object_set_new(root, "all", json_of(&report->all_us, errors_of(report), plan->seconds));
    json_object_set_new(root, "server_cpu_us",
                        observed->server_cpu_known
                            ? json_real(cpu_us(report, observed->server_cpu_ns))
                            : json_null());
    json_object_set_new(root, "client_cpu_us", json_real(cpu_us(report, observed->own_cpu_ns)));
    json_t *texts = json_object();
    for (size_t i = 0; i < figures->errors.used; i++)
        json_object_set_new(texts, figures->errors.rows[i].text,
                            json_integer((json_int_t)figures->errors.rows[i].count));
    json_object_set_new(root, "errors", texts);
    json_object_set_new(root, "checked", json_integer((json_int_t)figures->checked));
    json_object_set_new(root, "resent", json_integer((json_int_t)figures->resent));
    json_object_set_new(root, "skipped", json_integer((json_int_t)figures->skipped));
    json_object_set_new(root, "wrong", json_integer((json_int_t)figures->wrong));
    json_object_set_new(root, "added", json_integer((json_int_t)figures->added));
    json_object_set_new(root, "counted",
                        report->counted_known ? json_integer((json_int_t)figures->counted)
                                              : json_null());
    json_object_set_new(root, "fine", json_boolean(load_report_is_fine(report)));
    char *text = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(9));
    printf("%s\n", text != NULL ? text : "{}");
    free(text);
    json_decref(root);
}

void load_report_print(const struct load_plan *plan, const struct load_report *report)
{
    if (plan->output == LOAD_JSON) {
        print_json(plan, report);
        return;
    }
    print_table(plan, report, plan->output == LOAD_TABLE);
    if (plan->output == LOAD_TABLE)
        print_words(plan, report);
}
