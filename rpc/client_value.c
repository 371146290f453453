// A reply's MessagePack into a tree of struct mayfly_value.
//
// The message has been scanned, so its size and depth are bounded. One pass counts the values, the
// tree's memory is taken at once, and a second pass fills it: elements of a container lie side by
// side, those of the containers among them behind. Strings point into the message.
#include "rpc/client_internal.h"

#include <stdlib.h>
#include <string.h>

// A tree is about 24 times as large as the smallest message that makes it. 4 Mi values (96 MiB)
// are far more than any method returns: mget of as many keys would not fit a request.
#define VALUES_MAX ((size_t)4 << 20)
#define VALUES_KEPT 4096

struct build {
    struct mf_msgpack_in *in;
    struct mayfly_value *values;
    size_t used;
};

static uint64_t children_of(const struct mf_msgpack_token *token)
{
    return token->type == MF_MP_MAP ? (uint64_t)token->count * 2 : token->count;
}

// How many values the next object is made of, itself included.
static enum mayfly_err count_values(struct mf_msgpack_in in, size_t *count)
{
    struct mf_msgpack_token token;
    *count = 0;
    for (uint64_t left = 1; left > 0; left--) {
        if (mf_msgpack_next(&in, &token) != MF_OK)
            return MAYFLY_ERR_PROTOCOL;
        if (++*count > VALUES_MAX)
            return MAYFLY_ERR_TOO_LARGE;
        left += children_of(&token);
    }
    return MAYFLY_OK;
}

static enum mayfly_err make_room(struct mf_value_space *space, size_t count)
{
    if (count <= space->cap && (space->cap <= VALUES_KEPT || count > VALUES_KEPT))
        return MAYFLY_OK;
    size_t cap = count < 64 ? 64 : count;
    free(space->values);
    space->values = calloc(cap, sizeof space->values[0]);
    space->cap = space->values != NULL ? cap : 0;
    return space->values != NULL ? MAYFLY_OK : MAYFLY_ERR_OUT_OF_MEMORY;
}

// The cursor does not decode floats; `at` is where the token began.
static double read_double(const uint8_t *at)
{
    size_t bytes = *at == 0xca ? 4 : 8;
    uint64_t bits = 0;
    for (size_t i = 1; i <= bytes; i++)
        bits = bits << 8 | at[i];
    if (bytes == 4) {
        uint32_t narrow = (uint32_t)bits;
        float number;
        memcpy(&number, &narrow, sizeof number);
        return (double)number;
    }
    double number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

static void fill_scalar(struct mayfly_value *value, const struct mf_msgpack_token *token,
                        const uint8_t *at)
{
    switch (token->type) {
    case MF_MP_BOOL:
        *value = (struct mayfly_value){.type = MAYFLY_TYPE_BOOL, .boolean = token->integer != 0};
        break;
    case MF_MP_INT:
        *value = (struct mayfly_value){.type = MAYFLY_TYPE_INT, .integer = token->integer};
        break;
    case MF_MP_UINT:
        if (token->uinteger <= INT64_MAX)
            *value =
                (struct mayfly_value){.type = MAYFLY_TYPE_INT, .integer = (int64_t)token->uinteger};
        else
            *value = (struct mayfly_value){.type = MAYFLY_TYPE_UINT, .uinteger = token->uinteger};
        break;
    case MF_MP_FLOAT:
        *value = (struct mayfly_value){.type = MAYFLY_TYPE_DOUBLE, .number = read_double(at)};
        break;
    case MF_MP_STR:
    case MF_MP_BIN:
    case MF_MP_EXT:
        *value = (struct mayfly_value){.type = token->type == MF_MP_STR ? MAYFLY_TYPE_STRING
                                                                        : MAYFLY_TYPE_BYTES,
                                       .bytes = {token->bytes.data, token->bytes.len}};
        break;
    case MF_MP_NIL:
    case MF_MP_ARRAY:
    case MF_MP_MAP:
        *value = (struct mayfly_value){.type = MAYFLY_TYPE_NIL};
        break;
    }
}

// Recursion is bounded by the scan's MF_SCAN_DEPTH_MAX.
static bool fill(struct build *build, struct mayfly_value *value)
{
    const uint8_t *at = build->in->reader.at;
    struct mf_msgpack_token token;
    if (mf_msgpack_next(build->in, &token) != MF_OK)
        return false;
    if (token.type != MF_MP_ARRAY && token.type != MF_MP_MAP) {
        fill_scalar(value, &token, at);
        return true;
    }
    struct mayfly_value *items = build->values + build->used;
    size_t count = (size_t)children_of(&token);
    build->used += count;
    *value =
        (struct mayfly_value){.type = token.type == MF_MP_MAP ? MAYFLY_TYPE_MAP : MAYFLY_TYPE_ARRAY,
                              .count = token.count,
                              .items = items};
    for (size_t i = 0; i < count; i++) {
        if (!fill(build, &items[i]))
            return false;
    }
    return true;
}

enum mayfly_err mf_value_build(struct mf_value_space *space, struct mf_msgpack_in *in,
                               const struct mayfly_value **out)
{
    size_t count;
    enum mayfly_err err = count_values(*in, &count);
    if (err == MAYFLY_OK)
        err = make_room(space, count);
    if (err != MAYFLY_OK)
        return err;
    struct build build = {.in = in, .values = space->values, .used = 1};
    if (!fill(&build, &space->values[0]))
        return MAYFLY_ERR_PROTOCOL;
    *out = &space->values[0];
    return MAYFLY_OK;
}

void mf_value_space_free(struct mf_value_space *space)
{
    free(space->values);
    *space = (struct mf_value_space){0};
}

const struct mayfly_value *mayfly_value_at(const struct mayfly_value *map, const char *key)
{
    if (map == NULL || map->type != MAYFLY_TYPE_MAP)
        return NULL;
    struct mf_bytes wanted = mf_bytes_str(key);
    for (size_t i = 0; i < map->count; i++) {
        const struct mayfly_value *name = &map->items[2 * i];
        if ((name->type == MAYFLY_TYPE_STRING || name->type == MAYFLY_TYPE_BYTES) &&
            mf_bytes_equal(mf_bytes_of(name->bytes.data, name->bytes.len), wanted))
            return &map->items[2 * i + 1];
    }
    return NULL;
}

struct mayfly_bytes mayfly_str(const char *text)
{
    return (struct mayfly_bytes){text, strlen(text)};
}

void mf_printable(char *out, size_t size, struct mf_bytes text)
{
    size_t len = text.len < size - 1 ? text.len : size - 1;
    for (size_t i = 0; i < len; i++)
        out[i] = text.data[i] < 0x20 || text.data[i] == 0x7f ? '?' : (char)text.data[i];
    out[len] = '\0';
}
