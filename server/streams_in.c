// Streams of checkpoints: the receiving side, from the first chunk to the replica; see streams.h.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"
#include "server/checkpoint.h"
#include "server/copies.h"
#include "server/reactor.h"
#include "server/streams_internal.h"
#include "server/worker.h"
#include "snapshot/reader.h"

// So many files at once for a reactor's shards. Other offers wait.
#define TAKING_MAX 8u
#define INCOMING_PATH_BYTES (MF_CHECKPOINT_PATH_BYTES + 32)

struct mf_stream_receiver {
    struct mf_owned_shard *shard;
    struct mf_stream_in in;
    uint64_t begun_us;
    struct check *checked; // a state that waits for its installation
};

static struct mf_stream_receiver **place_of(struct mf_owned_shard *shard)
{
    struct mf_reactor *reactor = shard->reactor;
    return &reactor->streams->receivers[shard->id / reactor->node->reactor_count];
}

static struct mf_stream_receiver *receiver_of(struct mf_owned_shard *shard)
{
    struct mf_stream_receiver **place = place_of(shard);
    if (*place == NULL) {
        *place = mf_calloc(1, sizeof(**place));
        (*place)->shard = shard;
    }
    return *place;
}

static void incoming_path(const struct mf_owned_shard *shard, char *path, size_t size)
{
    mf_checkpoint_path(shard->reactor->node, shard->id, path, size);
    size_t len = strlen(path);
    snprintf(path + len, size - len, ".incoming.tmp"); // removed at the next start
}

// Writing, on the worker.

struct write {
    struct mf_job job;
    struct mf_stream_receiver *receiver;
    uint64_t attempt;
    enum { CREATE, WRITE, REMOVE } what;
    uint64_t offset;
    struct mf_buf bytes;
    int error; // errno
};

static int write_at(int fd, const struct mf_buf *bytes, uint64_t offset)
{
    size_t done = 0;
    while (done < bytes->len) {
        ssize_t put = pwrite(fd, bytes->data + done, bytes->len - done, (off_t)(offset + done));
        if (put > 0)
            done += (size_t)put;
        else if (put == 0 || errno != EINTR)
            return put == 0 ? EIO : errno;
    }
    return 0;
}

static void write_file(struct mf_job *job)
{
    struct write *write = (struct write *)job;
    char path[INCOMING_PATH_BYTES];
    incoming_path(write->receiver->shard, path, sizeof(path));
    if (write->what == REMOVE) {
        (void)unlink(path); // if it stays, it goes at the next start
        return;
    }
    int flags = write->what == CREATE ? O_CREAT | O_TRUNC : 0;
    int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0640);
    if (fd < 0) {
        write->error = errno;
        return;
    }
    write->error = write_at(fd, &write->bytes, write->offset);
    if (close(fd) != 0 && write->error == 0)
        write->error = errno;
}

static void on_written(struct mf_reactor *reactor, struct mf_task *task);

// Takes over the bytes.
static void give_write(struct mf_stream_receiver *receiver, struct write what)
{
    struct mf_reactor *reactor = receiver->shard->reactor;
    struct write *write = mf_alloc(sizeof(*write));
    *write = what;
    write->job = (struct mf_job){.task = {.run = on_written}, .home = reactor, .work = write_file};
    write->receiver = receiver;
    write->attempt = receiver->in.attempt;
    mf_worker_give(reactor->node->worker, &write->job);
}

// Checking and loading, on the worker.

struct check {
    struct mf_job job;
    struct mf_stream_receiver *receiver;
    uint64_t attempt;
    uint64_t floor; // an older one is of no use
    struct mf_shard *state;
    struct mf_members members;
    struct mf_checkpoint_info info;
    enum mf_err err;
    char message[512];
};

// It is loaded before it takes the place of the shard's checkpoint: what is there can be loaded.
static void check_file(struct mf_job *job)
{
    struct check *check = (struct check *)job;
    const struct mf_owned_shard *shard = check->receiver->shard;
    struct mf_node *node = shard->reactor->node;
    char path[INCOMING_PATH_BYTES];
    incoming_path(shard, path, sizeof(path));
    check->err = mf_checkpoint_load_file(node, shard->id, path, &check->state, &check->members,
                                         &check->info, check->message, sizeof(check->message));
    if (check->err == MF_OK && check->members.voter_count == 0) {
        snprintf(check->message, sizeof(check->message), "it carries no configuration");
        check->err = MF_CORRUPT;
    }
    if (check->err == MF_OK && check->info.slot < check->floor) {
        snprintf(check->message, sizeof(check->message), "it is older than it was said to be");
        check->err = MF_CORRUPT;
    }
    if (check->err == MF_OK)
        check->err = mf_checkpoint_adopt(node, shard->id, path, &check->info, check->message,
                                         sizeof(check->message));
    if (check->err == MF_AGAIN)
        check->err = MF_OK; // ours is newer, and stays; our replica is as far, or installs this
    if (check->err == MF_OK)
        check->err = mf_copies_back(node, shard->id, check->message, sizeof(check->message));
    (void)unlink(path); // if it has not taken its place
}

static void on_checked(struct mf_reactor *reactor, struct mf_task *task);

static void give_check(struct mf_stream_receiver *receiver)
{
    struct mf_reactor *reactor = receiver->shard->reactor;
    struct check *check = mf_calloc(1, sizeof(*check));
    check->job = (struct mf_job){.task = {.run = on_checked}, .home = reactor, .work = check_file};
    check->receiver = receiver;
    check->attempt = receiver->in.attempt;
    if (receiver->shard->replica != NULL)
        check->floor = mf_paxos_floor(mf_replica_paxos(receiver->shard->replica));
    mf_worker_give(reactor->node->worker, &check->job);
}

// On the shard's reactor.

static void count_taking(struct mf_stream_receiver *receiver, bool before)
{
    struct mf_streams *streams = receiver->shard->reactor->streams;
    bool now = receiver->in.stage != MF_STREAM_NOTHING;
    streams->taking = streams->taking + now - before;
}

static void put_ack(struct mf_stream_receiver *receiver, const struct mf_peer_ack *ack)
{
    mf_streams_put_ack(receiver->shard->reactor->streams, receiver->in.from, receiver->shard->id,
                       ack);
}

static void on_written(struct mf_reactor *reactor, struct mf_task *task)
{
    (void)reactor;
    struct write *write = (struct write *)task;
    struct mf_stream_receiver *receiver = write->receiver;
    // A file that could not be created shows with the first chunk.
    if (write->what == WRITE && !write->job.undone) {
        bool before = receiver->in.stage != MF_STREAM_NOTHING;
        bool ok = write->error == 0;
        struct mf_peer_ack ack;
        enum mf_stream_task next = mf_stream_in_written(&receiver->in, write->attempt,
                                                        write->offset + write->bytes.len, ok, &ack);
        put_ack(receiver, &ack);
        if (next == MF_STREAM_CHECK)
            give_check(receiver);
        count_taking(receiver, before);
        if (!ok && ack.number != 0) {
            mf_log(MF_ERROR, "shard=%u: a checkpoint from node %u cannot be written: %s",
                   receiver->shard->id, receiver->in.from, strerror(write->error));
            give_write(receiver, (struct write){.what = REMOVE});
        }
    }
    mf_buf_free(&write->bytes);
    free(write);
}

// A large state is freed on the worker; nobody has read this one.
static void free_check(struct check *check)
{
    if (check->state != NULL)
        mf_streams_discard(check->receiver->shard->reactor->streams, check->state);
    free(check);
}

static void finish(struct check *check, enum mf_peer_verdict verdict)
{
    struct mf_stream_receiver *receiver = check->receiver;
    bool before = receiver->in.stage != MF_STREAM_NOTHING;
    struct mf_peer_ack ack;
    mf_stream_in_checked(&receiver->in, check->attempt, verdict, &ack);
    count_taking(receiver, before);
    put_ack(receiver, &ack);
    receiver->checked = NULL;
    free_check(check);
}

static void install(struct check *check)
{
    struct mf_stream_receiver *receiver = check->receiver;
    struct mf_owned_shard *shard = receiver->shard;
    struct mf_reactor *reactor = shard->reactor;
    if (mf_shard_walking(mf_replica_shard(shard->replica))) {
        receiver->checked = check; // the tick tries again
        return;
    }
    struct mf_replica_env env = mf_reactor_env(reactor);
    struct mf_shard_meta meta;
    mf_shard_meta(check->state, &meta);
    bool installed = mf_replica_install(shard->replica, &env, check->state, &check->members);
    if (installed) {
        check->state = NULL;
        mf_checkpoint_adopted(shard, meta.applied);
        mf_reactor_touch(shard);
        atomic_fetch_add_explicit(&reactor->counters.snapshots_installed, 1, memory_order_relaxed);
        mf_log(
            MF_INFO, "shard=%u: installed the state of slot %llu from node %u, %.1f MB in %.3f s",
            shard->id, (unsigned long long)meta.applied, receiver->in.from,
            (double)receiver->in.file.bytes / 1e6, (double)(env.now_us - receiver->begun_us) / 1e6);
    }
    struct mf_replica_info info;
    mf_replica_info(shard->replica, &env, &info);
    finish(check, info.applied >= meta.applied ? MF_PEER_HAS : MF_PEER_REFUSES);
}

static void on_checked(struct mf_reactor *reactor, struct mf_task *task)
{
    struct check *check = (struct check *)task;
    struct mf_stream_receiver *receiver = check->receiver;
    if (check->job.undone || atomic_load(&reactor->node->stopping)) {
        mf_shard_free(check->state);
        free(check);
        return;
    }
    if (receiver->shard->replica == NULL) { // given up meanwhile: the next copy begins anew
        finish(check, MF_PEER_REFUSES);
        return;
    }
    if (check->err == MF_OK) {
        install(check);
        return;
    }
    mf_log(MF_ERROR, "shard=%u: a checkpoint from node %u cannot be taken over: %s",
           receiver->shard->id, receiver->in.from, check->message);
    finish(check, check->err == MF_CORRUPT ? MF_PEER_DAMAGED : MF_PEER_REFUSES);
}

void mf_stream_receiver_offer(struct mf_owned_shard *shard, uint16_t from,
                              const struct mf_peer_offer *offer)
{
    struct mf_stream_receiver *receiver = receiver_of(shard);
    struct mf_reactor *reactor = shard->reactor;
    struct mf_streams *streams = reactor->streams;
    struct mf_replica_env env = mf_reactor_env(reactor);
    struct mf_replica_info info;
    mf_replica_info(shard->replica, &env, &info);
    bool before = receiver->in.stage != MF_STREAM_NOTHING;
    struct mf_peer_ack ack = {
        .number = offer->number, .identity = offer->file.identity, .verdict = MF_PEER_BUSY};
    if (!before && streams->taking >= TAKING_MAX && offer->file.slot > info.applied) {
        mf_streams_put_ack(streams, from, shard->id, &ack);
        return;
    }
    if (offer->file.slot < mf_paxos_floor(mf_replica_paxos(shard->replica))) {
        ack.verdict = MF_PEER_REFUSES;
        mf_streams_put_ack(streams, from, shard->id, &ack);
        return;
    }
    enum mf_stream_task task = mf_stream_in_offer(&receiver->in, env.now_us, from,
                                                  mf_replica_acceptor(shard->replica).incarnation,
                                                  info.applied, offer, &ack);
    count_taking(receiver, before);
    if (task == MF_STREAM_CREATE) {
        receiver->begun_us = env.now_us;
        mf_log(MF_INFO, "shard=%u: taking the checkpoint of slot %llu from node %u, %.1f MB",
               shard->id, (unsigned long long)offer->file.slot, from,
               (double)offer->file.bytes / 1e6);
        give_write(receiver, (struct write){.what = CREATE});
    }
    mf_streams_put_ack(streams, from, shard->id, &ack);
}

void mf_stream_receiver_chunk(struct mf_owned_shard *shard, uint16_t from,
                              const struct mf_peer_chunk *chunk, struct mf_buf *bytes)
{
    struct mf_stream_receiver *receiver = receiver_of(shard);
    struct mf_peer_ack ack;
    if (mf_stream_in_chunk(&receiver->in, mf_reactor_now_us(shard->reactor), from, chunk, &ack) !=
        MF_STREAM_WRITE) {
        mf_streams_put_ack(shard->reactor->streams, from, shard->id, &ack);
        return;
    }
    give_write(receiver, (struct write){.what = WRITE, .offset = chunk->offset, .bytes = *bytes});
    *bytes = (struct mf_buf){0};
}

// A file that is still coming in is given up when no more of it comes.
void mf_stream_receiver_drop(struct mf_owned_shard *shard)
{
    struct mf_stream_receiver *receiver = *place_of(shard);
    if (receiver != NULL && receiver->checked != NULL)
        finish(receiver->checked, MF_PEER_REFUSES);
}

void mf_stream_receivers_tick(struct mf_streams *streams, uint64_t now_us)
{
    for (uint32_t i = 0; i < streams->reactor->shard_count; i++) {
        struct mf_stream_receiver *receiver = streams->receivers[i];
        if (receiver == NULL)
            continue;
        if (receiver->checked != NULL)
            install(receiver->checked);
        if (mf_stream_in_tick(&receiver->in, now_us)) {
            count_taking(receiver, true);
            give_write(receiver, (struct write){.what = REMOVE});
        }
    }
}

void mf_stream_receivers_free(struct mf_streams *streams)
{
    for (uint32_t i = 0; i < streams->reactor->shard_count; i++) {
        struct mf_stream_receiver *receiver = streams->receivers[i];
        if (receiver != NULL && receiver->checked != NULL) {
            mf_shard_free(receiver->checked->state);
            free(receiver->checked);
        }
        free(receiver);
    }
}
