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
    uint32_t bytes;       // of the payload
};

#define MF_LOG_BLOCK_SLOTS 32u

struct mf_log_block {
    struct mf_log_entry entries[MF_LOG_BLOCK_SLOTS];
};

// Places, in blocks, so that to grow copies no entry. Slot s is in block s / MF_LOG_BLOCK_SLOTS,
// which has its place in a ring by its number.
struct mf_log_ring {
    struct mf_log_block **blocks;
    uint64_t cap;  // of the ring, in blocks; 0 or a power of 2
    uint64_t from; // the slots from .. end - 1 have places
    uint64_t end;
};

// Slots first .. first + count - 1 have a place. first is 1 in a new log. What is cut off is freed
// little by little, since a cut may take millions of slots.
struct mf_entry_log {
    struct mf_log_ring ring; // its slots below `first` are cut off and still to be freed
    struct mf_log_ring left; // all of these are
    uint64_t first;
    uint64_t count;
    uint64_t bytes; // of payloads, also of those still to be freed
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
// Cuts off the slots below `first`; the log may become empty, and goes on from there. What a cut
// before this one has left is freed at once when both have left nothing of the log.
void mf_entry_log_cut(struct mf_entry_log *log, uint64_t first);
// Cuts off all slots there are and one more, which never gets a place.
void mf_entry_log_pass(struct mf_entry_log *log);
// Frees what at most so many of the slots took that are cut off.
void mf_entry_log_reclaim(struct mf_entry_log *log, uint64_t slots);
// Some slots that are cut off are still to be freed.
bool mf_entry_log_litter(const struct mf_entry_log *log);

#endif
