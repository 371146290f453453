// The lines that were typed at the prompt, kept between its runs: $XDG_STATE_HOME/mayfly/history,
// or
// ~/.mayfly_history. Only its owner can read the file; several prompts may add to it at one time.
//
// A line with a password, and one that begins with a blank, is not kept. Where the file cannot be
// read or written there is no history, and nobody is told: the prompt works without.
#ifndef MF_CLI_HISTORY_H
#define MF_CLI_HISTORY_H

#include <stdbool.h>

#define CLI_HISTORY_LINES_MAX 1000

// To be freed; NULL when there is no place for it. Makes the folder.
char *cli_history_path(void);
// The newest lines, oldest first, CLI_HISTORY_LINES_MAX at most. A file that has become twice as
// long is cut.
void cli_history_load(const char *path, void (*take)(void *cookie, const char *line), void *cookie);
bool cli_history_keeps(const char *line);
void cli_history_add(const char *path, const char *line);

#endif
