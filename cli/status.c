// `mayfly status`: one line a node, asked of every node itself.
//
// The first node that answers tells who is in the cluster. Each of them is then asked for its own
// numbers. How far a shard has come is the most that any node knows of it; a node's lag is how far
// its furthest shard is behind that.
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/tree.h"

#define NODE_TIMEOUT_MS 1000

// One node, as it sees itself.
struct node_view {
    bool answered;
    uint64_t keys;
    uint64_t bytes;
    uint64_t uptime_ms;
    uint64_t held;
    uint64_t leading;
    uint64_t *applied; // by shard; UINT64_MAX: not held
    uint64_t *chosen;
    size_t shards;
};

static void note_shard(struct node_view *view, const struct mayfly_value *shard)
{
    uint64_t id = cli_number(mayfly_value_at(shard, "id"));
    const struct mayfly_value *applied = mayfly_value_at(shard, "applied");
    if (id >= view->shards || applied == NULL || applied->type == MAYFLY_TYPE_NIL)
        return;
    view->applied[id] = cli_number(applied);
    view->chosen[id] = cli_number(mayfly_value_at(shard, "chosen"));
}

static bool ask_client(struct mayfly_client *client, struct node_view *view)
{
    const struct mayfly_value *map;
    mayfly_client_set_timeout(client, NODE_TIMEOUT_MS);
    if (mayfly_client_connect(client) != MAYFLY_OK || mayfly_cluster(client, &map) != MAYFLY_OK)
        return false;
    const struct mayfly_value *shards = mayfly_value_at(map, "shards");
    for (size_t i = 0; i < cli_count(shards); i++)
        note_shard(view, &shards->items[i]);
    if (mayfly_stats(client, &map) != MAYFLY_OK)
        return false;
    view->keys = cli_number(mayfly_value_at(map, "keys"));
    view->bytes = cli_number(mayfly_value_at(map, "store_bytes"));
    view->uptime_ms = cli_number(mayfly_value_at(map, "uptime_ms"));
    view->held = cli_number(mayfly_value_at(map, "shards_held"));
    view->leading = cli_number(mayfly_value_at(map, "shards_leading"));
    return true;
}

// A node without an rpc address cannot be asked.
static void ask(const struct cli *cli, struct node_view *view, const struct mayfly_value *node)
{
    const struct mayfly_value *rpc = mayfly_value_at(node, "rpc");
    char endpoint[300];
    if (rpc == NULL || rpc->type != MAYFLY_TYPE_STRING || rpc->bytes.len == 0 ||
        rpc->bytes.len >= sizeof endpoint)
        return;
    snprintf(endpoint, sizeof endpoint, "%.*s", (int)rpc->bytes.len, (const char *)rpc->bytes.data);
    struct mayfly_client *client = cli_client_of(cli, endpoint, NODE_TIMEOUT_MS);
    view->answered = client != NULL && ask_client(client, view);
    mayfly_client_free(client);
}

static uint64_t lag_of(const struct node_view *views, size_t count, const struct node_view *view)
{
    uint64_t lag = 0;
    for (size_t shard = 0; shard < view->shards; shard++) {
        if (view->applied[shard] == UINT64_MAX)
            continue;
        uint64_t chosen = view->chosen[shard];
        for (size_t i = 0; i < count; i++) {
            if (views[i].answered && views[i].applied[shard] != UINT64_MAX &&
                views[i].chosen[shard] > chosen)
                chosen = views[i].chosen[shard];
        }
        if (chosen > view->applied[shard] && chosen - view->applied[shard] > lag)
            lag = chosen - view->applied[shard];
    }
    return lag;
}

static json_t *node_json(const struct mayfly_value *node, const struct node_view *view,
                         const char *state, uint64_t lag)
{
    json_t *object = json_pack("{s:I, s:s}", "id",
                               (json_int_t)cli_number(mayfly_value_at(node, "id")), "state", state);
    const struct mayfly_value *rpc = mayfly_value_at(node, "rpc");
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {{"leads", view->leading}, {"holds", view->held}, {"keys", view->keys},
                {"bytes", view->bytes},   {"lag", lag},          {"uptime_ms", view->uptime_ms}};
    json_object_set_new(object, "rpc", rpc != NULL ? cli_json_value(rpc) : json_null());
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        json_object_set_new(object, rows[i].name,
                            view->answered ? json_integer((json_int_t)rows[i].value) : json_null());
    return object;
}

static void node_row(struct cli_table *table, const struct mayfly_value *node,
                     const struct node_view *view, const char *state, uint64_t lag)
{
    cli_table_scalar(table, mayfly_value_at(node, "id"));
    cli_table_cell(table, "%s", state);
    cli_table_scalar(table, mayfly_value_at(node, "rpc"));
    const uint64_t numbers[] = {view->leading, view->held, view->keys, view->bytes, lag};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (view->answered)
            cli_table_cell(table, "%llu", (unsigned long long)numbers[i]);
        else
            cli_table_cell(table, "-");
    }
    if (view->answered)
        cli_table_cell(table, "%llu s", (unsigned long long)view->uptime_ms / 1000);
    else
        cli_table_cell(table, "-");
}

static const char *state_of(const struct mayfly_value *node, const struct node_view *view)
{
    const struct mayfly_value *alive = mayfly_value_at(node, "alive");
    if (view->answered)
        return "alive";
    return alive != NULL && alive->type == MAYFLY_TYPE_BOOL && alive->boolean ? "unreachable"
                                                                              : "dead";
}

static uint64_t leaderless(const struct mayfly_value *shards)
{
    uint64_t count = 0;
    for (size_t i = 0; i < cli_count(shards); i++)
        count += cli_number(mayfly_value_at(&shards->items[i], "leader")) == 0;
    return count;
}

static void print_status(const struct cli *cli, const struct mayfly_value *map,
                         const struct node_view *views)
{
    static const char *const heads[] = {"NODE", "STATE", "RPC", "LEADS", "HOLDS",
                                        "KEYS", "BYTES", "LAG", "UPTIME"};
    const struct mayfly_value *nodes = mayfly_value_at(map, "nodes");
    const struct mayfly_value *shards = mayfly_value_at(map, "shards");
    const struct mayfly_value *name = mayfly_value_at(map, "name");
    struct cli_table table = cli_table_of(heads, 9);
    json_t *array = json_array();
    for (size_t i = 0; i < cli_count(nodes); i++) {
        uint64_t lag = lag_of(views, cli_count(nodes), &views[i]);
        const char *state = state_of(&nodes->items[i], &views[i]);
        node_row(&table, &nodes->items[i], &views[i], state, lag);
        json_array_append_new(array, node_json(&nodes->items[i], &views[i], state, lag));
    }
    if (cli->output == CLI_JSON) {
        cli_print_json(cli->out,
                       json_pack("{s:o, s:I, s:I, s:o}", "cluster",
                                 name != NULL ? cli_json_value(name) : json_null(), "shards",
                                 (json_int_t)cli_count(shards), "shards_without_leader",
                                 (json_int_t)leaderless(shards), "nodes", array));
    } else {
        cli_table_print(&table, cli->out, cli->output == CLI_PLAIN);
        if (cli->output == CLI_TABLE)
            fprintf(cli->out, "%zu shards, %llu without a leader\n", cli_count(shards),
                    (unsigned long long)leaderless(shards));
        json_decref(array);
    }
    cli_table_free(&table);
}

int cli_status(struct cli *cli)
{
    const struct mayfly_value *map;
    int status = cli_connect(cli, 0, 0);
    if (status != CLI_YES)
        return status;
    if (mayfly_cluster(cli->client, &map) != MAYFLY_OK)
        return cli_call_failed(cli);
    const struct mayfly_value *nodes = mayfly_value_at(map, "nodes");
    size_t count = cli_count(nodes);
    size_t shards = cli_count(mayfly_value_at(map, "shards"));
    struct node_view *views = mf_calloc(count, sizeof views[0]);
    for (size_t i = 0; i < count; i++) {
        views[i].shards = shards;
        views[i].applied = mf_calloc(shards, sizeof views[i].applied[0]);
        views[i].chosen = mf_calloc(shards, sizeof views[i].chosen[0]);
        memset(views[i].applied, 0xff, shards * sizeof views[i].applied[0]);
        ask(cli, &views[i], &nodes->items[i]);
    }
    print_status(cli, map, views);
    for (size_t i = 0; i < count; i++) {
        free(views[i].applied);
        free(views[i].chosen);
    }
    free(views);
    return CLI_YES;
}
