// The embedded store's scan, and its way into a snapshot file and back.
#include <pthread.h>

#include "snapshot/reader.h"
#include "tests/unit/store_fixture.h"

#define MANY 5000u
#define FEW 800u

static void put_number(struct mayfly_store *store, unsigned number, int64_t ttl_ms)
{
    char key[16], value[32];
    snprintf(key, sizeof(key), "%u", number);
    snprintf(value, sizeof(value), "value %u", number);
    put(store, key, value, ttl_ms);
}

static void drop_number(struct mayfly_store *store, unsigned number)
{
    char text[16];
    snprintf(text, sizeof(text), "%u", number);
    struct mayfly_bytes key = mayfly_str(text);
    assert_int_equal(mayfly_store_del(store, &key, 1, NULL, NULL), MAYFLY_OK);
}

struct seen {
    unsigned times[MANY * 4];
    size_t in_step;
    int64_t ttl_ms;
};

static void see(void *cookie, struct mayfly_bytes key, struct mayfly_bytes value, uint64_t version,
                int64_t ttl_ms)
{
    struct seen *seen = cookie;
    char text[32];
    unsigned number = (unsigned)strtoul(key.data, NULL, 10); // the value's first byte ends it
    int len = snprintf(text, sizeof(text), "value %u", number);
    assert_true(number < MANY * 4 && version > 0);
    assert_int_equal(value.len, len);
    assert_memory_equal(value.data, text, value.len);
    assert_int_equal(ttl_ms, seen->ttl_ms);
    seen->times[number]++;
    seen->in_step++;
}

static void a_scan_visits_each_key_once_where_nothing_changes(void **state)
{
    (void)state;
    for (uint32_t shards = 1; shards <= 100; shards += 33) {
        struct mayfly_store *store = open_still(shards);
        struct seen *seen = calloc(1, sizeof(*seen));
        seen->ttl_ms = 776;
        for (unsigned i = 0; i < MANY; i++)
            put_number(store, i, i % 2 == 0 ? 777 : 1);
        pass_us(1000); // the odd ones are dead
        uint64_t cursor = 0;
        size_t steps = 0;
        do {
            seen->in_step = 0;
            assert_int_equal(mayfly_store_scan(store, &cursor, 50, see, seen), MAYFLY_OK);
            assert_true(seen->in_step <= 50 + 64); // and a bucket's rest
            steps++;
        } while (cursor != 0);
        assert_true(steps > MANY / 2 / 114);
        for (unsigned i = 0; i < MANY; i++)
            assert_int_equal(seen->times[i], i % 2 == 0);
        free(seen);
        close_whole(store);
    }
}

static void a_scan_misses_no_key_that_lives_while_the_store_grows_and_shrinks(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 6; seed++) {
        struct mayfly_store *store = open_still(1 + seed % 3);
        struct seen *seen = calloc(1, sizeof(*seen));
        seen->ttl_ms = -1;
        for (unsigned i = 0; i < FEW; i++)
            put_number(store, i, 0);
        // Keys over 50 come and go, so that the table has any size at any step.
        uint64_t cursor = 0;
        unsigned step = seed;
        do {
            assert_int_equal(mayfly_store_scan(store, &cursor, 10, see, seen), MAYFLY_OK);
            step++;
            for (unsigned i = 50; i < FEW * (1 + seed % 4) && step % 2 == 0; i++)
                drop_number(store, i);
            for (unsigned i = 50; i < FEW * (1 + step % 4) && step % 2 == 1; i++)
                put_number(store, i, 0);
        } while (cursor != 0 && step < 100);
        while (cursor != 0)
            assert_int_equal(mayfly_store_scan(store, &cursor, 1000, see, seen), MAYFLY_OK);
        for (unsigned i = 0; i < 50; i++)
            assert_true(seen->times[i] >= 1);
        free(seen);
        close_whole(store);
    }
}

static struct mayfly_store *dumped_and_loaded(struct mayfly_store *store, uint32_t shards,
                                              uint64_t down_us, uint64_t expected)
{
    char *path = new_path();
    char message[200] = "";
    assert_int_equal(mayfly_store_dump(store, path, message, sizeof(message)), MAYFLY_OK);
    pass_us(down_us);
    struct mayfly_store *loaded = open_still(shards);
    uint64_t count = 0;
    assert_int_equal(mayfly_store_load(loaded, path, &count, message, sizeof(message)), MAYFLY_OK);
    assert_int_equal(count, expected);
    remove_path(path);
    return loaded;
}

static void what_was_dumped_is_loaded_into_any_number_of_shards(void **state)
{
    (void)state;
    static const uint32_t shards[][2] = {{1, 1}, {16, 16}, {5, 64}, {64, 3}};
    for (size_t i = 0; i < 4; i++) {
        struct mayfly_store *store = open_still(shards[i][0]);
        for (unsigned n = 0; n < MANY; n++)
            put_number(store, n, n % 2 == 0 ? 0 : 10000);
        static char large[100000];
        memset(large, 'L', sizeof(large) - 1);
        uint64_t version = put(store, "large", large, 0);
        struct mayfly_store *loaded = dumped_and_loaded(store, shards[i][1], 0, MANY + 1);
        assert_int_equal(size_of(loaded), MANY + 1);
        assert_value(loaded, "0", "value 0");
        assert_value(loaded, "4999", "value 4999");
        assert_int_equal(ttl_left(loaded, "0"), -1);
        assert_int_equal(ttl_left(loaded, "1"), 10000);
        struct mayfly_store_value got;
        assert_int_equal(mayfly_store_get(loaded, mayfly_str("large"), &got), MAYFLY_OK);
        assert_true(got.found && got.version > version);
        assert_int_equal(got.value.len, sizeof(large) - 1);
        assert_memory_equal(got.value.data, large, got.value.len);
        assert_int_equal(mayfly_store_release(loaded, &got), MAYFLY_OK);
        close_whole(store);
        close_whole(loaded);
    }
}

static void the_time_between_dump_and_load_counts(void **state)
{
    (void)state;
    struct mayfly_store *store = open_still(3);
    put(store, "soon", "v", 1000);
    put(store, "later", "v", 60000);
    put(store, "never", "v", 0);
    pass_us(500000); // with no write since: the cut is now, not then
    char *path = new_path();
    assert_int_equal(mayfly_store_dump(store, path, NULL, 0), MAYFLY_OK);
    // The machine has started again: the monotonic clock began anew, the wall clock goes on.
    uint64_t mono_us = test_mono_us;
    test_mono_us = 5;
    struct mayfly_store *again = open_still(3);
    uint64_t count;
    assert_int_equal(mayfly_store_load(again, path, &count, NULL, 0), MAYFLY_OK);
    assert_int_equal(count, 3);
    assert_int_equal(ttl_left(again, "soon"), 500);
    close_whole(again);
    remove_path(path);
    test_mono_us = mono_us;
    struct mayfly_store *loaded = dumped_and_loaded(store, 4, 500000, 2);
    assert_null(value_of(loaded, "soon"));
    assert_int_equal(ttl_left(loaded, "later"), 59000);
    assert_int_equal(ttl_left(loaded, "never"), -1);
    close_whole(store);
    close_whole(loaded);
}

static void a_damaged_file_changes_nothing(void **state)
{
    (void)state;
    struct mayfly_store *store = open_still(2);
    for (unsigned i = 0; i < MANY; i++)
        put_number(store, i, 0);
    char *path = new_path();
    char message[300] = "";
    assert_int_equal(mayfly_store_dump(store, path, NULL, 0), MAYFLY_OK);
    close_whole(store);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    fseek(file, ftell(file) / 2, SEEK_SET);
    fputs("damaged", file);
    fclose(file);
    store = open_still(2);
    put(store, "mine", "v", 0);
    uint64_t loaded = 9;
    assert_int_equal(mayfly_store_load(store, path, &loaded, message, sizeof(message)),
                     MAYFLY_ERR_CORRUPT);
    assert_non_null(strstr(message, path));
    assert_int_equal(loaded, 0);
    assert_int_equal(size_of(store), 1);
    assert_int_equal(mayfly_store_load(store, "/nowhere/file", NULL, message, sizeof(message)),
                     MAYFLY_ERR_IO);
    assert_non_null(strstr(message, "/nowhere/file"));
    assert_int_equal(mayfly_store_dump(store, "/nowhere/file", message, sizeof(message)),
                     MAYFLY_ERR_IO);
    assert_non_null(strstr(message, "/nowhere/file"));
    remove_path(path);
    close_whole(store);
}

struct churn {
    struct mayfly_store *store;
    atomic_bool stop;
    _Atomic uint64_t rounds;
};

// Raises a pair of keys of one shard, the left one first, among others that come and go.
static void *churn(void *arg)
{
    struct churn *c = arg;
    for (unsigned i = 1; !atomic_load(&c->stop); i++) {
        char value[16];
        snprintf(value, sizeof(value), "%09u", i);
        put(c->store, "{pair}left", value, 0);
        put(c->store, "{pair}right", value, 0);
        put_number(c->store, i % 3000, 0);
        drop_number(c->store, i * 7 % 3000);
        atomic_store(&c->rounds, i);
    }
    return NULL;
}

static void a_dump_is_each_shards_state_at_one_moment(void **state)
{
    (void)state;
    struct churn c = {.store = open_still(2)};
    for (unsigned i = 3000; i < MANY; i++)
        put_number(c.store, i, 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, churn, &c), 0);
    char *path = new_path();
    for (int i = 0; i < 10; i++) {
        uint64_t before = atomic_load(&c.rounds);
        while (atomic_load(&c.rounds) < before + 10)
            continue;
        before = atomic_load(&c.rounds);
        assert_int_equal(mayfly_store_dump(c.store, path, NULL, 0), MAYFLY_OK);
        struct mayfly_store *loaded = open_still(3);
        assert_int_equal(mayfly_store_load(loaded, path, NULL, NULL, 0), MAYFLY_OK);
        uint64_t left = strtoull(value_of(loaded, "{pair}left"), NULL, 10);
        uint64_t right = strtoull(value_of(loaded, "{pair}right"), NULL, 10);
        assert_true(left >= before && (left == right || left == right + 1));
        assert_true(size_of(loaded) >= MANY - 3000 + 2);
        assert_value(loaded, "4999", "value 4999");
        close_whole(loaded);
    }
    atomic_store(&c.stop, true);
    pthread_join(thread, NULL);
    remove_path(path);
    assert_true(stats_of(c.store).waiting_bytes < 2 * (256 << 10));
    close_whole(c.store);
}

static void the_file_is_a_servers(void **state)
{
    (void)state;
    struct mayfly_store *store = open_still(4);
    for (unsigned i = 0; i < 100; i++)
        put_number(store, i, 1000);
    char *path = new_path();
    char message[200];
    assert_int_equal(mayfly_store_dump(store, path, NULL, 0), MAYFLY_OK);
    struct mf_snapshot_reader *reader;
    assert_int_equal(mf_snapshot_open(path, &reader, message, sizeof(message)), MF_OK);
    struct mf_snapshot_summary summary;
    mf_snapshot_summary(reader, &summary);
    assert_int_equal(summary.shard_count, 4);
    assert_int_equal(summary.keys, 100);
    assert_int_equal(mf_snapshot_verify(reader, message, sizeof(message)), MF_OK);
    for (uint32_t i = 0; i < 4; i++) {
        struct mf_shard *shard = mf_shard_new(i, 5);
        assert_int_equal(mf_snapshot_load(reader, i, shard, message, sizeof(message)), MF_OK);
        assert_true(mf_shard_valid(shard));
        assert_true(mf_shard_state_hash(shard) == mf_shard_state_hash(store->shards[i].state));
        mf_shard_free(shard);
    }
    mf_snapshot_close(reader);
    remove_path(path);
    close_whole(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_scan_visits_each_key_once_where_nothing_changes),
        cmocka_unit_test(a_scan_misses_no_key_that_lives_while_the_store_grows_and_shrinks),
        cmocka_unit_test(what_was_dumped_is_loaded_into_any_number_of_shards),
        cmocka_unit_test(the_time_between_dump_and_load_counts),
        cmocka_unit_test(a_damaged_file_changes_nothing),
        cmocka_unit_test(a_dump_is_each_shards_state_at_one_moment),
        cmocka_unit_test(the_file_is_a_servers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
