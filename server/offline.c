// Reading a data folder that nobody uses; see offline.h.
#include "server/offline.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "server/checkpoint.h"
#include "server/membership.h"
#include "server/node_meta.h"
#include "server/reactor.h"
#include "server/recovery.h"
#include "server/roster.h"
#include "snapshot/genesis.h"
#include "snapshot/reader.h"

#define PATH_BYTES 4400
#define META_BYTES 4096
#define WALK_RECORDS 1000u
// Only a node that campaigns goes by it.
#define LEASE_MS 500u

void mf_offline_tell(const struct mf_offline *offline, enum mf_offline_phase phase, uint64_t done,
                     uint64_t all)
{
    if (offline->progress != NULL)
        offline->progress(offline->arg, phase, done, all);
}

static enum mf_err fail(enum mf_err err, char *message, size_t size, const char *what,
                        const char *path)
{
    snprintf(message, size, "cannot %s %s: %s", what, path, strerrordesc_np(errno));
    return err;
}

// *fd is held until it is closed: no node begins to use the folder meanwhile. A copy of a folder
// may have no lock; then *fd is -1.
static enum mf_err lock(const char *data_dir, int *fd, char *message, size_t size)
{
    char path[PATH_BYTES];
    struct stat about;
    if (stat(data_dir, &about) == 0 && !S_ISDIR(about.st_mode)) {
        snprintf(message, size, "%s is no folder: expected a node's data folder", data_dir);
        return MF_BAD_REQUEST;
    }
    snprintf(path, sizeof(path), "%s/lock", data_dir);
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return errno == ENOENT ? MF_OK : fail(MF_IO, message, size, "open", path);
    if (flock(*fd, LOCK_SH | LOCK_NB) == 0)
        return MF_OK;
    enum mf_err err = MF_BAD_REQUEST;
    if (errno == EWOULDBLOCK)
        snprintf(message, size,
                 "%s is in use by a running mayflyd: stop it first, or dump from it with -s ADDR",
                 data_dir);
    else
        err = fail(MF_IO, message, size, "lock", path);
    close(*fd);
    *fd = -1;
    return err;
}

// What node.meta says.

static enum mf_err read_text(const char *path, char *text, size_t text_size, char *message,
                             size_t size)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return errno == ENOENT || errno == ENOTDIR ? MF_NOT_FOUND
                                                   : fail(MF_IO, message, size, "read", path);
    size_t got = fread(text, 1, text_size - 1, file);
    text[got] = '\0';
    enum mf_err err = ferror(file) == 0 ? MF_OK : fail(MF_IO, message, size, "read", path);
    fclose(file);
    return err;
}

// The value of the line "NAME = VALUE", copied; false when there is no such line.
static bool find_value(const char *text, const char *name, char *value, size_t value_size)
{
    size_t len = strlen(name);
    for (const char *line = text; *line != '\0';) {
        size_t line_len = strcspn(line, "\n");
        if (line_len >= len + 3 && strncmp(line, name, len) == 0 &&
            strncmp(line + len, " = ", 3) == 0) {
            int put =
                snprintf(value, value_size, "%.*s", (int)(line_len - len - 3), line + len + 3);
            return put >= 0 && (size_t)put < value_size;
        }
        line += line_len + (line[line_len] == '\n');
    }
    return false;
}

static bool find_number(const char *text, const char *name, int base, uint64_t max, uint64_t *out)
{
    char value[32];
    char *end;
    if (!find_value(text, name, value, sizeof(value)) || value[0] == '\0')
        return false;
    *out = strtoull(value, &end, base);
    return *end == '\0' && *out <= max;
}

// "1,2,3", ascending.
static bool parse_nodes(const char *text, struct mf_config *config)
{
    config->node_count = 0;
    for (const char *at = text; config->node_count < MF_NODES_MAX;) {
        char *end;
        unsigned long id = strtoul(at, &end, 10);
        if (end == at || id == 0 || id > UINT16_MAX || (*end != ',' && *end != '\0'))
            return false;
        config->nodes[config->node_count++].id = (uint16_t)id;
        if (*end == '\0')
            return true;
        at = end + 1;
    }
    return false;
}

static bool parse_meta(char *text, struct mf_node *node)
{
    struct mf_config *config = &node->config;
    struct mf_node_meta meta;
    uint64_t id, shards, replicas;
    char nodes[MF_PEER_TEXT_BYTES_MAX];
    if (mf_node_meta_split(text, &meta) != MF_OK ||
        !find_number(text, "node.id", 10, UINT16_MAX, &id) || id == 0 ||
        !find_value(text, "cluster.name", config->name, sizeof(config->name)) ||
        !find_number(text, "cluster.shards", 10, 16384, &shards) || shards == 0 ||
        !find_number(text, "cluster.replicas", 10, MF_VOTERS_MAX, &replicas) || replicas == 0 ||
        !find_number(text, "genesis", 16, UINT64_MAX, &node->genesis) ||
        !find_value(text, "cluster.nodes", nodes, sizeof(nodes)) || !parse_nodes(nodes, config))
        return false;
    config->id = (uint16_t)id;
    config->shards = (uint32_t)shards;
    config->replicas = (uint32_t)replicas;
    config->durability = meta.sync;
    node->replica_count = config->replicas;
    node->memory = meta.memory;
    node->state = meta.state;
    node->joins = true;
    for (uint32_t i = 0; i < config->node_count; i++)
        node->joins = node->joins && config->nodes[i].id != config->id;
    return true;
}

static enum mf_err refuse_unused(const char *data_dir, const char *why, char *message, size_t size)
{
    char genesis[PATH_BYTES];
    snprintf(genesis, sizeof(genesis), "%s/%s", data_dir, MF_GENESIS_FILE);
    bool restored = access(genesis, F_OK) == 0;
    snprintf(message, size, "%s %s%s%s%s", data_dir, why,
             restored ? "; what it is to begin with, " : "", restored ? genesis : "",
             restored ? ", is a snapshot file itself" : "");
    return MF_BAD_REQUEST;
}

static enum mf_err read_meta(struct mf_node *node, char *message, size_t size)
{
    const char *data_dir = node->config.data_dir;
    char path[PATH_BYTES];
    char text[META_BYTES];
    snprintf(path, sizeof(path), "%s/node.meta", data_dir);
    if (access(data_dir, F_OK) != 0)
        return fail(MF_IO, message, size, "read the data folder", data_dir);
    enum mf_err err = read_text(path, text, sizeof(text), message, size);
    if (err == MF_NOT_FOUND)
        return refuse_unused(data_dir,
                             "is no data folder of a node that has run with a log: there is no "
                             "node.meta in it",
                             message, size);
    if (err != MF_OK)
        return err;
    if (!parse_meta(text, node)) {
        snprintf(message, size, "%s is damaged", path);
        return MF_CORRUPT;
    }
    if (node->config.durability == MF_DURABILITY_NONE) {
        snprintf(message, size,
                 "%s is of a node with durability.mode = none: its data was in memory only",
                 data_dir);
        return MF_BAD_REQUEST;
    }
    if (node->state != MF_FORMATION_FORMED)
        return refuse_unused(data_dir, "is of a node whose cluster was not formed yet", message,
                             size);
    return MF_OK;
}

// What the cluster began with is part of what a node without a checkpoint starts from.
static enum mf_err check_genesis(const struct mf_node *node, char *message, size_t size)
{
    if (node->genesis == 0)
        return MF_OK;
    char path[PATH_BYTES];
    struct mf_snapshot_reader *reader = NULL;
    snprintf(path, sizeof(path), "%s/%s", node->config.data_dir, MF_GENESIS_FILE);
    enum mf_err err = mf_snapshot_open(path, &reader, message, size);
    if (err != MF_OK)
        return err;
    struct mf_snapshot_summary summary;
    mf_snapshot_summary(reader, &summary);
    mf_snapshot_close(reader);
    if (summary.identity == node->genesis && summary.shards == node->config.shards &&
        summary.shard_count == node->config.shards)
        return MF_OK;
    snprintf(message, size,
             "%s is not what the cluster began with: its identity is %016" PRIx64
             ", node.meta says %016" PRIx64,
             path, summary.identity, node->genesis);
    return MF_CORRUPT;
}

// The node, as far as its recovery needs it: reactors that own shards and never run.

static struct mf_reactor *make_reactor(struct mf_node *node, uint16_t index)
{
    struct mf_reactor *reactor = mf_calloc(1, sizeof(*reactor));
    reactor->node = node;
    reactor->index = index;
    reactor->roster = mf_roster_ref(node->roster);
    reactor->shard_count =
        (node->config.shards + node->reactor_count - 1 - index) / node->reactor_count;
    reactor->shards = mf_calloc(reactor->shard_count, sizeof(*reactor->shards));
    for (uint32_t i = 0; i < reactor->shard_count; i++) {
        reactor->shards[i].reactor = reactor;
        reactor->shards[i].id = index + i * node->reactor_count;
    }
    return reactor;
}

static void make_places(struct mf_node *node)
{
    node->reactor_count = node->offline->threads;
    node->shards = mf_calloc(node->config.shards, sizeof(*node->shards));
    node->checkpointer = mf_checkpointer_new(node);
    node->reactors = mf_calloc(node->reactor_count, sizeof(struct mf_reactor *));
    for (uint32_t i = 0; i < node->reactor_count; i++)
        node->reactors[i] = make_reactor(node, (uint16_t)i);
}

static void free_node(struct mf_node *node)
{
    if (node->reactors != NULL)
        mf_recover_drop(node);
    for (uint32_t i = 0; node->reactors != NULL && i < node->reactor_count; i++) {
        mf_roster_unref(node->reactors[i]->roster);
        free(node->reactors[i]->shards);
        free(node->reactors[i]);
    }
    free(node->reactors);
    mf_checkpointer_free(node->checkpointer);
    free(node->shards);
    mf_roster_unref(node->roster);
    free(node);
}

static struct mf_replica *replica_of(const struct mf_node *node, uint32_t shard)
{
    return mf_reactor_shard(node->reactors[mf_reactor_of_shard(node, shard)], shard)->replica;
}

// The file.

struct writing {
    const struct mf_node *node;
    struct mf_snapshot_writer *writer;
    uint32_t shard;
    enum mf_err err;
};

static void write_record(void *arg, const struct mf_record *record)
{
    struct writing *writing = arg;
    if (writing->err == MF_OK)
        writing->err = mf_snapshot_put(writing->writer, writing->shard, record);
}

// When the shard's log clock read the cut's log time, by the wall clock.
static uint64_t wall_of_cut(const struct mf_replica *replica, uint64_t log_time_us)
{
    struct mf_replica_env env = {.now_us = mf_mono_us(), .wall_us = mf_wall_us()};
    struct mf_replica_info info;
    mf_replica_info(replica, &env, &info);
    uint64_t age_us = info.clock_us > log_time_us ? info.clock_us - log_time_us : 0;
    return env.wall_us > age_us ? env.wall_us - age_us : 1;
}

static enum mf_err write_shard(struct writing *writing)
{
    struct mf_replica *replica = replica_of(writing->node, writing->shard);
    struct mf_shard *shard = mf_replica_shard(replica);
    struct mf_shard_meta meta;
    enum mf_err err = mf_shard_walk_begin(shard, &meta, write_record, writing);
    if (err == MF_OK)
        err = mf_snapshot_begin_shard(writing->writer, writing->shard, &meta,
                                      wall_of_cut(replica, meta.log_time_us));
    while (err == MF_OK && mf_shard_walk_step(shard, WALK_RECORDS))
        err = writing->err;
    mf_shard_walk_end(shard);
    if (err == MF_OK)
        err = writing->err;
    return err == MF_OK ? mf_snapshot_end_shard(writing->writer, writing->shard) : err;
}

static enum mf_err write_file(const struct mf_node *node, const char *path,
                              struct mf_offline_result *result, char *message, size_t size)
{
    struct mf_snapshot_info info = {.cluster = node->config.name,
                                    .shard_count = node->config.shards,
                                    .created_us = mf_wall_us()};
    struct writing writing = {.node = node};
    enum mf_err err = mf_snapshot_create(path, &info, &writing.writer, message, size);
    if (err != MF_OK)
        return err;
    for (uint32_t i = 0; i < node->config.shards && err == MF_OK; i++) {
        mf_offline_tell(node->offline, MF_OFFLINE_WRITING, i, node->config.shards);
        writing.shard = i;
        if (replica_of(node, i) != NULL)
            err = write_shard(&writing);
    }
    if (err == MF_OK)
        return mf_snapshot_commit(writing.writer, &result->totals, message, size);
    const char *why = mf_snapshot_why(writing.writer);
    snprintf(message, size, "%s", why[0] != '\0' ? why : mf_err_text(err));
    mf_snapshot_abort(writing.writer);
    return err;
}

static void count_left_out(const struct mf_node *node, struct mf_offline_result *result)
{
    for (uint32_t i = 0; i < node->config.shards; i++) {
        if (replica_of(node, i) == NULL)
            continue;
        const struct mf_paxos *paxos = mf_replica_paxos(replica_of(node, i));
        uint64_t last = mf_paxos_last_slot(paxos);
        for (uint64_t slot = mf_paxos_chosen(paxos) + 1; slot <= last; slot++)
            result->left_out += mf_paxos_entry(paxos, slot) != NULL;
    }
}

static enum mf_err read_node(struct mf_node *node, char *message, size_t size)
{
    enum mf_err err = check_genesis(node, message, size);
    if (err == MF_OK)
        err = mf_membership_load(node, message, size);
    if (err != MF_OK)
        return err;
    make_places(node);
    err = mf_recover_offline(node, message, size);
    if (err == MF_OK && atomic_load(&node->failed)) {
        snprintf(message, size, "%s/wal holds an entry that cannot be applied",
                 node->config.data_dir);
        err = MF_CORRUPT;
    }
    return err;
}

enum mf_err mf_offline_dump(const struct mf_offline *offline, const char *path,
                            struct mf_offline_result *result, char *message, size_t message_size)
{
    struct mf_node *node = mf_calloc(1, sizeof(*node));
    int lock_fd = -1;
    enum mf_err err = MF_OK;
    *result = (struct mf_offline_result){0};
    node->offline = offline;
    node->config.lease_ms = LEASE_MS;
    if (strlen(offline->data_dir) < sizeof(node->config.data_dir)) {
        strcpy(node->config.data_dir, offline->data_dir);
    } else {
        snprintf(message, message_size, "the path of the data folder is too long");
        err = MF_BAD_REQUEST;
    }
    if (err == MF_OK)
        err = lock(offline->data_dir, &lock_fd, message, message_size);
    if (err == MF_OK)
        err = read_meta(node, message, message_size);
    if (err == MF_OK)
        err = read_node(node, message, message_size);
    if (err == MF_OK) {
        result->node = node->config.id;
        result->shard_count = node->config.shards;
        count_left_out(node, result);
        err = write_file(node, path, result, message, message_size);
    }
    free_node(node);
    if (lock_fd >= 0)
        close(lock_fd);
    return err;
}
