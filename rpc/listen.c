// Addresses, listening sockets and outgoing connects.
//
// Every reactor has a listening socket of its own on the same address (SO_REUSEPORT), so the kernel
// spreads new connections and no reactor wakes for another's. When the process is out of file
// descriptors or memory, the connection that cannot be accepted stays in the queue and the socket
// stays readable: the watcher is taken off for a moment instead of spinning on it.
#include "rpc/conn.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#define BACKLOG 1024 // the kernel cuts it to net.core.somaxconn
#define ACCEPTS_PER_TURN 64
#define ACCEPT_PAUSE_S 0.1
// While connections come and go at the limit, one or the other can be accepted in between.
#define COMPLAIN_US UINT64_C(60000000)

struct mf_listener {
    struct ev_loop *loop;
    ev_io io;
    ev_timer pause;
    uint64_t complained_us; // when it was last logged that accept wants something; 0 = never
    void (*accepted)(void *arg, int fd);
    void *arg;
};

static bool parse_port(const char *text, uint16_t *port)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 5 || text[digits] != '\0')
        return false;
    unsigned long value = strtoul(text, NULL, 10);
    if (value > UINT16_MAX)
        return false;
    *port = (uint16_t)value;
    return true;
}

// Splits "host:port" or "[host]:port"; the host is not empty and, without brackets, has no colon.
static bool split(const char *text, char *host, size_t host_size, const char **port)
{
    const char *begin = text;
    const char *end;
    if (*text == '[') {
        begin = text + 1;
        end = strstr(begin, "]:");
        *port = end != NULL ? end + 2 : NULL;
    } else {
        end = strchr(begin, ':');
        *port = end != NULL ? end + 1 : NULL;
    }
    if (end == NULL || end == begin || (size_t)(end - begin) >= host_size)
        return false;
    memcpy(host, begin, (size_t)(end - begin));
    host[end - begin] = '\0';
    return (*text == '[') == (strchr(host, ':') != NULL);
}

// The IPv4 address of a name that has both: what "localhost" means to most clients.
static const struct addrinfo *prefer_ipv4(const struct addrinfo *found)
{
    for (const struct addrinfo *at = found; at != NULL; at = at->ai_next) {
        if (at->ai_family == AF_INET)
            return at;
    }
    return found;
}

enum mf_err mf_address_parse(const char *text, struct mf_address *out)
{
    char host[sizeof(out->host)];
    const char *port_text;
    uint16_t port;
    if (!split(text, host, sizeof(host), &port_text) || !parse_port(port_text, &port))
        return MF_BAD_REQUEST;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    if (getaddrinfo(host, NULL, &hints, &found) != 0)
        return MF_NOT_FOUND;
    const struct addrinfo *best = prefer_ipv4(found);
    memset(out, 0, sizeof(*out));
    int failed = getnameinfo(best->ai_addr, best->ai_addrlen, out->host, sizeof(out->host), NULL, 0,
                             NI_NUMERICHOST);
    freeaddrinfo(found);
    out->port = port;
    return failed == 0 ? MF_OK : MF_NOT_FOUND;
}

void mf_address_format(const struct mf_address *address, char *out, size_t size)
{
    bool ipv6 = strchr(address->host, ':') != NULL;
    snprintf(out, size, "%s%s%s:%u", ipv6 ? "[" : "", address->host, ipv6 ? "]" : "",
             (unsigned)address->port);
}

// The socket address of a numeric host. False: it is none.
static bool to_sockaddr(const struct mf_address *address, struct sockaddr_storage *storage,
                        socklen_t *size)
{
    char port[8];
    snprintf(port, sizeof(port), "%u", (unsigned)address->port);
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    if (getaddrinfo(address->host, port, &hints, &found) != 0)
        return false;
    memcpy(storage, found->ai_addr, found->ai_addrlen);
    *size = found->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

static int set_on(int fd, int option)
{
    int on = 1;
    return setsockopt(fd, SOL_SOCKET, option, &on, sizeof(on));
}

// Binds and listens; on failure errno tells and `fd` is still the caller's.
static bool bind_and_listen(int fd, struct mf_address *address,
                            const struct sockaddr_storage *storage, socklen_t size)
{
    struct sockaddr_storage bound;
    socklen_t bound_size = sizeof(bound);
    if (set_on(fd, SO_REUSEADDR) != 0 || set_on(fd, SO_REUSEPORT) != 0 ||
        bind(fd, (const struct sockaddr *)storage, size) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&bound, &bound_size) != 0)
        return false;
    address->port =
        // Filled by getsockname. NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult)
        ntohs(bound.ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)&bound)->sin6_port
                                          : ((const struct sockaddr_in *)&bound)->sin_port);
    return true;
}

int mf_listen(struct mf_address *address, char *message, size_t message_size)
{
    char name[300];
    mf_address_format(address, name, sizeof(name));
    struct sockaddr_storage storage;
    socklen_t size;
    if (!to_sockaddr(address, &storage, &size)) {
        snprintf(message, message_size, "cannot listen on %s: the host is not a numeric address",
                 name);
        return -1;
    }
    int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind_and_listen(fd, address, &storage, size))
        return fd;
    const char *reason = strerrordesc_np(errno);
    snprintf(message, message_size, "cannot listen on %s: %s", name,
             reason != NULL ? reason : "unknown system error");
    if (fd >= 0)
        close(fd);
    return -1;
}

bool mf_address_in_use(const struct mf_address *address)
{
    struct sockaddr_storage storage;
    socklen_t size;
    if (address->port == 0 || !to_sockaddr(address, &storage, &size))
        return false;
    int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    // Without SO_REUSEPORT the kernel refuses a port that anybody listens on.
    bool in_use = set_on(fd, SO_REUSEADDR) == 0 &&
                  bind(fd, (const struct sockaddr *)&storage, size) != 0 && errno == EADDRINUSE;
    close(fd);
    return in_use;
}

// What accept(2) reports of the connection that was waiting, not of the listening socket.
static bool is_peers_error(int error)
{
    switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENOPROTOOPT:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case EOPNOTSUPP:
    case EPERM:
        return true;
    default:
        return false;
    }
}

static void pause_accepting(struct mf_listener *listener, int error)
{
    uint64_t now_us = mf_mono_us();
    if (listener->complained_us == 0 || now_us >= listener->complained_us + COMPLAIN_US) {
        const char *reason = strerrordesc_np(error);
        mf_log(MF_WARN, "cannot accept connections, trying again every %d ms: %s",
               (int)(ACCEPT_PAUSE_S * 1000), reason != NULL ? reason : "unknown system error");
        listener->complained_us = now_us;
    }
    ev_io_stop(listener->loop, &listener->io);
    ev_timer_set(&listener->pause, ACCEPT_PAUSE_S, 0.);
    ev_timer_start(listener->loop, &listener->pause);
}

static void on_acceptable(struct ev_loop *loop, ev_io *watcher, int revents)
{
    (void)loop;
    (void)revents;
    struct mf_listener *listener = watcher->data;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd = accept4(watcher->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            listener->accepted(listener->arg, fd);
        } else if (errno == EAGAIN) {
            return;
        } else if (!is_peers_error(errno)) {
            pause_accepting(listener, errno);
            return;
        }
    }
}

static void on_pause_over(struct ev_loop *loop, ev_timer *watcher, int revents)
{
    (void)revents;
    struct mf_listener *listener = watcher->data;
    ev_io_start(loop, &listener->io);
}

struct mf_listener *mf_listener_new(struct ev_loop *loop, int fd,
                                    void (*accepted)(void *arg, int fd), void *arg)
{
    struct mf_listener *listener = mf_calloc(1, sizeof(*listener));
    listener->loop = loop;
    listener->accepted = accepted;
    listener->arg = arg;
    ev_io_init(&listener->io, on_acceptable, fd, EV_READ);
    ev_init(&listener->pause, on_pause_over);
    listener->io.data = listener;
    listener->pause.data = listener;
    ev_io_start(loop, &listener->io);
    return listener;
}

void mf_listener_free(struct mf_listener *listener)
{
    if (listener == NULL)
        return;
    ev_io_stop(listener->loop, &listener->io);
    ev_timer_stop(listener->loop, &listener->pause);
    close(listener->io.fd);
    free(listener);
}

void mf_listener_discard(struct mf_listener *listener)
{
    int fd;
    do {
        fd = accept4(listener->io.fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            close(fd);
    } while (fd >= 0 || is_peers_error(errno));
}

int mf_connect_start(const struct mf_address *address)
{
    struct sockaddr_storage storage;
    socklen_t size;
    if (!to_sockaddr(address, &storage, &size)) {
        errno = EINVAL;
        return -1;
    }
    int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, (const struct sockaddr *)&storage, size) != 0 && errno != EINPROGRESS) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}
