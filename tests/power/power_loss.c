// What a loss of power would undo, kept aside for a real process: preloaded, these functions do
// what libc's do, and note before each change of a file below MF_POWER_FOLDER how it was. A sync
// takes a while, and then drops the notes of what it makes durable. The process is killed, and
// tests/e2e/mayfly_test/power.py takes back from the files what the notes say, or parts of it.
//
// Notes are in the folder MF_POWER_ASIDE:
//   INODE.data  for each write to that file since its last sync: u64 offset, u64 length, u64 size
//               of the file before, all of this machine's order, then the bytes that were there
//   names       a line for each change of a name since the last sync of its folder, fields parted
//               by tabs: create PATH, mkdir PATH, unlink PATH HELD, rename FROM TO HELD
//   held-N      a link to a file that lost its name, HELD; "-" where no file did
//
// A note is written before its change is made, so wherever the process is killed, what is noted is
// enough. A last note that is not whole is of a change that was not made.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FDS_MAX 65536
#define PATH_BYTES 4096
#define SYNC_US 4000 // as long as a slow disk takes: something is always on its way

// Under the lock, which is also held over each change and its note.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct open_file {
    enum { NOT_OURS, A_FILE, A_FOLDER } kind;
    int reading; // a file: a second descriptor, because the first may be for writing only
    uint64_t inode;
    char *path; // a folder's
} files[FDS_MAX];
static unsigned held_count;

static const char *folder(void)
{
    static const char *path;
    if (path == NULL)
        path = getenv("MF_POWER_FOLDER") != NULL ? getenv("MF_POWER_FOLDER") : "";
    return path;
}

// The folder itself counts as durable, what is in it does not.
static bool ours(const char *path)
{
    size_t len = strlen(folder());
    return len > 0 && strncmp(path, folder(), len) == 0 && path[len] == '/';
}

static void give_up(const char *what)
{
    fprintf(stderr, "power_loss: cannot note %s: %s\n", what, strerror(errno));
    abort();
}

static void aside(const char *name, char path[PATH_BYTES])
{
    snprintf(path, PATH_BYTES, "%s/%s", getenv("MF_POWER_ASIDE"), name);
}

static void data_path(uint64_t inode, char path[PATH_BYTES])
{
    char name[64];
    snprintf(name, sizeof(name), "%" PRIu64 ".data", inode);
    aside(name, path);
}

static int raw_open(const char *path, int flags, mode_t mode)
{
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, mode);
}

static void append_note(const char *path, const void *note, size_t len)
{
    int fd = raw_open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd < 0 || syscall(SYS_write, fd, note, len) != (long)len)
        give_up(path);
    syscall(SYS_close, fd);
}

// How the range is that is to be written, and how long the file is.
static void note_data(uint64_t inode, int reading, uint64_t offset, uint64_t len)
{
    struct stat status;
    if (fstat(reading, &status) != 0)
        give_up("a length");
    uint64_t size = (uint64_t)status.st_size;
    uint64_t there = offset >= size ? 0 : size - offset < len ? size - offset : len;
    uint64_t head[3] = {offset, len, size};
    uint8_t *note = malloc(sizeof(head) + there);
    if (note == NULL)
        give_up("without memory");
    memcpy(note, head, sizeof(head));
    for (uint64_t at = 0; at < there;) {
        long got = syscall(SYS_pread64, reading, note + sizeof(head) + at, there - at, offset + at);
        if (got <= 0)
            give_up("what is there");
        at += (uint64_t)got;
    }
    char path[PATH_BYTES];
    data_path(inode, path);
    append_note(path, note, sizeof(head) + there);
    free(note);
}

static void forget_data(uint64_t inode)
{
    char path[PATH_BYTES];
    data_path(inode, path);
    syscall(SYS_unlink, path);
}

static void note_name(const char *what, const char *from, const char *to, const char *held)
{
    char line[3 * PATH_BYTES];
    char path[PATH_BYTES];
    int len = snprintf(line, sizeof(line), "%s\t%s%s%s%s%s\n", what, from, to != NULL ? "\t" : "",
                       to != NULL ? to : "", held != NULL ? "\t" : "", held != NULL ? held : "");
    aside("names", path);
    append_note(path, line, (size_t)len);
}

// Keeps what has this name; *held is where, or "-".
static void hold(const char *path, char held[PATH_BYTES])
{
    char name[64];
    snprintf(name, sizeof(name), "held-%ld-%u", (long)getpid(), held_count++);
    aside(name, held);
    if (syscall(SYS_link, path, held) == 0)
        return;
    if (errno != ENOENT)
        give_up(path);
    snprintf(held, PATH_BYTES, "-");
}

static void release(const char *held)
{
    struct stat status;
    if (stat(held, &status) != 0)
        return;
    if (status.st_nlink == 1)
        forget_data(status.st_ino);
    syscall(SYS_unlink, held);
}

// True when the line is of a name in this folder.
static bool is_in(const char *line, const char *in)
{
    const char *path = strchr(line, '\t') + 1;
    const char *end = path + strcspn(path, "\t\n");
    while (*--end != '/')
        continue;
    return (size_t)(end - path) == strlen(in) && strncmp(path, in, strlen(in)) == 0;
}

// Releases what the lines of names in this folder held.
static void release_all(FILE *lines, const char *in)
{
    char line[3 * PATH_BYTES];
    while (fgets(line, sizeof(line), lines) != NULL) {
        char *held = strrchr(line, '\t') + 1;
        held[strcspn(held, "\n")] = '\0';
        if (is_in(line, in) && (line[0] == 'u' || line[0] == 'r'))
            release(held);
    }
}

// The folder was synced: its lines go, and only then what they held, since the process may be
// killed in between.
static void forget_names(const char *in)
{
    char from[PATH_BYTES];
    char to[PATH_BYTES];
    char line[3 * PATH_BYTES];
    aside("names", from);
    aside("names.new", to);
    FILE *old = fopen(from, "re");
    if (old == NULL)
        return;
    FILE *new = fopen(to, "we");
    if (new == NULL)
        give_up(to);
    while (fgets(line, sizeof(line), old) != NULL) {
        if (!is_in(line, in))
            fputs(line, new);
    }
    if (fclose(new) != 0 || syscall(SYS_rename, to, from) != 0)
        give_up(from);
    rewind(old);
    release_all(old, in);
    fclose(old);
}

static void track(int fd, const char *path, bool is_folder, bool created)
{
    struct stat status;
    if (fd < 0 || fd >= FDS_MAX || fstat(fd, &status) != 0)
        give_up(path);
    struct open_file *file = &files[fd];
    *file = (struct open_file){.kind = is_folder ? A_FOLDER : A_FILE, .inode = status.st_ino};
    if (is_folder) {
        file->path = strdup(path);
        return;
    }
    if (created)
        forget_data(file->inode); // of a file that had the number before
    file->reading = raw_open(path, O_RDONLY, 0);
    if (file->reading < 0)
        give_up(path);
}

static int open_ours(const char *path, int flags, mode_t mode)
{
    struct stat status;
    bool there = stat(path, &status) == 0;
    if (!there && (flags & O_CREAT) != 0)
        note_name("create", path, NULL, NULL);
    if (there && S_ISREG(status.st_mode) && (flags & O_TRUNC) != 0) {
        int reading = raw_open(path, O_RDONLY, 0);
        if (reading < 0)
            give_up(path);
        note_data(status.st_ino, reading, 0, (uint64_t)status.st_size);
        syscall(SYS_close, reading);
    }
    int fd = raw_open(path, flags, mode);
    if (fd >= 0)
        track(fd, path, there && S_ISDIR(status.st_mode), !there);
    return fd;
}

// What follows takes the place of libc's.
#pragma GCC visibility push(default)

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (!ours(path) && strcmp(path, folder()) != 0)
        return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    pthread_mutex_lock(&lock);
    int fd = open_ours(path, flags, mode);
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

int close(int fd)
{
    pthread_mutex_lock(&lock);
    if (fd >= 0 && fd < FDS_MAX && files[fd].kind != NOT_OURS) {
        if (files[fd].kind == A_FILE)
            syscall(SYS_close, files[fd].reading);
        free(files[fd].path);
        files[fd] = (struct open_file){0};
    }
    int result = (int)syscall(SYS_close, fd);
    pthread_mutex_unlock(&lock);
    return result;
}

static ssize_t write_ours(int fd, const void *data, size_t len, off_t offset)
{
    note_data(files[fd].inode, files[fd].reading, (uint64_t)offset, len);
    return syscall(SYS_pwrite64, fd, data, len, offset);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
    pthread_mutex_lock(&lock);
    bool is = fd >= 0 && fd < FDS_MAX && files[fd].kind == A_FILE;
    ssize_t result =
        is ? write_ours(fd, data, len, offset) : syscall(SYS_pwrite64, fd, data, len, offset);
    pthread_mutex_unlock(&lock);
    return result;
}

ssize_t write(int fd, const void *data, size_t len)
{
    // Sockets and pipes do not wait for files.
    if (fd < 0 || fd >= FDS_MAX || files[fd].kind != A_FILE)
        return syscall(SYS_write, fd, data, len);
    pthread_mutex_lock(&lock);
    ssize_t result = write_ours(fd, data, len, lseek(fd, 0, SEEK_CUR));
    if (result > 0)
        lseek(fd, result, SEEK_CUR);
    pthread_mutex_unlock(&lock);
    return result;
}

// What is written while a sync is under way may or may not be part of it. Nobody here does that.
static void sync_data(uint64_t inode)
{
    char path[PATH_BYTES];
    struct stat before = {0};
    struct stat after = {0};
    data_path(inode, path);
    int there = stat(path, &before);
    pthread_mutex_unlock(&lock);
    usleep(SYNC_US);
    pthread_mutex_lock(&lock);
    if (stat(path, &after) == 0 && (there != 0 || after.st_size != before.st_size)) {
        errno = EBUSY;
        give_up("a file that is written while it is synced");
    }
    forget_data(inode);
}

int fsync(int fd)
{
    pthread_mutex_lock(&lock);
    if (fd >= 0 && fd < FDS_MAX && files[fd].kind == A_FILE)
        sync_data(files[fd].inode);
    else if (fd >= 0 && fd < FDS_MAX && files[fd].kind == A_FOLDER)
        forget_names(files[fd].path);
    pthread_mutex_unlock(&lock);
    return 0;
}

int fdatasync(int fd)
{
    return fsync(fd);
}

int rename(const char *from, const char *to)
{
    if (!ours(from))
        return (int)syscall(SYS_rename, from, to);
    char held[PATH_BYTES];
    pthread_mutex_lock(&lock);
    hold(to, held);
    note_name("rename", from, to, held);
    int result = (int)syscall(SYS_rename, from, to);
    pthread_mutex_unlock(&lock);
    return result;
}

int unlink(const char *path)
{
    if (!ours(path) || access(path, F_OK) != 0)
        return (int)syscall(SYS_unlink, path);
    char held[PATH_BYTES];
    pthread_mutex_lock(&lock);
    hold(path, held);
    note_name("unlink", path, held, NULL);
    int result = (int)syscall(SYS_unlink, path);
    pthread_mutex_unlock(&lock);
    return result;
}

int mkdir(const char *path, mode_t mode)
{
    if (!ours(path) || access(path, F_OK) == 0)
        return (int)syscall(SYS_mkdir, path, mode);
    pthread_mutex_lock(&lock);
    note_name("mkdir", path, NULL, NULL);
    int result = (int)syscall(SYS_mkdir, path, mode);
    pthread_mutex_unlock(&lock);
    return result;
}
