// The replicated log of one group in memory: a contiguous run of slots, each with the value
// accepted in it, if any. Payloads are reference counted, since a message or a record under way may
// outlive the entry's place in the log. Owner's thread only.
#ifndef MF_CONSENSUS_ENTRY_LOG_H
#define MF_CONSENSUS_ENTRY_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "consensus/ballot.h"

enum mf_entry_kind {
    MF_ENTRY_COMMANDS = 0, // opaque to the core
    MF_ENTRY_MEMBERS = 1,  // mf_members_encode
};

// An immutable payload. The count is not atomic: one thread.
struct mf_payload {
    uint32_t references;
    enum mf_entry_kind kind;
    size_t len;
    uint8_t data[];
};

// A copy of the bytes with one reference.
struct mf_payload *mf_payload_new(enum mf_entry_kind kind, struct mf_bytes bytes);
struct mf_payload *mf_payload_ref(struct mf_payload *payload);
void mf_payload_unref(struct mf_payload *payload); // NULL is fine
struct mf_bytes mf_payload_bytes(const struct mf_payload *payload);
static inline bool mf_payload_is_members(const struct mf_payload *payload)
{
    return payload != NULL && payload->kind == MF_ENTRY_MEMBERS;
}

struct mf_log_entry {
    mf_ballot_t ballot; // at which the value was accepted; 0: nothing accepted here
    uint64_t log_time_us;
    struct mf_payload *payload;
    uint64_t persist_seq; // the hand-over that carries this acceptance to disk
    uint32_t acks;        // leader: bit i = voter i has accepted it at the leader's ballot
};

// Slots first .. first + count - 1 have a place. first is 1 in a new log.
struct mf_entry_log {
    struct mf_log_entry *entries; // a ring
    uint64_t first;
    uint64_t count;
    uint64_t cap;
    uint64_t bytes; // of payloads
};

void mf_entry_log_init(struct mf_entry_log *log, uint64_t first);
void mf_entry_log_free(struct mf_entry_log *log);
// The last slot that has a place; first - 1 when empty.
uint64_t mf_entry_log_last(const struct mf_entry_log *log);
// The slot's entry, or NULL outside the log or when nothing is accepted there.
struct mf_log_entry *mf_entry_log_get(const struct mf_entry_log *log, uint64_t slot);
// Puts a value into a slot >= first, making places up to it. Takes a reference of its own; what was
// there before is dropped. Returns the entry, with persist_seq and acks 0.
struct mf_log_entry *mf_entry_log_put(struct mf_entry_log *log, uint64_t slot, mf_ballot_t ballot,
                                      uint64_t log_time_us, struct mf_payload *payload);
// Drops the slots below `first`; the log may become empty, and goes on from there.
void mf_entry_log_cut(struct mf_entry_log *log, uint64_t first);

#endif
