// INFO's sections about what the node has done; see resp_info.h.
#include "server/resp_info.h"

#include <inttypes.h>
#include <sys/resource.h>

#include "base/counter.h"
#include "server/resp_heard.h"

// What is counted since the start, or since CONFIG RESETSTAT.
static uint64_t since(uint64_t count, const _Atomic uint64_t *base)
{
    uint64_t before = mf_counter_read(base);
    return count > before ? count - before : 0;
}

static void put_zeros(struct mf_resp_info *info, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        mf_resp_info_line(info, "%s:0", names[i]);
}
#define PUT_ZEROS(info, names) put_zeros(info, names, sizeof(names) / sizeof((names)[0]))

static void put_kbps(struct mf_resp_info *info, const char *name, const struct mf_rate *rate)
{
    mf_resp_info_line(info, "instantaneous_%s_kbps:%.2f", name, (double)mf_rate_read(rate) / 1024);
}

// What nodes send each other is Redis's replication.
static void put_traffic(struct mf_resp_info *info)
{
    const struct mf_figures *figures = &info->figures;
    const struct mf_resp_node *own = info->own;
    mf_resp_info_line(info, "total_connections_received:%" PRIu64,
                      since(figures->connections, &own->base.connections));
    mf_resp_info_line(info, "total_commands_processed:%" PRIu64, info->sum.calls);
    mf_resp_info_line(info, "instantaneous_ops_per_sec:%" PRIu64, mf_rate_read(&own->calls));
    mf_resp_info_line(info, "total_net_input_bytes:%" PRIu64,
                      since(figures->input_bytes, &own->base.input_bytes));
    mf_resp_info_line(info, "total_net_output_bytes:%" PRIu64,
                      since(figures->output_bytes, &own->base.output_bytes));
    mf_resp_info_line(info, "total_net_repl_input_bytes:%" PRIu64, figures->peer_input_bytes);
    mf_resp_info_line(info, "total_net_repl_output_bytes:%" PRIu64, figures->peer_output_bytes);
    put_kbps(info, "input", &own->input_bytes);
    put_kbps(info, "output", &own->output_bytes);
    put_kbps(info, "input_repl", &own->peer_input_bytes);
    put_kbps(info, "output_repl", &own->peer_output_bytes);
    mf_resp_info_line(info, "rejected_connections:%" PRIu64,
                      since(figures->connections_refused, &own->base.connections_refused));
}

void mf_resp_info_stats(struct mf_resp_info *info)
{
    // There are no replicas of Redis's kind, forks, scripts nor defragmentation.
    static const char *const sync[] = {"sync_full", "sync_partial_ok", "sync_partial_err"};
    static const char *const none[] = {"pubsubshard_channels", // nobody can listen to such
                                       "latest_fork_usec",
                                       "total_forks",
                                       "migrate_cached_sockets",
                                       "slave_expires_tracked_keys",
                                       "active_defrag_hits",
                                       "active_defrag_misses",
                                       "active_defrag_key_hits",
                                       "active_defrag_key_misses",
                                       "total_active_defrag_time",
                                       "current_active_defrag_time",
                                       "unexpected_error_replies",
                                       "dump_payload_sanitizations",
                                       "io_threaded_reads_processed",
                                       "io_threaded_writes_processed"};
    const struct mf_figures *figures = &info->figures;
    const struct mf_resp_base *base = &info->own->base;
    put_traffic(info);
    PUT_ZEROS(info, sync);
    mf_resp_info_line(info, "expired_keys:%" PRIu64, since(figures->led_expired, &base->expired));
    mf_resp_info_line(info, "expired_stale_perc:0.00");
    mf_resp_info_line(info, "evicted_keys:%" PRIu64, since(figures->led_evicted, &base->evicted));
    mf_resp_info_line(info, "evicted_clients:0");
    mf_resp_info_line(info, "keyspace_hits:%" PRIu64, info->sum.hits);
    mf_resp_info_line(info, "keyspace_misses:%" PRIu64, info->sum.misses);
    mf_resp_info_line(info, "pubsub_channels:%" PRIu64, mf_resp_heard_channels(info->own->heard));
    mf_resp_info_line(info, "pubsub_patterns:%" PRIu64, mf_resp_heard_patterns(info->own->heard));
    PUT_ZEROS(info, none);
    mf_resp_info_line(info, "tracking_total_keys:%" PRIu64, figures->tracked_keys);
    mf_resp_info_line(info, "tracking_total_items:%" PRIu64, figures->tracked_items);
    mf_resp_info_line(info, "tracking_total_prefixes:%" PRIu64, figures->tracked_prefixes);
    mf_resp_info_line(info, "total_error_replies:%" PRIu64, info->sum.errors);
    mf_resp_info_line(info, "total_reads_processed:%" PRIu64,
                      since(figures->inputs, &base->inputs));
    mf_resp_info_line(info, "total_writes_processed:%" PRIu64,
                      since(figures->outputs, &base->outputs));
}

// Copies are within the shards: to a client every node is a master without replicas.
void mf_resp_info_replication(struct mf_resp_info *info)
{
    mf_resp_info_line(info, "role:master");
    mf_resp_info_line(info, "connected_slaves:0");
    mf_resp_info_line(info, "master_failover_state:no-failover");
    mf_resp_info_line(info, "master_replid:%s", info->own->replication_id);
    mf_resp_info_line(info, "master_replid2:%040d", 0);
    mf_resp_info_line(info, "master_repl_offset:0");
    mf_resp_info_line(info, "second_repl_offset:-1");
    mf_resp_info_line(info, "repl_backlog_active:0");
    mf_resp_info_line(info, "repl_backlog_size:0");
    mf_resp_info_line(info, "repl_backlog_first_byte_offset:0");
    mf_resp_info_line(info, "repl_backlog_histlen:0");
}

static void put_seconds(struct mf_resp_info *info, const char *name, struct timeval time)
{
    mf_resp_info_line(info, "%s:%ld.%06ld", name, (long)time.tv_sec, (long)time.tv_usec);
}

void mf_resp_info_cpu(struct mf_resp_info *info)
{
    struct rusage own = {0};
    struct rusage children = {0};
    (void)getrusage(RUSAGE_SELF, &own);
    (void)getrusage(RUSAGE_CHILDREN, &children);
    put_seconds(info, "used_cpu_sys", own.ru_stime);
    put_seconds(info, "used_cpu_user", own.ru_utime);
    put_seconds(info, "used_cpu_sys_children", children.ru_stime);
    put_seconds(info, "used_cpu_user_children", children.ru_utime);
}

void mf_resp_info_modules(struct mf_resp_info *info)
{
    (void)info; // none
}

// Of all reactors.
static struct mf_resp_row_sum sum_of(const struct mf_node *node, const struct mf_resp_row *row)
{
    struct mf_resp_row_sum sum = {0};
    for (uint32_t i = 0; i < node->reactor_count; i++)
        mf_resp_stats_add_row(node->reactors[i]->resp->stats, row, &sum);
    return sum;
}

void mf_resp_info_commandstats(struct mf_resp_info *info)
{
    size_t count;
    const struct mf_resp_row *rows = mf_resp_rows(&count);
    for (size_t i = 0; i < count; i++) {
        struct mf_resp_row_sum sum = sum_of(info->node, &rows[i]);
        if (sum.calls + sum.rejected == 0)
            continue;
        mf_resp_info_line(info,
                          "cmdstat_%s:calls=%" PRIu64 ",usec=%" PRIu64 ",usec_per_call=%.2f"
                          ",rejected_calls=%" PRIu64 ",failed_calls=%" PRIu64,
                          rows[i].name, sum.calls, sum.us,
                          sum.calls > 0 ? (double)sum.us / (double)sum.calls : 0, sum.rejected,
                          sum.failed);
    }
}

void mf_resp_info_errorstats(struct mf_resp_info *info)
{
    struct mf_resp_error_sum sum = {0};
    for (uint32_t i = 0; i < info->node->reactor_count; i++)
        mf_resp_stats_add_errors(info->node->reactors[i]->resp->stats, &sum);
    for (uint32_t i = 0; i < sum.count; i++)
        mf_resp_info_line(info, "errorstat_%s:count=%" PRIu64, sum.errors[i].name,
                          sum.errors[i].count);
}

void mf_resp_info_latencystats(struct mf_resp_info *info)
{
    size_t count;
    const struct mf_resp_row *rows = mf_resp_rows(&count);
    for (size_t i = 0; i < count; i++) {
        struct mf_resp_row_sum sum = sum_of(info->node, &rows[i]);
        if (sum.calls == 0)
            continue; // without looking through its histograms
        struct mf_resp_times times = {0};
        for (uint32_t j = 0; j < info->node->reactor_count; j++)
            mf_resp_stats_add_times(info->node->reactors[j]->resp->stats, &rows[i], &times);
        if (times.count > 0)
            mf_resp_info_line(info, "latency_percentiles_usec_%s:p50=%.3f,p99=%.3f,p99.9=%.3f",
                              rows[i].name, (double)mf_resp_times_percentile(&times, 50),
                              (double)mf_resp_times_percentile(&times, 99),
                              (double)mf_resp_times_percentile(&times, 99.9));
    }
}

void mf_resp_info_cluster(struct mf_resp_info *info)
{
    mf_resp_info_line(info, "cluster_enabled:%d", info->session->cluster);
}

// Of the shards that this node leads, so that the sum over the nodes is that of the cluster.
void mf_resp_info_keyspace(struct mf_resp_info *info)
{
    if (info->figures.led_keys > 0)
        mf_resp_info_line(info, "db0:keys=%" PRIu64 ",expires=%" PRIu64 ",avg_ttl=0",
                          info->figures.led_keys, info->figures.led_expiring);
}

void mf_resp_info_mayfly(struct mf_resp_info *info)
{
    static const char *const durability[] = {
        [MF_DURABILITY_FSYNC] = "fsync", [MF_DURABILITY_OS] = "os", [MF_DURABILITY_NONE] = "none"};
    const struct mf_figures *figures = &info->figures;
    const struct mf_node *node = info->node;
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"node", node->config.id},
        {"threads", node->reactor_count},
        {"shards", node->config.shards},
        {"shards_held", figures->held},
        {"shards_leading", figures->leading},
        {"elections_won", figures->elections_won},
        {"requests", figures->requests},
        {"errors", figures->errors},
        {"forwarded", figures->forwarded},
        {"crossed_reactors", figures->crossed},
        {"shared_reads", figures->shared_reads},
        {"turn_us_max", figures->turn_us_max},
        {"keys_held", figures->keys},
        {"ids", figures->ids},
        {"store_bytes", figures->bytes},
        {"log_bytes", figures->log_bytes},
        {"watches", atomic_load_explicit(&node->watches, memory_order_relaxed)},
        {"tracking_bytes", figures->tracked_bytes},
        {"snapshots_sent", figures->snapshots_sent},
        {"snapshots_installed", figures->snapshots_installed},
        {"wal_syncs", figures->wal_syncs},
        {"wal_bytes", figures->wal_bytes},
        {"wal_sync_us_max", figures->wal_sync_us_max},
        {"wal_sync_us_total", figures->wal_sync_us_total},
        {"wal_pending_bytes", figures->wal_pending_bytes},
        {"disk_full", figures->full > 0},
        {"disk_failing", figures->refused > 0},
    };
    mf_resp_info_line(info, "mayfly_cluster:%s", node->config.name);
    mf_resp_info_line(info, "mayfly_durability:%s", durability[node->config.durability]);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        mf_resp_info_line(info, "mayfly_%s:%" PRIu64, rows[i].name, rows[i].value);
}
