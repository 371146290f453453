// Watches that other nodes keep for this one's clients, because it has no copy of the shards in
// question; the side of those is watch_peers.h, which has the rules between the two.
//
// All that a reactor, a home, has at one other node is one number. When anything between them is
// lost, all watches that it has there are, at once, and the next begins under another number.
//
// Everything here runs on the home's thread, but for mf_watch_relay_take.
#ifndef MF_SERVER_WATCH_RELAY_H
#define MF_SERVER_WATCH_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "rpc/peer_frame.h"
#include "server/watch.h"

struct mf_watch_relay; // of one reactor
struct mf_watch_relay *mf_watch_relay_new(struct mf_reactor *reactor);
void mf_watch_relay_free(struct mf_watch_relay *relay);

// The member that is to keep watches of a shard: one with a copy that can be reached, the leader if
// it can. -1: none.
int mf_watch_relay_pick(const struct mf_watch_relay *relay, uint32_t shard);
// Asks the member to begin a watch of want->shards, with froms that are sorted, or to end it; its
// news come like those of owners here.
void mf_watch_relay_begin(struct mf_watch_relay *relay, uint32_t member, uint64_t id,
                          const struct mf_watch_want *want);
void mf_watch_relay_end(struct mf_watch_relay *relay, uint32_t member, uint64_t id,
                        const struct mf_watch_want *want);

// On any reactor: NEWS or GONE from a member's process. MF_CORRUPT when it is none.
MF_MUST_USE enum mf_err mf_watch_relay_take(struct mf_reactor *reactor, uint32_t member,
                                            uint64_t incarnation, const struct mf_peer_item *item);
// The member is lost, or the link to it.
void mf_watch_relay_lost(struct mf_watch_relay *relay, uint32_t member);
// End of turn, before the links'.
void mf_watch_relay_flush(struct mf_watch_relay *relay);
void mf_watch_relay_tick(struct mf_watch_relay *relay, uint64_t now_us);

// watch.c: what the member had of watches here is lost.
void mf_watches_lose_member(struct mf_reactor *reactor, uint32_t member);

#endif
