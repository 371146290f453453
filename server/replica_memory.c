// A replica and the memory of its node: which writes it admits, and what it evicts.
//
// Keys that are chosen are named by an entry that is applied like any other, one at a time for each
// shard: until it is applied, the same keys would be chosen again.
#include <assert.h>
#include <stdlib.h>

#include "server/replica_internal.h"
#include "shards/batch.h"

// What a key takes beside its own and its value's bytes, and a remembered id, about.
#define KEY_BYTES 64u
#define ID_BYTES 160u
// A write that waits for memory looks again this often; others may have made room.
#define WAITING_US UINT64_C(1000)

uint64_t mf_replica_growth(const struct mf_op *op)
{
    uint64_t growth = op->has_id ? ID_BYTES : 0;
    if (!mf_op_grows(op->opcode))
        return growth;
    // The allocator's sizes are up to a quarter larger than what is asked for.
    return growth + KEY_BYTES + op->command.len + op->command.len / 4;
}

enum mf_admission mf_replica_admit(const struct mf_replica *replica, const struct mf_op *op,
                                   uint64_t batch_growth)
{
    if (replica->cfg.budget == NULL)
        return MF_ADMIT;
    uint64_t growth = mf_replica_growth(op);
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
    return replica->starved && op != NULL ? mf_replica_growth(op) : 0;
}

void mf_replica_report_memory(struct mf_replica *replica)
{
    // Without a limit no reactor writes to what all of them share.
    if (replica->cfg.budget == NULL || replica->cfg.budget->bytes_max == 0)
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
    replica->dirty = true;
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
