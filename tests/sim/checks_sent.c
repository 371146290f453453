// What nodes say, held against what is on their disks and what others have said; see checks.h.
#include <stdlib.h>

#include "checks_internal.h"
#include "world.h"

typedef unsigned long long ull;

static void check_prepare(struct sim_node *node, uint32_t group, mf_ballot_t ballot)
{
    struct sim_group_checks *checks = sim_checks_group(node->sim, group);
    char text[32];
    for (uint32_t i = checks->ballot_count; i-- > 0;) {
        if (checks->ballots[i].ballot != ballot)
            continue;
        struct sim_ballot *used = &checks->ballots[i];
        // Another memory may prepare it again (consensus/members.h); that it gives no slot another
        // value is a rule of its own.
        if (used->life != node->life && used->incarnation == node->incarnation)
            sim_fail(node->sim, "a ballot is used by one life of its node",
                     "node %u, group %u uses ballot %s again after a restart", (unsigned)node->id,
                     group, sim_ballot_text(ballot, text, sizeof(text)));
        if (used->incarnation != node->incarnation)
            used->promisers = 0;
        used->promisers |= UINT64_C(1) << node->acceptor;
        used->life = node->life;
        used->incarnation = node->incarnation;
        return;
    }
    if (checks->ballot_count == checks->ballot_cap) {
        checks->ballot_cap = checks->ballot_cap == 0 ? 16 : checks->ballot_cap * 2;
        checks->ballots =
            mf_realloc(checks->ballots, checks->ballot_cap * sizeof(*checks->ballots));
    }
    checks->ballots[checks->ballot_count++] =
        (struct sim_ballot){.ballot = ballot,
                            .life = node->life,
                            .incarnation = node->incarnation,
                            .promisers = UINT64_C(1) << node->acceptor};
}

static struct sim_ballot *find_ballot(struct sim_group_checks *checks, mf_ballot_t ballot,
                                      uint64_t incarnation)
{
    for (uint32_t i = checks->ballot_count; i-- > 0;) {
        struct sim_ballot *used = &checks->ballots[i];
        if (used->ballot == ballot && used->incarnation == incarnation)
            return used;
    }
    return NULL;
}

// A leader has a majority's promises in the configuration that it proposes in, as it knows it. What
// it had queued before it stepped down, or before it was another configuration's, is of no use.
static void check_proposal(struct sim_node *node, uint32_t group, const struct mf_paxos_msg *msg)
{
    struct sim *sim = node->sim;
    const struct mf_paxos *paxos = mf_replica_paxos(node->replicas[group]);
    const struct mf_members *members = mf_paxos_members(paxos);
    if (mf_paxos_role(paxos) != MF_LEADER || mf_paxos_ballot(paxos) != msg->ballot ||
        msg->entry_count == 0 || msg->entries[msg->entry_count - 1].slot <= members->slot)
        return;
    struct sim_group_checks *checks = sim_checks_group(sim, group);
    const struct sim_ballot *used = find_ballot(checks, msg->ballot, node->incarnation);
    uint32_t count = 0;
    for (uint8_t voter = 0; voter < members->voter_count; voter++) {
        uint32_t acceptor = sim_checks_acceptor(sim, members->voters[voter]);
        bool own = acceptor == node->acceptor; // who is alone asks nobody
        count += own ? checks->promised[node->index] >= msg->ballot
                     : used != NULL && (used->promisers >> acceptor & 1) != 0;
    }
    char text[32];
    if (count < mf_members_quorum(members))
        sim_fail(sim, "a leader proposes where a majority has promised its ballot",
                 "node %u, group %u, slot %llu, ballot %s: %u of %u voters have",
                 (unsigned)node->id, group, (ull)msg->entries[msg->entry_count - 1].slot,
                 sim_ballot_text(msg->ballot, text, sizeof(text)), count,
                 (unsigned)members->voter_count);
}

// A copy that is made anew votes, and supports a lease, from its first state on; and whom a restart
// would bind to somebody else supports nobody.
static void check_voice(struct sim_node *node, uint32_t group, const struct mf_paxos_msg *msg)
{
    struct sim *sim = node->sim;
    bool accepts = msg->type == MF_PAXOS_ACCEPTED && msg->slot <= msg->last;
    bool votes = msg->type == MF_PAXOS_VOTE && msg->last != 0;
    bool voice = accepts || votes || msg->type == MF_PAXOS_PROMISE ||
                 msg->type == MF_PAXOS_READ_ACK || msg->type == MF_PAXOS_PREPARE;
    if (voice && node->left[group].gone)
        sim_fail(sim, "who has no copy has no voice", "node %u, group %u sends %s",
                 (unsigned)node->id, group, mf_paxos_type_name(msg->type));
    char text[32];
    if (msg->support != 0 && sim_checks_group(sim, group)->promised[node->index] < msg->ballot)
        sim_fail(sim, "a lease is supported by a promise that is durable",
                 "node %u, group %u supports ballot %s", (unsigned)node->id, group,
                 sim_ballot_text(msg->ballot, text, sizeof(text)));
}

static void check_promise(struct sim_node *node, uint32_t group, const struct mf_paxos_msg *msg)
{
    struct sim_group_checks *checks = sim_checks_group(node->sim, group);
    char text[32];
    struct sim_ballot *used = find_ballot(checks, msg->ballot, msg->read_seq);
    if (used != NULL)
        used->promisers |= UINT64_C(1) << node->acceptor;
    if (checks->promised[node->index] < msg->ballot)
        sim_fail(node->sim, "a promise is answered when it is durable",
                 "node %u, group %u promises %s", (unsigned)node->id, group,
                 sim_ballot_text(msg->ballot, text, sizeof(text)));
    for (uint32_t i = 0; i < msg->entry_count; i++) {
        const struct sim_accepted *accepted =
            &sim_checks_slot(checks, msg->entries[i].slot)->accepted[node->index];
        // A PREPARE that comes twice may find values of its own ballot. They tell its sender
        // nothing.
        bool earlier = msg->entries[i].ballot < msg->ballot;
        if (earlier && accepted->ballot < msg->entries[i].ballot)
            sim_fail(node->sim, "a promise reports what is durable", "node %u, group %u, slot %llu",
                     (unsigned)node->id, group, (ull)msg->entries[i].slot);
    }
    // What the candidate calls chosen it need not be told of.
    uint64_t known = msg->chosen > checks->chosen ? msg->chosen : checks->chosen;
    uint32_t told = 0;
    for (uint64_t slot = known + 1; slot <= checks->slot_count; slot++) {
        mf_ballot_t accepted = checks->slots[slot - 1].accepted[node->index].ballot;
        while (told < msg->entry_count && msg->entries[told].slot < slot)
            told++;
        bool reported = told < msg->entry_count && msg->entries[told].slot == slot;
        if (accepted != 0 && accepted < msg->ballot && !reported)
            sim_fail(node->sim, "a promise reports all that is accepted",
                     "node %u, group %u, slot %llu", (unsigned)node->id, group, (ull)slot);
    }
}

static void check_accepted(struct sim_node *node, uint32_t group, const struct mf_paxos_msg *msg)
{
    struct sim_group_checks *checks = sim_checks_group(node->sim, group);
    uint64_t first = mf_paxos_first_slot(mf_replica_paxos(node->replicas[group]));
    // A snapshot stands in for what is below.
    for (uint64_t slot = msg->slot > first ? msg->slot : first; slot <= msg->last; slot++) {
        const struct sim_slot *at = sim_checks_slot(checks, slot);
        const struct sim_accepted *accepted = &at->accepted[node->index];
        bool known =
            slot <= checks->chosen && accepted->ballot != 0 && accepted->value == at->value;
        if (accepted->ballot < msg->ballot && !known)
            sim_fail(node->sim, "an acceptance is answered when it is durable",
                     "node %u, group %u, slot %llu", (unsigned)node->id, group, (ull)slot);
    }
}

static void check_learned(struct sim_node *node, uint32_t group, const struct mf_paxos_msg *msg)
{
    struct sim_group_checks *checks = sim_checks_group(node->sim, group);
    for (uint32_t i = 0; i < msg->entry_count; i++) {
        const struct mf_paxos_entry *entry = &msg->entries[i];
        const struct sim_slot *at = sim_checks_slot(checks, entry->slot);
        uint64_t value = sim_checks_value(entry->payload, entry->log_time_us);
        if (!at->chosen || at->value != value)
            sim_fail(node->sim, "only chosen values are taught", "node %u, group %u, slot %llu",
                     (unsigned)node->id, group, (ull)entry->slot);
    }
}

void sim_checks_sent(struct sim_node *node, uint32_t group, const struct mf_paxos_msg *msg)
{
    struct sim *sim = node->sim;
    bool is_new;
    if (msg->incarnation != node->incarnation)
        sim_fail(sim, "a message tells whose memory it speaks for", "node %u, group %u sends %s",
                 (unsigned)node->id, group, mf_paxos_type_name(msg->type));
    if (msg->chosen > sim_checks_group(sim, group)->chosen)
        sim_fail(sim, "what is called chosen is durable on a majority",
                 "node %u, group %u says that slots up to %llu are chosen; %llu are",
                 (unsigned)node->id, group, (ull)msg->chosen,
                 (ull)sim_checks_group(sim, group)->chosen);
    check_voice(node, group, msg);
    switch (msg->type) {
    case MF_PAXOS_PREPARE:
        check_prepare(node, group, msg->ballot);
        break;
    case MF_PAXOS_PROMISE:
        check_promise(node, group, msg);
        break;
    case MF_PAXOS_ACCEPT:
        check_proposal(node, group, msg);
        for (uint32_t i = 0; i < msg->entry_count; i++) {
            const struct mf_paxos_entry *entry = &msg->entries[i];
            sim_checks_vote_for(sim, group, entry->slot, msg->ballot,
                                sim_checks_value(entry->payload, entry->log_time_us), &is_new);
        }
        break;
    case MF_PAXOS_ACCEPTED:
        check_accepted(node, group, msg);
        break;
    case MF_PAXOS_LEARNED:
        check_learned(node, group, msg);
        break;
    case MF_PAXOS_REJECT:
    case MF_PAXOS_CHOSEN:
    case MF_PAXOS_LEARN:
    case MF_PAXOS_READ_PROBE:
    case MF_PAXOS_READ_ACK:
    case MF_PAXOS_ASK_VOTE:
    case MF_PAXOS_VOTE:
    case MF_PAXOS_TRANSFER:
    case MF_PAXOS_ASK_RELEASE:
    case MF_PAXOS_RELEASE:
        break;
    }
}

void sim_checks_leads(struct sim_node *node, uint32_t group, mf_ballot_t ballot)
{
    char text[32];
    node->sim->stats.leaders++;
    if (mf_ballot_node(ballot) != node->id)
        sim_fail(node->sim, "a ballot has one leader", "node %u, group %u leads with ballot %s",
                 (unsigned)node->id, group, sim_ballot_text(ballot, text, sizeof(text)));
    check_prepare(node, group, ballot);
    sim_clocks_leads(node, group, ballot);
}
