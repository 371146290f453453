// Entries as text, one a line; what mayfly-snapshot(1) says of the forms. Pure functions.
//
// JSON: an object with "key" or "key_base64", "value" or "value_base64", and "expire_at". CSV as
// RFC 4180 has it, with the same five names in a first line; the columns that do not apply are
// empty. JSON takes base64 for what is not UTF-8. CSV takes it for control characters too, so that
// a record is a line there whatever is in it.
#ifndef MF_SNAPSHOT_TOOL_LINES_H
#define MF_SNAPSHOT_TOOL_LINES_H

#include "snapshot/tool/entry.h"

// Each appends a line with its newline.
void lines_put_json(struct mf_buf *out, const struct entry *entry);
void lines_put_csv_names(struct mf_buf *out);
void lines_put_csv(struct mf_buf *out, const struct entry *entry);

#endif
