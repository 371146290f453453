// UTF-8 and base64: what is taken, what is refused, and that one undoes the other.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"
#include "base/text.h"

#define TEXT(literal) literal, sizeof literal - 1

// Of a copy that ends where the text ends, so that a sanitizer sees any step past it.
static bool valid(const char *text, size_t len)
{
    uint8_t *copy = mf_alloc(len);
    memcpy(copy, text, len);
    bool answer = mf_utf8_valid(mf_bytes_of(copy, len));
    free(copy);
    return answer;
}

static void text_in_its_shortest_form_is_utf_8(void **state)
{
    (void)state;
    const struct {
        const char *text;
        size_t len;
    } cases[] = {
        {TEXT("")},
        {TEXT("plain text of more than eight bytes")},
        {TEXT("\0")},
        {TEXT("12345678\xc3\xa4")},
        {TEXT("\x7f\xc2\x80\xdf\xbf")},
        {TEXT("\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf")},
        {TEXT("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf")},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (!valid(cases[i].text, cases[i].len))
            fail_msg("case %zu is refused", i);
    }
}

static void all_else_is_not(void **state)
{
    (void)state;
    const struct {
        const char *text;
        size_t len;
    } cases[] = {
        {TEXT("\x80")},
        {TEXT("\xbf")},
        {TEXT("\xc0\x80")},
        {TEXT("\xc1\xbf")},
        {TEXT("\xc3")},
        {TEXT("\xc3\x28")},
        {TEXT("12345678\xc3")},
        {TEXT("\xe0\x9f\xbf")},
        {TEXT("\xe2\x82")},
        {TEXT("\xe2\x28\xa1")},
        {TEXT("\xe2\x82\x28")},
        {TEXT("\xed\xa0\x80")},
        {TEXT("\xed\xbf\xbf")},
        {TEXT("\xf0\x8f\xbf\xbf")},
        {TEXT("\xf0\x9f\x98")},
        {TEXT("\xf4\x90\x80\x80")},
        {TEXT("\xf5\x80\x80\x80")},
        {TEXT("\xff")},
        {TEXT("1234567\xff")},
        {TEXT("12345678 1234567\xfe")},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (valid(cases[i].text, cases[i].len))
            fail_msg("case %zu is taken", i);
    }
}

static void base64_is_that_of_the_standard(void **state)
{
    (void)state;
    const char *const cases[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
        {"\xfb\xff\xbf", "+/+/"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mf_buf text = {0};
        mf_base64_put(&text, mf_bytes_str(cases[i][0]));
        assert_int_equal(text.len, strlen(cases[i][1]));
        assert_memory_equal(text.len > 0 ? (const char *)text.data : "", cases[i][1], text.len);
        mf_buf_free(&text);
    }
}

static void any_bytes_come_back_from_base64(void **state)
{
    (void)state;
    struct mf_rand rand = {11};
    uint8_t bytes[64];
    for (int i = 0; i < 2000; i++) {
        size_t len = (size_t)mf_rand_below(&rand, sizeof(bytes) + 1);
        for (size_t n = 0; n < len; n++)
            bytes[n] = (uint8_t)mf_rand_next(&rand);
        struct mf_buf text = {0};
        struct mf_buf back = {0};
        mf_base64_put(&text, mf_bytes_of(bytes, len));
        assert_true(mf_base64_take(mf_buf_view(&text), &back));
        assert_true(mf_bytes_equal(mf_buf_view(&back), mf_bytes_of(bytes, len)));
        mf_buf_free(&text);
        mf_buf_free(&back);
    }
}

static void base64_with_a_fault_is_refused(void **state)
{
    (void)state;
    const char *const cases[] = {"Z",        "Zg",   "Zg=",    "Zh==", "Zm9=", "====", "Z===",
                                 "Zg==Zg==", "Zm 9", "Zm9v\n", "Zm-_", "Zm9*", "=Zg="};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mf_buf back = {0};
        if (mf_base64_take(mf_bytes_str(cases[i]), &back))
            fail_msg("'%s' is taken", cases[i]);
        mf_buf_free(&back);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_in_its_shortest_form_is_utf_8),
        cmocka_unit_test(all_else_is_not),
        cmocka_unit_test(base64_is_that_of_the_standard),
        cmocka_unit_test(any_bytes_come_back_from_base64),
        cmocka_unit_test(base64_with_a_fault_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
