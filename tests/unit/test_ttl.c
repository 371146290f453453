// Times to live, counted by ranges.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "snapshot/tool/ttl.h"

#define LOG_TIME_US 5000u

static const struct mf_snapshot_shard section = {.meta = {.log_time_us = LOG_TIME_US}};

static void count(struct ttl_counts *counts, uint64_t deadline_us)
{
    struct mf_record record = {.deadline_us = deadline_us};
    ttl_count(counts, &section, &record);
}

static void a_key_is_in_the_range_that_its_time_is_below(void **state)
{
    (void)state;
    for (int range = 0; range < TTL_RANGES; range++) {
        struct ttl_counts counts = {0};
        if (range > 0)
            count(&counts, LOG_TIME_US + ttl_range_end_ms(range - 1) * 1000);
        else
            count(&counts, LOG_TIME_US + 1);
        if (range < TTL_RANGES - 1)
            count(&counts, LOG_TIME_US + ttl_range_end_ms(range) * 1000 - 1);
        else
            count(&counts, MF_NO_DEADLINE - 1);
        assert_int_equal(counts.range[range], 2);
        assert_int_equal(ttl_counted(&counts), 2);
    }
    assert_int_equal(ttl_range_end_ms(TTL_RANGES - 1), UINT64_MAX);
}

static void who_is_dead_or_has_no_end_is_in_no_range(void **state)
{
    (void)state;
    struct ttl_counts counts = {0};
    count(&counts, MF_NO_DEADLINE);
    count(&counts, LOG_TIME_US);
    count(&counts, 0);
    assert_int_equal(counts.none, 1);
    assert_int_equal(counts.dead, 2);
    assert_int_equal(ttl_counted(&counts), 0);
    assert_int_equal(counts.least_us, 0);
}

static void counts_add_up(void **state)
{
    (void)state;
    struct ttl_counts first = {0};
    struct ttl_counts second = {0};
    struct ttl_counts sum = {0};
    count(&first, LOG_TIME_US + 700);
    count(&first, MF_NO_DEADLINE);
    count(&second, LOG_TIME_US + 3);
    count(&second, LOG_TIME_US + 2000000);
    count(&second, 1);
    ttl_add(&sum, &first);
    ttl_add(&sum, &second);
    const struct ttl_counts nothing = {0};
    ttl_add(&sum, &nothing);
    assert_int_equal(sum.none, 1);
    assert_int_equal(sum.dead, 1);
    assert_int_equal(ttl_counted(&sum), 3);
    assert_int_equal(sum.least_us, 3);
    assert_int_equal(sum.most_us, 2000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_in_the_range_that_its_time_is_below),
        cmocka_unit_test(who_is_dead_or_has_no_end_is_in_no_range),
        cmocka_unit_test(counts_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
