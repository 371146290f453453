// What may stand at the end of a line: for TAB at the prompt.
#ifndef MF_CLI_COMPLETE_H
#define MF_CLI_COMPLETE_H

#include <stdbool.h>
#include <stddef.h>

#include "cli/session.h"

struct cli_choices {
    char **items; // in order, each once; words as they are, not quoted
    size_t count;
    size_t start; // where in the line the word begins that they may replace
    bool foreign; // the word is another program's, which none is told of here
    bool cut;     // there are more, or not every key could be looked at
};

// Verbs, flags of the verb, values of flags, node ids, files, and keys: those are asked of the
// cluster, for a moment and up to a number. Nothing fits: no choices.
void cli_complete(struct cli_session *session, const char *line, size_t len,
                  struct cli_choices *out);
void cli_choices_free(struct cli_choices *choices);
// How many bytes all choices begin with.
size_t cli_choices_common(const struct cli_choices *choices);

// For the completion of a shell, which asks by `mayfly __complete LINE`: prints the last word as it
// stands, and then each choice, a line each. CLI_YES, or CLI_NO when the word is another program's.
int cli_complete_for_shell(struct cli *cli, const char *line);

// What the verb at the beginning of the line expects, "" when there is none yet. To be freed.
char *cli_hint(const char *line, size_t len);

#endif
