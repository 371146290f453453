// How the mayfly command prints: bytes as JSON, escaped fields, tables for eyes.
#ifndef MF_CLI_OUTPUT_H
#define MF_CLI_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/bytes.h"
#include "mayfly/client.h"

// Bytes as a JSON string, or as {"base64": "..."} when they are not UTF-8.
json_t *cli_json_bytes(struct mayfly_bytes bytes);
// A tree that a method returned, as JSON.
json_t *cli_json_value(const struct mayfly_value *value);
// One line, members in the order they were added. Takes `json` over.
void cli_print_json(FILE *out, json_t *json);

// Tab, newline, carriage return and backslash as \t \n \r \\; appends.
void cli_escape(struct mf_bytes bytes, struct mf_buf *out);

// Bytes that a terminal should not see, and those that are not UTF-8, as \xNN; appends.
void cli_escape_for_eyes(struct mayfly_bytes bytes, struct mf_buf *out);

// Colours: red for what needs a person, yellow for what may soon.
#define CLI_RED "\x1b[1;31m"
#define CLI_YELLOW "\x1b[33m"
#define CLI_DIM "\x1b[2m"
#define CLI_PLAINLY "\x1b[0m"

#define CLI_COLUMNS_MAX 16

struct cli_cell {
    char *text;
    const char *colour; // NULL: none
};

// Rows of text. Printed plain: fields with a tab between them. As a table: a head, and columns that
// are as wide as they must be.
struct cli_table {
    size_t columns; // at most CLI_COLUMNS_MAX
    const char *const *heads;
    uint32_t right;         // bits of the columns whose text stands at the right, as numbers do
    bool colours;           // whether cells are printed in theirs
    struct cli_cell *cells; // row after row
    size_t cell_count;
    size_t cell_cap;
};
// heads: `columns` names that outlive the table.
struct cli_table cli_table_of(const char *const *heads, size_t columns);
void cli_table_free(struct cli_table *table);
// Adds the next cell; bytes that a terminal should not see are shown as \xNN.
void cli_table_cell(struct cli_table *table, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
// The cell that was added last gets a colour; NULL: none.
void cli_table_colour(struct cli_table *table, const char *colour);
void cli_table_bytes(struct cli_table *table, struct mayfly_bytes bytes);
void cli_table_print(const struct cli_table *table, FILE *out, bool plain);

#endif
