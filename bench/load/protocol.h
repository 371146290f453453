// What a protocol of mayfly-bench does: how requests are sent and answers taken. What is asked,
// when, and whether the answer is right is worker.h's, for all of them alike.
#ifndef MF_BENCH_LOAD_PROTOCOL_H
#define MF_BENCH_LOAD_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct load_call;
struct load_plan;
struct load_run;
struct load_worker;

enum load_answer_type {
    LOAD_DONE,    // a set is
    LOAD_NIL,     // no such key; a txn found none
    LOAD_INTEGER, // what incr made of it; how many del deleted
    LOAD_BYTES,   // of a get, or of the get in a txn
    LOAD_FAILED,  // the text is why
    LOAD_STRANGE, // not what the request returns
};

struct load_answer {
    enum load_answer_type type;
    uint64_t integer;
    const void *data; // valid during the call that hands it over
    size_t len;
};

struct load_protocol {
    const char *name;
    const char *endpoints;  // where none are given
    unsigned kinds;         // 1 << LOAD_GET, ...: what it can do
    uint32_t pipeline_max;  // requests under way on a connection
    size_t value_bytes_max; // 0: the plan's own bound
    bool has_passwords;
    bool has_ttl;

    // Once, before the threads; what it makes is run->shared. False with a message on stderr.
    bool (*begin)(struct load_run *run);
    void (*end)(struct load_run *run);
    // Every client of the thread. False with a message on stderr. close follows either way.
    bool (*open)(struct load_worker *worker);
    void (*close)(struct load_worker *worker);
    // Whether the call's key is of the node that its client is meant for; NULL where nobody knows.
    bool (*is_near)(const struct load_call *call);
    // Takes the request, sent by this turn or the next. False with the reason in `why`.
    bool (*submit)(struct load_call *call, char *why, size_t size);
    // Sends what was taken, waits at most so long for answers, and hands each to
    // load_call_answered, after it has set worker->now_us.
    void (*turn)(struct load_worker *worker, uint64_t wait_us);
};

extern const struct load_protocol load_rpc;      // MessagePack-RPC, by libmayfly
extern const struct load_protocol load_plain;    // MessagePack-RPC, as it is
extern const struct load_protocol load_resp;     // Redis's
extern const struct load_protocol load_memcache; // memcached's meta commands
extern const struct load_protocol load_etcd;     // its JSON gateway

#endif
