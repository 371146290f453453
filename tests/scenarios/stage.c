// The stage on which scenario scripts play; see stage.h.
#include "tests/scenarios/stage.h"

#include <stdlib.h>
#include <string.h>

static void tell_ballot(struct stage *stage, mf_ballot_t ballot)
{
    fprintf(stage->out, "%u.%u", (unsigned)mf_ballot_round(ballot),
            (unsigned)mf_ballot_node(ballot));
}

static void tell_acceptors(struct stage *stage, const char *what,
                           const struct mf_acceptor *acceptors, uint32_t count)
{
    fprintf(stage->out, "%s", what);
    for (uint32_t i = 0; i < count; i++) {
        fprintf(stage->out, " %u", (unsigned)acceptors[i].node);
        if (acceptors[i].incarnation != 1)
            fprintf(stage->out, ":%u", (unsigned)acceptors[i].incarnation);
    }
}

void stage_tell_members(struct stage *stage, const struct mf_members *members)
{
    tell_acceptors(stage, "voters", members->voters, members->voter_count);
    if (members->learner_count > 0)
        tell_acceptors(stage, " learners", members->learners, members->learner_count);
}

static void tell_value(struct stage *stage, const struct mf_payload *payload)
{
    struct mf_bytes bytes = mf_payload_bytes(payload);
    struct mf_members members;
    if (payload == NULL)
        fprintf(stage->out, "no-op");
    else if (!mf_payload_is_members(payload))
        fprintf(stage->out, "%.*s", (int)bytes.len, (const char *)bytes.data);
    else if (mf_members_decode(bytes, 1, &members) == MF_OK)
        stage_tell_members(stage, &members);
}

static void tell_entries(struct stage *stage, const struct mf_paxos_msg *msg, bool ballots)
{
    for (uint32_t i = 0; i < msg->entry_count; i++) {
        const struct mf_paxos_entry *entry = &msg->entries[i];
        fprintf(stage->out, "%s slot %u = ", i > 0 ? "," : "", (unsigned)entry->slot);
        tell_value(stage, entry->payload);
        if (!ballots)
            continue;
        fprintf(stage->out, " of ");
        tell_ballot(stage, entry->ballot);
    }
}

static void tell_answer(struct stage *stage, const struct mf_paxos_msg *msg)
{
    switch (msg->type) {
    case MF_PAXOS_PROMISE:
        fprintf(stage->out, msg->entry_count > 0 ? ", has accepted" : ", has accepted nothing");
        tell_entries(stage, msg, true);
        if (msg->chosen > 0)
            fprintf(stage->out, ", knows %u as chosen", (unsigned)msg->chosen);
        break;
    case MF_PAXOS_REJECT:
        fprintf(stage->out, " is promised");
        break;
    case MF_PAXOS_ACCEPTED:
        if (msg->last >= msg->slot)
            fprintf(stage->out, " slot %u", (unsigned)msg->slot);
        if (msg->last > msg->slot)
            fprintf(stage->out, " to %u", (unsigned)msg->last);
        if (msg->chosen > 0)
            fprintf(stage->out, ", knows %u as chosen", (unsigned)msg->chosen);
        break;
    case MF_PAXOS_VOTE:
        fprintf(stage->out, msg->last ? ": yes" : ": no");
        break;
    default:
        break;
    }
}

static void tell_msg(struct stage *stage, const struct mf_paxos_msg *msg)
{
    fprintf(stage->out, "  %u -> %u %s", (unsigned)msg->from, (unsigned)msg->to,
            mf_paxos_type_name(msg->type));
    if (msg->ballot != 0) {
        fprintf(stage->out, " ");
        tell_ballot(stage, msg->ballot);
    }
    switch (msg->type) {
    case MF_PAXOS_PREPARE:
        fprintf(stage->out, " from slot %u", (unsigned)msg->slot);
        if (msg->last != 0) {
            fprintf(stage->out, ", in place of ");
            tell_ballot(stage, msg->last);
        }
        break;
    case MF_PAXOS_ACCEPT:
    case MF_PAXOS_LEARNED:
        tell_entries(stage, msg, msg->type == MF_PAXOS_LEARNED);
        if (msg->chosen > 0)
            fprintf(stage->out, ", chosen up to %u", (unsigned)msg->chosen);
        break;
    case MF_PAXOS_CHOSEN:
    case MF_PAXOS_TRANSFER:
        fprintf(stage->out, " up to %u", (unsigned)msg->chosen);
        break;
    case MF_PAXOS_LEARN:
        fprintf(stage->out, " from slot %u", (unsigned)msg->slot);
        break;
    default:
        tell_answer(stage, msg);
    }
    fprintf(stage->out, "\n");
}

void stage_tell_mail(struct stage *stage)
{
    for (uint32_t i = 0; i < stage->mail_count; i++)
        tell_msg(stage, &stage->mail[i]);
}

void stage_tell_node(struct stage *stage, uint16_t node)
{
    static const char *const roles[] = {
        [MF_FOLLOWER] = "follows",
        [MF_CANDIDATE] = "runs for leader",
        [MF_RECOVERING] = "is elected, and learns",
        [MF_LEADER] = "leads",
    };
    struct stage_node *at = &stage->node[node];
    if (at->core == NULL) {
        fprintf(stage->out, "  %u is down\n", (unsigned)node);
        return;
    }
    enum mf_paxos_role role = mf_paxos_role(at->core);
    fprintf(stage->out, "  %u %s", (unsigned)node, roles[role]);
    if (role == MF_FOLLOWER && mf_paxos_leader(at->core) != 0)
        fprintf(stage->out, " %u", (unsigned)mf_paxos_leader(at->core));
    else if (role == MF_FOLLOWER)
        fprintf(stage->out, " nobody");
    fprintf(stage->out, ", promised ");
    tell_ballot(stage, mf_paxos_ballot(at->core));
    fprintf(stage->out, ", chosen up to %u; ", (unsigned)mf_paxos_chosen(at->core));
    stage_tell_members(stage, mf_paxos_members(at->core));
    fprintf(stage->out, "\n");
}

static void drop_records(struct stage_node *at, bool all)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < at->record_count; i++) {
        if (all || at->records[i].seq > at->durable)
            mf_payload_unref(at->records[i].payload);
        else
            at->records[kept++] = at->records[i];
    }
    at->record_count = kept;
}

void stage_crash(struct stage *stage, uint16_t node)
{
    struct stage_node *at = &stage->node[node];
    stage_deliver(stage, 0, node, 0, true);
    mf_paxos_free(at->core);
    at->core = NULL;
    drop_records(at, false);
    for (uint32_t i = 0; i < at->record_count; i++)
        at->records[i].seq = 0; // the next process counts its hand-overs from 1
    at->durable = 0;
}

void stage_wipe(struct stage *stage, uint16_t node)
{
    struct stage_node *at = &stage->node[node];
    drop_records(at, true);
    at->snapshot_slot = 0;
    at->incarnation++;
}

void stage_free(struct stage *stage)
{
    for (uint16_t node = 1; node <= STAGE_NODES; node++) {
        mf_paxos_free(stage->node[node].core);
        drop_records(&stage->node[node], true);
    }
    for (uint32_t i = 0; i < stage->mail_count; i++)
        mf_paxos_msg_free(&stage->mail[i]);
}

static void restore(struct stage_node *at)
{
    for (uint32_t i = 0; i < at->record_count; i++) {
        const struct mf_wal_record *record = &at->records[i].record;
        if (record->type == MF_WAL_PROMISE)
            mf_paxos_restore_promise(at->core, record->ballot);
        else if (record->type == MF_WAL_ACCEPT || record->type == MF_WAL_MEMBERS)
            mf_paxos_restore_accept(at->core, record->slot, record->ballot, record->log_time_us,
                                    record->type == MF_WAL_MEMBERS ? MF_ENTRY_MEMBERS
                                                                   : MF_ENTRY_COMMANDS,
                                    mf_payload_bytes(at->records[i].payload));
        else
            mf_paxos_restore_chosen(at->core, record->slot);
    }
    mf_paxos_restore_done(at->core);
}

void stage_start(struct stage *stage, uint16_t node)
{
    struct stage_node *at = &stage->node[node];
    bool again = at->incarnation != 0 && at->started_us != 0;
    if (at->incarnation == 0)
        at->incarnation = 1;
    struct mf_paxos_config config = {.self = node,
                                     .incarnation = at->incarnation,
                                     .members = at->snapshot_slot > 0 ? at->snapshot_members
                                                                      : stage->members,
                                     .election_us = 1000000,
                                     .first_election_us = 1000000,
                                     .resend_us = 200000,
                                     .chosen_delay_us = 10000,
                                     .window_entries = 8,
                                     .window_bytes = 1000,
                                     .learn_bytes = 1000};
    at->core = mf_paxos_new(&config, at->snapshot_slot + 1, stage->now_us);
    restore(at);
    at->chosen = mf_paxos_chosen(at->core);
    at->reads = 0;
    at->started_us = stage->now_us;
    for (uint16_t peer = 1; peer <= STAGE_NODES; peer++) {
        memset(&at->lease[peer], 0, sizeof(at->lease[peer]));
        stage->token_base += 1u << 20;
        mf_lease_init(&at->lease[peer], stage->token_base,
                      again ? stage->now_us + STAGE_LEASE_US : 0);
    }
}

struct mf_paxos_env stage_env(struct stage *stage, uint16_t node, uint16_t from)
{
    struct stage_node *at = &stage->node[node];
    uint16_t owner = mf_ballot_node(mf_paxos_ballot(at->core));
    bool bound = owner != 0 && owner != node && owner <= STAGE_NODES &&
                 (mf_lease_bound(&at->lease[owner], stage->now_us) ||
                  !mf_lease_withdraw(&at->lease[owner], stage->now_us));
    return (struct mf_paxos_env){.now_us = stage->now_us,
                                 .bound = bound,
                                 .support = from != 0 ? mf_lease_token(&at->lease[from]) : 0};
}

static void post(struct stage *stage, uint16_t node, const struct mf_paxos_msg *msg)
{
    if (stage->mail_count == STAGE_MAIL) {
        fprintf(stage->out, "  the mail is full\n");
        return;
    }
    struct mf_buf bytes = {0};
    mf_paxos_msg_encode(msg, &bytes);
    struct mf_reader reader = mf_reader_of(mf_buf_view(&bytes));
    struct mf_paxos_msg *copy = &stage->mail[stage->mail_count];
    if (mf_paxos_msg_decode(&reader, copy) != MF_OK)
        fprintf(stage->out, "  %u sends what cannot be read\n", (unsigned)node);
    else {
        copy->from = node;
        copy->to = msg->to;
        copy->incarnation = stage->node[node].incarnation;
        tell_msg(stage, copy);
        stage->mail_count++;
    }
    mf_buf_free(&bytes);
}

static void keep_record(struct stage *stage, uint16_t node, uint64_t seq,
                        const struct mf_wal_record *record)
{
    struct stage_node *at = &stage->node[node];
    if (record->type == MF_WAL_MARK) {
        fprintf(stage->out, "  %u writes: %llu is chosen", (unsigned)node,
                (unsigned long long)record->slot);
    } else {
        fprintf(stage->out, "  %u writes: %s ", (unsigned)node,
                record->type == MF_WAL_PROMISE ? "promised" : "accepted");
        tell_ballot(stage, record->ballot);
    }
    if (at->record_count == STAGE_RECORDS) {
        fprintf(stage->out, ", and its disk is full\n");
        return;
    }
    struct stage_record *kept = &at->records[at->record_count++];
    *kept = (struct stage_record){.seq = seq, .record = *record};
    enum mf_entry_kind kind = record->type == MF_WAL_MEMBERS ? MF_ENTRY_MEMBERS : MF_ENTRY_COMMANDS;
    if (record->payload.len > 0)
        kept->payload = mf_payload_new(kind, record->payload);
    kept->record.payload = mf_payload_bytes(kept->payload);
    if (record->type == MF_WAL_ACCEPT || record->type == MF_WAL_MEMBERS) {
        fprintf(stage->out, " slot %u = ", (unsigned)record->slot);
        tell_value(stage, kept->payload);
    }
    fprintf(stage->out, "%s\n", at->slow ? " (not yet durable)" : "");
}

static void tell_progress(struct stage *stage, uint16_t node)
{
    struct stage_node *at = &stage->node[node];
    for (; at->chosen < mf_paxos_chosen(at->core); at->chosen++) {
        const struct mf_log_entry *entry = mf_paxos_entry(at->core, at->chosen + 1);
        fprintf(stage->out, "  %u knows: chosen in slot %u is ", (unsigned)node,
                (unsigned)at->chosen + 1);
        tell_value(stage, entry != NULL ? entry->payload : NULL);
        fprintf(stage->out, "\n");
    }
}

void stage_take(struct stage *stage, uint16_t node)
{
    struct stage_node *at = &stage->node[node];
    while (at->core != NULL && mf_paxos_has_update(at->core)) {
        const struct mf_paxos_update *update = mf_paxos_update_take(at->core);
        uint64_t seq = update->persist_seq;
        if (update->lost_leadership)
            fprintf(stage->out, "  %u leads no more\n", (unsigned)node);
        if (update->became_leader) {
            fprintf(stage->out, "  %u leads with ballot ", (unsigned)node);
            tell_ballot(stage, mf_paxos_ballot(at->core));
            fprintf(stage->out, "\n");
        }
        for (uint32_t i = 0; i < update->record_count; i++)
            keep_record(stage, node, seq, &update->records[i]);
        for (uint32_t i = 0; i < update->msg_count; i++)
            post(stage, node, &update->msgs[i]);
        for (uint32_t i = 0; i < update->snapshot_count; i++)
            fprintf(stage->out, "  %u has to send %u a snapshot\n", (unsigned)node,
                    (unsigned)update->snapshot_to[i].node);
        tell_progress(stage, node);
        if (update->reads_confirmed > at->reads && mf_paxos_role(at->core) == MF_LEADER)
            fprintf(stage->out, "  %u may answer the read\n", (unsigned)node);
        at->reads = update->reads_confirmed;
        mf_paxos_update_done(at->core);
        if (seq != 0 && !at->slow) {
            at->durable = seq;
            struct mf_paxos_env env = stage_env(stage, node, 0);
            mf_paxos_persisted(at->core, &env, seq);
        }
    }
}

void stage_persist(struct stage *stage, uint16_t node)
{
    struct stage_node *at = &stage->node[node];
    for (uint32_t i = 0; i < at->record_count; i++) {
        if (at->records[i].seq > at->durable)
            at->durable = at->records[i].seq;
    }
    struct mf_paxos_env env = stage_env(stage, node, 0);
    mf_paxos_persisted(at->core, &env, at->durable);
    stage_take(stage, node);
}

uint32_t stage_deliver(struct stage *stage, uint16_t from, uint16_t to, int type, bool drop)
{
    uint32_t count = stage->mail_count;
    uint32_t taken = 0;
    struct mf_paxos_msg mail[STAGE_MAIL];
    memcpy(mail, stage->mail, count * sizeof(*mail));
    stage->mail_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        bool match = (from == 0 || mail[i].from == from) && (to == 0 || mail[i].to == to) &&
                     (type == 0 || (int)mail[i].type == type);
        if (!match) {
            stage->mail[stage->mail_count++] = mail[i];
            continue;
        }
        taken++;
        struct stage_node *at = &stage->node[mail[i].to];
        if (!drop && at->core != NULL) {
            struct mf_paxos_env env = stage_env(stage, mail[i].to, mail[i].from);
            mf_paxos_receive(at->core, &env, &mail[i]);
            stage_take(stage, mail[i].to);
        }
        mf_paxos_msg_free(&mail[i]);
    }
    return taken;
}
