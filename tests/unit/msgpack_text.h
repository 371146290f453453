// MessagePack written as text, packed by msgpack-c:
//   [0 7 "get" ["k" {"meta" true}]]
// "..." is a str, b"..." a bin, "x"*9 nine of them, u64:5 and i64:5 an integer of that width.
//
// Included after cmocka's headers.
#ifndef MF_TESTS_MSGPACK_TEXT_H
#define MF_TESTS_MSGPACK_TEXT_H

#include <msgpack.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static inline const char *pack_text(const char *at, msgpack_sbuffer *out);

static inline const char *skip_spaces(const char *at)
{
    return at + strspn(at, " ");
}

// Elements up to `closing`; returns what follows it and counts them.
static inline const char *pack_elements(const char *at, char closing, size_t *count,
                                        msgpack_sbuffer *out)
{
    *count = 0;
    for (at = skip_spaces(at); *at != closing; at = skip_spaces(at)) {
        assert_int_not_equal(*at, '\0');
        at = pack_text(at, out);
        ++*count;
    }
    return at + 1;
}

static inline const char *pack_container(const char *at, msgpack_sbuffer *out)
{
    msgpack_sbuffer elements;
    msgpack_packer packer;
    size_t count;
    bool array = *at == '[';
    msgpack_sbuffer_init(&elements);
    msgpack_packer_init(&packer, out, msgpack_sbuffer_write);
    at = pack_elements(at + 1, array ? ']' : '}', &count, &elements);
    if (array)
        msgpack_pack_array(&packer, count);
    else
        msgpack_pack_map(&packer, count / 2);
    msgpack_sbuffer_write(out, elements.data, elements.size);
    msgpack_sbuffer_destroy(&elements);
    return at;
}

static inline const char *pack_bytes(const char *at, bool bin, msgpack_packer *packer)
{
    char body[256];
    size_t len = strcspn(at, "\"");
    memcpy(body, at, len);
    at += len + 1;
    if (*at == '*') {
        char *end;
        len = strtoul(at + 1, &end, 10);
        memset(body, body[0], len);
        at = end;
    }
    if (bin)
        msgpack_pack_bin_with_body(packer, body, len);
    else
        msgpack_pack_str_with_body(packer, body, len);
    return at;
}

static inline const char *pack_number(const char *at, msgpack_packer *packer)
{
    char *end;
    if (strncmp(at, "u64:", 4) == 0)
        msgpack_pack_fix_uint64(packer, strtoull(at + 4, &end, 10));
    else if (strncmp(at, "u8:", 3) == 0)
        msgpack_pack_fix_uint8(packer, (uint8_t)strtoul(at + 3, &end, 10));
    else if (strncmp(at, "i64:", 4) == 0)
        msgpack_pack_fix_int64(packer, strtoll(at + 4, &end, 10));
    else if (at[strspn(at, "-0123456789")] == '.')
        msgpack_pack_double(packer, strtod(at, &end));
    else if (*at == '-')
        msgpack_pack_int64(packer, strtoll(at, &end, 10));
    else
        msgpack_pack_uint64(packer, strtoull(at, &end, 10));
    assert_ptr_not_equal(end, at);
    return end;
}

static inline const char *pack_text(const char *at, msgpack_sbuffer *out)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, msgpack_sbuffer_write);
    if (*at == '[' || *at == '{')
        return pack_container(at, out);
    if (*at == '"')
        return pack_bytes(at + 1, false, &packer);
    if (strncmp(at, "b\"", 2) == 0)
        return pack_bytes(at + 2, true, &packer);
    if (strncmp(at, "nil", 3) == 0)
        return msgpack_pack_nil(&packer), at + 3;
    if (strncmp(at, "true", 4) == 0)
        return msgpack_pack_true(&packer), at + 4;
    if (strncmp(at, "false", 5) == 0)
        return msgpack_pack_false(&packer), at + 5;
    return pack_number(at, &packer);
}

#endif
