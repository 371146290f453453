// Which copy may be given up, and what is left of it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/copies.h"

static void what_is_left_is_read_as_it_was_written(void **state)
{
    (void)state;
    static const struct mf_left cases[] = {
        {.promise = 0, .slot = 0, .gone = true},
        {.promise = (UINT64_C(7) << 16) | 3, .slot = 812, .floor = 805, .gone = false},
        {.promise = UINT64_MAX, .slot = UINT64_MAX, .gone = true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[MF_LEFT_TEXT_BYTES];
        struct mf_left left;
        mf_left_format(&cases[i], text);
        assert_int_equal(mf_left_parse(text, &left), MF_OK);
        assert_int_equal(left.promise, cases[i].promise);
        assert_int_equal(left.slot, cases[i].slot);
        assert_int_equal(left.floor, cases[i].floor);
        assert_int_equal(left.gone, cases[i].gone);
        for (size_t len = 0; len < strlen(text); len++) {
            char cut[MF_LEFT_TEXT_BYTES] = "";
            memcpy(cut, text, len);
            assert_int_equal(mf_left_parse(cut, &left), MF_CORRUPT);
        }
    }
}

static void a_text_that_nobody_writes_is_damaged(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "mayfly-left 2\npromise = 2.1\nslot = 812\nfloor = 8\nstate = gone\n",
        "mayfly-left 1\npromise = 2.65536\nslot = 812\nfloor = 8\nstate = gone\n",
        "mayfly-left 1\npromise = 2\nslot = 812\nfloor = 8\nstate = gone\n",
        "mayfly-left 1\npromise = -2.1\nslot = 812\nfloor = 8\nstate = gone\n",
        "mayfly-left 1\npromise = 2.1\nslot = 0812\nfloor = 8\nstate = gone\n",
        "mayfly-left 1\npromise = 2.1\nslot = 812\nfloor = 8\nstate = went\n",
        "mayfly-left 1\npromise = 2.1\nslot = 812\nfloor = 8\nstate = gone\n\n",
        "mayfly-left 1\npromise = 281474976710656.1\nslot = 812\nfloor = 8\nstate = gone\n",
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mf_left left;
        assert_int_equal(mf_left_parse(cases[i], &left), MF_CORRUPT);
    }
}

static struct mf_paxos *core_in(uint64_t members_slot)
{
    const struct mf_paxos_config config = {
        .self = 3,
        .incarnation = 1,
        .members = {.slot = members_slot, .voter_count = 2, .voters = {{1, 1}, {2, 1}}},
        .window_entries = 1,
        .window_bytes = 1};
    return mf_paxos_new(&config, members_slot + 1, 1);
}

// The next copy would take a checkpoint in whose configuration its acceptor still votes.
static void what_is_left_names_the_configuration_that_dropped_the_copy(void **state)
{
    (void)state;
    struct mf_paxos *paxos = core_in(700);
    mf_paxos_restore_promise(paxos, mf_ballot_make(7, 2));
    const struct mf_places places = {
        .slot = 900, .retiring = true, .retire_slot = 805, .retire_ballot = mf_ballot_make(9, 1)};
    assert_true(mf_copies_may_go(&places, paxos));
    struct mf_left left = mf_copies_left_of(&places, paxos, &(struct mf_left){0});
    assert_true(left.gone);
    assert_int_equal(left.floor, 805);
    assert_int_equal(left.slot, 700);
    assert_int_equal(left.promise, mf_ballot_make(7, 2));
    // A copy that never got a state, made by a word that was old, takes nothing back.
    left = mf_copies_left_of(&places, paxos, &(struct mf_left){.slot = 850, .floor = 840});
    assert_int_equal(left.floor, 840);
    assert_int_equal(left.slot, 850);
    mf_paxos_free(paxos);
}

// It may have voted in the later one; that this node knows it now, too, does not make the word new.
static void a_word_does_not_count_for_a_later_configuration_than_it_was_of(void **state)
{
    (void)state;
    struct mf_paxos *paxos = core_in(900);
    struct mf_places places = {
        .slot = 900, .retiring = true, .retire_slot = 805, .retire_ballot = mf_ballot_make(9, 1)};
    assert_false(mf_copies_may_go(&places, paxos));
    places.retire_slot = 900;
    assert_true(mf_copies_may_go(&places, paxos));
    places.retiring = false;
    assert_false(mf_copies_may_go(&places, paxos));
    mf_paxos_free(paxos);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_left_is_read_as_it_was_written),
        cmocka_unit_test(a_text_that_nobody_writes_is_damaged),
        cmocka_unit_test(what_is_left_names_the_configuration_that_dropped_the_copy),
        cmocka_unit_test(a_word_does_not_count_for_a_later_configuration_than_it_was_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
