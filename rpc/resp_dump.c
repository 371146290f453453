// Values as Redis dumps them; see resp_dump.h.
#include "rpc/resp_dump.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/crc64.h"
#include "base/lzf.h"
#include "rpc/resp.h"

#define TYPE_STRING 0u
#define VERSION 10u // Redis 7.0's
// Redis 7.2's, 7.4's and 8's strings have the same form.
#define VERSION_MAX 12u
#define FOOT_BYTES 10u
// The longest text that may be an integer of 32 bits.
#define INTEGER_CHARS_MAX 11u

// The first byte of a length: two bits say what follows, or what the string is encoded as.
#define LENGTH_14 0x40u
#define LENGTH_32 0x80u
#define LENGTH_64 0x81u
#define ENCODED 0xc0u
enum { INT8, INT16, INT32, LZF };

static void put_big_endian(struct mf_buf *out, uint64_t number, unsigned bytes)
{
    while (bytes-- > 0)
        mf_buf_u8(out, (uint8_t)(number >> (8 * bytes)));
}

static void put_length(struct mf_buf *out, uint64_t length)
{
    if (length < 1u << 6) {
        mf_buf_u8(out, (uint8_t)length);
    } else if (length < 1u << 14) {
        put_big_endian(out, LENGTH_14 << 8 | length, 2);
    } else if (length <= UINT32_MAX) {
        mf_buf_u8(out, LENGTH_32);
        put_big_endian(out, length, 4);
    } else {
        mf_buf_u8(out, LENGTH_64);
        put_big_endian(out, length, 8);
    }
}

// At most this: a value that is no integer.
static size_t length_bytes(uint64_t length)
{
    return length < 1u << 6 ? 1 : length < 1u << 14 ? 2 : length <= UINT32_MAX ? 5 : 9;
}

// How many bytes a number takes as an integer: 1, 2 or 4; 0 when the value is no such number.
static unsigned integer_bytes(struct mf_bytes value, int64_t *number)
{
    if (value.len > INTEGER_CHARS_MAX || !mf_resp_integer(value, number) || *number < INT32_MIN ||
        *number > INT32_MAX)
        return 0;
    if (*number >= INT8_MIN && *number <= INT8_MAX)
        return 1;
    return *number >= INT16_MIN && *number <= INT16_MAX ? 2 : 4;
}

void mf_resp_dump(struct mf_buf *out, struct mf_bytes value)
{
    int64_t number = 0;
    unsigned bytes = integer_bytes(value, &number);
    size_t body = bytes > 0 ? 1 + bytes : length_bytes(value.len) + value.len;
    char head[32];
    int head_len = snprintf(head, sizeof(head), "$%zu\r\n", 1 + body + FOOT_BYTES);
    mf_buf_put(out, head, (size_t)head_len);
    size_t begin = out->len;
    mf_buf_u8(out, TYPE_STRING);
    if (bytes > 0) {
        mf_buf_u8(out, (uint8_t)(ENCODED | (bytes == 1 ? INT8 : bytes == 2 ? INT16 : INT32)));
        for (unsigned i = 0; i < bytes; i++)
            mf_buf_u8(out, (uint8_t)((uint64_t)number >> (8 * i)));
    } else {
        put_length(out, value.len);
        mf_buf_put(out, value.data, value.len);
    }
    mf_buf_u16(out, VERSION);
    mf_buf_u64(out, mf_crc64(0, mf_bytes_of(out->data + begin, out->len - begin)));
    mf_buf_put(out, "\r\n", 2);
}

static uint64_t take_big_endian(struct mf_reader *r, unsigned bytes)
{
    uint64_t number = 0;
    while (bytes-- > 0)
        number = number << 8 | mf_read_u8(r);
    return number;
}

// What is no plain length fails the reader.
static uint64_t take_length(struct mf_reader *r)
{
    unsigned first = mf_read_u8(r);
    if (first < LENGTH_14)
        return first;
    if (first < LENGTH_32)
        return (uint64_t)(first & 0x3f) << 8 | mf_read_u8(r);
    if (first == LENGTH_32)
        return take_big_endian(r, 4);
    if (first == LENGTH_64)
        return take_big_endian(r, 8);
    r->failed = true;
    return 0;
}

static enum mf_err take_integer(struct mf_reader *r, unsigned encoding, struct mf_buf *made)
{
    int32_t number = encoding == INT8    ? (int8_t)mf_read_u8(r)
                     : encoding == INT16 ? (int16_t)mf_read_u16(r)
                                         : (int32_t)mf_read_u32(r);
    char text[INTEGER_CHARS_MAX + 1];
    int len = snprintf(text, sizeof(text), "%" PRId32, number);
    mf_buf_put(made, text, (size_t)len);
    return MF_OK;
}

static enum mf_err take_packed(struct mf_reader *r, size_t value_bytes_max, struct mf_buf *made)
{
    uint64_t packed_len = take_length(r);
    uint64_t len = take_length(r);
    if (r->failed || packed_len != mf_reader_left(r) || len / MF_LZF_RATIO_MAX > packed_len)
        return MF_BAD_REQUEST;
    if (len > value_bytes_max)
        return MF_TOO_LARGE;
    struct mf_bytes packed = mf_read_bytes(r, (size_t)packed_len);
    uint8_t *to = mf_buf_reserve(made, (size_t)len + 1);
    if (!mf_lzf_unpack(packed, to, (size_t)len))
        return MF_BAD_REQUEST;
    made->len = (size_t)len;
    return MF_OK;
}

static enum mf_err take_string(struct mf_reader *r, size_t value_bytes_max, struct mf_buf *made,
                               struct mf_bytes *value)
{
    unsigned encoding = r->at < r->end && *r->at >= ENCODED ? mf_read_u8(r) & 0x3fu : LZF + 1;
    enum mf_err err = MF_OK;
    if (encoding == LZF + 1) {
        uint64_t len = take_length(r);
        if (r->failed || len != mf_reader_left(r))
            return MF_BAD_REQUEST;
        *value = mf_read_bytes(r, (size_t)len);
        return value->len > value_bytes_max ? MF_TOO_LARGE : MF_OK;
    }
    mf_buf_clear(made, SIZE_MAX);
    if (encoding > LZF)
        return MF_BAD_REQUEST;
    if (encoding == LZF)
        err = take_packed(r, value_bytes_max, made);
    else
        err = take_integer(r, encoding, made);
    *value = mf_buf_view(made);
    return err == MF_OK && (r->failed || mf_reader_left(r) > 0) ? MF_BAD_REQUEST : err;
}

enum mf_err mf_resp_undump(struct mf_bytes payload, size_t value_bytes_max, struct mf_buf *made,
                           struct mf_bytes *value)
{
    if (payload.len < FOOT_BYTES)
        return MF_CORRUPT;
    size_t len = payload.len - FOOT_BYTES;
    struct mf_reader foot = mf_reader_of(mf_bytes_of(payload.data + len, FOOT_BYTES));
    unsigned version = mf_read_u16(&foot);
    uint64_t crc = mf_read_u64(&foot);
    if (version > VERSION_MAX || crc != mf_crc64(0, mf_bytes_of(payload.data, payload.len - 8)))
        return MF_CORRUPT;
    struct mf_reader body = mf_reader_of(mf_bytes_of(payload.data, len));
    if (mf_read_u8(&body) != TYPE_STRING || body.failed)
        return MF_BAD_REQUEST;
    return take_string(&body, value_bytes_max, made, value);
}
