// Splits what is read into lines; see load_input.h.
#include "cli/load_input.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES ((size_t)256 << 10)

static void give(struct load_input *input, size_t used)
{
    input->at += used;
    input->bytes += used;
    input->scanned = 0;
}

enum load_line load_input_next(struct load_input *input, uint8_t **line, size_t *len)
{
    if (input->buf.data == NULL)
        return input->ended ? LOAD_LINE_END : LOAD_LINE_NONE;
    uint8_t *start = input->buf.data + input->at;
    size_t have = input->buf.len - input->at;
    uint8_t *newline =
        have > input->scanned ? memchr(start + input->scanned, '\n', have - input->scanned) : NULL;
    bool whole = newline != NULL || (input->ended && have > 0);
    size_t length = newline != NULL ? (size_t)(newline - start) : have;
    if (input->passing_over) {
        give(input, length + (newline != NULL ? 1 : 0));
        input->passing_over = newline == NULL;
        if (newline != NULL)
            return load_input_next(input, line, len);
        return input->ended ? LOAD_LINE_END : LOAD_LINE_NONE;
    }
    if (length > input->line_max) {
        input->line++;
        input->passing_over = !whole;
        give(input, length + (newline != NULL ? 1 : 0));
        return LOAD_LINE_TOO_LONG;
    }
    if (!whole) {
        input->scanned = have;
        return input->ended ? LOAD_LINE_END : LOAD_LINE_NONE;
    }
    input->line++;
    *line = start;
    *len = length;
    give(input, length + (newline != NULL ? 1 : 0));
    return LOAD_LINE_WHOLE;
}

bool load_input_read(struct load_input *input)
{
    mf_buf_consume(&input->buf, input->at);
    input->at = 0;
    ssize_t got = read(input->fd, mf_buf_reserve(&input->buf, READ_BYTES), READ_BYTES);
    if (got < 0)
        return errno == EINTR;
    input->buf.len += (size_t)got;
    input->ended = got == 0;
    return true;
}

void load_input_free(struct load_input *input)
{
    mf_buf_free(&input->buf);
}
