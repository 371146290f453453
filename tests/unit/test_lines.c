// Entries as lines of JSON and CSV: escapes, base64, and that any bytes make one line.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/rand.h"
#include "snapshot/tool/lines.h"

#define TEXT(literal)                                                                              \
    {                                                                                              \
        (const uint8_t *)(literal), sizeof(literal) - 1                                            \
    }

struct form {
    struct entry entry;
    const char *json;
    const char *csv;
};

static const struct form forms[] = {
    {{TEXT("k"), TEXT("v"), false, 0},
     "{\"key\":\"k\",\"value\":\"v\",\"expire_at\":null}\n",
     "k,v,,,\n"},
    {{TEXT("k"), TEXT(""), true, 0},
     "{\"key\":\"k\",\"value\":\"\",\"expire_at\":0}\n",
     "k,,0,,\n"},
    {{TEXT("a\"b\\c"), TEXT("\b\f\n\r\t\x1f\x0b"), true, 1700000000123},
     "{\"key\":\"a\\\"b\\\\c\",\"value\":\"\\b\\f\\n\\r\\t\\u001f\\u000b\","
     "\"expire_at\":1700000000123}\n",
     "\"a\"\"b\\c\",,1700000000123,,CAwKDQkfCw==\n"},
    {{TEXT("\0"), TEXT("\x7f"), false, 0},
     "{\"key\":\"\\u0000\",\"value\":\"\x7f\",\"expire_at\":null}\n",
     ",,,AA==,fw==\n"},
    {{TEXT("\xc3\xa4,"), TEXT(" \xe2\x82\xac"), true, ENTRY_EXPIRE_AT_MAX},
     "{\"key\":\"\xc3\xa4,\",\"value\":\" \xe2\x82\xac\",\"expire_at\":9007199254740991}\n",
     "\"\xc3\xa4,\",\" \xe2\x82\xac\",9007199254740991,,\n"},
    {{TEXT("\xff"), TEXT("\xc3"), false, 0},
     "{\"key_base64\":\"/w==\",\"value_base64\":\"ww==\",\"expire_at\":null}\n",
     ",,,/w==,ww==\n"},
};

static void assert_text(struct mf_buf *buf, const char *expected)
{
    mf_buf_u8(buf, '\0');
    assert_string_equal((const char *)buf->data, expected);
    mf_buf_free(buf);
}

static void an_entry_has_this_form(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct mf_buf json = {0};
        struct mf_buf csv = {0};
        lines_put_json(&json, &forms[i].entry);
        lines_put_csv(&csv, &forms[i].entry);
        assert_text(&json, forms[i].json);
        assert_text(&csv, forms[i].csv);
    }
    struct mf_buf names = {0};
    lines_put_csv_names(&names);
    assert_text(&names, "key,value,expire_at,key_base64,value_base64\n");
}

static void any_bytes_are_one_line_that_another_reader_understands(void **state)
{
    (void)state;
    struct mf_rand rand = {3};
    uint8_t bytes[24];
    for (int i = 0; i < 5000; i++) {
        size_t len = 1 + (size_t)mf_rand_below(&rand, sizeof(bytes));
        for (size_t n = 0; n < len; n++)
            bytes[n] = (uint8_t)mf_rand_below(&rand, i % 2 == 0 ? 256 : 128);
        struct entry entry = {.key = mf_bytes_of(bytes, len), .value = mf_bytes_of(bytes, len)};
        struct mf_buf line = {0};
        lines_put_json(&line, &entry);
        assert_ptr_equal(memchr(line.data, '\n', line.len), line.data + line.len - 1);
        json_t *json = json_loadb((const char *)line.data, line.len,
                                  JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(json);
        assert_int_equal(json_object_size(json), 3);
        const json_t *key = json_object_get(json, "key");
        if (key != NULL)
            assert_true(mf_bytes_equal(mf_bytes_of(json_string_value(key), json_string_length(key)),
                                       entry.key));
        else
            assert_non_null(json_object_get(json, "key_base64"));
        json_decref(json);
        line.len = 0;
        lines_put_csv(&line, &entry);
        assert_ptr_equal(memchr(line.data, '\n', line.len), line.data + line.len - 1);
        mf_buf_free(&line);
    }
}

static void a_deadline_is_unix_time_by_the_cut_and_never_early(void **state)
{
    (void)state;
    struct mf_snapshot_shard section = {.meta = {.log_time_us = 5000}, .wall_us = 1000000};
    const struct {
        uint64_t deadline_us;
        uint64_t expire_at_ms;
    } cases[] = {{5000, 1000}, {5001, 1001}, {6000, 1001},
                 {4000, 999},  {0, 995},     {MF_NO_DEADLINE - 1, ENTRY_EXPIRE_AT_MAX}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mf_record record = {.deadline_us = cases[i].deadline_us};
        struct entry entry = entry_of(&section, &record, 1);
        assert_true(entry.expires);
        assert_int_equal(entry.expire_at_ms, cases[i].expire_at_ms);
    }
    struct mf_record record = {.deadline_us = MF_NO_DEADLINE};
    assert_false(entry_of(&section, &record, 1).expires);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_has_this_form),
        cmocka_unit_test(any_bytes_are_one_line_that_another_reader_understands),
        cmocka_unit_test(a_deadline_is_unix_time_by_the_cut_and_never_early),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
