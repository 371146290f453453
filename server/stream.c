// A checkpoint's stream; see stream.h.
#include "server/stream.h"

void mf_stream_out_begin(struct mf_stream_out *out, const struct mf_peer_checkpoint *file,
                         uint64_t incarnation, uint64_t first_number, uint64_t now_us)
{
    *out = (struct mf_stream_out){
        .state = MF_STREAM_OFFERING,
        .offer = {.number = first_number - 1, .incarnation = incarnation, .file = *file},
        .offer_us = now_us,
        .heard_us = now_us};
}

void mf_stream_out_again(struct mf_stream_out *out, uint64_t now_us)
{
    out->offer_us = now_us;
}

bool mf_stream_out_tick(struct mf_stream_out *out, uint64_t now_us)
{
    if (mf_stream_out_ended(out))
        return false;
    if (now_us >= out->heard_us + MF_STREAM_IDLE_US) {
        out->state = MF_STREAM_SILENT;
        return false;
    }
    if (now_us < out->offer_us)
        return false;
    out->state = MF_STREAM_OFFERING;
    if (++out->offer.number == 0)
        out->offer.number = 1;
    out->offer_us = now_us + MF_STREAM_RESEND_US;
    return true;
}

size_t mf_stream_out_next(const struct mf_stream_out *out, uint64_t *offset)
{
    if (out->state != MF_STREAM_SENDING)
        return 0;
    uint64_t left = out->offer.file.bytes - out->sent;
    size_t len = left < MF_STREAM_CHUNK_BYTES ? (size_t)left : MF_STREAM_CHUNK_BYTES;
    *offset = out->sent;
    return out->sent + len - out->acked <= MF_STREAM_WINDOW_BYTES ? len : 0;
}

void mf_stream_out_sent(struct mf_stream_out *out, uint64_t now_us, uint64_t offset, size_t len)
{
    if (out->state != MF_STREAM_SENDING || offset != out->sent)
        return;
    out->sent += len;
    out->offer_us = now_us + MF_STREAM_RESEND_US;
}

static void take_wants(struct mf_stream_out *out, uint64_t now_us, uint64_t offset)
{
    if (out->state == MF_STREAM_OFFERING) {
        // Wherever it is: it may have begun anew, or have kept what another process of us sent.
        out->state = MF_STREAM_SENDING;
        out->acked = out->sent = offset;
    } else if (offset > out->acked && offset <= out->sent) {
        out->acked = offset;
    } else {
        return; // it is where we know it to be: the chunk on its way is the one to wait for
    }
    out->offer_us = now_us + MF_STREAM_RESEND_US;
}

void mf_stream_out_ack(struct mf_stream_out *out, uint64_t now_us, const struct mf_peer_ack *ack)
{
    if (mf_stream_out_ended(out) || ack->number != out->offer.number ||
        ack->identity != out->offer.file.identity || ack->offset > out->offer.file.bytes)
        return;
    if (ack->verdict != MF_PEER_BUSY)
        out->heard_us = now_us;
    switch (ack->verdict) {
    case MF_PEER_WANTS:
        take_wants(out, now_us, ack->offset);
        break;
    case MF_PEER_HAS:
        out->state = MF_STREAM_DONE;
        break;
    case MF_PEER_ANEW:
        out->state = MF_STREAM_OFFERING;
        out->offer_us = now_us;
        break;
    case MF_PEER_BUSY:
        out->state = MF_STREAM_OFFERING;
        break;
    case MF_PEER_DAMAGED:
        out->state =
            ++out->damaged < MF_STREAM_DAMAGED_MAX ? MF_STREAM_OFFERING : MF_STREAM_DAMAGED;
        out->offer_us = now_us;
        break;
    case MF_PEER_REFUSES:
        out->state = MF_STREAM_REFUSED;
        break;
    }
}

static bool same(const struct mf_peer_checkpoint *a, const struct mf_peer_checkpoint *b)
{
    return a->identity == b->identity && a->bytes == b->bytes && a->slot == b->slot;
}

static void answer(struct mf_peer_ack *ack, uint64_t number, uint64_t identity,
                   enum mf_peer_verdict verdict, uint64_t offset)
{
    *ack = (struct mf_peer_ack){
        .number = number, .identity = identity, .offset = offset, .verdict = verdict};
}

// Another's offer counts only when our sender has fallen silent, or has restarted and has a later
// checkpoint by now.
static bool gives_way(const struct mf_stream_in *in, uint64_t now_us, uint16_t from)
{
    if (in->stage == MF_STREAM_CHECKING)
        return false;
    return in->stage == MF_STREAM_NOTHING || in->from == from ||
           now_us >= in->heard_us + MF_STREAM_YIELD_US;
}

enum mf_stream_task mf_stream_in_offer(struct mf_stream_in *in, uint64_t now_us, uint16_t from,
                                       uint64_t incarnation, uint64_t applied,
                                       const struct mf_peer_offer *offer, struct mf_peer_ack *ack)
{
    uint64_t identity = offer->file.identity;
    bool known = in->stage != MF_STREAM_NOTHING && same(&in->file, &offer->file);
    if (offer->file.slot <= applied) {
        answer(ack, offer->number, identity, MF_PEER_HAS, 0);
        return MF_STREAM_NO_TASK;
    }
    if (offer->incarnation != incarnation) {
        answer(ack, offer->number, identity, MF_PEER_REFUSES, 0);
        return MF_STREAM_NO_TASK;
    }
    if (!known && !gives_way(in, now_us, from)) {
        answer(ack, offer->number, identity, MF_PEER_BUSY, 0);
        return MF_STREAM_NO_TASK;
    }
    in->from = from; // with the same file: whoever sends it
    in->number = offer->number;
    in->heard_us = now_us;
    if (!known) {
        in->stage = MF_STREAM_TAKING;
        in->file = offer->file;
        in->taken = in->written = 0;
        in->attempt++;
    }
    // What is still being written need not come again.
    answer(ack, offer->number, identity, MF_PEER_WANTS, in->taken);
    return known ? MF_STREAM_NO_TASK : MF_STREAM_CREATE;
}

enum mf_stream_task mf_stream_in_chunk(struct mf_stream_in *in, uint64_t now_us, uint16_t from,
                                       const struct mf_peer_chunk *chunk, struct mf_peer_ack *ack)
{
    ack->number = 0;
    if (in->stage == MF_STREAM_NOTHING || in->file.identity != chunk->identity ||
        in->from != from) {
        answer(ack, chunk->number, chunk->identity, MF_PEER_ANEW, 0);
        return MF_STREAM_NO_TASK;
    }
    if (in->stage != MF_STREAM_TAKING || chunk->offset != in->taken ||
        chunk->bytes.len > in->file.bytes - in->taken)
        return MF_STREAM_NO_TASK; // the sender finds out when it offers again
    in->number = chunk->number;
    in->heard_us = now_us;
    in->taken += chunk->bytes.len;
    return MF_STREAM_WRITE;
}

enum mf_stream_task mf_stream_in_written(struct mf_stream_in *in, uint64_t attempt, uint64_t offset,
                                         bool ok, struct mf_peer_ack *ack)
{
    ack->number = 0;
    if (attempt != in->attempt || in->stage != MF_STREAM_TAKING)
        return MF_STREAM_NO_TASK;
    if (!ok) {
        in->stage = MF_STREAM_NOTHING;
        in->attempt++;
        answer(ack, in->number, in->file.identity, MF_PEER_REFUSES, 0);
        return MF_STREAM_NO_TASK;
    }
    in->written = offset;
    answer(ack, in->number, in->file.identity, MF_PEER_WANTS, offset);
    if (in->written < in->file.bytes)
        return MF_STREAM_NO_TASK;
    in->stage = MF_STREAM_CHECKING;
    return MF_STREAM_CHECK;
}

void mf_stream_in_checked(struct mf_stream_in *in, uint64_t attempt, enum mf_peer_verdict verdict,
                          struct mf_peer_ack *ack)
{
    ack->number = 0;
    if (attempt != in->attempt || in->stage != MF_STREAM_CHECKING)
        return;
    in->stage = MF_STREAM_NOTHING;
    in->attempt++;
    answer(ack, in->number, in->file.identity, verdict, 0);
}

bool mf_stream_in_tick(struct mf_stream_in *in, uint64_t now_us)
{
    if (in->stage != MF_STREAM_TAKING || now_us < in->heard_us + MF_STREAM_IDLE_US)
        return false;
    in->stage = MF_STREAM_NOTHING;
    in->attempt++;
    return true;
}
