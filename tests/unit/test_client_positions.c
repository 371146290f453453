// How far a watch is in each shard, and what has been told already.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "rpc/client_positions.h"

static enum mf_position_verdict change(struct mf_positions *positions, uint32_t shard,
                                       uint64_t version, unsigned number)
{
    char key[24];
    snprintf(key, sizeof key, "key %u", number);
    return mf_positions_event(positions, shard, version, mf_bytes_str(key));
}

static void a_change_is_told_once_whatever_else_has_its_version(void **state)
{
    (void)state;
    struct mf_positions positions;
    assert_true(mf_positions_init(&positions, 3, 2));
    assert_false(mf_positions_cover(&positions, 2));
    assert_true(mf_positions_cover(&positions, 4));
    assert_false(mf_positions_cover(&positions, 5));
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal(change(&positions, 4, 7, i), MF_POSITION_NEW);
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal(change(&positions, 4, 7, i), MF_POSITION_TOLD);
    assert_int_equal(positions.known, 1);
    assert_int_equal(mf_position_from(&positions.all[1]), 7);
    assert_int_equal(change(&positions, 4, 8, 0), MF_POSITION_NEW);
    assert_int_equal(change(&positions, 4, 8, 0), MF_POSITION_TOLD);
    assert_int_equal(change(&positions, 4, 7, 5), MF_POSITION_FAULT);
    // What is no longer needed is given back.
    assert_true(positions.mark_cap_all <= 64);
    mf_positions_free(&positions);
}

static void progress_takes_a_position_behind_its_version(void **state)
{
    (void)state;
    struct mf_positions positions;
    assert_true(mf_positions_init(&positions, 0, 1));
    assert_int_equal(change(&positions, 0, 7, 1), MF_POSITION_NEW);
    assert_int_equal(mf_positions_progress(&positions, 0, 6), MF_POSITION_TOLD);
    assert_int_equal(mf_position_from(&positions.all[0]), 7);
    assert_int_equal(mf_positions_progress(&positions, 0, 7), MF_POSITION_NEW);
    assert_int_equal(mf_positions_progress(&positions, 0, 7), MF_POSITION_NEW);
    assert_int_equal(mf_position_from(&positions.all[0]), 8);
    assert_int_equal(change(&positions, 0, 7, 2), MF_POSITION_FAULT);
    assert_int_equal(change(&positions, 0, 9, 1), MF_POSITION_NEW);
    assert_int_equal(mf_positions_progress(&positions, 0, UINT64_MAX), MF_POSITION_NEW);
    assert_true(mf_position_from(&positions.all[0]) == UINT64_MAX);
    mf_positions_free(&positions);
}

static void a_beginning_is_behind_the_version_before_it(void **state)
{
    (void)state;
    static const uint64_t cases[][2] = {{0, 1}, {1, 1}, {9, 9}, {UINT64_MAX, UINT64_MAX}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mf_positions positions;
        assert_true(mf_positions_init(&positions, 0, 1));
        mf_positions_begin(&positions, 0, cases[i][0]);
        assert_int_equal(positions.known, 1);
        assert_true(mf_position_from(&positions.all[0]) == cases[i][1]);
        assert_int_equal(change(&positions, 0, cases[i][1], 0), MF_POSITION_NEW);
        mf_positions_free(&positions);
    }
}

static void too_many_changes_of_one_version_are_told_but_cannot_be_gone_on_from(void **state)
{
    (void)state;
    struct mf_positions positions;
    assert_true(mf_positions_init(&positions, 0, 2));
    unsigned number = 0;
    while (positions.all[0].state != MF_POSITION_BLIND) {
        assert_true(number <= MF_MARKS_MAX);
        assert_int_equal(change(&positions, 0, 7, number++), MF_POSITION_NEW);
    }
    assert_true(number > MF_MARKS_MAX / 4);
    assert_true(positions.mark_cap_all <= 64);
    assert_int_equal(change(&positions, 0, 7, number), MF_POSITION_NEW);
    assert_false(mf_positions_resumable(&positions));
    assert_int_equal(change(&positions, 0, 6, 0), MF_POSITION_FAULT);
    // The next version is as good as ever, and so is the news that this one was whole.
    assert_int_equal(change(&positions, 0, 8, 0), MF_POSITION_NEW);
    assert_true(mf_positions_resumable(&positions));
    mf_positions_free(&positions);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_is_told_once_whatever_else_has_its_version),
        cmocka_unit_test(progress_takes_a_position_behind_its_version),
        cmocka_unit_test(a_beginning_is_behind_the_version_before_it),
        cmocka_unit_test(too_many_changes_of_one_version_are_told_but_cannot_be_gone_on_from),
    };
    return cmocka_run_group_tests_name("client_positions", tests, NULL, NULL);
}
