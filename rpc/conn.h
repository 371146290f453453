// TCP connections on a libev loop: bounded buffers in both directions, one write per turn.
//
// A pool belongs to one loop and thread; so does everything in it. Reads go into the connection's
// input buffer and are offered to `data`; replies are appended to the output buffer and written in
// one go at the end of the loop turn (write first, EV_WRITE is armed only when the socket is full).
// A peer that does not read is paused (no more input is taken) above output_pause_bytes and dropped
// above output_max_bytes.
#ifndef MF_RPC_CONN_H
#define MF_RPC_CONN_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

struct mf_conn;
struct mf_conn_pool;

struct mf_conn_limits {
    size_t input_max_bytes; // one unfinished message may hold at most this much
    size_t output_pause_bytes;
    size_t output_max_bytes;
};

struct mf_conn_ops {
    // Offered all unconsumed input; returns how many bytes were used (whole messages) in *used, and
    // is called again as long as some were. The bounds on requests in flight and unsent output are
    // checked between calls: one message a call keeps to them exactly. A whole message may be left
    // for later by taking none after mf_conn_in_flight has paused the input. An error closes the
    // connection after the output written so far and the replies in flight. Only called from the
    // loop's I/O phase. The view dies with the call.
    enum mf_err (*data)(void *arg, struct mf_conn *conn, struct mf_bytes input, size_t *used);
    // The connection is gone (reason: a short text for a log line); conn is freed after the call.
    void (*closed)(void *arg, struct mf_conn *conn, const char *reason);
};

// Installs its watchers on the loop.
struct mf_conn_pool *mf_conn_pool_new(struct ev_loop *loop);
// Closes every connection (their `closed` is called) and frees the pool.
void mf_conn_pool_free(struct mf_conn_pool *pool);
// What has come and gone on all its connections, those that are closed too. Any thread.
struct mf_conn_traffic {
    uint64_t inputs; // reads that brought something
    uint64_t input_bytes;
    uint64_t outputs;
    uint64_t output_bytes;
};
void mf_conn_pool_traffic(const struct mf_conn_pool *pool, struct mf_conn_traffic *traffic);
size_t mf_conn_pool_count(const struct mf_conn_pool *pool);
// Closes connections without input for that long that have no request in flight; 0 = never.
void mf_conn_pool_idle_timeout(struct mf_conn_pool *pool, uint64_t idle_us);
// Closes connections whose peer stands still in the middle of something: one that has begun a
// message and not ended it within that time and a second for each KiB of it, and one that has taken
// nothing of its output for that time. What the pool itself does not want to read meanwhile does
// not count. 0 = never, the preset.
void mf_conn_pool_stall_timeout(struct mf_conn_pool *pool, uint64_t stall_us);

// Sends now what connections have to send, and frees those that are closed, instead of at the end
// of the turn. Only from a callback of the loop that is none of theirs.
void mf_conn_pool_flush(struct mf_conn_pool *pool);
// Closes every connection at the end of the turn, and reads no more of any.
void mf_conn_pool_close_all(struct mf_conn_pool *pool, const char *reason);

// Takes over a connected (or, with `connecting`, a non-blocking connecting) socket. TCP_NODELAY and
// O_NONBLOCK are set here. arg belongs to the caller until `closed`.
struct mf_conn *mf_conn_new(struct mf_conn_pool *pool, int fd, bool connecting,
                            const struct mf_conn_limits *limits, const struct mf_conn_ops *ops,
                            void *arg);
// Where to append output; call mf_conn_wrote afterwards so that it is sent this turn.
struct mf_buf *mf_conn_output(struct mf_conn *conn);
void mf_conn_wrote(struct mf_conn *conn);
// Writes now instead of at the end of the turn.
void mf_conn_flush(struct mf_conn *conn);
// Requests in flight: input is not taken while there are `max` or more (0 = no bound).
void mf_conn_in_flight(struct mf_conn *conn, int delta, uint32_t max);
// Other connections have their turn before `data` is given more of this one.
void mf_conn_yield(struct mf_conn *conn);
// A connection that is kept is never idle: somebody waits on it for what is to come.
void mf_conn_keep(struct mf_conn *conn, bool kept);
// What the far machine has not acknowledged, or has no room for, for so long ends the connection.
// Without it the kernel tries for a quarter of an hour, at ever longer intervals: when a network is
// whole again after a while, the connection is for about half as long as it was cut.
void mf_conn_patience(struct mf_conn *conn, uint64_t patience_us);
// A request in flight may take for long, and nothing else is looked at: while that is so, who has
// closed the connection, or its sending side, is dropped within seconds where no other is in
// flight.
void mf_conn_waits_long(struct mf_conn *conn, bool waits);
// Takes no more input, writes what is there, waits for in-flight requests, then closes.
void mf_conn_close_gracefully(struct mf_conn *conn, const char *reason);
// Closes at the end of the turn, without writing. `closed` is called then.
void mf_conn_close(struct mf_conn *conn, const char *reason);
void *mf_conn_arg(const struct mf_conn *conn);
// "127.0.0.1:40312"
const char *mf_conn_peer_name(const struct mf_conn *conn);
// From `data`: when what it is offered began to be offered, by the monotonic clock.
uint64_t mf_conn_offered_us(const struct mf_conn *conn);
size_t mf_conn_unsent_bytes(const struct mf_conn *conn);

// Listening sockets. accept() stops for a while on EMFILE and its like instead of spinning.
struct mf_listener;
struct mf_address {
    char host[256];
    uint16_t port;
};
// "127.0.0.1:7001", "[::1]:7001"; numeric hosts and names (resolved here: start-up only, IPv4
// preferred; out->host is numeric). MF_BAD_REQUEST: malformed; MF_NOT_FOUND: an unknown name.
MF_MUST_USE enum mf_err mf_address_parse(const char *text, struct mf_address *out);
// "host:port", with brackets for IPv6. out: at least 300 bytes.
void mf_address_format(const struct mf_address *address, char *out, size_t size);
// Binds and listens with SO_REUSEPORT and SO_REUSEADDR; port 0 picks one and stores it in
// *address. Returns the socket, or -1 with a message that names the address and the reason.
int mf_listen(struct mf_address *address, char *message, size_t message_size);
// True when a socket, of this process or another, listens on the address already. SO_REUSEPORT
// would let a second node share the port unnoticed: ask before the first mf_listen.
bool mf_address_in_use(const struct mf_address *address);
// Accepts on a socket made by mf_listen. accepted(arg, fd) takes over the fd.
struct mf_listener *mf_listener_new(struct ev_loop *loop, int fd,
                                    void (*accepted)(void *arg, int fd), void *arg);
void mf_listener_free(struct mf_listener *listener); // closes the socket
// Closes what waits to be accepted.
void mf_listener_discard(struct mf_listener *listener);
// Starts a non-blocking connect to a numeric address or name already resolved; -1 with errno.
int mf_connect_start(const struct mf_address *address);

#endif
