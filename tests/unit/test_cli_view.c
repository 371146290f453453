// `mayfly status` and `mayfly cluster` of clusters that fake nodes tell of: what is printed, what
// is called trouble, and what becomes of many shards.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "cli/human.h"
#include "cli_run.h"
#include "fake_node.h"

#define OWN_REQUESTS 4 // of a reading to the node that tells of the cluster: 3, and that one

// A cluster of two nodes and any number of shards: the fake node itself, and one whose port
// refuses. Shard i is led by node 1, but every fifth by nobody; it has copies on 1 and `partner`.
struct pair {
    char self[32];
    char other[32];
    int shards;
    int partner;
    bool disk_full;
    int64_t requests;
    int64_t others; // requests between two readings that are not of a reading
};

static void pack_node(struct mf_buf *out, int id, const char *rpc, bool alive)
{
    fake_map(out, 4);
    fake_str(out, "id");
    fake_int(out, id);
    fake_str(out, "rpc");
    fake_str(out, rpc);
    fake_str(out, "peer");
    fake_str(out, "p:1");
    fake_str(out, "alive");
    fake_bool(out, alive);
}

static void pack_shard(struct mf_buf *out, const struct pair *pair, int id)
{
    const struct {
        const char *name;
        int64_t value;
    } rows[] = {{"id", id},
                {"leader", id % 5 == 4 ? 0 : 1},
                {"ballot", (7 << 16) + 1},
                {"chosen", 37 + id},
                {"applied", 30 + id}};
    fake_map(out, 7);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fake_str(out, rows[i].name);
        fake_int(out, rows[i].value);
    }
    fake_str(out, "slots");
    fake_array(out, 1);
    fake_array(out, 2);
    fake_int(out, id * 10);
    fake_int(out, id * 10 + 9);
    fake_str(out, "replicas");
    fake_array(out, 2);
    fake_int(out, pair->partner);
    fake_int(out, 1);
}

static void pack_stats(struct mf_buf *out, struct pair *pair)
{
    const struct {
        const char *name;
        int64_t value;
    } rows[] = {{"keys", 1000},
                {"store_bytes", 2000},
                {"uptime_ms", 3000},
                {"shards_held", 4000},
                {"shards_leading", 5000},
                {"clients", 6},
                {"disk_full", pair->disk_full},
                {"requests", pair->requests}};
    pair->requests += OWN_REQUESTS + pair->others;
    fake_map(out, sizeof rows / sizeof rows[0] + 1);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fake_str(out, rows[i].name);
        fake_int(out, rows[i].value);
    }
    fake_str(out, "shard_memory");
    fake_array(out, 1);
    fake_map(out, 3);
    fake_str(out, "shard");
    fake_int(out, 0);
    fake_str(out, "keys");
    fake_int(out, 42);
    fake_str(out, "key_bytes");
    fake_int(out, 2048);
}

static enum fake_then be_a_cluster(void *arg, const struct fake_request *request,
                                   struct mf_buf *out)
{
    struct pair *pair = arg;
    fake_reply(out, request->msgid);
    if (strcmp(request->method, "stats") == 0) {
        pack_stats(out, pair);
        return FAKE_GO_ON;
    }
    if (strcmp(request->method, "hello") == 0) {
        fake_map(out, 1);
        fake_str(out, "version");
        fake_str(out, "9.8.7");
        return FAKE_GO_ON;
    }
    fake_map(out, 4);
    fake_str(out, "name");
    fake_str(out, "demo");
    fake_str(out, "node");
    fake_int(out, 1);
    fake_str(out, "nodes");
    fake_array(out, 2);
    pack_node(out, 1, pair->self, true);
    pack_node(out, 2, pair->other, false);
    fake_str(out, "shards");
    fake_array(out, (uint32_t)pair->shards);
    for (int i = 0; i < pair->shards; i++)
        pack_shard(out, pair, i);
    return FAKE_GO_ON;
}

struct stage {
    struct pair pair;
    struct fake_port port;
    struct fake_node *node;
};

static void open_stage(struct stage *stage, int shards, int partner)
{
    stage->pair = (struct pair){.shards = shards, .partner = partner};
    stage->port = fake_port_taken();
    stage->node =
        fake_node_start(be_a_cluster, &stage->pair, (struct fake_options){.raw_greeting = true});
    snprintf(stage->pair.self, sizeof stage->pair.self, "%s", fake_node_endpoint(stage->node));
    snprintf(stage->pair.other, sizeof stage->pair.other, "%s", stage->port.endpoint);
}

static void close_stage(struct stage *stage)
{
    fake_node_stop(stage->node);
    fake_port_free(&stage->port);
}

static struct cli_run run_ok(const struct stage *stage, const char *words)
{
    struct cli_run run = cli_run_words(stage->pair.self, words, "");
    assert_int_equal(run.status, 0);
    assert_string_equal(run.err, "");
    return run;
}

static void assert_printed(const struct stage *stage, const char *words, const char *const *parts)
{
    struct cli_run run = run_ok(stage, words);
    for (; *parts != NULL; parts++) {
        if (strstr(run.out, *parts) == NULL)
            fail_msg("mayfly %s printed\n%s\nwithout: %s", words, run.out, *parts);
    }
    cli_run_free(&run);
}

static void status_has_a_line_for_each_node_in_every_form(void **state)
{
    (void)state;
    struct stage stage;
    char text[400];
    open_stage(&stage, 2, 2);
    struct cli_run run = run_ok(&stage, "status -o plain");
    snprintf(text, sizeof text, "1\talive\t%s\t5000\t4000\t1000\t2000\t7\t3000\t6\t",
             stage.pair.self);
    assert_int_equal(strncmp(run.out, text, strlen(text)), 0);
    snprintf(text, sizeof text, "\tok\t9.8.7\n2\tdead\t%s\t-\t-\t-\t-\t-\t-\t-\t-\t-\t-\n",
             stage.pair.other);
    assert_non_null(strstr(run.out, text));
    cli_run_free(&run);
    assert_printed(&stage, "status",
                   (const char *[]){"demo: 2 nodes, 2 shards: 2 shards have no majority up, "
                                    "1 node does not answer, 2 shards miss a copy\n",
                                    "NODE  STATE  LEADS  HOLDS   KEYS    MEMORY",
                                    "   1  alive   5000   4000  1,000  1.95 KiB", NULL});
    close_stage(&stage);
}

// Of the node that answers; the one that does not has none.
static double rate_told(const struct stage *stage)
{
    struct cli_run run = run_ok(stage, "status -o json");
    json_t *json = json_loads(run.out, 0, NULL);
    assert_non_null(json);
    json_t *nodes = json_object_get(json, "nodes");
    json_t *rate = json_object_get(json_array_get(nodes, 0), "ops_per_second");
    assert_true(json_is_real(rate));
    assert_true(json_is_null(json_object_get(json_array_get(nodes, 1), "ops_per_second")));
    double value = json_real_value(rate);
    json_decref(json);
    cli_run_free(&run);
    return value;
}

static void the_rate_is_that_between_two_readings_without_their_own_requests(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage, 1, 2);
    assert_true(rate_told(&stage) == 0);
    stage.pair.others = 1000;
    assert_true(rate_told(&stage) > 0);
    stage.pair.others = -OWN_REQUESTS - 1; // as after a restart
    struct cli_run run = run_ok(&stage, "status -o json");
    assert_non_null(strstr(run.out, "\"ops_per_second\": null, \"disk\": \"ok\""));
    cli_run_free(&run);
    close_stage(&stage);
}

static void a_full_disk_is_told(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage, 1, 1);
    stage.pair.disk_full = true;
    assert_printed(&stage, "status", (const char *[]){"1 disk is full or failing", " full ", NULL});
    assert_printed(&stage, "status -o json", (const char *[]){"\"disk\": \"full\"", NULL});
    close_stage(&stage);
}

static void a_few_shards_have_a_line_each(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage, 6, 2);
    assert_printed(&stage, "cluster -o plain",
                   (const char *[]){"node\t1\talive\t127.0.0.1:", "node\t2\tdead\t127.0.0.1:",
                                    "\nshard\t0\t0-9\t1\t1,2\t7\t42\t2048\t458753\n",
                                    "\nshard\t4\t40-49\tnone\t1,2\t7\t0\t0\t458753\n", NULL});
    assert_printed(&stage, "cluster",
                   (const char *[]){"0           1  no majority       1  1,2!      7    42",
                                    "4           1  no majority    none  1,2!  ", "  7.1\n", NULL});
    assert_printed(&stage, "cluster -o json",
                   (const char *[]){"\"replicas\": [2, 1], \"keys\": 42, \"bytes\": 2048, "
                                    "\"lag\": 7}",
                                    "\"alive\": false, \"state\": \"dead\"}", NULL});
    close_stage(&stage);
}

static size_t lines_with(const char *text, const char *part)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at += strlen(part))
        count++;
    return count;
}

static void many_shards_share_lines_and_those_in_trouble_come_first(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage, 1000, 1); // both copies on node 1: nothing is missing but leaders
    struct cli_run run = run_ok(&stage, "cluster");
    const char *leaderless = strstr(run.out, "\n4,9,14,19,");
    const char *well = strstr(run.out, "\n0-3,5-8,10-13,");
    assert_non_null(leaderless);
    assert_non_null(well);
    assert_true(leaderless < well);
    assert_non_null(strstr(leaderless, "  200  no leader    none  1,1  "));
    assert_non_null(strstr(well, "  800  ok              1  1,1  "));
    assert_int_equal(lines_with(run.out, "  1,1  "), 2);
    cli_run_free(&run);
    run = run_ok(&stage, "cluster --all");
    assert_int_equal(lines_with(run.out, "  1,1  "), 1000);
    assert_non_null(strstr(run.out, "\n999 "));
    cli_run_free(&run);
    close_stage(&stage);
}

static void numbers_for_eyes_are_short(void **state)
{
    (void)state;
    static const struct {
        uint64_t number;
        const char *count;
        const char *bytes;
        const char *ms;
    } cases[] = {
        {0, "0", "0 B", "0s"},
        {999, "999", "999 B", "0s"},
        {1000, "1,000", "1000 B", "1s"},
        {1024, "1,024", "1.00 KiB", "1s"},
        {59999, "59,999", "58.6 KiB", "59s"},
        {60000, "60,000", "58.6 KiB", "1m 0s"},
        {999999, "999,999", "977 KiB", "16m 39s"},
        {1000000, "1.00M", "977 KiB", "16m 40s"},
        {1048576, "1.05M", "1.00 MiB", "17m 28s"},
        {86400000, "86.4M", "82.4 MiB", "1d 0h"},
        {999499999, "999M", "953 MiB", "11d 13h"},
        {999500000, "1.00G", "953 MiB", "11d 13h"},
        {UINT64_MAX, "18.4E", "16.0 EiB", "213503982334d 14h"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_string_equal(cli_human_count(cases[i].number).text, cases[i].count);
        assert_string_equal(cli_human_bytes(cases[i].number).text, cases[i].bytes);
        assert_string_equal(cli_human_ms(cases[i].number).text, cases[i].ms);
    }
}

int main(void)
{
    unsetenv("MAYFLY_ENDPOINTS");
    unsetenv("MAYFLY_USER");
    unsetenv("MAYFLY_PASSWORD");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_has_a_line_for_each_node_in_every_form),
        cmocka_unit_test(the_rate_is_that_between_two_readings_without_their_own_requests),
        cmocka_unit_test(a_full_disk_is_told),
        cmocka_unit_test(a_few_shards_have_a_line_each),
        cmocka_unit_test(many_shards_share_lines_and_those_in_trouble_come_first),
        cmocka_unit_test(numbers_for_eyes_are_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
