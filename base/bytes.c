// Byte views, growing buffers, bounded readers; see bytes.h.
#include "base/bytes.h"

#include <assert.h>
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mf_bytes mf_bytes_str(const char *text)
{
    return mf_bytes_of(text, strlen(text));
}

int mf_bytes_compare(struct mf_bytes a, struct mf_bytes b)
{
    size_t shared = a.len < b.len ? a.len : b.len;
    int order = shared == 0 ? 0 : memcmp(a.data, b.data, shared);
    if (order != 0)
        return order;
    return (a.len > b.len) - (a.len < b.len);
}

static void *checked(void *ptr, size_t size)
{
    if (ptr == NULL && size > 0) {
        fprintf(stderr, "mayfly: out of memory (%zu bytes wanted)\n", size);
        abort();
    }
    return ptr;
}

void *mf_alloc(size_t size)
{
    return checked(malloc(size > 0 ? size : 1), size > 0 ? size : 1);
}

void *mf_calloc(size_t count, size_t size)
{
    bool empty = count == 0 || size == 0;
    return checked(calloc(empty ? 1 : count, empty ? 1 : size), 1);
}

void *mf_realloc(void *ptr, size_t size)
{
    assert(size > 0);
    return checked(realloc(ptr, size), size);
}

char *mf_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(mf_alloc(size), text, size);
}

void mf_buf_free(struct mf_buf *buf)
{
    free(buf->data);
    *buf = (struct mf_buf){0};
}

void mf_buf_clear(struct mf_buf *buf, size_t keep_bytes_max)
{
    buf->len = 0;
    if (buf->cap > keep_bytes_max)
        mf_buf_free(buf);
}

uint8_t *mf_buf_grow(struct mf_buf *buf, size_t extra)
{
    assert(extra <= SIZE_MAX / 4 && buf->len <= SIZE_MAX / 4);
    size_t wanted = buf->len + extra;
    size_t cap = buf->cap < 64 ? 64 : buf->cap;
    while (cap < wanted)
        cap *= 2;
    buf->data = mf_realloc(buf->data, cap);
    buf->cap = cap;
    return buf->data + buf->len;
}

void mf_buf_consume(struct mf_buf *buf, size_t count)
{
    assert(count <= buf->len);
    buf->len -= count;
    if (buf->len > 0 && count > 0)
        memmove(buf->data, buf->data + count, buf->len);
}

void mf_buf_u16(struct mf_buf *buf, uint16_t value)
{
    value = htole16(value);
    memcpy(mf_buf_reserve(buf, sizeof(value)), &value, sizeof(value));
    buf->len += sizeof(value);
}

void mf_buf_u32(struct mf_buf *buf, uint32_t value)
{
    value = htole32(value);
    memcpy(mf_buf_reserve(buf, sizeof(value)), &value, sizeof(value));
    buf->len += sizeof(value);
}

void mf_buf_u64(struct mf_buf *buf, uint64_t value)
{
    value = htole64(value);
    memcpy(mf_buf_reserve(buf, sizeof(value)), &value, sizeof(value));
    buf->len += sizeof(value);
}

void mf_buf_blob(struct mf_buf *buf, struct mf_bytes bytes)
{
    assert(bytes.len <= UINT32_MAX);
    uint32_t len = htole32((uint32_t)bytes.len);
    uint8_t *to = mf_buf_reserve(buf, sizeof(len) + bytes.len);
    memcpy(to, &len, sizeof(len));
    if (bytes.len > 0)
        memcpy(to + sizeof(len), bytes.data, bytes.len);
    buf->len += sizeof(len) + bytes.len;
}

struct mf_reader mf_reader_of(struct mf_bytes bytes)
{
    static const uint8_t nothing[1];
    const uint8_t *at = bytes.data != NULL ? bytes.data : nothing;
    return (struct mf_reader){.at = at, .end = at + bytes.len};
}

// Where the next bytes are, or so many zeros when there are not enough.
static const uint8_t *take(struct mf_reader *r, size_t bytes)
{
    static const uint8_t zeros[sizeof(uint64_t)];
    if (r->failed || mf_reader_left(r) < bytes) {
        r->failed = true;
        return zeros;
    }
    const uint8_t *at = r->at;
    r->at += bytes;
    return at;
}

uint8_t mf_read_u8(struct mf_reader *r)
{
    return *take(r, 1);
}

uint16_t mf_read_u16(struct mf_reader *r)
{
    uint16_t value;
    memcpy(&value, take(r, sizeof(value)), sizeof(value));
    return le16toh(value);
}

uint32_t mf_read_u32(struct mf_reader *r)
{
    uint32_t value;
    memcpy(&value, take(r, sizeof(value)), sizeof(value));
    return le32toh(value);
}

uint64_t mf_read_u64(struct mf_reader *r)
{
    uint64_t value;
    memcpy(&value, take(r, sizeof(value)), sizeof(value));
    return le64toh(value);
}

struct mf_bytes mf_read_bytes(struct mf_reader *r, size_t len)
{
    if (r->failed || mf_reader_left(r) < len) {
        r->failed = true;
        return mf_bytes_of(NULL, 0);
    }
    struct mf_bytes bytes = mf_bytes_of(r->at, len);
    r->at += len;
    return bytes;
}

struct mf_bytes mf_read_blob(struct mf_reader *r)
{
    return mf_read_bytes(r, mf_read_u32(r));
}
