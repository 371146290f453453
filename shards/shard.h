// One shard's state machine: keys, values, versions, deadlines, remembered ids.
//
// Everything that changes the state is an entry of the shard's log applied through mf_shard_apply,
// in order, and the outcome depends on the state and the entry alone: replicas at one log position
// are equal. Nothing here reads a clock: log time comes with the entry, or with the read.
//
// Invariants: versions grow by one with every change of a key, a flush and the remembering of an id
// (the expiry order needs a number of its own for each) being one change; a key whose deadline <=
// the log time of an entry is absent to that entry and all after it; the heap holds exactly the
// entries with a TTL; an id is remembered for MF_ID_TTL_US of log time.
//
// Threads: the owner only, except mf_shard_map (see map.h for its readers) and
// mf_shard_read_shared.
//
// Choosing what to evict is the leader's business (evict.h); here eviction is an entry like any
// other.
#ifndef MF_SHARDS_SHARD_H
#define MF_SHARDS_SHARD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/command.h"
#include "base/err.h"
#include "base/event.h"
#include "base/result.h"

struct mf_map;
struct mf_map_ahead;
struct mf_map_reader;
struct mf_shard;

#define MF_ID_TTL_US UINT64_C(600000000)
#define MF_NO_DEADLINE UINT64_MAX

// What a snapshot says of a shard as a whole.
struct mf_shard_meta {
    uint64_t applied;      // log index of the last entry applied, 0 = none
    uint64_t log_time_us;  // its log time
    uint64_t version;      // the version counter
    uint64_t rolling_hash; // see mf_shard_rolling_hash
    uint64_t hash_seed;    // the group's, 0 = it has none yet: see mf_shard_new
    uint64_t keys;
    uint64_t ids;
};

// One key or one remembered id, as snapshots hold them.
struct mf_record {
    bool is_id;
    struct mf_bytes key;   // the id itself for an id
    struct mf_bytes value; // the encoded result for an id
    uint64_t version;
    uint64_t deadline_us; // log time; MF_NO_DEADLINE = no TTL
};

// hash_seed: secret, and this process's own until the group has one: a leader's first entry brings
// it (MF_OP_SEED), snapshots carry it. From then on the keys have the same hashes on all replicas,
// and so the same order in a scan, whose cursors stay good over a change of leader. Nothing else
// depends on it.
struct mf_shard *mf_shard_new(uint32_t id, uint64_t hash_seed);
void mf_shard_free(struct mf_shard *shard);

// Applies log entry `index` (exactly one after the last). For each command of the batch,
// done(arg, n, result) gets its number and encoded result, valid during the call; done may be NULL.
// A payload that cannot be decoded, or holds what is in no log, is MF_CORRUPT and leaves the state
// unusable: the caller stops.
MF_MUST_USE enum mf_err mf_shard_apply(struct mf_shard *shard, uint64_t index, uint64_t log_time_us,
                                       struct mf_bytes payload,
                                       void (*done)(void *arg, uint32_t n, struct mf_bytes result),
                                       void *arg);

// False while the group has no hash seed.
bool mf_shard_seeded(const struct mf_shard *shard);

// Answers a read (GET, MGET, HAS, TTL, DEADLINE, STRLEN, GETRANGE, OBJECT, SIZE, SCAN, TXN_READ) at
// log time `log_now_us` by appending one encoded result to out. A key is dead where log_now_us >=
// deadline. A death that no applied entry's log time has reached yet could be undone by a leader
// with a later-running clock, so then nothing is appended and MF_AGAIN is returned: the caller
// proposes an EXPIRE_DUE entry at its log time (or any other entry) and reads again once it is
// applied. With MF_READ_LOCAL there is no such wait.
MF_MUST_USE enum mf_err mf_shard_read(struct mf_shard *shard, const struct mf_command *command,
                                      uint64_t log_now_us, struct mf_buf *out);

// The same for what is none of OBJECT, SIZE and SCAN on any thread, through this thread's reader of
// mf_shard_map. What it answers is the state between two entries, or within one before or after an
// EXPIRE_DUE, at a moment within the call. MF_AGAIN also when another command was applied
// meanwhile: half of it must not be seen. The shard must
// stay there.
MF_MUST_USE enum mf_err mf_shard_read_shared(const struct mf_shard *shard,
                                             struct mf_map_reader *reader,
                                             const struct mf_command *command, uint64_t log_now_us,
                                             struct mf_buf *out);

// Applies an entry that is one command, which nobody had to encode: for a store without a log.
// Gives its encoded result, valid until the next entry. MF_BAD_REQUEST, and no entry, for a command
// that could not be in a log.
MF_MUST_USE enum mf_err mf_shard_apply_one(struct mf_shard *shard, uint64_t index,
                                           uint64_t log_time_us, const struct mf_command *command,
                                           struct mf_bytes *result);
// Versions from now on are larger than `version`: for one whose keys come from another shard.
void mf_shard_skip_versions(struct mf_shard *shard, uint64_t version);

// The earliest deadline of a key or id, or MF_NO_DEADLINE.
uint64_t mf_shard_next_deadline(const struct mf_shard *shard);

void mf_shard_meta(const struct mf_shard *shard, struct mf_shard_meta *meta);
// Keys in the map, those included whose deadline has come but that no entry has removed yet.
uint64_t mf_shard_keys(const struct mf_shard *shard);
// Counters since the start, for statistics.
struct mf_shard_counters {
    uint64_t commands;
    uint64_t expired;
    uint64_t evicted;
    // What commands put together of values that were there, and their results.
    uint64_t built_bytes;
};
void mf_shard_counters(const struct mf_shard *shard, struct mf_shard_counters *counters);

// What the state takes now, in bytes as the allocator gives them.
struct mf_shard_memory {
    uint64_t keys;     // how many
    uint64_t expiring; // of them, those with a TTL
    uint64_t ids;
    uint64_t key_bytes;   // entries: header, key and value
    uint64_t id_bytes;    // entries of ids, their table and their heap
    uint64_t table_bytes; // of keys
    uint64_t heap_bytes;  // of keys with a TTL, without the entries
    uint64_t bytes;       // all of it
    // Beside that: of entries that were replaced or removed, and that a reader may still hold.
    uint64_t waiting_bytes;
};
void mf_shard_memory(const struct mf_shard *shard, struct mf_shard_memory *memory);
// No value is longer; one that is gone may have been as long.
size_t mf_shard_longest_value(const struct mf_shard *shard);

// Called from within mf_shard_apply, in the order of the changes; those of a flush have one version
// and no order. A flush of more than 4096 keys, or of keys of more than 1 MiB together, is told by
// one MF_EVENT_FLUSH without a key. The event's views are valid during the call. The listener may
// read the shard's meta, and no key of it.
typedef void mf_change_listener(void *arg, const struct mf_event *event);
// One listener for each shard; NULL: none, which costs nothing.
void mf_shard_listen(struct mf_shard *shard, mf_change_listener *listener, void *arg);

// At MF_EVENT_FLUSH, by the listener: whether this key was among those that go, and what its event
// is, DEL or EXPIRE.
bool mf_shard_flushed(const struct mf_shard *shard, struct mf_bytes key,
                      enum mf_change_event *event);

// A hash over every change since the beginning of the log; equal at equal `applied` on all
// replicas. O(1): kept up to date by apply.
uint64_t mf_shard_rolling_hash(const struct mf_shard *shard);
// A hash of the whole state (keys, values, versions, deadlines, ids, meta), whatever the table's
// order; for tests and verification. O(n).
uint64_t mf_shard_state_hash(const struct mf_shard *shard);
// Checks the invariants above on every entry; for tests. O(n).
bool mf_shard_valid(const struct mf_shard *shard);

// Snapshot walk: the state at the moment of begin, taken in small steps between commands. Records
// are handed to sink; one that is about to change before the walk has reached it is handed out
// first, from within mf_shard_apply. A flush hands out none: it leaves the walk all keys, to go on
// with. Each record of the cut comes exactly once, none that is newer. One walk at a time (begin
// returns MF_BUSY).
MF_MUST_USE enum mf_err mf_shard_walk_begin(struct mf_shard *shard, struct mf_shard_meta *meta,
                                            void (*sink)(void *arg, const struct mf_record *record),
                                            void *arg);
// Visits about `records` more, or as many empty buckets; true while there are more to come, false
// once the walk is complete.
bool mf_shard_walk_step(struct mf_shard *shard, size_t records);
// True from begin until every record has been handed out, or until end.
bool mf_shard_walking(const struct mf_shard *shard);
// Ends the walk early (or after its end, without effect). What it has not reached is set right in
// small steps by mf_shard_reclaim and mf_shard_walk_settle, or at once by the next begin.
void mf_shard_walk_end(struct mf_shard *shard);
// Such a step; true when nothing is left to be set right.
bool mf_shard_walk_settle(struct mf_shard *shard);

// Loading into a fresh shard: begin, every record, end. Records may come in any order.
void mf_shard_load_begin(struct mf_shard *shard);
// Between begin and the first record, where the seed of the meta to come is known already: spares
// load_end another table. 0 is none.
void mf_shard_load_seed(struct mf_shard *shard, uint64_t hash_seed);
// MF_CORRUPT for a repeated key, a version of 0, an id that is too long or has no deadline.
MF_MUST_USE enum mf_err mf_shard_load(struct mf_shard *shard, const struct mf_record *record);
// MF_CORRUPT when counts do not match meta or a version was above its counter. The next entry
// applied is meta->applied + 1.
MF_MUST_USE enum mf_err mf_shard_load_end(struct mf_shard *shard, const struct mf_shard_meta *meta);

// The roster of the cluster's nodes that MF_OP_ROSTER has left here, as opaque bytes; none at
// version 1, with which a shard begins. No snapshot record has it: who makes or loads a checkpoint
// asks for it, or brings it.
uint64_t mf_shard_roster_version(const struct mf_shard *shard);
struct mf_bytes mf_shard_roster(const struct mf_shard *shard); // until the next entry
void mf_shard_load_roster(struct mf_shard *shard, uint64_t version, struct mf_bytes roster);

// The map of live keys, for lock-free readers on other threads.
struct mf_map *mf_shard_map(struct mf_shard *shard);
// From now on all who read the map do so on the owner's thread: what is taken out is freed at once.
void mf_shard_unshare(struct mf_shard *shard);
// Bring what leads to all keys into the cache, one after the other.
void mf_shard_prefetch(const struct mf_shard *shard, bool write);
void mf_shard_prefetch_map(const struct mf_shard *shard, bool write);
void mf_shard_prefetch_limbo(const struct mf_shard *shard);
// Begins to bring a key that will be needed soon; see mf_map_prefetch_bucket.
struct mf_map_ahead mf_shard_prefetch_place(const struct mf_shard *shard, struct mf_bytes key);
// Frees memory that readers have left, and some of what a flush has left; every some changes.
void mf_shard_reclaim(struct mf_shard *shard);
// The same for whoever calls it once a turn, whatever has changed: memory that readers have left
// stays where it is while it is little.
void mf_shard_tidy(struct mf_shard *shard);
// There is more that a flush has left, which waits for nothing but reclaims.
bool mf_shard_littered(const struct mf_shard *shard);

#endif
