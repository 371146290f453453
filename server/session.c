// MessagePack-RPC sessions: bytes to requests, results to replies; see session.h.
//
// A reply may come when the client is gone: calls count their session, and the last one frees it.
#include "server/session.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/slots.h"
#include "rpc/msgpack_rpc.h"
#include "rpc/msgpack_scan.h"
#include "server/admin.h"
#include "server/ahead.h"
#include "server/change.h"
#include "server/client.h"
#include "server/hotkeys.h"
#include "server/hotkeys_ask.h"
#include "server/request.h"
#include "server/snapshot_files.h"
#include "server/watch.h"

#define TXN_ANSWER_BYTES (1u << 20)
// What a client may send that has not said who it is: a hello is shorter.
#define STRANGER_BYTES_MAX (16u << 10)
#define SPARE_CALLS_MAX 4096u
#define SAY_HELLO "say hello with a user and password first"
// How many hot keys are told unless the client says otherwise.
#define HOTKEYS_COUNT 10u

// Watches of one connection, and the bytes of what they watch and of the versions that they begin
// from, of which every reactor has a copy.
#define WATCHES_MAX 1024u
#define WATCH_BYTES_MAX (4u << 20)
// What may wait to be sent on it before one is lost. Less than what the connection may have unsent,
// so that it is a watch that goes and not the client.
#define WATCH_UNSENT_BYTES_MAX (12u << 20)

struct session {
    struct mf_client client;
    struct client_watch *watches;
    uint32_t watch_count;
    size_t watch_bytes; // of what is kept of them
    struct mf_msgpack_scan scan;
    struct mf_rpc_request request; // being parsed
    uint32_t looked_at; // requests, from this one on, that have been looked at: see ahead.h
};

// What waits for its result. Spare ones are the reactor's, for all of its sessions.
struct mf_session_call {
    struct mf_session_call *next; // while it is spare
    struct session *session;
    uint32_t msgid;
    size_t bytes;
    bool silent; // a notification
};

struct client_watch {
    struct client_watch *next;
    struct session *session;
    struct mf_session_call *call; // until it has begun
    uint64_t id;
    size_t bytes; // of what is kept of it
};

static void release(struct session *session)
{
    if (!mf_client_gone(&session->client))
        return;
    mf_rpc_request_free(&session->request);
    free(session);
}

static struct mf_session_call *begin_call(struct session *session, size_t bytes)
{
    struct mf_reactor *reactor = session->client.reactor;
    struct mf_session_call *call = reactor->spare_calls;
    if (call != NULL) {
        reactor->spare_calls = call->next;
        reactor->spare_call_count--;
    } else {
        call = mf_alloc(sizeof(*call));
    }
    *call = (struct mf_session_call){.session = session,
                                     .msgid = session->request.msgid,
                                     .bytes = bytes,
                                     .silent = session->request.notification};
    mf_client_begin_call(&session->client, bytes);
    return call;
}

static void end_call(struct mf_session_call *call)
{
    struct session *session = call->session;
    struct mf_reactor *reactor = session->client.reactor;
    mf_client_end_call(&session->client, call->bytes);
    if (reactor->spare_call_count < SPARE_CALLS_MAX) {
        call->next = reactor->spare_calls;
        reactor->spare_calls = call;
        reactor->spare_call_count++;
    } else {
        free(call);
    }
    release(session);
}

void mf_session_free_spare(struct mf_reactor *reactor)
{
    struct mf_session_call *call;
    while ((call = reactor->spare_calls) != NULL) {
        reactor->spare_calls = call->next;
        free(call);
    }
}

static void tell_result(struct session *session, uint32_t msgid, bool silent,
                        const struct mf_result *result)
{
    if (result->kind == MF_RESULT_ERROR)
        mf_client_count_error(&session->client);
    mf_client_learn_result(&session->client, result);
    if (session->client.conn == NULL || silent)
        return;
    struct mf_buf *out = mf_conn_output(session->client.conn);
    size_t before = out->len;
    mf_rpc_reply_result(out, msgid, result);
    mf_client_learn_reply(&session->client, out->len - before);
}

static void on_result(void *arg, const struct mf_result *result)
{
    struct mf_session_call *call = arg;
    tell_result(call->session, call->msgid, call->silent, result);
    end_call(call);
}

static void on_answer(void *arg, const struct mf_result *result)
{
    struct session *session = arg;
    tell_result(session, session->request.msgid, session->request.notification, result);
    mf_conn_wrote(session->client.conn);
}

// An administrative reply: `packed` is the result, already in MessagePack.
static void on_packed(void *arg, enum mf_err err, const char *message, struct mf_bytes packed)
{
    struct mf_session_call *call = arg;
    struct session *session = call->session;
    if (session->client.conn != NULL && !call->silent) {
        struct mf_buf *out = mf_conn_output(session->client.conn);
        if (err != MF_OK) {
            mf_rpc_reply_error(out, call->msgid, err, message);
        } else {
            mf_rpc_reply_begin(out, call->msgid);
            mf_buf_put(out, packed.data, packed.len);
        }
    }
    end_call(call);
}

static void reply_error(struct session *session, enum mf_err err, const char *message)
{
    mf_client_count_error(&session->client);
    if (session->request.notification)
        return;
    mf_rpc_reply_error(mf_conn_output(session->client.conn), session->request.msgid, err, message);
    mf_conn_wrote(session->client.conn);
}

// Watches.

static void add_watch(struct session *session, struct client_watch *watch)
{
    watch->next = session->watches;
    session->watches = watch;
    session->watch_count++;
    session->watch_bytes += watch->bytes;
    mf_conn_keep(session->client.conn, true);
}

static struct client_watch **find_watch(struct session *session, uint64_t id)
{
    struct client_watch **at = &session->watches;
    while (*at != NULL && (*at)->id != id)
        at = &(*at)->next;
    return at;
}

static void remove_watch(struct client_watch *watch)
{
    struct session *session = watch->session;
    *find_watch(session, watch->id) = watch->next;
    session->watch_count--;
    session->watch_bytes -= watch->bytes;
    mf_conn_keep(session->client.conn, session->watch_count > 0);
    free(watch);
}

static void on_watch_begun(void *arg, uint64_t id, enum mf_err err, const char *message)
{
    struct client_watch *watch = arg;
    struct mf_session_call *call = watch->call;
    struct session *session = watch->session;
    struct mf_buf *out = mf_conn_output(session->client.conn);
    watch->call = NULL;
    if (err != MF_OK) {
        mf_client_count_error(&session->client);
        remove_watch(watch);
    }
    if (!call->silent && err != MF_OK) {
        mf_rpc_reply_error(out, call->msgid, err, message);
    } else if (!call->silent) {
        mf_rpc_reply_begin(out, call->msgid);
        mf_pack_uint(out, id);
    }
    end_call(call);
}

static bool on_watch_event(void *arg, uint64_t id, const struct mf_event *event)
{
    const struct client_watch *watch = arg;
    struct mf_conn *conn = watch->session->client.conn;
    if (mf_conn_unsent_bytes(conn) > WATCH_UNSENT_BYTES_MAX)
        return false;
    mf_rpc_event(mf_conn_output(conn), id, event);
    mf_conn_wrote(conn);
    return true;
}

static bool on_watch_progress(void *arg, uint64_t id, const struct mf_shard_version *versions,
                              uint32_t count)
{
    const struct client_watch *watch = arg;
    struct mf_conn *conn = watch->session->client.conn;
    if (mf_conn_unsent_bytes(conn) > WATCH_UNSENT_BYTES_MAX)
        return false;
    mf_rpc_progress(mf_conn_output(conn), id, versions, count);
    mf_conn_wrote(conn);
    return true;
}

static void on_watch_lost(void *arg, uint64_t id)
{
    struct client_watch *watch = arg;
    struct mf_conn *conn = watch->session->client.conn;
    remove_watch(watch);
    mf_rpc_lost(mf_conn_output(conn), id);
    mf_conn_wrote(conn);
}

static const struct mf_watch_sink watch_sink = {.begun = on_watch_begun,
                                                .event = on_watch_event,
                                                .progress = on_watch_progress,
                                                .lost = on_watch_lost};

// NULL, or what is wrong with the versions that a map names.
static const char *take_map(const struct mf_node *node, const struct mf_rpc_watch *given,
                            struct mf_shard_version *froms)
{
    const char *wrong = NULL;
    bool *named = mf_calloc(node->config.shards, sizeof(*named));
    for (uint32_t i = 0; i < given->from_count && wrong == NULL; i++) {
        uint32_t shard = given->froms[i].shard;
        froms[i] = given->froms[i];
        if (shard >= node->config.shards)
            wrong = "watch: from_version names a shard that there is not";
        else if (named[shard])
            wrong = "watch: from_version names a shard twice";
        else
            named[shard] = true;
    }
    free(named);
    return wrong;
}

// NULL, or what is wrong with the versions to begin from.
static const char *take_froms(const struct mf_node *node, const struct mf_rpc_watch *given,
                              struct mf_watch_want *want, struct mf_shard_version *froms)
{
    want->froms = froms;
    want->from_count = given->from_count;
    if (!given->has_from)
        return given->from_count > 0 ? take_map(node, given, froms) : NULL;
    if (!want->one_shard)
        return "watch: from_version is one version, expected a map of shard to version for a "
               "prefix without a whole {tag}";
    froms[0] = (struct mf_shard_version){want->shard, given->from_version};
    want->from_count = 1;
    return NULL;
}

static void watch(struct session *session, size_t bytes)
{
    struct mf_reactor *reactor = session->client.reactor;
    const struct mf_rpc_watch *given = &session->request.watch;
    struct mf_watch_want want = {
        .by_prefix = given->by_prefix,
        .pattern = given->pattern,
        .events = given->events,
        .progress = given->progress,
        .one_shard = !given->by_prefix || mf_slot_by_tag(given->pattern),
    };
    if (want.one_shard)
        want.shard = mf_shard_of_key(given->pattern, reactor->node->config.shards);
    size_t kept_bytes = given->pattern.len + given->from_count * sizeof(*given->froms);
    if (session->watch_count == WATCHES_MAX ||
        session->watch_bytes + kept_bytes > WATCH_BYTES_MAX) {
        reply_error(
            session, MF_BUSY,
            "watch: this connection has 1024 watches, or 4 MiB of keys, prefixes and versions");
        return;
    }
    struct mf_shard_version *froms =
        mf_calloc(given->from_count + (size_t)given->has_from + 1, sizeof(*froms));
    const char *wrong = take_froms(reactor->node, given, &want, froms);
    if (wrong != NULL) {
        reply_error(session, MF_BAD_REQUEST, wrong);
    } else {
        struct client_watch *fresh = mf_calloc(1, sizeof(*fresh));
        fresh->session = session;
        fresh->bytes = kept_bytes;
        fresh->call = begin_call(session, bytes);
        fresh->id = mf_watch_begin(reactor, &want, &watch_sink, fresh);
        add_watch(session, fresh);
    }
    free(froms);
}

static void unwatch(struct session *session)
{
    const struct mf_rpc_request *request = &session->request;
    struct client_watch *found = *find_watch(session, request->watch_id);
    bool known = found != NULL && found->call == NULL;
    if (known) {
        mf_watch_end(session->client.reactor, found->id, found);
        remove_watch(found);
    }
    if (request->notification)
        return;
    struct mf_buf *out = mf_conn_output(session->client.conn);
    mf_rpc_reply_begin(out, request->msgid);
    mf_pack_bool(out, known);
    mf_conn_wrote(session->client.conn);
}

// The client is gone: so is what is under way for a watch that has not begun.
static void end_watches(struct session *session)
{
    while (session->watches != NULL) {
        struct client_watch *first = session->watches;
        mf_watch_end(session->client.reactor, first->id, first);
        if (first->call != NULL) {
            mf_client_end_call(&session->client, first->call->bytes);
            free(first->call);
        }
        session->watches = first->next;
        free(first);
    }
    session->watch_count = 0;
}

static void hello(struct session *session)
{
    const struct mf_node *node = session->client.reactor->node;
    const struct mf_rpc_request *request = &session->request;
    struct mf_client *client = &session->client;
    client->authorized = mf_client_knows(client, request->hello_user, request->hello_password);
    if (!client->authorized) {
        reply_error(session, MF_UNAUTHORIZED, "user and password do not fit");
        return;
    }
    if (request->notification)
        return;
    struct mf_buf *out = mf_conn_output(session->client.conn);
    mf_rpc_reply_begin(out, request->msgid);
    mf_pack_map(out, 5);
    mf_pack_str(out, "server");
    mf_pack_str(out, "mayfly");
    mf_pack_str(out, "version");
    mf_pack_str(out, MF_VERSION);
    mf_pack_str(out, "node");
    mf_pack_uint(out, node->config.id);
    mf_pack_str(out, "cluster");
    mf_pack_str(out, node->config.name);
    mf_pack_str(out, "shards");
    mf_pack_uint(out, node->config.shards);
    mf_conn_wrote(session->client.conn);
}

static void dispatch(struct session *session, size_t bytes)
{
    struct mf_rpc_request *request = &session->request;
    struct mf_reactor *reactor = session->client.reactor;
    bool public = request->method == MF_METHOD_PING || request->method == MF_METHOD_HELLO;
    if (!public && !mf_client_is_open(&session->client)) {
        reply_error(session, MF_UNAUTHORIZED, SAY_HELLO);
        return;
    }
    if (!public && atomic_load_explicit(&reactor->node->closing, memory_order_relaxed)) {
        reply_error(session, MF_SHUTTING_DOWN, NULL);
        return;
    }
    switch (request->method) {
    case MF_METHOD_PING:
        if (!request->notification) {
            mf_rpc_reply_begin(mf_conn_output(session->client.conn), request->msgid);
            mf_pack_str(mf_conn_output(session->client.conn), "pong");
            mf_conn_wrote(session->client.conn);
        }
        break;
    case MF_METHOD_HELLO:
        hello(session);
        break;
    case MF_METHOD_COMMAND:
        mf_hotkeys_note(reactor->hotkeys, &request->command);
        if (!mf_request_answer(reactor, &request->command, on_answer, session))
            mf_request_start(
                reactor, &request->command, on_result,
                begin_call(session, bytes + mf_request_weight(reactor, &request->command)));
        break;
    case MF_METHOD_CLUSTER:
        mf_admin_cluster(reactor, on_packed, begin_call(session, bytes));
        break;
    case MF_METHOD_STATS:
        mf_admin_stats(reactor, on_packed, begin_call(session, bytes));
        break;
    case MF_METHOD_HOTKEYS:
        mf_hotkeys_ask(reactor, request->command.limit > 0 ? request->command.limit : HOTKEYS_COUNT,
                       on_packed, begin_call(session, bytes));
        break;
    case MF_METHOD_SNAPSHOT:
        mf_admin_snapshot(reactor, request->name, on_packed, begin_call(session, bytes));
        break;
    case MF_METHOD_SNAPSHOT_READ:
        mf_snapshot_files_read(reactor, request->name, request->offset, on_packed,
                               begin_call(session, bytes));
        break;
    case MF_METHOD_SNAPSHOT_REMOVE:
        mf_snapshot_files_remove(reactor, request->name, on_packed, begin_call(session, bytes));
        break;
    case MF_METHOD_WATCH:
        watch(session, bytes);
        break;
    case MF_METHOD_UNWATCH:
        unwatch(session);
        break;
    case MF_METHOD_TRANSFER:
        mf_admin_transfer(reactor, request->shard, request->node, on_packed,
                          begin_call(session, bytes));
        break;
    case MF_METHOD_ADD_NODE:
        mf_change_add(reactor, request->node, request->name, on_packed, begin_call(session, bytes));
        break;
    case MF_METHOD_REMOVE_NODE:
        mf_change_remove(reactor, request->node, on_packed, begin_call(session, bytes));
        break;
    case MF_METHOD_DRAIN_NODE:
        mf_admin_drain(reactor, request->node, (request->command.flags & MF_UNDO) != 0, on_packed,
                       begin_call(session, bytes));
        break;
    }
}

// Bytes that are no message: answered if the msgid came before the fault, then closed.
static enum mf_err refuse(struct session *session, struct mf_bytes input, enum mf_err err)
{
    struct mf_msgpack_in in = {.reader = mf_reader_of(input)};
    struct mf_msgpack_token array;
    struct mf_msgpack_token type;
    struct mf_msgpack_token msgid;
    bool readable = mf_msgpack_next(&in, &array) == MF_OK && array.type == MF_MP_ARRAY &&
                    array.count == 4 && mf_msgpack_next(&in, &type) == MF_OK &&
                    type.type == MF_MP_UINT && type.uinteger == 0 &&
                    mf_msgpack_next(&in, &msgid) == MF_OK && msgid.type == MF_MP_UINT &&
                    msgid.uinteger <= UINT32_MAX;
    session->request.notification = !readable;
    session->request.msgid = readable ? (uint32_t)msgid.uinteger : 0;
    if (err == MF_TOO_LARGE)
        reply_error(session, MF_TOO_LARGE, "the request is over limits.max_request");
    else if (err == MF_UNAUTHORIZED)
        reply_error(session, err, SAY_HELLO);
    else
        reply_error(session, MF_BAD_REQUEST, "the bytes are not a MessagePack object");
    return err;
}

// A txn's results are put together while the shard waits: room for one of the largest values, and
// for what surrounds it.
static size_t answer_bytes_max(const struct mf_config *config)
{
    uint64_t most = (uint64_t)config->value_bytes_max + TXN_ANSWER_BYTES;
    return most < config->request_bytes_max ? (size_t)most : (size_t)config->request_bytes_max;
}

static enum mf_err on_data(void *arg, struct mf_conn *conn, struct mf_bytes input, size_t *used)
{
    (void)conn;
    struct session *session = arg;
    const struct mf_config *config = &session->client.reactor->node->config;
    size_t size = 0;
    *used = 0;
    bool stranger = !mf_client_is_open(&session->client);
    size_t bytes_max = config->request_bytes_max;
    if (stranger && bytes_max > STRANGER_BYTES_MAX)
        bytes_max = STRANGER_BYTES_MAX;
    enum mf_err err = mf_msgpack_scan(&session->scan, input, bytes_max, &size);
    if (err == MF_AGAIN)
        return MF_OK;
    if (err != MF_OK)
        return refuse(session, input, stranger && err == MF_TOO_LARGE ? MF_UNAUTHORIZED : err);
    *used = size;
    mf_client_count_request(&session->client);
    struct mf_rpc_limits limits = {.key_bytes_max = config->key_bytes_max,
                                   .value_bytes_max = config->value_bytes_max,
                                   .answer_bytes_max = answer_bytes_max(config)};
    struct mf_rpc_request *request = &session->request;
    mf_rpc_parse(mf_bytes_of(input.data, size), &limits, request);
    const struct mf_reactor *reactor = session->client.reactor;
    enum mf_opcode op = request->command.op;
    if (session->looked_at == 0 && size < input.len &&
        ((op == MF_OP_GET && reactor->looks_ahead) ||
         ((op == MF_OP_SET || op == MF_OP_INCR) && reactor->writes_ahead)))
        session->looked_at = mf_ahead_look(session->client.reactor, input, mf_rpc_peek);
    session->looked_at -= session->looked_at > 0;
    if (request->err == MF_OK) {
        dispatch(session, size);
        return MF_OK;
    }
    if (request->fatal && !request->has_msgid)
        request->notification = true;
    reply_error(session, request->err, request->message);
    return request->fatal ? request->err : MF_OK;
}

static void on_closed(void *arg, struct mf_conn *conn, const char *reason)
{
    struct session *session = arg;
    mf_log(MF_DEBUG, "client %s closed: %s", mf_conn_peer_name(conn), reason);
    mf_client_closed(&session->client);
    end_watches(session);
    release(session);
}

static const struct mf_conn_ops ops = {.data = on_data, .closed = on_closed};

void mf_session_accepted(struct mf_reactor *reactor, int fd)
{
    struct session *session = mf_calloc(1, sizeof(*session));
    if (!mf_client_accept(&session->client, reactor, fd, &ops, session, ""))
        free(session);
}
