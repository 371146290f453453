// Configurations as a replica wants them: step by step, and by itself when an acceptor has come
// back without its memory; and states that take the place of a log.
//
// A node whose acceptor has another incarnation than the voter in the configuration can never vote
// as that voter again. The leader lets the new one learn, and once it has caught up makes it the
// voter in the old one's place.
#include <stdlib.h>

#include "server/replica_internal.h"

static struct mf_acceptor present_on(const struct mf_replica *replica, struct mf_acceptor voter)
{
    uint64_t incarnation = mf_paxos_present_on(replica->paxos, voter.node);
    if (voter.node != replica->cfg.paxos.self && incarnation != 0)
        voter.incarnation = incarnation;
    return voter;
}

static void drop(struct mf_acceptor *acceptors, uint8_t *count, uint16_t node)
{
    uint8_t kept = 0;
    for (uint8_t i = 0; i < *count; i++) {
        if (acceptors[i].node != node)
            acceptors[kept++] = acceptors[i];
    }
    *count = kept;
}

// In its place by node.
static void insert(struct mf_acceptor *acceptors, uint8_t *count, struct mf_acceptor acceptor)
{
    uint8_t at = (*count)++;
    for (; at > 0 && acceptors[at - 1].node > acceptor.node; at--)
        acceptors[at] = acceptors[at - 1];
    acceptors[at] = acceptor;
}

// What the leader knows of an acceptor of the configuration in force; nothing of any other.
static struct mf_paxos_progress progress_of(const struct mf_replica *replica,
                                            struct mf_acceptor acceptor)
{
    struct mf_paxos_progress progress;
    for (uint32_t i = 0; mf_paxos_progress(replica->paxos, i, &progress); i++) {
        if (progress.acceptor.node == acceptor.node &&
            progress.acceptor.incarnation == acceptor.incarnation)
            return progress;
    }
    return (struct mf_paxos_progress){0};
}

// Learners that have lost their memory since would take the places of others.
static void drop_gone(const struct mf_replica *replica, struct mf_members *next)
{
    uint8_t kept = 0;
    for (uint8_t i = 0; i < next->learner_count; i++) {
        struct mf_acceptor there = present_on(replica, next->learners[i]);
        if (there.incarnation == next->learners[i].incarnation)
            next->learners[kept++] = next->learners[i];
    }
    next->learner_count = kept;
}

// Towards `goal` for one voter of it: true when *next is a step that can be proposed now.
static bool admit(const struct mf_replica *replica, struct mf_acceptor goal,
                  struct mf_members *next)
{
    if (mf_members_voter(next, goal) >= 0)
        return false;
    if (mf_members_learner(next, goal) < 0) {
        drop(next->learners, &next->learner_count, goal.node);
        drop_gone(replica, next);
        if (next->learner_count == MF_LEARNERS_MAX)
            return false;
        insert(next->learners, &next->learner_count, goal);
        return true;
    }
    drop(next->voters, &next->voter_count, goal.node);
    if (!progress_of(replica, goal).caught_up || next->voter_count == MF_VOTERS_MAX)
        return false;
    drop(next->learners, &next->learner_count, goal.node);
    insert(next->voters, &next->voter_count, goal);
    return true;
}

// The index of a learner on whose node the configuration that was asked for has no voter, or -1:
// an earlier wish has left it.
static int stray_learner(const struct mf_replica *replica)
{
    const struct mf_members *now = mf_paxos_members(replica->paxos);
    for (uint8_t i = 0; i < now->learner_count && replica->wanted.voter_count > 0; i++) {
        if (mf_members_voter_node(&replica->wanted, now->learners[i].node) < 0)
            return i;
    }
    return -1;
}

// A voter that is not wanted goes: first who is not there, since whoever is may be needed for the
// majority that lets others go.
static bool dismiss(const struct mf_replica *replica, const struct mf_members *now,
                    const struct mf_members *goal, bool here, struct mf_members *next)
{
    for (uint8_t i = 0; i < now->voter_count; i++) {
        if (mf_members_voter_node(goal, now->voters[i].node) >= 0 ||
            progress_of(replica, now->voters[i]).here != here)
            continue;
        *next = *now;
        drop(next->voters, &next->voter_count, now->voters[i].node);
        if (next->voter_count > 0)
            return true;
    }
    return false;
}

// A voter that has lost its memory is replaced before others come in, since each of them raises the
// majority that is needed; and nobody goes before everybody has come, where there is room.
static bool next_step(const struct mf_replica *replica, struct mf_members *next)
{
    const struct mf_members now = *mf_paxos_members(replica->paxos);
    const struct mf_members *goal = replica->wanted.voter_count > 0 ? &replica->wanted : &now;
    bool missing = false;
    int stray = stray_learner(replica);
    if (stray >= 0) {
        *next = now;
        drop(next->learners, &next->learner_count, now.learners[stray].node);
        return true;
    }
    for (int pass = 0; pass < 2; pass++) {
        for (uint8_t i = 0; i < goal->voter_count; i++) {
            struct mf_acceptor voter = present_on(replica, goal->voters[i]);
            bool replaces = mf_members_voter_node(&now, voter.node) >= 0;
            missing = missing || mf_members_voter(&now, voter) < 0;
            *next = now;
            if (replaces == (pass == 0) && admit(replica, voter, next))
                return true;
        }
    }
    if (missing && now.voter_count < MF_VOTERS_MAX)
        return false;
    return dismiss(replica, &now, goal, false, next) || dismiss(replica, &now, goal, true, next);
}

// Whatever is missing from the configuration that is wanted has been proposed and chosen.
static bool reached(const struct mf_replica *replica)
{
    const struct mf_members *now = mf_paxos_members(replica->paxos);
    const struct mf_members *goal = replica->wanted.voter_count > 0 ? &replica->wanted : now;
    bool all = now->voter_count == goal->voter_count && stray_learner(replica) < 0;
    for (uint8_t i = 0; i < goal->voter_count; i++)
        all = all && mf_members_voter(now, present_on(replica, goal->voters[i])) >= 0;
    return all;
}

static enum mf_err propose_step(struct mf_replica *replica, const struct mf_replica_env *env,
                                const struct mf_members *next, const char **why)
{
    struct mf_paxos_env paxos_env = mf_replica_paxos_env(replica, env);
    uint64_t log_us = mf_log_clock_now(&replica->clock, env->now_us);
    enum mf_err err = mf_paxos_reconfigure(replica->paxos, &paxos_env, log_us, *next, why);
    if (err == MF_OK)
        mf_log_clock_saw_entry(&replica->clock, log_us);
    return err;
}

void mf_replica_mend_members(struct mf_replica *replica, const struct mf_replica_env *env)
{
    if (!replica->mending || replica->applied < replica->lead_slot ||
        !mf_paxos_window_open(replica->paxos))
        return;
    if (reached(replica)) {
        replica->mending = false;
        replica->wanted.voter_count = 0;
        return;
    }
    struct mf_members next;
    const char *why = NULL;
    // What is refused now may be possible when somebody has caught up: that comes with a message.
    if (next_step(replica, &next)) {
        enum mf_err err = propose_step(replica, env, &next, &why);
        (void)err;
    }
}

enum mf_err mf_replica_reconfigure(struct mf_replica *replica, const struct mf_replica_env *env,
                                   const struct mf_members *members, const char **why)
{
    *why = NULL;
    if (mf_paxos_role(replica->paxos) != MF_LEADER || replica->lead_slot == 0)
        return MF_NOT_LEADER;
    replica->wanted = *members;
    replica->mending = true;
    mf_replica_happened(replica);
    struct mf_members next;
    if (reached(replica) || !mf_paxos_window_open(replica->paxos) || !next_step(replica, &next))
        return MF_OK;
    enum mf_err err = propose_step(replica, env, &next, why);
    return err == MF_BAD_REQUEST ? MF_OK : err;
}

enum mf_err mf_replica_transfer(struct mf_replica *replica, const struct mf_replica_env *env,
                                uint16_t node)
{
    struct mf_paxos_env paxos_env = mf_replica_paxos_env(replica, env);
    mf_replica_happened(replica);
    return mf_paxos_transfer(replica->paxos, &paxos_env, node);
}

const struct mf_members *mf_replica_members(const struct mf_replica *replica)
{
    return &replica->members;
}

void mf_replica_compact(struct mf_replica *replica, uint64_t first)
{
    mf_paxos_compact(replica->paxos, first);
}

void mf_replica_forget_proposals(struct mf_replica *replica, uint64_t up_to)
{
    while (replica->first != NULL && replica->first->slot <= up_to) {
        struct mf_proposal *proposal = replica->first;
        replica->first = proposal->next;
        replica->growth -= proposal->growth;
        replica->built_out -= proposal->built;
        for (uint32_t i = 0; i < proposal->count; i++) {
            if (proposal->ops[i] != NULL)
                mf_replica_reply(replica, proposal->ops[i], MF_TIMEOUT);
        }
        free(proposal);
    }
    if (replica->first == NULL)
        replica->last = NULL;
}

bool mf_replica_install(struct mf_replica *replica, const struct mf_replica_env *env,
                        struct mf_shard *shard, const struct mf_members *members)
{
    struct mf_shard_meta meta;
    mf_shard_meta(shard, &meta);
    struct mf_paxos_env paxos_env = mf_replica_paxos_env(replica, env);
    if (replica->dead ||
        !mf_paxos_install(replica->paxos, &paxos_env, meta.applied, meta.log_time_us, members))
        return false;
    struct mf_shard *old = replica->shard;
    replica->shard = shard;
    if (replica->cfg.budget != NULL)
        mf_shard_set_eviction(shard, mf_budget_eviction(replica->cfg.budget));
    if (replica->cfg.unshared)
        mf_shard_unshare(shard);
    if (replica->ops->retire != NULL)
        replica->ops->retire(replica->ctx, replica->cfg.paxos.group, old);
    else
        mf_shard_free(old);
    replica->applied = meta.applied;
    if (meta.log_time_us > replica->log_time_us)
        replica->log_time_us = meta.log_time_us;
    replica->members = *members;
    mf_log_clock_saw_entry(&replica->clock, meta.log_time_us);
    mf_replica_forget_proposals(replica, meta.applied);
    mf_replica_happened(replica);
    return true;
}
