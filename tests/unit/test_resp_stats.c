// Statistics of commands: what is counted, summed over reactors, forgotten at a reset.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "server/resp_stats.h"

static struct mf_resp_settings settings;
static struct mf_resp_stats *stats;
static struct mf_resp_stats *other; // of another reactor

static int set_up(void **state)
{
    (void)state;
    mf_resp_settings_init(&settings);
    stats = mf_resp_stats_new(&settings);
    other = mf_resp_stats_new(&settings);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mf_resp_stats_free(stats);
    mf_resp_stats_free(other);
    return 0;
}

static const struct mf_resp_row *row(const char *name)
{
    return mf_resp_find_name(mf_bytes_str(name));
}

static bool tell_error(const char *text)
{
    return mf_resp_stats_error(stats, mf_bytes_str(text));
}

static void calls_and_times_of_all_reactors_add_up(void **state)
{
    (void)state;
    mf_resp_stats_call(stats, row("get"), 3, false);
    mf_resp_stats_call(stats, row("get"), 4, true);
    mf_resp_stats_call(stats, row("set"), 100, false);
    mf_resp_stats_call(other, row("get"), 5, false);
    mf_resp_stats_reject(other, row("get"));
    mf_resp_stats_lookups(stats, 2, 1);
    mf_resp_stats_lookups(other, 0, 4);
    struct mf_resp_row_sum sum = {0};
    mf_resp_stats_add_row(stats, row("get"), &sum);
    mf_resp_stats_add_row(other, row("get"), &sum);
    assert_int_equal(sum.calls, 3);
    assert_int_equal(sum.us, 12);
    assert_int_equal(sum.rejected, 1);
    assert_int_equal(sum.failed, 1);
    struct mf_resp_sum all = {0};
    mf_resp_stats_add(stats, &all);
    mf_resp_stats_add(other, &all);
    assert_int_equal(all.calls, 4);
    assert_int_equal(all.hits, 2);
    assert_int_equal(all.misses, 5);
}

static void a_reset_forgets_what_was_and_not_what_comes(void **state)
{
    (void)state;
    mf_resp_stats_call(stats, row("get"), 7, false);
    mf_resp_stats_lookups(stats, 1, 0);
    tell_error("ERR syntax error");
    atomic_fetch_add(&settings.resets, 1);
    struct mf_resp_row_sum sum = {0};
    struct mf_resp_sum all = {0};
    struct mf_resp_error_sum errors = {0};
    static struct mf_resp_times times;
    mf_resp_stats_add_row(stats, row("get"), &sum);
    mf_resp_stats_add(stats, &all);
    mf_resp_stats_add_errors(stats, &errors);
    mf_resp_stats_add_times(stats, row("get"), &times);
    assert_int_equal(sum.calls + all.calls + all.hits + all.errors + errors.count + times.count, 0);
    mf_resp_stats_call(stats, row("get"), 2, false);
    mf_resp_stats_add_row(stats, row("get"), &sum);
    mf_resp_stats_add_times(stats, row("get"), &times);
    mf_resp_stats_add(stats, &all);
    assert_int_equal(sum.calls, 1);
    assert_int_equal(sum.us, 2);
    assert_int_equal(times.count, 1);
    assert_int_equal(all.hits + all.errors, 0);
}

static void errors_are_counted_by_their_first_word_in_its_order(void **state)
{
    (void)state;
    assert_false(tell_error("WRONGTYPE that is a list"));
    assert_false(tell_error("ERR syntax error\r\n"));
    assert_false(tell_error("ERR unknown command"));
    assert_false(tell_error("PLAIN"));
    (void)mf_resp_stats_error(other, mf_bytes_str("ERR other"));
    struct mf_resp_error_sum sum = {0};
    mf_resp_stats_add_errors(stats, &sum);
    mf_resp_stats_add_errors(other, &sum);
    assert_int_equal(sum.count, 3);
    assert_string_equal(sum.errors[0].name, "ERR");
    assert_int_equal(sum.errors[0].count, 3);
    assert_string_equal(sum.errors[1].name, "PLAIN");
    assert_string_equal(sum.errors[2].name, "WRONGTYPE");
}

static void some_errors_say_that_nothing_was_done(void **state)
{
    (void)state;
    assert_true(tell_error("OOM command not allowed"));
    assert_true(tell_error("MOVED 1 127.0.0.1:1"));
    assert_true(tell_error("NOAUTH Authentication required."));
    assert_false(tell_error("TIMEOUT the outcome is not known"));
    assert_false(tell_error("MOVEDFAR 1"));
}

static void names_of_errors_are_bounded_and_none_is_lost(void **state)
{
    (void)state;
    char name[40];
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "E%03d what", i);
        tell_error(name);
    }
    tell_error("AVERYLONGNAMETHATDOESNOTENDWHEREITSHOULD");
    struct mf_resp_error_sum sum = {0};
    struct mf_resp_sum all = {0};
    mf_resp_stats_add_errors(stats, &sum);
    mf_resp_stats_add(stats, &all);
    assert_int_equal(sum.count, MF_RESP_ERROR_NAMES_MAX);
    uint64_t errors = 0;
    for (uint32_t i = 0; i < sum.count; i++)
        errors += sum.errors[i].count;
    assert_int_equal(errors, 301);
    assert_int_equal(all.errors, 301);
    // A second reactor with other names: still bounded.
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "F%03d what", i);
        (void)mf_resp_stats_error(other, mf_bytes_str(name));
    }
    mf_resp_stats_add_errors(other, &sum);
    assert_int_equal(sum.count, MF_RESP_ERROR_NAMES_MAX);
    errors = 0;
    for (uint32_t i = 0; i < sum.count; i++)
        errors += sum.errors[i].count;
    assert_int_equal(errors, 601);
}

static void times_up_to_a_power_of_two_are_counted_exactly(void **state)
{
    (void)state;
    static const uint64_t us[] = {0, 1, 2, 3, 64, 65, 128, 129, 1024, 1025, 5000000, UINT64_MAX};
    static const struct {
        uint64_t us;
        uint64_t count;
    } within[] = {{1, 2},   {2, 3},    {4, 4},     {32, 4},       {64, 5},       {128, 7},
                  {256, 8}, {1024, 9}, {2048, 10}, {1 << 22, 10}, {1 << 23, 11}, {1 << 26, 12}};
    for (size_t i = 0; i < sizeof(us) / sizeof(us[0]); i++)
        mf_resp_stats_call(i % 2 == 0 ? stats : other, row("set"), us[i], false);
    static struct mf_resp_times times;
    times = (struct mf_resp_times){0};
    mf_resp_stats_add_times(stats, row("set"), &times);
    mf_resp_stats_add_times(other, row("set"), &times);
    assert_int_equal(times.count, sizeof(us) / sizeof(us[0]));
    for (size_t i = 0; i < sizeof(within) / sizeof(within[0]); i++)
        assert_int_equal(mf_resp_times_within(&times, within[i].us), within[i].count);
}

static void a_percentile_is_at_most_a_32th_too_much(void **state)
{
    (void)state;
    static struct mf_resp_times times;
    for (uint64_t us = 1; us < 60000000; us = us * 5 / 3 + 1) {
        times = (struct mf_resp_times){0};
        atomic_fetch_add(&settings.resets, 1);
        mf_resp_stats_call(stats, row("set"), us, false);
        mf_resp_stats_add_times(stats, row("set"), &times);
        uint64_t told = mf_resp_times_percentile(&times, 99.9);
        assert_true(told >= us);
        assert_true(told - us <= us / 32);
    }
    times = (struct mf_resp_times){0};
    assert_int_equal(mf_resp_times_percentile(&times, 50), 0);
}

static void without_tracking_calls_are_counted_and_times_are_not_kept(void **state)
{
    (void)state;
    atomic_store(&settings.latency_tracking, false);
    mf_resp_stats_call(stats, row("set"), 9, false);
    struct mf_resp_row_sum sum = {0};
    static struct mf_resp_times times;
    times = (struct mf_resp_times){0};
    mf_resp_stats_add_row(stats, row("set"), &sum);
    mf_resp_stats_add_times(stats, row("set"), &times);
    assert_int_equal(sum.us, 9);
    assert_int_equal(times.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(calls_and_times_of_all_reactors_add_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_reset_forgets_what_was_and_not_what_comes, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(errors_are_counted_by_their_first_word_in_its_order, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(some_errors_say_that_nothing_was_done, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_of_errors_are_bounded_and_none_is_lost, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(times_up_to_a_power_of_two_are_counted_exactly, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_percentile_is_at_most_a_32th_too_much, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_tracking_calls_are_counted_and_times_are_not_kept,
                                        set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
