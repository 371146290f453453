// What a node tells of itself in figures: added up over its reactors and the shards that it holds,
// each as it was last published. Any thread.
#ifndef MF_SERVER_FIGURES_H
#define MF_SERVER_FIGURES_H

#include <stdint.h>

#include "server/node.h"

struct mf_figures {
    uint64_t requests, errors, forwarded, crossed, shared_reads, turns, expired, elections_won;
    uint64_t snapshots_sent, snapshots_installed;
    uint64_t turn_us_max, walk_steps, walk_step_us_max, walk_steps_over_1ms;
    uint64_t walk_early_bytes_max, walk_holds;
    uint64_t wal_syncs, wal_bytes, wal_sync_us_max, wal_sync_us_total, wal_pending_bytes;
    uint64_t full, refused; // logs that are blocked
    // Of clients' connections, whatever they speak.
    uint64_t connections, connections_refused, input_bytes, output_bytes, inputs, outputs;
    uint64_t peer_input_bytes, peer_output_bytes; // of connections with other nodes
    // Of the shards.
    uint64_t keys, bytes, leading, held, ids, log_bytes, evicted;
    uint64_t led_keys, led_expiring; // of those that the node leads
    // While it led them: so that the sum over the nodes is that of the cluster.
    uint64_t led_expired, led_evicted;
    // For CLIENT TRACKING.
    uint64_t tracked_keys, tracked_items, tracked_bytes, tracked_prefixes;
};

// One reading of each shard's figures, so that those of one answer agree with each other.
struct mf_shard_figures {
    uint32_t id;
    bool leading;
    uint64_t applied, hash, keys, expiring, ids, evicted;
    uint64_t key_bytes, table_bytes, heap_bytes, id_bytes, log_bytes;
};

// Of the shards that this node holds; the caller frees them.
struct mf_shard_figures *mf_figures_read_shards(const struct mf_node *node, uint32_t *held);
void mf_figures_add_shards(struct mf_figures *figures, const struct mf_shard_figures *shards,
                           uint32_t held);
void mf_figures_add_reactors(struct mf_figures *figures, const struct mf_node *node);

#endif
