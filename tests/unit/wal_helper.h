// What the tests of the write-ahead log share: a folder of their own, the end of the callbacks, and
// the list of what a recovery gave. Included by one test file each, so everything is static.
#ifndef MF_TESTS_UNIT_WAL_HELPER_H
#define MF_TESTS_UNIT_WAL_HELPER_H

#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "consensus/wal.h"
#include "consensus/wal_files.h"

#define PATH_BYTES 512

struct folder {
    char path[PATH_BYTES];
};

static inline struct folder make_folder(void)
{
    const char *base = getenv("TMPDIR");
    struct folder folder;
    snprintf(folder.path, sizeof folder.path, "%s/mf-wal-XXXXXX", base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(folder.path));
    return folder;
}

// FOLDER/NAME, valid until the next call of this thread.
static inline const char *in_folder(const char *folder, const char *name)
{
    static _Thread_local char path[2 * PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

// The number of names in the folder; with `remove` they are removed.
static inline size_t each_name(const char *path, bool remove)
{
    DIR *dir = opendir(path);
    assert_non_null(dir);
    size_t count = 0;
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        count++;
        if (remove)
            assert_int_equal(unlink(in_folder(path, entry->d_name)), 0);
    }
    closedir(dir);
    return count;
}

static inline void remove_folder(const char *path)
{
    each_name(path, true);
    assert_int_equal(rmdir(path), 0);
}

static inline struct mf_buf read_file(const char *path)
{
    struct mf_buf content = {0};
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t got;
    do {
        got = fread(mf_buf_reserve(&content, 65536), 1, 65536, file);
        content.len += got;
    } while (got > 0);
    fclose(file);
    return content;
}

static inline void write_file(const char *path, struct mf_bytes content)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    if (content.len > 0)
        assert_int_equal(fwrite(content.data, 1, content.len, file), content.len);
    assert_int_equal(fclose(file), 0);
}

static inline bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

// Where the log's callbacks end. Under its mutex.
struct sink {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t durable;
    unsigned reports;
    unsigned failures;
    bool out_of_order;
    bool durable_after_failure;
    enum mf_wal_block block;
    unsigned blocks; // how often it was told that the stream is blocked
    char message[700];
};

static inline void sink_init(struct sink *sink)
{
    memset(sink, 0, sizeof *sink);
    pthread_mutex_init(&sink->lock, NULL);
    pthread_cond_init(&sink->changed, NULL);
}

static inline void sink_free(struct sink *sink)
{
    pthread_mutex_destroy(&sink->lock);
    pthread_cond_destroy(&sink->changed);
}

static inline void on_durable(void *arg, uint64_t sequence)
{
    struct sink *sink = arg;
    pthread_mutex_lock(&sink->lock);
    sink->out_of_order |= sequence <= sink->durable;
    sink->durable_after_failure |= sink->failures > 0;
    sink->durable = sequence;
    sink->reports++;
    pthread_cond_broadcast(&sink->changed);
    pthread_mutex_unlock(&sink->lock);
}

static inline void on_failed(void *arg, const char *message)
{
    struct sink *sink = arg;
    pthread_mutex_lock(&sink->lock);
    sink->failures++;
    snprintf(sink->message, sizeof sink->message, "%s", message);
    pthread_cond_broadcast(&sink->changed);
    pthread_mutex_unlock(&sink->lock);
}

static inline void on_blocked(void *arg, enum mf_wal_block block, const char *message)
{
    struct sink *sink = arg;
    pthread_mutex_lock(&sink->lock);
    sink->block = block;
    sink->blocks += block != MF_WAL_FLOWS;
    if (block != MF_WAL_FLOWS)
        snprintf(sink->message, sizeof sink->message, "%s", message);
    pthread_cond_broadcast(&sink->changed);
    pthread_mutex_unlock(&sink->lock);
}

// Waits until `sequence` is durable or the stream is blocked or has failed; true for durable.
static inline bool sink_wait_or_blocked(struct sink *sink, uint64_t sequence)
{
    pthread_mutex_lock(&sink->lock);
    while (sink->durable < sequence && sink->failures == 0 && sink->block == MF_WAL_FLOWS)
        pthread_cond_wait(&sink->changed, &sink->lock);
    bool durable = sink->durable >= sequence;
    pthread_mutex_unlock(&sink->lock);
    return durable;
}

// Waits until `sequence` is durable or the stream has failed; true for durable.
static inline bool sink_wait(struct sink *sink, uint64_t sequence)
{
    pthread_mutex_lock(&sink->lock);
    while (sink->durable < sequence && sink->failures == 0)
        pthread_cond_wait(&sink->changed, &sink->lock);
    bool durable = sink->durable >= sequence;
    pthread_mutex_unlock(&sink->lock);
    return durable;
}

static inline struct mf_wal_config config_of(const char *folder, uint32_t stream,
                                             uint64_t segment_bytes, struct sink *sink)
{
    return (struct mf_wal_config){
        .folder = folder,
        .stream = stream,
        .segment_bytes = segment_bytes,
        .sync = true,
        .retry_us = 1000,
        .durable = on_durable,
        .failed = on_failed,
        .blocked = on_blocked,
        .arg = sink,
    };
}

static inline struct mf_wal *open_wal(const struct mf_wal_config *config)
{
    struct mf_wal *wal;
    char message[512] = "";
    if (mf_wal_open(config, &wal, message, sizeof message) != MF_OK)
        fail_msg("%s", message);
    return wal;
}

// A payload whose every byte follows from the slot.
static inline struct mf_bytes payload_of(uint64_t slot, size_t len, struct mf_buf *buffer)
{
    buffer->len = 0;
    uint8_t *to = mf_buf_reserve(buffer, len);
    for (size_t i = 0; i < len; i++)
        to[i] = (uint8_t)(slot * 31 + i * 7 + 1);
    return mf_bytes_of(to, len);
}

static inline uint64_t put_accept(struct mf_wal *wal, uint32_t group, uint64_t slot, size_t len)
{
    struct mf_buf buffer = {0};
    struct mf_wal_record record = {.type = MF_WAL_ACCEPT,
                                   .group = group,
                                   .slot = slot,
                                   .payload = payload_of(slot, len, &buffer)};
    mf_wal_put(wal, &record);
    uint64_t sequence = mf_wal_submit(wal);
    mf_buf_free(&buffer);
    return sequence;
}

// What a recovery gave: the slots in order, contents checked.
struct recovered {
    uint64_t *slots;
    size_t count;
    size_t cap;
    struct mf_wal_recovery recovery;
};

static inline enum mf_err collect(void *arg, const struct mf_wal_record *record)
{
    struct recovered *into = arg;
    struct mf_buf buffer = {0};
    assert_true(
        mf_bytes_equal(record->payload, payload_of(record->slot, record->payload.len, &buffer)));
    mf_buf_free(&buffer);
    if (into->count == into->cap) {
        into->cap = into->cap == 0 ? 64 : into->cap * 2;
        into->slots = mf_realloc(into->slots, into->cap * sizeof *into->slots);
    }
    into->slots[into->count++] = record->slot;
    return MF_OK;
}

static inline enum mf_err recover(const char *folder, struct recovered *into)
{
    *into = (struct recovered){0};
    return mf_wal_recover(folder, &into->recovery, NULL, collect, into);
}

// Asserts that the folder gives the slots 1..count in order.
static inline void assert_recovers(const char *folder, uint64_t count)
{
    struct recovered got;
    if (recover(folder, &got) != MF_OK)
        fail_msg("%s", got.recovery.message);
    assert_int_equal(got.count, count);
    assert_int_equal(got.recovery.records, count);
    for (size_t i = 0; i < got.count; i++)
        assert_int_equal(got.slots[i], i + 1);
    free(got.slots);
}

// Asserts that the folder is refused with a message that contains `words`.
static inline void assert_refused(const char *folder, const char *words)
{
    struct recovered got;
    assert_int_equal(recover(folder, &got), MF_CORRUPT);
    if (strstr(got.recovery.message, words) == NULL)
        fail_msg("\"%s\" lacks \"%s\"", got.recovery.message, words);
    free(got.slots);
}

#endif
