// Opens a snapshot file by its footer and reads its sections; see reader.h.
//
// All lengths come from the index, and the index is believed only as a whole: its blocks must lie
// end to end from the header to the footer, so none can overlap, be missing, or reach out of the
// file, and no byte of the file is outside all checksums.
#include "snapshot/reader.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/format.h"
#include "snapshot/source.h"

struct mf_snapshot_reader {
    struct mf_snapshot_source source;
    struct mf_snapshot_header header;
    uint64_t footer_offset;
    uint64_t identity;
    struct mf_snapshot_shard *sections; // section_count of them, ascending by shard
    uint32_t section_count;
    struct mf_snapshot_block *blocks; // block_count of them, ascending by offset
    uint64_t block_count;
    uint32_t *order;       // block numbers, those of one section together, ascending by offset
    struct mf_buf members; // of all sections
    uint64_t *first;       // section i's are order[first[i]] to order[first[i + 1] - 1]
};

struct message {
    char *text;
    size_t size;
};

static enum mf_err fail_part(const struct mf_snapshot_reader *reader, struct message message,
                             const char *part, uint64_t offset, const char *fault)
{
    return mf_snapshot_fail(MF_CORRUPT, message.text, message.size,
                            "%s: the %s at offset %" PRIu64 " %s", reader->source.path, part,
                            offset, fault);
}

static enum mf_err read_header(struct mf_snapshot_reader *reader, struct message message)
{
    uint8_t start[MF_SNAPSHOT_HEADER_BYTES + MF_SNAPSHOT_NAME_MAX];
    size_t size = reader->source.bytes < sizeof(start) ? reader->source.bytes : sizeof(start);
    enum mf_err err =
        mf_snapshot_fetch(&reader->source, 0, start, size, message.text, message.size);
    if (err != MF_OK)
        return err;
    const char *fault = mf_snapshot_get_header(mf_bytes_of(start, size), &reader->header);
    return fault == NULL ? MF_OK : fail_part(reader, message, "header", 0, fault);
}

// Reads the footer into *bytes, which the caller frees.
static enum mf_err read_footer(struct mf_snapshot_reader *reader, uint8_t **bytes, size_t *size,
                               struct message message)
{
    const struct mf_snapshot_source *source = &reader->source;
    uint8_t trailer[MF_SNAPSHOT_TRAILER_BYTES];
    if (source->bytes < reader->header.bytes + sizeof(trailer))
        return fail_part(reader, message, "trailer", source->bytes, "is cut short");
    uint64_t at = source->bytes - sizeof(trailer);
    enum mf_err err =
        mf_snapshot_fetch(source, at, trailer, sizeof(trailer), message.text, message.size);
    if (err != MF_OK)
        return err;
    uint64_t footer_bytes;
    const char *fault =
        mf_snapshot_get_trailer(mf_bytes_of(trailer, sizeof(trailer)), source->bytes,
                                &reader->footer_offset, &footer_bytes);
    if (fault != NULL)
        return fail_part(reader, message, "trailer", at, fault);
    *size = (size_t)footer_bytes;
    *bytes = malloc(*size > 0 ? *size : 1);
    if (*bytes == NULL)
        return mf_snapshot_fail(MF_OUT_OF_MEMORY, message.text, message.size,
                                "%s: no memory for a footer of %zu bytes", source->path, *size);
    return mf_snapshot_fetch(source, reader->footer_offset, *bytes, *size, message.text,
                             message.size);
}

static void take_members(struct mf_snapshot_reader *reader, struct mf_reader *content)
{
    size_t left = mf_reader_left(content);
    mf_buf_put(&reader->members, content->at, left);
    size_t at = 0;
    for (uint32_t i = 0; i < reader->section_count; i++) {
        struct mf_bytes *members = &reader->sections[i].members;
        members->data = reader->members.data + at;
        at += members->len;
    }
}

static const char *take_sections(struct mf_snapshot_reader *reader, struct mf_reader *content)
{
    for (uint32_t i = 0; i < reader->section_count; i++) {
        struct mf_snapshot_section section;
        mf_snapshot_get_section(content, &section);
        if (section.shard >= reader->header.shard_count)
            return "has a section of a shard that the cluster does not have";
        if (i > 0 && section.shard <= reader->sections[i - 1].shard)
            return "has sections that are repeated or out of order";
        reader->sections[i] = (struct mf_snapshot_shard){.shard = section.shard,
                                                         .meta = section.meta,
                                                         .wall_us = section.wall_us,
                                                         .members = {.len = section.members_bytes}};
    }
    return NULL;
}

static int compare_shard(const void *shard, const void *section)
{
    uint32_t a = *(const uint32_t *)shard;
    uint32_t b = ((const struct mf_snapshot_shard *)section)->shard;
    return (a > b) - (a < b);
}

static struct mf_snapshot_shard *find_section(const struct mf_snapshot_reader *reader,
                                              uint32_t shard)
{
    return bsearch(&shard, reader->sections, reader->section_count, sizeof(*reader->sections),
                   compare_shard);
}

// Takes the index over, and adds each block to its section; keys and ids gather in counts, two for
// each section.
static const char *take_blocks(struct mf_snapshot_reader *reader, struct mf_reader *content,
                               uint64_t *counts)
{
    uint64_t offset = reader->header.bytes;
    for (uint64_t i = 0; i < reader->block_count; i++) {
        struct mf_snapshot_block *block = &reader->blocks[i];
        const char *fault =
            mf_snapshot_get_block(mf_read_bytes(content, MF_SNAPSHOT_BLOCK_HEADER_BYTES), block);
        if (fault != NULL)
            return "has an index entry that is no sound block header";
        if (block->offset != offset)
            return "has blocks in its index that overlap or leave bytes out";
        offset += mf_snapshot_block_bytes(block);
        struct mf_snapshot_shard *section = find_section(reader, block->shard);
        if (section == NULL)
            return "has a block in its index of a shard without a section";
        section->blocks += 1;
        section->raw_bytes += block->raw_bytes;
        section->stored_bytes += mf_snapshot_block_bytes(block);
        counts[2 * (section - reader->sections) + (block->kind == MF_SNAPSHOT_IDS)] +=
            block->records;
    }
    if (offset != reader->footer_offset)
        return "has an index that does not cover the file";
    for (uint32_t i = 0; i < reader->section_count; i++) {
        const struct mf_shard_meta *meta = &reader->sections[i].meta;
        if (counts[2 * i] != meta->keys || counts[2 * i + 1] != meta->ids)
            return "has a section whose counts are not those of its blocks";
    }
    return NULL;
}

// A counting sort of the blocks by section, which keeps them ascending by offset within each.
static void group_blocks(struct mf_snapshot_reader *reader)
{
    reader->first[0] = 0;
    for (uint32_t i = 0; i < reader->section_count; i++)
        reader->first[i + 1] = reader->first[i] + reader->sections[i].blocks;
    uint64_t *next = mf_alloc((reader->section_count + 1) * sizeof(*next));
    memcpy(next, reader->first, (reader->section_count + 1) * sizeof(*next));
    for (uint64_t i = 0; i < reader->block_count; i++) {
        const struct mf_snapshot_shard *section = find_section(reader, reader->blocks[i].shard);
        reader->order[next[section - reader->sections]++] = (uint32_t)i;
    }
    free(next);
}

static enum mf_err take_footer(struct mf_snapshot_reader *reader, struct mf_bytes bytes,
                               struct message message)
{
    struct mf_snapshot_footer footer;
    struct mf_reader content;
    const char *fault = mf_snapshot_get_footer(bytes, &footer, &content);
    if (fault == NULL && footer.header_checksum != reader->header.checksum)
        fault = "is that of another header";
    if (fault == NULL && footer.sections > reader->header.shard_count)
        fault = "has more sections than the cluster has shards";
    if (fault != NULL)
        return fail_part(reader, message, "footer", reader->footer_offset, fault);
    struct mf_reader r = mf_reader_of(mf_bytes_of(
        bytes.data + bytes.len - MF_SNAPSHOT_CHECKSUM_BYTES, MF_SNAPSHOT_CHECKSUM_BYTES));
    reader->identity = mf_read_u64(&r);
    reader->section_count = footer.sections;
    reader->block_count = footer.blocks;
    reader->sections = mf_calloc(footer.sections, sizeof(*reader->sections));
    reader->first = mf_calloc(footer.sections + 1, sizeof(*reader->first));
    // One index entry of the footer just read makes one of each of these.
    reader->blocks = calloc(footer.blocks + 1, sizeof(*reader->blocks));
    reader->order = calloc(footer.blocks + 1, sizeof(*reader->order));
    if (reader->blocks == NULL || reader->order == NULL)
        return mf_snapshot_fail(MF_OUT_OF_MEMORY, message.text, message.size,
                                "%s: no memory for an index of %" PRIu64 " blocks",
                                reader->source.path, footer.blocks);
    uint64_t *counts = mf_calloc(footer.sections, 2 * sizeof(*counts));
    fault = take_sections(reader, &content);
    if (fault == NULL)
        fault = take_blocks(reader, &content, counts);
    free(counts);
    if (fault != NULL)
        return fail_part(reader, message, "footer", reader->footer_offset, fault);
    take_members(reader, &content);
    group_blocks(reader);
    return MF_OK;
}

enum mf_err mf_snapshot_open(const char *path, struct mf_snapshot_reader **out, char *message,
                             size_t message_size)
{
    struct message told = {message, message_size};
    struct mf_snapshot_reader *reader = mf_calloc(1, sizeof(*reader));
    enum mf_err err = mf_snapshot_open_source(path, &reader->source, message, message_size);
    if (err != MF_OK) {
        free(reader);
        return err;
    }
    uint8_t *footer = NULL;
    size_t footer_bytes = 0;
    err = read_header(reader, told);
    if (err == MF_OK)
        err = read_footer(reader, &footer, &footer_bytes, told);
    if (err == MF_OK)
        err = take_footer(reader, mf_bytes_of(footer, footer_bytes), told);
    free(footer);
    if (err != MF_OK) {
        mf_snapshot_close(reader);
        return err;
    }
    *out = reader;
    return MF_OK;
}

void mf_snapshot_close(struct mf_snapshot_reader *reader)
{
    if (reader == NULL)
        return;
    mf_snapshot_close_source(&reader->source);
    free(reader->sections);
    free(reader->blocks);
    free(reader->order);
    free(reader->first);
    mf_buf_free(&reader->members);
    free(reader);
}

const char *mf_snapshot_path(const struct mf_snapshot_reader *reader)
{
    return reader->source.path;
}

void mf_snapshot_summary(const struct mf_snapshot_reader *reader,
                         struct mf_snapshot_summary *summary)
{
    *summary = (struct mf_snapshot_summary){
        .version = reader->header.version,
        .shard_count = reader->header.shard_count,
        .created_us = reader->header.created_us,
        .file_bytes = reader->source.bytes,
        .identity = reader->identity,
        .shards = reader->section_count,
    };
    memcpy(summary->cluster, reader->header.cluster, sizeof(summary->cluster));
    for (uint32_t i = 0; i < reader->section_count; i++) {
        summary->keys += reader->sections[i].meta.keys;
        summary->ids += reader->sections[i].meta.ids;
    }
}

const struct mf_snapshot_shard *mf_snapshot_section(const struct mf_snapshot_reader *reader,
                                                    uint32_t i)
{
    return &reader->sections[i];
}

struct visit {
    enum mf_err (*record)(void *arg, const struct mf_record *record);
    void *arg;
};

static enum mf_err read_block(struct mf_snapshot_reader *reader,
                              const struct mf_snapshot_shard *section,
                              const struct mf_snapshot_block *block, struct mf_bytes raw,
                              const struct visit *visit, struct message message)
{
    struct mf_reader r = mf_reader_of(raw);
    for (uint32_t i = 0; i < block->records; i++) {
        struct mf_record record;
        mf_snapshot_get_record(&r, block->kind, &record);
        enum mf_err err = MF_CORRUPT;
        const char *fault = mf_snapshot_record_fault(
            &record, section->shard, reader->header.shard_count, section->meta.version);
        if (fault == NULL) {
            err = visit->record(visit->arg, &record);
            fault = mf_err_text(err);
        }
        if (err != MF_OK)
            return mf_snapshot_fail(err, message.text, message.size,
                                    "%s: record %" PRIu32 " of the block of shard %" PRIu32
                                    " at offset %" PRIu64 ": %s",
                                    reader->source.path, i, block->shard, block->offset, fault);
    }
    return MF_OK;
}

enum mf_err mf_snapshot_read_block(struct mf_snapshot_reader *reader, uint32_t i, uint64_t block,
                                   struct mf_snapshot_rooms *rooms,
                                   enum mf_err (*record)(void *arg, const struct mf_record *record),
                                   void *arg, uint64_t *bytes, char *message, size_t message_size)
{
    struct message told = {message, message_size};
    struct visit visit = {record, arg};
    const struct mf_snapshot_block *header =
        &reader->blocks[reader->order[reader->first[i] + block]];
    struct mf_bytes raw;
    *bytes = mf_snapshot_block_bytes(header);
    enum mf_err err =
        mf_snapshot_fetch_block(&reader->source, header, rooms, &raw, message, message_size);
    return err == MF_OK ? read_block(reader, &reader->sections[i], header, raw, &visit, told) : err;
}

enum mf_err mf_snapshot_read(struct mf_snapshot_reader *reader, uint32_t i,
                             enum mf_err (*record)(void *arg, const struct mf_record *record),
                             void *arg, char *message, size_t message_size)
{
    struct mf_snapshot_rooms rooms = {0};
    enum mf_err err = MF_OK;
    uint64_t bytes;
    for (uint64_t n = 0; n < reader->sections[i].blocks && err == MF_OK; n++)
        err = mf_snapshot_read_block(reader, i, n, &rooms, record, arg, &bytes, message,
                                     message_size);
    mf_snapshot_free_rooms(&rooms);
    return err;
}

static enum mf_err ignore_record(void *arg, const struct mf_record *record)
{
    (void)arg;
    (void)record;
    return MF_OK;
}

enum mf_err mf_snapshot_verify(struct mf_snapshot_reader *reader, char *message,
                               size_t message_size)
{
    enum mf_err err = MF_OK;
    for (uint32_t i = 0; i < reader->section_count && err == MF_OK; i++)
        err = mf_snapshot_read(reader, i, ignore_record, NULL, message, message_size);
    return err;
}
