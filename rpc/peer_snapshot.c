// The items of a checkpoint's stream; see peer_snapshot.h.
#include "rpc/peer_snapshot.h"

// Sums of an offset and a length below this do not overflow.
#define FILE_BYTES_MAX (UINT64_C(1) << 63)

void mf_peer_put_offer(struct mf_buf *out, const struct mf_peer_offer *offer)
{
    mf_buf_u64(out, offer->number);
    mf_buf_u64(out, offer->incarnation);
    mf_buf_u64(out, offer->file.slot);
    mf_buf_u64(out, offer->file.log_time_us);
    mf_buf_u64(out, offer->file.bytes);
    mf_buf_u64(out, offer->file.identity);
}

void mf_peer_put_chunk(struct mf_buf *out, const struct mf_peer_chunk *chunk)
{
    mf_buf_u64(out, chunk->number);
    mf_buf_u64(out, chunk->identity);
    mf_buf_u64(out, chunk->offset);
    mf_buf_put(out, chunk->bytes.data, chunk->bytes.len);
}

void mf_peer_put_ack(struct mf_buf *out, const struct mf_peer_ack *ack)
{
    mf_buf_u64(out, ack->number);
    mf_buf_u64(out, ack->identity);
    mf_buf_u64(out, ack->offset);
    mf_buf_u8(out, (uint8_t)ack->verdict);
}

enum mf_err mf_peer_get_offer(struct mf_bytes bytes, struct mf_peer_offer *offer)
{
    struct mf_reader r = mf_reader_of(bytes);
    offer->number = mf_read_u64(&r);
    offer->incarnation = mf_read_u64(&r);
    offer->file.slot = mf_read_u64(&r);
    offer->file.log_time_us = mf_read_u64(&r);
    offer->file.bytes = mf_read_u64(&r);
    offer->file.identity = mf_read_u64(&r);
    bool sound = !r.failed && mf_reader_left(&r) == 0 && offer->number != 0 &&
                 offer->file.slot != 0 && offer->file.bytes != 0 &&
                 offer->file.bytes <= FILE_BYTES_MAX;
    return sound ? MF_OK : MF_CORRUPT;
}

enum mf_err mf_peer_get_chunk(struct mf_bytes bytes, struct mf_peer_chunk *chunk)
{
    struct mf_reader r = mf_reader_of(bytes);
    chunk->number = mf_read_u64(&r);
    chunk->identity = mf_read_u64(&r);
    chunk->offset = mf_read_u64(&r);
    chunk->bytes = mf_read_bytes(&r, mf_reader_left(&r));
    bool sound = !r.failed && chunk->number != 0 && chunk->bytes.len > 0 &&
                 chunk->bytes.len <= MF_PEER_CHUNK_BYTES_MAX &&
                 chunk->offset <= FILE_BYTES_MAX - chunk->bytes.len;
    return sound ? MF_OK : MF_CORRUPT;
}

enum mf_err mf_peer_get_ack(struct mf_bytes bytes, struct mf_peer_ack *ack)
{
    struct mf_reader r = mf_reader_of(bytes);
    ack->number = mf_read_u64(&r);
    ack->identity = mf_read_u64(&r);
    ack->offset = mf_read_u64(&r);
    uint8_t verdict = mf_read_u8(&r);
    ack->verdict = (enum mf_peer_verdict)verdict;
    bool sound = !r.failed && mf_reader_left(&r) == 0 && ack->number != 0 &&
                 verdict >= MF_PEER_WANTS && verdict <= MF_PEER_REFUSES &&
                 (ack->offset == 0 || verdict == MF_PEER_WANTS) && ack->offset <= FILE_BYTES_MAX;
    return sound ? MF_OK : MF_CORRUPT;
}
