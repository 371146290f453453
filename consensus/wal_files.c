// The write-ahead log's folder on disk; see wal_files.h.
//
// Nothing here keeps state between calls. Each thread that uses it has a struct mf_wal_folder of
// its own.
#include "consensus/wal_files.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEMPORARY ".tmp"
// A new file is filled in small steps, each synced, so that no commit to the file in use waits
// behind a whole segment on its way to disk.
#define FILL_BYTES (256u * 1024u)

static int open_real(const char *path, int flags, mode_t mode)
{
    return open(path, flags, mode);
}

const struct mf_wal_disk mf_wal_disk_real = {
    .open = open_real,
    .pwrite = pwrite,
    .fdatasync = fdatasync,
    .fsync = fsync,
    .close = close,
    .rename = rename,
    .unlink = unlink,
    .mkdir = mkdir,
};

enum mf_err mf_wal_explain(struct mf_wal_folder *folder, enum mf_err err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(folder->message, sizeof folder->message, format, args);
    va_end(args);
    folder->error = 0;
    return err;
}

bool mf_wal_no_room(const struct mf_wal_folder *folder)
{
    return folder->error == ENOSPC || folder->error == EDQUOT;
}

bool mf_wal_may_pass(const struct mf_wal_folder *folder)
{
    return !folder->sync_failed && (mf_wal_no_room(folder) || folder->error == EIO);
}

// "cannot VERB FOLDER/NAME: reason"; an empty name is the folder itself.
static enum mf_err explain_errno(struct mf_wal_folder *folder, const char *verb, const char *name)
{
    int error = errno;
    const char *advice = error == ENOSPC || error == EDQUOT ? "; free some space" : "";
    enum mf_err err = mf_wal_explain(folder, MF_IO, "cannot %s %s%s%s: %s%s", verb, folder->path,
                                     name[0] != '\0' ? "/" : "", name, strerror(error), advice);
    folder->error = error;
    return err;
}

// FOLDER/NAME, to be freed.
static char *path_of(const struct mf_wal_folder *folder, const char *name)
{
    size_t size = strlen(folder->path) + strlen(name) + 2;
    char *path = mf_alloc(size);
    snprintf(path, size, "%s/%s", folder->path, name);
    return path;
}

static int open_in(struct mf_wal_folder *folder, const char *name, int flags)
{
    char *path = path_of(folder, name);
    int fd = folder->disk->open(path, flags | O_CLOEXEC, 0600);
    free(path);
    return fd;
}

// Makes creations, renames and removals in the folder at `path` durable.
static enum mf_err sync_names(struct mf_wal_folder *folder, const char *path)
{
    if (!folder->sync)
        return MF_OK;
    int fd = folder->disk->open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0)
        return mf_wal_explain(folder, MF_IO, "cannot open %s: %s", path, strerror(errno));
    enum mf_err err = MF_OK;
    if (folder->disk->fsync(fd) != 0) {
        folder->sync_failed = true;
        err = mf_wal_explain(folder, MF_IO, "cannot sync %s: %s", path, strerror(errno));
    }
    folder->disk->close(fd);
    return err;
}

enum mf_err mf_wal_folder_make(struct mf_wal_folder *folder)
{
    // The parent is synced even when the folder is there: whoever made it may have died before.
    if (folder->disk->mkdir(folder->path, 0700) != 0 && errno != EEXIST)
        return explain_errno(folder, "create", "");
    char *copy = mf_strdup(folder->path);
    enum mf_err err = sync_names(folder, dirname(copy));
    free(copy);
    return err;
}

void mf_wal_file_name(struct mf_wal_file file, char name[MF_WAL_NAME_BYTES])
{
    snprintf(name, MF_WAL_NAME_BYTES, "%04" PRIu32 "-%08" PRIu64 ".wal", file.stream,
             file.sequence);
}

// True for exactly the names that mf_wal_file_name makes, with `suffix` behind them.
static bool parse_name(const char *name, const char *suffix, struct mf_wal_file *file)
{
    char *end;
    unsigned long stream = strtoul(name, &end, 10);
    if (*end != '-' || stream > UINT32_MAX)
        return false;
    file->stream = (uint32_t)stream;
    file->sequence = strtoull(end + 1, &end, 10);
    char expected[MF_WAL_NAME_BYTES];
    mf_wal_file_name(*file, expected);
    size_t len = strlen(expected);
    return strncmp(name, expected, len) == 0 && strcmp(name + len, suffix) == 0;
}

static int by_stream_and_sequence(const void *a, const void *b)
{
    const struct mf_wal_file *x = a;
    const struct mf_wal_file *y = b;
    if (x->stream != y->stream)
        return x->stream < y->stream ? -1 : 1;
    return (x->sequence > y->sequence) - (x->sequence < y->sequence);
}

// All names with this suffix, in no order. An absent folder has none.
static enum mf_err list_names(struct mf_wal_folder *folder, const char *suffix,
                              struct mf_wal_listing *listing)
{
    *listing = (struct mf_wal_listing){0};
    DIR *dir = opendir(folder->path);
    if (dir == NULL)
        return errno == ENOENT ? MF_OK : explain_errno(folder, "open", "");
    size_t cap = 0;
    enum mf_err err = MF_OK;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            if (errno != 0)
                err = explain_errno(folder, "list", "");
            break;
        }
        struct mf_wal_file file;
        if (!parse_name(entry->d_name, suffix, &file))
            continue;
        if (listing->count == cap) {
            cap = cap == 0 ? 64 : cap * 2;
            listing->files = mf_realloc(listing->files, cap * sizeof *listing->files);
        }
        listing->files[listing->count++] = file;
    }
    closedir(dir);
    return err;
}

enum mf_err mf_wal_folder_list(struct mf_wal_folder *folder, struct mf_wal_listing *listing)
{
    enum mf_err err = list_names(folder, "", listing);
    if (err != MF_OK) {
        free(listing->files);
        *listing = (struct mf_wal_listing){0};
        return err;
    }
    if (listing->count > 0)
        qsort(listing->files, listing->count, sizeof *listing->files, by_stream_and_sequence);
    return MF_OK;
}

uint64_t mf_wal_file_bytes(struct mf_wal_folder *folder, struct mf_wal_file file)
{
    char name[MF_WAL_NAME_BYTES];
    mf_wal_file_name(file, name);
    char *path = path_of(folder, name);
    struct stat status;
    uint64_t bytes = stat(path, &status) == 0 ? (uint64_t)status.st_size : 0;
    free(path);
    return bytes;
}

enum mf_err mf_wal_file_discard(struct mf_wal_folder *folder, struct mf_wal_file file)
{
    char name[MF_WAL_NAME_BYTES];
    mf_wal_file_name(file, name);
    strcat(name, TEMPORARY);
    char *path = path_of(folder, name);
    enum mf_err err = MF_OK;
    if (folder->disk->unlink(path) != 0 && errno != ENOENT)
        err = explain_errno(folder, "remove", name);
    free(path);
    return err;
}

enum mf_err mf_wal_folder_clean(struct mf_wal_folder *folder, uint32_t stream)
{
    struct mf_wal_listing left;
    enum mf_err err = list_names(folder, TEMPORARY, &left);
    for (size_t i = 0; i < left.count && err == MF_OK; i++) {
        if (left.files[i].stream == stream)
            err = mf_wal_file_discard(folder, left.files[i]);
    }
    free(left.files);
    return err;
}

enum mf_err mf_wal_file_remove(struct mf_wal_folder *folder, struct mf_wal_file file)
{
    char name[MF_WAL_NAME_BYTES];
    mf_wal_file_name(file, name);
    char *path = path_of(folder, name);
    enum mf_err err = MF_OK;
    if (folder->disk->unlink(path) != 0 && errno != ENOENT)
        err = explain_errno(folder, "remove", name);
    free(path);
    return err == MF_OK ? sync_names(folder, folder->path) : err;
}

// Appends what the open file holds.
static enum mf_err read_all(struct mf_wal_folder *folder, int fd, const char *name,
                            struct mf_buf *content)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return explain_errno(folder, "read", name);
    size_t size = (size_t)status.st_size;
    uint8_t *data = malloc(size + 1);
    if (data == NULL)
        return mf_wal_explain(folder, MF_OUT_OF_MEMORY, "no memory to read %s/%s (%zu bytes)",
                              folder->path, name, size);
    *content = (struct mf_buf){.data = data, .cap = size + 1};
    while (content->len < size) {
        ssize_t got = pread(fd, data + content->len, size - content->len, (off_t)content->len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return explain_errno(folder, "read", name);
        if (got == 0)
            break;
        content->len += (size_t)got;
    }
    return MF_OK;
}

enum mf_err mf_wal_file_read(struct mf_wal_folder *folder, struct mf_wal_file file,
                             struct mf_buf *content)
{
    mf_buf_free(content);
    char name[MF_WAL_NAME_BYTES];
    mf_wal_file_name(file, name);
    int fd = open_in(folder, name, O_RDONLY);
    if (fd < 0)
        return explain_errno(folder, "open", name);
    enum mf_err err = mf_wal_file_sync(folder, fd, name);
    // After an earlier failed sync the kernel may hold clean pages that the disk never got. Without
    // them the read tells the truth.
    if (err == MF_OK) {
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        err = read_all(folder, fd, name, content);
    }
    folder->disk->close(fd);
    return err;
}

enum mf_err mf_wal_file_write(struct mf_wal_folder *folder, int fd, const char *name,
                              struct mf_bytes data, uint64_t offset)
{
    while (data.len > 0) {
        ssize_t put = folder->disk->pwrite(fd, data.data, data.len, (off_t)offset);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return explain_errno(folder, "write", name);
        data = mf_bytes_of(data.data + put, data.len - (size_t)put);
        offset += (uint64_t)put;
    }
    return MF_OK;
}

enum mf_err mf_wal_file_sync(struct mf_wal_folder *folder, int fd, const char *name)
{
    if (!folder->sync || folder->disk->fdatasync(fd) == 0)
        return MF_OK;
    folder->sync_failed = true;
    return explain_errno(folder, "sync", name);
}

// The header, and with sync zeros up to `bytes`: overwriting blocks that exist costs less per sync
// than appending, and the space is known to be there.
static enum mf_err fill(struct mf_wal_folder *folder, int fd, const char *name,
                        const struct mf_wal_file_id *id, uint64_t bytes, const atomic_bool *stop)
{
    struct mf_buf content = {0};
    mf_wal_put_header(&content, id);
    if (!folder->sync)
        bytes = content.len;
    memset(mf_buf_reserve(&content, FILL_BYTES - content.len), 0, FILL_BYTES - content.len);
    content.len = FILL_BYTES;

    enum mf_err err = MF_OK;
    for (uint64_t offset = 0; offset < bytes && err == MF_OK; offset += FILL_BYTES) {
        // Relaxed: the flag orders nothing but itself; whoever set it joins the thread.
        if (atomic_load_explicit(stop, memory_order_relaxed)) {
            err = mf_wal_explain(folder, MF_SHUTTING_DOWN, "stopped while creating %s", name);
            break;
        }
        size_t step = bytes - offset < FILL_BYTES ? (size_t)(bytes - offset) : FILL_BYTES;
        err = mf_wal_file_write(folder, fd, name, mf_bytes_of(content.data, step), offset);
        if (err == MF_OK)
            err = mf_wal_file_sync(folder, fd, name);
        memset(content.data, 0, MF_WAL_ALIGN);
    }
    mf_buf_free(&content);
    return err;
}

static enum mf_err give_name(struct mf_wal_folder *folder, const char *temporary, const char *name)
{
    char *from = path_of(folder, temporary);
    char *to = path_of(folder, name);
    enum mf_err err = MF_OK;
    if (folder->disk->rename(from, to) != 0)
        err = explain_errno(folder, "rename to", name);
    free(from);
    free(to);
    return err == MF_OK ? sync_names(folder, folder->path) : err;
}

// Best effort, and without a word: the reason that counts is in the message, and the next open
// removes what stays.
static void give_up_file(struct mf_wal_folder *folder, const char *temporary, int *fd)
{
    folder->disk->close(*fd);
    *fd = -1;
    char *path = path_of(folder, temporary);
    folder->disk->unlink(path);
    free(path);
}

enum mf_err mf_wal_file_create(struct mf_wal_folder *folder, const struct mf_wal_file_id *id,
                               uint64_t bytes, const atomic_bool *stop, int *fd)
{
    struct mf_wal_file file = {.stream = id->stream, .sequence = id->sequence};
    char name[MF_WAL_NAME_BYTES];
    char temporary[MF_WAL_NAME_BYTES];
    mf_wal_file_name(file, name);
    mf_wal_file_name(file, temporary);
    strcat(temporary, TEMPORARY);

    *fd = open_in(folder, temporary, O_WRONLY | O_CREAT | O_TRUNC);
    if (*fd < 0)
        return explain_errno(folder, "create", temporary);
    enum mf_err err = fill(folder, *fd, temporary, id, bytes, stop);
    if (err == MF_OK)
        err = give_name(folder, temporary, name);
    if (err == MF_OK)
        return MF_OK;

    give_up_file(folder, temporary, fd);
    return err;
}

static void temporary_name(struct mf_wal_file file, char name[MF_WAL_NAME_BYTES])
{
    mf_wal_file_name(file, name);
    strcat(name, TEMPORARY);
}

enum mf_err mf_wal_file_retire(struct mf_wal_folder *folder, struct mf_wal_file file)
{
    char name[MF_WAL_NAME_BYTES];
    char temporary[MF_WAL_NAME_BYTES];
    mf_wal_file_name(file, name);
    temporary_name(file, temporary);
    return give_name(folder, name, temporary);
}

// The header, and the end of a file without batches, in one write. Nobody reads it before it has
// its name, and the old name is gone, so that a tear of this is of no matter.
static enum mf_err begin_again(struct mf_wal_folder *folder, int fd, const char *name,
                               const struct mf_wal_file_id *id)
{
    struct mf_buf start = {0};
    mf_wal_put_header(&start, id);
    mf_wal_put_end(&start);
    enum mf_err err = mf_wal_file_write(folder, fd, name, mf_buf_view(&start), 0);
    if (err == MF_OK)
        err = mf_wal_file_sync(folder, fd, name);
    mf_buf_free(&start);
    return err;
}

enum mf_err mf_wal_file_recycle(struct mf_wal_folder *folder, struct mf_wal_file retired,
                                const struct mf_wal_file_id *id, int *fd)
{
    struct mf_wal_file file = {.stream = id->stream, .sequence = id->sequence};
    char name[MF_WAL_NAME_BYTES];
    char temporary[MF_WAL_NAME_BYTES];
    mf_wal_file_name(file, name);
    temporary_name(retired, temporary);
    *fd = open_in(folder, temporary, O_WRONLY);
    if (*fd < 0)
        return explain_errno(folder, "open", temporary);
    // A batch begins and ends within a page: what is not in memory would be read by its write.
    (void)posix_fadvise(*fd, 0, 0, POSIX_FADV_WILLNEED);
    enum mf_err err = begin_again(folder, *fd, temporary, id);
    if (err == MF_OK)
        err = give_name(folder, temporary, name);
    if (err == MF_OK)
        return MF_OK;
    give_up_file(folder, temporary, fd);
    return err;
}
