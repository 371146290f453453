// MessagePack-RPC requests: from one whole message to one struct mf_rpc_request.
//
// Tables say what is accepted: commands by base/command_table.h (msgpack_command.c), the other
// methods here; options (what the value must be, how it is stored) in msgpack_options.c. Every
// refusal names the method, what was found and what was expected.
//
// Lengths were checked by mf_msgpack_scan, yet nothing here relies on it: the cursor is bounded,
// and arrays of keys grow as keys are really read, never by what a header claims.
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/msgpack_parse.h"

// An item array larger than this is not kept for the next request, nor a larger txn.
#define ITEMS_KEPT_MAX 1024u
#define TXN_BYTES_KEPT_MAX 65536u
#define SNAPSHOT_NAME_MAX 64

static bool take_nothing(struct parser *p)
{
    (void)p;
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
        return mf_parse_refuse(p, MF_BAD_REQUEST, "%s: the name is \"%s\", expected %s", p->name,
                               mf_parse_quote(token.bytes).text, expected);
    p->request->name = token.bytes;
    return true;
}

static bool take_name_offset(struct parser *p)
{
    struct mf_msgpack_token token;
    if (!take_name(p) || !mf_parse_next(p, &token))
        return false;
    if (token.type != MF_MP_UINT)
        return mf_parse_refuse_value(p, "the offset", &token, "an unsigned integer");
    p->request->offset = token.uinteger;
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

static bool take_watch_id(struct parser *p)
{
    struct mf_msgpack_token token;
    if (!mf_parse_next(p, &token))
        return false;
    if (token.type != MF_MP_UINT)
        return mf_parse_refuse_value(p, "the watch id", &token, "an unsigned integer");
    p->request->watch_id = token.uinteger;
    return true;
}

#define HELLO_OPTIONS (BIT(CLIENT) | BIT(USER) | BIT(PASSWORD) | BIT(SESSION))
#define WATCH_OPTIONS (BIT(KEY) | BIT(PREFIX) | BIT(EVENTS) | BIT(FROM_VERSION) | BIT(PROGRESS))

// One row a method that is no command. `parameters` names the positional ones for messages; `take`
// reads them, `check` looks at it all.
static const struct method {
    const char *name;
    enum mf_method kind;
    uint32_t arity;
    const char *parameters;
    bool (*take)(struct parser *p);
    uint32_t options;
    bool (*check)(struct parser *p);
} methods[] = {
    {"ping", MF_METHOD_PING, 0, "none", take_nothing, 0, NULL},
    {"hello", MF_METHOD_HELLO, 0, "none", take_nothing, HELLO_OPTIONS, NULL},
    {"cluster", MF_METHOD_CLUSTER, 0, "none", take_nothing, 0, NULL},
    {"stats", MF_METHOD_STATS, 0, "none", take_nothing, 0, NULL},
    {"hotkeys", MF_METHOD_HOTKEYS, 0, "none", take_nothing, MF_OPTION_BIT(COUNT), NULL},
    {"snapshot", MF_METHOD_SNAPSHOT, 1, "name", take_name, 0, NULL},
    {"snapshot_read", MF_METHOD_SNAPSHOT_READ, 2, "name, offset", take_name_offset, 0, NULL},
    {"snapshot_remove", MF_METHOD_SNAPSHOT_REMOVE, 1, "name", take_name, 0, NULL},
    {"transfer", MF_METHOD_TRANSFER, 2, "shard, node", take_shard_node, 0, NULL},
    {"drain_node", MF_METHOD_DRAIN_NODE, 1, "node", take_node, BIT(UNDO), NULL},
    {"add_node", MF_METHOD_ADD_NODE, 2, "node, address", take_node_address, 0, NULL},
    {"remove_node", MF_METHOD_REMOVE_NODE, 1, "node", take_node, 0, NULL},
    {"watch", MF_METHOD_WATCH, 0, "none", take_nothing, WATCH_OPTIONS, mf_parse_check_watch},
    {"unwatch", MF_METHOD_UNWATCH, 1, "watch id", take_watch_id, 0, NULL},
};

static const struct method *find_method(struct mf_bytes name)
{
    for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++) {
        if (mf_bytes_equal(name, mf_bytes_str(methods[i].name)))
            return &methods[i];
    }
    return NULL;
}

bool mf_parse_known(struct mf_bytes name)
{
    return mf_command_find(name) != MF_OP_NONE || find_method(name) != NULL;
}

bool mf_parse_refuse_method(struct parser *p, struct mf_bytes name)
{
    return mf_parse_refuse(p, MF_UNKNOWN_METHOD, "unknown method \"%s\"",
                           mf_parse_quote(name).text);
}

static bool take_method(struct parser *p, const struct method *method, uint32_t count)
{
    p->request->method = method->kind;
    p->name = method->name;
    p->options = method->options;
    if (count < method->arity || count > method->arity + 1)
        return mf_parse_refuse_count(p, count, method->arity, method->parameters);
    if (!method->take(p) || (count > method->arity && !mf_parse_options(p)))
        return false;
    return method->check == NULL || method->check(p);
}

static bool take_params(struct parser *p, struct mf_bytes name, uint32_t count)
{
    p->command->op = mf_command_find(name);
    if (p->command->op != MF_OP_NONE) {
        p->request->method = MF_METHOD_COMMAND;
        return mf_parse_command(p, count);
    }
    const struct method *method = find_method(name);
    return method != NULL ? take_method(p, method, count) : mf_parse_refuse_method(p, name);
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
    return take_params(p, method.bytes, params.count);
}

void mf_rpc_parse(struct mf_bytes message, const struct mf_rpc_limits *limits,
                  struct mf_rpc_request *request)
{
    if (request->items_cap > ITEMS_KEPT_MAX)
        mf_rpc_request_free(request);
    mf_buf_clear(&request->txn, TXN_BYTES_KEPT_MAX);
    mf_parse_clear_watch(&request->watch);
    *request = (struct mf_rpc_request){.items = request->items,
                                       .items_cap = request->items_cap,
                                       .txn = request->txn,
                                       .watch = request->watch};
    struct parser parser = {
        .in = {.reader = mf_reader_of(message)},
        .limits = limits,
        .request = request,
        .name = "the method",
        .command = &request->command,
    };
    bool accepted = take_request(&parser);
    assert(accepted == (request->err == MF_OK));
    (void)accepted;
}

void mf_rpc_request_free(struct mf_rpc_request *request)
{
    mf_buf_free(&request->txn);
    mf_parse_free_watch(&request->watch);
    free(request->items);
    request->items = NULL;
    request->items_cap = 0;
}

// Looking ahead.

#define REQUEST_OF_FOUR 0x94
#define FIXINT_MAX 0x7f
#define UINT_8 0xcc  // and of 16 and 32 bits behind it
#define UINT_32 0xce // msgids have no more bits
#define FIXARRAY 0x90
#define FIXSTR 0xa0
#define FIXSTR_BYTES_MAX 31u
#define STR_8 0xd9
#define BIN_8 0xc4

struct glance {
    uint8_t name[4];   // as it is packed
    uint8_t fifth;     // byte of it; 0 = it has none
    uint8_t count_min; // of its array's elements, the key being the first
    uint8_t count_max;
    bool write;
};

static const struct glance glances[] = {
    {{FIXSTR | 3, 'g', 'e', 't'}, 0, 1, 1, false},
    {{FIXSTR | 3, 's', 'e', 't'}, 0, 2, 3, true},
    {{FIXSTR | 4, 'i', 'n', 'c'}, 'r', 1, 3, true},
};

// Passes one object that has no others in it but a map's.
static bool pass_flat(struct mf_msgpack_in *in)
{
    struct mf_msgpack_token token;
    bool in_map = false;
    for (uint64_t left = 1; left > 0; left--) {
        if (mf_msgpack_next(in, &token) != MF_OK)
            return false;
        if (token.count > 0 && (in_map || token.type != MF_MP_MAP))
            return false;
        in_map |= token.type == MF_MP_MAP;
        left += (uint64_t)token.count * 2;
    }
    return true;
}

size_t mf_rpc_peek(struct mf_bytes input, struct mf_bytes *key, bool *write)
{
    const uint8_t *data = input.data;
    // With the longest msgid there is.
    if (input.len < 2 + 5 || data[0] != REQUEST_OF_FOUR || data[1] != 0)
        return 0;
    size_t at = 3;
    if (data[2] >= UINT_8 && data[2] <= UINT_32)
        at += (size_t)1 << (data[2] - UINT_8);
    else if (data[2] > FIXINT_MAX)
        return 0;
    // The longest name there is, the head of the array, and that of the key, of two bytes at most.
    if (input.len - at < sizeof(glances[0].name) + 1 + 3)
        return 0;
    const struct glance *glance = glances;
    const struct glance *end = glances + sizeof(glances) / sizeof(glances[0]);
    while (glance < end && memcmp(data + at, glance->name, sizeof(glance->name)) != 0)
        glance++;
    if (glance == end)
        return 0;
    at += sizeof(glance->name);
    if (glance->fifth != 0 && data[at++] != glance->fifth)
        return 0;
    uint8_t count = data[at++] ^ FIXARRAY;
    if (count < glance->count_min || count > glance->count_max)
        return 0;
    *write = glance->write;
    size_t len = data[at] ^ FIXSTR;
    if (data[at] == STR_8 || data[at] == BIN_8)
        len = data[++at];
    else if (len > FIXSTR_BYTES_MAX)
        return 0;
    at++;
    if (input.len - at < len)
        return 0;
    *key = mf_bytes_of(data + at, len);
    at += len;
    struct mf_msgpack_in rest = {.reader = mf_reader_of(mf_bytes_of(data + at, input.len - at))};
    for (uint8_t i = 1; i < count; i++) {
        if (!pass_flat(&rest))
            return 0;
    }
    return (size_t)(rest.reader.at - data);
}
