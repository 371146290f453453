// The acceptor: promises, acceptances, and the answer to a leader's read round.
//
// Every answer that a record must precede goes through mf_paxos_send_after (P1).
#include "consensus/paxos_internal.h"

static void reject(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint16_t to)
{
    mf_paxos_send(
        paxos, env,
        (struct mf_paxos_msg){.type = MF_PAXOS_REJECT, .to = to, .ballot = paxos->promised});
}

bool mf_paxos_kept_from(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint16_t node)
{
    uint16_t owner = mf_ballot_node(paxos->promised);
    if (!env->bound || owner == node || paxos->promised == paxos->released)
        return false;
    mf_paxos_ask_release(paxos, env);
    return true;
}

void mf_paxos_ask_release(struct mf_paxos *paxos, const struct mf_paxos_env *env)
{
    if (paxos->questions == 0) // no answer to a process before us may fit
        paxos->questions = env->random >> 1;
    // Put again it is the same question: its answer may take longer than others take to ask us.
    if (paxos->release_seq == 0 || paxos->release_of != paxos->promised)
        paxos->release_seq = ++paxos->questions;
    paxos->release_of = paxos->promised;
    mf_paxos_send(paxos, env,
                  (struct mf_paxos_msg){.type = MF_PAXOS_ASK_RELEASE,
                                        .to = mf_ballot_node(paxos->promised),
                                        .ballot = paxos->promised,
                                        .read_seq = paxos->release_seq});
}

// Votes that come now were given to somebody who was not relied on: they count no more, unless it
// is a suspected leader that talks on, which may never stop (mf_paxos_follow). Votes are no
// promises: to promise, everybody looks again at whom it is bound to (mf_paxos_kept_from).
void mf_paxos_relied_on(struct mf_paxos *paxos, const struct mf_paxos_env *env, mf_ballot_t ballot)
{
    if (ballot < paxos->promised)
        return;
    paxos->released = 0;
    paxos->release_seq = 0;
    if (paxos->asking && ballot != paxos->suspected)
        mf_paxos_step_down(paxos, env, paxos->cfg.election_us, paxos->cfg.election_us);
}

// A process that has just started does not know whether one before it still acts: that one's
// leases have to run out first. Having answered, we use no ballot up to this one.
void mf_paxos_on_ask_release(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                             const struct mf_paxos_msg *msg)
{
    bool acts = paxos->role != MF_FOLLOWER && !paxos->asking && paxos->ballot == msg->ballot;
    int peer = mf_paxos_peer_index(paxos, (struct mf_acceptor){msg->from, msg->incarnation});
    if (acts && paxos->role == MF_LEADER && peer >= 0)
        mf_paxos_send_chosen(paxos, env, (uint32_t)peer); // it has lost sight of us
    if (acts || mf_ballot_node(msg->ballot) != paxos->cfg.self ||
        env->now_us < paxos->begun_us + paxos->cfg.lease_us)
        return;
    mf_paxos_send(paxos, env,
                  (struct mf_paxos_msg){.type = MF_PAXOS_RELEASE,
                                        .to = msg->from,
                                        .ballot = msg->ballot,
                                        .read_seq = msg->read_seq});
}

void mf_paxos_on_release(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                         const struct mf_paxos_msg *msg)
{
    bool asked = paxos->release_seq != 0 && msg->read_seq == paxos->release_seq;
    if (!asked || msg->ballot != paxos->promised || mf_ballot_node(msg->ballot) != msg->from)
        return;
    paxos->released = msg->ballot;
    if (paxos->role == MF_FOLLOWER && paxos->leader == msg->from)
        mf_paxos_step_down(paxos, env, 0, paxos->cfg.election_us);
}

void mf_paxos_on_prepare(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                         const struct mf_paxos_msg *msg)
{
    if (paxos->cfg.blank)
        return;
    // P8. The same ballot is asked about again when its answer was lost, or by a leader whose
    // configuration has changed.
    bool handed_over = msg->last != 0 && msg->last == paxos->promised;
    if (msg->ballot < paxos->promised || (msg->ballot > paxos->promised && !handed_over &&
                                          mf_paxos_kept_from(paxos, env, msg->from))) {
        reject(paxos, env, msg->from);
        return;
    }
    mf_paxos_relied_on(paxos, env, msg->ballot);
    if (msg->ballot > paxos->promised) {
        paxos->promised = msg->ballot;
        struct mf_wal_record record = {.type = MF_WAL_PROMISE, .ballot = msg->ballot};
        paxos->promised_seq = mf_paxos_record(paxos, &record, NULL);
        mf_paxos_step_down(paxos, env, paxos->cfg.election_us, paxos->cfg.election_us);
    }
    struct mf_paxos_msg promise = {.type = MF_PAXOS_PROMISE,
                                   .to = msg->from,
                                   .ballot = msg->ballot,
                                   .chosen = paxos->chosen,
                                   .read_seq = msg->incarnation,
                                   .support = env->support};
    uint64_t first = paxos->chosen + 1 > msg->slot ? paxos->chosen + 1 : msg->slot;
    mf_paxos_gather(paxos, first, UINT64_MAX, UINT64_MAX, &promise);
    // Records are durable in order, so this covers the acceptances of lower ballots as well. One of
    // this ballot shows that its leader is past phase 1 and waits for no promise.
    uint64_t after = paxos->promised_seq;
    mf_paxos_send_after(paxos, env, paxos->members_seq > after ? paxos->members_seq : after,
                        promise);
}

bool mf_paxos_may_not_raise(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                            mf_ballot_t ballot)
{
    return ballot > paxos->promised && mf_paxos_kept_from(paxos, env, mf_ballot_node(ballot));
}

uint64_t mf_paxos_raise_promise(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                                mf_ballot_t ballot)
{
    mf_paxos_relied_on(paxos, env, ballot);
    if (ballot <= paxos->promised)
        return paxos->promised_seq; // it may still be on its way to the disk
    paxos->promised = ballot;
    struct mf_wal_record record = {.type = MF_WAL_PROMISE, .ballot = ballot};
    paxos->promised_seq = mf_paxos_record(paxos, &record, NULL);
    return paxos->promised_seq;
}

void mf_paxos_on_accept(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                        const struct mf_paxos_msg *msg)
{
    if (msg->ballot < paxos->promised) {
        reject(paxos, env, msg->from);
        return;
    }
    uint64_t last = msg->slot + msg->entry_count - 1;
    if (msg->entry_count == 0 || mf_paxos_may_not_raise(paxos, env, msg->ballot))
        return;
    mf_paxos_follow(paxos, env, msg->ballot);
    uint64_t after = mf_paxos_raise_promise(paxos, env, msg->ballot);
    if (paxos->cfg.blank || last > mf_entry_log_last(&paxos->log) + MF_SLOT_GAP_MAX) {
        // Not taken, but heeded: under steady load no other message tells us what to learn.
        mf_paxos_heard_chosen(paxos, env, msg->from, msg->ballot, msg->chosen);
        return;
    }
    for (uint32_t i = 0; i < msg->entry_count; i++) {
        const struct mf_paxos_entry *value = &msg->entries[i];
        if (value->slot < paxos->log.first)
            continue; // chosen, and in a durable snapshot
        const struct mf_log_entry *entry = mf_entry_log_get(&paxos->log, value->slot);
        bool known =
            entry != NULL && (entry->ballot == msg->ballot || value->slot <= paxos->chosen);
        if (!known)
            entry =
                mf_paxos_store(paxos, value->slot, msg->ballot, value->log_time_us, value->payload);
        if (entry->persist_seq > after)
            after = entry->persist_seq;
    }
    mf_paxos_heard_chosen(paxos, env, msg->from, msg->ballot, msg->chosen);
    if (paxos->members_seq > after)
        after = paxos->members_seq;
    mf_paxos_send_after(paxos, env, after,
                        (struct mf_paxos_msg){.type = MF_PAXOS_ACCEPTED,
                                              .to = msg->from,
                                              .ballot = msg->ballot,
                                              .slot = msg->slot,
                                              .last = last,
                                              .chosen = paxos->chosen,
                                              .read_seq = msg->incarnation,
                                              .support = env->support});
}

void mf_paxos_on_probe(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                       const struct mf_paxos_msg *msg)
{
    if (paxos->cfg.blank)
        return;
    if (msg->ballot < paxos->promised) {
        reject(paxos, env, msg->from);
        return;
    }
    mf_paxos_relied_on(paxos, env, msg->ballot);
    // A lease covers the owner of our promise only, of one that a restart remembers.
    bool durable = msg->ballot == paxos->promised && paxos->promised_seq <= paxos->seq_durable;
    uint64_t support = durable ? env->support : 0;
    mf_paxos_send(paxos, env,
                  (struct mf_paxos_msg){.type = MF_PAXOS_READ_ACK,
                                        .support = support,
                                        .to = msg->from,
                                        .ballot = msg->ballot,
                                        .read_seq = msg->read_seq});
}
