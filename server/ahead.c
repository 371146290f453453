// Bringing keys into the cache; see ahead.h.
#include "server/ahead.h"

#include <assert.h>

#include "base/slots.h"
#include "server/replica.h"
#include "shards/shard.h"

#define KEY_BYTES_MAX 256u // nobody looks at a longer one before its turn
// About what a processor keeps near itself.
#define CACHED_BYTES (UINT64_C(1) << 20)

void mf_ahead_tick(struct mf_reactor *reactor)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < reactor->shard_count && bytes <= CACHED_BYTES; i++)
        bytes += atomic_load_explicit(&reactor->node->shards[reactor->shards[i].id].bytes,
                                      memory_order_relaxed);
    reactor->looks_ahead = bytes > CACHED_BYTES;
}

// Keys on their way.
struct ahead {
    uint32_t count;
    struct {
        const struct mf_shard *shard;
        uint64_t hash;
    } keys[MF_AHEAD_KEYS];
};

static void add(struct ahead *ahead, struct mf_reactor *reactor, struct mf_bytes key)
{
    if (key.len > KEY_BYTES_MAX)
        return;
    uint32_t number = mf_shard_of_key(key, reactor->node->config.shards);
    if (mf_reactor_of_shard(reactor->node, number) != reactor->index)
        return; // it may grow meanwhile, or go
    struct mf_replica *replica = mf_reactor_shard(reactor, number)->replica;
    if (replica == NULL)
        return;
    assert(ahead->count < MF_AHEAD_KEYS);
    const struct mf_shard *shard = mf_replica_shard(replica);
    ahead->keys[ahead->count].shard = shard;
    ahead->keys[ahead->count].hash = mf_shard_prefetch_place(shard, key);
    ahead->count++;
}

uint32_t mf_ahead_look(struct mf_reactor *reactor, struct mf_bytes input, mf_ahead_peek *peek)
{
    struct ahead ahead = {0};
    struct mf_bytes key;
    uint32_t looked_at = 0;
    size_t size;
    while (looked_at < MF_AHEAD_KEYS && (size = peek(input, &key)) > 0) {
        add(&ahead, reactor, key);
        looked_at++;
        input = mf_bytes_of(input.data + size, input.len - size);
    }
    for (uint32_t i = 0; i < ahead.count; i++)
        mf_shard_prefetch_entry(ahead.keys[i].shard, ahead.keys[i].hash);
    return looked_at;
}
