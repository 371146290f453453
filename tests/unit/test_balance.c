// Who is to lead: every reason to hand over, and every reason not to.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/balance.h"

#define WAIT_US UINT64_C(1000000)

// Three voters; we are node 2 and lead in the place of node 1.
static struct mf_balance_view out_of_place(void)
{
    return (struct mf_balance_view){.self = 2,
                                    .preferred = 1,
                                    .settled = true,
                                    .count = 2,
                                    .places = {{.node = 1, .fit = true, .steady = true, .load = 9},
                                               {.node = 3, .fit = true, .steady = true}}};
}

static void a_leader_out_of_place_hands_over_to_the_first_member(void **state)
{
    (void)state;
    struct mf_balance_view view = out_of_place();
    assert_int_equal(mf_balance_heir(&view), 1);
}

static void a_leader_stays_where_it_belongs_or_is_wanted(void **state)
{
    (void)state;
    struct mf_balance_view view = out_of_place();
    view.preferred = 2;
    assert_int_equal(mf_balance_heir(&view), 0);
    view = out_of_place();
    view.pinned = true;
    assert_int_equal(mf_balance_heir(&view), 0);
}

static void nobody_moves_for_the_spreads_sake_while_something_changes(void **state)
{
    (void)state;
    struct mf_balance_view view = out_of_place();
    view.settled = false;
    assert_int_equal(mf_balance_heir(&view), 0);
    view = out_of_place();
    view.places[0].steady = false;
    assert_int_equal(mf_balance_heir(&view), 0);
    view = out_of_place();
    view.places[0].fit = false;
    assert_int_equal(mf_balance_heir(&view), 0);
    view.preferred = 4; // has no vote here
    assert_int_equal(mf_balance_heir(&view), 0);
}

static void a_leaving_node_hands_over_whatever_else_is_going_on(void **state)
{
    (void)state;
    struct mf_balance_view view = out_of_place();
    view.leaving = true;
    view.pinned = true;
    view.settled = false;
    view.places[0].steady = false;
    assert_int_equal(mf_balance_heir(&view), 1);
    view.places[0].fit = false;
    assert_int_equal(mf_balance_heir(&view), 3);
    view.places[1].fit = false;
    assert_int_equal(mf_balance_heir(&view), 0);
}

static void a_leaving_node_gives_to_whoever_has_least(void **state)
{
    (void)state;
    struct mf_balance_view view = {.self = 2,
                                   .preferred = 2,
                                   .leaving = true,
                                   .count = 3,
                                   .places = {{.node = 1, .fit = true, .load = 5},
                                              {.node = 3, .fit = true, .load = 4},
                                              {.node = 4, .load = 1}}};
    assert_int_equal(mf_balance_heir(&view), 3);
    view.places[1].load = 6;
    assert_int_equal(mf_balance_heir(&view), 1);
    view.places[1].load = UINT32_MAX;
    view.preferred = 3;
    assert_int_equal(mf_balance_heir(&view), 3);
}

static void a_leaving_node_gives_to_whoever_need_not_be_waited_for(void **state)
{
    (void)state;
    struct mf_balance_view view = out_of_place();
    view.leaving = true;
    view.places[1].level = true;
    view.places[1].load = UINT32_MAX;
    assert_int_equal(mf_balance_heir(&view), 3);
    view.places[0].level = true;
    assert_int_equal(mf_balance_heir(&view), 1);
}

static void who_did_not_take_over_is_asked_last(void **state)
{
    (void)state;
    struct mf_balance_view view = out_of_place();
    view.leaving = true;
    view.avoid = 1;
    view.places[0].level = true;
    assert_int_equal(mf_balance_heir(&view), 3);
    view.places[1].load = UINT32_MAX;
    assert_int_equal(mf_balance_heir(&view), 3);
    view.places[1].fit = false;
    assert_int_equal(mf_balance_heir(&view), 1);
}

static void a_leaving_node_among_the_voters_does_not_choose_itself(void **state)
{
    (void)state;
    struct mf_balance_view view = {.self = 2,
                                   .preferred = 2,
                                   .leaving = true,
                                   .count = 1,
                                   .places = {{.node = 2, .fit = true}}};
    assert_int_equal(mf_balance_heir(&view), 0);
}

static void a_node_is_steady_when_one_process_has_been_up_for_long(void **state)
{
    (void)state;
    struct mf_balance_watch watch = {0};
    assert_false(mf_balance_steady(&watch, 0, 5 * WAIT_US, WAIT_US));
    mf_balance_look(&watch, 0, true, 7, 100);
    assert_false(mf_balance_steady(&watch, 0, 99 + WAIT_US, WAIT_US));
    mf_balance_look(&watch, 0, true, 7, 99 + WAIT_US);
    assert_true(mf_balance_steady(&watch, 0, 100 + WAIT_US, WAIT_US));
    mf_balance_look(&watch, 0, true, 8, 200 + WAIT_US); // another process
    assert_false(mf_balance_steady(&watch, 0, 300 + WAIT_US, WAIT_US));
    assert_true(mf_balance_steady(&watch, 0, 200 + 2 * WAIT_US, WAIT_US));
    mf_balance_look(&watch, 0, false, 8, 10 * WAIT_US);
    assert_false(mf_balance_steady(&watch, 0, 20 * WAIT_US, WAIT_US));
    assert_false(mf_balance_steady(&watch, 0, 9 * WAIT_US, WAIT_US)); // the clock is never behind
}

static void a_cluster_is_settled_when_nobody_has_changed_lately(void **state)
{
    (void)state;
    struct mf_balance_watch watch = {0};
    mf_balance_look(&watch, 0, true, 1, 100);
    assert_false(mf_balance_settled(&watch, 2, 100 + WAIT_US, WAIT_US)); // not seen at all
    mf_balance_look(&watch, 1, true, 1, 100);
    assert_true(mf_balance_settled(&watch, 2, 100 + WAIT_US, WAIT_US));
    mf_balance_look(&watch, 1, false, 1, 2 * WAIT_US);
    assert_false(mf_balance_settled(&watch, 2, 2 * WAIT_US, WAIT_US));
    assert_false(mf_balance_settled(&watch, 2, 3 * WAIT_US - 1, WAIT_US));
    assert_true(mf_balance_settled(&watch, 2, 3 * WAIT_US, WAIT_US)); // it stays away
    assert_true(mf_balance_settled(&watch, 1, 2 * WAIT_US, WAIT_US)); // nobody else is asked about
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_leader_out_of_place_hands_over_to_the_first_member),
        cmocka_unit_test(a_leader_stays_where_it_belongs_or_is_wanted),
        cmocka_unit_test(nobody_moves_for_the_spreads_sake_while_something_changes),
        cmocka_unit_test(a_leaving_node_hands_over_whatever_else_is_going_on),
        cmocka_unit_test(a_leaving_node_gives_to_whoever_has_least),
        cmocka_unit_test(a_leaving_node_gives_to_whoever_need_not_be_waited_for),
        cmocka_unit_test(who_did_not_take_over_is_asked_last),
        cmocka_unit_test(a_leaving_node_among_the_voters_does_not_choose_itself),
        cmocka_unit_test(a_node_is_steady_when_one_process_has_been_up_for_long),
        cmocka_unit_test(a_cluster_is_settled_when_nobody_has_changed_lately),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
