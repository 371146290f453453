// A request into MessagePack: `[0, msgid, method, params]`.
//
// One table says for each method how its parameters lie and which options it takes; checking and
// packing both read it. The bytes are taken in one piece whose size is known beforehand, because
// they stay until the answer comes.
#include "rpc/client_internal.h"

#include <msgpack/pack.h>
#include <stdlib.h>
#include <string.h>

#include "base/slots.h"

#define COUNT_MAX ((size_t)1 << 20) // keys in one request, as the server has it

enum layout {
    LAYOUT_NONE,       // []
    LAYOUT_KEY,        // [key]
    LAYOUT_KEY_VALUE,  // [key, value]
    LAYOUT_KEY_TTL,    // [key, ttl]
    LAYOUT_KEYS,       // [[key...]]
    LAYOUT_PAIRS,      // [[[key, value]...]]
    LAYOUT_NAME,       // [name]
    LAYOUT_NAME_AT,    // [name, cursor]
    LAYOUT_SHARD_NODE, // [shard, node]
    LAYOUT_NODE,       // [node]
    LAYOUT_NODE_NAME,  // [node, name]
    LAYOUT_GREETING,   // [{client, user, password}]
    LAYOUT_KEY_DELTA,  // [key, delta]
    LAYOUT_CURSOR,     // [cursor]
    LAYOUT_TXN,        // [{if, then, else}]
};

struct method_row {
    const char *name;
    enum layout layout;
    unsigned flags; // that it takes
    bool write;
};

static const struct method_row methods[MAYFLY_METHOD_COUNT] = {
    [MAYFLY_METHOD_PING] = {"ping", LAYOUT_NONE, 0, false},
    [MAYFLY_METHOD_HELLO] = {"hello", LAYOUT_GREETING, 0, false},
    [MAYFLY_METHOD_GET] = {"get", LAYOUT_KEY, MAYFLY_FLAG_META | MAYFLY_FLAG_LOCAL, false},
    [MAYFLY_METHOD_MGET] = {"mget", LAYOUT_KEYS, MAYFLY_FLAG_LOCAL, false},
    [MAYFLY_METHOD_SET] = {"set", LAYOUT_KEY_VALUE,
                           MAYFLY_FLAG_NX | MAYFLY_FLAG_XX | MAYFLY_FLAG_KEEP_TTL |
                               MAYFLY_FLAG_GET | MAYFLY_FLAG_IF_VERSION | MAYFLY_FLAG_TTL |
                               MAYFLY_FLAG_EXPIRE_AT,
                           true},
    [MAYFLY_METHOD_MSET] = {"mset", LAYOUT_PAIRS, MAYFLY_FLAG_TTL, true},
    [MAYFLY_METHOD_DEL] = {"del", LAYOUT_KEYS, MAYFLY_FLAG_IF_VERSION, true},
    [MAYFLY_METHOD_HAS] = {"has", LAYOUT_KEYS, 0, false},
    [MAYFLY_METHOD_EXPIRE] = {"expire", LAYOUT_KEY_TTL,
                              MAYFLY_FLAG_NX | MAYFLY_FLAG_XX | MAYFLY_FLAG_GT | MAYFLY_FLAG_LT |
                                  MAYFLY_FLAG_TTL,
                              true},
    [MAYFLY_METHOD_PERSIST] = {"persist", LAYOUT_KEY, 0, true},
    [MAYFLY_METHOD_TTL] = {"ttl", LAYOUT_KEY, 0, false},
    [MAYFLY_METHOD_SIZE] = {"size", LAYOUT_NONE, 0, false},
    [MAYFLY_METHOD_FLUSH] = {"flush", LAYOUT_NONE, 0, true},
    [MAYFLY_METHOD_CLUSTER] = {"cluster", LAYOUT_NONE, 0, false},
    [MAYFLY_METHOD_STATS] = {"stats", LAYOUT_NONE, 0, false},
    [MAYFLY_METHOD_SNAPSHOT] = {"snapshot", LAYOUT_NAME, 0, false},
    [MAYFLY_METHOD_TRANSFER] = {"transfer", LAYOUT_SHARD_NODE, 0, false},
    [MAYFLY_METHOD_DRAIN_NODE] = {"drain_node", LAYOUT_NODE, MAYFLY_FLAG_UNDO, false},
    [MAYFLY_METHOD_ADD_NODE] = {"add_node", LAYOUT_NODE_NAME, 0, false},
    [MAYFLY_METHOD_REMOVE_NODE] = {"remove_node", LAYOUT_NODE, 0, false},
    [MAYFLY_METHOD_INCR] = {"incr", LAYOUT_KEY_DELTA, MAYFLY_FLAG_TTL, true},
    [MAYFLY_METHOD_APPEND] = {"append", LAYOUT_KEY_VALUE, 0, true},
    [MAYFLY_METHOD_GETDEL] = {"getdel", LAYOUT_KEY, 0, true},
    [MAYFLY_METHOD_GETEX] = {"getex", LAYOUT_KEY, MAYFLY_FLAG_TTL | MAYFLY_FLAG_PERSIST, true},
    [MAYFLY_METHOD_SCAN] = {"scan", LAYOUT_CURSOR, MAYFLY_FLAG_MATCH, false},
    [MAYFLY_METHOD_SNAPSHOT_READ] = {"snapshot_read", LAYOUT_NAME_AT, 0, false},
    [MAYFLY_METHOD_SNAPSHOT_REMOVE] = {"snapshot_remove", LAYOUT_NAME, 0, false},
    [MAYFLY_METHOD_HOTKEYS] = {"hotkeys", LAYOUT_NONE, 0, false},
    [MAYFLY_METHOD_TXN] = {"txn", LAYOUT_TXN, 0, true},
};

// The options that are sent as `name: true`.
static const struct {
    unsigned flag;
    const char *name;
} switches[] = {
    {MAYFLY_FLAG_NX, "nx"},     {MAYFLY_FLAG_XX, "xx"},     {MAYFLY_FLAG_GT, "gt"},
    {MAYFLY_FLAG_LT, "lt"},     {MAYFLY_FLAG_GET, "get"},   {MAYFLY_FLAG_KEEP_TTL, "keep_ttl"},
    {MAYFLY_FLAG_META, "meta"}, {MAYFLY_FLAG_UNDO, "undo"}, {MAYFLY_FLAG_PERSIST, "persist"},
};

bool mf_request_is_write(enum mayfly_method method)
{
    return methods[method].write;
}

static bool count_fits(enum layout layout, size_t count)
{
    switch (layout) {
    case LAYOUT_NONE:
    case LAYOUT_GREETING:
    case LAYOUT_SHARD_NODE:
    case LAYOUT_NODE:
    case LAYOUT_CURSOR:
    case LAYOUT_TXN:
        return count == 0;
    case LAYOUT_KEY:
    case LAYOUT_KEY_DELTA:
    case LAYOUT_KEY_VALUE:
    case LAYOUT_KEY_TTL:
    case LAYOUT_NAME:
    case LAYOUT_NAME_AT:
    case LAYOUT_NODE_NAME:
        return count == 1;
    case LAYOUT_KEYS:
    case LAYOUT_PAIRS:
        break;
    }
    return count <= COUNT_MAX;
}

static bool has_values(enum layout layout)
{
    return layout == LAYOUT_KEY_VALUE || layout == LAYOUT_PAIRS;
}

// No single key or value may need more than MessagePack's 32-bit length.
static bool sizes_fit(const struct mayfly_request *request, bool values)
{
    for (size_t i = 0; i < request->count; i++) {
        if (request->keys[i].len > UINT32_MAX || (values && request->values[i].len > UINT32_MAX))
            return false;
    }
    return request->options.id.len <= UINT32_MAX && request->options.match.len <= UINT32_MAX;
}

static bool is_of_keys(enum layout layout)
{
    switch (layout) {
    case LAYOUT_KEY:
    case LAYOUT_KEY_VALUE:
    case LAYOUT_KEY_TTL:
    case LAYOUT_KEY_DELTA:
    case LAYOUT_KEYS:
    case LAYOUT_PAIRS:
        return true;
    default:
        return false;
    }
}

// Methods that may stand in a txn are those of keys; whether the node takes them all is its to say.
static bool fits_inside(const struct mayfly_request *request)
{
    return (unsigned)request->method < MAYFLY_METHOD_COUNT && request->options.id.len == 0 &&
           is_of_keys(methods[request->method].layout);
}

static enum mayfly_err check_branch(struct mayfly_client *client,
                                    const struct mayfly_request *requests, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!fits_inside(&requests[i]))
            return mf_client_refuse(client, MAYFLY_ERR_BAD_REQUEST,
                                    "txn: what cannot stand inside it, or has an id");
        enum mayfly_err err = mf_request_check(client, &requests[i]);
        if (err != MAYFLY_OK)
            return err;
    }
    return MAYFLY_OK;
}

static enum mayfly_err check_txn(struct mayfly_client *client, const struct mayfly_txn *txn)
{
    if (txn == NULL)
        return mf_client_refuse(client, MAYFLY_ERR_BAD_REQUEST, "txn: there is none");
    for (size_t i = 0; i < txn->condition_count; i++) {
        const struct mayfly_condition *condition = &txn->conditions[i];
        if ((unsigned)condition->subject > MAYFLY_SUBJECT_EXISTS ||
            (unsigned)condition->relation > MAYFLY_GREATER || condition->key.len > UINT32_MAX ||
            condition->value.len > UINT32_MAX)
            return mf_client_refuse(client, MAYFLY_ERR_BAD_REQUEST,
                                    "txn: condition %zu is none that can be sent", i);
    }
    if (txn->condition_count > COUNT_MAX || txn->then_count > COUNT_MAX ||
        txn->otherwise_count > COUNT_MAX)
        return mf_client_refuse(client, MAYFLY_ERR_TOO_LARGE,
                                "txn: too many conditions or methods");
    enum mayfly_err err = check_branch(client, txn->then, txn->then_count);
    return err != MAYFLY_OK ? err : check_branch(client, txn->otherwise, txn->otherwise_count);
}

enum mayfly_err mf_request_check(struct mayfly_client *client, const struct mayfly_request *request)
{
    if ((unsigned)request->method >= MAYFLY_METHOD_COUNT)
        return mf_client_refuse(client, MAYFLY_ERR_BAD_REQUEST, "unknown method number %d",
                                (int)request->method);
    const struct method_row *row = &methods[request->method];
    const struct mayfly_options *options = &request->options;
    if (!count_fits(row->layout, request->count))
        return mf_client_refuse(client, MAYFLY_ERR_BAD_REQUEST, "%s does not take %zu keys",
                                row->name, request->count);
    if (!sizes_fit(request, has_values(row->layout)))
        return mf_client_refuse(client, MAYFLY_ERR_TOO_LARGE, "a key, value or id is over 4 GiB");
    if ((options->flags & ~row->flags) != 0)
        return mf_client_refuse(client, MAYFLY_ERR_BAD_REQUEST, "%s does not take flag %#x",
                                row->name, options->flags & ~row->flags);
    bool ttl_is_said = (options->flags & MAYFLY_FLAG_TTL) != 0 || row->layout == LAYOUT_KEY_TTL;
    if ((options->ttl_ms != 0 && !ttl_is_said) ||
        (options->expire_at_ms != 0 && (options->flags & MAYFLY_FLAG_EXPIRE_AT) == 0) ||
        (options->if_version != 0 && (options->flags & MAYFLY_FLAG_IF_VERSION) == 0) ||
        (options->match.len > 0 && (options->flags & MAYFLY_FLAG_MATCH) == 0) ||
        (options->count != 0 && row->layout != LAYOUT_CURSOR &&
         request->method != MAYFLY_METHOD_HOTKEYS))
        return mf_client_refuse(client, MAYFLY_ERR_BAD_REQUEST,
                                "%s: an option is given without its flag", row->name);
    if (options->id.len > 0 && !row->write)
        return mf_client_refuse(client, MAYFLY_ERR_BAD_REQUEST, "%s takes no id", row->name);
    return row->layout == LAYOUT_TXN ? check_txn(client, request->txn) : MAYFLY_OK;
}

static int slot_of(const struct mayfly_client *client, const struct mayfly_bytes *keys,
                   size_t count)
{
    int slot = count > 0 ? mf_slot_of(mf_bytes_of(keys[0].data, keys[0].len)) : -1;
    for (size_t i = 1; i < count && slot >= 0; i++)
        slot = mf_route_join(client, mf_slot_of(mf_bytes_of(keys[i].data, keys[i].len)), slot);
    return slot;
}

int mf_request_slot(const struct mayfly_client *client, const struct mayfly_request *request)
{
    if (!mf_route_is_on(client) || (request->options.flags & MAYFLY_FLAG_LOCAL) != 0)
        return -1;
    if (methods[request->method].layout == LAYOUT_TXN) {
        // All of its keys are of one shard, or it is refused.
        const struct mayfly_txn *txn = request->txn;
        if (txn->condition_count > 0)
            return slot_of(client, &txn->conditions[0].key, 1);
        return txn->then_count > 0 ? mf_request_slot(client, &txn->then[0]) : -1;
    }
    return is_of_keys(methods[request->method].layout)
               ? slot_of(client, request->keys, request->count)
               : -1;
}

// msgpack-c's write callback. The buffer has its full size from the start.
static int append(void *data, const char *bytes, size_t len)
{
    mf_buf_put(data, bytes, len);
    return 0;
}

static void pack_text(msgpack_packer *packer, const char *text)
{
    msgpack_pack_str(packer, strlen(text));
    msgpack_pack_str_body(packer, text, strlen(text));
}

static void pack_bytes(msgpack_packer *packer, struct mayfly_bytes bytes)
{
    msgpack_pack_bin(packer, bytes.len);
    msgpack_pack_bin_body(packer, bytes.data, bytes.len);
}

static void pack_id(msgpack_packer *packer, struct mayfly_client *client,
                    const struct mayfly_options *options)
{
    pack_text(packer, "id");
    if (options->id.len > 0) {
        pack_bytes(packer, options->id);
        return;
    }
    uint8_t id[MF_CLIENT_ID_BYTES];
    uint64_t number = ++client->id_counter;
    memcpy(id, client->id_prefix, sizeof client->id_prefix);
    memcpy(id + sizeof client->id_prefix, &number, sizeof number);
    pack_bytes(packer, (struct mayfly_bytes){id, sizeof id});
}

// The map of options: one for each flag, the count of a scan, and the id of a write that does not
// stand in a txn.
static void pack_options(msgpack_packer *packer, struct mayfly_client *client,
                         const struct method_row *row, const struct mayfly_options *options,
                         bool id)
{
    // The TTL of `expire` is a parameter, not an option.
    unsigned flags = options->flags;
    if (row->layout == LAYOUT_KEY_TTL)
        flags &= ~(unsigned)MAYFLY_FLAG_TTL;
    msgpack_pack_map(packer, (size_t)__builtin_popcount(flags) + (id ? 1u : 0u) +
                                 (options->count != 0 ? 1u : 0u));
    for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++) {
        if ((flags & switches[i].flag) != 0) {
            pack_text(packer, switches[i].name);
            msgpack_pack_true(packer);
        }
    }
    if ((flags & MAYFLY_FLAG_LOCAL) != 0) {
        pack_text(packer, "read");
        pack_text(packer, "local");
    }
    if ((flags & MAYFLY_FLAG_TTL) != 0) {
        pack_text(packer, "ttl");
        msgpack_pack_int64(packer, options->ttl_ms);
    }
    if ((flags & MAYFLY_FLAG_EXPIRE_AT) != 0) {
        pack_text(packer, "expire_at");
        msgpack_pack_int64(packer, options->expire_at_ms);
    }
    if ((flags & MAYFLY_FLAG_IF_VERSION) != 0) {
        pack_text(packer, "if_version");
        msgpack_pack_uint64(packer, options->if_version);
    }
    if ((flags & MAYFLY_FLAG_MATCH) != 0) {
        pack_text(packer, "match");
        pack_bytes(packer, options->match);
    }
    if (options->count != 0) {
        pack_text(packer, "count");
        msgpack_pack_uint64(packer, options->count);
    }
    if (id)
        pack_id(packer, client, options);
}

static void pack_greeting(msgpack_packer *packer, const struct mayfly_client *client)
{
    bool user = client->user != NULL;
    bool password = client->password != NULL;
    msgpack_pack_map(packer, 1u + (user ? 1u : 0u) + (password ? 1u : 0u));
    pack_text(packer, "client");
    pack_text(packer, client->name);
    if (user) {
        pack_text(packer, "user");
        pack_text(packer, client->user);
    }
    if (password) {
        pack_text(packer, "password");
        pack_text(packer, client->password);
    }
}

static void pack_condition(msgpack_packer *packer, const struct mayfly_condition *condition)
{
    static const char *const subjects[] = {"version", "value", "exists"};
    static const char *const relations[] = {"=", "!=", "<", ">"};
    msgpack_pack_array(packer, 4);
    pack_bytes(packer, condition->key);
    pack_text(packer, subjects[condition->subject]);
    pack_text(packer, relations[condition->relation]);
    if (condition->subject == MAYFLY_SUBJECT_VERSION)
        msgpack_pack_uint64(packer, condition->version);
    else if (condition->subject == MAYFLY_SUBJECT_VALUE)
        pack_bytes(packer, condition->value);
    else if (condition->exists)
        msgpack_pack_true(packer);
    else
        msgpack_pack_false(packer);
}

static void pack_elements(msgpack_packer *packer, struct mayfly_client *client,
                          const struct mayfly_request *request, bool inside);

static void pack_branch(msgpack_packer *packer, struct mayfly_client *client,
                        const struct mayfly_request *requests, size_t count)
{
    msgpack_pack_array(packer, count);
    for (size_t i = 0; i < count; i++)
        pack_elements(packer, client, &requests[i], true);
}

static void pack_txn(msgpack_packer *packer, struct mayfly_client *client,
                     const struct mayfly_txn *txn)
{
    msgpack_pack_map(packer, 3);
    pack_text(packer, "if");
    msgpack_pack_array(packer, txn->condition_count);
    for (size_t i = 0; i < txn->condition_count; i++)
        pack_condition(packer, &txn->conditions[i]);
    pack_text(packer, "then");
    pack_branch(packer, client, txn->then, txn->then_count);
    pack_text(packer, "else");
    pack_branch(packer, client, txn->otherwise, txn->otherwise_count);
}

static void pack_keys(msgpack_packer *packer, const struct mayfly_request *request, bool values)
{
    msgpack_pack_array(packer, request->count);
    for (size_t i = 0; i < request->count; i++) {
        if (values)
            msgpack_pack_array(packer, 2);
        pack_bytes(packer, request->keys[i]);
        if (values)
            pack_bytes(packer, request->values[i]);
    }
}

// How many positional parameters a layout has.
static size_t arity_of(enum layout layout)
{
    switch (layout) {
    case LAYOUT_NONE:
        return 0;
    case LAYOUT_KEY_VALUE:
    case LAYOUT_KEY_TTL:
    case LAYOUT_KEY_DELTA:
    case LAYOUT_SHARD_NODE:
    case LAYOUT_NODE_NAME:
    case LAYOUT_NAME_AT:
        return 2;
    default:
        return 1;
    }
}

// The parameters, or, inside a txn, the method's name and them, as one array.
static void pack_elements(msgpack_packer *packer, struct mayfly_client *client,
                          const struct mayfly_request *request, bool inside)
{
    const struct method_row *row = &methods[request->method];
    bool id = row->write && !inside;
    bool options = id || request->options.flags != 0 || request->options.count != 0;
    if (row->layout == LAYOUT_KEY_TTL && !id)
        options = (request->options.flags & ~(unsigned)MAYFLY_FLAG_TTL) != 0;
    msgpack_pack_array(packer, (inside ? 1u : 0u) + arity_of(row->layout) + (options ? 1u : 0u));
    if (inside)
        pack_text(packer, row->name);
    switch (row->layout) {
    case LAYOUT_NONE:
        break;
    case LAYOUT_GREETING:
        pack_greeting(packer, client);
        break;
    case LAYOUT_NAME:
    case LAYOUT_NAME_AT:
    case LAYOUT_NODE_NAME:
        if (row->layout == LAYOUT_NODE_NAME)
            msgpack_pack_uint32(packer, request->node);
        msgpack_pack_str(packer, request->keys[0].len);
        msgpack_pack_str_body(packer, request->keys[0].data, request->keys[0].len);
        if (row->layout == LAYOUT_NAME_AT)
            msgpack_pack_uint64(packer, request->cursor);
        break;
    case LAYOUT_SHARD_NODE:
        msgpack_pack_uint32(packer, request->shard);
        msgpack_pack_uint32(packer, request->node);
        break;
    case LAYOUT_NODE:
        msgpack_pack_uint32(packer, request->node);
        break;
    case LAYOUT_KEY:
        pack_bytes(packer, request->keys[0]);
        break;
    case LAYOUT_KEY_VALUE:
        pack_bytes(packer, request->keys[0]);
        pack_bytes(packer, request->values[0]);
        break;
    case LAYOUT_KEY_TTL:
        pack_bytes(packer, request->keys[0]);
        msgpack_pack_int64(packer, request->options.ttl_ms);
        break;
    case LAYOUT_KEY_DELTA:
        pack_bytes(packer, request->keys[0]);
        msgpack_pack_int64(packer, request->delta);
        break;
    case LAYOUT_KEYS:
    case LAYOUT_PAIRS:
        pack_keys(packer, request, row->layout == LAYOUT_PAIRS);
        break;
    case LAYOUT_CURSOR:
        msgpack_pack_uint64(packer, request->cursor);
        break;
    case LAYOUT_TXN:
        pack_txn(packer, client, request->txn);
        break;
    }
    if (options)
        pack_options(packer, client, row, &request->options, id);
}

static size_t txn_size_bound(const struct mayfly_client *client, const struct mayfly_txn *txn)
{
    size_t size = 0;
    for (size_t i = 0; i < txn->condition_count; i++)
        size += 64 + txn->conditions[i].key.len + txn->conditions[i].value.len;
    for (size_t i = 0; i < txn->then_count; i++)
        size += mf_request_size_bound(client, &txn->then[i]);
    for (size_t i = 0; i < txn->otherwise_count; i++)
        size += mf_request_size_bound(client, &txn->otherwise[i]);
    return size;
}

// 256 bytes hold the frame and every option but the caller's own id and pattern.
size_t mf_request_size_bound(const struct mayfly_client *client,
                             const struct mayfly_request *request)
{
    const struct method_row *row = &methods[request->method];
    size_t size = 256 + request->options.id.len + request->options.match.len;
    if (row->layout == LAYOUT_TXN)
        size += txn_size_bound(client, request->txn);
    if (row->layout == LAYOUT_GREETING) {
        size += strlen(client->name) + (client->user != NULL ? strlen(client->user) : 0) +
                (client->password != NULL ? strlen(client->password) : 0);
    }
    for (size_t i = 0; i < request->count; i++) {
        size += request->keys[i].len + 6;
        if (has_values(row->layout))
            size += request->values[i].len + 6;
    }
    return size;
}

struct mf_buf mf_request_pack(struct mayfly_client *client, uint32_t msgid,
                              const struct mayfly_request *request)
{
    struct mf_buf buf = {.cap = mf_request_size_bound(client, request)};
    buf.data = malloc(buf.cap);
    if (buf.data == NULL)
        return (struct mf_buf){0};
    const struct method_row *row = &methods[request->method];
    msgpack_packer packer;
    msgpack_packer_init(&packer, &buf, append);
    msgpack_pack_array(&packer, 4);
    msgpack_pack_int(&packer, 0);
    msgpack_pack_uint32(&packer, msgid);
    pack_text(&packer, row->name);
    pack_elements(&packer, client, request, false);
    return buf;
}
