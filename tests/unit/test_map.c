// The concurrent map: alone against a plain table, and under readers while it changes shape.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
// cmocka needs the headers above.
#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/rand.h"
#include "shards/map.h"
#include "tests/unit/map_clear.h"

#define SEED UINT64_C(0x5eed)

// A key that is a number, as text.
struct key {
    char text[24];
    struct mf_bytes bytes;
};

static const struct key *make_key(struct key *key, uint64_t number)
{
    int len = snprintf(key->text, sizeof(key->text), "key:%llu", (unsigned long long)number);
    key->bytes = mf_bytes_of(key->text, (size_t)len);
    return key;
}

static struct mf_entry *make_entry(uint64_t number, uint64_t version, size_t value_len)
{
    struct key key;
    uint8_t value[600];
    for (size_t i = 0; i < value_len; i++)
        value[i] = (uint8_t)(number * 31 + version);
    struct mf_record record = {
        .key = make_key(&key, number)->bytes,
        .value = mf_bytes_of(value, value_len),
        .version = version,
        .deadline_us = version % 3 == 0 ? version : MF_NO_DEADLINE,
    };
    return mf_entry_new(&record, false);
}

// Whether an entry is one that make_entry made for this number, every byte of it.
static bool is_whole(const struct mf_entry *entry, uint64_t number)
{
    struct key key;
    uint64_t version = mf_entry_version(entry);
    struct mf_bytes value = mf_entry_value(entry);
    if (!mf_bytes_equal(mf_entry_key(entry), make_key(&key, number)->bytes))
        return false;
    if (mf_entry_deadline(entry) != (version % 3 == 0 ? version : MF_NO_DEADLINE))
        return false;
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] != (uint8_t)(number * 31 + version))
            return false;
    }
    return true;
}

static struct mf_entry *find(struct mf_map *map, uint64_t number)
{
    struct key key;
    return mf_map_find(map, make_key(&key, number)->bytes);
}

static void entries_hold_what_they_were_made_of_at_any_size(void **state)
{
    (void)state;
    static const size_t lens[] = {0, 1, 255, 256, 4096, 4097, 70000};
    static const uint64_t numbers[] = {1, UINT64_C(0xffffffffff), UINT64_MAX - 1};
    uint8_t *bytes = mf_calloc(1, 70000);
    bytes[0] = 'k';
    for (size_t i = 0; i < 7 * 7 * 3 * 2; i++) {
        struct mf_record record = {
            .is_id = i % 2 == 0,
            .key = mf_bytes_of(bytes, lens[i / 2 % 7]),
            .value = mf_bytes_of(bytes, lens[i / 14 % 7]),
            .version = numbers[i / 98],
            .deadline_us = numbers[2 - i / 98],
        };
        struct mf_entry *entry = mf_entry_new(&record, i % 2 != 0);
        struct mf_entry *other = mf_entry_retimed(entry, record.version - 1, MF_NO_DEADLINE, false);
        mf_entry_set_parity(entry, i % 4 == 0);
        struct mf_record out = mf_entry_record(entry);
        assert_true(mf_bytes_equal(out.key, record.key) && mf_bytes_equal(out.value, record.value));
        assert_true(out.version == record.version && out.deadline_us == record.deadline_us);
        assert_true(out.is_id == record.is_id && mf_entry_parity(entry) == (i % 4 == 0));
        assert_ptr_equal(mf_entry_of_node(mf_entry_node(entry)), entry);
        assert_true(mf_entry_bytes(entry) > record.key.len + record.value.len);
        mf_entry_free(entry);
        out = mf_entry_record(other);
        assert_true(mf_bytes_equal(out.key, record.key) && mf_bytes_equal(out.value, record.value));
        assert_true(out.version == record.version - 1 && out.deadline_us == MF_NO_DEADLINE);
        assert_true(out.is_id == record.is_id && mf_entry_node(other) == NULL);
        mf_entry_free(other);
    }
    free(bytes);
}

static void a_small_key_with_a_ttl_fits_64_bytes(void **state)
{
    (void)state;
    struct mf_record record = {
        .key = mf_bytes_str("session:123456"),
        .value = mf_bytes_str("0123456789abcdef0123456789abcdef"),
        .version = 1000000000,
        .deadline_us = UINT64_C(365) * 86400 * 1000000,
    };
    struct mf_entry *entry = mf_entry_new(&record, false);
    assert_int_equal(mf_entry_bytes(entry), 64);
    mf_entry_free(entry);
    record.deadline_us = MF_NO_DEADLINE;
    entry = mf_entry_new(&record, false);
    assert_int_equal(mf_entry_bytes(entry), 64); // 54, of the allocator's sizes
    mf_entry_free(entry);
}

// The reference: version by number, 0 for absent.
#define NUMBERS 20000

static void step(struct mf_map *map, uint64_t *versions, uint64_t *version, uint64_t number,
                 bool add)
{
    struct mf_entry *entry = find(map, number);
    assert_int_equal(entry != NULL ? mf_entry_version(entry) : 0, versions[number]);
    if (entry == NULL && add) {
        mf_map_insert(map, make_entry(number, ++*version, number % 100));
        versions[number] = *version;
    } else if (entry != NULL && add) {
        mf_map_replace(map, entry, make_entry(number, ++*version, number % 100));
        versions[number] = *version;
    } else if (entry != NULL) {
        mf_map_remove(map, entry);
        versions[number] = 0;
    }
}

static void check_all(struct mf_map *map, const uint64_t *versions)
{
    size_t count = 0;
    for (uint64_t number = 0; number < NUMBERS; number++) {
        struct mf_entry *entry = find(map, number);
        assert_int_equal(entry != NULL ? mf_entry_version(entry) : 0, versions[number]);
        assert_true(entry == NULL || is_whole(entry, number));
        count += entry != NULL;
    }
    assert_int_equal(mf_map_count(map), count);
    assert_true(mf_map_valid(map));
}

static void any_sequence_leaves_what_a_plain_table_would_have(void **state)
{
    (void)state;
    struct mf_rand rand = {5};
    struct mf_map *map = mf_map_new(SEED);
    uint64_t *versions = mf_calloc(NUMBERS, sizeof(*versions));
    uint64_t version = 0;
    for (int i = 0; i < 200000; i++) {
        uint64_t adding = i / 40000 % 2 == 0 ? 80 : 20;
        step(map, versions, &version, mf_rand_below(&rand, NUMBERS),
             mf_rand_below(&rand, 100) < adding);
        if (i % 50 == 0)
            mf_map_reclaim(map);
        if (i % 20000 == 0)
            check_all(map, versions);
    }
    check_all(map, versions);
    free(versions);
    mf_map_free(map);
}

static void an_emptied_map_gives_its_memory_back(void **state)
{
    (void)state;
    struct mf_map *map = mf_map_new(SEED);
    size_t empty = mf_map_bytes(map);
    for (uint64_t number = 0; number < NUMBERS; number++)
        mf_map_insert(map, make_entry(number, 1, 10));
    assert_true(mf_map_bytes(map) > NUMBERS * (10 + 8));
    for (uint64_t number = 0; number < NUMBERS; number++)
        mf_map_remove(map, find(map, number));
    mf_map_reclaim(map);
    // Only the directory of segments does not shrink.
    assert_in_range(mf_map_bytes(map), empty, empty + 1024);
    mf_map_free(map);
}

static void a_cleared_map_is_as_good_as_new(void **state)
{
    (void)state;
    struct mf_map *map = mf_map_new(SEED);
    size_t empty = mf_map_bytes(map);
    for (int round = 0; round < 3; round++) {
        for (uint64_t number = 0; number < 5000; number++)
            mf_map_insert(map, make_entry(number, 1, 10));
        clear_map(map);
        assert_int_equal(mf_map_count(map), 0);
        assert_null(find(map, 7));
        mf_map_reclaim(map);
        assert_int_equal(mf_map_bytes(map), empty);
        assert_true(mf_map_valid(map));
    }
    mf_map_free(map);
}

static void count_visit(void *arg, struct mf_entry *entry)
{
    size_t *visited = arg;
    (void)entry;
    ++*visited;
}

static void a_table_taken_out_is_drained_in_bounded_steps_beside_a_new_one(void **state)
{
    (void)state;
    struct mf_map *map = mf_map_new(SEED);
    size_t empty = mf_map_bytes(map);
    for (uint64_t number = 0; number < NUMBERS; number++)
        mf_map_insert(map, make_entry(number, 1, 10));
    size_t full = mf_map_bytes(map);
    struct mf_map_rest *rest = mf_map_detach(map);
    assert_int_equal(mf_map_count(map), 0);
    assert_int_equal(mf_map_bytes(map), empty);
    assert_in_range(mf_map_waiting_bytes(map), full - empty, full);
    size_t visited = 0;
    unsigned steps = 0;
    for (bool more = true; more; steps++) {
        size_t before = visited;
        size_t work = 100;
        more = mf_map_drain(map, rest, &work, count_visit, &visited);
        // A bucket is never cut in two.
        assert_in_range(visited - before, 0, 120);
        // The new table is not touched by it.
        mf_map_insert(map, make_entry(steps, 1, 10));
        assert_non_null(find(map, steps));
    }
    assert_int_equal(visited, NUMBERS);
    assert_true(steps > NUMBERS / 200);
    assert_true(mf_map_valid(map));
    for (int turn = 0; turn < 4; turn++)
        mf_map_reclaim(map);
    assert_int_equal(mf_map_waiting_bytes(map), 0);
    mf_map_free(map);
}

static void a_reader_keeps_what_it_found_in_a_table_that_was_taken_out(void **state)
{
    (void)state;
    struct mf_map *map = mf_map_new(SEED);
    struct mf_map_reader *reader = mf_map_reader_new(map);
    for (uint64_t number = 0; number < NUMBERS; number++)
        mf_map_insert(map, make_entry(number, 1, 10));
    struct key key;
    mf_map_read_begin(reader);
    const struct mf_entry *entry = mf_map_read(reader, make_key(&key, 3)->bytes);
    clear_map(map);
    for (int turn = 0; turn < 10; turn++)
        mf_map_reclaim(map);
    assert_true(mf_bytes_equal(mf_entry_key(entry), key.bytes));
    assert_true(mf_map_waiting_bytes(map) > 0);
    assert_null(mf_map_read(reader, key.bytes));
    mf_map_read_end(reader);
    for (int turn = 0; turn < 4; turn++)
        mf_map_reclaim(map);
    assert_int_equal(mf_map_waiting_bytes(map), 0);
    mf_map_reader_free(reader);
    mf_map_free(map);
}

static void a_shrink_that_was_held_back_is_made_up_for(void **state)
{
    (void)state;
    struct mf_map *map = mf_map_new(SEED);
    size_t empty = mf_map_bytes(map);
    for (uint64_t number = 0; number < NUMBERS; number++)
        mf_map_insert(map, make_entry(number, 1, 10));
    mf_map_hold_shrink(map, true);
    for (uint64_t number = 0; number < NUMBERS; number++)
        mf_map_remove(map, find(map, number));
    mf_map_reclaim(map);
    assert_true(mf_map_bytes(map) > empty + NUMBERS / 6 * 64);
    mf_map_hold_shrink(map, false);
    for (int turn = 0; turn < NUMBERS; turn++)
        mf_map_reclaim(map);
    assert_in_range(mf_map_bytes(map), empty, empty + 1024);
    mf_map_free(map);
}

// Numbers whose keys share a bucket in every table of up to 2^10 buckets.
static void find_colliding(uint64_t *numbers, size_t count)
{
    struct key key;
    for (uint64_t number = 0; count > 0; number++) {
        if ((mf_hash64(make_key(&key, number)->bytes, SEED) & 0x3ff) == 0x155)
            numbers[--count] = number;
    }
}

static void keys_that_all_share_a_bucket_are_still_found(void **state)
{
    (void)state;
    uint64_t numbers[60];
    bool in[60] = {false};
    find_colliding(numbers, 60);
    struct mf_rand rand = {6};
    struct mf_map *map = mf_map_new(SEED);
    for (int i = 0; i < 20000; i++) {
        size_t n = mf_rand_below(&rand, 60);
        if (in[n])
            mf_map_remove(map, find(map, numbers[n]));
        else if (mf_rand_below(&rand, 100) < (i / 500 % 2 == 0 ? 90u : 20u))
            mf_map_insert(map, make_entry(numbers[n], 1, 5));
        else
            continue;
        in[n] = !in[n];
        assert_true(mf_map_valid(map));
        for (size_t m = 0; m < 60; m++)
            assert_int_equal(find(map, numbers[m]) != NULL, in[m]);
        mf_map_reclaim(map);
    }
    mf_map_free(map);
}

static void mark_visited(void *arg, struct mf_entry *entry)
{
    uint8_t *visits = arg;
    struct mf_bytes key = mf_entry_key(entry);
    char text[24] = {0};
    memcpy(text, key.data, key.len);
    visits[strtoull(text + 4, NULL, 10)]++;
}

static void a_walk_visits_every_entry_that_stays_though_the_table_grows(void **state)
{
    (void)state;
    struct mf_map *map = mf_map_new(SEED);
    uint8_t *visits = mf_calloc(NUMBERS, 1);
    uint64_t number = 0;
    for (; number < 1000; number++)
        mf_map_insert(map, make_entry(number, 1, 1));
    mf_map_hold_shrink(map, true);
    uint64_t cursor = 0;
    unsigned steps = 0;
    do {
        cursor = mf_map_walk(map, cursor, 10, mark_visited, visits);
        steps++;
        for (int i = 0; i < 20 && number < NUMBERS; i++, number++)
            mf_map_insert(map, make_entry(number, 1, 1));
        if (steps % 3 == 0 && number < NUMBERS)
            mf_map_remove(map, find(map, number - 1)); // must not make the table shrink
    } while (cursor != 0);
    assert_true(steps > 100);
    for (uint64_t n = 0; n < 1000; n++)
        assert_in_range(visits[n], 1, 255);
    free(visits);
    mf_map_free(map);
}

static void a_walk_of_an_empty_map_ends_at_once(void **state)
{
    (void)state;
    struct mf_map *map = mf_map_new(SEED);
    assert_int_equal(mf_map_walk(map, 0, 10, mark_visited, NULL), 0);
    mf_map_free(map);
}

static void a_step_of_a_walk_is_small_in_a_table_that_has_become_empty(void **state)
{
    (void)state;
    struct mf_map *map = mf_map_new(SEED);
    for (uint64_t n = 0; n < 5000; n++)
        mf_map_insert(map, make_entry(n, 1, 1));
    mf_map_hold_shrink(map, true);
    for (uint64_t n = 0; n < 5000; n++)
        mf_map_remove(map, find(map, n));
    uint64_t cursor = 0;
    unsigned steps = 0;
    do {
        uint64_t next = mf_map_walk(map, cursor, 10, mark_visited, NULL);
        assert_true(next == 0 || next == cursor + 10);
        cursor = next;
        steps++;
    } while (cursor != 0);
    assert_true(steps > 50);
    mf_map_free(map);
}

static void a_reader_keeps_what_it_holds_until_it_leaves(void **state)
{
    (void)state;
    struct key key;
    struct mf_map *map = mf_map_new(SEED);
    struct mf_map_reader *reader = mf_map_reader_new(map);
    mf_map_insert(map, make_entry(1, 1, 100));
    mf_map_read_begin(reader);
    const struct mf_entry *held = mf_map_read(reader, make_key(&key, 1)->bytes);
    assert_non_null(held);
    size_t bytes = mf_entry_bytes(held);
    mf_map_remove(map, find(map, 1));
    for (int turn = 0; turn < 10; turn++)
        mf_map_reclaim(map);
    assert_null(mf_map_read(reader, make_key(&key, 1)->bytes));
    assert_true(is_whole(held, 1));
    assert_int_equal(mf_map_entry_bytes(map), 0);
    assert_int_equal(mf_map_waiting_bytes(map), bytes);
    mf_map_read_end(reader);
    for (int turn = 0; turn < 10; turn++)
        mf_map_reclaim(map);
    assert_int_equal(mf_map_waiting_bytes(map), 0);
    mf_map_reader_free(reader);
    // The next reader takes the record over; the map frees what is left.
    assert_ptr_equal(mf_map_reader_new(map), reader);
    mf_map_free(map);
}

// Readers on other threads. Numbers below `stable` are there throughout, their versions change;
// those from there on come and go.
#define READERS 3
#ifdef MF_TSAN
#define READS_MIN 20000u
#define ROUNDS_MIN 6
#else
#define READS_MIN 300000u
#define ROUNDS_MIN 30
#endif

struct shared {
    struct mf_map *map;
    const uint64_t *numbers;
    size_t count;
    size_t stable;
    _Atomic bool stop;
    _Atomic uint64_t missed;
    _Atomic uint64_t broken;
    _Atomic uint64_t reads[READERS];
};

struct reading {
    struct shared *shared;
    size_t who;
};

static void *read_all_the_time(void *arg)
{
    const struct reading *reading = arg;
    struct shared *shared = reading->shared;
    struct mf_map_reader *reader = mf_map_reader_new(shared->map);
    struct mf_rand rand = {reading->who};
    while (!atomic_load(&shared->stop)) {
        mf_map_read_begin(reader);
        for (int i = 0; i < 16; i++) {
            size_t n =
                mf_rand_below(&rand, mf_rand_below(&rand, 2) == 0 ? shared->stable : shared->count);
            struct key key;
            const struct mf_entry *entry =
                mf_map_read(reader, make_key(&key, shared->numbers[n])->bytes);
            if (entry == NULL && n < shared->stable)
                atomic_fetch_add(&shared->missed, 1);
            if (entry != NULL && !is_whole(entry, shared->numbers[n]))
                atomic_fetch_add(&shared->broken, 1);
        }
        mf_map_read_end(reader);
        atomic_fetch_add(&shared->reads[reading->who], 16);
    }
    mf_map_reader_free(reader);
    return NULL;
}

static bool all_have_read_enough(struct shared *shared)
{
    for (size_t i = 0; i < READERS; i++) {
        if (atomic_load(&shared->reads[i]) < READS_MIN)
            return false;
    }
    return true;
}

// What only the owner reads changes while others read the rest of the same bytes.
static void touch_what_is_the_owners(struct mf_map *map, uint64_t number)
{
    struct mf_heap heap;
    struct mf_entry *entry = find(map, number);
    mf_entry_set_parity(entry, !mf_entry_parity(entry));
    if (mf_entry_node(entry) == NULL)
        return;
    mf_heap_init(&heap);
    mf_heap_push(&heap, mf_entry_node(entry));
    mf_heap_remove(&heap, mf_entry_node(entry));
    mf_heap_free(&heap);
}

// One round: the others all come, in some order, and go again; the stable ones change meanwhile.
static void churn(struct shared *shared, struct mf_rand *rand, uint64_t *version)
{
    struct mf_map *map = shared->map;
    for (int half = 0; half < 2; half++) {
        size_t offset = mf_rand_below(rand, shared->count - shared->stable);
        for (size_t i = shared->stable; i < shared->count; i++) {
            size_t n = shared->stable + (i + offset) % (shared->count - shared->stable);
            uint64_t number = shared->numbers[n];
            if (half == 0)
                mf_map_insert(map, make_entry(number, ++*version, 40));
            else
                mf_map_remove(map, find(map, number));
            uint64_t other = shared->numbers[mf_rand_below(rand, shared->stable)];
            mf_map_replace(map, find(map, other), make_entry(other, ++*version, 40));
            touch_what_is_the_owners(map, other);
            // NULL unless use is tracked; the sample itself counts as use.
            const struct mf_entry *oldest = mf_map_sample_oldest(map, mf_rand_next(rand));
            assert_true(oldest == NULL || mf_entry_version(oldest) <= *version);
            if (i % 8 == 0)
                mf_map_reclaim(map);
        }
    }
}

static void run_readers(const uint64_t *numbers, size_t count, size_t stable, bool track_use)
{
    struct shared shared = {.numbers = numbers, .count = count, .stable = stable};
    struct mf_rand rand = {7};
    uint64_t version = 0;
    shared.map = mf_map_new(SEED);
    mf_map_track_use(shared.map, track_use);
    for (size_t i = 0; i < stable; i++)
        mf_map_insert(shared.map, make_entry(numbers[i], ++version, 40));
    pthread_t threads[READERS];
    struct reading readings[READERS];
    for (size_t i = 0; i < READERS; i++) {
        readings[i] = (struct reading){&shared, i};
        assert_int_equal(pthread_create(&threads[i], NULL, read_all_the_time, &readings[i]), 0);
    }
    for (int round = 0; round < ROUNDS_MIN || !all_have_read_enough(&shared); round++)
        churn(&shared, &rand, &version);
    atomic_store(&shared.stop, true);
    for (size_t i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&shared.missed), 0);
    assert_int_equal(atomic_load(&shared.broken), 0);
    assert_true(mf_map_valid(shared.map));
    assert_int_equal(mf_map_count(shared.map), stable);
    mf_map_free(shared.map);
}

static void readers_miss_nothing_while_the_table_grows_and_shrinks(void **state)
{
    (void)state;
    static uint64_t numbers[4000];
    for (size_t i = 0; i < 4000; i++)
        numbers[i] = i;
    run_readers(numbers, 4000, 60, false);
}

static void readers_miss_nothing_while_entries_move_within_a_chain(void **state)
{
    (void)state;
    uint64_t numbers[40];
    find_colliding(numbers, 40);
    run_readers(numbers, 40, 12, false);
}

// Their notes are written into the slots that the owner moves, replaces and empties.
static void readers_that_note_what_they_use_miss_nothing_either(void **state)
{
    (void)state;
    static uint64_t numbers[4000];
    for (size_t i = 0; i < 4000; i++)
        numbers[i] = i;
    run_readers(numbers, 4000, 60, true);
    find_colliding(numbers, 40);
    run_readers(numbers, 40, 12, true);
}

static void *read_and_count_keys(void *arg)
{
    struct shared *shared = arg;
    struct mf_map_reader *reader = mf_map_reader_new(shared->map);
    while (!atomic_load(&shared->stop)) {
        struct key key;
        mf_map_read_begin(reader);
        const struct mf_entry *entry = mf_map_read(reader, make_key(&key, 3)->bytes);
        if (entry != NULL && !is_whole(entry, 3))
            atomic_fetch_add(&shared->broken, 1);
        mf_map_read_end(reader);
        if (mf_map_count(shared->map) > 500)
            atomic_fetch_add(&shared->broken, 1);
        atomic_fetch_add(&shared->reads[0], 1);
    }
    mf_map_reader_free(reader);
    return NULL;
}

static void readers_survive_a_table_that_is_cleared(void **state)
{
    (void)state;
    struct shared shared = {.map = mf_map_new(SEED)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_and_count_keys, &shared), 0);
    for (int round = 0; round < 100 || atomic_load(&shared.reads[0]) < READS_MIN / 4; round++) {
        for (uint64_t number = 0; number < 500; number++)
            mf_map_insert(shared.map, make_entry(number, 1, 30));
        clear_map(shared.map);
        mf_map_reclaim(shared.map);
    }
    atomic_store(&shared.stop, true);
    pthread_join(thread, NULL);
    assert_int_equal(atomic_load(&shared.broken), 0);
    mf_map_free(shared.map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_hold_what_they_were_made_of_at_any_size),
        cmocka_unit_test(a_small_key_with_a_ttl_fits_64_bytes),
        cmocka_unit_test(any_sequence_leaves_what_a_plain_table_would_have),
        cmocka_unit_test(an_emptied_map_gives_its_memory_back),
        cmocka_unit_test(a_cleared_map_is_as_good_as_new),
        cmocka_unit_test(a_table_taken_out_is_drained_in_bounded_steps_beside_a_new_one),
        cmocka_unit_test(a_reader_keeps_what_it_found_in_a_table_that_was_taken_out),
        cmocka_unit_test(a_shrink_that_was_held_back_is_made_up_for),
        cmocka_unit_test(keys_that_all_share_a_bucket_are_still_found),
        cmocka_unit_test(a_walk_visits_every_entry_that_stays_though_the_table_grows),
        cmocka_unit_test(a_walk_of_an_empty_map_ends_at_once),
        cmocka_unit_test(a_step_of_a_walk_is_small_in_a_table_that_has_become_empty),
        cmocka_unit_test(a_reader_keeps_what_it_holds_until_it_leaves),
        cmocka_unit_test(readers_miss_nothing_while_the_table_grows_and_shrinks),
        cmocka_unit_test(readers_miss_nothing_while_entries_move_within_a_chain),
        cmocka_unit_test(readers_that_note_what_they_use_miss_nothing_either),
        cmocka_unit_test(readers_survive_a_table_that_is_cleared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
