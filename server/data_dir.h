// The data folder: whose it is, that nobody else uses it, and what the cluster in it began with.
//
//   lock         held (flock) while a node runs on the folder
//   node.meta    node id, cluster, shards, members, ... as they were when the folder was first used
//   genesis.mfs  the snapshot that every node of the cluster began with, if it began with one
//   wal/         the write-ahead log
//   checkpoints/ what stands in for the log's older part, a snapshot file for each shard
//   snapshots/   on-demand snapshots, unless snapshot.dir says otherwise
#ifndef MF_SERVER_DATA_DIR_H
#define MF_SERVER_DATA_DIR_H

#include "base/err.h"
#include "server/node.h"

// Creates the folder if need be, locks it, and checks node.meta, if there is one, against the
// configuration. Sets node->genesis, node->may_vote and node->fresh. MF_IO or MF_BAD_REQUEST with a
// message for the operator. The lock lives until the process ends.
MF_MUST_USE enum mf_err mf_data_dir_open(struct mf_node *node, char *message, size_t message_size);

// Writes node.meta into a fresh folder, once the WAL stands and before anything is promised: from
// then on a folder without a WAL has lost it.
MF_MUST_USE enum mf_err mf_data_dir_claim(struct mf_node *node, char *message, size_t message_size);

#endif
