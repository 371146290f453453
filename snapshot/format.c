// Encodes and checks the parts of a snapshot file; see format.h.
//
// Every part ends in the XXH3 of its own bytes, and a decoder looks at that before it looks at
// anything else but the magic and the version: what fails after it was written wrong, not damaged.
#include "snapshot/format.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/command.h"
#include "base/hash.h"
#include "base/slots.h"

static const uint8_t header_magic[MF_SNAPSHOT_MAGIC_BYTES] = {'M', 'F', 'S',  'N',
                                                              'A', 'P', '\r', '\n'};
static const uint8_t trailer_magic[8] = {'M', 'F', 'S', 'N', 'E', 'N', 'D', '\n'};
static const uint8_t block_magic[4] = {'M', 'F', 'B', 'K'};
static const uint8_t footer_magic[4] = {'M', 'F', 'F', 'T'};

bool mf_snapshot_begins(struct mf_bytes bytes)
{
    size_t len = bytes.len < sizeof(header_magic) ? bytes.len : sizeof(header_magic);
    return len == 0 || memcmp(bytes.data, header_magic, len) == 0;
}

static bool begins_with(struct mf_bytes bytes, const uint8_t *magic, size_t len)
{
    return bytes.len >= len && memcmp(bytes.data, magic, len) == 0;
}

// True when the last 8 bytes are the checksum of those before.
static bool sealed(struct mf_bytes bytes)
{
    if (bytes.len < MF_SNAPSHOT_CHECKSUM_BYTES)
        return false;
    size_t covered = bytes.len - MF_SNAPSHOT_CHECKSUM_BYTES;
    struct mf_reader r =
        mf_reader_of(mf_bytes_of(bytes.data + covered, MF_SNAPSHOT_CHECKSUM_BYTES));
    return mf_read_u64(&r) == mf_hash64(mf_bytes_of(bytes.data, covered), 0);
}

void mf_snapshot_put_checksum(struct mf_buf *out, size_t start)
{
    mf_buf_u64(out, mf_hash64(mf_bytes_of(out->data + start, out->len - start), 0));
}

void mf_snapshot_put_header(struct mf_buf *out, const struct mf_snapshot_header *header)
{
    size_t start = out->len;
    mf_buf_put(out, header_magic, sizeof(header_magic));
    mf_buf_u32(out, header->version);
    mf_buf_u32(out, 0);
    mf_buf_u64(out, header->created_us);
    mf_buf_u32(out, header->shard_count);
    mf_buf_blob(out, mf_bytes_str(header->cluster));
    mf_snapshot_put_checksum(out, start);
}

const char *mf_snapshot_get_header(struct mf_bytes start, struct mf_snapshot_header *header)
{
    if (!begins_with(start, header_magic, sizeof(header_magic)))
        return "does not begin as a snapshot does";
    struct mf_reader r = mf_reader_of(start);
    mf_read_bytes(&r, sizeof(header_magic));
    *header = (struct mf_snapshot_header){.version = mf_read_u32(&r)};
    if (!r.failed && header->version != MF_SNAPSHOT_VERSION)
        return "has a version that is unknown: this program reads version 1";
    uint32_t flags = mf_read_u32(&r);
    header->created_us = mf_read_u64(&r);
    header->shard_count = mf_read_u32(&r);
    struct mf_bytes name = mf_read_blob(&r);
    header->checksum = mf_read_u64(&r);
    if (r.failed)
        return "is cut short";
    header->bytes = (size_t)(r.at - start.data);
    if (!sealed(mf_bytes_of(start.data, header->bytes)))
        return "does not match its checksum";
    if (flags != 0)
        return "has flags that are unknown";
    if (header->shard_count < 1 || header->shard_count > MF_SLOT_COUNT)
        return "has an impossible number of shards";
    if (name.len > MF_SNAPSHOT_NAME_MAX || memchr(name.data, '\0', name.len) != NULL)
        return "has an impossible cluster name";
    memcpy(header->cluster, name.data, name.len);
    return NULL;
}

void mf_snapshot_put_block(struct mf_buf *out, struct mf_snapshot_block *block)
{
    size_t start = out->len;
    mf_buf_put(out, block_magic, sizeof(block_magic));
    mf_buf_u8(out, (uint8_t)block->kind);
    mf_buf_u8(out, (uint8_t)block->codec);
    mf_buf_u16(out, 0);
    mf_buf_u32(out, block->shard);
    mf_buf_u32(out, block->records);
    mf_buf_u32(out, block->raw_bytes);
    mf_buf_u32(out, block->stored_bytes);
    mf_buf_u64(out, block->offset);
    mf_buf_u64(out, block->content_checksum);
    block->checksum = mf_hash64(mf_bytes_of(out->data + start, out->len - start), 0);
    mf_buf_u64(out, block->checksum);
}

static const char *check_block(const struct mf_snapshot_block *block)
{
    if (block->kind != MF_SNAPSHOT_KEYS && block->kind != MF_SNAPSHOT_IDS)
        return "is of an unknown kind";
    if (block->raw_bytes > MF_SNAPSHOT_BLOCK_BYTES_MAX)
        return "is larger than any block may be";
    // A key or id has at least one byte.
    if (block->records == 0 ||
        (uint64_t)block->records * (MF_SNAPSHOT_RECORD_BYTES + 1) > block->raw_bytes)
        return "has an impossible number of records";
    if (block->codec == MF_SNAPSHOT_RAW)
        return block->stored_bytes == block->raw_bytes ? NULL : "has two lengths that differ";
    if (block->codec != MF_SNAPSHOT_LZ4)
        return "is compressed in an unknown way";
    if (block->stored_bytes >= block->raw_bytes ||
        (uint64_t)block->stored_bytes * MF_SNAPSHOT_RATIO_MAX < block->raw_bytes)
        return "has a length that no compression gives";
    return NULL;
}

const char *mf_snapshot_get_block(struct mf_bytes at, struct mf_snapshot_block *block)
{
    struct mf_bytes header = mf_bytes_of(at.data, MF_SNAPSHOT_BLOCK_HEADER_BYTES);
    if (at.len < header.len)
        return "is cut short";
    if (!begins_with(header, block_magic, sizeof(block_magic)))
        return "does not begin as a block does";
    if (!sealed(header))
        return "has a header that does not match its checksum";
    struct mf_reader r = mf_reader_of(header);
    mf_read_bytes(&r, sizeof(block_magic));
    *block = (struct mf_snapshot_block){0};
    block->kind = mf_read_u8(&r);
    block->codec = mf_read_u8(&r);
    if (mf_read_u16(&r) != 0)
        return "has flags that are unknown";
    block->shard = mf_read_u32(&r);
    block->records = mf_read_u32(&r);
    block->raw_bytes = mf_read_u32(&r);
    block->stored_bytes = mf_read_u32(&r);
    block->offset = mf_read_u64(&r);
    block->content_checksum = mf_read_u64(&r);
    block->checksum = mf_read_u64(&r);
    return check_block(block);
}

uint64_t mf_snapshot_block_bytes(const struct mf_snapshot_block *block)
{
    return (uint64_t)MF_SNAPSHOT_BLOCK_HEADER_BYTES + block->stored_bytes;
}

void mf_snapshot_put_footer_start(struct mf_buf *out, const struct mf_snapshot_footer *footer)
{
    mf_buf_put(out, footer_magic, sizeof(footer_magic));
    mf_buf_u32(out, footer->sections);
    mf_buf_u64(out, footer->blocks);
    mf_buf_u64(out, footer->header_checksum);
}

void mf_snapshot_put_section(struct mf_buf *out, const struct mf_snapshot_section *section)
{
    mf_buf_u32(out, section->shard);
    mf_buf_u32(out, section->members_bytes);
    mf_buf_u64(out, section->meta.applied);
    mf_buf_u64(out, section->meta.log_time_us);
    mf_buf_u64(out, section->meta.version);
    mf_buf_u64(out, section->meta.rolling_hash);
    mf_buf_u64(out, section->meta.keys);
    mf_buf_u64(out, section->meta.ids);
    mf_buf_u64(out, section->wall_us);
    mf_buf_u64(out, section->meta.hash_seed);
}

const char *mf_snapshot_get_footer(struct mf_bytes bytes, struct mf_snapshot_footer *footer,
                                   struct mf_reader *content)
{
    if (bytes.len < MF_SNAPSHOT_FOOTER_START_BYTES + MF_SNAPSHOT_CHECKSUM_BYTES)
        return "is cut short";
    if (!begins_with(bytes, footer_magic, sizeof(footer_magic)))
        return "does not begin as a footer does";
    if (!sealed(bytes))
        return "does not match its checksum";
    *content = mf_reader_of(mf_bytes_of(bytes.data, bytes.len - MF_SNAPSHOT_CHECKSUM_BYTES));
    mf_read_bytes(content, sizeof(footer_magic));
    footer->sections = mf_read_u32(content);
    footer->blocks = mf_read_u64(content);
    footer->header_checksum = mf_read_u64(content);
    size_t left = mf_reader_left(content);
    uint64_t sections = (uint64_t)footer->sections * MF_SNAPSHOT_SECTION_BYTES;
    if (left < sections)
        return "does not have the length that its counts give";
    uint64_t members = 0;
    struct mf_reader r = *content;
    for (uint32_t i = 0; i < footer->sections; i++) {
        struct mf_snapshot_section section;
        mf_snapshot_get_section(&r, &section);
        if (section.members_bytes > MF_SNAPSHOT_MEMBERS_MAX)
            return "has a section with members that are longer than any may be";
        members += section.members_bytes;
    }
    left -= sections;
    if (left < members || (left - members) % MF_SNAPSHOT_BLOCK_HEADER_BYTES != 0 ||
        (left - members) / MF_SNAPSHOT_BLOCK_HEADER_BYTES != footer->blocks)
        return "does not have the length that its counts give";
    return NULL;
}

void mf_snapshot_get_section(struct mf_reader *r, struct mf_snapshot_section *section)
{
    section->shard = mf_read_u32(r);
    section->members_bytes = mf_read_u32(r);
    section->meta.applied = mf_read_u64(r);
    section->meta.log_time_us = mf_read_u64(r);
    section->meta.version = mf_read_u64(r);
    section->meta.rolling_hash = mf_read_u64(r);
    section->meta.keys = mf_read_u64(r);
    section->meta.ids = mf_read_u64(r);
    section->wall_us = mf_read_u64(r);
    section->meta.hash_seed = mf_read_u64(r);
}

void mf_snapshot_put_trailer(struct mf_buf *out, uint64_t footer_offset, uint64_t footer_bytes)
{
    size_t start = out->len;
    mf_buf_u64(out, footer_offset);
    mf_buf_u64(out, footer_bytes);
    mf_buf_put(out, trailer_magic, sizeof(trailer_magic));
    mf_snapshot_put_checksum(out, start);
}

const char *mf_snapshot_get_trailer(struct mf_bytes at, uint64_t file_bytes,
                                    uint64_t *footer_offset, uint64_t *footer_bytes)
{
    struct mf_reader r = mf_reader_of(at);
    *footer_offset = mf_read_u64(&r);
    *footer_bytes = mf_read_u64(&r);
    struct mf_bytes magic = mf_read_bytes(&r, sizeof(trailer_magic));
    if (at.len != MF_SNAPSHOT_TRAILER_BYTES ||
        !begins_with(magic, trailer_magic, sizeof(trailer_magic)))
        return "is not there: the file is cut short, or bytes follow its end";
    if (!sealed(at))
        return "does not match its checksum";
    if (*footer_bytes > MF_SNAPSHOT_FOOTER_BYTES_MAX)
        return "names a footer that is larger than any may be";
    if (file_bytes < MF_SNAPSHOT_TRAILER_BYTES + *footer_bytes ||
        *footer_offset != file_bytes - MF_SNAPSHOT_TRAILER_BYTES - *footer_bytes)
        return "names a footer that is not where it says";
    return NULL;
}

void mf_snapshot_put_record(struct mf_buf *out, const struct mf_record *record)
{
    mf_buf_u64(out, record->version);
    mf_buf_u64(out, record->deadline_us);
    mf_buf_blob(out, record->key);
    mf_buf_blob(out, record->value);
}

void mf_snapshot_get_record(struct mf_reader *r, enum mf_snapshot_kind kind,
                            struct mf_record *record)
{
    record->is_id = kind == MF_SNAPSHOT_IDS;
    record->version = mf_read_u64(r);
    record->deadline_us = mf_read_u64(r);
    record->key = mf_read_blob(r);
    record->value = mf_read_blob(r);
}

const char *mf_snapshot_record_fault(const struct mf_record *record, uint32_t shard,
                                     uint32_t shard_count, uint64_t version_max)
{
    size_t room = MF_SNAPSHOT_BLOCK_BYTES_MAX - MF_SNAPSHOT_RECORD_BYTES;
    if (record->key.len > room || record->value.len > room - record->key.len)
        return "is larger than any record may be";
    if (record->version > version_max)
        return "has a version above its shard's counter";
    if (record->key.len == 0)
        return record->is_id ? "is an empty id" : "is an empty key";
    if (record->is_id)
        return record->key.len <= MF_ID_MAX ? NULL : "is an id that is too long";
    if (record->version == 0)
        return "has no version";
    if (mf_shard_of_key(record->key, shard_count) != shard)
        return "is a key of another shard";
    return NULL;
}

enum mf_err mf_snapshot_fail(enum mf_err err, char *message, size_t message_size,
                             const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(message, message_size, format, args);
    va_end(args);
    return err;
}
