// On-demand snapshots; see snapshotter.h.
#include "server/snapshotter.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/counter.h"
#include "base/log.h"
#include "base/thread.h"
#include "rpc/msgpack_rpc.h"
#include "server/request.h"
#include "server/walk.h"
#include "snapshot/source.h"

// One shard's part of it.
struct part {
    struct mf_task task; // to the shard's reactor
    struct mf_walk walk;
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
    struct mf_walk_pipe pipe;
    enum mf_err err;
    char message[512];
    struct mf_snapshot_totals totals;
};

struct mf_snapshotter {
    struct mf_node *node;
    _Atomic bool busy;
    _Atomic bool stopping;
    bool has_thread; // by whoever has set `busy`, as thread; at the end by the main thread
    pthread_t thread;
    struct job *_Atomic job;
    // Written by whoever has set `busy`, read by any (relaxed).
    _Atomic uint64_t begun_us;
    _Atomic uint64_t saved_unix_s;
    _Atomic uint64_t saved;
    _Atomic uint64_t took_us;
    _Atomic bool failed;
};

struct mf_snapshotter *mf_snapshotter_new(struct mf_node *node)
{
    struct mf_snapshotter *snapshotter = mf_calloc(1, sizeof(*snapshotter));
    snapshotter->node = node;
    return snapshotter;
}

// On the shard's reactor.

// The leader's index is known. What it has applied our replica may be still to apply.
static void on_index(void *arg, const struct mf_result *result)
{
    struct part *part = arg;
    struct mf_reactor *reactor = part->walk.shard->reactor;
    if (atomic_load(&reactor->node->snapshotter->stopping))
        free(part); // its thread has not waited for it
    else if (result->kind == MF_RESULT_ERROR)
        mf_walk_refuse(&part->walk, result->err);
    else
        mf_walk_begin(&part->walk, (uint64_t)result->integer);
}

static void begin_part(struct mf_reactor *reactor, struct mf_task *task)
{
    struct part *part = (struct part *)task;
    if (atomic_load(&reactor->node->snapshotter->stopping)) {
        free(part);
        return;
    }
    struct mf_command index = {.op = MF_OP_INDEX};
    mf_request_start_on(reactor, part->walk.shard->id, &index, on_index, part);
}

// The file, on its own thread.

// The shards of one reactor, one after the other.
struct lane {
    uint32_t next;     // shard that comes next
    struct part *part; // under way; NULL: none is
};

// Begins the lane's next shard that is held here, if there is one.
static void begin_next(struct job *job, struct lane *lane)
{
    struct mf_node *node = job->snapshotter->node;
    while (lane->next < node->config.shards && !mf_node_holds(node, lane->next))
        lane->next += node->reactor_count;
    lane->part = NULL;
    if (lane->next >= node->config.shards)
        return;
    struct mf_reactor *owner = node->reactors[mf_reactor_of_shard(node, lane->next)];
    lane->part = mf_calloc(1, sizeof(*lane->part));
    lane->part->task.run = begin_part;
    lane->part->walk.pipe = &job->pipe;
    lane->part->walk.shard = mf_reactor_shard(owner, lane->next);
    lane->next += node->reactor_count;
    mf_reactor_post(owner, &lane->part->task);
}

static void free_part(struct part *part)
{
    mf_walk_free(&part->walk);
    free(part);
}

// The reactors have ended. What had begun is left to us, any other task frees itself.
static void drop_lanes(struct lane *lanes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (lanes[i].part != NULL && lanes[i].part->walk.begun)
            free_part(lanes[i].part);
    }
}

// All reactors at once. After a failure nothing new is begun, and what is under way is waited for.
static enum mf_err write_shards(struct job *job)
{
    struct mf_node *node = job->snapshotter->node;
    struct lane lanes[MF_THREADS_MAX];
    uint32_t under_way = 0;
    for (uint32_t i = 0; i < node->reactor_count; i++) {
        lanes[i].next = i;
        begin_next(job, &lanes[i]);
        under_way += lanes[i].part != NULL;
    }
    enum mf_err err = MF_OK;
    while (under_way > 0) {
        struct mf_walk *walk = mf_walk_write(&job->pipe, job->writer);
        if (walk == NULL) {
            drop_lanes(lanes, node->reactor_count);
            return MF_SHUTTING_DOWN;
        }
        struct lane *lane = &lanes[mf_reactor_of_shard(node, walk->shard->id)];
        // Given up meanwhile, before it was cut: then it is no part of this node's snapshot.
        bool gone = walk->outcome == MF_AGAIN && !mf_node_holds(node, walk->shard->id);
        if (err == MF_OK && !gone)
            err = walk->outcome;
        free_part(lane->part);
        lane->part = NULL;
        if (err == MF_OK)
            begin_next(job, lane);
        under_way -= lane->part == NULL;
    }
    return err;
}

static void note_end(struct mf_snapshotter *snapshotter, const struct job *job)
{
    atomic_store_explicit(&snapshotter->failed, job->err != MF_OK, memory_order_relaxed);
    mf_counter_set(&snapshotter->begun_us, 0);
    if (job->err != MF_OK)
        return;
    mf_counter_add(&snapshotter->saved, 1);
    mf_counter_set(&snapshotter->took_us, mf_mono_us() - job->started_us);
    mf_counter_set(&snapshotter->saved_unix_s, mf_wall_us() / 1000000);
}

void mf_snapshotter_stats(const struct mf_snapshotter *snapshotter,
                          struct mf_snapshotter_stats *stats)
{
    stats->begun_us = mf_counter_read(&snapshotter->begun_us);
    stats->saved_unix_s = mf_counter_read(&snapshotter->saved_unix_s);
    stats->saved = mf_counter_read(&snapshotter->saved);
    stats->took_us = mf_counter_read(&snapshotter->took_us);
    stats->failed = atomic_load_explicit(&snapshotter->failed, memory_order_relaxed);
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
    note_end(job->snapshotter, job);
    // Only now may another begin: its thread's start waits for the end of the one that posted this.
    atomic_store(&job->snapshotter->busy, false);
    job->done(job->arg, job->err, job->message, mf_buf_view(&out));
    mf_buf_free(&out);
    mf_walk_pipe_free(&job->pipe);
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
    enum mf_err err = mf_snapshot_recognize(job->path);
    if (err != MF_BAD_REQUEST)
        return MF_OK; // what cannot be read is found by who writes
    snprintf(job->message, sizeof(job->message),
             "%.400s is there and is no snapshot: it is not replaced", job->path);
    return MF_BAD_REQUEST;
}

static void *write_file(void *arg)
{
    struct job *job = arg;
    struct mf_snapshotter *snapshotter = job->snapshotter;
    const struct mf_config *config = &snapshotter->node->config;
    mf_walk_step_back();
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

// A thread that has ended is joined when the next one starts: its last act was to say so.
static bool start_thread(struct mf_snapshotter *snapshotter, struct job *job)
{
    if (snapshotter->has_thread)
        pthread_join(snapshotter->thread, NULL);
    snapshotter->has_thread =
        mf_thread_start(&snapshotter->thread, "snapshot", write_file, job) == 0;
    return snapshotter->has_thread;
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
    mf_counter_set(&snapshotter->begun_us, job->started_us);
    snprintf(job->name, sizeof(job->name), "%.*s", (int)name.len, (const char *)name.data);
    mf_walk_pipe_init(&job->pipe);
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
        mf_walk_pipe_wake(&job->pipe);
    if (snapshotter->has_thread)
        pthread_join(snapshotter->thread, NULL);
    snapshotter->has_thread = false;
}

void mf_snapshotter_free(struct mf_snapshotter *snapshotter)
{
    free(snapshotter);
}
