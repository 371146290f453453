// The verbs for the cluster: what the connected node says of it, snapshots, and who leads.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/tree.h"

#define SNAPSHOT_TIMEOUT_MS 600000
#define CHANGE_TIMEOUT_MS 600000

static void print_map_rows(struct cli_table *table, const struct mayfly_value *map)
{
    for (size_t i = 0; i < map->count; i++) {
        cli_table_scalar(table, &map->items[2 * i]);
        cli_table_scalar(table, &map->items[2 * i + 1]);
    }
}

// A map of names to numbers and texts.
static void print_map(const struct cli *cli, const struct mayfly_value *map)
{
    static const char *const heads[] = {"NAME", "VALUE"};
    if (cli->output == CLI_JSON) {
        cli_print_json(cli->out, cli_json_value(map));
        return;
    }
    struct cli_table table = cli_table_of(heads, 2);
    print_map_rows(&table, map);
    cli_table_print(&table, cli->out, cli->output == CLI_PLAIN);
    cli_table_free(&table);
}

static void print_nodes(const struct cli *cli, const struct mayfly_value *nodes, uint64_t self)
{
    static const char *const heads[] = {"NODE", "ALIVE", "RPC", "PEER", "RESP", "HTTP"};
    static const char *const names[] = {"id", "alive", "rpc", "peer", "resp", "http"};
    struct cli_table table = cli_table_of(heads, 6);
    for (size_t i = 0; i < cli_count(nodes); i++) {
        for (size_t column = 0; column < 6; column++)
            cli_table_scalar(&table, mayfly_value_at(&nodes->items[i], names[column]));
    }
    cli_table_print(&table, cli->out, cli->output == CLI_PLAIN);
    cli_table_free(&table);
    if (cli->output == CLI_TABLE)
        fprintf(cli->out, "(as node %llu sees it)\n\n", (unsigned long long)self);
}

// [[first, last]...] as "0-255,512-767".
static void slots_cell(struct cli_table *table, const struct mayfly_value *slots)
{
    char text[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < cli_count(slots) && used < sizeof text; i++) {
        const struct mayfly_value *range = &slots->items[i];
        if (cli_count(range) != 2)
            continue;
        int wrote = snprintf(text + used, sizeof text - used, "%s%llu-%llu", i > 0 ? "," : "",
                             (unsigned long long)cli_number(&range->items[0]),
                             (unsigned long long)cli_number(&range->items[1]));
        used += wrote > 0 ? (size_t)wrote : 0;
    }
    cli_table_cell(table, "%s", text);
}

static void replicas_cell(struct cli_table *table, const struct mayfly_value *replicas)
{
    char text[128] = "";
    size_t used = 0;
    for (size_t i = 0; i < cli_count(replicas) && used < sizeof text; i++) {
        int wrote = snprintf(text + used, sizeof text - used, "%s%llu", i > 0 ? "," : "",
                             (unsigned long long)cli_number(&replicas->items[i]));
        used += wrote > 0 ? (size_t)wrote : 0;
    }
    cli_table_cell(table, "%s", text);
}

static void print_shards(const struct cli *cli, const struct mayfly_value *shards)
{
    static const char *const heads[] = {"SHARD",  "SLOTS",  "LEADER",  "REPLICAS",
                                        "BALLOT", "CHOSEN", "APPLIED", "FIRST"};
    static const char *const names[] = {"ballot", "chosen", "applied", "first"};
    struct cli_table table = cli_table_of(heads, 8);
    for (size_t i = 0; i < cli_count(shards); i++) {
        const struct mayfly_value *shard = &shards->items[i];
        cli_table_scalar(&table, mayfly_value_at(shard, "id"));
        slots_cell(&table, mayfly_value_at(shard, "slots"));
        if (cli_number(mayfly_value_at(shard, "leader")) == 0)
            cli_table_cell(&table, "none");
        else
            cli_table_scalar(&table, mayfly_value_at(shard, "leader"));
        replicas_cell(&table, mayfly_value_at(shard, "replicas"));
        for (size_t column = 0; column < 4; column++)
            cli_table_scalar(&table, mayfly_value_at(shard, names[column]));
    }
    cli_table_print(&table, cli->out, cli->output == CLI_PLAIN);
    cli_table_free(&table);
}

int cli_cluster(struct cli *cli)
{
    const struct mayfly_value *map;
    int status = cli_connect(cli, 0, 0);
    if (status != CLI_YES)
        return status;
    if (mayfly_cluster(cli->client, &map) != MAYFLY_OK)
        return cli_call_failed(cli);
    if (cli->output == CLI_JSON) {
        cli_print_json(cli->out, cli_json_value(map));
        return CLI_YES;
    }
    print_nodes(cli, mayfly_value_at(map, "nodes"), cli_number(mayfly_value_at(map, "node")));
    print_shards(cli, mayfly_value_at(map, "shards"));
    return CLI_YES;
}

int cli_stats(struct cli *cli)
{
    const struct mayfly_value *map;
    int status = cli_connect(cli, 0, 0);
    if (status != CLI_YES)
        return status;
    if (mayfly_stats(cli->client, &map) != MAYFLY_OK)
        return cli_call_failed(cli);
    print_map(cli, map);
    return CLI_YES;
}

static bool name_is_valid(const char *name)
{
    size_t len = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    return len >= 1 && len <= 64 && name[len] == '\0' && name[0] != '.';
}

int cli_snapshot(struct cli *cli)
{
    const struct mayfly_value *map;
    if (!name_is_valid(cli->words[0]))
        return cli_usage_error(cli,
                               "NAME '%s': expected 1 to 64 of A-Z a-z 0-9 . _ - with no "
                               "leading dot",
                               cli->words[0]);
    int status = cli_connect(cli, SNAPSHOT_TIMEOUT_MS, 0);
    if (status != CLI_YES)
        return status;
    if (mayfly_snapshot(cli->client, cli->words[0], &map) != MAYFLY_OK)
        return cli_call_failed(cli);
    const struct mayfly_value *path = mayfly_value_at(map, "path");
    bool has_path = path != NULL && path->type == MAYFLY_TYPE_STRING;
    if (cli->output == CLI_PLAIN && has_path)
        fprintf(cli->out, "%.*s\n", (int)path->bytes.len, (const char *)path->bytes.data);
    else
        print_map(cli, map);
    return CLI_YES;
}

static bool read_id(const char *text, uint32_t *id)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    *id = (uint32_t)value;
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && value <= UINT32_MAX;
}

static int print_true(const struct cli *cli)
{
    if (cli->output == CLI_JSON)
        cli_print_json(cli->out, json_pack("{s:b}", "done", true));
    else
        fprintf(cli->out, "true\n");
    return CLI_YES;
}

static int bad_id(const struct cli *cli, const char *what, const char *text)
{
    return cli_usage_error(cli, "%s '%s': expected an integer from 0 to 4294967295", what, text);
}

int cli_transfer(struct cli *cli)
{
    uint32_t shard;
    uint32_t node;
    if (!read_id(cli->words[0], &shard))
        return bad_id(cli, "SHARD", cli->words[0]);
    if (!read_id(cli->words[1], &node))
        return bad_id(cli, "NODE", cli->words[1]);
    int status = cli_connect(cli, 0, 0);
    if (status != CLI_YES)
        return status;
    if (mayfly_transfer(cli->client, shard, node) != MAYFLY_OK)
        return cli_call_failed(cli);
    return print_true(cli);
}

int cli_drain(struct cli *cli)
{
    uint32_t node;
    if (!read_id(cli->words[0], &node))
        return bad_id(cli, "NODE", cli->words[0]);
    int status = cli_connect(cli, 0, 0);
    if (status != CLI_YES)
        return status;
    if (mayfly_drain_node(cli->client, node, cli->flags[CLI_FLAG_UNDO].given) != MAYFLY_OK)
        return cli_call_failed(cli);
    return print_true(cli);
}

int cli_add_node(struct cli *cli)
{
    uint32_t node;
    if (!read_id(cli->words[0], &node))
        return bad_id(cli, "NODE", cli->words[0]);
    int status = cli_connect(cli, CHANGE_TIMEOUT_MS, 0);
    if (status != CLI_YES)
        return status;
    if (mayfly_add_node(cli->client, node, cli->words[1]) != MAYFLY_OK)
        return cli_call_failed(cli);
    return print_true(cli);
}

int cli_remove_node(struct cli *cli)
{
    uint32_t node;
    if (!read_id(cli->words[0], &node))
        return bad_id(cli, "NODE", cli->words[0]);
    int status = cli_connect(cli, CHANGE_TIMEOUT_MS, 0);
    if (status != CLI_YES)
        return status;
    if (mayfly_remove_node(cli->client, node) != MAYFLY_OK)
        return cli_call_failed(cli);
    return print_true(cli);
}
