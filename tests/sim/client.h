// Clients: what they ask for, whom they ask, and the history of what they were told.
//
// An operation is one entry of the history, however often it is sent. Each sending is a copy: one
// that is refused (not the leader, busy, no connection) moves on to another node within the
// operation's time; one that has an id may be sent to two nodes at once, or again long after its
// answer. What the copies come to decides the outcome.
#ifndef MF_SIM_CLIENT_H
#define MF_SIM_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/command.h"
#include "base/rand.h"
#include "plan.h"

struct sim;
struct sim_node;
struct mf_op;

#define SIM_OP_KEYS_MAX 3u

// What a txn is made of.
enum sim_txn {
    SIM_TXN_SWAP, // one key: set if it has a version, else get
    SIM_TXN_BOTH, // two keys: set the first and incr the second, or neither (or go on)
    SIM_TXN_LOOK, // get of each key
    // What one command makes and the next one takes up, so that its outcome is known.
    SIM_TXN_MOVE,  // two keys: set the first, rename it to the second
    SIM_TXN_COPY,  // two keys: set the first, copy it to the second
    SIM_TXN_PATCH, // one key: set it, and set the range behind its value
};

enum sim_outcome {
    SIM_OPEN,
    SIM_DONE,    // answered
    SIM_REFUSED, // certain to have had no effect
    SIM_UNKNOWN,
};

struct sim_op {
    uint32_t number; // its place in the history, from 1
    uint32_t group;
    uint32_t client; // SIM_CLIENTS_MAX: a probe
    enum mf_opcode opcode;
    uint32_t flags;
    enum mf_expiry expiry;
    int64_t expire_us;
    uint64_t if_version;
    int64_t delta;    // of an incr, or incrfloat
    enum sim_txn txn; // of a txn
    uint32_t keys[SIM_OP_KEYS_MAX];
    uint32_t key_count;
    bool has_id;
    bool named; // its entry in the log can be told from any other's
    uint64_t call_us;
    uint64_t return_us;
    uint64_t give_up_us;
    enum sim_outcome outcome;
    uint32_t copies_out;
    bool copy_lost; // a copy's fate is unknown
    bool answered;
    struct mf_buf answer; // the first, an encoded mf_result
    // As seen in the log.
    uint32_t times_chosen;
    uint64_t chosen_us;     // true time, of the first
    uint64_t chosen_log_us; // log time of the one that counts
    bool id_forgotten;      // chosen again when the id's time was over: may count twice
};

// One sending of an operation.
struct sim_copy {
    uint32_t number; // of the op
    uint16_t node;   // index
    bool echo;       // sent after the answer
    bool submitted;
    enum mf_err status;
    bool broken; // the connection broke after it was sent
    uint16_t hint;
    struct mf_buf result;
};

struct sim_clients {
    struct mf_rand rand;
    struct sim_op **ops; // ops[i] is number i + 1
    uint32_t count;
    uint32_t cap;
    uint16_t leader_hint[SIM_GROUPS_MAX]; // node id, 0 = none
    uint64_t version_seen[SIM_GROUPS_MAX][SIM_KEYS_MAX];
    uint32_t writes_open[SIM_GROUPS_MAX];
    uint64_t write_wait_us[SIM_GROUPS_MAX]; // with a write open, since a write was last answered
    uint32_t copies_out;
};

void sim_clients_init(struct sim *sim);
void sim_clients_free(struct sim *sim);
struct sim_op *sim_op_of(struct sim *sim, uint64_t number);
bool sim_op_writes(const struct sim_op *op);

// Events.
void sim_client_wake(struct sim *sim, uint32_t client);
void sim_client_request(struct sim *sim, struct sim_copy *copy);
void sim_client_answer(struct sim *sim, struct sim_copy *copy);
void sim_client_give_up(struct sim *sim, uint32_t number);
void sim_client_probe(struct sim *sim, uint32_t number);
void sim_client_echo(struct sim *sim, uint32_t number);
// A node's process gives the op back, or ends with it inside (broken). Takes the op.
void sim_client_op_back(struct sim *sim, struct sim_node *node, struct mf_op *op, bool broken);
// After the storm: one read of every key, and one write of every group.
void sim_client_final_round(struct sim *sim);
// True when no op is open and no copy is out.
bool sim_clients_idle(const struct sim *sim);

// The number of the op that a command in the log belongs to; 0 when it cannot be told.
uint32_t sim_op_number_of(const struct mf_command *command);
// One line for people.
const char *sim_op_text(const struct sim_op *op, char *out, size_t size);

#endif
