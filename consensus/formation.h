// The orderly first formation of a cluster: who may vote under incarnation 1.
//
// A node with an empty folder is *fresh*: it has never voted, or has lost all that it promised, and
// cannot tell which. Only the first may vote as (node, 1). So incarnation 1 is given out while it
// is certain that nobody votes:
//
//   fresh   nothing on disk; votes nowhere, proposes nothing
//   ready   on disk: has incarnation 1, still does not vote
//   formed  on disk: votes, under incarnation 1 or a later, random one
//
//   fresh -> ready    at one moment after our start all others were fresh or ready
//   ready -> formed   all others are ready, or any is formed
//   fresh -> formed   any other is formed: under a new random incarnation, that is, as a learner
//                     until a configuration admits it
//
// Why an acceptor (node, 1) that voted and whose folder was then wiped does not vote again while
// any formed node is left: to vote again it would have to become ready again, and at the moment
// that this rule asks for no node in the cluster was formed. At that moment no acceptor existed, so
// nothing that it had promised could still matter. Until then at least one node was formed, it told
// its state like all others, and one answer "formed" makes a random incarnation of us.
//
// "At one moment" takes two questions. What a node says about itself is old when it arrives; it may
// have been wiped, and have become formed, since the first node answered. So all are asked, and
// when the last has answered they are asked again. A state only grows in the life of a process:
// who was not formed in its second answer, and is the same process as in the first, was not formed
// when the second question left. A process that is new begins the questions again.
//
// A node that is ready has not voted since that moment, whatever the others have become meanwhile,
// and may join them under incarnation 1. Without faults all become ready, and then formed. A crash
// loses no state but the answers.
//
// Pure: no disk, link or clock. test_formation.c walks all orders of events of three nodes.
#ifndef MF_CONSENSUS_FORMATION_H
#define MF_CONSENSUS_FORMATION_H

#include <stdbool.h>
#include <stdint.h>

#define MF_FORMATION_OTHERS_MAX 64
#define MF_FIRST_MEMORY UINT64_C(1) // the incarnation of the first formation

enum mf_formation_state {
    MF_FORMATION_UNHEARD, // of others only
    MF_FORMATION_FRESH,
    MF_FORMATION_READY,
    MF_FORMATION_FORMED,
};

enum mf_formation_act {
    MF_FORMATION_WAIT,
    MF_FORMATION_ASK,       // the question is a new one: tell all others
    MF_FORMATION_BE_READY,  // make it durable, then mf_formation_enter, then tell all others;
    MF_FORMATION_BE_FORMED, // the same
    MF_FORMATION_LEARN,     // the same: formed under a new random incarnation
};

struct mf_formation_other {
    uint64_t process; // that said it last; 0 = none
    enum mf_formation_state state;
    bool answered; // the present question
};

struct mf_formation {
    enum mf_formation_state state; // our own
    uint64_t question;             // put to all others; an answer repeats it
    bool again;                    // it is the second one
    bool ask;                      // and has not been put yet
    uint32_t other_count;
    struct mf_formation_other others[MF_FORMATION_OTHERS_MAX];
};

// question: random, so that no other process's answer fits.
void mf_formation_init(struct mf_formation *formation, enum mf_formation_state state,
                       uint32_t other_count, uint64_t question);
// Another node has said so of itself. process: its random number, never 0; answer: the last
// question of ours that it knew when it said this, or 0.
void mf_formation_heard(struct mf_formation *formation, uint32_t other, uint64_t process,
                        enum mf_formation_state state, uint64_t answer);
// Somebody is formed, as one that is has said.
void mf_formation_there_is(struct mf_formation *formation);
// What is to be done now. Call it again after each act until it says WAIT.
enum mf_formation_act mf_formation_step(struct mf_formation *formation);
// It is durable now.
void mf_formation_enter(struct mf_formation *formation, enum mf_formation_state state);
// True while we cannot go on without a word from this one.
bool mf_formation_awaits(const struct mf_formation *formation, uint32_t other);

#endif
