// Paxos messages survive their binary form, and no bytes can hurt the decoder.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"
#include "consensus/paxos_msg.h"

static struct mf_paxos_msg sample(struct mf_paxos_entry entries[2])
{
    entries[0] = (struct mf_paxos_entry){
        .slot = 7,
        .ballot = 9,
        .log_time_us = 11,
        .payload = mf_payload_new(MF_ENTRY_COMMANDS, mf_bytes_str("payload"))};
    entries[1] = (struct mf_paxos_entry){.slot = 8, .ballot = 9, .log_time_us = 12};
    return (struct mf_paxos_msg){.type = MF_PAXOS_ACCEPT,
                                 .incarnation = 3,
                                 .support = 4,
                                 .ballot = UINT64_MAX - 1,
                                 .slot = 7,
                                 .last = 8,
                                 .chosen = 6,
                                 .read_seq = 5,
                                 .stamp = {.source = 2, .log_us = 1234567, .ballot = 89},
                                 .entry_count = 2,
                                 .entries = entries};
}

static void every_field_survives_the_binary_form(void **state)
{
    (void)state;
    struct mf_paxos_entry entries[2];
    struct mf_paxos_msg msg = sample(entries);
    struct mf_buf bytes = {0};
    mf_paxos_msg_encode(&msg, &bytes);
    struct mf_reader reader = mf_reader_of(mf_buf_view(&bytes));
    struct mf_paxos_msg back;
    assert_int_equal(mf_paxos_msg_decode(&reader, &back), MF_OK);
    assert_int_equal(mf_reader_left(&reader), 0);
    assert_int_equal(back.type, msg.type);
    assert_int_equal(back.incarnation, 3);
    assert_int_equal(back.support, 4);
    assert_int_equal(back.ballot, msg.ballot);
    assert_int_equal(back.slot, msg.slot);
    assert_int_equal(back.last, msg.last);
    assert_int_equal(back.chosen, msg.chosen);
    assert_int_equal(back.read_seq, msg.read_seq);
    assert_int_equal(back.stamp.source, 2);
    assert_int_equal(back.stamp.log_us, 1234567);
    assert_int_equal(back.stamp.ballot, 89);
    assert_int_equal(back.entry_count, 2);
    assert_true(mf_bytes_equal(mf_payload_bytes(back.entries[0].payload), mf_bytes_str("payload")));
    assert_null(back.entries[1].payload);
    assert_int_equal(back.entries[1].log_time_us, 12);
    mf_paxos_msg_free(&back);
    mf_payload_unref(entries[0].payload);
    mf_buf_free(&bytes);
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    struct mf_paxos_entry entries[2];
    struct mf_paxos_msg msg = sample(entries);
    struct mf_buf bytes = {0};
    mf_paxos_msg_encode(&msg, &bytes);
    for (size_t len = 0; len < bytes.len; len++) {
        struct mf_reader reader = mf_reader_of(mf_bytes_of(bytes.data, len));
        struct mf_paxos_msg back;
        assert_int_equal(mf_paxos_msg_decode(&reader, &back), MF_CORRUPT);
    }
    mf_payload_unref(entries[0].payload);
    mf_buf_free(&bytes);
}

static void slots_must_ascend_and_ballots_be_real(void **state)
{
    (void)state;
    struct mf_paxos_entry entries[2];
    struct mf_paxos_msg msg = sample(entries);
    for (int i = 0; i < 3; i++) {
        uint64_t slot = entries[1].slot;
        mf_ballot_t ballot = entries[1].ballot;
        if (i == 0)
            entries[1].slot = 7;
        else if (i == 1)
            entries[1].ballot = 0;
        else
            msg.type = (enum mf_paxos_type)(MF_PAXOS_TYPE_MAX + 1);
        struct mf_buf bytes = {0};
        mf_paxos_msg_encode(&msg, &bytes);
        struct mf_reader reader = mf_reader_of(mf_buf_view(&bytes));
        struct mf_paxos_msg back;
        assert_int_equal(mf_paxos_msg_decode(&reader, &back), MF_CORRUPT);
        mf_buf_free(&bytes);
        entries[1].slot = slot;
        entries[1].ballot = ballot;
    }
    mf_payload_unref(entries[0].payload);
}

// A claimed count costs nothing before its bytes are there; ASan watches the rest.
static void random_damage_never_hurts(void **state)
{
    (void)state;
    struct mf_rand rand = {.state = 42};
    struct mf_paxos_entry entries[2];
    struct mf_paxos_msg msg = sample(entries);
    struct mf_buf bytes = {0};
    mf_paxos_msg_encode(&msg, &bytes);
    uint32_t whole = 0;
    for (int i = 0; i < 20000; i++) {
        struct mf_buf copy = {0};
        mf_buf_put(&copy, bytes.data, bytes.len);
        for (uint64_t k = mf_rand_below(&rand, 4) + 1; k > 0; k--)
            copy.data[mf_rand_below(&rand, copy.len)] = (uint8_t)mf_rand_next(&rand);
        struct mf_reader reader = mf_reader_of(mf_buf_view(&copy));
        struct mf_paxos_msg back;
        if (mf_paxos_msg_decode(&reader, &back) == MF_OK) {
            whole++;
            mf_paxos_msg_free(&back);
        }
        mf_buf_free(&copy);
    }
    assert_true(whole > 0 && whole < 20000);
    mf_payload_unref(entries[0].payload);
    mf_buf_free(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_survives_the_binary_form),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(slots_must_ascend_and_ballots_be_real),
        cmocka_unit_test(random_damage_never_hurts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
