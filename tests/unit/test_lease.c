// Node-pair leases: what a grantor is bound to and what a holder may rely on, alone and in races.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "consensus/lease.h"

#define LEASE_US UINT64_C(512000)
// What a holder loses to the drift of two clocks.
#define HELD_US (LEASE_US - LEASE_US / MF_LEASE_DRIFT)

static struct mf_lease fresh_lease(void)
{
    struct mf_lease lease = {0};
    mf_lease_init(&lease, UINT64_C(0x1234567812345678), 0);
    return lease;
}

static void a_grant_binds_for_its_time_and_not_longer(void **state)
{
    (void)state;
    struct mf_lease lease = fresh_lease();
    assert_false(mf_lease_bound(&lease, 1));
    assert_int_not_equal(mf_lease_grant(&lease, 1000000, LEASE_US), 0);
    assert_true(mf_lease_bound(&lease, 1000000 + LEASE_US - 1));
    assert_false(mf_lease_bound(&lease, 1000000 + LEASE_US));
    // Renewed, and not shortened by a frame that was taken in late.
    mf_lease_grant(&lease, 1300000, LEASE_US);
    mf_lease_grant(&lease, 1100000, LEASE_US);
    assert_true(mf_lease_bound(&lease, 1300000 + LEASE_US - 1));
    assert_false(mf_lease_bound(&lease, 1300000 + LEASE_US));
}

static void a_holder_never_outlasts_its_grantor(void **state)
{
    (void)state;
    // The frame took no time at all, at moments that are no whole milliseconds.
    for (uint64_t sent_us = 5000000; sent_us < 5003000; sent_us += 37) {
        struct mf_lease grantor = fresh_lease();
        struct mf_lease holder = fresh_lease();
        uint64_t token = mf_lease_grant(&grantor, sent_us, LEASE_US);
        mf_lease_held(&holder, token, sent_us, LEASE_US);
        uint64_t until_us = mf_lease_held_until(&holder, token);
        assert_int_equal(until_us, sent_us + HELD_US);
        assert_true(mf_lease_bound(&grantor, until_us));
        assert_false(mf_lease_withdraw(&grantor, until_us));
        assert_false(mf_lease_withdraw(&grantor, sent_us + LEASE_US - 1));
    }
}

static void a_grant_that_has_run_out_is_withdrawn_and_the_next_has_another_token(void **state)
{
    (void)state;
    struct mf_lease lease = fresh_lease();
    uint64_t token = mf_lease_grant(&lease, 0, LEASE_US);
    assert_int_equal(mf_lease_token(&lease), token);
    assert_false(mf_lease_withdraw(&lease, LEASE_US - 1));
    assert_int_equal(mf_lease_grant(&lease, LEASE_US / 2, LEASE_US), token);
    assert_false(mf_lease_withdraw(&lease, LEASE_US));
    assert_true(mf_lease_withdraw(&lease, 2 * LEASE_US));
    assert_int_not_equal(mf_lease_token(&lease), token);
    assert_int_not_equal(mf_lease_grant(&lease, 2 * LEASE_US, LEASE_US), token);
    assert_true(mf_lease_bound(&lease, 2 * LEASE_US));
}

// A group's answer carries the token before any grant has come: whoever holds it then must not find
// it granted after the group has promised somebody else.
static void a_withdrawal_makes_worthless_what_an_answer_has_brought_without_a_grant(void **state)
{
    (void)state;
    struct mf_lease lease = fresh_lease();
    uint64_t answered = mf_lease_token(&lease);
    assert_true(mf_lease_withdraw(&lease, 1));
    assert_int_not_equal(mf_lease_grant(&lease, 2, LEASE_US), answered);
}

static void many_groups_that_turn_away_at_once_take_one_token(void **state)
{
    (void)state;
    struct mf_lease lease = fresh_lease();
    uint64_t token = mf_lease_grant(&lease, 0, LEASE_US);
    for (uint64_t i = 0; i < 100000; i++)
        assert_true(mf_lease_withdraw(&lease, LEASE_US + i));
    assert_int_equal(mf_lease_token(&lease), token + 1);
}

static void a_process_that_has_just_started_is_bound_as_if_it_had_granted(void **state)
{
    (void)state;
    struct mf_lease lease = {0};
    mf_lease_init(&lease, 7, 3000500);
    assert_true(mf_lease_bound(&lease, 3000499));
    assert_false(mf_lease_withdraw(&lease, 3000499));
    assert_false(mf_lease_bound(&lease, 3001000));
    assert_true(mf_lease_withdraw(&lease, 3001000));
}

static void no_token_is_zero_and_two_processes_share_none(void **state)
{
    (void)state;
    const uint64_t bases[] = {0, 1, UINT64_MAX, UINT64_MAX - 1, UINT64_C(1) << 63};
    for (size_t i = 0; i < sizeof(bases) / sizeof(bases[0]); i++) {
        struct mf_lease lease = {0};
        mf_lease_init(&lease, bases[i], 0);
        assert_int_not_equal(mf_lease_token(&lease), 0);
    }
    struct mf_lease one = {0};
    struct mf_lease other = {0};
    mf_lease_init(&one, UINT64_C(0x1111111111111111), 0);
    mf_lease_init(&other, UINT64_C(0x2222222222222222), 0);
    assert_int_not_equal(mf_lease_token(&one), mf_lease_token(&other));
}

static void nothing_is_granted_when_the_withdrawals_are_used_up(void **state)
{
    (void)state;
    struct mf_lease lease = fresh_lease();
    uint64_t first = mf_lease_token(&lease);
    uint64_t withdrawals = 0;
    while (mf_lease_token(&lease) != 0) {
        assert_int_equal(mf_lease_token(&lease), first + withdrawals);
        assert_true(mf_lease_withdraw(&lease, 1));
        withdrawals++;
    }
    assert_true(withdrawals > 1000000);
    assert_int_equal(mf_lease_grant(&lease, 1, LEASE_US), 0);
    assert_false(mf_lease_bound(&lease, 1));
    assert_true(mf_lease_withdraw(&lease, 1));
    assert_int_equal(mf_lease_grant(&lease, 1, LEASE_US), 0);
}

static void a_clock_beyond_all_bounds_binds_for_good(void **state)
{
    (void)state;
    struct mf_lease lease = fresh_lease();
    mf_lease_grant(&lease, UINT64_MAX / 2, LEASE_US);
    assert_true(mf_lease_bound(&lease, UINT64_MAX));
    assert_false(mf_lease_withdraw(&lease, UINT64_MAX));
}

static void a_holder_relies_on_the_newest_answer_and_its_token_only(void **state)
{
    (void)state;
    struct mf_lease lease = fresh_lease();
    assert_int_equal(mf_lease_held_token(&lease), 0);
    assert_int_equal(mf_lease_held_until(&lease, 0), 0);
    mf_lease_held(&lease, 70, 2000000, LEASE_US);
    mf_lease_held(&lease, 70, 1000000, LEASE_US);
    assert_int_equal(mf_lease_held_until(&lease, 70), 2000000 + HELD_US);
    assert_int_equal(mf_lease_held_until(&lease, 71), 0);
    assert_int_equal(mf_lease_held_until(&lease, 0), 0);
    // An answer that another link has delayed.
    mf_lease_held(&lease, 69, 1500000, LEASE_US);
    assert_int_equal(mf_lease_held_token(&lease), 70);
    mf_lease_held(&lease, 5, 2000001, LEASE_US);
    assert_int_equal(mf_lease_held_token(&lease), 5);
    assert_int_equal(mf_lease_held_until(&lease, 5), 2000001 + HELD_US);
    assert_int_equal(mf_lease_held_until(&lease, 70), 0);
}

static void a_writer_that_meets_another_one_gives_up(void **state)
{
    (void)state;
    struct mf_lease lease = fresh_lease();
    mf_lease_held(&lease, 70, 1000000, LEASE_US);
    atomic_fetch_add(&lease.held_version, 1); // the other one is in the middle
    mf_lease_held(&lease, 70, 2000000, LEASE_US);
    assert_int_equal(mf_lease_held_until(&lease, 70), 0);
    assert_int_equal(mf_lease_held_token(&lease), 70);
    atomic_fetch_add(&lease.held_version, 1);
    assert_int_equal(mf_lease_held_until(&lease, 70), 1000000 + HELD_US);
}

// Two threads grant, a third lets the clock go on by a lease at a time and withdraws. Afterwards:
// no withdrawal has succeeded at a moment at which a grant of the token it ended was running.
#define GRANTORS 2
#define ROUNDS 200000u
#define RACE_LEASE_US UINT64_C(1000) // whole milliseconds, for the bound to be exact

struct race {
    struct mf_lease lease;
    uint64_t first; // token
    _Atomic uint64_t clock_us;
    atomic_bool over;
};

struct grants {
    struct race *race;
    uint64_t *end_us; // of the last grant, per token
};

static void *grant_all_the_time(void *arg)
{
    struct grants *grants = arg;
    struct race *race = grants->race;
    while (!atomic_load(&race->over)) {
        uint64_t now_us = atomic_load(&race->clock_us);
        uint64_t token = mf_lease_grant(&race->lease, now_us, RACE_LEASE_US);
        if (grants->end_us[token - race->first] < now_us + RACE_LEASE_US)
            grants->end_us[token - race->first] = now_us + RACE_LEASE_US;
    }
    return NULL;
}

static void no_withdrawal_overtakes_a_grant_on_another_thread(void **state)
{
    (void)state;
    struct race race = {.lease = fresh_lease()};
    race.first = mf_lease_token(&race.lease);
    struct grants grants[GRANTORS];
    pthread_t threads[GRANTORS];
    for (size_t i = 0; i < GRANTORS; i++) {
        grants[i] = (struct grants){&race, mf_calloc(ROUNDS + 1, sizeof(uint64_t))};
        assert_int_equal(pthread_create(&threads[i], NULL, grant_all_the_time, &grants[i]), 0);
    }
    uint64_t *ended_us = mf_calloc(ROUNDS + 1, sizeof(uint64_t)); // 0 = the token is in use
    for (uint64_t i = 0; i < ROUNDS; i++) {
        uint64_t now_us = atomic_fetch_add(&race.clock_us, RACE_LEASE_US) + RACE_LEASE_US;
        uint64_t token = mf_lease_token(&race.lease);
        if (!mf_lease_withdraw(&race.lease, now_us))
            continue;
        ended_us[token - race.first] = now_us;
        assert_int_equal(mf_lease_token(&race.lease), token + 1);
    }
    atomic_store(&race.over, true);
    uint64_t ended = 0;
    for (size_t i = 0; i < GRANTORS; i++) {
        pthread_join(threads[i], NULL);
        for (uint64_t token = 0; token <= ROUNDS; token++) {
            ended += ended_us[token] != 0;
            assert_true(ended_us[token] == 0 || grants[i].end_us[token] <= ended_us[token]);
        }
        free(grants[i].end_us);
    }
    assert_true(ended > 0);
    free(ended_us);
}

// The token of each answer says what it grants, so a reader sees a mixture of two.
struct holding {
    struct mf_lease lease;
    _Atomic uint64_t next;
    atomic_bool over;
};

static void *hear_answers(void *arg)
{
    struct holding *holding = arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t sent_us = atomic_fetch_add(&holding->next, 1);
        mf_lease_held(&holding->lease, sent_us, sent_us, LEASE_US);
    }
    return NULL;
}

static void a_reader_never_sees_half_of_an_answer(void **state)
{
    (void)state;
    struct holding holding = {.lease = fresh_lease(), .next = 1};
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hear_answers, &holding), 0);
    uint64_t newest = 0;
    while (newest < ROUNDS && atomic_load(&holding.next) < 2 * ROUNDS) {
        uint64_t token = mf_lease_held_token(&holding.lease);
        assert_true(token >= newest);
        newest = token;
        uint64_t until_us = mf_lease_held_until(&holding.lease, token);
        assert_true(until_us == 0 || until_us == token + HELD_US);
    }
    for (size_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    newest = mf_lease_held_token(&holding.lease);
    assert_int_equal(mf_lease_held_until(&holding.lease, newest), newest + HELD_US);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_grant_binds_for_its_time_and_not_longer),
        cmocka_unit_test(a_holder_never_outlasts_its_grantor),
        cmocka_unit_test(a_grant_that_has_run_out_is_withdrawn_and_the_next_has_another_token),
        cmocka_unit_test(a_withdrawal_makes_worthless_what_an_answer_has_brought_without_a_grant),
        cmocka_unit_test(many_groups_that_turn_away_at_once_take_one_token),
        cmocka_unit_test(a_process_that_has_just_started_is_bound_as_if_it_had_granted),
        cmocka_unit_test(no_token_is_zero_and_two_processes_share_none),
        cmocka_unit_test(nothing_is_granted_when_the_withdrawals_are_used_up),
        cmocka_unit_test(a_clock_beyond_all_bounds_binds_for_good),
        cmocka_unit_test(a_holder_relies_on_the_newest_answer_and_its_token_only),
        cmocka_unit_test(a_writer_that_meets_another_one_gives_up),
        cmocka_unit_test(no_withdrawal_overtakes_a_grant_on_another_thread),
        cmocka_unit_test(a_reader_never_sees_half_of_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
