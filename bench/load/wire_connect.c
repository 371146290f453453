// Addresses and connections of plain protocols; see wire.h.
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "bench/load/wire.h"

#define ASK_BYTES ((size_t)16 << 20) // no answer before the run is longer

// Addresses.

uint32_t wire_node_add(struct wire_nodes *nodes, const char *address)
{
    pthread_mutex_lock(&nodes->lock);
    uint32_t count = atomic_load_explicit(&nodes->node_count, memory_order_relaxed);
    uint32_t at = 0;
    while (at < count && strcmp(nodes->addresses[at], address) != 0)
        at++;
    if (at == count && count < WIRE_NODES_MAX) {
        snprintf(nodes->addresses[at], WIRE_ADDRESS_BYTES, "%s", address);
        atomic_store_explicit(&nodes->node_count, count + 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&nodes->lock);
    return at;
}

bool wire_begin(struct load_run *run, const struct wire_format *format)
{
    struct wire_nodes *nodes = mf_calloc(1, sizeof(*nodes));
    nodes->format = format;
    pthread_mutex_init(&nodes->lock, NULL);
    run->shared = nodes;
    for (const char *at = run->plan->endpoints;; at++) {
        char address[WIRE_ADDRESS_BYTES];
        size_t len = strcspn(at, ",");
        snprintf(address, sizeof(address), "%.*s", len < sizeof(address) ? (int)len : 0, at);
        if (wire_node_add(nodes, address) == WIRE_NODES_MAX) {
            fprintf(stderr, "mayfly-bench: expected at most %d endpoints\n", WIRE_NODES_MAX);
            return false;
        }
        at += len;
        if (*at == '\0')
            return true;
    }
}

void wire_end(struct load_run *run)
{
    struct wire_nodes *nodes = run->shared;
    pthread_mutex_destroy(&nodes->lock);
    free(nodes);
}

// Connections.

static bool split(const char *address, char *host, size_t size, const char **port)
{
    const char *colon = strrchr(address, ':');
    size_t len = colon != NULL ? (size_t)(colon - address) : 0;
    bool bracketed = len > 2 && address[0] == '[' && address[len - 1] == ']';
    if (len == 0 || colon[1] == '\0' || len >= size ||
        (!bracketed && memchr(address, ':', len) != NULL))
        return false;
    snprintf(host, size, "%.*s", (int)(bracketed ? len - 2 : len), address + bracketed);
    *port = colon + 1;
    return true;
}

static int connect_one(const struct load_plan *plan, const struct addrinfo *info)
{
    const struct timeval patience = {.tv_sec = plan->timeout_ms / 1000,
                                     .tv_usec = (suseconds_t)(plan->timeout_ms % 1000) * 1000};
    const int on = 1;
    int fd = socket(info->ai_family, info->ai_socktype | SOCK_CLOEXEC, info->ai_protocol);
    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0 &&
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0 &&
        connect(fd, info->ai_addr, info->ai_addrlen) == 0)
        return fd;
    int failed = errno;
    close(fd);
    errno = failed == EINPROGRESS ? ETIMEDOUT : failed; // SO_SNDTIMEO's name for it
    return -1;
}

int wire_connect(const struct load_plan *plan, const struct wire_format *format,
                 const char *address, char *message, size_t size)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    char host[WIRE_ADDRESS_BYTES];
    const char *port;
    if (!split(address, host, sizeof(host), &port)) {
        snprintf(message, size,
                 "endpoint '%.200s' is no address, expected HOST:PORT or [IPV6]:PORT", address);
        return -1;
    }
    int failed = getaddrinfo(host, port, &hints, &found);
    if (failed != 0) {
        snprintf(message, size, "%.200s: %s", address, gai_strerror(failed));
        return -1;
    }
    int fd = -1;
    for (const struct addrinfo *info = found; fd < 0 && info != NULL; info = info->ai_next)
        fd = connect_one(plan, info);
    if (fd < 0)
        snprintf(message, size, "%.200s: cannot connect: %s", address, strerror(errno));
    freeaddrinfo(found);
    if (fd >= 0 && format->greet != NULL && !format->greet(plan, fd, message, size)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

bool wire_ask(int fd, const struct mf_buf *request, struct mf_buf *in,
              ssize_t (*length)(const uint8_t *data, size_t len), char *message, size_t size)
{
    const size_t chunk = 16384;
    for (size_t sent = 0; sent < request->len;) {
        ssize_t now = send(fd, request->data + sent, request->len - sent, MSG_NOSIGNAL);
        if (now < 0) {
            snprintf(message, size, "sending the first request: %s", strerror(errno));
            return false;
        }
        sent += (size_t)now;
    }
    ssize_t whole = 0;
    while (whole == 0 && in->len < ASK_BYTES) {
        ssize_t now = recv(fd, mf_buf_reserve(in, chunk), chunk, 0);
        if (now <= 0) {
            snprintf(message, size, "waiting for the first answer: %s",
                     now == 0          ? "the connection was closed"
                     : errno == EAGAIN ? "none came in time"
                                       : strerror(errno));
            return false;
        }
        in->len += (size_t)now;
        whole = length(in->data, in->len);
    }
    if (whole <= 0)
        snprintf(message, size, "the first answer is none of this protocol");
    return whole > 0;
}
