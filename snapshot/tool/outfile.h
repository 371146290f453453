// Where text goes: standard output, or a file that has its name only once it is whole.
//
// A regular file is written aside, synced and renamed; a device or pipe is written as it is.
// One thread. The first failure stays, with its message.
#ifndef MF_SNAPSHOT_TOOL_OUTFILE_H
#define MF_SNAPSHOT_TOOL_OUTFILE_H

#include <stdbool.h>

#include "base/bytes.h"

struct outfile {
    int fd;
    char *path;      // NULL: standard output
    char *temporary; // NULL: written in place
    bool failed;
    char why[512];
};

// path: NULL or "-" for standard output. False when it cannot be made; `why` tells, and only
// outfile_abort may follow.
bool outfile_open(struct outfile *out, const char *path);
bool outfile_write(struct outfile *out, struct mf_bytes bytes);
// Ends it, with the name in its place; false when something failed, and then nothing is left.
bool outfile_commit(struct outfile *out);
// Ends it, and removes what was written aside.
void outfile_abort(struct outfile *out);
// Makes what was renamed to `path` last; false with errno.
bool outfile_sync_folder_of(const char *path);

#endif
