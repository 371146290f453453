// What the files of the state machine share: shard.c (state and its changes), flush.c (all keys at
// once), apply.c, apply_value.c and apply_keys.c (write commands), txn.c (several commands as one),
// read.c (read commands), scan.c, walk.c (snapshots), evict.c (what goes when memory is full).
#ifndef MF_SHARDS_SHARD_INTERNAL_H
#define MF_SHARDS_SHARD_INTERNAL_H

#include "base/seqlock.h"
#include "base/txn.h"
#include "shards/entry.h"
#include "shards/evict.h"
#include "shards/map.h"
#include "shards/shard.h"
#include "ttl/heap.h"

enum mf_walk_phase { MF_WALK_NONE, MF_WALK_KEYS, MF_WALK_IDS };

// All keys of a shard as a flush took them out: freed in steps.
struct mf_shed {
    struct mf_shed *next;
    struct mf_map_rest *table; // of the map of keys; NULL: gone
    struct mf_heap heap;
};

struct mf_walk {
    enum mf_walk_phase phase;
    uint64_t cursor;      // of the map that the phase names
    struct mf_shed *shed; // the keys to walk have been flushed, and are here; or NULL
    bool parity;          // of entries that the walk need not write (any more)
    void (*sink)(void *arg, const struct mf_record *record); // NULL: ended early, see walk.c
    void *arg;
};

// A change that may have to be undone: what stood there before, NULL for nothing, and after.
struct mf_undo {
    struct mf_entry *old;
    struct mf_entry *fresh;
    bool tell; // the listener, of `event` at `version`, when the txn holds
    enum mf_change_event event;
    uint64_t version;
};

// What a txn has changed so far. An entry that was replaced or taken out stays where it is until
// mf_shard_reclaim, which nobody calls before the txn has ended.
struct mf_journal {
    bool open;
    struct mf_undo *undos;
    size_t count;
    size_t cap;
    // As they were at its beginning.
    uint64_t version;
    uint64_t rolling_hash;
    uint64_t expired;
    uint64_t built_bytes_left; // that its commands may still put together
};

struct mf_shard {
    // What every write looks at stands together, in three lines of the cache.
    // For readers on other threads: a sequence lock over the keys and reached_us, which an entry
    // changes as one.
    _Atomic uint32_t entries;
    enum mf_eviction eviction;   // how this process would evict
    _Atomic uint64_t reached_us; // log_time_us, for them
    struct mf_map *keys;
    struct mf_map *ids;
    mf_change_listener *listener; // NULL: nobody listens
    void *listener_arg;
    uint64_t applied;
    uint64_t log_time_us;
    uint64_t version;
    uint64_t rolling_hash;
    uint64_t reclaimed_version; // when apply last reclaimed
    uint64_t commands;
    uint64_t expired;
    uint64_t built_bytes; // values that commands put together, and results
    size_t longest_bytes; // of all values of keys that there ever were
    struct mf_buf result; // of the command that is being applied
    struct mf_walk walk;
    struct mf_journal journal;
    struct mf_heap heap;    // of keys
    struct mf_heap id_heap; // of ids
    struct mf_shed *sheds;  // to be freed, the oldest first
    struct mf_shed *sheds_last;
    size_t shed_heap_bytes; // of all there are
    uint64_t shed_version;  // when some of them was freed last
    uint64_t loaded_version_max;
    uint64_t evicted;
    uint64_t hash_seed;             // the group's, of the map of keys; 0 = it has none yet
    uint64_t reclaimed_built_bytes; // when apply last reclaimed
    struct mf_buf roster;           // of the cluster; empty while its version is 1
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
    MF_CHANGE_EVICT = 8,
    MF_CHANGE_SEED = 16, // the group has a hash seed
    MF_CHANGE_ROSTER = 9,
};

// Before an entry is put into its map.
static inline void mf_shard_note_length(struct mf_shard *shard, const struct mf_entry *entry)
{
    size_t len = mf_entry_is_id(entry) ? 0 : mf_entry_value(entry).len;
    if (len > shard->longest_bytes)
        shard->longest_bytes = len;
}

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

// Puts a key; `old` is its entry, or NULL. Returns the version.
uint64_t mf_shard_put(struct mf_shard *shard, struct mf_entry *old, struct mf_bytes key,
                      struct mf_bytes value, uint64_t deadline_us);
// Puts an id that is not there.
void mf_shard_put_id(struct mf_shard *shard, struct mf_bytes id, struct mf_bytes result,
                     uint64_t deadline_us);
// Puts a key whose entry is `old`, or NULL, with `patch` over its value from `at` on and zeros up
// to there; its TTL stays.
uint64_t mf_shard_overwrite(struct mf_shard *shard, struct mf_entry *old, struct mf_bytes key,
                            size_t at, struct mf_bytes patch);
// Puts `key`, whose entry is `old`, or NULL, with value and TTL of `from`, which may have been
// taken out by the same entry. A large value is shared and not copied.
uint64_t mf_shard_put_as(struct mf_shard *shard, struct mf_entry *old, struct mf_bytes key,
                         const struct mf_entry *from);
// Changes or, with MF_NO_DEADLINE, takes away a key's TTL.
void mf_shard_retime(struct mf_shard *shard, struct mf_entry *entry, uint64_t deadline_us);
// Takes a key out (DELETE, EXPIRE, EVICT), or an id (FORGET, which takes no version).
void mf_shard_drop(struct mf_shard *shard, struct mf_entry *entry, enum mf_change change);
// Takes the next keys and ids that are dead at the log time out of their heaps, in the order in
// which they are to be dropped now, (deadline, version) over both heaps; returns how many, at most
// `max` and MF_DUE_MAX.
#define MF_DUE_MAX MF_HEAP_FIRST_MAX
uint32_t mf_shard_take_due(struct mf_shard *shard, struct mf_entry **due, uint32_t max);

// flush.c. Takes all keys out, at one version if there are any, in bounded time. Returns how many
// of them were alive.
uint64_t mf_shard_drop_all(struct mf_shard *shard);
// Takes over what is to be freed by mf_shed_step, which each reclaim calls, or at once.
void mf_shed_put(struct mf_shard *shard, struct mf_shed *shed);
void mf_shed_step(struct mf_shard *shard);
void mf_shed_all(struct mf_shard *shard);

// The group has a hash seed from now on, if it has none yet.
void mf_shard_seed(struct mf_shard *shard, uint64_t seed);

// apply.c: the live entry of a key, or NULL; a dead one is taken out.
struct mf_entry *mf_shard_find_live(struct mf_shard *shard, struct mf_bytes key);
// Carries out one command that is well formed, whatever its id, and appends its result.
MF_MUST_USE enum mf_err mf_apply_command(struct mf_shard *shard, const struct mf_command *command,
                                         struct mf_buf *out);

// apply_value.c: commands whose result depends on the value that is there.
void mf_apply_incr(struct mf_shard *shard, const struct mf_command *command, struct mf_buf *out);
void mf_apply_incrfloat(struct mf_shard *shard, const struct mf_command *command,
                        struct mf_buf *out);
void mf_apply_append(struct mf_shard *shard, const struct mf_command *command, struct mf_buf *out);
void mf_apply_setrange(struct mf_shard *shard, const struct mf_command *command,
                       struct mf_buf *out);
void mf_apply_setbit(struct mf_shard *shard, const struct mf_command *command, struct mf_buf *out);
void mf_apply_getdel(struct mf_shard *shard, const struct mf_command *command, struct mf_buf *out);
void mf_apply_getex(struct mf_shard *shard, const struct mf_command *command, struct mf_buf *out);

// Counts bytes that a command copies or fills in and that its own in the log do not bound; false
// when the txn that it is in may not make so many.
bool mf_apply_may_build(struct mf_shard *shard, size_t bytes);
#define MF_TXN_TOO_LARGE "the values that the txn makes are too large together"

// apply_keys.c: commands of two keys.
void mf_apply_rename(struct mf_shard *shard, const struct mf_command *command, struct mf_buf *out);
void mf_apply_copy(struct mf_shard *shard, const struct mf_command *command, struct mf_buf *out);

// txn.c. The conditions and the branch that they choose, for reads and writes alike: `facts` tells
// of a key, `carry_out` appends one command's result. The first error that a command gives becomes
// the answer, and then *failed is true; with MF_GO_ON it is a result like any other.
struct mf_txn_run {
    void (*facts)(void *arg, struct mf_bytes key, struct mf_key_facts *facts);
    enum mf_err (*carry_out)(void *arg, const struct mf_command *command, struct mf_buf *out);
    void *arg;
};
MF_MUST_USE enum mf_err mf_txn_run(const struct mf_txn_run *run, const struct mf_command *txn,
                                   struct mf_buf *out, bool *failed);
MF_MUST_USE enum mf_err mf_apply_txn(struct mf_shard *shard, const struct mf_command *command,
                                     struct mf_buf *out);

// shard.c: from open on all changes of keys can be undone; close lets them stand. Undo leaves the
// state as it was at open, versions and the rolling hash included, and closes. Of values that are
// not in the log as they are, a txn may put together so many bytes.
void mf_journal_open(struct mf_shard *shard, uint64_t built_bytes_max);
void mf_journal_close(struct mf_shard *shard);
void mf_journal_undo(struct mf_shard *shard);

// apply_value.c. `0` or `-?[1-9][0-9]*` within 64 signed bits.
bool mf_shard_integer(struct mf_bytes text, int64_t *out);

// scan.c. now_us and the deaths that no entry has reached are as in mf_shard_read.
MF_MUST_USE enum mf_err mf_shard_scan(const struct mf_shard *shard,
                                      const struct mf_command *command, uint64_t now_us,
                                      struct mf_buf *out);

// Appends the answer of a read command; MF_AGAIN as mf_shard_read has it.
MF_MUST_USE enum mf_err mf_shard_answer(const struct mf_shard *shard,
                                        const struct mf_command *command, uint64_t log_now_us,
                                        struct mf_buf *out);

// walk.c. Before an entry is changed or taken out: hands it to the walk that has not reached it
// yet.
void mf_walk_save(struct mf_shard *shard, struct mf_entry *entry);
// All keys have been taken out. True: the walk has something to find there, and puts the shed away
// once it is through.
bool mf_walk_take(struct mf_shard *shard, struct mf_shed *shed);
// The keys have changed their order.
void mf_walk_anew(struct mf_shard *shard);

#endif
