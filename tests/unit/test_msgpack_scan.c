// The scan and the cursor over raw MessagePack bytes.
//
// Inputs are copied to allocations of their exact size, so that the address sanitizer sees every
// read past what has come.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/rand.h"
#include "rpc/msgpack_scan.h"

#define NO_LIMIT ((size_t)1 << 40)

struct outcome {
    enum mf_err err;
    size_t size;
};

static enum mf_err scan_copy(struct mf_msgpack_scan *scan, const uint8_t *data, size_t len,
                             size_t size_max, size_t *size)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    memcpy(copy, data, len);
    enum mf_err err = mf_msgpack_scan(scan, mf_bytes_of(copy, len), size_max, size);
    free(copy);
    return err;
}

static struct outcome scan_at_once(struct mf_bytes input, size_t size_max)
{
    struct mf_msgpack_scan scan = {0};
    struct outcome out = {0};
    out.err = scan_copy(&scan, input.data, input.len, size_max, &out.size);
    return out;
}

static struct outcome scan_byte_by_byte(struct mf_bytes input, size_t size_max)
{
    struct mf_msgpack_scan scan = {0};
    struct outcome out = {.err = MF_AGAIN};
    for (size_t len = 0; len <= input.len && out.err == MF_AGAIN; len++)
        out.err = scan_copy(&scan, input.data, len, size_max, &out.size);
    return out;
}

// An outcome both ways of feeding agree on.
static struct outcome scan_both_ways(struct mf_bytes input, size_t size_max)
{
    struct outcome at_once = scan_at_once(input, size_max);
    struct outcome piecemeal = scan_byte_by_byte(input, size_max);
    assert_int_equal(at_once.err, piecemeal.err);
    assert_int_equal(at_once.size, piecemeal.size);
    return at_once;
}

static void put_be(struct mf_buf *out, uint64_t value, size_t bytes)
{
    for (size_t i = bytes; i-- > 0;)
        mf_buf_u8(out, (uint8_t)(value >> (8 * i)));
}

static void put_noise(struct mf_rand *rand, struct mf_buf *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        mf_buf_u8(out, (uint8_t)mf_rand_next(rand));
}

// What follows the first bytes 0xc0 to 0xdf: width of the length, then fixed payload bytes.
static const uint8_t length_width[32] = {0, 0, 0, 0, 1, 2, 4, 1, 2, 4, 0, 0, 0, 0, 0, 0,
                                         0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4};
static const uint8_t fixed_bytes[32] = {0, 0, 0, 0, 0, 0, 0, 1, 1,  1, 4, 8, 1, 2, 4, 8,
                                        1, 2, 4, 8, 2, 3, 5, 9, 17, 0, 0, 0, 0, 0, 0, 0};

static void put_random_object(struct mf_rand *rand, struct mf_buf *out, unsigned depth);

static void put_elements(struct mf_rand *rand, struct mf_buf *out, uint64_t count, unsigned depth)
{
    for (uint64_t i = 0; i < count; i++)
        put_random_object(rand, out, depth);
}

// Any first byte that MessagePack knows, lengths in any width.
static void put_random_object(struct mf_rand *rand, struct mf_buf *out, unsigned depth)
{
    uint8_t first = (uint8_t)mf_rand_next(rand);
    bool container = (first >= 0x80 && first <= 0x9f) || first >= 0xdc;
    if (first == 0xc1 || (container && first <= 0xdf && depth == 0))
        first = 0xc0;
    if (first >= 0x80 && first <= 0x9f)
        first &= 0xf3; // up to three, or the tree explodes
    mf_buf_u8(out, first);
    if (first >= 0x80 && first <= 0x8f) {
        put_elements(rand, out, (first & 0x0fu) * 2u, depth - 1);
    } else if (first >= 0x90 && first <= 0x9f) {
        put_elements(rand, out, first & 0x0fu, depth - 1);
    } else if (first >= 0xa0 && first <= 0xbf) {
        put_noise(rand, out, first & 0x1fu);
    } else if (first >= 0xc0 && first <= 0xdf) {
        size_t row = first - 0xc0u;
        uint64_t length = length_width[row] > 0 ? mf_rand_below(rand, first >= 0xdc ? 4 : 40) : 0;
        put_be(out, length, length_width[row]);
        if (first >= 0xdc)
            put_elements(rand, out, first >= 0xde ? length * 2 : length, depth - 1);
        else
            put_noise(rand, out, fixed_bytes[row] + length);
    }
}

static void a_random_object_ends_where_it_ends_however_it_arrives(void **state)
{
    (void)state;
    struct mf_rand rand = {.state = 1};
    struct mf_buf object = {0};
    for (int round = 0; round < 3000; round++) {
        mf_buf_clear(&object, SIZE_MAX);
        put_random_object(&rand, &object, (unsigned)mf_rand_below(&rand, 6));
        size_t size = object.len;
        struct outcome out = scan_both_ways(mf_buf_view(&object), NO_LIMIT);
        assert_int_equal(out.err, MF_OK);
        assert_int_equal(out.size, size);
        // What follows the object is not looked at.
        put_noise(&rand, &object, 20);
        out = scan_both_ways(mf_buf_view(&object), NO_LIMIT);
        assert_int_equal(out.err, MF_OK);
        assert_int_equal(out.size, size);
        // Whole is the limit; one byte less is too large.
        assert_int_equal(scan_both_ways(mf_buf_view(&object), size).err, MF_OK);
        assert_int_equal(scan_both_ways(mf_buf_view(&object), size - 1).err, MF_TOO_LARGE);
    }
    mf_buf_free(&object);
}

static void garbage_gets_the_same_verdict_however_it_arrives(void **state)
{
    (void)state;
    struct mf_rand rand = {.state = 2};
    struct mf_buf garbage = {0};
    size_t verdicts[MF_ERR_COUNT] = {0};
    for (int round = 0; round < 20000; round++) {
        mf_buf_clear(&garbage, SIZE_MAX);
        put_noise(&rand, &garbage, mf_rand_below(&rand, 64));
        size_t size_max = (size_t)mf_rand_below(&rand, 200);
        struct outcome out = scan_both_ways(mf_buf_view(&garbage), size_max);
        verdicts[out.err]++;
        if (out.err == MF_OK)
            assert_true(out.size >= 1 && out.size <= garbage.len && out.size <= size_max);
    }
    assert_true(verdicts[MF_OK] > 100);
    assert_true(verdicts[MF_AGAIN] > 100);
    assert_true(verdicts[MF_TOO_LARGE] > 100);
    assert_true(verdicts[MF_CORRUPT] > 100);
    mf_buf_free(&garbage);
}

static void a_claim_over_the_limit_is_refused_with_its_head(void **state)
{
    (void)state;
    static const struct {
        uint8_t bytes[8];
        size_t len;
    } cases[] = {
        {{0xdd, 0xff, 0xff, 0xff, 0xff}, 5},       // array of 2^32-1
        {{0xdf, 0xff, 0xff, 0xff, 0xff}, 5},       // map of 2^32-1 pairs
        {{0xdf, 0x00, 0x00, 0x01, 0xf4}, 5},       // map of 500 pairs: 1000 elements and a head
        {{0xdb, 0xff, 0xff, 0xff, 0xff}, 5},       // str
        {{0xc6, 0xff, 0xff, 0xff, 0xff}, 5},       // bin
        {{0xc9, 0xff, 0xff, 0xff, 0xff}, 5},       // ext
        {{0xc5, 0x03, 0xe6}, 3},                   // bin of 998: 1001 with its head
        {{0xdc, 0x03, 0x20, 0xdc, 0x00, 0xc8}, 6}, // 800, the first of them 200 more
        {{0xdc, 0x03, 0x20, 0xda, 0x00, 0xc8}, 6}, // 800, the first of them a str of 200
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct mf_bytes input = mf_bytes_of(cases[i].bytes, cases[i].len);
        assert_int_equal(scan_both_ways(input, 1000).err, MF_TOO_LARGE);
    }
}

static void a_head_over_the_limit_is_refused_with_its_first_byte(void **state)
{
    (void)state;
    const uint8_t bin32 = 0xc6;
    assert_int_equal(scan_both_ways(mf_bytes_of(&bin32, 1), 5).err, MF_AGAIN);
    assert_int_equal(scan_both_ways(mf_bytes_of(&bin32, 1), 4).err, MF_TOO_LARGE);
}

static void what_came_before_counts_against_a_later_claim(void **state)
{
    (void)state;
    struct mf_buf nested = {0};
    mf_buf_put(&nested, "\x92\xdc\x01\xf4", 4); // two elements, the first an array of 500
    memset(mf_buf_reserve(&nested, 500), 0xc0, 500);
    nested.len += 500;
    mf_buf_put(&nested, "\xdc\x01\xf0", 3); // the second an array of 496
    assert_int_equal(scan_both_ways(mf_buf_view(&nested), 1003).err, MF_AGAIN);
    assert_int_equal(scan_both_ways(mf_buf_view(&nested), 1002).err, MF_TOO_LARGE);
    mf_buf_free(&nested);
}

static void a_claim_within_the_limit_waits_without_looking_further(void **state)
{
    (void)state;
    struct mf_msgpack_scan scan = {0};
    size_t size = 0;
    const uint8_t head[] = {0xc6, 0xff, 0xff, 0xff, 0xff};
    assert_int_equal(scan_copy(&scan, head, sizeof(head), SIZE_MAX, &size), MF_AGAIN);
    assert_true(scan.offset == (size_t)UINT32_MAX + 5);
    scan = (struct mf_msgpack_scan){0};
    const uint8_t deep[] = {0xdf, 0xff, 0xff, 0xff, 0xff, 0xdf, 0xff, 0xff, 0xff, 0xff};
    assert_int_equal(scan_copy(&scan, deep, sizeof(deep), SIZE_MAX, &size), MF_AGAIN);
    assert_true(scan.left[0] == (uint64_t)UINT32_MAX * 2 - 1);
    assert_true(scan.left[1] == (uint64_t)UINT32_MAX * 2);
}

static void sixteen_levels_are_taken_and_seventeen_are_not(void **state)
{
    (void)state;
    uint8_t nested[MF_SCAN_DEPTH_MAX + 2];
    memset(nested, 0x91, sizeof(nested));
    nested[MF_SCAN_DEPTH_MAX] = 0x01;
    struct outcome out = scan_both_ways(mf_bytes_of(nested, MF_SCAN_DEPTH_MAX + 1), NO_LIMIT);
    assert_int_equal(out.err, MF_OK);
    nested[MF_SCAN_DEPTH_MAX] = 0x91;
    nested[MF_SCAN_DEPTH_MAX + 1] = 0x01;
    assert_int_equal(scan_both_ways(mf_bytes_of(nested, sizeof(nested)), NO_LIMIT).err, MF_CORRUPT);
    nested[MF_SCAN_DEPTH_MAX] = 0x80; // an empty map is a level, too
    assert_int_equal(scan_both_ways(mf_bytes_of(nested, sizeof(nested)), NO_LIMIT).err, MF_CORRUPT);
    // Levels that are closed do not count.
    struct mf_buf wide = {0};
    mf_buf_put(&wide, "\xdc\x00\x64", 3);
    for (int i = 0; i < 100; i++)
        mf_buf_put(&wide, "\x91\x91\xc0", 3);
    assert_int_equal(scan_both_ways(mf_buf_view(&wide), NO_LIMIT).err, MF_OK);
    mf_buf_free(&wide);
}

static void the_byte_that_messagepack_never_uses_is_corrupt(void **state)
{
    (void)state;
    const uint8_t alone[] = {0xc1};
    const uint8_t within[] = {0x93, 0x01, 0xc1, 0x02};
    assert_int_equal(scan_both_ways(mf_bytes_of(alone, 1), NO_LIMIT).err, MF_CORRUPT);
    assert_int_equal(scan_both_ways(mf_bytes_of(within, 4), NO_LIMIT).err, MF_CORRUPT);
    const uint8_t as_payload[] = {0xa1, 0xc1};
    assert_int_equal(scan_both_ways(mf_bytes_of(as_payload, 2), NO_LIMIT).err, MF_OK);
}

static void nothing_at_all_is_not_enough(void **state)
{
    (void)state;
    struct mf_msgpack_scan scan = {0};
    size_t size = 0;
    assert_int_equal(mf_msgpack_scan(&scan, mf_bytes_of(NULL, 0), 1, &size), MF_AGAIN);
    assert_int_equal(mf_msgpack_scan(&scan, mf_bytes_of(NULL, 0), 0, &size), MF_TOO_LARGE);
}

// A scan that began anew with each byte would take two hundred billion steps here.
static void a_large_object_fed_by_bytes_takes_linear_time(void **state)
{
    (void)state;
    const uint32_t count = 600000;
    struct mf_buf object = {0};
    mf_buf_u8(&object, 0xdd);
    put_be(&object, count, 4);
    memset(mf_buf_reserve(&object, count), 0x2a, count);
    object.len += count;
    struct mf_msgpack_scan scan = {0};
    size_t size = 0;
    for (size_t len = 0; len < object.len; len++)
        assert_int_equal(mf_msgpack_scan(&scan, mf_bytes_of(object.data, len), NO_LIMIT, &size),
                         MF_AGAIN);
    assert_int_equal(mf_msgpack_scan(&scan, mf_buf_view(&object), NO_LIMIT, &size), MF_OK);
    assert_int_equal(size, object.len);
    mf_buf_free(&object);
}

static void a_finished_scan_is_ready_for_the_next_object(void **state)
{
    (void)state;
    const uint8_t two[] = {0x92, 0x01, 0xa1, 'x', 0xc3};
    struct mf_msgpack_scan scan = {0};
    size_t size = 0;
    assert_int_equal(mf_msgpack_scan(&scan, mf_bytes_of(two, 5), NO_LIMIT, &size), MF_OK);
    assert_int_equal(size, 4);
    assert_int_equal(mf_msgpack_scan(&scan, mf_bytes_of(two + 4, 1), NO_LIMIT, &size), MF_OK);
    assert_int_equal(size, 1);
}

static struct mf_msgpack_token first_token(const char *bytes, size_t len)
{
    struct mf_msgpack_in in = {.reader = mf_reader_of(mf_bytes_of(bytes, len))};
    struct mf_msgpack_token token;
    assert_int_equal(mf_msgpack_next(&in, &token), MF_OK);
    assert_int_equal(mf_reader_left(&in.reader), 0);
    return token;
}

static void integers_of_every_width_mean_what_they_say(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        enum mf_msgpack_type type;
        int64_t negative;
        uint64_t positive;
    } cases[] = {
        {"\x00", 1, MF_MP_UINT, 0, 0},
        {"\x7f", 1, MF_MP_UINT, 0, 127},
        {"\xff", 1, MF_MP_INT, -1, 0},
        {"\xe0", 1, MF_MP_INT, -32, 0},
        {"\xcc\xff", 2, MF_MP_UINT, 0, 255},
        {"\xcd\x01\x02", 3, MF_MP_UINT, 0, 258},
        {"\xce\xff\xff\xff\xff", 5, MF_MP_UINT, 0, UINT32_MAX},
        {"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9, MF_MP_UINT, 0, UINT64_MAX},
        {"\xd0\x80", 2, MF_MP_INT, -128, 0},
        {"\xd0\x05", 2, MF_MP_UINT, 0, 5}, // signed widths hold positive numbers, too
        {"\xd1\xff\xfe", 3, MF_MP_INT, -2, 0},
        {"\xd2\x80\x00\x00\x00", 5, MF_MP_INT, INT32_MIN, 0},
        {"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", 9, MF_MP_INT, INT64_MIN, 0},
        {"\xd3\x7f\xff\xff\xff\xff\xff\xff\xff", 9, MF_MP_UINT, 0, INT64_MAX},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct mf_msgpack_token token = first_token(cases[i].bytes, cases[i].len);
        assert_int_equal(token.type, cases[i].type);
        assert_true(token.integer == cases[i].negative);
        assert_true(token.uinteger == cases[i].positive);
    }
}

static void every_other_type_becomes_its_token(void **state)
{
    (void)state;
    assert_int_equal(first_token("\xc0", 1).type, MF_MP_NIL);
    assert_int_equal(first_token("\xc2", 1).type, MF_MP_BOOL);
    assert_int_equal(first_token("\xc2", 1).integer, 0);
    assert_int_equal(first_token("\xc3", 1).integer, 1);
    assert_int_equal(first_token("\xca\x00\x00\x00\x00", 5).type, MF_MP_FLOAT);
    assert_int_equal(first_token("\xcb\x00\x00\x00\x00\x00\x00\x00\x00", 9).type, MF_MP_FLOAT);
    static const struct {
        const char *bytes;
        size_t len;
        enum mf_msgpack_type type;
    } cases[] = {
        {"\xa3"
         "abc",
         4, MF_MP_STR},
        {"\xd9\x03"
         "abc",
         5, MF_MP_STR},
        {"\xda\x00\x03"
         "abc",
         6, MF_MP_STR},
        {"\xdb\x00\x00\x00\x03"
         "abc",
         8, MF_MP_STR},
        {"\xc4\x03"
         "abc",
         5, MF_MP_BIN},
        {"\xc5\x00\x03"
         "abc",
         6, MF_MP_BIN},
        {"\xc6\x00\x00\x00\x03"
         "abc",
         8, MF_MP_BIN},
        {"\xd5"
         "abc",
         4, MF_MP_EXT},
        {"\xc7\x02"
         "abc",
         5, MF_MP_EXT},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct mf_msgpack_token token = first_token(cases[i].bytes, cases[i].len);
        assert_int_equal(token.type, cases[i].type);
        assert_true(mf_bytes_equal(token.bytes, mf_bytes_str("abc")));
    }
    assert_int_equal(first_token("\xdd\x00\x00\x00\x07", 5).count, 7);
    assert_int_equal(first_token("\x97", 1).count, 7);
    assert_int_equal(first_token("\xde\x00\x07", 3).count, 7);
    assert_int_equal(first_token("\xde\x00\x07", 3).type, MF_MP_MAP);
    assert_int_equal(first_token("\x87", 1).type, MF_MP_MAP);
}

static void every_count_that_fits_the_first_byte_is_read_from_it(void **state)
{
    (void)state;
    uint8_t bytes[32] = {0};
    for (uint8_t count = 0; count < 32; count++) {
        bytes[0] = (uint8_t)(0xa0 | count);
        struct mf_msgpack_token token = first_token((const char *)bytes, count + 1u);
        assert_int_equal(token.type, MF_MP_STR);
        assert_int_equal(token.bytes.len, count);
        assert_int_equal(scan_both_ways(mf_bytes_of(bytes, count + 1u), NO_LIMIT).size, count + 1u);
    }
    for (uint8_t count = 0; count < 16; count++) {
        bytes[0] = (uint8_t)(0x90 | count);
        assert_int_equal(first_token((const char *)bytes, 1).count, count);
        assert_int_equal(scan_both_ways(mf_bytes_of(bytes, count + 1u), NO_LIMIT).size, count + 1u);
        bytes[0] = (uint8_t)(0x80 | count);
        assert_int_equal(first_token((const char *)bytes, 1).count, count);
        assert_int_equal(scan_both_ways(mf_bytes_of(bytes, 2u * count + 1u), NO_LIMIT).size,
                         2u * count + 1u);
    }
}

static void the_cursor_stops_at_the_end_of_what_there_is(void **state)
{
    (void)state;
    struct mf_rand rand = {.state = 3};
    struct mf_buf object = {0};
    for (int round = 0; round < 500; round++) {
        mf_buf_clear(&object, SIZE_MAX);
        put_random_object(&rand, &object, 4);
        for (size_t cut = 0; cut <= object.len; cut++) {
            uint8_t *copy = malloc(cut > 0 ? cut : 1);
            memcpy(copy, object.data, cut);
            struct mf_msgpack_in in = {.reader = mf_reader_of(mf_bytes_of(copy, cut))};
            bool whole = cut == object.len;
            assert_int_equal(mf_msgpack_pass(&in), whole ? MF_OK : MF_CORRUPT);
            free(copy);
        }
    }
    mf_buf_free(&object);
    struct mf_msgpack_in empty = {.reader = mf_reader_of(mf_bytes_of(NULL, 0))};
    struct mf_msgpack_token token;
    assert_int_equal(mf_msgpack_next(&empty, &token), MF_CORRUPT);
}

static void passing_over_an_object_lands_behind_it(void **state)
{
    (void)state;
    const uint8_t bytes[] = {0x82, 0xa1, 'a', 0x92, 0x01, 0x02, 0xa1, 'b', 0x80, 0x2a};
    struct mf_msgpack_in in = {.reader = mf_reader_of(mf_bytes_of(bytes, sizeof(bytes)))};
    struct mf_msgpack_token token;
    assert_int_equal(mf_msgpack_pass(&in), MF_OK);
    assert_int_equal(mf_msgpack_next(&in, &token), MF_OK);
    assert_int_equal(token.uinteger, 42);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_random_object_ends_where_it_ends_however_it_arrives),
        cmocka_unit_test(garbage_gets_the_same_verdict_however_it_arrives),
        cmocka_unit_test(a_claim_over_the_limit_is_refused_with_its_head),
        cmocka_unit_test(a_head_over_the_limit_is_refused_with_its_first_byte),
        cmocka_unit_test(what_came_before_counts_against_a_later_claim),
        cmocka_unit_test(a_claim_within_the_limit_waits_without_looking_further),
        cmocka_unit_test(sixteen_levels_are_taken_and_seventeen_are_not),
        cmocka_unit_test(the_byte_that_messagepack_never_uses_is_corrupt),
        cmocka_unit_test(nothing_at_all_is_not_enough),
        cmocka_unit_test(a_large_object_fed_by_bytes_takes_linear_time),
        cmocka_unit_test(a_finished_scan_is_ready_for_the_next_object),
        cmocka_unit_test(integers_of_every_width_mean_what_they_say),
        cmocka_unit_test(every_other_type_becomes_its_token),
        cmocka_unit_test(every_count_that_fits_the_first_byte_is_read_from_it),
        cmocka_unit_test(the_cursor_stops_at_the_end_of_what_there_is),
        cmocka_unit_test(passing_over_an_object_lands_behind_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
