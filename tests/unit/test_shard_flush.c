// A flush, alone and in the middle of a walk: what it hands out, what it leaves, and how much is
// done at a time.
#include "tests/unit/shard_fixture.h"

#include <stdio.h>

#include "shards/map.h"

#define KEYS 20000
// What one reclaim may free, about: see STEP_WORK in flush.c. What the epoch gives back may be that
// of a few steps.
#define FREED_MAX 4096

static void apply_batch(struct fixture *f)
{
    assert_int_equal(
        mf_shard_apply(f->shard, ++f->index, f->now_us, mf_buf_view(&f->batch), NULL, NULL), MF_OK);
}

// Sets keys `from` to `end` in one entry: every third has a TTL.
static void set_many(struct fixture *f, uint64_t from, uint64_t end, const char *value)
{
    mf_buf_clear(&f->batch, SIZE_MAX);
    mf_batch_begin(&f->batch, 1);
    for (uint64_t i = from; i < end; i++) {
        char key[24];
        snprintf(key, sizeof(key), "key:%llu", (unsigned long long)i);
        struct mf_command command =
            i % 3 == 0 ? set_for(key, value, 1000000000 + (int64_t)i) : set(key, value);
        command.items = &command.one;
        mf_batch_add(&f->batch, &command);
    }
    apply_batch(f);
}

static int64_t flush(struct fixture *f)
{
    return apply(f, (struct mf_command){.op = MF_OP_FLUSH}).integer;
}

static struct mf_shard_memory memory_of(const struct fixture *f)
{
    struct mf_shard_memory memory;
    mf_shard_memory(f->shard, &memory);
    return memory;
}

// A walk whose records are loaded into a shard of their own, which refuses what comes twice.
struct cut {
    struct mf_shard *copy;
    struct mf_shard_meta meta;
    uint64_t state_hash;
    uint64_t records;
};

static void take(void *arg, const struct mf_record *record)
{
    struct cut *cut = arg;
    cut->records++;
    assert_int_equal(mf_shard_load(cut->copy, record), MF_OK);
}

static void begin(struct cut *cut, struct fixture *f)
{
    *cut = (struct cut){.copy = mf_shard_new(1, 5), .state_hash = mf_shard_state_hash(f->shard)};
    mf_shard_load_begin(cut->copy);
    assert_int_equal(mf_shard_walk_begin(f->shard, &cut->meta, take, cut), MF_OK);
}

static void assert_exact(struct cut *cut)
{
    assert_int_equal(cut->records, cut->meta.keys + cut->meta.ids);
    assert_int_equal(mf_shard_load_end(cut->copy, &cut->meta), MF_OK);
    assert_true(mf_shard_state_hash(cut->copy) == cut->state_hash);
    assert_true(mf_shard_valid(cut->copy));
    mf_shard_free(cut->copy);
}

static void remember_ids(struct fixture *f, int from, int end)
{
    for (int i = from; i < end; i++) {
        char id[16];
        snprintf(id, sizeof(id), "id:%d", i);
        apply(f, with_id(set("by-id", id), id));
    }
}

static void a_flush_hands_a_walk_nothing_and_the_walk_goes_on_in_its_steps(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct cut cut;
    set_many(f, 0, KEYS, "value");
    begin(&cut, f);
    mf_shard_walk_step(f->shard, 100);
    uint64_t before = cut.records;
    assert_in_range(before, 100, 200);
    assert_int_equal(flush(f), KEYS);
    assert_int_equal(cut.records, before);
    mf_shard_reclaim(f->shard);
    assert_int_equal(cut.records, before);
    while (mf_shard_walk_step(f->shard, 100)) {
        assert_in_range(cut.records - before, 0, 200);
        before = cut.records;
    }
    assert_exact(&cut);
    fixture_free(f);
}

static void a_cut_is_exact_whatever_is_flushed_written_and_flushed_meanwhile(void **state)
{
    (void)state;
    // Where in the walk the first flush and the second come.
    static const struct {
        size_t first;
        size_t second;
    } cases[] = {{0, 0}, {0, 300}, {700, 0}, {700, 5000}, {KEYS - 100, 50}, {KEYS + 50, 20}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture *f = fixture_new();
        struct cut cut;
        struct cut next;
        set_many(f, 0, KEYS, "old");
        remember_ids(f, 0, 200);
        begin(&cut, f);
        if (cases[i].first > 0)
            mf_shard_walk_step(f->shard, cases[i].first);
        set_many(f, 0, KEYS / 10, "changed ahead of the walk");
        assert_int_equal(flush(f), KEYS + 1);
        remember_ids(f, 150, 300); // known ones too, which have no effect
        set_many(f, KEYS / 2, KEYS, "new");
        if (cases[i].second > 0)
            mf_shard_walk_step(f->shard, cases[i].second);
        assert_in_range(flush(f), KEYS / 2, KEYS / 2 + 1);
        set_many(f, 0, 500, "newest");
        f->now_us += MF_ID_TTL_US; // the ids go
        apply(f, (struct mf_command){.op = MF_OP_EXPIRE_DUE, .limit = 100});
        while (mf_shard_walk_step(f->shard, 500))
            mf_shard_reclaim(f->shard);
        assert_exact(&cut);
        // All parities are one again.
        begin(&next, f);
        while (mf_shard_walk_step(f->shard, 500))
            continue;
        assert_exact(&next);
        fixture_free(f);
    }
}

static void a_walk_that_ends_early_leaves_what_was_flushed_to_be_freed(void **state)
{
    (void)state;
    for (int when = 0; when < 3; when++) {
        struct fixture *f = fixture_new();
        struct cut cut;
        set_many(f, 0, KEYS, "value");
        remember_ids(f, 0, 50);
        begin(&cut, f);
        mf_shard_walk_step(f->shard, 300);
        if (when == 0)
            mf_shard_walk_end(f->shard);
        flush(f);
        if (when == 1)
            mf_shard_walk_step(f->shard, 300);
        if (when != 0)
            mf_shard_walk_end(f->shard);
        mf_shard_free(cut.copy);
        set_many(f, 0, 1000, "after");
        while (mf_shard_littered(f->shard))
            mf_shard_reclaim(f->shard);
        for (int turn = 0; turn < 5; turn++)
            mf_shard_reclaim(f->shard);
        assert_int_equal(memory_of(f).waiting_bytes, 0);
        begin(&cut, f);
        while (mf_shard_walk_step(f->shard, 100))
            continue;
        assert_exact(&cut);
        fixture_free(f);
    }
}

static void what_a_flush_leaves_is_freed_in_bounded_steps(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    const uint64_t empty = memory_of(f).bytes;
    set_many(f, 0, KEYS, "value");
    mf_shard_reclaim(f->shard);
    const struct mf_shard_memory full = memory_of(f);
    uint64_t entry_bytes = full.key_bytes / full.keys;
    assert_int_equal(flush(f), KEYS);
    // Out of the state at once, and all of it still there.
    assert_int_equal(memory_of(f).bytes, empty);
    uint64_t waiting = memory_of(f).waiting_bytes;
    assert_in_range(waiting, full.bytes - empty, full.bytes);
    unsigned steps = 0;
    for (; mf_shard_littered(f->shard); steps++) {
        mf_shard_reclaim(f->shard);
        uint64_t left = memory_of(f).waiting_bytes;
        // With the last entries goes the table, which is counted as a whole.
        uint64_t freed_max = FREED_MAX * entry_bytes + full.table_bytes;
        assert_in_range(waiting - left, 0, freed_max);
        waiting = left;
    }
    assert_in_range(steps, KEYS / FREED_MAX, KEYS / 64);
    for (int turn = 0; turn < 5; turn++)
        mf_shard_reclaim(f->shard);
    assert_int_equal(memory_of(f).waiting_bytes, 0);
    fixture_free(f);
}

static void flushes_leave_no_more_than_is_freed_however_many_there_are(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    set_many(f, 0, 2000, "value");
    const uint64_t full = memory_of(f).bytes;
    flush(f);
    // One reclaim for a large entry, and entries that only flush a key.
    for (int round = 0; round < 200; round++) {
        set_many(f, 0, 2000, "value");
        flush(f);
        for (int i = 0; i < 100; i++) {
            apply(f, set("k", "v"));
            flush(f);
        }
        mf_shard_reclaim(f->shard);
        assert_in_range(memory_of(f).waiting_bytes, 0, 5 * full);
    }
    fixture_free(f);
}

static void a_shard_that_is_freed_takes_what_was_flushed_with_it(void **state)
{
    (void)state;
    for (int walked = 0; walked < 2; walked++) {
        struct fixture *f = fixture_new();
        struct cut cut = {0};
        set_many(f, 0, KEYS, "value");
        if (walked == 1)
            begin(&cut, f);
        flush(f);
        set_many(f, 0, 100, "value");
        flush(f);
        fixture_free(f); // the sanitizer tells
        mf_shard_free(cut.copy);
    }
}

static void a_seed_that_comes_while_a_walk_goes_on_loses_no_record(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct cut cut;
    set_many(f, 0, KEYS, "value");
    begin(&cut, f);
    mf_shard_walk_step(f->shard, KEYS / 2);
    apply(f, (struct mf_command){.op = MF_OP_SEED, .number = 77});
    while (mf_shard_walk_step(f->shard, 500))
        continue;
    assert_exact(&cut);
    fixture_free(f);
}

struct told {
    struct fixture *f;
    uint64_t version;
    uint64_t events[MF_EVENT_FLUSH + 1];
    uint64_t found; // of the keys that were asked for
};

static void count_told(void *arg, const struct mf_event *event)
{
    struct told *told = arg;
    told->events[event->event]++;
    told->version = event->version;
    if (event->event != MF_EVENT_FLUSH)
        return;
    assert_int_equal(event->key.len, 0);
    enum mf_change_event what;
    assert_false(mf_shard_flushed(told->f->shard, mf_bytes_str("absent"), &what));
    assert_true(mf_shard_flushed(told->f->shard, mf_bytes_str("key:1"), &what));
    assert_int_equal(what, MF_EVENT_DEL);
    assert_true(mf_shard_flushed(told->f->shard, mf_bytes_str("dead"), &what));
    assert_int_equal(what, MF_EVENT_EXPIRE);
}

static void a_flush_of_many_keys_is_told_as_one_and_of_few_key_by_key(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    static char long_key[60001];
    memset(long_key, 'k', sizeof(long_key) - 1);
    struct told told = {.f = f};
    mf_shard_listen(f->shard, count_told, &told);
    set_many(f, 0, 4095, "value");
    apply(f, set_for("dead", "v", 5));
    told = (struct told){.f = f};
    f->now_us += 5;
    assert_int_equal(flush(f), 4095);
    assert_int_equal(told.events[MF_EVENT_DEL], 4095);
    assert_int_equal(told.events[MF_EVENT_EXPIRE], 1);
    assert_int_equal(told.events[MF_EVENT_FLUSH], 0);
    assert_int_equal(told.version, version_of(f));
    for (int by_bytes = 0; by_bytes < 2; by_bytes++) {
        set_many(f, 0, by_bytes ? 10 : 4096, "value");
        apply(f, set_for("dead", "v", 5));
        for (int i = 0; by_bytes && i < 18; i++) {
            long_key[0] = (char)('a' + i);
            apply(f, set(long_key, "v"));
        }
        told = (struct told){.f = f};
        f->now_us += 5;
        assert_int_equal(flush(f), by_bytes ? 28 : 4096);
        assert_int_equal(told.events[MF_EVENT_FLUSH], 1);
        assert_int_equal(told.events[MF_EVENT_DEL] + told.events[MF_EVENT_EXPIRE], 0);
        assert_int_equal(told.version, version_of(f));
    }
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flush_hands_a_walk_nothing_and_the_walk_goes_on_in_its_steps),
        cmocka_unit_test(a_cut_is_exact_whatever_is_flushed_written_and_flushed_meanwhile),
        cmocka_unit_test(a_walk_that_ends_early_leaves_what_was_flushed_to_be_freed),
        cmocka_unit_test(what_a_flush_leaves_is_freed_in_bounded_steps),
        cmocka_unit_test(flushes_leave_no_more_than_is_freed_however_many_there_are),
        cmocka_unit_test(a_shard_that_is_freed_takes_what_was_flushed_with_it),
        cmocka_unit_test(a_seed_that_comes_while_a_walk_goes_on_loses_no_record),
        cmocka_unit_test(a_flush_of_many_keys_is_told_as_one_and_of_few_key_by_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
