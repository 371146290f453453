// node.meta: what is written is read back, and nothing else is.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/node_meta.h"

#define IDENTITY "mayfly-node 2\nnode.id = 1\n"
#define MEMORY "memory = 00000000000000ab\n"
#define REST "boot = 1-2\nsync = os\nstop = running\n"

static void what_is_written_is_read_back(void **state)
{
    (void)state;
    const struct mf_node_meta cases[] = {
        {1, MF_FORMATION_READY, "", MF_DURABILITY_FSYNC, false, 4},
        {UINT64_MAX, MF_FORMATION_FORMED, "3f1c-99", MF_DURABILITY_OS, true, 600000},
        {77, MF_FORMATION_FORMED, "x", MF_DURABILITY_NONE, false, 500},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[400] = IDENTITY;
        assert_true(mf_node_meta_append(&cases[i], text, sizeof(text)));
        struct mf_node_meta got;
        assert_int_equal(mf_node_meta_split(text, &got), MF_OK);
        assert_string_equal(text, IDENTITY);
        assert_true(got.memory == cases[i].memory && got.state == cases[i].state);
        assert_string_equal(got.boot, cases[i].boot);
        assert_true(got.sync == cases[i].sync && got.clean == cases[i].clean);
        assert_int_equal(got.lease_ms, cases[i].lease_ms);
    }
}

static void a_text_that_does_not_fit_is_not_cut(void **state)
{
    (void)state;
    char text[60] = IDENTITY;
    const struct mf_node_meta meta = {.memory = 1, .state = MF_FORMATION_READY};
    assert_false(mf_node_meta_append(&meta, text, sizeof(text)));
}

static void anything_else_is_refused(void **state)
{
    (void)state;
    const char *const cases[] = {
        "",
        IDENTITY,
        MEMORY "state = ready\n" REST, // no identity before it
        IDENTITY MEMORY,
        IDENTITY MEMORY "state = ready\n",
        IDENTITY MEMORY "state = fresh\n" REST,
        IDENTITY MEMORY REST,
        IDENTITY "memory = 0000000000000000\nstate = ready\n" REST,
        IDENTITY "memory = ab\nstate = ready\n" REST,
        IDENTITY "memory = 00000000000000AB\nstate = ready\n" REST,
        IDENTITY "memory = 00000000000000abc\nstate = ready\n" REST,
        IDENTITY MEMORY "state = ready\n" REST "more\n",
        IDENTITY MEMORY "state = ready\n" REST "lease_ms = \n",
        IDENTITY MEMORY "state = ready\n" REST "lease_ms = -1\n",
        IDENTITY MEMORY "state = ready\n" REST "lease_ms = 1234567890\n",
        IDENTITY MEMORY "state = ready\n" REST "lease_ms = 500",
        IDENTITY MEMORY "state = ready\n" REST "lease_ms = 500\nmore\n",
        IDENTITY MEMORY "state = ready\nboot = 1\nsync = disk\nstop = clean\n",
        IDENTITY MEMORY "state = ready\nboot = 1\nsync = os\nstop = maybe\n",
        IDENTITY MEMORY "state = ready\nboot = 1\nsync = os\nstop = clean",
        IDENTITY MEMORY "state = ready\nboot = 1234567890123456789012345678901234567890\n"
                        "sync = os\nstop = clean\n",
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[400];
        struct mf_node_meta got;
        snprintf(text, sizeof(text), "%s", cases[i]);
        if (mf_node_meta_split(text, &got) != MF_CORRUPT)
            fail_msg("case %zu is taken", i);
    }
    char sound[400];
    struct mf_node_meta got;
    snprintf(sound, sizeof(sound), "%s", IDENTITY MEMORY "state = ready\n" REST);
    assert_int_equal(mf_node_meta_split(sound, &got), MF_OK);
    assert_int_equal(got.lease_ms, 0); // as older versions wrote it
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(a_text_that_does_not_fit_is_not_cut),
        cmocka_unit_test(anything_else_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
