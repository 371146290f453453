// The items of watches between nodes; see peer_watch.h.
#include "rpc/peer_watch.h"

#include "base/event.h"

#define FLAG_END 1u
#define FLAG_PREFIX 2u
#define FLAG_PROGRESS 4u
#define SHARD_BYTES 4u
#define VERSION_BYTES 12u // of a shard and its version
#define ID_BYTES 8u

void mf_peer_put_watch_order(struct mf_buf *out, const struct mf_peer_watch_order *order)
{
    mf_buf_u64(out, order->number);
    mf_buf_u64(out, order->sequence);
    mf_buf_u16(out, order->home);
    mf_buf_u64(out, order->id);
    mf_buf_u8(out, (uint8_t)((order->end ? FLAG_END : 0) | (order->by_prefix ? FLAG_PREFIX : 0) |
                             (order->progress ? FLAG_PROGRESS : 0)));
    mf_buf_u8(out, order->events);
    mf_buf_blob(out, order->pattern);
    mf_buf_blob(out, order->shards);
    mf_buf_blob(out, order->froms);
}

void mf_peer_put_watch_alive(struct mf_buf *out, const struct mf_peer_watch_alive *alive)
{
    mf_buf_u64(out, alive->number);
    mf_buf_u16(out, alive->home);
    mf_buf_u64(out, alive->sequence);
    mf_buf_u16(out, (uint16_t)(alive->taken.len / sizeof(uint64_t)));
    mf_buf_put(out, alive->taken.data, alive->taken.len);
}

void mf_peer_put_watch_news(struct mf_buf *out, const struct mf_peer_watch_news *news)
{
    mf_buf_u64(out, news->number);
    mf_buf_u16(out, news->home);
    mf_buf_u16(out, news->reactor);
    mf_buf_u16(out, news->reactors);
    mf_buf_u64(out, news->offset);
    mf_buf_put(out, news->news.data, news->news.len);
}

void mf_peer_put_watch_gone(struct mf_buf *out, const struct mf_peer_watch_gone *gone)
{
    mf_buf_u64(out, gone->number);
    mf_buf_u16(out, gone->home);
}

// Entries of so many bytes, each of which begins with a shard: ascending where they have to be.
static bool are_shards(struct mf_bytes entries, size_t entry_bytes, uint32_t shards, bool ascending)
{
    struct mf_reader r = mf_reader_of(entries);
    uint64_t least = 0;
    if (entries.len % entry_bytes != 0)
        return false;
    while (mf_reader_left(&r) > 0) {
        uint32_t shard = mf_read_u32(&r);
        (void)mf_read_bytes(&r, entry_bytes - SHARD_BYTES);
        if (shard >= shards || (ascending && shard < least))
            return false;
        least = (uint64_t)shard + 1;
    }
    return !r.failed;
}

enum mf_err mf_peer_get_watch_order(struct mf_bytes bytes, uint32_t shards,
                                    struct mf_peer_watch_order *order)
{
    struct mf_reader r = mf_reader_of(bytes);
    order->number = mf_read_u64(&r);
    order->sequence = mf_read_u64(&r);
    order->home = mf_read_u16(&r);
    order->id = mf_read_u64(&r);
    uint8_t flags = mf_read_u8(&r);
    order->end = (flags & FLAG_END) != 0;
    order->by_prefix = (flags & FLAG_PREFIX) != 0;
    order->progress = (flags & FLAG_PROGRESS) != 0;
    order->events = mf_read_u8(&r);
    order->pattern = mf_read_blob(&r);
    order->shards = mf_read_blob(&r);
    order->froms = mf_read_blob(&r);
    if (r.failed || mf_reader_left(&r) > 0 || order->number == 0 || order->sequence == 0 ||
        flags > (FLAG_END | FLAG_PREFIX | FLAG_PROGRESS) || order->events > MF_EVENTS_ALL ||
        (!order->by_prefix && order->pattern.len == 0))
        return MF_CORRUPT;
    if (order->end ? order->events != 0 || order->shards.len > 0 || order->froms.len > 0
                   : order->events == 0 || order->shards.len == 0)
        return MF_CORRUPT;
    return are_shards(order->shards, SHARD_BYTES, shards, true) &&
                   are_shards(order->froms, VERSION_BYTES, shards, true)
               ? MF_OK
               : MF_CORRUPT;
}

enum mf_err mf_peer_get_watch_alive(struct mf_bytes bytes, struct mf_peer_watch_alive *alive)
{
    struct mf_reader r = mf_reader_of(bytes);
    alive->number = mf_read_u64(&r);
    alive->home = mf_read_u16(&r);
    alive->sequence = mf_read_u64(&r);
    uint16_t count = mf_read_u16(&r);
    alive->taken = mf_read_bytes(&r, (size_t)count * sizeof(uint64_t));
    return r.failed || mf_reader_left(&r) > 0 || alive->number == 0 ? MF_CORRUPT : MF_OK;
}

static bool skip_ids(struct mf_reader *r)
{
    uint32_t count = mf_read_u32(r);
    (void)mf_read_bytes(r, (size_t)count * ID_BYTES);
    return !r->failed && count > 0;
}

static bool skip_event(struct mf_reader *r)
{
    uint8_t event = mf_read_u8(r);
    (void)mf_read_u64(r);
    struct mf_bytes key = mf_read_blob(r);
    struct mf_bytes value = mf_read_blob(r);
    return !r->failed && event < MF_EVENTS && key.len > 0 &&
           (event == MF_EVENT_SET || value.len == 0);
}

static bool skip_versions(struct mf_reader *r, uint32_t shards)
{
    uint32_t count = mf_read_u32(r);
    struct mf_bytes versions = mf_read_bytes(r, (size_t)count * VERSION_BYTES);
    return !r->failed && count > 0 && count <= MF_WATCH_PROGRESS_SHARDS_MAX &&
           are_shards(versions, VERSION_BYTES, shards, false);
}

static bool skip_one(struct mf_reader *r, uint8_t kind, uint32_t shards)
{
    if (kind == MF_WATCH_EVENT)
        return skip_ids(r) && skip_event(r);
    if (kind == MF_WATCH_PROGRESS)
        return skip_ids(r) && skip_versions(r, shards);
    (void)mf_read_u64(r);
    if (kind == MF_WATCH_BEGUN)
        return mf_read_u32(r) > 0;
    if (kind == MF_WATCH_REFUSED) {
        uint16_t err = mf_read_u16(r);
        return err > MF_OK && err < MF_ERR_COUNT;
    }
    return kind == MF_WATCH_LOST;
}

enum mf_err mf_peer_skip_watch_news(struct mf_reader *reader, uint32_t shards)
{
    if (mf_reader_left(reader) == 0)
        return MF_NOT_FOUND;
    return skip_one(reader, mf_read_u8(reader), shards) && !reader->failed ? MF_OK : MF_CORRUPT;
}

enum mf_err mf_peer_get_watch_news(struct mf_bytes bytes, uint32_t shards,
                                   struct mf_peer_watch_news *news)
{
    struct mf_reader r = mf_reader_of(bytes);
    news->number = mf_read_u64(&r);
    news->home = mf_read_u16(&r);
    news->reactor = mf_read_u16(&r);
    news->reactors = mf_read_u16(&r);
    news->offset = mf_read_u64(&r);
    news->news = mf_read_bytes(&r, mf_reader_left(&r));
    if (r.failed || news->number == 0 || news->reactor >= news->reactors)
        return MF_CORRUPT;
    struct mf_reader items = mf_reader_of(news->news);
    enum mf_err err;
    while ((err = mf_peer_skip_watch_news(&items, shards)) == MF_OK) {
    }
    return err == MF_NOT_FOUND ? MF_OK : err;
}

enum mf_err mf_peer_get_watch_gone(struct mf_bytes bytes, struct mf_peer_watch_gone *gone)
{
    struct mf_reader r = mf_reader_of(bytes);
    gone->number = mf_read_u64(&r);
    gone->home = mf_read_u16(&r);
    return r.failed || mf_reader_left(&r) > 0 || gone->number == 0 ? MF_CORRUPT : MF_OK;
}
