// DEBUG, for tests that were written for Redis. security.debug_commands has to allow it.
//
// A sleep holds the connection that has asked for it and nobody else: its later requests wait, and
// the reactor goes on.
#include <ev.h>
#include <stdlib.h>
#include <string.h>

#include "base/slots.h"
#include "server/hotkeys.h"
#include "server/request.h"
#include "server/resp_internal.h"

#define NOT_ALLOWED                                                                                \
    "ERR DEBUG command not allowed. You need to set security.debug_commands in the configuration " \
    "file, and then restart the server."
#define SLEEP_S_MAX 86400.0
// Longer words are no numbers.
#define NUMBER_BYTES_MAX 64u

struct mf_resp_sleep {
    ev_timer timer;
    struct mf_resp_session *session;
    struct mf_resp_call *call;
};

static bool done_help(struct mf_resp_session *session)
{
    static const char *const lines[] = {
        "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "OBJECT <key>",
        "    What is known of the key's value.",
        "SET-ACTIVE-EXPIRE <0|1>",
        "    Whether keys that are due are taken out unasked, where this node leads.",
        "SLEEP <seconds>",
        "    Answer later. Other connections do not notice.",
        "HELP",
        "    Print this help.",
    };
    struct mf_buf *out = mf_resp_reply_begin(session);
    mf_resp_array(out, sizeof(lines) / sizeof(lines[0]));
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        mf_resp_status(out, lines[i]);
    mf_resp_reply_end(session);
    return true;
}

// As C reads it, from the start of the word; 0 where there is no number.
static double take_seconds(struct mf_bytes word)
{
    char text[NUMBER_BYTES_MAX + 1] = "";
    if (word.len <= NUMBER_BYTES_MAX)
        memcpy(text, word.data, word.len);
    double seconds = strtod(text, NULL);
    if (!(seconds > 0))
        return 0;
    return seconds < SLEEP_S_MAX ? seconds : SLEEP_S_MAX;
}

static void wake(struct mf_resp_sleep *sleep)
{
    struct mf_resp_session *session = sleep->session;
    struct mf_resp_call *call = sleep->call;
    ev_timer_stop(session->client.reactor->loop, &sleep->timer);
    session->sleep = NULL;
    session->held = false;
    mf_conn_waits_long(session->client.conn, false);
    free(sleep);
    mf_resp_status(mf_resp_call_reply(call), "OK");
    mf_resp_call_end(call);
}

static void on_awake(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    wake(timer->data);
}

void mf_resp_sleep_no_more(struct mf_resp_session *session)
{
    if (session->sleep != NULL)
        wake(session->sleep);
}

static bool begin_sleep(struct mf_resp_session *session, double seconds)
{
    if (session->first != NULL)
        return false; // Redis would have carried them out
    struct mf_resp_sleep *sleep = mf_calloc(1, sizeof(*sleep));
    sleep->session = session;
    sleep->call = mf_resp_call_begin(session, MF_RESP_FORM_OK, (struct mf_resp_touch){0});
    ev_timer_init(&sleep->timer, on_awake, seconds, 0);
    sleep->timer.data = sleep;
    ev_timer_start(session->client.reactor->loop, &sleep->timer);
    session->sleep = sleep;
    session->held = true;
    mf_conn_waits_long(session->client.conn, true);
    return true;
}

static bool set_active_expire(struct mf_resp_session *session, struct mf_bytes word)
{
    // As atoi has it.
    char text[NUMBER_BYTES_MAX + 1] = "";
    memcpy(text, word.data, word.len < NUMBER_BYTES_MAX ? word.len : NUMBER_BYTES_MAX);
    struct mf_settings *settings = &session->client.reactor->node->settings;
    atomic_store_explicit(&settings->expiry_paused, strtol(text, NULL, 10) == 0,
                          memory_order_relaxed);
    mf_resp_settings_changed(session);
    return true;
}

static bool ask_object(struct mf_resp_session *session, struct mf_bytes key)
{
    struct mf_reactor *reactor = session->client.reactor;
    struct mf_command command = {
        .op = MF_OP_OBJECT, .items = &command.one, .item_count = 1, .one = {.key = key}};
    if (key.len == 0 || key.len > session->ask.key_bytes_max) {
        mf_resp_reply_error(session, "ERR no such key");
        return true;
    }
    session->slot = session->cluster ? mf_slot_of(key) : MF_RESP_NO_SLOT;
    if (mf_resp_is_elsewhere(session, session->slot)) {
        mf_resp_reply_elsewhere(session, session->slot);
        return true;
    }
    struct mf_resp_touch touch = mf_resp_touch_of(&command);
    if (mf_resp_must_wait(session, touch))
        return false;
    mf_hotkeys_note(reactor->hotkeys, &command);
    mf_resp_start(session, &command, mf_resp_call_result,
                  mf_resp_call_begin(session, MF_RESP_FORM_DEBUG_OBJECT, touch));
    return true;
}

bool mf_resp_debug(struct mf_resp_session *session)
{
    struct mf_bytes sub = mf_resp_word(session, 1);
    uint32_t count = mf_resp_words(session);
    if (session->client.reactor->node->config.debug_commands == 0) {
        mf_resp_reply_error(session, NOT_ALLOWED);
        return true;
    }
    if (mf_resp_is(sub, "help") && count == 2)
        return done_help(session);
    if (mf_resp_is(sub, "sleep") && count == 3)
        return begin_sleep(session, take_seconds(mf_resp_word(session, 2)));
    if (mf_resp_is(sub, "set-active-expire") && count == 3)
        return set_active_expire(session, mf_resp_word(session, 2));
    if (mf_resp_is(sub, "object") && count == 3)
        return ask_object(session, mf_resp_word(session, 2));
    mf_resp_reply_misused(session, "DEBUG");
    return true;
}
