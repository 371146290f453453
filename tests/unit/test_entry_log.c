// The log of a group in memory, against a plain array; and that what is cut off is freed in parts.
#include "consensus/entry_log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rand.h"

#define SLOTS 4096u
#define PAYLOAD_BYTES 10u

struct model {
    struct mf_entry_log log;
    uint64_t first;
    uint64_t end;                      // no slot from here on has a place
    mf_ballot_t ballots[SLOTS];        // 0: nothing accepted
    struct mf_payload *payload[SLOTS]; // a reference of the test's
};

static struct mf_payload *new_payload(uint64_t seed)
{
    uint8_t bytes[PAYLOAD_BYTES] = {(uint8_t)seed};
    return mf_payload_new(MF_ENTRY_COMMANDS, mf_bytes_of(bytes, 1 + seed % PAYLOAD_BYTES));
}

static void put(struct model *model, uint64_t slot, mf_ballot_t ballot)
{
    struct mf_payload *payload = ballot % 7 == 0 ? NULL : new_payload(ballot);
    struct mf_log_entry *entry = mf_entry_log_put(&model->log, slot, ballot, ballot * 10, payload);
    assert_int_equal(entry->acks, 0);
    assert_int_equal(entry->persist_seq, 0);
    entry->acks = (uint32_t)ballot;
    mf_payload_unref(model->payload[slot]);
    model->payload[slot] = payload;
    model->ballots[slot] = ballot;
    model->end = slot + 1 > model->end ? slot + 1 : model->end;
}

static void cut(struct model *model, uint64_t first)
{
    mf_entry_log_cut(&model->log, first);
    model->first = first > model->first ? first : model->first;
    model->end = model->end > model->first ? model->end : model->first;
}

static void check(const struct model *model)
{
    assert_int_equal(model->log.first, model->first);
    assert_int_equal(mf_entry_log_last(&model->log), model->end - 1);
    for (uint64_t slot = 0; slot < SLOTS; slot++) {
        const struct mf_log_entry *entry = mf_entry_log_get(&model->log, slot);
        if (slot < model->first || slot >= model->end || model->ballots[slot] == 0) {
            assert_null(entry);
            continue;
        }
        assert_non_null(entry);
        assert_int_equal(entry->ballot, model->ballots[slot]);
        assert_int_equal(entry->log_time_us, model->ballots[slot] * 10);
        assert_int_equal(entry->acks, (uint32_t)model->ballots[slot]);
        assert_ptr_equal(entry->payload, model->payload[slot]);
    }
}

// Only the test refers to any payload any more, and no byte is counted.
static void check_freed(struct model *model)
{
    for (uint64_t slot = 0; slot < SLOTS; slot++) {
        if (model->payload[slot] != NULL)
            assert_int_equal(model->payload[slot]->references, 1);
        mf_payload_unref(model->payload[slot]);
    }
    assert_int_equal(model->log.bytes, 0);
}

static void it_holds_what_was_put_whatever_is_cut_and_reclaimed(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct mf_rand rand = {seed};
        struct model *model = calloc(1, sizeof(*model));
        model->first = model->end = 1 + mf_rand_below(&rand, 100);
        mf_entry_log_init(&model->log, model->first);
        for (mf_ballot_t ballot = 1; ballot < 1500 && model->end + 600 < SLOTS; ballot++) {
            uint64_t dice = mf_rand_below(&rand, 100);
            uint64_t span = model->end - model->first;
            if (dice < 70)
                put(model, model->first + mf_rand_below(&rand, span + 3), ballot);
            else if (dice < 80)
                put(model, model->end + mf_rand_below(&rand, 100), ballot);
            else if (dice < 90)
                mf_entry_log_reclaim(&model->log, mf_rand_below(&rand, 80));
            else if (dice < 98)
                cut(model, model->first + mf_rand_below(&rand, span + 1));
            else
                cut(model, model->end + mf_rand_below(&rand, 200));
            if (ballot % 50 == 0)
                check(model);
        }
        check(model);
        if (seed % 2 == 0)
            mf_entry_log_cut(&model->log, SLOTS);
        while (mf_entry_log_litter(&model->log))
            mf_entry_log_reclaim(&model->log, 100);
        mf_entry_log_free(&model->log);
        check_freed(model);
        free(model);
    }
}

// Fills slots 1 to `count` with payloads of one byte each.
static void fill(struct mf_entry_log *log, uint64_t count)
{
    mf_entry_log_init(log, 1);
    for (uint64_t slot = 1; slot <= count; slot++) {
        struct mf_payload *payload = mf_payload_new(MF_ENTRY_COMMANDS, mf_bytes_str("x"));
        mf_entry_log_put(log, slot, 1, 1, payload);
        mf_payload_unref(payload);
    }
    assert_int_equal(log->bytes, count);
}

static void a_cut_frees_nothing_and_each_reclaim_only_its_part(void **state)
{
    (void)state;
    struct mf_entry_log log;
    fill(&log, 100000);
    mf_entry_log_cut(&log, 90001);
    assert_int_equal(log.bytes, 100000);
    for (uint64_t left = 90000; left > 0; left -= 1000) {
        assert_true(mf_entry_log_litter(&log));
        assert_int_equal(log.bytes, left + 10000);
        mf_entry_log_reclaim(&log, 1000);
    }
    assert_false(mf_entry_log_litter(&log));
    assert_int_equal(log.bytes, 10000);
    mf_entry_log_reclaim(&log, 1000);
    assert_int_equal(log.bytes, 10000);
    mf_entry_log_free(&log);
}

static void a_log_that_goes_on_far_ahead_still_frees_in_parts(void **state)
{
    (void)state;
    struct mf_entry_log log;
    fill(&log, 50000);
    uint64_t far = UINT64_C(1) << 50;
    mf_entry_log_cut(&log, far);
    assert_int_equal(log.bytes, 50000);
    struct mf_payload *payload = mf_payload_new(MF_ENTRY_COMMANDS, mf_bytes_str("far"));
    mf_entry_log_put(&log, far + 1, 2, 2, payload);
    assert_int_equal(payload->references, 2);
    mf_entry_log_reclaim(&log, 1000);
    assert_int_equal(log.bytes, 49003);
    while (mf_entry_log_litter(&log))
        mf_entry_log_reclaim(&log, 1000);
    assert_int_equal(log.bytes, 3);
    assert_non_null(mf_entry_log_get(&log, far + 1));
    assert_null(mf_entry_log_get(&log, far));
    mf_entry_log_free(&log);
    assert_int_equal(payload->references, 1);
    mf_payload_unref(payload);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_holds_what_was_put_whatever_is_cut_and_reclaimed),
        cmocka_unit_test(a_cut_frees_nothing_and_each_reclaim_only_its_part),
        cmocka_unit_test(a_log_that_goes_on_far_ahead_still_frees_in_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
