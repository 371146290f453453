// Commands of MessagePack-RPC: their parameters by the table of commands, and what the node adds.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/txn.h"
#include "rpc/msgpack_parse.h"

// An item is 32 bytes where its key may be 2 on the wire: without a bound, a message of many tiny
// keys would cost sixteen times its size.
#define KEYS_MAX (1u << 20)
// Keys that one scan looks at when it is not told.
#define SCAN_COUNT 10u

bool mf_parse_key(struct parser *p, struct mf_bytes *out)
{
    struct mf_msgpack_token token;
    if (!mf_parse_next(p, &token))
        return false;
    if (!mf_parse_is_bytes(&token) || token.bytes.len == 0)
        return mf_parse_refuse_value(p, "the key", &token, "a string or binary that is not empty");
    if (token.bytes.len > p->limits->key_bytes_max)
        return mf_parse_refuse(p, MF_TOO_LARGE, "%s: the key is %zu bytes, at most %zu are allowed",
                               p->name, token.bytes.len, p->limits->key_bytes_max);
    *out = token.bytes;
    return true;
}

bool mf_parse_value(struct parser *p, struct mf_bytes *out)
{
    struct mf_msgpack_token token;
    if (!mf_parse_next(p, &token))
        return false;
    if (!mf_parse_is_bytes(&token))
        return mf_parse_refuse_value(p, "the value", &token, "a string or binary");
    if (token.bytes.len > p->limits->value_bytes_max)
        return mf_parse_refuse(p, MF_TOO_LARGE,
                               "%s: the value is %zu bytes, at most %zu are allowed", p->name,
                               token.bytes.len, p->limits->value_bytes_max);
    *out = token.bytes;
    return true;
}

static bool take_key(struct parser *p)
{
    struct mf_command *command = p->command;
    command->items = &command->one;
    command->item_count = 1;
    return mf_parse_key(p, &command->one.key);
}

static bool take_ttl(struct parser *p)
{
    struct mf_msgpack_token token;
    int64_t ttl_ms;
    if (!mf_parse_next(p, &token))
        return false;
    if (!mf_parse_to_integer(&token, &ttl_ms) || ttl_ms > MF_TTL_MS_MAX)
        return mf_parse_refuse_value(p, "the ttl", &token,
                                     "an integer of milliseconds up to 9007199254740991");
    p->command->expiry = MF_EXPIRY_IN;
    p->command->expire_us = ttl_ms <= 0 ? 0 : ttl_ms * 1000; // however negative: the key goes
    return true;
}

static bool take_delta(struct parser *p)
{
    struct mf_msgpack_token token;
    if (!mf_parse_next(p, &token))
        return false;
    bool fits = token.type == MF_MP_INT ||
                (token.type == MF_MP_UINT && token.uinteger <= (uint64_t)INT64_MAX);
    if (!fits)
        return mf_parse_refuse_value(p, "the delta", &token, "an integer of 64 signed bits");
    p->command->number = token.type == MF_MP_INT ? (uint64_t)token.integer : token.uinteger;
    return true;
}

static bool take_cursor(struct parser *p)
{
    struct mf_msgpack_token token;
    if (!mf_parse_next(p, &token))
        return false;
    if (token.type != MF_MP_UINT)
        return mf_parse_refuse_value(p, "the cursor", &token, "an unsigned integer of 64 bits");
    p->command->number = token.uinteger;
    p->command->limit = SCAN_COUNT;
    p->command->body = mf_bytes_str("*");
    return true;
}

static struct mf_item *add_item(struct parser *p)
{
    struct mf_rpc_request *request = p->request;
    struct mf_command *command = p->command;
    if (command->item_count == request->items_cap) {
        request->items_cap = request->items_cap == 0 ? 16 : request->items_cap * 2;
        request->items = mf_realloc(request->items, request->items_cap * sizeof(*request->items));
    }
    struct mf_item *item = &request->items[command->item_count++];
    *item = (struct mf_item){0};
    return item;
}

static bool take_count(struct parser *p, const char *what, const char *expected, uint32_t *count)
{
    struct mf_msgpack_token token;
    if (!mf_parse_next(p, &token))
        return false;
    if (token.type != MF_MP_ARRAY)
        return mf_parse_refuse_value(p, what, &token, expected);
    if (token.count > KEYS_MAX)
        return mf_parse_refuse(p, MF_TOO_LARGE,
                               "%s: %" PRIu32 " keys in one request, at most %u are allowed",
                               p->name, token.count, KEYS_MAX);
    *count = token.count;
    return true;
}

static bool take_keys(struct parser *p)
{
    uint32_t count = 0;
    if (!take_count(p, "the first parameter", "an array of keys", &count))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        if (!mf_parse_key(p, &add_item(p)->key))
            return false;
    }
    p->command->items = p->request->items;
    return true;
}

static bool take_pairs(struct parser *p)
{
    uint32_t count = 0;
    if (!take_count(p, "the first parameter", "an array of [key, value] pairs", &count))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        struct mf_msgpack_token pair;
        if (!mf_parse_next(p, &pair))
            return false;
        if (pair.type != MF_MP_ARRAY || pair.count != 2)
            return mf_parse_refuse_value(p, "a pair", &pair, "an array of a key and a value");
        struct mf_item *item = add_item(p);
        if (!mf_parse_key(p, &item->key) || !mf_parse_value(p, &item->value))
            return false;
    }
    p->command->items = p->request->items;
    return true;
}

static bool take_param(struct parser *p, enum mf_param param)
{
    switch (param) {
    case MF_PARAM_KEY:
        return take_key(p);
    case MF_PARAM_KEYS:
        return take_keys(p);
    case MF_PARAM_PAIRS:
        return take_pairs(p);
    case MF_PARAM_VALUE:
        return mf_parse_value(p, &p->command->one.value);
    case MF_PARAM_TTL:
        return take_ttl(p);
    case MF_PARAM_DELTA:
        return take_delta(p);
    case MF_PARAM_CURSOR:
        return take_cursor(p);
    case MF_PARAM_TXN:
        return mf_parse_txn(p);
    case MF_PARAM_BOTH: // of no method
    case MF_PARAM_NONE:
        break;
    }
    return true;
}

static bool refuse_arity(struct parser *p, const struct mf_command_row *row, uint32_t count)
{
    char names[64] = "none";
    size_t used = 0;
    for (uint32_t i = 0; row->params[i] != MF_PARAM_NONE; i++)
        used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", i > 0 ? ", " : "",
                                 mf_param_name(row->params[i]));
    return mf_parse_refuse_count(p, count, mf_command_arity(row), names);
}

static uint32_t clamp(size_t limit)
{
    return limit < UINT32_MAX ? (uint32_t)limit : UINT32_MAX;
}

// What takes another form by what it asks for, and the limits of this node, which go with the
// command: see command.h.
static void complete(struct parser *p)
{
    struct mf_command *command = p->command;
    uint32_t changes = MF_OPTION_BIT(TTL) | MF_OPTION_BIT(PERSIST) | MF_OPTION_BIT(ID);
    switch (command->op) {
    case MF_OP_INCR:
    case MF_OP_APPEND:
        command->limit = clamp(p->limits->value_bytes_max);
        break;
    case MF_OP_GETEX:
        if ((p->given & changes) == 0)
            command->op = MF_OP_GET;
        break;
    case MF_OP_TXN:
        command->limit = clamp(p->limits->answer_bytes_max);
        if (command->id.len == 0 && !mf_txn_writes(command->body))
            command->op = MF_OP_TXN_READ;
        break;
    default:
        break;
    }
}

bool mf_parse_command(struct parser *p, uint32_t count)
{
    const struct mf_command_row *row = mf_command_row(p->command->op);
    uint32_t arity = mf_command_arity(row);
    p->name = row->name;
    p->options = row->options;
    if (p->command != &p->request->command) // inside a txn, which has one for all
        p->options &= ~MF_OPTION_BIT(ID);
    p->given = 0;
    if (count < arity || count > arity + 1)
        return refuse_arity(p, row, count);
    for (uint32_t i = 0; i < arity; i++) {
        if (!take_param(p, row->params[i]))
            return false;
    }
    if (count > arity && !mf_parse_options(p))
        return false;
    complete(p);
    return true;
}
