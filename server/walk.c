// A shard's walk and its end in a file; see walk.h.
#include "server/walk.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"

#define CHUNK_BYTES (256u << 10)
#define CHUNKS_AHEAD 8
#define CHUNK_SLOTS 64
// One step visits this many buckets of the map, of about 8 records each, or fewer when these bytes
// have come together, and the next step comes this much later.
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

void mf_walk_pipe_init(struct mf_walk_pipe *pipe)
{
    pipe->chunks = mf_ring_new(CHUNK_SLOTS);
    sem_init(&pipe->ready, 0, 0);
}

static void free_chunk(struct chunk *chunk)
{
    mf_buf_free(&chunk->records);
    free(chunk);
}

void mf_walk_pipe_free(struct mf_walk_pipe *pipe)
{
    struct chunk *chunk;
    while ((chunk = mf_ring_pop(pipe->chunks)) != NULL)
        free_chunk(chunk);
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
    *chunk = (struct chunk){.last = last, .err = walk->err, .records = walk->records};
    // Once pushed, the last chunk's walk may be gone.
    walk->records = (struct mf_buf){0};
    atomic_fetch_add_explicit(&pipe->ahead, 1, memory_order_relaxed);
    if (!mf_ring_push(pipe->chunks, chunk)) {
        atomic_fetch_sub_explicit(&pipe->ahead, 1, memory_order_relaxed);
        walk->records = chunk->records;
        free(chunk);
        return false; // what is here waits for the next step
    }
    sem_post(&pipe->ready);
    return true;
}

static void take_record(void *arg, const struct mf_record *record)
{
    struct mf_walk *walk = arg;
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
static bool walk_on(struct mf_walk *walk, struct mf_shard *shard)
{
    walk->taken = 0;
    for (uint32_t i = 0; i < STEP_BUCKETS && walk->taken < STEP_BYTES; i++) {
        if (!mf_shard_walk_step(shard, 1))
            return false;
    }
    return true;
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
    if (mf_shard_walk_begin(mf_replica_shard(replica), &walk->meta, take_record, walk) != MF_OK)
        return false;
    walk->state = mf_replica_shard(replica);
    if (walk->with_members) {
        const struct mf_members *members = mf_replica_members(replica);
        mf_buf_u64(&walk->members, members->slot);
        mf_buf_u64(&walk->members, members->round);
        mf_members_encode(members, &walk->members);
        const struct mf_shard *state = mf_replica_shard(replica);
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

static void on_step(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)events;
    struct mf_walk *walk = timer->data;
    struct mf_replica *replica = walk->shard->replica;
    struct mf_shard *shard = replica != NULL ? mf_replica_shard(replica) : NULL;
    if (replica == NULL && !walk->cut)
        walk->err = MF_AGAIN; // given up
    if (!walk->cut && walk->err == MF_OK && !cut(walk))
        return;
    if (walk->cut && !walk->walked && shard != walk->state)
        walk->err = MF_AGAIN; // a snapshot was installed; with the old state its walk has ended
    if (walk->err != MF_OK)
        walk->walked = true;
    if (!walk->walked &&
        atomic_load_explicit(&walk->pipe->ahead, memory_order_relaxed) < CHUNKS_AHEAD)
        walk->walked = !walk_on(walk, shard);
    if (!walk->walked)
        return;
    if (walk->cut && shard == walk->state)
        mf_shard_walk_end(shard);
    ev_timer_stop(loop, timer);
    // With its last chunk the walk belongs to the file's thread, which frees it.
    if (!push_chunk(walk, true))
        ev_timer_start(loop, timer);
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

static enum mf_err write_records(struct mf_snapshot_writer *writer, uint32_t shard,
                                 struct mf_bytes records)
{
    struct mf_reader r = mf_reader_of(records);
    while (mf_reader_left(&r) > 0) {
        struct mf_record record;
        record.is_id = mf_read_u8(&r) != 0;
        record.version = mf_read_u64(&r);
        record.deadline_us = mf_read_u64(&r);
        record.key = mf_read_blob(&r);
        record.value = mf_read_blob(&r);
        enum mf_err err = mf_snapshot_put(writer, shard, &record);
        if (err != MF_OK)
            return err;
    }
    return MF_OK;
}

static enum mf_err begin_section(struct mf_walk *walk, struct mf_snapshot_writer *writer)
{
    uint32_t shard = walk->shard->id;
    enum mf_err err = mf_snapshot_begin_shard(writer, shard, &walk->meta, walk->wall_us);
    if (err == MF_OK)
        mf_snapshot_set_members(writer, shard, mf_buf_view(&walk->members));
    return err;
}

// Takes all chunks, written or not: the walk must come to its end.
enum mf_err mf_walk_write(struct mf_walk *walk, struct mf_snapshot_writer *writer)
{
    enum mf_err err = MF_OK;
    bool begun = false;
    for (bool last = false; !last;) {
        while (sem_wait(&walk->pipe->ready) != 0 && errno == EINTR)
            continue;
        struct chunk *chunk = mf_ring_pop(walk->pipe->chunks);
        if (chunk == NULL)
            return MF_SHUTTING_DOWN;
        atomic_fetch_sub_explicit(&walk->pipe->ahead, 1, memory_order_relaxed);
        if (chunk->err != MF_OK)
            err = chunk->err;
        else if (!begun)
            err = begin_section(walk, writer);
        begun = true;
        if (err == MF_OK)
            err = write_records(writer, walk->shard->id, mf_buf_view(&chunk->records));
        last = chunk->last;
        free_chunk(chunk);
    }
    return err != MF_OK ? err : mf_snapshot_end_shard(writer, walk->shard->id);
}

void mf_walk_free(struct mf_walk *walk)
{
    mf_buf_free(&walk->records);
    mf_buf_free(&walk->members);
}
