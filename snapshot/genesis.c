// Puts a snapshot into a node's empty data folder; see genesis.h.
#include "snapshot/genesis.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "snapshot/format.h"

static char *join(const char *folder, const char *name)
{
    size_t size = strlen(folder) + strlen(name) + 2;
    char *path = mf_alloc(size);
    snprintf(path, size, "%s/%s", folder, name);
    return path;
}

static enum mf_err fail_errno(const char *what, const char *path, char *message,
                              size_t message_size)
{
    const char *text = strerrordesc_np(errno);
    return mf_snapshot_fail(MF_IO, message, message_size, "%s %s: %s", what, path,
                            text != NULL ? text : "unknown error");
}

static enum mf_err refuse_data(const char *path, char *message, size_t message_size)
{
    return mf_snapshot_fail(MF_BAD_REQUEST, message, message_size,
                            "%s exists: a snapshot is restored only into a folder without data, "
                            "unless --force-new-cluster says to put that aside",
                            path);
}

static enum mf_err refuse_file(const char *data_dir, const char *name, char *message,
                               size_t message_size)
{
    char *path = join(data_dir, name);
    struct stat about;
    enum mf_err err = MF_OK;
    if (lstat(path, &about) == 0)
        err = refuse_data(path, message, message_size);
    else if (errno != ENOENT)
        err = fail_errno("looking for", path, message, message_size);
    free(path);
    return err;
}

static enum mf_err refuse_folder_with_files(const char *data_dir, const char *name, char *message,
                                            size_t message_size)
{
    char *path = join(data_dir, name);
    enum mf_err err = MF_OK;
    DIR *folder = opendir(path);
    if (folder == NULL && errno != ENOENT)
        err = fail_errno("looking into", path, message, message_size);
    while (folder != NULL && err == MF_OK) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (entry == NULL && errno != 0)
            err = fail_errno("looking into", path, message, message_size);
        if (entry == NULL)
            break;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        char *file = join(path, entry->d_name);
        err = refuse_data(file, message, message_size);
        free(file);
    }
    if (folder != NULL)
        closedir(folder);
    free(path);
    return err;
}

static enum mf_err refuse_no_folder(const char *data_dir, char *message, size_t message_size)
{
    struct stat about;
    if (stat(data_dir, &about) != 0 || S_ISDIR(about.st_mode))
        return MF_OK; // one that is not there is made
    return mf_snapshot_fail(MF_BAD_REQUEST, message, message_size,
                            "%s is no folder: expected a data folder, or a place for one",
                            data_dir);
}

static enum mf_err refuse_old_data(const char *data_dir, char *message, size_t message_size)
{
    enum mf_err err = refuse_file(data_dir, MF_GENESIS_FILE, message, message_size);
    if (err == MF_OK)
        err = refuse_file(data_dir, "node.meta", message, message_size);
    if (err == MF_OK)
        err = refuse_file(data_dir, "roster", message, message_size);
    if (err == MF_OK)
        err = refuse_folder_with_files(data_dir, "checkpoints", message, message_size);
    if (err == MF_OK)
        err = refuse_folder_with_files(data_dir, "wal", message, message_size);
    return err;
}

static bool sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool synced = fsync(fd) == 0;
    close(fd);
    return synced;
}

// The entry of a new folder is durable once the folder that holds it is synced.
static bool sync_parent(const char *path)
{
    char *parent = join(path, "..");
    bool synced = sync_folder(parent);
    free(parent);
    return synced;
}

static enum mf_err make_folder(const char *path, char *message, size_t message_size)
{
    if (mkdir(path, 0700) == 0)
        return sync_parent(path) ? MF_OK
                                 : fail_errno("syncing the folder of", path, message, message_size);
    struct stat about;
    if (errno == EEXIST && stat(path, &about) == 0 && S_ISDIR(about.st_mode))
        return MF_OK;
    return fail_errno("creating", path, message, message_size);
}

static enum mf_err make_folders(const char *path, char *message, size_t message_size)
{
    char *prefix = mf_strdup(path);
    enum mf_err err = MF_OK;
    for (char *at = strchr(prefix, '/'); at != NULL && err == MF_OK; at = strchr(at + 1, '/')) {
        *at = '\0';
        if (at != prefix)
            err = make_folder(prefix, message, message_size);
        *at = '/';
    }
    if (err == MF_OK)
        err = make_folder(prefix, message, message_size);
    free(prefix);
    return err;
}

// Held until *fd is closed: no node runs on the folder meanwhile.
static enum mf_err lock_folder(const char *data_dir, int *fd, char *message, size_t message_size)
{
    char *path = join(data_dir, "lock");
    enum mf_err err = MF_OK;
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (*fd < 0)
        err = fail_errno("opening", path, message, message_size);
    else if (flock(*fd, LOCK_EX | LOCK_NB) != 0)
        err = mf_snapshot_fail(
            MF_BAD_REQUEST, message, message_size,
            "%s is in use by a running mayflyd, or another restore: let it end first", data_dir);
    free(path);
    return err;
}

static enum mf_err move_aside(const char *data_dir, const char *name, long long now_s,
                              char *message, size_t message_size)
{
    char *from = join(data_dir, name);
    size_t size = strlen(from) + 40;
    char *to = mf_alloc(size);
    snprintf(to, size, "%s.replaced-%lld", from, now_s);
    enum mf_err err = MF_OK;
    if (rename(from, to) != 0 && errno != ENOENT)
        err = fail_errno("moving aside", from, message, message_size);
    free(to);
    free(from);
    return err;
}

// The name stays until another file takes it.
static enum mf_err keep_old(const char *data_dir, const char *name, long long now_s, char *message,
                            size_t message_size)
{
    char *from = join(data_dir, name);
    size_t size = strlen(from) + 40;
    char *to = mf_alloc(size);
    snprintf(to, size, "%s.replaced-%lld", from, now_s);
    enum mf_err err = MF_OK;
    if (link(from, to) != 0 && errno != ENOENT && rename(from, to) != 0)
        err = fail_errno("keeping", from, message, message_size);
    free(to);
    free(from);
    return err;
}

// node.meta goes first, and the log last: a log without node.meta is taken by no node, should this
// end half-way.
static enum mf_err replace(const char *data_dir, const char *made, char *message,
                           size_t message_size)
{
    long long now_s = (long long)time(NULL);
    enum mf_err err = move_aside(data_dir, "node.meta", now_s, message, message_size);
    if (err == MF_OK)
        err = move_aside(data_dir, "roster", now_s, message, message_size);
    if (err == MF_OK)
        err = keep_old(data_dir, MF_GENESIS_FILE, now_s, message, message_size);
    char *path = join(data_dir, MF_GENESIS_FILE);
    if (err == MF_OK && (rename(made, path) != 0 || !sync_folder(data_dir)))
        err = fail_errno("putting into its place", path, message, message_size);
    free(path);
    if (err == MF_OK)
        err = move_aside(data_dir, "checkpoints", now_s, message, message_size);
    if (err == MF_OK)
        err = move_aside(data_dir, "wal", now_s, message, message_size);
    if (err == MF_OK && !sync_folder(data_dir))
        err = fail_errno("syncing", data_dir, message, message_size);
    return err;
}

// genesis.mfs.new, genesis.mfs.tmp-PID and genesis.mfs.new.tmp-PID
static bool is_unfinished(const char *name)
{
    static const char tmp[] = ".tmp-";
    if (strncmp(name, MF_GENESIS_FILE, strlen(MF_GENESIS_FILE)) != 0)
        return false;
    bool new = strncmp(name, MF_GENESIS_NEW, strlen(MF_GENESIS_NEW)) == 0;
    const char *rest = name + strlen(new ? MF_GENESIS_NEW : MF_GENESIS_FILE);
    if (*rest == '\0')
        return new;
    if (strncmp(rest, tmp, strlen(tmp)) != 0)
        return false;
    rest += strlen(tmp);
    return *rest != '\0' && strspn(rest, "0123456789") == strlen(rest);
}

enum mf_err mf_snapshot_tidy_genesis(const char *data_dir, char *message, size_t message_size)
{
    enum mf_err err = MF_OK;
    DIR *folder = opendir(data_dir);
    if (folder == NULL)
        return fail_errno("looking into", data_dir, message, message_size);
    while (err == MF_OK) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (entry == NULL && errno != 0)
            err = fail_errno("looking into", data_dir, message, message_size);
        if (entry == NULL)
            break;
        if (!is_unfinished(entry->d_name))
            continue;
        char *path = join(data_dir, entry->d_name);
        if (unlink(path) != 0)
            err = fail_errno("removing what is left unfinished,", path, message, message_size);
        free(path);
    }
    closedir(folder);
    return err;
}

static enum mf_err write_into(struct mf_snapshot_reader *source,
                              const struct mf_snapshot_plan *plan,
                              const struct mf_snapshot_genesis *genesis,
                              struct mf_snapshot_totals *totals, char *message, size_t message_size)
{
    const char *data_dir = genesis->data_dir;
    int lock = -1;
    enum mf_err err = make_folders(data_dir, message, message_size);
    if (err == MF_OK)
        err = lock_folder(data_dir, &lock, message, message_size);
    // Another restore, or a node, may have come to its end since the first look.
    if (err == MF_OK && !genesis->force)
        err = refuse_old_data(data_dir, message, message_size);
    if (err == MF_OK)
        err = mf_snapshot_tidy_genesis(data_dir, message, message_size);
    char *path = join(data_dir, genesis->force ? MF_GENESIS_NEW : MF_GENESIS_FILE);
    if (err == MF_OK)
        err = mf_snapshot_reshard(source, &genesis->reading, plan, path, genesis->cluster, totals,
                                  message, message_size);
    if (err == MF_OK && genesis->force)
        err = replace(data_dir, path, message, message_size);
    free(path);
    if (lock >= 0)
        close(lock);
    return err;
}

enum mf_err mf_snapshot_write_genesis(struct mf_snapshot_reader *source,
                                      const struct mf_snapshot_genesis *genesis,
                                      struct mf_snapshot_totals *totals, uint64_t *ids_left_out,
                                      char *message, size_t message_size)
{
    enum mf_err err = refuse_no_folder(genesis->data_dir, message, message_size);
    if (err == MF_OK && !genesis->force)
        err = refuse_old_data(genesis->data_dir, message, message_size);
    if (err != MF_OK)
        return err;
    struct mf_snapshot_plan plan;
    err = mf_snapshot_make_plan(source, &genesis->reading, genesis->shard_count, genesis->ttl,
                                &plan, message, message_size);
    if (err != MF_OK)
        return err;
    *ids_left_out = plan.ids_left_out;
    err = write_into(source, &plan, genesis, totals, message, message_size);
    mf_snapshot_free_plan(&plan);
    return err;
}
