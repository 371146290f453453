// The first state of a node: a snapshot file in its data folder from which a new cluster starts.
#ifndef MF_SNAPSHOT_GENESIS_H
#define MF_SNAPSHOT_GENESIS_H

#include "snapshot/reshard.h"

// The file's name in the data folder.
#define MF_GENESIS_FILE "genesis.mfs"

// Re-shards the source into genesis.mfs of data_dir, which is created with the folders above it
// where they are missing. MF_BAD_REQUEST when the folder already has data (genesis.mfs, node.meta,
// or anything in wal/); MF_CORRUPT when the source is damaged. In both cases nothing is written.
// With `force` such data is moved aside, to NAME.replaced-TIME, once the new file is whole; nobody
// may be using the folder (MF_BAD_REQUEST). *ids_left_out: how many remembered ids the source had.
MF_MUST_USE enum mf_err mf_snapshot_write_genesis(struct mf_snapshot_reader *source,
                                                  const char *data_dir, const char *cluster,
                                                  uint32_t shard_count, enum mf_snapshot_ttl ttl,
                                                  bool force, struct mf_snapshot_totals *totals,
                                                  uint64_t *ids_left_out, char *message,
                                                  size_t message_size);

#endif
