// One thread of mayfly-bench: its clients, what they have under way, and what came of it.
#ifndef MF_BENCH_LOAD_WORKER_H
#define MF_BENCH_LOAD_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/hist.h"
#include "base/rand.h"
#include "bench/load/data.h"
#include "bench/load/errors.h"
#include "bench/load/keys.h"
#include "bench/load/plan.h"
#include "bench/load/protocol.h"

// What the threads do together, one after the other.
enum load_phase {
    LOAD_FILL,    // sets every key
    LOAD_MEASURE, // the mix, for its time
    LOAD_COUNT,   // reads this run's counters
    LOAD_TIDY,    // deletes them
};

// What all threads share; written between phases only. Times are microseconds of mf_mono_us.
struct load_run {
    const struct load_plan *plan;
    struct load_keys keys;
    uint64_t number; // in the names of this run's counters, which no other run has
    uint32_t mix_sum;
    enum load_phase phase;
    uint64_t begin_us;
    uint64_t measure_us; // what is due from here on counts ...
    uint64_t end_us;     // ... up to here
    void *shared;        // the protocol's
};

struct load_figures {
    struct mf_hist took_us[LOAD_KINDS];
    uint64_t failed[LOAD_KINDS];
    struct load_errors errors;
    uint64_t checked; // values whose checksum was
    uint64_t wrong;   // answers that cannot be right
    uint64_t resent;  // times that a request was sent again
    uint64_t skipped; // with a rate: requests for which there was no room before the end
    uint64_t added;   // to counters, as answered
    uint64_t counted; // in counters, as read
    bool unsure;      // some incr has an unknown outcome
};

// A request, from the moment it is due until its answer.
struct load_call {
    struct load_client *client;
    struct load_call *next; // while it is free the client's, while it is under way the protocol's
    enum load_kind kind;
    bool counter; // its key is a counter's
    uint32_t attempts;
    uint64_t key;
    uint64_t due_us;
    uint64_t sent_us; // the protocol's
    uint32_t number;  // the protocol's
};

struct load_client {
    struct load_worker *worker;
    uint32_t index; // among all threads' clients
    uint32_t under_way;
    struct load_call *free_calls;
    void *own; // the protocol's
};

struct load_worker {
    const struct load_run *run;
    uint32_t index;
    struct mf_rand rand;
    struct load_client *clients;
    uint32_t client_count;
    struct load_call *calls;
    uint32_t client_calls; // of each client
    uint32_t turn;         // the client that is asked next
    double interval_us;    // with a rate: between two requests of this worker
    uint64_t begun;        // with a rate: requests that were
    uint64_t next;         // in the other phases: the number of the next key
    bool gave_up;          // in the other phases: a request has failed, and no more are sent
    uint64_t under_way;
    uint64_t now_us; // of the answers that are being taken
    uint32_t stamp;  // of the next set
    uint32_t unchecked;
    void *own;             // the protocol's
    struct mf_buf scratch; // the protocol's, for what an answer points to
    pthread_t thread;
    _Atomic uint64_t answered; // for the line a second (relaxed; written by the worker alone)
    _Atomic uint64_t failed;
    struct load_figures figures; // read when the thread has ended
};

// Makes the thread's clients; false with a message on stderr. To be freed either way.
bool load_worker_open(struct load_worker *worker, const struct load_run *run, uint32_t index);
void load_worker_free(struct load_worker *worker);
// pthread's: the run's phase, until every request has its answer.
void *load_worker_run(void *worker);

// For protocols.

// The call's key into LOAD_KEY_BYTES; returns its length.
size_t load_call_key(const struct load_call *call, char *out);
// A value for the call's key, of plan->value_bytes, to `out`.
void load_call_value(const struct load_call *call, uint8_t *out);
// Takes the answer to a call under way, and may submit the next request of its client.
void load_call_answered(struct load_call *call, const struct load_answer *answer);

#endif
