// What operators ask of a node: the cluster's layout, counters, a snapshot.
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

#endif
