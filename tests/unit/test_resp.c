// The Redis protocol: requests in one piece and in every other way, hostile ones, and replies.
//
// Inputs are copied to allocations of their exact size for each call, so that the address sanitizer
// sees every read past what has come, and every view that should have moved with the input.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rand.h"
#include "rpc/resp.h"

#define REQUEST_BYTES_MAX 100000

static const struct mf_resp_limits limits = {.request_bytes_max = REQUEST_BYTES_MAX};
static const struct mf_resp_limits stranger = {.request_bytes_max = REQUEST_BYTES_MAX,
                                               .stranger = true};

struct input {
    struct mf_bytes bytes;
    const char *words; // each between brackets; or the message
    size_t left;       // bytes behind the request
    enum mf_err err;
};
#define TEXT(literal)                                                                              \
    {                                                                                              \
        (const uint8_t *)(literal), sizeof(literal) - 1                                            \
    }

static const struct input inputs[] = {
    {TEXT("*1\r\n$4\r\nPING\r\n"), "[PING]", 0, MF_OK},
    {TEXT("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n"), "[GET][k]", 4, MF_OK},
    {TEXT("*2\r\n$0\r\n\r\n$3\r\n\r\n\0\r\n"), "[][\r\n\0]", 0, MF_OK},
    {TEXT("*1\r\n$1\r\naxx"), "[a]", 0, MF_OK},
    {TEXT("*1\rx$1\rxa\r\n"), "[a]", 0, MF_OK},
    {TEXT("*0\r\nrest"), "", 4, MF_OK},
    {TEXT("*-1\r\n"), "", 0, MF_OK},
    {TEXT("*-9223372036854775808\r\n"), "", 0, MF_OK},
    {TEXT("PING\r\nrest"), "[PING]", 4, MF_OK},
    {TEXT("\r\n"), "", 0, MF_OK},
    {TEXT(" \t \n"), "", 0, MF_OK},
    {TEXT("set  k\tv\n"), "[set][k][v]", 0, MF_OK},
    {TEXT("set k \"a b\" 'c d'\r\n"), "[set][k][a b][c d]", 0, MF_OK},
    {TEXT("\"\\x41\\x0g\\n\\r\\t\\b\\a\\\"\\q\"\n"), "[Ax0g\n\r\t\b\a\"q]", 0, MF_OK},
    {TEXT("'\\n\\'' \"\"\n"), "[\\n'][]", 0, MF_OK},
    {TEXT("\"\" ''\n"), "[][]", 0, MF_OK},
    {TEXT("ab\"cd ef\" g\n"), "[abcd ef][g]", 0, MF_OK},
    {TEXT("get a\0b c\n"), "[get][a]", 0, MF_OK},
    {TEXT("a\"b\n"), "Protocol error: unbalanced quotes in request", 0, MF_BAD_REQUEST},
    {TEXT("\"a\"b\n"), "Protocol error: unbalanced quotes in request", 0, MF_BAD_REQUEST},
    {TEXT("'a\\'\n"), "Protocol error: unbalanced quotes in request", 0, MF_BAD_REQUEST},
    {TEXT("\"a\\\n"), "Protocol error: unbalanced quotes in request", 0, MF_BAD_REQUEST},
    {TEXT("*\r\n"), "Protocol error: invalid multibulk length", 0, MF_BAD_REQUEST},
    {TEXT("*x\r\n"), "Protocol error: invalid multibulk length", 0, MF_BAD_REQUEST},
    {TEXT("*01\r\n"), "Protocol error: invalid multibulk length", 0, MF_BAD_REQUEST},
    {TEXT("*+1\r\n"), "Protocol error: invalid multibulk length", 0, MF_BAD_REQUEST},
    {TEXT("*1048577\r\n"), "Protocol error: invalid multibulk length", 0, MF_BAD_REQUEST},
    {TEXT("*9223372036854775808\r\n"), "Protocol error: invalid multibulk length", 0,
     MF_BAD_REQUEST},
    {TEXT("*1\r\n:1\r\n"), "Protocol error: expected '$', got ':'", 0, MF_BAD_REQUEST},
    {TEXT("*1\r\nPING\r\n"), "Protocol error: expected '$', got 'P'", 0, MF_BAD_REQUEST},
    {TEXT("*2\r\n$1\r\na\r\n\r\n$1"), "Protocol error: expected '$', got '\r'", 0, MF_BAD_REQUEST},
    {TEXT("*1\r\n$-1\r\n"), "Protocol error: invalid bulk length", 0, MF_BAD_REQUEST},
    {TEXT("*1\r\n$\r\n"), "Protocol error: invalid bulk length", 0, MF_BAD_REQUEST},
    {TEXT("*1\r\n$1e3\r\n"), "Protocol error: invalid bulk length", 0, MF_BAD_REQUEST},
    {TEXT("*1\r\n$100001\r\n"), "Protocol error: invalid bulk length", 0, MF_BAD_REQUEST},
    {TEXT("*1\r\n$18446744073709551615\r\n"), "Protocol error: invalid bulk length", 0,
     MF_BAD_REQUEST},
    {TEXT("*1\r\n$100000\r\n"), "Protocol error: the request is over limits.max_request", 0,
     MF_TOO_LARGE},
};

static enum mf_err parse_copy(struct mf_resp_request *request, struct mf_bytes input,
                              const struct mf_resp_limits *given, size_t *size,
                              struct mf_buf *shown)
{
    uint8_t *copy = malloc(input.len > 0 ? input.len : 1);
    if (input.len > 0)
        memcpy(copy, input.data, input.len);
    enum mf_err err = mf_resp_parse(request, mf_bytes_of(copy, input.len), given, size);
    for (uint32_t i = 0; i < request->word_count && err == MF_OK; i++) {
        mf_buf_u8(shown, '[');
        mf_buf_put(shown, request->words[i].data, request->words[i].len);
        mf_buf_u8(shown, ']');
    }
    free(copy);
    if (err != MF_OK && err != MF_AGAIN)
        mf_buf_put(shown, request->message, strlen(request->message));
    return err;
}

static void check(const struct input *input, enum mf_err err, size_t size,
                  const struct mf_buf *shown)
{
    const char *words = input->words;
    size_t len = input == &inputs[2] ? 7 : strlen(words); // the one with a zero in it
    if (err != input->err || shown->len != len || (len > 0 && memcmp(shown->data, words, len) != 0))
        fail_msg("%.*s: %d, \"%.*s\" instead of \"%s\"", (int)input->bytes.len,
                 (const char *)input->bytes.data, err, (int)shown->len, (const char *)shown->data,
                 words);
    if (err == MF_OK)
        assert_int_equal(size, input->bytes.len - input->left);
}

static void requests_mean_the_same_whole_and_in_every_two_pieces(void **state)
{
    (void)state;
    struct mf_resp_request request = {0};
    for (size_t i = 0; i < sizeof(inputs) / sizeof(inputs[0]); i++) {
        struct mf_bytes all = inputs[i].bytes;
        for (size_t cut = 0; cut <= all.len; cut++) {
            struct mf_buf shown = {0};
            size_t size = 0;
            enum mf_err err =
                parse_copy(&request, mf_bytes_of(all.data, cut), &limits, &size, &shown);
            if (err == MF_AGAIN)
                err = parse_copy(&request, all, &limits, &size, &shown);
            check(&inputs[i], err, size, &shown);
            mf_resp_reset(&request);
            mf_buf_free(&shown);
        }
    }
    mf_resp_free(&request);
}

static void requests_mean_the_same_byte_by_byte(void **state)
{
    (void)state;
    struct mf_resp_request request = {0};
    for (size_t i = 0; i < sizeof(inputs) / sizeof(inputs[0]); i++) {
        struct mf_bytes all = inputs[i].bytes;
        struct mf_buf shown = {0};
        size_t size = 0;
        enum mf_err err = MF_AGAIN;
        for (size_t len = 0; len <= all.len && err == MF_AGAIN; len++)
            err = parse_copy(&request, mf_bytes_of(all.data, len), &limits, &size, &shown);
        check(&inputs[i], err, size, &shown);
        mf_resp_reset(&request);
        mf_buf_free(&shown);
    }
    mf_resp_free(&request);
}

static void a_whole_request_can_be_asked_for_again_elsewhere(void **state)
{
    (void)state;
    struct mf_resp_request request = {0};
    struct mf_bytes all = inputs[1].bytes;
    for (int round = 0; round < 3; round++) {
        struct mf_buf shown = {0};
        size_t size = 0;
        enum mf_err err = parse_copy(&request, all, &limits, &size, &shown);
        check(&inputs[1], err, size, &shown);
        mf_buf_free(&shown);
    }
    mf_resp_free(&request);
}

// A look at what is next sees nothing that the parser would not find there.
static void check_peek(struct mf_bytes input)
{
    uint8_t *copy = malloc(input.len > 0 ? input.len : 1);
    if (input.len > 0)
        memcpy(copy, input.data, input.len);
    struct mf_bytes second;
    uint32_t words = 0;
    size_t peeked = mf_resp_peek(mf_bytes_of(copy, input.len), &second, &words);
    struct mf_resp_request request = {0};
    size_t size = 0;
    enum mf_err err = mf_resp_parse(&request, mf_bytes_of(copy, input.len), &limits, &size);
    if (peeked > 0) {
        assert_int_equal(err, MF_OK);
        assert_int_equal(peeked, size);
        assert_int_equal(request.word_count, words);
        assert_true(mf_bytes_equal(second, request.words[1]));
    }
    mf_resp_free(&request);
    free(copy);
}

static void a_look_at_the_next_request_agrees_with_the_parser(void **state)
{
    (void)state;
    static const struct mf_bytes get = TEXT("*2\r\n$3\r\nGET\r\n$10\r\n0123456789\r\n*1");
    static const struct mf_bytes set =
        TEXT("*5\r\n$3\r\nSET\r\n$10\r\n0123456789\r\n$1\r\nv\r\n$2\r\nPX\r\n$1\r\n9\r\n*1");
    struct mf_bytes second;
    uint32_t words;
    assert_int_equal(mf_resp_peek(get, &second, &words), get.len - 2);
    assert_int_equal(second.len, 10);
    assert_int_equal(words, 2);
    assert_int_equal(mf_resp_peek(set, &second, &words), set.len - 2);
    assert_int_equal(second.len, 10);
    assert_int_equal(words, 5);
    for (size_t len = 0; len < get.len; len++)
        check_peek(mf_bytes_of(get.data, len));
    for (size_t len = 0; len < set.len; len++)
        check_peek(mf_bytes_of(set.data, len));
    for (size_t i = 0; i < sizeof(inputs) / sizeof(inputs[0]); i++) {
        for (size_t len = 0; len <= inputs[i].bytes.len; len++)
            check_peek(mf_bytes_of(inputs[i].bytes.data, len));
    }
}

static void random_requests_in_random_pieces_are_what_was_sent(void **state)
{
    (void)state;
    struct mf_rand rand = {1};
    struct mf_resp_request request = {0};
    for (int round = 0; round < 2000; round++) {
        struct mf_buf wire = {0};
        struct mf_buf expected = {0};
        uint32_t count = (uint32_t)(mf_rand_next(&rand) % 100) + 1;
        mf_resp_array(&wire, count);
        for (uint32_t i = 0; i < count; i++) {
            uint8_t word[40];
            size_t len = mf_rand_next(&rand) % sizeof(word);
            for (size_t k = 0; k < len; k++)
                word[k] = (uint8_t)mf_rand_next(&rand);
            mf_resp_bulk(&wire, mf_bytes_of(word, len));
            mf_buf_u8(&expected, '[');
            mf_buf_put(&expected, word, len);
            mf_buf_u8(&expected, ']');
        }
        struct mf_buf shown = {0};
        size_t size = 0;
        size_t len = 0;
        enum mf_err err = MF_AGAIN;
        while (err == MF_AGAIN) {
            len += mf_rand_next(&rand) % 200 + 1;
            len = len < wire.len ? len : wire.len;
            err = parse_copy(&request, mf_bytes_of(wire.data, len), &limits, &size, &shown);
        }
        assert_int_equal(err, MF_OK);
        assert_int_equal(size, wire.len);
        assert_true(mf_bytes_equal(mf_buf_view(&shown), mf_buf_view(&expected)));
        mf_resp_reset(&request);
        mf_buf_free(&shown);
        mf_buf_free(&expected);
        mf_buf_free(&wire);
    }
    mf_resp_free(&request);
}

static void headers_and_lines_without_an_end_are_refused_at_64_kib(void **state)
{
    (void)state;
    static const struct {
        const char *start;
        const char *message;
    } endless[] = {
        {"*", "Protocol error: too big mbulk count string"},
        {"*1\r\n$", "Protocol error: too big bulk count string"},
        {"PING ", "Protocol error: too big inline request"},
    };
    for (size_t i = 0; i < sizeof(endless) / sizeof(endless[0]); i++) {
        struct mf_resp_request request = {0};
        size_t head = strlen(endless[i].start);
        size_t most = head + MF_RESP_LINE_BYTES_MAX + 8;
        uint8_t *input = malloc(most);
        memset(input, '1', most);
        memcpy(input, endless[i].start, head);
        enum mf_err err = MF_AGAIN;
        size_t len = 0;
        size_t size = 0;
        for (; err == MF_AGAIN && len < most; len++)
            err = mf_resp_parse(&request, mf_bytes_of(input, len), &limits, &size);
        assert_int_equal(err, MF_BAD_REQUEST);
        assert_string_equal(request.message, endless[i].message);
        assert_true(len > MF_RESP_LINE_BYTES_MAX);
        free(input);
        mf_resp_free(&request);
    }
}

static void a_stranger_is_kept_to_few_and_short_words(void **state)
{
    (void)state;
    static const struct input cases[] = {
        {TEXT("*10\r\n"), "", 0, MF_AGAIN},
        {TEXT("*11\r\n"), "Protocol error: unauthenticated multibulk length", 0, MF_BAD_REQUEST},
        {TEXT("*1\r\n$16384\r\n"), "", 0, MF_AGAIN},
        {TEXT("*1\r\n$16385\r\n"), "Protocol error: unauthenticated bulk length", 0,
         MF_BAD_REQUEST},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mf_resp_request request = {0};
        struct mf_buf shown = {0};
        size_t size = 0;
        enum mf_err err = parse_copy(&request, cases[i].bytes, &stranger, &size, &shown);
        check(&cases[i], err, size, &shown);
        mf_buf_free(&shown);
        mf_resp_free(&request);
    }
}

// A header that promises a million words costs nothing before they come, and what comes in single
// bytes is not looked at from its beginning each time.
static void many_words_in_many_pieces_take_time_and_memory_in_proportion(void **state)
{
    (void)state;
    const struct mf_resp_limits wide = {.request_bytes_max = 64u << 20};
    struct mf_resp_request request = {0};
    struct mf_buf wire = {0};
    size_t size = 0;
    mf_resp_array(&wire, MF_RESP_WORDS_MAX);
    assert_int_equal(mf_resp_parse(&request, mf_buf_view(&wire), &wide, &size), MF_AGAIN);
    assert_int_equal(request.cap, 0);
    for (uint32_t i = 0; i < MF_RESP_WORDS_MAX; i++) {
        mf_resp_bulk_str(&wire, "w");
        enum mf_err err = mf_resp_parse(&request, mf_buf_view(&wire), &wide, &size);
        assert_int_equal(err, i + 1 < MF_RESP_WORDS_MAX ? MF_AGAIN : MF_OK);
    }
    assert_int_equal(request.word_count, MF_RESP_WORDS_MAX);
    mf_resp_reset(&request);
    assert_int_equal(request.cap, 0);
    mf_resp_free(&request);
    mf_buf_free(&wire);
}

static void integers_are_canonical_decimal_of_64_bits(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool fits;
        int64_t value;
    } cases[] = {
        {"0", true, 0},
        {"-1", true, -1},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"-9223372036854775809", false, 0},
        {"99999999999999999999", false, 0},
        {"111111111111111111111", false, 0},
        {"", false, 0},
        {"-", false, 0},
        {"-0", false, 0},
        {"00", false, 0},
        {"01", false, 0},
        {"+1", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"1.0", false, 0},
        {"1a", false, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t value = 0;
        bool fits = mf_resp_integer(mf_bytes_str(cases[i].text), &value);
        if (fits != cases[i].fits || (fits && value != cases[i].value))
            fail_msg("%s: %d, %lld", cases[i].text, fits, (long long)value);
    }
}

static void words_are_compared_whatever_their_case(void **state)
{
    (void)state;
    assert_true(mf_resp_is(mf_bytes_str("KeepTTL"), "keepttl"));
    assert_true(mf_resp_is(mf_bytes_of("", 0), ""));
    assert_false(mf_resp_is(mf_bytes_str("keep"), "keepttl"));
    assert_false(mf_resp_is(mf_bytes_str("keepttls"), "keepttl"));
    assert_false(mf_resp_is(mf_bytes_of("ex\0", 3), "ex"));
    assert_false(mf_resp_is(mf_bytes_of("[", 1), "{"));
}

// Replies.

static void write_all(struct mf_buf *out, unsigned version)
{
    mf_resp_status(out, "OK");
    mf_resp_error(out, "ERR two\r\nlines\r\n");
    mf_resp_errorf(out, "ERR %s %d", "x", 1);
    mf_resp_int(out, 0);
    mf_resp_int(out, -1);
    mf_resp_int(out, INT64_MIN);
    mf_resp_int(out, INT64_MAX);
    mf_resp_bulk(out, mf_bytes_of(NULL, 0));
    mf_resp_bulk(out, mf_bytes_of("a\r\n", 3));
    mf_resp_bulk_uint(out, UINT64_MAX);
    mf_resp_verbatim(out, version, mf_bytes_str("some"));
    mf_resp_null(out, version);
    mf_resp_null_array(out, version);
    mf_resp_array(out, 0);
    mf_resp_map(out, version, 3);
    mf_resp_set(out, version, 4);
    mf_resp_push(out, version, 5);
    mf_buf_u8(out, '\0');
}

#define WRITTEN_IN_BOTH                                                                            \
    "+OK\r\n-ERR two  lines\r\n-ERR x 1\r\n:0\r\n:-1\r\n:-9223372036854775808\r\n"                 \
    ":9223372036854775807\r\n$0\r\n\r\n$3\r\na\r\n\r\n$20\r\n18446744073709551615\r\n"

static void replies_have_the_forms_of_their_version(void **state)
{
    (void)state;
    struct mf_buf two = {0};
    struct mf_buf three = {0};
    write_all(&two, 2);
    write_all(&three, 3);
    assert_string_equal((const char *)two.data,
                        WRITTEN_IN_BOTH "$4\r\nsome\r\n$-1\r\n*-1\r\n*0\r\n*6\r\n*4\r\n*5\r\n");
    assert_string_equal((const char *)three.data,
                        WRITTEN_IN_BOTH "=8\r\ntxt:some\r\n_\r\n_\r\n*0\r\n%3\r\n~4\r\n>5\r\n");
    mf_buf_free(&two);
    mf_buf_free(&three);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_mean_the_same_whole_and_in_every_two_pieces),
        cmocka_unit_test(requests_mean_the_same_byte_by_byte),
        cmocka_unit_test(a_whole_request_can_be_asked_for_again_elsewhere),
        cmocka_unit_test(a_look_at_the_next_request_agrees_with_the_parser),
        cmocka_unit_test(random_requests_in_random_pieces_are_what_was_sent),
        cmocka_unit_test(headers_and_lines_without_an_end_are_refused_at_64_kib),
        cmocka_unit_test(a_stranger_is_kept_to_few_and_short_words),
        cmocka_unit_test(many_words_in_many_pieces_take_time_and_memory_in_proportion),
        cmocka_unit_test(integers_are_canonical_decimal_of_64_bits),
        cmocka_unit_test(words_are_compared_whatever_their_case),
        cmocka_unit_test(replies_have_the_forms_of_their_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
