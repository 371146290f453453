// Colours, Ctrl-C and output in place; see terminal.h.
//
// SIGINT is blocked while it is caught, and let in only where something waits, so that none comes
// between a look at the flag and the wait.
#include "cli/terminal.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/cli.h"

#define LINES_UNKNOWN 24

static volatile sig_atomic_t interrupted;
static struct sigaction action_before;
static sigset_t mask_before;

bool cli_is_terminal(FILE *file)
{
    int fd = fileno(file);
    return fd >= 0 && isatty(fd);
}

bool cli_colours(FILE *file)
{
    const char *refused = getenv("NO_COLOR");
    const char *kind = getenv("TERM");
    if (refused != NULL && refused[0] != '\0')
        return false;
    return kind != NULL && kind[0] != '\0' && strcmp(kind, "dumb") != 0 && cli_is_terminal(file);
}

static void on_interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
}

void cli_interrupt_catch(void)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    sigset_t mask;
    interrupted = 0;
    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    pthread_sigmask(SIG_BLOCK, &mask, &mask_before);
    sigaction(SIGINT, &action, &action_before);
}

void cli_interrupt_release(void)
{
    sigaction(SIGINT, &action_before, NULL);
    pthread_sigmask(SIG_SETMASK, &mask_before, NULL);
}

// False when interrupted; *ready: the descriptor (-1: none) is readable.
static bool wait_open(int fd, uint64_t wait_us, bool forever, bool *ready)
{
    sigset_t open = mask_before;
    struct pollfd poll = {.fd = fd, .events = POLLIN};
    struct timespec wait = {.tv_sec = (time_t)(wait_us / 1000000),
                            .tv_nsec = (long)(wait_us % 1000000) * 1000};
    sigdelset(&open, SIGINT);
    *ready = ppoll(&poll, fd >= 0 ? 1 : 0, forever ? NULL : &wait, &open) > 0;
    return interrupted == 0;
}

bool cli_pause(uint64_t ms)
{
    uint64_t end_us = mf_mono_us() + ms * 1000;
    for (;;) {
        uint64_t now_us = mf_mono_us();
        bool ready;
        if (!wait_open(-1, end_us > now_us ? end_us - now_us : 0, false, &ready))
            return false;
        if (now_us >= end_us)
            return true;
    }
}

bool cli_wait_readable(int fd)
{
    bool ready = false;
    while (!ready) {
        if (!wait_open(fd, 0, true, &ready))
            return false;
    }
    return true;
}

static size_t terminal_lines(FILE *file)
{
    struct winsize size;
    if (ioctl(fileno(file), TIOCGWINSZ, &size) != 0 || size.ws_row == 0)
        return LINES_UNKNOWN;
    return size.ws_row;
}

// From the top left corner; what the screen has no lines for is counted, not shown.
static void show_in_place(FILE *out, const char *text, uint64_t interval_ms)
{
    size_t lines_max = terminal_lines(out) - 1;
    size_t lines = 2;
    size_t left = 0;
    char clock[16];
    time_t now = time(NULL);
    struct tm broken;
    localtime_r(&now, &broken);
    strftime(clock, sizeof clock, "%H:%M:%S", &broken);
    fprintf(out, "\x1b[H%s, every %.6g s; Ctrl-C ends\x1b[K\n\x1b[K\n", clock,
            (double)interval_ms / 1000);
    for (const char *end; (end = strchr(text, '\n')) != NULL; text = end + 1) {
        if (++lines >= lines_max) {
            left += 1;
            continue;
        }
        fwrite(text, 1, (size_t)(end - text), out);
        fputs("\x1b[K\n", out);
    }
    if (left > 0)
        fprintf(out, "(%zu more lines)\x1b[K", left);
    fputs("\x1b[J", out);
}

// One run with its output in memory, so that it appears at once.
static int show_once(struct cli *cli, int (*once)(struct cli *cli, void *arg), void *arg,
                     bool in_place, bool first)
{
    FILE *out = cli->out;
    FILE *err = cli->err;
    char *text = NULL;
    size_t size = 0;
    FILE *block = open_memstream(&text, &size);
    if (block == NULL)
        return cli_fail(cli, "%s: out of memory", cli->verb->name);
    cli->out = block;
    if (in_place && !first)
        cli->err = block;
    int status = once(cli, arg);
    cli->out = out;
    cli->err = err;
    fclose(block);
    if (first && status != CLI_YES) {
        fputs(text, out);
    } else if (in_place) {
        if (first)
            fputs("\x1b[2J", out);
        show_in_place(out, text, (uint64_t)cli->flags[CLI_FLAG_WATCH].number);
    } else {
        fprintf(out, "%s%s", first || cli->output == CLI_JSON ? "" : "\n", text);
    }
    free(text);
    fflush(out);
    return status;
}

int cli_repeat(struct cli *cli, int (*once)(struct cli *cli, void *arg), void *arg)
{
    const struct cli_given *watch = &cli->flags[CLI_FLAG_WATCH];
    if (!watch->given)
        return once(cli, arg);
    bool in_place = cli->output == CLI_TABLE && cli_is_terminal(cli->out);
    bool first = true;
    cli_interrupt_catch();
    int status;
    do {
        status = show_once(cli, once, arg, in_place, first);
        if (first && status != CLI_YES)
            break;
        first = false;
        status = CLI_YES;
    } while (!ferror(cli->out) && cli_pause((uint64_t)watch->number));
    cli_interrupt_release();
    if (in_place && !first)
        fputc('\n', cli->out);
    return status;
}
