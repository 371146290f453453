// Bringing keys into the cache; see ahead.h.
#include "server/ahead.h"

#include <assert.h>

#include "base/slots.h"
#include "server/read_gate.h"
#include "server/replica.h"
#include "server/watchers.h"
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
    bool at_once = false;
    for (uint32_t i = 0; i < reactor->shard_count && bytes <= CACHED_BYTES; i++) {
        const struct mf_owned_shard *shard = &reactor->shards[i];
        bytes +=
            atomic_load_explicit(&reactor->node->shards[shard->id].bytes, memory_order_relaxed);
        at_once |= shard->replica != NULL && mf_replica_writes_at_once(shard->replica);
    }
    reactor->looks_ahead = bytes > CACHED_BYTES;
    reactor->writes_ahead = reactor->looks_ahead && at_once;
}

// Keys on their way. Each step reads what the one before it has begun to bring, for all of them.
struct ahead {
    uint32_t count;
    struct key {
        uint32_t number;
        bool write;
        const struct mf_owned_shard *owned;
        struct mf_replica *replica;
        struct mf_bytes bytes;
    } keys[MF_AHEAD_KEYS];
};

static void add(struct ahead *ahead, struct mf_reactor *reactor, struct mf_bytes key, bool write)
{
    if (key.len > KEY_BYTES_MAX || (write && !reactor->writes_ahead))
        return;
    uint32_t number = mf_shard_of_key(key, reactor->node->config.shards);
    if (mf_reactor_of_shard(reactor->node, number) != reactor->index)
        return; // it may grow meanwhile, or go
    assert(ahead->count < MF_AHEAD_KEYS);
    ahead->keys[ahead->count++] =
        (struct key){number, write, mf_reactor_shard(reactor, number), NULL, key};
}

static void drop_homeless(struct ahead *ahead)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < ahead->count; i++) {
        ahead->keys[i].replica = ahead->keys[i].owned->replica;
        if (ahead->keys[i].replica != NULL)
            ahead->keys[kept++] = ahead->keys[i];
    }
    ahead->count = kept;
}

// On the way from a number to a shard there are as many misses as from there to the value.
static void look_for_shards(struct ahead *ahead, struct mf_reactor *reactor)
{
    for (uint32_t i = 0; i < ahead->count; i++) {
        const struct key *key = &ahead->keys[i];
        __builtin_prefetch(key->owned);
        if (key->write) {
            __builtin_prefetch(&key->owned->checkpoint, 1);
            mf_watchers_prefetch(key->owned);
        } else {
            mf_read_gate_prefetch(mf_read_gate_at(reactor->node->gates, key->number),
                                  reactor->gate_reader, key->number);
        }
    }
    drop_homeless(ahead);
    const struct key *end = ahead->keys + ahead->count;
    for (const struct key *key = ahead->keys; key < end; key++) {
        mf_replica_prefetch(key->replica);
        if (!key->write)
            mf_read_gate_prefetch_reader(reactor->gate_reader, key->number);
    }
    for (const struct key *key = ahead->keys; key < end; key++) {
        mf_shard_prefetch(mf_replica_shard(key->replica), key->write);
        if (key->write)
            mf_paxos_prefetch(mf_replica_paxos(key->replica));
    }
    for (const struct key *key = ahead->keys; key < end; key++) {
        mf_shard_prefetch_map(mf_replica_shard(key->replica), key->write);
        if (key->write)
            mf_watchers_prefetch_end(key->owned);
    }
    for (const struct key *key = ahead->keys; key < end; key++) {
        if (key->write)
            mf_shard_prefetch_limbo(mf_replica_shard(key->replica));
    }
}

uint32_t mf_ahead_look(struct mf_reactor *reactor, struct mf_bytes input, mf_ahead_peek *peek)
{
    struct ahead ahead;
    ahead.count = 0;
    struct mf_bytes key;
    bool write;
    uint32_t looked_at = 0;
    size_t size;
    while (looked_at < MF_AHEAD_KEYS && (size = peek(input, &key, &write)) > 0) {
        add(&ahead, reactor, key, write);
        looked_at++;
        input = mf_bytes_of(input.data + size, input.len - size);
    }
    if (reactor->shard_count >= SCATTERED_SHARDS)
        look_for_shards(&ahead, reactor);
    else
        drop_homeless(&ahead);
    struct mf_map_ahead places[MF_AHEAD_KEYS];
    for (uint32_t i = 0; i < ahead.count; i++)
        places[i] =
            mf_shard_prefetch_place(mf_replica_shard(ahead.keys[i].replica), ahead.keys[i].bytes);
    mf_map_prefetch_entries(places, ahead.count);
    return looked_at;
}
