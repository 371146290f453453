// Whose an unfinished file is; see unfinished.h.
#include "snapshot/unfinished.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot/format.h"

static int lock_file(int fd, int how)
{
    int locked;
    do
        locked = flock(fd, how);
    while (locked != 0 && errno == EINTR);
    return locked;
}

enum mf_err mf_unfinished_hold(int fd, int *lock)
{
    struct stat about;
    *lock = -1;
    // Whoever has it looks whether it may be removed, which takes a moment.
    if (lock_file(fd, LOCK_EX) != 0)
        return MF_OK;
    if (fstat(fd, &about) != 0)
        return MF_IO;
    if (about.st_nlink == 0)
        return MF_AGAIN;
    *lock = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return MF_OK;
}

// For writing, because a network file system may want that for the lock.
static int open_there(const char *path)
{
    return open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
}

// What an open failed with that is no file of a writer.
static bool is_other(int error)
{
    return error == ELOOP || error == EISDIR || error == ENXIO;
}

enum mf_err mf_unfinished_look(const char *path)
{
    int fd = open_there(path);
    if (fd < 0)
        // Of somebody else's nothing is known, as before there were locks.
        return errno == ENOENT || errno == EACCES || is_other(errno) ? MF_OK : MF_IO;
    bool held = lock_file(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    close(fd);
    return held ? MF_BUSY : MF_OK;
}

int mf_unfinished_name(const char *name)
{
    static const char mark[] = ".tmp-";
    static const char digits[] = "0123456789";
    size_t len = strlen(name);
    size_t pid = len;
    while (pid > 0 && strchr(digits, name[pid - 1]) != NULL)
        pid--;
    size_t mark_len = strlen(mark);
    if (pid == len || pid <= mark_len || memcmp(name + pid - mark_len, mark, mark_len) != 0)
        return 0;
    return (int)(pid - mark_len);
}

static bool is_whole(int fd, uint64_t bytes)
{
    uint8_t end[MF_SNAPSHOT_TRAILER_BYTES];
    uint64_t footer_offset;
    uint64_t footer_bytes;
    if (bytes < sizeof(end) ||
        pread(fd, end, sizeof(end), (off_t)(bytes - sizeof(end))) != (ssize_t)sizeof(end))
        return false;
    return mf_snapshot_get_trailer(mf_bytes_of(end, sizeof(end)), bytes, &footer_offset,
                                   &footer_bytes) == NULL;
}

static enum mf_err check_content(int fd, bool begun)
{
    uint8_t begin[MF_SNAPSHOT_MAGIC_BYTES];
    struct stat about;
    if (fstat(fd, &about) != 0)
        return MF_IO;
    if (!S_ISREG(about.st_mode))
        return MF_BAD_REQUEST;
    ssize_t got = pread(fd, begin, sizeof(begin), 0);
    if (got < 0)
        return MF_IO;
    bool whole = got == (ssize_t)sizeof(begin);
    bool ours = (whole || begun) && mf_snapshot_begins(mf_bytes_of(begin, (size_t)got));
    return ours && !is_whole(fd, (uint64_t)about.st_size) ? MF_OK : MF_BAD_REQUEST;
}

// The path still leads to what is open, and locked: its writer may have given it its name.
static bool is_there(int fd, const char *path)
{
    struct stat opened;
    struct stat there;
    return fstat(fd, &opened) == 0 && lstat(path, &there) == 0 && opened.st_dev == there.st_dev &&
           opened.st_ino == there.st_ino;
}

enum mf_err mf_unfinished_remove(const char *path, bool begun)
{
    int fd = open_there(path);
    if (fd < 0)
        return errno == ENOENT ? MF_NOT_FOUND : is_other(errno) ? MF_BAD_REQUEST : MF_IO;
    enum mf_err err = check_content(fd, begun);
    if (err == MF_OK && lock_file(fd, LOCK_EX | LOCK_NB) != 0)
        err = errno == EWOULDBLOCK ? MF_BUSY : MF_IO;
    if (err == MF_OK)
        err = check_content(fd, begun); // which a writer has ended meanwhile
    if (err == MF_OK && !is_there(fd, path))
        err = MF_NOT_FOUND;
    if (err == MF_OK && unlink(path) != 0)
        err = errno == ENOENT ? MF_NOT_FOUND : MF_IO;
    int saved = errno;
    close(fd);
    errno = saved;
    return err;
}
