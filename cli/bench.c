// The verb bench: mayfly-bench, a program of its own, carried out in the place of this one.
//
// It has flags of its own, so what stands behind the verb goes there as it is. What this program
// was told about the cluster goes through the environment, where no other user sees a password and
// where flags behind the verb come before it.
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "cli/cli.h"

#define PROGRAM "mayfly-bench"

// PROGRAM in the folder of this program; false when there is none.
static bool find_beside(char *path, size_t size)
{
    char self[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self);
    const char *slash = len > 0 ? memrchr(self, '/', (size_t)len) : NULL;
    if (slash == NULL)
        return false;
    int written = snprintf(path, size, "%.*s/" PROGRAM, (int)(slash - self), self);
    return written > 0 && (size_t)written < size && access(path, X_OK) == 0;
}

static bool tell_cluster(const struct cli *cli)
{
    static const struct {
        enum cli_flag flag;
        const char *name;
    } told[] = {{CLI_FLAG_ENDPOINTS, "MAYFLY_ENDPOINTS"},
                {CLI_FLAG_USER, "MAYFLY_USER"},
                {CLI_FLAG_PASSWORD, "MAYFLY_PASSWORD"}};
    bool fine = true;
    for (size_t i = 0; i < sizeof told / sizeof told[0]; i++) {
        const struct cli_given *given = &cli->flags[told[i].flag];
        fine = fine && (!given->given || setenv(told[i].name, given->text, 1) == 0);
    }
    return fine;
}

// Flags before the verb that both programs have, then what stands behind it.
static char **arguments(const struct cli *cli)
{
    static const enum cli_flag shared[] = {CLI_FLAG_OUTPUT, CLI_FLAG_TIMEOUT};
    char **argv = mf_calloc(cli->word_count + 6, sizeof argv[0]);
    size_t count = 0;
    argv[count++] = mf_strdup(PROGRAM);
    for (size_t i = 0; i < sizeof shared / sizeof shared[0]; i++) {
        if (!cli->flags[shared[i]].given)
            continue;
        argv[count++] = mf_strdup(cli_flag_info(shared[i]).name);
        argv[count++] = mf_strdup(cli->flags[shared[i]].text);
    }
    for (size_t i = 0; i < cli->word_count; i++)
        argv[count++] = mf_strdup(cli->words[i]);
    return argv;
}

static void free_arguments(char **argv)
{
    for (size_t i = 0; argv[i] != NULL; i++)
        free(argv[i]);
    free(argv);
}

// Comes back only when it cannot be done.
static int become(const struct cli *cli)
{
    char path[PATH_MAX];
    bool beside = find_beside(path, sizeof path);
    char **argv = arguments(cli);
    (void)fflush(cli->out);
    if (tell_cluster(cli))
        (void)(beside ? execv(path, argv) : execvp(PROGRAM, argv));
    int err = errno;
    free_arguments(argv);
    if (!beside && err == ENOENT)
        return cli_fail(cli, "bench: there is no " PROGRAM ": expected it in the folder of this "
                             "program, or in PATH");
    return cli_fail(cli, "bench: %s: %s", beside ? path : PROGRAM, strerror(err));
}

// One of several commands on standard input, which are not for it.
static int run_as_child(const struct cli *cli)
{
    int status = 0;
    (void)fflush(cli->out);
    pid_t child = fork();
    if (child == 0) {
        bool fine = freopen("/dev/null", "r", stdin) != NULL;
        status = fine ? become(cli) : cli_fail(cli, "bench: /dev/null: %s", strerror(errno));
        (void)fflush(cli->err);
        _exit(status);
    }
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    if (child < 0)
        return cli_fail(cli, "bench: fork: %s", strerror(errno));
    return WIFEXITED(status) ? WEXITSTATUS(status) : CLI_NO;
}

int cli_bench(struct cli *cli)
{
    return cli->in == NULL ? run_as_child(cli) : become(cli);
}
