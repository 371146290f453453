// The items of watches between nodes: they come back as they were, and nothing else comes through.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/event.h"
#include "rpc/peer_watch.h"

#define SHARDS 8

static struct mf_buf put_numbers(const uint32_t *shards, uint32_t count, bool with_versions)
{
    struct mf_buf out = {0};
    for (uint32_t i = 0; i < count; i++) {
        mf_buf_u32(&out, shards[i]);
        if (with_versions)
            mf_buf_u64(&out, UINT64_C(1) << 40);
    }
    return out;
}

static enum mf_err order_of(const struct mf_peer_watch_order *order)
{
    struct mf_buf out = {0};
    struct mf_buf again = {0};
    struct mf_peer_watch_order back;
    mf_peer_put_watch_order(&out, order);
    enum mf_err err = mf_peer_get_watch_order(mf_buf_view(&out), SHARDS, &back);
    if (err == MF_OK) {
        mf_peer_put_watch_order(&again, &back);
        assert_true(mf_bytes_equal(mf_buf_view(&out), mf_buf_view(&again)));
        for (size_t len = 0; len < out.len; len++)
            assert_int_equal(mf_peer_get_watch_order(mf_bytes_of(out.data, len), SHARDS, &back),
                             MF_CORRUPT);
        mf_buf_u8(&out, 0);
        assert_int_equal(mf_peer_get_watch_order(mf_buf_view(&out), SHARDS, &back), MF_CORRUPT);
    }
    mf_buf_free(&again);
    mf_buf_free(&out);
    return err;
}

static void an_order_comes_back_and_no_other_is_taken(void **state)
{
    (void)state;
    struct mf_buf shards = put_numbers((uint32_t[]){1, 5, 7}, 3, false);
    struct mf_buf disorder = put_numbers((uint32_t[]){1, 5, 5}, 3, false);
    struct mf_buf beyond = put_numbers((uint32_t[]){8}, 1, false);
    struct mf_buf froms = put_numbers((uint32_t[]){5, 7}, 2, true);
    const struct mf_peer_watch_order order = {.number = 3,
                                              .sequence = 1,
                                              .home = 2,
                                              .id = UINT64_MAX,
                                              .by_prefix = true,
                                              .progress = true,
                                              .events = MF_EVENTS_ALL,
                                              .pattern = mf_bytes_str("prefix"),
                                              .shards = mf_buf_view(&shards),
                                              .froms = mf_buf_view(&froms)};
    const struct mf_peer_watch_order end = {
        .number = 3, .sequence = 2, .id = 9, .end = true, .pattern = mf_bytes_str("key")};
    assert_int_equal(order_of(&order), MF_OK);
    assert_int_equal(order_of(&end), MF_OK);
    struct mf_peer_watch_order wrong[] = {order, order, order, order, order, order,
                                          order, order, order, end,   end,   end};
    wrong[0].number = 0;
    wrong[1].sequence = 0;
    wrong[2].events = 0;
    wrong[3].events = MF_EVENTS_ALL + 1;
    wrong[4].shards = mf_bytes_of(NULL, 0);
    wrong[5].shards = mf_buf_view(&disorder);
    wrong[6].shards = mf_buf_view(&beyond);
    wrong[7].shards = mf_bytes_of(shards.data, shards.len - 1);
    wrong[8].froms = mf_bytes_of(froms.data, froms.len - 1);
    wrong[9].events = 1;
    wrong[10].froms = mf_buf_view(&froms);
    wrong[11].pattern = mf_bytes_of(NULL, 0);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        assert_int_equal(order_of(&wrong[i]), MF_CORRUPT);
    mf_buf_free(&shards);
    mf_buf_free(&disorder);
    mf_buf_free(&beyond);
    mf_buf_free(&froms);
}

static enum mf_err news_of(struct mf_bytes bytes)
{
    const struct mf_peer_watch_news news = {
        .number = 1, .home = 2, .reactor = 3, .reactors = 4, .offset = 5, .news = bytes};
    struct mf_buf out = {0};
    struct mf_peer_watch_news back;
    mf_peer_put_watch_news(&out, &news);
    enum mf_err err = mf_peer_get_watch_news(mf_buf_view(&out), SHARDS, &back);
    if (err == MF_OK)
        assert_true(back.offset == 5 && back.reactor == 3 && mf_bytes_equal(back.news, bytes));
    mf_buf_free(&out);
    return err;
}

static void put_event(struct mf_buf *out, uint32_t ids, struct mf_event event)
{
    mf_buf_u8(out, MF_WATCH_EVENT);
    mf_buf_u32(out, ids);
    for (uint32_t i = 0; i < ids; i++)
        mf_buf_u64(out, i);
    mf_event_put(out, &event);
}

static void put_progress(struct mf_buf *out, uint32_t versions, uint32_t shard)
{
    mf_buf_u8(out, MF_WATCH_PROGRESS);
    mf_buf_u32(out, 1);
    mf_buf_u64(out, 7);
    mf_buf_u32(out, versions);
    for (uint32_t i = 0; i < versions; i++) {
        mf_buf_u32(out, shard);
        mf_buf_u64(out, 9);
    }
}

static void news_are_taken_whole_or_not_at_all(void **state)
{
    (void)state;
    struct mf_buf out = {0};
    size_t ends[8] = {0};
    uint32_t count = 1; // nothing at all is fine, too
    put_event(&out, 2,
              (struct mf_event){MF_EVENT_SET, mf_bytes_str("k"), 8, mf_bytes_str("value")});
    ends[count++] = out.len;
    put_progress(&out, MF_WATCH_PROGRESS_SHARDS_MAX, SHARDS - 1);
    ends[count++] = out.len;
    mf_buf_u8(&out, MF_WATCH_BEGUN);
    mf_buf_u64(&out, 1);
    mf_buf_u32(&out, 2);
    ends[count++] = out.len;
    mf_buf_u8(&out, MF_WATCH_REFUSED);
    mf_buf_u64(&out, 1);
    mf_buf_u16(&out, MF_NOT_FOUND);
    ends[count++] = out.len;
    mf_buf_u8(&out, MF_WATCH_LOST);
    mf_buf_u64(&out, 1);
    ends[count++] = out.len;
    uint32_t whole = 0;
    for (size_t len = 0; len <= out.len; len++) {
        bool ends_here = whole < count && ends[whole] == len;
        assert_int_equal(news_of(mf_bytes_of(out.data, len)), ends_here ? MF_OK : MF_CORRUPT);
        whole += ends_here;
    }
    assert_int_equal(whole, count);
    mf_buf_free(&out);
}

static void news_of_what_there_is_not_are_refused(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        struct mf_buf out = {0};
        const struct mf_event event = {MF_EVENT_DEL, mf_bytes_str("k"), 8, mf_bytes_of(NULL, 0)};
        struct mf_event wrong = event;
        switch (i) {
        case 0:
            put_event(&out, 0, event);
            break;
        case 1:
            wrong.event = (enum mf_change_event)MF_EVENTS;
            put_event(&out, 1, wrong);
            break;
        case 2:
            wrong.key = mf_bytes_of(NULL, 0);
            put_event(&out, 1, wrong);
            break;
        case 3:
            wrong.value = mf_bytes_str("of a deletion");
            put_event(&out, 1, wrong);
            break;
        case 4:
            put_progress(&out, 1, SHARDS);
            break;
        case 5:
            put_progress(&out, MF_WATCH_PROGRESS_SHARDS_MAX + 1, 0);
            break;
        case 6:
            put_progress(&out, 0, 0);
            break;
        default:
            mf_buf_u8(&out, MF_WATCH_LOST + 1);
            mf_buf_u64(&out, 1);
        }
        assert_int_equal(news_of(mf_buf_view(&out)), MF_CORRUPT);
        mf_buf_free(&out);
    }
}

static void the_small_ones_come_back_as_they_were(void **state)
{
    (void)state;
    struct mf_buf taken = {0};
    mf_buf_u64(&taken, 5);
    mf_buf_u64(&taken, UINT64_MAX);
    const struct mf_peer_watch_alive alive = {
        .number = 1, .home = 2, .sequence = 3, .taken = mf_buf_view(&taken)};
    const struct mf_peer_watch_gone gone = {.number = 1, .home = 65535};
    struct mf_peer_watch_alive alive_back;
    struct mf_peer_watch_gone gone_back;
    struct mf_buf out = {0};
    mf_peer_put_watch_alive(&out, &alive);
    assert_int_equal(mf_peer_get_watch_alive(mf_buf_view(&out), &alive_back), MF_OK);
    assert_true(alive_back.number == 1 && alive_back.home == 2 && alive_back.sequence == 3 &&
                mf_bytes_equal(alive_back.taken, alive.taken));
    for (size_t len = 0; len < out.len; len++)
        assert_int_equal(mf_peer_get_watch_alive(mf_bytes_of(out.data, len), &alive_back),
                         MF_CORRUPT);
    mf_buf_clear(&out, 0);
    mf_peer_put_watch_gone(&out, &gone);
    assert_int_equal(mf_peer_get_watch_gone(mf_buf_view(&out), &gone_back), MF_OK);
    assert_true(gone_back.number == 1 && gone_back.home == 65535);
    for (size_t len = 0; len < out.len; len++)
        assert_int_equal(mf_peer_get_watch_gone(mf_bytes_of(out.data, len), &gone_back),
                         MF_CORRUPT);
    mf_buf_free(&out);
    mf_buf_free(&taken);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_order_comes_back_and_no_other_is_taken),
        cmocka_unit_test(news_are_taken_whole_or_not_at_all),
        cmocka_unit_test(news_of_what_there_is_not_are_refused),
        cmocka_unit_test(the_small_ones_come_back_as_they_were),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
