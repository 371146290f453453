// How the embedded store goes with the number of shards: serial and concurrent sets and gets.
//
//     bench_scaling [--keys N] [--value BYTES] [--threads N] [--shards-max N] [--ttl MS]
//                   [--rounds N]
//
// For 1, 2, 4 ... shards, without and with a TTL, one line of CSV for each phase:
//
//     set,serial      one thread writes every key into an empty store
//     get,serial      one thread reads every key, in an order that no cache foresees
//     get,concurrent  N threads read every key between them
//     set,concurrent  N threads write every key between them, over what is there
//     set,growing     N threads write every key between them into an empty store
//
// Keys are 40 characters. Each configuration runs in a process of its own, so that what one leaves
// in the allocator does not flatter the next. With several rounds the best of each phase counts:
// other work on the machine only ever adds time. Beside the time that passed stands the processor
// time of the phase's threads, which says more on a machine that is shared. Every value read is
// checked.
#include <inttypes.h>
#include <mayfly/store.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "bench/allocator.h"

#define KEY_BYTES 40u
#define THREADS_MAX 64u

struct options {
    uint64_t keys;
    uint64_t value_bytes;
    uint64_t threads;
    uint64_t shards_max;
    uint64_t ttl_ms;
    uint64_t rounds;
};

struct bench {
    struct options options;
    struct mayfly_store *store;
    struct mayfly_options set;
    uint8_t *value;
};

enum phase { SET_SERIAL, GET_SERIAL, GET_CONCURRENT, SET_CONCURRENT, SET_GROWING, PHASES };

static const struct {
    const char *name;
    bool get;
    bool concurrent;
} phases[PHASES] = {
    [SET_SERIAL] = {"set,serial", false, false},
    [GET_SERIAL] = {"get,serial", true, false},
    [GET_CONCURRENT] = {"get,concurrent", true, true},
    [SET_CONCURRENT] = {"set,concurrent", false, true},
    [SET_GROWING] = {"set,growing", false, true},
};

// A thread's part of a phase: every key whose number is `first` plus a multiple of `step`.
struct part {
    struct bench *bench;
    enum phase phase;
    uint64_t first;
    uint64_t step;
    uint64_t failed;
    double cpu_seconds;
};

struct timing {
    double seconds; // 0: none yet
    double cpu_seconds;
};

static struct mayfly_bytes make_key(char key[KEY_BYTES], uint64_t number)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t high = mf_hash_mix(number, 1);
    memcpy(key, "session:", 8);
    for (unsigned i = 0; i < 16; i++) {
        key[8 + i] = digits[number >> (i * 4) & 15];
        key[24 + i] = digits[high >> (i * 4) & 15];
    }
    return (struct mayfly_bytes){key, KEY_BYTES};
}

static double thread_cpu_seconds(void)
{
    struct timespec at;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void set_part(struct part *part)
{
    struct bench *bench = part->bench;
    struct mayfly_bytes value = {bench->value, bench->options.value_bytes};
    char key[KEY_BYTES];
    for (uint64_t i = part->first; i < bench->options.keys; i += part->step)
        part->failed +=
            mayfly_store_set(bench->store, make_key(key, i), value, &bench->set, NULL) != MAYFLY_OK;
}

static void get_part(struct part *part)
{
    struct bench *bench = part->bench;
    char key[KEY_BYTES];
    for (uint64_t i = part->first; i < bench->options.keys; i += part->step) {
        struct mayfly_store_value got;
        uint64_t number = i * UINT64_C(2654435761) % bench->options.keys;
        bool fine = mayfly_store_get(bench->store, make_key(key, number), &got) == MAYFLY_OK;
        // The last byte is in another cache line than the entry's head: a value is for reading.
        size_t last = bench->options.value_bytes - 1;
        fine = fine && got.found && got.value.len == last + 1 &&
               ((const uint8_t *)got.value.data)[last] == bench->value[last];
        part->failed += !fine;
        mayfly_store_release(bench->store, &got);
    }
}

static void *run_part(void *arg)
{
    struct part *part = arg;
    double start = thread_cpu_seconds();
    if (phases[part->phase].get)
        get_part(part);
    else
        set_part(part);
    part->cpu_seconds = thread_cpu_seconds() - start;
    return NULL;
}

static bool open_store(struct bench *bench, uint32_t shards)
{
    struct mayfly_store_options options = {.shards = shards};
    return mayfly_store_open(&options, &bench->store) == MAYFLY_OK;
}

static bool run_phase(struct bench *bench, enum phase phase, struct timing *timing)
{
    uint64_t count = phases[phase].concurrent ? bench->options.threads : 1;
    struct part parts[THREADS_MAX];
    pthread_t threads[THREADS_MAX];
    bool fine = true;
    uint64_t started = 0;
    uint64_t start_us = mf_mono_us();
    for (; started < count && fine; started += fine) {
        parts[started] =
            (struct part){.bench = bench, .phase = phase, .first = started, .step = count};
        fine = pthread_create(&threads[started], NULL, run_part, &parts[started]) == 0;
    }
    timing->cpu_seconds = 0;
    for (uint64_t i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
        fine = fine && parts[i].failed == 0;
        timing->cpu_seconds += parts[i].cpu_seconds;
    }
    timing->seconds = (double)(mf_mono_us() - start_us) / 1e6;
    return fine;
}

// All phases once; keeps the best of each.
static bool run_round(struct bench *bench, uint32_t shards, struct timing best[PHASES],
                      double *bytes_per_key)
{
    uint64_t before_bytes = bench_resident_bytes();
    for (enum phase phase = SET_SERIAL; phase < PHASES; phase++) {
        if (phase == SET_SERIAL || phase == SET_GROWING) {
            if (bench->store != NULL && mayfly_store_close(bench->store) != MAYFLY_OK)
                return false;
            bench_purge();
            if (!open_store(bench, shards))
                return false;
        }
        struct timing timing;
        if (!run_phase(bench, phase, &timing))
            return false;
        if (best[phase].seconds <= 0 || timing.seconds < best[phase].seconds)
            best[phase] = timing;
        if (phase == SET_SERIAL && *bytes_per_key <= 0)
            *bytes_per_key =
                (double)(bench_resident_bytes() - before_bytes) / (double)bench->options.keys;
    }
    return true;
}

static bool run(const struct options *options, uint32_t shards, uint64_t ttl_ms)
{
    struct bench bench = {.options = *options};
    struct timing best[PHASES] = {{0}};
    double bytes_per_key = 0;
    bench.value = malloc(options->value_bytes);
    if (bench.value == NULL)
        return false;
    memset(bench.value, 'v', options->value_bytes);
    if (ttl_ms > 0)
        bench.set = (struct mayfly_options){.flags = MAYFLY_FLAG_TTL, .ttl_ms = (int64_t)ttl_ms};
    bool fine = true;
    for (uint64_t round = 0; round < options->rounds && fine; round++)
        fine = run_round(&bench, shards, best, &bytes_per_key);
    double keys = (double)options->keys;
    for (enum phase phase = SET_SERIAL; phase < PHASES && fine; phase++)
        printf("%" PRIu64 ",%" PRIu32 ",%s,%" PRIu64 ",%" PRIu64 ",%.6f,%.0f,%.1f,%.1f\n", ttl_ms,
               shards, phases[phase].name, phases[phase].concurrent ? options->threads : 1,
               options->keys, best[phase].seconds, keys / best[phase].seconds,
               best[phase].cpu_seconds * 1e9 / keys, bytes_per_key);
    fflush(stdout);
    free(bench.value);
    return mayfly_store_close(bench.store) == MAYFLY_OK && fine;
}

static uint64_t number(int argc, char **argv, int *i, uint64_t max)
{
    const char *flag = argv[*i];
    char *end = NULL;
    uint64_t value = ++*i < argc ? strtoull(argv[*i], &end, 10) : 0;
    if (end == NULL || *end != '\0' || value == 0 || value > max) {
        fprintf(stderr, "bench_scaling: %s: expected a number from 1 to %" PRIu64 "\n", flag, max);
        exit(2);
    }
    return value;
}

static struct options parse(int argc, char **argv)
{
    struct options options = {1000000, 1024, 2, 64, 3600000, 1};
    const struct {
        const char *flag;
        uint64_t *number;
        uint64_t max;
    } flags[] = {
        {"--keys", &options.keys, UINT32_MAX},
        {"--value", &options.value_bytes, 1 << 20},
        {"--threads", &options.threads, THREADS_MAX},
        {"--shards-max", &options.shards_max, MAYFLY_STORE_SHARDS_MAX},
        {"--ttl", &options.ttl_ms, UINT32_MAX},
        {"--rounds", &options.rounds, 100},
    };
    const size_t count = sizeof(flags) / sizeof(flags[0]);
    for (int i = 1; i < argc; i++) {
        size_t flag = 0;
        while (flag < count && strcmp(argv[i], flags[flag].flag) != 0)
            flag++;
        if (flag == count) {
            fprintf(stderr,
                    "bench_scaling: %s: expected --keys, --value, --threads, --shards-max, --ttl "
                    "or --rounds\n",
                    argv[i]);
            exit(2);
        }
        *flags[flag].number = number(argc, argv, &i, flags[flag].max);
    }
    return options;
}

int main(int argc, char **argv)
{
    struct options options = parse(argc, argv);
    printf("ttl_ms,shards,operation,mode,threads,operations,seconds,operations_per_second,"
           "cpu_ns_per_operation,bytes_per_key\n");
    fflush(stdout); // or each child would print it again
    for (int with_ttl = 0; with_ttl < 2; with_ttl++) {
        for (uint64_t shards = 1; shards <= options.shards_max; shards *= 2) {
            pid_t child = fork();
            if (child == 0)
                exit(run(&options, (uint32_t)shards, with_ttl ? options.ttl_ms : 0) ? 0 : 1);
            int status = 0;
            if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
                fprintf(stderr, "bench_scaling: %" PRIu64 " shards: failed\n", shards);
                return 1;
            }
        }
    }
    return 0;
}
