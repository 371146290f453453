// A disk that is full, or fails to write, for a real process, while a test wants it: preloaded,
// these functions do what libc's do, unless there is a file at MF_DISK_TROUBLE. Then, below
// MF_DISK_FOLDER, what makes a file longer writes up to its end and no further and fails with
// ENOSPC; where the file says EIO, every write fails with that; where it says HANG and a word,
// writes to files with that word in their path wait until it does not, but for the first one of
// each.
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

#define HANG "HANG "
#define LOOK_US 1000

// What the file says; false: there is none.
static bool read_trouble(char *text, size_t size)
{
    const char *path = getenv("MF_DISK_TROUBLE");
    int fd = path != NULL ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0) : -1;
    if (fd < 0)
        return false;
    ssize_t len = read(fd, text, size - 1);
    text[len > 0 ? len : 0] = '\0';
    close(fd);
    return true;
}

// 0: the disk is well.
static int trouble(void)
{
    char text[64];
    if (!read_trouble(text, sizeof(text)) || strncmp(text, HANG, strlen(HANG)) == 0)
        return 0;
    return strncmp(text, "EIO", 3) == 0 ? EIO : ENOSPC;
}

// `path` has room for PATH_MAX.
static bool ours(int fd, struct stat *about, char *path)
{
    const char *folder = getenv("MF_DISK_FOLDER");
    char link[64];
    if (folder == NULL || fstat(fd, about) != 0 || !S_ISREG(about->st_mode))
        return false;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, PATH_MAX - 1);
    path[len > 0 ? len : 0] = '\0';
    return len > (ssize_t)strlen(folder) && memcmp(path, folder, strlen(folder)) == 0;
}

static void wait_while_it_hangs(int fd)
{
    char text[64];
    char path[PATH_MAX];
    struct stat about;
    while (read_trouble(text, sizeof(text)) && strncmp(text, HANG, strlen(HANG)) == 0 &&
           ours(fd, &about, path) && about.st_size > 0 && strstr(path, text + strlen(HANG)) != NULL)
        usleep(LOOK_US);
}

// How much of the write may be done; -1, with errno, when nothing.
static ssize_t allowed(int fd, size_t len, off_t offset)
{
    wait_while_it_hangs(fd);
    int error = trouble();
    struct stat about;
    char path[PATH_MAX];
    if (error == 0 || !ours(fd, &about, path) || len == 0)
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
