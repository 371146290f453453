// `mayfly hotkeys`: the keys that clients ask for most, of the whole cluster.
//
// Each node counts what its own clients ask, so the answers of all are added up by key. A node
// tells of a key how often it is asked for and which share of all operations that is, so also how
// many there are in all: the share in the cluster is of the sum of those.
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "cli/cli.h"
#include "cli/human.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "cli/tree.h"
#include "cli/view.h"

#define KEYS_SHOWN 10  // unless --count is given
#define KEYS_ASKED 128 // of each node: what is somewhat hot on many nodes is hot
#define KEYS_MAX 10000
#define NODES_SHOWN 8

// What one node says of one key.
struct heat {
    struct mf_bytes key; // the report's own
    uint64_t node;
    double ops;
};

// The sums of a key.
struct hot_key {
    const struct heat *first; // of its heats, the busiest node first
    size_t count;
    double ops;
};

struct report {
    struct heat *heats;
    size_t count;
    struct hot_key *keys;
    size_t key_count;
    double total_ops;
};

static double number_of(const struct mayfly_value *value)
{
    return value->type == MAYFLY_TYPE_DOUBLE ? value->number : (double)cli_number(value);
}

static void note_node(struct report *report, uint64_t node, const struct mayfly_value *list)
{
    double total = 0;
    report->heats =
        mf_realloc(report->heats, (report->count + list->count + 1) * sizeof report->heats[0]);
    for (size_t i = 0; i < cli_count(list); i++) {
        const struct mayfly_value *row = &list->items[i];
        if (cli_count(row) < 3 ||
            (row->items[0].type != MAYFLY_TYPE_BYTES && row->items[0].type != MAYFLY_TYPE_STRING))
            continue;
        struct mayfly_bytes key = row->items[0].bytes;
        double ops = number_of(&row->items[1]);
        double share = number_of(&row->items[2]);
        uint8_t *copy = mf_calloc(key.len + 1, 1);
        memcpy(copy, key.len > 0 ? key.data : "", key.len);
        report->heats[report->count++] =
            (struct heat){.key = mf_bytes_of(copy, key.len), .node = node, .ops = ops};
        if (share > 0 && ops / share > total)
            total = ops / share;
    }
    report->total_ops += total;
}

static int by_key(const void *a, const void *b)
{
    const struct heat *one = a;
    const struct heat *other = b;
    int order = mf_bytes_compare(one->key, other->key);
    return order != 0 ? order : (other->ops > one->ops) - (other->ops < one->ops);
}

static int by_ops(const void *a, const void *b)
{
    const struct hot_key *one = a;
    const struct hot_key *other = b;
    int order = (other->ops > one->ops) - (other->ops < one->ops);
    return order != 0 ? order : mf_bytes_compare(one->first->key, other->first->key);
}

static void add_up(struct report *report)
{
    report->keys = mf_calloc(report->count + 1, sizeof report->keys[0]);
    if (report->count == 0)
        return;
    qsort(report->heats, report->count, sizeof report->heats[0], by_key);
    for (size_t i = 0; i < report->count; i++) {
        const struct heat *heat = &report->heats[i];
        if (i == 0 || !mf_bytes_equal(heat->key, report->heats[i - 1].key))
            report->keys[report->key_count++].first = heat;
        struct hot_key *key = &report->keys[report->key_count - 1];
        key->count += 1;
        key->ops += heat->ops;
    }
    qsort(report->keys, report->key_count, sizeof report->keys[0], by_ops);
}

static void free_report(struct report *report)
{
    for (size_t i = 0; i < report->count; i++)
        free((void *)(uintptr_t)report->heats[i].key.data);
    free(report->heats);
    free(report->keys);
}

static double share_of(const struct report *report, const struct hot_key *key)
{
    return report->total_ops > 0 ? key->ops / report->total_ops : 0;
}

static struct mayfly_bytes bytes_of(const struct hot_key *key)
{
    return (struct mayfly_bytes){.data = key->first->key.data, .len = key->first->key.len};
}

static void print_json(const struct cli *cli, const struct report *report, size_t shown)
{
    json_t *array = json_array();
    for (size_t i = 0; i < shown; i++) {
        const struct hot_key *key = &report->keys[i];
        json_t *nodes = json_array();
        for (size_t j = 0; j < key->count; j++)
            json_array_append_new(nodes, json_integer((json_int_t)key->first[j].node));
        json_array_append_new(array,
                              json_pack("{s:o, s:f, s:f, s:o}", "key",
                                        cli_json_bytes(bytes_of(key)), "ops_per_second", key->ops,
                                        "share", share_of(report, key), "nodes", nodes));
    }
    cli_print_json(cli->out, json_pack("{s:o}", "keys", array));
}

static void nodes_cell(struct cli_table *table, const struct hot_key *key)
{
    char text[NODES_SHOWN * 24 + 8] = "";
    size_t used = 0;
    for (size_t i = 0; i < key->count && i < NODES_SHOWN; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%llu", i > 0 ? "," : "",
                                 (unsigned long long)key->first[i].node);
    if (key->count > NODES_SHOWN)
        snprintf(text + used, sizeof text - used, ",...");
    cli_table_cell(table, "%s", text);
}

static void print_table(const struct cli *cli, const struct report *report, size_t shown)
{
    static const char *const heads[] = {"KEY", "OPS/S", "SHARE", "NODES"};
    bool plain = cli->output == CLI_PLAIN;
    struct cli_table table = cli_table_of(heads, sizeof heads / sizeof heads[0]);
    table.right = 0x6;
    table.colours = cli->colour;
    for (size_t i = 0; i < shown; i++) {
        const struct hot_key *key = &report->keys[i];
        cli_table_bytes(&table, bytes_of(key));
        if (plain) {
            cli_table_cell(&table, "%.0f", key->ops);
            cli_table_cell(&table, "%.4f", share_of(report, key));
        } else {
            cli_table_cell(&table, "%s", cli_human_count((uint64_t)key->ops).text);
            cli_table_cell(&table, "%.1f%%", 100 * share_of(report, key));
        }
        nodes_cell(&table, key);
    }
    cli_table_print(&table, cli->out, plain);
    cli_table_free(&table);
}

static int show(struct cli *cli, void *arg)
{
    struct cli_view *view = arg;
    struct report report = {0};
    const struct cli_given *count = &cli->flags[CLI_FLAG_BATCH];
    size_t shown = count->given ? (size_t)count->number : KEYS_SHOWN;
    int status = cli_view_read(cli, view);
    for (size_t i = 0; i < view->node_count && status == CLI_YES; i++) {
        const struct mayfly_value *list;
        struct cli_node_view *node = &view->nodes[i];
        if (!node->answered)
            (void)cli_fail(cli, "hotkeys: node %llu does not answer", (unsigned long long)node->id);
        else if (mayfly_hotkeys(node->client, shown > KEYS_ASKED ? shown : KEYS_ASKED, &list) ==
                 MAYFLY_OK)
            note_node(&report, node->id, list);
        else
            status = cli_fail(cli, "hotkeys: node %llu: %s", (unsigned long long)node->id,
                              mayfly_client_error(node->client));
    }
    if (status == CLI_YES) {
        add_up(&report);
        shown = shown < report.key_count ? shown : report.key_count;
        if (cli->output == CLI_JSON)
            print_json(cli, &report, shown);
        else
            print_table(cli, &report, shown);
    }
    free_report(&report);
    return status;
}

int cli_hotkeys(struct cli *cli)
{
    const struct cli_given *count = &cli->flags[CLI_FLAG_BATCH];
    struct cli_view view = {0};
    if (count->given && count->number > KEYS_MAX)
        return cli_usage_error(cli, "--count '%s': expected an integer from 1 to %d for hotkeys",
                               count->text, KEYS_MAX);
    int status = cli_repeat(cli, show, &view);
    cli_view_free(&view);
    return status;
}
