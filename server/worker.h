// A thread for what reactors must not do themselves: reading, writing and syncing files, and large
// loops over memory. Jobs run one after the other, in the order in which they were given, and each
// goes back to a reactor as a task.
#ifndef MF_SERVER_WORKER_H
#define MF_SERVER_WORKER_H

#include <stdbool.h>

#include "base/err.h"
#include "server/task.h"

struct mf_reactor;
struct mf_worker;

// Embedded in what it works on. The caller sets work, task.run and home.
struct mf_job {
    struct mf_task task; // run on `home` when the work is done, or will never be
    struct mf_reactor *home;
    void (*work)(struct mf_job *job); // on the worker's thread
    bool undone;                      // the worker has stopped before it came to this job
    struct mf_job *next;
};

struct mf_worker *mf_worker_new(void);
// MF_IO.
MF_MUST_USE enum mf_err mf_worker_start(struct mf_worker *worker);
// Any thread. After mf_worker_stop the job goes back undone at once.
void mf_worker_give(struct mf_worker *worker, struct mf_job *job);
// When the reactors' threads have ended: finishes the job that is being worked on, gives the others
// back undone.
void mf_worker_stop(struct mf_worker *worker);
void mf_worker_free(struct mf_worker *worker);

#endif
