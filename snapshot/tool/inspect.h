// The forms in which inspect prints what a file holds.
#ifndef MF_SNAPSHOT_TOOL_INSPECT_H
#define MF_SNAPSHOT_TOOL_INSPECT_H

#include <jansson.h>

#include "snapshot/reader.h"
#include "snapshot/tool/ttl.h"

struct inspected {
    const char *file;
    struct mf_snapshot_summary summary;
    const struct mf_snapshot_reader *reader; // for its sections
    struct ttl_counts ttl;                   // of all keys
    struct ttl_counts *section_ttls;         // by section
};

// How many bytes of records one stored byte stands for; 0 for a section without blocks.
double inspect_ratio(uint64_t raw_bytes, uint64_t stored_bytes);

// Text without control characters or bytes above ASCII: these become \xNN, a backslash \\.
// Returns `out`, of `size` bytes, cut to what fits.
const char *inspect_escape(const char *text, char *out, size_t size);

// A string of JSON; what is not UTF-8 is escaped like that.
json_t *inspect_json_text(const char *bytes);

void inspect_table(const struct inspected *inspected);
void inspect_plain(const struct inspected *inspected);

#endif
