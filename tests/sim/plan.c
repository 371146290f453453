// Drawing a plan; see plan.h.
#include "plan.h"

#include <stddef.h>
#include <string.h>

#define MS UINT64_C(1000)
#define SECOND UINT64_C(1000000)
// How much gets lost where loss is all that goes wrong, and how long a write may take then: an
// election that loses 96 of 100 of its round trips may take ten seconds.
#define MOST_PERMILLE 800
#define PROGRESS_US (20 * SECOND)

static uint64_t pick(struct mf_rand *rand, const uint64_t *values, size_t count)
{
    return values[mf_rand_below(rand, count)];
}
#define PICK(rand, ...)                                                                            \
    pick(rand, (const uint64_t[]){__VA_ARGS__}, sizeof((uint64_t[]){__VA_ARGS__}) / 8)

static void draw_cluster(struct sim_plan *plan, struct mf_rand *rand)
{
    plan->node_count = (uint16_t)PICK(rand, 1, 3, 3, 3, 3, 3, 3, 5, 5, 7);
    plan->group_count = (uint32_t)PICK(rand, 1, 1, 1, 2, 3, 4);
    plan->storm_us = sim_between(rand, 8, 35) * SECOND;
    plan->turn_us_max = PICK(rand, 0, 0, 100, 1000);
    struct mf_replica_config *replica = &plan->replica;
    replica->paxos.election_us = PICK(rand, 100, 200, 400) * MS;
    plan->leases = !sim_chance(rand, 200);
    plan->lease_us = replica->paxos.election_us;
    replica->paxos.lease_us = plan->lease_us;
    plan->silence_us = PICK(rand, 150, 300, 500) * MS;
    replica->paxos.resend_us = PICK(rand, 30, 100, 250) * MS;
    replica->paxos.chosen_delay_us = PICK(rand, 1, 5, 25) * MS;
    replica->paxos.window_entries = (uint32_t)PICK(rand, 1, 2, 8, 64, 1024);
    replica->paxos.window_bytes = PICK(rand, 256, 4096, 1 << 20);
    replica->paxos.learn_bytes = PICK(rand, 1, 200, 4096, 1 << 16);
    replica->expire_batch = (uint32_t)PICK(rand, 1, 2, 10, 1000);
    replica->batch_bytes = PICK(rand, 1, 200, 4096, 1 << 16);
    replica->mark_interval_us = PICK(rand, 100, 1000, 1000) * MS;
    replica->pending_ops_max = PICK(rand, 4, 1000, 1000, 1000);
}

static void draw_workload(struct sim_plan *plan, struct mf_rand *rand)
{
    plan->client_count = (uint32_t)sim_between(rand, 1, SIM_CLIENTS_MAX);
    plan->key_count = (uint32_t)sim_between(rand, 1, SIM_KEYS_MAX);
    plan->pairs = plan->key_count > 1 && sim_chance(rand, 300);
    plan->op_max = (uint32_t)sim_between(rand, 150, 600);
    plan->think_us = plan->storm_us * plan->client_count / plan->op_max;
    plan->timeout_us = PICK(rand, 300, 1000, 3000) * MS;
    plan->value_bytes_max = (uint32_t)PICK(rand, 24, 24, 100, 1500);
    static const uint32_t usual[SIM_WISHES] = {
        [SIM_WISH_GET] = 25, [SIM_WISH_GET_META] = 8, [SIM_WISH_MGET] = 4,    [SIM_WISH_HAS] = 4,
        [SIM_WISH_TTL] = 8,  [SIM_WISH_SIZE] = 1,     [SIM_WISH_SET] = 35,    [SIM_WISH_MSET] = 4,
        [SIM_WISH_DEL] = 8,  [SIM_WISH_EXPIRE] = 6,   [SIM_WISH_PERSIST] = 3, [SIM_WISH_FLUSH] = 1,
        [SIM_WISH_INCR] = 8, [SIM_WISH_APPEND] = 4,   [SIM_WISH_GETDEL] = 3,  [SIM_WISH_GETEX] = 4,
        [SIM_WISH_TXN] = 8,
    };
    // From a generator of their own, so that no wish moves the faults that are drawn after them.
    struct mf_rand wishes = {plan->seed ^ 0x77697368};
    for (uint32_t i = 0; i < SIM_WISHES; i++)
        plan->wishes[i] = sim_chance(i < SIM_WISH_INCR ? rand : &wishes, 200) ? 0 : usual[i];
    plan->wishes[SIM_WISH_GET] = usual[SIM_WISH_GET];
    plan->wishes[SIM_WISH_SET] = usual[SIM_WISH_SET];
    plan->ttl_permille = (uint32_t)PICK(rand, 0, 300, 700, 1000);
    plan->ttl_ms_max = PICK(rand, 20, 500, 3000, 3000, 10000);
    plan->expire_at_permille = (uint32_t)PICK(rand, 0, 0, 100, 500);
    plan->condition_permille = (uint32_t)PICK(rand, 0, 100, 400);
    plan->id_permille = (uint32_t)PICK(rand, 0, 300, 1000);
    plan->twin_permille = (uint32_t)PICK(rand, 0, 100, 400);
    plan->echo_permille = (uint32_t)PICK(rand, 0, 100, 300);
    plan->probe_permille = (uint32_t)PICK(rand, 0, 300, 1000);
    plan->local_permille = (uint32_t)PICK(rand, 0, 0, 100);
    plan->astray_permille = (uint32_t)PICK(rand, 50, 300, 1000);
}

static void draw_network(struct sim_plan *plan, struct mf_rand *rand)
{
    plan->delay_us_min = PICK(rand, 20, 100, 1000);
    plan->delay_us_spread = PICK(rand, 50, 1000, 1000, 20 * MS);
    plan->overtaking = !sim_chance(rand, 300);
    plan->ghosts = sim_chance(rand, 200);
    if (sim_chance(rand, 300)) {
        plan->slow_permille = (uint32_t)PICK(rand, 5, 50, 200);
        plan->slow_us_max = PICK(rand, 50, 300, 2000) * MS;
    }
    if (sim_chance(rand, 400))
        plan->loss_permille = (uint32_t)PICK(rand, 10, 50, 200, 400, 800);
    if (sim_chance(rand, 300))
        plan->twice_permille = (uint32_t)PICK(rand, 10, 200);
    if (sim_chance(rand, 500))
        plan->partition_us = PICK(rand, 500, 2000, 6000) * MS;
    if (sim_chance(rand, 250))
        plan->link_reset_us = PICK(rand, 200, 2000) * MS;
    plan->lag_permille = (uint32_t)PICK(rand, 0, 0, 200, 900);
}

static void draw_machines(struct sim_plan *plan, struct mf_rand *rand)
{
    if (sim_chance(rand, 600)) {
        plan->crash_us = PICK(rand, 1000, 3000, 8000) * MS;
        plan->blackout_permille = (uint32_t)PICK(rand, 0, 0, 100, 500);
        plan->reboot_permille = (uint32_t)PICK(rand, 0, 500, 1000);
        plan->down_us_max = PICK(rand, 100, 2000, 8000) * MS;
    }
    if (sim_chance(rand, 250)) {
        plan->pause_us = PICK(rand, 1000, 4000) * MS;
        plan->pause_us_max = PICK(rand, 100, 800, 3000) * MS;
    }
    if (sim_chance(rand, 300))
        plan->transfer_us = PICK(rand, 300, 1500, 5000) * MS;
    if (sim_chance(rand, 250))
        plan->members_us = PICK(rand, 500, 2000, 5000) * MS;
    if (plan->members_us != 0)
        plan->leave_permille = (uint32_t)PICK(rand, 0, 20, 300, 1000);
    plan->drift_ppm_max = (uint32_t)PICK(rand, 0, 20, 100, 100);
    if (sim_chance(rand, 400))
        plan->wall_jump_us = PICK(rand, 500, 5000) * MS;
}

static void draw_disks(struct sim_plan *plan, struct mf_rand *rand)
{
    plan->durability = (enum sim_durability)PICK(rand, SIM_FSYNC, SIM_FSYNC, SIM_FSYNC, SIM_FSYNC,
                                                 SIM_OS, SIM_NONE);
    plan->sync_us_min = PICK(rand, 100, 500, 5000);
    plan->sync_us_spread = PICK(rand, 100, 2000, 45 * MS);
    if (sim_chance(rand, 200)) {
        plan->stall_permille = (uint32_t)PICK(rand, 2, 20);
        plan->stall_us_max = PICK(rand, 300, 3000) * MS;
    }
    plan->rotate_permille = (uint32_t)PICK(rand, 0, 10, 100);
    plan->preallocated = sim_chance(rand, 500);
    if (sim_chance(rand, 150))
        plan->slow_disk_us = PICK(rand, 1000, 4000) * MS;
    if (sim_chance(rand, 150))
        plan->full_us = PICK(rand, 1000, 6000) * MS;
    if (sim_chance(rand, 150))
        plan->rot_us = PICK(rand, 1000, 6000) * MS;
    if (sim_chance(rand, 150))
        plan->wipe_us = PICK(rand, 1000, 6000) * MS;
    if (sim_chance(rand, 500))
        plan->checkpoint_us = PICK(rand, 100, 400, 2000) * MS;
    plan->tail_max = (uint32_t)PICK(rand, 0, 0, 5, 50);
    plan->chunk_bytes = (uint32_t)PICK(rand, 16, 100, 1000, 1 << 20);
    if (plan->durability == SIM_NONE)
        plan->full_us = plan->rot_us = 0;
}

static void draw_aims(struct sim_plan *plan, struct mf_rand *rand)
{
    if (sim_chance(rand, 200))
        plan->takeover_us = PICK(rand, 1000, 3000) * MS;
    if (plan->members_us > 0)
        plan->members_cut_permille = (uint32_t)PICK(rand, 0, 300, 700);
    if (plan->members_us > 0)
        plan->unasked_permille = (uint32_t)PICK(rand, 0, 0, 300, 700);
    if (plan->leave_permille > 0)
        plan->late_words_permille = (uint32_t)PICK(rand, 0, 0, 0, 100, 500);
}

// From numbers of its own: older seeds have the plans that they always had, beside this.
static void draw_holds(struct sim_plan *plan)
{
    struct mf_rand rand = {.state = plan->seed ^ 0x686f6c64};
    plan->replica.held_log_bytes = PICK(&rand, 0, 200, 2000, 1 << 20);
    if (sim_chance(&rand, 300))
        plan->hold_us = PICK(&rand, 50, 200, 1000) * MS;
}

// The same.
static void draw_work(struct sim_plan *plan)
{
    struct mf_rand rand = {.state = plan->seed ^ 0x776f726b};
    plan->replica.built_bytes = PICK(&rand, 1, 100, 1000, 1 << 20);
}

// The same. Where a restart takes all memory anyhow nobody needs a log but the others: one voter
// does without, and acknowledges by itself.
static void draw_alone(struct sim_plan *plan)
{
    struct mf_rand rand = {.state = plan->seed ^ 0x616c6f6e65};
    plan->replica.unshared = sim_chance(&rand, 500);
    if (plan->durability != SIM_NONE)
        return;
    plan->replica.unlogged = sim_chance(&rand, 800);
    plan->alone_permille = (uint32_t)PICK(&rand, 0, 300, 600);
}

// Leaving out. What is not there reads 0, in every field.

struct aspect {
    const char *name;
    size_t offset;
    size_t size;
};

#define ASPECT(name, field)                                                                        \
    {                                                                                              \
        name, offsetof(struct sim_plan, field), sizeof((struct sim_plan){0}.field)                 \
    }

static const struct aspect aspects[] = {
    ASPECT("loss", loss_permille),
    ASPECT("late-frames", slow_permille),
    ASPECT("doubles", twice_permille),
    ASPECT("overtaking", overtaking),
    ASPECT("ghosts", ghosts),
    ASPECT("partitions", partition_us),
    ASPECT("link-resets", link_reset_us),
    ASPECT("lag", lag_permille),
    ASPECT("crashes", crash_us),
    ASPECT("blackouts", blackout_permille),
    ASPECT("reboots", reboot_permille),
    ASPECT("pauses", pause_us),
    ASPECT("drift", drift_ppm_max),
    ASPECT("wall-jumps", wall_jump_us),
    ASPECT("forgetting", durability),
    ASPECT("stalls", stall_permille),
    ASPECT("rotation", rotate_permille),
    ASPECT("slow-disks", slow_disk_us),
    ASPECT("full-disks", full_us),
    ASPECT("rot", rot_us),
    ASPECT("wipes", wipe_us),
    ASPECT("leases", leases),
    ASPECT("transfers", transfer_us),
    ASPECT("members", members_us),
    ASPECT("leaving", leave_permille),
    ASPECT("snapshots", checkpoint_us),
    ASPECT("left-behind", left_behind),
    ASPECT("takeovers", takeover_us),
    ASPECT("member-cuts", members_cut_permille),
    ASPECT("unasked", unasked_permille),
    ASPECT("late-words", late_words_permille),
    ASPECT("turns", turn_us_max),
    ASPECT("pairs", pairs),
    ASPECT("ttls", ttl_permille),
    ASPECT("probes", probe_permille),
    ASPECT("conditions", condition_permille),
    ASPECT("ids", id_permille),
    ASPECT("twins", twin_permille),
    ASPECT("echoes", echo_permille),
    ASPECT("expires", wishes[SIM_WISH_EXPIRE]),
    ASPECT("persists", wishes[SIM_WISH_PERSIST]),
    ASPECT("dels", wishes[SIM_WISH_DEL]),
    ASPECT("msets", wishes[SIM_WISH_MSET]),
    ASPECT("flushes", wishes[SIM_WISH_FLUSH]),
    ASPECT("incrs", wishes[SIM_WISH_INCR]),
    ASPECT("appends", wishes[SIM_WISH_APPEND]),
    ASPECT("getdels", wishes[SIM_WISH_GETDEL]),
    ASPECT("getexes", wishes[SIM_WISH_GETEX]),
    ASPECT("txns", wishes[SIM_WISH_TXN]),
    ASPECT("holds", hold_us),
};
#define ASPECTS (sizeof(aspects) / sizeof(aspects[0]))
_Static_assert(ASPECTS <= 64, "a bit each");

const char *sim_aspect_name(uint32_t index)
{
    return index < ASPECTS ? aspects[index].name : NULL;
}

const char *sim_ways_name(uint32_t ways)
{
    static const char *const names[] = {NULL, "requests", "answers", "both"};
    return ways <= SIM_BOTH_WAYS ? names[ways] : NULL;
}

bool sim_plan_has(const struct sim_plan *plan, uint32_t index)
{
    const uint8_t *field = (const uint8_t *)plan + aspects[index].offset;
    for (size_t i = 0; i < aspects[index].size; i++) {
        if (field[i] != 0)
            return true;
    }
    return false;
}

static void leave_out(struct sim_plan *plan, const struct sim_limits *limits)
{
    for (uint32_t i = 0; i < ASPECTS; i++) {
        if ((limits->without >> i & 1) != 0)
            memset((uint8_t *)plan + aspects[i].offset, 0, aspects[i].size);
    }
    if (limits->storm_us != 0 && limits->storm_us < plan->storm_us)
        plan->storm_us = limits->storm_us;
    if (limits->ops != 0 && limits->ops < plan->op_max)
        plan->op_max = (uint32_t)limits->ops;
}

// Nothing of what comes by chance goes wrong, but for what a kind of run puts in after this.
static void calm_down(struct sim_plan *plan)
{
    plan->loss_permille = plan->slow_permille = plan->twice_permille = plan->stall_permille = 0;
    plan->partition_us = plan->link_reset_us = 0;
    plan->crash_us = plan->pause_us = plan->wall_jump_us = 0;
    plan->slow_disk_us = plan->full_us = plan->rot_us = plan->wipe_us = 0;
    plan->transfer_us = plan->members_us = plan->takeover_us = plan->hold_us = 0;
    plan->left_behind = false;
}

// The whole cluster loses power again and again while clients write as fast as they are answered:
// nearly always a write is under way. Where a loss of power takes memories, as many nodes lose it
// as the groups can spare, and with `os` the other processes are killed.
static void only_lose_power(struct sim_plan *plan, struct mf_rand *rand)
{
    calm_down(plan);
    plan->ghosts = false;
    plan->storm_us = sim_between(rand, 6, 10) * SECOND;
    plan->crash_us = PICK(rand, 500, 1000, 2000) * MS;
    plan->blackout_permille = plan->reboot_permille = 1000;
    plan->down_us_max = PICK(rand, 50, 300, 1000) * MS;
    plan->op_max = 800;
    plan->think_us = plan->storm_us * plan->client_count / plan->op_max;
    plan->timeout_us = PICK(rand, 300, 1000) * MS;
    plan->value_bytes_max = (uint32_t)PICK(rand, 24, 1500, 1500);
    plan->durability = (enum sim_durability)PICK(rand, SIM_FSYNC, SIM_FSYNC, SIM_FSYNC, SIM_FSYNC,
                                                 SIM_FSYNC, SIM_FSYNC, SIM_OS, SIM_NONE);
    plan->sync_us_min = PICK(rand, 5000, 15000, 40000);
    plan->rotate_permille = (uint32_t)PICK(rand, 0, 10, 100);
}

// Frames get lost, and nothing else goes wrong. Timeouts leave room for some twenty attempts.
static void only_lose(struct sim_plan *plan, uint32_t ways)
{
    struct mf_paxos_config *paxos = &plan->replica.paxos;
    uint32_t twice_permille = plan->twice_permille;
    calm_down(plan);
    plan->twice_permille = twice_permille;
    if (plan->node_count == 1)
        plan->node_count = 3;
    plan->storm_us = 60 * SECOND;
    plan->progress_us = PROGRESS_US;
    plan->op_max = 2000;
    plan->think_us = 100 * MS * plan->client_count;
    plan->timeout_us = 10 * SECOND;
    paxos->resend_us = 30 * MS;
    plan->lease_us = plan->silence_us = paxos->lease_us = paxos->election_us = 600 * MS;
    plan->request_loss_permille = (ways & SIM_REQUESTS) != 0 ? MOST_PERMILLE : 0;
    plan->answer_loss_permille = (ways & SIM_ANSWERS) != 0 ? MOST_PERMILLE : 0;
}

void sim_plan_draw(struct sim_plan *plan, uint64_t seed, const struct sim_limits *limits)
{
    struct mf_rand rand = {.state = seed};
    *plan = (struct sim_plan){.seed = seed};
    draw_cluster(plan, &rand);
    draw_workload(plan, &rand);
    draw_network(plan, &rand);
    draw_machines(plan, &rand);
    draw_disks(plan, &rand);
    plan->left_behind = sim_chance(&rand, 300);
    draw_aims(plan, &rand);
    draw_holds(plan);
    draw_work(plan);
    draw_alone(plan);
    if (limits->lose != 0)
        only_lose(plan, limits->lose);
    if (limits->power_loss)
        only_lose_power(plan, &rand);
    leave_out(plan, limits);
}
