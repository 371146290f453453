// The list of slow commands: what is kept of one, in which order, and how much of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "server/slowlog.h"

static struct mf_resp_settings settings;
static struct mf_slowlog *list;

static int set_up(void **state)
{
    (void)state;
    mf_resp_settings_init(&settings);
    list = mf_slowlog_new(&settings);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mf_slowlog_free(list);
    return 0;
}

static void add_sized(uint64_t us, size_t bytes)
{
    struct mf_buf words = {0};
    uint8_t *text = mf_calloc(1, bytes);
    struct mf_bytes word = mf_bytes_of(text, bytes);
    mf_slowlog_put_words(&words, &word, 1);
    mf_slowlog_add(list, 1000 + us, us, mf_buf_view(&words), "127.0.0.1:5", "me");
    mf_buf_free(&words);
    free(text);
}

static void add(uint64_t us)
{
    add_sized(us, 3);
}

// "us us us" of the newest.
static void expect(uint32_t most, const char *expected)
{
    char text[256] = "";
    uint32_t count;
    struct mf_slowlog_entry **entries = mf_slowlog_newest(list, most, &count);
    for (uint32_t i = 0; i < count; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%u", i > 0 ? " " : "",
                 (unsigned)entries[i]->us);
    mf_slowlog_give_back(entries, count);
    assert_string_equal(text, expected);
}

static void the_newest_come_first_and_ids_go_on(void **state)
{
    (void)state;
    expect(10, "");
    add(1);
    add(2);
    add(3);
    expect(10, "3 2 1");
    expect(2, "3 2");
    expect(0, "");
    assert_int_equal(mf_slowlog_count(list), 3);
    uint32_t count;
    struct mf_slowlog_entry **entries = mf_slowlog_newest(list, 1, &count);
    assert_int_equal(entries[0]->id, 2);
    assert_int_equal(entries[0]->unix_s, 1003);
    assert_string_equal(entries[0]->address, "127.0.0.1:5");
    assert_string_equal(entries[0]->name, "me");
    // It is still whole when the list has forgotten it.
    mf_slowlog_reset(list);
    assert_int_equal(mf_slowlog_count(list), 0);
    assert_int_equal(entries[0]->us, 3);
    mf_slowlog_give_back(entries, count);
    add(4);
    entries = mf_slowlog_newest(list, 1, &count);
    assert_int_equal(entries[0]->id, 3);
    mf_slowlog_give_back(entries, count);
}

static void the_oldest_go_when_there_are_too_many(void **state)
{
    (void)state;
    atomic_store(&settings.slowlog_max_len, 2);
    for (uint64_t us = 1; us <= 5; us++)
        add(us);
    expect(10, "5 4");
    atomic_store(&settings.slowlog_max_len, 0);
    add(6);
    expect(10, "");
    assert_int_equal(mf_slowlog_count(list), 0);
}

static void the_oldest_go_when_they_take_too_much(void **state)
{
    (void)state;
    atomic_store(&settings.slowlog_max_len, INT64_MAX);
    const uint32_t many = 2 * MF_SLOWLOG_BYTES_MAX / 128;
    for (uint32_t i = 0; i < many; i++)
        add_sized(i, 128);
    uint32_t count = mf_slowlog_count(list);
    assert_true(count > 1000 && count < MF_SLOWLOG_BYTES_MAX / 128);
    uint32_t told;
    struct mf_slowlog_entry **entries = mf_slowlog_newest(list, UINT32_MAX, &told);
    assert_int_equal(told, count);
    assert_int_equal(entries[0]->us, many - 1);
    assert_int_equal(entries[count - 1]->us, many - count);
    mf_slowlog_give_back(entries, told);
}

static void long_words_and_many_words_are_cut_as_redis_does(void **state)
{
    (void)state;
    char text[200];
    struct mf_bytes words[40];
    memset(text, 'x', sizeof(text));
    for (size_t i = 0; i < 40; i++)
        words[i] = mf_bytes_of(text, i);
    words[1] = mf_bytes_of(text, 128);
    words[2] = mf_bytes_of(text, 200);
    for (uint32_t count = 32; count <= 40; count += 8) {
        struct mf_buf out = {0};
        mf_slowlog_put_words(&out, words, count);
        struct mf_reader reader = mf_reader_of(mf_buf_view(&out));
        assert_int_equal(mf_read_u32(&reader), 32);
        struct mf_bytes word = {0};
        for (uint32_t i = 0; i < 32; i++) {
            word = mf_read_blob(&reader);
            if (i == 1)
                assert_int_equal(word.len, 128);
            if (i == 2)
                assert_memory_equal(word.data + 128, "... (72 more bytes)", 19);
            if (i == 30)
                assert_int_equal(word.len, 30);
        }
        if (count == 32)
            assert_int_equal(word.len, 31);
        else
            assert_memory_equal(word.data, "... (9 more arguments)", 22);
        assert_false(reader.failed);
        assert_int_equal(mf_reader_left(&reader), 0);
        mf_buf_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_newest_come_first_and_ids_go_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_oldest_go_when_there_are_too_many, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_oldest_go_when_they_take_too_much, set_up, tear_down),
        cmocka_unit_test(long_words_and_many_words_are_cut_as_redis_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
