// Moves leadership: on request, back to where it belongs, and away from a node that is to stop.
//
// One for each reactor, for the shards that it owns; server/balance.h has the policy. While the
// node is stopping or draining everything is handed over at once; otherwise a few shards at a time
// move to the first of their members. Everything runs on the reactor's own thread.
#ifndef MF_SERVER_MOVER_H
#define MF_SERVER_MOVER_H

#include <stdbool.h>
#include <stdint.h>

#include "server/op.h"
#include "server/reactor.h"

struct mf_mover;
struct mf_mover *mf_mover_new(struct mf_reactor *reactor);
void mf_mover_free(struct mf_mover *mover); // ops still held end as MF_SHUTTING_DOWN

// Starts and ends hand-overs, and answers ops that wait for one; call every few tens of
// milliseconds.
void mf_mover_tick(struct mf_mover *mover);
// A TRANSFER, at the replica that leads or is asked as if it did. Its outcome is true once op->node
// leads here, MF_NOT_LEADER when another node leads, MF_BAD_REQUEST when op->node is no voter of
// the group, MF_NO_QUORUM when it has not become the leader in time.
void mf_mover_transfer(struct mf_owned_shard *shard, struct mf_op *op);
// A DRAIN of this node. Its outcome is true once the node leads nothing, MF_NO_QUORUM when that is
// not so in time: the node goes on trying. With op->undo true at once.
void mf_mover_drain(struct mf_mover *mover, struct mf_op *op);
// The shard's replica is about to go: TRANSFERs that wait there look for another node.
void mf_mover_drop(struct mf_owned_shard *shard);
// While the node is stopping or draining: nothing of this reactor's is left that another node could
// take, and all that was handed over has a leader. As of the last tick.
bool mf_mover_done(const struct mf_mover *mover);

#endif
