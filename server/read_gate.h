// Reads of a shard on any reactor of the node that leads it under a lease, without a way to its
// owner and back.
//
// The owner publishes what such a read needs to know: that this node leads the shard and serves it,
// whose support makes its lease, and the offset of its log clock. Who reads looks at the lease and
// the gate again when it has the value: if the lease still runs, no other node has led the shard
// until then, and if the gate is as it was, this one did. So the value was the newest at a moment
// within the read. Whatever does not fit is no error: the read goes to the owner.
//
// The owner must publish after each turn of the replica and before anything of that turn leaves the
// node: a promise or a hand-over to another node is heard of only when the gate is closed.
//
// Threads: the shard's owner publishes and retires; any reactor reads, each through a reader of its
// own.
#ifndef MF_SERVER_READ_GATE_H
#define MF_SERVER_READ_GATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/command.h"
#include "base/err.h"
#include "consensus/ballot.h"
#include "consensus/members.h"

struct mf_replica;
struct mf_shard;

struct mf_read_gate_voter {
    uint16_t node;
    uint64_t token; // the lease token that it has answered our ballot with; 0 = none
};

struct mf_read_gate_state {
    mf_ballot_t ballot;    // of our leadership; 0 = not serving, and all else is 0 too
    int64_t log_offset_us; // log time minus our monotonic clock
    struct mf_shard *shard;
    uint32_t voter_count;
    struct mf_read_gate_voter voters[MF_VOTERS_MAX];
};

// What the replica lets others know just now; a closed gate when it does not serve. Owner.
void mf_replica_gate(struct mf_replica *replica, struct mf_read_gate_state *out);

struct mf_read_gate;        // one for each shard
struct mf_read_gate_reader; // one for each reactor: what it has open in all shards

// All closed. Cannot fail.
struct mf_read_gate *mf_read_gates_new(uint32_t shards);
void mf_read_gates_free(struct mf_read_gate *gates);
struct mf_read_gate *mf_read_gate_at(struct mf_read_gate *gates, uint32_t shard);
struct mf_read_gate_reader *mf_read_gate_reader_new(uint32_t shards);
// No longer used; what it has open goes with the shards.
void mf_read_gate_reader_free(struct mf_read_gate_reader *reader);

// Owner. Costs a few comparisons when nothing has changed.
void mf_read_gate_publish(struct mf_read_gate *gate, const struct mf_read_gate_state *state);
// Owner: closes the gate, and returns when no reader is in the shard that it led to, which may then
// be freed. A read takes microseconds. Publish opens the gate again, to any shard.
void mf_read_gate_retire(struct mf_read_gate *gate, struct mf_read_gate_reader *const *readers,
                         uint32_t count);

// Bring what a read of the shard begins with into the cache, in two steps that many shards can take
// side by side.
void mf_read_gate_prefetch(const struct mf_read_gate *gate,
                           const struct mf_read_gate_reader *reader, uint32_t shard);
void mf_read_gate_prefetch_reader(const struct mf_read_gate_reader *reader, uint32_t shard);

// What a read asks of its node: see mf_links_held_until, and our monotonic clock.
struct mf_read_gate_env {
    uint64_t (*held_until)(void *ctx, uint16_t node, uint64_t token);
    uint64_t (*mono_us)(void *ctx);
    void *ctx;
};

// False when a read would surely not be answered now.
bool mf_read_gate_open(const struct mf_read_gate *gate);
// Answers a linearizable read (GET, MGET, TTL, ...) of keys of this one shard by appending one
// encoded result. MF_AGAIN, and nothing appended, for all that the owner has to decide.
MF_MUST_USE enum mf_err mf_read_gate_read(struct mf_read_gate *gate, uint32_t shard,
                                          struct mf_read_gate_reader *reader,
                                          const struct mf_read_gate_env *env,
                                          const struct mf_command *command, struct mf_buf *out);

#endif
