// Starting threads; see thread.h.
#include "base/thread.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"

struct start {
    void *(*run)(void *);
    void *arg;
    char name[16];
};

static void *begin(void *arg)
{
    struct start *given = arg;
    struct start start = *given;
    pthread_setname_np(pthread_self(), start.name);
    free(given);
    void *volatile first = mf_alloc(1); // volatile, or the compiler leaves both out
    free(first);
    return start.run(start.arg);
}

int mf_thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *arg)
{
    struct start *start = mf_alloc(sizeof *start);
    *start = (struct start){.run = run, .arg = arg};
    snprintf(start->name, sizeof start->name, "%s", name);
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(thread, NULL, begin, start);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        free(start);
    return error;
}
