// Bringing a node's replicas back: from each shard's checkpoint, or else the genesis snapshot, if
// there is one, and then the WAL. A log with a hole behind the checkpoint is damage.
#ifndef MF_SERVER_RECOVERY_H
#define MF_SERVER_RECOVERY_H

#include "base/err.h"
#include "server/node.h"

struct mf_reactor;

// Before the reactors run: makes the replica of every shard that this node holds, on its reactor,
// or loads the state that it will begin with when the cluster is not formed yet. A log that is gone
// or damaged is moved aside, and the node begins empty under a new memory, if others have the data.
// MF_CORRUPT, MF_IO or MF_BAD_REQUEST with a message for the operator.
MF_MUST_USE enum mf_err mf_recover(struct mf_node *node, char *message, size_t message_size);

// The same for a node that nobody runs (node->offline): nothing is moved, made or removed. A
// replica has then applied what its node can prove to be chosen: what a mark or a checkpoint says,
// and whatever is in the log of a group that has always had this one voter. MF_CORRUPT for damage.
MF_MUST_USE enum mf_err mf_recover_offline(struct mf_node *node, char *message,
                                           size_t message_size);
// An orderly end, when the reactor's thread has ended and before its WAL is closed: the next start,
// or who reads the folder meanwhile, is to know all that was chosen.
void mf_recover_note_ends(struct mf_reactor *reactor);
// Frees the replicas and states of all shards.
void mf_recover_drop(struct mf_node *node);

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
