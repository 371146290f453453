// What peers say to each other about watches: a node that has no copy of a shard has its clients'
// watches kept by one that has (server/watch_relay.h).
//
//   order  u64 number, u64 sequence, u16 home, u64 id, u8 flags (1 = end, 2 = prefix,
//          4 = progress), u8 events, blob pattern, blob shards (u32 each, ascending),
//          blob froms (u32 shard, u64 version each)
//   alive  u64 number, u16 home, u64 sequence of the last order, u16 n, n times u64: how much of
//          the news of the receiver's reactor 0, 1, ... has come
//   news   u64 number, u16 home, u16 reactor, u16 reactors of the sender, u64 offset, news
//   gone   u64 number, u16 home: the sender keeps no such watches
//
// Each is the content of one item of a frame (peer_frame.h), whose shard is 0. The home is a
// reactor of the node that asks, and the number, never 0, what it calls all that it has at the
// other node.
#ifndef MF_RPC_PEER_WATCH_H
#define MF_RPC_PEER_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

// News, one after the other, in the order in which they happened: u8 kind, and
enum mf_watch_news_kind {
    MF_WATCH_BEGUN,    // u64 id, u32 n: the sender sends events of n shards from now on
    MF_WATCH_REFUSED,  // u64 id, u16 err: it does not (NOT_FOUND: there is no copy here)
    MF_WATCH_EVENT,    // u32 n, n times u64 id, and an event (base/event.h)
    MF_WATCH_PROGRESS, // u32 n, n times u64 id, u32 m, m times u32 shard and u64 version
    MF_WATCH_LOST,     // u64 id: it sends no more
};
// Shards in one PROGRESS.
#define MF_WATCH_PROGRESS_SHARDS_MAX 1024u

struct mf_peer_watch_order {
    uint64_t number;
    uint64_t sequence; // 1, 2, ... of the orders of this number
    uint16_t home;
    uint64_t id;
    bool end; // without events, shards and froms
    bool by_prefix;
    bool progress;
    uint8_t events;
    struct mf_bytes pattern; // views
    struct mf_bytes shards;
    struct mf_bytes froms;
};

struct mf_peer_watch_alive {
    uint64_t number;
    uint16_t home;
    uint64_t sequence;
    struct mf_bytes taken; // u64 each
};

struct mf_peer_watch_news {
    uint64_t number;
    uint16_t home;
    uint16_t reactor;
    uint16_t reactors;
    uint64_t offset; // of this reactor's news to this home, in bytes
    struct mf_bytes news;
};

struct mf_peer_watch_gone {
    uint64_t number;
    uint16_t home;
};

void mf_peer_put_watch_order(struct mf_buf *out, const struct mf_peer_watch_order *order);
void mf_peer_put_watch_alive(struct mf_buf *out, const struct mf_peer_watch_alive *alive);
void mf_peer_put_watch_news(struct mf_buf *out, const struct mf_peer_watch_news *news);
void mf_peer_put_watch_gone(struct mf_buf *out, const struct mf_peer_watch_gone *gone);

// The whole content of an item. MF_CORRUPT for anything that put would not have written, for shards
// that are not ascending and below `shards`, for an event that there is not, and for news that are
// not whole.
MF_MUST_USE enum mf_err mf_peer_get_watch_order(struct mf_bytes bytes, uint32_t shards,
                                                struct mf_peer_watch_order *order);
MF_MUST_USE enum mf_err mf_peer_get_watch_alive(struct mf_bytes bytes,
                                                struct mf_peer_watch_alive *alive);
MF_MUST_USE enum mf_err mf_peer_get_watch_news(struct mf_bytes bytes, uint32_t shards,
                                               struct mf_peer_watch_news *news);
MF_MUST_USE enum mf_err mf_peer_get_watch_gone(struct mf_bytes bytes,
                                               struct mf_peer_watch_gone *gone);
// Skips one of the news: MF_OK, MF_NOT_FOUND at the end, MF_CORRUPT.
MF_MUST_USE enum mf_err mf_peer_skip_watch_news(struct mf_reader *reader, uint32_t shards);

#endif
