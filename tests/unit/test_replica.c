// Replicas in scenes: see replica_scene.h.
//
// What is shown here is the glue between log and shard: whose reply comes when, what time a key
// dies at, and what becomes of commands when leadership moves. The simulator searches; this
// explains.
#include "base/txn.h"
#include "replica_scene.h"

static void write_is_read_back_and_reaches_every_replica(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    assert_true(leads(&scene, 1));
    assert_written(set(&scene, 1, "k", "v", 0));
    assert_got(get(&scene, 1, "k", 0), "v");
    pass(&scene, 50000);
    for (uint16_t id = 1; id <= NODES; id++) {
        assert_got(get(&scene, id, "k", MF_READ_LOCAL), "v");
        assert_int_equal(scene.actors[id].applied, scene.actors[1].applied);
    }
    close_scene(&scene);
}

static void follower_refuses_and_names_the_leader(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    struct mf_op *op = set(&scene, 2, "k", "v", 0);
    assert_true(answered(op));
    assert_int_equal(op->status, MF_NOT_LEADER);
    assert_int_equal(op->leader, 1);
    mf_op_free(op);
    close_scene(&scene);
}

// A log clock begins at 1. A follower's estimate runs behind by a message's delay, and is no time
// at all while that is before the beginning.
static void clock_of_a_new_group_is_followed_from_its_first_moment(void **state)
{
    (void)state;
    struct scene scene;
    open_lagging_scene(&scene, SECOND_US);
    assert_written(set(&scene, 1, "k", "v", 10 * SECOND_US));
    for (int i = 0; i < 5; i++) {
        pass(&scene, SECOND_US / 2);
        struct mf_replica_env env = env_of(&scene);
        struct mf_replica_info leader;
        mf_replica_info(scene.actors[1].replica, &env, &leader);
        for (uint16_t id = 2; id <= NODES; id++) {
            struct mf_replica_info info;
            mf_replica_info(scene.actors[id].replica, &env, &info);
            assert_true(info.clock_us <= leader.clock_us);
            assert_got(get(&scene, id, "k", MF_READ_LOCAL), "v");
        }
    }
    close_scene(&scene);
}

static void key_dies_at_its_deadline_at_one_log_position_everywhere(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    for (int i = 0; i < 5; i++) {
        char key[2] = {(char)('a' + i), '\0'};
        assert_written(set(&scene, 1, key, "v", 50000));
    }
    uint64_t before = scene.actors[1].applied;
    pass(&scene, 48000);
    assert_got(get(&scene, 1, "a", 0), "v");
    pass(&scene, 10000);
    assert_got(get(&scene, 1, "a", 0), NULL);
    pass(&scene, 100000);
    for (uint16_t id = 1; id <= NODES; id++) {
        assert_int_equal(scene.actors[id].expired, 5);
        // Five keys, two an entry: three entries.
        assert_int_equal(scene.actors[id].applied, before + 3);
    }
    close_scene(&scene);
}

// Node 1 reads by a quorum round and nothing else: probes out, and acknowledgements in that are so
// long on their way. The op is the caller's.
static struct mf_op *read_by_round(struct scene *scene, const struct mf_command *command,
                                   uint64_t way_us)
{
    struct mf_op *op = mf_op_new(0, command);
    op->deadline_us = scene->now_us + way_us + SECOND_US;
    struct mf_replica_env env = env_of(scene);
    mf_replica_submit(scene->actors[1].replica, &env, op);
    flush(&scene->actors[1]);
    uint32_t round = scene->mail_count;
    for (uint32_t i = 0; i < round; i++) {
        if (scene->mail[i].msg.type != MF_PAXOS_READ_PROBE)
            continue;
        struct actor *to = &scene->actors[scene->mail[i].msg.to];
        mf_replica_receive(to->replica, &env, &scene->mail[i].msg, scene->mail[i].mono_us);
        flush(to);
    }
    scene->now_us += way_us;
    env = env_of(scene);
    for (uint32_t i = round; i < scene->mail_count; i++) {
        if (scene->mail[i].msg.type != MF_PAXOS_READ_ACK)
            continue;
        mf_replica_receive(scene->actors[1].replica, &env, &scene->mail[i].msg,
                           scene->mail[i].mono_us);
    }
    flush(&scene->actors[1]);
    return op;
}

// Without the wait, the next leader, whose clock runs a message delay behind, could show the key
// again.
static void death_is_not_shown_before_an_entry_has_reached_it(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    assert_written(set(&scene, 1, "k", "v", 50000));
    pass(&scene, 20000);
    scene.now_us += 40000; // the deadline passes, and no tick has seen it
    struct mf_command command = {.op = MF_OP_GET, .item_count = 1};
    command.one.key = mf_bytes_str("k");
    command.items = &command.one;
    uint64_t applied = scene.actors[1].applied;
    struct mf_op *op = read_by_round(&scene, &command, 0);
    assert_false(answered(op));
    assert_int_equal(scene.actors[1].applied, applied);
    settle(&scene);
    settle(&scene);
    assert_true(scene.actors[1].applied > applied);
    assert_got(op, NULL);
    close_scene(&scene);
}

// While its answers were on their way another leader may have made the key immortal: what is left
// of its time is told as of a moment of which the round can speak.
static void what_is_left_is_told_as_of_before_the_round(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    assert_written(set(&scene, 1, "k", "v", 2000000));
    struct mf_command command = {.op = MF_OP_TTL, .item_count = 1};
    command.one.key = mf_bytes_str("k");
    command.items = &command.one;
    struct mf_op *quick = read_by_round(&scene, &command, 0);
    struct mf_op *slow = read_by_round(&scene, &command, 1500000);
    assert_int_equal(result_of(slow).integer, result_of(quick).integer);
    mf_op_free(quick);
    mf_op_free(slow);
    struct mf_op *dead = read_by_round(&scene, &command, 600000);
    assert_int_equal(result_of(dead).integer, 500);
    mf_op_free(dead);
    settle(&scene); // what is still in the mail
    close_scene(&scene);
}

static void ttl_goes_on_through_a_change_of_leader(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    assert_written(set(&scene, 1, "k", "v", 2 * SECOND_US));
    pass(&scene, SECOND_US);
    scene.cut[1] = true;
    suspect(&scene, 1);
    pass(&scene, 300000);
    uint16_t heir = leads(&scene, 2) ? 2 : 3;
    assert_true(leads(&scene, heir));
    assert_got(get(&scene, heir, "k", 0), "v");
    pass(&scene, 600000); // 1.9 s of 2
    assert_got(get(&scene, heir, "k", 0), "v");
    pass(&scene, 150000); // past it
    assert_got(get(&scene, heir, "k", 0), NULL);
    close_scene(&scene);
}

static uint64_t clock_of(const struct scene *scene, uint16_t id)
{
    struct mf_replica_env env = env_of(scene);
    struct mf_replica_info info;
    mf_replica_info(scene->actors[id].replica, &env, &info);
    return info.clock_us;
}

static void leader_that_restarts_on_another_machine_does_not_move_the_clock(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    assert_written(set(&scene, 1, "k", "v", 2 * SECOND_US));
    pass(&scene, SECOND_US);
    uint64_t before_us = clock_of(&scene, 2);
    scene.uptime_us[1] = 3600 * SECOND_US; // its first frames have been heard
    suspect(&scene, 1);
    assert_true(clock_of(&scene, 2) <= before_us);
    close_scene(&scene);
}

static void absolute_expiry_is_turned_into_log_time_once(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    struct mf_command command = set_command("k", "v", 0);
    command.items = &command.one;
    command.expiry = MF_EXPIRY_AT;
    command.expire_us = (int64_t)(WALL_US + scene.now_us + 50000);
    assert_written(submit(&scene, 1, &command));
    pass(&scene, 45000);
    assert_got(get(&scene, 1, "k", 0), "v");
    pass(&scene, 10000);
    assert_got(get(&scene, 1, "k", 0), NULL);
    command.expire_us = (int64_t)WALL_US - 1; // long past: written, and dead at once
    assert_written(submit(&scene, 1, &command));
    assert_got(get(&scene, 1, "k", 0), NULL);
    close_scene(&scene);
}

static int64_t deadline_of(struct scene *scene, uint16_t id, const char *key, uint32_t flags)
{
    struct mf_command command = {
        .op = MF_OP_DEADLINE, .flags = flags, .item_count = 1, .one.key = mf_bytes_str(key)};
    command.items = &command.one;
    struct mf_op *op = submit(scene, id, &command);
    assert_true(answered(op));
    struct mf_reader reader = mf_reader_of(mf_buf_view(&op->result));
    struct mf_result result;
    assert_int_equal(mf_result_decode(&reader, &result), MF_OK);
    assert_int_equal(result.kind, MF_RESULT_INT);
    mf_op_free(op);
    return result.integer;
}

// The same inside a txn, which reads or writes, with `other` asked for before.
static struct mf_op *ask_in_txn(struct scene *scene, uint16_t id, const char *other,
                                const char *key, enum mf_opcode op)
{
    const char *keys[2] = {other, key};
    struct mf_buf body = {0};
    mf_txn_part_end(&body, mf_txn_part_begin(&body), 0);
    size_t part = mf_txn_part_begin(&body);
    for (int i = 0; i < 2; i++) {
        struct mf_command command = {
            .op = MF_OP_DEADLINE, .item_count = 1, .one.key = mf_bytes_str(keys[i])};
        command.items = &command.one;
        mf_command_encode(&command, &body);
    }
    mf_txn_part_end(&body, part, 2);
    mf_txn_part_end(&body, mf_txn_part_begin(&body), 0);
    struct mf_command txn = {.op = op, .limit = 1000, .body = mf_buf_view(&body)};
    struct mf_op *sent = submit(scene, id, &txn);
    mf_buf_free(&body);
    return sent;
}

static int64_t told_in_txn(struct mf_op *sent)
{
    assert_true(answered(sent));
    struct mf_reader reader = mf_reader_of(mf_buf_view(&sent->result));
    struct mf_result result;
    assert_int_equal(mf_result_decode(&reader, &result), MF_OK);
    assert_int_equal(result.kind, MF_RESULT_TXN);
    reader = mf_reader_of(result.value);
    assert_int_equal(mf_result_decode(&reader, &result), MF_OK);
    assert_int_equal(result.integer, -2);
    assert_int_equal(mf_result_decode(&reader, &result), MF_OK);
    mf_op_free(sent);
    return result.integer;
}

static int64_t deadline_in_txn(struct scene *scene, uint16_t id, const char *key, enum mf_opcode op)
{
    return told_in_txn(ask_in_txn(scene, id, "none", key, op));
}

// A read that waits until a death is in the log is answered at a later log time than it was asked.
static void a_deadline_is_right_however_long_its_read_waits(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    scene.held_until_us = UINT64_MAX;
    struct mf_command command = set_command("k", "v", 0);
    command.items = &command.one;
    command.expiry = MF_EXPIRY_AT;
    int64_t given_ms = (int64_t)((WALL_US + scene.now_us) / 1000) + 5000;
    command.expire_us = given_ms * 1000;
    assert_written(submit(&scene, 1, &command));
    assert_written(set(&scene, 1, "dead", "v", 1000));
    scene.now_us += 2000;
    scene.cut[2] = scene.cut[3] = true;
    struct mf_op *asked = ask_in_txn(&scene, 1, "dead", "k", MF_OP_TXN_READ);
    assert_false(answered(asked));
    scene.now_us += 7000;
    scene.cut[2] = scene.cut[3] = false;
    struct mf_op *later = set(&scene, 1, "other", "v", 0); // chosen before what was lost
    pass(&scene, 300000);
    assert_written(later);
    assert_int_equal(told_in_txn(asked), given_ms);
    close_scene(&scene);
}

static void a_deadline_that_was_given_in_unix_time_is_told_as_it_was_given(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    scene.now_us += 777;                // no whole millisecond
    for (int way = 0; way < 2; way++) { // by quorum rounds, then under a lease
        for (int64_t ms = 20; ms < 30; ms++) {
            struct mf_command command = set_command("k", "v", 0);
            command.items = &command.one;
            command.expiry = MF_EXPIRY_AT;
            int64_t given_ms = (int64_t)((WALL_US + scene.now_us) / 1000) + ms;
            command.expire_us = given_ms * 1000;
            assert_written(submit(&scene, 1, &command));
            for (int step = 0; step < 3; step++, scene.now_us += 1234) {
                assert_int_equal(deadline_of(&scene, 1, "k", 0), given_ms);
                assert_int_equal(deadline_in_txn(&scene, 1, "k", MF_OP_TXN_READ), given_ms);
                assert_int_equal(deadline_in_txn(&scene, 1, "k", MF_OP_TXN), given_ms);
            }
            assert_int_equal(deadline_of(&scene, 1, "k", MF_READ_LOCAL), given_ms);
        }
        scene.held_until_us = UINT64_MAX;
    }
    assert_int_equal(deadline_of(&scene, 1, "none", 0), -2);
    assert_written(set(&scene, 1, "k", "v", 0));
    assert_int_equal(deadline_of(&scene, 1, "k", 0), -1);
    close_scene(&scene);
}

// The next leader's clock is a message delay behind, so the key does live that much longer.
static void the_next_leader_tells_when_the_key_will_die_by_its_own_clock(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    struct mf_command command = set_command("k", "v", 0);
    command.items = &command.one;
    command.expiry = MF_EXPIRY_AT;
    int64_t given_ms = (int64_t)((WALL_US + scene.now_us) / 1000) + 5000;
    command.expire_us = given_ms * 1000;
    assert_written(submit(&scene, 1, &command));
    scene.cut[1] = true;
    suspect(&scene, 1);
    pass(&scene, 300000);
    uint16_t heir = leads(&scene, 2) ? 2 : 3;
    int64_t told_ms = deadline_of(&scene, heir, "k", 0);
    assert_true(told_ms >= given_ms && told_ms <= given_ms + 2);
    close_scene(&scene);
}

static void proposal_that_lost_its_slot_comes_back_as_not_applied(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    scene.cut[1] = true;
    struct mf_op *lost = set(&scene, 1, "k", "lost", 0); // accepted by node 1 alone
    assert_false(answered(lost));
    suspect(&scene, 1);
    pass(&scene, 300000);
    uint16_t heir = leads(&scene, 2) ? 2 : 3;
    assert_written(set(&scene, heir, "k", "kept", 0));
    scene.cut[1] = false;
    struct mf_replica_env env = env_of(&scene);
    mf_replica_peer_up(scene.actors[heir].replica, &env, (struct mf_acceptor){1, 1});
    pass(&scene, 300000);
    assert_true(answered(lost));
    assert_int_equal(lost->status, MF_NOT_LEADER);
    assert_false(lost->proposed);
    mf_op_free(lost);
    assert_got(get(&scene, heir, "k", 0), "kept");
    close_scene(&scene);
}

static void proposal_adopted_by_the_next_leader_is_answered_as_done(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    struct mf_command command = set_command("k", "v", 0);
    command.items = &command.one;
    struct mf_op *op = mf_op_new(0, &command);
    op->deadline_us = scene.now_us + 5 * SECOND_US;
    struct mf_replica_env env = env_of(&scene);
    mf_replica_submit(scene.actors[1].replica, &env, op);
    flush(&scene.actors[1]);
    for (uint32_t i = 0; i < scene.mail_count; i++) {
        struct letter *letter = &scene.mail[i];
        if (letter->msg.to == 2) { // node 2 accepts; nobody hears of it
            mf_replica_receive(scene.actors[2].replica, &env, &letter->msg, letter->mono_us);
            scene.cut[2] = true;
            flush(&scene.actors[2]);
            scene.cut[2] = false;
        }
        mf_paxos_msg_free(&letter->msg);
    }
    scene.mail_count = 0;
    scene.cut[1] = true;
    suspect(&scene, 1);
    pass(&scene, 400000);
    uint16_t heir = leads(&scene, 2) ? 2 : 3;
    scene.cut[1] = false;
    env = env_of(&scene);
    mf_replica_peer_up(scene.actors[heir].replica, &env, (struct mf_acceptor){1, 1});
    pass(&scene, 300000);
    assert_written(op);
    assert_got(get(&scene, heir, "k", 0), "v");
    close_scene(&scene);
}

static void repeated_id_has_its_effect_once_even_through_another_leader(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    struct mf_command command = set_command("k", "v", 0);
    command.items = &command.one;
    command.flags = MF_NX;
    command.id = mf_bytes_str("request-1");
    struct mf_op *first = submit(&scene, 1, &command);
    uint64_t version = result_of(first).version;
    mf_op_free(first);
    scene.cut[1] = true;
    suspect(&scene, 1);
    pass(&scene, 400000);
    uint16_t heir = leads(&scene, 2) ? 2 : 3;
    struct mf_op *again = submit(&scene, heir, &command);
    assert_int_equal(result_of(again).version, version);
    mf_op_free(again);
    close_scene(&scene);
}

static void without_a_majority_a_write_times_out_and_a_read_is_refused(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    scene.cut[2] = scene.cut[3] = true;
    struct mf_op *write = set(&scene, 1, "k", "v", 0);
    struct mf_op *read = get(&scene, 1, "k", 0);
    pass(&scene, 4 * SECOND_US);
    assert_false(answered(write) || answered(read));
    pass(&scene, 2 * SECOND_US);
    assert_true(answered(write) && answered(read));
    assert_int_equal(write->status, MF_TIMEOUT);
    assert_int_equal(read->status, MF_NO_QUORUM);
    mf_op_free(write);
    mf_op_free(read);
    close_scene(&scene);
}

static void too_many_pending_ops_are_shed_as_busy(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    scene.cut[2] = scene.cut[3] = true;
    struct mf_op *held[100];
    for (int i = 0; i < 100; i++)
        held[i] = set(&scene, 1, "k", "v", 0);
    struct mf_op *shed = set(&scene, 1, "k", "v", 0);
    assert_true(answered(shed));
    assert_int_equal(shed->status, MF_BUSY);
    mf_op_free(shed);
    close_scene(&scene);
    for (int i = 0; i < 100; i++) {
        assert_true(answered(held[i]));
        mf_op_free(held[i]);
    }
}

// The others go on without it, and with it when there is room.
static void leader_whose_disk_is_full_takes_no_writes_and_hands_over(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    assert_written(set(&scene, 1, "k", "v", 0));
    assert_written(set(&scene, 1, "dies", "v", 50000));
    uint64_t applied = scene.actors[1].applied;
    scene.full[1] = true;
    struct mf_op *refused = set(&scene, 1, "k", "w", 0);
    assert_true(answered(refused));
    assert_int_equal(refused->status, MF_NOT_LEADER);
    mf_op_free(refused);
    pass(&scene, 100000);
    // A death and a mark are due, and wait without a spin.
    assert_int_equal(scene.actors[1].applied, applied);
    assert_true(mf_replica_next_tick_us(scene.actors[1].replica, scene.now_us) > scene.now_us);
    assert_got(get(&scene, 1, "k", 0), "v");

    struct mf_replica_env env = env_at(&scene, 1);
    assert_int_equal(mf_replica_transfer(scene.actors[1].replica, &env, 2), MF_OK);
    pass(&scene, 20000);
    assert_written(set(&scene, 2, "k", "x", 0));
    scene.cut[3] = true;
    struct mf_op *write = set(&scene, 2, "k", "y", 0);
    pass(&scene, 100000);
    assert_false(answered(write));
    scene.full[1] = false;
    pass(&scene, 100000);
    assert_written(write);
    assert_got(get(&scene, 1, "k", MF_READ_LOCAL), "y");
    close_scene(&scene);
}

static void follower_whose_disk_is_full_does_not_run_and_its_promise_waits(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    const struct mf_paxos *second = mf_replica_paxos(scene.actors[2].replica);
    scene.full[2] = true;
    scene.cut[1] = true;
    suspect(&scene, 1);
    for (int i = 0; i < 100; i++) {
        pass(&scene, 10000);
        assert_int_equal(mf_paxos_role(second), MF_FOLLOWER);
        assert_int_not_equal(mf_paxos_role(mf_replica_paxos(scene.actors[3].replica)), MF_LEADER);
    }
    scene.full[2] = false;
    pass(&scene, SECOND_US);
    uint16_t leader = mf_paxos_leader(second);
    assert_in_range(leader, 2, 3);
    assert_written(set(&scene, leader, "k", "v", 0));
    close_scene(&scene);
}

// What is chosen but not noted as chosen has to fit into one promise after a restart.
// However soon all nodes stop, there is a pair of log and wall time to go on from.
static void log_clock_is_noted_with_the_first_entry_and_then_once_a_second(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    assert_int_equal(scene.actors[1].marks, 1); // the election's entry
    for (int i = 0; i < 5; i++)
        assert_written(set(&scene, 1, "k", "v", 0));
    assert_int_equal(scene.actors[1].marks, 1);
    pass(&scene, SECOND_US);
    assert_int_equal(scene.actors[1].marks, 2);
    pass(&scene, 3 * SECOND_US); // nothing new to note
    assert_int_equal(scene.actors[1].marks, 2);
    close_scene(&scene);
}

static void chosen_index_is_noted_after_sixteen_mebibytes(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    pass(&scene, 2 * SECOND_US);
    assert_written(set(&scene, 1, "k", "v", 0)); // a second has passed: noted at once
    char *value = calloc(1, (1u << 20) + 1);
    memset(value, 'v', 1u << 20);
    uint32_t before = scene.actors[1].marks;
    for (int i = 0; i < 15; i++)
        assert_written(set(&scene, 1, "k", value, 0));
    assert_int_equal(scene.actors[1].marks, before);
    assert_written(set(&scene, 1, "k", value, 0));
    settle(&scene);
    assert_int_equal(scene.actors[1].marks, before + 1);
    free(value);
    close_scene(&scene);
}

static mf_ballot_t gate_of(struct scene *scene, uint16_t id, struct mf_read_gate_state *gate)
{
    mf_replica_gate(scene->actors[id].replica, gate);
    return gate->ballot;
}

static void only_the_leader_lets_others_read_and_not_while_it_hands_over(void **state)
{
    (void)state;
    struct scene scene;
    struct mf_read_gate_state gate;
    open_scene(&scene);
    scene.lease_token = 42;
    assert_written(set(&scene, 1, "k", "v", 0));
    pass(&scene, 100000);
    struct mf_replica *leader = scene.actors[1].replica;
    assert_int_equal(gate_of(&scene, 1, &gate), mf_paxos_ballot(mf_replica_paxos(leader)));
    assert_ptr_equal(gate.shard, mf_replica_shard(leader));
    assert_int_equal(gate.voter_count, NODES);
    for (uint16_t id = 1; id <= NODES; id++) {
        assert_int_equal(gate.voters[id - 1].node, id);
        assert_int_equal(gate.voters[id - 1].token, id == 1 ? MF_SELF_TOKEN : 42);
    }
    struct mf_replica_env env = env_of(&scene);
    struct mf_replica_info info;
    mf_replica_info(leader, &env, &info);
    assert_int_equal((int64_t)env.now_us + gate.log_offset_us, info.clock_us);
    assert_int_equal(gate_of(&scene, 2, &gate), 0);
    assert_int_equal(gate_of(&scene, 3, &gate), 0);
    // From this step on, although it leads until its last entry is chosen.
    scene.cut[2] = scene.cut[3] = true;
    struct mf_op *last = set(&scene, 1, "k", "w", 0);
    assert_int_not_equal(gate_of(&scene, 1, &gate), 0);
    assert_int_equal(mf_replica_transfer(leader, &env, 2), MF_OK);
    assert_int_equal(mf_paxos_role(mf_replica_paxos(leader)), MF_LEADER);
    assert_int_equal(gate_of(&scene, 1, &gate), 0);
    scene.cut[2] = scene.cut[3] = false;
    pass(&scene, 100000);
    assert_written(last);
    assert_int_not_equal(gate_of(&scene, 2, &gate), 0);
    assert_int_equal(gate_of(&scene, 1, &gate), 0);
    close_scene(&scene);
}

static void value_is_not_let_out_when_the_lease_ran_out_while_it_was_read(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    scene.lease_token = 42;
    assert_written(set(&scene, 1, "k", "v", 0));
    pass(&scene, 100000);
    scene.cut[2] = scene.cut[3] = true;
    scene.held_until_us = scene.now_us + 100;
    assert_got(get(&scene, 1, "k", 0), "v"); // alone
    scene.look_us = 100;
    struct mf_op *late = get(&scene, 1, "k", 0);
    assert_false(answered(late));
    scene.look_us = 0;
    scene.held_until_us = 0;
    scene.cut[2] = scene.cut[3] = false;
    pass(&scene, 100000);
    assert_got(late, "v");
    close_scene(&scene);
}

static void replica_behind_the_log_asks_for_a_snapshot_and_goes_on_from_it(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    scene.cut[3] = true;
    assert_written(set(&scene, 1, "k", "missed", 0));
    struct mf_replica *leader = scene.actors[1].replica;
    struct actor *behind = &scene.actors[3];
    mf_replica_compact(leader, scene.actors[1].applied + 1);
    scene.cut[3] = false;
    pass(&scene, 300000);
    assert_int_equal(scene.actors[1].snapshot_to.node, 3);
    struct mf_replica_env env = env_of(&scene);
    assert_true(mf_replica_install(behind->replica, &env, copy_of(mf_replica_shard(leader)),
                                   mf_replica_members(leader)));
    assert_non_null(behind->retired); // whoever reads the old one still can
    mf_shard_free(behind->retired);
    assert_got(get(&scene, 3, "k", MF_READ_LOCAL), "missed");
    close_scene(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(write_is_read_back_and_reaches_every_replica),
        cmocka_unit_test(follower_refuses_and_names_the_leader),
        cmocka_unit_test(only_the_leader_lets_others_read_and_not_while_it_hands_over),
        cmocka_unit_test(value_is_not_let_out_when_the_lease_ran_out_while_it_was_read),
        cmocka_unit_test(clock_of_a_new_group_is_followed_from_its_first_moment),
        cmocka_unit_test(key_dies_at_its_deadline_at_one_log_position_everywhere),
        cmocka_unit_test(death_is_not_shown_before_an_entry_has_reached_it),
        cmocka_unit_test(what_is_left_is_told_as_of_before_the_round),
        cmocka_unit_test(ttl_goes_on_through_a_change_of_leader),
        cmocka_unit_test(leader_that_restarts_on_another_machine_does_not_move_the_clock),
        cmocka_unit_test(absolute_expiry_is_turned_into_log_time_once),
        cmocka_unit_test(a_deadline_that_was_given_in_unix_time_is_told_as_it_was_given),
        cmocka_unit_test(a_deadline_is_right_however_long_its_read_waits),
        cmocka_unit_test(the_next_leader_tells_when_the_key_will_die_by_its_own_clock),
        cmocka_unit_test(proposal_that_lost_its_slot_comes_back_as_not_applied),
        cmocka_unit_test(proposal_adopted_by_the_next_leader_is_answered_as_done),
        cmocka_unit_test(repeated_id_has_its_effect_once_even_through_another_leader),
        cmocka_unit_test(without_a_majority_a_write_times_out_and_a_read_is_refused),
        cmocka_unit_test(too_many_pending_ops_are_shed_as_busy),
        cmocka_unit_test(leader_whose_disk_is_full_takes_no_writes_and_hands_over),
        cmocka_unit_test(follower_whose_disk_is_full_does_not_run_and_its_promise_waits),
        cmocka_unit_test(log_clock_is_noted_with_the_first_entry_and_then_once_a_second),
        cmocka_unit_test(chosen_index_is_noted_after_sixteen_mebibytes),
        cmocka_unit_test(replica_behind_the_log_asks_for_a_snapshot_and_goes_on_from_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
