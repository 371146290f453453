// What single calls of the embedded store meet: growth, memory, and many deadlines at one instant.
//
//     bench_embedded [--keys N] [--storm N]
//
// Prints CSV, a figure a line:
//
//     growth   every set of a store that grows from nothing to N keys is timed, and the resident
//              memory that a key costs is measured; keys of 14 bytes, values of 32
//     storm    N keys are due at one instant while one thread reads others all the time: how long
//              until they are gone, what memory is left, and what the reads felt of it
//
// Each in a process of its own. Times are those of a clock on the wall: on a machine with other
// work the upper percentiles tell of that work.
#include <inttypes.h>
#include <mayfly/store.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hist.h"
#include "bench/allocator.h"

#define KEY_BYTES 14u
#define VALUE_BYTES 32u
#define READ_KEYS 100000u
// The reader begins that long before the deadline of the storm, when all its keys are set.
#define CALM_US 200000u

static uint64_t now_ns(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000 + (uint64_t)at.tv_nsec;
}

static struct mayfly_bytes make_key(char key[KEY_BYTES + 1], char kind, uint64_t number)
{
    snprintf(key, KEY_BYTES + 1, "%c:%012" PRIu64, kind, number % UINT64_C(1000000000000));
    return (struct mayfly_bytes){key, KEY_BYTES};
}

static bool put(struct mayfly_store *store, char kind, uint64_t number,
                const struct mayfly_options *options)
{
    static const uint8_t value[VALUE_BYTES] = {1};
    char key[KEY_BYTES + 1];
    struct mayfly_bytes bytes = {value, VALUE_BYTES};
    return mayfly_store_set(store, make_key(key, kind, number), bytes, options, NULL) == MAYFLY_OK;
}

static void tell_hist(const char *name, const struct mf_hist *hist)
{
    static const double percents[] = {50, 99, 99.9, 99.999};
    for (size_t i = 0; i < sizeof(percents) / sizeof(percents[0]); i++)
        printf("%s p%g,%.2f,us\n", name, percents[i],
               (double)mf_hist_percentile(hist, percents[i]) / 1e3);
    printf("%s max,%.2f,us\n", name, (double)hist->max / 1e3);
}

static bool growth(uint64_t keys, int64_t ttl_ms)
{
    struct mayfly_store *store;
    struct mayfly_store_options one = {.shards = 1};
    struct mayfly_options ttl = {.flags = MAYFLY_FLAG_TTL, .ttl_ms = ttl_ms};
    struct mf_hist *hist = calloc(1, sizeof(*hist));
    if (hist == NULL || mayfly_store_open(&one, &store) != MAYFLY_OK)
        return false;
    const char *name = ttl_ms > 0 ? "growth with TTL: set" : "growth: set";
    uint64_t before_bytes = bench_resident_bytes();
    bool fine = true;
    for (uint64_t i = 0; i < keys && fine; i++) {
        uint64_t start_ns = now_ns();
        fine = put(store, 'g', i, ttl_ms > 0 ? &ttl : NULL);
        mf_hist_add(hist, now_ns() - start_ns);
    }
    tell_hist(name, hist);
    printf("%s,%.1f,bytes\n", ttl_ms > 0 ? "a key with TTL in memory" : "a key in memory",
           (double)(bench_resident_bytes() - before_bytes) / (double)keys);
    free(hist);
    return mayfly_store_close(store) == MAYFLY_OK && fine;
}

struct storm {
    struct mayfly_store *store;
    atomic_int stage; // 0: calm, 1: storm, 2: over
    struct mf_hist calm;
    struct mf_hist windy;
    uint64_t failed;
};

static void *read_through(void *arg)
{
    struct storm *storm = arg;
    char key[KEY_BYTES + 1];
    char value[VALUE_BYTES];
    for (uint64_t i = 0;; i++) {
        int stage = atomic_load(&storm->stage);
        if (stage == 2)
            return NULL;
        struct mayfly_entry entry;
        struct mayfly_bytes bytes = make_key(key, 'r', i * UINT64_C(2654435761) % READ_KEYS);
        uint64_t start_ns = now_ns();
        enum mayfly_err err = mayfly_store_copy(storm->store, bytes, value, VALUE_BYTES, &entry);
        mf_hist_add(stage == 0 ? &storm->calm : &storm->windy, now_ns() - start_ns);
        storm->failed += err != MAYFLY_OK || !entry.found;
    }
}

static uint64_t keys_in_memory(struct mayfly_store *store)
{
    struct mayfly_store_stats stats = {0};
    return mayfly_store_stats(store, &stats) == MAYFLY_OK ? stats.keys : 0;
}

static void sleep_us(uint64_t us)
{
    usleep((useconds_t)us);
}

// Sets all keys of the storm with one deadline, and goes on to a later one until it was far enough
// away for that. 0 when something failed.
static uint64_t gather(struct storm *storm, uint64_t keys)
{
    for (uint64_t patience_ms = 1000;; patience_ms *= 2) {
        uint64_t due_ms = mf_wall_us() / 1000 + patience_ms;
        struct mayfly_options due = {.flags = MAYFLY_FLAG_EXPIRE_AT,
                                     .expire_at_ms = (int64_t)due_ms};
        for (uint64_t i = 0; i < keys; i++) {
            if (!put(storm->store, 's', i, &due))
                return 0;
        }
        if (mf_wall_us() + CALM_US < due_ms * 1000)
            return due_ms;
    }
}

static bool storm_of(uint64_t keys)
{
    struct storm *storm = calloc(1, sizeof(*storm));
    if (storm == NULL || mayfly_store_open(NULL, &storm->store) != MAYFLY_OK)
        return false;
    for (uint64_t i = 0; i < READ_KEYS; i++) {
        if (!put(storm->store, 'r', i, NULL))
            return false;
    }
    uint64_t due_ms = gather(storm, keys);
    if (due_ms == 0)
        return false;
    uint64_t full_bytes = bench_resident_bytes();
    pthread_t reader;
    uint64_t left_us = due_ms * 1000 - mf_wall_us();
    sleep_us(left_us > CALM_US ? left_us - CALM_US : 0);
    if (pthread_create(&reader, NULL, read_through, storm) != 0)
        return false;
    for (uint64_t now_us = mf_wall_us(); now_us < due_ms * 1000; now_us = mf_wall_us())
        sleep_us(due_ms * 1000 - now_us);
    atomic_store(&storm->stage, 1);
    while (keys_in_memory(storm->store) > READ_KEYS)
        sleep_us(1000);
    uint64_t took_us = mf_wall_us() - due_ms * 1000;
    atomic_store(&storm->stage, 2);
    pthread_join(reader, NULL);
    bench_purge();
    printf("storm: keys due,%" PRIu64 ",keys\n", keys);
    printf("storm: all gone after,%.3f,s\n", (double)took_us / 1e6);
    printf("storm: resident before,%.1f,MiB\n", (double)full_bytes / 1048576);
    printf("storm: resident after,%.1f,MiB\n", (double)bench_resident_bytes() / 1048576);
    tell_hist("storm: get before", &storm->calm);
    tell_hist("storm: get during", &storm->windy);
    bool fine = storm->failed == 0 && mayfly_store_close(storm->store) == MAYFLY_OK;
    free(storm);
    return fine;
}

static bool in_child(const char *name, uint64_t keys)
{
    fflush(stdout); // or the child would print it again
    pid_t child = fork();
    if (child == 0) {
        bool fine = strcmp(name, "storm") == 0 ? storm_of(keys)
                                               : growth(keys, name[0] == 't' ? 3600000 : 0);
        exit(fine ? 0 : 1);
    }
    int status = 0;
    if (child > 0 && waitpid(child, &status, 0) == child && status == 0)
        return true;
    fprintf(stderr, "bench_embedded: %s: failed\n", name);
    return false;
}

static bool parse_number(const char *text, uint64_t *number)
{
    char *end = NULL;
    *number = text != NULL ? strtoull(text, &end, 10) : 0;
    return end != NULL && *end == '\0' && *number > 0 && *number <= 100000000;
}

int main(int argc, char **argv)
{
    uint64_t keys = 1000000;
    uint64_t storm = 1000000;
    for (int i = 1; i < argc; i += 2) {
        uint64_t *number = strcmp(argv[i], "--keys") == 0    ? &keys
                           : strcmp(argv[i], "--storm") == 0 ? &storm
                                                             : NULL;
        if (number == NULL || !parse_number(argv[i + 1], number)) {
            fprintf(stderr,
                    "bench_embedded: %s: expected --keys or --storm, and a number from 1 to "
                    "100000000\n",
                    argv[i]);
            return 2;
        }
    }
    printf("figure,value,unit\n");
    bool fine = in_child("growth", keys) && in_child("ttl", keys) && in_child("storm", storm);
    return fine ? 0 : 1;
}
