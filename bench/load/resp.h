// Redis's protocol for mayfly-bench: what the requests' format and the cluster's map share.
#ifndef MF_BENCH_LOAD_RESP_H
#define MF_BENCH_LOAD_RESP_H

#include "bench/load/wire.h"

// One element of an answer: its type byte, and either a number (of ':', or how many elements follow
// a '*') or a text ('+', '-', '$'). A nil is a '$' or '*' with `nil`.
struct resp_item {
    char type;
    bool nil;
    int64_t number;
    const uint8_t *data;
    size_t len;
};

// The element at the beginning of these bytes: how many it takes, 0 when there is more to come, or
// WIRE_BROKEN. The elements of an array follow it.
ssize_t resp_take(const uint8_t *data, size_t len, struct resp_item *item);
// The same for a whole answer, with all elements in it.
ssize_t resp_length(const uint8_t *data, size_t len);

// Appends an array of these bulk strings.
void resp_put(struct mf_buf *out, const char *const *words, size_t count);

// Asks the plan's nodes, one after the other, which node has which slots. False with a message.
bool resp_map_slots(const struct load_plan *plan, struct wire_nodes *nodes, char *message,
                    size_t size);

#endif
