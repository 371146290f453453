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
//  P6  A leader's own proposals never have a log time below any accepted entry's. A value of an
//      older leader can still end up after a later one's, so whoever applies the log takes the
//      running maximum, which is the same on every replica.
//
// A leader that is alive is not timed per group: the caller watches nodes, and says
// mf_paxos_suspect when a node is silent or has restarted. Only a group without a leader runs an
// election timer, randomised.
#ifndef MF_CONSENSUS_PAXOS_H
#define MF_CONSENSUS_PAXOS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "consensus/ballot.h"
#include "consensus/entry_log.h"
#include "consensus/paxos_msg.h"
#include "consensus/wal_format.h"

#define MF_VOTERS_MAX 7
#define MF_NEVER UINT64_MAX
#define MF_STAMP_DRIFT 1024u

struct mf_paxos_config {
    uint32_t group;
    uint16_t self;
    uint16_t voters[MF_VOTERS_MAX]; // self among them
    uint8_t voter_count;
    bool may_vote;              // false: learns, but never promises, accepts or campaigns
    uint64_t election_us;       // a candidate waits this long, plus up to as much again, for a win
    uint64_t first_election_us; // the first campaign after the start comes after this long
    uint64_t resend_us;         // unanswered messages are sent again after this long
    uint64_t chosen_delay_us;   // an idle leader tells a new chosen index after this long
    uint32_t window_entries;    // proposals in flight, at most
    uint64_t window_bytes;      // and their payload bytes (one larger entry may go alone)
    uint64_t learn_bytes;       // payload bytes in one LEARNED message, at least one entry
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
                             uint64_t log_time_us, struct mf_bytes payload);
void mf_paxos_restore_chosen(struct mf_paxos *paxos, uint64_t chosen);
// After the last restore call: the chosen index is cut back to what the log holds without a gap.
void mf_paxos_restore_done(struct mf_paxos *paxos);

// Events. Each may add to the update.
void mf_paxos_tick(struct mf_paxos *paxos, const struct mf_paxos_env *env);
// When mf_paxos_tick is due next; MF_NEVER: not before another event.
uint64_t mf_paxos_next_tick_us(const struct mf_paxos *paxos);
// The message stays the caller's.
void mf_paxos_receive(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                      const struct mf_paxos_msg *msg);
// Everything up to this persist_seq is durable.
void mf_paxos_persisted(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint64_t seq);
// A node is silent, or another process runs under its id: if it leads, it is deposed here.
void mf_paxos_suspect(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint16_t node);
// A link to a node is new: what it missed is sent again.
void mf_paxos_peer_up(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint16_t node);
// Campaign now (also: tests).
void mf_paxos_campaign(struct mf_paxos *paxos, const struct mf_paxos_env *env);

// Leader only. MF_NOT_LEADER; MF_AGAIN when the window is full. log_time_us must not be below that
// of any earlier entry (asserted). The slot is stored in *slot.
MF_MUST_USE enum mf_err mf_paxos_propose(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                                         uint64_t log_time_us, struct mf_bytes payload,
                                         uint64_t *slot);
// Leader only: asks for a quorum round, shared by all reads that wait for one. The ticket is
// confirmed by update.reads_confirmed. MF_NOT_LEADER, also until an entry of the own ballot is
// chosen.
MF_MUST_USE enum mf_err mf_paxos_read(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                                      uint64_t *ticket);

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
// The entry in a slot, or NULL; for slots <= chosen it is the chosen one.
const struct mf_log_entry *mf_paxos_entry(const struct mf_paxos *paxos, uint64_t slot);
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
