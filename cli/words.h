// A line of the prompt as words, as a shell has them.
//
//     'as it stands'  "with \" and \n inside"  plain\ word  \x00 to \xff
//
// Outside of single quotes a backslash makes \n \r \t and \xHH (a byte), and takes its meaning from
// any other character. A word cannot hold a zero byte, on a command line neither.
#ifndef MF_CLI_WORDS_H
#define MF_CLI_WORDS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"

struct cli_words {
    char **words; // `count` of them, and a NULL
    size_t count;
    size_t last_start;   // where in the line the last one begins
    bool inside;         // the line ends inside of the last one
    const char *trouble; // NULL, or why the line is no list of words; they are as good as can be
};

void cli_words_split(const char *line, size_t len, struct cli_words *out);
void cli_words_free(struct cli_words *words);

// Appends the word in a way that splitting gives it back.
void cli_word_quote(const char *word, struct mf_buf *out);

#endif
