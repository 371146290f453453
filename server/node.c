// Membership arithmetic and the leases' beginning; see node.h.
#include "server/node.h"

#include "base/rand.h"

int mf_node_member(const struct mf_node *node, uint16_t id)
{
    for (uint32_t i = 0; i < node->member_count; i++) {
        if (node->members[i].id == id)
            return (int)i;
    }
    return -1;
}

uint32_t mf_node_replicas(const struct mf_node *node, uint32_t shard, uint32_t *indexes)
{
    for (uint32_t i = 0; i < node->replica_count; i++)
        indexes[i] = (shard + i) % node->member_count;
    return node->replica_count;
}

bool mf_node_holds(const struct mf_node *node, uint32_t shard)
{
    uint32_t behind =
        (node->self + node->member_count - shard % node->member_count) % node->member_count;
    return behind < node->replica_count;
}

uint64_t mf_node_bound_until_us(const struct mf_node *node)
{
    return node->fresh ? 0 : node->started_us + mf_node_lease_us(node);
}

void mf_node_begin_leases(struct mf_node *node)
{
    for (uint32_t i = 0; i < node->member_count; i++) {
        uint64_t token_base = 0;
        mf_entropy(&token_base, sizeof(token_base));
        mf_lease_init(&node->members[i].lease, token_base, mf_node_bound_until_us(node));
    }
}
