// What a run of mayfly-bench is to do, as the command line says it.
#ifndef MF_BENCH_LOAD_PLAN_H
#define MF_BENCH_LOAD_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The kinds of requests that a mix is made of.
enum load_kind { LOAD_GET, LOAD_SET, LOAD_INCR, LOAD_DEL, LOAD_TXN, LOAD_KINDS };
const char *load_kind_name(enum load_kind kind); // "get", ...

enum load_distribution {
    LOAD_UNIFORM,
    LOAD_ZIPF, // exponent 0.99
    LOAD_HOT,  // nine of ten requests are for one key of a hundred
};
const char *load_distribution_name(enum load_distribution distribution);

struct load_protocol;

#define LOAD_SERVERS_MAX 64

enum load_output { LOAD_TABLE, LOAD_PLAIN, LOAD_JSON };

struct load_plan {
    const struct load_protocol *protocol;
    const char *endpoints; // ADDR,...
    const char *user;
    const char *password;
    uint32_t threads;
    uint32_t clients;  // in all; every thread has one at least
    uint32_t pipeline; // requests that each client has under way at most
    uint64_t rate;  // requests a second in all, each at its time; 0: the next when one is answered
    double seconds; // that are measured
    double warmup;  // seconds before that
    uint32_t mix[LOAD_KINDS]; // weights
    uint64_t keys;
    enum load_distribution distribution;
    size_t value_bytes;
    int64_t ttl_ms; // of what is set; 0: none
    uint32_t timeout_ms;
    uint32_t check_every;               // the value of one get in so many is checked
    uint32_t servers[LOAD_SERVERS_MAX]; // processes whose processor time is told
    size_t server_count;
    const char *plot; // a file, or NULL
    bool cluster;     // requests go where Redis Cluster's map says
    bool one_node;    // with it: each client draws keys of one node, where it leads any
    bool local;       // reads are of the connected node's copy
    bool direct;      // calls go straight to leaders
    bool fill;        // every key is set before
    bool live;        // a line a second
    enum load_output output;
};

// Fills the plan. Returns true when there is something to run; otherwise the program is to end with
// *status, and everything there is to say has been printed.
bool load_plan_parse(struct load_plan *plan, int argc, char **argv, int *status);

#endif
