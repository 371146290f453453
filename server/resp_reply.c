// Replies of the Redis door in the order of their requests; see resp_session.h.
//
// Where nothing is under way, a reply goes straight into the connection's output. Otherwise its
// call keeps it until all before it have been sent. What is kept counts as under way: a connection
// whose first request hangs takes in no more than its share, whatever the others bring.
#include <assert.h>
#include <stdlib.h>

#include "base/command_table.h"
#include "base/slots.h"
#include "server/resp_internal.h"

#define FREE_CALLS_MAX 4096u
#define KEEP_REPLY_BYTES 1024u

static struct mf_resp_call *take_call(struct mf_resp_session *session)
{
    struct mf_resp_door *door = session->client.reactor->resp;
    struct mf_resp_call *call = door->free;
    if (call == NULL)
        return mf_calloc(1, sizeof(*call));
    door->free = call->next;
    door->free_count--;
    return call;
}

static void give_back(struct mf_resp_door *door, struct mf_resp_call *call)
{
    if (door->free_count == FREE_CALLS_MAX) {
        mf_buf_free(&call->reply);
        mf_buf_free(&call->words);
        free(call);
        return;
    }
    mf_buf_clear(&call->reply, KEEP_REPLY_BYTES);
    mf_buf_clear(&call->words, MF_RESP_KEEP_WORDS_BYTES);
    call->next = door->free;
    door->free = call;
    door->free_count++;
}

static void count_touch(struct mf_resp_session *session, struct mf_resp_touch touch, int delta)
{
    session->under_way_all[touch.access] += (uint32_t)delta;
    if (touch.many)
        session->under_way_many[touch.access] += (uint32_t)delta;
    else
        session->under_way[touch.access][touch.class] =
            (uint16_t)(session->under_way[touch.access][touch.class] + delta);
}

struct mf_resp_touch mf_resp_touch_of(struct mf_command *command)
{
    struct mf_resp_touch touch = {
        .access = mf_op_is_write(command->op) ? MF_RESP_WRITES : MF_RESP_READS,
        .many = command->item_count != 1,
    };
    if (!touch.many) {
        uint16_t slot = mf_slot_of(command->items[0].key);
        touch.class = slot % MF_RESP_CLASSES;
        command->slot_and_1 = slot + 1u;
    }
    return touch;
}

// Writes go to the log in their order, and reads do not mind each other.
bool mf_resp_must_wait(const struct mf_resp_session *session, struct mf_resp_touch touch)
{
    enum mf_resp_access other = touch.access == MF_RESP_READS ? MF_RESP_WRITES : MF_RESP_READS;
    if (touch.many)
        return session->under_way_all[other] > 0;
    return session->under_way_many[other] > 0 || session->under_way[other][touch.class] > 0;
}

static struct mf_resp_call *new_call(struct mf_resp_session *session, struct mf_resp_touch touch)
{
    struct mf_resp_call *call = take_call(session);
    struct mf_buf kept = call->reply;
    struct mf_buf words = call->words;
    *call = (struct mf_resp_call){.session = session,
                                  .touch = touch,
                                  .slot = session->slot,
                                  .bytes = session->request_bytes,
                                  .silent = session->replies != MF_RESP_SENT,
                                  .reply = kept,
                                  .words = words};
    if (session->last != NULL)
        session->last->next = call;
    else
        session->first = call;
    session->last = call;
    session->calls_begun++;
    count_touch(session, touch, 1);
    mf_client_begin_call(&session->client, call->bytes);
    return call;
}

// Those at the front whose replies are there go out.
static void send_ready(struct mf_resp_session *session)
{
    struct mf_resp_door *door = session->client.reactor->resp;
    while (session->first != NULL && session->first->done) {
        struct mf_resp_call *call = session->first;
        session->first = call->next;
        session->calls_sent++;
        if (session->first == NULL)
            session->last = NULL;
        session->client.held_bytes -= call->reply.len;
        if (session->client.conn != NULL)
            mf_buf_put(mf_conn_output(session->client.conn), call->reply.data, call->reply.len);
        size_t bytes = call->bytes;
        give_back(door, call);
        mf_client_end_call(&session->client, bytes);
    }
    if (session->tracking != NULL && session->client.conn != NULL)
        mf_resp_tracking_sent(session);
}

struct mf_resp_call *mf_resp_call_begin(struct mf_resp_session *session, enum mf_resp_form form,
                                        struct mf_resp_touch touch)
{
    struct mf_resp_call *call = new_call(session, touch);
    call->telling = (struct mf_resp_telling){session->ask.row, form, session->version};
    call->began_us = session->asked_us;
    session->later = true;
    session->fresh = call;
    return call;
}

static bool is_wanted(const struct mf_resp_call *call)
{
    return !call->silent && call->session->client.conn != NULL;
}

struct mf_buf *mf_resp_call_reply(struct mf_resp_call *call)
{
    struct mf_resp_session *session = call->session;
    struct mf_buf *out = &session->unwanted;
    if (is_wanted(call) && session->first == call)
        out = mf_conn_output(session->client.conn);
    else if (is_wanted(call))
        out = &call->reply;
    session->reply_at = out->len;
    return out;
}

// What was written since the reply began.
static struct mf_bytes reply_in(const struct mf_resp_session *session, const struct mf_buf *out)
{
    if (out->len <= session->reply_at)
        return mf_bytes_of(NULL, 0);
    return mf_bytes_of(out->data + session->reply_at, out->len - session->reply_at);
}

void mf_resp_call_end(struct mf_resp_call *call)
{
    struct mf_resp_session *session = call->session;
    struct mf_buf *out = &session->unwanted;
    count_touch(session, call->touch, -1);
    if (is_wanted(call) && session->first == call) {
        out = mf_conn_output(session->client.conn);
        mf_client_learn_reply(&session->client, reply_in(session, out).len);
    } else if (is_wanted(call)) {
        out = &call->reply;
        mf_client_learn_reply(&session->client, out->len);
        session->client.held_bytes += out->len;
    }
    mf_resp_account_call(call, mf_resp_account_reply(session, reply_in(session, out)));
    mf_buf_clear(&session->unwanted, KEEP_REPLY_BYTES);
    call->done = true;
    send_ready(session);
    mf_resp_session_release(session);
}

void mf_resp_call_tell(struct mf_resp_call *call, struct mf_buf *out,
                       const struct mf_result *result)
{
    if (result->kind != MF_RESULT_ERROR ||
        !mf_resp_tell_elsewhere(call->session, out, call->slot, result))
        mf_resp_tell(out, call->telling, result);
}

void mf_resp_call_result(void *arg, const struct mf_result *result)
{
    struct mf_resp_call *call = arg;
    if (__builtin_expect(call->own_write != 0, false))
        mf_resp_tracking_written(call->session, call->own_write, result);
    mf_client_learn_result(&call->session->client, result);
    mf_resp_call_tell(call, mf_resp_call_reply(call), result);
    mf_resp_account_lookup(call->session, call->op, call->telling.form, result);
    mf_resp_call_end(call);
}

// A reply at once that others have to be sent before is a call that is done.
struct mf_buf *mf_resp_reply_begin(struct mf_resp_session *session)
{
    struct mf_buf *out;
    if (session->capture != NULL)
        out = session->capture;
    else if (session->replies != MF_RESP_SENT)
        out = &session->unwanted;
    else if (session->first == NULL)
        out = mf_conn_output(session->client.conn);
    else
        out = &new_call(session, (struct mf_resp_touch){0})->reply;
    session->reply_at = out->len;
    return out;
}

void mf_resp_reply_end(struct mf_resp_session *session)
{
    if (session->capture != NULL) {
        session->outcome = mf_resp_account_reply(session, reply_in(session, session->capture));
    } else if (session->replies != MF_RESP_SENT) {
        session->outcome = mf_resp_account_reply(session, reply_in(session, &session->unwanted));
        mf_buf_clear(&session->unwanted, KEEP_REPLY_BYTES);
    } else if (session->first == NULL) {
        const struct mf_buf *out = mf_conn_output(session->client.conn);
        session->outcome = mf_resp_account_reply(session, reply_in(session, out));
        mf_conn_wrote(session->client.conn);
    } else {
        struct mf_resp_call *call = session->last;
        count_touch(session, call->touch, -1);
        session->outcome = mf_resp_account_reply(session, mf_buf_view(&call->reply));
        session->client.held_bytes += call->reply.len;
        call->done = true;
    }
}

void mf_resp_reply_ok(struct mf_resp_session *session)
{
    mf_resp_status(mf_resp_reply_begin(session), "OK");
    mf_resp_reply_end(session);
}

void mf_resp_reply_error(struct mf_resp_session *session, const char *text)
{
    mf_resp_error(mf_resp_reply_begin(session), text);
    mf_resp_reply_end(session);
}

void mf_resp_reply_misused(struct mf_resp_session *session, const char *container)
{
    struct mf_bytes word = mf_resp_word(session, 1);
    mf_resp_errorf(mf_resp_reply_begin(session),
                   "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try %s HELP.",
                   mf_resp_text_len(word), (const char *)word.data, container);
    mf_resp_reply_end(session);
}
