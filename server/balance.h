// The policy of who leads what: pure, so that a test can ask it anything.
//
// A shard is led best by the first of its members, since the shards' first members are spread
// evenly over the nodes. A node that leads in another's place hands over once that one has been up
// for a while and has caught up, and while nothing else in the cluster has just changed. A node
// that is to lead nothing hands over to whoever can take it, evenly.
//
// Times are of our monotonic clock, in microseconds.
#ifndef MF_SERVER_BALANCE_H
#define MF_SERVER_BALANCE_H

#include <stdbool.h>
#include <stdint.h>

#include "consensus/members.h"
#include "server/config.h"

#define MF_BALANCE_NODES_MAX 128

// What was seen of the other nodes lately. All zero: nothing yet.
struct mf_balance_watch {
    struct {
        bool up;
        uint64_t incarnation;
        uint64_t since_us; // of the last change of these; 0 = not looked at yet
    } nodes[MF_BALANCE_NODES_MAX];
};

// A look at member i, every now and then: whether it is up, and which process runs there.
void mf_balance_look(struct mf_balance_watch *watch, uint32_t i, bool up, uint64_t incarnation,
                     uint64_t now_us);
// Member i has been up, as one process, for at least `wait_us`.
bool mf_balance_steady(const struct mf_balance_watch *watch, uint32_t i, uint64_t now_us,
                       uint64_t wait_us);
// Nobody has come, gone or restarted for that long. A node that stays away does not count: the
// others go on without it.
bool mf_balance_settled(const struct mf_balance_watch *watch, uint32_t count, uint64_t now_us,
                        uint64_t wait_us);

// A voter of the group, as its leader sees it.
struct mf_balance_place {
    uint16_t node;
    bool fit;      // it is up, has caught up, and does not decline
    bool level;    // it has said that it has all that is chosen: it can take over at once
    bool steady;   // see mf_balance_steady
    uint32_t load; // groups that it leads, as far as known
};

struct mf_balance_view {
    uint16_t self;
    uint16_t preferred; // the first of the shard's members
    uint16_t avoid;     // did not take over when it was tried last; 0 = none
    bool leaving;       // we are to lead nothing
    bool pinned;        // an operator wants the shard where it is
    bool settled;       // see mf_balance_settled
    uint32_t count;
    struct mf_balance_place places[MF_VOTERS_MAX];
};

// Whom the group is to be handed to; 0 = nobody now.
uint16_t mf_balance_heir(const struct mf_balance_view *view);

#endif
