// Every way in which a look-up can be cut in two by a change of the map that is cut in two.
//
// Threads that run freely almost never meet in the few instructions that matter. So here the map's
// own code is compiled with every atomic access announced, and a writer and a reader hand a baton
// to each other: the writer runs up to its j-th store, the reader up to its k-th load, then the
// writer to the end of its operation, then the reader to the end of its look-up. All j and k are
// tried, for every key that is there before and after. The reader must find it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
// cmocka needs the headers above.
#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

static void before_load(void);
static void before_store(void);

// A plain access to an atomic object is sequentially consistent: what is tried here is the order of
// the program. Whether the orders given are enough for it is the thread sanitizer's to tell.
#undef atomic_load_explicit
#undef atomic_store_explicit
#define atomic_load_explicit(object, order) (before_load(), *(object))
#define atomic_store_explicit(object, value, order) (before_store(), (void)(*(object) = (value)))

#define count_move count_move_of_chain
#include "shards/map_bucket.c"
#undef count_move
#include "shards/map.c"
#include "shards/map_read.c"
#include "shards/map_rest.c"

#include "base/rand.h"
#include "tests/unit/map_clear.h"

#define SEED UINT64_C(0x5eed)
#define KEYS_MAX 64

#define RANDOM_SCHEDULES 100

// Who runs. Both threads wait for their turn under the lock.
enum role { WRITER, READER };

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum role turn;
    bool armed;       // the writer's stores count
    long stores_left; // until the writer passes the baton on
    long loads_left;  // until the reader does
    bool at_random;   // both do at one access in three, and there are look-ups all the time
    struct mf_rand rand;
    // The reader's part.
    struct mf_map_reader *reader;
    struct mf_bytes key;
    bool look_up; // one is wanted
    bool running; // it has begun and not ended
    bool missed;
    bool end; // no more of them
} baton = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static _Thread_local enum role role = WRITER;

// Gives the other one its turn and waits for the own.
static void pass_on(void)
{
    pthread_mutex_lock(&baton.lock);
    baton.turn = role == WRITER ? READER : WRITER;
    pthread_cond_broadcast(&baton.changed);
    while (baton.turn != role)
        pthread_cond_wait(&baton.changed, &baton.lock);
    pthread_mutex_unlock(&baton.lock);
}

static bool cut_here(long *left)
{
    if (baton.at_random)
        return mf_rand_below(&baton.rand, 3) == 0;
    return (*left)-- == 0;
}

static void before_store(void)
{
    if (role == WRITER && baton.armed && cut_here(&baton.stores_left)) {
        if (baton.at_random && !baton.running)
            baton.look_up = true;
        pass_on();
    }
}

static void before_load(void)
{
    if (role == READER && cut_here(&baton.loads_left))
        pass_on();
}

static void look_up(void)
{
    baton.look_up = false;
    baton.running = true;
    mf_map_read_begin(baton.reader);
    if (mf_map_read(baton.reader, baton.key) == NULL)
        baton.missed = true;
    mf_map_read_end(baton.reader);
    baton.running = false;
}

static void *read_in_turn(void *arg)
{
    role = READER;
    pthread_mutex_lock(&baton.lock);
    while (baton.turn != READER)
        pthread_cond_wait(&baton.changed, &baton.lock);
    pthread_mutex_unlock(&baton.lock);
    while (!baton.end) {
        if (baton.look_up)
            look_up();
        pass_on();
    }
    pthread_mutex_lock(&baton.lock);
    baton.turn = WRITER;
    pthread_cond_broadcast(&baton.changed);
    pthread_mutex_unlock(&baton.lock);
    return arg;
}

// A map of numbered keys. Those of a crowd share a bucket in every table of up to 2^10 buckets;
// twins also share the tag.
struct fixture {
    struct mf_map *map;
    char text[KEYS_MAX][24];
    struct mf_bytes keys[KEYS_MAX];
    size_t count;
};

static void name_keys(struct fixture *fixture, uint64_t mask, uint64_t bits, size_t count)
{
    uint64_t number = 0;
    while (fixture->count < count) {
        char *text = fixture->text[fixture->count];
        int len = snprintf(text, sizeof(fixture->text[0]), "k%llu", (unsigned long long)number++);
        struct mf_bytes key = mf_bytes_of(text, (size_t)len);
        if ((mf_hash64(key, SEED) & mask) == bits)
            fixture->keys[fixture->count++] = key;
    }
}

static struct mf_entry *entry_of(const struct fixture *fixture, size_t i)
{
    struct mf_record record = {
        .key = fixture->keys[i], .version = 1, .deadline_us = MF_NO_DEADLINE};
    return mf_entry_new(&record, false);
}

static void insert(struct fixture *fixture, size_t i)
{
    mf_map_insert(fixture->map, entry_of(fixture, i));
}

static void insert_bulk(struct fixture *fixture, uint32_t number)
{
    struct mf_record record = {
        .key = mf_bytes_of(&number, sizeof(number)), .version = 1, .deadline_us = MF_NO_DEADLINE};
    mf_map_insert(fixture->map, mf_entry_new(&record, false));
}

static void take_out(struct fixture *fixture, size_t i)
{
    mf_map_remove(fixture->map, mf_map_find(fixture->map, fixture->keys[i]));
}

// One change: `before` keys 0.. are in the map, then the operation runs; the keys from `stay` to
// `stay_end` are in it all the while.
struct change {
    size_t bulk; // other entries that are there before
    size_t before;
    size_t stay;
    size_t stay_end;
    bool gone_after; // the keys go: to miss them is right
    void (*run)(struct fixture *fixture);
};

// Runs the change once, with a look-up of the key as the baton says.
static void run_change(struct fixture *fixture, const struct change *change, size_t key)
{
    fixture->map = mf_map_new(SEED);
    mf_map_hold_shrink(fixture->map, true);
    for (uint32_t i = 0; i < change->bulk; i++)
        insert_bulk(fixture, i);
    for (size_t i = 0; i < change->before; i++)
        insert(fixture, i);
    mf_map_hold_shrink(fixture->map, false);
    baton.reader = mf_map_reader_new(fixture->map);
    baton.key = fixture->keys[key];
    baton.look_up = true;
    baton.missed = false;
    baton.armed = true;
    change->run(fixture);
    baton.armed = false;
}

static void end_change(struct fixture *fixture)
{
    while (baton.running)
        pass_on();
    mf_map_reader_free(baton.reader);
    assert_true(mf_map_valid(fixture->map));
    mf_map_free(fixture->map);
}

// All ways to cut each of the two once.
static void try_cuts(struct fixture *fixture, const struct change *change, size_t key)
{
    baton.at_random = false;
    bool writer_was_cut = true;
    for (long j = 0; writer_was_cut; j++) {
        bool reader_was_cut = true;
        for (long k = 0; writer_was_cut && reader_was_cut; k++) {
            baton.stores_left = j;
            baton.loads_left = k;
            run_change(fixture, change, key);
            writer_was_cut = baton.stores_left < 0;
            reader_was_cut = baton.running;
            end_change(fixture);
            if (baton.missed && !change->gone_after)
                fail_msg("key %zu was missed: writer cut at store %ld, reader at load %ld", key, j,
                         k);
        }
    }
}

static void try_at_random(struct fixture *fixture, const struct change *change, size_t key)
{
    baton.at_random = true;
    for (uint64_t seed = 0; seed < RANDOM_SCHEDULES; seed++) {
        baton.rand.state = seed;
        run_change(fixture, change, key);
        end_change(fixture);
        if (baton.missed)
            fail_msg("key %zu was missed: random schedule %llu", key, (unsigned long long)seed);
    }
}

static void try_all(struct fixture *fixture, const struct change *change)
{
    pthread_t thread;
    baton.turn = WRITER;
    baton.end = false;
    assert_int_equal(pthread_create(&thread, NULL, read_in_turn, NULL), 0);
    for (size_t key = change->stay; key < change->stay_end; key++) {
        try_cuts(fixture, change, key);
        if (!change->gone_after)
            try_at_random(fixture, change, key);
    }
    baton.end = true;
    pass_on();
    pthread_join(thread, NULL);
    free(fixture);
}

// Keys that share a bucket; with `twins` the tag as well.
static struct fixture *crowd(bool twins)
{
    struct fixture *fixture = mf_calloc(1, sizeof(*fixture));
    if (twins)
        name_keys(fixture, UINT64_C(0xff0000000000000f), UINT64_C(0x2a00000000000005), 16);
    else
        name_keys(fixture, 0x3ff, 0x155, 24);
    return fixture;
}

static void insert_eighth(struct fixture *fixture)
{
    insert(fixture, 7);
}

static void a_full_bucket_that_gets_a_second_one_loses_nobody(void **state)
{
    (void)state;
    struct change change = {.before = 7, .stay = 0, .stay_end = 7, .run = insert_eighth};
    try_all(crowd(false), &change);
    try_all(crowd(true), &change);
}

static void take_out_first(struct fixture *fixture)
{
    take_out(fixture, 0);
}

static void a_hole_filled_from_the_end_of_the_chain_loses_nobody(void **state)
{
    (void)state;
    struct change change = {.before = 10, .stay = 1, .stay_end = 10, .run = take_out_first};
    try_all(crowd(false), &change);
    try_all(crowd(true), &change);
    change.before = 16;
    change.stay_end = 16;
    try_all(crowd(false), &change);
}

static void a_last_bucket_folded_into_the_one_before_loses_nobody(void **state)
{
    (void)state;
    struct change change = {.before = 8, .stay = 1, .stay_end = 8, .run = take_out_first};
    try_all(crowd(false), &change);
    try_all(crowd(true), &change);
    change.before = 14;
    change.stay_end = 14;
    try_all(crowd(false), &change);
}

static void replace_third(struct fixture *fixture)
{
    struct mf_entry *old = mf_map_find(fixture->map, fixture->keys[2]);
    mf_map_replace(fixture->map, old, entry_of(fixture, 2));
}

static void a_replaced_entry_is_there_before_and_after(void **state)
{
    (void)state;
    struct change change = {.before = 9, .stay = 0, .stay_end = 9, .run = replace_third};
    try_all(crowd(true), &change);
}

// One more than the first table of 4 buckets takes, and what a table of 5 does not go below.
#define ONE_TOO_MANY (MF_SEGMENT_FIRST * GROW_ABOVE_HALVES / 2 + 1)
#define FEWEST_OF_5 (5 * SHRINK_BELOW_HALVES / 2)

static struct fixture *mixture(void)
{
    struct fixture *fixture = mf_calloc(1, sizeof(*fixture));
    name_keys(fixture, 0, 0, KEYS_MAX);
    return fixture;
}

static void insert_one_too_many(struct fixture *fixture)
{
    assert_int_equal(mf_map_bucket_count(fixture->map), 4);
    insert(fixture, ONE_TOO_MANY - 1);
    assert_int_equal(mf_map_bucket_count(fixture->map), 5);
}

static void a_bucket_that_is_split_loses_nobody(void **state)
{
    (void)state;
    struct change change = {.before = ONE_TOO_MANY - 1, .run = insert_one_too_many};
    change.stay_end = change.before;
    try_all(mixture(), &change);
    // All in bucket 0 of four, half of them bound for bucket 4.
    struct fixture *fixture = mf_calloc(1, sizeof(*fixture));
    name_keys(fixture, 3, 0, ONE_TOO_MANY);
    try_all(fixture, &change);
}

static void take_out_until_it_shrinks(struct fixture *fixture)
{
    assert_int_equal(mf_map_bucket_count(fixture->map), 5);
    for (size_t i = 0; i <= ONE_TOO_MANY - FEWEST_OF_5; i++)
        take_out(fixture, i);
    assert_int_equal(mf_map_bucket_count(fixture->map), 4);
}

static void a_bucket_that_is_poured_back_loses_nobody(void **state)
{
    (void)state;
    struct change change = {.before = ONE_TOO_MANY,
                            .stay = ONE_TOO_MANY - FEWEST_OF_5 + 1,
                            .stay_end = ONE_TOO_MANY,
                            .run = take_out_until_it_shrinks};
    try_all(mixture(), &change);
}

static void shrink_and_grow_again(struct fixture *fixture)
{
    take_out_until_it_shrinks(fixture);
    for (size_t i = ONE_TOO_MANY; mf_map_bucket_count(fixture->map) < 5; i++)
        insert(fixture, i);
}

static void a_segment_that_goes_and_comes_back_loses_nobody(void **state)
{
    (void)state;
    struct change change = {.before = ONE_TOO_MANY,
                            .stay = ONE_TOO_MANY - 3,
                            .stay_end = ONE_TOO_MANY,
                            .run = shrink_and_grow_again};
    try_all(mixture(), &change);
}

static void clear(struct fixture *fixture)
{
    assert_true(mf_map_bucket_count(fixture->map) > 5120);
    clear_map(fixture->map);
}

// More segments than a new table's directory has room for.
static void a_reader_of_the_old_table_copes_with_the_new_ones_directory(void **state)
{
    (void)state;
    struct change change = {.bulk = 5121 * GROW_ABOVE_HALVES / 2,
                            .before = 1,
                            .stay_end = 1,
                            .gone_after = true,
                            .run = clear};
    struct fixture *fixture = mf_calloc(1, sizeof(*fixture));
    // In bucket 5120 of a table that is larger than that.
    name_keys(fixture, 0x1fff, 5120, 1);
    try_all(fixture, &change);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_bucket_that_gets_a_second_one_loses_nobody),
        cmocka_unit_test(a_hole_filled_from_the_end_of_the_chain_loses_nobody),
        cmocka_unit_test(a_last_bucket_folded_into_the_one_before_loses_nobody),
        cmocka_unit_test(a_replaced_entry_is_there_before_and_after),
        cmocka_unit_test(a_bucket_that_is_split_loses_nobody),
        cmocka_unit_test(a_bucket_that_is_poured_back_loses_nobody),
        cmocka_unit_test(a_segment_that_goes_and_comes_back_loses_nobody),
        cmocka_unit_test(a_reader_of_the_old_table_copes_with_the_new_ones_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
