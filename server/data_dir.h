// The data folder: whose it is, that nobody else uses it, and what the cluster in it began with.
//
//   lock         held (flock) while a node runs on the folder
//   node.meta    node id, cluster, shards, members, ... as they were when the folder was first
//   used,
//                and which acceptor's memory this is: node_meta.h
//   roster       the nodes of the cluster, once they are not those of the configuration any more
//   genesis.mfs  the snapshot that every node of the cluster began with, if it began with one
//   wal/         the write-ahead log
//   checkpoints/ what stands in for the log's older part, a snapshot file for each shard
//   snapshots/   on-demand snapshots, unless snapshot.dir says otherwise
#ifndef MF_SERVER_DATA_DIR_H
#define MF_SERVER_DATA_DIR_H

#include "base/err.h"
#include "server/node.h"

// An acceptor is a memory (consensus/members.h). What has voted under an incarnation and may have
// forgotten it goes on under a new random one, as a learner until a configuration admits it:
// mf_data_dir_lost. All of it before and after the reactors run, but for mf_data_dir_enter.

// Creates the folder if need be, locks it, and checks node.meta, if there is one, against the
// configuration. Sets node->roster, genesis, fresh, state and memory, a new one where the old is
// lost.
// MF_IO, MF_CORRUPT or MF_BAD_REQUEST with a message for the operator. The lock lives until the
// process ends.
MF_MUST_USE enum mf_err mf_data_dir_open(struct mf_node *node, char *message, size_t message_size);

// The log is gone or damaged, `why` says how: a new memory, durable when this returns. MF_CORRUPT
// with a message when there is nobody to learn from; MF_IO.
MF_MUST_USE enum mf_err mf_data_dir_lost(struct mf_node *node, const char *why, char *message,
                                         size_t message_size);
// Moves wal and checkpoints aside, to NAME.damaged-TIME, and says so in the log. MF_IO.
MF_MUST_USE enum mf_err mf_data_dir_set_aside(struct mf_node *node, char *message,
                                              size_t message_size);

// Once the WAL stands and before anything is promised: notes in node.meta that the node runs, and
// under which memory. A node that is alone forms here. A fresh one writes nothing.
MF_MUST_USE enum mf_err mf_data_dir_claim(struct mf_node *node, char *message, size_t message_size);
// Reactor 0, at most three times in a node's life: sets state and memory, durably. Waits for the
// disk; nothing is served yet.
MF_MUST_USE enum mf_err mf_data_dir_enter(struct mf_node *node, enum mf_formation_state state,
                                          uint64_t memory, char *message, size_t message_size);
// An orderly end, the WAL is closed: everything is on disk, and node.meta says so.
void mf_data_dir_release(struct mf_node *node);

#endif
