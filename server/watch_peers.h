// Watches that this node keeps for other nodes, which have no copy of the shards in question; the
// side of those is watch_relay.h.
//
// To the owners of shards another node's home is a home like those here: it has an outbox, and one
// copy of an event for all its watches. What is in the outbox goes onto the link in pieces, while
// little is unsent there and not too much unacknowledged, so it delays neither heartbeats nor
// Paxos; beyond a bound watches are lost.
//
// Nothing goes missing unseen. Orders are numbered, and news say at which byte of all that was sent
// they begin; whoever finds that something is missing gives up all watches between the two, and
// tells the other when it speaks of them again. The asker repeats that it is there several times a
// second, the owners that they are; either gives up when the other is silent for seconds, or when
// the link on which it speaks breaks, or the other's process is lost.
//
// Everything here runs on the owner's thread, but for mf_watch_peers_take.
#ifndef MF_SERVER_WATCH_PEERS_H
#define MF_SERVER_WATCH_PEERS_H

#include <stdint.h>

#include "rpc/peer_frame.h"
#include "server/reactor.h"

// How often each side says that it is there, and after how long without a word it is given up.
#define MF_WATCH_SAY_US UINT64_C(250000)
#define MF_WATCH_SILENCE_US UINT64_C(3000000)

struct mf_watch_peers; // of one reactor
struct mf_watch_peers *mf_watch_peers_new(struct mf_reactor *reactor);
void mf_watch_peers_free(struct mf_watch_peers *peers);

// On any reactor: an ORDER or an ALIVE from a member's process. MF_CORRUPT when it is none.
MF_MUST_USE enum mf_err mf_watch_peers_take(struct mf_reactor *reactor, uint32_t member,
                                            uint64_t incarnation, const struct mf_peer_item *item);
// The member is lost, or the link to it: so is what it has here.
void mf_watch_peers_lost(struct mf_watch_peers *peers, uint32_t member);
// End of turn, before the links': sends what they have room for.
void mf_watch_peers_flush(struct mf_watch_peers *peers);
void mf_watch_peers_tick(struct mf_watch_peers *peers, uint64_t now_us);

#endif
