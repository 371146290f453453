// What operators ask of a node: the cluster's layout, counters, a snapshot, other leaders.
//
// Results are packed as MessagePack already; every protocol can carry or translate them.
#ifndef MF_SERVER_ADMIN_H
#define MF_SERVER_ADMIN_H

#include "base/bytes.h"
#include "base/err.h"
#include "server/reactor.h"

// On the reactor that asked, possibly before the call returns. message: for errors. The view lives
// during the call.
typedef void mf_admin_done(void *arg, enum mf_err err, const char *message, struct mf_bytes packed);

void mf_admin_cluster(struct mf_reactor *reactor, mf_admin_done *done, void *arg);
void mf_admin_stats(struct mf_reactor *reactor, mf_admin_done *done, void *arg);
// name: checked by the protocol. MF_BUSY while another snapshot is being written.
void mf_admin_snapshot(struct mf_reactor *reactor, struct mf_bytes name, mf_admin_done *done,
                       void *arg);
// The node is to lead the shard, or nothing, see mover.h; true when it is so. MF_BAD_REQUEST for an
// unknown shard or node, or one that has no vote in the shard; MF_NO_QUORUM when it does not come
// about in limits.request_timeout. undo: a drained node may lead again.
void mf_admin_transfer(struct mf_reactor *reactor, uint32_t shard, uint32_t node,
                       mf_admin_done *done, void *arg);
void mf_admin_drain(struct mf_reactor *reactor, uint32_t node, bool undo, mf_admin_done *done,
                    void *arg);

#endif
