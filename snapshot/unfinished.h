// Files that a writer has not finished: PATH.tmp-PID, which a process that was killed leaves
// behind. A writer holds a lock (flock) on its file from before it has written anything until the
// file has its name, and the lock ends with its process, however that ends. So a file without one
// has no writer, whatever its number says and whoever bears that now, on this machine or where else
// locks of the file system reach; and where they cannot be had, nobody removes anything.
#ifndef MF_SNAPSHOT_UNFINISHED_H
#define MF_SNAPSHOT_UNFINISHED_H

#include <stdbool.h>

#include "base/err.h"

// By a writer that has just made the file. *lock is a descriptor that holds the lock, to be closed
// once the file has its name, or -1 where there are no locks. MF_AGAIN when the file has been taken
// for one without a writer meanwhile, and is gone: make it again. MF_IO when that cannot be told;
// errno says why.
MF_MUST_USE enum mf_err mf_unfinished_hold(int fd, int *lock);
// MF_OK: nobody holds it, if it is there at all. MF_BUSY: a writer does. MF_IO: that cannot be
// told; errno says why.
MF_MUST_USE enum mf_err mf_unfinished_look(const char *path);

// NAME.tmp-PID: the length of NAME, or 0.
int mf_unfinished_name(const char *name);
// Removes what has no writer, begins as a snapshot does and does not end as one: a whole one may
// have been given such a name by somebody. `begun`: or is empty, or shorter than that beginning.
// MF_BUSY: it has a writer. MF_BAD_REQUEST: it is something else. MF_NOT_FOUND. MF_IO, of which
// errno tells: also where locks cannot be had. Links are not followed.
MF_MUST_USE enum mf_err mf_unfinished_remove(const char *path, bool begun);

#endif
