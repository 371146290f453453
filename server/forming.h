// The first formation of the cluster, on the node's links: asks the others how far they are, keeps
// what is decided (consensus/formation.h) in node.meta, and makes the replicas once the node may
// vote. Also watches over the memories of all nodes, and says when a majority has lost its own.
//
// Reactor 0 decides and writes; the other reactors pass on what they hear.
#ifndef MF_SERVER_FORMING_H
#define MF_SERVER_FORMING_H

#include "base/bytes.h"
#include "base/err.h"
#include "server/reactor.h"

struct mf_forming;

// When node->state is known, before the reactors run.
struct mf_forming *mf_forming_new(struct mf_node *node);
void mf_forming_free(struct mf_forming *forming);

// Any reactor: a MF_PEER_STATE item has come from the process `incarnation` of a member.
// MF_CORRUPT for one that is none.
MF_MUST_USE enum mf_err mf_forming_heard(struct mf_reactor *reactor, uint32_t member,
                                         uint64_t incarnation, struct mf_bytes item);
// Reactor 0: its link to a member stands.
void mf_forming_link_up(struct mf_reactor *reactor, uint32_t member);
// Reactor 0: a roster that names this node has come from a member, so the cluster is formed.
void mf_forming_admitted(struct mf_reactor *reactor);
// Each reactor, every sweep.
void mf_forming_tick(struct mf_reactor *reactor);

#endif
