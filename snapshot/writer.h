// Writes a snapshot file: aside, synced, renamed, folder synced, in that order.
//
// The caller gives records shard by shard or interleaved; blocks are compressed and written by the
// calling thread, so a reactor hands its records to a thread that owns the writer. One thread.
// Equal calls give equal bytes. A shard between its begin and its end holds up to two blocks in
// memory; blocks become smaller when so many shards are open that this would pass 512 MB.
//
// The first failure stays: what follows returns it again and does nothing, mf_snapshot_why tells
// it, and only mf_snapshot_commit or mf_snapshot_abort end the writer.
#ifndef MF_SNAPSHOT_WRITER_H
#define MF_SNAPSHOT_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "shards/shard.h"

struct mf_snapshot_writer;

struct mf_snapshot_info {
    const char *cluster;  // name, at most 255 bytes
    uint32_t shard_count; // of the whole cluster, 1..16384
    uint64_t created_us;  // Unix time
    bool no_sync;         // the file is of no use after a loss of power, and is not synced
};

// Creates `path`.tmp-<pid>, so one process has one writer for a path at a time. MF_IO with a
// message when it cannot.
MF_MUST_USE enum mf_err mf_snapshot_create(const char *path, const struct mf_snapshot_info *info,
                                           struct mf_snapshot_writer **out, char *message,
                                           size_t message_size);
// Announces a shard: its meta, and the wall clock at the moment of the cut, by which its log time
// is turned into absolute time elsewhere. Once per shard, before its records.
MF_MUST_USE enum mf_err mf_snapshot_begin_shard(struct mf_snapshot_writer *writer, uint32_t shard,
                                                const struct mf_shard_meta *meta, uint64_t wall_us);
// Between begin and end: what the section carries of the group's configuration, copied; at most
// MF_SNAPSHOT_MEMBERS_MAX bytes.
void mf_snapshot_set_members(struct mf_snapshot_writer *writer, uint32_t shard,
                             struct mf_bytes members);
// Copies the record into the shard's current block. MF_CORRUPT for a record that a reader would
// refuse: a key of another shard, an empty key, an id over MF_ID_MAX, a version of 0 or above the
// meta's.
MF_MUST_USE enum mf_err mf_snapshot_put(struct mf_snapshot_writer *writer, uint32_t shard,
                                        const struct mf_record *record);
// Between begin and end, for a shard whose content was not known when it began: its counts and its
// version counter become those of the records put so far. It began with a counter of UINT64_MAX.
void mf_snapshot_settle(struct mf_snapshot_writer *writer, uint32_t shard);
// MF_CORRUPT when the number of records is not what meta said.
MF_MUST_USE enum mf_err mf_snapshot_end_shard(struct mf_snapshot_writer *writer, uint32_t shard);

// What the first failure was, in words; empty while there is none. Valid until the writer ends.
const char *mf_snapshot_why(const struct mf_snapshot_writer *writer);

struct mf_snapshot_totals {
    uint64_t shards;
    uint64_t keys;
    uint64_t ids;
    uint64_t bytes;    // of the file
    uint64_t identity; // as struct mf_snapshot_summary has it
};
// Footer, fsync, rename to `path`, fsync of the folder; frees the writer. Every shard begun must
// have been ended; totals may be NULL. On failure the temporary file is removed, `path` is as it
// was, and message tells why. One failure comes later: when the folder cannot be synced, `path`
// already is the new file, whole, but a power loss may bring the old one back.
MF_MUST_USE enum mf_err mf_snapshot_commit(struct mf_snapshot_writer *writer,
                                           struct mf_snapshot_totals *totals, char *message,
                                           size_t message_size);
// Removes the temporary file and frees the writer.
void mf_snapshot_abort(struct mf_snapshot_writer *writer);

#endif
