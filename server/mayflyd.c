// mayflyd: one node. Reads the configuration, recovers, runs the reactors, waits for signals.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef MF_HAVE_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif
#ifdef MF_HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"
#include "consensus/wal_ledger.h"
#include "server/checkpoint.h"
#include "server/config.h"
#include "server/data_dir.h"
#include "server/descriptors.h"
#include "server/forming.h"
#include "server/latency.h"
#include "server/membership.h"
#include "server/reactor.h"
#include "server/read_gate.h"
#include "server/recovery.h"
#include "server/resp_node.h"
#include "server/schedule.h"
#include "server/slowlog.h"
#include "server/snapshotter.h"
#include "server/worker.h"

#define MESSAGE_BYTES 1024
// Crossing a ring may take a few rounds when everything ends at once.
#define DRAIN_ROUNDS 8

struct sockets {
    int rpc[MF_THREADS_MAX];
    int resp[MF_THREADS_MAX];
    int resp_cluster[MF_THREADS_MAX];
    int peer[MF_THREADS_MAX];
};

static int refuse(const char *message, int status)
{
    fprintf(stderr, "mayflyd: %s\n", message);
    return status;
}

// Who forms the cluster, as the configuration says.
static enum mf_err read_first(struct mf_node *node, char *message, size_t size)
{
    const struct mf_config *config = &node->config;
    node->joins = true;
    for (uint32_t i = 0; i < config->node_count; i++) {
        const struct mf_config_node *first = &config->nodes[i];
        struct mf_address address;
        node->joins = node->joins && first->id != config->id;
        if (first->id != config->id && mf_address_parse(first->peer, &address) != MF_OK) {
            snprintf(message, size, "cluster.nodes: cannot resolve %s (node %u)", first->peer,
                     first->id);
            return MF_BAD_REQUEST;
        }
        char id[8];
        snprintf(id, sizeof(id), "%s%u", i > 0 ? "," : "", first->id);
        strncat(node->members_text, id,
                sizeof(node->members_text) - 1 - strlen(node->members_text));
    }
    node->replica_count =
        config->replicas < config->node_count ? config->replicas : config->node_count;
    return MF_OK;
}

// The nodes that the cluster has now, as far as the data folder says.
static void read_members(struct mf_node *node)
{
    mf_node_fill_members(node);
    if (node->roster->version > 1)
        node->replica_count = node->roster->copies;
}

static enum mf_err listen_all(struct mf_node *node, const char *key, const char *text, int *fds,
                              char *bound, size_t bound_size, char *message, size_t size)
{
    struct mf_address address;
    if (mf_address_parse(text, &address) != MF_OK) {
        snprintf(message, size, "listen.%s: cannot resolve %s", key, text);
        return MF_BAD_REQUEST;
    }
    if (address.port != 0 && mf_address_in_use(&address)) {
        snprintf(message, size, "listen.%s: %s is in use by another process", key, text);
        return MF_IO;
    }
    for (uint32_t i = 0; i < node->reactor_count; i++) {
        fds[i] = mf_listen(&address, message, size);
        if (fds[i] < 0)
            return MF_IO;
    }
    if (node->config.advertise_host[0] != '\0')
        snprintf(address.host, sizeof(address.host), "%s", node->config.advertise_host);
    mf_address_format(&address, bound, bound_size);
    return MF_OK;
}

static enum mf_err open_sockets(struct mf_node *node, struct sockets *sockets, char *message,
                                size_t size)
{
    const struct mf_config *config = &node->config;
    for (uint32_t i = 0; i < MF_THREADS_MAX; i++)
        sockets->rpc[i] = sockets->resp[i] = sockets->resp_cluster[i] = sockets->peer[i] = -1;
    enum mf_err err = MF_OK;
    if (config->rpc[0] != '\0')
        err = listen_all(node, "rpc", config->rpc, sockets->rpc, node->addresses.rpc,
                         sizeof(node->addresses.rpc), message, size);
    if (err == MF_OK && config->resp[0] != '\0')
        err = listen_all(node, "resp", config->resp, sockets->resp, node->addresses.resp,
                         sizeof(node->addresses.resp), message, size);
    if (err == MF_OK && config->resp_cluster[0] != '\0')
        err = listen_all(node, "resp_cluster", config->resp_cluster, sockets->resp_cluster,
                         node->addresses.resp_cluster, sizeof(node->addresses.resp_cluster),
                         message, size);
    if (err == MF_OK && config->peer[0] != '\0')
        err = listen_all(node, "peer", config->peer, sockets->peer, node->bound_peer,
                         sizeof(node->bound_peer), message, size);
    return err;
}

static enum mf_err open_node(struct mf_node *node, char *message, size_t size)
{
    enum mf_err err = read_first(node, message, size);
    if (err == MF_OK)
        err = mf_data_dir_open(node, message, size);
    if (err != MF_OK)
        return err;
    read_members(node);
    mf_descriptors_share(node);
    mf_node_begin_leases(node);
    mf_resp_settings_init(&node->resp_settings);
    node->slowlog = mf_slowlog_new(&node->resp_settings);
    node->latency = mf_latency_new(&node->resp_settings);
    node->resp_node = mf_resp_node_new(node);
    node->shards = mf_calloc(node->config.shards, sizeof(*node->shards));
    node->gates = mf_read_gates_new(node->config.shards);
    node->reactors = mf_calloc(node->reactor_count, sizeof(struct mf_reactor *));
    for (uint32_t i = 0; i < node->reactor_count; i++)
        node->reactors[i] = mf_reactor_new(node, (uint16_t)i);
    node->snapshotter = mf_snapshotter_new(node);
    node->schedule = mf_schedule_new(node);
    node->checkpointer = mf_checkpointer_new(node);
    node->worker = mf_worker_new();
    if (node->config.durability != MF_DURABILITY_NONE)
        node->ledger = mf_wal_ledger_new(node->config.shards);
    struct sockets sockets;
    err = open_sockets(node, &sockets, message, size);
    if (err == MF_OK)
        err = mf_recover(node, message, size);
    for (uint32_t i = 0; i < node->reactor_count && err == MF_OK; i++) {
        const struct mf_reactor_sockets own = {.rpc = sockets.rpc[i],
                                               .resp = sockets.resp[i],
                                               .resp_cluster = sockets.resp_cluster[i],
                                               .peer = sockets.peer[i]};
        err = mf_reactor_open(node->reactors[i], own, message, size);
    }
    if (err == MF_OK)
        err = mf_data_dir_claim(node, message, size);
    if (err == MF_OK)
        node->forming = mf_forming_new(node);
    node->membership = mf_membership_new(node);
    if (err == MF_OK && (mf_checkpointer_start(node->checkpointer) != MF_OK ||
                         mf_worker_start(node->worker) != MF_OK)) {
        snprintf(message, size, "cannot start a thread");
        err = MF_IO;
    }
    return err;
}

static void announce(const struct mf_node *node)
{
    printf("ready node=%u", node->config.id);
    if (node->addresses.rpc[0] != '\0')
        printf(" rpc=%s", node->addresses.rpc);
    if (node->addresses.resp[0] != '\0')
        printf(" resp=%s", node->addresses.resp);
    if (node->addresses.resp_cluster[0] != '\0')
        printf(" resp_cluster=%s", node->addresses.resp_cluster);
    if (node->bound_peer[0] != '\0')
        printf(" peer=%s", node->bound_peer);
    printf("\n");
    fflush(stdout);
#ifdef MF_HAVE_SYSTEMD
    sd_notify(0, "READY=1");
#endif
    static const char *const durability[] = {[MF_DURABILITY_FSYNC] = "fsync",
                                             [MF_DURABILITY_OS] = "log without fsync",
                                             [MF_DURABILITY_NONE] = "memory only"};
    mf_log(MF_INFO, "mayflyd %s is ready: node %u of cluster %s, %u shards, %u reactors, %s",
           MF_VERSION, node->config.id, node->config.name, node->config.shards, node->reactor_count,
           durability[node->config.durability]);
}

// Reactors may be reading the old text: all texts live until they have ended.
struct kept_password {
    struct kept_password *next;
    char text[];
};

static struct kept_password *kept_passwords;

static void keep_password(struct mf_node *node, const char *text)
{
    size_t size = strlen(text) + 1;
    struct kept_password *kept = mf_alloc(sizeof(*kept) + size);
    memcpy(kept->text, text, size);
    kept->next = kept_passwords;
    kept_passwords = kept;
    atomic_store(&node->password, kept->text);
}

static void free_passwords(void)
{
    while (kept_passwords != NULL) {
        struct kept_password *kept = kept_passwords;
        kept_passwords = kept->next;
        free(kept);
    }
}

// What can change while the node runs: the log level and the passwords.
static void reload(struct mf_node *node, int argc, char **argv)
{
    struct mf_config *fresh = mf_calloc(1, sizeof(*fresh));
    struct mf_config_options options;
    char message[MESSAGE_BYTES];
    if (mf_config_load(argc, argv, fresh, &options, message, sizeof(message)) != MF_OK) {
        mf_log(MF_ERROR, "SIGHUP: the configuration is refused, the old one stays: %s", message);
    } else {
        mf_log_set_level(fresh->log_level);
        keep_password(node, fresh->password);
        mf_log(MF_INFO, "SIGHUP: log level and passwords are read again");
    }
    free(fresh);
}

static void wait_for_end(struct mf_node *node, const sigset_t *signals, int argc, char **argv)
{
    for (;;) {
        int signal = 0;
        if (sigwait(signals, &signal) != 0)
            continue;
        if (signal == SIGHUP) {
            reload(node, argc, argv);
            continue;
        }
        mf_log(MF_INFO, "%s: stopping", signal == SIGTERM ? "SIGTERM" : "SIGINT");
        return;
    }
}

static void stop_node(struct mf_node *node)
{
#ifdef MF_HAVE_SYSTEMD
    sd_notify(0, "STOPPING=1");
#endif
    atomic_store(&node->stopping, true);
    for (uint32_t i = 0; i < node->reactor_count; i++)
        mf_reactor_stop(node->reactors[i]);
    for (uint32_t i = 0; i < node->reactor_count; i++)
        mf_reactor_join(node->reactors[i]);
    mf_snapshotter_stop(node->snapshotter);
    mf_checkpointer_stop(node->checkpointer);
    mf_worker_stop(node->worker);
}

static void drain(struct mf_node *node)
{
    for (uint32_t round = 0; round < DRAIN_ROUNDS; round++) {
        for (uint32_t i = 0; i < node->reactor_count; i++)
            mf_reactor_drain(node->reactors[i]);
    }
}

static void close_node(struct mf_node *node)
{
    for (uint32_t i = 0; i < node->reactor_count; i++)
        mf_recover_note_ends(node->reactors[i]);
    for (uint32_t i = 0; i < node->reactor_count; i++)
        mf_reactor_close(node->reactors[i]);
    drain(node);
    for (uint32_t i = 0; i < node->reactor_count; i++)
        mf_reactor_end_ops(node->reactors[i]);
    drain(node);
    for (uint32_t i = 0; i < node->reactor_count; i++)
        mf_reactor_free(node->reactors[i]);
    mf_forming_free(node->forming);
    mf_membership_free(node->membership);
    mf_snapshotter_free(node->snapshotter);
    mf_schedule_free(node->schedule);
    mf_checkpointer_free(node->checkpointer);
    mf_worker_free(node->worker);
    mf_resp_node_free(node->resp_node);
    mf_latency_free(node->latency);
    mf_slowlog_free(node->slowlog);
    mf_wal_ledger_free(node->ledger);
    free_passwords();
    free(node->reactors);
    mf_read_gates_free(node->gates);
    free(node->shards);
}

// Memory that is not used goes back to the system by itself, and not only when a thread happens to
// allocate. Before the threads start: jemalloc counts its background threads then.
static void set_up_allocator(void)
{
#ifdef MF_HAVE_JEMALLOC
    bool background = true;
    ssize_t decay_ms = 500;
    // Of the arenas to come, and of the one that is there.
    if (mallctl("arenas.dirty_decay_ms", NULL, NULL, &decay_ms, sizeof(decay_ms)) != 0 ||
        mallctl("arena.0.dirty_decay_ms", NULL, NULL, &decay_ms, sizeof(decay_ms)) != 0 ||
        mallctl("background_thread", NULL, NULL, &background, sizeof(background)) != 0)
        mf_log(MF_WARN, "jemalloc gives memory back only when it is used");
#endif
}

#ifdef MF_HAVE_JEMALLOC
#define TEXT(number) #number
#define NUMBER(number) TEXT(number)

static void allocator_bytes(struct mf_allocator_bytes *bytes)
{
    uint64_t epoch = 1; // the figures are those of when it was raised
    size_t size = sizeof(size_t);
    size_t figures[3] = {0};
    if (mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch)) == 0 &&
        mallctl("stats.allocated", &figures[0], &size, NULL, 0) == 0 &&
        mallctl("stats.active", &figures[1], &size, NULL, 0) == 0 &&
        mallctl("stats.resident", &figures[2], &size, NULL, 0) == 0) {
        *bytes = (struct mf_allocator_bytes){figures[0], figures[1], figures[2]};
    }
}
#endif

static int run_node(struct mf_node *node, int argc, char **argv)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); // inherited by every thread
    signal(SIGPIPE, SIG_IGN);
    mf_log_start(node->config.log_level, node->config.log_format, node->config.id);
    set_up_allocator();
#ifdef MF_HAVE_JEMALLOC
    node->allocator_bytes = allocator_bytes;
    node->allocator = "jemalloc-" NUMBER(JEMALLOC_VERSION_MAJOR) "." NUMBER(
        JEMALLOC_VERSION_MINOR) "." NUMBER(JEMALLOC_VERSION_BUGFIX);
#endif
    mf_budget_set_max(&node->budget, node->config.memory_bytes_max);
    mf_budget_set_eviction(&node->budget, node->config.eviction);
    mf_settings_init(&node->settings, &node->config);
    char message[MESSAGE_BYTES] = "";
    enum mf_err err = open_node(node, message, sizeof(message));
    if (err != MF_OK) {
        mf_log_stop();
        exit(refuse(message, 1)); // from here, with all that was made and is still pointed to
    }
    for (uint32_t i = 0; i < node->reactor_count; i++) {
        if (mf_reactor_start(node->reactors[i]) != MF_OK) {
            mf_log_stop();
            return refuse("cannot start a thread", 1);
        }
    }
    announce(node);
    wait_for_end(node, &signals, argc, argv);
    stop_node(node);
    close_node(node);
    bool failed = atomic_load(&node->failed);
    if (!failed)
        mf_data_dir_release(node);
    mf_roster_unref(node->roster);
    mf_log(MF_INFO, failed ? "stopped after a failure" : "stopped");
    mf_log_stop();
    return failed ? 1 : 0;
}

int main(int argc, char **argv)
{
    struct mf_node *node = mf_calloc(1, sizeof(*node));
    struct mf_config_options options;
    char message[MESSAGE_BYTES];
    if (mf_config_load(argc, argv, &node->config, &options, message, sizeof(message)) != MF_OK) {
        free(node);
        return refuse(message, 2);
    }
    int status = 0;
    if (options.help) {
        printf("Usage: mayflyd [--config FILE] [--SECTION.KEY=VALUE ...] [--check-config]\n\n");
        mf_config_print_reference();
    } else if (options.version) {
        printf("mayflyd %s\n", MF_VERSION);
    } else if (options.check_only) {
        printf("the configuration is sound\n");
    } else {
        pthread_mutex_init(&node->mutex, NULL);
        atomic_store(&node->password, node->config.password);
        node->reactor_count = node->config.threads;
        node->started_us = mf_mono_us();
        mf_entropy(&node->incarnation, sizeof(node->incarnation));
        node->incarnation |= 1;
        status = run_node(node, argc, argv);
    }
    free(node);
    return status;
}
