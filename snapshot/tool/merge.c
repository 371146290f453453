// One file of many; see merge.h.
#include "snapshot/tool/merge.h"

#include <string.h>

#include "snapshot/format.h"
#include "snapshot/tool/progress.h"

struct copying {
    struct mf_snapshot_writer *writer;
    uint32_t shard;
};

static enum mf_err copy_record(void *arg, const struct mf_record *record)
{
    const struct copying *copying = arg;
    return mf_snapshot_put(copying->writer, copying->shard, record);
}

// The section with this shard of a file, or -1.
static int64_t find_section(const struct mf_snapshot_reader *reader, uint32_t shard)
{
    struct mf_snapshot_summary summary;
    mf_snapshot_summary(reader, &summary);
    uint32_t low = 0;
    uint32_t high = summary.shards;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (mf_snapshot_section(reader, middle)->shard < shard)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = low < summary.shards && mf_snapshot_section(reader, low)->shard == shard;
    return found ? (int64_t)low : -1;
}

static enum mf_err copy_shard(struct mf_snapshot_reader *const *readers, uint32_t count,
                              struct copying *copying, char *message, size_t message_size)
{
    struct mf_snapshot_reader *best = NULL;
    uint32_t best_section = 0;
    uint64_t applied = 0;
    for (uint32_t i = 0; i < count; i++) {
        int64_t section = find_section(readers[i], copying->shard);
        if (section < 0)
            continue;
        uint64_t index = mf_snapshot_section(readers[i], (uint32_t)section)->meta.applied;
        if (best != NULL && index <= applied)
            continue;
        best = readers[i];
        best_section = (uint32_t)section;
        applied = index;
    }
    if (best == NULL)
        return MF_OK;
    const struct mf_snapshot_shard *section = mf_snapshot_section(best, best_section);
    enum mf_err err =
        mf_snapshot_begin_shard(copying->writer, copying->shard, &section->meta, section->wall_us);
    if (err == MF_OK)
        err = mf_snapshot_read(best, best_section, copy_record, copying, message, message_size);
    if (err == MF_OK)
        err = mf_snapshot_end_shard(copying->writer, copying->shard);
    return err;
}

static enum mf_err check_same_cluster(struct mf_snapshot_reader *const *readers, uint32_t count,
                                      struct mf_snapshot_summary *first, char *message,
                                      size_t message_size)
{
    mf_snapshot_summary(readers[0], first);
    for (uint32_t i = 1; i < count; i++) {
        struct mf_snapshot_summary other;
        mf_snapshot_summary(readers[i], &other);
        if (strcmp(other.cluster, first->cluster) != 0 || other.shard_count != first->shard_count)
            return mf_snapshot_fail(MF_CORRUPT, message, message_size,
                                    "the nodes are of different clusters: %s of %u shards, %s of "
                                    "%u shards",
                                    first->cluster, first->shard_count, other.cluster,
                                    other.shard_count);
        if (other.created_us > first->created_us)
            first->created_us = other.created_us;
    }
    return MF_OK;
}

enum mf_err merge_files(struct mf_snapshot_reader *const *readers, uint32_t count, const char *path,
                        struct mf_snapshot_totals *totals, char *message, size_t message_size)
{
    struct mf_snapshot_summary summary;
    enum mf_err err = check_same_cluster(readers, count, &summary, message, message_size);
    if (err != MF_OK)
        return err;
    struct mf_snapshot_info info = {.cluster = summary.cluster,
                                    .shard_count = summary.shard_count,
                                    .created_us = summary.created_us};
    struct copying copying = {.writer = NULL};
    err = mf_snapshot_create(path, &info, &copying.writer, message, message_size);
    if (err != MF_OK)
        return err;
    struct progress progress;
    progress_start(&progress, "putting together", summary.shard_count, false);
    progress.unit = "shards";
    for (uint32_t i = 0; i < summary.shard_count && err == MF_OK; i++) {
        copying.shard = i;
        err = copy_shard(readers, count, &copying, message, message_size);
        progress_add(&progress, 1);
    }
    progress_end(&progress);
    if (err == MF_OK)
        return mf_snapshot_commit(copying.writer, totals, message, message_size);
    if (mf_snapshot_why(copying.writer)[0] != '\0')
        mf_snapshot_fail(err, message, message_size, "%s", mf_snapshot_why(copying.writer));
    mf_snapshot_abort(copying.writer);
    return err;
}
