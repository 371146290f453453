// A far machine from which nothing comes back, not even that it has what was sent.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/conn.h"

struct near_end {
    struct mf_conn *conn;
    char reason[80]; // empty while it is open
};

static enum mf_err on_data(void *arg, struct mf_conn *conn, struct mf_bytes input, size_t *used)
{
    (void)arg;
    (void)conn;
    *used = input.len;
    return MF_OK;
}

static void on_closed(void *arg, struct mf_conn *conn, const char *reason)
{
    (void)conn;
    struct near_end *end = arg;
    snprintf(end->reason, sizeof(end->reason), "%s", reason);
}

static void what_nobody_takes_for_too_long_ends_the_connection(void **state)
{
    (void)state;
    static const struct mf_conn_ops ops = {.data = on_data, .closed = on_closed};
    const struct mf_conn_limits limits = {
        .input_max_bytes = 1 << 20, .output_pause_bytes = SIZE_MAX, .output_max_bytes = SIZE_MAX};
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    struct mf_conn_pool *pool = mf_conn_pool_new(loop);
    char message[256];
    struct mf_address address;
    assert_int_equal(mf_address_parse("127.0.0.1:0", &address), MF_OK);
    int listening = mf_listen(&address, message, sizeof(message));
    struct near_end end = {0};
    end.conn = mf_conn_new(pool, mf_connect_start(&address), true, &limits, &ops, &end);
    mf_conn_patience(end.conn, 100 * 1000);
    (void)fcntl(listening, F_SETFL, 0);
    int far = accept(listening, NULL, NULL); // and never reads
    size_t much = 32u << 20;
    struct mf_buf *out = mf_conn_output(end.conn);
    memset(mf_buf_reserve(out, much), 'x', much);
    out->len += much;
    mf_conn_wrote(end.conn);
    while (end.reason[0] == '\0')
        ev_run(loop, EVRUN_ONCE);
    assert_string_equal(end.reason, "Connection timed out");
    close(far);
    close(listening);
    mf_conn_pool_free(pool);
    ev_loop_destroy(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_nobody_takes_for_too_long_ends_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
