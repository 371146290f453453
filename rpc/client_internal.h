// The inside of libmayfly, shared by client*.c and nobody else; include/mayfly/client.h is what
// callers see.
//
// Downwards; client_link.c and client_replies.c use each other, the others only those after them:
//   client_methods.c   blocking calls, one a method
//   client.c           making and freeing a client, submit, poll
//   client_link.c      the one connection: endpoints in turn, back-off, writing, signs of life
//   client_replies.c   what comes in on it
//   client_calls.c     requests and their fate: queued, sent, resting, answered, given up
//   client_request.c   a request into MessagePack
//   client_value.c     a reply's MessagePack into a tree
//   client_endpoint.c  addresses
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
#include "rpc/msgpack_scan.h"

#define MF_CLIENT_TEXT_MAX 512
#define MF_CLIENT_ID_BYTES 24 // 16 random bytes, then a counter

// The messages of the connection itself; no call has these.
#define MF_HELLO_MSGID 0xfffffffeu
#define MF_PING_MSGID 0xffffffffu

// Ids are remembered for ten minutes from when the write took effect, which is no earlier than
// its first sending; the last minute is for the request's own way through a slow cluster.
#define MF_CLIENT_RESEND_MAX_US (UINT64_C(9) * 60 * 1000 * 1000)

enum mf_call_state {
    MF_CALL_FREE,
    MF_CALL_QUEUED,  // to be sent when there is a connection
    MF_CALL_SENT,    // waits for its answer
    MF_CALL_RESTING, // was refused for now; goes back to the queue at rest_until_us
};

// A request, from submission until its callback has run. `bytes` is its MessagePack, kept so that
// it can be sent again.
struct mf_call {
    enum mf_call_state state;
    bool write;
    bool unsure;    // an attempt ended without telling whether it took effect
    bool condemned; // about to be failed with all others
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
    mayfly_done *done;
    void *cookie;
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

struct mf_link {
    enum mf_link_state state;
    int fd;
    struct mf_endpoint *endpoints;
    size_t endpoint_count;
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
    uint64_t turned_us;        // when the caller last let this client work
    uint64_t asked_us;
    bool asked;          // a ping has been sent into the silence, at asked_us
    bool full;           // the socket takes no more for now
    size_t sent_of_head; // bytes of the first queued call that are already out
    struct mf_call hello;
    struct mf_call ping;
    struct mf_call_list greeting; // hello, until it is out
    struct mf_msgpack_scan scan;
    struct mf_buf in;
    size_t in_at; // the first byte of `in` that is not yet used
};

// Where reply trees are built; grown, and used again for the next reply.
struct mf_value_space {
    struct mayfly_value *values;
    size_t cap;
};

struct mayfly_client {
    // Fixed at the start.
    uint64_t (*clock_us)(void); // replaced by tests only
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
    struct mf_call_list queue;
    struct mf_call_list sent; // the longest waiting first
    struct mf_call_list resting;
    uint64_t next_timer_us; // no call needs attention before
    size_t completed;       // callbacks run, ever

    struct mf_link link;
    bool wanted; // connect although nothing is queued
    bool closing;
    bool in_callback;
    bool paused; // a blocking call has its answer: no further reply is read in this turn
    enum mayfly_err greeting_err; // the greeting was refused for good
    struct mf_value_space space;
    struct mf_buf held; // the bytes that a blocking call's result points into
    char error_text[MF_CLIENT_TEXT_MAX];
};

// client_endpoint.c

// Splits "HOST[:PORT],..." into link->endpoints. False with a message when it is malformed.
bool mf_endpoints_parse(struct mf_link *link, const char *text, char *message, size_t size);
void mf_endpoints_free(struct mf_link *link);
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
// Answers one call: MAYFLY_OK with its value, or an error and the server's words. Retryable errors
// put it to rest, and then it is true. Answers to nothing that waits are ignored.
bool mf_calls_answer(struct mayfly_client *client, uint32_t msgid, enum mayfly_err err,
                     const char *text, const struct mayfly_value *value);
// Ends every pending call with an error.
void mf_calls_fail_all(struct mayfly_client *client, enum mayfly_err err, const char *text);
// The connection is gone: what was sent is queued again.
void mf_calls_requeue_sent(struct mayfly_client *client);
// The queue's first call is out whole.
void mf_calls_mark_sent(struct mayfly_client *client, uint64_t now_us);
// Gives up what is past its limit and wakes what has rested. A call that is half written must have
// been dealt with before: its connection has to go with it.
void mf_calls_timers(struct mayfly_client *client, uint64_t now_us);
// When a call that waits to be sent is given up: its deadline, or the end of its id's safe time.
uint64_t mf_call_limit_us(const struct mf_call *call);
void mf_call_list_append(struct mf_call_list *list, struct mf_call *call);
void mf_call_list_remove(struct mf_call_list *list, struct mf_call *call);

// client_link.c

enum mayfly_err mf_link_init(struct mayfly_client *client);
void mf_link_free(struct mayfly_client *client);
// One turn of the loop: timers, connecting, writing, waiting for at most wait_us, reading. False
// when the wait was interrupted by a signal.
bool mf_link_turn(struct mayfly_client *client, uint64_t wait_us);
// The connection failed or is no good: on to the next endpoint. What had been sent is queued again.
void mf_link_lose(struct mayfly_client *client, const char *why);

// client_replies.c

// Reads what is there and takes the messages in it.
void mf_replies_read(struct mayfly_client *client);
// Takes the messages that have been read already, until a blocking call has its answer.
void mf_replies_take(struct mayfly_client *client);
// From the callback of a blocking call: moves the bytes of the message that is being answered to
// client->held, where they stay, and ends the turn. False without memory.
bool mf_replies_hold(struct mayfly_client *client);

// client.c

// Retried by this library, because the answer says that nothing happened or an id protects it.
bool mf_err_is_retried(enum mayfly_err err);
enum mayfly_err mf_err_of_name(struct mf_bytes name);
// Writes client->error_text as "NAME: words" and returns err.
enum mayfly_err mf_client_refuse(struct mayfly_client *client, enum mayfly_err err,
                                 const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
