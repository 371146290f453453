// Who watches what; see watch_table.h.
#include "server/watch_table.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

#define BUCKETS_FIRST 64u

void mf_watch_table_init(struct mf_watch_table *table, uint64_t seed)
{
    *table = (struct mf_watch_table){.seed = seed, .bucket_count = BUCKETS_FIRST};
    table->buckets = mf_calloc(BUCKETS_FIRST, sizeof(struct mf_watcher *));
}

void mf_watch_table_free(struct mf_watch_table *table,
                         void (*free_watcher)(struct mf_watcher *watcher))
{
    for (uint32_t i = 0; i < table->bucket_count; i++) {
        while (table->buckets[i] != NULL) {
            struct mf_watcher *first = table->buckets[i];
            table->buckets[i] = first->next;
            free_watcher(first);
        }
    }
    free(table->buckets);
    free(table->with_length);
    free(table->matches);
}

uint64_t mf_watch_table_hash(const struct mf_watch_table *table, struct mf_bytes pattern)
{
    return mf_hash64(pattern, table->seed);
}

static struct mf_watcher **bucket_of(const struct mf_watch_table *table, uint64_t hash)
{
    return &table->buckets[hash & (table->bucket_count - 1)];
}

static void put(struct mf_watch_table *table, struct mf_watcher *watcher)
{
    struct mf_watcher **bucket = bucket_of(table, watcher->hash);
    watcher->next = *bucket;
    *bucket = watcher;
}

static void grow(struct mf_watch_table *table)
{
    uint32_t old_count = table->bucket_count;
    struct mf_watcher **old = table->buckets;
    table->bucket_count *= 2;
    table->buckets = mf_calloc(table->bucket_count, sizeof(struct mf_watcher *));
    for (uint32_t i = 0; i < old_count; i++) {
        while (old[i] != NULL) {
            struct mf_watcher *watcher = old[i];
            old[i] = watcher->next;
            put(table, watcher);
        }
    }
    free(old);
}

static void count_length(struct mf_watch_table *table, size_t len)
{
    if (len >= table->lengths) {
        table->with_length =
            mf_realloc(table->with_length, (len + 1) * sizeof(*table->with_length));
        for (size_t i = table->lengths; i <= len; i++)
            table->with_length[i] = 0;
        table->lengths = len + 1;
    }
    table->with_length[len]++;
}

void mf_watch_table_add(struct mf_watch_table *table, struct mf_watcher *watcher)
{
    if (++table->count > table->bucket_count)
        grow(table);
    if (watcher->order->want.by_prefix)
        count_length(table, watcher->order->want.pattern.len);
    table->progress_count += watcher->order->want.progress;
    put(table, watcher);
}

struct mf_watcher *mf_watch_table_find(const struct mf_watch_table *table,
                                       const struct mf_watch_order *order,
                                       const struct mf_watch_outbox *outbox)
{
    struct mf_watcher *at = *bucket_of(table, mf_watch_table_hash(table, order->want.pattern));
    while (at != NULL && (at->order->id != order->id || at->outbox != outbox))
        at = at->next;
    return at;
}

static void sweep_chain(struct mf_watch_table *table, struct mf_watcher **at,
                        void (*free_watcher)(struct mf_watcher *watcher))
{
    while (*at != NULL) {
        struct mf_watcher *watcher = *at;
        if (!watcher->gone) {
            at = &watcher->next;
            continue;
        }
        *at = watcher->next;
        table->count--;
        table->progress_count -= watcher->order->want.progress;
        if (watcher->order->want.by_prefix)
            table->with_length[watcher->order->want.pattern.len]--;
        free_watcher(watcher);
    }
}

void mf_watch_table_sweep(struct mf_watch_table *table, uint64_t hash,
                          void (*free_watcher)(struct mf_watcher *watcher))
{
    sweep_chain(table, bucket_of(table, hash), free_watcher);
}

void mf_watch_table_sweep_all(struct mf_watch_table *table,
                              void (*free_watcher)(struct mf_watcher *watcher))
{
    for (uint32_t i = 0; i < table->bucket_count; i++)
        sweep_chain(table, &table->buckets[i], free_watcher);
}

static int compare_from(const void *left, const void *right)
{
    const struct mf_shard_version *a = left;
    const struct mf_shard_version *b = right;
    return (a->shard > b->shard) - (a->shard < b->shard);
}

void mf_watch_sort_froms(struct mf_watch_order *order)
{
    if (order->want.from_count > 1)
        qsort(order->froms, order->want.from_count, sizeof(*order->froms), compare_from);
}

const struct mf_shard_version *mf_watcher_from(const struct mf_watcher *watcher, uint32_t shard)
{
    const struct mf_watch_want *want = &watcher->order->want;
    struct mf_shard_version wanted = {.shard = shard};
    if (want->from_count == 0)
        return NULL;
    return bsearch(&wanted, want->froms, want->from_count, sizeof(wanted), compare_from);
}

static int compare_shard(const void *left, const void *right)
{
    const uint32_t *a = left;
    const uint32_t *b = right;
    return (*a > *b) - (*a < *b);
}

bool mf_watcher_covers(const struct mf_watcher *watcher, uint32_t shard)
{
    const struct mf_watch_want *want = &watcher->order->want;
    if (want->one_shard)
        return want->shard == shard;
    return want->shard_count == 0 ||
           bsearch(&shard, want->shards, want->shard_count, sizeof(shard), compare_shard) != NULL;
}

bool mf_watcher_wants(const struct mf_watcher *watcher, uint32_t shard,
                      const struct mf_event *event)
{
    const struct mf_watch_want *want = &watcher->order->want;
    if (watcher->gone || (want->events & 1u << event->event) == 0)
        return false;
    if (want->by_prefix ? event->key.len < want->pattern.len ||
                              memcmp(event->key.data, want->pattern.data, want->pattern.len) != 0
                        : !mf_bytes_equal(event->key, want->pattern))
        return false;
    if (!mf_watcher_covers(watcher, shard))
        return false;
    const struct mf_shard_version *from = mf_watcher_from(watcher, shard);
    return from == NULL || event->version >= from->version;
}

static void add_match(struct mf_watch_table *table, struct mf_watcher *watcher)
{
    if (table->match_count == table->match_cap) {
        table->match_cap = table->match_cap == 0 ? 16 : table->match_cap * 2;
        table->matches = mf_realloc(table->matches, table->match_cap * sizeof(*table->matches));
    }
    table->matches[table->match_count++] = watcher;
}

// Adds those whose pattern is the key's first `len` bytes.
static void find_matches(struct mf_watch_table *table, uint32_t shard, const struct mf_event *event,
                         bool by_prefix, size_t len)
{
    uint64_t hash = mf_watch_table_hash(table, mf_bytes_of(event->key.data, len));
    for (struct mf_watcher *at = *bucket_of(table, hash); at != NULL; at = at->next) {
        const struct mf_watch_want *want = &at->order->want;
        if (at->hash == hash && want->by_prefix == by_prefix && want->pattern.len == len &&
            mf_watcher_wants(at, shard, event))
            add_match(table, at);
    }
}

void mf_watch_table_match(struct mf_watch_table *table, uint32_t shard,
                          const struct mf_event *event)
{
    table->match_count = 0;
    for (size_t len = 0; len < table->lengths && len <= event->key.len; len++) {
        if (table->with_length[len] > 0)
            find_matches(table, shard, event, true, len);
    }
    find_matches(table, shard, event, false, event->key.len);
}
