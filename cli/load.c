// `mayfly load`: records from a file into the cluster, many in flight, each applied once.
//
// Lines are read and submitted until the window is full; then whatever has been acknowledged makes
// room. The library retries through failovers. A record that repeats a key which is on its way
// waits for it, so that the last one wins. Nothing of the input is held but the lines in flight.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "cli/load_flight.h"
#include "cli/load_input.h"
#include "cli/load_parse.h"
#include "cli/load_progress.h"
#include "cli/output.h"

#define TIMEOUT_MS 60000
#define WINDOW 1024
// A value of 64 MiB in base64 or with every byte escaped, and its key.
#define LINE_BYTES_MAX ((size_t)192 << 20)
#define ERRORS_SHOWN 20
#define PATIENCE_MS 50 // between looks at the input, the clock and the signals

struct load {
    struct cli *cli;
    struct load_input input;
    struct load_parser parser;
    struct load_flights flights;
    struct load_progress progress;
    FILE *acked;
    struct mf_buf acked_line;
    bool skip_bad;
    bool stopped; // before the end of the input
    uint64_t records;
    uint64_t retries;
    uint64_t errors;
    uint64_t start_us;
    uint64_t heard_us; // when something was acknowledged last, or the first record went out
    uint64_t stall_us; // the longest wait
};

// Set by the first SIGINT or SIGTERM; the second one kills.
static volatile sig_atomic_t interrupted;

static void note_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static void complain(struct load *load, uint64_t line, const char *what, const char *words)
{
    load->errors++;
    load_progress_clear(&load->progress);
    if (load->errors <= ERRORS_SHOWN)
        (void)cli_fail(load->cli, "load: line %llu: %s%s", (unsigned long long)line, what, words);
    else if (load->errors == ERRORS_SHOWN + 1)
        (void)cli_fail(load->cli, "load: further errors are only counted");
}

// A record that cannot be stored is the file's fault: it may be skipped.
static void refuse_record(struct load *load, uint64_t line, const char *what, const char *words)
{
    complain(load, line, what, words);
    load->stopped = load->stopped || !load->skip_bad;
}

static void note_acked(struct load *load, const struct load_flight *flight)
{
    load->records++;
    if (load->acked == NULL)
        return;
    load->acked_line.len = 0;
    cli_escape(mf_buf_view(&flight->key), &load->acked_line);
    mf_buf_u8(&load->acked_line, '\n');
    fwrite(load->acked_line.data, 1, load->acked_line.len, load->acked);
}

static void take_answer(void *cookie, const struct mayfly_reply *reply)
{
    struct load_flight *flight = cookie;
    struct load *load = flight->owner;
    uint64_t now_us = mf_mono_us();
    if (now_us - load->heard_us > load->stall_us)
        load->stall_us = now_us - load->heard_us;
    load->heard_us = now_us;
    load->retries += reply->attempts > 0 ? reply->attempts - 1 : 0;
    char what[64];
    snprintf(what, sizeof what, "%s: ", mayfly_err_name(reply->err));
    if (reply->err == MAYFLY_OK) {
        note_acked(load, flight);
    } else if (reply->err == MAYFLY_ERR_BAD_REQUEST || reply->err == MAYFLY_ERR_TOO_LARGE) {
        refuse_record(load, flight->line, what, reply->message);
    } else {
        complain(load, flight->line, what, reply->message);
        load->stopped = true;
    }
    load_flights_remove(&load->flights, flight);
}

// Lets the connection work for a moment.
static void turn(struct load *load)
{
    (void)mayfly_poll(load->cli->client, PATIENCE_MS);
    load->stopped = load->stopped || interrupted;
    load_progress_tick(&load->progress, load->input.bytes, load->records, mf_mono_us());
}

static struct mayfly_options options_for(const struct load *load, const struct load_record *record)
{
    const struct cli_given *ttl = &load->cli->flags[CLI_FLAG_TTL];
    struct mayfly_options options = {0};
    if (record->expiry == LOAD_EXPIRY_IN) {
        options.flags = MAYFLY_FLAG_TTL;
        options.ttl_ms = record->expire_ms;
    } else if (record->expiry == LOAD_EXPIRY_AT) {
        options.flags = MAYFLY_FLAG_EXPIRE_AT;
        options.expire_at_ms = record->expire_ms;
    } else if (record->expiry == LOAD_EXPIRY_UNSAID && ttl->given) {
        options.flags = MAYFLY_FLAG_TTL;
        options.ttl_ms = ttl->number;
    }
    return options;
}

// Puts the record on its way, as soon as its key is not and the window has room.
static void send_record(struct load *load, const struct load_record *record)
{
    struct mayfly_client *client = load->cli->client;
    struct mayfly_bytes key = {record->key.data, record->key.len};
    struct mayfly_bytes value = {record->value.data, record->value.len};
    struct mayfly_request request = {.method = MAYFLY_METHOD_SET,
                                     .keys = &key,
                                     .values = &value,
                                     .count = 1,
                                     .options = options_for(load, record)};
    while (!load->stopped && load_flights_has(&load->flights, record->key))
        turn(load);
    while (!load->stopped) {
        struct load_flight *flight =
            load_flights_add(&load->flights, record->key, load->input.line);
        if (mayfly_pending(client) == 0)
            load->heard_us = mf_mono_us();
        enum mayfly_err err = flight != NULL ? mayfly_submit(client, &request, take_answer, flight)
                                             : MAYFLY_ERR_WINDOW_FULL;
        if (err == MAYFLY_OK)
            return;
        if (flight != NULL)
            load_flights_remove(&load->flights, flight);
        if (err != MAYFLY_ERR_WINDOW_FULL) {
            refuse_record(load, load->input.line, "", mayfly_client_error(client));
            return;
        }
        turn(load);
    }
}

static void take_line(struct load *load, uint8_t *line, size_t len)
{
    struct load_record record;
    if (len == 0)
        return;
    if (load_parse(&load->parser, line, len, &record))
        send_record(load, &record);
    else
        refuse_record(load, load->input.line, "", load->parser.why);
}

// Reads more, without ever leaving answers waiting while the input has nothing to give.
static void read_more(struct load *load)
{
    struct pollfd input = {.fd = load->input.fd, .events = POLLIN};
    while (!load->stopped) {
        bool flying = mayfly_pending(load->cli->client) > 0;
        if (poll(&input, 1, flying ? 0 : PATIENCE_MS) > 0)
            break;
        if (flying)
            turn(load);
        load->stopped = load->stopped || interrupted;
    }
    if (!load->stopped && !load_input_read(&load->input)) {
        load->errors++;
        load->stopped = true;
        load_progress_clear(&load->progress);
        (void)cli_fail(load->cli, "load: reading: %s", strerror(errno));
    }
}

static void run(struct load *load)
{
    bool more = true;
    while (more && !load->stopped) {
        uint8_t *line;
        size_t len;
        switch (load_input_next(&load->input, &line, &len)) {
        case LOAD_LINE_WHOLE:
            take_line(load, line, len);
            break;
        case LOAD_LINE_TOO_LONG:
            refuse_record(load, load->input.line, "it is too long: expected at most 192 MiB", "");
            break;
        case LOAD_LINE_NONE:
            read_more(load);
            break;
        case LOAD_LINE_END:
            more = false;
            break;
        }
    }
    while (mayfly_pending(load->cli->client) > 0)
        turn(load);
}

static void print_summary(const struct load *load)
{
    const struct cli *cli = load->cli;
    double seconds = (double)(mf_mono_us() - load->start_us) / 1e6;
    double rate = seconds > 0 ? (double)load->records / seconds : 0;
    double stall = (double)load->stall_us / 1e6;
    if (cli->output == CLI_JSON) {
        cli_print_json(cli->out, json_pack("{s:I, s:f, s:f, s:I, s:I, s:f, s:b}", "records",
                                           (json_int_t)load->records, "seconds", seconds, "rate",
                                           rate, "retries", (json_int_t)load->retries, "errors",
                                           (json_int_t)load->errors, "longest_stall_seconds", stall,
                                           "complete", !load->stopped));
        return;
    }
    fprintf(cli->out,
            "%llu records in %.2f s, %.0f records/s, %llu retries, %llu errors, longest stall: "
            "%.2f s\n",
            (unsigned long long)load->records, seconds, rate, (unsigned long long)load->retries,
            (unsigned long long)load->errors, stall);
}

static bool ends_with(const char *text, const char *ending)
{
    size_t text_len = strlen(text);
    size_t len = strlen(ending);
    return text_len >= len && strcmp(text + text_len - len, ending) == 0;
}

static enum load_format format_of(const struct cli *cli, const char *name)
{
    if (cli->flags[CLI_FLAG_FORMAT].given)
        return (enum load_format)cli->flags[CLI_FLAG_FORMAT].number;
    bool json = ends_with(name, ".ndjson") || ends_with(name, ".jsonl") || ends_with(name, ".json");
    return json ? LOAD_NDJSON : LOAD_TSV;
}

// Opens input and --acked; CLI_YES, or a status after a line on stderr.
static int open_files(struct load *load, const char *name)
{
    const struct cli *cli = load->cli;
    bool is_input = strcmp(name, "-") == 0;
    int in = is_input ? cli_input(cli) : -1;
    if (is_input && in < 0)
        return CLI_NO;
    load->input.fd = is_input ? dup(in) : open(name, O_RDONLY | O_CLOEXEC);
    struct stat about;
    if (load->input.fd < 0 || fstat(load->input.fd, &about) != 0)
        return cli_fail(cli, "load: %s: %s", name, strerror(errno));
    if (S_ISDIR(about.st_mode))
        return cli_fail(cli, "load: %s: expected a file, not a folder", name);
    if (cli->flags[CLI_FLAG_ACKED].given) {
        load->acked = fopen(cli->flags[CLI_FLAG_ACKED].text, "ae");
        if (load->acked == NULL)
            return cli_fail(cli, "load: --acked %s: %s", cli->flags[CLI_FLAG_ACKED].text,
                            strerror(errno));
    }
    bool quiet = cli->flags[CLI_FLAG_QUIET].given;
    uint64_t total = S_ISREG(about.st_mode) && about.st_size > 0 ? (uint64_t)about.st_size : 0;
    load->progress = load_progress_start(quiet ? NULL : cli->err, isatty(fileno(cli->err)) == 1,
                                         total, mf_mono_us());
    return CLI_YES;
}

// The acknowledged keys are what a script checks afterwards: they must be there.
static int close_acked(struct load *load)
{
    if (load->acked == NULL)
        return CLI_YES;
    bool failed = ferror(load->acked) != 0;
    failed = fclose(load->acked) != 0 || failed;
    if (failed)
        return cli_fail(load->cli, "load: --acked %s: could not be written",
                        load->cli->flags[CLI_FLAG_ACKED].text);
    return CLI_YES;
}

static int load_all(struct load *load)
{
    struct sigaction action = {.sa_handler = note_signal, .sa_flags = (int)SA_RESETHAND};
    struct sigaction old_int;
    struct sigaction old_term;
    interrupted = 0;
    sigaction(SIGINT, &action, &old_int);
    sigaction(SIGTERM, &action, &old_term);
    load->start_us = mf_mono_us();
    run(load);
    sigaction(SIGINT, &old_int, NULL);
    sigaction(SIGTERM, &old_term, NULL);
    load_progress_clear(&load->progress);
    print_summary(load);
    if (interrupted)
        (void)cli_fail(load->cli, "load: stopped by a signal after line %llu",
                       (unsigned long long)load->input.line);
    return load->stopped ? CLI_NO : CLI_YES;
}

int cli_load(struct cli *cli)
{
    const char *name = cli->word_count > 0 ? cli->words[0] : "-";
    size_t window =
        cli->flags[CLI_FLAG_WINDOW].given ? (size_t)cli->flags[CLI_FLAG_WINDOW].number : WINDOW;
    struct load load = {
        .cli = cli,
        .input = {.fd = -1, .line_max = LINE_BYTES_MAX},
        .parser = {.format = format_of(cli, name)},
        .skip_bad = cli->flags[CLI_FLAG_SKIP_BAD].given,
    };
    load.flights = load_flights_new(window, &load);
    int status = open_files(&load, name);
    if (status == CLI_YES)
        status = cli_connect(cli, TIMEOUT_MS, (uint32_t)window);
    if (status == CLI_YES)
        status = load_all(&load);
    int closed = close_acked(&load);
    status = status == CLI_YES ? closed : status;
    if (load.input.fd >= 0)
        close(load.input.fd);
    load_input_free(&load.input);
    load_parser_free(&load.parser);
    load_flights_free(&load.flights);
    mf_buf_free(&load.acked_line);
    return status;
}
