// The blocking calls: each submits one request, polls until it is answered, and checks that the
// answer has the form that its method promises. Bytes in an answer are not copied: the input buffer
// that they lie in is set aside until the next blocking call.
#include "rpc/client_internal.h"

#include <string.h>

// One blocking call under way; lives on its caller's stack.
struct wait {
    struct mayfly_client *client;
    bool done;
    enum mayfly_err err;
    const struct mayfly_value *value;
};

static void take_answer(void *cookie, const struct mayfly_reply *reply)
{
    struct wait *wait = cookie;
    wait->done = true;
    wait->err = reply->err;
    wait->value = reply->value;
    if (reply->err != MAYFLY_OK)
        (void)mf_client_refuse(wait->client, reply->err, "%s", reply->message);
    else if (!mf_replies_hold(wait->client))
        wait->err =
            mf_client_refuse(wait->client, MAYFLY_ERR_OUT_OF_MEMORY, "no memory to keep the reply");
}

static enum mayfly_err call(struct mayfly_client *client, const struct mayfly_request *request,
                            const struct mayfly_value **out)
{
    struct wait wait = {.client = client};
    if (client->in_callback)
        return mf_client_refuse(client, MAYFLY_ERR_BAD_REQUEST,
                                "a blocking call was made from a callback");
    enum mayfly_err err;
    while ((err = mayfly_submit(client, request, take_answer, &wait)) == MAYFLY_ERR_WINDOW_FULL)
        (void)mayfly_poll(client, -1);
    while (err == MAYFLY_OK && !wait.done)
        (void)mayfly_poll(client, -1);
    if (err == MAYFLY_OK)
        err = wait.err;
    if (err == MAYFLY_OK)
        *out = wait.value;
    return err;
}

static enum mayfly_err unexpected(struct mayfly_client *client, const char *method)
{
    return mf_client_refuse(client, MAYFLY_ERR_PROTOCOL, "%s was answered with something else",
                            method);
}

static struct mayfly_options options_or_none(const struct mayfly_options *options)
{
    return options != NULL ? *options : (struct mayfly_options){0};
}

static bool is_bytes(const struct mayfly_value *value)
{
    return value != NULL && (value->type == MAYFLY_TYPE_BYTES || value->type == MAYFLY_TYPE_STRING);
}

static bool is_count(const struct mayfly_value *value)
{
    return value != NULL && value->type == MAYFLY_TYPE_INT && value->integer >= 0;
}

// A call that returns a number of things; out may be NULL.
static enum mayfly_err call_for_count(struct mayfly_client *client,
                                      const struct mayfly_request *request, const char *method,
                                      uint64_t *out)
{
    const struct mayfly_value *value;
    enum mayfly_err err = call(client, request, &value);
    if (err != MAYFLY_OK)
        return err;
    if (!is_count(value))
        return unexpected(client, method);
    if (out != NULL)
        *out = (uint64_t)value->integer;
    return MAYFLY_OK;
}

// A call that returns a boolean; out may be NULL.
static enum mayfly_err call_for_bool(struct mayfly_client *client,
                                     const struct mayfly_request *request, const char *method,
                                     bool *out)
{
    const struct mayfly_value *value;
    enum mayfly_err err = call(client, request, &value);
    if (err != MAYFLY_OK)
        return err;
    // Set with MAYFLY_OK. NOLINTNEXTLINE(clang-analyzer-core.NullDereference)
    if (value->type != MAYFLY_TYPE_BOOL)
        return unexpected(client, method);
    if (out != NULL)
        *out = value->boolean;
    return MAYFLY_OK;
}

static enum mayfly_err call_for_map(struct mayfly_client *client,
                                    const struct mayfly_request *request, const char *method,
                                    const struct mayfly_value **out)
{
    const struct mayfly_value *value;
    enum mayfly_err err = call(client, request, &value);
    if (err != MAYFLY_OK)
        return err;
    if (value->type != MAYFLY_TYPE_MAP)
        return unexpected(client, method);
    *out = value;
    return MAYFLY_OK;
}

enum mayfly_err mayfly_ping(struct mayfly_client *client)
{
    struct mayfly_request request = {.method = MAYFLY_METHOD_PING};
    const struct mayfly_value *value;
    enum mayfly_err err = call(client, &request, &value);
    if (err != MAYFLY_OK)
        return err;
    if (!is_bytes(value) || value->bytes.len != 4 || memcmp(value->bytes.data, "pong", 4) != 0)
        return unexpected(client, "ping");
    return MAYFLY_OK;
}

enum mayfly_err mayfly_hello(struct mayfly_client *client, const struct mayfly_value **out)
{
    struct mayfly_request request = {.method = MAYFLY_METHOD_HELLO};
    return call_for_map(client, &request, "hello", out);
}

// `value` is the entry itself, or with META a map of it, or nil.
static bool read_entry(const struct mayfly_value *value, bool meta, struct mayfly_entry *out)
{
    *out = (struct mayfly_entry){.found = value->type != MAYFLY_TYPE_NIL};
    if (!out->found)
        return true;
    if (meta) {
        const struct mayfly_value *version = mayfly_value_at(value, "version");
        const struct mayfly_value *ttl = mayfly_value_at(value, "ttl");
        if (!is_count(version) || ttl == NULL || ttl->type != MAYFLY_TYPE_INT)
            return false;
        out->version = (uint64_t)version->integer;
        out->ttl_ms = ttl->integer;
        value = mayfly_value_at(value, "value");
    }
    if (!is_bytes(value))
        return false;
    out->value = value->bytes;
    return true;
}

// A call of one key that returns its value or nil.
static enum mayfly_err call_for_entry(struct mayfly_client *client, enum mayfly_method method,
                                      const char *name, const struct mayfly_bytes *key,
                                      const struct mayfly_options *options,
                                      struct mayfly_entry *out)
{
    struct mayfly_request request = {
        .method = method, .keys = key, .count = 1, .options = options_or_none(options)};
    const struct mayfly_value *value;
    enum mayfly_err err = call(client, &request, &value);
    if (err != MAYFLY_OK)
        return err;
    struct mayfly_entry entry;
    if (!read_entry(value, (request.options.flags & MAYFLY_FLAG_META) != 0, &entry))
        return unexpected(client, name);
    *out = entry;
    return MAYFLY_OK;
}

enum mayfly_err mayfly_get(struct mayfly_client *client, struct mayfly_bytes key,
                           const struct mayfly_options *options, struct mayfly_entry *out)
{
    return call_for_entry(client, MAYFLY_METHOD_GET, "get", &key, options, out);
}

enum mayfly_err mayfly_mget(struct mayfly_client *client, const struct mayfly_bytes *keys,
                            size_t count, const struct mayfly_options *options,
                            struct mayfly_entry *out)
{
    struct mayfly_request request = {.method = MAYFLY_METHOD_MGET,
                                     .keys = keys,
                                     .count = count,
                                     .options = options_or_none(options)};
    const struct mayfly_value *value;
    enum mayfly_err err = call(client, &request, &value);
    if (err != MAYFLY_OK)
        return err;
    if (value->type != MAYFLY_TYPE_ARRAY || value->count != count)
        return unexpected(client, "mget");
    for (size_t i = 0; i < count; i++) {
        if (value->items[i].type != MAYFLY_TYPE_NIL && !is_bytes(&value->items[i]))
            return unexpected(client, "mget");
    }
    for (size_t i = 0; i < count; i++)
        (void)read_entry(&value->items[i], false, &out[i]);
    return MAYFLY_OK;
}

static bool read_written(const struct mayfly_value *value, struct mayfly_written *out)
{
    *out = (struct mayfly_written){0};
    if (value->type == MAYFLY_TYPE_NIL)
        return true;
    const struct mayfly_value *version = mayfly_value_at(value, "version");
    const struct mayfly_value *old = mayfly_value_at(value, "old");
    if (version == NULL || (version->type != MAYFLY_TYPE_NIL && !is_count(version)))
        return false;
    out->written = version->type != MAYFLY_TYPE_NIL;
    out->version = out->written ? (uint64_t)version->integer : 0;
    out->had_old = old != NULL && old->type != MAYFLY_TYPE_NIL;
    if (out->had_old && !is_bytes(old))
        return false;
    if (out->had_old)
        out->old = old->bytes;
    return true;
}

enum mayfly_err mayfly_set(struct mayfly_client *client, struct mayfly_bytes key,
                           struct mayfly_bytes value, const struct mayfly_options *options,
                           struct mayfly_written *out)
{
    struct mayfly_request request = {.method = MAYFLY_METHOD_SET,
                                     .keys = &key,
                                     .values = &value,
                                     .count = 1,
                                     .options = options_or_none(options)};
    const struct mayfly_value *answer;
    enum mayfly_err err = call(client, &request, &answer);
    if (err != MAYFLY_OK)
        return err;
    struct mayfly_written written;
    if (!read_written(answer, &written))
        return unexpected(client, "set");
    if (out != NULL)
        *out = written;
    return MAYFLY_OK;
}

enum mayfly_err mayfly_mset(struct mayfly_client *client, const struct mayfly_bytes *keys,
                            const struct mayfly_bytes *values, size_t count,
                            const struct mayfly_options *options)
{
    struct mayfly_request request = {.method = MAYFLY_METHOD_MSET,
                                     .keys = keys,
                                     .values = values,
                                     .count = count,
                                     .options = options_or_none(options)};
    return call_for_count(client, &request, "mset", NULL);
}

enum mayfly_err mayfly_del(struct mayfly_client *client, const struct mayfly_bytes *keys,
                           size_t count, const struct mayfly_options *options, uint64_t *deleted)
{
    struct mayfly_request request = {.method = MAYFLY_METHOD_DEL,
                                     .keys = keys,
                                     .count = count,
                                     .options = options_or_none(options)};
    return call_for_count(client, &request, "del", deleted);
}

enum mayfly_err mayfly_has(struct mayfly_client *client, const struct mayfly_bytes *keys,
                           size_t count, bool *out)
{
    struct mayfly_request request = {.method = MAYFLY_METHOD_HAS, .keys = keys, .count = count};
    const struct mayfly_value *value;
    enum mayfly_err err = call(client, &request, &value);
    if (err != MAYFLY_OK)
        return err;
    if (value->type != MAYFLY_TYPE_ARRAY || value->count != count)
        return unexpected(client, "has");
    for (size_t i = 0; i < count; i++) {
        if (value->items[i].type != MAYFLY_TYPE_BOOL)
            return unexpected(client, "has");
    }
    for (size_t i = 0; i < count; i++)
        out[i] = value->items[i].boolean;
    return MAYFLY_OK;
}

enum mayfly_err mayfly_expire(struct mayfly_client *client, struct mayfly_bytes key, int64_t ttl_ms,
                              const struct mayfly_options *options, bool *changed)
{
    struct mayfly_request request = {.method = MAYFLY_METHOD_EXPIRE,
                                     .keys = &key,
                                     .count = 1,
                                     .options = options_or_none(options)};
    request.options.ttl_ms = ttl_ms;
    return call_for_bool(client, &request, "expire", changed);
}

enum mayfly_err mayfly_persist(struct mayfly_client *client, struct mayfly_bytes key,
                               const struct mayfly_options *options, bool *changed)
{
    struct mayfly_request request = {.method = MAYFLY_METHOD_PERSIST,
                                     .keys = &key,
                                     .count = 1,
                                     .options = options_or_none(options)};
    return call_for_bool(client, &request, "persist", changed);
}

enum mayfly_err mayfly_ttl(struct mayfly_client *client, struct mayfly_bytes key, int64_t *ttl_ms)
{
    struct mayfly_request request = {.method = MAYFLY_METHOD_TTL, .keys = &key, .count = 1};
    const struct mayfly_value *value;
    enum mayfly_err err = call(client, &request, &value);
    if (err != MAYFLY_OK)
        return err;
    if (value->type != MAYFLY_TYPE_INT || value->integer < -2)
        return unexpected(client, "ttl");
    *ttl_ms = value->integer;
    return MAYFLY_OK;
}

enum mayfly_err mayfly_incr(struct mayfly_client *client, struct mayfly_bytes key, int64_t delta,
                            const struct mayfly_options *options, int64_t *value)
{
    struct mayfly_request request = {.method = MAYFLY_METHOD_INCR,
                                     .keys = &key,
                                     .count = 1,
                                     .delta = delta,
                                     .options = options_or_none(options)};
    const struct mayfly_value *answer;
    enum mayfly_err err = call(client, &request, &answer);
    if (err != MAYFLY_OK)
        return err;
    if (answer->type != MAYFLY_TYPE_INT)
        return unexpected(client, "incr");
    if (value != NULL)
        *value = answer->integer;
    return MAYFLY_OK;
}

enum mayfly_err mayfly_append(struct mayfly_client *client, struct mayfly_bytes key,
                              struct mayfly_bytes value, const struct mayfly_options *options,
                              uint64_t *length)
{
    struct mayfly_request request = {.method = MAYFLY_METHOD_APPEND,
                                     .keys = &key,
                                     .values = &value,
                                     .count = 1,
                                     .options = options_or_none(options)};
    return call_for_count(client, &request, "append", length);
}

enum mayfly_err mayfly_getdel(struct mayfly_client *client, struct mayfly_bytes key,
                              const struct mayfly_options *options, struct mayfly_entry *out)
{
    return call_for_entry(client, MAYFLY_METHOD_GETDEL, "getdel", &key, options, out);
}

enum mayfly_err mayfly_getex(struct mayfly_client *client, struct mayfly_bytes key,
                             const struct mayfly_options *options, struct mayfly_entry *out)
{
    return call_for_entry(client, MAYFLY_METHOD_GETEX, "getex", &key, options, out);
}

// [cursor, [key...]]
static bool read_scan(const struct mayfly_value *value, uint64_t *cursor)
{
    if (value->type != MAYFLY_TYPE_ARRAY || value->count != 2 ||
        value->items[1].type != MAYFLY_TYPE_ARRAY)
        return false;
    for (uint32_t i = 0; i < value->items[1].count; i++) {
        if (!is_bytes(&value->items[1].items[i]))
            return false;
    }
    const struct mayfly_value *next = &value->items[0];
    if (next->type != MAYFLY_TYPE_UINT && !is_count(next))
        return false;
    *cursor = next->type == MAYFLY_TYPE_UINT ? next->uinteger : (uint64_t)next->integer;
    return true;
}

enum mayfly_err mayfly_scan(struct mayfly_client *client, uint64_t *cursor,
                            const struct mayfly_options *options, const struct mayfly_value **keys)
{
    struct mayfly_request request = {
        .method = MAYFLY_METHOD_SCAN, .cursor = *cursor, .options = options_or_none(options)};
    const struct mayfly_value *value;
    enum mayfly_err err = call(client, &request, &value);
    if (err != MAYFLY_OK)
        return err;
    if (!read_scan(value, cursor))
        return unexpected(client, "scan");
    *keys = &value->items[1];
    return MAYFLY_OK;
}

enum mayfly_err mayfly_txn(struct mayfly_client *client, const struct mayfly_txn *txn,
                           const struct mayfly_options *options, bool *ok,
                           const struct mayfly_value **results)
{
    struct mayfly_request request = {
        .method = MAYFLY_METHOD_TXN, .txn = txn, .options = options_or_none(options)};
    const struct mayfly_value *value = NULL;
    enum mayfly_err err = call_for_map(client, &request, "txn", &value);
    if (err != MAYFLY_OK)
        return err;
    const struct mayfly_value *held = mayfly_value_at(value, "ok");
    const struct mayfly_value *list = mayfly_value_at(value, "results");
    if (held == NULL || held->type != MAYFLY_TYPE_BOOL || list == NULL ||
        list->type != MAYFLY_TYPE_ARRAY)
        return unexpected(client, "txn");
    *ok = held->boolean;
    *results = list;
    return MAYFLY_OK;
}

enum mayfly_err mayfly_size(struct mayfly_client *client, uint64_t *keys)
{
    struct mayfly_request request = {.method = MAYFLY_METHOD_SIZE};
    return call_for_count(client, &request, "size", keys);
}

enum mayfly_err mayfly_flush(struct mayfly_client *client, const struct mayfly_options *options,
                             uint64_t *dropped)
{
    struct mayfly_request request = {.method = MAYFLY_METHOD_FLUSH,
                                     .options = options_or_none(options)};
    return call_for_count(client, &request, "flush", dropped);
}

enum mayfly_err mayfly_cluster(struct mayfly_client *client, const struct mayfly_value **out)
{
    struct mayfly_request request = {.method = MAYFLY_METHOD_CLUSTER};
    return call_for_map(client, &request, "cluster", out);
}

enum mayfly_err mayfly_stats(struct mayfly_client *client, const struct mayfly_value **out)
{
    struct mayfly_request request = {.method = MAYFLY_METHOD_STATS};
    return call_for_map(client, &request, "stats", out);
}

enum mayfly_err mayfly_hotkeys(struct mayfly_client *client, uint64_t count,
                               const struct mayfly_value **out)
{
    struct mayfly_request request = {.method = MAYFLY_METHOD_HOTKEYS, .options = {.count = count}};
    const struct mayfly_value *value;
    enum mayfly_err err = call(client, &request, &value);
    if (err != MAYFLY_OK)
        return err;
    if (value->type != MAYFLY_TYPE_ARRAY)
        return unexpected(client, "hotkeys");
    *out = value;
    return MAYFLY_OK;
}

enum mayfly_err mayfly_snapshot(struct mayfly_client *client, const char *name,
                                const struct mayfly_value **out)
{
    struct mayfly_bytes text = mayfly_str(name);
    struct mayfly_request request = {.method = MAYFLY_METHOD_SNAPSHOT, .keys = &text, .count = 1};
    return call_for_map(client, &request, "snapshot", out);
}

enum mayfly_err mayfly_snapshot_read(struct mayfly_client *client, const char *name,
                                     uint64_t offset, struct mayfly_bytes *out,
                                     uint64_t *size_bytes)
{
    struct mayfly_bytes text = mayfly_str(name);
    struct mayfly_request request = {
        .method = MAYFLY_METHOD_SNAPSHOT_READ, .keys = &text, .count = 1, .cursor = offset};
    const struct mayfly_value *value = NULL;
    enum mayfly_err err = call_for_map(client, &request, "snapshot_read", &value);
    if (err != MAYFLY_OK)
        return err;
    const struct mayfly_value *data = mayfly_value_at(value, "data");
    const struct mayfly_value *size = mayfly_value_at(value, "size");
    if (data == NULL || !is_bytes(data) || !is_count(size))
        return unexpected(client, "snapshot_read");
    *out = data->bytes;
    if (size_bytes != NULL)
        *size_bytes = (uint64_t)size->integer;
    return MAYFLY_OK;
}

enum mayfly_err mayfly_snapshot_remove(struct mayfly_client *client, const char *name,
                                       bool *removed)
{
    struct mayfly_bytes text = mayfly_str(name);
    struct mayfly_request request = {
        .method = MAYFLY_METHOD_SNAPSHOT_REMOVE, .keys = &text, .count = 1};
    bool there = false;
    enum mayfly_err err = call_for_bool(client, &request, "snapshot_remove", &there);
    if (err == MAYFLY_OK && removed != NULL)
        *removed = there;
    return err;
}

// True is all that these answer.
static enum mayfly_err call_for_true(struct mayfly_client *client,
                                     const struct mayfly_request *request, const char *method)
{
    bool done = false;
    enum mayfly_err err = call_for_bool(client, request, method, &done);
    return err == MAYFLY_OK && !done ? unexpected(client, method) : err;
}

enum mayfly_err mayfly_transfer(struct mayfly_client *client, uint32_t shard, uint32_t node)
{
    struct mayfly_request request = {
        .method = MAYFLY_METHOD_TRANSFER, .shard = shard, .node = node};
    return call_for_true(client, &request, "transfer");
}

enum mayfly_err mayfly_add_node(struct mayfly_client *client, uint32_t node, const char *address)
{
    struct mayfly_bytes text = mayfly_str(address);
    struct mayfly_request request = {
        .method = MAYFLY_METHOD_ADD_NODE, .node = node, .keys = &text, .count = 1};
    return call_for_true(client, &request, "add_node");
}

enum mayfly_err mayfly_remove_node(struct mayfly_client *client, uint32_t node)
{
    struct mayfly_request request = {.method = MAYFLY_METHOD_REMOVE_NODE, .node = node};
    return call_for_true(client, &request, "remove_node");
}

enum mayfly_err mayfly_drain_node(struct mayfly_client *client, uint32_t node, bool undo)
{
    struct mayfly_request request = {.method = MAYFLY_METHOD_DRAIN_NODE,
                                     .node = node,
                                     .options = {.flags = undo ? MAYFLY_FLAG_UNDO : 0}};
    return call_for_true(client, &request, "drain_node");
}
