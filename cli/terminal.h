// What the mayfly command knows of the terminal: colours, its size, Ctrl-C, and output that is
// renewed in place.
#ifndef MF_CLI_TERMINAL_H
#define MF_CLI_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct cli;

bool cli_is_terminal(FILE *file);
// Whether to write colours: to a terminal that has some, unless NO_COLOR is set and not empty.
bool cli_colours(FILE *file);

// From now on Ctrl-C (SIGINT) ends nothing by itself; it is taken only inside the functions below.
void cli_interrupt_catch(void);
void cli_interrupt_release(void);
// Waits so long, or until Ctrl-C. False when interrupted, before or now.
bool cli_pause(uint64_t ms);
// Waits until the descriptor is readable, or until Ctrl-C, which is false.
bool cli_wait_readable(int fd);

// Runs `once` one time and returns its status; with --watch again and again, at that interval,
// until Ctrl-C, which is CLI_YES. On a terminal each run's output takes the place of the one
// before; JSON is written as it comes; else a blank line stands between. Only a first run that
// fails ends it: a cluster that is away may come back.
int cli_repeat(struct cli *cli, int (*once)(struct cli *cli, void *arg), void *arg);

#endif
