// The router: brings each op to the replica that can serve it, and its outcome back.
//
// A read of a shard that this node leads under a lease is answered where it was asked
// (read_gate.h). Any other op starts at the reactor that owns its shard. If the replica there
// leads, it serves the op; otherwise the op is forwarded to the leader's node, or parked until a
// leader is known. What a replica or node refuses as MF_NOT_LEADER had no effect and is tried
// elsewhere until its deadline. A write that was sent to a node which then died has an unknown
// outcome: it is sent again only if it carries an id, otherwise it ends as MF_TIMEOUT. A
// TRANSFER goes the way of a read, to whoever leads, and a DRAIN to the node that it names.
//
// An op that is only for here (mf_op.here) is never passed on: it ends as MF_NOT_LEADER, without an
// effect, as soon as another node is known to lead. While nobody is it waits like any other, until
// its deadline; while the shard is being handed over, for a moment.
// Everything runs on the owner's thread.
#ifndef MF_SERVER_ROUTER_H
#define MF_SERVER_ROUTER_H

#include <stdint.h>

#include "server/op.h"
#include "server/reactor.h"

struct mf_router;
struct mf_router *mf_router_new(struct mf_reactor *reactor);
void mf_router_free(struct mf_router *router); // ops still held end as MF_SHUTTING_DOWN

// Answers a linearizable read of keys of one shard at once, by appending its encoded result, if
// this node leads the shard under a lease; see read_gate.h. False, and nothing appended, when it
// takes an op. Any reactor.
MF_MUST_USE bool mf_router_read(struct mf_reactor *reactor, uint32_t shard,
                                const struct mf_command *command, struct mf_buf *out);
// Carries out a write of one key at once, and appends its encoded result, if it needs nobody else's
// word and nothing is before it; see mf_replica_write_at_once. False, and nothing has happened,
// when it takes an op.
MF_MUST_USE bool mf_router_write(struct mf_reactor *reactor, uint32_t shard,
                                 const struct mf_command *command, struct mf_buf *out);
// From the reactor where the op was made (op->home): takes it to its shard's owner.
void mf_router_submit(struct mf_reactor *reactor, struct mf_op *op);
// From the replica, through mf_replica_ops.reply.
void mf_router_outcome(struct mf_owned_shard *shard, struct mf_op *op);
// From a link: another node's op (its id means something to that process of the node only), and an
// answer to one of ours. MF_CORRUPT for bytes that are none.
MF_MUST_USE enum mf_err mf_router_forwarded(struct mf_reactor *reactor, uint16_t from,
                                            uint64_t incarnation, uint32_t shard, uint64_t id,
                                            uint32_t left_ms, struct mf_bytes command);
MF_MUST_USE enum mf_err mf_router_replied(struct mf_reactor *reactor, uint64_t id,
                                          enum mf_err status, uint16_t leader,
                                          struct mf_bytes result);
// The node is silent (0), or runs a new process: what was forwarded there, but for what that
// process has got, is decided now.
void mf_router_node_lost(struct mf_reactor *reactor, uint16_t node, uint64_t incarnation);
// It is no longer silent.
void mf_router_node_up(struct mf_reactor *reactor, uint16_t node, uint64_t incarnation);
// Our link to it broke: what can be sent again is.
void mf_router_link_lost(struct mf_reactor *reactor, uint16_t node);
void mf_router_node_reachable(struct mf_reactor *reactor, uint16_t node);
// A node's process has told us that it leads a shard with this ballot. Matters while there is no
// replica here.
void mf_router_led_by(struct mf_owned_shard *shard, uint16_t node, uint64_t incarnation,
                      mf_ballot_t ballot);
// The replica here is gone, which followed this leader (0: none).
void mf_router_copy_gone(struct mf_owned_shard *shard, uint16_t leader);
// A shard's leader is (un)known now: parked ops may go.
void mf_router_leader_changed(struct mf_owned_shard *shard);
// Deadlines and retries; call every few tens of milliseconds.
void mf_router_tick(struct mf_reactor *reactor);

#endif
