// The payload of one log entry: a batch of commands that are applied in order at one log position.
//
// Layout: u8 format (1), u64 tag, then until the end one length-prefixed command after the other
// (u32 length, bytes of mf_command_encode). An empty payload is a no-op. The tag is unique to the
// proposal, so a leader that lost its place can tell whether what was chosen in a slot is its own.
#ifndef MF_SHARDS_BATCH_H
#define MF_SHARDS_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/command.h"

// Starts a batch in an empty buffer.
void mf_batch_begin(struct mf_buf *batch, uint64_t tag);
// Adds a command that is already encoded.
void mf_batch_add_encoded(struct mf_buf *batch, struct mf_bytes encoded);
void mf_batch_add(struct mf_buf *batch, const struct mf_command *command);

struct mf_batch_reader {
    struct mf_reader reader;
    uint64_t tag; // 0 for a no-op
    struct mf_item *items;
    uint32_t items_cap;
};

// MF_CORRUPT when the head is not a batch's. The payload must outlive the reader.
MF_MUST_USE enum mf_err mf_batch_open(struct mf_batch_reader *reader, struct mf_bytes payload);
// The next command: MF_OK, MF_NOT_FOUND at the end, MF_CORRUPT. Views point into the payload and
// items live until the next call.
MF_MUST_USE enum mf_err mf_batch_next(struct mf_batch_reader *reader, struct mf_command *command);
void mf_batch_close(struct mf_batch_reader *reader);

#endif
