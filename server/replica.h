// One replica: a Paxos group and the shard it drives, with the group's log clock.
//
// It turns ops into log entries and reads, and chosen entries into results. It is pure like the
// core under it: time and entropy are arguments, everything outside happens through mf_replica_ops,
// so the simulator runs the very code that the server runs. The shard's reactor is its only thread.
//
// A read by the leader is answered at the leader's log time, at once while a majority's lease
// lasts (looked at after the value was read, by a clock that is read then), else after a quorum
// round. If that would show a key dead whose death no chosen entry's log time has reached, an entry
// is chosen first: what was seen dead once is dead for every later leader.
#ifndef MF_SERVER_REPLICA_H
#define MF_SERVER_REPLICA_H

#include <stdbool.h>
#include <stdint.h>

#include "consensus/paxos.h"
#include "consensus/wal_format.h"
#include "server/op.h"
#include "shards/shard.h"

struct mf_budget;
struct mf_replica;

struct mf_replica_ops {
    // The op comes back with its outcome.
    void (*reply)(void *ctx, struct mf_op *op);
    // Records for the WAL, in order. When seq is not 0, call mf_replica_persisted(seq) once they
    // are durable; seq 0 asks for no report. Payload views die with the call.
    void (*persist)(void *ctx, uint32_t group, const struct mf_wal_record *records, uint32_t count,
                    uint64_t seq);
    // Queue for the peer msg->to; the message stays the caller's.
    void (*send)(void *ctx, uint32_t group, const struct mf_paxos_msg *msg);
    // Another node's monotonic clock now, estimated from below (its last reading that arrived, plus
    // the time since); 0 when nothing has arrived from the process that runs there now.
    uint64_t (*node_mono_us)(void *ctx, uint16_t node, uint64_t now_us);
    // Our monotonic clock this instant, for the lease's last look.
    uint64_t (*mono_us)(void *ctx);
    // The leases between nodes, see consensus/lease.h: mf_lease_bound, _withdraw, _token and
    // _held_until of the node.
    bool (*bound)(void *ctx, uint16_t node, uint64_t now_us);
    bool (*withdraw)(void *ctx, uint16_t node, uint64_t now_us);
    uint64_t (*support)(void *ctx, uint16_t node);
    uint64_t (*held_until)(void *ctx, uint16_t node, uint64_t token);
    // This acceptor needs slots that our log has no more: it gets the shard's state. May be NULL.
    void (*send_snapshot)(void *ctx, uint32_t group, struct mf_acceptor to);
    // Takes over a state that a snapshot has replaced. May be NULL: it is freed at once.
    void (*retire)(void *ctx, uint32_t group, struct mf_shard *shard);
    // An entry was applied; bytes: of its payload, about; expired: how many keys it dropped by TTL.
    // May be NULL.
    void (*applied)(void *ctx, uint32_t group, uint64_t index, uint64_t log_time_us, uint64_t bytes,
                    uint64_t expired);
    // This replica won or lost leadership, or learned of a leader. May be NULL.
    void (*leader_changed)(void *ctx, uint32_t group, uint16_t leader, mf_ballot_t ballot);
    // The log cannot be applied: the replica is dead and stays silent (never expected).
    void (*fatal)(void *ctx, uint32_t group, const char *what);
};

struct mf_replica_config {
    struct mf_paxos_config paxos;
    uint32_t expire_batch; // keys per EXPIRE_DUE entry
    uint32_t *expire_left; // keys that may still be proposed this turn; NULL: no bound
    uint64_t batch_bytes;  // a log entry is closed when its commands reach this size
    // An entry is closed when its commands make so much of values that are there, see
    // replica_work.c, and no more entries are applied in a turn once they have made as much: copies
    // of values, and results.
    uint64_t built_bytes;
    uint32_t answer_bytes_max; // of one list; 0: no bound of the caller's
    uint64_t mark_interval_us; // how often a changed log clock is noted in the WAL
    uint64_t tag_seed;         // random for each start: makes this process's proposals unique
    uint64_t pending_ops_max;  // above: BUSY
    uint64_t held_log_bytes;   // see mf_replica_hold
    struct mf_budget *budget;  // the memory of the node, see budget.h; NULL: no limit
    bool unshared;             // nobody reads the shard's map on another thread
    // There is no WAL: what ops.persist hands out is as durable as it gets, and never read again.
    bool unlogged;
    // While it is true (relaxed) no key is taken out because it is due. Dead it is all the same.
    // NULL: never.
    const _Atomic bool *expiry_paused;
};

struct mf_replica_env {
    uint64_t now_us; // monotonic
    uint64_t
        wall_us; // at the same moment; for Unix times, and for bridging a stop of the whole cluster
    uint64_t random;
    // The disk does not take our log for a while: we do not run, take no writes from clients, and
    // propose none.
    bool log_blocked;
};

// Takes over the shard (fresh, or loaded from a snapshot that stands before the first log entry).
struct mf_replica *mf_replica_new(const struct mf_replica_config *config, struct mf_shard *shard,
                                  const struct mf_replica_ops *ops, void *ctx, uint64_t now_us);
// Ops still held are replied with MF_SHUTTING_DOWN first.
void mf_replica_free(struct mf_replica *replica);
// The same for a replica that the group has no place for any more, with MF_NOT_LEADER; its state is
// returned.
struct mf_shard *mf_replica_give_up(struct mf_replica *replica);

// Recovery: every WAL record of this group, in order, then done, which applies what is known to be
// chosen. base_*: the snapshot's log and wall time, 0 for none.
void mf_replica_restore(struct mf_replica *replica, const struct mf_wal_record *record);
void mf_replica_restore_done(struct mf_replica *replica, uint64_t base_log_us,
                             uint64_t base_wall_us);
// Hands out promise and mark again, for a WAL that is about to lose the old ones.
void mf_replica_restate(struct mf_replica *replica, const struct mf_replica_env *env);
// At an orderly end: notes what is applied and not noted yet.
void mf_replica_note_end(struct mf_replica *replica, const struct mf_replica_env *env);
// Drops the log below `first` (at most applied + 1), which a durable snapshot stands in for.
void mf_replica_compact(struct mf_replica *replica, uint64_t first);
// The state of a snapshot takes the place of ours, which nobody walks now (see ops.retire); it is
// durable here. Takes the shard and returns
// true, or returns false and leaves it the caller's when we are as far, or lead.
bool mf_replica_install(struct mf_replica *replica, const struct mf_replica_env *env,
                        struct mf_shard *shard, const struct mf_members *members);
// The configuration in force after the last applied entry: what a snapshot carries.
const struct mf_members *mf_replica_members(const struct mf_replica *replica);

// Brings what leads to its state into the cache.
void mf_replica_prefetch(const struct mf_replica *replica);
// The last flush has made less than half of cfg.built_bytes: another one can follow at once.
bool mf_replica_has_room(const struct mf_replica *replica);

// Events. After any number of them, mf_replica_flush once: it proposes the gathered commands, hands
// out records and messages, applies and replies.
void mf_replica_submit(struct mf_replica *replica, const struct mf_replica_env *env,
                       struct mf_op *op);
// A write that needs neither a log nor anybody's word (see replica_alone.c) is carried out before
// this returns, at the log time of now_us, and answered: in *result, which is valid until the next
// write, or as an op. False: nothing has happened, it has to be submitted. The command is plain
// (mf_command_is_plain). A flush is wanted after it, but not soon.
bool mf_replica_write_at_once(struct mf_replica *replica, uint64_t now_us,
                              const struct mf_command *command, struct mf_bytes *result);
bool mf_replica_submit_at_once(struct mf_replica *replica, uint64_t now_us, struct mf_op *op);
// As things are now, they are.
bool mf_replica_writes_at_once(const struct mf_replica *replica);
// sender_mono_us: the sender's monotonic clock when it sent.
void mf_replica_receive(struct mf_replica *replica, const struct mf_replica_env *env,
                        const struct mf_paxos_msg *msg, uint64_t sender_mono_us);
void mf_replica_persisted(struct mf_replica *replica, const struct mf_replica_env *env,
                          uint64_t seq);
void mf_replica_suspect(struct mf_replica *replica, const struct mf_replica_env *env,
                        uint16_t node);
// The acceptor that runs on a node: its link is new, or its lease to us has a new token.
void mf_replica_peer_up(struct mf_replica *replica, const struct mf_replica_env *env,
                        struct mf_acceptor acceptor);
// See mf_paxos_transfer.
MF_MUST_USE enum mf_err mf_replica_transfer(struct mf_replica *replica,
                                            const struct mf_replica_env *env, uint16_t node);
// Asks for a configuration of these nodes, by learning first: the leader proposes one small step
// after the other as they become possible, until a lost leadership or another wish. MF_NOT_LEADER.
// *why says what is in the way, or is NULL.
MF_MUST_USE enum mf_err mf_replica_reconfigure(struct mf_replica *replica,
                                               const struct mf_replica_env *env,
                                               const struct mf_members *members, const char **why);
// A walk of the shard hands out more than its file takes: until it is released, nothing is changed
// that need not be. A leader proposes no command, no expiry and no eviction; writes wait, and are
// MF_BUSY when their time is over. What it has proposed goes on, as do reads, leases and changes of
// configuration. Any other replica applies nothing that is chosen, and takes no more entries once
// its log in memory has grown by held_log_bytes: it is silent, as if they were lost on the way, and
// catches up later. Who comes to lead applies all that is chosen at once.
void mf_replica_hold(struct mf_replica *replica, bool hold);
// The limit of the node's memory, or its policy, is another one.
void mf_replica_budget_changed(struct mf_replica *replica);
// The node has less memory left than it should (see budget.h): evicts the shard's part.
void mf_replica_make_room(struct mf_replica *replica, const struct mf_replica_env *env);
void mf_replica_tick(struct mf_replica *replica, const struct mf_replica_env *env);
void mf_replica_flush(struct mf_replica *replica, const struct mf_replica_env *env);
// When mf_replica_tick is due next (monotonic), or MF_NEVER.
uint64_t mf_replica_next_tick_us(const struct mf_replica *replica, uint64_t now_us);
// True when an event since the last flush asks for one.
bool mf_replica_dirty(const struct mf_replica *replica);
// No other node has a say in what is chosen, or is told of it.
bool mf_replica_alone(const struct mf_replica *replica);
// Until when we may answer reads alone, by our monotonic clock; 0 = not now. See
// mf_paxos_lease_until; also 0 until the first entry of our leadership is applied.
uint64_t mf_replica_lease_until(const struct mf_replica *replica);

struct mf_replica_info {
    uint32_t group;
    uint16_t leader; // 0 = unknown
    bool leading;    // and able to serve
    mf_ballot_t ballot;
    uint64_t chosen;
    uint64_t applied;
    uint64_t first;
    uint64_t log_time_us; // of the last applied entry
    uint64_t clock_us;    // estimate of the log clock now
    uint64_t pending_ops;
};
void mf_replica_info(const struct mf_replica *replica, const struct mf_replica_env *env,
                     struct mf_replica_info *info);
// Whose memory ours is.
struct mf_acceptor mf_replica_acceptor(const struct mf_replica *replica);
struct mf_shard *mf_replica_shard(struct mf_replica *replica);
const struct mf_paxos *mf_replica_paxos(const struct mf_replica *replica);

#endif
