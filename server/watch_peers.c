// Watches for other nodes; see watch_peers.h.
#include "server/watch_peers.h"

#include <stdlib.h>

#include "server/links.h"
#include "server/watchers.h"

// Waiting for a link to one home.
#define ITEMS_BYTES_MAX (8u << 20)
// On their way to it.
#define WINDOW_BYTES (1u << 20)
// One item has no more news than this, or one larger one.
#define PIECE_BYTES (64u << 10)
// Nothing is put onto a link with more than this unsent; less than what streams of checkpoints
// leave be, so that these get their turn.
#define UNSENT_BYTES_MAX (128u << 10)

// A home of another node: the watches that one of its reactors has here.
struct peer_home {
    struct peer_home *next;
    uint32_t member;
    uint64_t incarnation;
    uint16_t home;
    uint64_t number;
    uint64_t sequence; // of the last order
    struct mf_watch_outbox outbox;
    size_t done;    // of its items: these are sent
    uint64_t sent;  // bytes of news ...
    uint64_t taken; // ... and how many of them it has
    uint64_t heard_us;
    uint64_t said_us;
};

struct mf_watch_peers {
    struct mf_reactor *reactor;
    struct peer_home *first;
    size_t together; // bytes in all outboxes
    uint64_t tick_us;
};

struct mf_watch_peers *mf_watch_peers_new(struct mf_reactor *reactor)
{
    struct mf_watch_peers *peers = mf_calloc(1, sizeof(*peers));
    peers->reactor = reactor;
    return peers;
}

static void drop(struct mf_watch_peers *peers, struct peer_home **at)
{
    struct peer_home *home = *at;
    *at = home->next;
    mf_watchers_forget(peers->reactor->watchers, &home->outbox);
    peers->together -= home->outbox.items.len;
    mf_watch_outbox_free(&home->outbox);
    free(home);
}

void mf_watch_peers_free(struct mf_watch_peers *peers)
{
    while (peers->first != NULL)
        drop(peers, &peers->first);
    free(peers);
}

void mf_watch_peers_lost(struct mf_watch_peers *peers, uint32_t member)
{
    struct peer_home **at = &peers->first;
    while (*at != NULL) {
        if ((*at)->member == member)
            drop(peers, at);
        else
            at = &(*at)->next;
    }
}

static uint16_t node_of(const struct mf_watch_peers *peers, uint32_t member)
{
    return peers->reactor->node->members[member].id;
}

// The asker speaks of watches that there are not. Should this not arrive, it will speak again.
static void say_gone(struct mf_watch_peers *peers, uint32_t member, uint16_t home, uint64_t number)
{
    const struct mf_peer_watch_gone gone = {.number = number, .home = home};
    struct mf_buf content = {0};
    mf_peer_put_watch_gone(&content, &gone);
    (void)mf_links_send_item(peers->reactor->links, node_of(peers, member), MF_PEER_WATCH_GONE, 0,
                             mf_buf_view(&content), false);
    mf_buf_free(&content);
}

static struct peer_home **find(struct mf_watch_peers *peers, uint32_t member, uint16_t home)
{
    struct peer_home **at = &peers->first;
    while (*at != NULL && ((*at)->member != member || (*at)->home != home))
        at = &(*at)->next;
    return at;
}

static struct peer_home *new_home(struct mf_watch_peers *peers, uint32_t member,
                                  uint64_t incarnation, uint16_t home_index, uint64_t number)
{
    struct peer_home *home = mf_calloc(1, sizeof(*home));
    home->member = member;
    home->incarnation = incarnation;
    home->home = home_index;
    home->number = number;
    home->heard_us = mf_reactor_now_us(peers->reactor);
    mf_watch_outbox_init(&home->outbox, ITEMS_BYTES_MAX, &peers->together);
    home->next = peers->first;
    peers->first = home;
    return home;
}

// What an order says of shards and versions, as far as it concerns this reactor.
struct mine {
    uint32_t *shards;
    uint32_t shard_count;
    struct mf_shard_version *froms;
    uint32_t from_count;
};

static void take_mine(const struct mf_reactor *reactor, const struct mf_peer_watch_order *order,
                      struct mine *mine)
{
    struct mf_reader shards = mf_reader_of(order->shards);
    struct mf_reader froms = mf_reader_of(order->froms);
    *mine = (struct mine){.shards = mf_calloc(order->shards.len / 4 + 1, sizeof(uint32_t)),
                          .froms = mf_calloc(order->froms.len / 12 + 1, sizeof(*mine->froms))};
    while (mf_reader_left(&shards) > 0) {
        uint32_t shard = mf_read_u32(&shards);
        if (mf_reactor_of_shard(reactor->node, shard) == reactor->index)
            mine->shards[mine->shard_count++] = shard;
    }
    while (mf_reader_left(&froms) > 0) {
        struct mf_shard_version from = {.shard = mf_read_u32(&froms)};
        from.version = mf_read_u64(&froms);
        if (mf_reactor_of_shard(reactor->node, from.shard) == reactor->index)
            mine->froms[mine->from_count++] = from;
    }
}

static void carry_out(struct mf_watch_peers *peers, struct peer_home *home,
                      const struct mf_peer_watch_order *order)
{
    struct mf_reactor *reactor = peers->reactor;
    struct mine mine;
    take_mine(reactor, order, &mine);
    struct mf_watch_want want = {.by_prefix = order->by_prefix,
                                 .pattern = order->pattern,
                                 .events = order->events,
                                 .one_shard = mine.shard_count == 1,
                                 .shard = mine.shards[0],
                                 .shards = mine.shards,
                                 .shard_count = mine.shard_count,
                                 .froms = mine.froms,
                                 .from_count = mine.from_count,
                                 .progress = order->progress};
    if (order->end || mine.shard_count > 0) {
        struct mf_watch_order *fresh =
            mf_watch_order_new(order->id, order->home, order->end, &want);
        if (!order->end) {
            mf_watchers_begin(reactor->watchers, fresh, &home->outbox);
        } else {
            mf_watchers_end(reactor->watchers, fresh, &home->outbox);
            mf_watch_order_free(fresh);
        }
    }
    free(mine.shards);
    free(mine.froms);
}

// An asker's numbers grow, and one that it has begun anew takes the place of the one before.
static void take_order(struct mf_watch_peers *peers, uint32_t member, uint64_t incarnation,
                       const struct mf_peer_watch_order *order)
{
    struct peer_home **at = find(peers, member, order->home);
    if (*at != NULL && (*at)->incarnation == incarnation && (*at)->number > order->number)
        return;
    if (*at != NULL && ((*at)->incarnation != incarnation || (*at)->number != order->number)) {
        drop(peers, at);
        at = find(peers, member, order->home);
    }
    struct peer_home *home = *at;
    if (home == NULL && order->sequence == 1) {
        home = new_home(peers, member, incarnation, order->home, order->number);
    } else if (home == NULL || order->sequence != home->sequence + 1) {
        if (home != NULL)
            drop(peers, at);
        say_gone(peers, member, order->home, order->number);
        return;
    }
    home->sequence = order->sequence;
    home->heard_us = mf_reactor_now_us(peers->reactor);
    carry_out(peers, home, order);
}

// False: what it says does not fit.
static bool acknowledge(const struct mf_watch_peers *peers, struct peer_home *home,
                        const struct mf_peer_watch_alive *alive)
{
    struct mf_reader taken = mf_reader_of(alive->taken);
    (void)mf_read_bytes(&taken, (size_t)peers->reactor->index * sizeof(uint64_t));
    uint64_t offset = mf_read_u64(&taken);
    if (taken.failed) // it has not heard of us yet
        return true;
    if (offset > home->sent)
        return false;
    if (offset > home->taken)
        home->taken = offset;
    atomic_store_explicit(&home->outbox.under_way, (size_t)(home->sent - home->taken),
                          memory_order_relaxed);
    return true;
}

static void take_alive(struct mf_watch_peers *peers, uint32_t member, uint64_t incarnation,
                       const struct mf_peer_watch_alive *alive)
{
    struct peer_home **at = find(peers, member, alive->home);
    struct peer_home *home = *at;
    if (home != NULL && home->incarnation == incarnation && home->number > alive->number)
        return;
    if (home != NULL && home->incarnation == incarnation && home->number == alive->number &&
        home->sequence == alive->sequence && acknowledge(peers, home, alive)) {
        home->heard_us = mf_reactor_now_us(peers->reactor);
        return;
    }
    if (home != NULL)
        drop(peers, at);
    say_gone(peers, member, alive->home, alive->number);
}

struct item_task {
    struct mf_task task;
    enum mf_peer_item_kind kind;
    uint32_t member;
    uint64_t incarnation;
    struct mf_buf bytes;
};

static void receive(struct mf_reactor *reactor, struct mf_task *task)
{
    struct item_task *item = (struct item_task *)task;
    uint32_t shards = reactor->node->config.shards;
    struct mf_peer_watch_order order;
    struct mf_peer_watch_alive alive;
    // Asked again: see mf_links_is_current.
    if (!mf_links_is_current(reactor->node, item->member, item->incarnation)) {
    } else if (item->kind == MF_PEER_WATCH_ORDER) {
        if (mf_peer_get_watch_order(mf_buf_view(&item->bytes), shards, &order) == MF_OK)
            take_order(reactor->watch_peers, item->member, item->incarnation, &order);
    } else if (mf_peer_get_watch_alive(mf_buf_view(&item->bytes), &alive) == MF_OK) {
        take_alive(reactor->watch_peers, item->member, item->incarnation, &alive);
    }
    mf_buf_free(&item->bytes);
    free(item);
}

// Each reactor takes its part.
enum mf_err mf_watch_peers_take(struct mf_reactor *reactor, uint32_t member, uint64_t incarnation,
                                const struct mf_peer_item *item)
{
    struct mf_peer_watch_order order;
    struct mf_peer_watch_alive alive;
    enum mf_err err =
        item->kind == MF_PEER_WATCH_ORDER
            ? mf_peer_get_watch_order(item->bytes, reactor->node->config.shards, &order)
            : mf_peer_get_watch_alive(item->bytes, &alive);
    if (err != MF_OK)
        return err;
    // A home is one of its reactors: each has something here.
    if ((item->kind == MF_PEER_WATCH_ORDER ? order.home : alive.home) >= MF_THREADS_MAX)
        return MF_CORRUPT;
    for (uint16_t i = 0; i < reactor->node->reactor_count; i++) {
        struct item_task *fresh = mf_calloc(1, sizeof(*fresh));
        fresh->task.run = receive;
        fresh->kind = item->kind;
        fresh->member = member;
        fresh->incarnation = incarnation;
        mf_buf_put(&fresh->bytes, item->bytes.data, item->bytes.len);
        mf_reactor_send(reactor, i, &fresh->task);
    }
    return MF_OK;
}

// Sending.

// As many whole news as make a piece.
static struct mf_bytes next_piece(const struct mf_watch_peers *peers, const struct peer_home *home)
{
    const struct mf_buf *items = &home->outbox.items;
    struct mf_bytes rest = mf_bytes_of(items->data + home->done, items->len - home->done);
    struct mf_reader reader = mf_reader_of(rest);
    size_t size = 0;
    while (size < rest.len &&
           mf_peer_skip_watch_news(&reader, peers->reactor->node->config.shards) == MF_OK) {
        size_t end = rest.len - mf_reader_left(&reader);
        if (size > 0 && end > PIECE_BYTES)
            break;
        size = end;
    }
    return mf_bytes_of(rest.data, size);
}

// False: it cannot be sent, and the home does not get what it is to have.
static bool say(struct mf_watch_peers *peers, struct peer_home *home, struct mf_bytes news)
{
    const struct mf_reactor *reactor = peers->reactor;
    const struct mf_peer_watch_news item = {.number = home->number,
                                            .home = home->home,
                                            .reactor = reactor->index,
                                            .reactors = (uint16_t)reactor->node->reactor_count,
                                            .offset = home->sent,
                                            .news = news};
    struct mf_buf content = {0};
    mf_peer_put_watch_news(&content, &item);
    bool sent = mf_links_send_item(reactor->links, node_of(peers, home->member), MF_PEER_WATCH_NEWS,
                                   0, mf_buf_view(&content), false);
    mf_buf_free(&content);
    home->said_us = mf_reactor_now_us(reactor);
    home->sent += news.len;
    home->done += news.len;
    atomic_store_explicit(&home->outbox.under_way, (size_t)(home->sent - home->taken),
                          memory_order_relaxed);
    return sent;
}

static void forget_sent(struct mf_watch_peers *peers, struct peer_home *home)
{
    struct mf_buf *items = &home->outbox.items;
    if (home->done < items->len - home->done)
        return; // moving what is left each time would cost more than it gives back
    peers->together -= home->done;
    mf_buf_consume(items, home->done);
    home->done = 0;
    if (items->len == 0)
        mf_buf_clear(items, PIECE_BYTES);
}

static bool flush_home(struct mf_watch_peers *peers, struct peer_home *home, uint64_t now_us)
{
    bool fine = true;
    while (fine &&
           mf_links_has_room(peers->reactor->links, home->member, home->incarnation,
                             UNSENT_BYTES_MAX) &&
           home->sent - home->taken < WINDOW_BYTES) {
        bool due = now_us >= home->said_us + MF_WATCH_SAY_US;
        struct mf_bytes news = next_piece(peers, home);
        if (news.len == 0 && !due)
            break;
        fine = say(peers, home, news);
        now_us = home->said_us;
    }
    if (home->done > 0)
        forget_sent(peers, home);
    return fine;
}

void mf_watch_peers_flush(struct mf_watch_peers *peers)
{
    uint64_t now_us = peers->first != NULL ? mf_reactor_now_us(peers->reactor) : 0;
    struct peer_home **at = &peers->first;
    while (*at != NULL) {
        if (flush_home(peers, *at, now_us))
            at = &(*at)->next;
        else
            drop(peers, at);
    }
}

void mf_watch_peers_tick(struct mf_watch_peers *peers, uint64_t now_us)
{
    // Who has stood still itself has not listened.
    bool stood = now_us > peers->tick_us + MF_WATCH_SILENCE_US / 3;
    peers->tick_us = now_us;
    struct peer_home **at = &peers->first;
    while (*at != NULL) {
        if (stood)
            (*at)->heard_us = now_us;
        if (now_us > (*at)->heard_us + MF_WATCH_SILENCE_US)
            drop(peers, at);
        else
            at = &(*at)->next;
    }
}
