// A snapshot file opened for reading: a regular file, of which ranges are read by offset, from any
// thread.
#ifndef MF_SNAPSHOT_SOURCE_H
#define MF_SNAPSHOT_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "snapshot/block.h"

struct mf_snapshot_source {
    char *path;
    int fd;
    uint64_t bytes;
};

MF_MUST_USE enum mf_err mf_snapshot_open_source(const char *path, struct mf_snapshot_source *source,
                                                char *message, size_t message_size);
void mf_snapshot_close_source(struct mf_snapshot_source *source);

// What a file begins with, before it is read, replaced or removed as a snapshot. MF_OK: as a
// snapshot does. MF_BAD_REQUEST: it is something else; MF_NOT_FOUND: there is nothing; MF_IO. Links
// are not followed; errno tells of MF_IO.
MF_MUST_USE enum mf_err mf_snapshot_recognize(const char *path);

// Reads exactly `len` bytes. MF_IO, or MF_CORRUPT when the file has become shorter since the open.
MF_MUST_USE enum mf_err mf_snapshot_fetch(const struct mf_snapshot_source *source, uint64_t offset,
                                          void *to, size_t len, char *message, size_t message_size);

// A thread's memory for blocks. All zero is an empty one.
struct mf_snapshot_rooms {
    struct mf_snapshot_room stored;
    struct mf_snapshot_room raw;
};
void mf_snapshot_free_rooms(struct mf_snapshot_rooms *rooms);

// Reads, checks and unpacks a block whose header is known and lies in the file with all its bytes;
// the header in the file must be the same. *raw: its records, until the rooms are used again.
MF_MUST_USE enum mf_err mf_snapshot_fetch_block(const struct mf_snapshot_source *source,
                                                const struct mf_snapshot_block *block,
                                                struct mf_snapshot_rooms *rooms,
                                                struct mf_bytes *raw, char *message,
                                                size_t message_size);

#endif
