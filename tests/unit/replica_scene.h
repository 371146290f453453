// Three replicas, a mailbox, and a clock that only the script moves, for tests that are scripts.
// A turn ends with its records on disk; whoever is cut off neither hears nor is heard.
#ifndef MF_TESTS_REPLICA_SCENE_H
#define MF_TESTS_REPLICA_SCENE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "consensus/lease.h"
#include "server/read_gate.h"
#include "server/replica.h"

#define NODES 3
#define MAIL_MAX 1024
#define HELD_LOG_BYTES 4096
#define SECOND_US UINT64_C(1000000)
#define WALL_US UINT64_C(1700000000000000)

struct letter {
    struct mf_paxos_msg msg;
    uint64_t mono_us;
};

struct scene;

struct actor {
    struct scene *scene;
    uint16_t id;
    struct mf_replica *replica;
    uint64_t applied;
    uint64_t expired;
    uint64_t persist_seq;
    uint64_t waiting_seq; // while its disk is full: the last that waits
    uint32_t marks;
    struct mf_acceptor snapshot_to; // as last asked for
    struct mf_shard *retired;
};

struct scene {
    struct actor actors[NODES + 1]; // by node id, from 1
    bool cut[NODES + 1];            // neither hears nor is heard
    bool full[NODES + 1];           // its disk takes no records
    uint64_t uptime_us[NODES + 1];  // what a node's monotonic clock is ahead of the scene's
    struct letter mail[MAIL_MAX];
    uint32_t mail_count;
    uint64_t now_us;
    uint64_t mono_lag_us;   // how far behind the others' clocks are estimated
    uint64_t lease_token;   // what followers answer with; 0 = they support nobody
    uint64_t held_until_us; // until when leaders may rely on that; 0 = not at all
    uint64_t look_us;       // what passes when somebody looks at the clock
    uint32_t replies;
};

static inline void on_reply(void *ctx, struct mf_op *op)
{
    struct actor *actor = ctx;
    actor->scene->replies++;
    op->owner = actor->scene; // marks it as answered
}

static inline void on_persist(void *ctx, uint32_t group, const struct mf_wal_record *records,
                              uint32_t count, uint64_t seq)
{
    (void)group;
    struct actor *actor = ctx;
    if (seq != 0)
        actor->persist_seq = seq;
    for (uint32_t i = 0; i < count; i++)
        actor->marks += records[i].type == MF_WAL_MARK;
}

static inline void on_send(void *ctx, uint32_t group, const struct mf_paxos_msg *msg)
{
    (void)group;
    struct actor *actor = ctx;
    struct scene *scene = actor->scene;
    if (scene->cut[actor->id] || scene->cut[msg->to])
        return;
    struct mf_buf bytes = {0};
    mf_paxos_msg_encode(msg, &bytes);
    struct mf_reader reader = mf_reader_of(mf_buf_view(&bytes));
    assert_true(scene->mail_count < MAIL_MAX);
    struct letter *letter = &scene->mail[scene->mail_count++];
    assert_int_equal(mf_paxos_msg_decode(&reader, &letter->msg), MF_OK);
    letter->msg.from = actor->id;
    letter->msg.to = msg->to;
    letter->mono_us = scene->now_us + scene->uptime_us[actor->id];
    mf_buf_free(&bytes);
}

static inline uint64_t on_node_mono(void *ctx, uint16_t node, uint64_t now_us)
{
    struct actor *actor = ctx;
    uint64_t behind_us = actor->scene->mono_lag_us;
    return actor->scene->cut[node] ? 0 : now_us + actor->scene->uptime_us[node] - behind_us;
}

static inline void on_applied(void *ctx, uint32_t group, uint64_t index, uint64_t log_time_us,
                              uint64_t bytes, uint64_t expired)
{
    (void)group;
    (void)log_time_us;
    (void)bytes;
    struct actor *actor = ctx;
    actor->applied = index;
    actor->expired += expired;
}

static inline void on_fatal(void *ctx, uint32_t group, const char *what)
{
    (void)ctx;
    (void)group;
    fail_msg("%s", what);
}

static inline void on_send_snapshot(void *ctx, uint32_t group, struct mf_acceptor to)
{
    (void)group;
    ((struct actor *)ctx)->snapshot_to = to;
}

static inline void on_retire(void *ctx, uint32_t group, struct mf_shard *shard)
{
    (void)group;
    ((struct actor *)ctx)->retired = shard;
}

static inline uint64_t on_mono(void *ctx)
{
    const struct actor *actor = ctx;
    uint64_t now_us = actor->scene->now_us;
    actor->scene->now_us += actor->scene->look_us;
    return now_us;
}

// Nobody is bound by a lease, so that any node may be helped.
static inline bool on_bound(void *ctx, uint16_t node, uint64_t now_us)
{
    (void)ctx;
    (void)node;
    (void)now_us;
    return false;
}

static inline bool on_withdraw(void *ctx, uint16_t node, uint64_t now_us)
{
    return !on_bound(ctx, node, now_us);
}

static inline uint64_t on_support(void *ctx, uint16_t node)
{
    (void)node;
    const struct actor *actor = ctx;
    return actor->scene->lease_token;
}

static inline uint64_t on_held_until(void *ctx, uint16_t node, uint64_t token)
{
    const struct actor *actor = ctx;
    if (node == actor->id)
        return UINT64_MAX;
    return token == actor->scene->lease_token ? actor->scene->held_until_us : 0;
}

static const struct mf_replica_ops ops = {.reply = on_reply,
                                          .mono_us = on_mono,
                                          .bound = on_bound,
                                          .withdraw = on_withdraw,
                                          .support = on_support,
                                          .held_until = on_held_until,
                                          .persist = on_persist,
                                          .send = on_send,
                                          .node_mono_us = on_node_mono,
                                          .send_snapshot = on_send_snapshot,
                                          .retire = on_retire,
                                          .applied = on_applied,
                                          .fatal = on_fatal};

static inline struct mf_replica_env env_of(const struct scene *scene)
{
    return (struct mf_replica_env){.now_us = scene->now_us, .wall_us = WALL_US + scene->now_us};
}

static inline struct mf_replica_env env_at(const struct scene *scene, uint16_t id)
{
    struct mf_replica_env env = env_of(scene);
    env.log_blocked = scene->full[id];
    return env;
}

static inline void flush(struct actor *actor)
{
    struct mf_replica_env env = env_at(actor->scene, actor->id);
    do {
        actor->persist_seq = 0;
        mf_replica_flush(actor->replica, &env);
        if (actor->persist_seq != 0)
            actor->waiting_seq = actor->persist_seq;
        if (actor->waiting_seq != 0 && !env.log_blocked) {
            mf_replica_persisted(actor->replica, &env, actor->waiting_seq);
            actor->waiting_seq = 0;
        }
    } while (mf_replica_dirty(actor->replica));
}

static inline void settle(struct scene *scene)
{
    for (uint16_t id = 1; id <= NODES; id++)
        flush(&scene->actors[id]);
    for (uint32_t i = 0; i < scene->mail_count; i++) {
        struct letter letter = scene->mail[i];
        struct mf_replica_env env = env_at(scene, letter.msg.to);
        struct actor *to = &scene->actors[letter.msg.to];
        if (!scene->cut[letter.msg.to] && !scene->cut[letter.msg.from]) {
            mf_replica_receive(to->replica, &env, &letter.msg, letter.mono_us);
            flush(to);
        }
        mf_paxos_msg_free(&letter.msg);
    }
    scene->mail_count = 0;
}

// Lets time pass in small steps, with ticks where they are due.
static inline void pass(struct scene *scene, uint64_t us)
{
    for (uint64_t end_us = scene->now_us + us; scene->now_us < end_us; scene->now_us += 1000) {
        for (uint16_t id = 1; id <= NODES; id++) {
            struct mf_replica_env env = env_at(scene, id);
            struct mf_replica *replica = scene->actors[id].replica;
            if (mf_replica_next_tick_us(replica, env.now_us) <= env.now_us)
                mf_replica_tick(replica, &env);
        }
        settle(scene);
    }
}

static inline void suspect(struct scene *scene, uint16_t lost)
{
    for (uint16_t id = 1; id <= NODES; id++) {
        struct mf_replica_env env = env_at(scene, id);
        if (id != lost)
            mf_replica_suspect(scene->actors[id].replica, &env, lost);
    }
}

// The first so many nodes vote, the others have nothing yet of the group.
static inline void open_scene_of(struct scene *scene, uint8_t voters, bool unlogged)
{
    scene->now_us = 5 * SECOND_US;
    for (uint16_t id = 1; id <= NODES; id++) {
        struct mf_replica_config config = {
            .paxos = {.self = id,
                      .incarnation = 1,
                      .members = {.voter_count = voters, .voters = {{1, 1}, {2, 1}, {3, 1}}},
                      .blank = id > voters,
                      .election_us = 100000,
                      .first_election_us = (uint64_t)id * 1000000 - 990000,
                      .resend_us = 20000,
                      .chosen_delay_us = 1000,
                      .window_entries = 8,
                      .window_bytes = 1 << 20,
                      .learn_bytes = 1 << 20},
            .expire_batch = 2,
            .batch_bytes = 1 << 16,
            .built_bytes = 1 << 20,
            .mark_interval_us = SECOND_US,
            .tag_seed = (uint64_t)id << 32,
            .pending_ops_max = 100,
            .held_log_bytes = HELD_LOG_BYTES,
            .unshared = unlogged,
            .unlogged = unlogged};
        struct actor *actor = &scene->actors[id];
        actor->scene = scene;
        actor->id = id;
        actor->replica = mf_replica_new(&config, mf_shard_new(0, id), &ops, actor, scene->now_us);
        mf_replica_restore_done(actor->replica, 0, 0);
    }
    pass(scene, 100000); // node 1 campaigns first, and wins
}

static inline void open_lagging_scene(struct scene *scene, uint64_t mono_lag_us)
{
    memset(scene, 0, sizeof(*scene));
    scene->mono_lag_us = mono_lag_us;
    open_scene_of(scene, NODES, false);
}

static inline void open_scene(struct scene *scene)
{
    open_lagging_scene(scene, 0);
}

// Node 1 is alone in the group, and nobody keeps a log.
static inline void open_alone_scene(struct scene *scene)
{
    memset(scene, 0, sizeof(*scene));
    open_scene_of(scene, 1, true);
}

static inline void close_scene(struct scene *scene)
{
    for (uint16_t id = 1; id <= NODES; id++)
        mf_replica_free(scene->actors[id].replica);
}

static inline struct mf_op *submit(struct scene *scene, uint16_t id,
                                   const struct mf_command *command)
{
    struct mf_op *op = mf_op_new(0, command);
    op->deadline_us = scene->now_us + 5 * SECOND_US;
    struct mf_replica_env env = env_at(scene, id);
    mf_replica_submit(scene->actors[id].replica, &env, op);
    settle(scene);
    return op;
}

static inline struct mf_command set_command(const char *key, const char *value, int64_t ttl_us)
{
    struct mf_command command = {.op = MF_OP_SET, .item_count = 1};
    command.one = (struct mf_item){mf_bytes_str(key), mf_bytes_str(value)};
    if (ttl_us != 0) {
        command.expiry = MF_EXPIRY_IN;
        command.expire_us = ttl_us;
    }
    return command;
}

static inline struct mf_op *set(struct scene *scene, uint16_t id, const char *key,
                                const char *value, int64_t ttl_us)
{
    struct mf_command command = set_command(key, value, ttl_us);
    command.items = &command.one;
    return submit(scene, id, &command);
}

static inline struct mf_op *get(struct scene *scene, uint16_t id, const char *key, uint32_t flags)
{
    struct mf_command command = {.op = MF_OP_GET, .item_count = 1, .flags = flags};
    command.one.key = mf_bytes_str(key);
    command.items = &command.one;
    return submit(scene, id, &command);
}

static inline bool answered(const struct mf_op *op)
{
    return op->owner != NULL;
}

static inline struct mf_result result_of(const struct mf_op *op)
{
    assert_true(answered(op));
    assert_int_equal(op->status, MF_OK);
    struct mf_reader reader = mf_reader_of(mf_buf_view(&op->result));
    struct mf_result result;
    assert_int_equal(mf_result_decode(&reader, &result), MF_OK);
    return result;
}

static inline void assert_got(struct mf_op *op, const char *value)
{
    struct mf_result result = result_of(op);
    if (value == NULL) {
        assert_int_equal(result.kind, MF_RESULT_NIL);
    } else {
        assert_int_equal(result.kind, MF_RESULT_BYTES);
        assert_true(mf_bytes_equal(result.value, mf_bytes_str(value)));
    }
    mf_op_free(op);
}

static inline void assert_written(struct mf_op *op)
{
    struct mf_result result = result_of(op);
    assert_int_equal(result.kind, MF_RESULT_WRITTEN);
    assert_true(result.version > 0);
    mf_op_free(op);
}

static inline void load_record(void *arg, const struct mf_record *record)
{
    assert_int_equal(mf_shard_load(arg, record), MF_OK);
}

static inline struct mf_shard *copy_of(struct mf_shard *shard)
{
    struct mf_shard_meta meta;
    struct mf_shard *copy = mf_shard_new(0, 77);
    mf_shard_load_begin(copy);
    assert_int_equal(mf_shard_walk_begin(shard, &meta, load_record, copy), MF_OK);
    while (mf_shard_walk_step(shard, 10))
        continue;
    assert_int_equal(mf_shard_load_end(copy, &meta), MF_OK);
    return copy;
}

static inline bool leads(const struct scene *scene, uint16_t id)
{
    struct mf_replica_env env = env_of(scene);
    struct mf_replica_info info;
    mf_replica_info(scene->actors[id].replica, &env, &info);
    return info.leading;
}

#endif
