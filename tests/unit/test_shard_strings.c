// Commands on a value's bytes and on two keys, as users of Redis know them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "shard_fixture.h"

#define SECOND INT64_C(1000000)

static struct mf_command getrange(const char *key, int64_t from, int64_t to)
{
    struct mf_command command = one(MF_OP_GETRANGE, key);
    command.number = (uint64_t)from;
    command.last = to;
    return command;
}

static int64_t length_of(struct fixture *f, const char *key)
{
    return read_one(f, one(MF_OP_STRLEN, key)).integer;
}

static void a_length_is_that_of_a_live_value(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    assert_int_equal(length_of(f, "none"), 0);
    apply(f, set("empty", ""));
    assert_int_equal(length_of(f, "empty"), 0);
    apply(f, set_for("k", "hello", SECOND));
    assert_int_equal(length_of(f, "k"), 5);
    f->now_us += SECOND;
    // The death is not in the log yet.
    assert_int_equal(try_read(f, one(MF_OP_STRLEN, "k")), MF_AGAIN);
    assert_int_equal(try_read(f, getrange("k", 0, -1)), MF_AGAIN);
    apply(f, set("other", ""));
    assert_int_equal(length_of(f, "k"), 0);
    fixture_free(f);
}

// Each row as Redis 7.0 answers it.
static void a_range_is_counted_from_both_ends(void **state)
{
    (void)state;
    static const struct {
        const char *value; // NULL: no key
        int64_t from;
        int64_t to;
        const char *part;
    } cases[] = {
        {"Hello World", 0, -1, "Hello World"},
        {"Hello World", 0, 4, "Hello"},
        {"Hello World", -5, -1, "World"},
        {"Hello World", -3, -1, "rld"},
        {"Hello World", 4, 4, "o"},
        {"Hello World", 10, 100, "d"},
        {"Hello World", 11, 100, ""},
        {"Hello World", 5, 3, ""},
        {"Hello World", 5000, 10000, ""},
        {"Hello World", -5000, 10000, "Hello World"},
        {"Hello World", -1, -5, ""},
        {"Hello World", -1, 0, ""},
        {"Hello World", 0, -100, "H"},
        {"Hello World", -100, -50, "H"},
        {"Hello World", -50, -100, ""},
        {"Hello World", INT64_MIN, INT64_MAX, "Hello World"},
        {"Hello World", INT64_MAX, INT64_MIN, ""},
        {"Hello World", INT64_MAX, INT64_MAX, ""},
        {"", 0, -1, ""},
        {"", 0, 0, ""},
        {NULL, 0, -1, ""},
        {NULL, INT64_MIN, INT64_MAX, ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture *f = fixture_new();
        if (cases[i].value != NULL)
            apply(f, set("k", cases[i].value));
        struct mf_result result = read_one(f, getrange("k", cases[i].from, cases[i].to));
        if (result.kind != MF_RESULT_BYTES ||
            !mf_bytes_equal(result.value, mf_bytes_str(cases[i].part)))
            fail_msg("case %zu: '%.*s'", i, (int)result.value.len, (const char *)result.value.data);
        fixture_free(f);
    }
}

// A command that writes over a value, and its limit.
static struct mf_command setrange(const char *key, uint64_t at, const char *value)
{
    struct mf_command command = one(MF_OP_SETRANGE, key);
    command.number = at;
    command.limit = 100;
    command.one.value = mf_bytes_str(value);
    return command;
}

static void assert_error(struct mf_result result, enum mf_err err)
{
    assert_int_equal(result.kind, MF_RESULT_ERROR);
    assert_int_equal(result.err, err);
}

static void a_range_that_is_set_is_filled_up_with_zeros(void **state)
{
    (void)state;
    static const struct {
        const char *before; // NULL: no key
        uint64_t at;
        const char *value;
        const char *after; // NULL: no key
        size_t len;
        bool changes;
    } cases[] = {
        {"Hello World", 6, "Redis", "Hello Redis", 11, true},
        {"Hello World", 0, "J", "Jello World", 11, true},
        {"Hello World", 10, "ker", "Hello Worlker", 13, true},
        {"Hello World", 11, "!", "Hello World!", 12, true},
        {"Hello", 7, "x", "Hello\0\0x", 8, true},
        {"", 0, "x", "x", 1, true},
        {"Hello", 2, "", "Hello", 5, false},
        {"Hello", 2000, "", "Hello", 5, false}, // nothing to write is never too far
        {NULL, 0, "", NULL, 0, false},
        {NULL, 2000, "", NULL, 0, false},
        {NULL, 0, "x", "x", 1, true},
        {NULL, 3, "x", "\0\0\0x", 4, true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture *f = fixture_new();
        if (cases[i].before != NULL)
            apply(f, set_for("k", cases[i].before, SECOND));
        uint64_t version = version_of(f);
        struct mf_result result = apply(f, setrange("k", cases[i].at, cases[i].value));
        assert_int_equal(result.kind, MF_RESULT_INT);
        assert_int_equal(result.integer, cases[i].len);
        assert_int_equal(version_of(f), version + cases[i].changes);
        result = read_one(f, one(MF_OP_GET, "k"));
        assert_int_equal(result.kind, cases[i].after != NULL ? MF_RESULT_BYTES : MF_RESULT_NIL);
        assert_int_equal(result.value.len, cases[i].len);
        if (cases[i].len > 0)
            assert_memory_equal(result.value.data, cases[i].after, cases[i].len);
        int64_t ttl_ms = cases[i].after == NULL ? -2 : cases[i].before == NULL ? -1 : 1000;
        assert_int_equal(ttl_of(f, "k"), ttl_ms);
        fixture_free(f);
    }
}

static void a_range_past_the_limit_leaves_the_value(void **state)
{
    (void)state;
    static const uint64_t places[] = {99, 100, 101, UINT32_MAX, UINT64_MAX - 1, UINT64_MAX};
    struct fixture *f = fixture_new();
    apply(f, set("k", "Hello"));
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        assert_error(apply(f, with_id(setrange("k", places[i], "xy"), "id")), MF_TOO_LARGE);
        assert_error(apply(f, setrange("none", places[i], "xy")), MF_TOO_LARGE);
    }
    struct mf_command large = setrange("k", 0, "123456");
    large.limit = 5;
    assert_error(apply(f, large), MF_TOO_LARGE);
    assert_value(f, "k", "Hello");
    assert_value(f, "none", NULL);
    assert_int_equal(version_of(f), 1);
    // A refusal by a limit is not remembered; what was done is.
    assert_int_equal(apply(f, with_id(setrange("k", 98, "xy"), "id")).integer, 100);
    assert_int_equal(apply(f, with_id(setrange("k", 0, "z"), "id")).integer, 100);
    assert_value(f, "none", NULL);
    assert_int_equal(read_one(f, getrange("k", 0, 0)).value.data[0], 'H');
    fixture_free(f);
}

static void a_range_of_a_dead_key_begins_anew(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    apply(f, set_for("k", "Hello", SECOND));
    f->now_us += SECOND;
    assert_int_equal(apply(f, setrange("k", 0, "J")).integer, 1);
    assert_value(f, "k", "J");
    assert_int_equal(ttl_of(f, "k"), -1);
    fixture_free(f);
}

// Values in a block of their own, and those that become or stay one.
static void a_large_value_is_written_over_in_a_copy(void **state)
{
    (void)state;
    static const size_t lengths[] = {200, 255, 256, 4094, 4095, 4096, 4097, 5000};
    static char text[5001];
    memset(text, 'a', sizeof(text) - 1);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct fixture *f = fixture_new();
        text[lengths[i]] = '\0';
        apply(f, set("k", text));
        struct mf_command command = setrange("k", lengths[i] - 1, "bc");
        command.limit = 10000;
        assert_int_equal(apply(f, command).integer, lengths[i] + 1);
        text[lengths[i]] = 'a';
        struct mf_bytes value = read_one(f, one(MF_OP_GET, "k")).value;
        assert_int_equal(value.len, lengths[i] + 1);
        assert_memory_equal(value.data, text, lengths[i] - 1);
        assert_memory_equal(value.data + lengths[i] - 1, "bc", 2);
        fixture_free(f);
    }
}

static void keys_that_must_all_be_new_are_written_or_none(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct mf_item items[3] = {{mf_bytes_str("a"), mf_bytes_str("1")},
                               {mf_bytes_str("b"), mf_bytes_str("2")},
                               {mf_bytes_str("a"), mf_bytes_str("3")}};
    struct mf_command both = {.op = MF_OP_MSET, .flags = MF_NX, .items = items, .item_count = 2};
    apply(f, set_for("b", "0", SECOND));
    assert_int_equal(apply(f, with_id(both, "first")).integer, 0);
    assert_value(f, "a", NULL);
    assert_value(f, "b", "0");
    f->now_us += SECOND; // b is dead
    assert_int_equal(apply(f, both).integer, 1);
    assert_int_equal(apply(f, with_id(both, "first")).integer, 0);
    assert_value(f, "a", "1");
    assert_value(f, "b", "2");
    assert_int_equal(ttl_of(f, "b"), -1);
    assert_int_equal(apply(f, both).integer, 0);
    // A key that is named twice is new both times.
    apply(f, (struct mf_command){.op = MF_OP_DEL, .items = items, .item_count = 2});
    both.item_count = 3;
    assert_int_equal(apply(f, both).integer, 1);
    assert_value(f, "a", "3");
    fixture_free(f);
}

static struct mf_command both(struct mf_item items[2], enum mf_opcode op, const char *from,
                              const char *to)
{
    items[0] = (struct mf_item){.key = mf_bytes_str(from)};
    items[1] = (struct mf_item){.key = mf_bytes_str(to)};
    return (struct mf_command){.op = op, .items = items, .item_count = 2};
}

struct told {
    char text[128];
};

static void note_told(void *arg, const struct mf_event *event)
{
    struct told *told = arg;
    struct mf_bytes key = event->key;
    struct mf_bytes value = event->value;
    size_t used = strlen(told->text);
    snprintf(told->text + used, sizeof(told->text) - used, "%s %.*s %.*s@%llu;",
             mf_change_event_name(event->event), (int)key.len, (const char *)key.data,
             (int)value.len, value.len > 0 ? (const char *)value.data : "",
             (unsigned long long)event->version);
}

// What stands in a and b before: a value, and `~` in front of it for one with a TTL; NULL: none.
static void put_before(struct fixture *f, const char *key, const char *value)
{
    if (value != NULL && value[0] == '~')
        apply(f, set_for(key, value, SECOND));
    else if (value != NULL)
        apply(f, set(key, value));
}

static void assert_after(struct fixture *f, const char *key, const char *value)
{
    assert_value(f, key, value);
    assert_int_equal(ttl_of(f, key), value == NULL ? -2 : value[0] == '~' ? 1000 : -1);
}

static void a_key_is_renamed_or_copied_with_its_ttl(void **state)
{
    (void)state;
    enum answer { NO, YES, NO_KEY };
    static const struct {
        enum mf_opcode op;
        uint32_t flags;
        const char *a; // before
        const char *b;
        enum answer answer;
        const char *a_after;
        const char *b_after;
        const char *told;
    } cases[] = {
        {MF_OP_RENAME, 0, "1", NULL, YES, NULL, "1", "del a @2;set b 1@3;"},
        {MF_OP_RENAME, 0, "1", "2", YES, NULL, "1", "del a @3;set b 1@4;"},
        {MF_OP_RENAME, 0, "~1", "2", YES, NULL, "~1", "del a @3;set b ~1@4;"},
        {MF_OP_RENAME, 0, "1", "~2", YES, NULL, "1", "del a @3;set b 1@4;"},
        {MF_OP_RENAME, 0, "", "~2", YES, NULL, "", "del a @3;set b @4;"},
        {MF_OP_RENAME, 0, NULL, "~2", NO_KEY, NULL, "~2", ""},
        {MF_OP_RENAME, MF_NX, "1", "2", NO, "1", "2", ""},
        {MF_OP_RENAME, MF_NX, "~1", NULL, YES, NULL, "~1", "del a @2;set b ~1@3;"},
        {MF_OP_RENAME, MF_NX, NULL, NULL, NO_KEY, NULL, NULL, ""},
        {MF_OP_COPY, 0, "1", "~2", YES, "1", "1", "set b 1@3;"},
        {MF_OP_COPY, 0, "~1", "2", YES, "~1", "~1", "set b ~1@3;"},
        {MF_OP_COPY, MF_NX, "~1", NULL, YES, "~1", "~1", "set b ~1@2;"},
        {MF_OP_COPY, MF_NX, "1", "~2", NO, "1", "~2", ""},
        {MF_OP_COPY, 0, NULL, "2", NO, NULL, "2", ""},
        {MF_OP_COPY, MF_NX, NULL, NULL, NO, NULL, NULL, ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture *f = fixture_new();
        struct mf_item items[2];
        struct told told = {""};
        put_before(f, "a", cases[i].a);
        put_before(f, "b", cases[i].b);
        mf_shard_listen(f->shard, note_told, &told);
        struct mf_command command = with_flags(both(items, cases[i].op, "a", "b"), cases[i].flags);
        for (int again = 0; again < 2; again++) { // the second time it is remembered
            struct mf_result result = apply(f, with_id(command, "id"));
            if (cases[i].answer == NO_KEY) {
                assert_error(result, MF_NOT_FOUND);
            } else {
                assert_int_equal(result.kind, MF_RESULT_BOOL);
                assert_int_equal(result.integer, cases[i].answer == YES);
            }
            assert_string_equal(told.text, cases[i].told);
            assert_after(f, "a", cases[i].a_after);
            assert_after(f, "b", cases[i].b_after);
        }
        fixture_free(f);
    }
}

// Whatever has come since, who asks again with the same id is told the same.
static void a_refused_rename_is_remembered(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct mf_item items[2];
    assert_error(apply(f, with_id(both(items, MF_OP_RENAME, "a", "b"), "id")), MF_NOT_FOUND);
    apply(f, set("a", "1"));
    assert_error(apply(f, with_id(both(items, MF_OP_RENAME, "a", "b"), "id")), MF_NOT_FOUND);
    assert_value(f, "a", "1");
    fixture_free(f);
}

static void a_key_renamed_to_itself_stays_as_it_is(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct mf_item items[2];
    assert_error(apply(f, both(items, MF_OP_RENAME, "k", "k")), MF_NOT_FOUND);
    apply(f, set_for("k", "v", SECOND));
    assert_int_equal(apply(f, both(items, MF_OP_RENAME, "k", "k")).integer, 1);
    assert_int_equal(apply(f, with_flags(both(items, MF_OP_RENAME, "k", "k"), MF_NX)).integer, 0);
    assert_error(apply(f, both(items, MF_OP_COPY, "k", "k")), MF_BAD_REQUEST);
    assert_value(f, "k", "v");
    assert_int_equal(ttl_of(f, "k"), 1000);
    assert_int_equal(version_of(f), 1);
    fixture_free(f);
}

static void the_dead_are_neither_sources_nor_in_the_way(void **state)
{
    (void)state;
    static const enum mf_opcode ops[] = {MF_OP_RENAME, MF_OP_COPY};
    for (size_t i = 0; i < 2; i++) {
        struct fixture *f = fixture_new();
        struct mf_item items[2];
        apply(f, set_for("dead", "d", SECOND));
        apply(f, set("k", "v"));
        f->now_us += SECOND;
        struct mf_result result = apply(f, both(items, ops[i], "dead", "k"));
        assert_true(ops[i] == MF_OP_RENAME ? result.err == MF_NOT_FOUND : result.integer == 0);
        assert_value(f, "k", "v");
        apply(f, set_for("dead", "d", SECOND));
        f->now_us += SECOND;
        assert_int_equal(apply(f, with_flags(both(items, ops[i], "k", "dead"), MF_NX)).integer, 1);
        assert_value(f, "dead", "v");
        assert_int_equal(ttl_of(f, "dead"), -1);
        assert_value(f, "k", ops[i] == MF_OP_RENAME ? NULL : "v");
        fixture_free(f);
    }
}

static void sum_values(void *arg, const struct mf_record *record)
{
    size_t *sum = arg;
    *sum += record->value.len;
}

// A large value is shared, so each of its keys can go or change without the others.
static void copies_of_a_large_value_live_on_alone(void **state)
{
    (void)state;
    static char large[6001];
    memset(large, 'L', sizeof(large) - 1);
    struct fixture *f = fixture_new();
    struct mf_item items[2];
    struct mf_shard_meta meta;
    size_t sum = 0;
    apply(f, set_for("a", large, SECOND));
    assert_int_equal(mf_shard_walk_begin(f->shard, &meta, sum_values, &sum), MF_OK);
    assert_int_equal(apply(f, both(items, MF_OP_COPY, "a", "b")).integer, 1);
    assert_int_equal(apply(f, both(items, MF_OP_RENAME, "a", "c")).integer, 1);
    assert_int_equal(sum, 6000); // what is about to go is handed out before
    while (mf_shard_walk_step(f->shard, 1))
        continue;
    assert_int_equal(sum, 6000);
    struct mf_command patch = setrange("b", 0, "x");
    patch.limit = 10000;
    apply(f, patch);
    mf_shard_reclaim(f->shard);
    assert_value(f, "c", large);
    assert_int_equal(ttl_of(f, "b"), 1000);
    apply(f, (struct mf_command){.op = MF_OP_FLUSH});
    mf_shard_reclaim(f->shard);
    fixture_free(f);
}

static struct mf_command incrfloat(const char *key, const char *delta)
{
    struct mf_command command = one(MF_OP_INCRFLOAT, key);
    command.limit = 100;
    command.one.value = mf_bytes_str(delta);
    return command;
}

static void a_fraction_is_added_to_a_number(void **state)
{
    (void)state;
    static const struct {
        const char *before; // NULL: no key
        const char *delta;
        const char *after;
        enum mf_err err;
    } cases[] = {
        {"10.50", "0.1", "10.6", MF_OK},
        {"5.0e3", "2.0e2", "5200", MF_OK},
        {NULL, "-3.0e3", "-3000", MF_OK},
        {NULL, "0", "0", MF_OK},
        {"3", "-3", "0", MF_OK},
        {"abc", "1", "abc", MF_NOT_FLOAT},
        {"", "1", "", MF_NOT_FLOAT},
        {"1 ", "1", "1 ", MF_NOT_FLOAT},
        {"inf", "1", "inf", MF_NOT_FLOAT},
        {"1", "", "1", MF_NOT_FLOAT},
        {"1", "nan", "1", MF_NOT_FLOAT},
        {NULL, "x", NULL, MF_NOT_FLOAT},
        {"1e308", "1e308", "1e308", MF_OVERFLOW},
        {"1", "1e101", "1", MF_TOO_LARGE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture *f = fixture_new();
        if (cases[i].before != NULL)
            apply(f, set_for("k", cases[i].before, SECOND));
        uint64_t version = version_of(f);
        struct mf_result result = apply(f, incrfloat("k", cases[i].delta));
        if (cases[i].err != MF_OK) {
            assert_error(result, cases[i].err);
            assert_int_equal(version_of(f), version);
        } else {
            assert_int_equal(result.kind, MF_RESULT_BYTES);
            assert_true(mf_bytes_equal(result.value, mf_bytes_str(cases[i].after)));
        }
        assert_value(f, "k", cases[i].after);
        int64_t ttl_ms = cases[i].before != NULL ? 1000 : cases[i].after != NULL ? -1 : -2;
        assert_int_equal(ttl_of(f, "k"), ttl_ms);
        fixture_free(f);
    }
}

static void a_refusal_of_what_is_no_number_is_remembered(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    apply(f, set("k", "x"));
    assert_error(apply(f, with_id(incrfloat("k", "1"), "id")), MF_NOT_FLOAT);
    apply(f, set_for("k", "1", SECOND));
    assert_error(apply(f, with_id(incrfloat("k", "1"), "id")), MF_NOT_FLOAT);
    assert_true(
        mf_bytes_equal(apply(f, with_id(incrfloat("k", "1"), "b")).value, mf_bytes_str("2")));
    assert_true(
        mf_bytes_equal(apply(f, with_id(incrfloat("k", "1"), "b")).value, mf_bytes_str("2")));
    assert_value(f, "k", "2");
    f->now_us += SECOND; // a dead number is none
    assert_true(mf_bytes_equal(apply(f, incrfloat("k", "1")).value, mf_bytes_str("1")));
    fixture_free(f);
}

static int64_t deadline_of(struct fixture *f, const char *key, int64_t unix_us)
{
    struct mf_command command = one(MF_OP_DEADLINE, key);
    assert_true(mf_command_settle(&command, unix_us));
    return read_one(f, command).integer;
}

static void a_deadline_is_told_in_unix_time(void **state)
{
    (void)state;
    static const struct {
        int64_t unix_us; // now
        int64_t ttl_us;
        int64_t deadline_ms;
    } cases[] = {
        {1700000000000000, 1, 1700000000000},
        {1700000000000000, 1000, 1700000000001},
        {1700000000000000, 50000, 1700000000050},
        {1700000000000499, 1000, 1700000000001},
        {1700000000000499, 1001, 1700000000002}, // to the nearest
        {1700000000000999, 1000, 1700000000002},
        {0, 5000, 5},
        {1700000000000000, INT64_MAX, INT64_MAX / 1000 + 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture *f = fixture_new();
        apply(f, set_for("k", "v", cases[i].ttl_us));
        assert_int_equal(deadline_of(f, "k", cases[i].unix_us), cases[i].deadline_ms);
        fixture_free(f);
    }
    struct fixture *f = fixture_new();
    assert_int_equal(deadline_of(f, "none", 1), -2);
    apply(f, set("k", "v"));
    assert_int_equal(deadline_of(f, "k", 1), -1);
    apply(f, set_for("k", "v", 10));
    f->now_us += 10;
    assert_int_equal(try_read(f, one(MF_OP_DEADLINE, "k")), MF_AGAIN);
    apply(f, set("other", "v"));
    assert_int_equal(deadline_of(f, "k", 1), -2);
    fixture_free(f);
}

// Redis 7: NX goes with none of the others, XX with GT or LT.
static void an_expire_has_its_conditions(void **state)
{
    (void)state;
    static const struct {
        int64_t before_us; // 0: no TTL
        int64_t wanted_us; // 0 and less: past
        uint32_t flags;
        int64_t after_ms; // -1: no TTL, -2: gone
        bool holds;
    } cases[] = {
        {0, 9000, 0, 9, true},
        {0, 9000, MF_NX, 9, true},
        {5000, 9000, MF_NX, 5, false},
        {0, 9000, MF_XX, -1, false},
        {5000, 9000, MF_XX, 9, true},
        {0, 9000, MF_GT, -1, false},
        {5000, 9000, MF_GT, 9, true},
        {5000, 5000, MF_GT, 5, false},
        {5000, 2000, MF_GT, 5, false},
        {0, 9000, MF_LT, 9, true},
        {5000, 9000, MF_LT, 5, false},
        {5000, 5000, MF_LT, 5, false},
        {5000, 2000, MF_LT, 2, true},
        {0, 9000, MF_XX | MF_GT, -1, false},
        {5000, 9000, MF_XX | MF_GT, 9, true},
        {5000, 2000, MF_XX | MF_GT, 5, false},
        {0, 9000, MF_XX | MF_LT, -1, false},
        {5000, 9000, MF_XX | MF_LT, 5, false},
        {5000, 2000, MF_XX | MF_LT, 2, true},
        {5000, 0, 0, -2, true},
        {0, -7, 0, -2, true},
        {0, -7, MF_NX, -2, true},
        {5000, -7, MF_NX, 5, false},
        {5000, -7, MF_XX, -2, true},
        {5000, -7, MF_GT, 5, false},
        {0, -7, MF_GT, -1, false},
        {5000, -7, MF_LT, -2, true},
        {0, -7, MF_LT, -2, true},
        {5000, -7, MF_XX | MF_LT, -2, true},
        {5000, -7, MF_XX | MF_GT, 5, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture *f = fixture_new();
        const int64_t unix_us = 1700000000000000;
        apply(f, cases[i].before_us > 0 ? set_for("k", "v", cases[i].before_us) : set("k", "v"));
        struct mf_command command = expire("k", unix_us + cases[i].wanted_us, cases[i].flags);
        command.expiry = MF_EXPIRY_AT;
        assert_true(mf_command_settle(&command, unix_us));
        assert_int_equal(apply(f, command).integer, cases[i].holds);
        if (ttl_of(f, "k") != cases[i].after_ms)
            fail_msg("case %zu: %lld ms left", i, (long long)ttl_of(f, "k"));
        int64_t told_ms = deadline_of(f, "k", unix_us);
        assert_int_equal(told_ms, cases[i].after_ms < 0 ? cases[i].after_ms
                                                        : unix_us / 1000 + cases[i].after_ms);
        fixture_free(f);
    }
}

struct object {
    int64_t bytes;
    int64_t length;
    int64_t is_integer;
};

static struct object object_of(struct fixture *f, const char *key)
{
    struct mf_result list = read_one(f, one(MF_OP_OBJECT, key));
    assert_int_equal(list.kind, MF_RESULT_LIST);
    assert_int_equal(list.count, 3);
    struct mf_reader reader = mf_reader_of(list.value);
    int64_t facts[3];
    for (int i = 0; i < 3; i++) {
        struct mf_result fact;
        assert_int_equal(mf_result_decode(&reader, &fact), MF_OK);
        assert_int_equal(fact.kind, MF_RESULT_INT);
        facts[i] = fact.integer;
    }
    return (struct object){facts[0], facts[1], facts[2]};
}

static void an_entry_tells_what_it_is(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        bool is_integer;
    } cases[] = {{"0", true},
                 {"-9223372036854775808", true},
                 {"9223372036854775807", true},
                 {"9223372036854775808", false},
                 {"-0", false},
                 {"007", false},
                 {"1.5", false},
                 {"", false},
                 {"text", false}};
    struct fixture *f = fixture_new();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        apply(f, set("k", cases[i].value));
        struct object object = object_of(f, "k");
        assert_int_equal(object.length, strlen(cases[i].value));
        assert_int_equal(object.is_integer, cases[i].is_integer);
    }
    assert_int_equal(read_one(f, one(MF_OP_OBJECT, "none")).kind, MF_RESULT_NIL);
    apply(f, set_for("k", "v", SECOND));
    f->now_us += SECOND;
    assert_int_equal(try_read(f, one(MF_OP_OBJECT, "k")), MF_AGAIN);
    fixture_free(f);
}

// Together the keys take what the shard says that its keys take, but for what rounding makes of it.
static void what_keys_take_adds_up_to_what_the_shard_takes(void **state)
{
    (void)state;
    enum { KEYS = 2000 };
    struct fixture *f = fixture_new();
    char value[200];
    memset(value, 'v', sizeof(value));
    for (int i = 0; i < KEYS; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        value[i % 150] = '\0';
        apply(f, i % 2 == 0 ? set(key, value) : set_for(key, value, 1000 * SECOND));
        value[i % 150] = 'v';
    }
    uint64_t bytes = 0;
    for (int i = 0; i < KEYS; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        bytes += (uint64_t)object_of(f, key).bytes;
    }
    struct mf_shard_memory memory;
    mf_shard_memory(f->shard, &memory);
    uint64_t all = memory.key_bytes + memory.table_bytes + memory.heap_bytes;
    assert_in_range(bytes, all - KEYS, all + KEYS);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_length_is_that_of_a_live_value),
        cmocka_unit_test(a_range_is_counted_from_both_ends),
        cmocka_unit_test(a_range_that_is_set_is_filled_up_with_zeros),
        cmocka_unit_test(a_range_past_the_limit_leaves_the_value),
        cmocka_unit_test(a_range_of_a_dead_key_begins_anew),
        cmocka_unit_test(a_large_value_is_written_over_in_a_copy),
        cmocka_unit_test(keys_that_must_all_be_new_are_written_or_none),
        cmocka_unit_test(a_key_is_renamed_or_copied_with_its_ttl),
        cmocka_unit_test(a_refused_rename_is_remembered),
        cmocka_unit_test(a_key_renamed_to_itself_stays_as_it_is),
        cmocka_unit_test(the_dead_are_neither_sources_nor_in_the_way),
        cmocka_unit_test(copies_of_a_large_value_live_on_alone),
        cmocka_unit_test(a_fraction_is_added_to_a_number),
        cmocka_unit_test(a_refusal_of_what_is_no_number_is_remembered),
        cmocka_unit_test(a_deadline_is_told_in_unix_time),
        cmocka_unit_test(an_expire_has_its_conditions),
        cmocka_unit_test(an_entry_tells_what_it_is),
        cmocka_unit_test(what_keys_take_adds_up_to_what_the_shard_takes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
