// Scans: every key that is there throughout is seen, whatever the table does meanwhile, and a
// cursor means the same on another replica of the group.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "base/rand.h"
#include "shard_fixture.h"
#include "shards/map.h"

#define KEYS 3000u

static struct mf_entry *entry_of(uint32_t number)
{
    struct mf_record record = {.key = mf_bytes_of(&number, sizeof(number)),
                               .version = number + 1,
                               .deadline_us = MF_NO_DEADLINE};
    return mf_entry_new(&record, false);
}

static void count_visit(void *arg, struct mf_entry *entry)
{
    uint32_t *counts = arg;
    uint32_t number;
    memcpy(&number, mf_entry_key(entry).data, sizeof(number));
    counts[number]++;
}

static void put_numbers(struct mf_map *map, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++)
        mf_map_insert(map, entry_of(i));
}

static void take_numbers(struct mf_map *map, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++)
        mf_map_remove(map, mf_map_find(map, mf_bytes_of(&i, sizeof(i))));
}

static void a_scan_of_a_still_map_visits_every_entry_once(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {0, 1, 7, 26, 27, 100, 1000, KEYS};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        static uint32_t counts[KEYS];
        memset(counts, 0, sizeof(counts));
        struct mf_map *map = mf_map_new(i + 1);
        put_numbers(map, 0, sizes[i]);
        uint64_t at = 0;
        do
            at = mf_map_scan(map, at, i, count_visit, counts);
        while (at != 0);
        for (uint32_t k = 0; k < sizes[i]; k++)
            assert_int_equal(counts[k], 1);
        mf_map_free(map);
    }
}

// The first tenth stays; the others come and go between the steps.
static void a_scan_visits_what_stays_exactly_once_though_the_table_changes_shape(void **state)
{
    (void)state;
    const uint32_t stay = KEYS / 10;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        static uint32_t counts[KEYS];
        struct mf_rand rand = {seed};
        memset(counts, 0, sizeof(counts));
        struct mf_map *map = mf_map_new(seed);
        put_numbers(map, 0, stay);
        uint32_t end = stay;
        uint64_t at = 0;
        do {
            uint32_t wanted = stay + (uint32_t)mf_rand_below(&rand, KEYS - stay + 1);
            if (wanted > end)
                put_numbers(map, end, wanted);
            else
                take_numbers(map, wanted, end);
            end = wanted;
            at = mf_map_scan(map, at, mf_rand_below(&rand, 300), count_visit, counts);
        } while (at != 0);
        for (uint32_t k = 0; k < stay; k++)
            assert_int_equal(counts[k], 1);
        mf_map_free(map);
    }
}

static void any_number_is_a_place_to_go_on_from(void **state)
{
    (void)state;
    struct mf_rand rand = {1};
    struct mf_map *map = mf_map_new(1);
    static uint32_t counts[KEYS];
    put_numbers(map, 0, KEYS);
    for (int i = 0; i < 10000; i++) {
        uint64_t from = mf_rand_next(&rand);
        uint64_t at = mf_map_scan(map, from, 1, count_visit, counts);
        assert_true(at == 0 || at > from);
        assert_true(at << MF_MAP_SCAN_BITS == 0);
    }
    mf_map_free(map);
}

static void another_seed_loses_nothing(void **state)
{
    (void)state;
    struct mf_map *map = mf_map_new(1);
    put_numbers(map, 0, KEYS);
    size_t bytes = mf_map_bytes(map);
    mf_map_reseed(map, 2);
    assert_true(mf_map_valid(map));
    assert_int_equal(mf_map_count(map), KEYS);
    mf_map_reclaim(map);
    // Tables of one size; chains may be a little longer or shorter.
    assert_in_range(mf_map_bytes(map), bytes - bytes / 50, bytes + bytes / 50);
    take_numbers(map, 0, KEYS);
    assert_int_equal(mf_map_count(map), 0);
    mf_map_free(map);
}

// Through commands.

static struct mf_command scan(uint64_t at, uint32_t count, const char *glob)
{
    return (struct mf_command){
        .op = MF_OP_SCAN, .number = at, .limit = count, .body = mf_bytes_str(glob)};
}

// One call: adds to counts by the number after "k", returns where to go on.
static uint64_t scan_on(struct fixture *f, struct mf_command command, uint32_t *counts)
{
    struct mf_result answer = read_one(f, command);
    struct mf_reader r = mf_reader_of(answer.value);
    struct mf_result at;
    struct mf_result keys;
    assert_true(answer.kind == MF_RESULT_LIST && answer.count == 2);
    assert_int_equal(mf_result_decode(&r, &at), MF_OK);
    assert_int_equal(mf_result_decode(&r, &keys), MF_OK);
    r = mf_reader_of(keys.value);
    for (uint32_t i = 0; i < keys.count; i++) {
        struct mf_result key;
        assert_int_equal(mf_result_decode(&r, &key), MF_OK);
        uint32_t number = 0;
        for (size_t k = 1; k < key.value.len; k++)
            number = number * 10 + (uint32_t)(key.value.data[k] - '0');
        counts[number]++;
    }
    return (uint64_t)at.integer;
}

static void set_number(struct fixture *f, uint32_t number, int64_t ttl_us)
{
    char key[16];
    snprintf(key, sizeof(key), "k%u", number);
    apply(f, ttl_us != 0 ? set_for(key, "v", ttl_us) : set(key, "v"));
}

static struct fixture *seeded(uint64_t own_seed, uint64_t group_seed)
{
    struct fixture *f = fixture_new();
    mf_shard_free(f->shard);
    f->shard = mf_shard_new(1, own_seed);
    apply(f, (struct mf_command){.op = MF_OP_SEED, .number = group_seed});
    return f;
}

static void a_scan_goes_on_at_another_replica(void **state)
{
    (void)state;
    static uint32_t counts[KEYS];
    memset(counts, 0, sizeof(counts));
    struct fixture *replicas[2] = {seeded(1, 77), seeded(2, 77)};
    for (uint32_t i = 0; i < KEYS; i++) {
        set_number(replicas[0], i, 0);
        set_number(replicas[1], i, 0);
    }
    assert_true(mf_shard_rolling_hash(replicas[0]->shard) ==
                mf_shard_rolling_hash(replicas[1]->shard));
    uint64_t at = 0;
    uint32_t calls = 0;
    do {
        at = scan_on(replicas[calls++ % 2], scan(at, 10, "*"), counts);
    } while (at != 0);
    assert_in_range(calls, KEYS / 20, KEYS / 10 + 1);
    for (uint32_t i = 0; i < KEYS; i++)
        assert_int_equal(counts[i], 1);
    fixture_free(replicas[0]);
    fixture_free(replicas[1]);
}

static void the_first_seed_is_the_groups_and_goes_with_snapshots(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct mf_shard_meta meta;
    assert_false(mf_shard_seeded(f->shard));
    apply(f, (struct mf_command){.op = MF_OP_SEED, .number = 5});
    assert_true(mf_shard_seeded(f->shard));
    uint64_t hash = mf_shard_rolling_hash(f->shard);
    apply(f, (struct mf_command){.op = MF_OP_SEED, .number = 6});
    mf_shard_meta(f->shard, &meta);
    assert_int_equal(meta.hash_seed, 5);
    assert_true(hash != mf_shard_rolling_hash(f->shard)); // the entry itself counts
    struct mf_shard *loaded = mf_shard_new(1, 1234);
    mf_shard_load_begin(loaded);
    assert_int_equal(mf_shard_load_end(loaded, &meta), MF_OK);
    assert_true(mf_shard_seeded(loaded));
    assert_true(mf_shard_state_hash(loaded) == mf_shard_state_hash(f->shard));
    mf_shard_free(loaded);
    fixture_free(f);
}

static void the_dead_are_never_returned(void **state)
{
    (void)state;
    static uint32_t counts[100];
    memset(counts, 0, sizeof(counts));
    struct fixture *f = fixture_new();
    for (uint32_t i = 0; i < 100; i++)
        set_number(f, i, i % 2 == 0 ? 500 : 0);
    f->now_us += 500;
    // Nobody may hear of a death that no entry has reached.
    assert_int_equal(try_read(f, scan(0, 1000, "*")), MF_AGAIN);
    struct mf_command local = with_flags(scan(0, 1000, "*"), MF_READ_LOCAL);
    assert_int_equal(scan_on(f, local, counts), 0);
    apply(f, set("k1", "v"));
    assert_int_equal(scan_on(f, scan(0, 1000, "*"), counts), 0);
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(counts[i], i % 2 == 0 ? 0 : 2);
    fixture_free(f);
}

static void a_glob_chooses_and_a_count_bounds(void **state)
{
    (void)state;
    static uint32_t counts[KEYS];
    memset(counts, 0, sizeof(counts));
    struct fixture *f = fixture_new();
    for (uint32_t i = 0; i < KEYS; i++)
        set_number(f, i, 0);
    assert_int_equal(scan_on(f, scan(0, 100000, "k1?"), counts), 0);
    for (uint32_t i = 0; i < KEYS; i++)
        assert_int_equal(counts[i], i >= 10 && i < 20);
    uint64_t at = scan_on(f, scan(0, 1, "*"), counts);
    assert_true(at != 0);
    uint32_t seen = 0;
    for (uint32_t i = 0; i < KEYS; i++)
        seen += counts[i];
    assert_in_range(seen, 10, 10 + 30); // one bucket
    fixture_free(f);
}

// A table that has become too large for its keys is not walked through in one call.
static void empty_buckets_bound_a_call_too(void **state)
{
    (void)state;
    static uint32_t counts[KEYS];
    memset(counts, 0, sizeof(counts));
    struct fixture *f = fixture_new();
    struct mf_shard_meta meta;
    for (uint32_t i = 0; i < KEYS; i++)
        set_number(f, i, 0);
    mf_map_hold_shrink(mf_shard_map(f->shard), true);
    for (uint32_t i = 1; i < KEYS; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%u", i);
        apply(f, one(MF_OP_DEL, key));
    }
    mf_shard_meta(f->shard, &meta);
    assert_int_equal(meta.keys, 1);
    uint64_t at = 0;
    uint32_t calls = 0;
    do {
        at = scan_on(f, scan(at, 10, "*"), counts);
        calls++;
    } while (at != 0);
    assert_in_range(calls, 3, 20);
    assert_int_equal(counts[0], 1);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_scan_of_a_still_map_visits_every_entry_once),
        cmocka_unit_test(a_scan_visits_what_stays_exactly_once_though_the_table_changes_shape),
        cmocka_unit_test(any_number_is_a_place_to_go_on_from),
        cmocka_unit_test(another_seed_loses_nothing),
        cmocka_unit_test(a_scan_goes_on_at_another_replica),
        cmocka_unit_test(the_first_seed_is_the_groups_and_goes_with_snapshots),
        cmocka_unit_test(the_dead_are_never_returned),
        cmocka_unit_test(a_glob_chooses_and_a_count_bounds),
        cmocka_unit_test(empty_buckets_bound_a_call_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
