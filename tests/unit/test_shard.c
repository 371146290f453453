// What each command does to a shard.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "shard_fixture.h"

#define MS INT64_C(1000)
#define SECOND INT64_C(1000000)

static struct mf_result expire_due(struct fixture *f, uint32_t limit)
{
    return apply(f, (struct mf_command){.op = MF_OP_EXPIRE_DUE, .limit = limit});
}

static void a_key_is_read_back_with_its_version_and_ttl(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    assert_int_equal(apply(f, set("a", "1")).version, 1);
    assert_int_equal(apply(f, set_for("b", "2", 5 * MS)).version, 2);
    assert_value(f, "a", "1");
    assert_value(f, "c", NULL);
    struct mf_result meta = read_one(f, with_flags(one(MF_OP_GET, "b"), MF_WITH_META));
    assert_int_equal(meta.kind, MF_RESULT_META);
    assert_true(mf_bytes_equal(meta.value, mf_bytes_str("2")));
    assert_int_equal(meta.version, 2);
    assert_int_equal(meta.ttl_ms, 5);
    assert_int_equal(read_one(f, with_flags(one(MF_OP_GET, "a"), MF_WITH_META)).ttl_ms, -1);
    assert_int_equal(read_one(f, with_flags(one(MF_OP_GET, "c"), MF_WITH_META)).kind,
                     MF_RESULT_NIL);
    fixture_free(f);
}

static void set_conditions_hold_or_nothing_changes(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    assert_int_equal(apply(f, with_flags(set("a", "x"), MF_XX)).version, 0);
    assert_int_equal(apply(f, if_version(set("a", "x"), 1)).version, 0);
    assert_value(f, "a", NULL);
    assert_int_equal(apply(f, with_flags(set("a", "1"), MF_NX)).version, 1);
    assert_int_equal(apply(f, with_flags(set("a", "x"), MF_NX)).version, 0);
    assert_int_equal(apply(f, with_flags(set("a", "2"), MF_XX)).version, 2);
    assert_int_equal(apply(f, if_version(set("a", "x"), 1)).version, 0);
    assert_int_equal(apply(f, if_version(set("a", "x"), 0)).version, 0);
    assert_int_equal(apply(f, if_version(set("a", "3"), 2)).version, 3);
    assert_int_equal(apply(f, if_version(set("b", "1"), 0)).version, 4);
    assert_value(f, "a", "3");
    assert_int_equal(version_of(f), 4);
    fixture_free(f);
}

static void set_tells_the_old_value_when_asked(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct mf_result result = apply(f, with_flags(set("a", "1"), MF_WITH_OLD));
    assert_true(result.with_old && !result.has_old && result.version == 1);
    result = apply(f, with_flags(set("a", "2"), MF_WITH_OLD));
    assert_true(result.has_old && result.version == 2);
    assert_true(mf_bytes_equal(result.value, mf_bytes_str("1")));
    result = apply(f, with_flags(set("a", "3"), MF_WITH_OLD | MF_NX));
    assert_true(result.has_old && result.version == 0);
    assert_true(mf_bytes_equal(result.value, mf_bytes_str("2")));
    assert_false(apply(f, set("a", "4")).with_old);
    fixture_free(f);
}

static void set_drops_the_ttl_unless_it_is_kept(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    apply(f, set_for("a", "1", SECOND));
    f->now_us += 400 * MS;
    apply(f, with_flags(set("a", "2"), MF_KEEP_TTL));
    assert_int_equal(ttl_of(f, "a"), 600);
    apply(f, set("a", "3"));
    assert_int_equal(ttl_of(f, "a"), -1);
    apply(f, with_flags(set("b", "1"), MF_KEEP_TTL));
    assert_int_equal(ttl_of(f, "b"), -1);
    assert_true(mf_shard_next_deadline(f->shard) == MF_NO_DEADLINE);
    fixture_free(f);
}

static void a_ttl_in_the_past_is_written_and_dead_at_once(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    apply(f, set("a", "1"));
    assert_int_equal(apply(f, set_for("a", "2", -5)).version, 2);
    assert_value(f, "a", NULL);
    assert_int_equal(size_of(f), 0);
    assert_int_equal(ttl_of(f, "a"), -2);
    assert_int_equal(apply(f, set_for("b", "2", INT64_MIN)).version, 3);
    assert_value(f, "b", NULL);
    assert_int_equal(expire_due(f, 10).integer, 2);
    assert_int_equal(mf_shard_keys(f->shard), 0);
    fixture_free(f);
}

static void a_key_dies_at_its_deadline_and_not_before(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    apply(f, set_for("a", "1", 1000));
    uint64_t born_us = f->now_us;
    f->now_us = born_us + 999;
    assert_value(f, "a", "1");
    assert_int_equal(ttl_of(f, "a"), 1);
    f->now_us = born_us + 1000;
    expire_due(f, 0);
    assert_value(f, "a", NULL);
    fixture_free(f);
}

static void ttl_is_rounded_up_so_that_the_living_never_show_zero(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    apply(f, set_for("a", "1", 2001));
    assert_int_equal(ttl_of(f, "a"), 3);
    f->now_us += 1;
    assert_int_equal(ttl_of(f, "a"), 2);
    f->now_us += 1999;
    assert_int_equal(ttl_of(f, "a"), 1);
    assert_int_equal(ttl_of(f, "none"), -2);
    fixture_free(f);
}

static void deadlines_saturate_below_none(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    apply(f, set_for("a", "1", MF_TTL_MS_MAX * 1000));
    assert_true(ttl_of(f, "a") == MF_TTL_MS_MAX);
    f->now_us = UINT64_MAX - 5000;
    apply(f, set_for("b", "1", INT64_MAX));
    assert_int_equal(ttl_of(f, "b"), 5); // 4999 microseconds
    assert_true(mf_shard_next_deadline(f->shard) != MF_NO_DEADLINE);
    f->now_us = UINT64_MAX - 1;
    expire_due(f, 10);
    assert_value(f, "b", NULL);
    fixture_free(f);
}

static void del_counts_what_it_deleted_once(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    apply(f, set("a", "1"));
    apply(f, set("b", "2"));
    apply(f, set_for("dead", "3", 1));
    f->now_us += 10;
    struct mf_item keys[] = {{.key = mf_bytes_str("a")},
                             {.key = mf_bytes_str("none")},
                             {.key = mf_bytes_str("a")},
                             {.key = mf_bytes_str("dead")},
                             {.key = mf_bytes_str("b")}};
    struct mf_command del = {.op = MF_OP_DEL, .items = keys, .item_count = 5};
    assert_int_equal(apply(f, del).integer, 2);
    assert_int_equal(version_of(f), 6); // the dead one's end is a change too
    del.item_count = 0;
    assert_int_equal(apply(f, del).integer, 0);
    assert_int_equal(mf_shard_keys(f->shard), 0);
    fixture_free(f);
}

static void del_with_a_version_deletes_only_that_one(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    apply(f, set("a", "1"));
    assert_int_equal(apply(f, if_version(one(MF_OP_DEL, "a"), 2)).integer, 0);
    assert_int_equal(apply(f, if_version(one(MF_OP_DEL, "none"), 0)).integer, 0);
    assert_value(f, "a", "1");
    assert_int_equal(apply(f, if_version(one(MF_OP_DEL, "a"), 1)).integer, 1);
    assert_value(f, "a", NULL);
    fixture_free(f);
}

static void mset_counts_pairs_and_the_last_of_a_repeated_key_wins(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct mf_item items[] = {{mf_bytes_str("a"), mf_bytes_str("1")},
                              {mf_bytes_str("b"), mf_bytes_str("2")},
                              {mf_bytes_str("a"), mf_bytes_str("3")}};
    struct mf_command mset = {.op = MF_OP_MSET,
                              .items = items,
                              .item_count = 3,
                              .expiry = MF_EXPIRY_IN,
                              .expire_us = SECOND};
    assert_int_equal(apply(f, mset).integer, 3);
    assert_int_equal(version_of(f), 3);
    assert_value(f, "a", "3");
    assert_int_equal(ttl_of(f, "b"), 1000);
    assert_int_equal(size_of(f), 2);
    fixture_free(f);
}

static void expire_sets_moves_and_deletes(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    assert_int_equal(apply(f, expire("a", SECOND, 0)).integer, 0);
    apply(f, set("a", "1"));
    assert_int_equal(apply(f, expire("a", SECOND, 0)).integer, 1);
    assert_int_equal(ttl_of(f, "a"), 1000);
    assert_int_equal(version_of(f), 2);
    assert_int_equal(apply(f, expire("a", SECOND, 0)).integer, 1);
    assert_int_equal(version_of(f), 2); // nothing changed
    assert_int_equal(apply(f, expire("a", 0, 0)).integer, 1);
    assert_int_equal(version_of(f), 3);
    assert_int_equal(mf_shard_keys(f->shard), 0);
    assert_int_equal(apply(f, expire("a", -1, 0)).integer, 0);
    fixture_free(f);
}

static void expire_conditions_count_no_ttl_as_infinite(void **state)
{
    (void)state;
    // The TTL before (0: none), flags, the TTL wanted, and whether it holds.
    static const struct {
        int64_t before;
        uint32_t flags;
        int64_t wanted;
        bool holds;
    } cases[] = {
        {0, MF_NX, SECOND, true},
        {SECOND, MF_NX, 5, false},
        {0, MF_XX, SECOND, false},
        {SECOND, MF_XX, 5, true},
        {0, MF_GT, SECOND, false},
        {0, MF_LT, SECOND, true},
        {SECOND, MF_GT, SECOND, false},
        {SECOND, MF_GT, SECOND + 1, true},
        {SECOND, MF_LT, SECOND, false},
        {SECOND, MF_LT, SECOND - 1, true},
        {SECOND, MF_GT, 0, false},
        {SECOND, MF_LT, 0, true},
        {0, MF_LT, -1, true},
        {0, MF_XX | MF_LT, SECOND, false},
        {SECOND, MF_XX | MF_GT, -7, false},
        {SECOND, MF_XX | MF_GT, 2 * SECOND, true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture *f = fixture_new();
        apply(f, cases[i].before > 0 ? set_for("a", "1", cases[i].before) : set("a", "1"));
        bool held = apply(f, expire("a", cases[i].wanted, cases[i].flags)).integer != 0;
        if (held != cases[i].holds)
            fail_msg("case %zu", i);
        int64_t ttl = held ? cases[i].wanted : cases[i].before;
        bool none = !held && cases[i].before == 0;
        bool gone = held && cases[i].wanted <= 0;
        assert_int_equal(ttl_of(f, "a"), gone ? -2 : none ? -1 : (ttl + 999) / 1000);
        assert_int_equal(version_of(f), held ? 2 : 1);
        fixture_free(f);
    }
}

static void persist_takes_a_ttl_away_once(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    apply(f, set_for("a", "1", SECOND));
    assert_int_equal(apply(f, one(MF_OP_PERSIST, "a")).integer, 1);
    assert_int_equal(apply(f, one(MF_OP_PERSIST, "a")).integer, 0);
    assert_int_equal(apply(f, one(MF_OP_PERSIST, "none")).integer, 0);
    assert_int_equal(ttl_of(f, "a"), -1);
    assert_int_equal(version_of(f), 2);
    assert_true(mf_shard_next_deadline(f->shard) == MF_NO_DEADLINE);
    fixture_free(f);
}

static void a_roster_is_replaced_by_its_successor_only(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    assert_int_equal(mf_shard_roster_version(f->shard), 1);
    assert_int_equal(mf_shard_roster(f->shard).len, 0);
    struct mf_command roster = {.op = MF_OP_ROSTER, .flags = MF_IF_VERSION, .item_count = 1};
    roster.one = (struct mf_item){.key = mf_bytes_str("roster"), .value = mf_bytes_str("two")};
    roster.items = &roster.one;
    static const struct {
        uint64_t if_version;
        bool taken;
    } cases[] = {{0, false}, {2, false}, {1, true}, {1, false}, {3, false}, {2, true}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t hash = mf_shard_state_hash(f->shard);
        uint64_t version = mf_shard_roster_version(f->shard);
        roster.if_version = cases[i].if_version;
        assert_int_equal(apply(f, roster).integer, cases[i].taken);
        assert_int_equal(mf_shard_roster_version(f->shard), version + cases[i].taken);
        assert_int_not_equal(mf_shard_state_hash(f->shard), hash);
    }
    assert_true(mf_bytes_equal(mf_shard_roster(f->shard), mf_bytes_str("two")));
    struct mf_command flush = {.op = MF_OP_FLUSH};
    apply(f, flush);
    assert_int_equal(mf_shard_roster_version(f->shard), 3);
    assert_int_equal(size_of(f), 0); // it is no key
    fixture_free(f);
}

static void flush_drops_keys_and_not_ids(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    apply(f, with_id(set("a", "1"), "id-1"));
    apply(f, set_for("b", "2", SECOND));
    apply(f, set_for("dead", "3", 5));
    f->now_us += 10;
    struct mf_command flush = {.op = MF_OP_FLUSH};
    uint64_t version = version_of(f);
    assert_int_equal(apply(f, flush).integer, 2);
    assert_int_equal(version_of(f), version + 1);
    assert_int_equal(apply(f, flush).integer, 0);
    assert_int_equal(version_of(f), version + 1);
    assert_int_equal(size_of(f), 0);
    // Still known: the first result again, and no effect.
    assert_int_equal(apply(f, with_id(set("a", "9"), "id-1")).version, 1);
    assert_value(f, "a", NULL);
    fixture_free(f);
}

static void due_keys_are_popped_in_order_and_no_more_than_asked(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    apply(f, set_for("c", "3", 30));
    apply(f, set_for("a", "1", 10));
    apply(f, set_for("b", "2", 20));
    f->now_us += 25;
    assert_int_equal(expire_due(f, 1).integer, 1);
    assert_true(mf_shard_next_deadline(f->shard) == 1000 + 20);
    assert_int_equal(expire_due(f, 100).integer, 1);
    assert_int_equal(expire_due(f, 100).integer, 0);
    assert_int_equal(mf_shard_keys(f->shard), 1);
    struct mf_shard_counters counters;
    mf_shard_counters(f->shard, &counters);
    assert_int_equal(counters.expired, 2);
    fixture_free(f);
}

static void a_dead_key_is_absent_to_every_command(void **state)
{
    (void)state;
    static const uint64_t flags[] = {MF_NX, 0};
    for (size_t i = 0; i < 2; i++) {
        struct fixture *f = fixture_new();
        for (const char *key = "setdelexpper"; *key != '\0'; key += 3) {
            char name[4] = {key[0], key[1], key[2], 0};
            apply(f, set_for(name, "old", 5));
        }
        f->now_us += 5;
        struct mf_command again = with_flags(set("set", "new"), (uint32_t)flags[i] | MF_WITH_OLD);
        struct mf_result result = apply(f, again);
        assert_true(result.version > 0 && !result.has_old);
        assert_int_equal(apply(f, one(MF_OP_DEL, "del")).integer, 0);
        assert_int_equal(apply(f, expire("exp", SECOND, 0)).integer, 0);
        assert_int_equal(apply(f, one(MF_OP_PERSIST, "per")).integer, 0);
        assert_value(f, "set", "new");
        assert_int_equal(size_of(f), 1);
        assert_int_equal(mf_shard_keys(f->shard), 1);
        fixture_free(f);
    }
}

static void a_death_that_no_entry_has_reached_is_not_told_yet(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    apply(f, set_for("a", "1", 10));
    apply(f, set("b", "2"));
    f->now_us += 10;
    struct mf_item keys[] = {{.key = mf_bytes_str("b")}, {.key = mf_bytes_str("a")}};
    struct mf_command mget = {.op = MF_OP_MGET, .items = keys, .item_count = 2};
    struct mf_command has = {.op = MF_OP_HAS, .items = keys, .item_count = 2};
    struct mf_command size = {.op = MF_OP_SIZE};
    struct mf_command reads[] = {one(MF_OP_GET, "a"), one(MF_OP_TTL, "a"), mget, has, size};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(try_read(f, reads[i]), MF_AGAIN);
        assert_int_equal(f->result.len, 0);
        assert_int_equal(try_read(f, with_flags(reads[i], MF_READ_LOCAL)), MF_OK);
    }
    assert_value(f, "b", "2");
    expire_due(f, 0); // any entry will do
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(try_read(f, reads[i]), MF_OK);
    assert_int_equal(size_of(f), 1);
    // A reader whose clock is behind sees no more than one whose clock is right.
    f->now_us -= 10;
    assert_value(f, "a", NULL);
    fixture_free(f);
}

// What is too large is not put together first: it would be asked for again and again.
static void an_mget_over_its_limit_is_refused_before_it_is_long(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    static char value[600001];
    memset(value, 'v', sizeof(value) - 1);
    apply(f, set("a", value));
    static struct mf_item keys[1000];
    for (size_t i = 0; i < 1000; i++)
        keys[i].key = mf_bytes_str(i % 2 == 0 ? "a" : "none");
    struct mf_command mget = {
        .op = MF_OP_MGET, .items = keys, .item_count = 1000, .limit = 100u << 20};
    struct mf_result result = read_one(f, mget);
    assert_true(result.kind == MF_RESULT_ERROR && result.err == MF_TOO_LARGE);
    assert_true(f->result.cap <= 4u << 20);
    mget.item_count = 300; // 90 MB
    assert_int_equal(read_one(f, mget).kind, MF_RESULT_LIST);
    mget.limit = 1 << 20; // less than what is looked at before
    result = read_one(f, mget);
    assert_true(result.kind == MF_RESULT_ERROR && result.err == MF_TOO_LARGE);
    fixture_free(f);
}

static void mget_and_has_answer_in_order(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    apply(f, set("a", "1"));
    struct mf_item keys[] = {{.key = mf_bytes_str("a")}, {.key = mf_bytes_str("b")}};
    struct mf_result list =
        read_one(f, (struct mf_command){.op = MF_OP_MGET, .items = keys, .item_count = 2});
    struct mf_reader r = mf_reader_of(list.value);
    struct mf_result element;
    assert_int_equal(list.count, 2);
    assert_int_equal(mf_result_decode(&r, &element), MF_OK);
    assert_true(mf_bytes_equal(element.value, mf_bytes_str("1")));
    assert_int_equal(mf_result_decode(&r, &element), MF_OK);
    assert_int_equal(element.kind, MF_RESULT_NIL);
    list = read_one(f, (struct mf_command){.op = MF_OP_HAS, .items = keys, .item_count = 2});
    r = mf_reader_of(list.value);
    assert_int_equal(mf_result_decode(&r, &element), MF_OK);
    assert_int_equal(element.integer, 1);
    assert_int_equal(mf_result_decode(&r, &element), MF_OK);
    assert_int_equal(element.integer, 0);
    list = read_one(f, (struct mf_command){.op = MF_OP_MGET});
    assert_true(list.kind == MF_RESULT_LIST && list.count == 0 && list.value.len == 0);
    fixture_free(f);
}

static void an_id_has_its_effect_once_for_ten_minutes(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct mf_result first = apply(f, with_id(with_flags(set("a", "1"), MF_WITH_OLD), "id"));
    assert_int_equal(first.version, 1);
    assert_int_equal(apply(f, set("a", "2")).version, 3); // 2 is the id's own
    f->now_us += MF_ID_TTL_US - 1;
    struct mf_result again = apply(f, with_id(with_flags(set("a", "x"), MF_WITH_OLD), "id"));
    assert_true(again.version == 1 && again.with_old && !again.has_old);
    assert_int_equal(apply(f, with_id(one(MF_OP_DEL, "a"), "id")).kind, MF_RESULT_WRITTEN);
    assert_value(f, "a", "2");
    assert_int_equal(size_of(f), 1);
    f->now_us += 1;
    assert_int_equal(apply(f, with_id(one(MF_OP_DEL, "a"), "id")).integer, 1);
    assert_value(f, "a", NULL);
    fixture_free(f);
}

static void a_refusal_is_remembered_too(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    assert_int_equal(apply(f, with_id(with_flags(set("a", "1"), MF_XX), "id")).version, 0);
    apply(f, set("a", "2"));
    assert_int_equal(apply(f, with_id(with_flags(set("a", "1"), MF_XX), "id")).version, 0);
    assert_value(f, "a", "2");
    fixture_free(f);
}

static void ids_expire_like_keys_and_are_none(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    apply(f, with_id(set("a", "1"), "id"));
    struct mf_shard_meta meta;
    mf_shard_meta(f->shard, &meta);
    assert_true(meta.keys == 1 && meta.ids == 1);
    f->now_us += MF_ID_TTL_US;
    assert_int_equal(size_of(f), 1);
    assert_int_equal(expire_due(f, 10).integer, 1);
    mf_shard_meta(f->shard, &meta);
    assert_true(meta.keys == 1 && meta.ids == 0);
    fixture_free(f);
}

static void a_write_is_no_read(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    assert_int_equal(try_read(f, set("a", "1")), MF_BAD_REQUEST);
    assert_int_equal(f->result.len, 0);
    fixture_free(f);
}

static void a_large_value_is_not_copied_when_its_ttl_changes(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    size_t len = 1000000;
    uint8_t *bytes = mf_calloc(1, len);
    struct mf_command command = one(MF_OP_SET, "a");
    command.one.value = mf_bytes_of(bytes, len);
    apply(f, command);
    struct mf_bytes before = read_one(f, one(MF_OP_GET, "a")).value;
    assert_int_equal(before.len, len);
    for (int i = 1; i <= 50; i++)
        apply(f, expire("a", i * SECOND, 0));
    mf_shard_reclaim(f->shard);
    assert_int_equal(read_one(f, one(MF_OP_GET, "a")).value.len, len);
    assert_int_equal(ttl_of(f, "a"), 50000);
    struct mf_shard_memory memory;
    mf_shard_memory(f->shard, &memory);
    assert_in_range(memory.bytes, len, mf_alloc_bytes(len + 16) + 20000);
    apply(f, one(MF_OP_PERSIST, "a"));
    assert_int_equal(apply(f, one(MF_OP_DEL, "a")).integer, 1);
    free(bytes);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_read_back_with_its_version_and_ttl),
        cmocka_unit_test(set_conditions_hold_or_nothing_changes),
        cmocka_unit_test(set_tells_the_old_value_when_asked),
        cmocka_unit_test(set_drops_the_ttl_unless_it_is_kept),
        cmocka_unit_test(a_ttl_in_the_past_is_written_and_dead_at_once),
        cmocka_unit_test(a_key_dies_at_its_deadline_and_not_before),
        cmocka_unit_test(ttl_is_rounded_up_so_that_the_living_never_show_zero),
        cmocka_unit_test(deadlines_saturate_below_none),
        cmocka_unit_test(del_counts_what_it_deleted_once),
        cmocka_unit_test(del_with_a_version_deletes_only_that_one),
        cmocka_unit_test(mset_counts_pairs_and_the_last_of_a_repeated_key_wins),
        cmocka_unit_test(expire_sets_moves_and_deletes),
        cmocka_unit_test(expire_conditions_count_no_ttl_as_infinite),
        cmocka_unit_test(persist_takes_a_ttl_away_once),
        cmocka_unit_test(a_roster_is_replaced_by_its_successor_only),
        cmocka_unit_test(flush_drops_keys_and_not_ids),
        cmocka_unit_test(due_keys_are_popped_in_order_and_no_more_than_asked),
        cmocka_unit_test(a_dead_key_is_absent_to_every_command),
        cmocka_unit_test(a_death_that_no_entry_has_reached_is_not_told_yet),
        cmocka_unit_test(an_mget_over_its_limit_is_refused_before_it_is_long),
        cmocka_unit_test(mget_and_has_answer_in_order),
        cmocka_unit_test(an_id_has_its_effect_once_for_ten_minutes),
        cmocka_unit_test(a_refusal_is_remembered_too),
        cmocka_unit_test(ids_expire_like_keys_and_are_none),
        cmocka_unit_test(a_write_is_no_read),
        cmocka_unit_test(a_large_value_is_not_copied_when_its_ttl_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
