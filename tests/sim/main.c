// mayfly-sim: runs seeds, in several processes at once, and reports the one that breaks a rule.
//
// Each job is a forked process that takes the next seed from memory it shares with its parent, so
// that a seed which kills its process is known. Real time is read here only, to tell the pace.
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "world.h"

#define JOBS_MAX 256

struct options {
    uint64_t first;
    uint64_t last;
    uint32_t jobs;
    bool tracing;
    bool twice; // run each seed twice: both runs must be the same
    bool keep_going;
};

struct job {
    _Atomic uint64_t seed; // being run
    struct sim_stats stats;
};

// In memory shared between the processes. Relaxed order throughout: the parent reads stats only
// after it has waited for their writer, and the next seed needs nothing but to be taken once.
struct shared {
    _Atomic uint64_t next_seed;
    _Atomic bool stop;
    struct job jobs[JOBS_MAX];
};

static const char usage[] =
    "usage: mayfly-sim --seeds A..B [--jobs N] [--keep-going] [--twice]\n"
    "       mayfly-sim --seed S [--trace] [--twice]\n"
    "\n"
    "Simulates a cluster with faults for each seed and checks it at every step.\n"
    "  --seeds A..B  these seeds\n"
    "  --seed S      this one\n"
    "  --jobs N      in N processes (default 1)\n"
    "  --keep-going  report every seed that fails, not only the first\n"
    "  --trace       tell the story of the run\n"
    "  --twice       run each seed twice and compare\n"
    "Exit status: 0 all seeds passed, 1 one broke a rule or crashed, 2 wrong usage.\n";

static void refuse(const char *flag, const char *value, const char *expected)
{
    fprintf(stderr, "mayfly-sim: %s %s: expected %s\n", flag, value, expected);
    exit(2);
}

static uint64_t parse_number(const char *flag, const char *text, const char **end)
{
    char *stop;
    errno = 0;
    unsigned long long number = strtoull(text, &stop, 10);
    if (errno != 0 || stop == text || *text == '-')
        refuse(flag, text, "a number");
    *end = stop;
    return number;
}

static void parse_seeds(const char *text, struct options *options)
{
    const char *end;
    options->first = options->last = parse_number("--seeds", text, &end);
    if (strncmp(end, "..", 2) == 0)
        options->last = parse_number("--seeds", end + 2, &end);
    if (*end != '\0' || options->last < options->first)
        refuse("--seeds", text, "A..B with A <= B");
}

static struct options parse(int argc, char **argv)
{
    static const struct option flags[] = {
        {"seeds", required_argument, NULL, 's'}, {"seed", required_argument, NULL, 's'},
        {"jobs", required_argument, NULL, 'j'},  {"trace", no_argument, NULL, 't'},
        {"twice", no_argument, NULL, '2'},       {"keep-going", no_argument, NULL, 'k'},
        {"help", no_argument, NULL, 'h'},        {NULL, 0, NULL, 0}};
    struct options options = {.last = 0, .first = 1, .jobs = 1};
    const char *end;
    int flag;
    while ((flag = getopt_long(argc, argv, "", flags, NULL)) != -1) {
        switch (flag) {
        case 's':
            parse_seeds(optarg, &options);
            break;
        case 'j':
            options.jobs = (uint32_t)parse_number("--jobs", optarg, &end);
            if (*end != '\0' || options.jobs < 1 || options.jobs > JOBS_MAX)
                refuse("--jobs", optarg, "1 to 256");
            break;
        case 't':
            options.tracing = true;
            break;
        case '2':
            options.twice = true;
            break;
        case 'k':
            options.keep_going = true;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(0);
        default:
            exit(2);
        }
    }
    if (optind < argc)
        refuse("argument", argv[optind], "none");
    if (options.last < options.first) {
        fputs(usage, stderr);
        exit(2);
    }
    return options;
}

static void add_stats(struct sim_stats *total, const struct sim_stats *one)
{
    // All fields are counters.
    uint64_t *to = (uint64_t *)total;
    const uint64_t *from = (const uint64_t *)one;
    for (size_t i = 0; i < sizeof(*total) / sizeof(uint64_t); i++)
        to[i] += from[i];
}

static void run_seed(uint64_t seed, const struct options *options, const char *program,
                     struct sim_stats *total)
{
    struct sim_stats stats;
    uint64_t digest;
    sim_run(seed, options->tracing, program, &stats, &digest);
    add_stats(total, &stats);
    if (!options->twice)
        return;
    uint64_t again;
    sim_run(seed, false, program, &stats, &again);
    if (digest != again) {
        printf("seed %llu is not the same run twice\n", (unsigned long long)seed);
        fflush(stdout);
        _exit(1);
    }
}

static void work(struct shared *shared, uint32_t index, const struct options *options,
                 const char *program)
{
    struct job *job = &shared->jobs[index];
    while (!atomic_load_explicit(&shared->stop, memory_order_relaxed)) {
        uint64_t seed = atomic_fetch_add_explicit(&shared->next_seed, 1, memory_order_relaxed);
        if (seed > options->last)
            break;
        atomic_store_explicit(&job->seed, seed, memory_order_relaxed);
        run_seed(seed, options, program, &job->stats);
    }
    exit(0);
}

// A job has ended before its time: says so, unless it has done that itself.
static void report_crash(struct shared *shared, uint32_t index, int status, const char *program)
{
    unsigned long long seed = atomic_load_explicit(&shared->jobs[index].seed, memory_order_relaxed);
    if (WIFSIGNALED(status))
        printf("seed %llu crashed with signal %d (%s)\n  replay: %s --seed %llu --trace\n", seed,
               WTERMSIG(status), strsignal(WTERMSIG(status)), program, seed);
    else if (WEXITSTATUS(status) != 1)
        printf("seed %llu ended with status %d\n  replay: %s --seed %llu --trace\n", seed,
               WEXITSTATUS(status), program, seed);
    fflush(stdout);
}

static pid_t start_job(struct shared *shared, uint32_t index, const struct options *options,
                       const char *program)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0) {
        perror("mayfly-sim: fork");
        exit(1);
    }
    if (pid == 0)
        work(shared, index, options, program);
    return pid;
}

// Returns how many seeds failed. A job that fails is started again only to keep going.
static uint64_t run_jobs(const struct options *options, const char *program, struct shared *shared)
{
    pid_t pids[JOBS_MAX];
    for (uint32_t i = 0; i < options->jobs; i++)
        pids[i] = start_job(shared, i, options, program);
    uint64_t failed = 0;
    for (uint32_t left = options->jobs; left > 0;) {
        int status;
        pid_t pid = wait(&status);
        uint32_t index = 0;
        while (index < options->jobs && pids[index] != pid)
            index++;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
            left--;
            continue;
        }
        failed++;
        report_crash(shared, index, status, program);
        if (options->keep_going) {
            pids[index] = start_job(shared, index, options, program);
            continue;
        }
        atomic_store_explicit(&shared->stop, true, memory_order_relaxed);
        left--;
    }
    return failed;
}

static void report(const struct sim_stats *s, uint64_t real_us)
{
    typedef unsigned long long ull;
    double seconds = (double)(real_us > 0 ? real_us : 1) / 1e6;
    printf("%llu seeds passed in %.1f s: %.1f seeds/s, %.0f simulated seconds/s, %.0f events/s\n",
           (ull)s->runs, seconds, (double)s->runs / seconds,
           (double)s->simulated_us / 1e6 / seconds, (double)s->events / seconds);
    printf("%llu operations (%llu answered, %llu refused, %llu left open), %llu entries chosen, "
           "%llu keys expired\n",
           (ull)s->ops, (ull)s->ops_done, (ull)s->ops_refused, (ull)s->ops_unknown, (ull)s->entries,
           (ull)s->expired);
    printf("%llu leaders, %llu crashes, %llu torn logs, %llu pauses, %llu partitions, %llu of %llu "
           "frames lost, %llu key histories undecided\n",
           (ull)s->leaders, (ull)s->crashes, (ull)s->torn, (ull)s->pauses, (ull)s->partitions,
           (ull)s->frames_lost, (ull)s->frames, (ull)s->undecided);
}

int main(int argc, char **argv)
{
    struct options options = parse(argc, argv);
    uint64_t start_us = mf_mono_us();
    struct sim_stats total = {0};
    if (options.first == options.last) {
        run_seed(options.first, &options, argv[0], &total);
        report(&total, mf_mono_us() - start_us);
        return 0;
    }
    struct shared *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("mayfly-sim: mmap");
        return 1;
    }
    atomic_init(&shared->next_seed, options.first);
    uint64_t failed = run_jobs(&options, argv[0], shared);
    for (uint32_t i = 0; i < options.jobs; i++)
        add_stats(&total, &shared->jobs[i].stats);
    if (failed > 0)
        printf("%llu seeds FAILED\n", (unsigned long long)failed);
    if (failed == 0 || options.keep_going)
        report(&total, mf_mono_us() - start_us);
    return failed == 0 ? 0 : 1;
}
