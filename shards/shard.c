// A shard's state and the changes it can go through; see shard.h.
//
// What a change must not forget is here, in one place for every command: the version, the heap, the
// snapshot walk, the rolling hash. The rolling hash must come out equal on all replicas, so it uses
// a fixed seed of its own and not the map's secret one, and it is mixed from what a change is known
// by (kind, key, version, deadline, length) rather than from whole values.
#include "shards/shard_internal.h"

#include <stdlib.h>

#include "base/hash.h"

#define FIXED_SEED UINT64_C(0x6d6179666c79)
// Changes of a txn for which memory is kept.
#define JOURNAL_KEPT_MAX 1024u
// Memory that waits for readers to leave it, and is not worth looking for them yet.
#define TIDY_BYTES 4096u

struct mf_shard *mf_shard_new(uint32_t id, uint64_t hash_seed)
{
    struct mf_shard *shard = mf_calloc(1, sizeof(*shard));
    shard->keys = mf_map_new(hash_seed);
    shard->ids = mf_map_new(hash_seed);
    mf_heap_init(&shard->heap);
    mf_heap_init(&shard->id_heap);
    shard->rolling_hash = mf_hash_mix(FIXED_SEED, id);
    shard->roster_version = 1;
    return shard;
}

void mf_shard_free(struct mf_shard *shard)
{
    if (shard == NULL)
        return;
    mf_shard_walk_end(shard);
    mf_shed_all(shard);
    mf_heap_free(&shard->heap);
    mf_heap_free(&shard->id_heap);
    mf_map_free(shard->keys);
    mf_map_free(shard->ids);
    mf_buf_free(&shard->result);
    free(shard->journal.undos);
    mf_buf_free(&shard->roster);
    free(shard);
}

uint64_t mf_shard_deadline_in(const struct mf_shard *shard, int64_t expire_us)
{
    if (expire_us <= 0)
        return shard->log_time_us;
    uint64_t room_us = MF_NO_DEADLINE - 1 - shard->log_time_us;
    uint64_t ttl_us = (uint64_t)expire_us;
    return shard->log_time_us + (ttl_us < room_us ? ttl_us : room_us);
}

static struct mf_map *map_of(struct mf_shard *shard, bool is_id)
{
    return is_id ? shard->ids : shard->keys;
}

static void mix(struct mf_shard *shard, enum mf_change change, const struct mf_entry *entry,
                uint64_t version)
{
    uint64_t hash = mf_hash_mix(shard->rolling_hash, (uint64_t)change);
    hash = mf_hash_mix(hash, mf_hash64(mf_entry_key(entry), FIXED_SEED));
    hash = mf_hash_mix(hash, mf_entry_value(entry).len);
    hash = mf_hash_mix(hash, mf_entry_deadline(entry));
    shard->rolling_hash = mf_hash_mix(hash, version);
}

static struct mf_heap *heap_of(struct mf_shard *shard, bool is_id)
{
    return is_id ? &shard->id_heap : &shard->heap;
}

// After the change. Within a txn it is told when all of that holds.
static void tell(struct mf_shard *shard, enum mf_change_event event, const struct mf_entry *entry,
                 uint64_t version)
{
    if (shard->listener == NULL || mf_entry_is_id(entry))
        return;
    struct mf_journal *journal = &shard->journal;
    if (journal->open) {
        journal->undos[journal->count - 1].tell = true;
        journal->undos[journal->count - 1].event = event;
        journal->undos[journal->count - 1].version = version;
        return;
    }
    struct mf_event told = {.event = event, .key = mf_entry_key(entry), .version = version};
    if (event == MF_EVENT_SET)
        told.value = mf_entry_value(entry);
    shard->listener(shard->listener_arg, &told);
}

void mf_shard_listen(struct mf_shard *shard, mf_change_listener *listener, void *arg)
{
    shard->listener = listener;
    shard->listener_arg = arg;
}

// Notes a change of a key for a txn that may fail.
static void note_undo(struct mf_shard *shard, struct mf_entry *old, struct mf_entry *fresh)
{
    struct mf_journal *journal = &shard->journal;
    if (!journal->open)
        return;
    if (journal->count == journal->cap) {
        journal->cap = journal->cap == 0 ? 16 : journal->cap * 2;
        journal->undos = mf_realloc(journal->undos, journal->cap * sizeof(*journal->undos));
    }
    journal->undos[journal->count++] = (struct mf_undo){.old = old, .fresh = fresh};
}

// Puts `fresh` into map and heap, in place of `old` if there is one.
static void swap_in(struct mf_shard *shard, struct mf_entry *old, struct mf_entry *fresh)
{
    struct mf_map *map = map_of(shard, mf_entry_is_id(fresh));
    struct mf_heap *heap = heap_of(shard, mf_entry_is_id(fresh));
    struct mf_heap_node *node = mf_entry_node(fresh);
    struct mf_heap_node *old_node = old != NULL ? mf_entry_node(old) : NULL;
    if (old != NULL)
        mf_walk_save(shard, old);
    if (node != NULL && old_node != NULL)
        mf_heap_replace(heap, old_node, node);
    else if (node != NULL)
        mf_heap_push(heap, node);
    else if (old_node != NULL)
        mf_heap_remove(heap, old_node);
    mf_shard_note_length(shard, fresh);
    if (old != NULL)
        mf_map_replace(map, old, fresh);
    else
        mf_map_insert(map, fresh);
    note_undo(shard, old, fresh);
}

// Out of map and heap.
static void take_out(struct mf_shard *shard, struct mf_entry *entry)
{
    mf_walk_save(shard, entry);
    struct mf_heap_node *node = mf_entry_node(entry);
    if (node != NULL)
        mf_heap_remove(heap_of(shard, mf_entry_is_id(entry)), node);
    mf_map_remove(map_of(shard, mf_entry_is_id(entry)), entry);
    note_undo(shard, entry, NULL);
}

static void put_entry(struct mf_shard *shard, struct mf_entry *old, struct mf_entry *fresh)
{
    uint64_t version = mf_entry_version(fresh);
    mix(shard, mf_entry_is_id(fresh) ? MF_CHANGE_REMEMBER : MF_CHANGE_PUT, fresh, version);
    swap_in(shard, old, fresh);
    tell(shard, MF_EVENT_SET, fresh, version);
}

// The value is the record's, with `patch` over it from `at` on.
static uint64_t put(struct mf_shard *shard, struct mf_entry *old, struct mf_record *record,
                    size_t at, struct mf_bytes patch)
{
    record->version = ++shard->version;
    put_entry(shard, old, mf_entry_patched(record, at, patch, shard->walk.parity));
    return record->version;
}

uint64_t mf_shard_put(struct mf_shard *shard, struct mf_entry *old, struct mf_bytes key,
                      struct mf_bytes value, uint64_t deadline_us)
{
    struct mf_record record = {.key = key, .value = value, .deadline_us = deadline_us};
    return put(shard, old, &record, 0, mf_bytes_of(NULL, 0));
}

void mf_shard_put_id(struct mf_shard *shard, struct mf_bytes id, struct mf_bytes result,
                     uint64_t deadline_us)
{
    struct mf_record record = {
        .is_id = true, .key = id, .value = result, .deadline_us = deadline_us};
    put(shard, NULL, &record, 0, mf_bytes_of(NULL, 0));
}

uint64_t mf_shard_put_as(struct mf_shard *shard, struct mf_entry *old, struct mf_bytes key,
                         const struct mf_entry *from)
{
    uint64_t version = ++shard->version;
    put_entry(shard, old,
              mf_entry_renamed(from, key, version, mf_entry_deadline(from), shard->walk.parity));
    return version;
}

uint64_t mf_shard_overwrite(struct mf_shard *shard, struct mf_entry *old, struct mf_bytes key,
                            size_t at, struct mf_bytes patch)
{
    struct mf_record record = {.key = key, .deadline_us = MF_NO_DEADLINE};
    if (old != NULL)
        record = mf_entry_record(old);
    return put(shard, old, &record, at, patch);
}

void mf_shard_retime(struct mf_shard *shard, struct mf_entry *entry, uint64_t deadline_us)
{
    struct mf_entry *fresh =
        mf_entry_retimed(entry, ++shard->version, deadline_us, shard->walk.parity);
    mix(shard, MF_CHANGE_TTL, fresh, shard->version);
    swap_in(shard, entry, fresh);
}

static enum mf_change_event event_of(enum mf_change change)
{
    if (change == MF_CHANGE_EVICT)
        return MF_EVENT_EVICT;
    return change == MF_CHANGE_EXPIRE ? MF_EVENT_EXPIRE : MF_EVENT_DEL;
}

void mf_shard_drop(struct mf_shard *shard, struct mf_entry *entry, enum mf_change change)
{
    if (change == MF_CHANGE_FORGET)
        mix(shard, change, entry, mf_entry_version(entry));
    else
        mix(shard, change, entry, ++shard->version);
    shard->expired += change == MF_CHANGE_EXPIRE;
    shard->evicted += change == MF_CHANGE_EVICT;
    take_out(shard, entry);
    tell(shard, event_of(change), entry, shard->version);
}

void mf_journal_open(struct mf_shard *shard, uint64_t built_bytes_max)
{
    shard->journal.built_bytes_left = built_bytes_max;
    shard->journal.open = true;
    shard->journal.count = 0;
    shard->journal.version = shard->version;
    shard->journal.rolling_hash = shard->rolling_hash;
    shard->journal.expired = shard->expired;
}

static void end_journal(struct mf_journal *journal)
{
    journal->open = false;
    journal->count = 0;
    if (journal->cap <= JOURNAL_KEPT_MAX)
        return;
    free(journal->undos);
    *journal = (struct mf_journal){0};
}

// Entries that the txn itself replaced or dropped are freed after the log entry, at the earliest.
void mf_journal_close(struct mf_shard *shard)
{
    struct mf_journal *journal = &shard->journal;
    journal->open = false;
    for (size_t i = 0; i < journal->count; i++) {
        const struct mf_undo *change = &journal->undos[i];
        if (change->tell)
            tell(shard, change->event, change->fresh != NULL ? change->fresh : change->old,
                 change->version);
    }
    end_journal(journal);
}

// Backwards, each change by its opposite. What stood there before comes back as an entry of its
// own: readers and the heap may be done with the old one.
void mf_journal_undo(struct mf_shard *shard)
{
    struct mf_journal *journal = &shard->journal;
    journal->open = false;
    while (journal->count > 0) {
        const struct mf_undo *undo = &journal->undos[--journal->count];
        struct mf_entry *old = undo->old;
        struct mf_bytes key = mf_entry_key(old != NULL ? old : undo->fresh);
        struct mf_entry *now = undo->fresh != NULL ? mf_map_find(shard->keys, key) : NULL;
        if (old != NULL)
            swap_in(shard, now,
                    mf_entry_retimed(old, mf_entry_version(old), mf_entry_deadline(old),
                                     shard->walk.parity));
        else
            take_out(shard, now);
    }
    shard->version = journal->version;
    shard->rolling_hash = journal->rolling_hash;
    shard->expired = journal->expired;
    end_journal(journal);
}

void mf_shard_seed(struct mf_shard *shard, uint64_t seed)
{
    if (shard->hash_seed != 0 || seed == 0)
        return;
    shard->hash_seed = seed;
    mf_map_reseed(shard->keys, seed);
    mf_walk_anew(shard);
    uint64_t hash = mf_hash_mix(shard->rolling_hash, MF_CHANGE_SEED);
    shard->rolling_hash = mf_hash_mix(hash, seed);
}

bool mf_shard_seeded(const struct mf_shard *shard)
{
    return shard->hash_seed != 0;
}

void mf_shard_skip_versions(struct mf_shard *shard, uint64_t version)
{
    if (shard->version < version)
        shard->version = version;
}

// Both heaps' first nodes are in order, and so is what this merges of them.
uint32_t mf_shard_take_due(struct mf_shard *shard, struct mf_entry **due, uint32_t max)
{
    struct mf_heap_node *keys[MF_DUE_MAX];
    struct mf_heap_node *ids[MF_DUE_MAX];
    max = max < MF_DUE_MAX ? max : MF_DUE_MAX;
    uint32_t key_count = mf_heap_first(&shard->heap, shard->log_time_us, keys, max);
    uint32_t id_count = mf_heap_first(&shard->id_heap, shard->log_time_us, ids, max);
    uint32_t key = 0;
    uint32_t id = 0;
    while (key + id < max && (key < key_count || id < id_count)) {
        bool key_first =
            id == id_count || (key < key_count && mf_heap_node_before(keys[key], ids[id]));
        uint32_t n = key + id;
        due[n] = mf_entry_of_node(key_first ? keys[key++] : ids[id++]);
    }
    mf_heap_remove_first(&shard->heap, keys, key);
    mf_heap_remove_first(&shard->id_heap, ids, id);
    return key + id;
}

uint64_t mf_shard_next_deadline(const struct mf_shard *shard)
{
    const struct mf_heap_node *key = mf_heap_top(&shard->heap);
    const struct mf_heap_node *id = mf_heap_top(&shard->id_heap);
    uint64_t key_us = key != NULL ? mf_heap_node_deadline(key) : MF_NO_DEADLINE;
    uint64_t id_us = id != NULL ? mf_heap_node_deadline(id) : MF_NO_DEADLINE;
    return key_us < id_us ? key_us : id_us;
}

void mf_shard_meta(const struct mf_shard *shard, struct mf_shard_meta *meta)
{
    *meta = (struct mf_shard_meta){
        .applied = shard->applied,
        .log_time_us = shard->log_time_us,
        .version = shard->version,
        .rolling_hash = shard->rolling_hash,
        .hash_seed = shard->hash_seed,
        .keys = mf_map_count(shard->keys),
        .ids = mf_map_count(shard->ids),
    };
}

uint64_t mf_shard_keys(const struct mf_shard *shard)
{
    return mf_map_count(shard->keys);
}

void mf_shard_counters(const struct mf_shard *shard, struct mf_shard_counters *counters)
{
    counters->commands = shard->commands;
    counters->expired = shard->expired;
    counters->evicted = shard->evicted;
    counters->built_bytes = shard->built_bytes;
}

void mf_shard_memory(const struct mf_shard *shard, struct mf_shard_memory *memory)
{
    memory->keys = mf_map_count(shard->keys);
    memory->expiring = shard->heap.count;
    memory->ids = mf_map_count(shard->ids);
    memory->key_bytes = mf_map_entry_bytes(shard->keys);
    memory->table_bytes = mf_map_bytes(shard->keys) - memory->key_bytes;
    memory->heap_bytes = mf_heap_bytes(&shard->heap);
    memory->id_bytes = mf_map_bytes(shard->ids) + mf_heap_bytes(&shard->id_heap);
    memory->waiting_bytes = mf_map_waiting_bytes(shard->keys) + mf_map_waiting_bytes(shard->ids) +
                            shard->shed_heap_bytes;
    memory->bytes = memory->key_bytes + memory->table_bytes + memory->heap_bytes + memory->id_bytes;
}

uint64_t mf_shard_rolling_hash(const struct mf_shard *shard)
{
    return shard->rolling_hash;
}

static void sum_entry(void *arg, struct mf_entry *entry)
{
    uint64_t *sum = arg;
    struct mf_record record = mf_entry_record(entry);
    uint64_t hash = mf_hash_mix(record.is_id, mf_hash64(record.key, FIXED_SEED));
    hash = mf_hash_mix(hash, mf_hash64(record.value, FIXED_SEED));
    hash = mf_hash_mix(hash, record.version);
    *sum += mf_hash_mix(hash, record.deadline_us);
}

uint64_t mf_shard_state_hash(const struct mf_shard *shard)
{
    uint64_t sum = 0;
    mf_map_walk(shard->keys, 0, SIZE_MAX, sum_entry, &sum);
    mf_map_walk(shard->ids, 0, SIZE_MAX, sum_entry, &sum);
    uint64_t hash = mf_hash_mix(sum, shard->applied);
    hash = mf_hash_mix(hash, shard->log_time_us);
    hash = mf_hash_mix(hash, shard->version);
    hash = mf_hash_mix(hash, shard->hash_seed);
    hash = mf_hash_mix(hash, shard->roster_version);
    return mf_hash_mix(hash, shard->rolling_hash);
}

uint64_t mf_shard_roster_version(const struct mf_shard *shard)
{
    return shard->roster_version;
}

struct mf_bytes mf_shard_roster(const struct mf_shard *shard)
{
    return mf_buf_view(&shard->roster);
}

void mf_shard_load_roster(struct mf_shard *shard, uint64_t version, struct mf_bytes roster)
{
    shard->roster_version = version;
    mf_buf_clear(&shard->roster, SIZE_MAX);
    mf_buf_put(&shard->roster, roster.data, roster.len);
}

struct validation {
    const struct mf_shard *shard;
    bool is_id;
    bool valid;
    uint64_t with_ttl[2]; // of keys, of ids
};

static void check_entry(void *arg, struct mf_entry *entry)
{
    struct validation *validation = arg;
    uint64_t version = mf_entry_version(entry);
    bool ttl = mf_entry_node(entry) != NULL;
    validation->with_ttl[validation->is_id] += ttl;
    if (version == 0 || version > validation->shard->version ||
        mf_entry_is_id(entry) != validation->is_id || (validation->is_id && !ttl) ||
        (!validation->is_id && mf_entry_value(entry).len > validation->shard->longest_bytes))
        validation->valid = false;
}

bool mf_shard_valid(const struct mf_shard *shard)
{
    struct validation validation = {.shard = shard, .valid = true};
    mf_map_walk(shard->keys, 0, SIZE_MAX, check_entry, &validation);
    validation.is_id = true;
    mf_map_walk(shard->ids, 0, SIZE_MAX, check_entry, &validation);
    return validation.valid && validation.with_ttl[false] == shard->heap.count &&
           validation.with_ttl[true] == shard->id_heap.count && mf_heap_valid(&shard->heap) &&
           mf_heap_valid(&shard->id_heap) && mf_map_valid(shard->keys) && mf_map_valid(shard->ids);
}

size_t mf_shard_longest_value(const struct mf_shard *shard)
{
    return shard->longest_bytes;
}

struct mf_map *mf_shard_map(struct mf_shard *shard)
{
    return shard->keys;
}

void mf_shard_unshare(struct mf_shard *shard)
{
    mf_map_unshare(shard->keys);
    mf_map_unshare(shard->ids);
}

void mf_shard_prefetch(const struct mf_shard *shard, bool write)
{
    __builtin_prefetch(shard);
    if (!write)
        return;
    __builtin_prefetch(&shard->version, 1);
    __builtin_prefetch(&shard->result, 1);
}

void mf_shard_prefetch_limbo(const struct mf_shard *shard)
{
    mf_map_prefetch_limbo(shard->keys);
}

void mf_shard_prefetch_map(const struct mf_shard *shard, bool write)
{
    (write ? mf_map_prefetch_write : mf_map_prefetch)(shard->keys);
}

struct mf_map_ahead mf_shard_prefetch_place(const struct mf_shard *shard, struct mf_bytes key)
{
    return mf_map_prefetch_bucket(shard->keys, key);
}

void mf_shard_reclaim(struct mf_shard *shard)
{
    (void)mf_shard_walk_settle(shard);
    mf_shed_step(shard);
    mf_map_reclaim(shard->keys);
    mf_map_reclaim(shard->ids);
}

void mf_shard_tidy(struct mf_shard *shard)
{
    size_t waiting = mf_map_waiting_bytes(shard->keys) + mf_map_waiting_bytes(shard->ids);
    if (waiting >= TIDY_BYTES || mf_map_shrinks(shard->keys) || mf_map_shrinks(shard->ids)) {
        mf_shard_reclaim(shard);
        return;
    }
    (void)mf_shard_walk_settle(shard);
    mf_shed_step(shard);
}
