// A node that keeps watches for another one: what does not follow what was before ends them all,
// and the other is told when it speaks of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>
#include <ev.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/event.h"
#include "rpc/peer_watch.h"
#include "server/links_internal.h"
#include "server/watch_peers.h"
#include "server/watchers.h"

#define ASKER 2
#define PROCESS 7

// Node 1 with one reactor and one shard of which it has no copy, so that every order is refused;
// and a link of it to node 2, the asker. The loop never runs, so nothing is written.
struct fixture {
    struct mf_node node;
    struct mf_shard_status status;
    struct mf_reactor reactor;
    struct mf_reactor *reactors[1];
    struct mf_owned_shard shard;
    struct mf_links links;
    struct mf_task *first;
    struct mf_task *last;
    struct ev_loop *loop;
    struct mf_conn_pool *pool;
    int far_fd;
};

static void on_closed(void *arg, struct mf_conn *conn, const char *reason)
{
    (void)conn, (void)reason;
    struct fixture *f = arg;
    f->links.out[1].state = LINK_IDLE;
}

static const struct mf_conn_ops conn_ops = {.closed = on_closed};

static void open_link(struct fixture *f)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    f->far_fd = fds[1];
    f->loop = ev_loop_new(EVFLAG_AUTO);
    f->pool = mf_conn_pool_new(f->loop);
    struct mf_conn_limits limits = {
        .input_max_bytes = 1024, .output_pause_bytes = SIZE_MAX, .output_max_bytes = SIZE_MAX};
    struct mf_link *link = &f->links.out[1];
    link->links = &f->links;
    link->member = 1;
    link->state = LINK_READY;
    link->incarnation = PROCESS;
    link->conn = mf_conn_new(f->pool, fds[0], false, &limits, &conn_ops, f);
}

static int open_node(void **state)
{
    struct fixture *f = mf_calloc(1, sizeof(*f));
    f->node.config.id = 1;
    f->node.config.shards = 1;
    f->node.shards = &f->status;
    f->node.member_count = 2;
    f->node.members[0].id = 1;
    f->node.members[1].id = ASKER;
    f->node.members[1].incarnation = PROCESS;
    f->node.reactors = f->reactors;
    f->node.reactor_count = 1;
    f->reactors[0] = &f->reactor;
    f->reactor.node = &f->node;
    f->reactor.links = &f->links;
    f->reactor.shards = &f->shard;
    f->reactor.shard_count = 1;
    f->reactor.out_first = &f->first;
    f->reactor.out_last = &f->last;
    f->shard.reactor = &f->reactor;
    f->links.reactor = &f->reactor;
    f->reactor.watchers = mf_watchers_new(&f->reactor);
    f->reactor.watch_peers = mf_watch_peers_new(&f->reactor);
    open_link(f);
    *state = f;
    return 0;
}

static int close_node(void **state)
{
    struct fixture *f = *state;
    mf_watch_peers_free(f->reactor.watch_peers);
    mf_watchers_free(f->reactor.watchers);
    mf_conn_pool_free(f->pool);
    ev_loop_destroy(f->loop);
    close(f->far_fd);
    mf_buf_free(&f->links.out[1].frame);
    free(f);
    return 0;
}

static void take(struct fixture *f, enum mf_peer_item_kind kind, uint64_t incarnation,
                 struct mf_buf *content)
{
    const struct mf_peer_item item = {.kind = kind, .bytes = mf_buf_view(content)};
    assert_int_equal(mf_watch_peers_take(&f->reactor, 1, incarnation, &item), MF_OK);
    mf_buf_free(content);
    while (f->first != NULL) {
        struct mf_task *task = f->first;
        f->first = task->next;
        task->run(&f->reactor, task);
    }
    f->last = NULL;
}

static void order(struct fixture *f, uint64_t number, uint64_t sequence, uint64_t incarnation)
{
    static const uint8_t shard_0[4];
    const struct mf_peer_watch_order wanted = {.number = number,
                                               .sequence = sequence,
                                               .home = 3,
                                               .id = 100 * number + sequence,
                                               .by_prefix = true,
                                               .events = MF_EVENTS_ALL,
                                               .shards = mf_bytes_of(shard_0, sizeof(shard_0))};
    struct mf_buf content = {0};
    mf_peer_put_watch_order(&content, &wanted);
    take(f, MF_PEER_WATCH_ORDER, incarnation, &content);
}

static void alive(struct fixture *f, uint64_t number, uint64_t sequence, uint64_t taken)
{
    struct mf_buf offsets = {0};
    struct mf_buf content = {0};
    mf_buf_u64(&offsets, taken);
    const struct mf_peer_watch_alive word = {
        .number = number, .home = 3, .sequence = sequence, .taken = mf_buf_view(&offsets)};
    mf_peer_put_watch_alive(&content, &word);
    mf_buf_free(&offsets);
    take(f, MF_PEER_WATCH_ALIVE, PROCESS, &content);
}

// What has been put onto the link in this turn.
struct said {
    uint32_t gone;
    uint64_t gone_number;
    uint32_t news;
    uint32_t refused; // in the news
    uint64_t number;
    uint64_t end; // offset of the news, and their length
};

static void read_news(const struct mf_peer_item *item, struct said *said)
{
    struct mf_peer_watch_news news;
    assert_int_equal(mf_peer_get_watch_news(item->bytes, 1, &news), MF_OK);
    assert_true(news.news.len <= 64u << 10); // none of these is large
    assert_true(news.home == 3 && news.reactor == 0 && news.reactors == 1);
    said->news++;
    said->number = news.number;
    said->end = news.offset + news.news.len;
    struct mf_reader reader = mf_reader_of(news.news);
    while (mf_reader_left(&reader) > 0) {
        assert_int_equal(*reader.at, MF_WATCH_REFUSED);
        assert_int_equal(mf_peer_skip_watch_news(&reader, 1), MF_OK);
        said->refused++;
    }
}

static struct said turn(struct fixture *f)
{
    struct said said = {0};
    struct mf_buf *frame = &f->links.out[1].frame;
    mf_watchers_flush(&f->reactor);
    mf_watch_peers_flush(f->reactor.watch_peers);
    if (frame->len == 0)
        return said;
    struct mf_peer_reader reader;
    struct mf_bytes body =
        mf_bytes_of(frame->data + MF_PEER_FRAME_HEAD_BYTES, frame->len - MF_PEER_FRAME_HEAD_BYTES);
    struct mf_peer_item item;
    assert_int_equal(mf_peer_body_open(&reader, body), MF_OK);
    while (mf_peer_item_next(&reader, &item) == MF_OK) {
        if (item.kind == MF_PEER_WATCH_NEWS) {
            read_news(&item, &said);
            continue;
        }
        struct mf_peer_watch_gone gone;
        assert_int_equal(item.kind, MF_PEER_WATCH_GONE);
        assert_int_equal(mf_peer_get_watch_gone(item.bytes, &gone), MF_OK);
        said.gone++;
        said.gone_number = gone.number;
    }
    mf_buf_clear(frame, 0);
    return said;
}

static void orders_that_follow_each_other_are_answered(void **state)
{
    struct fixture *f = *state;
    for (uint64_t sequence = 1; sequence <= 5; sequence++)
        order(f, 1, sequence, PROCESS);
    struct said said = turn(f);
    assert_int_equal(said.gone, 0);
    assert_int_equal(said.refused, 5);
    assert_int_equal(said.number, 1);
    alive(f, 1, 5, said.end);
    order(f, 1, 6, PROCESS);
    uint64_t before = said.end;
    said = turn(f);
    assert_int_equal(said.gone, 0);
    assert_int_equal(said.refused, 1);
    assert_true(said.end > before); // the offset goes on
}

static void an_order_that_is_missing_ends_all(void **state)
{
    struct fixture *f = *state;
    order(f, 1, 1, PROCESS);
    (void)turn(f);
    order(f, 1, 3, PROCESS);
    struct said said = turn(f);
    assert_int_equal(said.gone, 1);
    assert_int_equal(said.gone_number, 1);
    order(f, 1, 4, PROCESS); // also what comes behind it
    said = turn(f);
    assert_int_equal(said.gone, 1);
    assert_int_equal(said.news, 0);
    order(f, 2, 1, PROCESS);
    said = turn(f);
    assert_int_equal(said.gone, 0);
    assert_int_equal(said.number, 2);
    assert_int_equal(said.refused, 1);
    order(f, 1, 5, PROCESS); // was long on its way
    alive(f, 1, 5, 0);
    said = turn(f);
    assert_int_equal(said.gone + said.news, 0);
}

static void who_speaks_of_what_there_is_not_is_told(void **state)
{
    struct fixture *f = *state;
    alive(f, 1, 1, 0);
    assert_int_equal(turn(f).gone, 1);
    order(f, 1, 2, PROCESS);
    assert_int_equal(turn(f).gone, 1);
    order(f, 2, 1, PROCESS);
    struct said said = turn(f);
    alive(f, 2, 2, said.end); // of an order that has not come
    assert_int_equal(turn(f).gone, 1);
    order(f, 3, 1, PROCESS);
    said = turn(f);
    alive(f, 3, 1, said.end + 1); // of news that were not sent
    assert_int_equal(turn(f).gone, 1);
}

static void words_of_another_process_are_not_heard(void **state)
{
    struct fixture *f = *state;
    order(f, 1, 1, PROCESS + 1);
    struct said said = turn(f);
    assert_int_equal(said.gone + said.news, 0);
}

static void an_asker_that_is_silent_or_lost_is_forgotten(void **state)
{
    struct fixture *f = *state;
    uint64_t now_us = mf_reactor_now_us(&f->reactor);
    mf_watch_peers_tick(f->reactor.watch_peers, now_us);
    order(f, 1, 1, PROCESS);
    (void)turn(f);
    for (unsigned i = 0; i < 29; i++)
        mf_watch_peers_tick(f->reactor.watch_peers, now_us += 100000);
    mf_watch_peers_tick(f->reactor.watch_peers, now_us += 60000000); // it is we who stood still
    alive(f, 1, 1, 0);
    assert_int_equal(turn(f).gone, 0);
    order(f, 2, 1, PROCESS);
    (void)turn(f);
    mf_watch_peers_tick(f->reactor.watch_peers, now_us += 100000); // a minute later
    alive(f, 2, 1, 0);
    assert_int_equal(turn(f).gone, 1);
    order(f, 3, 1, PROCESS);
    (void)turn(f);
    mf_watch_peers_lost(f->reactor.watch_peers, 1);
    alive(f, 3, 1, 0);
    assert_int_equal(turn(f).gone, 1);
}

static void what_is_not_acknowledged_is_bounded_and_goes_in_pieces(void **state)
{
    struct fixture *f = *state;
    uint64_t sequence = 0;
    struct said said = {0};
    while (sequence < 130000) { // of 11 bytes of news each: more than 1 MiB
        for (unsigned i = 0; i < 10000; i++)
            order(f, 1, ++sequence, PROCESS);
        struct said now = turn(f);
        assert_true(now.news <= 3); // 64 KiB each, and 128 KiB may wait on the link
        said = now.news > 0 ? now : said;
    }
    for (unsigned i = 0; i < 20; i++) {
        struct said now = turn(f);
        said = now.news > 0 ? now : said;
    }
    assert_in_range(said.end, 1u << 20, (1u << 20) + (64u << 10));
    alive(f, 1, sequence, said.end);
    uint64_t before = said.end;
    said = turn(f);
    assert_true(said.end > before);
}

// A home is a reactor of the asker, and none has more than that many.
static void words_of_a_home_that_there_cannot_be_are_no_words(void **state)
{
    struct fixture *f = *state;
    static const uint8_t shard_0[4];
    for (unsigned home = MF_THREADS_MAX; home <= UINT16_MAX; home += UINT16_MAX - MF_THREADS_MAX) {
        const struct mf_peer_watch_order wanted = {.number = 1,
                                                   .sequence = 1,
                                                   .home = (uint16_t)home,
                                                   .by_prefix = true,
                                                   .events = MF_EVENTS_ALL,
                                                   .shards = mf_bytes_of(shard_0, 4)};
        const struct mf_peer_watch_alive word = {.number = 1, .home = (uint16_t)home};
        struct mf_buf content = {0};
        mf_peer_put_watch_order(&content, &wanted);
        struct mf_peer_item item = {.kind = MF_PEER_WATCH_ORDER, .bytes = mf_buf_view(&content)};
        assert_int_equal(mf_watch_peers_take(&f->reactor, 1, PROCESS, &item), MF_CORRUPT);
        mf_buf_free(&content);
        mf_peer_put_watch_alive(&content, &word);
        item = (struct mf_peer_item){.kind = MF_PEER_WATCH_ALIVE, .bytes = mf_buf_view(&content)};
        assert_int_equal(mf_watch_peers_take(&f->reactor, 1, PROCESS, &item), MF_CORRUPT);
        mf_buf_free(&content);
    }
    assert_null(f->first);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, open_node, close_node)
    const struct CMUnitTest tests[] = {
        TEST(orders_that_follow_each_other_are_answered),
        TEST(an_order_that_is_missing_ends_all),
        TEST(who_speaks_of_what_there_is_not_is_told),
        TEST(words_of_another_process_are_not_heard),
        TEST(an_asker_that_is_silent_or_lost_is_forgotten),
        TEST(what_is_not_acknowledged_is_bounded_and_goes_in_pieces),
        TEST(words_of_a_home_that_there_cannot_be_are_no_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
