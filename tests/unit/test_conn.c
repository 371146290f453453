// Connections over socket pairs and loopback, on a real loop.
//
// The far ends are plain sockets that the test reads and writes between turns; a turn polls without
// waiting. The protocol spoken here is lines, and the first letter says what the near end does:
//   e  echo the line          b<n>  answer n bytes        q  leave a request in flight
//   x  answer "err", refuse   c     close                 g  close gracefully
//   f  echo and flush
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/conn_private.h"

#define IN_FLIGHT_MAX 3
#define LINES_MAX 8192
#define ENDS_MAX 100

// Both ends of one connection and what has happened to it.
struct end {
    struct mf_conn *conn;
    int far;
    uint32_t in_flight_max;
    unsigned lines;
    unsigned offers;
    unsigned closed;
    char reason[80];
    char last[32];
    bool inside; // a callback is running
};

static struct ev_loop *loop;
static struct mf_conn_pool *pool;
static struct mf_conn_limits limits;
// They outlive a test's function: the pool is freed, and calls `closed`, after it.
static struct end ends[ENDS_MAX];
static size_t end_count;

static void answer_bytes(struct mf_conn *conn, size_t count)
{
    struct mf_buf *out = mf_conn_output(conn);
    uint8_t *to = mf_buf_reserve(out, count);
    for (size_t i = 0; i < count; i++)
        to[i] = (uint8_t)('a' + i % 26);
    out->len += count;
    mf_conn_wrote(conn);
}

static enum mf_err obey(struct end *end, struct mf_conn *conn, struct mf_bytes line)
{
    switch (line.data[0]) {
    case 'b':
        answer_bytes(conn, strtoul((const char *)line.data + 1, NULL, 10));
        return MF_OK;
    case 'q':
        mf_conn_in_flight(conn, 1, end->in_flight_max);
        return MF_OK;
    case 'c':
        mf_conn_close(conn, "told to");
        return MF_OK;
    case 'g':
        mf_conn_close_gracefully(conn, "told to, gently");
        return MF_OK;
    case 'x':
        mf_buf_put(mf_conn_output(conn), "err\n", 4);
        mf_conn_wrote(conn);
        return MF_BAD_REQUEST;
    default:
        mf_buf_put(mf_conn_output(conn), line.data, line.len);
        mf_conn_wrote(conn);
        if (line.data[0] == 'f')
            mf_conn_flush(conn);
        return MF_OK;
    }
}

static enum mf_err on_data(void *arg, struct mf_conn *conn, struct mf_bytes input, size_t *used)
{
    struct end *end = arg;
    assert_false(end->inside);
    assert_int_equal(end->closed, 0);
    assert_true(input.len > 0);
    end->offers++;
    const uint8_t *newline = memchr(input.data, '\n', input.len);
    if (newline == NULL)
        return MF_OK;
    end->inside = true;
    size_t len = (size_t)(newline - input.data) + 1;
    end->lines++;
    snprintf(end->last, sizeof(end->last), "%.*s", (int)len - 1, (const char *)input.data);
    enum mf_err err = obey(end, conn, mf_bytes_of(input.data, len));
    *used = len;
    end->inside = false;
    return err;
}

static void on_closed(void *arg, struct mf_conn *conn, const char *reason)
{
    struct end *end = arg;
    assert_false(end->inside);
    assert_ptr_equal(mf_conn_arg(conn), end);
    snprintf(end->reason, sizeof(end->reason), "%s", reason);
    end->closed++;
    end->conn = NULL;
    // Late output and late calls of those that do not know yet are harmless.
    mf_buf_put(mf_conn_output(conn), "late", 4);
    mf_conn_wrote(conn);
    mf_conn_in_flight(conn, 1, 0);
    mf_conn_flush(conn);
    mf_conn_close(conn, "again");
}

static const struct mf_conn_ops ops = {.data = on_data, .closed = on_closed};

static int set_up(void **state)
{
    (void)state;
    end_count = 0;
    loop = ev_loop_new(EVFLAG_AUTO);
    pool = mf_conn_pool_new(loop);
    limits = (struct mf_conn_limits){
        .input_max_bytes = 1 << 20, .output_pause_bytes = 1 << 20, .output_max_bytes = 8 << 20};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mf_conn_pool_free(pool);
    ev_loop_destroy(loop);
    return 0;
}

static void turns(int count)
{
    for (int i = 0; i < count; i++)
        ev_run(loop, EVRUN_NOWAIT);
}

static struct end *new_end(void)
{
    assert_true(end_count < ENDS_MAX);
    ends[end_count] = (struct end){.in_flight_max = IN_FLIGHT_MAX};
    return &ends[end_count++];
}

// A type of SOCK_SEQPACKET keeps the bounds of each write visible to the far end.
static struct end *open_end(int type)
{
    int fds[2];
    struct end *end = new_end();
    assert_int_equal(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, fds), 0);
    end->far = fds[1];
    end->conn = mf_conn_new(pool, fds[0], false, &limits, &ops, end);
    return end;
}

static void say(const struct end *end, const char *text)
{
    assert_int_equal(send(end->far, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

// What one read gives; "" when there is nothing, NULL at the end of the stream.
static const char *hear(const struct end *end)
{
    static char heard[65536];
    ssize_t n = recv(end->far, heard, sizeof(heard) - 1, 0);
    if (n < 0)
        assert_int_equal(errno, EAGAIN);
    if (n == 0)
        return NULL;
    heard[n > 0 ? n : 0] = '\0';
    return heard;
}

static void a_line_is_echoed(void **state)
{
    (void)state;
    struct end *end = open_end(SOCK_STREAM);
    assert_int_equal(mf_conn_pool_count(pool), 1);
    assert_string_equal(mf_conn_peer_name(end->conn), "local");
    say(end, "e1\n");
    turns(2);
    assert_string_equal(hear(end), "e1\n");
    close(end->far);
    turns(3);
    assert_int_equal(end->closed, 1);
    assert_string_equal(end->reason, "closed by the peer");
    assert_int_equal(mf_conn_pool_count(pool), 0);
}

static void all_replies_of_a_turn_leave_in_one_write(void **state)
{
    (void)state;
    struct end *end = open_end(SOCK_SEQPACKET);
    say(end, "e1\ne2\ne3\n");
    turns(2);
    assert_string_equal(hear(end), "e1\ne2\ne3\n");
    assert_string_equal(hear(end), "");
    // A flush does not wait for the end of the turn.
    say(end, "e1\nf2\ne3\n");
    turns(2);
    assert_string_equal(hear(end), "e1\nf2\n");
    assert_string_equal(hear(end), "e3\n");
    close(end->far);
}

static void a_message_may_arrive_byte_by_byte(void **state)
{
    (void)state;
    struct end *end = open_end(SOCK_STREAM);
    static const char line[] = "echo\n";
    for (size_t i = 0; i + 1 < sizeof(line); i++) {
        assert_int_equal(send(end->far, line + i, 1, 0), 1);
        turns(2);
        assert_int_equal(end->offers, i + 1);
    }
    assert_string_equal(hear(end), "echo\n");
    close(end->far);
}

static void thousands_of_messages_in_one_read_are_answered_in_order(void **state)
{
    (void)state;
    static char sent[LINES_MAX * 8];
    size_t len = 0;
    struct end *end = open_end(SOCK_STREAM);
    for (unsigned i = 0; i < LINES_MAX; i++)
        len += (size_t)snprintf(sent + len, sizeof(sent) - len, "e%05u\n", i);
    assert_true(len < MF_CONN_SCRATCH_BYTES);
    say(end, sent);
    turns(2);
    assert_int_equal(end->lines, LINES_MAX);
    assert_string_equal(hear(end), sent);
    close(end->far);
}

// Reads `total` bytes in the pattern of answer_bytes, a little each turn.
static void read_pattern(const struct end *end, size_t total, size_t period, size_t step)
{
    static char part[65536];
    for (size_t got = 0; got < total;) {
        ssize_t n = recv(end->far, part, step, 0);
        if (n < 0) {
            assert_int_equal(errno, EAGAIN);
            turns(1);
            continue;
        }
        assert_true(n > 0);
        for (size_t i = 0; i < (size_t)n; i++)
            assert_int_equal(part[i], 'a' + (got + i) % period % 26);
        got += (size_t)n;
        turns(1);
    }
}

static void a_large_reply_reaches_a_slow_reader_whole(void **state)
{
    (void)state;
    const size_t total = 4 << 20;
    struct end *end = open_end(SOCK_STREAM);
    say(end, "b4194304\n");
    turns(2);
    assert_true(mf_conn_unsent_bytes(end->conn) > 0);
    assert_true(mf_conn_unsent_bytes(end->conn) < total);
    read_pattern(end, total, total, 7001);
    assert_int_equal(mf_conn_unsent_bytes(end->conn), 0);
    say(end, "e\n");
    turns(2);
    assert_string_equal(hear(end), "e\n");
    close(end->far);
}

static void a_peer_that_does_not_read_is_paused_and_goes_on_later(void **state)
{
    (void)state;
    limits.output_pause_bytes = 1000;
    struct end *end = open_end(SOCK_STREAM);
    for (int i = 0; i < 200; i++)
        say(end, "b100000\n");
    turns(50);
    unsigned taken = end->lines;
    assert_true(taken > 0 && taken < 10);
    // Not a reply more than the one that went over the bound is waiting->
    assert_true(mf_conn_unsent_bytes(end->conn) <= 1000 + 100000);
    turns(50);
    assert_int_equal(end->lines, taken);
    read_pattern(end, 200u * 100000, 100000, 60000);
    assert_int_equal(end->lines, 200);
    assert_int_equal(end->closed, 0);
    close(end->far);
}

static void a_peer_that_never_reads_is_dropped(void **state)
{
    (void)state;
    limits.output_max_bytes = 1 << 20;
    struct end *end = open_end(SOCK_STREAM);
    struct end *other = open_end(SOCK_STREAM);
    unsigned pushed = 0;
    for (; end->closed == 0 && pushed < 1000; pushed++) {
        answer_bytes(end->conn, 65536);
        turns(1);
    }
    assert_true(pushed > 16); // the socket's own buffer comes first
    assert_true(pushed < 100);
    assert_string_equal(end->reason, "the peer does not read what is sent to it");
    say(other, "e\n");
    turns(2);
    assert_string_equal(hear(other), "e\n");
    close(end->far);
    close(other->far);
}

static void input_waits_while_too_many_requests_are_in_flight(void **state)
{
    (void)state;
    struct end *end = open_end(SOCK_STREAM);
    say(end, "q1\nq2\nq3\nq4\nq5\nq6\n");
    turns(3);
    assert_string_equal(end->last, "q3");
    say(end, "q7\ne8\n");
    turns(3);
    assert_string_equal(end->last, "q3");
    for (unsigned i = 4; i <= 7; i++) {
        char expected[8];
        snprintf(expected, sizeof(expected), "q%u", i);
        mf_conn_in_flight(end->conn, -1, IN_FLIGHT_MAX);
        assert_int_equal(end->lines, i - 1); // never from within the call
        turns(3);
        assert_string_equal(end->last, expected);
        assert_int_equal(end->lines, i);
    }
    mf_conn_in_flight(end->conn, -3, IN_FLIGHT_MAX);
    turns(3);
    assert_string_equal(hear(end), "e8\n");
    close(end->far);
}

static void a_raised_bound_ends_the_pause(void **state)
{
    (void)state;
    struct end *end = open_end(SOCK_STREAM);
    say(end, "q1\nq2\nq3\nq4\n");
    turns(3);
    assert_int_equal(end->lines, 3);
    mf_conn_in_flight(end->conn, 0, 0);
    turns(3);
    assert_int_equal(end->lines, 4);
    close(end->far);
}

static void closing_inside_data_takes_effect_after_it(void **state)
{
    (void)state;
    struct end *end = open_end(SOCK_STREAM);
    say(end, "e1\nc\ne2\n");
    turns(3);
    assert_int_equal(end->lines, 2);
    assert_int_equal(end->closed, 1);
    assert_string_equal(end->reason, "told to");
    // Unsent output is not written any more; the peer may hear of its unread line instead.
    char byte;
    ssize_t n = recv(end->far, &byte, 1, 0);
    assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
    close(end->far);
}

static void a_graceful_close_writes_and_waits_first(void **state)
{
    (void)state;
    struct end *end = open_end(SOCK_STREAM);
    say(end, "e1\nq\ng\ne2\n");
    turns(5);
    assert_int_equal(end->lines, 3);
    assert_string_equal(hear(end), "e1\n");
    assert_string_equal(hear(end), "");
    assert_int_equal(end->closed, 0);
    mf_buf_put(mf_conn_output(end->conn), "q done\n", 7);
    mf_conn_wrote(end->conn);
    mf_conn_in_flight(end->conn, -1, IN_FLIGHT_MAX);
    turns(3);
    assert_int_equal(end->closed, 1);
    assert_string_equal(end->reason, "told to, gently");
    assert_string_equal(hear(end), "q done\n");
    assert_null(hear(end));
    close(end->far);
}

static void a_graceful_close_waits_for_a_slow_reader(void **state)
{
    (void)state;
    struct end *end = open_end(SOCK_STREAM);
    say(end, "b2000000\n");
    turns(2);
    mf_conn_close_gracefully(end->conn, "stopping");
    turns(5);
    assert_int_equal(end->closed, 0);
    read_pattern(end, 2000000, 2000000, 50000);
    turns(3);
    assert_int_equal(end->closed, 1);
    assert_null(hear(end));
    close(end->far);
}

static void a_peer_that_only_stops_sending_still_gets_its_replies(void **state)
{
    (void)state;
    struct end *end = open_end(SOCK_STREAM);
    say(end, "q\ne1\n");
    shutdown(end->far, SHUT_WR);
    turns(5);
    assert_string_equal(hear(end), "e1\n");
    assert_int_equal(end->closed, 0);
    mf_buf_put(mf_conn_output(end->conn), "q done\n", 7);
    mf_conn_wrote(end->conn);
    mf_conn_in_flight(end->conn, -1, IN_FLIGHT_MAX);
    turns(3);
    assert_string_equal(hear(end), "q done\n");
    assert_int_equal(end->closed, 1);
    assert_string_equal(end->reason, "closed by the peer");
    close(end->far);
}

static void writing_to_a_peer_that_is_gone_closes_quietly(void **state)
{
    (void)state;
    struct end *end = open_end(SOCK_STREAM);
    close(end->far);
    answer_bytes(end->conn, 10);
    mf_conn_flush(end->conn);
    assert_int_equal(end->closed, 0); // not below the caller's frame
    turns(2);
    assert_int_equal(end->closed, 1);
    assert_string_equal(end->reason, "Broken pipe");
}

static void an_unfinished_message_over_the_limit_is_refused(void **state)
{
    (void)state;
    limits.input_max_bytes = 100;
    struct end *end = open_end(SOCK_STREAM);
    static char line[102];
    memset(line, 'e', 100);
    say(end, line);
    turns(2);
    say(end, "\n"); // one at the limit is finished
    turns(2);
    assert_int_equal(end->lines, 1);
    assert_non_null(hear(end));
    memset(line, 'e', 101);
    say(end, line);
    turns(3);
    assert_null(hear(end));
    close(end->far);
    turns(3);
    assert_int_equal(end->closed, 1);
    assert_string_equal(end->reason, mf_err_text(MF_TOO_LARGE));
}

// A connected pair over TCP, where closing with unread input would reset the connection.
static struct end *open_tcp_end(void)
{
    char message[256];
    struct mf_address address;
    assert_int_equal(mf_address_parse("127.0.0.1:0", &address), MF_OK);
    int listening = mf_listen(&address, message, sizeof(message));
    assert_true(listening >= 0);
    struct end *end = new_end();
    end->far = mf_connect_start(&address);
    assert_true(end->far >= 0);
    (void)fcntl(listening, F_SETFL, 0);
    int near = accept(listening, NULL, NULL);
    assert_true(near >= 0);
    close(listening);
    end->conn = mf_conn_new(pool, near, false, &limits, &ops, end);
    return end;
}

static void a_refused_peer_reads_its_error_though_it_sent_more(void **state)
{
    (void)state;
    static char more[100000];
    struct end *end = open_tcp_end();
    assert_int_equal(strncmp(mf_conn_peer_name(end->conn), "127.0.0.1:", 10), 0);
    say(end, "e1\nx\ne2\n");
    turns(3);
    assert_int_equal(end->lines, 2);
    for (int i = 0; i < 20; i++) {
        memset(more, 'm', sizeof(more));
        assert_int_not_equal(send(end->far, more, sizeof(more), MSG_NOSIGNAL), 0);
        turns(3);
    }
    assert_string_equal(hear(end), "e1\nerr\n");
    assert_null(hear(end));
    assert_int_equal(end->closed, 0);
    close(end->far);
    for (int i = 0; i < 100000 && end->closed == 0; i++)
        turns(1);
    assert_int_equal(end->closed, 1);
    assert_int_equal(end->lines, 2);
    assert_string_equal(end->reason, mf_err_text(MF_BAD_REQUEST));
}

static void a_peer_that_resets_the_connection_is_told_as_the_reason(void **state)
{
    (void)state;
    struct end *end = open_tcp_end();
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(end->far, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
    close(end->far);
    turns(3);
    assert_int_equal(end->closed, 1);
    assert_string_equal(end->reason, "Connection reset by peer");
}

static void a_graceful_close_with_input_unread_does_not_reset_the_peer(void **state)
{
    (void)state;
    struct end *end = open_tcp_end();
    say(end, "q\nq\nq\n");
    turns(3);
    say(end, "never read\n"); // too many are in flight
    turns(3);
    mf_conn_close_gracefully(end->conn, "stopping");
    mf_buf_put(mf_conn_output(end->conn), "done\n", 5);
    mf_conn_wrote(end->conn);
    mf_conn_in_flight(end->conn, -3, IN_FLIGHT_MAX);
    turns(5);
    assert_int_equal(end->closed, 0);
    assert_string_equal(hear(end), "done\n");
    assert_null(hear(end));
    answer_bytes(end->conn, 1000); // too late: dropped
    turns(1);
    assert_null(end->conn->output.data);
    close(end->far);
    while (end->closed == 0)
        ev_run(loop, EVRUN_ONCE);
    assert_string_equal(end->reason, "stopping");
}

static void an_idle_connection_owns_no_buffers(void **state)
{
    (void)state;
    static char line[400001];
    struct end *end = open_end(SOCK_STREAM);
    say(end, "e1\n");
    turns(2);
    assert_null(end->conn->input.data);
    // A large message grows the buffer by what comes, and takes it away when it goes.
    memset(line, 'e', sizeof(line) - 1);
    line[sizeof(line) - 4] = '\n'; // and two bytes of the next
    size_t sent = 0;
    while (sent < sizeof(line) - 1) {
        ssize_t n = send(end->far, line + sent, sizeof(line) - 1 - sent, 0);
        if (n > 0)
            sent += (size_t)n;
        turns(1);
        assert_true(end->conn->input.cap <= 2 * sent + 64);
    }
    turns(10);
    assert_int_equal(end->lines, 2);
    assert_int_equal(end->conn->input.len, 2);
    assert_true(end->conn->input.cap <= 16384);
    say(end, "\n");
    turns(2);
    assert_int_equal(end->lines, 3);
    for (size_t got = 0; got < sizeof(line) + 3;) {
        got += strlen(hear(end));
        turns(1);
    }
    assert_int_equal(mf_conn_unsent_bytes(end->conn), 0);
    assert_true(end->conn->output.cap <= 16384);
    close(end->far);
}

static void quiet_connections_are_closed_and_waiting_ones_are_not(void **state)
{
    (void)state;
    struct end *waiting = open_end(SOCK_STREAM);
    struct end *quiet = open_end(SOCK_STREAM);
    say(waiting, "q\n");
    turns(2);
    mf_conn_pool_idle_timeout(pool, 20000);
    while (quiet->closed == 0)
        ev_run(loop, EVRUN_ONCE);
    assert_string_equal(quiet->reason, "idle for too long");
    assert_int_equal(waiting->closed, 0);
    mf_conn_in_flight(waiting->conn, -1, IN_FLIGHT_MAX);
    while (waiting->closed == 0)
        ev_run(loop, EVRUN_ONCE);
    close(quiet->far);
    close(waiting->far);
}

static void on_prepare(struct ev_loop *unused, ev_prepare *watcher, int revents)
{
    (void)unused;
    (void)revents;
    struct end *end = watcher->data;
    ev_prepare_stop(loop, watcher);
    mf_buf_put(mf_conn_output(end->conn), "p\n", 2);
    mf_conn_wrote(end->conn);
}

// Whatever order prepare watchers run in, the loop does not sleep on unsent output; and but for
// those that insist on being last, it leaves together with what the turn made before.
static void output_made_just_before_the_loop_sleeps_is_sent_first(void **state)
{
    (void)state;
    static const int priorities[] = {EV_MAXPRI, 0, EV_MINPRI};
    for (size_t i = 0; i < 2 * sizeof(priorities) / sizeof(*priorities); i++) {
        ev_prepare prepare;
        struct end *end = open_end(SOCK_SEQPACKET);
        say(end, "e\n");
        turns(1);
        assert_int_equal(end->lines, 1);
        ev_prepare_init(&prepare, on_prepare);
        ev_set_priority(&prepare, priorities[i / 2]);
        prepare.data = end;
        ev_prepare_start(loop, &prepare);
        if (i % 2 == 1) { // behind the pool's own watcher in the list, then before it
            ev_prepare_stop(loop, &pool->end_of_turn);
            ev_prepare_start(loop, &pool->end_of_turn);
        }
        turns(1);
        const char *heard = hear(end);
        if (priorities[i / 2] > EV_MINPRI || strlen(heard) > 2) {
            assert_string_equal(heard, "e\np\n");
        } else {
            assert_string_equal(heard, "e\n");
            assert_string_equal(hear(end), "p\n");
        }
        close(end->far);
        turns(3);
    }
}

static struct end *victim;

static void close_the_other(void *arg, struct mf_conn *conn, const char *reason)
{
    on_closed(arg, conn, reason);
    if (victim != NULL && victim->conn != NULL) {
        answer_bytes(victim->conn, 3);
        mf_conn_close(victim->conn, "with its friend");
    }
}

static void one_connection_may_close_another_from_its_own_end(void **state)
{
    (void)state;
    static const struct mf_conn_ops chained = {.data = on_data, .closed = close_the_other};
    struct end *second = open_end(SOCK_STREAM);
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    struct end *first = new_end();
    first->far = fds[1];
    first->conn = mf_conn_new(pool, fds[0], false, &limits, &chained, first);
    victim = second;
    say(first, "c\n");
    turns(2);
    assert_int_equal(first->closed, 1);
    assert_int_equal(second->closed, 1);
    assert_string_equal(second->reason, "with its friend");
    victim = NULL;
    close(first->far);
    close(second->far);
}

static void freeing_the_pool_closes_everything_in_any_state(void **state)
{
    (void)state;
    struct end *many[100];
    static const char *const scripts[] = {"", "q\n", "g\n", "c\n", "x\n", "b3000000\n", "half"};
    for (size_t i = 0; i < 100; i++) {
        many[i] = open_end(SOCK_STREAM);
        const char *script = scripts[i % 7];
        if (*script != '\0')
            say(many[i], script);
        if (i == 50)
            turns(2);
    }
    mf_conn_pool_free(pool);
    pool = mf_conn_pool_new(loop);
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(many[i]->closed, 1);
        close(many[i]->far);
    }
}

static void output_given_while_connecting_arrives_once_connected(void **state)
{
    (void)state;
    char message[256];
    char text[64] = "";
    struct mf_address address;
    assert_int_equal(mf_address_parse("127.0.0.1:0", &address), MF_OK);
    int listening = mf_listen(&address, message, sizeof(message));
    struct end *end = new_end();
    end->conn = mf_conn_new(pool, mf_connect_start(&address), true, &limits, &ops, end);
    mf_buf_put(mf_conn_output(end->conn), "hello", 5);
    mf_conn_wrote(end->conn);
    (void)fcntl(listening, F_SETFL, 0);
    end->far = accept(listening, NULL, NULL);
    while (mf_conn_unsent_bytes(end->conn) > 0)
        ev_run(loop, EVRUN_ONCE);
    assert_int_equal(recv(end->far, text, sizeof(text), 0), 5);
    assert_string_equal(text, "hello");
    mf_address_format(&address, text, sizeof(text));
    assert_string_equal(mf_conn_peer_name(end->conn), text);
    close(end->far);
    close(listening);
}

static void a_refused_connect_is_told_as_the_reason(void **state)
{
    (void)state;
    char message[256];
    struct mf_address address;
    assert_int_equal(mf_address_parse("127.0.0.1:0", &address), MF_OK);
    close(mf_listen(&address, message, sizeof(message)));
    struct end *end = new_end();
    end->conn = mf_conn_new(pool, mf_connect_start(&address), true, &limits, &ops, end);
    while (end->closed == 0)
        ev_run(loop, EVRUN_ONCE);
    assert_string_equal(end->reason, "Connection refused");
}

// The sweep is hastened by a short idle timeout, which concerns open connections only, and patience
// is ended by hand.
static void a_closing_peer_that_takes_nothing_is_given_up(void **state)
{
    (void)state;
    limits.output_pause_bytes = limits.output_max_bytes;
    struct end *draining = open_end(SOCK_STREAM);
    struct end *lingering = open_end(SOCK_STREAM);
    say(draining, "b3000000\ng\n");
    say(lingering, "x\n");
    turns(3);
    mf_conn_pool_idle_timeout(pool, 1);
    for (int i = 0; i < 3; i++)
        ev_run(loop, EVRUN_ONCE);
    assert_int_equal(draining->closed + lingering->closed, 0);
    draining->conn->give_up_us = 0;
    lingering->conn->give_up_us = 0;
    while (draining->closed + lingering->closed < 2)
        ev_run(loop, EVRUN_ONCE);
    assert_string_equal(draining->reason, "told to, gently");
    close(draining->far);
    close(lingering->far);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_line_is_echoed),
        TEST(all_replies_of_a_turn_leave_in_one_write),
        TEST(a_message_may_arrive_byte_by_byte),
        TEST(thousands_of_messages_in_one_read_are_answered_in_order),
        TEST(a_large_reply_reaches_a_slow_reader_whole),
        TEST(a_peer_that_does_not_read_is_paused_and_goes_on_later),
        TEST(a_peer_that_never_reads_is_dropped),
        TEST(input_waits_while_too_many_requests_are_in_flight),
        TEST(a_raised_bound_ends_the_pause),
        TEST(closing_inside_data_takes_effect_after_it),
        TEST(a_graceful_close_writes_and_waits_first),
        TEST(a_graceful_close_waits_for_a_slow_reader),
        TEST(a_peer_that_only_stops_sending_still_gets_its_replies),
        TEST(writing_to_a_peer_that_is_gone_closes_quietly),
        TEST(an_unfinished_message_over_the_limit_is_refused),
        TEST(a_refused_peer_reads_its_error_though_it_sent_more),
        TEST(a_peer_that_resets_the_connection_is_told_as_the_reason),
        TEST(a_graceful_close_with_input_unread_does_not_reset_the_peer),
        TEST(an_idle_connection_owns_no_buffers),
        TEST(a_closing_peer_that_takes_nothing_is_given_up),
        TEST(quiet_connections_are_closed_and_waiting_ones_are_not),
        TEST(output_made_just_before_the_loop_sleeps_is_sent_first),
        TEST(one_connection_may_close_another_from_its_own_end),
        TEST(freeing_the_pool_closes_everything_in_any_state),
        TEST(output_given_while_connecting_arrives_once_connected),
        TEST(a_refused_connect_is_told_as_the_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
