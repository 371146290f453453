// Byte views, growing buffers, bounded readers; see bytes.h.
#include "base/bytes.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
