// Checkpoints: for each shard of this node a snapshot of its own, DATA_DIR/checkpoints/SHARD.mfs,
// that stands in for the shard's log. A node starts from it, its log is cut below it, in memory and
// on disk, and a follower that is too far behind for the log gets it.
//
// One shard of a node at a time is written, by a thread that sleeps while nobody asks. A shard asks
// when its log has grown by more than it is worth to keep (grown_bytes_min, and half of the shard's
// own bytes), or when the whole log has and this shard holds its oldest file; so does the thread
// itself for such a shard when the disk runs low (server/checkpoint_room.h). Without a WAL the
// file is written without syncs: it bounds the log in memory, and is removed at the next start.
//
// Order: synced and renamed, the folder synced, only then is the log cut. A crash in between leaves
// a log with more than is needed. What cannot be written is logged and tried again later.
#ifndef MF_SERVER_CHECKPOINT_H
#define MF_SERVER_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "consensus/members.h"
#include "server/node.h"
#include "shards/shard.h"

struct mf_owned_shard;
struct mf_reactor;

struct mf_checkpoint_info {
    uint64_t slot; // of the last entry in it
    uint64_t log_time_us;
    uint64_t wall_us; // when the log clock read that
    uint64_t bytes;   // of the file
    uint64_t identity;
};

// checkpoint_file.c: the files. Any thread, and none that must not wait for a disk.

#define MF_CHECKPOINT_PATH_BYTES 4400
void mf_checkpoint_path(const struct mf_node *node, uint32_t shard, char *path, size_t size);
// At the start: makes the folder, removes what was not finished (without a WAL: all), and makes
// durable what is there. MF_IO with a message.
MF_MUST_USE enum mf_err mf_checkpoint_prepare(const struct mf_node *node, char *message,
                                              size_t message_size);
// Loads the shard's checkpoint. *state is NULL when there is none; members->voter_count is 0 when
// the file carries no configuration. MF_CORRUPT, MF_IO or MF_OUT_OF_MEMORY with a message that
// names the file.
MF_MUST_USE enum mf_err mf_checkpoint_load(const struct mf_node *node, uint32_t shard,
                                           struct mf_shard **state, struct mf_members *members,
                                           struct mf_checkpoint_info *info, char *message,
                                           size_t message_size);
// The same with a file at any path; MF_IO when there is none.
MF_MUST_USE enum mf_err mf_checkpoint_load_file(const struct mf_node *node, uint32_t shard,
                                                const char *path, struct mf_shard **state,
                                                struct mf_members *members,
                                                struct mf_checkpoint_info *info, char *message,
                                                size_t message_size);
// Takes over a checkpoint that another node has sent, at `received` in the same file system:
// verifies all of it, syncs it, and gives it its place, after which it may stand in for the log
// (mf_checkpoint_adopted). MF_CORRUPT when it is damaged or not of this shard and cluster, MF_AGAIN
// when ours is as new, MF_IO. The received file is gone on MF_OK only.
MF_MUST_USE enum mf_err mf_checkpoint_adopt(struct mf_node *node, uint32_t shard,
                                            const char *received, struct mf_checkpoint_info *info,
                                            char *message, size_t message_size);

// checkpoint.c: when they are written.

struct mf_checkpointer *mf_checkpointer_new(struct mf_node *node);
// Starts the thread. MF_IO.
MF_MUST_USE enum mf_err mf_checkpointer_start(struct mf_checkpointer *checkpointer);
// When the reactors' threads have ended: gives up what is being written.
void mf_checkpointer_stop(struct mf_checkpointer *checkpointer);
void mf_checkpointer_free(struct mf_checkpointer *checkpointer);

// Any thread: the shard's durable checkpoint; false when there is none. Without a WAL it is only
// as durable as all the rest.
bool mf_checkpoint_info(const struct mf_node *node, uint32_t shard, struct mf_checkpoint_info *out);
// The file in the shard's place is this one; NULL: there is none. Holding the files: see
// mf_checkpoint_files_lock.
void mf_checkpoint_set_info(struct mf_node *node, uint32_t shard,
                            const struct mf_checkpoint_info *info);
// Whoever replaces a checkpoint's file holds this, from comparing the old one's slot to the new
// info: a newer file is never replaced by an older one. Never on a reactor.
void mf_checkpoint_files_lock(struct mf_node *node);
void mf_checkpoint_files_unlock(struct mf_node *node);

// Any thread: one is to be written soon, whatever has grown.
void mf_checkpoint_request(struct mf_node *node, uint32_t shard);
// The shard's reactor: one was asked for, and has not come to its end here.
bool mf_checkpoint_is_due(const struct mf_node *node, uint32_t shard);

// What a shard's owner keeps for this.
struct mf_checkpoint_need {
    uint64_t log_bytes;     // applied since the last checkpoint was cut
    uint64_t cut_log_bytes; // of them, when the one that is being written was asked for
    uint64_t not_before_us; // after a failure
};

// The shard's reactor.
// An entry was applied whose payload has so many bytes.
void mf_checkpoint_applied(struct mf_owned_shard *shard, uint64_t bytes);
// Once a turn of the shard: asks for a checkpoint when it is worth one.
void mf_checkpoint_consider(struct mf_owned_shard *shard, uint64_t now_us);
// A checkpoint that was adopted has been installed into the replica: the log may go.
void mf_checkpoint_adopted(struct mf_owned_shard *shard, uint64_t slot);
// Every reactor, now and then: keeps the log's files few.
void mf_checkpoint_sweep(struct mf_reactor *reactor);

// The first of the two limits in bytes, for this shard size; grown_bytes_min is 16 MiB in a node.
uint64_t mf_checkpoint_growth_max(uint64_t grown_bytes_min, uint64_t shard_bytes);
// The oldest slot to keep in memory below a checkpoint at `slot`: followers that lag a little are
// served from the log.
struct mf_paxos;
uint64_t mf_checkpoint_tail(const struct mf_paxos *paxos, uint64_t slot);

#endif
