// One change of a key, as those who watch are told of it. Changes of ids, of a TTL alone and of
// what a snapshot loads are none.
#ifndef MF_BASE_EVENT_H
#define MF_BASE_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum mf_change_event {
    MF_EVENT_SET,
    MF_EVENT_DEL,
    MF_EVENT_EXPIRE,
    MF_EVENT_EVICT,
    MF_EVENT_FLUSH, // all keys of a shard at once; no watcher is told of it as such
};
#define MF_EVENTS 4u // that watchers are told
// Sets of events have bits 1 << enum mf_change_event.
#define MF_EVENTS_ALL ((1u << MF_EVENTS) - 1)
const char *mf_change_event_name(enum mf_change_event event); // "set", "del", "expire", "evict"
// False: no event has that name.
bool mf_change_event_find(struct mf_bytes name, enum mf_change_event *out);

struct mf_event {
    enum mf_change_event event;
    struct mf_bytes key;
    uint64_t version;
    struct mf_bytes value; // of SET, else empty
};

// One version of one shard.
struct mf_shard_version {
    uint32_t shard;
    uint64_t version;
};

// An event's bytes, within a process: u8 event, u64 version, blob key, blob value (each below 4
// GiB).
static inline size_t mf_event_bytes(const struct mf_event *event)
{
    return 1 + 8 + 4 + event->key.len + 4 + event->value.len;
}
void mf_event_put(struct mf_buf *out, const struct mf_event *event);
// From what mf_event_put wrote; the views point there.
void mf_event_take(struct mf_reader *reader, struct mf_event *out);

#endif
