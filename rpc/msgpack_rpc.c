// MessagePack-RPC requests: from one whole message to one struct mf_rpc_request.
//
// Three tables say what is accepted: methods (name, parameters, allowed options), options (name,
// what the value must be, how it is stored), and pairs of options that exclude each other. The
// code below them walks params along these rows; a new method is a row and, if its parameters have
// a new shape, one function. Every refusal names the method, what was found and what was expected.
//
// Lengths were checked by mf_msgpack_scan, yet nothing here relies on it: the cursor is bounded,
// and arrays of keys grow as keys are really read, never by what a header claims.
#include "rpc/msgpack_rpc.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/msgpack_scan.h"

// An item is 32 bytes where its key may be 2 on the wire: without a bound, a message of many tiny
// keys would cost sixteen times its size.
#define KEYS_MAX (1u << 20)
// An item array larger than this is not kept for the next request.
#define ITEMS_KEPT_MAX 1024u
#define SESSION_BYTES 16
#define SNAPSHOT_NAME_MAX 64

enum option {
    OPTION_READ,
    OPTION_META,
    OPTION_TTL,
    OPTION_EXPIRE_AT,
    OPTION_NX,
    OPTION_XX,
    OPTION_GT,
    OPTION_LT,
    OPTION_IF_VERSION,
    OPTION_KEEP_TTL,
    OPTION_GET,
    OPTION_ID,
    OPTION_CLIENT,
    OPTION_USER,
    OPTION_PASSWORD,
    OPTION_SESSION,
    OPTION_COUNT
};

#define BIT(option) (1u << (OPTION_##option))

struct parser {
    struct mf_msgpack_in in;
    const struct mf_rpc_limits *limits;
    struct mf_rpc_request *request;
    const struct method *method;
    uint32_t given; // options given and not false, as bits
};

// One row a method. `parameters` names the positional ones for messages; `take` reads them.
struct method {
    const char *name;
    enum mf_method kind;
    enum mf_opcode op;
    uint32_t arity;
    const char *parameters;
    bool (*take)(struct parser *p);
    uint32_t options;
};

// Stores an option's value; false: the value is not what `expected` says.
typedef bool take_option(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value);

// Refusals.

__attribute__((format(printf, 3, 4))) static bool refuse(struct parser *p, enum mf_err err,
                                                         const char *format, ...)
{
    struct mf_rpc_request *request = p->request;
    va_list args;
    va_start(args, format);
    request->err = err;
    vsnprintf(request->message, sizeof(request->message), format, args);
    va_end(args);
    return false;
}

// For what is not a request at all: the stream cannot be trusted any further.
static bool refuse_stream(struct parser *p, const char *what)
{
    p->request->fatal = true;
    return refuse(p, MF_BAD_REQUEST, "not a request: %s", what);
}

// Text for a message out of bytes from outside: printable, and cut when long.
struct quoted {
    char text[44];
};

static struct quoted quote(struct mf_bytes bytes)
{
    struct quoted out;
    size_t room = sizeof(out.text) - sizeof("...");
    size_t len = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        uint8_t c = bytes.data[i];
        bool plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
        if (len + (plain ? 1 : 4) > room) {
            memcpy(out.text + len, "...", 3);
            len += 3;
            break;
        }
        if (plain)
            out.text[len++] = (char)c;
        else
            len += (size_t)snprintf(out.text + len, 5, "\\x%02x", c);
    }
    out.text[len] = '\0';
    return out;
}

static struct quoted describe(const struct mf_msgpack_token *token)
{
    struct quoted out;
    size_t size = sizeof(out.text);
    switch (token->type) {
    case MF_MP_NIL:
        snprintf(out.text, size, "nil");
        break;
    case MF_MP_BOOL:
        snprintf(out.text, size, "%s", token->integer != 0 ? "true" : "false");
        break;
    case MF_MP_INT:
        snprintf(out.text, size, "%" PRId64, token->integer);
        break;
    case MF_MP_UINT:
        snprintf(out.text, size, "%" PRIu64, token->uinteger);
        break;
    case MF_MP_FLOAT:
        snprintf(out.text, size, "a float");
        break;
    case MF_MP_STR:
    case MF_MP_BIN:
        snprintf(out.text, size, "%zu bytes", token->bytes.len);
        break;
    case MF_MP_ARRAY:
        snprintf(out.text, size, "an array of %" PRIu32, token->count);
        break;
    case MF_MP_MAP:
        snprintf(out.text, size, "a map of %" PRIu32, token->count);
        break;
    case MF_MP_EXT:
        snprintf(out.text, size, "an extension");
        break;
    }
    return out;
}

static bool refuse_value(struct parser *p, const char *what, const struct mf_msgpack_token *got,
                         const char *expected)
{
    return refuse(p, MF_BAD_REQUEST, "%s: %s is %s, expected %s", p->method->name, what,
                  describe(got).text, expected);
}

// Values.

static bool next(struct parser *p, struct mf_msgpack_token *token)
{
    if (mf_msgpack_next(&p->in, token) == MF_OK)
        return true;
    return refuse_stream(p, "the message ends too early");
}

static bool is_bytes(const struct mf_msgpack_token *token)
{
    return token->type == MF_MP_STR || token->type == MF_MP_BIN;
}

// Any width; what does not fit is INT64_MAX, above every bound there is.
static bool to_integer(const struct mf_msgpack_token *token, int64_t *out)
{
    if (token->type == MF_MP_INT)
        *out = token->integer;
    else if (token->type == MF_MP_UINT)
        *out = token->uinteger > INT64_MAX ? INT64_MAX : (int64_t)token->uinteger;
    else
        return false;
    return true;
}

static bool take_key_bytes(struct parser *p, struct mf_bytes *out)
{
    struct mf_msgpack_token token;
    if (!next(p, &token))
        return false;
    if (!is_bytes(&token) || token.bytes.len == 0)
        return refuse_value(p, "the key", &token, "a string or binary that is not empty");
    if (token.bytes.len > p->limits->key_bytes_max)
        return refuse(p, MF_TOO_LARGE, "%s: the key is %zu bytes, at most %zu are allowed",
                      p->method->name, token.bytes.len, p->limits->key_bytes_max);
    *out = token.bytes;
    return true;
}

static bool take_value_bytes(struct parser *p, struct mf_bytes *out)
{
    struct mf_msgpack_token token;
    if (!next(p, &token))
        return false;
    if (!is_bytes(&token))
        return refuse_value(p, "the value", &token, "a string or binary");
    if (token.bytes.len > p->limits->value_bytes_max)
        return refuse(p, MF_TOO_LARGE, "%s: the value is %zu bytes, at most %zu are allowed",
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
    if (!take_key(p) || !next(p, &token))
        return false;
    if (!to_integer(&token, &ttl_ms) || ttl_ms > MF_TTL_MS_MAX)
        return refuse_value(p, "the ttl", &token,
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
    if (!next(p, &token))
        return false;
    if (token.type != MF_MP_ARRAY)
        return refuse_value(p, what, &token, expected);
    if (token.count > KEYS_MAX)
        return refuse(p, MF_TOO_LARGE,
                      "%s: %" PRIu32 " keys in one request, at most %u are allowed",
                      p->method->name, token.count, KEYS_MAX);
    *count = token.count;
    return true;
}

static bool take_keys(struct parser *p)
{
    uint32_t count;
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
    uint32_t count;
    if (!take_count(p, "the first parameter", "an array of [key, value] pairs", &count))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        struct mf_msgpack_token pair;
        if (!next(p, &pair))
            return false;
        if (pair.type != MF_MP_ARRAY || pair.count != 2)
            return refuse_value(p, "a pair", &pair, "an array of a key and a value");
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
    if (!next(p, &token))
        return false;
    if (!is_bytes(&token))
        return refuse_value(p, "the name", &token, expected);
    if (!is_name(token.bytes))
        return refuse(p, MF_BAD_REQUEST, "%s: the name is \"%s\", expected %s", p->method->name,
                      quote(token.bytes).text, expected);
    p->request->name = token.bytes;
    return true;
}

// Options. An option given as false never gets here.

static bool option_flag(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value)
{
    p->request->command.flags |= flag;
    return value->type == MF_MP_BOOL;
}

static bool option_read(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value)
{
    if (!is_bytes(value))
        return false;
    if (mf_bytes_equal(value->bytes, mf_bytes_str("local"))) {
        p->request->command.flags |= flag;
        return true;
    }
    return mf_bytes_equal(value->bytes, mf_bytes_str("linearizable"));
}

static bool option_ttl(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value)
{
    int64_t ttl_ms;
    (void)flag;
    if (!to_integer(value, &ttl_ms) || ttl_ms < 1 || ttl_ms > MF_TTL_MS_MAX)
        return false;
    p->request->command.expiry = MF_EXPIRY_IN;
    p->request->command.expire_us = ttl_ms * 1000;
    return true;
}

static bool option_expire_at(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value)
{
    int64_t unix_ms;
    (void)flag;
    if (!to_integer(value, &unix_ms) || unix_ms > MF_TTL_MS_MAX)
        return false;
    p->request->command.expiry = MF_EXPIRY_AT;
    p->request->command.expire_us = unix_ms <= 0 ? 0 : unix_ms * 1000; // before 1970: the past
    return true;
}

static bool option_if_version(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value)
{
    if (value->type != MF_MP_UINT)
        return false;
    p->request->command.flags |= flag;
    p->request->command.if_version = value->uinteger;
    return true;
}

static bool option_id(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value)
{
    (void)flag;
    if (!is_bytes(value) || value->bytes.len == 0 || value->bytes.len > MF_ID_MAX)
        return false;
    p->request->command.id = value->bytes;
    return true;
}

// The client's own name is for those who watch the wire.
static bool option_client(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value)
{
    (void)p;
    (void)flag;
    return is_bytes(value);
}

static bool option_user(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value)
{
    (void)flag;
    p->request->hello_user = value->bytes;
    return is_bytes(value);
}

static bool option_password(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value)
{
    (void)flag;
    p->request->hello_password = value->bytes;
    return is_bytes(value);
}

// Reserved: checked so that what clients send today stays valid.
static bool option_session(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value)
{
    (void)p;
    (void)flag;
    return is_bytes(value) && value->bytes.len == SESSION_BYTES;
}

static const struct {
    const char *name;
    const char *expected;
    take_option *take;
    uint32_t flag; // enum mf_command_flag
} options[OPTION_COUNT] = {
    [OPTION_READ] = {"read", "\"linearizable\" or \"local\"", option_read, MF_READ_LOCAL},
    [OPTION_META] = {"meta", "a boolean", option_flag, MF_WITH_META},
    [OPTION_TTL] = {"ttl", "an integer of milliseconds from 1 to 9007199254740991", option_ttl, 0},
    [OPTION_EXPIRE_AT] = {"expire_at", "Unix time as an integer of milliseconds, below 2^53",
                          option_expire_at, 0},
    [OPTION_NX] = {"nx", "a boolean", option_flag, MF_NX},
    [OPTION_XX] = {"xx", "a boolean", option_flag, MF_XX},
    [OPTION_GT] = {"gt", "a boolean", option_flag, MF_GT},
    [OPTION_LT] = {"lt", "a boolean", option_flag, MF_LT},
    [OPTION_IF_VERSION] = {"if_version", "an unsigned integer of 64 bits", option_if_version,
                           MF_IF_VERSION},
    [OPTION_KEEP_TTL] = {"keep_ttl", "a boolean", option_flag, MF_KEEP_TTL},
    [OPTION_GET] = {"get", "a boolean", option_flag, MF_WITH_OLD},
    [OPTION_ID] = {"id", "1 to 64 bytes", option_id, 0},
    [OPTION_CLIENT] = {"client", "a string", option_client, 0},
    [OPTION_USER] = {"user", "a string", option_user, 0},
    [OPTION_PASSWORD] = {"password", "a string", option_password, 0},
    [OPTION_SESSION] = {"session", "16 bytes", option_session, 0},
};

// Two of one row contradict each other.
static const uint32_t exclusions[] = {
    BIT(TTL) | BIT(EXPIRE_AT), BIT(TTL) | BIT(KEEP_TTL), BIT(EXPIRE_AT) | BIT(KEEP_TTL),
    BIT(NX) | BIT(XX),         BIT(NX) | BIT(GT),        BIT(NX) | BIT(LT),
    BIT(GT) | BIT(LT),
};

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
};

static bool refuse_unknown_option(struct parser *p, struct mf_bytes name)
{
    char allowed[100] = "";
    size_t len = 0;
    for (unsigned i = 0; i < OPTION_COUNT; i++) {
        if ((p->method->options & (1u << i)) != 0)
            len += (size_t)snprintf(allowed + len, sizeof(allowed) - len, "%s%s",
                                    len > 0 ? ", " : "", options[i].name);
    }
    return refuse(p, MF_BAD_REQUEST, "%s: unknown option \"%s\", expected %s%s", p->method->name,
                  quote(name).text, len > 0 ? "one of " : "none", allowed);
}

static bool take_one_option(struct parser *p, uint32_t *seen)
{
    struct mf_msgpack_token name;
    struct mf_msgpack_token value;
    if (!next(p, &name))
        return false;
    if (name.type != MF_MP_STR)
        return refuse_value(p, "an option's name", &name, "a string");
    unsigned i = 0;
    while (i < OPTION_COUNT && !mf_bytes_equal(name.bytes, mf_bytes_str(options[i].name)))
        i++;
    if (i == OPTION_COUNT || (p->method->options & (1u << i)) == 0)
        return refuse_unknown_option(p, name.bytes);
    if ((*seen & (1u << i)) != 0)
        return refuse(p, MF_BAD_REQUEST, "%s: option %s is given twice", p->method->name,
                      options[i].name);
    *seen |= 1u << i;
    if (!next(p, &value))
        return false;
    if (value.type == MF_MP_BOOL && value.integer == 0)
        return true; // false counts as absent
    p->given |= 1u << i;
    if (options[i].take(p, options[i].flag, &value))
        return true;
    char what[32];
    snprintf(what, sizeof(what), "option %s", options[i].name);
    return refuse_value(p, what, &value, options[i].expected);
}

static bool check_exclusions(struct parser *p)
{
    for (size_t row = 0; row < sizeof(exclusions) / sizeof(*exclusions); row++) {
        if ((p->given & exclusions[row]) != exclusions[row])
            continue;
        unsigned first = (unsigned)__builtin_ctz(exclusions[row]);
        unsigned second = (unsigned)__builtin_ctz(exclusions[row] & ~(1u << first));
        return refuse(p, MF_BAD_REQUEST,
                      "%s: options %s and %s contradict each other, expected one", p->method->name,
                      options[first].name, options[second].name);
    }
    if ((p->given & BIT(IF_VERSION)) != 0 && p->request->command.item_count != 1)
        return refuse(p, MF_BAD_REQUEST,
                      "%s: option if_version with %" PRIu32 " keys, expected one key",
                      p->method->name, p->request->command.item_count);
    return true;
}

static bool take_options(struct parser *p)
{
    struct mf_msgpack_token map;
    uint32_t seen = 0;
    if (!next(p, &map))
        return false;
    if (map.type != MF_MP_MAP)
        return refuse_value(p, "the last parameter", &map, "a map of options");
    for (uint32_t i = 0; i < map.count; i++) {
        if (!take_one_option(p, &seen))
            return false;
    }
    return check_exclusions(p);
}

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
    return refuse(p, MF_UNKNOWN_METHOD, "unknown method \"%s\"", quote(name).text);
}

static bool take_params(struct parser *p, uint32_t count)
{
    const struct method *method = p->method;
    if (count < method->arity || count > method->arity + 1)
        return refuse(p, MF_BAD_REQUEST,
                      "%s: %" PRIu32 " parameters, expected %" PRIu32
                      " (%s) and at most a map of options",
                      method->name, count, method->arity, method->parameters);
    if (!method->take(p))
        return false;
    return count == method->arity || take_options(p);
}

// Reads `[0, msgid` or `[2`. The array's length is judged once the msgid is known, so that the
// sender of a request that is only too long or too short learns which one it was.
static bool take_head(struct parser *p)
{
    struct mf_rpc_request *request = p->request;
    struct mf_msgpack_token array;
    struct mf_msgpack_token token;
    if (!next(p, &array))
        return false;
    if (array.type != MF_MP_ARRAY || array.count == 0)
        return refuse_stream(p, "expected an array [0, msgid, method, params]");
    if (!next(p, &token))
        return false;
    if (token.type != MF_MP_UINT || (token.uinteger != 0 && token.uinteger != 2))
        return refuse_stream(p, "the message type is neither 0 (request) nor 2 (notification)");
    request->notification = token.uinteger == 2;
    if (!request->notification && array.count >= 2) {
        if (!next(p, &token))
            return false;
        if (token.type != MF_MP_UINT || token.uinteger > UINT32_MAX)
            return refuse_stream(p, "the msgid is not an integer from 0 to 4294967295");
        request->has_msgid = true;
        request->msgid = (uint32_t)token.uinteger;
    }
    if (array.count != (request->notification ? 3u : 4u))
        return refuse_stream(p, "expected [0, msgid, method, params] or [2, method, params]");
    return true;
}

static bool take_request(struct parser *p)
{
    struct mf_msgpack_token method;
    struct mf_msgpack_token params;
    if (!take_head(p) || !next(p, &method))
        return false;
    if (method.type != MF_MP_STR)
        return refuse_stream(p, "the method is not a string");
    if (!next(p, &params))
        return false;
    if (params.type != MF_MP_ARRAY)
        return refuse_stream(p, "params is not an array");
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
