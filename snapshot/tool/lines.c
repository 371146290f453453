// Entries as lines of JSON and CSV; see lines.h.
#include "snapshot/tool/lines.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/text.h"

static void put_text(struct mf_buf *out, const char *text)
{
    mf_buf_put(out, text, strlen(text));
}

static void put_number(struct mf_buf *out, uint64_t value)
{
    char text[24];
    int len = snprintf(text, sizeof(text), "%" PRIu64, value);
    mf_buf_put(out, text, (size_t)len);
}

static void put_escape(struct mf_buf *out, uint8_t byte)
{
    static const char letters[] = "btn\0fr";
    char text[8] = {'\\', (char)byte};
    if (byte >= '\b' && byte <= '\r' && letters[byte - '\b'] != '\0')
        text[1] = letters[byte - '\b'];
    else if (byte < ' ')
        snprintf(text, sizeof(text), "\\u%04x", byte);
    put_text(out, text);
}

static void put_json_string(struct mf_buf *out, struct mf_bytes bytes)
{
    size_t begin = 0;
    mf_buf_u8(out, '"');
    for (size_t i = 0; i < bytes.len; i++) {
        uint8_t byte = bytes.data[i];
        if (byte >= ' ' && byte != '"' && byte != '\\')
            continue;
        mf_buf_put(out, bytes.data + begin, i - begin);
        put_escape(out, byte);
        begin = i + 1;
    }
    if (begin < bytes.len)
        mf_buf_put(out, bytes.data + begin, bytes.len - begin);
    mf_buf_u8(out, '"');
}

static void put_json_member(struct mf_buf *out, const char *text_name, const char *base64_name,
                            struct mf_bytes bytes)
{
    if (mf_utf8_valid(bytes)) {
        put_text(out, text_name);
        put_json_string(out, bytes);
        return;
    }
    put_text(out, base64_name);
    mf_buf_u8(out, '"');
    mf_base64_put(out, bytes);
    mf_buf_u8(out, '"');
}

void lines_put_json(struct mf_buf *out, const struct entry *entry)
{
    put_json_member(out, "{\"key\":", "{\"key_base64\":", entry->key);
    put_json_member(out, ",\"value\":", ",\"value_base64\":", entry->value);
    put_text(out, ",\"expire_at\":");
    if (entry->expires)
        put_number(out, entry->expire_at_ms);
    else
        put_text(out, "null");
    put_text(out, "}\n");
}

static bool has_control_characters(struct mf_bytes bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        if (bytes.data[i] < ' ' || bytes.data[i] == 0x7f)
            return true;
    }
    return false;
}

// In quotes where a comma, a quote, or a blank that a program may strip asks for them.
static void put_csv_field(struct mf_buf *out, struct mf_bytes bytes)
{
    bool quotes = bytes.len > 0 && (bytes.data[0] == ' ' || bytes.data[bytes.len - 1] == ' ');
    for (size_t i = 0; i < bytes.len && !quotes; i++)
        quotes = bytes.data[i] == ',' || bytes.data[i] == '"';
    if (!quotes) {
        mf_buf_put(out, bytes.data, bytes.len);
        return;
    }
    mf_buf_u8(out, '"');
    for (size_t i = 0; i < bytes.len; i++) {
        if (bytes.data[i] == '"')
            mf_buf_u8(out, '"');
        mf_buf_u8(out, bytes.data[i]);
    }
    mf_buf_u8(out, '"');
}

void lines_put_csv_names(struct mf_buf *out)
{
    put_text(out, "key,value,expire_at,key_base64,value_base64\n");
}

void lines_put_csv(struct mf_buf *out, const struct entry *entry)
{
    bool key_is_text = mf_utf8_valid(entry->key) && !has_control_characters(entry->key);
    bool value_is_text = mf_utf8_valid(entry->value) && !has_control_characters(entry->value);
    if (key_is_text)
        put_csv_field(out, entry->key);
    mf_buf_u8(out, ',');
    if (value_is_text)
        put_csv_field(out, entry->value);
    mf_buf_u8(out, ',');
    if (entry->expires)
        put_number(out, entry->expire_at_ms);
    mf_buf_u8(out, ',');
    if (!key_is_text)
        mf_base64_put(out, entry->key);
    mf_buf_u8(out, ',');
    if (!value_is_text)
        mf_base64_put(out, entry->value);
    mf_buf_u8(out, '\n');
}
