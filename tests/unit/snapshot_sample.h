// A small snapshot file to be tampered with, for the tests of damage and salvage.
#ifndef MF_TESTS_SNAPSHOT_SAMPLE_H
#define MF_TESTS_SNAPSHOT_SAMPLE_H

#include "snapshot/format.h"
#include "snapshot_fixture.h"
#include "snapshot_reseal.h"

// A small file in memory, with the model it holds: three shards of four, several blocks.
struct sample {
    struct model model;
    uint8_t *bytes;
    size_t size;
    struct parts parts;
    const char *path; // of the copy that a test tampers with
};

// Shard 3 is left out, so that a shard without a section is there to be named.
static inline void write_sample(struct model *model, const char *path)
{
    struct mf_snapshot_writer *writer = create(path, 4);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(mf_snapshot_begin_shard(writer, i, &model->metas[i], model->walls[i]),
                         MF_OK);
    for (size_t i = 0; i < model->count; i++)
        assert_int_equal(mf_snapshot_put(writer, model->shard_of[i], &model->records[i]), MF_OK);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(mf_snapshot_end_shard(writer, i), MF_OK);
    commit(writer);
}

static inline void add_keys(struct model *model, int count)
{
    for (int i = 0, added = 0; added < count; i++) {
        char key[32];
        snprintf(key, sizeof(key), "key:%d", i);
        if (mf_shard_of_key(mf_bytes_str(key), 4) == 3)
            continue;
        struct mf_record record = {.key = mf_bytes_str(key),
                                   .value = mf_bytes_str("a value that is a value, is a value"),
                                   .deadline_us = i % 3 == 0 ? MF_NO_DEADLINE : 1000000};
        model_add(model, &record, 0);
        added += 1;
    }
}

static inline struct sample sample_new(void **state)
{
    struct sample sample = {.model = model_new(4), .path = path_in(state, "sample.mfs")};
    add_keys(&sample.model, 12);
    struct mf_record id = {.is_id = true,
                           .key = mf_bytes_str("retry-1"),
                           .value = mf_bytes_str("\x05"),
                           .deadline_us = 600000000};
    model_add(&sample.model, &id, 1);
    write_sample(&sample.model, sample.path);
    sample.bytes = read_whole(sample.path, &sample.size);
    assert_true(find_parts(sample.bytes, sample.size, &sample.parts));
    return sample;
}

static inline void sample_free(struct sample *sample)
{
    model_free(&sample->model);
    free(sample->bytes);
}

// The blocks that end before `end`, and their records.
static inline size_t count_blocks(const struct sample *sample, size_t end, uint64_t *records)
{
    size_t count = 0;
    *records = 0;
    for (size_t n = 0; find_nth_block(sample->bytes, &sample->parts, n) != 0; n++) {
        const uint8_t *block = sample->bytes + find_nth_block(sample->bytes, &sample->parts, n);
        size_t stored = (size_t)get_le(block + BLOCK_STORED_BYTES, 4);
        if (block + MF_SNAPSHOT_BLOCK_HEADER_BYTES + stored > sample->bytes + end)
            break;
        *records += get_le(block + BLOCK_RECORDS, 4);
        count += 1;
    }
    return count;
}

#endif
