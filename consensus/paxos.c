// The Paxos core: life cycle, recovery, and the events' way to the roles; see paxos.h.
#include "consensus/paxos.h"

#include <assert.h>
#include <stdlib.h>

#include "consensus/paxos_internal.h"

struct mf_paxos *mf_paxos_new(const struct mf_paxos_config *config, uint64_t first_slot,
                              uint64_t now_us)
{
    assert(config->members.voter_count >= 1 && config->incarnation != 0 && first_slot >= 1);
    struct mf_paxos *paxos = mf_calloc(1, sizeof(*paxos));
    paxos->cfg = *config;
    mf_paxos_adopt_members(paxos, &config->members);
    paxos->chosen = first_slot - 1;
    paxos->chosen_taken = paxos->chosen;
    paxos->known_chosen = paxos->chosen;
    paxos->seq_open = 1;
    paxos->role = MF_FOLLOWER;
    paxos->election_due_us = now_us + config->first_election_us;
    paxos->begun_us = config->begun_us != 0 ? config->begun_us : now_us;
    paxos->round_max = config->members.round;
    if (config->blank)
        paxos->learn_due_us = now_us;
    mf_entry_log_init(&paxos->log, first_slot);
    mf_entry_log_init(&paxos->adopted, first_slot);
    return paxos;
}

void mf_paxos_free(struct mf_paxos *paxos)
{
    if (paxos == NULL)
        return;
    mf_paxos_update_done(paxos);
    for (uint32_t i = 0; i < paxos->held_count; i++)
        mf_paxos_msg_free(&paxos->held[i].msg);
    free(paxos->held);
    free(paxos->update.records);
    free(paxos->update.msgs);
    free(paxos->record_payloads);
    mf_entry_log_free(&paxos->log);
    mf_entry_log_free(&paxos->adopted);
    free(paxos);
}

void mf_paxos_saw_ballot(struct mf_paxos *paxos, mf_ballot_t ballot)
{
    if (mf_ballot_round(ballot) > paxos->round_max)
        paxos->round_max = mf_ballot_round(ballot);
}

void mf_paxos_restore_promise(struct mf_paxos *paxos, mf_ballot_t ballot)
{
    if (ballot > paxos->promised)
        paxos->promised = ballot;
    mf_paxos_saw_ballot(paxos, ballot);
}

void mf_paxos_restore_accept(struct mf_paxos *paxos, uint64_t slot, mf_ballot_t ballot,
                             uint64_t log_time_us, enum mf_entry_kind kind, struct mf_bytes bytes)
{
    mf_paxos_restore_promise(paxos, ballot);
    if (slot < paxos->log.first)
        return;
    const struct mf_log_entry *known = mf_entry_log_get(&paxos->log, slot);
    if (known != NULL && known->ballot >= ballot)
        return;
    struct mf_payload *payload = bytes.len > 0 ? mf_payload_new(kind, bytes) : NULL;
    mf_entry_log_put(&paxos->log, slot, ballot, log_time_us, payload);
    mf_payload_unref(payload);
    if (log_time_us > paxos->last_log_time_us)
        paxos->last_log_time_us = log_time_us;
}

void mf_paxos_restore_chosen(struct mf_paxos *paxos, uint64_t chosen)
{
    if (chosen > paxos->known_chosen)
        paxos->known_chosen = chosen;
}

void mf_paxos_choose_next(struct mf_paxos *paxos)
{
    const struct mf_log_entry *entry = mf_entry_log_get(&paxos->log, ++paxos->chosen);
    if (!mf_payload_is_members(entry->payload))
        return;
    struct mf_members members;
    enum mf_err err = mf_members_decode(mf_payload_bytes(entry->payload), paxos->chosen, &members);
    assert(err == MF_OK); // made by us, or checked when it came in
    (void)err;
    if (!mf_members_follow(&members, &paxos->members))
        return;
    members.round = paxos->round_max;
    mf_paxos_adopt_members(paxos, &members);
    // Who votes in it has to know of it after a restart, too (P7).
    struct mf_wal_record record = {.type = MF_WAL_MARK, .slot = paxos->chosen};
    paxos->members_seq = mf_paxos_record(paxos, &record, NULL);
}

void mf_paxos_restore_done(struct mf_paxos *paxos)
{
    while (paxos->chosen < paxos->known_chosen &&
           mf_entry_log_get(&paxos->log, paxos->chosen + 1) != NULL)
        mf_paxos_choose_next(paxos);
    // Who begins blank knows a configuration that is chosen, and so is all before it.
    paxos->known_chosen = paxos->cfg.blank ? paxos->members.slot : paxos->chosen;
}

struct mf_log_entry *mf_paxos_store(struct mf_paxos *paxos, uint64_t slot, mf_ballot_t ballot,
                                    uint64_t log_time_us, struct mf_payload *payload)
{
    struct mf_log_entry *entry = mf_entry_log_put(&paxos->log, slot, ballot, log_time_us, payload);
    bool members = mf_payload_is_members(payload);
    struct mf_wal_record record = {.type = members ? MF_WAL_MEMBERS : MF_WAL_ACCEPT,
                                   .ballot = ballot,
                                   .slot = slot,
                                   .log_time_us = log_time_us};
    entry->persist_seq = mf_paxos_record(paxos, &record, payload);
    if (log_time_us > paxos->last_log_time_us)
        paxos->last_log_time_us = log_time_us;
    return entry;
}

void mf_paxos_step_down(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint64_t delay_us,
                        uint64_t spread_us)
{
    if (paxos->role == MF_LEADER)
        paxos->update.lost_leadership = true;
    paxos->role = MF_FOLLOWER;
    paxos->leader = 0;
    paxos->asking = false;
    paxos->given_up = 0;
    paxos->heir = 0;
    paxos->election_due_us = env->now_us + delay_us + (spread_us > 0 ? env->random % spread_us : 0);
}

// A leader that is suspected and goes on proposing hears nobody, perhaps. Who followed it again, or
// gave up running against it, would leave the group without a leader for as long as it talks. With
// a newer ballot it is followed: for that it had to hear the promises of a majority.
void mf_paxos_follow(struct mf_paxos *paxos, const struct mf_paxos_env *env, mf_ballot_t ballot)
{
    if (ballot == paxos->suspected)
        return;
    if (paxos->role != MF_FOLLOWER)
        mf_paxos_step_down(paxos, env, 0, 0);
    paxos->leader = mf_ballot_node(ballot);
}

// What no peer sends. Whether the sender counts is for each message's handler to say: one that is
// of no configuration known here may be of a newer one.
static bool sane(const struct mf_paxos *paxos, const struct mf_paxos_msg *msg)
{
    if (msg->from == paxos->cfg.self || msg->from == 0 || msg->incarnation == 0)
        return false;
    bool run = msg->type == MF_PAXOS_ACCEPT || msg->type == MF_PAXOS_LEARNED;
    for (uint32_t i = 0; i < msg->entry_count; i++) {
        if (msg->entries[i].slot > UINT64_MAX / 2 || (run && msg->entries[i].slot != msg->slot + i))
            return false;
    }
    bool from_leader = msg->type == MF_PAXOS_PREPARE || msg->type == MF_PAXOS_ACCEPT ||
                       msg->type == MF_PAXOS_CHOSEN || msg->type == MF_PAXOS_READ_PROBE ||
                       msg->type == MF_PAXOS_TRANSFER || msg->type == MF_PAXOS_ASK_VOTE;
    return !from_leader || mf_ballot_node(msg->ballot) == msg->from;
}

static void on_reject(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                      const struct mf_paxos_msg *msg)
{
    if (paxos->role != MF_FOLLOWER && msg->ballot > paxos->ballot)
        mf_paxos_step_down(paxos, env, 0, paxos->cfg.election_us);
}

void mf_paxos_receive(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                      const struct mf_paxos_msg *msg)
{
    if (!sane(paxos, msg))
        return;
    // A ballot that is only asked about has not been used.
    if (msg->type != MF_PAXOS_ASK_VOTE && msg->type != MF_PAXOS_VOTE)
        mf_paxos_saw_ballot(paxos, msg->ballot);
    mf_paxos_present(paxos, (struct mf_acceptor){msg->from, msg->incarnation});
    switch (msg->type) {
    case MF_PAXOS_PREPARE:
        mf_paxos_on_prepare(paxos, env, msg);
        break;
    case MF_PAXOS_PROMISE:
        mf_paxos_on_promise(paxos, env, msg);
        break;
    case MF_PAXOS_REJECT:
        on_reject(paxos, env, msg);
        break;
    case MF_PAXOS_ACCEPT:
        mf_paxos_on_accept(paxos, env, msg);
        break;
    case MF_PAXOS_ACCEPTED:
        mf_paxos_on_accepted(paxos, env, msg);
        break;
    case MF_PAXOS_CHOSEN:
        mf_paxos_on_chosen(paxos, env, msg);
        break;
    case MF_PAXOS_LEARN:
        mf_paxos_on_learn(paxos, env, msg);
        break;
    case MF_PAXOS_LEARNED:
        mf_paxos_on_learned(paxos, env, msg);
        break;
    case MF_PAXOS_READ_PROBE:
        mf_paxos_on_probe(paxos, env, msg);
        break;
    case MF_PAXOS_READ_ACK:
        mf_paxos_on_read_ack(paxos, env, msg);
        break;
    case MF_PAXOS_ASK_VOTE:
        mf_paxos_on_ask_vote(paxos, env, msg);
        break;
    case MF_PAXOS_VOTE:
        mf_paxos_on_vote(paxos, env, msg);
        break;
    case MF_PAXOS_TRANSFER:
        mf_paxos_on_transfer(paxos, env, msg);
        break;
    case MF_PAXOS_ASK_RELEASE:
        mf_paxos_on_ask_release(paxos, env, msg);
        break;
    case MF_PAXOS_RELEASE:
        mf_paxos_on_release(paxos, env, msg);
        break;
    }
}

void mf_paxos_persisted(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint64_t seq)
{
    assert(seq < paxos->seq_open);
    if (seq <= paxos->seq_durable)
        return;
    paxos->seq_durable = seq;
    mf_paxos_release_held(paxos);
    if (paxos->role == MF_CANDIDATE && !paxos->asking)
        mf_paxos_on_own_promise(paxos, env);
    else if (paxos->role == MF_LEADER)
        mf_paxos_on_own_accept(paxos, env);
}

// Waiting for votes or promises, of which some may be lost.
static bool asks(const struct mf_paxos *paxos)
{
    return (paxos->role == MF_CANDIDATE && (paxos->asking || paxos->prepare_sent)) ||
           paxos->role == MF_RECOVERING;
}

// An election timer runs while there is no leader that the caller watches for us.
static bool timed(const struct mf_paxos *paxos)
{
    return paxos->self >= 0 && !paxos->cfg.blank && paxos->role != MF_LEADER &&
           (paxos->leader == 0 || paxos->role != MF_FOLLOWER);
}

void mf_paxos_tick(struct mf_paxos *paxos, const struct mf_paxos_env *env)
{
    if (timed(paxos) && env->now_us >= paxos->election_due_us)
        mf_paxos_campaign(paxos, env);
    else if (asks(paxos) && env->now_us >= paxos->ask_due_us)
        mf_paxos_ask_all_again(paxos, env);
    if (paxos->role == MF_LEADER)
        mf_paxos_leader_tick(paxos, env);
    if (paxos->learn_due_us != 0 && env->now_us >= paxos->learn_due_us) {
        paxos->learn_due_us = 0;
        mf_paxos_learn_more(paxos, env);
    }
}

uint64_t mf_paxos_next_tick_us(const struct mf_paxos *paxos)
{
    uint64_t next = timed(paxos) ? paxos->election_due_us : MF_NEVER;
    if (asks(paxos) && paxos->ask_due_us < next)
        next = paxos->ask_due_us;
    if (paxos->learn_due_us != 0 && paxos->learn_due_us < next)
        next = paxos->learn_due_us;
    if (paxos->role == MF_LEADER) {
        uint64_t leader = mf_paxos_leader_next_us(paxos);
        next = leader < next ? leader : next;
    }
    return next;
}

// How many living voters come between a voter and us, around the configuration: the first takes
// over at once, the next only if it does not.
static uint32_t rank_after(const struct mf_paxos *paxos, uint16_t node)
{
    int from = mf_members_voter_node(&paxos->members, node);
    uint32_t rank = 0;
    for (int step = 1; from >= 0 && step < paxos->members.voter_count; step++) {
        int i = (from + step) % paxos->members.voter_count;
        if (i == paxos->self)
            break;
        rank += paxos->peers[i].up && !paxos->peers[i].gone;
    }
    return rank;
}

void mf_paxos_suspect(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint16_t node)
{
    if (node == paxos->cfg.self)
        return;
    for (uint32_t i = 0; i < paxos->peer_count; i++) {
        if (paxos->peers[i].acceptor.node == node)
            paxos->peers[i].up = false;
    }
    if (mf_ballot_node(paxos->promised) == node)
        paxos->suspected = paxos->promised;
    if (paxos->leader != node)
        return;
    uint64_t step_us = paxos->cfg.election_us / 4;
    mf_paxos_step_down(paxos, env, rank_after(paxos, node) * step_us, step_us / 8);
}

void mf_paxos_peer_up(struct mf_paxos *paxos, const struct mf_paxos_env *env,
                      struct mf_acceptor acceptor)
{
    mf_paxos_present(paxos, acceptor);
    if (mf_ballot_node(paxos->suspected) == acceptor.node)
        paxos->suspected = 0;
    int i = mf_paxos_peer_index(paxos, acceptor);
    if (i < 0 || acceptor.node == paxos->cfg.self)
        return;
    struct mf_paxos_peer *peer = &paxos->peers[i];
    peer->chosen_sent = 0;
    peer->chosen_acked = 0;
    peer->resend_due_us = env->now_us;
    mf_paxos_ask_again(paxos, env, (uint32_t)i);
    if (paxos->role == MF_LEADER)
        mf_paxos_leader_tick(paxos, env);
}

enum mf_paxos_role mf_paxos_role(const struct mf_paxos *paxos)
{
    return paxos->role;
}

uint16_t mf_paxos_leader(const struct mf_paxos *paxos)
{
    return paxos->leader;
}

mf_ballot_t mf_paxos_ballot(const struct mf_paxos *paxos)
{
    return paxos->promised;
}

uint64_t mf_paxos_chosen(const struct mf_paxos *paxos)
{
    return paxos->chosen;
}

uint64_t mf_paxos_log_bytes(const struct mf_paxos *paxos)
{
    return paxos->log.bytes;
}

uint64_t mf_paxos_first_slot(const struct mf_paxos *paxos)
{
    return paxos->log.first;
}

uint64_t mf_paxos_last_slot(const struct mf_paxos *paxos)
{
    return mf_entry_log_last(&paxos->log);
}

const struct mf_log_entry *mf_paxos_entry(const struct mf_paxos *paxos, uint64_t slot)
{
    return mf_entry_log_get(&paxos->log, slot);
}

uint64_t mf_paxos_last_log_time(const struct mf_paxos *paxos)
{
    return paxos->last_log_time_us;
}

struct mf_paxos_stamp mf_paxos_quorum_clock(const struct mf_paxos *paxos, uint8_t source,
                                            uint64_t now_us)
{
    struct mf_paxos_stamp stamp = {.source = source};
    if (source >= MF_CLOCK_SOURCES || paxos->clock_us[source] == 0)
        return stamp;
    uint64_t passed_us = now_us - paxos->clock_at_us[source];
    stamp.log_us = paxos->clock_us[source] + passed_us - passed_us / MF_STAMP_DRIFT;
    stamp.ballot = paxos->clock_ballot[source];
    return stamp;
}
