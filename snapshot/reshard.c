// Re-sharding of a snapshot; see reshard.h.
//
// The first reading proves the source and counts each new shard's keys, so that the second one can
// announce every shard before its first record and write them all interleaved.
#include "snapshot/reshard.h"

#include <stdlib.h>

#include "base/hash.h"
#include "shards/slots.h"
#include "snapshot/format.h"

static enum mf_err count_record(void *arg, const struct mf_record *record)
{
    struct mf_snapshot_plan *plan = arg;
    if (record->is_id) {
        plan->ids_left_out += 1;
        return MF_OK;
    }
    plan->keys[mf_shard_of_key(record->key, plan->shard_count)] += 1;
    plan->keys_total += 1;
    return MF_OK;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

enum mf_err mf_snapshot_make_plan(struct mf_snapshot_reader *source, uint32_t shard_count,
                                  enum mf_snapshot_ttl ttl, struct mf_snapshot_plan *plan,
                                  char *message, size_t message_size)
{
    struct mf_snapshot_summary summary;
    mf_snapshot_summary(source, &summary);
    *plan = (struct mf_snapshot_plan){.shard_count = shard_count, .ttl = ttl};
    plan->keys = mf_calloc(shard_count, sizeof(*plan->keys));
    if (summary.shards == 0)
        plan->base_us = summary.created_us;
    enum mf_err err = MF_OK;
    for (uint32_t i = 0; i < summary.shards && err == MF_OK; i++) {
        const struct mf_snapshot_shard *section = mf_snapshot_section(source, i);
        plan->base_us = larger(plan->base_us, section->wall_us);
        plan->version = larger(plan->version, section->meta.version);
        if (section->meta.hash_seed != 0)
            plan->seed = mf_hash_mix(plan->seed, section->meta.hash_seed);
        err = mf_snapshot_read(source, i, count_record, plan, message, message_size);
    }
    plan->wall_us = plan->base_us;
    if (ttl == MF_SNAPSHOT_REMAINING) {
        plan->base_us = 1;
        plan->wall_us = 0;
    }
    if (err != MF_OK)
        mf_snapshot_free_plan(plan);
    return err;
}

void mf_snapshot_free_plan(struct mf_snapshot_plan *plan)
{
    free(plan->keys);
    plan->keys = NULL;
}

uint64_t mf_snapshot_absolute_deadline(uint64_t deadline_us, uint64_t log_time_us, uint64_t wall_us)
{
    if (deadline_us == MF_NO_DEADLINE)
        return MF_NO_DEADLINE;
    if (deadline_us < log_time_us) {
        uint64_t past = log_time_us - deadline_us;
        return past < wall_us ? wall_us - past : 1;
    }
    uint64_t left = deadline_us - log_time_us;
    uint64_t latest = MF_NO_DEADLINE - 1;
    bool fits = wall_us <= latest && left <= latest - wall_us;
    return larger(fits ? wall_us + left : latest, 1);
}

// In the new cluster's log time; one whose time had come is at most its base.
static uint64_t new_deadline(const struct mf_snapshot_plan *plan,
                             const struct mf_snapshot_shard *from, uint64_t deadline_us)
{
    if (deadline_us == MF_NO_DEADLINE || plan->ttl == MF_SNAPSHOT_ABSOLUTE)
        return mf_snapshot_absolute_deadline(deadline_us, from->meta.log_time_us, from->wall_us);
    uint64_t left_us = mf_snapshot_left_us(deadline_us, from->meta.log_time_us);
    if (left_us == 0)
        return 1;
    if (plan->ttl == MF_SNAPSHOT_NO_TTL)
        return MF_NO_DEADLINE;
    return mf_snapshot_absolute_deadline(left_us, 0, plan->base_us);
}

struct move {
    const struct mf_snapshot_plan *plan;
    const struct mf_snapshot_shard *from;
    struct mf_snapshot_writer *writer;
};

static enum mf_err move_record(void *arg, const struct mf_record *record)
{
    struct move *move = arg;
    if (record->is_id)
        return MF_OK;
    struct mf_record moved = *record;
    moved.deadline_us = new_deadline(move->plan, move->from, record->deadline_us);
    uint32_t shard = mf_shard_of_key(record->key, move->plan->shard_count);
    return mf_snapshot_put(move->writer, shard, &moved);
}

static enum mf_err begin_shards(struct mf_snapshot_writer *writer,
                                const struct mf_snapshot_plan *plan)
{
    for (uint32_t i = 0; i < plan->shard_count; i++) {
        struct mf_shard_meta meta = {
            .log_time_us = plan->base_us, .version = plan->version, .keys = plan->keys[i]};
        // As secret as the old ones were, and the same on every node that restores this file.
        if (plan->seed != 0)
            meta.hash_seed = mf_hash_mix(plan->seed, i);
        enum mf_err err = mf_snapshot_begin_shard(writer, i, &meta, plan->wall_us);
        if (err != MF_OK)
            return err;
    }
    return MF_OK;
}

static enum mf_err end_shards(struct mf_snapshot_writer *writer, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        enum mf_err err = mf_snapshot_end_shard(writer, i);
        if (err != MF_OK)
            return err;
    }
    return MF_OK;
}

enum mf_err mf_snapshot_reshard(struct mf_snapshot_reader *source,
                                const struct mf_snapshot_plan *plan, const char *path,
                                const char *cluster, struct mf_snapshot_totals *totals,
                                char *message, size_t message_size)
{
    struct mf_snapshot_summary summary;
    mf_snapshot_summary(source, &summary);
    struct mf_snapshot_info info = {
        .cluster = cluster, .shard_count = plan->shard_count, .created_us = summary.created_us};
    struct move move = {.plan = plan};
    enum mf_err err = mf_snapshot_create(path, &info, &move.writer, message, message_size);
    if (err != MF_OK)
        return err;
    err = begin_shards(move.writer, plan);
    for (uint32_t i = 0; i < summary.shards && err == MF_OK; i++) {
        move.from = mf_snapshot_section(source, i);
        err = mf_snapshot_read(source, i, move_record, &move, message, message_size);
    }
    if (err == MF_OK)
        err = end_shards(move.writer, plan->shard_count);
    if (err == MF_OK)
        return mf_snapshot_commit(move.writer, totals, message, message_size);
    // A failure to write says more than the record at which it showed.
    if (mf_snapshot_why(move.writer)[0] != '\0')
        mf_snapshot_fail(err, message, message_size, "%s", mf_snapshot_why(move.writer));
    mf_snapshot_abort(move.writer);
    return err;
}
