// REDIRECT of CLIENT TRACKING; see resp_track_to.h.
//
// An object goes between two reactors: `home`, where it is tracked, and `away`, where the target
// is. Its task is with one of them at a time, and with it what it carries; what else there is
// belongs to the side that the struct says. It is freed at home when away has said that it points
// to nothing there any more. All tasks from one reactor to another come in order: so a `gone` that
// was sent before has come by then.
#include "server/resp_track_to.h"

#include <stddef.h>
#include <stdlib.h>

#define INVALIDATE "__redis__:invalidate"
#define WAITING_BYTES_MAX 65536u

struct words {
    bool all;
    struct mf_buf keys; // blobs
};

struct mf_resp_track_to {
    // Of the one who has it.
    struct mf_task task;
    struct words carried;
    bool found;
    uint16_t at; // while it is looked for
    // Constant once it is found.
    uint16_t home;
    uint16_t away;
    uint64_t id;
    // Home's.
    void (*on_found)(void *arg, struct mf_resp_track_to *to);
    void (*on_broken)(void *arg); // NULL: nobody wants to know
    void *arg;
    bool broken;
    bool busy; // the task is not here
    bool ending;
    struct words waiting;
    // Away's.
    struct mf_resp_session *target; // NULL: gone
    struct mf_resp_track_to *next;  // of those with this target
    struct mf_resp_track_to **at_target;
    struct mf_task gone;
};

static void add_word(struct words *words, const struct mf_bytes *key)
{
    if (words->all)
        return;
    words->all = key == NULL || words->keys.len + key->len > WAITING_BYTES_MAX;
    if (words->all)
        mf_buf_free(&words->keys);
    else
        mf_buf_blob(&words->keys, *key);
}

static bool is_empty(const struct words *words)
{
    return !words->all && words->keys.len == 0;
}

static void clear(struct words *words)
{
    mf_buf_free(&words->keys);
    words->all = false;
}

// Telling a connection. Nothing may come between the parts of a reply, and nothing does: replies
// are whole.

bool mf_resp_track_put(struct mf_resp_session *session, const struct mf_bytes *key)
{
    struct mf_buf *out = mf_conn_output(session->client.conn);
    if (session->version == 3) {
        mf_resp_push(out, 3, 2);
        mf_resp_bulk_str(out, "invalidate");
    } else if (mf_resp_has_confirmed(session)) {
        mf_resp_array(out, 3);
        mf_resp_bulk_str(out, "message");
        mf_resp_bulk_str(out, INVALIDATE);
    } else {
        return false;
    }
    if (key == NULL) {
        mf_resp_null(out, session->version);
    } else {
        mf_resp_array(out, 1);
        mf_resp_bulk(out, *key);
    }
    mf_conn_wrote(session->client.conn);
    return true;
}

// Away.

static void let_go(struct mf_resp_track_to *to)
{
    if (to->target == NULL)
        return;
    *to->at_target = to->next;
    if (to->next != NULL)
        to->next->at_target = to->at_target;
    to->target = NULL;
}

static void put_words(struct mf_resp_track_to *to)
{
    struct mf_resp_session *target = to->target;
    const struct words *words = &to->carried;
    if (mf_conn_unsent_bytes(target->client.conn) > MF_RESP_TRACK_UNSENT_BYTES_MAX) {
        mf_conn_close(target->client.conn, "it does not read what others track for it");
        return;
    }
    struct mf_reader keys = mf_reader_of(mf_buf_view(&words->keys));
    bool told = !words->all || mf_resp_track_put(target, NULL);
    while (told && mf_reader_left(&keys) > 0) {
        struct mf_bytes key = mf_read_blob(&keys);
        told = mf_resp_track_put(target, &key);
    }
    target->missed_words |= !told;
}

void mf_resp_track_hears(struct mf_resp_session *session)
{
    if (session->missed_words)
        session->missed_words = !mf_resp_track_put(session, NULL);
}

// Home.

static void send_on(struct mf_reactor *reactor, struct mf_resp_track_to *to);

static void part_home(struct mf_reactor *reactor, struct mf_task *task)
{
    (void)reactor;
    struct mf_resp_track_to *to = (struct mf_resp_track_to *)task;
    clear(&to->carried);
    clear(&to->waiting);
    free(to);
}

static void part_away(struct mf_reactor *reactor, struct mf_task *task)
{
    struct mf_resp_track_to *to = (struct mf_resp_track_to *)task;
    let_go(to);
    task->run = part_home;
    mf_reactor_send(reactor, to->home, task);
}

static void come_home(struct mf_reactor *reactor, struct mf_task *task)
{
    struct mf_resp_track_to *to = (struct mf_resp_track_to *)task;
    to->busy = false;
    clear(&to->carried);
    send_on(reactor, to);
}

static void arrive(struct mf_reactor *reactor, struct mf_task *task)
{
    struct mf_resp_track_to *to = (struct mf_resp_track_to *)task;
    if (to->target != NULL)
        put_words(to);
    task->run = come_home;
    mf_reactor_send(reactor, to->home, task);
}

static void send_on(struct mf_reactor *reactor, struct mf_resp_track_to *to)
{
    if (to->busy || (is_empty(&to->waiting) && !to->ending))
        return;
    to->task.run = is_empty(&to->waiting) ? part_away : arrive;
    to->carried = to->waiting;
    to->waiting = (struct words){0};
    to->busy = true;
    mf_reactor_send(reactor, to->away, &to->task);
}

static void break_home(struct mf_reactor *reactor, struct mf_task *task)
{
    (void)reactor;
    struct mf_resp_track_to *to =
        (struct mf_resp_track_to *)((char *)task - offsetof(struct mf_resp_track_to, gone));
    to->broken = true;
    if (to->on_broken != NULL)
        to->on_broken(to->arg);
}

void mf_resp_track_told_no_more(struct mf_resp_session *session)
{
    while (session->told_by != NULL) {
        struct mf_resp_track_to *to = session->told_by;
        let_go(to);
        to->gone.run = break_home;
        mf_reactor_send(session->client.reactor, to->home, &to->gone);
    }
}

// Looking for it.

static void take_hold(struct mf_resp_track_to *to, struct mf_resp_session *target)
{
    to->target = target;
    to->next = target->told_by;
    to->at_target = &target->told_by;
    if (to->next != NULL)
        to->next->at_target = &to->next;
    target->told_by = to;
}

static void tell_found(struct mf_reactor *reactor, struct mf_task *task)
{
    (void)reactor;
    struct mf_resp_track_to *to = (struct mf_resp_track_to *)task;
    to->busy = false;
    to->on_found(to->arg, to->found ? to : NULL);
    if (!to->found)
        free(to);
}

static void look(struct mf_reactor *reactor, struct mf_task *task)
{
    struct mf_resp_track_to *to = (struct mf_resp_track_to *)task;
    struct mf_resp_session *at = reactor->resp->sessions;
    while (at != NULL && at->id != to->id)
        at = at->next;
    if (at != NULL) {
        to->found = true;
        to->away = reactor->index;
        take_hold(to, at);
    } else if (++to->at < reactor->node->reactor_count) {
        mf_reactor_send(reactor, to->at, task);
        return;
    }
    task->run = tell_found;
    mf_reactor_send(reactor, to->home, task);
}

void mf_resp_track_to_find(struct mf_reactor *reactor, uint64_t id,
                           void (*found)(void *arg, struct mf_resp_track_to *to), void *arg)
{
    struct mf_resp_track_to *to = mf_calloc(1, sizeof(*to));
    to->task.run = look;
    to->home = reactor->index;
    to->id = id;
    to->on_found = found;
    to->arg = arg;
    to->busy = true;
    mf_reactor_send(reactor, 0, &to->task);
}

void mf_resp_track_to_join(struct mf_resp_track_to *to, void (*broken)(void *arg), void *arg)
{
    to->on_broken = broken;
    to->arg = arg;
    if (to->broken)
        broken(arg);
}

uint64_t mf_resp_track_to_id(const struct mf_resp_track_to *to)
{
    return to->id;
}

bool mf_resp_track_to_is_broken(const struct mf_resp_track_to *to)
{
    return to->broken;
}

void mf_resp_track_to_tell(struct mf_reactor *reactor, struct mf_resp_track_to *to,
                           const struct mf_bytes *key)
{
    if (to->broken) {
        to->on_broken(to->arg);
        return;
    }
    add_word(&to->waiting, key);
    send_on(reactor, to);
}

void mf_resp_track_to_end(struct mf_reactor *reactor, struct mf_resp_track_to *to)
{
    to->on_broken = NULL;
    to->ending = true;
    send_on(reactor, to);
}
