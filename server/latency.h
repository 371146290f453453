// Moments at which the node was slow: what LATENCY tells.
//
// A series for each kind of event, as Redis has it: of each second the worst one that took at least
// as long as the settings say, the last 160 of them, and the worst ever. Any thread; what it shares
// is under one lock, held for a moment, and only for what was slow.
#ifndef MF_SERVER_LATENCY_H
#define MF_SERVER_LATENCY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "server/resp_settings.h"

#define MF_LATENCY_SAMPLES 160u

// The names are Redis's where it has such an event.
enum mf_latency_event {
    MF_LATENCY_COMMAND,      // "command"
    MF_LATENCY_FAST_COMMAND, // "fast-command": of those with the flag "fast"
    MF_LATENCY_FSYNC,        // "aof-fsync-always": a sync of the write-ahead log
    MF_LATENCY_EVENTS
};
const char *mf_latency_name(enum mf_latency_event event);
// False: there is no event of that name.
bool mf_latency_find(struct mf_bytes name, enum mf_latency_event *event);

struct mf_latency_series {
    uint32_t max_ms; // ever, or since a reset
    uint32_t count;  // 0: nothing was slow
    struct mf_latency_sample {
        uint32_t unix_s;
        uint32_t ms;
    } samples[MF_LATENCY_SAMPLES]; // the oldest first
};

struct mf_latency;

// settings: of the node; must outlive it.
struct mf_latency *mf_latency_new(const struct mf_resp_settings *settings);
void mf_latency_free(struct mf_latency *latency);
// Something took so long; most of the time that is no news.
void mf_latency_note(struct mf_latency *latency, enum mf_latency_event event, uint64_t us);
// The same at a given time, however short it was.
void mf_latency_add(struct mf_latency *latency, enum mf_latency_event event, uint64_t unix_s,
                    uint64_t ms);
void mf_latency_read(struct mf_latency *latency, enum mf_latency_event event,
                     struct mf_latency_series *out);
// True if there was anything.
bool mf_latency_reset(struct mf_latency *latency, enum mf_latency_event event);

// Draws the series as text, 4 lines high and at most 80 samples wide, with their ages below.
void mf_latency_draw(struct mf_buf *out, enum mf_latency_event event,
                     const struct mf_latency_series *series, uint64_t now_s);

#endif
