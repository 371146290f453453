// The bytes of the write-ahead log; see wal_format.h, and docs/wal-format.md for every field.
//
// A batch's header has a checksum of its own beside the one of its payload. The header alone is
// enough to know that a batch was begun, and a batch is begun only when the one before it is on
// disk: so a bad batch is told from a torn tail even when the batch after it was torn as well, and
// the search for a later header reads 40 bytes in every 512, whatever the file holds.
#include "consensus/wal_format.h"

#include <assert.h>
#include <string.h>

#include "base/hash.h"

// The file header's two parts. The second, the link to the file before, is written later than the
// first and may be torn without harm to it.
#define FILE_MAGIC "MFWAL\r\n\x1a"
#define FILE_MAGIC_BYTES 8u
#define FILE_PART_BYTES 32u // before the first part's checksum
#define FILE_LINK_AT 40u
#define FILE_LINK_BYTES 16u
#define FILE_FLAGS_AT 56u
#define FILE_RECYCLED 1u

#define BATCH_MAGIC 0x4842464du // "MFBH"
#define BATCH_PART_BYTES 32u    // before the header's checksum
#define BATCH_HEADER_BYTES 40u

struct batch {
    uint32_t records;
    uint64_t number;
    uint64_t payload_bytes;
    uint64_t payload_checksum;
    size_t bytes; // on disk: header, payload and padding
    struct mf_bytes payload;
};

// Where a scan stands: batch `number` belongs at `offset`.
struct cursor {
    struct mf_bytes file;
    uint64_t identity;
    size_t offset; // at most file.len
    uint64_t number;
    bool recycled;
};

static bool all_zero(const uint8_t *data, size_t len)
{
    // Comparing the range with itself shifted by one lets memcmp's wide loads do the work.
    return len == 0 || (data[0] == 0 && memcmp(data, data + 1, len - 1) == 0);
}

static size_t pad_to_align(size_t len)
{
    return (MF_WAL_ALIGN - len % MF_WAL_ALIGN) % MF_WAL_ALIGN;
}

static void put_zeros(struct mf_buf *out, size_t len)
{
    memset(mf_buf_reserve(out, len), 0, len);
    out->len += len;
}

void mf_wal_put_header(struct mf_buf *out, const struct mf_wal_file_id *id)
{
    size_t start = out->len;
    mf_buf_put(out, FILE_MAGIC, FILE_MAGIC_BYTES);
    mf_buf_u32(out, MF_WAL_VERSION);
    mf_buf_u32(out, id->stream);
    mf_buf_u64(out, id->sequence);
    mf_buf_u64(out, id->identity);
    mf_buf_u64(out, mf_hash64(mf_bytes_of(out->data + start, FILE_PART_BYTES), id->identity));
    if (id->prepared) {
        put_zeros(out, FILE_LINK_BYTES);
    } else {
        mf_buf_u64(out, id->previous_batches);
        mf_buf_u64(out, mf_hash64(mf_bytes_of(out->data + start + FILE_LINK_AT, 8), id->identity));
    }
    mf_buf_u64(out, id->recycled ? FILE_RECYCLED : 0);
    mf_buf_u64(out, mf_hash64(mf_bytes_of(out->data + start + FILE_FLAGS_AT, 8), id->identity));
    put_zeros(out, MF_WAL_ALIGN - (out->len - start));
}

void mf_wal_put_end(struct mf_buf *out)
{
    put_zeros(out, MF_WAL_ALIGN);
}

enum mf_err mf_wal_get_header(struct mf_bytes file, struct mf_wal_file_id *id)
{
    *id = (struct mf_wal_file_id){0};
    if (file.len < MF_WAL_ALIGN)
        return MF_CORRUPT;
    struct mf_reader r = mf_reader_of(mf_bytes_of(file.data, MF_WAL_ALIGN));
    struct mf_bytes magic = mf_read_bytes(&r, FILE_MAGIC_BYTES);
    uint32_t version = mf_read_u32(&r);
    uint32_t stream = mf_read_u32(&r);
    uint64_t sequence = mf_read_u64(&r);
    uint64_t identity = mf_read_u64(&r);
    uint64_t checksum = mf_read_u64(&r);
    uint64_t previous_batches = mf_read_u64(&r);
    uint64_t link_checksum = mf_read_u64(&r);
    uint64_t flags = mf_read_u64(&r);
    uint64_t flags_checksum = mf_read_u64(&r);
    if (memcmp(magic.data, FILE_MAGIC, FILE_MAGIC_BYTES) != 0 ||
        checksum != mf_hash64(mf_bytes_of(file.data, FILE_PART_BYTES), identity))
        return MF_CORRUPT;
    if (version != MF_WAL_VERSION)
        return MF_OTHER_VERSION;
    if (flags > FILE_RECYCLED ||
        flags_checksum != mf_hash64(mf_bytes_of(file.data + FILE_FLAGS_AT, 8), identity) ||
        !all_zero(r.at, mf_reader_left(&r)))
        return MF_CORRUPT;

    struct mf_bytes link = mf_bytes_of(file.data + FILE_LINK_AT, 8);
    bool linked = link_checksum == mf_hash64(link, identity);
    *id = (struct mf_wal_file_id){
        .sequence = sequence,
        .stream = stream,
        .identity = identity,
        .prepared = !linked,
        .previous_batches = linked ? previous_batches : 0,
        .recycled = flags == FILE_RECYCLED,
    };
    return MF_OK;
}

void mf_wal_batch_begin(struct mf_wal_batch *batch, struct mf_buf *out)
{
    assert(out->len % MF_WAL_ALIGN == 0);
    *batch = (struct mf_wal_batch){.start = out->len};
    put_zeros(out, BATCH_HEADER_BYTES);
}

void mf_wal_batch_put(struct mf_wal_batch *batch, struct mf_buf *out,
                      const struct mf_wal_record *record)
{
    mf_buf_u8(out, (uint8_t)record->type);
    mf_buf_u32(out, record->group);
    switch (record->type) {
    case MF_WAL_PROMISE:
        mf_buf_u64(out, record->ballot);
        break;
    case MF_WAL_ACCEPT:
    case MF_WAL_MEMBERS:
        mf_buf_u64(out, record->ballot);
        mf_buf_u64(out, record->slot);
        mf_buf_u64(out, record->log_time_us);
        mf_buf_blob(out, record->payload);
        break;
    case MF_WAL_MARK:
        mf_buf_u64(out, record->slot);
        mf_buf_u64(out, record->log_time_us);
        mf_buf_u64(out, record->wall_us);
        break;
    default:
        assert(false && "a record type that the log does not know");
    }
    batch->records++;
}

static void store_le(uint8_t *to, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

void mf_wal_batch_end(struct mf_wal_batch *batch, struct mf_buf *out, uint64_t identity,
                      uint64_t number)
{
    size_t payload_bytes = out->len - batch->start - BATCH_HEADER_BYTES;
    put_zeros(out, pad_to_align(out->len));
    uint8_t *header = out->data + batch->start;
    struct mf_bytes body =
        mf_bytes_of(header + BATCH_HEADER_BYTES, out->len - batch->start - BATCH_HEADER_BYTES);
    store_le(header, BATCH_MAGIC, 4);
    store_le(header + 4, batch->records, 4);
    store_le(header + 8, number, 8);
    store_le(header + 16, payload_bytes, 8);
    store_le(header + 24, mf_hash64(body, identity), 8);
    store_le(header + 32, mf_hash64(mf_bytes_of(header, BATCH_PART_BYTES), identity), 8);
}

// False when no header of a batch of this file starts at `offset`. Clients cannot make one: they
// do not know the identity, and the copy of an old one has an old number.
static bool get_batch_header(const struct cursor *at, size_t offset, struct batch *batch)
{
    if (at->file.len - offset < BATCH_HEADER_BYTES)
        return false;
    struct mf_bytes covered = mf_bytes_of(at->file.data + offset, BATCH_PART_BYTES);
    struct mf_reader r = mf_reader_of(mf_bytes_of(covered.data, BATCH_HEADER_BYTES));
    if (mf_read_u32(&r) != BATCH_MAGIC)
        return false;
    batch->records = mf_read_u32(&r);
    batch->number = mf_read_u64(&r);
    batch->payload_bytes = mf_read_u64(&r);
    batch->payload_checksum = mf_read_u64(&r);
    return mf_read_u64(&r) == mf_hash64(covered, at->identity);
}

static void read_record(struct mf_reader *r, struct mf_wal_record *record)
{
    *record = (struct mf_wal_record){.type = (enum mf_wal_type)mf_read_u8(r)};
    record->group = mf_read_u32(r);
    switch (record->type) {
    case MF_WAL_PROMISE:
        record->ballot = mf_read_u64(r);
        break;
    case MF_WAL_ACCEPT:
    case MF_WAL_MEMBERS:
        record->ballot = mf_read_u64(r);
        record->slot = mf_read_u64(r);
        record->log_time_us = mf_read_u64(r);
        record->payload = mf_read_blob(r);
        break;
    case MF_WAL_MARK:
        record->slot = mf_read_u64(r);
        record->log_time_us = mf_read_u64(r);
        record->wall_us = mf_read_u64(r);
        break;
    default:
        r->failed = true;
    }
}

void mf_wal_batch_each(const struct mf_wal_batch *batch, const struct mf_buf *out,
                       void (*record)(void *arg, const struct mf_wal_record *record), void *arg)
{
    size_t start = batch->start + BATCH_HEADER_BYTES;
    struct mf_reader r = mf_reader_of(mf_bytes_of(out->data + start, out->len - start));
    for (uint32_t i = 0; i < batch->records; i++) {
        struct mf_wal_record one;
        read_record(&r, &one);
        record(arg, &one);
    }
}

static bool payload_is_readable(struct mf_bytes payload, uint32_t records)
{
    struct mf_reader r = mf_reader_of(payload);
    struct mf_wal_record record;
    for (uint32_t i = 0; i < records && !r.failed; i++)
        read_record(&r, &record);
    return !r.failed && mf_reader_left(&r) == 0;
}

enum batch_state { BATCH_WHOLE, BATCH_INCOMPLETE, BATCH_IMPOSSIBLE };

// The batch at the cursor. IMPOSSIBLE: what no tear leaves behind, the header of another batch or
// a payload with the right checksum that cannot be read.
static enum batch_state get_batch(const struct cursor *at, struct batch *batch)
{
    if (!get_batch_header(at, at->offset, batch))
        return BATCH_INCOMPLETE;
    if (batch->number != at->number)
        return BATCH_IMPOSSIBLE;
    size_t left = at->file.len - at->offset - BATCH_HEADER_BYTES;
    if (batch->payload_bytes > left)
        return BATCH_INCOMPLETE;
    size_t payload_bytes = (size_t)batch->payload_bytes;
    size_t padding = pad_to_align(BATCH_HEADER_BYTES + payload_bytes);
    if (padding > left - payload_bytes)
        return BATCH_INCOMPLETE;
    struct mf_bytes body =
        mf_bytes_of(at->file.data + at->offset + BATCH_HEADER_BYTES, payload_bytes + padding);
    if (mf_hash64(body, at->identity) != batch->payload_checksum)
        return BATCH_INCOMPLETE;
    batch->bytes = BATCH_HEADER_BYTES + body.len;
    batch->payload = mf_bytes_of(body.data, payload_bytes);
    return payload_is_readable(batch->payload, batch->records) ? BATCH_WHOLE : BATCH_IMPOSSIBLE;
}

// True when the batch that belongs at the cursor, or a later one, was begun anywhere behind it.
static bool later_batch_was_begun(const struct cursor *at)
{
    size_t offset = at->offset;
    while (at->file.len - offset > MF_WAL_ALIGN) {
        struct batch batch;
        offset += MF_WAL_ALIGN;
        if (get_batch_header(at, offset, &batch) && batch.number >= at->number)
            return true;
    }
    return false;
}

static enum mf_wal_end judge_end(const struct cursor *at, enum batch_state state)
{
    if (state == BATCH_IMPOSSIBLE || later_batch_was_begun(at))
        return MF_WAL_DAMAGED;
    size_t left = at->file.len - at->offset;
    if (at->recycled && left > MF_WAL_ALIGN)
        left = MF_WAL_ALIGN; // behind it is what the older file held
    bool nothing = all_zero(at->file.data + at->offset, left);
    return nothing ? MF_WAL_CLEAN : MF_WAL_TORN;
}

enum mf_err mf_wal_scan(struct mf_bytes file, struct mf_wal_scan *scan,
                        enum mf_err (*record)(void *arg, const struct mf_wal_record *record),
                        void *arg)
{
    *scan = (struct mf_wal_scan){.end = MF_WAL_CLEAN};
    enum mf_err err = mf_wal_get_header(file, &scan->id);
    if (err != MF_OK)
        return err;
    struct cursor at = {.file = file,
                        .identity = scan->id.identity,
                        .offset = MF_WAL_ALIGN,
                        .number = 1,
                        .recycled = scan->id.recycled};
    struct batch batch;
    enum batch_state state;
    while ((state = get_batch(&at, &batch)) == BATCH_WHOLE) {
        struct mf_reader r = mf_reader_of(batch.payload);
        for (uint32_t i = 0; i < batch.records; i++) {
            struct mf_wal_record one;
            read_record(&r, &one);
            err = record(arg, &one);
            if (err != MF_OK)
                return err;
        }
        scan->batches = at.number++;
        at.offset += batch.bytes;
    }
    scan->valid_bytes = at.offset;
    scan->end = judge_end(&at, state);
    scan->damaged_offset = scan->end == MF_WAL_CLEAN ? 0 : at.offset;
    return MF_OK;
}
