// The layout of the cluster and the counters of the node; see admin.h.
#include "server/admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/slots.h"
#include "rpc/msgpack_rpc.h"
#include "server/figures.h"
#include "server/request.h"
#include "server/roster.h"
#include "server/snapshotter.h"

#define LOAD(value) atomic_load_explicit(&(value), memory_order_relaxed)

static void pack_text_or_nil(struct mf_buf *out, const char *name, const char *text)
{
    mf_pack_str(out, name);
    if (text[0] == '\0')
        mf_pack_nil(out);
    else
        mf_pack_str(out, text);
}

static void pack_member(struct mf_buf *out, struct mf_node *node, uint32_t i)
{
    const struct mf_member *member = &node->members[i];
    bool self = i == node->self;
    pthread_mutex_lock(&node->mutex);
    struct mf_node_addresses addresses = self ? node->addresses : member->addresses;
    char peer[sizeof(member->peer)];
    memcpy(peer, member->peer, sizeof(peer));
    pthread_mutex_unlock(&node->mutex);
    mf_pack_map(out, 7);
    mf_pack_str(out, "id");
    mf_pack_uint(out, member->id);
    pack_text_or_nil(out, "peer", self && node->bound_peer[0] != '\0' ? node->bound_peer : peer);
    pack_text_or_nil(out, "rpc", addresses.rpc);
    pack_text_or_nil(out, "resp", addresses.resp);
    pack_text_or_nil(out, "resp_cluster", addresses.resp_cluster);
    pack_text_or_nil(out, "http", addresses.http);
    mf_pack_str(out, "alive");
    mf_pack_bool(out, self || LOAD(member->up));
}

static void pack_index(struct mf_buf *out, const char *name, bool held, uint64_t value)
{
    mf_pack_str(out, name);
    if (held)
        mf_pack_uint(out, value);
    else
        mf_pack_nil(out);
}

// Who has copies; until that is known, who is to have them.
static uint32_t copies_of(const struct mf_reactor *reactor, uint32_t shard, uint16_t *ids)
{
    uint32_t count = mf_node_copies(reactor->node, shard, ids);
    if (count > 0)
        return count;
    memcpy(ids, mf_roster_places(reactor->roster, shard), reactor->roster->copies * sizeof(ids[0]));
    return reactor->roster->copies;
}

static void pack_shard(struct mf_buf *out, const struct mf_reactor *reactor, uint32_t shard)
{
    const struct mf_node *node = reactor->node;
    const struct mf_shard_status *status = &node->shards[shard];
    bool held = mf_node_holds(node, shard);
    uint16_t first;
    uint16_t last;
    mf_shard_slots(shard, node->config.shards, &first, &last);
    mf_pack_map(out, 8);
    mf_pack_str(out, "id");
    mf_pack_uint(out, shard);
    mf_pack_str(out, "slots");
    mf_pack_array(out, 1);
    mf_pack_array(out, 2);
    mf_pack_uint(out, first);
    mf_pack_uint(out, last);
    mf_pack_str(out, "leader");
    mf_pack_uint(out, LOAD(status->leader));
    mf_pack_str(out, "replicas");
    uint16_t ids[MF_COPIES_MAX];
    uint32_t count = copies_of(reactor, shard, ids);
    mf_pack_array(out, count);
    for (uint32_t i = 0; i < count; i++)
        mf_pack_uint(out, ids[i]);
    // Pairs with mf_status_publish.
    uint64_t applied = atomic_load_explicit(&status->applied, memory_order_acquire);
    pack_index(out, "ballot", held, LOAD(status->ballot));
    pack_index(out, "chosen", held, LOAD(status->chosen));
    pack_index(out, "applied", held, applied);
    pack_index(out, "first", held, LOAD(status->first));
}

void mf_admin_cluster(struct mf_reactor *reactor, mf_admin_done *done, void *arg)
{
    struct mf_node *node = reactor->node;
    struct mf_buf out = {0};
    mf_pack_map(&out, 4);
    mf_pack_str(&out, "name");
    mf_pack_str(&out, node->config.name);
    mf_pack_str(&out, "node");
    mf_pack_uint(&out, node->config.id);
    mf_pack_str(&out, "nodes");
    const struct mf_roster *roster = reactor->roster;
    uint32_t count = 0;
    uint32_t members[MF_NODES_MAX];
    for (uint32_t i = 0; i < roster->count; i++) {
        int member = mf_node_member(node, roster->nodes[i].id);
        if (member >= 0)
            members[count++] = (uint32_t)member;
    }
    mf_pack_array(&out, count);
    for (uint32_t i = 0; i < count; i++)
        pack_member(&out, node, members[i]);
    mf_pack_str(&out, "shards");
    mf_pack_array(&out, node->config.shards);
    for (uint32_t i = 0; i < node->config.shards; i++)
        pack_shard(&out, reactor, i);
    done(arg, MF_OK, NULL, mf_buf_view(&out));
    mf_buf_free(&out);
}

static void pack_hashes(struct mf_buf *out, const struct mf_shard_figures *shards, uint32_t held)
{
    mf_pack_str(out, "shard_hashes");
    mf_pack_array(out, held);
    for (uint32_t i = 0; i < held; i++) {
        mf_pack_array(out, 3);
        mf_pack_uint(out, shards[i].id);
        mf_pack_uint(out, shards[i].applied);
        mf_pack_uint(out, shards[i].hash);
    }
}

static void pack_memory(struct mf_buf *out, const struct mf_shard_figures *shards, uint32_t held)
{
    mf_pack_str(out, "shard_memory");
    mf_pack_array(out, held);
    for (uint32_t i = 0; i < held; i++) {
        const struct mf_shard_figures *shard = &shards[i];
        const struct {
            const char *name;
            uint64_t value;
        } rows[] = {
            {"shard", shard->id},
            {"keys", shard->keys},
            {"ids", shard->ids},
            {"key_bytes", shard->key_bytes},
            {"table_bytes", shard->table_bytes},
            {"heap_bytes", shard->heap_bytes},
            {"id_bytes", shard->id_bytes},
            {"log_bytes", shard->log_bytes},
        };
        mf_pack_map(out, sizeof(rows) / sizeof(rows[0]));
        for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
            mf_pack_str(out, rows[row].name);
            mf_pack_uint(out, rows[row].value);
        }
    }
}

void mf_admin_stats(struct mf_reactor *reactor, mf_admin_done *done, void *arg)
{
    struct mf_node *node = reactor->node;
    struct mf_figures totals = {0};
    mf_figures_add_reactors(&totals, node);
    uint32_t held;
    struct mf_shard_figures *shards = mf_figures_read_shards(node, &held);
    mf_figures_add_shards(&totals, shards, held);
    struct mf_allocator_bytes bytes = {0};
    if (node->allocator_bytes != NULL)
        node->allocator_bytes(&bytes);
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"node", node->config.id},
        {"uptime_ms", (mf_mono_us() - node->started_us) / 1000},
        {"threads", node->reactor_count},
        {"clients", LOAD(node->clients)},
        {"watches", LOAD(node->watches)},
        {"requests", totals.requests},
        {"errors", totals.errors},
        {"forwarded", totals.forwarded},
        {"crossed_reactors", totals.crossed},
        {"shared_reads", totals.shared_reads},
        {"turns", totals.turns},
        {"turn_us_max", totals.turn_us_max},
        {"shards_held", totals.held},
        {"shards_leading", totals.leading},
        {"elections_won", totals.elections_won},
        {"snapshots_sent", totals.snapshots_sent},
        {"snapshots_installed", totals.snapshots_installed},
        {"walk_steps", totals.walk_steps},
        {"walk_steps_over_1ms", totals.walk_steps_over_1ms},
        {"walk_step_us_max", totals.walk_step_us_max},
        {"walk_early_bytes_max", totals.walk_early_bytes_max},
        {"walk_holds", totals.walk_holds},
        {"keys", totals.keys},
        {"ids", totals.ids},
        {"store_bytes", totals.bytes},
        {"log_bytes", totals.log_bytes},
        {"memory_max_bytes", atomic_load_explicit(&node->budget.bytes_max, memory_order_relaxed)},
        {"allocated_bytes", bytes.allocated},
        {"resident_bytes", bytes.resident},
        {"keys_expired", totals.expired},
        {"keys_evicted", totals.evicted},
        {"wal_syncs", totals.wal_syncs},
        {"wal_bytes", totals.wal_bytes},
        {"wal_sync_us_max", totals.wal_sync_us_max},
        {"wal_sync_us_total", totals.wal_sync_us_total},
        {"wal_pending_bytes", totals.wal_pending_bytes},
        {"disk_full", totals.full > 0},
        {"disk_failing", totals.refused > 0},
    };
    struct mf_buf out = {0};
    mf_pack_map(&out, sizeof(rows) / sizeof(rows[0]) + 2);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        mf_pack_str(&out, rows[i].name);
        mf_pack_uint(&out, rows[i].value);
    }
    // Equal on every replica at an equal log index: [shard, applied, hash] of each shard held.
    pack_hashes(&out, shards, held);
    pack_memory(&out, shards, held);
    free(shards);
    done(arg, MF_OK, NULL, mf_buf_view(&out));
    mf_buf_free(&out);
}

void mf_admin_snapshot(struct mf_reactor *reactor, struct mf_bytes name, mf_admin_done *done,
                       void *arg)
{
    mf_snapshotter_start(reactor->node->snapshotter, reactor, name, done, arg);
}

// A command about leadership on its way, and what to say if it is refused.
struct order {
    mf_admin_done *done;
    void *arg;
    uint32_t shard;
    uint32_t node;
    bool drain;
};

static void explain(const struct order *order, enum mf_err err, char *message, size_t size)
{
    if (err == MF_BAD_REQUEST)
        snprintf(message, size, "transfer: node %u has no vote in shard %u", order->node,
                 order->shard);
    else if (err == MF_NO_QUORUM && order->drain)
        snprintf(message, size,
                 "drain_node: node %u is down, or leads shards that no other node can take now",
                 order->node);
    else if (err == MF_NO_QUORUM)
        snprintf(message, size,
                 "transfer: node %u could not take shard %u: one of its nodes is down, behind, "
                 "stopping or drained",
                 order->node, order->shard);
}

static void on_order_done(void *arg, const struct mf_result *result)
{
    struct order *order = arg;
    char message[160] = "";
    struct mf_buf out = {0};
    enum mf_err err = result->kind == MF_RESULT_ERROR ? result->err : MF_OK;
    explain(order, err, message, sizeof(message));
    mf_pack_bool(&out, true);
    order->done(order->arg, err, message[0] != '\0' ? message : NULL, mf_buf_view(&out));
    mf_buf_free(&out);
    free(order);
}

static void give_order(struct mf_reactor *reactor, const struct mf_command *command, uint32_t shard,
                       mf_admin_done *done, void *arg)
{
    struct order *order = mf_alloc(sizeof(*order));
    *order = (struct order){.done = done,
                            .arg = arg,
                            .shard = shard,
                            .node = command->limit,
                            .drain = command->op == MF_OP_DRAIN};
    mf_request_start_on(reactor, shard, command, on_order_done, order);
}

static bool is_member(const struct mf_node *node, const char *method, uint32_t id,
                      mf_admin_done *done, void *arg)
{
    if (id <= UINT16_MAX && mf_node_member(node, (uint16_t)id) >= 0)
        return true;
    char message[80];
    snprintf(message, sizeof(message), "%s: there is no node %u in the cluster", method, id);
    done(arg, MF_BAD_REQUEST, message, mf_bytes_of(NULL, 0));
    return false;
}

void mf_admin_transfer(struct mf_reactor *reactor, uint32_t shard, uint32_t node,
                       mf_admin_done *done, void *arg)
{
    uint32_t shards = reactor->node->config.shards;
    if (shard >= shards) {
        char message[80];
        snprintf(message, sizeof(message), "transfer: the shard is %u, expected 0 to %u", shard,
                 shards - 1);
        done(arg, MF_BAD_REQUEST, message, mf_bytes_of(NULL, 0));
        return;
    }
    if (!is_member(reactor->node, "transfer", node, done, arg))
        return;
    struct mf_command command = {.op = MF_OP_TRANSFER, .limit = node};
    give_order(reactor, &command, shard, done, arg);
}

void mf_admin_drain(struct mf_reactor *reactor, uint32_t node, bool undo, mf_admin_done *done,
                    void *arg)
{
    if (!is_member(reactor->node, "drain_node", node, done, arg))
        return;
    struct mf_command command = {.op = MF_OP_DRAIN, .flags = undo ? MF_UNDO : 0, .limit = node};
    give_order(reactor, &command, 0, done, arg); // any shard: it is the node that matters
}
