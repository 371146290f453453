// The command line of mayfly-snapshot.
#ifndef MF_SNAPSHOT_TOOL_ARGS_H
#define MF_SNAPSHOT_TOOL_ARGS_H

#include "snapshot/tool/tool.h"

struct tool_verb {
    const char *name;
    int (*run)(const struct tool_args *args);
    const char *flags; // those it takes, with a space between them
};

// Sets *verb and *args. Returns -1 when the verb is to be run, else the exit status: after --help,
// --version, or one line on stderr about what is wrong.
int tool_parse(int argc, char **argv, const struct tool_verb **verb, struct tool_args *args);

#endif
