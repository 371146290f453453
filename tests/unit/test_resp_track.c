// The table of CLIENT TRACKING against lists that are looked through, its bound, and what is told
// again behind replies.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "base/rand.h"
#include "server/resp_track_again.h"
#include "server/resp_track_own.h"
#include "server/resp_track_table.h"

#define READERS 8u
#define KEYS 300u

struct scene {
    struct mf_resp_track_table *table;
    struct mf_resp_reader readers[READERS];
    bool has[READERS][KEYS];
    uint32_t told[READERS][KEYS];
};

static int set_up(void **state)
{
    struct scene *s = mf_calloc(1, sizeof(*s));
    s->table = mf_resp_track_table_new(7);
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *s = *state;
    mf_resp_track_table_free(s->table);
    free(s);
    return 0;
}

static struct mf_bytes name_of(uint32_t key)
{
    static char text[16];
    snprintf(text, sizeof(text), "key:%u", (unsigned)key);
    return mf_bytes_str(text);
}

static void on_told(void *arg, struct mf_resp_reader *reader, struct mf_bytes key)
{
    struct scene *s = arg;
    char text[16] = "";
    memcpy(text, key.data, key.len < sizeof(text) ? key.len : sizeof(text) - 1);
    s->told[reader - s->readers][strtoul(text + 4, NULL, 10)]++;
}

// Readers with odd numbers keep what has changed.
static bool on_change(void *arg, struct mf_resp_reader *reader, struct mf_bytes key)
{
    on_told(arg, reader, key);
    return (reader - ((struct scene *)arg)->readers) % 2 != 0;
}

static void add(struct scene *s, uint32_t reader, uint32_t key)
{
    mf_resp_track_add(s->table, &s->readers[reader], name_of(key));
    s->has[reader][key] = true;
}

static void expect_size(const struct scene *s)
{
    uint64_t keys = 0;
    uint64_t items = 0;
    for (uint32_t key = 0; key < KEYS; key++) {
        bool any = false;
        for (uint32_t reader = 0; reader < READERS; reader++) {
            items += s->has[reader][key];
            any |= s->has[reader][key];
        }
        keys += any;
    }
    struct mf_resp_track_size size = mf_resp_track_table_size(s->table);
    assert_int_equal(size.keys, keys);
    assert_int_equal(size.items, items);
}

// And nobody else.
static void change(struct scene *s, uint32_t key)
{
    memset(s->told, 0, sizeof(s->told));
    mf_resp_track_change(s->table, name_of(key), on_change, s);
    for (uint32_t reader = 0; reader < READERS; reader++) {
        for (uint32_t at = 0; at < KEYS; at++)
            assert_int_equal(s->told[reader][at], at == key && s->has[reader][at]);
        s->has[reader][key] = s->has[reader][key] && reader % 2 != 0;
    }
}

static void a_change_is_told_to_who_has_read_it_once(void **state)
{
    struct scene *s = *state;
    struct mf_rand rand = {1};
    for (uint32_t i = 0; i < 20000; i++) {
        uint32_t reader = (uint32_t)mf_rand_below(&rand, READERS);
        uint32_t key = (uint32_t)mf_rand_below(&rand, KEYS);
        uint64_t what = mf_rand_below(&rand, 100);
        if (what < 80) {
            add(s, reader, key);
        } else if (what < 99) {
            change(s, key);
        } else {
            mf_resp_track_forget(s->table, &s->readers[reader]);
            memset(s->has[reader], 0, sizeof(s->has[reader]));
        }
        if (i % 100 == 0)
            expect_size(s);
    }
    for (uint32_t reader = 0; reader < READERS; reader++) {
        mf_resp_track_forget(s->table, &s->readers[reader]);
        memset(s->has[reader], 0, sizeof(s->has[reader]));
    }
    struct mf_resp_track_size empty = mf_resp_track_table_size(s->table);
    expect_size(s);
    add(s, 0, 1);
    uint64_t with_one = mf_resp_track_table_size(s->table).bytes;
    assert_true(with_one > empty.bytes);
    add(s, 0, 1);
    assert_int_equal(mf_resp_track_table_size(s->table).bytes, with_one);
    add(s, 2, 1);
    mf_resp_track_remove(s->table, &s->readers[2], name_of(1));
    mf_resp_track_remove(s->table, &s->readers[2], name_of(1));
    mf_resp_track_remove(s->table, &s->readers[2], name_of(2));
    s->has[2][1] = false;
    assert_int_equal(mf_resp_track_table_size(s->table).bytes, with_one);
    change(s, 1);
    assert_int_equal(mf_resp_track_table_size(s->table).bytes, empty.bytes);
}

static uint64_t count_told(const struct scene *s)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < READERS * KEYS; i++)
        count += s->told[i / KEYS][i % KEYS];
    return count;
}

static void keys_above_the_bound_are_given_up_and_their_readers_told(void **state)
{
    struct scene *s = *state;
    for (uint32_t key = 0; key < KEYS; key++) {
        add(s, 0, key);
        add(s, 1, key);
    }
    mf_resp_track_trim(s->table, KEYS, UINT32_MAX, on_told, s);
    assert_int_equal(count_told(s), 0);
    mf_resp_track_trim(s->table, 100, UINT32_MAX, on_told, s);
    assert_int_equal(mf_resp_track_table_size(s->table).keys, 100);
    assert_int_equal(mf_resp_track_table_size(s->table).items, 200);
    assert_int_equal(count_told(s), 2 * (KEYS - 100));
    // Step by step, however few there are.
    for (uint32_t i = 0; i < 100 * KEYS; i++)
        mf_resp_track_trim(s->table, 1, 1, on_told, s);
    assert_int_equal(mf_resp_track_table_size(s->table).keys, 1);
}

static void long_names_count_for_more_keys(void **state)
{
    struct scene *s = *state;
    char text[65536];
    memset(text, 'x', sizeof(text));
    memcpy(text, "key:1 ", 6);
    mf_resp_track_add(s->table, &s->readers[0], mf_bytes_of(text, sizeof(text)));
    mf_resp_track_trim(s->table, 1000, UINT32_MAX, on_told, s);
    assert_int_equal(mf_resp_track_table_size(s->table).keys, 1);
    mf_resp_track_trim(s->table, 200, UINT32_MAX, on_told, s);
    assert_int_equal(mf_resp_track_table_size(s->table).keys, 0);
    assert_int_equal(s->told[0][1], 1);
}

// What is told again, as text: keys, and * for everything.

struct heard {
    char text[256];
};

static void hear(void *arg, const struct mf_bytes *key)
{
    struct heard *heard = arg;
    size_t len = strlen(heard->text);
    if (key == NULL)
        snprintf(heard->text + len, sizeof(heard->text) - len, "*");
    else
        snprintf(heard->text + len, sizeof(heard->text) - len, "%.*s", (int)key->len,
                 (const char *)key->data);
}

static void expect_again(struct mf_resp_again *again, uint64_t sent, const char *text)
{
    struct heard heard = {""};
    mf_resp_again_tell(again, sent, hear, &heard);
    assert_string_equal(heard.text, text);
}

static void add_again(struct mf_resp_again *again, const char *text, uint64_t at, uint64_t sent)
{
    struct mf_bytes key = mf_bytes_str(text);
    mf_resp_again_add(again, &key, at, sent);
}

static void what_overtook_replies_is_told_again_behind_them(void **state)
{
    (void)state;
    struct mf_resp_again again = {0};
    add_again(&again, "a", 5, 5); // none was due
    expect_again(&again, 5, "");
    add_again(&again, "a", 6, 5);
    add_again(&again, "b", 7, 5);
    add_again(&again, "c", 8, 5);
    expect_again(&again, 5, "");
    expect_again(&again, 6, "a");
    expect_again(&again, 7, "");
    expect_again(&again, 8, "bc");
    expect_again(&again, 9, "");
    mf_resp_again_free(&again);
}

// Replies that waited for the first of them are sent with it, and there may be no other for long.
static void replies_that_are_sent_together_have_it_all_behind_them(void **state)
{
    (void)state;
    struct mf_resp_again again = {0};
    add_again(&again, "a", 1, 0);
    add_again(&again, "b", 2, 0);
    expect_again(&again, 2, "ab");
    mf_resp_again_add(&again, NULL, 3, 2);
    add_again(&again, "c", 4, 2);
    expect_again(&again, 4, "*c");
    mf_resp_again_free(&again);
}

static void too_many_keys_become_everything(void **state)
{
    (void)state;
    struct mf_resp_again again = {0};
    char name[1024];
    memset(name, 'k', sizeof(name));
    struct mf_bytes key = mf_bytes_of(name, sizeof(name));
    for (uint32_t i = 0; i < 2 * MF_RESP_AGAIN_BYTES_MAX / sizeof(name); i++)
        mf_resp_again_add(&again, &key, 1, 0);
    assert_true(again.times[0].keys.len <= MF_RESP_AGAIN_BYTES_MAX + sizeof(name));
    expect_again(&again, 1, "*");
    add_again(&again, "a", 2, 1);
    expect_again(&again, 2, "a");
    mf_resp_again_free(&again);
}

// NOLOOP: what is told at the end of a write, as text.

static void hear_held(void *arg, struct mf_bytes key)
{
    hear(arg, &key);
}

static void expect_end(struct mf_resp_own_changes *own, uint32_t write, uint64_t version,
                       const char *text)
{
    struct heard heard = {""};
    mf_resp_own_end(own, write, version, hear_held, &heard);
    assert_string_equal(heard.text, text);
}

static bool changed(struct mf_resp_own_changes *own, uint64_t hash, uint64_t version)
{
    char text[2] = {(char)('a' + hash), '\0'};
    return mf_resp_own_changed(own, hash, version, mf_bytes_str(text));
}

static void an_own_change_is_not_told_whichever_comes_first(void **state)
{
    (void)state;
    struct mf_resp_own_changes *own = mf_calloc(1, sizeof(*own));
    assert_false(changed(own, 1, 5)); // nothing was written
    uint32_t write = mf_resp_own_begin(own, 1);
    assert_true(changed(own, 1, 6)); // held
    expect_end(own, write, 6, "");
    assert_false(changed(own, 1, 6)); // once
    write = mf_resp_own_begin(own, 1);
    expect_end(own, write, 7, "");
    assert_false(changed(own, 1, 8));
    assert_false(changed(own, 2, 7));
    assert_true(changed(own, 1, 7));
    assert_false(changed(own, 1, 7));
    mf_resp_own_free(own);
}

static void changes_of_others_are_told_when_the_write_has_ended(void **state)
{
    (void)state;
    struct mf_resp_own_changes *own = mf_calloc(1, sizeof(*own));
    uint32_t first = mf_resp_own_begin(own, 1);
    uint32_t other = mf_resp_own_begin(own, 2);
    for (uint64_t version = 5; version < 9; version++)
        assert_true(changed(own, 1, version));
    assert_true(changed(own, 2, 9));
    assert_false(changed(own, 3, 10));
    expect_end(own, first, 6, "bbb");
    expect_end(own, other, 10, "c");
    assert_true(changed(own, 2, 10));
    first = mf_resp_own_begin(own, 1);
    assert_true(changed(own, 1, 11));
    expect_end(own, first, 0, "b"); // it failed
    mf_resp_own_free(own);
}

// The one that was sent first may come last.
static void own_changes_that_may_have_crossed_are_told(void **state)
{
    (void)state;
    struct mf_resp_own_changes *own = mf_calloc(1, sizeof(*own));
    uint32_t first = mf_resp_own_begin(own, 1);
    uint32_t second = mf_resp_own_begin(own, 1);
    assert_true(changed(own, 1, 5));
    assert_true(changed(own, 1, 6));
    expect_end(own, second, 5, "");
    expect_end(own, first, 6, "bb");
    assert_false(changed(own, 1, 6));
    second = mf_resp_own_begin(own, 1);
    expect_end(own, second, 7, "");
    assert_true(changed(own, 1, 7)); // alone
    mf_resp_own_free(own);
}

static void what_own_changes_take_is_bounded_and_the_rest_is_told(void **state)
{
    (void)state;
    struct mf_resp_own_changes *own = mf_calloc(1, sizeof(*own));
    char name[1024];
    memset(name, 'k', sizeof(name));
    for (uint32_t i = 1; i <= MF_RESP_OWN_WRITES_MAX; i++)
        assert_int_equal(mf_resp_own_begin(own, i), i);
    assert_int_equal(mf_resp_own_begin(own, 1), 0);
    bool held = true;
    for (uint32_t i = 0; i < 100; i++)
        held = mf_resp_own_changed(own, 1, 1000 + i, mf_bytes_of(name, sizeof(name)));
    assert_false(held);
    assert_true(own->held.len < 2 * MF_RESP_OWN_HELD_BYTES_MAX);
    struct heard heard = {""};
    for (uint32_t i = 1; i <= MF_RESP_OWN_WRITES_MAX; i++)
        mf_resp_own_end(own, i, i, hear_held, &heard);
    assert_int_equal(own->held.len, 0);
    assert_true(strlen(heard.text) > 0);
    for (uint32_t i = 0; i < 2 * MF_RESP_OWN_MADE_MAX; i++)
        expect_end(own, mf_resp_own_begin(own, 100 + i), 2000 + i, "");
    assert_false(changed(own, 100, 2000));
    assert_true(mf_resp_own_changed(own, 100 + 2 * MF_RESP_OWN_MADE_MAX - 1,
                                    2000 + 2 * MF_RESP_OWN_MADE_MAX - 1, mf_bytes_str("k")));
    mf_resp_own_free(own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_change_is_told_to_who_has_read_it_once, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(keys_above_the_bound_are_given_up_and_their_readers_told,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(long_names_count_for_more_keys, set_up, tear_down),
        cmocka_unit_test(what_overtook_replies_is_told_again_behind_them),
        cmocka_unit_test(replies_that_are_sent_together_have_it_all_behind_them),
        cmocka_unit_test(too_many_keys_become_everything),
        cmocka_unit_test(an_own_change_is_not_told_whichever_comes_first),
        cmocka_unit_test(changes_of_others_are_told_when_the_write_has_ended),
        cmocka_unit_test(own_changes_that_may_have_crossed_are_told),
        cmocka_unit_test(what_own_changes_take_is_bounded_and_the_rest_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
