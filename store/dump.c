// The embedded store to a snapshot file and back.
//
// A dump walks one shard after the other in small steps (shards/walk.c) and copies nothing: what a
// step, or a writer ahead of it, hands out are views of entries, which stay in place as long as a
// reader's section is open. Two readers take turns: the next one enters before the records are
// fetched, the last one leaves when they are written. So whatever was handed out since the last
// fetch is still there, and what was replaced before that can be freed.
#include "store/store_internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "snapshot/format.h"
#include "snapshot/reader.h"
#include "snapshot/reshard.h"
#include "snapshot/writer.h"

// Records of one step: what writers of the shard may have to wait for.
#define STEP_RECORDS 256u
#define CLUSTER_NAME "embedded"

struct records {
    struct mf_record *items;
    size_t count;
    size_t cap;
};

struct dump {
    struct mayfly_store *store;
    struct mf_snapshot_writer *writer;
    struct records fresh;   // of the shard, under its lock
    struct records fetched; // this thread's
};

static enum mayfly_err error_of(enum mf_err err)
{
    switch (err) {
    case MF_OK:
        return MAYFLY_OK;
    case MF_IO:
        return MAYFLY_ERR_IO;
    case MF_CORRUPT:
        return MAYFLY_ERR_CORRUPT;
    case MF_BUSY:
        return MAYFLY_ERR_BUSY;
    case MF_OUT_OF_MEMORY:
        return MAYFLY_ERR_OUT_OF_MEMORY;
    default:
        return MAYFLY_ERR_INTERNAL;
    }
}

static void keep_record(void *arg, const struct mf_record *record)
{
    struct records *records = arg;
    if (records->count == records->cap) {
        records->cap = records->cap > 0 ? records->cap * 2 : STEP_RECORDS;
        records->items = mf_realloc(records->items, records->cap * sizeof(records->items[0]));
    }
    records->items[records->count++] = *record;
}

// Begins the shard's section with a cut at this moment, by both clocks.
static enum mf_err begin_cut(struct dump *dump, uint32_t shard)
{
    struct mayfly_store *store = dump->store;
    struct mf_shard *state = store->shards[shard].state;
    struct mf_shard_meta meta;
    // An entry brings the shard's log time to now.
    struct mf_command command = {.op = MF_OP_EXPIRE_DUE, .limit = STEP_RECORDS};
    uint64_t now_us = mf_store_begin(store, shard);
    mf_store_apply(&store->shards[shard], now_us, &command);
    uint64_t wall_us = store->clock.wall_us();
    enum mf_err err = mf_shard_walk_begin(state, &meta, keep_record, &dump->fresh);
    mf_store_end(store, shard);
    return err != MF_OK ? err : mf_snapshot_begin_shard(dump->writer, shard, &meta, wall_us);
}

// Goes on by a step and fetches what has come together; true while there is more to come.
static bool fetch(struct dump *dump, uint32_t shard)
{
    struct records empty = dump->fetched;
    empty.count = 0;
    mf_store_begin(dump->store, shard);
    bool more = mf_shard_walk_step(dump->store->shards[shard].state, STEP_RECORDS);
    dump->fetched = dump->fresh;
    dump->fresh = empty;
    mf_store_end(dump->store, shard);
    return more;
}

static enum mf_err put_fetched(struct dump *dump, uint32_t shard)
{
    for (size_t i = 0; i < dump->fetched.count; i++) {
        enum mf_err err = mf_snapshot_put(dump->writer, shard, &dump->fetched.items[i]);
        if (err != MF_OK)
            return err;
    }
    return MF_OK;
}

static void end_cut(struct dump *dump, uint32_t shard)
{
    mf_store_begin(dump->store, shard);
    mf_shard_walk_end(dump->store->shards[shard].state);
    mf_store_end(dump->store, shard);
    dump->fresh.count = 0;
}

static enum mf_err dump_shard(struct dump *dump, uint32_t shard)
{
    struct mf_map *map = dump->store->shards[shard].map;
    struct mf_map_reader *readers[2] = {mf_map_reader_new(map), mf_map_reader_new(map)};
    unsigned turn = 0;
    mf_map_read_begin(readers[turn]);
    enum mf_err err = begin_cut(dump, shard);
    for (bool more = true; more && err == MF_OK;) {
        mf_map_read_begin(readers[!turn]);
        more = fetch(dump, shard);
        err = put_fetched(dump, shard);
        mf_map_read_end(readers[turn]);
        turn = !turn;
    }
    end_cut(dump, shard);
    mf_map_read_end(readers[turn]);
    mf_map_reader_free(readers[0]);
    mf_map_reader_free(readers[1]);
    mf_store_free_flushed(dump->store, shard);
    if (atomic_load_explicit(&dump->store->shards[shard].littered, memory_order_relaxed))
        mf_store_tidy(dump->store, shard);
    return err != MF_OK ? err : mf_snapshot_end_shard(dump->writer, shard);
}

static enum mf_err dump_all(struct mayfly_store *store, const char *path, char *message,
                            size_t message_size)
{
    struct mf_snapshot_info info = {
        .cluster = CLUSTER_NAME,
        .shard_count = store->shard_count,
        .created_us = store->clock.wall_us(),
    };
    struct dump dump = {.store = store};
    enum mf_err err = mf_snapshot_create(path, &info, &dump.writer, message, message_size);
    if (err != MF_OK)
        return err;
    for (uint32_t i = 0; i < store->shard_count && err == MF_OK; i++)
        err = dump_shard(&dump, i);
    if (err == MF_OK) {
        err = mf_snapshot_commit(dump.writer, NULL, message, message_size);
    } else {
        snprintf(message, message_size, "%s", mf_snapshot_why(dump.writer));
        mf_snapshot_abort(dump.writer);
    }
    free(dump.fresh.items);
    free(dump.fetched.items);
    return err;
}

enum mayfly_err mayfly_store_dump(struct mayfly_store *store, const char *path, char *message,
                                  size_t message_size)
{
    char none[1];
    if (message == NULL) {
        message = none;
        message_size = sizeof(none);
    }
    if (!mf_store_usable(store))
        return MAYFLY_ERR_FORKED;
    if (pthread_mutex_trylock(&store->dump_lock) != 0) {
        snprintf(message, message_size, "%s: another dump of the store is running", path);
        return MAYFLY_ERR_BUSY;
    }
    enum mf_err err = dump_all(store, path, message, message_size);
    pthread_mutex_unlock(&store->dump_lock);
    return error_of(err);
}

struct load {
    struct mayfly_store *store;
    const struct mf_snapshot_shard *from;
    uint64_t loaded;
    char *message;
    size_t message_size;
};

static enum mf_err load_record(void *arg, const struct mf_record *record)
{
    struct load *load = arg;
    if (record->is_id)
        return MF_OK;
    struct mf_command command = {
        .op = MF_OP_SET,
        .items = &command.one,
        .item_count = 1,
        .one = {.key = record->key, .value = record->value},
    };
    uint64_t wall_us = load->store->clock.wall_us();
    uint64_t deadline_us =
        mf_snapshot_absolute_deadline(record->deadline_us, load->from->meta.log_time_us,
                                      mf_snapshot_wall_us(load->from, wall_us));
    if (deadline_us != MF_NO_DEADLINE) {
        if (deadline_us <= wall_us)
            return MF_OK;
        uint64_t left_us = deadline_us - wall_us;
        command.expiry = MF_EXPIRY_IN;
        command.expire_us = left_us < INT64_MAX ? (int64_t)left_us : INT64_MAX;
    }
    if (!mf_store_has_room(record->key.len + record->value.len))
        return mf_snapshot_fail(MF_OUT_OF_MEMORY, load->message, load->message_size,
                                "no memory for a value of %zu bytes", record->value.len);
    uint32_t shard = mf_store_shard_of(load->store, record->key);
    uint64_t now_us = mf_store_begin(load->store, shard);
    struct mf_result result = mf_store_apply(&load->store->shards[shard], now_us, &command);
    mf_store_end(load->store, shard);
    load->loaded++;
    return result.kind == MF_RESULT_WRITTEN ? MF_OK : MF_INTERNAL;
}

static void skip_versions(struct mayfly_store *store, uint64_t version)
{
    for (uint32_t i = 0; i < store->shard_count; i++) {
        mf_store_begin(store, i);
        mf_shard_skip_versions(store->shards[i].state, version);
        mf_store_end(store, i);
    }
}

static enum mf_err load_all(struct load *load, struct mf_snapshot_reader *reader)
{
    // Reads all of it, and so finds all damage, before anything is set.
    struct mf_snapshot_plan plan;
    enum mf_err err =
        mf_snapshot_make_plan(reader, NULL, load->store->shard_count, MF_SNAPSHOT_ABSOLUTE, &plan,
                              load->message, load->message_size);
    if (err != MF_OK)
        return err;
    skip_versions(load->store, plan.version);
    mf_snapshot_free_plan(&plan);
    struct mf_snapshot_summary summary;
    mf_snapshot_summary(reader, &summary);
    for (uint32_t i = 0; i < summary.shards && err == MF_OK; i++) {
        load->from = mf_snapshot_section(reader, i);
        err = mf_snapshot_read(reader, i, load_record, load, load->message, load->message_size);
    }
    return err;
}

enum mayfly_err mayfly_store_load(struct mayfly_store *store, const char *path, uint64_t *loaded,
                                  char *message, size_t message_size)
{
    char none[1];
    if (message == NULL) {
        message = none;
        message_size = sizeof(none);
    }
    if (!mf_store_usable(store))
        return MAYFLY_ERR_FORKED;
    struct load load = {.store = store, .message = message, .message_size = message_size};
    struct mf_snapshot_reader *reader;
    enum mf_err err = mf_snapshot_open(path, &reader, message, message_size);
    if (err != MF_OK)
        return error_of(err);
    err = load_all(&load, reader);
    mf_snapshot_close(reader);
    if (loaded != NULL)
        *loaded = load.loaded;
    return error_of(err);
}
