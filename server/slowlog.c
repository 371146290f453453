// The list of slow commands; see slowlog.h.
//
// Shared between threads: the list, under its lock, and the users of its entries. An entry that
// leaves the list while somebody reads it is freed by the last reader.
#include "server/slowlog.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct mf_slowlog {
    const struct mf_resp_settings *settings;
    pthread_mutex_t mutex;
    struct mf_slowlog_entry *oldest;
    struct mf_slowlog_entry *newest;
    uint32_t count;
    size_t bytes;
    uint64_t next_id;
};

struct mf_slowlog *mf_slowlog_new(const struct mf_resp_settings *settings)
{
    struct mf_slowlog *log = mf_calloc(1, sizeof(*log));
    log->settings = settings;
    pthread_mutex_init(&log->mutex, NULL);
    return log;
}

void mf_slowlog_free(struct mf_slowlog *log)
{
    if (log == NULL)
        return;
    mf_slowlog_reset(log);
    pthread_mutex_destroy(&log->mutex);
    free(log);
}

// What tells that something was left out takes no more than this.
#define MORE_BYTES 48u

// Little-endian, as mf_read_blob takes it. Writes for which the room is known: each command that
// the shards work on passes here.
static uint8_t *put_u32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> 8 * i);
    return at + 4;
}

static uint8_t *put_more(uint8_t *at, uint64_t number, const char *what)
{
    char more[MORE_BYTES];
    int len = snprintf(more, sizeof(more), "... (%" PRIu64 " more %s)", number, what);
    memcpy(at, more, (size_t)len);
    return at + len;
}

static uint8_t *put_word(uint8_t *at, struct mf_bytes word)
{
    if (__builtin_expect(word.len <= MF_SLOWLOG_WORD_BYTES_MAX, 1)) {
        at = put_u32(at, (uint32_t)word.len);
        if (word.len > 0)
            memcpy(at, word.data, word.len);
        return at + word.len;
    }
    uint8_t *text = at + 4;
    memcpy(text, word.data, MF_SLOWLOG_WORD_BYTES_MAX);
    uint8_t *end =
        put_more(text + MF_SLOWLOG_WORD_BYTES_MAX, word.len - MF_SLOWLOG_WORD_BYTES_MAX, "bytes");
    put_u32(at, (uint32_t)(end - text));
    return end;
}

void mf_slowlog_put_words(struct mf_buf *out, const struct mf_bytes *words, uint32_t count)
{
    bool cut = count > MF_SLOWLOG_WORDS_MAX;
    uint32_t kept = cut ? MF_SLOWLOG_WORDS_MAX : count;
    size_t room = 4 + 4 * (size_t)kept + MORE_BYTES;
    for (uint32_t i = 0; i < kept; i++) {
        size_t len = words[i].len;
        room += len <= MF_SLOWLOG_WORD_BYTES_MAX ? len : MF_SLOWLOG_WORD_BYTES_MAX + MORE_BYTES;
    }
    uint8_t *start = mf_buf_reserve(out, room);
    uint8_t *at = put_u32(start, kept);
    for (uint32_t i = 0; i < kept - cut; i++)
        at = put_word(at, words[i]);
    if (cut) {
        uint8_t *end = put_more(at + 4, count - kept + 1, "arguments");
        put_u32(at, (uint32_t)(end - at - 4));
        at = end;
    }
    out->len += (size_t)(at - start);
}

// The texts lie behind the entry.
static struct mf_slowlog_entry *new_entry(struct mf_bytes words, const char *address,
                                          const char *name)
{
    size_t address_size = strlen(address) + 1;
    size_t name_size = strlen(name) + 1;
    struct mf_slowlog_entry *entry;
    size_t bytes = sizeof(*entry) + words.len + address_size + name_size;
    entry = mf_calloc(1, bytes);
    char *at = (char *)(entry + 1);
    memcpy(at, words.data, words.len);
    entry->words = mf_bytes_of(at, words.len);
    at += words.len;
    memcpy(at, address, address_size);
    entry->address = at;
    at += address_size;
    memcpy(at, name, name_size);
    entry->name = at;
    entry->bytes = mf_alloc_bytes(bytes);
    atomic_init(&entry->users, 1);
    return entry;
}

static void release(struct mf_slowlog_entry *entry)
{
    // Acquire and release: whoever frees it comes after all who have read it.
    if (atomic_fetch_sub_explicit(&entry->users, 1, memory_order_acq_rel) == 1)
        free(entry);
}

static void release_all(struct mf_slowlog_entry *entry)
{
    while (entry != NULL) {
        struct mf_slowlog_entry *newer = entry->newer;
        release(entry);
        entry = newer;
    }
}

// Takes out what is too much, under the lock: the oldest, up to `*last`.
static struct mf_slowlog_entry *cut(struct mf_slowlog *log, uint64_t most)
{
    struct mf_slowlog_entry *first = log->oldest;
    struct mf_slowlog_entry *last = NULL;
    while (log->count > most || (log->bytes > MF_SLOWLOG_BYTES_MAX && log->count > 0)) {
        last = log->oldest;
        log->oldest = last->newer;
        log->count--;
        log->bytes -= last->bytes;
    }
    if (log->oldest == NULL)
        log->newest = NULL;
    if (last == NULL)
        return NULL;
    last->newer = NULL;
    return first;
}

void mf_slowlog_add(struct mf_slowlog *log, uint64_t unix_s, uint64_t us, struct mf_bytes words,
                    const char *address, const char *name)
{
    int64_t most = atomic_load_explicit(&log->settings->slowlog_max_len, memory_order_relaxed);
    struct mf_slowlog_entry *entry = new_entry(words, address, name);
    entry->unix_s = unix_s;
    entry->us = us;
    pthread_mutex_lock(&log->mutex);
    entry->id = log->next_id++;
    if (log->newest != NULL)
        log->newest->newer = entry;
    else
        log->oldest = entry;
    log->newest = entry;
    log->count++;
    log->bytes += entry->bytes;
    if (most > MF_SLOWLOG_ENTRIES_MAX)
        most = MF_SLOWLOG_ENTRIES_MAX;
    struct mf_slowlog_entry *gone = cut(log, most > 0 ? (uint64_t)most : 0);
    pthread_mutex_unlock(&log->mutex);
    release_all(gone);
}

uint32_t mf_slowlog_count(struct mf_slowlog *log)
{
    pthread_mutex_lock(&log->mutex);
    uint32_t count = log->count;
    pthread_mutex_unlock(&log->mutex);
    return count;
}

struct mf_slowlog_entry **mf_slowlog_newest(struct mf_slowlog *log, uint32_t most, uint32_t *count)
{
    pthread_mutex_lock(&log->mutex);
    *count = log->count < most ? log->count : most;
    struct mf_slowlog_entry **entries = mf_calloc(*count + 1, sizeof(struct mf_slowlog_entry *));
    struct mf_slowlog_entry *entry = log->oldest;
    for (uint32_t i = 0; i < log->count; i++, entry = entry->newer) {
        uint32_t age = log->count - 1 - i;
        if (age >= *count)
            continue;
        // Relaxed: the list is a user, and stays one while the lock is held.
        atomic_fetch_add_explicit(&entry->users, 1, memory_order_relaxed);
        entries[age] = entry;
    }
    pthread_mutex_unlock(&log->mutex);
    return entries;
}

void mf_slowlog_give_back(struct mf_slowlog_entry **entries, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        release(entries[i]);
    free(entries);
}

void mf_slowlog_reset(struct mf_slowlog *log)
{
    pthread_mutex_lock(&log->mutex);
    struct mf_slowlog_entry *gone = cut(log, 0);
    pthread_mutex_unlock(&log->mutex);
    release_all(gone);
}
