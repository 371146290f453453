// Telling who has a place, and leaving; see copies.h.
#include "copies.h"

#include <string.h>

#include "world.h"

void sim_copies_tell(struct sim_node *node, uint16_t to)
{
    for (uint32_t group = 0; group < node->sim->plan.group_count; group++) {
        const struct mf_paxos *paxos = mf_replica_paxos(node->replicas[group]);
        if (!mf_paxos_settled(paxos) || node->sim->plan.leave_permille == 0 ||
            !sim_chance(&node->rand, node->sim->plan.leave_permille))
            continue;
        const struct mf_members *members = mf_paxos_members(paxos);
        struct mf_buf message = {0};
        mf_buf_u64(&message, mf_paxos_ballot(paxos));
        mf_buf_put(&message, members, sizeof(*members));
        sim_network_send(node->sim, node->index, to, SIM_PLACES_FRAME, group, message);
    }
}

static bool names(const struct mf_members *members, uint16_t node)
{
    bool named = mf_members_voter_node(members, node) >= 0;
    for (uint8_t i = 0; i < members->learner_count; i++)
        named = named || members->learners[i].node == node;
    return named;
}

// Nothing of the copy is on its way to the disk, whose end would be reported to the next one.
static bool is_quiet(const struct sim_node *node, uint32_t group)
{
    const struct sim_disk *disk = &node->disk;
    return !disk->busy && disk->gathering.hand_over_count == 0 &&
           disk->gathering.record_count == 0 && node->snapshots[group].writing.meta.applied == 0 &&
           !mf_replica_dirty(node->replicas[group]);
}

void sim_copies_frame(struct sim_node *node, const struct sim_frame *frame)
{
    uint32_t group = frame->group;
    struct mf_reader reader = mf_reader_of(mf_buf_view(&frame->message));
    mf_ballot_t ballot = mf_read_u64(&reader);
    struct mf_members members;
    memcpy(&members, mf_read_bytes(&reader, sizeof(members)).data, sizeof(members));
    const struct mf_paxos *paxos = mf_replica_paxos(node->replicas[group]);
    struct sim_left *left = &node->left[group];
    if (left->gone || names(&members, node->id) || !is_quiet(node, group) ||
        !mf_paxos_may_leave(paxos, members.slot, ballot))
        return;
    sim_trace(node->sim, node->id, "group %u: gives up its copy of slot %llu, for slot %llu", group,
              (unsigned long long)mf_paxos_chosen(paxos), (unsigned long long)members.slot);
    left->promise = mf_paxos_ballot(paxos);
    left->floor = members.slot;
    left->gone = true;
    sim_snapshots_drop(node, group);
    sim_disk_uncover(node, group);
    mf_shard_free(mf_replica_give_up(node->replicas[group]));
    sim_checks_gave_up(node, group);
    sim_clocks_gave_up(node, group);
    sim_node_make_blank(node, group, &members);
    node->sim->stats.left++;
}
