// The reactor's thread, what crosses to it, and its life; see reactor.h.
//
// Shared with other threads: the inbox (a ring), `durable` (stored by the WAL's thread with
// release, loaded here with acquire), the counters (relaxed), and what node.h lists.
#include <assert.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/counter.h"
#include "base/log.h"
#include "base/thread.h"
#include "server/ahead.h"
#include "server/change.h"
#include "server/disk.h"
#include "server/forming.h"
#include "server/hotkeys.h"
#include "server/leadership.h"
#include "server/links.h"
#include "server/listeners.h"
#include "server/membership.h"
#include "server/mover.h"
#include "server/placer.h"
#include "server/reactor_internal.h"
#include "server/read_gate.h"
#include "server/request.h"
#include "server/resp_node.h"
#include "server/resp_session.h"
#include "server/roster.h"
#include "server/router.h"
#include "server/schedule.h"
#include "server/session.h"
#include "server/streams.h"
#include "server/watch.h"
#include "server/watch_peers.h"
#include "server/watch_relay.h"
#include "server/watchers.h"

#define INBOX_SLOTS 4096
#define SWEEP_S 0.02
// An orderly stop takes this long to hand over, and waits this long for requests under way.
#define STOP_US UINT64_C(2000000)
// Others may ask for a moment longer what we no longer lead, and get an answer: nobody can tell
// what has become of a write whose answer never comes.
#define LINGER_US UINT64_C(100000)

uint16_t mf_reactor_of_shard(const struct mf_node *node, uint32_t shard)
{
    return (uint16_t)(shard % node->reactor_count);
}

struct mf_owned_shard *mf_reactor_shard(struct mf_reactor *reactor, uint32_t shard)
{
    assert(mf_reactor_of_shard(reactor->node, shard) == reactor->index);
    return &reactor->shards[shard / reactor->node->reactor_count];
}

uint64_t mf_reactor_now_us(const struct mf_reactor *reactor)
{
    (void)reactor;
    return mf_mono_us();
}

struct mf_replica_env mf_reactor_env(struct mf_reactor *reactor)
{
    struct mf_replica_env env = {.random = mf_rand_next(&reactor->rand),
                                 .log_blocked = mf_node_blocked(reactor->node)};
    mf_clocks_us(&env.now_us, &env.wall_us);
    return env;
}

// Crossing between threads.

void mf_reactor_send(struct mf_reactor *from, uint16_t to, struct mf_task *task)
{
    task->next = NULL;
    if (from->out_last[to] != NULL)
        from->out_last[to]->next = task;
    else
        from->out_first[to] = task;
    from->out_last[to] = task;
}

void mf_reactor_post(struct mf_reactor *to, struct mf_task *task)
{
    task->next = NULL;
    while (!mf_ring_push(to->inbox, task))
        sched_yield();
    ev_async_send(to->loop, &to->wake);
}

bool mf_reactor_send_chains(struct mf_reactor *reactor)
{
    bool all = true;
    for (uint32_t i = 0; i < reactor->node->reactor_count; i++) {
        if (reactor->out_first[i] == NULL || i == reactor->index)
            continue;
        struct mf_reactor *to = reactor->node->reactors[i];
        if (!mf_ring_push(to->inbox, reactor->out_first[i])) {
            all = false;
            continue;
        }
        reactor->out_first[i] = NULL;
        reactor->out_last[i] = NULL;
        ev_async_send(to->loop, &to->wake);
    }
    return all;
}

static void run_chain(struct mf_reactor *reactor, struct mf_task *chain)
{
    while (chain != NULL) {
        struct mf_task *task = chain;
        chain = task->next;        // running may free it
        __builtin_prefetch(chain); // another thread has written it
        task->run(reactor, task);
    }
}

void mf_reactor_run_own_tasks(struct mf_reactor *reactor)
{
    struct mf_task *chain = reactor->out_first[reactor->index];
    reactor->out_first[reactor->index] = NULL;
    reactor->out_last[reactor->index] = NULL;
    run_chain(reactor, chain);
}

static void on_wake(struct ev_loop *loop, ev_async *watcher, int events)
{
    (void)loop;
    (void)events;
    struct mf_reactor *reactor = watcher->data;
    struct mf_task *chain;
    while ((chain = mf_ring_pop(reactor->inbox)) != NULL)
        run_chain(reactor, chain);
}

// Persistence.

static void on_durable(void *arg, uint64_t sequence)
{
    struct mf_reactor *reactor = arg;
    atomic_store_explicit(&reactor->durable, sequence, memory_order_release);
    ev_async_send(reactor->loop, &reactor->wal_wake);
}

// Reports all acceptances up to this hand-over, the oldest first.
static void report_durable(struct mf_reactor *reactor, uint64_t wal_seq)
{
    struct mf_replica_env env = mf_reactor_env(reactor);
    struct mf_persist persist;
    while (mf_persists_take(&reactor->persists, wal_seq, &persist)) {
        mf_replica_persisted(persist.shard->replica, &env, persist.seq);
        mf_reactor_touch(persist.shard);
    }
}

static void on_wal_wake(struct ev_loop *loop, ev_async *watcher, int events)
{
    (void)loop;
    (void)events;
    struct mf_reactor *reactor = watcher->data;
    report_durable(reactor, atomic_load_explicit(&reactor->durable, memory_order_acquire));
}

// The replicas' outside.

static void replica_reply(void *ctx, struct mf_op *op)
{
    mf_router_outcome(ctx, op);
}

static void replica_persist(void *ctx, uint32_t group, const struct mf_wal_record *records,
                            uint32_t count, uint64_t seq)
{
    (void)group;
    struct mf_owned_shard *shard = ctx;
    if (shard->reactor->wal == NULL) {
        // What is in memory is as durable as it gets.
        if (seq > shard->durable_seq)
            shard->durable_seq = seq;
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        mf_wal_put(shard->reactor->wal, &records[i]);
    if (seq != 0)
        mf_persists_add(&shard->reactor->persists, shard, seq);
}

static void replica_send(void *ctx, uint32_t group, const struct mf_paxos_msg *msg)
{
    struct mf_owned_shard *shard = ctx;
    mf_links_send_paxos(shard->reactor->links, group, msg);
}

static uint64_t replica_node_mono(void *ctx, uint16_t node, uint64_t now_us)
{
    struct mf_owned_shard *shard = ctx;
    return mf_links_node_mono_us(shard->reactor->links, node, now_us);
}

static uint64_t replica_mono(void *ctx)
{
    (void)ctx;
    return mf_mono_us();
}

static bool replica_bound(void *ctx, uint16_t node, uint64_t now_us)
{
    struct mf_owned_shard *shard = ctx;
    return mf_links_bound(shard->reactor->links, node, now_us);
}

static bool replica_withdraw(void *ctx, uint16_t node, uint64_t now_us)
{
    struct mf_owned_shard *shard = ctx;
    return mf_links_withdraw(shard->reactor->links, node, now_us);
}

static uint64_t replica_support(void *ctx, uint16_t node)
{
    struct mf_owned_shard *shard = ctx;
    return mf_links_support(shard->reactor->links, node);
}

static uint64_t replica_held_until(void *ctx, uint16_t node, uint64_t token)
{
    struct mf_owned_shard *shard = ctx;
    return mf_links_held_until(shard->reactor->links, node, token);
}

static void replica_send_snapshot(void *ctx, uint32_t group, struct mf_acceptor to)
{
    (void)group;
    mf_streams_send(ctx, to);
}

static void replica_retire(void *ctx, uint32_t group, struct mf_shard *state)
{
    (void)group;
    struct mf_owned_shard *shard = ctx;
    mf_reactor_retire_gate(shard);
    mf_watchers_attach(shard);
    mf_streams_discard(shard->reactor->streams, state);
}

static void replica_applied(void *ctx, uint32_t group, uint64_t index, uint64_t log_time_us,
                            uint64_t bytes, uint64_t expired)
{
    (void)log_time_us;
    struct mf_owned_shard *shard = ctx;
    mf_checkpoint_applied(shard, bytes);
    if (expired == 0)
        return;
    mf_counter_add(&shard->reactor->counters.expired, expired);
    mf_log(MF_DEBUG, "shard=%u index=%llu expired=%llu", group, (unsigned long long)index,
           (unsigned long long)expired);
}

static void replica_leader_changed(void *ctx, uint32_t group, uint16_t leader, mf_ballot_t ballot)
{
    struct mf_owned_shard *shard = ctx;
    mf_log(MF_DEBUG, "shard=%u leader=%u promised=%llu.%u", group, leader,
           (unsigned long long)mf_ballot_round(ballot), mf_ballot_node(ballot));
    if (leader == shard->reactor->node->config.id)
        mf_counter_add(&shard->reactor->counters.elections_won, 1);
    mf_router_leader_changed(shard);
}

static void replica_fatal(void *ctx, uint32_t group, const char *what)
{
    struct mf_owned_shard *shard = ctx;
    mf_log(MF_ERROR, "shard=%u: %s; the node stops", group, what);
    atomic_store(&shard->reactor->node->failed, true);
    kill(getpid(), SIGTERM);
}

const struct mf_replica_ops mf_reactor_replica_ops = {.reply = replica_reply,
                                                      .persist = replica_persist,
                                                      .send = replica_send,
                                                      .node_mono_us = replica_node_mono,
                                                      .mono_us = replica_mono,
                                                      .bound = replica_bound,
                                                      .withdraw = replica_withdraw,
                                                      .support = replica_support,
                                                      .held_until = replica_held_until,
                                                      .send_snapshot = replica_send_snapshot,
                                                      .retire = replica_retire,
                                                      .applied = replica_applied,
                                                      .leader_changed = replica_leader_changed,
                                                      .fatal = replica_fatal};

// Stopping, first step: until everything that the node leads is handed over.
static void try_close(struct mf_reactor *reactor, uint64_t now_us)
{
    struct mf_node *node = reactor->node;
    atomic_store(&reactor->handed_over, mf_mover_done(reactor->mover));
    bool all = true;
    for (uint32_t i = 0; i < node->reactor_count; i++)
        all = all && atomic_load(&node->reactors[i]->handed_over);
    if (all || atomic_load(&node->failed) || now_us >= reactor->stop_by_us)
        atomic_store(&node->closing, true);
    if (!atomic_load(&node->closing))
        return;
    reactor->stop_by_us = now_us + STOP_US;
    reactor->linger_us = now_us + (mf_node_member_count(node) > 1 ? LINGER_US : 0);
}

// Second step: until nothing is under way.
static void try_stop(struct mf_reactor *reactor, uint64_t now_us)
{
    atomic_store(&reactor->idle, reactor->in_flight == 0 && now_us >= reactor->linger_us);
    bool idle = true;
    for (uint32_t i = 0; i < reactor->node->reactor_count; i++)
        idle = idle && atomic_load(&reactor->node->reactors[i]->idle);
    if (idle || now_us >= reactor->stop_by_us)
        ev_break(reactor->loop, EVBREAK_ALL);
}

static void stop_further(struct mf_reactor *reactor)
{
    uint64_t now_us = mf_mono_us();
    if (reactor->linger_us == 0)
        try_close(reactor, now_us);
    if (reactor->linger_us != 0)
        try_stop(reactor, now_us);
}

static void make_room(struct mf_reactor *reactor)
{
    if (mf_budget_excess(&reactor->node->budget) == 0)
        return;
    for (uint32_t i = 0; i < reactor->shard_count; i++) {
        struct mf_owned_shard *shard = &reactor->shards[i];
        if (shard->replica == NULL)
            continue;
        struct mf_replica_env env = mf_reactor_env(reactor);
        mf_replica_make_room(shard->replica, &env);
        if (mf_replica_dirty(shard->replica))
            mf_reactor_touch(shard);
    }
}

static void on_sweep(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    struct mf_reactor *reactor = watcher->data;
    mf_links_tick(reactor->links);
    mf_forming_tick(reactor);
    mf_router_tick(reactor);
    mf_resp_door_tick(reactor);
    mf_ahead_tick(reactor);
    mf_streams_tick(reactor->streams, mf_reactor_now_us(reactor));
    mf_checkpoint_sweep(reactor);
    mf_mover_tick(reactor->mover);
    if (reactor->index == 0) {
        mf_membership_tick(reactor);
        mf_schedule_tick(reactor->node->schedule, reactor);
        mf_resp_node_tick(reactor);
    }
    mf_placer_tick(reactor);
    mf_changes_tick(reactor);
    mf_watchers_tick(reactor);
    mf_watches_tick(reactor);
    mf_watch_peers_tick(reactor->watch_peers, mf_reactor_now_us(reactor));
    mf_watch_relay_tick(reactor->watch_relay, mf_reactor_now_us(reactor));
    mf_hotkeys_tick(reactor->hotkeys, mf_reactor_now_us(reactor));
    make_room(reactor);
    mf_leadership_tell(reactor);
    if (reactor->stop_by_us != 0)
        stop_further(reactor);
}

static void begin_stop(struct mf_reactor *reactor, struct mf_task *task)
{
    free(task);
    reactor->stop_by_us = mf_mono_us() + STOP_US;
    mf_listeners_refuse_clients(reactor);
    mf_mover_tick(reactor->mover);
}

void mf_reactor_stop(struct mf_reactor *reactor)
{
    struct mf_task *task = mf_calloc(1, sizeof(*task));
    task->run = begin_stop;
    mf_reactor_post(reactor, task);
}

// Life cycle.

static void init_watchers(struct mf_reactor *reactor)
{
    ev_async_init(&reactor->wake, on_wake);
    reactor->wake.data = reactor;
    ev_async_start(reactor->loop, &reactor->wake);
    ev_async_init(&reactor->wal_wake, on_wal_wake);
    reactor->wal_wake.data = reactor;
    ev_async_start(reactor->loop, &reactor->wal_wake);
    ev_timer_init(&reactor->sweep, on_sweep, SWEEP_S, SWEEP_S);
    reactor->sweep.data = reactor;
    ev_timer_start(reactor->loop, &reactor->sweep);
    mf_turn_init(reactor);
}

struct mf_reactor *mf_reactor_new(struct mf_node *node, uint16_t index)
{
    struct mf_reactor *reactor = mf_calloc(1, sizeof(*reactor));
    reactor->node = node;
    reactor->index = index;
    reactor->tell_us = node->started_us + MF_LEADERSHIP_TELL_US;
    mf_entropy(&reactor->rand.state, sizeof(reactor->rand.state));
    reactor->loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
    reactor->inbox = mf_ring_new(INBOX_SLOTS);
    reactor->out_first = mf_calloc(node->reactor_count, sizeof(*reactor->out_first));
    reactor->out_last = mf_calloc(node->reactor_count, sizeof(*reactor->out_last));
    reactor->pool = mf_conn_pool_new(reactor->loop);
    reactor->peer_pool = mf_conn_pool_new(reactor->loop);
    mf_conn_pool_idle_timeout(reactor->pool, (uint64_t)node->config.idle_timeout_s * 1000000);
    mf_conn_pool_stall_timeout(reactor->pool, (uint64_t)node->config.stall_timeout_s * 1000000);
    mf_heap_init(&reactor->timers);
    reactor->shard_count =
        (node->config.shards + node->reactor_count - 1 - index) / node->reactor_count;
    reactor->shards = mf_calloc(reactor->shard_count, sizeof(*reactor->shards));
    for (uint32_t i = 0; i < reactor->shard_count; i++) {
        struct mf_owned_shard *shard = &reactor->shards[i];
        shard->reactor = reactor;
        shard->id = index + i * node->reactor_count;
    }
    reactor->resp = mf_resp_door_new(node);
    reactor->links = mf_links_new(reactor);
    reactor->router = mf_router_new(reactor);
    reactor->gate_reader = mf_read_gate_reader_new(node->config.shards);
    reactor->mover = mf_mover_new(reactor);
    reactor->roster = mf_roster_ref(node->roster);
    reactor->placer = mf_placer_new(reactor);
    reactor->changes = mf_changes_new(reactor);
    reactor->streams = mf_streams_new(reactor);
    reactor->watchers = mf_watchers_new(reactor);
    reactor->watches = mf_watches_new();
    reactor->watch_relay = mf_watch_relay_new(reactor);
    reactor->watch_peers = mf_watch_peers_new(reactor);
    reactor->hotkeys = mf_alloc(sizeof(*reactor->hotkeys));
    mf_hotkeys_init(reactor->hotkeys, node->incarnation, mf_rand_next(&reactor->rand),
                    mf_mono_us());
    init_watchers(reactor);
    return reactor;
}

enum mf_err mf_reactor_open(struct mf_reactor *reactor, struct mf_reactor_sockets sockets,
                            char *message, size_t message_size)
{
    struct mf_node *node = reactor->node;
    if (node->config.durability != MF_DURABILITY_NONE) {
        char folder[sizeof(node->config.data_dir) + 8];
        snprintf(folder, sizeof(folder), "%s/wal", node->config.data_dir);
        struct mf_wal_config config = {.folder = folder,
                                       .stream = reactor->index,
                                       .segment_bytes = MF_WAL_SEGMENT_BYTES,
                                       .sync = node->config.durability == MF_DURABILITY_FSYNC,
                                       .ledger = node->ledger,
                                       .orphans = reactor->index == 0,
                                       .durable = on_durable,
                                       .failed = mf_disk_failed,
                                       .blocked = mf_disk_blocked,
                                       .synced = mf_disk_synced,
                                       .arg = reactor};
        enum mf_err err = mf_wal_open(&config, &reactor->wal, message, message_size);
        if (err != MF_OK)
            return err;
    }
    mf_listeners_open(reactor, &sockets);
    for (uint32_t i = 0; i < reactor->shard_count; i++)
        mf_reactor_touch(&reactor->shards[i]);
    return MF_OK;
}

static void *run(void *arg)
{
    struct mf_reactor *reactor = arg;
    ev_run(reactor->loop, 0);
    return NULL;
}

enum mf_err mf_reactor_start(struct mf_reactor *reactor)
{
    char name[16];
    snprintf(name, sizeof(name), "reactor-%u", reactor->index);
    return mf_thread_start(&reactor->thread, name, run, reactor) == 0 ? MF_OK : MF_IO;
}

void mf_reactor_join(struct mf_reactor *reactor)
{
    pthread_join(reactor->thread, NULL);
}

void mf_reactor_close(struct mf_reactor *reactor)
{
    mf_listeners_close(reactor);
    mf_wal_close(reactor->wal);
    reactor->wal = NULL; // ops that cross between reactors now still look for it
    mf_conn_pool_free(reactor->pool);
    mf_conn_pool_free(reactor->peer_pool);
}

// Tasks between reactors run here until none is left: all threads have ended.
void mf_reactor_drain(struct mf_reactor *reactor)
{
    mf_reactor_run_own_tasks(reactor);
    on_wake(reactor->loop, &reactor->wake, 0);
    mf_reactor_send_chains(reactor);
}

void mf_reactor_end_ops(struct mf_reactor *reactor)
{
    mf_mover_free(reactor->mover);
    reactor->mover = NULL;
    for (uint32_t i = 0; i < reactor->shard_count; i++) {
        mf_reactor_retire_gate(&reactor->shards[i]);
        mf_replica_free(reactor->shards[i].replica);
        reactor->shards[i].replica = NULL;
        mf_shard_free(reactor->shards[i].state);
        reactor->shards[i].state = NULL;
    }
    mf_router_free(reactor->router);
    reactor->router = NULL;
}

void mf_reactor_free(struct mf_reactor *reactor)
{
    free(reactor->hotkeys);
    mf_changes_free(reactor->changes);
    mf_watch_peers_free(reactor->watch_peers);
    mf_watch_relay_free(reactor->watch_relay);
    mf_watches_free(reactor->watches);
    mf_watchers_free(reactor->watchers);
    mf_streams_free(reactor->streams);
    mf_links_free(reactor->links);
    mf_resp_door_free(reactor->resp);
    mf_buf_free(&reactor->answer);
    mf_request_free_spare(reactor);
    mf_session_free_spare(reactor);
    mf_placer_free(reactor->placer);
    mf_roster_unref(reactor->roster);
    mf_read_gate_reader_free(reactor->gate_reader);
    mf_ring_free(reactor->inbox);
    mf_heap_free(&reactor->timers);
    ev_loop_destroy(reactor->loop);
    free(reactor->out_first);
    free(reactor->out_last);
    mf_persists_free(&reactor->persists);
    free(reactor->shards);
    free(reactor);
}
