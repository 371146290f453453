// Snapshots without a fork, and loading them.
//
// Every entry has a parity bit. A walk begins by flipping the shard's: now every entry that is
// there has the other parity, which means "not written yet", and entries made from now on are born
// with the shard's. The walk goes through the map in small steps, hands out each entry that has the
// other parity and flips it; an entry that is about to be changed or taken out is handed out first.
// So each record of the cut comes exactly once, and memory grows by nothing but what the sink
// keeps.
//
// A flush hands the walk the table with all its keys (flush.c): the walk goes through that one
// instead of the map, from its start, where those that it has seen have the shard's parity. In the
// map that the shard goes on with there is nothing for it.
//
// At a walk's end all parities are equal. One that is ended early leaves both behind; it goes on
// without a sink in steps of mf_shard_reclaim, and a new walk finishes it first.
#include <assert.h>

#include "shards/shard_internal.h"

#define SETTLE_RECORDS 256

void mf_walk_save(struct mf_shard *shard, struct mf_entry *entry)
{
    struct mf_walk *walk = &shard->walk;
    if (mf_entry_parity(entry) == walk->parity)
        return;
    mf_entry_set_parity(entry, walk->parity);
    if (walk->sink != NULL) {
        struct mf_record record = mf_entry_record(entry);
        walk->sink(walk->arg, &record);
    }
}

static void save_visited(void *arg, struct mf_entry *entry)
{
    mf_walk_save(arg, entry);
}

// The map may not shrink under a walk: what it pours into a bucket already passed would be missed.
static void hold_shrink(struct mf_shard *shard, bool hold)
{
    mf_map_hold_shrink(shard->keys, hold);
    mf_map_hold_shrink(shard->ids, hold);
}

// The keys are done.
static void go_to_ids(struct mf_shard *shard)
{
    shard->walk.phase = MF_WALK_IDS;
    shard->walk.cursor = 0;
    mf_map_hold_shrink(shard->keys, false);
}

static void put_shed_away(struct mf_shard *shard)
{
    mf_shed_put(shard, shard->walk.shed);
    shard->walk.shed = NULL;
    go_to_ids(shard);
}

bool mf_walk_take(struct mf_shard *shard, struct mf_shed *shed)
{
    struct mf_walk *walk = &shard->walk;
    if (walk->phase != MF_WALK_KEYS || walk->shed != NULL)
        return false;
    if (walk->sink == NULL) {
        go_to_ids(shard); // with the keys went what was to be set right
        return false;
    }
    walk->shed = shed;
    mf_map_hold_shrink(shard->keys, false);
    return true;
}

void mf_walk_anew(struct mf_shard *shard)
{
    if (shard->walk.phase == MF_WALK_KEYS)
        shard->walk.cursor = 0;
}

static void step_in_shed(struct mf_shard *shard, size_t records)
{
    struct mf_shed *shed = shard->walk.shed;
    if (mf_map_drain(shard->keys, shed->table, &records, save_visited, shard))
        return;
    shed->table = NULL;
    put_shed_away(shard);
}

static bool step(struct mf_shard *shard, size_t records)
{
    struct mf_walk *walk = &shard->walk;
    if (walk->phase == MF_WALK_NONE)
        return false;
    if (walk->shed != NULL) {
        step_in_shed(shard, records);
        return true;
    }
    struct mf_map *map = walk->phase == MF_WALK_KEYS ? shard->keys : shard->ids;
    walk->cursor = mf_map_walk(map, walk->cursor, records, save_visited, shard);
    if (walk->cursor != 0)
        return true;
    if (walk->phase == MF_WALK_KEYS) {
        go_to_ids(shard);
        return true;
    }
    walk->phase = MF_WALK_NONE;
    walk->sink = NULL;
    hold_shrink(shard, false);
    return false;
}

// Goes on with a walk that was ended early; false when there is none.
static bool settle(struct mf_shard *shard, size_t records)
{
    return shard->walk.sink == NULL && step(shard, records);
}

enum mf_err mf_shard_walk_begin(struct mf_shard *shard, struct mf_shard_meta *meta,
                                void (*sink)(void *arg, const struct mf_record *record), void *arg)
{
    struct mf_walk *walk = &shard->walk;
    if (walk->sink != NULL)
        return MF_BUSY;
    while (settle(shard, SIZE_MAX))
        continue;
    mf_shard_meta(shard, meta);
    *walk = (struct mf_walk){
        .phase = MF_WALK_KEYS,
        .parity = !walk->parity,
        .sink = sink,
        .arg = arg,
    };
    hold_shrink(shard, true);
    return MF_OK;
}

bool mf_shard_walk_step(struct mf_shard *shard, size_t records)
{
    return shard->walk.sink != NULL && step(shard, records);
}

bool mf_shard_walking(const struct mf_shard *shard)
{
    return shard->walk.sink != NULL;
}

void mf_shard_walk_end(struct mf_shard *shard)
{
    shard->walk.sink = NULL;
    if (shard->walk.shed != NULL)
        put_shed_away(shard);
}

bool mf_shard_walk_settle(struct mf_shard *shard)
{
    return !settle(shard, SETTLE_RECORDS);
}

void mf_shard_load_begin(struct mf_shard *shard)
{
    assert(shard->applied == 0 && shard->version == 0);
    assert(mf_map_count(shard->keys) == 0 && mf_map_count(shard->ids) == 0);
    shard->loaded_version_max = 0;
}

void mf_shard_load_seed(struct mf_shard *shard, uint64_t hash_seed)
{
    if (hash_seed == 0 || hash_seed == shard->hash_seed)
        return;
    shard->hash_seed = hash_seed;
    mf_map_reseed(shard->keys, hash_seed);
}

enum mf_err mf_shard_load(struct mf_shard *shard, const struct mf_record *record)
{
    struct mf_map *map = record->is_id ? shard->ids : shard->keys;
    if (record->version == 0 || mf_map_find(map, record->key) != NULL)
        return MF_CORRUPT;
    if (record->is_id && (record->deadline_us == MF_NO_DEADLINE || record->key.len > MF_ID_MAX))
        return MF_CORRUPT;
    if (record->version > shard->loaded_version_max)
        shard->loaded_version_max = record->version;
    struct mf_entry *entry = mf_entry_new(record, shard->walk.parity);
    mf_shard_note_length(shard, entry);
    mf_map_insert(map, entry);
    if (mf_entry_node(entry) != NULL)
        mf_heap_push(record->is_id ? &shard->id_heap : &shard->heap, mf_entry_node(entry));
    return MF_OK;
}

enum mf_err mf_shard_load_end(struct mf_shard *shard, const struct mf_shard_meta *meta)
{
    if (mf_map_count(shard->keys) != meta->keys || mf_map_count(shard->ids) != meta->ids ||
        shard->loaded_version_max > meta->version)
        return MF_CORRUPT;
    mf_shard_load_seed(shard, meta->hash_seed);
    shard->applied = meta->applied;
    shard->log_time_us = meta->log_time_us;
    // Relaxed: nobody reads a shard that is being loaded.
    atomic_store_explicit(&shard->reached_us, meta->log_time_us, memory_order_relaxed);
    shard->version = meta->version;
    shard->rolling_hash = meta->rolling_hash;
    return MF_OK;
}
