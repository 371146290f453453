// How long keys have to live: counts by the time that was left at the cut of their shard.
#ifndef MF_SNAPSHOT_TOOL_TTL_H
#define MF_SNAPSHOT_TOOL_TTL_H

#include "snapshot/reader.h"

enum { TTL_RANGES = 12 };

// All zero is an empty one.
struct ttl_counts {
    uint64_t none;              // keys that do not expire
    uint64_t dead;              // whose time had come at the cut
    uint64_t range[TTL_RANGES]; // below ttl_range_end_ms of it, and not of the one before
    uint64_t least_us;          // of those in ranges
    uint64_t most_us;
};

// UINT64_MAX for the last range.
uint64_t ttl_range_end_ms(int range);
// "under 10 s", "7 d or more": for people.
const char *ttl_range_name(int range);
// How many are in ranges.
uint64_t ttl_counted(const struct ttl_counts *counts);

// The record is no id.
void ttl_count(struct ttl_counts *counts, const struct mf_snapshot_shard *section,
               const struct mf_record *record);
void ttl_add(struct ttl_counts *to, const struct ttl_counts *counts);

#endif
