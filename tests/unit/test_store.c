// The embedded store through its public functions, on a clock that the tests set.
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/unit/store_fixture.h"

static void a_key_is_read_back_with_its_version_and_ttl(void **state)
{
    (void)state;
    struct mayfly_store *store = open_still(4);
    uint64_t version = put(store, "k", "value", 1500);
    struct mayfly_store_value got;
    assert_int_equal(mayfly_store_get(store, mayfly_str("k"), &got), MAYFLY_OK);
    assert_true(got.found);
    assert_int_equal(got.value.len, 5);
    assert_memory_equal(got.value.data, "value", 5);
    assert_true(got.version == version && version > 0);
    assert_int_equal(got.ttl_ms, 1500);
    assert_int_equal(mayfly_store_release(store, &got), MAYFLY_OK);
    assert_false(got.found);
    assert_null(value_of(store, "other"));
    assert_int_equal(ttl_left(store, "other"), -2);
    put(store, "k", "", 0);
    assert_int_equal(ttl_left(store, "k"), -1);
    assert_value(store, "k", "");
    close_whole(store);
}

static void a_key_dies_at_its_deadline_and_not_before(void **state)
{
    (void)state;
    struct mayfly_store *store = open_still(4);
    put(store, "k", "v", 1000);
    pass_us(999999);
    assert_value(store, "k", "v");
    assert_int_equal(ttl_left(store, "k"), 1); // rounded up
    assert_int_equal(size_of(store), 1);
    pass_us(1);
    assert_null(value_of(store, "k"));
    assert_int_equal(ttl_left(store, "k"), -2);
    assert_int_equal(size_of(store), 0);
    struct mayfly_bytes key = mayfly_str("k");
    bool there = true;
    assert_int_equal(mayfly_store_has(store, &key, 1, &there), MAYFLY_OK);
    assert_false(there);
    uint64_t deleted = 9;
    assert_int_equal(mayfly_store_del(store, &key, 1, NULL, &deleted), MAYFLY_OK);
    assert_int_equal(deleted, 0);
    close_whole(store);
}

static void conditions_hold_or_nothing_changes(void **state)
{
    (void)state;
    struct mayfly_store *store = open_still(4);
    uint64_t version = put(store, "there", "old", 5000);
    const struct {
        const char *key;
        unsigned flags;
        uint64_t if_version;
        bool written;
    } cases[] = {
        {"there", MAYFLY_FLAG_NX, 0, false},
        {"absent", MAYFLY_FLAG_XX, 0, false},
        {"there", MAYFLY_FLAG_IF_VERSION, version + 1, false},
        {"there", MAYFLY_FLAG_IF_VERSION, 0, false},
        {"absent", MAYFLY_FLAG_IF_VERSION, 7, false},
        {"there", MAYFLY_FLAG_IF_VERSION | MAYFLY_FLAG_KEEP_TTL, version, true},
        {"there", MAYFLY_FLAG_XX | MAYFLY_FLAG_KEEP_TTL, 0, true},
        {"new", MAYFLY_FLAG_NX, 0, true},
        {"newer", MAYFLY_FLAG_IF_VERSION, 0, true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mayfly_options options = {.flags = cases[i].flags,
                                         .if_version = cases[i].if_version};
        struct mayfly_written written;
        assert_int_equal(mayfly_store_set(store, mayfly_str(cases[i].key), mayfly_str("new"),
                                          &options, &written),
                         MAYFLY_OK);
        assert_int_equal(written.written, cases[i].written);
        assert_int_equal(written.version != 0, cases[i].written);
        const char *value = value_of(store, cases[i].key);
        if (cases[i].written)
            assert_string_equal(value, "new");
        else if (value != NULL)
            assert_string_equal(value, "old");
    }
    assert_int_equal(ttl_left(store, "there"), 5000);
    struct mayfly_options options = {.flags = MAYFLY_FLAG_IF_VERSION, .if_version = version};
    struct mayfly_bytes key = mayfly_str("there");
    uint64_t deleted;
    assert_int_equal(mayfly_store_del(store, &key, 1, &options, &deleted), MAYFLY_OK);
    assert_int_equal(deleted, 0);
    close_whole(store);
}

static void what_means_nothing_is_refused(void **state)
{
    (void)state;
    struct mayfly_store *store = open_still(1);
    static const struct mayfly_options cases[] = {
        {.flags = MAYFLY_FLAG_TTL},
        {.flags = MAYFLY_FLAG_TTL, .ttl_ms = -1},
        {.flags = MAYFLY_FLAG_TTL, .ttl_ms = MAYFLY_TTL_MS_MAX + 1},
        {.ttl_ms = 5},
        {.expire_at_ms = 5},
        {.if_version = 5},
        {.id = {"id", 2}},
        {.flags = MAYFLY_FLAG_NX | MAYFLY_FLAG_XX},
        {.flags = MAYFLY_FLAG_TTL | MAYFLY_FLAG_KEEP_TTL, .ttl_ms = 5},
        {.flags = MAYFLY_FLAG_TTL | MAYFLY_FLAG_EXPIRE_AT, .ttl_ms = 5, .expire_at_ms = 5},
        {.flags = MAYFLY_FLAG_GET},
        {.flags = MAYFLY_FLAG_GT},
    };
    struct mayfly_bytes key = mayfly_str("k");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(mayfly_store_set(store, key, key, &cases[i], NULL),
                         MAYFLY_ERR_BAD_REQUEST);
    struct mayfly_options options = {.flags = MAYFLY_FLAG_GT | MAYFLY_FLAG_LT};
    assert_int_equal(mayfly_store_expire(store, key, 5, &options, NULL), MAYFLY_ERR_BAD_REQUEST);
    options.flags = MAYFLY_FLAG_NX | MAYFLY_FLAG_GT;
    assert_int_equal(mayfly_store_expire(store, key, 5, &options, NULL), MAYFLY_ERR_BAD_REQUEST);
    assert_int_equal(mayfly_store_expire(store, key, MAYFLY_TTL_MS_MAX + 1, NULL, NULL),
                     MAYFLY_ERR_BAD_REQUEST);
    char *large = calloc(1, MAYFLY_STORE_KEY_MAX + 1);
    struct mayfly_bytes keys[] = {{large, MAYFLY_STORE_KEY_MAX + 1}, {"", 0}};
    static const enum mayfly_err errors[] = {MAYFLY_ERR_TOO_LARGE, MAYFLY_ERR_BAD_REQUEST};
    for (size_t i = 0; i < 2; i++) {
        struct mayfly_store_value got;
        assert_int_equal(mayfly_store_set(store, keys[i], key, NULL, NULL), errors[i]);
        assert_int_equal(mayfly_store_get(store, keys[i], &got), errors[i]);
        assert_int_equal(mayfly_store_del(store, &keys[i], 1, NULL, NULL), errors[i]);
        assert_int_equal(mayfly_store_persist(store, keys[i], NULL), errors[i]);
        assert_int_equal(mayfly_store_expire(store, keys[i], 5, NULL, NULL), errors[i]);
    }
    struct mayfly_bytes long_value = {large, MAYFLY_STORE_VALUE_MAX + 1};
    assert_int_equal(mayfly_store_set(store, key, long_value, NULL, NULL), MAYFLY_ERR_TOO_LARGE);
    free(large);
    assert_int_equal(size_of(store), 0);
    uint64_t cursor = UINT64_MAX;
    assert_int_equal(mayfly_store_scan(store, &cursor, 1, NULL, NULL), MAYFLY_ERR_BAD_REQUEST);
    close_whole(store);
    struct mayfly_store_options wrong[] = {{.shards = MAYFLY_STORE_SHARDS_MAX + 1},
                                           {.expiry_threads = 65},
                                           {.expiry_threads = 1, .manual_expiry = true}};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(mayfly_store_open(&wrong[i], &store), MAYFLY_ERR_BAD_REQUEST);
}

static void ttls_slide_and_go(void **state)
{
    (void)state;
    struct mayfly_store *store = open_still(4);
    put(store, "k", "v", 1000);
    bool changed;
    for (int i = 0; i < 10; i++) {
        pass_us(900000);
        assert_int_equal(mayfly_store_expire(store, mayfly_str("k"), 1000, NULL, &changed),
                         MAYFLY_OK);
        assert_true(changed);
    }
    assert_value(store, "k", "v");
    struct mayfly_options longer = {.flags = MAYFLY_FLAG_GT};
    assert_int_equal(mayfly_store_expire(store, mayfly_str("k"), 10, &longer, &changed), MAYFLY_OK);
    assert_false(changed);
    assert_int_equal(mayfly_store_persist(store, mayfly_str("k"), &changed), MAYFLY_OK);
    assert_true(changed);
    assert_int_equal(mayfly_store_persist(store, mayfly_str("k"), &changed), MAYFLY_OK);
    assert_false(changed);
    pass_us(UINT64_C(1000000000));
    assert_value(store, "k", "v");
    assert_int_equal(mayfly_store_expire(store, mayfly_str("k"), -5, NULL, &changed), MAYFLY_OK);
    assert_true(changed);
    assert_null(value_of(store, "k"));
    struct mayfly_options at = {.flags = MAYFLY_FLAG_EXPIRE_AT,
                                .expire_at_ms = (int64_t)(test_wall_us / 1000 + 500)};
    struct mayfly_bytes key = mayfly_str("at");
    assert_int_equal(mayfly_store_set(store, key, key, &at, NULL), MAYFLY_OK);
    assert_true(ttl_left(store, "at") > 499 - 1 && ttl_left(store, "at") <= 500);
    at.expire_at_ms = 1;
    struct mayfly_written written;
    assert_int_equal(mayfly_store_set(store, key, key, &at, &written), MAYFLY_OK);
    assert_true(written.written);
    assert_null(value_of(store, "at"));
    close_whole(store);
}

static void a_held_value_stays_as_it_was_whatever_is_written(void **state)
{
    (void)state;
    struct mayfly_store *store = open_still(1);
    static char large[300000];
    memset(large, 'x', sizeof(large) - 1);
    put(store, "k", large, 0);
    struct mayfly_store_value got, again;
    assert_int_equal(mayfly_store_get(store, mayfly_str("k"), &got), MAYFLY_OK);
    for (int i = 0; i < 200; i++)
        put(store, "k", i % 2 == 0 ? large : "short", 0);
    assert_int_equal(mayfly_store_get(store, mayfly_str("k"), &again), MAYFLY_OK);
    assert_int_equal(again.value.len, 5);
    assert_int_equal(mayfly_store_flush(store, NULL), MAYFLY_OK);
    assert_int_equal(got.value.len, sizeof(large) - 1);
    assert_memory_equal(got.value.data, large, sizeof(large) - 1);
    assert_memory_equal(again.value.data, "short", 5);
    // What is held keeps all that came after it; what the last holder leaves is freed at once.
    assert_true(stats_of(store).waiting_bytes > 100 * sizeof(large));
    assert_int_equal(mayfly_store_release(store, &got), MAYFLY_OK);
    assert_true(stats_of(store).waiting_bytes > 100 * sizeof(large));
    assert_int_equal(mayfly_store_release(store, &again), MAYFLY_OK);
    assert_true(stats_of(store).waiting_bytes == 0);
    assert_true(stats_of(store).bytes < 10000);
    close_whole(store);
}

static void a_value_released_while_somebody_writes_is_made_good_by_the_writer(void **state)
{
    (void)state;
    struct mayfly_store *store = open_still(1);
    static char large[1000001];
    memset(large, 'x', sizeof(large) - 1);
    put(store, "k", large, 0);
    struct mayfly_store_value got;
    assert_int_equal(mayfly_store_get(store, mayfly_str("k"), &got), MAYFLY_OK);
    put(store, "k", "short", 0);
    mf_store_begin(store, 0);
    assert_int_equal(mayfly_store_release(store, &got), MAYFLY_OK);
    assert_true(mf_map_waiting_bytes(store->shards[0].map) > sizeof(large) - 1);
    mf_store_end(store, 0);
    assert_true(mf_map_waiting_bytes(store->shards[0].map) == 0);
    close_whole(store);
}

static void memory_stays_bounded_under_rewrites_and_deletes(void **state)
{
    (void)state;
    struct mayfly_store *store = open_still(2);
    static char large[1000001];
    memset(large, 'x', sizeof(large) - 1);
    for (int i = 0; i < 300; i++) {
        char key[16];
        snprintf(key, sizeof(key), "%d", i % 3);
        put(store, key, large, i % 2 == 0 ? 1000 : 0);
        struct mayfly_bytes bytes = mayfly_str(key);
        if (i % 5 == 0)
            assert_int_equal(mayfly_store_del(store, &bytes, 1, NULL, NULL), MAYFLY_OK);
        struct mayfly_store_stats stats = stats_of(store);
        assert_true(stats.bytes < 4 * sizeof(large));
        assert_true(stats.waiting_bytes < 3 * sizeof(large));
    }
    close_whole(store);
}

static void a_process_may_have_stores_until_the_system_refuses(void **state)
{
    (void)state;
    static struct mayfly_store *stores[PTHREAD_KEYS_MAX + 1];
    struct mayfly_store_options options = {.shards = 1, .manual_expiry = true};
    size_t count = 0;
    while (mayfly_store_open(&options, &stores[count]) == MAYFLY_OK)
        put(stores[count++], "k", "v", 0);
    assert_in_range(count, 500, PTHREAD_KEYS_MAX);
    assert_int_equal(mayfly_store_open(&options, &stores[count]), MAYFLY_ERR_OUT_OF_MEMORY);
    while (count > 0) {
        assert_value(stores[--count], "k", "v");
        close_whole(stores[count]);
    }
}

// Sanitizers need the address space for themselves.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static void a_value_that_memory_has_no_place_for_is_refused(void **state)
{
    (void)state;
    size_t len = (size_t)256 << 20;
    void *value = calloc(1, len); // untouched, so it takes no memory yet
    pid_t child = fork();
    if (child == 0) {
        struct mayfly_store *store = NULL;
        struct mayfly_bytes k = mayfly_str("k");
        // What is there, and room for everything but the value's copy.
        struct rlimit room = {len + (128 << 20), len + (128 << 20)};
        bool fine = mayfly_store_open(NULL, &store) == MAYFLY_OK &&
                    setrlimit(RLIMIT_AS, &room) == 0 &&
                    mayfly_store_set(store, k, (struct mayfly_bytes){value, len}, NULL, NULL) ==
                        MAYFLY_ERR_OUT_OF_MEMORY &&
                    mayfly_store_set(store, k, k, NULL, NULL) == MAYFLY_OK &&
                    mayfly_store_close(store) == MAYFLY_OK;
        _exit(fine ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    free(value);
}
#endif

struct other_thread {
    struct mayfly_store *store;
    struct mayfly_store_value *value;
    enum mayfly_err err;
};

static void *release_elsewhere(void *arg)
{
    struct other_thread *other = arg;
    other->err = mayfly_store_release(other->store, other->value);
    return NULL;
}

static void *get_and_end(void *arg)
{
    struct other_thread *other = arg;
    other->err = mayfly_store_get(other->store, mayfly_str("k"), other->value);
    return NULL;
}

static void run(void *(*work)(void *arg), void *arg)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, work, arg), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void a_value_is_released_by_its_own_thread_or_by_the_end_of_it(void **state)
{
    (void)state;
    struct mayfly_store *store = open_still(1);
    put(store, "k", "v", 0);
    struct mayfly_store_value mine, others;
    assert_int_equal(mayfly_store_get(store, mayfly_str("k"), &mine), MAYFLY_OK);
    struct other_thread other = {.store = store, .value = &mine};
    run(release_elsewhere, &other);
    assert_int_equal(other.err, MAYFLY_ERR_BAD_REQUEST);
    assert_true(mine.found);
    assert_int_equal(mayfly_store_close(store), MAYFLY_ERR_BUSY);
    assert_int_equal(mayfly_store_release(store, &mine), MAYFLY_OK);
    assert_int_equal(mayfly_store_release(store, &mine), MAYFLY_OK); // again does nothing
    for (int i = 0; i < 100; i++) {
        other.value = &others;
        run(get_and_end, &other);
        assert_true(other.err == MAYFLY_OK && others.found);
    }
    assert_null(store->threads->next); // of 101 threads this one is left
    close_whole(store);
}

static void a_value_is_copied_when_there_is_room(void **state)
{
    (void)state;
    struct mayfly_store *store = open_still(1);
    put(store, "k", "12345", 0);
    char buffer[5];
    struct mayfly_entry entry;
    assert_int_equal(mayfly_store_copy(store, mayfly_str("k"), buffer, 4, &entry),
                     MAYFLY_ERR_TOO_LARGE);
    assert_true(entry.found && entry.value.data == NULL && entry.value.len == 5);
    assert_int_equal(mayfly_store_copy(store, mayfly_str("k"), buffer, 5, &entry), MAYFLY_OK);
    assert_true(entry.value.data == buffer);
    assert_memory_equal(buffer, "12345", 5);
    close_whole(store);
}

static void due_keys_are_swept_and_the_next_deadline_told(void **state)
{
    (void)state;
    struct mayfly_store *store = open_still(3);
    int64_t next_ms;
    uint64_t removed;
    assert_int_equal(mayfly_store_sweep(store, 10, &removed, &next_ms), MAYFLY_OK);
    assert_true(removed == 0 && next_ms == -1);
    for (int i = 0; i < 1000; i++) {
        char key[16];
        snprintf(key, sizeof(key), "%d", i);
        put(store, key, "v", i < 900 ? 100 : 300);
    }
    pass_us(100000);
    assert_int_equal(mayfly_store_sweep(store, 600, &removed, &next_ms), MAYFLY_OK);
    assert_true(removed == 600 && next_ms == 0);
    assert_int_equal(stats_of(store).keys, 400);
    assert_int_equal(size_of(store), 100);
    assert_int_equal(mayfly_store_sweep(store, UINT64_MAX, &removed, &next_ms), MAYFLY_OK);
    assert_true(removed == 300 && next_ms == 200);
    assert_int_equal(stats_of(store).expired, 900);
    close_whole(store);
}

static void expiry_threads_free_what_is_due_by_themselves(void **state)
{
    (void)state;
    struct mayfly_store *store;
    struct mayfly_store_options options = {.shards = 7, .expiry_threads = 2};
    assert_int_equal(mayfly_store_open(&options, &store), MAYFLY_OK);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 500; i++) {
            char key[16];
            snprintf(key, sizeof(key), "%d", i);
            // The far ones first, so that the threads must be woken for the near ones.
            put(store, key, "v", i < 100 ? 3600000 : 1 + i % 7);
        }
        while (stats_of(store).keys > 100) // the test's own limit of time ends a wait in vain
            sched_yield();
    }
    assert_true(stats_of(store).expired >= 1200);
    assert_int_equal(size_of(store), 100);
    close_whole(store);
}

static void expiry_threads_take_no_signal(void **state)
{
    (void)state;
    struct mayfly_store *store = NULL;
    assert_int_equal(mayfly_store_open(NULL, &store), MAYFLY_OK);
    put(store, "k", "v", 1);
    while (stats_of(store).keys > 0) // until the thread is at work
        sched_yield();
    sigset_t usr1, pending;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    kill(getpid(), SIGUSR1); // a thread that takes it ends the process
    sigpending(&pending);
    assert_true(sigismember(&pending, SIGUSR1));
    int taken;
    assert_int_equal(sigwait(&usr1, &taken), 0);
    pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
    close_whole(store);
}

static void a_child_is_refused_and_the_parent_goes_on(void **state)
{
    (void)state;
    struct mayfly_store *store = NULL;
    assert_int_equal(mayfly_store_open(NULL, &store), MAYFLY_OK);
    put(store, "k", "v", 0);
    pthread_mutex_lock(&store->shards[0].lock); // as any thread might while another one forks
    pid_t child = fork();
    if (child == 0) {
        struct mayfly_store_value got;
        struct mayfly_bytes k = mayfly_str("k");
        uint64_t number = 0;
        bool refused = mayfly_store_get(store, k, &got) == MAYFLY_ERR_FORKED &&
                       mayfly_store_set(store, k, k, NULL, NULL) == MAYFLY_ERR_FORKED &&
                       mayfly_store_del(store, &k, 1, NULL, NULL) == MAYFLY_ERR_FORKED &&
                       mayfly_store_flush(store, NULL) == MAYFLY_ERR_FORKED &&
                       mayfly_store_size(store, &number) == MAYFLY_ERR_FORKED &&
                       mayfly_store_dump(store, "x", NULL, 0) == MAYFLY_ERR_FORKED &&
                       mayfly_store_close(store) == MAYFLY_ERR_FORKED;
        _exit(refused ? 0 : 1);
    }
    pthread_mutex_unlock(&store->shards[0].lock);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_value(store, "k", "v");
    close_whole(store);
}

// A writer that has looked at the clock just before a deadline, and a reader that looks just after
// it and finds the old value: the reader must not say "gone" while the writer may still say "was
// there".
static sem_t writer_looked, writer_may_go;
static atomic_bool reader_done;

static void writer_waits(void)
{
    after_clock = NULL;
    sem_post(&writer_looked);
    sem_wait(&writer_may_go);
}

static void *write_late(void *arg)
{
    struct other_thread *other = arg;
    after_clock = writer_waits;
    struct mayfly_options options = {.flags = MAYFLY_FLAG_XX};
    struct mayfly_written written = {0};
    other->err =
        mayfly_store_set(other->store, mayfly_str("k"), mayfly_str("new"), &options, &written);
    assert_true(written.written);
    return NULL;
}

static void *read_dead(void *arg)
{
    struct other_thread *other = arg;
    other->err = mayfly_store_get(other->store, mayfly_str("k"), other->value);
    if (other->err == MAYFLY_OK && other->value->found)
        other->err =
            memcmp(other->value->value.data, "new", 3) == 0 ? MAYFLY_OK : MAYFLY_ERR_INTERNAL;
    atomic_store(&reader_done, true);
    return NULL;
}

static void no_death_is_told_that_a_writer_has_not_reached(void **state)
{
    (void)state;
    struct mayfly_store *store = open_still(1);
    sem_init(&writer_looked, 0, 0);
    sem_init(&writer_may_go, 0, 0);
    put(store, "k", "old", 1000);
    pass_us(999999);
    struct mayfly_store_value value = {0};
    struct other_thread writing = {.store = store};
    struct other_thread reading = {.store = store, .value = &value};
    pthread_t writer, reader;
    assert_int_equal(pthread_create(&writer, NULL, write_late, &writing), 0);
    sem_wait(&writer_looked);
    pass_us(1);
    assert_int_equal(pthread_create(&reader, NULL, read_dead, &reading), 0);
    // Until the reader has answered, or waits for the writer.
    while (!atomic_load(&reader_done) && atomic_load(&store->shards[0].waiting) == 0)
        sched_yield();
    sem_post(&writer_may_go);
    pthread_join(writer, NULL);
    pthread_join(reader, NULL);
    assert_int_equal(writing.err, MAYFLY_OK);
    assert_int_equal(reading.err, MAYFLY_OK);
    assert_true(value.found);
    close_whole(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_read_back_with_its_version_and_ttl),
        cmocka_unit_test(a_key_dies_at_its_deadline_and_not_before),
        cmocka_unit_test(conditions_hold_or_nothing_changes),
        cmocka_unit_test(what_means_nothing_is_refused),
        cmocka_unit_test(ttls_slide_and_go),
        cmocka_unit_test(a_held_value_stays_as_it_was_whatever_is_written),
        cmocka_unit_test(a_value_released_while_somebody_writes_is_made_good_by_the_writer),
        cmocka_unit_test(memory_stays_bounded_under_rewrites_and_deletes),
        cmocka_unit_test(a_process_may_have_stores_until_the_system_refuses),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        cmocka_unit_test(a_value_that_memory_has_no_place_for_is_refused),
#endif
        cmocka_unit_test(a_value_is_released_by_its_own_thread_or_by_the_end_of_it),
        cmocka_unit_test(a_value_is_copied_when_there_is_room),
        cmocka_unit_test(due_keys_are_swept_and_the_next_deadline_told),
        cmocka_unit_test(expiry_threads_free_what_is_due_by_themselves),
        cmocka_unit_test(expiry_threads_take_no_signal),
        cmocka_unit_test(a_child_is_refused_and_the_parent_goes_on),
        cmocka_unit_test(no_death_is_told_that_a_writer_has_not_reached),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
