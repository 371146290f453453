// The embedded store's reads, beside its writers and without their locks.
//
// A single key is read from the shard's map, and what a reader may tell is settled by its deadline.
// Alive by the clock: told. Dead by the clock: the writer may not know it yet. It may be about to
// put a new value in the place of the old one, which it found alive a moment ago, and a reader that
// says "gone" before that is seen would say it of a key that never was. So a death is told only
// once the shard's writers cannot act before it: `reached_us`, which every entry raises to its own
// time, has passed the deadline. Where it has not, the reader takes the lock to raise it, and looks
// again. That happens once for a deadline, if at all, since the expiry thread comes at that moment
// too.
#include "store/store_internal.h"

#include <stdlib.h>
#include <string.h>

#include "shards/entry.h"

// A cursor is a shard's number above this many bits, and the upper bits of a position in its map.
#define POSITION_BITS 48u
#define SCAN_COUNT_MAX 65536u

struct lookup {
    struct mf_store_thread *thread;
    uint32_t shard;
    struct mf_map_reader *reader;
    const struct mf_entry *entry; // alive, or NULL
    int64_t ttl_ms;
};

// Raises the time from which the shard's writers act to now, which is past the deadline.
static uint64_t reach(struct mayfly_store *store, uint32_t shard, uint64_t deadline_us)
{
    // Acquire, pairs with the release in mf_store_begin.
    uint64_t reached_us =
        atomic_load_explicit(&store->shards[shard].reached_us, memory_order_acquire);
    if (reached_us >= deadline_us)
        return reached_us;
    reached_us = mf_store_begin(store, shard);
    mf_store_end(store, shard);
    return reached_us;
}

// Milliseconds left, rounded up.
static int64_t ttl_ms_of(uint64_t deadline_us, uint64_t now_us)
{
    uint64_t left_us = deadline_us - now_us;
    return (int64_t)(left_us / 1000 + (left_us % 1000 != 0));
}

// The live entry of the key, inside of the reader's section.
static void find(struct mayfly_store *store, struct lookup *lookup, struct mf_bytes key)
{
    uint64_t reached_us = 0;
    lookup->ttl_ms = -1;
    for (;;) {
        lookup->entry = mf_map_read(lookup->reader, key);
        if (lookup->entry == NULL)
            return;
        uint64_t deadline_us = mf_entry_deadline(lookup->entry);
        if (deadline_us == MF_NO_DEADLINE)
            return;
        if (deadline_us <= reached_us) {
            lookup->entry = NULL;
            return;
        }
        uint64_t now_us = store->clock.mono_us();
        if (deadline_us > now_us) {
            lookup->ttl_ms = ttl_ms_of(deadline_us, now_us);
            return;
        }
        reached_us = reach(store, lookup->shard, deadline_us);
    }
}

static void leave(struct mayfly_store *store, const struct lookup *lookup)
{
    mf_map_read_end(lookup->reader);
    // Relaxed: a hint, see mf_store_tidy.
    if (atomic_load_explicit(&store->shards[lookup->shard].littered, memory_order_relaxed))
        mf_store_tidy(store, lookup->shard);
}

// Enters the key's shard and looks the key up; on MAYFLY_OK the caller leaves.
static enum mayfly_err enter(struct mayfly_store *store, struct mayfly_bytes key,
                             struct lookup *lookup)
{
    if (!mf_store_usable(store))
        return MAYFLY_ERR_FORKED;
    enum mayfly_err err = mf_store_check_key(key);
    if (err != MAYFLY_OK)
        return err;
    lookup->thread = mf_store_thread(store);
    if (lookup->thread == NULL)
        return MAYFLY_ERR_OUT_OF_MEMORY;
    struct mf_bytes bytes = mf_store_bytes(key);
    lookup->shard = mf_store_shard_of(store, bytes);
    lookup->reader = mf_store_reader(lookup->thread, lookup->shard);
    mf_map_read_begin(lookup->reader);
    find(store, lookup, bytes);
    return MAYFLY_OK;
}

static void add_held(struct mf_store_thread *thread, uint64_t change)
{
    // Relaxed: nobody else stores, and close only looks when nothing runs.
    uint64_t held = atomic_load_explicit(&thread->held, memory_order_relaxed);
    atomic_store_explicit(&thread->held, held + change, memory_order_relaxed);
}

enum mayfly_err mayfly_store_get(struct mayfly_store *store, struct mayfly_bytes key,
                                 struct mayfly_store_value *out)
{
    struct lookup lookup;
    *out = (struct mayfly_store_value){.ttl_ms = -1};
    enum mayfly_err err = enter(store, key, &lookup);
    if (err != MAYFLY_OK)
        return err;
    if (lookup.entry == NULL) {
        leave(store, &lookup);
        return MAYFLY_OK;
    }
    add_held(lookup.thread, 1);
    *out = (struct mayfly_store_value){
        .found = true,
        .value = mf_store_view(mf_entry_value(lookup.entry)),
        .version = mf_entry_version(lookup.entry),
        .ttl_ms = lookup.ttl_ms,
        .holder = lookup.thread,
        .shard = lookup.shard,
    };
    return MAYFLY_OK;
}

enum mayfly_err mayfly_store_release(struct mayfly_store *store, struct mayfly_store_value *value)
{
    if (value->holder == NULL)
        return MAYFLY_OK;
    if (!mf_store_usable(store))
        return MAYFLY_ERR_FORKED;
    struct mf_store_thread *thread = pthread_getspecific(store->key);
    if (thread == NULL || value->holder != thread)
        return MAYFLY_ERR_BAD_REQUEST;
    struct lookup lookup = {.shard = value->shard, .reader = thread->readers[value->shard]};
    add_held(thread, UINT64_MAX);
    *value = (struct mayfly_store_value){.ttl_ms = -1};
    leave(store, &lookup);
    return MAYFLY_OK;
}

enum mayfly_err mayfly_store_copy(struct mayfly_store *store, struct mayfly_bytes key, void *buffer,
                                  size_t size, struct mayfly_entry *out)
{
    struct lookup lookup;
    enum mayfly_err err = enter(store, key, &lookup);
    if (err != MAYFLY_OK)
        return err;
    *out = (struct mayfly_entry){.ttl_ms = -1};
    if (lookup.entry != NULL) {
        struct mf_bytes value = mf_entry_value(lookup.entry);
        bool fits = value.len <= size;
        *out = (struct mayfly_entry){
            .found = true,
            .value = {fits ? buffer : NULL, value.len},
            .version = mf_entry_version(lookup.entry),
            .ttl_ms = lookup.ttl_ms,
        };
        if (!fits)
            err = MAYFLY_ERR_TOO_LARGE;
        else if (value.len > 0)
            memcpy(buffer, value.data, value.len);
    }
    leave(store, &lookup);
    return err;
}

enum mayfly_err mayfly_store_has(struct mayfly_store *store, const struct mayfly_bytes *keys,
                                 size_t count, bool *out)
{
    if (!mf_store_usable(store))
        return MAYFLY_ERR_FORKED;
    for (size_t i = 0; i < count; i++) {
        struct lookup lookup;
        enum mayfly_err err = enter(store, keys[i], &lookup);
        if (err != MAYFLY_OK)
            return err;
        out[i] = lookup.entry != NULL;
        leave(store, &lookup);
    }
    return MAYFLY_OK;
}

enum mayfly_err mayfly_store_ttl(struct mayfly_store *store, struct mayfly_bytes key,
                                 int64_t *ttl_ms)
{
    struct lookup lookup;
    enum mayfly_err err = enter(store, key, &lookup);
    if (err != MAYFLY_OK)
        return err;
    *ttl_ms = lookup.entry != NULL ? lookup.ttl_ms : -2;
    leave(store, &lookup);
    return MAYFLY_OK;
}

enum mayfly_err mayfly_store_size(struct mayfly_store *store, uint64_t *keys)
{
    if (!mf_store_usable(store))
        return MAYFLY_ERR_FORKED;
    uint64_t sum = 0;
    struct mf_buf out = {0};
    enum mayfly_err err = MAYFLY_OK;
    for (uint32_t i = 0; i < store->shard_count && err == MAYFLY_OK; i++) {
        struct mf_command command = {.op = MF_OP_SIZE, .flags = MF_READ_LOCAL};
        struct mf_result result = {.kind = MF_RESULT_NIL};
        mf_buf_clear(&out, SIZE_MAX);
        uint64_t now_us = mf_store_begin(store, i);
        enum mf_err read = mf_shard_read(store->shards[i].state, &command, now_us, &out);
        mf_store_end(store, i);
        struct mf_reader reader = mf_reader_of(mf_buf_view(&out));
        if (read != MF_OK || mf_result_decode(&reader, &result) != MF_OK)
            err = MAYFLY_ERR_INTERNAL;
        sum += (uint64_t)result.integer;
    }
    mf_buf_free(&out);
    if (err == MAYFLY_OK)
        *keys = sum;
    return err;
}

// The entries that a step of a scan has come upon, which stay in place inside of a reader's
// section.
struct found {
    const struct mf_entry **entries;
    size_t count;
    size_t cap;
    uint64_t now_us;
};

static void gather(void *arg, struct mf_entry *entry)
{
    struct found *found = arg;
    if (mf_entry_deadline(entry) <= found->now_us)
        return;
    if (found->count == found->cap) {
        found->cap = found->cap > 0 ? found->cap * 2 : 64;
        found->entries = mf_realloc(found->entries, found->cap * sizeof(found->entries[0]));
    }
    found->entries[found->count++] = entry;
}

static void show(const struct found *found, mayfly_store_visit *visit, void *cookie)
{
    for (size_t i = 0; i < found->count; i++) {
        const struct mf_entry *entry = found->entries[i];
        uint64_t deadline_us = mf_entry_deadline(entry);
        bool ttl = deadline_us != MF_NO_DEADLINE;
        visit(cookie, mf_store_view(mf_entry_key(entry)), mf_store_view(mf_entry_value(entry)),
              mf_entry_version(entry), ttl ? ttl_ms_of(deadline_us, found->now_us) : -1);
    }
}

// Positions grow by no less than a bucket's part of the line, which no table is large enough to
// make smaller than what the cursor leaves out.
static uint64_t cursor_of(uint32_t shard, uint64_t position)
{
    return (uint64_t)shard << POSITION_BITS | position >> (64u - POSITION_BITS);
}

// One step in one shard; returns the position to go on from, 0 at the shard's end.
static uint64_t scan_shard(struct mayfly_store *store, const struct lookup *lookup,
                           uint64_t position, size_t count, struct found *found)
{
    found->now_us = mf_store_begin(store, lookup->shard);
    position = mf_map_scan(store->shards[lookup->shard].map, position, count, gather, found);
    mf_store_end(store, lookup->shard);
    return position;
}

enum mayfly_err mayfly_store_scan(struct mayfly_store *store, uint64_t *cursor, size_t count,
                                  mayfly_store_visit *visit, void *cookie)
{
    if (!mf_store_usable(store))
        return MAYFLY_ERR_FORKED;
    uint64_t number = *cursor >> POSITION_BITS;
    uint64_t position = *cursor << (64u - POSITION_BITS);
    if (count == 0 || number >= store->shard_count)
        return MAYFLY_ERR_BAD_REQUEST;
    struct lookup lookup = {.thread = mf_store_thread(store), .shard = (uint32_t)number};
    if (lookup.thread == NULL)
        return MAYFLY_ERR_OUT_OF_MEMORY;
    struct found found = {0};
    size_t wanted = count < SCAN_COUNT_MAX ? count : SCAN_COUNT_MAX;
    while (wanted > 0 && lookup.shard < store->shard_count) {
        lookup.reader = mf_store_reader(lookup.thread, lookup.shard);
        mf_map_read_begin(lookup.reader);
        position = scan_shard(store, &lookup, position, wanted, &found);
        show(&found, visit, cookie);
        leave(store, &lookup);
        wanted -= found.count < wanted ? found.count : wanted;
        found.count = 0;
        lookup.shard += position == 0;
    }
    free(found.entries);
    *cursor = lookup.shard < store->shard_count ? cursor_of(lookup.shard, position) : 0;
    return MAYFLY_OK;
}
