// Who watches what, and whom a change is for: a change costs one look for each length of prefix
// that anybody watches, and one for its key, however many watch.
//
// One thread only.
#ifndef MF_SERVER_WATCH_TABLE_H
#define MF_SERVER_WATCH_TABLE_H

#include "server/watch_news.h"

// A watch that has begun; the owner of the table makes and frees it.
struct mf_watcher {
    struct mf_watcher *next; // in its bucket
    struct mf_watch_order *order;
    struct mf_watch_outbox *outbox; // of its home
    uint64_t hash;                  // of the pattern
    bool gone;                      // ended or lost: it matches nothing, and a sweep takes it out
};

struct mf_watch_table {
    struct mf_watcher **buckets; // chains by hash of the pattern
    uint32_t bucket_count;
    uint32_t count;
    uint32_t progress_count; // of those that want progress
    uint64_t seed;
    uint32_t *with_length; // how many are for a prefix of each length
    size_t lengths;
    struct mf_watcher **matches; // of the last change that was looked for
    uint32_t match_count;
    uint32_t match_cap;
};

void mf_watch_table_init(struct mf_watch_table *table, uint64_t seed);
// Frees what it holds with `free_watcher`.
void mf_watch_table_free(struct mf_watch_table *table,
                         void (*free_watcher)(struct mf_watcher *watcher));
uint64_t mf_watch_table_hash(const struct mf_watch_table *table, struct mf_bytes pattern);
// Its order and hash are there.
void mf_watch_table_add(struct mf_watch_table *table, struct mf_watcher *watcher);
// The watch of this id and pattern whose home has this outbox, or NULL.
struct mf_watcher *mf_watch_table_find(const struct mf_watch_table *table,
                                       const struct mf_watch_order *order,
                                       const struct mf_watch_outbox *outbox);
// Takes those that are gone out of the chain of this hash, or of all, and frees them.
void mf_watch_table_sweep(struct mf_watch_table *table, uint64_t hash,
                          void (*free_watcher)(struct mf_watcher *watcher));
void mf_watch_table_sweep_all(struct mf_watch_table *table,
                              void (*free_watcher)(struct mf_watcher *watcher));
// Puts those whom a change in this shard is for into `matches`.
void mf_watch_table_match(struct mf_watch_table *table, uint32_t shard,
                          const struct mf_event *event);

// Of one watch.
bool mf_watcher_covers(const struct mf_watcher *watcher, uint32_t shard);
bool mf_watcher_wants(const struct mf_watcher *watcher, uint32_t shard,
                      const struct mf_event *event);
// Where it begins in this shard; NULL: now. Its froms are sorted.
const struct mf_shard_version *mf_watcher_from(const struct mf_watcher *watcher, uint32_t shard);
void mf_watch_sort_froms(struct mf_watch_order *order);

#endif
