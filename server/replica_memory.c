// A replica and the memory of its node: which writes it admits, and what it evicts.
//
// Keys that are chosen are named by an entry that is applied like any other, one at a time for each
// shard: until it is applied, the same keys would be chosen again.
#include <assert.h>
#include <stdlib.h>

#include "base/txn.h"
#include "server/replica_internal.h"
#include "shards/batch.h"
#include "shards/entry.h"
#include "shards/map.h"

// What a key takes beside its own and its value's bytes, and a remembered id, about.
#define KEY_BYTES 64u
#define ID_BYTES 160u
// A write that waits for memory looks again this often; others may have made room.
#define WAITING_US UINT64_C(1000)

bool mf_replica_counts_memory(const struct mf_replica *replica)
{
    const struct mf_budget *budget = replica->cfg.budget;
    return budget != NULL && atomic_load_explicit(&budget->counts, memory_order_relaxed);
}

static size_t length_now(const struct mf_replica *replica, struct mf_bytes key)
{
    const struct mf_entry *entry = mf_map_find(mf_shard_map(replica->shard), key);
    return entry != NULL ? mf_entry_value(entry).len : 0;
}

// What a command makes that its own bytes do not bound, as things are now.
static uint64_t made_by(const struct mf_replica *replica, const struct mf_command *command)
{
    if (command->op == MF_OP_COPY)
        return length_now(replica, command->items[0].key);
    if (command->op != MF_OP_SETRANGE && command->op != MF_OP_SETBIT)
        return 0;
    uint64_t end = command->op == MF_OP_SETBIT ? command->number / 16 + 1 : command->number;
    size_t len = length_now(replica, command->items[0].key);
    return end <= command->limit && end > len ? end - len : 0;
}

static uint64_t made_by_txn(const struct mf_replica *replica, const struct mf_command *txn)
{
    uint64_t most = 0;
    for (enum mf_txn_part part = MF_TXN_THEN; part <= MF_TXN_ELSE; part++) {
        struct mf_txn_reader reader;
        struct mf_command command;
        uint64_t made = 0;
        enum mf_err err = mf_txn_open(&reader, txn->body, part);
        while (err == MF_OK && (err = mf_txn_next_command(&reader, &command)) == MF_OK)
            made += made_by(replica, &command);
        mf_txn_close(&reader);
        most = made > most ? made : most;
    }
    return most < txn->limit ? most : txn->limit; // which it may not pass
}

static uint64_t made_beside(const struct mf_replica *replica, const struct mf_op *op)
{
    bool few_bytes_make_many = op->opcode == MF_OP_SETRANGE || op->opcode == MF_OP_SETBIT ||
                               op->opcode == MF_OP_COPY || op->opcode == MF_OP_TXN;
    if (!few_bytes_make_many || !mf_replica_counts_memory(replica))
        return 0;
    struct mf_command command;
    struct mf_item *items = NULL;
    uint32_t items_cap = 0;
    struct mf_reader reader = mf_reader_of(mf_buf_view(&op->command));
    enum mf_err err = mf_command_decode(&reader, &command, &items, &items_cap);
    uint64_t made = 0;
    if (err == MF_OK)
        made =
            command.op == MF_OP_TXN ? made_by_txn(replica, &command) : made_by(replica, &command);
    free(items);
    return made;
}

uint64_t mf_replica_growth(const struct mf_replica *replica, const struct mf_op *op)
{
    uint64_t growth = op->has_id ? ID_BYTES : 0;
    if (!mf_op_grows(op->opcode))
        return growth;
    // The allocator's sizes are up to a quarter larger than what is asked for.
    uint64_t bytes = op->command.len + made_beside(replica, op);
    return growth + KEY_BYTES + bytes + bytes / 4;
}

enum mf_admission mf_replica_admit(const struct mf_replica *replica, const struct mf_op *op,
                                   uint64_t batch_growth)
{
    if (replica->cfg.budget == NULL)
        return MF_ADMIT;
    uint64_t growth = mf_replica_growth(replica, op);
    return mf_budget_admit(replica->cfg.budget, mf_op_grows(op->opcode),
                           growth > 0 ? growth + batch_growth : 0);
}

static bool leading(const struct mf_replica *replica)
{
    return replica->lead_slot != 0 && replica->clock.leading;
}

// What waits here for room.
static uint64_t waiting(const struct mf_replica *replica)
{
    const struct mf_op *op = replica->queued.head;
    return replica->starved && op != NULL ? mf_replica_growth(replica, op) : 0;
}

void mf_replica_report_memory(struct mf_replica *replica)
{
    // Where there never was a limit no reactor writes to what all of them share.
    if (!mf_replica_counts_memory(replica))
        return;
    struct mf_shard_memory memory;
    mf_shard_memory(replica->shard, &memory);
    const struct mf_budget_share now = {
        .used = memory.bytes,
        .pending = replica->growth,
        .waiting = waiting(replica),
        .evicting = replica->evict_goal + replica->evict_bytes,
        .evictable = leading(replica) ? mf_shard_evictable(replica->shard) : 0,
    };
    mf_budget_report(replica->cfg.budget, &replica->share, now);
}

void mf_replica_budget_changed(struct mf_replica *replica)
{
    if (replica->cfg.budget == NULL)
        return;
    replica->at_once = false;
    mf_shard_set_eviction(replica->shard, mf_budget_eviction(replica->cfg.budget));
    mf_replica_report_memory(replica);
}

void mf_replica_make_room(struct mf_replica *replica, const struct mf_replica_env *env)
{
    if (replica->cfg.budget == NULL || !leading(replica) || replica->evict_slot != 0 ||
        replica->evict_goal != 0)
        return;
    struct mf_shard_memory memory;
    mf_shard_memory(replica->shard, &memory);
    double evictable = (double)mf_shard_evictable(replica->shard);
    double all =
        (double)atomic_load_explicit(&replica->cfg.budget->evictable, memory_order_relaxed);
    double excess = (double)mf_budget_excess(replica->cfg.budget);
    uint64_t part = all > evictable ? (uint64_t)(excess * evictable / all) : (uint64_t)excess;
    // Rounded by chance: many small shards shall not each evict a key for one key's sake.
    uint64_t mean = memory.keys > 0 ? memory.key_bytes / memory.keys + 1 : 1;
    if (part == 0 || (part < mean && env->random % mean >= part))
        return;
    replica->evict_goal = part;
    mf_replica_happened(replica);
}

// A shard whose own write waits does not wait to be given its part.
static void set_goal(struct mf_replica *replica)
{
    uint64_t excess = mf_budget_excess(replica->cfg.budget);
    uint64_t own = waiting(replica) < excess ? waiting(replica) : excess;
    if (replica->evict_goal < own)
        replica->evict_goal = own;
}

bool mf_replica_gather_victims(struct mf_replica *replica, const struct mf_replica_env *env)
{
    if (replica->cfg.budget == NULL || replica->evict_slot != 0)
        return false;
    set_goal(replica);
    if (replica->evict_goal == 0)
        return false;
    struct mf_victims victims;
    mf_shard_choose_victims(replica->shard, replica->evict_goal, env->random, &victims);
    bool more = replica->evict_goal > victims.bytes && victims.command.item_count > 0;
    replica->evict_goal = more ? replica->evict_goal - victims.bytes : 0;
    replica->evict_bytes = victims.bytes;
    if (victims.command.item_count > 0)
        mf_batch_add(&replica->batch, &victims.command);
    return victims.command.item_count > 0;
}

void mf_replica_end_eviction(struct mf_replica *replica)
{
    replica->evict_slot = 0;
    replica->evict_bytes = 0;
}

uint64_t mf_replica_memory_due_us(const struct mf_replica *replica, uint64_t now_us)
{
    return replica->starved ? now_us + WAITING_US : MF_NEVER;
}
