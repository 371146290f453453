// The binary form of results; see result.h for what the fields mean.
//
//     u8 kind, then
//     BOOL     u8 0 or 1
//     INT      i64
//     BYTES    u32 length, bytes
//     WRITTEN  u8 old (0 not asked for, 1 none, 2 there), u64 version; with 2 u32 length, old value
//     META     u64 version, i64 ttl_ms, u32 length, value
//     LIST     u32 count, u64 length, elements
//     ERROR    u8 code, u32 length, message
//     TXN      u8 0 or 1, then as LIST
//
// Results are stored with remembered ids, so this form is part of the snapshot's content.
#include "base/result.h"

#include <assert.h>

enum old { OLD_NOT_ASKED, OLD_NONE, OLD_THERE };

static void encode_written(const struct mf_result *result, struct mf_buf *out)
{
    assert(result->with_old || !result->has_old);
    enum old old = result->has_old ? OLD_THERE : result->with_old ? OLD_NONE : OLD_NOT_ASKED;
    mf_buf_u8(out, (uint8_t)old);
    mf_buf_u64(out, result->version);
    if (old == OLD_THERE)
        mf_buf_blob(out, result->value);
}

static void encode_list(const struct mf_result *result, struct mf_buf *out)
{
    mf_buf_u32(out, result->count);
    mf_buf_u64(out, result->value.len);
    mf_buf_put(out, result->value.data, result->value.len);
}

void mf_result_encode(const struct mf_result *result, struct mf_buf *out)
{
    mf_buf_u8(out, (uint8_t)result->kind);
    switch (result->kind) {
    case MF_RESULT_NIL:
        break;
    case MF_RESULT_LIST:
        encode_list(result, out);
        break;
    case MF_RESULT_TXN:
        mf_buf_u8(out, result->integer != 0);
        encode_list(result, out);
        break;
    case MF_RESULT_BOOL:
        mf_buf_u8(out, result->integer != 0);
        break;
    case MF_RESULT_INT:
        mf_buf_u64(out, (uint64_t)result->integer);
        break;
    case MF_RESULT_BYTES:
        mf_buf_blob(out, result->value);
        break;
    case MF_RESULT_WRITTEN:
        encode_written(result, out);
        break;
    case MF_RESULT_META:
        mf_buf_u64(out, result->version);
        mf_buf_u64(out, (uint64_t)result->ttl_ms);
        mf_buf_blob(out, result->value);
        break;
    case MF_RESULT_ERROR:
        assert(result->err > MF_OK && result->err < MF_ERR_COUNT);
        mf_buf_u8(out, (uint8_t)result->err);
        mf_buf_blob(out, result->value);
        break;
    }
}

static enum mf_err decode_written(struct mf_reader *r, struct mf_result *result)
{
    unsigned old = mf_read_u8(r);
    if (old > OLD_THERE)
        return MF_CORRUPT;
    result->with_old = old != OLD_NOT_ASKED;
    result->has_old = old == OLD_THERE;
    result->version = mf_read_u64(r);
    if (result->has_old)
        result->value = mf_read_blob(r);
    return MF_OK;
}

static enum mf_err decode_list(struct mf_reader *r, struct mf_result *result)
{
    result->count = mf_read_u32(r);
    uint64_t len = mf_read_u64(r);
    // Every element takes at least its kind.
    if (result->count > len)
        return MF_CORRUPT;
    result->value = mf_read_bytes(r, (size_t)len);
    return MF_OK;
}

static enum mf_err decode_error(struct mf_reader *r, struct mf_result *result)
{
    unsigned err = mf_read_u8(r);
    if (err == MF_OK || err >= MF_ERR_COUNT)
        return MF_CORRUPT;
    result->err = (enum mf_err)err;
    result->value = mf_read_blob(r);
    return MF_OK;
}

enum mf_err mf_result_decode(struct mf_reader *r, struct mf_result *result)
{
    *result = (struct mf_result){0};
    enum mf_err err = MF_OK;
    unsigned kind = mf_read_u8(r);
    switch (kind) {
    case MF_RESULT_NIL:
        break;
    case MF_RESULT_BOOL:
        result->integer = mf_read_u8(r);
        err = result->integer > 1 ? MF_CORRUPT : MF_OK;
        break;
    case MF_RESULT_INT:
        result->integer = (int64_t)mf_read_u64(r);
        break;
    case MF_RESULT_BYTES:
        result->value = mf_read_blob(r);
        break;
    case MF_RESULT_WRITTEN:
        err = decode_written(r, result);
        break;
    case MF_RESULT_META:
        result->version = mf_read_u64(r);
        result->ttl_ms = (int64_t)mf_read_u64(r);
        result->value = mf_read_blob(r);
        break;
    case MF_RESULT_LIST:
        err = decode_list(r, result);
        break;
    case MF_RESULT_TXN:
        result->integer = mf_read_u8(r);
        err = result->integer > 1 ? MF_CORRUPT : decode_list(r, result);
        break;
    case MF_RESULT_ERROR:
        err = decode_error(r, result);
        break;
    default:
        return MF_CORRUPT;
    }
    result->kind = (enum mf_result_kind)kind;
    return r->failed ? MF_CORRUPT : err;
}

void mf_result_nil(struct mf_buf *out)
{
    mf_buf_u8(out, MF_RESULT_NIL);
}

void mf_result_bool(struct mf_buf *out, bool value)
{
    mf_buf_u8(out, MF_RESULT_BOOL);
    mf_buf_u8(out, value);
}

void mf_result_int(struct mf_buf *out, int64_t value)
{
    mf_buf_u8(out, MF_RESULT_INT);
    mf_buf_u64(out, (uint64_t)value);
}

void mf_result_bytes(struct mf_buf *out, struct mf_bytes value)
{
    mf_buf_reserve(out, 5 + value.len);
    mf_buf_u8(out, MF_RESULT_BYTES);
    mf_buf_blob(out, value);
}

void mf_result_error(struct mf_buf *out, enum mf_err err, const char *message)
{
    struct mf_result result = {
        .kind = MF_RESULT_ERROR,
        .err = err,
        .value = mf_bytes_str(message != NULL ? message : mf_err_text(err)),
    };
    mf_result_encode(&result, out);
}

size_t mf_result_list_begin(struct mf_buf *out, uint32_t count)
{
    mf_buf_u8(out, MF_RESULT_LIST);
    mf_buf_u32(out, count);
    mf_buf_u64(out, 0);
    return out->len;
}

static void put_at(struct mf_buf *out, size_t at, size_t bytes, uint64_t value)
{
    for (size_t i = 0; i < bytes; i++)
        out->data[at + i] = (uint8_t)(value >> (8 * i));
}

void mf_result_list_end(struct mf_buf *out, size_t list)
{
    assert(list <= out->len);
    put_at(out, list - 8, 8, out->len - list);
}

size_t mf_result_txn_begin(struct mf_buf *out, bool ok)
{
    mf_buf_u8(out, MF_RESULT_TXN);
    mf_buf_u8(out, ok);
    mf_buf_u32(out, 0);
    mf_buf_u64(out, 0);
    return out->len;
}

void mf_result_txn_end(struct mf_buf *out, size_t list, uint32_t count)
{
    mf_result_list_end(out, list);
    put_at(out, list - 12, 4, count);
}
