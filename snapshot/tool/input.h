// A file, a pipe or memory read from front to back, in bounded memory: the bytes that are looked
// at, and a buffer. One thread.
#ifndef MF_SNAPSHOT_TOOL_INPUT_H
#define MF_SNAPSHOT_TOOL_INPUT_H

#include <stdbool.h>

#include "base/bytes.h"

struct input {
    const char *path;  // for messages
    const uint8_t *at; // what is here and not taken yet
    size_t left;
    uint64_t offset;      // of `at` from the beginning
    uint64_t bytes_total; // 0: not known
    bool ended;           // nothing follows what is here
    bool failed;          // reading failed: `why` tells; then it has ended too
    char why[256];
    int fd; // -1: memory
    uint8_t *room;
    size_t room_bytes;
};

// path: "-" is standard input; it outlives the input. False with `why`; nothing is to be closed.
bool input_open(struct input *input, const char *path);
void input_of_memory(struct input *input, struct mf_bytes bytes);
void input_close(struct input *input);

// Sees to it that `want` bytes are at `at`; false when the input ends, or fails, before that. What
// is there already stays, at a place that may be another one.
bool input_fill(struct input *input, size_t want);
// count <= left
void input_drop(struct input *input, size_t count);

enum input_line { INPUT_LINE, INPUT_LINE_TOO_LONG, INPUT_LINE_NONE };
// Takes the next line; its view, with the newline, is valid until the next call. The last line
// needs none. NONE at the end, and when reading fails.
enum input_line input_line(struct input *input, size_t bytes_max, struct mf_bytes *line);
// Without the \n or \r\n at its end.
struct mf_bytes input_bare_line(struct mf_bytes line);

#endif
