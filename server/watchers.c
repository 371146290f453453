// The owners' side of watches; see watchers.h.
#include "server/watchers.h"

#include <stdlib.h>

#include "base/clock.h"
#include "server/history.h"
#include "server/request.h"
#include "server/watch_table.h"

// The histories of all shards of a node have this much together, each a part between the bounds.
#define HISTORY_BYTES (8u << 20)
#define HISTORY_MIN_BYTES (8u << 10)
#define HISTORY_MAX_BYTES (1u << 20)
// Watches that begin with a version wait while a reactor has more than this to take: what they
// missed shall not crowd out what others hear now.
#define REPLAY_BYTES_MAX (4u << 20)
// More than this for another reactor in one turn, and the watch is lost.
#define TURN_BYTES_MAX (16u << 20)
#define PROGRESS_US UINT64_C(1000000)

struct beginning;

// A shard of this reactor that a watch is about to cover.
struct ask {
    struct beginning *beginning;
    struct mf_owned_shard *shard;
    uint64_t index; // the replica here has to apply this first
};

// A watch that has not begun.
struct beginning {
    struct beginning *next;
    struct mf_watcher *watcher;
    struct ask *asks;
    uint32_t ask_count;
    uint32_t waiting; // answers to come
    uint64_t until_us;
    enum mf_err err;
};

struct listened {
    const struct mf_shard *state; // whose changes are heard; NULL: none
    struct mf_history history;
    uint64_t told; // the version that those who want progress have heard of
};

struct mf_watchers {
    struct mf_reactor *reactor;
    struct listened *shards; // as reactor->shards
    struct mf_watch_outbox *outboxes;
    struct mf_watch_table table;
    struct beginning *beginning; // the first that came first
    struct beginning **beginning_last;
    bool litter;   // some watcher is gone
    bool answered; // some watcher has had all its answers
    uint64_t progress_us;
    struct mf_shard_version *moved; // room for all shards
    struct mf_shard_version *some;  // the same
};

static void free_watcher(struct mf_watcher *watcher)
{
    mf_watch_order_free(watcher->order);
    free(watcher);
}

struct mf_watchers *mf_watchers_new(struct mf_reactor *reactor)
{
    struct mf_watchers *watchers = mf_calloc(1, sizeof(*watchers));
    watchers->reactor = reactor;
    mf_watch_table_init(&watchers->table, mf_rand_next(&reactor->rand));
    watchers->shards = mf_calloc(reactor->shard_count, sizeof(*watchers->shards));
    watchers->moved = mf_calloc(reactor->shard_count, sizeof(*watchers->moved));
    watchers->some = mf_calloc(reactor->shard_count, sizeof(*watchers->some));
    size_t bytes = HISTORY_BYTES / reactor->node->config.shards;
    bytes = bytes < HISTORY_MIN_BYTES ? HISTORY_MIN_BYTES : bytes;
    bytes = bytes > HISTORY_MAX_BYTES ? HISTORY_MAX_BYTES : bytes;
    for (uint32_t i = 0; i < reactor->shard_count; i++)
        mf_history_init(&watchers->shards[i].history, bytes);
    watchers->outboxes = mf_calloc(reactor->node->reactor_count, sizeof(*watchers->outboxes));
    for (uint16_t i = 0; i < reactor->node->reactor_count; i++)
        mf_watch_outbox_init(&watchers->outboxes[i], TURN_BYTES_MAX, NULL);
    watchers->beginning_last = &watchers->beginning;
    return watchers;
}

static void free_beginning(struct beginning *beginning)
{
    free(beginning->asks);
    free(beginning);
}

void mf_watchers_free(struct mf_watchers *watchers)
{
    while (watchers->beginning != NULL) {
        struct beginning *first = watchers->beginning;
        watchers->beginning = first->next;
        free_watcher(first->watcher);
        free_beginning(first);
    }
    mf_watch_table_free(&watchers->table, free_watcher);
    for (uint32_t i = 0; i < watchers->reactor->shard_count; i++)
        mf_history_free(&watchers->shards[i].history);
    for (uint16_t i = 0; i < watchers->reactor->node->reactor_count; i++)
        mf_watch_outbox_free(&watchers->outboxes[i]);
    free(watchers->shards);
    free(watchers->outboxes);
    free(watchers->moved);
    free(watchers->some);
    free(watchers);
}

static struct listened *listened_of(const struct mf_owned_shard *shard)
{
    struct mf_reactor *reactor = shard->reactor;
    return &reactor->watchers->shards[shard - reactor->shards];
}

void mf_watchers_prefetch(const struct mf_owned_shard *shard)
{
    __builtin_prefetch(listened_of(shard), 1);
}

void mf_watchers_prefetch_end(const struct mf_owned_shard *shard)
{
    mf_history_prefetch(&listened_of(shard)->history);
}

// All that have begun.
static struct mf_watcher *first_from(const struct mf_watchers *watchers, uint32_t bucket)
{
    while (bucket < watchers->table.bucket_count && watchers->table.buckets[bucket] == NULL)
        bucket++;
    return bucket < watchers->table.bucket_count ? watchers->table.buckets[bucket] : NULL;
}

static struct mf_watcher *first(const struct mf_watchers *watchers)
{
    return first_from(watchers, 0);
}

static struct mf_watcher *next(const struct mf_watchers *watchers, const struct mf_watcher *at)
{
    uint32_t bucket = (uint32_t)at->hash & (watchers->table.bucket_count - 1);
    return at->next != NULL ? at->next : first_from(watchers, bucket + 1);
}

static bool is_everywhere(const struct mf_watcher *watcher)
{
    return !watcher->order->want.one_shard && watcher->order->want.shard_count == 0;
}

static void lose(struct mf_watchers *watchers, struct mf_watcher *watcher)
{
    if (watcher->gone)
        return;
    mf_watch_put_lost(watcher->outbox, watcher->order->id);
    watcher->gone = true;
    watchers->litter = true;
}

// The next event or progress is for this watch. False: it is lost instead.
static bool address(struct mf_watchers *watchers, struct mf_watcher *watcher)
{
    if (mf_watch_outbox_full(watcher->outbox)) {
        lose(watchers, watcher);
        return false;
    }
    mf_buf_u64(&watcher->outbox->ids, watcher->order->id);
    return true;
}

void mf_watchers_flush(struct mf_reactor *reactor)
{
    struct mf_watchers *watchers = reactor->watchers;
    if (watchers->answered)
        mf_watchers_tick(reactor);
    watchers->answered = false;
    if (watchers->litter)
        mf_watch_table_sweep_all(&watchers->table, free_watcher);
    watchers->litter = false;
    for (uint16_t i = 0; i < reactor->node->reactor_count; i++) {
        struct mf_watch_outbox *outbox = &watchers->outboxes[i];
        if (outbox->items.len > 0)
            mf_reactor_send(reactor, i, &mf_watch_news_of(outbox)->task);
    }
}

// Changes.

static bool hears_of_flush(const struct mf_watcher *watcher, uint32_t shard, uint64_t version)
{
    const uint32_t ends = 1u << MF_EVENT_DEL | 1u << MF_EVENT_EXPIRE;
    if ((watcher->order->want.events & ends) == 0 || !mf_watcher_covers(watcher, shard))
        return false;
    const struct mf_shard_version *from = mf_watcher_from(watcher, shard);
    return from == NULL || version >= from->version;
}

// So many keys went at once that they are not told one by one. A watch of one key hears of it; one
// of a prefix would have to look at all keys, and is lost.
static void on_flush(struct mf_owned_shard *shard, uint64_t version)
{
    struct mf_watchers *watchers = shard->reactor->watchers;
    struct listened *listened = listened_of(shard);
    mf_history_restart(&listened->history, version);
    for (struct mf_watcher *at = first(watchers); at != NULL; at = next(watchers, at)) {
        const struct mf_watch_want *want = &at->order->want;
        struct mf_event event = {.key = want->pattern, .version = version};
        if (!hears_of_flush(at, shard->id, version))
            continue;
        if (want->by_prefix)
            lose(watchers, at);
        else if (mf_shard_flushed(listened->state, want->pattern, &event.event) &&
                 mf_watcher_wants(at, shard->id, &event) && address(watchers, at))
            mf_watch_put_event(at->outbox, &event);
    }
}

static void on_change(void *arg, const struct mf_event *event)
{
    struct mf_owned_shard *shard = arg;
    struct mf_watchers *watchers = shard->reactor->watchers;
    struct mf_watch_table *table = &watchers->table;
    if (event->event == MF_EVENT_FLUSH) {
        on_flush(shard, event->version);
        return;
    }
    mf_history_add(&listened_of(shard)->history, event);
    if (table->count == 0)
        return;
    mf_watch_table_match(table, shard->id, event);
    // One copy of the event for all watches of a home.
    for (uint32_t i = 0; i < table->match_count; i++)
        (void)address(watchers, table->matches[i]);
    for (uint32_t i = 0; i < table->match_count; i++)
        mf_watch_put_event(table->matches[i]->outbox, event);
}

// Progress.

static uint64_t version_of(const struct mf_owned_shard *shard)
{
    struct mf_shard_meta meta;
    mf_shard_meta(mf_replica_shard(shard->replica), &meta);
    return meta.version;
}

static void tell_one(struct mf_watchers *watchers, struct mf_watcher *watcher,
                     const struct mf_shard_version *versions, uint32_t count)
{
    if (!watcher->gone && address(watchers, watcher))
        mf_watch_put_progress(watcher->outbox, versions, count);
}

// The version of a shard that is in `moved`, or NULL.
static const struct mf_shard_version *find_moved(const struct mf_watchers *watchers, uint32_t count,
                                                 uint32_t shard)
{
    uint32_t low = 0;
    uint32_t high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (watchers->moved[middle].shard < shard)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && watchers->moved[low].shard == shard ? &watchers->moved[low] : NULL;
}

static uint32_t gather_moved(struct mf_watchers *watchers)
{
    const struct mf_reactor *reactor = watchers->reactor;
    uint32_t count = 0;
    for (uint32_t i = 0; i < reactor->shard_count; i++) {
        struct listened *listened = &watchers->shards[i];
        if (listened->state == NULL)
            continue;
        uint64_t version = version_of(&reactor->shards[i]);
        if (version != listened->told)
            watchers->moved[count++] = (struct mf_shard_version){reactor->shards[i].id, version};
        listened->told = version;
    }
    return count;
}

// For a watch that is not of all shards here, and has what it is told for itself alone.
static void tell_some(struct mf_watchers *watchers, struct mf_watcher *watcher, uint32_t count)
{
    const struct mf_watch_want *want = &watcher->order->want;
    uint32_t found = 0;
    for (uint32_t i = 0; i < (want->one_shard ? 1 : want->shard_count); i++) {
        uint32_t shard = want->one_shard ? want->shard : want->shards[i];
        const struct mf_shard_version *moved = find_moved(watchers, count, shard);
        if (moved != NULL)
            watchers->some[found++] = *moved;
    }
    if (found > 0)
        tell_one(watchers, watcher, watchers->some, found);
}

// Nothing where nobody wants it. Watches of all shards share what is said.
static void tell_progress(struct mf_watchers *watchers)
{
    uint64_t now_us = mf_reactor_now_us(watchers->reactor);
    if (watchers->table.progress_count == 0 || now_us < watchers->progress_us)
        return;
    watchers->progress_us = now_us + PROGRESS_US;
    uint32_t count = gather_moved(watchers);
    if (count == 0)
        return;
    for (struct mf_watcher *at = first(watchers); at != NULL; at = next(watchers, at)) {
        if (at->order->want.progress && !is_everywhere(at))
            tell_some(watchers, at, count);
    }
    for (struct mf_watcher *at = first(watchers); at != NULL; at = next(watchers, at)) {
        if (at->order->want.progress && is_everywhere(at) && !at->gone)
            (void)address(watchers, at);
    }
    for (struct mf_watcher *at = first(watchers); at != NULL; at = next(watchers, at))
        mf_watch_put_progress(at->outbox, watchers->moved, count);
}

// States that come and go.

void mf_watchers_detach(struct mf_owned_shard *shard)
{
    struct mf_watchers *watchers = shard->reactor->watchers;
    struct listened *listened = listened_of(shard);
    if (listened->state == NULL)
        return;
    listened->state = NULL;
    for (struct mf_watcher *at = first(watchers); at != NULL; at = next(watchers, at)) {
        if (mf_watcher_covers(at, shard->id))
            lose(watchers, at);
    }
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

// The watch does not begin, and nothing else knows of it.
static void refuse(struct beginning *beginning)
{
    struct mf_watcher *watcher = beginning->watcher;
    if (!watcher->gone)
        mf_watch_put_refused(watcher->outbox, watcher->order->id, beginning->err);
    free_watcher(watcher);
}

struct replay {
    struct mf_watchers *watchers;
    struct mf_watcher *watcher;
    uint32_t shard;
};

static void replay_one(void *arg, const struct mf_event *event)
{
    struct replay *replay = arg;
    struct mf_watcher *watcher = replay->watcher;
    if (mf_watcher_wants(watcher, replay->shard, event) && address(replay->watchers, watcher))
        mf_watch_put_event(watcher->outbox, event);
}

static bool reaches_back(const struct beginning *beginning)
{
    for (uint32_t i = 0; i < beginning->ask_count; i++) {
        const struct mf_owned_shard *shard = beginning->asks[i].shard;
        const struct mf_shard_version *from = mf_watcher_from(beginning->watcher, shard->id);
        if (from != NULL && from->version < listened_of(shard)->history.complete_from)
            return false;
    }
    return true;
}

// The first that is heard of progress names every shard.
static void begin_progress(struct mf_watchers *watchers, const struct beginning *beginning)
{
    if (!beginning->watcher->order->want.progress)
        return;
    if (watchers->table.progress_count == 1) {
        (void)gather_moved(watchers);
        watchers->progress_us = mf_reactor_now_us(watchers->reactor) + PROGRESS_US;
    }
    for (uint32_t i = 0; i < beginning->ask_count; i++) {
        const struct mf_owned_shard *shard = beginning->asks[i].shard;
        watchers->moved[i] = (struct mf_shard_version){shard->id, version_of(shard)};
    }
    tell_one(watchers, beginning->watcher, watchers->moved, beginning->ask_count);
}

// Versions to begin from that have been say nothing of what is to come.
static void forget_froms(const struct beginning *beginning)
{
    struct mf_watch_order *order = beginning->watcher->order;
    for (uint32_t i = 0; i < beginning->ask_count; i++) {
        const struct mf_owned_shard *shard = beginning->asks[i].shard;
        const struct mf_shard_version *from = mf_watcher_from(beginning->watcher, shard->id);
        if (from != NULL && from->version > version_of(shard) + 1)
            return;
    }
    free(order->froms);
    order->froms = NULL;
    order->want.froms = NULL;
    order->want.from_count = 0;
}

// All replicas are there: from this moment on changes are sent.
static void go(struct mf_watchers *watchers, struct beginning *beginning)
{
    struct mf_watcher *watcher = beginning->watcher;
    if (!reaches_back(beginning)) {
        beginning->err = MF_COMPACTED;
        refuse(beginning);
        return;
    }
    mf_watch_put_begun(watcher->outbox, watcher->order->id, beginning->ask_count);
    mf_watch_table_add(&watchers->table, watcher);
    for (uint32_t i = 0; i < beginning->ask_count; i++) {
        struct mf_owned_shard *shard = beginning->asks[i].shard;
        struct replay replay = {watchers, watcher, shard->id};
        const struct mf_shard_version *from = mf_watcher_from(watcher, shard->id);
        if (from != NULL)
            mf_history_visit(&listened_of(shard)->history, from->version, replay_one, &replay);
    }
    begin_progress(watchers, beginning);
    forget_froms(beginning);
}

// Have the replicas applied what the leaders had applied? Yes, with an error, when one is gone.
static bool caught_up(struct beginning *beginning)
{
    for (uint32_t i = 0; i < beginning->ask_count; i++) {
        const struct mf_owned_shard *shard = beginning->asks[i].shard;
        if (shard->replica == NULL) {
            beginning->err = MF_NOT_FOUND;
            return true;
        }
        struct mf_shard_meta meta;
        mf_shard_meta(mf_replica_shard(shard->replica), &meta);
        if (meta.applied < beginning->asks[i].index)
            return false;
    }
    return true;
}

static bool has_to_queue(const struct mf_watcher *watcher)
{
    return watcher->order->want.from_count > 0 &&
           watcher->outbox->items.len + mf_watch_under_way(watcher->outbox) > REPLAY_BYTES_MAX;
}

// False while it has to wait.
static bool settle(struct mf_watchers *watchers, struct beginning *beginning)
{
    struct mf_watcher *watcher = beginning->watcher;
    if (beginning->waiting > 0)
        return false;
    if (beginning->err == MF_OK && !watcher->gone &&
        (!caught_up(beginning) || has_to_queue(watcher))) {
        if (mf_reactor_now_us(watchers->reactor) < beginning->until_us)
            return false;
        beginning->err = MF_TIMEOUT;
    }
    if (beginning->err != MF_OK || watcher->gone)
        refuse(beginning);
    else
        go(watchers, beginning);
    return true;
}

void mf_watchers_tick(struct mf_reactor *reactor)
{
    struct mf_watchers *watchers = reactor->watchers;
    struct beginning **at = &watchers->beginning;
    while (*at != NULL) {
        struct beginning *beginning = *at;
        if (!settle(watchers, beginning)) {
            at = &beginning->next;
            continue;
        }
        *at = beginning->next;
        free_beginning(beginning);
    }
    watchers->beginning_last = at;
    tell_progress(watchers);
}

static void on_index(void *arg, const struct mf_result *result)
{
    struct ask *ask = arg;
    struct beginning *beginning = ask->beginning;
    if (result->kind == MF_RESULT_ERROR)
        beginning->err = result->err;
    else
        ask->index = (uint64_t)result->integer;
    if (--beginning->waiting == 0)
        ask->shard->reactor->watchers->answered = true;
}

static void ask_leaders(struct mf_watchers *watchers, struct beginning *beginning)
{
    struct mf_reactor *reactor = watchers->reactor;
    struct mf_command index = {.op = MF_OP_INDEX};
    // What has no copy here is not asked for: its changes would not be heard.
    for (uint32_t i = 0; i < reactor->shard_count; i++) {
        const struct mf_owned_shard *shard = &reactor->shards[i];
        if (mf_watcher_covers(beginning->watcher, shard->id) && shard->replica == NULL &&
            shard->state == NULL)
            beginning->err = MF_NOT_FOUND;
    }
    if (beginning->err != MF_OK)
        return;
    beginning->asks = mf_calloc(reactor->shard_count, sizeof(*beginning->asks));
    for (uint32_t i = 0; i < reactor->shard_count; i++) {
        if (mf_watcher_covers(beginning->watcher, reactor->shards[i].id))
            beginning->asks[beginning->ask_count++] =
                (struct ask){.beginning = beginning, .shard = &reactor->shards[i]};
    }
    beginning->waiting = beginning->ask_count;
    for (uint32_t i = 0; i < beginning->ask_count; i++)
        mf_request_start_on(reactor, beginning->asks[i].shard->id, &index, on_index,
                            &beginning->asks[i]);
}

void mf_watchers_begin(struct mf_watchers *watchers, struct mf_watch_order *order,
                       struct mf_watch_outbox *outbox)
{
    const struct mf_reactor *reactor = watchers->reactor;
    struct mf_watcher *watcher = mf_calloc(1, sizeof(*watcher));
    watcher->order = order;
    watcher->outbox = outbox;
    watcher->hash = mf_watch_table_hash(&watchers->table, order->want.pattern);
    mf_watch_sort_froms(order);
    struct beginning *beginning = mf_calloc(1, sizeof(*beginning));
    beginning->watcher = watcher;
    beginning->until_us =
        mf_reactor_now_us(reactor) + (uint64_t)reactor->node->config.request_timeout_ms * 1000;
    *watchers->beginning_last = beginning;
    watchers->beginning_last = &beginning->next;
    ask_leaders(watchers, beginning);
    if (beginning->waiting == 0)
        watchers->answered = true;
}

void mf_watchers_end(struct mf_watchers *watchers, const struct mf_watch_order *order,
                     const struct mf_watch_outbox *outbox)
{
    for (struct beginning *at = watchers->beginning; at != NULL; at = at->next) {
        const struct mf_watcher *watcher = at->watcher;
        if (!watcher->gone && watcher->order->id == order->id && watcher->outbox == outbox) {
            at->watcher->gone = true; // the answers that are still to come point to it
            return;
        }
    }
    struct mf_watcher *watcher = mf_watch_table_find(&watchers->table, order, outbox);
    if (watcher == NULL)
        return;
    watcher->gone = true;
    mf_watch_table_sweep(&watchers->table, watcher->hash, free_watcher);
}

void mf_watchers_forget(struct mf_watchers *watchers, const struct mf_watch_outbox *outbox)
{
    for (struct beginning *at = watchers->beginning; at != NULL; at = at->next)
        at->watcher->gone = at->watcher->gone || at->watcher->outbox == outbox;
    for (struct mf_watcher *at = first(watchers); at != NULL; at = next(watchers, at))
        at->gone = at->gone || at->outbox == outbox;
    mf_watch_table_sweep_all(&watchers->table, free_watcher);
}

static void run_order(struct mf_reactor *reactor, struct mf_task *task)
{
    struct mf_watch_order *order = (struct mf_watch_order *)task;
    struct mf_watch_outbox *outbox = &reactor->watchers->outboxes[order->home];
    if (!order->end) {
        mf_watchers_begin(reactor->watchers, order, outbox);
        return;
    }
    mf_watchers_end(reactor->watchers, order, outbox);
    mf_watch_order_free(order);
}

void mf_watchers_order(struct mf_reactor *home, uint16_t owner, uint64_t id, bool end,
                       const struct mf_watch_want *want)
{
    struct mf_watch_order *order = mf_watch_order_new(id, home->index, end, want);
    order->task.run = run_order;
    mf_reactor_send(home, owner, &order->task);
}
