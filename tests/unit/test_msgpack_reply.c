// Results in, replies out: what was packed must be byte for byte what msgpack-c makes of the
// expected text (msgpack_text.h).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/msgpack_rpc.h"
#include "tests/unit/msgpack_text.h"

static void expect_reply(struct mf_buf *out, const char *text)
{
    msgpack_sbuffer expected;
    msgpack_sbuffer_init(&expected);
    pack_text(text, &expected);
    if (out->len != expected.size || memcmp(out->data, expected.data, out->len) != 0)
        print_error("%s\n", text);
    assert_int_equal(out->len, expected.size);
    assert_memory_equal(out->data, expected.data, expected.size);
    msgpack_sbuffer_destroy(&expected);
    out->len = 0;
}

static void expect_result(const struct mf_result *result, const char *text)
{
    struct mf_buf out = {0};
    mf_rpc_reply_result(&out, 7, result);
    expect_reply(&out, text);
    mf_buf_free(&out);
}

static void results_become_replies(void **state)
{
    (void)state;
    static const struct {
        struct mf_result result;
        const char *reply;
    } cases[] = {
        {{.kind = MF_RESULT_NIL}, "[1 7 nil nil]"},
        {{.kind = MF_RESULT_BOOL, .integer = 1}, "[1 7 nil true]"},
        {{.kind = MF_RESULT_BOOL}, "[1 7 nil false]"},
        {{.kind = MF_RESULT_INT, .integer = -2}, "[1 7 nil -2]"},
        {{.kind = MF_RESULT_INT, .integer = 70000}, "[1 7 nil 70000]"},
        {{.kind = MF_RESULT_BYTES, .value = {(const uint8_t *)"v", 1}}, "[1 7 nil b\"v\"]"},
        {{.kind = MF_RESULT_BYTES}, "[1 7 nil b\"\"]"},
        {{.kind = MF_RESULT_WRITTEN, .version = 12}, "[1 7 nil {\"version\" 12}]"},
        {{.kind = MF_RESULT_WRITTEN}, "[1 7 nil nil]"},
        {{.kind = MF_RESULT_WRITTEN, .version = 12, .with_old = true},
         "[1 7 nil {\"version\" 12 \"old\" nil}]"},
        {{.kind = MF_RESULT_WRITTEN,
          .with_old = true,
          .has_old = true,
          .value = {(const uint8_t *)"o", 1}},
         "[1 7 nil {\"version\" nil \"old\" b\"o\"}]"},
        {{.kind = MF_RESULT_WRITTEN, .version = 3, .with_old = true, .has_old = true},
         "[1 7 nil {\"version\" 3 \"old\" b\"\"}]"},
        {{.kind = MF_RESULT_META,
          .value = {(const uint8_t *)"v", 1},
          .version = UINT64_MAX,
          .ttl_ms = -1},
         "[1 7 nil {\"value\" b\"v\" \"version\" 18446744073709551615 \"ttl\" -1}]"},
        {{.kind = MF_RESULT_LIST}, "[1 7 nil []]"},
        {{.kind = MF_RESULT_ERROR, .err = MF_NOT_INTEGER, .value = {(const uint8_t *)"no", 2}},
         "[1 7 [\"NOT_INTEGER\" \"no\" {}] nil]"},
        {{.kind = MF_RESULT_ERROR, .err = MF_BUSY},
         "[1 7 [\"BUSY\" \"the node is overloaded; nothing happened, try again\" {}] nil]"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        expect_result(&cases[i].result, cases[i].reply);
}

static void lists_hold_results_of_their_own(void **state)
{
    (void)state;
    struct mf_buf elements = {0};
    mf_result_nil(&elements);
    mf_result_bytes(&elements, mf_bytes_str("v"));
    mf_result_bool(&elements, true);
    struct mf_result list = {.kind = MF_RESULT_LIST, .count = 3, .value = mf_buf_view(&elements)};
    expect_result(&list, "[1 7 nil [nil b\"v\" true]]");
    struct mf_buf outer = {0};
    mf_result_encode(&list, &outer);
    struct mf_result nested = {.kind = MF_RESULT_LIST, .count = 1, .value = mf_buf_view(&outer)};
    expect_result(&nested, "[1 7 nil [[nil b\"v\" true]]]");
    mf_buf_free(&elements);
    mf_buf_free(&outer);
}

static void a_damaged_result_is_an_internal_error_and_a_whole_reply(void **state)
{
    (void)state;
    static const char reply[] = "[1 7 [\"INTERNAL\" \"the result is damaged\" {}] nil]";
    struct mf_buf elements = {0};
    mf_result_bool(&elements, true);
    struct mf_result list = {.kind = MF_RESULT_LIST, .value = mf_buf_view(&elements)};
    list.count = 2; // one is missing
    expect_result(&list, reply);
    list.count = 0; // one is left over
    expect_result(&list, reply);
    mf_buf_clear(&elements, SIZE_MAX);
    mf_result_error(&elements, MF_BUSY, NULL); // an error has no place inside
    list = (struct mf_result){.kind = MF_RESULT_LIST, .count = 1, .value = mf_buf_view(&elements)};
    expect_result(&list, reply);
    struct mf_buf nested[6] = {{0}};
    list = (struct mf_result){.kind = MF_RESULT_LIST};
    for (size_t level = 0; level < 6; level++) {
        mf_result_encode(&list, &nested[level]);
        list.count = 1;
        list.value = mf_buf_view(&nested[level]);
    }
    expect_result(&list, reply); // nobody makes lists this deep
    for (size_t level = 0; level < 6; level++)
        mf_buf_free(&nested[level]);
    mf_buf_free(&elements);
}

static void codes_that_stay_inside_the_process_are_internal_outside(void **state)
{
    (void)state;
    struct mf_buf out = {0};
    mf_rpc_reply_error(&out, 4294967295, MF_NOT_LEADER, "lost its place");
    expect_reply(&out, "[1 4294967295 [\"INTERNAL\" \"lost its place\" {}] nil]");
    mf_rpc_reply_error(&out, 1, MF_SHUTTING_DOWN, NULL);
    expect_reply(&out, "[1 1 [\"SHUTTING_DOWN\" \"the node is stopping\" {}] nil]");
    mf_buf_free(&out);
}

static void a_reply_can_be_packed_piece_by_piece(void **state)
{
    (void)state;
    struct mf_buf out = {0};
    mf_rpc_reply_begin(&out, 3);
    mf_pack_map(&out, 4);
    mf_pack_str(&out, "server");
    mf_pack_bin(&out, mf_bytes_str("b"));
    mf_pack_str(&out, "list");
    mf_pack_array(&out, 3);
    mf_pack_int(&out, -1);
    mf_pack_uint(&out, UINT64_MAX);
    mf_pack_double(&out, 0.5);
    mf_pack_str(&out, "yes");
    mf_pack_bool(&out, true);
    mf_pack_str(&out, "none");
    mf_pack_nil(&out);
    expect_reply(&out, "[1 3 nil {\"server\" b\"b\" \"list\" [-1 18446744073709551615 0.5] "
                       "\"yes\" true \"none\" nil}]");
    mf_buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_become_replies),
        cmocka_unit_test(lists_hold_results_of_their_own),
        cmocka_unit_test(a_damaged_result_is_an_internal_error_and_a_whole_reply),
        cmocka_unit_test(codes_that_stay_inside_the_process_are_internal_outside),
        cmocka_unit_test(a_reply_can_be_packed_piece_by_piece),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
