// Links to the other nodes: one outgoing link per peer and reactor, and whatever comes in.
//
// All that a reactor's replicas want to tell one peer in a turn leaves as one frame. Messages to a
// peer that cannot be reached are dropped: Paxos sends again, and forwarded ops are watched by the
// router. Also the node's liveness: a member that is silent for lease_ms, or whose process is a new
// one, is suspected on every reactor.
//
// And the leases between nodes (consensus/lease.h). Reactor 0 asks for them in the rhythm of
// heartbeats, whichever reactor takes the frame grants and answers in the same turn, and whichever
// takes the answer notes it; when its token is a new one, every replica asks that node again.
//
// Everything here runs on the reactor's own thread.
#ifndef MF_SERVER_LINKS_H
#define MF_SERVER_LINKS_H

#include <stdbool.h>
#include <stdint.h>

#include "consensus/paxos_msg.h"
#include "rpc/peer_frame.h"
#include "server/op.h"
#include "server/reactor.h"

// Callers on the peer port that may be greeting at once, of a reactor: with one more, the one that
// has been at it for longest is dropped. A node takes a round trip for it, so a crowd of strangers
// that say nothing does not keep nodes out.
#define MF_LINKS_GREETING_MAX 128u

struct mf_links *mf_links_new(struct mf_reactor *reactor);
void mf_links_free(struct mf_links *links);
// Takes over a connection that came in on the peer port.
void mf_links_accepted(struct mf_links *links, int fd);
// Starts connecting, reconnecting and heartbeats; call about every half heartbeat.
void mf_links_tick(struct mf_links *links);
// End of turn: hands each peer's frame to its connection.
void mf_links_flush(struct mf_links *links);

void mf_links_send_paxos(struct mf_links *links, uint32_t shard, const struct mf_paxos_msg *msg);
// Returns the incarnation of the process that gets it; 0 when the node cannot be reached now. The
// op stays the caller's.
uint64_t mf_links_send_forward(struct mf_links *links, uint16_t node, const struct mf_op *op,
                               uint64_t id);
// Sends the outcome to the node that asked, and frees the op. A large one waits until little is
// unsent on the link, so that it holds up neither heartbeats nor the small answers of others.
void mf_links_send_reply(struct mf_links *links, struct mf_op *op);
// What reactor 0 tells of the formation; dropped when the node cannot be reached now.
void mf_links_send_state(struct mf_links *links, uint32_t member,
                         const struct mf_peer_state *state);
// True of what this process of a member has sent, as long as no later process has greeted us. It is
// asked where the words take effect: a reactor that has been told of a process gets nothing, from
// other reactors either, of the one before it.
static inline bool mf_links_is_current(const struct mf_node *node, uint32_t member,
                                       uint64_t incarnation)
{
    // Sequentially consistent, pairs with the exchange in on_hello: the notice of the next process
    // is sent after that.
    return atomic_load(&node->members[member].incarnation) == incarnation;
}
// Another node's acceptor, as this process of it says: every reactor's replicas are told when it is
// another one than before. A process has none (0) until it knows which, and keeps the one it has:
// what it said before that may come later over another link, and is no news.
void mf_links_learn_memory(struct mf_reactor *reactor, uint32_t member, uint64_t incarnation,
                           uint64_t memory);
// The replicas of this reactor are new: tells them of every node that can be reached.
void mf_links_introduce(struct mf_links *links);
// The same for one replica that is new.
void mf_links_introduce_to(struct mf_links *links, struct mf_owned_shard *shard);

// An item of one of the kinds of peer_snapshot.h. False when the node cannot be reached now. A bulk
// item needs room too: little unsent on the link, and no other in this turn.
bool mf_links_send_item(struct mf_links *links, uint16_t node, enum mf_peer_item_kind kind,
                        uint32_t shard, struct mf_bytes content, bool bulk);
bool mf_links_bulk_room(struct mf_links *links, uint16_t node);
// A link to the member stands.
bool mf_links_reaches(const struct mf_links *links, uint32_t member);
// It does, to this process (0: to any), and less than that is unsent on it.
bool mf_links_has_room(const struct mf_links *links, uint32_t member, uint64_t incarnation,
                       size_t unsent_bytes_max);

// See struct mf_replica_ops.
uint64_t mf_links_node_mono_us(struct mf_links *links, uint16_t node, uint64_t now_us);
// The leases between this node and another, as struct mf_replica_ops has them. A node is never
// bound to itself, and supports itself for good (MF_SELF_TOKEN, until UINT64_MAX): its replica
// stops leading in the step in which its own acceptor promises another ballot. To a node that is
// no member it is bound as long as a process before this one may have granted it something.
bool mf_links_bound(struct mf_links *links, uint16_t node, uint64_t now_us);
bool mf_links_withdraw(struct mf_links *links, uint16_t node, uint64_t now_us);
uint64_t mf_links_support(struct mf_links *links, uint16_t node);
uint64_t mf_links_held_until(struct mf_links *links, uint16_t node, uint64_t token);

#endif
