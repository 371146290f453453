// The command line of mayfly-snapshot.
#ifndef MF_SNAPSHOT_TOOL_ARGS_H
#define MF_SNAPSHOT_TOOL_ARGS_H

#include "snapshot/tool/tool.h"

enum tool_out { OUT_NONE, OUT_MAY_BE, OUT_MUST_BE };

struct tool_verb {
    const char *name;
    int (*run)(const struct tool_args *args);
    const char *flags;   // those it takes, with a space between them
    const char *outputs; // what -o may be
    enum tool_out out;   // whether a second path follows FILE
};

// Sets *verb and *args. Returns -1 when the verb is to be run, else the exit status: after --help,
// --version, or one line on stderr about what is wrong.
int tool_parse(int argc, char **argv, const struct tool_verb **verb, struct tool_args *args);

#endif
