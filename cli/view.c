// Asking every node of the cluster; see view.h.
//
// Each node has a client and, while it is asked, a thread of its own: one that does not answer
// makes nobody wait for the others. A thread touches its node's view only.
#include "cli/view.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/tree.h"

#define NODE_TIMEOUT_MS 1000

static void copy_text(char *to, size_t size, const struct mayfly_value *value)
{
    bool text = value != NULL && value->type == MAYFLY_TYPE_STRING && value->bytes.len < size;
    snprintf(to, size, "%.*s", text ? (int)value->bytes.len : 0,
             text ? (const char *)value->bytes.data : "");
}

static bool is_true(const struct mayfly_value *value)
{
    return value != NULL && (value->type == MAYFLY_TYPE_BOOL ? value->boolean : cli_number(value));
}

static void note_copy(struct cli_node_view *node, const struct mayfly_value *shard)
{
    uint64_t id = cli_number(mayfly_value_at(shard, "id"));
    const struct mayfly_value *applied = mayfly_value_at(shard, "applied");
    if (id >= node->copy_count)
        return;
    struct cli_copy_view *copy = &node->copies[id];
    copy->leader = cli_number(mayfly_value_at(shard, "leader"));
    copy->held = applied != NULL && applied->type != MAYFLY_TYPE_NIL;
    copy->applied = cli_number(applied);
    copy->chosen = cli_number(mayfly_value_at(shard, "chosen"));
    copy->ballot = cli_number(mayfly_value_at(shard, "ballot"));
}

static void note_memory(struct cli_node_view *node, const struct mayfly_value *row)
{
    static const char *const parts[] = {"key_bytes", "table_bytes", "heap_bytes", "id_bytes"};
    uint64_t id = cli_number(mayfly_value_at(row, "shard"));
    if (id >= node->copy_count)
        return;
    node->copies[id].keys = cli_number(mayfly_value_at(row, "keys"));
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        node->copies[id].bytes += cli_number(mayfly_value_at(row, parts[i]));
}

static void note_rate(struct cli_node_view *node, uint64_t requests, uint64_t uptime_ms)
{
    uint64_t now_us = mf_mono_us();
    node->ops_known = node->read_us > 0 && now_us > node->read_us && uptime_ms >= node->uptime_ms &&
                      requests >= node->requests;
    if (node->ops_known) {
        uint64_t count = requests - node->requests;
        count = count > node->own_requests ? count - node->own_requests : 0;
        node->ops = (double)count * 1e6 / (double)(now_us - node->read_us);
    }
    node->own_requests = 0;
    node->read_us = now_us;
    node->requests = requests;
    node->uptime_ms = uptime_ms;
}

static void note_stats(struct cli_node_view *node, const struct mayfly_value *map)
{
    node->clients = cli_number(mayfly_value_at(map, "clients"));
    node->keys = cli_number(mayfly_value_at(map, "keys"));
    node->bytes = cli_number(mayfly_value_at(map, "store_bytes"));
    node->resident_bytes = cli_number(mayfly_value_at(map, "resident_bytes"));
    node->memory_max_bytes = cli_number(mayfly_value_at(map, "memory_max_bytes"));
    node->held = cli_number(mayfly_value_at(map, "shards_held"));
    node->leading = cli_number(mayfly_value_at(map, "shards_leading"));
    node->disk_full = is_true(mayfly_value_at(map, "disk_full"));
    node->disk_failing = is_true(mayfly_value_at(map, "disk_failing"));
    note_rate(node, cli_number(mayfly_value_at(map, "requests")),
              cli_number(mayfly_value_at(map, "uptime_ms")));
    const struct mayfly_value *memory = mayfly_value_at(map, "shard_memory");
    for (size_t i = 0; i < cli_count(memory); i++)
        note_memory(node, &memory->items[i]);
}

static bool ask(struct cli_node_view *node)
{
    const struct mayfly_value *map;
    memset(node->copies, 0, node->copy_count * sizeof node->copies[0]);
    mayfly_client_set_timeout(node->client, NODE_TIMEOUT_MS);
    if (mayfly_client_connect(node->client) != MAYFLY_OK ||
        mayfly_hello(node->client, &map) != MAYFLY_OK)
        return false;
    copy_text(node->version, sizeof node->version, mayfly_value_at(map, "version"));
    if (mayfly_cluster(node->client, &map) != MAYFLY_OK)
        return false;
    const struct mayfly_value *shards = mayfly_value_at(map, "shards");
    for (size_t i = 0; i < cli_count(shards); i++)
        note_copy(node, &shards->items[i]);
    if (mayfly_stats(node->client, &map) != MAYFLY_OK)
        return false;
    node->own_requests += 3;
    note_stats(node, map);
    return true;
}

static void *ask_in_thread(void *arg)
{
    struct cli_node_view *node = arg;
    node->answered = ask(node);
    return NULL;
}

static void ask_all(struct cli_view *view)
{
    pthread_t *threads = mf_calloc(view->node_count, sizeof threads[0]);
    bool *started = mf_calloc(view->node_count, sizeof started[0]);
    for (size_t i = 0; i < view->node_count; i++) {
        struct cli_node_view *node = &view->nodes[i];
        node->answered = false;
        if (node->client == NULL)
            continue;
        started[i] = pthread_create(&threads[i], NULL, ask_in_thread, node) == 0;
        if (!started[i])
            (void)ask_in_thread(node);
    }
    for (size_t i = 0; i < view->node_count; i++) {
        if (started[i])
            (void)pthread_join(threads[i], NULL);
    }
    free(started);
    free(threads);
}

static void free_nodes(struct cli_node_view *nodes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        mayfly_client_free(nodes[i].client);
        free(nodes[i].copies);
    }
    free(nodes);
}

// Who is in the cluster; a node that was in the view before, at the same address, goes on with its
// connection and its counters.
static void take_nodes(const struct cli *cli, struct cli_view *view,
                       const struct mayfly_value *list)
{
    struct cli_node_view *before = view->nodes;
    size_t before_count = view->node_count;
    view->node_count = cli_count(list);
    view->nodes = mf_calloc(view->node_count, sizeof view->nodes[0]);
    for (size_t i = 0; i < view->node_count; i++) {
        struct cli_node_view *node = &view->nodes[i];
        node->id = cli_number(mayfly_value_at(&list->items[i], "id"));
        copy_text(node->rpc, sizeof node->rpc, mayfly_value_at(&list->items[i], "rpc"));
        for (size_t j = 0; j < before_count; j++) {
            if (before[j].id != node->id || strcmp(before[j].rpc, node->rpc) != 0)
                continue;
            *node = before[j];
            before[j].client = NULL;
            before[j].copies = NULL;
        }
        copy_text(node->peer, sizeof node->peer, mayfly_value_at(&list->items[i], "peer"));
        node->own_requests += node->id == view->asked; // it has just told of the cluster
        node->told_alive = is_true(mayfly_value_at(&list->items[i], "alive"));
        if (node->client == NULL && node->rpc[0] != '\0')
            node->client = cli_client_of(cli, node->rpc, NODE_TIMEOUT_MS);
        if (node->copies == NULL || node->copy_count != view->shard_count) {
            free(node->copies);
            node->copy_count = view->shard_count;
            node->copies = mf_calloc(node->copy_count, sizeof node->copies[0]);
        }
    }
    free_nodes(before, before_count);
}

static int by_number(const void *a, const void *b)
{
    uint64_t one = *(const uint64_t *)a;
    uint64_t other = *(const uint64_t *)b;
    return (one > other) - (one < other);
}

static void take_shard(struct cli_shard_view *shard, const struct mayfly_value *told)
{
    const struct mayfly_value *slots = mayfly_value_at(told, "slots");
    const struct mayfly_value *replicas = mayfly_value_at(told, "replicas");
    if (cli_count(slots) > 0 && cli_count(&slots->items[0]) == 2) {
        shard->first_slot = (uint32_t)cli_number(&slots->items[0].items[0]);
        shard->last_slot = (uint32_t)cli_number(&slots->items[0].items[1]);
    }
    shard->leader = cli_number(mayfly_value_at(told, "leader"));
    for (size_t i = 0; i < cli_count(replicas) && i < CLI_COPIES_MAX; i++)
        shard->replicas[shard->replica_count++] = cli_number(&replicas->items[i]);
    qsort(shard->replicas, shard->replica_count, sizeof shard->replicas[0], by_number);
}

// What the nodes' own figures say of a shard. Who says itself that it leads, by the highest ballot,
// is believed before the node that was asked, which may be cut off.
static void sum_up_shard(struct cli_view *view, size_t id)
{
    struct cli_shard_view *shard = &view->shards[id];
    const struct cli_copy_view *best = NULL;
    uint64_t claimed = 0;
    uint64_t chosen = 0;
    for (size_t i = 0; i < view->node_count; i++) {
        const struct cli_copy_view *copy = &view->nodes[i].copies[id];
        if (!view->nodes[i].answered || !copy->held)
            continue;
        bool leads = copy->leader == view->nodes[i].id;
        if (copy->chosen > chosen)
            chosen = copy->chosen;
        if (leads && copy->ballot >= claimed) {
            claimed = copy->ballot;
            shard->leader = view->nodes[i].id;
            best = copy;
        } else if (best == NULL || (claimed == 0 && copy->applied > best->applied)) {
            best = copy;
        }
        if (copy->ballot > shard->ballot)
            shard->ballot = copy->ballot;
    }
    shard->counted = best != NULL;
    shard->keys = best != NULL ? best->keys : 0;
    shard->bytes = best != NULL ? best->bytes : 0;
    for (size_t i = 0; i < view->node_count; i++) {
        struct cli_node_view *node = &view->nodes[i];
        if (!node->answered || !node->copies[id].held || node->copies[id].applied >= chosen)
            continue;
        uint64_t lag = chosen - node->copies[id].applied;
        node->lag = lag > node->lag ? lag : node->lag;
        shard->lag = lag > shard->lag ? lag : shard->lag;
    }
    for (size_t i = 0; i < shard->replica_count; i++)
        shard->up += cli_node_is_up(view, shard->replicas[i]);
}

int cli_view_read(struct cli *cli, struct cli_view *view)
{
    const struct mayfly_value *map;
    int status = cli->client != NULL ? CLI_YES : cli_connect(cli, 0, 0);
    if (status != CLI_YES)
        return status;
    if (mayfly_cluster(cli->client, &map) != MAYFLY_OK)
        return cli_call_failed(cli);
    const struct mayfly_value *shards = mayfly_value_at(map, "shards");
    json_decref(view->told);
    view->told = cli_json_value(map);
    copy_text(view->name, sizeof view->name, mayfly_value_at(map, "name"));
    view->asked = cli_number(mayfly_value_at(map, "node"));
    free(view->shards);
    view->shard_count = cli_count(shards);
    view->shards = mf_calloc(view->shard_count, sizeof view->shards[0]);
    for (size_t i = 0; i < view->shard_count; i++)
        take_shard(&view->shards[i], &shards->items[i]);
    take_nodes(cli, view, mayfly_value_at(map, "nodes"));
    ask_all(view);
    for (size_t i = 0; i < view->node_count; i++)
        view->nodes[i].lag = 0;
    for (size_t i = 0; i < view->shard_count; i++)
        sum_up_shard(view, i);
    return CLI_YES;
}

void cli_view_free(struct cli_view *view)
{
    free_nodes(view->nodes, view->node_count);
    free(view->shards);
    json_decref(view->told);
    *view = (struct cli_view){0};
}

const char *cli_node_state(const struct cli_node_view *node)
{
    return node->answered ? "alive" : node->told_alive ? "unreachable" : "dead";
}

bool cli_node_is_up(const struct cli_view *view, uint64_t id)
{
    for (size_t i = 0; i < view->node_count; i++) {
        if (view->nodes[i].id == id)
            return view->nodes[i].answered || view->nodes[i].told_alive;
    }
    return false;
}

struct cli_trouble cli_view_trouble(const struct cli_view *view)
{
    struct cli_trouble trouble = {0};
    for (size_t i = 0; i < view->shard_count; i++) {
        const struct cli_shard_view *shard = &view->shards[i];
        trouble.leaderless += shard->leader == 0;
        trouble.no_majority += shard->up * 2 <= shard->replica_count;
        trouble.copies_missing += shard->up < shard->replica_count;
    }
    for (size_t i = 0; i < view->node_count; i++) {
        trouble.nodes_down += !view->nodes[i].answered;
        trouble.disks +=
            view->nodes[i].answered && (view->nodes[i].disk_full || view->nodes[i].disk_failing);
    }
    return trouble;
}

void cli_print_verdict(const struct cli *cli, const struct cli_view *view)
{
    struct cli_trouble trouble = cli_view_trouble(view);
    const struct {
        size_t count;
        const char *one;
        const char *many;
    } rows[] = {
        {trouble.leaderless, "shard has no leader", "shards have no leader"},
        {trouble.no_majority, "shard has no majority up", "shards have no majority up"},
        {trouble.nodes_down, "node does not answer", "nodes do not answer"},
        {trouble.disks, "disk is full or failing", "disks are full or failing"},
        {trouble.copies_missing, "shard misses a copy", "shards miss a copy"},
    };
    bool well = true;
    fprintf(cli->out, "%s: %zu node%s, %zu shard%s: ", view->name, view->node_count,
            view->node_count == 1 ? "" : "s", view->shard_count, view->shard_count == 1 ? "" : "s");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].count == 0)
            continue;
        fprintf(cli->out, "%s%zu %s",
                !well         ? ", "
                : cli->colour ? CLI_RED
                              : "",
                rows[i].count, rows[i].count == 1 ? rows[i].one : rows[i].many);
        well = false;
    }
    fprintf(cli->out, "%s\n", well ? "all well" : cli->colour ? CLI_PLAINLY : "");
}
