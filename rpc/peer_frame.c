// Peer frames and the handshake; see peer_frame.h.
#include "rpc/peer_frame.h"

#include <assert.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "base/hash.h"
#include "base/secret.h"

#define MAGIC UINT64_C(0x31524545504c594d) // "MYLPEER1", little-endian
#define CHECKSUM_BYTES 8u
#define BODY_HEAD_BYTES 37u
#define FLAG_ASKS 1u
#define FLAG_DECLINES 2u

static void set_u32(uint8_t *at, uint32_t value)
{
    for (size_t i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static void set_u64(uint8_t *at, uint64_t value)
{
    set_u32(at, (uint32_t)value);
    set_u32(at + 4, (uint32_t)(value >> 32));
}

void mf_peer_frame_begin(struct mf_buf *frame)
{
    assert(frame->len == 0);
    static const uint8_t head[MF_PEER_FRAME_HEAD_BYTES + BODY_HEAD_BYTES];
    mf_buf_put(frame, head, sizeof(head));
}

size_t mf_peer_item_begin(struct mf_buf *frame, enum mf_peer_item_kind kind, uint32_t shard)
{
    mf_buf_u8(frame, (uint8_t)kind);
    mf_buf_u32(frame, shard);
    mf_buf_u32(frame, 0);
    return frame->len;
}

void mf_peer_item_end(struct mf_buf *frame, size_t begun)
{
    assert(frame->len - begun <= UINT32_MAX);
    set_u32(frame->data + begun - 4, (uint32_t)(frame->len - begun));
}

void mf_peer_frame_end(struct mf_buf *frame, const struct mf_peer_head *head)
{
    size_t body_bytes = frame->len - MF_PEER_FRAME_HEAD_BYTES;
    assert(body_bytes + CHECKSUM_BYTES <= UINT32_MAX);
    uint8_t *body = frame->data + MF_PEER_FRAME_HEAD_BYTES;
    set_u64(body, head->mono_us);
    body[8] = (uint8_t)((head->asks ? FLAG_ASKS : 0) | (head->declines ? FLAG_DECLINES : 0));
    set_u64(body + 9, head->echo_us);
    set_u64(body + 17, head->token);
    set_u64(body + 25, head->roster);
    set_u32(body + 33, head->held);
    set_u32(frame->data, (uint32_t)(body_bytes + CHECKSUM_BYTES));
    set_u64(frame->data + 4, mf_hash64(mf_bytes_of(body, body_bytes), MAGIC));
}

enum mf_err mf_peer_frame_split(struct mf_bytes input, size_t bytes_max, size_t *size,
                                struct mf_bytes *body)
{
    if (input.len < 4)
        return MF_AGAIN;
    struct mf_reader reader = mf_reader_of(input);
    size_t rest = mf_read_u32(&reader);
    if (rest > bytes_max)
        return MF_TOO_LARGE;
    if (rest < CHECKSUM_BYTES + BODY_HEAD_BYTES)
        return MF_CORRUPT; // these are always there
    if (mf_reader_left(&reader) < rest)
        return MF_AGAIN;
    uint64_t checksum = mf_read_u64(&reader);
    *body = mf_read_bytes(&reader, rest - CHECKSUM_BYTES);
    *size = rest + 4;
    return checksum == mf_hash64(*body, MAGIC) ? MF_OK : MF_CORRUPT;
}

enum mf_err mf_peer_body_open(struct mf_peer_reader *reader, struct mf_bytes body)
{
    struct mf_reader *r = &reader->reader;
    *r = mf_reader_of(body);
    reader->head.mono_us = mf_read_u64(r);
    uint8_t flags = mf_read_u8(r);
    reader->head.asks = (flags & FLAG_ASKS) != 0;
    reader->head.declines = (flags & FLAG_DECLINES) != 0;
    reader->head.echo_us = mf_read_u64(r);
    reader->head.token = mf_read_u64(r);
    reader->head.roster = mf_read_u64(r);
    reader->head.held = mf_read_u32(r);
    return r->failed || flags > (FLAG_ASKS | FLAG_DECLINES) ? MF_CORRUPT : MF_OK;
}

enum mf_err mf_peer_item_next(struct mf_peer_reader *reader, struct mf_peer_item *item)
{
    struct mf_reader *r = &reader->reader;
    if (mf_reader_left(r) == 0)
        return MF_NOT_FOUND;
    uint8_t kind = mf_read_u8(r);
    item->kind = (enum mf_peer_item_kind)kind;
    item->shard = mf_read_u32(r);
    item->bytes = mf_read_blob(r);
    return r->failed || kind < MF_PEER_PAXOS || kind > MF_PEER_ITEM_KIND_MAX ? MF_CORRUPT : MF_OK;
}

void mf_peer_put_state(struct mf_buf *out, const struct mf_peer_state *state)
{
    mf_buf_u8(out, state->state);
    mf_buf_u64(out, state->memory);
    mf_buf_u64(out, state->question);
    mf_buf_u64(out, state->answer);
}

enum mf_err mf_peer_get_state(struct mf_bytes bytes, struct mf_peer_state *state)
{
    struct mf_reader r = mf_reader_of(bytes);
    state->state = mf_read_u8(&r);
    state->memory = mf_read_u64(&r);
    state->question = mf_read_u64(&r);
    state->answer = mf_read_u64(&r);
    return r.failed || mf_reader_left(&r) > 0 ? MF_CORRUPT : MF_OK;
}

void mf_peer_put_challenge(struct mf_buf *out, const uint8_t nonce[MF_PEER_NONCE_BYTES])
{
    mf_buf_u32(out, 8 + 4 + MF_PEER_NONCE_BYTES);
    mf_buf_u64(out, MAGIC);
    mf_buf_u32(out, MF_PEER_PROTOCOL);
    mf_buf_put(out, nonce, MF_PEER_NONCE_BYTES);
}

enum mf_err mf_peer_get_challenge(struct mf_bytes body, uint8_t nonce[MF_PEER_NONCE_BYTES])
{
    struct mf_reader r = mf_reader_of(body);
    uint64_t magic = mf_read_u64(&r);
    uint32_t protocol = mf_read_u32(&r);
    struct mf_bytes got = mf_read_bytes(&r, MF_PEER_NONCE_BYTES);
    if (r.failed || mf_reader_left(&r) > 0 || magic != MAGIC || protocol != MF_PEER_PROTOCOL)
        return MF_CORRUPT;
    memcpy(nonce, got.data, MF_PEER_NONCE_BYTES);
    return MF_OK;
}

static void prove(enum mf_peer_role role, struct mf_bytes secret, const uint8_t *first_nonce,
                  const uint8_t *second_nonce, struct mf_bytes fields,
                  uint8_t proof[MF_PEER_PROOF_BYTES])
{
    struct mf_buf text = {0};
    mf_buf_u8(&text, (uint8_t)role);
    mf_buf_put(&text, first_nonce, MF_PEER_NONCE_BYTES);
    mf_buf_put(&text, second_nonce, MF_PEER_NONCE_BYTES);
    mf_buf_put(&text, fields.data, fields.len);
    unsigned proof_bytes = 0;
    const void *key = secret.len > 0 ? (const void *)secret.data : "";
    unsigned char *done =
        HMAC(EVP_sha256(), key, (int)secret.len, text.data, text.len, proof, &proof_bytes);
    assert(done != NULL && proof_bytes == MF_PEER_PROOF_BYTES);
    (void)done;
    mf_buf_free(&text);
}

static void put_text(struct mf_buf *out, struct mf_bytes text)
{
    assert(text.len <= MF_PEER_TEXT_BYTES_MAX);
    mf_buf_u16(out, (uint16_t)text.len);
    mf_buf_put(out, text.data, text.len);
}

static struct mf_bytes get_text(struct mf_reader *r)
{
    return mf_read_bytes(r, mf_read_u16(r));
}

static void put_fields(struct mf_buf *out, const struct mf_peer_hello *hello)
{
    mf_buf_u64(out, MAGIC);
    mf_buf_u32(out, MF_PEER_PROTOCOL);
    mf_buf_u16(out, hello->node);
    mf_buf_u16(out, hello->to);
    mf_buf_u16(out, hello->reactor);
    mf_buf_u64(out, hello->incarnation);
    mf_buf_u64(out, hello->memory);
    mf_buf_u32(out, hello->shards);
    mf_buf_u32(out, hello->replicas);
    mf_buf_u32(out, hello->lease_ms);
    mf_buf_u64(out, hello->roster);
    mf_buf_u64(out, hello->identity);
    mf_buf_u64(out, hello->genesis);
    put_text(out, hello->members);
    put_text(out, hello->cluster);
    put_text(out, hello->peer);
    put_text(out, hello->rpc);
    put_text(out, hello->resp);
    put_text(out, hello->resp_cluster);
    put_text(out, hello->http);
}

static enum mf_err get_fields(struct mf_bytes fields, struct mf_peer_hello *hello)
{
    struct mf_reader r = mf_reader_of(fields);
    uint64_t magic = mf_read_u64(&r);
    uint32_t protocol = mf_read_u32(&r);
    hello->node = mf_read_u16(&r);
    hello->to = mf_read_u16(&r);
    hello->reactor = mf_read_u16(&r);
    hello->incarnation = mf_read_u64(&r);
    hello->memory = mf_read_u64(&r);
    hello->shards = mf_read_u32(&r);
    hello->replicas = mf_read_u32(&r);
    hello->lease_ms = mf_read_u32(&r);
    hello->roster = mf_read_u64(&r);
    hello->identity = mf_read_u64(&r);
    hello->genesis = mf_read_u64(&r);
    hello->members = get_text(&r);
    hello->cluster = get_text(&r);
    hello->peer = get_text(&r);
    hello->rpc = get_text(&r);
    hello->resp = get_text(&r);
    hello->resp_cluster = get_text(&r);
    hello->http = get_text(&r);
    bool sound = !r.failed && mf_reader_left(&r) == 0 && magic == MAGIC &&
                 protocol == MF_PEER_PROTOCOL && hello->node != 0;
    return sound ? MF_OK : MF_CORRUPT;
}

void mf_peer_put_hello(struct mf_buf *out, const struct mf_peer_hello *hello,
                       enum mf_peer_role role, struct mf_bytes secret,
                       const uint8_t other_nonce[MF_PEER_NONCE_BYTES],
                       const uint8_t own_nonce[MF_PEER_NONCE_BYTES])
{
    struct mf_buf fields = {0};
    put_fields(&fields, hello);
    uint8_t proof[MF_PEER_PROOF_BYTES];
    prove(role, secret, other_nonce, own_nonce, mf_buf_view(&fields), proof);
    mf_buf_u32(out, (uint32_t)(fields.len + MF_PEER_NONCE_BYTES + MF_PEER_PROOF_BYTES));
    mf_buf_put(out, fields.data, fields.len);
    mf_buf_put(out, own_nonce, MF_PEER_NONCE_BYTES);
    mf_buf_put(out, proof, MF_PEER_PROOF_BYTES);
    mf_buf_free(&fields);
}

enum mf_err mf_peer_get_hello(struct mf_bytes body, struct mf_peer_hello *hello,
                              enum mf_peer_role role, struct mf_bytes secret,
                              const uint8_t own_nonce[MF_PEER_NONCE_BYTES],
                              uint8_t nonce_out[MF_PEER_NONCE_BYTES])
{
    size_t tail = MF_PEER_NONCE_BYTES + MF_PEER_PROOF_BYTES;
    if (body.len < tail)
        return MF_CORRUPT;
    struct mf_bytes fields = mf_bytes_of(body.data, body.len - tail);
    enum mf_err err = get_fields(fields, hello);
    if (err != MF_OK)
        return err;
    memcpy(nonce_out, body.data + fields.len, MF_PEER_NONCE_BYTES);
    uint8_t proof[MF_PEER_PROOF_BYTES];
    prove(role, secret, own_nonce, nonce_out, fields, proof);
    struct mf_bytes given =
        mf_bytes_of(body.data + fields.len + MF_PEER_NONCE_BYTES, MF_PEER_PROOF_BYTES);
    bool holds = mf_secret_equal(given, mf_bytes_of(proof, MF_PEER_PROOF_BYTES));
    return holds ? MF_OK : MF_UNAUTHORIZED;
}

enum mf_err mf_peer_hello_split(struct mf_bytes input, size_t *size, struct mf_bytes *body)
{
    if (input.len < 4)
        return MF_AGAIN;
    struct mf_reader reader = mf_reader_of(input);
    size_t rest = mf_read_u32(&reader);
    if (rest > MF_PEER_HELLO_BYTES_MAX)
        return MF_TOO_LARGE;
    if (mf_reader_left(&reader) < rest)
        return MF_AGAIN;
    *body = mf_read_bytes(&reader, rest);
    *size = rest + 4;
    return MF_OK;
}
