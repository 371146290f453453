// Items on threads: each runs once, the first error counts, and whoever waits is asked meanwhile.
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/parallel.h"

#define ITEMS 1000u

struct items {
    _Atomic uint32_t runs[ITEMS];
    uint32_t fail_from; // items from here on fail, each with another error
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t together; // under the lock
    uint32_t wanted;
    uint32_t asked;
};

static enum mf_err count(void *arg, uint32_t i)
{
    struct items *items = arg;
    atomic_fetch_add(&items->runs[i], 1);
    if (i < items->fail_from)
        return MF_OK;
    return i == items->fail_from ? MF_CORRUPT : MF_IO;
}

static void each_item_runs_once_whatever_the_number_of_threads(void **state)
{
    (void)state;
    const uint32_t threads[] = {0, 1, 2, 7, 1000};
    for (size_t t = 0; t < sizeof(threads) / sizeof(threads[0]); t++) {
        static struct items items;
        memset(items.runs, 0, sizeof(items.runs));
        items.fail_from = ITEMS;
        struct mf_parallel work = {
            .count = ITEMS, .threads = threads[t], .run = count, .arg = &items};
        assert_int_equal(mf_parallel_run(&work, NULL), MF_OK);
        for (uint32_t i = 0; i < ITEMS; i++)
            assert_int_equal(items.runs[i], 1);
    }
    struct mf_parallel nothing = {.threads = 4, .run = count};
    assert_int_equal(mf_parallel_run(&nothing, NULL), MF_OK);
}

static void the_lowest_item_that_failed_is_told_and_no_more_are_begun(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 4; threads++) {
        static struct items items;
        memset(items.runs, 0, sizeof(items.runs));
        items.fail_from = 17;
        struct mf_parallel work = {.count = ITEMS, .threads = threads, .run = count, .arg = &items};
        uint32_t failed = 0;
        assert_int_equal(mf_parallel_run(&work, &failed), MF_CORRUPT);
        assert_int_equal(failed, 17);
        uint32_t begun = 0;
        for (uint32_t i = 0; i < ITEMS; i++)
            begun += items.runs[i];
        assert_in_range(begun, 18, 17 + threads);
    }
}

// Ends when `wanted` items are under way at once.
static enum mf_err meet(void *arg, uint32_t i)
{
    (void)i;
    struct items *items = arg;
    pthread_mutex_lock(&items->lock);
    items->together++;
    pthread_cond_broadcast(&items->changed);
    while (items->together < items->wanted)
        pthread_cond_wait(&items->changed, &items->lock);
    pthread_mutex_unlock(&items->lock);
    return MF_OK;
}

static void as_many_run_at_a_time_as_there_are_threads(void **state)
{
    (void)state;
    struct items items = {
        .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .wanted = 5};
    struct mf_parallel work = {.count = 5, .threads = 5, .run = meet, .arg = &items};
    assert_int_equal(mf_parallel_run(&work, NULL), MF_OK);
}

// Ends when whoever waits has been asked three times.
static enum mf_err wait_for_questions(void *arg, uint32_t i)
{
    (void)i;
    struct items *items = arg;
    pthread_mutex_lock(&items->lock);
    while (items->asked < 3)
        pthread_cond_wait(&items->changed, &items->lock);
    pthread_mutex_unlock(&items->lock);
    return MF_OK;
}

static void ask(void *arg)
{
    struct items *items = arg;
    pthread_mutex_lock(&items->lock);
    items->asked++;
    pthread_cond_broadcast(&items->changed);
    pthread_mutex_unlock(&items->lock);
}

static void whoever_waits_is_asked_meanwhile(void **state)
{
    (void)state;
    for (uint32_t threads = 0; threads < 3; threads++) {
        struct items items = {.lock = PTHREAD_MUTEX_INITIALIZER,
                              .changed = PTHREAD_COND_INITIALIZER};
        struct mf_parallel work = {.count = 2,
                                   .threads = threads,
                                   .run = wait_for_questions,
                                   .waiting = ask,
                                   .wait_ms = 1,
                                   .arg = &items};
        assert_int_equal(mf_parallel_run(&work, NULL), MF_OK);
        assert_true(items.asked >= 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_item_runs_once_whatever_the_number_of_threads),
        cmocka_unit_test(the_lowest_item_that_failed_is_told_and_no_more_are_begun),
        cmocka_unit_test(as_many_run_at_a_time_as_there_are_threads),
        cmocka_unit_test(whoever_waits_is_asked_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
