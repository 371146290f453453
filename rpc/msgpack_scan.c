// Where MessagePack objects end, and what their tokens are.
//
// One table describes how each first byte continues: how many bytes of length follow it, how many
// bytes of payload are fixed, and what type it is. The scan and the cursor both read heads through
// it, so they cannot disagree about a size. It has a row for each of the 256 bytes, because every
// request of every client goes through it twice, a head at a time.
//
// The scan keeps, for each open array or map, how many elements are still to come. Every one of
// them needs at least one byte, so offset plus all that is left is the least the object can become:
// compared with size_max at each head, it unmasks an impossible claim the moment it is made.
#include "rpc/msgpack_scan.h"

#include <endian.h>
#include <stdbool.h>
#include <string.h>

// How an object continues after its first byte.
struct shape {
    uint8_t type;         // enum mf_msgpack_type, or INVALID
    uint8_t length_bytes; // width of the length or count that follows: 0, 1, 2 or 4
    uint8_t fixed_bytes;  // payload bytes besides those the length counts
    uint8_t elements;     // for each of the count: 1 of an array, 2 of a map; else 0
    uint8_t own;          // the bits of the first byte that are a length or count
};

#define INVALID 255
#define FIXINT_MAX 0x7f
#define ONE_BYTE_MAX 0x9f // small integers, and containers of up to 15

// clang-format off
#define ROW(...) {__VA_ARGS__}
#define FOUR(...) ROW(__VA_ARGS__), ROW(__VA_ARGS__), ROW(__VA_ARGS__), ROW(__VA_ARGS__)
#define SIXTEEN(...) FOUR(__VA_ARGS__), FOUR(__VA_ARGS__), FOUR(__VA_ARGS__), FOUR(__VA_ARGS__)
// clang-format on

static const struct shape shapes[256] = {
    // 0x00 to 0x7f
    SIXTEEN(MF_MP_UINT, 0, 0, 0, 0),
    SIXTEEN(MF_MP_UINT, 0, 0, 0, 0),
    SIXTEEN(MF_MP_UINT, 0, 0, 0, 0),
    SIXTEEN(MF_MP_UINT, 0, 0, 0, 0),
    SIXTEEN(MF_MP_UINT, 0, 0, 0, 0),
    SIXTEEN(MF_MP_UINT, 0, 0, 0, 0),
    SIXTEEN(MF_MP_UINT, 0, 0, 0, 0),
    SIXTEEN(MF_MP_UINT, 0, 0, 0, 0),
    // 0x80 to 0xbf
    SIXTEEN(MF_MP_MAP, 0, 0, 2, 0x0f),
    SIXTEEN(MF_MP_ARRAY, 0, 0, 1, 0x0f),
    SIXTEEN(MF_MP_STR, 0, 0, 0, 0x1f),
    SIXTEEN(MF_MP_STR, 0, 0, 0, 0x1f),
    // 0xc0 to 0xdf
    {MF_MP_NIL, 0, 0, 0, 0},
    {INVALID, 0, 0, 0, 0},
    {MF_MP_BOOL, 0, 0, 0, 0},
    {MF_MP_BOOL, 0, 0, 0, 0},
    {MF_MP_BIN, 1, 0, 0, 0},
    {MF_MP_BIN, 2, 0, 0, 0},
    {MF_MP_BIN, 4, 0, 0, 0},
    {MF_MP_EXT, 1, 1, 0, 0},
    {MF_MP_EXT, 2, 1, 0, 0},
    {MF_MP_EXT, 4, 1, 0, 0},
    {MF_MP_FLOAT, 0, 4, 0, 0},
    {MF_MP_FLOAT, 0, 8, 0, 0},
    {MF_MP_UINT, 0, 1, 0, 0},
    {MF_MP_UINT, 0, 2, 0, 0},
    {MF_MP_UINT, 0, 4, 0, 0},
    {MF_MP_UINT, 0, 8, 0, 0},
    {MF_MP_INT, 0, 1, 0, 0},
    {MF_MP_INT, 0, 2, 0, 0},
    {MF_MP_INT, 0, 4, 0, 0},
    {MF_MP_INT, 0, 8, 0, 0},
    {MF_MP_EXT, 0, 2, 0, 0},
    {MF_MP_EXT, 0, 3, 0, 0},
    {MF_MP_EXT, 0, 5, 0, 0},
    {MF_MP_EXT, 0, 9, 0, 0},
    {MF_MP_EXT, 0, 17, 0, 0},
    {MF_MP_STR, 1, 0, 0, 0},
    {MF_MP_STR, 2, 0, 0, 0},
    {MF_MP_STR, 4, 0, 0, 0},
    {MF_MP_ARRAY, 2, 0, 1, 0},
    {MF_MP_ARRAY, 4, 0, 1, 0},
    {MF_MP_MAP, 2, 0, 2, 0},
    {MF_MP_MAP, 4, 0, 2, 0},
    // 0xe0 to 0xff
    SIXTEEN(MF_MP_INT, 0, 0, 0, 0),
    SIXTEEN(MF_MP_INT, 0, 0, 0, 0),
};

// A number of 1, 2, 4 or 8 bytes.
static uint64_t read_be(const uint8_t *at, size_t bytes)
{
    uint16_t two;
    uint32_t four;
    uint64_t eight;
    switch (bytes) {
    case 1:
        return *at;
    case 2:
        memcpy(&two, at, sizeof(two));
        return be16toh(two);
    case 4:
        memcpy(&four, at, sizeof(four));
        return be32toh(four);
    default:
        memcpy(&eight, at, sizeof(eight));
        return be64toh(eight);
    }
}

static bool is_bytes(uint8_t type)
{
    return type == MF_MP_STR || type == MF_MP_BIN || type == MF_MP_EXT;
}

// How far a scan has come, between two heads.
struct place {
    size_t offset;
    uint64_t least;   // what the whole object must come to with one byte for each element left
    uint64_t to_come; // elements, of the innermost open level
    uint32_t depth;
};

static void close_finished_levels(struct place *place, const uint64_t *left)
{
    while (place->to_come == 0 && place->depth > 0) {
        place->depth--;
        place->to_come = place->depth > 0 ? left[place->depth - 1] : 0;
    }
}

// Scans the head at place->offset and steps over its object or into it.
static inline enum mf_err scan_head(struct place *place, uint64_t *left, struct mf_bytes input,
                                    size_t size_max)
{
    if (place->offset >= input.len)
        return MF_AGAIN;
    const uint8_t *at = input.data + place->offset;
    if (*at <= FIXINT_MAX) {
        place->offset++;
        if (--place->to_come == 0)
            close_finished_levels(place, left);
        return MF_OK;
    }
    const struct shape *shape = &shapes[*at];
    if (shape->type == INVALID || (shape->elements > 0 && place->depth == MF_SCAN_DEPTH_MAX))
        return MF_CORRUPT;
    uint64_t length = *at & shape->own;
    if (shape->length_bytes > 0) {
        if (shape->length_bytes > size_max - place->least)
            return MF_TOO_LARGE;
        if (shape->length_bytes >= input.len - place->offset)
            return MF_AGAIN;
        length = read_be(at + 1, shape->length_bytes);
    }
    uint64_t children = length * shape->elements;
    uint64_t payload = shape->elements > 0 ? 0 : shape->fixed_bytes + length;
    uint64_t more = shape->length_bytes + payload + children;
    if (more > size_max - place->least)
        return MF_TOO_LARGE;
    place->least += more;
    place->offset += 1u + shape->length_bytes + payload;
    place->to_come--;
    if (children > 0) {
        if (place->depth > 0)
            left[place->depth - 1] = place->to_come;
        place->to_come = children;
        place->depth++;
    } else if (place->to_come == 0) {
        close_finished_levels(place, left);
    }
    return MF_OK;
}

enum mf_err mf_msgpack_scan(struct mf_msgpack_scan *scan, struct mf_bytes input, size_t size_max,
                            size_t *size)
{
    struct place place = {.offset = scan->offset, .least = scan->offset, .depth = scan->depth};
    if (scan->depth > 0)
        place.to_come = scan->left[scan->depth - 1];
    else if (scan->offset == 0) // nothing scanned yet: the object itself is the one to come
        place.least = place.to_come = 1;
    for (uint32_t level = 0; level < scan->depth; level++)
        place.least += scan->left[level];
    if (place.least > size_max)
        return MF_TOO_LARGE;
    enum mf_err err = MF_OK;
    while (err == MF_OK && place.to_come > 0)
        err = scan_head(&place, scan->left, input, size_max);
    // All heads are known; the last payload may still be on its way.
    if (err == MF_OK && place.offset > input.len)
        err = MF_AGAIN;
    scan->offset = place.offset;
    scan->depth = place.depth;
    if (place.depth > 0)
        scan->left[place.depth - 1] = place.to_come;
    if (err != MF_OK)
        return err;
    *size = place.offset;
    scan->offset = 0; // and no level is open
    return MF_OK;
}

// Sign-extends the `bytes` bytes at `at`.
static int64_t read_signed(const uint8_t *at, size_t bytes)
{
    uint64_t value = read_be(at, bytes);
    uint64_t sign = UINT64_C(1) << (8 * bytes - 1);
    return (int64_t)((value ^ sign) - sign);
}

static void set_signed(struct mf_msgpack_token *token, int64_t value)
{
    token->type = value < 0 ? MF_MP_INT : MF_MP_UINT;
    if (value < 0)
        token->integer = value;
    else
        token->uinteger = (uint64_t)value;
}

// Nil, booleans, numbers of several bytes or below zero, and containers with a count of their own.
static enum mf_err next_other(struct mf_reader *r, struct mf_msgpack_token *token)
{
    const uint8_t *at = r->at;
    const struct shape *shape = &shapes[*at];
    size_t bytes = (size_t)shape->length_bytes + shape->fixed_bytes; // only one of them is not 0
    if (shape->type == INVALID || mf_reader_left(r) <= bytes)
        return MF_CORRUPT;
    r->at = at + 1 + bytes;
    *token = (struct mf_msgpack_token){.type = (enum mf_msgpack_type)shape->type};
    if (shape->elements > 0)
        token->count = (uint32_t)read_be(at + 1, bytes);
    else if (token->type == MF_MP_BOOL)
        token->integer = *at & 1;
    else if (token->type == MF_MP_UINT)
        token->uinteger = read_be(at + 1, bytes);
    else if (token->type == MF_MP_INT)
        set_signed(token, bytes == 0 ? (int64_t)*at - 256 : read_signed(at + 1, bytes));
    return MF_OK;
}

// Short and without a loop for what requests are made of; the rest stands aside, so that its
// registers cost nothing here.
enum mf_err mf_msgpack_next(struct mf_msgpack_in *in, struct mf_msgpack_token *token)
{
    struct mf_reader *r = &in->reader;
    const uint8_t *at = r->at;
    if (at == r->end)
        return MF_CORRUPT;
    const struct shape *shape = &shapes[*at];
    if (*at <= ONE_BYTE_MAX) {
        *token = (struct mf_msgpack_token){.type = (enum mf_msgpack_type)shape->type};
        if (*at <= FIXINT_MAX)
            token->uinteger = *at;
        else
            token->count = *at & shape->own;
        r->at = at + 1;
        return MF_OK;
    }
    if (!is_bytes(shape->type))
        return next_other(r, token);
    uint64_t length = *at & shape->own;
    const uint8_t *from = at + 1 + shape->length_bytes;
    if (shape->length_bytes > 0) {
        if (mf_reader_left(r) <= shape->length_bytes)
            return MF_CORRUPT;
        length = read_be(at + 1, shape->length_bytes);
    }
    length += shape->fixed_bytes;
    if (length > (size_t)(r->end - from))
        return MF_CORRUPT;
    r->at = from + length;
    *token = (struct mf_msgpack_token){.type = (enum mf_msgpack_type)shape->type,
                                       .bytes = mf_bytes_of(from, length)};
    return MF_OK;
}

enum mf_err mf_msgpack_pass(struct mf_msgpack_in *in)
{
    struct mf_msgpack_token token;
    for (uint64_t left = 1; left > 0; left--) {
        enum mf_err err = mf_msgpack_next(in, &token);
        if (err != MF_OK)
            return err;
        left += token.type == MF_MP_MAP ? (uint64_t)token.count * 2 : token.count;
    }
    return MF_OK;
}
