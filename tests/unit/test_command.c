// The binary forms of commands and results: round trips, their exact bytes, and hostile input.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "base/command.h"
#include "base/command_table.h"
#include "base/rand.h"
#include "base/result.h"
#include "base/txn.h"

#define ITEMS_MAX 5

static const enum mf_opcode ops[] = {
    MF_OP_GET,      MF_OP_MGET,      MF_OP_HAS,    MF_OP_TTL,      MF_OP_SIZE,     MF_OP_SET,
    MF_OP_MSET,     MF_OP_DEL,       MF_OP_EXPIRE, MF_OP_PERSIST,  MF_OP_FLUSH,    MF_OP_EXPIRE_DUE,
    MF_OP_TRANSFER, MF_OP_DRAIN,     MF_OP_INCR,   MF_OP_SCAN,     MF_OP_APPEND,   MF_OP_GETDEL,
    MF_OP_GETEX,    MF_OP_SEED,      MF_OP_INDEX,  MF_OP_TXN,      MF_OP_TXN_READ, MF_OP_EVICT,
    MF_OP_ROSTER,   MF_OP_DEADLINE,  MF_OP_STRLEN, MF_OP_GETRANGE, MF_OP_SETRANGE, MF_OP_RENAME,
    MF_OP_COPY,     MF_OP_INCRFLOAT, MF_OP_OBJECT, MF_OP_SETBIT,
};
#define OP_COUNT (sizeof(ops) / sizeof(ops[0]))

static bool has_values(enum mf_opcode op)
{
    return op == MF_OP_SET || op == MF_OP_MSET || op == MF_OP_APPEND || op == MF_OP_EVICT ||
           op == MF_OP_ROSTER || op == MF_OP_SETRANGE || op == MF_OP_INCRFLOAT;
}

static bool has_many_keys(enum mf_opcode op)
{
    return op == MF_OP_MGET || op == MF_OP_HAS || op == MF_OP_MSET || op == MF_OP_DEL ||
           op == MF_OP_EVICT;
}

static bool has_two_keys(unsigned op)
{
    return op == MF_OP_RENAME || op == MF_OP_COPY;
}

static bool has_limit(enum mf_opcode op)
{
    return op == MF_OP_EXPIRE_DUE || op == MF_OP_TRANSFER || op == MF_OP_DRAIN ||
           op == MF_OP_INCR || op == MF_OP_APPEND || op == MF_OP_SCAN || op == MF_OP_TXN ||
           op == MF_OP_TXN_READ || op == MF_OP_SETRANGE || op == MF_OP_INCRFLOAT ||
           op == MF_OP_SETBIT;
}

static bool has_number(enum mf_opcode op)
{
    return op == MF_OP_INCR || op == MF_OP_SCAN || op == MF_OP_SEED || op == MF_OP_GETRANGE ||
           op == MF_OP_SETRANGE || op == MF_OP_SETBIT;
}

static bool is_txn(unsigned op)
{
    return op == MF_OP_TXN || op == MF_OP_TXN_READ;
}

static bool has_no_key(unsigned op)
{
    return op == MF_OP_SIZE || op == MF_OP_FLUSH || op == MF_OP_INDEX || op == MF_OP_SCAN ||
           op == MF_OP_SEED || op == MF_OP_EXPIRE_DUE || op == MF_OP_TRANSFER ||
           op == MF_OP_DRAIN || is_txn(op);
}

// Some bytes of a text that outlives the test.
static struct mf_bytes some_bytes(struct mf_rand *rand, size_t len_max)
{
    static const char text[] = "the mayfly lives for a day and says nothing that is not true of it";
    return mf_bytes_of(text, mf_rand_below(rand, (len_max < sizeof(text) ? len_max : 60) + 1));
}

static const enum mf_opcode inner_ops[] = {
    MF_OP_GET,      MF_OP_MGET,   MF_OP_HAS,       MF_OP_TTL,      MF_OP_DEADLINE, MF_OP_STRLEN,
    MF_OP_GETRANGE, MF_OP_OBJECT, MF_OP_SET,       MF_OP_SETRANGE, MF_OP_RENAME,   MF_OP_COPY,
    MF_OP_MSET,     MF_OP_DEL,    MF_OP_INCR,      MF_OP_EXPIRE,   MF_OP_PERSIST,  MF_OP_APPEND,
    MF_OP_GETDEL,   MF_OP_GETEX,  MF_OP_INCRFLOAT, MF_OP_SETBIT,
};
#define INNER_OP_COUNT (sizeof(inner_ops) / sizeof(inner_ops[0]))
#define INNER_READ_COUNT 8 // of them, at the beginning

static void make_fields(struct mf_rand *rand, struct mf_command *command, struct mf_item *items);

static void make_condition(struct mf_rand *rand, struct mf_condition *condition)
{
    *condition = (struct mf_condition){.subject = (enum mf_subject)(1 + mf_rand_below(rand, 3)),
                                       .relation = (enum mf_relation)(1 + mf_rand_below(rand, 2)),
                                       .key = some_bytes(rand, 20)};
    if (condition->subject == MF_SUBJECT_EXISTS)
        condition->number = mf_rand_below(rand, 2);
    else if (condition->subject == MF_SUBJECT_VERSION)
        condition->number = mf_rand_next(rand);
    else
        condition->value = some_bytes(rand, 60);
    if (condition->subject != MF_SUBJECT_EXISTS && mf_rand_below(rand, 2) == 0)
        condition->relation = MF_GREATER;
}

// Appended to *body.
static void make_branch(struct mf_rand *rand, size_t ops_count, struct mf_buf *body)
{
    uint32_t count = (uint32_t)mf_rand_below(rand, 4);
    size_t part = mf_txn_part_begin(body);
    for (uint32_t i = 0; i < count; i++) {
        struct mf_item items[ITEMS_MAX];
        struct mf_command inner = {.op = inner_ops[mf_rand_below(rand, ops_count)]};
        make_fields(rand, &inner, items);
        inner.id = mf_bytes_of(NULL, 0);
        inner.flags &= ~(uint32_t)MF_READ_LOCAL;
        mf_command_encode(&inner, body);
    }
    mf_txn_part_end(body, part, count);
}

static struct mf_buf body; // of the txn made last

static void make_txn_body(struct mf_rand *rand, bool reads)
{
    mf_buf_clear(&body, SIZE_MAX);
    uint32_t count = (uint32_t)mf_rand_below(rand, 3);
    size_t part = mf_txn_part_begin(&body);
    for (uint32_t i = 0; i < count; i++) {
        struct mf_condition condition;
        make_condition(rand, &condition);
        mf_condition_encode(&condition, &body);
    }
    mf_txn_part_end(&body, part, count);
    for (int i = 0; i < 2; i++)
        make_branch(rand, reads ? INNER_READ_COUNT : INNER_OP_COUNT, &body);
}

static void make_command(struct mf_rand *rand, struct mf_command *command, struct mf_item *items)
{
    *command = (struct mf_command){.op = ops[mf_rand_below(rand, OP_COUNT)]};
    make_fields(rand, command, items);
    if (is_txn(command->op)) {
        make_txn_body(rand, command->op == MF_OP_TXN_READ);
        command->body = mf_buf_view(&body);
    } else if (command->op == MF_OP_SCAN) {
        command->body = some_bytes(rand, 60);
    }
}

static void make_fields(struct mf_rand *rand, struct mf_command *command, struct mf_item *items)
{
    command->items = items;
    command->flags = (uint32_t)mf_rand_below(rand, 1u << 15);
    command->expiry = (enum mf_expiry)mf_rand_below(rand, 3);
    if (command->op == MF_OP_EXPIRE && command->expiry == MF_EXPIRY_NONE)
        command->expiry = MF_EXPIRY_IN;
    if (command->op == MF_OP_ROSTER)
        command->flags |= MF_IF_VERSION;
    if (command->op == MF_OP_DEADLINE && command->expiry == MF_EXPIRY_AT)
        command->expiry = MF_EXPIRY_IN;
    if (command->expiry != MF_EXPIRY_NONE)
        command->expire_us = (int64_t)mf_rand_next(rand);
    if (command->expiry == MF_EXPIRY_AT)
        command->expire_us &= INT64_MAX;
    if ((command->flags & MF_IF_VERSION) != 0)
        command->if_version = mf_rand_next(rand);
    if ((command->flags & (MF_IF_EQUAL | MF_IF_OTHER)) != 0)
        command->body = some_bytes(rand, 60);
    if (has_limit(command->op))
        command->limit = (uint32_t)mf_rand_next(rand);
    if (has_number(command->op))
        command->number = mf_rand_next(rand);
    if (command->op == MF_OP_GETRANGE)
        command->last = (int64_t)mf_rand_next(rand);
    command->id = some_bytes(rand, MF_ID_MAX);
    command->item_count = has_no_key(command->op) ? 0 : has_two_keys(command->op) ? 2 : 1;
    if (has_many_keys(command->op))
        command->item_count = (uint32_t)mf_rand_below(rand, ITEMS_MAX + 1);
    for (uint32_t i = 0; i < command->item_count; i++) {
        items[i].key = some_bytes(rand, 20);
        items[i].value = has_values(command->op) ? some_bytes(rand, 60) : mf_bytes_of(NULL, 0);
    }
}

static void assert_same_command(const struct mf_command *a, const struct mf_command *b)
{
    assert_int_equal(a->op, b->op);
    assert_int_equal(a->flags, b->flags);
    assert_int_equal(a->expiry, b->expiry);
    assert_true(a->expire_us == b->expire_us && a->if_version == b->if_version);
    assert_int_equal(a->limit, b->limit);
    assert_true(a->number == b->number && a->last == b->last);
    assert_true(mf_bytes_equal(a->body, b->body));
    assert_true(mf_bytes_equal(a->id, b->id));
    assert_int_equal(a->item_count, b->item_count);
    for (uint32_t i = 0; i < a->item_count; i++) {
        assert_true(mf_bytes_equal(a->items[i].key, b->items[i].key));
        assert_true(mf_bytes_equal(a->items[i].value, b->items[i].value));
    }
}

static void any_command_is_read_back_as_it_was(void **state)
{
    (void)state;
    struct mf_rand rand = {1};
    struct mf_buf buf = {0};
    struct mf_item *decoded_items = NULL;
    uint32_t cap = 0;
    for (int i = 0; i < 5000; i++) {
        struct mf_item items[ITEMS_MAX];
        struct mf_command command;
        struct mf_command decoded;
        make_command(&rand, &command, items);
        mf_buf_clear(&buf, SIZE_MAX);
        mf_command_encode(&command, &buf);
        assert_int_equal(mf_command_size(&command), buf.len);
        struct mf_reader r = mf_reader_of(mf_buf_view(&buf));
        assert_int_equal(mf_command_decode(&r, &decoded, &decoded_items, &cap), MF_OK);
        assert_int_equal(mf_reader_left(&r), 0);
        assert_same_command(&command, &decoded);
        assert_true(decoded.item_count != 1 || decoded.items == &decoded.one);
    }
    free(decoded_items);
    mf_buf_free(&buf);
}

static void the_bytes_of_a_set_are_those_that_logs_hold(void **state)
{
    (void)state;
    struct mf_command command = {
        .op = MF_OP_SET,
        .flags = MF_NX | MF_IF_VERSION,
        .expiry = MF_EXPIRY_IN,
        .expire_us = 0x0102030405,
        .if_version = 7,
        .id = mf_bytes_str("id"),
        .item_count = 1,
        .one = {mf_bytes_str("key"), mf_bytes_str("value")},
    };
    command.items = &command.one;
    static const uint8_t expected[] = {
        32, 0x81, 0, 1, 2, 'i', 'd', 0x05, 0x04, 0x03, 0x02, 0x01, 0, 0, 0,   7,   0,   0,   0,   0,
        0,  0,    0, 3, 0, 0,   0,   'k',  'e',  'y',  5,    0,    0, 0, 'v', 'a', 'l', 'u', 'e',
    };
    struct mf_buf buf = {0};
    mf_command_encode(&command, &buf);
    assert_int_equal(buf.len, sizeof(expected));
    assert_memory_equal(buf.data, expected, sizeof(expected));
    mf_buf_free(&buf);
}

static void the_bytes_of_a_condition_on_the_value_come_last(void **state)
{
    (void)state;
    struct mf_item key = {.key = mf_bytes_str("a")};
    struct mf_command command = {.op = MF_OP_DEL,
                                 .flags = MF_IF_EQUAL,
                                 .items = &key,
                                 .item_count = 1,
                                 .body = mf_bytes_str("was")};
    static const uint8_t expected[] = {34, 0, 0x20, 0, 0, 1, 0, 0,   0,   1,  0,
                                       0,  0, 'a',  3, 0, 0, 0, 'w', 'a', 's'};
    struct mf_buf buf = {0};
    mf_command_encode(&command, &buf);
    assert_int_equal(buf.len, sizeof(expected));
    assert_memory_equal(buf.data, expected, sizeof(expected));
    mf_buf_free(&buf);
}

static void the_bytes_of_a_del_count_its_keys(void **state)
{
    (void)state;
    struct mf_item keys[2] = {{.key = mf_bytes_str("a")}, {.key = mf_bytes_str("b")}};
    struct mf_command command = {.op = MF_OP_DEL, .items = keys, .item_count = 2};
    static const uint8_t expected[] = {34, 0, 0, 0,   0, 2, 0, 0, 0,  1,
                                       0,  0, 0, 'a', 1, 0, 0, 0, 'b'};
    struct mf_buf buf = {0};
    mf_command_encode(&command, &buf);
    assert_int_equal(buf.len, sizeof(expected));
    assert_memory_equal(buf.data, expected, sizeof(expected));
    mf_buf_free(&buf);
}

static void what_the_encoder_would_not_write_is_corrupt(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        uint8_t bytes[24];
        size_t len;
    } cases[] = {
        {"nothing", {0}, 0},
        {"op 0", {0, 0, 0, 0, 0}, 16},
        {"an op between two ranges", {13, 0, 0, 0, 0}, 16},
        {"an op after draining", {66, 0, 0, 0, 0}, 16},
        {"an op past the last", {99, 0, 0, 0, 0}, 16},
        {"an unknown flag", {5, 0, 128, 0, 0}, 16},
        {"an unknown expiry", {5, 0, 0, 3, 0}, 16},
        {"a roster that follows none", {MF_OP_ROSTER, 0, 0, 0, 0}, 13},
        {"an id of 65 bytes", {5, 0, 0, 0, 65}, 5},
        {"an id that is cut", {5, 0, 0, 0, 2, 'i'}, 6},
        {"a range without an end", {10, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}, 13},
        {"a key that is cut", {1, 0, 0, 0, 0, 2, 0, 0, 0, 'k'}, 10},
        {"more keys than bytes", {34, 0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0}, 13},
        {"room for one key of three", {34, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0}, 13},
        {"a rename to nothing", {46, 0, 0, 0, 0, 1, 0, 0, 0, 'k'}, 10},
        {"an expire that does not say when", {35, 0, 0, 0, 0, 1, 0, 0, 0, 'k'}, 10},
        {"a deadline that is asked of a Unix time", {11, 0, 0, 2, 0}, 20},
        {"a Unix time before 1970", {36, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 128, 0, 0, 0, 0}, 17},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mf_reader r = mf_reader_of(mf_bytes_of(cases[i].bytes, cases[i].len));
        struct mf_command command;
        struct mf_item *items = NULL;
        uint32_t cap = 0;
        enum mf_err err = mf_command_decode(&r, &command, &items, &cap);
        if (err != MF_CORRUPT)
            fail_msg("%s was accepted", cases[i].what);
        assert_null(items);
    }
}

static void ops_have_names_and_only_some_write(void **state)
{
    (void)state;
    assert_string_equal(mf_op_name(MF_OP_GET), "get");
    assert_string_equal(mf_op_name(MF_OP_EXPIRE_DUE), "expire_due");
    assert_string_equal(mf_op_name(MF_OP_NONE), "?");
    assert_string_equal(mf_op_name((enum mf_opcode)1000), "?");
    for (size_t i = 0; i < OP_COUNT; i++)
        assert_int_equal(mf_op_is_write(ops[i]),
                         ops[i] >= MF_OP_SET && ops[i] != MF_OP_TRANSFER && ops[i] != MF_OP_DRAIN);
    assert_false(mf_op_is_write(MF_OP_NONE));
    assert_false(mf_op_is_write((enum mf_opcode)1000));
}

static void make_result(struct mf_rand *rand, struct mf_result *result)
{
    *result = (struct mf_result){.kind = (enum mf_result_kind)mf_rand_below(rand, 9)};
    struct mf_bytes bytes = some_bytes(rand, 60);
    switch (result->kind) {
    case MF_RESULT_NIL:
        break;
    case MF_RESULT_BOOL:
        result->integer = (int64_t)mf_rand_below(rand, 2);
        break;
    case MF_RESULT_INT:
        result->integer = (int64_t)mf_rand_next(rand);
        break;
    case MF_RESULT_BYTES:
        result->value = bytes;
        break;
    case MF_RESULT_WRITTEN:
        result->version = mf_rand_next(rand);
        result->with_old = mf_rand_below(rand, 2) == 0;
        result->has_old = result->with_old && mf_rand_below(rand, 2) == 0;
        result->value = result->has_old ? bytes : mf_bytes_of(NULL, 0);
        break;
    case MF_RESULT_META:
        result->version = mf_rand_next(rand);
        result->ttl_ms = (int64_t)mf_rand_below(rand, 1000) - 1;
        result->value = bytes;
        break;
    case MF_RESULT_TXN:
        result->integer = (int64_t)mf_rand_below(rand, 2);
        result->count = (uint32_t)mf_rand_below(rand, bytes.len + 1);
        result->value = bytes;
        break;
    case MF_RESULT_LIST:
        result->count = (uint32_t)mf_rand_below(rand, bytes.len + 1);
        result->value = bytes;
        break;
    case MF_RESULT_ERROR:
        result->err = (enum mf_err)(1 + mf_rand_below(rand, MF_ERR_COUNT - 1));
        result->value = bytes;
        break;
    }
}

static void any_result_is_read_back_as_it_was(void **state)
{
    (void)state;
    struct mf_rand rand = {2};
    struct mf_buf buf = {0};
    for (int i = 0; i < 5000; i++) {
        struct mf_result a;
        struct mf_result b;
        make_result(&rand, &a);
        mf_buf_clear(&buf, SIZE_MAX);
        mf_result_encode(&a, &buf);
        struct mf_reader r = mf_reader_of(mf_buf_view(&buf));
        assert_int_equal(mf_result_decode(&r, &b), MF_OK);
        assert_int_equal(mf_reader_left(&r), 0);
        assert_true(a.kind == b.kind && a.err == b.err && a.integer == b.integer);
        assert_true(a.version == b.version && a.ttl_ms == b.ttl_ms && a.count == b.count);
        assert_true(a.with_old == b.with_old && a.has_old == b.has_old);
        assert_true(mf_bytes_equal(a.value, b.value));
    }
    mf_buf_free(&buf);
}

static void a_list_holds_results_one_after_the_other(void **state)
{
    (void)state;
    struct mf_buf buf = {0};
    mf_buf_u8(&buf, 0xee); // something before it
    size_t list = mf_result_list_begin(&buf, 3);
    mf_result_int(&buf, -5);
    mf_result_nil(&buf);
    mf_result_bytes(&buf, mf_bytes_str("x"));
    mf_result_list_end(&buf, list);
    mf_result_bool(&buf, true); // something after it

    struct mf_reader r = mf_reader_of(mf_buf_view(&buf));
    mf_read_u8(&r);
    struct mf_result result;
    assert_int_equal(mf_result_decode(&r, &result), MF_OK);
    assert_int_equal(result.kind, MF_RESULT_LIST);
    assert_int_equal(result.count, 3);
    struct mf_reader elements = mf_reader_of(result.value);
    struct mf_result element;
    assert_int_equal(mf_result_decode(&elements, &element), MF_OK);
    assert_int_equal(element.integer, -5);
    assert_int_equal(mf_result_decode(&elements, &element), MF_OK);
    assert_int_equal(element.kind, MF_RESULT_NIL);
    assert_int_equal(mf_result_decode(&elements, &element), MF_OK);
    assert_true(mf_bytes_equal(element.value, mf_bytes_str("x")));
    assert_int_equal(mf_reader_left(&elements), 0);
    assert_int_equal(mf_result_decode(&r, &result), MF_OK);
    assert_int_equal(result.integer, 1);
    mf_buf_free(&buf);
}

static void a_list_of_more_results_than_bytes_is_corrupt(void **state)
{
    (void)state;
    struct mf_buf buf = {0};
    struct mf_result result = {.kind = MF_RESULT_LIST, .count = 3, .value = mf_bytes_str("ab")};
    mf_result_encode(&result, &buf);
    struct mf_reader r = mf_reader_of(mf_buf_view(&buf));
    assert_int_equal(mf_result_decode(&r, &result), MF_CORRUPT);
    mf_buf_free(&buf);
}

static void an_error_without_a_message_has_the_codes_own(void **state)
{
    (void)state;
    struct mf_buf buf = {0};
    mf_result_error(&buf, MF_BUSY, NULL);
    mf_result_error(&buf, MF_BUSY, "go away");
    struct mf_reader r = mf_reader_of(mf_buf_view(&buf));
    struct mf_result result;
    assert_int_equal(mf_result_decode(&r, &result), MF_OK);
    assert_true(mf_bytes_equal(result.value, mf_bytes_str(mf_err_text(MF_BUSY))));
    assert_int_equal(mf_result_decode(&r, &result), MF_OK);
    assert_int_equal(result.err, MF_BUSY);
    assert_true(mf_bytes_equal(result.value, mf_bytes_str("go away")));
    mf_buf_free(&buf);
}

// Changes, cuts or extends bytes, and returns them in memory of exactly their size, so that a
// sanitizer sees any read past them.
static uint8_t *mutate(struct mf_rand *rand, const struct mf_buf *from, size_t *len)
{
    *len = mf_rand_below(rand, 4) == 0 ? mf_rand_below(rand, from->len + 1) : from->len;
    uint8_t *bytes = mf_alloc(*len);
    memcpy(bytes, from->data, *len);
    for (uint64_t changes = mf_rand_below(rand, 4); *len > 0 && changes > 0; changes--)
        bytes[mf_rand_below(rand, *len)] = (uint8_t)mf_rand_next(rand);
    return bytes;
}

static void mutated_bytes_are_refused_or_have_one_form_only(void **state)
{
    (void)state;
    struct mf_rand rand = {3};
    struct mf_buf buf = {0};
    struct mf_buf again = {0};
    struct mf_item *decoded_items = NULL;
    uint32_t cap = 0;
    unsigned accepted = 0;
    for (int i = 0; i < 100000; i++) {
        bool command_turn = i % 2 == 0;
        struct mf_item items[ITEMS_MAX];
        struct mf_command command;
        struct mf_result result;
        mf_buf_clear(&buf, SIZE_MAX);
        mf_buf_clear(&again, SIZE_MAX);
        make_command(&rand, &command, items);
        make_result(&rand, &result);
        if (command_turn)
            mf_command_encode(&command, &buf);
        else
            mf_result_encode(&result, &buf);
        size_t len;
        uint8_t *bytes = mutate(&rand, &buf, &len);
        struct mf_reader r = mf_reader_of(mf_bytes_of(bytes, len));
        enum mf_err err = command_turn ? mf_command_decode(&r, &command, &decoded_items, &cap)
                                       : mf_result_decode(&r, &result);
        if (err == MF_OK && command_turn)
            mf_command_encode(&command, &again);
        else if (err == MF_OK)
            mf_result_encode(&result, &again);
        else
            assert_int_equal(err, MF_CORRUPT);
        accepted += err == MF_OK;
        if (err == MF_OK)
            assert_true(
                mf_bytes_equal(mf_buf_view(&again), mf_bytes_of(bytes, (size_t)(r.at - bytes))));
        free(bytes);
    }
    assert_in_range(accepted, 1000, 99000);
    free(decoded_items);
    mf_buf_free(&again);
    mf_buf_free(&buf);
}

// A body of three parts whose `then` has these bytes as one command.
static struct mf_bytes body_around(struct mf_buf *out, struct mf_bytes command)
{
    mf_buf_clear(out, SIZE_MAX);
    mf_txn_part_end(out, mf_txn_part_begin(out), 0);
    size_t part = mf_txn_part_begin(out);
    mf_buf_put(out, command.data, command.len);
    mf_txn_part_end(out, part, 1);
    mf_txn_part_end(out, mf_txn_part_begin(out), 0);
    return mf_buf_view(out);
}

static bool may_be_inside(struct mf_command command, bool reads)
{
    struct mf_buf bytes = {0};
    struct mf_buf around = {0};
    mf_command_encode(&command, &bytes);
    bool valid = mf_txn_valid(body_around(&around, mf_buf_view(&bytes)), reads);
    mf_buf_free(&around);
    mf_buf_free(&bytes);
    return valid;
}

static void a_txn_holds_only_what_the_table_allows_in_it(void **state)
{
    (void)state;
    struct mf_item items[2] = {{.key = mf_bytes_str("k")}, {.key = mf_bytes_str("l")}};
    for (unsigned op = 0; op < 100; op++) {
        const struct mf_command_row *row = mf_command_row(op);
        if (row == NULL || is_txn(op))
            continue;
        struct mf_command command = {.op = (enum mf_opcode)op,
                                     .items = items,
                                     .item_count = has_no_key(op)     ? 0
                                                   : has_two_keys(op) ? 2
                                                                      : 1};
        if (op == MF_OP_EXPIRE)
            command.expiry = MF_EXPIRY_IN;
        bool inner = false;
        for (size_t i = 0; i < INNER_OP_COUNT; i++)
            inner = inner || inner_ops[i] == command.op;
        assert_int_equal(may_be_inside(command, false), inner);
        assert_int_equal(may_be_inside(command, true), inner && !mf_op_is_write(command.op));
        command.id = mf_bytes_str("id");
        assert_false(may_be_inside(command, false));
        command.id.len = 0;
        command.flags = MF_READ_LOCAL;
        assert_false(may_be_inside(command, false));
    }
    // A txn in a txn.
    struct mf_buf empty = {0};
    for (int i = 0; i < 3; i++)
        mf_txn_part_end(&empty, mf_txn_part_begin(&empty), 0);
    assert_true(mf_txn_valid(mf_buf_view(&empty), true));
    struct mf_command txn = {.op = MF_OP_TXN_READ, .body = mf_buf_view(&empty)};
    assert_false(may_be_inside(txn, false));
    mf_buf_free(&empty);
}

static void conditions_compare_versions_values_and_existence(void **state)
{
    (void)state;
    const struct mf_key_facts absent = {0};
    const struct mf_key_facts there = {true, 5, mf_bytes_str("m\xff")};
    static const struct {
        enum mf_subject subject;
        uint64_t number;
        const char *value;
        const char *there; // the relations that hold, of a key that is there and of none
        const char *absent;
    } cases[] = {
        {MF_SUBJECT_VERSION, 5, NULL, "=", "!<"},  {MF_SUBJECT_VERSION, 4, NULL, "!>", "!<"},
        {MF_SUBJECT_VERSION, 6, NULL, "!<", "!<"}, {MF_SUBJECT_VERSION, 0, NULL, "!>", "="},
        {MF_SUBJECT_VALUE, 0, "m\xff", "=", "!"},  {MF_SUBJECT_VALUE, 0, "m", "!>", "!"},
        {MF_SUBJECT_VALUE, 0, "m\x7f", "!>", "!"}, {MF_SUBJECT_VALUE, 0, "m\xff+", "!<", "!"},
        {MF_SUBJECT_VALUE, 0, "", "!>", "!"},      {MF_SUBJECT_EXISTS, 1, NULL, "=", "!"},
        {MF_SUBJECT_EXISTS, 0, NULL, "!", "="},
    };
    static const char relations[] = " =!<>";
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (enum mf_relation r = MF_EQUAL; r <= MF_GREATER; r++) {
            if (cases[i].subject == MF_SUBJECT_EXISTS && r > MF_UNEQUAL)
                continue;
            struct mf_condition condition = {
                .subject = cases[i].subject,
                .relation = r,
                .number = cases[i].number,
                .value = mf_bytes_str(cases[i].value != NULL ? cases[i].value : "")};
            bool want = strchr(cases[i].there, relations[r]) != NULL;
            bool want_absent = strchr(cases[i].absent, relations[r]) != NULL;
            if (mf_condition_holds(&condition, &there) != want ||
                mf_condition_holds(&condition, &absent) != want_absent)
                fail_msg("case %zu with %c", i, relations[r]);
        }
    }
}

static void times_of_day_inside_a_txn_become_times_from_now(void **state)
{
    (void)state;
    struct mf_item item = {.key = mf_bytes_str("k"), .value = mf_bytes_str("v")};
    struct mf_command set = {.op = MF_OP_SET,
                             .expiry = MF_EXPIRY_AT,
                             .expire_us = 5000,
                             .items = &item,
                             .item_count = 1};
    struct mf_buf bytes = {0};
    struct mf_buf around = {0};
    struct mf_buf settled = {0};
    mf_command_encode(&set, &bytes);
    struct mf_bytes one = body_around(&around, mf_buf_view(&bytes));
    assert_true(mf_txn_settle_times(one, 2000, &settled));
    struct mf_txn_reader reader;
    struct mf_command command;
    assert_int_equal(mf_txn_open(&reader, mf_buf_view(&settled), MF_TXN_THEN), MF_OK);
    assert_int_equal(mf_txn_next_command(&reader, &command), MF_OK);
    assert_int_equal(command.expiry, MF_EXPIRY_IN);
    assert_int_equal(command.expire_us, 3000);
    assert_int_equal(mf_txn_next_command(&reader, &command), MF_NOT_FOUND);
    mf_txn_close(&reader);
    assert_true(mf_txn_valid(mf_buf_view(&settled), false));
    // What has none is left as it is.
    size_t len = settled.len;
    assert_false(mf_txn_settle_times(mf_buf_view(&settled), 2000, &settled));
    assert_int_equal(settled.len, len);
    mf_buf_free(&settled);
    mf_buf_free(&around);
    mf_buf_free(&bytes);
}

static void commands_are_found_by_the_names_that_users_know(void **state)
{
    (void)state;
    assert_int_equal(mf_command_find(mf_bytes_str("getex")), MF_OP_GETEX);
    assert_int_equal(mf_command_find(mf_bytes_str("txn")), MF_OP_TXN);
    static const char *const unknown[] = {"",           "GET",  "ge",       "gett",      "index",
                                          "expire_due", "seed", "transfer", "drain_node"};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
        assert_int_equal(mf_command_find(mf_bytes_str(unknown[i])), MF_OP_NONE);
    assert_null(mf_command_row(1000));
    assert_int_equal(mf_command_arity(mf_command_row(MF_OP_SET)), 2);
    assert_int_equal(mf_command_arity(mf_command_row(MF_OP_SIZE)), 0);
}

static void options_that_contradict_each_other_are_named(void **state)
{
    (void)state;
    enum mf_option one;
    enum mf_option other;
    uint32_t expiries = MF_OPTION_BIT(TTL) | MF_OPTION_BIT(PERSIST);
    assert_true(mf_options_clash(expiries | MF_OPTION_BIT(NX), &one, &other));
    assert_true(one == MF_OPTION_TTL && other == MF_OPTION_PERSIST);
    assert_true(mf_options_clash(MF_OPTION_BIT(GT) | MF_OPTION_BIT(LT), &one, &other));
    assert_false(mf_options_clash(MF_OPTION_BIT(XX) | MF_OPTION_BIT(GT), &one, &other));
    assert_false(mf_options_clash(MF_OPTION_BIT(TTL) | MF_OPTION_BIT(NX), &one, &other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_command_is_read_back_as_it_was),
        cmocka_unit_test(the_bytes_of_a_set_are_those_that_logs_hold),
        cmocka_unit_test(the_bytes_of_a_condition_on_the_value_come_last),
        cmocka_unit_test(the_bytes_of_a_del_count_its_keys),
        cmocka_unit_test(what_the_encoder_would_not_write_is_corrupt),
        cmocka_unit_test(ops_have_names_and_only_some_write),
        cmocka_unit_test(any_result_is_read_back_as_it_was),
        cmocka_unit_test(a_list_holds_results_one_after_the_other),
        cmocka_unit_test(a_list_of_more_results_than_bytes_is_corrupt),
        cmocka_unit_test(an_error_without_a_message_has_the_codes_own),
        cmocka_unit_test(mutated_bytes_are_refused_or_have_one_form_only),
        cmocka_unit_test(a_txn_holds_only_what_the_table_allows_in_it),
        cmocka_unit_test(conditions_compare_versions_values_and_existence),
        cmocka_unit_test(times_of_day_inside_a_txn_become_times_from_now),
        cmocka_unit_test(commands_are_found_by_the_names_that_users_know),
        cmocka_unit_test(options_that_contradict_each_other_are_named),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mf_buf_free(&body);
    return failed;
}
