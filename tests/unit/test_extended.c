// Numbers with a fraction: the same on every machine, and on x86-64 those of its long double.
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "base/extended.h"
#include "base/rand.h"

static const char *add(const char *a, const char *b, char out[MF_EXTENDED_CHARS_MAX + 1])
{
    struct mf_extended x;
    struct mf_extended y;
    struct mf_extended sum;
    if (!mf_extended_read(mf_bytes_str(a), &x) || !mf_extended_read(mf_bytes_str(b), &y))
        return "no number";
    if (!mf_extended_add(&x, &y, &sum))
        return "too large";
    out[mf_extended_print(&sum, out)] = '\0';
    return out;
}

static void sums_are_printed_as_redis_prints_them(void **state)
{
    (void)state;
    static const struct {
        const char *a;
        const char *b;
        const char *sum;
    } cases[] = {
        {"10.50", "0.1", "10.6"},
        {"10.6", "-5", "5.6"},
        {"5.0e3", "2.0e2", "5200"},
        {"3.0e3", "200", "3200"},
        {"5.0e3", "0", "5000"},
        {"0.1", "0.2", "0.3"},
        {"1.5", "1", "2.5"},
        {"17179869184", "1.5", "17179869185.5"},
        {"3", "1.1", "4.1"},
        {"0", "0", "0"},
        {"-0", "-0", "0"},
        {"1", "-1", "0"},
        {"1e-18", "0", "0"},
        {"-1e-18", "0", "0"},
        {"-0.000000000000000006", "0", "-0.00000000000000001"},
        {"0.024390243902439025", "-0.024390243902439025", "0"},
        {"3.14159265358979323", "0", "3.14159265358979323"},
        {"1e17", "1", "100000000000000001"},
        {"1000.1", "0.2", "1000.29999999999999999"}, // as Redis 7.0.15 on x86-64 has it
        {"1234567.891", "0.0001", "1234567.89109999999993761"},
        {"1e20", "5", "100000000000000000008"}, // there, only multiples of 8 have 64 bits
        {"18446744073709551615", "1", "18446744073709551616"},
        {"18446744073709551616", "1", "18446744073709551616"},
        {"18446744073709551616", "3", "18446744073709551620"},
        {"18446744073709551616", "-0.5", "18446744073709551616"},
        {"18446744073709551616", "-0.5000000000000000001", "18446744073709551615"},
        {"+.5", "5.", "5.5"},
        {"1E2", "1e+2", "200"},
        {"0e999999", "1", "1"},
        {"1e-4000", "1", "1"},
        {"1e308", "1e308", "too large"},
        {"1e309", "1", "no number"},
        {"1e-5000", "1", "no number"},
        {"", "1", "no number"},
        {" 1", "1", "no number"},
        {"1 ", "1", "no number"},
        {"1", "abc", "no number"},
        {"1", "-", "no number"},
        {"1", ".", "no number"},
        {"1", "e5", "no number"},
        {"1", "1e", "no number"},
        {"1", "1e+", "no number"},
        {"1", "1.2.3", "no number"},
        {"1", "--1", "no number"},
        {"1", "inf", "no number"},
        {"1", "-Infinity", "no number"},
        {"1", "nan", "no number"},
        {"1", "0x10", "no number"},
        {"1", "1,5", "no number"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char out[MF_EXTENDED_CHARS_MAX + 1];
        const char *sum = add(cases[i].a, cases[i].b, out);
        if (strcmp(sum, cases[i].sum) != 0)
            fail_msg("%s + %s: %s", cases[i].a, cases[i].b, sum);
    }
}

static void a_text_has_a_bound(void **state)
{
    (void)state;
    char text[MF_EXTENDED_TEXT_MAX + 2];
    struct mf_extended number;
    memset(text, '9', sizeof(text));
    text[MF_EXTENDED_TEXT_MAX / 4] = '.';
    assert_true(mf_extended_read(mf_bytes_of(text, MF_EXTENDED_TEXT_MAX), &number));
    assert_false(mf_extended_read(mf_bytes_of(text, MF_EXTENDED_TEXT_MAX + 1), &number));
    // The longest divisor: as many digits as there may be, and the smallest number.
    memcpy(text + MF_EXTENDED_TEXT_MAX - 5, "e-355", 5);
    text[MF_EXTENDED_TEXT_MAX / 4] = '9';
    text[0] = '.';
    memset(text + 1, '1', 900);
    assert_true(mf_extended_read(mf_bytes_of(text, MF_EXTENDED_TEXT_MAX), &number));
    memcpy(text + MF_EXTENDED_TEXT_MAX - 5, "e-100", 5);
    assert_true(mf_extended_read(mf_bytes_of(text, MF_EXTENDED_TEXT_MAX), &number));
}

static void any_sum_can_be_read_back(void **state)
{
    (void)state;
    struct mf_rand rand = {3};
    for (int i = 0; i < 20000; i++) {
        struct mf_extended a = {.negative = (i & 1) != 0,
                                .exponent = (int32_t)mf_rand_below(&rand, 1200) - 240,
                                .bits = mf_rand_next(&rand) | UINT64_C(1) << 63};
        if (a.exponent > 960)
            a.exponent = 960;
        char text[MF_EXTENDED_CHARS_MAX];
        char again[MF_EXTENDED_CHARS_MAX];
        struct mf_extended b;
        size_t len = mf_extended_print(&a, text);
        assert_true(len <= MF_EXTENDED_CHARS_MAX);
        assert_true(mf_extended_read(mf_bytes_of(text, len), &b));
        if (a.exponent >= 0)
            assert_true(b.bits == a.bits && b.exponent == a.exponent && b.negative == a.negative);
        assert_int_equal(mf_extended_print(&b, again), len);
        assert_memory_equal(again, text, len);
    }
}

#if defined(__x86_64__) && LDBL_MANT_DIG == 64
// What Redis does, word by word: strtold, +, and "%.17Lf" without the zeros at its end.
static const char *add_natively(const char *a, const char *b, char out[6000])
{
    long double sum = strtold(a, NULL) + strtold(b, NULL);
    int len = snprintf(out, 6000, "%.17Lf", sum);
    while (out[len - 1] == '0')
        len--;
    if (out[len - 1] == '.')
        len--;
    out[len] = '\0';
    return strcmp(out, "-0") == 0 ? "0" : out;
}

static void draw_text(struct mf_rand *rand, char *text)
{
    size_t at = 0;
    static const uint32_t lengths[] = {3, 8, 20, 45, 300};
    uint32_t digits = 1 + (uint32_t)mf_rand_below(rand, lengths[mf_rand_below(rand, 5)]);
    uint64_t point = mf_rand_below(rand, digits + 1);
    if (mf_rand_below(rand, 2) == 0)
        text[at++] = '-';
    for (uint32_t i = 0; i < digits; i++) {
        if (i == point)
            text[at++] = '.';
        // Ties and carries: long rows of zeros and nines.
        static const char often[] = "0123456789000999555";
        text[at++] = often[mf_rand_below(rand, sizeof(often) - 1)];
    }
    text[at] = '\0';
    if (mf_rand_below(rand, 3) == 0)
        sprintf(text + at, "e%d", (int)mf_rand_below(rand, 60) - 30);
    else if (mf_rand_below(rand, 40) == 0)
        sprintf(text + at, "e%d", (int)mf_rand_below(rand, 340) - 80);
}

// A number of 64 bits, or half-way between two of them, in all its digits.
static void draw_exact(struct mf_rand *rand, char *text)
{
    long double number = (long double)(mf_rand_next(rand) | UINT64_C(1) << 63);
    int exponent = -(int)mf_rand_below(rand, 130);
    int len = sprintf(text, "%.200Lf", ldexpl(number, exponent));
    if (mf_rand_below(rand, 2) == 0 && exponent < -4)
        sprintf(text + len, "1");
}

static void sums_are_those_of_an_80_bit_long_double(void **state)
{
    (void)state;
    struct mf_rand rand = {11};
    for (int i = 0; i < 300000; i++) {
        char a[400];
        char b[400];
        char ours[MF_EXTENDED_CHARS_MAX + 1];
        char native[6000];
        (i % 3 == 0 ? draw_exact : draw_text)(&rand, a);
        (i % 5 == 0 ? draw_exact : draw_text)(&rand, b);
        if (i % 7 == 0) { // near to each other, so that much cancels
            strcpy(b + 1, a[0] == '-' ? a + 1 : a);
            b[0] = a[0] == '-' ? '+' : '-';
            b[strcspn(b, ".e") - 1] = '7';
        }
        const char *sum = add(a, b, ours);
        if (strcmp(sum, "no number") == 0 || strcmp(sum, "too large") == 0) {
            assert_true(fabsl(strtold(a, NULL)) > 1e308L || fabsl(strtold(b, NULL)) > 1e308L);
            continue;
        }
        if (strcmp(sum, add_natively(a, b, native)) != 0)
            fail_msg("%s + %s: %s, natively %s", a, b, sum, native);
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_printed_as_redis_prints_them),
        cmocka_unit_test(a_text_has_a_bound),
        cmocka_unit_test(any_sum_can_be_read_back),
#if defined(__x86_64__) && LDBL_MANT_DIG == 64
        cmocka_unit_test(sums_are_those_of_an_80_bit_long_double),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
