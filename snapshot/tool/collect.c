// Entries become a snapshot file; see collect.h.
//
// Whether a key repeats is decided by 128 bits of hash under secret seeds: nobody can choose two
// keys that collide, and by chance they do so less often than memory errs.
#include "snapshot/tool/collect.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/slots.h"
#include "snapshot/format.h"
#include "snapshot/tool/interrupt.h"
#include "snapshot/tool/outfile.h"
#include "snapshot/tool/progress.h"

static const char cluster_name[] = "import";

static enum mf_err fail(struct collect *collect, enum mf_err err)
{
    if (collect->writer != NULL && mf_snapshot_why(collect->writer)[0] != '\0')
        mf_snapshot_fail(err, collect->why, sizeof(collect->why), "%s",
                         mf_snapshot_why(collect->writer));
    return err;
}

static enum mf_err create(struct collect *collect, const char *path)
{
    struct mf_snapshot_info info = {
        .cluster = cluster_name, .shard_count = COLLECT_SHARDS, .created_us = collect->cut_us};
    interrupt_guard_snapshot(path);
    return mf_snapshot_create(path, &info, &collect->writer, collect->why, sizeof(collect->why));
}

static enum mf_err begin(struct collect *collect, uint32_t shard, const struct mf_shard_meta *from)
{
    struct mf_shard_meta meta = {.log_time_us = collect->cut_us, .version = UINT64_MAX};
    return mf_snapshot_begin_shard(collect->writer, shard, from != NULL ? from : &meta,
                                   collect->cut_us);
}

enum mf_err collect_start(struct collect *collect, const char *path, uint64_t cut_us)
{
    *collect = (struct collect){.path = path, .cut_us = cut_us};
    size_t size = strlen(path) + 32;
    collect->part = mf_alloc(size);
    snprintf(collect->part, size, "%s.part-%ld", path, (long)getpid());
    interrupt_guard(collect->part);
    enum mf_err err = create(collect, collect->part);
    for (uint32_t i = 0; i < COLLECT_SHARDS && err == MF_OK; i++)
        err = begin(collect, i, NULL);
    return err;
}

enum mf_err collect_put(struct collect *collect, const struct entry *entry)
{
    uint32_t shard = mf_shard_of_key(entry->key, COLLECT_SHARDS);
    collect->versions[shard] += 1;
    struct mf_record record = {.key = entry->key,
                               .value = entry->value,
                               .version = collect->versions[shard],
                               .deadline_us = MF_NO_DEADLINE};
    if (entry->expires)
        record.deadline_us = entry->expire_at_ms > 0 ? entry->expire_at_ms * 1000 : 1;
    return fail(collect, mf_snapshot_put(collect->writer, shard, &record));
}

static enum mf_err commit_part(struct collect *collect, struct mf_snapshot_totals *totals)
{
    enum mf_err err = MF_OK;
    for (uint32_t i = 0; i < COLLECT_SHARDS && err == MF_OK; i++) {
        mf_snapshot_settle(collect->writer, i);
        err = mf_snapshot_end_shard(collect->writer, i);
    }
    if (err != MF_OK)
        return fail(collect, err);
    struct mf_snapshot_writer *writer = collect->writer;
    collect->writer = NULL;
    err = mf_snapshot_commit(writer, totals, collect->why, sizeof(collect->why));
    collect->part_exists = err == MF_OK;
    return err;
}

struct sighting {
    uint64_t hash[2];
    uint64_t index; // of the record in its section
};

struct section {
    uint64_t seeds[2];
    struct sighting *sightings;
    uint64_t count;
    uint8_t *replaced; // by index, once they are sorted
    uint64_t replaced_count;
    // While it is copied.
    struct collect *collect;
    uint32_t shard;
};

static enum mf_err see_record(void *arg, const struct mf_record *record)
{
    struct section *section = arg;
    section->sightings[section->count] =
        (struct sighting){.hash = {mf_hash64(record->key, section->seeds[0]),
                                   mf_hash64(record->key, section->seeds[1])},
                          .index = section->count};
    section->count += 1;
    return MF_OK;
}

static int compare_sightings(const void *left, const void *right)
{
    const struct sighting *a = left;
    const struct sighting *b = right;
    if (a->hash[0] != b->hash[0])
        return a->hash[0] < b->hash[0] ? -1 : 1;
    if (a->hash[1] != b->hash[1])
        return a->hash[1] < b->hash[1] ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

static bool same_key(const struct sighting *a, const struct sighting *b)
{
    return a->hash[0] == b->hash[0] && a->hash[1] == b->hash[1];
}

// Reads section i and marks what repeats; the caller frees the marks.
static enum mf_err find_repeated(struct collect *collect, struct mf_snapshot_reader *reader,
                                 uint32_t i, struct section *section)
{
    uint64_t keys = mf_snapshot_section(reader, i)->meta.keys;
    section->count = 0;
    section->replaced_count = 0;
    section->sightings = calloc(keys + 1, sizeof(*section->sightings));
    section->replaced = calloc(keys + 1, 1);
    if (section->sightings == NULL || section->replaced == NULL) {
        free(section->sightings);
        return mf_snapshot_fail(MF_OUT_OF_MEMORY, collect->why, sizeof(collect->why),
                                "no memory to look for keys that repeat");
    }
    enum mf_err err =
        mf_snapshot_read(reader, i, see_record, section, collect->why, sizeof(collect->why));
    struct sighting *seen = section->sightings;
    qsort(seen, section->count, sizeof(*seen), compare_sightings);
    for (uint64_t n = 0; n + 1 < section->count; n++) {
        if (!same_key(&seen[n], &seen[n + 1]))
            continue;
        section->replaced[seen[n].index] = 1;
        section->replaced_count += 1;
    }
    free(section->sightings);
    section->sightings = NULL;
    return err;
}

static enum mf_err copy_record(void *arg, const struct mf_record *record)
{
    struct section *section = arg;
    if (section->replaced[section->count++] != 0)
        return MF_OK;
    return mf_snapshot_put(section->collect->writer, section->shard, record);
}

static enum mf_err copy_section(struct collect *collect, struct mf_snapshot_reader *reader,
                                uint32_t i, struct section *section)
{
    struct mf_shard_meta meta = mf_snapshot_section(reader, i)->meta;
    meta.keys -= section->replaced_count;
    section->count = 0;
    section->collect = collect;
    section->shard = mf_snapshot_section(reader, i)->shard;
    enum mf_err err = begin(collect, section->shard, &meta);
    if (err == MF_OK)
        err = mf_snapshot_read(reader, i, copy_record, section, collect->why, sizeof(collect->why));
    if (err == MF_OK)
        err = mf_snapshot_end_shard(collect->writer, section->shard);
    return fail(collect, err);
}

// Counts what repeats, or, when `copying`, writes the file without it.
static enum mf_err go_through(struct collect *collect, struct mf_snapshot_reader *reader,
                              const uint64_t seeds[2], bool copying)
{
    enum mf_err err = MF_OK;
    struct progress progress;
    progress_start(&progress,
                   copying ? "writing without repeated keys" : "looking for repeated keys",
                   COLLECT_SHARDS, false);
    progress.unit = "shards";
    for (uint32_t i = 0; i < COLLECT_SHARDS && err == MF_OK; i++) {
        struct section section = {.seeds = {seeds[0], seeds[1]}};
        err = find_repeated(collect, reader, i, &section);
        if (err == MF_OK && copying)
            err = copy_section(collect, reader, i, &section);
        else if (err == MF_OK)
            collect->repeated += section.replaced_count;
        free(section.replaced);
        progress_add(&progress, 1);
    }
    progress_end(&progress);
    return err;
}

static enum mf_err write_without_repeated(struct collect *collect,
                                          struct mf_snapshot_reader *reader,
                                          const uint64_t seeds[2],
                                          struct mf_snapshot_totals *totals)
{
    enum mf_err err = create(collect, collect->path);
    if (err == MF_OK)
        err = go_through(collect, reader, seeds, true);
    if (err != MF_OK)
        return err;
    struct mf_snapshot_writer *writer = collect->writer;
    collect->writer = NULL;
    return mf_snapshot_commit(writer, totals, collect->why, sizeof(collect->why));
}

static enum mf_err take_part(struct collect *collect)
{
    bool renamed = rename(collect->part, collect->path) == 0;
    collect->part_exists = !renamed;
    if (renamed && outfile_sync_folder_of(collect->path))
        return MF_OK;
    return mf_snapshot_fail(MF_IO, collect->why, sizeof(collect->why), "%s %s: %s",
                            renamed ? "syncing the folder of" : "renaming to", collect->path,
                            strerrordesc_np(errno));
}

enum mf_err collect_commit(struct collect *collect, struct mf_snapshot_totals *totals)
{
    struct mf_snapshot_reader *reader = NULL;
    uint64_t seeds[2];
    enum mf_err err = commit_part(collect, totals);
    if (err == MF_OK && getrandom(seeds, sizeof(seeds), 0) != (ssize_t)sizeof(seeds))
        err = mf_snapshot_fail(MF_IO, collect->why, sizeof(collect->why),
                               "the system gives no random numbers");
    if (err == MF_OK)
        err = mf_snapshot_open(collect->part, &reader, collect->why, sizeof(collect->why));
    if (err == MF_OK)
        err = go_through(collect, reader, seeds, false);
    if (err == MF_OK && collect->repeated > 0)
        err = write_without_repeated(collect, reader, seeds, totals);
    else if (err == MF_OK)
        err = take_part(collect);
    mf_snapshot_close(reader);
    collect_abort(collect);
    return err;
}

void collect_abort(struct collect *collect)
{
    if (collect->writer != NULL)
        mf_snapshot_abort(collect->writer);
    collect->writer = NULL;
    if (collect->part_exists)
        (void)unlink(collect->part);
    collect->part_exists = false;
    free(collect->part);
    collect->part = NULL;
    interrupt_release();
}
