// libmayfly when nodes die, hang, refuse, or talk nonsense: what is sent again, what is applied,
// what the caller is told. Time is moved by hand: handlers push the client's clock forward.
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "fake_node.h"
#include "mayfly/client.h"
#include "rpc/client_internal.h"

#define SECOND_US UINT64_C(1000000)
#define MINUTE_US (60 * SECOND_US)

// How far the clients' clock is ahead of the real one. Relaxed: it orders nothing.
static atomic_uint_fast64_t ahead_us;

// A clock that only handlers and tests move.
static uint64_t stopped_clock(void)
{
    return SECOND_US + atomic_load_explicit(&ahead_us, memory_order_relaxed);
}

static uint64_t test_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000 +
           atomic_load_explicit(&ahead_us, memory_order_relaxed);
}

static void pass_time(uint64_t us)
{
    atomic_fetch_add_explicit(&ahead_us, us, memory_order_relaxed);
}

// A client of up to three endpoints with all the time in the world.
static struct mayfly_client *client_of(const char *first, const char *second, const char *third)
{
    char endpoints[128];
    snprintf(endpoints, sizeof endpoints, "%s%s%s%s%s", first, second != NULL ? "," : "",
             second != NULL ? second : "", third != NULL ? "," : "", third != NULL ? third : "");
    struct mayfly_client_options options = {
        .endpoints = endpoints, .timeout_ms = 30 * 60 * 1000, .silence_ms = 60000};
    struct mayfly_client *client = mayfly_client_new(&options, NULL, 0);
    assert_non_null(client);
    client->clock_us = test_clock;
    return client;
}

static enum mayfly_err set_one(struct mayfly_client *client)
{
    return mayfly_set(client, mayfly_str("k"), mayfly_str("v"), NULL, NULL);
}

// What a test's nodes do: one script for all of them, counting requests over all.
struct script {
    struct fake_store store;
    int requests;
    int die_at;          // closes, with this request applied and unanswered; 0 = never
    const char *refusal; // code of the error to answer with
    int refusals;        // so many times
    uint64_t pass_us;    // before each refusal or death
    uint8_t last_id[64];
    int other_ids; // retries whose id was not the one before
};

static void answer_set(const struct fake_request *request, struct mf_buf *out)
{
    fake_reply(out, request->msgid);
    fake_map(out, 1);
    fake_str(out, "version");
    fake_int(out, 1);
}

static enum fake_then play(void *arg, const struct fake_request *request, struct mf_buf *out)
{
    struct script *script = arg;
    script->requests++;
    if (script->requests > 1 && memcmp(script->last_id, request->id, sizeof request->id) != 0)
        script->other_ids++;
    memcpy(script->last_id, request->id, sizeof request->id);
    if (script->refusals > 0) {
        script->refusals--;
        pass_time(script->pass_us);
        fake_error(out, request->msgid, script->refusal, "for a test");
        return FAKE_GO_ON;
    }
    if (request->id_len > 0)
        (void)fake_store_apply(&script->store, request);
    if (script->requests == script->die_at) {
        pass_time(script->pass_us);
        return FAKE_CLOSE;
    }
    answer_set(request, out);
    return FAKE_GO_ON;
}

static struct fake_node *start(struct script *script)
{
    return fake_node_start(play, script, (struct fake_options){0});
}

static void a_write_whose_answer_was_lost_is_applied_once(void **state)
{
    (void)state;
    struct script script = {.die_at = 1};
    struct fake_node *a = start(&script);
    struct fake_node *b = start(&script);
    struct mayfly_client *client = client_of(fake_node_endpoint(a), fake_node_endpoint(b), NULL);
    assert_int_equal(set_one(client), MAYFLY_OK);
    assert_string_equal(mayfly_client_endpoint(client), fake_node_endpoint(b));
    mayfly_client_free(client);
    assert_int_equal(fake_node_stop(a), 1);
    assert_int_equal(fake_node_stop(b), 1);
    assert_int_equal(script.requests, 2);
    assert_int_equal(script.store.count, 1);
    assert_int_equal(script.store.repeats, 1);
    fake_store_free(&script.store);
}

static void a_single_node_that_comes_back_is_found_again(void **state)
{
    (void)state;
    struct script script = {.die_at = 1};
    struct fake_node *node = start(&script);
    struct mayfly_client *client = client_of(fake_node_endpoint(node), NULL, NULL);
    assert_int_equal(set_one(client), MAYFLY_OK);
    assert_int_equal(set_one(client), MAYFLY_OK);
    mayfly_client_free(client);
    assert_int_equal(fake_node_stop(node), 2);
    assert_int_equal(script.store.count, 2);
    fake_store_free(&script.store);
}

struct tally {
    int done;
    int failed;
    uint32_t resent;
};

static void count_done(void *cookie, const struct mayfly_reply *reply)
{
    struct tally *tally = cookie;
    tally->done++;
    tally->failed += reply->err != MAYFLY_OK;
    tally->resent += reply->attempts - 1;
}

// A node that applies everything, answers every second request only, and dies at die_at.
static enum fake_then half_answer(void *arg, const struct fake_request *request, struct mf_buf *out)
{
    struct script *script = arg;
    script->requests++;
    (void)fake_store_apply(&script->store, request);
    if (script->requests == script->die_at)
        return FAKE_CLOSE;
    if (script->die_at == 0 || script->requests > script->die_at || script->requests % 2 == 0)
        answer_set(request, out);
    return FAKE_GO_ON;
}

static void a_load_over_a_dying_node_applies_each_record_once(void **state)
{
    (void)state;
    struct script script = {.die_at = 137};
    struct fake_node *a = fake_node_start(half_answer, &script, (struct fake_options){0});
    struct fake_node *b = fake_node_start(half_answer, &script, (struct fake_options){0});
    struct mayfly_client *client = client_of(fake_node_endpoint(a), fake_node_endpoint(b), NULL);
    struct tally tally = {0};
    for (int i = 0; i < 1000; i++) {
        char name[16];
        snprintf(name, sizeof name, "key%d", i);
        struct mayfly_bytes key = mayfly_str(name);
        struct mayfly_request set = {
            .method = MAYFLY_METHOD_SET, .keys = &key, .values = &key, .count = 1};
        while (mayfly_pending(client) >= 100)
            (void)mayfly_poll(client, -1);
        assert_int_equal(mayfly_submit(client, &set, count_done, &tally), MAYFLY_OK);
    }
    mayfly_drain(client);
    assert_int_equal(tally.done, 1000);
    assert_int_equal(tally.failed, 0);
    assert_true(tally.resent > 0);
    mayfly_client_free(client);
    fake_node_stop(a);
    fake_node_stop(b);
    assert_int_equal(script.store.count, 1000);
    assert_true(script.store.repeats > 0);
    fake_store_free(&script.store);
}

static void refusals_that_pass_are_retried_with_the_same_id(void **state)
{
    (void)state;
    static const char *const codes[] = {"BUSY", "NO_QUORUM", "TIMEOUT", "SHUTTING_DOWN"};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        struct script script = {.refusal = codes[i], .refusals = 3};
        struct fake_node *node = start(&script);
        struct mayfly_client *client = client_of(fake_node_endpoint(node), NULL, NULL);
        assert_int_equal(set_one(client), MAYFLY_OK);
        mayfly_client_free(client);
        fake_node_stop(node);
        assert_int_equal(script.requests, 4);
        assert_int_equal(script.other_ids, 0);
        assert_int_equal(script.store.count, 1);
        fake_store_free(&script.store);
    }
}

static void different_writes_have_different_ids(void **state)
{
    (void)state;
    struct script script = {0};
    struct fake_node *node = start(&script);
    for (int c = 0; c < 3; c++) {
        struct mayfly_client *client = client_of(fake_node_endpoint(node), NULL, NULL);
        for (int i = 0; i < 20; i++)
            assert_int_equal(set_one(client), MAYFLY_OK);
        mayfly_client_free(client);
    }
    fake_node_stop(node);
    assert_int_equal(script.store.count, 60);
    assert_int_equal(script.store.repeats, 0);
    fake_store_free(&script.store);
}

static enum fake_then time_out_then_be_busy(void *arg, const struct fake_request *request,
                                            struct mf_buf *out)
{
    struct script *script = arg;
    if (script->requests++ > 0)
        pass_time(31 * MINUTE_US);
    fake_error(out, request->msgid, script->requests == 1 ? "TIMEOUT" : "BUSY", "for a test");
    return FAKE_GO_ON;
}

static void what_a_late_call_is_told_depends_on_what_could_have_happened(void **state)
{
    (void)state;
    static const struct {
        const char *refusal;
        enum mayfly_err err;
    } cases[] = {
        {"BUSY", MAYFLY_ERR_BUSY},
        {"NO_QUORUM", MAYFLY_ERR_NO_QUORUM},
        {"SHUTTING_DOWN", MAYFLY_ERR_SHUTTING_DOWN},
        {"TIMEOUT", MAYFLY_ERR_TIMEOUT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct script script = {
            .refusal = cases[i].refusal, .refusals = 1000, .pass_us = 31 * MINUTE_US};
        struct fake_node *node = start(&script);
        struct mayfly_client *client = client_of(fake_node_endpoint(node), NULL, NULL);
        assert_int_equal(set_one(client), cases[i].err);
        assert_non_null(strstr(mayfly_client_error(client), fake_node_endpoint(node)));
        mayfly_client_free(client);
        fake_node_stop(node);
    }
    // Once an attempt may have taken effect, a refusal of a later one does not undo it: neither
    // when the node said so, nor when it died.
    struct script unsure = {0};
    struct fake_node *node =
        fake_node_start(time_out_then_be_busy, &unsure, (struct fake_options){0});
    struct mayfly_client *client = client_of(fake_node_endpoint(node), NULL, NULL);
    assert_int_equal(set_one(client), MAYFLY_ERR_TIMEOUT);
    mayfly_client_free(client);
    fake_node_stop(node);
    struct script script = {.refusal = "BUSY", .refusals = 1000, .pass_us = 31 * MINUTE_US};
    struct script dying = {.die_at = 1};
    struct fake_node *a = start(&dying);
    struct fake_node *b = start(&script);
    client = client_of(fake_node_endpoint(a), fake_node_endpoint(b), NULL);
    assert_int_equal(set_one(client), MAYFLY_ERR_TIMEOUT);
    mayfly_client_free(client);
    fake_node_stop(a);
    fake_node_stop(b);
    fake_store_free(&dying.store);
}

static void a_write_is_never_sent_again_after_nine_minutes(void **state)
{
    (void)state;
    struct script script = {.die_at = 1, .pass_us = 9 * MINUTE_US + SECOND_US};
    struct fake_node *node = start(&script);
    struct mayfly_client *client = client_of(fake_node_endpoint(node), NULL, NULL);
    assert_int_equal(set_one(client), MAYFLY_ERR_TIMEOUT);
    mayfly_client_free(client);
    fake_node_stop(node);
    assert_int_equal(script.requests, 1);
    fake_store_free(&script.store);
    // Nor when it only rests after a refusal; then it is known that nothing happened.
    struct script busy = {.refusal = "BUSY", .refusals = 1, .pass_us = 9 * MINUTE_US};
    node = start(&busy);
    client = client_of(fake_node_endpoint(node), NULL, NULL);
    assert_int_equal(set_one(client), MAYFLY_ERR_BUSY);
    mayfly_client_free(client);
    fake_node_stop(node);
    assert_int_equal(busy.requests, 1);
    // A few seconds sooner it is sent again.
    struct script soon = {.die_at = 1, .pass_us = 8 * MINUTE_US};
    node = start(&soon);
    client = client_of(fake_node_endpoint(node), NULL, NULL);
    assert_int_equal(set_one(client), MAYFLY_OK);
    mayfly_client_free(client);
    fake_node_stop(node);
    assert_int_equal(soon.requests, 2);
    fake_store_free(&soon.store);
}

static enum fake_then die_then_answer_nil(void *arg, const struct fake_request *request,
                                          struct mf_buf *out)
{
    struct script *script = arg;
    if (++script->requests == script->die_at) {
        pass_time(script->pass_us);
        return FAKE_CLOSE;
    }
    fake_reply(out, request->msgid);
    fake_nil(out);
    return FAKE_GO_ON;
}

static void a_read_is_sent_again_however_old_it_is(void **state)
{
    (void)state;
    struct script script = {.die_at = 1, .pass_us = 20 * MINUTE_US};
    struct fake_node *node =
        fake_node_start(die_then_answer_nil, &script, (struct fake_options){0});
    struct mayfly_client *client = client_of(fake_node_endpoint(node), NULL, NULL);
    struct mayfly_entry entry;
    assert_int_equal(mayfly_get(client, mayfly_str("k"), NULL, &entry), MAYFLY_OK);
    mayfly_client_free(client);
    fake_node_stop(node);
    assert_int_equal(script.requests, 2);
}

static void connecting_fails_early_and_tells_all_that_was_tried(void **state)
{
    (void)state;
    struct fake_port a = fake_port_taken();
    struct fake_port b = fake_port_taken();
    struct mayfly_client *client = client_of(a.endpoint, b.endpoint, NULL);
    char expected[200];
    snprintf(expected, sizeof expected,
             "UNREACHABLE: no endpoint answers; tried %s (Connection refused), "
             "%s (Connection refused)",
             a.endpoint, b.endpoint);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(mayfly_client_connect(client), MAYFLY_ERR_UNREACHABLE);
        assert_string_equal(mayfly_client_error(client), expected);
        assert_string_equal(mayfly_client_endpoint(client), "");
    }
    mayfly_client_free(client);
    fake_port_free(&a);
    fake_port_free(&b);
}

static void endpoints_that_refuse_are_passed_over(void **state)
{
    (void)state;
    struct script script = {0};
    struct fake_port a = fake_port_taken();
    struct fake_port b = fake_port_taken();
    struct fake_node *node = start(&script);
    struct mayfly_client *client = client_of(a.endpoint, b.endpoint, fake_node_endpoint(node));
    assert_int_equal(mayfly_client_connect(client), MAYFLY_OK);
    assert_string_equal(mayfly_client_endpoint(client), fake_node_endpoint(node));
    assert_int_equal(set_one(client), MAYFLY_OK);
    mayfly_client_free(client);
    assert_int_equal(fake_node_stop(node), 1);
    fake_port_free(&a);
    fake_port_free(&b);
    fake_store_free(&script.store);
}

static void without_any_endpoint_a_call_ends_at_its_deadline_unsent(void **state)
{
    (void)state;
    struct fake_port port = fake_port_taken();
    struct mayfly_client *client = client_of(port.endpoint, NULL, NULL);
    mayfly_client_set_timeout(client, 1);
    assert_int_equal(set_one(client), MAYFLY_ERR_UNREACHABLE);
    assert_non_null(strstr(mayfly_client_error(client), "sent 0 times"));
    mayfly_client_free(client);
    fake_port_free(&port);
}

struct garbage {
    struct mf_bytes bytes;
    bool in_greeting;
    int sent;
};

static enum fake_then talk_nonsense(void *arg, const struct fake_request *request,
                                    struct mf_buf *out)
{
    struct garbage *garbage = arg;
    if (strcmp(request->method, "hello") == 0 && !garbage->in_greeting) {
        fake_reply(out, request->msgid);
        fake_map(out, 0);
        return FAKE_GO_ON;
    }
    garbage->sent++;
    mf_buf_put(out, garbage->bytes.data, garbage->bytes.len);
    return FAKE_GO_ON;
}

static void a_node_that_talks_nonsense_is_left_for_the_next(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } cases[] = {
        {"\xc1", 1},                              // never MessagePack
        {"HTTP/1.1 400 Bad Request\r\n\r\n", 28}, // positive fixints
        {"\x93\x01\x05\xc0", 4},                  // three elements, yet a response
        {"\x94\x02\x05\xc0\xc0", 5},              // four elements, yet not one
        {"\x94\x01\xa1x\xc0\xc0", 6},             // the msgid is text
        {"\x94\x01\xcf\x00\x00\x00\x01\x00\x00\x00\x00\xc0\xc0", 13}, // a msgid of 2^32
        {"\xdd\xff\xff\xff\xff", 5},                                  // an array of 2^32 - 1
        {"\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91", 18}, // deep
        {"\xa4pong", 5},
    };
    for (int in_greeting = 0; in_greeting < 2; in_greeting++) {
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            struct garbage garbage = {mf_bytes_of(cases[i].bytes, cases[i].len), in_greeting != 0,
                                      0};
            struct script script = {0};
            struct fake_node *a = fake_node_start(talk_nonsense, &garbage,
                                                  (struct fake_options){.raw_greeting = true});
            struct fake_node *b = start(&script);
            struct mayfly_client *client =
                client_of(fake_node_endpoint(a), fake_node_endpoint(b), NULL);
            assert_int_equal(set_one(client), MAYFLY_OK);
            assert_string_equal(mayfly_client_endpoint(client), fake_node_endpoint(b));
            mayfly_client_free(client);
            fake_node_stop(a);
            fake_node_stop(b);
            assert_int_equal(garbage.sent, 1);
            fake_store_free(&script.store);
        }
    }
}

static enum fake_then notify_and_answer(void *arg, const struct fake_request *request,
                                        struct mf_buf *out)
{
    (void)arg;
    // A notification, an answer to nothing, and then the answer.
    fake_array(out, 3);
    fake_int(out, 2);
    fake_str(out, "event");
    fake_array(out, 0);
    fake_reply(out, request->msgid ^ 0x10000u);
    fake_int(out, 666);
    fake_reply(out, request->msgid + 999);
    fake_int(out, 666);
    fake_reply(out, request->msgid);
    fake_int(out, 5);
    // And once more: the call is gone by then.
    fake_reply(out, request->msgid);
    fake_int(out, 666);
    return FAKE_GO_ON;
}

static void answers_to_nothing_and_notifications_are_passed_over(void **state)
{
    (void)state;
    struct fake_node *node = fake_node_start(notify_and_answer, NULL, (struct fake_options){0});
    struct mayfly_client *client = client_of(fake_node_endpoint(node), NULL, NULL);
    for (int i = 0; i < 10; i++) {
        uint64_t keys;
        assert_int_equal(mayfly_size(client, &keys), MAYFLY_OK);
        assert_int_equal(keys, 5);
    }
    mayfly_client_free(client);
    assert_int_equal(fake_node_stop(node), 1);
}

static enum fake_then answer_by_key(void *arg, const struct fake_request *request,
                                    struct mf_buf *out)
{
    static const char bytes[100000];
    (void)arg;
    fake_reply(out, request->msgid);
    if (strcmp(request->params, "['large']") == 0)
        fake_bin(out, bytes, sizeof bytes);
    else if (strcmp(request->params, "['many']") == 0)
        fake_array(out, UINT32_MAX);
    else
        fake_bin(out, "small", 5);
    return FAKE_GO_ON;
}

static void a_reply_over_the_limit_fails_only_its_own_call(void **state)
{
    (void)state;
    static const char *const keys[] = {"large", "many"};
    for (size_t i = 0; i < 2; i++) {
        struct fake_node *node = fake_node_start(answer_by_key, NULL, (struct fake_options){0});
        struct mayfly_client_options options = {.endpoints = fake_node_endpoint(node),
                                                .reply_bytes_max = 50000};
        struct mayfly_client *client = mayfly_client_new(&options, NULL, 0);
        struct mayfly_bytes small = mayfly_str("small");
        struct mayfly_request get = {.method = MAYFLY_METHOD_GET, .keys = &small, .count = 1};
        struct tally tally = {0};
        struct mayfly_entry entry;
        for (int before = 0; before < 5; before++)
            assert_int_equal(mayfly_submit(client, &get, count_done, &tally), MAYFLY_OK);
        assert_int_equal(mayfly_get(client, mayfly_str(keys[i]), NULL, &entry),
                         MAYFLY_ERR_TOO_LARGE);
        assert_string_equal(mayfly_client_error(client),
                            "TOO_LARGE: the reply is larger than 50000 bytes");
        for (int after = 0; after < 5; after++)
            assert_int_equal(mayfly_submit(client, &get, count_done, &tally), MAYFLY_OK);
        mayfly_drain(client);
        assert_int_equal(tally.done, 10);
        assert_int_equal(tally.failed, 0);
        assert_true(client->links[0]->in.cap < 1000000);
        mayfly_client_free(client);
        fake_node_stop(node);
    }
}

// Says nothing to anything but the greeting, and lets the client's patience run out.
static enum fake_then be_silent(void *arg, const struct fake_request *request, struct mf_buf *out)
{
    struct script *script = arg;
    (void)out;
    if (strcmp(request->method, "ping") == 0)
        script->refusals++;
    pass_time(60 * SECOND_US);
    return FAKE_GO_ON;
}

static void a_silent_node_is_asked_and_then_left(void **state)
{
    (void)state;
    struct script silent = {0};
    struct script script = {0};
    struct fake_node *a =
        fake_node_start(be_silent, &silent, (struct fake_options){.raw_ping = true});
    struct fake_node *b = start(&script);
    struct mayfly_client *client = client_of(fake_node_endpoint(a), fake_node_endpoint(b), NULL);
    client->silence_ms = 50; // real waiting is short; the clock makes it longer
    assert_int_equal(set_one(client), MAYFLY_OK);
    assert_string_equal(mayfly_client_endpoint(client), fake_node_endpoint(b));
    assert_non_null(strstr(client->links[0]->endpoints[0].why, "no sign of life"));
    mayfly_client_free(client);
    fake_node_stop(a);
    fake_node_stop(b);
    fake_store_free(&script.store);
}

// Answers a get only when five pings have come after it.
struct slow {
    uint32_t msgid;
    int pings;
};

static enum fake_then answer_after_pings(void *arg, const struct fake_request *request,
                                         struct mf_buf *out)
{
    struct slow *slow = arg;
    if (strcmp(request->method, "ping") != 0) {
        slow->msgid = request->msgid;
        return FAKE_GO_ON;
    }
    fake_reply(out, request->msgid);
    fake_str(out, "pong");
    if (++slow->pings == 5) {
        fake_reply(out, slow->msgid);
        fake_nil(out);
    }
    return FAKE_GO_ON;
}

static void a_slow_node_that_shows_life_is_waited_for(void **state)
{
    (void)state;
    struct slow slow = {0};
    struct fake_node *node =
        fake_node_start(answer_after_pings, &slow, (struct fake_options){.raw_ping = true});
    struct mayfly_client *client = client_of(fake_node_endpoint(node), NULL, NULL);
    struct mayfly_bytes key = mayfly_str("k");
    struct mayfly_request get = {.method = MAYFLY_METHOD_GET, .keys = &key, .count = 1};
    struct tally tally = {0};
    client->clock_us = stopped_clock;
    client->silence_ms = 1000;
    assert_int_equal(mayfly_client_connect(client), MAYFLY_OK);
    assert_int_equal(mayfly_submit(client, &get, count_done, &tally), MAYFLY_OK);
    while (tally.done == 0) {
        (void)mayfly_poll(client, 0);
        // Time goes on only while no ping waits for its answer.
        if (client->links[0]->sent.head != NULL && !client->links[0]->asked)
            pass_time(SECOND_US);
    }
    assert_int_equal(tally.failed, 0);
    assert_int_equal(tally.resent, 0);
    mayfly_client_free(client);
    assert_int_equal(fake_node_stop(node), 1);
    assert_int_equal(slow.pings, 5);
}

static enum fake_then answer_five(void *arg, const struct fake_request *request, struct mf_buf *out)
{
    (void)arg;
    fake_reply(out, request->msgid);
    fake_int(out, 5);
    return FAKE_GO_ON;
}

static void a_node_is_not_blamed_for_a_caller_who_was_away(void **state)
{
    (void)state;
    struct fake_node *node = fake_node_start(answer_five, NULL, (struct fake_options){0});
    struct mayfly_client *client = client_of(fake_node_endpoint(node), NULL, NULL);
    struct mayfly_request size = {.method = MAYFLY_METHOD_SIZE};
    struct tally tally = {0};
    client->clock_us = stopped_clock;
    client->silence_ms = 500;
    assert_int_equal(mayfly_submit(client, &size, count_done, &tally), MAYFLY_OK);
    // Away for a minute and a half whenever something has arrived: connected, greeted, answered;
    // in the end the answer is taken although its deadline has passed.
    for (int i = 0; i < 20 && tally.done == 0; i++) {
        struct mf_link *link = client->links[0];
        struct pollfd arrived = {.fd = link->transport.fd, .events = POLLIN};
        if (link->state == MF_LINK_CONNECTING)
            arrived.events = POLLOUT;
        bool nothing_out = link->state == MF_LINK_GREETING ? link->greeting.head != NULL
                                                           : client->links[0]->sent.head == NULL;
        if (link->state == MF_LINK_CONNECTING || !nothing_out)
            assert_int_equal(poll(&arrived, 1, -1), 1);
        pass_time(client->links[0]->sent.head != NULL ? 31 * MINUTE_US : 90 * SECOND_US);
        (void)mayfly_poll(client, 0);
    }
    assert_int_equal(tally.done, 1);
    assert_int_equal(tally.failed, 0);
    assert_int_equal(tally.resent, 0);
    mayfly_client_free(client);
    assert_int_equal(fake_node_stop(node), 1);
}

static enum fake_then answer_after_ping(void *arg, const struct fake_request *request,
                                        struct mf_buf *out)
{
    struct slow *slow = arg;
    if (strcmp(request->method, "ping") != 0) {
        slow->msgid = request->msgid;
        return FAKE_GO_ON;
    }
    slow->pings++;
    fake_reply(out, slow->msgid);
    fake_int(out, 5);
    return FAKE_GO_ON;
}

static void a_node_is_asked_before_it_is_given_up_however_late_it_is(void **state)
{
    (void)state;
    struct slow slow = {0};
    struct fake_node *node =
        fake_node_start(answer_after_ping, &slow, (struct fake_options){.raw_ping = true});
    struct mayfly_client *client = client_of(fake_node_endpoint(node), NULL, NULL);
    struct mayfly_request size = {.method = MAYFLY_METHOD_SIZE};
    struct tally tally = {0};
    client->clock_us = stopped_clock;
    assert_int_equal(mayfly_client_connect(client), MAYFLY_OK);
    assert_int_equal(mayfly_submit(client, &size, count_done, &tally), MAYFLY_OK);
    (void)mayfly_poll(client, 0);
    assert_non_null(client->links[0]->sent.head);
    pass_time(10 * MINUTE_US);
    mayfly_drain(client);
    assert_int_equal(tally.failed, 0);
    assert_int_equal(tally.resent, 0);
    mayfly_client_free(client);
    assert_int_equal(fake_node_stop(node), 1);
    assert_int_equal(slow.pings, 1);
}

static enum fake_then refuse_password(void *arg, const struct fake_request *request,
                                      struct mf_buf *out)
{
    char *hello = arg;
    snprintf(hello, 256, "%.255s", request->params);
    fake_error(out, request->msgid, "UNAUTHORIZED", "wrong password");
    return FAKE_CLOSE;
}

static void a_wrong_password_is_told_at_once(void **state)
{
    (void)state;
    char hello[256] = "";
    struct fake_node *node =
        fake_node_start(refuse_password, hello, (struct fake_options){.raw_greeting = true});
    struct mayfly_client_options options = {
        .endpoints = fake_node_endpoint(node), .user = "u", .password = "p", .timeout_ms = 3600000};
    struct mayfly_client *client = mayfly_client_new(&options, NULL, 0);
    assert_int_equal(mayfly_client_connect(client), MAYFLY_ERR_UNAUTHORIZED);
    assert_int_equal(set_one(client), MAYFLY_ERR_UNAUTHORIZED);
    assert_string_equal(mayfly_client_error(client), "UNAUTHORIZED: wrong password");
    mayfly_client_free(client);
    fake_node_stop(node);
    assert_string_equal(hello,
                        "[{\"client\": \"libmayfly\", \"user\": \"u\", \"password\": \"p\"}]");
}

static void a_stopping_node_is_left_at_once(void **state)
{
    (void)state;
    struct script stopping = {.refusal = "SHUTTING_DOWN", .refusals = 1000};
    struct script script = {0};
    struct fake_node *a = start(&stopping);
    struct fake_node *b = start(&script);
    struct mayfly_client *client = client_of(fake_node_endpoint(a), fake_node_endpoint(b), NULL);
    assert_int_equal(set_one(client), MAYFLY_OK);
    mayfly_client_free(client);
    fake_node_stop(a);
    fake_node_stop(b);
    assert_int_equal(stopping.requests, 1);
    assert_int_equal(script.requests, 1);
    fake_store_free(&script.store);
}

static void a_node_that_is_cut_off_is_left_but_a_busy_one_is_not(void **state)
{
    (void)state;
    // Each refusal takes two seconds, as a node waits for a majority that does not come.
    struct script cut = {.refusal = "NO_QUORUM", .refusals = 1000, .pass_us = 2 * SECOND_US};
    struct script script = {0};
    struct fake_node *a = start(&cut);
    struct fake_node *b = start(&script);
    struct mayfly_client *client = client_of(fake_node_endpoint(a), fake_node_endpoint(b), NULL);
    assert_int_equal(set_one(client), MAYFLY_OK);
    mayfly_client_free(client);
    fake_node_stop(a);
    assert_int_equal(cut.requests, 1);
    struct script busy = {.refusal = "BUSY", .refusals = 3, .pass_us = 2 * SECOND_US};
    a = start(&busy);
    client = client_of(fake_node_endpoint(a), fake_node_endpoint(b), NULL);
    assert_int_equal(set_one(client), MAYFLY_OK);
    mayfly_client_free(client);
    fake_node_stop(a);
    fake_node_stop(b);
    assert_int_equal(busy.requests, 4);
    assert_int_equal(script.requests, 1);
    fake_store_free(&busy.store);
    fake_store_free(&script.store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_write_whose_answer_was_lost_is_applied_once),
        cmocka_unit_test(a_single_node_that_comes_back_is_found_again),
        cmocka_unit_test(a_load_over_a_dying_node_applies_each_record_once),
        cmocka_unit_test(refusals_that_pass_are_retried_with_the_same_id),
        cmocka_unit_test(different_writes_have_different_ids),
        cmocka_unit_test(what_a_late_call_is_told_depends_on_what_could_have_happened),
        cmocka_unit_test(a_write_is_never_sent_again_after_nine_minutes),
        cmocka_unit_test(a_read_is_sent_again_however_old_it_is),
        cmocka_unit_test(connecting_fails_early_and_tells_all_that_was_tried),
        cmocka_unit_test(endpoints_that_refuse_are_passed_over),
        cmocka_unit_test(without_any_endpoint_a_call_ends_at_its_deadline_unsent),
        cmocka_unit_test(a_node_that_talks_nonsense_is_left_for_the_next),
        cmocka_unit_test(answers_to_nothing_and_notifications_are_passed_over),
        cmocka_unit_test(a_reply_over_the_limit_fails_only_its_own_call),
        cmocka_unit_test(a_silent_node_is_asked_and_then_left),
        cmocka_unit_test(a_slow_node_that_shows_life_is_waited_for),
        cmocka_unit_test(a_node_is_not_blamed_for_a_caller_who_was_away),
        cmocka_unit_test(a_node_is_asked_before_it_is_given_up_however_late_it_is),
        cmocka_unit_test(a_wrong_password_is_told_at_once),
        cmocka_unit_test(a_stopping_node_is_left_at_once),
        cmocka_unit_test(a_node_that_is_cut_off_is_left_but_a_busy_one_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
