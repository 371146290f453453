// When checkpoints are written, and what is cut for them; see checkpoint.h.
//
// Shared: the queue of shards that ask and what is known of the files, under `lock`, which is held
// for a few loads and stores; `queued` of each shard (relaxed: a hint that saves the lock); the
// files themselves, under `files`, which no reactor takes.
#include "server/checkpoint.h"

#include <assert.h>
#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "consensus/wal_ledger.h"
#include "server/checkpoint_room.h"
#include "server/copies.h"
#include "server/reactor.h"
#include "server/streams.h"
#include "server/walk.h"

#define GROWN_BYTES_MIN (UINT64_C(16) << 20)
#define TAIL_ENTRIES 1024
#define TAIL_BYTES (UINT64_C(4) << 20)
// Up to so much more stays for those who get an older checkpoint just now.
#define NEEDED_ENTRIES 100000
#define NEEDED_BYTES (UINT64_C(64) << 20)
// The whole log may take so many segments, some more for each stream, and twice the shards' bytes.
#define SEGMENTS_MAX 8
#define SEGMENTS_PER_STREAM 2
// An entry costs this much in the log beside its payload.
#define ENTRY_BYTES 33
#define RETRY_US UINT64_C(10000000)

struct place {
    struct mf_checkpoint_info info;
    bool there;
    _Atomic bool queued;
};

struct mf_checkpointer {
    struct mf_node *node;
    uint64_t grown_bytes_min;
    pthread_mutex_t lock;
    struct place *places; // by shard
    uint32_t *queue;      // a ring of shards; each is in it at most once
    uint32_t first;
    uint32_t count;
    pthread_mutex_t files;
    sem_t asked;
    _Atomic bool stopping;
    struct mf_walk_pipe pipe;
    struct mf_room_look room; // the thread's
    bool has_thread;
    pthread_t thread;
    // Reactor 0's: the shard that was last asked for because the whole log is too long, and when.
    uint32_t bounding;
    uint64_t bounding_us;
};

// One checkpoint: to the shard's reactor with the walk, and back there with the outcome.
struct job {
    struct mf_task task;
    struct mf_checkpointer *checkpointer;
    struct mf_walk walk;
    enum mf_err err;
};

struct mf_checkpointer *mf_checkpointer_new(struct mf_node *node)
{
    struct mf_checkpointer *checkpointer = mf_calloc(1, sizeof(*checkpointer));
    checkpointer->node = node;
    checkpointer->bounding = UINT32_MAX;
    checkpointer->grown_bytes_min = GROWN_BYTES_MIN;
    checkpointer->places = mf_calloc(node->config.shards, sizeof(*checkpointer->places));
    checkpointer->queue = mf_calloc(node->config.shards, sizeof(*checkpointer->queue));
    pthread_mutex_init(&checkpointer->lock, NULL);
    pthread_mutex_init(&checkpointer->files, NULL);
    sem_init(&checkpointer->asked, 0, 0);
    mf_walk_pipe_init(&checkpointer->pipe);
    return checkpointer;
}

void mf_checkpointer_free(struct mf_checkpointer *checkpointer)
{
    if (checkpointer == NULL)
        return;
    mf_walk_pipe_free(&checkpointer->pipe);
    sem_destroy(&checkpointer->asked);
    pthread_mutex_destroy(&checkpointer->files);
    pthread_mutex_destroy(&checkpointer->lock);
    free(checkpointer->queue);
    free(checkpointer->places);
    free(checkpointer);
}

void mf_checkpoint_files_lock(struct mf_node *node)
{
    pthread_mutex_lock(&node->checkpointer->files);
}

void mf_checkpoint_files_unlock(struct mf_node *node)
{
    pthread_mutex_unlock(&node->checkpointer->files);
}

bool mf_checkpoint_info(const struct mf_node *node, uint32_t shard, struct mf_checkpoint_info *out)
{
    struct mf_checkpointer *checkpointer = node->checkpointer;
    pthread_mutex_lock(&checkpointer->lock);
    bool there = checkpointer->places[shard].there;
    *out = checkpointer->places[shard].info;
    pthread_mutex_unlock(&checkpointer->lock);
    return there;
}

void mf_checkpoint_set_info(struct mf_node *node, uint32_t shard,
                            const struct mf_checkpoint_info *info)
{
    struct mf_checkpointer *checkpointer = node->checkpointer;
    pthread_mutex_lock(&checkpointer->lock);
    checkpointer->places[shard].there = info != NULL;
    if (info != NULL)
        checkpointer->places[shard].info = *info;
    pthread_mutex_unlock(&checkpointer->lock);
}

void mf_checkpoint_request(struct mf_node *node, uint32_t shard)
{
    struct mf_checkpointer *checkpointer = node->checkpointer;
    if (!mf_node_holds(node, shard))
        return;
    pthread_mutex_lock(&checkpointer->lock);
    bool fresh =
        !atomic_exchange_explicit(&checkpointer->places[shard].queued, true, memory_order_relaxed);
    if (fresh) {
        // There is a shard at least. NOLINTNEXTLINE(clang-analyzer-core.DivideZero)
        uint32_t at = (checkpointer->first + checkpointer->count++) % node->config.shards;
        checkpointer->queue[at] = shard;
    }
    pthread_mutex_unlock(&checkpointer->lock);
    if (fresh)
        sem_post(&checkpointer->asked);
}

bool mf_checkpoint_is_due(const struct mf_node *node, uint32_t shard)
{
    return atomic_load_explicit(&node->checkpointer->places[shard].queued, memory_order_relaxed);
}

// The file's thread.

// Sleeps until somebody asks, or it is time to look how much room there is.
static void sleep_a_while(struct mf_checkpointer *checkpointer)
{
    struct timespec until = mf_wait_until(MF_ROOM_LOOK_MS * UINT64_C(1000));
    while (sem_clockwait(&checkpointer->asked, CLOCK_MONOTONIC, &until) != 0 && errno == EINTR)
        continue;
}

static bool take_shard(struct mf_checkpointer *checkpointer, uint32_t *shard)
{
    pthread_mutex_lock(&checkpointer->lock);
    bool asked = checkpointer->count > 0;
    if (asked) {
        *shard = checkpointer->queue[checkpointer->first];
        checkpointer->first = (checkpointer->first + 1) % checkpointer->node->config.shards;
        checkpointer->count--;
    }
    pthread_mutex_unlock(&checkpointer->lock);
    return asked;
}

static bool next_shard(struct mf_checkpointer *checkpointer, uint32_t *shard)
{
    while (!atomic_load(&checkpointer->stopping)) {
        if (take_shard(checkpointer, shard))
            return true;
        mf_checkpoint_room_look(&checkpointer->room, checkpointer->node, mf_mono_us());
        sleep_a_while(checkpointer);
    }
    return false;
}

// On the shard's reactor.
static void begin_walk(struct mf_reactor *reactor, struct mf_task *task)
{
    (void)reactor;
    struct job *job = (struct job *)task;
    if (atomic_load(&job->checkpointer->stopping)) {
        free(job); // its thread has not waited for it
        return;
    }
    struct mf_checkpoint_need *need = &job->walk.shard->checkpoint;
    need->cut_log_bytes = need->log_bytes;
    mf_walk_begin(&job->walk, 0);
}

// Gives the file its place, unless a newer one was adopted meanwhile.
static enum mf_err publish(struct job *job, struct mf_snapshot_writer *writer, char *message,
                           size_t size)
{
    struct mf_node *node = job->checkpointer->node;
    uint32_t shard = job->walk.shard->id;
    mf_checkpoint_files_lock(node);
    struct mf_checkpoint_info info;
    struct mf_snapshot_totals totals;
    enum mf_err err = MF_OK;
    bool late = mf_checkpoint_info(node, shard, &info) && info.slot >= job->walk.meta.applied;
    if (late)
        mf_snapshot_abort(writer);
    else
        err = mf_snapshot_commit(writer, &totals, message, size);
    if (err == MF_OK && !late) {
        info = (struct mf_checkpoint_info){.slot = job->walk.meta.applied,
                                           .log_time_us = job->walk.meta.log_time_us,
                                           .wall_us = job->walk.wall_us,
                                           .bytes = totals.bytes,
                                           .identity = totals.identity};
        mf_checkpoint_set_info(node, shard, &info);
    }
    mf_checkpoint_files_unlock(node);
    return err;
}

static enum mf_err write_file(struct job *job)
{
    struct mf_node *node = job->checkpointer->node;
    uint32_t shard = job->walk.shard->id;
    struct mf_snapshot_info info = {.cluster = node->config.name,
                                    .shard_count = node->config.shards,
                                    .created_us = mf_wall_us(),
                                    .no_sync = node->config.durability == MF_DURABILITY_NONE};
    char path[MF_CHECKPOINT_PATH_BYTES];
    char message[512] = "";
    struct mf_snapshot_writer *writer = NULL;
    mf_checkpoint_path(node, shard, path, sizeof(path));
    enum mf_err err = mf_snapshot_create(path, &info, &writer, message, sizeof(message));
    if (err == MF_OK) {
        mf_reactor_post(job->walk.shard->reactor, &job->task);
        bool ended = mf_walk_write(job->walk.pipe, writer) != NULL;
        err = ended ? job->walk.outcome : MF_SHUTTING_DOWN;
        if (err != MF_OK) {
            const char *why = mf_snapshot_why(writer);
            snprintf(message, sizeof(message), "%.500s", why[0] != '\0' ? why : mf_err_text(err));
            mf_snapshot_abort(writer);
        } else {
            err = publish(job, writer, message, sizeof(message));
        }
    }
    if (err != MF_OK && err != MF_AGAIN && err != MF_SHUTTING_DOWN && mf_node_holds(node, shard))
        mf_log(MF_WARN, "shard=%u: no checkpoint could be written, which is tried again: %s", shard,
               message);
    return err;
}

// The oldest slot to keep, not above `first`, so that whoever gets an older checkpoint just now can
// go on from it; if that is not too much.
static uint64_t needed(const struct mf_owned_shard *shard, uint64_t first)
{
    const struct mf_paxos *paxos = mf_replica_paxos(shard->replica);
    uint64_t wanted = mf_streams_first_needed(shard);
    if (wanted >= first || wanted < mf_paxos_first_slot(paxos) || first - wanted > NEEDED_ENTRIES)
        return first;
    uint64_t bytes = 0;
    for (uint64_t slot = wanted; slot < first; slot++)
        bytes += mf_paxos_entry(paxos, slot)->bytes;
    return bytes <= NEEDED_BYTES ? wanted : first;
}

// The shard's reactor: what the checkpoint stands in for goes.
static void cut_log(struct mf_owned_shard *shard, uint64_t slot)
{
    struct mf_node *node = shard->reactor->node;
    uint64_t first = mf_checkpoint_tail(mf_replica_paxos(shard->replica), slot);
    mf_replica_compact(shard->replica, needed(shard, first));
    if (node->ledger != NULL)
        mf_wal_ledger_cover(node->ledger, shard->id, slot);
    mf_reactor_touch(shard);
}

static void conclude(struct mf_reactor *reactor, struct mf_task *task)
{
    struct job *job = (struct job *)task;
    struct mf_owned_shard *shard = job->walk.shard;
    struct mf_checkpointer *checkpointer = job->checkpointer;
    struct mf_checkpoint_need *need = &shard->checkpoint;
    if (job->err == MF_OK) {
        need->log_bytes -=
            need->cut_log_bytes < need->log_bytes ? need->cut_log_bytes : need->log_bytes;
        need->not_before_us = 0;
        mf_log(MF_DEBUG, "shard=%u checkpoint=%llu", shard->id,
               (unsigned long long)job->walk.meta.applied);
        if (shard->replica != NULL)
            cut_log(shard, job->walk.meta.applied);
    } else {
        need->not_before_us = mf_reactor_now_us(reactor) + RETRY_US;
    }
    atomic_store_explicit(&checkpointer->places[shard->id].queued, false, memory_order_relaxed);
    sem_post(&checkpointer->asked); // where room is low, the next one need not wait
    mf_walk_free(&job->walk);
    free(job);
}

static void *write_files(void *arg)
{
    struct mf_checkpointer *checkpointer = arg;
    struct mf_node *node = checkpointer->node;
    uint32_t id;
    mf_walk_step_back();
    while (next_shard(checkpointer, &id)) {
        struct mf_reactor *owner = node->reactors[mf_reactor_of_shard(node, id)];
        struct job *job = mf_calloc(1, sizeof(*job));
        job->task.run = begin_walk;
        job->checkpointer = checkpointer;
        job->walk.pipe = &checkpointer->pipe;
        job->walk.shard = mf_reactor_shard(owner, id);
        job->walk.with_members = true;
        job->err = write_file(job);
        if (job->err == MF_SHUTTING_DOWN && !job->walk.begun)
            return NULL; // the task is still on its way, and frees it
        job->task.run = conclude;
        mf_reactor_post(owner, &job->task);
    }
    return NULL;
}

enum mf_err mf_checkpointer_start(struct mf_checkpointer *checkpointer)
{
    checkpointer->has_thread =
        mf_thread_start(&checkpointer->thread, "checkpoints", write_files, checkpointer) == 0;
    return checkpointer->has_thread ? MF_OK : MF_IO;
}

void mf_checkpointer_stop(struct mf_checkpointer *checkpointer)
{
    atomic_store(&checkpointer->stopping, true);
    sem_post(&checkpointer->asked);
    mf_walk_pipe_wake(&checkpointer->pipe);
    if (checkpointer->has_thread)
        pthread_join(checkpointer->thread, NULL);
    checkpointer->has_thread = false;
}

// The shard's reactor.

uint64_t mf_checkpoint_growth_max(uint64_t grown_bytes_min, uint64_t shard_bytes)
{
    return shard_bytes / 2 > grown_bytes_min ? shard_bytes / 2 : grown_bytes_min;
}

uint64_t mf_checkpoint_tail(const struct mf_paxos *paxos, uint64_t slot)
{
    uint64_t first = slot + 1;
    uint64_t bytes = 0;
    while (first > mf_paxos_first_slot(paxos) && slot + 1 - first < TAIL_ENTRIES) {
        const struct mf_log_entry *entry = mf_paxos_entry(paxos, first - 1);
        if (entry == NULL)
            break;
        bytes += entry->bytes;
        if (bytes > TAIL_BYTES)
            break;
        first--;
    }
    return first;
}

void mf_checkpoint_applied(struct mf_owned_shard *shard, uint64_t bytes)
{
    shard->checkpoint.log_bytes += ENTRY_BYTES + bytes;
}

void mf_checkpoint_consider(struct mf_owned_shard *shard, uint64_t now_us)
{
    struct mf_node *node = shard->reactor->node;
    struct mf_checkpointer *checkpointer = node->checkpointer;
    const struct mf_checkpoint_need *need = &shard->checkpoint;
    uint64_t bytes = atomic_load_explicit(&node->shards[shard->id].bytes, memory_order_relaxed);
    if (need->log_bytes > mf_checkpoint_growth_max(checkpointer->grown_bytes_min, bytes) &&
        now_us >= need->not_before_us && !mf_checkpoint_is_due(node, shard->id))
        mf_checkpoint_request(node, shard->id);
}

void mf_checkpoint_adopted(struct mf_owned_shard *shard, uint64_t slot)
{
    shard->checkpoint.log_bytes = 0;
    shard->checkpoint.cut_log_bytes = 0;
    cut_log(shard, slot);
}

// The shard whose checkpoint lets the oldest file go, if the log as a whole has grown too long.
static void bound_log(struct mf_reactor *reactor)
{
    struct mf_node *node = reactor->node;
    uint64_t segments = SEGMENTS_MAX + SEGMENTS_PER_STREAM * (uint64_t)node->reactor_count;
    uint64_t bytes = mf_wal_ledger_bytes(node->ledger);
    uint64_t bytes_max = segments * MF_WAL_SEGMENT_BYTES;
    if (bytes <= bytes_max)
        return;
    for (uint32_t i = 0; i < node->config.shards; i++)
        bytes_max += 2 * atomic_load_explicit(&node->shards[i].bytes, memory_order_relaxed);
    struct mf_checkpointer *checkpointer = node->checkpointer;
    uint32_t shard;
    if (bytes <= bytes_max || !mf_wal_ledger_pinned_by(node->ledger, &shard) ||
        mf_checkpoint_is_due(node, shard))
        return;
    // The same shard again: its checkpoint has failed, or what it has there is not chosen yet.
    uint64_t now_us = mf_reactor_now_us(reactor);
    if (shard == checkpointer->bounding && now_us < checkpointer->bounding_us + RETRY_US)
        return;
    checkpointer->bounding = shard;
    checkpointer->bounding_us = now_us;
    mf_checkpoint_request(node, shard);
}

void mf_checkpoint_sweep(struct mf_reactor *reactor)
{
    struct mf_wal_ledger *ledger = reactor->node->ledger;
    if (ledger == NULL || reactor->wal == NULL)
        return;
    if (mf_wal_ledger_restate_count(ledger) > 0) {
        struct mf_replica_env env = mf_reactor_env(reactor);
        for (uint32_t i = 0; i < reactor->shard_count; i++) {
            struct mf_owned_shard *shard = &reactor->shards[i];
            if (shard->state != NULL || !mf_wal_ledger_restate(ledger, shard->id))
                continue;
            if (shard->replica != NULL)
                mf_replica_restate(shard->replica, &env);
            else
                mf_copies_restate(shard);
        }
    }
    mf_wal_tidy(reactor->wal);
    if (reactor->index == 0)
        bound_log(reactor);
}
