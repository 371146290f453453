// Plain connections of a thread; see wire.h.
//
// A turn first sends what was submitted since the last one, a send for each connection, and then
// reads what has come. Answers begin requests, and those are sent before the turn ends.
#include "bench/load/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define EVENTS_MAX 128
#define IN_BYTES 16384u        // of a connection's input, at first
#define IN_BYTES_BEYOND 65536u // what an answer may take beside its value
#define OUT_KEPT_BYTES ((size_t)1 << 20)
#define ATTEMPTS_MAX 16
#define OVERDUE_EVERY_US 100000u
#define UNASKED "an answer that nobody asked for"

struct link {
    struct load_client *client;
    int fd;     // -1: lost
    bool dirty; // it is in the list of those that have something to send
    bool stuck; // the socket was full: epoll tells when it is not
    struct link *next_dirty;
    struct mf_buf out;
    size_t sent; // of it
    uint8_t *in;
    size_t in_len;
    size_t in_cap;
    struct load_call *first; // under way, in the order of their requests
    struct load_call *last;
    uint32_t under_way;
    uint32_t next_number;
};

// client->own: its connections by node, of which those that it needs are made.
struct links {
    struct link *of[WIRE_NODES_MAX];
};

struct wire {
    struct wire_nodes *nodes;
    uint32_t homes; // of them, known when the clients were made
    int events;     // epoll descriptor
    size_t in_max;
    struct link *dirty;
    uint64_t looked_us; // when overdue answers were looked for
};

void wire_put_number(struct mf_buf *out, uint64_t number)
{
    out->len += load_digits((char *)mf_buf_reserve(out, LOAD_DIGITS_MAX), number);
}

// Life cycle.

// The node that the client was connected to at first.
static uint32_t home_of(const struct load_client *client)
{
    return client->index % ((struct wire *)client->worker->own)->homes;
}

static struct link *open_link(struct load_client *client, uint32_t node, char *why, size_t size)
{
    struct load_worker *worker = client->worker;
    struct wire *wire = worker->own;
    int fd = wire_connect(worker->run->plan, wire->nodes->format, wire->nodes->addresses[node], why,
                          size);
    if (fd < 0)
        return NULL;
    struct link *link = mf_calloc(1, sizeof(*link));
    *link = (struct link){.client = client, .fd = fd, .in_cap = IN_BYTES};
    link->in = mf_alloc(link->in_cap);
    struct links *links = client->own;
    links->of[node] = link;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = link};
    if (fcntl(fd, F_SETFL, O_NONBLOCK) == 0 &&
        epoll_ctl(wire->events, EPOLL_CTL_ADD, fd, &event) == 0)
        return link;
    snprintf(why, size, "epoll_ctl: %s", strerror(errno));
    return NULL;
}

bool wire_open(struct load_worker *worker)
{
    struct wire *wire = mf_calloc(1, sizeof(*wire));
    char why[WIRE_MESSAGE_BYTES];
    worker->own = wire;
    wire->nodes = worker->run->shared;
    wire->homes = atomic_load_explicit(&wire->nodes->node_count, memory_order_relaxed);
    wire->in_max = worker->run->plan->value_bytes * 2 + IN_BYTES_BEYOND;
    wire->events = epoll_create1(EPOLL_CLOEXEC);
    if (wire->events < 0) {
        fprintf(stderr, "mayfly-bench: epoll_create1: %s\n", strerror(errno));
        return false;
    }
    for (uint32_t i = 0; i < worker->client_count; i++) {
        struct load_client *client = &worker->clients[i];
        client->own = mf_calloc(1, sizeof(struct links));
        if (open_link(client, home_of(client), why, sizeof(why)) == NULL) {
            fprintf(stderr, "mayfly-bench: %s\n", why);
            return false;
        }
    }
    return true;
}

static void free_link(struct link *link)
{
    if (link == NULL)
        return;
    if (link->fd >= 0)
        close(link->fd);
    mf_buf_free(&link->out);
    free(link->in);
    free(link);
}

void wire_close(struct load_worker *worker)
{
    struct wire *wire = worker->own;
    for (uint32_t i = 0; i < worker->client_count; i++) {
        struct links *links = worker->clients[i].own;
        for (size_t node = 0; links != NULL && node < WIRE_NODES_MAX; node++)
            free_link(links->of[node]);
        free(links);
    }
    if (wire->events >= 0)
        close(wire->events);
    free(wire);
}

// Requests.

// The node that has the call's key by the map.
static uint32_t node_of(const struct wire_nodes *nodes, const struct load_call *call)
{
    char key[LOAD_KEY_BYTES];
    uint16_t slot = mf_slot_of(mf_bytes_of(key, load_call_key(call, key)));
    return atomic_load_explicit(&nodes->slots[slot], memory_order_acquire);
}

bool wire_is_near(const struct load_call *call)
{
    const struct wire *wire = call->client->worker->own;
    return node_of(wire->nodes, call) == home_of(call->client);
}

// The connection that the call belongs on, which may have to be made; NULL with the reason.
static struct link *link_to(const struct load_call *call, char *why, size_t size)
{
    const struct wire *wire = call->client->worker->own;
    struct links *links = call->client->own;
    uint32_t node = wire->nodes->mapped ? node_of(wire->nodes, call) : home_of(call->client);
    struct link *link = links->of[node];
    if (link == NULL)
        return open_link(call->client, node, why, size);
    if (link->fd >= 0)
        return link;
    snprintf(why, size, "the connection is lost");
    return NULL;
}

bool wire_submit(struct load_call *call, char *why, size_t size)
{
    struct wire *wire = call->client->worker->own;
    struct link *link = link_to(call, why, size);
    if (link == NULL)
        return false;
    call->number = link->next_number++;
    wire->nodes->format->put(call, &link->out);
    call->sent_us = call->client->worker->now_us;
    call->next = NULL;
    if (link->first == NULL)
        link->first = call;
    else
        link->last->next = call;
    link->last = call;
    link->under_way++;
    if (!link->dirty && !link->stuck) {
        link->dirty = true;
        link->next_dirty = wire->dirty;
        wire->dirty = link;
    }
    return true;
}

// What was under way has failed. Others of the client go where they can.
static void lose(struct link *link, const char *why)
{
    struct load_call *call = link->first;
    const struct load_answer answer = {.type = LOAD_FAILED, .data = why, .len = strlen(why)};
    close(link->fd);
    link->fd = -1;
    link->first = NULL;
    link->last = NULL;
    link->under_way = 0;
    link->in_len = 0;
    mf_buf_clear(&link->out, OUT_KEPT_BYTES);
    link->sent = 0;
    while (call != NULL) {
        struct load_call *next = call->next;
        load_call_answered(call, &answer);
        call = next;
    }
}

static void lose_by_errno(struct link *link, const char *what)
{
    char why[WIRE_MESSAGE_BYTES];
    snprintf(why, sizeof(why), "%s: %s", what, strerror(errno));
    lose(link, why);
}

static void watch(struct link *link, bool room)
{
    const struct wire *wire = link->client->worker->own;
    struct epoll_event event = {.events = room ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = link};
    link->stuck = room;
    if (epoll_ctl(wire->events, EPOLL_CTL_MOD, link->fd, &event) != 0)
        lose_by_errno(link, "epoll_ctl");
}

static void send_out(struct link *link)
{
    ssize_t now =
        send(link->fd, link->out.data + link->sent, link->out.len - link->sent, MSG_NOSIGNAL);
    if (now < 0 && errno != EAGAIN) {
        lose_by_errno(link, "send");
        return;
    }
    link->sent += now > 0 ? (size_t)now : 0;
    bool rest = link->sent < link->out.len;
    if (!rest) {
        mf_buf_clear(&link->out, OUT_KEPT_BYTES);
        link->sent = 0;
    }
    if (rest != link->stuck)
        watch(link, rest);
}

static void send_dirty(struct wire *wire)
{
    struct link *link;
    while ((link = wire->dirty) != NULL) {
        wire->dirty = link->next_dirty;
        link->dirty = false;
        if (link->fd >= 0)
            send_out(link);
    }
}

// Answers.

// Whether the call is under way again, at the node that has its key.
static bool send_elsewhere(struct link *link, struct load_call *call,
                           const struct load_answer *answer)
{
    struct wire_nodes *nodes = ((struct wire *)link->client->worker->own)->nodes;
    char address[WIRE_ADDRESS_BYTES];
    char why[WIRE_MESSAGE_BYTES];
    uint16_t slot;
    if (!nodes->mapped || call->attempts == ATTEMPTS_MAX ||
        !nodes->format->moved(answer, &slot, address, sizeof(address)))
        return false;
    uint32_t node = wire_node_add(nodes, address);
    if (node == WIRE_NODES_MAX)
        return false;
    atomic_store_explicit(&nodes->slots[slot], (uint8_t)node, memory_order_release);
    call->attempts++;
    if (wire_submit(call, why, sizeof(why)))
        return true;
    const struct load_answer failed = {.type = LOAD_FAILED, .data = why, .len = strlen(why)};
    load_call_answered(call, &failed);
    return true;
}

// The call that the answer at the beginning of the bytes is to, and the answer. Returns as `take`;
// the call is NULL where nobody has asked.
static ssize_t next_answer(const struct link *link, const uint8_t *data, size_t len,
                           struct load_call **call, struct load_answer *answer)
{
    const struct wire *wire = link->client->worker->own;
    const struct wire_format *format = wire->nodes->format;
    *call = link->first;
    if (format->which == NULL)
        return format->take(*call, data, len, answer);
    uint32_t number;
    ssize_t used = format->which(data, len, &number);
    if (used <= 0)
        return used;
    while (*call != NULL && (*call)->number != number)
        *call = (*call)->next;
    return *call != NULL ? format->take(*call, data, (size_t)used, answer) : used;
}

static void take_out(struct link *link, struct load_call *call)
{
    struct load_call *before = NULL;
    for (struct load_call *at = link->first; at != call; at = at->next)
        before = at;
    if (before == NULL)
        link->first = call->next;
    else
        before->next = call->next;
    if (link->last == call)
        link->last = before;
    link->under_way--;
}

// Hands over every whole answer. What answers begin is not sent yet, so it has none among them.
static void take_answers(struct link *link)
{
    uint32_t left = link->under_way;
    size_t at = 0;
    while (left > 0 && at < link->in_len) {
        struct load_call *call;
        struct load_answer answer = {.type = LOAD_STRANGE};
        ssize_t used = next_answer(link, link->in + at, link->in_len - at, &call, &answer);
        if (used == 0)
            break;
        if (used == WIRE_BROKEN) {
            lose(link, "bytes that are no answer of this protocol");
            return;
        }
        if (call == NULL) {
            lose(link, UNASKED);
            return;
        }
        take_out(link, call);
        left--;
        at += (size_t)used;
        if (answer.type != LOAD_FAILED || !send_elsewhere(link, call, &answer))
            load_call_answered(call, &answer);
        if (link->fd < 0)
            return;
    }
    if (left == 0 && at < link->in_len) {
        lose(link, UNASKED);
        return;
    }
    link->in_len -= at;
    memmove(link->in, link->in + at, link->in_len);
}

static void receive(struct link *link)
{
    const struct wire *wire = link->client->worker->own;
    if (link->in_len == link->in_cap) {
        if (link->in_cap > wire->in_max) {
            lose(link, "an answer that is too long");
            return;
        }
        link->in_cap *= 2;
        link->in = mf_realloc(link->in, link->in_cap);
    }
    ssize_t now = recv(link->fd, link->in + link->in_len, link->in_cap - link->in_len, 0);
    if (now < 0 && errno == EAGAIN)
        return;
    if (now < 0)
        lose_by_errno(link, "recv");
    else if (now == 0)
        lose(link, "the connection was closed");
    if (now <= 0)
        return;
    link->in_len += (size_t)now;
    link->client->worker->now_us = mf_mono_us();
    take_answers(link);
}

static void lose_overdue(struct load_worker *worker)
{
    struct wire *wire = worker->own;
    uint64_t timeout_us = (uint64_t)worker->run->plan->timeout_ms * 1000;
    wire->looked_us = worker->now_us;
    for (uint32_t i = 0; i < worker->client_count; i++) {
        struct links *links = worker->clients[i].own;
        for (size_t node = 0; node < WIRE_NODES_MAX; node++) {
            struct link *link = links->of[node];
            if (link != NULL && link->first != NULL &&
                link->first->sent_us + timeout_us < worker->now_us)
                lose(link, "no answer in time");
        }
    }
}

void wire_turn(struct load_worker *worker, uint64_t wait_us)
{
    struct wire *wire = worker->own;
    struct epoll_event events[EVENTS_MAX];
    const struct timespec wait = {.tv_nsec = (long)wait_us * 1000};
    send_dirty(wire);
    int count = epoll_pwait2(wire->events, events, EVENTS_MAX, &wait, NULL);
    worker->now_us = mf_mono_us();
    for (int i = 0; i < count; i++) {
        struct link *link = events[i].data.ptr;
        if (link->fd >= 0 && (events[i].events & EPOLLOUT) != 0)
            send_out(link);
        if (link->fd >= 0 && (events[i].events & ~(unsigned)EPOLLOUT) != 0)
            receive(link);
        send_dirty(wire);
    }
    if (worker->now_us - wire->looked_us > OVERDUE_EVERY_US)
        lose_overdue(worker);
}
