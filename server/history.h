// The recent changes of one shard, for those who watch its keys and have missed some.
//
// Kept whether anybody watches or not, so that a client whose node has died finds at another what
// it did not hear. Bounded: the oldest go first, and the history says from which version on it is
// complete. Nothing of it is stored; it begins anew with each state that a replica takes over.
//
// One thread only.
#ifndef MF_SERVER_HISTORY_H
#define MF_SERVER_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/event.h"

// Two buffers of at most half_bytes each: when one is full the other is emptied and takes over.
struct mf_history {
    struct mf_buf older;
    struct mf_buf newer;
    uint64_t older_last; // version of the last event in `older`
    uint64_t newer_last;
    uint64_t complete_from; // every event of this version and later is here
    size_t half_bytes;
};

void mf_history_init(struct mf_history *history, size_t bytes_max);
void mf_history_free(struct mf_history *history);
// Forgets all: the state is another one now, at this version. No change has version 0: of a state
// that has seen none, every event from 0 on is here.
void mf_history_restart(struct mf_history *history, uint64_t version);
// Versions never fall. An event that is larger than half of the history empties it.
void mf_history_add(struct mf_history *history, const struct mf_event *event);
// Calls visit for every event of at least this version, in order.
void mf_history_visit(const struct mf_history *history, uint64_t from_version,
                      void (*visit)(void *arg, const struct mf_event *event), void *arg);
// Where the next event goes, into the cache.
void mf_history_prefetch(const struct mf_history *history);
size_t mf_history_bytes(const struct mf_history *history);

#endif
