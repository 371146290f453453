// Threads that take numbers; see parallel.h.
#include "base/parallel.h"

#include <pthread.h>
#include <stdbool.h>

#include "base/clock.h"
#include "base/thread.h"

#define THREADS_MAX 64u

// Under the lock: all but `work`.
struct run {
    const struct mf_parallel *work;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    uint32_t next;
    uint32_t running; // threads
    enum mf_err err;
    uint32_t failed;
};

static bool take(struct run *run, uint32_t *i)
{
    pthread_mutex_lock(&run->lock);
    bool more = run->next < run->work->count && run->err == MF_OK;
    if (more)
        *i = run->next++;
    pthread_mutex_unlock(&run->lock);
    return more;
}

static void note_failure(struct run *run, uint32_t i, enum mf_err err)
{
    pthread_mutex_lock(&run->lock);
    if (run->err == MF_OK || i < run->failed) {
        run->err = err;
        run->failed = i;
    }
    pthread_mutex_unlock(&run->lock);
}

static void do_items(struct run *run)
{
    uint32_t i;
    while (take(run, &i)) {
        enum mf_err err = run->work->run(run->work->arg, i);
        if (err != MF_OK)
            note_failure(run, i, err);
    }
}

static void *thread_main(void *arg)
{
    struct run *run = arg;
    do_items(run);
    pthread_mutex_lock(&run->lock);
    run->running--;
    pthread_cond_signal(&run->ended);
    pthread_mutex_unlock(&run->lock);
    return NULL;
}

// Returns how many there are.
static uint32_t start_threads(struct run *run, pthread_t threads[THREADS_MAX])
{
    uint32_t wanted = run->work->threads > 0 ? run->work->threads : 1;
    if (wanted > run->work->count)
        wanted = run->work->count;
    if (wanted > THREADS_MAX)
        wanted = THREADS_MAX;
    uint32_t started = 0;
    pthread_mutex_lock(&run->lock);
    while (started < wanted && mf_thread_start(&threads[started], "part", thread_main, run) == 0)
        started++;
    run->running = started;
    pthread_mutex_unlock(&run->lock);
    return started;
}

static void wait_a_while(struct run *run)
{
    struct timespec until = mf_wait_until((uint64_t)run->work->wait_ms * 1000);
    int waited = 0;
    while (run->running > 0 && waited == 0)
        waited = run->work->waiting != NULL
                     ? pthread_cond_timedwait(&run->ended, &run->lock, &until)
                     : pthread_cond_wait(&run->ended, &run->lock);
}

static void run_on_threads(struct run *run)
{
    pthread_t threads[THREADS_MAX];
    uint32_t started = start_threads(run, threads);
    pthread_mutex_lock(&run->lock);
    while (run->running > 0) {
        wait_a_while(run);
        if (run->running == 0 || run->work->waiting == NULL)
            continue;
        pthread_mutex_unlock(&run->lock);
        run->work->waiting(run->work->arg);
        pthread_mutex_lock(&run->lock);
    }
    pthread_mutex_unlock(&run->lock);
    for (uint32_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
}

enum mf_err mf_parallel_run(const struct mf_parallel *work, uint32_t *failed)
{
    struct run run = {.work = work, .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&run.ended, &attributes);
    pthread_condattr_destroy(&attributes);
    if (work->threads > 1 || work->waiting != NULL)
        run_on_threads(&run);
    do_items(&run); // all, where there are no threads
    pthread_cond_destroy(&run.ended);
    pthread_mutex_destroy(&run.lock);
    if (failed != NULL)
        *failed = run.failed;
    return run.err;
}
