// The one connection of a client: endpoints in turn, greeting, back-off, signs of life.
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
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define REOPEN_MIN_US 20000u
#define REOPEN_DOUBLINGS_MAX 5u // 640 ms
// A caller who polls less often than this is taken to have been away.
#define ABSENCE_US 50000u
#define WRITE_PIECES 128

enum mayfly_err mf_link_init(struct mayfly_client *client)
{
    struct mf_link *link = &client->link;
    struct mayfly_request hello = {.method = MAYFLY_METHOD_HELLO};
    struct mayfly_request ping = {.method = MAYFLY_METHOD_PING};
    struct mf_buf hello_bytes = mf_request_pack(client, MF_HELLO_MSGID, &hello);
    struct mf_buf ping_bytes = mf_request_pack(client, MF_PING_MSGID, &ping);
    link->hello = (struct mf_call){.bytes = hello_bytes.data, .len = hello_bytes.len};
    link->ping = (struct mf_call){.bytes = ping_bytes.data, .len = ping_bytes.len};
    if (hello_bytes.data == NULL || ping_bytes.data == NULL)
        return MAYFLY_ERR_OUT_OF_MEMORY;
    return MAYFLY_OK;
}

void mf_link_free(struct mayfly_client *client)
{
    struct mf_link *link = &client->link;
    if (link->fd >= 0)
        close(link->fd);
    free(link->hello.bytes);
    free(link->ping.bytes);
    free(link->in.data);
    mf_endpoints_free(link);
}

// Forgets the connection and everything about it but the endpoint.
static void close_link(struct mf_link *link, struct mf_call_list *queue)
{
    if (link->fd >= 0)
        close(link->fd);
    link->fd = -1;
    link->state = MF_LINK_DOWN;
    link->sent_of_head = 0;
    link->asked = false;
    link->full = false;
    link->scan = (struct mf_msgpack_scan){0};
    link->in.len = 0;
    link->in_at = 0;
    link->greeting = (struct mf_call_list){0};
    link->hello.state = MF_CALL_FREE;
    if (link->ping.state == MF_CALL_QUEUED)
        mf_call_list_remove(queue, &link->ping);
    link->ping.state = MF_CALL_FREE;
}

// On to the next endpoint: at once, or after a pause when all of them have failed.
static void leave_endpoint(struct mayfly_client *client)
{
    struct mf_link *link = &client->link;
    link->address = NULL;
    link->at = (link->at + 1) % link->endpoint_count;
    link->failures++;
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

void mf_link_lose(struct mayfly_client *client, const char *why)
{
    struct mf_link *link = &client->link;
    bool was_ready = link->state == MF_LINK_READY;
    mf_endpoint_note(link, why);
    close_link(link, &client->queue);
    mf_calls_requeue_sent(client);
    if (was_ready || link->address == NULL)
        leave_endpoint(client);
}

static void allow_time_to_open(struct mayfly_client *client)
{
    client->link.opening_until_us =
        client->clock_us() + (uint64_t)client->connect_timeout_ms * 1000;
}

static void greet(struct mayfly_client *client)
{
    struct mf_link *link = &client->link;
    allow_time_to_open(client);
    link->state = MF_LINK_GREETING;
    link->hello.state = MF_CALL_QUEUED;
    mf_call_list_append(&link->greeting, &link->hello);
}

static void open_address(struct mayfly_client *client, const struct addrinfo *address)
{
    struct mf_link *link = &client->link;
    int on = 1;
    link->fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (link->fd < 0) {
        mf_link_lose(client, strerror(errno));
        return;
    }
    (void)setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    allow_time_to_open(client);
    if (connect(link->fd, address->ai_addr, address->ai_addrlen) == 0)
        greet(client);
    else if (errno == EINPROGRESS)
        link->state = MF_LINK_CONNECTING;
    else
        mf_link_lose(client, strerror(errno));
}

// Begins a connection, passing over endpoints that fail at once. Ends, because a whole round of
// failures brings a pause.
static void open_link(struct mayfly_client *client, uint64_t now_us)
{
    struct mf_link *link = &client->link;
    while (link->state == MF_LINK_DOWN && link->reopen_us <= now_us) {
        if (link->address == NULL)
            mf_endpoint_resolve(link);
        if (link->address == NULL) {
            leave_endpoint(client);
            continue;
        }
        const struct addrinfo *address = link->address;
        link->address = address->ai_next;
        open_address(client, address);
    }
}

static void finish_connecting(struct mayfly_client *client)
{
    int failed = 0;
    socklen_t size = sizeof failed;
    if (getsockopt(client->link.fd, SOL_SOCKET, SO_ERROR, &failed, &size) != 0)
        failed = errno;
    if (failed != 0)
        mf_link_lose(client, strerror(failed));
    else
        greet(client);
}

// Takes the list's calls whose last byte is out off it. now_us was read before they were written:
// an id's time is never counted from later than when the node could know it.
static void account_written(struct mayfly_client *client, struct mf_call_list *list, size_t wrote,
                            uint64_t now_us)
{
    struct mf_link *link = &client->link;
    link->wrote_us = now_us;
    link->sent_of_head += wrote;
    while (list->head != NULL && link->sent_of_head >= list->head->len) {
        struct mf_call *call = list->head;
        link->sent_of_head -= call->len;
        if (call == &link->hello || call == &link->ping) {
            mf_call_list_remove(list, call);
            call->state = MF_CALL_FREE;
        } else {
            mf_calls_mark_sent(client, now_us);
        }
    }
}

static void write_queued(struct mayfly_client *client)
{
    struct mf_link *link = &client->link;
    struct mf_call_list *list = link->state == MF_LINK_GREETING ? &link->greeting : &client->queue;
    link->full = false;
    while (list->head != NULL) {
        struct iovec pieces[WRITE_PIECES];
        size_t count = 0;
        size_t skip = link->sent_of_head;
        for (struct mf_call *c = list->head; c != NULL && count < WRITE_PIECES; c = c->next) {
            pieces[count++] = (struct iovec){c->bytes + skip, c->len - skip};
            skip = 0;
        }
        struct msghdr message = {.msg_iov = pieces, .msg_iovlen = count};
        uint64_t now_us = client->clock_us();
        ssize_t wrote = sendmsg(link->fd, &message, MSG_NOSIGNAL);
        if (wrote >= 0) {
            account_written(client, list, (size_t)wrote, now_us);
        } else if (errno == EAGAIN) {
            link->full = true;
            return;
        } else if (errno != EINTR) {
            mf_link_lose(client, strerror(errno));
            return;
        }
    }
}

// Since when the node owes us something and has not been heard; UINT64_MAX when it owes nothing.
// A large request on its way out counts as life as long as it moves.
static uint64_t silent_since_us(const struct mayfly_client *client)
{
    const struct mf_link *link = &client->link;
    uint64_t since_us = link->heard_us;
    if (client->sent.head == NULL && client->queue.head == NULL)
        return UINT64_MAX;
    if (client->sent.head != NULL && client->sent.head->sent_us > since_us)
        since_us = client->sent.head->sent_us;
    if (client->queue.head != NULL && link->wrote_us > since_us)
        since_us = link->wrote_us;
    return since_us;
}

// When a silent node is given up: two patiences after it was asked; when it cannot even be asked,
// because it takes no more bytes, three after it took the last.
static uint64_t silence_ends_us(const struct mayfly_client *client, uint64_t since_us)
{
    uint64_t patience_us = (uint64_t)client->silence_ms * 1000;
    if (client->link.asked)
        return client->link.asked_us + 2 * patience_us;
    return client->queue.head != NULL ? since_us + 3 * patience_us : UINT64_MAX;
}

// Asks a silent node for a sign of life, and gives it up in the end.
static void watch_silence(struct mayfly_client *client, uint64_t now_us)
{
    struct mf_link *link = &client->link;
    uint64_t since_us = silent_since_us(client);
    uint64_t patience_us = (uint64_t)client->silence_ms * 1000;
    if (since_us == UINT64_MAX)
        return;
    if (now_us >= silence_ends_us(client, since_us)) {
        char why[64];
        snprintf(why, sizeof why, "no sign of life for %u ms", 3 * client->silence_ms);
        mf_link_lose(client, why);
    } else if (now_us >= since_us + patience_us && !link->asked && client->queue.head == NULL) {
        link->asked = true;
        link->asked_us = now_us;
        link->ping.state = MF_CALL_QUEUED;
        mf_call_list_append(&client->queue, &link->ping);
    }
}

static bool has_work(const struct mayfly_client *client)
{
    return client->wanted || mf_calls_pending(client) > 0;
}

static void run_timers(struct mayfly_client *client, uint64_t now_us)
{
    struct mf_link *link = &client->link;
    const struct mf_call *head = client->queue.head;
    if (link->sent_of_head > 0 && head != NULL && head != &link->ping &&
        mf_call_limit_us(head) <= now_us)
        mf_link_lose(client, "a request could not be written in time");
    mf_calls_timers(client, now_us);
    if (link->state == MF_LINK_READY)
        watch_silence(client, now_us);
    if ((link->state == MF_LINK_CONNECTING || link->state == MF_LINK_GREETING) &&
        link->opening_until_us <= now_us)
        mf_link_lose(client, "no answer in time");
    if (link->state == MF_LINK_DOWN && has_work(client))
        open_link(client, now_us);
}

// When run_timers will have something to do.
static uint64_t next_due_us(const struct mayfly_client *client)
{
    const struct mf_link *link = &client->link;
    uint64_t due_us = UINT64_MAX;
    uint64_t patience_us = (uint64_t)client->silence_ms * 1000;
    uint64_t since_us;
    switch (link->state) {
    case MF_LINK_DOWN:
        if (has_work(client))
            due_us = link->reopen_us;
        break;
    case MF_LINK_CONNECTING:
    case MF_LINK_GREETING:
        due_us = link->opening_until_us;
        break;
    case MF_LINK_READY:
        since_us = silent_since_us(client);
        if (since_us == UINT64_MAX)
            break;
        due_us = silence_ends_us(client, since_us);
        if (due_us == UINT64_MAX)
            due_us = since_us + patience_us;
        break;
    }
    return due_us < client->next_timer_us ? due_us : client->next_timer_us;
}

// Waits for the socket. False when a signal came first.
static bool wait_for_socket(struct mayfly_client *client, uint64_t wait_us, short *events)
{
    struct mf_link *link = &client->link;
    struct pollfd poll_fd = {.fd = link->fd, .events = POLLIN};
    if (link->state == MF_LINK_CONNECTING || link->full)
        poll_fd.events |= POLLOUT;
    struct timespec limit = {.tv_sec = (time_t)(wait_us / 1000000),
                             .tv_nsec = (long)(wait_us % 1000000) * 1000};
    int ready = ppoll(&poll_fd, 1, &limit, NULL);
    *events = ready > 0 ? poll_fd.revents : 0;
    return ready >= 0;
}

static void take_events(struct mayfly_client *client, short events)
{
    if (events != 0 && client->link.state == MF_LINK_CONNECTING)
        finish_connecting(client);
    else if ((events & (POLLIN | POLLERR | POLLHUP)) != 0)
        mf_replies_read(client);
}

// The caller was busy elsewhere: what arrived meanwhile is taken before any clock is looked at, so
// that the node is not blamed for the caller's absence.
static void catch_up(struct mayfly_client *client)
{
    struct mf_link *link = &client->link;
    uint64_t now_us = client->clock_us();
    short events;
    if (link->state == MF_LINK_DOWN || now_us < link->turned_us + ABSENCE_US)
        return;
    link->wrote_us = now_us;
    if (link->greeting.head != NULL)
        allow_time_to_open(client);
    if (wait_for_socket(client, 0, &events))
        take_events(client, events);
}

bool mf_link_turn(struct mayfly_client *client, uint64_t wait_us)
{
    struct mf_link *link = &client->link;
    size_t completed = client->completed;
    short events;
    client->paused = false;
    mf_replies_take(client);
    if (!client->paused)
        catch_up(client);
    if (client->paused)
        return true;
    run_timers(client, client->clock_us());
    if (link->state == MF_LINK_GREETING || link->state == MF_LINK_READY)
        write_queued(client);
    uint64_t now_us = client->clock_us();
    uint64_t due_us = next_due_us(client);
    if (client->completed != completed || due_us <= now_us)
        wait_us = 0;
    else if (due_us - now_us < wait_us)
        wait_us = due_us - now_us;
    bool uninterrupted = wait_for_socket(client, wait_us, &events);
    take_events(client, events);
    link->turned_us = client->clock_us();
    return uninterrupted;
}
