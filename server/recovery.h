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

// The shard gets a replica that has nothing yet, in the configuration of its `base`. On its
// reactor's thread.
struct mf_owned_shard;
void mf_recover_make_blank(struct mf_owned_shard *shard);
// What the cluster was to begin with is not what it began with: the states that wait for replicas
// go. On the reactor's thread.
void mf_recover_forget_first(struct mf_reactor *reactor);
// The node is formed now: makes the reactor's replicas. On its thread.
void mf_recover_formed(struct mf_reactor *reactor);

#endif
