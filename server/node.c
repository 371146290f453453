// Who is a member, what it has, and the leases' beginning; see node.h.
#include "server/node.h"

#include <string.h>

#include "base/log.h"
#include "base/rand.h"
#include "server/roster.h"

int mf_node_member_ever(const struct mf_node *node, uint16_t id)
{
    uint32_t count = mf_node_member_count(node);
    for (uint32_t i = 0; i < count; i++) {
        if (node->members[i].id == id)
            return (int)i;
    }
    return -1;
}

int mf_node_member(const struct mf_node *node, uint16_t id)
{
    int member = mf_node_member_ever(node, id);
    return member >= 0 && !mf_member_gone(&node->members[member]) ? member : -1;
}

static void add_member(struct mf_node *node, uint16_t id, const char *peer)
{
    struct mf_member *member = &node->members[node->member_count++];
    member->id = id;
    memcpy(member->peer, peer, strlen(peer) + 1);
    if (id != node->config.id && mf_address_parse(peer, &member->address) != MF_OK)
        mf_log(MF_WARN, "cannot resolve %s (node %u)", peer, id);
}

void mf_node_fill_members(struct mf_node *node)
{
    const struct mf_roster *roster = node->roster;
    node->member_count = 0;
    for (uint32_t i = 0; i < roster->count; i++)
        add_member(node, roster->nodes[i].id, roster->nodes[i].peer);
    if (mf_roster_find(roster, node->config.id) < 0)
        add_member(node, node->config.id, node->config.peer);
    node->self = (uint32_t)mf_node_member_ever(node, node->config.id);
}

// Words that are not read as one: who reads may see half of a change, which the next look sets
// right.
uint32_t mf_node_copies(const struct mf_node *node, uint32_t shard, uint16_t *ids)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < MF_COPIES_MAX; i++) {
        uint64_t word =
            atomic_load_explicit(&node->shards[shard].copies[i / 4], memory_order_relaxed);
        uint16_t id = (uint16_t)(word >> (i % 4 * 16));
        if (id != 0)
            ids[count++] = id;
    }
    return count;
}

void mf_node_set_copies(struct mf_node *node, uint32_t shard, const uint16_t *ids, uint32_t count)
{
    uint64_t words[3] = {0};
    for (uint32_t i = 0; i < count && i < MF_COPIES_MAX; i++)
        words[i / 4] |= (uint64_t)ids[i] << (i % 4 * 16);
    for (uint32_t i = 0; i < 3; i++)
        atomic_store_explicit(&node->shards[shard].copies[i], words[i], memory_order_relaxed);
}

uint64_t mf_node_bound_until_us(const struct mf_node *node)
{
    return node->fresh ? 0 : node->started_us + (uint64_t)node->longest_lease_ms * 1000;
}

void mf_node_begin_leases(struct mf_node *node)
{
    for (uint32_t i = 0; i < MF_MEMBERS_MAX; i++) {
        uint64_t token_base = 0;
        mf_entropy(&token_base, sizeof(token_base));
        mf_lease_init(&node->members[i].lease, token_base, mf_node_bound_until_us(node));
    }
}
