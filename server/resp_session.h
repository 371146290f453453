// One client connection that speaks the Redis protocol.
//
// Requests are carried out side by side, and answered in their order: a reply that comes before
// that of an earlier request waits for it. What a client sends on one connection has its effect in
// that order too: writes of a shard go to its log as they came, a read waits for the writes before
// it that it could see, and a write for such reads. Everything here is on the connection's reactor.
#ifndef MF_SERVER_RESP_SESSION_H
#define MF_SERVER_RESP_SESSION_H

#include "server/reactor.h"

// What a reactor knows of its connections of this kind.
struct mf_resp_door;
struct mf_resp_door *mf_resp_door_new(const struct mf_node *node);
void mf_resp_door_free(struct mf_resp_door *door); // they are all gone

// What a client of another node has published: the content of an item. MF_CORRUPT when it is none.
MF_MUST_USE enum mf_err mf_resp_take_published(struct mf_reactor *reactor, struct mf_bytes content);

// Every few tens of milliseconds.
void mf_resp_door_tick(struct mf_reactor *reactor);

// Takes over a connection that came in on the port, or (cluster) on that of Redis Cluster; refuses
// it when there are too many.
void mf_resp_accepted(struct mf_reactor *reactor, int fd, bool cluster);

#endif
