// Reads and removes files in snapshot.dir; see snapshot_files.h.
#include "server/snapshot_files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rpc/msgpack_rpc.h"
#include "server/node.h"
#include "server/worker.h"
#include "snapshot/source.h"

struct piece {
    struct mf_job job;
    mf_admin_done *done;
    void *arg;
    char name[65];
    char path[PATH_MAX + 66];
    uint64_t offset;
    uint64_t size; // of the file
    uint8_t *data;
    size_t len;
    bool removed;
    enum mf_err err;
    char message[256];
};

static void refuse(struct piece *piece, enum mf_err err, const char *what, const char *why)
{
    piece->err = err;
    snprintf(piece->message, sizeof(piece->message), "%s snapshot %s: %s", what, piece->name, why);
}

// Fewer only where the file ends.
static bool read_piece(struct piece *piece, int fd)
{
    while (piece->len < MF_SNAPSHOT_PIECE_BYTES) {
        ssize_t got = pread(fd, piece->data + piece->len, MF_SNAPSHOT_PIECE_BYTES - piece->len,
                            (off_t)(piece->offset + piece->len));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got == 0;
        piece->len += (size_t)got;
    }
    return true;
}

// False, and the piece is refused, for anything but a snapshot: the folder may hold other files.
static bool check_content(struct piece *piece, const char *what)
{
    switch (mf_snapshot_recognize(piece->path)) {
    case MF_OK:
        return true;
    case MF_NOT_FOUND:
        refuse(piece, MF_BAD_REQUEST, what, "there is none of that name");
        return false;
    case MF_BAD_REQUEST:
        refuse(piece, MF_BAD_REQUEST, what, "the file of that name is no snapshot");
        return false;
    default:
        refuse(piece, MF_INTERNAL, what, strerror(errno));
        return false;
    }
}

static void work_read(struct mf_job *job)
{
    struct piece *piece = (struct piece *)job;
    if (!check_content(piece, "reading"))
        return;
    int fd = open(piece->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat about;
    if (fd < 0 && errno == ENOENT) {
        refuse(piece, MF_BAD_REQUEST, "reading", "there is none of that name");
    } else if (fd < 0 || fstat(fd, &about) != 0) {
        refuse(piece, MF_INTERNAL, "reading", strerror(errno));
    } else if (!S_ISREG(about.st_mode)) {
        refuse(piece, MF_BAD_REQUEST, "reading", "it is no regular file");
    } else if (piece->offset > (uint64_t)about.st_size) {
        char why[96];
        snprintf(why, sizeof(why), "the offset is %" PRIu64 ", the file has %" PRIu64 " bytes",
                 piece->offset, (uint64_t)about.st_size);
        refuse(piece, MF_BAD_REQUEST, "reading", why);
    } else {
        piece->size = (uint64_t)about.st_size;
        piece->data = malloc(MF_SNAPSHOT_PIECE_BYTES);
        if (piece->data == NULL)
            refuse(piece, MF_OUT_OF_MEMORY, "reading", "no memory");
        else if (!read_piece(piece, fd))
            refuse(piece, MF_INTERNAL, "reading", strerror(errno));
    }
    if (fd >= 0)
        close(fd);
}

static void work_remove(struct mf_job *job)
{
    struct piece *piece = (struct piece *)job;
    if (access(piece->path, F_OK) != 0 && errno == ENOENT)
        return; // and says so
    if (!check_content(piece, "removing"))
        return;
    piece->removed = unlink(piece->path) == 0;
    if (!piece->removed && errno != ENOENT)
        refuse(piece, MF_INTERNAL, "removing", strerror(errno));
}

static void tell(struct piece *piece, struct mf_bytes packed)
{
    if (piece->job.undone)
        piece->done(piece->arg, MF_SHUTTING_DOWN, NULL, packed);
    else
        piece->done(piece->arg, piece->err, piece->message, packed);
    atomic_fetch_sub_explicit(&piece->job.home->node->pieces, 1, memory_order_relaxed);
    free(piece->data);
    free(piece);
}

static void tell_read(struct mf_reactor *reactor, struct mf_task *task)
{
    (void)reactor;
    struct piece *piece = (struct piece *)task;
    struct mf_buf out = {0};
    mf_pack_map(&out, 2);
    mf_pack_str(&out, "size");
    mf_pack_uint(&out, piece->size);
    mf_pack_str(&out, "data");
    mf_pack_bin(&out, mf_bytes_of(piece->data, piece->len));
    tell(piece, mf_buf_view(&out));
    mf_buf_free(&out);
}

static void tell_removed(struct mf_reactor *reactor, struct mf_task *task)
{
    (void)reactor;
    struct piece *piece = (struct piece *)task;
    struct mf_buf out = {0};
    mf_pack_bool(&out, piece->removed);
    tell(piece, mf_buf_view(&out));
    mf_buf_free(&out);
}

// NULL when too many are under way: done has been called.
static struct piece *piece_of(struct mf_reactor *reactor, struct mf_bytes name, mf_admin_done *done,
                              void *arg)
{
    _Atomic uint32_t *pieces = &reactor->node->pieces;
    if (atomic_fetch_add_explicit(pieces, 1, memory_order_relaxed) >= MF_SNAPSHOT_PIECES_MAX) {
        atomic_fetch_sub_explicit(pieces, 1, memory_order_relaxed);
        done(arg, MF_BUSY, "others read snapshots here: try again", mf_bytes_of(NULL, 0));
        return NULL;
    }
    struct piece *piece = mf_calloc(1, sizeof(*piece));
    piece->job.home = reactor;
    piece->done = done;
    piece->arg = arg;
    snprintf(piece->name, sizeof(piece->name), "%.*s", (int)name.len, (const char *)name.data);
    snprintf(piece->path, sizeof(piece->path), "%s/%s", reactor->node->config.snapshot_dir,
             piece->name);
    return piece;
}

void mf_snapshot_files_read(struct mf_reactor *reactor, struct mf_bytes name, uint64_t offset,
                            mf_admin_done *done, void *arg)
{
    if (offset > INT64_MAX - MF_SNAPSHOT_PIECE_BYTES) {
        done(arg, MF_BAD_REQUEST, "snapshot_read: the offset is larger than any file",
             mf_bytes_of(NULL, 0));
        return;
    }
    struct piece *piece = piece_of(reactor, name, done, arg);
    if (piece == NULL)
        return;
    piece->offset = offset;
    piece->job.task.run = tell_read;
    piece->job.work = work_read;
    mf_worker_give(reactor->node->worker, &piece->job);
}

void mf_snapshot_files_remove(struct mf_reactor *reactor, struct mf_bytes name, mf_admin_done *done,
                              void *arg)
{
    struct piece *piece = piece_of(reactor, name, done, arg);
    if (piece == NULL)
        return;
    piece->job.task.run = tell_removed;
    piece->job.work = work_remove;
    mf_worker_give(reactor->node->worker, &piece->job);
}
