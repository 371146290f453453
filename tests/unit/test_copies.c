// What is left of a copy that was given up: the file.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/copies.h"

static void what_is_left_is_read_as_it_was_written(void **state)
{
    (void)state;
    static const struct mf_left cases[] = {
        {.promise = 0, .slot = 0, .gone = true},
        {.promise = (UINT64_C(7) << 16) | 3, .slot = 812, .floor = 805, .gone = false},
        {.promise = UINT64_MAX, .slot = UINT64_MAX, .gone = true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[MF_LEFT_TEXT_BYTES];
        struct mf_left left;
        mf_left_format(&cases[i], text);
        assert_int_equal(mf_left_parse(text, &left), MF_OK);
        assert_int_equal(left.promise, cases[i].promise);
        assert_int_equal(left.slot, cases[i].slot);
        assert_int_equal(left.floor, cases[i].floor);
        assert_int_equal(left.gone, cases[i].gone);
        for (size_t len = 0; len < strlen(text); len++) {
            char cut[MF_LEFT_TEXT_BYTES] = "";
            memcpy(cut, text, len);
            assert_int_equal(mf_left_parse(cut, &left), MF_CORRUPT);
        }
    }
}

static void a_text_that_nobody_writes_is_damaged(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "mayfly-left 2\npromise = 2.1\nslot = 812\nfloor = 8\nstate = gone\n",
        "mayfly-left 1\npromise = 2.65536\nslot = 812\nfloor = 8\nstate = gone\n",
        "mayfly-left 1\npromise = 2\nslot = 812\nfloor = 8\nstate = gone\n",
        "mayfly-left 1\npromise = -2.1\nslot = 812\nfloor = 8\nstate = gone\n",
        "mayfly-left 1\npromise = 2.1\nslot = 0812\nfloor = 8\nstate = gone\n",
        "mayfly-left 1\npromise = 2.1\nslot = 812\nfloor = 8\nstate = went\n",
        "mayfly-left 1\npromise = 2.1\nslot = 812\nfloor = 8\nstate = gone\n\n",
        "mayfly-left 1\npromise = 281474976710656.1\nslot = 812\nfloor = 8\nstate = gone\n",
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mf_left left;
        assert_int_equal(mf_left_parse(cases[i], &left), MF_CORRUPT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_left_is_read_as_it_was_written),
        cmocka_unit_test(a_text_that_nobody_writes_is_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
