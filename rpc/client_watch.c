// See client_watch.h.
#include "rpc/client_watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/event.h"
#include "base/slots.h"

#define PATTERN_BYTES_MAX ((size_t)16 << 20)
#define REST_MIN_US 10000u
#define REST_DOUBLINGS_MAX 6u // 640 ms
#define SLOT_BITS 16u
#define ID_BUCKETS 256u

struct mf_watches {
    struct mf_watch *slots[MAYFLY_WATCHES_MAX];
    struct mf_watch *by_id[ID_BUCKETS]; // the live ones
    uint32_t used;                      // slots
    uint32_t wanted;                    // watches that somebody wants
    uint32_t shards;                    // of the cluster, as last greeted; 0: not known yet
    uint64_t generation;
    uint64_t next_us; // no watch needs attention before
};

static void wake_at(struct mf_watches *watches, uint64_t when_us)
{
    watches->next_us = when_us < watches->next_us ? when_us : watches->next_us;
}

static struct mf_watch **bucket_of(struct mf_watches *watches, uint64_t remote_id)
{
    return &watches->by_id[remote_id % ID_BUCKETS];
}

static struct mf_watch *find_live(struct mf_watches *watches, uint64_t remote_id)
{
    struct mf_watch *watch = *bucket_of(watches, remote_id);
    while (watch != NULL && watch->remote_id != remote_id)
        watch = watch->next;
    return watch;
}

// No request of it is on its way any more, and the node's id for it is forgotten.
static void detach(struct mayfly_client *client, struct mf_watch *watch)
{
    struct mf_watches *watches = client->watches;
    if (watch->request.state == MF_CALL_QUEUED) {
        mf_call_list_remove(&client->watch_link->queue, &watch->request);
        watch->request.state = MF_CALL_FREE;
    }
    if (watch->state != MF_WATCH_LIVE)
        return;
    struct mf_watch **at = bucket_of(watches, watch->remote_id);
    while (*at != watch)
        at = &(*at)->next;
    *at = watch->next;
    watch->next = NULL;
}

static void wait_again(struct mayfly_client *client, struct mf_watch *watch, uint64_t until_us)
{
    detach(client, watch);
    watch->state = MF_WATCH_WAITING;
    watch->rest_until_us = until_us;
    wake_at(client->watches, until_us);
}

static void free_watch(struct mayfly_client *client, struct mf_watch *watch)
{
    struct mf_watches *watches = client->watches;
    detach(client, watch);
    watches->slots[watch->slot] = NULL;
    watches->used--;
    watches->wanted -= !watch->dropped;
    mf_positions_free(&watch->positions);
    free(watch->request.bytes);
    free(watch->pattern);
    free(watch->from);
    free(watch);
}

static void tell(struct mayfly_client *client, mayfly_on_news *on_news, void *cookie,
                 const struct mayfly_news *news)
{
    client->completed++;
    client->in_callback = true;
    on_news(cookie, news);
    client->in_callback = false;
}

// The last news. The watch is gone before they are told, so that the callback can begin the next.
static void end(struct mayfly_client *client, struct mf_watch *watch, enum mayfly_err err,
                const char *text)
{
    struct mayfly_news news = {
        .watch = watch->number, .state = MAYFLY_WATCH_ENDED, .err = err, .message = text};
    mayfly_on_news *on_news = watch->on_news;
    void *cookie = watch->cookie;
    bool dropped = watch->dropped;
    free_watch(client, watch);
    if (!dropped)
        tell(client, on_news, cookie, &news);
}

// What is forgotten is told by its own name only to who asked for it.
static void end_lost(struct mayfly_client *client, struct mf_watch *watch, const char *text)
{
    bool resuming = watch->begun || watch->told;
    end(client, watch, resuming ? MAYFLY_ERR_LOST : MAYFLY_ERR_COMPACTED, text);
}

// The shard of a watch whose keys are all in one; false: they are in any.
static bool in_one_shard(const struct mf_watch *watch, struct mf_bytes pattern)
{
    return !watch->by_prefix || mf_slot_by_tag(pattern);
}

// The number of shards is known: the positions can be made. False without memory.
static bool make_positions(struct mf_watch *watch, uint32_t shards)
{
    struct mf_bytes pattern = mf_bytes_of(watch->pattern, watch->pattern_len);
    uint32_t first = 0;
    uint32_t count = shards;
    if (in_one_shard(watch, pattern)) {
        first = mf_shard_of_key(pattern, shards);
        count = 1;
    }
    if (!mf_positions_init(&watch->positions, first, count))
        return false;
    watch->shards = shards;
    if (watch->has_from && watch->from_count == 0)
        mf_positions_begin(&watch->positions, first, watch->from_version);
    for (size_t i = 0; i < watch->from_count; i++) {
        if (mf_positions_cover(&watch->positions, watch->from[i].shard))
            mf_positions_begin(&watch->positions, watch->from[i].shard, watch->from[i].version);
    }
    return true;
}

static void ask(struct mayfly_client *client, struct mf_watch *watch)
{
    struct mf_watches *watches = client->watches;
    uint32_t shards = watches->shards;
    if (watch->positions.all == NULL && !make_positions(watch, shards)) {
        mf_positions_free(&watch->positions);
        end(client, watch, MAYFLY_ERR_OUT_OF_MEMORY, "no memory for the positions of its shards");
    } else if (watch->shards != shards) {
        end_lost(client, watch, "the cluster has another number of shards than before");
    } else if (!mf_positions_resumable(&watch->positions)) {
        end_lost(client, watch,
                 "the connection ended amid more changes of one version than can be "
                 "remembered");
    } else if (!mf_watch_pack(watch)) {
        end(client, watch, MAYFLY_ERR_OUT_OF_MEMORY, "no memory for the request");
    } else {
        watch->state = MF_WATCH_ASKED;
        watch->request.state = MF_CALL_QUEUED;
        mf_call_list_append(&client->watch_link->queue, &watch->request);
    }
}

static uint64_t backoff_us(struct mayfly_client *client, uint32_t times)
{
    uint64_t whole_us = (uint64_t)REST_MIN_US
                        << (times < REST_DOUBLINGS_MAX ? times : REST_DOUBLINGS_MAX);
    return whole_us / 2 + mf_rand_below(&client->jitter, whole_us / 2);
}

// The node is not to send any more for a watch that is gone here. Without memory for that the
// connection goes, and the others begin anew where they are.
static void end_remote(struct mayfly_client *client, uint64_t remote_id)
{
    struct mf_call *call = mf_watch_pack_end(remote_id);
    if (call == NULL) {
        mf_link_lose(client->watch_link, "no memory to end a watch");
        return;
    }
    call->state = MF_CALL_QUEUED;
    mf_call_list_append(&client->watch_link->queue, call);
    mf_loop_wake(client);
}

// Nobody wants it any more, and the node shall hear so.
static void drop(struct mayfly_client *client, struct mf_watch *watch)
{
    uint64_t remote_id = watch->remote_id;
    bool live = watch->state == MF_WATCH_LIVE;
    if (watch->state == MF_WATCH_ASKED) {
        // The answer will tell what there is to be ended.
        watch->dropped = true;
        client->watches->wanted--;
        return;
    }
    free_watch(client, watch);
    if (live)
        end_remote(client, remote_id);
}

// Past its time to begin, a watch ends with what kept it.
static void give_up(struct mayfly_client *client, struct mf_watch *watch)
{
    char tried[MF_CLIENT_TEXT_MAX / 2];
    char text[MF_CLIENT_TEXT_MAX];
    enum mayfly_err err = MAYFLY_ERR_UNREACHABLE;
    if (watch->refusals > 0)
        err = watch->refusal;
    else if (watch->state != MF_WATCH_WAITING)
        err = MAYFLY_ERR_TIMEOUT;
    mf_endpoints_describe(client->watch_link, tried, sizeof tried);
    snprintf(text, sizeof text, "the watch has not begun in time; tried %s", tried);
    struct mayfly_news news = {
        .watch = watch->number, .state = MAYFLY_WATCH_ENDED, .err = err, .message = text};
    mayfly_on_news *on_news = watch->on_news;
    void *cookie = watch->cookie;
    drop(client, watch);
    tell(client, on_news, cookie, &news);
}

void mf_client_watches_timers(struct mayfly_client *client, uint64_t now_us)
{
    struct mf_watches *watches = client->watches;
    if (watches == NULL || now_us < watches->next_us)
        return;
    watches->next_us = UINT64_MAX;
    for (uint32_t i = 0; i < MAYFLY_WATCHES_MAX; i++) {
        struct mf_watch *watch = watches->slots[i];
        if (watch == NULL || watch->dropped)
            continue;
        if (!watch->begun && watch->deadline_us <= now_us) {
            give_up(client, watch);
            continue;
        }
        if (watch->state == MF_WATCH_WAITING && watch->rest_until_us <= now_us) {
            // Without a connection the greeting of the next one asks.
            if (client->watch_link->state == MF_LINK_READY)
                ask(client, watch);
        } else if (watch->state == MF_WATCH_WAITING) {
            wake_at(watches, watch->rest_until_us);
        }
        // A watch that ends leaves its slot. NOLINTNEXTLINE(clang-analyzer-unix.Malloc)
        if (watches->slots[i] == watch && !watch->begun)
            wake_at(watches, watch->deadline_us);
    }
}

uint64_t mf_client_watches_due_us(const struct mayfly_client *client)
{
    return client->watches != NULL ? client->watches->next_us : UINT64_MAX;
}

bool mf_client_watches_wanted(const struct mayfly_client *client)
{
    return client->watches != NULL && client->watches->wanted > 0;
}

bool mf_client_watches_greeted(struct mayfly_client *client, const struct mf_hello_facts *facts)
{
    if (facts->shards == 0)
        return false;
    client->watches->shards = facts->shards;
    client->watches->next_us = 0;
    return true;
}

void mf_client_watches_let_go(struct mayfly_client *client)
{
    struct mf_watches *watches = client->watches;
    for (uint32_t i = 0; watches != NULL && i < MAYFLY_WATCHES_MAX; i++) {
        struct mf_watch *watch = watches->slots[i];
        if (watch != NULL && watch->dropped)
            free_watch(client, watch);
        else if (watch != NULL && watch->state != MF_WATCH_WAITING)
            wait_again(client, watch, 0);
    }
}

void mf_client_watches_end_all(struct mayfly_client *client, enum mayfly_err err, const char *text)
{
    struct mf_watches *watches = client->watches;
    if (watches == NULL)
        return;
    // A callback may begin another, which is not meant.
    uint64_t last = watches->generation;
    for (uint32_t i = 0; i < MAYFLY_WATCHES_MAX; i++) {
        if (watches->slots[i] != NULL && watches->slots[i]->number >> SLOT_BITS <= last)
            end(client, watches->slots[i], err, text);
    }
}

static void take_refusal(struct mayfly_client *client, struct mf_watch *watch, enum mayfly_err err,
                         const char *text)
{
    struct mf_link *link = client->watch_link;
    // Another node may remember more.
    bool elsewhere = err == MAYFLY_ERR_COMPACTED && ++watch->compacted < link->endpoint_count;
    if (err == MAYFLY_ERR_COMPACTED && !elsewhere) {
        end_lost(client, watch, text);
        return;
    }
    if (!elsewhere && !mf_err_is_retried(err)) {
        end(client, watch, err, text);
        return;
    }
    watch->refusal = err;
    wait_again(client, watch, client->clock_us() + backoff_us(client, watch->refusals++));
    if (err != MAYFLY_ERR_BUSY)
        mf_link_lose(link, text);
}

void mf_client_watches_answer(struct mayfly_client *client, uint32_t msgid, enum mayfly_err err,
                              const char *text, const struct mayfly_value *value)
{
    struct mf_watches *watches = client->watches;
    uint32_t slot = msgid & ((1u << SLOT_BITS) - 1);
    struct mf_watch *watch = slot < MAYFLY_WATCHES_MAX ? watches->slots[slot] : NULL;
    if (watch == NULL || watch->state != MF_WATCH_ASKED || watch->request.state != MF_CALL_FREE)
        return;
    if (err == MAYFLY_OK && (value->type != MAYFLY_TYPE_INT || value->integer < 0 ||
                             find_live(watches, (uint64_t)value->integer) != NULL)) {
        mf_link_lose(client->watch_link, "watch was answered with something else");
        return;
    }
    if (err != MAYFLY_OK && watch->dropped) {
        free_watch(client, watch);
    } else if (err != MAYFLY_OK) {
        take_refusal(client, watch, err, text);
    } else if (watch->dropped) {
        free_watch(client, watch);
        end_remote(client, (uint64_t)value->integer);
    } else {
        watch->state = MF_WATCH_LIVE;
        watch->remote_id = (uint64_t)value->integer;
        watch->compacted = 0;
        watch->next = *bucket_of(watches, watch->remote_id);
        *bucket_of(watches, watch->remote_id) = watch;
    }
}

static void take_change(struct mayfly_client *client, struct mf_watch *watch,
                        const struct mf_watch_news *change)
{
    uint32_t shard = mf_shard_of_key(change->key, client->watches->shards);
    enum mf_position_verdict verdict = MF_POSITION_FAULT;
    if (mf_positions_cover(&watch->positions, shard))
        verdict = mf_positions_event(&watch->positions, shard, change->version, change->key);
    if (verdict == MF_POSITION_TOLD)
        return;
    if (verdict == MF_POSITION_FAULT) {
        uint64_t remote_id = watch->remote_id;
        end(client, watch, MAYFLY_ERR_PROTOCOL, "a change came out of its order");
        end_remote(client, remote_id);
        return;
    }
    watch->told = true;
    watch->refusals = 0;
    struct mayfly_news news = {.watch = watch->number,
                               .state = MAYFLY_WATCH_EVENT,
                               .change = change->change,
                               .key = {change->key.data, change->key.len},
                               .value = {change->value.data, change->value.len},
                               .version = change->version,
                               .shard = shard,
                               .message = ""};
    tell(client, watch->on_news, watch->cookie, &news);
}

// False when it is not what the protocol has.
static bool take_progress(struct mayfly_client *client, struct mf_watch *watch,
                          struct mf_watch_news *progress)
{
    for (uint32_t i = 0; i < progress->count; i++) {
        struct mf_msgpack_token shard, version;
        if (mf_msgpack_next(&progress->rest, &shard) != MF_OK || shard.type != MF_MP_UINT ||
            mf_msgpack_next(&progress->rest, &version) != MF_OK || version.type != MF_MP_UINT ||
            shard.uinteger > UINT32_MAX ||
            !mf_positions_cover(&watch->positions, (uint32_t)shard.uinteger))
            return false;
        (void)mf_positions_progress(&watch->positions, (uint32_t)shard.uinteger, version.uinteger);
    }
    watch->refusals = 0;
    // A shard's first progress comes behind the older changes that were asked for.
    if (watch->begun || watch->positions.reached < watch->positions.count)
        return true;
    watch->begun = true;
    struct mayfly_news news = {.watch = watch->number, .state = MAYFLY_WATCH_BEGUN, .message = ""};
    tell(client, watch->on_news, watch->cookie, &news);
    return true;
}

bool mf_client_watches_news(struct mayfly_client *client, struct mf_msgpack_in *in)
{
    struct mf_watches *watches = client->watches;
    struct mf_watch_news news;
    enum mf_news_kind kind = mf_watch_read_news(in, &news);
    if (kind == MF_NEWS_NONE || kind == MF_NEWS_BROKEN)
        return kind == MF_NEWS_NONE;
    struct mf_watch *watch = find_live(watches, news.remote_id);
    if (watch == NULL)
        return true; // it was ended here, which the node does not know yet
    client->watch_link->failures = 0;
    if (kind == MF_NEWS_CHANGE)
        take_change(client, watch, &news);
    else if (kind == MF_NEWS_PROGRESS)
        return take_progress(client, watch, &news);
    else
        wait_again(client, watch, client->clock_us() + backoff_us(client, watch->refusals++));
    return true;
}

static enum mayfly_err check_want(struct mayfly_client *client,
                                  const struct mayfly_watch_want *want)
{
    if (client->closing)
        return mf_client_refuse(client, MAYFLY_ERR_CANCELLED, "the client is being freed");
    if (want->key.len == 0 && !want->by_prefix)
        return mf_client_refuse(client, MAYFLY_ERR_BAD_REQUEST, "watch: the key is empty");
    if (want->key.len > PATTERN_BYTES_MAX)
        return mf_client_refuse(client, MAYFLY_ERR_TOO_LARGE, "watch: the key is over 16 MiB");
    if ((want->changes & ~MF_EVENTS_ALL) != 0)
        return mf_client_refuse(client, MAYFLY_ERR_BAD_REQUEST, "watch: changes are %#x",
                                want->changes);
    if (!want->has_from && (want->from_version != 0 || want->from_count != 0))
        return mf_client_refuse(client, MAYFLY_ERR_BAD_REQUEST,
                                "watch: versions are given without has_from");
    if (want->from_count > MF_SLOT_COUNT || (want->from_version != 0 && want->from_count != 0))
        return mf_client_refuse(client, MAYFLY_ERR_BAD_REQUEST,
                                "watch: expected one version, or those of up to %u shards",
                                MF_SLOT_COUNT);
    if (want->has_from && want->from_count == 0 && want->by_prefix &&
        !mf_slot_by_tag(mf_bytes_of(want->key.data, want->key.len)))
        return mf_client_refuse(client, MAYFLY_ERR_BAD_REQUEST,
                                "watch: one version is for a key, or a prefix with a whole {tag}");
    return MAYFLY_OK;
}

// The table and the connection, when they are first needed.
static bool make_watches(struct mayfly_client *client)
{
    if (client->watches == NULL) {
        client->watches = calloc(1, sizeof *client->watches);
        if (client->watches == NULL)
            return false;
        client->watches->next_us = UINT64_MAX;
    }
    if (client->watch_link == NULL) {
        char why[MF_CLIENT_TEXT_MAX];
        client->watch_link = mf_link_new(client, client->endpoints, why, sizeof why);
        if (client->watch_link == NULL)
            return false;
        client->links[1] = client->watch_link;
        mf_route_watch_begins(client);
    }
    return true;
}

static struct mf_watch *copy_want(const struct mayfly_watch_want *want)
{
    struct mf_watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL)
        return NULL;
    *watch = (struct mf_watch){
        .has_from = want->has_from,
        .by_prefix = want->by_prefix,
        .changes = (uint8_t)(want->changes != 0 ? want->changes : MF_EVENTS_ALL),
        .from_version = want->from_version,
        .from_count = want->from_count,
        .pattern_len = want->key.len,
        .request.own = true,
    };
    watch->pattern = malloc(want->key.len + 1);
    watch->from = calloc(want->from_count + 1, sizeof watch->from[0]);
    if (watch->pattern == NULL || watch->from == NULL) {
        free(watch->pattern);
        free(watch->from);
        free(watch);
        return NULL;
    }
    if (want->key.len > 0)
        memcpy(watch->pattern, want->key.data, want->key.len);
    if (want->from_count > 0)
        memcpy(watch->from, want->from, want->from_count * sizeof watch->from[0]);
    return watch;
}

enum mayfly_err mayfly_watch(struct mayfly_client *client, const struct mayfly_watch_want *want,
                             mayfly_on_news *on_news, void *cookie, uint64_t *number)
{
    enum mayfly_err err = check_want(client, want);
    if (err != MAYFLY_OK)
        return err;
    struct mf_watch *watch = make_watches(client) ? copy_want(want) : NULL;
    if (watch == NULL)
        return mf_client_refuse(client, MAYFLY_ERR_OUT_OF_MEMORY, "watch: no memory for it");
    struct mf_watches *watches = client->watches;
    uint32_t slot = 0;
    while (slot < MAYFLY_WATCHES_MAX && watches->slots[slot] != NULL)
        slot++;
    if (slot == MAYFLY_WATCHES_MAX) {
        free(watch->pattern);
        free(watch->from);
        free(watch);
        return mf_client_refuse(client, MAYFLY_ERR_WINDOW_FULL, "%d watches are there already",
                                MAYFLY_WATCHES_MAX);
    }
    watch->slot = slot;
    watch->number = ++watches->generation << SLOT_BITS | slot;
    watch->on_news = on_news;
    watch->cookie = cookie;
    watch->deadline_us = client->clock_us() + (uint64_t)client->timeout_ms * 1000;
    watches->slots[slot] = watch;
    watches->used++;
    watches->wanted++;
    watches->next_us = 0;
    *number = watch->number;
    mf_loop_wake(client);
    return MAYFLY_OK;
}

bool mayfly_unwatch(struct mayfly_client *client, uint64_t number)
{
    struct mf_watches *watches = client->watches;
    uint32_t slot = (uint32_t)(number & ((1u << SLOT_BITS) - 1));
    struct mf_watch *watch =
        watches != NULL && slot < MAYFLY_WATCHES_MAX ? watches->slots[slot] : NULL;
    if (watch == NULL || watch->number != number || watch->dropped)
        return false;
    drop(client, watch);
    return true;
}

void mf_client_watches_free(struct mayfly_client *client)
{
    mf_client_watches_end_all(client, MAYFLY_ERR_CANCELLED, "");
    free(client->watches);
    client->watches = NULL;
}
