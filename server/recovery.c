// Replicas from disk; see recovery.h.
#include "server/recovery.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/parallel.h"
#include "base/rand.h"
#include "consensus/wal.h"
#include "consensus/wal_ledger.h"
#include "server/checkpoint.h"
#include "server/copies.h"
#include "server/data_dir.h"
#include "server/offline.h"
#include "server/reactor.h"
#include "server/roster.h"
#include "server/watchers.h"
#include "snapshot/reader.h"

#define BATCH_BYTES (UINT64_C(1) << 20)
// Memory that takes a fraction of a millisecond to copy.
#define BUILT_BYTES (UINT64_C(1) << 20)
#define WINDOW_ENTRIES 64
#define WINDOW_BYTES (UINT64_C(8) << 20)
#define LEARN_BYTES (UINT64_C(1) << 20)
#define RESEND_US UINT64_C(200000)
#define CHOSEN_DELAY_US UINT64_C(10000)
#define MARK_INTERVAL_US UINT64_C(1000000)
#define PENDING_OPS_MAX 100000
// A follower whose walk holds it up takes so much more into its log in memory.
#define HELD_LOG_BYTES (UINT64_C(32) << 20)
// A start that takes long says this often how far it is.
#define PROGRESS_MS 3000u
#define OFFLINE_PROGRESS_MS 200u
// Records of one shard from several streams take turns; so may those of two.
#define LOCKS 64u

static struct mf_owned_shard *owned(const struct mf_node *node, uint32_t shard)
{
    return mf_reactor_shard(node->reactors[mf_reactor_of_shard(node, shard)], shard);
}

// The configuration that the group began with.
static void first_members(const struct mf_node *node, uint32_t shard, struct mf_members *members)
{
    uint16_t ids[MF_VOTERS_MAX];
    uint32_t count = mf_roster_first_places(node->roster, shard, ids);
    *members = (struct mf_members){0};
    for (uint32_t i = 0; i < count; i++) { // ascending by node
        uint8_t at = members->voter_count++;
        for (; at > 0 && members->voters[at - 1].node > ids[i]; at--)
            members->voters[at] = members->voters[at - 1];
        members->voters[at] = (struct mf_acceptor){ids[i], MF_FIRST_MEMORY};
    }
}

static void configure(struct mf_reactor *reactor, uint32_t shard, const struct mf_members *members,
                      struct mf_replica_config *config)
{
    struct mf_node *node = reactor->node;
    uint64_t lease_us = (uint64_t)node->config.lease_ms * 1000;
    *config = (struct mf_replica_config){.expire_batch = MF_EXPIRE_BATCH,
                                         .batch_bytes = BATCH_BYTES,
                                         .built_bytes = BUILT_BYTES,
                                         .answer_bytes_max = mf_node_answer_bytes_max(node),
                                         .mark_interval_us = MARK_INTERVAL_US,
                                         .pending_ops_max = PENDING_OPS_MAX,
                                         .held_log_bytes = HELD_LOG_BYTES,
                                         .unshared = node->reactor_count == 1,
                                         .unlogged = node->config.durability == MF_DURABILITY_NONE,
                                         .budget = &node->budget,
                                         .expiry_paused = &node->settings.expiry_paused,
                                         .expire_left = &reactor->expire_left};
    mf_entropy(&config->tag_seed, sizeof(config->tag_seed));
    struct mf_paxos_config *paxos = &config->paxos;
    paxos->group = shard;
    paxos->self = node->config.id;
    paxos->incarnation = node->memory;
    if (members->voter_count > 0)
        paxos->members = *members;
    else
        first_members(node, shard, &paxos->members);
    paxos->lease_us = (uint64_t)node->longest_lease_ms * 1000;
    paxos->begun_us = node->started_us;
    paxos->election_us = lease_us;
    // The first of a shard's places campaigns at once, so that leaders are spread evenly; the
    // others give it time, and time to be heard when it leads already.
    bool first = mf_roster_places(reactor->roster, shard)[0] == node->config.id;
    paxos->first_election_us = paxos->members.voter_count == 1 ? 0
                               : first                         ? lease_us / 2
                                       : lease_us * 3 / 2 + mf_mono_us() % lease_us;
    paxos->resend_us = RESEND_US;
    paxos->chosen_delay_us = CHOSEN_DELAY_US;
    paxos->window_entries = WINDOW_ENTRIES;
    paxos->window_bytes = WINDOW_BYTES;
    paxos->learn_bytes = LEARN_BYTES;
}

// Streams are read by several threads at once. Each record is restored under its shard's lock; the
// message is under the last.
struct replay {
    struct mf_node *node;
    pthread_mutex_t locks[LOCKS + 1];
    char *message;
    size_t message_size;
};

static enum mf_err refuse_record(struct replay *replay, const struct mf_wal_record *record)
{
    const struct mf_node *node = replay->node;
    pthread_mutex_lock(&replay->locks[LOCKS]);
    if (node->state != MF_FORMATION_FORMED)
        snprintf(replay->message, replay->message_size,
                 "%s/wal has records, and node.meta does not say whose they are: put node.meta "
                 "back, or move wal and checkpoints away to let the node in as a new one",
                 node->config.data_dir);
    else
        snprintf(replay->message, replay->message_size,
                 "the write-ahead log has records of shard %u, which there is not", record->group);
    pthread_mutex_unlock(&replay->locks[LOCKS]);
    return MF_BAD_REQUEST;
}

static enum mf_err replay_record(void *arg, const struct mf_wal_record *record)
{
    struct replay *replay = arg;
    const struct mf_node *node = replay->node;
    if (node->state != MF_FORMATION_FORMED || record->group >= node->config.shards)
        return refuse_record(replay, record);
    pthread_mutex_t *lock = &replay->locks[record->group % LOCKS];
    pthread_mutex_lock(lock);
    struct mf_owned_shard *shard = owned(node, record->group);
    // Up to there a mark is of a copy that was given up.
    if (record->type == MF_WAL_MARK && record->slot > shard->base.marked &&
        record->slot > shard->left.slot)
        shard->base.marked = record->slot;
    if (shard->replica != NULL)
        mf_replica_restore(shard->replica, record);
    else if (record->type != MF_WAL_MARK && record->ballot > shard->left.promise)
        shard->left.promise = record->ballot;
    pthread_mutex_unlock(lock);
    return MF_OK;
}

static uint32_t progress_ms(const struct mf_node *node)
{
    return node->offline != NULL ? OFFLINE_PROGRESS_MS : PROGRESS_MS;
}

static void tell_progress(void *arg, uint64_t bytes, uint64_t of_bytes)
{
    const struct replay *replay = arg;
    if (replay->node->offline != NULL) {
        mf_offline_tell(replay->node->offline, MF_OFFLINE_LOG, bytes, of_bytes);
        return;
    }
    mf_log(MF_INFO, "write-ahead log: %.1f of %.1f MB are read, of %u shards", (double)bytes / 1e6,
           (double)of_bytes / 1e6, replay->node->config.shards);
}

// *files: how many the log has.
static enum mf_err replay_wal(struct mf_node *node, uint64_t *files, char *message, size_t size)
{
    char folder[sizeof(node->config.data_dir) + 8];
    snprintf(folder, sizeof(folder), "%s/wal", node->config.data_dir);
    uint64_t started_us = mf_mono_us();
    struct mf_wal_recovery recovery;
    message[0] = '\0';
    struct replay replay = {.node = node, .message = message, .message_size = size};
    for (uint32_t i = 0; i <= LOCKS; i++)
        pthread_mutex_init(&replay.locks[i], NULL);
    const struct mf_wal_reading reading = {.ledger = node->ledger,
                                           .threads = node->reactor_count,
                                           .record = replay_record,
                                           .progress = tell_progress,
                                           .progress_ms = progress_ms(node),
                                           .arg = &replay};
    enum mf_err err = mf_wal_recover_streams(folder, &reading, &recovery);
    for (uint32_t i = 0; i <= LOCKS; i++)
        pthread_mutex_destroy(&replay.locks[i]);
    *files = recovery.files;
    if (err != MF_OK && message[0] == '\0')
        snprintf(message, size, "%s", recovery.message);
    if (err == MF_OK && recovery.files > 0)
        mf_log(MF_INFO, "write-ahead log: %llu records in %llu files, %.1f MB, read in %.3f s%s",
               (unsigned long long)recovery.records, (unsigned long long)recovery.files,
               (double)recovery.bytes / 1e6, (double)(mf_mono_us() - started_us) / 1e6,
               recovery.torn > 0 ? "; an unfinished last write was dropped" : "");
    return err;
}

// What the cluster began with is nothing that others could teach: where it is damaged, nothing else
// is thrown away for it.
static enum mf_err genesis_error(const struct mf_node *node, enum mf_err err)
{
    return err == MF_CORRUPT && node->offline == NULL ? MF_IO : err;
}

static enum mf_err load_genesis(struct mf_snapshot_reader *genesis, struct mf_owned_shard *shard,
                                char *message, size_t size)
{
    uint64_t hash_seed;
    mf_entropy(&hash_seed, sizeof(hash_seed));
    shard->state = mf_shard_new(shard->id, hash_seed);
    if (genesis == NULL)
        return MF_OK;
    const struct mf_snapshot_shard *section = mf_snapshot_section(genesis, shard->id);
    shard->base.log_us = section->meta.log_time_us;
    shard->base.wall_us = section->wall_us;
    return genesis_error(shard->reactor->node,
                         mf_snapshot_load(genesis, shard->id, shard->state, message, size));
}

static void set_held(struct mf_owned_shard *shard)
{
    struct mf_node *node = shard->reactor->node;
    if (!atomic_exchange_explicit(&node->shards[shard->id].held, true, memory_order_relaxed))
        atomic_fetch_add_explicit(&node->held, 1, memory_order_relaxed);
}

// A checkpoint without node.meta may be of a cluster before this one: its slots mean nothing here.
static enum mf_err refuse_state(struct mf_owned_shard *shard, char *message, size_t size)
{
    mf_shard_free(shard->state);
    shard->state = NULL;
    snprintf(message, size,
             "%s/checkpoints has shard %u, and node.meta does not say whose it is: put node.meta "
             "back, or move wal and checkpoints away to let the node in as a new one",
             shard->reactor->node->config.data_dir, shard->id);
    return MF_BAD_REQUEST;
}

// The newest state there is: a checkpoint, or else the beginning, where this node has it.
static enum mf_err load_shard(struct mf_node *node, struct mf_snapshot_reader *genesis,
                              struct mf_owned_shard *shard, char *message, size_t size)
{
    struct mf_checkpoint_info info;
    shard->base = (struct mf_shard_base){0};
    mf_checkpoint_set_info(node, shard->id, NULL);
    enum mf_err err = mf_copies_load_left(node, shard->id, &shard->left, message, size);
    if (err == MF_OK && shard->left.gone && node->ledger != NULL)
        mf_wal_ledger_cover(node->ledger, shard->id, UINT64_MAX); // its entries mean nothing
    if (err == MF_OK && !shard->left.gone)
        err = mf_checkpoint_load(node, shard->id, &shard->state, &shard->base.members, &info,
                                 message, size);
    if (err == MF_OK && shard->state != NULL && node->state == MF_FORMATION_FRESH &&
        node->offline == NULL)
        err = refuse_state(shard, message, size);
    if (err == MF_OK && shard->state == NULL && shard->left.promise == 0 &&
        mf_copies_begins_with(node, shard->id)) {
        set_held(shard);
        return load_genesis(genesis, shard, message, size);
    }
    if (err != MF_OK || shard->state == NULL)
        return err;
    set_held(shard);
    // Filled with the state. NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign)
    shard->base.log_us = info.log_time_us;
    shard->base.wall_us = info.wall_us;
    mf_checkpoint_set_info(node, shard->id, &info);
    if (node->ledger != NULL)
        mf_wal_ledger_cover(node->ledger, shard->id, info.slot);
    return MF_OK;
}

// Shards are loaded by several threads at once, each into its own state.
struct loading {
    struct mf_node *node;
    struct mf_snapshot_reader *genesis;
    char (*messages)[512]; // by shard
    _Atomic uint32_t loaded;
};

static enum mf_err load_one(void *arg, uint32_t i)
{
    struct loading *loading = arg;
    enum mf_err err = load_shard(loading->node, loading->genesis, owned(loading->node, i),
                                 loading->messages[i], sizeof(loading->messages[i]));
    atomic_fetch_add_explicit(&loading->loaded, 1, memory_order_relaxed);
    return err;
}

static void tell_loaded(void *arg)
{
    const struct loading *loading = arg;
    uint32_t loaded = atomic_load_explicit(&loading->loaded, memory_order_relaxed);
    uint32_t shards = loading->node->config.shards;
    if (loading->node->offline != NULL)
        mf_offline_tell(loading->node->offline, MF_OFFLINE_CHECKPOINTS, loaded, shards);
    else
        mf_log(MF_INFO, "checkpoints: %u of %u shards are read", loaded, shards);
}

static enum mf_err load_shards(struct mf_node *node, struct mf_snapshot_reader *genesis,
                               char *message, size_t size)
{
    struct loading loading = {.node = node, .genesis = genesis};
    loading.messages = mf_calloc(node->config.shards, sizeof(*loading.messages));
    const struct mf_parallel work = {.count = node->config.shards,
                                     .threads = node->reactor_count,
                                     .run = load_one,
                                     .waiting = tell_loaded,
                                     .wait_ms = progress_ms(node),
                                     .arg = &loading};
    uint32_t failed;
    enum mf_err err = mf_parallel_run(&work, &failed);
    if (err != MF_OK)
        snprintf(message, size, "%s", loading.messages[failed]);
    free(loading.messages);
    return err;
}

// What every shard begins with.
static enum mf_err load_states(struct mf_node *node, char *message, size_t size)
{
    struct mf_snapshot_reader *genesis = NULL;
    enum mf_err err = node->offline == NULL ? mf_checkpoint_prepare(node, message, size) : MF_OK;
    if (err == MF_OK && node->genesis != 0) {
        char path[sizeof(node->config.data_dir) + 16];
        snprintf(path, sizeof(path), "%s/genesis.mfs", node->config.data_dir);
        err = genesis_error(node, mf_snapshot_open(path, &genesis, message, size));
    }
    if (err == MF_OK)
        err = load_shards(node, genesis, message, size);
    mf_snapshot_close(genesis);
    return err;
}

static void fatal_offline(void *ctx, uint32_t group, const char *what)
{
    (void)group;
    (void)what;
    const struct mf_owned_shard *shard = ctx;
    atomic_store(&shard->reactor->node->failed, true);
}

// All that a recovery calls.
static const struct mf_replica_ops offline_ops = {.fatal = fatal_offline};

static void make_replica_of(struct mf_owned_shard *shard, bool blank)
{
    struct mf_replica_config config;
    configure(shard->reactor, shard->id, &shard->base.members, &config);
    config.paxos.blank = blank;
    config.paxos.floor = shard->left.floor;
    if (shard->base.members.slot > config.paxos.floor)
        config.paxos.floor = shard->base.members.slot;
    const struct mf_replica_ops *ops =
        shard->reactor->node->offline != NULL ? &offline_ops : &mf_reactor_replica_ops;
    shard->replica = mf_replica_new(&config, shard->state, ops, shard, mf_mono_us());
    shard->state = NULL;
    // What the same acceptor has promised in a copy that is gone.
    const struct mf_wal_record promise = {
        .type = MF_WAL_PROMISE, .group = shard->id, .ballot = shard->left.promise};
    if (promise.ballot != 0)
        mf_replica_restore(shard->replica, &promise);
}

static void make_replica(struct mf_owned_shard *shard)
{
    if (shard->state != NULL)
        make_replica_of(shard, false);
}

void mf_recover_make_blank(struct mf_owned_shard *shard)
{
    make_replica_of(shard, true);
    mf_replica_restore_done(shard->replica, 0, 0);
    mf_watchers_attach(shard);
    set_held(shard);
}

static void restore_done(struct mf_owned_shard *shard)
{
    if (shard->replica == NULL)
        return;
    mf_replica_restore_done(shard->replica, shard->base.log_us, shard->base.wall_us);
    if (shard->reactor->node->offline == NULL)
        mf_watchers_attach(shard);
}

// A mark says how far the log had been applied. All of that was in the log or in a checkpoint.
static enum mf_err check_whole(const struct mf_node *node, const struct mf_owned_shard *shard,
                               char *message, size_t size)
{
    char path[MF_CHECKPOINT_PATH_BYTES];
    mf_checkpoint_path(node, shard->id, path, sizeof(path));
    if (shard->replica == NULL && shard->base.marked > 0) {
        snprintf(message, size,
                 "shard %u had been applied up to slot %llu, but its checkpoint %s is missing",
                 shard->id, (unsigned long long)shard->base.marked, path);
        return MF_CORRUPT;
    }
    if (shard->replica == NULL)
        return MF_OK;
    const struct mf_paxos *paxos = mf_replica_paxos(shard->replica);
    if (mf_paxos_chosen(paxos) >= shard->base.marked)
        return MF_OK;
    snprintf(
        message, size,
        "shard %u had been applied up to slot %llu, but its state begins at slot %llu and the "
        "write-ahead log goes on without a gap only to slot %llu: the checkpoint %s is missing "
        "or older than the log was cut for",
        shard->id, (unsigned long long)shard->base.marked,
        (unsigned long long)mf_paxos_first_slot(paxos) - 1,
        (unsigned long long)mf_paxos_chosen(paxos), path);
    return MF_CORRUPT;
}

static void each_shard(struct mf_node *node, void (*call)(struct mf_owned_shard *shard))
{
    for (uint32_t i = 0; i < node->config.shards; i++)
        call(owned(node, i));
}

static void drop(struct mf_owned_shard *shard)
{
    mf_replica_free(shard->replica);
    shard->replica = NULL;
    mf_shard_free(shard->state);
    shard->state = NULL;
    struct mf_node *node = shard->reactor->node;
    if (atomic_exchange_explicit(&node->shards[shard->id].held, false, memory_order_relaxed))
        atomic_fetch_sub_explicit(&node->held, 1, memory_order_relaxed);
}

// The log cannot be believed: what was read of it is thrown away.
static enum mf_err begin_empty(struct mf_node *node, bool damaged, const char *why, char *message,
                               size_t size)
{
    enum mf_err err = mf_data_dir_lost(node, why, message, size);
    if (err == MF_OK && damaged)
        err = mf_data_dir_set_aside(node, message, size);
    each_shard(node, drop);
    if (node->ledger != NULL) { // what it knows is of the log that is set aside
        mf_wal_ledger_free(node->ledger);
        node->ledger = mf_wal_ledger_new(node->config.shards);
    }
    if (err == MF_OK)
        err = load_states(node, message, size);
    each_shard(node, make_replica);
    each_shard(node, restore_done);
    return err;
}

static enum mf_err recover_log(struct mf_node *node, bool new, char *message, size_t size)
{
    uint64_t files = 0;
    char why[1024];
    enum mf_err err = replay_wal(node, &files, message, size);
    each_shard(node, restore_done);
    for (uint32_t i = 0; i < node->config.shards && err == MF_OK; i++)
        err = check_whole(node, owned(node, i), message, size);
    if (err == MF_CORRUPT) {
        snprintf(why, sizeof(why), "%s", message);
        return begin_empty(node, true, why, message, size);
    }
    if (err != MF_OK || files > 0 || new)
        return err;
    snprintf(why, sizeof(why),
             "%s/wal is missing or empty, although this node has run on %s before",
             node->config.data_dir, node->config.data_dir);
    return begin_empty(node, false, why, message, size);
}

// Nobody has to be asked. What is in memory only, with one copy of it, comes back empty as it did
// at first: others could not tell.
static bool forms_alone(const struct mf_node *node)
{
    return !node->joins && node->roster->version == 1 && node->replica_count == 1 &&
           (node->config.node_count == 1 || node->config.durability == MF_DURABILITY_NONE);
}

enum mf_err mf_recover(struct mf_node *node, char *message, size_t size)
{
    bool new = node->fresh; // and so has no log yet
    bool logged = node->config.durability != MF_DURABILITY_NONE;
    enum mf_err err = load_states(node, message, size);
    if (err == MF_CORRUPT && !new) { // a checkpoint is damaged
        char why[1024];
        snprintf(why, sizeof(why), "%s", message);
        return begin_empty(node, true, why, message, size);
    }
    if (!new)
        each_shard(node, make_replica);
    if (!logged)
        each_shard(node, restore_done);
    if (err == MF_OK && logged)
        err = recover_log(node, new, message, size);
    if (err == MF_OK && new &&forms_alone(node)) {
        node->state = MF_FORMATION_FORMED;
        node->memory = MF_FIRST_MEMORY;
        each_shard(node, make_replica);
        each_shard(node, restore_done);
    }
    return err;
}

// What a sole voter has accepted a majority has accepted. Only in the configuration that the group
// began with, and below the entry that ends it: nothing there was ever proposed to others.
static void note_own_majority(struct mf_owned_shard *shard)
{
    if (shard->replica == NULL)
        return;
    const struct mf_paxos *paxos = mf_replica_paxos(shard->replica);
    const struct mf_members *members = mf_paxos_members(paxos);
    struct mf_acceptor self = mf_replica_acceptor(shard->replica);
    if (members->slot != 0 || members->voter_count != 1 || members->voters[0].node != self.node ||
        members->voters[0].incarnation != self.incarnation)
        return;
    struct mf_wal_record mark = {.type = MF_WAL_MARK, .group = shard->id};
    const struct mf_log_entry *entry;
    for (mark.slot = mf_paxos_chosen(paxos); (entry = mf_paxos_entry(paxos, mark.slot + 1)) != NULL;
         mark.slot++) {
        if (mf_payload_is_members(entry->payload))
            break;
    }
    mf_replica_restore(shard->replica, &mark);
}

enum mf_err mf_recover_offline(struct mf_node *node, char *message, size_t size)
{
    uint64_t files = 0;
    enum mf_err err = load_states(node, message, size);
    each_shard(node, make_replica);
    if (err == MF_OK)
        err = replay_wal(node, &files, message, size);
    if (err == MF_OK && files == 0) {
        snprintf(message, size, "%s/wal is missing or empty, although the node has run",
                 node->config.data_dir);
        err = MF_CORRUPT;
    }
    each_shard(node, note_own_majority);
    each_shard(node, restore_done);
    for (uint32_t i = 0; i < node->config.shards && err == MF_OK; i++)
        err = check_whole(node, owned(node, i), message, size);
    return err;
}

void mf_recover_drop(struct mf_node *node)
{
    each_shard(node, drop);
}

void mf_recover_forget_first(struct mf_reactor *reactor)
{
    for (uint32_t i = 0; i < reactor->shard_count; i++) {
        if (reactor->shards[i].replica == NULL)
            drop(&reactor->shards[i]);
    }
}

void mf_recover_formed(struct mf_reactor *reactor)
{
    for (uint32_t i = 0; i < reactor->shard_count; i++) {
        struct mf_owned_shard *shard = &reactor->shards[i];
        make_replica(shard);
        restore_done(shard);
        mf_reactor_touch(shard);
    }
}

void mf_recover_note_ends(struct mf_reactor *reactor)
{
    struct mf_replica_env env = mf_reactor_env(reactor);
    for (uint32_t i = 0; i < reactor->shard_count && reactor->wal != NULL; i++) {
        if (reactor->shards[i].replica != NULL)
            mf_replica_note_end(reactor->shards[i].replica, &env);
    }
    if (reactor->wal != NULL)
        mf_wal_submit(reactor->wal);
}
