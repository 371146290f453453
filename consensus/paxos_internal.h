// What the files of the Paxos core share. Not for anybody else.
#ifndef MF_CONSENSUS_PAXOS_INTERNAL_H
#define MF_CONSENSUS_PAXOS_INTERNAL_H

#include "consensus/paxos.h"

// An accepted slot so far above the log is refused: the sender's followers learn up to it first.
#define MF_SLOT_GAP_MAX (UINT64_C(1) << 20)
// Entries sent again to one peer at one time, in payload bytes.
#define MF_RESEND_BYTES (1u << 20)
#define MF_CLOCK_SOURCES 4
#define MF_PRESENT_MAX 16u

// What we know of an acceptor of the configuration in force, and as leader or candidate of its
// answers. Voters come first, in the order of the configuration, then learners.
struct mf_paxos_peer {
    struct mf_acceptor acceptor;
    bool up;               // false: said to be down, nothing is sent again
    bool gone;             // another incarnation runs on its node
    bool promised;         // our ballot
    bool knows;            // durably, that this configuration is in force
    uint64_t support;      // see struct mf_paxos_progress
    uint64_t chosen_sent;  // the highest chosen index told
    uint64_t chosen_acked; // the chosen index it has reported
    uint64_t resend_due_us;
};

// A reply that waits for a record to become durable.
struct mf_paxos_held {
    uint64_t seq;
    struct mf_paxos_msg msg;
};

struct mf_paxos {
    struct mf_entry_log log;
    uint64_t last_log_time_us;
    uint64_t chosen;
    uint64_t chosen_taken; // by the last update
    uint64_t next_slot;    // leader: of its next proposal
    uint64_t known_chosen; // the highest chosen index heard of ...
    enum mf_paxos_role role;

    struct mf_paxos_config cfg;
    struct mf_members members; // in force after the chosen index
    int self;                  // our index among its voters, -1 = we are none
    uint32_t quorum;
    struct mf_paxos_peer peers[MF_VOTERS_MAX + MF_LEARNERS_MAX];
    uint32_t peer_count;
    struct mf_acceptor present[MF_PRESENT_MAX]; // which acceptor runs on a node, as last heard
    uint32_t present_count;
    uint64_t members_seq; // the hand-over that says that its entry is chosen

    // Acceptor. `promised` may be ahead of the disk by what hand-over promised_seq carries.
    mf_ballot_t promised;
    uint64_t promised_seq;
    mf_ballot_t released;   // a promised ballot that its owner has given up; 0 = none
    uint64_t release_seq;   // of our last question whether it has; 0 = the answer counts no more
    mf_ballot_t release_of; // the ballot that it was about
    uint64_t questions;
    mf_ballot_t suspected; // of a leader that was last said to be silent; 0 = none
    uint64_t begun_us;

    // Persistence: `seq_open` is the number of the hand-over being filled.
    uint64_t seq_open;
    uint64_t seq_durable;
    struct mf_paxos_held *held; // in order of seq
    uint32_t held_count;
    uint32_t held_cap;

    // Learner.
    uint16_t known_from;   // ... and from whom known_chosen is
    uint64_t learn_due_us; // an unanswered LEARN is repeated then; 0 = none is out

    // Who leads, as far as known, and when to run for it.
    uint16_t leader;
    uint64_t round_max; // of any ballot seen
    uint64_t election_due_us;

    // Candidate and leader.
    mf_ballot_t ballot;   // our own; while asking for votes, the one we would use
    bool asking;          // for votes
    uint32_t votes;       // bit i = voter i
    mf_ballot_t given_up; // the ballot whose leader has told us to take over; 0 = none
    bool prepare_sent;
    uint64_t ask_due_us;         // candidate: who has not answered is asked again then
    struct mf_entry_log adopted; // values reported by promises, of the highest ballots
    uint64_t recover_to;         // learn up to here before leading
    uint16_t recover_from;
    uint64_t clock_us[MF_CLOCK_SOURCES];        // best stamps of the promises ...
    uint64_t clock_at_us[MF_CLOCK_SOURCES];     // ... when they came ...
    mf_ballot_t clock_ballot[MF_CLOCK_SOURCES]; // ... and whose clock they are of

    // Leader.
    uint64_t members_slot;  // of the last configuration that we have proposed
    uint64_t ready_slot;    // reads wait until this slot, the first of our own, is chosen; 0 = none
    uint16_t heir;          // being handed the group; 0 = nobody
    uint64_t heir_due_us;   // the hand-over is given up then
    uint64_t self_next;     // the first of our proposals that is not known to be durable here
    uint64_t window_bytes;  // payloads proposed and not chosen
    uint64_t chosen_due_us; // when to tell idle followers of a new chosen index; 0 = no need
    uint64_t probe_seq;     // the current quorum round; 0 = none since the start
    uint64_t probe_confirmed;
    uint64_t probe_due_us;
    uint32_t probe_acks;
    bool probe_left; // its messages are out, later reads need the next round
    bool probe_wanted;

    // Outputs.
    struct mf_paxos_update update;
    struct mf_payload **record_payloads; // references that keep record payloads alive
    uint32_t record_cap;
    uint32_t msg_cap;
    uint64_t reads_taken;
};

// paxos_update.c
// Adds a record to the current hand-over and returns its number.
uint64_t mf_paxos_record(struct mf_paxos *paxos, const struct mf_wal_record *record,
                         struct mf_payload *payload);
// Sends now. Entries, if any, belong to the message from here on.
void mf_paxos_send(struct mf_paxos *paxos, const struct mf_paxos_env *env, struct mf_paxos_msg msg);
// Sends once hand-over `seq` is durable.
void mf_paxos_send_after(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint64_t seq,
                         struct mf_paxos_msg msg);
// Asks the caller to send this acceptor a snapshot.
void mf_paxos_want_snapshot(struct mf_paxos *paxos, struct mf_acceptor acceptor);
void mf_paxos_release_held(struct mf_paxos *paxos);
// Entries first..last of the log (those that are there) with references, at most bytes_max of
// payload but at least one entry.
void mf_paxos_gather(const struct mf_paxos *paxos, uint64_t first, uint64_t last,
                     uint64_t bytes_max, struct mf_paxos_msg *msg);

// paxos.c
void mf_paxos_saw_ballot(struct mf_paxos *paxos, mf_ballot_t ballot);
// Accepts a value in memory and records it. Returns the entry.
struct mf_log_entry *mf_paxos_store(struct mf_paxos *paxos, uint64_t slot, mf_ballot_t ballot,
                                    uint64_t log_time_us, struct mf_payload *payload);
// No leader is known from now on; an election comes after delay_us plus up to spread_us.
void mf_paxos_step_down(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint64_t delay_us,
                        uint64_t spread_us);
// The next slot is chosen, and in the log: the one way in which `chosen` grows by one.
void mf_paxos_choose_next(struct mf_paxos *paxos);
void mf_paxos_follow(struct mf_paxos *paxos, const struct mf_paxos_env *env, mf_ballot_t ballot);

// paxos_acceptor.c
void mf_paxos_on_prepare(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                         const struct mf_paxos_msg *msg);
void mf_paxos_on_accept(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                        const struct mf_paxos_msg *msg);
// P8. A leader of `ballot` that we have not promised has to wait: a majority that promised it need
// not meet the one whose leases another leader relies on, where a memory has been replaced since.
bool mf_paxos_may_not_raise(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                            mf_ballot_t ballot);
// A message of the leader of `ballot` raises the promise to it. Returns the hand-over that an
// answer must wait for; 0 when the promise was there.
uint64_t mf_paxos_raise_promise(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                                mf_ballot_t ballot);
// True when the lease of our promise's owner keeps us from helping `node` (P8); then the owner is
// asked whether it needs the promise.
bool mf_paxos_kept_from(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint16_t node);
void mf_paxos_ask_release(struct mf_paxos *paxos, const struct mf_paxos_env *env);
// A leader of our promise's ballot is being answered, and may rely on it.
void mf_paxos_relied_on(struct mf_paxos *paxos, const struct mf_paxos_env *env, mf_ballot_t ballot);
void mf_paxos_on_ask_release(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                             const struct mf_paxos_msg *msg);
void mf_paxos_on_release(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                         const struct mf_paxos_msg *msg);
void mf_paxos_on_probe(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                       const struct mf_paxos_msg *msg);

// paxos_members.c
// Puts a configuration in force.
void mf_paxos_adopt_members(struct mf_paxos *paxos, const struct mf_members *members);
// The index of this acceptor among the peers, or -1.
int mf_paxos_peer_index(const struct mf_paxos *paxos, struct mf_acceptor acceptor);
static inline bool mf_paxos_is_voter(const struct mf_paxos *paxos, int peer)
{
    return peer >= 0 && peer < paxos->members.voter_count;
}
// This peer has durably everything up to `chosen`.
void mf_paxos_peer_has(struct mf_paxos *paxos, uint32_t peer, uint64_t chosen);
// A node is known to run this acceptor now: a link to it says so, or a message that is not of a
// process before the one that the links know (mf_paxos_receive). Incarnations have no order, so
// nothing here could tell a late word of a memory that is gone from the first of a new one.
void mf_paxos_present(struct mf_paxos *paxos, struct mf_acceptor acceptor);
// True when a message to this peer may be of use: it is not us, and its node runs no other.
bool mf_paxos_reachable(const struct mf_paxos *paxos, uint32_t peer);
// Leader: a configuration under way keeps later slots back (P7).
bool mf_paxos_fenced(const struct mf_paxos *paxos);
// Leader: a configuration has been chosen. Tells everybody, and asks for promises.
void mf_paxos_lead_members(struct mf_paxos *paxos, const struct mf_paxos_env *env);
// Candidate: asks no more when it has learned that it is no voter any more.
void mf_paxos_stand_back(struct mf_paxos *paxos, const struct mf_paxos_env *env);
// Leader: steps down when the configuration in force is without us, and a majority of it knows.
void mf_paxos_leave(struct mf_paxos *paxos, const struct mf_paxos_env *env);
// Leader with an heir: tells it what it lacks, or gives up the ballot, and with it the lease, once
// everything is chosen and the heir has it. A hand-over that takes too long is called off.
void mf_paxos_hand_over(struct mf_paxos *paxos, const struct mf_paxos_env *env);

// paxos_elect.c
void mf_paxos_on_ask_vote(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                          const struct mf_paxos_msg *msg);
void mf_paxos_on_vote(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                      const struct mf_paxos_msg *msg);
void mf_paxos_on_transfer(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                          const struct mf_paxos_msg *msg);
// The voters that have promised our ballot, ourselves included.
uint32_t mf_paxos_promises(const struct mf_paxos *paxos);
// Leader: proposes what phase 1 has found, as far as no configuration is in between.
void mf_paxos_propose_recovered(struct mf_paxos *paxos, const struct mf_paxos_env *env);
void mf_paxos_send_prepare(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint32_t peer);
void mf_paxos_on_promise(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                         const struct mf_paxos_msg *msg);
void mf_paxos_on_own_promise(struct mf_paxos *paxos, const struct mf_paxos_env *env);
// A candidate asks everybody again whose answer has not come.
void mf_paxos_ask_all_again(struct mf_paxos *paxos, const struct mf_paxos_env *env);
// A candidate asks this peer again, if its answer has not come.
void mf_paxos_ask_again(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint32_t peer);
// RECOVERING and nothing left to learn: leads.
void mf_paxos_try_lead(struct mf_paxos *paxos, const struct mf_paxos_env *env);

// paxos_leader.c
void mf_paxos_put_proposal(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint64_t slot,
                           uint64_t log_time_us, struct mf_payload *payload);
void mf_paxos_send_chosen(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint32_t peer);
void mf_paxos_on_accepted(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                          const struct mf_paxos_msg *msg);
void mf_paxos_on_own_accept(struct mf_paxos *paxos, const struct mf_paxos_env *env);
void mf_paxos_on_read_ack(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                          const struct mf_paxos_msg *msg);
void mf_paxos_leader_tick(struct mf_paxos *paxos, const struct mf_paxos_env *env);
uint64_t mf_paxos_leader_next_us(const struct mf_paxos *paxos);

// paxos_learner.c
// A leader of `ballot` says that everything up to `chosen` is chosen.
void mf_paxos_heard_chosen(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint16_t from,
                           mf_ballot_t ballot, uint64_t chosen);
void mf_paxos_on_chosen(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                        const struct mf_paxos_msg *msg);
void mf_paxos_on_learn(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                       const struct mf_paxos_msg *msg);
void mf_paxos_on_learned(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                         const struct mf_paxos_msg *msg);
// Somebody knows that everything up to `chosen` is chosen: it is fetched.
void mf_paxos_heard_of(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint16_t from,
                       uint64_t chosen);
// Asks for what is missing, if anything is and no request is out.
void mf_paxos_learn_more(struct mf_paxos *paxos, const struct mf_paxos_env *env);

#endif
