// SUBSCRIBE and its like: what happens to keys, on the channels of Redis's keyspace events.
//
//     __keyspace@0__:KEY     the event's name      set, del, expired, evicted
//     __keyevent@0__:EVENT   the key
//
// A subscription that could hear of such a channel is a watch (watch.h): of one key, of the keys
// with the literal start of a pattern, or of all. It is confirmed when the watch has begun, so no
// change that is asked for later is missed; what comes before its turn to be confirmed waits.
// CONFIG SET notify-keyspace-events says which of them are told by this node; all are, until then.
// Nothing is left out silently: where a watch is lost, so is the connection. What clients publish
// comes by another way (resp_publish.c), on any channel, and may be missed.
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/event.h"
#include "base/glob.h"
#include "base/slots.h"
#include "server/resp_internal.h"
#include "server/watch.h"

#define KEYSPACE "__keyspace@0__:"
#define KEYEVENT "__keyevent@0__:"
#define KEYSPACE_LEN (sizeof(KEYSPACE) - 1)
#define KEYEVENT_LEN (sizeof(KEYEVENT) - 1)
// As for the watches of MessagePack-RPC.
// Of a connection together: every event is matched against each pattern, and a name is looked for
// among all.
#define NAMES_BYTES_MAX (256u * 1024)
#define PATTERNS_BYTES_MAX (4u * 1024)
#define UNSENT_BYTES_MAX (12u << 20)
#define HELD_BYTES_MAX (1u << 20)

static const char *const event_names[MF_EVENTS] = {[MF_EVENT_SET] = "set",
                                                   [MF_EVENT_DEL] = "del",
                                                   [MF_EVENT_EXPIRE] = "expired",
                                                   [MF_EVENT_EVICT] = "evicted"};
// Which letter of notify-keyspace-events means them.
static const uint32_t event_kinds[MF_EVENTS] = {[MF_EVENT_SET] = MF_NOTIFY_STRING,
                                                [MF_EVENT_DEL] = MF_NOTIFY_GENERIC,
                                                [MF_EVENT_EXPIRE] = MF_NOTIFY_EXPIRED,
                                                [MF_EVENT_EVICT] = MF_NOTIFY_EVICTED};

struct subscription {
    struct subscription *next;
    struct mf_resp_session *session;
    struct mf_resp_name heard;
    bool watching;  // the watch is there ...
    uint64_t watch; // ... under this id
    bool begun;     // or needs none, or could not
    bool confirmed;
    enum mf_err err;    // why it could not
    struct mf_buf held; // events before it is confirmed
};

struct mf_resp_listener {
    struct subscription *first; // the oldest
    uint32_t channels;
    uint32_t patterns;
    size_t channel_bytes;
    size_t pattern_bytes;
    // Of the SUBSCRIBE that is under way: what it names, of which the first `told` are confirmed.
    struct mf_resp_call *call;
    struct subscription **named;
    uint32_t named_count;
    uint32_t told;
};

static uint32_t count_all(const struct mf_resp_listener *listener)
{
    return listener->channels + listener->patterns;
}

bool mf_resp_is_listening(const struct mf_resp_session *session)
{
    return session->listener != NULL && count_all(session->listener) > 0;
}

bool mf_resp_has_confirmed(const struct mf_resp_session *session)
{
    if (session->listener == NULL)
        return false;
    const struct subscription *at = session->listener->first;
    while (at != NULL && !at->confirmed)
        at = at->next;
    return at != NULL;
}

void mf_resp_keep(struct mf_resp_session *session)
{
    mf_conn_keep(session->client.conn, session->monitoring || mf_resp_is_listening(session));
}

void mf_resp_listening_to(const struct mf_resp_session *session, uint32_t *channels,
                          uint32_t *patterns)
{
    *channels = session->listener != NULL ? session->listener->channels : 0;
    *patterns = session->listener != NULL ? session->listener->patterns : 0;
}

// What a subscription has to watch.

// How much of a pattern stands for itself.
static size_t literal_len(struct mf_bytes pattern)
{
    size_t len = 0;
    while (len < pattern.len && strchr("*?[\\", pattern.data[len]) == NULL)
        len++;
    return len;
}

static bool starts(struct mf_bytes name, const char *with, size_t len)
{
    return name.len >= len && memcmp(name.data, with, len) == 0;
}

static uint32_t events_named(const struct subscription *of, struct mf_bytes name)
{
    uint32_t events = 0;
    for (unsigned i = 0; i < MF_EVENTS; i++) {
        char channel[KEYEVENT_LEN + 16] = KEYEVENT;
        strcpy(channel + KEYEVENT_LEN, event_names[i]);
        struct mf_bytes full = mf_bytes_str(channel);
        bool fits = of->heard.glob != NULL ? mf_glob_matches(of->heard.glob, full)
                                           : mf_bytes_equal(full, name);
        events |= fits ? 1u << i : 0;
    }
    return events;
}

// False: it can never hear of anything.
static bool find_want(const struct subscription *of, struct mf_watch_want *want)
{
    struct mf_bytes name = mf_buf_view(&of->heard.text);
    size_t literal = of->heard.glob != NULL ? literal_len(name) : name.len;
    struct mf_bytes start = mf_bytes_of(name.data, literal);
    *want = (struct mf_watch_want){.events = MF_EVENTS_ALL, .by_prefix = true};
    if (starts(start, KEYSPACE, KEYSPACE_LEN)) {
        want->by_prefix = of->heard.glob != NULL;
        want->pattern = mf_bytes_of(start.data + KEYSPACE_LEN, start.len - KEYSPACE_LEN);
        want->one_shard = !want->by_prefix || mf_slot_by_tag(want->pattern);
        return want->by_prefix || want->pattern.len > 0;
    }
    if (starts(start, KEYEVENT, KEYEVENT_LEN)) {
        want->events = events_named(of, name);
        return want->events != 0;
    }
    // Of a pattern that is still open which it means, both.
    return of->heard.glob != NULL &&
           (starts(mf_bytes_str(KEYSPACE), (const char *)start.data, literal) ||
            starts(mf_bytes_str(KEYEVENT), (const char *)start.data, literal));
}

// Telling.

static void put_message(struct mf_buf *out, const struct subscription *of, struct mf_bytes channel,
                        struct mf_bytes payload)
{
    unsigned version = of->session->version;
    mf_resp_push(out, version, of->heard.glob != NULL ? 4 : 3);
    mf_resp_bulk_str(out, of->heard.glob != NULL ? "pmessage" : "message");
    if (of->heard.glob != NULL)
        mf_resp_bulk(out, mf_buf_view(&of->heard.text));
    mf_resp_bulk(out, channel);
    mf_resp_bulk(out, payload);
}

// If it is one of this subscription's.
static void put_event(struct mf_buf *out, const struct subscription *of, struct mf_bytes channel,
                      struct mf_bytes payload)
{
    if (of->heard.glob != NULL ? mf_glob_matches(of->heard.glob, channel)
                               : mf_bytes_equal(channel, mf_buf_view(&of->heard.text)))
        put_message(out, of, channel, payload);
}

static bool reads_too_slowly(const struct subscription *of)
{
    return mf_conn_unsent_bytes(of->session->client.conn) > UNSENT_BYTES_MAX ||
           of->held.len > HELD_BYTES_MAX;
}

bool mf_resp_hear(struct mf_resp_name *name, struct mf_bytes channel, struct mf_bytes message)
{
    struct subscription *of =
        (struct subscription *)((char *)name - offsetof(struct subscription, heard));
    struct mf_conn *conn = of->session->client.conn;
    if (of->err != MF_OK)
        return false;
    if (reads_too_slowly(of)) {
        mf_conn_close(conn, "it does not read what it has subscribed to");
        return false;
    }
    put_message(of->confirmed ? mf_conn_output(conn) : &of->held, of, channel, message);
    mf_conn_wrote(conn);
    return true;
}

static bool on_event(void *arg, uint64_t id, const struct mf_event *event)
{
    (void)id;
    struct subscription *of = arg;
    struct mf_conn *conn = of->session->client.conn;
    const struct mf_node *node = of->session->client.reactor->node;
    uint32_t notify = atomic_load_explicit(&node->settings.notify, memory_order_relaxed);
    if ((notify & event_kinds[event->event]) == 0)
        return true;
    if (reads_too_slowly(of))
        return false;
    struct mf_buf *out = of->confirmed ? mf_conn_output(conn) : &of->held;
    struct mf_bytes name = mf_bytes_str(event_names[event->event]);
    struct mf_buf channel = {0};
    mf_buf_put(&channel, KEYSPACE, KEYSPACE_LEN);
    mf_buf_put(&channel, event->key.data, event->key.len);
    if ((notify & MF_NOTIFY_KEYSPACE) != 0)
        put_event(out, of, mf_buf_view(&channel), name);
    mf_buf_clear(&channel, SIZE_MAX);
    mf_buf_put(&channel, KEYEVENT, KEYEVENT_LEN);
    mf_buf_put(&channel, name.data, name.len);
    if ((notify & MF_NOTIFY_KEYEVENT) != 0)
        put_event(out, of, mf_buf_view(&channel), event->key);
    mf_buf_free(&channel);
    mf_conn_wrote(conn);
    return true;
}

static void put_confirmation(struct mf_buf *out, unsigned version, const char *what,
                             const struct mf_bytes *name, uint32_t count)
{
    mf_resp_push(out, version, 3);
    mf_resp_bulk_str(out, what);
    if (name != NULL)
        mf_resp_bulk(out, *name);
    else
        mf_resp_null(out, version);
    mf_resp_int(out, count);
}

// Ending.

static void drop(struct mf_resp_listener *listener, struct subscription *gone)
{
    struct mf_resp_session *session = gone->session;
    struct subscription **at = &listener->first;
    while (*at != gone)
        at = &(*at)->next;
    *at = gone->next;
    if (gone->heard.glob != NULL) {
        listener->patterns--;
        listener->pattern_bytes -= gone->heard.text.len;
    } else {
        listener->channels--;
        listener->channel_bytes -= gone->heard.text.len;
    }
    if (gone->watching)
        mf_watch_end(session->client.reactor, gone->watch, gone);
    if (gone->heard.glob != NULL)
        mf_glob_free(gone->heard.glob);
    mf_resp_names_remove(session->client.reactor, &gone->heard);
    mf_buf_free(&gone->heard.text);
    mf_buf_free(&gone->held);
    free(gone);
}

// The client would not hear of something: better not of anything, and it knows.
static void on_lost(void *arg, uint64_t id)
{
    (void)id;
    struct subscription *of = arg;
    of->watching = false;
    mf_conn_close(of->session->client.conn, "events were lost that it has subscribed to");
}

// Subscribing.

static uint32_t count_confirmed(const struct mf_resp_listener *listener)
{
    uint32_t count = 0;
    for (const struct subscription *at = listener->first; at != NULL; at = at->next)
        count += at->confirmed;
    return count;
}

static void confirm(struct mf_resp_listener *listener, struct subscription *of)
{
    struct mf_buf *out = mf_resp_call_reply(listener->call);
    struct mf_bytes name = mf_buf_view(&of->heard.text);
    if (of->err != MF_OK) {
        mf_resp_tell_error(out, of->err, NULL);
        return;
    }
    of->confirmed = true;
    put_confirmation(out, of->session->version, of->heard.glob != NULL ? "psubscribe" : "subscribe",
                     &name, count_confirmed(listener));
    mf_buf_put(out, of->held.data, of->held.len);
    mf_buf_free(&of->held);
}

static void drop_failed(struct mf_resp_listener *listener)
{
    for (struct subscription *at = listener->first; at != NULL;) {
        struct subscription *next = at->next;
        if (at->err != MF_OK)
            drop(listener, at);
        at = next;
    }
}

// Confirms what has begun, in the order in which it was asked for; the rest waits.
static void go_on(struct mf_resp_session *session)
{
    struct mf_resp_listener *listener = session->listener;
    while (listener->told < listener->named_count && listener->named[listener->told]->begun)
        confirm(listener, listener->named[listener->told++]);
    mf_conn_wrote(session->client.conn);
    if (listener->told < listener->named_count)
        return;
    struct mf_resp_call *call = listener->call;
    listener->call = NULL;
    free(listener->named);
    listener->named = NULL;
    drop_failed(listener);
    mf_resp_keep(session);
    mf_resp_track_hears(session);
    mf_resp_call_end(call);
}

static void on_begun(void *arg, uint64_t id, enum mf_err err, const char *message)
{
    (void)id;
    (void)message;
    struct subscription *of = arg;
    of->begun = true;
    of->err = err;
    if (err != MF_OK)
        of->watching = false;
    go_on(of->session);
}

static const struct mf_watch_sink sink = {.begun = on_begun, .event = on_event, .lost = on_lost};

static struct subscription *find(const struct mf_resp_listener *listener, bool pattern,
                                 struct mf_bytes name)
{
    struct subscription *at = listener->first;
    while (at != NULL && ((at->heard.glob != NULL) != pattern ||
                          !mf_bytes_equal(mf_buf_view(&at->heard.text), name)))
        at = at->next;
    return at;
}

static struct mf_resp_listener *listener_of(struct mf_resp_session *session)
{
    if (session->listener == NULL)
        session->listener = mf_calloc(1, sizeof(*session->listener));
    return session->listener;
}

static struct subscription *add(struct mf_resp_session *session, bool pattern, struct mf_bytes name)
{
    struct mf_resp_listener *listener = session->listener;
    struct subscription **at = &listener->first;
    while (*at != NULL)
        at = &(*at)->next;
    struct subscription *fresh = mf_calloc(1, sizeof(*fresh));
    *at = fresh;
    fresh->session = session;
    mf_buf_reserve(&fresh->heard.text, name.len + 1);
    mf_buf_put(&fresh->heard.text, name.data, name.len);
    fresh->heard.glob = pattern ? mf_glob_new(name) : NULL;
    mf_resp_names_add(session->client.reactor, &fresh->heard);
    if (pattern) {
        listener->patterns++;
        listener->pattern_bytes += name.len;
    } else {
        listener->channels++;
        listener->channel_bytes += name.len;
    }
    return fresh;
}

static void begin_watch(struct mf_resp_session *session, struct subscription *of)
{
    struct mf_watch_want want;
    const struct mf_node *node = session->client.reactor->node;
    if (!find_want(of, &want)) {
        of->begun = true;
        return;
    }
    if (want.one_shard)
        want.shard = mf_shard_of_key(want.pattern, node->config.shards);
    of->watching = true;
    of->watch = mf_watch_begin(session->client.reactor, &want, &sink, of);
}

// NULL, or why these names are too many or too long.
static const char *refusal(struct mf_resp_session *session, bool patterns)
{
    const struct mf_resp_listener *listener = listener_of(session);
    uint32_t have = count_all(listener);
    size_t bytes = patterns ? listener->pattern_bytes : listener->channel_bytes;
    if (mf_resp_words(session) - 1 > MF_RESP_SUBSCRIPTIONS_MAX)
        return "ERR at most 1024 subscriptions are allowed";
    for (uint32_t i = 1; i < mf_resp_words(session); i++) {
        struct mf_bytes name = mf_resp_word(session, i);
        if (name.len > (patterns ? MF_GLOB_BYTES_MAX : MF_RESP_CHANNEL_BYTES_MAX))
            return patterns ? "ERR a pattern is over 1024 bytes" : "ERR a channel is too long";
        if (find(listener, patterns, name) != NULL)
            continue;
        bytes += name.len;
        have++;
    }
    if (have > MF_RESP_SUBSCRIPTIONS_MAX)
        return "ERR at most 1024 subscriptions are allowed";
    if (bytes > (patterns ? PATTERNS_BYTES_MAX : NAMES_BYTES_MAX))
        return patterns ? "ERR the patterns of a connection are over 4096 bytes together"
                        : "ERR the channels of a connection are over 262144 bytes together";
    return NULL;
}

static bool subscribe(struct mf_resp_session *session, bool patterns)
{
    const char *wrong = refusal(session, patterns);
    if (wrong != NULL) {
        mf_resp_reply_error(session, wrong);
        return true;
    }
    if (session->first != NULL)
        return false;
    struct mf_resp_listener *listener = listener_of(session);
    uint32_t count = mf_resp_words(session) - 1;
    listener->call = mf_resp_call_begin(session, MF_RESP_FORM_PLAIN, (struct mf_resp_touch){0});
    listener->call->silent = false; // as in Redis, whatever CLIENT REPLY says
    listener->named = mf_calloc(count, sizeof(struct subscription *));
    listener->named_count = count;
    listener->told = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct mf_bytes name = mf_resp_word(session, i + 1);
        listener->named[i] = find(listener, patterns, name);
        if (listener->named[i] != NULL)
            continue;
        listener->named[i] = add(session, patterns, name);
        begin_watch(session, listener->named[i]);
    }
    go_on(session);
    return true;
}

bool mf_resp_subscribe(struct mf_resp_session *session)
{
    return subscribe(session, false);
}

bool mf_resp_psubscribe(struct mf_resp_session *session)
{
    return subscribe(session, true);
}

static void unsubscribe_all(struct mf_resp_session *session, struct mf_buf *out, bool patterns)
{
    struct mf_resp_listener *listener = session->listener;
    const char *what = patterns ? "punsubscribe" : "unsubscribe";
    bool told = false;
    for (struct subscription *at = listener->first; at != NULL;) {
        struct subscription *gone = at;
        at = at->next;
        if ((gone->heard.glob != NULL) != patterns)
            continue;
        struct mf_bytes name = mf_buf_view(&gone->heard.text);
        put_confirmation(out, session->version, what, &name, count_all(listener) - 1);
        drop(listener, gone);
        told = true;
    }
    if (!told)
        put_confirmation(out, session->version, what, NULL, count_all(listener));
}

static bool unsubscribe(struct mf_resp_session *session, bool patterns)
{
    if (mf_resp_words(session) - 1 > MF_RESP_SUBSCRIPTIONS_MAX) {
        mf_resp_reply_error(session, "ERR at most 1024 subscriptions are allowed");
        return true;
    }
    if (session->first != NULL)
        return false;
    struct mf_resp_listener *listener = listener_of(session);
    enum mf_resp_replies replies = session->replies;
    session->replies = MF_RESP_SENT; // as for SUBSCRIBE
    struct mf_buf *out = mf_resp_reply_begin(session);
    if (mf_resp_words(session) == 1)
        unsubscribe_all(session, out, patterns);
    for (uint32_t i = 1; i < mf_resp_words(session); i++) {
        struct mf_bytes name = mf_resp_word(session, i);
        struct subscription *gone = find(listener, patterns, name);
        if (gone != NULL)
            drop(listener, gone);
        put_confirmation(out, session->version, patterns ? "punsubscribe" : "unsubscribe", &name,
                         count_all(listener));
    }
    mf_resp_reply_end(session);
    session->replies = replies;
    mf_resp_keep(session);
    return true;
}

bool mf_resp_unsubscribe(struct mf_resp_session *session)
{
    return unsubscribe(session, false);
}

bool mf_resp_punsubscribe(struct mf_resp_session *session)
{
    return unsubscribe(session, true);
}

void mf_resp_listen_no_more(struct mf_resp_session *session)
{
    struct mf_resp_listener *listener = session->listener;
    if (listener == NULL)
        return;
    struct mf_resp_call *call = listener->call;
    while (listener->first != NULL)
        drop(listener, listener->first);
    session->listener = NULL;
    free(listener->named);
    free(listener);
    mf_resp_keep(session);
    if (call == NULL)
        return;
    (void)mf_resp_call_reply(call); // there is none any more
    mf_resp_call_end(call);
}
