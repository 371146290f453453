// The home of a watch whose shards another node keeps: what comes in one piece is told, and where
// anything is missing, or too much has to wait, the watch ends and says so.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>
#include <ev.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/links_internal.h"
#include "server/watch.h"
#include "server/watch_news.h"
#include "server/watch_relay.h"

#define PROCESS 7
#define REACTORS_THERE 2
#define MIB (1u << 20)

// Node 1 with one reactor and no copy of the two shards, which are on node 2.
struct fixture {
    struct mf_node node;
    struct mf_shard_status statuses[2];
    struct mf_reactor reactor;
    struct mf_reactor *reactors[1];
    struct mf_links links;
    struct mf_task *first;
    struct mf_task *last;
    uint64_t number; // of what is open at node 2
    uint64_t offsets[REACTORS_THERE];
};

// What the client of a watch has heard.
struct client {
    uint32_t begun;
    uint32_t events;
    uint32_t progress;
    uint32_t lost;
    uint64_t last_version;
    enum mf_err err;
};

static void on_begun(void *arg, uint64_t id, enum mf_err err, const char *message)
{
    (void)id, (void)message;
    struct client *client = arg;
    client->begun++;
    client->err = err;
}

static bool on_event(void *arg, uint64_t id, const struct mf_event *event)
{
    (void)id;
    struct client *client = arg;
    client->events++;
    client->last_version = event->version;
    return true;
}

static bool on_progress(void *arg, uint64_t id, const struct mf_shard_version *versions,
                        uint32_t count)
{
    (void)id;
    struct client *client = arg;
    client->progress++;
    assert_int_equal(count, 1);
    assert_int_equal(versions[0].version, client->last_version);
    return true;
}

static void on_lost(void *arg, uint64_t id)
{
    (void)id;
    struct client *client = arg;
    client->lost++;
}

static const struct mf_watch_sink sink = {
    .begun = on_begun, .event = on_event, .progress = on_progress, .lost = on_lost};

static int open_node(void **state)
{
    struct fixture *f = mf_calloc(1, sizeof(*f));
    f->node.config.id = 1;
    f->node.config.shards = 2;
    f->node.config.request_timeout_ms = 60000;
    f->node.shards = f->statuses;
    f->node.member_count = 2;
    f->node.members[0].id = 1;
    f->node.members[1].id = 2;
    f->node.members[1].up = true;
    f->node.members[1].incarnation = PROCESS;
    f->node.reactors = f->reactors;
    f->node.reactor_count = 1;
    f->reactors[0] = &f->reactor;
    f->reactor.node = &f->node;
    f->reactor.links = &f->links;
    f->reactor.out_first = &f->first;
    f->reactor.out_last = &f->last;
    f->reactor.watches = mf_watches_new();
    f->reactor.watch_relay = mf_watch_relay_new(&f->reactor);
    f->links.reactor = &f->reactor;
    f->links.out[1].state = LINK_READY;
    const uint16_t copies[] = {2};
    mf_node_set_copies(&f->node, 0, copies, 1);
    mf_node_set_copies(&f->node, 1, copies, 1);
    *state = f;
    return 0;
}

// What lies in the way to the reactor arrives. What it sends to the owners here stays there.
static void arrive(struct fixture *f)
{
    struct mf_task *task = f->first;
    f->first = f->last = NULL;
    while (task != NULL) {
        struct mf_task *next = task->next;
        task->run(&f->reactor, task);
        task = next;
    }
}

static void forget_orders(struct fixture *f)
{
    while (f->first != NULL) {
        struct mf_watch_order *order = (struct mf_watch_order *)f->first;
        f->first = order->task.next;
        mf_watch_order_free(order);
    }
    f->last = NULL;
}

static int close_node(void **state)
{
    struct fixture *f = *state;
    forget_orders(f);
    mf_watch_relay_free(f->reactor.watch_relay);
    mf_watches_free(f->reactor.watches);
    free(f);
    return 0;
}

static uint64_t watch(struct fixture *f, struct client *client)
{
    const struct mf_watch_want want = {
        .by_prefix = true, .events = MF_EVENTS_ALL, .progress = true};
    *client = (struct client){0};
    forget_orders(f);
    uint64_t id = mf_watch_begin(&f->reactor, &want, &sink, client);
    assert_null(f->first); // nothing is to be watched here
    return id;
}

static void send_at(struct fixture *f, uint16_t reactor, uint64_t number, uint64_t incarnation,
                    uint64_t offset, struct mf_bytes bytes)
{
    const struct mf_peer_watch_news news = {.number = number,
                                            .reactor = reactor,
                                            .reactors = REACTORS_THERE,
                                            .offset = offset,
                                            .news = bytes};
    struct mf_buf content = {0};
    mf_peer_put_watch_news(&content, &news);
    const struct mf_peer_item item = {.kind = MF_PEER_WATCH_NEWS, .bytes = mf_buf_view(&content)};
    assert_int_equal(mf_watch_relay_take(&f->reactor, 1, incarnation, &item), MF_OK);
    mf_buf_free(&content);
    arrive(f);
}

static void send_news(struct fixture *f, uint16_t reactor, struct mf_watch_outbox *outbox)
{
    send_at(f, reactor, f->number, PROCESS, f->offsets[reactor], mf_buf_view(&outbox->items));
    f->offsets[reactor] += outbox->items.len;
    mf_watch_outbox_free(outbox);
    mf_watch_outbox_init(outbox, SIZE_MAX, NULL);
}

static void begin_at(struct fixture *f, uint16_t reactor, uint64_t id)
{
    struct mf_watch_outbox outbox = {0};
    mf_watch_put_begun(&outbox, id, 1);
    send_news(f, reactor, &outbox);
}

static void put_event(struct mf_watch_outbox *outbox, uint64_t id, uint64_t version,
                      size_t value_bytes)
{
    void *value = mf_calloc(1, value_bytes + 1);
    const struct mf_event event = {MF_EVENT_SET, mf_bytes_str("k"), version,
                                   mf_bytes_of(value, value_bytes)};
    mf_buf_u64(&outbox->ids, id);
    mf_watch_put_event(outbox, &event);
    free(value);
}

static void send_event(struct fixture *f, uint16_t reactor, uint64_t id, uint64_t version,
                       size_t value_bytes)
{
    struct mf_watch_outbox outbox = {0};
    put_event(&outbox, id, version, value_bytes);
    send_news(f, reactor, &outbox);
}

static void what_comes_in_one_piece_is_told(void **state)
{
    struct fixture *f = *state;
    struct client client;
    f->number = 1;
    uint64_t id = watch(f, &client);
    begin_at(f, 1, id);
    send_event(f, 1, id, 5, 10);
    assert_int_equal(client.begun + client.events, 0); // one shard has not begun
    begin_at(f, 0, id);
    assert_int_equal(client.begun, 1);
    assert_int_equal(client.err, MF_OK);
    assert_int_equal(client.events, 1);
    send_event(f, 1, id, 6, 10);
    struct mf_watch_outbox outbox = {0};
    const struct mf_shard_version version = {1, 6};
    mf_buf_u64(&outbox.ids, id);
    mf_watch_put_progress(&outbox, &version, 1);
    send_news(f, 1, &outbox);
    assert_int_equal(client.events, 2);
    assert_int_equal(client.progress, 1);
    assert_int_equal(client.lost, 0);
    assert_true(mf_watch_end(&f->reactor, id, &client));
    forget_orders(f);
}

static void a_piece_that_is_missing_loses_all_watches_there(void **state)
{
    struct fixture *f = *state;
    struct client clients[2];
    uint64_t ids[2];
    f->number = 1;
    for (int i = 0; i < 2; i++) {
        ids[i] = watch(f, &clients[i]);
        begin_at(f, 0, ids[i]);
    }
    begin_at(f, 1, ids[0]); // the second watch waits for a shard
    struct mf_watch_outbox outbox = {0};
    put_event(&outbox, ids[0], 5, 10);
    send_at(f, 0, f->number, PROCESS, f->offsets[0] + 1, mf_buf_view(&outbox.items));
    forget_orders(f);
    assert_int_equal(clients[0].lost, 1);
    assert_int_equal(clients[0].events, 0);
    assert_int_equal(clients[1].lost, 0);
    assert_int_equal(clients[1].begun, 1);
    assert_int_equal(clients[1].err, MF_NO_QUORUM);
    // What comes now would have fitted, and another watch there is under another number.
    send_at(f, 0, f->number, PROCESS, f->offsets[0], mf_buf_view(&outbox.items));
    ids[1] = watch(f, &clients[1]);
    f->offsets[0] = f->offsets[1] = 0;
    send_at(f, 0, f->number, PROCESS, 0, mf_buf_view(&outbox.items));
    assert_int_equal(clients[0].events, 0);
    f->number = 2;
    begin_at(f, 0, ids[1]);
    begin_at(f, 1, ids[1]);
    assert_int_equal(clients[1].err, MF_OK);
    assert_int_equal(clients[1].lost, 0);
    mf_watch_outbox_free(&outbox);
    mf_watch_end(&f->reactor, ids[1], &clients[1]);
    forget_orders(f);
}

static void words_of_another_process_are_not_heard(void **state)
{
    struct fixture *f = *state;
    struct client client;
    f->number = 1;
    uint64_t id = watch(f, &client);
    begin_at(f, 0, id);
    begin_at(f, 1, id);
    struct mf_watch_outbox outbox = {0};
    put_event(&outbox, id, 5, 10);
    send_at(f, 0, f->number, PROCESS + 1, f->offsets[0], mf_buf_view(&outbox.items));
    assert_int_equal(client.events + client.lost, 0);
    send_news(f, 0, &outbox);
    assert_int_equal(client.events, 1);
    mf_watch_outbox_free(&outbox);
    mf_watch_end(&f->reactor, id, &client);
    forget_orders(f);
}

static void send_gone(struct fixture *f, uint64_t number)
{
    const struct mf_peer_watch_gone gone = {.number = number};
    struct mf_buf content = {0};
    mf_peer_put_watch_gone(&content, &gone);
    const struct mf_peer_item item = {.kind = MF_PEER_WATCH_GONE, .bytes = mf_buf_view(&content)};
    assert_int_equal(mf_watch_relay_take(&f->reactor, 1, PROCESS, &item), MF_OK);
    mf_buf_free(&content);
    arrive(f);
    forget_orders(f);
}

static void what_the_keeper_does_not_keep_is_lost(void **state)
{
    struct fixture *f = *state;
    struct client client;
    f->number = 1;
    uint64_t id = watch(f, &client);
    begin_at(f, 0, id);
    begin_at(f, 1, id);
    send_gone(f, 2);
    assert_int_equal(client.lost, 0);
    send_gone(f, 1);
    assert_int_equal(client.lost, 1);
}

static void a_keeper_that_is_silent_is_given_up(void **state)
{
    struct fixture *f = *state;
    struct client client;
    f->number = 1;
    uint64_t id = watch(f, &client);
    begin_at(f, 0, id);
    begin_at(f, 1, id);
    uint64_t now_us = mf_reactor_now_us(&f->reactor);
    mf_watch_relay_tick(f->reactor.watch_relay, now_us);
    for (unsigned i = 0; i < 29; i++) { // in 2.9 s of listening
        now_us += 100000;
        mf_watch_relay_tick(f->reactor.watch_relay, now_us);
    }
    now_us += 60000000; // it is we who stood still
    mf_watch_relay_tick(f->reactor.watch_relay, now_us);
    assert_int_equal(client.lost, 0);
    for (unsigned i = 0; i < 31; i++) {
        now_us += 100000;
        mf_watch_relay_tick(f->reactor.watch_relay, now_us);
    }
    assert_int_equal(client.lost, 1);
    forget_orders(f);
}

static void what_waits_for_a_beginning_is_bounded_for_one_watch(void **state)
{
    struct fixture *f = *state;
    struct client client;
    f->number = 1;
    uint64_t id = watch(f, &client);
    begin_at(f, 0, id);
    for (uint64_t version = 1; version <= 15; version++)
        send_event(f, 0, id, version, MIB);
    begin_at(f, 1, id);
    assert_int_equal(client.begun, 1);
    assert_int_equal(client.events, 15);
    assert_int_equal(client.lost, 0);
    mf_watch_end(&f->reactor, id, &client);
    forget_orders(f);
    id = watch(f, &client);
    begin_at(f, 0, id);
    for (uint64_t version = 1; version <= 17; version++)
        send_event(f, 0, id, version, MIB);
    begin_at(f, 1, id);
    assert_int_equal(client.begun, 1);
    assert_int_equal(client.events, 0);
    assert_int_equal(client.lost, 1);
    forget_orders(f);
}

static void what_waits_for_beginnings_is_bounded_for_all_watches(void **state)
{
    enum { WATCHES = 6 };
    struct fixture *f = *state;
    struct client clients[WATCHES];
    uint64_t ids[WATCHES];
    f->number = 1;
    for (int i = 0; i < WATCHES; i++) {
        ids[i] = watch(f, &clients[i]);
        begin_at(f, 0, ids[i]);
    }
    for (uint64_t version = 1; version <= 12; version++) {
        for (int i = 0; i < WATCHES; i++)
            send_event(f, 0, ids[i], version, MIB);
    }
    uint32_t lost = 0;
    for (int i = 0; i < WATCHES; i++) {
        begin_at(f, 1, ids[i]);
        lost += clients[i].lost;
        assert_int_equal(clients[i].events, clients[i].lost > 0 ? 0 : 12);
        mf_watch_end(&f->reactor, ids[i], &clients[i]);
        forget_orders(f);
    }
    assert_int_equal(lost, 1); // 72 MiB were to wait, and 64 may
}

static void without_anybody_to_keep_it_a_watch_waits_for_one(void **state)
{
    struct fixture *f = *state;
    struct client client;
    f->number = 1;
    f->links.out[1].state = LINK_IDLE;
    uint64_t id = watch(f, &client);
    mf_watches_tick(&f->reactor);
    assert_int_equal(client.begun, 0);
    f->links.out[1].state = LINK_READY;
    mf_watches_tick(&f->reactor);
    begin_at(f, 0, id);
    begin_at(f, 1, id);
    assert_int_equal(client.begun, 1);
    assert_int_equal(client.err, MF_OK);
    mf_watch_end(&f->reactor, id, &client);
    forget_orders(f);
    f->links.out[1].state = LINK_IDLE;
    f->node.config.request_timeout_ms = 0;
    (void)watch(f, &client);
    mf_watches_tick(&f->reactor);
    assert_int_equal(client.begun, 1);
    assert_int_equal(client.err, MF_NO_QUORUM);
}

static void on_closed(void *arg, struct mf_conn *conn, const char *reason)
{
    (void)conn, (void)reason;
    struct fixture *f = arg;
    f->links.out[1].state = LINK_IDLE;
}

static enum mf_peer_item_kind first_said(const struct mf_buf *frame)
{
    struct mf_peer_reader reader;
    struct mf_peer_item item;
    struct mf_bytes body =
        mf_bytes_of(frame->data + MF_PEER_FRAME_HEAD_BYTES, frame->len - MF_PEER_FRAME_HEAD_BYTES);
    assert_int_equal(mf_peer_body_open(&reader, body), MF_OK);
    assert_int_equal(mf_peer_item_next(&reader, &item), MF_OK);
    return item.kind;
}

// The keeper would not know what is spoken of. The loop never runs, so nothing is written.
static void nothing_is_said_of_orders_that_still_wait_for_the_link(void **state)
{
    static const struct mf_conn_ops conn_ops = {.closed = on_closed};
    const struct mf_conn_limits limits = {
        .input_max_bytes = 1024, .output_pause_bytes = SIZE_MAX, .output_max_bytes = SIZE_MAX};
    struct fixture *f = *state;
    struct client client;
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    struct mf_conn_pool *pool = mf_conn_pool_new(loop);
    struct mf_link *link = &f->links.out[1];
    link->links = &f->links;
    link->member = 1;
    link->conn = mf_conn_new(pool, fds[0], false, &limits, &conn_ops, f);
    // Much is unsent there already.
    uint8_t *unsent = mf_buf_reserve(&link->frame, MIB);
    memset(unsent, 0, MIB);
    link->frame.len = MIB;
    f->number = 1;
    uint64_t id = watch(f, &client);
    send_event(f, 0, id, 7, MIB); // to be acknowledged at once
    mf_watch_relay_flush(f->reactor.watch_relay);
    assert_int_equal(link->frame.len, MIB);
    mf_buf_clear(&link->frame, 0);
    mf_watch_relay_flush(f->reactor.watch_relay);
    assert_int_equal(first_said(&link->frame), MF_PEER_WATCH_ORDER);
    mf_conn_pool_free(pool);
    ev_loop_destroy(loop);
    close(fds[1]);
    mf_buf_free(&link->frame);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, open_node, close_node)
    const struct CMUnitTest tests[] = {
        TEST(what_comes_in_one_piece_is_told),
        TEST(a_piece_that_is_missing_loses_all_watches_there),
        TEST(words_of_another_process_are_not_heard),
        TEST(what_the_keeper_does_not_keep_is_lost),
        TEST(a_keeper_that_is_silent_is_given_up),
        TEST(what_waits_for_a_beginning_is_bounded_for_one_watch),
        TEST(what_waits_for_beginnings_is_bounded_for_all_watches),
        TEST(without_anybody_to_keep_it_a_watch_waits_for_one),
        TEST(nothing_is_said_of_orders_that_still_wait_for_the_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
