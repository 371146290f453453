// One round of a reactor's loop; see reactor.h. What has come from sockets, timers and other
// threads has touched shards: each has its turn before the loop sleeps, and then what all of them
// have to say leaves together.
#include <assert.h>
#include <stddef.h>

#include "base/clock.h"
#include "base/counter.h"
#include "server/links.h"
#include "server/listeners.h"
#include "server/placer.h"
#include "server/reactor_internal.h"
#include "server/status.h"
#include "server/streams.h"
#include "server/watch_peers.h"
#include "server/watch_relay.h"
#include "server/watchers.h"

// Shards that are not served so long after the turn's messages wait for the next: entries that
// expire or flush many keys shall not come together while no socket is looked at. Where shards take
// little each, there are more of them: what is read and written for few at a time costs more.
#define TURN_US UINT64_C(200)
#define TURN_US_MAX UINT64_C(1000)
#define LITTLE_US UINT64_C(5)
// Keys of all shards together whose expiry is proposed in one turn: to drop them takes about as
// long.
#define EXPIRE_PER_TURN MF_EXPIRE_BATCH
// So many writes that their turn answers have it before more is read: what is read, and held for
// each of them until then, would not stay near the processor. But not where that would cost more
// turns of shards than it is worth: writes that come to one shard together share its turn.
#define EARLY_WRITES 256u
#define EARLY_WRITES_EACH 4u
// Shards that were written at once have the rest of it done, so many in a turn, where no request
// has come since the last; else in one part of the time in so many.
#define LATER_PER_TURN 16u
#define LATER_SHARE 32u
// Where nothing waits for a disk or a peer, one round of work brings on the next (such as one
// batch of expired keys after the other): after this many it is the sockets' turn.
#define TURN_ROUNDS 4

void mf_reactor_touch(struct mf_owned_shard *shard)
{
    if (shard->listed || shard->replica == NULL)
        return;
    struct mf_reactor *reactor = shard->reactor;
    shard->listed = true;
    reactor->dirty_count++;
    shard->next_dirty = NULL;
    if (reactor->dirty != NULL)
        reactor->dirty_last->next_dirty = shard;
    else
        reactor->dirty = shard;
    reactor->dirty_last = shard;
}

void mf_reactor_touch_later(struct mf_owned_shard *shard)
{
    struct mf_reactor *reactor = shard->reactor;
    assert(reactor->wal == NULL); // the write is in no log
    shard->later = true;
    if (shard->waits)
        return;
    shard->waits = true;
    shard->next_later = NULL;
    if (reactor->later != NULL)
        reactor->later_last->next_later = shard;
    else
        reactor->later = shard;
    reactor->later_last = shard;
}

void mf_reactor_touch_to_write(struct mf_owned_shard *shard)
{
    mf_reactor_touch(shard);
    struct mf_reactor *reactor = shard->reactor;
    if (reactor->wal != NULL || !mf_replica_alone(shard->replica))
        return;
    reactor->writes++;
    if (reactor->writes >= EARLY_WRITES &&
        reactor->writes >= EARLY_WRITES_EACH * reactor->dirty_count)
        ev_feed_event(reactor->loop, &reactor->early, EV_CUSTOM);
}

static void submit_wal(struct mf_reactor *reactor)
{
    if (reactor->wal != NULL)
        mf_persists_hand_over(&reactor->persists, mf_wal_submit(reactor->wal));
}

static void set_timer(struct mf_owned_shard *shard, uint64_t due_us)
{
    struct mf_heap *timers = &shard->reactor->timers;
    struct mf_heap_node *node = (struct mf_heap_node *)shard->timer;
    if (shard->timer_us != 0)
        mf_heap_remove(timers, node);
    shard->timer_us = due_us;
    if (due_us == 0)
        return;
    node->bits = mf_heap_node_bits(due_us, shard->id);
    assert(MF_HEAP_NODE_BYTES(node->bits) <= sizeof(shard->timer));
    mf_heap_node_set(node, due_us, shard->id);
    mf_heap_push(timers, node);
}

// A shard at work puts its tick off again and again: a timer that runs out too early looks when it
// is due by then.
static void set_timer_of(struct mf_owned_shard *shard, uint64_t now_us)
{
    uint64_t next = mf_replica_next_tick_us(shard->replica, now_us);
    shard->due_us = next == MF_NEVER ? 0 : next > 0 ? next : 1; // 0 = never
    if (shard->due_us != 0 && (shard->timer_us == 0 || shard->timer_us > shard->due_us))
        set_timer(shard, shard->due_us);
}

void mf_reactor_forget(struct mf_owned_shard *shard)
{
    struct mf_reactor *reactor = shard->reactor;
    assert(!shard->listed);
    mf_persists_forget(&reactor->persists, shard);
    set_timer(shard, 0);
    shard->due_us = 0;
    shard->durable_seq = 0;
}

static void report_memory_durable(struct mf_owned_shard *shard, const struct mf_replica_env *env)
{
    uint64_t seq = shard->durable_seq;
    shard->durable_seq = 0;
    mf_replica_persisted(shard->replica, env, seq);
}

// Without a WAL what is proposed is durable, and can be chosen, at once.
static void flush_shard(struct mf_owned_shard *shard, const struct mf_replica_env *env)
{
    if (shard->durable_seq != 0)
        report_memory_durable(shard, env);
    mf_replica_flush(shard->replica, env);
    if (shard->durable_seq == 0)
        return;
    // Others have their turn before what is too much for this one.
    if (!mf_replica_has_room(shard->replica)) {
        mf_reactor_touch(shard);
        return;
    }
    report_memory_durable(shard, env);
    mf_replica_flush(shard->replica, env);
    if (shard->durable_seq != 0)
        mf_reactor_touch(shard);
}

static bool in_time(uint64_t taken_us, uint64_t served)
{
    return taken_us < TURN_US || (taken_us < TURN_US_MAX && taken_us < served * LITTLE_US);
}

// Returns when it began.
static uint64_t serve(struct mf_owned_shard *shard, const struct mf_replica_env *first)
{
    struct mf_reactor *reactor = shard->reactor;
    uint64_t now_us = mf_mono_us();
    const struct mf_replica_env env = {
        .now_us = now_us,
        // Both clocks went on alike: a turn is short.
        .wall_us = first->wall_us + (now_us - first->now_us),
        .random = mf_rand_next(&reactor->rand),
        .log_blocked = mf_node_blocked(reactor->node),
    };
    shard->later = false;
    reactor->flushing = ++reactor->flushes;
    flush_shard(shard, &env);
    reactor->flushing = 0;
    set_timer_of(shard, env.now_us);
    mf_status_publish(shard, &env);
    mf_placer_publish(shard);
    mf_reactor_publish_gate(shard);
    mf_checkpoint_consider(shard, env.now_us);
    return now_us;
}

// At least one shard, however long the turn has taken. True while there is time for more.
static bool flush_dirty(struct mf_reactor *reactor, uint64_t turn_us)
{
    if (reactor->dirty == NULL)
        return true;
    uint64_t now_us = turn_us;
    uint64_t served = 0;
    const struct mf_replica_env first = mf_reactor_env(reactor);
    for (; reactor->dirty != NULL && in_time(now_us - turn_us, served); served++) {
        struct mf_owned_shard *shard = reactor->dirty;
        reactor->dirty = shard->next_dirty;
        shard->listed = false;
        reactor->dirty_count--;
        now_us = serve(shard, &first);
    }
    return in_time(now_us - turn_us, served);
}

// Some of the shards that were written at once.
static void flush_later(struct mf_reactor *reactor, uint64_t turn_us)
{
    uint64_t requests = mf_counter_read(&reactor->counters.requests);
    bool idle = requests == reactor->later_requests;
    reactor->later_requests = requests;
    if (reactor->later == NULL || (!idle && turn_us < reactor->later_us))
        return;
    const struct mf_replica_env first = mf_reactor_env(reactor);
    for (uint32_t i = 0; i < LATER_PER_TURN && reactor->later != NULL; i++) {
        struct mf_owned_shard *shard = reactor->later;
        reactor->later = shard->next_later;
        shard->waits = false;
        // It may have had its turn meanwhile, or be about to, or be no copy any more.
        if (shard->later && !shard->listed && shard->replica != NULL)
            serve(shard, &first);
    }
    uint64_t now_us = mf_mono_us();
    reactor->later_us = now_us + LATER_SHARE * (now_us - turn_us);
}

static void arm_timer(struct mf_reactor *reactor, bool soon)
{
    const struct mf_heap_node *top = mf_heap_top(&reactor->timers);
    if (top == NULL && !soon) {
        ev_timer_stop(reactor->loop, &reactor->timer);
        return;
    }
    uint64_t now_us = mf_mono_us();
    uint64_t due_us = soon ? now_us + 100 : mf_heap_node_deadline(top);
    double wait_s = due_us > now_us ? (double)(due_us - now_us) / 1e6 : 0.0;
    // libev takes a repeat of 0 for "stop".
    reactor->timer.repeat = wait_s > 1e-6 ? wait_s : 1e-6;
    ev_timer_again(reactor->loop, &reactor->timer);
}

static void on_awake(struct ev_loop *loop, ev_check *watcher, int events)
{
    (void)loop;
    (void)events;
    struct mf_reactor *reactor = watcher->data;
    uint64_t before_us = reactor->awake_us;
    reactor->awake_us = mf_mono_us();
    if (before_us != 0 && reactor->awake_us > before_us + MF_STOOD_STILL_US)
        mf_listeners_stood_still(reactor, reactor->awake_us - before_us);
}

static void take_turn(struct mf_reactor *reactor)
{
    mf_counter_add(&reactor->counters.turns, 1);
    reactor->expire_left = EXPIRE_PER_TURN;
    uint64_t turn_us = 0;
    bool more = true;
    bool in_time = true;
    for (uint32_t round = 0; round < TURN_ROUNDS && more && in_time; round++) {
        mf_reactor_run_own_tasks(reactor);
        if (round == 0) {
            turn_us = mf_mono_us();
            flush_later(reactor, turn_us);
        }
        in_time = flush_dirty(reactor, turn_us);
        submit_wal(reactor);
        mf_watchers_flush(reactor);
        more = reactor->dirty != NULL || reactor->out_first[reactor->index] != NULL;
    }
    mf_watch_peers_flush(reactor->watch_peers);
    mf_watch_relay_flush(reactor->watch_relay);
    mf_streams_flush(reactor->streams);
    mf_links_flush(reactor->links);
    bool sent = mf_reactor_send_chains(reactor);
    arm_timer(reactor, !sent);
    if (reactor->awake_us != 0)
        mf_counter_max(&reactor->counters.turn_us_max, mf_mono_us() - reactor->awake_us);
    bool again = more || reactor->expire_left == 0 || reactor->later != NULL;
    (again ? ev_idle_start : ev_idle_stop)(reactor->loop, &reactor->again);
    // Writes that have come meanwhile have had their turn, or have it with what is left.
    reactor->writes = 0;
    ev_clear_pending(reactor->loop, &reactor->early);
}

static void on_turn(struct ev_loop *loop, ev_prepare *watcher, int events)
{
    (void)loop;
    (void)events;
    take_turn(watcher->data);
}

static void on_early(struct ev_loop *loop, ev_prepare *watcher, int events)
{
    (void)loop;
    (void)events;
    struct mf_reactor *reactor = watcher->data;
    take_turn(reactor);
    mf_conn_pool_flush(reactor->pool);
}

// That it is active is all that is wanted of it: the loop does not wait then.
static void on_idle(struct ev_loop *loop, ev_idle *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events;
}

static void on_timer(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    struct mf_reactor *reactor = watcher->data;
    struct mf_replica_env env = mf_reactor_env(reactor);
    struct mf_heap_node *top;
    while ((top = mf_heap_top(&reactor->timers)) != NULL &&
           mf_heap_node_deadline(top) <= env.now_us) {
        struct mf_owned_shard *shard =
            (struct mf_owned_shard *)(void *)((char *)top - offsetof(struct mf_owned_shard, timer));
        set_timer(shard, 0);
        if (shard->due_us == 0)
            continue;
        if (shard->due_us > env.now_us) {
            set_timer(shard, shard->due_us);
            continue;
        }
        shard->due_us = 0;
        env.random = mf_rand_next(&reactor->rand);
        mf_replica_tick(shard->replica, &env);
        mf_reactor_touch(shard);
    }
}

void mf_turn_init(struct mf_reactor *reactor)
{
    struct ev_loop *loop = reactor->loop;
    ev_check_init(&reactor->awake, on_awake);
    ev_set_priority(&reactor->awake, EV_MAXPRI);
    reactor->awake.data = reactor;
    ev_prepare_init(&reactor->turn, on_turn);
    reactor->turn.data = reactor;
    ev_prepare_start(loop, &reactor->turn);
    // Before the sockets that are pending.
    ev_prepare_init(&reactor->early, on_early);
    ev_set_priority(&reactor->early, 1);
    reactor->early.data = reactor;
    ev_idle_init(&reactor->again, on_idle);
    ev_init(&reactor->timer, on_timer);
    reactor->timer.data = reactor;
    // The check that is started last is called first: what the pools go on with finds the time
    // right.
    ev_check_start(loop, &reactor->awake);
}
