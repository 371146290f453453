// A stopped node's data folder, without the node: the state of its shards at the end of what is
// known to be chosen, written into a snapshot file.
//
// It is read by the code that a node starts with (recovery.h): checkpoints, or else what the
// cluster began with, and then the log. But nothing is made, moved or removed in the folder, and
// what a node that starts would settle with the others stays open here: entries that the log holds
// and nothing in it proves to be chosen are left out, and counted.
//
// One thread calls, and runs until the end.
#ifndef MF_SERVER_OFFLINE_H
#define MF_SERVER_OFFLINE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "snapshot/writer.h"

enum mf_offline_phase { MF_OFFLINE_CHECKPOINTS, MF_OFFLINE_LOG, MF_OFFLINE_WRITING };

struct mf_offline {
    const char *data_dir;
    uint32_t threads; // that read, 1 to MF_THREADS_MAX
    // Called now and then on the calling thread: done of all, shards or bytes. NULL is fine.
    void (*progress)(void *arg, enum mf_offline_phase phase, uint64_t done, uint64_t all);
    void *arg;
};
void mf_offline_tell(const struct mf_offline *offline, enum mf_offline_phase phase, uint64_t done,
                     uint64_t all);

struct mf_offline_result {
    uint32_t node;        // whose folder it is
    uint32_t shard_count; // of the cluster; the node may have copies of fewer
    uint64_t left_out;    // entries that are not known to be chosen
    struct mf_snapshot_totals totals;
};

// Writes the file at `path` (snapshot/writer.h). With a message: MF_BAD_REQUEST when there is no
// folder of a node that has run, or when it is in use; MF_CORRUPT for damage, named; MF_IO,
// MF_OUT_OF_MEMORY. What is at `path` is then as it was.
MF_MUST_USE enum mf_err mf_offline_dump(const struct mf_offline *offline, const char *path,
                                        struct mf_offline_result *result, char *message,
                                        size_t message_size);

#endif
