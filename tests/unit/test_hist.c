// The latency histogram: bounded error, exact extremes, merging.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "base/hist.h"
#include "base/rand.h"

static struct mf_hist hist; // too large for a stack

static int start_empty(void **state)
{
    (void)state;
    hist = (struct mf_hist){0};
    return 0;
}

static void an_empty_histogram_answers_zero(void **state)
{
    (void)state;
    assert_int_equal(mf_hist_percentile(&hist, 0), 0);
    assert_int_equal(mf_hist_percentile(&hist, 50), 0);
    assert_int_equal(mf_hist_percentile(&hist, 100), 0);
}

static void count_sum_and_maximum_are_exact(void **state)
{
    (void)state;
    static const uint64_t values[] = {5, 1000003, 0, 77};
    for (size_t i = 0; i < 4; i++)
        mf_hist_add(&hist, values[i]);
    assert_int_equal(hist.count, 4);
    assert_int_equal(hist.sum, 1000085);
    assert_int_equal(hist.max, 1000003);
    assert_int_equal(mf_hist_percentile(&hist, 100), 1000003);
}

static void values_below_128_are_exact(void **state)
{
    (void)state;
    for (uint64_t value = 0; value < 128; value++) {
        hist = (struct mf_hist){0};
        mf_hist_add(&hist, value);
        mf_hist_add(&hist, UINT64_MAX);
        assert_int_equal(mf_hist_percentile(&hist, 50), value);
    }
}

// The answer for the lower of two values is never below it and at most 1/64 above.
static void check_error_of(uint64_t value)
{
    hist = (struct mf_hist){0};
    mf_hist_add(&hist, value);
    mf_hist_add(&hist, UINT64_MAX);
    uint64_t answer = mf_hist_percentile(&hist, 50);
    assert_true(answer >= value);
    assert_true(answer - value <= value / 64);
}

static void the_error_is_at_most_one_64th_at_every_power_of_two(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t power = UINT64_C(1) << bit;
        check_error_of(power - 1);
        check_error_of(power);
        check_error_of(power + 1);
        check_error_of(power + power / 2);
    }
    check_error_of(UINT64_MAX - 1);
}

static void the_error_is_at_most_one_64th_for_any_value(void **state)
{
    (void)state;
    struct mf_rand rand = {.state = 1};
    for (int i = 0; i < 500; i++) {
        uint64_t value = mf_rand_next(&rand);
        check_error_of(value >> mf_rand_below(&rand, 64));
    }
}

static void percentiles_count_values_and_not_buckets(void **state)
{
    (void)state;
    for (uint64_t value = 1; value <= 100; value++)
        mf_hist_add(&hist, value);
    static const struct {
        double percent;
        uint64_t answer;
    } cases[] = {{-5, 1},  {0, 1},   {0.5, 1},    {1, 1},     {1.5, 2},   {50, 50},
                 {90, 90}, {99, 99}, {99.5, 100}, {100, 100}, {1000, 100}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(mf_hist_percentile(&hist, cases[i].percent), cases[i].answer);
}

static void a_percentile_that_is_a_whole_count_is_not_rounded_up(void **state)
{
    (void)state;
    // 99.9 / 100 * 1000 is a little over 999 in floating point.
    for (int i = 0; i < 999; i++)
        mf_hist_add(&hist, 1);
    mf_hist_add(&hist, 100);
    assert_int_equal(mf_hist_percentile(&hist, 99.9), 1);
    assert_int_equal(mf_hist_percentile(&hist, 99.91), 100);
}

static void no_percentile_is_above_the_true_maximum(void **state)
{
    (void)state;
    mf_hist_add(&hist, 1000001);
    assert_int_equal(mf_hist_percentile(&hist, 50), 1000001);
    assert_int_equal(mf_hist_percentile(&hist, 99.999), 1000001);
}

static void merging_is_the_same_as_recording_all_in_one(void **state)
{
    (void)state;
    static struct mf_hist one;
    static struct mf_hist two;
    one = (struct mf_hist){0};
    two = (struct mf_hist){0};
    struct mf_rand rand = {.state = 2};
    for (int i = 0; i < 2000; i++) {
        uint64_t value = mf_rand_next(&rand) >> mf_rand_below(&rand, 64);
        mf_hist_add(i % 3 == 0 ? &one : &two, value);
        mf_hist_add(&hist, value);
    }
    mf_hist_merge(&one, &two);
    assert_memory_equal(&one, &hist, sizeof(hist));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_empty_histogram_answers_zero, start_empty),
        cmocka_unit_test_setup(count_sum_and_maximum_are_exact, start_empty),
        cmocka_unit_test_setup(values_below_128_are_exact, start_empty),
        cmocka_unit_test_setup(the_error_is_at_most_one_64th_at_every_power_of_two, start_empty),
        cmocka_unit_test_setup(the_error_is_at_most_one_64th_for_any_value, start_empty),
        cmocka_unit_test_setup(percentiles_count_values_and_not_buckets, start_empty),
        cmocka_unit_test_setup(a_percentile_that_is_a_whole_count_is_not_rounded_up, start_empty),
        cmocka_unit_test_setup(no_percentile_is_above_the_true_maximum, start_empty),
        cmocka_unit_test_setup(merging_is_the_same_as_recording_all_in_one, start_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
