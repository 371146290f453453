// Which files of the log are still needed; see wal_ledger.h.
//
// Per file there is a list of the groups in it with their highest slot; per stream, for its newest
// file, a table from group to place in that list, so that noting a record costs two look-ups. A
// list only shrinks with its file: what it takes is 16 bytes for each group and file.
#include "consensus/wal_ledger.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

struct entry {
    uint32_t group;
    uint64_t slot; // the highest of an entry; 0: promises and marks only
};

struct file {
    uint64_t sequence;
    uint64_t bytes;
    struct entry *entries;
    uint32_t count;
    uint32_t cap;
};

struct stream {
    uint32_t number;
    bool open;
    struct file *files; // ascending
    uint32_t count;
    uint32_t cap;
    uint32_t *places; // by group: 1 + its place in the newest file's entries; 0 = not there
};

// Where this run has last written a group's promise, and its mark. All are of one stream: the
// group has one owner as long as a process runs.
struct group {
    uint64_t covered;
    uint64_t promise_file; // 0 = not in this run
    uint64_t mark_file;
    uint32_t stream;
    bool restate;
};

struct mf_wal_ledger {
    pthread_mutex_t lock;
    struct stream *streams;
    uint32_t stream_count;
    struct group *groups;
    uint32_t group_count;
    // Written under the lock, read without it (relaxed: each is a hint to take it).
    _Atomic uint64_t changes;
    _Atomic uint64_t bytes;
    _Atomic uint32_t restate_count;
    _Atomic bool low; // relaxed: a hint
};

struct mf_wal_ledger *mf_wal_ledger_new(uint32_t groups)
{
    struct mf_wal_ledger *ledger = mf_calloc(1, sizeof *ledger);
    pthread_mutex_init(&ledger->lock, NULL);
    ledger->groups = mf_calloc(groups, sizeof *ledger->groups);
    ledger->group_count = groups;
    return ledger;
}

void mf_wal_ledger_free(struct mf_wal_ledger *ledger)
{
    if (ledger == NULL)
        return;
    for (uint32_t i = 0; i < ledger->stream_count; i++) {
        struct stream *stream = &ledger->streams[i];
        for (uint32_t k = 0; k < stream->count; k++)
            free(stream->files[k].entries);
        free(stream->files);
        free(stream->places);
    }
    free(ledger->streams);
    free(ledger->groups);
    pthread_mutex_destroy(&ledger->lock);
    free(ledger);
}

static void changed(struct mf_wal_ledger *ledger)
{
    atomic_fetch_add_explicit(&ledger->changes, 1, memory_order_relaxed);
}

static struct stream *find(struct mf_wal_ledger *ledger, uint32_t number)
{
    for (uint32_t i = 0; i < ledger->stream_count; i++) {
        if (ledger->streams[i].number == number)
            return &ledger->streams[i];
    }
    ledger->streams =
        mf_realloc(ledger->streams, (ledger->stream_count + 1) * sizeof *ledger->streams);
    struct stream *stream = &ledger->streams[ledger->stream_count++];
    *stream = (struct stream){.number = number};
    stream->places = mf_calloc(ledger->group_count, sizeof *stream->places);
    return stream;
}

static void add_file(struct mf_wal_ledger *ledger, struct stream *stream, uint64_t sequence)
{
    assert(stream->count == 0 || stream->files[stream->count - 1].sequence < sequence);
    if (stream->count == stream->cap) {
        stream->cap = stream->cap == 0 ? 16 : stream->cap * 2;
        stream->files = mf_realloc(stream->files, stream->cap * sizeof *stream->files);
    }
    stream->files[stream->count++] = (struct file){.sequence = sequence};
    memset(stream->places, 0, ledger->group_count * sizeof *stream->places);
    changed(ledger);
}

static void want_again(struct mf_wal_ledger *ledger, struct group *group)
{
    if (group->restate)
        return;
    group->restate = true;
    atomic_fetch_add_explicit(&ledger->restate_count, 1, memory_order_relaxed);
}

// L3 ahead of its need: by the time that the stream has no room for another file, a checkpoint is
// all that the older ones wait for.
static void want_all_again(struct mf_wal_ledger *ledger, const struct stream *stream)
{
    for (uint32_t i = 0; stream->open && i < ledger->group_count; i++) {
        struct group *group = &ledger->groups[i];
        if (group->stream == stream->number && group->promise_file + group->mark_file != 0)
            want_again(ledger, group);
    }
}

void mf_wal_ledger_file(struct mf_wal_ledger *ledger, uint32_t number, uint64_t sequence,
                        uint64_t bytes)
{
    pthread_mutex_lock(&ledger->lock);
    struct stream *stream = find(ledger, number);
    if (stream->count == 0 || stream->files[stream->count - 1].sequence != sequence) {
        add_file(ledger, stream, sequence);
        want_all_again(ledger, stream);
    }
    struct file *file = &stream->files[stream->count - 1];
    uint64_t more = bytes > file->bytes ? bytes - file->bytes : 0;
    file->bytes += more;
    atomic_fetch_add_explicit(&ledger->bytes, more, memory_order_relaxed);
    pthread_mutex_unlock(&ledger->lock);
}

static struct entry *entry_of(struct stream *stream, struct file *file, uint32_t group)
{
    uint32_t *place = &stream->places[group];
    if (*place == 0) {
        if (file->count == file->cap) {
            file->cap = file->cap == 0 ? 16 : file->cap * 2;
            file->entries = mf_realloc(file->entries, file->cap * sizeof *file->entries);
        }
        file->entries[file->count++] = (struct entry){.group = group};
        *place = file->count;
    }
    return &file->entries[*place - 1];
}

void mf_wal_ledger_note(struct mf_wal_ledger *ledger, uint32_t number,
                        const struct mf_wal_record *record, bool fresh)
{
    if (record->group >= ledger->group_count)
        return;
    pthread_mutex_lock(&ledger->lock);
    struct stream *stream = find(ledger, number);
    assert(stream->count > 0);
    struct file *file = &stream->files[stream->count - 1];
    struct entry *entry = entry_of(stream, file, record->group);
    struct group *group = &ledger->groups[record->group];
    bool promise = record->type == MF_WAL_PROMISE;
    bool mark = record->type == MF_WAL_MARK;
    if (!promise && !mark && record->slot > entry->slot)
        entry->slot = record->slot;
    if (fresh && (promise || mark)) {
        uint64_t *last = promise ? &group->promise_file : &group->mark_file;
        group->stream = number;
        if (*last != file->sequence)
            changed(ledger);
        *last = file->sequence;
    }
    pthread_mutex_unlock(&ledger->lock);
}

void mf_wal_ledger_open(struct mf_wal_ledger *ledger, uint32_t number)
{
    pthread_mutex_lock(&ledger->lock);
    find(ledger, number)->open = true;
    pthread_mutex_unlock(&ledger->lock);
}

// L3 for one kind of record.
static bool written_again(const struct group *group, uint64_t last, const struct stream *stream,
                          const struct file *file)
{
    return last != 0 && (group->stream != stream->number || last > file->sequence);
}

// L2 and L3 for a stream's oldest file.
static bool may_go(struct mf_wal_ledger *ledger, const struct stream *stream)
{
    const struct file *file = &stream->files[0];
    for (uint32_t i = 0; i < file->count; i++) {
        if (file->entries[i].slot > ledger->groups[file->entries[i].group].covered)
            return false;
    }
    bool all = true;
    for (uint32_t i = 0; i < file->count; i++) {
        struct group *group = &ledger->groups[file->entries[i].group];
        if (!written_again(group, group->promise_file, stream, file) ||
            !written_again(group, group->mark_file, stream, file)) {
            want_again(ledger, group);
            all = false;
        }
    }
    return all;
}

bool mf_wal_ledger_next(struct mf_wal_ledger *ledger, uint32_t number, bool orphans,
                        uint32_t *of_stream, uint64_t *sequence)
{
    bool found = false;
    pthread_mutex_lock(&ledger->lock);
    for (uint32_t i = 0; i < ledger->stream_count && !found; i++) {
        const struct stream *stream = &ledger->streams[i];
        bool ours = stream->number == number || (orphans && !stream->open);
        uint32_t kept = stream->open ? 1 : 0;
        if (!ours || stream->count <= kept || !may_go(ledger, stream))
            continue;
        *of_stream = stream->number;
        *sequence = stream->files[0].sequence;
        found = true;
    }
    pthread_mutex_unlock(&ledger->lock);
    return found;
}

void mf_wal_ledger_removed(struct mf_wal_ledger *ledger, uint32_t number, uint64_t sequence)
{
    pthread_mutex_lock(&ledger->lock);
    struct stream *stream = find(ledger, number);
    assert(stream->count > 0 && stream->files[0].sequence == sequence);
    atomic_fetch_sub_explicit(&ledger->bytes, stream->files[0].bytes, memory_order_relaxed);
    free(stream->files[0].entries);
    stream->count--;
    memmove(stream->files, stream->files + 1, stream->count * sizeof *stream->files);
    pthread_mutex_unlock(&ledger->lock);
}

void mf_wal_ledger_cover(struct mf_wal_ledger *ledger, uint32_t number, uint64_t slot)
{
    assert(number < ledger->group_count);
    pthread_mutex_lock(&ledger->lock);
    struct group *group = &ledger->groups[number];
    if (slot > group->covered) {
        group->covered = slot;
        changed(ledger);
    }
    pthread_mutex_unlock(&ledger->lock);
}

void mf_wal_ledger_uncover(struct mf_wal_ledger *ledger, uint32_t number)
{
    assert(number < ledger->group_count);
    pthread_mutex_lock(&ledger->lock);
    ledger->groups[number].covered = 0;
    pthread_mutex_unlock(&ledger->lock);
}

uint64_t mf_wal_ledger_changes(const struct mf_wal_ledger *ledger)
{
    return atomic_load_explicit(&ledger->changes, memory_order_relaxed);
}

uint32_t mf_wal_ledger_restate_count(const struct mf_wal_ledger *ledger)
{
    return atomic_load_explicit(&ledger->restate_count, memory_order_relaxed);
}

bool mf_wal_ledger_restate(struct mf_wal_ledger *ledger, uint32_t number)
{
    assert(number < ledger->group_count);
    pthread_mutex_lock(&ledger->lock);
    struct group *group = &ledger->groups[number];
    bool wanted = group->restate;
    group->restate = false;
    if (wanted)
        atomic_fetch_sub_explicit(&ledger->restate_count, 1, memory_order_relaxed);
    pthread_mutex_unlock(&ledger->lock);
    return wanted;
}

static uint64_t bytes_of(const struct stream *stream)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < stream->count; i++)
        bytes += stream->files[i].bytes;
    return bytes;
}

bool mf_wal_ledger_pinned_by(struct mf_wal_ledger *ledger, uint32_t *group)
{
    bool found = false;
    uint64_t most = 0;
    pthread_mutex_lock(&ledger->lock);
    for (uint32_t i = 0; i < ledger->stream_count; i++) {
        const struct stream *stream = &ledger->streams[i];
        uint64_t bytes = bytes_of(stream);
        if (stream->count <= (stream->open ? 1u : 0u) || bytes <= most)
            continue;
        const struct file *oldest = &stream->files[0];
        for (uint32_t k = 0; k < oldest->count; k++) {
            const struct entry *entry = &oldest->entries[k];
            if (entry->slot <= ledger->groups[entry->group].covered)
                continue;
            *group = entry->group;
            most = bytes;
            found = true;
            break;
        }
    }
    pthread_mutex_unlock(&ledger->lock);
    return found;
}

void mf_wal_ledger_low(struct mf_wal_ledger *ledger, bool low)
{
    atomic_store_explicit(&ledger->low, low, memory_order_relaxed);
}

bool mf_wal_ledger_is_low(const struct mf_wal_ledger *ledger)
{
    return atomic_load_explicit(&ledger->low, memory_order_relaxed);
}

uint64_t mf_wal_ledger_bytes(const struct mf_wal_ledger *ledger)
{
    return atomic_load_explicit(&ledger->bytes, memory_order_relaxed);
}
