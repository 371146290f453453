// Writes that are carried out when they come, of a group that is alone and keeps no log.
#include "base/rand.h"
#include "replica_scene.h"
#include "server/budget.h"
#include "shards/shard.h"

static const struct mf_paxos *core_of(const struct scene *scene)
{
    return mf_replica_paxos(scene->actors[1].replica);
}

static bool at_once(const struct scene *scene)
{
    return mf_replica_writes_at_once(scene->actors[1].replica);
}

// True when it was carried out before anything had its turn.
static bool write_at_once(struct scene *scene, struct mf_command *command, struct mf_result *result)
{
    struct mf_bytes bytes;
    command->items = &command->one;
    if (!mf_replica_write_at_once(scene->actors[1].replica, scene->now_us, command, &bytes))
        return false;
    struct mf_reader reader = mf_reader_of(bytes);
    assert_int_equal(mf_result_decode(&reader, result), MF_OK);
    return true;
}

static bool set_at_once(struct scene *scene, const char *key, const char *value, int64_t ttl_us)
{
    struct mf_command command = set_command(key, value, ttl_us);
    struct mf_result result;
    if (!write_at_once(scene, &command, &result))
        return false;
    assert_int_equal(result.kind, MF_RESULT_WRITTEN);
    assert_true(result.version > 0);
    return true;
}

static void a_write_needs_neither_a_turn_nor_a_log(void **state)
{
    (void)state;
    struct scene scene;
    open_alone_scene(&scene);
    assert_true(leads(&scene, 1));
    uint64_t chosen = mf_paxos_chosen(core_of(&scene));
    for (uint64_t i = 1; i <= 100; i++) {
        scene.now_us++;
        assert_true(set_at_once(&scene, "k", i % 2 == 0 ? "even" : "odd", 0));
        assert_int_equal(scene.actors[1].applied, chosen + i);
        assert_int_equal(mf_paxos_chosen(core_of(&scene)), chosen + i);
        assert_int_equal(mf_paxos_first_slot(core_of(&scene)), chosen + i + 1);
        assert_int_equal(mf_paxos_last_slot(core_of(&scene)), chosen + i);
        assert_false(mf_paxos_has_update(core_of(&scene)));
    }
    assert_got(get(&scene, 1, "k", 0), "even");
    assert_int_equal(mf_paxos_log_bytes(core_of(&scene)), 0);
    close_scene(&scene);
}

static void an_op_is_answered_when_it_comes(void **state)
{
    (void)state;
    struct scene scene;
    open_alone_scene(&scene);
    struct mf_command command = set_command("k", "v", 0);
    command.items = &command.one;
    struct mf_op *op = mf_op_new(0, &command);
    assert_true(mf_replica_submit_at_once(scene.actors[1].replica, scene.now_us, op));
    assert_written(op);
    // What has times to settle takes its turn.
    command.expiry = MF_EXPIRY_AT;
    command.expire_us = (int64_t)(WALL_US + scene.now_us + SECOND_US);
    op = mf_op_new(0, &command);
    assert_false(mf_replica_submit_at_once(scene.actors[1].replica, scene.now_us, op));
    assert_false(answered(op));
    mf_op_free(op);
    close_scene(&scene);
}

static void with_a_log_there_is_no_such_way(void **state)
{
    (void)state;
    struct scene scene;
    memset(&scene, 0, sizeof(scene));
    open_scene_of(&scene, 1, false);
    assert_true(leads(&scene, 1));
    assert_false(set_at_once(&scene, "k", "v", 0));
    assert_written(set(&scene, 1, "k", "v", 0));
    assert_false(set_at_once(&scene, "k", "v", 0));
    close_scene(&scene);
}

static struct mf_command random_command(struct mf_rand *rand, char key[2])
{
    static const enum mf_opcode kinds[] = {MF_OP_SET, MF_OP_SET,    MF_OP_INCR,
                                           MF_OP_DEL, MF_OP_EXPIRE, MF_OP_PERSIST};
    key[0] = (char)('a' + mf_rand_below(rand, 5));
    key[1] = '\0';
    struct mf_command command = set_command(key, "7", 0);
    command.op = kinds[mf_rand_below(rand, sizeof(kinds) / sizeof(kinds[0]))];
    if (command.op != MF_OP_SET)
        command.one.value = mf_bytes_of(NULL, 0);
    if (command.op == MF_OP_EXPIRE || (command.op == MF_OP_SET && mf_rand_below(rand, 2) == 0)) {
        command.expiry = MF_EXPIRY_IN;
        command.expire_us = (int64_t)mf_rand_below(rand, 40000);
    }
    if (command.op == MF_OP_INCR) {
        command.number = 1;
        command.limit = 100;
    }
    if (mf_rand_below(rand, 3) == 0)
        command.id = mf_bytes_str(mf_rand_below(rand, 2) == 0 ? "one" : "two");
    return command;
}

// The rolling hash has every entry's place and log time in it, and every change.
static void the_outcome_is_that_of_the_log(void **state)
{
    (void)state;
    static struct scene logged;
    static struct scene alone;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        memset(&logged, 0, sizeof(logged));
        open_scene_of(&logged, 1, false);
        open_alone_scene(&alone);
        struct mf_rand rand = {.state = seed};
        for (int i = 0; i < 200; i++) {
            char key[2];
            struct mf_command command = random_command(&rand, key);
            command.items = &command.one;
            // What is due goes first: an entry that takes it out may be proposed beside the write.
            settle(&logged);
            settle(&alone);
            struct mf_op *op = submit(&logged, 1, &command);
            struct mf_result result;
            assert_true(write_at_once(&alone, &command, &result));
            struct mf_result expected = result_of(op);
            assert_int_equal(result.kind, expected.kind);
            assert_int_equal(result.version, expected.version);
            assert_int_equal(result.integer, expected.integer);
            mf_op_free(op);
            settle(&alone);
            uint64_t us = mf_rand_below(&rand, 4) == 0 ? 5000 : 0;
            pass(&logged, us);
            pass(&alone, us);
            const struct mf_shard *a = mf_replica_shard(logged.actors[1].replica);
            const struct mf_shard *b = mf_replica_shard(alone.actors[1].replica);
            assert_int_equal(mf_shard_rolling_hash(a), mf_shard_rolling_hash(b));
            assert_true(mf_shard_valid(b));
        }
        assert_int_equal(mf_shard_state_hash(mf_replica_shard(logged.actors[1].replica)),
                         mf_shard_state_hash(mf_replica_shard(alone.actors[1].replica)));
        close_scene(&logged);
        close_scene(&alone);
    }
}

// A1.
static void no_write_overtakes_one_that_waits(void **state)
{
    (void)state;
    struct scene scene;
    open_alone_scene(&scene);
    struct mf_command command = set_command("k", "first", 0);
    command.items = &command.one;
    command.flags = MF_WITH_OLD;
    struct mf_op *op = mf_op_new(0, &command);
    op->deadline_us = scene.now_us + SECOND_US;
    struct mf_replica_env env = env_of(&scene);
    mf_replica_submit(scene.actors[1].replica, &env, op);
    assert_false(answered(op));
    assert_false(set_at_once(&scene, "k", "second", 0));
    // Proposed, and not yet told to be durable.
    mf_replica_flush(scene.actors[1].replica, &env);
    scene.actors[1].waiting_seq = scene.actors[1].persist_seq;
    assert_false(answered(op));
    assert_false(set_at_once(&scene, "k", "second", 0));
    settle(&scene);
    assert_true(answered(op));
    mf_op_free(op);
    assert_true(set_at_once(&scene, "k", "second", 0));
    assert_got(get(&scene, 1, "k", 0), "second");
    close_scene(&scene);
}

// A2.
static void what_holds_back_a_turn_holds_back_these(void **state)
{
    (void)state;
    struct scene scene;
    open_alone_scene(&scene);
    assert_true(set_at_once(&scene, "k", "v", 0));
    mf_replica_hold(scene.actors[1].replica, true);
    assert_false(set_at_once(&scene, "k", "v", 0));
    pass(&scene, 10000);
    assert_false(set_at_once(&scene, "k", "v", 0));
    mf_replica_hold(scene.actors[1].replica, false);
    assert_false(set_at_once(&scene, "k", "v", 0));
    settle(&scene);
    assert_true(set_at_once(&scene, "k", "v", 0));
    struct mf_replica_env env = env_of(&scene);
    mf_replica_tick(scene.actors[1].replica, &env);
    assert_false(set_at_once(&scene, "k", "v", 0));
    settle(&scene);
    assert_true(set_at_once(&scene, "k", "v", 0));
    close_scene(&scene);
}

static void a_key_dies_at_its_deadline(void **state)
{
    (void)state;
    struct scene scene;
    open_alone_scene(&scene);
    assert_true(set_at_once(&scene, "k", "v", 20000));
    settle(&scene);
    pass(&scene, 19000);
    assert_got(get(&scene, 1, "k", 0), "v");
    pass(&scene, 2000);
    assert_got(get(&scene, 1, "k", 0), NULL);
    assert_int_equal(scene.actors[1].expired, 1);
    // A write that comes upon a dead key takes it out first.
    assert_true(set_at_once(&scene, "k", "v", 20000));
    scene.now_us += 30000;
    assert_true(set_at_once(&scene, "k", "w", 0));
    assert_int_equal(scene.actors[1].expired, 2);
    close_scene(&scene);
}

static void ask_for(struct scene *scene, uint8_t voters)
{
    struct mf_members members = {.voter_count = voters, .voters = {{1, 1}, {2, 1}}};
    struct mf_replica_env env = env_of(scene);
    const char *why = NULL;
    assert_int_equal(mf_replica_reconfigure(scene->actors[1].replica, &env, &members, &why), MF_OK);
}

// Who joins has to learn of writes that are in no log, and what comes from then on is in one.
static void who_joins_gets_all_of_it_and_the_group_has_a_log_from_then_on(void **state)
{
    (void)state;
    struct scene scene;
    open_alone_scene(&scene);
    assert_true(set_at_once(&scene, "k", "before", 0));
    ask_for(&scene, 2);
    assert_false(at_once(&scene));
    pass(&scene, 100000);
    assert_false(at_once(&scene));
    assert_int_equal(scene.actors[1].snapshot_to.node, 2);
    struct mf_replica *leader = scene.actors[1].replica;
    struct mf_replica_env env = env_of(&scene);
    assert_true(mf_replica_install(scene.actors[2].replica, &env, copy_of(mf_replica_shard(leader)),
                                   mf_replica_members(leader)));
    mf_shard_free(scene.actors[2].retired);
    pass(&scene, SECOND_US);
    assert_int_equal(mf_replica_members(leader)->voter_count, 2);
    assert_got(get(&scene, 2, "k", MF_READ_LOCAL), "before");
    assert_false(at_once(&scene));
    assert_written(set(&scene, 1, "k", "after", 0));
    pass(&scene, 10000);
    assert_got(get(&scene, 2, "k", MF_READ_LOCAL), "after");
    // With one of two nothing is chosen, nor done at once.
    scene.cut[2] = true;
    assert_false(set_at_once(&scene, "k", "alone", 0));
    struct mf_op *waits = set(&scene, 1, "k", "alone", 0);
    assert_false(answered(waits));
    scene.cut[2] = false;
    pass(&scene, 100000);
    assert_written(waits);
    // Alone again.
    ask_for(&scene, 1);
    pass(&scene, SECOND_US);
    assert_int_equal(mf_replica_members(leader)->voter_count, 1);
    assert_true(set_at_once(&scene, "k", "again", 0));
    close_scene(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_write_needs_neither_a_turn_nor_a_log),
        cmocka_unit_test(an_op_is_answered_when_it_comes),
        cmocka_unit_test(with_a_log_there_is_no_such_way),
        cmocka_unit_test(the_outcome_is_that_of_the_log),
        cmocka_unit_test(no_write_overtakes_one_that_waits),
        cmocka_unit_test(what_holds_back_a_turn_holds_back_these),
        cmocka_unit_test(a_key_dies_at_its_deadline),
        cmocka_unit_test(who_joins_gets_all_of_it_and_the_group_has_a_log_from_then_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
