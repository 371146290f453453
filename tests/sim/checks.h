// What must hold at every step, seen from outside: by somebody who reads every disk and every
// frame.
//
// Whether a value is chosen is decided here by what is durable with a majority of the acceptors of
// the configuration that governs the slot, not by what any node believes. An acceptor is a memory:
// a node that has lost its own comes back as another one. Against that are held: what nodes send,
// what they call chosen, what they have after a restart, what they apply, and what clients are
// told.
#ifndef MF_SIM_CHECKS_H
#define MF_SIM_CHECKS_H

#include <stdbool.h>
#include <stdint.h>

#include "clocks.h"
#include "consensus/members.h"
#include "consensus/paxos_msg.h"
#include "consensus/wal_format.h"
#include "plan.h"

struct sim;
struct sim_node;
struct sim_op;

// Of all memories there ever were; a bit each.
#define SIM_ACCEPTORS_MAX 64u

// A value proposed in a slot at a ballot, and the acceptors on whose disks it is accepted at that
// ballot.
struct sim_vote {
    mf_ballot_t ballot;
    uint64_t value;     // hash of payload, its kind, and log time
    uint64_t acceptors; // bit i: acceptor i of sim_checks
    bool is_members;
    uint64_t log_time_us;
    struct mf_buf payload; // of the first acceptance
};

// What a node holds durably in a slot.
struct sim_accepted {
    mf_ballot_t ballot;
    uint64_t value;
};

struct sim_slot {
    struct sim_vote *votes;
    uint32_t vote_count;
    struct sim_accepted accepted[SIM_NODES_MAX];
    bool chosen;
    uint64_t value;
    // As first applied by any node.
    bool applied;
    uint64_t rolling_hash;
    uint64_t applied_log_us;
    bool has_state_hash;
    uint64_t state_hash;
};

// Who used a ballot last, and who has promised it to that memory.
struct sim_ballot {
    mf_ballot_t ballot;
    uint32_t life;
    uint64_t incarnation;
    uint64_t promisers; // bit i: acceptor i of sim_checks
};

struct sim_group_checks {
    struct sim_slot *slots; // slots[i] is slot i + 1
    uint64_t slot_count;
    uint64_t slot_cap;
    uint64_t chosen;                     // everything up to here is chosen
    uint64_t log_time_us;                // the largest of those
    mf_ballot_t promised[SIM_NODES_MAX]; // durably
    uint64_t chosen_seen[SIM_NODES_MAX]; // as last reported in this life
    uint64_t marked[SIM_NODES_MAX];      // known as chosen, durably
    struct mf_members *members;          // that were chosen, from the first one on
    uint32_t members_count;
    struct sim_ballot *ballots;
    uint32_t ballot_count;
    uint32_t ballot_cap;
    struct sim_clock_checks clock;
};

struct sim_checks {
    struct mf_acceptor acceptors[SIM_ACCEPTORS_MAX];
    uint32_t acceptor_count;
    struct sim_group_checks groups[SIM_GROUPS_MAX];
};

// Every group begins with these; and a memory is new.
void sim_checks_begin(struct sim *sim, const struct mf_members *members);
uint32_t sim_checks_acceptor(struct sim *sim, struct mf_acceptor acceptor);
void sim_checks_free(struct sim *sim);
// The newest configuration that is chosen; whether the node's present memory votes in it; whether
// another one has been accepted anywhere that is not chosen yet.
const struct mf_members *sim_checks_members(const struct sim *sim, uint32_t group);
bool sim_checks_votes(const struct sim_node *node, uint32_t group);
bool sim_checks_learns(const struct sim_node *node, uint32_t group);
bool sim_checks_members_open(const struct sim *sim, uint32_t group);

// A node hands a record to its disk; the record has become durable (also: is found at a restart).
void sim_checks_written(struct sim_node *node, const struct mf_wal_record *record);
void sim_checks_durable(struct sim_node *node, const struct mf_wal_record *record);
void sim_checks_sent(struct sim_node *node, uint32_t group, const struct mf_paxos_msg *msg);
void sim_checks_applied(struct sim_node *node, uint32_t group, uint64_t slot, uint64_t log_time_us);
void sim_checks_leads(struct sim_node *node, uint32_t group, mf_ballot_t ballot);
// Its disk is lost.
void sim_checks_forgot(struct sim_node *node);
// It has given up its copy of the group, and keeps what it has promised.
void sim_checks_gave_up(struct sim_node *node, uint32_t group);
// A snapshot has taken the place of a group's log.
void sim_checks_installed(struct sim_node *node, uint32_t group);
// After a restart, all records restored.
void sim_checks_restored(struct sim_node *node);
void sim_checks_turn(struct sim_node *node);
// An answer is on its way to the client.
void sim_checks_answered(struct sim *sim, const struct sim_op *op);
// Nothing of it was ever carried out.
void sim_checks_refused(struct sim *sim, const struct sim_op *op);
// The storm is over and all have come together.
void sim_checks_end(struct sim *sim);

#endif
