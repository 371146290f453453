// The outputs of the core: records, messages, and replies held back until their records are
// durable.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "consensus/paxos_internal.h"

uint64_t mf_paxos_record(struct mf_paxos *paxos, const struct mf_wal_record *record,
                         struct mf_payload *payload)
{
    struct mf_paxos_update *update = &paxos->update;
    if (update->record_count == paxos->record_cap) {
        paxos->record_cap = paxos->record_cap < 8 ? 8 : paxos->record_cap * 2;
        update->records = mf_realloc(update->records, paxos->record_cap * sizeof(*update->records));
        paxos->record_payloads =
            mf_realloc(paxos->record_payloads, paxos->record_cap * sizeof(*paxos->record_payloads));
    }
    uint32_t i = update->record_count++;
    update->records[i] = *record;
    update->records[i].group = paxos->cfg.group;
    update->records[i].payload = mf_payload_bytes(payload);
    paxos->record_payloads[i] = mf_payload_ref(payload);
    update->persist_seq = paxos->seq_open;
    return paxos->seq_open;
}

static void queue_msg(struct mf_paxos *paxos, const struct mf_paxos_msg *msg)
{
    struct mf_paxos_update *update = &paxos->update;
    if (update->msg_count == paxos->msg_cap) {
        paxos->msg_cap = paxos->msg_cap < 8 ? 8 : paxos->msg_cap * 2;
        update->msgs = mf_realloc(update->msgs, paxos->msg_cap * sizeof(*update->msgs));
    }
    update->msgs[update->msg_count++] = *msg;
}

void mf_paxos_send(struct mf_paxos *paxos, const struct mf_paxos_env *env, struct mf_paxos_msg msg)
{
    assert(msg.to != paxos->cfg.self && msg.to != 0);
    msg.from = paxos->cfg.self;
    msg.incarnation = paxos->cfg.incarnation;
    msg.stamp = env->stamp;
    queue_msg(paxos, &msg);
}

void mf_paxos_send_after(struct mf_paxos *paxos, const struct mf_paxos_env *env, uint64_t seq,
                         struct mf_paxos_msg msg)
{
    if (seq <= paxos->seq_durable) {
        mf_paxos_send(paxos, env, msg);
        return;
    }
    if (paxos->held_count == paxos->held_cap) {
        paxos->held_cap = paxos->held_cap < 8 ? 8 : paxos->held_cap * 2;
        paxos->held = mf_realloc(paxos->held, paxos->held_cap * sizeof(*paxos->held));
    }
    msg.from = paxos->cfg.self;
    msg.incarnation = paxos->cfg.incarnation;
    msg.stamp = env->stamp;
    paxos->held[paxos->held_count++] = (struct mf_paxos_held){.seq = seq, .msg = msg};
}

void mf_paxos_want_snapshot(struct mf_paxos *paxos, struct mf_acceptor acceptor)
{
    struct mf_paxos_update *update = &paxos->update;
    for (uint32_t i = 0; i < update->snapshot_count; i++) {
        if (update->snapshot_to[i].node == acceptor.node)
            return;
    }
    if (update->snapshot_count < MF_VOTERS_MAX + MF_LEARNERS_MAX)
        update->snapshot_to[update->snapshot_count++] = acceptor;
}

void mf_paxos_release_held(struct mf_paxos *paxos)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < paxos->held_count; i++) {
        if (paxos->held[i].seq <= paxos->seq_durable)
            queue_msg(paxos, &paxos->held[i].msg);
        else
            paxos->held[kept++] = paxos->held[i];
    }
    paxos->held_count = kept;
}

void mf_paxos_gather(const struct mf_paxos *paxos, uint64_t first, uint64_t last,
                     uint64_t bytes_max, struct mf_paxos_msg *msg)
{
    uint64_t end = mf_entry_log_last(&paxos->log);
    if (last > end)
        last = end;
    if (first > last)
        return;
    uint64_t bytes = 0;
    uint32_t cap = 0;
    for (uint64_t slot = first; slot <= last; slot++) {
        const struct mf_log_entry *entry = mf_entry_log_get(&paxos->log, slot);
        if (entry == NULL)
            continue;
        bytes += mf_payload_bytes(entry->payload).len;
        if (msg->entry_count > 0 && bytes > bytes_max)
            break;
        if (msg->entry_count == cap) {
            cap = cap == 0 ? 4 : cap * 2;
            msg->entries = mf_realloc(msg->entries, cap * sizeof(*msg->entries));
        }
        msg->entries[msg->entry_count++] =
            (struct mf_paxos_entry){.slot = slot,
                                    .ballot = entry->ballot,
                                    .log_time_us = entry->log_time_us,
                                    .payload = mf_payload_ref(entry->payload)};
    }
}

bool mf_paxos_has_update(const struct mf_paxos *paxos)
{
    const struct mf_paxos_update *update = &paxos->update;
    return update->record_count > 0 || update->msg_count > 0 || update->became_leader ||
           update->lost_leadership || update->snapshot_count > 0 ||
           paxos->chosen > paxos->chosen_taken || paxos->probe_confirmed > paxos->reads_taken;
}

const struct mf_paxos_update *mf_paxos_update_take(struct mf_paxos *paxos)
{
    paxos->update.chosen = paxos->chosen;
    paxos->update.reads_confirmed = paxos->probe_confirmed;
    return &paxos->update;
}

void mf_paxos_update_done(struct mf_paxos *paxos)
{
    struct mf_paxos_update *update = &paxos->update;
    for (uint32_t i = 0; i < update->msg_count; i++)
        mf_paxos_msg_free(&update->msgs[i]);
    for (uint32_t i = 0; i < update->record_count; i++)
        mf_payload_unref(paxos->record_payloads[i]);
    if (update->record_count > 0)
        paxos->seq_open++;
    paxos->chosen_taken = update->chosen;
    paxos->reads_taken = update->reads_confirmed;
    paxos->probe_left = true;
    update->msg_count = 0;
    update->record_count = 0;
    update->snapshot_count = 0;
    update->persist_seq = 0;
    update->became_leader = false;
    update->lost_leadership = false;
}
