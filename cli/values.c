// The verbs that build on the value that is there, and the one that lists keys.
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/bytes.h"
#include "cli/cli.h"
#include "cli/output.h"

#define TIMEOUT_MS 0 // the library's own
#define SCAN_COUNT 1000

int cli_incr(struct cli *cli)
{
    struct mayfly_options options = cli_options_of(cli);
    const char *text = cli->word_count > 1 ? cli->words[1] : "1";
    char *end;
    errno = 0;
    long long delta = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0)
        return cli_usage_error(cli, "DELTA '%s': expected an integer of 64 bits", text);
    int64_t sum;
    int status = cli_connect(cli, TIMEOUT_MS, 0);
    if (status != CLI_YES)
        return status;
    struct mayfly_bytes key = mayfly_str(cli->words[0]);
    if (mayfly_incr(cli->client, key, delta, &options, &sum) != MAYFLY_OK)
        return cli_call_failed(cli);
    return cli_print_number(cli, "value", sum);
}

int cli_append(struct cli *cli)
{
    uint64_t length;
    int status = cli_connect(cli, TIMEOUT_MS, 0);
    if (status != CLI_YES)
        return status;
    if (mayfly_append(cli->client, mayfly_str(cli->words[0]), mayfly_str(cli->words[1]), NULL,
                      &length) != MAYFLY_OK)
        return cli_call_failed(cli);
    return cli_print_number(cli, "length", (int64_t)length);
}

// The value that a call has brought; exit 1, and a line for people, when there was none.
static int print_value(const struct cli *cli, const struct mayfly_entry *entry)
{
    if (!entry->found) {
        if (isatty(fileno(cli->err)))
            (void)cli_fail(cli, "%s: no such key: %s", cli->verb->name, cli->words[0]);
        return CLI_NO;
    }
    if (cli->output == CLI_JSON)
        cli_print_json(cli->out,
                       json_pack("{s:o, s:o}", "key", cli_json_bytes(mayfly_str(cli->words[0])),
                                 "value", cli_json_bytes(entry->value)));
    else
        cli_print_bytes(cli, entry->value, !cli->flags[CLI_FLAG_RAW].given);
    return CLI_YES;
}

int cli_getdel(struct cli *cli)
{
    struct mayfly_entry entry;
    int status = cli_connect(cli, TIMEOUT_MS, 0);
    if (status != CLI_YES)
        return status;
    if (mayfly_getdel(cli->client, mayfly_str(cli->words[0]), NULL, &entry) != MAYFLY_OK)
        return cli_call_failed(cli);
    return print_value(cli, &entry);
}

int cli_getex(struct cli *cli)
{
    struct mayfly_options options = cli_options_of(cli);
    struct mayfly_entry entry;
    int status = cli_connect(cli, TIMEOUT_MS, 0);
    if (status != CLI_YES)
        return status;
    if (mayfly_getex(cli->client, mayfly_str(cli->words[0]), &options, &entry) != MAYFLY_OK)
        return cli_call_failed(cli);
    return print_value(cli, &entry);
}

static void print_key(const struct cli *cli, struct mayfly_bytes key)
{
    if (cli->output == CLI_JSON) {
        cli_print_json(cli->out, json_pack("{s:o}", "key", cli_json_bytes(key)));
        return;
    }
    struct mf_buf line = {0};
    cli_escape(mf_bytes_of(key.data, key.len), &line);
    mf_buf_u8(&line, '\n');
    fwrite(line.data, 1, line.len, cli->out);
    mf_buf_free(&line);
}

int cli_scan(struct cli *cli)
{
    struct mayfly_options options = cli_options_of(cli);
    uint64_t cursor = 0;
    int status = cli_connect(cli, TIMEOUT_MS, 0);
    if (status != CLI_YES)
        return status;
    if (options.count == 0)
        options.count = SCAN_COUNT;
    do {
        const struct mayfly_value *keys;
        if (mayfly_scan(cli->client, &cursor, &options, &keys) != MAYFLY_OK)
            return cli_call_failed(cli);
        for (uint32_t i = 0; i < keys->count; i++)
            print_key(cli, keys->items[i].bytes);
    } while (cursor != 0 && !ferror(cli->out));
    return CLI_YES;
}
