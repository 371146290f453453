// A node's life, turns and clocks; see node.h.
#include "node.h"

#include <stdlib.h>
#include <string.h>

#include "copies.h"
#include "shards/batch.h"
#include "snapshots.h"
#include "ttl/log_clock.h"
#include "world.h"

#define HEARTBEAT_US UINT64_C(25000)
// More timer events than this in a second of one node are a replica that runs in circles.
#define TICKS_PER_SECOND_MAX 20000u
// 2023-11-14: any time of day will do.
#define WALL_EPOCH_US UINT64_C(1700000000000000)

static void start_mono(struct sim_node *node)
{
    node->boot_us = node->sim->now_us;
    node->mono_base_us = sim_between(&node->rand, 1, UINT64_C(100000000000));
}

void sim_node_init(struct sim *sim, uint16_t index)
{
    struct sim_node *node = &sim->nodes[index];
    *node = (struct sim_node){
        .sim = sim, .index = index, .id = (uint16_t)(index + 1), .incarnation = 1};
    node->acceptor = sim_checks_acceptor(sim, (struct mf_acceptor){node->id, 1});
    node->rand.state = sim->plan.seed * 31 + index;
    uint64_t drift = mf_rand_below(&node->rand, 2 * sim->plan.drift_ppm_max + 1);
    node->drift_ppm = (int64_t)drift - (int64_t)sim->plan.drift_ppm_max;
    start_mono(node);
    sim_disk_init(&node->disk, mf_rand_next(&node->rand));
}

uint64_t sim_node_mono_us(const struct sim_node *node)
{
    int64_t passed = (int64_t)(node->sim->now_us - node->boot_us);
    return node->mono_base_us + (uint64_t)(passed + passed * node->drift_ppm / 1000000);
}

// The true time at which the monotonic clock reads mono_us, or a little before.
static uint64_t true_us(const struct sim_node *node, uint64_t mono_us)
{
    uint64_t now_us = sim_node_mono_us(node);
    if (mono_us <= now_us)
        return node->sim->now_us;
    int64_t left = (int64_t)(mono_us - now_us);
    return node->sim->now_us + (uint64_t)(left - left * node->drift_ppm / 1000000);
}

uint64_t sim_node_wall_us(const struct sim_node *node)
{
    return WALL_EPOCH_US + node->sim->now_us + (uint64_t)node->wall_offset_us;
}

struct mf_replica_env sim_node_env(struct sim_node *node)
{
    return (struct mf_replica_env){.now_us = sim_node_mono_us(node),
                                   .wall_us = sim_node_wall_us(node),
                                   .random = mf_rand_next(&node->rand),
                                   .log_blocked = node->disk.blocked};
}

static void on_reply(void *ctx, struct mf_op *op)
{
    struct sim_node *node = ctx;
    if (node->ending)
        sim_client_op_back(node->sim, node, op, true);
    else
        mf_op_push(&node->answers, op);
}

static void on_persist(void *ctx, uint32_t group, const struct mf_wal_record *records,
                       uint32_t count, uint64_t seq)
{
    struct sim_node *node = ctx;
    char text[SIM_TEXT_MAX];
    for (uint32_t i = 0; i < count; i++) {
        sim_trace(node->sim, node->id, "group %u writes that it %s", group,
                  sim_record_text(&records[i], text, sizeof(text)));
        sim_checks_written(node, &records[i]);
    }
    sim_disk_write(node, records, count, group, seq);
}

static void on_send(void *ctx, uint32_t group, const struct mf_paxos_msg *msg)
{
    struct sim_node *node = ctx;
    char text[SIM_TEXT_MAX];
    sim_trace(node->sim, node->id, "group %u sends node %u %s", group, (unsigned)msg->to,
              sim_message_text(msg, text, sizeof(text)));
    sim_checks_sent(node, group, msg);
    struct mf_buf bytes = {0};
    mf_paxos_msg_encode(msg, &bytes);
    sim_network_send(node->sim, node->index, (uint16_t)(msg->to - 1), SIM_PAXOS_FRAME, group,
                     bytes);
}

static uint64_t on_node_mono_us(void *ctx, uint16_t id, uint64_t now_us)
{
    const struct sim_node *node = ctx;
    if (id == node->id)
        return now_us;
    const struct sim_peer *peer = &node->peers[id - 1];
    uint64_t passed_us = now_us - peer->reading_at_us;
    // From below: our clock may be the faster one.
    return peer->reading_us == 0 ? 0 : peer->reading_us + passed_us - passed_us / MF_CLOCK_DRIFT;
}

static uint64_t on_mono_us(void *ctx)
{
    return sim_node_mono_us(ctx);
}

static bool on_bound(void *ctx, uint16_t id, uint64_t now_us)
{
    const struct sim_node *node = ctx;
    return id != node->id && mf_lease_bound(&node->leases[id - 1], now_us);
}

static bool on_withdraw(void *ctx, uint16_t id, uint64_t now_us)
{
    struct sim_node *node = ctx;
    return id == node->id || mf_lease_withdraw(&node->leases[id - 1], now_us);
}

static uint64_t on_support(void *ctx, uint16_t id)
{
    struct sim_node *node = ctx;
    return mf_lease_token(&node->leases[id - 1]);
}

static uint64_t on_held_until(void *ctx, uint16_t id, uint64_t token)
{
    const struct sim_node *node = ctx;
    return mf_lease_held_until(&node->leases[id - 1], token);
}

static void on_applied(void *ctx, uint32_t group, uint64_t index, uint64_t log_time_us,
                       uint64_t bytes, uint64_t expired)
{
    (void)bytes;
    struct sim_node *node = ctx;
    node->sim->stats.expired += expired;
    sim_trace(node->sim, node->id, "group %u applies slot %llu at log time %llu", group,
              (unsigned long long)index, (unsigned long long)log_time_us);
    sim_checks_applied(node, group, index, log_time_us);
}

static void on_leader_changed(void *ctx, uint32_t group, uint16_t leader, mf_ballot_t ballot)
{
    struct sim_node *node = ctx;
    char text[32];
    sim_ballot_text(ballot, text, sizeof(text));
    if (leader == 0)
        sim_trace(node->sim, node->id, "group %u knows no leader", group);
    else if (leader == node->id)
        sim_trace(node->sim, node->id, "group %u LEADS with ballot %s", group, text);
    else
        sim_trace(node->sim, node->id, "group %u follows node %u", group, (unsigned)leader);
    if (leader == node->id)
        sim_checks_leads(node, group, ballot);
}

static void on_fatal(void *ctx, uint32_t group, const char *what)
{
    const struct sim_node *node = ctx;
    sim_fail(node->sim, "a log that was chosen can be applied", "node %u, group %u: %s",
             (unsigned)node->id, group, what);
}

static const struct mf_replica_ops replica_ops = {.reply = on_reply,
                                                  .persist = on_persist,
                                                  .send = on_send,
                                                  .node_mono_us = on_node_mono_us,
                                                  .mono_us = on_mono_us,
                                                  .bound = on_bound,
                                                  .withdraw = on_withdraw,
                                                  .support = on_support,
                                                  .held_until = on_held_until,
                                                  .send_snapshot = sim_snapshots_wanted,
                                                  .applied = on_applied,
                                                  .leader_changed = on_leader_changed,
                                                  .fatal = on_fatal};

static void make_replica(struct sim_node *node, uint32_t group, const struct mf_members *members)
{
    const struct sim_left *left = &node->left[group];
    struct mf_replica_config config = node->sim->plan.replica;
    config.tag_seed = mf_rand_next(&node->rand);
    config.unlogged = config.unlogged && node->sim->plan.durability == SIM_NONE;
    config.paxos.group = group;
    config.paxos.self = node->id;
    config.paxos.incarnation = node->incarnation;
    config.paxos.members = *members;
    config.paxos.blank = left->gone;
    config.paxos.floor = left->floor;
    config.paxos.begun_us = node->begun_us;
    config.paxos.first_election_us =
        config.paxos.election_us + mf_rand_below(&node->rand, config.paxos.election_us);
    struct mf_shard *shard = sim_snapshots_load(node, group, &config.paxos.members);
    node->replicas[group] =
        mf_replica_new(&config, shard, &replica_ops, node, sim_node_mono_us(node));
    node->due_us[group] = MF_NEVER;
    const struct mf_wal_record promise = {
        .type = MF_WAL_PROMISE, .group = group, .ballot = left->promise};
    mf_replica_restore(node->replicas[group], &promise);
}

void sim_node_make_blank(struct sim_node *node, uint32_t group, const struct mf_members *members)
{
    make_replica(node, group, members);
    mf_replica_restore_done(node->replicas[group], 0, 0);
    struct mf_replica_env env = sim_node_env(node);
    mf_replica_restate(node->replicas[group], &env);
}

// Of a copy that is gone only what it has promised counts.
static void restore_record(struct sim_node *node, const struct mf_wal_record *record)
{
    struct mf_wal_record promise = {
        .type = MF_WAL_PROMISE, .group = record->group, .ballot = record->ballot};
    bool gone = node->left[record->group].gone;
    if (gone && record->type == MF_WAL_MARK)
        return;
    const struct mf_wal_record *counts = gone ? &promise : record;
    mf_replica_restore(node->replicas[record->group], counts);
    sim_checks_durable(node, counts);
}

// What was granted before the start is not known: every node is taken to hold a lease.
static void start_leases(struct sim_node *node)
{
    uint64_t bound_until_us = node->life > 1 && node->sim->plan.leases
                                  ? sim_node_mono_us(node) + node->sim->plan.lease_us
                                  : 0;
    for (uint16_t i = 0; i < SIM_NODES_MAX; i++)
        mf_lease_init(&node->leases[i], mf_rand_next(&node->rand), bound_until_us);
}

void sim_node_start(struct sim_node *node)
{
    struct sim *sim = node->sim;
    node->life++;
    node->up = true;
    node->begun_us = sim_node_mono_us(node);
    memset(node->peers, 0, sizeof(node->peers));
    node->tick_at_us = 0;
    node->turn_scheduled = false;
    node->paused_until_us = 0;
    sim_trace(sim, node->id, "starts, life %u", node->life);
    start_leases(node);
    if (sim_disk_is_damaged(node)) {
        sim_trace(sim, node->id, "finds its log damaged");
        sim_node_forget(node);
    }
    for (uint32_t group = 0; group < sim->plan.group_count; group++)
        make_replica(node, group, &sim->first_members);
    sim_disk_recover(node, restore_record);
    for (uint32_t group = 0; group < sim->plan.group_count; group++) {
        sim_disk_cover(node, group, node->snapshots[group].kept.meta.applied);
        mf_replica_restore_done(node->replicas[group], 0, 0);
    }
    sim_checks_restored(node);
    for (uint16_t i = 0; i < sim->plan.node_count; i++)
        node->peers[i].heard_us = sim_node_mono_us(node);
    sim_schedule(sim, sim->now_us + 1, SIM_HEARTBEAT, node->index, 0, NULL);
    sim_node_turn(node);
}

static void end_replicas(struct sim_node *node)
{
    node->ending = true;
    while (node->answers.count > 0)
        sim_client_op_back(node->sim, node, mf_op_pop(&node->answers), true);
    for (uint32_t group = 0; group < node->sim->plan.group_count; group++) {
        mf_replica_free(node->replicas[group]);
        node->replicas[group] = NULL;
    }
    node->ending = false;
    if (node->ops_inside != 0)
        sim_fail(node->sim, "every op comes back", "node %u ended with %u ops lost",
                 (unsigned)node->id, node->ops_inside);
}

void sim_node_crash(struct sim_node *node, bool reboot)
{
    sim_trace(node->sim, node->id, reboot ? "loses power" : "is killed");
    node->sim->stats.crashes++;
    end_replicas(node);
    sim_disk_crash(node);
    sim_snapshots_crash(node);
    sim_clocks_down(node);
    node->up = false;
    if (reboot)
        start_mono(node);
}

void sim_node_forget(struct sim_node *node)
{
    sim_trace(node->sim, node->id, "has lost its memory");
    node->sim->stats.forgot++;
    node->incarnation++;
    node->acceptor =
        sim_checks_acceptor(node->sim, (struct mf_acceptor){node->id, node->incarnation});
    sim_disk_wipe(&node->disk);
    sim_snapshots_wipe(node);
    memset(node->left, 0, sizeof(node->left));
    sim_checks_forgot(node);
}

void sim_node_free(struct sim_node *node)
{
    if (node->up)
        end_replicas(node);
    sim_disk_free(&node->disk);
    sim_snapshots_crash(node);
    sim_snapshots_wipe(node);
}

static void schedule_tick(struct sim_node *node)
{
    uint64_t now_us = sim_node_mono_us(node);
    uint64_t next_us = MF_NEVER;
    for (uint32_t group = 0; group < node->sim->plan.group_count; group++) {
        uint64_t due_us = mf_replica_next_tick_us(node->replicas[group], now_us);
        if (due_us < node->due_us[group])
            node->due_us[group] = due_us;
        if (node->due_us[group] < next_us)
            next_us = node->due_us[group];
    }
    if (next_us == MF_NEVER)
        return;
    uint64_t at_us = true_us(node, next_us);
    if (at_us <= node->sim->now_us)
        at_us = node->sim->now_us + 1;
    if (node->tick_at_us != 0 && node->tick_at_us <= at_us)
        return;
    node->tick_at_us = at_us;
    sim_schedule(node->sim, at_us, SIM_TICK, node->index, 0, NULL);
}

void sim_node_turn(struct sim_node *node)
{
    node->turn_scheduled = false;
    for (uint32_t group = 0; group < node->sim->plan.group_count; group++) {
        struct mf_replica_env env = sim_node_env(node);
        if (!mf_replica_dirty(node->replicas[group]) && !node->flush_later[group])
            continue;
        node->flush_later[group] = false;
        node->due_us[group] = MF_NEVER;
        mf_replica_flush(node->replicas[group], &env);
    }
    sim_disk_kick(node);
    sim_checks_turn(node);
    while (node->answers.count > 0)
        sim_client_op_back(node->sim, node, mf_op_pop(&node->answers), false);
    schedule_tick(node);
}

// Something has happened here: the turn comes now, or gathers what else happens for a while.
void sim_node_touch(struct sim_node *node)
{
    if (node->turn_scheduled)
        return;
    if (node->sim->plan.turn_us_max == 0) {
        sim_node_turn(node);
        return;
    }
    node->turn_scheduled = true;
    uint64_t wait_us = mf_rand_below(&node->rand, node->sim->plan.turn_us_max);
    sim_schedule(node->sim, node->sim->now_us + wait_us, SIM_TURN, node->index, 0, NULL);
}

void sim_node_tick(struct sim_node *node)
{
    if (node->tick_at_us > node->sim->now_us)
        return; // an earlier one was scheduled later, and has been here
    node->tick_at_us = 0;
    uint64_t now_us = sim_node_mono_us(node);
    if (now_us - node->tick_window_us > 1000000) {
        node->tick_window_us = now_us;
        node->ticks_in_window = 0;
    }
    if (++node->ticks_in_window > TICKS_PER_SECOND_MAX)
        sim_fail(node->sim, "a timer that fires gets something done",
                 "node %u asked for more than %u ticks within a second", (unsigned)node->id,
                 TICKS_PER_SECOND_MAX);
    for (uint32_t group = 0; group < node->sim->plan.group_count; group++) {
        struct mf_replica_env env = sim_node_env(node);
        if (node->due_us[group] <= now_us)
            mf_replica_tick(node->replicas[group], &env);
    }
    sim_node_touch(node);
}

static void suspect(struct sim_node *node, uint16_t peer)
{
    sim_trace(node->sim, node->id, "suspects node %u", peer + 1u);
    for (uint32_t group = 0; group < node->sim->plan.group_count; group++) {
        struct mf_replica_env env = sim_node_env(node);
        mf_replica_suspect(node->replicas[group], &env, (uint16_t)(peer + 1));
    }
}

// What the node leads, to whoever can take it.
static void hand_over(struct sim_node *node)
{
    for (uint32_t group = 0; group < node->sim->plan.group_count; group++) {
        struct mf_replica_env env = sim_node_env(node);
        uint16_t heir = (uint16_t)(mf_rand_below(&node->rand, node->sim->plan.node_count) + 1);
        const struct mf_paxos *paxos = mf_replica_paxos(node->replicas[group]);
        if (mf_paxos_role(paxos) != MF_LEADER || mf_paxos_transferring(paxos))
            continue;
        enum mf_err err = mf_replica_transfer(node->replicas[group], &env, heir);
        sim_trace(node->sim, node->id, "group %u is offered to node %u: %s", group, (unsigned)heir,
                  mf_err_name(err));
        node->sim->stats.transfers += err == MF_OK;
    }
}

// As in the server: with leases a node lives as long as it asks, and it asks whom it hears.
static bool may_ask(const struct sim_node *node, const struct sim_peer *peer, uint64_t now_us)
{
    const struct sim_plan *plan = &node->sim->plan;
    return plan->leases && !node->disk.blocked && peer->heard_us != 0 &&
           now_us - peer->heard_us <= plan->silence_us;
}

static bool is_silent(const struct sim_node *node, const struct sim_peer *peer, uint64_t now_us)
{
    const struct sim_plan *plan = &node->sim->plan;
    uint64_t alive_us = plan->leases ? peer->asked_us : peer->heard_us;
    return now_us - alive_us > plan->silence_us;
}

void sim_node_heartbeat(struct sim_node *node)
{
    uint64_t now_us = sim_node_mono_us(node);
    for (uint16_t i = 0; i < node->sim->plan.node_count; i++) {
        struct sim_peer *peer = &node->peers[i];
        if (i == node->index)
            continue;
        sim_network_beat(node->sim, node->index, i, may_ask(node, peer, now_us));
        sim_copies_tell(node, i);
        bool silent = is_silent(node, peer, now_us);
        bool heard = now_us - peer->heard_us <= node->sim->plan.silence_us;
        bool fell_silent = silent && !heard && peer->speaks; // it may have been followed again
        peer->speaks = heard;
        if ((silent && !peer->silent) || fell_silent) {
            peer->silent = true;
            suspect(node, i);
        }
    }
    if (node->disk.blocked)
        hand_over(node);
    sim_schedule(node->sim, true_us(node, now_us + HEARTBEAT_US), SIM_HEARTBEAT, node->index, 0,
                 NULL);
    sim_node_touch(node);
}

static void greet(struct sim_node *node, uint16_t peer)
{
    for (uint32_t group = 0; group < node->sim->plan.group_count; group++) {
        struct mf_replica_env env = sim_node_env(node);
        mf_replica_peer_up(
            node->replicas[group], &env,
            (struct mf_acceptor){(uint16_t)(peer + 1), node->peers[peer].incarnation});
    }
}

// The lease's side of a frame: see consensus/lease.h. True when the peer's grant has a new token.
static bool take_lease(struct sim_node *node, const struct sim_frame *frame)
{
    struct sim_peer *peer = &node->peers[frame->from];
    struct mf_lease *lease = &node->leases[frame->from];
    uint64_t now_us = sim_node_mono_us(node);
    uint64_t lease_us = node->sim->plan.lease_us;
    uint64_t token = mf_lease_held_token(lease);
    if (frame->echo_token != 0 && frame->echo_life == node->life)
        mf_lease_held(lease, frame->echo_token, frame->echo_us, lease_us);
    if (frame->asks) {
        peer->asked_us = now_us;
        uint64_t granted = mf_lease_grant(lease, now_us, lease_us);
        if (granted != 0 && frame->mono_us > peer->echo_us) {
            peer->echo_us = frame->mono_us;
            peer->echo_token = granted;
        }
        sim_network_beat(node->sim, node->index, frame->from, false);
    }
    return mf_lease_held_token(lease) != token;
}

// Any frame shows that its sender lives, and in which life. False: it is from a former one. As in
// the server, the new process's clock can be read before its predecessor is given up.
static bool hear(struct sim_node *node, const struct sim_frame *frame)
{
    struct sim_peer *peer = &node->peers[frame->from];
    uint64_t now_us = sim_node_mono_us(node);
    if (frame->from_life < peer->life)
        return false;
    bool restarted = peer->life != 0 && frame->from_life != peer->life;
    bool lives = !node->sim->plan.leases || frame->asks;
    bool greets = (peer->silent && lives) || peer->fresh || frame->from_life != peer->life;
    if (frame->from_life != peer->life)
        *peer = (struct sim_peer){.life = frame->from_life};
    peer->incarnation = frame->incarnation;
    peer->heard_us = now_us;
    peer->silent = peer->silent && !lives;
    peer->fresh = false;
    bool seen = !frame->lags || peer->reading_us == 0;
    if (seen && frame->mono_us > peer->reading_us) {
        peer->reading_us = frame->mono_us;
        peer->reading_at_us = now_us;
    }
    if (restarted)
        suspect(node, frame->from);
    if (take_lease(node, frame) || greets)
        greet(node, frame->from);
    return true;
}

static void handle_message(struct sim_node *node, const struct sim_frame *frame)
{
    struct mf_paxos_msg msg;
    struct mf_reader reader = mf_reader_of(mf_buf_view(&frame->message));
    if (mf_paxos_msg_decode(&reader, &msg) != MF_OK || mf_reader_left(&reader) != 0)
        sim_fail(node->sim, "a message that was encoded can be decoded", "node %u to node %u",
                 frame->from + 1u, (unsigned)node->id);
    msg.from = (uint16_t)(frame->from + 1);
    msg.to = node->id;
    char text[SIM_TEXT_MAX];
    sim_trace(node->sim, node->id, "group %u gets from node %u %s", frame->group, frame->from + 1u,
              sim_message_text(&msg, text, sizeof(text)));
    if (mf_paxos_brings_records(msg.type) && sim_disk_sheds(&node->disk)) {
        sim_trace(node->sim, node->id, "drops it: too much waits for its disk");
        mf_paxos_msg_free(&msg);
        return;
    }
    struct mf_replica_env env = sim_node_env(node);
    mf_replica_receive(node->replicas[frame->group], &env, &msg, frame->mono_us);
    sim_clocks_heard(node, frame->group, &msg);
    mf_paxos_msg_free(&msg);
}

void sim_node_receive(struct sim_node *node, struct sim_frame *frame)
{
    if (sim_network_arrives(node->sim, frame) && hear(node, frame)) {
        if (frame->kind == SIM_PAXOS_FRAME)
            handle_message(node, frame);
        else if (frame->kind == SIM_PLACES_FRAME)
            sim_copies_frame(node, frame);
        else if (frame->kind != SIM_HEARTBEAT_FRAME)
            sim_snapshots_frame(node, frame);
        sim_node_touch(node);
    }
    sim_frame_free(frame);
}

static void on_durable(struct sim_node *node, const struct sim_hand_over *hand_over)
{
    struct mf_replica_env env = sim_node_env(node);
    mf_replica_persisted(node->replicas[hand_over->group], &env, hand_over->seq);
}

void sim_node_synced(struct sim_node *node)
{
    sim_disk_synced(node, sim_checks_durable, on_durable);
    sim_disk_sweep(node);
    sim_node_touch(node);
    sim_disk_kick(node);
}

void sim_node_tried(struct sim_node *node)
{
    sim_disk_tried(node);
    sim_node_touch(node);
}

// The write is in no log: that its entry is chosen is told here, as it would be by the log.
static bool write_at_once(struct sim_node *node, struct mf_op *op)
{
    struct mf_replica *replica = node->replicas[op->shard];
    struct mf_buf payload = {0};
    mf_batch_begin(&payload, 1);
    mf_batch_add_encoded(&payload, mf_buf_view(&op->command));
    uint32_t group = op->shard;
    bool done = mf_replica_submit_at_once(replica, sim_node_mono_us(node), op);
    if (done) {
        const struct mf_paxos *paxos = mf_replica_paxos(replica);
        const struct mf_wal_record record = {.type = MF_WAL_ACCEPT,
                                             .group = group,
                                             .slot = mf_paxos_chosen(paxos),
                                             .ballot = mf_paxos_ballot(paxos),
                                             .log_time_us = mf_paxos_last_log_time(paxos),
                                             .payload = mf_buf_view(&payload)};
        sim_checks_written(node, &record);
        sim_checks_durable(node, &record);
        node->sim->stats.at_once++;
        node->flush_later[group] = true;
    }
    mf_buf_free(&payload);
    return done;
}

void sim_node_submit(struct sim_node *node, struct mf_op *op)
{
    struct mf_replica_env env = sim_node_env(node);
    node->ops_inside++;
    op->local = op->local && !node->left[op->shard].gone; // what is not there is asked of others
    if (!op->write || !write_at_once(node, op))
        mf_replica_submit(node->replicas[op->shard], &env, op);
    sim_node_touch(node);
}
