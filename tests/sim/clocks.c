// Stretches and the line that log clocks must keep to; see clocks.h.
#include "clocks.h"

#include <stdlib.h>
#include <string.h>

#include "ttl/log_clock.h"
#include "world.h"

#define ALWAYS UINT64_MAX
// Rounding, and what happens within one turn.
#define SLACK_US UINT64_C(2000)

static struct sim_clock_checks *checks_of(const struct sim_node *node, uint32_t group)
{
    return &node->sim->checks.groups[group].clock;
}

static struct sim_stretch *open_stretch(struct sim_clock_checks *clock)
{
    if (clock->stretch_count == 0)
        return NULL;
    struct sim_stretch *last = &clock->stretches[clock->stretch_count - 1];
    return last->to_us == ALWAYS ? last : NULL;
}

// Has a majority heard the clock of a leadership in first..last, and not forgotten it since?
static bool majority_heard(const struct sim *sim, uint32_t group, mf_ballot_t first,
                           mf_ballot_t last)
{
    const struct sim_clock_checks *clock = &sim->checks.groups[group].clock;
    const struct mf_members *members = sim_checks_members(sim, group);
    uint32_t count = 0;
    for (uint16_t i = 0; i < sim->plan.node_count; i++)
        count += clock->heard[i] >= first && clock->heard[i] <= last &&
                 sim_checks_votes(&sim->nodes[i], group);
    return count >= mf_members_quorum(members);
}

static void hear(struct sim_node *node, uint32_t group, mf_ballot_t ballot)
{
    struct sim_clock_checks *clock = checks_of(node, group);
    if (ballot <= clock->heard[node->index])
        return;
    clock->heard[node->index] = ballot;
    clock->heard_us[node->index] = node->sim->now_us;
}

// A node may have heard of the leadership once, long ago, and not since.
static uint64_t longest_unheard_us(const struct sim *sim, const struct sim_clock_checks *clock,
                                   mf_ballot_t ballot)
{
    uint64_t first_us = sim->now_us;
    for (uint16_t i = 0; i < sim->plan.node_count; i++) {
        if (clock->heard[i] == ballot && clock->heard_us[i] < first_us)
            first_us = clock->heard_us[i];
    }
    return sim->now_us - first_us;
}

static void begin_stretch(struct sim_node *leader, uint32_t group, mf_ballot_t ballot,
                          uint64_t log_time_us)
{
    struct sim *sim = leader->sim;
    struct sim_clock_checks *clock = &sim->checks.groups[group].clock;
    if (clock->stretch_count == clock->stretch_cap) {
        clock->stretch_cap = clock->stretch_cap == 0 ? 4 : clock->stretch_cap * 2;
        clock->stretches =
            mf_realloc(clock->stretches, clock->stretch_cap * sizeof(*clock->stretches));
    }
    clock->stretches[clock->stretch_count++] = (struct sim_stretch){
        .from_us = sim->now_us, .to_us = ALWAYS, .aged_us = longest_unheard_us(sim, clock, ballot)};
    clock->base_us = sim->now_us;
    clock->base_log_us = log_time_us;
    clock->base_ballot = ballot;
    memset(clock->led, 0, sizeof(clock->led));
    clock->led[leader->index] = ballot;
    sim_trace(sim, 0, "group %u: a majority follows the log clock from here on", group);
}

static void end_stretch(struct sim *sim, uint32_t group, struct sim_stretch *open)
{
    open->to_us = sim->now_us;
    sim_trace(sim, 0, "group %u: no majority follows one log clock any more", group);
}

void sim_clocks_heard(struct sim_node *node, uint32_t group, const struct mf_paxos_msg *msg)
{
    bool of_leader = msg->type == MF_PAXOS_ACCEPT || msg->type == MF_PAXOS_CHOSEN ||
                     msg->type == MF_PAXOS_READ_PROBE;
    const struct mf_paxos *paxos = mf_replica_paxos(node->replicas[group]);
    if (of_leader && msg->stamp.source == MF_CLOCK_LIVE && msg->stamp.ballot == msg->ballot &&
        mf_paxos_leader(paxos) == msg->from)
        hear(node, group, msg->ballot);
}

// Told by its first proposal, and by itself at the end of its turn.
void sim_clocks_leads(struct sim_node *node, uint32_t group, mf_ballot_t ballot)
{
    struct sim_clock_checks *clock = checks_of(node, group);
    struct sim_stretch *open = open_stretch(clock);
    if (open != NULL && ballot != clock->led[node->index])
        open->leaders++;
    clock->led[node->index] = ballot;
    hear(node, group, ballot);
}

void sim_clocks_gave_up(struct sim_node *node, uint32_t group)
{
    struct sim_clock_checks *clock = checks_of(node, group);
    struct sim_stretch *open = open_stretch(clock);
    clock->heard[node->index] = 0;
    if (open != NULL && !majority_heard(node->sim, group, clock->base_ballot, UINT64_MAX))
        end_stretch(node->sim, group, open);
}

void sim_clocks_down(struct sim_node *node)
{
    for (uint32_t group = 0; group < node->sim->plan.group_count; group++)
        sim_clocks_gave_up(node, group);
}

void sim_clocks_members_changed(struct sim *sim, uint32_t group)
{
    struct sim_clock_checks *clock = &sim->checks.groups[group].clock;
    struct sim_stretch *open = open_stretch(clock);
    if (open != NULL && !majority_heard(sim, group, clock->base_ballot, UINT64_MAX))
        end_stretch(sim, group, open);
}

// Drift of the monotonic clocks; and for each leader what it did not hear of in time: the reading
// it goes by is as old as its frame, aged at a rate that is safe, and travelled once more with a
// promise, which waited for a disk.
uint64_t sim_clocks_slack_us(const struct sim *sim, uint32_t group, uint32_t stretch,
                             uint64_t span_us)
{
    const struct sim_stretch *at = &sim->checks.groups[group].clock.stretches[stretch - 1];
    uint64_t sync_us = 0;
    for (uint16_t i = 0; i < sim->plan.node_count; i++) {
        uint64_t longest_us = sim->nodes[i].disk.sync_us_max;
        sync_us = longest_us > sync_us ? longest_us : sync_us;
    }
    uint64_t each_us = 2 * sim->network.age_us_max + 2 * sync_us + 4 * sim->plan.turn_us_max +
                       (at->aged_us + span_us) / MF_CLOCK_DRIFT;
    return span_us * sim->plan.drift_ppm_max * 2 / 1000000 + at->leaders * each_us + SLACK_US;
}

// How far a proposal made now is off the line, and how far it may be.
static int64_t off_line_us(const struct sim *sim, uint32_t group, uint64_t log_time_us,
                           uint64_t *slack_us)
{
    const struct sim_clock_checks *clock = &sim->checks.groups[group].clock;
    uint64_t span_us = sim->now_us - clock->base_us;
    *slack_us = sim_clocks_slack_us(sim, group, clock->stretch_count, span_us);
    return (int64_t)(log_time_us - clock->base_log_us) - (int64_t)span_us;
}

static void check_line(struct sim_node *node, uint32_t group, uint64_t log_time_us)
{
    uint64_t slack_us;
    int64_t off_us = off_line_us(node->sim, group, log_time_us, &slack_us);
    if ((uint64_t)llabs(off_us) > slack_us)
        sim_fail(node->sim, "the log clock keeps to true time while a majority follows it",
                 "node %u, group %u: the log clock is %lld us too far; %llu would be drift and "
                 "delay",
                 (unsigned)node->id, group, (long long)off_us, (unsigned long long)slack_us);
}

// A leader from before the stretch, which nobody follows, goes by a clock of its own. Its entries
// may still come to be chosen: one that is ahead moves the clock then.
static void see_outsider(struct sim_node *node, uint32_t group, uint64_t log_time_us)
{
    uint64_t slack_us;
    int64_t off_us = off_line_us(node->sim, group, log_time_us, &slack_us);
    if (off_us > (int64_t)slack_us)
        end_stretch(node->sim, group, open_stretch(checks_of(node, group)));
}

// A stretch begins with a proposal whose log time is beyond all that was proposed before: what was
// left unchosen by then can come back without moving the clock, and is no reading of one.
void sim_clocks_proposed(struct sim_node *node, uint32_t group, mf_ballot_t ballot,
                         uint64_t log_time_us)
{
    struct sim_clock_checks *clock = checks_of(node, group);
    struct sim_stretch *open = open_stretch(clock);
    sim_clocks_leads(node, group, ballot);
    if (open != NULL && ballot < clock->base_ballot) {
        see_outsider(node, group, log_time_us);
    } else if (open != NULL) {
        check_line(node, group, log_time_us);
    } else if (log_time_us > clock->log_time_max &&
               majority_heard(node->sim, group, ballot, ballot)) {
        begin_stretch(node, group, ballot, log_time_us);
    }
    if (log_time_us > clock->log_time_max)
        clock->log_time_max = log_time_us;
}

uint32_t sim_clocks_stretch(const struct sim *sim, uint32_t group, uint64_t from_us, uint64_t to_us)
{
    const struct sim_clock_checks *clock = &sim->checks.groups[group].clock;
    for (uint32_t i = 0; i < clock->stretch_count; i++) {
        if (clock->stretches[i].from_us <= from_us && to_us <= clock->stretches[i].to_us)
            return i + 1;
    }
    return 0;
}
