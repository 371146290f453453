// CLIENT PAUSE: requests wait, those that write or all, until a time or CLIENT UNPAUSE.
//
// A connection whose request has to wait is held: nothing of it is carried out, or read once it has
// sent its share, before the pause is over. That request is looked at anew then, and so waits on
// where the pause has become longer. Pauses are the node's, and keys die meanwhile. A client that
// leaves, or sends no more, is dropped with what it waits for, as by Redis.
#include <ev.h>
#include <stdlib.h>

#include "server/resp_internal.h"

struct mf_resp_pause {
    ev_timer timer;
    struct mf_resp_session *session;
    struct mf_resp_pause *next; // of its reactor
    struct mf_resp_pause **at;
};

// It counts as a request under way meanwhile.
static void end_pause(struct mf_resp_pause *pause)
{
    struct mf_resp_session *session = pause->session;
    ev_timer_stop(session->client.reactor->loop, &pause->timer);
    *pause->at = pause->next;
    if (pause->next != NULL)
        pause->next->at = pause->at;
    free(pause);
    session->pause = NULL;
    session->held = false;
    mf_conn_waits_long(session->client.conn, false);
    mf_client_end_call(&session->client, 0);
    mf_resp_session_release(session);
}

static void on_over(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    end_pause(timer->data);
}

void mf_resp_pause_no_more(struct mf_resp_session *session)
{
    if (session->pause != NULL)
        end_pause(session->pause);
}

void mf_resp_pauses_over(struct mf_reactor *reactor)
{
    struct mf_resp_pause *next;
    for (struct mf_resp_pause *at = reactor->resp->pauses; at != NULL; at = next) {
        next = at->next;
        end_pause(at);
    }
}

static bool concerns(const struct mf_resp_session *session)
{
    const struct mf_settings *settings = &session->client.reactor->node->settings;
    const struct mf_resp_row *row = session->ask.row;
    if (atomic_load_explicit(&settings->pause_all, memory_order_relaxed))
        return true;
    return (row->flags & MF_RESP_WRITE) != 0 || row->own == MF_RESP_PUBLISH ||
           (row->own == MF_RESP_EXEC && mf_resp_multi_writes(session));
}

bool mf_resp_must_pause(struct mf_resp_session *session, uint64_t until_us)
{
    struct mf_reactor *reactor = session->client.reactor;
    uint64_t now_us = mf_reactor_now_us(reactor);
    if (now_us >= until_us || !concerns(session))
        return false;
    struct mf_resp_pause *pause = mf_calloc(1, sizeof(*pause));
    pause->session = session;
    pause->at = &reactor->resp->pauses;
    pause->next = reactor->resp->pauses;
    if (pause->next != NULL)
        pause->next->at = &pause->next;
    reactor->resp->pauses = pause;
    ev_timer_init(&pause->timer, on_over, (double)(until_us - now_us) / 1e6, 0);
    pause->timer.data = pause;
    ev_timer_start(reactor->loop, &pause->timer);
    session->pause = pause;
    session->held = true;
    mf_conn_waits_long(session->client.conn, true);
    mf_client_begin_call(&session->client, 0);
    return true;
}

bool mf_resp_client_pause(struct mf_resp_session *session)
{
    struct mf_settings *settings = &session->client.reactor->node->settings;
    uint64_t now_us = mf_reactor_now_us(session->client.reactor);
    bool all = true;
    int64_t ms;
    if (mf_resp_words(session) > 4) {
        mf_resp_reply_misused(session, "CLIENT");
        return true;
    }
    if (mf_resp_words(session) == 4 && mf_resp_is(mf_resp_word(session, 3), "write")) {
        all = false;
    } else if (mf_resp_words(session) == 4 && !mf_resp_is(mf_resp_word(session, 3), "all")) {
        mf_resp_reply_error(session, "ERR CLIENT PAUSE mode must be WRITE or ALL");
        return true;
    }
    if (!mf_resp_integer(mf_resp_word(session, 2), &ms) || ms > MF_TTL_MS_MAX) {
        mf_resp_reply_error(session, "ERR timeout is not an integer or out of range");
        return true;
    }
    if (ms < 0) {
        mf_resp_reply_error(session, "ERR timeout is negative");
        return true;
    }
    // A pause that is there already becomes longer and wider by this one, never less.
    uint64_t until_us = now_us + (uint64_t)ms * 1000;
    uint64_t before_us = atomic_load_explicit(&settings->pause_until_us, memory_order_relaxed);
    bool on = before_us > now_us;
    if (!on || all)
        atomic_store_explicit(&settings->pause_all, all, memory_order_relaxed);
    if (!on || until_us > before_us)
        atomic_store_explicit(&settings->pause_until_us, until_us, memory_order_relaxed);
    mf_resp_settings_changed(session);
    return true;
}

bool mf_resp_client_unpause(struct mf_resp_session *session)
{
    struct mf_settings *settings = &session->client.reactor->node->settings;
    atomic_store_explicit(&settings->pause_until_us, 0, memory_order_relaxed);
    mf_resp_settings_changed(session);
    return true;
}
