// A node: replicas of every group on one disk, with the liveness, timers and turns that the server
// gives them, and with clocks of its own.
//
// The monotonic clock starts anywhere and runs a little fast or slow; it goes on over a restart of
// the process and starts anew with a reboot. The wall clock is right until it is set.
#ifndef MF_SIM_NODE_H
#define MF_SIM_NODE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rand.h"
#include "consensus/lease.h"
#include "consensus/paxos.h"
#include "disk.h"
#include "plan.h"
#include "server/op.h"
#include "server/replica.h"
#include "snapshots.h"

struct sim;
struct sim_frame;

// What is left of a copy that was given up; on the disk.
struct sim_left {
    mf_ballot_t promise; // 0 = none was
    uint64_t floor;      // of the configuration that had no place for it
    bool gone;           // and there is no other with a state yet
};

// What a node knows of another.
struct sim_peer {
    uint32_t life;          // of the process last heard of; 0 = none
    uint64_t heard_us;      // our clock; 0 = not yet
    uint64_t asked_us;      // when it asked for its lease last, likewise
    uint64_t incarnation;   // of its memory
    uint64_t reading_us;    // its clock in its last frame ...
    uint64_t reading_at_us; // ... and ours then
    bool silent;            // said to be suspect
    bool speaks;            // has been heard of late, whatever it says
    bool fresh;             // the link is new
    uint64_t echo_us;       // the newest frame of that process that asked for the lease: its clock
    uint64_t echo_token;    // ... and the grant's token
};

struct sim_node {
    struct sim *sim;
    uint16_t index;
    uint16_t id; // index + 1
    bool up;
    uint32_t life;
    struct mf_rand rand;
    // Clocks.
    uint64_t boot_us; // true time at which the monotonic clock read mono_base_us
    uint64_t mono_base_us;
    int64_t drift_ppm;
    int64_t wall_offset_us;
    // What became of it.
    bool left_behind;     // it does not come back after the storm
    uint64_t incarnation; // of its memory: 1, and one more each time it is lost
    uint32_t acceptor;    // its number in sim_checks
    // This life.
    struct mf_replica *replicas[SIM_GROUPS_MAX];
    struct sim_peer peers[SIM_NODES_MAX];
    struct mf_lease leases[SIM_NODES_MAX];
    uint64_t paused_until_us;
    // By its clock, when each replica is to be ticked. As in the reactor, what a replica said after
    // its last flush stands until the next one, or until it names an earlier time.
    uint64_t due_us[SIM_GROUPS_MAX];
    uint64_t begun_us;   // of this life, by its monotonic clock
    uint64_t tick_at_us; // true time of the next SIM_TICK; 0 = none is scheduled
    uint64_t tick_window_us;
    uint32_t ticks_in_window;
    bool turn_scheduled;
    bool flush_later[SIM_GROUPS_MAX];
    bool ending; // replies of the ending process go nowhere
    uint32_t ops_inside;
    struct mf_op_list answers; // of this turn
    struct sim_disk disk;
    struct sim_snapshots snapshots[SIM_GROUPS_MAX];
    struct sim_left left[SIM_GROUPS_MAX];
};

void sim_node_init(struct sim *sim, uint16_t index);
void sim_node_free(struct sim_node *node);

void sim_node_start(struct sim_node *node);
// The process ends between two instructions; `reboot`: the machine does.
void sim_node_crash(struct sim_node *node, bool reboot);
// Its disk is empty from here on. It is down.
void sim_node_forget(struct sim_node *node);

uint64_t sim_node_mono_us(const struct sim_node *node);
uint64_t sim_node_wall_us(const struct sim_node *node);
struct mf_replica_env sim_node_env(struct sim_node *node);

// A replica in place of the one that was given up, in this configuration.
void sim_node_make_blank(struct sim_node *node, uint32_t group, const struct mf_members *members);

// Asks the replicas' turn to come, after something was done to them.
void sim_node_touch(struct sim_node *node);

// Events.
void sim_node_tick(struct sim_node *node);
void sim_node_turn(struct sim_node *node);
void sim_node_heartbeat(struct sim_node *node);
void sim_node_receive(struct sim_node *node, struct sim_frame *frame);
void sim_node_synced(struct sim_node *node);
void sim_node_tried(struct sim_node *node);
// Takes the op.
void sim_node_submit(struct sim_node *node, struct mf_op *op);

#endif
