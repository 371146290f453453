// Streams of checkpoints: the sending side, and items on their way to their shards; see streams.h.
#include "server/streams.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/checkpoint.h"
#include "server/links.h"
#include "server/reactor.h"
#include "server/streams_internal.h"
#include "server/worker.h"
#include "snapshot/reader.h"

// A checkpoint that is waited for is asked for in this rhythm.
#define REQUEST_US UINT64_C(1000000)
// A stream that was given up is begun again after this long, if it is still needed.
#define REST_US UINT64_C(5000000)
// What follows a checkpoint in the log stays for those who get it, for so long from the beginning
// of its stream, and from its end.
#define NEEDED_US UINT64_C(60000000)
#define LINGER_US UINT64_C(10000000)

struct mf_stream_sender {
    struct mf_stream_sender *next;
    struct mf_streams *streams;
    struct mf_owned_shard *shard;
    struct mf_acceptor to;
    enum { WAITING, OPENING, OPEN, LINGERING, RESTING } stage;
    uint64_t request_us; // WAITING: when to ask for a checkpoint next
    uint64_t begun_us;
    uint64_t until_us; // LINGERING, RESTING
    int fd;
    struct mf_stream_out out;
    struct mf_buf chunk; // read from the file, at `offset`
    uint64_t offset;
    // The job that is under way, if any. A sender that is not wanted any more waits for its end.
    struct mf_job job;
    bool busy;
    bool dead;
    // The job's results.
    struct mf_peer_checkpoint file;
    enum mf_err err;
    char message[512];
};

static struct mf_worker *worker_of(const struct mf_streams *streams)
{
    return streams->reactor->node->worker;
}

static struct mf_owned_shard *shard_of(struct mf_streams *streams, uint32_t shard)
{
    return mf_reactor_shard(streams->reactor, shard);
}

static void unlink_sender(struct mf_stream_sender *sender)
{
    struct mf_stream_sender **at = &sender->streams->first;
    while (*at != sender)
        at = &(*at)->next;
    *at = sender->next;
}

// The worker may still read from it: then it is closed with the sender.
static void close_file(struct mf_stream_sender *sender)
{
    if (sender->fd < 0 || sender->busy)
        return;
    close(sender->fd);
    sender->fd = -1;
}

static void free_sender(struct mf_stream_sender *sender)
{
    unlink_sender(sender);
    sender->busy = false;
    close_file(sender);
    mf_buf_free(&sender->chunk);
    free(sender);
}

static void end_sender(struct mf_stream_sender *sender)
{
    sender->dead = true;
    if (!sender->busy)
        free_sender(sender);
}

static void on_job(struct mf_reactor *reactor, struct mf_task *task);

static void give(struct mf_stream_sender *sender, void (*work)(struct mf_job *job))
{
    sender->busy = true;
    sender->job.task.run = on_job;
    sender->job.home = sender->streams->reactor;
    sender->job.work = work;
    mf_worker_give(worker_of(sender->streams), &sender->job);
}

static struct mf_stream_sender *sender_of(struct mf_job *job)
{
    return (struct mf_stream_sender *)(void *)((char *)job -
                                               offsetof(struct mf_stream_sender, job));
}

// On the worker.

// The file stays what it is while it is open, also when a newer one takes its name.
static void open_file(struct mf_job *job)
{
    struct mf_stream_sender *sender = sender_of(job);
    char path[MF_CHECKPOINT_PATH_BYTES];
    mf_checkpoint_path(sender->streams->reactor->node, sender->shard->id, path, sizeof(path));
    sender->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (sender->fd < 0) {
        snprintf(sender->message, sizeof(sender->message), "cannot open %.400s: %s", path,
                 strerror(errno));
        sender->err = MF_IO;
        return;
    }
    char same[32];
    snprintf(same, sizeof(same), "/proc/self/fd/%d", sender->fd);
    struct mf_snapshot_reader *reader = NULL;
    sender->err = mf_snapshot_open(same, &reader, sender->message, sizeof(sender->message));
    if (sender->err != MF_OK)
        return;
    struct mf_snapshot_summary summary;
    mf_snapshot_summary(reader, &summary);
    const struct mf_snapshot_shard *section = mf_snapshot_section(reader, 0);
    sender->file = (struct mf_peer_checkpoint){.slot = section->meta.applied,
                                               .log_time_us = section->meta.log_time_us,
                                               .bytes = summary.file_bytes,
                                               .identity = summary.identity};
    mf_snapshot_close(reader);
}

static void read_chunk(struct mf_job *job)
{
    struct mf_stream_sender *sender = sender_of(job);
    size_t done = 0;
    while (done < sender->chunk.len) {
        ssize_t got = pread(sender->fd, sender->chunk.data + done, sender->chunk.len - done,
                            (off_t)(sender->offset + done));
        if (got > 0) {
            done += (size_t)got;
        } else if (got == 0 || errno != EINTR) {
            snprintf(sender->message, sizeof(sender->message), "cannot read on: %s",
                     got == 0 ? "it has become shorter" : strerror(errno));
            sender->err = MF_IO;
            return;
        }
    }
}

// On the shard's reactor.

static void rest(struct mf_stream_sender *sender, const char *why)
{
    mf_log(MF_WARN, "shard=%u: the checkpoint cannot be streamed to node %u: %s", sender->shard->id,
           sender->to.node, why);
    sender->stage = RESTING;
    sender->until_us = mf_mono_us() + REST_US;
}

static void on_job(struct mf_reactor *reactor, struct mf_task *task)
{
    struct mf_stream_sender *sender = sender_of((struct mf_job *)task);
    sender->busy = false;
    if (sender->dead || sender->job.undone) {
        free_sender(sender);
        return;
    }
    if (sender->err != MF_OK) {
        rest(sender, sender->message);
        return;
    }
    if (sender->stage != OPENING)
        return;
    uint64_t number = 0;
    mf_entropy(&number, sizeof(number));
    sender->stage = OPEN;
    mf_stream_out_begin(&sender->out, &sender->file, sender->to.incarnation, number,
                        mf_reactor_now_us(reactor));
    mf_log(MF_INFO, "shard=%u: streaming the checkpoint of slot %llu to node %u, %.1f MB",
           sender->shard->id, (unsigned long long)sender->file.slot, sender->to.node,
           (double)sender->file.bytes / 1e6);
}

// True when the shard's checkpoint joins on to our log, and has the configuration in force: a copy
// that is new somewhere takes no older one.
static bool has_checkpoint(const struct mf_stream_sender *sender)
{
    const struct mf_node *node = sender->streams->reactor->node;
    const struct mf_paxos *paxos = mf_replica_paxos(sender->shard->replica);
    struct mf_checkpoint_info info;
    return mf_checkpoint_info(node, sender->shard->id, &info) &&
           info.slot + 1 >= mf_paxos_first_slot(paxos) &&
           info.slot >= mf_paxos_members(paxos)->slot;
}

static void wait_for_checkpoint(struct mf_stream_sender *sender, uint64_t now_us)
{
    if (has_checkpoint(sender)) {
        sender->stage = OPENING;
        give(sender, open_file);
    } else if (now_us >= sender->request_us) {
        sender->request_us = now_us + REQUEST_US;
        mf_checkpoint_request(sender->streams->reactor->node, sender->shard->id);
    }
}

void mf_streams_send(struct mf_owned_shard *shard, struct mf_acceptor to)
{
    struct mf_streams *streams = shard->reactor->streams;
    struct mf_stream_sender *next;
    for (struct mf_stream_sender *at = streams->first; at != NULL; at = next) {
        next = at->next;
        if (at->dead || at->shard != shard || at->to.node != to.node)
            continue;
        if (at->to.incarnation == to.incarnation && at->stage != LINGERING)
            return;
        end_sender(at);
    }
    uint64_t now_us = mf_reactor_now_us(shard->reactor);
    struct mf_stream_sender *sender = mf_calloc(1, sizeof(*sender));
    sender->streams = streams;
    sender->shard = shard;
    sender->to = to;
    sender->fd = -1;
    sender->begun_us = sender->request_us = now_us;
    sender->next = streams->first;
    streams->first = sender;
    wait_for_checkpoint(sender, now_us);
}

void mf_streams_drop(struct mf_owned_shard *shard)
{
    struct mf_streams *streams = shard->reactor->streams;
    struct mf_stream_sender *next;
    for (struct mf_stream_sender *at = streams->first; at != NULL; at = next) {
        next = at->next;
        if (!at->dead && at->shard == shard)
            end_sender(at);
    }
    mf_stream_receiver_drop(shard);
}

void mf_streams_link_up(struct mf_streams *streams, uint16_t node)
{
    uint64_t now_us = mf_reactor_now_us(streams->reactor);
    for (struct mf_stream_sender *at = streams->first; at != NULL; at = at->next) {
        if (at->to.node == node && at->stage == OPEN)
            mf_stream_out_again(&at->out, now_us);
    }
}

static void conclude(struct mf_stream_sender *sender)
{
    struct mf_reactor *reactor = sender->streams->reactor;
    switch (sender->out.state) {
    case MF_STREAM_DONE:
        atomic_fetch_add_explicit(&reactor->counters.snapshots_sent, 1, memory_order_relaxed);
        sender->stage = LINGERING; // without the file
        close_file(sender);
        sender->until_us = mf_reactor_now_us(reactor) + LINGER_US;
        break;
    case MF_STREAM_DAMAGED:
        mf_checkpoint_request(reactor->node, sender->shard->id);
        rest(sender, "it arrives damaged; another is made");
        break;
    case MF_STREAM_REFUSED:
        rest(sender, "it is refused there");
        break;
    case MF_STREAM_SILENT:
        rest(sender, "there is no answer");
        break;
    case MF_STREAM_OFFERING:
    case MF_STREAM_SENDING:
        break;
    }
}

static void tick_sender(struct mf_stream_sender *sender, uint64_t now_us)
{
    struct mf_streams *streams = sender->streams;
    if (sender->stage == WAITING) {
        wait_for_checkpoint(sender, now_us);
    } else if (sender->stage == LINGERING || sender->stage == RESTING) {
        if (now_us >= sender->until_us)
            end_sender(sender);
    } else if (sender->stage == OPEN) {
        if (mf_stream_out_tick(&sender->out, now_us)) {
            struct mf_buf content = {0};
            mf_peer_put_offer(&content, &sender->out.offer);
            (void)mf_links_send_item(streams->reactor->links, sender->to.node,
                                     MF_PEER_SNAPSHOT_OFFER, sender->shard->id,
                                     mf_buf_view(&content), false);
            mf_buf_free(&content);
        }
        if (mf_stream_out_ended(&sender->out))
            conclude(sender);
    }
}

void mf_streams_tick(struct mf_streams *streams, uint64_t now_us)
{
    struct mf_stream_sender *next;
    for (struct mf_stream_sender *at = streams->first; at != NULL; at = next) {
        next = at->next;
        if (!at->dead)
            tick_sender(at, now_us);
    }
    mf_stream_receivers_tick(streams, now_us);
}

// True when the link has taken a chunk.
static bool send_chunk(struct mf_stream_sender *sender, uint64_t offset, size_t len)
{
    struct mf_reactor *reactor = sender->streams->reactor;
    struct mf_peer_chunk chunk = {.number = sender->out.offer.number,
                                  .identity = sender->file.identity,
                                  .offset = offset,
                                  .bytes = mf_buf_view(&sender->chunk)};
    struct mf_buf content = {0};
    mf_peer_put_chunk(&content, &chunk);
    bool sent = mf_links_send_item(reactor->links, sender->to.node, MF_PEER_SNAPSHOT_CHUNK,
                                   sender->shard->id, mf_buf_view(&content), true);
    mf_buf_free(&content);
    if (sent)
        mf_stream_out_sent(&sender->out, mf_reactor_now_us(reactor), offset, len);
    return sent;
}

static void fetch_chunk(struct mf_stream_sender *sender, uint64_t offset, size_t len)
{
    sender->offset = offset;
    mf_buf_clear(&sender->chunk, SIZE_MAX);
    (void)mf_buf_reserve(&sender->chunk, len);
    sender->chunk.len = len;
    give(sender, read_chunk);
}

static bool flush_sender(struct mf_stream_sender *sender)
{
    uint64_t offset;
    size_t len;
    if (sender->dead || sender->busy || sender->stage != OPEN ||
        (len = mf_stream_out_next(&sender->out, &offset)) == 0)
        return false;
    bool fetched = sender->chunk.len == len && sender->offset == offset;
    bool sent = false;
    if (fetched) {
        if (!mf_links_bulk_room(sender->streams->reactor->links, sender->to.node))
            return false;
        sent = send_chunk(sender, offset, len);
        if (!sent || (len = mf_stream_out_next(&sender->out, &offset)) == 0)
            return sent;
    }
    fetch_chunk(sender, offset, len);
    return sent;
}

// Those that had their turn go to the end.
void mf_streams_flush(struct mf_streams *streams)
{
    struct mf_stream_sender *served = NULL;
    struct mf_stream_sender **last = &served;
    struct mf_stream_sender **at = &streams->first;
    while (*at != NULL) {
        struct mf_stream_sender *sender = *at;
        if (!flush_sender(sender)) {
            at = &sender->next;
            continue;
        }
        *at = sender->next;
        sender->next = NULL;
        *last = sender;
        last = &sender->next;
    }
    *at = served;
}

uint64_t mf_streams_first_needed(const struct mf_owned_shard *shard)
{
    uint64_t first = UINT64_MAX;
    uint64_t now_us = mf_reactor_now_us(shard->reactor);
    const struct mf_streams *streams = shard->reactor->streams;
    for (const struct mf_stream_sender *at = streams->first; at != NULL; at = at->next) {
        if (!at->dead && at->shard == shard && (at->stage == OPEN || at->stage == LINGERING) &&
            now_us < at->begun_us + NEEDED_US && at->file.slot + 1 < first)
            first = at->file.slot + 1;
    }
    return first;
}

void mf_streams_put_ack(struct mf_streams *streams, uint16_t to, uint32_t shard,
                        const struct mf_peer_ack *ack)
{
    if (ack->number == 0)
        return;
    struct mf_buf content = {0};
    mf_peer_put_ack(&content, ack);
    (void)mf_links_send_item(streams->reactor->links, to, MF_PEER_SNAPSHOT_ACK, shard,
                             mf_buf_view(&content), false);
    mf_buf_free(&content);
}

void mf_stream_sender_ack(struct mf_streams *streams, uint16_t from, uint32_t shard,
                          const struct mf_peer_ack *ack)
{
    struct mf_stream_sender *at = streams->first;
    while (at != NULL &&
           (at->dead || at->stage != OPEN || at->shard->id != shard || at->to.node != from))
        at = at->next;
    if (at == NULL)
        return;
    mf_stream_out_ack(&at->out, mf_reactor_now_us(streams->reactor), ack);
    if (mf_stream_out_ended(&at->out))
        conclude(at);
}

// Items on their way.

struct item_task {
    struct mf_task task;
    enum mf_peer_item_kind kind;
    uint32_t shard;
    uint16_t from;
    union {
        struct mf_peer_offer offer;
        struct mf_peer_chunk chunk; // without its bytes
        struct mf_peer_ack ack;
    } content;
    struct mf_buf bytes; // of a chunk
};

static void receive(struct mf_reactor *reactor, struct mf_task *task)
{
    struct item_task *item = (struct item_task *)task;
    struct mf_owned_shard *shard = shard_of(reactor->streams, item->shard);
    if (shard->replica != NULL) {
        if (item->kind == MF_PEER_SNAPSHOT_OFFER) {
            mf_stream_receiver_offer(shard, item->from, &item->content.offer);
        } else if (item->kind == MF_PEER_SNAPSHOT_ACK) {
            mf_stream_sender_ack(reactor->streams, item->from, item->shard, &item->content.ack);
        } else {
            item->content.chunk.bytes = mf_buf_view(&item->bytes);
            mf_stream_receiver_chunk(shard, item->from, &item->content.chunk, &item->bytes);
        }
    }
    mf_buf_free(&item->bytes);
    free(item);
}

enum mf_err mf_streams_take(struct mf_reactor *reactor, uint16_t from,
                            const struct mf_peer_item *item)
{
    struct item_task fresh = {
        .task = {.run = receive}, .kind = item->kind, .shard = item->shard, .from = from};
    enum mf_err err =
        item->kind == MF_PEER_SNAPSHOT_OFFER ? mf_peer_get_offer(item->bytes, &fresh.content.offer)
        : item->kind == MF_PEER_SNAPSHOT_ACK ? mf_peer_get_ack(item->bytes, &fresh.content.ack)
                                             : mf_peer_get_chunk(item->bytes, &fresh.content.chunk);
    if (err != MF_OK)
        return err;
    if (item->kind == MF_PEER_SNAPSHOT_CHUNK) {
        struct mf_bytes bytes = fresh.content.chunk.bytes;
        mf_buf_put(&fresh.bytes, bytes.data, bytes.len);
    }
    struct item_task *sent = mf_alloc(sizeof(*sent));
    *sent = fresh;
    mf_reactor_send(reactor, mf_reactor_of_shard(reactor->node, item->shard), &sent->task);
    return MF_OK;
}

// States that are replaced, or were not needed.

struct unneeded {
    struct mf_job job;
    struct mf_shard *state;
};

static void free_state(struct mf_job *job)
{
    struct unneeded *unneeded = (struct unneeded *)job;
    mf_shard_free(unneeded->state);
    unneeded->state = NULL;
}

static void forget(struct mf_reactor *reactor, struct mf_task *task)
{
    (void)reactor;
    struct unneeded *unneeded = (struct unneeded *)task;
    mf_shard_free(unneeded->state); // undone
    free(unneeded);
}

void mf_streams_discard(struct mf_streams *streams, struct mf_shard *state)
{
    struct unneeded *unneeded = mf_calloc(1, sizeof(*unneeded));
    unneeded->job =
        (struct mf_job){.task = {.run = forget}, .home = streams->reactor, .work = free_state};
    unneeded->state = state;
    mf_worker_give(worker_of(streams), &unneeded->job);
}

struct mf_streams *mf_streams_new(struct mf_reactor *reactor)
{
    struct mf_streams *streams = mf_calloc(1, sizeof(*streams));
    streams->reactor = reactor;
    streams->receivers = mf_calloc(reactor->shard_count, sizeof(struct mf_stream_receiver *));
    return streams;
}

void mf_streams_free(struct mf_streams *streams)
{
    if (streams == NULL)
        return;
    while (streams->first != NULL)
        // What is freed leaves the list first. NOLINTNEXTLINE(clang-analyzer-unix.Malloc)
        free_sender(streams->first);
    mf_stream_receivers_free(streams);
    free(streams->receivers);
    free(streams);
}
