// Shrinking a failure; see minimise.h.
//
// Each run is a forked process whose report is read through a pipe: a rule that is broken ends the
// process, and an assertion kills it.
#include "minimise.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define RULE_MAX 160
#define REPORT_MAX 8192
#define STORM_US_MIN 1000000u
#define OPS_MIN 5u
// A run that gets slower by what was left out is no help to anybody.
#define SECONDS_MAX 60u

static void run_child(const struct sim_request *request, int out)
{
    struct sim_stats stats;
    uint64_t digest;
    dup2(out, STDOUT_FILENO);
    alarm(SECONDS_MAX);
    sim_run(request, &stats, &digest);
    _exit(0);
}

static size_t read_all(int in, char *report)
{
    size_t len = 0;
    char rest[512];
    for (;;) {
        bool full = len >= REPORT_MAX - 1;
        ssize_t got =
            full ? read(in, rest, sizeof(rest)) : read(in, report + len, REPORT_MAX - 1 - len);
        if (got <= 0)
            break;
        len += full ? 0 : (size_t)got;
    }
    report[len] = '\0';
    return len;
}

// What broke goes into `rule`, and all that was said into `report`; false when nothing did.
static bool breaks(const struct sim_request *request, char *rule, char *report)
{
    int ends[2];
    fflush(stdout);
    if (pipe(ends) != 0)
        return false;
    pid_t pid = fork();
    if (pid == 0)
        run_child(request, ends[1]);
    close(ends[1]);
    read_all(ends[0], report);
    close(ends[0]);
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status == 0)
        return false;
    const char *at = strstr(report, "  rule: ");
    if (at != NULL)
        snprintf(rule, RULE_MAX, "%.*s", (int)strcspn(at + 8, "\n"), at + 8);
    else if (WIFSIGNALED(status))
        snprintf(rule, RULE_MAX, "crashes with signal %d", WTERMSIG(status));
    else
        snprintf(rule, RULE_MAX, "ends with status %d", WEXITSTATUS(status));
    return !(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
}

// Keeps the trial's limits when the same rule breaks under them.
static bool try(struct sim_request *request, const struct sim_limits *limits, const char *rule,
                char *report)
{
    struct sim_request trial = *request;
    trial.limits = *limits;
    char *now = malloc(REPORT_MAX);
    char found[RULE_MAX];
    bool same = now != NULL && breaks(&trial, found, now) && strcmp(found, rule) == 0;
    if (same) {
        request->limits = *limits;
        memcpy(report, now, REPORT_MAX);
    }
    free(now);
    return same;
}

static bool halve(struct sim_request *request, const char *rule, char *report)
{
    struct sim_plan plan;
    bool any = false;
    for (;;) {
        sim_plan_draw(&plan, request->seed, &request->limits);
        struct sim_limits storm = request->limits;
        storm.storm_us = plan.storm_us / 2;
        struct sim_limits ops = request->limits;
        ops.ops = plan.op_max / 2;
        bool shorter = storm.storm_us >= STORM_US_MIN && try(request, &storm, rule, report);
        ops.storm_us = request->limits.storm_us;
        bool fewer = ops.ops >= OPS_MIN && try(request, &ops, rule, report);
        if (!shorter && !fewer)
            return any;
        any = true;
    }
}

static bool leave_out(struct sim_request *request, const char *rule, char *report)
{
    bool any = false;
    for (uint32_t i = 0; sim_aspect_name(i) != NULL; i++) {
        struct sim_plan plan;
        sim_plan_draw(&plan, request->seed, &request->limits);
        struct sim_limits limits = request->limits;
        limits.without |= UINT64_C(1) << i;
        if (sim_plan_has(&plan, i) && try(request, &limits, rule, report))
            any = true;
    }
    return any;
}

int sim_minimise(struct sim_request request)
{
    char *report = malloc(REPORT_MAX);
    char rule[RULE_MAX];
    request.tracing = false;
    if (report == NULL || !breaks(&request, rule, report)) {
        printf("seed %llu breaks no rule\n", (unsigned long long)request.seed);
        free(report);
        return 0;
    }
    // What one round leaves out may be what kept the next one from leaving more.
    for (bool smaller = true; smaller;) {
        smaller = leave_out(&request, rule, report);
        smaller = halve(&request, rule, report) || smaller;
    }
    fputs(report, stdout);
    free(report);
    return 1;
}
