// The binary form of Paxos messages: a fixed head, then entries; see paxos_msg.h.
#include "consensus/paxos_msg.h"

#include <stdlib.h>

#include "consensus/members.h"

// slot, ballot, log time, kind, payload length.
#define ENTRY_HEAD_BYTES (8 + 8 + 8 + 1 + 4)

static const char *const names[] = {
    [MF_PAXOS_PREPARE] = "prepare",   [MF_PAXOS_PROMISE] = "promise",
    [MF_PAXOS_REJECT] = "reject",     [MF_PAXOS_ACCEPT] = "accept",
    [MF_PAXOS_ACCEPTED] = "accepted", [MF_PAXOS_CHOSEN] = "chosen",
    [MF_PAXOS_LEARN] = "learn",       [MF_PAXOS_LEARNED] = "learned",
    [MF_PAXOS_READ_PROBE] = "probe",  [MF_PAXOS_READ_ACK] = "probe-ack",
    [MF_PAXOS_ASK_VOTE] = "ask-vote", [MF_PAXOS_VOTE] = "vote",
    [MF_PAXOS_TRANSFER] = "transfer", [MF_PAXOS_ASK_RELEASE] = "ask-release",
    [MF_PAXOS_RELEASE] = "release",
};

const char *mf_paxos_type_name(enum mf_paxos_type type)
{
    return type >= MF_PAXOS_PREPARE && type <= MF_PAXOS_TYPE_MAX ? names[type] : "?";
}

void mf_paxos_msg_encode(const struct mf_paxos_msg *msg, struct mf_buf *out)
{
    mf_buf_u8(out, (uint8_t)msg->type);
    mf_buf_u8(out, msg->stamp.source);
    mf_buf_u64(out, msg->incarnation);
    mf_buf_u64(out, msg->support);
    mf_buf_u64(out, msg->ballot);
    mf_buf_u64(out, msg->slot);
    mf_buf_u64(out, msg->last);
    mf_buf_u64(out, msg->chosen);
    mf_buf_u64(out, msg->read_seq);
    mf_buf_u64(out, msg->stamp.log_us);
    mf_buf_u64(out, msg->stamp.ballot);
    mf_buf_u32(out, msg->entry_count);
    for (uint32_t i = 0; i < msg->entry_count; i++) {
        const struct mf_paxos_entry *entry = &msg->entries[i];
        mf_buf_u64(out, entry->slot);
        mf_buf_u64(out, entry->ballot);
        mf_buf_u64(out, entry->log_time_us);
        mf_buf_u8(out,
                  mf_payload_is_members(entry->payload) ? MF_ENTRY_MEMBERS : MF_ENTRY_COMMANDS);
        mf_buf_blob(out, mf_payload_bytes(entry->payload));
    }
}

static bool decode_entries(struct mf_reader *r, struct mf_paxos_msg *msg)
{
    uint32_t count = mf_read_u32(r);
    if (r->failed || count > mf_reader_left(r) / ENTRY_HEAD_BYTES)
        return false;
    if (count == 0)
        return true;
    msg->entries = mf_calloc(count, sizeof(*msg->entries));
    for (uint32_t i = 0; i < count; i++) {
        struct mf_paxos_entry *entry = &msg->entries[i];
        entry->slot = mf_read_u64(r);
        entry->ballot = mf_read_u64(r);
        entry->log_time_us = mf_read_u64(r);
        uint8_t kind = mf_read_u8(r);
        struct mf_bytes payload = mf_read_blob(r);
        struct mf_members members;
        bool members_fine = kind == MF_ENTRY_COMMANDS ||
                            (kind == MF_ENTRY_MEMBERS && !r->failed &&
                             mf_members_decode(payload, entry->slot, &members) == MF_OK);
        bool ascending = i == 0 || entry->slot > msg->entries[i - 1].slot;
        if (r->failed || entry->ballot == 0 || entry->slot == 0 || !ascending || !members_fine)
            return false;
        if (payload.len > 0)
            entry->payload = mf_payload_new((enum mf_entry_kind)kind, payload);
        msg->entry_count = i + 1;
    }
    return true;
}

enum mf_err mf_paxos_msg_decode(struct mf_reader *r, struct mf_paxos_msg *msg)
{
    *msg = (struct mf_paxos_msg){0};
    uint8_t type = mf_read_u8(r);
    msg->type = (enum mf_paxos_type)type;
    msg->stamp.source = mf_read_u8(r);
    msg->incarnation = mf_read_u64(r);
    msg->support = mf_read_u64(r);
    msg->ballot = mf_read_u64(r);
    msg->slot = mf_read_u64(r);
    msg->last = mf_read_u64(r);
    msg->chosen = mf_read_u64(r);
    msg->read_seq = mf_read_u64(r);
    msg->stamp.log_us = mf_read_u64(r);
    msg->stamp.ballot = mf_read_u64(r);
    bool whole = decode_entries(r, msg);
    if (!whole || r->failed || msg->incarnation == 0 || type < MF_PAXOS_PREPARE ||
        type > MF_PAXOS_TYPE_MAX) {
        mf_paxos_msg_free(msg);
        return MF_CORRUPT;
    }
    return MF_OK;
}

void mf_paxos_msg_free(struct mf_paxos_msg *msg)
{
    for (uint32_t i = 0; i < msg->entry_count; i++)
        mf_payload_unref(msg->entries[i].payload);
    free(msg->entries);
    msg->entries = NULL;
    msg->entry_count = 0;
}
