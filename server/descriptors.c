// The share of clients in the file descriptors; see descriptors.h.
#include "server/descriptors.h"

#include <sys/resource.h>

#include "base/log.h"
#include "server/links.h"

// Folders, epoll, the worker's and the checkpointer's files; and what each reactor has: its loop,
// four listeners, its log's segments.
#define NODE_DESCRIPTORS 64u
#define REACTOR_DESCRIPTORS 16u
// Of each reactor to and from each node.
#define LINK_DESCRIPTORS 4u

void mf_descriptors_share(struct mf_node *node)
{
    struct rlimit limit;
    node->clients_allowed = UINT32_MAX;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 && getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    rlim_t reactor = REACTOR_DESCRIPTORS + MF_LINKS_GREETING_MAX +
                     LINK_DESCRIPTORS * (rlim_t)mf_node_member_count(node);
    rlim_t own = NODE_DESCRIPTORS + node->reactor_count * reactor;
    rlim_t left = limit.rlim_cur > 2 * own ? limit.rlim_cur - own : limit.rlim_cur / 2;
    uint32_t wanted = atomic_load(&node->settings.clients_max);
    if (limit.rlim_cur == RLIM_INFINITY || left >= UINT32_MAX)
        return;
    node->clients_allowed = left > 0 ? (uint32_t)left : 1;
    if (node->clients_allowed >= wanted)
        return;
    atomic_store(&node->settings.clients_max, node->clients_allowed);
    mf_log(MF_WARN, "limits.max_clients is %u here, not %u: the system allows %llu descriptors",
           node->clients_allowed, wanted, (unsigned long long)limit.rlim_cur);
}
