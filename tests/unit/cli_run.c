// Running the mayfly command inside a test; see cli_run.h.
#include "cli_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "cli/cli.h"

#define WORDS_MAX 32

static FILE *file_of(const char *text)
{
    FILE *file = tmpfile();
    if (file == NULL || fputs(text, file) < 0 || fflush(file) != 0)
        abort();
    rewind(file);
    return file;
}

struct cli_run cli_run_words(const char *endpoint, const char *words, const char *input)
{
    char *argv[WORDS_MAX + 4];
    int argc = 0;
    char *work = mf_strdup(words);
    char *rest = NULL;
    argv[argc++] = mf_strdup("mayfly");
    if (endpoint != NULL) {
        argv[argc++] = mf_strdup("-s");
        argv[argc++] = mf_strdup(endpoint);
    }
    for (char *word = strtok_r(work, " ", &rest); word != NULL && argc < WORDS_MAX;
         word = strtok_r(NULL, " ", &rest))
        argv[argc++] = mf_strdup(word);
    argv[argc] = NULL;
    struct cli_run run;
    size_t out_size;
    size_t err_size;
    FILE *in = file_of(input);
    FILE *out = open_memstream(&run.out, &out_size);
    FILE *err = open_memstream(&run.err, &err_size);
    run.status = cli_main(argc, argv, in, out, err, NULL);
    fclose(in);
    fclose(out);
    fclose(err);
    for (int i = 0; i < argc; i++)
        free(argv[i]);
    free(work);
    return run;
}

void cli_run_free(struct cli_run *run)
{
    free(run->out);
    free(run->err);
}
