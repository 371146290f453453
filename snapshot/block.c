// LZ4 in and out of blocks; see block.h.
#include "snapshot/block.h"

#include <lz4.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

void mf_snapshot_pack(struct mf_buf *out, struct mf_snapshot_block *block, struct mf_bytes raw)
{
    uint8_t *content = mf_buf_reserve(out, MF_SNAPSHOT_BLOCK_HEADER_BYTES + raw.len) +
                       MF_SNAPSHOT_BLOCK_HEADER_BYTES;
    // Given less room than the raw bytes take, LZ4 gives up where it would not help.
    int packed = LZ4_compress_default((const char *)raw.data, (char *)content, (int)raw.len,
                                      (int)raw.len - 1);
    block->codec = packed > 0 ? MF_SNAPSHOT_LZ4 : MF_SNAPSHOT_RAW;
    if (packed <= 0)
        memcpy(content, raw.data, raw.len);
    block->raw_bytes = (uint32_t)raw.len;
    block->stored_bytes = packed > 0 ? (uint32_t)packed : block->raw_bytes;
    block->content_checksum = mf_hash64(mf_bytes_of(content, block->stored_bytes), 0);
    mf_snapshot_put_block(out, block);
    out->len += block->stored_bytes;
}

bool mf_snapshot_make_room(struct mf_snapshot_room *room, size_t size)
{
    if (size <= room->cap)
        return true;
    free(room->data);
    room->data = malloc(size);
    room->cap = room->data != NULL ? size : 0;
    return room->data != NULL;
}

static const char *check_records(const struct mf_snapshot_block *block, struct mf_bytes raw)
{
    struct mf_reader r = mf_reader_of(raw);
    struct mf_record record;
    for (uint32_t i = 0; i < block->records && !r.failed; i++)
        mf_snapshot_get_record(&r, block->kind, &record);
    return r.failed || mf_reader_left(&r) > 0 ? "has records that do not fill it" : NULL;
}

const char *mf_snapshot_unpack(const struct mf_snapshot_block *block, struct mf_bytes content,
                               uint8_t *to, struct mf_bytes *raw)
{
    if (mf_hash64(content, 0) != block->content_checksum)
        return "has content that does not match its checksum";
    *raw = content;
    if (block->codec == MF_SNAPSHOT_LZ4) {
        int unpacked = LZ4_decompress_safe((const char *)content.data, (char *)to, (int)content.len,
                                           (int)block->raw_bytes);
        if (unpacked != (int)block->raw_bytes)
            return "has content that cannot be decompressed";
        *raw = mf_bytes_of(to, block->raw_bytes);
    }
    return check_records(block, *raw);
}
