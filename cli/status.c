// `mayfly status`: one line a node, asked of every node itself.
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "cli/cli.h"
#include "cli/human.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "cli/view.h"

#define RATE_MS 250   // between the two readings that a rate needs
#define LAG_MUCH 1000 // entries, at which a copy is worth a look
#define MEMORY_MUCH 0.95

static const char *disk_of(const struct cli_node_view *node)
{
    return node->disk_failing ? "failing" : node->disk_full ? "full" : "ok";
}

static json_t *number_or_null(bool known, uint64_t number)
{
    return known ? json_integer((json_int_t)number) : json_null();
}

static json_t *node_json(const struct cli_node_view *node)
{
    bool known = node->answered;
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {{"leads", node->leading},
                {"holds", node->held},
                {"keys", node->keys},
                {"bytes", node->bytes},
                {"lag", node->lag},
                {"uptime_ms", node->uptime_ms},
                {"clients", node->clients},
                {"resident_bytes", node->resident_bytes},
                {"memory_max_bytes", node->memory_max_bytes}};
    json_t *object =
        json_pack("{s:I, s:s, s:o}", "id", (json_int_t)node->id, "state", cli_node_state(node),
                  "rpc", node->rpc[0] != '\0' ? json_string(node->rpc) : json_null());
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        json_object_set_new(object, rows[i].name, number_or_null(known, rows[i].value));
    json_object_set_new(object, "ops_per_second",
                        known && node->ops_known ? json_real(node->ops) : json_null());
    json_object_set_new(object, "disk", known ? json_string(disk_of(node)) : json_null());
    json_object_set_new(object, "version", known ? json_string(node->version) : json_null());
    return object;
}

static void print_json(const struct cli *cli, const struct cli_view *view)
{
    struct cli_trouble trouble = cli_view_trouble(view);
    json_t *nodes = json_array();
    for (size_t i = 0; i < view->node_count; i++)
        json_array_append_new(nodes, node_json(&view->nodes[i]));
    cli_print_json(cli->out,
                   json_pack("{s:s, s:I, s:I, s:I, s:I, s:o}", "cluster", view->name, "shards",
                             (json_int_t)view->shard_count, "shards_without_leader",
                             (json_int_t)trouble.leaderless, "shards_without_majority",
                             (json_int_t)trouble.no_majority, "shards_missing_copies",
                             (json_int_t)trouble.copies_missing, "nodes", nodes));
}

// For scripts: exact numbers, no units, - for what is not known.
static void print_plain(const struct cli *cli, const struct cli_view *view)
{
    for (size_t i = 0; i < view->node_count; i++) {
        const struct cli_node_view *node = &view->nodes[i];
        const uint64_t numbers[] = {node->leading, node->held,      node->keys,   node->bytes,
                                    node->lag,     node->uptime_ms, node->clients};
        fprintf(cli->out, "%llu\t%s\t%s", (unsigned long long)node->id, cli_node_state(node),
                node->rpc[0] != '\0' ? node->rpc : "-");
        for (size_t j = 0; j < sizeof numbers / sizeof numbers[0]; j++) {
            if (node->answered)
                fprintf(cli->out, "\t%llu", (unsigned long long)numbers[j]);
            else
                fputs("\t-", cli->out);
        }
        if (node->answered && node->ops_known)
            fprintf(cli->out, "\t%.0f", node->ops);
        else
            fputs("\t-", cli->out);
        fprintf(cli->out, "\t%s\t%s\n", node->answered ? disk_of(node) : "-",
                node->answered ? node->version : "-");
    }
}

static void memory_cell(struct cli_table *table, const struct cli_node_view *node)
{
    if (node->memory_max_bytes == 0) {
        cli_table_cell(table, "%s", cli_human_bytes(node->bytes).text);
        return;
    }
    cli_table_cell(table, "%s of %s", cli_human_bytes(node->bytes).text,
                   cli_human_bytes(node->memory_max_bytes).text);
    if ((double)node->bytes >= MEMORY_MUCH * (double)node->memory_max_bytes)
        cli_table_colour(table, CLI_YELLOW);
}

static void figures(struct cli_table *table, const struct cli_node_view *node)
{
    cli_table_cell(table, "%llu", (unsigned long long)node->leading);
    cli_table_cell(table, "%llu", (unsigned long long)node->held);
    cli_table_cell(table, "%s", cli_human_count(node->keys).text);
    memory_cell(table, node);
    if (node->ops_known)
        cli_table_cell(table, "%s", cli_human_count((uint64_t)(node->ops + 0.5)).text);
    else
        cli_table_cell(table, "-");
    cli_table_cell(table, "%s", cli_human_count(node->clients).text);
    cli_table_cell(table, "%s", cli_human_count(node->lag).text);
    if (node->lag >= LAG_MUCH)
        cli_table_colour(table, CLI_YELLOW);
    cli_table_cell(table, "%s", disk_of(node));
    if (node->disk_full || node->disk_failing)
        cli_table_colour(table, CLI_RED);
    cli_table_cell(table, "%s", cli_human_ms(node->uptime_ms).text);
    cli_table_cell(table, "%s", node->version);
}

static void print_table(const struct cli *cli, const struct cli_view *view)
{
    static const char *const heads[] = {"NODE",   "STATE",   "LEADS",   "HOLDS", "KEYS",
                                        "MEMORY", "OPS/S",   "CLIENTS", "LAG",   "DISK",
                                        "UP",     "VERSION", "ADDRESS"};
    struct cli_table table = cli_table_of(heads, sizeof heads / sizeof heads[0]);
    table.right = 0x5fd; // NODE, the numbers and UP
    table.colours = cli->colour;
    for (size_t i = 0; i < view->node_count; i++) {
        const struct cli_node_view *node = &view->nodes[i];
        cli_table_cell(&table, "%llu", (unsigned long long)node->id);
        cli_table_cell(&table, "%s", cli_node_state(node));
        if (!node->answered)
            cli_table_colour(&table, CLI_RED);
        if (node->answered)
            figures(&table, node);
        for (size_t j = 2; !node->answered && j < 12; j++)
            cli_table_cell(&table, "-");
        cli_table_cell(&table, "%s", node->rpc[0] != '\0' ? node->rpc : "-");
    }
    cli_print_verdict(cli, view);
    fputc('\n', cli->out);
    cli_table_print(&table, cli->out, false);
    cli_table_free(&table);
}

static int show(struct cli *cli, void *arg)
{
    struct cli_view *view = arg;
    bool first = view->told == NULL;
    int status = cli_view_read(cli, view);
    if (status == CLI_YES && first) {
        (void)cli_pause(RATE_MS);
        status = cli_view_read(cli, view);
    }
    if (status != CLI_YES)
        return status;
    if (cli->output == CLI_JSON)
        print_json(cli, view);
    else if (cli->output == CLI_PLAIN)
        print_plain(cli, view);
    else
        print_table(cli, view);
    return CLI_YES;
}

int cli_status(struct cli *cli)
{
    struct cli_view view = {0};
    int status = cli_repeat(cli, show, &view);
    cli_view_free(&view);
    return status;
}
