// What can be set while the node runs, by CONFIG SET and DEBUG of the Redis door, beside the limit
// of its memory (budget.h) and the log level (base/log.h). It begins as the configuration has it,
// and lasts until the node stops.
//
// Threads: set by any reactor, read by all. Each is a value of its own that orders nothing, so all
// accesses are relaxed: who is told OK has had its setting carried to every reactor by tasks, whose
// ring has the release and the acquire (server/resp_config.c).
#ifndef MF_SERVER_SETTINGS_H
#define MF_SERVER_SETTINGS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "server/config.h"

// Which keyspace events subscribers hear of, as Redis has them: on which channels ...
#define MF_NOTIFY_KEYSPACE (1u << 0)
#define MF_NOTIFY_KEYEVENT (1u << 1)
// ... and of what. The kinds that Mayfly has no events for are kept, so that they can be told.
#define MF_NOTIFY_GENERIC (1u << 2)
#define MF_NOTIFY_STRING (1u << 3)
#define MF_NOTIFY_LIST (1u << 4)
#define MF_NOTIFY_SET (1u << 5)
#define MF_NOTIFY_HASH (1u << 6)
#define MF_NOTIFY_ZSET (1u << 7)
#define MF_NOTIFY_EXPIRED (1u << 8)
#define MF_NOTIFY_EVICTED (1u << 9)
#define MF_NOTIFY_STREAM (1u << 10)
#define MF_NOTIFY_MISS (1u << 11)
#define MF_NOTIFY_MODULE (1u << 12)
#define MF_NOTIFY_NEW (1u << 13)
// "A"
#define MF_NOTIFY_ALL                                                                              \
    (MF_NOTIFY_GENERIC | MF_NOTIFY_STRING | MF_NOTIFY_LIST | MF_NOTIFY_SET | MF_NOTIFY_HASH |      \
     MF_NOTIFY_ZSET | MF_NOTIFY_EXPIRED | MF_NOTIFY_EVICTED | MF_NOTIFY_STREAM | MF_NOTIFY_MODULE)

struct mf_settings {
    _Atomic uint32_t clients_max;
    _Atomic uint32_t idle_timeout_s; // each reactor gives it to its pool of connections
    _Atomic uint32_t notify;         // MF_NOTIFY_...
    _Atomic bool expiry_paused;      // see struct mf_replica_config
};

// Before the reactors run.
static inline void mf_settings_init(struct mf_settings *settings, const struct mf_config *config)
{
    atomic_init(&settings->clients_max, config->clients_max);
    atomic_init(&settings->idle_timeout_s, config->idle_timeout_s);
    atomic_init(&settings->notify, MF_NOTIFY_ALL | MF_NOTIFY_KEYSPACE | MF_NOTIFY_KEYEVENT);
    atomic_init(&settings->expiry_paused, false);
}

#endif
