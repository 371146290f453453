// Starting a thread of a server, as all of them are started.
#ifndef MF_BASE_THREAD_H
#define MF_BASE_THREAD_H

#include <pthread.h>

// Starts `run(arg)` in *thread, which the caller joins. The thread takes no signals: those are for
// the program's own loop. It is called `name`, of 15 characters at most (as `top -H` shows it), and
// has been to the allocator before it runs: one that asks for its first memory when the system has
// none left crashes within jemalloc, and does not say what is missing.
// Returns 0, or the error number of what failed, with *thread as it was.
int mf_thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *arg);

#endif
