// INFO: what tools that know Redis look at; see resp_info.h.
//
// All of it is of the node that is asked, over all its reactors, and read without stopping them.
#include "server/resp_info.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/counter.h"
#include "consensus/wal_ledger.h"
#include "server/snapshotter.h"

#define LINE_BYTES_MAX 1024u
// Each is looked for among the sections.
#define NAMES_MAX 1024u

void mf_resp_info_line(struct mf_resp_info *info, const char *format, ...)
{
    char text[LINE_BYTES_MAX];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    mf_buf_put(info->out, text, len < (int)sizeof(text) ? (size_t)len : sizeof(text) - 1);
    mf_buf_put(info->out, "\r\n", 2);
}

static uint16_t port_of(const char *address)
{
    const char *colon = strrchr(address, ':');
    return colon != NULL ? (uint16_t)strtoul(colon + 1, NULL, 10) : 0;
}

static void put_server(struct mf_resp_info *info)
{
    const struct mf_node *node = info->node;
    bool cluster = info->session->cluster;
    uint64_t up_s = (info->now_us - node->started_us) / 1000000;
    mf_resp_info_line(info, "redis_version:%s", MF_RESP_REDIS_VERSION);
    mf_resp_info_line(info, "mayfly_version:%s", MF_VERSION);
    mf_resp_info_line(info, "redis_git_sha1:00000000");
    mf_resp_info_line(info, "redis_git_dirty:0");
    mf_resp_info_line(info, "redis_build_id:0");
    mf_resp_info_line(info, "redis_mode:%s", cluster ? "cluster" : "standalone");
    mf_resp_info_line(info, "os:%s", info->own->os);
    mf_resp_info_line(info, "arch_bits:%u", (unsigned)(8 * sizeof(void *)));
    mf_resp_info_line(info, "monotonic_clock:POSIX clock_gettime");
    mf_resp_info_line(info, "multiplexing_api:%s",
                      ev_backend(info->session->client.reactor->loop) == EVBACKEND_EPOLL ? "epoll"
                                                                                         : "other");
    mf_resp_info_line(info, "atomicvar_api:c11-builtin");
    mf_resp_info_line(info, "gcc_version:%d.%d.%d", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
    mf_resp_info_line(info, "process_id:%d", (int)getpid());
    mf_resp_info_line(info, "process_supervised:%s",
                      getenv("NOTIFY_SOCKET") != NULL ? "systemd" : "no");
    mf_resp_info_line(info, "run_id:%s", info->own->run_id);
    mf_resp_info_line(info, "tcp_port:%u",
                      port_of(cluster ? node->addresses.resp_cluster : node->addresses.resp));
    mf_resp_info_line(info, "server_time_usec:%" PRIu64, mf_wall_us());
    mf_resp_info_line(info, "uptime_in_seconds:%" PRIu64, up_s);
    mf_resp_info_line(info, "uptime_in_days:%" PRIu64, up_s / 86400);
    mf_resp_info_line(info, "hz:50");
    mf_resp_info_line(info, "configured_hz:50");
    mf_resp_info_line(info, "executable:%s", info->own->executable);
    mf_resp_info_line(info, "io_threads_active:0");
}

static void put_clients(struct mf_resp_info *info)
{
    const struct mf_node *node = info->node;
    mf_resp_info_line(info, "connected_clients:%u",
                      atomic_load_explicit(&node->clients, memory_order_relaxed));
    mf_resp_info_line(info, "cluster_connections:0");
    mf_resp_info_line(info, "maxclients:%u",
                      atomic_load_explicit(&node->settings.clients_max, memory_order_relaxed));
    mf_resp_info_line(info, "blocked_clients:0");
    mf_resp_info_line(info, "tracking_clients:%u",
                      atomic_load_explicit(&node->resp_trackers, memory_order_relaxed));
    mf_resp_info_line(info, "clients_in_timeout_table:0");
}

// A number of bytes as Redis tells people.
static const char *human(char *out, size_t size, uint64_t bytes)
{
    static const char units[] = "BKMGTP";
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 2 < sizeof(units)) {
        value /= 1024;
        unit++;
    }
    if (unit == 0)
        snprintf(out, size, "%" PRIu64 "B", bytes);
    else
        snprintf(out, size, "%.2f%c", value, units[unit]);
    return out;
}

static void put_bytes(struct mf_resp_info *info, const char *name, uint64_t bytes)
{
    char text[32];
    mf_resp_info_line(info, "%s:%" PRIu64, name, bytes);
    mf_resp_info_line(info, "%s_human:%s", name, human(text, sizeof(text), bytes));
}

static double ratio(uint64_t a, uint64_t b)
{
    return b > 0 ? (double)a / (double)b : 0;
}

static int64_t more(uint64_t a, uint64_t b)
{
    return (int64_t)a - (int64_t)b;
}

// There are no scripts and no functions.
static void put_no_scripts(struct mf_resp_info *info)
{
    static const char *const names[] = {
        "used_memory_lua",          "used_memory_vm_eval",  "used_memory_scripts_eval",
        "number_of_cached_scripts", "number_of_functions",  "number_of_libraries",
        "used_memory_vm_functions", "used_memory_vm_total", "used_memory_functions",
        "used_memory_scripts",
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        mf_resp_info_line(info, "%s:0", names[i]);
    mf_resp_info_line(info, "used_memory_lua_human:0B");
    mf_resp_info_line(info, "used_memory_vm_total_human:0B");
    mf_resp_info_line(info, "used_memory_scripts_human:0B");
}

static void put_limit(struct mf_resp_info *info)
{
    static const char *const policies[] = {[MF_EVICT_NONE] = "noeviction",
                                           [MF_EVICT_VOLATILE_TTL] = "volatile-ttl",
                                           [MF_EVICT_ALLKEYS_LRU] = "allkeys-lru"};
    const struct mf_budget *budget = &info->node->budget;
    put_bytes(info, "maxmemory", atomic_load_explicit(&budget->bytes_max, memory_order_relaxed));
    mf_resp_info_line(info, "maxmemory_policy:%s",
                      policies[atomic_load_explicit(&budget->eviction, memory_order_relaxed)]);
}

// Several reactors may tell at once.
static uint64_t raise_peak(_Atomic uint64_t *peak, uint64_t bytes)
{
    uint64_t before = mf_counter_read(peak);
    while (bytes > before && !atomic_compare_exchange_weak_explicit(
                                 peak, &before, bytes, memory_order_relaxed, memory_order_relaxed))
        ;
    return bytes > before ? bytes : before;
}

// Where the allocator does not say what it has given, only the shards' part is known.
static void put_memory(struct mf_resp_info *info)
{
    const struct mf_node *node = info->node;
    struct mf_allocator_bytes bytes = {0};
    if (node->allocator_bytes != NULL)
        node->allocator_bytes(&bytes);
    uint64_t data = info->figures.bytes;
    uint64_t used = bytes.allocated > 0 ? bytes.allocated : data;
    data = data < used ? data : used;
    uint64_t growth = used > info->own->begun_bytes ? used - info->own->begun_bytes : used;
    uint64_t peak = raise_peak(&node->resp_node->peak_bytes, used);
    put_bytes(info, "used_memory", used);
    put_bytes(info, "used_memory_rss", bytes.resident);
    put_bytes(info, "used_memory_peak", peak);
    mf_resp_info_line(info, "used_memory_peak_perc:%.2f%%", 100 * ratio(used, peak));
    mf_resp_info_line(info, "used_memory_overhead:%" PRIu64, used - data);
    mf_resp_info_line(info, "used_memory_startup:%" PRIu64, info->own->begun_bytes);
    mf_resp_info_line(info, "used_memory_dataset:%" PRIu64, data);
    mf_resp_info_line(info, "used_memory_dataset_perc:%.2f%%",
                      data < growth ? 100 * ratio(data, growth) : 100);
    mf_resp_info_line(info, "allocator_allocated:%" PRIu64, bytes.allocated);
    mf_resp_info_line(info, "allocator_active:%" PRIu64, bytes.active);
    mf_resp_info_line(info, "allocator_resident:%" PRIu64, bytes.resident);
    put_bytes(info, "total_system_memory", info->own->memory_bytes);
    put_no_scripts(info);
    put_limit(info);
    mf_resp_info_line(info, "allocator_frag_ratio:%.2f", ratio(bytes.active, bytes.allocated));
    mf_resp_info_line(info, "allocator_frag_bytes:%" PRId64, more(bytes.active, bytes.allocated));
    mf_resp_info_line(info, "allocator_rss_ratio:%.2f", ratio(bytes.resident, bytes.active));
    mf_resp_info_line(info, "allocator_rss_bytes:%" PRId64, more(bytes.resident, bytes.active));
    mf_resp_info_line(info, "mem_fragmentation_ratio:%.2f", ratio(bytes.resident, used));
    mf_resp_info_line(info, "mem_fragmentation_bytes:%" PRId64,
                      bytes.resident > 0 ? more(bytes.resident, used) : 0);
    mf_resp_info_line(info, "mem_not_counted_for_evict:%" PRIu64, used - data);
    mf_resp_info_line(info, "mem_replication_backlog:0");
    mf_resp_info_line(info, "mem_total_replication_buffers:0");
    mf_resp_info_line(info, "mem_clients_slaves:0");
    mf_resp_info_line(info, "mem_aof_buffer:%" PRIu64, info->figures.wal_pending_bytes);
    mf_resp_info_line(info, "mem_allocator:%s", node->allocator != NULL ? node->allocator : "libc");
    mf_resp_info_line(info, "active_defrag_running:0");
}

static void put_snapshots(struct mf_resp_info *info)
{
    struct mf_snapshotter_stats stats;
    mf_snapshotter_stats(info->node->snapshotter, &stats);
    bool saving = stats.begun_us != 0 && stats.begun_us <= info->now_us;
    mf_resp_info_line(info, "rdb_changes_since_last_save:0");
    mf_resp_info_line(info, "rdb_bgsave_in_progress:%d", saving);
    mf_resp_info_line(info, "rdb_last_save_time:%" PRIu64,
                      stats.saved > 0 ? stats.saved_unix_s : info->own->begun_unix_s);
    mf_resp_info_line(info, "rdb_last_bgsave_status:%s", stats.failed ? "err" : "ok");
    mf_resp_info_line(info, "rdb_last_bgsave_time_sec:%" PRId64,
                      stats.saved > 0 ? (int64_t)(stats.took_us / 1000000) : -1);
    mf_resp_info_line(info, "rdb_current_bgsave_time_sec:%" PRId64,
                      saving ? (int64_t)((info->now_us - stats.begun_us) / 1000000) : -1);
    mf_resp_info_line(info, "rdb_saves:%" PRIu64, stats.saved);
    mf_resp_info_line(info, "rdb_last_cow_size:0");
}

// Redis's append-only file is the write-ahead log here; its rewrites would be checkpoints, which
// are not told.
static void put_log(struct mf_resp_info *info)
{
    const struct mf_figures *figures = &info->figures;
    bool on = info->node->config.durability != MF_DURABILITY_NONE;
    mf_resp_info_line(info, "aof_enabled:%d", on);
    mf_resp_info_line(info, "aof_rewrite_in_progress:0");
    mf_resp_info_line(info, "aof_rewrite_scheduled:0");
    mf_resp_info_line(info, "aof_last_rewrite_time_sec:-1");
    mf_resp_info_line(info, "aof_current_rewrite_time_sec:-1");
    mf_resp_info_line(info, "aof_last_bgrewrite_status:ok");
    mf_resp_info_line(info, "aof_rewrites:0");
    mf_resp_info_line(info, "aof_rewrites_consecutive_failures:0");
    mf_resp_info_line(info, "aof_last_write_status:%s",
                      figures->full + figures->refused > 0 ? "err" : "ok");
    mf_resp_info_line(info, "aof_last_cow_size:0");
    mf_resp_info_line(info, "module_fork_in_progress:0");
    mf_resp_info_line(info, "module_fork_last_cow_size:0");
    if (!on)
        return;
    mf_resp_info_line(info, "aof_current_size:%" PRIu64, mf_wal_ledger_bytes(info->node->ledger));
    mf_resp_info_line(info, "aof_buffer_length:%" PRIu64, figures->wal_pending_bytes);
    mf_resp_info_line(info, "aof_pending_bio_fsync:%d", figures->wal_pending_bytes > 0);
}

static void put_persistence(struct mf_resp_info *info)
{
    mf_resp_info_line(info, "loading:0");
    mf_resp_info_line(info, "async_loading:0");
    mf_resp_info_line(info, "current_cow_peak:0");
    mf_resp_info_line(info, "current_cow_size:0");
    mf_resp_info_line(info, "current_cow_size_age:0");
    mf_resp_info_line(info, "current_fork_perc:0.00");
    put_snapshots(info);
    put_log(info);
}

// In the order in which they are told.
static const struct section {
    const char *name;
    const char *title;
    void (*put)(struct mf_resp_info *info);
    bool asked_only; // not told by default
} sections[] = {
    {"server", "Server", put_server, false},
    {"clients", "Clients", put_clients, false},
    {"memory", "Memory", put_memory, false},
    {"persistence", "Persistence", put_persistence, false},
    {"stats", "Stats", mf_resp_info_stats, false},
    {"replication", "Replication", mf_resp_info_replication, false},
    {"cpu", "CPU", mf_resp_info_cpu, false},
    {"modules", "Modules", mf_resp_info_modules, false},
    {"commandstats", "Commandstats", mf_resp_info_commandstats, true},
    {"errorstats", "Errorstats", mf_resp_info_errorstats, false},
    {"latencystats", "Latencystats", mf_resp_info_latencystats, true},
    {"cluster", "Cluster", mf_resp_info_cluster, false},
    {"keyspace", "Keyspace", mf_resp_info_keyspace, false},
    {"mayfly", "Mayfly", mf_resp_info_mayfly, false},
};
#define SECTIONS (sizeof(sections) / sizeof(sections[0]))

static void choose(bool *chosen, bool all)
{
    for (size_t i = 0; i < SECTIONS; i++)
        chosen[i] = chosen[i] || all || !sections[i].asked_only;
}

static void choose_named(bool *chosen, struct mf_bytes name)
{
    if (mf_resp_is(name, "all") || mf_resp_is(name, "everything"))
        choose(chosen, true);
    else if (mf_resp_is(name, "default"))
        choose(chosen, false);
    for (size_t i = 0; i < SECTIONS; i++)
        chosen[i] = chosen[i] || mf_resp_is(name, sections[i].name);
}

static void read_figures(struct mf_resp_info *info)
{
    uint32_t held;
    struct mf_shard_figures *shards = mf_figures_read_shards(info->node, &held);
    mf_figures_add_reactors(&info->figures, info->node);
    mf_figures_add_shards(&info->figures, shards, held);
    free(shards);
    for (uint32_t i = 0; i < info->node->reactor_count; i++)
        mf_resp_stats_add(info->node->reactors[i]->resp->stats, &info->sum);
}

bool mf_resp_info(struct mf_resp_session *session)
{
    const struct mf_node *node = session->client.reactor->node;
    bool chosen[SECTIONS] = {false};
    uint32_t count = mf_resp_words(session);
    if (count - 1 > NAMES_MAX) {
        mf_resp_reply_error(session, "ERR at most 1024 sections can be asked for at once");
        return true;
    }
    for (uint32_t i = 1; i < count; i++)
        choose_named(chosen, mf_resp_word(session, i));
    if (count == 1)
        choose(chosen, false);
    struct mf_buf text = {0};
    struct mf_resp_info info = {.session = session,
                                .node = node,
                                .own = node->resp_node,
                                .now_us = mf_reactor_now_us(session->client.reactor),
                                .out = &text};
    read_figures(&info);
    for (size_t i = 0; i < SECTIONS; i++) {
        if (!chosen[i])
            continue;
        if (text.len > 0)
            mf_buf_put(&text, "\r\n", 2);
        mf_resp_info_line(&info, "# %s", sections[i].title);
        sections[i].put(&info);
    }
    mf_resp_verbatim(mf_resp_reply_begin(session), session->version, mf_buf_view(&text));
    mf_resp_reply_end(session);
    mf_buf_free(&text);
    return true;
}
