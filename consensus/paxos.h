// The Multi-Paxos core of one group: events in, one batch of outputs out.
//
// Pure: no socket, file, thread, clock or random source. The caller tells it the time and gives it
// entropy; it tells the caller what to persist, send and apply. The same code runs in the server
// and in the simulator. It follows Lamport, "Paxos Made Simple" (2001), with the stable leader and
// the holes of its section 3, and van Renesse and Altinbuken, "Paxos Made Moderately Complex"
// (2015).
//
// Invariants, with the places that keep them:
//  P1  A promise or an acceptance is answered only after it is durable (replies wait for
//      mf_paxos_persisted), and the leader counts itself only then.
//  P2  An acceptor never accepts below its promise, and its promise never goes back, across
//      restarts included (mf_paxos_restore_*).
//  P3  A leader proposes in a slot the value of the highest ballot that any of a majority of
//      promises reports for it; a value of its own only where none reports one.
//  P4  One ballot proposes one value per slot: a ballot is used only after it is durable at its
//      owner, so that a restart cannot use it again.
//  P5  A slot is chosen when a majority of voters has accepted one ballot's value in it; the chosen
//      index only grows and has no holes below it.
//  P7  Only acceptors of the configuration in force count, each by (node, incarnation). Nothing is
//      proposed after a configuration until it is chosen, a majority of its voters has promised
//      the leader's ballot for the slots after it, and a majority of them knows durably that it is
//      chosen: from then on the acceptors of the one before it are not needed any more.
//  P8  While an acceptor is bound by the lease of its promise's owner it promises nobody else, but
//      for a candidate that names the very ballot which that owner has given up, or when the owner
//      itself has said so (RELEASE): a lease is between nodes, and its holder may not lead this
//      group. A ballot that was given up is never again acted under.
//  P9  Up to the chosen index that a leader tells, what its ballot has proposed is what was chosen:
//      it learns nothing from others in slots that it has proposed in.
//  P6  A leader's own proposals never have a log time below any accepted entry's. A value of an
//      older leader can still end up after a later one's, so whoever applies the log takes the
//      running maximum, which is the same on every replica.
//
// A leader that is alive is not timed per group: the caller watches nodes, and says
// mf_paxos_suspect when a node is silent or has restarted. Then the first living voter after it
// runs at once, so that all groups of a dead node are prepared in one batch; otherwise a group
// without a leader runs an election timer, randomised. A candidate asks for votes before it
// promises itself anything, so one that would lose disturbs nobody.
#ifndef MF_CONSENSUS_PAXOS_H
#define MF_CONSENSUS_PAXOS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "consensus/ballot.h"
#include "consensus/entry_log.h"
#include "consensus/members.h"
#include "consensus/paxos_msg.h"
#include "consensus/wal_format.h"

#define MF_NEVER UINT64_MAX
#define MF_STAMP_DRIFT 1024u

struct mf_paxos_config {
    uint32_t group;
    uint16_t self;
    uint64_t incarnation;       // of our memory, see members.h
    struct mf_members members;  // in force before first_slot; need not name us
    uint64_t lease_us;          // the longest that anybody may rely on a lease
    uint64_t begun_us;          // when our process began (monotonic); 0 = as this core does
    uint64_t election_us;       // a candidate waits this long, plus up to as much again, for a win
    uint64_t first_election_us; // the first campaign after the start comes after this long
    uint64_t resend_us;         // unanswered messages are sent again after this long
    uint64_t chosen_delay_us;   // an idle leader tells a new chosen index after this long
    uint32_t window_entries;    // proposals in flight, at most
    uint64_t window_bytes;      // and their payload bytes (one larger entry may go alone)
    uint64_t learn_bytes;       // payload bytes in one LEARNED message, at least one entry
    // We hold nothing of what the group has done so far: what we learn begins with a snapshot,
    // however far back the logs of others go, and until then we neither promise nor accept.
    bool blank;
    // A snapshot that is older than this slot is not taken: its configuration may be one in which
    // our acceptor, whose former copy is gone, still votes.
    uint64_t floor;
};

enum mf_paxos_role {
    MF_FOLLOWER,
    MF_CANDIDATE,  // collecting promises
    MF_RECOVERING, // elected, learning what others know as chosen
    MF_LEADER,
};

// The inputs of every step.
struct mf_paxos_env {
    uint64_t now_us;             // monotonic
    uint64_t random;             // fresh entropy
    struct mf_paxos_stamp stamp; // put on every message sent in this step
    // The node that owns the ballot we have promised holds our lease: we may help nobody else.
    bool bound;
    // What we record now is not durable for a while: others had better run.
    bool log_blocked;
    // With mf_paxos_receive: the token of our lease to the sender, for our answers.
    uint64_t support;
};

// The outputs gathered since the last mf_paxos_update_take. Order of work: hand `records` to the
// WAL under `persist_seq` (then call mf_paxos_persisted when they are durable), send `msgs`, apply
// slots up to `chosen`. Messages that depend on a record are held back by the core and come out
// later.
struct mf_paxos_update {
    struct mf_wal_record *records; // payload views live until the next step or update_done
    uint32_t record_count;
    uint64_t persist_seq; // 0 when there are no records
    struct mf_paxos_msg *msgs;
    uint32_t msg_count;
    uint64_t chosen;          // the chosen index now
    uint64_t reads_confirmed; // every read with a ticket <= this may be served at `chosen` or later
    // Acceptors that asked for slots which our log no longer has.
    struct mf_acceptor snapshot_to[MF_VOTERS_MAX + MF_LEARNERS_MAX];
    uint32_t snapshot_count;
    bool became_leader;
    bool lost_leadership; // tickets that are not confirmed are void
};

struct mf_paxos;

struct mf_paxos *mf_paxos_new(const struct mf_paxos_config *config, uint64_t first_slot,
                              uint64_t now_us);
void mf_paxos_free(struct mf_paxos *paxos);

// Recovery, before the first step, in any order; each keeps the higher of what it has and gets.
void mf_paxos_restore_promise(struct mf_paxos *paxos, mf_ballot_t ballot);
void mf_paxos_restore_accept(struct mf_paxos *paxos, uint64_t slot, mf_ballot_t ballot,
                             uint64_t log_time_us, enum mf_entry_kind kind,
                             struct mf_bytes payload);
void mf_paxos_restore_chosen(struct mf_paxos *paxos, uint64_t chosen);
// After the last restore call: the chosen index is cut back to what the log holds without a gap.
void mf_paxos_restore_done(struct mf_paxos *paxos);

// Events. Each may add to the update.
void mf_paxos_tick(struct mf_paxos *paxos, const struct mf_paxos_env *env);
// When mf_paxos_tick is due next; MF_NEVER: not before another event.
uint64_t mf_paxos_next_tick_us(const struct mf_paxos *paxos);
// The message stays the caller's. However late it is, it does no harm to what is chosen; but it is
// believed about who runs on its node. So when the caller has said that another acceptor does
// (mf_paxos_peer_up), it hands in nothing more of the one before.
void mf_paxos_receive(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                      const struct mf_paxos_msg *msg);
// Everything up to this persist_seq is durable.
void mf_paxos_persisted(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint64_t seq);
// A node is silent, or another process runs under its id: if it leads, it is deposed here, and not
// followed under that ballot until mf_paxos_peer_up.
void mf_paxos_suspect(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint16_t node);
// A link to a node is new, or its lease to us has a new token: what it missed is sent again, and
// it is asked for its answer to our ballot. The acceptor is the one that runs there now.
void mf_paxos_peer_up(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                      struct mf_acceptor acceptor);
// Campaign now: asks for votes. Nothing happens while bound, while our log is blocked, or when we
// are no voter.
void mf_paxos_campaign(struct mf_paxos *paxos, const struct mf_paxos_env *env);

// Leader only. MF_NOT_LEADER; MF_AGAIN when the window is full. log_time_us must not be below that
// of any earlier entry (asserted). The slot is stored in *slot.
MF_MUST_USE enum mf_err mf_paxos_propose(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                                         uint64_t log_time_us, struct mf_bytes payload,
                                         uint64_t *slot);
// Leader of a group that has no other acceptor, with nothing under way: for a caller whose records
// are durable when they are handed out, and who needs none of them ever again. The next slot is
// chosen at once, with a value that only the caller knows, and the log goes on behind it. It holds
// until the next event.
bool mf_paxos_alone(const struct mf_paxos *paxos);
// Asserts the same. Returns the slot, which is in no update. log_time_us: as in mf_paxos_propose.
uint64_t mf_paxos_choose_alone(struct mf_paxos *paxos, uint64_t log_time_us);
// Brings what that needs into the cache.
void mf_paxos_prefetch(const struct mf_paxos *paxos);
// Leader only: asks for a quorum round, shared by all reads that wait for one. The ticket is
// confirmed by update.reads_confirmed. MF_NOT_LEADER, also until an entry of the own ballot is
// chosen.
MF_MUST_USE enum mf_err mf_paxos_read(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                                      uint64_t *ticket);

// Leader only: hands the group to the voter on `node`. No more proposals fit the window from now
// on; when all is chosen and the heir has it, the ballot is given up and the heir told, which shows
// as lost_leadership. Given up again after an election timeout without that. MF_NOT_LEADER;
// MF_BAD_REQUEST when it is no voter of this group; MF_AGAIN when it cannot take over now (not
// heard of, or a change of configuration is under way).
MF_MUST_USE enum mf_err mf_paxos_transfer(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                                          uint16_t node);
// True from mf_paxos_transfer until it has come to an end: our lease counts as gone.
bool mf_paxos_transferring(const struct mf_paxos *paxos);
// Leader only: proposes a configuration (its slot is set by the call). It differs from the one in
// force by at most one voter (added, dropped, or another incarnation on its node), and any
// learners. MF_NOT_LEADER; MF_AGAIN while the window or an earlier change is open; MF_BAD_REQUEST
// and the reason in *why when it would leave the group without a majority that is there and has
// caught up, or takes too large a step.
MF_MUST_USE enum mf_err mf_paxos_reconfigure(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                                             uint64_t log_time_us, struct mf_members members,
                                             const char **why);
// Leader: the configuration in force is known to a majority of its voters, durably, and has been
// promised our ballot: no acceptor is needed that is only in one before it.
bool mf_paxos_settled(const struct mf_paxos *paxos);
// The leader of `ballot` says that the configuration of `slot`, which is settled, does not name our
// node: may what we have be given up, but for the promise? Not when we lead, and not when a later
// configuration has let us in again, of which we have only not been told: then that leader, or a
// later one, has had us accept something behind the slot.
bool mf_paxos_may_leave(const struct mf_paxos *paxos, uint64_t slot, mf_ballot_t ballot);
// The slot that a snapshot must not be below to be installed; 0 when any newer one will do.
uint64_t mf_paxos_floor(const struct mf_paxos *paxos);
// Drops the log below `first`, which is at most chosen + 1: a durable snapshot has it. Whoever asks
// for it gets the snapshot (update.snapshot_to).
void mf_paxos_compact(struct mf_paxos *paxos, uint64_t first);
// We hold nothing yet of what the group has done: see mf_paxos_config.
bool mf_paxos_blank(const struct mf_paxos *paxos);
// Frees a little of what compacting or installing has cut off: 1024 slots.
void mf_paxos_reclaim(struct mf_paxos *paxos);
// There is more to free.
bool mf_paxos_litter(const struct mf_paxos *paxos);
// A snapshot of the state after `slot` is durable here and stands in for the log up to it. False,
// and nothing changes, when we are at or past it.
bool mf_paxos_install(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint64_t slot,
                      uint64_t log_time_us, const struct mf_members *members);

// The outputs gathered so far; valid until mf_paxos_update_done or the next event.
const struct mf_paxos_update *mf_paxos_update_take(struct mf_paxos *paxos);
void mf_paxos_update_done(struct mf_paxos *paxos);
// True when mf_paxos_update_take would have anything to do.
bool mf_paxos_has_update(const struct mf_paxos *paxos);

// State, for the replica around the core, statistics and tests.
enum mf_paxos_role mf_paxos_role(const struct mf_paxos *paxos);
uint16_t mf_paxos_leader(const struct mf_paxos *paxos);    // 0 = unknown
mf_ballot_t mf_paxos_ballot(const struct mf_paxos *paxos); // promised
uint64_t mf_paxos_chosen(const struct mf_paxos *paxos);
uint64_t mf_paxos_first_slot(const struct mf_paxos *paxos);
// Payload bytes of the log in memory, with what is still to be freed.
uint64_t mf_paxos_log_bytes(const struct mf_paxos *paxos);
// The entry in a slot, or NULL; for slots <= chosen it is the chosen one.
const struct mf_log_entry *mf_paxos_entry(const struct mf_paxos *paxos, uint64_t slot);
// The last slot that has a place in the log; the slot before its first one when it is empty.
uint64_t mf_paxos_last_slot(const struct mf_paxos *paxos);
// The configuration in force after the chosen index.
const struct mf_members *mf_paxos_members(const struct mf_paxos *paxos);
// The incarnation of the acceptor that runs on a node, as last heard; 0 = never heard.
uint64_t mf_paxos_present_on(const struct mf_paxos *paxos, uint16_t node);
// Leader: what is known of voter or learner i (voters first) of that configuration.
struct mf_paxos_progress {
    struct mf_acceptor acceptor;
    bool learner;
    bool self;
    bool here;        // its node is up, and runs this incarnation as far as known
    bool caught_up;   // it has told us that it knows this configuration, and lacks a window at most
    uint64_t chosen;  // the chosen index that it has reported
    uint64_t support; // the lease token of its last answer to our ballot; 0 = none
};
bool mf_paxos_progress(const struct mf_paxos *paxos, uint32_t i, struct mf_paxos_progress *out);
// Until when (our monotonic clock) a majority of the voters keeps the group for us: MF_NEVER when
// we are the majority; 0 when there is no such promise, when we do not lead or are handing over.
// held_until: see mf_lease_held_until.
uint64_t mf_paxos_lease_until(const struct mf_paxos *paxos,
                              uint64_t (*held_until)(void *ctx, uint16_t node, uint64_t token),
                              void *ctx);
// The largest log time of any accepted entry.
uint64_t mf_paxos_last_log_time(const struct mf_paxos *paxos);
// True when another proposal fits the window.
bool mf_paxos_window_open(const struct mf_paxos *paxos);
// The best stamp of this source that the promises of the electing quorum carried: the newest
// leadership's, of its readings the largest, aged to `now_us` (from below: the clock it was read
// from may run slower than ours by up to one part in MF_STAMP_DRIFT). Valid in the step that made
// the leader and until the next campaign. log_us 0: none.
struct mf_paxos_stamp mf_paxos_quorum_clock(const struct mf_paxos *paxos, uint8_t source,
                                            uint64_t now_us);

#endif
