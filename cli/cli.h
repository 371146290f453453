// The mayfly command: what its files share.
//
// main.c hands the command line to cli_main; args.c turns it into a verb, its words and its flags
// by tables; the verb's function does the work with one client of libmayfly and says how it ended.
// All output goes through the streams in struct cli, so that tests can run the whole program in
// their own process.
#ifndef MF_CLI_CLI_H
#define MF_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "mayfly/client.h"

// The exit statuses of the program.
enum {
    CLI_YES = 0,   // done; the answer is yes
    CLI_NO = 1,    // failed, or the answer is no: absent, a condition that did not hold
    CLI_USAGE = 2, // the command line is wrong
};

enum cli_output { CLI_JSON, CLI_TABLE, CLI_PLAIN };

enum cli_flag {
    // Taken by every verb.
    CLI_FLAG_ENDPOINTS,
    CLI_FLAG_USER,
    CLI_FLAG_PASSWORD,
    CLI_FLAG_OUTPUT,
    CLI_FLAG_TIMEOUT,
    CLI_FLAG_HELP,
    CLI_FLAG_VERSION,
    // Taken by some.
    CLI_FLAG_TTL,
    CLI_FLAG_EXPIRE_AT,
    CLI_FLAG_KEEP_TTL,
    CLI_FLAG_NX,
    CLI_FLAG_XX,
    CLI_FLAG_GT,
    CLI_FLAG_LT,
    CLI_FLAG_GET,
    CLI_FLAG_IF_VERSION,
    CLI_FLAG_LOCAL,
    CLI_FLAG_RAW,
    CLI_FLAG_FORMAT,
    CLI_FLAG_WINDOW,
    CLI_FLAG_SKIP_BAD,
    CLI_FLAG_QUIET,
    CLI_FLAG_ACKED,
    CLI_FLAG_UNDO,
    CLI_FLAG_PERSIST,
    CLI_FLAG_MATCH,
    CLI_FLAG_BATCH, // --count
    CLI_FLAG_COUNT
};

struct cli;

// One row of the command table.
struct cli_verb {
    const char *name;
    const char *synopsis; // its words
    const char *help;     // one line
    const char *details;  // what --help adds, whole lines; may be ""
    size_t words_min;
    size_t words_max;
    uint32_t flags;         // CLI_TAKES of those it takes
    enum cli_output output; // when -o is not given
    int (*run)(struct cli *cli);
};

#define CLI_TAKES(flag) (UINT32_C(1) << (CLI_FLAG_##flag))

struct cli_given {
    bool given;
    const char *text;
    int64_t number; // of numeric flags; of choices, which one
};

struct cli {
    FILE *in; // read through its descriptor only
    FILE *out;
    FILE *err;
    const struct cli_verb *verb;
    const char **words; // after the verb
    size_t word_count;
    struct cli_given flags[CLI_FLAG_COUNT];
    enum cli_output output;
    struct mayfly_client *client; // cli_connect makes it
};

// Runs the program once; returns its exit status.
int cli_main(int argc, char **argv, FILE *in, FILE *out, FILE *err);

// One line on stderr, "mayfly: ...", and the exit status for it.
int cli_usage_error(const struct cli *cli, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
int cli_fail(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Makes cli->client and connects it; CLI_YES, or a status after a line on stderr. timeout_ms is the
// deadline of each call when --timeout is not given; window 0 is the library's own.
int cli_connect(struct cli *cli, uint32_t timeout_ms, uint32_t window);
// A client like that for one endpoint alone, not connected; NULL after a line on stderr.
struct mayfly_client *cli_client_of(const struct cli *cli, const char *endpoint,
                                    uint32_t connect_timeout_ms);
// A line about the call that failed, and its exit status.
int cli_call_failed(const struct cli *cli);

// keys.c: what the flags that were given come to for the library.
struct mayfly_options cli_options_of(const struct cli *cli);
// One number under a name: {"name": number}, or the number alone. CLI_YES.
int cli_print_number(const struct cli *cli, const char *name, int64_t number);
void cli_print_bytes(const struct cli *cli, struct mayfly_bytes bytes, bool newline);

// verbs.c

extern const struct cli_verb cli_verbs[];
extern const size_t cli_verb_count;

// args.c

// Fills verb, words and flags. -1 when the verb is to be run, else the exit status: after --help,
// --version, or a line on stderr.
int cli_parse(struct cli *cli, int argc, char **argv);

// The verbs.
int cli_get(struct cli *cli);
int cli_mget(struct cli *cli);
int cli_set(struct cli *cli);
int cli_mset(struct cli *cli);
int cli_del(struct cli *cli);
int cli_has(struct cli *cli);
int cli_expire(struct cli *cli);
int cli_persist(struct cli *cli);
int cli_ttl(struct cli *cli);
int cli_incr(struct cli *cli);
int cli_append(struct cli *cli);
int cli_getdel(struct cli *cli);
int cli_getex(struct cli *cli);
int cli_scan(struct cli *cli);
int cli_txn(struct cli *cli);
int cli_size(struct cli *cli);
int cli_flush(struct cli *cli);
int cli_ping(struct cli *cli);
int cli_cluster(struct cli *cli);
int cli_stats(struct cli *cli);
int cli_status(struct cli *cli);
int cli_snapshot(struct cli *cli);
int cli_transfer(struct cli *cli);
int cli_drain(struct cli *cli);
int cli_add_node(struct cli *cli);
int cli_remove_node(struct cli *cli);
int cli_load(struct cli *cli);

#endif
