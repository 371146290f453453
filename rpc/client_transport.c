// TCP; see client_transport.h.
#include "rpc/client_transport.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

static void tcp_close(struct mf_transport *transport)
{
    if (transport->fd >= 0)
        close(transport->fd);
    transport->fd = -1;
}

static int tcp_open(struct mf_transport *transport, const struct addrinfo *address)
{
    int on = 1;
    transport->fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (transport->fd < 0)
        return errno;
    (void)setsockopt(transport->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    int failed = 0;
    if (connect(transport->fd, address->ai_addr, address->ai_addrlen) != 0)
        failed = errno;
    // An interrupted connect goes on by itself.
    if (failed == EINTR)
        failed = EINPROGRESS;
    if (failed != 0 && failed != EINPROGRESS)
        tcp_close(transport);
    return failed;
}

static int tcp_opened(struct mf_transport *transport)
{
    int failed = 0;
    socklen_t size = sizeof failed;
    if (getsockopt(transport->fd, SOL_SOCKET, SO_ERROR, &failed, &size) != 0)
        failed = errno;
    return failed;
}

static ssize_t tcp_read(struct mf_transport *transport, void *to, size_t size)
{
    ssize_t got;
    do
        got = recv(transport->fd, to, size, 0);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

static ssize_t tcp_write(struct mf_transport *transport, const struct iovec *pieces, size_t count)
{
    // The kernel does not write to the pieces.
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)pieces, .msg_iovlen = count};
    ssize_t wrote;
    do
        wrote = sendmsg(transport->fd, &message, MSG_NOSIGNAL);
    while (wrote < 0 && errno == EINTR);
    return wrote < 0 ? -errno : wrote;
}

const struct mf_transport_kind mf_transport_tcp = {
    .open = tcp_open,
    .opened = tcp_opened,
    .read = tcp_read,
    .write = tcp_write,
    .close = tcp_close,
};
