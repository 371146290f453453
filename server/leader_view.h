// Who leads a shard that this node has no copy of, as leaders say and as their nodes come and go.
//
// A leader says once that it leads, with its ballot, and again over every new link. Its word, and
// the news that its node has fallen silent, is back, or runs a new process, reach the shard's
// reactor over different ones, in any order. So the last word is kept with the process that it came
// from, and counts whenever that process is heard of.
#ifndef MF_SERVER_LEADER_VIEW_H
#define MF_SERVER_LEADER_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "consensus/ballot.h"

struct mf_leader_view {
    uint16_t leader; // 0 = unknown
    // The last word: the node, its process, and as whose leader it spoke. Ballot 0: there was none.
    uint16_t node;
    uint64_t incarnation;
    mf_ballot_t ballot;
};

// A node says that it leads with a ballot. False when a later leader has spoken already.
bool mf_leader_view_heard(struct mf_leader_view *view, uint16_t node, uint64_t incarnation,
                          mf_ballot_t ballot);
// The node has fallen silent.
void mf_leader_view_lost(struct mf_leader_view *view, uint16_t node);
// It is back, and its process is, as far as is known, this one.
void mf_leader_view_up(struct mf_leader_view *view, uint16_t node, uint64_t incarnation);
// It runs a new process, which leads nothing but what it has said itself.
void mf_leader_view_started(struct mf_leader_view *view, uint16_t node, uint64_t incarnation);
// Another source than the leader itself: the replica that was here followed it.
void mf_leader_view_named(struct mf_leader_view *view, uint16_t leader);

#endif
