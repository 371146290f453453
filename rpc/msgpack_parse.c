// Refusals and single values for the MessagePack-RPC parser; see msgpack_parse.h.
#include "rpc/msgpack_parse.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool mf_parse_refuse(struct parser *p, enum mf_err err, const char *format, ...)
{
    struct mf_rpc_request *request = p->request;
    va_list args;
    va_start(args, format);
    request->err = err;
    vsnprintf(request->message, sizeof(request->message), format, args);
    va_end(args);
    return false;
}

bool mf_parse_refuse_stream(struct parser *p, const char *what)
{
    p->request->fatal = true;
    return mf_parse_refuse(p, MF_BAD_REQUEST, "not a request: %s", what);
}

struct quoted mf_parse_quote(struct mf_bytes bytes)
{
    struct quoted out;
    size_t room = sizeof(out.text) - sizeof("...");
    size_t len = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        uint8_t c = bytes.data[i];
        bool plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
        if (len + (plain ? 1 : 4) > room) {
            memcpy(out.text + len, "...", 3);
            len += 3;
            break;
        }
        if (plain)
            out.text[len++] = (char)c;
        else
            len += (size_t)snprintf(out.text + len, 5, "\\x%02x", c);
    }
    out.text[len] = '\0';
    return out;
}

static struct quoted describe(const struct mf_msgpack_token *token)
{
    struct quoted out;
    size_t size = sizeof(out.text);
    switch (token->type) {
    case MF_MP_NIL:
        snprintf(out.text, size, "nil");
        break;
    case MF_MP_BOOL:
        snprintf(out.text, size, "%s", token->integer != 0 ? "true" : "false");
        break;
    case MF_MP_INT:
        snprintf(out.text, size, "%" PRId64, token->integer);
        break;
    case MF_MP_UINT:
        snprintf(out.text, size, "%" PRIu64, token->uinteger);
        break;
    case MF_MP_FLOAT:
        snprintf(out.text, size, "a float");
        break;
    case MF_MP_STR:
    case MF_MP_BIN:
        snprintf(out.text, size, "%zu byte%s", token->bytes.len, token->bytes.len == 1 ? "" : "s");
        break;
    case MF_MP_ARRAY:
        snprintf(out.text, size, "an array of %" PRIu32, token->count);
        break;
    case MF_MP_MAP:
        snprintf(out.text, size, "a map of %" PRIu32, token->count);
        break;
    case MF_MP_EXT:
        snprintf(out.text, size, "an extension");
        break;
    }
    return out;
}

bool mf_parse_refuse_count(struct parser *p, uint32_t count, uint32_t arity, const char *names)
{
    return mf_parse_refuse(p, MF_BAD_REQUEST,
                           "%s: %" PRIu32 " parameter%s, expected %" PRIu32
                           " (%s) and at most a map of options",
                           p->name, count, count == 1 ? "" : "s", arity, names);
}

bool mf_parse_refuse_value(struct parser *p, const char *what, const struct mf_msgpack_token *got,
                           const char *expected)
{
    return mf_parse_refuse(p, MF_BAD_REQUEST, "%s: %s is %s, expected %s", p->name, what,
                           describe(got).text, expected);
}

bool mf_parse_next(struct parser *p, struct mf_msgpack_token *token)
{
    if (mf_msgpack_next(&p->in, token) == MF_OK)
        return true;
    return mf_parse_refuse_stream(p, "the message ends too early");
}

bool mf_parse_is_bytes(const struct mf_msgpack_token *token)
{
    return token->type == MF_MP_STR || token->type == MF_MP_BIN;
}

bool mf_parse_to_integer(const struct mf_msgpack_token *token, int64_t *out)
{
    if (token->type == MF_MP_INT)
        *out = token->integer;
    else if (token->type == MF_MP_UINT)
        *out = token->uinteger > INT64_MAX ? INT64_MAX : (int64_t)token->uinteger;
    else
        return false;
    return true;
}
