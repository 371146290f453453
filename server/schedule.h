// Snapshots at intervals (`snapshot.interval_s`): named after the node and the second in which they
// begin, UTC, as auto-1-20261121T193000Z. Of these the newest `snapshot.keep` stay; files of other
// names, so those of other nodes in the same folder too, are left alone. The interval counts on
// over a restart, from the newest that is there; where there is none, one is due at once.
// And once after the start, with or without an interval: the removal of snapshots of any name that
// a process was killed over (snapshot/unfinished.h).
#ifndef MF_SERVER_SCHEDULE_H
#define MF_SERVER_SCHEDULE_H

#include "server/reactor.h"

struct mf_schedule;

// Never NULL; one that has nothing to do where no interval is set.
struct mf_schedule *mf_schedule_new(struct mf_node *node);
// Reactor 0, often.
void mf_schedule_tick(struct mf_schedule *schedule, struct mf_reactor *reactor);
// When the reactors' threads and the worker have ended.
void mf_schedule_free(struct mf_schedule *schedule);

#endif
