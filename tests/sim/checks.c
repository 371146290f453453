// The rules of Paxos and of the replicated state, checked as things happen; see checks.h.
#include "checks.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "checks_internal.h"
#include "shards/batch.h"
#include "world.h"

// The whole state is hashed at slots that are multiples of this.
#define STATE_HASH_EVERY 32u
// And its invariants are checked at multiples of this.
#define VALID_EVERY 16u

typedef unsigned long long ull;

struct sim_group_checks *sim_checks_group(struct sim *sim, uint32_t group)
{
    return &sim->checks.groups[group];
}

struct sim_slot *sim_checks_slot(struct sim_group_checks *checks, uint64_t slot)
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

void sim_checks_begin(struct sim *sim, const struct mf_members *members)
{
    for (uint32_t group = 0; group < sim->plan.group_count; group++) {
        struct sim_group_checks *checks = sim_checks_group(sim, group);
        checks->members = mf_calloc(1, sizeof(*checks->members));
        checks->members[0] = *members;
        checks->members_count = 1;
    }
}

uint32_t sim_checks_acceptor(struct sim *sim, struct mf_acceptor acceptor)
{
    struct sim_checks *checks = &sim->checks;
    uint32_t i = 0;
    while (i < checks->acceptor_count && (checks->acceptors[i].node != acceptor.node ||
                                          checks->acceptors[i].incarnation != acceptor.incarnation))
        i++;
    if (i == SIM_ACCEPTORS_MAX)
        sim_fail(sim, "the simulator can tell all memories apart", "there are too many");
    if (i == checks->acceptor_count)
        checks->acceptors[checks->acceptor_count++] = acceptor;
    return i;
}

const struct mf_members *sim_checks_members(const struct sim *sim, uint32_t group)
{
    const struct sim_group_checks *checks = &sim->checks.groups[group];
    return &checks->members[checks->members_count - 1];
}

bool sim_checks_votes(const struct sim_node *node, uint32_t group)
{
    struct mf_acceptor self = {node->id, node->incarnation};
    return mf_members_voter(sim_checks_members(node->sim, group), self) >= 0;
}

bool sim_checks_learns(const struct sim_node *node, uint32_t group)
{
    struct mf_acceptor self = {node->id, node->incarnation};
    return mf_members_learner(sim_checks_members(node->sim, group), self) >= 0;
}

bool sim_checks_members_open(const struct sim *sim, uint32_t group)
{
    const struct sim_group_checks *checks = &sim->checks.groups[group];
    for (uint64_t slot = checks->chosen + 1; slot <= checks->slot_count; slot++) {
        const struct sim_slot *at = &checks->slots[slot - 1];
        for (uint32_t i = 0; i < at->vote_count; i++) {
            if (at->votes[i].is_members)
                return true;
        }
    }
    return false;
}

// Has a majority accepted it, of the configuration that governs the slot?
static bool has_majority(struct sim *sim, uint32_t group, uint64_t slot,
                         const struct sim_vote *vote)
{
    const struct sim_group_checks *checks = sim_checks_group(sim, group);
    uint32_t i = checks->members_count - 1;
    while (checks->members[i].slot >= slot && i > 0)
        i--;
    uint32_t count = 0;
    for (uint8_t voter = 0; voter < checks->members[i].voter_count; voter++) {
        uint32_t acceptor = sim_checks_acceptor(sim, checks->members[i].voters[voter]);
        count += (vote->acceptors & UINT64_C(1) << acceptor) != 0;
    }
    return count >= mf_members_quorum(&checks->members[i]);
}

static void free_slot(struct sim_slot *slot)
{
    for (uint32_t i = 0; i < slot->vote_count; i++)
        mf_buf_free(&slot->votes[i].payload);
    free(slot->votes);
}

void sim_checks_free(struct sim *sim)
{
    for (uint32_t group = 0; group < SIM_GROUPS_MAX; group++) {
        struct sim_group_checks *checks = sim_checks_group(sim, group);
        for (uint64_t i = 0; i < checks->slot_count; i++)
            free_slot(&checks->slots[i]);
        free(checks->slots);
        free(checks->members);
        free(checks->ballots);
        free(checks->clock.stretches);
    }
}

static uint64_t value_of(struct mf_bytes payload, uint64_t log_time_us, bool is_members)
{
    return mf_hash64(payload, log_time_us) + is_members;
}

static uint64_t value_of_record(const struct mf_wal_record *record)
{
    return value_of(record->payload, record->log_time_us, record->type == MF_WAL_MEMBERS);
}

uint64_t sim_checks_value(const struct mf_payload *payload, uint64_t log_time_us)
{
    return value_of(mf_payload_bytes(payload), log_time_us, mf_payload_is_members(payload));
}

static bool is_acceptance(const struct mf_wal_record *record)
{
    return record->type == MF_WAL_ACCEPT || record->type == MF_WAL_MEMBERS;
}

struct sim_vote *sim_checks_vote_for(struct sim *sim, uint32_t group, uint64_t slot,
                                     mf_ballot_t ballot, uint64_t value, bool *is_new)
{
    struct sim_slot *at = sim_checks_slot(sim_checks_group(sim, group), slot);
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

static void see_commands(struct sim *sim, uint32_t group, uint64_t slot, struct mf_bytes payload)
{
    struct mf_batch_reader reader;
    enum mf_err err = mf_batch_open(&reader, payload);
    while (err == MF_OK) {
        struct mf_command command;
        err = mf_batch_next(&reader, &command);
        if (err == MF_OK)
            see_command(sim, slot, sim_checks_group(sim, group)->log_time_us, &command);
    }
    mf_batch_close(&reader);
    if (err != MF_NOT_FOUND)
        sim_fail(sim, "a chosen entry can be read", "group %u, slot %llu", group, (ull)slot);
}

static void see_members(struct sim *sim, uint32_t group, uint64_t slot, struct mf_bytes payload)
{
    struct sim_group_checks *checks = sim_checks_group(sim, group);
    struct mf_members members;
    if (mf_members_decode(payload, slot, &members) != MF_OK)
        sim_fail(sim, "a chosen entry can be read", "group %u, slot %llu", group, (ull)slot);
    if (!mf_members_follow(&members, &checks->members[checks->members_count - 1])) {
        sim->stats.void_members++;
        sim_trace(sim, 0, "group %u: the configuration in slot %llu is from an older one", group,
                  (ull)slot);
        return;
    }
    checks->members =
        mf_realloc(checks->members, (checks->members_count + 1) * sizeof(*checks->members));
    checks->members[checks->members_count++] = members;
    sim->stats.members++;
    char text[SIM_TEXT_MAX];
    sim_trace(sim, 0, "group %u: from slot %llu on it is %s", group, (ull)slot + 1,
              sim_members_text(&members, text, sizeof(text)));
    sim_clocks_members_changed(sim, group);
}

static void choose(struct sim *sim, uint32_t group, uint64_t slot, const struct sim_vote *vote)
{
    struct sim_group_checks *checks = sim_checks_group(sim, group);
    struct sim_slot *at = sim_checks_slot(checks, slot);
    char text[32];
    at->chosen = true;
    at->value = vote->value;
    checks->chosen = slot;
    sim->stats.entries++;
    sim_trace(sim, 0, "group %u: slot %llu is CHOSEN at ballot %s", group, (ull)slot,
              sim_ballot_text(vote->ballot, text, sizeof(text)));
    if (vote->log_time_us > checks->log_time_us)
        checks->log_time_us = vote->log_time_us;
    if (vote->is_members)
        see_members(sim, group, slot, mf_buf_view(&vote->payload));
    else
        see_commands(sim, group, slot, mf_buf_view(&vote->payload));
}

// Slots are looked at in order: the configuration of each is known when all before it are chosen.
static void choose_more(struct sim *sim, uint32_t group)
{
    struct sim_group_checks *checks = sim_checks_group(sim, group);
    bool found = true;
    while (found && checks->chosen < checks->slot_count) {
        uint64_t slot = checks->chosen + 1;
        const struct sim_slot *at = sim_checks_slot(checks, slot);
        found = false;
        for (uint32_t i = 0; i < at->vote_count && !found; i++) {
            found = has_majority(sim, group, slot, &at->votes[i]);
            if (found)
                choose(sim, group, slot, &at->votes[i]);
        }
    }
}

void sim_checks_written(struct sim_node *node, const struct mf_wal_record *record)
{
    if (!is_acceptance(record))
        return;
    bool is_new;
    sim_checks_vote_for(node->sim, record->group, record->slot, record->ballot,
                        value_of_record(record), &is_new);
    bool own = mf_ballot_node(record->ballot) == node->id;
    if (is_new && own && record->payload.len > 0)
        sim_clocks_proposed(node, record->group, record->ballot, record->log_time_us);
}

// What the record binds the node to. A value that was learned is stored with its sender's ballot,
// which may be above all that the node has promised; it is a promise after a restart only.
static mf_ballot_t bound_by(const struct sim_node *node, const struct mf_wal_record *record)
{
    mf_ballot_t promised = mf_paxos_ballot(mf_replica_paxos(node->replicas[record->group]));
    return record->ballot < promised ? record->ballot : promised;
}

void sim_checks_durable(struct sim_node *node, const struct mf_wal_record *record)
{
    struct sim *sim = node->sim;
    struct sim_group_checks *checks = sim_checks_group(sim, record->group);
    if (record->type == MF_WAL_MARK) {
        uint64_t *marked = &checks->marked[node->index];
        *marked = record->slot > *marked ? record->slot : *marked;
        return;
    }
    mf_ballot_t bound = bound_by(node, record);
    if (bound > checks->promised[node->index])
        checks->promised[node->index] = bound;
    if (!is_acceptance(record))
        return;
    bool is_new;
    uint64_t value = value_of_record(record);
    struct sim_vote *vote =
        sim_checks_vote_for(sim, record->group, record->slot, record->ballot, value, &is_new);
    if (vote->acceptors == 0) {
        vote->is_members = record->type == MF_WAL_MEMBERS;
        vote->log_time_us = record->log_time_us;
        mf_buf_put(&vote->payload, record->payload.data, record->payload.len);
    }
    vote->acceptors |= UINT64_C(1) << node->acceptor;
    struct sim_slot *at = sim_checks_slot(checks, record->slot);
    struct sim_accepted *accepted = &at->accepted[node->index];
    if (record->ballot >= accepted->ballot)
        *accepted = (struct sim_accepted){.ballot = record->ballot, .value = value};
    char text[32];
    if (at->chosen && at->value != value && has_majority(sim, record->group, record->slot, vote))
        sim_fail(sim, "one value is chosen in a slot",
                 "group %u, slot %llu: a majority has accepted another value at ballot %s",
                 record->group, (ull)record->slot,
                 sim_ballot_text(record->ballot, text, sizeof(text)));
    choose_more(sim, record->group);
}

// Replicas are equal at every slot, by the rolling hash; now and then all of the state is hashed.
void sim_checks_applied(struct sim_node *node, uint32_t group, uint64_t slot, uint64_t log_time_us)
{
    struct sim *sim = node->sim;
    struct sim_slot *at = sim_checks_slot(sim_checks_group(sim, group), slot);
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

// The state that a snapshot has brought must be the one that others had there.
static void check_state(struct sim_node *node, uint32_t group)
{
    const struct sim_group_checks *checks = sim_checks_group(node->sim, group);
    struct mf_shard_meta meta;
    mf_shard_meta(mf_replica_shard(node->replicas[group]), &meta);
    if (meta.applied == 0)
        return;
    const struct sim_slot *at = &checks->slots[meta.applied - 1];
    if (meta.applied > checks->chosen || (at->applied && at->rolling_hash != meta.rolling_hash))
        sim_fail(node->sim, "a snapshot and the log after it give the state",
                 "node %u, group %u, slot %llu", (unsigned)node->id, group, (ull)meta.applied);
}

static void check_slot(struct sim_node *node, uint32_t group, uint64_t slot)
{
    const struct sim_slot *at = sim_checks_slot(sim_checks_group(node->sim, group), slot);
    const struct mf_paxos *paxos = mf_replica_paxos(node->replicas[group]);
    if (slot < mf_paxos_first_slot(paxos))
        return; // a snapshot stands in for it
    const struct mf_log_entry *entry = mf_paxos_entry(paxos, slot);
    if (entry == NULL || !at->chosen ||
        sim_checks_value(entry->payload, entry->log_time_us) != at->value)
        sim_fail(node->sim, "every replica has the chosen value in a slot",
                 "node %u, group %u, slot %llu: %s", (unsigned)node->id, group, (ull)slot,
                 entry == NULL ? "nothing is there"
                 : at->chosen  ? "another value"
                               : "no value is durable on a majority");
}

void sim_checks_installed(struct sim_node *node, uint32_t group)
{
    uint64_t *marked = &sim_checks_group(node->sim, group)->marked[node->index];
    uint64_t chosen = mf_paxos_chosen(mf_replica_paxos(node->replicas[group]));
    *marked = chosen > *marked ? chosen : *marked; // the snapshot says so
    check_state(node, group);
}

void sim_checks_forgot(struct sim_node *node)
{
    for (uint32_t group = 0; group < node->sim->plan.group_count; group++) {
        struct sim_group_checks *checks = sim_checks_group(node->sim, group);
        checks->promised[node->index] = 0;
        checks->chosen_seen[node->index] = 0;
        checks->marked[node->index] = 0;
        for (uint64_t i = 0; i < checks->slot_count; i++)
            checks->slots[i].accepted[node->index] = (struct sim_accepted){0};
    }
}

void sim_checks_gave_up(struct sim_node *node, uint32_t group)
{
    struct sim_group_checks *checks = sim_checks_group(node->sim, group);
    if (sim_checks_votes(node, group))
        sim_fail(node->sim, "no voter gives up its copy",
                 "node %u votes in group %u from slot %llu on", (unsigned)node->id, group,
                 (ull)sim_checks_members(node->sim, group)->slot + 1);
    checks->chosen_seen[node->index] = 0;
    checks->marked[node->index] = 0;
    for (uint64_t i = 0; i < checks->slot_count; i++)
        checks->slots[i].accepted[node->index] = (struct sim_accepted){0};
}

void sim_checks_restored(struct sim_node *node)
{
    struct sim *sim = node->sim;
    for (uint32_t group = 0; group < sim->plan.group_count; group++) {
        struct sim_group_checks *checks = sim_checks_group(sim, group);
        const struct mf_paxos *paxos = mf_replica_paxos(node->replicas[group]);
        if (mf_paxos_ballot(paxos) < checks->promised[node->index])
            sim_fail(sim, "a promise outlives a restart", "node %u, group %u", (unsigned)node->id,
                     group);
        uint64_t first = mf_paxos_first_slot(paxos);
        for (uint64_t slot = first; slot <= checks->slot_count; slot++) {
            const struct sim_accepted *accepted =
                &sim_checks_slot(checks, slot)->accepted[node->index];
            const struct mf_log_entry *entry = mf_paxos_entry(paxos, slot);
            mf_ballot_t ballot = entry != NULL ? entry->ballot : 0;
            bool same = ballot == 0 ||
                        sim_checks_value(entry->payload, entry->log_time_us) == accepted->value;
            if (ballot != accepted->ballot || !same)
                sim_fail(sim, "an acceptance outlives a restart", "node %u, group %u, slot %llu",
                         (unsigned)node->id, group, (ull)slot);
        }
        check_state(node, group);
        uint64_t chosen = mf_paxos_chosen(paxos);
        for (uint64_t slot = first; slot <= chosen; slot++)
            check_slot(node, group, slot);
        checks->chosen_seen[node->index] = chosen;
        checks->marked[node->index] = chosen;
    }
}

static bool believes(const struct sim_node *node, uint32_t group)
{
    return node->up && mf_replica_lease_until(node->replicas[group]) > sim_node_mono_us(node);
}

// At no instant do two nodes think that they may answer reads alone.
static void check_lease(const struct sim_node *node, uint32_t group)
{
    const struct sim *sim = node->sim;
    if (!believes(node, group))
        return;
    for (uint16_t i = 0; i < sim->plan.node_count; i++) {
        if (i != node->index && believes(&sim->nodes[i], group))
            sim_fail(sim, "one node at a time has a group's lease",
                     "nodes %u and %u both think that they have that of group %u",
                     (unsigned)node->id, i + 1u, group);
    }
}

// What an acceptor has forgotten with a copy was of configurations before the one that dropped it.
static void check_floor(const struct sim_node *node, uint32_t group)
{
    const struct sim_left *left = &node->left[group];
    const struct mf_members *members = mf_paxos_members(mf_replica_paxos(node->replicas[group]));
    if (!left->gone && members->slot < left->floor)
        sim_fail(node->sim, "no copy is older than what dropped the one before it",
                 "node %u, group %u: in the configuration of slot %llu, dropped by that of %llu",
                 (unsigned)node->id, group, (ull)members->slot, (ull)left->floor);
}

// Each configuration in force was chosen, and made from the one that was in force before it.
static void check_members(const struct sim_node *node, uint32_t group)
{
    const struct sim_group_checks *checks = sim_checks_group(node->sim, group);
    const struct mf_members *members = mf_paxos_members(mf_replica_paxos(node->replicas[group]));
    uint32_t i = checks->members_count;
    while (i > 0 && checks->members[i - 1].slot > members->slot)
        i--;
    if (i == 0 || checks->members[i - 1].slot != members->slot)
        sim_fail(node->sim, "a configuration in force was made from the one before it",
                 "node %u, group %u: in that of slot %llu", (unsigned)node->id, group,
                 (ull)members->slot);
}

void sim_checks_turn(struct sim_node *node)
{
    struct sim *sim = node->sim;
    for (uint32_t group = 0; group < sim->plan.group_count; group++) {
        struct sim_group_checks *checks = sim_checks_group(sim, group);
        uint64_t *seen = &checks->chosen_seen[node->index];
        uint64_t chosen = mf_paxos_chosen(mf_replica_paxos(node->replicas[group]));
        if (chosen < *seen)
            sim_fail(sim, "the chosen index does not go back", "node %u, group %u: %llu to %llu",
                     (unsigned)node->id, group, (ull)*seen, (ull)chosen);
        while (*seen < chosen)
            check_slot(node, group, ++*seen);
        check_floor(node, group);
        check_members(node, group);
        check_lease(node, group);
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
            if (node->left_behind || !sim_checks_votes(node, group))
                continue;
            struct mf_shard *shard = mf_replica_shard(node->replicas[group]);
            for (uint64_t slot = 1; slot <= sim_checks_group(sim, group)->chosen_seen[i]; slot++)
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
