// The owners' side of watches (watch.h): who wants to know of changes in this reactor's shards, and
// the history of each shard. Runs on the owner's thread, except where it says home.
#ifndef MF_SERVER_WATCHERS_H
#define MF_SERVER_WATCHERS_H

#include "server/reactor.h"
#include "server/watch_news.h"

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
// Every few tens of milliseconds: looks whether replicas have caught up, and tells of progress.
void mf_watchers_tick(struct mf_reactor *reactor);
// Where the shard's next change will be noted: the way to it, and then it, into the cache.
void mf_watchers_prefetch(const struct mf_owned_shard *shard);
void mf_watchers_prefetch_end(const struct mf_owned_shard *shard);

// What a watch's home sends to an owner; want's views need not live on.
void mf_watchers_order(struct mf_reactor *home, uint16_t owner, uint64_t id, bool end,
                       const struct mf_watch_want *want);

// The same from another node, whose news go into this outbox. Begin takes the order over.
void mf_watchers_begin(struct mf_watchers *watchers, struct mf_watch_order *order,
                       struct mf_watch_outbox *outbox);
void mf_watchers_end(struct mf_watchers *watchers, const struct mf_watch_order *order,
                     const struct mf_watch_outbox *outbox);
// All watches of the outbox end without a word: it may be freed.
void mf_watchers_forget(struct mf_watchers *watchers, const struct mf_watch_outbox *outbox);

#endif
