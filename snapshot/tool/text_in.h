// Reads the lines that lines.h writes, and those that people and other programs write by the same
// rules: members and columns in any order, expire_at left out for none, quoted fields over several
// lines. Strict: what it does not know is refused, never passed over.
//
// Memory is that of the longest record, at most TEXT_RECORD_BYTES_MAX, a few times. One thread.
#ifndef MF_SNAPSHOT_TOOL_TEXT_IN_H
#define MF_SNAPSHOT_TOOL_TEXT_IN_H

#include "snapshot/tool/entry.h"
#include "snapshot/tool/input.h"

#define TEXT_RECORD_BYTES_MAX (1024u * 1024u * 1024u)

// In the order in which a line of CSV has them.
enum text_column { TEXT_KEY, TEXT_VALUE, TEXT_EXPIRE_AT, TEXT_KEY_BASE64, TEXT_VALUE_BASE64 };
enum { TEXT_COLUMNS = TEXT_VALUE_BASE64 + 1 };

struct text_in {
    struct input *input;
    bool csv;
    size_t bytes_max;
    uint64_t line;                          // the last one that was read, from 1
    enum text_column columns[TEXT_COLUMNS]; // CSV: what the fields are
    size_t column_count;                    // 0: the names are not read yet
    struct mf_bytes fields[TEXT_COLUMNS];   // of the record, in the order of the file
    struct mf_buf record;                   // CSV: with its quotes undone
    struct mf_buf key;                      // what was base64, or jansson's
    struct mf_buf value;
    char why[256];
};

enum text_got { TEXT_ENTRY, TEXT_END, TEXT_FAILED };

// The input stands at the beginning, and outlives the reader.
void text_in_start(struct text_in *in, struct input *input, bool csv);
void text_in_free(struct text_in *in);
// The next entry, its views valid until the next call. FAILED: in->why names the line.
enum text_got text_in_next(struct text_in *in, struct entry *entry);

// For the two forms: one entry of in->line, false with in->why.
bool text_in_take_json(struct text_in *in, struct mf_bytes line, struct entry *entry);
enum text_got text_in_take_csv(struct text_in *in, struct entry *entry);
bool text_in_refuse(struct text_in *in, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
// base64 becomes *out, in `room`.
bool text_in_take_base64(struct text_in *in, struct mf_bytes text, const char *name,
                         struct mf_buf *room, struct mf_bytes *out);

#endif
