// The bytes of the write-ahead log: records, grouped into batches that are written and synced as
// one. Pure code; wal.h puts it into files, and the simulator into its own disk.
//
// A log file is a header block and then batches, each starting on a MF_WAL_ALIGN boundary. Batch
// n+1 is written only after batch n is on disk. Hence, on recovery, a bad batch with nothing of a
// later one after it is a torn tail, which was never acknowledged and is dropped; a bad batch with
// the header of a later one after it is damage, and the node may have forgotten a promise.
// Checksums are seeded with the file's own random identity, so bytes of an older use of the same
// disk space, or values made by clients to look like batches, are never taken for records.
// docs/wal-format.md describes every field.
#ifndef MF_CONSENSUS_WAL_FORMAT_H
#define MF_CONSENSUS_WAL_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

#define MF_WAL_ALIGN 512u
#define MF_WAL_VERSION 3u

enum mf_wal_type {
    MF_WAL_PROMISE = 1, // group, ballot
    MF_WAL_ACCEPT = 2,  // group, ballot, slot, log_time_us, payload
    MF_WAL_MEMBERS = 4, // as ACCEPT; the payload is a configuration
    MF_WAL_MARK = 3, // group, slot (= chosen index), log_time_us, wall_us; a hint, never a promise
};

struct mf_wal_record {
    enum mf_wal_type type;
    uint32_t group;
    uint64_t ballot;
    uint64_t slot;
    uint64_t log_time_us;
    uint64_t wall_us;
    struct mf_bytes payload;
};

struct mf_wal_file_id {
    uint64_t sequence; // of the file within its stream, from 1
    uint32_t stream;   // which reactor wrote it
    uint64_t identity; // random, seeds the checksums of this file
    // Made ahead of use: previous_batches is not known yet. The header is put again, in one write
    // with the file's first batch, when it is; a tear of that write leaves a prepared header.
    bool prepared;
    uint64_t previous_batches; // how many batches the file before it in the stream holds
    // Made of an older file: what lies behind its batches is that one's, and a sector of zeros
    // (mf_wal_put_end) parts them.
    bool recycled;
};

// Appends the header block (exactly MF_WAL_ALIGN bytes).
void mf_wal_put_header(struct mf_buf *out, const struct mf_wal_file_id *id);
// MF_CORRUPT when it is not a whole header, MF_OTHER_VERSION when it is one of another version (the
// first 40 bytes mean the same in every version).
MF_MUST_USE enum mf_err mf_wal_get_header(struct mf_bytes file, struct mf_wal_file_id *id);

// Building one batch: begin on a buffer whose length is a multiple of MF_WAL_ALIGN, put records,
// end (pads to the boundary and fills in length, count and checksum).
struct mf_wal_batch {
    size_t start;
    uint32_t records;
};
void mf_wal_batch_begin(struct mf_wal_batch *batch, struct mf_buf *out);
void mf_wal_batch_put(struct mf_wal_batch *batch, struct mf_buf *out,
                      const struct mf_wal_record *record);
// number: consecutive within the file, from 1.
void mf_wal_batch_end(struct mf_wal_batch *batch, struct mf_buf *out, uint64_t identity,
                      uint64_t number);

// Appends the end of a recycled file: written with each batch, behind it, where the file goes on.
void mf_wal_put_end(struct mf_buf *out);

// Calls record() for every record of a batch that was put together here, ended or not.
void mf_wal_batch_each(const struct mf_wal_batch *batch, const struct mf_buf *out,
                       void (*record)(void *arg, const struct mf_wal_record *record), void *arg);

enum mf_wal_end {
    MF_WAL_CLEAN,  // zeros or nothing after the last batch; in a recycled file, a sector of zeros
    MF_WAL_TORN,   // an incomplete last batch
    MF_WAL_DAMAGED // a bad batch, or a gap, before the header of a later one
};

struct mf_wal_scan {
    struct mf_wal_file_id id;
    enum mf_wal_end end;
    size_t valid_bytes;    // header and all batches up to the first bad one
    uint64_t batches;      // whole ones, so the last valid batch's number
    size_t damaged_offset; // where the bad batch starts, with TORN and DAMAGED
};

// Calls record() for every record of every whole batch in order; payload views point into `file`.
// Stops at the first bad batch. An error from record() ends the scan and is returned. MF_CORRUPT
// only when the header is bad; how the batches end is told in scan->end.
MF_MUST_USE enum mf_err
mf_wal_scan(struct mf_bytes file, struct mf_wal_scan *scan,
            enum mf_err (*record)(void *arg, const struct mf_wal_record *record), void *arg);

#endif
