// A shard's walk and its end in a file; see walk.h.
#include "server/walk.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "shards/entry.h"

#define CHUNK_BYTES (64u << 10)
#define AHEAD_BYTES (2u << 20)
#define CHUNK_SPARE_BYTES (8u << 10) // for the record that makes it full, as a rule
#define CHUNK_SLOTS 64
// One step visits this many buckets of the map, of about 8 records each, or fewer when these bytes
// have come together, and the next step comes this much later.
#define STEP_BUCKETS 16
#define STEP_BYTES CHUNK_BYTES
#define STEP_S 0.0005
// Compressing a chunk takes longer than a step: it may not keep a reactor from its processor.
#define FILE_THREAD_NICE 10
// A replica that is behind by more than it can make up in this time cannot be cut.
#define CATCH_UP_US UINT64_C(30000000)
// A file that takes nothing while writers wait is given up after so many request timeouts.
#define PATIENCE_TIMEOUTS 6

struct chunk {
    struct mf_walk *walk;
    bool last;
    enum mf_err err;       // the shard could not be cut
    struct mf_buf records; // see take_record
    size_t bytes;          // with the values that they only point to
    size_t early_bytes;    // of them
};

void mf_walk_pipe_init(struct mf_walk_pipe *pipe)
{
    pipe->chunks = mf_ring_new(CHUNK_SLOTS);
    sem_init(&pipe->ready, 0, 0);
}

// Hands out the records of a chunk until there is an error, and gives back what they have kept: so
// each chunk comes here once, if only with an error.
static enum mf_err hand_out(struct mf_buf *records, enum mf_err err,
                            struct mf_snapshot_writer *writer, uint32_t shard)
{
    struct mf_reader r = mf_reader_of(mf_buf_view(records));
    while (mf_reader_left(&r) > 0) {
        struct mf_record record;
        record.is_id = mf_read_u8(&r) != 0;
        record.version = mf_read_u64(&r);
        record.deadline_us = mf_read_u64(&r);
        record.key = mf_read_blob(&r);
        bool kept = mf_read_u8(&r) != 0;
        if (kept) {
            const void *data = (const void *)(uintptr_t)mf_read_u64(&r);
            record.value = mf_bytes_of(data, (size_t)mf_read_u64(&r));
        } else {
            record.value = mf_read_blob(&r);
        }
        if (err == MF_OK)
            err = mf_snapshot_put(writer, shard, &record);
        if (kept)
            mf_entry_release_value(record.value);
    }
    mf_buf_free(records);
    return err;
}

static void drop(struct mf_buf *records)
{
    (void)hand_out(records, MF_SHUTTING_DOWN, NULL, 0);
}

void mf_walk_pipe_free(struct mf_walk_pipe *pipe)
{
    struct chunk *chunk;
    while ((chunk = mf_ring_pop(pipe->chunks)) != NULL) {
        drop(&chunk->records);
        free(chunk);
    }
    mf_ring_free(pipe->chunks);
    sem_destroy(&pipe->ready);
}

void mf_walk_pipe_wake(struct mf_walk_pipe *pipe)
{
    sem_post(&pipe->ready);
}

// The shard's reactor.

static bool push_chunk(struct mf_walk *walk, bool last)
{
    struct mf_walk_pipe *pipe = walk->pipe;
    struct chunk *chunk = mf_alloc(sizeof(*chunk));
    size_t kept_bytes = walk->kept_bytes;
    size_t early_bytes = walk->early_bytes;
    size_t bytes = walk->records.len + kept_bytes;
    *chunk = (struct chunk){.walk = walk,
                            .last = last,
                            .err = walk->err,
                            .records = walk->records,
                            .bytes = bytes,
                            .early_bytes = early_bytes};
    // Once pushed, the last chunk's walk may be gone.
    walk->records = (struct mf_buf){0};
    walk->kept_bytes = 0;
    walk->early_bytes = 0;
    atomic_fetch_add_explicit(&pipe->ahead_bytes, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&walk->early_pushed, early_bytes, memory_order_relaxed);
    if (!mf_ring_push(pipe->chunks, chunk)) {
        atomic_fetch_sub_explicit(&pipe->ahead_bytes, bytes, memory_order_relaxed);
        atomic_fetch_sub_explicit(&walk->early_pushed, early_bytes, memory_order_relaxed);
        walk->records = chunk->records;
        walk->kept_bytes = kept_bytes;
        walk->early_bytes = early_bytes;
        free(chunk);
        return false; // what is here waits for the next step
    }
    sem_post(&pipe->ready);
    return true;
}

static size_t early_of(const struct mf_walk *walk)
{
    return walk->early_bytes + atomic_load_explicit(&walk->early_pushed, memory_order_relaxed);
}

// From within mf_replica_flush as a rule: the next entry finds the replica held.
static void note_early(struct mf_walk *walk, size_t bytes)
{
    struct mf_reactor_counters *counters = &walk->shard->reactor->counters;
    walk->early_bytes += bytes;
    size_t early = early_of(walk);
    mf_counter_max(&counters->walk_early_bytes_max, early);
    if (walk->holding || early < MF_WALK_EARLY_BYTES)
        return;
    walk->holding = true;
    walk->moved_us = mf_reactor_now_us(walk->shard->reactor);
    atomic_fetch_add_explicit(&counters->walk_holds, 1, memory_order_relaxed);
    mf_replica_hold(walk->shard->replica, true);
}

static void release(struct mf_walk *walk)
{
    if (!walk->holding)
        return;
    walk->holding = false;
    if (walk->shard->replica == NULL)
        return;
    mf_replica_hold(walk->shard->replica, false);
    mf_reactor_touch(walk->shard);
}

// Lets the replica go on once there is room, and gives up a file that takes nothing.
static void look_after_hold(struct mf_walk *walk)
{
    struct mf_reactor *reactor = walk->shard->reactor;
    size_t early = early_of(walk);
    uint64_t now_us = mf_reactor_now_us(reactor);
    uint64_t patience_us =
        PATIENCE_TIMEOUTS * (uint64_t)reactor->node->config.request_timeout_ms * 1000;
    if (early != walk->early_seen)
        walk->moved_us = now_us;
    walk->early_seen = early;
    if (early <= MF_WALK_EARLY_BYTES / 2)
        release(walk);
    else if (now_us >= walk->moved_us + patience_us)
        walk->err = MF_TIMEOUT;
}

// A large value stays where it is, whatever becomes of its key: nothing is copied that could make
// this step long.
static void take_record(void *arg, const struct mf_record *record)
{
    struct mf_walk *walk = arg;
    size_t bytes_before = walk->records.len + walk->kept_bytes;
    // All at once: a buffer that grows is copied, and its pages are touched anew.
    if (walk->records.cap == 0)
        (void)mf_buf_reserve(&walk->records, CHUNK_BYTES + CHUNK_SPARE_BYTES);
    mf_buf_u8(&walk->records, record->is_id);
    mf_buf_u64(&walk->records, record->version);
    mf_buf_u64(&walk->records, record->deadline_us);
    mf_buf_blob(&walk->records, record->key);
    bool kept = mf_entry_keep_value(record->value);
    mf_buf_u8(&walk->records, kept);
    if (kept) {
        mf_buf_u64(&walk->records, (uintptr_t)record->value.data);
        mf_buf_u64(&walk->records, record->value.len);
        walk->kept_bytes += record->value.len;
    } else {
        mf_buf_blob(&walk->records, record->value);
    }
    walk->taken += record->key.len + record->value.len;
    if (!walk->stepping)
        note_early(walk, walk->records.len + walk->kept_bytes - bytes_before);
    if (walk->records.len + walk->kept_bytes >= CHUNK_BYTES)
        (void)push_chunk(walk, false);
}

// A little of the walk, however large the values are. False when it is complete.
static bool walk_on(struct mf_walk *walk, struct mf_shard *shard)
{
    bool more = true;
    walk->taken = 0;
    walk->stepping = true;
    for (uint32_t i = 0; i < STEP_BUCKETS && walk->taken < STEP_BYTES && more; i++)
        more = mf_shard_walk_step(shard, 1);
    walk->stepping = false;
    return more;
}

// The cut: the state as it is now, if it is as new as it must be and nobody else walks it. False
// while it is to be waited for.
static bool cut(struct mf_walk *walk)
{
    struct mf_replica_env env = mf_reactor_env(walk->shard->reactor);
    struct mf_replica *replica = walk->shard->replica;
    struct mf_replica_info info;
    mf_replica_info(replica, &env, &info);
    if (info.applied < walk->index) {
        walk->err = env.now_us < walk->until_us ? MF_OK : MF_TIMEOUT;
        return walk->err != MF_OK;
    }
    if (mf_paxos_blank(mf_replica_paxos(replica))) {
        walk->err = MF_AGAIN; // what comes takes the place of this state
        return true;
    }
    struct mf_shard *state = mf_replica_shard(replica);
    if (!mf_shard_walk_settle(state) ||
        mf_shard_walk_begin(state, &walk->meta, take_record, walk) != MF_OK)
        return false;
    walk->state = state;
    if (walk->with_members) {
        const struct mf_members *members = mf_replica_members(replica);
        mf_buf_u64(&walk->members, members->slot);
        mf_buf_u64(&walk->members, members->round);
        mf_members_encode(members, &walk->members);
        struct mf_bytes roster = mf_shard_roster(state);
        if (roster.len > 0) {
            mf_buf_u64(&walk->members, mf_shard_roster_version(state));
            mf_buf_put(&walk->members, roster.data, roster.len);
        }
    }
    uint64_t age_us =
        info.clock_us > walk->meta.log_time_us ? info.clock_us - walk->meta.log_time_us : 0;
    walk->wall_us = env.wall_us > age_us ? env.wall_us - age_us : 1;
    walk->cut = true;
    return true;
}

static void step(struct ev_loop *loop, struct mf_walk *walk)
{
    struct mf_replica *replica = walk->shard->replica;
    struct mf_shard *shard = replica != NULL ? mf_replica_shard(replica) : NULL;
    if (replica == NULL && !walk->cut)
        walk->err = MF_AGAIN; // given up
    if (!walk->cut && walk->err == MF_OK && !cut(walk))
        return;
    if (walk->cut && !walk->walked && shard != walk->state)
        walk->err = MF_AGAIN; // a snapshot was installed; with the old state its walk has ended
    if (walk->holding && walk->err == MF_OK)
        look_after_hold(walk);
    if (walk->err != MF_OK)
        walk->walked = true;
    if (!walk->walked &&
        atomic_load_explicit(&walk->pipe->ahead_bytes, memory_order_relaxed) < AHEAD_BYTES) {
        walk->walked = !walk_on(walk, shard);
        atomic_fetch_add_explicit(&walk->shard->reactor->counters.walk_steps, 1,
                                  memory_order_relaxed);
    }
    if (!walk->walked)
        return;
    // Once: while the last chunk waits for room, another walk of the shard may have begun.
    if (walk->state != NULL && shard == walk->state)
        mf_shard_walk_end(shard);
    walk->state = NULL;
    release(walk); // nothing is handed out any more
    ev_timer_stop(loop, &walk->timer);
    // With its last chunk the walk belongs to the file's thread, which frees it.
    if (!push_chunk(walk, true))
        ev_timer_start(loop, &walk->timer);
}

static void on_step(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)events;
    struct mf_walk *walk = timer->data;
    struct mf_reactor_counters *counters = &walk->shard->reactor->counters;
    uint64_t began_us = mf_thread_cpu_us();
    step(loop, walk); // it may give the walk away
    uint64_t took_us = mf_thread_cpu_us() - began_us;
    mf_counter_max(&counters->walk_step_us_max, took_us);
    if (took_us > 1000)
        atomic_fetch_add_explicit(&counters->walk_steps_over_1ms, 1, memory_order_relaxed);
}

static void begin(struct mf_walk *walk)
{
    walk->begun = true;
    ev_timer_init(&walk->timer, on_step, 0.0, STEP_S);
    walk->timer.data = walk;
    ev_timer_start(walk->shard->reactor->loop, &walk->timer);
}

void mf_walk_begin(struct mf_walk *walk, uint64_t index)
{
    walk->index = index;
    walk->until_us = mf_mono_us() + CATCH_UP_US;
    begin(walk);
}

void mf_walk_refuse(struct mf_walk *walk, enum mf_err err)
{
    walk->err = err;
    begin(walk);
}

// The file's thread.

void mf_walk_step_back(void)
{
    // On Linux the number of a thread stands for it alone. Where it is refused, nothing is lost.
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), FILE_THREAD_NICE);
}

static enum mf_err begin_section(struct mf_walk *walk, struct mf_snapshot_writer *writer)
{
    uint32_t shard = walk->shard->id;
    enum mf_err err = mf_snapshot_begin_shard(writer, shard, &walk->meta, walk->wall_us);
    if (err == MF_OK)
        mf_snapshot_set_members(writer, shard, mf_buf_view(&walk->members));
    return err;
}

// True when it was the walk's last. Chunks of a walk that has failed are taken all the same.
static bool write_chunk(struct chunk *chunk, struct mf_snapshot_writer *writer)
{
    struct mf_walk *walk = chunk->walk;
    if (chunk->err != MF_OK)
        walk->outcome = chunk->err;
    else if (!walk->in_file && walk->outcome == MF_OK)
        walk->outcome = begin_section(walk, writer);
    walk->in_file = true;
    walk->outcome = hand_out(&chunk->records, walk->outcome, writer, walk->shard->id);
    atomic_fetch_sub_explicit(&walk->early_pushed, chunk->early_bytes, memory_order_relaxed);
    if (chunk->last && walk->outcome == MF_OK)
        walk->outcome = mf_snapshot_end_shard(writer, walk->shard->id);
    return chunk->last;
}

struct mf_walk *mf_walk_write(struct mf_walk_pipe *pipe, struct mf_snapshot_writer *writer)
{
    struct mf_walk *ended = NULL;
    while (ended == NULL) {
        while (sem_wait(&pipe->ready) != 0 && errno == EINTR)
            continue;
        struct chunk *chunk = mf_ring_pop(pipe->chunks);
        if (chunk == NULL)
            return NULL;
        atomic_fetch_sub_explicit(&pipe->ahead_bytes, chunk->bytes, memory_order_relaxed);
        if (write_chunk(chunk, writer))
            ended = chunk->walk;
        free(chunk);
    }
    return ended;
}

void mf_walk_free(struct mf_walk *walk)
{
    drop(&walk->records);
    mf_buf_free(&walk->members);
}
