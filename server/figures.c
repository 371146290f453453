// Figures of the node; see figures.h.
#include "server/figures.h"

#include "consensus/wal.h"
#include "server/reactor.h"

#define LOAD(value) atomic_load_explicit(&(value), memory_order_relaxed)

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void add_reactor(struct mf_figures *figures, struct mf_reactor *reactor)
{
    const struct mf_reactor_counters *counters = &reactor->counters;
    figures->requests += LOAD(counters->requests);
    figures->errors += LOAD(counters->errors);
    figures->forwarded += LOAD(counters->forwarded);
    figures->crossed += LOAD(counters->crossed);
    figures->shared_reads += LOAD(counters->shared_reads);
    figures->turns += LOAD(counters->turns);
    figures->expired += LOAD(counters->expired);
    figures->elections_won += LOAD(counters->elections_won);
    figures->snapshots_sent += LOAD(counters->snapshots_sent);
    figures->snapshots_installed += LOAD(counters->snapshots_installed);
    figures->turn_us_max = larger(figures->turn_us_max, LOAD(counters->turn_us_max));
    figures->walk_steps += LOAD(counters->walk_steps);
    figures->walk_steps_over_1ms += LOAD(counters->walk_steps_over_1ms);
    figures->walk_step_us_max = larger(figures->walk_step_us_max, LOAD(counters->walk_step_us_max));
    figures->walk_early_bytes_max =
        larger(figures->walk_early_bytes_max, LOAD(counters->walk_early_bytes_max));
    figures->walk_holds += LOAD(counters->walk_holds);
    figures->connections += LOAD(counters->connections);
    figures->connections_refused += LOAD(counters->connections_refused);
    figures->led_expired += LOAD(counters->led_expired);
    figures->led_evicted += LOAD(counters->led_evicted);
    figures->tracked_keys += LOAD(counters->tracked_keys);
    figures->tracked_items += LOAD(counters->tracked_items);
    figures->tracked_bytes += LOAD(counters->tracked_bytes);
    figures->tracked_prefixes += LOAD(counters->tracked_prefixes);
    struct mf_conn_traffic traffic;
    mf_conn_pool_traffic(reactor->pool, &traffic);
    figures->input_bytes += traffic.input_bytes;
    figures->output_bytes += traffic.output_bytes;
    figures->inputs += traffic.inputs;
    figures->outputs += traffic.outputs;
    mf_conn_pool_traffic(reactor->peer_pool, &traffic);
    figures->peer_input_bytes += traffic.input_bytes;
    figures->peer_output_bytes += traffic.output_bytes;
    if (reactor->wal == NULL)
        return;
    struct mf_wal_stats stats;
    mf_wal_stats(reactor->wal, &stats);
    figures->wal_syncs += stats.syncs;
    figures->wal_bytes += stats.bytes;
    figures->wal_sync_us_total += stats.sync_us_total;
    figures->wal_sync_us_max = larger(figures->wal_sync_us_max, stats.sync_us_max);
    figures->wal_pending_bytes += mf_wal_pending_bytes(reactor->wal);
    figures->full += mf_wal_blocked(reactor->wal) == MF_WAL_FULL;
    figures->refused += mf_wal_blocked(reactor->wal) == MF_WAL_REFUSED;
}

void mf_figures_add_reactors(struct mf_figures *figures, const struct mf_node *node)
{
    for (uint32_t i = 0; i < node->reactor_count; i++)
        add_reactor(figures, node->reactors[i]);
}

struct mf_shard_figures *mf_figures_read_shards(const struct mf_node *node, uint32_t *held)
{
    struct mf_shard_figures *all = mf_alloc(node->config.shards * sizeof(*all));
    *held = 0;
    for (uint32_t i = 0; i < node->config.shards; i++) {
        const struct mf_shard_status *status = &node->shards[i];
        if (!mf_node_holds(node, i))
            continue;
        all[(*held)++] = (struct mf_shard_figures){
            .id = i,
            .leading = LOAD(status->leader) == node->config.id,
            .applied = LOAD(status->applied),
            .hash = LOAD(status->hash),
            .keys = LOAD(status->keys),
            .expiring = LOAD(status->expiring),
            .ids = LOAD(status->ids),
            .evicted = LOAD(status->evicted),
            .key_bytes = LOAD(status->key_bytes),
            .table_bytes = LOAD(status->table_bytes),
            .heap_bytes = LOAD(status->heap_bytes),
            .id_bytes = LOAD(status->id_bytes),
            .log_bytes = LOAD(status->log_bytes),
        };
    }
    return all;
}

void mf_figures_add_shards(struct mf_figures *figures, const struct mf_shard_figures *shards,
                           uint32_t held)
{
    figures->held = held;
    for (uint32_t i = 0; i < held; i++) {
        const struct mf_shard_figures *shard = &shards[i];
        figures->keys += shard->keys;
        figures->bytes +=
            shard->key_bytes + shard->table_bytes + shard->heap_bytes + shard->id_bytes;
        figures->ids += shard->ids;
        figures->log_bytes += shard->log_bytes;
        figures->evicted += shard->evicted;
        figures->leading += shard->leading;
        figures->led_keys += shard->leading ? shard->keys : 0;
        figures->led_expiring += shard->leading ? shard->expiring : 0;
    }
}
