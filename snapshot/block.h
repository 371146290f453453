// A block's content: packed with LZ4 when that helps, and unpacked into memory that is only asked
// for once the lengths have been checked. No state; any thread.
#ifndef MF_SNAPSHOT_BLOCK_H
#define MF_SNAPSHOT_BLOCK_H

#include <stdbool.h>

#include "base/bytes.h"
#include "snapshot/format.h"

// Appends header and content to out. Of `block`, offset, shard, kind and records are given; the
// rest is set. raw: 1 to MF_SNAPSHOT_BLOCK_BYTES_MAX bytes.
void mf_snapshot_pack(struct mf_buf *out, struct mf_snapshot_block *block, struct mf_bytes raw);

// Memory of the size a file claims. All zero is an empty one; free(room.data) ends it.
struct mf_snapshot_room {
    uint8_t *data;
    size_t cap;
};
// Makes it at least `size` bytes, the content is lost; false when there is no memory for it.
MF_MUST_USE bool mf_snapshot_make_room(struct mf_snapshot_room *room, size_t size);

// content: block->stored_bytes bytes; to: room for block->raw_bytes. Sets *raw to the records, in
// `to` or in `content` itself: exactly block->records of them, so that reading these with
// mf_snapshot_get_record cannot fail. NULL when sound, else what is wrong.
const char *mf_snapshot_unpack(const struct mf_snapshot_block *block, struct mf_bytes content,
                               uint8_t *to, struct mf_bytes *raw);

#endif
