// Bulk on a link whose other end does not read: chunks go one a turn, few in all, large answers
// wait their turn, and others pass.
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

#include "server/links_internal.h"

#define PEER 2
#define PROCESS 7
#define ITEM_BYTES (128u << 10)
// What may wait in front of a heartbeat: less than 256 KiB, and one more item.
#define WAITING_MAX ((256u << 10) + ITEM_BYTES + 1024)

struct fixture {
    struct mf_node node;
    struct mf_reactor reactor;
    struct mf_links links;
    struct ev_loop *loop;
    struct mf_conn_pool *pool;
    int far_fd;
    uint8_t *item;
};

static void on_closed(void *arg, struct mf_conn *conn, const char *reason)
{
    (void)conn;
    (void)reason;
    struct fixture *f = arg;
    f->links.out[1].state = LINK_IDLE;
}

static const struct mf_conn_ops conn_ops = {.closed = on_closed};

// Node 1 and a link of it to node 2. The loop never runs, so nothing is written.
static int open_link(void **state)
{
    struct fixture *f = mf_calloc(1, sizeof(*f));
    f->node.config.id = 1;
    f->node.config.heartbeat_ms = 50;
    f->node.config.lease_ms = 500;
    f->node.member_count = 2;
    f->node.members[0].id = 1;
    f->node.members[1].id = PEER;
    f->node.members[1].incarnation = PROCESS;
    f->node.config.request_bytes_max = 64u << 20;
    f->reactor.node = &f->node;
    f->links.reactor = &f->reactor;
    f->loop = ev_loop_new(EVFLAG_AUTO);
    f->pool = mf_conn_pool_new(f->loop);
    f->item = mf_calloc(1, ITEM_BYTES);
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    f->far_fd = fds[1];
    struct mf_conn_limits limits = {
        .input_max_bytes = 1024, .output_pause_bytes = SIZE_MAX, .output_max_bytes = SIZE_MAX};
    struct mf_link *link = &f->links.out[1];
    link->links = &f->links;
    link->member = 1;
    link->state = LINK_READY;
    link->incarnation = PROCESS;
    link->conn = mf_conn_new(f->pool, fds[0], false, &limits, &conn_ops, f);
    *state = f;
    return 0;
}

static int close_link(void **state)
{
    struct fixture *f = *state;
    mf_conn_pool_free(f->pool);
    ev_loop_destroy(f->loop);
    close(f->far_fd);
    mf_links_drop_bulk_replies(&f->links.out[1]);
    mf_buf_free(&f->links.out[1].frame);
    free(f->item);
    free(f);
    return 0;
}

static bool send_bulk(struct fixture *f)
{
    bool room = mf_links_bulk_room(&f->links, PEER);
    bool sent = mf_links_send_item(&f->links, PEER, MF_PEER_SNAPSHOT_CHUNK, 0,
                                   mf_bytes_of(f->item, ITEM_BYTES), true);
    assert_int_equal(sent, room);
    return sent;
}

static size_t waiting(struct fixture *f)
{
    return mf_conn_unsent_bytes(f->links.out[1].conn) + f->links.out[1].frame.len;
}

static void one_bulk_item_goes_in_a_turn(void **state)
{
    struct fixture *f = *state;
    assert_true(send_bulk(f));
    assert_false(send_bulk(f));
    mf_links_flush(&f->links);
    assert_true(send_bulk(f));
}

static void bulk_items_wait_behind_what_is_unsent_and_others_do_not(void **state)
{
    struct fixture *f = *state;
    unsigned sent = 0;
    for (unsigned turn = 0; turn < 100; turn++) {
        sent += send_bulk(f);
        mf_links_flush(&f->links);
    }
    assert_in_range(sent, 1, 3);
    assert_true(waiting(f) <= WAITING_MAX);
    size_t before = waiting(f);
    assert_true(mf_links_send_item(&f->links, PEER, MF_PEER_SNAPSHOT_ACK, 0,
                                   mf_bytes_of(f->item, 25), false));
    assert_true(waiting(f) > before);
}

static void what_other_items_have_filled_has_no_room_for_bulk(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 3; i++)
        assert_true(mf_links_send_item(&f->links, PEER, MF_PEER_SNAPSHOT_CHUNK, 0,
                                       mf_bytes_of(f->item, ITEM_BYTES), false));
    assert_false(send_bulk(f));
}

static void nothing_goes_to_a_node_without_a_link(void **state)
{
    struct fixture *f = *state;
    assert_false(mf_links_bulk_room(&f->links, 3));
    f->links.out[1].state = LINK_GREETED;
    assert_false(send_bulk(f));
    f->links.out[1].state = LINK_READY;
}

static void reply(struct fixture *f, size_t bytes)
{
    struct mf_op *op = mf_calloc(1, sizeof(*op));
    op->from_node = PEER;
    op->from_incarnation = PROCESS;
    for (size_t left = bytes; left > 0;) {
        size_t part = left < ITEM_BYTES ? left : ITEM_BYTES;
        mf_buf_put(&op->result, f->item, part);
        left -= part;
    }
    mf_links_send_reply(&f->links, op);
}

static void large_answers_wait_and_small_ones_pass(void **state)
{
    struct fixture *f = *state;
    const struct mf_link *link = &f->links.out[1];
    for (unsigned i = 0; i < 100; i++)
        reply(f, ITEM_BYTES);
    mf_links_flush(&f->links);
    assert_in_range(link->bulk_replies.count, 97, 99);
    assert_true(waiting(f) <= WAITING_MAX);
    size_t before = waiting(f);
    reply(f, 100);
    assert_in_range(waiting(f), before + 100, before + 200);
    assert_in_range(link->bulk_replies.count, 97, 99);
}

static void large_answers_go_in_their_order_when_there_is_room(void **state)
{
    struct fixture *f = *state;
    struct mf_link *link = &f->links.out[1];
    for (unsigned i = 0; i < 10; i++)
        reply(f, ITEM_BYTES + i);
    unsigned turns = 0;
    for (; link->bulk_replies.count > 0; turns++) {
        assert_in_range(turns, 0, 10);
        mf_links_flush(&f->links);
        struct mf_buf *output = mf_conn_output(link->conn);
        mf_buf_clear(output, SIZE_MAX); // as if the socket had taken it
    }
    assert_in_range(turns, 3, 10);
    assert_int_equal(link->bulk_replies_bytes, 0);
}

static void what_the_queue_cannot_hold_is_refused_at_once(void **state)
{
    struct fixture *f = *state;
    const struct mf_link *link = &f->links.out[1];
    reply(f, 100u << 20);
    reply(f, 100u << 20);
    assert_int_equal(waiting(f), 0);
    reply(f, 100u << 20);
    assert_in_range(waiting(f), 1, 100);
    assert_int_equal(link->bulk_replies.count, 2);
    assert_int_equal(link->bulk_replies_bytes, 200u << 20);
}

static void an_answer_that_no_frame_can_hold_is_refused(void **state)
{
    struct fixture *f = *state;
    reply(f, (size_t)250 << 20);
    assert_in_range(waiting(f), 1, 100);
    assert_int_equal(f->links.out[1].bulk_replies.count, 0);
}

static void large_answers_go_with_their_link(void **state)
{
    struct fixture *f = *state;
    reply(f, ITEM_BYTES);
    mf_links_drop_bulk_replies(&f->links.out[1]);
    assert_int_equal(f->links.out[1].bulk_replies.count, 0);
    assert_int_equal(f->links.out[1].bulk_replies_bytes, 0);
    mf_links_flush(&f->links);
    assert_int_equal(waiting(f), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_bulk_item_goes_in_a_turn, open_link, close_link),
        cmocka_unit_test_setup_teardown(bulk_items_wait_behind_what_is_unsent_and_others_do_not,
                                        open_link, close_link),
        cmocka_unit_test_setup_teardown(what_other_items_have_filled_has_no_room_for_bulk,
                                        open_link, close_link),
        cmocka_unit_test_setup_teardown(nothing_goes_to_a_node_without_a_link, open_link,
                                        close_link),
        cmocka_unit_test_setup_teardown(large_answers_wait_and_small_ones_pass, open_link,
                                        close_link),
        cmocka_unit_test_setup_teardown(large_answers_go_in_their_order_when_there_is_room,
                                        open_link, close_link),
        cmocka_unit_test_setup_teardown(what_the_queue_cannot_hold_is_refused_at_once, open_link,
                                        close_link),
        cmocka_unit_test_setup_teardown(an_answer_that_no_frame_can_hold_is_refused, open_link,
                                        close_link),
        cmocka_unit_test_setup_teardown(large_answers_go_with_their_link, open_link, close_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
