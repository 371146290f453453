// Runs the mayfly command inside a test, with streams of its own.
#ifndef MF_UNIT_CLI_RUN_H
#define MF_UNIT_CLI_RUN_H

struct cli_run {
    int status;
    char *out;
    char *err;
};

// words: the command line, split at blanks. endpoint, if any, becomes `-s`. input is what standard
// input holds.
struct cli_run cli_run_words(const char *endpoint, const char *words, const char *input);
void cli_run_free(struct cli_run *run);

#endif
