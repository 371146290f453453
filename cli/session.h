// Many command lines in one run: those of the prompt, or of standard input.
//
// The flags that were given to the program are the defaults of each line. Lines that are carried
// out in this process share one client.
#ifndef MF_CLI_SESSION_H
#define MF_CLI_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/cli.h"
#include "cli/words.h"

struct cli_session {
    const struct cli *outer;      // streams and flags of the program
    struct mayfly_client *client; // NULL until a line has needed one
    char *endpoints;              // instead of those given; NULL: those
    bool of_shell;                // lines are a shell's, where `help` and `quit` are no verbs
};

// The lines of `outer`, which is bare; an exit status. flags: whether there are any, for without
// flags and lines there is nothing to complain of.
int cli_session_run(struct cli *outer, bool flags, cli_prompt_fn *prompt);

// Carries one line out, as words, and says how it ended. `in` is what the command may read, NULL
// when it may not. line: 0, or the number for errors.
int cli_session_command(struct cli_session *session, const struct cli_words *words, FILE *in,
                        uint64_t line);
// Whether the line is `quit` or `exit`, or nothing but a comment.
bool cli_session_leaves(const struct cli_words *words);
bool cli_session_is_empty(const struct cli_words *words);

// A connected client for the prompt's own questions; NULL when nobody answers in time. Not for the
// use of a command.
struct mayfly_client *cli_session_client(struct cli_session *session, uint32_t timeout_ms);

// For cli.c: flags of the program where the line has none; the shared client, if it may be used;
// and its way back.
void cli_session_defaults(struct cli *cli);
bool cli_session_lend_client(struct cli *cli, uint32_t timeout_ms, uint32_t window);
void cli_session_keep_client(struct cli *cli);

#endif
