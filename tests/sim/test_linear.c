// The checker must be able to say no: wrong histories, each with the right one beside it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "linear.h"

#define COUNT(ops) (sizeof(ops) / sizeof((ops)[0]))

static enum linear_verdict verdict_of(const struct linear_op *ops, size_t count)
{
    return linear_check(ops, count, 100000).verdict;
}

static void expect(const struct linear_op *ops, size_t count, enum linear_verdict verdict)
{
    assert_int_equal(verdict_of(ops, count), verdict);
}

static struct linear_op set(uint64_t call, uint64_t ret, uint64_t value)
{
    return (struct linear_op){
        .call_us = call, .return_us = ret, .kind = LINEAR_SET, .value = value, .hit = LINEAR_YES};
}

// A set that gives a TTL, in stretch 1.
static struct linear_op set_until(uint64_t call, uint64_t ret, uint64_t value, uint64_t from,
                                  uint64_t until)
{
    struct linear_op op = set(call, ret, value);
    op.gives_ttl = true;
    op.stretch = 1;
    op.dies_from_us = from;
    op.dies_until_us = until;
    return op;
}

// A read in stretch 1; value 0: nothing was there.
static struct linear_op get(uint64_t call, uint64_t ret, uint64_t value)
{
    return (struct linear_op){.call_us = call,
                              .return_us = ret,
                              .kind = LINEAR_READ,
                              .stretch = 1,
                              .hit = value != 0 ? LINEAR_YES : LINEAR_NO,
                              .tells_value = value != 0,
                              .seen_value = value};
}

static struct linear_op change(enum linear_kind kind, uint64_t call, uint64_t ret,
                               enum linear_hit hit)
{
    return (struct linear_op){.call_us = call, .return_us = ret, .kind = kind, .hit = hit};
}

// Nobody knows what became of it.
static struct linear_op open_op(struct linear_op op, bool maybe)
{
    op.return_us = LINEAR_NEVER;
    op.hit = LINEAR_UNTOLD;
    op.maybe = maybe;
    return op;
}

static void a_read_after_a_write_must_see_it(void **state)
{
    (void)state;
    struct linear_op fresh[] = {set(1, 2, 7), get(3, 4, 7)};
    struct linear_op lost[] = {set(1, 2, 7), get(3, 4, 0)};
    struct linear_op stale[] = {set(1, 2, 7), set(3, 4, 8), get(5, 6, 7)};
    expect(fresh, COUNT(fresh), LINEAR_FINE);
    expect(lost, COUNT(lost), LINEAR_BROKEN);
    expect(stale, COUNT(stale), LINEAR_BROKEN);
}

static void a_read_during_a_write_may_see_either(void **state)
{
    (void)state;
    struct linear_op old[] = {set(1, 2, 7), set(3, 9, 8), get(4, 5, 7)};
    struct linear_op new[] = {set(1, 2, 7), set(3, 9, 8), get(4, 5, 8)};
    expect(old, COUNT(old), LINEAR_FINE);
    expect(new, COUNT(new), LINEAR_FINE);
}

static void two_reads_may_not_see_time_go_back(void **state)
{
    (void)state;
    struct linear_op forth[] = {set(1, 2, 7), set(3, 9, 8), get(4, 5, 7), get(6, 7, 8)};
    struct linear_op back[] = {set(1, 2, 7), set(3, 9, 8), get(4, 5, 8), get(6, 7, 7)};
    expect(forth, COUNT(forth), LINEAR_FINE);
    expect(back, COUNT(back), LINEAR_BROKEN);
}

static void a_write_without_an_answer_may_come_late_or_never(void **state)
{
    (void)state;
    struct linear_op lost = open_op(set(1, 2, 7), true);
    struct linear_op never[] = {lost, get(5, 6, 0)};
    struct linear_op late[] = {lost, get(5, 6, 0), get(7, 8, 7)};
    struct linear_op early[] = {get(0, 0, 7), lost};
    struct linear_op gone[] = {lost, get(5, 6, 7), get(7, 8, 0)};
    expect(never, COUNT(never), LINEAR_FINE);
    expect(late, COUNT(late), LINEAR_FINE);
    expect(early, COUNT(early), LINEAR_BROKEN);
    expect(gone, COUNT(gone), LINEAR_BROKEN);
}

static void a_write_that_is_in_the_log_must_have_happened(void **state)
{
    (void)state;
    struct linear_op nx = set(3, 4, 8);
    nx.conditions = LINEAR_NX;
    nx.hit = LINEAR_YES;
    // Only the write of 7 after the nx explains everything; it may be as late as it likes.
    struct linear_op after[] = {open_op(set(1, 2, 7), false), nx, get(5, 6, 8)};
    expect(after, COUNT(after), LINEAR_FINE);
}

static void conditions_are_held_against_the_state(void **state)
{
    (void)state;
    struct linear_op nx = set(3, 4, 8);
    nx.conditions = LINEAR_NX;
    struct linear_op taken[] = {set(1, 2, 7), nx};
    expect(taken, COUNT(taken), LINEAR_BROKEN);
    taken[1].hit = LINEAR_NO;
    expect(taken, COUNT(taken), LINEAR_FINE);
    struct linear_op xx = set(1, 2, 8);
    xx.conditions = LINEAR_XX;
    expect(&xx, 1, LINEAR_BROKEN);
    xx.hit = LINEAR_NO;
    expect(&xx, 1, LINEAR_FINE);
}

static void versions_grow_and_guard_writes(void **state)
{
    (void)state;
    struct linear_op ops[] = {set(1, 2, 7), set(3, 4, 8)};
    ops[0].version = 5;
    ops[1].version = 6;
    expect(ops, 2, LINEAR_FINE);
    ops[1].version = 4;
    expect(ops, 2, LINEAR_BROKEN);
    ops[1].version = 6;
    ops[1].conditions = LINEAR_IF_VERSION;
    ops[1].if_version = 4;
    expect(ops, 2, LINEAR_BROKEN);
    ops[1].if_version = 5;
    expect(ops, 2, LINEAR_FINE);
}

static void the_old_value_told_must_be_the_one_before(void **state)
{
    (void)state;
    struct linear_op ops[] = {set(1, 2, 7), set(3, 4, 8)};
    ops[1].tells_value = true;
    ops[1].seen_value = 7;
    expect(ops, 2, LINEAR_FINE);
    ops[1].seen_value = 0;
    expect(ops, 2, LINEAR_BROKEN);
}

static void a_delete_that_had_effect_twice_is_broken(void **state)
{
    (void)state;
    struct linear_op once[] = {set(1, 2, 7), change(LINEAR_DEL, 3, 4, LINEAR_YES), get(5, 6, 0)};
    struct linear_op twice[] = {set(1, 2, 7), change(LINEAR_DEL, 3, 4, LINEAR_YES),
                                change(LINEAR_DEL, 5, 6, LINEAR_YES)};
    expect(once, COUNT(once), LINEAR_FINE);
    expect(twice, COUNT(twice), LINEAR_BROKEN);
}

static void a_key_may_not_die_before_its_time(void **state)
{
    (void)state;
    struct linear_op early[] = {set_until(1, 2, 7, 100, 120), get(90, 95, 0)};
    struct linear_op right[] = {set_until(1, 2, 7, 100, 120), get(90, 101, 0)};
    expect(early, COUNT(early), LINEAR_BROKEN);
    expect(right, COUNT(right), LINEAR_FINE);
}

static void a_key_may_not_outlive_its_time(void **state)
{
    (void)state;
    struct linear_op late[] = {set_until(1, 2, 7, 100, 120), get(121, 125, 7)};
    struct linear_op right[] = {set_until(1, 2, 7, 100, 120), get(119, 125, 7)};
    expect(late, COUNT(late), LINEAR_BROKEN);
    expect(right, COUNT(right), LINEAR_FINE);
}

static void a_dead_key_may_not_come_back(void **state)
{
    (void)state;
    struct linear_op back[] = {set_until(1, 2, 7, 100, 200), get(110, 115, 0), get(120, 125, 7)};
    struct linear_op set_again[] = {set_until(1, 2, 7, 100, 200), get(110, 115, 0),
                                    set(116, 117, 9), get(120, 125, 9)};
    expect(back, COUNT(back), LINEAR_BROKEN);
    expect(set_again, COUNT(set_again), LINEAR_FINE);
}

static void a_dead_key_may_not_come_back_between_stretches_either(void **state)
{
    (void)state;
    struct linear_op ops[] = {set_until(1, 2, 7, 100, 200), get(10, 15, 0), get(20, 25, 7)};
    ops[1].stretch = 0;
    ops[2].stretch = 2;
    expect(ops, 2, LINEAR_FINE); // the clock may have jumped: an early death is possible
    expect(ops, 3, LINEAR_BROKEN);
}

static void a_key_without_a_ttl_never_dies(void **state)
{
    (void)state;
    struct linear_op persisted[] = {set_until(1, 2, 7, 100, 200),
                                    change(LINEAR_PERSIST, 10, 11, LINEAR_YES), get(300, 301, 7)};
    expect(persisted, 3, LINEAR_FINE);
    persisted[2] = get(300, 301, 0);
    expect(persisted, 3, LINEAR_BROKEN);
}

static void expire_gives_a_new_time(void **state)
{
    (void)state;
    struct linear_op expire = change(LINEAR_EXPIRE, 10, 11, LINEAR_YES);
    expire.gives_ttl = true;
    expire.stretch = 1;
    expire.dies_from_us = 500;
    expire.dies_until_us = 600;
    struct linear_op ops[] = {set_until(1, 2, 7, 100, 200), expire, get(300, 301, 7)};
    expect(ops, 3, LINEAR_FINE);
    ops[2] = get(300, 301, 0);
    expect(ops, 3, LINEAR_BROKEN);
    ops[2] = get(601, 602, 7);
    expect(ops, 3, LINEAR_BROKEN);
}

static void keep_ttl_keeps_the_time(void **state)
{
    (void)state;
    struct linear_op keep = set(10, 11, 8);
    keep.conditions = LINEAR_KEEP_TTL;
    keep.stretch = 1;
    struct linear_op ops[] = {set_until(1, 2, 7, 100, 200), keep, get(201, 202, 8)};
    expect(ops, 3, LINEAR_BROKEN);
    ops[2] = get(150, 151, 0);
    expect(ops, 3, LINEAR_FINE);
    ops[1].conditions = 0;
    expect(ops, 3, LINEAR_BROKEN);
}

static void a_ttl_told_must_fit_the_time_left(void **state)
{
    (void)state;
    struct linear_op look = get(50000, 51000, 7);
    look.ttl = LINEAR_TTL_LEFT;
    look.ttl_left_us = 50000;
    struct linear_op ops[] = {set_until(1, 2, 7, 100000, 102000), look};
    expect(ops, 2, LINEAR_FINE);
    ops[1].ttl_left_us = 54000;
    expect(ops, 2, LINEAR_BROKEN);
    ops[1].ttl_left_us = 45000;
    expect(ops, 2, LINEAR_BROKEN);
    ops[1].ttl = LINEAR_TTL_NONE;
    expect(ops, 2, LINEAR_BROKEN);
}

// An incr that told this result.
static struct linear_op incr(uint64_t call, uint64_t ret, int64_t delta, int64_t after)
{
    struct linear_op op = change(LINEAR_INCR, call, ret, LINEAR_YES);
    op.delta = delta;
    op.value_after = linear_integer(after);
    return op;
}

static void counts_add_up(void **state)
{
    (void)state;
    struct linear_op ops[] = {incr(1, 9, 5, 5), incr(2, 8, -2, 3), get(10, 11, linear_integer(3))};
    expect(ops, 3, LINEAR_FINE);
    ops[1].value_after = linear_integer(5 + 2);
    expect(ops, 3, LINEAR_BROKEN);
    ops[1].value_after = linear_integer(-2); // each as if it were the first
    expect(ops, 3, LINEAR_BROKEN);
    ops[1] = change(LINEAR_INCR, 2, 8, LINEAR_NO); // no integer, it says
    expect(ops, 3, LINEAR_BROKEN);
    struct linear_op text[] = {set(1, 2, 7), change(LINEAR_INCR, 3, 4, LINEAR_NO), get(5, 6, 7)};
    expect(text, 3, LINEAR_FINE);
    text[1] = incr(3, 4, 1, 1);
    expect(text, 3, LINEAR_BROKEN);
}

static void an_append_goes_to_the_end_of_what_is_there(void **state)
{
    (void)state;
    struct linear_op append = change(LINEAR_APPEND, 3, 4, LINEAR_YES);
    append.value = 8;
    struct linear_op ops[] = {set(1, 2, 7), append, get(5, 6, linear_appended(7, 8))};
    expect(ops, 3, LINEAR_FINE);
    ops[2] = get(5, 6, 8);
    expect(ops, 3, LINEAR_BROKEN);
    ops[2] = get(5, 6, linear_appended(8, 7));
    expect(ops, 3, LINEAR_BROKEN);
    struct linear_op alone[] = {append, get(5, 6, 8)};
    expect(alone, 2, LINEAR_FINE);
}

static void getex_tells_the_value_and_gives_a_new_time(void **state)
{
    (void)state;
    struct linear_op getex = change(LINEAR_GETEX, 10, 11, LINEAR_YES);
    getex.tells_value = true;
    getex.seen_value = 7;
    getex.gives_ttl = true;
    getex.stretch = 1;
    getex.dies_from_us = 500;
    getex.dies_until_us = 600;
    struct linear_op ops[] = {set_until(1, 2, 7, 100, 200), getex, get(300, 301, 7)};
    expect(ops, 3, LINEAR_FINE);
    ops[2] = get(300, 301, 0);
    expect(ops, 3, LINEAR_BROKEN);
    ops[2] = get(601, 602, 7);
    expect(ops, 3, LINEAR_BROKEN);
    ops[1].gives_ttl = false;
    ops[1].conditions = LINEAR_NO_TTL;
    expect(ops, 3, LINEAR_FINE);
    ops[1].seen_value = 8;
    expect(ops, 3, LINEAR_BROKEN);
}

static void a_set_that_may_fail_for_another_key_is_open_until_it_is_told(void **state)
{
    (void)state;
    struct linear_op both = open_op(set(3, 4, 8), false);
    both.conditions = LINEAR_ELSEWHERE;
    struct linear_op ops[] = {set(1, 2, 7), both, get(5, 6, 7)};
    expect(ops, 3, LINEAR_FINE);
    ops[2] = get(5, 6, 8);
    expect(ops, 3, LINEAR_FINE);
    ops[1] = set(3, 4, 8);
    ops[1].conditions = LINEAR_ELSEWHERE;
    ops[1].hit = LINEAR_NO;
    expect(ops, 3, LINEAR_BROKEN);
    ops[2] = get(5, 6, 7);
    expect(ops, 3, LINEAR_FINE);
}

static void a_search_that_is_too_long_is_given_up(void **state)
{
    (void)state;
    struct linear_op ops[20];
    for (uint64_t i = 0; i < 18; i++)
        ops[i] = open_op(set(1, 2, i + 1), true);
    ops[18] = get(5, 6, 3);
    ops[19] = get(7, 8, 99); // nobody wrote it: every order has to be tried
    assert_int_equal(linear_check(ops, 20, 1000).verdict, LINEAR_UNDECIDED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_read_after_a_write_must_see_it),
        cmocka_unit_test(a_read_during_a_write_may_see_either),
        cmocka_unit_test(two_reads_may_not_see_time_go_back),
        cmocka_unit_test(a_write_without_an_answer_may_come_late_or_never),
        cmocka_unit_test(a_write_that_is_in_the_log_must_have_happened),
        cmocka_unit_test(conditions_are_held_against_the_state),
        cmocka_unit_test(versions_grow_and_guard_writes),
        cmocka_unit_test(the_old_value_told_must_be_the_one_before),
        cmocka_unit_test(a_delete_that_had_effect_twice_is_broken),
        cmocka_unit_test(a_key_may_not_die_before_its_time),
        cmocka_unit_test(a_key_may_not_outlive_its_time),
        cmocka_unit_test(a_dead_key_may_not_come_back),
        cmocka_unit_test(a_dead_key_may_not_come_back_between_stretches_either),
        cmocka_unit_test(a_key_without_a_ttl_never_dies),
        cmocka_unit_test(expire_gives_a_new_time),
        cmocka_unit_test(keep_ttl_keeps_the_time),
        cmocka_unit_test(a_ttl_told_must_fit_the_time_left),
        cmocka_unit_test(counts_add_up),
        cmocka_unit_test(an_append_goes_to_the_end_of_what_is_there),
        cmocka_unit_test(getex_tells_the_value_and_gives_a_new_time),
        cmocka_unit_test(a_set_that_may_fail_for_another_key_is_open_until_it_is_told),
        cmocka_unit_test(a_search_that_is_too_long_is_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
