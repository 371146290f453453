// Driving one shard in tests: build a command, apply it at a log time, look at its result.
#ifndef MF_TESTS_SHARD_FIXTURE_H
#define MF_TESTS_SHARD_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "shards/batch.h"
#include "shards/shard.h"

struct fixture {
    struct mf_shard *shard;
    uint64_t index;
    uint64_t now_us; // of the entries to come
    struct mf_buf batch;
    struct mf_buf result; // of the last command applied
};

static inline struct fixture *fixture_new(void)
{
    struct fixture *f = mf_calloc(1, sizeof(*f));
    f->shard = mf_shard_new(1, 99);
    f->now_us = 1000;
    return f;
}

static inline void fixture_free(struct fixture *f)
{
    assert_true(mf_shard_valid(f->shard));
    mf_shard_free(f->shard);
    mf_buf_free(&f->batch);
    mf_buf_free(&f->result);
    free(f);
}

static inline void keep_result(void *arg, uint32_t n, struct mf_bytes result)
{
    struct fixture *f = arg;
    (void)n;
    mf_buf_clear(&f->result, SIZE_MAX);
    mf_buf_put(&f->result, result.data, result.len);
}

static inline struct mf_result decode_result(struct mf_buf *buf)
{
    struct mf_reader r = mf_reader_of(mf_buf_view(buf));
    struct mf_result result;
    assert_int_equal(mf_result_decode(&r, &result), MF_OK);
    assert_int_equal(mf_reader_left(&r), 0);
    return result;
}

// Applies one command as an entry of its own at f->now_us.
static inline struct mf_result apply(struct fixture *f, struct mf_command command)
{
    if (command.items == NULL && command.item_count == 1)
        command.items = &command.one;
    mf_buf_clear(&f->batch, SIZE_MAX);
    mf_batch_begin(&f->batch, 1);
    mf_batch_add(&f->batch, &command);
    assert_int_equal(
        mf_shard_apply(f->shard, ++f->index, f->now_us, mf_buf_view(&f->batch), keep_result, f),
        MF_OK);
    return decode_result(&f->result);
}

// A command of one key.
static inline struct mf_command one(enum mf_opcode op, const char *key)
{
    return (struct mf_command){.op = op, .item_count = 1, .one = {.key = mf_bytes_str(key)}};
}

static inline struct mf_command set(const char *key, const char *value)
{
    struct mf_command command = one(MF_OP_SET, key);
    command.one.value = mf_bytes_str(value);
    return command;
}

static inline struct mf_command set_for(const char *key, const char *value, int64_t ttl_us)
{
    struct mf_command command = set(key, value);
    command.expiry = MF_EXPIRY_IN;
    command.expire_us = ttl_us;
    return command;
}

static inline struct mf_command expire(const char *key, int64_t ttl_us, uint32_t flags)
{
    struct mf_command command = one(MF_OP_EXPIRE, key);
    command.flags = flags;
    command.expiry = MF_EXPIRY_IN;
    command.expire_us = ttl_us;
    return command;
}

static inline struct mf_command with_flags(struct mf_command command, uint32_t flags)
{
    command.flags |= flags;
    return command;
}

static inline struct mf_command if_version(struct mf_command command, uint64_t version)
{
    command.flags |= MF_IF_VERSION;
    command.if_version = version;
    return command;
}

static inline struct mf_command with_id(struct mf_command command, const char *id)
{
    command.id = mf_bytes_str(id);
    return command;
}

// Reads at f->now_us, which may be ahead of the last entry.
static inline enum mf_err try_read(struct fixture *f, struct mf_command command)
{
    if (command.items == NULL && command.item_count == 1)
        command.items = &command.one;
    mf_buf_clear(&f->result, SIZE_MAX);
    return mf_shard_read(f->shard, &command, f->now_us, &f->result);
}

static inline struct mf_result read_one(struct fixture *f, struct mf_command command)
{
    assert_int_equal(try_read(f, command), MF_OK);
    return decode_result(&f->result);
}

static inline void assert_value(struct fixture *f, const char *key, const char *value)
{
    struct mf_result result = read_one(f, one(MF_OP_GET, key));
    if (value == NULL) {
        assert_int_equal(result.kind, MF_RESULT_NIL);
        return;
    }
    assert_int_equal(result.kind, MF_RESULT_BYTES);
    assert_true(mf_bytes_equal(result.value, mf_bytes_str(value)));
}

static inline int64_t ttl_of(struct fixture *f, const char *key)
{
    return read_one(f, one(MF_OP_TTL, key)).integer;
}

static inline int64_t size_of(struct fixture *f)
{
    return read_one(f, (struct mf_command){.op = MF_OP_SIZE}).integer;
}

static inline uint64_t version_of(struct fixture *f)
{
    struct mf_shard_meta meta;
    mf_shard_meta(f->shard, &meta);
    return meta.version;
}

#endif
