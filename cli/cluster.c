// `mayfly cluster`: who is in the cluster, and who leads and holds its shards.
//
// What is asked of this at night is whether a shard has no leader or too few copies, and which node
// is to blame. So shards in trouble come first, each with the word for it, and when there are many,
// those with the same leader, copies and state share a line.
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "cli/cli.h"
#include "cli/human.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "cli/view.h"

#define LINES_MAX 24  // shards that have a line each without --all
#define RANGES_MAX 40 // characters of the numbers of shards that share a line

enum health { LEADERLESS, NO_MAJORITY, COPY_DOWN, WELL };

struct row {
    const struct cli_view *view;
    uint32_t id;
    const struct cli_shard_view *shard;
    enum health health;
};

static enum health health_of(const struct cli_shard_view *shard)
{
    if (shard->up * 2 <= shard->replica_count)
        return NO_MAJORITY;
    if (shard->leader == 0)
        return LEADERLESS;
    return shard->up < shard->replica_count ? COPY_DOWN : WELL;
}

// 0: they share a line.
static int compare_rows(const struct row *a, const struct row *b)
{
    if (a->health != b->health)
        return a->health < b->health ? -1 : 1;
    if (a->shard->leader != b->shard->leader)
        return a->shard->leader < b->shard->leader ? -1 : 1;
    if (a->shard->replica_count != b->shard->replica_count)
        return a->shard->replica_count < b->shard->replica_count ? -1 : 1;
    for (size_t i = 0; i < a->shard->replica_count; i++) {
        if (a->shard->replicas[i] != b->shard->replicas[i])
            return a->shard->replicas[i] < b->shard->replicas[i] ? -1 : 1;
    }
    return 0;
}

static int by_group(const void *a, const void *b)
{
    const struct row *one = a;
    const struct row *other = b;
    int order = compare_rows(one, other);
    return order != 0 ? order : one->id < other->id ? -1 : one->id > other->id;
}

// "0-3,7,9-11", cut with ... when it becomes long.
static void ranges_cell(struct cli_table *table, const struct row *rows, size_t count)
{
    char text[RANGES_MAX + 32] = "";
    size_t used = 0;
    for (size_t i = 0; i < count;) {
        size_t end = i + 1;
        while (end < count && rows[end].id == rows[end - 1].id + 1)
            end++;
        if (used >= RANGES_MAX) {
            snprintf(text + used, sizeof text - used, ",...");
            break;
        }
        int wrote = snprintf(text + used, sizeof text - used, i > 0 ? ",%u" : "%u", rows[i].id);
        used += (size_t)wrote;
        if (end - i > 1)
            used += (size_t)snprintf(text + used, sizeof text - used, "-%u", rows[end - 1].id);
        i = end;
    }
    cli_table_cell(table, "%s", text);
}

static void copies_text(const struct row *row, bool marks, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < row->shard->replica_count && used + 32 < size; i++) {
        uint64_t id = row->shard->replicas[i];
        used += (size_t)snprintf(text + used, size - used, "%s%llu%s", i > 0 ? "," : "",
                                 (unsigned long long)id,
                                 marks && !cli_node_is_up(row->view, id) ? "!" : "");
    }
}

static void health_cell(struct cli_table *table, const struct row *row)
{
    size_t down = row->shard->replica_count - row->shard->up;
    switch (row->health) {
    case LEADERLESS:
        cli_table_cell(table, "no leader");
        break;
    case NO_MAJORITY:
        cli_table_cell(table, "no majority");
        break;
    case COPY_DOWN:
        cli_table_cell(table, "%zu cop%s down", down, down == 1 ? "y" : "ies");
        break;
    case WELL:
        cli_table_cell(table, "ok");
        break;
    }
    if (row->health != WELL)
        cli_table_colour(table, CLI_RED);
}

static void leader_text(const struct cli_shard_view *shard, char text[24])
{
    if (shard->leader == 0)
        snprintf(text, 24, "none");
    else
        snprintf(text, 24, "%llu", (unsigned long long)shard->leader);
}

// One line for `count` shards that are alike: sums, and the most of lag and ballot.
static void add_line(struct cli_table *table, const struct row *rows, size_t count)
{
    uint64_t keys = 0;
    uint64_t bytes = 0;
    uint64_t lag = 0;
    uint64_t ballot = 0;
    bool counted = true;
    char text[CLI_COPIES_MAX * 24];
    for (size_t i = 0; i < count; i++) {
        const struct cli_shard_view *shard = rows[i].shard;
        keys += shard->keys;
        bytes += shard->bytes;
        lag = shard->lag > lag ? shard->lag : lag;
        ballot = shard->ballot > ballot ? shard->ballot : ballot;
        counted = counted && shard->counted;
    }
    ranges_cell(table, rows, count);
    cli_table_cell(table, "%zu", count);
    health_cell(table, &rows[0]);
    leader_text(rows[0].shard, text);
    cli_table_cell(table, "%s", text);
    copies_text(&rows[0], true, text, sizeof text);
    cli_table_cell(table, "%s", text);
    cli_table_cell(table, "%s", counted ? cli_human_count(lag).text : "-");
    cli_table_cell(table, "%s", counted ? cli_human_count(keys).text : "-");
    cli_table_cell(table, "%s", counted ? cli_human_bytes(bytes).text : "-");
    // A ballot is a round and, below, the id of the node that made it.
    cli_table_cell(table, "%llu.%llu", (unsigned long long)(ballot >> 16),
                   (unsigned long long)(ballot & 0xffff));
}

static void print_shards(const struct cli *cli, const struct cli_view *view)
{
    static const char *const heads[] = {"SHARDS", "COUNT", "STATE", "LEADER", "COPIES",
                                        "LAG",    "KEYS",  "SIZE",  "BALLOT"};
    struct cli_table table = cli_table_of(heads, sizeof heads / sizeof heads[0]);
    table.right = 0x0ea; // COUNT, LEADER, and the numbers behind COPIES
    table.colours = cli->colour;
    bool each = cli->flags[CLI_FLAG_ALL].given || view->shard_count <= LINES_MAX;
    struct row *rows = mf_calloc(view->shard_count, sizeof rows[0]);
    for (size_t i = 0; i < view->shard_count; i++)
        rows[i] = (struct row){.view = view,
                               .id = (uint32_t)i,
                               .shard = &view->shards[i],
                               .health = health_of(&view->shards[i])};
    if (!each)
        qsort(rows, view->shard_count, sizeof rows[0], by_group);
    for (size_t i = 0; i < view->shard_count;) {
        size_t end = i + 1;
        while (!each && end < view->shard_count && compare_rows(&rows[i], &rows[end]) == 0)
            end++;
        add_line(&table, rows + i, end - i);
        i = end;
    }
    cli_table_print(&table, cli->out, false);
    cli_table_free(&table);
    free(rows);
}

static void print_nodes(const struct cli *cli, const struct cli_view *view)
{
    static const char *const heads[] = {"NODE", "STATE", "LEADS", "HOLDS", "RPC", "PEER"};
    struct cli_table table = cli_table_of(heads, sizeof heads / sizeof heads[0]);
    table.right = 0x0d;
    table.colours = cli->colour;
    for (size_t i = 0; i < view->node_count; i++) {
        const struct cli_node_view *node = &view->nodes[i];
        unsigned long long leads = 0;
        unsigned long long holds = 0;
        for (size_t j = 0; j < view->shard_count; j++) {
            leads += view->shards[j].leader == node->id;
            for (size_t k = 0; k < view->shards[j].replica_count; k++)
                holds += view->shards[j].replicas[k] == node->id;
        }
        cli_table_cell(&table, "%llu", (unsigned long long)node->id);
        cli_table_cell(&table, "%s", cli_node_state(node));
        if (!node->answered)
            cli_table_colour(&table, CLI_RED);
        cli_table_cell(&table, "%llu", leads);
        cli_table_cell(&table, "%llu", holds);
        cli_table_cell(&table, "%s", node->rpc[0] != '\0' ? node->rpc : "-");
        cli_table_cell(&table, "%s", node->peer[0] != '\0' ? node->peer : "-");
    }
    cli_table_print(&table, cli->out, false);
    cli_table_free(&table);
}

// For scripts: a line `node` or `shard` and its fields.
static void print_plain(const struct cli *cli, const struct cli_view *view)
{
    char leader[24];
    char copies[CLI_COPIES_MAX * 24];
    for (size_t i = 0; i < view->node_count; i++) {
        const struct cli_node_view *node = &view->nodes[i];
        fprintf(cli->out, "node\t%llu\t%s\t%s\t%s\n", (unsigned long long)node->id,
                cli_node_state(node), node->rpc[0] != '\0' ? node->rpc : "-",
                node->peer[0] != '\0' ? node->peer : "-");
    }
    for (size_t i = 0; i < view->shard_count; i++) {
        const struct cli_shard_view *shard = &view->shards[i];
        const struct row row = {.view = view, .id = (uint32_t)i, .shard = shard};
        leader_text(shard, leader);
        copies_text(&row, false, copies, sizeof copies);
        fprintf(cli->out, "shard\t%zu\t%u-%u\t%s\t%s\t%llu\t%llu\t%llu\t%llu\n", i,
                shard->first_slot, shard->last_slot, leader, copies, (unsigned long long)shard->lag,
                (unsigned long long)shard->keys, (unsigned long long)shard->bytes,
                (unsigned long long)shard->ballot);
    }
}

// What the connected node told, and what the nodes' own figures add to it.
static void print_json(const struct cli *cli, const struct cli_view *view)
{
    json_t *shards = json_object_get(view->told, "shards");
    json_t *nodes = json_object_get(view->told, "nodes");
    for (size_t i = 0; i < view->shard_count; i++) {
        const struct cli_shard_view *shard = &view->shards[i];
        json_t *object = json_array_get(shards, i);
        bool counted = shard->counted;
        json_object_set_new(object, "keys",
                            counted ? json_integer((json_int_t)shard->keys) : json_null());
        json_object_set_new(object, "bytes",
                            counted ? json_integer((json_int_t)shard->bytes) : json_null());
        json_object_set_new(object, "lag",
                            counted ? json_integer((json_int_t)shard->lag) : json_null());
    }
    for (size_t i = 0; i < view->node_count; i++)
        json_object_set_new(json_array_get(nodes, i), "state",
                            json_string(cli_node_state(&view->nodes[i])));
    cli_print_json(cli->out, json_incref(view->told));
}

static int show(struct cli *cli, void *arg)
{
    struct cli_view *view = arg;
    int status = cli_view_read(cli, view);
    if (status != CLI_YES)
        return status;
    if (cli->output == CLI_JSON) {
        print_json(cli, view);
    } else if (cli->output == CLI_PLAIN) {
        print_plain(cli, view);
    } else {
        cli_print_verdict(cli, view);
        fputc('\n', cli->out);
        print_nodes(cli, view);
        fputc('\n', cli->out);
        print_shards(cli, view);
    }
    return CLI_YES;
}

int cli_cluster(struct cli *cli)
{
    struct cli_view view = {0};
    int status = cli_repeat(cli, show, &view);
    cli_view_free(&view);
    return status;
}
