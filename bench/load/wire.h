// Protocols of plain connections, on which answers come in the order of the requests, or say which
// request they are to.
//
// The connections are this program's own, and lean, because they share the machine with what is
// measured: requests are written into one buffer for each connection and turn, answers are read in
// place, and neither costs an allocation. A connection that is lost is not made again: what was
// under way on it has failed, and so does what is still to go there.
#ifndef MF_BENCH_LOAD_WIRE_H
#define MF_BENCH_LOAD_WIRE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "base/bytes.h"
#include "base/slots.h"
#include "bench/load/worker.h"

#define WIRE_NODES_MAX 64
#define WIRE_ADDRESS_BYTES 280
#define WIRE_MESSAGE_BYTES 256
#define WIRE_BROKEN (-1) // what `take` returns for bytes that are no answer

struct wire_format {
    // Appends the call's request.
    void (*put)(const struct load_call *call, struct mf_buf *out);
    // The number of the call that the answer at the beginning of these bytes is to: how many bytes
    // it has, 0 when there is more to come, or WIRE_BROKEN. NULL: it is the oldest.
    ssize_t (*which)(const uint8_t *data, size_t len, uint32_t *number);
    // The answer to the call at the beginning of these bytes: how many it takes, 0 when there is
    // more to come, or WIRE_BROKEN. Behind `which` it is whole, and all that there is.
    ssize_t (*take)(const struct load_call *call, const uint8_t *data, size_t len,
                    struct load_answer *answer);
    // What opens a connection, such as a password, on a blocking socket; NULL for nothing. False
    // with a message.
    bool (*greet)(const struct load_plan *plan, int fd, char *message, size_t size);
    // Whether the failure says that the node at `address` takes this call; NULL where none says so.
    bool (*moved)(const struct load_answer *answer, uint16_t *slot, char *address, size_t size);
};

// The addresses, and with a map whose keys are whose. Threads add nodes under the lock; a node's
// address is published by the slot that names it. A slot's node is only a hint.
struct wire_nodes {
    const struct wire_format *format;
    bool mapped;
    pthread_mutex_t lock;
    _Atomic uint32_t node_count;
    char addresses[WIRE_NODES_MAX][WIRE_ADDRESS_BYTES];
    _Atomic uint8_t slots[MF_SLOT_COUNT]; // release, acquire
};

// run->shared: the addresses of the plan. False with a message on stderr.
bool wire_begin(struct load_run *run, const struct wire_format *format);
void wire_end(struct load_run *run);
// The number of the address, which is added if it is new; WIRE_NODES_MAX when there is no room.
uint32_t wire_node_add(struct wire_nodes *nodes, const char *address);

// A blocking connection that answers within the plan's timeout and is greeted; -1 with a message.
int wire_connect(const struct load_plan *plan, const struct wire_format *format,
                 const char *address, char *message, size_t size);
// Sends the request and reads one answer into `in`, which `length` (as wire_format's take) tells
// the end of. False with a message.
bool wire_ask(int fd, const struct mf_buf *request, struct mf_buf *in,
              ssize_t (*length)(const uint8_t *data, size_t len), char *message, size_t size);

bool wire_open(struct load_worker *worker);
void wire_close(struct load_worker *worker);
// By the map, whether the call's key is of the node that its client was connected to at first.
bool wire_is_near(const struct load_call *call);
bool wire_submit(struct load_call *call, char *why, size_t size);
void wire_turn(struct load_worker *worker, uint64_t wait_us);

// For formats: appends text; a decimal number.
#define WIRE_PUT(out, text) mf_buf_put((out), (text), sizeof(text) - 1)
void wire_put_number(struct mf_buf *out, uint64_t number);

#endif
