// The network between the nodes: frames that are late, lost, doubled and overtaken, and links that
// break one way or both.
//
// A frame carries one message of a group, or none (a heartbeat), and with it what every frame
// between two nodes carries: the sender's monotonic clock, which process and which memory sent it,
// and the answer to the newest frame that asked for the lease. Messages are
// encoded when they are sent and decoded where they arrive.
#ifndef MF_SIM_NETWORK_H
#define MF_SIM_NETWORK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/rand.h"
#include "consensus/paxos_msg.h"
#include "plan.h"

struct sim;

enum sim_frame_kind {
    SIM_HEARTBEAT_FRAME,
    SIM_PAXOS_FRAME,
    SIM_CHUNK_FRAME,
    SIM_TAKEN_FRAME,
    SIM_PLACES_FRAME, // see copies.h
};

struct sim_frame {
    uint16_t from; // indexes of nodes
    uint16_t to;
    uint32_t from_life;
    uint32_t to_life;
    uint32_t link_epoch; // frames of an earlier epoch died with their connection
    uint64_t sent_us;    // true time
    uint64_t mono_us;    // the sender's clock
    enum sim_frame_kind kind;
    uint64_t incarnation; // of the sender's memory
    bool asks;            // for the receiver's lease
    uint64_t echo_us;     // the receiver's clock in a frame of its that asked; 0 = none
    uint32_t echo_life;   // ... and which process that was
    uint64_t echo_token;
    bool lags; // when it is handled, its reading is not yet where other clocks are looked up
    uint32_t group;
    struct mf_buf message; // mf_paxos_msg_encode, or see snapshots.h
};

struct sim_link {
    bool cut;
    uint32_t epoch;
    uint64_t last_arrival_us;
};

struct sim_network {
    struct mf_rand rand;
    struct sim_link links[SIM_NODES_MAX][SIM_NODES_MAX]; // [from][to]
    uint64_t age_us_max;                                 // of any frame when it was handled
    uint64_t promises_lost_until_us[SIM_GROUPS_MAX];     // prepares and promises of the group
};

void sim_network_init(struct sim *sim);
// Sends to node index `to`: takes the message.
void sim_network_send(struct sim *sim, uint16_t from, uint16_t to, enum sim_frame_kind kind,
                      uint32_t group, struct mf_buf message);
// A heartbeat.
void sim_network_beat(struct sim *sim, uint16_t from, uint16_t to, bool asks);
// The frame has come to its receiver: false when it died on the way.
bool sim_network_arrives(struct sim *sim, const struct sim_frame *frame);
void sim_frame_free(struct sim_frame *frame);

// Faults.
void sim_network_partition(struct sim *sim); // draws anew which links are cut
void sim_network_reset_link(struct sim *sim);
void sim_network_cut_in_two(struct sim *sim);
void sim_network_heal(struct sim *sim);
void sim_network_cut_pair(struct sim *sim, uint16_t a, uint16_t b); // of two nodes, both ways
void sim_network_lose_promises(struct sim *sim, uint32_t group, uint64_t for_us);
void sim_network_isolate(struct sim *sim, uint16_t node);

#endif
