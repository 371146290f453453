// Reads a snapshot file. Every length is checked against the file and every byte is covered by a
// checksum before it is used; a damaged file gives an error that says where, never a wrong record.
//
// A reader does not change once it is open: any number of threads may read sections at once, each
// call with memory of its own, at most that of the file's largest block, raw and stored.
#ifndef MF_SNAPSHOT_READER_H
#define MF_SNAPSHOT_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "shards/shard.h"
#include "snapshot/source.h"

struct mf_snapshot_reader;

struct mf_snapshot_shard {
    uint32_t shard;
    struct mf_shard_meta meta;
    uint64_t wall_us; // wall clock at the cut
    uint64_t blocks;
    uint64_t raw_bytes;
    uint64_t stored_bytes;   // in the file, block headers included
    struct mf_bytes members; // the group's configuration at the cut, opaque; the reader's
};

struct mf_snapshot_summary {
    uint32_t version;
    char cluster[256];
    uint32_t shard_count; // of the cluster that wrote it
    uint64_t created_us;
    uint64_t file_bytes;
    uint64_t identity; // hash of the footer: equal for equal content
    uint64_t keys;
    uint64_t ids;
    uint32_t shards; // sections in this file
};

// Opens and checks header, trailer and footer, and that the index leaves no byte between header and
// footer out and agrees with every section's counts. MF_CORRUPT or MF_IO with a message that names
// the file. Takes memory of about twice the footer's length, which is less than the file's and at
// most MF_SNAPSHOT_FOOTER_BYTES_MAX; MF_OUT_OF_MEMORY when there is none.
MF_MUST_USE enum mf_err mf_snapshot_open(const char *path, struct mf_snapshot_reader **out,
                                         char *message, size_t message_size);
void mf_snapshot_close(struct mf_snapshot_reader *reader);
// As it was given to mf_snapshot_open.
const char *mf_snapshot_path(const struct mf_snapshot_reader *reader);

void mf_snapshot_summary(const struct mf_snapshot_reader *reader,
                         struct mf_snapshot_summary *summary);
// The i-th section, i < summary.shards, in order of shard number.
const struct mf_snapshot_shard *mf_snapshot_section(const struct mf_snapshot_reader *reader,
                                                    uint32_t i);
// Calls record() for every record of section i; views live during the call. An error from record()
// ends the reading and is returned. MF_CORRUPT with a message naming block and offset.
MF_MUST_USE enum mf_err mf_snapshot_read(struct mf_snapshot_reader *reader, uint32_t i,
                                         enum mf_err (*record)(void *arg,
                                                               const struct mf_record *record),
                                         void *arg, char *message, size_t message_size);
// The same for one block of section i, 0 to its `blocks` - 1. rooms: this thread's, for as many
// calls as it makes; mf_snapshot_free_rooms ends them. What record() got as views lives until they
// are used again. *bytes: what the block takes in the file.
MF_MUST_USE enum mf_err
mf_snapshot_read_block(struct mf_snapshot_reader *reader, uint32_t i, uint64_t block,
                       struct mf_snapshot_rooms *rooms,
                       enum mf_err (*record)(void *arg, const struct mf_record *record), void *arg,
                       uint64_t *bytes, char *message, size_t message_size);
// Loads section i into a fresh shard as it was (same log time, versions, log index).
MF_MUST_USE enum mf_err mf_snapshot_load(struct mf_snapshot_reader *reader, uint32_t i,
                                         struct mf_shard *shard, char *message,
                                         size_t message_size);
// Checks every block and every record of the file, in bounded memory: a key that is twice in a
// section is found only by loading it.
MF_MUST_USE enum mf_err mf_snapshot_verify(struct mf_snapshot_reader *reader, char *message,
                                           size_t message_size);

// For a file whose end is lost or damaged: walks blocks from the header on, with no use of the
// index, and reports what is whole. A bad range is a run of bytes that belong to no whole header,
// block, or footer with trailer.
struct mf_snapshot_salvage {
    uint64_t blocks_whole;
    uint64_t records; // in them
    uint64_t bad_ranges;
    uint64_t first_bad_begin; // of the first of them
    uint64_t first_bad_end;
    bool header_whole;
    bool index_whole; // footer and trailer
};
// record(), unless NULL, gets the records of whole blocks, views that live during the call.
// MF_CORRUPT when no part of the file is a snapshot's.
MF_MUST_USE enum mf_err mf_snapshot_salvage(const char *path, struct mf_snapshot_salvage *salvage,
                                            void (*record)(void *arg, uint32_t shard,
                                                           const struct mf_record *record),
                                            void *arg, char *message, size_t message_size);

#endif
