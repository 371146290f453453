// The embedded store: Mayfly's sharded map with times to live inside a program, without a server.
//
// Keys and values are bytes, every key may have a time to live in milliseconds, and a key is gone
// at its deadline for every call, whether its memory has been freed yet or not. Each shard has one
// writer at a time; readers take no lock and wait for nobody.
//
//     struct mayfly_store *store;
//     struct mayfly_options minute = {.flags = MAYFLY_FLAG_TTL, .ttl_ms = 60000};
//     if (mayfly_store_open(NULL, &store) != MAYFLY_OK)
//         return 1;
//     err = mayfly_store_set(store, mayfly_str("k"), mayfly_str("v"), &minute, NULL);
//     struct mayfly_store_value got;
//     if (mayfly_store_get(store, mayfly_str("k"), &got) == MAYFLY_OK && got.found)
//         fwrite(got.value.data, 1, got.value.len, stdout);
//     mayfly_store_release(store, &got);
//     mayfly_store_close(store);
//
// Threads: every function may be called by any thread at any time, but open and close. What a call
// did is seen by every call that begins after it has returned. A thread that reads is known to the
// store until it ends, which costs about 300 bytes for each shard that it has read.
//
// Shards: a key's shard is its Redis Cluster slot's, as in a cluster: the part between { and } puts
// keys together. A call on several keys goes through them one by one.
//
// Time: deadlines are counted by CLOCK_BOOTTIME, in microseconds, from the moment of the call. The
// wall clock is asked for MAYFLY_FLAG_EXPIRE_AT and for files only. Time goes on while the process
// is stopped (SIGSTOP, a debugger) and while the whole machine is suspended: keys whose time came
// meanwhile are gone when it goes on.
//
// Memory comes from malloc. Where none is left for a value over 64 KiB the call is refused; where
// none is left for less than that the process is aborted, with a line on stderr.
//
// fork(): the child's copy of a store cannot be used; its functions return MAYFLY_ERR_FORKED. The
// parent's is not touched. Expiry threads block all signals. Nothing here writes to stdout or reads
// the environment, and two stores share nothing. Errors are those of client.h, with their names and
// texts.
#ifndef MAYFLY_STORE_H
#define MAYFLY_STORE_H

#include <mayfly/client.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MAYFLY_STORE_SHARDS_MAX 16384u
#define MAYFLY_STORE_SHARDS_DEFAULT 16u
#define MAYFLY_STORE_EXPIRY_THREADS_MAX 64u
#define MAYFLY_STORE_KEY_MAX ((size_t)64 << 10)    // bytes
#define MAYFLY_STORE_VALUE_MAX ((size_t)512 << 20) // bytes

struct mayfly_store;

// All zero (or NULL to mayfly_store_open) means every default.
struct mayfly_store_options {
    uint32_t shards;         // 16; more shards let more threads write at once
    uint32_t expiry_threads; // 1; they sleep until the next deadline
    bool manual_expiry;      // no such thread: the caller calls mayfly_store_sweep
};

// Opens an empty store. MAYFLY_ERR_BAD_REQUEST for an option out of range,
// MAYFLY_ERR_OUT_OF_MEMORY when there is no memory, thread or thread-specific key left (a process
// has about a thousand of the last, and a store takes one).
MAYFLY_API MAYFLY_CHECKED enum mayfly_err
mayfly_store_open(const struct mayfly_store_options *options, struct mayfly_store **out);

// Ends the expiry threads and frees everything. No other call may be running, and the end of a
// thread that has used the store counts as one: join such threads first. MAYFLY_ERR_BUSY, and
// nothing happens, while a value is held. NULL is fine.
MAYFLY_API enum mayfly_err mayfly_store_close(struct mayfly_store *store);

// A value where it stands in the store.
struct mayfly_store_value {
    bool found;
    struct mayfly_bytes value; // until it is released
    uint64_t version;
    int64_t ttl_ms; // -1: no TTL; else rounded up, so never 0
    void *holder;   // the library's
    uint32_t shard; // the library's
};

// Looks a key up without a copy and without a lock. A value that was found is held: its bytes stay
// as they are, whatever is written, until this thread gives it to mayfly_store_release. Absent:
// MAYFLY_OK with `found` false, and nothing is held; neither is on an error.
//
// A thread may hold any number of values. Holding one costs no writer any time, but memory: nothing
// that is replaced or deleted in its shard after the value was taken is freed before it is
// released. So hold a value for as long as it takes to use it, milliseconds and not minutes; who
// keeps it for longer copies it. The values of a thread that ends are released.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_store_get(struct mayfly_store *store,
                                                           struct mayfly_bytes key,
                                                           struct mayfly_store_value *out);

// Gives a value back and clears *value; a value that was not found, or is given back already, is
// fine. MAYFLY_ERR_BAD_REQUEST, and it stays held, on another thread than the one that got it.
MAYFLY_API enum mayfly_err mayfly_store_release(struct mayfly_store *store,
                                                struct mayfly_store_value *value);

// Copies the value into `buffer`, of `size` bytes, which out->value then points to. A value that
// does not fit is MAYFLY_ERR_TOO_LARGE with out->value.len telling its length, and no data.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_store_copy(struct mayfly_store *store,
                                                            struct mayfly_bytes key, void *buffer,
                                                            size_t size, struct mayfly_entry *out);

// Options (may be NULL): TTL or EXPIRE_AT or KEEP_TTL, NX or XX, IF_VERSION. Without one of the
// first three the key has no TTL from now on. out (may be NULL): whether it was written and its
// version; there is no old value.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err
mayfly_store_set(struct mayfly_store *store, struct mayfly_bytes key, struct mayfly_bytes value,
                 const struct mayfly_options *options, struct mayfly_written *out);

// Options (may be NULL): IF_VERSION, with one key only. deleted (may be NULL): how many there were.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err
mayfly_store_del(struct mayfly_store *store, const struct mayfly_bytes *keys, size_t count,
                 const struct mayfly_options *options, uint64_t *deleted);

// out: `count` booleans of the caller, in the order of the keys.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_store_has(struct mayfly_store *store,
                                                           const struct mayfly_bytes *keys,
                                                           size_t count, bool *out);

// ttl_ms: what is left, -1 = no TTL, -2 = no key.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err
mayfly_store_ttl(struct mayfly_store *store, struct mayfly_bytes key, int64_t *ttl_ms);

// A new TTL; 0 or less deletes the key. Options (may be NULL): NX, XX, GT, LT. changed (may be
// NULL): false when there is no key or a condition did not hold. This is how a TTL slides: call it
// when the key is used.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err
mayfly_store_expire(struct mayfly_store *store, struct mayfly_bytes key, int64_t ttl_ms,
                    const struct mayfly_options *options, bool *changed);

// changed (may be NULL): whether it had a TTL and lost it.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err
mayfly_store_persist(struct mayfly_store *store, struct mayfly_bytes key, bool *changed);

// Live keys, shard by shard.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_store_size(struct mayfly_store *store,
                                                            uint64_t *keys);

// Drops every key, shard by shard. dropped (may be NULL): how many were alive.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_store_flush(struct mayfly_store *store,
                                                             uint64_t *dropped);

// One key of a scan. Views are valid during the call, which may call anything but close.
typedef void mayfly_store_visit(void *cookie, struct mayfly_bytes key, struct mayfly_bytes value,
                                uint64_t version, int64_t ttl_ms);

// A step of a scan: visits some live keys, about `count` (at least 1), and moves *cursor on. A scan
// begins with a cursor of 0 and is at its end when the cursor is 0 again. Nothing is held between
// the steps. A key that lives through the whole scan is visited at least once, whatever is written
// meanwhile; one that comes or goes meanwhile may be.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_store_scan(struct mayfly_store *store,
                                                            uint64_t *cursor, size_t count,
                                                            mayfly_store_visit *visit,
                                                            void *cookie);

// Takes out, and frees, at most `limit` keys whose time has come; with expiry threads there is
// nothing left to do. removed (may be NULL): how many. next_ms (may be NULL): milliseconds until
// the next deadline, 0 when some are due still, -1 when there is none.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err
mayfly_store_sweep(struct mayfly_store *store, uint64_t limit, uint64_t *removed, int64_t *next_ms);

struct mayfly_store_stats {
    uint64_t keys;          // in memory: those included whose time has come
    uint64_t bytes;         // of keys, values and tables, as asked of malloc
    uint64_t waiting_bytes; // and of what is replaced or deleted and not freed yet: up to 256 KiB
                            // a shard, or more while a value of it is held, or a dump is still
                            // to write what was flushed
    uint64_t expired;       // keys that died of their TTL, since the store was opened
};
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_store_stats(struct mayfly_store *store,
                                                             struct mayfly_store_stats *out);

// Writes a snapshot file, as mayflyd does (docs/snapshot-format.md): mayfly-snapshot verifies,
// inspects and restores it. Each shard is as it was at one moment, one shard after the other, while
// reads and writes go on; the memory that takes grows with what is overwritten in the shard that is
// being written. `path` becomes the new file, synced, in one step, or stays as it was. One dump to
// a path at a time. message (message_size bytes, may be NULL and 0) tells what went wrong:
// MAYFLY_ERR_IO; MAYFLY_ERR_BUSY while another dump runs.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err
mayfly_store_dump(struct mayfly_store *store, const char *path, char *message, size_t message_size);

// Sets every key of a snapshot file, of a store or a cluster with any number of shards, over what
// the store holds. Deadlines are the same points of time by the wall clock, so the time between
// dump and load counts, and a key whose time has come by now is left out. Versions are new, larger
// than all in the file. The whole file is checked first: on damage (MAYFLY_ERR_CORRUPT) nothing has
// happened. Other threads see the keys come one by one. loaded (may be NULL): how many.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_store_load(struct mayfly_store *store,
                                                            const char *path, uint64_t *loaded,
                                                            char *message, size_t message_size);

#ifdef __cplusplus
}
#endif

#endif
