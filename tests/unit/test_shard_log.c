// A shard and its log: batches, positions, hostile payloads, and snapshots taken and loaded.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "base/rand.h"
#include "shard_fixture.h"
#include "shards/entry.h"

#define SECOND INT64_C(1000000)

static void count_done(void *arg, uint32_t n, struct mf_bytes result)
{
    uint32_t *count = arg;
    assert_int_equal(n, *count);
    assert_true(result.len > 0);
    (*count)++;
}

static void a_command_alone_is_an_entry_like_a_batch_of_one(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct mf_shard *alone = mf_shard_new(1, 5);
    struct mf_command commands[] = {set_for("a", "1", 9 * SECOND),
                                    set("b", "2"),
                                    one(MF_OP_PERSIST, "a"),
                                    one(MF_OP_DEL, "b"),
                                    {.op = MF_OP_FLUSH}};
    for (size_t i = 0; i < 5; i++) {
        f->now_us += 1000;
        apply(f, commands[i]);
        struct mf_bytes result;
        if (commands[i].op != MF_OP_FLUSH)
            commands[i].items = &commands[i].one;
        assert_int_equal(mf_shard_apply_one(alone, i + 1, f->now_us, &commands[i], &result), MF_OK);
        assert_true(mf_bytes_equal(result, mf_buf_view(&f->result)));
        assert_true(mf_shard_state_hash(alone) == mf_shard_state_hash(f->shard));
    }
    struct mf_bytes result;
    struct mf_command read = one(MF_OP_GET, "a");
    read.items = &read.one;
    assert_int_equal(mf_shard_apply_one(alone, 6, f->now_us, &read, &result), MF_BAD_REQUEST);
    mf_shard_skip_versions(alone, 1000);
    struct mf_command late = set("c", "3");
    late.items = &late.one;
    assert_int_equal(mf_shard_apply_one(alone, 6, f->now_us, &late, &result), MF_OK);
    struct mf_shard_meta meta;
    mf_shard_meta(alone, &meta);
    assert_int_equal(meta.version, 1001);
    mf_shard_free(alone);
    fixture_free(f);
}

static void a_batch_is_applied_in_order_at_one_position(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct mf_command commands[] = {set("a", "1"), one(MF_OP_GET, "a"), one(MF_OP_DEL, "a"),
                                    one(MF_OP_GET, "a")};
    mf_batch_begin(&f->batch, 42);
    for (size_t i = 0; i < 4; i++) {
        commands[i].items = &commands[i].one;
        mf_batch_add(&f->batch, &commands[i]);
    }
    uint32_t count = 0;
    assert_int_equal(mf_shard_apply(f->shard, 1, 1000, mf_buf_view(&f->batch), count_done, &count),
                     MF_OK);
    assert_int_equal(count, 4);
    f->index = 1;
    assert_value(f, "a", NULL);
    struct mf_shard_counters counters;
    mf_shard_counters(f->shard, &counters);
    assert_int_equal(counters.commands, 5);
    fixture_free(f);
}

static void a_no_op_moves_position_and_time_alone(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    apply(f, set("a", "1"));
    assert_int_equal(mf_shard_apply(f->shard, ++f->index, 5000, mf_bytes_of(NULL, 0), NULL, NULL),
                     MF_OK);
    struct mf_shard_meta meta;
    mf_shard_meta(f->shard, &meta);
    assert_true(meta.applied == 2 && meta.log_time_us == 5000 && meta.version == 1);
    // An older entry behind a no-op that closed a hole: time stands still.
    f->now_us = 4000;
    apply(f, set_for("b", "2", 100));
    mf_shard_meta(f->shard, &meta);
    assert_int_equal(meta.log_time_us, 5000);
    assert_int_equal(mf_shard_next_deadline(f->shard), 5100);
    fixture_free(f);
}

static void keep_kind(void *arg, uint32_t n, struct mf_bytes result)
{
    (void)n;
    *(enum mf_result_kind *)arg = (enum mf_result_kind)result.data[0];
}

// A reading of the clock that came from elsewhere may be anything.
static void a_key_without_a_ttl_outlives_the_end_of_time(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct mf_command commands[] = {set_for("a", "1", 0), one(MF_OP_GET, "a")};
    commands[0].expiry = MF_EXPIRY_NONE;
    mf_batch_begin(&f->batch, 1);
    for (size_t i = 0; i < 2; i++) {
        commands[i].items = &commands[i].one;
        mf_batch_add(&f->batch, &commands[i]);
    }
    enum mf_result_kind kind = MF_RESULT_NIL;
    assert_int_equal(
        mf_shard_apply(f->shard, 1, UINT64_MAX, mf_buf_view(&f->batch), keep_kind, &kind), MF_OK);
    assert_int_equal(kind, MF_RESULT_BYTES);
    fixture_free(f);
}

static void what_no_leader_proposes_is_corrupt(void **state)
{
    (void)state;
    struct mf_command at = set_for("a", "1", 5);
    at.expiry = MF_EXPIRY_AT;
    struct mf_command commands[] = {
        at, one(MF_OP_EXPIRE, "a"), {.op = MF_OP_DRAIN}, {.op = MF_OP_TRANSFER}};
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        struct fixture *f = fixture_new();
        commands[i].items = &commands[i].one;
        mf_batch_begin(&f->batch, 1);
        mf_batch_add(&f->batch, &commands[i]);
        assert_int_equal(mf_shard_apply(f->shard, 1, 1, mf_buf_view(&f->batch), NULL, NULL),
                         MF_CORRUPT);
        fixture_free(f);
    }
}

static void a_batch_gives_back_its_tag_and_commands(void **state)
{
    (void)state;
    struct mf_buf batch = {0};
    struct mf_command command = set("key", "value");
    command.items = &command.one;
    mf_batch_begin(&batch, UINT64_C(0x0102030405060708));
    mf_batch_add(&batch, &command);
    struct mf_buf encoded = {0};
    mf_command_encode(&command, &encoded);
    mf_batch_add_encoded(&batch, mf_buf_view(&encoded));
    struct mf_batch_reader reader;
    assert_int_equal(mf_batch_open(&reader, mf_buf_view(&batch)), MF_OK);
    assert_true(reader.tag == UINT64_C(0x0102030405060708));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mf_batch_next(&reader, &command), MF_OK);
        assert_true(mf_bytes_equal(command.one.value, mf_bytes_str("value")));
    }
    assert_int_equal(mf_batch_next(&reader, &command), MF_NOT_FOUND);
    mf_batch_close(&reader);
    assert_int_equal(mf_batch_open(&reader, mf_bytes_of("\x02xxxxxxxx", 9)), MF_CORRUPT);
    assert_int_equal(mf_batch_open(&reader, mf_bytes_of("\x01xxxxxxx", 8)), MF_CORRUPT);
    assert_int_equal(mf_batch_open(&reader, mf_bytes_of(NULL, 0)), MF_OK);
    assert_int_equal(reader.tag, 0);
    assert_int_equal(mf_batch_next(&reader, &command), MF_NOT_FOUND);
    mf_buf_free(&encoded);
    mf_buf_free(&batch);
}

static void a_batch_with_bytes_left_over_in_a_command_is_corrupt(void **state)
{
    (void)state;
    struct mf_buf batch = {0};
    struct mf_buf encoded = {0};
    struct mf_command command = {.op = MF_OP_FLUSH};
    mf_command_encode(&command, &encoded);
    mf_buf_u8(&encoded, 0);
    mf_batch_begin(&batch, 1);
    mf_batch_add_encoded(&batch, mf_buf_view(&encoded));
    struct mf_batch_reader reader;
    assert_int_equal(mf_batch_open(&reader, mf_buf_view(&batch)), MF_OK);
    assert_int_equal(mf_batch_next(&reader, &command), MF_CORRUPT);
    mf_batch_close(&reader);
    mf_buf_free(&encoded);
    mf_buf_free(&batch);
}

static void mutated_payloads_are_applied_or_refused_and_nothing_else(void **state)
{
    (void)state;
    struct mf_rand rand = {8};
    unsigned refused = 0;
    for (int i = 0; i < 20000; i++) {
        struct fixture *f = fixture_new();
        struct mf_command commands[] = {with_id(set_for("a", "1", 50), "id"),
                                        expire("a", SECOND, MF_GT), one(MF_OP_DEL, "a")};
        mf_batch_begin(&f->batch, 42);
        for (size_t c = 0; c < 3; c++) {
            commands[c].items = &commands[c].one;
            mf_batch_add(&f->batch, &commands[c]);
        }
        size_t len = f->batch.len - mf_rand_below(&rand, 3);
        uint8_t *payload = mf_alloc(len);
        memcpy(payload, f->batch.data, len);
        for (uint64_t changes = 1 + mf_rand_below(&rand, 3); changes > 0; changes--)
            payload[mf_rand_below(&rand, len)] = (uint8_t)mf_rand_next(&rand);
        enum mf_err err = mf_shard_apply(f->shard, 1, 1, mf_bytes_of(payload, len), keep_result, f);
        assert_true(err == MF_OK || err == MF_CORRUPT);
        refused += err == MF_CORRUPT;
        free(payload);
        fixture_free(f);
    }
    assert_in_range(refused, 5000, 19999);
}

struct collected {
    uint64_t keys;
    uint64_t ids;
    struct mf_shard *into;
};

static void collect(void *arg, const struct mf_record *record)
{
    struct collected *collected = arg;
    collected->keys += !record->is_id;
    collected->ids += record->is_id;
    if (collected->into != NULL)
        assert_int_equal(mf_shard_load(collected->into, record), MF_OK);
}

static void fill(struct fixture *f)
{
    char key[8] = "k00";
    for (int i = 0; i < 100; i++) {
        key[1] = (char)('0' + i / 10);
        key[2] = (char)('0' + i % 10);
        apply(f, i % 2 == 0 ? set_for(key, "value", i * 10) : with_id(set(key, "v"), key));
    }
}

static void a_loaded_shard_equals_the_one_it_was_taken_from(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    fill(f);
    struct mf_shard *copy = mf_shard_new(1, 12345);
    struct collected collected = {.into = copy};
    struct mf_shard_meta meta;
    mf_shard_load_begin(copy);
    assert_false(mf_shard_walking(f->shard));
    assert_int_equal(mf_shard_walk_begin(f->shard, &meta, collect, &collected), MF_OK);
    assert_int_equal(mf_shard_walk_begin(f->shard, &meta, collect, &collected), MF_BUSY);
    while (mf_shard_walk_step(f->shard, 7))
        assert_true(mf_shard_walking(f->shard));
    assert_false(mf_shard_walking(f->shard));
    assert_int_equal(mf_shard_load_end(copy, &meta), MF_OK);
    assert_true(collected.keys == meta.keys && collected.ids == meta.ids);
    assert_true(mf_shard_state_hash(copy) == mf_shard_state_hash(f->shard));
    // And goes on like it.
    apply(f, set_for("k11", "x", 7));
    assert_int_equal(mf_shard_apply(copy, f->index, f->now_us, mf_buf_view(&f->batch), NULL, NULL),
                     MF_OK);
    assert_true(mf_shard_state_hash(copy) == mf_shard_state_hash(f->shard));
    assert_true(mf_shard_rolling_hash(copy) == mf_shard_rolling_hash(f->shard));
    assert_true(mf_shard_valid(copy));
    mf_shard_free(copy);
    fixture_free(f);
}

static void a_walk_ended_early_does_not_spoil_the_next(void **state)
{
    (void)state;
    for (int settle = 0; settle < 3; settle++) {
        struct fixture *f = fixture_new();
        fill(f);
        struct collected first = {0};
        struct collected second = {0};
        struct mf_shard_meta meta;
        assert_int_equal(mf_shard_walk_begin(f->shard, &meta, collect, &first), MF_OK);
        mf_shard_walk_step(f->shard, 10);
        mf_shard_walk_end(f->shard);
        assert_false(mf_shard_walking(f->shard));
        assert_false(mf_shard_walk_step(f->shard, 10));
        uint64_t seen = first.keys;
        // The rest is set right by turns, by the next walk, or by both.
        for (int turn = 0; turn < settle; turn++)
            mf_shard_reclaim(f->shard);
        apply(f, set("k55", "after"));
        assert_int_equal(first.keys, seen);
        assert_int_equal(mf_shard_walk_begin(f->shard, &meta, collect, &second), MF_OK);
        while (mf_shard_walk_step(f->shard, 10))
            continue;
        assert_true(second.keys == meta.keys && second.ids == meta.ids);
        mf_shard_walk_end(f->shard);
        fixture_free(f);
    }
}

static void what_a_walk_left_is_set_right_in_bounded_steps(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    char key[8];
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        apply(f, set(key, "v"));
    }
    assert_true(mf_shard_walk_settle(f->shard));
    struct collected first = {0};
    struct mf_shard_meta meta;
    assert_int_equal(mf_shard_walk_begin(f->shard, &meta, collect, &first), MF_OK);
    mf_shard_walk_step(f->shard, 10);
    mf_shard_walk_end(f->shard);
    int steps = 1;
    while (!mf_shard_walk_settle(f->shard))
        steps++;
    assert_in_range(steps, 5000 / 512, 5000);
    struct collected second = {0};
    assert_int_equal(mf_shard_walk_begin(f->shard, &meta, collect, &second), MF_OK);
    while (mf_shard_walk_step(f->shard, 10))
        continue;
    assert_int_equal(second.keys, 5000);
    fixture_free(f);
}

// Keeps the value of each record that can be kept.
static void keep(void *arg, const struct mf_record *record)
{
    struct mf_bytes *kept = arg;
    if (mf_entry_keep_value(record->value)) {
        assert_null(kept->data);
        *kept = record->value;
    }
}

static void a_large_value_can_be_kept_beyond_its_key_without_a_copy(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    static char large[MF_ENTRY_APART_BYTES + 2];
    memset(large, 'l', sizeof(large) - 1);
    apply(f, set("large", large));
    large[MF_ENTRY_APART_BYTES] = '\0';
    apply(f, set("limit", large)); // the longest that cannot be kept
    struct mf_bytes kept = {0};
    struct mf_shard_meta meta;
    assert_int_equal(mf_shard_walk_begin(f->shard, &meta, keep, &kept), MF_OK);
    while (mf_shard_walk_step(f->shard, 1))
        continue;
    assert_int_equal(kept.len, MF_ENTRY_APART_BYTES + 1);
    apply(f, set("large", "small"));
    fixture_free(f);
    for (size_t i = 0; i < kept.len; i++)
        assert_int_equal(((const char *)kept.data)[i], 'l');
    mf_entry_release_value(kept);
}

static void loading_refuses_what_no_shard_would_have_written(void **state)
{
    (void)state;
    struct mf_bytes key = mf_bytes_str("key");
    struct mf_record good = {.key = key, .version = 5, .deadline_us = MF_NO_DEADLINE};
    struct mf_record id = {.is_id = true, .key = key, .version = 6, .deadline_us = 9};
    struct mf_shard *shard = mf_shard_new(1, 1);
    mf_shard_load_begin(shard);
    assert_int_equal(mf_shard_load(shard, &good), MF_OK);
    assert_int_equal(mf_shard_load(shard, &good), MF_CORRUPT);
    assert_int_equal(mf_shard_load(shard, &id), MF_OK); // an id may be called like a key
    id.key = mf_bytes_str("other");
    id.deadline_us = MF_NO_DEADLINE;
    assert_int_equal(mf_shard_load(shard, &id), MF_CORRUPT);
    good.key = mf_bytes_str("third");
    good.version = 0;
    assert_int_equal(mf_shard_load(shard, &good), MF_CORRUPT);
    struct mf_shard_meta meta = {.applied = 3, .version = 6, .keys = 1, .ids = 1};
    meta.keys = 2;
    assert_int_equal(mf_shard_load_end(shard, &meta), MF_CORRUPT);
    meta.keys = 1;
    meta.version = 5;
    assert_int_equal(mf_shard_load_end(shard, &meta), MF_CORRUPT);
    meta.version = 6;
    assert_int_equal(mf_shard_load_end(shard, &meta), MF_OK);
    mf_shard_free(shard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_is_applied_in_order_at_one_position),
        cmocka_unit_test(a_command_alone_is_an_entry_like_a_batch_of_one),
        cmocka_unit_test(a_no_op_moves_position_and_time_alone),
        cmocka_unit_test(a_key_without_a_ttl_outlives_the_end_of_time),
        cmocka_unit_test(what_no_leader_proposes_is_corrupt),
        cmocka_unit_test(a_batch_gives_back_its_tag_and_commands),
        cmocka_unit_test(a_batch_with_bytes_left_over_in_a_command_is_corrupt),
        cmocka_unit_test(mutated_payloads_are_applied_or_refused_and_nothing_else),
        cmocka_unit_test(a_loaded_shard_equals_the_one_it_was_taken_from),
        cmocka_unit_test(a_walk_ended_early_does_not_spoil_the_next),
        cmocka_unit_test(what_a_walk_left_is_set_right_in_bounded_steps),
        cmocka_unit_test(a_large_value_can_be_kept_beyond_its_key_without_a_copy),
        cmocka_unit_test(loading_refuses_what_no_shard_would_have_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
