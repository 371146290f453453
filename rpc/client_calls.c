// Requests and their fate.
//
// A call moves queued -> sent -> answered. A retryable refusal puts it to rest for a moment and
// then back into the queue; a lost connection puts all that was sent back at the queue's head. It
// leaves when it is answered or when its time is up, and then its callback runs, once.
//
// What a late call is told depends on what could have happened to it: UNREACHABLE when it never
// left, its last refusal when every attempt ended with one that says nothing happened, TIMEOUT
// when some attempt may have taken effect.
#include "rpc/client_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REST_MIN_US 10000u
#define REST_DOUBLINGS_MAX 6u // 640 ms
#define SLOT_BITS 16u
// The highest generation is left to the messages of the connection itself.
#define GENERATIONS 0xffffu

void mf_call_list_append(struct mf_call_list *list, struct mf_call *call)
{
    call->next = NULL;
    call->prev = list->tail;
    if (list->tail != NULL)
        list->tail->next = call;
    else
        list->head = call;
    list->tail = call;
}

void mf_call_list_remove(struct mf_call_list *list, struct mf_call *call)
{
    if (call->prev != NULL)
        call->prev->next = call->next;
    else
        list->head = call->next;
    if (call->next != NULL)
        call->next->prev = call->prev;
    else
        list->tail = call->prev;
    call->prev = NULL;
    call->next = NULL;
}

void mf_call_retire(struct mf_call *call)
{
    call->state = MF_CALL_FREE;
    if (!call->once)
        return;
    free(call->bytes);
    free(call);
}

static struct mf_call_list *list_of(struct mayfly_client *client, const struct mf_call *call)
{
    if (call->state == MF_CALL_RESTING)
        return &client->resting;
    return call->state == MF_CALL_QUEUED ? &call->link->queue : &call->link->sent;
}

static void move_to(struct mayfly_client *client, struct mf_call *call, enum mf_call_state state)
{
    mf_call_list_remove(list_of(client, call), call);
    call->state = state;
    mf_call_list_append(list_of(client, call), call);
}

enum mayfly_err mf_calls_init(struct mayfly_client *client)
{
    client->calls = calloc(client->window, sizeof client->calls[0]);
    client->free_calls = calloc(client->window, sizeof client->free_calls[0]);
    if (client->calls == NULL || client->free_calls == NULL)
        return MAYFLY_ERR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < client->window; i++)
        client->free_calls[i] = client->window - 1 - i;
    client->free_count = client->window;
    client->next_timer_us = UINT64_MAX;
    return MAYFLY_OK;
}

void mf_calls_free(struct mayfly_client *client)
{
    client->closing = true;
    if (client->calls != NULL && client->free_calls != NULL)
        mf_calls_fail_all(client, MAYFLY_ERR_CANCELLED, "");
    free(client->calls);
    free(client->free_calls);
}

size_t mf_calls_pending(const struct mayfly_client *client)
{
    return client->window - client->free_count;
}

static void wake_at(struct mayfly_client *client, uint64_t when_us)
{
    if (when_us < client->next_timer_us)
        client->next_timer_us = when_us;
}

enum mayfly_err mf_calls_add(struct mayfly_client *client, const struct mayfly_request *request,
                             mayfly_done *done, void *cookie)
{
    enum mayfly_err err = mf_request_check(client, request);
    if (err != MAYFLY_OK)
        return err;
    size_t size = client->pending_bytes + mf_request_size_bound(client, request);
    if (client->closing)
        return mf_client_refuse(client, MAYFLY_ERR_CANCELLED, "the client is being freed");
    if (client->free_count == 0 || (mf_calls_pending(client) > 0 && size > client->window_bytes))
        return mf_client_refuse(client, MAYFLY_ERR_WINDOW_FULL, "%zu requests are in flight",
                                mf_calls_pending(client));
    uint32_t index = client->free_calls[client->free_count - 1];
    struct mf_call *call = &client->calls[index];
    uint16_t generation = (uint16_t)((call->generation + 1u) % GENERATIONS);
    uint32_t msgid = (uint32_t)generation << SLOT_BITS | index;
    struct mf_buf packed = mf_request_pack(client, msgid, request);
    if (packed.data == NULL)
        return mf_client_refuse(client, MAYFLY_ERR_OUT_OF_MEMORY, "the request does not fit");
    *call = (struct mf_call){
        .state = MF_CALL_QUEUED,
        .write = mf_request_is_write(request->method),
        .generation = generation,
        .msgid = msgid,
        .bytes = packed.data,
        .len = packed.len,
        .deadline_us = client->clock_us() + (uint64_t)client->timeout_ms * 1000,
        .done = done,
        .cookie = cookie,
    };
    client->free_count--;
    client->pending_bytes += call->len;
    call->link = mf_route_call(client, mf_request_slot(client, request));
    mf_call_list_append(&call->link->queue, call);
    wake_at(client, call->deadline_us);
    mf_loop_wake(client);
    return MAYFLY_OK;
}

// The end of a call: its slot is free before the callback runs, so that it can submit the next.
static void finish(struct mayfly_client *client, struct mf_call *call, enum mayfly_err err,
                   const char *text, const struct mayfly_value *value)
{
    static const struct mayfly_value nil = {.type = MAYFLY_TYPE_NIL};
    struct mayfly_reply reply = {.err = err,
                                 .message = text,
                                 .value = value != NULL ? value : &nil,
                                 .attempts = call->attempts};
    mayfly_done *done = call->done;
    void *cookie = call->cookie;
    mf_call_list_remove(list_of(client, call), call);
    call->state = MF_CALL_FREE;
    client->pending_bytes -= call->len;
    free(call->bytes);
    call->bytes = NULL;
    free(call->refusal_text);
    call->refusal_text = NULL;
    client->free_calls[client->free_count++] = (uint32_t)(call - client->calls);
    client->completed++;
    client->in_callback = true;
    done(cookie, &reply);
    client->in_callback = false;
}

void mf_calls_fail_all(struct mayfly_client *client, enum mayfly_err err, const char *text)
{
    // A callback may submit again; only what is pending now is meant.
    for (uint32_t i = 0; i < client->window; i++)
        client->calls[i].condemned = client->calls[i].state != MF_CALL_FREE;
    for (uint32_t i = 0; i < client->window; i++) {
        if (client->calls[i].condemned)
            finish(client, &client->calls[i], err, text, NULL);
    }
}

uint64_t mf_call_limit_us(const struct mf_call *call)
{
    uint64_t limit_us = call->deadline_us;
    if (call->state != MF_CALL_SENT && call->write && call->attempts > 0) {
        uint64_t safe_us = call->first_sent_us + MF_CLIENT_RESEND_MAX_US;
        limit_us = safe_us < limit_us ? safe_us : limit_us;
    }
    return limit_us;
}

static void give_up(struct mayfly_client *client, struct mf_call *call)
{
    char tried[MF_CLIENT_TEXT_MAX / 2];
    char text[MF_CLIENT_TEXT_MAX];
    enum mayfly_err err = MAYFLY_ERR_UNREACHABLE;
    mf_endpoints_describe(client->links[0], tried, sizeof tried);
    if (call->state == MF_CALL_SENT || call->unsure)
        err = MAYFLY_ERR_TIMEOUT;
    else if (call->attempts > 0)
        err = call->refusal;
    const char *words = call->refusal_text != NULL ? call->refusal_text : "";
    snprintf(text, sizeof text, "%s; %s%.200s%ssent %u time%s; tried %s", mayfly_err_text(err),
             *words != '\0' ? "last answer: " : "", words, *words != '\0' ? "; " : "",
             call->attempts, call->attempts == 1 ? "" : "s", tried);
    finish(client, call, err, text, NULL);
}

static void queue_again(struct mayfly_client *client, struct mf_call *call)
{
    mf_call_list_remove(list_of(client, call), call);
    call->state = MF_CALL_QUEUED;
    call->link = client->links[0];
    mf_call_list_append(&call->link->queue, call);
    wake_at(client, mf_call_limit_us(call));
}

void mf_calls_timers(struct mayfly_client *client, uint64_t now_us)
{
    if (now_us < client->next_timer_us)
        return;
    client->next_timer_us = UINT64_MAX;
    for (uint32_t i = 0; i < client->window; i++) {
        struct mf_call *call = &client->calls[i];
        if (call->state == MF_CALL_RESTING && call->rest_until_us <= now_us)
            queue_again(client, call);
        if (call->state != MF_CALL_FREE && mf_call_limit_us(call) <= now_us)
            give_up(client, call);
        if (call->state == MF_CALL_FREE)
            continue;
        wake_at(client, mf_call_limit_us(call));
        if (call->state == MF_CALL_RESTING)
            wake_at(client, call->rest_until_us);
    }
}

// The calls of one list to the end of the first connection's queue.
static void take_back(struct mayfly_client *client, struct mf_call_list *list)
{
    while (list->head != NULL) {
        struct mf_call *call = list->head;
        // What ends leaves its list first. NOLINTNEXTLINE(clang-analyzer-unix.Malloc)
        mf_call_list_remove(list, call);
        if (call->own) {
            mf_call_retire(call);
            continue;
        }
        call->unsure = call->unsure || call->state == MF_CALL_SENT;
        call->state = MF_CALL_QUEUED;
        call->link = client->links[0];
        mf_call_list_append(&call->link->queue, call);
        wake_at(client, mf_call_limit_us(call));
    }
}

struct mf_call *mf_calls_half_written(const struct mf_link *link)
{
    return link->state == MF_LINK_READY && link->sent_of_head > 0 ? link->queue.head : NULL;
}

void mf_calls_requeue(struct mf_link *link)
{
    struct mayfly_client *client = link->client;
    struct mf_link *first = client->links[0];
    struct mf_call *half = first != link ? mf_calls_half_written(first) : NULL;
    // Before what waits there already: these have been waiting longer.
    struct mf_call_list sent = link->sent;
    struct mf_call_list queued = link->queue;
    struct mf_call_list later = first->queue;
    link->sent = (struct mf_call_list){0};
    link->queue = (struct mf_call_list){0};
    first->queue = (struct mf_call_list){0};
    if (half != NULL) {
        mf_call_list_remove(&later, half);
        mf_call_list_append(&first->queue, half);
    }
    take_back(client, &sent);
    take_back(client, &queued);
    if (first == link || later.head == NULL)
        return;
    later.head->prev = first->queue.tail;
    if (first->queue.tail != NULL)
        first->queue.tail->next = later.head;
    else
        first->queue.head = later.head;
    first->queue.tail = later.tail;
}

void mf_calls_mark_sent(struct mf_link *link, uint64_t now_us)
{
    struct mf_call *call = link->queue.head;
    if (call->attempts++ == 0)
        call->first_sent_us = now_us;
    call->sent_us = now_us;
    move_to(link->client, call, MF_CALL_SENT);
}

// Doubling, with a random half so that the clients of a busy node do not come back together.
static uint64_t rest_us(struct mayfly_client *client, const struct mf_call *call)
{
    uint32_t doublings =
        call->attempts - 1 < REST_DOUBLINGS_MAX ? call->attempts - 1 : REST_DOUBLINGS_MAX;
    uint64_t whole_us = (uint64_t)REST_MIN_US << doublings;
    return whole_us / 2 + mf_rand_below(&client->jitter, whole_us / 2);
}

static struct mf_call *find_sent(const struct mf_link *link, uint32_t msgid)
{
    uint32_t index = msgid & ((1u << SLOT_BITS) - 1);
    if (index >= link->client->window)
        return NULL;
    struct mf_call *call = &link->client->calls[index];
    return call->state == MF_CALL_SENT && call->link == link && call->msgid == msgid ? call : NULL;
}

bool mf_calls_answer(struct mf_link *link, uint32_t msgid, enum mayfly_err err, const char *text,
                     const struct mayfly_value *value)
{
    struct mayfly_client *client = link->client;
    struct mf_call *call = find_sent(link, msgid);
    if (call == NULL)
        return false;
    uint64_t now_us = client->clock_us();
    if (!mf_err_is_retried(err)) {
        link->failures = 0;
        link->served_us = now_us;
        finish(client, call, err, text, value);
        return false;
    }
    mf_route_trouble(client);
    call->unsure = call->unsure || err == MAYFLY_ERR_TIMEOUT;
    call->refusal = err;
    free(call->refusal_text);
    call->refusal_text = strdup(text);
    call->rest_until_us = now_us + rest_us(client, call);
    move_to(client, call, MF_CALL_RESTING);
    wake_at(client, call->rest_until_us);
    wake_at(client, mf_call_limit_us(call));
    return true;
}
