// Reads: the state at the leader's log time, under a lease or after a quorum round.
#include <assert.h>
#include <stdlib.h>

#include "base/txn.h"
#include "server/replica_internal.h"

// At op->read_at_us, or at the last entry's log time where that is later.
static enum mf_err read_state(struct mf_replica *replica, struct mf_op *op)
{
    uint64_t log_us = op->read_at_us;
    uint64_t wall_us = op->read_wall_us;
    if (log_us < replica->log_time_us) {
        wall_us += replica->log_time_us - log_us;
        log_us = replica->log_time_us;
    }
    struct mf_command command;
    struct mf_item *items = NULL;
    uint32_t items_cap = 0;
    struct mf_reader reader = mf_reader_of(mf_buf_view(&op->command));
    enum mf_err err = mf_command_decode(&reader, &command, &items, &items_cap);
    struct mf_buf body = {0};
    if (err == MF_OK) {
        (void)mf_command_settle(&command, (int64_t)wall_us);
        if (command.op == MF_OP_TXN_READ &&
            mf_txn_settle_times(command.body, (int64_t)wall_us, &body))
            command.body = mf_buf_view(&body);
        if (command.op == MF_OP_MGET)
            command.limit = replica->cfg.answer_bytes_max;
        err = mf_shard_read(replica->shard, &command, log_us, &op->result);
    }
    mf_buf_free(&body);
    free(items);
    return err;
}

// What a former leader acknowledged has been applied, and all that is chosen: another replica may
// have applied it and told a watch, whose client then asks here.
bool mf_replica_serves(const struct mf_replica *replica)
{
    return replica->lead_slot != 0 && replica->applied >= replica->lead_slot && !replica->behind &&
           !replica->dead;
}

uint64_t mf_replica_lease_until(const struct mf_replica *replica)
{
    if (!mf_replica_serves(replica))
        return 0;
    return mf_paxos_lease_until(replica->paxos, replica->ops->held_until, replica->ctx);
}

// The lease is looked at after the value was read: a pause before that cannot let out a value that
// another leader has changed.
static bool answer_leased(struct mf_replica *replica, const struct mf_replica_env *env,
                          struct mf_op *op)
{
    uint64_t until_us = mf_replica_lease_until(replica);
    uint64_t now_us = replica->ops->mono_us(replica->ctx);
    if (until_us <= now_us)
        return false;
    op->read_at_us = mf_log_clock_now(&replica->clock, now_us);
    op->read_wall_us = env->wall_us + (now_us - env->now_us);
    enum mf_err err = read_state(replica, op);
    if (replica->ops->mono_us(replica->ctx) >= until_us) {
        mf_buf_clear(&op->result, 0);
        return false;
    }
    if (err == MF_AGAIN) {
        op->wants_log_time = true;
        mf_op_push(&replica->dead_waits, op);
    } else {
        mf_replica_reply(replica, op, err);
    }
    return true;
}

void mf_replica_start_read(struct mf_replica *replica, const struct mf_replica_env *env,
                           struct mf_op *op)
{
    if (answer_leased(replica, env, op))
        return;
    struct mf_paxos_env paxos_env = mf_replica_paxos_env(replica, env);
    if (mf_paxos_read(replica->paxos, &paxos_env, &op->ticket) != MF_OK) {
        mf_op_push(&replica->unready, op);
        return;
    }
    op->read_at_us = mf_log_clock_now(&replica->clock, env->now_us);
    op->read_wall_us = env->wall_us;
    mf_op_push(&replica->reads, op);
}

void mf_replica_answer_local(struct mf_replica *replica, const struct mf_replica_env *env,
                             struct mf_op *op)
{
    struct mf_paxos_env paxos_env = mf_replica_paxos_env(replica, env);
    op->read_at_us = paxos_env.stamp.log_us > replica->log_time_us ? paxos_env.stamp.log_us
                                                                   : replica->log_time_us;
    op->read_wall_us = env->wall_us;
    mf_replica_reply(replica, op, read_state(replica, op));
}

// Confirmed reads are answered at the clock's reading before their round began, or wait until the
// deaths that this reading implies are in the log. The round shows that nobody else led then; its
// answers may have been long on their way, and another leader may have changed the key meanwhile,
// so that what is left of its time now is true of no moment.
static void answer(struct mf_replica *replica, struct mf_op *op)
{
    enum mf_err err = read_state(replica, op);
    if (err == MF_AGAIN) {
        op->wants_log_time = true;
        mf_op_push(&replica->dead_waits, op);
        return;
    }
    mf_replica_reply(replica, op, err);
}

void mf_replica_answer_confirmed(struct mf_replica *replica, const struct mf_replica_env *env,
                                 uint64_t confirmed)
{
    if (replica->lead_slot == 0 || mf_paxos_role(replica->paxos) != MF_LEADER)
        return;
    bool serves = mf_replica_serves(replica);
    while (replica->reads.head != NULL && replica->reads.head->ticket <= confirmed) {
        struct mf_op *op = mf_op_pop(&replica->reads);
        // Its round says nothing of later: who leads then may not know yet that a key is dead.
        if (!serves)
            mf_op_push(&replica->unready, op);
        else
            answer(replica, op);
    }
    if (!serves)
        return;
    for (uint32_t left = replica->unready.count; left > 0; left--)
        mf_replica_start_read(replica, env, mf_op_pop(&replica->unready));
}

void mf_replica_answer_dead_waits(struct mf_replica *replica)
{
    for (uint32_t left = replica->dead_waits.count; left > 0; left--) {
        struct mf_op *op = mf_op_pop(&replica->dead_waits);
        if (replica->log_time_us < op->read_at_us) {
            mf_op_push(&replica->dead_waits, op);
            continue;
        }
        enum mf_err err = read_state(replica, op);
        assert(err != MF_AGAIN);
        mf_replica_reply(replica, op, err);
    }
}
