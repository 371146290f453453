// The inside of libmayfly, shared by client*.c and nobody else; include/mayfly/client.h is what
// callers see.
//
// Downwards; client_link.c, client_replies.c, client_route.c and client_watch.c use each other, the
// others only those after them:
//   client_methods.c   blocking calls, one a method
//   client.c           making and freeing a client, submit, poll
//   client_loop.c      one turn: all connections, one descriptor to wait on
//   client_link.c      one connection: endpoints in turn, back-off, writing, signs of life
//   client_replies.c   what comes in on it
//   client_route.c     the way of a call: the cluster's map, and connections to leaders
//   client_watch.c     watches, and how they go on over another connection
//   client_calls.c     requests and their fate: queued, sent, resting, answered, given up
//   client_request.c   a request into MessagePack
//   client_value.c     a reply's MessagePack into a tree
//   client_endpoint.c  addresses
//   client_transport.c bytes over a socket
// No memory is allocated without a check: a library does not end its user's process.
#ifndef MF_RPC_CLIENT_INTERNAL_H
#define MF_RPC_CLIENT_INTERNAL_H

#include <netdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/rand.h"
#include "mayfly/client.h"
#include "rpc/client_transport.h"
#include "rpc/msgpack_scan.h"

#define MF_CLIENT_TEXT_MAX 512
#define MF_CLIENT_ID_BYTES 24 // 16 random bytes, then a counter
#define MF_LINKS_MAX 256
#define MF_LINKS_RESERVED 2 // the first, and that of watches

// The messages of the connection itself; no call has these. Below them are those of watches, one
// for each place in the table.
#define MF_OWN_MSGIDS 0xffff0000u
#define MF_HELLO_MSGID 0xfffffffeu
#define MF_PING_MSGID 0xffffffffu
#define MF_MAP_MSGID 0xfffffffdu

// Ids are remembered for ten minutes from when the write took effect, which is no earlier than
// its first sending; the last minute is for the request's own way through a slow cluster.
#define MF_CLIENT_RESEND_MAX_US (UINT64_C(9) * 60 * 1000 * 1000)

enum mf_call_state {
    MF_CALL_FREE,
    MF_CALL_QUEUED,  // to be sent when there is a connection
    MF_CALL_SENT,    // waits for its answer
    MF_CALL_RESTING, // was refused for now; goes back to the queue at rest_until_us
};

struct mf_link;

// A request, from submission until its callback has run. `bytes` is its MessagePack, kept so that
// it can be sent again.
struct mf_call {
    enum mf_call_state state;
    bool write;
    bool unsure;    // an attempt ended without telling whether it took effect
    bool condemned; // about to be failed with all others
    bool own;       // a message of the connection itself, which ends with it
    bool once;      // of those: freed once it is out
    uint16_t generation;
    uint32_t msgid;
    uint32_t attempts; // times it was sent whole
    uint8_t *bytes;
    size_t len;
    uint64_t deadline_us;
    uint64_t first_sent_us;
    uint64_t sent_us;
    uint64_t rest_until_us;
    enum mayfly_err refusal; // the last retryable answer
    char *refusal_text;      // and its words, or NULL
    mayfly_done *done;
    void *cookie;
    struct mf_link *link; // where it is queued or was sent
    struct mf_call *prev; // in the list of its state
    struct mf_call *next;
};

struct mf_call_list {
    struct mf_call *head;
    struct mf_call *tail;
};

struct mf_endpoint {
    char *name; // as it was given
    char *host;
    char *port;
    char why[128]; // why it was left or not reached; "" when it has not been tried or works
};

enum mf_link_state {
    MF_LINK_DOWN,       // opens at reopen_us, if there is something to send
    MF_LINK_CONNECTING, // waits for TCP
    MF_LINK_GREETING,   // waits for the answer to hello
    MF_LINK_READY,
};

struct mf_watches; // client_watch.c
struct mf_route;   // client_route.c

// What a greeting says about the node.
struct mf_hello_facts {
    uint32_t node;   // 0: not told
    uint32_t shards; // 0: not told
    uint64_t cluster_hash;
};

struct mf_link {
    struct mayfly_client *client;
    enum mf_link_state state;
    struct mf_transport transport;
    uint32_t node;     // that it is for, when it is for calls to a leader; else 0
    bool wanted;       // of such a one: it is to be opened
    bool retired;      // it is to be freed before the next turn
    uint32_t serial;   // counts its connections: events of one before are none of this one
    uint32_t interest; // what the loop waits for on it, EPOLLIN and the like
    struct mf_endpoint *endpoints; // first those that the caller gave, then those that were learned
    size_t endpoint_count;
    size_t given_count;
    size_t at;                  // the endpoint in use or next to be tried
    struct addrinfo *addresses; // of that endpoint
    struct addrinfo *address;   // the next of them to be tried
    uint32_t failures;          // endpoints that failed since a request was last answered
    uint32_t rounds;            // times that all endpoints in a row had failed
    uint64_t reopen_us;
    uint64_t opening_until_us; // limit of CONNECTING and GREETING
    uint64_t heard_us;         // when bytes last came in
    uint64_t wrote_us;         // when bytes last went out
    uint64_t served_us;        // when a request was last carried out, or this connection's start
    uint64_t asked_us;
    bool asked;          // a ping has been sent into the silence, at asked_us
    bool full;           // the socket takes no more for now
    size_t sent_of_head; // bytes of the first queued call that are already out
    struct mf_call hello;
    struct mf_call ping;
    struct mf_call_list greeting; // hello, until it is out
    struct mf_call_list queue;
    struct mf_call_list sent; // the longest waiting first
    struct mf_msgpack_scan scan;
    struct mf_buf in;
    size_t in_at; // the first byte of `in` that is not yet used
};

// Where reply trees are built; grown, and used again for the next reply.
struct mf_value_space {
    struct mayfly_value *values;
    size_t cap;
};

// One epoll descriptor for the sockets of all connections, and a timer and a bell in it, which are
// only used once somebody has asked for the descriptor.
struct mf_loop {
    int epoll_fd;
    int timer_fd;
    int bell_fd;
    bool shared;        // somebody waits for the descriptor
    bool rung;          // the bell, and nobody has waited since
    uint64_t armed_us;  // when the timer goes off, or went; UINT64_MAX: never
    uint64_t turned_us; // when the caller last let this client work
};

struct mayfly_client {
    // Fixed at the start.
    uint64_t (*clock_us)(void); // replaced by tests only
    char *endpoints;
    char *user;
    char *password;
    char *name;
    uint32_t connect_timeout_ms;
    uint32_t silence_ms;
    uint32_t window;
    size_t window_bytes;
    size_t reply_bytes_max;
    uint8_t id_prefix[16];

    uint32_t timeout_ms;
    uint64_t id_counter;
    struct mf_rand jitter;

    struct mf_call *calls; // `window` of them; a msgid's low 16 bits are the index
    uint32_t *free_calls;  // a stack of indices
    uint32_t free_count;
    size_t pending_bytes;
    struct mf_call_list resting;
    uint64_t next_timer_us; // no call needs attention before
    size_t completed;       // callbacks run, ever

    // The first is the one that calls go by when there is no better way. Others may be NULL; the
    // second place is kept for watches.
    struct mf_link *links[MF_LINKS_MAX];
    size_t link_count;
    struct mf_route *route;     // NULL: calls go by the first
    struct mf_link *watch_link; // NULL before the first watch
    struct mf_watches *watches; // NULL before the first
    struct mf_loop loop;
    bool wanted; // connect although nothing is queued
    bool closing;
    bool in_callback;
    bool paused; // a blocking call has its answer: no further reply is read in this turn
    struct mf_link *reading;      // whose message is being answered
    enum mayfly_err greeting_err; // the greeting was refused for good
    struct mf_value_space space;
    struct mf_buf held; // the bytes that a blocking call's result points into
    char error_text[MF_CLIENT_TEXT_MAX];
};

// client_endpoint.c

// Splits "HOST[:PORT],..." into link->endpoints. False with a message when it is malformed.
bool mf_endpoints_parse(struct mf_link *link, const char *text, char *message, size_t size);
void mf_endpoints_free(struct mf_link *link);
// Replaces the learned endpoints, which are tried when all that were given have failed: those of
// `count` addresses that are new, and the one in use. Without memory it leaves things as they are.
void mf_endpoints_learn(struct mf_link *link, const char *const *addresses, size_t count);
// The endpoint in use or next to be tried was learned.
bool mf_endpoint_is_learned(const struct mf_link *link);
// Resolves link->at; NULL addresses and the endpoint's `why` when that fails. May block in DNS
// for names; numeric addresses do not.
void mf_endpoint_resolve(struct mf_link *link);
void mf_endpoint_note(struct mf_link *link, const char *why);
// "127.0.0.1:7001 (Connection refused), 127.0.0.1:7002 (not tried)"
void mf_endpoints_describe(const struct mf_link *link, char *out, size_t size);

// client_request.c

// BAD_REQUEST with a reason in client->error_text, or MAYFLY_OK.
enum mayfly_err mf_request_check(struct mayfly_client *client,
                                 const struct mayfly_request *request);
bool mf_request_is_write(enum mayfly_method method);
// A slot by whose leader the request may go; -1 when it is no request of one leader's.
int mf_request_slot(const struct mayfly_client *client, const struct mayfly_request *request);
// At least as many bytes as the packed request takes.
size_t mf_request_size_bound(const struct mayfly_client *client,
                             const struct mayfly_request *request);
// The packed request in memory of its own; data NULL when there is not enough.
struct mf_buf mf_request_pack(struct mayfly_client *client, uint32_t msgid,
                              const struct mayfly_request *request);

// client_value.c

// Builds the next object of a whole, scanned message. Values point into the message.
enum mayfly_err mf_value_build(struct mf_value_space *space, struct mf_msgpack_in *in,
                               const struct mayfly_value **out);
void mf_value_space_free(struct mf_value_space *space);
// Copies at most size - 1 bytes as one printable line.
void mf_printable(char *out, size_t size, struct mf_bytes text);

// client_calls.c

enum mayfly_err mf_calls_init(struct mayfly_client *client);
// Gives every pending call `err` and frees the memory of all.
void mf_calls_free(struct mayfly_client *client);
size_t mf_calls_pending(const struct mayfly_client *client);
enum mayfly_err mf_calls_add(struct mayfly_client *client, const struct mayfly_request *request,
                             mayfly_done *done, void *cookie);
// Answers one call of a connection: MAYFLY_OK with its value, or an error and the server's words.
// Retryable errors put it to rest, and then it is true. Answers to nothing that waits are ignored.
bool mf_calls_answer(struct mf_link *link, uint32_t msgid, enum mayfly_err err, const char *text,
                     const struct mayfly_value *value);
// Ends every pending call with an error. A connection that has half of one has to be lost before.
void mf_calls_fail_all(struct mayfly_client *client, enum mayfly_err err, const char *text);
// The connection is gone: what was sent, and then what waited to be, is queued for the first one,
// before what waits there, but for a call that is half written. The connection's own messages are
// dropped.
void mf_calls_requeue(struct mf_link *link);
// The queue's first call when a part of it is out: nothing may come before it. Else NULL.
struct mf_call *mf_calls_half_written(const struct mf_link *link);
// The queue's first call is out whole.
void mf_calls_mark_sent(struct mf_link *link, uint64_t now_us);
// Gives up what is past its limit and wakes what has rested. A call that is half written must have
// been dealt with before: its connection has to go with it.
void mf_calls_timers(struct mayfly_client *client, uint64_t now_us);
// When a call that waits to be sent is given up: its deadline, or the end of its id's safe time.
uint64_t mf_call_limit_us(const struct mf_call *call);
void mf_call_list_append(struct mf_call_list *list, struct mf_call *call);
void mf_call_list_remove(struct mf_call_list *list, struct mf_call *call);
// A message of the connection's own is out, or will never be.
void mf_call_retire(struct mf_call *call);

// client_link.c

// A connection to the endpoints in `text`, opened when there is work; NULL with a message.
struct mf_link *mf_link_new(struct mayfly_client *client, const char *text, char *message,
                            size_t size);
// Closes it. Calls of the caller must have ended before.
void mf_link_free(struct mf_link *link);
// A call that is half written and past its limit takes the connection with it; at UINT64_MAX any
// is.
void mf_link_check_head(struct mf_link *link, uint64_t now_us);
// What is due by the clock: limits, signs of life, opening.
void mf_link_timers(struct mf_link *link, uint64_t now_us);
// When mf_link_timers or mf_link_write will have something to do.
uint64_t mf_link_due_us(const struct mf_link *link);
// Writes what is queued, as far as the socket takes it.
void mf_link_write(struct mf_link *link);
// The socket is ready for what it was waited for.
void mf_link_ready(struct mf_link *link);
// The caller has been away: what could not be done meanwhile is not held against the node.
void mf_link_excuse(struct mf_link *link, uint64_t now_us);
// Closes it for good; what it carried goes by the first one. It is freed before the next turn.
void mf_link_retire(struct mf_link *link);
// The connection failed or is no good: on to the next endpoint. What had been sent is queued again.
void mf_link_lose(struct mf_link *link, const char *why);

// client_loop.c

enum mayfly_err mf_loop_init(struct mayfly_client *client);
void mf_loop_free(struct mayfly_client *client);
// A connection's new socket, or one that is about to be closed.
enum mayfly_err mf_loop_add(struct mf_link *link);
void mf_loop_remove(struct mf_link *link);
// Something is to be done at once: whoever waits for the descriptor shall wake.
void mf_loop_wake(struct mayfly_client *client);
// One turn: timers, connecting, writing, waiting for at most wait_us, reading. False when the wait
// was interrupted by a signal.
bool mf_loop_turn(struct mayfly_client *client, uint64_t wait_us);

// client_replies.c

// Reads what is there and takes the messages in it.
void mf_replies_read(struct mf_link *link);
// Takes the messages that have been read already, until a blocking call has its answer.
void mf_replies_take(struct mf_link *link);
// From the callback of a blocking call: moves the bytes of the message that is being answered to
// client->held, where they stay, and ends the turn. False without memory.
bool mf_replies_hold(struct mayfly_client *client);

// client_route.c

bool mf_route_init(struct mayfly_client *client, uint32_t connections);
void mf_route_free(struct mayfly_client *client);
bool mf_route_is_on(const struct mayfly_client *client);
// The connection for a call of this slot, or -1.
struct mf_link *mf_route_call(struct mayfly_client *client, int slot);
// One slot for two that the same node leads, `other` when that is -1; -1: there is none.
int mf_route_join(const struct mayfly_client *client, int slot, int other);
void mf_route_timers(struct mayfly_client *client, uint64_t now_us);
uint64_t mf_route_due_us(const struct mayfly_client *client);
// Something hints that leaders have moved.
void mf_route_trouble(struct mayfly_client *client);
void mf_route_link_lost(struct mf_link *link);
// False: this is not the node that the connection is for.
bool mf_route_greeted(struct mf_link *link, const struct mf_hello_facts *facts);
// The connection for watches is new, and may know what the others know.
void mf_route_watch_begins(struct mayfly_client *client);
// The answer to what mf_route_timers asked; `in` is at its result, `bytes` is its size.
void mf_route_answer(struct mayfly_client *client, enum mayfly_err err, struct mf_msgpack_in *in,
                     size_t bytes);

// client_watch.c

// Watches whose time has come: asked for, or given up.
void mf_client_watches_timers(struct mayfly_client *client, uint64_t now_us);
uint64_t mf_client_watches_due_us(const struct mayfly_client *client);
bool mf_client_watches_wanted(const struct mayfly_client *client);
// The watches' connection has been greeted; false when the greeting is of no use.
bool mf_client_watches_greeted(struct mayfly_client *client, const struct mf_hello_facts *facts);
// That connection is gone.
void mf_client_watches_let_go(struct mayfly_client *client);
void mf_client_watches_end_all(struct mayfly_client *client, enum mayfly_err err, const char *text);
// What came on it: an answer, and a notification (`in` is behind its 2; false: it is none).
void mf_client_watches_answer(struct mayfly_client *client, uint32_t msgid, enum mayfly_err err,
                              const char *text, const struct mayfly_value *value);
bool mf_client_watches_news(struct mayfly_client *client, struct mf_msgpack_in *in);
// Ends all of them, with news.
void mf_client_watches_free(struct mayfly_client *client);

// client.c

// Retried by this library, because the answer says that nothing happened or an id protects it.
bool mf_err_is_retried(enum mayfly_err err);
enum mayfly_err mf_err_of_name(struct mf_bytes name);
// Writes client->error_text as "NAME: words" and returns err.
enum mayfly_err mf_client_refuse(struct mayfly_client *client, enum mayfly_err err,
                                 const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
