// The files of checkpoints: names, loading, taking one over; see checkpoint.h.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/rand.h"
#include "server/checkpoint.h"
#include "snapshot/reader.h"

static void folder_of(const struct mf_node *node, char *path, size_t size)
{
    snprintf(path, size, "%s/checkpoints", node->config.data_dir);
}

void mf_checkpoint_path(const struct mf_node *node, uint32_t shard, char *path, size_t size)
{
    snprintf(path, size, "%s/checkpoints/%05u.mfs", node->config.data_dir, shard);
}

static enum mf_err fail(char *message, size_t size, const char *what, const char *path)
{
    snprintf(message, size, "cannot %s %s: %s", what, path, strerror(errno));
    return MF_IO;
}

// Syncs a file, or the names in a folder.
static enum mf_err sync_path(const char *path, int flags, char *message, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    if (fd < 0)
        return fail(message, size, "open", path);
    enum mf_err err = fsync(fd) == 0 ? MF_OK : fail(message, size, "sync", path);
    close(fd);
    return err;
}

static enum mf_err remove_leftovers(const struct mf_node *node, const char *folder, char *message,
                                    size_t size)
{
    DIR *dir = opendir(folder);
    if (dir == NULL)
        return fail(message, size, "open", folder);
    bool all = node->config.durability == MF_DURABILITY_NONE;
    enum mf_err err = MF_OK;
    while (err == MF_OK) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL && errno != 0)
            err = fail(message, size, "list", folder);
        if (entry == NULL)
            break;
        bool ours = strstr(entry->d_name, ".mfs") != NULL;
        if (!ours || (!all && strstr(entry->d_name, ".tmp") == NULL))
            continue;
        char path[MF_CHECKPOINT_PATH_BYTES + 256];
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (unlink(path) != 0)
            err = fail(message, size, "remove", path);
    }
    closedir(dir);
    return err;
}

// A checkpoint is believed from here on, and what it covers goes from the log: its name must not be
// lost after that, also when it was given by a process that died before it could sync the folder.
enum mf_err mf_checkpoint_prepare(const struct mf_node *node, char *message, size_t size)
{
    char folder[MF_CHECKPOINT_PATH_BYTES];
    folder_of(node, folder, sizeof(folder));
    if (mkdir(folder, 0750) != 0 && errno != EEXIST)
        return fail(message, size, "create", folder);
    enum mf_err err = remove_leftovers(node, folder, message, size);
    if (err != MF_OK || node->config.durability == MF_DURABILITY_NONE)
        return err;
    err = sync_path(folder, O_DIRECTORY, message, size);
    return err != MF_OK ? err : sync_path(node->config.data_dir, O_DIRECTORY, message, size);
}

static void describe(struct mf_snapshot_reader *reader, struct mf_checkpoint_info *info)
{
    struct mf_snapshot_summary summary;
    mf_snapshot_summary(reader, &summary);
    const struct mf_snapshot_shard *section = mf_snapshot_section(reader, 0);
    *info = (struct mf_checkpoint_info){.slot = section->meta.applied,
                                        .log_time_us = section->meta.log_time_us,
                                        .wall_us = section->wall_us,
                                        .bytes = summary.file_bytes,
                                        .identity = summary.identity};
}

// What a section carries beside the shard's records.
struct carried {
    struct mf_members members;
    uint64_t roster_version; // 0 = no roster
    struct mf_bytes roster;  // the reader's
};

// The configuration: the slot of the entry that made it, a round, see struct mf_members, and the
// entry's bytes. Behind it, in the checkpoint of shard 0, the cluster's roster and its version.
static enum mf_err read_carried(const struct mf_snapshot_reader *reader, struct carried *carried)
{
    struct mf_bytes bytes = mf_snapshot_section(reader, 0)->members;
    *carried = (struct carried){0};
    if (bytes.len == 0)
        return MF_OK;
    struct mf_reader r = mf_reader_of(bytes);
    uint64_t slot = mf_read_u64(&r);
    uint64_t round = mf_read_u64(&r);
    size_t size = mf_members_size(mf_bytes_of(r.at, mf_reader_left(&r)));
    struct mf_bytes entry = mf_read_bytes(&r, size);
    if (r.failed || mf_members_decode(entry, slot, &carried->members) != MF_OK)
        return MF_CORRUPT;
    carried->members.round = round;
    if (mf_reader_left(&r) == 0)
        return MF_OK;
    carried->roster_version = mf_read_u64(&r);
    carried->roster = mf_read_bytes(&r, mf_reader_left(&r));
    return r.failed || carried->roster_version < 2 || carried->roster.len == 0 ? MF_CORRUPT : MF_OK;
}

// Opens a file that must be a checkpoint of this shard.
static enum mf_err open_checkpoint(const struct mf_node *node, uint32_t shard, const char *path,
                                   struct mf_snapshot_reader **out, struct carried *carried,
                                   char *message, size_t size)
{
    enum mf_err err = mf_snapshot_open(path, out, message, size);
    if (err != MF_OK)
        return err;
    struct mf_snapshot_summary summary;
    mf_snapshot_summary(*out, &summary);
    const char *fault = NULL;
    if (summary.shard_count != node->config.shards ||
        strcmp(summary.cluster, node->config.name) != 0)
        fault = "is of another cluster";
    else if (summary.shards != 1 || mf_snapshot_section(*out, 0)->shard != shard)
        fault = "does not hold that shard, and only that";
    else if (read_carried(*out, carried) != MF_OK)
        fault = "has a configuration that cannot be read";
    if (fault == NULL)
        return MF_OK;
    snprintf(message, size, "the checkpoint %s of shard %u %s", path, shard, fault);
    mf_snapshot_close(*out);
    *out = NULL;
    return MF_CORRUPT;
}

enum mf_err mf_checkpoint_load_file(const struct mf_node *node, uint32_t shard, const char *path,
                                    struct mf_shard **state, struct mf_members *members,
                                    struct mf_checkpoint_info *info, char *message, size_t size)
{
    *state = NULL;
    *members = (struct mf_members){0};
    struct mf_snapshot_reader *reader = NULL;
    struct carried carried;
    enum mf_err err = open_checkpoint(node, shard, path, &reader, &carried, message, size);
    if (err != MF_OK)
        return err;
    *members = carried.members;
    uint64_t hash_seed;
    mf_entropy(&hash_seed, sizeof(hash_seed));
    *state = mf_shard_new(shard, hash_seed);
    err = mf_snapshot_load(reader, 0, *state, message, size);
    if (carried.roster_version != 0)
        mf_shard_load_roster(*state, carried.roster_version, carried.roster);
    describe(reader, info);
    mf_snapshot_close(reader);
    if (err != MF_OK) {
        mf_shard_free(*state);
        *state = NULL;
    }
    return err;
}

enum mf_err mf_checkpoint_load(const struct mf_node *node, uint32_t shard, struct mf_shard **state,
                               struct mf_members *members, struct mf_checkpoint_info *info,
                               char *message, size_t size)
{
    char path[MF_CHECKPOINT_PATH_BYTES];
    mf_checkpoint_path(node, shard, path, sizeof(path));
    *state = NULL;
    *members = (struct mf_members){0};
    if (access(path, F_OK) != 0 && errno == ENOENT)
        return MF_OK;
    return mf_checkpoint_load_file(node, shard, path, state, members, info, message, size);
}

static enum mf_err take_place(struct mf_node *node, const char *received, const char *path,
                              char *message, size_t size)
{
    bool durable = node->config.durability != MF_DURABILITY_NONE;
    enum mf_err err = durable ? sync_path(received, 0, message, size) : MF_OK;
    if (err == MF_OK && rename(received, path) != 0)
        err = fail(message, size, "rename the received checkpoint to", path);
    char folder[MF_CHECKPOINT_PATH_BYTES];
    folder_of(node, folder, sizeof(folder));
    return err == MF_OK && durable ? sync_path(folder, O_DIRECTORY, message, size) : err;
}

enum mf_err mf_checkpoint_adopt(struct mf_node *node, uint32_t shard, const char *received,
                                struct mf_checkpoint_info *info, char *message, size_t size)
{
    struct mf_snapshot_reader *reader = NULL;
    struct carried carried;
    enum mf_err err = open_checkpoint(node, shard, received, &reader, &carried, message, size);
    if (err != MF_OK)
        return err;
    describe(reader, info);
    err = mf_snapshot_verify(reader, message, size);
    mf_snapshot_close(reader);
    if (err != MF_OK)
        return err;
    char path[MF_CHECKPOINT_PATH_BYTES];
    mf_checkpoint_path(node, shard, path, sizeof(path));
    mf_checkpoint_files_lock(node);
    struct mf_checkpoint_info ours;
    if (mf_checkpoint_info(node, shard, &ours) && ours.slot >= info->slot) {
        snprintf(message, size, "our checkpoint of shard %u is as new as the one received", shard);
        err = MF_AGAIN;
    }
    if (err == MF_OK)
        err = take_place(node, received, path, message, size);
    if (err == MF_OK)
        mf_checkpoint_set_info(node, shard, info);
    mf_checkpoint_files_unlock(node);
    return err;
}
