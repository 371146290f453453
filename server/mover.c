// Hand-overs of one reactor's shards; see mover.h.
#include "server/mover.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/result.h"
#include "server/balance.h"
#include "server/placer.h"
#include "server/roster.h"
#include "server/router.h"

#define LOAD(value) atomic_load_explicit(&(value), memory_order_relaxed)

// How often leaders that are out of place are looked for, and how many of a node's may be on their
// way at once.
#define SPREAD_US UINT64_C(100000)
#define SPREAD_MAX 64u
// A voter that misses more entries than this would keep the group waiting.
#define LAG_MAX 256u

_Static_assert(MF_MEMBERS_MAX <= MF_BALANCE_NODES_MAX, "every member can be watched");

struct mf_mover {
    struct mf_reactor *reactor;
    struct mf_balance_watch watch;
    uint64_t spread_us; // when leaders out of place are looked for next
    uint32_t waiting;   // TRANSFERs, in their shards
    struct mf_op_list drains;
    uint32_t under_way; // hand-overs, as of this sweep
    bool done;
    bool counted;                   // `loads` is of this sweep
    uint32_t loads[MF_MEMBERS_MAX]; // groups that each member leads
};

struct mf_mover *mf_mover_new(struct mf_reactor *reactor)
{
    struct mf_mover *mover = mf_calloc(1, sizeof(*mover));
    mover->reactor = reactor;
    return mover;
}

static void answer(struct mf_mover *mover, struct mf_op *op, enum mf_err status, uint16_t leader)
{
    op->status = status;
    op->leader = leader;
    if (status == MF_OK)
        mf_result_bool(&op->result, true);
    mf_router_outcome(mf_reactor_shard(mover->reactor, op->shard), op);
}

void mf_mover_free(struct mf_mover *mover)
{
    if (mover == NULL)
        return;
    struct mf_op *op;
    for (uint32_t i = 0; i < mover->reactor->shard_count; i++) {
        while ((op = mf_op_pop(&mover->reactor->shards[i].move.waiting)) != NULL)
            answer(mover, op, MF_SHUTTING_DOWN, 0);
    }
    while ((op = mf_op_pop(&mover->drains)) != NULL)
        answer(mover, op, MF_SHUTTING_DOWN, 0);
    free(mover);
}

// Changes among the members count as over after this long.
static uint64_t settle_us(const struct mf_mover *mover)
{
    return 2 * mf_node_lease_us(mover->reactor->node);
}

static void look_around(struct mf_mover *mover, uint64_t now_us)
{
    const struct mf_node *node = mover->reactor->node;
    for (uint32_t i = 0; i < mf_node_member_count(node); i++) {
        const struct mf_member *member = &node->members[i];
        bool up = i == node->self || LOAD(member->up);
        mf_balance_look(&mover->watch, i, up, LOAD(member->incarnation), now_us);
    }
}

static void count_loads(struct mf_mover *mover)
{
    const struct mf_node *node = mover->reactor->node;
    if (mover->counted)
        return;
    mover->counted = true;
    memset(mover->loads, 0, sizeof(mover->loads));
    for (uint32_t i = 0; i < node->config.shards; i++) {
        int member = mf_node_member(node, (uint16_t)LOAD(node->shards[i].leader));
        if (member >= 0)
            mover->loads[member]++;
    }
}

static bool has_place(const struct mf_owned_shard *shard, uint16_t node)
{
    return mf_roster_has_place(shard->reactor->roster, shard->id, node);
}

// Fills in the voters, and where we have no place only those that have one; false when nobody but
// us could lead, however long we wait.
static bool fill_places(struct mf_mover *mover, const struct mf_owned_shard *shard, uint64_t now_us,
                        struct mf_balance_view *view)
{
    const struct mf_node *node = mover->reactor->node;
    const struct mf_paxos *paxos = mf_replica_paxos(shard->replica);
    bool elsewhere = mf_placer_evicts(shard);
    bool hope = false;
    struct mf_paxos_progress progress;
    for (uint32_t i = 0; mf_paxos_progress(paxos, i, &progress) && !progress.learner; i++) {
        int member = mf_node_member(node, progress.acceptor.node);
        if (member < 0 || progress.self || (elsewhere && !has_place(shard, progress.acceptor.node)))
            continue;
        bool here = progress.here && LOAD(node->members[member].up) &&
                    !LOAD(node->members[member].declines);
        hope = hope || here;
        view->places[view->count++] = (struct mf_balance_place){
            .node = progress.acceptor.node,
            .fit = here && progress.chosen + LAG_MAX >= mf_paxos_chosen(paxos),
            .level = progress.chosen >= mf_paxos_chosen(paxos),
            .steady = mf_balance_steady(&mover->watch, (uint32_t)member, now_us, settle_us(mover)),
            .load = mover->loads[member]};
    }
    return hope;
}

static uint16_t preferred(const struct mf_owned_shard *shard)
{
    return mf_roster_places(shard->reactor->roster, shard->id)[0];
}

static void hand_over(struct mf_mover *mover, struct mf_owned_shard *shard, uint16_t heir,
                      uint64_t now_us)
{
    struct mf_replica_env env = mf_reactor_env(mover->reactor);
    if (mf_replica_transfer(shard->replica, &env, heir) != MF_OK)
        return; // not now: the next sweep asks again
    mf_reactor_touch(shard);
    shard->move.heir = heir;
    shard->move.until_us = now_us + settle_us(mover);
    mover->under_way++;
    mover->loads[mf_node_member(mover->reactor->node, heir)]++;
}

// The end of a hand-over shows in who leads.
static bool is_under_way(struct mf_mover *mover, struct mf_owned_shard *shard, uint64_t now_us)
{
    struct mf_move *move = &shard->move;
    const struct mf_paxos *paxos = mf_replica_paxos(shard->replica);
    if (move->heir == 0)
        return false;
    if (mf_paxos_transferring(paxos))
        return true;
    uint16_t leader = mf_paxos_leader(paxos);
    bool ours = mf_paxos_role(paxos) == MF_LEADER;
    if (leader == 0 && !ours && now_us < move->until_us)
        return true;
    move->avoid = ours ? move->heir : 0; // it came back to us: called off
    move->rest_until_us = now_us + settle_us(mover);
    move->heir = 0;
    return false;
}

static void consider(struct mf_mover *mover, struct mf_owned_shard *shard, bool leaving,
                     uint64_t now_us)
{
    const struct mf_node *node = mover->reactor->node;
    struct mf_move *move = &shard->move;
    if (mf_paxos_role(mf_replica_paxos(shard->replica)) != MF_LEADER) {
        move->pinned = false;
        move->led = false;
        return;
    }
    if (!move->led) { // whoever asked for this may still be about to say so
        move->led = true;
        move->rest_until_us = now_us + settle_us(mover);
    }
    bool evicted = mf_placer_evicts(shard);
    struct mf_balance_view view = {.self = node->config.id,
                                   .preferred = preferred(shard),
                                   .avoid = move->avoid,
                                   .leaving = leaving || evicted,
                                   .pinned = move->pinned};
    bool gentle = mover->under_way * node->reactor_count < SPREAD_MAX;
    if (!leaving && !gentle)
        return;
    if (!view.leaving && (view.preferred == view.self || now_us < move->rest_until_us))
        return;
    count_loads(mover);
    view.settled =
        mf_balance_settled(&mover->watch, mf_node_member_count(node), now_us, settle_us(mover));
    bool hope = fill_places(mover, shard, now_us, &view);
    uint16_t heir = mf_balance_heir(&view);
    if (leaving && hope)
        mover->done = false;
    if (heir != 0)
        hand_over(mover, shard, heir, now_us);
}

static void sweep(struct mf_mover *mover, bool leaving, uint64_t now_us)
{
    struct mf_reactor *reactor = mover->reactor;
    mover->under_way = 0;
    mover->counted = false;
    for (uint32_t i = 0; i < reactor->shard_count; i++) {
        struct mf_owned_shard *shard = &reactor->shards[i];
        if (shard->replica != NULL)
            mover->under_way += is_under_way(mover, shard, now_us);
    }
    mover->done = mover->under_way == 0;
    for (uint32_t i = 0; i < reactor->shard_count; i++) {
        struct mf_owned_shard *shard = &reactor->shards[i];
        if (shard->replica != NULL && shard->move.heir == 0)
            consider(mover, shard, leaving, now_us);
    }
}

// True when the op has its outcome.
static bool serve_transfer(struct mf_mover *mover, struct mf_owned_shard *shard, struct mf_op *op,
                           uint64_t now_us)
{
    const struct mf_node *node = mover->reactor->node;
    const struct mf_paxos *paxos = mf_replica_paxos(shard->replica);
    uint16_t leader = mf_paxos_leader(paxos);
    bool ours = mf_paxos_role(paxos) == MF_LEADER;
    if (ours && op->node == node->config.id) {
        shard->move.pinned = true;
        answer(mover, op, MF_OK, leader);
    } else if (!ours && leader != 0 && leader != node->config.id) {
        answer(mover, op, MF_NOT_LEADER, leader); // perhaps the heir, which knows best
    } else if (ours && mf_members_voter_node(mf_paxos_members(paxos), op->node) < 0) {
        answer(mover, op, MF_BAD_REQUEST, leader);
    } else if (op->deadline_us <= now_us) {
        answer(mover, op, MF_NO_QUORUM, leader);
    } else if (LOAD(node->closing)) {
        answer(mover, op, MF_SHUTTING_DOWN, leader);
    } else {
        int member = mf_node_member(node, op->node);
        if (ours && shard->move.heir == 0 && member >= 0 && LOAD(node->members[member].up) &&
            !LOAD(node->members[member].declines))
            hand_over(mover, shard, op->node, now_us);
        return false;
    }
    return true;
}

static void serve_transfers(struct mf_mover *mover, uint64_t now_us)
{
    struct mf_reactor *reactor = mover->reactor;
    for (uint32_t i = 0; i < reactor->shard_count && mover->waiting > 0; i++) {
        struct mf_op_list *waiting = &reactor->shards[i].move.waiting;
        for (uint32_t left = waiting->count; left > 0; left--) {
            struct mf_op *op = mf_op_pop(waiting);
            if (!serve_transfer(mover, &reactor->shards[i], op, now_us))
                mf_op_push(waiting, op);
            else
                mover->waiting--;
        }
    }
}

void mf_mover_transfer(struct mf_owned_shard *shard, struct mf_op *op)
{
    struct mf_mover *mover = shard->reactor->mover;
    if (serve_transfer(mover, shard, op, mf_reactor_now_us(mover->reactor)))
        return;
    mf_op_push(&shard->move.waiting, op);
    mover->waiting++;
}

static bool leads_nothing(const struct mf_node *node)
{
    for (uint32_t i = 0; i < node->config.shards; i++) {
        if (LOAD(node->shards[i].leader) == node->config.id)
            return false;
    }
    return true;
}

static void serve_drains(struct mf_mover *mover, uint64_t now_us)
{
    const struct mf_node *node = mover->reactor->node;
    if (mover->drains.count == 0)
        return;
    bool nothing = leads_nothing(node);
    for (uint32_t left = mover->drains.count; left > 0; left--) {
        struct mf_op *op = mf_op_pop(&mover->drains);
        if (nothing)
            answer(mover, op, MF_OK, 0);
        else if (LOAD(node->closing))
            answer(mover, op, MF_SHUTTING_DOWN, 0);
        else if (op->deadline_us <= now_us)
            answer(mover, op, MF_NO_QUORUM, 0);
        else
            mf_op_push(&mover->drains, op);
    }
}

void mf_mover_drain(struct mf_mover *mover, struct mf_op *op)
{
    struct mf_node *node = mover->reactor->node;
    bool before = atomic_exchange_explicit(&node->draining, !op->undo, memory_order_relaxed);
    if (before == op->undo)
        mf_log(MF_INFO, op->undo ? "this node may lead again"
                                 : "draining: this node hands over what it leads, and takes "
                                   "nothing until it restarts or is told to");
    if (op->undo)
        answer(mover, op, MF_OK, 0);
    else
        mf_op_push(&mover->drains, op);
}

void mf_mover_tick(struct mf_mover *mover)
{
    uint64_t now_us = mf_reactor_now_us(mover->reactor);
    bool leaving = mf_node_leaving(mover->reactor->node);
    look_around(mover, now_us);
    serve_transfers(mover, now_us);
    serve_drains(mover, now_us);
    if (!leaving && now_us < mover->spread_us)
        return;
    mover->spread_us = now_us + SPREAD_US;
    sweep(mover, leaving, now_us);
}

void mf_mover_drop(struct mf_owned_shard *shard)
{
    struct mf_mover *mover = shard->reactor->mover;
    struct mf_op *op;
    while ((op = mf_op_pop(&shard->move.waiting)) != NULL) {
        mover->waiting--;
        answer(mover, op, MF_NOT_LEADER, mf_paxos_leader(mf_replica_paxos(shard->replica)));
    }
    shard->move = (struct mf_move){0};
}

bool mf_mover_done(const struct mf_mover *mover)
{
    return mover->done;
}
