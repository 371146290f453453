// Snapshots of a group at a node: made, kept, loaded at a start, and sent to a node that needs what
// the log has no more.
//
// A snapshot is the records of a walk over the shard, in memory. It is durable some time after it
// was made; only then is the log below it cut. A sender sends one chunk at a time, and the next one
// when that is taken; what is lost is sent again when the receiver asks its leader again.
#ifndef MF_SIM_SNAPSHOTS_H
#define MF_SIM_SNAPSHOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "consensus/members.h"
#include "plan.h"
#include "shards/shard.h"

struct sim_node;
struct sim_frame;

struct sim_snapshot {
    struct mf_shard_meta meta; // applied 0: there is none
    struct mf_members members;
    uint64_t state_hash;
    uint64_t identity; // two nodes' walks have other orders
    struct mf_buf records;
};

struct sim_snapshots {
    struct sim_snapshot kept;     // durable
    struct sim_snapshot writing;  // not yet
    bool installs;                // `writing` came from another node
    struct sim_snapshot incoming; // of which some bytes have come
    uint64_t incoming_us;         // true time of its last chunk
    uint64_t sent[SIM_NODES_MAX]; // to each node: where the newest chunk began
};

// The group's state at a start, and the configuration that goes with it, which is left alone when
// there is no snapshot.
struct mf_shard *sim_snapshots_load(struct sim_node *node, uint32_t group,
                                    struct mf_members *members);
// A process's end; a disk's.
void sim_snapshots_crash(struct sim_node *node);
void sim_snapshots_wipe(struct sim_node *node);
// Those of one group.
void sim_snapshots_drop(struct sim_node *node, uint32_t group);
// Begins to write one of what is applied.
void sim_snapshots_make(struct sim_node *node, uint32_t group);
// Event: what was being written is durable.
void sim_snapshots_written(struct sim_node *node, uint32_t group);
// mf_replica_ops.send_snapshot.
void sim_snapshots_wanted(void *ctx, uint32_t group, struct mf_acceptor to);
// A chunk, or the word that one was taken.
void sim_snapshots_frame(struct sim_node *node, const struct sim_frame *frame);

#endif
