// The log clocks against true time.
//
// While a majority of a group has heard a leader's clock, or that of a leader after it, and has
// been up since, the log clock must keep to true time over any change of leader and whatever the
// wall clocks do: it may drift as the monotonic clocks do, and at each change of leader be late by
// what the new leader did not hear of in time. Such a time is called a stretch. Between stretches
// (a majority was down at once) only what the log itself promises holds: its times do not go back.
#ifndef MF_SIM_CLOCKS_H
#define MF_SIM_CLOCKS_H

#include <stdbool.h>
#include <stdint.h>

#include "consensus/paxos_msg.h"
#include "plan.h"

struct sim;
struct sim_node;

struct sim_stretch {
    uint64_t from_us; // true time
    uint64_t to_us;   // UINT64_MAX while it lasts
    uint32_t leaders; // that were active in it, but for the first
    uint64_t aged_us; // so old may the readings be already by which its nodes go at its beginning
};

struct sim_clock_checks {
    mf_ballot_t heard[SIM_NODES_MAX]; // the newest leadership whose clock the node follows, or is
    uint64_t heard_us[SIM_NODES_MAX]; // true time when it first did
    struct sim_stretch *stretches;
    uint32_t stretch_count;
    uint32_t stretch_cap;
    // The proposal that began the stretch: later ones must be in line with it.
    uint64_t base_us;
    uint64_t base_log_us;
    mf_ballot_t base_ballot;
    mf_ballot_t led[SIM_NODES_MAX]; // the leadership that is counted in the stretch
    uint64_t log_time_max;          // of any proposal
};

// A message was handled; the node may follow its sender's clock now.
void sim_clocks_heard(struct sim_node *node, uint32_t group, const struct mf_paxos_msg *msg);
void sim_clocks_leads(struct sim_node *node, uint32_t group, mf_ballot_t ballot);
void sim_clocks_down(struct sim_node *node);
// It gave up its copy of the group.
void sim_clocks_gave_up(struct sim_node *node, uint32_t group);
void sim_clocks_members_changed(struct sim *sim, uint32_t group);
// The node, leading with this ballot, has given a new entry this log time.
void sim_clocks_proposed(struct sim_node *node, uint32_t group, mf_ballot_t ballot,
                         uint64_t log_time_us);

// The number (from 1) of the group's stretch that holds all of from_us..to_us; 0 when none does.
uint32_t sim_clocks_stretch(const struct sim *sim, uint32_t group, uint64_t from_us,
                            uint64_t to_us);
// How far the log clock may be off after running for span_us in that stretch.
uint64_t sim_clocks_slack_us(const struct sim *sim, uint32_t group, uint32_t stretch,
                             uint64_t span_us);

#endif
