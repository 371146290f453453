// All keys at once.
//
// A flush takes the same time however many keys there are: it exchanges the table and the heap for
// empty ones. What was in them is a shed. A walk that has not seen its keys yet goes on over the
// shed instead of the map, in its own steps, and frees it as it goes; any other shed is freed by
// mf_shard_reclaim, a step each time. A step does more than what was put into the shard since the
// last one can cost, so sheds do not pile up however often keys are flushed.
//
// Only a walk's sheds may wait, and there is one at most: entries that were made after the cut are
// not for the walk, and all entries of a second shed were.
#include <assert.h>
#include <stdlib.h>

#include "base/hash.h"
#include "shards/shard_internal.h"

// One step: entries, buckets, chunks of the heap, and sheds. Each version is that of one entry or
// of one flush, which leaves at least 4 buckets and an entry.
#define STEP_WORK 512u
#define WORK_PER_VERSION 4u
// More keys than these, or of more bytes, are told as one.
#define TOLD_KEYS_MAX 4096u
#define TOLD_BYTES_MAX (1u << 20)

static void free_shed(struct mf_shed *shed)
{
    assert(shed->table == NULL && shed->heap.chunk_count == 0);
    free(shed);
}

// False: all of it is freed.
static bool free_some(struct mf_shard *shard, struct mf_shed *shed, size_t *work)
{
    if (shed->table != NULL && mf_map_drain(shard->keys, shed->table, work, NULL, NULL))
        return true;
    shed->table = NULL;
    size_t bytes = mf_heap_bytes(&shed->heap);
    uint32_t chunks = *work < shed->heap.chunk_count ? (uint32_t)*work : shed->heap.chunk_count;
    bool more = mf_heap_free_some(&shed->heap, chunks);
    *work -= chunks;
    shard->shed_heap_bytes -= bytes - mf_heap_bytes(&shed->heap);
    return more;
}

static void free_sheds(struct mf_shard *shard, size_t work)
{
    while (shard->sheds != NULL && work > 0) {
        struct mf_shed *shed = shard->sheds;
        if (free_some(shard, shed, &work))
            return;
        shard->sheds = shed->next;
        free_shed(shed);
        work -= work > 0;
    }
}

void mf_shed_put(struct mf_shard *shard, struct mf_shed *shed)
{
    shed->next = NULL;
    if (shard->sheds == NULL)
        shard->sheds = shed;
    else
        shard->sheds_last->next = shed;
    shard->sheds_last = shed;
}

void mf_shed_step(struct mf_shard *shard)
{
    uint64_t versions = shard->version - shard->shed_version;
    shard->shed_version = shard->version;
    if (shard->sheds != NULL)
        free_sheds(shard, STEP_WORK + WORK_PER_VERSION * (size_t)versions);
}

void mf_shed_all(struct mf_shard *shard)
{
    free_sheds(shard, SIZE_MAX);
}

bool mf_shard_littered(const struct mf_shard *shard)
{
    return shard->sheds != NULL;
}

static void count_dead(void *arg, const struct mf_heap_node *node)
{
    uint64_t *dead = arg;
    (void)node;
    ++*dead;
}

static void add_key_bytes(void *arg, struct mf_entry *entry)
{
    size_t *bytes = arg;
    *bytes += mf_entry_key(entry).len;
}

static enum mf_change_event event_of(const struct mf_shard *shard, const struct mf_entry *entry)
{
    return mf_entry_dead(entry, shard->log_time_us) ? MF_EVENT_EXPIRE : MF_EVENT_DEL;
}

static void tell_one(void *arg, struct mf_entry *entry)
{
    struct mf_shard *shard = arg;
    const struct mf_event one = {
        .event = event_of(shard, entry), .key = mf_entry_key(entry), .version = shard->version};
    shard->listener(shard->listener_arg, &one);
}

static void tell(struct mf_shard *shard)
{
    size_t key_bytes = 0;
    if (shard->listener == NULL)
        return;
    assert(!shard->journal.open); // no txn flushes
    // A table that may not shrink, or has had no time to, can be much larger than its keys.
    size_t table_bytes = mf_map_bytes(shard->keys) - mf_map_entry_bytes(shard->keys);
    bool few = mf_map_count(shard->keys) <= TOLD_KEYS_MAX && table_bytes <= TOLD_BYTES_MAX;
    if (few)
        mf_map_walk(shard->keys, 0, SIZE_MAX, add_key_bytes, &key_bytes);
    const struct mf_event all = {.event = MF_EVENT_FLUSH, .version = shard->version};
    if (few && key_bytes <= TOLD_BYTES_MAX)
        mf_map_walk(shard->keys, 0, SIZE_MAX, tell_one, shard);
    else
        shard->listener(shard->listener_arg, &all);
}

bool mf_shard_flushed(const struct mf_shard *shard, struct mf_bytes key,
                      enum mf_change_event *event)
{
    const struct mf_entry *entry = mf_map_find(shard->keys, key);
    if (entry != NULL)
        *event = event_of(shard, entry);
    return entry != NULL;
}

uint64_t mf_shard_drop_all(struct mf_shard *shard)
{
    size_t count = mf_map_count(shard->keys);
    uint64_t dead = 0;
    if (count == 0)
        return 0;
    shard->version++;
    mf_heap_visit_due(&shard->heap, shard->log_time_us, count_dead, &dead);
    tell(shard);
    struct mf_shed *shed = mf_alloc(sizeof(*shed));
    *shed = (struct mf_shed){.table = mf_map_detach(shard->keys), .heap = shard->heap};
    shard->shed_heap_bytes += mf_heap_bytes(&shed->heap);
    mf_heap_init(&shard->heap);
    if (!mf_walk_take(shard, shed))
        mf_shed_put(shard, shed);
    // The order of the keys is the map's own, so they are not mixed one by one.
    uint64_t hash = mf_hash_mix(shard->rolling_hash, MF_CHANGE_FLUSH);
    hash = mf_hash_mix(hash, count);
    shard->rolling_hash = mf_hash_mix(hash, shard->version);
    shard->expired += dead;
    return count - dead;
}
