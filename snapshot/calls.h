// The system calls by which the writer touches the disk, in a table, so that a test can make each
// of them fail.
#ifndef MF_SNAPSHOT_CALLS_H
#define MF_SNAPSHOT_CALLS_H

#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "snapshot/writer.h"

struct mf_snapshot_calls {
    int (*open)(const char *path, int flags, mode_t mode);
    ssize_t (*write)(int fd, const void *data, size_t len);
    int (*fsync)(int fd);
    int (*close)(int fd);
    int (*rename)(const char *from, const char *to);
    int (*unlink)(const char *path);
};

// mf_snapshot_create with other calls; the table lives as long as the writer.
MF_MUST_USE enum mf_err mf_snapshot_create_with(const struct mf_snapshot_calls *calls,
                                                const char *path,
                                                const struct mf_snapshot_info *info,
                                                struct mf_snapshot_writer **out, char *message,
                                                size_t message_size);

#endif
