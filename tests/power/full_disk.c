// A disk that is full, or fails to write, for a real process, while a test wants it: preloaded,
// these functions do what libc's do, unless there is a file at MF_DISK_TROUBLE. Then, below
// MF_DISK_FOLDER, what makes a file longer writes up to its end and no further and fails with
// ENOSPC; where the file says EIO, every write fails with that.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// 0: the disk is well.
static int trouble(void)
{
    const char *path = getenv("MF_DISK_TROUBLE");
    int fd = path != NULL ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0) : -1;
    if (fd < 0)
        return 0;
    char text[16] = "";
    ssize_t len = read(fd, text, sizeof(text) - 1);
    close(fd);
    return len > 0 && strncmp(text, "EIO", 3) == 0 ? EIO : ENOSPC;
}

static bool ours(int fd, struct stat *about)
{
    const char *folder = getenv("MF_DISK_FOLDER");
    char link[64];
    char path[PATH_MAX];
    if (folder == NULL || fstat(fd, about) != 0 || !S_ISREG(about->st_mode))
        return false;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof(path));
    return len > (ssize_t)strlen(folder) && memcmp(path, folder, strlen(folder)) == 0;
}

// How much of the write may be done; -1, with errno, when nothing.
static ssize_t allowed(int fd, size_t len, off_t offset)
{
    int error = trouble();
    struct stat about;
    if (error == 0 || !ours(fd, &about) || len == 0)
        return (ssize_t)len;
    if (error == ENOSPC && offset + (off_t)len <= about.st_size)
        return (ssize_t)len;
    if (error == ENOSPC && offset < about.st_size)
        return about.st_size - offset;
    errno = error;
    return -1;
}

#pragma GCC visibility push(default)

ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
    ssize_t most = allowed(fd, len, offset);
    return most < 0 ? -1 : syscall(SYS_pwrite64, fd, data, (size_t)most, offset);
}

ssize_t write(int fd, const void *data, size_t len)
{
    off_t offset = lseek(fd, 0, SEEK_CUR);
    ssize_t most = offset < 0 ? (ssize_t)len : allowed(fd, len, offset);
    return most < 0 ? -1 : syscall(SYS_write, fd, data, (size_t)most);
}

#pragma GCC visibility pop
