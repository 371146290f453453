// Turns the command line into a verb and its arguments; see args.h.
#include "snapshot/tool/args.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "snapshot/crew.h"

static const char usage[] =
    "Usage: mayfly-snapshot VERB FILE [FLAG...]\n"
    "Makes, checks, restores and translates snapshot files of Mayfly. No server is needed, but "
    "for\n"
    "-s.\n"
    "\n"
    "  dump -s ADDR[,ADDR...] FILE [--user USER] [--password PASSWORD]\n"
    "      Make FILE of all shards of a running cluster, each as it is at one position of its "
    "log.\n"
    "      ADDR is the rpc address of any node. Without the flags, user and password are those of\n"
    "      MAYFLY_USER and MAYFLY_PASSWORD.\n"
    "  dump --data-dir DIR FILE\n"
    "      The same of the shards of one node that is stopped, from its data folder, which stays\n"
    "      as it is. What its log holds and does not prove to be chosen is left out and counted.\n"
    "  verify FILE [-o json|table|plain]\n"
    "      Check every byte. A damaged file: one line that says what is wrong and where, exit 1.\n"
    "  inspect FILE [-o json|table|plain]\n"
    "      What the file holds, when and where in the log it was cut, shard by shard, and how "
    "long\n"
    "      its keys have to live.\n"
    "  restore FILE --data-dir DIR --config CONFIG [--force-new-cluster]\n"
    "      Make DIR the data folder of one node of a new cluster of CONFIG's name and number of\n"
    "      shards. Run it on every node with the same FILE, before the first start. With\n"
    "      --force-new-cluster a folder that has data is taken too: the data is put aside, and\n"
    "      what was written after the snapshot is lost. All nodes must be down.\n"
    "  restore FILE -s ADDR[,ADDR...] [--user USER] [--password PASSWORD]\n"
    "      Set every key of the file in a running cluster.\n"
    "  restore ... --ttl absolute|remaining|none\n"
    "      absolute, the default: keys expire at the time they had. remaining: what they had left "
    "at\n"
    "      the cut counts on from the restore, or from the first start. none: they do not expire.\n"
    "  export FILE [-o json|csv] [OUT]\n"
    "      Print the keys that live, a JSON object a line, or as CSV; into the file OUT, or on\n"
    "      standard output.\n"
    "  import FILE OUT [--format json|csv|rdb]\n"
    "      Make the snapshot file OUT of what export printed, or of a file that Redis wrote (RDB "
    "up\n"
    "      to version 11): its strings. FILE may be -, standard input. Without --format, FILE's\n"
    "      first bytes tell what it is.\n"
    "\n"
    "  --threads N all but import and dump -s: read with so many threads; by default as many as\n"
    "              there are CPUs, 8 at most\n"
    "  --help      this text\n"
    "  --version   the version\n"
    "\n"
    "Exit status: 0 done, 1 failed, 2 the command line is wrong.\n";

static const struct tool_verb verbs[] = {
    {.name = "dump", .run = tool_dump, .flags = "-s --user --password --data-dir --threads"},
    {.name = "verify",
     .run = tool_verify,
     .flags = "-o --threads",
     .outputs = "json, table or plain"},
    {.name = "inspect",
     .run = tool_inspect,
     .flags = "-o --threads",
     .outputs = "json, table or plain"},
    {.name = "restore",
     .run = tool_restore,
     .flags = "--data-dir --config -s --user --password --ttl --threads"},
    {.name = "export",
     .run = tool_export,
     .flags = "-o --threads",
     .outputs = "json or csv",
     .out = OUT_MAY_BE},
    {.name = "import", .run = tool_import, .flags = "--format", .out = OUT_MUST_BE},
};

static const char verb_names[] = "expected dump, verify, inspect, restore, export or import";

struct flag {
    const char *name;
    const char *expected;
    const char **value;
};

enum { FLAGS = 9 };

static const struct tool_verb *find_verb(const char *name)
{
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    }
    return NULL;
}

static bool takes(const struct tool_verb *verb, const char *flag)
{
    size_t len = strlen(flag);
    for (const char *at = strstr(verb->flags, flag); at != NULL; at = strstr(at + 1, flag)) {
        if ((at == verb->flags || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0'))
            return true;
    }
    return false;
}

// The flag that `arg` begins with: `-o VALUE`, `-oVALUE`, `--flag VALUE` or `--flag=VALUE`. *inside
// is the value that is in `arg` itself, or NULL.
static const struct flag *find_flag(const struct flag *flags, const char *arg, const char **inside)
{
    for (size_t i = 0; i < FLAGS; i++) {
        size_t len = strlen(flags[i].name);
        if (strncmp(arg, flags[i].name, len) != 0)
            continue;
        bool is_long = flags[i].name[1] == '-';
        if (is_long && arg[len] != '\0' && arg[len] != '=')
            continue;
        *inside = arg[len] == '\0' ? NULL : arg + len + is_long;
        return &flags[i];
    }
    return NULL;
}

static int take_flag(const struct flag *flags, int argc, char **argv, int *i)
{
    const char *value;
    const struct flag *flag = find_flag(flags, argv[*i], &value);
    if (flag == NULL)
        return tool_fail(EXIT_USAGE, "%s: unknown flag: --help lists those there are", argv[*i]);
    if (*flag->value != NULL)
        return tool_fail(EXIT_USAGE, "%s: repeated: expected the flag once", flag->name);
    if (value == NULL && *i + 1 < argc)
        value = argv[++*i];
    if (value == NULL || value[0] == '\0')
        return tool_fail(EXIT_USAGE, "%s: no value: expected %s", flag->name, flag->expected);
    *flag->value = value;
    return -1;
}

// Flags may stand before the verb, so this is known only at the end.
static int check_flags(const struct tool_verb *verb, const struct flag *flags)
{
    for (size_t i = 0; i < FLAGS; i++) {
        if (*flags[i].value == NULL || takes(verb, flags[i].name))
            continue;
        bool none = verb->flags[0] == '\0';
        return tool_fail(EXIT_USAGE, "%s: not a flag of %s: expected %s", flags[i].name, verb->name,
                         none ? "none" : verb->flags);
    }
    return -1;
}

static int parse_output(const struct tool_verb *verb, const char *text, enum tool_output *output)
{
    const struct {
        const char *name;
        enum tool_output output;
    } outputs[] = {{"json", OUTPUT_JSON},
                   {"table", OUTPUT_TABLE},
                   {"plain", OUTPUT_PLAIN},
                   {"csv", OUTPUT_CSV}};
    for (size_t i = 0; i < sizeof(outputs) / sizeof(outputs[0]); i++) {
        if (strcmp(outputs[i].name, text) == 0 && strstr(verb->outputs, text) != NULL) {
            *output = outputs[i].output;
            return -1;
        }
    }
    return tool_fail(EXIT_USAGE, "-o %s: expected %s", text, verb->outputs);
}

static int take_operand(const char *arg, const struct tool_verb **verb, struct tool_args *args)
{
    if (*verb == NULL) {
        *verb = find_verb(arg);
        return *verb != NULL ? -1 : tool_fail(EXIT_USAGE, "%s: unknown verb: %s", arg, verb_names);
    }
    bool second = args->file != NULL;
    if (args->out != NULL || (second && (*verb)->out == OUT_NONE))
        return tool_fail(EXIT_USAGE, "%s: one argument too many: expected %s", arg,
                         (*verb)->out == OUT_NONE ? "one FILE" : "FILE and OUT");
    if (arg[0] == '\0')
        return tool_fail(EXIT_USAGE, "%s is empty: expected the path of a file",
                         second ? "OUT" : "FILE");
    *(second ? &args->out : &args->file) = arg;
    return -1;
}

// restore goes to one of two places.
static int check_target(const struct tool_args *args)
{
    bool folder = args->data_dir != NULL || args->config != NULL || args->force_new_cluster;
    bool cluster = args->endpoints != NULL || args->user != NULL || args->password != NULL;
    if (folder && cluster)
        return tool_fail(EXIT_USAGE, "%s and %s: expected -s, or --data-dir with --config",
                         args->data_dir != NULL ? "--data-dir"
                         : args->config != NULL ? "--config"
                                                : "--force-new-cluster",
                         args->endpoints != NULL ? "-s"
                         : args->user != NULL    ? "--user"
                                                 : "--password");
    if (!folder && args->endpoints == NULL)
        return tool_fail(EXIT_USAGE,
                         "restore: no target: expected -s ADDR, or --data-dir DIR --config CONFIG");
    if (folder && args->data_dir == NULL)
        return tool_fail(EXIT_USAGE, "%s alone: expected --data-dir DIR with it",
                         args->config != NULL ? "--config" : "--force-new-cluster");
    if (folder && args->config == NULL)
        return tool_fail(EXIT_USAGE, "--data-dir alone: expected --config CONFIG with it");
    return -1;
}

// dump comes from one of two places. --force-new-cluster is no flag with a value, so nobody else
// has looked at it.
static int check_source(const struct tool_args *args)
{
    bool cluster = args->endpoints != NULL || args->user != NULL || args->password != NULL;
    if (args->force_new_cluster)
        return tool_fail(EXIT_USAGE, "--force-new-cluster: not a flag of dump");
    if (args->data_dir != NULL && cluster)
        return tool_fail(EXIT_USAGE, "--data-dir and %s: expected one of -s and --data-dir",
                         args->endpoints != NULL ? "-s"
                         : args->user != NULL    ? "--user"
                                                 : "--password");
    if (args->data_dir == NULL && args->endpoints == NULL)
        return tool_fail(EXIT_USAGE, "dump: no source: expected -s ADDR, or --data-dir DIR");
    if (args->data_dir == NULL && args->threads_word != NULL)
        return tool_fail(EXIT_USAGE, "--threads: of no use with dump -s: expected --data-dir DIR");
    return -1;
}

static bool parse_threads(const char *text, unsigned *threads)
{
    *threads = 0;
    for (const char *at = text; *at != '\0'; at++) {
        if (*at < '0' || *at > '9' || *threads > MF_CREW_THREADS_MAX)
            return false;
        *threads = *threads * 10 + (unsigned)(*at - '0');
    }
    return *threads >= 1 && *threads <= MF_CREW_THREADS_MAX;
}

static bool is_one_of(const char *word, const char *a, const char *b, const char *c)
{
    return strcmp(word, a) == 0 || strcmp(word, b) == 0 || strcmp(word, c) == 0;
}

static int check_all(const struct tool_verb *verb, struct tool_args *args, const char *output,
                     const struct flag *flags)
{
    if (verb == NULL)
        return tool_fail(EXIT_USAGE, "no verb: %s, or --help", verb_names);
    int status = check_flags(verb, flags);
    if (status == -1 && output != NULL)
        status = parse_output(verb, output, &args->output);
    if (status != -1)
        return status;
    if (args->format != NULL && !is_one_of(args->format, "json", "csv", "rdb"))
        return tool_fail(EXIT_USAGE, "--format %s: expected json, csv or rdb", args->format);
    if (args->threads_word != NULL && !parse_threads(args->threads_word, &args->threads))
        return tool_fail(EXIT_USAGE, "--threads %s: expected an integer from 1 to %u",
                         args->threads_word, MF_CREW_THREADS_MAX);
    if (args->ttl_word != NULL && !is_one_of(args->ttl_word, "absolute", "remaining", "none"))
        return tool_fail(EXIT_USAGE, "--ttl %s: expected absolute, remaining or none",
                         args->ttl_word);
    if (args->ttl_word != NULL)
        args->ttl = args->ttl_word[0] == 'a'   ? MF_SNAPSHOT_ABSOLUTE
                    : args->ttl_word[0] == 'r' ? MF_SNAPSHOT_REMAINING
                                               : MF_SNAPSHOT_NO_TTL;
    if (args->file == NULL)
        return tool_fail(EXIT_USAGE, "%s: no FILE: expected the path of a snapshot file",
                         verb->name);
    if (args->out == NULL && verb->out == OUT_MUST_BE)
        return tool_fail(EXIT_USAGE, "%s: no OUT: expected the path of the file to make",
                         verb->name);
    if (verb->run == tool_dump)
        return check_source(args);
    if (verb->run == tool_restore)
        return check_target(args);
    if (args->force_new_cluster)
        return tool_fail(EXIT_USAGE, "--force-new-cluster: not a flag of %s", verb->name);
    return -1;
}

int tool_parse(int argc, char **argv, const struct tool_verb **verb, struct tool_args *args)
{
    const char *output = NULL;
    *verb = NULL;
    *args = (struct tool_args){.file = NULL};
    const struct flag flags[FLAGS] = {
        {"-o", "a form of output", &output},
        {"--data-dir", "a folder", &args->data_dir},
        {"--config", "a configuration file", &args->config},
        {"-s", "ADDR[,ADDR...]", &args->endpoints},
        {"--user", "a name", &args->user},
        {"--password", "a password", &args->password},
        {"--threads", "1 to 64", &args->threads_word},
        {"--ttl", "absolute, remaining or none", &args->ttl_word},
        {"--format", "json, csv or rdb", &args->format},
    };
    int status = -1;
    bool operands_only = false;
    for (int i = 1; i < argc && status == -1; i++) {
        const char *arg = argv[i];
        if (operands_only || arg[0] != '-' || arg[1] == '\0') {
            status = take_operand(arg, verb, args);
        } else if (strcmp(arg, "--") == 0) {
            operands_only = true;
        } else if (strcmp(arg, "--force-new-cluster") == 0) {
            args->force_new_cluster = true;
        } else if (strcmp(arg, "--help") == 0) {
            fputs(usage, stdout);
            return EXIT_FINE;
        } else if (strcmp(arg, "--version") == 0) {
            puts("mayfly-snapshot " MF_VERSION);
            return EXIT_FINE;
        } else {
            status = take_flag(flags, argc, argv, &i);
        }
    }
    return status != -1 ? status : check_all(*verb, args, output, flags);
}
