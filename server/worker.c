// The thread for files; see worker.h.
//
// Shared: the queue and `stopped`, under the mutex.
#include "server/worker.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/thread.h"
#include "server/reactor.h"

struct mf_worker {
    pthread_mutex_t mutex;
    pthread_cond_t given;
    struct mf_job *first;
    struct mf_job *last;
    bool stopped;
    bool has_thread;
    pthread_t thread;
};

struct mf_worker *mf_worker_new(void)
{
    struct mf_worker *worker = mf_calloc(1, sizeof(*worker));
    pthread_mutex_init(&worker->mutex, NULL);
    pthread_cond_init(&worker->given, NULL);
    return worker;
}

void mf_worker_give(struct mf_worker *worker, struct mf_job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&worker->mutex);
    bool stopped = worker->stopped;
    job->undone = stopped;
    if (!stopped) {
        if (worker->last != NULL)
            worker->last->next = job;
        else
            worker->first = job;
        worker->last = job;
        pthread_cond_signal(&worker->given);
    }
    pthread_mutex_unlock(&worker->mutex);
    // Otherwise it may be done and freed by now.
    if (stopped)
        mf_reactor_post(job->home, &job->task);
}

// NULL when the worker has been stopped.
static struct mf_job *next_job(struct mf_worker *worker)
{
    pthread_mutex_lock(&worker->mutex);
    while (worker->first == NULL && !worker->stopped)
        pthread_cond_wait(&worker->given, &worker->mutex);
    struct mf_job *job = worker->stopped ? NULL : worker->first;
    if (job != NULL) {
        worker->first = job->next;
        if (worker->first == NULL)
            worker->last = NULL;
    }
    pthread_mutex_unlock(&worker->mutex);
    return job;
}

static void *run(void *arg)
{
    struct mf_worker *worker = arg;
    struct mf_job *job;
    while ((job = next_job(worker)) != NULL) {
        job->work(job);
        mf_reactor_post(job->home, &job->task);
    }
    return NULL;
}

enum mf_err mf_worker_start(struct mf_worker *worker)
{
    worker->has_thread = mf_thread_start(&worker->thread, "worker", run, worker) == 0;
    return worker->has_thread ? MF_OK : MF_IO;
}

void mf_worker_stop(struct mf_worker *worker)
{
    pthread_mutex_lock(&worker->mutex);
    worker->stopped = true;
    pthread_cond_signal(&worker->given);
    pthread_mutex_unlock(&worker->mutex);
    if (worker->has_thread)
        pthread_join(worker->thread, NULL);
    worker->has_thread = false;
    while (worker->first != NULL) {
        struct mf_job *job = worker->first;
        worker->first = job->next;
        job->undone = true;
        mf_reactor_post(job->home, &job->task);
    }
    worker->last = NULL;
}

void mf_worker_free(struct mf_worker *worker)
{
    if (worker == NULL)
        return;
    pthread_cond_destroy(&worker->given);
    pthread_mutex_destroy(&worker->mutex);
    free(worker);
}
