// The expiry heap against a sorted reference, and the packed form of its nodes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "base/bytes.h"
#include "base/rand.h"
#include "ttl/heap.h"

#define OWNER_BIT 0x40u

static struct mf_heap_node *new_node(uint64_t deadline_us, uint64_t version)
{
    uint8_t bits = mf_heap_node_bits(deadline_us, version);
    // Exactly as large as it says, so that a sanitizer sees a byte too many.
    struct mf_heap_node *node = mf_alloc(MF_HEAP_NODE_BYTES(bits));
    node->bits = (uint8_t)(bits | OWNER_BIT);
    mf_heap_node_set(node, deadline_us, version);
    return node;
}

static void a_node_holds_numbers_of_any_size_and_grows_with_them(void **state)
{
    (void)state;
    static const struct {
        uint64_t deadline_us;
        uint64_t version;
        size_t bytes;
    } cases[] = {
        {0, 1, 16},
        {UINT64_C(0xffffffffffff), UINT64_C(0xffffffffff), 16},
        {UINT64_C(0x123456789abc), UINT64_C(0xfedcba9876), 16},
        {UINT64_C(0x1000000000000), 1, 18},
        {1, UINT64_C(0x10000000000), 19},
        {UINT64_MAX - 1, UINT64_MAX, 21},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mf_heap_node *node = new_node(cases[i].deadline_us, cases[i].version);
        assert_true(mf_heap_node_deadline(node) == cases[i].deadline_us);
        assert_true(mf_heap_node_version(node) == cases[i].version);
        assert_int_equal(MF_HEAP_NODE_BYTES(node->bits), cases[i].bytes);
        assert_int_not_equal(node->bits & OWNER_BIT, 0);
        free(node);
    }
}

static void an_empty_heap_has_no_top(void **state)
{
    (void)state;
    struct mf_heap heap;
    mf_heap_init(&heap);
    assert_null(mf_heap_top(&heap));
    assert_null(mf_heap_pop(&heap));
    assert_true(mf_heap_valid(&heap));
    mf_heap_free(&heap);
}

static void equal_deadlines_pop_in_order_of_version(void **state)
{
    (void)state;
    struct mf_heap heap;
    mf_heap_init(&heap);
    for (uint64_t i = 0; i < 1000; i++)
        mf_heap_push(&heap, new_node(5, i * 367 % 1000 + 1));
    for (uint64_t version = 1; version <= 1000; version++) {
        struct mf_heap_node *node = mf_heap_pop(&heap);
        assert_int_equal(mf_heap_node_version(node), version);
        free(node);
    }
    assert_null(mf_heap_pop(&heap));
    mf_heap_free(&heap);
}

static void a_ttl_rewritten_many_times_leaves_one_node(void **state)
{
    (void)state;
    struct mf_heap heap;
    mf_heap_init(&heap);
    struct mf_heap_node *node = new_node(1, 1);
    mf_heap_push(&heap, node);
    for (uint64_t version = 2; version <= 100000; version++) {
        struct mf_heap_node *fresh = new_node(version * 7, version);
        mf_heap_replace(&heap, node, fresh);
        free(node);
        node = fresh;
    }
    assert_int_equal(heap.count, 1);
    assert_ptr_equal(mf_heap_pop(&heap), node);
    free(node);
    mf_heap_free(&heap);
}

static void removing_a_node_that_is_nowhere_does_nothing(void **state)
{
    (void)state;
    struct mf_heap heap;
    mf_heap_init(&heap);
    struct mf_heap_node *in = new_node(1, 1);
    struct mf_heap_node *out = new_node(2, 2);
    mf_heap_push(&heap, in);
    mf_heap_remove(&heap, out);
    assert_int_equal(heap.count, 1);
    mf_heap_remove(&heap, in);
    mf_heap_remove(&heap, in);
    assert_int_equal(heap.count, 0);
    free(in);
    free(out);
    mf_heap_free(&heap);
}

static void memory_comes_back_when_the_heap_empties(void **state)
{
    (void)state;
    struct mf_heap heap;
    mf_heap_init(&heap);
    for (uint64_t version = 1; version <= 20000; version++)
        mf_heap_push(&heap, new_node(version, version));
    size_t full = mf_heap_bytes(&heap);
    assert_in_range(full, 20000 * sizeof(void *), 20000 * sizeof(void *) + 16384);
    while (mf_heap_top(&heap) != NULL)
        free(mf_heap_pop(&heap));
    assert_in_range(mf_heap_bytes(&heap), 0, full / 10);
    mf_heap_free(&heap);
}

// The reference: all nodes of the heap in an array, searched from end to end.
#define LIVE_MAX 3000

struct model {
    struct mf_heap heap;
    struct mf_heap_node *live[LIVE_MAX];
    size_t count;
    uint64_t version;
    struct mf_rand rand;
};

static bool earlier(const struct mf_heap_node *a, const struct mf_heap_node *b)
{
    uint64_t a_us = mf_heap_node_deadline(a);
    uint64_t b_us = mf_heap_node_deadline(b);
    return a_us < b_us || (a_us == b_us && mf_heap_node_version(a) < mf_heap_node_version(b));
}

static size_t earliest(const struct model *model)
{
    size_t best = 0;
    for (size_t i = 1; i < model->count; i++) {
        if (earlier(model->live[i], model->live[best]))
            best = i;
    }
    return best;
}

static void forget(struct model *model, size_t i)
{
    free(model->live[i]);
    model->live[i] = model->live[--model->count];
}

// Few distinct deadlines, so that versions decide often, and some that need the wide form.
static struct mf_heap_node *random_node(struct model *model)
{
    uint64_t deadline_us = mf_rand_below(&model->rand, 500);
    if (mf_rand_below(&model->rand, 8) == 0)
        deadline_us += UINT64_C(1) << 60;
    uint64_t version = ++model->version;
    if (mf_rand_below(&model->rand, 8) == 0)
        version += UINT64_C(1) << 50;
    return new_node(deadline_us, version);
}

static int by_order(const void *a, const void *b)
{
    return earlier(*(struct mf_heap_node *const *)a, *(struct mf_heap_node *const *)b) ? -1 : 1;
}

// Sorts the reference, which has no order of its own, and takes some of the first nodes out.
static void check_first(struct model *model)
{
    struct mf_heap_node *first[MF_HEAP_FIRST_MAX];
    uint32_t max = (uint32_t)mf_rand_below(&model->rand, MF_HEAP_FIRST_MAX + 1);
    uint64_t until_us =
        mf_rand_below(&model->rand, 2) == 0 ? UINT64_MAX : mf_rand_below(&model->rand, 600);
    uint32_t found = mf_heap_first(&model->heap, until_us, first, max);
    qsort(model->live, model->count, sizeof(*model->live), by_order);
    for (uint32_t i = 0; i < found; i++)
        assert_ptr_equal(first[i], model->live[i]);
    bool more = found < model->count && mf_heap_node_deadline(model->live[found]) <= until_us;
    assert_true(found == max || !more);
    assert_true(found == 0 || mf_heap_node_deadline(first[found - 1]) <= until_us);

    uint32_t taken = (uint32_t)mf_rand_below(&model->rand, found + UINT32_C(1));
    mf_heap_remove_first(&model->heap, first, taken);
    assert_true(mf_heap_valid(&model->heap));
    for (uint32_t i = 0; i < taken; i++)
        mf_heap_remove(&model->heap, first[i]); // is nowhere
    while (taken > 0)
        forget(model, --taken);
    assert_int_equal(model->heap.count, model->count);
}

static void count_visit(void *arg, const struct mf_heap_node *node)
{
    size_t *count = arg;
    assert_non_null(node);
    (*count)++;
}

static void check_due(struct model *model)
{
    uint64_t now_us = mf_rand_below(&model->rand, 600);
    size_t visited = 0;
    size_t due = 0;
    mf_heap_visit_due(&model->heap, now_us, count_visit, &visited);
    for (size_t i = 0; i < model->count; i++)
        due += mf_heap_node_deadline(model->live[i]) <= now_us;
    assert_int_equal(visited, due);
}

static void step(struct model *model, bool filling)
{
    uint64_t dice = mf_rand_below(&model->rand, 100);
    size_t i = mf_rand_below(&model->rand, model->count);
    if (model->count == 0 || (dice < (filling ? 70 : 30) && model->count < LIVE_MAX)) {
        model->live[model->count] = random_node(model);
        mf_heap_push(&model->heap, model->live[model->count++]);
    } else if (dice < 75) {
        size_t best = earliest(model);
        assert_ptr_equal(mf_heap_top(&model->heap), model->live[best]);
        assert_ptr_equal(mf_heap_pop(&model->heap), model->live[best]);
        forget(model, best);
    } else if (dice < 85) {
        mf_heap_remove(&model->heap, model->live[i]);
        forget(model, i);
    } else {
        struct mf_heap_node *fresh = random_node(model);
        mf_heap_replace(&model->heap, model->live[i], fresh);
        free(model->live[i]);
        model->live[i] = fresh;
    }
}

static void any_sequence_pops_what_a_sorted_list_would(void **state)
{
    (void)state;
    struct model *model = mf_calloc(1, sizeof(*model));
    model->rand.state = 4;
    mf_heap_init(&model->heap);
    for (int i = 0; i < 30000; i++) {
        step(model, i / 5000 % 2 == 0);
        assert_int_equal(model->heap.count, model->count);
        if (i % 100 == 0)
            assert_true(mf_heap_valid(&model->heap));
        if (i % 500 == 0)
            check_due(model);
        if (i % 100 == 0)
            check_first(model);
    }
    while (model->count > 0) {
        size_t best = earliest(model);
        assert_ptr_equal(mf_heap_pop(&model->heap), model->live[best]);
        forget(model, best);
    }
    mf_heap_free(&model->heap);
    free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_holds_numbers_of_any_size_and_grows_with_them),
        cmocka_unit_test(an_empty_heap_has_no_top),
        cmocka_unit_test(equal_deadlines_pop_in_order_of_version),
        cmocka_unit_test(a_ttl_rewritten_many_times_leaves_one_node),
        cmocka_unit_test(removing_a_node_that_is_nowhere_does_nothing),
        cmocka_unit_test(memory_comes_back_when_the_heap_empties),
        cmocka_unit_test(any_sequence_pops_what_a_sorted_list_would),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
