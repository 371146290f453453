// Brings each group's copies to the places that the roster wishes for them.
//
// One for each reactor, for the shards that it owns. The leader of a group moves it: it lets those
// who have come learn and then vote, one voter at a time (mf_replica_reconfigure), hands the group
// over when it has no place in it itself, and then drops those who have none. Few groups of a
// reactor are on their way at once. A group is left alone while one of its places is on a node that
// is down and has no vote yet: nobody goes before all have come.
//
// A leader also tells all nodes of its group's configuration, once that is in force and the ones
// before are not needed any more: so nodes learn that they have a copy to make or to give up, and,
// without a copy, where there are some. It is told again with every new link and every new leader,
// and a learner again and again.
//
// Everything runs on the reactor's own thread, unless it says otherwise.
#ifndef MF_SERVER_PLACER_H
#define MF_SERVER_PLACER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "rpc/peer_frame.h"
#include "server/reactor.h"

struct mf_placer *mf_placer_new(struct mf_reactor *reactor);
void mf_placer_free(struct mf_placer *placer);

// Every few tens of milliseconds; wake lets the next one look at everything.
void mf_placer_tick(struct mf_reactor *reactor);
void mf_placer_wake(struct mf_reactor *reactor);
// The link to a node is new.
void mf_placer_link_up(struct mf_reactor *reactor, uint16_t node);
// Any reactor: a MF_PEER_PLACES item from the leader of a group. MF_CORRUPT when it is none.
MF_MUST_USE enum mf_err mf_placer_heard(struct mf_reactor *reactor, uint32_t member,
                                        uint64_t incarnation, const struct mf_peer_item *item);
// A turn of the shard's replica has ended: its copies, as its configuration says.
void mf_placer_publish(struct mf_owned_shard *shard);
// This node has no place in the group, which is to be led by one that has.
bool mf_placer_evicts(const struct mf_owned_shard *shard);

// Any thread. No known configuration names the node, and it has no copy or is down.
bool mf_placer_is_free(struct mf_node *node, uint16_t id);
// Reactor's thread. How many shards are not where the roster wishes them, or not known to be.
uint32_t mf_placer_misplaced(const struct mf_reactor *reactor);

#endif
