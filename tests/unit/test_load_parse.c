// Lines that `mayfly load` reads: what they mean, which are refused and with which words, and how a
// stream is cut into them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/load_flight.h"
#include "cli/load_input.h"
#include "cli/load_parse.h"
#include "cli/output.h"

// Parses a copy that ends where the line ends, so that a sanitizer sees any step past it.
static bool parse(struct load_parser *parser, const char *text, size_t len,
                  struct load_record *record, uint8_t **copy)
{
    *copy = malloc(len > 0 ? len : 1);
    memcpy(*copy, text, len);
    return load_parse(parser, *copy, len, record);
}

static void assert_bytes(struct mf_bytes bytes, const char *expected, size_t len)
{
    assert_int_equal(bytes.len, len);
    assert_memory_equal(bytes.data, expected, len);
}

#define TEXT(literal) literal, sizeof literal - 1

struct good_line {
    const char *line;
    size_t len;
    const char *key;
    size_t key_len;
    const char *value;
    size_t value_len;
    enum load_expiry expiry;
    int64_t expire_ms;
};

static void assert_good_lines(enum load_format format, const struct good_line *lines, size_t count)
{
    struct load_parser parser = {.format = format};
    for (size_t i = 0; i < count; i++) {
        struct load_record record;
        uint8_t *copy;
        if (!parse(&parser, lines[i].line, lines[i].len, &record, &copy))
            fail_msg("%s: %s", lines[i].line, parser.why);
        assert_bytes(record.key, lines[i].key, lines[i].key_len);
        assert_bytes(record.value, lines[i].value, lines[i].value_len);
        assert_int_equal(record.expiry, lines[i].expiry);
        assert_int_equal(record.expire_ms, lines[i].expire_ms);
        free(copy);
    }
    load_parser_free(&parser);
}

struct bad_line {
    const char *line;
    size_t len;
    const char *why; // how the message begins
};

static void assert_bad_lines(enum load_format format, const struct bad_line *lines, size_t count)
{
    struct load_parser parser = {.format = format};
    for (size_t i = 0; i < count; i++) {
        struct load_record record;
        uint8_t *copy;
        if (parse(&parser, lines[i].line, lines[i].len, &record, &copy))
            fail_msg("accepted: %s", lines[i].line);
        if (strncmp(parser.why, lines[i].why, strlen(lines[i].why)) != 0)
            fail_msg("%s: '%s' instead of '%s'", lines[i].line, parser.why, lines[i].why);
        free(copy);
    }
    load_parser_free(&parser);
}

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void tab_separated_lines_mean_what_they_say(void **state)
{
    (void)state;
    static const struct good_line lines[] = {
        {TEXT("k\tv"), TEXT("k"), TEXT("v"), LOAD_EXPIRY_UNSAID, 0},
        {TEXT("k\t"), TEXT("k"), TEXT(""), LOAD_EXPIRY_UNSAID, 0},
        {TEXT("k\tv\t"), TEXT("k"), TEXT("v"), LOAD_EXPIRY_UNSAID, 0},
        {TEXT("k\tv\t1"), TEXT("k"), TEXT("v"), LOAD_EXPIRY_IN, 1},
        {TEXT("k\tv\t0060"), TEXT("k"), TEXT("v"), LOAD_EXPIRY_IN, 60},
        {TEXT("k\tv\t9007199254740991"), TEXT("k"), TEXT("v"), LOAD_EXPIRY_IN, 9007199254740991},
        {TEXT("a\\tb\ta\\nb\\rc\\\\d\\\\"), TEXT("a\tb"), TEXT("a\nb\rc\\d\\"), LOAD_EXPIRY_UNSAID,
         0},
        {TEXT(" k \t v "), TEXT(" k "), TEXT(" v "), LOAD_EXPIRY_UNSAID, 0},
        {TEXT("\xff\x00\x01\t\x00\xfe"), TEXT("\xff\x00\x01"), TEXT("\x00\xfe"), LOAD_EXPIRY_UNSAID,
         0},
    };
    assert_good_lines(LOAD_TSV, lines, COUNT(lines));
}

static void bad_tab_separated_lines_are_refused_with_the_reason(void **state)
{
    (void)state;
    static const struct bad_line lines[] = {
        {TEXT(""), "there is no tab"},
        {TEXT("k"), "there is no tab"},
        {TEXT("k v"), "there is no tab"},
        {TEXT("\tv"), "the key is empty"},
        {TEXT("k\tv\t1\t"), "there are more than three fields"},
        {TEXT("k\tv\t1\t2"), "there are more than three fields"},
        {TEXT("k\tv\t0"), "the TTL is '0'"},
        {TEXT("k\tv\t-5"), "the TTL is '-5'"},
        {TEXT("k\tv\t+5"), "the TTL is '+5'"},
        {TEXT("k\tv\t5.0"), "the TTL is '5.0'"},
        {TEXT("k\tv\t 5"), "the TTL is ' 5'"},
        {TEXT("k\tv\t9007199254740992"), "the TTL is '9007199254740992'"},
        {TEXT("k\tv\t99999999999999999999"), "the TTL is '99999999999999999999'"},
        {TEXT("k\tv\t18446744073709551617"), "the TTL is '18446744073709551617'"},
        {TEXT("k\tv\r"), "the value has a carriage return"},
        {TEXT("k\tv\t5\r"), "the TTL is '5\r'"},
        {TEXT("k\r\tv"), "the key has a carriage return"},
        {TEXT("k\\\tv"), "the key has a backslash before something else"},
        {TEXT("k\tv\\"), "the value has a backslash before something else"},
        {TEXT("k\tv\\x"), "the value has a backslash before something else"},
        {TEXT("k\tv\\\0"), "the value has a backslash before something else"},
    };
    assert_bad_lines(LOAD_TSV, lines, COUNT(lines));
}

static void json_lines_mean_what_they_say(void **state)
{
    (void)state;
    static const struct good_line lines[] = {
        {TEXT("{\"key\": \"k\", \"value\": \"v\"}"), TEXT("k"), TEXT("v"), LOAD_EXPIRY_UNSAID, 0},
        {TEXT(" {\"value\":\"\",\"key\":\"\\u00e4\\u0000\\n\"} \r"), TEXT("\xc3\xa4\0\n"), TEXT(""),
         LOAD_EXPIRY_UNSAID, 0},
        {TEXT("{\"key\": \"k\", \"value\": \"v\", \"ttl\": 5}"), TEXT("k"), TEXT("v"),
         LOAD_EXPIRY_IN, 5},
        {TEXT("{\"key\": \"k\", \"value\": \"v\", \"ttl\": null}"), TEXT("k"), TEXT("v"),
         LOAD_EXPIRY_NEVER, 0},
        {TEXT("{\"key\": \"k\", \"value\": \"v\", \"expire_at\": null}"), TEXT("k"), TEXT("v"),
         LOAD_EXPIRY_NEVER, 0},
        {TEXT("{\"key\": \"k\", \"value\": \"v\", \"expire_at\": -7, \"ttl\": null}"), TEXT("k"),
         TEXT("v"), LOAD_EXPIRY_AT, -7},
        {TEXT("{\"key\": \"k\", \"value\": \"v\", \"expire_at\": 1700000000000}"), TEXT("k"),
         TEXT("v"), LOAD_EXPIRY_AT, 1700000000000},
        {TEXT("{\"key_base64\": \"/w==\", \"value_base64\": \"AAECAw==\"}"), TEXT("\xff"),
         TEXT("\0\1\2\3"), LOAD_EXPIRY_UNSAID, 0},
        {TEXT("{\"key\": \"k\", \"value_base64\": \"\"}"), TEXT("k"), TEXT(""), LOAD_EXPIRY_UNSAID,
         0},
    };
    assert_good_lines(LOAD_NDJSON, lines, COUNT(lines));
}

static void bad_json_lines_are_refused_with_the_reason(void **state)
{
    (void)state;
    static const struct bad_line lines[] = {
        {TEXT(""), "it is no JSON"},
        {TEXT("{"), "it is no JSON"},
        {TEXT("{\"key\": \"k\", \"value\": \"\xff\"}"), "it is no JSON"},
        {TEXT("{\"key\": \"k\", \"value\": \"v\"} x"), "it is no JSON"},
        {TEXT("{\"key\": \"k\", \"key\": \"l\", \"value\": \"v\"}"), "it is no JSON: duplicate"},
        {TEXT("[\"k\", \"v\"]"), "expected a JSON object"},
        {TEXT("{\"value\": \"v\"}"), "expected either \"key\" or \"key_base64\""},
        {TEXT("{\"key\": \"k\", \"key_base64\": \"aw==\", \"value\": \"v\"}"),
         "expected either \"key\" or \"key_base64\""},
        {TEXT("{\"key\": \"k\"}"), "expected either \"value\" or \"value_base64\""},
        {TEXT("{\"key\": 1, \"value\": \"v\"}"), "\"key\": expected a string"},
        {TEXT("{\"key\": \"k\", \"value\": {\"base64\": \"aw==\"}}"),
         "\"value\": expected a string"},
        {TEXT("{\"key\": \"\", \"value\": \"v\"}"), "the key is empty"},
        {TEXT("{\"key\": \"k\", \"value_base64\": \"aw=\"}"), "\"value_base64\": expected padded"},
        {TEXT("{\"key\": \"k\", \"value_base64\": \"ax==\"}"), "\"value_base64\": expected padded"},
        {TEXT("{\"key\": \"k\", \"value\": \"v\", \"tll\": 5}"), "unknown member \"tll\""},
        {TEXT("{\"key\": \"k\", \"value\": \"v\", \"ttl\": 0}"), "\"ttl\": expected null or"},
        {TEXT("{\"key\": \"k\", \"value\": \"v\", \"ttl\": 5.5}"), "\"ttl\": expected null or"},
        {TEXT("{\"key\": \"k\", \"value\": \"v\", \"ttl\": \"5\"}"), "\"ttl\": expected null or"},
        {TEXT("{\"key\": \"k\", \"value\": \"v\", \"ttl\": 9007199254740992}"),
         "\"ttl\": expected null or"},
        {TEXT("{\"key\": \"k\", \"value\": \"v\", \"expire_at\": \"soon\"}"),
         "\"expire_at\": expected null or"},
        {TEXT("{\"key\": \"k\", \"value\": \"v\", \"expire_at\": 9007199254740992}"),
         "\"expire_at\": expected null or"},
        {TEXT("{\"key\": \"k\", \"value\": \"v\", \"ttl\": 1, \"expire_at\": 1}"),
         "expected one of \"ttl\" and \"expire_at\""},
    };
    assert_bad_lines(LOAD_NDJSON, lines, COUNT(lines));
    // Nesting that no parser should follow to its end.
    struct load_parser parser = {.format = LOAD_NDJSON};
    char deep[100000];
    memset(deep, '[', sizeof deep);
    struct load_record record;
    assert_false(load_parse(&parser, (uint8_t *)deep, sizeof deep, &record));
    load_parser_free(&parser);
}

static void what_is_escaped_is_read_back(void **state)
{
    (void)state;
    uint8_t bytes[256];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    struct mf_buf line = {0};
    cli_escape(mf_bytes_of(bytes, sizeof bytes), &line);
    mf_buf_u8(&line, '\t');
    cli_escape(mf_bytes_of(bytes, sizeof bytes), &line);
    assert_null(memchr(line.data, '\n', line.len));
    struct load_parser parser = {.format = LOAD_TSV};
    struct load_record record;
    assert_true(load_parse(&parser, line.data, line.len, &record));
    assert_bytes(record.key, (const char *)bytes, sizeof bytes);
    assert_bytes(record.value, (const char *)bytes, sizeof bytes);
    mf_buf_free(&line);
    load_parser_free(&parser);
}

// Gives `text` through a pipe in pieces of `piece` bytes and joins the lines with |.
static void assert_lines(const char *text, size_t len, size_t piece, size_t line_max,
                         const char *expected)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    struct load_input input = {.fd = ends[0], .line_max = line_max};
    char seen[256] = "";
    size_t used = 0;
    size_t given = 0;
    enum load_line got;
    uint8_t *line;
    size_t line_len;
    while ((got = load_input_next(&input, &line, &line_len)) != LOAD_LINE_END) {
        if (got == LOAD_LINE_NONE) {
            size_t now = len - given < piece ? len - given : piece;
            if (now > 0)
                assert_int_equal(write(ends[1], text + given, now), now);
            else if (ends[1] >= 0) {
                close(ends[1]);
                ends[1] = -1;
            }
            given += now;
            assert_true(load_input_read(&input));
            continue;
        }
        if (got == LOAD_LINE_TOO_LONG)
            used += (size_t)snprintf(seen + used, sizeof seen - used, "%d:LONG|", (int)input.line);
        else
            used += (size_t)snprintf(seen + used, sizeof seen - used, "%d:%.*s|", (int)input.line,
                                     (int)line_len, (const char *)line);
    }
    assert_string_equal(seen, expected);
    assert_int_equal(input.bytes, len);
    close(ends[0]);
    load_input_free(&input);
}

static void a_stream_is_cut_into_lines_however_it_arrives(void **state)
{
    (void)state;
    for (size_t piece = 1; piece < 12; piece++) {
        assert_lines(TEXT("one\ntwo\n\nfour\n"), piece, 100, "1:one|2:two|3:|4:four|");
        assert_lines(TEXT("one\ntwo"), piece, 100, "1:one|2:two|");
        assert_lines(TEXT(""), piece, 100, "");
        assert_lines(TEXT("\n"), piece, 100, "1:|");
        // Lines that are too long are passed over, wherever they stand.
        assert_lines(TEXT("123\n12345678\n1234\n"), piece, 4, "1:123|2:LONG|3:1234|");
        assert_lines(TEXT("12345678\n12345\n12"), piece, 4, "1:LONG|2:LONG|3:12|");
        assert_lines(TEXT("12\n123456789"), piece, 4, "1:12|2:LONG|");
    }
}

static void a_place_in_flight_is_found_by_its_key_and_used_again(void **state)
{
    (void)state;
    enum { PLACES = 5 };
    int owner;
    struct load_flights flights = load_flights_new(PLACES, &owner);
    struct load_flight *taken[PLACES];
    for (int round = 0; round < 4; round++) {
        char key[32];
        for (int i = 0; i < PLACES; i++) {
            snprintf(key, sizeof key, "%d-%d", round, i);
            assert_false(load_flights_has(&flights, mf_bytes_str(key)));
            taken[i] = load_flights_add(&flights, mf_bytes_str(key), (uint64_t)i);
            assert_non_null(taken[i]);
            assert_ptr_equal(taken[i]->owner, &owner);
            assert_true(load_flights_has(&flights, mf_bytes_str(key)));
        }
        assert_null(load_flights_add(&flights, mf_bytes_str("more"), 0));
        for (int i = 0; i < PLACES; i++) {
            int which = (i * 2 + round) % PLACES;
            snprintf(key, sizeof key, "%d-%d", round, which);
            assert_int_equal(taken[which]->line, which);
            load_flights_remove(&flights, taken[which]);
            assert_false(load_flights_has(&flights, mf_bytes_str(key)));
        }
    }
    load_flights_free(&flights);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tab_separated_lines_mean_what_they_say),
        cmocka_unit_test(bad_tab_separated_lines_are_refused_with_the_reason),
        cmocka_unit_test(json_lines_mean_what_they_say),
        cmocka_unit_test(bad_json_lines_are_refused_with_the_reason),
        cmocka_unit_test(what_is_escaped_is_read_back),
        cmocka_unit_test(a_stream_is_cut_into_lines_however_it_arrives),
        cmocka_unit_test(a_place_in_flight_is_found_by_its_key_and_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
