// Sending operations and collecting their outcomes; see client.h.
#include "client.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "server/op.h"
#include "wishes.h"
#include "world.h"

#define MS UINT64_C(1000)
// A client waits a little longer than the node it asked.
#define GRACE_US (200 * MS)
#define FINAL_TIMEOUT_US UINT64_C(10000000)

void sim_clients_init(struct sim *sim)
{
    sim->clients.rand.state = sim->plan.seed ^ 0x636c69;
    for (uint32_t i = 0; i < sim->plan.client_count; i++)
        sim_schedule(sim, sim->now_us + mf_rand_below(&sim->clients.rand, 2000 * MS), SIM_CLIENT, 0,
                     i, NULL);
}

void sim_clients_free(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->clients.count; i++) {
        mf_buf_free(&sim->clients.ops[i]->answer);
        free(sim->clients.ops[i]);
    }
    free(sim->clients.ops);
}

struct sim_op *sim_op_of(struct sim *sim, uint64_t number)
{
    return number == 0 || number > sim->clients.count ? NULL : sim->clients.ops[number - 1];
}

bool sim_op_writes(const struct sim_op *op)
{
    return mf_op_is_write(op->opcode);
}

bool sim_clients_idle(const struct sim *sim)
{
    for (uint32_t i = 0; i < sim->clients.count; i++) {
        if (sim->clients.ops[i]->outcome == SIM_OPEN)
            return false;
    }
    return sim->clients.copies_out == 0;
}

// A new entry of the history, called now.
static struct sim_op *add_op(struct sim *sim, uint32_t client, uint64_t timeout_us)
{
    struct sim_clients *clients = &sim->clients;
    if (clients->count == clients->cap) {
        clients->cap = clients->cap == 0 ? 256 : clients->cap * 2;
        clients->ops = mf_realloc(clients->ops, clients->cap * sizeof(*clients->ops));
    }
    struct sim_op *op = mf_calloc(1, sizeof(*op));
    clients->ops[clients->count++] = op;
    op->number = clients->count;
    op->client = client;
    op->call_us = sim->now_us;
    op->return_us = UINT64_MAX;
    op->give_up_us = sim->now_us + timeout_us;
    sim_schedule(sim, op->give_up_us + GRACE_US, SIM_GIVE_UP, 0, op->number, NULL);
    sim->stats.ops++;
    return op;
}

static uint64_t link_delay_us(struct sim *sim)
{
    return sim_between(&sim->clients.rand, 50, 500);
}

static void send_copy(struct sim *sim, struct sim_op *op, uint16_t node, bool echo)
{
    struct sim_copy *copy = mf_calloc(1, sizeof(*copy));
    copy->number = op->number;
    copy->node = node;
    copy->echo = echo;
    op->copies_out++;
    sim->clients.copies_out++;
    sim_schedule(sim, sim->now_us + link_delay_us(sim), SIM_REQUEST, node, 0, copy);
}

static uint16_t any_node(struct sim *sim)
{
    uint16_t node = (uint16_t)mf_rand_below(&sim->clients.rand, sim->plan.node_count);
    while (sim->nodes[node].left_behind)
        node = (uint16_t)((node + 1u) % sim->plan.node_count);
    return node;
}

static void take_hint(struct sim *sim, uint32_t group, uint16_t node)
{
    bool gone = node != 0 && sim->nodes[node - 1].left_behind;
    sim->clients.leader_hint[group] = gone ? 0 : node;
}

static uint16_t choose_node(struct sim *sim, const struct sim_op *op)
{
    take_hint(sim, op->group, sim->clients.leader_hint[op->group]);
    uint16_t hint = sim->clients.leader_hint[op->group];
    bool astray = sim_chance(&sim->clients.rand, sim->plan.astray_permille);
    return hint == 0 || astray ? any_node(sim) : (uint16_t)(hint - 1);
}

static void begin(struct sim *sim, struct sim_op *op)
{
    char text[SIM_TEXT_MAX];
    sim_trace(sim, 0, "client %u asks for %s", op->client, sim_op_text(op, text, sizeof(text)));
    if (sim_op_writes(op))
        sim->clients.writes_open[op->group]++;
    uint16_t node = choose_node(sim, op);
    send_copy(sim, op, node, false);
    if (op->has_id && sim_chance(&sim->clients.rand, sim->plan.twin_permille)) {
        bool same = sim_chance(&sim->clients.rand, 300);
        send_copy(sim, op, same ? node : any_node(sim), false);
    }
}

static void sleep_client(struct sim *sim, uint32_t client)
{
    if (client < SIM_CLIENTS_MAX)
        sim_schedule(sim, sim->now_us + sim_around(&sim->clients.rand, sim->plan.think_us),
                     SIM_CLIENT, 0, client, NULL);
}

void sim_client_wake(struct sim *sim, uint32_t client)
{
    if (!sim->stormy || sim->clients.count >= sim->plan.op_max)
        return;
    struct sim_op *op = add_op(sim, client, sim->plan.timeout_us);
    sim_wish(sim, op);
    begin(sim, op);
}

// The node takes the request, or there is nobody to take it.
void sim_client_request(struct sim *sim, struct sim_copy *copy)
{
    struct sim_node *node = &sim->nodes[copy->node];
    const struct sim_op *op = sim_op_of(sim, copy->number);
    if (!node->up) {
        copy->status = MF_NOT_LEADER;
        copy->hint = 0;
        sim_schedule(sim, sim->now_us + link_delay_us(sim), SIM_ANSWER, 0, 0, copy);
        return;
    }
    uint64_t left_us = sim->plan.timeout_us;
    if (!copy->echo)
        left_us = op->give_up_us > sim->now_us ? op->give_up_us - sim->now_us : 1;
    struct sim_command command;
    sim_op_command(sim, op, &command);
    struct mf_op *request = mf_op_new(op->group, &command.command);
    mf_buf_free(&command.body);
    request->deadline_us = sim_node_mono_us(node) + left_us;
    request->owner = copy;
    sim_node_submit(node, request);
}

void sim_client_op_back(struct sim *sim, struct sim_node *node, struct mf_op *op, bool broken)
{
    struct sim_copy *copy = op->owner;
    copy->status = op->status;
    copy->broken = broken;
    copy->hint = op->leader;
    mf_buf_clear(&copy->result, SIZE_MAX);
    if (!broken && op->status == MF_OK) {
        mf_buf_put(&copy->result, op->result.data, op->result.len);
        sim_checks_answered(sim, sim_op_of(sim, copy->number));
    }
    node->ops_inside--;
    mf_op_free(op);
    sim_schedule(sim, sim->now_us + link_delay_us(sim), SIM_ANSWER, 0, 0, copy);
}

static void end_copy(struct sim *sim, struct sim_op *op, struct sim_copy *copy)
{
    mf_buf_free(&copy->result);
    free(copy);
    op->copies_out--;
    sim->clients.copies_out--;
}

static void set_outcome(struct sim *sim, struct sim_op *op, enum sim_outcome outcome)
{
    static const char *const names[] = {"open", "answered", "refused", "left in the dark"};
    bool was_open = op->outcome == SIM_OPEN;
    op->outcome = outcome;
    sim_trace(sim, 0, "client %u is %s on op %u", op->client, names[outcome], op->number);
    if (outcome == SIM_REFUSED)
        sim_checks_refused(sim, op);
    if (was_open && sim_op_writes(op))
        sim->clients.writes_open[op->group]--;
    if (was_open)
        sleep_client(sim, op->client);
}

static void take_answer(struct sim *sim, struct sim_op *op, const struct sim_copy *copy)
{
    char text[SIM_TEXT_MAX];
    if (!op->answered) {
        op->answered = true;
        mf_buf_put(&op->answer, copy->result.data, copy->result.len);
        op->return_us = sim->now_us;
        take_hint(sim, op->group, (uint16_t)(copy->node + 1));
        sim_wish_learn(sim, op);
        if (sim_op_writes(op))
            sim->clients.write_wait_us[op->group] = 0;
        set_outcome(sim, op, SIM_DONE);
        sim_wish_follow_up(sim, op);
    } else if (!op->id_forgotten &&
               !mf_bytes_equal(mf_buf_view(&op->answer), mf_buf_view(&copy->result))) {
        sim_fail(sim, "an id gets the same answer each time", "%s",
                 sim_op_text(op, text, sizeof(text)));
    }
}

// Refused: on to the next node while there is time. An id makes it safe to try again after
// anything; an answer that was lost is then asked for again.
static bool move_on(struct sim *sim, struct sim_op *op, struct sim_copy *copy)
{
    bool settled = op->outcome != SIM_OPEN && !copy->echo;
    if (settled || sim->now_us >= op->give_up_us)
        return false;
    take_hint(sim, op->group, copy->hint);
    uint16_t hint = sim->clients.leader_hint[op->group];
    copy->node = hint != 0 ? (uint16_t)(hint - 1) : any_node(sim);
    uint64_t pause_us = sim_between(&sim->clients.rand, 1, 30) * MS;
    sim_schedule(sim, sim->now_us + pause_us, SIM_REQUEST, copy->node, 0, copy);
    return true;
}

void sim_client_answer(struct sim *sim, struct sim_copy *copy)
{
    struct sim_op *op = sim_op_of(sim, copy->number);
    bool refused = !copy->broken && (copy->status == MF_NOT_LEADER || copy->status == MF_BUSY ||
                                     copy->status == MF_NO_QUORUM);
    bool moves = false;
    if (!copy->broken && copy->status == MF_OK) {
        take_answer(sim, op, copy);
    } else if (refused) {
        if (copy->status == MF_BUSY)
            copy->hint = (uint16_t)(copy->node + 1); // the right node, at a bad time
        moves = copy->status != MF_NO_QUORUM && move_on(sim, op, copy);
    } else if (copy->broken || copy->status == MF_TIMEOUT) {
        op->copy_lost = true;
        copy->hint = 0;
        moves = op->has_id && move_on(sim, op, copy);
    } else {
        char text[SIM_TEXT_MAX];
        sim_fail(sim, "a well-formed request gets no error", "%s: %s", mf_err_name(copy->status),
                 sim_op_text(op, text, sizeof(text)));
    }
    if (!moves)
        end_copy(sim, op, copy);
    if (op->outcome == SIM_OPEN && op->copies_out == 0)
        set_outcome(sim, op, op->copy_lost && sim_op_writes(op) ? SIM_UNKNOWN : SIM_REFUSED);
}

void sim_client_give_up(struct sim *sim, uint32_t number)
{
    struct sim_op *op = sim_op_of(sim, number);
    if (op->outcome == SIM_OPEN)
        set_outcome(sim, op, SIM_UNKNOWN);
}

void sim_client_probe(struct sim *sim, uint32_t number)
{
    const struct sim_op *aim = sim_op_of(sim, number);
    if (!sim->stormy)
        return;
    struct sim_op *op = add_op(sim, SIM_CLIENTS_MAX, sim->plan.timeout_us);
    aim = sim_op_of(sim, number);
    sim_wish_probe(sim, op, aim);
    begin(sim, op);
}

void sim_client_echo(struct sim *sim, uint32_t number)
{
    struct sim_op *op = sim_op_of(sim, number);
    sim_trace(sim, 0, "client %u sends op %u again", op->client, number);
    send_copy(sim, op, any_node(sim), true);
}

void sim_client_final_round(struct sim *sim)
{
    for (uint32_t group = 0; group < sim->plan.group_count; group++) {
        struct sim_op *op = add_op(sim, SIM_CLIENTS_MAX, FINAL_TIMEOUT_US);
        sim_wish_final_write(sim, op, group);
        begin(sim, op);
        for (uint32_t key = 0; key < sim->plan.key_count; key++) {
            op = add_op(sim, SIM_CLIENTS_MAX, FINAL_TIMEOUT_US);
            sim_wish_final_read(sim, op, group, key);
            begin(sim, op);
        }
    }
}
