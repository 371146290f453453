// Running the mayfly command once: arguments, environment, client, verb, and whether the output
// could be written.
#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli/complete.h"
#include "cli/session.h"
#include "cli/terminal.h"

static void complain(const struct cli *cli, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

static void complain(const struct cli *cli, const char *format, va_list args)
{
    char line[1024];
    vsnprintf(line, sizeof line, format, args);
    // Words of the command line may hold anything; the line stays one line.
    for (char *at = line; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            *at = '?';
    }
    if (cli->line > 0)
        fprintf(cli->err, "mayfly: line %llu: %s\n", (unsigned long long)cli->line, line);
    else
        fprintf(cli->err, "mayfly: %s\n", line);
}

int cli_usage_error(const struct cli *cli, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    complain(cli, format, args);
    va_end(args);
    return CLI_USAGE;
}

int cli_fail(const struct cli *cli, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    complain(cli, format, args);
    va_end(args);
    return CLI_NO;
}

int cli_call_failed(const struct cli *cli)
{
    return cli_fail(cli, "%s: %s", cli->verb->name, mayfly_client_error(cli->client));
}

// A flag's text, or the environment's; NULL when both are missing or the environment's is empty.
static const char *flag_or_environment(const struct cli *cli, enum cli_flag flag, const char *name)
{
    if (cli->flags[flag].given)
        return cli->flags[flag].text;
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

static struct mayfly_client_options client_options(const struct cli *cli)
{
    return (struct mayfly_client_options){
        .endpoints = cli_endpoints(cli),
        .user = flag_or_environment(cli, CLI_FLAG_USER, "MAYFLY_USER"),
        .password = flag_or_environment(cli, CLI_FLAG_PASSWORD, "MAYFLY_PASSWORD"),
        .name = "mayfly",
        .timeout_ms = (uint32_t)cli->flags[CLI_FLAG_TIMEOUT].number,
    };
}

const char *cli_endpoints(const struct cli *cli)
{
    return flag_or_environment(cli, CLI_FLAG_ENDPOINTS, "MAYFLY_ENDPOINTS");
}

int cli_input(const struct cli *cli)
{
    if (cli->in != NULL)
        return fileno(cli->in);
    (void)cli_fail(cli, "%s: standard input cannot be read: the commands stand there",
                   cli->verb->name);
    return -1;
}

int cli_connect(struct cli *cli, uint32_t timeout_ms, uint32_t window)
{
    char message[400];
    struct mayfly_client_options options = client_options(cli);
    if (options.timeout_ms == 0)
        options.timeout_ms = timeout_ms;
    options.window = window;
    // One call is not worth a second connection.
    options.route = window != 0 || cli->session != NULL ? MAYFLY_ROUTE_LEADERS : MAYFLY_ROUTE_NONE;
    if (!cli_session_lend_client(cli, options.timeout_ms, window))
        cli->client = mayfly_client_new(&options, message, sizeof message);
    if (cli->client == NULL) {
        const char *from = cli->flags[CLI_FLAG_ENDPOINTS].given ? "-s" : "MAYFLY_ENDPOINTS";
        return cli_usage_error(cli, "%s: %s", from, message);
    }
    if (mayfly_client_connect(cli->client) != MAYFLY_OK)
        return cli_call_failed(cli);
    return CLI_YES;
}

struct mayfly_client *cli_client_of(const struct cli *cli, const char *endpoint,
                                    uint32_t connect_timeout_ms)
{
    char message[400];
    struct mayfly_client_options options = client_options(cli);
    options.endpoints = endpoint;
    options.route = MAYFLY_ROUTE_NONE;
    options.connect_timeout_ms = connect_timeout_ms;
    struct mayfly_client *client = mayfly_client_new(&options, message, sizeof message);
    if (client == NULL)
        (void)cli_fail(cli, "%s: %s", cli->verb->name, message);
    return client;
}

int cli_run(struct cli *cli, int argc, char **argv)
{
    cli->words = calloc((size_t)argc + 1, sizeof cli->words[0]);
    if (cli->words == NULL)
        return cli_fail(cli, "out of memory");
    int status = cli_parse(cli, argc, argv);
    cli->colour = cli->output == CLI_TABLE && cli_colours(cli->out);
    if (status < 0 && !cli->bare)
        status = cli->verb->run(cli);
    cli_session_keep_client(cli);
    mayfly_client_free(cli->client);
    free(cli->words);
    return status;
}

int cli_main(int argc, char **argv, FILE *in, FILE *out, FILE *err, cli_prompt_fn *prompt)
{
    struct cli cli = {.in = in, .out = out, .err = err};
    bool completes = argc == 3 && strcmp(argv[1], "__complete") == 0;
    int status = completes ? cli_complete_for_shell(&cli, argv[2]) : cli_run(&cli, argc, argv);
    if (cli.bare)
        status = cli_session_run(&cli, argc > 1, prompt);
    if (fflush(out) != 0 || ferror(out)) {
        int failed = cli_fail(&cli, "standard output: %s", strerror(errno));
        status = status == CLI_YES ? failed : status;
    }
    return status;
}
