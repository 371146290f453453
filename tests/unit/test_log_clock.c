// The log clock: leadership, failover, restarts, drift, and a wall clock that lies.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "ttl/log_clock.h"

#define SECOND UINT64_C(1000000)
#define WALL (UINT64_C(1700000000) * SECOND)

static const struct mf_clock_estimate nothing = {MF_CLOCK_NONE, 0};

static struct mf_log_clock fresh_clock(void)
{
    struct mf_log_clock clock;
    mf_log_clock_init(&clock);
    return clock;
}

static void a_new_group_starts_at_one(void **state)
{
    (void)state;
    struct mf_log_clock clock = fresh_clock();
    assert_int_equal(mf_log_clock_estimate(&clock, 500, WALL).source, MF_CLOCK_NONE);
    assert_int_equal(mf_log_clock_estimate(&clock, 500, WALL).log_us, 0);
    mf_log_clock_lead(&clock, 500, WALL, nothing);
    assert_int_equal(mf_log_clock_now(&clock, 500), 1);
    assert_int_equal(mf_log_clock_now(&clock, 700), 201);
}

static void a_leaders_clock_runs_with_its_monotonic_clock_and_never_below_the_log(void **state)
{
    (void)state;
    struct mf_log_clock clock = fresh_clock();
    mf_log_clock_saw_entry(&clock, 1000);
    mf_log_clock_saw_entry(&clock, 400);
    mf_log_clock_lead(&clock, 50, WALL, nothing);
    assert_int_equal(mf_log_clock_now(&clock, 50), 1000);
    mf_log_clock_saw_entry(&clock, 1500);
    assert_int_equal(mf_log_clock_now(&clock, 60), 1500);
    assert_int_equal(mf_log_clock_now(&clock, 2050), 3000);
    assert_int_equal(mf_log_clock_estimate(&clock, 2050, WALL).log_us, 3000);
    assert_int_equal(mf_log_clock_estimate(&clock, 2050, WALL).source, MF_CLOCK_LIVE);
}

static void a_follower_that_takes_over_goes_on_from_its_leaders_clock(void **state)
{
    (void)state;
    struct mf_log_clock clock = fresh_clock();
    mf_log_clock_saw_entry(&clock, 90 * SECOND);
    mf_log_clock_note_leader(&clock, 100 * SECOND, 7 * SECOND);
    struct mf_clock_estimate estimate = mf_log_clock_estimate(&clock, 8 * SECOND, WALL);
    assert_int_equal(estimate.source, MF_CLOCK_LIVE);
    assert_in_range(estimate.log_us, 101 * SECOND - SECOND / 1000, 101 * SECOND);
    mf_log_clock_lead(&clock, 8 * SECOND, WALL, nothing);
    assert_int_equal(mf_log_clock_now(&clock, 8 * SECOND), estimate.log_us);
}

static void a_reading_that_was_long_on_its_way_changes_nothing(void **state)
{
    (void)state;
    struct mf_log_clock clock = fresh_clock();
    mf_log_clock_note_leader(&clock, 100 * SECOND, 10 * SECOND);
    struct mf_log_clock before = clock;
    mf_log_clock_note_leader(&clock, 100 * SECOND, 11 * SECOND); // a second late
    mf_log_clock_note_leader(&clock, 200 * SECOND, 9 * SECOND);  // of an older moment
    assert_memory_equal(&clock, &before, sizeof(clock));
    mf_log_clock_note_leader(&clock, 101 * SECOND, 11 * SECOND);
    assert_int_equal(clock.noted_log_us, 101 * SECOND);
}

// A follower whose quartz runs fast by 50 parts in a million hears its leader for a day.
static void a_fast_clock_does_not_run_ahead_of_its_leader(void **state)
{
    (void)state;
    struct mf_log_clock clock = fresh_clock();
    for (uint64_t tick = 0; tick < 24 * 3600; tick++) {
        uint64_t leader_us = (1 + tick) * SECOND;
        uint64_t mono_us = leader_us + leader_us / 20000;
        mf_log_clock_note_leader(&clock, leader_us, mono_us);
        struct mf_clock_estimate estimate = mf_log_clock_estimate(&clock, mono_us, WALL);
        assert_in_range(estimate.log_us, leader_us - SECOND / 500, leader_us);
    }
}

static void leadership_lost_leaves_the_clock_to_follow(void **state)
{
    (void)state;
    struct mf_log_clock clock = fresh_clock();
    mf_log_clock_lead(&clock, 0, WALL, nothing);
    mf_log_clock_note_leader(&clock, 99 * SECOND, 1); // of a leader that is none any more
    mf_log_clock_follow(&clock, 5 * SECOND);
    mf_log_clock_follow(&clock, 9 * SECOND); // already following: nothing happens
    struct mf_clock_estimate estimate = mf_log_clock_estimate(&clock, 5 * SECOND, WALL);
    assert_int_equal(estimate.source, MF_CLOCK_LIVE);
    assert_int_equal(estimate.log_us, 5 * SECOND + 1);
}

static void the_best_estimate_of_the_quorum_counts(void **state)
{
    (void)state;
    struct mf_log_clock clock = fresh_clock();
    mf_log_clock_note_leader(&clock, 10 * SECOND, 0);
    struct mf_clock_estimate quorum = {MF_CLOCK_LIVE, 12 * SECOND};
    mf_log_clock_lead(&clock, 0, WALL, quorum);
    assert_int_equal(mf_log_clock_now(&clock, 0), 12 * SECOND);

    clock = fresh_clock();
    mf_log_clock_note_leader(&clock, 10 * SECOND, 0);
    quorum.log_us = 8 * SECOND;
    mf_log_clock_lead(&clock, 0, WALL, quorum);
    assert_int_equal(mf_log_clock_now(&clock, 0), 10 * SECOND);
}

static void a_newer_leaders_clock_counts_even_when_it_is_behind(void **state)
{
    (void)state;
    struct mf_log_clock clock = fresh_clock();
    mf_log_clock_saw_entry(&clock, 5 * SECOND);
    mf_log_clock_note_leader(&clock, 100 * SECOND, 0);
    mf_log_clock_forget(&clock);
    mf_log_clock_note_leader(&clock, 10 * SECOND, 0);
    assert_int_equal(mf_log_clock_estimate(&clock, 0, WALL).log_us, 10 * SECOND);
    mf_log_clock_lead(&clock, 0, WALL, nothing);
    mf_log_clock_forget(&clock); // our own clock is the newest there is
    assert_int_equal(mf_log_clock_now(&clock, SECOND), 11 * SECOND);
}

static void a_bridged_estimate_counts_only_without_a_live_one(void **state)
{
    (void)state;
    // Our own is bridged by a wall clock that jumped a day ahead; somebody heard the leader.
    struct mf_log_clock clock = fresh_clock();
    mf_log_clock_restore_mark(&clock, 10 * SECOND, WALL);
    struct mf_clock_estimate live = {MF_CLOCK_LIVE, 15 * SECOND};
    mf_log_clock_lead(&clock, 0, WALL + 86400 * SECOND, live);
    assert_int_equal(mf_log_clock_now(&clock, 0), 15 * SECOND);

    // The other way round.
    clock = fresh_clock();
    mf_log_clock_note_leader(&clock, 10 * SECOND, 0);
    struct mf_clock_estimate bridged = {MF_CLOCK_BRIDGED, 86400 * SECOND};
    mf_log_clock_lead(&clock, 0, WALL, bridged);
    assert_int_equal(mf_log_clock_now(&clock, 0), 10 * SECOND);

    // Nobody heard one: the larger bridge.
    clock = fresh_clock();
    mf_log_clock_restore_mark(&clock, 10 * SECOND, WALL);
    bridged.log_us = 11 * SECOND;
    mf_log_clock_lead(&clock, 0, WALL + 5 * SECOND, bridged);
    assert_int_equal(mf_log_clock_now(&clock, 0), 15 * SECOND);
}

static void the_wall_clock_bridges_a_stop_of_the_whole_group(void **state)
{
    (void)state;
    struct mf_log_clock clock = fresh_clock();
    mf_log_clock_restore_mark(&clock, 50 * SECOND, WALL);
    mf_log_clock_restore_mark(&clock, 40 * SECOND, WALL + 100 * SECOND); // an older mark
    mf_log_clock_saw_entry(&clock, 51 * SECOND);
    struct mf_clock_estimate estimate = mf_log_clock_estimate(&clock, 0, WALL + 7 * SECOND);
    assert_int_equal(estimate.source, MF_CLOCK_BRIDGED);
    assert_int_equal(estimate.log_us, 57 * SECOND);
}

static void a_wall_clock_that_went_backwards_counts_as_no_time_passed(void **state)
{
    (void)state;
    struct mf_log_clock clock = fresh_clock();
    mf_log_clock_restore_mark(&clock, 50 * SECOND, WALL);
    struct mf_clock_estimate estimate = mf_log_clock_estimate(&clock, 0, WALL - 3600 * SECOND);
    assert_int_equal(estimate.log_us, 50 * SECOND);
    mf_log_clock_saw_entry(&clock, 51 * SECOND);
    estimate = mf_log_clock_estimate(&clock, 0, WALL - 3600 * SECOND);
    assert_int_equal(estimate.log_us, 51 * SECOND);
}

static void the_wall_clock_means_nothing_to_a_follower(void **state)
{
    (void)state;
    struct mf_log_clock clock = fresh_clock();
    mf_log_clock_restore_mark(&clock, 10 * SECOND, WALL);
    mf_log_clock_note_leader(&clock, 20 * SECOND, SECOND);
    struct mf_clock_estimate a = mf_log_clock_estimate(&clock, SECOND, 0);
    struct mf_clock_estimate b = mf_log_clock_estimate(&clock, SECOND, WALL * 2);
    assert_int_equal(a.log_us, 20 * SECOND);
    assert_int_equal(b.log_us, 20 * SECOND);
    assert_int_equal(b.source, MF_CLOCK_LIVE);
}

static void no_reading_makes_the_clock_wrap_around(void **state)
{
    (void)state;
    struct mf_log_clock clock = fresh_clock();
    mf_log_clock_note_leader(&clock, UINT64_MAX - 5, 0);
    assert_true(mf_log_clock_estimate(&clock, SECOND, WALL).log_us == UINT64_MAX);
    mf_log_clock_lead(&clock, SECOND, WALL, nothing);
    assert_true(mf_log_clock_now(&clock, 2 * SECOND) == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_group_starts_at_one),
        cmocka_unit_test(a_leaders_clock_runs_with_its_monotonic_clock_and_never_below_the_log),
        cmocka_unit_test(a_follower_that_takes_over_goes_on_from_its_leaders_clock),
        cmocka_unit_test(a_reading_that_was_long_on_its_way_changes_nothing),
        cmocka_unit_test(a_fast_clock_does_not_run_ahead_of_its_leader),
        cmocka_unit_test(leadership_lost_leaves_the_clock_to_follow),
        cmocka_unit_test(the_best_estimate_of_the_quorum_counts),
        cmocka_unit_test(a_newer_leaders_clock_counts_even_when_it_is_behind),
        cmocka_unit_test(a_bridged_estimate_counts_only_without_a_live_one),
        cmocka_unit_test(the_wall_clock_bridges_a_stop_of_the_whole_group),
        cmocka_unit_test(a_wall_clock_that_went_backwards_counts_as_no_time_passed),
        cmocka_unit_test(the_wall_clock_means_nothing_to_a_follower),
        cmocka_unit_test(no_reading_makes_the_clock_wrap_around),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
