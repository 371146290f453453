// Watches at other nodes; see watch_relay.h.
#include "server/watch_relay.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "server/links.h"
#include "server/roster.h"
#include "server/watch_news.h"
#include "server/watch_peers.h"

// Orders that wait for the link: a member that has more is given no new watch ...
#define ORDERS_BYTES_MAX (4u << 20)
// ... and one that cannot even be told of their ends is given up.
#define ENDS_BYTES_MAX (16u << 20)
#define UNSENT_BYTES_MAX (128u << 10)
// News that have come are acknowledged at this many bytes, or when it is time to say something.
#define OWED_BYTES (64u << 10)

// A reactor of the other node.
struct source {
    uint64_t taken; // bytes of its news
    uint64_t acknowledged;
    uint64_t heard_us;
};

// What this home has at a member.
struct remote {
    uint64_t number;   // 0: nothing
    uint64_t sequence; // of the last order
    uint64_t sequence_sent;
    uint32_t watches;
    uint64_t begun_us;
    uint64_t said_us;
    struct source *sources; // as many as the first of them said; NULL: not heard of
    uint16_t source_count;
    struct mf_buf orders; // that have not been sent, each a blob
    size_t orders_done;
    bool owes;   // it has to acknowledge
    bool broken; // it is given up when that harms nobody
};

struct mf_watch_relay {
    struct mf_reactor *reactor;
    struct remote remotes[MF_MEMBERS_MAX];
    uint32_t open; // remotes with a number
    uint64_t last_number;
    uint64_t tick_us;
};

struct mf_watch_relay *mf_watch_relay_new(struct mf_reactor *reactor)
{
    struct mf_watch_relay *relay = mf_calloc(1, sizeof(*relay));
    relay->reactor = reactor;
    return relay;
}

static void shut(struct mf_watch_relay *relay, struct remote *remote)
{
    if (remote->number != 0)
        relay->open--;
    mf_buf_free(&remote->orders);
    free(remote->sources);
    *remote = (struct remote){0};
}

void mf_watch_relay_free(struct mf_watch_relay *relay)
{
    for (uint32_t i = 0; i < MF_MEMBERS_MAX; i++)
        shut(relay, &relay->remotes[i]);
    free(relay);
}

static void lose(struct mf_watch_relay *relay, uint32_t member)
{
    shut(relay, &relay->remotes[member]);
    mf_watches_lose_member(relay->reactor, member);
}

void mf_watch_relay_lost(struct mf_watch_relay *relay, uint32_t member)
{
    if (relay->remotes[member].number != 0)
        lose(relay, member);
}

// Where to watch.

static bool can_keep(const struct mf_watch_relay *relay, uint16_t id)
{
    const struct mf_node *node = relay->reactor->node;
    int member = mf_node_member(node, id);
    if (member < 0 || (uint32_t)member == node->self)
        return false;
    const struct remote *remote = &relay->remotes[member];
    return atomic_load_explicit(&node->members[member].up, memory_order_relaxed) &&
           mf_links_reaches(relay->reactor->links, (uint32_t)member) && !remote->broken &&
           remote->orders.len < ORDERS_BYTES_MAX;
}

int mf_watch_relay_pick(const struct mf_watch_relay *relay, uint32_t shard)
{
    const struct mf_node *node = relay->reactor->node;
    const struct mf_roster *roster = relay->reactor->roster;
    uint16_t told[MF_COPIES_MAX];
    const uint16_t *copies = told;
    uint32_t count = mf_node_copies(node, shard, told);
    if (count == 0) {
        copies = mf_roster_places(roster, shard);
        count = roster->copies;
    }
    uint32_t leader = atomic_load_explicit(&node->shards[shard].leader, memory_order_relaxed);
    uint16_t found = 0;
    for (uint32_t i = 0; i < count; i++) {
        if ((found == 0 || copies[i] == leader) && can_keep(relay, copies[i]))
            found = copies[i];
    }
    return found != 0 ? mf_node_member(node, found) : -1;
}

// Orders.

static void put_order(struct remote *remote, struct mf_peer_watch_order *order)
{
    struct mf_buf content = {0};
    order->number = remote->number;
    order->sequence = ++remote->sequence;
    mf_peer_put_watch_order(&content, order);
    mf_buf_blob(&remote->orders, mf_buf_view(&content));
    mf_buf_free(&content);
}

static void open_remote(struct mf_watch_relay *relay, struct remote *remote)
{
    relay->open++;
    remote->number = ++relay->last_number;
    remote->begun_us = remote->said_us = mf_reactor_now_us(relay->reactor);
}

static int compare_shard(const void *left, const void *right)
{
    const uint32_t *a = left;
    const uint32_t *b = right;
    return (*a > *b) - (*a < *b);
}

// The shards and the versions of those among them, ascending.
static void put_shards(const struct mf_watch_want *want, struct mf_buf *shards,
                       struct mf_buf *froms)
{
    for (uint32_t i = 0; i < want->shard_count; i++)
        mf_buf_u32(shards, want->shards[i]);
    for (uint32_t i = 0; i < want->from_count; i++) {
        if (bsearch(&want->froms[i].shard, want->shards, want->shard_count, sizeof(uint32_t),
                    compare_shard) == NULL)
            continue;
        mf_buf_u32(froms, want->froms[i].shard);
        mf_buf_u64(froms, want->froms[i].version);
    }
}

void mf_watch_relay_begin(struct mf_watch_relay *relay, uint32_t member, uint64_t id,
                          const struct mf_watch_want *want)
{
    struct remote *remote = &relay->remotes[member];
    if (remote->number == 0)
        open_remote(relay, remote);
    remote->watches++;
    struct mf_buf shards = {0};
    struct mf_buf froms = {0};
    put_shards(want, &shards, &froms);
    struct mf_peer_watch_order order = {.home = relay->reactor->index,
                                        .id = id,
                                        .by_prefix = want->by_prefix,
                                        .progress = want->progress,
                                        .events = (uint8_t)want->events,
                                        .pattern = want->pattern,
                                        .shards = mf_buf_view(&shards),
                                        .froms = mf_buf_view(&froms)};
    put_order(remote, &order);
    mf_buf_free(&shards);
    mf_buf_free(&froms);
}

void mf_watch_relay_end(struct mf_watch_relay *relay, uint32_t member, uint64_t id,
                        const struct mf_watch_want *want)
{
    struct remote *remote = &relay->remotes[member];
    if (remote->number == 0)
        return; // all it had is lost
    remote->watches--;
    struct mf_peer_watch_order order = {.home = relay->reactor->index,
                                        .id = id,
                                        .end = true,
                                        .by_prefix = want->by_prefix,
                                        .pattern = want->pattern};
    put_order(remote, &order);
    remote->broken = remote->broken || remote->orders.len > ENDS_BYTES_MAX;
}

// News.

static void hear(struct mf_watch_relay *relay, uint32_t member,
                 const struct mf_peer_watch_news *news)
{
    struct remote *remote = &relay->remotes[member];
    uint64_t now_us = mf_reactor_now_us(relay->reactor);
    if (remote->number != news->number || remote->broken)
        return;
    if (remote->sources == NULL) {
        remote->source_count = news->reactors;
        remote->sources = mf_calloc(news->reactors, sizeof(*remote->sources));
        for (uint16_t i = 0; i < news->reactors; i++)
            remote->sources[i].heard_us = now_us;
    }
    struct source *source = &remote->sources[news->reactor];
    if (news->reactors != remote->source_count || news->offset != source->taken) {
        lose(relay, member);
        return;
    }
    source->heard_us = now_us;
    source->taken += news->news.len;
    remote->owes = remote->owes || source->taken - source->acknowledged >= OWED_BYTES;
    mf_watches_take_items(relay->reactor, news->news);
}

struct news_task {
    struct mf_task task;
    uint32_t member;
    uint64_t incarnation;
    bool gone;
    uint64_t number;
    struct mf_peer_watch_news news; // without its bytes
    struct mf_buf bytes;
};

static void receive(struct mf_reactor *reactor, struct mf_task *task)
{
    struct news_task *item = (struct news_task *)task;
    struct mf_watch_relay *relay = reactor->watch_relay;
    item->news.news = mf_buf_view(&item->bytes);
    // Asked again: see mf_links_is_current.
    if (!mf_links_is_current(reactor->node, item->member, item->incarnation)) {
    } else if (!item->gone) {
        hear(relay, item->member, &item->news);
    } else if (relay->remotes[item->member].number == item->number) {
        lose(relay, item->member);
    }
    mf_buf_free(&item->bytes);
    free(item);
}

enum mf_err mf_watch_relay_take(struct mf_reactor *reactor, uint32_t member, uint64_t incarnation,
                                const struct mf_peer_item *item)
{
    struct mf_peer_watch_news news = {0};
    struct mf_peer_watch_gone gone = {0};
    bool is_gone = item->kind == MF_PEER_WATCH_GONE;
    enum mf_err err =
        is_gone ? mf_peer_get_watch_gone(item->bytes, &gone)
                : mf_peer_get_watch_news(item->bytes, reactor->node->config.shards, &news);
    uint16_t home = is_gone ? gone.home : news.home;
    if (err != MF_OK || home >= reactor->node->reactor_count || news.reactors > MF_THREADS_MAX)
        return MF_CORRUPT;
    struct news_task *fresh = mf_calloc(1, sizeof(*fresh));
    fresh->task.run = receive;
    fresh->member = member;
    fresh->incarnation = incarnation;
    fresh->gone = is_gone;
    fresh->number = gone.number;
    fresh->news = news;
    mf_buf_put(&fresh->bytes, news.news.data, news.news.len);
    mf_reactor_send(reactor, home, &fresh->task);
    return MF_OK;
}

// Speaking.

static bool send(struct mf_watch_relay *relay, uint32_t member, enum mf_peer_item_kind kind,
                 struct mf_bytes content)
{
    return mf_links_send_item(relay->reactor->links, relay->reactor->node->members[member].id, kind,
                              0, content, false);
}

static void send_orders(struct mf_watch_relay *relay, uint32_t member)
{
    struct remote *remote = &relay->remotes[member];
    while (remote->orders_done < remote->orders.len && !remote->broken &&
           mf_links_has_room(relay->reactor->links, member, 0, UNSENT_BYTES_MAX)) {
        struct mf_reader rest = mf_reader_of(mf_bytes_of(remote->orders.data + remote->orders_done,
                                                         remote->orders.len - remote->orders_done));
        struct mf_bytes content = mf_read_blob(&rest);
        remote->orders_done += sizeof(uint32_t) + content.len;
        remote->sequence_sent++;
        remote->broken = !send(relay, member, MF_PEER_WATCH_ORDER, content);
    }
    if (remote->orders_done < remote->orders.len - remote->orders_done)
        return;
    mf_buf_consume(&remote->orders, remote->orders_done);
    remote->orders_done = 0;
}

// That it is there, which orders were sent, and what of the news has come.
static void say_alive(struct mf_watch_relay *relay, uint32_t member, uint64_t now_us)
{
    struct remote *remote = &relay->remotes[member];
    struct mf_buf taken = {0};
    for (uint16_t i = 0; i < remote->source_count; i++) {
        mf_buf_u64(&taken, remote->sources[i].taken);
        remote->sources[i].acknowledged = remote->sources[i].taken;
    }
    const struct mf_peer_watch_alive alive = {.number = remote->number,
                                              .home = relay->reactor->index,
                                              .sequence = remote->sequence_sent,
                                              .taken = mf_buf_view(&taken)};
    struct mf_buf content = {0};
    mf_peer_put_watch_alive(&content, &alive);
    remote->broken =
        remote->broken || !send(relay, member, MF_PEER_WATCH_ALIVE, mf_buf_view(&content));
    remote->owes = false;
    remote->said_us = now_us;
    mf_buf_free(&content);
    mf_buf_free(&taken);
}

static void flush_remote(struct mf_watch_relay *relay, uint32_t member, uint64_t now_us)
{
    struct remote *remote = &relay->remotes[member];
    send_orders(relay, member);
    bool due = remote->owes || now_us >= remote->said_us + MF_WATCH_SAY_US;
    // Before the first order the other knows nothing of what would be spoken of, and would say so.
    if (due && !remote->broken && remote->sequence_sent > 0)
        say_alive(relay, member, now_us);
}

void mf_watch_relay_flush(struct mf_watch_relay *relay)
{
    if (relay->open == 0)
        return;
    uint64_t now_us = mf_reactor_now_us(relay->reactor);
    for (uint32_t i = 0; i < mf_node_member_count(relay->reactor->node); i++) {
        if (relay->remotes[i].number != 0)
            flush_remote(relay, i, now_us);
    }
}

static bool is_silent(const struct remote *remote, uint64_t now_us)
{
    bool silent = remote->sources == NULL && now_us > remote->begun_us + MF_WATCH_SILENCE_US;
    for (uint16_t i = 0; i < remote->source_count; i++)
        // As many as are counted are there. NOLINTNEXTLINE(clang-analyzer-core.NullDereference)
        silent = silent || now_us > remote->sources[i].heard_us + MF_WATCH_SILENCE_US;
    return silent;
}

// Who has stood still itself has not listened.
static void excuse(struct remote *remote, uint64_t now_us)
{
    remote->begun_us = now_us;
    for (uint16_t i = 0; i < remote->source_count; i++)
        remote->sources[i].heard_us = now_us;
}

void mf_watch_relay_tick(struct mf_watch_relay *relay, uint64_t now_us)
{
    bool stood = now_us > relay->tick_us + MF_WATCH_SILENCE_US / 3;
    relay->tick_us = now_us;
    for (uint32_t i = 0; i < mf_node_member_count(relay->reactor->node) && relay->open > 0; i++) {
        struct remote *remote = &relay->remotes[i];
        if (remote->number == 0)
            continue;
        if (stood)
            excuse(remote, now_us);
        if (remote->broken || is_silent(remote, now_us)) {
            mf_log(MF_DEBUG, "the watches at node %u are given up",
                   relay->reactor->node->members[i].id);
            lose(relay, i);
        } else if (remote->watches == 0 && remote->orders.len == 0) {
            shut(relay, remote);
        }
    }
}
