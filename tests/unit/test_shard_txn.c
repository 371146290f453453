// Commands that build on the value that is there, and txns of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "base/txn.h"
#include "shard_fixture.h"

#define MS INT64_C(1000)
#define SECOND INT64_C(1000000)
#define VALUE_MAX 1000u

static struct mf_command incr(const char *key, int64_t delta)
{
    struct mf_command command = one(MF_OP_INCR, key);
    command.number = (uint64_t)delta;
    command.limit = VALUE_MAX;
    return command;
}

static struct mf_command append(const char *key, const char *value)
{
    struct mf_command command = one(MF_OP_APPEND, key);
    command.one.value = mf_bytes_str(value);
    command.limit = VALUE_MAX;
    return command;
}

static void assert_error(struct mf_result result, enum mf_err err)
{
    assert_int_equal(result.kind, MF_RESULT_ERROR);
    assert_int_equal(result.err, err);
}

static void an_integer_is_plain_decimal_or_none(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        int64_t delta;
        const char *after; // NULL: it is none
    } cases[] = {
        {"0", 5, "5"},
        {"-1", 1, "0"},
        {"41", 1, "42"},
        {"42", -100, "-58"},
        {"10", 0, "10"},
        {"9223372036854775806", 1, "9223372036854775807"},
        {"-9223372036854775808", 0, "-9223372036854775808"},
        {"-9223372036854775808", INT64_MAX, "-1"},
        {"9223372036854775807", INT64_MIN, "-1"},
        {"", 1, NULL},
        {"-", 1, NULL},
        {"-0", 1, NULL},
        {"+1", 1, NULL},
        {"01", 1, NULL},
        {"-01", 1, NULL},
        {" 1", 1, NULL},
        {"1 ", 1, NULL},
        {"1.0", 1, NULL},
        {"0x1", 1, NULL},
        {"9223372036854775808", 1, NULL},
        {"-9223372036854775809", 1, NULL},
        {"99999999999999999999", 1, NULL},
        {"100000000000000000000000", 1, NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture *f = fixture_new();
        apply(f, set("k", cases[i].value));
        struct mf_result result = apply(f, incr("k", cases[i].delta));
        if (cases[i].after == NULL) {
            assert_error(result, MF_NOT_INTEGER);
            assert_value(f, "k", cases[i].value);
            assert_int_equal(version_of(f), 1);
        } else {
            assert_int_equal(result.integer, strtoll(cases[i].after, NULL, 10));
            assert_value(f, "k", cases[i].after);
            assert_int_equal(version_of(f), 2);
        }
        fixture_free(f);
    }
}

static void an_incr_past_64_bits_leaves_the_value(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    apply(f, set("k", "9223372036854775807"));
    assert_error(apply(f, incr("k", 1)), MF_OVERFLOW);
    assert_value(f, "k", "9223372036854775807");
    apply(f, set("k", "-9223372036854775808"));
    assert_error(apply(f, incr("k", -1)), MF_OVERFLOW);
    assert_error(apply(f, incr("k", INT64_MIN)), MF_OVERFLOW);
    assert_value(f, "k", "-9223372036854775808");
    fixture_free(f);
}

static void the_ttl_of_an_incr_is_for_a_key_that_it_makes(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct mf_command mortal = incr("k", 3);
    mortal.expiry = MF_EXPIRY_IN;
    mortal.expire_us = 50 * MS;
    assert_int_equal(apply(f, mortal).integer, 3);
    assert_int_equal(ttl_of(f, "k"), 50);
    f->now_us += 10 * 1000;
    assert_int_equal(apply(f, mortal).integer, 6);
    assert_int_equal(ttl_of(f, "k"), 40);
    f->now_us += 40 * 1000;
    assert_int_equal(apply(f, incr("k", 1)).integer, 1); // it had died
    assert_int_equal(ttl_of(f, "k"), -1);
    assert_int_equal(apply(f, mortal).integer, 4);
    assert_int_equal(ttl_of(f, "k"), -1);
    fixture_free(f);
}

static void the_limit_that_counts_is_the_entrys(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct mf_command command = append("k", "12345");
    command.limit = 10;
    assert_int_equal(apply(f, command).integer, 5);
    assert_int_equal(apply(f, command).integer, 10);
    assert_error(apply(f, command), MF_TOO_LARGE);
    assert_value(f, "k", "1234512345");
    command.limit = 15;
    assert_int_equal(apply(f, command).integer, 15);
    struct mf_command number = incr("n", 99);
    number.limit = 2;
    assert_int_equal(apply(f, number).integer, 99);
    assert_error(apply(f, number), MF_TOO_LARGE);
    assert_value(f, "n", "99");
    fixture_free(f);
}

static void an_append_keeps_the_ttl_and_makes_the_key(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    assert_int_equal(apply(f, append("k", "")).integer, 0);
    assert_value(f, "k", "");
    apply(f, set_for("k", "ab", 100 * MS));
    assert_int_equal(apply(f, append("k", "cd")).integer, 4);
    assert_value(f, "k", "abcd");
    assert_int_equal(ttl_of(f, "k"), 100);
    f->now_us += 100 * 1000;
    assert_int_equal(apply(f, append("k", "e")).integer, 1);
    assert_int_equal(ttl_of(f, "k"), -1);
    fixture_free(f);
}

static void getdel_and_getex_tell_the_value_before(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    assert_int_equal(apply(f, one(MF_OP_GETDEL, "k")).kind, MF_RESULT_NIL);
    assert_int_equal(apply(f, one(MF_OP_GETEX, "k")).kind, MF_RESULT_NIL);
    assert_int_equal(version_of(f), 0);
    apply(f, set("k", "v"));
    struct mf_command mortal = one(MF_OP_GETEX, "k");
    mortal.expiry = MF_EXPIRY_IN;
    mortal.expire_us = SECOND;
    assert_true(mf_bytes_equal(apply(f, mortal).value, mf_bytes_str("v")));
    assert_int_equal(ttl_of(f, "k"), 1000);
    assert_true(mf_bytes_equal(apply(f, one(MF_OP_GETEX, "k")).value, mf_bytes_str("v")));
    assert_int_equal(ttl_of(f, "k"), 1000);
    struct mf_command forever = with_flags(one(MF_OP_GETEX, "k"), MF_NO_TTL);
    assert_true(mf_bytes_equal(apply(f, forever).value, mf_bytes_str("v")));
    assert_int_equal(ttl_of(f, "k"), -1);
    uint64_t version = version_of(f);
    apply(f, forever);
    assert_int_equal(version_of(f), version);
    assert_true(mf_bytes_equal(apply(f, one(MF_OP_GETDEL, "k")).value, mf_bytes_str("v")));
    assert_value(f, "k", NULL);
    apply(f, set("k", "v"));
    mortal.expire_us = 0;
    assert_true(mf_bytes_equal(apply(f, mortal).value, mf_bytes_str("v")));
    assert_value(f, "k", NULL);
    fixture_free(f);
}

static void refusals_by_the_value_are_remembered_and_by_a_limit_are_not(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    apply(f, set("k", "x"));
    assert_error(apply(f, with_id(incr("k", 1), "a")), MF_NOT_INTEGER);
    apply(f, set("k", "9223372036854775807"));
    assert_error(apply(f, with_id(incr("k", 1), "a")), MF_NOT_INTEGER);
    assert_error(apply(f, with_id(incr("k", 1), "b")), MF_OVERFLOW);
    apply(f, set("k", "1"));
    assert_error(apply(f, with_id(incr("k", 1), "b")), MF_OVERFLOW);
    struct mf_command large = with_id(append("k", "234"), "c");
    large.limit = 3;
    assert_error(apply(f, large), MF_TOO_LARGE);
    large.limit = 4;
    assert_int_equal(apply(f, large).integer, 4);
    assert_int_equal(apply(f, large).integer, 4);
    assert_value(f, "k", "1234");
    assert_true(
        mf_bytes_equal(apply(f, with_id(one(MF_OP_GETDEL, "k"), "d")).value, mf_bytes_str("1234")));
    assert_true(
        mf_bytes_equal(apply(f, with_id(one(MF_OP_GETDEL, "k"), "d")).value, mf_bytes_str("1234")));
    assert_int_equal(apply(f, with_id(one(MF_OP_GETEX, "k"), "e")).kind, MF_RESULT_NIL);
    apply(f, set("k", "1"));
    assert_int_equal(apply(f, with_id(one(MF_OP_GETEX, "k"), "e")).kind, MF_RESULT_NIL);
    fixture_free(f);
}

// Txns.

struct txn {
    struct mf_buf body;
    struct mf_condition conditions[4];
    struct mf_command branches[2][8];
};

static uint32_t add_branch(struct mf_buf *body, struct mf_command *commands)
{
    uint32_t count = 0;
    size_t part = mf_txn_part_begin(body);
    for (; commands[count].op != MF_OP_NONE; count++) {
        if (commands[count].items == NULL)
            commands[count].items = &commands[count].one;
        mf_command_encode(&commands[count], body);
    }
    mf_txn_part_end(body, part, count);
    return count;
}

static struct mf_command txn_of(struct txn *txn)
{
    uint32_t count = 0;
    mf_buf_clear(&txn->body, SIZE_MAX);
    size_t part = mf_txn_part_begin(&txn->body);
    for (; txn->conditions[count].relation != 0; count++)
        mf_condition_encode(&txn->conditions[count], &txn->body);
    mf_txn_part_end(&txn->body, part, count);
    add_branch(&txn->body, txn->branches[0]);
    add_branch(&txn->body, txn->branches[1]);
    return (struct mf_command){.op = MF_OP_TXN, .limit = 1u << 20, .body = mf_buf_view(&txn->body)};
}

static struct mf_condition exists(const char *key, bool there)
{
    return (struct mf_condition){.subject = MF_SUBJECT_EXISTS,
                                 .relation = MF_EQUAL,
                                 .key = mf_bytes_str(key),
                                 .number = there};
}

static void each_command_sees_those_before_it(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct txn txn = {
        .branches = {{set("k", "5"), incr("k", 2), append("k", "0"), one(MF_OP_GET, "k"),
                      one(MF_OP_GETDEL, "k"), one(MF_OP_TTL, "k")}}};
    struct mf_result result = apply(f, txn_of(&txn));
    assert_int_equal(result.kind, MF_RESULT_TXN);
    assert_int_equal(result.integer, 1);
    assert_int_equal(result.count, 6);
    struct mf_reader r = mf_reader_of(result.value);
    struct mf_result step;
    static const int64_t integers[] = {0, 7, 2, 0, 0, -2};
    static const char *const values[] = {NULL, NULL, NULL, "70", "70", NULL};
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(mf_result_decode(&r, &step), MF_OK);
        assert_int_equal(step.integer, integers[i]);
        if (values[i] != NULL)
            assert_true(mf_bytes_equal(step.value, mf_bytes_str(values[i])));
    }
    assert_int_equal(version_of(f), 4);
    mf_buf_free(&txn.body);
    fixture_free(f);
}

static void conditions_choose_the_branch(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct txn txn = {.conditions = {exists("a", true), exists("b", false)},
                      .branches = {{set("x", "then")}, {set("x", "else"), one(MF_OP_GET, "x")}}};
    struct mf_result result = apply(f, txn_of(&txn));
    assert_true(result.integer == 0 && result.count == 2);
    assert_value(f, "x", "else");
    apply(f, set_for("a", "1", SECOND));
    result = apply(f, txn_of(&txn));
    assert_true(result.integer == 1 && result.count == 1);
    assert_value(f, "x", "then");
    f->now_us += SECOND; // and it is dead to a condition
    assert_int_equal(apply(f, txn_of(&txn)).integer, 0);
    mf_buf_free(&txn.body);
    fixture_free(f);
}

static void collect(void *arg, const struct mf_record *record)
{
    uint64_t *sum = arg;
    *sum += record->version;
}

// Everything that a command can do to a key, and then one that fails.
static void a_failure_leaves_the_state_as_it_was(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        struct mf_command last;
        enum mf_err err;
    } cases[] = {{"no integer", {.op = MF_OP_INCR, .limit = VALUE_MAX}, MF_NOT_INTEGER},
                 {"overflow", {.op = MF_OP_INCR, .limit = VALUE_MAX}, MF_OVERFLOW},
                 {"too large", {.op = MF_OP_APPEND, .limit = 2}, MF_TOO_LARGE}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        static char large[6000];
        memset(large, 'L', sizeof(large) - 1);
        struct fixture *f = fixture_new();
        struct mf_shard_meta meta;
        uint64_t sum = 0;
        apply(f, set("text", "x"));
        apply(f, set("most", "9223372036854775807"));
        apply(f, set_for("mortal", "m", SECOND));
        apply(f, set_for("dead", "d", 10));
        apply(f, set("large", large));
        f->now_us += 10;
        apply(f, set("other", "o"));
        // A walk under way has what it needs, whatever is undone.
        assert_int_equal(mf_shard_walk_begin(f->shard, &meta, collect, &sum), MF_OK);
        struct mf_command fails = cases[i].last;
        fails.item_count = 1;
        fails.number = 1;
        fails.one.key = mf_bytes_str(i == 1 ? "most" : "text");
        fails.one.value = i == 2 ? mf_bytes_str("yz") : mf_bytes_of(NULL, 0);
        struct txn txn = {
            .branches = {{set("fresh", "1"), set("mortal", "2"), one(MF_OP_PERSIST, "mortal"),
                          one(MF_OP_GETDEL, "other"), set_for("dead", "3", SECOND),
                          expire("large", SECOND, 0), incr("fresh", 1), fails}}};
        uint64_t version = version_of(f);
        uint64_t next = mf_shard_next_deadline(f->shard);
        assert_error(apply(f, txn_of(&txn)), cases[i].err);
        assert_int_equal(version_of(f), version);
        assert_true(mf_shard_next_deadline(f->shard) == next);
        assert_true(mf_shard_valid(f->shard));
        assert_value(f, "fresh", NULL);
        assert_value(f, "mortal", "m");
        assert_int_equal(ttl_of(f, "mortal"), 1000);
        assert_value(f, "other", "o");
        assert_value(f, "dead", NULL);
        assert_value(f, "large", large);
        assert_int_equal(ttl_of(f, "large"), -1);
        assert_int_equal(read_one(f, with_flags(one(MF_OP_GET, "other"), MF_WITH_META)).version, 6);
        while (mf_shard_walk_step(f->shard, 1))
            continue;
        assert_int_equal(sum, 1 + 2 + 3 + 4 + 5 + 6);
        mf_buf_free(&txn.body);
        fixture_free(f);
    }
}

static void a_failed_txn_is_one_entry_like_any_other_to_a_second_replica(void **state)
{
    (void)state;
    struct fixture *a = fixture_new();
    struct fixture *b = fixture_new();
    struct fixture *both[] = {a, b};
    struct txn txn = {.branches = {{set("a", "1"), set("b", "x"), incr("b", 1)}}};
    for (int i = 0; i < 2; i++) {
        apply(both[i], set("a", "0"));
        if (i == 0) // what is memory's own affair
            mf_shard_reclaim(both[i]->shard);
        assert_error(apply(both[i], txn_of(&txn)), MF_NOT_INTEGER);
        apply(both[i], set("c", "1"));
    }
    assert_true(mf_shard_state_hash(a->shard) == mf_shard_state_hash(b->shard));
    mf_buf_free(&txn.body);
    fixture_free(a);
    fixture_free(b);
}

static void ids_remember_a_txn_and_its_refusals(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct txn txn = {.branches = {{incr("k", 1)}}};
    assert_int_equal(apply(f, with_id(txn_of(&txn), "a")).count, 1);
    assert_int_equal(apply(f, with_id(txn_of(&txn), "a")).count, 1);
    assert_value(f, "k", "1");
    apply(f, set("k", "x"));
    assert_error(apply(f, with_id(txn_of(&txn), "b")), MF_NOT_INTEGER);
    apply(f, set("k", "7"));
    assert_error(apply(f, with_id(txn_of(&txn), "b")), MF_NOT_INTEGER);
    assert_value(f, "k", "7");
    mf_buf_free(&txn.body);
    fixture_free(f);
}

static void results_that_are_too_large_make_a_txn_fail(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    static char large[600];
    memset(large, 'L', sizeof(large) - 1);
    apply(f, set("k", large));
    struct txn txn = {.branches = {{set("x", "1"), one(MF_OP_GET, "k"), one(MF_OP_GET, "k")}}};
    struct mf_command command = txn_of(&txn);
    command.limit = 1000;
    assert_error(apply(f, command), MF_TOO_LARGE);
    assert_value(f, "x", NULL);
    command.limit = 2000;
    assert_int_equal(apply(f, command).count, 3);
    // One method alone can be too large, too, and is stopped on its way.
    struct mf_item keys[100];
    for (size_t i = 0; i < 100; i++)
        keys[i] = (struct mf_item){.key = mf_bytes_str("k")};
    struct txn many = {.branches = {{{.op = MF_OP_MGET, .items = keys, .item_count = 100}}}};
    command = txn_of(&many);
    command.limit = 5000;
    assert_error(apply(f, command), MF_TOO_LARGE);
    mf_buf_free(&many.body);
    mf_buf_free(&txn.body);
    fixture_free(f);
}

static void appends_that_copy_too_much_make_a_txn_fail(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    static char large[600];
    memset(large, 'L', sizeof(large) - 1);
    apply(f, set("k", large));
    struct txn txn = {.branches = {{append("k", "1"), append("k", "2"), append("k", "3")}}};
    struct mf_command command = txn_of(&txn);
    command.limit = 1300; // two copies of the value, and not three
    assert_error(apply(f, command), MF_TOO_LARGE);
    assert_value(f, "k", large);
    command.limit = 2000;
    assert_int_equal(apply(f, command).count, 3);
    mf_buf_free(&txn.body);
    fixture_free(f);
}

// As Redis's EXEC does.
static void a_txn_that_goes_on_gives_each_error_in_its_place(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    apply(f, set("text", "x"));
    apply(f, set_for("dead", "1", SECOND));
    f->now_us += SECOND;
    struct txn txn = {.conditions = {exists("text", true)},
                      .branches = {{set("a", "1"), incr("text", 1), incr("a", 5),
                                    append("text", "yz"), incr("dead", 2)}}};
    struct mf_command command = with_flags(txn_of(&txn), MF_GO_ON);
    struct mf_result result;
    for (int again = 0; again < 2; again++) { // the second time it is remembered
        result = apply(f, with_id(command, "id"));
        assert_int_equal(result.kind, MF_RESULT_TXN);
        assert_true(result.integer == 1 && result.count == 5);
        struct mf_reader r = mf_reader_of(result.value);
        static const int64_t integers[] = {0, 0, 6, 3, 2};
        for (int i = 0; i < 5; i++) {
            struct mf_result step;
            assert_int_equal(mf_result_decode(&r, &step), MF_OK);
            assert_int_equal(step.err, i == 1 ? MF_NOT_INTEGER : MF_OK);
            assert_int_equal(step.integer, integers[i]);
        }
        assert_value(f, "a", "6");
        assert_value(f, "text", "xyz");
        assert_value(f, "dead", "2");
    }
    // A condition that does not hold is no error.
    txn.conditions[0] = exists("none", true);
    result = apply(f, with_flags(txn_of(&txn), MF_GO_ON));
    assert_true(result.kind == MF_RESULT_TXN && result.integer == 0 && result.count == 0);
    mf_buf_free(&txn.body);
    fixture_free(f);
}

static void a_txn_that_goes_on_still_has_its_limits(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    static char large[600];
    memset(large, 'L', sizeof(large) - 1);
    apply(f, set("k", large));
    // What one command would make too much of is its own error.
    struct txn txn = {.branches = {{append("k", "1"), append("k", "2"), append("k", "3")}}};
    struct mf_command command = with_flags(txn_of(&txn), MF_GO_ON);
    command.limit = 1300;
    struct mf_result result = apply(f, command);
    assert_true(result.kind == MF_RESULT_TXN && result.count == 3);
    assert_int_equal(read_one(f, one(MF_OP_GET, "k")).value.len, 601);
    // Results that are too large together are nobody's.
    struct txn reads = {.branches = {{set("x", "1"), one(MF_OP_GET, "k"), one(MF_OP_GET, "k")}}};
    command = with_flags(txn_of(&reads), MF_GO_ON);
    command.limit = 1000;
    assert_error(apply(f, command), MF_TOO_LARGE);
    assert_value(f, "x", NULL);
    mf_buf_free(&reads.body);
    mf_buf_free(&txn.body);
    fixture_free(f);
}

static void a_txn_that_only_reads_is_answered_without_an_entry(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    apply(f, set_for("k", "v", SECOND));
    struct txn txn = {.conditions = {exists("k", true)},
                      .branches = {{one(MF_OP_GET, "k")}, {one(MF_OP_TTL, "k")}}};
    struct mf_command command = txn_of(&txn);
    command.op = MF_OP_TXN_READ;
    struct mf_result result = read_one(f, command);
    assert_true(result.kind == MF_RESULT_TXN && result.integer == 1 && result.count == 1);
    // A death that no entry has reached: a later leader could show the key again.
    f->now_us += SECOND;
    assert_int_equal(try_read(f, command), MF_AGAIN);
    assert_int_equal(f->result.len, 0);
    apply(f, set("other", "v"));
    result = read_one(f, command);
    assert_true(result.integer == 0 && result.count == 1);
    mf_buf_free(&txn.body);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_integer_is_plain_decimal_or_none),
        cmocka_unit_test(an_incr_past_64_bits_leaves_the_value),
        cmocka_unit_test(the_ttl_of_an_incr_is_for_a_key_that_it_makes),
        cmocka_unit_test(the_limit_that_counts_is_the_entrys),
        cmocka_unit_test(an_append_keeps_the_ttl_and_makes_the_key),
        cmocka_unit_test(getdel_and_getex_tell_the_value_before),
        cmocka_unit_test(refusals_by_the_value_are_remembered_and_by_a_limit_are_not),
        cmocka_unit_test(each_command_sees_those_before_it),
        cmocka_unit_test(conditions_choose_the_branch),
        cmocka_unit_test(a_failure_leaves_the_state_as_it_was),
        cmocka_unit_test(a_failed_txn_is_one_entry_like_any_other_to_a_second_replica),
        cmocka_unit_test(ids_remember_a_txn_and_its_refusals),
        cmocka_unit_test(results_that_are_too_large_make_a_txn_fail),
        cmocka_unit_test(appends_that_copy_too_much_make_a_txn_fail),
        cmocka_unit_test(a_txn_that_goes_on_gives_each_error_in_its_place),
        cmocka_unit_test(a_txn_that_goes_on_still_has_its_limits),
        cmocka_unit_test(a_txn_that_only_reads_is_answered_without_an_entry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
