// Gives a tampered snapshot file checksums that hold again, so that what lies behind the checksums
// can be tested, and fuzzed, too.
#ifndef MF_TESTS_SNAPSHOT_RESEAL_H
#define MF_TESTS_SNAPSHOT_RESEAL_H

#include <stdbool.h>
#include <string.h>

#include "base/hash.h"
#include "snapshot/format.h"

// Where a field lies within its part (docs/snapshot-format.md).
enum {
    HEADER_VERSION = 8,
    HEADER_FLAGS = 12,
    HEADER_CREATED = 16,
    HEADER_SHARD_COUNT = 24,
    HEADER_NAME_BYTES = 28,
    HEADER_NAME = 32,
    BLOCK_KIND = 4,
    BLOCK_CODEC = 5,
    BLOCK_FLAGS = 6,
    BLOCK_SHARD = 8,
    BLOCK_RECORDS = 12,
    BLOCK_RAW_BYTES = 16,
    BLOCK_STORED_BYTES = 20,
    BLOCK_OFFSET = 24,
    BLOCK_CONTENT_CHECKSUM = 32,
    BLOCK_CHECKSUM = 40,
    FOOTER_SECTIONS = 4,
    FOOTER_BLOCKS = 8,
    FOOTER_HEADER_CHECKSUM = 16,
    SECTION_SHARD = 0,
    SECTION_MEMBERS = 4,
    SECTION_VERSION = 24,
    SECTION_KEYS = 40,
    SECTION_IDS = 48,
    TRAILER_FOOTER_OFFSET = 0,
    TRAILER_FOOTER_BYTES = 8,
};

static inline uint64_t get_le(const uint8_t *from, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)from[i] << (8 * i);
    return value;
}

static inline void set_le(uint8_t *to, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

// Writes the checksum of part[0, covered) behind it.
static inline void seal_part(uint8_t *part, size_t covered)
{
    set_le(part + covered, mf_hash64(mf_bytes_of(part, covered), 0), 8);
}

struct parts {
    size_t header_bytes;
    size_t footer;
    size_t footer_bytes;
    size_t trailer;
    size_t sections; // where the first one begins
    size_t index;    // and the first index entry
};

// Finds the parts of a file by its lengths alone; false when they make no sense.
static inline bool find_parts(const uint8_t *file, size_t size, struct parts *parts)
{
    if (size < MF_SNAPSHOT_HEADER_BYTES + MF_SNAPSHOT_TRAILER_BYTES)
        return false;
    parts->trailer = size - MF_SNAPSHOT_TRAILER_BYTES;
    parts->header_bytes = MF_SNAPSHOT_HEADER_BYTES + (size_t)get_le(file + HEADER_NAME_BYTES, 4);
    parts->footer = (size_t)get_le(file + parts->trailer + TRAILER_FOOTER_OFFSET, 8);
    if (parts->header_bytes > parts->trailer || parts->footer < parts->header_bytes ||
        parts->footer > parts->trailer ||
        parts->trailer - parts->footer < MF_SNAPSHOT_FOOTER_START_BYTES + 8)
        return false;
    parts->footer_bytes = parts->trailer - parts->footer;
    parts->sections = parts->footer + MF_SNAPSHOT_FOOTER_START_BYTES;
    uint64_t sections = get_le(file + parts->footer + FOOTER_SECTIONS, 4);
    parts->index = parts->sections + (size_t)sections * MF_SNAPSHOT_SECTION_BYTES;
    return true;
}

// Where block `n` begins, or 0.
static inline size_t find_nth_block(const uint8_t *file, const struct parts *parts, size_t n)
{
    size_t at = parts->header_bytes;
    while (parts->footer - at >= MF_SNAPSHOT_BLOCK_HEADER_BYTES) {
        size_t stored = (size_t)get_le(file + at + BLOCK_STORED_BYTES, 4);
        if (stored > parts->footer - at - MF_SNAPSHOT_BLOCK_HEADER_BYTES)
            return 0;
        if (n-- == 0)
            return at;
        at += MF_SNAPSHOT_BLOCK_HEADER_BYTES + stored;
    }
    return 0;
}

// An index entry takes over the content checksum of the block it stands for, and nothing else.
static inline void reseal(uint8_t *file, size_t size)
{
    struct parts parts;
    if (!find_parts(file, size, &parts))
        return;
    seal_part(file, parts.header_bytes - 8);
    size_t end = parts.footer + parts.footer_bytes - 8;
    size_t entry = parts.index;
    for (size_t n = 0; find_nth_block(file, &parts, n) != 0; n++) {
        uint8_t *block = file + find_nth_block(file, &parts, n);
        uint8_t *content = block + MF_SNAPSHOT_BLOCK_HEADER_BYTES;
        size_t stored = (size_t)get_le(block + BLOCK_STORED_BYTES, 4);
        set_le(block + BLOCK_CONTENT_CHECKSUM, mf_hash64(mf_bytes_of(content, stored), 0), 8);
        seal_part(block, BLOCK_CHECKSUM);
        if (entry > end || end - entry < MF_SNAPSHOT_BLOCK_HEADER_BYTES)
            continue;
        memcpy(file + entry + BLOCK_CONTENT_CHECKSUM, block + BLOCK_CONTENT_CHECKSUM, 8);
        seal_part(file + entry, BLOCK_CHECKSUM);
        entry += MF_SNAPSHOT_BLOCK_HEADER_BYTES;
    }
    uint8_t *footer = file + parts.footer;
    memcpy(footer + FOOTER_HEADER_CHECKSUM, file + parts.header_bytes - 8, 8);
    seal_part(footer, parts.footer_bytes - 8);
    set_le(file + parts.trailer + TRAILER_FOOTER_BYTES, parts.footer_bytes, 8);
    seal_part(file + parts.trailer, MF_SNAPSHOT_TRAILER_BYTES - 8);
}

#endif
