// The messages between the replicas of one group, and their binary form inside peer frames.
#ifndef MF_CONSENSUS_PAXOS_MSG_H
#define MF_CONSENSUS_PAXOS_MSG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "consensus/ballot.h"
#include "consensus/entry_log.h"

enum mf_paxos_type {
    // Phase 1a: ballot; slot = the first slot the candidate does not know as chosen; last = the
    // ballot that its leader has given up by a TRANSFER, or 0.
    MF_PAXOS_PREPARE = 1,
    // Phase 1b: ballot; chosen = the responder's chosen index; entries = what it has accepted above
    // max(chosen, slot - 1). Slots up to `chosen` the candidate learns instead. read_seq = the
    // incarnation that asked, which alone counts the answer.
    MF_PAXOS_PROMISE = 2,
    // The receiver has promised `ballot`, which is higher than what it was asked for.
    MF_PAXOS_REJECT = 3,
    // Phase 2a: ballot; entries; chosen = the leader's chosen index.
    MF_PAXOS_ACCEPT = 4,
    // Phase 2b: ballot; slot..last accepted (none when last < slot); chosen = the sender's index;
    // read_seq = the incarnation of the leader, or 0 when nobody has asked.
    MF_PAXOS_ACCEPTED = 5,
    // The leader's chosen index, when no ACCEPT carries it.
    MF_PAXOS_CHOSEN = 6,
    // A learner asks for chosen entries from `slot` on ...
    MF_PAXOS_LEARN = 7,
    // ... and gets entries from `slot` on; chosen = the sender's chosen index.
    MF_PAXOS_LEARNED = 8,
    // Does the receiver still follow `ballot`? read_seq numbers the round.
    MF_PAXOS_READ_PROBE = 9,
    MF_PAXOS_READ_ACK = 10,
    // Pre-vote (Ongaro's thesis (2014), 9.6): would the receiver promise `ballot` now? It changes
    // nothing; chosen = the asker's chosen index.
    MF_PAXOS_ASK_VOTE = 11,
    MF_PAXOS_VOTE = 12, // ballot as asked; last = 1: yes, 0: no; chosen = the answerer's
    // The leader of `ballot` has given it up for good, its lease with it, and the receiver may take
    // over at once. chosen = the leader's chosen index: everything it has proposed.
    MF_PAXOS_TRANSFER = 13,
    // To the owner of `ballot`, which the sender has promised and is bound by: does it still act
    // under it, or may it? read_seq numbers the question, from a random number on.
    MF_PAXOS_ASK_RELEASE = 14,
    // It does not, and never will.
    MF_PAXOS_RELEASE = 15,
    MF_PAXOS_TYPE_MAX = MF_PAXOS_RELEASE,
};

// What a node can do without whose log is as full as it may get: it will be sent again. A message
// that is dropped is one that was lost.
static inline bool mf_paxos_brings_records(enum mf_paxos_type type)
{
    return type == MF_PAXOS_PREPARE || type == MF_PAXOS_ACCEPT || type == MF_PAXOS_LEARNED;
}

struct mf_paxos_entry {
    uint64_t slot;
    mf_ballot_t ballot;
    uint64_t log_time_us;
    struct mf_payload *payload; // NULL = no-op
};

// What the replica around the core wants the receiver to know of the log clock: how it is known,
// its reading, and the leadership that it is the clock of (0 = none). The core carries stamps and
// compares them.
struct mf_paxos_stamp {
    uint8_t source;
    uint64_t log_us;
    mf_ballot_t ballot;
};

struct mf_paxos_msg {
    enum mf_paxos_type type;
    uint16_t from;
    uint16_t to;
    uint64_t incarnation; // of the sending acceptor, see members.h
    uint64_t support;     // answers to a leader: the token of our lease to it, see lease.h
    mf_ballot_t ballot;
    uint64_t slot;
    uint64_t last;
    uint64_t chosen;
    uint64_t read_seq;
    struct mf_paxos_stamp stamp;
    uint32_t entry_count;
    struct mf_paxos_entry *entries; // owned, with a reference to each payload
};

// Appends the binary form (without from and to, which the frame knows).
void mf_paxos_msg_encode(const struct mf_paxos_msg *msg, struct mf_buf *out);
// Reads one message; from and to are left 0. Payloads are copied. MF_CORRUPT for anything encode
// would not have written; nothing is to be freed then.
MF_MUST_USE enum mf_err mf_paxos_msg_decode(struct mf_reader *r, struct mf_paxos_msg *msg);
// Drops the entries and their references.
void mf_paxos_msg_free(struct mf_paxos_msg *msg);
const char *mf_paxos_type_name(enum mf_paxos_type type);

#endif
