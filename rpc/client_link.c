// One connection of a client: endpoints in turn, greeting, back-off, signs of life.
//
// Every connection begins with `hello`: it proves that the other side speaks the protocol, and that
// it is awake, before any request is trusted to it. A node that falls silent while requests wait is
// asked with a `ping`, which every live node answers at once, whatever its cluster is doing;
// without an answer the client goes on to the next endpoint. Without this, a node that hangs with
// its sockets open would hold its clients until their deadlines.
//
// Reading and writing never wait for each other: a client that only wrote, to a server that only
// wrote back, would otherwise stand still for ever.
#include "rpc/client_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define REOPEN_MIN_US 20000u
#define REOPEN_DOUBLINGS_MAX 5u // 640 ms
#define WRITE_PIECES 128
// Watches are asked for a sign of life so many times later than answers.
#define QUIET_FACTOR 4u

static bool pack_own(struct mayfly_client *client, enum mayfly_method method, uint32_t msgid,
                     struct mf_call *out)
{
    struct mayfly_request request = {.method = method};
    struct mf_buf bytes = mf_request_pack(client, msgid, &request);
    *out = (struct mf_call){.own = true, .msgid = msgid, .bytes = bytes.data, .len = bytes.len};
    return bytes.data != NULL;
}

struct mf_link *mf_link_new(struct mayfly_client *client, const char *text, char *message,
                            size_t size)
{
    struct mf_link *link = calloc(1, sizeof *link);
    snprintf(message, size, "out of memory");
    if (link == NULL)
        return NULL;
    link->client = client;
    link->transport = (struct mf_transport){.kind = &mf_transport_tcp, .fd = -1};
    if (mf_endpoints_parse(link, text, message, size) &&
        pack_own(client, MAYFLY_METHOD_HELLO, MF_HELLO_MSGID, &link->hello) &&
        pack_own(client, MAYFLY_METHOD_PING, MF_PING_MSGID, &link->ping))
        return link;
    mf_link_free(link);
    return NULL;
}

// Forgets the connection and everything about it but the endpoint and the calls.
static void close_link(struct mf_link *link)
{
    mf_loop_remove(link);
    link->transport.kind->close(&link->transport);
    link->state = MF_LINK_DOWN;
    link->sent_of_head = 0;
    link->asked = false;
    link->full = false;
    link->scan = (struct mf_msgpack_scan){0};
    link->in.len = 0;
    link->in_at = 0;
    link->greeting = (struct mf_call_list){0};
    link->hello.state = MF_CALL_FREE;
}

void mf_link_free(struct mf_link *link)
{
    if (link == NULL)
        return;
    close_link(link);
    while (link->queue.head != NULL) {
        struct mf_call *call = link->queue.head;
        mf_call_list_remove(&link->queue, call);
        mf_call_retire(call);
    }
    free(link->hello.bytes);
    free(link->ping.bytes);
    free(link->in.data);
    mf_endpoints_free(link);
    free(link);
}

// On to the next endpoint: at once, or after a pause when all of them have failed.
static void leave_endpoint(struct mf_link *link)
{
    struct mayfly_client *client = link->client;
    link->address = NULL;
    link->failures++;
    // Those that were learned only after all that were given: they may lead nowhere.
    bool given_are_left = link->failures < link->given_count;
    bool learned = link->endpoint_count > link->given_count;
    if (learned && link->failures == link->given_count)
        link->at = link->given_count;
    else
        link->at = (link->at + 1) % (given_are_left ? link->given_count : link->endpoint_count);
    link->reopen_us = 0;
    if (link->failures % link->endpoint_count != 0)
        return;
    link->rounds++;
    size_t doublings = link->failures / link->endpoint_count - 1;
    if (doublings > REOPEN_DOUBLINGS_MAX)
        doublings = REOPEN_DOUBLINGS_MAX;
    uint64_t whole_us = (uint64_t)REOPEN_MIN_US << doublings;
    link->reopen_us =
        client->clock_us() + whole_us / 2 + mf_rand_below(&client->jitter, whole_us / 2);
}

static bool is_for_watches(const struct mf_link *link)
{
    return link == link->client->watch_link;
}

void mf_link_lose(struct mf_link *link, const char *why)
{
    bool was_ready = link->state == MF_LINK_READY;
    mf_endpoint_note(link, why);
    close_link(link);
    mf_calls_requeue(link);
    if (is_for_watches(link))
        mf_client_watches_let_go(link->client);
    else
        mf_route_link_lost(link);
    if (was_ready || link->address == NULL)
        leave_endpoint(link);
}

void mf_link_retire(struct mf_link *link)
{
    close_link(link);
    mf_calls_requeue(link);
    link->retired = true;
    link->wanted = false;
}

static void allow_time_to_open(struct mf_link *link)
{
    link->opening_until_us =
        link->client->clock_us() + (uint64_t)link->client->connect_timeout_ms * 1000;
}

static void greet(struct mf_link *link)
{
    allow_time_to_open(link);
    link->state = MF_LINK_GREETING;
    link->hello.state = MF_CALL_QUEUED;
    mf_call_list_append(&link->greeting, &link->hello);
}

static void open_address(struct mf_link *link, const struct addrinfo *address)
{
    int failed = link->transport.kind->open(&link->transport, address);
    allow_time_to_open(link);
    if (failed != 0 && failed != EINPROGRESS) {
        mf_link_lose(link, strerror(failed));
        return;
    }
    link->state = MF_LINK_CONNECTING;
    if (mf_loop_add(link) != MAYFLY_OK)
        mf_link_lose(link, "no memory to wait for it");
    else if (failed == 0)
        greet(link);
}

// Begins a connection, passing over endpoints that fail at once. Ends, because a whole round of
// failures brings a pause.
static void open_link(struct mf_link *link, uint64_t now_us)
{
    while (link->state == MF_LINK_DOWN && link->reopen_us <= now_us) {
        if (link->address == NULL)
            mf_endpoint_resolve(link);
        if (link->address == NULL) {
            leave_endpoint(link);
            continue;
        }
        const struct addrinfo *address = link->address;
        link->address = address->ai_next;
        open_address(link, address);
    }
}

static void finish_connecting(struct mf_link *link)
{
    int failed = link->transport.kind->opened(&link->transport);
    if (failed == EINPROGRESS)
        return;
    if (failed != 0)
        mf_link_lose(link, strerror(failed));
    else
        greet(link);
}

// Takes the list's calls whose last byte is out off it. now_us was read before they were written:
// an id's time is never counted from later than when the node could know it.
static void account_written(struct mf_link *link, struct mf_call_list *list, size_t wrote,
                            uint64_t now_us)
{
    link->wrote_us = now_us;
    link->sent_of_head += wrote;
    while (list->head != NULL && link->sent_of_head >= list->head->len) {
        struct mf_call *call = list->head;
        link->sent_of_head -= call->len;
        if (call->own) {
            mf_call_list_remove(list, call);
            mf_call_retire(call);
        } else {
            mf_calls_mark_sent(link, now_us);
        }
    }
}

void mf_link_write(struct mf_link *link)
{
    if (link->state != MF_LINK_GREETING && link->state != MF_LINK_READY)
        return;
    struct mf_call_list *list = link->state == MF_LINK_GREETING ? &link->greeting : &link->queue;
    link->full = false;
    while (list->head != NULL) {
        struct iovec pieces[WRITE_PIECES];
        size_t count = 0;
        size_t skip = link->sent_of_head;
        for (struct mf_call *c = list->head; c != NULL && count < WRITE_PIECES; c = c->next) {
            pieces[count++] = (struct iovec){c->bytes + skip, c->len - skip};
            skip = 0;
        }
        uint64_t now_us = link->client->clock_us();
        ssize_t wrote = link->transport.kind->write(&link->transport, pieces, count);
        if (wrote >= 0) {
            account_written(link, list, (size_t)wrote, now_us);
        } else if (wrote == -EAGAIN) {
            link->full = true;
            return;
        } else {
            mf_link_lose(link, strerror((int)-wrote));
            return;
        }
    }
}

// Since when the node owes us something and has not been heard; UINT64_MAX when it owes nothing.
// A large request on its way out counts as life as long as it moves. A watch is always owed its
// changes, of which there may be none for long.
static uint64_t silent_since_us(const struct mf_link *link)
{
    uint64_t since_us = link->heard_us;
    if (is_for_watches(link))
        return mf_client_watches_wanted(link->client) ? since_us : UINT64_MAX;
    if (link->sent.head == NULL && link->queue.head == NULL)
        return UINT64_MAX;
    if (link->sent.head != NULL && link->sent.head->sent_us > since_us)
        since_us = link->sent.head->sent_us;
    if (link->queue.head != NULL && link->wrote_us > since_us)
        since_us = link->wrote_us;
    return since_us;
}

// How long it may be silent before it is asked.
static uint64_t patience_us(const struct mf_link *link)
{
    return (uint64_t)link->client->silence_ms * 1000 * (is_for_watches(link) ? QUIET_FACTOR : 1);
}

// When a silent node is given up: twice silence_ms after it was asked; when it cannot even be
// asked, because it takes no more bytes, three patiences after it took the last.
static uint64_t silence_ends_us(const struct mf_link *link, uint64_t since_us)
{
    if (link->asked)
        return link->asked_us + 2 * (uint64_t)link->client->silence_ms * 1000;
    return link->queue.head != NULL ? since_us + 3 * patience_us(link) : UINT64_MAX;
}

// Asks a silent node for a sign of life, and gives it up in the end.
static void watch_silence(struct mf_link *link, uint64_t now_us)
{
    uint64_t since_us = silent_since_us(link);
    if (since_us == UINT64_MAX)
        return;
    if (now_us >= silence_ends_us(link, since_us)) {
        char why[64];
        snprintf(why, sizeof why, "no sign of life for %u ms",
                 (uint32_t)(patience_us(link) / 1000) + 2 * link->client->silence_ms);
        mf_link_lose(link, why);
    } else if (now_us >= since_us + patience_us(link) && !link->asked && link->queue.head == NULL) {
        link->asked = true;
        link->asked_us = now_us;
        link->ping.state = MF_CALL_QUEUED;
        mf_call_list_append(&link->queue, &link->ping);
    }
}

static bool has_work(const struct mf_link *link)
{
    if (is_for_watches(link))
        return mf_client_watches_wanted(link->client);
    if (link->node != 0)
        return link->wanted;
    return link->client->wanted || mf_calls_pending(link->client) > 0;
}

void mf_link_check_head(struct mf_link *link, uint64_t now_us)
{
    const struct mf_call *half = mf_calls_half_written(link);
    if (half != NULL && !half->own && mf_call_limit_us(half) <= now_us)
        mf_link_lose(link, "a request could not be written in time");
}

void mf_link_timers(struct mf_link *link, uint64_t now_us)
{
    if (link->state == MF_LINK_READY)
        watch_silence(link, now_us);
    if ((link->state == MF_LINK_CONNECTING || link->state == MF_LINK_GREETING) &&
        link->opening_until_us <= now_us)
        mf_link_lose(link, "no answer in time");
    if (link->state == MF_LINK_DOWN && has_work(link))
        open_link(link, now_us);
}

uint64_t mf_link_due_us(const struct mf_link *link)
{
    uint64_t since_us;
    uint64_t ends_us;
    switch (link->state) {
    case MF_LINK_DOWN:
        return has_work(link) ? link->reopen_us : UINT64_MAX;
    case MF_LINK_CONNECTING:
        return link->opening_until_us;
    case MF_LINK_GREETING:
        return link->greeting.head != NULL && !link->full ? 0 : link->opening_until_us;
    case MF_LINK_READY:
        break;
    }
    if (link->queue.head != NULL && !link->full)
        return 0;
    since_us = silent_since_us(link);
    if (since_us == UINT64_MAX)
        return UINT64_MAX;
    ends_us = silence_ends_us(link, since_us);
    return ends_us != UINT64_MAX ? ends_us : since_us + patience_us(link);
}

void mf_link_ready(struct mf_link *link)
{
    if (link->state == MF_LINK_CONNECTING)
        finish_connecting(link);
    else
        mf_replies_read(link);
}

void mf_link_excuse(struct mf_link *link, uint64_t now_us)
{
    link->wrote_us = now_us;
    if (link->greeting.head != NULL)
        allow_time_to_open(link);
}
