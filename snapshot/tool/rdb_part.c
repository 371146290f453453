// Numbers, lengths and strings of Redis's files; see rdb_part.h.
#include "snapshot/tool/rdb_part.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/crc64.h"
#include "base/lzf.h"

#define PIECE_BYTES (256u * 1024u)

// The first bits of a length say how long it is itself, or that the string is no run of bytes.
enum { LENGTH_6_BITS, LENGTH_14_BITS, LENGTH_WHOLE, LENGTH_ENCODED };
enum { WHOLE_32_BITS = 0x80, WHOLE_64_BITS = 0x81 };
enum { ENCODED_INT8, ENCODED_INT16, ENCODED_INT32, ENCODED_LZF };

bool rdb_fail(struct rdb *rdb, const char *fault)
{
    if (rdb->input->failed)
        snprintf(rdb->why, sizeof(rdb->why), "%s", rdb->input->why);
    else if (rdb->why[0] == '\0')
        snprintf(rdb->why, sizeof(rdb->why), "%.120s: at offset %" PRIu64 ": %s", rdb->input->path,
                 rdb->input->offset, fault);
    return false;
}

static void drop(struct rdb *rdb, size_t count)
{
    rdb->crc = mf_crc64(rdb->crc, mf_bytes_of(rdb->input->at, count));
    input_drop(rdb->input, count);
}

const uint8_t *rdb_take(struct rdb *rdb, size_t count)
{
    if (!input_fill(rdb->input, count)) {
        rdb_fail(rdb, "the file is cut short");
        return NULL;
    }
    const uint8_t *at = rdb->input->at;
    drop(rdb, count);
    return at;
}

bool rdb_take_byte(struct rdb *rdb, uint8_t *byte)
{
    const uint8_t *at = rdb_take(rdb, 1);
    if (at != NULL)
        *byte = *at;
    return at != NULL;
}

// *encoded: the number is not a length but how the string is written.
static bool take_length(struct rdb *rdb, uint64_t *length, bool *encoded)
{
    uint8_t first;
    if (!rdb_take_byte(rdb, &first))
        return false;
    *encoded = false;
    unsigned low = first & 0x3fu;
    size_t more = 0;
    *length = low;
    switch (first >> 6) {
    case LENGTH_6_BITS:
        return true;
    case LENGTH_14_BITS:
        more = 1;
        break;
    case LENGTH_WHOLE:
        if (first != WHOLE_32_BITS && first != WHOLE_64_BITS)
            return rdb_fail(rdb, "a length of an unknown form");
        more = first == WHOLE_32_BITS ? 4 : 8;
        *length = 0;
        break;
    default:
        *encoded = true;
        return true;
    }
    const uint8_t *at = rdb_take(rdb, more);
    for (size_t i = 0; at != NULL && i < more; i++)
        *length = *length << 8 | at[i];
    return at != NULL;
}

bool rdb_take_length(struct rdb *rdb, uint64_t *length)
{
    bool encoded;
    if (!take_length(rdb, length, &encoded))
        return false;
    return !encoded || rdb_fail(rdb, "the form of a string where a length was expected");
}

// Piece by piece, so that memory is taken for bytes that are there only.
static bool copy(struct rdb *rdb, uint64_t count, struct mf_buf *out)
{
    out->len = 0;
    if (count > RDB_STRING_BYTES_MAX)
        return rdb_fail(rdb, "a string longer than 512 MiB");
    while (count > 0) {
        size_t piece = count < PIECE_BYTES ? (size_t)count : PIECE_BYTES;
        if (!input_fill(rdb->input, piece))
            return rdb_fail(rdb, "the file is cut short");
        mf_buf_put(out, rdb->input->at, piece);
        drop(rdb, piece);
        count -= piece;
    }
    return true;
}

bool rdb_skip(struct rdb *rdb, uint64_t count)
{
    while (count > 0) {
        size_t piece = count < PIECE_BYTES ? (size_t)count : PIECE_BYTES;
        if (!input_fill(rdb->input, piece))
            return rdb_fail(rdb, "the file is cut short");
        drop(rdb, piece);
        count -= piece;
    }
    return true;
}

static bool take_integer(struct rdb *rdb, uint64_t form, struct mf_buf *out)
{
    size_t bytes = (size_t)1 << form;
    const uint8_t *at = rdb_take(rdb, bytes);
    if (at == NULL)
        return false;
    uint32_t bits = 0;
    for (size_t i = 0; i < bytes; i++)
        bits |= (uint32_t)at[i] << (8 * i);
    int32_t value = form == ENCODED_INT8    ? (int8_t)bits
                    : form == ENCODED_INT16 ? (int16_t)bits
                                            : (int32_t)bits;
    char text[16];
    int len = snprintf(text, sizeof(text), "%" PRId32, value);
    out->len = 0;
    mf_buf_put(out, text, (size_t)len);
    return true;
}

static bool take_packed(struct rdb *rdb, struct mf_buf *out)
{
    uint64_t packed;
    uint64_t bytes;
    if (!rdb_take_length(rdb, &packed) || !rdb_take_length(rdb, &bytes))
        return false;
    if (bytes > RDB_STRING_BYTES_MAX || bytes / MF_LZF_RATIO_MAX > packed)
        return rdb_fail(rdb, "a packed string that claims to be longer than it can be");
    if (!copy(rdb, packed, &rdb->packed))
        return false;
    out->len = 0;
    uint8_t *to = mf_buf_reserve(out, (size_t)bytes + 1);
    if (!mf_lzf_unpack(mf_buf_view(&rdb->packed), to, (size_t)bytes))
        return rdb_fail(rdb, "a packed string that cannot be unpacked");
    out->len = (size_t)bytes;
    return true;
}

bool rdb_take_string(struct rdb *rdb, struct mf_buf *out)
{
    uint64_t length;
    bool encoded;
    // One huge string is not a reason to keep as much for all that follow.
    mf_buf_clear(out, 8 * PIECE_BYTES);
    mf_buf_clear(&rdb->packed, 8 * PIECE_BYTES);
    if (!take_length(rdb, &length, &encoded))
        return false;
    if (!encoded)
        return copy(rdb, length, out);
    if (length == ENCODED_LZF)
        return take_packed(rdb, out);
    return length < ENCODED_LZF ? take_integer(rdb, length, out)
                                : rdb_fail(rdb, "a string of an unknown form");
}

bool rdb_skip_string(struct rdb *rdb)
{
    uint64_t length;
    uint64_t bytes;
    bool encoded;
    if (!take_length(rdb, &length, &encoded))
        return false;
    if (!encoded)
        return rdb_skip(rdb, length);
    if (length == ENCODED_LZF)
        return rdb_take_length(rdb, &length) && rdb_take_length(rdb, &bytes) &&
               rdb_skip(rdb, length);
    return length < ENCODED_LZF ? rdb_skip(rdb, (uint64_t)1 << length)
                                : rdb_fail(rdb, "a string of an unknown form");
}
