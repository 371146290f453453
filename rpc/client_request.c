// A request into MessagePack: `[0, msgid, method, params]`.
//
// One table says for each method how its parameters lie and which options it takes; checking and
// packing both read it. The bytes are taken in one piece whose size is known beforehand, because
// they stay until the answer comes.
#include "rpc/client_internal.h"

#include <msgpack/pack.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_MAX ((size_t)1 << 20) // keys in one request, as the server has it

enum layout {
    LAYOUT_NONE,       // []
    LAYOUT_KEY,        // [key]
    LAYOUT_KEY_VALUE,  // [key, value]
    LAYOUT_KEY_TTL,    // [key, ttl]
    LAYOUT_KEYS,       // [[key...]]
    LAYOUT_PAIRS,      // [[[key, value]...]]
    LAYOUT_NAME,       // [name]
    LAYOUT_SHARD_NODE, // [shard, node]
    LAYOUT_NODE,       // [node]
    LAYOUT_NODE_NAME,  // [node, name]
    LAYOUT_GREETING,   // [{client, user, password}]
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
};

// The options that are sent as `name: true`.
static const struct {
    unsigned flag;
    const char *name;
} switches[] = {
    {MAYFLY_FLAG_NX, "nx"},     {MAYFLY_FLAG_XX, "xx"},     {MAYFLY_FLAG_GT, "gt"},
    {MAYFLY_FLAG_LT, "lt"},     {MAYFLY_FLAG_GET, "get"},   {MAYFLY_FLAG_KEEP_TTL, "keep_ttl"},
    {MAYFLY_FLAG_META, "meta"}, {MAYFLY_FLAG_UNDO, "undo"},
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
        return count == 0;
    case LAYOUT_KEY:
    case LAYOUT_KEY_VALUE:
    case LAYOUT_KEY_TTL:
    case LAYOUT_NAME:
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
    return request->options.id.len <= UINT32_MAX;
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
        (options->if_version != 0 && (options->flags & MAYFLY_FLAG_IF_VERSION) == 0))
        return mf_client_refuse(client, MAYFLY_ERR_BAD_REQUEST,
                                "%s: an option is given without its flag", row->name);
    if (options->id.len > 0 && !row->write)
        return mf_client_refuse(client, MAYFLY_ERR_BAD_REQUEST, "%s takes no id", row->name);
    return MAYFLY_OK;
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

// The map of options: one for each flag, and the id of a write.
static void pack_options(msgpack_packer *packer, struct mayfly_client *client,
                         const struct method_row *row, const struct mayfly_options *options)
{
    // The TTL of `expire` is a parameter, not an option.
    unsigned flags = options->flags;
    if (row->layout == LAYOUT_KEY_TTL)
        flags &= ~(unsigned)MAYFLY_FLAG_TTL;
    msgpack_pack_map(packer, (size_t)__builtin_popcount(flags) + (row->write ? 1 : 0));
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
    if (row->write)
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

static void pack_params(msgpack_packer *packer, struct mayfly_client *client,
                        const struct method_row *row, const struct mayfly_request *request)
{
    bool options = row->write || request->options.flags != 0;
    size_t extra = options ? 1 : 0;
    switch (row->layout) {
    case LAYOUT_NONE:
        msgpack_pack_array(packer, extra);
        break;
    case LAYOUT_GREETING:
        msgpack_pack_array(packer, 1);
        pack_greeting(packer, client);
        break;
    case LAYOUT_NAME:
    case LAYOUT_NODE_NAME:
        msgpack_pack_array(packer, (row->layout == LAYOUT_NAME ? 1 : 2) + extra);
        if (row->layout == LAYOUT_NODE_NAME)
            msgpack_pack_uint32(packer, request->node);
        msgpack_pack_str(packer, request->keys[0].len);
        msgpack_pack_str_body(packer, request->keys[0].data, request->keys[0].len);
        break;
    case LAYOUT_SHARD_NODE:
        msgpack_pack_array(packer, 2 + extra);
        msgpack_pack_uint32(packer, request->shard);
        msgpack_pack_uint32(packer, request->node);
        break;
    case LAYOUT_NODE:
        msgpack_pack_array(packer, 1 + extra);
        msgpack_pack_uint32(packer, request->node);
        break;
    case LAYOUT_KEY:
        msgpack_pack_array(packer, 1 + extra);
        pack_bytes(packer, request->keys[0]);
        break;
    case LAYOUT_KEY_VALUE:
        msgpack_pack_array(packer, 2 + extra);
        pack_bytes(packer, request->keys[0]);
        pack_bytes(packer, request->values[0]);
        break;
    case LAYOUT_KEY_TTL:
        msgpack_pack_array(packer, 2 + extra);
        pack_bytes(packer, request->keys[0]);
        msgpack_pack_int64(packer, request->options.ttl_ms);
        break;
    case LAYOUT_KEYS:
        msgpack_pack_array(packer, 1 + extra);
        msgpack_pack_array(packer, request->count);
        for (size_t i = 0; i < request->count; i++)
            pack_bytes(packer, request->keys[i]);
        break;
    case LAYOUT_PAIRS:
        msgpack_pack_array(packer, 1 + extra);
        msgpack_pack_array(packer, request->count);
        for (size_t i = 0; i < request->count; i++) {
            msgpack_pack_array(packer, 2);
            pack_bytes(packer, request->keys[i]);
            pack_bytes(packer, request->values[i]);
        }
        break;
    }
    if (options)
        pack_options(packer, client, row, &request->options);
}

// 256 bytes hold the frame and every option but the caller's own id.
size_t mf_request_size_bound(const struct mayfly_client *client,
                             const struct mayfly_request *request)
{
    const struct method_row *row = &methods[request->method];
    size_t size = 256 + request->options.id.len;
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
    pack_params(&packer, client, row, request);
    return buf;
}
