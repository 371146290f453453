// A replica that is held back by a walk of its shard: what stands still, what does not, and that
// all of it goes on.
#include "tests/unit/replica_scene.h"

#include <stdio.h>

#include "server/replica_internal.h"

static void hold(struct scene *scene, uint16_t id, bool hold)
{
    mf_replica_hold(scene->actors[id].replica, hold);
    settle(scene);
}

static struct mf_replica_info info_of(struct scene *scene, uint16_t id)
{
    struct mf_replica_env env = env_of(scene);
    struct mf_replica_info info;
    mf_replica_info(scene->actors[id].replica, &env, &info);
    return info;
}

static struct mf_shard *shard_of(struct scene *scene, uint16_t id)
{
    return mf_replica_shard(scene->actors[id].replica);
}

static void assert_all_equal(struct scene *scene)
{
    uint64_t hash = mf_shard_state_hash(shard_of(scene, 1));
    for (uint16_t id = 2; id <= NODES; id++) {
        assert_int_equal(info_of(scene, id).applied, info_of(scene, 1).applied);
        assert_true(mf_shard_state_hash(shard_of(scene, id)) == hash);
    }
}

// Sets `count` keys, `bytes` each, through node 1, which leads; they are all written.
static void set_many(struct scene *scene, int count, size_t bytes)
{
    char value[2048];
    memset(value, 'v', sizeof(value));
    value[bytes] = '\0';
    for (int i = 0; i < count; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        assert_written(set(scene, 1, key, value, 0));
    }
}

static void held_leader_lets_writes_wait_and_says_busy_before_any_effect(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    assert_written(set(&scene, 1, "k", "before", 0));
    hold(&scene, 1, true);
    uint64_t chosen = info_of(&scene, 1).chosen;
    struct mf_op *late = set(&scene, 1, "k", "late", 0);
    pass(&scene, 4 * SECOND_US);
    struct mf_op *waits = set(&scene, 1, "k", "waits", 0);
    pass(&scene, 2 * SECOND_US);
    assert_true(answered(late));
    assert_int_equal(late->status, MF_BUSY);
    assert_false(late->proposed);
    mf_op_free(late);
    assert_false(answered(waits));
    assert_int_equal(info_of(&scene, 1).chosen, chosen);
    // Reads go on.
    assert_got(get(&scene, 1, "k", 0), "before");
    hold(&scene, 1, false);
    assert_written(waits);
    assert_got(get(&scene, 1, "k", 0), "waits");
    pass(&scene, 100000);
    assert_all_equal(&scene);
    close_scene(&scene);
}

static void what_a_leader_had_proposed_goes_on_when_it_is_held(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    scene.cut[2] = scene.cut[3] = true;
    struct mf_op *under_way = set(&scene, 1, "k", "v", 0);
    hold(&scene, 1, true);
    assert_false(answered(under_way));
    scene.cut[2] = scene.cut[3] = false;
    pass(&scene, 100000);
    assert_written(under_way);
    assert_got(get(&scene, 1, "k", 0), "v");
    close_scene(&scene);
}

static void held_leader_takes_out_no_dead_keys_but_tells_that_they_are_dead(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    for (int i = 0; i < 5; i++) {
        char key[4] = {'k', (char)('0' + i), '\0'};
        assert_written(set(&scene, 1, key, "v", 100000));
    }
    hold(&scene, 1, true);
    pass(&scene, SECOND_US);
    assert_int_equal(mf_shard_keys(shard_of(&scene, 1)), 5);
    assert_got(get(&scene, 1, "k1", 0), NULL);
    assert_int_equal(mf_shard_keys(shard_of(&scene, 1)), 5);
    // What cannot be done is not due all the time.
    unsigned due = 0;
    for (int step = 0; step < 100; step++, pass(&scene, 1000))
        due += mf_replica_next_tick_us(scene.actors[1].replica, scene.now_us) <= scene.now_us;
    assert_in_range(due, 0, 50);
    hold(&scene, 1, false);
    pass(&scene, 100000);
    assert_int_equal(mf_shard_keys(shard_of(&scene, 1)), 0);
    close_scene(&scene);
}

static void held_follower_applies_nothing_and_holds_nobody_up(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    set_many(&scene, 5, 10);
    pass(&scene, 100000);
    uint64_t applied = info_of(&scene, 3).applied;
    assert_int_equal(applied, info_of(&scene, 1).applied);
    hold(&scene, 3, true);
    set_many(&scene, 50, 10);
    pass(&scene, 100000);
    assert_int_equal(info_of(&scene, 3).applied, applied);
    assert_int_equal(info_of(&scene, 3).chosen, info_of(&scene, 1).chosen);
    hold(&scene, 3, false);
    assert_int_equal(info_of(&scene, 3).applied, info_of(&scene, 1).applied);
    assert_all_equal(&scene);
    close_scene(&scene);
}

static void log_of_a_held_follower_is_bounded_and_it_catches_up(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    const struct mf_paxos *paxos = mf_replica_paxos(scene.actors[3].replica);
    hold(&scene, 3, true);
    uint64_t log_bytes = mf_paxos_log_bytes(paxos);
    for (int round = 0; round < 5; round++) {
        set_many(&scene, 20, 1000);
        pass(&scene, 200000);
        // One message more: a window of one entry, as these are set one after the other.
        assert_in_range(mf_paxos_log_bytes(paxos) - log_bytes, HELD_LOG_BYTES,
                        HELD_LOG_BYTES + 2048);
    }
    assert_true(info_of(&scene, 3).chosen < info_of(&scene, 1).chosen);
    hold(&scene, 3, false);
    set_many(&scene, 1, 10);
    pass(&scene, SECOND_US);
    assert_all_equal(&scene);
    close_scene(&scene);
}

static void what_a_hold_has_left_is_applied_in_portions(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    hold(&scene, 3, true);
    uint64_t before = info_of(&scene, 3).applied;
    scene.actors[3].replica->cfg.held_log_bytes = 1u << 20;
    set_many(&scene, 100, 1500);
    pass(&scene, 200000);
    uint64_t chosen = info_of(&scene, 3).chosen;
    assert_true(chosen >= before + 3);
    struct mf_replica *replica = scene.actors[3].replica;
    struct mf_replica_env env = env_at(&scene, 3);
    mf_replica_hold(replica, false);
    mf_replica_flush(replica, &env);
    uint64_t applied = info_of(&scene, 3).applied;
    assert_in_range(applied, before + 1, chosen - 1);
    assert_true(mf_replica_next_tick_us(replica, env.now_us) <= env.now_us + 1000);
    pass(&scene, SECOND_US);
    assert_all_equal(&scene);
    close_scene(&scene);
}

static void log_that_was_cut_under_a_hold_does_not_grow_back(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    struct mf_replica *replica = scene.actors[3].replica;
    const struct mf_paxos *paxos = mf_replica_paxos(replica);
    set_many(&scene, 200, 1000);
    pass(&scene, 200000);
    uint64_t long_bytes = mf_paxos_log_bytes(paxos);
    hold(&scene, 3, true);
    set_many(&scene, 1, 10); // what is chosen and not applied
    pass(&scene, 200000);
    mf_replica_compact(replica, info_of(&scene, 3).applied + 1);
    pass(&scene, 200000);
    uint64_t cut_bytes = mf_paxos_log_bytes(paxos);
    assert_true(cut_bytes + 2 * HELD_LOG_BYTES < long_bytes);
    set_many(&scene, 200, 1000);
    pass(&scene, 200000);
    assert_in_range(mf_paxos_log_bytes(paxos) - cut_bytes, HELD_LOG_BYTES, HELD_LOG_BYTES + 2048);
    hold(&scene, 3, false);
    set_many(&scene, 1, 10);
    pass(&scene, SECOND_US);
    assert_all_equal(&scene);
    close_scene(&scene);
}

static void held_majority_makes_writers_wait_and_no_longer(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    hold(&scene, 2, true);
    hold(&scene, 3, true);
    char value[1001];
    memset(value, 'v', 1000);
    value[1000] = '\0';
    struct mf_op *ops_[20];
    for (int i = 0; i < 20; i++)
        ops_[i] = set(&scene, 1, "k", value, 0);
    pass(&scene, SECOND_US);
    assert_false(answered(ops_[19]));
    hold(&scene, 3, false);
    pass(&scene, SECOND_US);
    for (int i = 0; i < 20; i++)
        assert_written(ops_[i]);
    assert_got(get(&scene, 1, "k", 0), value);
    hold(&scene, 2, false);
    pass(&scene, SECOND_US);
    assert_all_equal(&scene);
    close_scene(&scene);
}

// It may be one of the two who know the time when the leader is gone.
static void what_a_held_follower_drops_tells_it_the_time(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    hold(&scene, 3, true);
    set_many(&scene, 20, 1000); // more than its log takes
    pass(&scene, 200000);
    struct mf_replica_info before = info_of(&scene, 3);
    assert_true(before.chosen < info_of(&scene, 1).chosen);
    const struct mf_paxos_msg accept = {
        .type = MF_PAXOS_ACCEPT,
        .from = 1,
        .to = 3,
        .incarnation = 1,
        .ballot = before.ballot,
        .slot = 1000,
        .stamp = {.source = MF_CLOCK_LIVE,
                  .log_us = before.clock_us + SECOND_US,
                  .ballot = before.ballot},
    };
    struct mf_replica_env env = env_of(&scene);
    mf_replica_receive(scene.actors[3].replica, &env, &accept, scene.now_us);
    assert_int_equal(info_of(&scene, 3).chosen, before.chosen);
    assert_in_range(info_of(&scene, 3).clock_us, before.clock_us + SECOND_US,
                    before.clock_us + SECOND_US + 1000);
    hold(&scene, 3, false);
    close_scene(&scene);
}

static void held_follower_that_comes_to_lead_has_all_that_was_acknowledged(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    hold(&scene, 2, true);
    set_many(&scene, 20, 1000); // more than its log takes
    scene.cut[1] = true;
    suspect(&scene, 1);
    scene.cut[3] = true; // it has to learn the rest
    pass(&scene, 100000);
    scene.cut[3] = false;
    hold(&scene, 3, true);
    struct mf_op *read = NULL;
    uint16_t leader = 0;
    for (int i = 0; i < 50 && leader == 0; i++) {
        pass(&scene, 100000);
        for (uint16_t id = 2; id <= 3; id++)
            leader = info_of(&scene, id).leading ? id : leader;
    }
    assert_in_range(leader, 2, 3);
    read = get(&scene, leader, "k19", 0);
    pass(&scene, 100000);
    assert_true(answered(read));
    assert_int_equal(read->status, MF_OK);
    mf_op_free(read);
    assert_int_equal(mf_shard_keys(shard_of(&scene, leader)), 20);
    scene.cut[1] = false;
    for (uint16_t id = 2; id <= 3; id++)
        hold(&scene, id, false);
    pass(&scene, SECOND_US);
    assert_all_equal(&scene);
    close_scene(&scene);
}

static void hold_from_the_first_change(void *arg, const struct mf_event *event)
{
    struct actor *actor = arg;
    (void)event;
    mf_replica_hold(actor->replica, true);
}

static void entry_that_brings_the_hold_is_the_last_that_a_follower_applies(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    scene.cut[3] = true;
    set_many(&scene, 20, 10);
    mf_shard_listen(shard_of(&scene, 3), hold_from_the_first_change, &scene.actors[3]);
    uint64_t applied = info_of(&scene, 3).applied;
    scene.cut[3] = false;
    pass(&scene, SECOND_US);
    assert_int_equal(info_of(&scene, 3).applied, applied + 1);
    for (int i = 2; i <= 5; i++) {
        hold(&scene, 3, false);
        assert_int_equal(info_of(&scene, 3).applied, applied + (uint64_t)i);
    }
    mf_shard_listen(shard_of(&scene, 3), NULL, NULL);
    hold(&scene, 3, false);
    pass(&scene, SECOND_US);
    assert_all_equal(&scene);
    close_scene(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(held_leader_lets_writes_wait_and_says_busy_before_any_effect),
        cmocka_unit_test(what_a_leader_had_proposed_goes_on_when_it_is_held),
        cmocka_unit_test(held_leader_takes_out_no_dead_keys_but_tells_that_they_are_dead),
        cmocka_unit_test(held_follower_applies_nothing_and_holds_nobody_up),
        cmocka_unit_test(log_of_a_held_follower_is_bounded_and_it_catches_up),
        cmocka_unit_test(log_that_was_cut_under_a_hold_does_not_grow_back),
        cmocka_unit_test(what_a_hold_has_left_is_applied_in_portions),
        cmocka_unit_test(held_majority_makes_writers_wait_and_no_longer),
        cmocka_unit_test(what_a_held_follower_drops_tells_it_the_time),
        cmocka_unit_test(held_follower_that_comes_to_lead_has_all_that_was_acknowledged),
        cmocka_unit_test(entry_that_brings_the_hold_is_the_last_that_a_follower_applies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
