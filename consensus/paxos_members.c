// Configurations: who counts, changing that, handing the group over, and snapshots in place of the
// log (P7, P8).
#include <assert.h>

#include "consensus/paxos_internal.h"

#define RECLAIM_SLOTS 1024u

int mf_paxos_peer_index(const struct mf_paxos *paxos, struct mf_acceptor acceptor)
{
    for (uint32_t i = 0; i < paxos->peer_count; i++) {
        const struct mf_acceptor *at = &paxos->peers[i].acceptor;
        if (at->node == acceptor.node && at->incarnation == acceptor.incarnation)
            return (int)i;
    }
    return -1;
}

static void add_peer(struct mf_paxos *paxos, const struct mf_paxos_peer *before, uint32_t count,
                     struct mf_acceptor acceptor)
{
    struct mf_paxos_peer *peer = &paxos->peers[paxos->peer_count++];
    *peer = (struct mf_paxos_peer){.acceptor = acceptor, .up = true};
    for (uint32_t i = 0; i < count; i++) {
        if (before[i].acceptor.node != acceptor.node)
            continue;
        if (before[i].acceptor.incarnation == acceptor.incarnation)
            *peer = before[i];
    }
    uint64_t present = mf_paxos_present_on(paxos, acceptor.node);
    peer->gone = present != 0 && present != acceptor.incarnation;
    peer->knows = paxos->members.slot == 0;
}

void mf_paxos_adopt_members(struct mf_paxos *paxos, const struct mf_members *members)
{
    struct mf_paxos_peer before[MF_VOTERS_MAX + MF_LEARNERS_MAX];
    uint32_t count = paxos->peer_count;
    for (uint32_t i = 0; i < count; i++)
        before[i] = paxos->peers[i];
    paxos->members = *members;
    paxos->peer_count = 0;
    for (uint8_t i = 0; i < members->voter_count; i++)
        add_peer(paxos, before, count, members->voters[i]);
    for (uint8_t i = 0; i < members->learner_count; i++)
        add_peer(paxos, before, count, members->learners[i]);
    struct mf_acceptor self = {paxos->cfg.self, paxos->cfg.incarnation};
    paxos->self = mf_members_voter(members, self);
    paxos->quorum = mf_members_quorum(members);
    paxos->votes = 0;
    if (mf_members_voter_node(members, paxos->leader) < 0)
        paxos->leader = 0;
    paxos->probe_acks = paxos->self >= 0 ? 1u << paxos->self : 0;
}

uint64_t mf_paxos_present_on(const struct mf_paxos *paxos, uint16_t node)
{
    for (uint32_t i = 0; i < paxos->present_count; i++) {
        if (paxos->present[i].node == node)
            return paxos->present[i].incarnation;
    }
    return 0;
}

static bool is_peer(const struct mf_paxos *paxos, uint16_t node)
{
    for (uint32_t i = 0; i < paxos->peer_count; i++) {
        if (paxos->peers[i].acceptor.node == node)
            return true;
    }
    return false;
}

// The place of a node, or one for it: where there is none left, that of the node that was noted
// first and is not in the configuration. Who is has a place as soon as anything is heard of it.
static uint32_t place_of(struct mf_paxos *paxos, uint16_t node)
{
    for (uint32_t i = 0; i < paxos->present_count; i++) {
        if (paxos->present[i].node == node)
            return i;
    }
    if (paxos->present_count < MF_PRESENT_MAX)
        return paxos->present_count++;
    uint32_t first = 0;
    while (is_peer(paxos, paxos->present[first].node))
        first++;
    for (uint32_t i = first + 1; i < MF_PRESENT_MAX; i++)
        paxos->present[i - 1] = paxos->present[i];
    return MF_PRESENT_MAX - 1;
}

static void note_present(struct mf_paxos *paxos, struct mf_acceptor acceptor)
{
    paxos->present[place_of(paxos, acceptor.node)] = acceptor;
}

void mf_paxos_present(struct mf_paxos *paxos, struct mf_acceptor acceptor)
{
    note_present(paxos, acceptor);
    for (uint32_t i = 0; i < paxos->peer_count; i++) {
        struct mf_paxos_peer *peer = &paxos->peers[i];
        if (peer->acceptor.node != acceptor.node)
            continue;
        peer->gone = peer->acceptor.incarnation != acceptor.incarnation;
        peer->up = true;
    }
}

bool mf_paxos_reachable(const struct mf_paxos *paxos, uint32_t peer)
{
    return paxos->peers[peer].acceptor.node != paxos->cfg.self && !paxos->peers[peer].gone;
}

static uint32_t knowing(const struct mf_paxos *paxos)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < paxos->members.voter_count; i++)
        count += (int)i == paxos->self ? paxos->members_seq <= paxos->seq_durable
                                       : paxos->peers[i].knows;
    return count;
}

void mf_paxos_peer_has(struct mf_paxos *paxos, uint32_t peer, uint64_t chosen)
{
    if (chosen >= paxos->members.slot)
        paxos->peers[peer].knows = true;
}

bool mf_paxos_fenced(const struct mf_paxos *paxos)
{
    if (paxos->self < 0 || paxos->members_slot > paxos->chosen)
        return true;
    // Counted here, and not by mf_paxos_promises: every entry that is proposed asks.
    uint32_t promised = 0;
    for (uint32_t i = 0; i < paxos->members.voter_count; i++)
        promised += paxos->peers[i].promised;
    return promised < paxos->quorum || knowing(paxos) < paxos->quorum;
}

bool mf_paxos_settled(const struct mf_paxos *paxos)
{
    return paxos->role == MF_LEADER && !mf_paxos_fenced(paxos);
}

static bool accepted_behind(const struct mf_paxos *paxos, uint64_t slot, mf_ballot_t ballot)
{
    uint64_t last = mf_entry_log_last(&paxos->log);
    for (uint64_t at = slot + 1 > paxos->log.first ? slot + 1 : paxos->log.first; at <= last;
         at++) {
        const struct mf_log_entry *entry = mf_entry_log_get(&paxos->log, at);
        if (entry != NULL && entry->ballot >= ballot)
            return true;
    }
    return false;
}

// What we know as chosen came as news, when no configuration in it names us; and entries of earlier
// leaders behind the slot are of no use to anybody.
bool mf_paxos_may_leave(const struct mf_paxos *paxos, uint64_t slot, mf_ballot_t ballot)
{
    uint64_t known = paxos->chosen > slot ? paxos->chosen : slot;
    return paxos->role != MF_LEADER && paxos->members.slot <= slot &&
           !accepted_behind(paxos, known, ballot);
}

void mf_paxos_lead_members(struct mf_paxos *paxos, const struct mf_paxos_env *env)
{
    for (uint32_t i = 0; i < paxos->peer_count; i++) {
        if (!mf_paxos_reachable(paxos, i))
            continue;
        mf_paxos_send_chosen(paxos, env, i);
        if (mf_paxos_is_voter(paxos, (int)i) && !paxos->peers[i].promised)
            mf_paxos_send_prepare(paxos, env, i);
    }
}

void mf_paxos_stand_back(struct mf_paxos *paxos, const struct mf_paxos_env *env)
{
    if (paxos->role == MF_CANDIDATE && paxos->self < 0)
        mf_paxos_step_down(paxos, env, 0, paxos->cfg.election_us);
}

// Not earlier: whoever does not know of the change would go on waiting for us.
void mf_paxos_leave(struct mf_paxos *paxos, const struct mf_paxos_env *env)
{
    if (paxos->self < 0 && knowing(paxos) >= paxos->quorum)
        mf_paxos_step_down(paxos, env, 0, paxos->cfg.election_us);
}

// At most one voter is another one.
static bool small_step(const struct mf_members *from, const struct mf_members *to)
{
    uint32_t gone = 0;
    uint32_t come = 0;
    for (uint8_t i = 0; i < from->voter_count; i++)
        gone += mf_members_voter(to, from->voters[i]) < 0;
    for (uint8_t i = 0; i < to->voter_count; i++)
        come += mf_members_voter(from, to->voters[i]) < 0;
    return gone <= 1 && come <= 1;
}

// It has to have said so itself, since we lead and since this configuration is in force: that a
// node is not known to be down is the case with one that was never heard of, too.
static bool caught_up(const struct mf_paxos *paxos, uint32_t i)
{
    const struct mf_paxos_peer *peer = &paxos->peers[i];
    return peer->up && !peer->gone && peer->chosen_acked > 0 &&
           peer->chosen_acked >= paxos->members.slot &&
           peer->chosen_acked + paxos->cfg.window_entries >= paxos->chosen;
}

// A voter that can be relied on at once.
static bool stands(const struct mf_paxos *paxos, struct mf_acceptor acceptor)
{
    if (acceptor.node == paxos->cfg.self)
        return acceptor.incarnation == paxos->cfg.incarnation;
    int i = mf_paxos_peer_index(paxos, acceptor);
    return i >= 0 && caught_up(paxos, (uint32_t)i);
}

static const char *objection(const struct mf_paxos *paxos, const struct mf_members *members)
{
    uint32_t standing = 0;
    bool same = members->voter_count == paxos->members.voter_count;
    if (members->voter_count == 0 || members->voter_count > MF_VOTERS_MAX ||
        members->learner_count > MF_LEARNERS_MAX)
        return "a group has 1 to 7 voters and at most 3 learners";
    if (!small_step(&paxos->members, members))
        return "one voter is changed at a time";
    for (uint8_t i = 0; i < members->voter_count; i++) {
        bool is_new = mf_members_voter(&paxos->members, members->voters[i]) < 0;
        bool fit = stands(paxos, members->voters[i]);
        if (is_new && !fit)
            return "a new voter has to be a learner that has caught up";
        standing += fit;
        same = same && !is_new;
    }
    return !same && standing < mf_members_quorum(members)
               ? "too few of the voters are there and have caught up: it would be left without a "
                 "majority"
               : NULL;
}

enum mf_err mf_paxos_reconfigure(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                                 uint64_t log_time_us, struct mf_members members, const char **why)
{
    *why = NULL;
    if (paxos->role != MF_LEADER)
        return MF_NOT_LEADER;
    if (!mf_paxos_window_open(paxos))
        return MF_AGAIN;
    *why = objection(paxos, &members);
    if (*why != NULL)
        return MF_BAD_REQUEST;
    struct mf_buf bytes = {0};
    members.base = paxos->members.slot;
    mf_members_encode(&members, &bytes);
    struct mf_payload *payload = mf_payload_new(MF_ENTRY_MEMBERS, mf_buf_view(&bytes));
    mf_buf_free(&bytes);
    uint64_t slot = paxos->next_slot++;
    if (paxos->ready_slot == 0)
        paxos->ready_slot = slot;
    mf_paxos_put_proposal(paxos, env, slot, log_time_us, payload);
    mf_payload_unref(payload);
    return MF_OK;
}

enum mf_err mf_paxos_transfer(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint16_t node)
{
    if (paxos->role != MF_LEADER)
        return MF_NOT_LEADER;
    int heir = mf_members_voter_node(&paxos->members, node);
    if (heir < 0 || node == paxos->cfg.self)
        return MF_BAD_REQUEST;
    if (paxos->heir != 0 || mf_paxos_fenced(paxos) || !paxos->peers[heir].up ||
        paxos->peers[heir].gone)
        return MF_AGAIN;
    paxos->heir = node;
    paxos->heir_due_us = env->now_us + paxos->cfg.election_us;
    paxos->peers[heir].resend_due_us = env->now_us;
    mf_paxos_leader_tick(paxos, env);
    return MF_OK;
}

void mf_paxos_hand_over(struct mf_paxos *paxos, const struct mf_paxos_env *env)
{
    int i = mf_members_voter_node(&paxos->members, paxos->heir);
    if (i < 0 || env->now_us >= paxos->heir_due_us) {
        paxos->heir = 0;
        return;
    }
    if (paxos->chosen + 1 < paxos->next_slot)
        return;
    if (paxos->peers[i].chosen_acked < paxos->chosen) {
        if (paxos->peers[i].chosen_sent < paxos->chosen)
            mf_paxos_send_chosen(paxos, env, (uint32_t)i);
        return;
    }
    mf_paxos_send(paxos, env,
                  (struct mf_paxos_msg){.type = MF_PAXOS_TRANSFER,
                                        .to = paxos->heir,
                                        .ballot = paxos->ballot,
                                        .chosen = paxos->chosen});
    mf_paxos_step_down(paxos, env, paxos->cfg.election_us, paxos->cfg.election_us);
}

bool mf_paxos_transferring(const struct mf_paxos *paxos)
{
    return paxos->heir != 0;
}

uint64_t mf_paxos_floor(const struct mf_paxos *paxos)
{
    return paxos->cfg.blank ? paxos->cfg.floor : 0;
}

bool mf_paxos_blank(const struct mf_paxos *paxos)
{
    return paxos->cfg.blank;
}

void mf_paxos_compact(struct mf_paxos *paxos, uint64_t first)
{
    assert(first <= paxos->chosen + 1);
    mf_entry_log_cut(&paxos->log, first);
}

void mf_paxos_reclaim(struct mf_paxos *paxos)
{
    mf_entry_log_reclaim(&paxos->log, RECLAIM_SLOTS);
}

bool mf_paxos_litter(const struct mf_paxos *paxos)
{
    return mf_entry_log_litter(&paxos->log);
}

bool mf_paxos_install(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint64_t slot,
                      uint64_t log_time_us, const struct mf_members *members)
{
    if (slot <= paxos->chosen || slot < mf_paxos_floor(paxos) || paxos->role == MF_LEADER)
        return false;
    mf_entry_log_cut(&paxos->log, slot + 1);
    paxos->cfg.blank = false;
    paxos->chosen = slot;
    paxos->chosen_taken = slot;
    if (paxos->known_chosen < slot)
        paxos->known_chosen = slot;
    if (paxos->last_log_time_us < log_time_us)
        paxos->last_log_time_us = log_time_us;
    mf_paxos_adopt_members(paxos, members);
    if (paxos->round_max < members->round)
        paxos->round_max = members->round;
    paxos->learn_due_us = 0;
    mf_paxos_stand_back(paxos, env);
    if (paxos->role == MF_RECOVERING)
        mf_paxos_try_lead(paxos, env);
    else
        mf_paxos_learn_more(paxos, env);
    return true;
}

const struct mf_members *mf_paxos_members(const struct mf_paxos *paxos)
{
    return &paxos->members;
}

bool mf_paxos_progress(const struct mf_paxos *paxos, uint32_t i, struct mf_paxos_progress *out)
{
    if (i >= paxos->peer_count)
        return false;
    const struct mf_paxos_peer *peer = &paxos->peers[i];
    bool self = (int)i == paxos->self;
    *out = (struct mf_paxos_progress){.acceptor = peer->acceptor,
                                      .learner = i >= paxos->members.voter_count,
                                      .self = self,
                                      .here = self || (peer->up && !peer->gone),
                                      .caught_up = self || caught_up(paxos, i),
                                      .chosen = self ? paxos->chosen : peer->chosen_acked,
                                      .support = peer->support};
    return true;
}

uint64_t mf_paxos_lease_until(const struct mf_paxos *paxos,
                              uint64_t (*held_until)(void *ctx, uint16_t node, uint64_t token),
                              void *ctx)
{
    if (paxos->role != MF_LEADER || paxos->heir != 0 || paxos->self < 0)
        return 0;
    uint64_t until_us[MF_VOTERS_MAX]; // descending
    uint32_t count = 0;
    for (uint32_t i = 0; i < paxos->members.voter_count; i++) {
        const struct mf_paxos_peer *peer = &paxos->peers[i];
        uint64_t us = MF_NEVER;
        if ((int)i != paxos->self)
            us = peer->support == 0 ? 0 : held_until(ctx, peer->acceptor.node, peer->support);
        uint32_t at = count++;
        for (; at > 0 && until_us[at - 1] < us; at--)
            until_us[at] = until_us[at - 1];
        until_us[at] = us;
    }
    return until_us[paxos->quorum - 1];
}
