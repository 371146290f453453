// Snapshots on demand: every shard this node holds, each cut at one log position, into one file.
//
// One at a time for a node. A thread of its own owns the file; the shards' owners walk their maps
// in small steps between commands and hand over records in chunks, at most a few ahead of the
// disk. Shards are cut one after the other, each once our replica has applied what its leader had
// applied when its turn came: what was acknowledged before the request is in the file. Without a
// leader that answers there is none (MF_NO_QUORUM).
#ifndef MF_SERVER_SNAPSHOTTER_H
#define MF_SERVER_SNAPSHOTTER_H

#include "server/admin.h"
#include "server/node.h"

struct mf_snapshotter *mf_snapshotter_new(struct mf_node *node);
// On a reactor. done is called there; packed: {path, keys, bytes, shards, seconds}.
void mf_snapshotter_start(struct mf_snapshotter *snapshotter, struct mf_reactor *reactor,
                          struct mf_bytes name, mf_admin_done *done, void *arg);
// Any thread.
struct mf_snapshotter_stats {
    uint64_t begun_us;     // monotonic: of the one that is being written; 0 = none is
    uint64_t saved_unix_s; // when the last one was finished; 0 = none since the start
    uint64_t saved;        // how many were
    uint64_t took_us;      // the last one that was
    bool failed;           // the last one
};
void mf_snapshotter_stats(const struct mf_snapshotter *snapshotter,
                          struct mf_snapshotter_stats *stats);
// When the reactors' threads have ended: gives up what is being written.
void mf_snapshotter_stop(struct mf_snapshotter *snapshotter);
void mf_snapshotter_free(struct mf_snapshotter *snapshotter);

#endif
