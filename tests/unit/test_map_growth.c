// What growth and shrinking of the map cost: a bounded number of steps for each change, however
// large the table is.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "shards/map.h"

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
    mf_map_clear(map);
    insert_from(map, 0, NUMBERS / 4, &meter);
    assert_true(mf_map_valid(map));
    mf_map_free(map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_change_costs_more_in_a_larger_table),
        cmocka_unit_test(a_table_that_grows_back_finds_its_directory_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
