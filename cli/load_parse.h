// Records of `mayfly load`: one line into key, value and expiry. No input makes it fail in any
// other way than by a message.
#ifndef MF_CLI_LOAD_PARSE_H
#define MF_CLI_LOAD_PARSE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

enum load_format { LOAD_TSV, LOAD_NDJSON };

enum load_expiry {
    LOAD_EXPIRY_UNSAID, // the load's default holds
    LOAD_EXPIRY_NEVER,  // null was said
    LOAD_EXPIRY_IN,     // expire_ms from now
    LOAD_EXPIRY_AT,     // expire_ms of Unix time
};

struct load_record {
    struct mf_bytes key;
    struct mf_bytes value;
    enum load_expiry expiry;
    int64_t expire_ms;
};

// All zero but for the format is a new one.
struct load_parser {
    enum load_format format;
    char why[160]; // what is wrong with the line that was refused last
    json_t *object;
    struct mf_buf key; // decoded base64
    struct mf_buf value;
};

// Reads one line, without its newline; escapes are undone in place. The record's views point into
// the line and the parser, and are valid until the next call. False when the line is bad.
bool load_parse(struct load_parser *parser, uint8_t *line, size_t len, struct load_record *record);
void load_parser_free(struct load_parser *parser);

#endif
