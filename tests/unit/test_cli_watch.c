// `mayfly watch`, `mayfly latency` and `mayfly hotkeys`: what is asked of a node, what is printed,
// and how it ends. A fake node tells of three changes and then of a gap.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "cli_run.h"
#include "fake_node.h"

struct teller {
    int watches;
    char asked[256]; // of the first `watch`
    char self[32];   // of `cluster`
    char other[32];  // a node that is away
    int pings;
    int gets;
    int sets;
    bool fails; // what is no `cluster`
    bool both;  // both nodes of `cluster` are this one
};

static void event(struct mf_buf *out, const char *name, const char *key, int64_t version,
                  const char *value)
{
    fake_array(out, 3);
    fake_int(out, 2);
    fake_str(out, "event");
    fake_array(out, 5);
    fake_int(out, 5);
    fake_str(out, name);
    if (key != NULL)
        fake_bin(out, key, strlen(key));
    else
        fake_nil(out);
    fake_int(out, version);
    if (strcmp(name, "progress") == 0) {
        fake_map(out, 1);
        fake_int(out, 0);
        fake_int(out, 3);
    } else if (value != NULL) {
        fake_bin(out, value, strlen(value));
    } else {
        fake_nil(out);
    }
}

static enum fake_then tell_watch(struct teller *teller, const struct fake_request *request,
                                 struct mf_buf *out)
{
    if (teller->watches++ > 0) {
        fake_error(out, request->msgid, "COMPACTED", "for a test");
        return FAKE_GO_ON;
    }
    snprintf(teller->asked, sizeof teller->asked, "%.255s", request->params);
    fake_reply(out, request->msgid);
    fake_int(out, 5);
    event(out, "progress", NULL, 0, NULL);
    event(out, "set", "a\tb", 4, "v\n\xff");
    event(out, "expire", "k", 5, NULL);
    event(out, "del", "k", 6, NULL);
    event(out, "lost", NULL, 0, NULL);
    return FAKE_GO_ON;
}

static void tell_cluster(const struct teller *teller, struct mf_buf *out)
{
    fake_map(out, 4);
    fake_str(out, "name");
    fake_str(out, "demo");
    fake_str(out, "node");
    fake_int(out, 1);
    fake_str(out, "nodes");
    fake_array(out, 2);
    for (int id = 1; id <= 2; id++) {
        fake_map(out, 3);
        fake_str(out, "id");
        fake_int(out, id);
        fake_str(out, "rpc");
        fake_str(out, id == 1 || teller->both ? teller->self : teller->other);
        fake_str(out, "alive");
        fake_bool(out, id == 1);
    }
    fake_str(out, "shards");
    fake_array(out, 1);
    fake_map(out, 1);
    fake_str(out, "id");
    fake_int(out, 0);
}

// Of the first node that asks: a 60 of 100, b 30; of the next: b 50 of 100, c 20.
static void tell_hotkeys(struct teller *teller, const struct fake_request *request,
                         struct mf_buf *out)
{
    static const struct {
        const char *key;
        int ops;
        double share;
    } rows[2][2] = {{{"a\n", 60, 0.6}, {"b", 30, 0.3}}, {{"b", 50, 0.5}, {"c", 20, 0.2}}};
    snprintf(teller->asked, sizeof teller->asked, "%.255s", request->params);
    int node = teller->watches++ % 2;
    fake_array(out, 2);
    for (int i = 0; i < 2; i++) {
        fake_array(out, 3);
        fake_bin(out, rows[node][i].key, strlen(rows[node][i].key));
        fake_int(out, rows[node][i].ops);
        fake_double(out, rows[node][i].share);
    }
}

static enum fake_then answer(void *arg, const struct fake_request *request, struct mf_buf *out)
{
    struct teller *teller = arg;
    if (strcmp(request->method, "watch") == 0)
        return tell_watch(teller, request, out);
    bool measured = strcmp(request->method, "get") == 0 || strcmp(request->method, "set") == 0 ||
                    strcmp(request->method, "ping") == 0;
    teller->pings += strcmp(request->method, "ping") == 0;
    teller->gets += strcmp(request->method, "get") == 0;
    teller->sets += strcmp(request->method, "set") == 0;
    if (measured && teller->fails) {
        fake_error(out, request->msgid, "INTERNAL", "for a test");
        return FAKE_GO_ON;
    }
    fake_reply(out, request->msgid);
    if (strcmp(request->method, "ping") == 0)
        fake_str(out, "pong");
    else if (strcmp(request->method, "get") == 0)
        fake_nil(out);
    else if (strcmp(request->method, "cluster") == 0)
        tell_cluster(teller, out);
    else if (strcmp(request->method, "hotkeys") == 0)
        tell_hotkeys(teller, request, out);
    else {
        fake_map(out, 1);
        fake_str(out, "version");
        fake_int(out, 9);
    }
    return FAKE_GO_ON;
}

static void each_change_is_a_line_and_a_gap_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *words;
        const char *asked;
        const char *out;
    } cases[] = {
        {"watch k", "[{\"key\": 'k', ",
         "set\ta\\tb\t4\tv\\n\xff\n"
         "expire\tk\t5\t\n"
         "del\tk\t6\t\n"},
        {"watch --prefix p -o json", "[{\"prefix\": 'p', ",
         "{\"event\": \"set\", \"key\": \"a\\tb\", \"version\": 4, \"shard\": 0, \"value\": "
         "{\"base64\": \"dgr/\"}}\n"
         "{\"event\": \"expire\", \"key\": \"k\", \"version\": 5, \"shard\": 0, \"value\": null}\n"
         "{\"event\": \"del\", \"key\": \"k\", \"version\": 6, \"shard\": 0, \"value\": null}\n"},
        {"watch k -o table --from 3", "[{\"key\": 'k', ",
         "set                4  a\\x09b  v\\x0a\\xff\n"
         "expire             5  k  \n"
         "del                6  k  \n"},
        {"watch k --events expire,set", "\"events\": [\"set\", \"expire\"]", "set\t"},
        {"watch k --from 3", "\"from_version\": {0: 3}", "set\t"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct teller teller = {0};
        struct fake_node *node = fake_node_start(answer, &teller, (struct fake_options){0});
        struct cli_run run = cli_run_words(fake_node_endpoint(node), cases[i].words, "");
        size_t len = strlen(cases[i].out);
        bool as_expected = strncmp(run.out, cases[i].out, len) == 0 &&
                           (cases[i].out[len - 1] != '\n' || run.out[len] == '\0');
        fake_node_stop(node);
        if (run.status != 1 || !as_expected || strstr(teller.asked, cases[i].asked) == NULL ||
            strncmp(run.err, "mayfly: watch: LOST: ", 21) != 0 ||
            strchr(run.err, '\n') != run.err + strlen(run.err) - 1)
            fail_msg("%s: status %d, asked %s, stdout\n%s, stderr %s", cases[i].words, run.status,
                     teller.asked, run.out, run.err);
        cli_run_free(&run);
    }
}

struct scene {
    struct teller teller;
    struct fake_port port;
    struct fake_node *node;
};

static json_t *measure(struct scene *scene, bool fails, const char *words)
{
    scene->teller = (struct teller){.fails = fails};
    scene->port = fake_port_taken();
    scene->node = fake_node_start(answer, &scene->teller, (struct fake_options){.raw_ping = true});
    snprintf(scene->teller.self, sizeof scene->teller.self, "%s", fake_node_endpoint(scene->node));
    snprintf(scene->teller.other, sizeof scene->teller.other, "%s", scene->port.endpoint);
    struct cli_run run = cli_run_words(fake_node_endpoint(scene->node), words, "");
    json_t *json = json_loads(run.out, 0, NULL);
    if (run.status != 0 || json == NULL)
        fail_msg("%s: status %d, stdout %s, stderr %s", words, run.status, run.out, run.err);
    cli_run_free(&run);
    fake_node_stop(scene->node);
    fake_port_free(&scene->port);
    return json;
}

static json_t *node_of(json_t *json, size_t i)
{
    return json_array_get(json_object_get(json, "nodes"), i);
}

static void latency_measures_each_kind_so_often(void **state)
{
    (void)state;
    static const char *const kinds[] = {"ping", "get", "set"};
    struct scene scene;
    json_t *json = measure(&scene, false, "latency --count 7 --write -o json");
    assert_int_equal(scene.teller.gets, 7);
    assert_int_equal(scene.teller.sets, 7);
    assert_true(scene.teller.pings >= 7); // the library may ask for a sign of life
    for (size_t i = 0; i < 3; i++) {
        json_t *kind = json_object_get(node_of(json, 0), kinds[i]);
        double last = 0;
        static const char *const names[] = {"min_ms", "p50_ms", "p99_ms", "max_ms"};
        assert_int_equal(json_integer_value(json_object_get(kind, "count")), 7);
        assert_int_equal(json_integer_value(json_object_get(kind, "errors")), 0);
        for (size_t j = 0; j < 4; j++) {
            double ms = json_real_value(json_object_get(kind, names[j]));
            assert_true(ms >= last);
            last = ms;
        }
    }
    assert_string_equal(json_string_value(json_object_get(node_of(json, 1), "state")), "dead");
    assert_null(json_object_get(node_of(json, 1), "ping"));
    json_decref(json);
}

static void latency_writes_only_when_asked_and_counts_errors(void **state)
{
    (void)state;
    struct scene scene;
    json_t *json = measure(&scene, true, "latency --count 3 -o json");
    json_t *get = json_object_get(node_of(json, 0), "get");
    assert_int_equal(scene.teller.sets, 0);
    assert_int_equal(json_integer_value(json_object_get(get, "count")), 0);
    assert_int_equal(json_integer_value(json_object_get(get, "errors")), 3);
    assert_true(json_is_null(json_object_get(get, "p50_ms")));
    assert_null(json_object_get(node_of(json, 0), "set"));
    json_decref(json);
}

static void hotkeys_of_all_nodes_are_added_up(void **state)
{
    (void)state;
    static const struct {
        const char *words;
        const char *asked;
        const char *out;
    } cases[] = {
        {"hotkeys -o plain", "[{\"count\": 128}]",
         "b\t80\t0.4000\t2,1\na\\x0a\t60\t0.3000\t1\nc\t20\t0.1000\t2\n"},
        {"hotkeys -o plain --count 1", "[{\"count\": 128}]", "b\t80\t0.4000\t2,1\n"},
        {"hotkeys -o plain --count 200", "[{\"count\": 200}]", "b\t80\t0.4000\t2,1\na"},
        {"hotkeys", "",
         "KEY    OPS/S  SHARE  NODES\nb         80  40.0%  2,1\na\\x0a     60  30.0%  1\n"},
        {"hotkeys -o json --count 1", "",
         "{\"keys\": [{\"key\": \"b\", \"ops_per_second\": 80.0, \"share\": 0.4"},
    };
    struct teller teller = {.both = true};
    struct fake_node *node = fake_node_start(answer, &teller, (struct fake_options){0});
    snprintf(teller.self, sizeof teller.self, "%s", fake_node_endpoint(node));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cli_run run = cli_run_words(fake_node_endpoint(node), cases[i].words, "");
        fake_lock();
        bool asked = strstr(teller.asked, cases[i].asked) != NULL;
        fake_unlock();
        if (run.status != 0 || !asked || run.err[0] != '\0' ||
            strncmp(run.out, cases[i].out, strlen(cases[i].out)) != 0)
            fail_msg("%s: status %d, stdout\n%s, stderr %s", cases[i].words, run.status, run.out,
                     run.err);
        cli_run_free(&run);
    }
    fake_node_stop(node);
}

int main(void)
{
    unsetenv("MAYFLY_ENDPOINTS");
    unsetenv("MAYFLY_USER");
    unsetenv("MAYFLY_PASSWORD");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_change_is_a_line_and_a_gap_is_told),
        cmocka_unit_test(latency_measures_each_kind_so_often),
        cmocka_unit_test(latency_writes_only_when_asked_and_counts_errors),
        cmocka_unit_test(hotkeys_of_all_nodes_are_added_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
