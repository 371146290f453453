// Ranges and blocks of an open snapshot file; see source.h.
#include "snapshot/source.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum mf_err fail_errno(const char *path, char *message, size_t message_size)
{
    const char *text = strerrordesc_np(errno);
    return mf_snapshot_fail(MF_IO, message, message_size, "reading %s: %s", path,
                            text != NULL ? text : "unknown error");
}

enum mf_err mf_snapshot_open_source(const char *path, struct mf_snapshot_source *source,
                                    char *message, size_t message_size)
{
    // A pipe without a writer would block the open, and no other file but a regular one has an end.
    source->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (source->fd < 0)
        return fail_errno(path, message, message_size);
    struct stat about;
    enum mf_err err = MF_OK;
    if (fstat(source->fd, &about) != 0)
        err = fail_errno(path, message, message_size);
    else if (!S_ISREG(about.st_mode))
        err =
            mf_snapshot_fail(MF_IO, message, message_size, "reading %s: not a regular file", path);
    if (err != MF_OK) {
        close(source->fd);
        return err;
    }
    source->bytes = (uint64_t)about.st_size;
    source->path = mf_strdup(path);
    return MF_OK;
}

enum mf_err mf_snapshot_recognize(const char *path)
{
    uint8_t begin[MF_SNAPSHOT_MAGIC_BYTES];
    struct stat about;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? MF_NOT_FOUND : errno == ELOOP ? MF_BAD_REQUEST : MF_IO;
    enum mf_err err = fstat(fd, &about) == 0 ? MF_OK : MF_IO;
    if (err == MF_OK && !S_ISREG(about.st_mode))
        err = MF_BAD_REQUEST;
    ssize_t got = err == MF_OK ? pread(fd, begin, sizeof(begin), 0) : 0;
    if (err == MF_OK && got < 0)
        err = MF_IO;
    else if (err == MF_OK &&
             (got < (ssize_t)sizeof(begin) || !mf_snapshot_begins(mf_bytes_of(begin, (size_t)got))))
        err = MF_BAD_REQUEST;
    int saved = errno;
    close(fd);
    errno = saved;
    return err;
}

void mf_snapshot_close_source(struct mf_snapshot_source *source)
{
    close(source->fd);
    free(source->path);
}

enum mf_err mf_snapshot_fetch(const struct mf_snapshot_source *source, uint64_t offset, void *to,
                              size_t len, char *message, size_t message_size)
{
    size_t done = 0;
    while (done < len) {
        ssize_t got = pread(source->fd, (uint8_t *)to + done, len - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail_errno(source->path, message, message_size);
        if (got == 0)
            return mf_snapshot_fail(MF_CORRUPT, message, message_size,
                                    "%s: became shorter while it was read", source->path);
        done += (size_t)got;
    }
    return MF_OK;
}

void mf_snapshot_free_rooms(struct mf_snapshot_rooms *rooms)
{
    free(rooms->stored.data);
    free(rooms->raw.data);
}

enum mf_err mf_snapshot_fetch_block(const struct mf_snapshot_source *source,
                                    const struct mf_snapshot_block *block,
                                    struct mf_snapshot_rooms *rooms, struct mf_bytes *raw,
                                    char *message, size_t message_size)
{
    size_t size = (size_t)mf_snapshot_block_bytes(block);
    size_t unpacked = block->codec == MF_SNAPSHOT_LZ4 ? block->raw_bytes : 0;
    if (!mf_snapshot_make_room(&rooms->stored, size) ||
        !mf_snapshot_make_room(&rooms->raw, unpacked))
        return mf_snapshot_fail(MF_OUT_OF_MEMORY, message, message_size,
                                "%s: no memory for a block of %" PRIu32 " bytes", source->path,
                                block->raw_bytes);
    enum mf_err err =
        mf_snapshot_fetch(source, block->offset, rooms->stored.data, size, message, message_size);
    if (err != MF_OK)
        return err;
    struct mf_snapshot_block found;
    const char *fault = mf_snapshot_get_block(mf_bytes_of(rooms->stored.data, size), &found);
    if (fault == NULL && found.checksum != block->checksum)
        fault = "is not the one that the index has there";
    if (fault == NULL) {
        struct mf_bytes content =
            mf_bytes_of(rooms->stored.data + MF_SNAPSHOT_BLOCK_HEADER_BYTES, block->stored_bytes);
        fault = mf_snapshot_unpack(block, content, rooms->raw.data, raw);
    }
    if (fault == NULL)
        return MF_OK;
    return mf_snapshot_fail(MF_CORRUPT, message, message_size,
                            "%s: the block of shard %" PRIu32 " at offset %" PRIu64 " %s",
                            source->path, block->shard, block->offset, fault);
}
