// How fast a count grows: the mean of the last 16 tenths of a second.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "server/rate.h"

static void a_steady_growth_is_told_after_all_samples(void **state)
{
    (void)state;
    struct mf_rate rate = {0};
    uint64_t count = 0;
    for (uint64_t i = 0; i <= MF_RATE_SAMPLES; i++, count += 50)
        mf_rate_sample(&rate, 1 + i * MF_RATE_INTERVAL_US, count);
    assert_int_equal(mf_rate_read(&rate), 500);
    // Then it stands still.
    for (uint64_t i = 1; i <= MF_RATE_SAMPLES; i++) {
        mf_rate_sample(&rate, 1 + (MF_RATE_SAMPLES + i) * MF_RATE_INTERVAL_US, count - 50);
        assert_int_equal(mf_rate_read(&rate), 500 * (MF_RATE_SAMPLES - i) / MF_RATE_SAMPLES);
    }
}

static void samples_are_a_tenth_of_a_second_apart_or_more(void **state)
{
    (void)state;
    struct mf_rate rate = {0};
    mf_rate_sample(&rate, 1, 0);
    mf_rate_sample(&rate, MF_RATE_INTERVAL_US, 1000);
    assert_int_equal(mf_rate_read(&rate), 0);
    mf_rate_sample(&rate, 1 + 2 * MF_RATE_INTERVAL_US, 1600);
    assert_int_equal(mf_rate_read(&rate), 8000 / MF_RATE_SAMPLES);
}

static void a_count_that_was_set_back_is_no_growth(void **state)
{
    (void)state;
    struct mf_rate rate = {0};
    mf_rate_sample(&rate, 1, 1000000);
    mf_rate_sample(&rate, 1 + MF_RATE_INTERVAL_US, 10);
    assert_int_equal(mf_rate_read(&rate), 0);
    mf_rate_sample(&rate, 1 + 2 * MF_RATE_INTERVAL_US, 170);
    assert_int_equal(mf_rate_read(&rate), 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_steady_growth_is_told_after_all_samples),
        cmocka_unit_test(samples_are_a_tenth_of_a_second_apart_or_more),
        cmocka_unit_test(a_count_that_was_set_back_is_no_growth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
