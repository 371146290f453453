// Phase 1: asking for votes, collecting promises, and the first proposals of a new leader.
//
// A candidate first asks whether it would be promised its ballot, which changes nothing anywhere:
// one that is cut off, or comes back to a group with a leader, gets no further. Only then does it
// promise itself the ballot and prepare it. A heir (see mf_paxos_transfer) skips the asking.
#include <assert.h>

#include "consensus/paxos_internal.h"

static bool quorum_of(const struct mf_paxos *paxos, uint32_t voters)
{
    return (uint32_t)__builtin_popcount(voters) >= paxos->quorum;
}

uint32_t mf_paxos_promises(const struct mf_paxos *paxos)
{
    uint32_t voters = 0;
    for (uint32_t i = 0; i < paxos->members.voter_count; i++)
        voters |= (uint32_t)paxos->peers[i].promised << i;
    return voters;
}

// Our ballot from here on. It may be used when it is on disk (mf_paxos_on_own_promise).
static void run(struct mf_paxos *paxos, const struct mf_paxos_env *env, mf_ballot_t given_up)
{
    mf_paxos_step_down(paxos, env, paxos->cfg.election_us, paxos->cfg.election_us);
    mf_paxos_saw_ballot(paxos, paxos->promised);
    paxos->role = MF_CANDIDATE;
    paxos->given_up = given_up;
    paxos->ballot = mf_ballot_make(++paxos->round_max, paxos->cfg.self);
    paxos->promised = paxos->ballot;
    paxos->prepare_sent = false;
    paxos->recover_to = paxos->chosen;
    for (uint32_t i = 0; i < paxos->peer_count; i++) {
        paxos->peers[i].promised = false;
        paxos->peers[i].support = 0;
    }
    mf_entry_log_free(&paxos->adopted);
    mf_entry_log_init(&paxos->adopted, paxos->chosen + 1);
    for (uint32_t i = 0; i < MF_CLOCK_SOURCES; i++) {
        paxos->clock_us[i] = 0;
        paxos->clock_ballot[i] = 0;
    }
    struct mf_wal_record record = {.type = MF_WAL_PROMISE, .ballot = paxos->ballot};
    paxos->promised_seq = mf_paxos_record(paxos, &record, NULL);
}

static void send_ask_vote(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint32_t peer)
{
    mf_paxos_send(paxos, env,
                  (struct mf_paxos_msg){.type = MF_PAXOS_ASK_VOTE,
                                        .to = paxos->peers[peer].acceptor.node,
                                        .ballot = paxos->ballot,
                                        .chosen = paxos->chosen});
}

void mf_paxos_campaign(struct mf_paxos *paxos, const struct mf_paxos_env *env)
{
    if (paxos->self < 0 || paxos->cfg.blank)
        return;
    mf_paxos_step_down(paxos, env, paxos->cfg.election_us, paxos->cfg.election_us);
    if (env->log_blocked || mf_paxos_kept_from(paxos, env, paxos->cfg.self))
        return;
    mf_paxos_saw_ballot(paxos, paxos->promised);
    paxos->role = MF_CANDIDATE;
    paxos->asking = true;
    paxos->ballot = mf_ballot_make(paxos->round_max + 1, paxos->cfg.self);
    paxos->votes = 1u << paxos->self;
    paxos->ask_due_us = env->now_us + paxos->cfg.resend_us;
    if (quorum_of(paxos, paxos->votes)) {
        run(paxos, env, 0);
        return;
    }
    for (uint32_t i = 0; i < paxos->members.voter_count; i++) {
        if (mf_paxos_reachable(paxos, i))
            send_ask_vote(paxos, env, i);
    }
}

void mf_paxos_on_ask_vote(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                          const struct mf_paxos_msg *msg)
{
    struct mf_acceptor asker = {msg->from, msg->incarnation};
    int peer = mf_paxos_peer_index(paxos, asker);
    if (paxos->role == MF_LEADER && peer >= 0) {
        mf_paxos_send_chosen(paxos, env, (uint32_t)peer); // it has lost sight of us
        return;
    }
    if (paxos->cfg.blank)
        return;
    bool counts = mf_members_voter(&paxos->members, asker) >= 0 || msg->chosen > paxos->chosen;
    bool led = paxos->leader != 0 && paxos->leader != msg->from;
    if (led && paxos->role == MF_FOLLOWER && paxos->leader == mf_ballot_node(paxos->promised))
        mf_paxos_ask_release(paxos, env); // does it still lead?
    bool near =
        msg->chosen + 1 >= paxos->log.first; // else it would need a snapshot before it leads
    bool yes = counts && near && !led && msg->ballot > paxos->promised &&
               !mf_paxos_kept_from(paxos, env, msg->from);
    mf_paxos_send(paxos, env,
                  (struct mf_paxos_msg){.type = MF_PAXOS_VOTE,
                                        .to = msg->from,
                                        .ballot = msg->ballot,
                                        .last = yes,
                                        .chosen = paxos->chosen,
                                        .read_seq = paxos->promised});
}

void mf_paxos_on_vote(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                      const struct mf_paxos_msg *msg)
{
    // Who refuses because we are far behind may be the only one who knows a configuration in which
    // we need not ask it: a leader that has left with the last slot that it has chosen.
    mf_paxos_heard_of(paxos, env, msg->from, msg->chosen);
    int voter = mf_paxos_peer_index(paxos, (struct mf_acceptor){msg->from, msg->incarnation});
    if (paxos->role != MF_CANDIDATE || !paxos->asking || msg->ballot != paxos->ballot ||
        !mf_paxos_is_voter(paxos, voter))
        return;
    if (msg->last == 0) {
        // It may know a higher ballot, or be bound for a moment longer than we were.
        mf_paxos_saw_ballot(paxos, msg->read_seq);
        uint64_t soon_us = env->now_us + paxos->cfg.election_us / 8 +
                           env->random % (paxos->cfg.election_us / 8 + 1);
        if (soon_us < paxos->election_due_us)
            paxos->election_due_us = soon_us;
        return;
    }
    paxos->votes |= 1u << voter;
    // Bound again: the leader has come back, and is left alone.
    if (quorum_of(paxos, paxos->votes) && !env->log_blocked &&
        !mf_paxos_kept_from(paxos, env, paxos->cfg.self))
        run(paxos, env, 0);
}

void mf_paxos_on_transfer(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                          const struct mf_paxos_msg *msg)
{
    if (msg->ballot != paxos->promised || paxos->self < 0 || paxos->cfg.blank || env->log_blocked)
        return;
    mf_paxos_follow(paxos, env, msg->ballot);
    mf_paxos_heard_chosen(paxos, env, msg->from, msg->ballot, msg->chosen);
    run(paxos, env, msg->ballot);
}

// Learns what others know as chosen, then leads.
static void recover(struct mf_paxos *paxos, const struct mf_paxos_env *env)
{
    if (paxos->role == MF_LEADER) {
        paxos->update.lost_leadership = true;
        paxos->leader = 0;
        paxos->heir = 0;
    }
    paxos->role = MF_RECOVERING;
    if (paxos->recover_to > paxos->known_chosen)
        paxos->known_chosen = paxos->recover_to;
    paxos->known_from = paxos->recover_from;
    mf_paxos_try_lead(paxos, env);
}

static void count_promises(struct mf_paxos *paxos, const struct mf_paxos_env *env)
{
    if (quorum_of(paxos, mf_paxos_promises(paxos)))
        recover(paxos, env);
}

void mf_paxos_send_prepare(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint32_t peer)
{
    mf_paxos_send(paxos, env,
                  (struct mf_paxos_msg){.type = MF_PAXOS_PREPARE,
                                        .to = paxos->peers[peer].acceptor.node,
                                        .ballot = paxos->ballot,
                                        .slot = paxos->chosen + 1,
                                        .last = paxos->given_up,
                                        .chosen = paxos->chosen});
}

// Our ballot is on disk: only now may anybody hear of it (P4), and only now do we count (P1).
void mf_paxos_on_own_promise(struct mf_paxos *paxos, const struct mf_paxos_env *env)
{
    if (paxos->prepare_sent || paxos->promised_seq > paxos->seq_durable)
        return;
    paxos->prepare_sent = true;
    paxos->ask_due_us = env->now_us + paxos->cfg.resend_us;
    for (uint32_t i = 0; i < paxos->members.voter_count; i++) {
        if (mf_paxos_reachable(paxos, i))
            mf_paxos_send_prepare(paxos, env, i);
    }
    if (paxos->self >= 0)
        paxos->peers[paxos->self].promised = true;
    count_promises(paxos, env);
}

void mf_paxos_ask_again(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint32_t peer)
{
    if (!mf_paxos_is_voter(paxos, (int)peer) || !mf_paxos_reachable(paxos, peer))
        return;
    if (paxos->role == MF_CANDIDATE && paxos->asking) {
        if ((paxos->votes & (1u << peer)) == 0)
            send_ask_vote(paxos, env, peer);
        return;
    }
    bool preparing = paxos->role != MF_FOLLOWER && paxos->prepare_sent;
    if (preparing && !paxos->peers[peer].promised &&
        (paxos->role != MF_LEADER || mf_paxos_fenced(paxos)))
        mf_paxos_send_prepare(paxos, env, peer);
}

void mf_paxos_ask_all_again(struct mf_paxos *paxos, const struct mf_paxos_env *env)
{
    paxos->ask_due_us = env->now_us + paxos->cfg.resend_us;
    for (uint32_t i = 0; i < paxos->members.voter_count; i++)
        mf_paxos_ask_again(paxos, env, i);
}

// P3: of the values reported for a slot, the one of the highest ballot.
static void adopt(struct mf_paxos *paxos, const struct mf_paxos_entry *entry)
{
    if (entry->slot < paxos->adopted.first || entry->slot <= paxos->chosen)
        return; // known as chosen here
    const struct mf_log_entry *known = mf_entry_log_get(&paxos->adopted, entry->slot);
    if (known == NULL || known->ballot < entry->ballot)
        mf_entry_log_put(&paxos->adopted, entry->slot, entry->ballot, entry->log_time_us,
                         entry->payload);
}

static void note_clock(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                       struct mf_paxos_stamp stamp)
{
    uint8_t source = stamp.source;
    struct mf_paxos_stamp known = mf_paxos_quorum_clock(paxos, source, env->now_us);
    if (source >= MF_CLOCK_SOURCES || stamp.ballot < known.ballot ||
        (stamp.ballot == known.ballot && stamp.log_us <= known.log_us))
        return;
    paxos->clock_us[source] = stamp.log_us;
    paxos->clock_at_us[source] = env->now_us;
    paxos->clock_ballot[source] = stamp.ballot;
}

// Leader: others know more slots as chosen than we do. Where we have proposed in them, another
// value may have been chosen at a higher ballot, and our CHOSEN would confirm ours to whoever has
// accepted it (P9): then we lead no more with this ballot.
static void overtaken(struct mf_paxos *paxos, const struct mf_paxos_env *env)
{
    if (paxos->next_slot > paxos->chosen + 1)
        mf_paxos_step_down(paxos, env, 0, paxos->cfg.election_us);
    else
        recover(paxos, env);
}

void mf_paxos_on_promise(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                         const struct mf_paxos_msg *msg)
{
    int voter = mf_paxos_peer_index(paxos, (struct mf_acceptor){msg->from, msg->incarnation});
    if (paxos->role == MF_FOLLOWER || paxos->asking || msg->ballot != paxos->ballot ||
        msg->read_seq != paxos->cfg.incarnation || !mf_paxos_is_voter(paxos, voter) ||
        paxos->peers[voter].promised)
        return;
    if (msg->entry_count > 0 &&
        msg->entries[msg->entry_count - 1].slot > mf_entry_log_last(&paxos->log) + MF_SLOT_GAP_MAX)
        return; // we are too far behind to lead, and may not leave a reported value out
    bool needed = paxos->role != MF_LEADER || mf_paxos_fenced(paxos);
    for (uint32_t i = 0; i < msg->entry_count && needed; i++)
        adopt(paxos, &msg->entries[i]);
    paxos->peers[voter].promised = true;
    paxos->peers[voter].support = msg->support;
    mf_paxos_peer_has(paxos, (uint32_t)voter, msg->chosen);
    if (needed && msg->chosen > paxos->recover_to) {
        paxos->recover_to = msg->chosen;
        paxos->recover_from = msg->from;
    }
    if (paxos->role == MF_LEADER) { // late, or of a configuration that was chosen meanwhile
        if (needed && paxos->recover_to > paxos->chosen)
            overtaken(paxos, env);
        else
            mf_paxos_propose_recovered(paxos, env);
        return;
    }
    note_clock(paxos, env, msg->stamp);
    if (paxos->role == MF_CANDIDATE)
        count_promises(paxos, env);
    else
        mf_paxos_try_lead(paxos, env);
}

// Whatever may have been chosen in the slots above what is known as chosen is proposed again at our
// ballot; holes below the last such slot are closed with no-ops.
void mf_paxos_propose_recovered(struct mf_paxos *paxos, const struct mf_paxos_env *env)
{
    uint64_t last = mf_entry_log_last(&paxos->log);
    if (mf_entry_log_last(&paxos->adopted) > last)
        last = mf_entry_log_last(&paxos->adopted);
    while (paxos->next_slot <= last && !mf_paxos_fenced(paxos)) {
        uint64_t slot = paxos->next_slot++;
        const struct mf_log_entry *value = mf_entry_log_get(&paxos->log, slot);
        const struct mf_log_entry *other = mf_entry_log_get(&paxos->adopted, slot);
        if (value == NULL || (other != NULL && other->ballot > value->ballot))
            value = other;
        uint64_t log_time_us = value != NULL ? value->log_time_us : 0;
        struct mf_payload *payload = value != NULL ? mf_payload_ref(value->payload) : NULL;
        mf_paxos_put_proposal(paxos, env, slot, log_time_us, payload);
        mf_payload_unref(payload);
    }
}

// What is learned on the way may bring another configuration, whose voters have to promise too.
static bool promised_by_all_needed(struct mf_paxos *paxos, const struct mf_paxos_env *env)
{
    if (paxos->self >= 0)
        paxos->peers[paxos->self].promised = true;
    if (quorum_of(paxos, mf_paxos_promises(paxos)))
        return true;
    mf_paxos_ask_all_again(paxos, env);
    return false;
}

void mf_paxos_try_lead(struct mf_paxos *paxos, const struct mf_paxos_env *env)
{
    assert(paxos->role == MF_RECOVERING);
    if (paxos->chosen < paxos->recover_to) {
        paxos->election_due_us =
            env->now_us + paxos->cfg.election_us + env->random % (paxos->cfg.election_us + 1);
        mf_paxos_learn_more(paxos, env);
        return;
    }
    if (paxos->self < 0) {
        mf_paxos_step_down(paxos, env, 0, paxos->cfg.election_us);
        return;
    }
    if (!promised_by_all_needed(paxos, env))
        return;
    paxos->role = MF_LEADER;
    paxos->leader = paxos->cfg.self;
    paxos->update.became_leader = true;
    paxos->window_bytes = 0;
    paxos->next_slot = paxos->chosen + 1;
    paxos->self_next = paxos->chosen + 1;
    paxos->members_slot = 0;
    paxos->ready_slot = 0;
    paxos->chosen_due_us = 0;
    paxos->probe_acks = 0;
    paxos->probe_confirmed = paxos->probe_seq; // earlier rounds were void: nothing waits for them
    paxos->probe_wanted = false;
    paxos->probe_due_us = 0;
    for (uint32_t i = 0; i < paxos->peer_count; i++) {
        paxos->peers[i].chosen_sent = 0;
        paxos->peers[i].chosen_acked = 0;
        paxos->peers[i].resend_due_us = env->now_us + paxos->cfg.resend_us;
    }
    if (mf_paxos_fenced(paxos))
        mf_paxos_lead_members(paxos, env);
    mf_paxos_propose_recovered(paxos, env);
}
