// libmayfly against a fake node: what it sends, what it makes of answers, the pipelined interface.
// Failures and fail-over are in test_client_failover.c.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_node.h"
#include "mayfly/client.h"
#include "rpc/client_internal.h"

static struct mayfly_client *client_of(const char *endpoints)
{
    struct mayfly_client_options options = {.endpoints = endpoints, .timeout_ms = 60000};
    struct mayfly_client *client = mayfly_client_new(&options, NULL, 0);
    assert_non_null(client);
    return client;
}

// Answers each method plausibly and keeps the last request's text.
struct recorder {
    char seen[256];
};

static void answer_plausibly(const struct fake_request *request, struct mf_buf *out)
{
    const char *method = request->method;
    fake_reply(out, request->msgid);
    if (strcmp(method, "ping") == 0) {
        fake_str(out, "pong");
    } else if (strcmp(method, "get") == 0) {
        if (strstr(request->params, "meta") == NULL) {
            fake_bin(out, "v", 1);
            return;
        }
        fake_map(out, 3);
        fake_str(out, "value");
        fake_bin(out, "v", 1);
        fake_str(out, "version");
        fake_int(out, 9);
        fake_str(out, "ttl");
        fake_int(out, -1);
    } else if (strcmp(method, "mget") == 0) {
        fake_array(out, 2);
        fake_bin(out, "1", 1);
        fake_nil(out);
    } else if (strcmp(method, "has") == 0) {
        fake_array(out, 2);
        fake_bool(out, true);
        fake_bool(out, false);
    } else if (strcmp(method, "set") == 0) {
        fake_map(out, 2);
        fake_str(out, "version");
        fake_int(out, 42);
        fake_str(out, "old");
        fake_bin(out, "before", 6);
    } else if (strcmp(method, "expire") == 0 || strcmp(method, "persist") == 0 ||
               strcmp(method, "transfer") == 0 || strcmp(method, "drain_node") == 0 ||
               strcmp(method, "add_node") == 0 || strcmp(method, "remove_node") == 0 ||
               strcmp(method, "snapshot_remove") == 0) {
        fake_bool(out, true);
    } else if (strcmp(method, "snapshot_read") == 0) {
        fake_map(out, 2);
        fake_str(out, "size");
        fake_int(out, 4096);
        fake_str(out, "data");
        fake_bin(out, "piece", 5);
    } else if (strcmp(method, "cluster") == 0 || strcmp(method, "stats") == 0 ||
               strcmp(method, "snapshot") == 0 || strcmp(method, "hello") == 0) {
        fake_map(out, 1);
        fake_str(out, "load");
        fake_double(out, 0.5);
    } else if (strcmp(method, "getdel") == 0 || strcmp(method, "getex") == 0) {
        fake_bin(out, "v", 1);
    } else if (strcmp(method, "scan") == 0) {
        fake_array(out, 2);
        fake_int(out, 99);
        fake_array(out, 1);
        fake_bin(out, "k", 1);
    } else if (strcmp(method, "txn") == 0) {
        fake_map(out, 2);
        fake_str(out, "ok");
        fake_bool(out, true);
        fake_str(out, "results");
        fake_array(out, 1);
        fake_int(out, 7);
    } else {
        fake_int(out, 7);
    }
}

static enum fake_then record(void *arg, const struct fake_request *request, struct mf_buf *out)
{
    struct recorder *recorder = arg;
    snprintf(recorder->seen, sizeof recorder->seen, "%s %.200s", request->method, request->params);
    answer_plausibly(request, out);
    return FAKE_GO_ON;
}

#define SENDS(call, text)                                                                          \
    do {                                                                                           \
        assert_int_equal(call, MAYFLY_OK);                                                         \
        fake_lock();                                                                               \
        struct recorder sent = recorder;                                                           \
        fake_unlock();                                                                             \
        assert_string_equal(sent.seen, text);                                                      \
    } while (0)
#define WITH(...) (&(struct mayfly_options){__VA_ARGS__})

static void methods_that_build_on_what_is_there_are_sent_and_answered(void **state)
{
    (void)state;
    struct recorder recorder;
    struct fake_node *node =
        fake_node_start(record, &recorder, (struct fake_options){.raw_ping = true});
    struct mayfly_client *client = client_of(fake_node_endpoint(node));
    struct mayfly_bytes key = mayfly_str("k");
    struct mayfly_entry entry;
    const struct mayfly_value *keys;
    int64_t value = 0;
    uint64_t length = 0;
    uint64_t cursor = 5;
    SENDS(mayfly_incr(client, key, -3, NULL, &value), "incr ['k', -3, {\"id\": <24 bytes>}]");
    assert_int_equal(value, 7);
    SENDS(mayfly_incr(client, key, 1, WITH(.flags = MAYFLY_FLAG_TTL, .ttl_ms = 9), NULL),
          "incr ['k', 1, {\"ttl\": 9, \"id\": <24 bytes>}]");
    SENDS(mayfly_append(client, key, mayfly_str("x"), NULL, &length),
          "append ['k', 'x', {\"id\": <24 bytes>}]");
    assert_int_equal(length, 7);
    SENDS(mayfly_getdel(client, key, NULL, &entry), "getdel ['k', {\"id\": <24 bytes>}]");
    assert_true(entry.found && entry.value.len == 1);
    SENDS(mayfly_getex(client, key, WITH(.flags = MAYFLY_FLAG_PERSIST), &entry),
          "getex ['k', {\"persist\": true, \"id\": <24 bytes>}]");
    SENDS(mayfly_getex(client, key, WITH(.flags = MAYFLY_FLAG_TTL, .ttl_ms = 9), &entry),
          "getex ['k', {\"ttl\": 9, \"id\": <24 bytes>}]");
    SENDS(mayfly_scan(client, &cursor, NULL, &keys), "scan [5]");
    assert_int_equal(cursor, 99);
    assert_true(keys->count == 1 && keys->items[0].bytes.len == 1);
    struct mayfly_options some = {
        .flags = MAYFLY_FLAG_MATCH, .match = mayfly_str("u:*"), .count = 50};
    SENDS(mayfly_scan(client, &cursor, &some, &keys),
          "scan [99, {\"match\": 'u:*', \"count\": 50}]");
    mayfly_client_free(client);
    fake_node_stop(node);
}

static void a_txn_is_sent_whole_and_its_methods_without_ids(void **state)
{
    (void)state;
    struct recorder recorder;
    struct fake_node *node =
        fake_node_start(record, &recorder, (struct fake_options){.raw_ping = true});
    struct mayfly_client *client = client_of(fake_node_endpoint(node));
    struct mayfly_bytes key = mayfly_str("k");
    struct mayfly_bytes value = mayfly_str("v");
    const struct mayfly_condition conditions[] = {
        {.key = key, .subject = MAYFLY_SUBJECT_VERSION, .relation = MAYFLY_EQUAL, .version = 3},
        {.key = key, .subject = MAYFLY_SUBJECT_VALUE, .relation = MAYFLY_GREATER, .value = value},
        {.key = key, .subject = MAYFLY_SUBJECT_EXISTS, .relation = MAYFLY_UNEQUAL}};
    struct mayfly_request then[] = {
        {.method = MAYFLY_METHOD_SET,
         .keys = &key,
         .values = &value,
         .count = 1,
         .options = {.flags = MAYFLY_FLAG_TTL, .ttl_ms = 9}},
        {.method = MAYFLY_METHOD_EXPIRE, .keys = &key, .count = 1, .options = {.ttl_ms = 5}}};
    const struct mayfly_request otherwise[] = {
        {.method = MAYFLY_METHOD_MGET, .keys = &key, .count = 1}};
    struct mayfly_txn txn = {conditions, 3, then, 2, otherwise, 1};
    const struct mayfly_value *results;
    bool ok = false;
    SENDS(mayfly_txn(client, &txn, WITH(.id = mayfly_str("once")), &ok, &results),
          "txn [{\"if\": [['k', \"version\", \"=\", 3], ['k', \"value\", \">\", 'v'], "
          "['k', \"exists\", \"!=\", false]], "
          "\"then\": [[\"set\", 'k', 'v', {\"ttl\": 9}], [\"expire\", 'k', 5]], \"else\": "
          "[[\"mget\", ['k']]]}, {\"id\": <4 bytes>}]");
    assert_true(ok && results->count == 1 && results->items[0].integer == 7);
    then[0].options.id = mayfly_str("inner");
    assert_int_equal(mayfly_txn(client, &txn, NULL, &ok, &results), MAYFLY_ERR_BAD_REQUEST);
    then[0] = (struct mayfly_request){.method = MAYFLY_METHOD_FLUSH};
    assert_int_equal(mayfly_txn(client, &txn, NULL, &ok, &results), MAYFLY_ERR_BAD_REQUEST);
    mayfly_client_free(client);
    fake_node_stop(node);
}

static void each_method_is_sent_as_the_protocol_has_it(void **state)
{
    (void)state;
    struct recorder recorder;
    struct fake_node *node =
        fake_node_start(record, &recorder, (struct fake_options){.raw_ping = true});
    struct mayfly_client *client = client_of(fake_node_endpoint(node));
    struct mayfly_bytes key = mayfly_str("k");
    struct mayfly_bytes keys[] = {mayfly_str("a"), mayfly_str("b")};
    struct mayfly_bytes values[] = {mayfly_str("1"), mayfly_str("2")};
    struct mayfly_entry entries[2];
    struct mayfly_written written;
    const struct mayfly_value *map;
    bool flags[2];
    uint64_t number;
    int64_t ttl_ms;
    SENDS(mayfly_ping(client), "ping []");
    SENDS(mayfly_get(client, key, NULL, &entries[0]), "get ['k']");
    SENDS(mayfly_get(client, key, WITH(.flags = MAYFLY_FLAG_META | MAYFLY_FLAG_LOCAL), &entries[0]),
          "get ['k', {\"meta\": true, \"read\": \"local\"}]");
    SENDS(mayfly_mget(client, keys, 2, NULL, entries), "mget [['a', 'b']]");
    SENDS(mayfly_has(client, keys, 2, flags), "has [['a', 'b']]");
    SENDS(mayfly_set(client, key, values[0], NULL, NULL), "set ['k', '1', {\"id\": <24 bytes>}]");
    SENDS(mayfly_set(client, key, values[0],
                     WITH(.flags = MAYFLY_FLAG_NX | MAYFLY_FLAG_GET | MAYFLY_FLAG_TTL,
                          .ttl_ms = 5000, .id = mayfly_str("mine")),
                     &written),
          "set ['k', '1', {\"nx\": true, \"get\": true, \"ttl\": 5000, \"id\": <4 bytes>}]");
    SENDS(mayfly_set(client, key, values[0],
                     WITH(.flags = MAYFLY_FLAG_XX | MAYFLY_FLAG_EXPIRE_AT | MAYFLY_FLAG_IF_VERSION,
                          .expire_at_ms = -1),
                     NULL),
          "set ['k', '1', {\"xx\": true, \"expire_at\": -1, \"if_version\": 0, "
          "\"id\": <24 bytes>}]");
    SENDS(mayfly_set(client, key, values[0], WITH(.flags = MAYFLY_FLAG_KEEP_TTL), NULL),
          "set ['k', '1', {\"keep_ttl\": true, \"id\": <24 bytes>}]");
    SENDS(mayfly_mset(client, keys, values, 2, WITH(.flags = MAYFLY_FLAG_TTL, .ttl_ms = 9)),
          "mset [[['a', '1'], ['b', '2']], {\"ttl\": 9, \"id\": <24 bytes>}]");
    SENDS(mayfly_del(client, keys, 2, NULL, &number), "del [['a', 'b'], {\"id\": <24 bytes>}]");
    SENDS(mayfly_del(client, keys, 1, WITH(.flags = MAYFLY_FLAG_IF_VERSION, .if_version = 3), NULL),
          "del [['a'], {\"if_version\": 3, \"id\": <24 bytes>}]");
    SENDS(mayfly_expire(client, key, -5, NULL, &flags[0]),
          "expire ['k', -5, {\"id\": <24 bytes>}]");
    SENDS(mayfly_expire(client, key, 70, WITH(.flags = MAYFLY_FLAG_XX | MAYFLY_FLAG_GT), NULL),
          "expire ['k', 70, {\"xx\": true, \"gt\": true, \"id\": <24 bytes>}]");
    SENDS(mayfly_persist(client, key, NULL, NULL), "persist ['k', {\"id\": <24 bytes>}]");
    SENDS(mayfly_ttl(client, key, &ttl_ms), "ttl ['k']");
    SENDS(mayfly_size(client, &number), "size []");
    SENDS(mayfly_flush(client, NULL, &number), "flush [{\"id\": <24 bytes>}]");
    SENDS(mayfly_cluster(client, &map), "cluster []");
    SENDS(mayfly_stats(client, &map), "stats []");
    SENDS(mayfly_snapshot(client, "nightly", &map), "snapshot [\"nightly\"]");
    struct mayfly_bytes piece;
    bool removed = false;
    SENDS(mayfly_snapshot_read(client, "nightly", 1u << 20, &piece, &number),
          "snapshot_read [\"nightly\", 1048576]");
    assert_int_equal(number, 4096);
    assert_int_equal(piece.len, 5);
    assert_memory_equal(piece.data, "piece", 5);
    SENDS(mayfly_snapshot_remove(client, "nightly", &removed), "snapshot_remove [\"nightly\"]");
    assert_true(removed);
    SENDS(mayfly_transfer(client, 1023, 3), "transfer [1023, 3]");
    SENDS(mayfly_drain_node(client, 3, false), "drain_node [3]");
    SENDS(mayfly_add_node(client, 4, "h:7"), "add_node [4, \"h:7\"]");
    SENDS(mayfly_remove_node(client, 4), "remove_node [4]");
    SENDS(mayfly_drain_node(client, 3, true), "drain_node [3, {\"undo\": true}]");
    mayfly_client_free(client);
    assert_int_equal(fake_node_stop(node), 1);
}

static void answers_are_given_as_the_method_means_them(void **state)
{
    (void)state;
    struct recorder recorder;
    struct fake_node *node = fake_node_start(record, &recorder, (struct fake_options){0});
    struct mayfly_client *client = client_of(fake_node_endpoint(node));
    struct mayfly_bytes keys[] = {mayfly_str("a"), mayfly_str("b")};
    struct mayfly_options meta = {.flags = MAYFLY_FLAG_META};
    struct mayfly_entry entries[2];
    struct mayfly_written written;
    const struct mayfly_value *map;
    bool present[2];
    int64_t ttl_ms;
    assert_int_equal(mayfly_get(client, keys[0], &meta, &entries[0]), MAYFLY_OK);
    assert_true(entries[0].found);
    assert_memory_equal(entries[0].value.data, "v", 1);
    assert_int_equal(entries[0].version, 9);
    assert_int_equal(entries[0].ttl_ms, -1);
    assert_int_equal(mayfly_mget(client, keys, 2, NULL, entries), MAYFLY_OK);
    assert_true(entries[0].found);
    assert_false(entries[1].found);
    assert_int_equal(mayfly_has(client, keys, 2, present), MAYFLY_OK);
    assert_true(present[0]);
    assert_false(present[1]);
    assert_int_equal(mayfly_set(client, keys[0], keys[1], NULL, &written), MAYFLY_OK);
    assert_true(written.written && written.had_old);
    assert_int_equal(written.version, 42);
    assert_memory_equal(written.old.data, "before", 6);
    assert_int_equal(mayfly_ttl(client, keys[0], &ttl_ms), MAYFLY_OK);
    assert_int_equal(ttl_ms, 7);
    assert_int_equal(mayfly_stats(client, &map), MAYFLY_OK);
    assert_true(mayfly_value_at(map, "load")->number == 0.5);
    assert_null(mayfly_value_at(map, "lo"));
    assert_null(mayfly_value_at(mayfly_value_at(map, "load"), "x"));
    assert_int_equal(mayfly_hello(client, &map), MAYFLY_OK);
    assert_memory_equal(mayfly_value_at(map, "server")->bytes.data, "fake", 4);
    mayfly_client_free(client);
    fake_node_stop(node);
}

// Answers every request with one fixed value.
static enum fake_then answer_fixed(void *arg, const struct fake_request *request,
                                   struct mf_buf *out)
{
    const struct mf_buf *value = arg;
    fake_reply(out, request->msgid);
    mf_buf_put(out, value->data, value->len);
    return FAKE_GO_ON;
}

static void a_condition_that_did_not_hold_is_no_error(void **state)
{
    (void)state;
    struct mf_buf nil = {0};
    fake_nil(&nil);
    struct fake_node *node = fake_node_start(answer_fixed, &nil, (struct fake_options){0});
    struct mayfly_client *client = client_of(fake_node_endpoint(node));
    struct mayfly_written written = {.written = true, .version = 1};
    struct mayfly_entry entry = {.found = true};
    assert_int_equal(mayfly_set(client, mayfly_str("k"), mayfly_str("v"), NULL, &written),
                     MAYFLY_OK);
    assert_false(written.written);
    assert_int_equal(written.version, 0);
    assert_int_equal(mayfly_get(client, mayfly_str("k"), NULL, &entry), MAYFLY_OK);
    assert_false(entry.found);
    mayfly_client_free(client);
    fake_node_stop(node);
    mf_buf_free(&nil);
}

static void an_answer_of_the_wrong_form_is_told_and_leaves_out_alone(void **state)
{
    (void)state;
    struct mf_buf odd = {0};
    fake_array(&odd, 1);
    fake_double(&odd, 1.5);
    struct fake_node *node =
        fake_node_start(answer_fixed, &odd, (struct fake_options){.raw_ping = true});
    struct mayfly_client *client = client_of(fake_node_endpoint(node));
    struct mayfly_bytes key = mayfly_str("k");
    struct mayfly_entry entry = {.version = 77};
    struct mayfly_written written = {.version = 77};
    const struct mayfly_value *map = NULL;
    uint64_t number = 77;
    int64_t ttl_ms = 77;
    bool flag = true;
    assert_int_equal(mayfly_ping(client), MAYFLY_ERR_PROTOCOL);
    assert_int_equal(mayfly_get(client, key, NULL, &entry), MAYFLY_ERR_PROTOCOL);
    assert_int_equal(mayfly_mget(client, &key, 1, NULL, &entry), MAYFLY_ERR_PROTOCOL);
    assert_int_equal(mayfly_set(client, key, key, NULL, &written), MAYFLY_ERR_PROTOCOL);
    assert_int_equal(mayfly_has(client, &key, 1, &flag), MAYFLY_ERR_PROTOCOL);
    assert_int_equal(mayfly_expire(client, key, 1, NULL, &flag), MAYFLY_ERR_PROTOCOL);
    assert_int_equal(mayfly_ttl(client, key, &ttl_ms), MAYFLY_ERR_PROTOCOL);
    assert_int_equal(mayfly_size(client, &number), MAYFLY_ERR_PROTOCOL);
    assert_int_equal(mayfly_stats(client, &map), MAYFLY_ERR_PROTOCOL);
    assert_string_equal(mayfly_client_error(client),
                        "PROTOCOL: stats was answered with something else");
    assert_true(entry.version == 77 && written.version == 77 && number == 77 && ttl_ms == 77);
    assert_true(flag);
    assert_null(map);
    mayfly_client_free(client);
    assert_int_equal(fake_node_stop(node), 1);
    mf_buf_free(&odd);
}

static enum fake_then answer_error(void *arg, const struct fake_request *request,
                                   struct mf_buf *out)
{
    const char *const *error = arg;
    fake_error(out, request->msgid, error[0], error[1]);
    return FAKE_GO_ON;
}

static void errors_that_stand_are_returned_at_once_with_the_nodes_words(void **state)
{
    (void)state;
    static const struct {
        const char *error[2];
        enum mayfly_err err;
        const char *text;
    } cases[] = {
        {{"BAD_REQUEST", "ttl is 0"}, MAYFLY_ERR_BAD_REQUEST, "BAD_REQUEST: ttl is 0"},
        {{"TOO_LARGE", "a\x1b[31m\nb"}, MAYFLY_ERR_TOO_LARGE, "TOO_LARGE: a?[31m?b"},
        {{"OUT_OF_MEMORY", ""},
         MAYFLY_ERR_OUT_OF_MEMORY,
         "OUT_OF_MEMORY: the memory limit is reached"},
        {{"INTERNAL", "oops"}, MAYFLY_ERR_INTERNAL, "INTERNAL: oops"},
        {{"BRAND_NEW", "since 2.0"}, MAYFLY_ERR_INTERNAL, "INTERNAL: BRAND_NEW: since 2.0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *error[2] = {cases[i].error[0], cases[i].error[1]};
        struct fake_node *node = fake_node_start(answer_error, error, (struct fake_options){0});
        struct mayfly_client *client = client_of(fake_node_endpoint(node));
        assert_int_equal(mayfly_set(client, mayfly_str("k"), mayfly_str("v"), NULL, NULL),
                         cases[i].err);
        assert_string_equal(mayfly_client_error(client), cases[i].text);
        mayfly_client_free(client);
        fake_node_stop(node);
    }
}

static void requests_that_no_node_could_understand_are_refused_here(void **state)
{
    (void)state;
    struct mayfly_client *client = client_of("127.0.0.1:1");
    struct mayfly_bytes key = mayfly_str("k");
    static const struct {
        struct mayfly_request request;
        const char *text;
    } cases[] = {
        {{.method = MAYFLY_METHOD_COUNT}, "BAD_REQUEST: unknown method number 29"},
        {{.method = MAYFLY_METHOD_GET}, "BAD_REQUEST: get does not take 0 keys"},
        {{.method = MAYFLY_METHOD_SIZE, .count = 1}, "BAD_REQUEST: size does not take 1 keys"},
        {{.method = MAYFLY_METHOD_SIZE, .options = {.flags = MAYFLY_FLAG_NX}},
         "BAD_REQUEST: size does not take flag 0x1"},
        {{.method = MAYFLY_METHOD_FLUSH, .options = {.ttl_ms = 4}},
         "BAD_REQUEST: flush: an option is given without its flag"},
        {{.method = MAYFLY_METHOD_FLUSH, .options = {.expire_at_ms = 4}},
         "BAD_REQUEST: flush: an option is given without its flag"},
        {{.method = MAYFLY_METHOD_FLUSH, .options = {.if_version = 4}},
         "BAD_REQUEST: flush: an option is given without its flag"},
        {{.method = MAYFLY_METHOD_SIZE, .options = {.id = {"i", 1}}},
         "BAD_REQUEST: size takes no id"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mayfly_request request = cases[i].request;
        request.keys = &key;
        assert_int_equal(mayfly_submit(client, &request, NULL, NULL), MAYFLY_ERR_BAD_REQUEST);
        assert_string_equal(mayfly_client_error(client), cases[i].text);
    }
    assert_int_equal(mayfly_pending(client), 0);
    mayfly_client_free(client);
}

static void malformed_options_are_refused_with_what_was_expected(void **state)
{
    (void)state;
    static const struct {
        struct mayfly_client_options options;
        const char *text;
    } cases[] = {
        {{.endpoints = ""}, "endpoint '' is no address, expected HOST:PORT or [IPV6]:PORT"},
        {{.endpoints = "a:1,,b:2"}, "endpoint '' is no address, expected HOST:PORT or [IPV6]:PORT"},
        {{.endpoints = "h:0"}, "endpoint 'h:0' is no address, expected HOST:PORT or [IPV6]:PORT"},
        {{.endpoints = "h:65536"},
         "endpoint 'h:65536' is no address, expected HOST:PORT or [IPV6]:PORT"},
        {{.endpoints = "::1:7001"},
         "endpoint '::1:7001' is no address, expected HOST:PORT or [IPV6]:PORT"},
        {{.endpoints = "[::1:7001"},
         "endpoint '[::1:7001' is no address, expected HOST:PORT or [IPV6]:PORT"},
        {{.endpoints = "[::1]7001"},
         "endpoint '[::1]7001' is no address, expected HOST:PORT or [IPV6]:PORT"},
        {{.window = 70000}, "window is 70000, expected at most 65536"},
    };
    char message[200];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_null(mayfly_client_new(&cases[i].options, message, sizeof message));
        assert_string_equal(message, cases[i].text);
        assert_null(mayfly_client_new(&cases[i].options, NULL, 0));
    }
    static const char *const good[] = {"localhost", "[::1]", "[::1]:7001", "h:1,h:65535",
                                       "10.0.0.1"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        mayfly_client_free(client_of(good[i]));
}

// Keeps `gets` unanswered until there are `wanted`, then answers the last first.
struct backwards {
    uint32_t wanted;
    uint32_t msgids[16];
    char keys[16][8];
    uint32_t count;
};

static enum fake_then answer_backwards(void *arg, const struct fake_request *request,
                                       struct mf_buf *out)
{
    struct backwards *held = arg;
    held->msgids[held->count] = request->msgid;
    snprintf(held->keys[held->count++], sizeof held->keys[0], "%.7s", request->params);
    while (held->count >= held->wanted && held->count > 0) {
        held->count--;
        fake_reply(out, held->msgids[held->count]);
        fake_str(out, held->keys[held->count]);
        held->wanted = held->count;
    }
    return FAKE_GO_ON;
}

struct answered {
    char text[16];
    int times;
    enum mayfly_err err;
    uint32_t attempts;
};

static void keep_answer(void *cookie, const struct mayfly_reply *reply)
{
    struct answered *answered = cookie;
    answered->times++;
    answered->err = reply->err;
    answered->attempts = reply->attempts;
    if (reply->value->type == MAYFLY_TYPE_STRING || reply->value->type == MAYFLY_TYPE_BYTES)
        snprintf(answered->text, sizeof answered->text, "%.*s", (int)reply->value->bytes.len,
                 (const char *)reply->value->bytes.data);
}

static void answers_out_of_order_reach_their_own_callbacks(void **state)
{
    (void)state;
    struct backwards held = {.wanted = 8};
    struct fake_node *node = fake_node_start(answer_backwards, &held, (struct fake_options){0});
    struct mayfly_client *client = client_of(fake_node_endpoint(node));
    struct answered answers[8] = {0};
    for (int i = 0; i < 8; i++) {
        char name[2] = {(char)('a' + i), '\0'};
        struct mayfly_bytes key = mayfly_str(name);
        struct mayfly_request get = {.method = MAYFLY_METHOD_GET, .keys = &key, .count = 1};
        assert_int_equal(mayfly_submit(client, &get, keep_answer, &answers[i]), MAYFLY_OK);
    }
    assert_int_equal(mayfly_pending(client), 8);
    mayfly_drain(client);
    assert_int_equal(mayfly_pending(client), 0);
    for (int i = 0; i < 8; i++) {
        char expected[8] = {'[', '\'', (char)('a' + i), '\'', ']', '\0'};
        assert_int_equal(answers[i].times, 1);
        assert_int_equal(answers[i].attempts, 1);
        assert_string_equal(answers[i].text, expected);
    }
    mayfly_client_free(client);
    fake_node_stop(node);
}

static void answers_that_come_byte_by_byte_are_whole(void **state)
{
    (void)state;
    struct mf_buf value = {0};
    char large[3000];
    memset(large, 'x', sizeof large);
    fake_bin(&value, large, sizeof large);
    struct fake_node *node =
        fake_node_start(answer_fixed, &value, (struct fake_options){.dribble = true});
    struct mayfly_client *client = client_of(fake_node_endpoint(node));
    for (int i = 0; i < 3; i++) {
        struct mayfly_entry entry;
        assert_int_equal(mayfly_get(client, mayfly_str("k"), NULL, &entry), MAYFLY_OK);
        assert_int_equal(entry.value.len, sizeof large);
        assert_memory_equal(entry.value.data, large, sizeof large);
    }
    mayfly_client_free(client);
    fake_node_stop(node);
    mf_buf_free(&value);
}

static void the_window_bounds_requests_and_bytes_in_flight(void **state)
{
    (void)state;
    struct mf_buf value = {0};
    fake_nil(&value);
    struct fake_node *node = fake_node_start(answer_fixed, &value, (struct fake_options){0});
    struct mayfly_client_options options = {
        .endpoints = fake_node_endpoint(node), .window = 3, .window_bytes = 4000};
    struct mayfly_client *client = mayfly_client_new(&options, NULL, 0);
    struct mayfly_bytes key = mayfly_str("k");
    char bytes[8000] = {0};
    struct mayfly_bytes large = {bytes, sizeof bytes};
    struct mayfly_request get = {.method = MAYFLY_METHOD_GET, .keys = &key, .count = 1};
    struct mayfly_request set = {
        .method = MAYFLY_METHOD_SET, .keys = &key, .values = &large, .count = 1};
    struct answered answered = {0};
    for (int i = 0; i < 3; i++)
        assert_int_equal(mayfly_submit(client, &get, keep_answer, &answered), MAYFLY_OK);
    assert_int_equal(mayfly_submit(client, &get, keep_answer, &answered), MAYFLY_ERR_WINDOW_FULL);
    mayfly_drain(client);
    assert_int_equal(answered.times, 3);
    // One request over window_bytes may go, but alone.
    assert_int_equal(mayfly_submit(client, &set, keep_answer, &answered), MAYFLY_OK);
    assert_int_equal(mayfly_submit(client, &get, keep_answer, &answered), MAYFLY_ERR_WINDOW_FULL);
    mayfly_drain(client);
    assert_int_equal(mayfly_submit(client, &get, keep_answer, &answered), MAYFLY_OK);
    assert_int_equal(mayfly_submit(client, &set, keep_answer, &answered), MAYFLY_ERR_WINDOW_FULL);
    mayfly_drain(client);
    assert_int_equal(answered.times, 5);
    // A blocking call waits for its place.
    struct mayfly_entry entry;
    for (int i = 0; i < 3; i++)
        assert_int_equal(mayfly_submit(client, &get, keep_answer, &answered), MAYFLY_OK);
    assert_int_equal(mayfly_get(client, key, NULL, &entry), MAYFLY_OK);
    mayfly_client_free(client);
    fake_node_stop(node);
    mf_buf_free(&value);
}

struct chain {
    struct mayfly_client *client;
    int left;
    enum mayfly_err blocking;
    size_t polled;
};

static void submit_next(void *cookie, const struct mayfly_reply *reply)
{
    struct chain *chain = cookie;
    struct mayfly_request size = {.method = MAYFLY_METHOD_SIZE};
    assert_int_equal(reply->err, MAYFLY_OK);
    chain->blocking = mayfly_ping(chain->client);
    if (chain->left-- > 0)
        assert_int_equal(mayfly_submit(chain->client, &size, submit_next, chain), MAYFLY_OK);
    chain->polled += mayfly_poll(chain->client, -1);
}

static void a_callback_may_submit_but_not_block(void **state)
{
    (void)state;
    struct mf_buf value = {0};
    fake_int(&value, 0);
    struct fake_node *node = fake_node_start(answer_fixed, &value, (struct fake_options){0});
    struct mayfly_client_options options = {.endpoints = fake_node_endpoint(node), .window = 1};
    struct chain chain = {.client = mayfly_client_new(&options, NULL, 0), .left = 20};
    struct mayfly_request size = {.method = MAYFLY_METHOD_SIZE};
    assert_int_equal(mayfly_submit(chain.client, &size, submit_next, &chain), MAYFLY_OK);
    mayfly_drain(chain.client);
    assert_int_equal(chain.left, -1);
    assert_int_equal(chain.blocking, MAYFLY_ERR_BAD_REQUEST);
    assert_int_equal(chain.polled, 0);
    mayfly_client_free(chain.client);
    fake_node_stop(node);
    mf_buf_free(&value);
}

static void submit_again(void *cookie, const struct mayfly_reply *reply)
{
    struct chain *chain = cookie;
    struct mayfly_request size = {.method = MAYFLY_METHOD_SIZE};
    assert_int_equal(reply->err, MAYFLY_ERR_CANCELLED);
    chain->left++;
    chain->blocking = mayfly_submit(chain->client, &size, submit_again, chain);
}

static void freeing_a_client_cancels_what_is_in_flight(void **state)
{
    (void)state;
    struct chain chain = {.client = client_of("127.0.0.1:1")};
    struct mayfly_request size = {.method = MAYFLY_METHOD_SIZE};
    for (int i = 0; i < 5; i++)
        assert_int_equal(mayfly_submit(chain.client, &size, submit_again, &chain), MAYFLY_OK);
    mayfly_client_free(chain.client);
    assert_int_equal(chain.left, 5);
    assert_int_equal(chain.blocking, MAYFLY_ERR_CANCELLED);
}

// Echoes the key of a get as its value, and holds nothing back.
static enum fake_then echo(void *arg, const struct fake_request *request, struct mf_buf *out)
{
    (void)arg;
    fake_reply(out, request->msgid);
    fake_str(out, request->params);
    return FAKE_GO_ON;
}

static void a_blocking_result_is_intact_whatever_arrives_behind_it(void **state)
{
    (void)state;
    struct fake_node *node = fake_node_start(echo, NULL, (struct fake_options){0});
    struct mayfly_client *client = client_of(fake_node_endpoint(node));
    struct answered answered = {0};
    for (int round = 0; round < 50; round++) {
        struct mayfly_bytes other = mayfly_str("other");
        struct mayfly_request get = {.method = MAYFLY_METHOD_GET, .keys = &other, .count = 1};
        struct mayfly_entry entry;
        for (int i = 0; i < 20; i++)
            assert_int_equal(mayfly_submit(client, &get, keep_answer, &answered), MAYFLY_OK);
        assert_int_equal(mayfly_get(client, mayfly_str("mine"), NULL, &entry), MAYFLY_OK);
        assert_int_equal(entry.value.len, 8);
        assert_memory_equal(entry.value.data, "['mine']", 8);
        assert_string_equal(answered.text, "['other']");
        mayfly_drain(client);
    }
    assert_int_equal(answered.times, 1000);
    mayfly_client_free(client);
    assert_int_equal(fake_node_stop(node), 1);
}

static enum fake_then answer_megabyte(void *arg, const struct fake_request *request,
                                      struct mf_buf *out)
{
    static const char zeros[1 << 20];
    (void)arg;
    fake_reply(out, request->msgid);
    fake_bin(out, zeros, sizeof zeros);
    return FAKE_GO_ON;
}

static void large_requests_and_large_answers_never_wait_for_each_other(void **state)
{
    (void)state;
    // The node writes each answer whole before it reads on, far more than sockets hold.
    struct fake_node *node = fake_node_start(answer_megabyte, NULL, (struct fake_options){0});
    struct mayfly_client *client = client_of(fake_node_endpoint(node));
    struct answered answered = {0};
    char *bytes = calloc(1, 1 << 20);
    struct mayfly_bytes large = {bytes, 1 << 20};
    struct mayfly_bytes key = mayfly_str("k");
    struct mayfly_request set = {
        .method = MAYFLY_METHOD_SET, .keys = &key, .values = &large, .count = 1};
    for (int i = 0; i < 40; i++)
        assert_int_equal(mayfly_submit(client, &set, keep_answer, &answered), MAYFLY_OK);
    mayfly_drain(client);
    assert_int_equal(answered.times, 40);
    assert_int_equal(answered.err, MAYFLY_OK);
    mayfly_client_free(client);
    assert_int_equal(fake_node_stop(node), 1);
    free(bytes);
}

static void every_number_comes_back_as_it_was_sent(void **state)
{
    (void)state;
    static const uint8_t wire[] = {
        0x9a, 0xc0, 0xc3, 0x05, 0xff, 0xd3, 0x80, 0,    0,    0, 0, 0, 0, 0, // nil true 5 -1 min
        0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,                // 2^64-1
        0xcf, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,                // 2^63-1
        0xca, 0x3f, 0x00, 0,    0,    0xcb, 0x40, 0x09, 0,    0, 0, 0, 0, 0,
        0xa1, 'x' // .5f 3.125 "x"
    };
    struct mf_value_space space = {0};
    struct mf_msgpack_in in = {mf_reader_of(mf_bytes_of(wire, sizeof wire))};
    const struct mayfly_value *value;
    assert_int_equal(mf_value_build(&space, &in, &value), MAYFLY_OK);
    assert_int_equal(value->type, MAYFLY_TYPE_ARRAY);
    assert_int_equal(value->count, 10);
    const struct mayfly_value *items = value->items;
    assert_int_equal(items[0].type, MAYFLY_TYPE_NIL);
    assert_true(items[1].type == MAYFLY_TYPE_BOOL && items[1].boolean);
    assert_true(items[2].type == MAYFLY_TYPE_INT && items[2].integer == 5);
    assert_true(items[3].type == MAYFLY_TYPE_INT && items[3].integer == -1);
    assert_true(items[4].type == MAYFLY_TYPE_INT && items[4].integer == INT64_MIN);
    assert_true(items[5].type == MAYFLY_TYPE_UINT && items[5].uinteger == UINT64_MAX);
    assert_true(items[6].type == MAYFLY_TYPE_INT && items[6].integer == INT64_MAX);
    assert_true(items[7].type == MAYFLY_TYPE_DOUBLE && items[7].number == 0.5);
    assert_true(items[8].type == MAYFLY_TYPE_DOUBLE && items[8].number == 3.125);
    assert_true(items[9].type == MAYFLY_TYPE_STRING && items[9].bytes.len == 1);
    mf_value_space_free(&space);
}

static void nested_values_keep_their_places(void **state)
{
    (void)state;
    // {"a": [1, {"b": []}, 2], "c": 3}
    static const uint8_t wire[] = {0x82, 0xa1, 'a',  0x93, 0x01, 0x81, 0xa1,
                                   'b',  0x90, 0x02, 0xa1, 'c',  0x03};
    struct mf_value_space space = {0};
    struct mf_msgpack_in in = {mf_reader_of(mf_bytes_of(wire, sizeof wire))};
    const struct mayfly_value *value;
    assert_int_equal(mf_value_build(&space, &in, &value), MAYFLY_OK);
    const struct mayfly_value *a = mayfly_value_at(value, "a");
    assert_int_equal(a->count, 3);
    assert_int_equal(a->items[0].integer, 1);
    assert_int_equal(mayfly_value_at(&a->items[1], "b")->count, 0);
    assert_int_equal(a->items[2].integer, 2);
    assert_int_equal(mayfly_value_at(value, "c")->integer, 3);
    // Cut anywhere, it is refused and not read past.
    for (size_t len = 0; len < sizeof wire; len++) {
        uint8_t *cut = malloc(len + 1);
        memcpy(cut, wire, len);
        struct mf_msgpack_in short_in = {mf_reader_of(mf_bytes_of(cut, len))};
        assert_int_equal(mf_value_build(&space, &short_in, &value), MAYFLY_ERR_PROTOCOL);
        free(cut);
    }
    mf_value_space_free(&space);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_method_is_sent_as_the_protocol_has_it),
        cmocka_unit_test(methods_that_build_on_what_is_there_are_sent_and_answered),
        cmocka_unit_test(a_txn_is_sent_whole_and_its_methods_without_ids),
        cmocka_unit_test(answers_are_given_as_the_method_means_them),
        cmocka_unit_test(a_condition_that_did_not_hold_is_no_error),
        cmocka_unit_test(an_answer_of_the_wrong_form_is_told_and_leaves_out_alone),
        cmocka_unit_test(errors_that_stand_are_returned_at_once_with_the_nodes_words),
        cmocka_unit_test(requests_that_no_node_could_understand_are_refused_here),
        cmocka_unit_test(malformed_options_are_refused_with_what_was_expected),
        cmocka_unit_test(answers_out_of_order_reach_their_own_callbacks),
        cmocka_unit_test(answers_that_come_byte_by_byte_are_whole),
        cmocka_unit_test(the_window_bounds_requests_and_bytes_in_flight),
        cmocka_unit_test(a_callback_may_submit_but_not_block),
        cmocka_unit_test(freeing_a_client_cancels_what_is_in_flight),
        cmocka_unit_test(a_blocking_result_is_intact_whatever_arrives_behind_it),
        cmocka_unit_test(large_requests_and_large_answers_never_wait_for_each_other),
        cmocka_unit_test(every_number_comes_back_as_it_was_sent),
        cmocka_unit_test(nested_values_keep_their_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
