// MEMORY, as far as it is about the node; MEMORY USAGE is a read like others (rpc/resp_data.c).
#include <string.h>

#include "server/resp_internal.h"

struct totals {
    uint64_t keys;
    uint64_t key_bytes;
    uint64_t table_bytes;
    uint64_t heap_bytes;
    uint64_t id_bytes;
};

// Of this node's copies, as their owners last published them.
static void add_up(const struct mf_node *node, struct totals *totals)
{
    for (uint32_t i = 0; i < node->config.shards; i++) {
        const struct mf_shard_status *status = &node->shards[i];
        totals->keys += atomic_load_explicit(&status->keys, memory_order_relaxed);
        totals->key_bytes += atomic_load_explicit(&status->key_bytes, memory_order_relaxed);
        totals->table_bytes += atomic_load_explicit(&status->table_bytes, memory_order_relaxed);
        totals->heap_bytes += atomic_load_explicit(&status->heap_bytes, memory_order_relaxed);
        totals->id_bytes += atomic_load_explicit(&status->id_bytes, memory_order_relaxed);
    }
}

static void put_field(struct mf_buf *out, const char *name, uint64_t value)
{
    mf_resp_bulk_str(out, name);
    mf_resp_int(out, value <= INT64_MAX ? (int64_t)value : INT64_MAX);
}

bool mf_resp_memory_stats(struct mf_resp_session *session)
{
    const struct mf_node *node = session->client.reactor->node;
    struct totals totals = {0};
    struct mf_allocator_bytes bytes = {0};
    add_up(node, &totals);
    if (node->allocator_bytes != NULL)
        node->allocator_bytes(&bytes);
    uint64_t overhead = totals.table_bytes + totals.heap_bytes + totals.id_bytes;
    uint64_t of_keys = totals.key_bytes + totals.table_bytes + totals.heap_bytes;
    struct mf_buf *out = mf_resp_reply_begin(session);
    mf_resp_map(out, session->version, node->allocator_bytes != NULL ? 9 : 5);
    if (node->allocator_bytes != NULL)
        put_field(out, "total.allocated", bytes.allocated);
    mf_resp_bulk_str(out, "db.0");
    mf_resp_map(out, session->version, 2);
    put_field(out, "overhead.hashtable.main", totals.table_bytes);
    put_field(out, "overhead.hashtable.expires", totals.heap_bytes);
    put_field(out, "overhead.total", overhead);
    put_field(out, "keys.count", totals.keys);
    put_field(out, "keys.bytes-per-key", totals.keys > 0 ? of_keys / totals.keys : 0);
    put_field(out, "dataset.bytes", totals.key_bytes);
    if (node->allocator_bytes != NULL) {
        uint64_t kept = bytes.resident > bytes.allocated ? bytes.resident - bytes.allocated : 0;
        put_field(out, "allocator.allocated", bytes.allocated);
        put_field(out, "allocator.resident", bytes.resident);
        put_field(out, "fragmentation.bytes", kept);
    }
    mf_resp_reply_end(session);
    return true;
}

// What is not used goes back to the system within half a second, without being asked.
bool mf_resp_memory_purge(struct mf_resp_session *session)
{
    mf_resp_reply_ok(session);
    return true;
}

bool mf_resp_memory_none(struct mf_resp_session *session)
{
    mf_resp_reply_error(session, "ERR not supported, see MEMORY STATS");
    return true;
}
