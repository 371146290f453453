// The history's file: a line each; see history.h.
#include "cli/history.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "cli/words.h"

#define LINE_BYTES_MAX 4096
#define FILE_BYTES_MAX (8 << 20) // a larger one is none of ours

static char *joined(const char *folder, const char *name)
{
    struct mf_buf path = {0};
    mf_buf_put(&path, folder, strlen(folder));
    mf_buf_put(&path, name, strlen(name) + 1);
    return (char *)path.data;
}

char *cli_history_path(void)
{
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    if (state != NULL && state[0] == '/') {
        char *folder = joined(state, "/mayfly");
        (void)mkdir(state, 0700);
        (void)mkdir(folder, 0700);
        char *path = joined(folder, "/history");
        free(folder);
        return path;
    }
    return home != NULL && home[0] == '/' ? joined(home, "/.mayfly_history") : NULL;
}

bool cli_history_keeps(const char *line)
{
    struct cli_words words;
    bool keeps = line[0] != '\0' && line[0] != ' ' && strlen(line) <= LINE_BYTES_MAX &&
                 strpbrk(line, "\n\r") == NULL && strstr(line, "--password") == NULL;
    cli_words_split(line, strlen(line), &words);
    for (size_t i = 0; i < words.count; i++)
        keeps = keeps && strncmp(words.words[i], "--password", strlen("--password")) != 0;
    cli_words_free(&words);
    return keeps;
}

void cli_history_add(const char *path, const char *line)
{
    if (path == NULL || !cli_history_keeps(line))
        return;
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return;
    char *whole = joined(line, "\n");
    // One write, so that lines of several prompts do not mix.
    ssize_t wrote = fchmod(fd, 0600) == 0 ? write(fd, whole, strlen(whole)) : 0;
    (void)wrote;
    free(whole);
    close(fd);
}

// All of the file up to a zero byte, of which there is one behind it; NULL when there is none, or
// one that is no history.
static char *read_file(const char *path)
{
    struct stat about;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return NULL;
    if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode) || about.st_size > FILE_BYTES_MAX) {
        close(fd);
        return NULL;
    }
    size_t size = (size_t)about.st_size;
    char *text = mf_calloc(size + 1, 1);
    ssize_t got;
    size_t len = 0;
    while (len < size && (got = read(fd, text + len, size - len)) > 0)
        len += (size_t)got;
    close(fd);
    return text;
}

static void replace_file(const char *path, const char *text)
{
    char *temporary = joined(path, ".new");
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    size_t len = strlen(text);
    if (fd >= 0 && (write(fd, text, len) != (ssize_t)len || rename(temporary, path) != 0))
        (void)unlink(temporary);
    if (fd >= 0)
        close(fd);
    free(temporary);
}

void cli_history_load(const char *path, void (*take)(void *cookie, const char *line), void *cookie)
{
    char *text = path != NULL ? read_file(path) : NULL;
    if (text == NULL)
        return;
    size_t lines = 0;
    for (const char *end = text; (end = strchr(end, '\n')) != NULL; end++)
        lines += 1;
    char *at = text;
    for (size_t skip = lines > CLI_HISTORY_LINES_MAX ? lines - CLI_HISTORY_LINES_MAX : 0; skip > 0;
         skip--)
        at = strchr(at, '\n') + 1;
    if (lines > (size_t)2 * CLI_HISTORY_LINES_MAX)
        replace_file(path, at);
    for (char *end; (end = strchr(at, '\n')) != NULL; at = end + 1) {
        *end = '\0';
        if (cli_history_keeps(at))
            take(cookie, at);
    }
    free(text);
}
