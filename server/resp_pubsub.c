// PUBSUB: who listens to what, on this node. Numbers are answered at once; a list of channels is
// gathered in portions, a few a turn.
#include <stdlib.h>

#include "base/glob.h"
#include "server/resp_heard.h"
#include "server/resp_internal.h"
#include "server/resp_node.h"

// A list of names that would be longer ends here.
#define LIST_BYTES_MAX (16u << 20)
// Of a turn, about.
#define NAMES_PER_TURN 2048u
// Of those that are looked at under one lock.
#define NAMES_AT_ONCE 64u
// A long name is as many.
#define NAME_BYTES 64u
// A look at chains that are empty costs a little too.
#define LOOKS_PER_TURN 16u

struct listing {
    struct mf_task task;
    struct mf_resp_call *call;
    struct mf_glob *glob; // those that match; NULL: all
    uint32_t cursor;
    uint32_t seen; // in this turn
    uint32_t count;
    struct mf_buf names; // as the reply has them
};

static struct mf_resp_heard *heard_of(const struct mf_reactor *reactor)
{
    return reactor->node->resp_node->heard;
}

static void take_channel(void *arg, struct mf_bytes channel)
{
    struct listing *listing = arg;
    listing->seen += 1 + (uint32_t)(channel.len / NAME_BYTES);
    if (listing->names.len + channel.len > LIST_BYTES_MAX ||
        (listing->glob != NULL && !mf_glob_matches(listing->glob, channel)))
        return;
    mf_resp_bulk(&listing->names, channel);
    listing->count++;
}

static void end_listing(struct listing *listing)
{
    struct mf_buf *out = mf_resp_call_reply(listing->call);
    mf_resp_array(out, listing->count);
    mf_buf_put(out, listing->names.data, listing->names.len);
    listing->call->session->walking = false;
    mf_resp_call_end(listing->call);
    if (listing->glob != NULL)
        mf_glob_free(listing->glob);
    mf_buf_free(&listing->names);
    free(listing);
}

static void go_on(struct mf_reactor *reactor, struct mf_task *task)
{
    struct listing *listing = (struct listing *)task;
    bool more = mf_resp_heard_channels(heard_of(reactor)) > 0;
    listing->seen = 0;
    for (uint32_t i = 0; i < LOOKS_PER_TURN && more && listing->seen < NAMES_PER_TURN; i++)
        more = mf_resp_heard_walk(heard_of(reactor), &listing->cursor, NAMES_AT_ONCE, take_channel,
                                  listing);
    if (more)
        mf_reactor_send(reactor, reactor->index, task);
    else
        end_listing(listing);
}

// One at a time of a connection: the names may be many.
bool mf_resp_pubsub_channels(struct mf_resp_session *session)
{
    if (session->walking)
        return false;
    if (mf_resp_words(session) > 3) {
        mf_resp_reply_misused(session, "PUBSUB");
        return true;
    }
    bool some = mf_resp_words(session) == 3;
    if (some && mf_resp_word(session, 2).len > MF_GLOB_BYTES_MAX) {
        mf_resp_reply_error(session, "ERR a pattern is over 1024 bytes");
        return true;
    }
    struct mf_reactor *reactor = session->client.reactor;
    struct listing *listing = mf_calloc(1, sizeof(*listing));
    listing->task.run = go_on;
    listing->glob = some ? mf_glob_new(mf_resp_word(session, 2)) : NULL;
    session->walking = true;
    listing->call = mf_resp_call_begin(session, MF_RESP_FORM_PLAIN, (struct mf_resp_touch){0});
    mf_reactor_send(reactor, reactor->index, &listing->task);
    return true;
}

bool mf_resp_pubsub_numsub(struct mf_resp_session *session)
{
    uint32_t count = mf_resp_words(session) - 2;
    if (count > MF_RESP_SUBSCRIPTIONS_MAX) {
        mf_resp_reply_error(session, "ERR at most 1024 channels can be asked about at once");
        return true;
    }
    struct mf_buf *out = mf_resp_reply_begin(session);
    mf_resp_array(out, 2 * count);
    for (uint32_t i = 0; i < count; i++) {
        struct mf_bytes name = mf_resp_word(session, i + 2);
        mf_resp_bulk(out, name);
        mf_resp_int(out, (int64_t)mf_resp_heard_listeners(heard_of(session->client.reactor), name));
    }
    mf_resp_reply_end(session);
    return true;
}

bool mf_resp_pubsub_numpat(struct mf_resp_session *session)
{
    mf_resp_int(mf_resp_reply_begin(session),
                (int64_t)mf_resp_heard_patterns(heard_of(session->client.reactor)));
    mf_resp_reply_end(session);
    return true;
}
