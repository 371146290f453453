// `mayfly watch`: changes as they happen, a line each.
#include <string.h>

#include "base/bytes.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/terminal.h"

static const struct {
    const char *name;
    enum mayfly_change change;
} events[] = {
    {"set", MAYFLY_CHANGE_SET},
    {"del", MAYFLY_CHANGE_DEL},
    {"expire", MAYFLY_CHANGE_EXPIRE},
    {"evict", MAYFLY_CHANGE_EVICT},
};

struct watcher {
    struct cli *cli;
    bool ended;
    int status;
};

static const char *name_of(enum mayfly_change change)
{
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
        if (events[i].change == change)
            return events[i].name;
    }
    return "change"; // of a kind that this program does not know
}

static void print_json(const struct cli *cli, const struct mayfly_news *news)
{
    bool has_value = news->change == MAYFLY_CHANGE_SET;
    cli_print_json(cli->out,
                   json_pack("{s:s, s:o, s:I, s:I, s:o}", "event", name_of(news->change), "key",
                             cli_json_bytes(news->key), "version", (json_int_t)news->version,
                             "shard", (json_int_t)news->shard, "value",
                             has_value ? cli_json_bytes(news->value) : json_null()));
}

static void print_text(const struct cli *cli, const struct mayfly_news *news)
{
    struct mf_buf line = {0};
    char number[32];
    const char *name = name_of(news->change);
    bool table = cli->output == CLI_TABLE;
    int wrote = snprintf(number, sizeof number, table ? "%12llu" : "%llu",
                         (unsigned long long)news->version);
    mf_buf_put(&line, name, strlen(name));
    if (table) {
        mf_buf_put(&line, "        ", 8 - strlen(name));
        mf_buf_put(&line, number, (size_t)wrote);
        mf_buf_put(&line, "  ", 2);
        cli_escape_for_eyes(news->key, &line);
        mf_buf_put(&line, "  ", 2);
        cli_escape_for_eyes(news->value, &line);
    } else {
        mf_buf_u8(&line, '\t');
        cli_escape(mf_bytes_of(news->key.data, news->key.len), &line);
        mf_buf_u8(&line, '\t');
        mf_buf_put(&line, number, (size_t)wrote);
        mf_buf_u8(&line, '\t');
        cli_escape(mf_bytes_of(news->value.data, news->value.len), &line);
    }
    mf_buf_u8(&line, '\n');
    fwrite(line.data, 1, line.len, cli->out);
    mf_buf_free(&line);
}

static void on_news(void *cookie, const struct mayfly_news *news)
{
    struct watcher *watcher = cookie;
    struct cli *cli = watcher->cli;
    switch (news->state) {
    case MAYFLY_WATCH_BEGUN:
        if (cli_is_terminal(cli->err))
            fprintf(cli->err, "watching; Ctrl-C ends\n");
        break;
    case MAYFLY_WATCH_EVENT:
        if (cli->output == CLI_JSON)
            print_json(cli, news);
        else
            print_text(cli, news);
        break;
    case MAYFLY_WATCH_ENDED:
        watcher->ended = true;
        watcher->status = cli_fail(cli, "watch: %s: %s", mayfly_err_name(news->err), news->message);
        break;
    }
}

// "set,del" as bits; false after a line on stderr.
static bool read_events(const struct cli *cli, unsigned *changes)
{
    const char *at = cli->flags[CLI_FLAG_EVENTS].text;
    *changes = 0;
    while (cli->flags[CLI_FLAG_EVENTS].given) {
        size_t len = strcspn(at, ",");
        unsigned change = 0;
        for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
            if (strlen(events[i].name) == len && strncmp(at, events[i].name, len) == 0)
                change = (unsigned)events[i].change;
        }
        if (change == 0) {
            (void)cli_usage_error(cli, "--events '%s': expected some of set,del,expire,evict",
                                  cli->flags[CLI_FLAG_EVENTS].text);
            return false;
        }
        *changes |= change;
        if (at[len] == '\0')
            break;
        at += len + 1;
    }
    return true;
}

int cli_watch(struct cli *cli)
{
    bool by_prefix = cli->flags[CLI_FLAG_PREFIX].given;
    struct mayfly_watch_want want = {
        .by_prefix = by_prefix,
        .has_from = cli->flags[CLI_FLAG_FROM].given,
        .from_version = (uint64_t)cli->flags[CLI_FLAG_FROM].number,
    };
    struct watcher watcher = {.cli = cli, .status = CLI_YES};
    uint64_t number;
    if (by_prefix == (cli->word_count == 1))
        return cli_usage_error(cli, "watch: expected either KEY or --prefix PREFIX");
    if (!read_events(cli, &want.changes))
        return CLI_USAGE;
    want.key = mayfly_str(by_prefix ? cli->flags[CLI_FLAG_PREFIX].text : cli->words[0]);
    int status = cli_connect(cli, 0, 0);
    if (status != CLI_YES)
        return status;
    if (mayfly_watch(cli->client, &want, on_news, &watcher, &number) != MAYFLY_OK)
        return cli_call_failed(cli);
    cli_interrupt_catch();
    do {
        (void)mayfly_poll(cli->client, 0);
        (void)fflush(cli->out);
    } while (!watcher.ended && !ferror(cli->out) &&
             cli_wait_readable(mayfly_client_fd(cli->client)));
    cli_interrupt_release();
    if (!watcher.ended)
        (void)mayfly_unwatch(cli->client, number);
    return watcher.status;
}
