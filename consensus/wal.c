// Appending to the write-ahead log: hand-overs, group commit, segments; see wal.h.
//
// Three threads share a struct mf_wal, under one mutex that is held for a few pointers at a time:
// - the owner fills a hand-over that is its own, and links it to the queue when it submits;
// - the writer takes the whole queue, makes batches of it, writes and syncs each, and reports;
// - the preparer makes the next segment file when the one in use is half full, so that the writer
//   finds it ready. If it is not, the writer waits for it. It also removes files that are no longer
//   needed, one at a time and between segments, because a removal takes the disk as long as a sync.
//   Some of them it keeps instead, and makes segments of: that saves writing zeros.
// Shared under the mutex: queue, unused, failed, closing, untidy and all of `spare`. Shared without
// it: pending_bytes and the statistics, which are counters that order nothing (relaxed), `stop`,
// and moved_us: when the writer last finished something, or began to have something to do. It is
// stored by whoever makes pending_bytes what it says, before that (see mf_wal_stalled_us).
//
// A sync that failed ends the stream. It is not tried again: the kernel reports the loss of a dirty
// page once, marks the page clean, and the next sync of the same file succeeds without the data. A
// write that failed is another matter: nothing was promised on it, and the writer has all its bytes
// still. Where the disk may take it later, the writer waits and writes it again, and what it leaves
// behind in between is what a crash in the middle of a write leaves. A segment that could not be
// made is made again from nothing.
#include "consensus/wal.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"
#include "base/thread.h"
#include "consensus/wal_files.h"

// A batch gathers hand-overs until it is this large, so that after a stall of the disk the first
// ones do not wait for all.
#define GATHER_BYTES (4u << 20)
// A buffer that grew past this is given back after use.
#define KEEP_BYTES (1u << 20)
// As many files that are needed no more are kept, to make the next segments of.
#define RETIRED_MAX 2u
// As many used hand-overs are kept for the next ones.
#define UNUSED_MAX 8u

struct hand_over {
    struct hand_over *next;
    struct mf_wal_batch batch; // counts the records; `bytes` has no batch header
    struct mf_buf bytes;
    uint64_t sequence;
};

struct queue {
    struct hand_over *first;
    struct hand_over **end;
};

struct segment {
    struct mf_wal_file_id id;
    char name[MF_WAL_NAME_BYTES];
    int fd;
    uint64_t offset;  // where the next batch goes
    uint64_t batches; // in it
};

enum spare_state {
    SPARE_NONE,   // not asked for
    SPARE_WANTED, // the preparer is at it
    SPARE_READY,
    SPARE_FAILED, // message tells
};

struct spare {
    enum spare_state state;
    struct segment segment; // WANTED: its number; READY: the whole of it
    bool final;             // FAILED: for good
    int error;              // FAILED: the errno
    char message[512];
};

struct mf_wal {
    struct mf_wal_config config;
    char *path;
    uint64_t segment_bytes;

    // The owner's.
    struct hand_over *filling;
    uint64_t submitted;
    uint64_t tidied; // the ledger's changes at the last mf_wal_tidy

    pthread_mutex_t lock;
    pthread_cond_t work_changed;  // queue, closing
    pthread_cond_t spare_changed; // spare, untidy, closing
    struct queue queue;
    struct hand_over *unused;
    size_t unused_count;
    struct spare spare;
    bool failed;
    bool closing;
    bool untidy; // files may be removed

    atomic_bool stop; // ends the preparer in the middle of a file
    _Atomic int blocked;
    _Atomic uint64_t pending_bytes;
    _Atomic uint64_t moved_us;
    _Atomic uint64_t syncs;
    _Atomic uint64_t bytes;
    _Atomic uint64_t sync_us_max;
    _Atomic uint64_t sync_us_total;

    // The writer's.
    struct mf_wal_folder writing;
    struct segment segment;
    struct mf_buf out;
    uint64_t retry_us; // how long the next failed write waits
    pthread_t writer;

    // The preparer's.
    struct mf_wal_folder preparing;
    struct mf_wal_file retired[RETIRED_MAX];
    uint32_t retired_count;
    bool complained; // that the next segment cannot be made
    pthread_t preparer;
};

static struct hand_over *new_hand_over(void)
{
    return mf_calloc(1, sizeof(struct hand_over));
}

static void free_hand_overs(struct hand_over *list)
{
    while (list != NULL) {
        struct hand_over *next = list->next;
        mf_buf_free(&list->bytes);
        free(list);
        list = next;
    }
}

static void empty_queue(struct queue *queue)
{
    queue->first = NULL;
    queue->end = &queue->first;
}

void mf_wal_put(struct mf_wal *wal, const struct mf_wal_record *record)
{
    mf_wal_batch_put(&wal->filling->batch, &wal->filling->bytes, record);
}

uint64_t mf_wal_submit(struct mf_wal *wal)
{
    struct hand_over *full = wal->filling;
    if (full->batch.records == 0)
        return 0;
    full->sequence = ++wal->submitted;
    // Relaxed: the writer, if it takes the last away just now, has just noted the time itself.
    if (atomic_load_explicit(&wal->pending_bytes, memory_order_relaxed) == 0)
        atomic_store_explicit(&wal->moved_us, mf_mono_us(), memory_order_relaxed);
    // Release, pairs with the acquire in mf_wal_stalled_us.
    atomic_fetch_add_explicit(&wal->pending_bytes, full->bytes.len, memory_order_release);

    pthread_mutex_lock(&wal->lock);
    struct hand_over *next = wal->unused;
    if (next != NULL) {
        wal->unused = next->next;
        wal->unused_count--;
        next->next = NULL;
    }
    bool accepted = !wal->failed;
    if (accepted) {
        *wal->queue.end = full;
        wal->queue.end = &full->next;
        pthread_cond_signal(&wal->work_changed);
    }
    pthread_mutex_unlock(&wal->lock);

    if (!accepted)
        free_hand_overs(full);
    wal->filling = next != NULL ? next : new_hand_over();
    return wal->submitted;
}

uint64_t mf_wal_pending_bytes(const struct mf_wal *wal)
{
    return atomic_load_explicit(&wal->pending_bytes, memory_order_relaxed);
}

uint64_t mf_wal_stalled_us(const struct mf_wal *wal, uint64_t now_us)
{
    // Acquire, pairs with the releases that change it: the time is not older than the bytes.
    if (atomic_load_explicit(&wal->pending_bytes, memory_order_acquire) == 0)
        return 0;
    uint64_t moved_us = atomic_load_explicit(&wal->moved_us, memory_order_relaxed);
    return now_us > moved_us ? now_us - moved_us : 0;
}

void mf_wal_stats(const struct mf_wal *wal, struct mf_wal_stats *stats)
{
    stats->syncs = atomic_load_explicit(&wal->syncs, memory_order_relaxed);
    stats->bytes = atomic_load_explicit(&wal->bytes, memory_order_relaxed);
    stats->sync_us_max = atomic_load_explicit(&wal->sync_us_max, memory_order_relaxed);
    stats->sync_us_total = atomic_load_explicit(&wal->sync_us_total, memory_order_relaxed);
}

// The writer: waits for hand-overs and takes all there are; NULL when closing and none are left.
static struct hand_over *take_queue(struct mf_wal *wal)
{
    pthread_mutex_lock(&wal->lock);
    while (wal->queue.first == NULL && !wal->closing)
        pthread_cond_wait(&wal->work_changed, &wal->lock);
    struct hand_over *taken = wal->queue.first;
    empty_queue(&wal->queue);
    pthread_mutex_unlock(&wal->lock);
    return taken;
}

static void give_back(struct mf_wal *wal, struct hand_over *used)
{
    used->batch = (struct mf_wal_batch){0};
    mf_buf_clear(&used->bytes, KEEP_BYTES);
    pthread_mutex_lock(&wal->lock);
    bool keep = wal->unused_count < UNUSED_MAX;
    used->next = keep ? wal->unused : NULL;
    if (keep) {
        wal->unused = used;
        wal->unused_count++;
    }
    pthread_mutex_unlock(&wal->lock);
    if (!keep)
        free_hand_overs(used);
}

// The writer: gathers hand-overs from the front of the list into wal->out as one open batch, and
// returns the last one's sequence.
static uint64_t gather(struct mf_wal *wal, struct hand_over **list, struct mf_wal_batch *batch,
                       uint64_t *handed_bytes)
{
    uint64_t sequence = 0;
    *handed_bytes = 0;
    mf_buf_clear(&wal->out, 2 * GATHER_BYTES);
    mf_wal_batch_begin(batch, &wal->out);
    while (*list != NULL &&
           (*handed_bytes == 0 || *handed_bytes + (*list)->bytes.len <= GATHER_BYTES)) {
        struct hand_over *one = *list;
        *list = one->next;
        mf_buf_put(&wal->out, one->bytes.data, one->bytes.len);
        batch->records += one->batch.records;
        *handed_bytes += one->bytes.len;
        sequence = one->sequence;
        give_back(wal, one);
    }
    return sequence;
}

static void want_spare(struct mf_wal *wal)
{
    wal->spare.state = SPARE_WANTED;
    wal->spare.segment.id.sequence = wal->segment.id.sequence + 1;
    pthread_cond_broadcast(&wal->spare_changed);
}

// The writer: goes on in the next segment. Waits for the preparer where it must.
static enum mf_err roll_over(struct mf_wal *wal)
{
    bool asked = false;
    pthread_mutex_lock(&wal->lock);
    while (wal->spare.state != SPARE_READY) {
        if (wal->spare.state == SPARE_FAILED && (wal->spare.final || asked)) {
            enum mf_err err = mf_wal_explain(&wal->writing, MF_IO, "%s", wal->spare.message);
            wal->writing.error = wal->spare.error;
            wal->writing.sync_failed |= wal->spare.final;
            pthread_mutex_unlock(&wal->lock);
            return err;
        }
        if (wal->spare.state != SPARE_WANTED) {
            asked = true;
            want_spare(wal);
        }
        pthread_cond_wait(&wal->spare_changed, &wal->lock);
    }
    struct segment next = wal->spare.segment;
    wal->spare.state = SPARE_NONE;
    pthread_mutex_unlock(&wal->lock);

    next.id.previous_batches = wal->segment.batches;
    wal->writing.disk->close(wal->segment.fd);
    wal->segment = next;
    return MF_OK;
}

enum mf_wal_block mf_wal_blocked(const struct mf_wal *wal)
{
    // Relaxed: a reading of its own.
    return (enum mf_wal_block)atomic_load_explicit(&wal->blocked, memory_order_relaxed);
}

static void tell_blocked(struct mf_wal *wal, enum mf_wal_block block)
{
    bool flowed = mf_wal_blocked(wal) == MF_WAL_FLOWS;
    if (flowed && block == MF_WAL_FLOWS)
        return;
    atomic_store_explicit(&wal->blocked, (int)block, memory_order_relaxed);
    if (wal->config.blocked == NULL || (!flowed && block != MF_WAL_FLOWS))
        return;
    char message[700] = "";
    struct statvfs room;
    if (block != MF_WAL_FLOWS && statvfs(wal->path, &room) == 0)
        snprintf(message, sizeof message, "%s (%llu KiB free of %llu KiB)", wal->writing.message,
                 (unsigned long long)(room.f_bavail * room.f_frsize / 1024),
                 (unsigned long long)(room.f_blocks * room.f_frsize / 1024));
    else if (block != MF_WAL_FLOWS)
        snprintf(message, sizeof message, "%s", wal->writing.message);
    wal->config.blocked(wal->config.arg, block, message);
}

// The writer: after a failure. True, after a while, when what failed is to be tried again.
static bool wait_for_disk(struct mf_wal *wal)
{
    if (!mf_wal_may_pass(&wal->writing))
        return false;
    tell_blocked(wal, mf_wal_no_room(&wal->writing) ? MF_WAL_FULL : MF_WAL_REFUSED);
    struct timespec until = mf_wait_until(wal->retry_us);
    if (wal->retry_us < wal->config.retry_us * MF_WAL_RETRY_TIMES)
        wal->retry_us *= 2;
    pthread_mutex_lock(&wal->lock);
    while (!wal->closing &&
           pthread_cond_timedwait(&wal->work_changed, &wal->lock, &until) != ETIMEDOUT)
        ;
    bool again = !wal->closing;
    pthread_mutex_unlock(&wal->lock);
    return again;
}

// The writer: the disk has taken what it refused.
static void go_on(struct mf_wal *wal)
{
    wal->retry_us = wal->config.retry_us;
    tell_blocked(wal, MF_WAL_FLOWS);
}

// The writer: the header of a prepared segment again, now with the link to the one before.
static enum mf_err write_link(struct mf_wal *wal)
{
    struct segment *segment = &wal->segment;
    struct mf_buf header = {0};
    mf_wal_put_header(&header, &segment->id);
    enum mf_err err =
        mf_wal_file_write(&wal->writing, segment->fd, segment->name, mf_buf_view(&header), 0);
    mf_buf_free(&header);
    return err;
}

static enum mf_err sync_segment(struct mf_wal *wal)
{
    if (!wal->writing.sync)
        return MF_OK;
    uint64_t start_us = mf_mono_us();
    enum mf_err err = mf_wal_file_sync(&wal->writing, wal->segment.fd, wal->segment.name);
    uint64_t took_us = mf_mono_us() - start_us;
    atomic_fetch_add_explicit(&wal->syncs, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&wal->sync_us_total, took_us, memory_order_relaxed);
    // Only this thread writes it.
    if (took_us > atomic_load_explicit(&wal->sync_us_max, memory_order_relaxed))
        atomic_store_explicit(&wal->sync_us_max, took_us, memory_order_relaxed);
    if (wal->config.synced != NULL)
        wal->config.synced(wal->config.arg, took_us);
    return err;
}

struct noting {
    struct mf_wal_ledger *ledger;
    uint32_t stream;
};

static void note_record(void *arg, const struct mf_wal_record *record)
{
    const struct noting *noting = arg;
    mf_wal_ledger_note(noting->ledger, noting->stream, record, true);
}

// The writer: tells the ledger what is now in the file, and on disk.
static void note_batch(struct mf_wal *wal, const struct mf_wal_batch *batch)
{
    if (wal->config.ledger == NULL)
        return;
    struct noting noting = {.ledger = wal->config.ledger, .stream = wal->config.stream};
    uint64_t bytes =
        wal->segment.offset > wal->segment_bytes ? wal->segment.offset : wal->segment_bytes;
    mf_wal_ledger_file(noting.ledger, noting.stream, wal->segment.id.sequence, bytes);
    mf_wal_batch_each(batch, &wal->out, note_record, &noting);
}

// The writer: what is in wal->out to its place, and with a segment's first batch the link.
static enum mf_err write_out(struct mf_wal *wal, bool link)
{
    enum mf_err err = link ? write_link(wal) : MF_OK;
    if (err == MF_OK)
        err = mf_wal_file_write(&wal->writing, wal->segment.fd, wal->segment.name,
                                mf_buf_view(&wal->out), wal->segment.offset);
    return err;
}

// The writer: closes the batch in wal->out and brings it to disk.
static enum mf_err commit(struct mf_wal *wal, struct mf_wal_batch *batch)
{
    enum mf_err err = MF_OK;
    bool fits = wal->segment.offset + wal->out.len <= wal->segment_bytes;
    // A batch that is larger than any segment makes the file longer.
    if (!fits && wal->segment.batches > 0) {
        while ((err = roll_over(wal)) != MF_OK) {
            if (!wait_for_disk(wal))
                return err;
        }
    }
    struct segment *segment = &wal->segment;
    mf_wal_batch_end(batch, &wal->out, segment->id.identity, segment->batches + 1);
    size_t batch_bytes = wal->out.len;
    if (segment->id.recycled && segment->offset + batch_bytes < wal->segment_bytes)
        mf_wal_put_end(&wal->out);
    bool link = segment->id.prepared;
    segment->id.prepared = false;
    while ((err = write_out(wal, link)) != MF_OK) {
        if (!wait_for_disk(wal))
            return err;
    }
    err = sync_segment(wal);
    if (err != MF_OK)
        return err;
    go_on(wal);
    segment->offset += batch_bytes;
    segment->batches++;
    note_batch(wal, batch);
    atomic_fetch_add_explicit(&wal->bytes, batch_bytes, memory_order_relaxed);

    pthread_mutex_lock(&wal->lock);
    if (wal->spare.state == SPARE_NONE && segment->offset >= wal->segment_bytes / 2)
        want_spare(wal);
    pthread_mutex_unlock(&wal->lock);
    return MF_OK;
}

// The writer: no more. What is queued is dropped, what comes later is refused. A blocked stream
// that is closed has not failed.
static void fail(struct mf_wal *wal)
{
    pthread_mutex_lock(&wal->lock);
    wal->failed = true;
    struct hand_over *dropped = wal->queue.first;
    empty_queue(&wal->queue);
    pthread_mutex_unlock(&wal->lock);
    free_hand_overs(dropped);
    if (!mf_wal_may_pass(&wal->writing))
        wal->config.failed(wal->config.arg, wal->writing.message);
    else
        mf_log(MF_WARN, "the log ends without what it could not write, none of it acknowledged: %s",
               wal->writing.message);
}

static void *write_loop(void *arg)
{
    struct mf_wal *wal = arg;
    struct hand_over *list;
    while ((list = take_queue(wal)) != NULL) {
        while (list != NULL) {
            struct mf_wal_batch batch;
            uint64_t handed_bytes;
            uint64_t sequence = gather(wal, &list, &batch, &handed_bytes);
            if (commit(wal, &batch) != MF_OK) {
                free_hand_overs(list);
                fail(wal);
                return NULL;
            }
            atomic_store_explicit(&wal->moved_us, mf_mono_us(), memory_order_relaxed);
            // Release, pairs with the acquire in mf_wal_stalled_us.
            atomic_fetch_sub_explicit(&wal->pending_bytes, handed_bytes, memory_order_release);
            wal->config.durable(wal->config.arg, sequence);
        }
    }
    return NULL;
}

static void begin_segment(struct segment *segment)
{
    mf_entropy(&segment->id.identity, sizeof segment->id.identity);
    struct mf_wal_file file = {.stream = segment->id.stream, .sequence = segment->id.sequence};
    mf_wal_file_name(file, segment->name);
    segment->offset = MF_WAL_ALIGN;
    segment->batches = 0;
}

// Makes the file of `segment`, whose id names the stream and the sequence.
static enum mf_err create_segment(struct mf_wal *wal, struct mf_wal_folder *folder,
                                  struct segment *segment)
{
    begin_segment(segment);
    return mf_wal_file_create(folder, &segment->id, wal->segment_bytes, &wal->stop, &segment->fd);
}

// The preparer: the same of a file that was retired. False when there is none, or it would not do
// and another may still be made.
static bool recycle_segment(struct mf_wal *wal, struct segment *segment, enum mf_err *err)
{
    if (wal->retired_count == 0)
        return false;
    begin_segment(segment);
    segment->id.recycled = true;
    *err = mf_wal_file_recycle(&wal->preparing, wal->retired[--wal->retired_count], &segment->id,
                               &segment->fd);
    if (*err == MF_OK || wal->preparing.sync_failed)
        return true;
    mf_log(MF_WARN, "a file of the log cannot be used again: %s", wal->preparing.message);
    segment->id.recycled = false;
    return false;
}

static void prepare(struct mf_wal *wal)
{
    struct segment next = {.id = {.stream = wal->config.stream,
                                  .sequence = wal->spare.segment.id.sequence,
                                  .prepared = true}};
    pthread_mutex_unlock(&wal->lock);
    enum mf_err err;
    if (!recycle_segment(wal, &next, &err))
        err = create_segment(wal, &wal->preparing, &next);
    if (err == MF_IO && !wal->complained)
        mf_log(MF_WARN, "the next segment of the log cannot be made ahead: %s",
               wal->preparing.message);
    wal->complained = err == MF_IO;
    pthread_mutex_lock(&wal->lock);
    wal->spare.state = err == MF_OK ? SPARE_READY : SPARE_FAILED;
    wal->spare.segment = next;
    wal->spare.final = wal->preparing.sync_failed;
    wal->spare.error = wal->preparing.error;
    memcpy(wal->spare.message, wal->preparing.message, sizeof wal->spare.message);
    pthread_cond_broadcast(&wal->spare_changed);
}

// One that was made longer, or by a log without sync and so never filled, is not the next one's
// size. Where room is low, a checkpoint may need it more than the log.
static bool may_retire(struct mf_wal *wal, struct mf_wal_file file)
{
    return wal->preparing.sync && wal->retired_count < RETIRED_MAX &&
           !mf_wal_ledger_is_low(wal->config.ledger) && file.stream == wal->config.stream &&
           mf_wal_file_bytes(&wal->preparing, file) == wal->segment_bytes;
}

// The preparer has ended: what it kept goes. What stays is removed at the next start.
static void discard_retired(struct mf_wal *wal)
{
    for (uint32_t i = 0; i < wal->retired_count; i++) {
        if (mf_wal_file_discard(&wal->preparing, wal->retired[i]) != MF_OK)
            mf_log(MF_WARN, "a file of the log that is no longer needed stays: %s",
                   wal->preparing.message);
    }
}

// The preparer: removes one file. False when there is none to remove, or none may be: what a failed
// sync has lost a later one cannot bring back, and a file between others must not be missing.
static bool remove_one(struct mf_wal *wal)
{
    struct mf_wal_file file;
    if (wal->preparing.sync_failed ||
        !mf_wal_ledger_next(wal->config.ledger, wal->config.stream, wal->config.orphans,
                            &file.stream, &file.sequence))
        return false;
    bool keep = may_retire(wal, file);
    if ((keep ? mf_wal_file_retire(&wal->preparing, file)
              : mf_wal_file_remove(&wal->preparing, file)) != MF_OK) {
        mf_log(MF_WARN, "a file of the log that is no longer needed stays: %s",
               wal->preparing.message);
        return false;
    }
    if (keep)
        wal->retired[wal->retired_count++] = file;
    mf_wal_ledger_removed(wal->config.ledger, file.stream, file.sequence);
    return true;
}

static void tidy(struct mf_wal *wal)
{
    wal->untidy = false;
    pthread_mutex_unlock(&wal->lock);
    bool removed = remove_one(wal);
    pthread_mutex_lock(&wal->lock);
    wal->untidy |= removed; // there may be another, after a segment that is wanted meanwhile
}

void mf_wal_tidy(struct mf_wal *wal)
{
    uint64_t changes = mf_wal_ledger_changes(wal->config.ledger);
    if (changes == wal->tidied)
        return;
    wal->tidied = changes;
    pthread_mutex_lock(&wal->lock);
    wal->untidy = true;
    pthread_cond_broadcast(&wal->spare_changed);
    pthread_mutex_unlock(&wal->lock);
}

static void *prepare_loop(void *arg)
{
    struct mf_wal *wal = arg;
    pthread_mutex_lock(&wal->lock);
    // The writer has ended before `stop` is set, so nothing is wanted after it.
    while (!atomic_load_explicit(&wal->stop, memory_order_relaxed)) {
        if (wal->spare.state == SPARE_WANTED)
            prepare(wal);
        else if (wal->untidy)
            tidy(wal);
        else
            pthread_cond_wait(&wal->spare_changed, &wal->lock);
    }
    pthread_mutex_unlock(&wal->lock);
    return NULL;
}

// Readies the folder and the first segment.
static enum mf_err begin_stream(struct mf_wal *wal)
{
    struct mf_wal_folder *folder = &wal->writing;
    struct mf_wal_tail tail;
    enum mf_err err = mf_wal_folder_make(folder);
    if (err == MF_OK)
        err = mf_wal_folder_clean(folder, wal->config.stream);
    if (err == MF_OK)
        err = mf_wal_find_tail(folder, wal->config.stream, &tail);
    if (err != MF_OK)
        return err;
    wal->segment.id = (struct mf_wal_file_id){
        .stream = wal->config.stream,
        .sequence = tail.sequence,
        .previous_batches = tail.previous_batches,
    };
    uint64_t bytes = wal->segment_bytes;
    err = create_segment(wal, folder, &wal->segment);
    if (err == MF_IO && mf_wal_no_room(folder)) {
        // A checkpoint may make room, for which the node has to start.
        mf_log(MF_WARN, "the next segment of the log cannot be made ahead: %s", folder->message);
        bytes = MF_WAL_ALIGN;
        err = mf_wal_file_create(folder, &wal->segment.id, bytes, &wal->stop, &wal->segment.fd);
    }
    if (err == MF_OK && wal->config.ledger != NULL) {
        mf_wal_ledger_file(wal->config.ledger, wal->config.stream, wal->segment.id.sequence, bytes);
        mf_wal_ledger_open(wal->config.ledger, wal->config.stream);
    }
    return err;
}

static void free_wal(struct mf_wal *wal)
{
    if (wal->segment.fd >= 0)
        wal->writing.disk->close(wal->segment.fd);
    if (wal->spare.state == SPARE_READY)
        wal->writing.disk->close(wal->spare.segment.fd);
    free_hand_overs(wal->filling);
    free_hand_overs(wal->unused);
    mf_buf_free(&wal->out);
    pthread_cond_destroy(&wal->work_changed);
    pthread_cond_destroy(&wal->spare_changed);
    pthread_mutex_destroy(&wal->lock);
    free(wal->path);
    free(wal);
}

static void stop_preparer(struct mf_wal *wal)
{
    pthread_mutex_lock(&wal->lock);
    // Relaxed: the waiting preparer reads it under the mutex, the working one only ends sooner.
    atomic_store_explicit(&wal->stop, true, memory_order_relaxed);
    pthread_cond_broadcast(&wal->spare_changed);
    pthread_mutex_unlock(&wal->lock);
    pthread_join(wal->preparer, NULL);
}

// The threads take no signals: those are for the process's own loop.
static enum mf_err start_threads(struct mf_wal *wal)
{
    int error = mf_thread_start(&wal->preparer, "log-files", prepare_loop, wal);
    if (error == 0) {
        error = mf_thread_start(&wal->writer, "log", write_loop, wal);
        if (error != 0)
            stop_preparer(wal);
    }
    if (error != 0)
        return mf_wal_explain(&wal->writing, MF_IO, "cannot start a thread for %s: %s", wal->path,
                              strerror(error));
    return MF_OK;
}

enum mf_err mf_wal_open_on(const struct mf_wal_disk *disk, const struct mf_wal_config *config,
                           struct mf_wal **out, char *message, size_t message_size)
{
    struct mf_wal *wal = mf_calloc(1, sizeof *wal);
    wal->config = *config;
    wal->path = mf_strdup(config->folder);
    wal->config.folder = wal->path;
    wal->segment_bytes = config->segment_bytes / MF_WAL_ALIGN * MF_WAL_ALIGN;
    if (wal->segment_bytes < MF_WAL_ALIGN)
        wal->segment_bytes = MF_WAL_ALIGN; // every batch gets a file of its own
    wal->writing = (struct mf_wal_folder){.disk = disk, .path = wal->path, .sync = config->sync};
    wal->preparing = wal->writing;
    wal->segment.fd = -1;
    wal->filling = new_hand_over();
    empty_queue(&wal->queue);
    pthread_mutex_init(&wal->lock, NULL);
    if (wal->config.retry_us == 0)
        wal->config.retry_us = MF_WAL_RETRY_US;
    wal->retry_us = wal->config.retry_us;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&wal->work_changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&wal->spare_changed, NULL);

    *out = NULL;
    enum mf_err err = begin_stream(wal);
    if (err == MF_OK)
        err = start_threads(wal);
    if (err != MF_OK) {
        snprintf(message, message_size, "%s", wal->writing.message);
        free_wal(wal);
        return err;
    }
    *out = wal;
    return MF_OK;
}

enum mf_err mf_wal_open(const struct mf_wal_config *config, struct mf_wal **out, char *message,
                        size_t message_size)
{
    return mf_wal_open_on(&mf_wal_disk_real, config, out, message, message_size);
}

void mf_wal_close(struct mf_wal *wal)
{
    if (wal == NULL)
        return;
    pthread_mutex_lock(&wal->lock);
    wal->closing = true;
    pthread_cond_signal(&wal->work_changed);
    pthread_mutex_unlock(&wal->lock);
    pthread_join(wal->writer, NULL);
    stop_preparer(wal);
    discard_retired(wal);
    free_wal(wal);
}
