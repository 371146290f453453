// What is seen during a run; see observe.h.
#include "bench/load/observe.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"

#define FINE_STEP_US 100000u
#define COARSE_STEP_US 1000000u
#define FINE_UNTIL_US 60000000u // a longer run is seen in coarse steps

// Processor time.

static bool read_text(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    size_t len = fread(text, 1, size - 1, file);
    text[len] = '\0';
    fclose(file);
    return len > 0;
}

// In ticks of the clock, where the kernel keeps no nanoseconds for each thread.
static bool ticks_ns(uint32_t pid, uint64_t *ns)
{
    char path[64];
    char text[1024];
    unsigned long long user;
    unsigned long long system;
    snprintf(path, sizeof(path), "/proc/%" PRIu32 "/stat", pid);
    if (!read_text(path, text, sizeof(text)))
        return false;
    const char *end = strrchr(text, ')'); // of the name, which may hold anything
    if (end == NULL ||
        sscanf(end, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system) != 2)
        return false;
    *ns = (user + system) * (uint64_t)(1000000000 / sysconf(_SC_CLK_TCK));
    return true;
}

bool load_cpu_ns(uint32_t pid, uint64_t *ns)
{
    char path[320];
    snprintf(path, sizeof(path), "/proc/%" PRIu32 "/task", pid);
    DIR *tasks = opendir(path);
    if (tasks == NULL)
        return false;
    bool told = false;
    *ns = 0;
    const struct dirent *entry;
    while ((entry = readdir(tasks)) != NULL) {
        char text[128];
        unsigned long long run;
        snprintf(path, sizeof(path), "/proc/%" PRIu32 "/task/%s/schedstat", pid, entry->d_name);
        if (entry->d_name[0] == '.' || !read_text(path, text, sizeof(text)) ||
            sscanf(text, "%llu", &run) != 1)
            continue;
        *ns += run;
        told = true;
    }
    closedir(tasks);
    return told || ticks_ns(pid, ns);
}

static bool servers_ns(const struct load_plan *plan, uint64_t *ns)
{
    bool fine = plan->server_count > 0;
    *ns = 0;
    for (size_t i = 0; fine && i < plan->server_count; i++) {
        uint64_t one;
        fine = load_cpu_ns(plan->servers[i], &one);
        *ns += fine ? one : 0;
    }
    return fine;
}

static uint64_t own_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

// The run.

static void sleep_until(uint64_t until_us)
{
    const struct timespec until = {.tv_sec = (time_t)(until_us / 1000000),
                                   .tv_nsec = (long)(until_us % 1000000) * 1000};
    while (clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &until, NULL) != 0)
        continue;
}

static uint64_t answered_by(struct load_worker *workers, uint32_t threads)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < threads; i++)
        sum += atomic_load_explicit(&workers[i].answered, memory_order_relaxed);
    return sum;
}

static void tell(const struct load_run *run, struct load_worker *workers, uint64_t at_us,
                 uint64_t answers)
{
    uint64_t failed = 0;
    for (uint32_t i = 0; i < run->plan->threads; i++)
        failed += atomic_load_explicit(&workers[i].failed, memory_order_relaxed);
    fprintf(stderr, "%4" PRIu64 " s  %9" PRIu64 " requests  %" PRIu64 " failed in all%s\n",
            (at_us - run->begin_us) / 1000000, answers, failed,
            at_us <= run->measure_us ? "  (warm-up)" : "");
}

// What the counts were when the measured time began, until they are what they grew by.
static void look(const struct load_run *run, struct load_worker *workers,
                 struct load_observed *observed)
{
    uint64_t server_ns;
    bool known = servers_ns(run->plan, &server_ns);
    observed->server_cpu_known = known;
    observed->server_cpu_ns = server_ns - observed->server_cpu_ns;
    observed->own_cpu_ns = own_ns() - observed->own_cpu_ns;
    observed->answered = answered_by(workers, run->plan->threads) - observed->answered;
}

void load_observe(const struct load_run *run, struct load_worker *workers,
                  struct load_observed *observed)
{
    const struct load_plan *plan = run->plan;
    uint64_t whole_us = run->end_us - run->begin_us;
    uint64_t step_us = whole_us > FINE_UNTIL_US ? COARSE_STEP_US : FINE_STEP_US;
    uint64_t before = answered_by(workers, plan->threads);
    uint64_t second = before;
    bool looked = false;
    bool began = true;
    *observed = (struct load_observed){.step_us = step_us};
    observed->answers = mf_calloc(whole_us / step_us + 1, sizeof(*observed->answers));
    for (uint64_t at_us = run->begin_us; at_us < run->end_us;) {
        if (!looked && at_us >= run->measure_us) {
            look(run, workers, observed);
            began = observed->server_cpu_known;
            looked = true;
        }
        uint64_t step_end_us = run->begin_us + (observed->step_count + 1) * step_us;
        uint64_t mark_us = looked ? run->end_us : run->measure_us;
        at_us = step_end_us < mark_us ? step_end_us : mark_us;
        sleep_until(at_us);
        if (at_us != step_end_us)
            continue;
        uint64_t answered = answered_by(workers, plan->threads);
        observed->answers[observed->step_count++] = answered - before;
        before = answered;
        if (plan->live && (at_us - run->begin_us) % 1000000 == 0) {
            tell(run, workers, at_us, answered - second);
            second = answered;
        }
    }
    look(run, workers, observed);
    observed->server_cpu_known = observed->server_cpu_known && began;
}
