// The command line into a verb, its words and its flags, by the table of flags below and the table
// of verbs in verbs.c; and the help texts, which are made of the same tables.
//
// Flags may stand anywhere before `--`, or before a verb whose words are for another program. A
// word that is `-`, or a negative number, is no flag.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "cli/cli.h"
#include "cli/session.h"

enum kind { SWITCH, TEXT, NUMBER, CHOICE, SPAN };

struct flag_row {
    const char *name;
    enum kind kind;
    const char *value; // how help calls the value; of a CHOICE, the values with | between them
    int64_t min;       // NUMBER, and SPAN in milliseconds
    int64_t max;
    const char *help;
};

static const struct flag_row rows[CLI_FLAG_COUNT] = {
    [CLI_FLAG_ENDPOINTS] = {"-s", TEXT, "ADDR[,ADDR...]", 0, 0,
                            "rpc addresses of nodes, tried in turn; default MAYFLY_ENDPOINTS, or "
                            "127.0.0.1:7001"},
    [CLI_FLAG_USER] = {"--user", TEXT, "USER", 0, 0, "default MAYFLY_USER"},
    [CLI_FLAG_PASSWORD] = {"--password", TEXT, "PASSWORD", 0, 0,
                           "default MAYFLY_PASSWORD, which other users of the machine cannot see"},
    [CLI_FLAG_OUTPUT] = {"-o", CHOICE, "json|table|plain", 0, 0,
                         "the form of the output; json is stable"},
    [CLI_FLAG_TIMEOUT] = {"--timeout", NUMBER, "MS", 1, INT32_MAX,
                          "how long to retry before giving up; default 10000"},
    [CLI_FLAG_HELP] = {"--help", SWITCH, NULL, 0, 0, "this text; of a verb: mayfly VERB --help"},
    [CLI_FLAG_VERSION] = {"--version", SWITCH, NULL, 0, 0, "the version"},
    [CLI_FLAG_TTL] = {"--ttl", NUMBER, "MS", 1, MAYFLY_TTL_MS_MAX,
                      "time to live; with load: of records that have none of their own"},
    [CLI_FLAG_EXPIRE_AT] = {"--expire-at", NUMBER, "MS", INT64_MIN, MAYFLY_TTL_MS_MAX,
                            "Unix time in milliseconds when it dies"},
    [CLI_FLAG_KEEP_TTL] = {"--keep-ttl", SWITCH, NULL, 0, 0, "the key's time to live stays"},
    [CLI_FLAG_NX] = {"--nx", SWITCH, NULL, 0, 0,
                     "set: only if the key is absent; expire: only if it has no TTL"},
    [CLI_FLAG_XX] = {"--xx", SWITCH, NULL, 0, 0,
                     "set: only if the key is present; expire: only if it has a TTL"},
    [CLI_FLAG_GT] = {"--gt", SWITCH, NULL, 0, 0, "only if the new TTL ends later"},
    [CLI_FLAG_LT] = {"--lt", SWITCH, NULL, 0, 0, "only if the new TTL ends earlier"},
    [CLI_FLAG_GET] = {"--get", SWITCH, NULL, 0, 0, "print the value before"},
    [CLI_FLAG_IF_VERSION] = {"--if-version", NUMBER, "N", 0, INT64_MAX,
                             "only if this is the key's version; 0: absent"},
    [CLI_FLAG_LOCAL] = {"--local", SWITCH, NULL, 0, 0,
                        "read the node's own copy, however old, without asking the leader"},
    [CLI_FLAG_RAW] = {"--raw", SWITCH, NULL, 0, 0, "no newline after the value"},
    [CLI_FLAG_FORMAT] = {"--format", CHOICE, "tsv|ndjson", 0, 0,
                         "default by the file's name: ndjson for .ndjson, .jsonl and .json"},
    [CLI_FLAG_WINDOW] = {"--window", NUMBER, "N", 1, MAYFLY_WINDOW_MAX,
                         "records in flight; default 1024"},
    [CLI_FLAG_SKIP_BAD] = {"--skip-bad", SWITCH, NULL, 0, 0,
                           "count bad records and go on instead of stopping"},
    [CLI_FLAG_QUIET] = {"--quiet", SWITCH, NULL, 0, 0, "no progress on stderr"},
    [CLI_FLAG_ACKED] = {"--acked", TEXT, "FILE", 0, 0,
                        "append each acknowledged key to FILE, a line each, escaped as in tsv"},
    [CLI_FLAG_UNDO] = {"--undo", SWITCH, NULL, 0, 0, "the node may lead again"},
    [CLI_FLAG_PERSIST] = {"--persist", SWITCH, NULL, 0, 0, "the key's time to live goes"},
    [CLI_FLAG_MATCH] = {"--match", TEXT, "GLOB", 0, 0,
                        "only keys that it matches: * ? [a-z] [^a-z] \\x"},
    [CLI_FLAG_BATCH] =
        {"--count", NUMBER, "N", 1, INT32_MAX,
         "scan: how many keys are looked at in one call, default 1000; latency: round "
         "trips of each kind, default 100; hotkeys: how many keys, default 10"},
    [CLI_FLAG_WATCH] = {"--watch", SPAN, "INTERVAL", 100, 3600000,
                        "again at this interval (1s, 500ms, 1m) until Ctrl-C; in place on a "
                        "terminal"},
    [CLI_FLAG_PREFIX] = {"--prefix", TEXT, "PREFIX", 0, 0, "every key that begins so; '' is all"},
    [CLI_FLAG_EVENTS] = {"--events", TEXT, "EVENT[,EVENT...]", 0, 0,
                         "only these: set, del, expire, evict"},
    [CLI_FLAG_FROM] =
        {"--from", NUMBER, "VERSION", 0, INT64_MAX,
         "begin with the changes of this version and later; 0: all that are remembered"},
    [CLI_FLAG_WRITE] = {"--write", SWITCH, NULL, 0, 0,
                        "writes too: keys mayfly:latency:... that live for a second"},
    [CLI_FLAG_ALL] = {"--all", SWITCH, NULL, 0, 0, "a line for every shard, however many"},
};

static const uint64_t global_flags = CLI_TAKES(ENDPOINTS) | CLI_TAKES(USER) | CLI_TAKES(PASSWORD) |
                                     CLI_TAKES(OUTPUT) | CLI_TAKES(TIMEOUT) | CLI_TAKES(HELP) |
                                     CLI_TAKES(VERSION);

// Flags that contradict each other, as the protocol has it.
static const struct {
    enum cli_flag one;
    enum cli_flag other;
} contradictions[] = {
    {CLI_FLAG_NX, CLI_FLAG_XX},
    {CLI_FLAG_NX, CLI_FLAG_GT},
    {CLI_FLAG_NX, CLI_FLAG_LT},
    {CLI_FLAG_GT, CLI_FLAG_LT},
    {CLI_FLAG_TTL, CLI_FLAG_KEEP_TTL},
    {CLI_FLAG_TTL, CLI_FLAG_EXPIRE_AT},
    {CLI_FLAG_EXPIRE_AT, CLI_FLAG_KEEP_TTL},
    {CLI_FLAG_TTL, CLI_FLAG_PERSIST},
};

static void print_flag(const struct cli *cli, const struct flag_row *row)
{
    char left[64];
    snprintf(left, sizeof left, "%s%s%s", row->name, row->value != NULL ? " " : "",
             row->value != NULL ? row->value : "");
    fprintf(cli->out, "  %-22s %s\n", left, row->help);
}

static void print_flags(const struct cli *cli, uint64_t mask)
{
    for (size_t i = 0; i < CLI_FLAG_COUNT; i++) {
        if ((mask & UINT64_C(1) << i) != 0)
            print_flag(cli, &rows[i]);
    }
}

static void print_help(const struct cli *cli)
{
    fprintf(cli->out, "Usage: mayfly [FLAG...] VERB [WORD...]\n"
                      "       mayfly [FLAG...]    a prompt, or the commands on standard input\n"
                      "Reads and writes keys of a Mayfly cluster and looks after it.\n\n");
    for (size_t i = 0; i < cli_verb_count; i++) {
        char left[64];
        snprintf(left, sizeof left, "%s %s", cli_verbs[i].name, cli_verbs[i].synopsis);
        fprintf(cli->out, "  %-30s %s\n", left, cli_verbs[i].help);
    }
    fprintf(cli->out, "\n");
    print_flags(cli, global_flags);
    fprintf(cli->out,
            "\nWords after -- are never flags. Exit status: 0 done, or the answer is yes; "
            "1 failed, or the\nanswer is no; 2 the command line is wrong.\n");
}

static void print_verb_help(const struct cli *cli, const struct cli_verb *verb)
{
    const char *before = cli_passes_on(verb) ? "[FLAG...] " : "";
    fprintf(cli->out, "Usage: mayfly %s%s%s%s%s\n%s.\n", before, verb->name,
            verb->synopsis[0] != '\0' ? " " : "", verb->synopsis,
            before[0] == '\0' ? " [FLAG...]" : "", verb->help);
    fprintf(cli->out, "%s\n", verb->details);
    print_flags(cli, verb->flags);
    print_flags(cli, global_flags);
}

// "get, set, ..." of every verb.
int cli_refuse_verb(const struct cli *cli, const char *what)
{
    struct mf_buf names = {0};
    for (size_t i = 0; i < cli_verb_count; i++) {
        mf_buf_put(&names, ", ", i > 0 ? 2 : 0);
        mf_buf_put(&names, cli_verbs[i].name, strlen(cli_verbs[i].name));
    }
    int status = cli_usage_error(cli, "%s: a verb is expected: %.*s", what, (int)names.len,
                                 (const char *)names.data);
    mf_buf_free(&names);
    return status;
}

const struct cli_verb *cli_find_verb(const char *name)
{
    for (size_t i = 0; i < cli_verb_count; i++) {
        if (strcmp(cli_verbs[i].name, name) == 0)
            return &cli_verbs[i];
    }
    return NULL;
}

bool cli_word_is_flag(const char *word)
{
    return word[0] == '-' && word[1] != '\0' && !(word[1] >= '0' && word[1] <= '9');
}

// The row that `word` names: `-s`, `-sVALUE`, `--flag` or `--flag=VALUE`. *inside is the value that
// the word itself holds, or NULL.
static const struct flag_row *find_flag(const char *word, const char **inside)
{
    for (size_t i = 0; i < CLI_FLAG_COUNT; i++) {
        size_t len = strlen(rows[i].name);
        if (strncmp(word, rows[i].name, len) != 0)
            continue;
        bool is_long = rows[i].name[1] == '-';
        if (is_long && word[len] != '\0' && word[len] != '=')
            continue;
        *inside = word[len] == '\0' ? NULL : word + len + (is_long ? 1 : 0);
        return &rows[i];
    }
    return NULL;
}

enum cli_flag cli_flag_of(const char *word, const char **inside)
{
    const struct flag_row *row = find_flag(word, inside);
    return row != NULL ? (enum cli_flag)(row - rows) : CLI_FLAG_COUNT;
}

struct cli_flag_info cli_flag_info(enum cli_flag flag)
{
    const struct flag_row *row = &rows[flag];
    return (struct cli_flag_info){.name = row->name,
                                  .value = row->value,
                                  .is_choice = row->kind == CHOICE,
                                  .help = row->help};
}

bool cli_verb_takes(const struct cli_verb *verb, enum cli_flag flag)
{
    uint64_t taken = global_flags | (verb != NULL ? verb->flags : 0);
    return (taken & UINT64_C(1) << flag) != 0;
}

bool cli_passes_on(const struct cli_verb *verb)
{
    return verb != NULL && (verb->flags & CLI_PASSES_ON) != 0;
}

static bool read_number(const char *text, int64_t min, int64_t max, int64_t *number)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    bool starts_well = (*text >= '0' && *text <= '9') || *text == '-';
    if (!starts_well || end == text || *end != '\0' || errno != 0 || value < min || value > max)
        return false;
    *number = value;
    return true;
}

// Which of "a|b|c" the text is; -1 when none.
static int64_t read_choice(const char *text, const char *choices)
{
    size_t wanted = strlen(text);
    for (int64_t i = 0; *choices != '\0'; i++) {
        size_t len = strcspn(choices, "|");
        if (len == wanted && strncmp(text, choices, len) == 0)
            return i;
        choices += len + (choices[len] == '|' ? 1 : 0);
    }
    return -1;
}

// "500ms", "1s", "2m" in milliseconds.
static bool read_span(const char *text, int64_t min, int64_t max, int64_t *ms)
{
    static const struct {
        const char *name;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}};
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 7)
        return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(text + digits, units[i].name) != 0)
            continue;
        *ms = strtoll(text, NULL, 10) * units[i].ms;
        return *ms >= min && *ms <= max;
    }
    return false;
}

static int take_value(const struct cli *cli, const struct flag_row *row, struct cli_given *given)
{
    if (row->kind == NUMBER && !read_number(given->text, row->min, row->max, &given->number))
        return cli_usage_error(cli, "%s '%s': expected an integer from %lld to %lld", row->name,
                               given->text, (long long)row->min, (long long)row->max);
    if (row->kind == SPAN && !read_span(given->text, row->min, row->max, &given->number))
        return cli_usage_error(cli, "%s '%s': expected a time from 100ms to 60m, such as 1s",
                               row->name, given->text);
    if (row->kind == CHOICE) {
        given->number = read_choice(given->text, row->value);
        if (given->number < 0)
            return cli_usage_error(cli, "%s '%s': expected %s", row->name, given->text, row->value);
    }
    return -1;
}

static int take_flag(struct cli *cli, int argc, char **argv, int *i)
{
    const char *inside;
    const struct flag_row *row = find_flag(argv[*i], &inside);
    if (row == NULL)
        return cli_usage_error(cli,
                               "%s: unknown flag: expected one that --help lists, or -- before a "
                               "word that begins with a dash",
                               argv[*i]);
    struct cli_given *given = &cli->flags[row - rows];
    if (given->given)
        return cli_usage_error(cli, "%s: given twice: expected once", row->name);
    given->given = true;
    if (row->kind == SWITCH) {
        if (inside != NULL)
            return cli_usage_error(cli, "%s '%s': expected no value", row->name, inside);
        return -1;
    }
    if (inside == NULL && *i + 1 < argc)
        inside = argv[++*i];
    if (inside == NULL)
        return cli_usage_error(cli, "%s: no value: expected %s", row->name, row->value);
    given->text = inside;
    return take_value(cli, row, given);
}

static int check_flags(const struct cli *cli)
{
    for (size_t i = 0; i < CLI_FLAG_COUNT; i++) {
        if (cli->flags[i].given && !cli_verb_takes(cli->verb, (enum cli_flag)i))
            return cli_usage_error(cli,
                                   "%s: not a flag of %s: expected one that mayfly %s --help "
                                   "lists",
                                   rows[i].name, cli->verb->name, cli->verb->name);
    }
    for (size_t i = 0; i < sizeof contradictions / sizeof contradictions[0]; i++) {
        enum cli_flag one = contradictions[i].one;
        enum cli_flag other = contradictions[i].other;
        if (cli->flags[one].given && cli->flags[other].given)
            return cli_usage_error(cli, "%s with %s: they contradict each other: expected one",
                                   rows[one].name, rows[other].name);
    }
    return -1;
}

static int check_words(const struct cli *cli)
{
    const struct cli_verb *verb = cli->verb;
    if (cli->word_count >= verb->words_min && cli->word_count <= verb->words_max)
        return -1;
    const char *expected = verb->synopsis[0] != '\0' ? verb->synopsis : "none";
    if (cli->word_count > verb->words_max)
        return cli_usage_error(cli, "%s: '%s' is one word too many: expected %s", verb->name,
                               cli->words[verb->words_max], expected);
    return cli_usage_error(cli, "%s: %zu words given: expected %s", verb->name, cli->word_count,
                           expected);
}

// No verb at all: whether what is there asks for a prompt.
static bool is_bare(const struct cli *cli, const char *verb_name)
{
    for (size_t i = 0; i < CLI_FLAG_COUNT; i++) {
        if (cli->flags[i].given && !cli_verb_takes(NULL, (enum cli_flag)i))
            return false;
    }
    return verb_name == NULL && cli->session == NULL;
}

int cli_parse(struct cli *cli, int argc, char **argv)
{
    const char *verb_name = NULL;
    bool flags_end = false;
    bool passes_on = false;
    for (int i = 1; i < argc; i++) {
        if (passes_on) {
            cli->words[cli->word_count++] = argv[i];
        } else if (!flags_end && strcmp(argv[i], "--") == 0) {
            flags_end = true;
        } else if (!flags_end && cli_word_is_flag(argv[i])) {
            int status = take_flag(cli, argc, argv, &i);
            if (status >= 0)
                return status;
        } else if (verb_name == NULL) {
            verb_name = argv[i];
            passes_on = cli_passes_on(cli_find_verb(verb_name));
        } else {
            cli->words[cli->word_count++] = argv[i];
        }
    }
    if (cli->flags[CLI_FLAG_VERSION].given) {
        fprintf(cli->out, "mayfly %s\n", mayfly_version());
        return CLI_YES;
    }
    cli->verb = verb_name != NULL ? cli_find_verb(verb_name) : NULL;
    if (cli->flags[CLI_FLAG_HELP].given) {
        if (cli->verb != NULL)
            print_verb_help(cli, cli->verb);
        else
            print_help(cli);
        return CLI_YES;
    }
    cli->bare = is_bare(cli, verb_name);
    if (cli->bare)
        return -1;
    if (cli->verb == NULL)
        return cli_refuse_verb(cli, verb_name != NULL ? verb_name : "nothing to do");
    int status = check_flags(cli);
    if (status < 0)
        status = check_words(cli);
    cli_session_defaults(cli);
    cli->output = cli->flags[CLI_FLAG_OUTPUT].given
                      ? (enum cli_output)cli->flags[CLI_FLAG_OUTPUT].number
                      : cli->verb->output;
    return status;
}
