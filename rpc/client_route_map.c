// See client_route.h.
#include <string.h>

#include "rpc/client_route.h"

// Of all shards together; each slot has one owner.
#define SLOTS_NAMED_MAX (2 * MF_SLOT_COUNT)
#define NODE_ID_MAX UINT64_C(65535)

static bool read_uint(struct mf_msgpack_in *in, uint64_t max, uint64_t *out)
{
    struct mf_msgpack_token token;
    if (mf_msgpack_next(in, &token) != MF_OK || token.type != MF_MP_UINT || token.uinteger > max)
        return false;
    *out = token.uinteger;
    return true;
}

static bool read_count(struct mf_msgpack_in *in, enum mf_msgpack_type type, uint32_t *count)
{
    struct mf_msgpack_token token;
    if (mf_msgpack_next(in, &token) != MF_OK || token.type != type)
        return false;
    *count = token.count;
    return true;
}

static bool read_name(struct mf_msgpack_in *in, struct mf_bytes *name)
{
    struct mf_msgpack_token token;
    if (mf_msgpack_next(in, &token) != MF_OK || token.type != MF_MP_STR)
        return false;
    *name = token.bytes;
    return true;
}

static bool is(struct mf_bytes name, const char *wanted)
{
    return mf_bytes_equal(name, mf_bytes_str(wanted));
}

static uint8_t place_of(const struct mf_route_map *map, uint64_t id)
{
    for (uint32_t i = 0; i < map->node_count; i++) {
        if (map->nodes[i].id == id)
            return (uint8_t)(i + 1);
    }
    return 0;
}

// It goes into lists and into texts of one line.
static bool is_address(struct mf_bytes text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] <= ' ' || text.data[i] == 0x7f || text.data[i] == ',')
            return false;
    }
    return text.len > 0 && text.len < MF_ROUTE_ADDRESS_MAX;
}

// A node without an address for clients, of an id that has been, or one more than there is room
// for, is left out.
static bool read_node(struct mf_msgpack_in *in, struct mf_route_map *map)
{
    uint32_t pairs;
    uint64_t id = 0;
    struct mf_bytes address = {0};
    if (!read_count(in, MF_MP_MAP, &pairs))
        return false;
    for (uint32_t i = 0; i < pairs; i++) {
        struct mf_bytes name;
        struct mf_msgpack_token token;
        if (!read_name(in, &name))
            return false;
        if (is(name, "id")) {
            if (!read_uint(in, NODE_ID_MAX, &id))
                return false;
        } else if (is(name, "rpc")) {
            if (mf_msgpack_next(in, &token) != MF_OK ||
                (token.type != MF_MP_STR && token.type != MF_MP_NIL))
                return false;
            address = token.type == MF_MP_STR ? token.bytes : (struct mf_bytes){0};
        } else if (mf_msgpack_pass(in) != MF_OK) {
            return false;
        }
    }
    if (!is_address(address) || place_of(map, id) != 0 || map->node_count == MF_ROUTE_NODES_MAX)
        return true;
    struct mf_route_node *node = &map->nodes[map->node_count++];
    node->id = (uint32_t)id;
    memcpy(node->address, address.data, address.len);
    return true;
}

struct shard {
    struct mf_msgpack_in slots;
    uint32_t ranges;
    uint64_t leader;
};

static bool read_shard(struct mf_msgpack_in *in, struct shard *shard)
{
    uint32_t pairs;
    *shard = (struct shard){0};
    if (!read_count(in, MF_MP_MAP, &pairs))
        return false;
    for (uint32_t i = 0; i < pairs; i++) {
        struct mf_bytes name;
        if (!read_name(in, &name))
            return false;
        if (is(name, "slots")) {
            struct mf_msgpack_in array = *in;
            if (!read_count(&array, MF_MP_ARRAY, &shard->ranges))
                return false;
            shard->slots = array;
        } else if (is(name, "leader")) {
            if (!read_uint(in, NODE_ID_MAX, &shard->leader))
                return false;
            continue;
        }
        if (mf_msgpack_pass(in) != MF_OK)
            return false;
    }
    return true;
}

static bool place_shard(struct shard *shard, struct mf_route_map *map, size_t *named)
{
    uint8_t place = place_of(map, shard->leader);
    for (uint32_t i = 0; i < shard->ranges; i++) {
        uint32_t ends;
        uint64_t first;
        uint64_t last;
        if (!read_count(&shard->slots, MF_MP_ARRAY, &ends) || ends != 2 ||
            !read_uint(&shard->slots, MF_SLOT_COUNT - 1, &first) ||
            !read_uint(&shard->slots, MF_SLOT_COUNT - 1, &last) || first > last)
            return false;
        *named += last - first + 1;
        if (*named > SLOTS_NAMED_MAX)
            return false;
        memset(map->leaders + first, place, last - first + 1);
    }
    return true;
}

static bool read_nodes(struct mf_msgpack_in *in, struct mf_route_map *map)
{
    uint32_t count;
    if (!read_count(in, MF_MP_ARRAY, &count))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        if (!read_node(in, map))
            return false;
    }
    return true;
}

static bool read_shards(struct mf_msgpack_in *in, struct mf_route_map *map)
{
    uint32_t count;
    size_t named = 0;
    if (!read_count(in, MF_MP_ARRAY, &count) || count > MF_SLOT_COUNT)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        struct shard shard;
        if (!read_shard(in, &shard) || !place_shard(&shard, map, &named))
            return false;
    }
    return true;
}

bool mf_route_parse(struct mf_msgpack_in *in, struct mf_route_map *map)
{
    struct mf_msgpack_in shards = {{0}};
    bool has_shards = false;
    uint32_t pairs;
    if (!read_count(in, MF_MP_MAP, &pairs))
        return false;
    for (uint32_t i = 0; i < pairs; i++) {
        struct mf_bytes name;
        if (!read_name(in, &name))
            return false;
        if (is(name, "nodes")) {
            if (!read_nodes(in, map))
                return false;
            continue;
        }
        if (is(name, "shards")) {
            // Leaders are looked up among the nodes, which may come later.
            shards = *in;
            has_shards = true;
        }
        if (mf_msgpack_pass(in) != MF_OK)
            return false;
    }
    return has_shards && read_shards(&shards, map);
}
