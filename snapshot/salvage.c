// Reads what is whole of a damaged snapshot file; see reader.h.
//
// A block's header has a checksum of its own and names its own offset, so it is known for what it
// is wherever it is found. A block with a sound header and bad content is skipped as a whole; where
// no sound header is, the next one is searched byte by byte, in steps that begin small and double.
// The work is thus in proportion to the file, whatever it holds.
#include <stdlib.h>
#include <string.h>

#include "snapshot/format.h"
#include "snapshot/reader.h"
#include "snapshot/source.h"

#define SEARCH_BYTES_MAX (64u * 1024u)

struct walk {
    struct mf_snapshot_source source;
    struct mf_snapshot_rooms rooms;
    uint64_t begin; // of the first block
    uint64_t end;   // of the last one, or of the file
    uint64_t bad_end;
    struct mf_snapshot_salvage *salvage;
    void (*record)(void *arg, uint32_t shard, const struct mf_record *record);
    void *arg;
    char *message;
    size_t message_size;
};

static enum mf_err fetch(const struct walk *walk, uint64_t offset, void *to, size_t len)
{
    return mf_snapshot_fetch(&walk->source, offset, to, len, walk->message, walk->message_size);
}

// Ranges come in order; those that touch are one.
static void note_bad(struct walk *walk, uint64_t begin, uint64_t end)
{
    struct mf_snapshot_salvage *salvage = walk->salvage;
    if (salvage->bad_ranges == 0)
        salvage->first_bad_begin = begin;
    if (salvage->bad_ranges == 0 || begin > walk->bad_end)
        salvage->bad_ranges += 1;
    if (salvage->bad_ranges == 1)
        salvage->first_bad_end = end;
    walk->bad_end = end;
}

static enum mf_err look_at_header(struct walk *walk)
{
    uint8_t start[MF_SNAPSHOT_HEADER_BYTES + MF_SNAPSHOT_NAME_MAX];
    size_t size = walk->source.bytes < sizeof(start) ? walk->source.bytes : sizeof(start);
    struct mf_snapshot_header header;
    enum mf_err err = fetch(walk, 0, start, size);
    if (err != MF_OK)
        return err;
    walk->salvage->header_whole = mf_snapshot_get_header(mf_bytes_of(start, size), &header) == NULL;
    walk->begin = walk->salvage->header_whole ? header.bytes : 0;
    return MF_OK;
}

// Whole or not, the index is not used: only to know where the blocks end.
static enum mf_err look_at_end(struct walk *walk)
{
    uint64_t bytes = walk->source.bytes;
    walk->end = bytes;
    uint8_t trailer[MF_SNAPSHOT_TRAILER_BYTES];
    if (bytes < walk->begin + sizeof(trailer))
        return MF_OK;
    enum mf_err err = fetch(walk, bytes - sizeof(trailer), trailer, sizeof(trailer));
    if (err != MF_OK)
        return err;
    uint64_t offset;
    uint64_t size;
    struct mf_bytes end = mf_bytes_of(trailer, sizeof(trailer));
    if (mf_snapshot_get_trailer(end, bytes, &offset, &size) != NULL)
        return MF_OK;
    if (!mf_snapshot_make_room(&walk->rooms.stored, (size_t)size))
        return mf_snapshot_fail(MF_OUT_OF_MEMORY, walk->message, walk->message_size,
                                "%s: no memory for a footer of %zu bytes", walk->source.path,
                                (size_t)size);
    err = fetch(walk, offset, walk->rooms.stored.data, (size_t)size);
    if (err != MF_OK)
        return err;
    struct mf_snapshot_footer footer;
    struct mf_reader content;
    struct mf_bytes view = mf_bytes_of(walk->rooms.stored.data, (size_t)size);
    walk->salvage->index_whole = mf_snapshot_get_footer(view, &footer, &content) == NULL;
    if (walk->salvage->index_whole)
        walk->end = offset;
    return MF_OK;
}

static bool is_block(const struct walk *walk, struct mf_bytes at, uint64_t offset,
                     struct mf_snapshot_block *block)
{
    return mf_snapshot_get_block(at, block) == NULL && block->offset == offset &&
           mf_snapshot_block_bytes(block) <= walk->end - offset;
}

// Finds the first block at or after *offset, or the end.
static enum mf_err find_block(const struct walk *walk, uint64_t *offset,
                              struct mf_snapshot_block *block, bool *found)
{
    uint8_t bytes[SEARCH_BYTES_MAX];
    size_t step = MF_SNAPSHOT_BLOCK_HEADER_BYTES;
    *found = false;
    while (walk->end - *offset >= MF_SNAPSHOT_BLOCK_HEADER_BYTES) {
        uint64_t left = walk->end - *offset;
        size_t size = left < step ? (size_t)left : step;
        enum mf_err err = fetch(walk, *offset, bytes, size);
        if (err != MF_OK)
            return err;
        size_t last = size - MF_SNAPSHOT_BLOCK_HEADER_BYTES;
        for (size_t i = 0; i <= last; i++, *offset += 1) {
            *found = is_block(walk, mf_bytes_of(bytes + i, size - i), *offset, block);
            if (*found)
                return MF_OK;
        }
        step = step * 2 < sizeof(bytes) ? step * 2 : sizeof(bytes);
    }
    *offset = walk->end;
    return MF_OK;
}

static void hand_out(const struct walk *walk, const struct mf_snapshot_block *block,
                     struct mf_bytes raw)
{
    struct mf_reader r = mf_reader_of(raw);
    for (uint32_t i = 0; walk->record != NULL && i < block->records; i++) {
        struct mf_record record;
        mf_snapshot_get_record(&r, block->kind, &record);
        walk->record(walk->arg, block->shard, &record);
    }
}

static enum mf_err walk_blocks(struct walk *walk)
{
    uint64_t offset = walk->begin;
    while (offset < walk->end) {
        struct mf_snapshot_block block;
        bool found;
        uint64_t at = offset;
        enum mf_err err = find_block(walk, &at, &block, &found);
        if (err != MF_OK)
            return err;
        if (at > offset)
            note_bad(walk, offset, at);
        if (!found)
            break;
        offset = at + mf_snapshot_block_bytes(&block);
        struct mf_bytes raw;
        err = mf_snapshot_fetch_block(&walk->source, &block, &walk->rooms, &raw, walk->message,
                                      walk->message_size);
        if (err == MF_CORRUPT) {
            note_bad(walk, at, offset);
        } else if (err != MF_OK) {
            return err;
        } else {
            walk->salvage->blocks_whole += 1;
            walk->salvage->records += block.records;
            hand_out(walk, &block, raw);
        }
    }
    return MF_OK;
}

enum mf_err mf_snapshot_salvage(const char *path, struct mf_snapshot_salvage *salvage,
                                void (*record)(void *arg, uint32_t shard,
                                               const struct mf_record *record),
                                void *arg, char *message, size_t message_size)
{
    *salvage = (struct mf_snapshot_salvage){0};
    struct walk walk = {.salvage = salvage,
                        .record = record,
                        .arg = arg,
                        .message = message,
                        .message_size = message_size};
    enum mf_err err = mf_snapshot_open_source(path, &walk.source, message, message_size);
    if (err != MF_OK)
        return err;
    err = look_at_header(&walk);
    if (err == MF_OK)
        err = look_at_end(&walk);
    if (err == MF_OK)
        err = walk_blocks(&walk);
    if (err == MF_OK && !salvage->header_whole && !salvage->index_whole &&
        salvage->blocks_whole == 0)
        err =
            mf_snapshot_fail(MF_CORRUPT, message, message_size, "%s: no part of a snapshot", path);
    mf_snapshot_free_rooms(&walk.rooms);
    mf_snapshot_close_source(&walk.source);
    return err;
}
