// Counts of times to live; see ttl.h.
#include "snapshot/tool/ttl.h"

#define SECOND_MS UINT64_C(1000)
#define MINUTE_MS (60 * SECOND_MS)
#define HOUR_MS (60 * MINUTE_MS)
#define DAY_MS (24 * HOUR_MS)

static const struct {
    uint64_t end_ms;
    const char *name;
} ranges[TTL_RANGES] = {
    {SECOND_MS, "under 1 s"},      {10 * SECOND_MS, "under 10 s"},
    {MINUTE_MS, "under 1 min"},    {10 * MINUTE_MS, "under 10 min"},
    {HOUR_MS, "under 1 h"},        {6 * HOUR_MS, "under 6 h"},
    {DAY_MS, "under 1 d"},         {7 * DAY_MS, "under 7 d"},
    {30 * DAY_MS, "under 30 d"},   {90 * DAY_MS, "under 90 d"},
    {365 * DAY_MS, "under 365 d"}, {UINT64_MAX, "365 d or more"},
};

uint64_t ttl_range_end_ms(int range)
{
    return ranges[range].end_ms;
}

const char *ttl_range_name(int range)
{
    return ranges[range].name;
}

uint64_t ttl_counted(const struct ttl_counts *counts)
{
    uint64_t sum = 0;
    for (int i = 0; i < TTL_RANGES; i++)
        sum += counts->range[i];
    return sum;
}

static void note_extremes(struct ttl_counts *counts, uint64_t least_us, uint64_t most_us)
{
    // Nobody in a range has 0 left.
    if (counts->least_us == 0 || least_us < counts->least_us)
        counts->least_us = least_us;
    if (most_us > counts->most_us)
        counts->most_us = most_us;
}

void ttl_count(struct ttl_counts *counts, const struct mf_snapshot_shard *section,
               const struct mf_record *record)
{
    if (record->deadline_us == MF_NO_DEADLINE) {
        counts->none += 1;
        return;
    }
    if (record->deadline_us <= section->meta.log_time_us) {
        counts->dead += 1;
        return;
    }
    uint64_t left_us = record->deadline_us - section->meta.log_time_us;
    int range = 0;
    while (range < TTL_RANGES - 1 && left_us / 1000 >= ranges[range].end_ms)
        range++;
    counts->range[range] += 1;
    note_extremes(counts, left_us, left_us);
}

void ttl_add(struct ttl_counts *to, const struct ttl_counts *counts)
{
    to->none += counts->none;
    to->dead += counts->dead;
    for (int i = 0; i < TTL_RANGES; i++)
        to->range[i] += counts->range[i];
    if (counts->least_us > 0)
        note_extremes(to, counts->least_us, counts->most_us);
}
