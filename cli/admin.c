// The verbs that ask one node to do or tell something: counters, snapshots, who leads, who is in.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/tree.h"

#define SNAPSHOT_TIMEOUT_MS 600000
#define CHANGE_TIMEOUT_MS 600000
#define CHANGE_CALL_MS 7000 // longer than limits.request_timeout, as it comes

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

// Why a change of the members is not done yet: once for each reason.
static void tell(const struct cli *cli, char *told, size_t size)
{
    const char *why = mayfly_client_error(cli->client);
    if (strcmp(why, told) == 0)
        return;
    snprintf(told, size, "%s", why);
    fprintf(cli->err, "mayfly: %s: still waiting: %s\n", cli->verb->name, why);
}

// Adds the node at the address, or removes it where there is none. To call it again is to wait
// again, so it is called for a while at a time, and says between what it waits for.
static int change_members(struct cli *cli, const char *address)
{
    uint32_t node;
    if (!read_id(cli->words[0], &node))
        return bad_id(cli, "NODE", cli->words[0]);
    int status = cli_connect(cli, CHANGE_TIMEOUT_MS, 0);
    if (status != CLI_YES)
        return status;
    uint64_t given_ms = (uint64_t)cli->flags[CLI_FLAG_TIMEOUT].number;
    uint64_t end_us = mf_mono_us() + (given_ms != 0 ? given_ms : CHANGE_TIMEOUT_MS) * 1000;
    char told[600] = "";
    for (;;) {
        uint64_t now_us = mf_mono_us();
        uint64_t left_ms = now_us < end_us ? (end_us - now_us) / 1000 : 0;
        bool last = left_ms <= CHANGE_CALL_MS;
        mayfly_client_set_timeout(cli->client, last ? (uint32_t)left_ms + 1 : CHANGE_CALL_MS);
        enum mayfly_err err = address != NULL ? mayfly_add_node(cli->client, node, address)
                                              : mayfly_remove_node(cli->client, node);
        if (err == MAYFLY_OK)
            return print_true(cli);
        if (err != MAYFLY_ERR_TIMEOUT || last)
            return cli_call_failed(cli);
        tell(cli, told, sizeof told);
    }
}

int cli_add_node(struct cli *cli)
{
    return change_members(cli, cli->words[1]);
}

int cli_remove_node(struct cli *cli)
{
    return change_members(cli, NULL);
}
