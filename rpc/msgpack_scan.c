// Where MessagePack objects end, and what their tokens are.
//
// One table describes how each first byte continues: how many bytes of length follow it, how many
// bytes of payload are fixed, and what type it is. The scan and the cursor both read heads through
// it, so they cannot disagree about a size.
//
// The scan keeps, for each open array or map, how many elements are still to come. Every one of
// them needs at least one byte, so offset plus all that is left is the least the object can become:
// compared with size_max at each head, it unmasks an impossible claim the moment it is made.
#include "rpc/msgpack_scan.h"

#include <stdbool.h>

// How an object continues after its first byte.
struct shape {
    uint8_t type;         // enum mf_msgpack_type, or INVALID
    uint8_t length_bytes; // width of the length or count that follows
    uint8_t fixed_bytes;  // payload bytes besides those the length counts
};

#define INVALID 255

// First bytes 0xc0 to 0xdf; the other ranges carry their value in the byte itself.
static const struct shape shapes[32] = {
    {MF_MP_NIL, 0, 0},   {INVALID, 0, 0},     {MF_MP_BOOL, 0, 0},  {MF_MP_BOOL, 0, 0},
    {MF_MP_BIN, 1, 0},   {MF_MP_BIN, 2, 0},   {MF_MP_BIN, 4, 0},   {MF_MP_EXT, 1, 1},
    {MF_MP_EXT, 2, 1},   {MF_MP_EXT, 4, 1},   {MF_MP_FLOAT, 0, 4}, {MF_MP_FLOAT, 0, 8},
    {MF_MP_UINT, 0, 1},  {MF_MP_UINT, 0, 2},  {MF_MP_UINT, 0, 4},  {MF_MP_UINT, 0, 8},
    {MF_MP_INT, 0, 1},   {MF_MP_INT, 0, 2},   {MF_MP_INT, 0, 4},   {MF_MP_INT, 0, 8},
    {MF_MP_EXT, 0, 2},   {MF_MP_EXT, 0, 3},   {MF_MP_EXT, 0, 5},   {MF_MP_EXT, 0, 9},
    {MF_MP_EXT, 0, 17},  {MF_MP_STR, 1, 0},   {MF_MP_STR, 2, 0},   {MF_MP_STR, 4, 0},
    {MF_MP_ARRAY, 2, 0}, {MF_MP_ARRAY, 4, 0}, {MF_MP_MAP, 2, 0},   {MF_MP_MAP, 4, 0},
};

// A head read in full: where the payload begins, how long it is, how many elements follow it.
struct head {
    enum mf_msgpack_type type;
    size_t head_bytes;
    uint64_t payload_bytes;
    uint32_t count; // array elements or map pairs
};

static uint64_t read_be(const uint8_t *at, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value = value << 8 | at[i];
    return value;
}

static bool is_container(enum mf_msgpack_type type)
{
    return type == MF_MP_ARRAY || type == MF_MP_MAP;
}

// What the first byte alone says. False for the byte that MessagePack never uses.
static bool head_start(uint8_t first, struct head *head)
{
    *head = (struct head){.head_bytes = 1};
    if (first <= 0x7f) {
        head->type = MF_MP_UINT;
    } else if (first <= 0x8f) {
        head->type = MF_MP_MAP;
        head->count = first & 0x0fu;
    } else if (first <= 0x9f) {
        head->type = MF_MP_ARRAY;
        head->count = first & 0x0fu;
    } else if (first <= 0xbf) {
        head->type = MF_MP_STR;
        head->payload_bytes = first & 0x1fu;
    } else if (first >= 0xe0) {
        head->type = MF_MP_INT;
    } else {
        const struct shape *shape = &shapes[first - 0xc0];
        if (shape->type == INVALID)
            return false;
        head->type = (enum mf_msgpack_type)shape->type;
        head->head_bytes += shape->length_bytes;
        head->payload_bytes = shape->fixed_bytes;
    }
    return true;
}

// Adds the length or count; `at` has head_bytes bytes.
static void head_finish(const uint8_t *at, struct head *head)
{
    if (head->head_bytes == 1)
        return;
    uint64_t length = read_be(at + 1, head->head_bytes - 1);
    if (is_container(head->type))
        head->count = (uint32_t)length;
    else
        head->payload_bytes += length;
}

static uint64_t head_children(const struct head *head)
{
    return head->type == MF_MP_MAP ? (uint64_t)head->count * 2 : head->count;
}

static void close_finished_levels(struct mf_msgpack_scan *scan)
{
    while (scan->depth > 0 && scan->left[scan->depth - 1] == 0)
        scan->depth--;
}

// Scans the head at scan->offset and steps over its object or into it. `least` is what the whole
// object must come to with one byte for each element left; it is kept up to date.
static enum mf_err scan_head(struct mf_msgpack_scan *scan, struct mf_bytes input, size_t size_max,
                             uint64_t *least)
{
    struct head head;
    const uint8_t *at = input.data + scan->offset;
    if (!head_start(*at, &head))
        return MF_CORRUPT;
    if (is_container(head.type) && scan->depth == MF_SCAN_DEPTH_MAX)
        return MF_CORRUPT;
    if (head.head_bytes - 1 > size_max - *least)
        return MF_TOO_LARGE;
    if (head.head_bytes > input.len - scan->offset)
        return MF_AGAIN;
    head_finish(at, &head);
    uint64_t more = head.head_bytes - 1 + head.payload_bytes + head_children(&head);
    if (more > size_max - *least)
        return MF_TOO_LARGE;
    *least += more;
    scan->offset += head.head_bytes + head.payload_bytes;
    if (scan->depth > 0)
        scan->left[scan->depth - 1]--;
    if (head_children(&head) > 0)
        scan->left[scan->depth++] = head_children(&head);
    else
        close_finished_levels(scan);
    return MF_OK;
}

enum mf_err mf_msgpack_scan(struct mf_msgpack_scan *scan, struct mf_bytes input, size_t size_max,
                            size_t *size)
{
    // Nothing scanned yet: the object itself is the one element to come.
    bool fresh = scan->offset == 0;
    uint64_t least = scan->offset + (fresh ? 1u : 0u);
    for (uint32_t level = 0; level < scan->depth; level++)
        least += scan->left[level];
    if (least > size_max)
        return MF_TOO_LARGE;
    while (fresh || scan->depth > 0) {
        if (scan->offset >= input.len)
            return MF_AGAIN;
        enum mf_err err = scan_head(scan, input, size_max, &least);
        if (err != MF_OK)
            return err;
        fresh = false;
    }
    // All heads are known; the last payload may still be on its way.
    if (scan->offset > input.len)
        return MF_AGAIN;
    *size = scan->offset;
    *scan = (struct mf_msgpack_scan){0};
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

static void fill_token(struct mf_msgpack_token *token, const struct head *head, uint8_t first,
                       struct mf_bytes payload)
{
    *token = (struct mf_msgpack_token){.type = head->type};
    switch (head->type) {
    case MF_MP_BOOL:
        token->integer = first & 1;
        break;
    case MF_MP_UINT:
        token->uinteger = payload.len == 0 ? first : read_be(payload.data, payload.len);
        break;
    case MF_MP_INT:
        if (payload.len == 0)
            set_signed(token, (int64_t)first - 256);
        else
            set_signed(token, read_signed(payload.data, payload.len));
        break;
    case MF_MP_STR:
    case MF_MP_BIN:
    case MF_MP_EXT:
        token->bytes = payload;
        break;
    case MF_MP_ARRAY:
    case MF_MP_MAP:
        token->count = head->count;
        break;
    case MF_MP_NIL:
    case MF_MP_FLOAT:
        break;
    }
}

enum mf_err mf_msgpack_next(struct mf_msgpack_in *in, struct mf_msgpack_token *token)
{
    struct mf_reader *r = &in->reader;
    struct head head;
    const uint8_t *at = r->at;
    if (mf_reader_left(r) == 0 || !head_start(*at, &head) || mf_reader_left(r) < head.head_bytes)
        return MF_CORRUPT;
    head_finish(at, &head);
    if (mf_reader_left(r) - head.head_bytes < head.payload_bytes)
        return MF_CORRUPT;
    (void)mf_read_bytes(r, head.head_bytes);
    fill_token(token, &head, *at, mf_read_bytes(r, head.payload_bytes));
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
