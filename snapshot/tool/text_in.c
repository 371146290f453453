// Lines become entries; see text_in.h. CSV is in text_csv.c.
#include "snapshot/tool/text_in.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/text.h"

#define KEPT_BYTES (1024u * 1024u)

void text_in_start(struct text_in *in, struct input *input, bool csv)
{
    memset(in, 0, sizeof(*in));
    in->input = input;
    in->csv = csv;
    in->bytes_max = TEXT_RECORD_BYTES_MAX;
}

void text_in_free(struct text_in *in)
{
    mf_buf_free(&in->record);
    mf_buf_free(&in->key);
    mf_buf_free(&in->value);
}

bool text_in_refuse(struct text_in *in, const char *format, ...)
{
    int len =
        snprintf(in->why, sizeof(in->why), "%.100s: line %" PRIu64 ": ", in->input->path, in->line);
    va_list args;
    va_start(args, format);
    vsnprintf(in->why + len, sizeof(in->why) - (size_t)len, format, args);
    va_end(args);
    return false;
}

bool text_in_take_base64(struct text_in *in, struct mf_bytes text, const char *name,
                         struct mf_buf *room, struct mf_bytes *out)
{
    mf_buf_clear(room, KEPT_BYTES);
    if (!mf_base64_take(text, room))
        return text_in_refuse(in, "%s: expected padded base64", name);
    *out = mf_buf_view(room);
    return true;
}

// A string is copied: the tree that it is in does not live as long as the entry.
static bool take_bytes(struct text_in *in, const json_t *json, const char *name,
                       const char *base64_name, struct mf_buf *room, struct mf_bytes *out)
{
    const json_t *text = json_object_get(json, name);
    const json_t *base64 = json_object_get(json, base64_name);
    if ((text == NULL) == (base64 == NULL))
        return text_in_refuse(in, "expected either \"%s\" or \"%s\"", name, base64_name);
    const json_t *given = text != NULL ? text : base64;
    if (!json_is_string(given))
        return text_in_refuse(in, "\"%s\": expected a string", text != NULL ? name : base64_name);
    struct mf_bytes bytes = mf_bytes_of(json_string_value(given), json_string_length(given));
    if (base64 != NULL)
        return text_in_take_base64(in, bytes, base64_name, room, out);
    mf_buf_clear(room, KEPT_BYTES);
    mf_buf_put(room, bytes.data, bytes.len);
    *out = mf_buf_view(room);
    return true;
}

static bool take_expiry(struct text_in *in, const json_t *json, struct entry *entry)
{
    const json_t *at = json_object_get(json, "expire_at");
    if (at == NULL || json_is_null(at))
        return true;
    json_int_t value = json_integer_value(at);
    if (!json_is_integer(at) || value < 0 || (uint64_t)value > ENTRY_EXPIRE_AT_MAX)
        return text_in_refuse(in, "\"expire_at\": expected null or an integer from 0 to 2^53-1");
    entry->expires = true;
    entry->expire_at_ms = (uint64_t)value;
    return true;
}

static bool check_names(struct text_in *in, json_t *json)
{
    static const char *const known[] = {"key", "key_base64", "value", "value_base64", "expire_at"};
    const char *name;
    json_t *member;
    json_object_foreach(json, name, member)
    {
        size_t i = 0;
        while (i < sizeof(known) / sizeof(known[0]) && strcmp(known[i], name) != 0)
            i++;
        if (i == sizeof(known) / sizeof(known[0]))
            return text_in_refuse(in, "unknown member \"%.60s\": expected key, value, expire_at",
                                  name);
    }
    return true;
}

bool text_in_take_json(struct text_in *in, struct mf_bytes line, struct entry *entry)
{
    json_error_t error;
    json_t *json = json_loadb((const char *)line.data, line.len,
                              JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (json == NULL)
        return text_in_refuse(in, "it is no JSON: %.100s", error.text);
    bool good = json_is_object(json) || text_in_refuse(in, "expected a JSON object");
    good = good && check_names(in, json) &&
           take_bytes(in, json, "key", "key_base64", &in->key, &entry->key) &&
           take_bytes(in, json, "value", "value_base64", &in->value, &entry->value) &&
           take_expiry(in, json, entry);
    json_decref(json);
    return good;
}

static bool is_blank(struct mf_bytes line)
{
    for (size_t i = 0; i < line.len; i++) {
        if (strchr(" \t\r\n", line.data[i]) == NULL || line.data[i] == '\0')
            return false;
    }
    return true;
}

static enum text_got take_json_line(struct text_in *in, struct entry *entry)
{
    struct mf_bytes line = {NULL, 0};
    enum input_line got;
    do {
        got = input_line(in->input, in->bytes_max, &line);
        in->line += 1;
    } while (got == INPUT_LINE && is_blank(line));
    if (got == INPUT_LINE_NONE)
        return TEXT_END;
    if (got == INPUT_LINE_TOO_LONG) {
        text_in_refuse(in, "it is longer than %zu bytes", in->bytes_max);
        return TEXT_FAILED;
    }
    return text_in_take_json(in, line, entry) ? TEXT_ENTRY : TEXT_FAILED;
}

enum text_got text_in_next(struct text_in *in, struct entry *entry)
{
    *entry = (struct entry){.expires = false};
    enum text_got got = in->csv ? text_in_take_csv(in, entry) : take_json_line(in, entry);
    if (in->input->failed) {
        snprintf(in->why, sizeof(in->why), "%s", in->input->why);
        return TEXT_FAILED;
    }
    if (got == TEXT_ENTRY && entry->key.len == 0) {
        text_in_refuse(in, "the key is empty");
        return TEXT_FAILED;
    }
    return got;
}
