// Small files that are replaced as a whole, and the durability of names. For what decides whether
// a node may vote: after a crash there is the old content or the new, never a part.
#ifndef MF_SERVER_FILE_H
#define MF_SERVER_FILE_H

#include <stddef.h>

#include "base/bytes.h"
#include "base/err.h"

// Any thread that may wait for a disk. Writes `content` to the file `aside`, syncs it, renames it
// to `path` in the same folder, and syncs the folder. MF_IO with a message that names `path`; the
// file at `path` is then the old one or, when only the last sync failed, perhaps the new one.
MF_MUST_USE enum mf_err mf_file_replace(const char *path, const char *aside,
                                        struct mf_bytes content, char *message,
                                        size_t message_size);

// Makes creations, renames and removals in the folder durable. MF_IO with a message.
MF_MUST_USE enum mf_err mf_file_sync_folder(const char *folder, char *message, size_t message_size);

#endif
