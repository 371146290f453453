// The items of a checkpoint's stream: they come back as they were, and nothing else comes through.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "rpc/peer_snapshot.h"

static const struct mf_peer_offer an_offer = {
    .number = 7,
    .incarnation = 1,
    .file = {.slot = 900, .log_time_us = 12345, .bytes = 1u << 20, .identity = 0xfeed}};
static const struct mf_peer_ack an_ack = {
    .number = 7, .identity = 0xfeed, .offset = 4096, .verdict = MF_PEER_WANTS};

static void an_offer_comes_back_as_it_was(void **state)
{
    (void)state;
    struct mf_buf out = {0};
    struct mf_peer_offer back;
    mf_peer_put_offer(&out, &an_offer);
    assert_int_equal(mf_peer_get_offer(mf_buf_view(&out), &back), MF_OK);
    assert_memory_equal(&back, &an_offer, sizeof(back));
    for (size_t len = 0; len < out.len; len++)
        assert_int_equal(mf_peer_get_offer(mf_bytes_of(out.data, len), &back), MF_CORRUPT);
    mf_buf_u8(&out, 0);
    assert_int_equal(mf_peer_get_offer(mf_buf_view(&out), &back), MF_CORRUPT);
    mf_buf_free(&out);
}

static enum mf_err offer_of(struct mf_peer_offer offer)
{
    struct mf_buf out = {0};
    mf_peer_put_offer(&out, &offer);
    enum mf_err err = mf_peer_get_offer(mf_buf_view(&out), &offer);
    mf_buf_free(&out);
    return err;
}

static void an_offer_without_number_slot_or_size_is_refused(void **state)
{
    (void)state;
    struct mf_peer_offer offer = an_offer;
    offer.number = 0;
    assert_int_equal(offer_of(offer), MF_CORRUPT);
    offer = an_offer;
    offer.file.slot = 0;
    assert_int_equal(offer_of(offer), MF_CORRUPT);
    offer = an_offer;
    offer.file.bytes = 0;
    assert_int_equal(offer_of(offer), MF_CORRUPT);
    offer.file.bytes = (UINT64_C(1) << 63) + 1;
    assert_int_equal(offer_of(offer), MF_CORRUPT);
    offer.file.bytes--;
    assert_int_equal(offer_of(offer), MF_OK);
}

static enum mf_err chunk_of(uint64_t number, uint64_t offset, size_t len)
{
    static uint8_t bytes[MF_PEER_CHUNK_BYTES_MAX + 1];
    struct mf_buf out = {0};
    struct mf_peer_chunk chunk = {
        .number = number, .identity = 3, .offset = offset, .bytes = mf_bytes_of(bytes, len)};
    struct mf_peer_chunk back;
    mf_peer_put_chunk(&out, &chunk);
    enum mf_err err = mf_peer_get_chunk(mf_buf_view(&out), &back);
    if (err == MF_OK) {
        assert_int_equal(back.number, number);
        assert_int_equal(back.identity, 3);
        assert_int_equal(back.offset, offset);
        assert_int_equal(back.bytes.len, len);
    }
    mf_buf_free(&out);
    return err;
}

static void a_chunk_has_bytes_but_not_too_many(void **state)
{
    (void)state;
    uint64_t end = UINT64_C(1) << 63;
    assert_int_equal(chunk_of(1, 0, 1), MF_OK);
    assert_int_equal(chunk_of(1, 0, MF_PEER_CHUNK_BYTES_MAX), MF_OK);
    assert_int_equal(chunk_of(1, 0, 0), MF_CORRUPT);
    assert_int_equal(chunk_of(1, 0, MF_PEER_CHUNK_BYTES_MAX + 1), MF_CORRUPT);
    assert_int_equal(chunk_of(0, 0, 1), MF_CORRUPT);
    assert_int_equal(chunk_of(1, end - 1, 1), MF_OK);
    assert_int_equal(chunk_of(1, end, 1), MF_CORRUPT);
    assert_int_equal(chunk_of(1, UINT64_MAX, 1), MF_CORRUPT);
    struct mf_peer_chunk back;
    uint8_t bytes[24] = {1};
    for (size_t len = 0; len <= sizeof(bytes); len++)
        assert_int_equal(mf_peer_get_chunk(mf_bytes_of(bytes, len), &back), MF_CORRUPT);
}

static void an_ack_comes_back_as_it_was(void **state)
{
    (void)state;
    struct mf_buf out = {0};
    struct mf_peer_ack back;
    mf_peer_put_ack(&out, &an_ack);
    assert_int_equal(mf_peer_get_ack(mf_buf_view(&out), &back), MF_OK);
    assert_int_equal(back.number, an_ack.number);
    assert_int_equal(back.identity, an_ack.identity);
    assert_int_equal(back.offset, an_ack.offset);
    assert_int_equal(back.verdict, an_ack.verdict);
    for (size_t len = 0; len < out.len; len++)
        assert_int_equal(mf_peer_get_ack(mf_bytes_of(out.data, len), &back), MF_CORRUPT);
    mf_buf_u8(&out, 0);
    assert_int_equal(mf_peer_get_ack(mf_buf_view(&out), &back), MF_CORRUPT);
    mf_buf_free(&out);
}

static void an_ack_has_a_known_verdict_and_an_offset_only_where_it_means_something(void **state)
{
    (void)state;
    struct mf_peer_ack back;
    for (unsigned verdict = 0; verdict < 256; verdict++) {
        for (uint64_t offset = 0; offset < 2; offset++) {
            bool known = verdict >= MF_PEER_WANTS && verdict <= MF_PEER_REFUSES &&
                         (offset == 0 || verdict == MF_PEER_WANTS);
            struct mf_buf out = {0};
            mf_buf_u64(&out, 1);
            mf_buf_u64(&out, 2);
            mf_buf_u64(&out, offset);
            mf_buf_u8(&out, (uint8_t)verdict);
            assert_int_equal(mf_peer_get_ack(mf_buf_view(&out), &back), known ? MF_OK : MF_CORRUPT);
            mf_buf_free(&out);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_offer_comes_back_as_it_was),
        cmocka_unit_test(an_offer_without_number_slot_or_size_is_refused),
        cmocka_unit_test(a_chunk_has_bytes_but_not_too_many),
        cmocka_unit_test(an_ack_comes_back_as_it_was),
        cmocka_unit_test(an_ack_has_a_known_verdict_and_an_offset_only_where_it_means_something),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
