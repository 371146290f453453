// Log time from monotonic readings; see log_clock.h.
#include "ttl/log_clock.h"

#include <assert.h>

#define NEW_GROUP_LOG_US 1

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

// A reading that came from elsewhere may be anything: the clock stops at the end of time.
static uint64_t plus(uint64_t log_us, uint64_t passed_us)
{
    return log_us > UINT64_MAX - passed_us ? UINT64_MAX : log_us + passed_us;
}

static uint64_t passed(uint64_t since_us, uint64_t now_us)
{
    return now_us > since_us ? now_us - since_us : 0;
}

// Where the leader's clock is at least, if its reading was right and ours runs no faster than
// MF_CLOCK_DRIFT allows for.
static uint64_t followed_us(const struct mf_log_clock *clock, uint64_t mono_us)
{
    uint64_t passed_us = passed(clock->noted_mono_us, mono_us);
    return plus(clock->noted_log_us, passed_us - passed_us / MF_CLOCK_DRIFT);
}

void mf_log_clock_init(struct mf_log_clock *clock)
{
    *clock = (struct mf_log_clock){0};
}

void mf_log_clock_restore_mark(struct mf_log_clock *clock, uint64_t log_us, uint64_t wall_us)
{
    if (clock->bridged && log_us <= clock->mark_log_us)
        return;
    clock->bridged = true;
    clock->mark_log_us = log_us;
    clock->mark_wall_us = wall_us;
}

void mf_log_clock_saw_entry(struct mf_log_clock *clock, uint64_t log_us)
{
    clock->floor_us = later(clock->floor_us, log_us);
}

void mf_log_clock_note_leader(struct mf_log_clock *clock, uint64_t log_us, uint64_t mono_us)
{
    if (clock->leading)
        return;
    if (clock->followed &&
        (mono_us < clock->noted_mono_us || log_us <= followed_us(clock, mono_us)))
        return;
    clock->followed = true;
    clock->noted_log_us = log_us;
    clock->noted_mono_us = mono_us;
}

void mf_log_clock_forget(struct mf_log_clock *clock)
{
    if (!clock->leading)
        clock->followed = false;
}

uint64_t mf_log_clock_now(const struct mf_log_clock *clock, uint64_t mono_us)
{
    assert(clock->leading);
    uint64_t log_us = plus(clock->base_log_us, passed(clock->base_mono_us, mono_us));
    return later(clock->floor_us, log_us);
}

struct mf_clock_estimate mf_log_clock_estimate(const struct mf_log_clock *clock, uint64_t mono_us,
                                               uint64_t wall_us)
{
    struct mf_clock_estimate estimate = {.source = MF_CLOCK_NONE};
    if (clock->leading) {
        estimate.source = MF_CLOCK_LIVE;
        estimate.log_us = mf_log_clock_now(clock, mono_us);
    } else if (clock->followed) {
        estimate.source = MF_CLOCK_LIVE;
        estimate.log_us = later(clock->floor_us, followed_us(clock, mono_us));
    } else if (clock->bridged) {
        estimate.source = MF_CLOCK_BRIDGED;
        estimate.log_us =
            later(clock->floor_us, plus(clock->mark_log_us, passed(clock->mark_wall_us, wall_us)));
    }
    return estimate;
}

void mf_log_clock_lead(struct mf_log_clock *clock, uint64_t mono_us, uint64_t wall_us,
                       struct mf_clock_estimate quorum)
{
    struct mf_clock_estimate own = mf_log_clock_estimate(clock, mono_us, wall_us);
    enum mf_clock_source best = own.source > quorum.source ? own.source : quorum.source;
    uint64_t start_us = later(clock->floor_us, NEW_GROUP_LOG_US);
    if (own.source == best)
        start_us = later(start_us, own.log_us);
    if (quorum.source == best)
        start_us = later(start_us, quorum.log_us);
    clock->leading = true;
    clock->base_log_us = start_us;
    clock->base_mono_us = mono_us;
}

void mf_log_clock_follow(struct mf_log_clock *clock, uint64_t mono_us)
{
    if (!clock->leading)
        return;
    clock->noted_log_us = mf_log_clock_now(clock, mono_us);
    clock->noted_mono_us = mono_us;
    clock->followed = true;
    clock->leading = false;
}
