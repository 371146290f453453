// etcd for mayfly-bench, by the JSON gateway of its version 3 over HTTP/1.1, on connections that
// are kept. The gateway is a part of each etcd and adds to what it costs; etcd's own clients speak
// gRPC. It can get, set and delete. Longer answers come in chunks, which is why values are short
// here.
#include <string.h>

#include "base/text.h"
#include "bench/load/wire.h"

#define REQUEST_BYTES 256u // beside values
#define VALUE_BYTES_MAX 1024u

// Answers.

// What lies behind `name` in the text, up to `end`; false when it is not there.
static bool find(struct mf_bytes text, const char *name, char end, struct mf_bytes *out)
{
    const uint8_t *at = memmem(text.data, text.len, name, strlen(name));
    if (at == NULL)
        return false;
    at += strlen(name);
    const uint8_t *stop = memchr(at, end, text.len - (size_t)(at - text.data));
    if (stop == NULL)
        return false;
    *out = mf_bytes_of(at, (size_t)(stop - at));
    return true;
}

static struct load_answer answer_of(const struct load_call *call, struct mf_bytes body)
{
    struct mf_buf *value = &call->client->worker->scratch;
    struct load_answer answer = {.type = LOAD_STRANGE};
    struct mf_bytes found;
    if (!find(body, "\"header\":{", '}', &found))
        return answer;
    switch (call->kind) {
    case LOAD_SET:
        answer.type = LOAD_DONE;
        break;
    case LOAD_DEL:
        if (!find(body, "\"deleted\":\"", '"', &found))
            found = mf_bytes_str("0");
        if (load_number(found.data, found.len, &answer.integer))
            answer.type = LOAD_INTEGER;
        break;
    default:
        mf_buf_clear(value, SIZE_MAX);
        if (!find(body, "\"kvs\":[", ']', &found))
            answer.type = LOAD_NIL;
        else if (find(body, "\"value\":\"", '"', &found) && mf_base64_take(found, value))
            answer =
                (struct load_answer){.type = LOAD_BYTES, .data = value->data, .len = value->len};
        break;
    }
    return answer;
}

static ssize_t format_take(const struct load_call *call, const uint8_t *data, size_t len,
                           struct load_answer *answer)
{
    const uint8_t *end = memmem(data, len, "\r\n\r\n", 4);
    struct mf_bytes digits;
    uint64_t length;
    if (end == NULL)
        return 0;
    const uint8_t *body = end + 4;
    struct mf_bytes head = mf_bytes_of(data, (size_t)(body - data));
    if (!find(head, "\r\nContent-Length: ", '\r', &digits) ||
        !load_number(digits.data, digits.len, &length) || length > UINT32_MAX)
        return WIRE_BROKEN;
    if (len - head.len < length)
        return 0;
    if (head.len > 13 && memcmp(data, "HTTP/1.1 200 ", 13) == 0)
        *answer = answer_of(call, mf_bytes_of(body, length));
    else
        *answer = (struct load_answer){.type = LOAD_FAILED, .data = body, .len = length};
    return (ssize_t)(head.len + length);
}

// Requests.

static size_t base64_bytes(size_t len)
{
    return (len + 2) / 3 * 4;
}

static void format_put(const struct load_call *call, struct mf_buf *out)
{
    const struct load_plan *plan = call->client->worker->run->plan;
    uint8_t value[VALUE_BYTES_MAX];
    char key[LOAD_KEY_BYTES];
    size_t key_len = load_call_key(call, key);
    bool sets = call->kind == LOAD_SET;
    size_t length = sizeof("{\"key\":\"\"}") - 1 + base64_bytes(key_len);
    if (sets)
        length += sizeof(",\"value\":\"\"") - 1 + base64_bytes(plan->value_bytes);
    (void)mf_buf_reserve(out, REQUEST_BYTES + length);
    WIRE_PUT(out, "POST /v3/kv/");
    if (sets)
        WIRE_PUT(out, "put");
    else if (call->kind == LOAD_DEL)
        WIRE_PUT(out, "deleterange");
    else
        WIRE_PUT(out, "range");
    WIRE_PUT(out, " HTTP/1.1\r\nHost: etcd\r\nContent-Length: ");
    wire_put_number(out, length);
    WIRE_PUT(out, "\r\n\r\n{\"key\":\"");
    mf_base64_put(out, mf_bytes_of(key, key_len));
    if (sets) {
        load_call_value(call, value);
        WIRE_PUT(out, "\",\"value\":\"");
        mf_base64_put(out, mf_bytes_of(value, plan->value_bytes));
    }
    WIRE_PUT(out, "\"}");
}

static const struct wire_format format = {.put = format_put, .take = format_take};

static bool etcd_begin(struct load_run *run)
{
    return wire_begin(run, &format);
}

const struct load_protocol load_etcd = {
    .name = "etcd",
    .endpoints = "127.0.0.1:2379",
    .kinds = 1u << LOAD_GET | 1u << LOAD_SET | 1u << LOAD_DEL,
    .pipeline_max = 1,
    .value_bytes_max = VALUE_BYTES_MAX,
    .begin = etcd_begin,
    .end = wire_end,
    .open = wire_open,
    .close = wire_close,
    .submit = wire_submit,
    .turn = wire_turn,
};
