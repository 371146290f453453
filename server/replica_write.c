// From queued commands to log entries, and from chosen entries to results.
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/txn.h"
#include "server/replica_internal.h"
#include "shards/batch.h"

#define BATCH_KEEP_BYTES_MAX (1u << 20)
// What an entry costs beside its bytes, as bytes.
#define ENTRY_WORK 64u

static uint64_t next_tag(struct mf_replica *replica)
{
    return replica->next_tag += 2; // odd, so never 0, a no-op's tag
}

static void add_command(struct mf_replica *replica, const struct mf_replica_env *env,
                        const struct mf_op *op, struct mf_work *work)
{
    if (op->plain) {
        mf_replica_foresee_plain(work, op);
        mf_batch_add_encoded(&replica->batch, mf_buf_view(&op->command));
        return;
    }
    struct mf_command command;
    struct mf_item *items = NULL;
    uint32_t items_cap = 0;
    struct mf_reader reader = mf_reader_of(mf_buf_view(&op->command));
    enum mf_err err = mf_command_decode(&reader, &command, &items, &items_cap);
    assert(err == MF_OK); // encoded by us, or checked when it came in
    (void)err;
    mf_replica_foresee(replica, work, &command);
    struct mf_buf body = {0};
    if (mf_command_settle(&command, (int64_t)env->wall_us)) {
        mf_batch_add(&replica->batch, &command);
    } else if (command.op == MF_OP_TXN &&
               mf_txn_settle_times(command.body, (int64_t)env->wall_us, &body)) {
        command.body = mf_buf_view(&body);
        mf_batch_add(&replica->batch, &command);
    } else {
        mf_batch_add_encoded(&replica->batch, mf_buf_view(&op->command));
    }
    mf_buf_free(&body);
    free(items);
}

static void remember(struct mf_replica *replica, struct mf_proposal *proposal)
{
    proposal->next = NULL;
    if (replica->last != NULL)
        replica->last->next = proposal;
    else
        replica->first = proposal;
    replica->last = proposal;
}

// Proposes what is in replica->batch, which the first `count` queued ops are in, and which may grow
// the shard by `growth`. work: NULL where there are none.
static void propose(struct mf_replica *replica, const struct mf_replica_env *env, uint64_t tag,
                    uint32_t count, uint64_t growth, const struct mf_work *work)
{
    struct mf_paxos_env paxos_env = mf_replica_paxos_env(replica, env);
    uint64_t log_us = mf_log_clock_now(&replica->clock, env->now_us);
    uint64_t slot = 0;
    enum mf_err err =
        mf_paxos_propose(replica->paxos, &paxos_env, log_us, mf_buf_view(&replica->batch), &slot);
    assert(err == MF_OK); // the caller has seen that we lead and that the window is open
    (void)err;
    mf_log_clock_saw_entry(&replica->clock, log_us);
    struct mf_proposal *proposal = mf_alloc(sizeof(*proposal) + count * sizeof(proposal->ops[0]));
    proposal->slot = slot;
    proposal->tag = tag;
    proposal->count = count;
    proposal->growth = growth;
    proposal->built = work != NULL ? work->built : 0;
    proposal->lengths = work != NULL ? work->own : (struct mf_lengths){0};
    replica->growth += growth;
    replica->built_out += proposal->built;
    for (uint32_t i = 0; i < count; i++) {
        proposal->ops[i] = mf_op_pop(&replica->queued);
        proposal->ops[i]->proposed = true;
    }
    remember(replica, proposal);
    mf_buf_clear(&replica->batch, BATCH_KEEP_BYTES_MAX);
}

void mf_replica_propose_first(struct mf_replica *replica, const struct mf_replica_env *env)
{
    if (!mf_paxos_window_open(replica->paxos))
        return;
    uint64_t tag = next_tag(replica);
    mf_batch_begin(&replica->batch, tag);
    if (!mf_shard_seeded(replica->shard)) {
        // Of two leaders that both find none, the first to be applied counts.
        struct mf_command seed = {.op = MF_OP_SEED, .number = mf_hash_mix(env->random, tag)};
        mf_batch_add(&replica->batch, &seed);
    }
    propose(replica, env, tag, 0, 0, NULL);
    replica->lead_slot = replica->last->slot;
}

void mf_replica_propose_expiry(struct mf_replica *replica, const struct mf_replica_env *env)
{
    if (replica->expire_slot != 0)
        return;
    uint64_t deadline_us = mf_shard_next_deadline(replica->shard);
    if (replica->dead_waits.count == 0 &&
        (deadline_us == MF_NO_DEADLINE ||
         deadline_us > mf_log_clock_now(&replica->clock, env->now_us)))
        return;
    if (!mf_paxos_window_open(replica->paxos))
        return;
    bool stands_still = replica->held || mf_replica_expiry_paused(replica);
    uint32_t limit = stands_still ? 0 : replica->cfg.expire_batch;
    if (replica->cfg.expire_left != NULL) {
        limit = *replica->cfg.expire_left < limit ? *replica->cfg.expire_left : limit;
        *replica->cfg.expire_left -= limit;
    }
    // Reads that wait for a log time need an entry, not the room.
    if (limit == 0 && replica->dead_waits.count == 0)
        return;
    uint64_t tag = next_tag(replica);
    mf_batch_begin(&replica->batch, tag);
    struct mf_command expire = {.op = MF_OP_EXPIRE_DUE, .limit = limit};
    mf_batch_add(&replica->batch, &expire);
    propose(replica, env, tag, 0, 0, NULL);
    replica->expire_slot = replica->last->slot;
}

static void propose_eviction(struct mf_replica *replica, const struct mf_replica_env *env)
{
    bool wanted = replica->evict_goal != 0 || replica->starved;
    if (!wanted || replica->held || !mf_paxos_window_open(replica->paxos))
        return;
    uint64_t tag = next_tag(replica);
    mf_batch_begin(&replica->batch, tag);
    if (mf_replica_gather_victims(replica, env)) {
        propose(replica, env, tag, 0, 0, NULL);
        replica->evict_slot = replica->last->slot;
    }
    mf_buf_clear(&replica->batch, BATCH_KEEP_BYTES_MAX);
}

// True when the first queued op may be proposed now. Those that never may go back.
static bool admit_first(struct mf_replica *replica)
{
    bool fresh = false; // what the budget knows of this shard
    replica->starved = false;
    while (replica->queued.count > 0) {
        enum mf_admission admission = mf_replica_admit(replica, replica->queued.head, 0);
        if (admission == MF_ADMIT)
            return true;
        if (!fresh) {
            mf_shard_reclaim(replica->shard);
            mf_replica_report_memory(replica);
            fresh = true;
            continue;
        }
        if (admission == MF_ADMIT_LATER) {
            replica->starved = true;
            mf_replica_report_memory(replica);
            return false;
        }
        mf_replica_reply(replica, mf_op_pop(&replica->queued), MF_OUT_OF_MEMORY);
    }
    return false;
}

void mf_replica_propose_queued(struct mf_replica *replica, const struct mf_replica_env *env)
{
    if (env->log_blocked)
        return; // whoever leads next does
    if (replica->queued.count == 0)
        replica->starved = false;
    // What cannot be applied at once when it is chosen is not proposed yet: reads wait for whoever
    // is behind with what is chosen.
    while (replica->queued.count > 0 && !replica->held && !replica->behind &&
           replica->built_out < replica->cfg.built_bytes && mf_paxos_window_open(replica->paxos) &&
           admit_first(replica)) {
        uint64_t tag = next_tag(replica);
        mf_batch_begin(&replica->batch, tag);
        uint32_t count = 0;
        uint64_t growth = 0;
        struct mf_work work = {0};
        for (struct mf_op *op = replica->queued.head; op != NULL; op = op->next) {
            if (count > 0 && (replica->batch.len + op->command.len > replica->cfg.batch_bytes ||
                              work.built >= replica->cfg.built_bytes ||
                              mf_replica_admit(replica, op, growth) != MF_ADMIT))
                break;
            add_command(replica, env, op, &work);
            growth += mf_replica_growth(replica, op);
            count++;
        }
        propose(replica, env, tag, count, growth, &work);
        mf_replica_report_memory(replica);
    }
    mf_replica_propose_expiry(replica, env);
    propose_eviction(replica, env);
}

struct delivery {
    struct mf_replica *replica;
    struct mf_proposal *proposal;
};

static void deliver(void *arg, uint32_t n, struct mf_bytes result)
{
    struct delivery *delivery = arg;
    struct mf_proposal *proposal = delivery->proposal;
    if (proposal == NULL || n >= proposal->count || proposal->ops[n] == NULL)
        return;
    struct mf_op *op = proposal->ops[n];
    proposal->ops[n] = NULL;
    mf_buf_put(&op->result, result.data, result.len);
    mf_replica_reply(delivery->replica, op, MF_OK);
}

static uint64_t tag_of(struct mf_bytes payload)
{
    struct mf_batch_reader reader;
    if (payload.len == 0 || mf_batch_open(&reader, payload) != MF_OK)
        return 0;
    uint64_t tag = reader.tag;
    mf_batch_close(&reader);
    return tag;
}

// Our proposal for this slot, taken off the list; NULL if there was none. One that lost the slot to
// another value can never be chosen any more: its ops go back, certain to have had no effect.
static struct mf_proposal *settle(struct mf_replica *replica, uint64_t slot,
                                  struct mf_bytes payload)
{
    struct mf_proposal *proposal = replica->first;
    if (proposal == NULL || proposal->slot != slot)
        return NULL;
    replica->first = proposal->next;
    if (replica->first == NULL)
        replica->last = NULL;
    replica->growth -= proposal->growth;
    replica->built_out -= proposal->built;
    if (tag_of(payload) == proposal->tag)
        return proposal;
    for (uint32_t i = 0; i < proposal->count; i++) {
        struct mf_op *op = proposal->ops[i];
        if (op == NULL)
            continue;
        op->proposed = false;
        mf_replica_reply(replica, op, MF_NOT_LEADER);
    }
    free(proposal);
    return NULL;
}

static void die(struct mf_replica *replica, uint64_t slot, enum mf_err err)
{
    char what[128];
    snprintf(what, sizeof(what), "entry %llu cannot be applied: %s", (unsigned long long)slot,
             mf_err_text(err));
    replica->dead = true;
    replica->ops->fatal(replica->ctx, replica->cfg.paxos.group, what);
}

static void note_members(struct mf_replica *replica, uint64_t slot,
                         const struct mf_log_entry *entry)
{
    struct mf_members members;
    enum mf_err err = mf_members_decode(mf_payload_bytes(entry->payload), slot, &members);
    assert(err == MF_OK); // the core has read it
    (void)err;
    replica->mending = true;
    if (!mf_members_follow(&members, &replica->members))
        return;
    replica->members = members;
    replica->members.round = mf_paxos_members(replica->paxos)->round;
}

void mf_replica_apply(struct mf_replica *replica, const struct mf_replica_env *env)
{
    uint64_t chosen = mf_paxos_chosen(replica->paxos);
    if (replica->applied >= chosen) {
        replica->behind = false;
        return;
    }
    size_t left = mf_replica_portion(replica);
    // A start has no turn to be in time for.
    uint64_t built_left = env != NULL ? replica->built_left : UINT64_MAX;
    // What an entry changes may be what holds the next one back.
    while (replica->applied < chosen && left > 0 && built_left > 0 &&
           mf_replica_may_apply(replica)) {
        uint64_t slot = replica->applied + 1;
        const struct mf_log_entry *entry = mf_paxos_entry(replica->paxos, slot);
        // To the shard a configuration is a no-op.
        bool members = mf_payload_is_members(entry->payload);
        struct mf_bytes payload = members ? mf_bytes_of(NULL, 0) : mf_payload_bytes(entry->payload);
        if (entry->log_time_us > replica->log_time_us)
            replica->log_time_us = entry->log_time_us;
        struct mf_shard_counters before;
        struct mf_shard_counters after;
        mf_shard_counters(replica->shard, &before);
        struct delivery delivery = {.replica = replica, .proposal = settle(replica, slot, payload)};
        enum mf_err err =
            mf_shard_apply(replica->shard, slot, replica->log_time_us, payload, deliver, &delivery);
        free(delivery.proposal);
        if (err != MF_OK) {
            die(replica, slot, err);
            return;
        }
        replica->applied = slot;
        size_t work = payload.len + ENTRY_WORK;
        left = left > work ? left - work : 0;
        if (members)
            note_members(replica, slot, entry);
        replica->unmarked_bytes += payload.len;
        if (replica->expire_slot == slot)
            replica->expire_slot = 0;
        if (replica->evict_slot == slot)
            mf_replica_end_eviction(replica);
        mf_shard_counters(replica->shard, &after);
        uint64_t built = after.built_bytes - before.built_bytes;
        built_left = built_left > built ? built_left - built : 0;
        if (replica->ops->applied != NULL)
            replica->ops->applied(replica->ctx, replica->cfg.paxos.group, slot,
                                  replica->log_time_us, payload.len,
                                  after.expired - before.expired);
    }
    replica->catching_up = replica->catching_up && replica->applied < chosen;
    if (env == NULL)
        return;
    replica->built_left = built_left;
    replica->behind = built_left == 0 && replica->applied < chosen;
    // At once, so that there is a pair to bridge a stop with however soon it comes, but not often.
    uint64_t next_us = replica->marked_us + replica->cfg.mark_interval_us;
    if (replica->marked_us == 0 || replica->unmarked_bytes >= MF_MARK_BYTES)
        next_us = env->now_us;
    if (replica->mark_us > next_us)
        replica->mark_us = next_us;
}
