// The table of error codes.
#include "base/err.h"

#include <string.h>

static const struct {
    const char *name;
    const char *text;
} table[MF_ERR_COUNT] = {
    [MF_OK] = {"OK", "success"},
    [MF_BAD_REQUEST] = {"BAD_REQUEST", "the request is not well formed"},
    [MF_UNKNOWN_METHOD] = {"UNKNOWN_METHOD", "there is no such method"},
    [MF_NOT_INTEGER] = {"NOT_INTEGER", "the value is not a 64-bit signed integer"},
    [MF_OVERFLOW] = {"OVERFLOW", "the result would not fit 64 signed bits"},
    [MF_TOO_LARGE] = {"TOO_LARGE", "a key, value or request is over its limit"},
    [MF_CROSS_SHARD] = {"CROSS_SHARD", "the keys are not all in one shard"},
    [MF_UNAUTHORIZED] = {"UNAUTHORIZED", "a valid user and password are required"},
    [MF_NO_QUORUM] = {"NO_QUORUM", "no majority of the shard's replicas answers; nothing happened"},
    [MF_TIMEOUT] = {"TIMEOUT", "no answer in time; the outcome is unknown"},
    [MF_BUSY] = {"BUSY", "the node is overloaded; nothing happened, try again"},
    [MF_OUT_OF_MEMORY] = {"OUT_OF_MEMORY", "the memory limit is reached"},
    [MF_SHUTTING_DOWN] = {"SHUTTING_DOWN", "the node is stopping"},
    [MF_COMPACTED] = {"COMPACTED", "the version asked for is no longer kept"},
    [MF_INTERNAL] = {"INTERNAL", "internal error"},
    [MF_NOT_LEADER] = {"NOT_LEADER", "this replica does not lead the shard"},
    [MF_AGAIN] = {"AGAIN", "not yet"},
    [MF_CORRUPT] = {"CORRUPT", "the data is damaged"},
    [MF_IO] = {"IO", "an input or output operation failed"},
    [MF_NOT_FOUND] = {"NOT_FOUND", "not found"},
    [MF_OTHER_VERSION] = {"OTHER_VERSION", "it has the format of another version"},
    [MF_NOT_FLOAT] = {"NOT_FLOAT", "value is not a valid float"},
};

const char *mf_err_name(enum mf_err err)
{
    return (unsigned)err < MF_ERR_COUNT ? table[err].name : "INTERNAL";
}

const char *mf_err_text(enum mf_err err)
{
    return (unsigned)err < MF_ERR_COUNT ? table[err].text : "internal error";
}

enum mf_err mf_err_from_name(const char *name)
{
    for (int i = 0; i < MF_ERR_COUNT; i++) {
        if (strcmp(table[i].name, name) == 0)
            return (enum mf_err)i;
    }
    return MF_INTERNAL;
}
