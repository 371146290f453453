// A store on clocks that a test sets, and short words for its calls.
#ifndef MF_TESTS_STORE_FIXTURE_H
#define MF_TESTS_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka needs the headers above.
#include <cmocka.h>
#include <unistd.h>

#include "store/store_internal.h"

static _Atomic uint64_t test_mono_us = 1000000;
static _Atomic uint64_t test_wall_us = UINT64_C(1700000000000000);
// What this thread does whenever it asks for the time, before and after it has looked.
static _Thread_local void (*before_clock)(void);
static _Thread_local void (*after_clock)(void);

static inline uint64_t test_mono(void)
{
    if (before_clock != NULL)
        before_clock();
    uint64_t now_us = test_mono_us;
    if (after_clock != NULL)
        after_clock();
    return now_us;
}

static inline uint64_t test_wall(void)
{
    return test_wall_us;
}

static inline void pass_us(uint64_t us)
{
    test_mono_us += us;
    test_wall_us += us;
}

// A store that does nothing by itself.
static inline struct mayfly_store *open_still(uint32_t shards)
{
    static const struct mf_store_clock clock = {test_mono, test_wall};
    struct mayfly_store_options options = {.shards = shards, .manual_expiry = true};
    struct mayfly_store *store = NULL;
    assert_int_equal(mf_store_open_with(&options, &clock, &store), MAYFLY_OK);
    return store;
}

static inline void close_whole(struct mayfly_store *store)
{
    for (uint32_t i = 0; i < store->shard_count; i++)
        assert_true(mf_shard_valid(store->shards[i].state));
    assert_int_equal(mayfly_store_close(store), MAYFLY_OK);
}

static inline struct mayfly_options ttl_of(int64_t ttl_ms)
{
    return (struct mayfly_options){.flags = MAYFLY_FLAG_TTL, .ttl_ms = ttl_ms};
}

// ttl_ms 0: none. Returns the version.
static inline uint64_t put(struct mayfly_store *store, const char *key, const char *value,
                           int64_t ttl_ms)
{
    struct mayfly_options options = ttl_of(ttl_ms);
    struct mayfly_written written;
    assert_int_equal(mayfly_store_set(store, mayfly_str(key), mayfly_str(value),
                                      ttl_ms > 0 ? &options : NULL, &written),
                     MAYFLY_OK);
    assert_true(written.written);
    return written.version;
}

// The value as a string, in memory of this function; NULL for an absent key.
static inline const char *value_of(struct mayfly_store *store, const char *key)
{
    static _Thread_local char text[256];
    struct mayfly_entry entry;
    assert_int_equal(mayfly_store_copy(store, mayfly_str(key), text, sizeof(text) - 1, &entry),
                     MAYFLY_OK);
    if (!entry.found)
        return NULL;
    text[entry.value.len] = '\0';
    return text;
}

static inline void assert_value(struct mayfly_store *store, const char *key, const char *expected)
{
    const char *value = value_of(store, key);
    assert_non_null(value);
    assert_string_equal(value, expected);
}

static inline int64_t ttl_left(struct mayfly_store *store, const char *key)
{
    int64_t ttl_ms;
    assert_int_equal(mayfly_store_ttl(store, mayfly_str(key), &ttl_ms), MAYFLY_OK);
    return ttl_ms;
}

static inline uint64_t size_of(struct mayfly_store *store)
{
    uint64_t keys;
    assert_int_equal(mayfly_store_size(store, &keys), MAYFLY_OK);
    return keys;
}

static inline struct mayfly_store_stats stats_of(struct mayfly_store *store)
{
    struct mayfly_store_stats stats;
    assert_int_equal(mayfly_store_stats(store, &stats), MAYFLY_OK);
    return stats;
}

// A path in a new folder, which remove_path takes away with it.
static inline char *new_path(void)
{
    static const char name[] = "/tmp/mayfly-store-XXXXXX";
    char *path = calloc(1, sizeof(name) + sizeof("/file.mfs"));
    strcpy(path, name);
    assert_non_null(mkdtemp(path));
    return strcat(path, "/file.mfs");
}

static inline void remove_path(char *path)
{
    unlink(path);
    *strrchr(path, '/') = '\0';
    assert_int_equal(rmdir(path), 0);
    free(path);
}

#endif
