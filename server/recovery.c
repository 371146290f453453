// Replicas from disk; see recovery.h.
#include "server/recovery.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"
#include "consensus/wal_ledger.h"
#include "server/checkpoint.h"
#include "server/reactor.h"
#include "snapshot/reader.h"

#define EXPIRE_BATCH 1024
#define BATCH_BYTES (UINT64_C(1) << 20)
#define WINDOW_ENTRIES 64
#define WINDOW_BYTES (UINT64_C(8) << 20)
#define LEARN_BYTES (UINT64_C(1) << 20)
#define RESEND_US UINT64_C(200000)
#define CHOSEN_DELAY_US UINT64_C(10000)
#define MARK_INTERVAL_US UINT64_C(1000000)
#define PENDING_OPS_MAX 100000

static void configure(const struct mf_node *node, uint32_t shard, struct mf_replica_config *config)
{
    uint32_t indexes[MF_NODES_MAX];
    uint32_t count = mf_node_replicas(node, shard, indexes);
    uint64_t lease_us = (uint64_t)node->config.lease_ms * 1000;
    *config = (struct mf_replica_config){.expire_batch = EXPIRE_BATCH,
                                         .batch_bytes = BATCH_BYTES,
                                         .mark_interval_us = MARK_INTERVAL_US,
                                         .pending_ops_max = PENDING_OPS_MAX};
    mf_entropy(&config->tag_seed, sizeof(config->tag_seed));
    struct mf_paxos_config *paxos = &config->paxos;
    paxos->group = shard;
    paxos->self = node->config.id;
    paxos->incarnation = node->may_vote ? 1 : node->incarnation;
    for (uint32_t i = 0; i < node->member_count; i++) { // ascending by id
        for (uint32_t j = 0; j < count; j++) {
            if (indexes[j] == i)
                paxos->members.voters[paxos->members.voter_count++] =
                    (struct mf_acceptor){node->members[i].id, 1};
        }
    }
    paxos->election_us = lease_us;
    // The first of a shard's members campaigns at once, so that leaders are spread evenly; the
    // others give it time, and time to be heard when it leads already.
    bool first = indexes[0] == node->self;
    paxos->first_election_us = count == 1 ? 0
                               : first    ? lease_us / 2
                                          : lease_us * 3 / 2 + mf_mono_us() % lease_us;
    paxos->resend_us = RESEND_US;
    paxos->chosen_delay_us = CHOSEN_DELAY_US;
    paxos->window_entries = WINDOW_ENTRIES;
    paxos->window_bytes = WINDOW_BYTES;
    paxos->learn_bytes = LEARN_BYTES;
}

static struct mf_owned_shard *owned(struct mf_node *node, uint32_t shard)
{
    return mf_reactor_shard(node->reactors[mf_reactor_of_shard(node, shard)], shard);
}

// What a shard begins with, and how far it had come.
struct start {
    struct mf_shard *state; // the replica's, once there is one
    uint64_t log_us;        // of the state
    uint64_t wall_us;
    uint64_t marked; // the highest slot that a mark has as applied
};

struct replay {
    struct mf_node *node;
    struct start *starts;
    char *message;
    size_t message_size;
};

static enum mf_err replay_record(void *arg, const struct mf_wal_record *record)
{
    struct replay *replay = arg;
    struct mf_node *node = replay->node;
    if (record->group >= node->config.shards || !mf_node_holds(node, record->group)) {
        snprintf(replay->message, replay->message_size,
                 "the write-ahead log has records of shard %u, which this node does not hold",
                 record->group);
        return MF_BAD_REQUEST;
    }
    struct start *start = &replay->starts[record->group];
    if (record->type == MF_WAL_MARK && record->slot > start->marked)
        start->marked = record->slot;
    mf_replica_restore(owned(node, record->group)->replica, record);
    return MF_OK;
}

static enum mf_err replay_wal(struct mf_node *node, struct start *starts, char *message,
                              size_t size)
{
    char folder[sizeof(node->config.data_dir) + 8];
    snprintf(folder, sizeof(folder), "%s/wal", node->config.data_dir);
    uint64_t started_us = mf_mono_us();
    struct mf_wal_recovery recovery;
    message[0] = '\0';
    struct replay replay = {
        .node = node, .starts = starts, .message = message, .message_size = size};
    enum mf_err err = mf_wal_recover(folder, &recovery, node->ledger, replay_record, &replay);
    if (err != MF_OK) {
        if (message[0] == '\0')
            snprintf(message, size, "%s", recovery.message);
        return err;
    }
    if (recovery.files == 0 && !node->fresh) {
        snprintf(message, size,
                 "%s is missing or empty, although this node has run on %s before: it may have "
                 "forgotten what it promised and was told. Put the log back; there is no way yet "
                 "to let the node in as a new one",
                 folder, node->config.data_dir);
        return MF_CORRUPT;
    }
    if (recovery.files > 0)
        mf_log(MF_INFO, "write-ahead log: %llu records in %llu files, %.1f MB, read in %.3f s%s",
               (unsigned long long)recovery.records, (unsigned long long)recovery.files,
               (double)recovery.bytes / 1e6, (double)(mf_mono_us() - started_us) / 1e6,
               recovery.torn > 0 ? "; an unfinished last write was dropped" : "");
    return MF_OK;
}

static enum mf_err load_genesis(struct mf_snapshot_reader *genesis, uint32_t shard,
                                struct start *start, char *message, size_t size)
{
    uint64_t hash_seed;
    mf_entropy(&hash_seed, sizeof(hash_seed));
    start->state = mf_shard_new(shard, hash_seed);
    if (genesis == NULL)
        return MF_OK;
    const struct mf_snapshot_shard *section = mf_snapshot_section(genesis, shard);
    start->log_us = section->meta.log_time_us;
    start->wall_us = section->wall_us;
    return mf_snapshot_load(genesis, shard, start->state, message, size);
}

// Makes a shard's replica with the newest state there is: a checkpoint, or else the beginning.
static enum mf_err begin_shard(struct mf_node *node, struct mf_snapshot_reader *genesis,
                               uint32_t id, struct start *start, char *message, size_t size)
{
    struct mf_members members;
    struct mf_checkpoint_info info;
    enum mf_err err = mf_checkpoint_load(node, id, &start->state, &members, &info, message, size);
    if (err != MF_OK)
        return err;
    if (start->state != NULL) {
        start->log_us = info.log_time_us;
        start->wall_us = info.wall_us;
        mf_checkpoint_set_info(node, id, &info);
        if (node->ledger != NULL)
            mf_wal_ledger_cover(node->ledger, id, info.slot);
    } else {
        err = load_genesis(genesis, id, start, message, size);
    }
    struct mf_replica_config config;
    configure(node, id, &config);
    if (members.voter_count > 0)
        config.paxos.members = members;
    struct mf_owned_shard *shard = owned(node, id);
    shard->replica =
        mf_replica_new(&config, start->state, &mf_reactor_replica_ops, shard, mf_mono_us());
    return err;
}

// A mark says how far the log had been applied. All of that was in the log or in a checkpoint.
static enum mf_err end_shard(struct mf_node *node, uint32_t id, const struct start *start,
                             char *message, size_t size)
{
    struct mf_replica *replica = owned(node, id)->replica;
    uint64_t first = mf_paxos_first_slot(mf_replica_paxos(replica));
    mf_replica_restore_done(replica, start->log_us, start->wall_us);
    uint64_t chosen = mf_paxos_chosen(mf_replica_paxos(replica));
    if (chosen >= start->marked)
        return MF_OK;
    char path[MF_CHECKPOINT_PATH_BYTES];
    mf_checkpoint_path(node, id, path, sizeof(path));
    snprintf(
        message, size,
        "shard %u had been applied up to slot %llu, but its state begins at slot %llu and the "
        "write-ahead log goes on without a gap only to slot %llu: the checkpoint %s is missing "
        "or older than the log was cut for; put it back",
        id, (unsigned long long)start->marked, (unsigned long long)first - 1,
        (unsigned long long)chosen, path);
    return MF_CORRUPT;
}

enum mf_err mf_recover(struct mf_node *node, char *message, size_t size)
{
    struct mf_snapshot_reader *genesis = NULL;
    struct start *starts = mf_calloc(node->config.shards, sizeof(*starts));
    enum mf_err err = mf_checkpoint_prepare(node, message, size);
    if (err == MF_OK && node->genesis != 0) {
        char path[sizeof(node->config.data_dir) + 16];
        snprintf(path, sizeof(path), "%s/genesis.mfs", node->config.data_dir);
        err = mf_snapshot_open(path, &genesis, message, size);
    }
    for (uint32_t i = 0; i < node->config.shards && err == MF_OK; i++) {
        if (mf_node_holds(node, i))
            err = begin_shard(node, genesis, i, &starts[i], message, size);
    }
    mf_snapshot_close(genesis);
    if (err == MF_OK && node->config.durability != MF_DURABILITY_NONE)
        err = replay_wal(node, starts, message, size);
    for (uint32_t i = 0; i < node->config.shards && err == MF_OK; i++) {
        if (mf_node_holds(node, i))
            err = end_shard(node, i, &starts[i], message, size);
    }
    free(starts);
    return err;
}
