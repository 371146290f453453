// What a node takes from another can be applied: a log that holds a command that cannot be stops
// every replica of its shard. So each op is tried with every set of flags and every expiry, alone
// and inside a txn, from bytes to result.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "base/command_table.h"
#include "base/txn.h"
#include "shard_fixture.h"

#define OPS 256u
#define FLAG_SETS (2u * MF_GO_ON) // of the last flag
#define WALL_US INT64_C(1700000000000000)
#define LIMIT 100u

static const struct {
    enum mf_expiry kind;
    int64_t us;
} expiries[] = {
    {MF_EXPIRY_NONE, 0},       {MF_EXPIRY_IN, INT64_MIN}, {MF_EXPIRY_IN, 0},
    {MF_EXPIRY_IN, 5},         {MF_EXPIRY_IN, INT64_MAX}, {MF_EXPIRY_AT, 0},
    {MF_EXPIRY_AT, INT64_MAX}, {MF_EXPIRY_AT, -1},
};
#define EXPIRIES (sizeof(expiries) / sizeof(expiries[0]))

struct reach {
    struct fixture *f;
    struct mf_buf encoded;
    struct mf_buf body;
    struct mf_item *items;
    uint32_t items_cap;
    uint32_t taken[OPS];
};

// The flags and the expiry that an op needs to be carried out; the others it may have or not.
static bool can_be_meant(const struct mf_command *command)
{
    if (command->expiry == MF_EXPIRY_AT &&
        (command->expire_us < 0 || command->op == MF_OP_DEADLINE))
        return false;
    if (command->op == MF_OP_EXPIRE)
        return command->expiry != MF_EXPIRY_NONE;
    return command->op != MF_OP_ROSTER || (command->flags & MF_IF_VERSION) != 0;
}

static bool may_be_inside(const struct mf_command *command)
{
    return (mf_command_row(command->op)->traits & MF_IN_TXN) != 0 &&
           (command->flags & MF_READ_LOCAL) == 0;
}

// An empty txn, or one of a single command.
static struct mf_bytes body_of(struct mf_buf *body, const struct mf_command *inner)
{
    mf_buf_clear(body, SIZE_MAX);
    mf_txn_part_end(body, mf_txn_part_begin(body), 0);
    size_t then = mf_txn_part_begin(body);
    if (inner != NULL)
        mf_command_encode(inner, body);
    mf_txn_part_end(body, then, inner != NULL);
    mf_txn_part_end(body, mf_txn_part_begin(body), 0);
    return mf_buf_view(body);
}

// As the leader does before it proposes.
static void settle_times(struct mf_command *command, struct mf_buf *settled)
{
    (void)mf_command_settle(command, WALL_US);
    if (command->op == MF_OP_TXN && mf_txn_settle_times(command->body, WALL_US, settled))
        command->body = mf_buf_view(settled);
}

static bool is_order(enum mf_opcode op)
{
    return op == MF_OP_TRANSFER || op == MF_OP_DRAIN;
}

static void carry_out(struct fixture *f, struct mf_command command)
{
    if (is_order(command.op))
        return;
    struct mf_buf settled = {0};
    f->now_us++;
    settle_times(&command, &settled);
    apply(f, command);
    // A read beside the log waits until an entry has told of every death: that one has.
    if (!mf_op_is_write(command.op))
        read_one(f, command);
    mf_buf_free(&settled);
}

// Sends a command, which is to be taken or not, and carries it out where it is.
static void send(struct reach *r, const struct mf_command *command, bool welcome)
{
    struct mf_command got;
    mf_buf_clear(&r->encoded, SIZE_MAX);
    mf_command_encode(command, &r->encoded);
    struct mf_reader reader = mf_reader_of(mf_buf_view(&r->encoded));
    enum mf_err err = mf_command_decode(&reader, &got, &r->items, &r->items_cap);
    if (err != (welcome ? MF_OK : MF_CORRUPT))
        fail_msg("%s, flags %u, expiry %d, %zu bytes of body: %s", mf_op_name(command->op),
                 command->flags, command->expiry, command->body.len, mf_err_text(err));
    if (welcome)
        carry_out(r->f, got);
}

static void send_each_way(struct reach *r, const struct mf_command *command)
{
    bool meant = can_be_meant(command);
    send(r, command, meant);
    r->taken[command->op] += meant;
    struct mf_command txn = {.op = MF_OP_TXN, .limit = 1000, .body = body_of(&r->body, command)};
    meant = meant && may_be_inside(command);
    send(r, &txn, meant);
    txn.op = MF_OP_TXN_READ;
    send(r, &txn, meant && !mf_op_is_write(command->op));
}

static void send_op(struct reach *r, enum mf_opcode op)
{
    const struct mf_command_row *row = mf_command_row(op);
    bool key = row->keys != MF_KEYS_NONE;
    bool value = row->values;
    struct mf_buf body = {0};
    struct mf_command command = {.op = op,
                                 .limit = (row->traits & MF_HAS_LIMIT) != 0 ? LIMIT : 0,
                                 .number = (row->traits & MF_HAS_NUMBER) != 0,
                                 .item_count = key};
    command.one.key = mf_bytes_str(key ? "k" : "");
    command.one.value = mf_bytes_str(value ? "12345678" : "");
    struct mf_item both[2] = {command.one, {.key = mf_bytes_str("l")}};
    command.items = both;
    if (row->keys == MF_KEYS_TWO)
        command.item_count = 2;
    if (op == MF_OP_TXN || op == MF_OP_TXN_READ)
        command.body = body_of(&body, NULL);
    for (uint32_t flags = 0; flags < FLAG_SETS; flags++) {
        command.flags = flags;
        for (size_t i = 0; i < EXPIRIES; i++) {
            command.expiry = expiries[i].kind;
            command.expire_us = expiries[i].us;
            command.if_version = 0;
            if ((flags & MF_IF_VERSION) != 0 && op == MF_OP_ROSTER)
                command.if_version = mf_shard_roster_version(r->f->shard);
            send_each_way(r, &command);
        }
    }
    mf_buf_free(&body);
}

static void whatever_is_taken_from_another_node_can_be_applied(void **state)
{
    (void)state;
    struct reach r = {.f = fixture_new()};
    uint32_t ops = 0;
    for (unsigned op = 0; op < OPS; op++) {
        if (mf_command_row(op) == NULL)
            continue;
        ops++;
        send_op(&r, (enum mf_opcode)op);
        assert_true(r.taken[op] > 0);
    }
    assert_true(ops > 20);
    // Those without a version, and those of a time that is none.
    assert_int_equal(r.taken[MF_OP_ROSTER], FLAG_SETS / 2 * (EXPIRIES - 1));
    assert_int_equal(r.taken[MF_OP_EXPIRE], FLAG_SETS * (EXPIRIES - 2));
    assert_int_equal(r.taken[MF_OP_SET], FLAG_SETS * (EXPIRIES - 1));
    assert_true(mf_shard_roster_version(r.f->shard) > 1);
    free(r.items);
    mf_buf_free(&r.body);
    mf_buf_free(&r.encoded);
    fixture_free(r.f);
}

static void an_order_to_a_node_is_in_no_log(void **state)
{
    (void)state;
    static const enum mf_opcode orders[] = {MF_OP_TRANSFER, MF_OP_DRAIN};
    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
        struct fixture *f = fixture_new();
        struct mf_command order = {.op = orders[i], .limit = 1};
        mf_batch_begin(&f->batch, 1);
        mf_batch_add(&f->batch, &order);
        assert_int_equal(mf_shard_apply(f->shard, 1, 1, mf_buf_view(&f->batch), NULL, NULL),
                         MF_CORRUPT);
        fixture_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_is_taken_from_another_node_can_be_applied),
        cmocka_unit_test(an_order_to_a_node_is_in_no_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
