// Byte strings: a view that owns nothing, a growing buffer, and a bounded reader.
//
// Integers are little-endian wherever Mayfly writes its own formats (WAL, snapshot, peer frames).
// Nothing here is shared between threads. What every command does many times is inline.
#ifndef MF_BASE_BYTES_H
#define MF_BASE_BYTES_H

#include <assert.h>
#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

// A view of bytes that somebody else owns. data may be NULL only when len is 0.
struct mf_bytes {
    const uint8_t *data;
    size_t len;
};

static inline struct mf_bytes mf_bytes_of(const void *data, size_t len)
{
    return (struct mf_bytes){.data = data, .len = len};
}

static inline bool mf_bytes_equal(struct mf_bytes a, struct mf_bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline struct mf_bytes mf_bytes_str(const char *text)
{
    return mf_bytes_of(text, strlen(text));
}

// memcmp order, a shorter prefix first: <0, 0, >0.
int mf_bytes_compare(struct mf_bytes a, struct mf_bytes b);

// A growing buffer. All zero is an empty one. Growth doubles; running out of memory aborts the
// process with a message, as for every small allocation (mf_alloc).
struct mf_buf {
    uint8_t *data;
    size_t len;
    size_t cap;
};

static inline void mf_buf_free(struct mf_buf *buf)
{
    if (buf->data != NULL)
        free(buf->data);
    *buf = (struct mf_buf){0};
}

// Forgets the content and keeps the memory, unless it is over keep_bytes_max.
static inline void mf_buf_clear(struct mf_buf *buf, size_t keep_bytes_max)
{
    buf->len = 0;
    if (buf->cap > keep_bytes_max)
        mf_buf_free(buf);
}

// What mf_buf_reserve does when there is no room yet.
uint8_t *mf_buf_grow(struct mf_buf *buf, size_t extra);
// Makes room for `extra` more bytes and returns where they go; len is unchanged.
static inline uint8_t *mf_buf_reserve(struct mf_buf *buf, size_t extra)
{
    if (buf->data != NULL && extra <= buf->cap - buf->len)
        return buf->data + buf->len;
    return mf_buf_grow(buf, extra);
}
// Drops the first `count` bytes (count <= len).
void mf_buf_consume(struct mf_buf *buf, size_t count);
static inline void mf_buf_put(struct mf_buf *buf, const void *data, size_t len)
{
    uint8_t *to = mf_buf_reserve(buf, len);
    if (len > 0)
        memcpy(to, data, len);
    buf->len += len;
}

static inline void mf_buf_u8(struct mf_buf *buf, uint8_t value)
{
    mf_buf_reserve(buf, 1)[0] = value;
    buf->len += 1;
}

static inline void mf_buf_u16(struct mf_buf *buf, uint16_t value)
{
    value = htole16(value);
    memcpy(mf_buf_reserve(buf, sizeof(value)), &value, sizeof(value));
    buf->len += sizeof(value);
}

static inline void mf_buf_u32(struct mf_buf *buf, uint32_t value)
{
    value = htole32(value);
    memcpy(mf_buf_reserve(buf, sizeof(value)), &value, sizeof(value));
    buf->len += sizeof(value);
}

static inline void mf_buf_u64(struct mf_buf *buf, uint64_t value)
{
    value = htole64(value);
    memcpy(mf_buf_reserve(buf, sizeof(value)), &value, sizeof(value));
    buf->len += sizeof(value);
}

// u32 length, then the bytes (len < 2^32, asserted).
static inline void mf_buf_blob(struct mf_buf *buf, struct mf_bytes bytes)
{
    assert(bytes.len <= UINT32_MAX);
    uint32_t len = htole32((uint32_t)bytes.len);
    uint8_t *to = mf_buf_reserve(buf, sizeof(len) + bytes.len);
    memcpy(to, &len, sizeof(len));
    if (bytes.len > 0)
        memcpy(to + sizeof(len), bytes.data, bytes.len);
    buf->len += sizeof(len) + bytes.len;
}

static inline struct mf_bytes mf_buf_view(const struct mf_buf *buf)
{
    return mf_bytes_of(buf->data, buf->len);
}

// A reader over a view. A read past the end sets `failed`, returns 0 or an empty view, and so does
// every read after it: check `failed` once at the end.
struct mf_reader {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
};

static inline struct mf_reader mf_reader_of(struct mf_bytes bytes)
{
    static const uint8_t nothing[1];
    const uint8_t *at = bytes.data != NULL ? bytes.data : nothing;
    return (struct mf_reader){.at = at, .end = at + bytes.len};
}

static inline size_t mf_reader_left(const struct mf_reader *r)
{
    return (size_t)(r->end - r->at);
}

static inline struct mf_bytes mf_read_bytes(struct mf_reader *r, size_t len)
{
    if (r->failed || mf_reader_left(r) < len) {
        r->failed = true;
        return mf_bytes_of(NULL, 0);
    }
    struct mf_bytes bytes = mf_bytes_of(r->at, len);
    r->at += len;
    return bytes;
}

// The next bytes of a number, or as many zeros.
static inline void mf_read_into(struct mf_reader *r, void *to, size_t len)
{
    struct mf_bytes bytes = mf_read_bytes(r, len);
    if (bytes.data != NULL)
        memcpy(to, bytes.data, len);
    else
        memset(to, 0, len);
}

static inline uint8_t mf_read_u8(struct mf_reader *r)
{
    uint8_t value;
    mf_read_into(r, &value, sizeof(value));
    return value;
}

static inline uint16_t mf_read_u16(struct mf_reader *r)
{
    uint16_t value;
    mf_read_into(r, &value, sizeof(value));
    return le16toh(value);
}

static inline uint32_t mf_read_u32(struct mf_reader *r)
{
    uint32_t value;
    mf_read_into(r, &value, sizeof(value));
    return le32toh(value);
}

static inline uint64_t mf_read_u64(struct mf_reader *r)
{
    uint64_t value;
    mf_read_into(r, &value, sizeof(value));
    return le64toh(value);
}

// The counterpart of mf_buf_blob: the view points into the input.
static inline struct mf_bytes mf_read_blob(struct mf_reader *r)
{
    return mf_read_bytes(r, mf_read_u32(r));
}

// What the allocator takes for a request of `size` bytes: the size classes of jemalloc, four for
// each doubling.
static inline size_t mf_alloc_bytes(size_t size)
{
    if (size <= 128)
        return size <= 8 ? 8 : (size + 15) & ~(size_t)15;
    size_t step = (size_t)1 << (61 - __builtin_clzll(size - 1));
    return (size + step - 1) & ~(step - 1);
}

// malloc, calloc, realloc that never return NULL: a process without a few kilobytes left cannot
// keep its promises, so it stops with a message. Large, client-sized memory is checked elsewhere.
void *mf_alloc(size_t size) __attribute__((malloc, returns_nonnull));
void *mf_calloc(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
void *mf_realloc(void *ptr, size_t size) __attribute__((returns_nonnull));
char *mf_strdup(const char *text) __attribute__((malloc, returns_nonnull));

#endif
