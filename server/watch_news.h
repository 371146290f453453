// What crosses between a watch's home and its owners (watch.h): orders there, news back.
//
// An order is made by a home and freed by the owner. News to one home gathers in its outbox over a
// turn, and leaves as one task; what the home has not taken yet is counted.
#ifndef MF_SERVER_WATCH_NEWS_H
#define MF_SERVER_WATCH_NEWS_H

#include <stdatomic.h>

#include "rpc/peer_watch.h"
#include "server/task.h"
#include "server/watch.h"

struct mf_watch_order {
    struct mf_task task; // runs on the owner, which frees the order
    uint64_t id;
    uint16_t home;
    bool end; // else it begins; an end names the pattern again
    struct mf_watch_want want;
    // What want's views point to.
    struct mf_buf pattern;
    uint32_t *shards;
    struct mf_shard_version *froms;
};
// Copies `want`, of which an end needs no shards and no froms. The task is the caller's to fill.
struct mf_watch_order *mf_watch_order_new(uint64_t id, uint16_t home, bool end,
                                          const struct mf_watch_want *want);
void mf_watch_order_free(struct mf_watch_order *order);

// What one home is to be told.
struct mf_watch_outbox {
    struct mf_buf items; // enum mf_watch_news_kind and what it says there
    struct mf_buf ids;   // u64 each: the watches that the next EVENT or PROGRESS is for
    // Of the bytes that the home has not taken yet. Raised by the owner, lowered by the home;
    // relaxed, because it only bounds memory.
    _Atomic size_t under_way;
    size_t items_bytes_max;
    size_t *together; // of the outboxes for other nodes: what is in all of them; else NULL
};
void mf_watch_outbox_init(struct mf_watch_outbox *outbox, size_t items_bytes_max, size_t *together);
void mf_watch_outbox_free(struct mf_watch_outbox *outbox);
static inline size_t mf_watch_under_way(const struct mf_watch_outbox *outbox)
{
    return atomic_load_explicit(&outbox->under_way, memory_order_relaxed);
}
// It has more than it may have, here or not taken yet: watches are lost.
bool mf_watch_outbox_full(const struct mf_watch_outbox *outbox);
void mf_watch_put_begun(struct mf_watch_outbox *outbox, uint64_t id, uint32_t shards);
void mf_watch_put_refused(struct mf_watch_outbox *outbox, uint64_t id, enum mf_err err);
void mf_watch_put_lost(struct mf_watch_outbox *outbox, uint64_t id);
// For the watches in `ids`, which are forgotten; nothing when there are none.
void mf_watch_put_event(struct mf_watch_outbox *outbox, const struct mf_event *event);
void mf_watch_put_progress(struct mf_watch_outbox *outbox, const struct mf_shard_version *versions,
                           uint32_t version_count);
void mf_watch_put_versions(struct mf_buf *out, const struct mf_shard_version *versions,
                           uint32_t count);
// What mf_watch_put_versions wrote: at most MF_WATCH_PROGRESS_SHARDS_MAX, which versions has room
// for; returns how many.
uint32_t mf_watch_take_versions(struct mf_reader *items, struct mf_shard_version *versions);

// The home is handed this as a task and calls mf_watch_news_free.
struct mf_watch_news {
    struct mf_task task; // run: mf_watches_take
    struct mf_buf items;
    _Atomic size_t *under_way;
};
// Takes over what is in the outbox.
struct mf_watch_news *mf_watch_news_of(struct mf_watch_outbox *outbox);
void mf_watch_news_free(struct mf_watch_news *news);
// watch.c: takes what has come, on the home.
void mf_watches_take(struct mf_reactor *reactor, struct mf_task *task);
void mf_watches_take_items(struct mf_reactor *reactor, struct mf_bytes items);

#endif
