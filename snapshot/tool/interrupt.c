// Removes unfinished files on a signal; see interrupt.h.
//
// The handler reads what the main thread writes: the text of a slot, and whether it is in use,
// which is said once the text is whole and taken back before it is written again.
#include "snapshot/tool/interrupt.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"

static char paths[INTERRUPT_PATHS_MAX][PATH_MAX];
static atomic_bool guarded[INTERRUPT_PATHS_MAX];
static const int signals[] = {SIGINT, SIGTERM, SIGHUP};

static void on_signal(int number)
{
    int interrupted_errno = errno;
    for (size_t i = 0; i < INTERRUPT_PATHS_MAX; i++) {
        // Pairs with the release in interrupt_guard.
        if (atomic_load_explicit(&guarded[i], memory_order_acquire))
            (void)unlink(paths[i]);
    }
    // SA_RESETHAND has put the default back: this ends the process once the handler returns.
    (void)raise(number);
    errno = interrupted_errno;
}

static void catch_signals(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_handler = on_signal;
    action.sa_flags = (int)SA_RESETHAND;
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        struct sigaction old;
        // What whoever started the program has told it to ignore stays ignored.
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
            (void)sigaction(signals[i], &action, NULL);
    }
}

void interrupt_guard(const char *path)
{
    catch_signals();
    if (strlen(path) >= PATH_MAX)
        return; // no file can have that name
    size_t slot = 0;
    while (slot < INTERRUPT_PATHS_MAX && atomic_load_explicit(&guarded[slot], memory_order_relaxed))
        slot++;
    assert(slot < INTERRUPT_PATHS_MAX);
    snprintf(paths[slot], sizeof(paths[slot]), "%s", path);
    // Pairs with the acquire in on_signal.
    atomic_store_explicit(&guarded[slot], true, memory_order_release);
}

void interrupt_guard_snapshot(const char *path)
{
    size_t size = strlen(path) + 32;
    char *temporary = mf_alloc(size);
    snprintf(temporary, size, "%s.tmp-%ld", path, (long)getpid());
    interrupt_guard(temporary);
    free(temporary);
}

void interrupt_release(void)
{
    for (size_t i = 0; i < INTERRUPT_PATHS_MAX; i++)
        atomic_store_explicit(&guarded[i], false, memory_order_release);
}
