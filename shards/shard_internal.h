// What the files of the state machine share: shard.c (state and its changes), apply.c (write
// commands), read.c (read commands), walk.c (snapshots).
#ifndef MF_SHARDS_SHARD_INTERNAL_H
#define MF_SHARDS_SHARD_INTERNAL_H

#include "base/seqlock.h"
#include "shards/entry.h"
#include "shards/map.h"
#include "shards/shard.h"
#include "ttl/heap.h"

enum mf_walk_phase { MF_WALK_NONE, MF_WALK_KEYS, MF_WALK_IDS };

struct mf_walk {
    enum mf_walk_phase phase;
    uint64_t cursor; // of the map that the phase names
    bool parity;     // of entries that the walk need not write (any more)
    void (*sink)(void *arg, const struct mf_record *record); // NULL: ended early, see walk.c
    void *arg;
};

struct mf_shard {
    // For readers on other threads: a sequence lock over the keys and reached_us, which an entry
    // changes as one.
    _Atomic uint32_t entries;
    _Atomic uint64_t reached_us; // log_time_us, for them
    struct mf_map *keys;
    struct mf_map *ids;
    struct mf_heap heap; // of both
    uint64_t applied;
    uint64_t log_time_us;
    uint64_t version;
    uint64_t rolling_hash;
    struct mf_walk walk;
    uint64_t reclaimed_version; // when apply last reclaimed
    uint64_t loaded_version_max;
    uint64_t commands;
    uint64_t expired;
    struct mf_buf result; // of the command that is being applied
    struct mf_buf roster; // of the cluster; empty while its version is 1
    uint64_t roster_version;
};

// The kinds of changes that the rolling hash tells apart.
enum mf_change {
    MF_CHANGE_PUT = 1,
    MF_CHANGE_TTL = 2,
    MF_CHANGE_DELETE = 3,
    MF_CHANGE_EXPIRE = 4,
    MF_CHANGE_FLUSH = 5,
    MF_CHANGE_REMEMBER = 6, // an id
    MF_CHANGE_FORGET = 7,   // an id
    MF_CHANGE_ROSTER = 8,
};

// Dead to everything at this log time and later.
static inline bool mf_entry_dead(const struct mf_entry *entry, uint64_t now_us)
{
    uint64_t deadline_us = mf_entry_deadline(entry);
    return deadline_us <= now_us && deadline_us != MF_NO_DEADLINE;
}

// Log time plus a TTL: now for a TTL that is not positive, and never MF_NO_DEADLINE.
uint64_t mf_shard_deadline_in(const struct mf_shard *shard, int64_t expire_us);

// Changes. Each takes the next version, keeps the heap, gives a walk what it has not seen yet, and
// mixes itself into the rolling hash.

// Puts a key or an id; `old` is its entry, or NULL. Returns the version.
uint64_t mf_shard_put(struct mf_shard *shard, struct mf_entry *old, bool is_id, struct mf_bytes key,
                      struct mf_bytes value, uint64_t deadline_us);
// Changes or, with MF_NO_DEADLINE, takes away a key's TTL.
void mf_shard_retime(struct mf_shard *shard, struct mf_entry *entry, uint64_t deadline_us);
// Takes a key out (DELETE, EXPIRE), or an id (FORGET, which takes no version).
void mf_shard_drop(struct mf_shard *shard, struct mf_entry *entry, enum mf_change change);
// Takes all keys out, at one version if there are any. Returns how many of them were alive.
uint64_t mf_shard_drop_all(struct mf_shard *shard);

// Appends the answer of a read command; MF_AGAIN as mf_shard_read has it.
MF_MUST_USE enum mf_err mf_shard_answer(const struct mf_shard *shard,
                                        const struct mf_command *command, uint64_t log_now_us,
                                        struct mf_buf *out);

// Before an entry is changed or taken out: hands it to the walk that has not reached it yet.
void mf_walk_save(struct mf_shard *shard, struct mf_entry *entry);
// Goes on with a walk that was ended early; returns false when there is nothing to do.
bool mf_walk_settle(struct mf_shard *shard, size_t records);

#endif
