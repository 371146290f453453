// Bringing a node's replicas back: from each shard's checkpoint, or else the genesis snapshot, if
// there is one, and then the WAL. A log with a hole behind the checkpoint is damage.
#ifndef MF_SERVER_RECOVERY_H
#define MF_SERVER_RECOVERY_H

#include "base/err.h"
#include "server/node.h"

// Before the reactors run: makes the replica of every shard that this node holds, on its reactor.
// MF_CORRUPT, MF_IO or MF_BAD_REQUEST with a message for the operator.
MF_MUST_USE enum mf_err mf_recover(struct mf_node *node, char *message, size_t message_size);

#endif
