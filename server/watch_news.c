// Orders and news of watches; see watch_news.h.
#include "server/watch_news.h"

#include <stdlib.h>
#include <string.h>

// Not sent yet to other nodes, by one reactor.
#define TOGETHER_BYTES_MAX (64u << 20)
#define UNDER_WAY_BYTES_MAX (32u << 20)

struct mf_watch_order *mf_watch_order_new(uint64_t id, uint16_t home, bool end,
                                          const struct mf_watch_want *want)
{
    struct mf_watch_order *order = mf_calloc(1, sizeof(*order));
    order->id = id;
    order->home = home;
    order->end = end;
    order->want = *want;
    mf_buf_put(&order->pattern, want->pattern.data, want->pattern.len);
    order->want.pattern = mf_buf_view(&order->pattern);
    order->want.from_count = end ? 0 : want->from_count;
    if (order->want.from_count > 0) {
        order->froms = mf_calloc(want->from_count, sizeof(*order->froms));
        memcpy(order->froms, want->froms, want->from_count * sizeof(*order->froms));
    }
    order->want.froms = order->froms;
    order->want.shard_count = end ? 0 : want->shard_count;
    if (order->want.shard_count > 0) {
        order->shards = mf_calloc(want->shard_count, sizeof(*order->shards));
        memcpy(order->shards, want->shards, want->shard_count * sizeof(*order->shards));
    }
    order->want.shards = order->shards;
    return order;
}

void mf_watch_order_free(struct mf_watch_order *order)
{
    mf_buf_free(&order->pattern);
    free(order->shards);
    free(order->froms);
    free(order);
}

void mf_watch_outbox_init(struct mf_watch_outbox *outbox, size_t items_bytes_max, size_t *together)
{
    *outbox = (struct mf_watch_outbox){.items_bytes_max = items_bytes_max, .together = together};
}

void mf_watch_outbox_free(struct mf_watch_outbox *outbox)
{
    mf_buf_free(&outbox->items);
    mf_buf_free(&outbox->ids);
}

bool mf_watch_outbox_full(const struct mf_watch_outbox *outbox)
{
    return outbox->items.len > outbox->items_bytes_max ||
           mf_watch_under_way(outbox) > UNDER_WAY_BYTES_MAX ||
           (outbox->together != NULL && *outbox->together > TOGETHER_BYTES_MAX);
}

static void count(const struct mf_watch_outbox *outbox, size_t before)
{
    if (outbox->together != NULL)
        *outbox->together += outbox->items.len - before;
}

static void put_word(struct mf_watch_outbox *outbox, enum mf_watch_news_kind kind, uint64_t id)
{
    mf_buf_u8(&outbox->items, (uint8_t)kind);
    mf_buf_u64(&outbox->items, id);
}

void mf_watch_put_begun(struct mf_watch_outbox *outbox, uint64_t id, uint32_t shards)
{
    size_t before = outbox->items.len;
    put_word(outbox, MF_WATCH_BEGUN, id);
    mf_buf_u32(&outbox->items, shards);
    count(outbox, before);
}

void mf_watch_put_refused(struct mf_watch_outbox *outbox, uint64_t id, enum mf_err err)
{
    size_t before = outbox->items.len;
    put_word(outbox, MF_WATCH_REFUSED, id);
    mf_buf_u16(&outbox->items, (uint16_t)err);
    count(outbox, before);
}

void mf_watch_put_lost(struct mf_watch_outbox *outbox, uint64_t id)
{
    size_t before = outbox->items.len;
    put_word(outbox, MF_WATCH_LOST, id);
    count(outbox, before);
}

// The ids come before what they share. False: there are none.
static bool put_ids(struct mf_watch_outbox *outbox, enum mf_watch_news_kind kind)
{
    if (outbox->ids.len == 0)
        return false;
    mf_buf_u8(&outbox->items, (uint8_t)kind);
    mf_buf_u32(&outbox->items, (uint32_t)(outbox->ids.len / sizeof(uint64_t)));
    mf_buf_put(&outbox->items, outbox->ids.data, outbox->ids.len);
    return true;
}

void mf_watch_put_event(struct mf_watch_outbox *outbox, const struct mf_event *event)
{
    size_t before = outbox->items.len;
    if (put_ids(outbox, MF_WATCH_EVENT))
        mf_event_put(&outbox->items, event);
    count(outbox, before);
    mf_buf_clear(&outbox->ids, SIZE_MAX);
}

void mf_watch_put_versions(struct mf_buf *out, const struct mf_shard_version *versions,
                           uint32_t count)
{
    mf_buf_u32(out, count);
    for (uint32_t i = 0; i < count; i++) {
        mf_buf_u32(out, versions[i].shard);
        mf_buf_u64(out, versions[i].version);
    }
}

void mf_watch_put_progress(struct mf_watch_outbox *outbox, const struct mf_shard_version *versions,
                           uint32_t version_count)
{
    size_t before = outbox->items.len;
    for (uint32_t i = 0; i < version_count; i += MF_WATCH_PROGRESS_SHARDS_MAX) {
        uint32_t left = version_count - i;
        if (put_ids(outbox, MF_WATCH_PROGRESS))
            mf_watch_put_versions(
                &outbox->items, versions + i,
                left < MF_WATCH_PROGRESS_SHARDS_MAX ? left : MF_WATCH_PROGRESS_SHARDS_MAX);
    }
    count(outbox, before);
    mf_buf_clear(&outbox->ids, SIZE_MAX);
}

uint32_t mf_watch_take_versions(struct mf_reader *items, struct mf_shard_version *versions)
{
    uint32_t count = mf_read_u32(items);
    for (uint32_t i = 0; i < count; i++) {
        versions[i].shard = mf_read_u32(items);
        versions[i].version = mf_read_u64(items);
    }
    return count;
}

struct mf_watch_news *mf_watch_news_of(struct mf_watch_outbox *outbox)
{
    struct mf_watch_news *news = mf_calloc(1, sizeof(*news));
    news->task.run = mf_watches_take;
    news->items = outbox->items;
    news->under_way = &outbox->under_way;
    atomic_fetch_add_explicit(&outbox->under_way, news->items.len, memory_order_relaxed);
    outbox->items = (struct mf_buf){0};
    return news;
}

void mf_watch_news_free(struct mf_watch_news *news)
{
    atomic_fetch_sub_explicit(news->under_way, news->items.len, memory_order_relaxed);
    mf_buf_free(&news->items);
    free(news);
}
