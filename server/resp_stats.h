// What each command of the Redis door has cost: how often it was called, for how long, how often it
// was refused and how often it failed, how its times are spread; and which errors were told.
//
// Every reactor has one of these and is the only one to write it; any thread may read any of them
// and add them up, without stopping anybody. A histogram takes about 6 KB for a command and
// reactor, from the command's first call on.
//
// A reset (mf_resp_settings.resets) makes all of them zero at once for whoever reads: one that was
// last written before it counts as empty, and its reactor clears it when it writes again.
#ifndef MF_SERVER_RESP_STATS_H
#define MF_SERVER_RESP_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "rpc/resp_command.h"
#include "server/resp_settings.h"

// Errors of more names than these are counted under the last place, "ERR".
#define MF_RESP_ERROR_NAMES_MAX 128u
#define MF_RESP_ERROR_NAME_BYTES 24u

struct mf_resp_stats;

// settings: of the node; must outlive it.
struct mf_resp_stats *mf_resp_stats_new(const struct mf_resp_settings *settings);
void mf_resp_stats_free(struct mf_resp_stats *stats);

// By the reactor that has it.

// The command was carried out, and took so long; failed: its reply is an error.
void mf_resp_stats_call(struct mf_resp_stats *stats, const struct mf_resp_row *row, uint64_t us,
                        bool failed);
// The command was refused before anything was done.
void mf_resp_stats_reject(struct mf_resp_stats *stats, const struct mf_resp_row *row);
// An error was told: its text, "ERR what is wrong". True for an error by which a command is refused
// before anything is done, whatever the command.
bool mf_resp_stats_error(struct mf_resp_stats *stats, struct mf_bytes text);
// Keys that were looked for by commands that read, and were there or not.
void mf_resp_stats_lookups(struct mf_resp_stats *stats, uint64_t hits, uint64_t misses);

// Any thread. Each adds what one reactor has to what others have: begin with all zero.

struct mf_resp_row_sum {
    uint64_t calls;
    uint64_t us;
    uint64_t rejected;
    uint64_t failed;
};
void mf_resp_stats_add_row(const struct mf_resp_stats *stats, const struct mf_resp_row *row,
                           struct mf_resp_row_sum *sum);

struct mf_resp_sum {
    uint64_t calls; // of all commands
    uint64_t hits;
    uint64_t misses;
    uint64_t errors;
};
void mf_resp_stats_add(const struct mf_resp_stats *stats, struct mf_resp_sum *sum);

struct mf_resp_error_sum {
    uint32_t count;
    struct mf_resp_error_count {
        char name[MF_RESP_ERROR_NAME_BYTES];
        uint64_t count;
    } errors[MF_RESP_ERROR_NAMES_MAX]; // by name
};
void mf_resp_stats_add_errors(const struct mf_resp_stats *stats, struct mf_resp_error_sum *sum);

// How the times of one command are spread. 32 places for every power of two, up to a minute.
#define MF_RESP_TIMES_BITS 5u
#define MF_RESP_TIMES_BUCKETS ((26u - MF_RESP_TIMES_BITS + 1u) << MF_RESP_TIMES_BITS)
struct mf_resp_times {
    uint64_t count;
    uint64_t buckets[MF_RESP_TIMES_BUCKETS];
};
void mf_resp_stats_add_times(const struct mf_resp_stats *stats, const struct mf_resp_row *row,
                             struct mf_resp_times *times);
// Microseconds that `percent` (0 to 100) of the calls did not take longer than, at most 1/32 too
// much; 0 when there is none.
uint64_t mf_resp_times_percentile(const struct mf_resp_times *times, double percent);
// How many calls took at most `us` microseconds, a power of two; exact up to a minute.
uint64_t mf_resp_times_within(const struct mf_resp_times *times, uint64_t us);

#endif
