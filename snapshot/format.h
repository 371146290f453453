// The snapshot file: its layout, shared by writer and reader. docs/snapshot-format.md has the
// byte-by-byte description.
//
// header | blocks ... | footer | trailer
//
// header  magic "MFSNAP\r\n", version, flags, creation time, cluster name, shard count; checksum
// block   shard number, kind, record count, raw and stored length, LZ4 or stored; checksum
// footer  the index: for each shard its meta, log and wall time of the cut, and the offset, length
//         and counts of each of its blocks; checksum
// trailer footer offset, footer length, magic; checksum; fixed size, at the very end
//
// Blocks of different shards may be interleaved, so several shards can be written at once. Every
// block can be checked and decoded on its own; a file that lost its end is read by walking blocks.
#ifndef MF_SNAPSHOT_FORMAT_H
#define MF_SNAPSHOT_FORMAT_H

#define MF_SNAPSHOT_VERSION 1u
// Records are gathered up to this many raw bytes before a block is closed; a single larger record
// makes a block of its own.
#define MF_SNAPSHOT_BLOCK_BYTES (256u * 1024u)
// No block of a valid file is larger than this (raw): one record of the largest key and value.
#define MF_SNAPSHOT_BLOCK_BYTES_MAX (1024u * 1024u * 1024u)

#endif
