// The first state of a node: a snapshot file in its data folder from which a new cluster starts.
#ifndef MF_SNAPSHOT_GENESIS_H
#define MF_SNAPSHOT_GENESIS_H

#include <stdbool.h>

#include "snapshot/reshard.h"

// The file's name in the data folder.
#define MF_GENESIS_FILE "genesis.mfs"

// What a file is made under that is to take the place of data.
#define MF_GENESIS_NEW MF_GENESIS_FILE ".new"

struct mf_snapshot_genesis {
    const char *data_dir;
    const char *cluster; // the new one's name
    uint32_t shard_count;
    enum mf_snapshot_ttl ttl;
    bool force;
    struct mf_snapshot_reading reading;
};

// Re-shards the source into genesis.mfs of data_dir, which is created with the folders above it
// where they are missing. MF_BAD_REQUEST when the folder already has data (genesis.mfs, node.meta,
// or anything in wal/), or somebody uses it; MF_CORRUPT when the source is damaged. In these cases
// nothing is written. With `force` such data is moved aside, to NAME.replaced-TIME, once the new
// file is whole. *ids_left_out: how many remembered ids the source had.
//
// Wherever it is ended, by a loss of power too, either genesis.mfs is there and whole and what is
// still beside it keeps a node from starting, or the folder is as it was, apart from unfinished
// files, which the next call or start removes.
MF_MUST_USE enum mf_err mf_snapshot_write_genesis(struct mf_snapshot_reader *source,
                                                  const struct mf_snapshot_genesis *genesis,
                                                  struct mf_snapshot_totals *totals,
                                                  uint64_t *ids_left_out, char *message,
                                                  size_t message_size);

// Removes what calls that were ended have left unfinished. The caller holds the folder's lock.
// MF_IO with a message when something stays, which takes room and is in nobody's way.
MF_MUST_USE enum mf_err mf_snapshot_tidy_genesis(const char *data_dir, char *message,
                                                 size_t message_size);

#endif
