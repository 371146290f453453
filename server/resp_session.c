// Connections that speak the Redis protocol: bytes to requests, requests to whoever carries them
// out; see resp_session.h.
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "server/ahead.h"
#include "server/hotkeys.h"
#include "server/resp_internal.h"

// A short reply.
#define AT_ONCE_BYTES 4096u

struct mf_resp_door *mf_resp_door_new(const struct mf_node *node)
{
    struct mf_resp_door *door = mf_calloc(1, sizeof(*door));
    door->stats = mf_resp_stats_new(&node->resp_settings);
    return door;
}

void mf_resp_door_free(struct mf_resp_door *door)
{
    while (door->free != NULL) {
        struct mf_resp_call *call = door->free;
        door->free = call->next;
        mf_buf_free(&call->reply);
        mf_buf_free(&call->words);
        free(call);
    }
    mf_resp_names_free(door->names);
    mf_resp_trackers_free(door->trackers);
    mf_resp_stats_free(door->stats);
    free(door);
}

void mf_resp_session_release(struct mf_resp_session *session)
{
    if (!mf_client_gone(&session->client))
        return;
    mf_resp_free(&session->request);
    mf_resp_ask_free(&session->ask);
    mf_buf_free(&session->unwanted);
    mf_resp_multi_forget(session);
    free(session->name);
    free(session->lib_name);
    free(session->lib_version);
    free(session->user);
    free(session);
}

static bool is_closing(const struct mf_resp_session *session)
{
    return atomic_load_explicit(&session->client.reactor->node->closing, memory_order_relaxed);
}

static void tell_at_once(void *arg, const struct mf_result *result)
{
    struct mf_resp_session *session = arg;
    const struct mf_resp_ask *ask = &session->ask;
    struct mf_buf *out = mf_resp_reply_begin(session);
    if (result->kind != MF_RESULT_ERROR ||
        !mf_resp_tell_elsewhere(session, out, session->slot, result))
        mf_resp_tell(out, (struct mf_resp_telling){ask->row, ask->form, session->version}, result);
    size_t bytes = out->len - session->reply_at;
    mf_client_learn_reply(&session->client, bytes);
    // The clock has just been read, and a short reply takes no time worth reading it again.
    if (bytes <= AT_ONCE_BYTES)
        session->ended_us = session->client.reactor->read_us;
    mf_resp_account_lookup(session, ask->command.op, ask->form, result);
    mf_resp_reply_end(session);
}

static bool run_data(struct mf_resp_session *session)
{
    struct mf_resp_ask *ask = &session->ask;
    struct mf_reactor *reactor = session->client.reactor;
    if (!mf_resp_ask_take(ask)) {
        mf_resp_reply_error(session, (const char *)ask->error.data);
        return true;
    }
    struct mf_resp_touch touch = mf_resp_touch_of(&ask->command);
    if (mf_resp_must_wait(session, touch)) {
        session->waits = true;
        session->waits_for = touch;
        return false;
    }
    mf_hotkeys_note(reactor->hotkeys, &ask->command);
    // What is told behind replies counts calls.
    if (session->tracking == NULL &&
        mf_request_answer(reactor, &ask->command, tell_at_once, session))
        return true;
    // Which may be much more than has come.
    session->request_bytes += ask->made.len + mf_request_weight(reactor, &ask->command);
    struct mf_resp_call *call = mf_resp_call_begin(session, ask->form, touch);
    call->op = ask->command.op;
    if (__builtin_expect(session->tracking != NULL, false))
        call->own_write = mf_resp_tracking_write(session, &ask->command);
    mf_resp_start(session, &ask->command, mf_resp_call_result, call);
    return true;
}

// Requests of a browser that somebody has sent here: the lines of HTTP are inline commands.
static bool is_http(struct mf_bytes word)
{
    return mf_resp_is(word, "post") || mf_resp_is(word, "host:");
}

// It is refused before anything is done: so will be the EXEC that it was for.
static void spoil_exec(struct mf_resp_session *session)
{
    if (session->ask.row->own == MF_RESP_WATCH && !mf_resp_in_multi(session))
        mf_resp_multi_unguarded(session);
    else
        mf_resp_multi_abort(session);
}

static void refuse_closing(struct mf_resp_session *session)
{
    spoil_exec(session);
    struct mf_buf *out = mf_resp_reply_begin(session);
    const struct mf_result closing = {.kind = MF_RESULT_ERROR, .err = MF_SHUTTING_DOWN};
    if (!mf_resp_tell_elsewhere(session, out, session->slot, &closing))
        mf_resp_tell_error(out, MF_SHUTTING_DOWN, NULL);
    mf_resp_reply_end(session);
}

// False when it has to wait.
static bool run(struct mf_resp_session *session)
{
    struct mf_resp_ask *ask = &session->ask;
    if (is_http(ask->words[0])) {
        mf_conn_close(session->client.conn, "it speaks HTTP");
        return true;
    }
    if (!mf_resp_ask_find(ask)) {
        mf_resp_multi_abort(session);
        mf_resp_reply_error(session, (const char *)ask->error.data);
        session->outcome = MF_RESP_REFUSED;
        return true;
    }
    session->asked = ask->row;
    bool greeting = (ask->row->flags & MF_RESP_NO_AUTH) != 0;
    if (!greeting && !mf_client_is_open(&session->client)) {
        spoil_exec(session);
        mf_resp_tell_error(mf_resp_reply_begin(session), MF_UNAUTHORIZED, NULL);
        mf_resp_reply_end(session);
        return true;
    }
    session->slot = session->cluster ? mf_resp_find_slot(ask) : MF_RESP_NO_SLOT;
    if (mf_resp_is_elsewhere(session, session->slot)) {
        spoil_exec(session);
        mf_resp_reply_elsewhere(session, session->slot);
        return true;
    }
    if (!greeting && is_closing(session)) {
        refuse_closing(session);
        return true;
    }
    if (session->version == 2 && (ask->row->flags & MF_RESP_LISTENING) == 0 &&
        mf_resp_is_listening(session)) {
        spoil_exec(session);
        mf_resp_errorf(mf_resp_reply_begin(session),
                       "ERR Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / "
                       "QUIT / RESET are allowed in this context",
                       ask->row->name);
        mf_resp_reply_end(session);
        session->outcome = MF_RESP_REFUSED;
        return true;
    }
    uint64_t pause_us = atomic_load_explicit(
        &session->client.reactor->node->settings.pause_until_us, memory_order_relaxed);
    if (__builtin_expect(pause_us != 0, false) && mf_resp_must_pause(session, pause_us))
        return false;
    if (mf_resp_in_multi(session) && (ask->row->flags & MF_RESP_UNQUEUED) == 0)
        return mf_resp_multi_queue(session);
    if (__builtin_expect(session->tracking != NULL, false))
        mf_resp_tracking_note(session, NULL);
    return ask->row->own != MF_RESP_DATA ? mf_resp_own(session) : run_data(session);
}

static void begin_request(struct mf_resp_session *session)
{
    const struct mf_config *config = &session->client.reactor->node->config;
    struct mf_resp_ask *ask = &session->ask;
    ask->words = session->request.words;
    ask->count = session->request.word_count;
    ask->key_bytes_max = config->key_bytes_max;
    ask->value_bytes_max = config->value_bytes_max;
    ask->request_bytes_max = config->request_bytes_max;
    mf_resp_account_begin(session);
}

static void end_request(struct mf_resp_session *session)
{
    if (session->replies == MF_RESP_SKIPPED)
        session->replies = MF_RESP_SENT;
    else if (session->replies == MF_RESP_SKIP_NEXT)
        session->replies = MF_RESP_SKIPPED;
    if (__builtin_expect(atomic_load_explicit(&session->client.reactor->node->resp_monitors,
                                              memory_order_relaxed) > 0,
                         false))
        mf_resp_monitor_tell(session);
    if (__builtin_expect(session->tracking != NULL, false))
        mf_resp_tracking_done(session);
    mf_resp_account_end(session);
    mf_resp_ask_trim(&session->ask);
    mf_client_count_request(&session->client);
}

static size_t peek(struct mf_bytes input, struct mf_bytes *key, bool *write)
{
    uint32_t words = 0;
    size_t size = mf_resp_peek(input, key, &words);
    *write = words > 2;
    return size;
}

static enum mf_err on_data(void *arg, struct mf_conn *conn, struct mf_bytes input, size_t *used)
{
    (void)conn;
    struct mf_resp_session *session = arg;
    struct mf_resp_limits limits = {.request_bytes_max =
                                        session->client.reactor->node->config.request_bytes_max,
                                    .stranger = !mf_client_is_open(&session->client)};
    size_t size = 0;
    *used = 0;
    // Before it is understood once more: it may be long, and be offered again by each call's end.
    if (session->held || (session->waits && mf_resp_must_wait(session, session->waits_for))) {
        mf_client_wait(&session->client);
        return MF_OK;
    }
    session->waits = false;
    enum mf_err err = mf_resp_parse(&session->request, input, &limits, &size);
    if (err == MF_AGAIN)
        return MF_OK;
    if (err != MF_OK) {
        mf_resp_errorf(mf_resp_reply_begin(session), "ERR %s", session->request.message);
        mf_resp_reply_end(session);
        return err;
    }
    // Of two words is a GET, most likely, and of a few more a SET.
    const struct mf_reactor *reactor = session->client.reactor;
    uint32_t words = session->request.word_count;
    if (session->looked_at == 0 && input.len > size && words >= 2 &&
        (words == 2 ? reactor->looks_ahead : words <= MF_RESP_PEEK_WORDS && reactor->writes_ahead))
        session->looked_at = mf_ahead_look(session->client.reactor, input, peek);
    session->request_bytes = size;
    session->raw = input.data;
    begin_request(session);
    if (session->request.word_count > 0) {
        if (!run(session)) {
            mf_client_wait(&session->client);
            return MF_OK;
        }
        end_request(session);
    }
    mf_resp_reset(&session->request);
    session->looked_at -= session->looked_at > 0;
    *used = size;
    return MF_OK;
}

static void on_closed(void *arg, struct mf_conn *conn, const char *reason)
{
    struct mf_resp_session *session = arg;
    struct mf_resp_door *door = session->client.reactor->resp;
    mf_log(MF_DEBUG, "client %s closed: %s", mf_conn_peer_name(conn), reason);
    mf_resp_looks_past(session);
    if (session->prev != NULL)
        session->prev->next = session->next;
    else
        door->sessions = session->next;
    if (session->next != NULL)
        session->next->prev = session->prev;
    mf_resp_listen_no_more(session);
    mf_resp_monitor_no_more(session);
    mf_resp_tracking_no_more(session);
    mf_resp_track_told_no_more(session);
    mf_resp_map_no_more(session);
    mf_resp_sleep_no_more(session);
    mf_resp_pause_no_more(session);
    mf_client_closed(&session->client);
    mf_resp_session_release(session);
}

static const struct mf_conn_ops ops = {.data = on_data, .closed = on_closed};

// The address that the client came to.
static void name_local(struct mf_resp_session *session)
{
    struct sockaddr_storage storage;
    struct sockaddr *local = (struct sockaddr *)&storage;
    socklen_t size = sizeof(storage);
    struct mf_address address = {0};
    char port[8];
    if (getsockname(session->fd, local, &size) != 0 ||
        getnameinfo(local, size, address.host, 64, port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    char text[300];
    address.port = (uint16_t)strtoul(port, NULL, 10);
    mf_address_format(&address, text, sizeof(text));
    snprintf(session->local, sizeof(session->local), "%s", text);
}

void mf_resp_accepted(struct mf_reactor *reactor, int fd, bool cluster)
{
    struct mf_resp_door *door = reactor->resp;
    struct mf_resp_session *session = mf_calloc(1, sizeof(*session));
    if (!mf_client_accept(&session->client, reactor, fd, &ops, session,
                          "-ERR max number of clients reached\r\n")) {
        free(session);
        return;
    }
    session->fd = fd;
    session->cluster = cluster;
    session->version = 2;
    session->id = atomic_fetch_add_explicit(&reactor->node->resp_ids, 1, memory_order_relaxed) + 1;
    session->began_us = mf_reactor_now_us(reactor);
    session->asked_us = session->began_us;
    session->name = mf_strdup("");
    session->lib_name = mf_strdup("");
    session->lib_version = mf_strdup("");
    session->user = mf_strdup("default");
    name_local(session);
    session->next = door->sessions;
    if (door->sessions != NULL)
        door->sessions->prev = session;
    door->sessions = session;
}
