// The embedded store against the plainest thing that could be meant: an array of keys, a number for
// the clock, and the description of each function.
//
//     test_store_model [SEED [STEPS]]
#include <inttypes.h>

#include "base/rand.h"
#include "tests/unit/store_fixture.h"

#define KEYS 200u
#define VALUE_MAX 6000u
#define NEVER UINT64_MAX

struct slot {
    bool there; // it may be dead by the clock
    uint64_t deadline_us;
    uint64_t version; // 0: not known, the last change tells none
    uint64_t value;
};

struct model {
    struct mayfly_store *store;
    struct mf_rand rand;
    struct slot slots[KEYS];
    uint8_t bytes[VALUE_MAX];
};

static struct mayfly_bytes key_of(size_t number)
{
    static char text[64];
    int len = snprintf(text, sizeof(text), number % 5 == 0 ? "{tag}%zu" : "key:%zu", number);
    return (struct mayfly_bytes){text, (size_t)len};
}

static struct mayfly_bytes bytes_of(struct model *m, uint64_t value)
{
    size_t len = value % 53;
    if (value % 64 == 11)
        len = 300;
    if (value % 128 == 12)
        len = 4000 + value % 2000;
    for (size_t i = 0; i < len; i++)
        m->bytes[i] = (uint8_t)(value * 7 + i);
    return (struct mayfly_bytes){m->bytes, len};
}

static struct slot *alive(struct model *m, size_t key)
{
    struct slot *slot = &m->slots[key];
    slot->there = slot->there && slot->deadline_us > test_mono_us;
    return slot->there ? slot : NULL;
}

static int64_t left_ms(const struct slot *slot)
{
    if (slot->deadline_us == NEVER)
        return -1;
    return (int64_t)((slot->deadline_us - test_mono_us + 999) / 1000);
}

static int64_t random_ttl(struct model *m)
{
    static const int64_t spans[] = {1, 10, 1000, 1000000};
    return 1 + (int64_t)mf_rand_below(&m->rand, (uint64_t)spans[mf_rand_below(&m->rand, 4)]);
}

static void random_options(struct model *m, struct slot *old, struct mayfly_options *options)
{
    switch (mf_rand_below(&m->rand, 6)) {
    case 0:
        options->flags |= MAYFLY_FLAG_KEEP_TTL;
        break;
    case 1:
    case 2:
    case 3:
        options->flags |= MAYFLY_FLAG_TTL;
        options->ttl_ms = random_ttl(m);
        break;
    case 4:
        options->flags |= MAYFLY_FLAG_EXPIRE_AT;
        options->expire_at_ms = (int64_t)(test_wall_us / 1000) + random_ttl(m) - 5;
        break;
    default:
        break;
    }
    switch (mf_rand_below(&m->rand, 8)) {
    case 0:
        options->flags |= MAYFLY_FLAG_NX;
        break;
    case 1:
        options->flags |= MAYFLY_FLAG_XX;
        break;
    case 2:
        options->flags |= MAYFLY_FLAG_IF_VERSION;
        options->if_version = old != NULL ? old->version : 0;
        if (mf_rand_below(&m->rand, 4) == 0)
            options->if_version += 1;
        break;
    default:
        break;
    }
}

static void set(struct model *m, size_t key)
{
    struct mayfly_options options = {0};
    struct slot *old = alive(m, key);
    random_options(m, old, &options);
    uint64_t value = mf_rand_next(&m->rand);
    bool known = old == NULL || old->version != 0;
    if (!known) // a version that is not known is no condition
        options.flags &= ~(unsigned)MAYFLY_FLAG_IF_VERSION, options.if_version = 0;
    bool expected = ((options.flags & MAYFLY_FLAG_NX) == 0 || old == NULL) &&
                    ((options.flags & MAYFLY_FLAG_XX) == 0 || old != NULL) &&
                    ((options.flags & MAYFLY_FLAG_IF_VERSION) == 0 ||
                     options.if_version == (old != NULL ? old->version : 0));
    struct mayfly_written written;
    assert_int_equal(
        mayfly_store_set(m->store, key_of(key), bytes_of(m, value), &options, &written), MAYFLY_OK);
    assert_int_equal(written.written, expected);
    if (!expected)
        return;
    assert_true(written.version > m->slots[key].version);
    uint64_t deadline_us = NEVER;
    if ((options.flags & MAYFLY_FLAG_KEEP_TTL) != 0 && old != NULL)
        deadline_us = old->deadline_us;
    if ((options.flags & MAYFLY_FLAG_TTL) != 0)
        deadline_us = test_mono_us + (uint64_t)options.ttl_ms * 1000;
    uint64_t at_us = (uint64_t)options.expire_at_ms * 1000;
    if ((options.flags & MAYFLY_FLAG_EXPIRE_AT) != 0)
        deadline_us = test_mono_us + (at_us > test_wall_us ? at_us - test_wall_us : 0);
    m->slots[key] = (struct slot){true, deadline_us, written.version, value};
}

static void del(struct model *m, size_t key)
{
    struct slot *old = alive(m, key);
    struct mayfly_bytes bytes = key_of(key);
    uint64_t deleted;
    assert_int_equal(mayfly_store_del(m->store, &bytes, 1, NULL, &deleted), MAYFLY_OK);
    assert_int_equal(deleted, old != NULL);
    m->slots[key].there = false;
}

static void expire(struct model *m, size_t key)
{
    static const unsigned flags[] = {
        0, 0, MAYFLY_FLAG_NX, MAYFLY_FLAG_XX, MAYFLY_FLAG_GT, MAYFLY_FLAG_LT};
    struct mayfly_options options = {.flags = flags[mf_rand_below(&m->rand, 6)]};
    int64_t ttl_ms = mf_rand_below(&m->rand, 8) == 0 ? 0 : random_ttl(m);
    struct slot *old = alive(m, key);
    uint64_t wanted_us = test_mono_us + (uint64_t)ttl_ms * 1000;
    bool expected = old != NULL;
    if (expected && options.flags == MAYFLY_FLAG_NX)
        expected = old->deadline_us == NEVER;
    else if (expected && options.flags == MAYFLY_FLAG_XX)
        expected = old->deadline_us != NEVER;
    else if (expected && options.flags == MAYFLY_FLAG_GT)
        expected = wanted_us > old->deadline_us;
    else if (expected && options.flags == MAYFLY_FLAG_LT)
        expected = wanted_us < old->deadline_us;
    bool changed;
    assert_int_equal(mayfly_store_expire(m->store, key_of(key), ttl_ms, &options, &changed),
                     MAYFLY_OK);
    assert_int_equal(changed, expected);
    if (!expected)
        return;
    old->deadline_us = wanted_us;
    old->version = 0;
}

static void persist(struct model *m, size_t key)
{
    struct slot *old = alive(m, key);
    bool expected = old != NULL && old->deadline_us != NEVER;
    bool changed;
    assert_int_equal(mayfly_store_persist(m->store, key_of(key), &changed), MAYFLY_OK);
    assert_int_equal(changed, expected);
    if (expected) {
        old->deadline_us = NEVER;
        old->version = 0;
    }
}

static void look(struct model *m, size_t key)
{
    struct slot *slot = alive(m, key);
    struct mayfly_store_value got;
    assert_int_equal(mayfly_store_get(m->store, key_of(key), &got), MAYFLY_OK);
    assert_int_equal(got.found, slot != NULL);
    struct mayfly_bytes bytes = key_of(key);
    bool there;
    assert_int_equal(mayfly_store_has(m->store, &bytes, 1, &there), MAYFLY_OK);
    assert_int_equal(there, slot != NULL);
    int64_t ttl_ms;
    assert_int_equal(mayfly_store_ttl(m->store, key_of(key), &ttl_ms), MAYFLY_OK);
    assert_int_equal(ttl_ms, slot != NULL ? left_ms(slot) : -2);
    if (slot == NULL)
        return;
    bytes = bytes_of(m, slot->value);
    assert_int_equal(got.value.len, bytes.len);
    assert_memory_equal(got.value.data, bytes.data, bytes.len);
    assert_int_equal(got.ttl_ms, left_ms(slot));
    assert_true(slot->version == 0 || got.version == slot->version);
    slot->version = got.version;
    assert_int_equal(mayfly_store_release(m->store, &got), MAYFLY_OK);
}

static void count_visit(void *cookie, struct mayfly_bytes key, struct mayfly_bytes value,
                        uint64_t version, int64_t ttl_ms)
{
    unsigned *times = cookie;
    (void)value, (void)version, (void)ttl_ms;
    const char *digits = memchr(key.data, *(const char *)key.data == '{' ? '}' : ':', key.len);
    char text[16] = {0};
    memcpy(text, digits + 1, (size_t)((const char *)key.data + key.len - digits - 1));
    times[strtoul(text, NULL, 10)]++;
}

static void compare_all(struct model *m)
{
    unsigned times[KEYS] = {0};
    uint64_t cursor = 0;
    do
        assert_int_equal(mayfly_store_scan(m->store, &cursor, 7, count_visit, times), MAYFLY_OK);
    while (cursor != 0);
    uint64_t live = 0;
    for (size_t key = 0; key < KEYS; key++) {
        assert_int_equal(times[key], alive(m, key) != NULL);
        live += alive(m, key) != NULL;
        look(m, key);
    }
    assert_int_equal(size_of(m->store), live);
}

// Goes on with a store that was loaded from a file of this one.
static void change_stores(struct model *m)
{
    char *path = new_path();
    assert_int_equal(mayfly_store_dump(m->store, path, NULL, 0), MAYFLY_OK);
    close_whole(m->store);
    m->store = open_still(1 + (uint32_t)mf_rand_below(&m->rand, 20));
    assert_int_equal(mayfly_store_load(m->store, path, NULL, NULL, 0), MAYFLY_OK);
    remove_path(path);
    for (size_t key = 0; key < KEYS; key++) {
        if (alive(m, key) != NULL)
            m->slots[key].version = 0;
    }
    compare_all(m);
}

static void step(struct model *m)
{
    size_t key = mf_rand_below(&m->rand, KEYS);
    uint64_t dice = mf_rand_below(&m->rand, 2000);
    if (dice < 700)
        set(m, key);
    else if (dice < 1000)
        look(m, key);
    else if (dice < 1200)
        expire(m, key);
    else if (dice < 1300)
        persist(m, key);
    else if (dice < 1500)
        del(m, key);
    else if (dice < 1900)
        pass_us(mf_rand_below(&m->rand, dice % 2 == 0 ? 2000 : 200000));
    else if (dice < 1980)
        assert_int_equal(mayfly_store_sweep(m->store, mf_rand_below(&m->rand, 20), NULL, NULL),
                         MAYFLY_OK);
    else if (dice < 1998)
        compare_all(m);
    else if (dice < 1999) {
        assert_int_equal(mayfly_store_flush(m->store, NULL), MAYFLY_OK);
        for (size_t i = 0; i < KEYS; i++)
            m->slots[i].there = false;
    } else if (mf_rand_below(&m->rand, 8) == 0)
        change_stores(m);
}

static uint64_t seed = 1;
#ifdef MF_TSAN // one thread only, and slow
static uint64_t steps = 100000;
#else
static uint64_t steps = 1000000;
#endif

static void any_sequence_of_calls_is_what_a_plain_table_would_answer(void **state)
{
    (void)state;
    struct model *m = calloc(1, sizeof(*m));
    m->rand.state = seed;
    m->store = open_still(3);
    for (uint64_t i = 0; i < steps; i++)
        step(m);
    compare_all(m);
    close_whole(m->store);
    free(m);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        seed = strtoull(argv[1], NULL, 10);
    if (argc > 2)
        steps = strtoull(argv[2], NULL, 10);
    printf("seed %" PRIu64 ", %" PRIu64 " steps\n", seed, steps);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_sequence_of_calls_is_what_a_plain_table_would_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
