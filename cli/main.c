// The mayfly program: everything is in cli_main, which tests call as well.
#include "cli/cli.h"

int main(int argc, char **argv)
{
    return cli_main(argc, argv, stdin, stdout, stderr);
}
