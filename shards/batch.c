// Batches of commands; see batch.h for the layout.
#include "shards/batch.h"

#include <assert.h>
#include <stdlib.h>

#define FORMAT 1

void mf_batch_begin(struct mf_buf *batch, uint64_t tag)
{
    assert(batch->len == 0);
    mf_buf_u8(batch, FORMAT);
    mf_buf_u64(batch, tag);
}

void mf_batch_add_encoded(struct mf_buf *batch, struct mf_bytes encoded)
{
    mf_buf_blob(batch, encoded);
}

void mf_batch_add(struct mf_buf *batch, const struct mf_command *command)
{
    size_t size = mf_command_size(command);
    assert(size <= UINT32_MAX);
    mf_buf_reserve(batch, 4 + size);
    mf_buf_u32(batch, (uint32_t)size);
    mf_command_encode(command, batch);
}

enum mf_err mf_batch_open(struct mf_batch_reader *reader, struct mf_bytes payload)
{
    *reader = (struct mf_batch_reader){.reader = mf_reader_of(payload)};
    if (payload.len == 0)
        return MF_OK;
    uint8_t format = mf_read_u8(&reader->reader);
    reader->tag = mf_read_u64(&reader->reader);
    return reader->reader.failed || format != FORMAT ? MF_CORRUPT : MF_OK;
}

enum mf_err mf_batch_next(struct mf_batch_reader *reader, struct mf_command *command)
{
    if (mf_reader_left(&reader->reader) == 0)
        return MF_NOT_FOUND;
    struct mf_reader one = mf_reader_of(mf_read_blob(&reader->reader));
    if (reader->reader.failed)
        return MF_CORRUPT;
    enum mf_err err = mf_command_decode(&one, command, &reader->items, &reader->items_cap);
    if (err == MF_OK && mf_reader_left(&one) > 0)
        err = MF_CORRUPT;
    return err;
}

void mf_batch_close(struct mf_batch_reader *reader)
{
    free(reader->items);
    reader->items = NULL;
    reader->items_cap = 0;
}
