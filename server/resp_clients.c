// CLIENT INFO, LIST and KILL: the connections of this node that speak the Redis protocol.
//
// Each belongs to its reactor. A question visits the reactors one after the other, as a task that
// gathers lines or closes what matches, and comes home with the answer. It looks at so many a turn;
// one that is to be looked at next and closes meanwhile hands that on.
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/resp_internal.h"

#define LINE_BYTES_MAX 1024u
#define IDS_MAX 1024u
// Connections that are looked at in one turn of a reactor.
#define LOOKS_PER_TURN 256u
// A list that would be longer ends here.
#define LIST_BYTES_MAX (16u << 20)

enum { TYPE_ANY, TYPE_NORMAL, TYPE_PUBSUB, TYPE_NONE };

// Which connections are meant. What is not given fits all.
struct filter {
    uint64_t id;   // 0: any
    uint64_t *ids; // ascending
    uint32_t id_count;
    int type;
    char address[80];
    char local[80];
    char user[MF_RESP_USER_BYTES_MAX + 1];
    uint64_t but; // never this one; 0: no exception
};

struct visit {
    struct mf_task task;
    struct mf_resp_look look; // at the connections of the reactor where it is
    bool looking;
    uint16_t home;
    uint16_t at; // the reactor whose turn it is
    struct mf_resp_call *call;
    struct filter filter;
    bool kill;
    bool old_form; // of KILL
    bool self;     // its own connection is to be closed, behind the reply
    uint64_t asker;
    uint64_t now_us;
    uint32_t killed;
    struct mf_buf lines;
};

static void put_line(struct mf_buf *out, const struct mf_resp_session *session, uint64_t now_us)
{
    char text[LINE_BYTES_MAX];
    uint32_t channels;
    uint32_t patterns;
    mf_resp_listening_to(session, &channels, &patterns);
    const char *tracks = mf_resp_tracking_flags(session);
    int len = snprintf(
        text, sizeof(text),
        "id=%" PRIu64 " addr=%s laddr=%s fd=%d name=%.200s age=%" PRIu64 " idle=%" PRIu64
        " flags=%s%s%s%s db=0 sub=%u psub=%u ssub=0 multi=%" PRId64
        " qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 "
        "rbs=0 rbp=0 obl=%zu oll=0 omem=0 tot-mem=%zu events=r cmd=%s user=%s redir=%" PRId64
        " resp=%u "
        "lib-name=%.100s lib-ver=%.100s\n",
        session->id, mf_conn_peer_name(session->client.conn), session->local, session->fd,
        session->name, now_us > session->began_us ? (now_us - session->began_us) / 1000000 : 0,
        now_us > session->asked_us ? (now_us - session->asked_us) / 1000000 : 0,
        session->monitoring ? "O" : "", channels + patterns > 0 ? "P" : "", tracks,
        session->monitoring || channels + patterns > 0 || tracks[0] != '\0' ? "" : "N", channels,
        patterns, mf_resp_multi_count(session), mf_conn_unsent_bytes(session->client.conn),
        sizeof(*session), session->asked != NULL ? session->asked->name : "NULL", session->user,
        mf_resp_tracking_redirect(session), session->version, session->lib_name,
        session->lib_version);
    mf_buf_put(out, text, len < (int)sizeof(text) ? (size_t)len : sizeof(text) - 1);
}

static int by_number(const void *one, const void *other)
{
    uint64_t a = *(const uint64_t *)one;
    uint64_t b = *(const uint64_t *)other;
    return (a > b) - (a < b);
}

static bool has_id(const struct filter *filter, uint64_t id)
{
    return filter->id_count == 0 ||
           bsearch(&id, filter->ids, filter->id_count, sizeof(id), by_number) != NULL;
}

static bool fits(const struct filter *filter, const struct mf_resp_session *session)
{
    const char *address = mf_conn_peer_name(session->client.conn);
    return (filter->id == 0 || filter->id == session->id) && has_id(filter, session->id) &&
           (filter->type == TYPE_ANY ||
            filter->type == (mf_resp_is_listening(session) ? TYPE_PUBSUB : TYPE_NORMAL)) &&
           (filter->address[0] == '\0' || strcmp(filter->address, address) == 0) &&
           (filter->local[0] == '\0' || strcmp(filter->local, session->local) == 0) &&
           (filter->user[0] == '\0' || strcmp(filter->user, session->user) == 0) &&
           session->id != filter->but;
}

static void look_at(struct visit *visit, const struct mf_resp_session *session)
{
    if (!fits(&visit->filter, session))
        return;
    visit->killed++;
    if (!visit->kill && visit->lines.len < LIST_BYTES_MAX)
        put_line(&visit->lines, session, visit->now_us);
    else if (visit->kill && session->id == visit->asker)
        visit->self = true;
    else if (visit->kill)
        mf_conn_close(session->client.conn, "killed by CLIENT KILL");
}

// All that look in one turn share what may be done in it.
static uint32_t *looks_left(struct mf_reactor *reactor)
{
    struct mf_resp_door *door = reactor->resp;
    unsigned turn = ev_iteration(reactor->loop);
    if (door->look_turn != turn)
        door->looks_left = LOOKS_PER_TURN;
    door->look_turn = turn;
    return &door->looks_left;
}

static void begin_look(struct visit *visit, struct mf_resp_door *door)
{
    visit->looking = true;
    visit->look.session = door->sessions;
    visit->look.next = door->looks;
    door->looks = &visit->look;
}

static void end_look(struct visit *visit, struct mf_resp_door *door)
{
    struct mf_resp_look **at = &door->looks;
    while (*at != &visit->look)
        at = &(*at)->next;
    *at = visit->look.next;
    visit->looking = false;
}

// False when more are to be looked at in another turn.
static bool look(struct visit *visit, struct mf_reactor *reactor)
{
    if (!visit->looking)
        begin_look(visit, reactor->resp);
    uint32_t *left = looks_left(reactor);
    while (visit->look.session != NULL) {
        if (*left == 0)
            return false;
        --*left;
        const struct mf_resp_session *session = visit->look.session;
        visit->look.session = session->next;
        look_at(visit, session);
    }
    end_look(visit, reactor->resp);
    return true;
}

void mf_resp_looks_past(struct mf_resp_session *gone)
{
    struct mf_resp_look *at = gone->client.reactor->resp->looks;
    for (; at != NULL; at = at->next) {
        if (at->session == gone)
            at->session = gone->next;
    }
}

static void end_visit(struct visit *visit)
{
    struct mf_resp_call *call = visit->call;
    struct mf_buf *out = mf_resp_call_reply(call);
    if (!visit->kill)
        mf_resp_verbatim(out, call->telling.version, mf_buf_view(&visit->lines));
    else if (!visit->old_form)
        mf_resp_int(out, visit->killed);
    else if (visit->killed == 0)
        mf_resp_error(out, "ERR No such client");
    else
        mf_resp_status(out, "OK");
    if (visit->self && call->session->client.conn != NULL)
        mf_conn_close_gracefully(call->session->client.conn, "killed by CLIENT KILL");
    mf_resp_call_end(call);
    mf_buf_free(&visit->lines);
    free(visit->filter.ids);
    free(visit);
}

static void come_home(struct mf_reactor *reactor, struct mf_task *task)
{
    (void)reactor;
    end_visit((struct visit *)task);
}

static void arrive(struct mf_reactor *reactor, struct mf_task *task)
{
    struct visit *visit = (struct visit *)task;
    if (!look(visit, reactor)) {
        mf_reactor_send(reactor, reactor->index, task);
        return;
    }
    visit->at++;
    if (visit->at < reactor->node->reactor_count) {
        mf_reactor_send(reactor, visit->at, task);
        return;
    }
    task->run = come_home;
    mf_reactor_send(reactor, visit->home, task);
}

static struct visit *new_visit(struct mf_resp_session *session)
{
    struct visit *visit = mf_calloc(1, sizeof(*visit));
    visit->task.run = arrive;
    visit->home = session->client.reactor->index;
    visit->asker = session->id;
    visit->now_us = mf_reactor_now_us(session->client.reactor);
    return visit;
}

static void begin_visit(struct mf_resp_session *session, struct visit *visit)
{
    visit->call = mf_resp_call_begin(session, MF_RESP_FORM_PLAIN, (struct mf_resp_touch){0});
    mf_reactor_send(session->client.reactor, 0, &visit->task);
}

void mf_resp_client_info(struct mf_resp_session *session)
{
    struct mf_buf line = {0};
    put_line(&line, session, mf_reactor_now_us(session->client.reactor));
    mf_resp_verbatim(mf_resp_reply_begin(session), session->version, mf_buf_view(&line));
    mf_resp_reply_end(session);
    mf_buf_free(&line);
}

// False, with the error told, when it is none.
static bool take_type(struct mf_resp_session *session, struct mf_bytes word, int *type)
{
    if (mf_resp_is(word, "normal"))
        *type = TYPE_NORMAL;
    else if (mf_resp_is(word, "pubsub"))
        *type = TYPE_PUBSUB;
    else if (mf_resp_is(word, "master") || mf_resp_is(word, "replica") || mf_resp_is(word, "slave"))
        *type = TYPE_NONE;
    else {
        mf_resp_errorf(mf_resp_reply_begin(session), "ERR Unknown client type '%.*s'",
                       mf_resp_text_len(word), (const char *)word.data);
        mf_resp_reply_end(session);
        return false;
    }
    return true;
}

static bool take_ids(struct mf_resp_session *session, struct filter *filter)
{
    uint32_t count = mf_resp_words(session) - 3;
    if (count > IDS_MAX) {
        mf_resp_reply_error(session, "ERR at most 1024 ids are allowed");
        return false;
    }
    filter->ids = mf_calloc(count, sizeof(*filter->ids));
    for (uint32_t i = 0; i < count; i++) {
        int64_t id;
        if (!mf_resp_integer(mf_resp_word(session, i + 3), &id)) {
            mf_resp_reply_error(session, "ERR Invalid client ID");
            return false;
        }
        filter->ids[filter->id_count++] = id > 0 ? (uint64_t)id : UINT64_MAX;
    }
    qsort(filter->ids, count, sizeof(*filter->ids), by_number);
    return true;
}

static bool take_list(struct mf_resp_session *session, struct filter *filter)
{
    uint32_t count = mf_resp_words(session);
    if (count == 2)
        return true;
    if (count == 4 && mf_resp_is(mf_resp_word(session, 2), "type"))
        return take_type(session, mf_resp_word(session, 3), &filter->type);
    if (count > 3 && mf_resp_is(mf_resp_word(session, 2), "id"))
        return take_ids(session, filter);
    mf_resp_reply_error(session, MF_RESP_SYNTAX);
    return false;
}

void mf_resp_client_list(struct mf_resp_session *session)
{
    struct visit *visit = new_visit(session);
    if (take_list(session, &visit->filter)) {
        begin_visit(session, visit);
        return;
    }
    free(visit->filter.ids);
    free(visit);
}

// A text that is too long to be any connection's fits none.
static void take_text(char *out, size_t size, struct mf_bytes word)
{
    snprintf(out, size, "%.*s", mf_resp_text_len(word), (const char *)word.data);
    if (out[0] == '\0')
        strcpy(out, "-");
}

// With a password for all, there is no list of users.
static bool user_known(struct mf_resp_session *session, struct mf_bytes user)
{
    if (mf_client_has_password(&session->client) || mf_bytes_equal(user, mf_bytes_str("default")))
        return true;
    mf_resp_errorf(mf_resp_reply_begin(session), "ERR No such user '%.*s'", mf_resp_text_len(user),
                   (const char *)user.data);
    mf_resp_reply_end(session);
    return false;
}

static bool take_kill_option(struct mf_resp_session *session, struct filter *filter,
                             struct mf_bytes name, struct mf_bytes value, bool *skip_me)
{
    int64_t id;
    if (mf_resp_is(name, "id")) {
        if (!mf_resp_integer(value, &id) || id < 1) {
            mf_resp_reply_error(session, "ERR client-id should be greater than 0");
            return false;
        }
        filter->id = (uint64_t)id;
    } else if (mf_resp_is(name, "type")) {
        return take_type(session, value, &filter->type);
    } else if (mf_resp_is(name, "addr")) {
        take_text(filter->address, sizeof(filter->address), value);
    } else if (mf_resp_is(name, "laddr")) {
        take_text(filter->local, sizeof(filter->local), value);
    } else if (mf_resp_is(name, "user")) {
        take_text(filter->user, sizeof(filter->user), value);
        return user_known(session, value);
    } else if (mf_resp_is(name, "skipme") && mf_resp_is(value, "yes")) {
        *skip_me = true;
    } else if (mf_resp_is(name, "skipme") && mf_resp_is(value, "no")) {
        *skip_me = false;
    } else {
        mf_resp_reply_error(session, MF_RESP_SYNTAX);
        return false;
    }
    return true;
}

static bool take_kill(struct mf_resp_session *session, struct visit *visit)
{
    uint32_t count = mf_resp_words(session);
    struct filter *filter = &visit->filter;
    bool skip_me = true;
    visit->kill = true;
    visit->old_form = count == 3;
    if (visit->old_form) {
        take_text(filter->address, sizeof(filter->address), mf_resp_word(session, 2));
        return true;
    }
    for (uint32_t i = 2; i < count; i += 2) {
        if (i + 1 == count) {
            mf_resp_reply_error(session, MF_RESP_SYNTAX);
            return false;
        }
        if (!take_kill_option(session, filter, mf_resp_word(session, i),
                              mf_resp_word(session, i + 1), &skip_me))
            return false;
    }
    filter->but = skip_me ? session->id : 0;
    return true;
}

void mf_resp_client_kill(struct mf_resp_session *session)
{
    struct visit *visit = new_visit(session);
    if (take_kill(session, visit))
        begin_visit(session, visit);
    else
        free(visit);
}
