// The sequence lock: words that belong together are read together, and a second writer is refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>
#include <pthread.h>

#include "base/seqlock.h"

#define WORDS 64 // many, so that a reader is often in the middle of a write
#define ROUNDS 100000u

static void a_second_writer_is_refused_until_the_first_has_ended(void **state)
{
    (void)state;
    _Atomic uint32_t version = 0;
    assert_true(mf_seq_write_begin(&version));
    assert_false(mf_seq_write_begin(&version));
    mf_seq_write_end(&version);
    assert_true(mf_seq_write_begin(&version));
    mf_seq_write_end(&version);
}

static void what_was_read_around_a_write_is_not_valid(void **state)
{
    (void)state;
    _Atomic uint32_t version = 0;
    uint32_t before = mf_seq_read_begin(&version);
    assert_true(mf_seq_valid(&version, before));
    assert_true(mf_seq_write_begin(&version));
    uint32_t within = mf_seq_read_begin(&version);
    assert_false(mf_seq_valid(&version, before));
    assert_false(mf_seq_valid(&version, within));
    mf_seq_write_end(&version);
    assert_false(mf_seq_valid(&version, before));
    assert_false(mf_seq_valid(&version, within));
    assert_true(mf_seq_valid(&version, mf_seq_read_begin(&version)));
}

struct shared {
    _Atomic uint32_t version;
    _Atomic uint64_t words[WORDS];
    atomic_bool over;
};

static void *write_all_the_time(void *arg)
{
    struct shared *shared = arg;
    for (uint64_t n = 1; !atomic_load_explicit(&shared->over, memory_order_relaxed); n++) {
        if (!mf_seq_write_begin(&shared->version))
            continue;
        for (size_t i = 0; i < WORDS; i++)
            atomic_store_explicit(&shared->words[i], n, memory_order_release);
        mf_seq_write_end(&shared->version);
    }
    return NULL;
}

static void readers_see_all_words_of_one_writer(void **state)
{
    (void)state;
    static struct shared shared;
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_all_the_time, &shared), 0);
    uint64_t mixed = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t words[WORDS];
        uint32_t begun = mf_seq_read_begin(&shared.version);
        for (size_t i = 0; i < WORDS; i++)
            words[i] = atomic_load_explicit(&shared.words[i], memory_order_acquire);
        if (!mf_seq_valid(&shared.version, begun))
            continue;
        for (size_t i = 1; i < WORDS; i++)
            mixed += words[i] != words[0];
    }
    atomic_store_explicit(&shared.over, true, memory_order_relaxed);
    for (size_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(mixed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_second_writer_is_refused_until_the_first_has_ended),
        cmocka_unit_test(what_was_read_around_a_write_is_not_valid),
        cmocka_unit_test(readers_see_all_words_of_one_writer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
