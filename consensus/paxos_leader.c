// Phase 2 and reads: proposing, counting acceptances, sending again, and quorum rounds.
#include <assert.h>

#include "consensus/paxos_internal.h"

static uint64_t leader_last(const struct mf_paxos *paxos)
{
    return paxos->next_slot - 1;
}

static void send_accept(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint32_t peer,
                        uint64_t first, uint64_t last)
{
    struct mf_paxos_msg msg = {.type = MF_PAXOS_ACCEPT,
                               .to = paxos->peers[peer].acceptor.node,
                               .ballot = paxos->ballot,
                               .slot = first,
                               .chosen = paxos->chosen};
    mf_paxos_gather(paxos, first, last, MF_RESEND_BYTES, &msg);
    mf_paxos_send(paxos, env, msg);
    paxos->peers[peer].chosen_sent = paxos->chosen;
}

void mf_paxos_put_proposal(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint64_t slot,
                           uint64_t log_time_us, struct mf_payload *payload)
{
    mf_paxos_store(paxos, slot, paxos->ballot, log_time_us, payload);
    paxos->window_bytes += mf_payload_bytes(payload).len;
    if (mf_payload_is_members(payload))
        paxos->members_slot = slot;
    for (uint32_t i = 0; i < paxos->peer_count; i++) {
        if (mf_paxos_reachable(paxos, i))
            send_accept(paxos, env, i, slot, slot);
    }
    paxos->chosen_due_us = 0; // it has told them
}

bool mf_paxos_window_open(const struct mf_paxos *paxos)
{
    return paxos->role == MF_LEADER && paxos->heir == 0 && !mf_paxos_fenced(paxos) &&
           leader_last(paxos) - paxos->chosen < paxos->cfg.window_entries &&
           paxos->window_bytes < paxos->cfg.window_bytes;
}

enum mf_err mf_paxos_propose(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                             uint64_t log_time_us, struct mf_bytes bytes, uint64_t *slot)
{
    if (paxos->role != MF_LEADER)
        return MF_NOT_LEADER;
    if (!mf_paxos_window_open(paxos))
        return MF_AGAIN;
    assert(log_time_us >= paxos->last_log_time_us);
    struct mf_payload *payload = bytes.len > 0 ? mf_payload_new(MF_ENTRY_COMMANDS, bytes) : NULL;
    *slot = paxos->next_slot++;
    if (paxos->ready_slot == 0)
        paxos->ready_slot = *slot;
    mf_paxos_put_proposal(paxos, env, *slot, log_time_us, payload);
    mf_payload_unref(payload);
    return MF_OK;
}

bool mf_paxos_alone(const struct mf_paxos *paxos)
{
    return paxos->peer_count == 1 && paxos->self == 0 && mf_paxos_window_open(paxos) &&
           paxos->ready_slot != 0 && paxos->chosen >= paxos->ready_slot &&
           paxos->chosen == leader_last(paxos) && paxos->held_count == 0 &&
           !mf_paxos_has_update(paxos);
}

// P5 with one voter, which has accepted what it proposes when it says so. P3 and P9 ask for values
// of slots that are not chosen, and of none that is below the log's first.
uint64_t mf_paxos_choose_alone(struct mf_paxos *paxos, uint64_t log_time_us)
{
    assert(paxos->role == MF_LEADER && paxos->chosen == leader_last(paxos));
    assert(log_time_us >= paxos->last_log_time_us);
    uint64_t slot = paxos->next_slot++;
    mf_entry_log_pass(&paxos->log);
    assert(paxos->log.first == paxos->next_slot);
    paxos->last_log_time_us = log_time_us;
    paxos->chosen = slot;
    paxos->chosen_taken = slot;
    paxos->known_chosen = slot;
    return slot;
}

void mf_paxos_prefetch(const struct mf_paxos *paxos)
{
    __builtin_prefetch(&paxos->log, 1);
    __builtin_prefetch(&paxos->log.left, 1);
    __builtin_prefetch(&paxos->chosen, 1);
}

void mf_paxos_send_chosen(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint32_t peer)
{
    mf_paxos_send(paxos, env,
                  (struct mf_paxos_msg){.type = MF_PAXOS_CHOSEN,
                                        .to = paxos->peers[peer].acceptor.node,
                                        .ballot = paxos->ballot,
                                        .chosen = paxos->chosen});
    paxos->peers[peer].chosen_sent = paxos->chosen;
}

static void send_probe(struct mf_paxos *paxos, const struct mf_paxos_env *env)
{
    paxos->probe_due_us = env->now_us + paxos->cfg.resend_us;
    for (uint32_t i = 0; i < paxos->members.voter_count; i++) {
        if ((paxos->probe_acks & (1u << i)) == 0 && mf_paxos_reachable(paxos, i))
            mf_paxos_send(paxos, env,
                          (struct mf_paxos_msg){.type = MF_PAXOS_READ_PROBE,
                                                .to = paxos->peers[i].acceptor.node,
                                                .ballot = paxos->ballot,
                                                .read_seq = paxos->probe_seq});
    }
}

// A leader that is no voter any more does not count itself, not even where one is enough.
static bool probe_is_answered(const struct mf_paxos *paxos)
{
    return (uint32_t)__builtin_popcount(paxos->probe_acks) >= paxos->quorum;
}

static void start_probe(struct mf_paxos *paxos, const struct mf_paxos_env *env)
{
    paxos->probe_seq++;
    paxos->probe_acks = paxos->self >= 0 ? 1u << paxos->self : 0;
    paxos->probe_left = false;
    paxos->probe_wanted = false;
    if (probe_is_answered(paxos))
        paxos->probe_confirmed = paxos->probe_seq;
    else
        send_probe(paxos, env);
}

// After an answer, and after a configuration in which fewer answers may do.
static void count_probe(struct mf_paxos *paxos, const struct mf_paxos_env *env)
{
    if (paxos->probe_confirmed == paxos->probe_seq || !probe_is_answered(paxos))
        return;
    paxos->probe_confirmed = paxos->probe_seq;
    if (paxos->probe_wanted)
        start_probe(paxos, env);
}

// P5. Slots become chosen in order: one with a majority waits for those below it.
static void advance_chosen(struct mf_paxos *paxos, const struct mf_paxos_env *env)
{
    uint64_t before = paxos->chosen;
    uint64_t members_slot = paxos->members.slot;
    while (paxos->chosen < leader_last(paxos)) {
        const struct mf_log_entry *entry = mf_entry_log_get(&paxos->log, paxos->chosen + 1);
        if ((uint32_t)__builtin_popcount(entry->acks) < paxos->quorum)
            break;
        paxos->window_bytes -= mf_payload_bytes(entry->payload).len;
        mf_paxos_choose_next(paxos);
    }
    if (paxos->chosen > paxos->known_chosen)
        paxos->known_chosen = paxos->chosen;
    bool alone = paxos->self >= 0 && paxos->peer_count == 1; // nobody is to be told
    if (paxos->chosen > before && paxos->chosen_due_us == 0 && !alone)
        paxos->chosen_due_us = env->now_us + paxos->cfg.chosen_delay_us;
    if (paxos->members.slot != members_slot) {
        mf_paxos_lead_members(paxos, env);
        count_probe(paxos, env);
    }
}

void mf_paxos_on_accepted(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                          const struct mf_paxos_msg *msg)
{
    if (paxos->role != MF_LEADER || msg->ballot != paxos->ballot)
        return;
    int i = mf_paxos_peer_index(paxos, (struct mf_acceptor){msg->from, msg->incarnation});
    if (i < 0)
        return; // of a configuration that is no more
    struct mf_paxos_peer *peer = &paxos->peers[i];
    // An answer to another memory of our node, which had used this ballot, may still come.
    bool asked = msg->read_seq == paxos->cfg.incarnation;
    if (msg->support != 0 && asked)
        peer->support = msg->support;
    if (msg->chosen > peer->chosen_acked)
        peer->chosen_acked = msg->chosen;
    mf_paxos_peer_has(paxos, (uint32_t)i, msg->chosen);
    uint64_t first = msg->slot > paxos->chosen ? msg->slot : paxos->chosen + 1;
    uint64_t last = msg->last < leader_last(paxos) ? msg->last : leader_last(paxos);
    for (uint64_t slot = first; slot <= last && asked && mf_paxos_is_voter(paxos, i); slot++)
        mf_entry_log_get(&paxos->log, slot)->acks |= 1u << i;
    if (first <= last)
        peer->resend_due_us = env->now_us + paxos->cfg.resend_us;
    advance_chosen(paxos, env);
    mf_paxos_leave(paxos, env);
    if (paxos->role == MF_LEADER)
        mf_paxos_propose_recovered(paxos, env);
    if (paxos->heir != 0)
        mf_paxos_hand_over(paxos, env);
}

// The leader counts itself for what has landed on its own disk (P1).
void mf_paxos_on_own_accept(struct mf_paxos *paxos, const struct mf_paxos_env *env)
{
    if (paxos->self_next <= paxos->chosen)
        paxos->self_next = paxos->chosen + 1;
    while (paxos->self_next < paxos->next_slot) {
        struct mf_log_entry *entry = mf_entry_log_get(&paxos->log, paxos->self_next);
        if (entry->persist_seq > paxos->seq_durable)
            break;
        if (paxos->self >= 0)
            entry->acks |= 1u << paxos->self;
        paxos->self_next++;
    }
    advance_chosen(paxos, env);
    if (paxos->role == MF_LEADER)
        mf_paxos_propose_recovered(paxos, env);
}

static bool lacks_acceptances(const struct mf_paxos *paxos, uint32_t voter)
{
    if (!mf_paxos_is_voter(paxos, (int)voter))
        return false; // learners ask for what they lack
    for (uint64_t slot = paxos->chosen + 1; slot < paxos->next_slot; slot++) {
        if ((mf_entry_log_get(&paxos->log, slot)->acks & (1u << voter)) == 0)
            return true;
    }
    return false;
}

static bool needs_resend(const struct mf_paxos *paxos, uint32_t voter)
{
    const struct mf_paxos_peer *peer = &paxos->peers[voter];
    bool owes_promise = mf_paxos_is_voter(paxos, (int)voter) && (!peer->promised || !peer->knows) &&
                        mf_paxos_fenced(paxos);
    return mf_paxos_reachable(paxos, voter) && peer->up &&
           (peer->chosen_acked < paxos->chosen || lacks_acceptances(paxos, voter) || owes_promise);
}

// Sends the first run of slots that this voter has not accepted; what follows it comes with the
// next round, so a slow peer is not flooded.
static void resend_accepts(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint32_t voter)
{
    uint64_t first = paxos->chosen + 1;
    while (first < paxos->next_slot &&
           (mf_entry_log_get(&paxos->log, first)->acks & (1u << voter)) != 0)
        first++;
    uint64_t last = first;
    while (last + 1 < paxos->next_slot &&
           (mf_entry_log_get(&paxos->log, last + 1)->acks & (1u << voter)) == 0)
        last++;
    if (first < paxos->next_slot)
        send_accept(paxos, env, voter, first, last);
}

enum mf_err mf_paxos_read(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint64_t *ticket)
{
    if (paxos->role != MF_LEADER || paxos->ready_slot == 0 || paxos->chosen < paxos->ready_slot)
        return MF_NOT_LEADER;
    bool running = paxos->probe_confirmed < paxos->probe_seq;
    if (!running) {
        start_probe(paxos, env);
        *ticket = paxos->probe_seq;
    } else if (!paxos->probe_left) {
        *ticket = paxos->probe_seq; // its messages have not been handed out: it starts after us
    } else {
        paxos->probe_wanted = true;
        *ticket = paxos->probe_seq + 1;
    }
    return MF_OK;
}

void mf_paxos_on_read_ack(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                          const struct mf_paxos_msg *msg)
{
    if (paxos->role != MF_LEADER || msg->ballot != paxos->ballot ||
        msg->read_seq != paxos->probe_seq || paxos->probe_confirmed == paxos->probe_seq)
        return;
    int i = mf_paxos_peer_index(paxos, (struct mf_acceptor){msg->from, msg->incarnation});
    if (!mf_paxos_is_voter(paxos, i))
        return;
    if (msg->support != 0)
        paxos->peers[i].support = msg->support;
    paxos->probe_acks |= 1u << i;
    count_probe(paxos, env);
}

void mf_paxos_leader_tick(struct mf_paxos *paxos, const struct mf_paxos_env *env)
{
    bool tell = paxos->chosen_due_us != 0 && env->now_us >= paxos->chosen_due_us;
    if (tell)
        paxos->chosen_due_us = 0;
    if (paxos->heir != 0)
        mf_paxos_hand_over(paxos, env);
    for (uint32_t i = 0; i < paxos->peer_count && paxos->role == MF_LEADER; i++) {
        struct mf_paxos_peer *peer = &paxos->peers[i];
        if (!peer->up || !mf_paxos_reachable(paxos, i))
            continue;
        if (tell && peer->chosen_sent < paxos->chosen)
            mf_paxos_send_chosen(paxos, env, i);
        if (!needs_resend(paxos, i) || env->now_us < peer->resend_due_us)
            continue;
        peer->resend_due_us = env->now_us + paxos->cfg.resend_us;
        if (lacks_acceptances(paxos, i))
            resend_accepts(paxos, env, i);
        else
            mf_paxos_send_chosen(paxos, env, i);
        mf_paxos_ask_again(paxos, env, i); // where a configuration waits for its promise
    }
    if (paxos->role == MF_LEADER && paxos->probe_confirmed < paxos->probe_seq &&
        env->now_us >= paxos->probe_due_us)
        send_probe(paxos, env);
}

uint64_t mf_paxos_leader_next_us(const struct mf_paxos *paxos)
{
    uint64_t next = paxos->chosen_due_us != 0 ? paxos->chosen_due_us : MF_NEVER;
    if (paxos->heir != 0)
        next = next < paxos->heir_due_us ? next : paxos->heir_due_us;
    for (uint32_t i = 0; i < paxos->peer_count; i++) {
        if (needs_resend(paxos, i) && paxos->peers[i].resend_due_us < next)
            next = paxos->peers[i].resend_due_us;
    }
    if (paxos->probe_confirmed < paxos->probe_seq && paxos->probe_due_us < next)
        next = paxos->probe_due_us;
    return next;
}
