// Ports and their protocols; see listeners.h.
#include "server/listeners.h"

#include "base/log.h"
#include "server/links.h"
#include "server/resp_session.h"
#include "server/session.h"

static void accept_rpc(void *arg, int fd)
{
    mf_session_accepted(arg, fd);
}

static void accept_resp(void *arg, int fd)
{
    mf_resp_accepted(arg, fd, false);
}

static void accept_resp_cluster(void *arg, int fd)
{
    mf_resp_accepted(arg, fd, true);
}

static void accept_peer(void *arg, int fd)
{
    struct mf_reactor *reactor = arg;
    mf_links_accepted(reactor->links, fd);
}

static struct mf_listener *listen_on(struct mf_reactor *reactor, int fd,
                                     void (*accepted)(void *arg, int fd))
{
    return fd >= 0 ? mf_listener_new(reactor->loop, fd, accepted, reactor) : NULL;
}

void mf_listeners_open(struct mf_reactor *reactor, const struct mf_reactor_sockets *sockets)
{
    reactor->rpc_listener = listen_on(reactor, sockets->rpc, accept_rpc);
    reactor->resp_listener = listen_on(reactor, sockets->resp, accept_resp);
    reactor->resp_cluster_listener = listen_on(reactor, sockets->resp_cluster, accept_resp_cluster);
    reactor->peer_listener = listen_on(reactor, sockets->peer, accept_peer);
}

static void end(struct mf_listener **listener)
{
    mf_listener_free(*listener);
    *listener = NULL;
}

void mf_listeners_refuse_clients(struct mf_reactor *reactor)
{
    end(&reactor->rpc_listener);
    end(&reactor->resp_listener);
    end(&reactor->resp_cluster_listener);
}

static void discard(struct mf_listener *listener)
{
    if (listener != NULL)
        mf_listener_discard(listener);
}

void mf_listeners_stood_still(struct mf_reactor *reactor, uint64_t still_us)
{
    static const char reason[] = "this node stood still";
    if (reactor->index == 0)
        mf_log(MF_WARN,
               "this node stood still for %llu s: all its connections are closed, since what came "
               "in meanwhile is too old to be read",
               (unsigned long long)still_us / 1000000);
    mf_conn_pool_close_all(reactor->pool, reason);
    mf_conn_pool_close_all(reactor->peer_pool, reason);
    discard(reactor->rpc_listener);
    discard(reactor->resp_listener);
    discard(reactor->resp_cluster_listener);
    discard(reactor->peer_listener);
}

void mf_listeners_close(struct mf_reactor *reactor)
{
    mf_listeners_refuse_clients(reactor);
    end(&reactor->peer_listener);
}
