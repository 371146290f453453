// Bringing a node's replicas back: from each shard's checkpoint, or else the genesis snapshot, if
// there is one, and then the WAL. A log with a hole behind the checkpoint is damage.
#ifndef MF_SERVER_RECOVERY_H
#define MF_SERVER_RECOVERY_H

#include "base/err.h"
#include "server/node.h"

// Before the reactors run: makes the replica of every shard that this node holds, on its reactor,
// or loads the state that it will begin with when the cluster is not formed yet. A log that is gone
// or damaged is moved aside, and the node begins empty under a new memory, if others have the data.
// MF_CORRUPT, MF_IO or MF_BAD_REQUEST with a message for the operator.
MF_MUST_USE enum mf_err mf_recover(struct mf_node *node, char *message, size_t message_size);

// The node is formed now: makes the reactor's replicas. On its thread.
void mf_recover_formed(struct mf_reactor *reactor);

#endif
