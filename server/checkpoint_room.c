// When a disk that runs low is worth a checkpoint; see checkpoint_room.h.
#include "server/checkpoint_room.h"

#include <stdbool.h>
#include <stdio.h>
#include <sys/statvfs.h>

#include "base/log.h"
#include "consensus/wal_ledger.h"
#include "server/checkpoint.h"
#include "server/reactor.h"

// A shard that holds the oldest file still: what it has there is not chosen yet, or its checkpoint
// has failed.
#define AGAIN_US UINT64_C(10000000)
// The same is said no more often.
#define SAY_US UINT64_C(600000000)

enum { SAID_CUT, SAID_LOW };

enum mf_room mf_checkpoint_room_judge(const struct mf_checkpoint_room *room)
{
    uint64_t written = room->streams * room->segment_bytes;
    uint64_t worth = room->shards_bytes / 8;
    uint64_t enough = MF_ROOM_SEGMENTS * written + room->largest_bytes + worth;
    if (room->free_bytes >= enough)
        return MF_ROOM_ENOUGH;
    uint64_t gain = room->log_bytes > written ? room->log_bytes - written : 0;
    return gain >= room->segment_bytes && gain >= worth ? MF_ROOM_CUT : MF_ROOM_LOW;
}

uint64_t mf_checkpoint_room_file(uint64_t shard_bytes, uint64_t there_bytes, uint64_t log_bytes)
{
    uint64_t grown = there_bytes + log_bytes;
    return there_bytes > 0 && grown < shard_bytes ? grown : shard_bytes;
}

// Of the disk with this folder of the node's; false: nobody knows.
static bool free_of(const struct mf_node *node, const char *folder, uint64_t *free_bytes)
{
    char path[MF_CHECKPOINT_PATH_BYTES];
    snprintf(path, sizeof(path), "%s/%s", node->config.data_dir, folder);
    struct statvfs room;
    if (statvfs(path, &room) != 0)
        return false;
    *free_bytes = (uint64_t)room.f_bavail * room.f_frsize;
    return true;
}

static bool measure(const struct mf_node *node, struct mf_checkpoint_room *room)
{
    *room = (struct mf_checkpoint_room){.log_bytes = mf_wal_ledger_bytes(node->ledger),
                                        .streams = node->reactor_count,
                                        .segment_bytes = MF_WAL_SEGMENT_BYTES};
    for (uint32_t i = 0; i < node->config.shards; i++) {
        uint64_t bytes = atomic_load_explicit(&node->shards[i].bytes, memory_order_relaxed);
        room->shards_bytes += bytes;
        if (bytes > room->largest_bytes)
            room->largest_bytes = bytes;
    }
    return free_of(node, "wal", &room->free_bytes);
}

static bool may_say(struct mf_room_look *look, int what, uint64_t now_us)
{
    if (look->said_us[what] != 0 && now_us < look->said_us[what] + SAY_US)
        return false;
    look->said_us[what] = now_us;
    return true;
}

// Only when the log itself may be what fills the disk next.
static void say_low(struct mf_room_look *look, const struct mf_checkpoint_room *room,
                    uint64_t now_us)
{
    if (room->free_bytes < MF_ROOM_SEGMENTS * room->streams * room->segment_bytes &&
        may_say(look, SAID_LOW, now_us))
        mf_log(MF_WARN,
               "the disk runs low, and no checkpoint would make room: %llu KiB are free, the log "
               "takes %llu KiB",
               (unsigned long long)room->free_bytes / 1024,
               (unsigned long long)room->log_bytes / 1024);
}

// R3, and that it has not just been asked for in vain.
static bool fits(const struct mf_node *node, const struct mf_checkpoint_room *room, uint32_t shard)
{
    struct mf_checkpoint_info there;
    uint64_t there_bytes = mf_checkpoint_info(node, shard, &there) ? there.bytes : 0;
    uint64_t bytes = atomic_load_explicit(&node->shards[shard].bytes, memory_order_relaxed);
    uint64_t free_bytes;
    return free_of(node, "checkpoints", &free_bytes) &&
           mf_checkpoint_room_file(bytes, there_bytes, room->log_bytes) <= free_bytes;
}

static bool as_new(const struct mf_node *node, uint32_t shard)
{
    struct mf_checkpoint_info there;
    return mf_checkpoint_info(node, shard, &there) &&
           there.slot >= atomic_load_explicit(&node->shards[shard].applied, memory_order_relaxed);
}

void mf_checkpoint_room_look(struct mf_room_look *look, struct mf_node *node, uint64_t now_us)
{
    struct mf_checkpoint_room room;
    uint32_t shard;
    if (node->ledger == NULL || !measure(node, &room))
        return;
    enum mf_room judged = mf_checkpoint_room_judge(&room);
    mf_wal_ledger_low(node->ledger, judged != MF_ROOM_ENOUGH);
    if (judged == MF_ROOM_LOW)
        say_low(look, &room, now_us);
    if (judged != MF_ROOM_CUT || !mf_wal_ledger_pinned_by(node->ledger, &shard))
        return;
    bool again = shard == look->shard && look->asked_us != 0 && now_us < look->asked_us + AGAIN_US;
    if (again || as_new(node, shard))
        return;
    if (!fits(node, &room, shard)) {
        say_low(look, &room, now_us);
        return;
    }
    if (may_say(look, SAID_CUT, now_us))
        mf_log(MF_INFO,
               "the disk runs low, %llu KiB are free: checkpoints are written early, so that the "
               "log can be cut",
               (unsigned long long)room.free_bytes / 1024);
    look->shard = shard;
    look->asked_us = now_us;
    mf_checkpoint_request(node, shard);
}
