// What the files of the embedded store share: store.c (opening, closing, threads), write.c, read.c,
// expiry.c, dump.c. The interface is <mayfly/store.h>.
//
// A shard is the one of the server (shards/shard.h), with a lock in the place of a log: who holds
// the lock is the shard's owner, and each call is a log entry of its own whose log time is the
// monotonic clock. Readers go through the shard's map.
//
// Shared between threads: everything in struct mf_store_shard that is behind its lock, under it;
// `reached_us` and `next_us` are stored under the lock and loaded anywhere, `littered`
// and `left` are anybody's. The list of threads, under threads_lock. A thread's record belongs to
// that thread, but for `held`, which close reads.
#ifndef MF_STORE_STORE_INTERNAL_H
#define MF_STORE_STORE_INTERNAL_H

#include <mayfly/store.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/bytes.h"
#include "base/command.h"
#include "base/result.h"
#include "shards/map.h"
#include "shards/shard.h"

#define MF_STORE_NEVER UINT64_MAX

struct mf_store_clock {
    uint64_t (*mono_us)(void);
    uint64_t (*wall_us)(void);
};

struct mf_store_shard {
    // Never changes.
    struct mf_shard *state;
    struct mf_map *map;
    atomic_bool littered; // readers held memory the last time somebody looked
    atomic_bool left;     // since then one of them has left
    // Behind the lock.
    pthread_mutex_t lock __attribute__((aligned(128)));
    atomic_uint waiting;         // threads that found it taken; they count themselves
    _Atomic uint64_t reached_us; // the log time of the last entry: deaths before it are final
    _Atomic uint64_t next_us;    // the next deadline, or MF_STORE_NEVER
    uint64_t index;              // log index of the last entry
    size_t tidy_at_bytes;        // when so much waits for readers, look whether they have left
} __attribute__((aligned(128)));

// One expiry thread, of the shards whose number modulo the number of workers is its own.
struct mf_store_worker {
    struct mayfly_store *store;
    uint32_t number;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;
    _Atomic uint64_t wake_us; // when it will look again; stored under the lock
};

// What the store knows of a thread that reads.
struct mf_store_thread {
    struct mayfly_store *store;
    struct mf_store_thread *next;
    struct mf_store_thread *previous;
    _Atomic uint64_t held; // values; this thread stores, close loads
    struct mf_map_reader *readers[];
};

struct mayfly_store {
    const uint32_t *alive; // in a page that a fork clears in the child
    struct mf_store_clock clock;
    uint32_t shard_count;
    uint32_t worker_count;
    struct mf_store_worker *workers;
    pthread_mutex_t dump_lock;
    pthread_key_t key; // of each thread's record
    pthread_mutex_t threads_lock;
    struct mf_store_thread *threads;
    struct mf_store_shard shards[];
};

// mayfly_store_open with other clocks, for tests. They may be called by any thread; mono_us never
// goes back. With expiry threads it must be the system's, which they sleep by.
MAYFLY_CHECKED enum mayfly_err mf_store_open_with(const struct mayfly_store_options *options,
                                                  const struct mf_store_clock *clock,
                                                  struct mayfly_store **out);

// False in a child of the process that opened the store.
static inline bool mf_store_usable(const struct mayfly_store *store)
{
    return __atomic_load_n(store->alive, __ATOMIC_RELAXED) != 0;
}

// The calling thread's record, made where there is none. NULL when there is no memory.
struct mf_store_thread *mf_store_thread(struct mayfly_store *store);
// Its reader of a shard.
struct mf_map_reader *mf_store_reader(struct mf_store_thread *thread, uint32_t shard);

// MAYFLY_OK, or MAYFLY_ERR_BAD_REQUEST or MAYFLY_ERR_TOO_LARGE for what is no key.
enum mayfly_err mf_store_check_key(struct mayfly_bytes key);
// Whether memory could be had just now for a large key and value; true for small ones.
bool mf_store_has_room(size_t bytes);
uint32_t mf_store_shard_of(const struct mayfly_store *store, struct mf_bytes key);

// Takes the shard's lock; the time of the entries that follow, from which no death is undone.
uint64_t mf_store_begin(struct mayfly_store *store, uint32_t shard);
// Gives it back, having told the expiry thread of an earlier deadline and freed what can be.
void mf_store_end(struct mayfly_store *store, uint32_t shard);
// Between the two: applies a command; the result's views are valid until the next one.
struct mf_result mf_store_apply(struct mf_store_shard *shard, uint64_t now_us,
                                const struct mf_command *command);
// Frees what a flush has left, in small steps; takes the lock for each.
void mf_store_free_flushed(struct mayfly_store *store, uint32_t shard);
// After a reader has left a littered shard.
void mf_store_tidy(struct mayfly_store *store, uint32_t shard);

// Takes at most `limit` due keys out of a shard and returns how many.
uint64_t mf_store_sweep_shard(struct mayfly_store *store, uint32_t shard, uint64_t limit);
enum mayfly_err mf_store_start_workers(struct mayfly_store *store, uint32_t count);
// Stops those that run and frees them.
void mf_store_stop_workers(struct mayfly_store *store);
// After a shard's next deadline came nearer.
void mf_store_wake_worker(struct mayfly_store *store, uint32_t shard, uint64_t deadline_us);

static inline struct mf_bytes mf_store_bytes(struct mayfly_bytes bytes)
{
    return mf_bytes_of(bytes.data, bytes.len);
}

static inline struct mayfly_bytes mf_store_view(struct mf_bytes bytes)
{
    return (struct mayfly_bytes){bytes.data, bytes.len};
}

#endif
