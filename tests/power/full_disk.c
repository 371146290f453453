// A disk that is full, or fails to write, for a real process, while a test wants it: preloaded,
// these functions do what libc's do, unless there is a file at MF_DISK_TROUBLE. Then, below
// MF_DISK_FOLDER, what makes a file longer writes up to its end and no further and fails with
// ENOSPC; where the file says EIO, every write fails with that; where it says HANG and a word,
// writes to files with that word in their path wait until it does not, but for the first one of
// each; where it says ROOM and a number, the disk has so many bytes for all files together, and
// statvfs says what is left.
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#define HANG "HANG "
#define ROOM "ROOM "
#define LOOK_US 1000
#define BLOCK_BYTES 4096u

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

static _Thread_local uint64_t used;

static int count_file(const char *path, const struct stat *about, int kind, struct FTW *place)
{
    (void)path;
    (void)place;
    if (kind == FTW_F)
        used += (uint64_t)about->st_size;
    return 0;
}

// How many bytes the disk has; false: as many as it really has. What is free of them is in *left.
static bool room(uint64_t *bytes, uint64_t *left)
{
    char text[64];
    const char *folder = getenv("MF_DISK_FOLDER");
    if (folder == NULL || !read_trouble(text, sizeof(text)) ||
        strncmp(text, ROOM, strlen(ROOM)) != 0)
        return false;
    *bytes = strtoull(text + strlen(ROOM), NULL, 10);
    used = 0;
    nftw(folder, count_file, 8, FTW_PHYS);
    *left = used < *bytes ? *bytes - used : 0;
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
    uint64_t bytes;
    uint64_t left;
    if (room(&bytes, &left) && (uint64_t)(offset + (off_t)len - about.st_size) <= left)
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

int statvfs(const char *path, struct statvfs *about)
{
    struct statfs real;
    if (syscall(SYS_statfs, path, &real) != 0)
        return -1;
    uint64_t block_bytes = (uint64_t)(real.f_frsize > 0 ? real.f_frsize : real.f_bsize);
    *about = (struct statvfs){.f_bsize = (unsigned long)real.f_bsize,
                              .f_frsize = block_bytes,
                              .f_blocks = real.f_blocks,
                              .f_bfree = real.f_bfree,
                              .f_bavail = real.f_bavail};
    const char *folder = getenv("MF_DISK_FOLDER");
    uint64_t bytes;
    uint64_t left;
    if (folder == NULL || strncmp(path, folder, strlen(folder)) != 0 || !room(&bytes, &left))
        return 0;
    about->f_frsize = BLOCK_BYTES;
    about->f_blocks = bytes / BLOCK_BYTES;
    about->f_bfree = about->f_bavail = left / BLOCK_BYTES;
    return 0;
}

#pragma GCC visibility pop
