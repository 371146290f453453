// The embedded store under many threads on the real clock: whatever is read is whole.
//
// Writers make the table grow and shrink, rewrite keys whose time is just coming, and flush;
// readers hold values, copy, scan and end; a dumper dumps. Every value tells its key and its length
// and is filled from both, so a torn, freed or foreign one shows. What is checked holds at any
// speed.
#include <pthread.h>
#include <sched.h>

#include "base/rand.h"
#include "tests/unit/store_fixture.h"

#define WRITERS 3u
#define READERS 3u
#define KEYS 3000u // of each writer
#define VALUE_MAX 6000u

#ifdef MF_TSAN // which is slow
static unsigned rounds = 12;
#else
static unsigned rounds = 40;
#endif

struct shared {
    struct mayfly_store *store;
    atomic_bool stop;
    _Atomic unsigned broken; // reads or answers that were wrong
    _Atomic unsigned reads;
    _Atomic uint64_t confirmed[WRITERS]; // the writer's counter is at least this
};

struct worker {
    struct shared *shared;
    unsigned number;
};

static void complain(struct shared *shared, bool fine)
{
    if (!fine)
        atomic_fetch_add(&shared->broken, 1);
}

static size_t make_key(char *text, unsigned writer, unsigned key)
{
    return (size_t)sprintf(text, "w%u:%u", writer, key);
}

// A length of 4 bytes and then the key's name over and over, begun at an offset by the length.
static struct mayfly_bytes make_value(uint8_t *bytes, const char *key, size_t key_len, size_t len)
{
    uint32_t narrow = (uint32_t)len;
    memcpy(bytes, &narrow, 4);
    for (size_t i = 4; i < len; i++)
        bytes[i] = (uint8_t)key[(i + len) % key_len];
    return (struct mayfly_bytes){bytes, len};
}

static bool is_whole(struct mayfly_bytes value, const char *key, size_t key_len)
{
    const uint8_t *bytes = value.data;
    uint32_t len = 0;
    if (value.len < 4)
        return false;
    memcpy(&len, bytes, 4);
    bool whole = len == value.len;
    for (size_t i = 4; i < value.len && whole; i++)
        whole = bytes[i] == (uint8_t)key[(i + value.len) % key_len];
    return whole;
}

static size_t some_length(struct mf_rand *rand)
{
    if (mf_rand_below(rand, 50) == 0)
        return 4096 + mf_rand_below(rand, VALUE_MAX - 4096);
    return 4 + mf_rand_below(rand, 300);
}

// A counter that only this writer raises, by the version it got last: nobody interferes, though its
// TTL runs and other keys of the shard come, go and die.
static void raise_counter(struct worker *w, uint64_t *count, uint64_t *version)
{
    char key[32], text[32];
    sprintf(key, "counter:%u", w->number);
    int len = sprintf(text, "%llu", (unsigned long long)++*count);
    struct mayfly_options options = {.flags = MAYFLY_FLAG_IF_VERSION | MAYFLY_FLAG_TTL,
                                     .if_version = *version,
                                     .ttl_ms = 3600000};
    struct mayfly_written written = {0};
    complain(w->shared, mayfly_store_set(w->shared->store, mayfly_str(key),
                                         (struct mayfly_bytes){text, (size_t)len}, &options,
                                         &written) == MAYFLY_OK &&
                            written.written);
    *version = written.version;
    atomic_store(&w->shared->confirmed[w->number], *count);
}

static void *write_all_the_time(void *arg)
{
    struct worker *w = arg;
    struct mayfly_store *store = w->shared->store;
    struct mf_rand rand = {w->number};
    uint8_t *bytes = malloc(VALUE_MAX);
    uint64_t count = 0, version = 0;
    for (unsigned round = 0; round < rounds; round++) {
        unsigned keys = round % 4 == 3 ? 20 : KEYS; // grows, is rewritten, shrinks
        for (unsigned i = 0; i < keys; i++) {
            char text[32];
            struct mayfly_bytes key = {text, make_key(text, w->number, i)};
            struct mayfly_options ttl = ttl_of(1 + (int64_t)mf_rand_below(&rand, 20));
            struct mayfly_bytes value = make_value(bytes, text, key.len, some_length(&rand));
            complain(w->shared, mayfly_store_set(store, key, value, i % 3 == 0 ? NULL : &ttl,
                                                 NULL) == MAYFLY_OK);
            if (i % 5 == 0)
                complain(w->shared,
                         mayfly_store_expire(store, key, 1 + i % 30, NULL, NULL) == MAYFLY_OK);
            if (i % 100 == 0)
                raise_counter(w, &count, &version);
        }
        for (unsigned i = 0; i < KEYS && round % 4 >= 2; i++) {
            char text[32];
            struct mayfly_bytes key = {text, make_key(text, w->number, i)};
            complain(w->shared, mayfly_store_del(store, &key, 1, NULL, NULL) == MAYFLY_OK);
        }
    }
    free(bytes);
    return NULL;
}

// What was confirmed before the read began is the least that it may show.
static void check_counter(struct shared *shared, unsigned writer)
{
    char key[32], text[32] = {0};
    uint64_t least = atomic_load(&shared->confirmed[writer]);
    sprintf(key, "counter:%u", writer);
    struct mayfly_entry entry;
    bool fine = mayfly_store_copy(shared->store, mayfly_str(key), text, sizeof(text) - 1, &entry) ==
                MAYFLY_OK;
    complain(shared, fine && (entry.found ? strtoull(text, NULL, 10) >= least : least == 0));
}

static void check_held(struct shared *shared, struct mf_rand *rand)
{
    char keys[8][32];
    size_t lens[8];
    struct mayfly_store_value values[8];
    for (unsigned i = 0; i < 8; i++) {
        lens[i] = make_key(keys[i], (unsigned)mf_rand_below(rand, WRITERS),
                           (unsigned)mf_rand_below(rand, KEYS));
        struct mayfly_bytes key = {keys[i], lens[i]};
        complain(shared, mayfly_store_get(shared->store, key, &values[i]) == MAYFLY_OK);
    }
    for (unsigned i = 0; i < 8; i++) {
        if (i == 4)
            sched_yield(); // and meanwhile much is written
        if (values[i].found)
            complain(shared, is_whole(values[i].value, keys[i], lens[i]));
        complain(shared, mayfly_store_release(shared->store, &values[i]) == MAYFLY_OK);
    }
}

static void visit(void *cookie, struct mayfly_bytes key, struct mayfly_bytes value,
                  uint64_t version, int64_t ttl_ms)
{
    complain(cookie, version > 0 && ttl_ms >= -1 && ttl_ms != 0);
    if (*(const char *)key.data == 'w')
        complain(cookie, is_whole(value, key.data, key.len));
}

static void *read_all_the_time(void *arg)
{
    struct worker *w = arg;
    struct shared *shared = w->shared;
    struct mf_rand rand = {100 + w->number};
    uint64_t cursor = 0;
    for (unsigned i = 0; i < 20000 && !atomic_load(&shared->stop); i++) {
        check_held(shared, &rand);
        check_counter(shared, i % WRITERS);
        if (i % 64 == 0)
            complain(shared,
                     mayfly_store_scan(shared->store, &cursor, 100, visit, shared) == MAYFLY_OK);
        atomic_fetch_add(&shared->reads, 1);
    }
    return NULL;
}

// Reading threads that come and go.
static void *keep_reading(void *arg)
{
    struct worker *w = arg;
    while (!atomic_load(&w->shared->stop)) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, read_all_the_time, w) != 0)
            complain(w->shared, false);
        else
            pthread_join(thread, NULL);
    }
    return NULL;
}

static void *dump_all_the_time(void *arg)
{
    struct worker *w = arg;
    char *path = new_path();
    while (!atomic_load(&w->shared->stop)) {
        uint64_t keys;
        complain(w->shared, mayfly_store_dump(w->shared->store, path, NULL, 0) == MAYFLY_OK);
        complain(w->shared, mayfly_store_size(w->shared->store, &keys) == MAYFLY_OK);
        complain(w->shared, mayfly_store_sweep(w->shared->store, 100, NULL, NULL) == MAYFLY_OK);
        struct mayfly_store *loaded = NULL;
        bool fine = mayfly_store_open(NULL, &loaded) == MAYFLY_OK &&
                    mayfly_store_load(loaded, path, NULL, NULL, 0) == MAYFLY_OK;
        uint64_t cursor = 0;
        while (fine &&
               (fine = mayfly_store_scan(loaded, &cursor, 1000, visit, w->shared) == MAYFLY_OK) &&
               cursor != 0)
            continue;
        complain(w->shared, fine && mayfly_store_close(loaded) == MAYFLY_OK);
    }
    remove_path(path);
    return NULL;
}

static void whatever_is_read_while_all_is_changing_is_whole(void **state)
{
    (void)state;
    struct shared *shared = calloc(1, sizeof(*shared));
    struct mayfly_store_options options = {.shards = 3, .expiry_threads = 2};
    assert_int_equal(mayfly_store_open(&options, &shared->store), MAYFLY_OK);
    struct worker workers[WRITERS + READERS + 1];
    pthread_t threads[WRITERS + READERS + 1];
    for (unsigned i = 0; i < WRITERS + READERS + 1; i++) {
        void *(*work)(void *) = i < WRITERS             ? write_all_the_time
                                : i < WRITERS + READERS ? keep_reading
                                                        : dump_all_the_time;
        workers[i] = (struct worker){shared, i < WRITERS ? i : i - WRITERS};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    while (atomic_load(&shared->reads) < 100)
        sched_yield();
    atomic_store(&shared->stop, true);
    for (unsigned i = WRITERS; i < WRITERS + READERS + 1; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&shared->broken), 0);
    for (unsigned i = 0; i < WRITERS; i++) {
        char key[32], text[32];
        sprintf(key, "counter:%u", i);
        sprintf(text, "%llu", (unsigned long long)atomic_load(&shared->confirmed[i]));
        assert_value(shared->store, key, text);
    }
    assert_true(stats_of(shared->store).waiting_bytes < options.shards * 2 * (256 << 10));
    assert_null(shared->store->threads->next); // this one
    close_whole(shared->store);
    free(shared);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        rounds = (unsigned)strtoul(argv[1], NULL, 10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_is_read_while_all_is_changing_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
