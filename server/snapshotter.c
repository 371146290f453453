// On-demand snapshots; see snapshotter.h.
//
// Shared between the shard's reactor and the file's thread: the ring of chunks, its semaphore and
// the count of chunks on the way (relaxed: it only bounds memory; the ring orders the content).
#include "server/snapshotter.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "rpc/msgpack_rpc.h"
#include "server/reactor.h"
#include "server/request.h"
#include "snapshot/writer.h"

#define CHUNK_BYTES (256u << 10)
#define CHUNKS_AHEAD 8
#define CHUNK_SLOTS 64
// One step of a walk visits this many buckets of the map, of about 8 records each, or fewer when
// these bytes have come together, and the next step comes this much later.
#define STEP_BUCKETS 32
#define STEP_BYTES CHUNK_BYTES
#define STEP_S 0.0005
// A replica that is behind by more than it can make up in this time cannot be cut.
#define CATCH_UP_US UINT64_C(30000000)

struct chunk {
    bool last;
    enum mf_err err; // the shard could not be cut
    struct mf_buf records;
};

// One shard's walk, on its reactor.
struct walk {
    struct mf_task task;
    struct job *job;
    struct mf_owned_shard *shard;
    ev_timer timer;
    struct mf_shard_meta meta;
    uint64_t wall_us; // when the shard's log clock read meta.log_time_us
    bool begun;       // the thread waits for it, and frees it
    uint64_t index;   // of the log: what was acknowledged before the snapshot is below it
    uint64_t wait_us; // until then for our replica to get there
    bool cut;
    bool walked;
    enum mf_err err;
    size_t taken; // bytes, in this step
    struct mf_buf records;
};

struct job {
    struct mf_task task; // back to the reactor that asked
    struct mf_snapshotter *snapshotter;
    struct mf_reactor *home;
    mf_admin_done *done;
    void *arg;
    char name[65];
    char path[PATH_MAX + 66]; // absolute
    uint64_t started_us;
    struct mf_snapshot_writer *writer;
    struct mf_ring *chunks;
    sem_t ready;
    _Atomic uint32_t ahead;
    enum mf_err err;
    char message[512];
    struct mf_snapshot_totals totals;
};

struct mf_snapshotter {
    struct mf_node *node;
    _Atomic bool busy;
    _Atomic bool stopping;
    bool has_thread; // under mf_node.mutex, as thread
    pthread_t thread;
    struct job *_Atomic job;
};

struct mf_snapshotter *mf_snapshotter_new(struct mf_node *node)
{
    struct mf_snapshotter *snapshotter = mf_calloc(1, sizeof(*snapshotter));
    snapshotter->node = node;
    return snapshotter;
}

// The walk, on the shard's reactor.

static bool push_chunk(struct walk *walk, bool last)
{
    struct chunk *chunk = mf_alloc(sizeof(*chunk));
    *chunk = (struct chunk){.last = last, .err = walk->err, .records = walk->records};
    if (!mf_ring_push(walk->job->chunks, chunk)) {
        free(chunk);
        return false; // what is here waits for the next step
    }
    walk->records = (struct mf_buf){0};
    atomic_fetch_add_explicit(&walk->job->ahead, 1, memory_order_relaxed);
    sem_post(&walk->job->ready);
    return true;
}

static void take_record(void *arg, const struct mf_record *record)
{
    struct walk *walk = arg;
    mf_buf_u8(&walk->records, record->is_id);
    mf_buf_u64(&walk->records, record->version);
    mf_buf_u64(&walk->records, record->deadline_us);
    mf_buf_blob(&walk->records, record->key);
    mf_buf_blob(&walk->records, record->value);
    walk->taken += record->key.len + record->value.len;
    if (walk->records.len >= CHUNK_BYTES)
        (void)push_chunk(walk, false);
}

// A little of the walk, however large the values are. False when it is complete.
static bool walk_on(struct walk *walk, struct mf_shard *shard)
{
    walk->taken = 0;
    for (uint32_t i = 0; i < STEP_BUCKETS && walk->taken < STEP_BYTES; i++) {
        if (!mf_shard_walk_step(shard, 1))
            return false;
    }
    return true;
}

// The cut: the state as it is now, if it is no older than what the leader had applied when the
// snapshot came to this shard. False while it is to be waited for.
static bool cut(struct walk *walk)
{
    struct mf_replica_env env = mf_reactor_env(walk->shard->reactor);
    struct mf_replica_info info;
    mf_replica_info(walk->shard->replica, &env, &info);
    if (info.applied < walk->index) {
        walk->err = env.now_us < walk->wait_us ? MF_OK : MF_TIMEOUT;
        return walk->err != MF_OK;
    }
    enum mf_err err =
        mf_shard_walk_begin(mf_replica_shard(walk->shard->replica), &walk->meta, take_record, walk);
    assert(err == MF_OK); // one snapshot at a time
    (void)err;
    uint64_t age_us =
        info.clock_us > walk->meta.log_time_us ? info.clock_us - walk->meta.log_time_us : 0;
    walk->wall_us = env.wall_us > age_us ? env.wall_us - age_us : 1;
    walk->cut = true;
    return true;
}

static void on_step(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)events;
    struct walk *walk = timer->data;
    if (!walk->cut && walk->err == MF_OK && !cut(walk))
        return;
    if (walk->err != MF_OK)
        walk->walked = true;
    // Before the cluster is formed there is no replica, and an error only.
    struct mf_replica *replica = walk->shard->replica;
    struct mf_shard *shard = replica != NULL ? mf_replica_shard(replica) : NULL;
    if (!walk->walked &&
        atomic_load_explicit(&walk->job->ahead, memory_order_relaxed) < CHUNKS_AHEAD)
        walk->walked = !walk_on(walk, shard);
    if (!walk->walked)
        return;
    if (shard != NULL)
        mf_shard_walk_end(shard);
    ev_timer_stop(loop, timer);
    // With its last chunk the walk belongs to the file's thread, which frees it.
    if (!push_chunk(walk, true))
        ev_timer_start(loop, timer);
}

// The leader's index is known. What it has applied our replica may be still to apply.
static void on_index(void *arg, const struct mf_result *result)
{
    struct walk *walk = arg;
    struct mf_reactor *reactor = walk->shard->reactor;
    if (atomic_load(&reactor->node->snapshotter->stopping)) {
        free(walk); // its thread has not waited for it
        return;
    }
    walk->begun = true;
    if (result->kind == MF_RESULT_ERROR)
        walk->err = result->err;
    else
        walk->index = (uint64_t)result->integer;
    walk->wait_us = mf_mono_us() + CATCH_UP_US;
    ev_timer_init(&walk->timer, on_step, 0.0, STEP_S);
    walk->timer.data = walk;
    ev_timer_start(reactor->loop, &walk->timer);
}

static void begin_walk(struct mf_reactor *reactor, struct mf_task *task)
{
    struct walk *walk = (struct walk *)task;
    if (atomic_load(&reactor->node->snapshotter->stopping)) {
        free(walk);
        return;
    }
    struct mf_command index = {.op = MF_OP_INDEX};
    mf_request_start_on(reactor, walk->shard->id, &index, on_index, walk);
}

// The file, on its own thread.

static enum mf_err write_records(struct job *job, uint32_t shard, struct mf_bytes records)
{
    struct mf_reader r = mf_reader_of(records);
    while (mf_reader_left(&r) > 0) {
        struct mf_record record;
        record.is_id = mf_read_u8(&r) != 0;
        record.version = mf_read_u64(&r);
        record.deadline_us = mf_read_u64(&r);
        record.key = mf_read_blob(&r);
        record.value = mf_read_blob(&r);
        enum mf_err err = mf_snapshot_put(job->writer, shard, &record);
        if (err != MF_OK)
            return err;
    }
    return MF_OK;
}

// Takes all chunks of one walk, written or not: the walk must come to its end.
static enum mf_err write_shard(struct job *job, struct walk *walk, uint32_t shard)
{
    enum mf_err err = MF_OK;
    bool begun = false;
    for (bool last = false; !last;) {
        while (sem_wait(&job->ready) != 0 && errno == EINTR)
            continue;
        struct chunk *chunk = mf_ring_pop(job->chunks);
        if (chunk == NULL)
            return MF_SHUTTING_DOWN; // woken by mf_snapshotter_stop
        atomic_fetch_sub_explicit(&job->ahead, 1, memory_order_relaxed);
        if (chunk->err != MF_OK)
            err = chunk->err;
        else if (!begun)
            err = mf_snapshot_begin_shard(job->writer, shard, &walk->meta, walk->wall_us);
        begun = true;
        if (err == MF_OK)
            err = write_records(job, shard, mf_buf_view(&chunk->records));
        last = chunk->last;
        mf_buf_free(&chunk->records);
        free(chunk);
    }
    return err != MF_OK ? err : mf_snapshot_end_shard(job->writer, shard);
}

static enum mf_err write_shards(struct job *job)
{
    struct mf_node *node = job->snapshotter->node;
    for (uint32_t i = 0; i < node->config.shards; i++) {
        if (!mf_node_holds(node, i))
            continue;
        struct mf_reactor *owner = node->reactors[mf_reactor_of_shard(node, i)];
        struct walk *walk = mf_calloc(1, sizeof(*walk));
        walk->task.run = begin_walk;
        walk->job = job;
        walk->shard = mf_reactor_shard(owner, i);
        mf_reactor_post(owner, &walk->task);
        enum mf_err err = write_shard(job, walk, i);
        if (err == MF_SHUTTING_DOWN && !walk->begun)
            return err; // the task is still on its way, and frees it
        mf_buf_free(&walk->records);
        free(walk);
        if (err != MF_OK)
            return err;
    }
    return MF_OK;
}

static void tell(struct mf_reactor *reactor, struct mf_task *task)
{
    (void)reactor;
    struct job *job = (struct job *)task;
    double seconds = (double)(mf_mono_us() - job->started_us) / 1e6;
    struct mf_buf out = {0};
    mf_pack_map(&out, 5);
    mf_pack_str(&out, "path");
    mf_pack_str(&out, job->path);
    mf_pack_str(&out, "keys");
    mf_pack_uint(&out, job->totals.keys);
    mf_pack_str(&out, "bytes");
    mf_pack_uint(&out, job->totals.bytes);
    mf_pack_str(&out, "shards");
    mf_pack_uint(&out, job->totals.shards);
    mf_pack_str(&out, "seconds");
    mf_pack_double(&out, seconds);
    if (job->err == MF_OK)
        mf_log(MF_INFO, "snapshot %s: %llu keys, %llu bytes, %.3f s", job->path,
               (unsigned long long)job->totals.keys, (unsigned long long)job->totals.bytes,
               seconds);
    else
        mf_log(MF_ERROR, "snapshot %s failed: %s", job->name, job->message);
    // Only now may another begin: its thread's start waits for the end of the one that posted this.
    atomic_store(&job->snapshotter->busy, false);
    job->done(job->arg, job->err, job->message, mf_buf_view(&out));
    mf_buf_free(&out);
    mf_ring_free(job->chunks);
    sem_destroy(&job->ready);
    free(job);
}

static enum mf_err find_folder(struct job *job, const char *folder)
{
    char absolute[PATH_MAX];
    bool there = mkdir(folder, 0750) == 0 || errno == EEXIST;
    if (!there || realpath(folder, absolute) == NULL) {
        snprintf(job->message, sizeof(job->message), "cannot create the folder %.300s: %s", folder,
                 strerror(errno));
        return MF_INTERNAL;
    }
    snprintf(job->path, sizeof(job->path), "%s/%s", absolute, job->name);
    return MF_OK;
}

static void *write_file(void *arg)
{
    struct job *job = arg;
    struct mf_snapshotter *snapshotter = job->snapshotter;
    const struct mf_config *config = &snapshotter->node->config;
    struct mf_snapshot_info info = {
        .cluster = config->name, .shard_count = config->shards, .created_us = mf_wall_us()};
    job->err = find_folder(job, config->snapshot_dir);
    if (job->err == MF_OK && mf_snapshot_create(job->path, &info, &job->writer, job->message,
                                                sizeof(job->message)) != MF_OK)
        job->err = MF_INTERNAL;
    if (job->err == MF_OK) {
        job->err = write_shards(job);
        if (job->err != MF_OK) {
            const char *why = mf_snapshot_why(job->writer);
            snprintf(job->message, sizeof(job->message), "%.500s",
                     why[0] != '\0' ? why : mf_err_text(job->err));
            mf_snapshot_abort(job->writer);
        } else {
            job->err =
                mf_snapshot_commit(job->writer, &job->totals, job->message, sizeof(job->message));
        }
        if (job->err == MF_IO || job->err == MF_CORRUPT)
            job->err = MF_INTERNAL;
    }
    atomic_store(&snapshotter->job, NULL);
    job->task.run = tell;
    mf_reactor_post(job->home, &job->task);
    return NULL;
}

// A thread that has ended is joined when the next one starts.
static bool start_thread(struct mf_snapshotter *snapshotter, struct job *job)
{
    pthread_mutex_lock(&snapshotter->node->mutex);
    if (snapshotter->has_thread)
        pthread_join(snapshotter->thread, NULL);
    snapshotter->has_thread = pthread_create(&snapshotter->thread, NULL, write_file, job) == 0;
    bool started = snapshotter->has_thread;
    pthread_mutex_unlock(&snapshotter->node->mutex);
    return started;
}

void mf_snapshotter_start(struct mf_snapshotter *snapshotter, struct mf_reactor *reactor,
                          struct mf_bytes name, mf_admin_done *done, void *arg)
{
    if (atomic_exchange(&snapshotter->busy, true)) {
        done(arg, MF_BUSY, "another snapshot is being written", mf_bytes_of(NULL, 0));
        return;
    }
    struct job *job = mf_calloc(1, sizeof(*job));
    job->snapshotter = snapshotter;
    job->home = reactor;
    job->done = done;
    job->arg = arg;
    job->started_us = mf_mono_us();
    snprintf(job->name, sizeof(job->name), "%.*s", (int)name.len, (const char *)name.data);
    job->chunks = mf_ring_new(CHUNK_SLOTS);
    sem_init(&job->ready, 0, 0);
    atomic_store(&snapshotter->job, job);
    if (start_thread(snapshotter, job))
        return;
    atomic_store(&snapshotter->job, NULL);
    job->err = MF_INTERNAL;
    snprintf(job->message, sizeof(job->message), "cannot start a thread");
    tell(reactor, &job->task);
}

void mf_snapshotter_stop(struct mf_snapshotter *snapshotter)
{
    atomic_store(&snapshotter->stopping, true);
    struct job *job = atomic_load(&snapshotter->job);
    if (job != NULL)
        sem_post(&job->ready);
    if (snapshotter->has_thread)
        pthread_join(snapshotter->thread, NULL);
    snapshotter->has_thread = false;
}

void mf_snapshotter_free(struct mf_snapshotter *snapshotter)
{
    free(snapshotter);
}
