// Who watches this reactor's shards; see watchers.h.
#include "server/watchers.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "server/history.h"
#include "server/request.h"
#include "shards/slots.h"

// The histories of all shards of a node have this much together, each a part between the bounds.
#define HISTORY_BYTES (8u << 20)
#define HISTORY_MIN_BYTES (8u << 10)
#define HISTORY_MAX_BYTES (1u << 20)
// More than this, in one turn or not taken yet by another reactor, and the watch is lost.
#define TURN_BYTES_MAX (16u << 20)
#define UNDER_WAY_BYTES_MAX (32u << 20)
// Watches that begin with a version wait while a reactor has more than this to take: what they
// missed shall not crowd out what others hear now.
#define REPLAY_BYTES_MAX (4u << 20)
#define BUCKETS_FIRST 64u

// A shard of this reactor that a watch is about to cover.
struct ask {
    struct watcher *watcher;
    struct mf_owned_shard *shard;
    uint64_t index; // the replica here has to apply this first
};

struct watcher {
    struct watcher *next; // in its list or bucket
    struct mf_watch_order *order;
    uint64_t hash;    // of the pattern
    struct ask *asks; // until it has begun
    uint32_t ask_count;
    uint32_t waiting; // answers to come
    uint64_t until_us;
    enum mf_err err;
    bool gone; // ended or lost: freed as soon as nothing holds it
};

struct listened {
    const struct mf_shard *state; // whose changes are heard; NULL: none
    struct mf_history history;
};

struct out {
    struct mf_buf items; // of this turn
    _Atomic size_t under_way;
};

struct mf_watchers {
    struct mf_reactor *reactor;
    struct listened *shards; // as reactor->shards
    struct out *homes;
    uint64_t seed;
    struct watcher *beginning;
    struct watcher **table; // those that have begun: chains by hash of their patterns
    uint32_t bucket_count;
    uint32_t count;
    // How many of them are for a prefix of each length: a change costs one look for each length
    // that there is, however many watch.
    uint32_t *with_length;
    size_t lengths;
    bool litter;   // some watcher is gone
    bool answered; // some watcher has had all its answers
    // What matches one change.
    struct watcher **matches;
    uint32_t match_count;
    uint32_t match_cap;
};

static void free_order(struct mf_watch_order *order)
{
    mf_buf_free(&order->pattern);
    free(order->froms);
    free(order);
}

static void free_watcher(struct watcher *watcher)
{
    free_order(watcher->order);
    free(watcher->asks);
    free(watcher);
}

struct mf_watchers *mf_watchers_new(struct mf_reactor *reactor)
{
    struct mf_watchers *watchers = mf_calloc(1, sizeof(*watchers));
    watchers->reactor = reactor;
    watchers->seed = mf_rand_next(&reactor->rand);
    watchers->shards = mf_calloc(reactor->shard_count, sizeof(*watchers->shards));
    size_t bytes = HISTORY_BYTES / reactor->node->config.shards;
    bytes = bytes < HISTORY_MIN_BYTES ? HISTORY_MIN_BYTES : bytes;
    bytes = bytes > HISTORY_MAX_BYTES ? HISTORY_MAX_BYTES : bytes;
    for (uint32_t i = 0; i < reactor->shard_count; i++)
        mf_history_init(&watchers->shards[i].history, bytes);
    watchers->homes = mf_calloc(reactor->node->reactor_count, sizeof(*watchers->homes));
    watchers->bucket_count = BUCKETS_FIRST;
    watchers->table = mf_calloc(BUCKETS_FIRST, sizeof(struct watcher *));
    return watchers;
}

static void free_list(struct watcher *first)
{
    while (first != NULL) {
        struct watcher *next = first->next;
        free_watcher(first);
        first = next;
    }
}

void mf_watchers_free(struct mf_watchers *watchers)
{
    free_list(watchers->beginning);
    for (uint32_t i = 0; i < watchers->bucket_count; i++)
        free_list(watchers->table[i]);
    for (uint32_t i = 0; i < watchers->reactor->shard_count; i++)
        mf_history_free(&watchers->shards[i].history);
    for (uint16_t i = 0; i < watchers->reactor->node->reactor_count; i++)
        mf_buf_free(&watchers->homes[i].items);
    free(watchers->shards);
    free(watchers->homes);
    free(watchers->table);
    free(watchers->with_length);
    free(watchers->matches);
    free(watchers);
}

static struct listened *listened_of(const struct mf_owned_shard *shard)
{
    struct mf_reactor *reactor = shard->reactor;
    return &reactor->watchers->shards[shard - reactor->shards];
}

// News.

void mf_watch_news_free(struct mf_watch_news *news)
{
    // Relaxed: it bounds memory, the ring between the reactors orders the content.
    atomic_fetch_sub_explicit(news->under_way, news->items.len, memory_order_relaxed);
    mf_buf_free(&news->items);
    free(news);
}

static void tell(struct mf_watchers *watchers, const struct watcher *watcher,
                 enum mf_watch_news_kind kind)
{
    struct mf_buf *items = &watchers->homes[watcher->order->home].items;
    mf_buf_u8(items, (uint8_t)kind);
    mf_buf_u64(items, watcher->order->id);
    if (kind == MF_WATCH_REFUSED)
        mf_buf_u16(items, (uint16_t)watcher->err);
}

static void lose(struct mf_watchers *watchers, struct watcher *watcher)
{
    if (watcher->gone)
        return;
    tell(watchers, watcher, MF_WATCH_LOST);
    watcher->gone = true;
    watchers->litter = true;
}

// Takes those that are gone out of the chain.
static void sweep(struct mf_watchers *watchers, struct watcher **at)
{
    while (*at != NULL) {
        struct watcher *watcher = *at;
        if (!watcher->gone) {
            at = &watcher->next;
            continue;
        }
        *at = watcher->next;
        watchers->count--;
        if (watcher->order->want.by_prefix)
            watchers->with_length[watcher->order->want.pattern.len]--;
        free_watcher(watcher);
    }
}

static void sweep_all(struct mf_watchers *watchers)
{
    for (uint32_t i = 0; i < watchers->bucket_count; i++)
        sweep(watchers, &watchers->table[i]);
    watchers->litter = false;
}

void mf_watchers_flush(struct mf_reactor *reactor)
{
    struct mf_watchers *watchers = reactor->watchers;
    if (watchers->answered)
        mf_watchers_tick(reactor);
    watchers->answered = false;
    if (watchers->litter)
        sweep_all(watchers);
    for (uint16_t i = 0; i < reactor->node->reactor_count; i++) {
        struct out *out = &watchers->homes[i];
        if (out->items.len == 0)
            continue;
        struct mf_watch_news *news = mf_calloc(1, sizeof(*news));
        news->task.run = mf_watches_take;
        news->items = out->items;
        news->under_way = &out->under_way;
        atomic_fetch_add_explicit(&out->under_way, news->items.len, memory_order_relaxed);
        out->items = (struct mf_buf){0};
        mf_reactor_send(reactor, i, &news->task);
    }
}

// Changes.

static int compare_from(const void *left, const void *right)
{
    const struct mf_watch_from *a = left;
    const struct mf_watch_from *b = right;
    return (a->shard > b->shard) - (a->shard < b->shard);
}

static const struct mf_watch_from *from_of(const struct watcher *watcher, uint32_t shard)
{
    const struct mf_watch_want *want = &watcher->order->want;
    struct mf_watch_from wanted = {.shard = shard};
    if (want->from_count == 0)
        return NULL;
    return bsearch(&wanted, want->froms, want->from_count, sizeof(wanted), compare_from);
}

static bool matches(const struct watcher *watcher, uint32_t shard, const struct mf_event *event)
{
    const struct mf_watch_want *want = &watcher->order->want;
    if (watcher->gone || (want->events & 1u << event->event) == 0)
        return false;
    if (want->by_prefix ? event->key.len < want->pattern.len ||
                              memcmp(event->key.data, want->pattern.data, want->pattern.len) != 0
                        : !mf_bytes_equal(event->key, want->pattern))
        return false;
    const struct mf_watch_from *from = from_of(watcher, shard);
    return from == NULL || event->version >= from->version;
}

static void add_match(struct mf_watchers *watchers, struct watcher *watcher)
{
    if (watchers->match_count == watchers->match_cap) {
        watchers->match_cap = watchers->match_cap == 0 ? 16 : watchers->match_cap * 2;
        watchers->matches =
            mf_realloc(watchers->matches, watchers->match_cap * sizeof(*watchers->matches));
    }
    watchers->matches[watchers->match_count++] = watcher;
}

static size_t under_way(const struct out *out)
{
    return atomic_load_explicit(&out->under_way, memory_order_relaxed);
}

// One copy of the event for all watches of a home.
static void send_matches(struct mf_watchers *watchers, uint16_t home, const struct mf_event *event)
{
    struct out *out = &watchers->homes[home];
    bool full = out->items.len > TURN_BYTES_MAX || under_way(out) > UNDER_WAY_BYTES_MAX;
    uint32_t count = 0;
    for (uint32_t i = 0; i < watchers->match_count; i++) {
        bool here = watchers->matches[i]->order->home == home;
        if (here && full)
            lose(watchers, watchers->matches[i]);
        count += here;
    }
    if (count == 0 || full)
        return;
    mf_buf_u8(&out->items, MF_WATCH_EVENT);
    mf_buf_u32(&out->items, count);
    for (uint32_t i = 0; i < watchers->match_count; i++) {
        if (watchers->matches[i]->order->home == home)
            mf_buf_u64(&out->items, watchers->matches[i]->order->id);
    }
    mf_event_put(&out->items, event);
}

static struct watcher **bucket_of(const struct mf_watchers *watchers, uint64_t hash)
{
    return &watchers->table[hash & (watchers->bucket_count - 1)];
}

// Adds those whose pattern is the key's first `len` bytes.
static void find_matches(struct mf_watchers *watchers, uint32_t shard, const struct mf_event *event,
                         bool by_prefix, size_t len)
{
    uint64_t hash = mf_hash64(mf_bytes_of(event->key.data, len), watchers->seed);
    for (struct watcher *at = *bucket_of(watchers, hash); at != NULL; at = at->next) {
        const struct mf_watch_want *want = &at->order->want;
        if (at->hash == hash && want->by_prefix == by_prefix && want->pattern.len == len &&
            matches(at, shard, event))
            add_match(watchers, at);
    }
}

static void on_change(void *arg, enum mf_change_event kind, struct mf_bytes key, uint64_t version,
                      struct mf_bytes value)
{
    struct mf_owned_shard *shard = arg;
    struct mf_watchers *watchers = shard->reactor->watchers;
    struct mf_event event = {kind, key, version, value};
    mf_history_add(&listened_of(shard)->history, &event);
    if (watchers->count == 0)
        return;
    watchers->match_count = 0;
    for (size_t len = 0; len < watchers->lengths && len <= key.len; len++) {
        if (watchers->with_length[len] > 0)
            find_matches(watchers, shard->id, &event, true, len);
    }
    find_matches(watchers, shard->id, &event, false, key.len);
    for (uint16_t i = 0; i < shard->reactor->node->reactor_count && watchers->match_count > 0; i++)
        send_matches(watchers, i, &event);
}

// States that come and go.

static bool covers(const struct watcher *watcher, uint32_t shard)
{
    const struct mf_watch_want *want = &watcher->order->want;
    return !want->one_shard || want->shard == shard;
}

static void lose_all(struct mf_watchers *watchers, struct watcher *first, uint32_t shard)
{
    for (struct watcher *at = first; at != NULL; at = at->next) {
        if (covers(at, shard))
            lose(watchers, at);
    }
}

void mf_watchers_detach(struct mf_owned_shard *shard)
{
    struct mf_watchers *watchers = shard->reactor->watchers;
    struct listened *listened = listened_of(shard);
    if (listened->state == NULL)
        return;
    listened->state = NULL;
    for (uint32_t i = 0; i < watchers->bucket_count; i++)
        lose_all(watchers, watchers->table[i], shard->id);
}

void mf_watchers_attach(struct mf_owned_shard *shard)
{
    struct listened *listened = listened_of(shard);
    struct mf_shard *state = mf_replica_shard(shard->replica);
    if (listened->state == state)
        return;
    mf_watchers_detach(shard);
    struct mf_shard_meta meta;
    mf_shard_meta(state, &meta);
    mf_history_restart(&listened->history, meta.version);
    listened->state = state;
    mf_shard_listen(state, on_change, shard);
}

// Beginning.

// The watcher does not begin, and nothing else knows of it.
static void refuse(struct mf_watchers *watchers, struct watcher *watcher)
{
    if (!watcher->gone)
        tell(watchers, watcher, MF_WATCH_REFUSED);
    free_watcher(watcher);
}

static void grow_table(struct mf_watchers *watchers)
{
    uint32_t old_count = watchers->bucket_count;
    struct watcher **old = watchers->table;
    watchers->bucket_count *= 2;
    watchers->table = mf_calloc(watchers->bucket_count, sizeof(struct watcher *));
    for (uint32_t i = 0; i < old_count; i++) {
        while (old[i] != NULL) {
            struct watcher *watcher = old[i];
            old[i] = watcher->next;
            struct watcher **bucket = bucket_of(watchers, watcher->hash);
            watcher->next = *bucket;
            *bucket = watcher;
        }
    }
    free(old);
}

static void count_length(struct mf_watchers *watchers, size_t len)
{
    if (len >= watchers->lengths) {
        watchers->with_length =
            mf_realloc(watchers->with_length, (len + 1) * sizeof(*watchers->with_length));
        for (size_t i = watchers->lengths; i <= len; i++)
            watchers->with_length[i] = 0;
        watchers->lengths = len + 1;
    }
    watchers->with_length[len]++;
}

static void add_watcher(struct mf_watchers *watchers, struct watcher *watcher)
{
    if (++watchers->count > watchers->bucket_count)
        grow_table(watchers);
    if (watcher->order->want.by_prefix)
        count_length(watchers, watcher->order->want.pattern.len);
    struct watcher **bucket = bucket_of(watchers, watcher->hash);
    watcher->next = *bucket;
    *bucket = watcher;
}

struct replay {
    struct mf_watchers *watchers;
    struct watcher *watcher;
    uint32_t shard;
};

static void replay_one(void *arg, const struct mf_event *event)
{
    struct replay *replay = arg;
    struct mf_watchers *watchers = replay->watchers;
    if (!matches(replay->watcher, replay->shard, event))
        return;
    watchers->match_count = 0;
    add_match(watchers, replay->watcher);
    send_matches(watchers, replay->watcher->order->home, event);
}

static bool reaches_back(const struct watcher *watcher)
{
    for (uint32_t i = 0; i < watcher->ask_count; i++) {
        const struct mf_owned_shard *shard = watcher->asks[i].shard;
        const struct mf_watch_from *from = from_of(watcher, shard->id);
        if (from != NULL && from->version < listened_of(shard)->history.complete_from)
            return false;
    }
    return true;
}

// All replicas are there: from this moment on changes are sent.
static void go(struct mf_watchers *watchers, struct watcher *watcher)
{
    if (!reaches_back(watcher)) {
        watcher->err = MF_COMPACTED;
        refuse(watchers, watcher);
        return;
    }
    tell(watchers, watcher, MF_WATCH_BEGUN);
    add_watcher(watchers, watcher);
    for (uint32_t i = 0; i < watcher->ask_count; i++) {
        struct mf_owned_shard *shard = watcher->asks[i].shard;
        struct replay replay = {watchers, watcher, shard->id};
        const struct mf_watch_from *from = from_of(watcher, shard->id);
        if (from != NULL)
            mf_history_visit(&listened_of(shard)->history, from->version, replay_one, &replay);
    }
    free(watcher->asks);
    watcher->asks = NULL;
    watcher->ask_count = 0;
}

// Have the replicas applied what the leaders had applied? Yes, with an error, when one is gone.
static bool caught_up(struct watcher *watcher)
{
    for (uint32_t i = 0; i < watcher->ask_count; i++) {
        const struct mf_owned_shard *shard = watcher->asks[i].shard;
        if (shard->replica == NULL) {
            watcher->err = MF_NOT_FOUND;
            return true;
        }
        struct mf_shard_meta meta;
        mf_shard_meta(mf_replica_shard(shard->replica), &meta);
        if (meta.applied < watcher->asks[i].index)
            return false;
    }
    return true;
}

static bool has_to_queue(const struct mf_watchers *watchers, const struct watcher *watcher)
{
    const struct out *out = &watchers->homes[watcher->order->home];
    return watcher->order->want.from_count > 0 &&
           out->items.len + under_way(out) > REPLAY_BYTES_MAX;
}

// False while it has to wait.
static bool settle(struct mf_watchers *watchers, struct watcher *watcher)
{
    if (watcher->waiting > 0)
        return false;
    if (watcher->err == MF_OK && !watcher->gone &&
        (!caught_up(watcher) || has_to_queue(watchers, watcher))) {
        if (mf_reactor_now_us(watchers->reactor) < watcher->until_us)
            return false;
        watcher->err = MF_TIMEOUT;
    }
    if (watcher->err != MF_OK || watcher->gone)
        refuse(watchers, watcher);
    else
        go(watchers, watcher);
    return true;
}

void mf_watchers_tick(struct mf_reactor *reactor)
{
    struct mf_watchers *watchers = reactor->watchers;
    for (struct watcher **at = &watchers->beginning; *at != NULL;) {
        struct watcher *watcher = *at;
        struct watcher *next = watcher->next;
        if (settle(watchers, watcher))
            *at = next;
        else
            at = &watcher->next;
    }
}

static void on_index(void *arg, const struct mf_result *result)
{
    struct ask *ask = arg;
    struct watcher *watcher = ask->watcher;
    if (result->kind == MF_RESULT_ERROR)
        watcher->err = result->err;
    else
        ask->index = (uint64_t)result->integer;
    if (--watcher->waiting == 0)
        ask->shard->reactor->watchers->answered = true;
}

static void ask_leaders(struct mf_watchers *watchers, struct watcher *watcher)
{
    struct mf_reactor *reactor = watchers->reactor;
    struct mf_command index = {.op = MF_OP_INDEX};
    // What has no copy here is not asked for: its changes would not be heard.
    for (uint32_t i = 0; i < reactor->shard_count; i++) {
        const struct mf_owned_shard *shard = &reactor->shards[i];
        if (covers(watcher, shard->id) && shard->replica == NULL && shard->state == NULL)
            watcher->err = MF_NOT_FOUND;
    }
    if (watcher->err != MF_OK)
        return;
    watcher->asks = mf_calloc(reactor->shard_count, sizeof(*watcher->asks));
    for (uint32_t i = 0; i < reactor->shard_count; i++) {
        if (covers(watcher, reactor->shards[i].id))
            watcher->asks[watcher->ask_count++] =
                (struct ask){.watcher = watcher, .shard = &reactor->shards[i]};
    }
    watcher->waiting = watcher->ask_count;
    for (uint32_t i = 0; i < watcher->ask_count; i++)
        mf_request_start_on(reactor, watcher->asks[i].shard->id, &index, on_index,
                            &watcher->asks[i]);
}

static void begin(struct mf_watchers *watchers, struct mf_watch_order *order)
{
    const struct mf_reactor *reactor = watchers->reactor;
    struct watcher *watcher = mf_calloc(1, sizeof(*watcher));
    watcher->order = order;
    watcher->hash = mf_hash64(order->want.pattern, watchers->seed);
    watcher->until_us =
        mf_reactor_now_us(reactor) + (uint64_t)reactor->node->config.request_timeout_ms * 1000;
    if (order->want.from_count > 1)
        qsort(order->froms, order->want.from_count, sizeof(*order->froms), compare_from);
    ask_leaders(watchers, watcher);
    if (settle(watchers, watcher))
        return;
    watcher->next = watchers->beginning;
    watchers->beginning = watcher;
}

static struct watcher *find(struct watcher *first, const struct mf_watch_order *order)
{
    while (first != NULL && (first->order->id != order->id || first->order->home != order->home))
        first = first->next;
    return first;
}

static void end(struct mf_watchers *watchers, const struct mf_watch_order *order)
{
    struct watcher *watcher = find(watchers->beginning, order);
    if (watcher != NULL) {
        watcher->gone = true; // the answers that are still to come point to it
        return;
    }
    uint64_t hash = mf_hash64(order->want.pattern, watchers->seed);
    struct watcher **bucket = bucket_of(watchers, hash);
    watcher = find(*bucket, order);
    if (watcher == NULL)
        return;
    watcher->gone = true;
    sweep(watchers, bucket);
}

static void run_order(struct mf_reactor *reactor, struct mf_task *task)
{
    struct mf_watch_order *order = (struct mf_watch_order *)task;
    if (!order->end) {
        begin(reactor->watchers, order);
        return;
    }
    end(reactor->watchers, order);
    free_order(order);
}

struct mf_watch_order *mf_watch_order_new(uint64_t id, uint16_t home, bool end,
                                          const struct mf_watch_want *want)
{
    struct mf_watch_order *order = mf_calloc(1, sizeof(*order));
    order->task.run = run_order;
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
    return order;
}
