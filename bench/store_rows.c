// Rows of 1 to 64 shards: nanoseconds a set and a get, and what a key costs in memory. One thread:
// reactors share nothing, so a node does this once per core. See store.h.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/slots.h"
#include "bench/allocator.h"
#include "bench/store.h"
#include "shards/batch.h"

#define SHARDS_MAX 64u
#define BATCH 64u

struct bench {
    struct store_options options;
    uint32_t shard_count;
    struct mf_shard *shards[SHARDS_MAX];
    uint64_t index[SHARDS_MAX];
    struct mf_buf batch[SHARDS_MAX];
    uint32_t batched[SHARDS_MAX];
    uint8_t *value;
};

static void apply(struct bench *bench, uint32_t shard)
{
    if (bench->batched[shard] == 0)
        return;
    uint64_t index = ++bench->index[shard];
    enum mf_err err = mf_shard_apply(bench->shards[shard], index, index,
                                     mf_buf_view(&bench->batch[shard]), NULL, NULL);
    if (err != MF_OK) {
        fprintf(stderr, "bench_store: %s\n", mf_err_text(err));
        exit(1);
    }
    bench->batched[shard] = 0;
    mf_buf_clear(&bench->batch[shard], SIZE_MAX);
    mf_shard_reclaim(bench->shards[shard]);
}

static void set_all(struct bench *bench)
{
    char key[STORE_KEY_BYTES];
    for (uint64_t i = 0; i < bench->options.keys; i++) {
        store_key(key, i);
        struct mf_command command = {.op = MF_OP_SET, .item_count = 1};
        command.one =
            (struct mf_item){.key = mf_bytes_of(key, STORE_KEY_BYTES),
                             .value = mf_bytes_of(bench->value, bench->options.value_bytes)};
        command.items = &command.one;
        if (bench->options.ttl_ms > 0) {
            command.expiry = MF_EXPIRY_IN;
            // No two deadlines are alike.
            command.expire_us = (int64_t)(bench->options.ttl_ms * 1000 + i);
        }
        uint32_t shard = mf_shard_of_key(command.one.key, bench->shard_count);
        if (bench->batched[shard] == 0)
            mf_batch_begin(&bench->batch[shard], 1);
        mf_batch_add(&bench->batch[shard], &command);
        if (++bench->batched[shard] == BATCH)
            apply(bench, shard);
    }
    for (uint32_t shard = 0; shard < bench->shard_count; shard++)
        apply(bench, shard);
}

// Every key once, in an order that no cache foresees.
static uint64_t get_all(struct bench *bench)
{
    char key[STORE_KEY_BYTES];
    uint64_t found = 0;
    struct mf_buf out = {0};
    for (uint64_t i = 0; i < bench->options.keys; i++) {
        store_key(key, i * UINT64_C(2654435761) % bench->options.keys);
        struct mf_command command = {.op = MF_OP_GET, .item_count = 1};
        command.one.key = mf_bytes_of(key, STORE_KEY_BYTES);
        command.items = &command.one;
        uint32_t shard = mf_shard_of_key(command.one.key, bench->shard_count);
        mf_buf_clear(&out, SIZE_MAX);
        if (mf_shard_read(bench->shards[shard], &command, 1, &out) == MF_OK &&
            out.len > bench->options.value_bytes)
            found++;
    }
    mf_buf_free(&out);
    return found;
}

static void row(const struct store_options *options, uint32_t shard_count)
{
    struct bench *bench = mf_calloc(1, sizeof(*bench));
    bench->options = *options;
    bench->shard_count = shard_count;
    bench->value = mf_calloc(1, options->value_bytes + 1);
    for (uint32_t i = 0; i < shard_count; i++)
        bench->shards[i] = mf_shard_new(i, i + 1);
    uint64_t before_bytes = bench_resident_bytes();
    uint64_t start_us = mf_mono_us();
    set_all(bench);
    uint64_t set_us = mf_mono_us() - start_us;
    uint64_t grown_bytes = bench_resident_bytes() - before_bytes;
    start_us = mf_mono_us();
    uint64_t found = get_all(bench);
    uint64_t get_us = mf_mono_us() - start_us;
    double keys = (double)options->keys;
    printf("%6u  %8.0f  %8.0f  %10.1f%s\n", shard_count, (double)set_us * 1e3 / keys,
           (double)get_us * 1e3 / keys, (double)grown_bytes / keys,
           found > options->keys / 2 ? "" : "  gets failed");
    fflush(stdout);
    for (uint32_t i = 0; i < shard_count; i++) {
        mf_shard_free(bench->shards[i]);
        mf_buf_free(&bench->batch[i]);
    }
    free(bench->value);
    free(bench);
}

int store_rows(const struct store_options *options)
{
    printf("shards  ns a set  ns a get  bytes a key\n");
    fflush(stdout); // or each child would print it again
    // A process for each row: what a row leaves in the allocator would flatter the next.
    for (uint32_t shards = 1; shards <= SHARDS_MAX; shards *= 2) {
        pid_t child = fork();
        if (child == 0) {
            store_set_up_allocator();
            row(options, shards);
            exit(0);
        }
        int status = 0;
        if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
            return 1;
    }
    return 0;
}
