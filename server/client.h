// What every client connection has, whatever it speaks: its place among those that are allowed, its
// requests under way and what they may cost, and whether its user is known.
//
// A session has one as a member, and frees itself when mf_client_gone says that nothing points to
// it any more: a reply may come when the client has gone. All on the connection's reactor.
#ifndef MF_SERVER_CLIENT_H
#define MF_SERVER_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "rpc/conn.h"
#include "server/reactor.h"

// A client with this much unsent is asked for no more until it has read.
#define MF_CLIENT_PAUSE_BYTES (1u << 20)

struct mf_client {
    struct mf_reactor *reactor;
    struct mf_conn *conn; // NULL when closed
    uint32_t calls;       // requests under way ...
    size_t calls_bytes;   // ... and their size
    size_t held_bytes;    // of replies that are ready and wait for those before them
    uint32_t window;      // how many requests there may be
    size_t reply_bytes;   // of recent replies, rather more than less
    bool authorized;
};

// Takes over a connection. When there are too many it is closed after the text, and false returned.
MF_MUST_USE bool mf_client_accept(struct mf_client *client, struct mf_reactor *reactor, int fd,
                                  const struct mf_conn_ops *ops, void *arg, const char *refusal);
// From `closed`: there is no connection any more.
void mf_client_closed(struct mf_client *client);
// Nothing points to it any more.
static inline bool mf_client_gone(const struct mf_client *client)
{
    return client->conn == NULL && client->calls == 0;
}

// A request of that size is under way, or has ended; where the connection is still there, it takes
// in only as much more as it may. bytes: the same both times.
void mf_client_begin_call(struct mf_client *client, size_t bytes);
void mf_client_end_call(struct mf_client *client, size_t bytes);
// Before a result is told. One that was put together and dropped, being too large, may have taken
// long and costs its client nothing else: others have their turn before its next request.
void mf_client_learn_result(struct mf_client *client, const struct mf_result *result);
// A recent large reply counts for those to come, a little less with each smaller one.
void mf_client_learn_reply(struct mf_client *client, size_t bytes);
// Takes in no more before a request that is under way has ended. There has to be one.
void mf_client_wait(struct mf_client *client);

// The request cannot be answered because nobody has said who is asking.
bool mf_client_is_open(const struct mf_client *client);
bool mf_client_has_password(const struct mf_client *client);
// True for a user and password that the node knows; for any when there is no password.
bool mf_client_knows(const struct mf_client *client, struct mf_bytes user,
                     struct mf_bytes password);

// What that user's password is; empty: none, or there is no such user. Lives as long as the node.
struct mf_bytes mf_client_password(const struct mf_client *client, struct mf_bytes user);

// The names of the users, one after the other; "default" where one password, or none, is for all.
// What it begins with holds to its end, whatever SIGHUP brings.
struct mf_client_users {
    const char *rest;
    bool open; // there is no password
};
struct mf_client_users mf_client_users(const struct mf_client *client);
bool mf_client_next_user(struct mf_client_users *users, struct mf_bytes *name);

void mf_client_count_request(struct mf_client *client);
void mf_client_count_error(struct mf_client *client);

#endif
