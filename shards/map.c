// The concurrent map's table and its writer; see map.h, and map_bucket.h for what readers may see.
//
// Linear hashing (Litwin 1980): bucket n is filled from its parent when the table grows from n to
// n + 1 buckets, and poured back when it shrinks. As with every move, the entries are put in their
// new bucket first, then the number of buckets is published and the moves are counted, and only
// then the old bucket is cleared.
#include "shards/map.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "shards/map_internal.h"

// Entries per bucket, in halves: above the one the table grows, below the other it shrinks.
#define GROW_ABOVE_HALVES 13u
#define SHRINK_BELOW_HALVES 8u
#define DIRECTORY_CAP_FIRST 16u
// How much of a shrink that was held back is made up for in one turn.
#define SHRINKS_PER_RECLAIM 8u

static size_t segment_buckets(size_t segment)
{
    if (segment == 0)
        return MF_SEGMENT_FIRST;
    return (size_t)1 << (segment < MF_SEGMENT_SMALL ? segment + 1 : MF_SEGMENT_BITS);
}

static size_t directory_bytes(size_t cap)
{
    return sizeof(struct mf_directory) + cap * sizeof(struct mf_bucket *);
}

static void count_move(struct mf_map *map)
{
    uint64_t moves = atomic_load_explicit(&map->chains.moves, memory_order_relaxed);
    atomic_store_explicit(&map->chains.moves, moves + 1, memory_order_release);
}

// Goes on preparing the directory that comes next, which is twice as large: the second half of the
// segments that fit into this one fills it, four places at a time.
static void prepare_directory(struct mf_map *map, size_t segment)
{
    struct mf_directory *directory = mf_map_directory(map);
    if (segment < directory->cap / 2)
        return;
    if (map->next_directory == NULL) {
        map->next_directory = mf_alloc(directory_bytes(directory->cap * 2));
        map->next_directory->cap = directory->cap * 2;
        map->next_filled = 0;
        map->segment_bytes += directory_bytes(directory->cap * 2);
    }
    struct mf_directory *next = map->next_directory;
    for (unsigned i = 0; i < 4 && map->next_filled < next->cap; i++, map->next_filled++) {
        size_t at = map->next_filled;
        struct mf_bucket *first = NULL;
        if (at < directory->cap)
            first = atomic_load_explicit(&directory->segments[at], memory_order_relaxed);
        atomic_init(&next->segments[at], first);
        map->work++;
    }
}

static void publish_directory(struct mf_map *map)
{
    struct mf_directory *directory = mf_map_directory(map);
    assert(map->next_filled == directory->cap * 2);
    atomic_store_explicit(&map->directory, map->next_directory, memory_order_release);
    map->next_directory = NULL;
    map->segment_bytes -= directory_bytes(directory->cap);
    mf_map_retire_memory(map, directory);
}

static void store_segment(struct mf_map *map, size_t segment, struct mf_bucket *first)
{
    if (map->next_directory != NULL && segment < map->next_filled)
        atomic_init(&map->next_directory->segments[segment], first);
    atomic_store_explicit(&mf_map_directory(map)->segments[segment], first, memory_order_release);
}

static void add_segment(struct mf_map *map, size_t segment)
{
    if (segment == mf_map_directory(map)->cap)
        publish_directory(map);
    prepare_directory(map, segment);
    size_t count = segment_buckets(segment);
    store_segment(map, segment, mf_buckets_new(count));
    map->segment_bytes += count * sizeof(struct mf_bucket);
    map->work += count;
}

static void drop_segment(struct mf_map *map, size_t segment)
{
    struct mf_bucket *first =
        atomic_load_explicit(&mf_map_directory(map)->segments[segment], memory_order_relaxed);
    store_segment(map, segment, NULL);
    mf_map_retire_memory(map, first);
    map->segment_bytes -= segment_buckets(segment) * sizeof(struct mf_bucket);
}

// Publishes an empty table. A reader that pairs the new directory with an old number of buckets, or
// the other way round, finds no segment and no entry, and then that the moves were counted.
void mf_map_start_table(struct mf_map *map)
{
    struct mf_directory *directory = mf_calloc(1, directory_bytes(DIRECTORY_CAP_FIRST));
    directory->cap = DIRECTORY_CAP_FIRST;
    atomic_init(&directory->segments[0], mf_buckets_new(MF_SEGMENT_FIRST));
    map->segment_bytes =
        directory_bytes(directory->cap) + MF_SEGMENT_FIRST * sizeof(struct mf_bucket);
    free(map->next_directory);
    map->next_directory = NULL;
    map->chains.bucket_bytes = 0;
    atomic_store_explicit(&map->directory, directory, memory_order_release);
    atomic_store_explicit(&map->buckets, MF_SEGMENT_FIRST, memory_order_release);
    count_move(map);
    atomic_store_explicit(&map->count, 0, memory_order_relaxed);
}

static void retire_bucket(struct mf_chain_owner *owner, struct mf_bucket *bucket)
{
    // The owner is the map's first member.
    mf_map_retire_memory((struct mf_map *)owner, bucket);
}

struct mf_map *mf_map_new(uint64_t seed)
{
    _Static_assert(offsetof(struct mf_map, chains) == 0, "retire_bucket finds the map by it");
    struct mf_map *map = aligned_alloc(_Alignof(struct mf_map), sizeof(*map));
    if (map == NULL) {
        fprintf(stderr, "mayfly: out of memory (a map)\n");
        abort();
    }
    *map = (struct mf_map){.seed = seed, .chains = {.retire = retire_bucket}};
    ck_epoch_init(&map->epoch);
    ck_epoch_register(&map->epoch, &map->record, NULL);
    mf_map_start_table(map);
    return map;
}

static uint64_t hash_of(const struct mf_map *map, const struct mf_entry *entry)
{
    return mf_map_hash(map, mf_entry_key(entry));
}

static struct mf_bucket *chain_of(const struct mf_map *map, uint64_t hash)
{
    return mf_map_bucket_at(map, mf_map_index(hash, mf_map_bucket_count(map)));
}

static void visit_chain(const struct mf_bucket *head, void (*visit)(void *arg, uintptr_t slot),
                        void *arg)
{
    for (const struct mf_bucket *bucket = head; bucket != NULL; bucket = mf_bucket_next(bucket)) {
        unsigned used = mf_bucket_used(atomic_load_explicit(&bucket->word, memory_order_relaxed));
        for (; used != 0; used &= used - 1)
            visit(arg, mf_bucket_slot(bucket, (unsigned)__builtin_ctz(used)));
    }
}

static void retire_visited(void *arg, uintptr_t slot)
{
    mf_map_retire_entry(arg, mf_slot_entry(slot));
}

// Calls visit for all entries of a table.
static void visit_table(const struct mf_directory *directory, uint64_t buckets,
                        void (*visit)(void *arg, uintptr_t slot), void *arg)
{
    for (uint64_t i = 0; i < buckets; i++) {
        const struct mf_bucket *first =
            atomic_load_explicit(&directory->segments[mf_map_segment(i)], memory_order_relaxed);
        visit_chain(first + mf_map_offset(i), visit, arg);
    }
}

// Retires a whole table that is no longer published, but not its entries. The chains stay as they
// are: readers may be in them.
static void retire_table(struct mf_map *map, struct mf_directory *directory, uint64_t buckets)
{
    for (uint64_t i = 0; i < buckets; i++) {
        struct mf_bucket *first =
            atomic_load_explicit(&directory->segments[mf_map_segment(i)], memory_order_relaxed);
        struct mf_bucket *head = first + mf_map_offset(i);
        for (struct mf_bucket *more = mf_bucket_next(head); more != NULL;) {
            struct mf_bucket *next = mf_bucket_next(more);
            mf_map_retire_memory(map, more);
            more = next;
        }
    }
    for (size_t segment = 0; segment <= mf_map_segment(buckets - 1); segment++)
        mf_map_retire_memory(
            map, atomic_load_explicit(&directory->segments[segment], memory_order_relaxed));
    mf_map_retire_memory(map, directory);
}

void mf_map_free(struct mf_map *map)
{
    if (map == NULL)
        return;
    assert(map->rests == 0);
    visit_table(mf_map_directory(map), mf_map_bucket_count(map), retire_visited, map);
    retire_table(map, mf_map_directory(map), mf_map_bucket_count(map));
    mf_map_reclaim_all(map);
    free(map->next_directory);
    free(map);
}

struct mf_entry *mf_map_find(const struct mf_map *map, struct mf_bytes key)
{
    uint64_t hash = mf_map_hash(map, key);
    struct mf_bucket *bucket = chain_of(map, hash);
    for (; bucket != NULL; bucket = mf_bucket_next(bucket)) {
        uint64_t word = atomic_load_explicit(&bucket->word, memory_order_relaxed);
        unsigned match = mf_bucket_match(word, mf_map_tag(hash));
        for (; match != 0; match &= match - 1) {
            unsigned slot = (unsigned)__builtin_ctz(match);
            struct mf_entry *entry = mf_bucket_entry(bucket, slot);
            if (!mf_bytes_equal(mf_entry_key(entry), key))
                continue;
            if (mf_map_age(map) != 0)
                mf_slot_touch(&bucket->slots[slot], mf_bucket_slot(bucket, slot), mf_map_age(map));
            return entry;
        }
    }
    return NULL;
}

void mf_map_prefetch(const struct mf_map *map)
{
    __builtin_prefetch(map);
    __builtin_prefetch(&map->epoch);
}

void mf_map_prefetch_write(const struct mf_map *map)
{
    __builtin_prefetch(map);
    __builtin_prefetch(&map->count, 1);
    __builtin_prefetch(&map->limbo, 1);
}

void mf_map_prefetch_limbo(const struct mf_map *map)
{
    if (map->limbo != NULL)
        __builtin_prefetch(&map->limbo->count, 1);
}

struct mf_map_ahead mf_map_prefetch_bucket(const struct mf_map *map, struct mf_bytes key)
{
    uint64_t hash = mf_map_hash(map, key);
    const struct mf_bucket *bucket = chain_of(map, hash);
    __builtin_prefetch(bucket);
    return (struct mf_map_ahead){.bucket = bucket, .tag = mf_map_tag(hash)};
}

// What visit_chain needs to pour the entries of one bucket into another one.
struct pour {
    struct mf_map *map;
    struct mf_bucket *into;
    uint64_t index;   // pour only those that belong here ...
    uint64_t buckets; // ... in a table of so many
    uint64_t poured;  // of the first 64 visited, a bit for each that was
    unsigned visited;
};

static void pour_entry(void *arg, uintptr_t slot)
{
    struct pour *pour = arg;
    uint64_t hash = hash_of(pour->map, mf_slot_entry(slot));
    bool belongs = mf_map_index(hash, pour->buckets) == pour->index;
    if (belongs)
        mf_chain_insert(&pour->map->chains, pour->into, slot, mf_map_tag(hash));
    if (pour->visited < 64)
        pour->poured |= (uint64_t)belongs << pour->visited;
    pour->visited++;
    pour->map->work++;
}

static bool is_stranger(const struct mf_map *map, const struct mf_entry *entry, uint64_t index)
{
    return mf_map_index(hash_of(map, entry), mf_map_bucket_count(map)) != index;
}

// Takes out of a chain what was poured from it, in the order in which it was visited. A chain of
// more than 64 entries, which only those can cause who know the seed, is hashed again.
static void erase_poured(struct mf_map *map, uint64_t index, uint64_t poured)
{
    struct mf_bucket *head = mf_map_bucket_at(map, index);
    unsigned visited = 0;
    for (struct mf_bucket *bucket = head; bucket != NULL; bucket = mf_bucket_next(bucket)) {
        unsigned used = mf_bucket_used(atomic_load_explicit(&bucket->word, memory_order_relaxed));
        unsigned strangers = 0;
        for (; used != 0; used &= used - 1, visited++) {
            unsigned slot = (unsigned)__builtin_ctz(used);
            bool stranger = visited < 64 ? (poured >> visited & 1) != 0
                                         : is_stranger(map, mf_bucket_entry(bucket, slot), index);
            strangers |= (unsigned)stranger << slot;
        }
        if (strangers != 0)
            mf_chain_erase(bucket, strangers);
    }
    mf_chain_compact(&map->chains, head);
}

// The bucket that shares its entries with bucket `index` in a table where that one is the last.
static uint64_t parent_of(uint64_t index)
{
    return index ^ UINT64_C(1) << (63 - __builtin_clzll(index));
}

static void prefetch_visited(void *arg, uintptr_t slot)
{
    (void)arg;
    __builtin_prefetch(mf_slot_entry(slot));
}

static void grow(struct mf_map *map)
{
    uint64_t fresh = mf_map_bucket_count(map);
    uint64_t parent = parent_of(fresh);
    if (mf_map_offset(fresh) == 0)
        add_segment(map, mf_map_segment(fresh));
    struct pour pour = {map, mf_map_bucket_at(map, fresh), fresh, fresh + 1, 0, 0};
    visit_chain(mf_map_bucket_at(map, parent), prefetch_visited, NULL);
    visit_chain(mf_map_bucket_at(map, parent), pour_entry, &pour);
    atomic_store_explicit(&map->buckets, fresh + 1, memory_order_release);
    count_move(map);
    erase_poured(map, parent, pour.poured);
}

static void shrink(struct mf_map *map)
{
    uint64_t last = mf_map_bucket_count(map) - 1;
    uint64_t parent = parent_of(last);
    struct pour pour = {map, mf_map_bucket_at(map, parent), parent, last, 0, 0};
    visit_chain(mf_map_bucket_at(map, last), pour_entry, &pour);
    atomic_store_explicit(&map->buckets, last, memory_order_release);
    count_move(map);
    mf_chain_empty(&map->chains, mf_map_bucket_at(map, last));
    if (mf_map_offset(last) == 0)
        drop_segment(map, mf_map_segment(last));
}

static void maybe_grow(struct mf_map *map)
{
    if (mf_map_count(map) * 2 > mf_map_bucket_count(map) * GROW_ABOVE_HALVES)
        grow(map);
}

bool mf_map_shrinks(const struct mf_map *map)
{
    uint64_t buckets = mf_map_bucket_count(map);
    return !map->hold_shrink && buckets != MF_SEGMENT_FIRST &&
           mf_map_count(map) * 2 < buckets * SHRINK_BELOW_HALVES;
}

static bool maybe_shrink(struct mf_map *map)
{
    if (!mf_map_shrinks(map))
        return false;
    shrink(map);
    return true;
}

void mf_map_reclaim(struct mf_map *map)
{
    for (unsigned i = 0; i < SHRINKS_PER_RECLAIM && maybe_shrink(map); i++)
        continue;
    mf_map_poll(map);
}

static void set_count(struct mf_map *map, size_t count)
{
    atomic_store_explicit(&map->count, count, memory_order_relaxed);
}

// Ages count insertions and replacements: AGES of them pass while as many are made as there are
// entries. They wrap around; by then what was left behind has long been evicted.
#define AGES 256u

static uintptr_t new_slot(struct mf_map *map, const struct mf_entry *entry)
{
    uint16_t age = mf_map_age(map);
    if (age != 0 && ++map->aged * AGES > mf_map_count(map)) {
        map->aged = 0;
        age = age == UINT16_MAX ? 1 : (uint16_t)(age + 1);
        atomic_store_explicit(&map->age, age, memory_order_relaxed);
    }
    return mf_slot_of(entry, age);
}

void mf_map_insert(struct mf_map *map, struct mf_entry *entry)
{
    uint64_t hash = hash_of(map, entry);
    mf_chain_insert(&map->chains, chain_of(map, hash), new_slot(map, entry), mf_map_tag(hash));
    map->entry_bytes += mf_entry_bytes(entry);
    set_count(map, mf_map_count(map) + 1);
    maybe_grow(map);
}

static void insert_visited(void *arg, uintptr_t slot)
{
    mf_map_insert(arg, mf_slot_entry(slot));
}

void mf_map_reseed(struct mf_map *map, uint64_t seed)
{
    struct mf_directory *directory = mf_map_directory(map);
    uint64_t buckets = mf_map_bucket_count(map);
    // Relaxed: whoever goes by the old seed finds nothing, as a reader may.
    atomic_store_explicit(&map->seed, seed, memory_order_relaxed);
    if (mf_map_count(map) == 0)
        return;
    size_t entry_bytes = map->entry_bytes;
    mf_map_start_table(map);
    visit_table(directory, buckets, insert_visited, map);
    map->entry_bytes = entry_bytes;
    retire_table(map, directory, buckets);
}

static struct mf_bucket_place locate(const struct mf_map *map, const struct mf_entry *entry,
                                     struct mf_bucket **head)
{
    uint64_t hash = hash_of(map, entry);
    *head = chain_of(map, hash);
    struct mf_bucket_place place = mf_chain_locate(*head, entry, mf_map_tag(hash));
    assert(place.bucket != NULL);
    return place;
}

void mf_map_replace(struct mf_map *map, struct mf_entry *old, struct mf_entry *fresh)
{
    struct mf_bucket *head;
    mf_chain_replace(locate(map, old, &head), new_slot(map, fresh));
    map->entry_bytes += mf_entry_bytes(fresh);
    mf_map_retire_entry(map, old);
}

void mf_map_remove(struct mf_map *map, struct mf_entry *entry)
{
    struct mf_bucket *head;
    struct mf_bucket_place place = locate(map, entry, &head);
    mf_chain_erase(place.bucket, 1u << place.slot);
    mf_chain_compact(&map->chains, head);
    mf_map_retire_entry(map, entry);
    set_count(map, mf_map_count(map) - 1);
    maybe_shrink(map);
}

size_t mf_map_count(const struct mf_map *map)
{
    return atomic_load_explicit(&map->count, memory_order_relaxed);
}

size_t mf_map_bytes(const struct mf_map *map)
{
    return sizeof(*map) + map->segment_bytes + map->chains.bucket_bytes + map->entry_bytes;
}

size_t mf_map_waiting_bytes(const struct mf_map *map)
{
    return map->waiting_bytes;
}

size_t mf_map_entry_bytes(const struct mf_map *map)
{
    return map->entry_bytes;
}

uint64_t mf_map_work(const struct mf_map *map)
{
    return map->work;
}

void mf_map_hold_shrink(struct mf_map *map, bool hold)
{
    map->hold_shrink = hold;
}

// Counts what it passes on.
struct counting_visit {
    size_t visited;
    void (*visit)(void *arg, struct mf_entry *entry);
    void *arg;
};

static void visit_counting(void *arg, uintptr_t slot)
{
    struct counting_visit *counting = arg;
    counting->visited++;
    counting->visit(counting->arg, mf_slot_entry(slot));
}

uint64_t mf_map_walk(struct mf_map *map, uint64_t cursor, size_t work,
                     void (*visit)(void *arg, struct mf_entry *entry), void *arg)
{
    struct counting_visit counting = {0, visit, arg};
    size_t buckets = 0;
    while (cursor < mf_map_bucket_count(map) &&
           (buckets == 0 || (counting.visited < work && buckets < work))) {
        visit_chain(mf_map_bucket_at(map, cursor++), visit_counting, &counting);
        buckets++;
    }
    return cursor < mf_map_bucket_count(map) ? cursor : 0;
}

struct validation {
    const struct mf_map *map;
    uint64_t index;
    size_t seen;
    bool valid;
};

static void check_entry(void *arg, uintptr_t slot)
{
    struct validation *validation = arg;
    const struct mf_map *map = validation->map;
    struct mf_entry *entry = mf_slot_entry(slot);
    uint64_t hash = hash_of(map, entry);
    validation->seen++;
    validation->valid = validation->valid &&
                        mf_map_index(hash, mf_map_bucket_count(map)) == validation->index &&
                        mf_map_find(map, mf_entry_key(entry)) == entry;
}

bool mf_map_valid(const struct mf_map *map)
{
    struct validation validation = {.map = map, .valid = true};
    for (uint64_t i = 0; i < mf_map_bucket_count(map); i++) {
        validation.index = i;
        visit_chain(mf_map_bucket_at(map, i), check_entry, &validation);
        if (!mf_chain_valid(mf_map_bucket_at(map, i)))
            return false;
    }
    return validation.valid && validation.seen == mf_map_count(map);
}
