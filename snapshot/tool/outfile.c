// Standard output, or a file with a name only when it is whole; see outfile.h.
#include "snapshot/tool/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot/tool/interrupt.h"

static bool fail(struct outfile *out, const char *what, const char *path)
{
    const char *text = strerrordesc_np(errno);
    if (!out->failed)
        snprintf(out->why, sizeof(out->why), "%s %s: %s", what, path,
                 text != NULL ? text : "unknown error");
    out->failed = true;
    return false;
}

static const char *name_of(const struct outfile *out)
{
    return out->temporary != NULL ? out->temporary
           : out->path != NULL    ? out->path
                                  : "standard output";
}

bool outfile_open(struct outfile *out, const char *path)
{
    *out = (struct outfile){.fd = STDOUT_FILENO};
    if (path == NULL || strcmp(path, "-") == 0)
        return true;
    out->path = mf_strdup(path);
    struct stat about;
    int flags = O_WRONLY | O_CLOEXEC;
    if (stat(path, &about) != 0 || S_ISREG(about.st_mode)) {
        size_t size = strlen(path) + 32;
        out->temporary = mf_alloc(size);
        snprintf(out->temporary, size, "%s.tmp-%ld", path, (long)getpid());
        (void)unlink(out->temporary);
        flags |= O_CREAT | O_EXCL;
        interrupt_guard(out->temporary);
    }
    out->fd = open(name_of(out), flags, 0600);
    if (out->fd >= 0)
        return true;
    fail(out, "creating", name_of(out));
    free(out->temporary);
    out->temporary = NULL;
    interrupt_release();
    return false;
}

bool outfile_write(struct outfile *out, struct mf_bytes bytes)
{
    while (bytes.len > 0 && !out->failed) {
        ssize_t written = write(out->fd, bytes.data, bytes.len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written == 0)
            errno = ENOSPC;
        if (written <= 0)
            return fail(out, "writing", name_of(out));
        bytes = mf_bytes_of(bytes.data + written, bytes.len - (size_t)written);
    }
    return !out->failed;
}

bool outfile_sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = mf_strdup(slash != NULL ? path : ".");
    if (slash != NULL)
        folder[slash == path ? 1 : slash - path] = '\0';
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    free(folder);
    return synced;
}

bool outfile_commit(struct outfile *out)
{
    if (out->temporary != NULL && !out->failed) {
        int fd = out->fd;
        if (fsync(fd) != 0)
            fail(out, "syncing", out->temporary);
        out->fd = -1;
        if (close(fd) != 0)
            fail(out, "closing", out->temporary);
        if (!out->failed && rename(out->temporary, out->path) != 0)
            fail(out, "renaming to", out->path);
        if (!out->failed) {
            free(out->temporary);
            out->temporary = NULL;
            if (!outfile_sync_folder_of(out->path))
                fail(out, "syncing the folder of", out->path);
        }
    }
    bool whole = !out->failed;
    outfile_abort(out);
    return whole;
}

void outfile_abort(struct outfile *out)
{
    if (out->path != NULL && out->fd >= 0)
        close(out->fd);
    if (out->temporary != NULL)
        (void)unlink(out->temporary);
    interrupt_release();
    free(out->temporary);
    free(out->path);
    out->temporary = NULL;
    out->path = NULL;
    out->fd = -1;
}
