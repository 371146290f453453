// What one seed draws: the cluster, the workload, and its own mix and rates of faults.
//
// Every seed leaves most kinds of faults out and turns others up. A mix of everything in every run
// hides what only shows when something is absent: Groce et al., "Swarm Testing" (2012).
#ifndef MF_SIM_PLAN_H
#define MF_SIM_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rand.h"
#include "server/replica.h"

#define SIM_NODES_MAX 7u
#define SIM_GROUPS_MAX 4u
#define SIM_KEYS_MAX 6u
#define SIM_CLIENTS_MAX 8u

// What a client may ask for; the weights of a run's workload.
enum sim_wish {
    SIM_WISH_GET,
    SIM_WISH_GET_META,
    SIM_WISH_MGET,
    SIM_WISH_HAS,
    SIM_WISH_TTL,
    SIM_WISH_SIZE,
    SIM_WISH_SET,
    SIM_WISH_MSET,
    SIM_WISH_DEL,
    SIM_WISH_EXPIRE,
    SIM_WISH_PERSIST,
    SIM_WISH_FLUSH,
    SIM_WISH_INCR,
    SIM_WISH_APPEND,
    SIM_WISH_GETDEL,
    SIM_WISH_GETEX,
    SIM_WISH_TXN,
    SIM_WISHES,
};

// What a process relies on for the records it calls durable, and so what a crash can take.
enum sim_durability {
    SIM_FSYNC, // the disk: nothing
    SIM_OS,    // the machine: a reboot takes its memory
    SIM_NONE,  // itself: every restart takes its memory
};

struct sim_plan {
    uint64_t seed;
    uint16_t node_count;
    uint32_t group_count;
    uint64_t storm_us; // faults and clients go on for this long, then everything is healed
    // Replicas. Group, self, voters and tag seed are filled in for each.
    struct mf_replica_config replica;
    bool leases;
    uint64_t lease_us;
    uint64_t silence_us;  // a node that is not heard of for this long is suspected
    uint64_t turn_us_max; // a node gathers events for up to this long before it flushes
    // Clients.
    uint32_t client_count;
    uint32_t key_count; // of each group
    bool pairs;         // keys 0 and 1 of a group are only ever written together
    uint32_t op_max;
    uint64_t think_us;
    uint64_t timeout_us;
    uint32_t value_bytes_max;
    uint32_t wishes[SIM_WISHES];
    uint32_t ttl_permille;       // of sets
    uint64_t ttl_ms_max;         // most TTLs are below
    uint32_t expire_at_permille; // of TTLs: given as a time of day
    uint32_t condition_permille; // of sets, dels and expires
    uint32_t id_permille;        // of writes
    uint32_t twin_permille;      // of writes with an id: sent to two nodes at once
    uint32_t echo_permille;      // of writes with an id: sent again when answered
    uint32_t probe_permille;     // of writes with a TTL: reads around the deadline
    uint32_t local_permille;     // of reads
    uint32_t astray_permille;    // sent to any node instead of the leader known
    // Network.
    uint64_t delay_us_min;
    uint64_t delay_us_spread;
    uint32_t slow_permille; // of frames: late by up to slow_us_max
    uint64_t slow_us_max;
    uint32_t loss_permille;
    uint32_t request_loss_permille; // of frames that ask, and of ...
    uint32_t answer_loss_permille;  // ... those that answer
    uint32_t twice_permille;
    bool overtaking;        // frames between two nodes may overtake each other
    bool ghosts;            // frames to a process that ended may reach the one after it
    uint64_t partition_us;  // mean time between changes, 0 = never
    uint64_t link_reset_us; // mean time between, 0 = never
    uint32_t lag_permille;  // of frames: their clock reading is not seen yet by other replicas
    // Machines.
    uint64_t crash_us;          // mean time between, 0 = never
    uint32_t blackout_permille; // of crashes: all nodes at once
    uint32_t reboot_permille;   // of crashes: the monotonic clock starts anew
    uint64_t down_us_max;
    uint64_t pause_us; // mean time between, 0 = never
    uint64_t pause_us_max;
    // Clocks.
    uint32_t drift_ppm_max;
    uint64_t wall_jump_us; // mean time between, 0 = never: wall clocks are right then
    // Disks.
    enum sim_durability durability;
    uint64_t sync_us_min;
    uint64_t sync_us_spread;
    uint32_t stall_permille; // of syncs: up to stall_us_max
    uint64_t stall_us_max;
    uint32_t rotate_permille; // of syncs: the next batch goes to a new file
    bool preallocated;        // zeros follow the last batch
    uint64_t slow_disk_us;    // mean time between disks that become slow for a while, 0 = never
    uint64_t full_us;         // mean time between disks that are full for a while, 0 = never
    uint64_t rot_us;          // mean time between bits that flip in an old batch, 0 = never
    uint64_t transfer_us;     // mean time between groups handed over by wish, 0 = never
    uint64_t members_us;      // mean time between wishes for other voters, 0 = never
    uint32_t alone_permille;  // of those: for one voter, which then keeps no log
    uint32_t leave_permille;  // of heartbeats of a leader: who has no place gives its copy up
    uint64_t checkpoint_us;   // mean time between snapshots of one group at one node, 0 = never
    uint32_t tail_max;        // slots left in the log below a snapshot
    uint32_t chunk_bytes;     // of a snapshot that is sent
    uint64_t hold_us;         // mean time between replicas that a walk holds, 0 = never
    uint64_t wipe_us;         // mean time between disks that are lost, 0 = never
    uint64_t progress_us;     // in the storm a group lets writers wait at most this; 0 = or not
    // Faults that come when they hurt.
    uint64_t takeover_us; // mean time between leaders paused until others take over, 0 = never
    uint32_t members_cut_permille; // of wishes for other voters: the network is cut meanwhile
    uint32_t unasked_permille;    // of wishes for other voters: what phase 1 says is lost meanwhile
    uint32_t late_words_permille; // of words on who has a place: heard again seconds later
    // After the storm.
    bool left_behind; // a minority stays down or cut off
};

// What a run leaves out of its plan, to find out what a failure needs. All zero is nothing.
struct sim_limits {
    uint64_t without;  // bit i: the aspect sim_aspect_name(i)
    uint64_t storm_us; // 0 = as drawn
    uint64_t ops;      // 0 = as drawn
    // Not 0: no faults but the loss of most frames of these ways, under which every group must go
    // on acknowledging writes.
    uint32_t lose; // of enum sim_way
    // No faults but losses of power of the whole cluster, several in a run, under load.
    bool power_loss;
};

// The two ways of the frames between nodes.
enum sim_way {
    SIM_REQUESTS = 1,
    SIM_ANSWERS = 2,
    SIM_BOTH_WAYS = SIM_REQUESTS | SIM_ANSWERS,
};

void sim_plan_draw(struct sim_plan *plan, uint64_t seed, const struct sim_limits *limits);

// What can be left out: most kinds of faults, and what makes a workload rich. NULL behind the last.
const char *sim_aspect_name(uint32_t index);
// "requests", "answers", "both"; NULL for 0 and behind the last.
const char *sim_ways_name(uint32_t ways);
// False when the plan has nothing of it anyway.
bool sim_plan_has(const struct sim_plan *plan, uint32_t index);

// Draws.
static inline bool sim_chance(struct mf_rand *rand, uint32_t permille)
{
    return mf_rand_below(rand, 1000) < permille;
}

// Both ends included.
static inline uint64_t sim_between(struct mf_rand *rand, uint64_t low, uint64_t high)
{
    return low + mf_rand_below(rand, high - low + 1);
}

// A waiting time around `mean`, from a twentieth of it to three times as much.
static inline uint64_t sim_around(struct mf_rand *rand, uint64_t mean)
{
    uint64_t half = sim_between(rand, mean / 20, mean);
    return sim_chance(rand, 500) ? half : half * 2 + mf_rand_below(rand, mean + 1);
}

#endif
