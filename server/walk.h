// One shard's state on its way into a snapshot file: cut and walked by its reactor in small steps
// between commands, and written by the thread that owns the file. Chunks of records go from one to
// the other through a pipe, at most a few ahead of the disk. The walks of several reactors may
// share it and go on at once.
//
// What is about to change is handed out first, whatever the disk does. So that this does not grow
// to the shard's size, the replica is held (mf_replica_hold) from MF_WALK_EARLY_BYTES of it on that
// are not written yet, until half of that is left. A file that takes nothing at all meanwhile is
// given up after six request timeouts: writers do not wait for a disk that hangs.
//
// The walk belongs to the reactor from mf_walk_begin until its last chunk, and to the file's thread
// after that. A shard has one walk at a time: another waits for its end.
#ifndef MF_SERVER_WALK_H
#define MF_SERVER_WALK_H

#include <semaphore.h>

#include "base/bytes.h"
#include "base/ring.h"
#include "server/reactor.h"
#include "snapshot/format.h"
#include "snapshot/writer.h"

#define MF_WALK_EARLY_BYTES ((size_t)8 << 20)

// The file's thread's end of it.
struct mf_walk_pipe {
    struct mf_ring *chunks;
    sem_t ready;
    _Atomic size_t ahead_bytes; // relaxed: it bounds memory, the ring orders the content
};
void mf_walk_pipe_init(struct mf_walk_pipe *pipe);
void mf_walk_pipe_free(struct mf_walk_pipe *pipe);
// Any thread: mf_walk_write gives up, unless chunks are there.
void mf_walk_pipe_wake(struct mf_walk_pipe *pipe);

struct mf_walk {
    struct mf_walk_pipe *pipe;
    struct mf_owned_shard *shard;
    const struct mf_shard *state; // of the replica, when it was cut
    ev_timer timer;
    struct mf_shard_meta meta;
    uint64_t wall_us; // when the shard's log clock read meta.log_time_us
    struct mf_buf members;
    bool with_members;
    bool begun;        // the reactor has it, or has given it back: the file's thread frees it
    uint64_t index;    // the cut is not before the replica has applied this
    uint64_t until_us; // the replica has so long to get there
    bool cut;
    bool walked;
    enum mf_err err;
    bool stepping; // what is handed out now is not early
    size_t taken;  // bytes, in this step
    struct mf_buf records;
    size_t kept_bytes;           // of values that `records` only points to
    size_t early_bytes;          // of what is in `records` and was handed out early
    _Atomic size_t early_pushed; // of what is on its way to the file; relaxed: a bound
    size_t early_seen;           // that of the last step ...
    uint64_t moved_us;           // ... and when it was another one, or nothing was held
    bool holding;                // the replica
    // The file's thread.
    bool in_file;        // its section has begun
    enum mf_err outcome; // so far
};

// On the shard's reactor: cuts the shard as soon as its replica has applied `index`, and hands over
// what it holds. The caller has set `pipe` and `shard`, and with_members for the configuration.
void mf_walk_begin(struct mf_walk *walk, uint64_t index);
// On the shard's reactor, instead: the shard cannot be cut, which mf_walk_write then returns.
void mf_walk_refuse(struct mf_walk *walk, enum mf_err err);

// The file's thread, at its start: reactors come first on the processors from now on.
void mf_walk_step_back(void);
// The file's thread: writes what comes until some walk of the pipe has come to its end, and returns
// that one with its outcome: MF_OK when its section is whole, MF_TIMEOUT when the replica did not
// get to `index` in time or the file took nothing while writers waited, MF_AGAIN when another state
// took the place of the one that was walked, or the replica is blank.
// NULL after mf_walk_pipe_wake: then reactors may still have walks (see `begun`). Every walk must
// be waited for, also when the file has failed.
struct mf_walk *mf_walk_write(struct mf_walk_pipe *pipe, struct mf_snapshot_writer *writer);
void mf_walk_free(struct mf_walk *walk);

#endif
