// Replies: what msgpack-c packs goes straight to the end of the connection's output buffer.
//
// The packer keeps no state between calls, so each function sets one up on its stack.
#include "rpc/msgpack_rpc.h"

#include <msgpack/pack.h>
#include <string.h>

// A LIST holds plain results; deeper ones come from nowhere in this program.
#define LIST_DEPTH_MAX 4

static int append(void *data, const char *bytes, size_t len)
{
    mf_buf_put(data, bytes, len);
    return 0;
}

static msgpack_packer packer_of(struct mf_buf *out)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, append);
    return packer;
}

void mf_pack_nil(struct mf_buf *out)
{
    msgpack_packer packer = packer_of(out);
    msgpack_pack_nil(&packer);
}

void mf_pack_bool(struct mf_buf *out, bool value)
{
    msgpack_packer packer = packer_of(out);
    if (value)
        msgpack_pack_true(&packer);
    else
        msgpack_pack_false(&packer);
}

void mf_pack_int(struct mf_buf *out, int64_t value)
{
    msgpack_packer packer = packer_of(out);
    msgpack_pack_int64(&packer, value);
}

void mf_pack_uint(struct mf_buf *out, uint64_t value)
{
    msgpack_packer packer = packer_of(out);
    msgpack_pack_uint64(&packer, value);
}

void mf_pack_double(struct mf_buf *out, double value)
{
    msgpack_packer packer = packer_of(out);
    msgpack_pack_double(&packer, value);
}

static void pack_text(struct mf_buf *out, struct mf_bytes text)
{
    msgpack_packer packer = packer_of(out);
    msgpack_pack_str(&packer, text.len);
    msgpack_pack_str_body(&packer, text.data, text.len);
}

void mf_pack_str(struct mf_buf *out, const char *text)
{
    pack_text(out, mf_bytes_str(text));
}

void mf_pack_bin(struct mf_buf *out, struct mf_bytes bytes)
{
    msgpack_packer packer = packer_of(out);
    msgpack_pack_bin(&packer, bytes.len);
    msgpack_pack_bin_body(&packer, bytes.data, bytes.len);
}

void mf_pack_array(struct mf_buf *out, uint32_t count)
{
    msgpack_packer packer = packer_of(out);
    msgpack_pack_array(&packer, count);
}

void mf_pack_map(struct mf_buf *out, uint32_t pairs)
{
    msgpack_packer packer = packer_of(out);
    msgpack_pack_map(&packer, pairs);
}

static void begin_response(struct mf_buf *out, uint32_t msgid)
{
    mf_pack_array(out, 4);
    mf_pack_uint(out, 1);
    mf_pack_uint(out, msgid);
}

void mf_rpc_reply_begin(struct mf_buf *out, uint32_t msgid)
{
    begin_response(out, msgid);
    mf_pack_nil(out);
}

static void reply_error(struct mf_buf *out, uint32_t msgid, enum mf_err err,
                        struct mf_bytes message)
{
    // What is only known inside the process is an internal error to everyone else.
    enum mf_err seen = err > MF_INTERNAL ? MF_INTERNAL : err;
    begin_response(out, msgid);
    mf_pack_array(out, 3);
    mf_pack_str(out, mf_err_name(seen));
    pack_text(out, message.len > 0 ? message : mf_bytes_str(mf_err_text(err)));
    mf_pack_map(out, 0);
    mf_pack_nil(out);
}

void mf_rpc_reply_error(struct mf_buf *out, uint32_t msgid, enum mf_err err, const char *message)
{
    reply_error(out, msgid, err, message != NULL ? mf_bytes_str(message) : mf_bytes_of(NULL, 0));
}

static void pack_version_or_nil(struct mf_buf *out, uint64_t version)
{
    if (version == 0)
        mf_pack_nil(out);
    else
        mf_pack_uint(out, version);
}

static void pack_written(struct mf_buf *out, const struct mf_result *result)
{
    if (!result->with_old && result->version == 0) {
        mf_pack_nil(out);
        return;
    }
    mf_pack_map(out, result->with_old ? 2 : 1);
    pack_text(out, mf_bytes_str("version"));
    pack_version_or_nil(out, result->version);
    if (!result->with_old)
        return;
    mf_pack_str(out, "old");
    if (result->has_old)
        mf_pack_bin(out, result->value);
    else
        mf_pack_nil(out);
}

static void pack_meta(struct mf_buf *out, const struct mf_result *result)
{
    mf_pack_map(out, 3);
    mf_pack_str(out, "value");
    mf_pack_bin(out, result->value);
    mf_pack_str(out, "version");
    mf_pack_uint(out, result->version);
    mf_pack_str(out, "ttl");
    mf_pack_int(out, result->ttl_ms);
}

static bool pack_result(struct mf_buf *out, const struct mf_result *result, unsigned depth);

static bool pack_list(struct mf_buf *out, const struct mf_result *list, unsigned depth);

static bool pack_txn(struct mf_buf *out, const struct mf_result *result, unsigned depth)
{
    mf_pack_map(out, 2);
    mf_pack_str(out, "ok");
    mf_pack_bool(out, result->integer != 0);
    mf_pack_str(out, "results");
    return pack_list(out, result, depth);
}

static bool pack_list(struct mf_buf *out, const struct mf_result *list, unsigned depth)
{
    if (depth == LIST_DEPTH_MAX)
        return false;
    struct mf_reader reader = mf_reader_of(list->value);
    mf_pack_array(out, list->count);
    for (uint32_t i = 0; i < list->count; i++) {
        struct mf_result element;
        if (mf_result_decode(&reader, &element) != MF_OK || !pack_result(out, &element, depth + 1))
            return false;
    }
    return mf_reader_left(&reader) == 0;
}

// False for a result that no shard makes: damaged, or an error where a value belongs.
static bool pack_result(struct mf_buf *out, const struct mf_result *result, unsigned depth)
{
    switch (result->kind) {
    case MF_RESULT_NIL:
        mf_pack_nil(out);
        return true;
    case MF_RESULT_BOOL:
        mf_pack_bool(out, result->integer != 0);
        return true;
    case MF_RESULT_INT:
        mf_pack_int(out, result->integer);
        return true;
    case MF_RESULT_BYTES:
        mf_pack_bin(out, result->value);
        return true;
    case MF_RESULT_WRITTEN:
        pack_written(out, result);
        return true;
    case MF_RESULT_META:
        pack_meta(out, result);
        return true;
    case MF_RESULT_LIST:
        return pack_list(out, result, depth);
    case MF_RESULT_TXN:
        return pack_txn(out, result, depth);
    case MF_RESULT_ERROR:
        break;
    }
    return false;
}

void mf_rpc_reply_result(struct mf_buf *out, uint32_t msgid, const struct mf_result *result)
{
    if (result->kind == MF_RESULT_ERROR) {
        reply_error(out, msgid, result->err, result->value);
        return;
    }
    size_t start = out->len;
    mf_rpc_reply_begin(out, msgid);
    if (pack_result(out, result, 0))
        return;
    out->len = start;
    mf_rpc_reply_error(out, msgid, MF_INTERNAL, "the result is damaged");
}
