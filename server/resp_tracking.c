// CLIENT TRACKING: clients that keep what they have read are told when it has changed.
//
// What may change is watched (watch.h): all keys, once for all connections of a reactor that track
// what they read, or those with the prefixes of a BCAST, of each connection. The keys that are read
// go into the reactor's table (resp_track_table.h) before they are read: so no change of what was
// told goes unnoticed. A key that was told is forgotten, and so is one that the table has no room
// for, which is told first. Where a watch was lost, and when it has begun anew, the client is told
// that everything may have changed.
//
// Telling too much is harmless, telling too little leaves an old value with a client for ever. What
// is told while replies are due is told again behind them (resp_track_again.h).
#include "server/resp_track.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/event.h"
#include "base/hash.h"
#include "server/watch.h"

// Of the table's bound, in one read and in one tick.
#define READ_TRIM_STEPS 256u
#define TICK_TRIM_STEPS 16384u
#define NEARLY_ALL_READ_BYTES (64u << 10)

// Something that is watched. It begins again where it was lost.
struct source {
    struct mf_reactor *reactor;
    struct mf_resp_tracking *of; // of BCAST; NULL: of all that read
    struct mf_bytes text;
    bool watching; // under `watch`
    uint64_t watch;
    bool running; // and it has begun
    bool lost;
};

struct mf_resp_track_prefix {
    struct mf_resp_track_prefix *next;
    struct source source;
    struct mf_buf text;
    bool settled; // it has begun, or could not
    bool fresh;   // of a CLIENT TRACKING ON that has not been answered
};

struct mf_resp_trackers {
    struct mf_resp_tracking *first;
    uint32_t readers; // of them, without BCAST
    struct source reads;
    struct mf_resp_track_table *table;    // NULL: no readers
    struct mf_resp_track_table *prefixes; // who wants which; for a figure
};

static struct mf_resp_trackers *trackers_of(struct mf_reactor *reactor)
{
    struct mf_resp_door *door = reactor->resp;
    if (door->trackers == NULL) {
        door->trackers = mf_calloc(1, sizeof(*door->trackers));
        door->trackers->reads.reactor = reactor;
        door->trackers->prefixes = mf_resp_track_table_new(mf_rand_next(&reactor->rand));
    }
    return door->trackers;
}

void mf_resp_trackers_free(struct mf_resp_trackers *trackers)
{
    if (trackers != NULL)
        mf_resp_track_table_free(trackers->prefixes);
    free(trackers);
}

// Relaxed: figures.
static void publish_size(struct mf_reactor *reactor)
{
    const struct mf_resp_trackers *trackers = reactor->resp->trackers;
    struct mf_resp_track_size size = {0};
    if (trackers->table != NULL)
        size = mf_resp_track_table_size(trackers->table);
    struct mf_reactor_counters *counters = &reactor->counters;
    atomic_store_explicit(&counters->tracked_keys, size.keys, memory_order_relaxed);
    atomic_store_explicit(&counters->tracked_items, size.items, memory_order_relaxed);
    atomic_store_explicit(&counters->tracked_bytes, size.bytes, memory_order_relaxed);
    size = mf_resp_track_table_size(trackers->prefixes);
    atomic_store_explicit(&counters->tracked_prefixes, size.keys, memory_order_relaxed);
}

// Telling.

static void put_broken(void *arg)
{
    struct mf_resp_tracking *tracking = arg;
    struct mf_resp_session *session = tracking->session;
    if (session->version != 3)
        return; // the client has seen its other connection close
    struct mf_buf *out = mf_conn_output(session->client.conn);
    mf_resp_push(out, 3, 2);
    mf_resp_bulk_str(out, "tracking-redir-broken");
    mf_resp_int(out, (int64_t)mf_resp_track_to_id(tracking->options.to));
    mf_conn_wrote(session->client.conn);
}

// Replies that were asked for may be long on their way; words come by themselves.
static void put_here(struct mf_resp_session *session, const struct mf_bytes *key)
{
    struct mf_conn *conn = session->client.conn;
    if (mf_conn_unsent_bytes(conn) <= NEARLY_ALL_READ_BYTES)
        session->words_bytes = 0;
    struct mf_buf *out = mf_conn_output(conn);
    size_t before = out->len;
    (void)mf_resp_track_put(session, key);
    session->words_bytes += out->len - before;
    if (session->words_bytes > MF_RESP_TRACK_UNSENT_BYTES_MAX)
        mf_conn_close(conn, "it does not read what is tracked for it");
}

// key NULL: everything.
static void put(void *arg, const struct mf_bytes *key)
{
    struct mf_resp_tracking *tracking = arg;
    struct mf_resp_session *session = tracking->session;
    if (tracking->options.to == NULL) {
        put_here(session, key);
    } else {
        // Replies with older values are on their way before the word is.
        mf_conn_flush(session->client.conn);
        mf_resp_track_to_tell(session->client.reactor, tracking->options.to, key);
    }
}

static void tell(struct mf_resp_tracking *tracking, const struct mf_bytes *key)
{
    struct mf_resp_session *session = tracking->session;
    uint64_t due =
        tracking->noting > session->calls_begun ? tracking->noting : session->calls_begun;
    put(tracking, key);
    mf_resp_again_add(&tracking->again, key, due, session->calls_sent);
}

void mf_resp_tracking_sent(struct mf_resp_session *session)
{
    mf_resp_again_tell(&session->tracking->again, session->calls_sent, put, session->tracking);
}

static struct mf_resp_tracking *of_reader(struct mf_resp_reader *reader)
{
    return (struct mf_resp_tracking *)((char *)reader - offsetof(struct mf_resp_tracking, reader));
}

static void tell_reader(void *arg, struct mf_resp_reader *reader, struct mf_bytes key)
{
    (void)arg;
    tell(of_reader(reader), &key);
}

static uint64_t hash_of(const struct mf_resp_tracking *tracking, struct mf_bytes key)
{
    return mf_hash64(key, tracking->session->client.reactor->node->incarnation);
}

// False: it is its own change, or may turn out to be.
static bool tell_change(struct mf_resp_tracking *tracking, const struct mf_event *event)
{
    if (tracking->own != NULL && event->event == MF_EVENT_SET &&
        mf_resp_own_changed(tracking->own, hash_of(tracking, event->key), event->version,
                            event->key))
        return false;
    tell(tracking, &event->key);
    return true;
}

// It goes on to keep what it has written itself, and so has to hear of the next change.
static bool change_reader(void *arg, struct mf_resp_reader *reader, struct mf_bytes key)
{
    (void)key;
    return !tell_change(of_reader(reader), arg);
}

static void tell_held(void *arg, struct mf_bytes key)
{
    tell(arg, &key);
}

uint32_t mf_resp_tracking_write(struct mf_resp_session *session, const struct mf_command *command)
{
    struct mf_resp_tracking *tracking = session->tracking;
    if (tracking->own == NULL || command->op != MF_OP_SET)
        return 0;
    return mf_resp_own_begin(tracking->own, hash_of(tracking, command->items[0].key));
}

void mf_resp_tracking_written(struct mf_resp_session *session, uint32_t write,
                              const struct mf_result *result)
{
    struct mf_resp_tracking *tracking = session->tracking;
    if (tracking == NULL || tracking->own == NULL || session->client.conn == NULL)
        return;
    mf_resp_own_end(tracking->own, write, result->kind == MF_RESULT_WRITTEN ? result->version : 0,
                    tell_held, tracking);
}

// Those who hear of the source are told that everything may have changed. What they have read stays
// in the table: it may have been read since.
static void tell_all(struct source *source)
{
    struct mf_resp_tracking *at = source->of;
    if (at != NULL) {
        tell(at, NULL);
        return;
    }
    for (at = source->reactor->resp->trackers->first; at != NULL; at = at->next) {
        if (!at->options.broadcast && at->settled)
            tell(at, NULL);
    }
}

static void trim(struct mf_reactor *reactor, uint32_t steps)
{
    const struct mf_node *node = reactor->node;
    int64_t most =
        atomic_load_explicit(&node->resp_settings.tracking_table_max_keys, memory_order_relaxed);
    if (most == 0)
        return; // no bound
    uint64_t share = (uint64_t)most / node->reactor_count;
    mf_resp_track_trim(reactor->resp->trackers->table, share > 0 ? share : 1, steps, tell_reader,
                       NULL);
}

// Watching.

static bool on_event(void *arg, uint64_t id, const struct mf_event *event)
{
    (void)id;
    struct source *source = arg;
    if (source->of != NULL) {
        (void)tell_change(source->of, event);
        return true;
    }
    struct mf_event change = *event;
    mf_resp_track_change(source->reactor->resp->trackers->table, event->key, change_reader,
                         &change);
    publish_size(source->reactor);
    return true;
}

static void on_lost(void *arg, uint64_t id)
{
    (void)id;
    struct source *source = arg;
    source->watching = false;
    source->running = false;
    source->lost = true;
    tell_all(source);
}

static void settle(struct mf_resp_tracking *tracking);

static void on_begun(void *arg, uint64_t id, enum mf_err err, const char *message)
{
    (void)id;
    (void)message;
    struct source *source = arg;
    bool again = source->lost;
    source->watching = err == MF_OK;
    source->running = err == MF_OK;
    source->lost = err != MF_OK; // tried once more, where anybody still wants it
    if (again && err == MF_OK)
        tell_all(source); // of what has changed in between
    if (source->of != NULL) {
        struct mf_resp_track_prefix *prefix =
            (struct mf_resp_track_prefix *)((char *)source -
                                            offsetof(struct mf_resp_track_prefix, source));
        if (!prefix->settled && err != MF_OK)
            source->of->err = err;
        prefix->settled = true;
        settle(source->of);
        return;
    }
    struct mf_resp_tracking *next;
    for (struct mf_resp_tracking *at = source->reactor->resp->trackers->first; at != NULL;
         at = next) {
        next = at->next;
        if (at->options.broadcast || at->settled)
            continue;
        at->err = err;
        at->settled = true;
        settle(at);
    }
}

static const struct mf_watch_sink sink = {.begun = on_begun, .event = on_event, .lost = on_lost};

// lost stays, for what is told when it has begun.
static void begin_watch(struct source *source)
{
    const struct mf_watch_want want = {
        .events = MF_EVENTS_ALL, .by_prefix = true, .pattern = source->text};
    source->watching = true;
    source->watch = mf_watch_begin(source->reactor, &want, &sink, source);
}

static void end_watch(struct source *source)
{
    if (source->watching)
        mf_watch_end(source->reactor, source->watch, source);
    source->watching = false;
    source->running = false;
    source->lost = false;
}

static void retry(struct source *source)
{
    if (!source->lost)
        return;
    // What BCAST asks for may have changed all the time.
    if (source->of != NULL)
        tell_all(source);
    if (!source->watching)
        begin_watch(source);
}

void mf_resp_tracking_tick(struct mf_reactor *reactor)
{
    struct mf_resp_trackers *trackers = reactor->resp->trackers;
    if (trackers == NULL)
        return;
    retry(&trackers->reads);
    for (struct mf_resp_tracking *at = trackers->first; at != NULL; at = at->next) {
        for (struct mf_resp_track_prefix *prefix = at->prefixes; prefix != NULL;
             prefix = prefix->next)
            retry(&prefix->source);
    }
    if (trackers->table == NULL)
        return;
    trim(reactor, TICK_TRIM_STEPS);
    publish_size(reactor);
}

// Prefixes.

bool mf_resp_tracking_next_prefix(const struct mf_resp_tracking *tracking,
                                  const struct mf_resp_track_prefix **at, struct mf_bytes *text)
{
    *at = *at == NULL ? tracking->prefixes : (*at)->next;
    if (*at != NULL)
        *text = mf_buf_view(&(*at)->text);
    return *at != NULL;
}

// They are in order: the empty one is the first.
static bool tracks_all(const struct mf_resp_tracking *tracking)
{
    return tracking->prefixes != NULL && tracking->prefixes->text.len == 0;
}

static void add_prefix(struct mf_resp_tracking *tracking, struct mf_bytes text)
{
    struct mf_resp_track_prefix **at = &tracking->prefixes;
    while (*at != NULL && mf_bytes_compare(mf_buf_view(&(*at)->text), text) < 0)
        at = &(*at)->next;
    struct mf_resp_track_prefix *prefix = mf_calloc(1, sizeof(*prefix));
    prefix->next = *at;
    *at = prefix;
    mf_buf_put(&prefix->text, text.data, text.len);
    prefix->fresh = true;
    prefix->source = (struct source){.reactor = tracking->session->client.reactor,
                                     .of = tracking,
                                     .text = mf_buf_view(&prefix->text)};
    tracking->prefix_count++;
    tracking->prefix_bytes += text.len;
    mf_resp_track_add(prefix->source.reactor->resp->trackers->prefixes, &tracking->reader, text);
    publish_size(prefix->source.reactor);
    begin_watch(&prefix->source);
}

static void drop_prefix(struct mf_resp_tracking *tracking, struct mf_resp_track_prefix **at)
{
    struct mf_resp_track_prefix *gone = *at;
    *at = gone->next;
    end_watch(&gone->source);
    tracking->prefix_count--;
    tracking->prefix_bytes -= gone->text.len;
    mf_resp_track_remove(gone->source.reactor->resp->trackers->prefixes, &tracking->reader,
                         mf_buf_view(&gone->text));
    publish_size(gone->source.reactor);
    mf_buf_free(&gone->text);
    free(gone);
}

// Beginning and ending.

// One that reads: from now on what it reads is in the table.
static void join_readers(struct mf_resp_tracking *tracking)
{
    struct mf_reactor *reactor = tracking->session->client.reactor;
    struct mf_resp_trackers *trackers = reactor->resp->trackers;
    if (trackers->readers++ == 0)
        trackers->table = mf_resp_track_table_new(mf_rand_next(&reactor->rand));
    if (!trackers->reads.watching)
        begin_watch(&trackers->reads);
    tracking->settled = trackers->reads.running;
}

static void leave_readers(struct mf_resp_tracking *tracking)
{
    struct mf_reactor *reactor = tracking->session->client.reactor;
    struct mf_resp_trackers *trackers = reactor->resp->trackers;
    mf_resp_track_forget(trackers->table, &tracking->reader);
    if (--trackers->readers == 0) {
        end_watch(&trackers->reads);
        mf_resp_track_table_free(trackers->table);
        trackers->table = NULL;
    }
    publish_size(reactor);
}

static struct mf_resp_tracking *join(struct mf_resp_session *session)
{
    struct mf_resp_trackers *trackers = trackers_of(session->client.reactor);
    struct mf_resp_tracking *tracking = mf_calloc(1, sizeof(*tracking));
    tracking->session = session;
    tracking->at = &trackers->first;
    tracking->next = trackers->first;
    if (tracking->next != NULL)
        tracking->next->at = &tracking->next;
    trackers->first = tracking;
    session->tracking = tracking;
    atomic_fetch_add_explicit(&session->client.reactor->node->resp_trackers, 1,
                              memory_order_relaxed);
    return tracking;
}

static void end_redirect(struct mf_resp_session *session, struct mf_resp_track_to *to)
{
    if (to != NULL)
        mf_resp_track_to_end(session->client.reactor, to);
}

// Takes over what is wanted. What went to a connection that is gone may have been missed.
static void adopt(struct mf_resp_tracking *tracking)
{
    struct mf_resp_track_to *before = tracking->options.to;
    bool missed = before != NULL && mf_resp_track_to_is_broken(before);
    tracking->options = tracking->wanted;
    tracking->wanted.to = NULL;
    if (tracking->own != NULL)
        mf_resp_own_free(tracking->own); // nothing is under way, or held
    tracking->own = tracking->options.no_loop ? mf_calloc(1, sizeof(*tracking->own)) : NULL;
    end_redirect(tracking->session, before);
    if (tracking->options.to != NULL)
        mf_resp_track_to_join(tracking->options.to, put_broken, tracking);
    if (missed)
        put(tracking, NULL); // no reads are under way
}

static void reply(struct mf_resp_session *session, struct mf_resp_call *call, enum mf_err err)
{
    session->held = false;
    struct mf_buf *out = mf_resp_call_reply(call);
    if (err == MF_OK)
        mf_resp_status(out, "OK");
    else
        mf_resp_tell_error(out, err, NULL);
    mf_resp_call_end(call);
}

static bool is_settled(const struct mf_resp_tracking *tracking)
{
    if (!tracking->wanted.broadcast)
        return tracking->settled;
    const struct mf_resp_track_prefix *at = tracking->prefixes;
    while (at != NULL && at->settled)
        at = at->next;
    return at == NULL;
}

// Answers the CLIENT TRACKING ON when all that it needs is watched. If that failed, what it has
// brought goes, and what was tracked before stays.
static void settle(struct mf_resp_tracking *tracking)
{
    struct mf_resp_session *session = tracking->session;
    struct mf_resp_call *call = tracking->call;
    enum mf_err err = tracking->err;
    if (call == NULL || !is_settled(tracking))
        return;
    for (struct mf_resp_track_prefix **at = &tracking->prefixes; *at != NULL;) {
        if (err != MF_OK && (*at)->fresh) {
            drop_prefix(tracking, at);
            continue;
        }
        (*at)->fresh = false;
        at = &(*at)->next;
    }
    tracking->call = NULL;
    if (err == MF_OK && !tracking->fresh)
        adopt(tracking);
    end_redirect(session, tracking->wanted.to);
    tracking->wanted.to = NULL;
    if (err != MF_OK && tracking->fresh)
        mf_resp_tracking_no_more(session);
    else
        tracking->fresh = false;
    reply(session, call, err);
}

void mf_resp_tracking_begin(struct mf_resp_session *session, struct mf_resp_call *call,
                            const struct mf_resp_track_options *wanted, struct mf_bytes prefixes)
{
    bool fresh = session->tracking == NULL;
    struct mf_resp_tracking *tracking = fresh ? join(session) : session->tracking;
    tracking->wanted = *wanted;
    tracking->fresh = fresh;
    tracking->err = MF_OK;
    tracking->call = call;
    if (fresh)
        adopt(tracking);
    struct mf_reader texts = mf_reader_of(prefixes);
    while (mf_reader_left(&texts) > 0)
        add_prefix(tracking, mf_read_blob(&texts));
    if (wanted->broadcast && prefixes.len == 0 && !tracks_all(tracking))
        add_prefix(tracking, mf_bytes_of("", 0));
    if (fresh && !wanted->broadcast)
        join_readers(tracking);
    settle(tracking); // if nothing is to be waited for
}

void mf_resp_tracking_no_more(struct mf_resp_session *session)
{
    struct mf_resp_tracking *tracking = session->tracking;
    if (tracking == NULL)
        return;
    *tracking->at = tracking->next;
    if (tracking->next != NULL)
        tracking->next->at = tracking->at;
    while (tracking->prefixes != NULL)
        drop_prefix(tracking, &tracking->prefixes);
    if (!tracking->options.broadcast)
        leave_readers(tracking);
    // Relaxed: a figure.
    atomic_fetch_sub_explicit(&session->client.reactor->node->resp_trackers, 1,
                              memory_order_relaxed);
    struct mf_resp_call *call = tracking->call;
    session->tracking = NULL;
    end_redirect(session, tracking->options.to);
    end_redirect(session, tracking->wanted.to);
    mf_resp_again_free(&tracking->again);
    if (tracking->own != NULL)
        mf_resp_own_free(tracking->own);
    free(tracking);
    if (call == NULL)
        return;
    session->held = false;
    mf_resp_error(mf_resp_call_reply(call), "ERR tracking was ended before it had begun");
    mf_resp_call_end(call);
}

// What a request reads, and what CLIENT CACHING has said of it.

static bool is_tracked(const struct mf_resp_tracking *tracking)
{
    if (tracking->options.broadcast)
        return false;
    return tracking->options.opt_in ? tracking->caching == MF_RESP_CACHING_YES
                                    : tracking->caching != MF_RESP_CACHING_NO;
}

// Keys that the call with this number reads. It may be one of them that there is no room for.
static void remember(struct mf_resp_session *session, struct mf_bytes key, uint64_t call)
{
    struct mf_reactor *reactor = session->client.reactor;
    struct mf_resp_tracking *tracking = session->tracking;
    struct mf_resp_trackers *trackers = reactor->resp->trackers;
    tracking->noting = call;
    mf_resp_track_add(trackers->table, &tracking->reader, key);
    trim(reactor, READ_TRIM_STEPS);
    // Nobody would tell of its next change: it is told behind its own reply.
    if (!trackers->reads.running)
        tell(tracking, &key);
    publish_size(reactor);
    tracking->noting = 0;
}

void mf_resp_tracking_note(struct mf_resp_session *session, struct mf_buf *queued)
{
    const struct mf_resp_row *row = session->ask.row;
    if ((row->flags & MF_RESP_READ) == 0 || row->first_key == 0 || !is_tracked(session->tracking))
        return;
    uint32_t count = mf_resp_words(session);
    uint32_t last = row->last_key < 0 ? count - 1 : (uint32_t)row->last_key;
    for (uint32_t i = (uint32_t)row->first_key; i <= last && i < count;
         i += (uint32_t)row->key_step) {
        if (queued != NULL)
            mf_buf_blob(queued, mf_resp_word(session, i));
        else
            remember(session, mf_resp_word(session, i), session->calls_begun + 1);
    }
}

void mf_resp_tracking_exec(struct mf_resp_session *session, const struct mf_buf *queued)
{
    struct mf_reader keys = mf_reader_of(mf_buf_view(queued));
    while (mf_reader_left(&keys) > 0)
        remember(session, mf_read_blob(&keys), session->calls_begun);
}

// As in Redis: the commands of CLIENT do not count, and a transaction is one.
void mf_resp_tracking_done(struct mf_resp_session *session)
{
    const struct mf_resp_row *row = session->ask.row;
    bool about_clients = row != NULL && strncmp(row->name, "client|", 7) == 0;
    if (!about_clients && !mf_resp_in_multi(session))
        session->tracking->caching = MF_RESP_CACHING_UNSAID;
}
