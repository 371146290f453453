// One shard: how fast it is, what growth costs a single set, and a storm of expiry; see store.c.
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hist.h"
#include "bench/allocator.h"
#include "bench/store.h"
#include "shards/batch.h"
#include "shards/map.h"

#define BATCH 64u
// Coprime to every number of keys that is not a multiple of it: keys in an order no cache foresees.
#define STRIDE UINT64_C(2654435761)
#define EXPIRE_BATCH 256u // as a server does
#define STORM_TTL_US UINT64_C(1000000)

struct one {
    const struct store_options *options;
    struct mf_shard *shard;
    uint64_t index;
    uint64_t log_us;
    struct mf_buf batch;
    uint8_t *value;
    // All keys, in a random order: to make them would cost as much as to look them up.
    char (*keys)[16];
};

static void fail(const char *what)
{
    fprintf(stderr, "bench_store: %s\n", what);
    exit(1);
}

static struct one *open_one(const struct store_options *options)
{
    struct one *one = mf_calloc(1, sizeof(*one));
    one->options = options;
    one->value = mf_calloc(1, options->value_bytes);
    one->keys = mf_alloc(options->keys * sizeof(*one->keys));
    for (uint64_t i = 0; i < options->keys; i++)
        store_key(one->keys[i], i * STRIDE % options->keys);
    one->log_us = 1;
    store_set_up_allocator();
    one->shard = mf_shard_new(0, 1);
    return one;
}

static void close_one(struct one *one)
{
    mf_shard_free(one->shard);
    mf_buf_free(&one->batch);
    free(one->keys);
    free(one->value);
    free(one);
}

static void begin(struct one *one)
{
    mf_buf_clear(&one->batch, SIZE_MAX);
    mf_batch_begin(&one->batch, 1);
}

static void add_set(struct one *one, const char *key, uint64_t ttl_us)
{
    struct mf_command command = {.op = MF_OP_SET, .item_count = 1};
    command.one = (struct mf_item){.key = mf_bytes_of(key, STORE_KEY_BYTES),
                                   .value = mf_bytes_of(one->value, one->options->value_bytes)};
    command.items = &command.one;
    command.expiry = ttl_us > 0 ? MF_EXPIRY_IN : MF_EXPIRY_NONE;
    command.expire_us = (int64_t)ttl_us;
    mf_batch_add(&one->batch, &command);
}

static void apply(struct one *one)
{
    if (mf_shard_apply(one->shard, ++one->index, one->log_us, mf_buf_view(&one->batch), NULL,
                       NULL) != MF_OK)
        fail("an entry was refused");
    mf_shard_reclaim(one->shard);
}

// No two deadlines are alike.
static uint64_t ttl_of(const struct one *one, uint64_t i)
{
    return one->options->ttl_ms > 0 ? one->options->ttl_ms * 1000 + i : 0;
}

static void set_all(struct one *one)
{
    for (uint64_t i = 0; i < one->options->keys;) {
        begin(one);
        for (uint32_t n = 0; n < BATCH && i < one->options->keys; n++, i++)
            add_set(one, one->keys[i], ttl_of(one, i));
        apply(one);
    }
}

static void get_all(struct one *one, struct mf_map_reader *reader)
{
    struct mf_buf out = {0};
    struct mf_command command = {.op = MF_OP_GET, .item_count = 1};
    command.items = &command.one;
    for (uint64_t i = 0; i < one->options->keys; i++) {
        mf_buf_clear(&out, SIZE_MAX);
        command.one.key = mf_bytes_of(one->keys[i], STORE_KEY_BYTES);
        enum mf_err err = reader == NULL
                              ? mf_shard_read(one->shard, &command, 1, &out)
                              : mf_shard_read_shared(one->shard, reader, &command, 1, &out);
        if (err != MF_OK || out.len < one->options->value_bytes)
            fail("a get failed");
    }
    mf_buf_free(&out);
}

#define MANY 32u

static void mget_all(struct one *one, struct mf_map_reader *reader)
{
    struct mf_buf out = {0};
    struct mf_item items[MANY];
    struct mf_command command = {.op = MF_OP_MGET, .items = items};
    for (uint64_t i = 0; i < one->options->keys;) {
        command.item_count = 0;
        for (; command.item_count < MANY && i < one->options->keys; i++)
            items[command.item_count++] =
                (struct mf_item){.key = mf_bytes_of(one->keys[i], STORE_KEY_BYTES)};
        mf_buf_clear(&out, SIZE_MAX);
        if (mf_shard_read_shared(one->shard, reader, &command, 1, &out) != MF_OK ||
            out.len < one->options->value_bytes * command.item_count)
            fail("an mget failed");
    }
    mf_buf_free(&out);
}

// What a reader that needs no copy pays, as the embedded store does.
static void view_all(struct one *one, struct mf_map_reader *reader)
{
    uint64_t seen = 0;
    for (uint64_t i = 0; i < one->options->keys; i++) {
        mf_map_read_begin(reader);
        const struct mf_entry *entry =
            mf_map_read(reader, mf_bytes_of(one->keys[i], STORE_KEY_BYTES));
        seen += entry != NULL && mf_entry_deadline(entry) > 1 && mf_entry_value(entry).len > 0;
        mf_map_read_end(reader);
    }
    if (seen != one->options->keys)
        fail("a read failed");
}

struct timing {
    uint64_t cpu_ns;
    uint64_t wall_us;
};

static struct timing now(void)
{
    return (struct timing){store_cpu_ns(), mf_mono_us()};
}

static void print_since(const struct one *one, const char *what, struct timing start)
{
    struct timing end = now();
    double cpu_ns = (double)(end.cpu_ns - start.cpu_ns) / (double)one->options->keys;
    double wall_ns = (double)(end.wall_us - start.wall_us) * 1e3 / (double)one->options->keys;
    printf("%-34s %6.0f ns of processor time, %6.2f M/s; %6.0f ns by the clock\n", what, cpu_ns,
           1e3 / cpu_ns, wall_ns);
    fflush(stdout);
}

#define READ_ROUNDS 4

struct reading {
    struct one *one;
    pthread_t thread;
    uint64_t cpu_ns;
};

static void *read_rounds(void *arg)
{
    struct reading *reading = arg;
    struct mf_map_reader *reader = mf_map_reader_new(mf_shard_map(reading->one->shard));
    uint64_t start_ns = store_cpu_ns();
    for (int i = 0; i < READ_ROUNDS; i++)
        get_all(reading->one, reader);
    reading->cpu_ns = store_cpu_ns() - start_ns;
    mf_map_reader_free(reader);
    return NULL;
}

// Reads a second of processor time by `threads` threads together.
static double read_beside(struct one *one, unsigned threads)
{
    struct reading readings[2] = {{.one = one}, {.one = one}};
    for (unsigned i = 0; i < threads; i++) {
        if (pthread_create(&readings[i].thread, NULL, read_rounds, &readings[i]) != 0)
            fail("no thread");
    }
    double rate = 0;
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(readings[i].thread, NULL);
        rate += (double)one->options->keys * READ_ROUNDS * 1e3 / (double)readings[i].cpu_ns;
    }
    return rate;
}

int store_speed(const struct store_options *options)
{
    struct one *one = open_one(options);
    struct timing start = now();
    set_all(one);
    print_since(one, "set of a new key, 64 an entry", start);
    start = now();
    set_all(one);
    print_since(one, "set of a key that is there", start);
    for (int i = 0; i < 2; i++) {
        start = now();
        get_all(one, NULL);
        print_since(one, "get by the owner", start);
    }
    struct mf_map_reader *reader = mf_map_reader_new(mf_shard_map(one->shard));
    start = now();
    view_all(one, reader);
    print_since(one, "read in place, beside the owner", start);
    start = now();
    mget_all(one, reader);
    print_since(one, "key of an mget of 32, beside it", start);
    mf_map_reader_free(reader);
    double alone = read_beside(one, 1);
    double both = read_beside(one, 2);
    printf("gets beside the owner: one thread %.2f M/s, two %.2f M/s, ratio %.2f\n", alone, both,
           both / alone);
    close_one(one);
    return 0;
}

int store_growth(const struct store_options *options)
{
    struct one *one = open_one(options);
    struct mf_hist *hist = mf_calloc(1, sizeof(*hist));
    const struct mf_map *map = mf_shard_map(one->shard);
    uint64_t work_max = 0;
    uint64_t work = mf_map_work(map);
    uint64_t resident = bench_resident_bytes();
    for (uint64_t i = 0; i < options->keys; i++) {
        begin(one);
        add_set(one, one->keys[i], ttl_of(one, i));
        uint64_t start_ns = store_cpu_ns();
        apply(one);
        mf_hist_add(hist, store_cpu_ns() - start_ns);
        uint64_t done = mf_map_work(map) - work;
        work += done;
        work_max = done > work_max ? done : work_max;
    }
    static const double percents[] = {50, 99, 99.9, 99.99, 99.999};
    printf("a set of its own, processor time:");
    for (size_t i = 0; i < sizeof(percents) / sizeof(percents[0]); i++)
        printf(" p%g %.1f us,", percents[i], (double)mf_hist_percentile(hist, percents[i]) / 1e3);
    printf(" slowest %.1f us\n", (double)hist->max / 1e3);
    printf("most steps of growth in one set: %" PRIu64 "\n", work_max);
    printf("resident: %.1f bytes a key\n",
           (double)(bench_resident_bytes() - resident) / (double)options->keys);
    free(hist);
    close_one(one);
    return 0;
}

// A reader of keys that stay, on a thread of its own.
struct witness {
    struct one *one;
    struct mf_hist *hist; // of this period, which only the witness writes
    _Atomic bool stop;
    uint64_t kept;
};

static void *bear_witness(void *arg)
{
    struct witness *witness = arg;
    struct mf_map_reader *reader = mf_map_reader_new(mf_shard_map(witness->one->shard));
    struct mf_buf out = {0};
    char key[STORE_KEY_BYTES];
    struct mf_command command = {.op = MF_OP_GET, .item_count = 1};
    command.items = &command.one;
    command.one.key = mf_bytes_of(key, STORE_KEY_BYTES);
    for (uint64_t i = 0; !atomic_load(&witness->stop); i++) {
        store_key(key, witness->one->options->keys + i * STRIDE % witness->kept);
        uint64_t start_ns = store_cpu_ns();
        do
            mf_buf_clear(&out, SIZE_MAX);
        while (mf_shard_read_shared(witness->one->shard, reader, &command, 1, &out) == MF_AGAIN);
        mf_hist_add(witness->hist, store_cpu_ns() - start_ns);
        if (out.len < witness->one->options->value_bytes)
            fail("a key that stays was not found");
    }
    mf_buf_free(&out);
    mf_map_reader_free(reader);
    return NULL;
}

static void start_witness(struct witness *witness, pthread_t *thread)
{
    witness->hist = mf_calloc(1, sizeof(*witness->hist));
    atomic_store(&witness->stop, false);
    if (pthread_create(thread, NULL, bear_witness, witness) != 0)
        fail("no thread");
}

static double end_witness(struct witness *witness, pthread_t thread)
{
    atomic_store(&witness->stop, true);
    pthread_join(thread, NULL);
    double p99_us = (double)mf_hist_percentile(witness->hist, 99) / 1e3;
    free(witness->hist);
    return p99_us;
}

static void count_event(void *arg, const struct mf_event *event)
{
    *(uint64_t *)arg += event->event == MF_EVENT_EXPIRE;
}

// Entries of EXPIRE_DUE until nothing is due; the slowest of them.
static uint64_t expire_all(struct one *one)
{
    struct mf_command expire = {.op = MF_OP_EXPIRE_DUE, .limit = EXPIRE_BATCH};
    uint64_t slowest_ns = 0;
    while (mf_shard_next_deadline(one->shard) <= one->log_us) {
        begin(one);
        mf_batch_add(&one->batch, &expire);
        uint64_t start_ns = store_cpu_ns();
        apply(one);
        uint64_t took_ns = store_cpu_ns() - start_ns;
        slowest_ns = took_ns > slowest_ns ? took_ns : slowest_ns;
    }
    return slowest_ns;
}

int store_storm(const struct store_options *options)
{
    struct one *one = open_one(options);
    struct witness witness = {.one = one, .kept = options->keys / 10 + 1};
    char key[STORE_KEY_BYTES];
    for (uint64_t i = 0; i < witness.kept; i++) {
        store_key(key, options->keys + i);
        begin(one);
        add_set(one, key, 0);
        apply(one);
    }
    uint64_t before = bench_resident_bytes();
    for (uint64_t i = 0; i < options->keys; i++) {
        begin(one);
        add_set(one, one->keys[i], STORM_TTL_US);
        apply(one);
    }
    uint64_t full = bench_resident_bytes();
    pthread_t thread;
    start_witness(&witness, &thread);
    usleep(500000);
    double calm_us = end_witness(&witness, thread);
    uint64_t events = 0;
    mf_shard_listen(one->shard, count_event, &events);
    one->log_us += STORM_TTL_US;
    start_witness(&witness, &thread);
    struct timing start = now();
    uint64_t slowest_ns = expire_all(one);
    struct timing end = now();
    double storm_us = end_witness(&witness, thread);
    printf("%" PRIu64 " events, all keys gone after %.0f ms (%.0f ms of processor time), slowest "
           "entry %.0f us\n",
           events, (double)(end.wall_us - start.wall_us) / 1e3,
           (double)(end.cpu_ns - start.cpu_ns) / 1e6, (double)slowest_ns / 1e3);
    printf("p99 of a read beside it: %.1f us before, %.1f us meanwhile\n", calm_us, storm_us);
    uint64_t back_us = 0;
    while (bench_resident_bytes() > before + (full - before) / 4 && back_us < 60000000) {
        usleep(10000);
        mf_shard_reclaim(one->shard);
        back_us = mf_mono_us() - end.wall_us;
    }
    printf("resident: %.0f MB before, %.0f MB full, %.0f MB %.1f s later\n", (double)before / 1e6,
           (double)full / 1e6, (double)bench_resident_bytes() / 1e6, (double)back_us / 1e6);
    close_one(one);
    return events == options->keys ? 0 : 1;
}
