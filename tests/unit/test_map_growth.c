// What growth and shrinking of the map cost: a bounded number of steps for each change, however
// large the table is.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "shards/map_internal.h"
#include "tests/unit/map_clear.h"

#define SEED UINT64_C(0x5eed)
// Large enough for the directory of segments to be replaced several times.
#define NUMBERS UINT64_C(400000)
// A segment of 512 buckets, a few places of the directory, and the two chains of a split, which for
// keys that are spread by the hash stay far below this.
#define STEPS_MAX (512u + 4u + 60u)

static struct mf_entry *make_entry(const uint64_t *number)
{
    struct mf_record record = {.key = mf_bytes_of(number, sizeof(*number)),
                               .value = mf_bytes_of("value", 5),
                               .version = *number + 1,
                               .deadline_us = MF_NO_DEADLINE};
    return mf_entry_new(&record, false);
}

// The most that one change has cost since the last question.
struct meter {
    const struct mf_map *map;
    uint64_t before;
    uint64_t most;
};

static void measure(struct meter *meter)
{
    uint64_t now = mf_map_work(meter->map);
    if (now - meter->before > meter->most)
        meter->most = now - meter->before;
    meter->before = now;
}

static void insert_from(struct mf_map *map, uint64_t from, uint64_t to, struct meter *meter)
{
    for (uint64_t number = from; number < to; number++) {
        mf_map_insert(map, make_entry(&number));
        measure(meter);
        if (number % 64 == 0)
            mf_map_reclaim(map);
    }
}

static void remove_down(struct mf_map *map, uint64_t from, uint64_t to, struct meter *meter)
{
    for (uint64_t number = from; number-- > to;) {
        struct mf_entry *entry = mf_map_find(map, mf_bytes_of(&number, sizeof(number)));
        assert_non_null(entry);
        mf_map_remove(map, entry);
        measure(meter);
        if (number % 64 == 0)
            mf_map_reclaim(map);
    }
}

static void no_change_costs_more_in_a_larger_table(void **state)
{
    (void)state;
    struct mf_map *map = mf_map_new(SEED);
    struct meter meter = {.map = map};
    insert_from(map, 0, NUMBERS, &meter);
    assert_in_range(meter.most, 512, STEPS_MAX);
    // All of it together stays in proportion.
    assert_in_range(mf_map_work(map), NUMBERS / 2, NUMBERS * 3);
    assert_true(mf_map_valid(map));
    remove_down(map, NUMBERS, 0, &meter);
    assert_in_range(meter.most, 512, STEPS_MAX);
    assert_true(mf_map_valid(map));
    mf_map_free(map);
}

// The next directory is filled while the table grows, shrinks and grows over the same ground.
static void a_table_that_grows_back_finds_its_directory_whole(void **state)
{
    (void)state;
    struct mf_map *map = mf_map_new(SEED);
    struct meter meter = {.map = map};
    uint64_t there = 0;
    for (uint64_t round = 1; round <= 12; round++) {
        uint64_t up = NUMBERS * round / 12;
        uint64_t down = up * (round % 4) / 4;
        insert_from(map, there, up, &meter);
        remove_down(map, up, down, &meter);
        there = down;
        assert_true(mf_map_valid(map));
        for (uint64_t number = 0; number < there; number += 97)
            assert_non_null(mf_map_find(map, mf_bytes_of(&number, sizeof(number))));
    }
    assert_in_range(meter.most, 512, STEPS_MAX);
    insert_from(map, there, NUMBERS, &meter);
    clear_map(map);
    insert_from(map, 0, NUMBERS / 4, &meter);
    assert_true(mf_map_valid(map));
    mf_map_free(map);
}

#define AGED UINT64_C(3000)

// Of all entries with numbers below AGED, by number; 0 where there is none.
static void read_ages(const struct mf_map *map, uint16_t *ages)
{
    for (uint64_t i = 0; i < AGED; i++)
        ages[i] = 0;
    for (uint64_t i = 0; i < mf_map_bucket_count(map); i++) {
        const struct mf_bucket *bucket = mf_map_bucket_at(map, i);
        for (; bucket != NULL; bucket = mf_bucket_next(bucket)) {
            for (unsigned slot = 0; slot < MF_BUCKET_SLOTS; slot++) {
                if ((mf_bucket_used(bucket->word) >> slot & 1) == 0)
                    continue;
                const struct mf_entry *entry = mf_bucket_entry(bucket, slot);
                uint64_t number = mf_entry_version(entry) - 1;
                if (number < AGED)
                    ages[number] = mf_slot_age(mf_bucket_slot(bucket, slot));
            }
        }
    }
}

static void an_entry_keeps_its_age_wherever_it_moves(void **state)
{
    (void)state;
    struct mf_map *map = mf_map_new(SEED);
    struct meter meter = {.map = map};
    static uint16_t before[AGED];
    static uint16_t after[AGED];
    mf_map_track_use(map, true);
    insert_from(map, 0, AGED, &meter);
    read_ages(map, before);
    assert_true(before[AGED - 1] > before[0] + 200);
    // Up by a factor of ten, by splits; and down again, through holes and buckets poured back.
    insert_from(map, AGED, AGED * 10, &meter);
    remove_down(map, AGED * 10, AGED, &meter);
    read_ages(map, after);
    assert_memory_equal(before, after, sizeof(before));
    remove_down(map, AGED, AGED / 4, &meter);
    read_ages(map, after);
    assert_memory_equal(before, after, sizeof(before) / 4);
    mf_map_free(map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_change_costs_more_in_a_larger_table),
        cmocka_unit_test(a_table_that_grows_back_finds_its_directory_whole),
        cmocka_unit_test(an_entry_keeps_its_age_wherever_it_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
