// One thread of mayfly-bench: its clients, what they have under way, and what came of it.
#ifndef MF_BENCH_LOAD_WORKER_H
#define MF_BENCH_LOAD_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/hist.h"
#include "base/rand.h"
#include "bench/load/keys.h"
#include "bench/load/plan.h"
#include "mayfly/client.h"

#define LOAD_COUNTERS 1000u // keys that incr counts on
#define LOAD_KEY_BYTES 64

// What all threads share. Times are microseconds of CLOCK_MONOTONIC.
struct load_run {
    const struct load_plan *plan;
    struct load_keys keys;
    uint64_t number; // in the names of this run's counters, which no other run has
    uint64_t begin_us;
    uint64_t measure_us; // what is due from here on counts ...
    uint64_t end_us;     // ... up to here
};

struct load_figures {
    struct mf_hist took_us[LOAD_KINDS];
    uint64_t errors[LOAD_KINDS];
    uint64_t wrong;   // answers that cannot be right
    uint64_t resent;  // times that a request was sent again
    uint64_t skipped; // with a rate: requests for which there was no room before the end
    uint64_t added;   // to counters, as answered
    bool unsure;      // some incr has an unknown outcome
    char first_error[256];
};

struct load_client;
struct load_call;

struct load_worker {
    const struct load_run *run;
    uint32_t index;
    struct mf_rand rand;
    struct load_client *clients;
    uint32_t client_count;
    struct load_call *calls;
    uint8_t *value;     // scratch for what is set
    uint32_t turn;      // with a rate: the client that is asked next
    double interval_us; // with a rate: between two requests of this worker
    uint64_t begun;     // with a rate: requests that were
    uint64_t under_way;
    int events; // epoll descriptor
    pthread_t thread;
    _Atomic uint64_t answered; // for the line a second (relaxed)
    _Atomic uint64_t failed;
    struct load_figures figures; // read when the thread has ended
};

// Makes the thread's clients; false with a message on stderr. To be freed either way.
bool load_worker_open(struct load_worker *worker, const struct load_run *run, uint32_t index);
void load_worker_free(struct load_worker *worker);
// Some client of it, for blocking calls before or after the run.
struct mayfly_client *load_worker_client(struct load_worker *worker);
// Before the run: sets this worker's part of all keys. False with a message.
bool load_worker_fill(struct load_worker *worker);
// pthread's: the run, until every request has its answer.
void *load_worker_run(void *worker);

// The key of this number, and the counter's, into LOAD_KEY_BYTES; the view is of `out`.
struct mayfly_bytes load_key(char *out, uint64_t number);
struct mayfly_bytes load_counter_key(const struct load_run *run, char *out, uint64_t number);

#endif
