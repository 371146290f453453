// Lines of JSON and CSV become entries: what is taken, what is refused and with which words, and
// that what export writes comes back.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rand.h"
#include "snapshot/tool/lines.h"
#include "snapshot/tool/text_in.h"

#define TEXT(literal) literal, sizeof(literal) - 1
#define NAMES "key,value,expire_at,key_base64,value_base64\n"

struct good {
    const char *text;
    size_t len;
    const char *key;
    size_t key_len;
    const char *value;
    size_t value_len;
    int64_t expire_at_ms; // -1: none
};

static void assert_good(bool csv, const struct good *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct input input;
        struct text_in in;
        struct entry entry;
        uint8_t *copy = mf_alloc(cases[i].len);
        memcpy(copy, cases[i].text, cases[i].len);
        input_of_memory(&input, mf_bytes_of(copy, cases[i].len));
        text_in_start(&in, &input, csv);
        if (text_in_next(&in, &entry) != TEXT_ENTRY)
            fail_msg("case %zu: %s", i, in.why);
        assert_true(mf_bytes_equal(entry.key, mf_bytes_of(cases[i].key, cases[i].key_len)));
        assert_true(mf_bytes_equal(entry.value, mf_bytes_of(cases[i].value, cases[i].value_len)));
        assert_int_equal(entry.expires ? (int64_t)entry.expire_at_ms : -1, cases[i].expire_at_ms);
        assert_int_equal(text_in_next(&in, &entry), TEXT_END);
        text_in_free(&in);
        free(copy);
    }
}

struct bad {
    const char *text;
    size_t len;
    const char *why; // a part of the message
};

static void assert_bad(bool csv, const struct bad *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct input input;
        struct text_in in;
        struct entry entry;
        uint8_t *copy = mf_alloc(cases[i].len);
        memcpy(copy, cases[i].text, cases[i].len);
        input_of_memory(&input, mf_bytes_of(copy, cases[i].len));
        text_in_start(&in, &input, csv);
        in.bytes_max = 1000;
        enum text_got got;
        while ((got = text_in_next(&in, &entry)) == TEXT_ENTRY)
            continue;
        if (got != TEXT_FAILED)
            fail_msg("case %zu is taken", i);
        if (strstr(in.why, cases[i].why) == NULL)
            fail_msg("case %zu: '%s' without '%s'", i, in.why, cases[i].why);
        text_in_free(&in);
        free(copy);
    }
}

static void these_lines_of_json_are_taken(void **state)
{
    (void)state;
    const struct good cases[] = {
        {TEXT("{\"key\":\"k\",\"value\":\"v\",\"expire_at\":null}\n"), TEXT("k"), TEXT("v"), -1},
        {TEXT("\n \n{\"value\": \"\", \"key\": \"k\"}"), TEXT("k"), TEXT(""), -1},
        {TEXT("{\"key\":\"k\",\"value\":\"v\",\"expire_at\":0}\r\n\r\n"), TEXT("k"), TEXT("v"), 0},
        {TEXT("{\"key_base64\":\"/w==\",\"value_base64\":\"\",\"expire_at\":9007199254740991}"),
         TEXT("\xff"), TEXT(""), INT64_C(9007199254740991)},
        {TEXT("{\"key\":\"\\u0000\\ud83d\\ude00\",\"value\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}"),
         TEXT("\0\xf0\x9f\x98\x80"), TEXT("\"\\/\b\f\n\r\t"), -1},
    };
    assert_good(false, cases, sizeof(cases) / sizeof(cases[0]));
}

static void these_records_of_csv_are_taken(void **state)
{
    (void)state;
    const struct good cases[] = {
        {TEXT(NAMES "k,v,,,\n"), TEXT("k"), TEXT("v"), -1},
        {TEXT(NAMES "k,,17,,"), TEXT("k"), TEXT(""), 17},
        {TEXT(NAMES "\"a\"\"b\",\"1,2\",,,\n"), TEXT("a\"b"), TEXT("1,2"), -1},
        {TEXT(NAMES "k,\"1\r\n2\n\",,,\r\n"), TEXT("k"), TEXT("1\r\n2\n"), -1},
        {TEXT(NAMES "k,\"\",,,\n"), TEXT("k"), TEXT(""), -1},
        {TEXT(NAMES ",,5,/w==,AAE=\n"), TEXT("\xff"), TEXT("\0\1"), 5},
        {TEXT("value,key\n\nv,k\n\n"), TEXT("k"), TEXT("v"), -1},
        {TEXT("\"key\",value_base64\r\nk,AAE=\r\n"), TEXT("k"), TEXT("\0\1"), -1},
        {TEXT("key,value\n\xff,\xfe\x00\n"), TEXT("\xff"), TEXT("\xfe\x00"), -1},
    };
    assert_good(true, cases, sizeof(cases) / sizeof(cases[0]));
}

static void these_lines_of_json_are_refused(void **state)
{
    (void)state;
    char deep[900];
    memset(deep, '[', sizeof(deep));
    char nothing[1002];
    memset(nothing, ' ', sizeof(nothing));
    const struct bad cases[] = {
        {TEXT("{\"key\":\"k\",\"value\":\"v\"}\nx\n"), "line 2: it is no JSON"},
        {TEXT("[1]"), "expected a JSON object"},
        {TEXT("{\"key\":\"k\",\"value\":\"v\",\"ttl\":5}"), "line 1: unknown member \"ttl\""},
        {TEXT("{\"key\":\"k\",\"key\":\"k\",\"value\":\"v\"}"), "no JSON"},
        {TEXT("{\"key\":\"k\"}"), "either \"value\" or \"value_base64\""},
        {TEXT("{\"value\":\"v\"}"), "either \"key\" or \"key_base64\""},
        {TEXT("{\"key\":\"k\",\"key_base64\":\"aw==\",\"value\":\"v\"}"), "either \"key\""},
        {TEXT("{\"key\":\"\",\"value\":\"v\"}"), "the key is empty"},
        {TEXT("{\"key_base64\":\"\",\"value\":\"v\"}"), "the key is empty"},
        {TEXT("{\"key\":5,\"value\":\"v\"}"), "\"key\": expected a string"},
        {TEXT("{\"key_base64\":\"aw\",\"value\":\"v\"}"), "expected padded base64"},
        {TEXT("{\"key\":\"k\",\"value\":\"v\",\"expire_at\":\"5\"}"), "\"expire_at\""},
        {TEXT("{\"key\":\"k\",\"value\":\"v\",\"expire_at\":-1}"), "\"expire_at\""},
        {TEXT("{\"key\":\"k\",\"value\":\"v\",\"expire_at\":1.5}"), "\"expire_at\""},
        {TEXT("{\"key\":\"k\",\"value\":\"v\",\"expire_at\":9007199254740992}"), "\"expire_at\""},
        {TEXT("{\"key\":\"\xff\",\"value\":\"v\"}"), "no JSON"},
        {TEXT("{\"key\":\"\\ud83d\",\"value\":\"v\"}"), "no JSON"},
        {TEXT("{\"key\":\"\n\",\"value\":\"v\"}"), "no JSON"},
        {TEXT("{\"key\":\"k\",\"value\":\"v\"} x"), "no JSON"},
        {deep, sizeof(deep), "no JSON"},
        {nothing, sizeof(nothing), "line 1: it is longer than 1000 bytes"},
    };
    assert_bad(false, cases, sizeof(cases) / sizeof(cases[0]));
}

static void these_records_of_csv_are_refused(void **state)
{
    (void)state;
    char large[1100] = "key,value\nk,\"";
    memset(large + 13, '\n', sizeof(large) - 13);
    const struct bad cases[] = {
        {TEXT("k,v\n"), "line 1: unknown column \"k\""},
        {TEXT("key\n"), "one for the key and one for the value"},
        {TEXT("expire_at,value\n"), "one for the key and one for the value"},
        {TEXT("key,value,key\n"), "repeated column \"key\""},
        {TEXT("key,value,ttl\n"), "unknown column \"ttl\""},
        {TEXT("key,value\nk\n"), "line 2: 1 fields: expected 2"},
        {TEXT("key,value\nk,v\nk,v,w\n"), "line 3: 3 fields: expected 2"},
        {TEXT(NAMES "a,b,c,d,e,f\n"), "more than 5 fields"},
        {TEXT(NAMES "k,v,x,,\n"), "line 2: expire_at"},
        {TEXT(NAMES "k,v,-1,,\n"), "expire_at"},
        {TEXT(NAMES "k,v,9007199254740992,,\n"), "expire_at"},
        {TEXT(NAMES "k,v,99999999999999999999999999,,\n"), "expire_at"},
        {TEXT(NAMES ",v,,,\n"), "the key is empty"},
        {TEXT(NAMES "k,v,,aw==,\n"), "both key and key_base64"},
        {TEXT(NAMES "k,v,,,dg==\n"), "both value and value_base64"},
        {TEXT(NAMES ",v,,aw,\n"), "expected padded base64"},
        {TEXT(NAMES "k,a\"b\"c,,,\n"), "a quote that is neither"},
        {TEXT(NAMES "k,\"a\"b,,,\n"), "a quote that is neither"},
        {TEXT(NAMES "k,\"a,,,\nk,v\n"), "began in line 2 does not end"},
        {large, sizeof(large), "longer than 1000 bytes"},
    };
    assert_bad(true, cases, sizeof(cases) / sizeof(cases[0]));
}

// Through a pipe.
static void what_export_writes_comes_back(void **state)
{
    (void)state;
    struct mf_rand rand = {5};
    for (int round = 0; round < 200; round++) {
        bool csv = round % 2 == 0;
        uint8_t bytes[4][20];
        struct entry entries[4];
        struct mf_buf text = {0};
        if (csv)
            lines_put_csv_names(&text);
        for (int i = 0; i < 4; i++) {
            size_t len = 1 + (size_t)mf_rand_below(&rand, 20);
            for (size_t n = 0; n < len; n++)
                bytes[i][n] = (uint8_t)mf_rand_below(&rand, i % 2 == 0 ? 256 : 128);
            entries[i] = (struct entry){.key = mf_bytes_of(bytes[i], len),
                                        .value = mf_bytes_of(bytes[i], len / 2),
                                        .expires = i > 1,
                                        .expire_at_ms = i > 1 ? mf_rand_next(&rand) >> 11 : 0};
            if (csv)
                lines_put_csv(&text, &entries[i]);
            else
                lines_put_json(&text, &entries[i]);
        }
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        assert_int_equal(write(ends[1], text.data, text.len), text.len);
        close(ends[1]);
        struct input input = {.path = "pipe", .fd = ends[0]};
        struct text_in in;
        struct entry entry;
        text_in_start(&in, &input, csv);
        for (int i = 0; i < 4; i++) {
            if (text_in_next(&in, &entry) != TEXT_ENTRY)
                fail_msg("%s", in.why);
            assert_true(mf_bytes_equal(entry.key, entries[i].key));
            assert_true(mf_bytes_equal(entry.value, entries[i].value));
            assert_int_equal(entry.expires, entries[i].expires);
            assert_int_equal(entry.expire_at_ms, entries[i].expire_at_ms);
        }
        assert_int_equal(text_in_next(&in, &entry), TEXT_END);
        text_in_free(&in);
        input_close(&input);
        mf_buf_free(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(these_lines_of_json_are_taken),
        cmocka_unit_test(these_records_of_csv_are_taken),
        cmocka_unit_test(these_lines_of_json_are_refused),
        cmocka_unit_test(these_records_of_csv_are_refused),
        cmocka_unit_test(what_export_writes_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
