// The commands that took longest: what SLOWLOG tells.
//
// One list for the whole node, in the order in which the commands ended. All reactors add to it and
// read it; each holds its lock for a moment. What it may hold is bounded twice: by the entries that
// the settings allow, and by the two bounds here.
#ifndef MF_SERVER_SLOWLOG_H
#define MF_SERVER_SLOWLOG_H

#include <stdint.h>

#include "base/bytes.h"
#include "server/resp_settings.h"

#define MF_SLOWLOG_BYTES_MAX (8u << 20)
#define MF_SLOWLOG_ENTRIES_MAX 8192u // all of them are walked through under the lock
// What is kept of a command: as Redis has it.
#define MF_SLOWLOG_WORDS_MAX 32u
#define MF_SLOWLOG_WORD_BYTES_MAX 128u

struct mf_slowlog;

struct mf_slowlog_entry {
    struct mf_slowlog_entry *newer; // under the list's lock
    _Atomic uint32_t users;         // the list is one
    // Constant.
    uint64_t id;
    uint64_t unix_s; // when it ended
    uint64_t us;     // what it took
    struct mf_bytes words;
    const char *address; // of the client
    const char *name;    // that the client gave itself; "" = none
    size_t bytes;        // all of it
};

// settings: of the node; must outlive it.
struct mf_slowlog *mf_slowlog_new(const struct mf_resp_settings *settings);
void mf_slowlog_free(struct mf_slowlog *log);

// Appends to `out` what is kept of a command: u32 count and as many blobs. Of more than 32 words
// the last one tells how many there were, and so does a word of more than 128 bytes of its bytes.
void mf_slowlog_put_words(struct mf_buf *out, const struct mf_bytes *words, uint32_t count);

// Any thread. words: of mf_slowlog_put_words. All is copied.
void mf_slowlog_add(struct mf_slowlog *log, uint64_t unix_s, uint64_t us, struct mf_bytes words,
                    const char *address, const char *name);
uint32_t mf_slowlog_count(struct mf_slowlog *log);
// The newest `most` ones, the newest first: `*count` of them, which the caller gives back.
struct mf_slowlog_entry **mf_slowlog_newest(struct mf_slowlog *log, uint32_t most, uint32_t *count);
void mf_slowlog_give_back(struct mf_slowlog_entry **entries, uint32_t count);
void mf_slowlog_reset(struct mf_slowlog *log);

#endif
