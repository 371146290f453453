// What the files of the replica share. Not for anybody else.
#ifndef MF_SERVER_REPLICA_INTERNAL_H
#define MF_SERVER_REPLICA_INTERNAL_H

#include "server/budget.h"
#include "server/replica.h"
#include "ttl/log_clock.h"

// Ops are checked for their deadlines this often.
#define MF_SWEEP_US UINT64_C(50000)
// The log clock and the chosen index are noted after this much was applied, if not before: what is
// chosen but not known as chosen after a restart has to fit into one promise.
#define MF_MARK_BYTES (UINT64_C(16) << 20)
// The log clock of a shard that has keys with a TTL but no traffic is noted this often.
#define MF_IDLE_MARK_US UINT64_C(30000000)

// Keys are told apart by classes only: what makes the value of one longer may make that of another.
#define MF_LENGTH_CLASSES 16u
struct mf_lengths {
    uint64_t longest[MF_LENGTH_CLASSES];  // of the values that commands leave, appends apart
    uint64_t appended[MF_LENGTH_CLASSES]; // bytes, to whatever key
    uint64_t longest_short;               // up to MF_ENTRY_APART_BYTES, of whatever class
};

// A proposal of ours whose slot is not applied yet.
struct mf_proposal {
    struct mf_proposal *next; // ascending slots
    uint64_t slot;
    uint64_t tag;
    uint64_t growth; // what it may add to the shard, about
    uint64_t built;  // what its commands make, at most
    struct mf_lengths lengths;
    uint32_t count;
    struct mf_op *ops[]; // NULL where the op has timed out
};

// What the commands of an entry that is being gathered do, at most; all zero at its beginning.
struct mf_work {
    uint64_t built; // bytes that they copy or answer with, beside their own
    struct mf_lengths own;
    bool looked;
    struct mf_lengths before; // of all that is proposed and not applied, once that was looked at
};

struct mf_replica {
    // What every write looks at stands together, in two lines of the cache.
    struct mf_shard *shard;
    struct mf_paxos *paxos;
    const struct mf_replica_ops *ops;
    void *ctx;
    uint64_t applied;
    uint64_t log_time_us; // of the last applied entry
    uint64_t pending_ops;
    bool at_once; // see replica_alone.c
    struct mf_log_clock clock;
    struct mf_replica_config cfg;
    struct mf_members members; // in force after it
    struct mf_members wanted;  // by mf_replica_reconfigure; voter_count 0 = nothing
    bool mending;              // a step towards what is wanted may be possible
    bool dirty;
    bool dead;              // the log could not be applied
    bool reclaims;          // a tick came: the next flush frees whatever it can
    bool held;              // see mf_replica_hold
    bool catching_up;       // it was, and what was chosen meanwhile is applied in portions
    bool behind;            // what was chosen makes so much that the rest waits for the next turn
    uint64_t built_left;    // that entries may make in this turn
    uint64_t built_out;     // what those make that are proposed and not applied, at most
    uint64_t applied_bytes; // of the log in memory, when all that was chosen had been applied last,
                            // or less since

    // The leader's clock: its node and log time - monotonic time there; node 0 = not known.
    uint16_t clock_node;
    int64_t clock_offset_us;
    mf_ballot_t clock_ballot; // the leadership whose clock `clock` follows, or is

    struct mf_op_list queued;     // writes to propose
    struct mf_op_list unready;    // reads until the first own entry is chosen
    struct mf_op_list reads;      // reads waiting for their quorum round, by ticket
    struct mf_op_list dead_waits; // reads waiting for a log time
    struct mf_proposal *first;
    struct mf_proposal *last;
    uint64_t next_tag;
    uint64_t lead_slot;   // the first slot of our leadership; 0 = not leading
    uint64_t expire_slot; // an EXPIRE_DUE of ours is under way; 0 = none
    uint64_t evict_slot;  // an EVICT
    uint64_t evict_bytes; // what it names takes
    uint64_t evict_goal;  // bytes to evict after that
    uint64_t growth;      // of all proposals
    bool starved;         // the first of `queued` waits for memory
    struct mf_budget_share share;
    uint64_t sweep_us;
    uint64_t mark_us;        // when to note the clock; MF_NEVER = nothing to note
    uint64_t blocked_us;     // until then the log counts as blocked: no mark and no expiry is due
    uint64_t marked_us;      // when it was noted last; 0 = not since the start
    uint64_t unmarked_bytes; // applied since then
    uint16_t told_leader;    // as last reported by leader_changed
    mf_ballot_t told_ballot;
    struct mf_buf batch; // scratch
};

// Something has happened: the next flush looks what follows from it.
static inline void mf_replica_happened(struct mf_replica *replica)
{
    replica->dirty = true;
    replica->at_once = false;
}

// replica.c
void mf_replica_reply(struct mf_replica *replica, struct mf_op *op, enum mf_err status);
struct mf_paxos_env mf_replica_paxos_env(struct mf_replica *replica,
                                         const struct mf_replica_env *env);

// replica_write.c
void mf_replica_propose_queued(struct mf_replica *replica, const struct mf_replica_env *env);
void mf_replica_propose_first(struct mf_replica *replica, const struct mf_replica_env *env);
static inline bool mf_replica_expiry_paused(const struct mf_replica *replica)
{
    return replica->cfg.expiry_paused != NULL &&
           atomic_load_explicit(replica->cfg.expiry_paused, memory_order_relaxed);
}
void mf_replica_propose_expiry(struct mf_replica *replica, const struct mf_replica_env *env);
// Applies what is chosen.
void mf_replica_apply(struct mf_replica *replica, const struct mf_replica_env *env);

// replica_read.c
// It leads, and its state has all that reads have to see.
bool mf_replica_serves(const struct mf_replica *replica);

// replica_work.c
// Adds a command that is decoded and goes into the entry next.
void mf_replica_foresee(const struct mf_replica *replica, struct mf_work *work,
                        const struct mf_command *command);

// The same of a plain one.
void mf_replica_foresee_plain(struct mf_work *work, const struct mf_op *op);

// replica_memory.c
// What carrying out an op may add to the shard, about: nothing for most that are no writes of
// values.
uint64_t mf_replica_growth(const struct mf_replica *replica, const struct mf_op *op);
// What writes take is to be reported: there is a limit, or was.
bool mf_replica_counts_memory(const struct mf_replica *replica);
// Whether an op may be proposed in an entry with others that grow by batch_growth.
enum mf_admission mf_replica_admit(const struct mf_replica *replica, const struct mf_op *op,
                                   uint64_t batch_growth);
// Tells the node's budget what the shard takes now; at the end of every turn.
void mf_replica_report_memory(struct mf_replica *replica);
// Puts the next EVICT into the batch, unless there is nothing to evict or one is under way.
bool mf_replica_gather_victims(struct mf_replica *replica, const struct mf_replica_env *env);
// The EVICT under way is applied, or will not be.
void mf_replica_end_eviction(struct mf_replica *replica);
// When to look again for room that a queued write waits for, or MF_NEVER.
uint64_t mf_replica_memory_due_us(const struct mf_replica *replica, uint64_t now_us);

// replica_alone.c
// At the end of a turn: whether writes are carried out when they come until something happens.
void mf_replica_note_alone(struct mf_replica *replica, const struct mf_replica_env *env);

// replica_hold.c
// What is chosen may be applied now.
bool mf_replica_may_apply(const struct mf_replica *replica);
// How many bytes of entries may be applied at once.
size_t mf_replica_portion(const struct mf_replica *replica);
// A message that is dropped: what it brings has no room here for now.
bool mf_replica_sheds(const struct mf_replica *replica, const struct mf_paxos_msg *msg);
// After what is chosen has been applied, or not.
void mf_replica_note_backlog(struct mf_replica *replica);

// replica_members.c
// What we had proposed up to this slot was chosen or was not, and nobody here can tell: its ops end
// as MF_TIMEOUT.
void mf_replica_forget_proposals(struct mf_replica *replica, uint64_t up_to);
// Leading: proposes the next step towards the configuration that is wanted, or that admits an
// acceptor which has lost its memory.
void mf_replica_mend_members(struct mf_replica *replica, const struct mf_replica_env *env);

// replica_read.c
void mf_replica_start_read(struct mf_replica *replica, const struct mf_replica_env *env,
                           struct mf_op *op);
void mf_replica_answer_local(struct mf_replica *replica, const struct mf_replica_env *env,
                             struct mf_op *op);
void mf_replica_answer_confirmed(struct mf_replica *replica, const struct mf_replica_env *env,
                                 uint64_t confirmed);
// Reads whose deaths are in the log by now.
void mf_replica_answer_dead_waits(struct mf_replica *replica);

#endif
