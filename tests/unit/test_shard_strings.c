// Commands on a value's bytes and on two keys, as users of Redis know them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "shard_fixture.h"

#define SECOND INT64_C(1000000)

static struct mf_command getrange(const char *key, int64_t from, int64_t to)
{
    struct mf_command command = one(MF_OP_GETRANGE, key);
    command.number = (uint64_t)from;
    command.last = to;
    return command;
}

static int64_t length_of(struct fixture *f, const char *key)
{
    return read_one(f, one(MF_OP_STRLEN, key)).integer;
}

static void a_length_is_that_of_a_live_value(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    assert_int_equal(length_of(f, "none"), 0);
    apply(f, set("empty", ""));
    assert_int_equal(length_of(f, "empty"), 0);
    apply(f, set_for("k", "hello", SECOND));
    assert_int_equal(length_of(f, "k"), 5);
    f->now_us += SECOND;
    // The death is not in the log yet.
    assert_int_equal(try_read(f, one(MF_OP_STRLEN, "k")), MF_AGAIN);
    assert_int_equal(try_read(f, getrange("k", 0, -1)), MF_AGAIN);
    apply(f, set("other", ""));
    assert_int_equal(length_of(f, "k"), 0);
    fixture_free(f);
}

// Each row as Redis 7.0 answers it.
static void a_range_is_counted_from_both_ends(void **state)
{
    (void)state;
    static const struct {
        const char *value; // NULL: no key
        int64_t from;
        int64_t to;
        const char *part;
    } cases[] = {
        {"Hello World", 0, -1, "Hello World"},
        {"Hello World", 0, 4, "Hello"},
        {"Hello World", -5, -1, "World"},
        {"Hello World", -3, -1, "rld"},
        {"Hello World", 4, 4, "o"},
        {"Hello World", 10, 100, "d"},
        {"Hello World", 11, 100, ""},
        {"Hello World", 5, 3, ""},
        {"Hello World", 5000, 10000, ""},
        {"Hello World", -5000, 10000, "Hello World"},
        {"Hello World", -1, -5, ""},
        {"Hello World", -1, 0, ""},
        {"Hello World", 0, -100, "H"},
        {"Hello World", -100, -50, "H"},
        {"Hello World", -50, -100, ""},
        {"Hello World", INT64_MIN, INT64_MAX, "Hello World"},
        {"Hello World", INT64_MAX, INT64_MIN, ""},
        {"Hello World", INT64_MAX, INT64_MAX, ""},
        {"", 0, -1, ""},
        {"", 0, 0, ""},
        {NULL, 0, -1, ""},
        {NULL, INT64_MIN, INT64_MAX, ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture *f = fixture_new();
        if (cases[i].value != NULL)
            apply(f, set("k", cases[i].value));
        struct mf_result result = read_one(f, getrange("k", cases[i].from, cases[i].to));
        if (result.kind != MF_RESULT_BYTES ||
            !mf_bytes_equal(result.value, mf_bytes_str(cases[i].part)))
            fail_msg("case %zu: '%.*s'", i, (int)result.value.len, (const char *)result.value.data);
        fixture_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_length_is_that_of_a_live_value),
        cmocka_unit_test(a_range_is_counted_from_both_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
