// JSON, escapes and tables; see output.h.
#include "cli/output.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define CELL_CHARACTERS_MAX 72 // a longer one is cut in a table

json_t *cli_json_bytes(struct mayfly_bytes bytes)
{
    json_t *text = json_stringn(bytes.len > 0 ? bytes.data : "", bytes.len); // checks the UTF-8
    if (text != NULL)
        return text;
    struct mf_buf base64 = {0};
    mf_base64_put(&base64, mf_bytes_of(bytes.data, bytes.len));
    json_t *object = json_object();
    json_object_set_new(object, "base64", json_stringn((const char *)base64.data, base64.len));
    mf_buf_free(&base64);
    return object;
}

// A map's key as text: methods use strings only, whatever else comes is shown as JSON.
static void set_member(json_t *object, const struct mayfly_value *key, json_t *member)
{
    if (key->type == MAYFLY_TYPE_STRING || key->type == MAYFLY_TYPE_BYTES) {
        struct mf_buf name = {0};
        mf_buf_put(&name, key->bytes.data, key->bytes.len);
        mf_buf_u8(&name, '\0');
        if (json_object_set(object, (const char *)name.data, member) == 0) {
            mf_buf_free(&name);
            json_decref(member);
            return;
        }
        mf_buf_free(&name);
    }
    json_t *shown = cli_json_value(key);
    char *name = json_dumps(shown, JSON_ENCODE_ANY);
    json_object_set_new(object, name != NULL ? name : "?", member);
    free(name);
    json_decref(shown);
}

json_t *cli_json_value(const struct mayfly_value *value)
{
    json_t *json = NULL;
    switch (value->type) {
    case MAYFLY_TYPE_NIL:
        return json_null();
    case MAYFLY_TYPE_BOOL:
        return json_boolean(value->boolean);
    case MAYFLY_TYPE_INT:
        return json_integer(value->integer);
    case MAYFLY_TYPE_UINT:
        return json_real((double)value->uinteger);
    case MAYFLY_TYPE_DOUBLE:
        json = json_real(value->number);
        return json != NULL ? json : json_null(); // not a number
    case MAYFLY_TYPE_STRING:
    case MAYFLY_TYPE_BYTES:
        return cli_json_bytes(value->bytes);
    case MAYFLY_TYPE_ARRAY:
        json = json_array();
        for (size_t i = 0; i < value->count; i++)
            json_array_append_new(json, cli_json_value(&value->items[i]));
        break;
    case MAYFLY_TYPE_MAP:
        json = json_object();
        for (size_t i = 0; i < value->count; i++)
            set_member(json, &value->items[2 * i], cli_json_value(&value->items[2 * i + 1]));
        break;
    }
    return json;
}

void cli_print_json(FILE *out, json_t *json)
{
    json_dumpf(json, out, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    fputc('\n', out);
    json_decref(json);
}

void cli_escape(struct mf_bytes bytes, struct mf_buf *out)
{
    for (size_t i = 0; i < bytes.len; i++) {
        uint8_t byte = bytes.data[i];
        const char *escape = byte == '\t'   ? "\\t"
                             : byte == '\n' ? "\\n"
                             : byte == '\r' ? "\\r"
                             : byte == '\\' ? "\\\\"
                                            : NULL;
        if (escape != NULL)
            mf_buf_put(out, escape, 2);
        else
            mf_buf_u8(out, byte);
    }
}

struct cli_table cli_table_of(const char *const *heads, size_t columns)
{
    return (struct cli_table){.columns = columns, .heads = heads};
}

void cli_table_free(struct cli_table *table)
{
    for (size_t i = 0; i < table->cell_count; i++)
        free(table->cells[i].text);
    free(table->cells);
}

static void add_cell(struct cli_table *table, char *text)
{
    if (table->cell_count == table->cell_cap) {
        table->cell_cap = table->cell_cap > 0 ? table->cell_cap * 2 : 64;
        table->cells = mf_realloc(table->cells, table->cell_cap * sizeof table->cells[0]);
    }
    table->cells[table->cell_count++] = (struct cli_cell){.text = text};
}

void cli_table_colour(struct cli_table *table, const char *colour)
{
    table->cells[table->cell_count - 1].colour = colour;
}

void cli_table_cell(struct cli_table *table, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    cli_table_bytes(table, mayfly_str(text));
}

static size_t characters(const char *text)
{
    size_t count = 0;
    for (; *text != '\0'; text++)
        count += ((unsigned char)*text & 0xc0) != 0x80; // a UTF-8 character's first byte
    return count;
}

void cli_escape_for_eyes(struct mayfly_bytes bytes, struct mf_buf *out)
{
    const uint8_t *data = bytes.data;
    bool utf8 = mf_utf8_valid(mf_bytes_of(bytes.data, bytes.len));
    for (size_t i = 0; i < bytes.len; i++) {
        char escape[5];
        if (data[i] >= 0x20 && data[i] != 0x7f && (data[i] < 0x80 || utf8)) {
            mf_buf_u8(out, data[i]);
            continue;
        }
        snprintf(escape, sizeof escape, "\\x%02x", data[i]);
        mf_buf_put(out, escape, 4);
    }
}

void cli_table_bytes(struct cli_table *table, struct mayfly_bytes bytes)
{
    struct mf_buf text = {0};
    cli_escape_for_eyes(bytes, &text);
    mf_buf_u8(&text, '\0');
    add_cell(table, (char *)text.data);
}

// Bytes of the first CELL_CHARACTERS_MAX characters.
static size_t cut(const char *text)
{
    size_t count = 0;
    size_t i = 0;
    for (; text[i] != '\0'; i++) {
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
        if (count > CELL_CHARACTERS_MAX)
            break;
    }
    return i;
}

static size_t width_of(const char *text)
{
    size_t width = characters(text);
    return width > CELL_CHARACTERS_MAX ? CELL_CHARACTERS_MAX + 3 : width;
}

static void pad(FILE *out, size_t count)
{
    for (; count > 0; count--)
        fputc(' ', out);
}

static void print_cell(const struct cli_table *table, FILE *out, const struct cli_cell *cell,
                       size_t column, size_t width)
{
    const char *colour = table->colours ? cell->colour : NULL;
    size_t bytes = cut(cell->text);
    size_t blanks = width - width_of(cell->text);
    bool right = (table->right & UINT32_C(1) << column) != 0;
    if (right)
        pad(out, blanks);
    fprintf(out, "%s%.*s%s%s", colour != NULL ? colour : "", (int)bytes, cell->text,
            cell->text[bytes] != '\0' ? "..." : "", colour != NULL ? CLI_PLAINLY : "");
    if (column + 1 < table->columns)
        pad(out, (right ? 0 : blanks) + 2);
}

static void print_row(const struct cli_table *table, FILE *out, const struct cli_cell *cells,
                      const size_t *widths)
{
    for (size_t i = 0; i < table->columns; i++)
        print_cell(table, out, &cells[i], i, widths[i]);
    fputc('\n', out);
}

static void print_heads(const struct cli_table *table, FILE *out, const size_t *widths)
{
    struct cli_cell cells[CLI_COLUMNS_MAX] = {0};
    for (size_t i = 0; i < table->columns; i++)
        cells[i] = (struct cli_cell){.text = (char *)(uintptr_t)table->heads[i], .colour = CLI_DIM};
    print_row(table, out, cells, widths);
}

void cli_table_print(const struct cli_table *table, FILE *out, bool plain)
{
    size_t rows = table->cell_count / table->columns;
    size_t widths[CLI_COLUMNS_MAX] = {0};
    for (size_t i = 0; i < table->columns; i++)
        widths[i] = characters(table->heads[i]);
    for (size_t i = 0; i < table->cell_count; i++) {
        size_t width = width_of(table->cells[i].text);
        if (width > widths[i % table->columns])
            widths[i % table->columns] = width;
    }
    if (!plain)
        print_heads(table, out, widths);
    for (size_t row = 0; row < rows; row++) {
        const struct cli_cell *first = table->cells + row * table->columns;
        if (!plain) {
            print_row(table, out, first, widths);
            continue;
        }
        for (size_t i = 0; i < table->columns; i++)
            fprintf(out, "%s%c", first[i].text, i + 1 < table->columns ? '\t' : '\n');
    }
}
