// Watches of a client: how they begin, what they tell, and how they go on over another connection;
// see "Watches" in mayfly/client.h.
//
// All watches of a client share one connection of their own, so that events and answers do not wait
// for each other. A watch moves waiting -> asked -> live, and back to waiting when the connection
// or the node lets go of it; what it then asks for is in its positions.
#ifndef MF_RPC_CLIENT_WATCH_H
#define MF_RPC_CLIENT_WATCH_H

#include "rpc/client_internal.h"
#include "rpc/client_positions.h"

enum mf_watch_state {
    MF_WATCH_WAITING, // to be asked for, from rest_until_us on, when there is a connection
    MF_WATCH_ASKED,
    MF_WATCH_LIVE,
};

struct mf_watch {
    enum mf_watch_state state;
    bool dropped; // nobody wants it any more; the node's answer is waited for
    bool begun;
    bool told; // some event
    bool has_from;
    bool by_prefix;
    uint8_t changes;
    uint32_t slot;
    uint64_t number;
    uint64_t remote_id;    // of LIVE, on this connection
    struct mf_watch *next; // of those whose remote_id has the same bucket
    uint64_t deadline_us;  // for beginning
    uint64_t rest_until_us;
    uint32_t refusals;  // in a row
    uint32_t compacted; // endpoints in a row that do not remember enough
    enum mayfly_err refusal;
    mayfly_on_news *on_news;
    void *cookie;
    struct mf_call request; // bytes: as last packed
    uint8_t *pattern;
    size_t pattern_len;
    struct mayfly_shard_version *from; // the caller's, until the number of shards is known
    size_t from_count;
    uint64_t from_version;         // when from_count is 0
    uint32_t shards;               // of the cluster that the positions are in
    struct mf_positions positions; // all NULL: the number of shards is not known yet
};

// client_watch_wire.c

// The request into watch->request. False without memory.
bool mf_watch_pack(struct mf_watch *watch);
// A call of its own that ends a watch at the node; freed when it is out. NULL without memory.
struct mf_call *mf_watch_pack_end(uint64_t remote_id);

enum mf_news_kind {
    MF_NEWS_NONE, // a notification of another kind
    MF_NEWS_CHANGE,
    MF_NEWS_PROGRESS, // `rest` has `count` pairs of shard and version
    MF_NEWS_LOST,
    MF_NEWS_BROKEN, // not what the protocol has
};
struct mf_watch_news {
    uint64_t remote_id;
    enum mayfly_change change;
    struct mf_bytes key;
    struct mf_bytes value;
    uint64_t version;
    uint32_t count;
    struct mf_msgpack_in rest;
};
// `in` is behind the 2 of a notification.
enum mf_news_kind mf_watch_read_news(struct mf_msgpack_in *in, struct mf_watch_news *news);

// client_watch.c; the functions that the rest of the library calls are in client_internal.h.

#endif
