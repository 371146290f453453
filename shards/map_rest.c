// Tables that were taken out of the map as a whole; see mf_map_detach in map.h.
//
// To take millions of entries out one by one would hold everything else up, so the table is
// exchanged for an empty one, and the old one is given back piece by piece whenever there is time:
// entries and overflow buckets, then the segment that their buckets stand in, at last the
// directory. Nothing in it changes. A reader that came before the exchange may be anywhere in it,
// and what it can reach stays: a piece is retired later than it was unlinked, which the epoch
// allows.
#include <stdlib.h>

#include "shards/map_internal.h"

struct mf_map_rest {
    struct mf_directory *directory;
    uint64_t buckets;
    uint64_t next; // the first bucket that is still to be gone through
    size_t table_bytes;
};

struct mf_map_rest *mf_map_detach(struct mf_map *map)
{
    struct mf_map_rest *rest = mf_alloc(sizeof(*rest));
    *rest = (struct mf_map_rest){
        .directory = mf_map_directory(map),
        .buckets = mf_map_bucket_count(map),
        .table_bytes = map->segment_bytes + map->chains.bucket_bytes,
    };
    map->waiting_bytes += rest->table_bytes + map->entry_bytes;
    map->entry_bytes = 0;
    map->rests++;
    mf_map_start_table(map);
    return rest;
}

static struct mf_bucket *segment_of(const struct mf_map_rest *rest, uint64_t index)
{
    return atomic_load_explicit(&rest->directory->segments[mf_map_segment(index)],
                                memory_order_relaxed);
}

static size_t drain_bucket(struct mf_map *map, struct mf_bucket *bucket,
                           void (*visit)(void *arg, struct mf_entry *entry), void *arg)
{
    size_t entries = 0;
    unsigned used = mf_bucket_used(atomic_load_explicit(&bucket->word, memory_order_relaxed));
    for (; used != 0; used &= used - 1, entries++) {
        struct mf_entry *entry = mf_bucket_entry(bucket, (unsigned)__builtin_ctz(used));
        if (visit != NULL)
            visit(arg, entry);
        mf_map_retire_waiting(map, entry);
    }
    return entries;
}

// Returns how much work it was.
static size_t drain_next(struct mf_map *map, struct mf_map_rest *rest,
                         void (*visit)(void *arg, struct mf_entry *entry), void *arg)
{
    struct mf_bucket *segment = segment_of(rest, rest->next);
    struct mf_bucket *head = segment + mf_map_offset(rest->next);
    size_t work = 0;
    for (struct mf_bucket *bucket = head; bucket != NULL;) {
        struct mf_bucket *more = mf_bucket_next(bucket);
        work += 1 + drain_bucket(map, bucket, visit, arg);
        if (bucket != head)
            mf_map_retire_memory(map, bucket);
        bucket = more;
    }
    rest->next++;
    if (rest->next == rest->buckets || segment_of(rest, rest->next) != segment)
        mf_map_retire_memory(map, segment);
    return work;
}

bool mf_map_drain(struct mf_map *map, struct mf_map_rest *rest, size_t *work,
                  void (*visit)(void *arg, struct mf_entry *entry), void *arg)
{
    do {
        size_t done = drain_next(map, rest, visit, arg);
        *work -= done < *work ? done : *work;
    } while (rest->next<rest->buckets && * work> 0);
    bool more = rest->next < rest->buckets;
    if (!more) {
        mf_map_retire_memory(map, rest->directory);
        map->waiting_bytes -= rest->table_bytes;
        map->rests--;
        free(rest);
    }
    mf_map_poll(map);
    return more;
}
