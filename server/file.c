// Replacing small files; see file.h.
#include "server/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum mf_err fail(char *message, size_t size, const char *what, const char *path, int error)
{
    snprintf(message, size, "cannot %s %s: %s", what, path, strerror(error));
    return MF_IO;
}

// 0, or what errno told.
static int write_all(int fd, struct mf_bytes content)
{
    while (content.len > 0) {
        ssize_t put = write(fd, content.data, content.len);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return put < 0 ? errno : ENOSPC;
        content = mf_bytes_of(content.data + put, content.len - (size_t)put);
    }
    return 0;
}

static int write_aside(const char *aside, struct mf_bytes content)
{
    int fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0)
        return errno;
    int error = write_all(fd, content);
    if (error == 0 && fsync(fd) != 0)
        error = errno;
    if (close(fd) != 0 && error == 0)
        error = errno;
    return error;
}

enum mf_err mf_file_sync_folder(const char *folder, char *message, size_t message_size)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(message, message_size, "open", folder, errno);
    int error = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    return error == 0 ? MF_OK : fail(message, message_size, "sync", folder, error);
}

enum mf_err mf_file_replace(const char *path, const char *aside, struct mf_bytes content,
                            char *message, size_t message_size)
{
    int error = write_aside(aside, content);
    if (error == 0 && rename(aside, path) != 0)
        error = errno;
    if (error != 0)
        return fail(message, message_size, "write", path, error);
    char *copy = mf_strdup(path);
    enum mf_err err = mf_file_sync_folder(dirname(copy), message, message_size);
    free(copy);
    return err;
}
