// Writes of a group that is alone and keeps no log: carried out when they come.
//
// Where there is one acceptor, and no WAL, a proposal is chosen by being made: nobody else has a
// say in it, it is as durable as it gets, and nobody will ever ask for it, since who joins the
// group begins with a snapshot. So a write is an entry of its own, with its slot and its log time,
// that is applied and forgotten. That needs no turn, and what a turn reads and writes for each
// shard is most of the cost of a write where there are many shards.
//
// Must:
//   A1  No write overtakes one that came before it: nothing waits, and nothing is proposed.
//   A2  What holds back a turn's proposals holds back these: a walk that is ahead of its file, a
//       limit of memory, a change of configuration or of leadership. So any event ends it, until
//       the turn after it has looked again.
//   A3  The slots and log times are those of one log: the core counts the slots, and who has a log
//       later begins it behind them.
#include <assert.h>
#include <stdlib.h>

#include "server/replica_internal.h"

// What is larger has its turn: the sockets are to be looked at in between.
#define AT_ONCE_BYTES 4096u

void mf_replica_note_alone(struct mf_replica *replica, const struct mf_replica_env *env)
{
    replica->at_once = replica->cfg.unlogged && !env->log_blocked && replica->pending_ops == 0 &&
                       !replica->held && !mf_replica_counts_memory(replica) &&
                       mf_replica_serves(replica) && replica->clock.leading &&
                       replica->applied == mf_paxos_chosen(replica->paxos) &&
                       mf_paxos_alone(replica->paxos);
}

bool mf_replica_writes_at_once(const struct mf_replica *replica)
{
    return replica->at_once;
}

static uint64_t bytes_of(const struct mf_command *command)
{
    uint64_t bytes = command->id.len;
    for (uint32_t i = 0; i < command->item_count; i++)
        bytes += command->items[i].key.len + command->items[i].value.len;
    return bytes;
}

bool mf_replica_write_at_once(struct mf_replica *replica, uint64_t now_us,
                              const struct mf_command *command, struct mf_bytes *result)
{
    if (!replica->at_once)
        return false;
    struct mf_shard_counters before;
    struct mf_shard_counters after;
    mf_shard_counters(replica->shard, &before);
    uint64_t log_us = mf_log_clock_now(&replica->clock, now_us);
    uint64_t slot = mf_paxos_choose_alone(replica->paxos, log_us);
    mf_log_clock_saw_entry(&replica->clock, log_us);
    if (log_us > replica->log_time_us)
        replica->log_time_us = log_us;
    enum mf_err err =
        mf_shard_apply_one(replica->shard, slot, replica->log_time_us, command, result);
    assert(err == MF_OK); // a plain command
    (void)err;
    replica->applied = slot;
    mf_shard_counters(replica->shard, &after);
    if (replica->ops->applied != NULL)
        replica->ops->applied(replica->ctx, replica->cfg.paxos.group, slot, replica->log_time_us,
                              bytes_of(command), after.expired - before.expired);
    return true;
}

bool mf_replica_submit_at_once(struct mf_replica *replica, uint64_t now_us, struct mf_op *op)
{
    if (!replica->at_once || !op->plain || op->command.len > AT_ONCE_BYTES)
        return false;
    struct mf_command command;
    struct mf_item *items = NULL;
    uint32_t items_cap = 0;
    struct mf_reader reader = mf_reader_of(mf_buf_view(&op->command));
    enum mf_err err = mf_command_decode(&reader, &command, &items, &items_cap);
    assert(err == MF_OK); // encoded by us, or checked when it came in
    (void)err;
    struct mf_bytes result;
    bool done = mf_replica_write_at_once(replica, now_us, &command, &result);
    free(items);
    if (!done)
        return false;
    mf_buf_put(&op->result, result.data, result.len);
    replica->pending_ops++;
    mf_replica_reply(replica, op, MF_OK);
    return true;
}
