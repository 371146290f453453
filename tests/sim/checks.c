// The rules of Paxos and of the replicated state, checked as things happen; see checks.h.
#include "checks.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "shards/batch.h"
#include "world.h"

// The whole state is hashed at slots that are multiples of this.
#define STATE_HASH_EVERY 32u
// And its invariants are checked at multiples of this.
#define VALID_EVERY 64u

typedef unsigned long long ull;

static struct sim_group_checks *group_of(struct sim *sim, uint32_t group)
{
    return &sim->checks.groups[group];
}

static struct sim_slot *slot_at(struct sim_group_checks *checks, uint64_t slot)
{
    while (slot > checks->slot_cap) {
        uint64_t cap = checks->slot_cap == 0 ? 64 : checks->slot_cap * 2;
        checks->slots = mf_realloc(checks->slots, cap * sizeof(*checks->slots));
        memset(checks->slots + checks->slot_cap, 0,
               (cap - checks->slot_cap) * sizeof(*checks->slots));
        checks->slot_cap = cap;
    }
    if (slot > checks->slot_count)
        checks->slot_count = slot;
    return &checks->slots[slot - 1];
}

void sim_checks_free(struct sim *sim)
{
    for (uint32_t group = 0; group < SIM_GROUPS_MAX; group++) {
        struct sim_group_checks *checks = group_of(sim, group);
        for (uint64_t i = 0; i < checks->slot_cap; i++) {
            free(checks->slots[i].votes);
            mf_buf_free(&checks->slots[i].payload);
        }
        free(checks->slots);
        free(checks->ballots);
        free(checks->clock.stretches);
    }
}

static uint64_t value_of(struct mf_bytes payload, uint64_t log_time_us)
{
    return mf_hash64(payload, log_time_us);
}

// The vote for this value at this ballot, made if it is new. A ballot with two values is broken.
static struct sim_vote *vote_for(struct sim *sim, uint32_t group, uint64_t slot, mf_ballot_t ballot,
                                 uint64_t value, bool *is_new)
{
    struct sim_slot *at = slot_at(group_of(sim, group), slot);
    char text[32];
    *is_new = true;
    for (uint32_t i = 0; i < at->vote_count; i++) {
        struct sim_vote *vote = &at->votes[i];
        if (vote->value == value)
            *is_new = false;
        if (vote->ballot != ballot)
            continue;
        if (vote->value != value)
            sim_fail(sim, "one ballot proposes one value in a slot",
                     "group %u, slot %llu, ballot %s", group, (ull)slot,
                     sim_ballot_text(ballot, text, sizeof(text)));
        return vote;
    }
    at->votes = mf_realloc(at->votes, (at->vote_count + 1) * sizeof(*at->votes));
    struct sim_vote *vote = &at->votes[at->vote_count++];
    *vote = (struct sim_vote){.ballot = ballot, .value = value};
    return vote;
}

// A command of a chosen entry: whose is it, and may it be there?
static void see_command(struct sim *sim, uint64_t slot, uint64_t log_time_us,
                        const struct mf_command *command)
{
    struct sim_op *op = sim_op_of(sim, sim_op_number_of(command));
    if (op == NULL)
        return;
    char text[SIM_TEXT_MAX];
    if (op->outcome == SIM_REFUSED)
        sim_fail(sim, "what was refused is never carried out", "slot %llu has %s", (ull)slot,
                 sim_op_text(op, text, sizeof(text)));
    op->times_chosen++;
    if (op->times_chosen == 1) {
        op->chosen_us = sim->now_us;
        op->chosen_log_us = log_time_us;
    } else if (!op->has_id) {
        sim_fail(sim, "a command without an id is in the log once", "slot %llu has again %s",
                 (ull)slot, sim_op_text(op, text, sizeof(text)));
    } else if (log_time_us >= op->chosen_log_us + MF_ID_TTL_US) {
        op->id_forgotten = true;
    }
}

static void see_entry(struct sim *sim, uint32_t group, uint64_t slot)
{
    struct sim_group_checks *checks = group_of(sim, group);
    struct sim_slot *at = slot_at(checks, slot);
    sim->stats.entries++;
    if (at->log_time_us > checks->log_time_us)
        checks->log_time_us = at->log_time_us;
    struct mf_batch_reader reader;
    enum mf_err err = mf_batch_open(&reader, mf_buf_view(&at->payload));
    while (err == MF_OK) {
        struct mf_command command;
        err = mf_batch_next(&reader, &command);
        if (err == MF_OK)
            see_command(sim, slot, checks->log_time_us, &command);
    }
    mf_batch_close(&reader);
    if (err != MF_NOT_FOUND)
        sim_fail(sim, "a chosen entry can be read", "group %u, slot %llu", group, (ull)slot);
}

static void choose(struct sim *sim, uint32_t group, const struct mf_wal_record *record,
                   uint64_t value)
{
    struct sim_group_checks *checks = group_of(sim, group);
    struct sim_slot *at = slot_at(checks, record->slot);
    char text[32];
    if (at->chosen) {
        if (at->value != value)
            sim_fail(sim, "one value is chosen in a slot",
                     "group %u, slot %llu: a majority has accepted another value at ballot %s",
                     group, (ull)record->slot, sim_ballot_text(record->ballot, text, sizeof(text)));
        return;
    }
    at->chosen = true;
    at->value = value;
    at->log_time_us = record->log_time_us;
    mf_buf_put(&at->payload, record->payload.data, record->payload.len);
    sim_trace(sim, 0, "group %u: slot %llu is CHOSEN at ballot %s", group, (ull)record->slot,
              sim_ballot_text(record->ballot, text, sizeof(text)));
    while (checks->chosen < checks->slot_count && checks->slots[checks->chosen].chosen)
        see_entry(sim, group, ++checks->chosen);
}

void sim_checks_written(struct sim_node *node, const struct mf_wal_record *record)
{
    if (record->type != MF_WAL_ACCEPT)
        return;
    bool is_new;
    uint64_t value = value_of(record->payload, record->log_time_us);
    vote_for(node->sim, record->group, record->slot, record->ballot, value, &is_new);
    bool own = mf_ballot_node(record->ballot) == node->id;
    if (is_new && own && record->payload.len > 0)
        sim_clocks_proposed(node, record->group, record->ballot, record->log_time_us);
}

void sim_checks_durable(struct sim_node *node, const struct mf_wal_record *record)
{
    struct sim *sim = node->sim;
    struct sim_group_checks *checks = group_of(sim, record->group);
    if (record->type == MF_WAL_MARK)
        return;
    if (record->ballot > checks->promised[node->index])
        checks->promised[node->index] = record->ballot;
    if (record->type != MF_WAL_ACCEPT)
        return;
    bool is_new;
    uint64_t value = value_of(record->payload, record->log_time_us);
    struct sim_vote *vote =
        vote_for(sim, record->group, record->slot, record->ballot, value, &is_new);
    if (!node->forgot)
        vote->nodes |= 1u << node->index;
    bool majority = __builtin_popcount(vote->nodes) * 2 > (int)sim->plan.node_count;
    struct sim_accepted *accepted = &slot_at(checks, record->slot)->accepted[node->index];
    if (record->ballot >= accepted->ballot)
        *accepted = (struct sim_accepted){.ballot = record->ballot, .value = value};
    if (majority)
        choose(sim, record->group, record, value);
}

static void check_prepare(struct sim_node *node, uint32_t group, mf_ballot_t ballot)
{
    struct sim_group_checks *checks = group_of(node->sim, group);
    char text[32];
    for (uint32_t i = checks->ballot_count; i-- > 0;) {
        if (checks->ballots[i].ballot != ballot)
            continue;
        if (checks->ballots[i].life != node->life)
            sim_fail(node->sim, "a ballot is used by one life of its node",
                     "node %u, group %u uses ballot %s again after a restart", (unsigned)node->id,
                     group, sim_ballot_text(ballot, text, sizeof(text)));
        return;
    }
    if (checks->ballot_count == checks->ballot_cap) {
        checks->ballot_cap = checks->ballot_cap == 0 ? 16 : checks->ballot_cap * 2;
        checks->ballots =
            mf_realloc(checks->ballots, checks->ballot_cap * sizeof(*checks->ballots));
    }
    checks->ballots[checks->ballot_count++] =
        (struct sim_ballot){.ballot = ballot, .life = node->life};
}

static void check_promise(struct sim_node *node, uint32_t group, const struct mf_paxos_msg *msg)
{
    struct sim_group_checks *checks = group_of(node->sim, group);
    char text[32];
    if (checks->promised[node->index] < msg->ballot)
        sim_fail(node->sim, "a promise is answered when it is durable",
                 "node %u, group %u promises %s", (unsigned)node->id, group,
                 sim_ballot_text(msg->ballot, text, sizeof(text)));
    for (uint32_t i = 0; i < msg->entry_count; i++) {
        const struct sim_accepted *accepted =
            &slot_at(checks, msg->entries[i].slot)->accepted[node->index];
        // A PREPARE that comes twice may find values of its own ballot. They tell its sender
        // nothing.
        bool earlier = msg->entries[i].ballot < msg->ballot;
        if (earlier && accepted->ballot < msg->entries[i].ballot)
            sim_fail(node->sim, "a promise reports what is durable", "node %u, group %u, slot %llu",
                     (unsigned)node->id, group, (ull)msg->entries[i].slot);
    }
}

static void check_accepted(struct sim_node *node, uint32_t group, const struct mf_paxos_msg *msg)
{
    struct sim_group_checks *checks = group_of(node->sim, group);
    for (uint64_t slot = msg->slot; slot <= msg->last; slot++) {
        const struct sim_slot *at = slot_at(checks, slot);
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
    struct sim_group_checks *checks = group_of(node->sim, group);
    for (uint32_t i = 0; i < msg->entry_count; i++) {
        const struct mf_paxos_entry *entry = &msg->entries[i];
        const struct sim_slot *at = slot_at(checks, entry->slot);
        uint64_t value = value_of(mf_payload_bytes(entry->payload), entry->log_time_us);
        if (!at->chosen || at->value != value)
            sim_fail(node->sim, "only chosen values are taught", "node %u, group %u, slot %llu",
                     (unsigned)node->id, group, (ull)entry->slot);
    }
}

void sim_checks_sent(struct sim_node *node, uint32_t group, const struct mf_paxos_msg *msg)
{
    struct sim *sim = node->sim;
    bool is_new;
    bool votes = msg->type == MF_PAXOS_PREPARE || msg->type == MF_PAXOS_PROMISE ||
                 msg->type == MF_PAXOS_READ_ACK ||
                 (msg->type == MF_PAXOS_ACCEPTED && msg->slot <= msg->last);
    if (node->forgot && votes)
        sim_fail(sim, "who may have forgotten has no vote", "node %u, group %u sends %s",
                 (unsigned)node->id, group, mf_paxos_type_name(msg->type));
    if (msg->chosen > group_of(sim, group)->chosen)
        sim_fail(sim, "what is called chosen is durable on a majority",
                 "node %u, group %u says that slots up to %llu are chosen; %llu are",
                 (unsigned)node->id, group, (ull)msg->chosen, (ull)group_of(sim, group)->chosen);
    switch (msg->type) {
    case MF_PAXOS_PREPARE:
        check_prepare(node, group, msg->ballot);
        break;
    case MF_PAXOS_PROMISE:
        check_promise(node, group, msg);
        break;
    case MF_PAXOS_ACCEPT:
        for (uint32_t i = 0; i < msg->entry_count; i++) {
            const struct mf_paxos_entry *entry = &msg->entries[i];
            vote_for(sim, group, entry->slot, msg->ballot,
                     value_of(mf_payload_bytes(entry->payload), entry->log_time_us), &is_new);
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
        break;
    }
}

// Replicas are equal at every slot, by the rolling hash; now and then all of the state is hashed.
void sim_checks_applied(struct sim_node *node, uint32_t group, uint64_t slot, uint64_t log_time_us)
{
    struct sim *sim = node->sim;
    struct sim_slot *at = slot_at(group_of(sim, group), slot);
    struct mf_shard *shard = mf_replica_shard(node->replicas[group]);
    uint64_t rolling_hash = mf_shard_rolling_hash(shard);
    if (!at->applied) {
        at->applied = true;
        at->rolling_hash = rolling_hash;
        at->applied_log_us = log_time_us;
    }
    if (at->rolling_hash != rolling_hash || at->applied_log_us != log_time_us)
        sim_fail(sim, "replicas are equal at one slot",
                 "node %u, group %u, slot %llu: rolling hash or log time differ",
                 (unsigned)node->id, group, (ull)slot);
    if (slot % VALID_EVERY == 0 && !mf_shard_valid(shard))
        sim_fail(sim, "a shard's map, heap and ids are consistent", "node %u, group %u, slot %llu",
                 (unsigned)node->id, group, (ull)slot);
    if (slot % STATE_HASH_EVERY != 0)
        return;
    uint64_t state_hash = mf_shard_state_hash(shard);
    if (!at->has_state_hash) {
        at->has_state_hash = true;
        at->state_hash = state_hash;
    }
    if (at->state_hash != state_hash)
        sim_fail(sim, "replicas are equal at one slot", "node %u, group %u, slot %llu: state hash",
                 (unsigned)node->id, group, (ull)slot);
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

static void check_slot(struct sim_node *node, uint32_t group, uint64_t slot)
{
    const struct sim_slot *at = slot_at(group_of(node->sim, group), slot);
    const struct mf_log_entry *entry =
        mf_paxos_entry(mf_replica_paxos(node->replicas[group]), slot);
    if (entry == NULL || !at->chosen ||
        value_of(mf_payload_bytes(entry->payload), entry->log_time_us) != at->value)
        sim_fail(node->sim, "every replica has the chosen value in a slot",
                 "node %u, group %u, slot %llu: %s", (unsigned)node->id, group, (ull)slot,
                 entry == NULL ? "nothing is there"
                 : at->chosen  ? "another value"
                               : "no value is durable on a majority");
}

void sim_checks_forgot(struct sim_node *node)
{
    for (uint32_t group = 0; group < node->sim->plan.group_count; group++) {
        struct sim_group_checks *checks = group_of(node->sim, group);
        checks->promised[node->index] = 0;
        checks->chosen_seen[node->index] = 0;
        for (uint64_t i = 0; i < checks->slot_count; i++)
            checks->slots[i].accepted[node->index] = (struct sim_accepted){0};
    }
}

void sim_checks_restored(struct sim_node *node)
{
    struct sim *sim = node->sim;
    for (uint32_t group = 0; group < sim->plan.group_count; group++) {
        struct sim_group_checks *checks = group_of(sim, group);
        const struct mf_paxos *paxos = mf_replica_paxos(node->replicas[group]);
        if (mf_paxos_ballot(paxos) < checks->promised[node->index])
            sim_fail(sim, "a promise outlives a restart", "node %u, group %u", (unsigned)node->id,
                     group);
        for (uint64_t slot = 1; slot <= checks->slot_count; slot++) {
            const struct sim_accepted *accepted = &slot_at(checks, slot)->accepted[node->index];
            const struct mf_log_entry *entry = mf_paxos_entry(paxos, slot);
            mf_ballot_t ballot = entry != NULL ? entry->ballot : 0;
            bool same = ballot == 0 || value_of(mf_payload_bytes(entry->payload),
                                                entry->log_time_us) == accepted->value;
            if (ballot != accepted->ballot || !same)
                sim_fail(sim, "an acceptance outlives a restart", "node %u, group %u, slot %llu",
                         (unsigned)node->id, group, (ull)slot);
        }
        uint64_t chosen = mf_paxos_chosen(paxos);
        for (uint64_t slot = 1; slot <= chosen; slot++)
            check_slot(node, group, slot);
        checks->chosen_seen[node->index] = chosen;
    }
}

void sim_checks_turn(struct sim_node *node)
{
    struct sim *sim = node->sim;
    for (uint32_t group = 0; group < sim->plan.group_count; group++) {
        struct sim_group_checks *checks = group_of(sim, group);
        uint64_t *seen = &checks->chosen_seen[node->index];
        uint64_t chosen = mf_paxos_chosen(mf_replica_paxos(node->replicas[group]));
        if (chosen < *seen)
            sim_fail(sim, "the chosen index does not go back", "node %u, group %u: %llu to %llu",
                     (unsigned)node->id, group, (ull)*seen, (ull)chosen);
        while (*seen < chosen)
            check_slot(node, group, ++*seen);
    }
}

void sim_checks_answered(struct sim *sim, const struct sim_op *op)
{
    char text[SIM_TEXT_MAX];
    if (op->named && sim_op_writes(op) && op->times_chosen == 0)
        sim_fail(sim, "what is acknowledged is chosen", "%s", sim_op_text(op, text, sizeof(text)));
}

void sim_checks_refused(struct sim *sim, const struct sim_op *op)
{
    char text[SIM_TEXT_MAX];
    if (op->times_chosen != 0)
        sim_fail(sim, "what was refused is never carried out", "%s was chosen after %llu us",
                 sim_op_text(op, text, sizeof(text)), (ull)(op->chosen_us - op->call_us));
}

void sim_checks_end(struct sim *sim)
{
    for (uint32_t group = 0; group < sim->plan.group_count; group++) {
        uint64_t hash = 0;
        const struct sim_node *first = NULL;
        for (uint16_t i = 0; i < sim->plan.node_count; i++) {
            struct sim_node *node = &sim->nodes[i];
            if (node->left_behind)
                continue;
            struct mf_shard *shard = mf_replica_shard(node->replicas[group]);
            for (uint64_t slot = 1; slot <= group_of(sim, group)->chosen_seen[i]; slot++)
                check_slot(node, group, slot);
            if (!mf_shard_valid(shard))
                sim_fail(sim, "a shard's map, heap and ids are consistent", "node %u, group %u",
                         (unsigned)node->id, group);
            if (first == NULL) {
                first = node;
                hash = mf_shard_state_hash(shard);
            }
            if (mf_shard_state_hash(shard) != hash)
                sim_fail(sim, "replicas are equal at one slot",
                         "at the end nodes %u and %u differ in group %u", (unsigned)first->id,
                         (unsigned)node->id, group);
        }
    }
}
