// What conn.c (one connection) and conn_pool.c (what happens to all of them, and when) share.
// Private to rpc/.
#ifndef MF_RPC_CONN_PRIVATE_H
#define MF_RPC_CONN_PRIVATE_H

#include <stdatomic.h>
#include <stddef.h>

#include "rpc/conn.h"

#define MF_CONN_SCRATCH_BYTES (64 * 1024)

enum state {
    OPEN,
    DRAINING,  // no more input; closes when nothing is in flight or unsent
    LINGERING, // all is sent; drops input until the peer closes
    CLOSED,    // destroyed at the end of the turn
    GONE,      // inside destroy
};

struct link {
    struct link *prev;
    struct link *next;
};

struct mf_conn_pool {
    struct ev_loop *loop;
    ev_prepare end_of_turn;
    ev_check resume;
    ev_idle more; // while there is something to resume the loop does not wait
    ev_timer sweep;
    unsigned flushed_iteration; // the turn whose end_of_turn has run
    uint64_t idle_us;           // 0 = no idle timeout
    uint64_t stall_us;          // 0 = any patience
    uint64_t sweep_us;
    uint64_t swept_us; // when the last sweep was
    size_t count;
    struct link all;
    struct link dirty;
    struct link resuming;
    struct link waiting; // those that wait long, first the one that was not looked at for longest
    // Written by the pool's thread, read by any (relaxed: counts).
    _Atomic uint64_t inputs;
    _Atomic uint64_t input_bytes;
    _Atomic uint64_t outputs;
    _Atomic uint64_t output_bytes;
    uint8_t scratch[MF_CONN_SCRATCH_BYTES];
};

struct mf_conn {
    struct mf_conn_pool *pool;
    struct mf_conn_limits limits;
    struct mf_conn_ops ops;
    void *arg;
    ev_io io;
    int fd;
    enum state state;
    bool connecting;
    bool blocked; // the socket takes no more: waits for EV_WRITE
    bool held;    // input holds messages that a pause kept from `data`
    bool yields;  // in what `data` is given now
    bool refused; // `data` returned an error
    bool kept;
    uint32_t in_flight;
    uint32_t in_flight_max; // 0 = no bound
    struct mf_buf input;
    struct mf_buf output;
    size_t sent; // bytes of output already written
    uint64_t heard_us;
    uint64_t offered_us;
    uint64_t begun_us;   // when the unfinished message in the input began; 0 = there is none
    uint64_t moved_us;   // blocked: when the socket, or the peer, last took something
    int queued;          // blocked: bytes that the socket held when that was looked at; -1: not yet
    uint64_t give_up_us; // DRAINING, LINGERING: when patience ends
    struct link all;
    struct link dirty;
    struct link resuming;
    struct link waiting;
    char peer[80];
    char reason[80];
};

// The connection that a link of the named list is in.
#define CONN_OF(link, member)                                                                      \
    ((struct mf_conn *)(void *)((char *)(link)-offsetof(struct mf_conn, member)))

// In conn.c.

// Puts it on the list of those that the end of this turn looks at.
void mf_conn_mark_dirty(struct mf_conn *conn);
// The first reason is the one that is told.
void mf_conn_note_reason(struct mf_conn *conn, const char *reason);
bool mf_conn_takes_input(const struct mf_conn *conn);
// Sends what the socket takes; an error closes the connection.
void mf_conn_write_output(struct mf_conn *conn);
// Offers what is in the input buffer.
void mf_conn_offer_buffered(struct mf_conn *conn);
// Brings watchers, lists and state in line with what has happened to the connection. Called from
// the loop's callbacks only, never below a caller's frame.
void mf_conn_settle(struct mf_conn *conn);
// Calls `closed` and frees the connection.
void mf_conn_destroy(struct mf_conn *conn);

// In conn_pool.c.

// One more read or write of so many bytes.
void mf_conn_count(_Atomic uint64_t *times, _Atomic uint64_t *bytes, size_t size);

void mf_conn_list_init(struct link *link);
bool mf_linked(const struct link *link);
void mf_conn_list_remove(struct link *link);
// Appends to the list unless it is on it already.
void mf_conn_list_append(struct link *list, struct link *link);

#endif
