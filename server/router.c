// Routing of ops; see router.h.
#include "server/router.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/counter.h"
#include "server/links.h"
#include "server/mover.h"
#include "server/read_gate.h"
#include "server/request.h"
#include "server/roster.h"

// After this many nodes said "not me" in a row, the op waits a moment: the group is electing.
#define HOPS_MAX 4
// An op that is only for here waits so long for the end of a hand-over, which takes two messages
// and a write to the disk.
#define HAND_OVER_US UINT64_C(100000)
// A write is refused while this much is on its way to the disk.
#define WAL_PENDING_BYTES_MAX (256u << 20)

// An op that another node is working on. Ids are (reactor, generation, place in the table), so an
// answer finds its op without a search and a late one finds nothing.
struct forward {
    struct mf_op *op; // NULL = free
    uint16_t node;
    uint64_t incarnation; // of the process there that has got it
    uint32_t generation;
    uint32_t next_free;
};

struct mf_router {
    struct mf_reactor *reactor;
    struct forward *forwards;
    uint32_t forward_cap;
    uint32_t free_head; // UINT32_MAX = none
    uint32_t parked;
};

static void route(struct mf_owned_shard *shard, struct mf_op *op);

struct mf_router *mf_router_new(struct mf_reactor *reactor)
{
    struct mf_router *router = mf_calloc(1, sizeof(*router));
    router->reactor = reactor;
    router->free_head = UINT32_MAX;
    return router;
}

static uint64_t forward_id(const struct mf_router *router, uint32_t place)
{
    return (uint64_t)router->reactor->index << 56 |
           (uint64_t)(router->forwards[place].generation & 0xffffff) << 32 | place;
}

static uint32_t take_place(struct mf_router *router)
{
    if (router->free_head == UINT32_MAX) {
        uint32_t cap = router->forward_cap == 0 ? 64 : router->forward_cap * 2;
        router->forwards = mf_realloc(router->forwards, cap * sizeof(*router->forwards));
        for (uint32_t i = router->forward_cap; i < cap; i++)
            router->forwards[i] = (struct forward){.next_free = i + 1 < cap ? i + 1 : UINT32_MAX};
        router->free_head = router->forward_cap;
        router->forward_cap = cap;
    }
    uint32_t place = router->free_head;
    router->free_head = router->forwards[place].next_free;
    return place;
}

static struct mf_op *free_place(struct mf_router *router, uint32_t place)
{
    struct forward *forward = &router->forwards[place];
    struct mf_op *op = forward->op;
    if (op != NULL && op->asks)
        op->asks = mf_reactor_shard(router->reactor, op->shard)->asks = false;
    forward->op = NULL;
    forward->generation++;
    forward->next_free = router->free_head;
    router->free_head = place;
    return op;
}

static void return_home(struct mf_reactor *reactor, struct mf_task *task)
{
    struct mf_op *op = (struct mf_op *)(void *)((char *)task - offsetof(struct mf_op, task));
    mf_request_op_done(reactor, op);
}

// The op has its outcome: back to whoever made it. What says that nothing happened says so of the
// last try; an earlier one at a node that was lost may have had the effect all the same.
static void complete(struct mf_reactor *reactor, struct mf_op *op, enum mf_err status)
{
    bool refused = status == MF_NO_QUORUM || status == MF_BUSY || status == MF_SHUTTING_DOWN ||
                   status == MF_OUT_OF_MEMORY;
    op->status = refused && op->uncertain ? MF_TIMEOUT : status;
    if (op->from_node != 0) {
        mf_links_send_reply(reactor->links, op);
        return;
    }
    op->task.run = return_home;
    if (op->home == reactor->index)
        return_home(reactor, &op->task);
    else
        mf_reactor_send(reactor, op->home, &op->task);
}

// Of a client here, that may be passed on: such writes of a shard go where they are carried out in
// the order in which they came, as long as its leader stays the same.
static bool keeps_order(const struct mf_op *op)
{
    return op->write && op->from_node == 0 && !op->here;
}

static void park(struct mf_owned_shard *shard, struct mf_op *op)
{
    op->hops = 0;
    shard->reactor->router->parked++;
    shard->parked_writes += keeps_order(op);
    mf_op_push(&shard->parked, op);
}

static struct mf_op_list take_parked(struct mf_owned_shard *shard)
{
    struct mf_op_list list = shard->parked;
    shard->parked = (struct mf_op_list){0};
    shard->parked_writes = 0;
    shard->reactor->router->parked -= list.count;
    return list;
}

// Before all that wait: it came before them.
static void park_first(struct mf_owned_shard *shard, struct mf_op *op)
{
    struct mf_op_list behind = take_parked(shard);
    park(shard, op);
    struct mf_op *next;
    while ((next = mf_op_pop(&behind)) != NULL)
        park(shard, next);
}

static bool forward_to(struct mf_owned_shard *shard, struct mf_op *op, uint16_t node)
{
    struct mf_router *router = shard->reactor->router;
    uint32_t place = take_place(router);
    uint64_t incarnation =
        mf_links_send_forward(shard->reactor->links, node, op, forward_id(router, place));
    if (incarnation == 0) {
        free_place(router, place);
        return false;
    }
    router->forwards[place].incarnation = incarnation;
    router->forwards[place].op = op;
    router->forwards[place].node = node;
    mf_counter_add(&shard->reactor->counters.forwarded, 1);
    return true;
}

// A node that is handing over will answer with another one soon, and may be gone before it does.
static bool may_lead(const struct mf_node *node, uint16_t id)
{
    int member = mf_node_member(node, id);
    return member >= 0 &&
           !atomic_load_explicit(&node->members[member].declines, memory_order_relaxed);
}

// Who has copies, as a leader has told us, or else as the roster wishes.
static uint32_t copies_of(const struct mf_owned_shard *shard, uint16_t *ids)
{
    const struct mf_roster *roster = shard->reactor->roster;
    uint32_t count = mf_node_copies(shard->reactor->node, shard->id, ids);
    if (count > 0)
        return count;
    memcpy(ids, mf_roster_places(roster, shard->id), roster->copies * sizeof(ids[0]));
    return roster->copies;
}

// Where to try: the replica's leader, or, without a replica here, the last one heard of, or one
// copy after the other. 0 = nowhere now.
static uint16_t target(struct mf_owned_shard *shard)
{
    struct mf_node *node = shard->reactor->node;
    if (shard->replica != NULL) {
        return mf_paxos_leader(mf_replica_paxos(shard->replica));
    }
    if (shard->leader_hint != 0 && may_lead(node, shard->leader_hint))
        return shard->leader_hint;
    uint16_t copies[MF_COPIES_MAX];
    uint32_t count = copies_of(shard, copies);
    uint16_t copy = 0;
    for (uint32_t i = 0; i < count; i++) {
        copy = copies[shard->next_try++ % count];
        if (may_lead(node, copy))
            break;
    }
    return copy;
}

// A DRAIN, which is for a node and not for a shard.
static void route_drain(struct mf_owned_shard *shard, struct mf_op *op)
{
    struct mf_reactor *reactor = shard->reactor;
    if (op->node == reactor->node->config.id)
        mf_mover_drain(reactor->mover, op);
    else if (op->from_node != 0)
        complete(reactor, op, MF_BAD_REQUEST); // the asker has an odd view of the cluster
    else if (!forward_to(shard, op, op->node))
        park(shard, op);
}

static bool is_handing_over(const struct mf_owned_shard *shard)
{
    return shard->replica != NULL && mf_paxos_transferring(mf_replica_paxos(shard->replica));
}

static void serve(struct mf_owned_shard *shard, struct mf_op *op)
{
    if (op->opcode == MF_OP_TRANSFER) {
        mf_mover_transfer(shard, op);
        return;
    }
    if (op->write && mf_replica_writes_at_once(shard->replica) &&
        mf_replica_submit_at_once(shard->replica, mf_mono_us(), op)) {
        mf_reactor_touch_later(shard);
        return;
    }
    // A write is given its time when it is proposed, with all others of this turn.
    struct mf_replica_env env = {.log_blocked = mf_node_blocked(shard->reactor->node)};
    if (!op->write)
        env = mf_reactor_env(shard->reactor);
    bool write = op->write; // it may be answered at once, and gone
    mf_replica_submit(shard->replica, &env, op);
    (write ? mf_reactor_touch_to_write : mf_reactor_touch)(shard);
}

// An op that may not be passed on.
static void route_here(struct mf_owned_shard *shard, struct mf_op *op)
{
    uint16_t self = shard->reactor->node->config.id;
    uint16_t leader = shard->replica != NULL ? mf_paxos_leader(mf_replica_paxos(shard->replica))
                                             : shard->view.leader;
    if (leader == self && shard->replica != NULL && !is_handing_over(shard)) {
        serve(shard, op);
    } else if (leader != 0 && leader != self) {
        op->leader = leader;
        complete(shard->reactor, op, MF_NOT_LEADER);
    } else {
        park(shard, op);
    }
}

static void route(struct mf_owned_shard *shard, struct mf_op *op)
{
    struct mf_reactor *reactor = shard->reactor;
    uint16_t self = reactor->node->config.id;
    if (op->opcode == MF_OP_DRAIN) {
        route_drain(shard, op);
        return;
    }
    if (op->write && reactor->wal != NULL &&
        mf_wal_pending_bytes(reactor->wal) > WAL_PENDING_BYTES_MAX) {
        complete(reactor, op, MF_BUSY);
        return;
    }
    if (shard->state != NULL && op->from_node == 0) {
        park(shard, op); // the cluster is not formed yet
        return;
    }
    if (op->here) {
        route_here(shard, op);
        return;
    }
    if (keeps_order(op) && (shard->asks || shard->parked_writes > 0)) {
        park(shard, op);
        return;
    }
    if (shard->replica != NULL && (op->local || op->from_node != 0 || target(shard) == self)) {
        serve(shard, op);
        return;
    }
    if (op->from_node != 0) { // no copy here, or none any more
        op->leader = shard->leader_hint != op->from_node ? shard->leader_hint : 0;
        complete(reactor, op, MF_NOT_LEADER);
        return;
    }
    uint16_t node = target(shard);
    if (node == 0 || node == self || ++op->hops > HOPS_MAX || !forward_to(shard, op, node)) {
        park(shard, op);
        return;
    }
    if (keeps_order(op) && shard->replica == NULL && node != shard->leader_hint)
        op->asks = shard->asks = true;
}

static uint64_t held_until(void *ctx, uint16_t node, uint64_t token)
{
    const struct mf_reactor *reactor = ctx;
    return mf_links_held_until(reactor->links, node, token);
}

static uint64_t mono_us(void *ctx)
{
    struct mf_reactor *reactor = ctx;
    return reactor->read_us = mf_mono_us();
}

bool mf_router_read(struct mf_reactor *reactor, uint32_t shard, const struct mf_command *command,
                    struct mf_buf *out)
{
    struct mf_read_gate *gate = mf_read_gate_at(reactor->node->gates, shard);
    const struct mf_read_gate_env env = {held_until, mono_us, reactor};
    if (!mf_read_gate_open(gate) ||
        mf_read_gate_read(gate, shard, reactor->gate_reader, &env, command, out) != MF_OK)
        return false;
    if (mf_reactor_of_shard(reactor->node, shard) != reactor->index)
        mf_counter_add(&reactor->counters.shared_reads, 1);
    return true;
}

bool mf_router_write(struct mf_reactor *reactor, uint32_t number, const struct mf_command *command,
                     struct mf_buf *out)
{
    if (mf_reactor_of_shard(reactor->node, number) != reactor->index)
        return false;
    struct mf_owned_shard *shard = mf_reactor_shard(reactor, number);
    uint32_t value_bytes;
    if (shard->replica == NULL || !mf_replica_writes_at_once(shard->replica) ||
        shard->parked.count > 0 || !mf_command_is_plain(command, &value_bytes))
        return false;
    struct mf_bytes result;
    reactor->read_us = mf_mono_us();
    if (!mf_replica_write_at_once(shard->replica, reactor->read_us, command, &result))
        return false;
    mf_buf_put(out, result.data, result.len);
    mf_reactor_touch_later(shard);
    return true;
}

// Answers a read of another reactor's shard without going there, if this node leads it under a
// lease. False when the owner has to answer.
static bool read_here(struct mf_reactor *reactor, struct mf_op *op)
{
    struct mf_read_gate *gate = mf_read_gate_at(reactor->node->gates, op->shard);
    // The gate is asked in between, so that not all of this is read as one word, see
    // base/command.h.
    bool order = op->opcode == MF_OP_TRANSFER || op->opcode == MF_OP_DRAIN;
    if (op->write || !mf_read_gate_open(gate) || op->local || order)
        return false;
    struct mf_command command;
    struct mf_item *items = NULL;
    uint32_t items_cap = 0;
    struct mf_reader bytes = mf_reader_of(mf_buf_view(&op->command));
    bool answered = mf_command_decode(&bytes, &command, &items, &items_cap) == MF_OK;
    if (answered && command.op == MF_OP_MGET)
        command.limit = mf_node_answer_bytes_max(reactor->node);
    answered = answered && mf_router_read(reactor, op->shard, &command, &op->result);
    free(items);
    if (!answered)
        return false;
    op->leader = reactor->node->config.id;
    complete(reactor, op, MF_OK);
    return true;
}

static void arrive(struct mf_reactor *reactor, struct mf_task *task)
{
    struct mf_op *op = (struct mf_op *)(void *)((char *)task - offsetof(struct mf_op, task));
    route(mf_reactor_shard(reactor, op->shard), op);
}

void mf_router_submit(struct mf_reactor *reactor, struct mf_op *op)
{
    uint16_t owner = mf_reactor_of_shard(reactor->node, op->shard);
    op->task.run = arrive;
    if (owner == reactor->index) {
        arrive(reactor, &op->task);
        return;
    }
    if (read_here(reactor, op))
        return;
    mf_counter_add(&reactor->counters.crossed, 1);
    mf_reactor_send(reactor, owner, &op->task);
}

// A write that we lead and our disk does not take, of a shard that nobody else can lead.
static bool hopeless(const struct mf_owned_shard *shard, const struct mf_op *op)
{
    return op->write && mf_node_blocked(shard->reactor->node) && shard->replica != NULL &&
           mf_paxos_role(mf_replica_paxos(shard->replica)) == MF_LEADER &&
           mf_paxos_members(mf_replica_paxos(shard->replica))->voter_count == 1;
}

void mf_router_outcome(struct mf_owned_shard *shard, struct mf_op *op)
{
    uint16_t self = shard->reactor->node->config.id;
    if (op->status == MF_NOT_LEADER && hopeless(shard, op))
        op->status = MF_NO_QUORUM;
    if (op->status == MF_NOT_LEADER && op->leader == self)
        op->leader = 0; // it leads, but not for long
    if (op->status != MF_NOT_LEADER || op->from_node != 0) {
        complete(shard->reactor, op, op->status);
        return;
    }
    uint16_t leader = target(shard);
    if (leader != 0 && leader != self)
        route(shard, op);
    else
        park(shard, op); // leader_changed or the next tick takes it up again
}

enum mf_err mf_router_forwarded(struct mf_reactor *reactor, uint16_t from, uint64_t incarnation,
                                uint32_t shard, uint64_t id, uint32_t left_ms,
                                struct mf_bytes command)
{
    struct mf_op *op = NULL;
    enum mf_err err = mf_op_from_bytes(shard, command, &op);
    if (err != MF_OK)
        return err;
    op->from_node = from;
    op->from_incarnation = incarnation;
    op->from_id = id;
    op->deadline_us = mf_reactor_now_us(reactor) + (uint64_t)left_ms * 1000;
    // It may have waited for long at a node that stood still, and be answered by another since.
    if (left_ms == 0 && op->write)
        complete(reactor, op, MF_TIMEOUT);
    else
        mf_router_submit(reactor, op);
    return MF_OK;
}

struct answer {
    struct mf_task task;
    uint64_t id;
    enum mf_err status;
    uint16_t leader;
    struct mf_buf result;
};

static void unpark(struct mf_owned_shard *shard)
{
    struct mf_op_list list = take_parked(shard);
    struct mf_op *op;
    while ((op = mf_op_pop(&list)) != NULL)
        route(shard, op);
}

// The op is not carried out where it was; `leader` is whom that node knows as leader, or 0. False:
// it waits.
static bool send_on(struct mf_owned_shard *shard, struct mf_op *op, uint16_t leader, bool asked)
{
    shard->leader_hint = leader;
    bool known = leader != 0 && leader != shard->reactor->node->config.id && op->hops < HOPS_MAX;
    op->hops++;
    if (known && forward_to(shard, op, leader))
        return true;
    (asked ? park_first : park)(shard, op);
    return false;
}

static void take_answer(struct mf_reactor *reactor, struct mf_task *task)
{
    struct answer *answer = (struct answer *)task;
    struct mf_router *router = reactor->router;
    uint32_t place = (uint32_t)answer->id;
    if (place < router->forward_cap && router->forwards[place].op != NULL &&
        forward_id(router, place) == answer->id) {
        bool asked = router->forwards[place].op->asks;
        uint16_t node = router->forwards[place].node;
        struct mf_op *op = free_place(router, place);
        struct mf_owned_shard *shard = mf_reactor_shard(reactor, op->shard);
        bool goes_on = true;
        if (answer->status != MF_NOT_LEADER) {
            if (asked && shard->leader_hint == 0)
                shard->leader_hint = node;
            mf_buf_put(&op->result, answer->result.data, answer->result.len);
            complete(reactor, op, answer->status);
        } else {
            goes_on = send_on(shard, op, answer->leader, asked);
        }
        if (asked && goes_on)
            unpark(shard);
    }
    mf_buf_free(&answer->result);
    free(answer);
}

enum mf_err mf_router_replied(struct mf_reactor *reactor, uint64_t id, enum mf_err status,
                              uint16_t leader, struct mf_bytes result)
{
    uint32_t to = (uint32_t)(id >> 56);
    if (to >= reactor->node->reactor_count)
        return MF_CORRUPT;
    struct answer *answer = mf_calloc(1, sizeof(*answer));
    answer->task.run = take_answer;
    answer->id = id;
    answer->status = status;
    answer->leader = leader;
    mf_buf_put(&answer->result, result.data, result.len);
    mf_reactor_send(reactor, (uint16_t)to, &answer->task);
    return MF_OK;
}

// Ops that a node may have carried out or not, but for those that the process `present` has got
// (0: none). `decide`: nothing more will be heard of them.
static void recall(struct mf_reactor *reactor, uint16_t node, uint64_t present, bool decide)
{
    struct mf_router *router = reactor->router;
    for (uint32_t i = 0; i < router->forward_cap; i++) {
        struct mf_op *op = router->forwards[i].op;
        if (op == NULL || router->forwards[i].node != node ||
            (present != 0 && router->forwards[i].incarnation == present))
            continue;
        bool again = !op->write || op->has_id;
        if (!again && !decide)
            continue;
        free_place(router, i);
        op->uncertain = op->write;
        if (again)
            park(mf_reactor_shard(reactor, op->shard), op);
        else
            complete(reactor, op, MF_TIMEOUT);
    }
}

// Without a replica here nobody else says who leads.
static void publish(struct mf_owned_shard *shard)
{
    if (shard->replica == NULL)
        atomic_store_explicit(&shard->reactor->node->shards[shard->id].leader, shard->view.leader,
                              memory_order_relaxed);
}

void mf_router_node_lost(struct mf_reactor *reactor, uint16_t node, uint64_t incarnation)
{
    for (uint32_t i = 0; i < reactor->shard_count; i++) {
        struct mf_owned_shard *shard = &reactor->shards[i];
        if (incarnation == 0)
            mf_leader_view_lost(&shard->view, node);
        else
            mf_leader_view_started(&shard->view, node, incarnation);
        if (shard->leader_hint == node)
            shard->leader_hint = shard->view.leader;
        publish(shard);
    }
    recall(reactor, node, incarnation, true);
}

void mf_router_node_up(struct mf_reactor *reactor, uint16_t node, uint64_t incarnation)
{
    for (uint32_t i = 0; i < reactor->shard_count; i++) {
        struct mf_owned_shard *shard = &reactor->shards[i];
        uint16_t before = shard->view.leader;
        mf_leader_view_up(&shard->view, node, incarnation);
        publish(shard);
        if (shard->view.leader != before) {
            shard->leader_hint = shard->view.leader;
            unpark(shard);
        }
    }
}

void mf_router_link_lost(struct mf_reactor *reactor, uint16_t node)
{
    recall(reactor, node, 0, false);
}

void mf_router_node_reachable(struct mf_reactor *reactor, uint16_t node)
{
    (void)node;
    for (uint32_t i = 0; i < reactor->shard_count; i++)
        unpark(&reactor->shards[i]);
}

void mf_router_led_by(struct mf_owned_shard *shard, uint16_t node, uint64_t incarnation,
                      mf_ballot_t ballot)
{
    if (!mf_leader_view_heard(&shard->view, node, incarnation, ballot))
        return;
    shard->leader_hint = node;
    publish(shard);
    unpark(shard);
}

void mf_router_copy_gone(struct mf_owned_shard *shard, uint16_t leader)
{
    if (leader != 0)
        mf_leader_view_named(&shard->view, leader);
    shard->leader_hint = shard->view.leader;
    publish(shard);
}

void mf_router_leader_changed(struct mf_owned_shard *shard)
{
    unpark(shard);
}

// What may not be passed on does not wait for the end of a hand-over that takes long: whoever asks
// can do better, and knows that nothing has happened.
static bool has_waited(const struct mf_owned_shard *shard, const struct mf_op *op, uint64_t now_us)
{
    uint64_t timeout_us = (uint64_t)shard->reactor->node->config.request_timeout_ms * 1000;
    return op->deadline_us <= now_us || (op->here && is_handing_over(shard) &&
                                         op->deadline_us + HAND_OVER_US <= now_us + timeout_us);
}

static void retry_parked(struct mf_owned_shard *shard, uint64_t now_us)
{
    struct mf_op_list list = take_parked(shard);
    struct mf_op *op;
    while ((op = mf_op_pop(&list)) != NULL) {
        if (has_waited(shard, op, now_us)) {
            op->leader = is_handing_over(shard) ? shard->reactor->node->config.id : 0;
            complete(shard->reactor, op, op->here ? MF_NOT_LEADER : MF_NO_QUORUM);
        } else
            route(shard, op);
    }
}

void mf_router_tick(struct mf_reactor *reactor)
{
    struct mf_router *router = reactor->router;
    uint64_t now_us = mf_reactor_now_us(reactor);
    if (router->parked > 0) {
        for (uint32_t i = 0; i < reactor->shard_count; i++)
            retry_parked(&reactor->shards[i], now_us);
    }
    for (uint32_t i = 0; i < router->forward_cap; i++) {
        struct mf_op *op = router->forwards[i].op;
        if (op == NULL || op->deadline_us > now_us)
            continue;
        free_place(router, i);
        complete(reactor, op, op->write ? MF_TIMEOUT : MF_NO_QUORUM);
    }
}

void mf_router_free(struct mf_router *router)
{
    if (router == NULL)
        return;
    struct mf_reactor *reactor = router->reactor;
    for (uint32_t i = 0; i < reactor->shard_count; i++) {
        struct mf_op *op;
        while ((op = mf_op_pop(&reactor->shards[i].parked)) != NULL)
            complete(reactor, op, MF_SHUTTING_DOWN);
    }
    for (uint32_t i = 0; i < router->forward_cap; i++) {
        if (router->forwards[i].op != NULL)
            complete(reactor, free_place(router, i), MF_TIMEOUT);
    }
    free(router->forwards);
    free(router);
}
