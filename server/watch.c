// Watches at home, where their clients are; see watch.h.
#include "server/watch.h"

#include <stdlib.h>

#include "server/reactor.h"
#include "server/watch_relay.h"
#include "server/watch_table.h"
#include "server/watchers.h"

// What comes before all owners have begun waits here, up to this much for one watch, and for
// all of a reactor.
#define HELD_BYTES_MAX (16u << 20)
#define HELD_ALL_BYTES_MAX (64u << 20)
// In one tick keepers are looked for as long as they are for fewer shards than this.
#define LOOK_SHARDS_MAX 16384u

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
    struct mf_watch_order *unplaced; // all that is wanted, while a shard has nobody to keep it
    uint64_t until_us;               // and how long it may
    uint32_t waiting;                // shards that have not begun
    bool lost;                       // before it had begun
    uint64_t members[MF_MEMBERS_MAX / 64]; // a set: who keeps a part of it
    struct mf_buf held;                    // news, each u8 kind and what it says but the ids
};

struct mf_watches {
    struct watch *table;
    uint32_t cap;
    uint32_t free_head; // UINT32_MAX: none
    size_t held_bytes;  // of all
    uint32_t unplaced;
    uint32_t next_try; // of them, from here on
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
        if (watches->table[i].unplaced != NULL)
            mf_watch_order_free(watches->table[i].unplaced);
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

// It has somebody to keep it, or needs nobody any more.
static void settle(struct mf_watches *watches, struct watch *watch)
{
    if (watch->unplaced == NULL)
        return;
    mf_watch_order_free(watch->unplaced);
    watch->unplaced = NULL;
    watches->unplaced--;
}

static void drop(struct mf_watches *watches, struct watch *watch)
{
    uint32_t place = (uint32_t)(watch - watches->table);
    uint32_t generation = watch->generation + 1;
    mf_buf_free(&watch->pattern);
    drop_held(watches, watch);
    settle(watches, watch);
    *watch = (struct watch){.generation = generation, .next_free = watches->free_head};
    watches->free_head = place;
}

static bool has_member(const struct watch *watch, uint32_t member)
{
    return (watch->members[member / 64] >> member % 64 & 1) != 0;
}

// Who keeps each shard of a watch: -1 is its owner here, else a member. False: somebody is missing.
// `away`: it is not all here.
static bool find_keepers(struct mf_reactor *reactor, const struct mf_watch_want *want, int *keepers,
                         bool *away)
{
    const struct mf_node *node = reactor->node;
    *away = false;
    for (uint32_t i = 0; i < node->config.shards; i++) {
        keepers[i] = -1;
        if ((want->one_shard && i != want->shard) || mf_node_holds(node, i))
            continue;
        *away = true;
        keepers[i] = mf_watch_relay_pick(reactor->watch_relay, i);
        if (keepers[i] < 0)
            return false;
    }
    return true;
}

static void order_here(struct mf_reactor *reactor, uint64_t id, const struct mf_watch_want *want,
                       bool end)
{
    const struct mf_node *node = reactor->node;
    for (uint16_t i = 0; i < node->reactor_count; i++) {
        if (!want->one_shard || mf_reactor_of_shard(node, want->shard) == i)
            mf_watchers_order(reactor, i, id, end, want);
    }
}

// Those of this keeper, and, if it is this node, of this owner.
static uint32_t gather(const struct mf_reactor *reactor, const struct mf_watch_want *want,
                       const int *keepers, int keeper, uint16_t owner, uint32_t *shards)
{
    const struct mf_node *node = reactor->node;
    uint32_t count = 0;
    for (uint32_t i = 0; i < node->config.shards; i++) {
        if (keepers[i] == keeper && (!want->one_shard || i == want->shard) &&
            (keeper >= 0 || mf_reactor_of_shard(node, i) == owner))
            shards[count++] = i;
    }
    return count;
}

static void order_away(struct mf_reactor *reactor, uint64_t id, struct watch *watch,
                       const struct mf_watch_want *want, const int *keepers)
{
    const struct mf_node *node = reactor->node;
    uint32_t *shards = mf_calloc(node->config.shards, sizeof(*shards));
    struct mf_watch_order *sorted = mf_watch_order_new(id, reactor->index, false, want);
    mf_watch_sort_froms(sorted);
    struct mf_watch_want part = sorted->want;
    part.shards = shards;
    for (uint16_t i = 0; i < node->reactor_count; i++) {
        part.shard_count = gather(reactor, want, keepers, -1, i, shards);
        if (part.shard_count > 0)
            mf_watchers_order(reactor, i, id, false, &part);
    }
    for (uint32_t i = 0; i < mf_node_member_count(node); i++) {
        part.shard_count = gather(reactor, want, keepers, (int)i, 0, shards);
        if (part.shard_count == 0)
            continue;
        watch->members[i / 64] |= UINT64_C(1) << i % 64;
        mf_watch_relay_begin(reactor->watch_relay, i, id, &part);
    }
    mf_watch_order_free(sorted);
    free(shards);
}

// False: there is nobody to keep some shard.
static bool place(struct mf_reactor *reactor, uint64_t id, struct watch *watch,
                  const struct mf_watch_want *want)
{
    const struct mf_node *node = reactor->node;
    bool all_here = want->one_shard ? mf_node_holds(node, want->shard)
                                    : atomic_load_explicit(&node->held, memory_order_relaxed) ==
                                          node->config.shards;
    if (all_here) {
        order_here(reactor, id, want, false);
        return true;
    }
    int *keepers = mf_calloc(node->config.shards, sizeof(*keepers));
    bool away;
    bool found = find_keepers(reactor, want, keepers, &away);
    if (found && away)
        order_away(reactor, id, watch, want, keepers);
    else if (found)
        order_here(reactor, id, want, false);
    free(keepers);
    return found;
}

uint64_t mf_watch_begin(struct mf_reactor *reactor, const struct mf_watch_want *want,
                        const struct mf_watch_sink *sink, void *arg)
{
    struct mf_watches *watches = reactor->watches;
    const struct mf_config *config = &reactor->node->config;
    uint32_t index = take_place(watches);
    struct watch *watch = &watches->table[index];
    uint32_t generation = watch->generation;
    *watch = (struct watch){
        .used = true, .generation = generation, .sink = sink, .arg = arg, .want = *want};
    mf_buf_put(&watch->pattern, want->pattern.data, want->pattern.len);
    watch->want.pattern = mf_buf_view(&watch->pattern);
    watch->want.froms = NULL;
    watch->want.from_count = 0;
    watch->waiting = want->one_shard ? 1 : config->shards;
    uint64_t id = id_of(watch, index);
    // Relaxed: a figure.
    atomic_fetch_add_explicit(&reactor->node->watches, 1, memory_order_relaxed);
    if (place(reactor, id, watch, want))
        return id;
    watches->unplaced++;
    watch->unplaced = mf_watch_order_new(id, reactor->index, false, want);
    watch->until_us = mf_reactor_now_us(reactor) + (uint64_t)config->request_timeout_ms * 1000;
    return id;
}

// Those who keep it need not know which of them is the cause: what they do not know they ignore.
static void end(struct mf_reactor *reactor, uint64_t id, struct watch *watch)
{
    if (watch->unplaced == NULL)
        order_here(reactor, id, &watch->want, true);
    for (uint32_t i = 0; i < mf_node_member_count(reactor->node); i++) {
        if (has_member(watch, i))
            mf_watch_relay_end(reactor->watch_relay, i, id, &watch->want);
    }
    drop(reactor->watches, watch);
    // Relaxed: a figure.
    atomic_fetch_sub_explicit(&reactor->node->watches, 1, memory_order_relaxed);
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
                    "watch: no node that has a copy of what is to be watched answers");
    else
        sink->begun(arg, id, err, NULL);
}

// What an EVENT or a PROGRESS says.
struct content {
    enum mf_watch_news_kind kind;
    struct mf_event event;
    struct mf_shard_version versions[MF_WATCH_PROGRESS_SHARDS_MAX];
    uint32_t version_count;
};

static void take_content(struct mf_reader *items, enum mf_watch_news_kind kind,
                         struct content *content)
{
    content->kind = kind;
    if (kind == MF_WATCH_EVENT)
        mf_event_take(items, &content->event);
    else
        content->version_count = mf_watch_take_versions(items, content->versions);
}

// What has been held of a watch that is lost anyway is of no use to anybody.
static void hold(struct mf_watches *watches, struct watch *watch, const struct content *content)
{
    size_t before = watch->held.len;
    mf_buf_u8(&watch->held, (uint8_t)content->kind);
    if (content->kind == MF_WATCH_EVENT)
        mf_event_put(&watch->held, &content->event);
    else
        mf_watch_put_versions(&watch->held, content->versions, content->version_count);
    watches->held_bytes += watch->held.len - before;
    watch->lost = watch->held.len > HELD_BYTES_MAX || watches->held_bytes > HELD_ALL_BYTES_MAX;
    if (watch->lost)
        drop_held(watches, watch);
}

static bool pass_on(const struct watch *watch, uint64_t id, const struct content *content)
{
    const struct mf_watch_sink *sink = watch->sink;
    return content->kind == MF_WATCH_EVENT
               ? sink->event(watch->arg, id, &content->event)
               : sink->progress(watch->arg, id, content->versions, content->version_count);
}

static void tell(struct mf_reactor *reactor, uint64_t id, const struct content *content)
{
    struct watch *watch = find(reactor->watches, id);
    if (watch == NULL || watch->lost)
        return;
    if (watch->waiting > 0)
        hold(reactor->watches, watch, content);
    else if (!pass_on(watch, id, content))
        lose(reactor, id, watch);
}

// An owner without a shard that is watched has nothing to begin.
static void take_begun(struct mf_reactor *reactor, uint64_t id, uint32_t shards)
{
    struct watch *watch = find(reactor->watches, id);
    if (watch == NULL || shards == 0 || shards > watch->waiting)
        return;
    watch->waiting -= shards;
    if (watch->waiting > 0)
        return;
    watch->sink->begun(watch->arg, id, MF_OK, NULL);
    struct mf_buf held = watch->held;
    reactor->watches->held_bytes -= held.len;
    bool lost = watch->lost;
    watch->held = (struct mf_buf){0};
    watch->lost = false;
    struct mf_reader reader = mf_reader_of(mf_buf_view(&held));
    while (mf_reader_left(&reader) > 0) {
        struct content content;
        take_content(&reader, (enum mf_watch_news_kind)mf_read_u8(&reader), &content);
        tell(reactor, id, &content);
    }
    mf_buf_free(&held);
    if (lost)
        take_lost(reactor, id);
}

// The ids come before what they share.
static void take_shared(struct mf_reactor *reactor, struct mf_reader *items,
                        enum mf_watch_news_kind kind)
{
    uint32_t count = mf_read_u32(items);
    struct mf_reader ids = mf_reader_of(mf_read_bytes(items, (size_t)count * 8));
    struct content content;
    take_content(items, kind, &content);
    for (uint32_t i = 0; i < count; i++)
        tell(reactor, mf_read_u64(&ids), &content);
}

void mf_watches_take_items(struct mf_reactor *reactor, struct mf_bytes bytes)
{
    struct mf_reader items = mf_reader_of(bytes);
    while (mf_reader_left(&items) > 0) {
        enum mf_watch_news_kind kind = (enum mf_watch_news_kind)mf_read_u8(&items);
        if (kind == MF_WATCH_EVENT || kind == MF_WATCH_PROGRESS) {
            take_shared(reactor, &items, kind);
            continue;
        }
        uint64_t id = mf_read_u64(&items);
        if (kind == MF_WATCH_REFUSED)
            take_refusal(reactor, id, (enum mf_err)mf_read_u16(&items));
        else if (kind == MF_WATCH_LOST)
            take_lost(reactor, id);
        else
            take_begun(reactor, id, mf_read_u32(&items));
    }
}

void mf_watches_take(struct mf_reactor *reactor, struct mf_task *task)
{
    struct mf_watch_news *news = (struct mf_watch_news *)task;
    mf_watches_take_items(reactor, mf_buf_view(&news->items));
    mf_watch_news_free(news);
}

// A watch that waited for the member would wait for ever.
void mf_watches_lose_member(struct mf_reactor *reactor, uint32_t member)
{
    for (uint32_t i = 0; i < reactor->watches->cap; i++) {
        struct watch *watch = &reactor->watches->table[i];
        if (!watch->used || !has_member(watch, member))
            continue;
        uint64_t id = id_of(watch, i);
        if (watch->waiting > 0)
            take_refusal(reactor, id, MF_NOT_FOUND);
        else
            lose(reactor, id, watch);
    }
}

// Each tick goes on where the one before stopped.
void mf_watches_tick(struct mf_reactor *reactor)
{
    struct mf_watches *watches = reactor->watches;
    uint64_t now_us = mf_reactor_now_us(reactor);
    uint32_t looked = 0;
    for (uint32_t left = watches->unplaced > 0 ? watches->cap : 0; left > 0; left--) {
        watches->next_try = watches->next_try + 1 < watches->cap ? watches->next_try + 1 : 0;
        struct watch *watch = &watches->table[watches->next_try];
        if (!watch->used || watch->unplaced == NULL)
            continue;
        uint64_t id = id_of(watch, watches->next_try);
        bool placed = looked < LOOK_SHARDS_MAX && place(reactor, id, watch, &watch->unplaced->want);
        looked += watch->waiting;
        if (placed)
            settle(watches, watch);
        else if (now_us >= watch->until_us)
            take_refusal(reactor, id, MF_NOT_FOUND);
    }
}
