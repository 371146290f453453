// Phase 1: campaigning, collecting promises, and the first proposals of a new leader.
#include <assert.h>

#include "consensus/paxos_internal.h"

void mf_paxos_campaign(struct mf_paxos *paxos, const struct mf_paxos_env *env)
{
    if (!paxos->cfg.may_vote)
        return;
    mf_paxos_step_down(paxos, env, paxos->cfg.election_us, paxos->cfg.election_us);
    mf_paxos_saw_ballot(paxos, paxos->promised);
    paxos->role = MF_CANDIDATE;
    paxos->ballot = mf_ballot_make(++paxos->round_max, paxos->cfg.self);
    paxos->promised = paxos->ballot;
    paxos->promises = 0;
    paxos->prepare_sent = false;
    paxos->recover_to = paxos->chosen;
    mf_entry_log_free(&paxos->adopted);
    mf_entry_log_init(&paxos->adopted, paxos->chosen + 1);
    for (uint32_t i = 0; i < MF_CLOCK_SOURCES; i++) {
        paxos->clock_us[i] = 0;
        paxos->clock_ballot[i] = 0;
    }
    struct mf_wal_record record = {.type = MF_WAL_PROMISE, .ballot = paxos->ballot};
    paxos->promised_seq = mf_paxos_record(paxos, &record, NULL);
}

static void count_promise(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint32_t voter)
{
    paxos->promises |= 1u << voter;
    if ((uint32_t)__builtin_popcount(paxos->promises) < paxos->quorum)
        return;
    paxos->role = MF_RECOVERING;
    paxos->known_chosen =
        paxos->recover_to > paxos->known_chosen ? paxos->recover_to : paxos->known_chosen;
    paxos->known_from = paxos->recover_from;
    mf_paxos_try_lead(paxos, env);
}

static void send_prepare(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint32_t voter)
{
    mf_paxos_send(paxos, env,
                  (struct mf_paxos_msg){.type = MF_PAXOS_PREPARE,
                                        .to = paxos->cfg.voters[voter],
                                        .ballot = paxos->ballot,
                                        .slot = paxos->chosen + 1});
}

// Our ballot is on disk: only now may anybody hear of it (P4), and only now do we count (P1).
void mf_paxos_on_own_promise(struct mf_paxos *paxos, const struct mf_paxos_env *env)
{
    if (paxos->prepare_sent || paxos->promised_seq > paxos->seq_durable)
        return;
    paxos->prepare_sent = true;
    for (uint32_t i = 0; i < paxos->cfg.voter_count; i++) {
        if (i != paxos->self)
            send_prepare(paxos, env, i);
    }
    count_promise(paxos, env, paxos->self);
}

void mf_paxos_prepare_again(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint32_t voter)
{
    if (paxos->role == MF_CANDIDATE && paxos->prepare_sent &&
        (paxos->promises & (1u << voter)) == 0)
        send_prepare(paxos, env, voter);
}

// P3: of the values reported for a slot, the one of the highest ballot.
static void adopt(struct mf_paxos *paxos, const struct mf_paxos_entry *entry)
{
    if (entry->slot < paxos->adopted.first)
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

void mf_paxos_on_promise(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                         const struct mf_paxos_msg *msg)
{
    if (paxos->role != MF_CANDIDATE || msg->ballot != paxos->ballot)
        return;
    if (msg->entry_count > 0 &&
        msg->entries[msg->entry_count - 1].slot > mf_entry_log_last(&paxos->log) + MF_SLOT_GAP_MAX)
        return; // we are too far behind to lead, and may not leave a reported value out
    for (uint32_t i = 0; i < msg->entry_count; i++)
        adopt(paxos, &msg->entries[i]);
    if (msg->chosen > paxos->recover_to) {
        paxos->recover_to = msg->chosen;
        paxos->recover_from = msg->from;
    }
    note_clock(paxos, env, msg->stamp);
    count_promise(paxos, env, (uint32_t)mf_paxos_voter_index(paxos, msg->from));
}

// Proposes again, at our ballot, whatever may have been chosen in the slots above what is known as
// chosen; holes below the last such slot are closed with no-ops.
static void propose_recovered(struct mf_paxos *paxos, const struct mf_paxos_env *env)
{
    uint64_t last = mf_entry_log_last(&paxos->log);
    if (mf_entry_log_last(&paxos->adopted) > last)
        last = mf_entry_log_last(&paxos->adopted);
    for (uint64_t slot = paxos->chosen + 1; slot <= last; slot++) {
        const struct mf_log_entry *value = mf_entry_log_get(&paxos->log, slot);
        const struct mf_log_entry *other = mf_entry_log_get(&paxos->adopted, slot);
        if (value == NULL || (other != NULL && other->ballot > value->ballot))
            value = other;
        uint64_t log_time_us = value != NULL ? value->log_time_us : 0;
        struct mf_payload *payload = value != NULL ? mf_payload_ref(value->payload) : NULL;
        mf_paxos_put_proposal(paxos, env, slot, log_time_us, payload);
        mf_payload_unref(payload);
    }
    paxos->next_slot = last > paxos->chosen ? last + 1 : paxos->chosen + 1;
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
    paxos->role = MF_LEADER;
    paxos->leader = paxos->cfg.self;
    paxos->update.became_leader = true;
    paxos->window_bytes = 0;
    paxos->self_next = paxos->chosen + 1;
    paxos->chosen_due_us = 0;
    paxos->probe_acks = 0;
    paxos->probe_confirmed = paxos->probe_seq; // earlier rounds were void: nothing waits for them
    paxos->probe_wanted = false;
    paxos->probe_due_us = 0;
    for (uint32_t i = 0; i < paxos->cfg.voter_count; i++) {
        paxos->peers[i].chosen_sent = 0;
        paxos->peers[i].chosen_acked = 0;
        paxos->peers[i].resend_due_us = env->now_us + paxos->cfg.resend_us;
    }
    propose_recovered(paxos, env);
    paxos->ready_slot = paxos->next_slot;
    mf_entry_log_free(&paxos->adopted);
    mf_entry_log_init(&paxos->adopted, paxos->chosen + 1);
}
