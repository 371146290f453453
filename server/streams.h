// The streams of checkpoints between this node and others (stream.h), on the links.
//
// A replica that is asked for slots which its log no longer has streams its shard's checkpoint;
// when that is too old, or there is none, it asks for one and waits for it. Chunks are put into
// frames only while little waits on the link, and one a turn, so they delay no heartbeat. What
// arrives is gathered in DATA_DIR/checkpoints/SHARD.mfs.incoming.tmp, and when it is whole it is
// checked, loaded, given the place of the shard's checkpoint, and installed into the replica.
//
// Everything here runs on the thread of the shard's reactor, but for the work on files and the
// loading, which the node's worker does. The worker takes its jobs in order, so what is written for
// a stream that was given up is over when its file is begun anew.
//
// The state that an installed one replaces may be in use. A walk of it for a snapshot would lose
// its ground: an install waits until there is none (mf_shard_walking; walks begin and go on on this
// thread only). Readers on other reactors find it through the gate alone, which is closed until
// none of them is inside (mf_reactor_retire_gate) and opened to the new state by the replica's next
// turn. Then it is the worker's to free, which takes as long as it is large.
#ifndef MF_SERVER_STREAMS_H
#define MF_SERVER_STREAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "consensus/members.h"
#include "rpc/peer_frame.h"

struct mf_owned_shard;
struct mf_reactor;
struct mf_shard;
struct mf_streams;

// For one reactor.
struct mf_streams *mf_streams_new(struct mf_reactor *reactor);
void mf_streams_free(struct mf_streams *streams); // when no job is under way any more

// struct mf_replica_ops.send_snapshot. What is streamed there already goes on.
void mf_streams_send(struct mf_owned_shard *shard, struct mf_acceptor to);
// Frees a state that nobody uses any more, elsewhere.
void mf_streams_discard(struct mf_streams *streams, struct mf_shard *state);
// The shard's replica is about to go: what is under way for it is given up.
void mf_streams_drop(struct mf_owned_shard *shard);
// The link to a node is new.
void mf_streams_link_up(struct mf_streams *streams, uint16_t node);
// An item of one of the kinds of peer_snapshot.h has come in, on any reactor, for any shard.
// MF_CORRUPT when it is not well-formed.
MF_MUST_USE enum mf_err mf_streams_take(struct mf_reactor *reactor, uint16_t from,
                                        const struct mf_peer_item *item);
// Every few tens of milliseconds.
void mf_streams_tick(struct mf_streams *streams, uint64_t now_us);
// End of turn, before the links': sends what the links have room for.
void mf_streams_flush(struct mf_streams *streams);

// The first slot that the shard's log in memory should keep for those who get an older checkpoint
// than its newest just now, or have just got it; UINT64_MAX when there are none. A stream counts
// for a minute only, so a slow one cannot make the log grow for ever.
uint64_t mf_streams_first_needed(const struct mf_owned_shard *shard);

#endif
