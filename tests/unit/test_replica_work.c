// What few bytes of commands make of large values is bounded, by log entry and by turn. Nothing
// here is timed: what is counted is what the shard has put together.
#include "tests/unit/replica_scene.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/txn.h"
#include "server/replica_internal.h"

#define VALUE_BYTES 10000u
// Of three commands on such a value and a bit.
#define BUILT_BYTES (3 * VALUE_BYTES - 5000)
#define LIMIT (1u << 20)
#define OPS_MAX 64

struct batch {
    struct mf_op *ops[OPS_MAX];
    uint32_t count;
};

static void open_work_scene(struct scene *scene)
{
    open_scene(scene);
    for (uint16_t id = 1; id <= NODES; id++)
        scene->actors[id].replica->cfg.built_bytes = BUILT_BYTES;
}

static struct mf_replica_info info_of(struct scene *scene, uint16_t id)
{
    struct mf_replica_env env = env_of(scene);
    struct mf_replica_info info;
    mf_replica_info(scene->actors[id].replica, &env, &info);
    return info;
}

static uint64_t built_by(struct scene *scene, uint16_t id)
{
    struct mf_shard_counters counters;
    mf_shard_counters(mf_replica_shard(scene->actors[id].replica), &counters);
    return counters.built_bytes;
}

static struct mf_command patch(enum mf_opcode op, const char *key, uint64_t at)
{
    struct mf_command command = {.op = op, .item_count = 1, .limit = LIMIT};
    command.one.key = mf_bytes_str(key);
    if (op == MF_OP_SETBIT) {
        command.number = at * 16 + 1;
    } else if (op == MF_OP_SETRANGE || op == MF_OP_APPEND) {
        command.number = op == MF_OP_SETRANGE ? at : 0;
        command.one.value = mf_bytes_str("x");
    }
    return command;
}

static struct mf_command rename_to(const char *from, struct mf_item *items, const char *to)
{
    items[0] = (struct mf_item){.key = mf_bytes_str(from)};
    items[1] = (struct mf_item){.key = mf_bytes_str(to)};
    return (struct mf_command){.op = MF_OP_RENAME, .items = items, .item_count = 2};
}

// For the leader, node 1, whose turn does not come yet.
static void gather(struct scene *scene, struct batch *batch, struct mf_command command)
{
    if (command.items == NULL)
        command.items = &command.one;
    struct mf_op *op = mf_op_new(0, &command);
    op->deadline_us = scene->now_us + 60 * SECOND_US;
    struct mf_replica_env env = env_at(scene, 1);
    mf_replica_submit(scene->actors[1].replica, &env, op);
    assert_true(batch->count < OPS_MAX);
    batch->ops[batch->count++] = op;
}

static void gather_many(struct scene *scene, struct batch *batch, uint32_t count,
                        struct mf_command command)
{
    for (uint32_t i = 0; i < count; i++)
        gather(scene, batch, command);
}

static uint32_t answered_of(const struct batch *batch)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < batch->count; i++)
        count += answered(batch->ops[i]);
    return count;
}

static void drop(struct batch *batch)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        assert_true(answered(batch->ops[i]));
        assert_int_equal(batch->ops[i]->status, MF_OK);
        mf_op_free(batch->ops[i]);
    }
    batch->count = 0;
}

static void set_large(struct scene *scene, const char *key)
{
    char value[VALUE_BYTES + 1];
    memset(value, 'v', VALUE_BYTES);
    value[VALUE_BYTES] = '\0';
    assert_written(set(scene, 1, key, value, 0));
    pass(scene, 100000);
}

static void assert_all_equal(struct scene *scene)
{
    uint64_t hash = mf_shard_state_hash(mf_replica_shard(scene->actors[1].replica));
    for (uint16_t id = 2; id <= NODES; id++) {
        assert_int_equal(info_of(scene, id).applied, info_of(scene, 1).applied);
        struct mf_shard *shard = mf_replica_shard(scene->actors[id].replica);
        assert_true(mf_shard_state_hash(shard) == hash);
    }
}

// How many entries carry what was gathered.
static uint64_t entries_of(struct scene *scene, struct batch *batch)
{
    uint64_t before = info_of(scene, 1).chosen;
    settle(scene);
    for (int i = 0; i < 100 && answered_of(batch) < batch->count; i++)
        pass(scene, 10000);
    drop(batch);
    return info_of(scene, 1).chosen - before;
}

static void an_entry_ends_when_its_commands_make_much(void **state)
{
    (void)state;
    struct scene scene;
    struct batch batch = {0};
    open_work_scene(&scene);
    set_large(&scene, "k");
    const enum mf_opcode kinds[] = {MF_OP_SETBIT, MF_OP_SETRANGE, MF_OP_APPEND, MF_OP_GETEX};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        gather_many(&scene, &batch, 12, patch(kinds[i], "k", 0));
        assert_int_equal(entries_of(&scene, &batch), 4);
    }
    struct mf_command swap = set_command("k2", "v", 0);
    swap.flags = MF_WITH_OLD;
    set_large(&scene, "k2");
    // The first makes a short value of it, which is known once it is applied.
    gather_many(&scene, &batch, 12, swap);
    assert_int_equal(entries_of(&scene, &batch), 2);
    gather_many(&scene, &batch, 50, patch(MF_OP_SETBIT, "small", 10));
    assert_int_equal(entries_of(&scene, &batch), 1);
    pass(&scene, SECOND_US);
    assert_all_equal(&scene);
    close_scene(&scene);
}

static void values_that_grow_on_the_way_count_as_they_will_be(void **state)
{
    (void)state;
    struct scene scene;
    struct batch batch = {0};
    open_work_scene(&scene);
    // The first one makes the value that the others copy.
    gather(&scene, &batch, patch(MF_OP_SETBIT, "bits", VALUE_BYTES - 1));
    gather_many(&scene, &batch, 11, patch(MF_OP_SETBIT, "bits", 0));
    assert_int_equal(entries_of(&scene, &batch), 4);
    // Under another name.
    struct mf_item items[2];
    gather(&scene, &batch, rename_to("bits", items, "name"));
    gather_many(&scene, &batch, 12, patch(MF_OP_SETBIT, "name", 0));
    assert_int_equal(entries_of(&scene, &batch), 4);
    // By appends, of 500 bytes each: 500, 1000, 1500, ...
    char piece[501];
    memset(piece, 'p', 500);
    piece[500] = '\0';
    struct mf_command append = patch(MF_OP_APPEND, "list", 0);
    append.one.value = mf_bytes_str(piece);
    gather_many(&scene, &batch, 20, append);
    assert_int_equal(entries_of(&scene, &batch), 4); // of 10, 4, 4 and 2
    close_scene(&scene);
}

static uint64_t class_of(const char *key)
{
    return mf_hash64(mf_bytes_str(key), 0) % MF_LENGTH_CLASSES;
}

static void large_values_elsewhere_hardly_count(void **state)
{
    (void)state;
    struct scene scene;
    struct batch batch = {0};
    open_work_scene(&scene);
    char name[8] = "other";
    for (int i = 0; class_of(name) == class_of("small"); i++)
        snprintf(name, sizeof(name), "o%d", i);
    gather(&scene, &batch, patch(MF_OP_SETBIT, name, VALUE_BYTES - 1));
    gather_many(&scene, &batch, 50, patch(MF_OP_SETBIT, "small", 10));
    assert_int_equal(entries_of(&scene, &batch), 1);
    close_scene(&scene);
}

// The window takes eight entries. But a leader that cannot apply at once what is chosen would have
// nothing to answer reads with.
static void what_is_proposed_and_not_applied_counts(void **state)
{
    (void)state;
    struct scene scene;
    struct batch batch = {0};
    open_work_scene(&scene);
    uint64_t before = info_of(&scene, 1).chosen;
    gather(&scene, &batch, patch(MF_OP_SETBIT, "bits", VALUE_BYTES - 1));
    flush(&scene.actors[1]);
    uint32_t waiting = scene.mail_count;
    gather_many(&scene, &batch, 12, patch(MF_OP_SETBIT, "bits", 0));
    gather(&scene, &batch, set_command("plain", "v", 0));
    flush(&scene.actors[1]);
    assert_int_equal(scene.mail_count - waiting, NODES - 1); // one entry, of three
    assert_in_range(scene.actors[1].replica->built_out, BUILT_BYTES, 5 * VALUE_BYTES);
    settle(&scene);
    pass(&scene, 100000);
    drop(&batch);
    assert_int_equal(info_of(&scene, 1).chosen - before, 6); // 1, four times 3, the last
    assert_int_equal(scene.actors[1].replica->built_out, 0);
    close_scene(&scene);
}

static void what_earlier_leaders_have_left_may_have_any_length(void **state)
{
    (void)state;
    struct scene scene;
    open_work_scene(&scene);
    struct mf_replica *leader = scene.actors[1].replica;
    struct mf_command command = patch(MF_OP_SETBIT, "bits", 0);
    command.items = &command.one;
    struct mf_work work = {0};
    mf_replica_foresee(leader, &work, &command);
    assert_int_equal(work.built, 1);
    uint64_t lead_slot = leader->lead_slot;
    leader->lead_slot = leader->applied + 2; // as if an entry before were not applied yet
    work = (struct mf_work){0};
    mf_replica_foresee(leader, &work, &command);
    assert_in_range(work.built, BUILT_BYTES, UINT64_MAX);
    leader->lead_slot = lead_slot;
    close_scene(&scene);
}

static void txn_counts_by_what_its_commands_make(void **state)
{
    (void)state;
    struct scene scene;
    struct batch batch = {0};
    open_work_scene(&scene);
    set_large(&scene, "k");
    struct mf_buf body = {0};
    mf_txn_part_end(&body, mf_txn_part_begin(&body), 0);
    size_t part = mf_txn_part_begin(&body);
    for (int i = 0; i < 3; i++) {
        struct mf_command inner = patch(i == 0 ? MF_OP_GET : MF_OP_SETBIT, "k", 0);
        inner.limit = i == 0 ? 0 : LIMIT;
        inner.items = &inner.one;
        mf_command_encode(&inner, &body);
    }
    mf_txn_part_end(&body, part, 3);
    mf_txn_part_end(&body, mf_txn_part_begin(&body), 0);
    struct mf_command txn = {.op = MF_OP_TXN, .body = mf_buf_view(&body), .limit = LIMIT};
    gather_many(&scene, &batch, 5, txn);
    assert_int_equal(entries_of(&scene, &batch), 5);
    mf_buf_free(&body);
    close_scene(&scene);
}

// All that is on its way arrives, and the followers have their turns.
static void deliver_all(struct scene *scene)
{
    for (uint32_t i = 0; i < scene->mail_count; i++) {
        struct letter letter = scene->mail[i];
        struct mf_replica_env env = env_at(scene, letter.msg.to);
        struct actor *to = &scene->actors[letter.msg.to];
        mf_replica_receive(to->replica, &env, &letter.msg, letter.mono_us);
        if (letter.msg.to != 1)
            flush(to);
        mf_paxos_msg_free(&letter.msg);
    }
    scene->mail_count = 0;
}

// All that the leader has proposed is chosen within one turn of it, which has not come yet.
static void choose_at_once(struct scene *scene)
{
    flush(&scene->actors[1]);
    deliver_all(scene);
}

// What a leader has proposed itself it can apply at once: what waits is of a former one, or of its
// own with another bound, as here.
static void a_turn_of_the_leader_makes_so_much_and_then_asks_for_another(void **state)
{
    (void)state;
    struct scene scene;
    struct batch batch = {0};
    open_work_scene(&scene);
    struct mf_replica *leader = scene.actors[1].replica;
    struct mf_op *waiting_read = NULL;
    set_large(&scene, "k");
    leader->cfg.built_bytes = UINT64_MAX;
    for (int entry = 0; entry < 7; entry++) {
        gather_many(&scene, &batch, 3, patch(MF_OP_APPEND, "k", 0));
        flush(&scene.actors[1]);
    }
    choose_at_once(&scene);
    leader->cfg.built_bytes = BUILT_BYTES;
    assert_int_equal(answered_of(&batch), 0);
    for (uint32_t turn = 1; turn <= 7; turn++) {
        uint64_t before = built_by(&scene, 1);
        flush(&scene.actors[1]);
        assert_int_equal(answered_of(&batch), 3 * turn);
        assert_in_range(built_by(&scene, 1) - before, BUILT_BYTES, BUILT_BYTES + VALUE_BYTES);
        assert_int_equal(leader->behind, turn < 7);
        if (turn == 1) {
            // Another replica may have applied it all, and told somebody who reads here then.
            struct mf_read_gate_state gate;
            mf_replica_gate(leader, &gate);
            assert_int_equal(gate.ballot, 0);
            struct mf_command look = patch(MF_OP_STRLEN, "k", 0);
            look.limit = 0;
            gather(&scene, &batch, look);
            waiting_read = batch.ops[--batch.count];
        }
        assert_false(answered(waiting_read));
        deliver_all(&scene); // and so the read's round ends
        if (turn < 7)        // the last may have another reason
            assert_true(mf_replica_next_tick_us(leader, scene.now_us) <= scene.now_us);
        if (turn != 2)
            continue;
        // What is answered is there to read, and what waits behind it is not proposed yet.
        struct mf_command strlen_ = patch(MF_OP_STRLEN, "k", 0);
        strlen_.limit = 0;
        strlen_.flags = MF_READ_LOCAL;
        gather(&scene, &batch, strlen_);
        struct mf_op *read = batch.ops[--batch.count];
        assert_int_equal(result_of(read).integer, VALUE_BYTES + 6);
        mf_op_free(read);
        gather(&scene, &batch, set_command("late", "v", 0));
    }
    pass(&scene, SECOND_US);
    drop(&batch);
    assert_int_equal(result_of(waiting_read).integer, VALUE_BYTES + 21);
    mf_op_free(waiting_read);
    assert_all_equal(&scene);
    close_scene(&scene);
}

static void a_follower_applies_by_turns_too_and_takes_no_more_than_it_has_room_for(void **state)
{
    (void)state;
    struct scene scene;
    struct batch batch = {0};
    open_work_scene(&scene);
    struct mf_replica *follower = scene.actors[3].replica;
    const struct mf_paxos *paxos = mf_replica_paxos(follower);
    set_large(&scene, "k");
    mf_replica_hold(follower, true);                              // so that all comes at once
    gather_many(&scene, &batch, 18, patch(MF_OP_APPEND, "k", 0)); // six entries
    settle(&scene);
    for (int i = 0; i < 10; i++)
        pass(&scene, 10000);
    drop(&batch);
    uint64_t chosen = info_of(&scene, 1).chosen;
    assert_int_equal(mf_paxos_chosen(paxos), chosen);
    mf_replica_hold(follower, false);
    uint64_t applied = chosen - 6;
    while (applied < chosen) {
        assert_int_equal(info_of(&scene, 3).applied, applied);
        uint64_t before = built_by(&scene, 3);
        flush(&scene.actors[3]);
        assert_in_range(built_by(&scene, 3) - before, BUILT_BYTES, BUILT_BYTES + VALUE_BYTES);
        bool more = mf_replica_next_tick_us(follower, scene.now_us) <= scene.now_us;
        assert_int_equal(more, ++applied < chosen);
        follower->cfg.held_log_bytes = 0; // from here on there is no room
        const struct mf_paxos_msg accept = {.type = MF_PAXOS_ACCEPT};
        assert_int_equal(mf_replica_sheds(follower, &accept), more);
    }
    pass(&scene, SECOND_US);
    assert_all_equal(&scene);
    close_scene(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_ends_when_its_commands_make_much),
        cmocka_unit_test(values_that_grow_on_the_way_count_as_they_will_be),
        cmocka_unit_test(large_values_elsewhere_hardly_count),
        cmocka_unit_test(what_is_proposed_and_not_applied_counts),
        cmocka_unit_test(what_earlier_leaders_have_left_may_have_any_length),
        cmocka_unit_test(txn_counts_by_what_its_commands_make),
        cmocka_unit_test(a_turn_of_the_leader_makes_so_much_and_then_asks_for_another),
        cmocka_unit_test(a_follower_applies_by_turns_too_and_takes_no_more_than_it_has_room_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
