// Readers that leave whole messages in the buffer: until a request under way has ended, or until
// others have had their turn; and what is sent between the turns of two of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/conn.h"

// 's' starts a request, 'w' waits for all of them, 'y' yields, 'f' asks for a flush before the next
// reader, anything else is taken as it is.
struct reader {
    struct mf_conn *conn;
    int far;
    unsigned under_way;
    char taken[200];
};

static struct ev_loop *loop;
static struct mf_conn_pool *pool;
static struct reader readers[2];
static ev_prepare flush;

static enum mf_err on_data(void *arg, struct mf_conn *conn, struct mf_bytes input, size_t *used)
{
    struct reader *reader = arg;
    char c = (char)input.data[0];
    if (c == 'w' && reader->under_way > 0) {
        mf_conn_in_flight(conn, 0, 1);
        return MF_OK;
    }
    if (c == 's') {
        reader->under_way++;
        mf_conn_in_flight(conn, 1, 100);
    }
    if (c == 'y')
        mf_conn_yield(conn);
    if (c == 'f')
        ev_feed_event(loop, &flush, EV_CUSTOM);
    strncat(reader->taken, &c, 1);
    *used = 1;
    return MF_OK;
}

static void on_closed(void *arg, struct mf_conn *conn, const char *reason)
{
    (void)conn;
    (void)reason;
    struct reader *reader = arg;
    reader->conn = NULL;
}

static void on_wake(struct ev_loop *l, ev_async *watcher, int revents)
{
    (void)l;
    (void)watcher;
    (void)revents;
}

// Answers the reader that has been offered something, and closes the other one, which was not yet.
static void on_flush(struct ev_loop *l, ev_prepare *watcher, int revents)
{
    (void)l;
    (void)watcher;
    (void)revents;
    struct reader *first = &readers[readers[0].taken[0] == 'f' ? 0 : 1];
    struct reader *second = first == &readers[0] ? &readers[1] : &readers[0];
    assert_string_equal(second->taken, "");
    mf_buf_put(mf_conn_output(first->conn), "x", 1);
    mf_conn_wrote(first->conn);
    mf_conn_close(second->conn, "for the test");
    mf_conn_pool_flush(pool);
    char got;
    assert_int_equal(recv(first->far, &got, 1, MSG_DONTWAIT), 1);
    assert_null(second->conn);
}

static int set_up(void **state)
{
    (void)state;
    static const struct mf_conn_ops ops = {.data = on_data, .closed = on_closed};
    const struct mf_conn_limits limits = {
        .input_max_bytes = 100, .output_pause_bytes = 1 << 20, .output_max_bytes = 8 << 20};
    loop = ev_loop_new(EVFLAG_AUTO);
    pool = mf_conn_pool_new(loop);
    ev_prepare_init(&flush, on_flush);
    ev_set_priority(&flush, 1);
    for (int i = 0; i < 2; i++) {
        int ends[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        readers[i] = (struct reader){.far = ends[1]};
        readers[i].conn = mf_conn_new(pool, ends[0], false, &limits, &ops, &readers[i]);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mf_conn_pool_free(pool);
    ev_loop_destroy(loop);
    for (int i = 0; i < 2; i++)
        close(readers[i].far);
    return 0;
}

static void say(const struct reader *reader, const char *text)
{
    assert_int_equal(send(reader->far, text, strlen(text), 0), (ssize_t)strlen(text));
}

static void end_one(struct reader *reader)
{
    reader->under_way--;
    mf_conn_in_flight(reader->conn, -1, 100);
}

static void turns(unsigned count)
{
    while (count-- > 0)
        ev_run(loop, EVRUN_NOWAIT);
}

static void a_message_that_has_to_wait_is_offered_again(void **state)
{
    (void)state;
    struct reader *reader = &readers[0];
    say(reader, "asswb");
    turns(4);
    assert_string_equal(reader->taken, "ass");
    say(reader, "c");
    assert_int_equal(shutdown(reader->far, SHUT_WR), 0); // what was sent before it is still read
    turns(4);
    end_one(reader);
    turns(4);
    assert_string_equal(reader->taken, "ass"); // one is still under way
    end_one(reader);
    turns(4);
    assert_string_equal(reader->taken, "asswbc");
    turns(4);
    assert_null(reader->conn);
}

// What is held is offered before the socket is looked at, whatever else the loop has to do.
static void its_end_is_behind_what_is_held(void **state)
{
    (void)state;
    struct reader *reader = &readers[0];
    ev_async wake;
    ev_async_init(&wake, on_wake);
    ev_async_start(loop, &wake);
    say(reader, "swb");
    assert_int_equal(shutdown(reader->far, SHUT_WR), 0);
    turns(4);
    end_one(reader);
    for (int i = 0; i < 4; i++) { // another thread has something for us in every turn
        ev_async_send(loop, &wake);
        turns(1);
    }
    ev_async_stop(loop, &wake);
    assert_string_equal(reader->taken, "swb");
}

static void messages_that_wait_are_not_one_that_is_too_long(void **state)
{
    (void)state;
    struct reader *reader = &readers[0];
    char text[153] = "sw";
    memset(text + 2, 'a', 150); // with it more than input_max_bytes
    say(reader, text);
    turns(4);
    assert_string_equal(reader->taken, "s");
    end_one(reader);
    turns(4);
    assert_string_equal(reader->taken, text);
    assert_non_null(reader->conn);
}

static void who_yields_is_offered_the_rest_a_turn_later(void **state)
{
    (void)state;
    say(&readers[0], "yyy");
    say(&readers[1], "aaa");
    turns(1);
    assert_string_equal(readers[0].taken, "y");
    assert_string_equal(readers[1].taken, "aaa");
    turns(1);
    assert_string_equal(readers[0].taken, "yy");
    turns(4);
    assert_string_equal(readers[0].taken, "yyy");
    assert_non_null(readers[0].conn);
}

// Nothing more is read from who yields, and so not its end either.
static void its_end_is_behind_what_it_yields_before(void **state)
{
    (void)state;
    struct reader *reader = &readers[0];
    say(reader, "yyyyb");
    assert_int_equal(shutdown(reader->far, SHUT_WR), 0);
    turns(10);
    assert_string_equal(reader->taken, "yyyyb");
}

static void a_flush_comes_between_two_readers(void **state)
{
    (void)state;
    say(&readers[0], "f");
    say(&readers[1], "f");
    turns(4);
    const struct reader *closed = &readers[readers[0].conn == NULL ? 0 : 1];
    assert_null(closed->conn);
    assert_string_equal(closed->taken, ""); // it was readable, and is gone
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_message_that_has_to_wait_is_offered_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(its_end_is_behind_what_is_held, set_up, tear_down),
        cmocka_unit_test_setup_teardown(messages_that_wait_are_not_one_that_is_too_long, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(who_yields_is_offered_the_rest_a_turn_later, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(its_end_is_behind_what_it_yields_before, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_flush_comes_between_two_readers, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
