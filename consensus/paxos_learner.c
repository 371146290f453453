// The learner: which slots are chosen, and fetching the values that are missing.
#include "consensus/paxos_internal.h"

static void note_known(struct mf_paxos *paxos, uint16_t from, uint64_t chosen)
{
    if (chosen <= paxos->known_chosen)
        return;
    paxos->known_chosen = chosen;
    paxos->known_from = from;
}

// What a leader of ballot b calls chosen is the value that b proposed in the slot, because b would
// have proposed no other in a slot where one was chosen before. A value accepted at another ballot
// proves nothing and is learned anew.
void mf_paxos_heard_chosen(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint16_t from,
                           mf_ballot_t ballot, uint64_t chosen)
{
    while (paxos->chosen < chosen && !paxos->cfg.blank) {
        const struct mf_log_entry *entry = mf_entry_log_get(&paxos->log, paxos->chosen + 1);
        if (entry == NULL || entry->ballot != ballot)
            break;
        mf_paxos_choose_next(paxos);
    }
    note_known(paxos, from, chosen);
    // A leader whose last entry has removed it leads no more. One that we do not know as a voter
    // while we are behind may be of a configuration to come.
    bool left = mf_members_voter_node(&paxos->members, from) < 0 && paxos->chosen >= chosen;
    if (left && paxos->role == MF_FOLLOWER && paxos->leader == from)
        mf_paxos_step_down(paxos, env, 0, paxos->cfg.election_us);
    mf_paxos_learn_more(paxos, env);
}

void mf_paxos_heard_of(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint16_t from,
                       uint64_t chosen)
{
    note_known(paxos, from, chosen);
    mf_paxos_learn_more(paxos, env);
}

void mf_paxos_on_chosen(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                        const struct mf_paxos_msg *msg)
{
    if (msg->ballot < paxos->promised) {
        // A leader that lost its promises to a candidate that came to nothing must try again.
        mf_paxos_send(paxos, env,
                      (struct mf_paxos_msg){
                          .type = MF_PAXOS_REJECT, .to = msg->from, .ballot = paxos->promised});
        return;
    }
    if (mf_paxos_may_not_raise(paxos, env, msg->ballot))
        return;
    mf_paxos_follow(paxos, env, msg->ballot);
    // Else a former leader that comes back from a pause would be followed again.
    uint64_t after = mf_paxos_raise_promise(paxos, env, msg->ballot);
    mf_paxos_heard_chosen(paxos, env, msg->from, msg->ballot, msg->chosen);
    if (paxos->members_seq > after)
        after = paxos->members_seq;
    mf_paxos_send_after(paxos, env, after,
                        (struct mf_paxos_msg){.type = MF_PAXOS_ACCEPTED,
                                              .to = msg->from,
                                              .ballot = msg->ballot,
                                              .slot = 1,
                                              .last = 0,
                                              .chosen = paxos->chosen,
                                              .read_seq = msg->incarnation,
                                              .support = env->support});
}

// The leader knows best; without one, whoever told us, and then one voter after the other.
static uint16_t teacher(struct mf_paxos *paxos)
{
    if (paxos->leader != 0 && paxos->leader != paxos->cfg.self)
        return paxos->leader;
    uint16_t now = paxos->known_from;
    int voter = mf_members_voter_node(&paxos->members, now);
    for (uint32_t step = 1; step <= paxos->members.voter_count; step++) {
        uint32_t next = ((uint32_t)(voter < 0 ? 0 : voter) + step) % paxos->members.voter_count;
        if (paxos->members.voters[next].node != paxos->cfg.self) {
            paxos->known_from = paxos->members.voters[next].node;
            break;
        }
    }
    return now != 0 && now != paxos->cfg.self ? now : paxos->known_from;
}

void mf_paxos_learn_more(struct mf_paxos *paxos, const struct mf_paxos_env *env)
{
    if (paxos->chosen >= paxos->known_chosen || paxos->learn_due_us != 0 ||
        paxos->role == MF_LEADER)
        return;
    uint16_t to = teacher(paxos);
    if (to == 0 || to == paxos->cfg.self)
        return;
    // No log has slot 0: the answer is a snapshot.
    uint64_t slot = paxos->cfg.blank ? 0 : paxos->chosen + 1;
    mf_paxos_send(paxos, env,
                  (struct mf_paxos_msg){.type = MF_PAXOS_LEARN, .to = to, .slot = slot});
    paxos->learn_due_us = env->now_us + paxos->cfg.resend_us;
}

void mf_paxos_on_learn(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                       const struct mf_paxos_msg *msg)
{
    if (msg->slot > paxos->chosen)
        return;
    struct mf_acceptor asker = {msg->from, msg->incarnation};
    int peer = mf_paxos_peer_index(paxos, asker);
    if (msg->slot == 0 && peer >= 0)
        paxos->peers[peer].chosen_acked = 0; // its copy is a new one, whatever the last one had
    if (msg->slot < paxos->log.first) {
        mf_paxos_want_snapshot(paxos, asker);
        return;
    }
    struct mf_paxos_msg answer = {
        .type = MF_PAXOS_LEARNED, .to = msg->from, .slot = msg->slot, .chosen = paxos->chosen};
    mf_paxos_gather(paxos, msg->slot, paxos->chosen, paxos->cfg.learn_bytes, &answer);
    mf_paxos_send(paxos, env, answer);
}

// Caught up: a leader that wants to hand over waits for just that.
static void tell_progress(struct mf_paxos *paxos, const struct mf_paxos_env *env)
{
    uint64_t after = paxos->promised_seq;
    mf_paxos_send_after(paxos, env, paxos->members_seq > after ? paxos->members_seq : after,
                        (struct mf_paxos_msg){.type = MF_PAXOS_ACCEPTED,
                                              .to = paxos->leader,
                                              .ballot = paxos->promised,
                                              .slot = 1,
                                              .last = 0,
                                              .chosen = paxos->chosen});
}

// A learned value is stored with its sender's ballot. That ballot is never below the one at which
// the value was chosen, so reporting it in a later promise misleads nobody; a higher ballot that we
// hold for the slot can only carry the same value, and stays.
void mf_paxos_on_learned(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                         const struct mf_paxos_msg *msg)
{
    if (paxos->role == MF_LEADER || paxos->cfg.blank)
        return; // a late answer: all that it could tell is being proposed again
    uint64_t before = paxos->chosen;
    for (uint32_t i = 0; i < msg->entry_count; i++) {
        const struct mf_paxos_entry *value = &msg->entries[i];
        mf_paxos_saw_ballot(paxos, value->ballot);
        if (value->slot != paxos->chosen + 1)
            continue;
        const struct mf_log_entry *entry = mf_entry_log_get(&paxos->log, value->slot);
        if (entry == NULL || entry->ballot < value->ballot)
            mf_paxos_store(paxos, value->slot, value->ballot, value->log_time_us, value->payload);
        mf_paxos_choose_next(paxos);
    }
    note_known(paxos, msg->from, msg->chosen);
    if (paxos->chosen == before)
        return;
    paxos->known_from = msg->from; // who answers is asked again; others may be gone
    paxos->learn_due_us = 0;
    mf_paxos_stand_back(paxos, env);
    if (paxos->role == MF_RECOVERING)
        mf_paxos_try_lead(paxos, env);
    else if (paxos->chosen < paxos->known_chosen)
        mf_paxos_learn_more(paxos, env);
    else if (paxos->leader != 0 && paxos->leader == mf_ballot_node(paxos->promised))
        tell_progress(paxos, env);
}
