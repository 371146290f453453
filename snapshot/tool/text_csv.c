// CSV as RFC 4180 has it, read a record at a time; see text_in.h.
//
// A line break inside of quotes belongs to the field. So a record is whole where a line ends and
// the number of quotes is even; then its fields are taken apart and their quotes undone in place.
#include "snapshot/tool/text_in.h"

static const char *const names[TEXT_COLUMNS] = {
    [TEXT_KEY] = "key",
    [TEXT_VALUE] = "value",
    [TEXT_EXPIRE_AT] = "expire_at",
    [TEXT_KEY_BASE64] = "key_base64",
    [TEXT_VALUE_BASE64] = "value_base64",
};

static size_t count_quotes(struct mf_bytes bytes)
{
    size_t count = 0;
    for (size_t i = 0; i < bytes.len; i++)
        count += bytes.data[i] == '"';
    return count;
}

// Gathers the lines of the next record that is not empty. in->line is its last one.
static enum text_got gather(struct text_in *in, uint64_t *first_line)
{
    size_t quotes = 0;
    mf_buf_clear(&in->record, 1024 * 1024);
    do {
        struct mf_bytes line;
        size_t left = in->bytes_max - in->record.len;
        enum input_line got = input_line(in->input, left, &line);
        if (got == INPUT_LINE_NONE && in->record.len == 0)
            return TEXT_END;
        if (got == INPUT_LINE_NONE) {
            text_in_refuse(in, "a quoted field that began in line %llu does not end",
                           (unsigned long long)*first_line);
            return TEXT_FAILED;
        }
        in->line += 1;
        if (got == INPUT_LINE_TOO_LONG || line.len > left) {
            text_in_refuse(in, "the record is longer than %zu bytes", in->bytes_max);
            return TEXT_FAILED;
        }
        if (in->record.len == 0)
            *first_line = in->line;
        quotes += count_quotes(line);
        // Of the last line of a record the break is no part.
        line = quotes % 2 != 0 ? line : input_bare_line(line);
        mf_buf_put(&in->record, line.data, line.len);
    } while (quotes % 2 != 0 || in->record.len == 0);
    return TEXT_ENTRY;
}

// Undoes the quotes of the field that begins with one at `from`. Returns where it ends, or NULL.
static uint8_t *unquote(uint8_t *from, const uint8_t *end, struct mf_bytes *field)
{
    uint8_t *to = from;
    uint8_t *at = from + 1;
    while (at < end && (at[0] != '"' || (at + 1 < end && at[1] == '"'))) {
        at += at[0] == '"';
        *to++ = *at++;
    }
    if (at == end || (at + 1 < end && at[1] != ','))
        return NULL;
    *field = mf_bytes_of(from, (size_t)(to - from));
    return at + 1;
}

// Sets in->fields and returns how many; 0 when it cannot.
static size_t split(struct text_in *in)
{
    uint8_t *at = in->record.data;
    uint8_t *end = at + in->record.len;
    for (size_t count = 0; count < TEXT_COLUMNS; count++) {
        uint8_t *stop = at;
        if (at < end && at[0] == '"') {
            stop = unquote(at, end, &in->fields[count]);
        } else {
            while (stop < end && *stop != ',' && *stop != '"')
                stop++;
            in->fields[count] = mf_bytes_of(at, (size_t)(stop - at));
            stop = stop < end && *stop == '"' ? NULL : stop;
        }
        if (stop == NULL) {
            text_in_refuse(in, "a quote that is neither around a field nor doubled");
            return 0;
        }
        if (stop == end)
            return count + 1;
        at = stop + 1;
    }
    text_in_refuse(in, "more than %d fields", TEXT_COLUMNS);
    return 0;
}

static bool has_column(const struct text_in *in, enum text_column column)
{
    for (size_t i = 0; i < in->column_count; i++) {
        if (in->columns[i] == column)
            return true;
    }
    return false;
}

static bool take_names(struct text_in *in, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct mf_bytes name = in->fields[i];
        size_t column = 0;
        while (column < TEXT_COLUMNS && !mf_bytes_equal(name, mf_bytes_str(names[column])))
            column++;
        if (column == TEXT_COLUMNS || has_column(in, (enum text_column)column))
            return text_in_refuse(in,
                                  "%s column \"%.*s\": expected the names of the columns: key, "
                                  "value, expire_at, key_base64, value_base64",
                                  column == TEXT_COLUMNS ? "unknown" : "repeated",
                                  name.len < 60 ? (int)name.len : 60, (const char *)name.data);
        in->columns[in->column_count++] = (enum text_column)column;
    }
    if ((has_column(in, TEXT_KEY) || has_column(in, TEXT_KEY_BASE64)) &&
        (has_column(in, TEXT_VALUE) || has_column(in, TEXT_VALUE_BASE64)))
        return true;
    return text_in_refuse(in, "expected the names of the columns, of them one for the key and one "
                              "for the value");
}

static bool take_expiry(struct text_in *in, struct mf_bytes field, struct entry *entry)
{
    uint64_t value = 0;
    for (size_t i = 0; i < field.len; i++) {
        bool digit = field.data[i] >= '0' && field.data[i] <= '9';
        value = digit ? value * 10 + (uint64_t)(field.data[i] - '0') : ENTRY_EXPIRE_AT_MAX + 1;
        if (value > ENTRY_EXPIRE_AT_MAX)
            return text_in_refuse(in,
                                  "expire_at: expected nothing, or an integer from 0 to 2^53-1");
    }
    entry->expires = field.len > 0;
    entry->expire_at_ms = value;
    return true;
}

static bool take_bytes(struct text_in *in, const char *name, struct mf_bytes text,
                       struct mf_bytes base64, struct mf_buf *room, struct mf_bytes *out)
{
    *out = text;
    if (base64.len == 0)
        return true;
    if (text.len > 0)
        return text_in_refuse(in, "both %s and %s_base64: expected one of them to be empty", name,
                              name);
    return text_in_take_base64(in, base64, name, room, out);
}

enum text_got text_in_take_csv(struct text_in *in, struct entry *entry)
{
    uint64_t first_line = 0;
    for (;;) {
        enum text_got got = gather(in, &first_line);
        if (got != TEXT_ENTRY)
            return got;
        size_t count = split(in);
        if (count == 0)
            return TEXT_FAILED;
        if (in->column_count > 0 && count != in->column_count) {
            text_in_refuse(in, "%zu fields: expected %zu, as in the first line", count,
                           in->column_count);
            return TEXT_FAILED;
        }
        if (in->column_count > 0)
            break;
        if (!take_names(in, count))
            return TEXT_FAILED;
    }
    struct mf_bytes fields[TEXT_COLUMNS] = {{NULL, 0}};
    for (size_t i = 0; i < in->column_count; i++)
        fields[in->columns[i]] = in->fields[i];
    bool good =
        take_bytes(in, "key", fields[TEXT_KEY], fields[TEXT_KEY_BASE64], &in->key, &entry->key) &&
        take_bytes(in, "value", fields[TEXT_VALUE], fields[TEXT_VALUE_BASE64], &in->value,
                   &entry->value) &&
        take_expiry(in, fields[TEXT_EXPIRE_AT], entry);
    return good ? TEXT_ENTRY : TEXT_FAILED;
}
