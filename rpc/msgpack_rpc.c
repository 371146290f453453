// MessagePack-RPC requests: from one whole message to one struct mf_rpc_request.
//
// Three tables say what is accepted: methods (name, parameters, allowed options) here; options
// (name, what the value must be, how it is stored) and the pairs that exclude each other in
// msgpack_options.c. A new method is a row and, if its parameters have a new shape, one function.
// Every refusal names the method, what was found and what was expected.
//
// Lengths were checked by mf_msgpack_scan, yet nothing here relies on it: the cursor is bounded,
// and arrays of keys grow as keys are really read, never by what a header claims.
#include "rpc/msgpack_parse.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

// An item is 32 bytes where its key may be 2 on the wire: without a bound, a message of many tiny
// keys would cost sixteen times its size.
#define KEYS_MAX (1u << 20)
// An item array larger than this is not kept for the next request.
#define ITEMS_KEPT_MAX 1024u
#define SNAPSHOT_NAME_MAX 64

static bool take_key_bytes(struct parser *p, struct mf_bytes *out)
{
    struct mf_msgpack_token token;
    if (!mf_parse_next(p, &token))
        return false;
    if (!mf_parse_is_bytes(&token) || token.bytes.len == 0)
        return mf_parse_refuse_value(p, "the key", &token, "a string or binary that is not empty");
    if (token.bytes.len > p->limits->key_bytes_max)
        return mf_parse_refuse(p, MF_TOO_LARGE, "%s: the key is %zu bytes, at most %zu are allowed",
                               p->method->name, token.bytes.len, p->limits->key_bytes_max);
    *out = token.bytes;
    return true;
}

static bool take_value_bytes(struct parser *p, struct mf_bytes *out)
{
    struct mf_msgpack_token token;
    if (!mf_parse_next(p, &token))
        return false;
    if (!mf_parse_is_bytes(&token))
        return mf_parse_refuse_value(p, "the value", &token, "a string or binary");
    if (token.bytes.len > p->limits->value_bytes_max)
        return mf_parse_refuse(p, MF_TOO_LARGE,
                               "%s: the value is %zu bytes, at most %zu are allowed",
                               p->method->name, token.bytes.len, p->limits->value_bytes_max);
    *out = token.bytes;
    return true;
}

// Positional parameters.

static bool take_nothing(struct parser *p)
{
    (void)p;
    return true;
}

static bool take_key(struct parser *p)
{
    struct mf_command *command = &p->request->command;
    command->items = &command->one;
    command->item_count = 1;
    return take_key_bytes(p, &command->one.key);
}

static bool take_key_value(struct parser *p)
{
    return take_key(p) && take_value_bytes(p, &p->request->command.one.value);
}

static bool take_key_ttl(struct parser *p)
{
    struct mf_command *command = &p->request->command;
    struct mf_msgpack_token token;
    int64_t ttl_ms;
    if (!take_key(p) || !mf_parse_next(p, &token))
        return false;
    if (!mf_parse_to_integer(&token, &ttl_ms) || ttl_ms > MF_TTL_MS_MAX)
        return mf_parse_refuse_value(p, "the ttl", &token,
                                     "an integer of milliseconds up to 9007199254740991");
    command->expiry = MF_EXPIRY_IN;
    command->expire_us = ttl_ms <= 0 ? 0 : ttl_ms * 1000; // however negative: the key goes
    return true;
}

static struct mf_item *add_item(struct mf_rpc_request *request)
{
    struct mf_command *command = &request->command;
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
                               p->method->name, token.count, KEYS_MAX);
    *count = token.count;
    return true;
}

static bool take_keys(struct parser *p)
{
    uint32_t count = 0;
    if (!take_count(p, "the first parameter", "an array of keys", &count))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        if (!take_key_bytes(p, &add_item(p->request)->key))
            return false;
    }
    p->request->command.items = p->request->items;
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
        struct mf_item *item = add_item(p->request);
        if (!take_key_bytes(p, &item->key) || !take_value_bytes(p, &item->value))
            return false;
    }
    p->request->command.items = p->request->items;
    return true;
}

static bool is_name(struct mf_bytes name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                  "0123456789._-";
    if (name.len == 0 || name.len > SNAPSHOT_NAME_MAX || name.data[0] == '.')
        return false;
    for (size_t i = 0; i < name.len; i++) {
        if (memchr(allowed, name.data[i], sizeof(allowed) - 1) == NULL)
            return false;
    }
    return true;
}

static bool take_name(struct parser *p)
{
    static const char expected[] = "1 to 64 of A-Z a-z 0-9 . _ - with no leading dot";
    struct mf_msgpack_token token;
    if (!mf_parse_next(p, &token))
        return false;
    if (!mf_parse_is_bytes(&token))
        return mf_parse_refuse_value(p, "the name", &token, expected);
    if (!is_name(token.bytes))
        return mf_parse_refuse(p, MF_BAD_REQUEST, "%s: the name is \"%s\", expected %s",
                               p->method->name, mf_parse_quote(token.bytes).text, expected);
    p->request->name = token.bytes;
    return true;
}

static bool take_number(struct parser *p, const char *what, uint32_t *out)
{
    struct mf_msgpack_token token;
    if (!mf_parse_next(p, &token))
        return false;
    if (token.type != MF_MP_UINT || token.uinteger > UINT32_MAX)
        return mf_parse_refuse_value(p, what, &token, "an integer from 0 to 4294967295");
    *out = (uint32_t)token.uinteger;
    return true;
}

static bool take_node(struct parser *p)
{
    return take_number(p, "the node", &p->request->node);
}

static bool take_shard_node(struct parser *p)
{
    return take_number(p, "the shard", &p->request->shard) && take_node(p);
}

// Whether it is one is for the server to say, as it says of the configuration's.
static bool take_node_address(struct parser *p)
{
    struct mf_msgpack_token token;
    if (!take_node(p) || !mf_parse_next(p, &token))
        return false;
    if (!mf_parse_is_bytes(&token))
        return mf_parse_refuse_value(p, "the address", &token, "a string HOST:PORT");
    p->request->name = token.bytes;
    return true;
}

#define SET_OPTIONS                                                                                \
    (BIT(TTL) | BIT(EXPIRE_AT) | BIT(NX) | BIT(XX) | BIT(IF_VERSION) | BIT(KEEP_TTL) | BIT(GET) |  \
     BIT(ID))
#define HELLO_OPTIONS (BIT(CLIENT) | BIT(USER) | BIT(PASSWORD) | BIT(SESSION))
#define EXPIRE_OPTIONS (BIT(NX) | BIT(XX) | BIT(GT) | BIT(LT) | BIT(ID))

#define COMMAND MF_METHOD_COMMAND

static const struct method methods[] = {
    {"get", COMMAND, MF_OP_GET, 1, "key", take_key, BIT(READ) | BIT(META)},
    {"set", COMMAND, MF_OP_SET, 2, "key, value", take_key_value, SET_OPTIONS},
    {"del", COMMAND, MF_OP_DEL, 1, "keys", take_keys, BIT(IF_VERSION) | BIT(ID)},
    {"has", COMMAND, MF_OP_HAS, 1, "keys", take_keys, 0},
    {"expire", COMMAND, MF_OP_EXPIRE, 2, "key, ttl", take_key_ttl, EXPIRE_OPTIONS},
    {"persist", COMMAND, MF_OP_PERSIST, 1, "key", take_key, BIT(ID)},
    {"ttl", COMMAND, MF_OP_TTL, 1, "key", take_key, 0},
    {"mget", COMMAND, MF_OP_MGET, 1, "keys", take_keys, BIT(READ)},
    {"mset", COMMAND, MF_OP_MSET, 1, "pairs", take_pairs, BIT(TTL) | BIT(ID)},
    {"size", COMMAND, MF_OP_SIZE, 0, "none", take_nothing, 0},
    {"flush", COMMAND, MF_OP_FLUSH, 0, "none", take_nothing, BIT(ID)},
    {"ping", MF_METHOD_PING, MF_OP_NONE, 0, "none", take_nothing, 0},
    {"hello", MF_METHOD_HELLO, MF_OP_NONE, 0, "none", take_nothing, HELLO_OPTIONS},
    {"cluster", MF_METHOD_CLUSTER, MF_OP_NONE, 0, "none", take_nothing, 0},
    {"stats", MF_METHOD_STATS, MF_OP_NONE, 0, "none", take_nothing, 0},
    {"snapshot", MF_METHOD_SNAPSHOT, MF_OP_NONE, 1, "name", take_name, 0},
    {"transfer", MF_METHOD_TRANSFER, MF_OP_NONE, 2, "shard, node", take_shard_node, 0},
    {"drain_node", MF_METHOD_DRAIN_NODE, MF_OP_NONE, 1, "node", take_node, BIT(UNDO)},
    {"add_node", MF_METHOD_ADD_NODE, MF_OP_NONE, 2, "node, address", take_node_address, 0},
    {"remove_node", MF_METHOD_REMOVE_NODE, MF_OP_NONE, 1, "node", take_node, 0},
};

static bool find_method(struct parser *p, struct mf_bytes name)
{
    for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++) {
        if (!mf_bytes_equal(name, mf_bytes_str(methods[i].name)))
            continue;
        p->method = &methods[i];
        p->request->method = methods[i].kind;
        p->request->command.op = methods[i].op;
        return true;
    }
    return mf_parse_refuse(p, MF_UNKNOWN_METHOD, "unknown method \"%s\"",
                           mf_parse_quote(name).text);
}

static bool take_params(struct parser *p, uint32_t count)
{
    const struct method *method = p->method;
    if (count < method->arity || count > method->arity + 1)
        return mf_parse_refuse(
            p, MF_BAD_REQUEST,
            "%s: %" PRIu32 " parameter%s, expected %" PRIu32 " (%s) and at most a map of options",
            method->name, count, count == 1 ? "" : "s", method->arity, method->parameters);
    if (!method->take(p))
        return false;
    return count == method->arity || mf_parse_options(p);
}

// Reads `[0, msgid` or `[2`. The array's length is judged once the msgid is known, so that the
// sender of a request that is only too long or too short learns which one it was.
static bool take_head(struct parser *p)
{
    struct mf_rpc_request *request = p->request;
    struct mf_msgpack_token array;
    struct mf_msgpack_token token;
    if (!mf_parse_next(p, &array))
        return false;
    if (array.type != MF_MP_ARRAY || array.count == 0)
        return mf_parse_refuse_stream(p, "expected an array [0, msgid, method, params]");
    if (!mf_parse_next(p, &token))
        return false;
    if (token.type != MF_MP_UINT || (token.uinteger != 0 && token.uinteger != 2))
        return mf_parse_refuse_stream(
            p, "the message type is neither 0 (request) nor 2 (notification)");
    request->notification = token.uinteger == 2;
    if (!request->notification && array.count >= 2) {
        if (!mf_parse_next(p, &token))
            return false;
        if (token.type != MF_MP_UINT || token.uinteger > UINT32_MAX)
            return mf_parse_refuse_stream(p, "the msgid is not an integer from 0 to 4294967295");
        request->has_msgid = true;
        request->msgid = (uint32_t)token.uinteger;
    }
    if (array.count != (request->notification ? 3u : 4u))
        return mf_parse_refuse_stream(p,
                                      "expected [0, msgid, method, params] or [2, method, params]");
    return true;
}

static bool take_request(struct parser *p)
{
    struct mf_msgpack_token method;
    struct mf_msgpack_token params;
    if (!take_head(p) || !mf_parse_next(p, &method))
        return false;
    if (method.type != MF_MP_STR)
        return mf_parse_refuse_stream(p, "the method is not a string");
    if (!mf_parse_next(p, &params))
        return false;
    if (params.type != MF_MP_ARRAY)
        return mf_parse_refuse_stream(p, "params is not an array");
    return find_method(p, method.bytes) && take_params(p, params.count);
}

void mf_rpc_parse(struct mf_bytes message, const struct mf_rpc_limits *limits,
                  struct mf_rpc_request *request)
{
    if (request->items_cap > ITEMS_KEPT_MAX)
        mf_rpc_request_free(request);
    *request = (struct mf_rpc_request){.items = request->items, .items_cap = request->items_cap};
    struct parser parser = {
        .in = {.reader = mf_reader_of(message)},
        .limits = limits,
        .request = request,
    };
    bool accepted = take_request(&parser);
    assert(accepted == (request->err == MF_OK));
    (void)accepted;
}

void mf_rpc_request_free(struct mf_rpc_request *request)
{
    free(request->items);
    request->items = NULL;
    request->items_cap = 0;
}
