// Addresses, and accepting connections on loopback.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "rpc/conn.h"

static struct ev_loop *loop;

static int set_up(void **state)
{
    (void)state;
    loop = ev_loop_new(EVFLAG_AUTO);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ev_loop_destroy(loop);
    return 0;
}

struct acceptance {
    unsigned count;
    int fds[256];
};

static void on_accepted(void *arg, int fd)
{
    struct acceptance *accepted = arg;
    accepted->fds[accepted->count++] = fd;
}

static struct mf_listener *start_listener(struct mf_address *address, struct acceptance *accepted)
{
    char message[256];
    assert_int_equal(mf_address_parse("127.0.0.1:0", address), MF_OK);
    int fd = mf_listen(address, message, sizeof(message));
    assert_true(fd >= 0);
    return mf_listener_new(loop, fd, on_accepted, accepted);
}

static void a_listener_hands_over_every_connection(void **state)
{
    (void)state;
    struct acceptance accepted = {0};
    struct mf_address address;
    int clients[200];
    struct mf_listener *listener = start_listener(&address, &accepted);
    for (int i = 0; i < 200; i++)
        clients[i] = mf_connect_start(&address);
    while (accepted.count < 200)
        ev_run(loop, EVRUN_ONCE);
    for (int i = 0; i < 200; i++) {
        assert_true((fcntl(accepted.fds[i], F_GETFL) & O_NONBLOCK) != 0);
        assert_true((fcntl(accepted.fds[i], F_GETFD) & FD_CLOEXEC) != 0);
        close(accepted.fds[i]);
        close(clients[i]);
    }
    mf_listener_free(listener);
}

static void stop_loop(struct ev_loop *unused, ev_timer *watcher, int revents)
{
    (void)watcher;
    (void)revents;
    ev_break(unused, EVBREAK_ALL);
}

// Without descriptors the watcher rests instead of spinning on a socket that stays readable; the
// connection is accepted once there is a descriptor again.
static void a_listener_out_of_descriptors_rests_and_recovers(void **state)
{
    (void)state;
    struct acceptance accepted = {0};
    struct mf_address address;
    struct mf_listener *listener = start_listener(&address, &accepted);
    int client = mf_connect_start(&address);
    while (accepted.count < 1)
        ev_run(loop, EVRUN_ONCE);
    int second = mf_connect_start(&address);
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit none = {.rlim_cur = (rlim_t)second + 1, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    mf_log_set_level(MF_ERROR);
    ev_timer stop;
    ev_timer_init(&stop, stop_loop, 0.05, 0.);
    ev_timer_start(loop, &stop);
    unsigned before_rest = ev_iteration(loop);
    ev_run(loop, 0);
    assert_true(ev_iteration(loop) - before_rest < 10);
    assert_int_equal(accepted.count, 1);
    mf_log_set_level(MF_INFO);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    while (accepted.count < 2)
        ev_run(loop, EVRUN_ONCE);
    close(accepted.fds[0]);
    close(accepted.fds[1]);
    close(client);
    close(second);
    mf_listener_free(listener);
}

static void addresses_are_read_strictly(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum mf_err err;
        const char *formatted;
    } cases[] = {
        {"127.0.0.1:7001", MF_OK, "127.0.0.1:7001"},
        {"0.0.0.0:0", MF_OK, "0.0.0.0:0"},
        {"127.0.0.1:65535", MF_OK, "127.0.0.1:65535"},
        {"[::1]:7001", MF_OK, "[::1]:7001"},
        {"[::]:1", MF_OK, "[::]:1"},
        {"localhost:5", MF_OK, "127.0.0.1:5"},
        {"127.0.0.1:65536", MF_BAD_REQUEST, ""},
        {"127.0.0.1:99999999999", MF_BAD_REQUEST, ""},
        {"127.0.0.1:", MF_BAD_REQUEST, ""},
        {"127.0.0.1", MF_BAD_REQUEST, ""},
        {"127.0.0.1:-1", MF_BAD_REQUEST, ""},
        {"127.0.0.1:+1", MF_BAD_REQUEST, ""},
        {"127.0.0.1: 1", MF_BAD_REQUEST, ""},
        {"127.0.0.1:1 ", MF_BAD_REQUEST, ""},
        {"127.0.0.1:0x10", MF_BAD_REQUEST, ""},
        {":7001", MF_BAD_REQUEST, ""},
        {"", MF_BAD_REQUEST, ""},
        {"::1:7001", MF_BAD_REQUEST, ""},
        {"[::1]7001", MF_BAD_REQUEST, ""},
        {"[::1]", MF_BAD_REQUEST, ""},
        {"[]:1", MF_BAD_REQUEST, ""},
        {"[127.0.0.1]:1", MF_BAD_REQUEST, ""},
        {"[::1:7001", MF_BAD_REQUEST, ""},
        {"no such host.invalid:1", MF_NOT_FOUND, ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct mf_address address;
        char formatted[300] = "";
        enum mf_err err = mf_address_parse(cases[i].text, &address);
        if (err == MF_OK)
            mf_address_format(&address, formatted, sizeof(formatted));
        if (err != cases[i].err)
            print_error("%s\n", cases[i].text);
        assert_int_equal(err, cases[i].err);
        assert_string_equal(formatted, cases[i].formatted);
    }
}

static void reactors_share_a_port_and_strangers_are_noticed(void **state)
{
    (void)state;
    char message[256];
    struct mf_address address;
    assert_int_equal(mf_address_parse("127.0.0.1:0", &address), MF_OK);
    assert_false(mf_address_in_use(&address));
    int first = mf_listen(&address, message, sizeof(message));
    assert_true(first >= 0);
    assert_int_not_equal(address.port, 0);
    assert_true(mf_address_in_use(&address));
    uint16_t port = address.port;
    int second = mf_listen(&address, message, sizeof(message));
    assert_true(second >= 0);
    assert_int_equal(address.port, port);
    close(first);
    close(second);
    assert_false(mf_address_in_use(&address));
}

static void a_listen_that_fails_names_the_address_and_the_reason(void **state)
{
    (void)state;
    char message[256];
    char expected[256];
    struct mf_address address;
    assert_int_equal(mf_address_parse("127.0.0.1:0", &address), MF_OK);
    // A socket that does not share its port is in the way.
    int plain = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(at);
    assert_int_equal(bind(plain, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(plain, 1), 0);
    assert_int_equal(getsockname(plain, (struct sockaddr *)&at, &size), 0);
    address.port = ntohs(at.sin_port);
    assert_int_equal(mf_listen(&address, message, sizeof(message)), -1);
    snprintf(expected, sizeof(expected), "cannot listen on 127.0.0.1:%u: Address already in use",
             (unsigned)address.port);
    assert_string_equal(message, expected);
    close(plain);
    struct mf_address elsewhere;
    assert_int_equal(mf_address_parse("192.0.2.1:1234", &elsewhere), MF_OK);
    assert_int_equal(mf_listen(&elsewhere, message, sizeof(message)), -1);
    assert_string_equal(message,
                        "cannot listen on 192.0.2.1:1234: Cannot assign requested address");
}

static void a_host_that_is_not_numeric_is_refused_without_a_look_up(void **state)
{
    (void)state;
    char message[256];
    struct mf_address name = {.host = "localhost", .port = 1};
    assert_int_equal(mf_connect_start(&name), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(mf_listen(&name, message, sizeof(message)), -1);
    assert_string_equal(message, "cannot listen on localhost:1: the host is not a numeric address");
    assert_false(mf_address_in_use(&name));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_listener_hands_over_every_connection),
        TEST(a_listener_out_of_descriptors_rests_and_recovers),
        TEST(addresses_are_read_strictly),
        TEST(reactors_share_a_port_and_strangers_are_noticed),
        TEST(a_listen_that_fails_names_the_address_and_the_reason),
        TEST(a_host_that_is_not_numeric_is_refused_without_a_look_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
