// CLIENT TRACKING, CACHING, TRACKINGINFO and GETREDIR: what a client says, and is told, of what it
// tracks; see resp_tracking.c for what is done.
#include <stdlib.h>
#include <string.h>

#include "server/resp_track.h"

#define PREFIXES_MAX 64u
#define PREFIX_BYTES_MAX 4096u // of a connection together
#define PREFIXES_TEXT "ERR at most 64 prefixes of 4096 bytes together are allowed"

// A CLIENT TRACKING that is under way.
struct ask {
    struct mf_resp_session *session;
    struct mf_resp_call *call;
    bool on;
    bool off;
    struct mf_resp_track_options options;
    bool redirected;
    int64_t to;
    struct mf_buf prefixes; // blobs
    uint32_t prefix_count;
    size_t prefix_bytes;
    struct mf_buf refusal; // of what is wrong; what is behind that is not looked at
};

// False: so it cannot go on.
static bool refuse(struct ask *ask, const char *text)
{
    mf_resp_error(&ask->refusal, text);
    return false;
}

static bool take_redirect(struct ask *ask, struct mf_bytes word)
{
    if (ask->redirected)
        return refuse(ask, "ERR A client can only redirect to a single other client");
    if (!mf_resp_integer(word, &ask->to))
        return refuse(ask, MF_RESP_NOT_INTEGER);
    ask->redirected = true;
    return true;
}

static bool take_prefix(struct ask *ask, struct mf_bytes word)
{
    if (ask->prefix_count == PREFIXES_MAX || ask->prefix_bytes + word.len > PREFIX_BYTES_MAX)
        return refuse(ask, PREFIXES_TEXT);
    mf_buf_blob(&ask->prefixes, word);
    ask->prefix_count++;
    ask->prefix_bytes += word.len;
    return true;
}

static bool take_option(struct ask *ask, uint32_t *at)
{
    struct mf_resp_session *session = ask->session;
    struct mf_bytes word = mf_resp_word(session, *at);
    bool more = *at + 1 < mf_resp_words(session);
    if (mf_resp_is(word, "bcast"))
        ask->options.broadcast = true;
    else if (mf_resp_is(word, "optin"))
        ask->options.opt_in = true;
    else if (mf_resp_is(word, "optout"))
        ask->options.opt_out = true;
    else if (mf_resp_is(word, "noloop"))
        ask->options.no_loop = true;
    else if (mf_resp_is(word, "redirect") && more)
        return take_redirect(ask, mf_resp_word(session, ++*at));
    else if (mf_resp_is(word, "prefix") && more)
        return take_prefix(ask, mf_resp_word(session, ++*at));
    else
        return refuse(ask, MF_RESP_SYNTAX);
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

static bool refuse_overlap(struct ask *ask, struct mf_bytes one, struct mf_bytes other,
                           const char *what)
{
    mf_resp_errorf(&ask->refusal,
                   "ERR Prefix '%.*s' overlaps with %s prefix '%.*s'. Prefixes for a single "
                   "client must not overlap.",
                   mf_resp_text_len(one), (const char *)one.data, what, mf_resp_text_len(other),
                   (const char *)other.data);
    return false;
}

static bool prefix_fits(struct ask *ask, struct mf_bytes one, struct mf_reader others)
{
    const struct mf_resp_tracking *tracking = ask->session->tracking;
    const struct mf_resp_track_prefix *at = NULL;
    struct mf_bytes other;
    while (tracking != NULL && mf_resp_tracking_next_prefix(tracking, &at, &other)) {
        if (overlaps(one, other))
            return refuse_overlap(ask, one, other, "an existing");
    }
    while (mf_reader_left(&others) > 0) {
        other = mf_read_blob(&others);
        if (overlaps(one, other))
            return refuse_overlap(ask, one, other, "another provided");
    }
    return true;
}

static bool prefixes_fit(struct ask *ask)
{
    const struct mf_resp_tracking *tracking = ask->session->tracking;
    if (tracking != NULL && (ask->prefix_count + tracking->prefix_count > PREFIXES_MAX ||
                             ask->prefix_bytes + tracking->prefix_bytes > PREFIX_BYTES_MAX))
        return refuse(ask, PREFIXES_TEXT);
    struct mf_reader prefixes = mf_reader_of(mf_buf_view(&ask->prefixes));
    while (mf_reader_left(&prefixes) > 0) {
        struct mf_bytes one = mf_read_blob(&prefixes);
        if (!prefix_fits(ask, one, prefixes))
            return false;
    }
    return true;
}

// In Redis's order.
static bool options_fit(struct ask *ask)
{
    const struct mf_resp_tracking *tracking = ask->session->tracking;
    const struct mf_resp_track_options *now = tracking != NULL ? &tracking->options : NULL;
    const struct mf_resp_track_options *options = &ask->options;
    if (!options->broadcast && ask->prefix_count > 0)
        return refuse(ask, "ERR PREFIX option requires BCAST mode to be enabled");
    if (now != NULL && now->broadcast != options->broadcast)
        return refuse(ask, "ERR You can't switch BCAST mode on/off before disabling tracking for "
                           "this client, and then re-enabling it with a different mode.");
    if (options->broadcast && (options->opt_in || options->opt_out))
        return refuse(ask, "ERR OPTIN and OPTOUT are not compatible with BCAST");
    if (options->opt_in && options->opt_out)
        return refuse(ask, "ERR You can't specify both OPTIN mode and OPTOUT mode");
    if (now != NULL && ((options->opt_in && now->opt_out) || (options->opt_out && now->opt_in)))
        return refuse(ask, "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for "
                           "this client, and then re-enabling it with a different mode.");
    if (ask->session->version != 3 && options->to == NULL)
        return refuse(ask, "ERR tracking needs RESP3, say HELLO 3 first, or REDIRECT to a "
                           "connection that is told");
    return prefixes_fit(ask);
}

static void free_ask(struct ask *ask)
{
    if (ask->options.to != NULL)
        mf_resp_track_to_end(ask->session->client.reactor, ask->options.to);
    mf_buf_free(&ask->prefixes);
    mf_buf_free(&ask->refusal);
    free(ask);
}

// Answers, if the connection is still there.
static void answer(struct ask *ask)
{
    struct mf_resp_call *call = ask->call;
    struct mf_buf *out = mf_resp_call_reply(call);
    ask->session->held = false;
    if (ask->refusal.len > 0)
        mf_buf_put(out, ask->refusal.data, ask->refusal.len);
    else
        mf_resp_status(out, "OK");
    free_ask(ask);
    mf_resp_call_end(call);
}

static void carry_out(struct ask *ask)
{
    struct mf_resp_session *session = ask->session;
    if (ask->refusal.len == 0 && !ask->on && !ask->off)
        (void)refuse(ask, MF_RESP_SYNTAX);
    if (ask->refusal.len > 0 || session->client.conn == NULL) {
        answer(ask);
    } else if (ask->off) {
        mf_resp_tracking_no_more(session);
        answer(ask);
    } else if (!options_fit(ask)) {
        answer(ask);
    } else {
        mf_resp_tracking_begin(session, ask->call, &ask->options, mf_buf_view(&ask->prefixes));
        ask->options.to = NULL;
        free_ask(ask);
    }
}

// That there is nobody comes before all that is wrong behind it, as in Redis.
static void on_found(void *arg, struct mf_resp_track_to *to)
{
    struct ask *ask = arg;
    ask->options.to = to;
    if (to == NULL) {
        mf_buf_clear(&ask->refusal, SIZE_MAX);
        (void)refuse(ask, "ERR The client ID you want redirect to does not exist");
    }
    carry_out(ask);
}

bool mf_resp_client_tracking(struct mf_resp_session *session)
{
    if (session->first != NULL)
        return false; // what is told must not come between replies of what was asked before
    struct ask *ask = mf_calloc(1, sizeof(*ask));
    ask->session = session;
    ask->on = mf_resp_is(mf_resp_word(session, 2), "on");
    ask->off = mf_resp_is(mf_resp_word(session, 2), "off");
    for (uint32_t i = 3; i < mf_resp_words(session); i++) {
        if (!take_option(ask, &i))
            break;
    }
    ask->call = mf_resp_call_begin(session, MF_RESP_FORM_PLAIN, (struct mf_resp_touch){0});
    session->held = true; // what is asked for next is tracked from its beginning
    if (ask->redirected)
        mf_resp_track_to_find(session->client.reactor, (uint64_t)ask->to, on_found, ask);
    else
        carry_out(ask);
    return true;
}

bool mf_resp_client_caching(struct mf_resp_session *session)
{
    struct mf_resp_tracking *tracking = session->tracking;
    struct mf_bytes word = mf_resp_word(session, 2);
    if (tracking == NULL || (!tracking->options.opt_in && !tracking->options.opt_out)) {
        mf_resp_reply_error(session, "ERR CLIENT CACHING can be called only when the client is in "
                                     "tracking mode with OPTIN or OPTOUT mode enabled");
    } else if (mf_resp_is(word, "yes") && !tracking->options.opt_in) {
        mf_resp_reply_error(session, "ERR CLIENT CACHING YES is only valid when tracking is "
                                     "enabled in OPTIN mode.");
    } else if (mf_resp_is(word, "no") && !tracking->options.opt_out) {
        mf_resp_reply_error(session, "ERR CLIENT CACHING NO is only valid when tracking is "
                                     "enabled in OPTOUT mode.");
    } else if (!mf_resp_is(word, "yes") && !mf_resp_is(word, "no")) {
        mf_resp_reply_error(session, MF_RESP_SYNTAX);
    } else {
        tracking->caching = mf_resp_is(word, "yes") ? MF_RESP_CACHING_YES : MF_RESP_CACHING_NO;
        mf_resp_reply_ok(session);
    }
    return true;
}

// The connection that is told; 0: this one, -1: nothing is tracked.
int64_t mf_resp_tracking_redirect(const struct mf_resp_session *session)
{
    const struct mf_resp_tracking *tracking = session->tracking;
    if (tracking == NULL)
        return -1;
    return tracking->options.to != NULL ? (int64_t)mf_resp_track_to_id(tracking->options.to) : 0;
}

static bool is_broken(const struct mf_resp_tracking *tracking)
{
    return tracking->options.to != NULL && mf_resp_track_to_is_broken(tracking->options.to);
}

const char *mf_resp_tracking_flags(const struct mf_resp_session *session)
{
    const struct mf_resp_tracking *tracking = session->tracking;
    if (tracking == NULL)
        return "";
    if (is_broken(tracking))
        return tracking->options.broadcast ? "tRB" : "tR";
    return tracking->options.broadcast ? "tB" : "t";
}

static void put_flags(struct mf_buf *out, unsigned version, const struct mf_resp_tracking *tracking)
{
    const struct {
        const char *name;
        bool set;
    } flags[] = {
        {"off", tracking == NULL},
        {"on", tracking != NULL},
        {"bcast", tracking != NULL && tracking->options.broadcast},
        {"optin", tracking != NULL && tracking->options.opt_in},
        {"caching-yes", tracking != NULL && tracking->caching == MF_RESP_CACHING_YES},
        {"optout", tracking != NULL && tracking->options.opt_out},
        {"caching-no", tracking != NULL && tracking->caching == MF_RESP_CACHING_NO},
        {"noloop", tracking != NULL && tracking->options.no_loop},
        {"broken_redirect", tracking != NULL && is_broken(tracking)},
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
    mf_resp_int(out, mf_resp_tracking_redirect(session));
    mf_resp_bulk_str(out, "prefixes");
    bool told = tracking != NULL && tracking->options.broadcast;
    mf_resp_array(out, told ? tracking->prefix_count : 0);
    const struct mf_resp_track_prefix *at = NULL;
    struct mf_bytes text;
    while (told && mf_resp_tracking_next_prefix(tracking, &at, &text))
        mf_resp_bulk(out, text);
    mf_resp_reply_end(session);
    return true;
}

bool mf_resp_client_getredir(struct mf_resp_session *session)
{
    mf_resp_int(mf_resp_reply_begin(session), mf_resp_tracking_redirect(session));
    mf_resp_reply_end(session);
    return true;
}
