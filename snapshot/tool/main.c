// mayfly-snapshot: the offline tool for snapshot files.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "snapshot/tool/args.h"

int main(int argc, char **argv)
{
    const struct tool_verb *verb;
    struct tool_args args;
    int status = tool_parse(argc, argv, &verb, &args);
    if (status == -1)
        status = verb->run(&args);
    if ((fflush(stdout) != 0 || ferror(stdout)) && status == EXIT_FINE)
        status = tool_fail(EXIT_FAILED, "writing to standard output: %s", strerror(errno));
    return status;
}
