// The expiry threads: each sleeps until the next deadline of its shards, and for ever without one.
//
// A thread says when it will look again (wake_us) before it sleeps. A writer that brings a nearer
// deadline into a shard says that first (next_us) and looks at wake_us then; the thread says that
// it is awake (wake_us = never) before it looks at every next_us. So at least one of the two sees
// the other, and no deadline is slept through.
#include "store/store_internal.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>

#include "base/clock.h"

// Keys taken out under one hold of a shard's lock: well under a tenth of a millisecond.
#define SWEEP_KEYS 256u

static uint64_t earlier(uint64_t a_us, uint64_t b_us)
{
    return a_us < b_us ? a_us : b_us;
}

static uint64_t next_of(const struct mf_store_shard *shard)
{
    // Sequentially consistent: see mf_store_end.
    return atomic_load_explicit(&shard->next_us, memory_order_seq_cst);
}

uint64_t mf_store_sweep_shard(struct mayfly_store *store, uint32_t number, uint64_t limit)
{
    struct mf_store_shard *shard = &store->shards[number];
    uint64_t removed = 0;
    while (removed < limit && next_of(shard) <= store->clock.mono_us()) {
        uint64_t step = limit - removed < SWEEP_KEYS ? limit - removed : SWEEP_KEYS;
        struct mf_command command = {.op = MF_OP_EXPIRE_DUE, .limit = (uint32_t)step};
        uint64_t now_us = mf_store_begin(store, number);
        struct mf_result result = mf_store_apply(shard, now_us, &command);
        mf_store_end(store, number);
        if (result.kind != MF_RESULT_INT)
            break;
        removed += (uint64_t)result.integer;
        if (atomic_load_explicit(&shard->waiting, memory_order_relaxed) > 0)
            sched_yield(); // or the lock would be taken again before they are awake
    }
    return removed;
}

// Looks after the worker's shards until none is due; returns the next deadline.
static uint64_t sweep_all(struct mf_store_worker *worker)
{
    struct mayfly_store *store = worker->store;
    uint64_t next_us = MF_STORE_NEVER;
    for (uint32_t i = worker->number; i < store->shard_count; i += store->worker_count) {
        mf_store_sweep_shard(store, i, UINT64_MAX);
        next_us = earlier(next_us, next_of(&store->shards[i]));
    }
    return next_us;
}

static void sleep_until(struct mf_store_worker *worker, uint64_t wake_us)
{
    if (wake_us == MF_STORE_NEVER) {
        pthread_cond_wait(&worker->wake, &worker->lock);
        return;
    }
    uint64_t now_us = worker->store->clock.mono_us();
    struct timespec until = mf_wait_until(wake_us > now_us ? wake_us - now_us : 0);
    pthread_cond_timedwait(&worker->wake, &worker->lock, &until);
}

static void set_wake(struct mf_store_worker *worker, uint64_t wake_us)
{
    // Sequentially consistent: see mf_store_end.
    atomic_store_explicit(&worker->wake_us, wake_us, memory_order_seq_cst);
}

static uint64_t wake_of(const struct mf_store_worker *worker)
{
    // Sequentially consistent: see mf_store_end.
    return atomic_load_explicit(&worker->wake_us, memory_order_seq_cst);
}

static void *work(void *arg)
{
    struct mf_store_worker *worker = arg;
    pthread_mutex_lock(&worker->lock);
    while (!worker->stop) {
        uint64_t wake_us = wake_of(worker);
        if (wake_us > worker->store->clock.mono_us()) {
            sleep_until(worker, wake_us);
            continue;
        }
        set_wake(worker, MF_STORE_NEVER);
        pthread_mutex_unlock(&worker->lock);
        uint64_t next_us = sweep_all(worker);
        pthread_mutex_lock(&worker->lock);
        set_wake(worker, earlier(next_us, wake_of(worker)));
    }
    pthread_mutex_unlock(&worker->lock);
    return NULL;
}

void mf_store_wake_worker(struct mayfly_store *store, uint32_t shard, uint64_t deadline_us)
{
    struct mf_store_worker *worker = &store->workers[shard % store->worker_count];
    if (deadline_us >= wake_of(worker))
        return;
    pthread_mutex_lock(&worker->lock);
    if (deadline_us < wake_of(worker)) {
        set_wake(worker, deadline_us);
        pthread_cond_signal(&worker->wake);
    }
    pthread_mutex_unlock(&worker->lock);
}

static bool start(struct mf_store_worker *worker)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&worker->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&worker->lock, NULL);
    atomic_init(&worker->wake_us, MF_STORE_NEVER);
    // The program's signals are for its own threads.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&worker->thread, NULL, work, worker) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started) {
        pthread_setname_np(worker->thread, "mayfly-expiry");
        return true;
    }
    pthread_cond_destroy(&worker->wake);
    pthread_mutex_destroy(&worker->lock);
    return false;
}

enum mayfly_err mf_store_start_workers(struct mayfly_store *store, uint32_t count)
{
    if (count == 0)
        return MAYFLY_OK;
    store->workers = calloc(count, sizeof(store->workers[0]));
    if (store->workers == NULL)
        return MAYFLY_ERR_OUT_OF_MEMORY;
    // A worker asks for the number of workers only when it has something to do.
    for (uint32_t i = 0; i < count; i++) {
        store->workers[i] = (struct mf_store_worker){.store = store, .number = i};
        if (!start(&store->workers[i])) {
            mf_store_stop_workers(store);
            return MAYFLY_ERR_OUT_OF_MEMORY;
        }
        store->worker_count = i + 1;
    }
    return MAYFLY_OK;
}

void mf_store_stop_workers(struct mayfly_store *store)
{
    for (uint32_t i = 0; i < store->worker_count; i++) {
        struct mf_store_worker *worker = &store->workers[i];
        pthread_mutex_lock(&worker->lock);
        worker->stop = true;
        pthread_cond_signal(&worker->wake);
        pthread_mutex_unlock(&worker->lock);
        pthread_join(worker->thread, NULL);
        pthread_cond_destroy(&worker->wake);
        pthread_mutex_destroy(&worker->lock);
    }
    free(store->workers);
    store->workers = NULL;
    store->worker_count = 0;
}

enum mayfly_err mayfly_store_sweep(struct mayfly_store *store, uint64_t limit, uint64_t *removed,
                                   int64_t *next_ms)
{
    if (!mf_store_usable(store))
        return MAYFLY_ERR_FORKED;
    uint64_t sum = 0;
    uint64_t next_us = MF_STORE_NEVER;
    for (uint32_t i = 0; i < store->shard_count; i++) {
        sum += mf_store_sweep_shard(store, i, limit - sum);
        next_us = earlier(next_us, next_of(&store->shards[i]));
    }
    if (removed != NULL)
        *removed = sum;
    if (next_ms != NULL) {
        uint64_t now_us = store->clock.mono_us();
        uint64_t left_us = next_us > now_us ? next_us - now_us : 0;
        *next_ms = next_us == MF_STORE_NEVER ? -1 : (int64_t)((left_us + 999) / 1000);
    }
    return MAYFLY_OK;
}
