// The write-ahead log's folder: names, reading, and the making of segment files. Internal to the
// log; wal.c appends by it and wal_recover.c reads by it.
//
// A file is STREAM-SEQUENCE.wal, in decimal, at least 4 and 8 digits wide ("0003-00000012.wal"). It
// is made under the same name with ".tmp" behind it and renamed once it is whole, so what bears a
// log file's name has a whole header. Anything else in the folder is left alone.
#ifndef MF_CONSENSUS_WAL_FILES_H
#define MF_CONSENSUS_WAL_FILES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/bytes.h"
#include "base/err.h"
#include "consensus/wal.h"
#include "consensus/wal_format.h"

// Every call that changes the disk, so that a test can put a failing or a forgetful disk below the
// log. Meanings, results and errno as in POSIX.
struct mf_wal_disk {
    int (*open)(const char *path, int flags, mode_t mode);
    ssize_t (*pwrite)(int fd, const void *data, size_t len, off_t offset);
    int (*fdatasync)(int fd); // files: data and what it takes to read it, such as a new length
    int (*fsync)(int fd);     // folders
    int (*close)(int fd);
    int (*rename)(const char *from, const char *to);
    int (*unlink)(const char *path);
    int (*mkdir)(const char *path, mode_t mode);
};
extern const struct mf_wal_disk mf_wal_disk_real;

// One thread's hold on the folder: functions that fail say why in `message`.
struct mf_wal_folder {
    const struct mf_wal_disk *disk;
    const char *path;
    bool sync;
    bool sync_failed; // some sync failed: what was written may be gone, and no later one can tell
    int error;        // errno of the call that `message` is about; 0 when it is about none
    char message[512];
};

// Writes `message` and returns err.
MF_MUST_USE enum mf_err mf_wal_explain(struct mf_wal_folder *folder, enum mf_err err,
                                       const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// The last failure, which was MF_IO, is one that may pass by itself (no room, a quota, an I/O
// error), and nothing depends on what it left behind: it was no sync that failed.
bool mf_wal_may_pass(const struct mf_wal_folder *folder);
// It is for want of room.
bool mf_wal_no_room(const struct mf_wal_folder *folder);

// Creates the folder when it is missing and makes that durable. MF_IO.
MF_MUST_USE enum mf_err mf_wal_folder_make(struct mf_wal_folder *folder);
// Removes what an interrupted mf_wal_file_create of this stream left behind. MF_IO.
MF_MUST_USE enum mf_err mf_wal_folder_clean(struct mf_wal_folder *folder, uint32_t stream);

struct mf_wal_file {
    uint32_t stream;
    uint64_t sequence;
};
struct mf_wal_listing {
    struct mf_wal_file *files; // by stream, then by sequence; freed by the caller
    size_t count;
};
// An absent folder is an empty one. MF_IO.
MF_MUST_USE enum mf_err mf_wal_folder_list(struct mf_wal_folder *folder,
                                           struct mf_wal_listing *listing);
// The file's length; 0 when nobody knows, which whoever reads it will be told.
uint64_t mf_wal_file_bytes(struct mf_wal_folder *folder, struct mf_wal_file file);

// Room for any file's name with ".tmp" and the final zero.
#define MF_WAL_NAME_BYTES 48
void mf_wal_file_name(struct mf_wal_file file, char name[MF_WAL_NAME_BYTES]);

// Forces the file to disk and replaces *content with all of it. Forcing comes first because a
// process that was killed leaves bytes that only the kernel has: once read they count as durable.
// MF_IO, MF_OUT_OF_MEMORY.
MF_MUST_USE enum mf_err mf_wal_file_read(struct mf_wal_folder *folder, struct mf_wal_file file,
                                         struct mf_buf *content);

// Makes a file of `bytes` bytes (at least MF_WAL_ALIGN): header, then zeros, on disk with its name.
// Without sync only the header is written. Replaces an empty one of this name. *fd is open for
// writing. A true `stop` ends the making early with MF_SHUTTING_DOWN. MF_IO.
MF_MUST_USE enum mf_err mf_wal_file_create(struct mf_wal_folder *folder,
                                           const struct mf_wal_file_id *id, uint64_t bytes,
                                           const atomic_bool *stop, int *fd);

// Removes the file and makes that durable. MF_IO; after a failed sync (sync_failed) nothing more
// may be removed: a later sync could succeed without this removal, and leave a hole.
MF_MUST_USE enum mf_err mf_wal_file_remove(struct mf_wal_folder *folder, struct mf_wal_file file);

// The other way to make a file: of one of this folder's own that is needed no more and has `bytes`
// bytes, without filling it again. Two steps, so that it is one less file to the log at once, and
// only then another.
// Takes the name away, durably: the file is NAME.tmp from then on. MF_IO as mf_wal_file_remove.
MF_MUST_USE enum mf_err mf_wal_file_retire(struct mf_wal_folder *folder, struct mf_wal_file file);
// Makes the file of `id`, which is recycled, out of the one that was retired. MF_IO; what was
// retired is gone then, unless it became the file.
MF_MUST_USE enum mf_err mf_wal_file_recycle(struct mf_wal_folder *folder,
                                            struct mf_wal_file retired,
                                            const struct mf_wal_file_id *id, int *fd);
// Gives up one that was retired. MF_IO.
MF_MUST_USE enum mf_err mf_wal_file_discard(struct mf_wal_folder *folder,
                                            struct mf_wal_file retired);

// Writes all of data, however many calls that takes. `name` is for the message. MF_IO.
MF_MUST_USE enum mf_err mf_wal_file_write(struct mf_wal_folder *folder, int fd, const char *name,
                                          struct mf_bytes data, uint64_t offset);
// Syncs the file unless the folder is one without syncs. MF_IO.
MF_MUST_USE enum mf_err mf_wal_file_sync(struct mf_wal_folder *folder, int fd, const char *name);

// Where a stream goes on: after its last batch in a new file.
struct mf_wal_tail {
    uint64_t sequence; // of the next file
    uint64_t previous_batches;
};
// Reads the end of the stream. MF_CORRUPT as mf_wal_recover, MF_IO, MF_OUT_OF_MEMORY.
MF_MUST_USE enum mf_err mf_wal_find_tail(struct mf_wal_folder *folder, uint32_t stream,
                                         struct mf_wal_tail *tail);

// mf_wal_recover, mf_wal_recover_streams and mf_wal_open on a disk of the test's making.
MF_MUST_USE enum mf_err mf_wal_recover_streams_on(const struct mf_wal_disk *disk, const char *path,
                                                  const struct mf_wal_reading *reading,
                                                  struct mf_wal_recovery *recovery);
MF_MUST_USE enum mf_err
mf_wal_recover_on(const struct mf_wal_disk *disk, const char *path,
                  struct mf_wal_recovery *recovery, struct mf_wal_ledger *ledger,
                  enum mf_err (*record)(void *arg, const struct mf_wal_record *record), void *arg);
MF_MUST_USE enum mf_err mf_wal_open_on(const struct mf_wal_disk *disk,
                                       const struct mf_wal_config *config, struct mf_wal **out,
                                       char *message, size_t message_size);

#endif
