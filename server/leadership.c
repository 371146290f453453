// A line about who leads; see leadership.h.
#include "server/leadership.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/reactor.h"

void mf_leadership_tell(struct mf_reactor *reactor)
{
    const struct mf_node *node = reactor->node;
    uint64_t now_us = mf_mono_us();
    if (reactor->index != 0 || now_us < reactor->tell_us)
        return;
    reactor->tell_us = now_us + MF_LEADERSHIP_TELL_US;
    struct mf_leadership now = {0};
    for (uint32_t i = 0; i < node->config.shards; i++) {
        uint32_t leader = atomic_load_explicit(&node->shards[i].leader, memory_order_relaxed);
        now.here += leader == node->config.id;
        now.elsewhere += leader != 0 && leader != node->config.id;
        now.nowhere += leader == 0 && mf_node_holds(node, i);
    }
    if (memcmp(&now, &reactor->told, sizeof(now)) == 0)
        return;
    reactor->told = now;
    mf_log(now.nowhere > 0 ? MF_WARN : MF_INFO,
           "of %u shards this node leads %u, others lead %u, %u have no leader",
           node->config.shards, now.here, now.elsewhere, now.nowhere);
}
