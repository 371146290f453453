// Values as Redis dumps them: there and back, and hostile payloads.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "base/crc64.h"
#include "base/rand.h"
#include "rpc/resp_dump.h"

#define VALUE_MAX 70000u

// The payload in the reply, without "$LEN\r\n" and "\r\n".
static struct mf_bytes payload_of(const struct mf_buf *reply)
{
    char *rest;
    size_t len = strtoul((const char *)reply->data + 1, &rest, 10);
    size_t head = (size_t)(rest + 2 - (char *)reply->data);
    assert_int_equal(reply->data[0], '$');
    assert_int_equal(reply->len, head + len + 2);
    assert_memory_equal(reply->data + head + len, "\r\n", 2);
    return mf_bytes_of(reply->data + head, len);
}

static void a_value_comes_back(const void *data, size_t len)
{
    struct mf_buf reply = {0};
    struct mf_buf made = {0};
    struct mf_bytes value;
    mf_resp_dump(&reply, mf_bytes_of(data, len));
    assert_int_equal(mf_resp_undump(payload_of(&reply), VALUE_MAX, &made, &value), MF_OK);
    assert_int_equal(value.len, len);
    if (len > 0)
        assert_memory_equal(value.data, data, len);
    mf_buf_free(&reply);
    mf_buf_free(&made);
}

static void values_of_all_lengths_come_back(void **state)
{
    (void)state;
    static const size_t lens[] = {0, 1, 10, 11, 12, 63, 64, 65, 16383, 16384, 65536, VALUE_MAX};
    struct mf_rand rand = {1};
    uint8_t *bytes = malloc(VALUE_MAX);
    for (size_t i = 0; i < VALUE_MAX; i++)
        bytes[i] = (uint8_t)mf_rand_next(&rand);
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++)
        a_value_comes_back(bytes, lens[i]);
    free(bytes);
}

static void integers_come_back_as_they_were_written(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "0",      "-0",     "00",    "1",          "-1",         "127",         "128",
        "-128",   "-129",   "255",   "32767",      "32768",      "-32768",      "-32769",
        "65535",  "65536",  "007",   "+1",         "1 ",         "2147483647",  "2147483648",
        "-",      "--1",    "1e3",   "4294967295", "4294967296", "-2147483648", "-2147483649",
        "999999", "-99999", "100000"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        a_value_comes_back(texts[i], strlen(texts[i]));
}

static void what_is_cut_off_or_changed_is_refused(void **state)
{
    (void)state;
    struct mf_buf reply = {0};
    struct mf_buf made = {0};
    struct mf_bytes value;
    mf_resp_dump(&reply, mf_bytes_str("a value of some length"));
    struct mf_bytes payload = payload_of(&reply);
    for (size_t len = 0; len < payload.len; len++)
        assert_int_equal(mf_resp_undump(mf_bytes_of(payload.data, len), VALUE_MAX, &made, &value),
                         MF_CORRUPT);
    for (size_t bit = 0; bit < payload.len * 8; bit++) {
        uint8_t *byte = (uint8_t *)(uintptr_t)&payload.data[bit / 8];
        *byte = (uint8_t)(*byte ^ 1u << bit % 8);
        assert_int_equal(mf_resp_undump(payload, VALUE_MAX, &made, &value), MF_CORRUPT);
        *byte = (uint8_t)(*byte ^ 1u << bit % 8);
    }
    assert_int_equal(mf_resp_undump(payload, 22, &made, &value), MF_OK);
    assert_int_equal(mf_resp_undump(payload, 21, &made, &value), MF_TOO_LARGE);
    mf_buf_free(&reply);
    mf_buf_free(&made);
}

static void strings_that_are_none_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        uint8_t bytes[16];
        size_t len;
        enum mf_err err;
    } cases[] = {
        {"nothing", {0}, 0, MF_BAD_REQUEST},
        {"a list", {1, 1, 'a'}, 3, MF_BAD_REQUEST},
        {"no length", {0}, 1, MF_BAD_REQUEST},
        {"less than it says", {0, 3, 'a', 'b'}, 4, MF_BAD_REQUEST},
        {"more than it says", {0, 1, 'a', 'b'}, 4, MF_BAD_REQUEST},
        {"a length of 64 bits",
         {0, 0x81, 255, 255, 255, 255, 255, 255, 255, 255},
         10,
         MF_BAD_REQUEST},
        {"a length of an unknown kind", {0, 0x82, 0}, 3, MF_BAD_REQUEST},
        {"an integer that is cut", {0, 0xc2, 1, 2, 3}, 5, MF_BAD_REQUEST},
        {"more than an integer", {0, 0xc0, 1, 2}, 4, MF_BAD_REQUEST},
        {"an unknown encoding", {0, 0xc4, 1}, 3, MF_BAD_REQUEST},
        {"packed, longer than can be",
         {0, 0xc3, 1, 0x80, 255, 255, 255, 255, 'a'},
         9,
         MF_BAD_REQUEST},
        {"packed, and cut", {0, 0xc3, 9, 20, 0, 'a'}, 6, MF_BAD_REQUEST},
        {"packed, and another length", {0, 0xc3, 2, 2, 0, 'a'}, 6, MF_BAD_REQUEST},
        {"packed from before its start", {0, 0xc3, 2, 3, 0x20, 0}, 6, MF_BAD_REQUEST},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mf_buf payload = {0};
        struct mf_buf made = {0};
        struct mf_bytes value;
        mf_buf_put(&payload, cases[i].bytes, cases[i].len);
        mf_buf_u16(&payload, 10);
        mf_buf_u64(&payload, mf_crc64(0, mf_buf_view(&payload)));
        enum mf_err err = mf_resp_undump(mf_buf_view(&payload), VALUE_MAX, &made, &value);
        if (err != cases[i].err)
            fail_msg("%s: %s", cases[i].what, mf_err_text(err));
        mf_buf_free(&payload);
        mf_buf_free(&made);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_all_lengths_come_back),
        cmocka_unit_test(integers_come_back_as_they_were_written),
        cmocka_unit_test(what_is_cut_off_or_changed_is_refused),
        cmocka_unit_test(strings_that_are_none_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
