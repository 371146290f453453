// What each file of a log folder still has that nobody else has, and so which files may go.
//
// A file may be removed only when all of this holds:
//   L1  It is older than the one its stream is writing, and the oldest of its stream.
//   L2  Of every group, the highest slot with an entry in it is covered by a durable checkpoint.
//   L3  Of every group with any record in it, a promise and a mark have been written again behind
//       it, and are durable: in a later file of its stream, or, when another stream has the group
//       now, in any file of this run.
// A promise never goes back, so one that is written later stands for all earlier ones. Which stream
// was written when by earlier processes is not known: across streams only this run's records count.
// All of a stream's groups are on the list to be written again whenever it begins a file, and not
// only when they stand in the way: on a disk that is full nothing could be written then.
//
// One ledger for all streams of a folder, under one lock that is held for short: the log's threads
// note what they wrote, the shards' owners what is covered and written again.
#ifndef MF_CONSENSUS_WAL_LEDGER_H
#define MF_CONSENSUS_WAL_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "consensus/wal_format.h"

struct mf_wal_ledger;

// groups: records of groups from 0 to groups - 1 are expected, others are not counted.
struct mf_wal_ledger *mf_wal_ledger_new(uint32_t groups);
void mf_wal_ledger_free(struct mf_wal_ledger *ledger);

// The log's threads and recovery. A file of the stream begins, or has grown; ascending sequences.
void mf_wal_ledger_file(struct mf_wal_ledger *ledger, uint32_t stream, uint64_t sequence,
                        uint64_t bytes);
// A record is in the stream's newest file, and durable. fresh: this run wrote it.
void mf_wal_ledger_note(struct mf_wal_ledger *ledger, uint32_t stream,
                        const struct mf_wal_record *record, bool fresh);
// From now on the stream's newest file is being written; a stream that nobody opens is all old.
void mf_wal_ledger_open(struct mf_wal_ledger *ledger, uint32_t stream);
// The next file to remove: of this stream, or with `orphans` also of one that nobody has opened.
// Groups that stand in the way only by L3 are put on the list of those to be written again.
bool mf_wal_ledger_next(struct mf_wal_ledger *ledger, uint32_t stream, bool orphans,
                        uint32_t *of_stream, uint64_t *sequence);
// That file is gone, and the folder synced.
void mf_wal_ledger_removed(struct mf_wal_ledger *ledger, uint32_t stream, uint64_t sequence);

// Any thread. A durable checkpoint holds the group's state after `slot`.
void mf_wal_ledger_cover(struct mf_wal_ledger *ledger, uint32_t group, uint64_t slot);
// The group's state is given up here and begins anew: no checkpoint covers it.
void mf_wal_ledger_uncover(struct mf_wal_ledger *ledger, uint32_t group);
// Changes with every event after which mf_wal_ledger_next may answer otherwise. Without the lock.
uint64_t mf_wal_ledger_changes(const struct mf_wal_ledger *ledger);
// How many groups are on the list of those whose promise and mark must be written again. Without
// the lock.
uint32_t mf_wal_ledger_restate_count(const struct mf_wal_ledger *ledger);
// Takes the group off that list; false when it is not on it.
bool mf_wal_ledger_restate(struct mf_wal_ledger *ledger, uint32_t group);
// A group that keeps the oldest file of a stream by L2, of the stream with the most bytes: a
// checkpoint of it is what removes most. False when there is none.
bool mf_wal_ledger_pinned_by(struct mf_wal_ledger *ledger, uint32_t *group);
// Any thread: the disk runs low, so that files that are not needed go and are not kept to make
// others of; or it does not any more. mf_wal_ledger_is_low: without the lock.
void mf_wal_ledger_low(struct mf_wal_ledger *ledger, bool low);
bool mf_wal_ledger_is_low(const struct mf_wal_ledger *ledger);
// Of all files. Without the lock.
uint64_t mf_wal_ledger_bytes(const struct mf_wal_ledger *ledger);

#endif
