// What the tests of snapshots share: a temporary folder, a model of a cluster's content, writing it
// to a file, and comparing a file with it.
#ifndef MF_TESTS_SNAPSHOT_FIXTURE_H
#define MF_TESTS_SNAPSHOT_FIXTURE_H

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rand.h"
#include "base/slots.h"
#include "snapshot/reader.h"
#include "snapshot/writer.h"

static inline int make_folder(void **state)
{
    char *folder = mf_strdup("/tmp/mayfly-snapshot-XXXXXX");
    *state = folder;
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static inline int remove_entry(const char *path, const struct stat *about, int type,
                               struct FTW *where)
{
    (void)about;
    (void)type;
    (void)where;
    return remove(path);
}

static inline int remove_folder(void **state)
{
    int removed = nftw(*state, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return removed;
}

// A path in the test's folder, valid for the next 31 calls.
static inline const char *path_in(void **state, const char *name)
{
    static char paths[32][256];
    static unsigned turn;
    char *path = paths[turn++ % 32];
    snprintf(path, sizeof(paths[0]), "%s/%s", (const char *)*state, name);
    return path;
}

static inline unsigned files_in(const char *folder)
{
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    unsigned count = 0;
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

// The caller frees the bytes.
static inline uint8_t *read_whole(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *size = (size_t)ftell(file);
    rewind(file);
    uint8_t *bytes = mf_alloc(*size);
    assert_int_equal(fread(bytes, 1, *size, file), *size);
    fclose(file);
    return bytes;
}

static inline void write_whole(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

struct model {
    struct mf_record *records; // of all shards, in the order they are put
    uint32_t *shard_of;
    size_t count;
    size_t cap;
    uint32_t shard_count;
    struct mf_shard_meta *metas; // by shard
    uint64_t *walls;
};

static inline struct mf_bytes copy_of(struct mf_bytes bytes)
{
    uint8_t *copy = mf_alloc(bytes.len);
    if (bytes.len > 0)
        memcpy(copy, bytes.data, bytes.len);
    return mf_bytes_of(copy, bytes.len);
}

static inline void free_bytes(struct mf_bytes bytes)
{
    union {
        const uint8_t *from;
        void *to;
    } data = {.from = bytes.data};
    free(data.to);
}

static inline struct model model_new(uint32_t shard_count)
{
    struct model model = {.shard_count = shard_count};
    model.metas = mf_calloc(shard_count, sizeof(*model.metas));
    model.walls = mf_calloc(shard_count, sizeof(*model.walls));
    for (uint32_t i = 0; i < shard_count; i++) {
        model.metas[i].applied = 1000 + i;
        model.metas[i].log_time_us = 5000000 + i;
        model.metas[i].rolling_hash = 0x1234567890abcdefu * (i + 1);
        model.metas[i].hash_seed = i % 3 == 1 ? 0 : 77 + i;
        model.walls[i] = UINT64_C(1700000000000000) + 10 * i;
    }
    return model;
}

static inline void model_free(struct model *model)
{
    for (size_t i = 0; i < model->count; i++) {
        free_bytes(model->records[i].key);
        free_bytes(model->records[i].value);
    }
    free(model->records);
    free(model->shard_of);
    free(model->metas);
    free(model->walls);
}

// Copies key and value. An id goes to `shard`, a key to its own.
static inline void model_add(struct model *model, const struct mf_record *record, uint32_t shard)
{
    if (model->count == model->cap) {
        model->cap = model->cap > 0 ? model->cap * 2 : 16;
        model->records = mf_realloc(model->records, model->cap * sizeof(*model->records));
        model->shard_of = mf_realloc(model->shard_of, model->cap * sizeof(*model->shard_of));
    }
    if (!record->is_id)
        shard = mf_shard_of_key(record->key, model->shard_count);
    struct mf_shard_meta *meta = &model->metas[shard];
    meta->version += 1;
    *(record->is_id ? &meta->ids : &meta->keys) += 1;
    struct mf_record copy = *record;
    copy.key = copy_of(record->key);
    copy.value = copy_of(record->value);
    copy.version = meta->version;
    model->records[model->count] = copy;
    model->shard_of[model->count++] = shard;
}

// Keys and ids with values of all sorts of lengths, some of them hard to compress.
static inline void model_fill(struct model *model, size_t count, size_t value_max, uint64_t seed)
{
    struct mf_rand rand = {seed};
    uint8_t *value = mf_alloc(value_max);
    for (size_t i = 0; i < count; i++) {
        char key[64];
        snprintf(key, sizeof(key), "key-%zu-%llx", i, (unsigned long long)mf_rand_next(&rand));
        size_t len = (size_t)mf_rand_below(&rand, value_max);
        bool noise = mf_rand_below(&rand, 2) == 0;
        for (size_t n = 0; n < len; n++)
            value[n] = noise ? (uint8_t)mf_rand_next(&rand) : (uint8_t)(n / 16);
        struct mf_record record = {.key = mf_bytes_str(key), .value = mf_bytes_of(value, len)};
        record.is_id = mf_rand_below(&rand, 8) == 0;
        record.deadline_us =
            mf_rand_below(&rand, 2) == 0 ? MF_NO_DEADLINE : mf_rand_below(&rand, 20000000);
        model_add(model, &record, (uint32_t)mf_rand_below(&rand, model->shard_count));
    }
    free(value);
}

static inline struct mf_snapshot_writer *create(const char *path, uint32_t shard_count)
{
    struct mf_snapshot_info info = {
        .cluster = "demo", .shard_count = shard_count, .created_us = 1700000000123456};
    struct mf_snapshot_writer *writer = NULL;
    char message[512];
    assert_int_equal(mf_snapshot_create(path, &info, &writer, message, sizeof(message)), MF_OK);
    return writer;
}

static inline struct mf_snapshot_totals commit(struct mf_snapshot_writer *writer)
{
    struct mf_snapshot_totals totals;
    char message[512];
    assert_int_equal(mf_snapshot_commit(writer, &totals, message, sizeof(message)), MF_OK);
    return totals;
}

// Writes every shard of the model, records interleaved as they are in it.
static inline struct mf_snapshot_totals model_write(const struct model *model, const char *path)
{
    struct mf_snapshot_writer *writer = create(path, model->shard_count);
    for (uint32_t i = 0; i < model->shard_count; i++)
        assert_int_equal(mf_snapshot_begin_shard(writer, i, &model->metas[i], model->walls[i]),
                         MF_OK);
    for (size_t i = 0; i < model->count; i++)
        assert_int_equal(mf_snapshot_put(writer, model->shard_of[i], &model->records[i]), MF_OK);
    for (uint32_t i = 0; i < model->shard_count; i++)
        assert_int_equal(mf_snapshot_end_shard(writer, i), MF_OK);
    return commit(writer);
}

static inline struct mf_snapshot_reader *open_sound(const char *path)
{
    struct mf_snapshot_reader *reader = NULL;
    char message[512] = "";
    enum mf_err err = mf_snapshot_open(path, &reader, message, sizeof(message));
    if (err != MF_OK)
        fail_msg("%s", message);
    return reader;
}

// What opening and checking everything gives; message is always set.
static inline enum mf_err verify(const char *path, char *message, size_t message_size)
{
    struct mf_snapshot_reader *reader = NULL;
    snprintf(message, message_size, "sound");
    enum mf_err err = mf_snapshot_open(path, &reader, message, message_size);
    if (err == MF_OK)
        err = mf_snapshot_verify(reader, message, message_size);
    mf_snapshot_close(reader);
    return err;
}

static inline void assert_record_equal(const struct mf_record *a, const struct mf_record *b)
{
    assert_int_equal(a->is_id, b->is_id);
    assert_true(mf_bytes_equal(a->key, b->key));
    assert_true(mf_bytes_equal(a->value, b->value));
    assert_int_equal(a->version, b->version);
    assert_int_equal(a->deadline_us, b->deadline_us);
}

// The place in a model up to which the keys and ids of one shard have been seen.
struct expected {
    const struct model *model;
    uint32_t shard;
    size_t next_key;
    size_t next_id;
    uint64_t seen;
};

// Keys come in the order they were put, and so do ids; which of the two comes first is open.
static inline enum mf_err expect_record(void *arg, const struct mf_record *record)
{
    struct expected *expected = arg;
    const struct model *model = expected->model;
    size_t *next = record->is_id ? &expected->next_id : &expected->next_key;
    while (*next < model->count && (model->shard_of[*next] != expected->shard ||
                                    model->records[*next].is_id != record->is_id))
        *next += 1;
    assert_true(*next < model->count);
    assert_record_equal(record, &model->records[*next]);
    *next += 1;
    expected->seen += 1;
    return MF_OK;
}

static inline void assert_section_is(struct mf_snapshot_reader *reader, uint32_t i,
                                     const struct model *model)
{
    const struct mf_snapshot_shard *section = mf_snapshot_section(reader, i);
    assert_memory_equal(&section->meta, &model->metas[section->shard], sizeof(section->meta));
    assert_int_equal(section->wall_us, model->walls[section->shard]);
    struct expected expected = {.model = model, .shard = section->shard};
    char message[512];
    assert_int_equal(
        mf_snapshot_read(reader, i, expect_record, &expected, message, sizeof(message)), MF_OK);
    assert_int_equal(expected.seen, section->meta.keys + section->meta.ids);
}

#endif
