// CLIENT TRACKING: clients that keep what they have read are told when it has changed.
//
// What may change is watched (watch.h): all keys, or those with the prefixes of BCAST. Of a client
// that did not ask for BCAST the keys that it reads are remembered, by seeded hashes of 64 bits,
// before they are read: so no change of what it was told goes unnoticed. A key that was told is
// forgotten. Where there is no room for more, or where a watch was lost, and when it has begun
// anew, the client is told that everything may have changed.
//
// A read may be answered by another node, and its reply be overtaken by the word of a change that
// came after it. So what is told while replies are due is told again behind them.
#include <stdlib.h>
#include <string.h>

#include "base/event.h"
#include "base/hash.h"
#include "server/resp_internal.h"
#include "server/watch.h"

#define UNSENT_BYTES_MAX (12u << 20)
#define PREFIXES_MAX 64u
#define PREFIX_BYTES_MAX 4096u // of a connection together
// More keys than these that are to be told again become everything.
#define AGAIN_BYTES_MAX 65536u
// Of the keys of one connection; half of the places are used.
#define PLACES_MIN 64u
#define PLACES_MAX 65536u

struct prefix {
    struct prefix *next;
    struct mf_resp_session *session;
    struct mf_buf text;
    bool watching; // under `watch`
    uint64_t watch;
    bool begun;
    bool lost;  // it is to begin again
    bool fresh; // of a CLIENT TRACKING ON that has not been answered
};

enum caching { CACHING_UNSAID, CACHING_YES, CACHING_NO };

// What is told again.
struct repeat {
    bool due;
    uint64_t at;        // when so many calls have been sent
    bool all;           // everything; else
    struct mf_buf keys; // blobs
};

struct mf_resp_tracking {
    struct mf_resp_session *next; // that tracks, on its reactor
    bool broadcast;
    bool opt_in;
    bool opt_out;
    bool no_loop;         // said, and without an effect
    enum caching caching; // of the next command
    struct prefix *prefixes;
    uint32_t prefix_count;
    struct mf_resp_call *call; // a CLIENT TRACKING ON that waits for its watches
    enum mf_err err;
    struct repeat repeats[2]; // the second gathers while the first waits
    uint64_t *places;         // hashes of keys; 0: free
    uint32_t place_count;
    uint32_t used;
};

// The keys that were read.

static uint64_t hash_of(const struct mf_resp_session *session, struct mf_bytes key)
{
    uint64_t hash = mf_hash64(key, session->id ^ session->client.reactor->node->incarnation);
    return hash != 0 ? hash : 1;
}

static uint32_t place_of(const struct mf_resp_tracking *tracking, uint64_t hash)
{
    uint32_t at = (uint32_t)(hash & (tracking->place_count - 1));
    while (tracking->places[at] != 0 && tracking->places[at] != hash)
        at = (at + 1) & (tracking->place_count - 1);
    return at;
}

static void forget_all(struct mf_resp_tracking *tracking)
{
    free(tracking->places);
    tracking->places = NULL;
    tracking->place_count = 0;
    tracking->used = 0;
}

static void grow(struct mf_resp_tracking *tracking)
{
    uint64_t *before = tracking->places;
    uint32_t count = tracking->place_count;
    tracking->place_count = count == 0 ? PLACES_MIN : 2 * count;
    tracking->places = mf_calloc(tracking->place_count, sizeof(*tracking->places));
    for (uint32_t i = 0; i < count; i++) {
        if (before[i] != 0)
            tracking->places[place_of(tracking, before[i])] = before[i];
    }
    free(before);
}

static void tell_all(struct mf_resp_session *session, uint64_t again_at);

// sent: how many calls have been sent when its reply has been.
static void remember(struct mf_resp_session *session, struct mf_bytes key, uint64_t sent)
{
    struct mf_resp_tracking *tracking = session->tracking;
    if (2 * tracking->used >= tracking->place_count) {
        if (tracking->place_count == PLACES_MAX) {
            forget_all(tracking);
            tell_all(session, sent);
        }
        grow(tracking);
    }
    uint64_t hash = hash_of(session, key);
    uint32_t at = place_of(tracking, hash);
    tracking->used += tracking->places[at] == 0;
    tracking->places[at] = hash;
}

// True if it was remembered. Those behind it that it had pushed on move up.
static bool forget(struct mf_resp_session *session, struct mf_bytes key)
{
    struct mf_resp_tracking *tracking = session->tracking;
    if (tracking->used == 0)
        return false;
    uint32_t mask = tracking->place_count - 1;
    uint32_t free_at = place_of(tracking, hash_of(session, key));
    if (tracking->places[free_at] == 0)
        return false;
    for (uint32_t at = (free_at + 1) & mask; tracking->places[at] != 0; at = (at + 1) & mask) {
        uint32_t home = (uint32_t)(tracking->places[at] & mask);
        if (((at - home) & mask) < ((at - free_at) & mask))
            continue;
        tracking->places[free_at] = tracking->places[at];
        free_at = at;
    }
    tracking->places[free_at] = 0;
    tracking->used--;
    return true;
}

// Telling. Nothing may come between the parts of a reply, and nothing does: replies are whole.

static void put_key(struct mf_resp_session *session, struct mf_bytes key)
{
    struct mf_buf *out = mf_conn_output(session->client.conn);
    mf_resp_push(out, 3, 2);
    mf_resp_bulk_str(out, "invalidate");
    mf_resp_array(out, 1);
    mf_resp_bulk(out, key);
    mf_conn_wrote(session->client.conn);
}

static void put_all(struct mf_resp_session *session)
{
    struct mf_buf *out = mf_conn_output(session->client.conn);
    mf_resp_push(out, 3, 2);
    mf_resp_bulk_str(out, "invalidate");
    mf_resp_null(out, 3);
    mf_conn_wrote(session->client.conn);
}

// key NULL: everything.
static void repeat(struct mf_resp_session *session, const struct mf_bytes *key, uint64_t at)
{
    struct repeat *to = session->tracking->repeats;
    if (at <= session->calls_sent)
        return; // no reply is due that it could have overtaken
    if (to->due)
        to++;
    to->due = true;
    to->at = at;
    if (key == NULL || to->keys.len + key->len > AGAIN_BYTES_MAX)
        to->all = true;
    else
        mf_buf_blob(&to->keys, *key);
}

// Remembers what it remembers: it may have been read since.
static void tell_all(struct mf_resp_session *session, uint64_t again_at)
{
    put_all(session);
    repeat(session, NULL, again_at);
}

void mf_resp_tracking_sent(struct mf_resp_session *session)
{
    struct repeat *first = session->tracking->repeats;
    while (first->due && session->calls_sent >= first->at) {
        struct mf_reader keys = mf_reader_of(mf_buf_view(&first->keys));
        if (first->all)
            put_all(session);
        while (!first->all && mf_reader_left(&keys) > 0)
            put_key(session, mf_read_blob(&keys));
        mf_buf_free(&first->keys);
        first[0] = first[1];
        first[1] = (struct repeat){0};
    }
}

static bool on_event(void *arg, uint64_t id, const struct mf_event *event)
{
    (void)id;
    struct mf_resp_session *session = ((struct prefix *)arg)->session;
    if (mf_conn_unsent_bytes(session->client.conn) > UNSENT_BYTES_MAX)
        return false;
    if (session->tracking->broadcast || forget(session, event->key)) {
        put_key(session, event->key);
        repeat(session, &event->key, session->calls_begun);
    }
    return true;
}

static bool on_progress(void *arg, uint64_t id, const struct mf_shard_version *versions,
                        uint32_t count)
{
    (void)arg;
    (void)id;
    (void)versions;
    (void)count;
    return true; // nobody has asked for it
}

// Beginning and ending.

static void count_watch(struct mf_resp_session *session, int delta)
{
    // Relaxed: a figure.
    atomic_fetch_add_explicit(&session->client.reactor->node->watches, (uint32_t)delta,
                              memory_order_relaxed);
}

static void on_lost(void *arg, uint64_t id)
{
    (void)id;
    struct prefix *prefix = arg;
    struct mf_conn *conn = prefix->session->client.conn;
    prefix->watching = false;
    prefix->lost = true;
    count_watch(prefix->session, -1);
    if (mf_conn_unsent_bytes(conn) > UNSENT_BYTES_MAX)
        mf_conn_close(conn, "it does not read what has changed of what it tracks");
    else
        tell_all(prefix->session, prefix->session->calls_begun);
}

static void drop(struct mf_resp_session *session, struct prefix **at)
{
    struct prefix *gone = *at;
    *at = gone->next;
    session->tracking->prefix_count--;
    if (gone->watching) {
        mf_watch_end(session->client.reactor, gone->watch, gone);
        count_watch(session, -1);
    }
    mf_buf_free(&gone->text);
    free(gone);
}

// What this request has brought goes if it failed; what was tracked before stays.
static void end_call(struct mf_resp_session *session)
{
    struct mf_resp_tracking *tracking = session->tracking;
    struct mf_resp_call *call = tracking->call;
    enum mf_err err = tracking->err;
    for (const struct prefix *at = tracking->prefixes; at != NULL; at = at->next) {
        if (!at->begun)
            return;
    }
    for (struct prefix **at = &tracking->prefixes; *at != NULL;) {
        if (err != MF_OK && (*at)->fresh) {
            drop(session, at);
            continue;
        }
        (*at)->fresh = false;
        at = &(*at)->next;
    }
    tracking->call = NULL;
    session->held = false;
    if (tracking->prefixes == NULL)
        mf_resp_tracking_no_more(session);
    struct mf_buf *out = mf_resp_call_reply(call);
    if (err == MF_OK)
        mf_resp_status(out, "OK");
    else
        mf_resp_tell_error(out, err, NULL);
    mf_resp_call_end(call);
}

static void on_begun(void *arg, uint64_t id, enum mf_err err, const char *message)
{
    (void)id;
    (void)message;
    struct prefix *prefix = arg;
    struct mf_resp_session *session = prefix->session;
    bool again = prefix->begun;
    prefix->begun = true;
    if (err != MF_OK) {
        prefix->watching = false;
        count_watch(session, -1);
    }
    if (!again && err != MF_OK)
        session->tracking->err = err;
    else if (err != MF_OK)
        prefix->lost = true; // tried once more
    else if (again)
        tell_all(session, session->calls_begun); // of what has changed in between
    if (session->tracking->call != NULL)
        end_call(session);
}

static const struct mf_watch_sink sink = {
    .begun = on_begun, .event = on_event, .progress = on_progress, .lost = on_lost};

static void begin_watch(struct prefix *prefix)
{
    struct mf_resp_session *session = prefix->session;
    const struct mf_watch_want want = {
        .events = MF_EVENTS_ALL, .by_prefix = true, .pattern = mf_buf_view(&prefix->text)};
    prefix->lost = false;
    prefix->watching = true;
    count_watch(session, 1);
    prefix->watch = mf_watch_begin(session->client.reactor, &want, &sink, prefix);
}

static void add_prefix(struct mf_resp_session *session, struct mf_bytes text)
{
    struct prefix **at = &session->tracking->prefixes;
    while (*at != NULL)
        at = &(*at)->next;
    *at = mf_calloc(1, sizeof(**at));
    (*at)->session = session;
    mf_buf_put(&(*at)->text, text.data, text.len);
    (*at)->fresh = true;
    session->tracking->prefix_count++;
    begin_watch(*at);
}

void mf_resp_tracking_no_more(struct mf_resp_session *session)
{
    struct mf_resp_tracking *tracking = session->tracking;
    if (tracking == NULL)
        return;
    struct mf_resp_session **listed = &session->client.reactor->resp->trackers;
    while (*listed != session)
        listed = &(*listed)->tracking->next;
    *listed = tracking->next;
    while (tracking->prefixes != NULL)
        drop(session, &tracking->prefixes);
    // Relaxed: a figure.
    atomic_fetch_sub_explicit(&session->client.reactor->node->resp_trackers, 1,
                              memory_order_relaxed);
    struct mf_resp_call *call = tracking->call;
    session->tracking = NULL;
    forget_all(tracking);
    mf_buf_free(&tracking->repeats[0].keys);
    mf_buf_free(&tracking->repeats[1].keys);
    free(tracking);
    if (call == NULL)
        return;
    session->held = false;
    mf_resp_error(mf_resp_call_reply(call), "ERR tracking was ended before it had begun");
    mf_resp_call_end(call);
}

void mf_resp_tracking_tick(struct mf_reactor *reactor)
{
    for (struct mf_resp_session *at = reactor->resp->trackers; at != NULL;
         at = at->tracking->next) {
        for (struct prefix *prefix = at->tracking->prefixes; prefix != NULL;
             prefix = prefix->next) {
            if (prefix->lost)
                begin_watch(prefix);
        }
    }
}

// What a request reads, and what CLIENT CACHING has said of it.

static bool is_tracked(const struct mf_resp_tracking *tracking)
{
    if (tracking->broadcast)
        return false;
    return tracking->opt_in ? tracking->caching == CACHING_YES : tracking->caching != CACHING_NO;
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
        session->tracking->caching = CACHING_UNSAID;
}

// The commands.

// Options of CLIENT TRACKING; the words of prefixes are marked.
struct options {
    bool on;
    bool broadcast;
    bool opt_in;
    bool opt_out;
    bool no_loop;
    uint32_t prefixes[PREFIXES_MAX]; // words
    uint32_t prefix_count;
    size_t prefix_bytes;
};

static bool refuse(struct mf_resp_session *session, const char *text)
{
    mf_resp_reply_error(session, text);
    return false;
}

static bool take_option(struct mf_resp_session *session, uint32_t *at, struct options *options)
{
    struct mf_bytes word = mf_resp_word(session, *at);
    bool more = *at + 1 < mf_resp_words(session);
    int64_t id;
    if (mf_resp_is(word, "bcast")) {
        options->broadcast = true;
    } else if (mf_resp_is(word, "optin")) {
        options->opt_in = true;
    } else if (mf_resp_is(word, "optout")) {
        options->opt_out = true;
    } else if (mf_resp_is(word, "noloop")) {
        options->no_loop = true;
    } else if (mf_resp_is(word, "redirect") && more) {
        return mf_resp_integer(mf_resp_word(session, ++*at), &id)
                   ? refuse(session, "ERR REDIRECT is not supported: use RESP3")
                   : refuse(session, MF_RESP_NOT_INTEGER);
    } else if (mf_resp_is(word, "prefix") && more) {
        if (options->prefix_count == PREFIXES_MAX)
            return refuse(session, "ERR at most 64 prefixes are allowed");
        options->prefixes[options->prefix_count++] = ++*at;
        options->prefix_bytes += mf_resp_word(session, *at).len;
    } else {
        return refuse(session, MF_RESP_SYNTAX);
    }
    return true;
}

static bool begins_with(struct mf_bytes text, struct mf_bytes start)
{
    return text.len >= start.len &&
           (start.len == 0 || memcmp(text.data, start.data, start.len) == 0);
}

static bool overlaps(struct mf_bytes one, struct mf_bytes other)
{
    return begins_with(one, other) || begins_with(other, one);
}

static bool refuse_overlap(struct mf_resp_session *session, struct mf_bytes one,
                           struct mf_bytes other, const char *what)
{
    mf_resp_errorf(mf_resp_reply_begin(session),
                   "ERR Prefix '%.*s' overlaps with %s prefix '%.*s'. Prefixes for a single "
                   "client must not overlap.",
                   mf_resp_text_len(one), (const char *)one.data, what, mf_resp_text_len(other),
                   (const char *)other.data);
    mf_resp_reply_end(session);
    return false;
}

static bool prefixes_fit(struct mf_resp_session *session, const struct options *options)
{
    const struct mf_resp_tracking *tracking = session->tracking;
    size_t bytes = options->prefix_bytes;
    for (const struct prefix *at = tracking != NULL ? tracking->prefixes : NULL; at != NULL;
         at = at->next)
        bytes += at->text.len;
    if (bytes > PREFIX_BYTES_MAX ||
        options->prefix_count + (tracking != NULL ? tracking->prefix_count : 0) > PREFIXES_MAX)
        return refuse(session, "ERR at most 64 prefixes of 4096 bytes together are allowed");
    for (uint32_t i = 0; i < options->prefix_count; i++) {
        struct mf_bytes one = mf_resp_word(session, options->prefixes[i]);
        for (const struct prefix *at = tracking != NULL ? tracking->prefixes : NULL; at != NULL;
             at = at->next) {
            if (overlaps(one, mf_buf_view(&at->text)))
                return refuse_overlap(session, one, mf_buf_view(&at->text), "an existing");
        }
        for (uint32_t j = i + 1; j < options->prefix_count; j++) {
            struct mf_bytes other = mf_resp_word(session, options->prefixes[j]);
            if (overlaps(one, other))
                return refuse_overlap(session, one, other, "another provided");
        }
    }
    return true;
}

// In Redis's order.
static bool options_fit(struct mf_resp_session *session, const struct options *options)
{
    const struct mf_resp_tracking *now = session->tracking;
    if (!options->broadcast && options->prefix_count > 0)
        return refuse(session, "ERR PREFIX option requires BCAST mode to be enabled");
    if (now != NULL && now->broadcast != options->broadcast)
        return refuse(session, "ERR You can't switch BCAST mode on/off before disabling tracking "
                               "for this client, and then re-enabling it with a different mode.");
    if (options->broadcast && (options->opt_in || options->opt_out))
        return refuse(session, "ERR OPTIN and OPTOUT are not compatible with BCAST");
    if (options->opt_in && options->opt_out)
        return refuse(session, "ERR You can't specify both OPTIN mode and OPTOUT mode");
    if (now != NULL && ((options->opt_in && now->opt_out) || (options->opt_out && now->opt_in)))
        return refuse(session,
                      "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this "
                      "client, and then re-enabling it with a different mode.");
    if (session->version != 3)
        return refuse(session, "ERR tracking needs RESP3: say HELLO 3 first");
    return prefixes_fit(session, options);
}

static void track(struct mf_resp_session *session, const struct options *options)
{
    struct mf_resp_door *door = session->client.reactor->resp;
    struct mf_resp_tracking *tracking = session->tracking;
    if (tracking == NULL) {
        tracking = mf_calloc(1, sizeof(*tracking));
        tracking->next = door->trackers;
        door->trackers = session;
        session->tracking = tracking;
        atomic_fetch_add_explicit(&session->client.reactor->node->resp_trackers, 1,
                                  memory_order_relaxed);
    }
    tracking->broadcast = options->broadcast;
    tracking->opt_in = options->opt_in;
    tracking->opt_out = options->opt_out;
    tracking->no_loop = options->no_loop;
    tracking->err = MF_OK;
    tracking->call = mf_resp_call_begin(session, MF_RESP_FORM_PLAIN, (struct mf_resp_touch){0});
    session->held = true; // what is asked for next is tracked from its beginning
    for (uint32_t i = 0; i < options->prefix_count; i++)
        add_prefix(session, mf_resp_word(session, options->prefixes[i]));
    if (tracking->prefixes == NULL)
        add_prefix(session, mf_bytes_of("", 0));
    end_call(session); // if nothing is to be waited for
}

bool mf_resp_client_tracking(struct mf_resp_session *session)
{
    struct options options = {.on = mf_resp_is(mf_resp_word(session, 2), "on")};
    if (session->first != NULL)
        return false; // what is told must not come between replies of what was asked before
    for (uint32_t i = 3; i < mf_resp_words(session); i++) {
        if (!take_option(session, &i, &options))
            return true;
    }
    if (!options.on && !mf_resp_is(mf_resp_word(session, 2), "off")) {
        mf_resp_reply_error(session, MF_RESP_SYNTAX);
        return true;
    }
    if (!options.on) {
        mf_resp_tracking_no_more(session);
        mf_resp_reply_ok(session);
    } else if (options_fit(session, &options)) {
        track(session, &options);
    }
    return true;
}

bool mf_resp_client_caching(struct mf_resp_session *session)
{
    struct mf_resp_tracking *tracking = session->tracking;
    struct mf_bytes word = mf_resp_word(session, 2);
    if (tracking == NULL || (!tracking->opt_in && !tracking->opt_out)) {
        mf_resp_reply_error(session, "ERR CLIENT CACHING can be called only when the client is in "
                                     "tracking mode with OPTIN or OPTOUT mode enabled");
    } else if (mf_resp_is(word, "yes") && !tracking->opt_in) {
        mf_resp_reply_error(session, "ERR CLIENT CACHING YES is only valid when tracking is "
                                     "enabled in OPTIN mode.");
    } else if (mf_resp_is(word, "no") && !tracking->opt_out) {
        mf_resp_reply_error(session, "ERR CLIENT CACHING NO is only valid when tracking is "
                                     "enabled in OPTOUT mode.");
    } else if (!mf_resp_is(word, "yes") && !mf_resp_is(word, "no")) {
        mf_resp_reply_error(session, MF_RESP_SYNTAX);
    } else {
        tracking->caching = mf_resp_is(word, "yes") ? CACHING_YES : CACHING_NO;
        mf_resp_reply_ok(session);
    }
    return true;
}

static void put_flags(struct mf_buf *out, unsigned version, const struct mf_resp_tracking *tracking)
{
    const struct {
        const char *name;
        bool set;
    } flags[] = {
        {"off", tracking == NULL},
        {"on", tracking != NULL},
        {"bcast", tracking != NULL && tracking->broadcast},
        {"optin", tracking != NULL && tracking->opt_in},
        {"caching-yes", tracking != NULL && tracking->caching == CACHING_YES},
        {"optout", tracking != NULL && tracking->opt_out},
        {"caching-no", tracking != NULL && tracking->caching == CACHING_NO},
        {"noloop", tracking != NULL && tracking->no_loop},
    };
    uint32_t count = 0;
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
        count += flags[i].set;
    mf_resp_set(out, version, count);
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (flags[i].set)
            mf_resp_bulk_str(out, flags[i].name);
    }
}

bool mf_resp_client_trackinginfo(struct mf_resp_session *session)
{
    const struct mf_resp_tracking *tracking = session->tracking;
    struct mf_buf *out = mf_resp_reply_begin(session);
    mf_resp_map(out, session->version, 3);
    mf_resp_bulk_str(out, "flags");
    put_flags(out, session->version, tracking);
    mf_resp_bulk_str(out, "redirect");
    mf_resp_int(out, tracking != NULL ? 0 : -1);
    mf_resp_bulk_str(out, "prefixes");
    bool told = tracking != NULL && tracking->broadcast;
    mf_resp_array(out, told ? tracking->prefix_count : 0);
    for (const struct prefix *at = told ? tracking->prefixes : NULL; at != NULL; at = at->next)
        mf_resp_bulk(out, mf_buf_view(&at->text));
    mf_resp_reply_end(session);
    return true;
}

bool mf_resp_client_getredir(struct mf_resp_session *session)
{
    mf_resp_int(mf_resp_reply_begin(session), session->tracking != NULL ? 0 : -1);
    mf_resp_reply_end(session);
    return true;
}
