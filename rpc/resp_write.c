// Replies of the Redis protocol; see resp.h.
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "rpc/resp.h"

// An error is one line; the rest of a longer one is left out.
#define ERROR_BYTES_MAX 512u
// A mark, 20 digits and the end of the line.
#define HEADER_BYTES_MAX 24u

static void put_header(struct mf_buf *out, char mark, int64_t value)
{
    char digits[HEADER_BYTES_MAX];
    size_t at = sizeof(digits);
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    digits[--at] = '\n';
    digits[--at] = '\r';
    do {
        digits[--at] = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (value < 0)
        digits[--at] = '-';
    digits[--at] = mark;
    mf_buf_put(out, digits + at, sizeof(digits) - at);
}

void mf_resp_status(struct mf_buf *out, const char *text)
{
    mf_buf_u8(out, '+');
    mf_buf_put(out, text, strlen(text));
    mf_buf_put(out, "\r\n", 2);
}

void mf_resp_error(struct mf_buf *out, const char *text)
{
    size_t len = strlen(text);
    while (len > 0 && (text[len - 1] == '\r' || text[len - 1] == '\n'))
        len--;
    mf_buf_u8(out, '-');
    size_t before = out->len;
    mf_buf_put(out, text, len);
    for (size_t i = before; i < out->len; i++) {
        if (out->data[i] == '\r' || out->data[i] == '\n')
            out->data[i] = ' ';
    }
    mf_buf_put(out, "\r\n", 2);
}

void mf_resp_errorf(struct mf_buf *out, const char *format, ...)
{
    char text[ERROR_BYTES_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    mf_resp_error(out, text);
}

void mf_resp_int(struct mf_buf *out, int64_t value)
{
    put_header(out, ':', value);
}

void mf_resp_bulk(struct mf_buf *out, struct mf_bytes bytes)
{
    mf_buf_reserve(out, bytes.len + HEADER_BYTES_MAX + 2);
    put_header(out, '$', (int64_t)bytes.len);
    mf_buf_put(out, bytes.data, bytes.len);
    mf_buf_put(out, "\r\n", 2);
}

void mf_resp_bulk_str(struct mf_buf *out, const char *text)
{
    mf_resp_bulk(out, mf_bytes_of(text, strlen(text)));
}

void mf_resp_bulk_uint(struct mf_buf *out, uint64_t value)
{
    char digits[24];
    snprintf(digits, sizeof(digits), "%" PRIu64, value);
    mf_resp_bulk_str(out, digits);
}

void mf_resp_verbatim(struct mf_buf *out, unsigned version, struct mf_bytes text)
{
    if (version < 3) {
        mf_resp_bulk(out, text);
        return;
    }
    put_header(out, '=', (int64_t)text.len + 4);
    mf_buf_put(out, "txt:", 4);
    mf_buf_put(out, text.data, text.len);
    mf_buf_put(out, "\r\n", 2);
}

void mf_resp_null(struct mf_buf *out, unsigned version)
{
    mf_buf_put(out, version < 3 ? "$-1\r\n" : "_\r\n", version < 3 ? 5 : 3);
}

void mf_resp_null_array(struct mf_buf *out, unsigned version)
{
    mf_buf_put(out, version < 3 ? "*-1\r\n" : "_\r\n", version < 3 ? 5 : 3);
}

void mf_resp_array(struct mf_buf *out, uint32_t count)
{
    put_header(out, '*', count);
}

void mf_resp_map(struct mf_buf *out, unsigned version, uint32_t pairs)
{
    if (version < 3)
        put_header(out, '*', (int64_t)pairs * 2);
    else
        put_header(out, '%', pairs);
}

void mf_resp_set(struct mf_buf *out, unsigned version, uint32_t count)
{
    put_header(out, version < 3 ? '*' : '~', count);
}

void mf_resp_push(struct mf_buf *out, unsigned version, uint32_t count)
{
    put_header(out, version < 3 ? '*' : '>', count);
}
