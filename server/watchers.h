// The owners' side of watches (watch.h): who wants to know of changes in this reactor's shards, and
// the history of each shard. Runs on the owner's thread, except where it says home.
#ifndef MF_SERVER_WATCHERS_H
#define MF_SERVER_WATCHERS_H

#include "server/reactor.h"
#include "server/task.h"
#include "server/watch.h"

struct mf_watchers;
struct mf_watchers *mf_watchers_new(struct mf_reactor *reactor);
void mf_watchers_free(struct mf_watchers *watchers);

// The shard's replica has taken over its state: changes are heard from now on. Watches that were
// there before are lost.
void mf_watchers_attach(struct mf_owned_shard *shard);
// The shard's copy is about to go.
void mf_watchers_detach(struct mf_owned_shard *shard);
// At the end of a turn: begins what has had its answers, and sends home what has come together.
void mf_watchers_flush(struct mf_reactor *reactor);
// Every few tens of milliseconds: looks whether replicas have caught up.
void mf_watchers_tick(struct mf_reactor *reactor);

// From a watch to an owner.
struct mf_watch_order {
    struct mf_task task; // runs on the owner, which frees the order
    uint64_t id;
    uint16_t home;
    bool end; // else it begins; an end names the pattern again
    struct mf_watch_want want;
    // What want's views point to.
    struct mf_buf pattern;
    struct mf_watch_from *froms;
};
// Copies `want`, of which an end needs no froms.
struct mf_watch_order *mf_watch_order_new(uint64_t id, uint16_t home, bool end,
                                          const struct mf_watch_want *want);

// From an owner to a home: one after the other, in the order in which they happened. The home is
// handed this as a task and calls mf_watch_news_free.
enum mf_watch_news_kind {
    MF_WATCH_BEGUN,   // u64 id: this owner sends events from now on
    MF_WATCH_REFUSED, // u64 id, u16 err: it does not (NOT_FOUND: there is no copy here)
    MF_WATCH_EVENT,   // u32 n, n times u64 id, and an event
    MF_WATCH_LOST,    // u64 id: it sends no more
};
struct mf_watch_news {
    struct mf_task task;       // run: mf_watches_take
    struct mf_buf items;       // each u8 kind and what it says above
    _Atomic size_t *under_way; // the owner's count of the bytes that this home has not taken yet
};
void mf_watch_news_free(struct mf_watch_news *news);
// watch.c: takes what has come, on the home.
void mf_watches_take(struct mf_reactor *reactor, struct mf_task *task);

#endif
