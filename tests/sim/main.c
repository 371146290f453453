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
#include "minimise.h"
#include "world.h"

#define JOBS_MAX 256

struct options {
    uint64_t first;
    uint64_t last;
    uint32_t jobs;
    struct sim_request request; // its seed is the one being run
    bool minimise;
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
    "       mayfly-sim --seed S [--trace | --minimise] [--twice]\n"
    "       each with [--lose WAY | --power-loss] [--without NAME,...] [--storm-ms N] [--ops N]\n"
    "\n"
    "Simulates a cluster with faults for each seed and checks it at every step.\n"
    "  --seeds A..B  these seeds\n"
    "  --seed S      this one\n"
    "  --jobs N      in N processes (default 1)\n"
    "  --keep-going  report every seed that fails, not only the first\n"
    "  --trace       tell the story of the run\n"
    "  --twice       run each seed twice and compare\n"
    "  --minimise    find out what the failure of this seed needs, and print the command for that\n"
    "  --lose WAY    lose most frames, nothing else, and see writes go on; WAY: requests, answers, "
    "both\n"
    "  --power-loss  the whole cluster loses power, again and again, and nothing else goes wrong\n"
    "  --without ... leave this out of the plan, a list of names with commas; `--without help` "
    "lists them\n"
    "  --storm-ms N  end the storm after this many simulated milliseconds at the latest\n"
    "  --ops N       ask for this many operations at most\n"
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

static uint64_t parse_count(const char *flag, const char *text)
{
    const char *end;
    uint64_t count = parse_number(flag, text, &end);
    if (*end != '\0' || count == 0)
        refuse(flag, text, "a number from 1");
    return count;
}

static uint64_t parse_aspects(const char *text)
{
    uint64_t without = 0;
    while (*text != '\0') {
        size_t len = strcspn(text, ",");
        uint32_t i = 0;
        const char *name;
        while ((name = sim_aspect_name(i)) != NULL &&
               (strlen(name) != len || memcmp(name, text, len) != 0))
            i++;
        if (name == NULL) {
            fprintf(stderr, "mayfly-sim: --without %s: expected names from:", text);
            for (i = 0; sim_aspect_name(i) != NULL; i++)
                fprintf(stderr, " %s", sim_aspect_name(i));
            fputc('\n', stderr);
            exit(2);
        }
        without |= UINT64_C(1) << i;
        text += len + (text[len] == ',');
    }
    return without;
}

static uint32_t parse_ways(const char *text)
{
    for (uint32_t ways = 1; sim_ways_name(ways) != NULL; ways++) {
        if (strcmp(sim_ways_name(ways), text) == 0)
            return ways;
    }
    refuse("--lose", text, "requests, answers or both");
    return 0;
}

static struct options parse(int argc, char **argv)
{
    static const struct option flags[] = {
        {"seeds", required_argument, NULL, 's'},    {"seed", required_argument, NULL, 's'},
        {"jobs", required_argument, NULL, 'j'},     {"trace", no_argument, NULL, 't'},
        {"twice", no_argument, NULL, '2'},          {"keep-going", no_argument, NULL, 'k'},
        {"minimise", no_argument, NULL, 'm'},       {"without", required_argument, NULL, 'w'},
        {"storm-ms", required_argument, NULL, 'u'}, {"ops", required_argument, NULL, 'o'},
        {"lose", required_argument, NULL, 'l'},     {"power-loss", no_argument, NULL, 'p'},
        {"help", no_argument, NULL, 'h'},           {NULL, 0, NULL, 0}};
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
            options.request.tracing = true;
            break;
        case '2':
            options.twice = true;
            break;
        case 'k':
            options.keep_going = true;
            break;
        case 'm':
            options.minimise = true;
            break;
        case 'l':
            options.request.limits.lose = parse_ways(optarg);
            break;
        case 'p':
            options.request.limits.power_loss = true;
            break;
        case 'w':
            options.request.limits.without |= parse_aspects(optarg);
            break;
        case 'u':
            options.request.limits.storm_us = parse_count("--storm-ms", optarg) * 1000;
            break;
        case 'o':
            options.request.limits.ops = parse_count("--ops", optarg);
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
    if (options.request.limits.power_loss && options.request.limits.lose != 0)
        refuse("--power-loss", "with --lose", "one of the two");
    bool alone = options.last == options.first;
    if (options.minimise && !alone)
        refuse("--minimise", "", "one seed");
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

static void run_seed(uint64_t seed, const struct options *options, struct sim_stats *total)
{
    struct sim_request request = options->request;
    request.seed = seed;
    struct sim_stats stats;
    uint64_t digest;
    sim_run(&request, &stats, &digest);
    add_stats(total, &stats);
    if (!options->twice)
        return;
    uint64_t again;
    request.tracing = false;
    sim_run(&request, &stats, &again);
    if (digest != again) {
        printf("seed %llu is not the same run twice\n", (unsigned long long)seed);
        fflush(stdout);
        _exit(1);
    }
}

static void work(struct shared *shared, uint32_t index, const struct options *options)
{
    struct job *job = &shared->jobs[index];
    while (!atomic_load_explicit(&shared->stop, memory_order_relaxed)) {
        uint64_t seed = atomic_fetch_add_explicit(&shared->next_seed, 1, memory_order_relaxed);
        if (seed > options->last)
            break;
        atomic_store_explicit(&job->seed, seed, memory_order_relaxed);
        run_seed(seed, options, &job->stats);
    }
    exit(0);
}

// A job has ended before its time: says so, unless it has done that itself.
static void report_crash(struct shared *shared, uint32_t index, int status,
                         const struct options *options)
{
    struct sim_request request = options->request;
    request.seed = atomic_load_explicit(&shared->jobs[index].seed, memory_order_relaxed);
    unsigned long long seed = request.seed;
    char replay[1024];
    sim_replay_text(&request, replay, sizeof(replay));
    if (WIFSIGNALED(status))
        printf("seed %llu crashed with signal %d (%s)\n  replay: %s --trace\n", seed,
               WTERMSIG(status), strsignal(WTERMSIG(status)), replay);
    else if (WEXITSTATUS(status) != 1)
        printf("seed %llu ended with status %d\n  replay: %s --trace\n", seed, WEXITSTATUS(status),
               replay);
    fflush(stdout);
}

static pid_t start_job(struct shared *shared, uint32_t index, const struct options *options)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0) {
        perror("mayfly-sim: fork");
        exit(1);
    }
    if (pid == 0)
        work(shared, index, options);
    return pid;
}

// Returns how many seeds failed. A job that fails is started again only to keep going.
static uint64_t run_jobs(const struct options *options, struct shared *shared)
{
    pid_t pids[JOBS_MAX];
    for (uint32_t i = 0; i < options->jobs; i++)
        pids[i] = start_job(shared, i, options);
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
        report_crash(shared, index, status, options);
        if (options->keep_going) {
            pids[index] = start_job(shared, index, options);
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
    printf("%llu operations (%llu answered, %llu refused, %llu left open), %llu entries chosen "
           "(%llu in no log), "
           "%llu keys expired\n",
           (ull)s->ops, (ull)s->ops_done, (ull)s->ops_refused, (ull)s->ops_unknown, (ull)s->entries,
           (ull)s->at_once, (ull)s->expired);
    printf("%llu leaders, %llu crashes, %llu torn logs, %llu memories lost, %llu full disks (%llu "
           "writes found no room), %llu pauses, %llu holds, %llu partitions, %llu of %llu frames "
           "lost, %llu "
           "key histories undecided\n",
           (ull)s->leaders, (ull)s->crashes, (ull)s->torn, (ull)s->forgot, (ull)s->full_disks,
           (ull)s->full_writes, (ull)s->pauses, (ull)s->holds, (ull)s->partitions,
           (ull)s->frames_lost, (ull)s->frames, (ull)s->undecided);
    printf("%llu losses of power of a whole cluster; %llu writes were cut off by crashes: %llu "
           "lost, %llu in parts, %llu there\n",
           (ull)s->power_losses, (ull)(s->cut_lost + s->cut_torn + s->cut_whole), (ull)s->cut_lost,
           (ull)s->cut_torn, (ull)s->cut_whole);
    printf("%llu configurations (and %llu void), %llu groups handed over, %llu copies given up, "
           "%llu snapshots, "
           "%llu of them sent and installed, %llu log files removed\n",
           (ull)s->members, (ull)s->void_members, (ull)s->transfers, (ull)s->left,
           (ull)s->snapshots, (ull)s->installs, (ull)s->removed_files);
}

int main(int argc, char **argv)
{
    struct options options = parse(argc, argv);
    options.request.program = argv[0];
    options.request.seed = options.first;
    if (options.minimise)
        return sim_minimise(options.request);
    uint64_t start_us = mf_mono_us();
    struct sim_stats total = {0};
    if (options.first == options.last) {
        run_seed(options.first, &options, &total);
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
    uint64_t failed = run_jobs(&options, shared);
    for (uint32_t i = 0; i < options.jobs; i++)
        add_stats(&total, &shared->jobs[i].stats);
    if (failed > 0)
        printf("%llu seeds FAILED\n", (unsigned long long)failed);
    if (failed == 0 || options.keep_going)
        report(&total, mf_mono_us() - start_us);
    return failed == 0 ? 0 : 1;
}
