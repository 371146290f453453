// Series of slow moments: one a second, the last ones, the worst, and the drawing.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "server/latency.h"

static struct mf_resp_settings settings;
static struct mf_latency *latency;
static struct mf_latency_series series;

static int set_up(void **state)
{
    (void)state;
    mf_resp_settings_init(&settings);
    latency = mf_latency_new(&settings);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mf_latency_free(latency);
    return 0;
}

static void read_commands(void)
{
    mf_latency_read(latency, MF_LATENCY_COMMAND, &series);
}

static void only_what_takes_as_long_as_the_threshold_is_noted(void **state)
{
    (void)state;
    mf_latency_note(latency, MF_LATENCY_COMMAND, 5000000);
    read_commands();
    assert_int_equal(series.count, 0);
    atomic_store(&settings.latency_monitor_threshold_ms, 5);
    mf_latency_note(latency, MF_LATENCY_COMMAND, 4999);
    read_commands();
    assert_int_equal(series.count, 0);
    mf_latency_note(latency, MF_LATENCY_COMMAND, 5000);
    read_commands();
    assert_int_equal(series.count, 1);
    assert_int_equal(series.samples[0].ms, 5);
}

static void a_second_keeps_its_worst(void **state)
{
    (void)state;
    mf_latency_add(latency, MF_LATENCY_COMMAND, 100, 7);
    mf_latency_add(latency, MF_LATENCY_COMMAND, 100, 9);
    mf_latency_add(latency, MF_LATENCY_COMMAND, 100, 8);
    mf_latency_add(latency, MF_LATENCY_COMMAND, 101, 3);
    mf_latency_add(latency, MF_LATENCY_FSYNC, 101, 30);
    read_commands();
    assert_int_equal(series.count, 2);
    assert_int_equal(series.max_ms, 9);
    assert_int_equal(series.samples[0].unix_s, 100);
    assert_int_equal(series.samples[0].ms, 9);
    assert_int_equal(series.samples[1].ms, 3);
}

static void the_last_160_are_kept_in_their_order(void **state)
{
    (void)state;
    for (uint64_t s = 1; s <= 500; s++)
        mf_latency_add(latency, MF_LATENCY_COMMAND, s, 1000 - s);
    read_commands();
    assert_int_equal(series.count, MF_LATENCY_SAMPLES);
    assert_int_equal(series.max_ms, 999);
    for (uint32_t i = 0; i < MF_LATENCY_SAMPLES; i++)
        assert_int_equal(series.samples[i].unix_s, 341 + i);
}

static void a_reset_says_whether_there_was_anything(void **state)
{
    (void)state;
    mf_latency_add(latency, MF_LATENCY_COMMAND, 100, 7);
    assert_true(mf_latency_reset(latency, MF_LATENCY_COMMAND));
    assert_false(mf_latency_reset(latency, MF_LATENCY_COMMAND));
    read_commands();
    assert_int_equal(series.count, 0);
    assert_int_equal(series.max_ms, 0);
}

static void draws(uint64_t now_s, const char *expected)
{
    struct mf_buf out = {0};
    read_commands();
    mf_latency_draw(&out, MF_LATENCY_COMMAND, &series, now_s);
    mf_buf_u8(&out, '\0');
    assert_string_equal((const char *)out.data, expected);
    mf_buf_free(&out);
}

#define RULE "--------------------------------------------------------------------------------\n"

// What redis-server 7.0.15 draws of the same samples.
static void a_drawing_is_that_of_redis(void **state)
{
    (void)state;
    static const uint64_t ms[] = {5, 50, 20, 100, 31};
    for (uint64_t i = 0; i < 5; i++)
        mf_latency_add(latency, MF_LATENCY_COMMAND, 1000 + i, ms[i]);
    draws(1005, "command - high 100 ms, low 5 ms (all time high 100 ms)\n" RULE
                "   # \n   | \n # |_\n_|o||\n     \n54321\nsssss\n");
}

static void ages_are_told_in_their_unit(void **state)
{
    (void)state;
    mf_latency_add(latency, MF_LATENCY_COMMAND, 1000, 4);
    mf_latency_add(latency, MF_LATENCY_COMMAND, 1000 + 86400, 4);
    mf_latency_add(latency, MF_LATENCY_COMMAND, 1000 + 2 * 86400 - 7200, 4);
    mf_latency_add(latency, MF_LATENCY_COMMAND, 1000 + 2 * 86400 - 1200, 4);
    draws(1000 + 2 * 86400, "command - high 4 ms, low 4 ms (all time high 4 ms)\n" RULE
                            "    \n    \n    \n____\n    \n2122\nddh0\n   m\n");
}

static void more_than_fit_in_a_line_are_drawn_below(void **state)
{
    (void)state;
    for (uint64_t s = 1; s <= 81; s++)
        mf_latency_add(latency, MF_LATENCY_COMMAND, s, 4);
    struct mf_buf out = {0};
    read_commands();
    mf_latency_draw(&out, MF_LATENCY_COMMAND, &series, 81);
    mf_buf_u8(&out, '\0');
    static const char end[] = "\n\n \n \n \n_\n \n0\ns\n";
    assert_true(out.len > sizeof(end));
    assert_string_equal((const char *)out.data + out.len - sizeof(end), end);
    mf_buf_free(&out);
}

static void events_are_found_by_name(void **state)
{
    (void)state;
    enum mf_latency_event event;
    assert_true(mf_latency_find(mf_bytes_str("fast-command"), &event));
    assert_int_equal(event, MF_LATENCY_FAST_COMMAND);
    assert_false(mf_latency_find(mf_bytes_str("fork"), &event));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_what_takes_as_long_as_the_threshold_is_noted, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_second_keeps_its_worst, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_last_160_are_kept_in_their_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_reset_says_whether_there_was_anything, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_drawing_is_that_of_redis, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ages_are_told_in_their_unit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(more_than_fit_in_a_line_are_drawn_below, set_up, tear_down),
        cmocka_unit_test(events_are_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
