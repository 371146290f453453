// Striking and healing; see faults.h.
#include "faults.h"

#include "world.h"

#define MS UINT64_C(1000)
#define SECOND UINT64_C(1000000)
#define WALL_JUMP_US_MAX (6 * 3600 * SECOND)
#define DISK_TROUBLE_US_MAX (4 * SECOND)
#define HOLD_US_MAX (2 * SECOND)
// From the end of a leader's lease until there is another leader, most of the time.
#define TAKEOVER_US_MAX (150 * MS)
// Steps of a change of configuration follow each other within this time, most of the time.
#define CHANGE_US_MAX (80 * MS)

static struct mf_rand *rand_of(struct sim *sim, enum sim_event_kind kind)
{
    return &sim->fault_rands[kind];
}

static uint64_t mean_us(const struct sim_plan *plan, enum sim_event_kind kind)
{
    switch (kind) {
    case SIM_CRASH:
        return plan->crash_us;
    case SIM_PAUSE:
        return plan->pause_us;
    case SIM_TAKEOVER:
        return plan->takeover_us;
    case SIM_PARTITION:
        return plan->partition_us;
    case SIM_LINK_RESET:
        return plan->link_reset_us;
    case SIM_WALL_JUMP:
        return plan->wall_jump_us;
    case SIM_SLOW_DISK:
        return plan->slow_disk_us;
    case SIM_FULL_DISK:
        return plan->full_us;
    case SIM_ROT:
        return plan->rot_us;
    case SIM_WIPE:
        return plan->wipe_us;
    case SIM_TRANSFER:
        return plan->transfer_us;
    case SIM_MEMBERS:
        return plan->members_us;
    case SIM_CHECKPOINT:
        return plan->checkpoint_us;
    case SIM_HOLD:
        return plan->hold_us;
    default:
        return 0;
    }
}

static void schedule(struct sim *sim, enum sim_event_kind kind)
{
    uint64_t mean = mean_us(&sim->plan, kind);
    if (mean > 0)
        sim_schedule(sim, sim->now_us + sim_around(rand_of(sim, kind), mean), kind, 0, 0, NULL);
}

static struct sim_node *any_node(struct sim *sim, enum sim_event_kind kind)
{
    return &sim->nodes[mf_rand_below(rand_of(sim, kind), sim->plan.node_count)];
}

static bool remembers(const struct sim_node *node, uint32_t group)
{
    return !node->disk.rotten && !node->left_behind && sim_checks_votes(node, group);
}

// A learner that has caught up may be made a voter by a leader that has not heard of its loss yet.
static bool may_soon_vote(const struct sim *sim, const struct sim_node *node, uint32_t group)
{
    return sim->plan.members_us > 0 && !node->disk.rotten && !node->left_behind &&
           sim_checks_learns(node, group);
}

// Other voters that know durably that the newest configuration is chosen: who does not may need the
// one before it.
static uint32_t others_who_know(const struct sim *sim, const struct sim_node *node, uint32_t group)
{
    const struct mf_members *members = sim_checks_members(sim, group);
    uint32_t others = 0;
    for (uint16_t i = 0; i < sim->plan.node_count; i++)
        others += i != node->index && remembers(&sim->nodes[i], group) &&
                  sim->checks.groups[group].marked[i] >= members->slot;
    return others;
}

// Are the others enough from now on? Never while the group's configuration changes, and with one to
// spare where the next wish may be for fewer voters or for more.
static bool others_suffice(const struct sim *sim, const struct sim_node *node, uint32_t group)
{
    uint32_t others = others_who_know(sim, node, group);
    uint32_t needed = mf_members_quorum(sim_checks_members(sim, group));
    needed += sim->plan.members_us > 0;
    return others >= needed && !sim_checks_members_open(sim, group);
}

// Can the group do without this node's memory?
static bool spares(const struct sim *sim, const struct sim_node *node, uint32_t group)
{
    bool known = others_who_know(sim, node, group) >=
                 (uint32_t)mf_members_quorum(sim_checks_members(sim, group));
    return (!remembers(node, group) && !may_soon_vote(sim, node, group) && known) ||
           others_suffice(sim, node, group);
}

static bool spared_by_all(const struct sim *sim, const struct sim_node *node)
{
    for (uint32_t group = 0; group < sim->plan.group_count; group++) {
        if (!spares(sim, node, group))
            return false;
    }
    return true;
}

// May this node lose its memory?
static bool may_forget(const struct sim *sim, const struct sim_node *node)
{
    return sim->checks.acceptor_count + sim->plan.node_count < SIM_ACCEPTORS_MAX &&
           spared_by_all(sim, node);
}

static void restart_later(struct sim *sim, const struct sim_node *node, enum sim_event_kind kind)
{
    uint64_t most_us = sim->plan.down_us_max > 0 ? sim->plan.down_us_max : 2 * SECOND;
    uint64_t down_us = 20 * MS + mf_rand_below(rand_of(sim, kind), most_us);
    sim_schedule(sim, sim->now_us + down_us, SIM_RESTART, node->index, 0, NULL);
}

// Back at once, and out of sight of one node: that one relies on what the process before granted.
static void restart_unseen(struct sim *sim, const struct sim_node *node)
{
    struct mf_rand *rand = rand_of(sim, SIM_CRASH);
    uint16_t count = sim->plan.node_count;
    uint16_t other = (uint16_t)((node->index + 1 + mf_rand_below(rand, count - 1u)) % count);
    sim_network_cut_pair(sim, node->index, other);
    uint64_t down_us = sim_between(rand, 1, 20) * MS;
    sim_schedule(sim, sim->now_us + down_us, SIM_RESTART, node->index, 0, NULL);
}

// True when the node has no power now.
static bool crash_node(struct sim *sim, struct sim_node *node)
{
    bool reboot = sim_chance(rand_of(sim, SIM_CRASH), sim->plan.reboot_permille);
    if (!node->up)
        return reboot;
    bool forgets = sim->plan.durability == SIM_NONE || (sim->plan.durability == SIM_OS && reboot);
    if (forgets && !may_forget(sim, node)) {
        if (sim->plan.durability == SIM_NONE)
            return false;
        reboot = false;
        forgets = false;
    }
    sim_node_crash(node, reboot);
    if (forgets)
        sim_node_forget(node);
    // The next change of the partition ends the cut.
    if (sim->plan.partition_us > 0 && sim->plan.node_count > 1 &&
        sim_chance(rand_of(sim, SIM_CRASH), 200))
        restart_unseen(sim, node);
    else
        restart_later(sim, node, SIM_CRASH);
    return reboot;
}

static void crash(struct sim *sim)
{
    struct mf_rand *rand = rand_of(sim, SIM_CRASH);
    if (sim_chance(rand, sim->plan.blackout_permille)) {
        bool any = false;
        bool all = true;
        for (uint16_t i = 0; i < sim->plan.node_count; i++) {
            any = any || sim->nodes[i].up;
            all = crash_node(sim, &sim->nodes[i]) && all;
        }
        sim->stats.power_losses += any && all;
        return;
    }
    crash_node(sim, any_node(sim, SIM_CRASH));
    if (sim_chance(rand, 200))
        crash_node(sim, any_node(sim, SIM_CRASH));
}

static void jump_wall_clock(struct sim *sim)
{
    struct sim_node *node = any_node(sim, SIM_WALL_JUMP);
    uint64_t jump_us = mf_rand_below(rand_of(sim, SIM_WALL_JUMP), 2 * WALL_JUMP_US_MAX);
    node->wall_offset_us = (int64_t)jump_us - (int64_t)WALL_JUMP_US_MAX;
    sim_trace(sim, node->id, "has its wall clock set %lld s from the truth",
              (long long)(node->wall_offset_us / 1000000));
}

static uint64_t trouble_until_us(struct sim *sim, enum sim_event_kind kind)
{
    return sim->now_us + sim_between(rand_of(sim, kind), 10 * MS, DISK_TROUBLE_US_MAX);
}

static void slow_down(struct sim *sim)
{
    struct sim_node *node = any_node(sim, SIM_SLOW_DISK);
    node->disk.slow_until_us = trouble_until_us(sim, SIM_SLOW_DISK);
    sim_trace(sim, node->id, "has a slow disk for %llu ms",
              (unsigned long long)((node->disk.slow_until_us - sim->now_us) / 1000));
}

static void fill_up(struct sim *sim)
{
    struct sim_node *node = any_node(sim, SIM_FULL_DISK);
    node->disk.full_until_us = trouble_until_us(sim, SIM_FULL_DISK);
    sim->stats.full_disks++;
    sim_trace(sim, node->id, "has a full disk for %llu ms",
              (unsigned long long)((node->disk.full_until_us - sim->now_us) / 1000));
}

// Rot shows at the next start. Where configurations are wished for, one may shrink until then to
// voters that are all rotten: so one disk at a time. And one that has no vote now may be given one
// until then, with the memory that it will have lost.
static void rot(struct sim *sim)
{
    struct sim_node *node = any_node(sim, SIM_ROT);
    bool fine = may_forget(sim, node);
    for (uint16_t i = 0; i < sim->plan.node_count && sim->plan.members_us > 0; i++)
        fine = fine && !sim->nodes[i].disk.rotten;
    for (uint32_t group = 0; group < sim->plan.group_count && sim->plan.members_us > 0; group++)
        fine = fine && others_suffice(sim, node, group);
    if (fine)
        sim_disk_rot(node);
}

static void wipe(struct sim *sim)
{
    struct sim_node *node = any_node(sim, SIM_WIPE);
    if (!may_forget(sim, node))
        return;
    sim_trace(sim, node->id, "loses its disk");
    if (node->up) {
        sim_node_crash(node, sim_chance(rand_of(sim, SIM_WIPE), 500));
        restart_later(sim, node, SIM_WIPE);
    }
    sim_node_forget(node);
}

// The node that thinks it leads the group, if one does and is not paused.
static struct sim_node *leader_of(struct sim *sim, uint32_t group)
{
    for (uint16_t i = 0; i < sim->plan.node_count; i++) {
        struct sim_node *node = &sim->nodes[i];
        if (node->up && node->paused_until_us <= sim->now_us &&
            mf_paxos_role(mf_replica_paxos(node->replicas[group])) == MF_LEADER)
            return node;
    }
    return NULL;
}

// A second pause within the first ends no earlier than that one.
static void pause_for(struct sim *sim, struct sim_node *node, uint64_t pause_us)
{
    uint64_t until_us = sim->now_us + pause_us;
    if (until_us > node->paused_until_us)
        node->paused_until_us = until_us;
    sim->stats.pauses++;
    sim_trace(sim, node->id, "stands still for %llu ms", (unsigned long long)(pause_us / 1000));
}

static void pause_node(struct sim *sim)
{
    struct sim_node *node = any_node(sim, SIM_PAUSE);
    uint64_t pause_us = mf_rand_below(rand_of(sim, SIM_PAUSE), sim->plan.pause_us_max);
    if (node->up)
        pause_for(sim, node, pause_us);
}

// A process ends and is there again before anybody misses it.
static void blink(struct sim *sim, struct sim_node *node)
{
    if (!node->up || sim->plan.durability == SIM_NONE)
        return;
    sim_node_crash(node, false);
    uint64_t down_us = sim_between(rand_of(sim, SIM_TAKEOVER), 1 * MS, 30 * MS);
    sim_schedule(sim, sim->now_us + down_us, SIM_RESTART, node->index, 0, NULL);
}

static void slow_down_others(struct sim *sim, const struct sim_node *leader, uint64_t until_us)
{
    for (uint16_t i = 0; i < sim->plan.node_count; i++) {
        if (i != leader->index && sim_chance(rand_of(sim, SIM_TAKEOVER), 500))
            sim->nodes[i].disk.slow_until_us = until_us;
    }
}

// A leader stands still, and comes back just when the others agree on another one: what they have
// promised each other is put to the test by what they promise the old one now. One of them cannot
// be reached by it, nor reach it, so that they meet by way of third nodes only. A candidate may
// take its time to write down its promise; or a third node is not the process any more that the
// leader relies on.
static void take_over(struct sim *sim)
{
    struct mf_rand *rand = rand_of(sim, SIM_TAKEOVER);
    struct sim_node *leader = leader_of(sim, (uint32_t)mf_rand_below(rand, sim->plan.group_count));
    uint16_t other = any_node(sim, SIM_TAKEOVER)->index;
    uint16_t third = any_node(sim, SIM_TAKEOVER)->index;
    if (leader == NULL || other == leader->index)
        return;
    uint64_t lease_us = sim->plan.leases ? sim->plan.lease_us : 0;
    uint64_t least_us = lease_us > sim->plan.silence_us ? lease_us : sim->plan.silence_us;
    uint64_t start_us = sim->now_us + mf_rand_below(rand, 2 * least_us);
    uint64_t end_us = start_us + least_us + mf_rand_below(rand, TAKEOVER_US_MAX);
    uint64_t join_us = end_us + sim_between(rand, 100 * MS, 1000 * MS);
    sim_network_cut_pair(sim, leader->index, other);
    if (sim_chance(rand, 500))
        slow_down_others(sim, leader, end_us);
    else if (third != leader->index && third != other)
        sim_schedule(sim, start_us + mf_rand_below(rand, 50 * MS), SIM_BLINK, third, 0, NULL);
    sim_schedule(sim, start_us, SIM_STILL, leader->index, end_us - start_us, NULL);
    sim_schedule(sim, join_us, SIM_JOIN, 0, 0, NULL);
}

static void transfer(struct sim *sim)
{
    struct mf_rand *rand = rand_of(sim, SIM_TRANSFER);
    uint32_t group = (uint32_t)mf_rand_below(rand, sim->plan.group_count);
    uint16_t heir = any_node(sim, SIM_TRANSFER)->id;
    struct sim_node *leader = leader_of(sim, group);
    if (leader == NULL)
        return;
    struct mf_replica_env env = sim_node_env(leader);
    enum mf_err err = mf_replica_transfer(leader->replicas[group], &env, heir);
    sim_trace(sim, leader->id, "group %u is to be handed to node %u: %s", group, (unsigned)heir,
              mf_err_name(err));
    sim->stats.transfers += err == MF_OK;
    sim_node_touch(leader);
}

// Cuts the network while a change is on its way, so that some have heard of it and others have not,
// and for long enough that each side may find a leader.
static void cut_meanwhile(struct sim *sim)
{
    struct mf_rand *rand = rand_of(sim, SIM_MEMBERS);
    if (!sim_chance(rand, sim->plan.members_cut_permille))
        return;
    uint64_t at_us = sim->now_us + mf_rand_below(rand, CHANGE_US_MAX);
    uint64_t until_us = at_us + sim_between(rand, 200 * MS, 2 * SECOND);
    sim_schedule(sim, at_us, SIM_CUT, 0, 0, NULL);
    sim_schedule(sim, until_us, SIM_JOIN, 0, 0, NULL);
}

// Prepares and promises get lost while a change is on its way: its new voters have not been asked,
// or have not been heard, when they know of it and all else goes on.
static void lose_promises(struct sim *sim, uint32_t group)
{
    struct mf_rand *rand = rand_of(sim, SIM_UNASKED);
    if (!sim_chance(rand, sim->plan.unasked_permille))
        return;
    uint64_t at_us = sim->now_us + mf_rand_below(rand, CHANGE_US_MAX);
    sim_schedule(sim, at_us, SIM_UNASKED, 0, group, NULL);
}

// Some of the nodes, three at least where there are as many; or one.
static void change_members(struct sim *sim)
{
    struct mf_rand *rand = rand_of(sim, SIM_MEMBERS);
    uint32_t group = (uint32_t)mf_rand_below(rand, sim->plan.group_count);
    uint32_t left_out = sim->plan.node_count < 4 ? 0 : (uint32_t)mf_rand_below(rand, 3);
    uint16_t first = (uint16_t)mf_rand_below(rand, sim->plan.node_count);
    bool one = sim->plan.alone_permille > 0 && sim_chance(rand, sim->plan.alone_permille);
    struct mf_members members = {0};
    for (uint16_t i = 0; i < sim->plan.node_count; i++) {
        const struct sim_node *node = &sim->nodes[i];
        uint32_t place = (uint32_t)(i + sim->plan.node_count - first) % sim->plan.node_count;
        if (one ? place == 0 : place >= left_out || sim->plan.node_count - left_out < 3)
            members.voters[members.voter_count++] =
                (struct mf_acceptor){node->id, node->incarnation};
    }
    struct sim_node *leader = leader_of(sim, group);
    if (leader == NULL)
        return;
    char text[SIM_TEXT_MAX];
    const char *why;
    struct mf_replica_env env = sim_node_env(leader);
    enum mf_err err = mf_replica_reconfigure(leader->replicas[group], &env, &members, &why);
    sim_trace(sim, leader->id, "group %u is to have %s: %s", group,
              sim_members_text(&members, text, sizeof(text)), why != NULL ? why : mf_err_name(err));
    sim_node_touch(leader);
    cut_meanwhile(sim);
    lose_promises(sim, group);
}

static void make_snapshot(struct sim *sim)
{
    struct sim_node *node = any_node(sim, SIM_CHECKPOINT);
    uint32_t group = (uint32_t)mf_rand_below(rand_of(sim, SIM_CHECKPOINT), sim->plan.group_count);
    if (node->up && node->paused_until_us <= sim->now_us)
        sim_snapshots_make(node, group);
}

// A walk of the group's state gets ahead of its file, and its file takes its time.
static void hold(struct sim *sim)
{
    struct mf_rand *rand = rand_of(sim, SIM_HOLD);
    struct sim_node *node = any_node(sim, SIM_HOLD);
    uint32_t group = (uint32_t)mf_rand_below(rand, sim->plan.group_count);
    uint64_t hold_us = sim_between(rand, 1 * MS, HOLD_US_MAX);
    if (!node->up)
        return;
    sim_trace(sim, node->id, "group %u is held for %llu ms", group,
              (unsigned long long)(hold_us / 1000));
    sim->stats.holds++;
    mf_replica_hold(node->replicas[group], true);
    sim_schedule(sim, sim->now_us + hold_us, SIM_RELEASE, node->index, group, NULL);
}

void sim_faults_release(struct sim *sim, uint16_t index, uint32_t group)
{
    struct sim_node *node = &sim->nodes[index];
    if (!node->up)
        return;
    mf_replica_hold(node->replicas[group], false);
    sim_node_touch(node);
}

void sim_faults_start(struct sim *sim)
{
    for (enum sim_event_kind kind = 0; kind < SIM_EVENT_KINDS; kind++) {
        rand_of(sim, kind)->state = (sim->plan.seed ^ 0x666175) + (uint64_t)kind * 1000003;
        schedule(sim, kind);
    }
}

void sim_faults_strike(struct sim *sim, const struct sim_event *event)
{
    if (!sim->stormy)
        return;
    switch (event->kind) {
    case SIM_CRASH:
        crash(sim);
        break;
    case SIM_PAUSE:
        pause_node(sim);
        break;
    case SIM_PARTITION:
        sim_network_partition(sim);
        break;
    case SIM_TAKEOVER:
        take_over(sim);
        break;
    case SIM_STILL:
        if (sim->nodes[event->node].up)
            pause_for(sim, &sim->nodes[event->node], event->number);
        break;
    case SIM_BLINK:
        blink(sim, &sim->nodes[event->node]);
        break;
    case SIM_CUT:
        sim_network_cut_in_two(sim);
        break;
    case SIM_JOIN:
        sim_network_heal(sim);
        break;
    case SIM_UNASKED:
        sim_network_lose_promises(sim, (uint32_t)event->number,
                                  sim_between(rand_of(sim, SIM_UNASKED), 200 * MS, 2 * SECOND));
        break;
    case SIM_LINK_RESET:
        sim_network_reset_link(sim);
        break;
    case SIM_WALL_JUMP:
        jump_wall_clock(sim);
        break;
    case SIM_SLOW_DISK:
        slow_down(sim);
        break;
    case SIM_FULL_DISK:
        fill_up(sim);
        break;
    case SIM_ROT:
        rot(sim);
        break;
    case SIM_TRANSFER:
        transfer(sim);
        break;
    case SIM_MEMBERS:
        change_members(sim);
        break;
    case SIM_CHECKPOINT:
        make_snapshot(sim);
        break;
    case SIM_HOLD:
        hold(sim);
        break;
    default:
        wipe(sim);
        break;
    }
    schedule(sim, event->kind);
}

void sim_faults_restart(struct sim *sim, uint16_t index)
{
    struct sim_node *node = &sim->nodes[index];
    if (node->up || node->left_behind)
        return;
    if (node->disk.full_until_us > sim->now_us)
        sim_schedule(sim, node->disk.full_until_us, SIM_RESTART, index, 0, NULL);
    else
        sim_node_start(node);
}

// The core that has to come together keeps a majority of every group; of the others each stays
// down, or up and cut off.
static void leave_behind(struct sim *sim)
{
    struct mf_rand *rand = rand_of(sim, SIM_RESTART);
    for (uint16_t i = 0; i < sim->plan.node_count; i++) {
        struct sim_node *node = &sim->nodes[i];
        if (sim->plan.node_count == 1 || !spared_by_all(sim, node) || !sim_chance(rand, 500))
            continue;
        node->left_behind = true;
        bool down = sim_chance(rand, 500);
        sim_trace(sim, node->id, "stays %s for good", down ? "down" : "cut off");
        if (down && node->up)
            sim_node_crash(node, false);
        sim_network_isolate(sim, i);
    }
}

void sim_faults_heal(struct sim *sim)
{
    sim_trace(sim, 0, "is healed: no more faults, no more wishes");
    sim->stormy = false;
    sim->plan.loss_permille = 0;
    sim->plan.request_loss_permille = 0;
    sim->plan.answer_loss_permille = 0;
    sim->plan.twice_permille = 0;
    sim->plan.slow_permille = 0;
    sim->plan.stall_permille = 0;
    sim_network_heal(sim);
    for (uint32_t group = 0; group < SIM_GROUPS_MAX; group++)
        sim->network.promises_lost_until_us[group] = 0;
    if (sim->plan.left_behind && sim->plan.members_us == 0)
        leave_behind(sim);
    for (uint16_t i = 0; i < sim->plan.node_count; i++) {
        sim->nodes[i].disk.slow_until_us = 0;
        sim->nodes[i].disk.full_until_us = 0;
        sim_faults_restart(sim, i);
    }
}
