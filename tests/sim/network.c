// Sending, losing and delaying frames; see network.h.
#include "network.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "world.h"

#define LATE_WORD_US_MAX UINT64_C(3000000)

void sim_network_init(struct sim *sim)
{
    sim->network = (struct sim_network){.rand = {.state = sim->plan.seed ^ 0x6e6574}};
}

void sim_frame_free(struct sim_frame *frame)
{
    mf_buf_free(&frame->message);
    free(frame);
}

static uint64_t draw_delay(struct sim *sim)
{
    struct mf_rand *rand = &sim->network.rand;
    const struct sim_plan *plan = &sim->plan;
    uint64_t delay_us = plan->delay_us_min + mf_rand_below(rand, plan->delay_us_spread);
    if (sim_chance(rand, plan->slow_permille))
        delay_us += mf_rand_below(rand, plan->slow_us_max);
    return delay_us;
}

static void put_on_wire(struct sim *sim, struct sim_frame *frame)
{
    struct sim_link *link = &sim->network.links[frame->from][frame->to];
    uint64_t arrival_us = sim->now_us + draw_delay(sim);
    if (!sim->plan.overtaking && arrival_us < link->last_arrival_us)
        arrival_us = link->last_arrival_us;
    link->last_arrival_us = arrival_us;
    sim_schedule(sim, arrival_us, SIM_FRAME, frame->to, 0, frame);
}

static struct sim_frame *copy_frame(const struct sim_frame *frame)
{
    struct sim_frame *copy = mf_alloc(sizeof(*copy));
    *copy = *frame;
    copy->message = (struct mf_buf){0};
    mf_buf_put(&copy->message, frame->message.data, frame->message.len);
    return copy;
}

static struct sim_frame *make_frame(struct sim *sim, uint16_t from, uint16_t to,
                                    enum sim_frame_kind kind)
{
    const struct sim_node *node = &sim->nodes[from];
    const struct sim_peer *peer = &node->peers[to];
    struct sim_frame *frame = mf_calloc(1, sizeof(*frame));
    *frame = (struct sim_frame){.from = from,
                                .to = to,
                                .kind = kind,
                                .from_life = node->life,
                                .to_life = sim->nodes[to].life,
                                .link_epoch = sim->network.links[from][to].epoch,
                                .sent_us = sim->now_us,
                                .mono_us = sim_node_mono_us(node),
                                .incarnation = node->incarnation,
                                .echo_us = peer->echo_us,
                                .echo_life = peer->life,
                                .echo_token = peer->echo_token,
                                .lags = sim_chance(&sim->network.rand, sim->plan.lag_permille)};
    return frame;
}

static void put_frame(struct sim *sim, struct sim_frame *frame)
{
    if (sim_chance(&sim->network.rand, sim->plan.twice_permille))
        put_on_wire(sim, copy_frame(frame));
    put_on_wire(sim, frame);
}

// When it comes again, what it says may be history.
static void put_again_late(struct sim *sim, const struct sim_frame *frame)
{
    struct mf_rand *rand = &sim->network.rand;
    if (!sim_chance(rand, sim->plan.late_words_permille))
        return;
    uint64_t late_us = mf_rand_below(rand, LATE_WORD_US_MAX);
    sim_schedule(sim, sim->now_us + late_us, SIM_FRAME, frame->to, 0, copy_frame(frame));
}

// Whether a message asks its receiver for something, or is the answer to one that did.
static bool is_request(enum sim_frame_kind kind, const struct mf_buf *message)
{
    if (kind != SIM_PAXOS_FRAME)
        return kind == SIM_CHUNK_FRAME;
    switch (message->data[0]) { // its type, see mf_paxos_msg_encode
    case MF_PAXOS_PROMISE:
    case MF_PAXOS_REJECT:
    case MF_PAXOS_ACCEPTED:
    case MF_PAXOS_LEARNED:
    case MF_PAXOS_READ_ACK:
    case MF_PAXOS_VOTE:
    case MF_PAXOS_RELEASE:
        return false;
    default:
        return true;
    }
}

static bool is_lost_promise(const struct sim *sim, enum sim_frame_kind kind, uint32_t group,
                            const struct mf_buf *message)
{
    return sim->now_us < sim->network.promises_lost_until_us[group] && kind == SIM_PAXOS_FRAME &&
           (message->data[0] == MF_PAXOS_PREPARE || message->data[0] == MF_PAXOS_PROMISE);
}

static bool lose(struct sim *sim, uint16_t from, uint16_t to, bool request)
{
    struct mf_rand *rand = &sim->network.rand;
    const struct sim_plan *plan = &sim->plan;
    sim->stats.frames++;
    bool lost = sim->network.links[from][to].cut || sim_chance(rand, plan->loss_permille);
    uint32_t permille = request ? plan->request_loss_permille : plan->answer_loss_permille;
    lost = lost || (permille > 0 && sim_chance(rand, permille));
    sim->stats.frames_lost += lost;
    return lost;
}

void sim_network_beat(struct sim *sim, uint16_t from, uint16_t to, bool asks)
{
    if (lose(sim, from, to, asks))
        return;
    struct sim_frame *frame = make_frame(sim, from, to, SIM_HEARTBEAT_FRAME);
    frame->asks = asks;
    put_frame(sim, frame);
}

void sim_network_send(struct sim *sim, uint16_t from, uint16_t to, enum sim_frame_kind kind,
                      uint32_t group, struct mf_buf message)
{
    bool lost = lose(sim, from, to, is_request(kind, &message));
    if (lost || is_lost_promise(sim, kind, group, &message)) {
        sim_trace(sim, 0, "loses a frame of group %u from node %u to node %u", group, from + 1u,
                  to + 1u);
        mf_buf_free(&message);
        return;
    }
    struct sim_frame *frame = make_frame(sim, from, to, kind);
    frame->group = group;
    frame->message = message;
    sim->digest = mf_hash_mix(sim->digest, mf_hash64(mf_buf_view(&frame->message), sim->now_us));
    if (kind == SIM_PLACES_FRAME && sim->plan.late_words_permille > 0)
        put_again_late(sim, frame);
    put_frame(sim, frame);
}

bool sim_network_arrives(struct sim *sim, const struct sim_frame *frame)
{
    const struct sim_link *link = &sim->network.links[frame->from][frame->to];
    const struct sim_node *to = &sim->nodes[frame->to];
    bool connected = !link->cut && link->epoch == frame->link_epoch;
    bool same_process = to->life == frame->to_life || sim->plan.ghosts;
    if (!connected || !to->up || !same_process) {
        sim->stats.frames_lost++;
        return false;
    }
    uint64_t age_us = sim->now_us - frame->sent_us;
    if (age_us > sim->network.age_us_max)
        sim->network.age_us_max = age_us;
    return true;
}

static void cut(struct sim *sim, uint16_t from, uint16_t to)
{
    sim->network.links[from][to].cut = true;
}

static void cut_around(struct sim *sim, uint16_t node, bool out, bool in)
{
    for (uint16_t other = 0; other < sim->plan.node_count; other++) {
        if (other == node)
            continue;
        if (out)
            cut(sim, node, other);
        if (in)
            cut(sim, other, node);
    }
    sim_trace(sim, 0, "cuts node %u off%s", node + 1u,
              out && in ? ""
              : out     ? ": nobody hears it"
                        : ": it hears nobody");
}

void sim_network_cut_in_two(struct sim *sim)
{
    uint64_t side = mf_rand_next(&sim->network.rand);
    for (uint16_t from = 0; from < sim->plan.node_count; from++) {
        for (uint16_t to = 0; to < sim->plan.node_count; to++) {
            if (((side >> from) & 1) != ((side >> to) & 1))
                cut(sim, from, to);
        }
    }
    sim_trace(sim, 0, "cuts the network in two, sides %llu",
              (unsigned long long)(side & ((1u << sim->plan.node_count) - 1)));
}

void sim_network_cut_pair(struct sim *sim, uint16_t a, uint16_t b)
{
    if (a == b)
        return;
    cut(sim, a, b);
    cut(sim, b, a);
    sim_trace(sim, 0, "cuts node %u off from node %u", a + 1u, b + 1u);
}

static void cut_some_links(struct sim *sim)
{
    uint32_t permille = (uint32_t)sim_between(&sim->network.rand, 100, 600);
    for (uint16_t from = 0; from < sim->plan.node_count; from++) {
        for (uint16_t to = 0; to < sim->plan.node_count; to++) {
            if (from != to && sim_chance(&sim->network.rand, permille)) {
                cut(sim, from, to);
                sim_trace(sim, 0, "cuts the way from node %u to node %u", from + 1u, to + 1u);
            }
        }
    }
}

void sim_network_isolate(struct sim *sim, uint16_t node)
{
    cut_around(sim, node, true, true);
}

void sim_network_partition(struct sim *sim)
{
    struct mf_rand *rand = &sim->network.rand;
    sim->stats.partitions++;
    sim_network_heal(sim);
    uint16_t node = (uint16_t)mf_rand_below(rand, sim->plan.node_count);
    switch (mf_rand_below(rand, 6)) {
    case 0:
        cut_around(sim, node, true, true);
        break;
    case 1:
        cut_around(sim, node, true, false);
        break;
    case 2:
        cut_around(sim, node, false, true);
        break;
    case 3:
        sim_network_cut_in_two(sim);
        break;
    case 4:
        cut_some_links(sim);
        break;
    default: // a time without
        break;
    }
}

void sim_network_reset_link(struct sim *sim)
{
    uint16_t count = sim->plan.node_count;
    if (count < 2)
        return;
    uint16_t a = (uint16_t)mf_rand_below(&sim->network.rand, count);
    uint16_t b = (uint16_t)((a + 1 + mf_rand_below(&sim->network.rand, count - 1u)) % count);
    sim->network.links[a][b].epoch++;
    sim->network.links[b][a].epoch++;
    sim->nodes[a].peers[b].fresh = true;
    sim->nodes[b].peers[a].fresh = true;
    sim_trace(sim, 0, "breaks the connection between node %u and node %u", a + 1u, b + 1u);
}

void sim_network_lose_promises(struct sim *sim, uint32_t group, uint64_t for_us)
{
    sim->network.promises_lost_until_us[group] = sim->now_us + for_us;
    sim_trace(sim, 0, "loses what phase 1 of group %u says for %llu ms", group,
              (unsigned long long)(for_us / 1000));
}

void sim_network_heal(struct sim *sim)
{
    for (uint16_t from = 0; from < SIM_NODES_MAX; from++) {
        for (uint16_t to = 0; to < SIM_NODES_MAX; to++)
            sim->network.links[from][to].cut = false;
    }
    sim_trace(sim, 0, "joins all links");
}
