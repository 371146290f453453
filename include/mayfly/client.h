// libmayfly: the C client of Mayfly, a sharded, replicated, in-memory TTL key-value store.
//
// A client connects to one of the endpoints that it is given; any node answers for any key. When
// that node dies, stops, hangs or is cut off from its peers, the client goes on with the next
// endpoint and sends again what has no answer yet. A client with many calls asks for the cluster's
// map and sends what it can straight to the leaders, too. Every write carries a unique id that the
// cluster remembers for ten minutes, so a write that is sent again has its effect once. That makes
// retrying safe, and so it is done here and not by the caller: NO_QUORUM, BUSY, TIMEOUT,
// SHUTTING_DOWN and a lost connection are retried until the call's deadline; every other error is
// returned at once.
//
//     struct mayfly_client *client = mayfly_client_new(NULL, NULL, 0);
//     struct mayfly_options lease = {.flags = MAYFLY_FLAG_NX | MAYFLY_FLAG_TTL, .ttl_ms = 30000};
//     struct mayfly_written got;
//     if (mayfly_set(client, mayfly_str("lock"), mayfly_str("me"), &lease, &got) != MAYFLY_OK)
//         fprintf(stderr, "%s\n", mayfly_client_error(client));
//     mayfly_client_free(client);
//
// Threads: a client belongs to one thread at a time; use one client per thread, or hand it over
// with a lock or the like. It makes no threads, and its callbacks run in the thread that called
// into it. Two clients share nothing. After fork() the child makes clients of its own, and frees
// none of its parent's: both would speak over one socket.
//
// Memory: what is passed in is copied where it must outlive the call. What comes back points into
// memory of the client and is valid until the next call with that client (in a callback: until the
// callback returns). Nothing that comes back is freed by the caller.
//
// Signals: SIGPIPE is never raised. A blocking call goes on after a signal handler; mayfly_poll
// returns early.
#ifndef MAYFLY_CLIENT_H
#define MAYFLY_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MAYFLY_API __attribute__((visibility("default")))
#define MAYFLY_CHECKED __attribute__((warn_unused_result))

// The longest time to live, in milliseconds: 2^53 - 1.
#define MAYFLY_TTL_MS_MAX INT64_C(9007199254740991)
#define MAYFLY_ENDPOINTS_DEFAULT "127.0.0.1:7001"
#define MAYFLY_WINDOW_MAX 65536
#define MAYFLY_WATCHES_MAX 1024
#define MAYFLY_CONNECTIONS_MAX 16

enum mayfly_err {
    MAYFLY_OK = 0,
    // Named and meant as in the wire protocol.
    MAYFLY_ERR_BAD_REQUEST,
    MAYFLY_ERR_UNKNOWN_METHOD,
    MAYFLY_ERR_NOT_INTEGER,
    MAYFLY_ERR_OVERFLOW,
    MAYFLY_ERR_TOO_LARGE, // also: a reply over reply_bytes_max
    MAYFLY_ERR_CROSS_SHARD,
    MAYFLY_ERR_UNAUTHORIZED,
    MAYFLY_ERR_NO_QUORUM, // no majority until the deadline; nothing happened
    MAYFLY_ERR_TIMEOUT,   // no answer until the deadline; a write may or may not have happened
    MAYFLY_ERR_BUSY,      // refused until the deadline; nothing happened
    MAYFLY_ERR_OUT_OF_MEMORY,
    MAYFLY_ERR_SHUTTING_DOWN,
    MAYFLY_ERR_COMPACTED,
    MAYFLY_ERR_INTERNAL, // also: a code that this library does not know
    // This library's own.
    MAYFLY_ERR_UNREACHABLE, // no endpoint took the request until the deadline; nothing happened
    MAYFLY_ERR_PROTOCOL,    // the answer is not what the method returns
    MAYFLY_ERR_WINDOW_FULL, // too many requests in flight: call mayfly_poll first
    MAYFLY_ERR_CANCELLED,   // the client was freed before the answer came
    // The embedded store's: see store.h.
    MAYFLY_ERR_IO,      // a file could not be read or written
    MAYFLY_ERR_CORRUPT, // a file is damaged, or none of the kind
    MAYFLY_ERR_FORKED,  // the store belongs to the parent process
    // The client's again.
    MAYFLY_ERR_LOST, // a watch could not be taken up again without a gap
};

// Bytes that somebody else owns. data may be NULL only when len is 0.
struct mayfly_bytes {
    const void *data;
    size_t len;
};

enum mayfly_type {
    MAYFLY_TYPE_NIL,
    MAYFLY_TYPE_BOOL,   // boolean
    MAYFLY_TYPE_INT,    // integer: every number that fits
    MAYFLY_TYPE_UINT,   // uinteger: only above INT64_MAX
    MAYFLY_TYPE_DOUBLE, // number
    MAYFLY_TYPE_STRING, // bytes
    MAYFLY_TYPE_BYTES,  // bytes
    MAYFLY_TYPE_ARRAY,  // items[0 .. count)
    MAYFLY_TYPE_MAP,    // items[2 * i] is a key and items[2 * i + 1] its value, i in [0, count)
};

// What a method returned, as a tree.
struct mayfly_value {
    enum mayfly_type type;
    uint32_t count;
    union {
        bool boolean;
        int64_t integer;
        uint64_t uinteger;
        double number;
        struct mayfly_bytes bytes;
        const struct mayfly_value *items;
    };
};

enum mayfly_flag {
    MAYFLY_FLAG_NX = 1 << 0,         // set: only if absent; expire: only if it has no TTL
    MAYFLY_FLAG_XX = 1 << 1,         // set: only if present; expire: only if it has a TTL
    MAYFLY_FLAG_GT = 1 << 2,         // expire: only if later than now set
    MAYFLY_FLAG_LT = 1 << 3,         // expire: only if earlier than now set
    MAYFLY_FLAG_KEEP_TTL = 1 << 4,   // set: the key's TTL stays
    MAYFLY_FLAG_GET = 1 << 5,        // set: answer with the old value
    MAYFLY_FLAG_IF_VERSION = 1 << 6, // set, del: if_version must be the key's version
    MAYFLY_FLAG_TTL = 1 << 7,        // set, mset, incr, getex: ttl_ms is given
    MAYFLY_FLAG_EXPIRE_AT = 1 << 8,  // set: expire_at_ms is given
    MAYFLY_FLAG_META = 1 << 9,       // get: version and TTL too
    MAYFLY_FLAG_LOCAL = 1 << 10,     // get, mget: the node's own copy, however old
    MAYFLY_FLAG_UNDO = 1 << 11,      // drain_node: it may lead again
    MAYFLY_FLAG_PERSIST = 1 << 12,   // getex: the TTL goes
    MAYFLY_FLAG_MATCH = 1 << 13,     // scan: match is given
};

// How a request is to be carried out; all zero is the plain way. A number counts only with its
// flag, and a number other than zero without its flag is refused: a TTL that somebody computed to
// be 0 is an error, never a key that lives for ever.
struct mayfly_options {
    unsigned flags;            // of enum mayfly_flag
    int64_t ttl_ms;            // 1 to MAYFLY_TTL_MS_MAX
    int64_t expire_at_ms;      // Unix time; in the past: written and dead at once
    uint64_t if_version;       // 0: the key must be absent
    struct mayfly_bytes match; // scan: only keys that this pattern matches, as Redis has them
    uint64_t count;            // scan: how many keys one call looks at, about; 0: the node's choice
    // Writes only, 1 to 64 bytes: the same id within ten minutes has its effect once. Empty: the
    // client makes a unique one.
    struct mayfly_bytes id;
};

struct mayfly_client;

// Which way calls go. Any node carries out any call, so this only saves time: whatever has no
// connection to its leader goes by the first one, to whichever endpoint that is.
enum mayfly_route {
    // Calls whose keys are in one shard go straight to its leader, once the client has made a few
    // calls and asked for the cluster's map. When no endpoint answers, members of the map are
    // tried. Nodes are reached at the addresses that they advertise, if these are numbers, and
    // only used when they are whom the map means.
    MAYFLY_ROUTE_LEADERS,
    MAYFLY_ROUTE_NONE, // all calls by one connection to one endpoint
};

// All zero (or NULL to mayfly_client_new) means every default. Host names are resolved when they
// are connected to, which may block for as long as the system's resolver does; addresses never
// block.
struct mayfly_client_options {
    const char *endpoints; // "HOST[:PORT][,...]", tried in this order; IPv6 as [::1]:7001
    const char *user;      // for a cluster with passwords
    const char *password;
    const char *name;            // how the node's logs call this client; "libmayfly"
    uint32_t timeout_ms;         // deadline of each call, from submission; 10000
    uint32_t connect_timeout_ms; // one connection, and again its greeting; 2000
    uint32_t silence_ms;    // requests unanswered for so long: ask the node for a sign of life,
                            // and leave it after twice as long again; 500
    uint32_t window;        // requests in flight, at most MAYFLY_WINDOW_MAX; 1024
    size_t window_bytes;    // and their bytes (one larger request may go alone); 64 MiB
    size_t reply_bytes_max; // a larger reply is refused; 128 MiB
    enum mayfly_route route;
    uint32_t connections; // to each node that leads, at most MAYFLY_CONNECTIONS_MAX; 1
};

// Makes a client; connects to nothing yet. NULL when an option is malformed or memory is out; the
// reason is then put into message (message_size bytes, may be NULL and 0).
MAYFLY_API struct mayfly_client *mayfly_client_new(const struct mayfly_client_options *options,
                                                   char *message, size_t message_size);

// Closes the connection. Requests in flight get their callbacks with MAYFLY_ERR_CANCELLED; their
// outcome is unknown. NULL is fine. Not from a callback.
MAYFLY_API void mayfly_client_free(struct mayfly_client *client);

// Tries every endpoint once: MAYFLY_OK as soon as one has greeted, MAYFLY_ERR_UNREACHABLE when none
// did, MAYFLY_ERR_UNAUTHORIZED when user or password are wrong. Never needed before other calls,
// which keep trying until their deadline; it is for callers that would rather fail early.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_client_connect(struct mayfly_client *client);

// The deadline of calls made from now on, in milliseconds; 0 = the default. A write is never sent
// again when its first sending is nine minutes ago, however late its deadline.
MAYFLY_API void mayfly_client_set_timeout(struct mayfly_client *client, uint32_t timeout_ms);

// The last function of this client that failed, in words: the error's name, the server's words or
// what was tried. Never NULL; one line without control characters.
MAYFLY_API const char *mayfly_client_error(const struct mayfly_client *client);

// The endpoint that is connected now, as it was given, or "" when none is.
MAYFLY_API const char *mayfly_client_endpoint(const struct mayfly_client *client);

// "NO_QUORUM" and a sentence about it, for any value. Static text. Any thread.
MAYFLY_API const char *mayfly_err_name(enum mayfly_err err);
MAYFLY_API const char *mayfly_err_text(enum mayfly_err err);

// This library's version, "0.1.0". Any thread.
MAYFLY_API const char *mayfly_version(void);

// A view of a C string. Any thread.
MAYFLY_API struct mayfly_bytes mayfly_str(const char *text);

// The value of a string key in a map; NULL when there is none or `map` is no map. Any thread.
MAYFLY_API const struct mayfly_value *mayfly_value_at(const struct mayfly_value *map,
                                                      const char *key);

// Blocking calls, one a method. Each returns MAYFLY_OK and fills `out`, or an error, explained by
// mayfly_client_error, and leaves `out` alone. Options may be NULL. They may be mixed with requests
// in flight, whose callbacks then run inside. Inside a callback they are refused (BAD_REQUEST).

struct mayfly_entry {
    bool found;
    struct mayfly_bytes value;
    uint64_t version; // with MAYFLY_FLAG_META
    int64_t ttl_ms;   // with MAYFLY_FLAG_META; -1: no TTL
};

struct mayfly_written {
    bool written;     // false: a condition did not hold
    uint64_t version; // 0 when not written
    bool had_old;     // with MAYFLY_FLAG_GET
    struct mayfly_bytes old;
};

MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_ping(struct mayfly_client *client);

// The greeting's answer: a map of server, version, node, cluster, shards. (Every connection is
// greeted by itself; this only tells what was answered.)
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_hello(struct mayfly_client *client,
                                                       const struct mayfly_value **out);

MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_get(struct mayfly_client *client,
                                                     struct mayfly_bytes key,
                                                     const struct mayfly_options *options,
                                                     struct mayfly_entry *out);

// out: `count` entries of the caller, in the order of the keys; version and ttl_ms stay 0.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_mget(struct mayfly_client *client,
                                                      const struct mayfly_bytes *keys, size_t count,
                                                      const struct mayfly_options *options,
                                                      struct mayfly_entry *out);

// out may be NULL.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err
mayfly_set(struct mayfly_client *client, struct mayfly_bytes key, struct mayfly_bytes value,
           const struct mayfly_options *options, struct mayfly_written *out);

// Atomic for the keys of one shard, not across shards.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err
mayfly_mset(struct mayfly_client *client, const struct mayfly_bytes *keys,
            const struct mayfly_bytes *values, size_t count, const struct mayfly_options *options);

// deleted (may be NULL): how many there were. MAYFLY_FLAG_IF_VERSION with one key only.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_del(struct mayfly_client *client,
                                                     const struct mayfly_bytes *keys, size_t count,
                                                     const struct mayfly_options *options,
                                                     uint64_t *deleted);

// out: `count` booleans of the caller, in the order of the keys.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err
mayfly_has(struct mayfly_client *client, const struct mayfly_bytes *keys, size_t count, bool *out);

// The TTL is the argument here (0 or less deletes the key); options give only conditions and id.
// changed (may be NULL): false when there is no key or a condition did not hold.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_expire(struct mayfly_client *client,
                                                        struct mayfly_bytes key, int64_t ttl_ms,
                                                        const struct mayfly_options *options,
                                                        bool *changed);

// changed (may be NULL): whether it had a TTL and lost it.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_persist(struct mayfly_client *client,
                                                         struct mayfly_bytes key,
                                                         const struct mayfly_options *options,
                                                         bool *changed);

// Adds delta to the decimal integer that the value is (0 for an absent key). A TTL in the options
// counts only for a key that this call makes. NOT_INTEGER, OVERFLOW. value (may be NULL): the sum.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_incr(struct mayfly_client *client,
                                                      struct mayfly_bytes key, int64_t delta,
                                                      const struct mayfly_options *options,
                                                      int64_t *value);

// length (may be NULL): of the value afterwards. TOO_LARGE when it would be over the node's limit.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err
mayfly_append(struct mayfly_client *client, struct mayfly_bytes key, struct mayfly_bytes value,
              const struct mayfly_options *options, uint64_t *length);

// The value, which is deleted. version and ttl_ms stay 0.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_getdel(struct mayfly_client *client,
                                                        struct mayfly_bytes key,
                                                        const struct mayfly_options *options,
                                                        struct mayfly_entry *out);

// The value, which gets a new TTL (MAYFLY_FLAG_TTL) or loses it (MAYFLY_FLAG_PERSIST).
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_getex(struct mayfly_client *client,
                                                       struct mayfly_bytes key,
                                                       const struct mayfly_options *options,
                                                       struct mayfly_entry *out);

// Some of the cluster's keys. *cursor is 0 to begin with and becomes what to go on with, 0 when
// that was all; it is good on any node. Every key that is there throughout is returned at least
// once. keys: an array of bytes, often an empty one before the end.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_scan(struct mayfly_client *client,
                                                      uint64_t *cursor,
                                                      const struct mayfly_options *options,
                                                      const struct mayfly_value **keys);

// ttl_ms: what is left, -1 = no TTL, -2 = no key.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_ttl(struct mayfly_client *client,
                                                     struct mayfly_bytes key, int64_t *ttl_ms);

// Live keys in the cluster.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_size(struct mayfly_client *client, uint64_t *keys);

// Drops every key of the cluster. dropped may be NULL.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err
mayfly_flush(struct mayfly_client *client, const struct mayfly_options *options, uint64_t *dropped);

// Maps, as the node that is connected sees things.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_cluster(struct mayfly_client *client,
                                                         const struct mayfly_value **out);
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_stats(struct mayfly_client *client,
                                                       const struct mayfly_value **out);

// The keys that clients of the connected node ask for most, of the last half minute, the hottest
// first: an array of [key, operations a second, share of all operations]. count: how many at most.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err
mayfly_hotkeys(struct mayfly_client *client, uint64_t count, const struct mayfly_value **out);

// A consistent cut of the shards that the connected node holds, under a name of 1 to 64 of
// [A-Za-z0-9._-]. Large ones take longer than the default deadline: mayfly_client_set_timeout.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err
mayfly_snapshot(struct mayfly_client *client, const char *name, const struct mayfly_value **out);

// Of a snapshot's file on the connected node, the bytes from `offset` on, none at its end and 1 MiB
// at most. size_bytes: of the file; may be NULL. BAD_REQUEST when there is no such snapshot.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_snapshot_read(struct mayfly_client *client,
                                                               const char *name, uint64_t offset,
                                                               struct mayfly_bytes *out,
                                                               uint64_t *size_bytes);
// removed: whether there was one; may be NULL.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_snapshot_remove(struct mayfly_client *client,
                                                                 const char *name, bool *removed);

// The node shall lead the shard; the shard stays with it until it stops leading it. MAYFLY_OK when
// it does, BAD_REQUEST for a shard or node that there is not, or a node without a vote in it.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_transfer(struct mayfly_client *client,
                                                          uint32_t shard, uint32_t node);
// The node shall lead nothing, until it restarts or the same is called with undo. MAYFLY_OK when it
// leads nothing; otherwise it goes on trying.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_drain_node(struct mayfly_client *client,
                                                            uint32_t node, bool undo);

// The node, which waits at HOST:PORT (its listen.peer), shall be a member of the cluster. MAYFLY_OK
// when it is and has its share of the shards' copies, BAD_REQUEST when its id or the address is
// another member's. Copies take as long as there is data: mayfly_client_set_timeout. To call it
// again is to wait again.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_add_node(struct mayfly_client *client,
                                                          uint32_t node, const char *address);
// The node shall be no member any more, and have no copy; it may be down. MAYFLY_OK when that is
// so, BAD_REQUEST when there is no such node, or too few would be left for the copies of a shard.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_remove_node(struct mayfly_client *client,
                                                             uint32_t node);

// The pipelined interface: many requests in flight on the one connection. Each is submitted with a
// callback, which runs exactly once, from inside mayfly_poll, mayfly_drain, mayfly_client_free or a
// blocking call. Requests in flight are not ordered among each other: one that was retried may take
// effect after one that was submitted later. Who needs an order waits for the answer.

enum mayfly_method {
    MAYFLY_METHOD_PING,
    MAYFLY_METHOD_HELLO,
    MAYFLY_METHOD_GET,
    MAYFLY_METHOD_MGET,
    MAYFLY_METHOD_SET,
    MAYFLY_METHOD_MSET,
    MAYFLY_METHOD_DEL,
    MAYFLY_METHOD_HAS,
    MAYFLY_METHOD_EXPIRE, // options.ttl_ms is the TTL; MAYFLY_FLAG_TTL is implied
    MAYFLY_METHOD_PERSIST,
    MAYFLY_METHOD_TTL,
    MAYFLY_METHOD_SIZE,
    MAYFLY_METHOD_FLUSH,
    MAYFLY_METHOD_CLUSTER,
    MAYFLY_METHOD_STATS,
    MAYFLY_METHOD_SNAPSHOT,    // keys[0] is the name
    MAYFLY_METHOD_TRANSFER,    // shard, node
    MAYFLY_METHOD_DRAIN_NODE,  // node
    MAYFLY_METHOD_ADD_NODE,    // node, one key: the address
    MAYFLY_METHOD_REMOVE_NODE, // node
    MAYFLY_METHOD_INCR,        // delta
    MAYFLY_METHOD_APPEND,
    MAYFLY_METHOD_GETDEL,
    MAYFLY_METHOD_GETEX,
    MAYFLY_METHOD_SCAN,            // cursor
    MAYFLY_METHOD_TXN,             // txn
    MAYFLY_METHOD_SNAPSHOT_READ,   // keys[0] is the name; cursor: the offset
    MAYFLY_METHOD_SNAPSHOT_REMOVE, // keys[0] is the name
    MAYFLY_METHOD_HOTKEYS,         // options.count: how many at most; 0: the node's choice
    MAYFLY_METHOD_COUNT
};

struct mayfly_txn;

struct mayfly_request {
    enum mayfly_method method;
    const struct mayfly_bytes *keys;
    const struct mayfly_bytes *values; // set, mset, append: one for each key
    size_t count;                      // keys; 1 for methods of one key, 0 for those of none
    struct mayfly_options options;
    uint32_t shard;
    uint32_t node;
    int64_t delta;
    uint64_t cursor;
    const struct mayfly_txn *txn;
};

enum mayfly_subject {
    MAYFLY_SUBJECT_VERSION, // of the key, 0 when it is absent; compared with version
    MAYFLY_SUBJECT_VALUE,   // as unsigned bytes; compared with value
    MAYFLY_SUBJECT_EXISTS,  // compared with exists, by EQUAL or UNEQUAL
};
enum mayfly_relation {
    MAYFLY_EQUAL,
    MAYFLY_UNEQUAL,
    MAYFLY_LESS,
    MAYFLY_GREATER,
};
struct mayfly_condition {
    struct mayfly_bytes key;
    enum mayfly_subject subject;
    enum mayfly_relation relation;
    uint64_t version;
    struct mayfly_bytes value;
    bool exists;
};

// Several methods as one: those of `then` if every condition holds, else those of `otherwise`. One
// that fails makes the whole fail with its error and without effect. All keys must be of one shard
// (give them one {tag}), else CROSS_SHARD. Methods: get mget has ttl set mset del expire persist
// incr append getdel getex, without ids of their own.
struct mayfly_txn {
    const struct mayfly_condition *conditions;
    size_t condition_count;
    const struct mayfly_request *then;
    size_t then_count;
    const struct mayfly_request *otherwise;
    size_t otherwise_count;
};

// ok: whether every condition held. results: an array of what each method of the branch returned.
// Of the options only the id counts. Blocking, as those above.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_txn(struct mayfly_client *client,
                                                     const struct mayfly_txn *txn,
                                                     const struct mayfly_options *options, bool *ok,
                                                     const struct mayfly_value **results);

struct mayfly_reply {
    enum mayfly_err err;
    const char *message;              // "" when err is MAYFLY_OK
    const struct mayfly_value *value; // what the method returned; nil when there is an error
    uint32_t attempts;                // how often the request was sent
};

// Runs in the thread of the client. It may submit; it may not block, poll or free the client.
typedef void mayfly_done(void *cookie, const struct mayfly_reply *reply);

// Takes a request; everything in it is copied. It is sent by the next mayfly_poll, or, when a
// callback submits it, by the one that runs the callback. An error means that it was not taken and
// `done` will not run: MAYFLY_ERR_WINDOW_FULL, OUT_OF_MEMORY, or BAD_REQUEST and TOO_LARGE for a
// request that no server could understand.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_submit(struct mayfly_client *client,
                                                        const struct mayfly_request *request,
                                                        mayfly_done *done, void *cookie);

// Requests that were submitted and have no answer yet. Watches do not count.
MAYFLY_API size_t mayfly_pending(const struct mayfly_client *client);

// Sends, receives, retries, and runs callbacks. Returns how many ran, news of watches included: as
// soon as some did, or 0 after timeout_ms (-1: no limit; 0: does what can be done without waiting),
// after a signal, or when nothing is pending or watched.
MAYFLY_API size_t mayfly_poll(struct mayfly_client *client, int timeout_ms);

// Polls until no request is pending; ends, because every request has a deadline.
MAYFLY_API void mayfly_drain(struct mayfly_client *client);

// A descriptor for any event loop: it is readable when mayfly_poll(client, 0) has something to do,
// be it to receive, to send what was submitted, to retry, or to tell of a deadline. The same one
// for the life of the client, which owns it: wait for it to be readable (level-triggered), call
// mayfly_poll(client, 0), and nothing else. In libev: ev_io_init(&io, cb, fd, EV_READ).
MAYFLY_API int mayfly_client_fd(struct mayfly_client *client);

// Watches: every change of a key, or of all keys with a prefix, is told as it happens, whichever
// node makes it. The promise: each change is told once, and those of one shard in the order of
// their versions, through any number of lost connections and failovers; when that cannot be kept,
// the watch ends and says so. Never a silent gap, never a change told twice.
//
// A watch has a connection of its own, shared with the client's other watches. When that is lost,
// the client goes to another node and asks for what it has not told yet; this takes as long as it
// takes. A node remembers about 8 MiB of changes: who is away for longer than those last, or reads
// too slowly, ends with MAYFLY_ERR_LOST, and then reads the keys anew.

enum mayfly_change {
    MAYFLY_CHANGE_SET = 1 << 0,    // any write of a value
    MAYFLY_CHANGE_DEL = 1 << 1,    // a deletion; those of a flush share a version
    MAYFLY_CHANGE_EXPIRE = 1 << 2, // a death by TTL
    MAYFLY_CHANGE_EVICT = 1 << 3,  // a death by the memory limit
};

enum mayfly_watch_state {
    // Once, after any older changes that were asked for: every change from here on is told. (A
    // change that happens just then may be told before.)
    MAYFLY_WATCH_BEGUN,
    MAYFLY_WATCH_EVENT, // a change
    // The last news of this watch; its number is free. err and message say why: MAYFLY_ERR_LOST, or
    // COMPACTED when from_version is older than what is remembered, TOO_LARGE for an event over
    // reply_bytes_max, PROTOCOL for one out of its order, UNAUTHORIZED, BAD_REQUEST (the
    // node refuses it, or is too old to be resumed from), CANCELLED by mayfly_client_free; and,
    // before it has begun, what else kept it from beginning until the client's timeout.
    MAYFLY_WATCH_ENDED,
};

// What a watch tells. Bytes are valid until the callback returns.
struct mayfly_news {
    uint64_t watch;
    enum mayfly_watch_state state;
    enum mayfly_change change; // of an event, as are the next four
    struct mayfly_bytes key;
    struct mayfly_bytes value; // of MAYFLY_CHANGE_SET; else empty
    uint64_t version;
    uint32_t shard;
    enum mayfly_err err;
    const char *message; // "" unless ended
};

// Runs in the thread of the client, from inside mayfly_poll or a blocking call. It may submit,
// watch and unwatch; it may not block, poll or free the client.
typedef void mayfly_on_news(void *cookie, const struct mayfly_news *news);

struct mayfly_shard_version {
    uint32_t shard;
    uint64_t version;
};

// What to watch. All zero but the key is the plain way.
struct mayfly_watch_want {
    struct mayfly_bytes key; // this key, or with by_prefix every key that begins so; "" is all
    bool by_prefix;
    unsigned changes; // of enum mayfly_change; 0: all
    // Begin with the changes of this version and later, also those that have been; 0 is before the
    // first. With has_from: from_version for a key, or for a prefix with a whole {tag}; or, for any
    // prefix, the versions of from_count shards. A shard that is not named begins with now.
    bool has_from;
    uint64_t from_version;
    const struct mayfly_shard_version *from;
    size_t from_count;
};

// Begins a watch, at most MAYFLY_WATCHES_MAX at once for a client, and returns at once; everything
// in `want` is copied, and what becomes of it is told to on_news. *watch: its number, for
// mayfly_unwatch. An error means that it was not taken: BAD_REQUEST, TOO_LARGE, OUT_OF_MEMORY, or
// WINDOW_FULL when there are too many.
MAYFLY_API MAYFLY_CHECKED enum mayfly_err mayfly_watch(struct mayfly_client *client,
                                                       const struct mayfly_watch_want *want,
                                                       mayfly_on_news *on_news, void *cookie,
                                                       uint64_t *watch);

// Ends a watch at once and without further news. False when there is no such watch any more.
MAYFLY_API bool mayfly_unwatch(struct mayfly_client *client, uint64_t watch);

#ifdef __cplusplus
}
#endif

#endif
