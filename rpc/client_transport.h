// How the client library moves bytes: one kind of transport is one table of functions, and nothing
// else of the library touches a socket. TCP is the only kind.
//
// Nothing here waits. Errors are told as errno values, EAGAIN for "not now".
#ifndef MF_RPC_CLIENT_TRANSPORT_H
#define MF_RPC_CLIENT_TRANSPORT_H

#include <netdb.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

struct mf_transport_kind;

struct mf_transport {
    const struct mf_transport_kind *kind;
    int fd; // for waiting; -1: closed
};

struct mf_transport_kind {
    // Begins to connect: 0 when it is connected, EINPROGRESS when `opened` is to be asked once the
    // descriptor is writable. After an error there is nothing to close.
    int (*open)(struct mf_transport *transport, const struct addrinfo *address);
    // 0, EINPROGRESS again, or why it failed.
    int (*opened)(struct mf_transport *transport);
    // The number of bytes, 0 at the end of the stream, or a negative errno.
    ssize_t (*read)(struct mf_transport *transport, void *to, size_t size);
    // The number of bytes taken, which may be fewer than there are, or a negative errno.
    ssize_t (*write)(struct mf_transport *transport, const struct iovec *pieces, size_t count);
    // Fine for one that is closed.
    void (*close)(struct mf_transport *transport);
};

extern const struct mf_transport_kind mf_transport_tcp;

#endif
