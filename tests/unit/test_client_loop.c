// libmayfly in somebody else's event loop: one descriptor, which is readable exactly when the
// client has something to do. Every test here works the client only when the descriptor says so.
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "fake_node.h"
#include "mayfly/client.h"
#include "rpc/client_internal.h"

// Only a test that fails waits so long.
#define LONG_MS 20000

static struct mayfly_client *client_with(const struct mayfly_client_options *options)
{
    struct mayfly_client *client = mayfly_client_new(options, NULL, 0);
    assert_non_null(client);
    return client;
}

static struct mayfly_client *client_of(const char *first, const char *second, uint32_t timeout_ms)
{
    char endpoints[128];
    snprintf(endpoints, sizeof endpoints, "%s%s%s", first, second != NULL ? "," : "",
             second != NULL ? second : "");
    struct mayfly_client_options options = {.endpoints = endpoints, .timeout_ms = timeout_ms};
    return client_with(&options);
}

struct tally {
    struct mayfly_client *client;
    int fd; // asked for once, as a loop does; -1 before
    int done;
    int failed;
    int again;                 // so many more are submitted from the callback ...
    struct mayfly_bytes value; // ... with this value, or the key for one
    enum mayfly_err err;
};

static bool is_readable(struct tally *tally, int wait_ms)
{
    if (tally->fd < 0)
        tally->fd = mayfly_client_fd(tally->client);
    struct pollfd fd = {.fd = tally->fd, .events = POLLIN};
    return poll(&fd, 1, wait_ms) == 1;
}

static void submit_set(struct tally *tally);

static void count_done(void *cookie, const struct mayfly_reply *reply)
{
    struct tally *tally = cookie;
    tally->done++;
    tally->failed += reply->err != MAYFLY_OK;
    tally->err = reply->err;
    if (tally->again > 0) {
        tally->again--;
        submit_set(tally);
    }
}

static void submit_set(struct tally *tally)
{
    struct mayfly_bytes key = mayfly_str("k");
    const struct mayfly_bytes *value = tally->value.len > 0 ? &tally->value : &key;
    struct mayfly_request set = {
        .method = MAYFLY_METHOD_SET, .keys = &key, .values = value, .count = 1};
    assert_int_equal(mayfly_submit(tally->client, &set, count_done, tally), MAYFLY_OK);
}

static void run_once(struct tally *tally)
{
    assert_true(is_readable(tally, LONG_MS));
    (void)mayfly_poll(tally->client, 0);
}

// What a loop does, until so many callbacks have run.
static void run_until(struct tally *tally, int done)
{
    while (tally->done < done)
        run_once(tally);
}

// What a loop does, until there is nothing more to do.
static void run_until_idle(struct tally *tally)
{
    while (is_readable(tally, 0))
        (void)mayfly_poll(tally->client, 0);
}

// What a test's nodes do: one script for all of them.
struct script {
    struct fake_store store;
    int requests;
    int die_at;
    int refusals;
    bool silent;
};

static enum fake_then play(void *arg, const struct fake_request *request, struct mf_buf *out)
{
    struct script *script = arg;
    if (script->silent)
        return FAKE_GO_ON;
    if (script->refusals > 0) {
        script->refusals--;
        fake_error(out, request->msgid, "BUSY", "for a test");
        return FAKE_GO_ON;
    }
    (void)fake_store_apply(&script->store, request);
    if (++script->requests == script->die_at)
        return FAKE_CLOSE;
    fake_reply(out, request->msgid);
    fake_map(out, 1);
    fake_str(out, "version");
    fake_int(out, 1);
    return FAKE_GO_ON;
}

static void it_is_readable_after_a_submit_and_not_when_all_is_done(void **state)
{
    (void)state;
    struct script script = {0};
    struct fake_node *node = fake_node_start(play, &script, (struct fake_options){0});
    struct tally tally = {.fd = -1, .client = client_of(fake_node_endpoint(node), NULL, LONG_MS)};
    assert_false(is_readable(&tally, 0));
    for (int batch = 1; batch <= 3; batch++) {
        for (int i = 0; i < 100; i++)
            submit_set(&tally);
        assert_true(is_readable(&tally, 0));
        run_until(&tally, batch * 100);
        run_until_idle(&tally);
        assert_int_equal(mayfly_client_fd(tally.client), tally.fd);
    }
    assert_int_equal(tally.failed, 0);
    mayfly_client_free(tally.client);
    fake_node_stop(node);
    assert_int_equal(script.store.count, 300);
    fake_store_free(&script.store);
}

static void what_was_submitted_before_anybody_asked_is_to_be_done(void **state)
{
    (void)state;
    struct script script = {0};
    struct fake_node *node = fake_node_start(play, &script, (struct fake_options){0});
    struct tally tally = {.fd = -1, .client = client_of(fake_node_endpoint(node), NULL, LONG_MS)};
    submit_set(&tally);
    assert_true(is_readable(&tally, 0));
    run_until(&tally, 1);
    // Nor does a blocking call in between leave anything behind.
    submit_set(&tally);
    assert_int_equal(mayfly_ping(tally.client), MAYFLY_OK);
    run_until(&tally, 2);
    run_until_idle(&tally);
    mayfly_client_free(tally.client);
    fake_node_stop(node);
    fake_store_free(&script.store);
}

static void a_submit_from_a_callback_wakes_the_loop(void **state)
{
    (void)state;
    struct script script = {0};
    struct fake_node *node = fake_node_start(play, &script, (struct fake_options){0});
    struct tally tally = {
        .fd = -1, .client = client_of(fake_node_endpoint(node), NULL, LONG_MS), .again = 200};
    submit_set(&tally);
    run_until(&tally, 201);
    assert_int_equal(tally.failed, 0);
    mayfly_client_free(tally.client);
    fake_node_stop(node);
    fake_store_free(&script.store);
}

static void a_submit_from_a_callback_is_sent_by_the_poll_that_runs_it(void **state)
{
    (void)state;
    struct script script = {0};
    struct fake_node *node = fake_node_start(play, &script, (struct fake_options){0});
    // No clock wakes this loop while the node answers.
    struct mayfly_client_options options = {
        .endpoints = fake_node_endpoint(node), .timeout_ms = LONG_MS, .silence_ms = LONG_MS};
    struct tally tally = {.fd = -1, .client = client_with(&options), .again = 1};
    submit_set(&tally);
    run_until(&tally, 1);
    assert_true(is_readable(&tally, LONG_MS));
    fake_lock();
    assert_int_equal(script.requests, 2);
    fake_unlock();
    run_until(&tally, 2);
    mayfly_client_free(tally.client);
    fake_node_stop(node);
    fake_store_free(&script.store);
}

static void a_submit_from_a_callback_that_does_not_fit_the_socket_goes_on_when_it_does(void **state)
{
    (void)state;
    struct script script = {0};
    struct fake_node *node = fake_node_start(play, &script, (struct fake_options){0});
    struct mayfly_client_options options = {
        .endpoints = fake_node_endpoint(node), .timeout_ms = LONG_MS, .silence_ms = LONG_MS};
    struct tally tally = {.fd = -1, .client = client_with(&options)};
    submit_set(&tally);
    run_until(&tally, 1);
    int little = 4096;
    assert_int_equal(setsockopt(tally.client->links[0]->transport.fd, SOL_SOCKET, SO_SNDBUF,
                                &little, sizeof little),
                     0);
    size_t much = 4u << 20;
    char *text = calloc(1, much);
    tally.again = 1;
    submit_set(&tally);
    tally.value = (struct mayfly_bytes){.data = text, .len = much};
    bool was_full = false;
    while (tally.done < 3) {
        run_once(&tally);
        const struct mf_link *link = tally.client->links[0];
        was_full = was_full || link->full;
        assert_true(!link->full || (link->interest & EPOLLOUT) != 0);
    }
    assert_true(was_full);
    assert_int_equal(tally.failed, 0);
    mayfly_client_free(tally.client);
    fake_node_stop(node);
    fake_store_free(&script.store);
    free(text);
}

static void retries_and_deadlines_wake_the_loop(void **state)
{
    (void)state;
    struct script script = {.refusals = 3};
    struct fake_node *node = fake_node_start(play, &script, (struct fake_options){0});
    struct tally tally = {.fd = -1, .client = client_of(fake_node_endpoint(node), NULL, LONG_MS)};
    submit_set(&tally);
    run_until(&tally, 1);
    assert_int_equal(tally.err, MAYFLY_OK);
    fake_lock();
    script.silent = true;
    fake_unlock();
    // This thread may stand still for so long that nothing is sent in time.
    tally.err = MAYFLY_ERR_UNREACHABLE;
    for (uint32_t ms = 30; tally.err == MAYFLY_ERR_UNREACHABLE && ms < LONG_MS; ms *= 2) {
        mayfly_client_set_timeout(tally.client, ms);
        submit_set(&tally);
        run_until(&tally, tally.done + 1);
    }
    assert_int_equal(tally.err, MAYFLY_ERR_TIMEOUT);
    mayfly_client_free(tally.client);
    fake_node_stop(node);
    fake_store_free(&script.store);
}

static void without_any_node_the_loop_is_woken_for_the_deadline(void **state)
{
    (void)state;
    struct fake_port port = fake_port_taken();
    struct tally tally = {.fd = -1, .client = client_of(port.endpoint, NULL, 50)};
    submit_set(&tally);
    run_until(&tally, 1);
    assert_int_equal(tally.err, MAYFLY_ERR_UNREACHABLE);
    run_until_idle(&tally);
    mayfly_client_free(tally.client);
    fake_port_free(&port);
}

static void a_node_that_dies_is_left_without_a_call_from_outside(void **state)
{
    (void)state;
    struct script script = {.die_at = 50};
    struct fake_node *a = fake_node_start(play, &script, (struct fake_options){0});
    struct fake_node *b = fake_node_start(play, &script, (struct fake_options){0});
    struct tally tally = {
        .fd = -1, .client = client_of(fake_node_endpoint(a), fake_node_endpoint(b), LONG_MS)};
    for (int i = 0; i < 100; i++)
        submit_set(&tally);
    run_until(&tally, 100);
    assert_int_equal(tally.failed, 0);
    assert_string_equal(mayfly_client_endpoint(tally.client), fake_node_endpoint(b));
    // The end of an idle connection is taken note of once, and is no reason to spin.
    fake_node_stop(b);
    assert_true(is_readable(&tally, LONG_MS));
    run_until_idle(&tally);
    assert_string_equal(mayfly_client_endpoint(tally.client), "");
    mayfly_client_free(tally.client);
    fake_node_stop(a);
    assert_int_equal(script.store.count, 100);
    fake_store_free(&script.store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_readable_after_a_submit_and_not_when_all_is_done),
        cmocka_unit_test(what_was_submitted_before_anybody_asked_is_to_be_done),
        cmocka_unit_test(a_submit_from_a_callback_wakes_the_loop),
        cmocka_unit_test(a_submit_from_a_callback_is_sent_by_the_poll_that_runs_it),
        cmocka_unit_test(
            a_submit_from_a_callback_that_does_not_fit_the_socket_goes_on_when_it_does),
        cmocka_unit_test(retries_and_deadlines_wake_the_loop),
        cmocka_unit_test(without_any_node_the_loop_is_woken_for_the_deadline),
        cmocka_unit_test(a_node_that_dies_is_left_without_a_call_from_outside),
    };
    return cmocka_run_group_tests_name("client_loop", tests, NULL, NULL);
}
