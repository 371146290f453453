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

#define HELLO_MSGID 0xfffffffeu
#define PING_MSGID 0xffffffffu
#define REOPEN_MIN_US 20000u
#define REOPEN_DOUBLINGS_MAX 5u // 640 ms
// A node that has refused for so long, and carried out nothing, is left for another.
#define REFUSALS_BORNE_US 1000000u
// A caller who polls less often than this is taken to have been away.
#define ABSENCE_US 50000u
#define READ_BYTES ((size_t)64 << 10)
#define READS_PER_TURN 16
#define WRITE_PIECES 128
#define INPUT_KEPT_BYTES ((size_t)1 << 20)

enum mayfly_err mf_link_init(struct mayfly_client *client)
{
    struct mf_link *link = &client->link;
    struct mayfly_request hello = {.method = MAYFLY_METHOD_HELLO};
    struct mayfly_request ping = {.method = MAYFLY_METHOD_PING};
    struct mf_buf hello_bytes = mf_request_pack(client, HELLO_MSGID, &hello);
    struct mf_buf ping_bytes = mf_request_pack(client, PING_MSGID, &ping);
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

// The connection failed or is no good. What had been sent on it is queued again.
static void lose(struct mayfly_client *client, const char *why)
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
        lose(client, strerror(errno));
        return;
    }
    (void)setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    allow_time_to_open(client);
    if (connect(link->fd, address->ai_addr, address->ai_addrlen) == 0)
        greet(client);
    else if (errno == EINPROGRESS)
        link->state = MF_LINK_CONNECTING;
    else
        lose(client, strerror(errno));
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
        lose(client, strerror(failed));
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
            lose(client, strerror(errno));
            return;
        }
    }
}

static void take_greeting(struct mayfly_client *client, enum mayfly_err err, const char *text)
{
    struct mf_link *link = &client->link;
    if (link->state != MF_LINK_GREETING)
        return;
    if (err == MAYFLY_OK) {
        link->state = MF_LINK_READY;
        link->heard_us = client->clock_us();
        link->served_us = link->heard_us;
        link->endpoints[link->at].why[0] = '\0';
        return;
    }
    lose(client, text);
    if (mf_err_is_retried(err))
        return;
    client->greeting_err = err;
    mf_calls_fail_all(client, err, text);
}

// `[code, message, details]` as an error and a line of text.
static enum mayfly_err read_error(const struct mayfly_value *error, char *text, size_t size)
{
    const struct mayfly_value *items = error->type == MAYFLY_TYPE_ARRAY ? error->items : NULL;
    if (items == NULL || error->count < 2 || items[0].type != MAYFLY_TYPE_STRING ||
        items[1].type != MAYFLY_TYPE_STRING) {
        snprintf(text, size, "the node sent an error of unknown form");
        return MAYFLY_ERR_PROTOCOL;
    }
    struct mf_bytes code = mf_bytes_of(items[0].bytes.data, items[0].bytes.len);
    struct mf_bytes words = mf_bytes_of(items[1].bytes.data, items[1].bytes.len);
    enum mayfly_err err = mf_err_of_name(code);
    size_t used = 0;
    if (err == MAYFLY_ERR_INTERNAL && !mf_bytes_equal(code, mf_bytes_str("INTERNAL"))) {
        mf_printable(text, size / 2, code);
        used = strlen(text);
        used += (size_t)snprintf(text + used, size - used, ": ");
    }
    mf_printable(text + used, size - used, words);
    return err;
}

// Whether a node that refuses is to be left: one that stops, and one that cannot carry out
// anything.
static bool leaves_after(const struct mayfly_client *client, enum mayfly_err err)
{
    const struct mf_link *link = &client->link;
    if (link->state != MF_LINK_READY || err == MAYFLY_ERR_BUSY)
        return false;
    return err == MAYFLY_ERR_SHUTTING_DOWN ||
           client->clock_us() - link->served_us > REFUSALS_BORNE_US;
}

static void answer(struct mayfly_client *client, uint32_t msgid, enum mayfly_err err,
                   const char *text, const struct mayfly_value *value)
{
    if (msgid == HELLO_MSGID) {
        take_greeting(client, err, text);
    } else if (msgid != PING_MSGID) {
        if (mf_calls_answer(client, msgid, err, text, value) && leaves_after(client, err))
            lose(client, text);
    }
}

// Reads `[1, msgid,`; false when it is something else. Notifications are none of our business,
// but no fault either.
static bool read_frame(struct mf_msgpack_in *in, uint32_t *msgid, bool *notification)
{
    struct mf_msgpack_token token;
    *notification = false;
    if (mf_msgpack_next(in, &token) != MF_OK || token.type != MF_MP_ARRAY)
        return false;
    uint32_t count = token.count;
    if (mf_msgpack_next(in, &token) != MF_OK || token.type != MF_MP_UINT)
        return false;
    *notification = count == 3 && token.uinteger == 2;
    if (*notification)
        return true;
    if (count != 4 || token.uinteger != 1)
        return false;
    if (mf_msgpack_next(in, &token) != MF_OK || token.type != MF_MP_UINT ||
        token.uinteger > UINT32_MAX)
        return false;
    *msgid = (uint32_t)token.uinteger;
    return true;
}

static void take_message(struct mayfly_client *client, struct mf_bytes message)
{
    struct mf_msgpack_in in = {mf_reader_of(message)};
    const struct mayfly_value *value = NULL;
    char text[MF_CLIENT_TEXT_MAX / 2] = "";
    uint32_t msgid;
    bool notification;
    if (!read_frame(&in, &msgid, &notification)) {
        lose(client, "it does not speak MessagePack-RPC");
        return;
    }
    if (notification)
        return;
    enum mayfly_err err = mf_value_build(&client->space, &in, &value);
    if (err == MAYFLY_OK && value->type != MAYFLY_TYPE_NIL)
        err = read_error(value, text, sizeof text);
    else if (err == MAYFLY_OK)
        err = mf_value_build(&client->space, &in, &value);
    if (err != MAYFLY_OK && text[0] == '\0')
        snprintf(text, sizeof text, "%s", mayfly_err_text(err));
    answer(client, msgid, err, text, err == MAYFLY_OK ? value : NULL);
}

// A reply that cannot be held: its call fails, since it would be as large the next time; the rest
// of it is not worth reading, so the connection goes too.
static void drop_reply(struct mayfly_client *client, struct mf_bytes start, enum mayfly_err err)
{
    struct mf_msgpack_in in = {mf_reader_of(start)};
    uint32_t msgid;
    bool notification;
    char text[MF_CLIENT_TEXT_MAX / 2];
    snprintf(text, sizeof text, "the reply is larger than %zu bytes", client->reply_bytes_max);
    if (err == MAYFLY_ERR_OUT_OF_MEMORY)
        snprintf(text, sizeof text, "no memory for the reply, %zu bytes so far", start.len);
    if (read_frame(&in, &msgid, &notification) && !notification)
        answer(client, msgid, err, text, NULL);
    if (client->link.state != MF_LINK_DOWN)
        lose(client, text);
}

static void take_input(struct mayfly_client *client)
{
    struct mf_link *link = &client->link;
    while (!client->paused && link->in_at < link->in.len) {
        struct mf_bytes rest = mf_bytes_of(link->in.data + link->in_at, link->in.len - link->in_at);
        size_t size;
        enum mf_err err = mf_msgpack_scan(&link->scan, rest, client->reply_bytes_max, &size);
        if (err == MF_AGAIN)
            return;
        if (err == MF_OK) {
            link->in_at += size;
            take_message(client, mf_bytes_of(rest.data, size));
        } else if (err == MF_TOO_LARGE) {
            drop_reply(client, rest, MAYFLY_ERR_TOO_LARGE);
        } else {
            lose(client, "it does not speak MessagePack");
        }
    }
}

// Moves what is unused to the front and makes room for another read.
static bool make_room(struct mf_link *link)
{
    mf_buf_consume(&link->in, link->in_at);
    link->in_at = 0;
    if (link->in.len == 0 && link->in.cap > INPUT_KEPT_BYTES)
        mf_buf_free(&link->in);
    if (link->in.cap - link->in.len >= READ_BYTES)
        return true;
    size_t cap = link->in.cap < READ_BYTES ? READ_BYTES * 2 : link->in.cap * 2;
    uint8_t *data = realloc(link->in.data, cap);
    if (data == NULL)
        return false;
    link->in.data = data;
    link->in.cap = cap;
    return true;
}

static void read_replies(struct mayfly_client *client)
{
    struct mf_link *link = &client->link;
    for (int reads = 0; reads < READS_PER_TURN && link->fd >= 0 && !client->paused; reads++) {
        if (!make_room(link)) {
            drop_reply(client, mf_buf_view(&link->in), MAYFLY_ERR_OUT_OF_MEMORY);
            return;
        }
        size_t room = link->in.cap - link->in.len;
        ssize_t got = recv(link->fd, link->in.data + link->in.len, room, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            lose(client, got == 0 ? "it closed the connection" : strerror(errno));
            return;
        }
        link->in.len += (size_t)got;
        link->heard_us = client->clock_us();
        link->asked = false;
        take_input(client);
        if ((size_t)got < room)
            return;
    }
}

bool mf_link_hold(struct mayfly_client *client)
{
    struct mf_link *link = &client->link;
    size_t rest = link->in.len - link->in_at;
    struct mf_buf next = client->held;
    if (next.data == NULL || next.cap < rest || next.cap > INPUT_KEPT_BYTES) {
        free(next.data);
        client->held = (struct mf_buf){0};
        next = (struct mf_buf){.data = malloc(rest + READ_BYTES), .cap = rest + READ_BYTES};
        if (next.data == NULL)
            return false;
    }
    next.len = 0;
    mf_buf_put(&next, link->in.data + link->in_at, rest);
    client->held = link->in;
    link->in = next;
    link->in_at = 0;
    client->paused = true;
    return true;
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
        lose(client, why);
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
        lose(client, "a request could not be written in time");
    mf_calls_timers(client, now_us);
    if (link->state == MF_LINK_READY)
        watch_silence(client, now_us);
    if ((link->state == MF_LINK_CONNECTING || link->state == MF_LINK_GREETING) &&
        link->opening_until_us <= now_us)
        lose(client, "no answer in time");
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
        read_replies(client);
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
    take_input(client);
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
