// The log clock of one replication group: the only time that keys live and die by.
//
// Microseconds, starting at 1 in a new group. Every log entry carries a log time, never decreasing
// along the log; a key's deadline is its entry's log time plus its TTL. The leader's clock is
//
//     log time = base + (monotonic now - monotonic at base)
//
// A follower knows the leader's monotonic reading (every frame between two nodes carries one) and
// the leader's offset (log time - monotonic reading, fixed for a leadership), so as a new leader it
// goes on from there: late by a message delay, never early, and blind to the wall clock. Two
// monotonic clocks do not run equally fast, so what a follower adds to a reading is shortened by
// more than they can differ: it may fall behind its leader's clock, never ahead of it. Only when
// no member of the electing quorum has heard a leader since it started, which means that a majority
// was down at once, does the wall clock bridge the gap: last noted log time + wall time passed
// since it was noted, and no time at all if the wall clock went backwards.
//
// Pure: all readings are arguments. One thread only.
#ifndef MF_TTL_LOG_CLOCK_H
#define MF_TTL_LOG_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

// A follower takes one part in this many off the time since the leader's last reading: quartz is
// off by less than a tenth of that, and with a reading each heartbeat it amounts to nothing.
#define MF_CLOCK_DRIFT 1024u

// How much an estimate is worth, from worst to best.
enum mf_clock_source {
    MF_CLOCK_NONE = 0,    // nothing known but the log itself
    MF_CLOCK_BRIDGED = 1, // carried over a restart by the wall clock
    MF_CLOCK_LIVE = 2,    // followed without a gap, or leading
};

struct mf_clock_estimate {
    enum mf_clock_source source;
    uint64_t log_us; // 0 when source is NONE
};

struct mf_log_clock {
    bool leading;
    uint64_t base_log_us; // leading: log time at base_mono_us
    uint64_t base_mono_us;
    uint64_t floor_us;      // the largest log time seen in the log: the clock never reads less
    bool followed;          // a leader's reading was noted since the start
    uint64_t noted_log_us;  // following: a leader's log time ...
    uint64_t noted_mono_us; // ... and our own monotonic clock when it was noted
    bool bridged;           // a mark was restored at the start
    uint64_t mark_log_us;
    uint64_t mark_wall_us;
};

void mf_log_clock_init(struct mf_log_clock *clock);

// At the start: the newest (log time, wall time) pair found in the WAL or snapshot.
void mf_log_clock_restore_mark(struct mf_log_clock *clock, uint64_t log_us, uint64_t wall_us);

// An entry with this log time is in the log (appended, accepted or learned). Raises the floor.
void mf_log_clock_saw_entry(struct mf_log_clock *clock, uint64_t log_us);

// The current leader's clock read `log_us` no later than our own monotonic clock read `mono_us`.
// An older or smaller estimate than what is already known changes nothing.
void mf_log_clock_note_leader(struct mf_log_clock *clock, uint64_t log_us, uint64_t mono_us);

// A newer leader's clock is known from here on: what was followed until now counts no more. Only
// the newest leadership's clock is the group's. An older one may be ahead of it: that of a leader
// which was elected after a stop by a wall clock that was wrong, and that nobody followed.
void mf_log_clock_forget(struct mf_log_clock *clock);

// Our best estimate of the group's log time now. While leading it is the clock itself.
struct mf_clock_estimate mf_log_clock_estimate(const struct mf_log_clock *clock, uint64_t mono_us,
                                               uint64_t wall_us);

// Leadership won: `quorum` is the best estimate that the promises of the electing quorum brought,
// aged to now by the caller. The clock starts at the larger of all that is known; a BRIDGED
// estimate counts only when no LIVE one exists.
void mf_log_clock_lead(struct mf_log_clock *clock, uint64_t mono_us, uint64_t wall_us,
                       struct mf_clock_estimate quorum);

// Leadership lost. What was our own clock becomes the estimate that is followed.
void mf_log_clock_follow(struct mf_log_clock *clock, uint64_t mono_us);

// The leader's clock (asserts leading). Never decreases, never below the floor.
uint64_t mf_log_clock_now(const struct mf_log_clock *clock, uint64_t mono_us);

#endif
