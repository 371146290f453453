// `mayfly latency`: round trips to each node, one at a time.
//
// Each key is a random one, so that the shards and with them their leaders take turns.
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "cli/view.h"

#define COUNT 100            // round trips of each kind, unless --count is given
#define KIND_US_MAX 1000000  // and no longer than this
#define CALL_TIMEOUT_MS 2000 // a longer one counts as failed
#define KEY_TTL_MS 1000
#define LATENCY_COUNT_MAX 1000000

enum kind { PING, GET, SET, KINDS };
static const char *const kind_names[KINDS] = {"ping", "get", "set"};

struct figures {
    size_t count; // that were answered
    size_t failed;
    uint64_t min_us;
    uint64_t p50_us;
    uint64_t p99_us;
    uint64_t max_us;
};

struct latency {
    struct cli_view view;
    size_t count;
    bool counted; // --count was given
    bool write;
};

static enum mayfly_err call(struct mayfly_client *client, enum kind kind)
{
    uint64_t random = 0;
    char key[48];
    struct mayfly_entry entry;
    struct mayfly_options lease = {.flags = MAYFLY_FLAG_TTL, .ttl_ms = KEY_TTL_MS};
    if (kind == PING)
        return mayfly_ping(client);
    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
        random = mf_mono_us();
    snprintf(key, sizeof key, "mayfly:latency:%016llx", (unsigned long long)random);
    if (kind == GET)
        return mayfly_get(client, mayfly_str(key), NULL, &entry);
    return mayfly_set(client, mayfly_str(key), mayfly_str("1"), &lease, NULL);
}

static int by_number(const void *a, const void *b)
{
    uint64_t one = *(const uint64_t *)a;
    uint64_t other = *(const uint64_t *)b;
    return (one > other) - (one < other);
}

// The smallest that `percent` of them do not exceed.
static uint64_t percentile(const uint64_t *sorted, size_t count, size_t percent)
{
    return sorted[(count * percent + 99) / 100 - 1];
}

static struct figures measure(const struct latency *latency, struct mayfly_client *client,
                              enum kind kind, bool *interrupted)
{
    struct figures figures = {0};
    uint64_t *took = mf_calloc(latency->count, sizeof took[0]);
    uint64_t begin_us = mf_mono_us();
    for (size_t i = 0; i < latency->count && !*interrupted; i++) {
        uint64_t sent_us = mf_mono_us();
        if (!latency->counted && i > 0 && sent_us - begin_us > KIND_US_MAX)
            break;
        if (call(client, kind) == MAYFLY_OK)
            took[figures.count++] = mf_mono_us() - sent_us;
        else
            figures.failed += 1;
        *interrupted = !cli_pause(0);
    }
    if (figures.count > 0) {
        qsort(took, figures.count, sizeof took[0], by_number);
        figures.min_us = took[0];
        figures.p50_us = percentile(took, figures.count, 50);
        figures.p99_us = percentile(took, figures.count, 99);
        figures.max_us = took[figures.count - 1];
    }
    free(took);
    return figures;
}

static json_t *figures_json(const struct figures *figures)
{
    const struct {
        const char *name;
        uint64_t us;
    } rows[] = {{"min_ms", figures->min_us},
                {"p50_ms", figures->p50_us},
                {"p99_ms", figures->p99_us},
                {"max_ms", figures->max_us}};
    json_t *object = json_pack("{s:I, s:I}", "count", (json_int_t)figures->count, "errors",
                               (json_int_t)figures->failed);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        json_object_set_new(object, rows[i].name,
                            figures->count > 0 ? json_real((double)rows[i].us / 1000)
                                               : json_null());
    return object;
}

static void add_row(struct cli_table *table, const struct cli_node_view *node, const char *kind,
                    const struct figures *figures)
{
    const uint64_t numbers[] = {figures->min_us, figures->p50_us, figures->p99_us, figures->max_us};
    cli_table_cell(table, "%llu", (unsigned long long)node->id);
    cli_table_cell(table, "%s", node->rpc[0] != '\0' ? node->rpc : "-");
    cli_table_cell(table, "%s", kind);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (figures->count > 0)
            cli_table_cell(table, "%.3f", (double)numbers[i] / 1000);
        else
            cli_table_cell(table, "-");
    }
    cli_table_cell(table, "%zu", figures->count);
    cli_table_cell(table, "%zu", figures->failed);
    if (figures->failed > 0)
        cli_table_colour(table, CLI_RED);
}

// All kinds of one node, into the table or the array. A node that is away has one row without
// figures.
static void measure_node(const struct latency *latency, struct cli_node_view *node,
                         struct cli_table *table, json_t *array, bool *interrupted)
{
    static const struct figures none;
    json_t *object = json_pack("{s:I, s:s, s:s}", "id", (json_int_t)node->id, "rpc", node->rpc,
                               "state", cli_node_state(node));
    if (!node->answered) {
        add_row(table, node, cli_node_state(node), &none);
        cli_table_colour(table, CLI_RED);
    }
    for (int kind = 0; kind < (latency->write ? KINDS : SET) && node->answered; kind++) {
        mayfly_client_set_timeout(node->client, CALL_TIMEOUT_MS);
        struct figures figures = measure(latency, node->client, (enum kind)kind, interrupted);
        add_row(table, node, kind_names[kind], &figures);
        json_object_set_new(object, kind_names[kind], figures_json(&figures));
    }
    json_array_append_new(array, object);
}

static int show(struct cli *cli, void *arg)
{
    static const char *const heads[] = {"NODE",   "ADDRESS", "WHAT",  "MIN MS", "P50 MS",
                                        "P99 MS", "MAX MS",  "COUNT", "ERRORS"};
    struct latency *latency = arg;
    int status = cli_view_read(cli, &latency->view);
    if (status != CLI_YES)
        return status;
    bool interrupted = false;
    struct cli_table table = cli_table_of(heads, sizeof heads / sizeof heads[0]);
    table.right = 0x1f9;
    table.colours = cli->colour;
    json_t *array = json_array();
    for (size_t i = 0; i < latency->view.node_count && !interrupted; i++)
        measure_node(latency, &latency->view.nodes[i], &table, array, &interrupted);
    if (cli->output == CLI_JSON)
        cli_print_json(cli->out,
                       json_pack("{s:s, s:O}", "cluster", latency->view.name, "nodes", array));
    else
        cli_table_print(&table, cli->out, cli->output == CLI_PLAIN);
    json_decref(array);
    cli_table_free(&table);
    return CLI_YES;
}

int cli_latency(struct cli *cli)
{
    const struct cli_given *count = &cli->flags[CLI_FLAG_BATCH];
    struct latency latency = {
        .count = count->given ? (size_t)count->number : COUNT,
        .counted = count->given,
        .write = cli->flags[CLI_FLAG_WRITE].given,
    };
    if (latency.count > LATENCY_COUNT_MAX)
        return cli_usage_error(cli, "--count '%s': expected an integer from 1 to %d for latency",
                               count->text, LATENCY_COUNT_MAX);
    int status = cli_repeat(cli, show, &latency);
    cli_view_free(&latency.view);
    return status;
}
