// Redis's files, put together by hand: every form of a string, expiries, values of all other types
// stepped over, and every cut and every changed bit refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/crc64.h"
#include "base/lzf.h"
#include "base/rand.h"
#include "snapshot/tool/rdb.h"

#define PUT(buf, literal) mf_buf_put(buf, literal, sizeof(literal) - 1)

static struct mf_buf begin(const char *version)
{
    struct mf_buf file = {0};
    PUT(&file, "REDIS");
    mf_buf_put(&file, version, 4);
    return file;
}

static void end(struct mf_buf *file)
{
    PUT(file, "\xff");
    mf_buf_u64(file, mf_crc64(0, mf_buf_view(file)));
}

// Reads it all and counts the strings; of the last one, key and value are copied.
struct seen {
    enum rdb_got got;
    unsigned strings;
    struct entry entry;
    char key[64];
    char value[64];
    struct rdb rdb;
    struct input input;
};

static void read_all(const struct mf_buf *file, size_t len, struct seen *seen)
{
    memset(seen, 0, sizeof(*seen));
    // Of its own size, so that a sanitizer sees any step past it.
    uint8_t *copy = mf_alloc(len);
    memcpy(copy, file->data, len);
    input_of_memory(&seen->input, mf_bytes_of(copy, len));
    rdb_start(&seen->rdb, &seen->input);
    struct entry entry;
    while ((seen->got = rdb_next(&seen->rdb, &entry)) == RDB_ENTRY) {
        seen->strings += 1;
        seen->entry = entry;
        snprintf(seen->key, sizeof(seen->key), "%.*s", (int)entry.key.len,
                 (const char *)entry.key.data);
        snprintf(seen->value, sizeof(seen->value), "%.*s", (int)entry.value.len,
                 entry.value.len > 0 ? (const char *)entry.value.data : "");
    }
    input_close(&seen->input);
    rdb_free(&seen->rdb);
    free(copy);
}

static void the_checksum_is_that_of_redis(void **state)
{
    (void)state;
    assert_int_equal(mf_crc64(0, mf_bytes_str("123456789")), 0xe9c6d914c4b8d9ca);
    assert_int_equal(mf_crc64(mf_crc64(0, mf_bytes_str("1234")), mf_bytes_str("56789")),
                     0xe9c6d914c4b8d9ca);
}

static void packed_bytes_become_what_they_were(void **state)
{
    (void)state;
    const struct {
        const char *packed;
        size_t packed_len;
        const char *text; // NULL: refused
        size_t len;
    } cases[] = {
        {"", 0, "", 0},
        {"\x02"
         "abc",
         4, "abc", 3},
        {"\x00"
         "a\xe0\x05\x00",
         5, "aaaaaaaaaaaaaaa", 15},
        {"\x02"
         "abc\x20\x02",
         6, "abcabc", 6},
        {"\x02"
         "abc\x20\x02",
         6, NULL, 7},
        {"\x02"
         "abc\x20\x02",
         6, NULL, 5},
        {"\x02"
         "abc\x20\x03",
         6, NULL, 6},
        {"\x02"
         "abc\x20",
         5, NULL, 6},
        {"\x02"
         "ab",
         3, NULL, 3},
        {"\xe0", 1, NULL, 9},
        {"\x20\x00", 2, NULL, 3},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t *to = mf_alloc(cases[i].len);
        bool good =
            mf_lzf_unpack(mf_bytes_of(cases[i].packed, cases[i].packed_len), to, cases[i].len);
        if (good != (cases[i].text != NULL) ||
            (good && memcmp(to, cases[i].text, cases[i].len) != 0))
            fail_msg("case %zu", i);
        free(to);
    }
}

static void a_string_has_these_forms(void **state)
{
    (void)state;
    const struct {
        const char *bytes;
        size_t len;
        const char *value;
    } cases[] = {
#define FORM(literal, value) {literal, sizeof(literal) - 1, value}
        FORM("\x00", ""),
        FORM("\x01v", "v"),
        FORM("\x40\x02vv", "vv"),
        FORM("\x80\x00\x00\x00\x03vvv", "vvv"),
        FORM("\x81\x00\x00\x00\x00\x00\x00\x00\x01v", "v"),
        FORM("\xc0\x7f", "127"),
        FORM("\xc0\x80", "-128"),
        FORM("\xc1\x00\x80", "-32768"),
        FORM("\xc1\xff\x7f", "32767"),
        FORM("\xc2\xff\xff\xff\xff", "-1"),
        FORM("\xc2\xff\xff\xff\x7f", "2147483647"),
        FORM("\xc3\x05\x0f\x00"
             "a\xe0\x05\x00",
             "aaaaaaaaaaaaaaa"),
#undef FORM
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mf_buf file = begin("0011");
        PUT(&file, "\x00\x03key");
        mf_buf_put(&file, cases[i].bytes, cases[i].len);
        end(&file);
        struct seen seen;
        read_all(&file, file.len, &seen);
        if (seen.got != RDB_END)
            fail_msg("case %zu: %s", i, seen.rdb.why);
        assert_int_equal(seen.strings, 1);
        assert_string_equal(seen.key, "key");
        assert_string_equal(seen.value, cases[i].value);
        assert_false(seen.entry.expires);
        mf_buf_free(&file);
    }
}

static void an_expiry_is_for_the_key_after_it_and_no_other(void **state)
{
    (void)state;
    const struct {
        const char *part;
        size_t len;
        uint64_t expire_at_ms;
    } cases[] = {
        {"\xfd\x00\xf1\x53\x65", 5, UINT64_C(1700000000000)},
        {"\xfc\x7b\x68\xe5\xcf\x8b\x01\x00\x00", 9, UINT64_C(1700000000123)},
        {"\xfc\x01\x00\x00\x00\x00\x00\x00\x00", 9, 1},
        {"\xfc\xff\xff\xff\xff\xff\xff\xff\xff", 9, 0},
        {"\xfc\xff\xff\xff\xff\xff\xff\xff\x7f", 9, ENTRY_EXPIRE_AT_MAX},
        {"\xfd\xff\xff\xff\xff", 5, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mf_buf file = begin("0011");
        mf_buf_put(&file, cases[i].part, cases[i].len);
        PUT(&file, "\xf9\x07\xf8\x05"); // how often it is used, and since when not
        PUT(&file, "\x00\x01k\x01v");
        end(&file);
        struct seen seen;
        read_all(&file, file.len, &seen);
        assert_int_equal(seen.got, RDB_END);
        assert_true(seen.entry.expires);
        assert_int_equal(seen.entry.expire_at_ms, cases[i].expire_at_ms);
        // Of a list, and of an empty key, it goes with what it was for.
        file.len = 9;
        mf_buf_put(&file, cases[i].part, cases[i].len);
        PUT(&file, "\x01\x01l\x01\x01v");
        PUT(&file, "\x00\x01k\x01v");
        mf_buf_put(&file, cases[i].part, cases[i].len);
        PUT(&file, "\x00\x00\x01v");
        PUT(&file, "\x00\x01m\x01v");
        end(&file);
        read_all(&file, file.len, &seen);
        assert_int_equal(seen.got, RDB_END);
        assert_int_equal(seen.strings, 2);
        assert_false(seen.entry.expires);
        assert_int_equal(seen.rdb.empty_keys, 1);
        mf_buf_free(&file);
    }
}

// A value of every type, each with a name of one letter, then the string that must be found.
static struct mf_buf file_of_all_types(void)
{
    struct mf_buf file = begin("0011");
    PUT(&file, "\xfa\x09redis-ver\x06"
               "7.0.15");
    PUT(&file, "\xfa\x05"
               "ctime\xc2\x00\xf1\x53\x65");
    PUT(&file, "\xf7\x81\x00\x00\x00\x00\x00\x00\x00\x07\x02\x01\x05\x03xyz\x01\x2a\x02\x2a\x03"
               "ffff\x04"
               "dddddddd\x00");
    PUT(&file, "\xf5\x04"
               "code");
    PUT(&file, "\xfe\x00\xfb\x10\x02");
    PUT(&file, "\x01\x01"
               "A\x02\x01x\xc0\x05");
    PUT(&file, "\x02\x01"
               "B\x01\x01x");
    PUT(&file, "\x03\x01"
               "C\x03\x01x\x03"
               "1.5\x01y\xfe\x01z\xff");
    PUT(&file, "\x04\x01"
               "D\x01\x01x\x01y");
    PUT(&file, "\x05\x01"
               "E\x01\x01x\x00\x00\x00\x00\x00\x00\xf0\x3f");
    PUT(&file, "\x07\x01"
               "F\x07\x02\x2a\x05\x02zz\x00");
    // One string each.
    const char types[] = {9, 10, 11, 12, 13, 16, 17, 20};
    for (size_t i = 0; i < sizeof(types); i++) {
        mf_buf_u8(&file, (uint8_t)types[i]);
        PUT(&file, "\x01G\x03\x00\x01\x02");
    }
    PUT(&file, "\x0e\x01H\x02\x01x\xc3\x05\x0f\x00"
               "a\xe0\x05\x00");
    PUT(&file, "\x12\x01I\x02\x01\x01x\x02\x02yy");
    // Listpacks, length, last id; a group with an entry pending and a consumer who has it.
#define ID "0123456789abcdef"
#define TIME "\x00\x00\x00\x00\x00\x00\x00\x00"
    PUT(&file, "\x0f\x01J\x01\x01x\x01y\x01\x01\x00\x01\x01g\x01\x00\x01" ID TIME "\x01\x01\x01"
               "c" TIME "\x01" ID);
    PUT(&file,
        "\x13\x01K\x01\x01x\x01y\x01\x01\x00\x01\x00\x00\x00\x01\x01\x01g\x01\x00\x05\x01" ID TIME
        "\x01\x01\x01"
        "c" TIME "\x01" ID);
    PUT(&file,
        "\x15\x01L\x01\x01x\x01y\x01\x01\x00\x01\x00\x00\x00\x01\x01\x01g\x01\x00\x05\x01" ID TIME
        "\x01\x01\x01"
        "c" TIME TIME "\x01" ID);
    PUT(&file, "\xfe\x03\xfb\x01\x00");
    PUT(&file, "\x00\x05"
               "found\x03yes");
    end(&file);
    return file;
}

static void what_is_no_string_is_stepped_over_counted_and_named(void **state)
{
    (void)state;
    struct mf_buf file = file_of_all_types();
    uint8_t *copy = mf_alloc(file.len);
    memcpy(copy, file.data, file.len);
    struct input input;
    struct rdb rdb;
    struct entry entry;
    input_of_memory(&input, mf_bytes_of(copy, file.len));
    rdb_start(&rdb, &input);
    if (rdb_next(&rdb, &entry) != RDB_ENTRY)
        fail_msg("%s", rdb.why);
    assert_true(mf_bytes_equal(entry.key, mf_bytes_str("found")));
    assert_true(mf_bytes_equal(entry.value, mf_bytes_str("yes")));
    assert_int_equal(rdb_next(&rdb, &entry), RDB_END);
    const uint64_t counts[RDB_KINDS] = {0, 4, 3, 4, 4, 3, 1};
    for (size_t kind = 0; kind < RDB_KINDS; kind++)
        assert_int_equal(rdb.others[kind].count, counts[kind]);
    assert_true(mf_bytes_equal(mf_buf_view(&rdb.others[RDB_LIST].names[0]), mf_bytes_str("A")));
    assert_true(mf_bytes_equal(mf_buf_view(&rdb.others[RDB_LIST].names[2]), mf_bytes_str("H")));
    assert_int_equal(rdb.functions, 1);
    assert_int_equal(rdb.created_s, 1700000000);
    assert_int_equal(rdb.databases, 1);
    rdb_free(&rdb);
    free(copy);
    mf_buf_free(&file);
}

static void a_file_that_is_cut_anywhere_is_refused(void **state)
{
    (void)state;
    struct mf_buf file = file_of_all_types();
    for (size_t len = 0; len < file.len; len++) {
        struct seen seen;
        read_all(&file, len, &seen);
        if (seen.got != RDB_FAILED || seen.rdb.why[0] == '\0')
            fail_msg("taken when cut to %zu bytes", len);
    }
    PUT(&file, "x");
    struct seen seen;
    read_all(&file, file.len, &seen);
    assert_int_equal(seen.got, RDB_FAILED);
    mf_buf_free(&file);
}

static void a_file_with_a_changed_bit_is_refused(void **state)
{
    (void)state;
    struct mf_buf file = file_of_all_types();
    for (size_t i = 0; i < file.len * 8; i++) {
        struct seen seen;
        file.data[i / 8] ^= (uint8_t)(1u << i % 8);
        read_all(&file, file.len, &seen);
        if (seen.got != RDB_FAILED)
            fail_msg("taken with another bit %zu of byte %zu", i % 8, i / 8);
        file.data[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    mf_buf_free(&file);
}

static void a_file_without_a_checksum_is_taken(void **state)
{
    (void)state;
    struct mf_buf old = begin("0004");
    PUT(&old, "\x00\x01k\x01v\xff");
    struct mf_buf none = begin("0010");
    PUT(&none, "\x00\x01k\x01v\xff\x00\x00\x00\x00\x00\x00\x00\x00");
    struct seen seen;
    read_all(&old, old.len, &seen);
    assert_int_equal(seen.got, RDB_END);
    read_all(&none, none.len, &seen);
    assert_int_equal(seen.got, RDB_END);
    mf_buf_free(&old);
    mf_buf_free(&none);
}

// Each claims more than there is, or is of no kind that is known. The checksums hold.
static void a_lying_file_is_refused_by_name(void **state)
{
    (void)state;
    const struct {
        const char *version;
        const char *bytes;
        size_t len;
        const char *why;
    } cases[] = {
#define LIE(version, literal, why) {version, literal, sizeof(literal) - 1, why}
        LIE("0012", "", "version 12"),
        LIE("0000", "", "version 0"),
        LIE("00x1", "", "no RDB file"),
        LIE("0011", "\x00\x81\xff\xff\xff\xff\xff\xff\xff\xff", "longer than 512 MiB"),
        LIE("0011", "\x00\x80\x1f\xff\xff\xff", "cut short"),
        LIE("0011", "\x00\xc3\x01\x80\x1f\xff\xff\xff\x00", "claims to be longer"),
        LIE("0011", "\x00\xc3\x02\x05\x20\x00", "cannot be unpacked"),
        LIE("0011", "\x00\xc4", "unknown form"),
        LIE("0011", "\x00\x82", "unknown form"),
        LIE("0011", "\x06\x01k", "unknown kind"),
        LIE("0011", "\x08\x01k", "unknown kind"),
        LIE("0011", "\x16\x01k", "unknown kind"),
        LIE("0011", "\xf0", "unknown kind"),
        LIE("0011", "\xf6", "unknown kind"),
        LIE("0011", "\x07\x01k\x07\x06", "unknown kind"),
        LIE("0011", "\x01\x01k\x81\xff\xff\xff\xff\xff\xff\xff\xff", "unknown form"),
        LIE("0011", "\x01\x01k\xc0\x05", "length was expected"),
        LIE("0011", "\x0a\x01k\x81\xff\xff\xff\xff\xff\xff\xff\xff", "cut short"),
#undef LIE
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mf_buf file = begin(cases[i].version);
        mf_buf_put(&file, cases[i].bytes, cases[i].len);
        end(&file);
        struct seen seen;
        read_all(&file, file.len, &seen);
        assert_int_equal(seen.got, RDB_FAILED);
        if (strstr(seen.rdb.why, cases[i].why) == NULL)
            fail_msg("case %zu: %s", i, seen.rdb.why);
        mf_buf_free(&file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_checksum_is_that_of_redis),
        cmocka_unit_test(packed_bytes_become_what_they_were),
        cmocka_unit_test(a_string_has_these_forms),
        cmocka_unit_test(an_expiry_is_for_the_key_after_it_and_no_other),
        cmocka_unit_test(what_is_no_string_is_stepped_over_counted_and_named),
        cmocka_unit_test(a_file_that_is_cut_anywhere_is_refused),
        cmocka_unit_test(a_file_with_a_changed_bit_is_refused),
        cmocka_unit_test(a_file_without_a_checksum_is_taken),
        cmocka_unit_test(a_lying_file_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
