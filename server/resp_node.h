// What the Redis door keeps for the whole node: who this process is to Redis's tools, how fast its
// counts grow, and what they were at the last CONFIG RESETSTAT.
#ifndef MF_SERVER_RESP_NODE_H
#define MF_SERVER_RESP_NODE_H

#include <stdatomic.h>
#include <stdint.h>

#include "server/rate.h"
#include "server/reactor.h"

#define MF_RESP_RUN_ID_BYTES 41u

// Counts that CONFIG RESETSTAT sets to 0 for INFO, and which others go on reading.
struct mf_resp_base {
    _Atomic uint64_t connections;
    _Atomic uint64_t connections_refused;
    _Atomic uint64_t expired;
    _Atomic uint64_t evicted;
    _Atomic uint64_t inputs;
    _Atomic uint64_t input_bytes;
    _Atomic uint64_t outputs;
    _Atomic uint64_t output_bytes;
};

struct mf_resp_node {
    // Constant.
    char run_id[MF_RESP_RUN_ID_BYTES]; // new for each process
    char replication_id[MF_RESP_RUN_ID_BYTES];
    char os[512];
    char executable[512];
    uint64_t memory_bytes; // of the machine
    uint64_t begun_unix_s;
    uint64_t begun_bytes; // allocated then; 0: not known
    // Sampled by reactor 0.
    struct mf_rate calls;
    struct mf_rate input_bytes;
    struct mf_rate output_bytes;
    struct mf_rate peer_input_bytes;
    struct mf_rate peer_output_bytes;
    struct mf_resp_heard *heard; // see resp_heard.h
    // Relaxed, all of them.
    _Atomic uint64_t peak_bytes; // the most that was told to be allocated
    struct mf_resp_base base;
};

// Before the reactors run.
struct mf_resp_node *mf_resp_node_new(const struct mf_node *node);
void mf_resp_node_free(struct mf_resp_node *own);
// Reactor 0, often.
void mf_resp_node_tick(struct mf_reactor *reactor);
// CONFIG RESETSTAT: all counts of commands, and those of struct mf_resp_base, begin anew. Any
// reactor.
void mf_resp_node_reset(struct mf_node *node);

#endif
