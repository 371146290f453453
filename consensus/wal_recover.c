// Reading the write-ahead log back: every file of every stream, and the proof that none is missing
// and none has lost a batch that was once on disk.
//
// Within a file the scan tells (wal_format.h). Between files the header of each tells: it holds the
// number of batches of the file before it, known when the first batch was written. A file may end
// torn wherever a process ended; one that lost a batch which was there when its successor began
// does not have the number, and that is damage.
#include "consensus/wal.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/parallel.h"
#include "consensus/wal_files.h"

// What a node does whose log has holes: it may have promised what it no longer knows.
#define ADVICE                                                                                     \
    "; this node may have forgotten what it promised and must not vote: keep the folder as it is " \
    "for an examination, and see docs/operations.md"

struct walk {
    struct mf_wal_folder *folder;
    struct mf_wal_ledger *ledger; // NULL: nobody asks which file holds what
    uint32_t stream;
    enum mf_err (*record)(void *arg, const struct mf_wal_record *record);
    void *arg;
    uint64_t records;
    // The two files read last, of one stream; `files` of them so far.
    struct mf_wal_scan last;
    struct mf_wal_scan before;
    uint64_t files;
};

static enum mf_err count_and_pass(void *arg, const struct mf_wal_record *record)
{
    struct walk *walk = arg;
    walk->records++;
    if (walk->ledger != NULL)
        mf_wal_ledger_note(walk->ledger, walk->stream, record, false);
    return walk->record(walk->arg, record);
}

static enum mf_err ignore(void *arg, const struct mf_wal_record *record)
{
    (void)arg;
    (void)record;
    return MF_OK;
}

// True when something was written behind the header.
static bool in_use(const struct mf_wal_scan *scan)
{
    return scan->batches > 0 || scan->end != MF_WAL_CLEAN;
}

static enum mf_err check_file(struct walk *walk, struct mf_wal_file file, const char *name)
{
    const struct mf_wal_scan *scan = &walk->last;
    if (scan->id.stream != file.stream || scan->id.sequence != file.sequence)
        return mf_wal_explain(walk->folder, MF_CORRUPT,
                              "%s/%s holds file %" PRIu64 " of stream %" PRIu32
                              ": give it back the name it had",
                              walk->folder->path, name, scan->id.sequence, scan->id.stream);
    if (scan->end == MF_WAL_DAMAGED)
        return mf_wal_explain(walk->folder, MF_CORRUPT,
                              "%s/%s: batch %" PRIu64 " at offset %zu is damaged, and later ones "
                              "follow it" ADVICE,
                              walk->folder->path, name, scan->batches + 1, scan->damaged_offset);
    // The second batch is written when the first is on disk, and the link is written before it.
    if (scan->id.prepared && scan->batches > 1)
        return mf_wal_explain(walk->folder, MF_CORRUPT,
                              "%s/%s: the header has lost its link to the file before" ADVICE,
                              walk->folder->path, name);
    return MF_OK;
}

// The last file's header against the file before it.
static enum mf_err check_link(struct walk *walk, const char *name)
{
    const struct mf_wal_scan *last = &walk->last;
    const struct mf_wal_scan *before = &walk->before;
    if (last->id.sequence != before->id.sequence + 1) {
        struct mf_wal_file missing = {.stream = last->id.stream,
                                      .sequence = before->id.sequence + 1};
        char missing_name[MF_WAL_NAME_BYTES];
        mf_wal_file_name(missing, missing_name);
        return mf_wal_explain(walk->folder, MF_CORRUPT,
                              "%s/%s is missing, and %s follows it" ADVICE, walk->folder->path,
                              missing_name, name);
    }
    if (!last->id.prepared && last->id.previous_batches != before->batches)
        return mf_wal_explain(walk->folder, MF_CORRUPT,
                              "%s: the file before %s holds %" PRIu64 " batches and held %" PRIu64
                              " when that one was begun" ADVICE,
                              walk->folder->path, name, before->batches, last->id.previous_batches);
    // Its first write did not reach the disk whole, so there is no number. But it was begun, and
    // then the file before it was whole.
    if (last->id.prepared && in_use(last) && before->end != MF_WAL_CLEAN)
        return mf_wal_explain(walk->folder, MF_CORRUPT,
                              "%s: the file before %s is damaged after batch %" PRIu64
                              " at offset %zu" ADVICE,
                              walk->folder->path, name, before->batches, before->damaged_offset);
    return MF_OK;
}

// Reads the stream's next file.
static enum mf_err step(struct walk *walk, struct mf_wal_file file)
{
    char name[MF_WAL_NAME_BYTES];
    mf_wal_file_name(file, name);
    walk->before = walk->last;
    struct mf_buf content = {0};
    enum mf_err err = mf_wal_file_read(walk->folder, file, &content);
    if (err != MF_OK)
        goto out;
    struct mf_wal_file_id id;
    err = mf_wal_get_header(mf_buf_view(&content), &id);
    if (err == MF_OTHER_VERSION)
        err = mf_wal_explain(walk->folder, err,
                             "%s/%s is not of format version %u: start the program that wrote it",
                             walk->folder->path, name, MF_WAL_VERSION);
    else if (err != MF_OK)
        err = mf_wal_explain(walk->folder, err, "%s/%s: the header is damaged" ADVICE,
                             walk->folder->path, name);
    if (err != MF_OK)
        goto out;
    if (walk->ledger != NULL)
        mf_wal_ledger_file(walk->ledger, file.stream, file.sequence, content.len);
    walk->stream = file.stream;
    err = mf_wal_scan(mf_buf_view(&content), &walk->last, count_and_pass, walk);
    if (err != MF_OK) {
        err = mf_wal_explain(walk->folder, err, "%s/%s: a record was refused: %s",
                             walk->folder->path, name, mf_err_text(err));
        goto out;
    }
    err = check_file(walk, file, name);
    if (err == MF_OK && walk->files > 0)
        err = check_link(walk, name);
    walk->files++;
out:
    mf_buf_free(&content);
    return err;
}

// One stream's part of a recovery; its thread's while it is read.
struct stream {
    const struct mf_wal_file *files; // ascending, of one stream
    size_t count;
    struct mf_wal_recovery found;
};

struct recovering {
    const struct mf_wal_disk *disk;
    const char *path;
    const struct mf_wal_reading *reading;
    struct stream *streams;
    uint32_t count;
    uint64_t of_bytes;
    _Atomic uint64_t bytes; // of the files read so far (relaxed: it orders nothing)
};

static enum mf_err walk_stream(void *arg, uint32_t i)
{
    struct recovering *all = arg;
    struct stream *stream = &all->streams[i];
    struct mf_wal_folder folder = {.disk = all->disk, .path = all->path, .sync = true};
    struct walk walk = {.folder = &folder,
                        .ledger = all->reading->ledger,
                        .record = all->reading->record,
                        .arg = all->reading->arg};
    enum mf_err err = MF_OK;
    for (size_t at = 0; at < stream->count && err == MF_OK; at++) {
        err = step(&walk, stream->files[at]);
        if (err != MF_OK)
            break;
        stream->found.files++;
        stream->found.bytes += walk.last.valid_bytes;
        if (in_use(&walk.last))
            stream->found.torn = walk.last.end == MF_WAL_TORN;
        atomic_fetch_add_explicit(&all->bytes, mf_wal_file_bytes(&folder, stream->files[at]),
                                  memory_order_relaxed);
    }
    stream->found.records = walk.records;
    snprintf(stream->found.message, sizeof stream->found.message, "%s", folder.message);
    return err;
}

static void tell_progress(void *arg)
{
    const struct recovering *all = arg;
    all->reading->progress(all->reading->arg,
                           atomic_load_explicit(&all->bytes, memory_order_relaxed), all->of_bytes);
}

// Parts the listing, which is by stream and sequence, into streams.
static void find_streams(struct recovering *all, const struct mf_wal_listing *listing)
{
    struct mf_wal_folder folder = {.disk = all->disk, .path = all->path};
    all->streams = mf_calloc(listing->count + 1, sizeof *all->streams);
    for (size_t i = 0; i < listing->count; i++) {
        if (i == 0 || listing->files[i].stream != listing->files[i - 1].stream)
            all->streams[all->count++].files = &listing->files[i];
        all->streams[all->count - 1].count++;
        all->of_bytes += mf_wal_file_bytes(&folder, listing->files[i]);
    }
}

enum mf_err mf_wal_recover_streams_on(const struct mf_wal_disk *disk, const char *path,
                                      const struct mf_wal_reading *reading,
                                      struct mf_wal_recovery *recovery)
{
    *recovery = (struct mf_wal_recovery){0};
    struct mf_wal_folder folder = {.disk = disk, .path = path};
    struct mf_wal_listing listing;
    enum mf_err err = mf_wal_folder_list(&folder, &listing);
    if (err != MF_OK) {
        snprintf(recovery->message, sizeof recovery->message, "%s", folder.message);
        return err;
    }
    struct recovering all = {.disk = disk, .path = path, .reading = reading};
    find_streams(&all, &listing);
    uint32_t failed;
    err = mf_parallel_run(
        &(struct mf_parallel){.count = all.count,
                              .threads = reading->threads,
                              .run = walk_stream,
                              .waiting = reading->progress != NULL ? tell_progress : NULL,
                              .wait_ms = reading->progress_ms,
                              .arg = &all},
        &failed);
    for (uint32_t i = 0; i < all.count; i++) {
        const struct mf_wal_recovery *found = &all.streams[i].found;
        recovery->files += found->files;
        recovery->records += found->records;
        recovery->bytes += found->bytes;
        recovery->torn += found->torn;
    }
    if (err != MF_OK)
        memcpy(recovery->message, all.streams[failed].found.message, sizeof recovery->message);
    free(all.streams);
    free(listing.files);
    return err;
}

enum mf_err mf_wal_recover_streams(const char *folder, const struct mf_wal_reading *reading,
                                   struct mf_wal_recovery *recovery)
{
    return mf_wal_recover_streams_on(&mf_wal_disk_real, folder, reading, recovery);
}

enum mf_err mf_wal_recover_on(const struct mf_wal_disk *disk, const char *path,
                              struct mf_wal_recovery *recovery, struct mf_wal_ledger *ledger,
                              enum mf_err (*record)(void *arg, const struct mf_wal_record *record),
                              void *arg)
{
    const struct mf_wal_reading reading = {.ledger = ledger, .record = record, .arg = arg};
    return mf_wal_recover_streams_on(disk, path, &reading, recovery);
}

enum mf_err mf_wal_recover(const char *folder, struct mf_wal_recovery *recovery,
                           struct mf_wal_ledger *ledger,
                           enum mf_err (*record)(void *arg, const struct mf_wal_record *record),
                           void *arg)
{
    return mf_wal_recover_on(&mf_wal_disk_real, folder, recovery, ledger, record, arg);
}

enum mf_err mf_wal_find_tail(struct mf_wal_folder *folder, uint32_t stream,
                             struct mf_wal_tail *tail)
{
    *tail = (struct mf_wal_tail){.sequence = 1};
    struct mf_wal_listing listing;
    enum mf_err err = mf_wal_folder_list(folder, &listing);
    size_t end = listing.count;
    while (end > 0 && listing.files[end - 1].stream != stream)
        end--;
    if (err != MF_OK || end == 0)
        goto out;

    size_t first = end > 1 && listing.files[end - 2].stream == stream ? end - 2 : end - 1;
    struct walk walk = {.folder = folder, .record = ignore};
    for (size_t i = first; i < end && err == MF_OK; i++)
        err = step(&walk, listing.files[i]);
    if (err != MF_OK)
        goto out;
    // A file that was never written to is replaced: otherwise every restart would leave one.
    if (in_use(&walk.last))
        *tail = (struct mf_wal_tail){walk.last.id.sequence + 1, walk.last.batches};
    else if (walk.files > 1)
        *tail = (struct mf_wal_tail){walk.last.id.sequence, walk.before.batches};
    else
        *tail = (struct mf_wal_tail){walk.last.id.sequence, walk.last.id.previous_batches};
out:
    free(listing.files);
    return err;
}
