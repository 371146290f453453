// Bringing keys into the cache; see ahead.h.
#include "server/ahead.h"

#include <assert.h>

#include "base/slots.h"
#include "server/read_gate.h"
#include "server/replica.h"
#include "shards/map.h"
#include "shards/shard.h"

#define KEY_BYTES_MAX 256u // nobody looks at a longer one before its turn
// Fewer shards are in the cache anyhow, up to their maps.
#define SCATTERED_SHARDS 64u
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

// Keys on their way. Each step reads what the one before it has begun to bring, for all of them.
struct ahead {
    uint32_t count;
    struct {
        uint32_t number;
        struct mf_owned_shard *owned;
        struct mf_bytes key;
    } keys[MF_AHEAD_KEYS];
};

static void add(struct ahead *ahead, struct mf_reactor *reactor, struct mf_bytes key)
{
    if (key.len > KEY_BYTES_MAX)
        return;
    uint32_t number = mf_shard_of_key(key, reactor->node->config.shards);
    if (mf_reactor_of_shard(reactor->node, number) != reactor->index)
        return; // it may grow meanwhile, or go
    assert(ahead->count < MF_AHEAD_KEYS);
    ahead->keys[ahead->count].number = number;
    ahead->keys[ahead->count].owned = mf_reactor_shard(reactor, number);
    ahead->keys[ahead->count].key = key;
    ahead->count++;
}

// On the way from a number to a shard there are as many misses as from there to the value.
static void look_for_shards(const struct ahead *ahead, struct mf_reactor *reactor)
{
    for (uint32_t i = 0; i < ahead->count; i++) {
        __builtin_prefetch(&ahead->keys[i].owned->replica);
        mf_read_gate_prefetch(mf_read_gate_at(reactor->node->gates, ahead->keys[i].number),
                              reactor->gate_reader, ahead->keys[i].number);
    }
    for (uint32_t i = 0; i < ahead->count; i++) {
        if (ahead->keys[i].owned->replica != NULL)
            mf_replica_prefetch(ahead->keys[i].owned->replica);
        mf_read_gate_prefetch_reader(reactor->gate_reader, ahead->keys[i].number);
    }
    for (uint32_t i = 0; i < ahead->count; i++) {
        if (ahead->keys[i].owned->replica != NULL)
            mf_shard_prefetch(mf_replica_shard(ahead->keys[i].owned->replica));
    }
    for (uint32_t i = 0; i < ahead->count; i++) {
        if (ahead->keys[i].owned->replica != NULL)
            mf_shard_prefetch_map(mf_replica_shard(ahead->keys[i].owned->replica));
    }
}

uint32_t mf_ahead_look(struct mf_reactor *reactor, struct mf_bytes input, mf_ahead_peek *peek)
{
    struct ahead ahead;
    ahead.count = 0;
    struct mf_bytes key;
    uint32_t looked_at = 0;
    size_t size;
    while (looked_at < MF_AHEAD_KEYS && (size = peek(input, &key)) > 0) {
        add(&ahead, reactor, key);
        looked_at++;
        input = mf_bytes_of(input.data + size, input.len - size);
    }
    if (reactor->shard_count >= SCATTERED_SHARDS)
        look_for_shards(&ahead, reactor);
    struct mf_map_ahead places[MF_AHEAD_KEYS];
    uint32_t count = 0;
    for (uint32_t i = 0; i < ahead.count; i++) {
        struct mf_replica *replica = ahead.keys[i].owned->replica;
        if (replica != NULL)
            places[count++] = mf_shard_prefetch_place(mf_replica_shard(replica), ahead.keys[i].key);
    }
    mf_map_prefetch_entries(places, count);
    return looked_at;
}
