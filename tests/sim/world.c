// The event queue, the faults' timetable, and a run from its first event to its last; see world.h.
#include "world.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "history.h"

#define MS UINT64_C(1000)
#define SECOND UINT64_C(1000000)
// Once everything is healed, a leader and equal replicas must be there within this time.
#define RECOVERY_US (30 * SECOND)
#define LOOK_EVERY_US (50 * MS)
#define WALL_JUMP_US_MAX (6 * 3600 * SECOND)

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

// Faults.

static void schedule_fault(struct sim *sim, enum sim_event_kind kind, uint64_t mean_us)
{
    if (mean_us > 0)
        sim_schedule(sim, sim->now_us + sim_around(&sim->fault_rand, mean_us), kind, 0, 0, NULL);
}

static void crash_node(struct sim *sim, uint16_t index)
{
    struct sim_node *node = &sim->nodes[index];
    if (!node->up)
        return;
    sim_node_crash(node, sim_chance(&sim->fault_rand, sim->plan.reboot_permille));
    uint64_t down_us = 20 * MS + mf_rand_below(&sim->fault_rand, sim->plan.down_us_max);
    sim_schedule(sim, sim->now_us + down_us, SIM_RESTART, index, 0, NULL);
}

static void crash(struct sim *sim)
{
    if (sim_chance(&sim->fault_rand, sim->plan.blackout_permille)) {
        for (uint16_t i = 0; i < sim->plan.node_count; i++)
            crash_node(sim, i);
        return;
    }
    crash_node(sim, (uint16_t)mf_rand_below(&sim->fault_rand, sim->plan.node_count));
    if (sim_chance(&sim->fault_rand, 200))
        crash_node(sim, (uint16_t)mf_rand_below(&sim->fault_rand, sim->plan.node_count));
}

static void restart(struct sim *sim, uint16_t index)
{
    if (!sim->nodes[index].up)
        sim_node_start(&sim->nodes[index]);
}

static void pause_node(struct sim *sim)
{
    struct sim_node *node = &sim->nodes[mf_rand_below(&sim->fault_rand, sim->plan.node_count)];
    uint64_t pause_us = mf_rand_below(&sim->fault_rand, sim->plan.pause_us_max);
    if (!node->up)
        return;
    node->paused_until_us = sim->now_us + pause_us;
    sim->stats.pauses++;
    sim_trace(sim, node->id, "stands still for %llu ms", (unsigned long long)(pause_us / 1000));
}

static void jump_wall_clock(struct sim *sim)
{
    struct sim_node *node = &sim->nodes[mf_rand_below(&sim->fault_rand, sim->plan.node_count)];
    uint64_t jump_us = mf_rand_below(&sim->fault_rand, 2 * WALL_JUMP_US_MAX);
    node->wall_offset_us = (int64_t)jump_us - (int64_t)WALL_JUMP_US_MAX;
    sim_trace(sim, node->id, "has its wall clock set %lld s from the truth",
              (long long)(node->wall_offset_us / 1000000));
}

static void strike(struct sim *sim, enum sim_event_kind kind)
{
    const struct sim_plan *plan = &sim->plan;
    if (!sim->stormy)
        return;
    switch (kind) {
    case SIM_CRASH:
        crash(sim);
        schedule_fault(sim, kind, plan->crash_us);
        break;
    case SIM_PAUSE:
        pause_node(sim);
        schedule_fault(sim, kind, plan->pause_us);
        break;
    case SIM_PARTITION:
        sim_network_partition(sim);
        schedule_fault(sim, kind, plan->partition_us);
        break;
    case SIM_LINK_RESET:
        sim_network_reset_link(sim);
        schedule_fault(sim, kind, plan->link_reset_us);
        break;
    default:
        jump_wall_clock(sim);
        schedule_fault(sim, kind, plan->wall_jump_us);
        break;
    }
}

// The clouds go: no more faults from here on, and whoever is down comes back.
static void heal(struct sim *sim)
{
    sim_trace(sim, 0, "is healed: no more faults, no more wishes");
    sim->stormy = false;
    sim->plan.loss_permille = 0;
    sim->plan.twice_permille = 0;
    sim->plan.slow_permille = 0;
    sim->plan.stall_permille = 0;
    sim_network_heal(sim);
    for (uint16_t i = 0; i < sim->plan.node_count; i++)
        restart(sim, i);
}

// Events.

static bool is_at_node(enum sim_event_kind kind)
{
    return kind <= SIM_REQUEST;
}

static bool is_of_a_life(enum sim_event_kind kind)
{
    return kind <= SIM_SYNCED;
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
        restart(sim, event->node);
        break;
    default:
        strike(sim, event->kind);
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

// One leader that all know and that serves, and all replicas at the same place.
static bool agree(struct sim *sim, uint32_t group)
{
    struct mf_replica_info first;
    uint32_t leading = 0;
    for (uint16_t i = 0; i < sim->plan.node_count; i++) {
        struct sim_node *node = &sim->nodes[i];
        struct mf_replica_env env = {.now_us = sim_node_mono_us(node),
                                     .wall_us = sim_node_wall_us(node)};
        struct mf_replica_info info;
        if (!node->up)
            return false;
        mf_replica_info(node->replicas[group], &env, &info);
        if (i == 0)
            first = info;
        leading += info.leading;
        if (info.leader == 0 || info.leader != first.leader || info.applied != first.applied ||
            info.chosen != info.applied || info.pending_ops != 0)
            return false;
    }
    return leading == 1;
}

static bool settled(struct sim *sim)
{
    for (uint32_t group = 0; group < sim->plan.group_count; group++) {
        if (!agree(sim, group))
            return false;
    }
    return sim_clients_idle(sim);
}

static void settle(struct sim *sim, const char *when)
{
    uint64_t deadline_us = sim->now_us + RECOVERY_US;
    while (!settled(sim)) {
        if (sim->now_us >= deadline_us)
            sim_fail(sim, "once faults stop, every group gets a leader and equal replicas",
                     "not within %llu s %s", (unsigned long long)(RECOVERY_US / SECOND), when);
        run_until(sim, sim->now_us + LOOK_EVERY_US);
    }
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
    sim->fault_rand.state = plan->seed ^ 0x666175;
    sim_trace(sim, 0, "has %u nodes, %u groups, %u clients", (unsigned)plan->node_count,
              plan->group_count, plan->client_count);
    sim_network_init(sim);
    for (uint16_t i = 0; i < plan->node_count; i++) {
        sim_node_init(sim, i);
        uint64_t at_us = sim->now_us + mf_rand_below(&sim->fault_rand, 500 * MS);
        sim_schedule(sim, at_us, SIM_RESTART, i, 0, NULL);
    }
    sim_clients_init(sim);
    schedule_fault(sim, SIM_CRASH, plan->crash_us);
    schedule_fault(sim, SIM_PAUSE, plan->pause_us);
    schedule_fault(sim, SIM_PARTITION, plan->partition_us);
    schedule_fault(sim, SIM_LINK_RESET, plan->link_reset_us);
    schedule_fault(sim, SIM_WALL_JUMP, plan->wall_jump_us);
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

void sim_run(uint64_t seed, bool tracing, const char *program, struct sim_stats *stats,
             uint64_t *digest)
{
    struct sim *sim = mf_calloc(1, sizeof(*sim));
    sim->tracing = tracing;
    sim->program = program;
    sim_plan_draw(&sim->plan, seed);
    start(sim);
    run_until(sim, sim->now_us + sim->plan.storm_us);
    heal(sim);
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
