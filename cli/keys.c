// The verbs for keys: one call of the library each, and how its answer is printed.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "cli/cli.h"
#include "cli/output.h"

#define TIMEOUT_MS 0 // the library's own
// More than any server takes by default; it is held in memory.
#define VALUE_BYTES_MAX ((size_t)128 << 20)

struct mayfly_options cli_options_of(const struct cli *cli)
{
    static const struct {
        enum cli_flag flag;
        unsigned bit;
    } rows[] = {
        {CLI_FLAG_NX, MAYFLY_FLAG_NX},
        {CLI_FLAG_XX, MAYFLY_FLAG_XX},
        {CLI_FLAG_GT, MAYFLY_FLAG_GT},
        {CLI_FLAG_LT, MAYFLY_FLAG_LT},
        {CLI_FLAG_GET, MAYFLY_FLAG_GET},
        {CLI_FLAG_KEEP_TTL, MAYFLY_FLAG_KEEP_TTL},
        {CLI_FLAG_LOCAL, MAYFLY_FLAG_LOCAL},
        {CLI_FLAG_TTL, MAYFLY_FLAG_TTL},
        {CLI_FLAG_EXPIRE_AT, MAYFLY_FLAG_EXPIRE_AT},
        {CLI_FLAG_IF_VERSION, MAYFLY_FLAG_IF_VERSION},
        {CLI_FLAG_PERSIST, MAYFLY_FLAG_PERSIST},
        {CLI_FLAG_MATCH, MAYFLY_FLAG_MATCH},
    };
    struct mayfly_options options = {
        .ttl_ms = cli->flags[CLI_FLAG_TTL].number,
        .expire_at_ms = cli->flags[CLI_FLAG_EXPIRE_AT].number,
        .if_version = (uint64_t)cli->flags[CLI_FLAG_IF_VERSION].number,
        .count = (uint64_t)cli->flags[CLI_FLAG_BATCH].number,
    };
    if (cli->flags[CLI_FLAG_MATCH].given)
        options.match = mayfly_str(cli->flags[CLI_FLAG_MATCH].text);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (cli->flags[rows[i].flag].given)
            options.flags |= rows[i].bit;
    }
    return options;
}

// The words from `first` on, every step-th, as keys or values. To be freed.
static struct mayfly_bytes *words_from(const struct cli *cli, size_t first, size_t step)
{
    struct mayfly_bytes *all = mf_calloc(cli->word_count + 1, sizeof all[0]);
    size_t count = 0;
    for (size_t i = first; i < cli->word_count; i += step)
        all[count++] = mayfly_str(cli->words[i]);
    return all;
}

int cli_print_number(const struct cli *cli, const char *name, int64_t number)
{
    if (cli->output == CLI_JSON)
        cli_print_json(cli->out, json_pack("{s:I}", name, (json_int_t)number));
    else
        fprintf(cli->out, "%lld\n", (long long)number);
    return CLI_YES;
}

static int print_bool(const struct cli *cli, const char *name, bool value)
{
    if (cli->output == CLI_JSON)
        cli_print_json(cli->out, json_pack("{s:b}", name, value));
    else
        fprintf(cli->out, "%s\n", value ? "true" : "false");
    return value ? CLI_YES : CLI_NO;
}

void cli_print_bytes(const struct cli *cli, struct mayfly_bytes bytes, bool newline)
{
    if (bytes.len > 0)
        fwrite(bytes.data, 1, bytes.len, cli->out);
    if (newline)
        fputc('\n', cli->out);
}

static void print_entry(const struct cli *cli, const char *key, const struct mayfly_entry *entry)
{
    static const char *const heads[] = {"KEY", "VERSION", "TTL_MS", "VALUE"};
    if (cli->output == CLI_PLAIN) {
        cli_print_bytes(cli, entry->value, !cli->flags[CLI_FLAG_RAW].given);
        return;
    }
    if (cli->output == CLI_JSON) {
        cli_print_json(cli->out,
                       json_pack("{s:o, s:o, s:I, s:I}", "key", cli_json_bytes(mayfly_str(key)),
                                 "value", cli_json_bytes(entry->value), "version",
                                 (json_int_t)entry->version, "ttl", (json_int_t)entry->ttl_ms));
        return;
    }
    struct cli_table table = cli_table_of(heads, 4);
    cli_table_bytes(&table, mayfly_str(key));
    cli_table_cell(&table, "%llu", (unsigned long long)entry->version);
    cli_table_cell(&table, "%lld", (long long)entry->ttl_ms);
    cli_table_bytes(&table, entry->value);
    cli_table_print(&table, cli->out, false);
    cli_table_free(&table);
}

int cli_get(struct cli *cli)
{
    struct mayfly_options options = cli_options_of(cli);
    struct mayfly_entry entry;
    int status = cli_connect(cli, TIMEOUT_MS, 0);
    if (status != CLI_YES)
        return status;
    if (cli->output != CLI_PLAIN)
        options.flags |= MAYFLY_FLAG_META;
    if (mayfly_get(cli->client, mayfly_str(cli->words[0]), &options, &entry) != MAYFLY_OK)
        return cli_call_failed(cli);
    if (!entry.found) {
        // Scripts go by the exit status; only people are told.
        if (isatty(fileno(cli->err)))
            (void)cli_fail(cli, "get: no such key: %s", cli->words[0]);
        return CLI_NO;
    }
    print_entry(cli, cli->words[0], &entry);
    return CLI_YES;
}

static void print_plain_pair(const struct cli *cli, struct mayfly_bytes key,
                             struct mayfly_bytes value)
{
    struct mf_buf line = {0};
    cli_escape(mf_bytes_of(key.data, key.len), &line);
    mf_buf_u8(&line, '\t');
    cli_escape(mf_bytes_of(value.data, value.len), &line);
    mf_buf_u8(&line, '\n');
    fwrite(line.data, 1, line.len, cli->out);
    mf_buf_free(&line);
}

static void print_entries(const struct cli *cli, const struct mayfly_bytes *keys,
                          const struct mayfly_entry *entries)
{
    static const char *const heads[] = {"KEY", "VALUE"};
    struct cli_table table = cli_table_of(heads, 2);
    json_t *array = json_array();
    for (size_t i = 0; i < cli->word_count; i++) {
        json_array_append_new(
            array, json_pack("{s:o, s:o}", "key", cli_json_bytes(keys[i]), "value",
                             entries[i].found ? cli_json_bytes(entries[i].value) : json_null()));
        if (!entries[i].found)
            continue;
        cli_table_bytes(&table, keys[i]);
        cli_table_bytes(&table, entries[i].value);
        if (cli->output == CLI_PLAIN)
            print_plain_pair(cli, keys[i], entries[i].value);
    }
    if (cli->output == CLI_TABLE)
        cli_table_print(&table, cli->out, false);
    if (cli->output == CLI_JSON)
        cli_print_json(cli->out, array);
    else
        json_decref(array);
    cli_table_free(&table);
}

int cli_mget(struct cli *cli)
{
    struct mayfly_options options = cli_options_of(cli);
    int status = cli_connect(cli, TIMEOUT_MS, 0);
    if (status != CLI_YES)
        return status;
    struct mayfly_bytes *keys = words_from(cli, 0, 1);
    struct mayfly_entry *entries = mf_calloc(cli->word_count, sizeof entries[0]);
    if (mayfly_mget(cli->client, keys, cli->word_count, &options, entries) != MAYFLY_OK) {
        status = cli_call_failed(cli);
    } else {
        print_entries(cli, keys, entries);
        for (size_t i = 0; i < cli->word_count; i++)
            status = entries[i].found ? status : CLI_NO;
    }
    free(entries);
    free(keys);
    return status;
}

// All of standard input; CLI_YES, or a status after a line on stderr.
static int read_input(const struct cli *cli, struct mf_buf *value)
{
    int fd = cli_input(cli);
    if (fd < 0)
        return CLI_NO;
    for (;;) {
        if (value->len > VALUE_BYTES_MAX)
            return cli_fail(cli, "set: the value on standard input is over %zu bytes",
                            VALUE_BYTES_MAX);
        ssize_t got = read(fd, mf_buf_reserve(value, 65536), 65536);
        if (got == 0)
            return CLI_YES;
        if (got > 0)
            value->len += (size_t)got;
        else if (errno != EINTR)
            return cli_fail(cli, "set: standard input: %s", strerror(errno));
    }
}

// Which condition of a `set` it was that did not hold.
static const char *unmet_condition(const struct cli *cli)
{
    if (cli->flags[CLI_FLAG_IF_VERSION].given)
        return "--if-version: the key has another version";
    return cli->flags[CLI_FLAG_NX].given ? "--nx: the key exists" : "--xx: there is no such key";
}

static void print_written(const struct cli *cli, const struct mayfly_written *written)
{
    bool get = cli->flags[CLI_FLAG_GET].given;
    if (cli->output == CLI_JSON) {
        json_t *object = json_pack("{s:b}", "written", written->written);
        json_object_set_new(object, "version",
                            written->written ? json_integer((json_int_t)written->version)
                                             : json_null());
        if (get)
            json_object_set_new(object, "old",
                                written->had_old ? cli_json_bytes(written->old) : json_null());
        cli_print_json(cli->out, object);
    } else if (get && written->had_old) {
        cli_print_bytes(cli, written->old, true);
    } else if (written->written && !get && cli->output == CLI_TABLE) {
        fprintf(cli->out, "OK  version %llu\n", (unsigned long long)written->version);
    } else if (written->written && !get) {
        fprintf(cli->out, "OK\n");
    }
}

int cli_set(struct cli *cli)
{
    struct mayfly_options options = cli_options_of(cli);
    struct mayfly_bytes value = mayfly_str(cli->words[1]);
    struct mf_buf input = {0};
    struct mayfly_written written;
    int status = cli_connect(cli, TIMEOUT_MS, 0);
    if (status == CLI_YES && strcmp(cli->words[1], "-") == 0) {
        status = read_input(cli, &input);
        value = (struct mayfly_bytes){input.data, input.len};
    }
    if (status != CLI_YES)
        goto out;
    struct mayfly_bytes key = mayfly_str(cli->words[0]);
    if (mayfly_set(cli->client, key, value, &options, &written) != MAYFLY_OK) {
        status = cli_call_failed(cli);
        goto out;
    }
    print_written(cli, &written);
    if (!written.written)
        status = cli_fail(cli, "set: not written: %s", unmet_condition(cli));
out:
    mf_buf_free(&input);
    return status;
}

int cli_mset(struct cli *cli)
{
    if (cli->word_count % 2 != 0)
        return cli_usage_error(cli, "mset: '%s' has no value: expected KEY VALUE pairs",
                               cli->words[cli->word_count - 1]);
    struct mayfly_options options = cli_options_of(cli);
    int status = cli_connect(cli, TIMEOUT_MS, 0);
    if (status != CLI_YES)
        return status;
    size_t pairs = cli->word_count / 2;
    struct mayfly_bytes *keys = words_from(cli, 0, 2);
    struct mayfly_bytes *values = words_from(cli, 1, 2);
    if (mayfly_mset(cli->client, keys, values, pairs, &options) != MAYFLY_OK)
        status = cli_call_failed(cli);
    else if (cli->output == CLI_JSON)
        status = cli_print_number(cli, "written", (int64_t)pairs);
    else
        fprintf(cli->out, "OK\n");
    free(values);
    free(keys);
    return status;
}

int cli_del(struct cli *cli)
{
    bool conditional = cli->flags[CLI_FLAG_IF_VERSION].given;
    if (conditional && cli->word_count > 1)
        return cli_usage_error(cli, "--if-version '%s': with %zu keys: expected one key",
                               cli->flags[CLI_FLAG_IF_VERSION].text, cli->word_count);
    struct mayfly_options options = cli_options_of(cli);
    uint64_t deleted;
    int status = cli_connect(cli, TIMEOUT_MS, 0);
    if (status != CLI_YES)
        return status;
    struct mayfly_bytes *keys = words_from(cli, 0, 1);
    if (mayfly_del(cli->client, keys, cli->word_count, &options, &deleted) != MAYFLY_OK)
        status = cli_call_failed(cli);
    else
        status = cli_print_number(cli, "deleted", (int64_t)deleted);
    if (status == CLI_YES && conditional && deleted == 0)
        status = cli_fail(cli, "del: not deleted: --if-version: the key is absent or has another "
                               "version");
    free(keys);
    return status;
}

static void print_presence(const struct cli *cli, const struct mayfly_bytes *keys,
                           const bool *present)
{
    json_t *array = json_array();
    for (size_t i = 0; i < cli->word_count; i++) {
        json_array_append_new(
            array, json_pack("{s:o, s:b}", "key", cli_json_bytes(keys[i]), "present", present[i]));
        if (cli->output != CLI_JSON)
            fprintf(cli->out, "%s\n", present[i] ? "true" : "false");
    }
    if (cli->output == CLI_JSON)
        cli_print_json(cli->out, array);
    else
        json_decref(array);
}

int cli_has(struct cli *cli)
{
    int status = cli_connect(cli, TIMEOUT_MS, 0);
    if (status != CLI_YES)
        return status;
    struct mayfly_bytes *keys = words_from(cli, 0, 1);
    bool *present = mf_calloc(cli->word_count, sizeof present[0]);
    if (mayfly_has(cli->client, keys, cli->word_count, present) != MAYFLY_OK) {
        status = cli_call_failed(cli);
    } else {
        print_presence(cli, keys, present);
        for (size_t i = 0; i < cli->word_count; i++)
            status = present[i] ? status : CLI_NO;
    }
    free(present);
    free(keys);
    return status;
}

int cli_expire(struct cli *cli)
{
    struct mayfly_options options = cli_options_of(cli);
    char *end;
    errno = 0;
    long long ttl_ms = strtoll(cli->words[1], &end, 10);
    if (end == cli->words[1] || *end != '\0' || errno != 0 || ttl_ms > MAYFLY_TTL_MS_MAX)
        return cli_usage_error(cli, "MS '%s': expected an integer up to %lld", cli->words[1],
                               (long long)MAYFLY_TTL_MS_MAX);
    bool changed;
    int status = cli_connect(cli, TIMEOUT_MS, 0);
    if (status != CLI_YES)
        return status;
    struct mayfly_bytes key = mayfly_str(cli->words[0]);
    if (mayfly_expire(cli->client, key, ttl_ms, &options, &changed) != MAYFLY_OK)
        return cli_call_failed(cli);
    return print_bool(cli, "changed", changed);
}

int cli_persist(struct cli *cli)
{
    bool changed;
    int status = cli_connect(cli, TIMEOUT_MS, 0);
    if (status != CLI_YES)
        return status;
    if (mayfly_persist(cli->client, mayfly_str(cli->words[0]), NULL, &changed) != MAYFLY_OK)
        return cli_call_failed(cli);
    return print_bool(cli, "changed", changed);
}

int cli_ttl(struct cli *cli)
{
    int64_t ttl_ms;
    int status = cli_connect(cli, TIMEOUT_MS, 0);
    if (status != CLI_YES)
        return status;
    if (mayfly_ttl(cli->client, mayfly_str(cli->words[0]), &ttl_ms) != MAYFLY_OK)
        return cli_call_failed(cli);
    (void)cli_print_number(cli, "ttl", ttl_ms);
    return ttl_ms == -2 ? CLI_NO : CLI_YES;
}

int cli_size(struct cli *cli)
{
    uint64_t keys;
    int status = cli_connect(cli, TIMEOUT_MS, 0);
    if (status != CLI_YES)
        return status;
    if (mayfly_size(cli->client, &keys) != MAYFLY_OK)
        return cli_call_failed(cli);
    return cli_print_number(cli, "size", (int64_t)keys);
}

int cli_flush(struct cli *cli)
{
    uint64_t dropped;
    int status = cli_connect(cli, TIMEOUT_MS, 0);
    if (status != CLI_YES)
        return status;
    if (mayfly_flush(cli->client, NULL, &dropped) != MAYFLY_OK)
        return cli_call_failed(cli);
    return cli_print_number(cli, "dropped", (int64_t)dropped);
}

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

int cli_ping(struct cli *cli)
{
    int status = cli_connect(cli, TIMEOUT_MS, 0);
    if (status != CLI_YES)
        return status;
    double begin_ms = now_ms();
    if (mayfly_ping(cli->client) != MAYFLY_OK)
        return cli_call_failed(cli);
    double took_ms = now_ms() - begin_ms;
    const char *endpoint = mayfly_client_endpoint(cli->client);
    if (cli->output == CLI_JSON)
        cli_print_json(cli->out, json_pack("{s:b, s:s, s:f}", "pong", true, "endpoint", endpoint,
                                           "ms", took_ms));
    else if (cli->output == CLI_TABLE)
        fprintf(cli->out, "pong from %s in %.3f ms\n", endpoint, took_ms);
    else
        fprintf(cli->out, "pong\n");
    return CLI_YES;
}
