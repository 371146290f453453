// Lines of tab-separated values and of JSON; see load_parse.h.
//
// Both formats are strict. A member or field that would be passed over, a byte that is perhaps a
// line end of another system: each could change what is stored without anybody noticing.
#include "cli/load_parse.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "mayfly/client.h"

static bool refuse(struct load_parser *parser, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool refuse(struct load_parser *parser, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(parser->why, sizeof parser->why, format, args);
    va_end(args);
    return false;
}

// Undoes \t \n \r \\ in place.
static bool unescape(struct load_parser *parser, uint8_t *field, size_t *len, const char *name)
{
    size_t to = 0;
    for (size_t from = 0; from < *len; from++) {
        uint8_t byte = field[from];
        if (byte == '\r')
            return refuse(parser, "the %s has a carriage return: expected it as \\r", name);
        if (byte == '\\') {
            static const char letters[] = "tnr\\";
            static const char bytes[] = "\t\n\r\\";
            const char *at = NULL;
            if (++from < *len && field[from] != '\0')
                at = strchr(letters, field[from]);
            if (at == NULL)
                return refuse(parser,
                              "the %s has a backslash before something else than t, n, r "
                              "or a backslash",
                              name);
            byte = (uint8_t)bytes[at - letters];
        }
        field[to++] = byte;
    }
    *len = to;
    return true;
}

static bool read_ttl_field(struct load_parser *parser, const uint8_t *field, size_t len,
                           struct load_record *record)
{
    int64_t ttl_ms = 0;
    if (len == 0)
        return true; // as good as no third field
    for (size_t i = 0; i < len; i++) {
        if (field[i] < '0' || field[i] > '9' || ttl_ms > MAYFLY_TTL_MS_MAX / 10) {
            ttl_ms = 0;
            break;
        }
        ttl_ms = ttl_ms * 10 + (field[i] - '0');
    }
    if (ttl_ms < 1 || ttl_ms > MAYFLY_TTL_MS_MAX)
        return refuse(parser, "the TTL is '%.*s': expected an integer from 1 to %lld",
                      len > 30 ? 30 : (int)len, (const char *)field, (long long)MAYFLY_TTL_MS_MAX);
    record->expiry = LOAD_EXPIRY_IN;
    record->expire_ms = ttl_ms;
    return true;
}

static bool parse_tsv(struct load_parser *parser, uint8_t *line, size_t len,
                      struct load_record *record)
{
    uint8_t *tab = memchr(line, '\t', len);
    if (tab == NULL)
        return refuse(parser, "there is no tab: expected KEY<TAB>VALUE[<TAB>TTL_MS]");
    uint8_t *value = tab + 1;
    size_t key_len = (size_t)(tab - line);
    size_t value_len = len - key_len - 1;
    uint8_t *second = memchr(value, '\t', value_len);
    if (second != NULL) {
        uint8_t *ttl = second + 1;
        size_t ttl_len = value_len - (size_t)(ttl - value);
        value_len = (size_t)(second - value);
        if (memchr(ttl, '\t', ttl_len) != NULL)
            return refuse(parser, "there are more than three fields: expected a tab within a field "
                                  "as \\t");
        if (!read_ttl_field(parser, ttl, ttl_len, record))
            return false;
    }
    if (!unescape(parser, line, &key_len, "key") || !unescape(parser, value, &value_len, "value"))
        return false;
    record->key = mf_bytes_of(line, key_len);
    record->value = mf_bytes_of(value, value_len);
    return true;
}

// The bytes of member `name`, or of `name`_base64 decoded into buf.
static bool read_bytes(struct load_parser *parser, const char *name, struct mf_buf *buf,
                       struct mf_bytes *out)
{
    char base64_name[32];
    snprintf(base64_name, sizeof base64_name, "%s_base64", name);
    const json_t *text = json_object_get(parser->object, name);
    const json_t *base64 = json_object_get(parser->object, base64_name);
    if ((text == NULL) == (base64 == NULL))
        return refuse(parser, "expected either \"%s\" or \"%s\"", name, base64_name);
    const json_t *given = text != NULL ? text : base64;
    if (!json_is_string(given))
        return refuse(parser, "\"%s\": expected a string", text != NULL ? name : base64_name);
    *out = mf_bytes_of(json_string_value(given), json_string_length(given));
    if (text != NULL)
        return true;
    buf->len = 0;
    if (!mf_base64_take(*out, buf))
        return refuse(parser, "\"%s\": expected padded base64", base64_name);
    *out = mf_buf_view(buf);
    return true;
}

static bool read_expiry(struct load_parser *parser, struct load_record *record)
{
    const json_t *ttl = json_object_get(parser->object, "ttl");
    const json_t *at = json_object_get(parser->object, "expire_at");
    if (ttl == NULL && at == NULL)
        return true;
    record->expiry = LOAD_EXPIRY_NEVER;
    if ((ttl == NULL || json_is_null(ttl)) && (at == NULL || json_is_null(at)))
        return true;
    if (ttl != NULL && !json_is_null(ttl)) {
        if (at != NULL && !json_is_null(at))
            return refuse(parser, "expected one of \"ttl\" and \"expire_at\", not both");
        record->expiry = LOAD_EXPIRY_IN;
        record->expire_ms = json_integer_value(ttl); // 0 when it is no integer
        if (record->expire_ms < 1 || record->expire_ms > MAYFLY_TTL_MS_MAX)
            return refuse(parser, "\"ttl\": expected null or an integer from 1 to %lld",
                          (long long)MAYFLY_TTL_MS_MAX);
        return true;
    }
    record->expiry = LOAD_EXPIRY_AT;
    record->expire_ms = json_integer_value(at);
    if (!json_is_integer(at) || record->expire_ms > MAYFLY_TTL_MS_MAX)
        return refuse(parser, "\"expire_at\": expected null or an integer up to %lld",
                      (long long)MAYFLY_TTL_MS_MAX);
    return true;
}

static bool parse_ndjson(struct load_parser *parser, const uint8_t *line, size_t len,
                         struct load_record *record)
{
    static const char *const known[] = {"key",          "key_base64", "value",
                                        "value_base64", "ttl",        "expire_at"};
    json_error_t error;
    parser->object =
        json_loadb((const char *)line, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (parser->object == NULL)
        return refuse(parser, "it is no JSON: %.100s", error.text);
    if (!json_is_object(parser->object))
        return refuse(parser, "expected a JSON object");
    const char *name;
    json_t *member;
    json_object_foreach(parser->object, name, member)
    {
        size_t i = 0;
        while (i < sizeof known / sizeof known[0] && strcmp(known[i], name) != 0)
            i++;
        if (i == sizeof known / sizeof known[0])
            return refuse(parser, "unknown member \"%.60s\": expected key, value, ttl, expire_at",
                          name);
    }
    return read_bytes(parser, "key", &parser->key, &record->key) &&
           read_bytes(parser, "value", &parser->value, &record->value) &&
           read_expiry(parser, record);
}

bool load_parse(struct load_parser *parser, uint8_t *line, size_t len, struct load_record *record)
{
    *record = (struct load_record){.expiry = LOAD_EXPIRY_UNSAID};
    json_decref(parser->object);
    parser->object = NULL;
    bool good = parser->format == LOAD_TSV ? parse_tsv(parser, line, len, record)
                                           : parse_ndjson(parser, line, len, record);
    if (good && record->key.len == 0)
        return refuse(parser, "the key is empty");
    return good;
}

void load_parser_free(struct load_parser *parser)
{
    json_decref(parser->object);
    mf_buf_free(&parser->key);
    mf_buf_free(&parser->value);
}
