// A node for tests of clients: speaks just enough MessagePack-RPC on a loopback port, and
// misbehaves on demand. One thread serves all its connections; a test's handler runs in that thread
// for every request. Handlers of all nodes exclude each other by one lock, which a test takes too
// where it shares something with them before fake_node_stop.
#ifndef MF_UNIT_FAKE_NODE_H
#define MF_UNIT_FAKE_NODE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum fake_then {
    FAKE_GO_ON,
    FAKE_CLOSE, // after sending what was written to out
};

struct fake_request {
    int connection; // 0 for the node's first
    int number;     // 0 for the node's first request; greetings count only if not answered here
    uint32_t msgid;
    bool notification; // there is no msgid, and nothing is to be answered
    char method[32];
    char params[4096]; // as text: ["key", 5, {"nx": true}], ids as <24 bytes>
    uint8_t id[64];    // of a write
    size_t id_len;
};

// Writes replies to out (none is fine; several, for other requests, too).
typedef enum fake_then fake_handler(void *arg, const struct fake_request *request,
                                    struct mf_buf *out);

struct fake_options {
    bool raw_greeting; // `hello` goes to the handler too
    bool raw_ping;     // and so does `ping`
    bool raw_map;      // and the `cluster` that the client library asks for by itself
    bool dribble;      // send one byte at a time
    int shards;        // that the greeting tells; 0: one
    int node;          // the id that it tells; 0: one
};

void fake_lock(void);
void fake_unlock(void);

struct fake_node;
struct fake_node *fake_node_start(fake_handler *handler, void *arg, struct fake_options options);
// "127.0.0.1:PORT"
const char *fake_node_endpoint(const struct fake_node *node);
// Ends the thread, closes everything. Returns how many connections there were.
int fake_node_stop(struct fake_node *node);

// A port on which nobody listens until fake_port_free.
struct fake_port {
    int fd;
    char endpoint[32];
};
struct fake_port fake_port_taken(void);
void fake_port_free(struct fake_port *port);

// Replies: an error, or the head of a good one, to be followed by exactly one value.
void fake_error(struct mf_buf *out, uint32_t msgid, const char *code, const char *message);
void fake_reply(struct mf_buf *out, uint32_t msgid);
void fake_nil(struct mf_buf *out);
void fake_bool(struct mf_buf *out, bool value);
void fake_int(struct mf_buf *out, int64_t value);
void fake_double(struct mf_buf *out, double value);
void fake_str(struct mf_buf *out, const char *text);
void fake_bin(struct mf_buf *out, const void *data, size_t len);
void fake_array(struct mf_buf *out, uint32_t count);
void fake_map(struct mf_buf *out, uint32_t pairs);

// Counts the writes that took effect: an id that was seen before has none.
struct fake_store {
    struct {
        uint8_t id[64];
        size_t len;
    } * seen;
    size_t count;
    size_t repeats;
};
// True when the request's id is new. A request without an id is a bug: it fails the test.
bool fake_store_apply(struct fake_store *store, const struct fake_request *request);
void fake_store_free(struct fake_store *store);

#endif
