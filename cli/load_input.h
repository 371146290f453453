// Lines of a file or pipe, one at a time, however long the whole is.
#ifndef MF_CLI_LOAD_INPUT_H
#define MF_CLI_LOAD_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

enum load_line {
    LOAD_LINE_WHOLE,
    LOAD_LINE_TOO_LONG, // over line_max; its bytes are passed over
    LOAD_LINE_NONE,     // more must be read first
    LOAD_LINE_END,
};

struct load_input {
    int fd;
    size_t line_max;
    uint64_t line;  // number of the line given last, from 1
    uint64_t bytes; // given so far, newlines included
    bool ended;
    bool passing_over; // inside a line that is too long
    struct mf_buf buf;
    size_t at;      // first byte not given
    size_t scanned; // bytes from `at` on that have no newline
};

// The next line, without its newline; *line is valid, and may be changed, until the next call.
enum load_line load_input_next(struct load_input *input, uint8_t **line, size_t *len);
// Reads once; may block. False with errno when that fails; a signal is no failure.
bool load_input_read(struct load_input *input);
void load_input_free(struct load_input *input);

#endif
