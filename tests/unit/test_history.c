// The recent changes of a shard: what is there is complete, and what is not is said to be missing.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/rand.h"
#include "server/history.h"

static void add(struct mf_history *history, uint64_t version, size_t value_bytes)
{
    char key[24];
    char value[4096];
    assert_true(value_bytes <= sizeof(value));
    memset(value, 'v', sizeof(value));
    snprintf(key, sizeof(key), "k%llu", (unsigned long long)version);
    struct mf_event event = {MF_EVENT_SET, mf_bytes_str(key), version,
                             mf_bytes_of(value, value_bytes)};
    mf_history_add(history, &event);
}

struct seen {
    uint64_t next; // the version that has to come, and the one after it, ...
    uint64_t count;
};

static void see(void *arg, const struct mf_event *event)
{
    struct seen *seen = arg;
    char key[24];
    assert_int_equal(event->version, seen->next++);
    snprintf(key, sizeof(key), "k%llu", (unsigned long long)event->version);
    assert_true(mf_bytes_equal(event->key, mf_bytes_str(key)));
    seen->count++;
}

static void nothing_is_missing_at_first(void **state)
{
    (void)state;
    struct mf_history history;
    mf_history_init(&history, 5000); // which makes two halves of 2048
    mf_history_restart(&history, 0);
    assert_int_equal(history.complete_from, 0);
    mf_history_restart(&history, 41);
    assert_int_equal(history.complete_from, 42);
    assert_int_equal(mf_history_bytes(&history), 0);
    for (uint64_t version = 42; version < 50; version++)
        add(&history, version, 10);
    struct seen seen = {.next = 45};
    mf_history_visit(&history, 45, see, &seen);
    assert_int_equal(seen.count, 5);
    assert_int_equal(history.complete_from, 42);
    mf_history_free(&history);
}

static void every_event_from_complete_from_on_is_there(void **state)
{
    (void)state;
    struct mf_history history;
    struct mf_rand rand = {.state = 1};
    mf_history_init(&history, 4096);
    mf_history_restart(&history, 9);
    for (uint64_t version = 10; version < 5000; version++) {
        size_t bytes = (size_t)mf_rand_below(&rand, version % 500 == 0 ? 4000 : 200);
        add(&history, version, bytes);
        assert_true(history.complete_from <= version + 1);
        struct seen seen = {.next = history.complete_from};
        mf_history_visit(&history, history.complete_from, see, &seen);
        assert_int_equal(seen.next, version + 1);
        assert_true(mf_history_bytes(&history) <= 4096);
    }
    assert_true(history.complete_from > 4900);
    mf_history_free(&history);
}

static void a_flush_that_is_cut_in_two_does_not_count(void **state)
{
    (void)state;
    struct mf_history history;
    mf_history_init(&history, 512);
    mf_history_restart(&history, 0);
    for (int i = 0; i < 30; i++) { // more than there is room for, at one version
        struct mf_event event = {MF_EVENT_DEL, mf_bytes_str("key"), 7, mf_bytes_of(NULL, 0)};
        mf_history_add(&history, &event);
    }
    assert_int_equal(history.complete_from, 8);
    add(&history, 8, 1);
    struct seen seen = {.next = 8};
    mf_history_visit(&history, 8, see, &seen);
    assert_int_equal(seen.count, 1);
    mf_history_free(&history);
}

static void an_event_that_is_too_large_empties_it(void **state)
{
    (void)state;
    struct mf_history history;
    mf_history_init(&history, 2048);
    mf_history_restart(&history, 0);
    add(&history, 1, 10);
    add(&history, 2, 1024);
    assert_int_equal(history.complete_from, 3);
    assert_int_equal(mf_history_bytes(&history), 0);
    add(&history, 3, 10);
    struct seen seen = {.next = 3};
    mf_history_visit(&history, 0, see, &seen);
    assert_int_equal(seen.count, 1);
    mf_history_free(&history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_missing_at_first),
        cmocka_unit_test(every_event_from_complete_from_on_is_there),
        cmocka_unit_test(a_flush_that_is_cut_in_two_does_not_count),
        cmocka_unit_test(an_event_that_is_too_large_empties_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
