// A key outside of any cluster: what text and Redis's files have, and a snapshot's record as they
// see it.
#ifndef MF_SNAPSHOT_TOOL_ENTRY_H
#define MF_SNAPSHOT_TOOL_ENTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "snapshot/reader.h"

// Unix milliseconds are 0 to 2^53 - 1, as everywhere on the wire.
#define ENTRY_EXPIRE_AT_MAX ((UINT64_C(1) << 53) - 1)

struct entry {
    struct mf_bytes key;
    struct mf_bytes value;
    bool expires;
    uint64_t expire_at_ms; // Unix time
};

// Of a record that is no id; views as the record's. Deadlines become Unix time as they do in a
// restore, to the millisecond and never early. start_us: from when on a deadline counts whose
// section has no wall time.
struct entry entry_of(const struct mf_snapshot_shard *section, const struct mf_record *record,
                      uint64_t start_us);

#endif
