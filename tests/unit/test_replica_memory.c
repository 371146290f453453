// A node whose memory is full: two shards, each alone in its group, and one budget.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "base/txn.h"
#include "server/budget.h"
#include "server/replica.h"

#define SHARDS 2u
#define SECOND_US UINT64_C(1000000)
#define MAX (UINT64_C(1) << 20)

struct node {
    struct mf_budget budget;
    struct mf_replica *replicas[SHARDS];
    uint64_t now_us;
    uint64_t persist_seq;
    uint64_t random;
};

static void on_reply(void *ctx, struct mf_op *op)
{
    op->owner = ctx; // marks it as answered
}

static void on_persist(void *ctx, uint32_t group, const struct mf_wal_record *records,
                       uint32_t count, uint64_t seq)
{
    (void)group;
    (void)records;
    (void)count;
    struct node *node = ctx;
    if (seq != 0)
        node->persist_seq = seq;
}

static void on_send(void *ctx, uint32_t group, const struct mf_paxos_msg *msg)
{
    (void)ctx;
    (void)group;
    (void)msg;
}

static uint64_t on_node_mono(void *ctx, uint16_t id, uint64_t now_us)
{
    (void)ctx;
    (void)id;
    return now_us;
}

static uint64_t on_mono(void *ctx)
{
    return ((struct node *)ctx)->now_us;
}

static bool on_bound(void *ctx, uint16_t id, uint64_t now_us)
{
    (void)ctx;
    (void)id;
    (void)now_us;
    return false;
}

static uint64_t on_support(void *ctx, uint16_t id)
{
    (void)ctx;
    (void)id;
    return 0;
}

static uint64_t on_held_until(void *ctx, uint16_t id, uint64_t token)
{
    (void)ctx;
    (void)id;
    (void)token;
    return 0;
}

static void on_fatal(void *ctx, uint32_t group, const char *what)
{
    (void)ctx;
    (void)group;
    fail_msg("%s", what);
}

static const struct mf_replica_ops ops = {.reply = on_reply,
                                          .mono_us = on_mono,
                                          .bound = on_bound,
                                          .withdraw = on_bound,
                                          .support = on_support,
                                          .held_until = on_held_until,
                                          .persist = on_persist,
                                          .send = on_send,
                                          .node_mono_us = on_node_mono,
                                          .fatal = on_fatal};

static struct mf_replica_env env_of(struct node *node)
{
    node->random = node->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (struct mf_replica_env){.now_us = node->now_us,
                                   .wall_us = UINT64_C(1700000000000000) + node->now_us,
                                   .random = node->random};
}

static void flush(struct node *node, uint32_t shard)
{
    struct mf_replica *replica = node->replicas[shard];
    do {
        struct mf_replica_env env = env_of(node);
        node->persist_seq = 0;
        mf_replica_flush(replica, &env);
        if (node->persist_seq != 0)
            mf_replica_persisted(replica, &env, node->persist_seq);
    } while (mf_replica_dirty(replica));
}

// Time in steps of a millisecond; as from a reactor, each is asked for its part of what is too
// much.
static void pass(struct node *node, uint64_t us)
{
    for (uint64_t end_us = node->now_us + us; node->now_us < end_us; node->now_us += 1000) {
        for (uint32_t i = 0; i < SHARDS; i++) {
            struct mf_replica_env env = env_of(node);
            if (mf_replica_next_tick_us(node->replicas[i], env.now_us) <= env.now_us + 1000)
                mf_replica_tick(node->replicas[i], &env);
            mf_replica_make_room(node->replicas[i], &env);
            if (mf_replica_dirty(node->replicas[i]))
                flush(node, i);
        }
    }
}

static void open_node_of(struct node *node, uint64_t max, enum mf_eviction eviction)
{
    memset(node, 0, sizeof(*node));
    mf_budget_set_max(&node->budget, max);
    mf_budget_set_eviction(&node->budget, eviction);
    node->now_us = 5 * SECOND_US;
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct mf_replica_config config = {
            .paxos = {.group = i,
                      .self = 1,
                      .incarnation = 1,
                      .members = {.voter_count = 1, .voters = {{1, 1}}},
                      .election_us = 100000,
                      .resend_us = 20000,
                      .chosen_delay_us = 1000,
                      .window_entries = 8,
                      .window_bytes = 1 << 20,
                      .learn_bytes = 1 << 20},
            .expire_batch = 100,
            .batch_bytes = 1 << 16,
            .built_bytes = 1 << 20,
            .mark_interval_us = SECOND_US,
            .tag_seed = (uint64_t)i << 32,
            .pending_ops_max = 100,
            .unlogged = true,
            .budget = &node->budget};
        node->replicas[i] =
            mf_replica_new(&config, mf_shard_new(i, i + 1), &ops, node, node->now_us);
        mf_replica_restore_done(node->replicas[i], 0, 0);
    }
    pass(node, 100000);
}

static void open_node(struct node *node, enum mf_eviction eviction)
{
    open_node_of(node, MAX, eviction);
}

static void close_node(struct node *node)
{
    for (uint32_t i = 0; i < SHARDS; i++)
        mf_replica_free(node->replicas[i]);
    assert_int_equal(atomic_load(&node->budget.used), 0);
    assert_int_equal(atomic_load(&node->budget.pending), 0);
    assert_int_equal(atomic_load(&node->budget.waiting), 0);
    assert_int_equal(atomic_load(&node->budget.evictable), 0);
}

static struct mf_op *submit(struct node *node, uint32_t shard, struct mf_command command)
{
    if (command.item_count == 1)
        command.items = &command.one;
    struct mf_op *op = mf_op_new(shard, &command);
    op->deadline_us = node->now_us + SECOND_US;
    struct mf_replica_env env = env_of(node);
    mf_replica_submit(node->replicas[shard], &env, op);
    flush(node, shard);
    return op;
}

static enum mf_err end_of(struct node *node, struct mf_op *op)
{
    for (int i = 0; op->owner == NULL && i < 3000; i++)
        pass(node, 1000);
    assert_non_null(op->owner);
    enum mf_err status = op->status;
    mf_op_free(op);
    return status;
}

static const char *name_of(uint64_t number, char name[24])
{
    snprintf(name, 24, "key:%llu", (unsigned long long)number);
    return name;
}

static struct mf_command set_of(const char *key, size_t len, int64_t ttl_us)
{
    static uint8_t bytes[2 * MAX];
    struct mf_command command = {.op = MF_OP_SET, .item_count = 1};
    command.one = (struct mf_item){mf_bytes_str(key), mf_bytes_of(bytes, len)};
    command.expiry = ttl_us > 0 ? MF_EXPIRY_IN : MF_EXPIRY_NONE;
    command.expire_us = ttl_us;
    return command;
}

static struct mf_command of_key(enum mf_opcode op, const char *key)
{
    struct mf_command command = {.op = op, .item_count = 1};
    command.one.key = mf_bytes_str(key);
    return command;
}

static enum mf_err set(struct node *node, uint32_t shard, uint64_t number, int64_t ttl_us)
{
    char name[24];
    return end_of(node, submit(node, shard, set_of(name_of(number, name), 1000, ttl_us)));
}

static uint64_t fill(struct node *node, uint32_t shard, int64_t ttl_us)
{
    for (uint64_t number = 0; number < 5000; number++) {
        if (set(node, shard, number, ttl_us) != MF_OK)
            return number;
        if (number % 10 == 0)
            pass(node, 1000);
        assert_true(atomic_load(&node->budget.used) <= MAX);
    }
    return 5000;
}

static void a_full_node_refuses_what_grows_and_nothing_else(void **state)
{
    (void)state;
    struct node node;
    open_node(&node, MF_EVICT_NONE);
    uint64_t fitted = fill(&node, 0, 0);
    assert_in_range(fitted, MAX / 1400, MAX / 1000);
    // The other shard shares the limit.
    assert_int_equal(set(&node, 1, 1, 0), MF_OUT_OF_MEMORY);
    assert_int_equal(end_of(&node, submit(&node, 0, of_key(MF_OP_GET, "key:1"))), MF_OK);
    assert_int_equal(end_of(&node, submit(&node, 0, of_key(MF_OP_PERSIST, "key:1"))), MF_OK);
    struct mf_command expire = of_key(MF_OP_EXPIRE, "key:1");
    expire.expiry = MF_EXPIRY_IN;
    expire.expire_us = 10000;
    expire.id = mf_bytes_str("remembered beyond the limit");
    assert_int_equal(end_of(&node, submit(&node, 0, expire)), MF_OK);
    pass(&node, 50000);
    struct mf_shard_counters counters;
    mf_shard_counters(mf_replica_shard(node.replicas[0]), &counters);
    assert_int_equal(counters.expired, 1);
    for (uint64_t number = 2; number < 20; number++) {
        char name[24];
        struct mf_command command = of_key(MF_OP_DEL, name_of(number, name));
        assert_int_equal(end_of(&node, submit(&node, 0, command)), MF_OK);
    }
    assert_int_equal(set(&node, 1, 1, 0), MF_OK);
    close_node(&node);
}

// A few bytes that fill a value with zeros count as what they make.
static void what_a_few_bytes_make_counts(void **state)
{
    (void)state;
    struct node node;
    open_node(&node, MF_EVICT_NONE);
    struct mf_command fill = of_key(MF_OP_SETRANGE, "zeros");
    fill.one.value = mf_bytes_str("x");
    fill.limit = UINT32_MAX;
    fill.number = 2 * MAX;
    assert_int_equal(end_of(&node, submit(&node, 0, fill)), MF_OUT_OF_MEMORY);
    struct mf_buf body = {0};
    mf_txn_part_end(&body, mf_txn_part_begin(&body), 0);
    size_t part = mf_txn_part_begin(&body);
    fill.items = &fill.one;
    mf_command_encode(&fill, &body);
    mf_txn_part_end(&body, part, 1);
    mf_txn_part_end(&body, mf_txn_part_begin(&body), 0);
    struct mf_command txn = {.op = MF_OP_TXN, .limit = UINT32_MAX, .body = mf_buf_view(&body)};
    assert_int_equal(end_of(&node, submit(&node, 0, txn)), MF_OUT_OF_MEMORY);
    mf_buf_free(&body);
    fill.number = 1;
    assert_int_equal(
        end_of(&node, submit(&node, 0, fill)),
        MF_OK); // A copy counts as what is copied, although a large value is shared at first.
    struct mf_item items[2] = {{.key = mf_bytes_str("large")}, {.key = mf_bytes_str("copy")}};
    struct mf_command copy = {.op = MF_OP_COPY, .items = items, .item_count = 2};
    assert_int_equal(end_of(&node, submit(&node, 0, set_of("large", MAX / 2, 0))), MF_OK);
    assert_int_equal(end_of(&node, submit(&node, 0, copy)), MF_OUT_OF_MEMORY);
    struct mf_command gone = {.op = MF_OP_DEL, .items = items, .item_count = 2};
    assert_int_equal(end_of(&node, submit(&node, 0, gone)), MF_OK);
    // Of a value that is there, only what comes to it.
    fill.number = MAX / 2;
    assert_int_equal(end_of(&node, submit(&node, 0, fill)), MF_OK);
    assert_int_equal(end_of(&node, submit(&node, 0, fill)), MF_OK);
    close_node(&node);
}

static void ids_stop_a_little_above_the_limit_and_deletes_without_one_never(void **state)
{
    (void)state;
    struct node node;
    open_node(&node, MF_EVICT_NONE);
    fill(&node, 0, 0);
    enum mf_err err = MF_OK;
    uint64_t ids = 0;
    for (char name[24]; err == MF_OK && ids < 100000; ids++) {
        struct mf_command command = of_key(MF_OP_DEL, "none");
        command.id = mf_bytes_str(name_of(ids, name));
        err = end_of(&node, submit(&node, 0, command));
    }
    assert_int_equal(err, MF_OUT_OF_MEMORY);
    assert_in_range(atomic_load(&node.budget.used), MAX, MAX + MAX / 16 + 8192);
    assert_true(ids > 100);
    assert_int_equal(end_of(&node, submit(&node, 0, of_key(MF_OP_DEL, "key:2"))), MF_OK);
    close_node(&node);
}

static void eviction_makes_room_in_every_shard(void **state)
{
    (void)state;
    static const enum mf_eviction policies[] = {MF_EVICT_VOLATILE_TTL, MF_EVICT_ALLKEYS_LRU};
    for (size_t i = 0; i < 2; i++) {
        struct node node;
        open_node(&node, policies[i]);
        // The other shard holds a third of the memory, and is not written to any more.
        for (uint64_t number = 0; number < 250; number++)
            assert_int_equal(set(&node, 1, number, 1000 * (int64_t)SECOND_US), MF_OK);
        assert_int_equal(fill(&node, 0, 1000 * (int64_t)SECOND_US), 5000);
        struct mf_shard_counters written;
        struct mf_shard_counters idle;
        mf_shard_counters(mf_replica_shard(node.replicas[0]), &written);
        mf_shard_counters(mf_replica_shard(node.replicas[1]), &idle);
        assert_true(written.evicted > 3500);
        assert_in_range(idle.evicted, 20, 250);
        // No more went than had to, but for what is spared.
        assert_true(atomic_load(&node.budget.used) > MAX * 9 / 10);
        close_node(&node);
    }
}

static void a_shard_without_keys_gets_room_from_the_others(void **state)
{
    (void)state;
    struct node node;
    open_node(&node, MF_EVICT_VOLATILE_TTL);
    for (uint64_t number = 0; number < 780; number++)
        assert_int_equal(set(&node, 0, number, 1000 * (int64_t)SECOND_US), MF_OK);
    struct mf_op *op = submit(&node, 1, set_of("large", MAX / 2, 0));
    assert_null(op->owner); // it waits
    struct mf_op *after = submit(&node, 1, of_key(MF_OP_DEL, "large"));
    assert_null(after->owner); // and keeps its place before what comes after it
    assert_int_equal(end_of(&node, op), MF_OK);
    assert_int_equal(end_of(&node, after), MF_OK);
    assert_int_equal(mf_shard_keys(mf_replica_shard(node.replicas[1])), 0);
    close_node(&node);
}

static void nothing_waits_for_room_that_cannot_be_made(void **state)
{
    (void)state;
    struct node node;
    open_node(&node, MF_EVICT_VOLATILE_TTL);
    // No key has a TTL.
    assert_in_range(fill(&node, 0, 0), MAX / 1400, MAX / 1000);
    struct mf_op *op = submit(&node, 0, set_of("more", 1000, 0));
    assert_non_null(op->owner);
    assert_int_equal(end_of(&node, op), MF_OUT_OF_MEMORY);
    // Not for what would never fit either, however much could go.
    assert_int_equal(end_of(&node, submit(&node, 0, of_key(MF_OP_DEL, "key:3"))), MF_OK);
    assert_int_equal(end_of(&node, submit(&node, 0, of_key(MF_OP_DEL, "key:4"))), MF_OK);
    assert_int_equal(set(&node, 1, 2, 1000 * (int64_t)SECOND_US), MF_OK);
    op = submit(&node, 1, set_of("larger than all", MAX + 1, 0));
    assert_non_null(op->owner);
    assert_int_equal(end_of(&node, op), MF_OUT_OF_MEMORY);
    assert_int_equal(mf_shard_keys(mf_replica_shard(node.replicas[1])), 1);
    // What waits while keys die for it, in vain, ends as the last of them goes.
    assert_int_equal(end_of(&node, submit(&node, 0, of_key(MF_OP_DEL, "key:1"))), MF_OK);
    assert_int_equal(end_of(&node, submit(&node, 0, of_key(MF_OP_DEL, "key:2"))), MF_OK);
    assert_int_equal(set(&node, 1, 1, 1000 * (int64_t)SECOND_US), MF_OK);
    op = submit(&node, 0, set_of("half", MAX / 2, 0));
    assert_null(op->owner);
    assert_int_equal(end_of(&node, op), MF_OUT_OF_MEMORY);
    assert_int_equal(mf_shard_keys(mf_replica_shard(node.replicas[1])), 0);
    close_node(&node);
}

// Before anybody gives it its part.
static void a_shard_makes_room_for_its_own_writes_at_once(void **state)
{
    (void)state;
    struct node node;
    open_node(&node, MF_EVICT_VOLATILE_TTL);
    for (uint64_t number = 0; number < 3000; number++) {
        char name[24];
        struct mf_command command = set_of(name_of(number, name), 1000, 1000 * (int64_t)SECOND_US);
        struct mf_op *op = submit(&node, 0, command);
        for (int i = 0; i < 3 && op->owner == NULL; i++) {
            node.now_us += 1000;
            flush(&node, 0);
        }
        assert_non_null(op->owner);
        assert_int_equal(end_of(&node, op), MF_OK);
    }
    struct mf_shard_counters counters;
    mf_shard_counters(mf_replica_shard(node.replicas[0]), &counters);
    assert_in_range(counters.evicted, 2000, 2400);
    close_node(&node);
}

static void what_waits_too_long_ends_as_busy(void **state)
{
    (void)state;
    struct node node;
    open_node(&node, MF_EVICT_VOLATILE_TTL);
    assert_int_equal(set(&node, 1, 1, 1000 * (int64_t)SECOND_US), MF_OK);
    fill(&node, 0, 0);
    // The only key that could go is the other shard's, whose turn does not come.
    assert_int_equal(set(&node, 1, 1, 1000 * (int64_t)SECOND_US), MF_OUT_OF_MEMORY);
    for (uint64_t number = 0; number < 3; number++) {
        char name[24];
        struct mf_command command = of_key(MF_OP_DEL, name_of(number, name));
        assert_int_equal(end_of(&node, submit(&node, 0, command)), MF_OK);
    }
    assert_int_equal(set(&node, 1, 1, 1000 * (int64_t)SECOND_US), MF_OK);
    struct mf_op *op = submit(&node, 0, set_of("waits", 4000, 0));
    assert_null(op->owner);
    for (int i = 0; i < 1200 && op->owner == NULL; i++) {
        node.now_us += 1000;
        struct mf_replica_env env = env_of(&node);
        mf_replica_tick(node.replicas[0], &env);
        flush(&node, 0);
    }
    assert_int_equal(end_of(&node, op), MF_BUSY);
    close_node(&node);
}

// What is carried out when it comes (server/replica_alone.c) is admitted by nobody.
static void writes_wait_for_their_turn_where_memory_is_counted(void **state)
{
    (void)state;
    struct node node;
    open_node_of(&node, 0, MF_EVICT_NONE);
    assert_true(mf_replica_writes_at_once(node.replicas[0]));
    mf_budget_set_max(&node.budget, MAX);
    mf_replica_budget_changed(node.replicas[0]);
    assert_false(mf_replica_writes_at_once(node.replicas[0]));
    flush(&node, 0);
    assert_false(mf_replica_writes_at_once(node.replicas[0]));
    mf_budget_set_max(&node.budget, 0); // what is used is told all the same
    mf_replica_budget_changed(node.replicas[1]);
    flush(&node, 1);
    assert_false(mf_replica_writes_at_once(node.replicas[1]));
    for (uint32_t i = 0; i < SHARDS; i++)
        mf_replica_free(node.replicas[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_wait_for_their_turn_where_memory_is_counted),
        cmocka_unit_test(a_full_node_refuses_what_grows_and_nothing_else),
        cmocka_unit_test(what_a_few_bytes_make_counts),
        cmocka_unit_test(ids_stop_a_little_above_the_limit_and_deletes_without_one_never),
        cmocka_unit_test(eviction_makes_room_in_every_shard),
        cmocka_unit_test(a_shard_without_keys_gets_room_from_the_others),
        cmocka_unit_test(nothing_waits_for_room_that_cannot_be_made),
        cmocka_unit_test(a_shard_makes_room_for_its_own_writes_at_once),
        cmocka_unit_test(what_waits_too_long_ends_as_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
