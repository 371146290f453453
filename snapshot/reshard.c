// Re-sharding of a snapshot; see reshard.h.
//
// The first reading proves the source and counts each new shard's keys, so that the second one can
// announce every shard before its first record and write them all interleaved.
#include "snapshot/reshard.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/slots.h"
#include "snapshot/format.h"

// Of one thread, by new shard.
struct counts {
    uint32_t shard_count;
    uint64_t *keys;
    uint64_t ids;
};

static enum mf_err count_record(struct mf_crew_place *place, const struct mf_record *record)
{
    struct counts *counts = place->state;
    if (record->is_id)
        counts->ids += 1;
    else
        counts->keys[mf_shard_of_key(record->key, counts->shard_count)] += 1;
    return MF_OK;
}

static unsigned threads_of(const struct mf_snapshot_reading *reading)
{
    return reading != NULL && reading->threads > 1 ? reading->threads : 1;
}

static struct mf_crew_job job_of(struct mf_snapshot_reader *source,
                                 const struct mf_snapshot_reading *reading, void **states)
{
    return (struct mf_crew_job){.reader = source,
                                .threads = threads_of(reading),
                                .states = states,
                                .progress = reading != NULL ? reading->progress : NULL,
                                .progress_arg = reading != NULL ? reading->arg : NULL};
}

static enum mf_err count_all(struct mf_snapshot_reader *source,
                             const struct mf_snapshot_reading *reading,
                             struct mf_snapshot_plan *plan, char *message, size_t message_size)
{
    unsigned threads = threads_of(reading);
    struct counts *counts = mf_calloc(threads, sizeof(*counts));
    void **states = mf_calloc(threads, sizeof(*states));
    for (unsigned i = 0; i < threads; i++) {
        counts[i].shard_count = plan->shard_count;
        counts[i].keys = mf_calloc(plan->shard_count, sizeof(*counts[i].keys));
        states[i] = &counts[i];
    }
    struct mf_crew_job job = job_of(source, reading, states);
    job.record = count_record;
    enum mf_err err = mf_crew_run(&job, message, message_size);
    for (unsigned i = 0; i < threads; i++) {
        plan->ids_left_out += counts[i].ids;
        for (uint32_t shard = 0; shard < plan->shard_count; shard++) {
            plan->keys[shard] += counts[i].keys[shard];
            plan->keys_total += counts[i].keys[shard];
        }
        free(counts[i].keys);
    }
    free(states);
    free(counts);
    return err;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

enum mf_err mf_snapshot_make_plan(struct mf_snapshot_reader *source,
                                  const struct mf_snapshot_reading *reading, uint32_t shard_count,
                                  enum mf_snapshot_ttl ttl, struct mf_snapshot_plan *plan,
                                  char *message, size_t message_size)
{
    struct mf_snapshot_summary summary;
    mf_snapshot_summary(source, &summary);
    *plan = (struct mf_snapshot_plan){.shard_count = shard_count, .ttl = ttl};
    plan->keys = mf_calloc(shard_count, sizeof(*plan->keys));
    if (summary.shards == 0)
        plan->base_us = summary.created_us;
    for (uint32_t i = 0; i < summary.shards; i++) {
        const struct mf_snapshot_shard *section = mf_snapshot_section(source, i);
        plan->base_us = larger(plan->base_us, section->wall_us);
        plan->version = larger(plan->version, section->meta.version);
        if (section->meta.hash_seed != 0)
            plan->seed = mf_hash_mix(plan->seed, section->meta.hash_seed);
    }
    if (plan->base_us == 0 && ttl == MF_SNAPSHOT_ABSOLUTE)
        plan->ttl = MF_SNAPSHOT_REMAINING; // no section has more than that
    plan->wall_us = plan->base_us;
    if (plan->ttl == MF_SNAPSHOT_REMAINING || plan->base_us == 0) {
        plan->base_us = 1;
        plan->wall_us = 0;
    }
    enum mf_err err = count_all(source, reading, plan, message, message_size);
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
        return mf_snapshot_absolute_deadline(deadline_us, from->meta.log_time_us,
                                             mf_snapshot_wall_us(from, plan->base_us));
    uint64_t left_us = mf_snapshot_left_us(deadline_us, from->meta.log_time_us);
    if (left_us == 0)
        return 1;
    if (plan->ttl == MF_SNAPSHOT_NO_TTL)
        return MF_NO_DEADLINE;
    return mf_snapshot_absolute_deadline(left_us, 0, plan->base_us);
}

// Of one thread: the records of its block, as they are to be.
struct moved {
    const struct mf_snapshot_plan *plan;
    struct mf_snapshot_writer *writer; // used by one thread at a time
    struct mf_record *records;
    size_t count;
    size_t cap;
};

static enum mf_err move_record(struct mf_crew_place *place, const struct mf_record *record)
{
    struct moved *moved = place->state;
    if (record->is_id)
        return MF_OK;
    if (moved->count == moved->cap) {
        moved->cap = moved->cap == 0 ? 1024 : moved->cap * 2;
        moved->records = mf_realloc(moved->records, moved->cap * sizeof(*moved->records));
    }
    struct mf_record *to = &moved->records[moved->count++];
    *to = *record;
    to->deadline_us = new_deadline(moved->plan, place->section, record->deadline_us);
    return MF_OK;
}

static enum mf_err put_records(struct mf_crew_place *place)
{
    struct moved *moved = place->state;
    enum mf_err err = MF_OK;
    for (size_t i = 0; i < moved->count && err == MF_OK; i++) {
        const struct mf_record *record = &moved->records[i];
        uint32_t shard = mf_shard_of_key(record->key, moved->plan->shard_count);
        err = mf_snapshot_put(moved->writer, shard, record);
    }
    moved->count = 0;
    return err;
}

static enum mf_err move_all(struct mf_snapshot_reader *source,
                            const struct mf_snapshot_reading *reading,
                            const struct mf_snapshot_plan *plan, struct mf_snapshot_writer *writer,
                            char *message, size_t message_size)
{
    unsigned threads = threads_of(reading);
    struct moved *moved = mf_calloc(threads, sizeof(*moved));
    void **states = mf_calloc(threads, sizeof(*states));
    for (unsigned i = 0; i < threads; i++) {
        moved[i].plan = plan;
        moved[i].writer = writer;
        states[i] = &moved[i];
    }
    struct mf_crew_job job = job_of(source, reading, states);
    job.record = move_record;
    job.give_out = put_records;
    enum mf_err err = mf_crew_run(&job, message, message_size);
    for (unsigned i = 0; i < threads; i++)
        free(moved[i].records);
    free(states);
    free(moved);
    return err;
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
                                const struct mf_snapshot_reading *reading,
                                const struct mf_snapshot_plan *plan, const char *path,
                                const char *cluster, struct mf_snapshot_totals *totals,
                                char *message, size_t message_size)
{
    struct mf_snapshot_summary summary;
    mf_snapshot_summary(source, &summary);
    struct mf_snapshot_info info = {
        .cluster = cluster, .shard_count = plan->shard_count, .created_us = summary.created_us};
    struct mf_snapshot_writer *writer = NULL;
    enum mf_err err = mf_snapshot_create(path, &info, &writer, message, message_size);
    if (err != MF_OK)
        return err;
    err = begin_shards(writer, plan);
    if (err == MF_OK)
        err = move_all(source, reading, plan, writer, message, message_size);
    if (err == MF_OK)
        err = end_shards(writer, plan->shard_count);
    if (err == MF_OK)
        return mf_snapshot_commit(writer, totals, message, message_size);
    // A failure to write says more than the record at which it showed.
    if (mf_snapshot_why(writer)[0] != '\0')
        mf_snapshot_fail(err, message, message_size, "%s", mf_snapshot_why(writer));
    mf_snapshot_abort(writer);
    return err;
}
