// What is compared with a secret: all of it, and nothing else.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>
#include <string.h>

#include "base/secret.h"

static bool equal(const char *given, const char *secret)
{
    return mf_secret_equal(mf_bytes_str(given), mf_bytes_str(secret));
}

static void only_the_secret_itself_is_equal(void **state)
{
    (void)state;
    assert_true(equal("s3cret", "s3cret"));
    assert_true(equal("", ""));
    assert_false(equal("", "s"));
    assert_false(equal("s", ""));
    assert_false(equal("S3cret", "s3cret"));
    assert_false(equal("s3creT", "s3cret"));
    assert_false(equal("s3cre", "s3cret"));
    assert_false(equal("s3crets", "s3cret"));
    assert_false(equal("abab", "ab")); // it goes round
    assert_false(equal("ab", "abab"));
    assert_false(mf_secret_equal(mf_bytes_of("\0", 1), mf_bytes_of(NULL, 0)));
    assert_true(mf_secret_equal(mf_bytes_of("a\0b", 3), mf_bytes_of("a\0b", 3)));
    assert_false(mf_secret_equal(mf_bytes_of("a\0b", 3), mf_bytes_of("a\0c", 3)));
}

static void every_bit_counts(void **state)
{
    (void)state;
    uint8_t secret[40];
    uint8_t given[40];
    memset(secret, 0x5a, sizeof(secret));
    for (size_t bit = 0; bit < 8 * sizeof(secret); bit++) {
        memcpy(given, secret, sizeof(given));
        given[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(mf_secret_equal(mf_bytes_of(given, sizeof(given)),
                                     mf_bytes_of(secret, sizeof(secret))));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_secret_itself_is_equal),
        cmocka_unit_test(every_bit_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
