// memcached's protocol for mayfly-bench, in its meta commands, of which one increments a counter
// that is not there yet. It has no transactions.
#include <string.h>
#include <time.h>

#include "bench/load/wire.h"

#define COUNTER_TTL_S 3600u
#define RELATIVE_MAX_S 2592000u // longer times to live are dates
#define REQUEST_BYTES 256u      // beside values

// Answers.

// A value's header, "VA LENGTH", and then the value.
static ssize_t take_value(const uint8_t *data, size_t line, size_t len, struct load_answer *answer)
{
    uint64_t size;
    if (!load_number(data + 3, line - 3, &size) || size > (uint64_t)1 << 32)
        return WIRE_BROKEN;
    size_t whole = line + 2 + size + 2;
    if (len < whole)
        return 0;
    *answer = (struct load_answer){.type = LOAD_BYTES, .data = data + line + 2, .len = size};
    return memcmp(data + whole - 2, "\r\n", 2) == 0 ? (ssize_t)whole : WIRE_BROKEN;
}

static ssize_t format_take(const struct load_call *call, const uint8_t *data, size_t len,
                           struct load_answer *answer)
{
    const uint8_t *end = memmem(data, len, "\r\n", 2);
    if (end == NULL)
        return 0;
    size_t line = (size_t)(end - data);
    ssize_t used = (ssize_t)line + 2;
    if (line > 3 && memcmp(data, "VA ", 3) == 0) {
        used = take_value(data, line, len, answer);
        if (used > 0 && call->kind == LOAD_INCR)
            answer->type = load_number(answer->data, answer->len, &answer->integer) ? LOAD_INTEGER
                                                                                    : LOAD_STRANGE;
        return used;
    }
    bool deletes = call->kind == LOAD_DEL;
    if (line == 2 && memcmp(data, "HD", 2) == 0)
        *answer = (struct load_answer){.type = deletes ? LOAD_INTEGER : LOAD_DONE, .integer = 1};
    else if (line == 2 && (memcmp(data, "EN", 2) == 0 || (deletes && memcmp(data, "NF", 2) == 0)))
        *answer = (struct load_answer){.type = deletes ? LOAD_INTEGER : LOAD_NIL};
    else
        *answer = (struct load_answer){.type = LOAD_FAILED, .data = data, .len = line};
    return used;
}

// Requests.

static void put_key(struct mf_buf *out, const struct load_call *call)
{
    out->len += load_call_key(call, (char *)mf_buf_reserve(out, LOAD_KEY_BYTES));
}

static void put_ttl(struct mf_buf *out, int64_t ttl_ms)
{
    uint64_t seconds = ((uint64_t)ttl_ms + 999) / 1000;
    WIRE_PUT(out, " T");
    wire_put_number(out, seconds > RELATIVE_MAX_S ? seconds + (uint64_t)time(NULL) : seconds);
}

static void put_set(struct mf_buf *out, const struct load_call *call)
{
    const struct load_plan *plan = call->client->worker->run->plan;
    WIRE_PUT(out, "ms ");
    put_key(out, call);
    mf_buf_u8(out, ' ');
    wire_put_number(out, plan->value_bytes);
    if (plan->ttl_ms > 0)
        put_ttl(out, plan->ttl_ms);
    WIRE_PUT(out, "\r\n");
    load_call_value(call, mf_buf_reserve(out, plan->value_bytes));
    out->len += plan->value_bytes;
    WIRE_PUT(out, "\r\n");
}

static void format_put(const struct load_call *call, struct mf_buf *out)
{
    (void)mf_buf_reserve(out, REQUEST_BYTES);
    switch (call->kind) {
    case LOAD_SET:
        put_set(out, call);
        break;
    case LOAD_INCR: // one where there is none
        WIRE_PUT(out, "ma ");
        put_key(out, call);
        WIRE_PUT(out, " v J1 N");
        wire_put_number(out, COUNTER_TTL_S);
        WIRE_PUT(out, "\r\n");
        break;
    case LOAD_DEL:
        WIRE_PUT(out, "md ");
        put_key(out, call);
        WIRE_PUT(out, "\r\n");
        break;
    default:
        WIRE_PUT(out, "mg ");
        put_key(out, call);
        WIRE_PUT(out, " v\r\n");
        break;
    }
}

static const struct wire_format format = {.put = format_put, .take = format_take};

static bool memcache_begin(struct load_run *run)
{
    return wire_begin(run, &format);
}

const struct load_protocol load_memcache = {
    .name = "memcache",
    .endpoints = "127.0.0.1:11211",
    .kinds = 1u << LOAD_GET | 1u << LOAD_SET | 1u << LOAD_INCR | 1u << LOAD_DEL,
    .pipeline_max = 4096,
    .has_ttl = true,
    .begin = memcache_begin,
    .end = wire_end,
    .open = wire_open,
    .close = wire_close,
    .submit = wire_submit,
    .turn = wire_turn,
};
