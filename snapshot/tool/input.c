// Reading from front to back; see input.h.
#include "snapshot/tool/input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES (256u * 1024u)

static bool fail(struct input *input, const char *what)
{
    const char *text = strerrordesc_np(errno);
    snprintf(input->why, sizeof(input->why), "%s %.150s: %s", what, input->path,
             text != NULL ? text : "unknown error");
    input->failed = true;
    input->ended = true;
    return false;
}

bool input_open(struct input *input, const char *path)
{
    *input = (struct input){.path = path, .fd = STDIN_FILENO};
    if (strcmp(path, "-") == 0) {
        input->path = "standard input";
        return true;
    }
    input->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (input->fd < 0)
        return fail(input, "opening");
    struct stat about;
    if (fstat(input->fd, &about) == 0 && S_ISREG(about.st_mode))
        input->bytes_total = (uint64_t)about.st_size;
    return true;
}

void input_of_memory(struct input *input, struct mf_bytes bytes)
{
    *input = (struct input){.path = "memory",
                            .at = bytes.data,
                            .left = bytes.len,
                            .bytes_total = bytes.len,
                            .ended = true,
                            .fd = -1};
}

void input_close(struct input *input)
{
    if (input->fd > STDIN_FILENO)
        close(input->fd);
    free(input->room);
    input->room = NULL;
    input->fd = -1;
}

// Moves what is there to the front of a room of at least `want` bytes.
static bool make_room(struct input *input, size_t want)
{
    size_t bytes = READ_BYTES;
    while (bytes < want)
        bytes *= 2;
    if (bytes <= input->room_bytes) {
        if (input->left > 0)
            memmove(input->room, input->at, input->left);
    } else {
        uint8_t *room = malloc(bytes);
        if (room == NULL) {
            errno = ENOMEM;
            return fail(input, "reading");
        }
        if (input->left > 0)
            memcpy(room, input->at, input->left);
        free(input->room);
        input->room = room;
        input->room_bytes = bytes;
    }
    input->at = input->room;
    return true;
}

bool input_fill(struct input *input, size_t want)
{
    if (input->left >= want)
        return true;
    if (input->ended || !make_room(input, want))
        return false;
    while (input->left < want && !input->ended) {
        ssize_t got = read(input->fd, input->room + input->left, input->room_bytes - input->left);
        if (got < 0 && errno != EINTR)
            return fail(input, "reading");
        if (got == 0)
            input->ended = true;
        if (got > 0)
            input->left += (size_t)got;
    }
    return input->left >= want;
}

void input_drop(struct input *input, size_t count)
{
    input->at += count;
    input->left -= count;
    input->offset += count;
}

enum input_line input_line(struct input *input, size_t bytes_max, struct mf_bytes *line)
{
    size_t scanned = 0;
    const uint8_t *newline = NULL;
    while (newline == NULL) {
        if (input->left > scanned)
            newline = memchr(input->at + scanned, '\n', input->left - scanned);
        size_t len = newline != NULL ? (size_t)(newline - input->at) : input->left;
        if (len > bytes_max)
            return INPUT_LINE_TOO_LONG;
        if (newline == NULL && !input_fill(input, len + 1))
            break;
        scanned = len;
    }
    if (input->failed || (newline == NULL && input->left == 0))
        return INPUT_LINE_NONE;
    size_t len = newline != NULL ? (size_t)(newline - input->at) + 1 : input->left;
    *line = mf_bytes_of(input->at, len);
    input_drop(input, len);
    return INPUT_LINE;
}

struct mf_bytes input_bare_line(struct mf_bytes line)
{
    if (line.len > 0 && line.data[line.len - 1] == '\n')
        line.len -= 1;
    if (line.len > 0 && line.data[line.len - 1] == '\r')
        line.len -= 1;
    return line;
}
