// The ring between threads: order, refusal when full, nothing lost or doubled by many producers.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/ring.h"

static void items_come_out_in_the_order_they_went_in(void **state)
{
    (void)state;
    struct mf_ring *ring = mf_ring_new(8);
    int items[5];
    for (size_t i = 0; i < 5; i++)
        assert_true(mf_ring_push(ring, &items[i]));
    for (size_t i = 0; i < 5; i++)
        assert_ptr_equal(mf_ring_pop(ring), &items[i]);
    assert_null(mf_ring_pop(ring));
    mf_ring_free(ring);
}

static void a_full_ring_refuses_and_takes_again_after_a_pop(void **state)
{
    (void)state;
    struct mf_ring *ring = mf_ring_new(4);
    int items[4];
    for (size_t i = 0; i < 3; i++)
        assert_true(mf_ring_push(ring, &items[i]));
    assert_false(mf_ring_push(ring, &items[3]));
    assert_ptr_equal(mf_ring_pop(ring), &items[0]);
    assert_true(mf_ring_push(ring, &items[3]));
    assert_false(mf_ring_push(ring, &items[0]));
    for (size_t i = 1; i < 4; i++)
        assert_ptr_equal(mf_ring_pop(ring), &items[i]);
    assert_null(mf_ring_pop(ring));
    mf_ring_free(ring);
}

static void a_ring_goes_round_any_number_of_times(void **state)
{
    (void)state;
    struct mf_ring *ring = mf_ring_new(4);
    int items[2];
    for (int lap = 0; lap < 1000; lap++) {
        assert_true(mf_ring_push(ring, &items[0]));
        assert_true(mf_ring_push(ring, &items[1]));
        assert_ptr_equal(mf_ring_pop(ring), &items[0]);
        assert_ptr_equal(mf_ring_pop(ring), &items[1]);
    }
    assert_null(mf_ring_pop(ring));
    mf_ring_free(ring);
}

static void freeing_no_ring_is_allowed(void **state)
{
    (void)state;
    mf_ring_free(NULL);
}

#define PRODUCERS 4u
#define ITEMS_EACH 20000u

struct message {
    unsigned producer;
    unsigned number;
};

struct producer {
    struct mf_ring *ring;
    unsigned id;
};

// Writes plain memory before each push: the consumer must see it, and ThreadSanitizer must agree.
static void *produce(void *arg)
{
    const struct producer *self = arg;
    for (unsigned i = 0; i < ITEMS_EACH; i++) {
        struct message *message = mf_alloc(sizeof(*message));
        message->producer = self->id;
        message->number = i;
        while (!mf_ring_push(self->ring, message))
            sched_yield();
    }
    return NULL;
}

static void many_producers_lose_and_double_nothing_and_keep_their_own_order(void **state)
{
    (void)state;
    struct mf_ring *ring = mf_ring_new(64);
    struct producer producers[PRODUCERS];
    pthread_t threads[PRODUCERS];
    for (unsigned i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){.ring = ring, .id = i};
        assert_int_equal(pthread_create(&threads[i], NULL, produce, &producers[i]), 0);
    }
    unsigned next[PRODUCERS] = {0};
    for (unsigned taken = 0; taken < PRODUCERS * ITEMS_EACH;) {
        struct message *message = mf_ring_pop(ring);
        if (message == NULL) {
            sched_yield();
            continue;
        }
        assert_in_range(message->producer, 0, PRODUCERS - 1);
        assert_int_equal(message->number, next[message->producer]);
        next[message->producer]++;
        taken++;
        free(message);
    }
    assert_null(mf_ring_pop(ring));
    for (unsigned i = 0; i < PRODUCERS; i++)
        pthread_join(threads[i], NULL);
    mf_ring_free(ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_come_out_in_the_order_they_went_in),
        cmocka_unit_test(a_full_ring_refuses_and_takes_again_after_a_pop),
        cmocka_unit_test(a_ring_goes_round_any_number_of_times),
        cmocka_unit_test(freeing_no_ring_is_allowed),
        cmocka_unit_test(many_producers_lose_and_double_nothing_and_keep_their_own_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
