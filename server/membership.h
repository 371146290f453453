// The roster on its way: from the log of shard 0, or from another node, to this node's disk and all
// its reactors, and on to whoever has an older one.
//
// Reactor 0 does it. A newer roster is made durable first (DATA_DIR/roster), its addresses are
// looked up, both by the worker; then the members are brought up to it and every reactor is told.
// Frames say which version their sender has. Who hears of an older one than its own sends its own.
//
// What holds:
//   R1  A node's roster never gets older, restarts included.
//   R2  A node that is not formed goes by its configuration, until a member sends it a roster that
//       names it. Only then may it become a member, so nobody forms a second cluster beside this.
//   R3  A node that leaves is dropped only when the newest known configuration of no group names
//       it, and it holds nothing, or is down.
// None of this is needed for safety: who votes in a group is in the group's own log.
#ifndef MF_SERVER_MEMBERSHIP_H
#define MF_SERVER_MEMBERSHIP_H

#include "base/bytes.h"
#include "base/err.h"
#include "server/reactor.h"
#include "server/roster.h"

// Before the reactors run. Reads DATA_DIR/roster: node->roster is what is there, or else version 1,
// from the configuration. MF_CORRUPT or MF_IO with a message.
MF_MUST_USE enum mf_err mf_membership_load(struct mf_node *node, char *message, size_t size);

struct mf_membership *mf_membership_new(struct mf_node *node);
void mf_membership_free(struct mf_membership *membership);

// Any reactor: a MF_PEER_ROSTER item has come from a member. MF_CORRUPT for one that is none.
MF_MUST_USE enum mf_err mf_membership_heard(struct mf_reactor *reactor, struct mf_bytes item);
// Reactor 0, every sweep.
void mf_membership_tick(struct mf_reactor *reactor);

// Any reactor: proposes a successor of the roster that the reactor has. done gets true when it has
// been taken, false when another one was first.
typedef void mf_membership_done(void *arg, enum mf_err err, bool taken);
void mf_membership_propose(struct mf_reactor *reactor, const struct mf_roster *roster,
                           mf_membership_done *done, void *arg);

#endif
