// Lines of standard input, and what they share; see session.h.
#include "cli/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "cli/load_input.h"
#include "cli/terminal.h"

#define LINE_BYTES_MAX ((size_t)256 << 20) // as large a value as a server takes, escaped

static const enum cli_flag inherited[] = {CLI_FLAG_ENDPOINTS, CLI_FLAG_USER, CLI_FLAG_PASSWORD,
                                          CLI_FLAG_OUTPUT, CLI_FLAG_TIMEOUT};

void cli_session_defaults(struct cli *cli)
{
    if (cli->session == NULL)
        return;
    const struct cli_session *session = cli->session;
    bool elsewhere = cli->flags[CLI_FLAG_ENDPOINTS].given;
    cli->own_client =
        elsewhere || cli->flags[CLI_FLAG_USER].given || cli->flags[CLI_FLAG_PASSWORD].given;
    for (size_t i = 0; i < sizeof inherited / sizeof inherited[0]; i++) {
        if (!cli->flags[inherited[i]].given)
            cli->flags[inherited[i]] = session->outer->flags[inherited[i]];
    }
    if (!elsewhere && session->endpoints != NULL)
        cli->flags[CLI_FLAG_ENDPOINTS] =
            (struct cli_given){.given = true, .text = session->endpoints};
}

// A window is asked for by what fills it, which had better have a client of its own.
bool cli_session_lend_client(struct cli *cli, uint32_t timeout_ms, uint32_t window)
{
    if (cli->session == NULL)
        return false;
    cli->own_client = cli->own_client || window != 0;
    if (cli->own_client || cli->session->client == NULL)
        return false;
    cli->client = cli->session->client;
    cli->session->client = NULL;
    mayfly_client_set_timeout(cli->client, timeout_ms);
    return true;
}

void cli_session_keep_client(struct cli *cli)
{
    if (cli->session == NULL || cli->own_client || cli->client == NULL)
        return;
    cli->session->client = cli->client;
    cli->client = NULL;
}

struct mayfly_client *cli_session_client(struct cli_session *session, uint32_t timeout_ms)
{
    struct cli cli = *session->outer;
    char *text = NULL;
    size_t size = 0;
    cli.session = session;
    cli.own_client = false;
    cli.client = NULL;
    cli.err = open_memstream(&text, &size); // nobody wants to hear of it now
    if (cli.err == NULL)
        return NULL;
    cli.verb = cli_find_verb("ping");
    int status = cli_connect(&cli, timeout_ms, 0);
    cli_session_keep_client(&cli);
    fclose(cli.err);
    free(text);
    if (session->client != NULL)
        mayfly_client_set_timeout(session->client, timeout_ms);
    return status == CLI_YES ? session->client : NULL;
}

bool cli_session_is_empty(const struct cli_words *words)
{
    return words->count == 0 || words->words[0][0] == '#';
}

bool cli_session_leaves(const struct cli_words *words)
{
    return words->count == 1 &&
           (strcmp(words->words[0], "quit") == 0 || strcmp(words->words[0], "exit") == 0);
}

// `help` and `help VERB` as the flags that they stand for.
static int as_argv(const struct cli_words *words, char **argv)
{
    static char program[] = "mayfly";
    static char help[] = "--help";
    int argc = 0;
    bool helps = strcmp(words->words[0], "help") == 0;
    argv[argc++] = program;
    for (size_t i = helps ? 1 : 0; i < words->count; i++)
        argv[argc++] = words->words[i];
    if (helps)
        argv[argc++] = help;
    argv[argc] = NULL;
    return argc;
}

int cli_session_command(struct cli_session *session, const struct cli_words *words, FILE *in,
                        uint64_t line)
{
    const struct cli *outer = session->outer;
    struct cli cli = {
        .in = in, .out = outer->out, .err = outer->err, .session = session, .line = line};
    if (words->trouble != NULL)
        return cli_usage_error(&cli, "%s", words->trouble);
    char **argv = mf_calloc(words->count + 3, sizeof argv[0]);
    int argc = as_argv(words, argv);
    int status = cli_run(&cli, argc, argv);
    free(argv);
    return status;
}

// One line after the other, each in this process; what fails does not end it, as with psql and
// redis-cli, but is the exit status.
static int run_lines(struct cli_session *session, uint64_t *commands)
{
    const struct cli *outer = session->outer;
    struct load_input input = {.fd = fileno(outer->in), .line_max = LINE_BYTES_MAX};
    int status = CLI_YES;
    uint8_t *line;
    size_t len;
    for (bool left = false; !left && !ferror(outer->out);) {
        enum load_line kind = load_input_next(&input, &line, &len);
        struct cli_words words = {0};
        if (kind == LOAD_LINE_END)
            break;
        if (kind == LOAD_LINE_NONE) {
            (void)fflush(outer->out);
            if (!load_input_read(&input)) {
                status = cli_fail(outer, "standard input: %s", strerror(errno));
                break;
            }
            continue;
        }
        cli_words_split((const char *)line, kind == LOAD_LINE_WHOLE ? len : 0, &words);
        if (kind == LOAD_LINE_TOO_LONG)
            words.trouble = "the line is too long";
        left = cli_session_leaves(&words);
        if (!left && (words.trouble != NULL || !cli_session_is_empty(&words))) {
            *commands += 1;
            if (cli_session_command(session, &words, NULL, input.line) != CLI_YES)
                status = CLI_NO;
        }
        cli_words_free(&words);
    }
    load_input_free(&input);
    return status;
}

int cli_session_run(struct cli *outer, bool flags, cli_prompt_fn *prompt)
{
    struct cli_session session = {.outer = outer};
    uint64_t commands = 0;
    int status;
    if (prompt != NULL && cli_is_terminal(outer->in) && cli_is_terminal(outer->out)) {
        status = prompt(&session);
    } else {
        status = run_lines(&session, &commands);
        if (commands == 0 && status == CLI_YES && flags)
            status = cli_refuse_verb(outer, "nothing to do");
    }
    mayfly_client_free(session.client);
    free(session.endpoints);
    return status;
}
