// Byte views, growing buffers and the bounded reader.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "base/bytes.h"

static void views_compare_as_unsigned_bytes_and_a_prefix_comes_first(void **state)
{
    (void)state;
    static const struct {
        struct mf_bytes a;
        struct mf_bytes b;
        int order;
    } cases[] = {
        {{NULL, 0}, {NULL, 0}, 0},
        {{NULL, 0}, {(const uint8_t *)"a", 1}, -1},
        {{(const uint8_t *)"abc", 3}, {(const uint8_t *)"abc", 3}, 0},
        {{(const uint8_t *)"ab", 2}, {(const uint8_t *)"abc", 3}, -1},
        {{(const uint8_t *)"b", 1}, {(const uint8_t *)"abc", 3}, 1},
        {{(const uint8_t *)"\x7f", 1}, {(const uint8_t *)"\x80", 1}, -1},
        {{(const uint8_t *)"a\0b", 3}, {(const uint8_t *)"a\0c", 3}, -1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int order = mf_bytes_compare(cases[i].a, cases[i].b);
        int reverse = mf_bytes_compare(cases[i].b, cases[i].a);
        assert_int_equal((order > 0) - (order < 0), cases[i].order);
        assert_int_equal((reverse > 0) - (reverse < 0), -cases[i].order);
        assert_int_equal(mf_bytes_equal(cases[i].a, cases[i].b), cases[i].order == 0);
    }
}

static void a_text_is_viewed_without_its_nul(void **state)
{
    (void)state;
    struct mf_bytes view = mf_bytes_str("mayfly");
    assert_int_equal(view.len, 6);
    assert_true(mf_bytes_equal(view, mf_bytes_of("mayfly!", 6)));
}

static void integers_are_written_little_endian(void **state)
{
    (void)state;
    struct mf_buf buf = {0};
    mf_buf_u8(&buf, 0x01);
    mf_buf_u16(&buf, 0x0302);
    mf_buf_u32(&buf, 0x07060504);
    mf_buf_u64(&buf, UINT64_C(0x0f0e0d0c0b0a0908));
    assert_int_equal(buf.len, 15);
    for (size_t i = 0; i < buf.len; i++)
        assert_int_equal(buf.data[i], i + 1);
    mf_buf_free(&buf);
}

static void what_was_written_is_read_back(void **state)
{
    (void)state;
    struct mf_buf buf = {0};
    mf_buf_u8(&buf, UINT8_MAX);
    mf_buf_u16(&buf, UINT16_MAX);
    mf_buf_u32(&buf, UINT32_MAX);
    mf_buf_u64(&buf, UINT64_MAX);
    mf_buf_blob(&buf, mf_bytes_str("key"));
    mf_buf_blob(&buf, mf_bytes_of(NULL, 0));
    mf_buf_put(&buf, "tail", 4);
    struct mf_reader r = mf_reader_of(mf_buf_view(&buf));
    assert_int_equal(mf_read_u8(&r), UINT8_MAX);
    assert_int_equal(mf_read_u16(&r), UINT16_MAX);
    assert_true(mf_read_u32(&r) == UINT32_MAX);
    assert_true(mf_read_u64(&r) == UINT64_MAX);
    assert_true(mf_bytes_equal(mf_read_blob(&r), mf_bytes_str("key")));
    assert_int_equal(mf_read_blob(&r).len, 0);
    assert_int_equal(mf_reader_left(&r), 4);
    assert_true(mf_bytes_equal(mf_read_bytes(&r, 4), mf_bytes_str("tail")));
    assert_int_equal(mf_reader_left(&r), 0);
    assert_false(r.failed);
    mf_buf_free(&buf);
}

static void a_read_past_the_end_fails_and_so_does_every_later_one(void **state)
{
    (void)state;
    static const uint8_t three[] = {1, 2, 3};
    struct mf_reader r = mf_reader_of(mf_bytes_of(three, sizeof(three)));
    assert_int_equal(mf_read_u32(&r), 0);
    assert_true(r.failed);
    assert_int_equal(mf_read_u8(&r), 0);
    assert_null(mf_read_bytes(&r, 1).data);
    assert_int_equal(mf_read_blob(&r).len, 0);
    assert_true(r.failed);
}

static void a_blob_longer_than_the_input_is_not_returned(void **state)
{
    (void)state;
    static const uint8_t claims_too_much[] = {0xff, 0xff, 0xff, 0xff, 'x'};
    struct mf_reader r = mf_reader_of(mf_bytes_of(claims_too_much, sizeof(claims_too_much)));
    struct mf_bytes blob = mf_read_blob(&r);
    assert_true(r.failed);
    assert_null(blob.data);
    assert_int_equal(blob.len, 0);
}

static void an_empty_view_without_memory_can_be_read_from(void **state)
{
    (void)state;
    struct mf_reader r = mf_reader_of(mf_bytes_of(NULL, 0));
    assert_int_equal(mf_reader_left(&r), 0);
    assert_int_equal(mf_read_bytes(&r, 0).len, 0);
    assert_false(r.failed);
    assert_int_equal(mf_read_u8(&r), 0);
    assert_true(r.failed);
}

static void a_buffer_keeps_its_content_while_it_grows(void **state)
{
    (void)state;
    struct mf_buf buf = {0};
    for (uint32_t i = 0; i < 10000; i++)
        mf_buf_u32(&buf, i);
    assert_int_equal(buf.len, 40000);
    assert_true(buf.cap >= buf.len);
    struct mf_reader r = mf_reader_of(mf_buf_view(&buf));
    for (uint32_t i = 0; i < 10000; i++)
        assert_int_equal(mf_read_u32(&r), i);
    mf_buf_free(&buf);
    assert_null(buf.data);
    assert_int_equal(buf.cap, 0);
}

static void reserved_room_counts_only_once_it_is_used(void **state)
{
    (void)state;
    struct mf_buf buf = {0};
    mf_buf_put(&buf, "ab", 2);
    uint8_t *at = mf_buf_reserve(&buf, 1000);
    assert_ptr_equal(at, buf.data + 2);
    assert_true(buf.cap >= 1002);
    assert_int_equal(buf.len, 2);
    mf_buf_free(&buf);
}

static void consuming_moves_the_rest_to_the_front(void **state)
{
    (void)state;
    struct mf_buf buf = {0};
    mf_buf_put(&buf, "abcdef", 6);
    mf_buf_consume(&buf, 0);
    assert_int_equal(buf.len, 6);
    mf_buf_consume(&buf, 4);
    assert_true(mf_bytes_equal(mf_buf_view(&buf), mf_bytes_str("ef")));
    mf_buf_consume(&buf, 2);
    assert_int_equal(buf.len, 0);
    mf_buf_free(&buf);
}

static void clearing_keeps_small_memory_and_gives_large_memory_back(void **state)
{
    (void)state;
    struct mf_buf buf = {0};
    mf_buf_reserve(&buf, 1000);
    buf.len = 1000;
    memset(buf.data, 'x', 1000);
    mf_buf_clear(&buf, 4096);
    assert_int_equal(buf.len, 0);
    assert_non_null(buf.data);
    mf_buf_clear(&buf, 100);
    assert_null(buf.data);
    assert_int_equal(buf.cap, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(views_compare_as_unsigned_bytes_and_a_prefix_comes_first),
        cmocka_unit_test(a_text_is_viewed_without_its_nul),
        cmocka_unit_test(integers_are_written_little_endian),
        cmocka_unit_test(what_was_written_is_read_back),
        cmocka_unit_test(a_read_past_the_end_fails_and_so_does_every_later_one),
        cmocka_unit_test(a_blob_longer_than_the_input_is_not_returned),
        cmocka_unit_test(an_empty_view_without_memory_can_be_read_from),
        cmocka_unit_test(a_buffer_keeps_its_content_while_it_grows),
        cmocka_unit_test(reserved_room_counts_only_once_it_is_used),
        cmocka_unit_test(consuming_moves_the_rest_to_the_front),
        cmocka_unit_test(clearing_keeps_small_memory_and_gives_large_memory_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
