// What CONFIG SET may change of the Redis door while the node runs, for all its reactors. Each is a
// setting of its own, read and written relaxed by any thread: a little late is fine.
#ifndef MF_SERVER_RESP_SETTINGS_H
#define MF_SERVER_RESP_SETTINGS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct mf_resp_settings {
    // A command that took as long is kept for SLOWLOG; negative: none is.
    _Atomic int64_t slowlog_log_slower_than_us;
    _Atomic int64_t slowlog_max_len; // entries that SLOWLOG keeps
    // What took as long is told by LATENCY; 0: nothing is.
    _Atomic int64_t latency_monitor_threshold_ms;
    _Atomic bool latency_tracking; // how long each command takes goes into histograms
    // Keys that CLIENT TRACKING keeps; 0: no bound. See resp_track_table.h.
    _Atomic int64_t tracking_table_max_keys;
    _Atomic uint64_t resets; // CONFIG RESETSTAT adds one: see resp_stats.h
};

// Redis's defaults.
static inline void mf_resp_settings_init(struct mf_resp_settings *settings)
{
    atomic_init(&settings->slowlog_log_slower_than_us, 10000);
    atomic_init(&settings->slowlog_max_len, 128);
    atomic_init(&settings->latency_monitor_threshold_ms, 0);
    atomic_init(&settings->latency_tracking, true);
    atomic_init(&settings->tracking_table_max_keys, 1000000);
    atomic_init(&settings->resets, 0);
}

#endif
