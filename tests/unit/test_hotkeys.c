// Frequent keys are found, by how much is known, and what has been is forgotten.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/rand.h"
#include "server/hotkeys.h"

#define KEYS 10000
#define SECOND_US UINT64_C(1000000)

static void get(struct mf_hotkeys *hot, struct mf_bytes key)
{
    struct mf_command command = {.op = MF_OP_GET, .item_count = 1};
    command.items = &command.one;
    command.one.key = key;
    mf_hotkeys_note(hot, &command);
}

static void get_number(struct mf_hotkeys *hot, uint32_t number)
{
    char key[16];
    snprintf(key, sizeof(key), "k%u", number);
    get(hot, mf_bytes_str(key));
}

static struct mf_hotkeys *new_sketch(uint64_t random)
{
    struct mf_hotkeys *hot = mf_alloc(sizeof(*hot));
    mf_hotkeys_init(hot, 5, random, 0);
    return hot;
}

// The sketch's keys that count for something, the most frequent first.
static struct mf_hot_sum sum_of(const struct mf_hotkeys *hot)
{
    struct mf_hot_sum sum = {0};
    mf_hot_sum_add(&sum, hot);
    mf_hot_sum_sort(&sum);
    return sum;
}

static uint32_t number_of(const struct mf_hot_key *key)
{
    char text[16] = "";
    assert_true(key->len < sizeof(text) && key->bytes[0] == 'k');
    memcpy(text, key->bytes, key->len);
    return (uint32_t)strtoul(text + 1, NULL, 10);
}

// Key n is drawn with a probability of 1 / (n + 1), but for a factor.
static uint32_t zipf(const double *below, struct mf_rand *rand)
{
    double at = (double)mf_rand_below(rand, UINT64_C(1) << 40) / 0x1p40 * below[KEYS - 1];
    uint32_t low = 0;
    uint32_t high = KEYS - 1;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (below[middle] <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void a_skewed_stream_shows_its_top(void **state)
{
    (void)state;
    enum { OPERATIONS = 2000000, TOP = 5 };
    static double below[KEYS];
    static uint32_t counts[KEYS];
    double harmonic = 0;
    for (uint32_t i = 0; i < KEYS; i++)
        below[i] = harmonic += 1.0 / (i + 1);
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct mf_rand rand = {.state = seed};
        struct mf_hotkeys *hot = new_sketch(seed + 100);
        memset(counts, 0, sizeof(counts));
        for (uint32_t i = 0; i < OPERATIONS; i++) {
            uint32_t number = zipf(below, &rand);
            counts[number]++;
            get_number(hot, number);
        }
        struct mf_hot_sum sum = sum_of(hot);
        assert_true(fabs(sum.total - OPERATIONS) < 0.03 * OPERATIONS);
        assert_true(sum.count >= TOP);
        for (uint32_t i = 0; i < sum.count; i++) {
            uint32_t number = number_of(&sum.keys[i]);
            // Sampling is off by a few square roots, and what may be others' is left out.
            double sampled = 5 * sqrt((counts[number] + 1.0) * MF_HOTKEYS_STRIDE);
            double others = (double)OPERATIONS / MF_HOTKEYS_ENTRIES;
            assert_true(i >= TOP || number == i);
            assert_true(sum.keys[i].operations <= counts[number] + sampled);
            assert_true(sum.keys[i].operations >= counts[number] - sampled - others);
        }
        mf_hot_sum_free(&sum);
        free(hot);
    }
}

static void no_step_that_clients_keep_hides_a_key(void **state)
{
    (void)state;
    for (uint32_t period = 2; period <= 256; period *= 2) {
        struct mf_hotkeys *hot = new_sketch(period);
        for (uint32_t i = 0; i < 400000; i++)
            get_number(hot, i % period);
        struct mf_hot_sum sum = sum_of(hot);
        // Each is one part in `period`: none stands out.
        assert_true(period > MF_HOTKEYS_ENTRIES || sum.count == period);
        assert_true(sum.keys[0].operations < 400000 * (1.0 / period + 0.02));
        mf_hot_sum_free(&sum);
        free(hot);
    }
}

static void rates_are_those_of_now(void **state)
{
    (void)state;
    struct mf_hotkeys *hot = new_sketch(1);
    uint64_t now_us = 0;
    for (uint32_t tenth = 1; tenth <= 600; tenth++) { // a minute of 50000 a second
        for (uint32_t i = 0; i < 5000; i++)
            get_number(hot, i % 2 == 0 ? 0 : 1 + i % 500);
        mf_hotkeys_tick(hot, now_us = tenth * SECOND_US / 10);
        if (tenth % 100 != 0)
            continue;
        struct mf_hot_sum sum = sum_of(hot);
        assert_true(fabs(mf_hot_rate(sum.keys[0].operations, now_us) - 25000) < 2500);
        assert_true(fabs(mf_hot_rate(sum.total, now_us) - 50000) < 5000);
        mf_hot_sum_free(&sum);
    }
    for (uint32_t tenth = 1; tenth <= 600; tenth++) { // and another of 5000
        for (uint32_t i = 0; i < 500; i++)
            get_number(hot, 7777);
        mf_hotkeys_tick(hot, now_us += SECOND_US / 10);
        if (tenth == 100) { // after half of the half-life the old one counts half
            struct mf_hot_sum sum = sum_of(hot);
            assert_true(fabs(mf_hot_rate(sum.keys[0].operations, now_us) - 12500) < 1500);
            mf_hot_sum_free(&sum);
        }
    }
    struct mf_hot_sum sum = sum_of(hot);
    assert_true(
        mf_bytes_equal(mf_bytes_of(sum.keys[0].bytes, sum.keys[0].len), mf_bytes_str("k7777")));
    assert_true(fabs(mf_hot_rate(sum.keys[0].operations, now_us) - 5000) < 600);
    assert_true(mf_hot_rate(sum.keys[1].operations, now_us) < 600); // of 25000, six halves later
    mf_hot_sum_free(&sum);
    mf_hotkeys_tick(hot, now_us + 86400 * SECOND_US);
    sum = sum_of(hot);
    assert_true(sum.total < 1e-9);
    mf_hot_sum_free(&sum);
    for (uint32_t i = 0; i < 10000; i++)
        get_number(hot, 3);
    sum = sum_of(hot);
    assert_true(fabs(sum.keys[0].operations - 10000) < 3000);
    mf_hot_sum_free(&sum);
    free(hot);
}

static void days_of_work_do_not_wear_it_out(void **state)
{
    (void)state;
    struct mf_hotkeys *hot = new_sketch(2);
    for (uint64_t second = 1; second <= 3 * 86400; second++) {
        for (uint32_t i = 0; i < 100; i++)
            get_number(hot, i % 2);
        mf_hotkeys_tick(hot, second * SECOND_US);
    }
    struct mf_hot_sum sum = sum_of(hot);
    assert_int_equal(sum.count, 2);
    assert_true(fabs(mf_hot_rate(sum.total, 3 * 86400 * SECOND_US) - 100) < 70);
    mf_hot_sum_free(&sum);
    free(hot);
}

static void long_keys_are_told_apart_and_cut(void **state)
{
    (void)state;
    struct mf_hotkeys *hot = new_sketch(3);
    char keys[3][2000];
    memset(keys, 'x', sizeof(keys));
    keys[1][1999] = 'y';
    for (uint32_t i = 0; i < 40000; i++) {
        get(hot, mf_bytes_of(keys[0], sizeof(keys[0])));
        get(hot, mf_bytes_of(keys[1], sizeof(keys[1])));
        get(hot, mf_bytes_of(keys[2], MF_HOTKEYS_KEY_BYTES));
    }
    struct mf_hot_sum sum = sum_of(hot);
    assert_int_equal(sum.count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(sum.keys[i].len, MF_HOTKEYS_KEY_BYTES);
        assert_memory_equal(sum.keys[i].bytes, keys[0], MF_HOTKEYS_KEY_BYTES);
    }
    mf_hot_sum_free(&sum);
    free(hot);
}

static void each_key_of_a_command_is_an_operation(void **state)
{
    (void)state;
    enum { ITEMS = 1000 };
    static struct mf_item items[ITEMS];
    struct mf_hotkeys *hot = new_sketch(4);
    for (uint32_t i = 0; i < ITEMS; i++)
        items[i].key = mf_bytes_str(i % 4 == 0 ? "quarter" : "rest");
    const struct mf_command command = {.op = MF_OP_MGET, .items = items, .item_count = ITEMS};
    const struct mf_command none = {.op = MF_OP_SIZE};
    for (uint32_t i = 0; i < 1000; i++) {
        mf_hotkeys_note(hot, &command);
        mf_hotkeys_note(hot, &none);
    }
    struct mf_hot_sum sum = sum_of(hot);
    assert_int_equal(sum.count, 2);
    assert_true(fabs(sum.keys[1].operations - 250000) < 25000);
    mf_hot_sum_free(&sum);
    free(hot);
}

static void sketches_of_several_reactors_are_one_picture(void **state)
{
    (void)state;
    struct mf_hot_sum sum = {0};
    for (uint64_t i = 0; i < 3; i++) {
        struct mf_hotkeys *hot = new_sketch(10 + i);
        mf_hotkeys_tick(hot, i * 300 * SECOND_US); // their weights are not alike
        for (uint32_t n = 0; n < 100000; n++) {
            get_number(hot, 1);
            get_number(hot, 100 + (uint32_t)i);
        }
        mf_hot_sum_add(&sum, hot);
        free(hot);
    }
    mf_hot_sum_sort(&sum);
    assert_int_equal(sum.count, 4);
    assert_true(fabs(sum.keys[0].operations - 300000) < 30000);
    assert_true(fabs(sum.keys[3].operations - 100000) < 20000);
    mf_hot_sum_free(&sum);
    mf_hot_sum_sort(&sum); // of nothing
    assert_int_equal(sum.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_skewed_stream_shows_its_top),
        cmocka_unit_test(no_step_that_clients_keep_hides_a_key),
        cmocka_unit_test(rates_are_those_of_now),
        cmocka_unit_test(days_of_work_do_not_wear_it_out),
        cmocka_unit_test(long_keys_are_told_apart_and_cut),
        cmocka_unit_test(each_key_of_a_command_is_an_operation),
        cmocka_unit_test(sketches_of_several_reactors_are_one_picture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
