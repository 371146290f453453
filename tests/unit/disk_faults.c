// Definitions of libc's file functions in the executable itself, which the linker prefers; each
// asks whether it is to fail and then does the real thing. See disk_faults.h.
#include "tests/unit/disk_faults.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#define FDS_MAX 1024

const char *const disk_call_names[DISK_CALLS] = {
    "open",   "create", "read", "write", "sync",  "sync of a folder", "close", "rename",
    "unlink", "mkdir",  "list", "stat",  "access"};

// Under its mutex.
static struct {
    pthread_mutex_t lock;
    char folder[512];
    enum disk_call call;
    enum disk_fault fault;
    unsigned at;
    int error;
    bool came;
    unsigned made[DISK_CALLS];
    enum { NOT_OURS, FILE_FD, FOLDER_FD } fds[FDS_MAX];
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER};

void disk_faults_begin(const char *folder, enum disk_call call, enum disk_fault fault, unsigned at,
                       int error)
{
    pthread_mutex_lock(&disk.lock);
    snprintf(disk.folder, sizeof(disk.folder), "%s", folder);
    disk.call = call;
    disk.fault = fault;
    disk.at = at;
    disk.error = error;
    disk.came = false;
    memset(disk.made, 0, sizeof(disk.made));
    pthread_mutex_unlock(&disk.lock);
}

bool disk_fault_came(void)
{
    pthread_mutex_lock(&disk.lock);
    bool came = disk.came;
    pthread_mutex_unlock(&disk.lock);
    return came;
}

unsigned disk_calls_made(enum disk_call call)
{
    pthread_mutex_lock(&disk.lock);
    unsigned made = disk.made[call];
    pthread_mutex_unlock(&disk.lock);
    return made;
}

unsigned disk_close_left(void)
{
    unsigned left = 0;
    pthread_mutex_lock(&disk.lock);
    for (int fd = 0; fd < FDS_MAX; fd++) {
        if (disk.fds[fd] == NOT_OURS)
            continue;
        disk.fds[fd] = NOT_OURS;
        syscall(SYS_close, fd);
        left++;
    }
    pthread_mutex_unlock(&disk.lock);
    return left;
}

// Counts the call. False, with errno, when it is to fail; *len is what it is to do of its work.
static bool goes_well(enum disk_call call, size_t *len)
{
    pthread_mutex_lock(&disk.lock);
    unsigned number = ++disk.made[call];
    bool hit = disk.at != 0 && call == disk.call &&
               (number == disk.at || (number > disk.at && disk.fault == DISK_STAYS));
    disk.came |= hit;
    bool fails = hit && disk.fault != DISK_SHORT;
    if (hit && !fails && len != NULL)
        *len = *len > 1 ? *len / 2 : *len;
    int error = disk.error;
    pthread_mutex_unlock(&disk.lock);
    if (fails)
        errno = error;
    return !fails;
}

static bool counts(const char *path)
{
    size_t len = strlen(disk.folder);
    return len > 0 && strncmp(path, disk.folder, len) == 0;
}

static int kind_of(int fd)
{
    if (fd < 0 || fd >= FDS_MAX)
        return NOT_OURS;
    pthread_mutex_lock(&disk.lock);
    int kind = (int)disk.fds[fd];
    pthread_mutex_unlock(&disk.lock);
    return kind;
}

static int note_fd(int fd, bool ours, bool folder)
{
    if (fd >= 0 && fd < FDS_MAX) {
        pthread_mutex_lock(&disk.lock);
        disk.fds[fd] = !ours ? NOT_OURS : folder ? FOLDER_FD : FILE_FD;
        pthread_mutex_unlock(&disk.lock);
    }
    return fd;
}

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (counts(path) && !goes_well((flags & O_CREAT) != 0 ? DISK_CREATE : DISK_OPEN, NULL))
        return -1;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    return note_fd(fd, counts(path), (flags & O_DIRECTORY) != 0);
}

ssize_t read(int fd, void *data, size_t len)
{
    if (kind_of(fd) != NOT_OURS && !goes_well(DISK_READ, &len))
        return -1;
    return syscall(SYS_read, fd, data, len);
}

ssize_t pread(int fd, void *data, size_t len, off_t offset)
{
    if (kind_of(fd) != NOT_OURS && !goes_well(DISK_READ, &len))
        return -1;
    return syscall(SYS_pread64, fd, data, len, offset);
}

ssize_t write(int fd, const void *data, size_t len)
{
    if (kind_of(fd) != NOT_OURS && !goes_well(DISK_WRITE, &len))
        return -1;
    return syscall(SYS_write, fd, data, len);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
    if (kind_of(fd) != NOT_OURS && !goes_well(DISK_WRITE, &len))
        return -1;
    return syscall(SYS_pwrite64, fd, data, len, offset);
}

static int sync_fd(int fd)
{
    return goes_well(kind_of(fd) == FOLDER_FD ? DISK_SYNC_FOLDER : DISK_SYNC, NULL) ? 0 : -1;
}

int fdatasync(int fd)
{
    return kind_of(fd) != NOT_OURS ? sync_fd(fd) : (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    return kind_of(fd) != NOT_OURS ? sync_fd(fd) : (int)syscall(SYS_fsync, fd);
}

// The descriptor is gone even when closing it fails.
int close(int fd)
{
    bool fails = kind_of(fd) != NOT_OURS && !goes_well(DISK_CLOSE, NULL);
    int error = errno;
    note_fd(fd, false, false);
    int result = (int)syscall(SYS_close, fd);
    if (!fails)
        return result;
    errno = error;
    return -1;
}

int rename(const char *from, const char *to)
{
    if (counts(to) && !goes_well(DISK_RENAME, NULL))
        return -1;
    return (int)syscall(SYS_rename, from, to);
}

int unlink(const char *path)
{
    if (counts(path) && !goes_well(DISK_UNLINK, NULL))
        return -1;
    return (int)syscall(SYS_unlink, path);
}

int mkdir(const char *path, mode_t mode)
{
    if (counts(path) && !goes_well(DISK_MKDIR, NULL))
        return -1;
    return (int)syscall(SYS_mkdir, path, mode);
}

int access(const char *path, int mode)
{
    if (counts(path) && !goes_well(DISK_ACCESS, NULL))
        return -1;
    return (int)syscall(SYS_access, path, mode);
}

int fstat(int fd, struct stat *status)
{
    if (kind_of(fd) != NOT_OURS && !goes_well(DISK_STAT, NULL))
        return -1;
    return (int)syscall(SYS_fstat, fd, status);
}

// The rest is libc's own, found behind these.
#define REAL(name) ((__typeof__(&name))(uintptr_t)dlsym(RTLD_NEXT, #name))

DIR *opendir(const char *path)
{
    return !counts(path) || goes_well(DISK_LIST, NULL) ? REAL(opendir)(path) : NULL;
}

struct dirent *readdir(DIR *dir)
{
    char link[64];
    char path[512];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", dirfd(dir));
    ssize_t len = readlink(link, path, sizeof(path) - 1);
    path[len > 0 ? len : 0] = '\0';
    return !counts(path) || goes_well(DISK_LIST, NULL) ? REAL(readdir)(dir) : NULL;
}

FILE *fopen(const char *path, const char *mode)
{
    if (counts(path) && !goes_well(DISK_OPEN, NULL))
        return NULL;
    FILE *file = REAL(fopen)(path, mode);
    if (file != NULL)
        note_fd(fileno(file), counts(path), false);
    return file;
}

// Reading fails as in libc: the stream's descriptor cannot be read, and ferror tells. A descriptor
// that is open for nothing does that.
size_t fread(void *data, size_t size, size_t count, FILE *file)
{
    if (kind_of(fileno(file)) != NOT_OURS && !goes_well(DISK_FREAD, NULL)) {
        int nothing = (int)syscall(SYS_openat, AT_FDCWD, "/dev/null", O_WRONLY | O_CLOEXEC, 0);
        syscall(SYS_dup3, nothing, fileno(file), O_CLOEXEC);
        syscall(SYS_close, nothing);
    }
    return REAL(fread)(data, size, count, file);
}

int fclose(FILE *file)
{
    note_fd(fileno(file), false, false);
    return REAL(fclose)(file);
}
