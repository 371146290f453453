// In-process benchmark of the store.
//
//     bench_store [rows|speed|growth|storm] [--keys N] [--value BYTES] [--ttl MS]
//
//     rows    1 to 64 shards: nanoseconds a command, resident memory by key
//     speed   one shard: sets, gets by the owner, gets beside it from one and from two threads
//     growth  one shard from empty to N keys, one set at a time: how long the slowest took, and
//             the most that one of them did to the table
//     storm   N keys due at one instant: how long until all are gone and their events told, what
//             a reader of other keys notices, and when the memory is back
//
// Times on a busy machine vary: compare what one run prints.
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef MF_HAVE_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif

#include "bench/store.h"

void store_key(char key[STORE_KEY_BYTES], uint64_t number)
{
    memcpy(key, "key:", 4);
    for (unsigned i = STORE_KEY_BYTES; i-- > 4; number /= 10)
        key[i] = (char)('0' + number % 10);
}

uint64_t store_cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

void store_set_up_allocator(void)
{
#ifdef MF_HAVE_JEMALLOC
    bool background = true;
    ssize_t decay_ms = 500;
    if (mallctl("arenas.dirty_decay_ms", NULL, NULL, &decay_ms, sizeof(decay_ms)) != 0 ||
        mallctl("arena.0.dirty_decay_ms", NULL, NULL, &decay_ms, sizeof(decay_ms)) != 0 ||
        mallctl("background_thread", NULL, NULL, &background, sizeof(background)) != 0)
        fprintf(stderr, "bench_store: jemalloc keeps its defaults\n");
#endif
}

static void print_head(const struct store_options *options)
{
#ifdef MF_HAVE_JEMALLOC
    const char *version = "?";
    size_t size = sizeof(version);
    if (mallctl("version", (void *)&version, &size, NULL, 0) == 0)
        printf("allocator: jemalloc %s\n", version);
#endif
    printf("%" PRIu64 " keys of %u bytes, values of %" PRIu64 " bytes, TTL %" PRIu64 " ms\n",
           options->keys, STORE_KEY_BYTES, options->value_bytes, options->ttl_ms);
}

static uint64_t number(int argc, char **argv, int *i)
{
    const char *flag = argv[*i];
    char *end = NULL;
    uint64_t value = ++*i < argc ? strtoull(argv[*i], &end, 10) : 0;
    if (end == NULL || *end != '\0' || value == 0 || value > UINT32_MAX) {
        fprintf(stderr, "bench_store: %s: expected a number from 1 to %u\n", flag, UINT32_MAX);
        exit(2);
    }
    return value;
}

static const struct part {
    const char *name;
    int (*run)(const struct store_options *options);
} parts[] = {
    {"rows", store_rows}, {"speed", store_speed}, {"growth", store_growth}, {"storm", store_storm}};

int main(int argc, char **argv)
{
    struct store_options options = {.keys = 1000000, .value_bytes = 32};
    const struct part *part = &parts[0];
    for (int i = 1; i < argc; i++) {
        bool known = false;
        for (size_t n = 0; n < sizeof(parts) / sizeof(parts[0]); n++) {
            if (strcmp(argv[i], parts[n].name) == 0) {
                part = &parts[n];
                known = true;
            }
        }
        if (known)
            continue;
        if (strcmp(argv[i], "--keys") == 0) {
            options.keys = number(argc, argv, &i);
        } else if (strcmp(argv[i], "--value") == 0) {
            options.value_bytes = number(argc, argv, &i);
        } else if (strcmp(argv[i], "--ttl") == 0) {
            options.ttl_ms = number(argc, argv, &i);
        } else {
            fprintf(stderr,
                    "bench_store: %s: expected rows, speed, growth, storm, --keys, --value or "
                    "--ttl\n",
                    argv[i]);
            return 2;
        }
    }
    print_head(&options);
    return part->run(&options);
}
