// A reader that leaves a whole message in the buffer until a request under way has ended.
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

// 's' starts a request, 'w' waits for all of them, anything else is taken as it is.
struct reader {
    struct mf_conn *conn;
    unsigned under_way;
    char taken[32];
};

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

static void turns(struct ev_loop *loop)
{
    for (int i = 0; i < 4; i++)
        ev_run(loop, EVRUN_NOWAIT);
}

static void a_message_that_has_to_wait_is_offered_again(void **state)
{
    (void)state;
    static const struct mf_conn_ops ops = {.data = on_data, .closed = on_closed};
    const struct mf_conn_limits limits = {
        .input_max_bytes = 1 << 20, .output_pause_bytes = 1 << 20, .output_max_bytes = 8 << 20};
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    struct mf_conn_pool *pool = mf_conn_pool_new(loop);
    struct reader reader = {0};
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    reader.conn = mf_conn_new(pool, ends[0], false, &limits, &ops, &reader);
    assert_int_equal(send(ends[1], "asswb", 5, 0), 5);
    turns(loop);
    assert_string_equal(reader.taken, "ass");
    assert_int_equal(send(ends[1], "c", 1, 0), 1);
    assert_int_equal(shutdown(ends[1], SHUT_WR), 0); // what was sent before it is still read
    turns(loop);
    reader.under_way--;
    mf_conn_in_flight(reader.conn, -1, 100);
    turns(loop);
    assert_string_equal(reader.taken, "ass"); // one is still under way
    reader.under_way--;
    mf_conn_in_flight(reader.conn, -1, 100);
    turns(loop);
    assert_string_equal(reader.taken, "asswbc");
    turns(loop);
    assert_null(reader.conn);
    close(ends[1]);
    mf_conn_pool_free(pool);
    ev_loop_destroy(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_that_has_to_wait_is_offered_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
