// A shard's figures on their way to other threads; see status.h.
#include "server/status.h"

// Adds what a counter of the state has grown by since it was last published; one of another state,
// which took this one's place, begins anew.
static void add_growth(_Atomic uint64_t *sum, _Atomic uint64_t *published, uint64_t now)
{
    uint64_t before = mf_counter_read(published);
    if (now > before)
        mf_counter_add(sum, now - before);
}

// The node leads the shard: what dies now dies by its doing.
static void count_deaths(struct mf_reactor *reactor, struct mf_shard_status *status,
                         const struct mf_shard *shard)
{
    struct mf_shard_counters counters;
    mf_shard_counters(shard, &counters);
    add_growth(&reactor->counters.led_expired, &status->expired, counters.expired);
    add_growth(&reactor->counters.led_evicted, &status->evicted, counters.evicted);
}

static void publish_memory(struct mf_shard_status *status, const struct mf_shard *shard)
{
    struct mf_shard_memory memory;
    struct mf_shard_counters counters;
    mf_shard_memory(shard, &memory);
    mf_shard_counters(shard, &counters);
    atomic_store_explicit(&status->keys, memory.keys, memory_order_relaxed);
    atomic_store_explicit(&status->expiring, memory.expiring, memory_order_relaxed);
    atomic_store_explicit(&status->ids, memory.ids, memory_order_relaxed);
    atomic_store_explicit(&status->bytes, memory.bytes, memory_order_relaxed);
    atomic_store_explicit(&status->key_bytes, memory.key_bytes, memory_order_relaxed);
    atomic_store_explicit(&status->id_bytes, memory.id_bytes, memory_order_relaxed);
    atomic_store_explicit(&status->table_bytes, memory.table_bytes, memory_order_relaxed);
    atomic_store_explicit(&status->heap_bytes, memory.heap_bytes, memory_order_relaxed);
    atomic_store_explicit(&status->expired, counters.expired, memory_order_relaxed);
    atomic_store_explicit(&status->evicted, counters.evicted, memory_order_relaxed);
}

void mf_status_publish(struct mf_owned_shard *shard, const struct mf_replica_env *env)
{
    struct mf_shard_status *status = &shard->reactor->node->shards[shard->id];
    struct mf_replica_info info;
    mf_replica_info(shard->replica, env, &info);
    atomic_store_explicit(&status->leader, info.leader, memory_order_relaxed);
    atomic_store_explicit(&status->ballot, info.ballot, memory_order_relaxed);
    atomic_store_explicit(&status->chosen, info.chosen, memory_order_relaxed);
    // With chosen, to whoever loads it first with acquire: never beyond it.
    atomic_store_explicit(&status->applied, info.applied, memory_order_release);
    atomic_store_explicit(&status->first, info.first, memory_order_relaxed);
    atomic_store_explicit(&status->log_bytes, mf_paxos_log_bytes(mf_replica_paxos(shard->replica)),
                          memory_order_relaxed);
    if (info.leader == shard->reactor->node->config.id)
        count_deaths(shard->reactor, status, mf_replica_shard(shard->replica));
    publish_memory(status, mf_replica_shard(shard->replica));
    atomic_store_explicit(&status->hash, mf_shard_rolling_hash(mf_replica_shard(shard->replica)),
                          memory_order_relaxed);
}
