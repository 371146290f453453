// One run: a cluster, its clients and all that goes wrong, in virtual time.
//
// Everything that happens is an event in one queue, ordered by time and then by when it was
// scheduled. Time is true time in microseconds; nodes see it only through their own clocks. All
// chance comes from generators seeded by the plan, so one seed is one run, byte for byte.
#ifndef MF_SIM_WORLD_H
#define MF_SIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rand.h"
#include "checks.h"
#include "client.h"
#include "network.h"
#include "node.h"
#include "plan.h"
#include "trace.h"

enum sim_event_kind {
    // At a node, in one of its lives; they wait while the node is paused.
    SIM_TICK,
    SIM_TURN,
    SIM_HEARTBEAT,
    SIM_SYNCED,
    SIM_WRITTEN, // number: of the group whose snapshot is durable
    SIM_TRIED,   // a write, on a full disk
    SIM_FRAME,   // data: struct sim_frame
    SIM_REQUEST, // data: struct sim_copy
    // At a client.
    SIM_CLIENT,  // number: which one may ask for something
    SIM_ANSWER,  // data: struct sim_copy
    SIM_GIVE_UP, // number: of the op
    SIM_PROBE,   // number: of the op whose key is looked at
    SIM_ECHO,    // number: of the op that is sent again
    // The world.
    SIM_CRASH,
    SIM_RESTART, // node
    SIM_PAUSE,
    SIM_PARTITION,
    SIM_LINK_RESET,
    SIM_WALL_JUMP,
    SIM_SLOW_DISK,
    SIM_FULL_DISK,
    SIM_ROT,
    SIM_WIPE,
    SIM_TRANSFER,
    SIM_MEMBERS,
    SIM_CHECKPOINT,
    SIM_TAKEOVER,
    SIM_STILL,   // node stands still for number us
    SIM_BLINK,   // node
    SIM_CUT,     // while a configuration changes
    SIM_JOIN,    // of what was cut
    SIM_UNASKED, // number: of the group whose promises get lost for a while
    SIM_HOLD,
    SIM_RELEASE, // number: of the group that its node may change again
    SIM_EVENT_KINDS,
};

struct sim_event {
    uint64_t at_us;
    uint64_t order;
    enum sim_event_kind kind;
    uint16_t node; // index; events at nodes
    uint32_t life; // of the node when it was scheduled
    uint64_t number;
    void *data;
};

// What a batch of runs saw, to show that it was not idle.
struct sim_stats {
    uint64_t runs;
    uint64_t simulated_us;
    uint64_t events;
    uint64_t ops;
    uint64_t ops_done;
    uint64_t ops_refused;
    uint64_t ops_unknown;
    uint64_t entries;
    uint64_t at_once; // entries of them that were in no log
    uint64_t leaders;
    uint64_t crashes;
    uint64_t torn;
    uint64_t power_losses; // of all nodes at once
    uint64_t cut_lost;     // writes under way at a crash of which nothing was left ...
    uint64_t cut_torn;     // ... some sectors ...
    uint64_t cut_whole;    // ... or all
    uint64_t forgot;
    uint64_t members;      // configurations
    uint64_t void_members; // made from one that was not in force any more
    uint64_t transfers;
    uint64_t snapshots;
    uint64_t installs;
    uint64_t removed_files; // of logs
    uint64_t left;          // copies given up
    uint64_t full_disks;
    uint64_t full_writes; // that found no room
    uint64_t pauses;
    uint64_t holds;
    uint64_t partitions;
    uint64_t frames;
    uint64_t frames_lost;
    uint64_t expired;
    uint64_t undecided; // keys whose history was too hard to check
};

struct sim {
    struct sim_plan plan;
    uint64_t now_us;
    bool stormy; // faults happen and clients ask
    bool tracing;
    const struct sim_request *request;
    uint64_t digest;                             // over every event: equal for equal runs
    struct mf_rand fault_rands[SIM_EVENT_KINDS]; // one for each kind, so that one can be left out
    struct sim_event *queue;                     // a binary heap
    size_t queue_count;
    size_t queue_cap;
    uint64_t next_order;
    struct mf_members first_members;
    struct sim_node nodes[SIM_NODES_MAX];
    struct sim_network network;
    struct sim_clients clients;
    struct sim_checks checks;
    struct sim_stats stats;
};

// True time starts here, so that 0 can mean never.
#define SIM_START_US UINT64_C(1000000)

struct sim_request {
    uint64_t seed;
    struct sim_limits limits;
    bool tracing;
    const char *program; // for the command that replays
};

// Runs one seed to its end. A broken invariant ends the process; see sim_fail.
void sim_run(const struct sim_request *request, struct sim_stats *stats, uint64_t *digest);

// Schedules an event at a time >= now. Node events are bound to the node's life.
void sim_schedule(struct sim *sim, uint64_t at_us, enum sim_event_kind kind, uint16_t node,
                  uint64_t number, void *data);

#endif
