// The map's readers, and the memory they hold the writer off from; see map.h and map_bucket.h.
//
// A removed entry, an unlinked bucket, a dropped segment may still be under a reader's eyes.
// Concurrency Kit's epochs tell when it cannot be any more (Fraser, Practical Lock-Freedom, 2004).
// Addresses are gathered in blocks, so a removal costs one store; a block is handed to the epoch
// when it is full or when its owner asks for it, which only delays it.
//
// Shared between threads: the epoch, and each reader's record with it.
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "shards/map_internal.h"

#ifdef MF_TSAN
#include <sanitizer/tsan_interface.h>
#endif

struct mf_map_reader {
    ck_epoch_record_t record;
    struct mf_map *map;
};

// The sanitizer does not see ck's fences, which are assembly: what a reader did before it left is
// told to happen before what is freed after.
static void note_left(struct mf_map *map)
{
#ifdef MF_TSAN
    __tsan_release(&map->epoch);
#else
    (void)map;
#endif
}

static void note_all_left(struct mf_map *map)
{
#ifdef MF_TSAN
    __tsan_acquire(&map->epoch);
#else
    (void)map;
#endif
}

static void free_items(struct mf_limbo *limbo)
{
    for (size_t i = 0; i < limbo->count; i++) {
        uintptr_t item = limbo->items[i];
        if ((item & 1) != 0) {
            free((void *)(item - 1));
            continue;
        }
        struct mf_entry *entry = (struct mf_entry *)item;
        limbo->map->waiting_bytes -= mf_entry_bytes(entry);
        mf_entry_free(entry);
    }
    limbo->count = 0;
}

static void free_limbo(ck_epoch_entry_t *epoch)
{
    struct mf_limbo *limbo = (struct mf_limbo *)epoch;
    struct mf_map *map = limbo->map;
    note_all_left(map);
    free_items(limbo);
    if (map->spare == NULL)
        map->spare = limbo;
    else
        free(limbo);
}

static void hand_over(struct mf_map *map)
{
    ck_epoch_call(&map->record, &map->limbo->epoch, free_limbo);
    map->limbo = NULL;
}

static void retire(struct mf_map *map, uintptr_t item)
{
    if (map->limbo == NULL) {
        map->limbo = map->spare != NULL ? map->spare : mf_alloc(sizeof(*map->limbo));
        map->limbo->map = map;
        map->limbo->count = 0;
        map->spare = NULL;
    }
    map->limbo->items[map->limbo->count++] = item;
    if (map->limbo->count == MF_LIMBO_ITEMS)
        hand_over(map);
}

void mf_map_retire_entry(struct mf_map *map, struct mf_entry *entry)
{
    size_t bytes = mf_entry_bytes(entry);
    map->entry_bytes -= bytes;
    map->waiting_bytes += bytes;
    retire(map, (uintptr_t)entry);
}

void mf_map_retire_waiting(struct mf_map *map, struct mf_entry *entry)
{
    retire(map, (uintptr_t)entry);
}

void mf_map_retire_memory(struct mf_map *map, void *memory)
{
    retire(map, (uintptr_t)memory + 1);
}

void mf_map_unshare(struct mf_map *map)
{
    map->unshared = true;
}

void mf_map_release(struct mf_map *map)
{
    if (map->unshared && map->limbo != NULL)
        free_items(map->limbo);
}

void mf_map_poll(struct mf_map *map)
{
    mf_map_release(map);
    if (map->limbo != NULL && map->limbo->count > 0)
        hand_over(map);
    if (map->record.n_pending > 0)
        ck_epoch_poll(&map->record);
}

void mf_map_reclaim_all(struct mf_map *map)
{
    mf_map_release(map);
    if (map->limbo != NULL)
        hand_over(map);
    ck_epoch_barrier(&map->record);
    free(map->spare);
    ck_stack_entry_t *cursor = map->epoch.records.head;
    while (cursor != NULL) {
        // The link is the record's first member, and the record the reader's.
        ck_stack_entry_t *next = cursor->next;
        if ((void *)cursor != (void *)&map->record)
            free(cursor);
        cursor = next;
    }
}

struct mf_map_reader *mf_map_reader_new(struct mf_map *map)
{
    ck_epoch_record_t *record = ck_epoch_recycle(&map->epoch, NULL);
    if (record == NULL) {
        struct mf_map_reader *fresh = aligned_alloc(_Alignof(struct mf_map_reader), sizeof(*fresh));
        if (fresh == NULL) {
            fprintf(stderr, "mayfly: out of memory (a map's reader)\n");
            abort();
        }
        fresh->map = map;
        ck_epoch_register(&map->epoch, &fresh->record, NULL);
        record = &fresh->record;
    }
    note_all_left(map); // a record taken over: what the last reader did with it came before
    return (struct mf_map_reader *)record;
}

// A record cannot leave the epoch: the next reader takes it over, and the map frees it.
void mf_map_reader_free(struct mf_map_reader *reader)
{
    if (reader == NULL)
        return;
    note_left(reader->map);
    ck_epoch_unregister(&reader->record);
}

void mf_map_reader_prefetch(const struct mf_map_reader *reader)
{
    __builtin_prefetch(&reader->record, 1);
    __builtin_prefetch(&reader->map);
}

void mf_map_read_begin(struct mf_map_reader *reader)
{
    ck_epoch_begin(&reader->record, NULL);
}

void mf_map_read_end(struct mf_map_reader *reader)
{
    note_left(reader->map);
    ck_epoch_end(&reader->record, NULL);
}

// The head of a chain in the table as it is just now, or NULL where the table shrank meanwhile.
static struct mf_bucket *find_bucket(struct mf_map *map, uint64_t hash)
{
    uint64_t buckets = atomic_load_explicit(&map->buckets, memory_order_acquire);
    uint64_t index = mf_map_index(hash, buckets);
    size_t segment = mf_map_segment(index);
    struct mf_directory *directory = atomic_load_explicit(&map->directory, memory_order_acquire);
    if (segment >= directory->cap)
        return NULL;
    struct mf_bucket *first =
        atomic_load_explicit(&directory->segments[segment], memory_order_acquire);
    return first != NULL ? first + mf_map_offset(index) : NULL;
}

// The last slot is loaded once: as an entry and, again, as the link it would be two different
// things when the bucket behind it is folded into it in between, and what moved would be in
// neither.
static const struct mf_entry *search(struct mf_bucket *bucket, struct mf_bytes key, uint8_t tag,
                                     uint16_t age)
{
    const unsigned end = MF_BUCKET_SLOTS - 1;
    while (bucket != NULL) {
        uint64_t word = atomic_load_explicit(&bucket->word, memory_order_acquire);
        uintptr_t last = atomic_load_explicit(&bucket->slots[end], memory_order_acquire);
        unsigned match = mf_bucket_match(word, tag);
        for (; match != 0; match &= match - 1) {
            unsigned i = (unsigned)__builtin_ctz(match);
            uintptr_t slot = atomic_load_explicit(&bucket->slots[i], memory_order_acquire);
            slot = i == end ? last : slot; // no branch: nobody could guess it
            if (slot == 0 || mf_slot_is_link(slot))
                continue;
            const struct mf_entry *entry = mf_slot_entry(slot);
            if (!mf_bytes_equal(mf_entry_key(entry), key))
                continue;
            if (age != 0)
                mf_slot_touch(&bucket->slots[i], slot, age);
            return entry;
        }
        bucket = mf_slot_is_link(last) ? mf_slot_bucket(last) : NULL;
    }
    return NULL;
}

const struct mf_entry *mf_map_read(struct mf_map_reader *reader, struct mf_bytes key)
{
    struct mf_map *map = reader->map;
    uint64_t hash = mf_map_hash(map, key);
    // Pairs with the release in map_bucket.c: from a count on, all places filled before it show.
    uint64_t moves = atomic_load_explicit(&map->chains.moves, memory_order_acquire);
    // Relaxed: an age that is a little old does.
    uint16_t age = atomic_load_explicit(&map->age, memory_order_relaxed);
    for (;;) {
        const struct mf_entry *entry = search(find_bucket(map, hash), key, mf_map_tag(hash), age);
        if (entry != NULL)
            return entry;
        uint64_t moves_now = atomic_load_explicit(&map->chains.moves, memory_order_acquire);
        if (moves_now == moves)
            return NULL;
        moves = moves_now;
    }
}

struct mf_map_ahead mf_map_read_prefetch_bucket(struct mf_map_reader *reader, struct mf_bytes key)
{
    uint64_t hash = mf_hash64(key, reader->map->seed);
    const struct mf_bucket *bucket = find_bucket(reader->map, hash);
    __builtin_prefetch(bucket);
    return (struct mf_map_ahead){.bucket = bucket, .tag = mf_map_tag(hash)};
}

// One step: to the entries of this tag, or, where the bucket has none, to the next of its chain.
// False: that was the last. With the last slot it is as in search; what is no entry any more
// fetches what nobody asked for.
static bool go_on(struct mf_map_ahead *key)
{
    const unsigned end = MF_BUCKET_SLOTS - 1;
    const struct mf_bucket *bucket = key->bucket;
    uint64_t word = atomic_load_explicit(&bucket->word, memory_order_acquire);
    unsigned match = mf_bucket_match(word, key->tag);
    for (unsigned left = match; left != 0; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctz(left);
        uintptr_t slot = atomic_load_explicit(&bucket->slots[i], memory_order_relaxed);
        __builtin_prefetch(mf_slot_entry(slot));
    }
    uintptr_t last = atomic_load_explicit(&bucket->slots[end], memory_order_acquire);
    if (match != 0 || !mf_slot_is_link(last))
        return false;
    key->bucket = mf_slot_bucket(last);
    __builtin_prefetch(key->bucket);
    return true;
}

void mf_map_prefetch_entries(struct mf_map_ahead *keys, size_t count)
{
    while (count > 0) {
        size_t left = 0;
        for (size_t i = 0; i < count; i++) {
            if (keys[i].bucket != NULL && go_on(&keys[i]))
                keys[left++] = keys[i];
        }
        count = left;
    }
}
