// A group's configuration: which acceptors vote and which nodes learn.
//
// An acceptor is a memory, not a machine: (node, incarnation). A node that may have forgotten what
// it promised comes back under another incarnation and is nobody's voter until a configuration
// entry admits it. Configurations are entries of the group's own log: the one in slot s governs the
// slots after s, and nothing is proposed after s until s is chosen (Lamport, Malkhi and Zhou,
// "Reconfiguring a State Machine" (2010), with a window of one).
#ifndef MF_CONSENSUS_MEMBERS_H
#define MF_CONSENSUS_MEMBERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

#define MF_VOTERS_MAX 7
#define MF_LEARNERS_MAX 3

struct mf_acceptor {
    uint16_t node;
    uint64_t incarnation; // never 0
};

struct mf_members {
    uint64_t slot; // of the entry that made it; 0 = the configuration that the group began with
    // The slot of the one that it was made from. An entry whose base is not the configuration in
    // force where it is chosen is a no-op: a leader that was cut off may have made it from an older
    // one, and a later leader have found it. What is one small step from the older one is none from
    // that in force, and may name a memory that is lost for good.
    uint64_t base;
    // Not below that of the ballot at which the entry was chosen: an acceptor which begins with
    // this configuration uses higher rounds. A former acceptor of its node may have prepared one of
    // those, but cannot have filled a slot behind the entry with it: its majority would have shown
    // it the entry, or have kept the entry from being chosen at a lower ballot.
    uint64_t round;
    uint8_t voter_count;
    uint8_t learner_count;
    struct mf_acceptor voters[MF_VOTERS_MAX];     // ascending by node
    struct mf_acceptor learners[MF_LEARNERS_MAX]; // ascending by node; get entries, never count
};

// True of the configuration of an entry that takes the place of the one in force.
static inline bool mf_members_follow(const struct mf_members *next, const struct mf_members *now)
{
    return next->base == now->slot;
}
// The entry's payload (without slot and round, which come from the log), and back. MF_CORRUPT for
// anything that encode would not have written: a repeated or unordered node, an incarnation of 0,
// no voter, too many, bytes behind the end. A node may be a voter under one incarnation and a
// learner under another.
void mf_members_encode(const struct mf_members *members, struct mf_buf *out);
MF_MUST_USE enum mf_err mf_members_decode(struct mf_bytes bytes, uint64_t slot,
                                          struct mf_members *members);
// How many bytes the encoding at the front of these takes; 0 when it is cut off.
size_t mf_members_size(struct mf_bytes bytes);
// The index of this very acceptor among the voters or learners, or -1.
int mf_members_voter(const struct mf_members *members, struct mf_acceptor acceptor);
int mf_members_learner(const struct mf_members *members, struct mf_acceptor acceptor);
// The index of whichever voter runs on this node, or -1.
int mf_members_voter_node(const struct mf_members *members, uint16_t node);
static inline uint32_t mf_members_quorum(const struct mf_members *members)
{
    return members->voter_count / 2u + 1;
}

#endif
