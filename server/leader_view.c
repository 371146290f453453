// Who leads a shard without a copy here; see leader_view.h.
#include "server/leader_view.h"

static bool said_by(const struct mf_leader_view *view, uint16_t node, uint64_t incarnation)
{
    return view->ballot != 0 && view->node == node && view->incarnation == incarnation;
}

bool mf_leader_view_heard(struct mf_leader_view *view, uint16_t node, uint64_t incarnation,
                          mf_ballot_t ballot)
{
    if (ballot < view->ballot)
        return false;
    *view = (struct mf_leader_view){
        .leader = node, .node = node, .incarnation = incarnation, .ballot = ballot};
    return true;
}

void mf_leader_view_lost(struct mf_leader_view *view, uint16_t node)
{
    if (view->leader == node)
        view->leader = 0;
}

void mf_leader_view_up(struct mf_leader_view *view, uint16_t node, uint64_t incarnation)
{
    if (view->leader == 0 && said_by(view, node, incarnation))
        view->leader = node;
}

void mf_leader_view_started(struct mf_leader_view *view, uint16_t node, uint64_t incarnation)
{
    if (said_by(view, node, incarnation))
        mf_leader_view_up(view, node, incarnation);
    else
        mf_leader_view_lost(view, node);
}

void mf_leader_view_named(struct mf_leader_view *view, uint16_t leader)
{
    view->leader = leader;
}
