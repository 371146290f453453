// Memory figures, the choice of what to evict, and the events of changes.
#include "shard_fixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef MF_HAVE_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif

#include "base/rand.h"
#include "shards/evict.h"
#include "shards/map.h"

#define SECOND INT64_C(1000000)

static void the_sizes_that_are_counted_are_the_allocators(void **state)
{
    (void)state;
    for (size_t size = 1; size < 100000; size++) {
        assert_true(mf_alloc_bytes(size) >= size && mf_alloc_bytes(size) <= size + size / 4 + 15);
        assert_int_equal(mf_alloc_bytes(mf_alloc_bytes(size)), mf_alloc_bytes(size));
    }
#ifdef MF_HAVE_JEMALLOC
    for (size_t size = 1; size < 100000; size++)
        assert_int_equal(mf_alloc_bytes(size), nallocx(size, 0));
    for (size_t size = 100000; size < 1000000000; size += size / 7)
        assert_int_equal(mf_alloc_bytes(size), nallocx(size, 0));
#endif
}

static const char *name_of(uint64_t number, char name[24])
{
    snprintf(name, 24, "key:%010" PRIu64, number);
    return name;
}

static struct mf_shard_memory memory_of(struct fixture *f)
{
    struct mf_shard_memory memory;
    mf_shard_reclaim(f->shard);
    mf_shard_memory(f->shard, &memory);
    return memory;
}

static void every_byte_of_a_shard_is_counted_and_given_back(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    const struct mf_shard_memory empty = memory_of(f);
    char name[24];
    for (uint64_t i = 0; i < 5000; i++)
        apply(f, set(name_of(i, name), "0123456789abcdef0123456789abcdef"));
    for (uint64_t i = 0; i < 1000; i++)
        apply(f, with_id(expire(name_of(i, name), 60 * SECOND, 0), name_of(i, name)));
    struct mf_shard_memory full = memory_of(f);
    assert_int_equal(full.keys, 5000);
    assert_int_equal(full.ids, 1000);
    assert_int_equal(full.key_bytes, 5000 * 64);
    assert_in_range(full.table_bytes, 5000 / 7 * 64, 5000 / 4 * 64 + 4096);
    assert_in_range(full.heap_bytes, 1000 * 8, 1000 * 8 + 8192);
    assert_in_range(full.id_bytes, 1000 * (48 + 8), 1000 * (48 + 8 + 16) + 16384);
    assert_int_equal(full.bytes,
                     full.key_bytes + full.table_bytes + full.heap_bytes + full.id_bytes);
    apply(f, (struct mf_command){.op = MF_OP_FLUSH});
    f->now_us += MF_ID_TTL_US;
    apply(f, (struct mf_command){.op = MF_OP_EXPIRE_DUE, .limit = 10000});
    struct mf_shard_memory after = memory_of(f);
    assert_int_equal(after.keys + after.ids + after.key_bytes, 0);
    assert_in_range(after.bytes, empty.bytes, empty.bytes + 8192);
    fixture_free(f);
}

static void a_ttl_rewritten_a_million_times_leaves_one_heap_node(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    apply(f, set("quiet", "1"));
    apply(f, set_for("session", "1", SECOND));
    const struct mf_shard_memory before = memory_of(f);
    for (int i = 0; i < 1000000; i++) {
        f->now_us++;
        apply(f, i % 2 == 0 ? expire("session", SECOND + i % 1000, 0)
                            : set_for("session", "2", SECOND + i % 1000));
    }
    const struct mf_shard_memory after = memory_of(f);
    assert_int_equal(after.heap_bytes, before.heap_bytes);
    assert_int_equal(after.bytes, before.bytes);
    assert_int_equal(apply(f, (struct mf_command){.op = MF_OP_EXPIRE_DUE, .limit = 10}).integer, 0);
    f->now_us += 2 * SECOND;
    assert_int_equal(apply(f, (struct mf_command){.op = MF_OP_EXPIRE_DUE, .limit = 10}).integer, 1);
    assert_true(mf_shard_next_deadline(f->shard) == MF_NO_DEADLINE);
    fixture_free(f);
}

// Proposes and applies what the shard chooses.
static int64_t evict(struct fixture *f, uint64_t bytes, uint64_t random)
{
    static struct mf_victims victims;
    mf_shard_choose_victims(f->shard, bytes, random, &victims);
    return victims.command.item_count == 0 ? 0 : apply(f, victims.command).integer;
}

static void eviction_by_ttl_takes_what_dies_next_and_nothing_without_a_ttl(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    mf_shard_set_eviction(f->shard, MF_EVICT_VOLATILE_TTL);
    apply(f, set("forever", "1"));
    apply(f, with_id(set_for("late", "1", 900 * SECOND), "an id dies before late does"));
    apply(f, set_for("soon", "1", 20 * SECOND));
    apply(f, set_for("next", "1", 10 * SECOND));
    assert_int_equal(mf_shard_evictable(f->shard), 3);
    assert_int_equal(evict(f, 1, 0), 1);
    assert_value(f, "next", NULL);
    assert_value(f, "soon", "1");
    assert_int_equal(evict(f, 1 << 20, 0), 2);
    assert_value(f, "soon", NULL);
    assert_value(f, "late", NULL);
    assert_value(f, "forever", "1");
    assert_int_equal(mf_shard_evictable(f->shard), 0);
    assert_int_equal(evict(f, 1 << 20, 0), 0);
    struct mf_shard_counters counters;
    mf_shard_counters(f->shard, &counters);
    assert_int_equal(counters.evicted, 3);
    assert_int_equal(counters.expired, 0);
    fixture_free(f);
}

static void a_key_that_changed_since_it_was_chosen_stays(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    static struct mf_victims victims;
    mf_shard_set_eviction(f->shard, MF_EVICT_VOLATILE_TTL);
    apply(f, set_for("a", "1", 10 * SECOND));
    apply(f, set_for("b", "1", 20 * SECOND));
    mf_shard_choose_victims(f->shard, 1 << 20, 0, &victims);
    assert_int_equal(victims.command.item_count, 2);
    struct mf_buf entry = {0};
    mf_batch_begin(&entry, 1);
    mf_batch_add(&entry, &victims.command);
    apply(f, set_for("a", "2", 10 * SECOND));
    assert_int_equal(
        mf_shard_apply(f->shard, ++f->index, f->now_us, mf_buf_view(&entry), keep_result, f),
        MF_OK);
    assert_int_equal(decode_result(&f->result).integer, 1);
    assert_value(f, "a", "2");
    assert_value(f, "b", NULL);
    mf_buf_free(&entry);
    fixture_free(f);
}

#define KEYS UINT64_C(4000)
#define HOT UINT64_C(800)

static void use_hot_keys(struct fixture *f, struct mf_map_reader *reader)
{
    char name[24];
    struct mf_buf out = {0};
    for (uint64_t i = 0; i < HOT; i++) {
        struct mf_command get = one(MF_OP_GET, name_of(i, name));
        get.items = &get.one;
        mf_buf_clear(&out, SIZE_MAX);
        // Half of them by the owner, half as other threads read.
        enum mf_err err = i % 2 == 0
                              ? mf_shard_read(f->shard, &get, f->now_us, &out)
                              : mf_shard_read_shared(f->shard, reader, &get, f->now_us, &out);
        assert_int_equal(err, MF_OK);
    }
    mf_buf_free(&out);
}

static void eviction_by_use_keeps_what_is_read(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    mf_shard_set_eviction(f->shard, MF_EVICT_ALLKEYS_LRU);
    struct mf_map_reader *reader = mf_map_reader_new(mf_shard_map(f->shard));
    struct mf_rand rand = {.state = 7};
    char name[24];
    // The hot ones are the oldest by insertion. The table turns over five times.
    for (uint64_t i = 0; i < KEYS * 5; i++) {
        apply(f, set(name_of(i, name), "value"));
        if (i % 200 == 0 && i > HOT)
            use_hot_keys(f, reader);
        if (mf_shard_keys(f->shard) > KEYS)
            evict(f, 48 * 20, mf_rand_next(&rand));
    }
    assert_in_range(mf_shard_keys(f->shard), KEYS - 100, KEYS);
    uint64_t kept = 0;
    for (uint64_t i = 0; i < HOT; i++)
        kept += read_one(f, one(MF_OP_GET, name_of(i, name))).kind == MF_RESULT_BYTES;
    assert_in_range(kept, HOT * 95 / 100, HOT);
    mf_map_reader_free(reader);
    fixture_free(f);
}

static void what_is_chosen_is_bounded_however_much_is_wanted(void **state)
{
    (void)state;
    static struct mf_victims victims;
    static const enum mf_eviction policies[] = {MF_EVICT_VOLATILE_TTL, MF_EVICT_ALLKEYS_LRU};
    struct fixture *f = fixture_new();
    char name[24];
    for (uint64_t i = 0; i < 2000; i++)
        apply(f, set_for(name_of(i, name), "value", 10 * SECOND));
    for (size_t i = 0; i < 2; i++) {
        mf_shard_set_eviction(f->shard, policies[i]);
        mf_shard_choose_victims(f->shard, UINT64_MAX, 5, &victims);
        assert_int_equal(victims.command.item_count, MF_VICTIMS_MAX);
        mf_shard_choose_victims(f->shard, 100, 5, &victims);
        assert_in_range(victims.bytes, 100, 200);
    }
    apply(f, (struct mf_command){.op = MF_OP_FLUSH});
    mf_shard_choose_victims(f->shard, UINT64_MAX, 5, &victims);
    assert_int_equal(victims.command.item_count, 0);
    fixture_free(f);
}

static void note_event(void *arg, const struct mf_event *event)
{
    struct mf_buf *story = arg;
    struct mf_bytes key = event->key;
    struct mf_bytes value = event->value;
    char text[200];
    int len =
        snprintf(text, sizeof(text), "%s %.*s %llu %.*s\n", mf_change_event_name(event->event),
                 (int)key.len, (const char *)key.data, (unsigned long long)event->version,
                 (int)value.len, value.len > 0 ? (const char *)value.data : "");
    mf_buf_put(story, text, (size_t)len);
}

static void each_change_of_a_key_is_told_with_its_version(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct mf_buf story = {0};
    apply(f, set("before", "1"));
    mf_shard_listen(f->shard, note_event, &story);
    apply(f, set("a", "1"));                                           // 2
    apply(f, with_id(set_for("b", "2", 10 * SECOND), "id"));           // 3, the id 4
    apply(f, with_id(set_for("b", "2", 10 * SECOND), "id"));           // nothing
    apply(f, expire("a", 5 * SECOND, 0));                              // 5, of the TTL alone
    apply(f, one(MF_OP_PERSIST, "b"));                                 // 6
    apply(f, one(MF_OP_DEL, "b"));                                     // 7
    apply(f, one(MF_OP_DEL, "none"));                                  // nothing
    f->now_us += 5 * SECOND;                                           //
    apply(f, (struct mf_command){.op = MF_OP_EXPIRE_DUE, .limit = 9}); // 8
    apply(f, set_for("c", "3", SECOND));                               // 9
    f->now_us += SECOND;                                               //
    apply(f, set("c", "4"));                                           // 10: it was dead; 11
    apply(f, set_for("d", "5", SECOND));                               // 12
    mf_shard_set_eviction(f->shard, MF_EVICT_VOLATILE_TTL);
    assert_int_equal(evict(f, 1, 0), 1);              // 13
    apply(f, one(MF_OP_DEL, "before"));               // 14
    apply(f, expire("c", 0, 0));                      // 15
    apply(f, set("e", ""));                           // 16
    apply(f, (struct mf_command){.op = MF_OP_FLUSH}); // 17
    mf_shard_listen(f->shard, NULL, NULL);
    apply(f, set("after", "1"));
    mf_buf_u8(&story, 0);
    assert_string_equal((const char *)story.data, "set a 2 1\n"
                                                  "set b 3 2\n"
                                                  "del b 7 \n"
                                                  "expire a 8 \n"
                                                  "set c 9 3\n"
                                                  "expire c 10 \n"
                                                  "set c 11 4\n"
                                                  "set d 12 5\n"
                                                  "evict d 13 \n"
                                                  "del before 14 \n"
                                                  "del c 15 \n"
                                                  "set e 16 \n"
                                                  "del e 17 \n");
    mf_buf_free(&story);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sizes_that_are_counted_are_the_allocators),
        cmocka_unit_test(every_byte_of_a_shard_is_counted_and_given_back),
        cmocka_unit_test(a_ttl_rewritten_a_million_times_leaves_one_heap_node),
        cmocka_unit_test(eviction_by_ttl_takes_what_dies_next_and_nothing_without_a_ttl),
        cmocka_unit_test(a_key_that_changed_since_it_was_chosen_stays),
        cmocka_unit_test(eviction_by_use_keeps_what_is_read),
        cmocka_unit_test(what_is_chosen_is_bounded_however_much_is_wanted),
        cmocka_unit_test(each_change_of_a_key_is_told_with_its_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
