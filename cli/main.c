// The mayfly program: everything is in cli_main, which tests call as well. The prompt alone needs
// libedit, and is here and not there.
#include "cli/cli.h"
#include "cli/prompt.h"

int main(int argc, char **argv)
{
    return cli_main(argc, argv, stdin, stdout, stderr, cli_prompt);
}
