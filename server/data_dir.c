// Locking and identifying the data folder; see data_dir.h.
#include "server/data_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"
#include "server/file.h"
#include "server/membership.h"
#include "server/node_meta.h"
#include "snapshot/genesis.h"
#include "snapshot/reader.h"

#define PATH_BYTES 4400
#define META_BYTES 4096
#define BOOT_ID "/proc/sys/kernel/random/boot_id"

static void fail(char *message, size_t size, const char *what, const char *path)
{
    snprintf(message, size, "%s %s: %s", what, path, strerror(errno));
}

static enum mf_err create_folder(const char *path, char *message, size_t size)
{
    if (mkdir(path, 0750) != 0 && errno != EEXIST) {
        fail(message, size, "cannot create the data folder", path);
        return MF_IO;
    }
    char *copy = mf_strdup(path);
    enum mf_err err = mf_file_sync_folder(dirname(copy), message, size);
    free(copy);
    return err;
}

static enum mf_err lock_folder(const char *folder, char *message, size_t size)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/lock", folder);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0) {
        fail(message, size, "cannot open", path);
        return MF_IO;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return MF_OK; // kept open, and so locked, until the process ends
    if (errno == EWOULDBLOCK)
        snprintf(message, size,
                 "the data folder %s is in use by another mayflyd; give this node its own "
                 "node.data_dir",
                 folder);
    else
        fail(message, size, "cannot lock", path);
    close(fd);
    return MF_IO;
}

static enum mf_err read_genesis(struct mf_node *node, char *message, size_t size)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/genesis.mfs", node->config.data_dir);
    if (access(path, F_OK) != 0 && errno == ENOENT)
        return MF_OK;
    struct mf_snapshot_reader *reader = NULL;
    enum mf_err err = mf_snapshot_open(path, &reader, message, size);
    if (err != MF_OK)
        return err;
    struct mf_snapshot_summary summary;
    mf_snapshot_summary(reader, &summary);
    mf_snapshot_close(reader);
    if (summary.shard_count != node->config.shards || summary.shards != node->config.shards) {
        snprintf(message, size,
                 "%s was made for cluster.shards = %u, the configuration says %u: restore the "
                 "snapshot again with this configuration",
                 path, summary.shard_count, node->config.shards);
        return MF_BAD_REQUEST;
    }
    node->genesis = summary.identity;
    return MF_OK;
}

static void describe(const struct mf_node *node, char *out, size_t size)
{
    const struct mf_config *config = &node->config;
    snprintf(out, size,
             "mayfly-node 2\nnode.id = %u\ncluster.name = %s\ncluster.shards = %u\n"
             "cluster.replicas = %u\ncluster.nodes = %s\ndurability = %s\n"
             "genesis = %016" PRIx64 "\n",
             config->id, config->name, config->shards, node->replica_count, node->members_text,
             config->durability == MF_DURABILITY_NONE ? "memory" : "log", node->genesis);
}

static enum mf_err write_meta(const char *folder, const char *text, char *message, size_t size)
{
    char path[PATH_BYTES];
    char aside[PATH_BYTES + 8];
    snprintf(path, sizeof(path), "%s/node.meta", folder);
    snprintf(aside, sizeof(aside), "%s.tmp", path);
    return mf_file_replace(path, aside, mf_bytes_str(text), message, size);
}

// Names the first line that differs, as the operator knows it.
static void tell_difference(const char *folder, const char *had, const char *has, char *message,
                            size_t size)
{
    while (*had != '\0' && *has != '\0') {
        size_t had_len = strcspn(had, "\n");
        size_t has_len = strcspn(has, "\n");
        if (had_len != has_len || memcmp(had, has, had_len) != 0)
            break;
        had += had_len + (had[had_len] == '\n');
        has += has_len + (has[has_len] == '\n');
    }
    snprintf(message, size,
             "the data folder %s was made with \"%.*s\", the configuration says \"%.*s\": these "
             "are fixed when a cluster is first formed",
             folder, (int)strcspn(had, "\n"), had, (int)strcspn(has, "\n"), has);
}

// Empty when the kernel does not tell: then no two runs are of one boot.
static void read_boot(char boot[MF_BOOT_BYTES])
{
    boot[0] = '\0';
    FILE *file = fopen(BOOT_ID, "re");
    if (file == NULL)
        return;
    if (fgets(boot, MF_BOOT_BYTES, file) != NULL)
        boot[strcspn(boot, "\n")] = '\0';
    fclose(file);
}

static enum mf_err save(struct mf_node *node, bool clean, char *message, size_t size)
{
    char text[META_BYTES];
    struct mf_node_meta meta = {.memory = node->memory,
                                .state = node->state,
                                .sync = node->config.durability,
                                .clean = clean,
                                .lease_ms = node->longest_lease_ms};
    read_boot(meta.boot);
    describe(node, text, sizeof(text));
    if (!mf_node_meta_append(&meta, text, sizeof(text))) {
        snprintf(message, size, "node.meta would be too long");
        return MF_BAD_REQUEST;
    }
    return write_meta(node->config.data_dir, text, message, size);
}

// Alone and in memory, a node leaves nothing that a later start would have to fit.
static bool leaves_nothing(const struct mf_node *node)
{
    return node->config.durability == MF_DURABILITY_NONE && node->replica_count == 1 &&
           node->roster->version == 1 && !node->joins;
}

enum mf_err mf_data_dir_lost(struct mf_node *node, const char *why, char *message, size_t size)
{
    if (node->replica_count == 1) {
        snprintf(message, size,
                 "%s. No other node has this data: put the log back, or restore a snapshot "
                 "(mayfly-snapshot restore --force-new-cluster)",
                 why);
        return MF_CORRUPT;
    }
    uint64_t memory;
    do
        mf_entropy(&memory, sizeof(memory));
    while (memory <= MF_FIRST_MEMORY);
    node->memory = memory;
    mf_log(
        MF_WARN,
        "%s: this node may have forgotten what it promised. It goes on as a new member, %016" PRIx64
        ": it learns from the others and votes again when they admit it",
        why, memory);
    // Before a new log is begun: with the old memory it would be taken for the lost one.
    return save(node, false, message, size);
}

enum mf_err mf_data_dir_set_aside(struct mf_node *node, char *message, size_t size)
{
    static const char *const names[] = {"wal", "checkpoints"};
    const char *folder = node->config.data_dir;
    long long now_s = (long long)time(NULL);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char from[PATH_BYTES];
        char to[PATH_BYTES];
        snprintf(from, sizeof(from), "%s/%s", folder, names[i]);
        snprintf(to, sizeof(to), "%s/%s.damaged-%lld", folder, names[i], now_s);
        if (rename(from, to) == 0) {
            mf_log(MF_WARN, "%s is moved to %s, for an examination; nothing reads it any more",
                   from, to);
        } else if (errno != ENOENT) {
            fail(message, size, "cannot move aside", from);
            return MF_IO;
        }
    }
    return mf_file_sync_folder(folder, message, size);
}

// What the last run may have forgotten, by the way it ran and ended.
static enum mf_err check_memory(struct mf_node *node, const struct mf_node_meta *meta,
                                char *message, size_t size)
{
    char boot[MF_BOOT_BYTES];
    read_boot(boot);
    bool other_boot = boot[0] == '\0' || strcmp(boot, meta->boot) != 0;
    node->memory = meta->memory;
    node->state = meta->state;
    // Who is not formed has promised nothing yet, and who is alone has promised nobody.
    if (node->state != MF_FORMATION_FORMED || node->replica_count == 1)
        return MF_OK;
    if (node->config.durability == MF_DURABILITY_NONE)
        return mf_data_dir_lost(node, "durability.mode is none, and this node has run before",
                                message, size);
    if (meta->sync == MF_DURABILITY_OS && !meta->clean && other_boot)
        return mf_data_dir_lost(node,
                                "durability.mode was os, and the machine went down before the "
                                "node had stopped",
                                message, size);
    return MF_OK;
}

// Of a line that was compared when the cluster was formed, and that a roster has taken the place
// of.
static bool is_outdated(const char *line)
{
    static const char *const names[] = {"cluster.replicas = ", "cluster.nodes = ", "genesis = "};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strncmp(line, names[i], strlen(names[i])) == 0)
            return true;
    }
    return false;
}

static bool same_lines(const char *had, const char *has, bool outdated_too)
{
    while (*had != '\0' && *has != '\0') {
        size_t had_len = strcspn(had, "\n");
        size_t has_len = strcspn(has, "\n");
        bool same = had_len == has_len && memcmp(had, has, had_len) == 0;
        if (!same && (outdated_too || !is_outdated(had)))
            return false;
        had += had_len + (had[had_len] == '\n');
        has += has_len + (has[has_len] == '\n');
    }
    return *had == *has;
}

static enum mf_err check_meta(struct mf_node *node, char *message, size_t size)
{
    char path[PATH_BYTES];
    char text[META_BYTES];
    char found[META_BYTES] = "";
    const char *folder = node->config.data_dir;
    snprintf(path, sizeof(path), "%s/node.meta", folder);
    describe(node, text, sizeof(text));
    FILE *file = fopen(path, "re");
    if (file == NULL && errno == ENOENT) {
        node->state = MF_FORMATION_FRESH;
        return MF_OK;
    }
    if (file == NULL) {
        fail(message, size, "cannot read", path);
        return MF_IO;
    }
    size_t got = fread(found, 1, sizeof(found) - 1, file);
    found[got] = '\0';
    bool failed = ferror(file) != 0;
    if (failed)
        fail(message, size, "cannot read", path);
    fclose(file);
    if (failed)
        return MF_IO;
    struct mf_node_meta meta;
    enum mf_err err = mf_node_meta_split(found, &meta);
    if (!same_lines(found, text, node->roster->version == 1)) {
        tell_difference(folder, found, text, message, size);
        return MF_BAD_REQUEST;
    }
    if (err != MF_OK) {
        snprintf(message, size, "%s is damaged", path);
        return err;
    }
    if (meta.lease_ms > node->longest_lease_ms)
        node->longest_lease_ms = meta.lease_ms;
    return check_memory(node, &meta, message, size);
}

enum mf_err mf_data_dir_open(struct mf_node *node, char *message, size_t message_size)
{
    node->longest_lease_ms = node->config.lease_ms;
    enum mf_err err = create_folder(node->config.data_dir, message, message_size);
    if (err == MF_OK)
        err = lock_folder(node->config.data_dir, message, message_size);
    if (err == MF_OK &&
        mf_snapshot_tidy_genesis(node->config.data_dir, message, message_size) != MF_OK)
        mf_log(MF_WARN, "%s", message);
    if (err == MF_OK)
        err = read_genesis(node, message, message_size);
    if (err == MF_OK)
        err = mf_membership_load(node, message, message_size);
    if (err == MF_OK)
        err = check_meta(node, message, message_size);
    node->fresh = node->state != MF_FORMATION_FORMED;
    return err;
}

enum mf_err mf_data_dir_claim(struct mf_node *node, char *message, size_t message_size)
{
    if (node->state == MF_FORMATION_FRESH || leaves_nothing(node))
        return MF_OK;
    return save(node, false, message, message_size);
}

enum mf_err mf_data_dir_enter(struct mf_node *node, enum mf_formation_state state, uint64_t memory,
                              char *message, size_t message_size)
{
    node->memory = memory;
    node->state = state;
    return save(node, false, message, message_size);
}

void mf_data_dir_release(struct mf_node *node)
{
    char message[1024];
    if (node->state == MF_FORMATION_FRESH || leaves_nothing(node))
        return;
    if (node->config.durability == MF_DURABILITY_OS) {
        int fd = open(node->config.data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        bool fine = fd >= 0 && syncfs(fd) == 0;
        if (fd >= 0)
            close(fd);
        if (!fine) {
            mf_log(MF_ERROR, "cannot sync %s: %s", node->config.data_dir, strerror(errno));
            return;
        }
    }
    if (mf_mono_us() >= mf_node_bound_until_us(node))
        node->longest_lease_ms = node->config.lease_ms; // what runs before us granted is over
    if (save(node, true, message, sizeof(message)) != MF_OK)
        mf_log(MF_ERROR, "%s", message);
}
