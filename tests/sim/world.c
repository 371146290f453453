// The event queue, and a run from its first event to its last; see world.h.
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "faults.h"
#include "history.h"

#define MS UINT64_C(1000)
#define SECOND UINT64_C(1000000)
// Once everything is healed, a leader and equal replicas must be there within this time.
#define RECOVERY_US (30 * SECOND)
#define LOOK_EVERY_US (50 * MS)

// The queue.

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static void push(struct sim *sim, struct sim_event event)
{
    if (sim->queue_count == sim->queue_cap) {
        sim->queue_cap = sim->queue_cap == 0 ? 256 : sim->queue_cap * 2;
        sim->queue = mf_realloc(sim->queue, sim->queue_cap * sizeof(*sim->queue));
    }
    event.order = sim->next_order++;
    size_t at = sim->queue_count++;
    while (at > 0 && before(&event, &sim->queue[(at - 1) / 2])) {
        sim->queue[at] = sim->queue[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    sim->queue[at] = event;
}

static struct sim_event pop(struct sim *sim)
{
    struct sim_event top = sim->queue[0];
    struct sim_event last = sim->queue[--sim->queue_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= sim->queue_count)
            break;
        if (child + 1 < sim->queue_count && before(&sim->queue[child + 1], &sim->queue[child]))
            child++;
        if (before(&last, &sim->queue[child]))
            break;
        sim->queue[at] = sim->queue[child];
        at = child;
    }
    sim->queue[at] = last;
    return top;
}

void sim_schedule(struct sim *sim, uint64_t at_us, enum sim_event_kind kind, uint16_t node,
                  uint64_t number, void *data)
{
    push(sim, (struct sim_event){.at_us = at_us,
                                 .kind = kind,
                                 .node = node,
                                 .life = sim->nodes[node].life,
                                 .number = number,
                                 .data = data});
}

// Events.

static bool is_at_node(enum sim_event_kind kind)
{
    return kind <= SIM_REQUEST;
}

static bool is_of_a_life(enum sim_event_kind kind)
{
    return kind <= SIM_TRIED;
}

static void node_event(struct sim *sim, struct sim_event event)
{
    struct sim_node *node = &sim->nodes[event.node];
    if (is_of_a_life(event.kind) && (!node->up || node->life != event.life))
        return;
    if (node->up && node->paused_until_us > sim->now_us) {
        event.at_us = node->paused_until_us;
        push(sim, event);
        return;
    }
    switch (event.kind) {
    case SIM_TICK:
        sim_node_tick(node);
        break;
    case SIM_TURN:
        sim_node_turn(node);
        break;
    case SIM_HEARTBEAT:
        sim_node_heartbeat(node);
        break;
    case SIM_SYNCED:
        sim_node_synced(node);
        break;
    case SIM_WRITTEN:
        sim_snapshots_written(node, (uint32_t)event.number);
        break;
    case SIM_TRIED:
        sim_node_tried(node);
        break;
    case SIM_FRAME:
        sim_node_receive(node, event.data);
        break;
    default:
        sim_client_request(sim, event.data);
        break;
    }
}

static void handle(struct sim *sim, const struct sim_event *event)
{
    if (is_at_node(event->kind)) {
        node_event(sim, *event);
        return;
    }
    switch (event->kind) {
    case SIM_CLIENT:
        sim_client_wake(sim, (uint32_t)event->number);
        break;
    case SIM_ANSWER:
        sim_client_answer(sim, event->data);
        break;
    case SIM_GIVE_UP:
        sim_client_give_up(sim, (uint32_t)event->number);
        break;
    case SIM_PROBE:
        sim_client_probe(sim, (uint32_t)event->number);
        break;
    case SIM_ECHO:
        sim_client_echo(sim, (uint32_t)event->number);
        break;
    case SIM_RESTART:
        sim_faults_restart(sim, event->node);
        break;
    case SIM_RELEASE:
        sim_faults_release(sim, event->node, (uint32_t)event->number);
        break;
    default:
        sim_faults_strike(sim, event);
        break;
    }
}

static void run_until(struct sim *sim, uint64_t until_us)
{
    while (sim->queue_count > 0 && sim->queue[0].at_us <= until_us) {
        struct sim_event event = pop(sim);
        sim->now_us = event.at_us;
        sim->stats.events++;
        uint64_t what = (uint64_t)event.kind << 56 | (uint64_t)event.node << 48 | event.at_us;
        sim->digest = mf_hash_mix(sim->digest, what);
        handle(sim, &event);
    }
    sim->now_us = until_us;
}

// The run.

// Does this node stand where the first of the core stands? What is in its way goes into `why`.
static bool agrees(struct sim_node *node, uint32_t group, struct mf_replica_info *first,
                   uint32_t *leading, char *why)
{
    struct mf_replica_env env = {.now_us = sim_node_mono_us(node),
                                 .wall_us = sim_node_wall_us(node)};
    struct mf_replica_info info;
    mf_replica_info(node->replicas[group], &env, &info);
    if (first->group != group)
        *first = info;
    *leading += info.leading;
    const char *what = NULL;
    if (info.leader == 0)
        what = "knows no leader";
    else if (info.leader != first->leader)
        what = "follows another leader than the first node";
    else if (info.chosen != info.applied || info.applied != first->applied)
        what = "is at another slot than the first node";
    else if (!sim_checks_votes(node, group))
        what = "has lost its vote with its memory";
    else if (info.pending_ops != 0)
        what = "holds requests";
    if (what != NULL)
        snprintf(why, SIM_TEXT_MAX, "group %u: node %u %s (leader %u, slot %llu of %llu)", group,
                 (unsigned)node->id, what, (unsigned)info.leader, (unsigned long long)info.applied,
                 (unsigned long long)info.chosen);
    return what == NULL;
}

// One leader that all of the core know and that serves, and all its replicas at the same place.
static bool agree(struct sim *sim, uint32_t group, char *why)
{
    const struct mf_members *members = sim_checks_members(sim, group);
    struct mf_replica_info first = {.group = UINT32_MAX};
    uint32_t leading = 0;
    for (uint16_t i = 0; i < sim->plan.node_count; i++) {
        struct sim_node *node = &sim->nodes[i];
        if (node->left_behind || mf_members_voter_node(members, node->id) < 0)
            continue;
        if (!node->up) {
            snprintf(why, SIM_TEXT_MAX, "node %u is down", (unsigned)node->id);
            return false;
        }
        if (!agrees(node, group, &first, &leading, why))
            return false;
    }
    if (leading != 1)
        snprintf(why, SIM_TEXT_MAX, "group %u: %u nodes lead and serve", group, leading);
    return leading == 1;
}

static bool settled(struct sim *sim, char *why)
{
    for (uint32_t group = 0; group < sim->plan.group_count; group++) {
        if (!agree(sim, group, why))
            return false;
    }
    snprintf(why, SIM_TEXT_MAX, "requests are left open");
    return sim_clients_idle(sim);
}

static void settle(struct sim *sim, const char *when)
{
    uint64_t deadline_us = sim->now_us + RECOVERY_US;
    char why[SIM_TEXT_MAX];
    while (!settled(sim, why)) {
        if (sim->now_us >= deadline_us)
            sim_fail(sim, "once faults stop, every group gets a leader and equal replicas",
                     "not within %llu s %s: %s", (unsigned long long)(RECOVERY_US / SECOND), when,
                     why);
        run_until(sim, sim->now_us + LOOK_EVERY_US);
    }
}

// The storm, in which groups may have to go on acknowledging writes. Only time counts in which a
// client waits for one: a few clients who wait for other groups ask nothing of this one.
static void weather(struct sim *sim)
{
    uint64_t progress_us = sim->plan.progress_us;
    uint64_t end_us = sim->now_us + sim->plan.storm_us;
    while (progress_us > 0 && sim->now_us < end_us) {
        run_until(sim, sim->now_us + LOOK_EVERY_US);
        for (uint32_t group = 0; group < sim->plan.group_count; group++) {
            uint64_t *wait_us = &sim->clients.write_wait_us[group];
            if (sim->clients.writes_open[group] > 0)
                *wait_us += LOOK_EVERY_US;
            if (*wait_us > progress_us)
                sim_fail(sim, "writes go on where most frames are lost",
                         "group %u has let clients wait for %llu ms", group,
                         (unsigned long long)(*wait_us / MS));
        }
    }
    run_until(sim, end_us);
}

static void check_final_round(struct sim *sim, uint32_t first)
{
    char text[SIM_TEXT_MAX];
    for (uint32_t number = first; number <= sim->clients.count; number++) {
        const struct sim_op *op = sim_op_of(sim, number);
        if (op->outcome != SIM_DONE)
            sim_fail(sim, "once faults stop, every request is answered", "%s",
                     sim_op_text(op, text, sizeof(text)));
    }
}

static void start(struct sim *sim)
{
    const struct sim_plan *plan = &sim->plan;
    sim->now_us = SIM_START_US;
    sim->stormy = true;
    sim_trace(sim, 0, "has %u nodes, %u groups, %u clients", (unsigned)plan->node_count,
              plan->group_count, plan->client_count);
    sim_network_init(sim);
    sim->first_members.voter_count = (uint8_t)plan->node_count;
    for (uint16_t i = 0; i < plan->node_count; i++)
        sim->first_members.voters[i] = (struct mf_acceptor){(uint16_t)(i + 1), 1};
    sim_checks_begin(sim, &sim->first_members);
    for (uint16_t i = 0; i < plan->node_count; i++) {
        sim_node_init(sim, i);
        uint64_t at_us = sim->now_us + mf_rand_below(&sim->nodes[i].rand, 500 * MS);
        sim_schedule(sim, at_us, SIM_RESTART, i, 0, NULL);
    }
    sim_clients_init(sim);
    sim_faults_start(sim);
}

static void count_outcomes(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->clients.count; i++) {
        enum sim_outcome outcome = sim->clients.ops[i]->outcome;
        sim->stats.ops_done += outcome == SIM_DONE;
        sim->stats.ops_refused += outcome == SIM_REFUSED;
        sim->stats.ops_unknown += outcome == SIM_UNKNOWN;
    }
    sim->stats.runs = 1;
    sim->stats.simulated_us = sim->now_us - SIM_START_US;
}

static void finish(struct sim *sim)
{
    for (uint16_t i = 0; i < sim->plan.node_count; i++)
        sim_node_free(&sim->nodes[i]);
    while (sim->queue_count > 0) {
        struct sim_event event = pop(sim);
        if (event.kind == SIM_FRAME) {
            sim_frame_free(event.data);
        } else if (event.kind == SIM_REQUEST || event.kind == SIM_ANSWER) {
            struct sim_copy *copy = event.data;
            mf_buf_free(&copy->result);
            free(copy);
        }
    }
    free(sim->queue);
    sim_checks_free(sim);
    sim_clients_free(sim);
}

void sim_run(const struct sim_request *request, struct sim_stats *stats, uint64_t *digest)
{
    struct sim *sim = mf_calloc(1, sizeof(*sim));
    sim->request = request;
    sim->tracing = request->tracing;
    sim_plan_draw(&sim->plan, request->seed, &request->limits);
    start(sim);
    weather(sim);
    sim_faults_heal(sim);
    settle(sim, "after the storm");
    uint32_t first = sim->clients.count + 1;
    sim_client_final_round(sim);
    settle(sim, "after the last requests");
    check_final_round(sim, first);
    sim_checks_end(sim);
    sim_history_check(sim);
    count_outcomes(sim);
    *stats = sim->stats;
    *digest = sim->digest;
    finish(sim);
    free(sim);
}
