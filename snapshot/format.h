// The snapshot file: its layout, shared by writer and reader. docs/snapshot-format.md has the
// byte-by-byte description.
//
// header | blocks ... | footer | trailer
//
// header  magic "MFSNAP\r\n", version, flags, creation time, shard count, cluster name; checksum
// block   shard number, kind, record count, raw and stored length, LZ4 or stored; its own offset;
//         checksums of its content and of its header
// footer  for each shard in the file its meta, and the wall time of the cut; then the index: every
//         block's header once more, in file order; then what the sections carry of their groups'
//         configurations; checksum
// trailer footer offset, footer length, magic; checksum; fixed size, at the very end
//
// Blocks of different shards may be interleaved, so several shards can be written at once. Every
// block can be checked and decoded on its own; a file that lost its end is read by walking blocks.
// Each part holds the checksums of those before it, so the footer's checksum stands for the whole.
//
// Pure code. The get functions return NULL for a sound part, else what is wrong with it, in words
// that follow the part's name. They believe no length: what they return has been checked against
// the limits below, and the caller checks it against the file.
#ifndef MF_SNAPSHOT_FORMAT_H
#define MF_SNAPSHOT_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "shards/shard.h"

#define MF_SNAPSHOT_VERSION 1u
// Records are gathered up to this many raw bytes before a block is closed; a single larger record
// makes a block of its own.
#define MF_SNAPSHOT_BLOCK_BYTES (256u * 1024u)
// No block of a valid file is larger than this (raw): one record of the largest key and value.
#define MF_SNAPSHOT_BLOCK_BYTES_MAX (1024u * 1024u * 1024u)
// No footer is larger than this: room for the index of 22 million blocks.
#define MF_SNAPSHOT_FOOTER_BYTES_MAX (1024u * 1024u * 1024u)
// LZ4 cannot expand more than this, so a block that claims to is lying.
#define MF_SNAPSHOT_RATIO_MAX 255u

#define MF_SNAPSHOT_NAME_MAX 255u
#define MF_SNAPSHOT_HEADER_BYTES 40u // without the name
#define MF_SNAPSHOT_BLOCK_HEADER_BYTES 48u
#define MF_SNAPSHOT_FOOTER_START_BYTES 24u
#define MF_SNAPSHOT_SECTION_BYTES 72u
#define MF_SNAPSHOT_TRAILER_BYTES 32u
#define MF_SNAPSHOT_CHECKSUM_BYTES 8u
#define MF_SNAPSHOT_RECORD_BYTES 24u // without key and value
#define MF_SNAPSHOT_MEMBERS_MAX (256u * 1024u)

struct mf_snapshot_header {
    uint32_t version;
    uint64_t created_us;
    uint32_t shard_count;
    char cluster[MF_SNAPSHOT_NAME_MAX + 1];
    uint64_t checksum;
    size_t bytes; // of the header in the file
};

void mf_snapshot_put_header(struct mf_buf *out, const struct mf_snapshot_header *header);
// start: the file's first bytes, as many as a header can have or as the file has.
const char *mf_snapshot_get_header(struct mf_bytes start, struct mf_snapshot_header *header);

enum mf_snapshot_kind { MF_SNAPSHOT_KEYS = 1, MF_SNAPSHOT_IDS = 2 };
enum mf_snapshot_codec { MF_SNAPSHOT_RAW = 0, MF_SNAPSHOT_LZ4 = 1 };

struct mf_snapshot_block {
    uint64_t offset; // of the block in the file
    uint64_t content_checksum;
    uint64_t checksum; // of the header, and so of all
    uint32_t shard;
    uint32_t records;
    uint32_t raw_bytes;
    uint32_t stored_bytes; // of the content, after the header
    enum mf_snapshot_kind kind;
    enum mf_snapshot_codec codec;
};

// Writes all but `checksum`, which is computed and set.
void mf_snapshot_put_block(struct mf_buf *out, struct mf_snapshot_block *block);
// at: MF_SNAPSHOT_BLOCK_HEADER_BYTES bytes, of a block or of the index.
const char *mf_snapshot_get_block(struct mf_bytes at, struct mf_snapshot_block *block);
// The bytes a block takes in the file.
uint64_t mf_snapshot_block_bytes(const struct mf_snapshot_block *block);

struct mf_snapshot_footer {
    uint32_t sections;
    uint64_t blocks;
    uint64_t header_checksum;
};

struct mf_snapshot_section {
    uint32_t shard;
    struct mf_shard_meta meta;
    uint64_t wall_us;       // the wall clock at the cut
    uint32_t members_bytes; // of the group's configuration, at most MF_SNAPSHOT_MEMBERS_MAX; opaque
};

// A footer is its start, `sections` sections ascending by shard number, `blocks` block headers
// ascending by offset, the members of the sections in their order, and a checksum over all of it.
void mf_snapshot_put_footer_start(struct mf_buf *out, const struct mf_snapshot_footer *footer);
void mf_snapshot_put_section(struct mf_buf *out, const struct mf_snapshot_section *section);
// The checksum of what is in `out` from `start` on, appended to it.
void mf_snapshot_put_checksum(struct mf_buf *out, size_t start);
// Checks the whole footer's checksum, and that it is as long as its counts say. *content is then
// the reader of what follows the start.
const char *mf_snapshot_get_footer(struct mf_bytes bytes, struct mf_snapshot_footer *footer,
                                   struct mf_reader *content);
void mf_snapshot_get_section(struct mf_reader *r, struct mf_snapshot_section *section);

void mf_snapshot_put_trailer(struct mf_buf *out, uint64_t footer_offset, uint64_t footer_bytes);
// at: the last MF_SNAPSHOT_TRAILER_BYTES of a file of file_bytes. The footer then ends where the
// trailer begins.
const char *mf_snapshot_get_trailer(struct mf_bytes at, uint64_t file_bytes,
                                    uint64_t *footer_offset, uint64_t *footer_bytes);

void mf_snapshot_put_record(struct mf_buf *out, const struct mf_record *record);
// Views point into the reader's input; r->failed when the record goes past its end.
void mf_snapshot_get_record(struct mf_reader *r, enum mf_snapshot_kind kind,
                            struct mf_record *record);
// What a section may hold: NULL, or why this record cannot be in it. A key lies in its own shard,
// no version is above the section's counter, and no record is too large for a block.
const char *mf_snapshot_record_fault(const struct mf_record *record, uint32_t shard,
                                     uint32_t shard_count, uint64_t version_max);

// Puts a message together and returns err.
enum mf_err mf_snapshot_fail(enum mf_err err, char *message, size_t message_size,
                             const char *format, ...) __attribute__((format(printf, 4, 5)));

// Whether a file that begins with these bytes, as far as they go, could be a snapshot.
#define MF_SNAPSHOT_MAGIC_BYTES 8u
bool mf_snapshot_begins(struct mf_bytes bytes);

#endif
