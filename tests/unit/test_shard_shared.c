// Reads on other threads while the owner applies entries: always the state between two entries.
//
// Every entry takes all keys out and puts a pair of keys with the entry's number in, and a crowd of
// keys that die soon: the table grows, shrinks and is cleared all the time.
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/txn.h"
#include "shards/map.h"
#include "tests/unit/shard_fixture.h"

#define READERS 3
#define READS_MIN 1000u
#define CROWD 40u

struct shared {
    struct mf_shard *shard;
    atomic_bool stop;
    _Atomic unsigned done;    // readers that have read enough
    _Atomic uint64_t told;    // the last entry whose outcome is known to all
    _Atomic unsigned halves;  // a pair that was not one
    _Atomic unsigned returns; // an older value than was seen or told before
    _Atomic unsigned broken;  // no answer to the question
};

static void put_number(struct mf_buf *text, uint64_t number)
{
    char digits[24];
    int len = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)number);
    mf_buf_put(text, digits, (size_t)len);
}

static uint64_t number_of(struct mf_bytes text)
{
    uint64_t number = 0;
    for (size_t i = 0; i < text.len; i++)
        number = number * 10 + (uint64_t)(text.data[i] - '0');
    return number;
}

static void add_crowd(struct mf_buf *batch, uint64_t entry)
{
    for (uint64_t i = 0; i < CROWD * (entry % 7); i++) {
        char key[32];
        snprintf(key, sizeof(key), "crowd-%llu", (unsigned long long)(entry % 3 * 1000 + i));
        struct mf_command command = set_for(key, "x", 500 + (int64_t)i * 100);
        command.items = &command.one;
        mf_batch_add(batch, &command);
    }
}

static void put_inner(struct mf_buf *body, enum mf_opcode op, const char *key, const char *value)
{
    struct mf_item item = {.key = mf_bytes_str(key), .value = mf_bytes_str(value)};
    struct mf_command command = {
        .op = op, .number = 1, .limit = 1000, .items = &item, .item_count = 1};
    mf_command_encode(&command, body);
}

// A txn that takes the left key away, writes the right one, and fails.
static void add_failing_txn(struct mf_buf *batch)
{
    struct mf_buf body = {0};
    mf_txn_part_end(&body, mf_txn_part_begin(&body), 0);
    size_t part = mf_txn_part_begin(&body);
    put_inner(&body, MF_OP_GETDEL, "left", "");
    put_inner(&body, MF_OP_SET, "right", "x");
    put_inner(&body, MF_OP_INCR, "right", "");
    mf_txn_part_end(&body, part, 3);
    mf_txn_part_end(&body, mf_txn_part_begin(&body), 0);
    struct mf_command txn = {.op = MF_OP_TXN, .limit = 1000, .body = mf_buf_view(&body)};
    mf_batch_add(batch, &txn);
    mf_buf_free(&body);
}

// One entry: all of it, or nothing of it, is what a reader may see.
static void apply_entry(struct fixture *f, uint64_t entry)
{
    struct mf_buf number = {0};
    put_number(&number, entry);
    mf_buf_clear(&f->batch, SIZE_MAX);
    mf_batch_begin(&f->batch, entry);
    struct mf_command command = {.op = MF_OP_EXPIRE_DUE, .limit = 1000};
    mf_batch_add(&f->batch, &command);
    command = (struct mf_command){.op = MF_OP_FLUSH};
    if (entry % 16 == 0)
        mf_batch_add(&f->batch, &command);
    struct mf_item pair[2] = {{.key = mf_bytes_str("left"), .value = mf_buf_view(&number)},
                              {.key = mf_bytes_str("right"), .value = mf_buf_view(&number)}};
    command = (struct mf_command){.op = MF_OP_MSET, .items = pair, .item_count = 2};
    mf_batch_add(&f->batch, &command);
    add_failing_txn(&f->batch);
    add_crowd(&f->batch, entry);
    f->now_us += 1000;
    assert_int_equal(
        mf_shard_apply(f->shard, ++f->index, f->now_us, mf_buf_view(&f->batch), NULL, NULL), MF_OK);
    mf_shard_reclaim(f->shard);
    mf_buf_free(&number);
}

// True when the read was answered by one or two numbers.
static bool read_numbers(struct shared *shared, struct mf_map_reader *reader,
                         const struct mf_command *command, struct mf_buf *out, uint64_t *numbers)
{
    mf_buf_clear(out, SIZE_MAX);
    enum mf_err err = mf_shard_read_shared(shared->shard, reader, command, 0, out);
    if (err == MF_AGAIN && out->len == 0)
        return false;
    struct mf_reader at = mf_reader_of(mf_buf_view(out));
    struct mf_result result;
    bool fine = err == MF_OK && mf_result_decode(&at, &result) == MF_OK;
    if (fine && (result.kind == MF_RESULT_LIST || result.kind == MF_RESULT_TXN))
        at = mf_reader_of(result.value);
    else if (fine)
        at = mf_reader_of(mf_buf_view(out));
    uint32_t count = command->op == MF_OP_TXN_READ ? 2 : command->item_count;
    for (uint32_t i = 0; i < count && fine; i++) {
        fine = mf_result_decode(&at, &result) == MF_OK && result.kind == MF_RESULT_BYTES;
        numbers[i] = fine ? number_of(result.value) : 0;
    }
    if (!fine)
        atomic_fetch_add(&shared->broken, 1);
    return fine;
}

static void *read_all_the_time(void *arg)
{
    struct shared *shared = arg;
    struct mf_map_reader *reader = mf_map_reader_new(mf_shard_map(shared->shard));
    struct mf_item pair[2] = {{.key = mf_bytes_str("left")}, {.key = mf_bytes_str("right")}};
    struct mf_buf body = {0};
    for (int i = 0; i < 3; i++) {
        size_t part = mf_txn_part_begin(&body);
        if (i == 1) {
            put_inner(&body, MF_OP_GET, "left", "");
            put_inner(&body, MF_OP_GET, "right", "");
        }
        mf_txn_part_end(&body, part, i == 1 ? 2 : 0);
    }
    const struct mf_command commands[] = {
        {.op = MF_OP_TXN_READ, .limit = 1000, .body = mf_buf_view(&body)},
        {.op = MF_OP_MGET, .items = pair, .item_count = 2},
        {.op = MF_OP_GET, .items = &pair[0], .item_count = 1},
        {.op = MF_OP_GET, .items = &pair[1], .item_count = 1},
    };
    struct mf_buf out = {0};
    uint64_t newest = 1;
    unsigned answered = 0;
    for (unsigned i = 0; !atomic_load(&shared->stop); i++) {
        uint64_t told = atomic_load(&shared->told);
        uint64_t numbers[2] = {0};
        if (!read_numbers(shared, reader, &commands[i % 4], &out, numbers))
            continue;
        if (i % 4 < 2 && numbers[0] != numbers[1])
            atomic_fetch_add(&shared->halves, 1);
        if (numbers[0] < told || numbers[0] < newest) // of either key: they change at once
            atomic_fetch_add(&shared->returns, 1);
        newest = numbers[0];
        if (++answered == READS_MIN)
            atomic_fetch_add(&shared->done, 1);
    }
    mf_buf_free(&out);
    mf_buf_free(&body);
    mf_map_reader_free(reader);
    return NULL;
}

static void readers_see_all_of_an_entry_or_nothing_of_it(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct shared shared = {.shard = f->shard};
    apply_entry(f, 1);
    pthread_t threads[READERS];
    for (size_t i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_all_the_time, &shared), 0);
    for (uint64_t entry = 2; entry < 500 || atomic_load(&shared.done) < READERS; entry++) {
        apply_entry(f, entry);
        atomic_store(&shared.told, entry);
        // Let them read between two entries as well.
        for (int i = 0; i < 4; i++)
            sched_yield();
    }
    atomic_store(&shared.stop, true);
    for (size_t i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&shared.broken), 0);
    assert_int_equal(atomic_load(&shared.halves), 0);
    assert_int_equal(atomic_load(&shared.returns), 0);
    fixture_free(f);
}

// The same commands, answered by both ways from a state that stands still.
static void a_shared_read_answers_as_the_owner_does(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    apply(f, set("forever", "a"));
    apply(f, set_for("mortal", "b", 5000));
    struct mf_map_reader *reader = mf_map_reader_new(mf_shard_map(f->shard));
    struct mf_item items[3] = {{.key = mf_bytes_str("mortal")},
                               {.key = mf_bytes_str("none")},
                               {.key = mf_bytes_str("forever")}};
    const uint64_t times[] = {0, f->now_us + 1, f->now_us + 4999, f->now_us + 5000};
    const enum mf_opcode ops[] = {MF_OP_GET, MF_OP_MGET,   MF_OP_HAS,
                                  MF_OP_TTL, MF_OP_STRLEN, MF_OP_GETRANGE};
    for (size_t i = 0; i < 6 * 4 * 3 * 2; i++) {
        enum mf_opcode op = ops[i % 6];
        bool list = op == MF_OP_MGET || op == MF_OP_HAS;
        struct mf_command command = {.op = op,
                                     .flags = i / 72 == 1 && op == MF_OP_GET ? MF_WITH_META : 0,
                                     .items = list ? items : &items[i / 24 % 3],
                                     .item_count = list ? 3 : 1};
        struct mf_buf owners = {0};
        struct mf_buf shared = {0};
        uint64_t at_us = times[i / 6 % 4];
        enum mf_err err = mf_shard_read(f->shard, &command, at_us, &owners);
        assert_int_equal(mf_shard_read_shared(f->shard, reader, &command, at_us, &shared), err);
        assert_true(mf_bytes_equal(mf_buf_view(&owners), mf_buf_view(&shared)));
        mf_buf_free(&owners);
        mf_buf_free(&shared);
    }
    mf_map_reader_free(reader);
    fixture_free(f);
}

static void a_death_that_no_entry_has_reached_is_not_told_by_a_shared_read(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    apply(f, set_for("mortal", "b", 5000));
    uint64_t dead_us = f->now_us + 5000;
    struct mf_map_reader *reader = mf_map_reader_new(mf_shard_map(f->shard));
    struct mf_item item = {.key = mf_bytes_str("mortal")};
    struct mf_command command = {.op = MF_OP_GET, .items = &item, .item_count = 1};
    struct mf_buf out = {0};
    assert_int_equal(mf_shard_read_shared(f->shard, reader, &command, dead_us, &out), MF_AGAIN);
    assert_int_equal(out.len, 0);
    f->now_us = dead_us;
    apply(f, set("another", "c"));
    assert_int_equal(mf_shard_read_shared(f->shard, reader, &command, 0, &out), MF_OK);
    assert_int_equal(decode_result(&out).kind, MF_RESULT_NIL);
    mf_buf_free(&out);
    mf_map_reader_free(reader);
    fixture_free(f);
}

struct undertaking {
    struct mf_shard *shard;
    struct mf_map_reader *reader;
    unsigned told;
};

// In the middle of EXPIRE_DUE.
static void read_all_while_one_dies(void *arg, const struct mf_event *event)
{
    struct undertaking *at = arg;
    if (event->event != MF_EVENT_EXPIRE)
        return;
    struct mf_item items[3] = {{.key = mf_bytes_str("twin-1")},
                               {.key = mf_bytes_str("twin-2")},
                               {.key = mf_bytes_str("other")}};
    const struct mf_command command = {.op = MF_OP_HAS, .items = items, .item_count = 3};
    struct mf_buf out = {0};
    assert_int_equal(mf_shard_read_shared(at->shard, at->reader, &command, 0, &out), MF_OK);
    struct mf_reader list = mf_reader_of(decode_result(&out).value);
    for (int i = 0; i < 3; i++) {
        struct mf_result result;
        assert_int_equal(mf_result_decode(&list, &result), MF_OK);
        assert_int_equal(result.integer, i == 2);
    }
    mf_buf_free(&out);
    at->told++;
}

static void reads_go_on_while_the_dead_are_taken_out_and_see_none_of_them(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct undertaking at = {.shard = f->shard,
                             .reader = mf_map_reader_new(mf_shard_map(f->shard))};
    apply(f, set_for("twin-1", "a", 5000));
    apply(f, set_for("twin-2", "a", 5000));
    apply(f, set("other", "b"));
    mf_shard_listen(f->shard, read_all_while_one_dies, &at);
    f->now_us += 10000;
    struct mf_command due = {.op = MF_OP_EXPIRE_DUE, .limit = 10};
    apply(f, due);
    assert_int_equal(at.told, 2);
    mf_map_reader_free(at.reader);
    fixture_free(f);
}

static void what_needs_more_than_the_map_is_refused(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct mf_map_reader *reader = mf_map_reader_new(mf_shard_map(f->shard));
    const enum mf_opcode ops[] = {MF_OP_SIZE, MF_OP_INDEX, MF_OP_SET, MF_OP_FLUSH, MF_OP_OBJECT};
    struct mf_item item = {.key = mf_bytes_str("key")};
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        struct mf_command command = {.op = ops[i], .items = &item, .item_count = 1};
        struct mf_buf out = {0};
        assert_int_equal(mf_shard_read_shared(f->shard, reader, &command, 0, &out), MF_BAD_REQUEST);
        assert_int_equal(out.len, 0);
    }
    mf_map_reader_free(reader);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shared_read_answers_as_the_owner_does),
        cmocka_unit_test(a_death_that_no_entry_has_reached_is_not_told_by_a_shared_read),
        cmocka_unit_test(reads_go_on_while_the_dead_are_taken_out_and_see_none_of_them),
        cmocka_unit_test(what_needs_more_than_the_map_is_refused),
        cmocka_unit_test(readers_see_all_of_an_entry_or_nothing_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
