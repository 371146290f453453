// Peers that stand still in the middle of something.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "rpc/conn.h"

#define STALL_US 300000
#define ENDS 3

// A message is a line; 's' starts a request, 'b' is answered with more than a socket takes.
struct end {
    struct mf_conn *conn; // NULL when closed
    int far;
    char reason[80];
};

static struct ev_loop *loop;
static struct mf_conn_pool *pool;
static struct end ends[ENDS];

static enum mf_err on_data(void *arg, struct mf_conn *conn, struct mf_bytes input, size_t *used)
{
    (void)arg;
    const uint8_t *newline = memchr(input.data, '\n', input.len);
    if (newline == NULL)
        return MF_OK;
    if (input.data[0] == 's')
        mf_conn_in_flight(conn, 1, 1);
    if (input.data[0] == 'b') {
        size_t much = 4u << 20;
        memset(mf_buf_reserve(mf_conn_output(conn), much), 'x', much);
        mf_conn_output(conn)->len += much;
        mf_conn_wrote(conn);
    }
    *used = (size_t)(newline - input.data) + 1;
    return MF_OK;
}

static void on_closed(void *arg, struct mf_conn *conn, const char *reason)
{
    (void)conn;
    struct end *end = arg;
    end->conn = NULL;
    snprintf(end->reason, sizeof(end->reason), "%s", reason);
}

static int set_up(void **state)
{
    (void)state;
    static const struct mf_conn_ops ops = {.data = on_data, .closed = on_closed};
    const struct mf_conn_limits limits = {
        .input_max_bytes = 8 << 20, .output_pause_bytes = 1 << 20, .output_max_bytes = 16 << 20};
    loop = ev_loop_new(EVFLAG_AUTO);
    pool = mf_conn_pool_new(loop);
    for (int i = 0; i < ENDS; i++) {
        int fds[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        ends[i] = (struct end){.far = fds[1]};
        ends[i].conn = mf_conn_new(pool, fds[0], false, &limits, &ops, &ends[i]);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mf_conn_pool_free(pool);
    ev_loop_destroy(loop);
    for (int i = 0; i < ENDS; i++)
        close(ends[i].far);
    return 0;
}

static void say(struct end *end, const char *text)
{
    assert_int_equal(send(end->far, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static void turns(unsigned count)
{
    while (count-- > 0)
        ev_run(loop, EVRUN_NOWAIT);
}

static void run_until_closed(const struct end *end)
{
    while (end->conn != NULL)
        ev_run(loop, EVRUN_ONCE);
}

// Their bytes are there, and we have not read them.
static void who_speaks_while_we_stand_still_is_not_idle(void **state)
{
    (void)state;
    struct end *end = &ends[0];
    mf_conn_pool_idle_timeout(pool, 200000);
    say(end, "whole\n");
    turns(2);
    say(end, "s\n"); // in flight once it is read
    usleep(2500000);
    turns(3);
    assert_non_null(end->conn);
}

static void a_message_that_is_never_ended_ends_its_connection(void **state)
{
    (void)state;
    struct end *quiet = &ends[0];
    struct end *large = &ends[1];
    struct end *slow = &ends[2];
    say(quiet, "whole\n");
    static char most[64 * 1024 + 1];
    memset(most, 'm', sizeof(most) - 1);
    for (int i = 0; i < 16; i++) { // a MiB, for which it has a quarter of an hour
        say(large, most);
        turns(2);
    }
    say(slow, "whole\nbeg");
    turns(2);
    mf_conn_pool_stall_timeout(pool, STALL_US);
    for (int i = 0; i < 5 && slow->conn != NULL; i++) { // a byte now and then does not help it
        say(slow, "u");
        turns(1);
    }
    run_until_closed(slow);
    assert_string_equal(slow->reason, "a message was not ended in time");
    assert_non_null(quiet->conn);
    assert_non_null(large->conn);
}

static void what_waits_for_the_node_is_not_the_peers_delay(void **state)
{
    (void)state;
    struct end *waiting = &ends[0];
    struct end *slow = &ends[1];
    mf_conn_pool_stall_timeout(pool, STALL_US);
    say(waiting, "s\npart");
    turns(2);
    say(slow, "part");
    run_until_closed(slow);
    assert_non_null(waiting->conn);
    mf_conn_in_flight(waiting->conn, -1, 1);
    uint64_t since_us = mf_mono_us();
    run_until_closed(waiting); // from now on it is
    assert_true(mf_mono_us() - since_us >= STALL_US);
    assert_string_equal(waiting->reason, "a message was not ended in time");
}

static void a_peer_that_reads_nothing_is_closed_and_one_that_reads_is_not(void **state)
{
    (void)state;
    struct end *reader = &ends[0];
    struct end *deaf = &ends[1];
    say(reader, "b\n");
    turns(2);
    say(deaf, "b\n");
    turns(2);
    mf_conn_pool_stall_timeout(pool, STALL_US);
    static char sink[1 << 20];
    while (deaf->conn != NULL) {
        if (reader->conn != NULL && mf_conn_unsent_bytes(reader->conn) == 0)
            say(reader, "b\n");
        (void)!recv(reader->far, sink, sizeof(sink), MSG_DONTWAIT);
        ev_run(loop, EVRUN_ONCE);
    }
    assert_string_equal(deaf->reason, "the peer does not read what is sent to it");
    assert_non_null(reader->conn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_speaks_while_we_stand_still_is_not_idle, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_message_that_is_never_ended_ends_its_connection, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_waits_for_the_node_is_not_the_peers_delay, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            a_peer_that_reads_nothing_is_closed_and_one_that_reads_is_not, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
