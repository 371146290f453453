// A replica's life cycle, events and turn; see replica.h.
#include "server/replica.h"

#include <assert.h>
#include <stdlib.h>

#include "server/replica_internal.h"

// While the disk does not take the log, whether it does again is looked at this often.
#define BLOCKED_LOOK_US UINT64_C(100000)
// The next part of a log that was cut off, or of keys that were flushed, is freed after this.
#define RECLAIM_US 500u

struct mf_replica *mf_replica_new(const struct mf_replica_config *config, struct mf_shard *shard,
                                  const struct mf_replica_ops *ops, void *ctx, uint64_t now_us)
{
    struct mf_replica *replica = mf_calloc(1, sizeof(*replica));
    replica->cfg = *config;
    replica->ops = ops;
    replica->ctx = ctx;
    replica->shard = shard;
    if (config->budget != NULL)
        mf_shard_set_eviction(shard, mf_budget_eviction(config->budget));
    if (config->unshared)
        mf_shard_unshare(shard);
    struct mf_shard_meta meta;
    mf_shard_meta(shard, &meta);
    replica->applied = meta.applied;
    replica->members = config->paxos.members;
    replica->log_time_us = meta.log_time_us;
    replica->paxos = mf_paxos_new(&config->paxos, meta.applied + 1, now_us);
    mf_log_clock_init(&replica->clock);
    mf_log_clock_saw_entry(&replica->clock, meta.log_time_us);
    replica->next_tag = config->tag_seed | 1;
    replica->mark_us = MF_NEVER;
    replica->sweep_us = now_us + MF_SWEEP_US;
    return replica;
}

static void reply_all(struct mf_replica *replica, struct mf_op_list *list, enum mf_err status)
{
    // Replying may bring new ops in: only those that are here now are meant.
    for (uint32_t left = list->count; left > 0; left--)
        mf_replica_reply(replica, mf_op_pop(list), status);
}

static void free_replica(struct mf_replica *replica, enum mf_err status)
{
    reply_all(replica, &replica->queued, status);
    reply_all(replica, &replica->unready, status);
    reply_all(replica, &replica->reads, status);
    reply_all(replica, &replica->dead_waits, status);
    mf_replica_forget_proposals(replica, UINT64_MAX);
    if (replica->cfg.budget != NULL)
        mf_budget_report(replica->cfg.budget, &replica->share, (struct mf_budget_share){0});
    mf_buf_free(&replica->batch);
    mf_paxos_free(replica->paxos);
    free(replica);
}

void mf_replica_free(struct mf_replica *replica)
{
    if (replica == NULL)
        return;
    struct mf_shard *state = replica->shard;
    free_replica(replica, MF_SHUTTING_DOWN);
    mf_shard_free(state);
}

struct mf_shard *mf_replica_give_up(struct mf_replica *replica)
{
    struct mf_shard *state = replica->shard;
    free_replica(replica, MF_NOT_LEADER);
    return state;
}

void mf_replica_reply(struct mf_replica *replica, struct mf_op *op, enum mf_err status)
{
    op->status = status;
    op->leader = mf_paxos_leader(replica->paxos);
    assert(replica->pending_ops > 0);
    replica->pending_ops--;
    replica->ops->reply(replica->ctx, op);
}

// The leader's clock as its last frame lets us know it.
static void follow_clock(struct mf_replica *replica, const struct mf_replica_env *env)
{
    if (replica->clock.leading || replica->clock_node == 0)
        return;
    uint64_t mono_us = replica->ops->node_mono_us(replica->ctx, replica->clock_node, env->now_us);
    // The estimate runs behind, and in a new group's first moments that may be before log time 0.
    int64_t log_us = (int64_t)mono_us + replica->clock_offset_us;
    if (mono_us != 0 && log_us > 0)
        mf_log_clock_note_leader(&replica->clock, (uint64_t)log_us, env->now_us);
}

// A lease that has run out is withdrawn at once, since what follows may promise somebody else.
static bool bound(const struct mf_replica *replica, uint64_t now_us)
{
    uint16_t owner = mf_ballot_node(mf_paxos_ballot(replica->paxos));
    if (owner == 0 || owner == replica->cfg.paxos.self)
        return false;
    return replica->ops->bound(replica->ctx, owner, now_us) ||
           !replica->ops->withdraw(replica->ctx, owner, now_us);
}

struct mf_paxos_env mf_replica_paxos_env(struct mf_replica *replica,
                                         const struct mf_replica_env *env)
{
    follow_clock(replica, env);
    struct mf_clock_estimate estimate =
        mf_log_clock_estimate(&replica->clock, env->now_us, env->wall_us);
    return (struct mf_paxos_env){
        .now_us = env->now_us,
        .random = env->random,
        .bound = bound(replica, env->now_us),
        .log_blocked = env->log_blocked,
        .stamp = {.source = (uint8_t)estimate.source,
                  .log_us = estimate.log_us,
                  .ballot = estimate.source == MF_CLOCK_LIVE ? replica->clock_ballot : 0}};
}

void mf_replica_restore(struct mf_replica *replica, const struct mf_wal_record *record)
{
    switch (record->type) {
    case MF_WAL_PROMISE:
        mf_paxos_restore_promise(replica->paxos, record->ballot);
        break;
    case MF_WAL_ACCEPT:
    case MF_WAL_MEMBERS:
        mf_paxos_restore_accept(
            replica->paxos, record->slot, record->ballot, record->log_time_us,
            record->type == MF_WAL_MEMBERS ? MF_ENTRY_MEMBERS : MF_ENTRY_COMMANDS, record->payload);
        break;
    case MF_WAL_MARK:
        mf_paxos_restore_chosen(replica->paxos, record->slot);
        if (record->wall_us != 0)
            mf_log_clock_restore_mark(&replica->clock, record->log_time_us, record->wall_us);
        break;
    }
}

void mf_replica_restore_done(struct mf_replica *replica, uint64_t base_log_us,
                             uint64_t base_wall_us)
{
    if (base_wall_us != 0)
        mf_log_clock_restore_mark(&replica->clock, base_log_us, base_wall_us);
    mf_paxos_restore_done(replica->paxos);
    mf_log_clock_saw_entry(&replica->clock, mf_paxos_last_log_time(replica->paxos));
    mf_replica_apply(replica, NULL);
    replica->unmarked_bytes = 0; // all of it was known as chosen
    mf_replica_report_memory(replica);
}

void mf_replica_submit(struct mf_replica *replica, const struct mf_replica_env *env,
                       struct mf_op *op)
{
    replica->pending_ops++;
    mf_replica_happened(replica);
    if (replica->dead)
        mf_replica_reply(replica, op, MF_INTERNAL);
    else if (op->local)
        mf_replica_answer_local(replica, env, op);
    else if (mf_paxos_role(replica->paxos) != MF_LEADER || (op->write && env->log_blocked))
        mf_replica_reply(replica, op, MF_NOT_LEADER);
    else if (replica->pending_ops > replica->cfg.pending_ops_max)
        mf_replica_reply(replica, op, MF_BUSY);
    else if (op->write)
        mf_op_push(&replica->queued, op);
    else
        mf_replica_start_read(replica, env, op);
}

static bool from_leader(const struct mf_replica *replica, const struct mf_paxos_msg *msg)
{
    bool kind = msg->type == MF_PAXOS_ACCEPT || msg->type == MF_PAXOS_CHOSEN ||
                msg->type == MF_PAXOS_READ_PROBE;
    return kind && msg->stamp.source == MF_CLOCK_LIVE && msg->stamp.ballot == msg->ballot &&
           msg->ballot >= replica->clock_ballot && mf_paxos_leader(replica->paxos) == msg->from;
}

void mf_replica_receive(struct mf_replica *replica, const struct mf_replica_env *env,
                        const struct mf_paxos_msg *msg, uint64_t sender_mono_us)
{
    if (replica->dead)
        return;
    // What is dropped is heard all the same: its sender leads, and tells the time.
    if (!mf_replica_sheds(replica, msg)) {
        struct mf_paxos_env paxos_env = mf_replica_paxos_env(replica, env);
        paxos_env.support = replica->ops->support(replica->ctx, msg->from);
        mf_paxos_receive(replica->paxos, &paxos_env, msg);
    }
    mf_log_clock_saw_entry(&replica->clock, mf_paxos_last_log_time(replica->paxos));
    if (replica->clock.leading && mf_paxos_role(replica->paxos) != MF_LEADER)
        mf_log_clock_follow(&replica->clock,
                            env->now_us); // the newer leader's clock counts at once
    if (from_leader(replica, msg)) {
        if (msg->ballot > replica->clock_ballot)
            mf_log_clock_forget(&replica->clock);
        replica->clock_ballot = msg->ballot;
        replica->clock_node = msg->from;
        replica->clock_offset_us = (int64_t)(msg->stamp.log_us - sender_mono_us);
        mf_log_clock_note_leader(&replica->clock, msg->stamp.log_us, env->now_us);
    }
    mf_replica_happened(replica);
}

void mf_replica_persisted(struct mf_replica *replica, const struct mf_replica_env *env,
                          uint64_t seq)
{
    struct mf_paxos_env paxos_env = mf_replica_paxos_env(replica, env);
    mf_paxos_persisted(replica->paxos, &paxos_env, seq);
    mf_replica_happened(replica);
}

void mf_replica_suspect(struct mf_replica *replica, const struct mf_replica_env *env, uint16_t node)
{
    // Another process has another monotonic clock, to which the offset we know does not belong.
    if (replica->clock_node == node)
        replica->clock_node = 0;
    struct mf_paxos_env paxos_env = mf_replica_paxos_env(replica, env);
    mf_paxos_suspect(replica->paxos, &paxos_env, node);
    mf_replica_happened(replica);
}

void mf_replica_peer_up(struct mf_replica *replica, const struct mf_replica_env *env,
                        struct mf_acceptor acceptor)
{
    replica->mending = true;
    struct mf_paxos_env paxos_env = mf_replica_paxos_env(replica, env);
    mf_paxos_peer_up(replica->paxos, &paxos_env, acceptor);
    mf_replica_happened(replica);
}

static void sweep_list(struct mf_replica *replica, struct mf_op_list *list, uint64_t now_us,
                       enum mf_err status)
{
    for (uint32_t left = list->count; left > 0; left--) {
        struct mf_op *op = mf_op_pop(list);
        if (op->deadline_us <= now_us)
            mf_replica_reply(replica, op, status);
        else
            mf_op_push(list, op);
    }
}

static void sweep(struct mf_replica *replica, uint64_t now_us)
{
    replica->sweep_us = now_us + MF_SWEEP_US;
    bool busy = replica->starved || replica->held || replica->behind;
    sweep_list(replica, &replica->queued, now_us, busy ? MF_BUSY : MF_NO_QUORUM);
    sweep_list(replica, &replica->unready, now_us, MF_NO_QUORUM);
    sweep_list(replica, &replica->reads, now_us, MF_NO_QUORUM);
    sweep_list(replica, &replica->dead_waits, now_us, MF_NO_QUORUM);
    for (struct mf_proposal *at = replica->first; at != NULL; at = at->next) {
        for (uint32_t i = 0; i < at->count; i++) {
            struct mf_op *op = at->ops[i];
            if (op == NULL || op->deadline_us > now_us)
                continue;
            at->ops[i] = NULL;
            mf_replica_reply(replica, op, MF_TIMEOUT);
        }
    }
}

void mf_replica_tick(struct mf_replica *replica, const struct mf_replica_env *env)
{
    if (replica->dead)
        return;
    struct mf_paxos_env paxos_env = mf_replica_paxos_env(replica, env);
    mf_paxos_tick(replica->paxos, &paxos_env);
    replica->reclaims = true;
    if (replica->pending_ops > 0 && env->now_us >= replica->sweep_us)
        sweep(replica, env->now_us);
    mf_replica_happened(replica);
}

// Notes the log clock beside the wall clock, and the chosen index as a hint for the next start.
static void write_mark(struct mf_replica *replica, const struct mf_replica_env *env)
{
    if (env->now_us < replica->mark_us || env->log_blocked)
        return;
    struct mf_clock_estimate estimate =
        mf_log_clock_estimate(&replica->clock, env->now_us, env->wall_us);
    bool live = estimate.source == MF_CLOCK_LIVE;
    struct mf_wal_record mark = {.type = MF_WAL_MARK,
                                 .group = replica->cfg.paxos.group,
                                 .slot = replica->applied,
                                 .log_time_us = live ? estimate.log_us : 0,
                                 .wall_us = live ? env->wall_us : 0};
    replica->ops->persist(replica->ctx, replica->cfg.paxos.group, &mark, 1, 0);
    bool has_ttl = mf_shard_next_deadline(replica->shard) != MF_NO_DEADLINE;
    replica->unmarked_bytes = 0;
    if (live)
        replica->marked_us = env->now_us;
    replica->mark_us = has_ttl ? env->now_us + MF_IDLE_MARK_US : MF_NEVER;
}

void mf_replica_note_end(struct mf_replica *replica, const struct mf_replica_env *env)
{
    if (replica->mark_us == MF_NEVER || replica->dead)
        return;
    replica->mark_us = 0;
    write_mark(replica, env);
}

void mf_replica_restate(struct mf_replica *replica, const struct mf_replica_env *env)
{
    struct mf_clock_estimate estimate =
        mf_log_clock_estimate(&replica->clock, env->now_us, env->wall_us);
    bool known = estimate.source != MF_CLOCK_NONE;
    uint32_t group = replica->cfg.paxos.group;
    const struct mf_wal_record records[] = {
        {.type = MF_WAL_PROMISE, .group = group, .ballot = mf_paxos_ballot(replica->paxos)},
        {.type = MF_WAL_MARK,
         .group = group,
         .slot = replica->applied,
         .log_time_us = known ? estimate.log_us : 0,
         .wall_us = known ? env->wall_us : 0},
    };
    replica->ops->persist(replica->ctx, group, records, 2, 0);
}

static void tell_leader(struct mf_replica *replica)
{
    uint16_t leader = mf_paxos_leader(replica->paxos);
    mf_ballot_t ballot = mf_paxos_ballot(replica->paxos);
    if (leader == replica->told_leader && (leader == 0 || ballot == replica->told_ballot))
        return;
    replica->told_leader = leader;
    replica->told_ballot = ballot;
    if (replica->ops->leader_changed != NULL)
        replica->ops->leader_changed(replica->ctx, replica->cfg.paxos.group, leader, ballot);
}

// Ops that no entry carries go back: they had no effect, and another replica may serve them.
static void lose_leadership(struct mf_replica *replica, const struct mf_replica_env *env)
{
    if (replica->clock.leading)
        mf_log_clock_follow(&replica->clock, env->now_us);
    replica->lead_slot = 0;
    replica->expire_slot = 0;
    mf_replica_end_eviction(replica);
    replica->evict_goal = 0;
    replica->starved = false;
    replica->wanted.voter_count = 0; // by the time that we lead again it may be somebody's old wish
    reply_all(replica, &replica->queued, MF_NOT_LEADER);
    reply_all(replica, &replica->unready, MF_NOT_LEADER);
    reply_all(replica, &replica->reads, MF_NOT_LEADER);
    reply_all(replica, &replica->dead_waits, MF_NOT_LEADER);
}

static void take_leadership(struct mf_replica *replica, const struct mf_replica_env *env)
{
    struct mf_clock_estimate quorum = {.source = MF_CLOCK_NONE};
    for (uint8_t source = MF_CLOCK_LIVE; source > MF_CLOCK_NONE; source--) {
        struct mf_paxos_stamp stamp = mf_paxos_quorum_clock(replica->paxos, source, env->now_us);
        bool outdated = source == MF_CLOCK_LIVE && stamp.ballot < replica->clock_ballot;
        if (stamp.log_us == 0 || outdated)
            continue;
        if (stamp.ballot > replica->clock_ballot)
            mf_log_clock_forget(&replica->clock);
        quorum.source = (enum mf_clock_source)source;
        quorum.log_us = stamp.log_us;
        break;
    }
    mf_log_clock_saw_entry(&replica->clock, mf_paxos_last_log_time(replica->paxos));
    mf_log_clock_lead(&replica->clock, env->now_us, env->wall_us, quorum);
    replica->clock_node = 0;
    replica->clock_ballot = mf_paxos_ballot(replica->paxos);
}

static void carry_out(struct mf_replica *replica, const struct mf_replica_env *env)
{
    const struct mf_paxos_update *update = mf_paxos_update_take(replica->paxos);
    uint32_t group = replica->cfg.paxos.group;
    for (uint32_t i = 0; i < update->snapshot_count && replica->ops->send_snapshot != NULL; i++)
        replica->ops->send_snapshot(replica->ctx, group, update->snapshot_to[i]);
    if (update->record_count > 0)
        replica->ops->persist(replica->ctx, group, update->records, update->record_count,
                              update->persist_seq);
    for (uint32_t i = 0; i < update->msg_count; i++)
        replica->ops->send(replica->ctx, group, &update->msgs[i]);
    bool lost = update->lost_leadership;
    bool won = update->became_leader && mf_paxos_role(replica->paxos) == MF_LEADER;
    uint64_t confirmed = update->reads_confirmed;
    mf_paxos_update_done(replica->paxos);
    if (lost)
        lose_leadership(replica, env);
    mf_replica_apply(replica, env);
    if (replica->dead)
        return; // what it holds is not the state at the chosen index, and answers nothing
    if (won)
        take_leadership(replica, env);
    mf_replica_answer_confirmed(replica, env, confirmed);
    mf_replica_answer_dead_waits(replica);
}

// The first own entry waits while recovered proposals fill the window, and commands wait for it.
static void propose(struct mf_replica *replica, const struct mf_replica_env *env)
{
    if (mf_paxos_role(replica->paxos) != MF_LEADER || !replica->clock.leading)
        return;
    if (replica->lead_slot == 0)
        mf_replica_propose_first(replica, env);
    if (replica->lead_slot == 0)
        return;
    mf_replica_mend_members(replica, env);
    mf_replica_propose_queued(replica, env);
}

void mf_replica_flush(struct mf_replica *replica, const struct mf_replica_env *env)
{
    if (replica->dead)
        return;
    replica->dirty = false;
    replica->blocked_us = env->log_blocked ? env->now_us + BLOCKED_LOOK_US : 0;
    replica->built_left = replica->cfg.built_bytes;
    mf_replica_apply(replica, env); // what was held back
    if (replica->dead)
        return;
    if (replica->unready.count > 0)
        mf_replica_answer_confirmed(replica, env, 0); // no round has ended since
    propose(replica, env);
    while (mf_paxos_has_update(replica->paxos) && !replica->dead) {
        carry_out(replica, env);
        if (!replica->dead)
            propose(replica, env);
    }
    if (replica->dead)
        return;
    mf_replica_note_backlog(replica);
    write_mark(replica, env);
    tell_leader(replica);
    (replica->reclaims ? mf_shard_reclaim : mf_shard_tidy)(replica->shard);
    replica->reclaims = false;
    mf_paxos_reclaim(replica->paxos);
    mf_replica_report_memory(replica);
    mf_replica_note_alone(replica, env);
}

void mf_replica_prefetch(const struct mf_replica *replica)
{
    __builtin_prefetch(replica);
    __builtin_prefetch(&replica->clock);
}

bool mf_replica_has_room(const struct mf_replica *replica)
{
    return !replica->behind && replica->built_left > replica->cfg.built_bytes / 2;
}

bool mf_replica_alone(const struct mf_replica *replica)
{
    return replica->members.voter_count + replica->members.learner_count == 1;
}

bool mf_replica_dirty(const struct mf_replica *replica)
{
    return replica->dirty;
}

uint64_t mf_replica_next_tick_us(const struct mf_replica *replica, uint64_t now_us)
{
    if (replica->dead)
        return MF_NEVER;
    uint64_t next = mf_paxos_next_tick_us(replica->paxos);
    uint64_t mark_us =
        replica->mark_us > replica->blocked_us ? replica->mark_us : replica->blocked_us;
    if (mark_us < next)
        next = mark_us;
    if (replica->pending_ops > 0 && replica->sweep_us < next)
        next = replica->sweep_us;
    uint64_t memory_us = mf_replica_memory_due_us(replica, now_us);
    if (memory_us < next)
        next = memory_us;
    bool litter = mf_paxos_litter(replica->paxos) || mf_shard_littered(replica->shard);
    bool more = replica->catching_up && !replica->held &&
                replica->applied < mf_paxos_chosen(replica->paxos);
    if ((litter || more) && now_us + RECLAIM_US < next)
        next = now_us + RECLAIM_US;
    if (replica->behind && mf_replica_may_apply(replica))
        next = now_us;
    uint64_t deadline_us = mf_shard_next_deadline(replica->shard);
    if (replica->lead_slot != 0 && replica->clock.leading && replica->expire_slot == 0 &&
        !replica->held && !mf_replica_expiry_paused(replica) && deadline_us != MF_NO_DEADLINE &&
        mf_paxos_window_open(replica->paxos)) {
        uint64_t clock_us = mf_log_clock_now(&replica->clock, now_us);
        uint64_t due_us = now_us + (deadline_us > clock_us ? deadline_us - clock_us : 0);
        if (due_us < replica->blocked_us)
            due_us = replica->blocked_us;
        next = due_us < next ? due_us : next;
    }
    return next;
}

void mf_replica_info(const struct mf_replica *replica, const struct mf_replica_env *env,
                     struct mf_replica_info *info)
{
    struct mf_clock_estimate estimate =
        mf_log_clock_estimate(&replica->clock, env->now_us, env->wall_us);
    *info = (struct mf_replica_info){.group = replica->cfg.paxos.group,
                                     .leader = mf_paxos_leader(replica->paxos),
                                     .leading = replica->lead_slot != 0 &&
                                                replica->applied >= replica->lead_slot,
                                     .ballot = mf_paxos_ballot(replica->paxos),
                                     .chosen = mf_paxos_chosen(replica->paxos),
                                     .applied = replica->applied,
                                     .first = mf_paxos_first_slot(replica->paxos),
                                     .log_time_us = replica->log_time_us,
                                     .clock_us = estimate.log_us,
                                     .pending_ops = replica->pending_ops};
}

struct mf_acceptor mf_replica_acceptor(const struct mf_replica *replica)
{
    return (struct mf_acceptor){replica->cfg.paxos.self, replica->cfg.paxos.incarnation};
}

struct mf_shard *mf_replica_shard(struct mf_replica *replica)
{
    return replica->shard;
}

const struct mf_paxos *mf_replica_paxos(const struct mf_replica *replica)
{
    return replica->paxos;
}
