// Watches at home, where their clients are; see watch.h.
#include "server/watch.h"

#include <stdlib.h>

#include "server/reactor.h"
#include "server/watchers.h"

// Events that come before all owners have begun wait here, up to this much for one watch, and for
// all of a reactor.
#define HELD_BYTES_MAX (16u << 20)
#define HELD_ALL_BYTES_MAX (64u << 20)

// An id is the watch's place in the table, and how often that has been used: news of a watch that
// has ended finds nothing.
struct watch {
    bool used;
    uint32_t generation;
    uint32_t next_free;
    const struct mf_watch_sink *sink;
    void *arg;
    struct mf_watch_want want; // without its froms
    struct mf_buf pattern;
    uint32_t waiting;   // owners that have not begun
    bool lost;          // before it had begun
    struct mf_buf held; // events
};

struct mf_watches {
    struct watch *table;
    uint32_t cap;
    uint32_t free_head; // UINT32_MAX: none
    size_t held_bytes;  // of all
};

struct mf_watches *mf_watches_new(void)
{
    struct mf_watches *watches = mf_calloc(1, sizeof(*watches));
    watches->free_head = UINT32_MAX;
    return watches;
}

void mf_watches_free(struct mf_watches *watches)
{
    for (uint32_t i = 0; i < watches->cap; i++) {
        mf_buf_free(&watches->table[i].pattern);
        mf_buf_free(&watches->table[i].held);
    }
    free(watches->table);
    free(watches);
}

static uint32_t take_place(struct mf_watches *watches)
{
    if (watches->free_head == UINT32_MAX) {
        uint32_t cap = watches->cap == 0 ? 16 : watches->cap * 2;
        watches->table = mf_realloc(watches->table, cap * sizeof(*watches->table));
        for (uint32_t i = watches->cap; i < cap; i++)
            watches->table[i] = (struct watch){.next_free = i + 1 < cap ? i + 1 : UINT32_MAX};
        watches->free_head = watches->cap;
        watches->cap = cap;
    }
    uint32_t place = watches->free_head;
    watches->free_head = watches->table[place].next_free;
    return place;
}

// A client may take an id for an integer of 53 bits.
static uint64_t id_of(const struct watch *watch, uint32_t place)
{
    return (uint64_t)(watch->generation & 0xfffff) << 32 | place;
}

static struct watch *find(const struct mf_watches *watches, uint64_t id)
{
    uint32_t place = (uint32_t)id;
    if (place >= watches->cap)
        return NULL;
    struct watch *watch = &watches->table[place];
    return watch->used && id_of(watch, place) == id ? watch : NULL;
}

static void drop_held(struct mf_watches *watches, struct watch *watch)
{
    watches->held_bytes -= watch->held.len;
    mf_buf_free(&watch->held);
}

static void drop(struct mf_watches *watches, struct watch *watch)
{
    uint32_t place = (uint32_t)(watch - watches->table);
    uint32_t generation = watch->generation + 1;
    mf_buf_free(&watch->pattern);
    drop_held(watches, watch);
    *watch = (struct watch){.generation = generation, .next_free = watches->free_head};
    watches->free_head = place;
}

// To every owner: one of the two orders of a watch.
static void order(struct mf_reactor *reactor, uint64_t id, const struct mf_watch_want *want,
                  bool end)
{
    const struct mf_node *node = reactor->node;
    for (uint16_t i = 0; i < node->reactor_count; i++) {
        if (want->one_shard && mf_reactor_of_shard(node, want->shard) != i)
            continue;
        struct mf_watch_order *fresh = mf_watch_order_new(id, reactor->index, end, want);
        mf_reactor_send(reactor, i, &fresh->task);
    }
}

uint64_t mf_watch_begin(struct mf_reactor *reactor, const struct mf_watch_want *want,
                        const struct mf_watch_sink *sink, void *arg)
{
    struct mf_watches *watches = reactor->watches;
    uint32_t place = take_place(watches);
    struct watch *watch = &watches->table[place];
    uint32_t generation = watch->generation;
    *watch = (struct watch){
        .used = true, .generation = generation, .sink = sink, .arg = arg, .want = *want};
    mf_buf_put(&watch->pattern, want->pattern.data, want->pattern.len);
    watch->want.pattern = mf_buf_view(&watch->pattern);
    watch->want.froms = NULL;
    watch->want.from_count = 0;
    watch->waiting = want->one_shard ? 1 : reactor->node->reactor_count;
    uint64_t id = id_of(watch, place);
    order(reactor, id, want, false);
    return id;
}

// Its owners need not know which of them is the cause: what they do not know they ignore.
static void end(struct mf_reactor *reactor, uint64_t id, struct watch *watch)
{
    order(reactor, id, &watch->want, true);
    drop(reactor->watches, watch);
}

bool mf_watch_end(struct mf_reactor *reactor, uint64_t id, const void *arg)
{
    struct watch *watch = find(reactor->watches, id);
    if (watch == NULL || watch->arg != arg)
        return false;
    end(reactor, id, watch);
    return true;
}

// The client hears of it after the watch is gone.
static void lose(struct mf_reactor *reactor, uint64_t id, struct watch *watch)
{
    const struct mf_watch_sink *sink = watch->sink;
    void *arg = watch->arg;
    end(reactor, id, watch);
    sink->lost(arg, id);
}

static void take_lost(struct mf_reactor *reactor, uint64_t id)
{
    struct watch *watch = find(reactor->watches, id);
    if (watch != NULL && watch->waiting > 0)
        watch->lost = true;
    else if (watch != NULL)
        lose(reactor, id, watch);
}

static void take_refusal(struct mf_reactor *reactor, uint64_t id, enum mf_err err)
{
    struct watch *watch = find(reactor->watches, id);
    if (watch == NULL)
        return;
    const struct mf_watch_sink *sink = watch->sink;
    void *arg = watch->arg;
    end(reactor, id, watch);
    // Nothing happened, and elsewhere it may.
    if (err == MF_NOT_FOUND)
        sink->begun(arg, id, MF_NO_QUORUM,
                    "watch: this node has no copy of what is to be watched, ask one that has");
    else
        sink->begun(arg, id, err, NULL);
}

// What has been held of a watch that is lost anyway is of no use to anybody.
static void hold(struct mf_watches *watches, struct watch *watch, const struct mf_event *event)
{
    size_t before = watch->held.len;
    mf_event_put(&watch->held, event);
    watches->held_bytes += watch->held.len - before;
    watch->lost = watch->held.len > HELD_BYTES_MAX || watches->held_bytes > HELD_ALL_BYTES_MAX;
    if (watch->lost)
        drop_held(watches, watch);
}

static void take_event(struct mf_reactor *reactor, uint64_t id, const struct mf_event *event)
{
    struct watch *watch = find(reactor->watches, id);
    if (watch == NULL || watch->lost)
        return;
    if (watch->waiting == 0) {
        if (!watch->sink->event(watch->arg, id, event))
            lose(reactor, id, watch);
        return;
    }
    hold(reactor->watches, watch, event);
}

static void take_begun(struct mf_reactor *reactor, uint64_t id)
{
    struct watch *watch = find(reactor->watches, id);
    if (watch == NULL || --watch->waiting > 0)
        return;
    watch->sink->begun(watch->arg, id, MF_OK, NULL);
    struct mf_buf held = watch->held;
    reactor->watches->held_bytes -= held.len;
    bool lost = watch->lost;
    watch->held = (struct mf_buf){0};
    watch->lost = false;
    struct mf_reader reader = mf_reader_of(mf_buf_view(&held));
    while (mf_reader_left(&reader) > 0) {
        struct mf_event event;
        mf_event_take(&reader, &event);
        take_event(reactor, id, &event);
    }
    mf_buf_free(&held);
    if (lost)
        take_lost(reactor, id);
}

// The ids come before the event that they share.
static void take_events(struct mf_reactor *reactor, struct mf_reader *items)
{
    uint32_t count = mf_read_u32(items);
    struct mf_reader ids = mf_reader_of(mf_read_bytes(items, (size_t)count * 8));
    struct mf_event event;
    mf_event_take(items, &event);
    for (uint32_t i = 0; i < count; i++)
        take_event(reactor, mf_read_u64(&ids), &event);
}

void mf_watches_take(struct mf_reactor *reactor, struct mf_task *task)
{
    struct mf_watch_news *news = (struct mf_watch_news *)task;
    struct mf_reader items = mf_reader_of(mf_buf_view(&news->items));
    while (mf_reader_left(&items) > 0) {
        enum mf_watch_news_kind kind = (enum mf_watch_news_kind)mf_read_u8(&items);
        if (kind == MF_WATCH_EVENT) {
            take_events(reactor, &items);
            continue;
        }
        uint64_t id = mf_read_u64(&items);
        if (kind == MF_WATCH_REFUSED)
            take_refusal(reactor, id, (enum mf_err)mf_read_u16(&items));
        else if (kind == MF_WATCH_LOST)
            take_lost(reactor, id);
        else
            take_begun(reactor, id);
    }
    mf_watch_news_free(news);
}
