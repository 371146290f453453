// Stepping down for the disk, and coming back; see disk.h.
//
// Shared between threads: mf_node.blocked_logs, counted by the WALs' threads and read by all.
#include "server/disk.h"

#include <signal.h>
#include <unistd.h>

#include "base/log.h"
#include "server/latency.h"
#include "server/reactor.h"

// Of all logs of the node together, what peers send may wait for the disk.
#define PENDING_BYTES_MAX (256u << 20)

void mf_disk_failed(void *arg, const char *message)
{
    struct mf_reactor *reactor = arg;
    mf_log(MF_ERROR, "the write-ahead log failed, the node stops: %s", message);
    atomic_store(&reactor->node->failed, true);
    kill(getpid(), SIGTERM);
}

void mf_disk_blocked(void *arg, enum mf_wal_block block, const char *message)
{
    struct mf_reactor *reactor = arg;
    _Atomic uint32_t *blocked = &reactor->node->blocked_logs;
    // Relaxed: a count; what is on disk is told by `durable`.
    if (block == MF_WAL_FLOWS) {
        if (atomic_fetch_sub_explicit(blocked, 1, memory_order_relaxed) == 1)
            mf_log(MF_INFO, "the disk takes the log again: this node votes, and may lead");
        return;
    }
    if (atomic_fetch_add_explicit(blocked, 1, memory_order_relaxed) == 0)
        mf_log(MF_ERROR,
               "%s, so this node steps down: it leads nothing and acknowledges no write until "
               "the disk takes the log again, which it tries by itself. %s",
               block == MF_WAL_FULL ? "the disk is full" : "the disk fails to write", message);
}

void mf_disk_synced(void *arg, uint64_t us)
{
    struct mf_reactor *reactor = arg;
    mf_latency_note(reactor->node->latency, MF_LATENCY_FSYNC, us);
}

bool mf_disk_sheds(const struct mf_reactor *reactor, const struct mf_paxos_msg *msg)
{
    return mf_paxos_brings_records(msg->type) && reactor->wal != NULL &&
           mf_wal_pending_bytes(reactor->wal) > PENDING_BYTES_MAX / reactor->node->reactor_count;
}
