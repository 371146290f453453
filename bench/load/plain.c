// MessagePack-RPC for mayfly-bench on plain connections: the server's part of that protocol,
// without what a client library does beside it. There are no routing, no ids of writes and no
// second attempts. Answers come in any order.
#include <string.h>

#include "bench/load/wire.h"
#include "rpc/msgpack_scan.h"

#define COUNTER_TTL_MS 3600000u
#define REQUEST_BYTES 128u // beside the value
#define ANSWER_BYTES_MAX ((size_t)1 << 30)

// Answers: [1, msgid, error, result].

static bool next_uint(struct mf_msgpack_in *in, uint64_t *out)
{
    struct mf_msgpack_token token;
    if (mf_msgpack_next(in, &token) != MF_OK || token.type != MF_MP_UINT)
        return false;
    *out = token.uinteger;
    return true;
}

// False: it is no answer. The cursor is behind the msgid then.
static bool open_answer(struct mf_msgpack_in *in, uint64_t *msgid)
{
    struct mf_msgpack_token array;
    uint64_t type;
    return mf_msgpack_next(in, &array) == MF_OK && array.type == MF_MP_ARRAY && array.count == 4 &&
           next_uint(in, &type) && type == 1 && next_uint(in, msgid);
}

static ssize_t plain_which(const uint8_t *data, size_t len, uint32_t *number)
{
    struct mf_msgpack_scan scan = {0};
    size_t size;
    enum mf_err err = mf_msgpack_scan(&scan, mf_bytes_of(data, len), ANSWER_BYTES_MAX, &size);
    if (err == MF_AGAIN)
        return 0;
    struct mf_msgpack_in in = {mf_reader_of(mf_bytes_of(data, len))};
    uint64_t msgid;
    if (err != MF_OK || !open_answer(&in, &msgid) || msgid > UINT32_MAX)
        return WIRE_BROKEN;
    *number = (uint32_t)msgid;
    return (ssize_t)size;
}

// [code, message, details]
static struct load_answer failure(struct mf_msgpack_in *in, const struct mf_msgpack_token *error)
{
    struct mf_msgpack_token text;
    if (error->type != MF_MP_ARRAY || error->count != 3 || mf_msgpack_next(in, &text) != MF_OK ||
        mf_msgpack_next(in, &text) != MF_OK || text.type != MF_MP_STR)
        return (struct load_answer){.type = LOAD_STRANGE};
    return (struct load_answer){
        .type = LOAD_FAILED, .data = text.bytes.data, .len = text.bytes.len};
}

static struct load_answer result_of(const struct load_call *call, struct mf_msgpack_in *in)
{
    struct load_answer answer = {.type = LOAD_STRANGE};
    struct mf_msgpack_token token;
    if (mf_msgpack_next(in, &token) != MF_OK)
        return answer;
    if (token.type == MF_MP_NIL) {
        answer.type = LOAD_NIL;
    } else if (call->kind == LOAD_GET && token.type == MF_MP_BIN) {
        answer = (struct load_answer){
            .type = LOAD_BYTES, .data = token.bytes.data, .len = token.bytes.len};
    } else if (call->kind == LOAD_SET && token.type == MF_MP_MAP && token.count == 1) {
        answer.type = LOAD_DONE;
    } else if ((call->kind == LOAD_INCR || call->kind == LOAD_DEL) && token.type == MF_MP_UINT) {
        answer = (struct load_answer){.type = LOAD_INTEGER, .integer = token.uinteger};
    }
    return answer;
}

static ssize_t plain_take(const struct load_call *call, const uint8_t *data, size_t len,
                          struct load_answer *answer)
{
    struct mf_msgpack_in in = {mf_reader_of(mf_bytes_of(data, len))};
    struct mf_msgpack_token error;
    uint64_t msgid;
    if (!open_answer(&in, &msgid) || mf_msgpack_next(&in, &error) != MF_OK)
        return WIRE_BROKEN;
    *answer = error.type == MF_MP_NIL ? result_of(call, &in) : failure(&in, &error);
    return (ssize_t)len;
}

// Requests: [0, msgid, method, params].

static void put_bytes_head(struct mf_buf *out, size_t len)
{
    if (len <= UINT8_MAX) {
        mf_buf_u8(out, 0xc4);
    } else {
        mf_buf_u8(out, 0xc6);
        mf_buf_u8(out, (uint8_t)(len >> 24));
        mf_buf_u8(out, (uint8_t)(len >> 16));
        mf_buf_u8(out, (uint8_t)(len >> 8));
    }
    mf_buf_u8(out, (uint8_t)len);
}

static void put_u64(struct mf_buf *out, uint64_t value)
{
    mf_buf_u8(out, 0xcf);
    for (int shift = 56; shift >= 0; shift -= 8)
        mf_buf_u8(out, (uint8_t)(value >> shift));
}

static void put_key(struct mf_buf *out, const struct load_call *call)
{
    char key[LOAD_KEY_BYTES];
    size_t len = load_call_key(call, key);
    put_bytes_head(out, len);
    mf_buf_put(out, key, len);
}

static void put_ttl(struct mf_buf *out, uint64_t ttl_ms)
{
    WIRE_PUT(out, "\x81\xa3ttl");
    put_u64(out, ttl_ms);
}

static void put_set(struct mf_buf *out, const struct load_call *call)
{
    const struct load_plan *plan = call->client->worker->run->plan;
    WIRE_PUT(out, "\xa3set");
    mf_buf_u8(out, plan->ttl_ms > 0 ? 0x93 : 0x92);
    put_key(out, call);
    put_bytes_head(out, plan->value_bytes);
    load_call_value(call, mf_buf_reserve(out, plan->value_bytes));
    out->len += plan->value_bytes;
    if (plan->ttl_ms > 0)
        put_ttl(out, (uint64_t)plan->ttl_ms);
}

static void plain_put(const struct load_call *call, struct mf_buf *out)
{
    (void)mf_buf_reserve(out, REQUEST_BYTES + LOAD_KEY_BYTES);
    WIRE_PUT(out, "\x94\x00\xce");
    for (int shift = 24; shift >= 0; shift -= 8)
        mf_buf_u8(out, (uint8_t)(call->number >> shift));
    switch (call->kind) {
    case LOAD_SET:
        put_set(out, call);
        break;
    case LOAD_INCR:
        WIRE_PUT(out, "\xa4incr\x93");
        put_key(out, call);
        mf_buf_u8(out, 1);
        put_ttl(out, COUNTER_TTL_MS);
        break;
    case LOAD_DEL:
        WIRE_PUT(out, "\xa3"
                      "del\x91\x91");
        put_key(out, call);
        break;
    default:
        WIRE_PUT(out, "\xa3get\x91");
        put_key(out, call);
        break;
    }
}

static const struct wire_format format = {
    .put = plain_put, .which = plain_which, .take = plain_take};

static bool plain_begin(struct load_run *run)
{
    return wire_begin(run, &format);
}

const struct load_protocol load_plain = {
    .name = "rpc-plain",
    .endpoints = "127.0.0.1:7001",
    .kinds = 1u << LOAD_GET | 1u << LOAD_SET | 1u << LOAD_INCR | 1u << LOAD_DEL,
    .pipeline_max = 4096,
    .has_ttl = true,
    .begin = plain_begin,
    .end = wire_end,
    .open = wire_open,
    .close = wire_close,
    .submit = wire_submit,
    .turn = wire_turn,
};
