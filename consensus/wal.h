// The write-ahead log in files, with group commit by a thread of its own.
//
// One stream per reactor, all in one folder. Segment files are zero-filled ahead of use by a second
// thread, because fdatasync after overwriting existing blocks is cheaper than after an append, or
// made of files that are needed no more, which costs less than filling. The
// reactor hands over one batch of records per turn; the thread writes whatever has gathered as one
// batch and one fdatasync, then reports. The reactor never blocks on the disk.
//
// Must: `durable` is reported for a hand-over only after its bytes are on disk (fsync mode), and
// hand-overs become durable in order. A failed sync is reported once through `failed`; the stream
// then accepts nothing more (a sync that failed may have lost pages: retrying would lie).
//
// A disk that is full, over a quota, or answers a write with an I/O error, *blocks* the stream
// until it takes the write. Must:
//   B1  What is not on disk is not durable: the batch at hand waits, and all later ones behind it.
//   B2  That batch is written again whole, the same bytes at the same place, so that what a failed
//       write left of it is overwritten. No other is begun before, so a crash meanwhile leaves
//       nothing of it, all of it, or a torn tail, and never damage.
//   B3  Only writes, and files made from nothing, are tried again. A failed sync is final.
//   B4  Tries are retry_us apart at least; a file that could not be made gives back its room in
//       between. Being closed ends the waiting.
#ifndef MF_CONSENSUS_WAL_H
#define MF_CONSENSUS_WAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "consensus/wal_format.h"
#include "consensus/wal_ledger.h"

struct mf_wal;

// Reads every stream's files of the folder in order (streams of a former thread count included) and
// calls record() for each record. The folder need not exist. A torn tail is dropped with a note in
// `torn`. MF_CORRUPT with a message for the operator (file, offset, what to do) for damage in the
// middle, a missing file of a stream or a bad header; MF_IO with a message when reading fails.
// After any error the records given so far are not the whole truth and must be thrown away. What
// was read is on disk by then, so that it may count as durable. Call it before any mf_wal_open.
// The ledger, unless NULL, gets to know which file holds what.
struct mf_wal_recovery {
    uint64_t files;
    uint64_t records;
    uint64_t bytes; // headers and whole batches
    uint64_t torn;  // streams whose last batch was incomplete
    char message[512];
};
MF_MUST_USE enum mf_err
mf_wal_recover(const char *folder, struct mf_wal_recovery *recovery, struct mf_wal_ledger *ledger,
               enum mf_err (*record)(void *arg, const struct mf_wal_record *record), void *arg);

// The same with several streams read at a time. The records of a stream come in order and one at a
// time, those of different streams from different threads at once: the group is the caller's to
// lock. Of several errors that of the lowest stream is told.
struct mf_wal_reading {
    struct mf_wal_ledger *ledger;
    uint32_t threads; // at most; as many files are in memory at a time
    enum mf_err (*record)(void *arg, const struct mf_wal_record *record);
    // Unless NULL: called on the caller's thread every progress_ms, with the bytes of files that
    // were read and of all there are.
    void (*progress)(void *arg, uint64_t bytes, uint64_t of_bytes);
    uint32_t progress_ms;
    void *arg;
};
MF_MUST_USE enum mf_err mf_wal_recover_streams(const char *folder,
                                               const struct mf_wal_reading *reading,
                                               struct mf_wal_recovery *recovery);

// The first try after a write that failed comes after this long, later ones after up to
// MF_WAL_RETRY_TIMES as long.
#define MF_WAL_RETRY_US UINT64_C(100000)
#define MF_WAL_RETRY_TIMES 32u

// What keeps a stream from writing.
enum mf_wal_block {
    MF_WAL_FLOWS,   // nothing
    MF_WAL_FULL,    // the disk is full, or a quota is used up
    MF_WAL_REFUSED, // the disk answers writes with I/O errors
};

struct mf_wal_config {
    const char *folder; // created if missing; its parent is fsynced
    uint32_t stream;
    uint64_t segment_bytes; // size of a segment file; a larger batch gets a larger file
    bool sync;              // false: written but never synced
    uint64_t retry_us;      // 0: MF_WAL_RETRY_US
    // Of all streams of the folder; outlives the log. NULL: files are never removed.
    struct mf_wal_ledger *ledger;
    bool orphans; // tidies up after streams that nobody has opened by then, too
    // Called by the WAL's thread. They must not block; they pass a message to the reactor.
    void (*durable)(void *arg, uint64_t sequence); // all hand-overs up to `sequence`
    void (*failed)(void *arg, const char *message);
    // The stream is blocked, and message says why and how much room there is; or, with
    // MF_WAL_FLOWS and an empty message, it goes on. NULL: nobody wants to know.
    void (*blocked)(void *arg, enum mf_wal_block block, const char *message);
    void (*synced)(void *arg, uint64_t us); // a sync has taken so long; NULL as above
    void *arg;
};

// Opens a stream for appending: a new segment after the last one found (recovered files are never
// appended to). Starts the threads. MF_IO and a message when the folder cannot be used; MF_CORRUPT
// and MF_OUT_OF_MEMORY as in mf_wal_recover when the stream's end cannot be made out.
MF_MUST_USE enum mf_err mf_wal_open(const struct mf_wal_config *config, struct mf_wal **out,
                                    char *message, size_t message_size);

// The owner's thread: adds a record to the current hand-over (copied).
void mf_wal_put(struct mf_wal *wal, const struct mf_wal_record *record);
// The owner's thread: gives what was put since the last call to the thread and returns its sequence
// number (consecutive from 1), or 0 when nothing was put. After `failed` it is never durable.
uint64_t mf_wal_submit(struct mf_wal *wal);
// Bytes handed over and not yet durable: for back-pressure. Any thread. After `failed` it does not
// go down again.
uint64_t mf_wal_pending_bytes(const struct mf_wal *wal);
// How long the disk has kept what was handed over waiting without finishing anything, at now_us; 0
// when nothing is pending. A node whose disk stands still is no leader to rely on. Any thread.
uint64_t mf_wal_stalled_us(const struct mf_wal *wal, uint64_t now_us);
// What keeps the stream from writing now. Any thread.
enum mf_wal_block mf_wal_blocked(const struct mf_wal *wal);

// The owner's thread, at any time: removes, on a thread of the log, the files that the ledger says
// are not needed, one by one from the oldest, the folder synced after each. It costs next to
// nothing when the ledger has not changed since the last call. What cannot be removed is logged and
// stays.
void mf_wal_tidy(struct mf_wal *wal);

struct mf_wal_stats {
    uint64_t syncs;
    uint64_t bytes;
    uint64_t sync_us_max; // the slowest since the start
    uint64_t sync_us_total;
};
// Any thread.
void mf_wal_stats(const struct mf_wal *wal, struct mf_wal_stats *stats);

// The owner's thread: writes and syncs all that was submitted, ends the threads, closes. A stream
// that is blocked gives up what is not written, which was never durable. No callback comes after
// it. NULL is fine.
void mf_wal_close(struct mf_wal *wal);

#endif
