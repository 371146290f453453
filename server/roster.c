// Rosters: their binary form, and where copies go when nodes come and go; see roster.h.
//
//   u8 format | u64 version, identity, genesis | u32 shards | u8 replicas
//   u8 first count, u16 ids | u8 node count, for each: u16 id, u8 leaving, u16 length, peer
//   for each shard and copy: u8 index among the nodes
#include "server/roster.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "consensus/members.h"

#define FORMAT 1u
#define NOBODY UINT32_MAX

static struct mf_roster *alloc(void)
{
    struct mf_roster *roster = mf_calloc(1, sizeof(*roster));
    atomic_init(&roster->references, 1);
    return roster;
}

static uint32_t staying(const struct mf_roster *roster)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < roster->count; i++)
        count += !roster->nodes[i].leaving;
    return count;
}

static uint32_t copies_of(const struct mf_roster *roster)
{
    uint32_t count = staying(roster);
    return roster->replicas < count ? roster->replicas : count;
}

struct mf_roster *mf_roster_new(const struct mf_config_node *nodes, uint32_t count, uint32_t shards,
                                uint32_t replicas, uint64_t genesis)
{
    struct mf_roster *roster = alloc();
    roster->version = 1;
    roster->genesis = genesis;
    roster->shards = shards;
    roster->replicas = replicas;
    roster->count = roster->first_count = count;
    for (uint32_t i = 0; i < count; i++) {
        roster->first[i] = roster->nodes[i].id = nodes[i].id;
        memcpy(roster->nodes[i].peer, nodes[i].peer, sizeof(roster->nodes[i].peer));
    }
    roster->copies = copies_of(roster);
    roster->places = mf_calloc((size_t)shards * roster->copies, sizeof(*roster->places));
    for (uint32_t s = 0; s < shards; s++) {
        uint16_t ids[MF_VOTERS_MAX];
        (void)mf_roster_first_places(roster, s, ids);
        memcpy(roster->places + (size_t)s * roster->copies, ids, roster->copies * sizeof(ids[0]));
    }
    return roster;
}

// The count is atomic so that a reference may end on another thread. Acquire and release: who frees
// comes after every use.
const struct mf_roster *mf_roster_ref(const struct mf_roster *roster)
{
    struct mf_roster *counted = (struct mf_roster *)(uintptr_t)roster;
    atomic_fetch_add_explicit(&counted->references, 1, memory_order_relaxed);
    return roster;
}

void mf_roster_unref(const struct mf_roster *roster)
{
    struct mf_roster *counted = (struct mf_roster *)(uintptr_t)roster;
    if (roster == NULL ||
        atomic_fetch_sub_explicit(&counted->references, 1, memory_order_acq_rel) != 1)
        return;
    free(counted->places);
    free(counted);
}

void mf_roster_encode(const struct mf_roster *roster, struct mf_buf *out)
{
    mf_buf_u8(out, FORMAT);
    mf_buf_u64(out, roster->version);
    mf_buf_u64(out, roster->identity);
    mf_buf_u64(out, roster->genesis);
    mf_buf_u32(out, roster->shards);
    mf_buf_u8(out, (uint8_t)roster->replicas);
    mf_buf_u8(out, (uint8_t)roster->first_count);
    for (uint32_t i = 0; i < roster->first_count; i++)
        mf_buf_u16(out, roster->first[i]);
    mf_buf_u8(out, (uint8_t)roster->count);
    for (uint32_t i = 0; i < roster->count; i++) {
        const struct mf_roster_node *node = &roster->nodes[i];
        size_t len = strlen(node->peer);
        mf_buf_u16(out, node->id);
        mf_buf_u8(out, node->leaving);
        mf_buf_u16(out, (uint16_t)len);
        mf_buf_put(out, node->peer, len);
    }
    for (size_t i = 0; i < (size_t)roster->shards * roster->copies; i++)
        mf_buf_u8(out, (uint8_t)mf_roster_find(roster, roster->places[i]));
}

static bool decode_nodes(struct mf_reader *r, struct mf_roster *roster)
{
    roster->first_count = mf_read_u8(r);
    for (uint32_t i = 0; i < roster->first_count && i < MF_NODES_MAX; i++) {
        roster->first[i] = mf_read_u16(r);
        if (roster->first[i] == 0 || (i > 0 && roster->first[i] <= roster->first[i - 1]))
            return false;
    }
    roster->count = mf_read_u8(r);
    if (r->failed || roster->first_count == 0 || roster->first_count > MF_NODES_MAX ||
        roster->count == 0 || roster->count > MF_NODES_MAX)
        return false;
    for (uint32_t i = 0; i < roster->count; i++) {
        struct mf_roster_node *node = &roster->nodes[i];
        node->id = mf_read_u16(r);
        uint8_t leaving = mf_read_u8(r);
        struct mf_bytes peer = mf_read_bytes(r, mf_read_u16(r));
        bool ascends = i > 0 ? node->id > roster->nodes[i - 1].id : node->id > 0;
        if (r->failed || !ascends || leaving > 1 || peer.len == 0 ||
            peer.len >= sizeof(node->peer) || memchr(peer.data, 0, peer.len) != NULL)
            return false;
        node->leaving = leaving == 1;
        memcpy(node->peer, peer.data, peer.len);
    }
    return staying(roster) > 0;
}

static bool decode_places(struct mf_reader *r, struct mf_roster *roster)
{
    roster->copies = copies_of(roster);
    size_t count = (size_t)roster->shards * roster->copies;
    if (mf_reader_left(r) != count)
        return false;
    roster->places = mf_calloc(count, sizeof(*roster->places));
    for (size_t i = 0; i < count; i++) {
        uint8_t at = mf_read_u8(r);
        if (at >= roster->count || roster->nodes[at].leaving)
            return false;
        roster->places[i] = roster->nodes[at].id;
        for (size_t k = i - i % roster->copies; k < i; k++) {
            if (roster->places[k] == roster->places[i])
                return false;
        }
    }
    return true;
}

enum mf_err mf_roster_decode(struct mf_bytes bytes, struct mf_roster **out)
{
    struct mf_reader r = mf_reader_of(bytes);
    struct mf_roster *roster = alloc();
    uint8_t format = mf_read_u8(&r);
    roster->version = mf_read_u64(&r);
    roster->identity = mf_read_u64(&r);
    roster->genesis = mf_read_u64(&r);
    roster->shards = mf_read_u32(&r);
    roster->replicas = mf_read_u8(&r);
    bool head = !r.failed && bytes.len <= MF_ROSTER_BYTES_MAX && format == FORMAT &&
                roster->version > 0 && (roster->identity == 0) == (roster->version == 1) &&
                roster->shards > 0 && roster->replicas > 0 && roster->replicas <= MF_VOTERS_MAX;
    if (head && decode_nodes(&r, roster) && decode_places(&r, roster)) {
        *out = roster;
        return MF_OK;
    }
    mf_roster_unref(roster);
    return MF_CORRUPT;
}

int mf_roster_find(const struct mf_roster *roster, uint16_t id)
{
    for (uint32_t i = 0; i < roster->count; i++) {
        if (roster->nodes[i].id == id)
            return (int)i;
    }
    return -1;
}

const uint16_t *mf_roster_places(const struct mf_roster *roster, uint32_t shard)
{
    return roster->places + (size_t)shard * roster->copies;
}

bool mf_roster_has_place(const struct mf_roster *roster, uint32_t shard, uint16_t id)
{
    const uint16_t *places = mf_roster_places(roster, shard);
    for (uint32_t i = 0; i < roster->copies; i++) {
        if (places[i] == id)
            return true;
    }
    return false;
}

uint32_t mf_roster_first_places(const struct mf_roster *roster, uint32_t shard, uint16_t *ids)
{
    uint32_t count =
        roster->replicas < roster->first_count ? roster->replicas : roster->first_count;
    for (uint32_t i = 0; i < count; i++)
        ids[i] = roster->first[(shard + i) % roster->first_count];
    return count;
}

// Placing. Works on indexes among the roster's nodes, and on loads: copies, or shards led.

struct placing {
    struct mf_roster *roster;
    uint32_t *at; // `copies` indexes for each shard; NOBODY = free
    uint32_t loads[MF_NODES_MAX];
};

static uint32_t *row_of(const struct placing *placing, uint32_t shard)
{
    return placing->at + (size_t)shard * placing->roster->copies;
}

static bool in_row(const uint32_t *row, uint32_t copies, uint32_t node)
{
    for (uint32_t i = 0; i < copies; i++) {
        if (row[i] == node)
            return true;
    }
    return false;
}

// The node with the least copies that stays and is not in the row; NOBODY when there is none.
static uint32_t lightest(const struct placing *placing, const uint32_t *row)
{
    const struct mf_roster *roster = placing->roster;
    uint32_t best = NOBODY;
    for (uint32_t i = 0; i < roster->count; i++) {
        if (roster->nodes[i].leaving || in_row(row, roster->copies, i))
            continue;
        if (best == NOBODY || placing->loads[i] < placing->loads[best])
            best = i;
    }
    return best;
}

// What stays where it was, in the old order.
static void keep_places(struct placing *placing, const struct mf_roster *old)
{
    struct mf_roster *roster = placing->roster;
    for (uint32_t s = 0; s < roster->shards; s++) {
        uint32_t *row = row_of(placing, s);
        uint32_t kept = 0;
        for (uint32_t i = 0; i < roster->copies; i++)
            row[i] = NOBODY;
        for (uint32_t i = 0; i < old->copies && kept < roster->copies; i++) {
            int node = mf_roster_find(roster, mf_roster_places(old, s)[i]);
            if (node < 0 || roster->nodes[node].leaving)
                continue;
            row[kept++] = (uint32_t)node;
            placing->loads[node]++;
        }
    }
}

static void fill_places(struct placing *placing)
{
    for (uint32_t s = 0; s < placing->roster->shards; s++) {
        uint32_t *row = row_of(placing, s);
        for (uint32_t i = 0; i < placing->roster->copies; i++) {
            if (row[i] != NOBODY)
                continue;
            row[i] = lightest(placing, row);
            placing->loads[row[i]]++;
        }
    }
}

// Moves a copy from a full node to an empty one wherever their loads differ by two or more. Each
// move makes the loads more equal, so this ends; while a pair differs by as much, the fuller one
// has a shard that the other has not, so it ends when all are equal but for one.
static void even_places(struct placing *placing)
{
    uint32_t copies = placing->roster->copies;
    bool moved = true;
    while (moved) {
        moved = false;
        for (uint32_t s = 0; s < placing->roster->shards; s++) {
            uint32_t *row = row_of(placing, s);
            uint32_t to = lightest(placing, row);
            uint32_t from = 0;
            for (uint32_t i = 1; i < copies; i++) {
                if (placing->loads[row[i]] > placing->loads[row[from]])
                    from = i;
            }
            if (to == NOBODY || placing->loads[row[from]] < placing->loads[to] + 2)
                continue;
            placing->loads[row[from]]--;
            placing->loads[to]++;
            row[from] = to;
            moved = true;
        }
    }
}

// The same for the first places, within each shard.
static void even_leaders(struct placing *placing)
{
    uint32_t copies = placing->roster->copies;
    uint32_t firsts[MF_NODES_MAX] = {0};
    for (uint32_t s = 0; s < placing->roster->shards; s++)
        firsts[row_of(placing, s)[0]]++;
    bool moved = true;
    while (moved) {
        moved = false;
        for (uint32_t s = 0; s < placing->roster->shards; s++) {
            uint32_t *row = row_of(placing, s);
            uint32_t to = 0;
            for (uint32_t i = 1; i < copies; i++) {
                if (firsts[row[i]] < firsts[row[to]])
                    to = i;
            }
            if (firsts[row[0]] < firsts[row[to]] + 2)
                continue;
            firsts[row[0]]--;
            firsts[row[to]]++;
            uint32_t first = row[0];
            row[0] = row[to];
            row[to] = first;
            moved = true;
        }
    }
}

// Takes `next`, whose nodes are set, to where it is whole.
static struct mf_roster *place(const struct mf_roster *old, struct mf_roster *next, uint64_t random)
{
    next->version = old->version + 1;
    next->identity = old->identity != 0 ? old->identity : random | 1;
    next->copies = copies_of(next);
    assert(next->copies > 0);
    size_t count = (size_t)next->shards * next->copies;
    struct placing placing = {.roster = next, .at = mf_calloc(count, sizeof(*placing.at))};
    keep_places(&placing, old);
    fill_places(&placing);
    even_places(&placing);
    even_leaders(&placing);
    next->places = mf_calloc(count, sizeof(*next->places));
    for (size_t i = 0; i < count; i++)
        next->places[i] = next->nodes[placing.at[i]].id;
    free(placing.at);
    return next;
}

static struct mf_roster *copy(const struct mf_roster *roster)
{
    struct mf_roster *next = alloc();
    next->genesis = roster->genesis;
    next->shards = roster->shards;
    next->replicas = roster->replicas;
    next->identity = roster->identity;
    next->first_count = roster->first_count;
    memcpy(next->first, roster->first, sizeof(next->first));
    next->count = roster->count;
    memcpy(next->nodes, roster->nodes, sizeof(next->nodes));
    return next;
}

struct mf_roster *mf_roster_add(const struct mf_roster *roster, uint16_t id, const char *peer,
                                uint64_t random)
{
    assert(roster->count < MF_NODES_MAX && mf_roster_find(roster, id) < 0);
    assert(strlen(peer) < MF_ROSTER_PEER_BYTES);
    struct mf_roster *next = copy(roster);
    uint32_t at = next->count++;
    for (; at > 0 && next->nodes[at - 1].id > id; at--)
        next->nodes[at] = next->nodes[at - 1];
    next->nodes[at] = (struct mf_roster_node){.id = id};
    memcpy(next->nodes[at].peer, peer, strlen(peer) + 1);
    return place(roster, next, random);
}

struct mf_roster *mf_roster_leave(const struct mf_roster *roster, uint16_t id, uint64_t random)
{
    int at = mf_roster_find(roster, id);
    assert(at >= 0 && !roster->nodes[at].leaving && staying(roster) > 1);
    struct mf_roster *next = copy(roster);
    next->nodes[at].leaving = true;
    return place(roster, next, random);
}

struct mf_roster *mf_roster_drop(const struct mf_roster *roster, uint16_t id)
{
    int at = mf_roster_find(roster, id);
    assert(at >= 0 && roster->nodes[at].leaving);
    struct mf_roster *next = copy(roster);
    next->count--;
    for (uint32_t i = (uint32_t)at; i < next->count; i++)
        next->nodes[i] = next->nodes[i + 1];
    next->nodes[next->count] = (struct mf_roster_node){0};
    return place(roster, next, 0);
}
