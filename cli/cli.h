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
    CLI_FLAG_WATCH, // --watch
    CLI_FLAG_ALL,
    CLI_FLAG_PREFIX,
    CLI_FLAG_EVENTS,
    CLI_FLAG_FROM,
    CLI_FLAG_WRITE,
    CLI_FLAG_COUNT
};

struct cli;
struct cli_session;

// One row of the command table.
struct cli_verb {
    const char *name;
    const char *synopsis; // its words
    const char *help;     // one line
    const char *details;  // what --help adds, whole lines; may be ""
    size_t words_min;
    size_t words_max;
    uint64_t flags;         // CLI_TAKES of those it takes, or CLI_PASSES_ON
    enum cli_output output; // when -o is not given
    int (*run)(struct cli *cli);
};

#define CLI_TAKES(flag) (UINT64_C(1) << (CLI_FLAG_##flag))
// All that stands behind the verb, flags and -- too, is its words: they are for another program.
#define CLI_PASSES_ON (UINT64_C(1) << 63)

struct cli_given {
    bool given;
    const char *text;
    int64_t number; // of numeric flags; of choices, which one; of spans, milliseconds
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
    bool colour;                  // tables may have colours
    struct mayfly_client *client; // cli_connect makes it
    bool own_client;              // a client that is not the session's
    bool bare;                    // no verb, and only flags that go with any
    struct cli_session *session;  // of which this is one line; NULL: a command line of its own
    uint64_t line;                // which one, where errors should tell
};

// Runs the program once; returns its exit status. Without a verb it carries out lines: `prompt`'s
// when standard input and output are a terminal and it is not NULL, else those of `in`.
typedef int cli_prompt_fn(struct cli_session *session);
int cli_main(int argc, char **argv, FILE *in, FILE *out, FILE *err, cli_prompt_fn *prompt);

// One line on stderr, "mayfly: ...", and the exit status for it.
int cli_usage_error(const struct cli *cli, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
int cli_fail(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Makes cli->client and connects it; CLI_YES, or a status after a line on stderr. timeout_ms is the
// deadline of each call when --timeout is not given; window 0 is the library's own.
int cli_connect(struct cli *cli, uint32_t timeout_ms, uint32_t window);
// A client like that for one endpoint alone, which all its calls go to, not connected; NULL after a
// line on stderr.
struct mayfly_client *cli_client_of(const struct cli *cli, const char *endpoint,
                                    uint32_t connect_timeout_ms);
// A line about the call that failed, and its exit status.
int cli_call_failed(const struct cli *cli);
// What standard input is read through; -1 after a line on stderr when commands stand there.
int cli_input(const struct cli *cli);
// The endpoints of -s or the environment; NULL: the library's own.
const char *cli_endpoints(const struct cli *cli);
// Parses and runs the words, argv[0] is the program; frees what a verb leaves. An exit status.
int cli_run(struct cli *cli, int argc, char **argv);

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
// "nothing to do: a verb is expected: ...", CLI_USAGE.
int cli_refuse_verb(const struct cli *cli, const char *what);

const struct cli_verb *cli_find_verb(const char *name);               // NULL: there is none
bool cli_passes_on(const struct cli_verb *verb);                      // CLI_PASSES_ON; NULL: no
bool cli_verb_takes(const struct cli_verb *verb, enum cli_flag flag); // verb NULL: any verb

// A flag, for those who list them.
struct cli_flag_info {
    const char *name;
    const char *value; // how help calls it; NULL: it has none
    bool is_choice;    // value is the choices, with | between them
    const char *help;
};
struct cli_flag_info cli_flag_info(enum cli_flag flag);
// The flag that a word is, as -o, -oVALUE, --ttl or --ttl=VALUE; CLI_FLAG_COUNT: none. *inside, the
// value in the word, may be NULL.
enum cli_flag cli_flag_of(const char *word, const char **inside);
bool cli_word_is_flag(const char *word); // it begins with a dash, and is neither - nor a number

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
int cli_watch(struct cli *cli);
int cli_cluster(struct cli *cli);
int cli_latency(struct cli *cli);
int cli_hotkeys(struct cli *cli);
int cli_stats(struct cli *cli);
int cli_status(struct cli *cli);
int cli_snapshot(struct cli *cli);
int cli_transfer(struct cli *cli);
int cli_drain(struct cli *cli);
int cli_add_node(struct cli *cli);
int cli_remove_node(struct cli *cli);
int cli_load(struct cli *cli);
int cli_bench(struct cli *cli);

#endif
