// A node's copies of shards: which it has when it starts, how it gets one while it runs, and how it
// gives one up.
//
// A copy that is made while the node runs is blank: whatever it will be comes from a checkpoint
// that another node streams, and before it has that it promises and accepts nothing. So what has
// ever voted here has a checkpoint. A copy is given up when a configuration without it is in force
// and the ones before are not needed any more, and nothing was accepted in a later one.
//
// An acceptor is (node, incarnation), and a node's incarnation is one for all its groups: a second
// copy of a shard is the same acceptor as the first one. So what the first has promised must not be
// forgotten with it. Before a copy's checkpoint and log go, DATA_DIR/checkpoints/SHARD.left says
// so, durably, with the promise; the next copy begins with that promise. What it had accepted need
// not be kept: the configuration that dropped it is chosen, and in its slot and below all is chosen
// and known to a majority of those that came after; behind it, it had no vote. But it must not vote
// in the configurations before that one again: it takes no checkpoint that is older.
//
//   mayfly-left 1            one line each
//   promise = 2.1            the ballot: round.node
//   slot = 812               the log had been applied up to here: marks up to it mean nothing now
//   floor = 805              the slot of the configuration that dropped it
//   state = gone             gone: it has no copy. back: it has another, with a checkpoint
//
// At the start a node has a copy of what has a checkpoint, and of what it began the cluster with,
// but for what is gone.
#ifndef MF_SERVER_COPIES_H
#define MF_SERVER_COPIES_H

#include "base/err.h"
#include "consensus/members.h"
#include "server/reactor.h"

// The file's text. MF_CORRUPT for anything but what format writes.
#define MF_LEFT_TEXT_BYTES 192
void mf_left_format(const struct mf_left *left, char text[MF_LEFT_TEXT_BYTES]);
MF_MUST_USE enum mf_err mf_left_parse(const char *text, struct mf_left *left);

// Before the reactors run: reads what is left of the shard's former copy, and removes a checkpoint
// that came too late. MF_IO or MF_CORRUPT with a message.
MF_MUST_USE enum mf_err mf_copies_load_left(struct mf_node *node, uint32_t shard,
                                            struct mf_left *left, char *message, size_t size);
// The node is to have a copy of the shard when it starts, or when the cluster is formed: apart from
// what a checkpoint says.
bool mf_copies_begins_with(const struct mf_node *node, uint32_t shard);

// True when this node was told, of the configuration at places->retire_slot, that it has no place,
// and the copy with this core knows no later one and may be given up: see mf_paxos_may_leave.
bool mf_copies_may_go(const struct mf_places *places, const struct mf_paxos *paxos);
// What is left of it then; `before`: of the copy before it.
struct mf_left mf_copies_left_of(const struct mf_places *places, const struct mf_paxos *paxos,
                                 const struct mf_left *before);

// On the worker: the shard's copy has a checkpoint now. MF_IO with a message.
MF_MUST_USE enum mf_err mf_copies_back(const struct mf_node *node, uint32_t shard, char *message,
                                       size_t size);

// The shard's reactor. Makes a blank replica in this configuration.
void mf_copies_make(struct mf_owned_shard *shard, const struct mf_members *members);
// Gives the shard's replica up, if nobody uses it just now; else asks to be called again.
MF_MUST_USE bool mf_copies_give_up(struct mf_owned_shard *shard);
// The promise and mark of a copy that is gone, again, for a WAL that is about to lose them.
void mf_copies_restate(struct mf_owned_shard *shard);

#endif
