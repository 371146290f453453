// A snapshot's record as an entry; see entry.h.
#include "snapshot/tool/entry.h"

#include "snapshot/reshard.h"

struct entry entry_of(const struct mf_snapshot_shard *section, const struct mf_record *record,
                      uint64_t start_us)
{
    struct entry entry = {.key = record->key, .value = record->value};
    if (record->deadline_us == MF_NO_DEADLINE)
        return entry;
    uint64_t at_us = mf_snapshot_absolute_deadline(record->deadline_us, section->meta.log_time_us,
                                                   mf_snapshot_wall_us(section, start_us));
    uint64_t at_ms = at_us / 1000 + (at_us % 1000 != 0);
    entry.expires = true;
    entry.expire_at_ms = at_ms < ENTRY_EXPIRE_AT_MAX ? at_ms : ENTRY_EXPIRE_AT_MAX;
    return entry;
}
