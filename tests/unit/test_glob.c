// Globs as Redis has them, and that no pattern makes a match slow.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "base/glob.h"
#include "base/rand.h"

static bool matches(const char *pattern, const char *text)
{
    struct mf_glob *glob = mf_glob_new(mf_bytes_str(pattern));
    bool found = mf_glob_matches(glob, mf_bytes_str(text));
    mf_glob_free(glob);
    return found;
}

static void patterns_match_what_those_of_redis_match(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        const char *text;
        bool found;
    } cases[] = {
        {"", "", true},
        {"", "a", false},
        {"*", "", true},
        {"*", "anything", true},
        {"**", "a", true},
        {"?", "", false},
        {"?", "a", true},
        {"?", "ab", false},
        {"abc", "abc", true},
        {"abc", "abcd", false},
        {"abc", "ABC", false},
        {"user:*", "user:", true},
        {"user:*", "user:17", true},
        {"user:*", "users:17", false},
        {"*:17", "user:17", true},
        {"*:17", "user:170", false},
        {"a*b*c", "a--b--c", true},
        {"a*b*c", "abbbcbc", true},
        {"a*b*c", "acb", false},
        {"h?llo", "hello", true},
        {"h[ae]llo", "hallo", true},
        {"h[ae]llo", "hillo", false},
        {"h[^e]llo", "hello", false},
        {"h[^e]llo", "hallo", true},
        {"h[a-c]llo", "hbllo", true},
        {"h[a-c]llo", "hdllo", false},
        {"h[c-a]llo", "hbllo", true},
        {"[a-cx-z]", "y", true},
        {"[a-]", "_", true}, // a range down to the bracket, and no end
        {"[a-]", "-", false},
        {"[-a]", "-", true},
        {"[]", "", false},
        {"[]", "]", false},
        {"[]a", "a", false},
        {"[^]", "a", true},
        {"[\\]]", "]", true},
        {"[\\^a]", "^", true},
        {"[a^]", "^", true},
        {"[abc", "b", true},
        {"[", "[", false},
        {"\\*", "*", true},
        {"\\*", "a", false},
        {"\\?\\[", "?[", true},
        {"\\a", "a", true},
        {"a\\", "a\\", true},
        {"a]", "a]", true},
        {"*[0-9]*", "abc5def", true},
        {"*[0-9]*", "abcdef", false},
        {"*a", "aaaa", true},
        {"a*a", "a", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (matches(cases[i].pattern, cases[i].text) != cases[i].found)
            fail_msg("'%s' and '%s'", cases[i].pattern, cases[i].text);
    }
}

static void any_bytes_can_be_matched(void **state)
{
    (void)state;
    const uint8_t text[] = {0, 255, 0, 10};
    const uint8_t pattern[] = {0, '?', '*', 10};
    const uint8_t other[] = {0, '?', '*', 11};
    struct mf_glob *glob = mf_glob_new(mf_bytes_of(pattern, sizeof(pattern)));
    assert_true(mf_glob_matches(glob, mf_bytes_of(text, sizeof(text))));
    mf_glob_free(glob);
    glob = mf_glob_new(mf_bytes_of(other, sizeof(other)));
    assert_false(mf_glob_matches(glob, mf_bytes_of(text, sizeof(text))));
    mf_glob_free(glob);
}

// Every way to match, tried one after the other; of patterns without brackets.
static bool matches_slowly(const char *pattern, const char *text)
{
    if (*pattern == '\0')
        return *text == '\0';
    if (*pattern == '*')
        return matches_slowly(pattern + 1, text) ||
               (*text != '\0' && matches_slowly(pattern, text + 1));
    return *text != '\0' && (*pattern == '?' || *pattern == *text) &&
           matches_slowly(pattern + 1, text + 1);
}

static void random_patterns_match_as_when_every_way_is_tried(void **state)
{
    (void)state;
    struct mf_rand rand = {1};
    unsigned found = 0;
    for (int i = 0; i < 20000; i++) {
        char pattern[9] = "";
        char text[13] = "";
        uint64_t pattern_len = mf_rand_below(&rand, sizeof(pattern));
        uint64_t text_len = mf_rand_below(&rand, sizeof(text));
        for (uint64_t k = 0; k < pattern_len; k++)
            pattern[k] = "ab*?*"[mf_rand_below(&rand, 5)];
        for (uint64_t k = 0; k < text_len; k++)
            text[k] = "ab"[mf_rand_below(&rand, 2)];
        bool expected = matches_slowly(pattern, text);
        found += expected;
        if (matches(pattern, text) != expected)
            fail_msg("'%s' and '%s'", pattern, text);
    }
    assert_in_range(found, 2000, 18000);
}

// A matcher that tries one way after the other would not come to an end here.
static void a_hostile_pattern_is_done_in_one_pass(void **state)
{
    (void)state;
    static char pattern[MF_GLOB_BYTES_MAX];
    static char text[65536];
    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = i % 2 == 0 ? '*' : 'a';
    pattern[sizeof(pattern) - 1] = 'b';
    memset(text, 'a', sizeof(text));
    struct mf_glob *glob = mf_glob_new(mf_bytes_of(pattern, sizeof(pattern)));
    assert_false(mf_glob_matches(glob, mf_bytes_of(text, sizeof(text))));
    text[sizeof(text) - 1] = 'b';
    assert_true(mf_glob_matches(glob, mf_bytes_of(text, sizeof(text))));
    mf_glob_free(glob);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_match_what_those_of_redis_match),
        cmocka_unit_test(any_bytes_can_be_matched),
        cmocka_unit_test(random_patterns_match_as_when_every_way_is_tried),
        cmocka_unit_test(a_hostile_pattern_is_done_in_one_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
