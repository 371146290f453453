// Redis Cluster's map of slots for mayfly-bench, as CLUSTER SLOTS tells it; see resp.h.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench/load/resp.h"

// Elements of an answer that is known to be whole, one after the other.
struct cursor {
    const uint8_t *at;
    size_t left;
};

static struct resp_item next(struct cursor *cursor)
{
    struct resp_item item = {0};
    ssize_t used = resp_take(cursor->at, cursor->left, &item);
    if (used <= 0)
        return (struct resp_item){0};
    cursor->at += used;
    cursor->left -= (size_t)used;
    return item;
}

static void skip(struct cursor *cursor)
{
    ssize_t used = resp_length(cursor->at, cursor->left);
    cursor->at += used > 0 ? used : 0;
    cursor->left -= used > 0 ? (size_t)used : 0;
}

// A node's host, port, and more; a node without a host has that of the one that was asked.
static uint32_t take_node(struct cursor *cursor, struct wire_nodes *nodes, const char *asked)
{
    char address[WIRE_ADDRESS_BYTES];
    struct resp_item node = next(cursor);
    struct resp_item host = next(cursor);
    struct resp_item port = next(cursor);
    if (node.type != '*' || node.number < 2 || host.type != '$' || port.type != ':')
        return WIRE_NODES_MAX;
    for (int64_t i = 2; i < node.number; i++)
        skip(cursor);
    const char *colon = strrchr(asked, ':');
    if (host.nil || host.len == 0) {
        host.data = (const uint8_t *)asked;
        host.len = colon != NULL ? (size_t)(colon - asked) : 0;
    }
    bool bare = memchr(host.data, ':', host.len) != NULL && host.data[0] != '[';
    int len = snprintf(address, sizeof(address), bare ? "[%.*s]:%" PRId64 : "%.*s:%" PRId64,
                       (int)host.len, (const char *)host.data, port.number);
    return len < (int)sizeof(address) ? wire_node_add(nodes, address) : WIRE_NODES_MAX;
}

// How many slots have a node now; 0 when this is not what CLUSTER SLOTS returns.
static size_t take_slots(struct cursor cursor, struct wire_nodes *nodes, const char *asked)
{
    size_t mapped = 0;
    struct resp_item all = next(&cursor);
    for (int64_t i = 0; all.type == '*' && i < all.number; i++) {
        struct resp_item range = next(&cursor);
        struct resp_item first = next(&cursor);
        struct resp_item last = next(&cursor);
        if (range.type != '*' || range.number < 3 || first.type != ':' || last.type != ':' ||
            first.number < 0 || last.number >= MF_SLOT_COUNT)
            return 0;
        uint32_t node = take_node(&cursor, nodes, asked);
        if (node == WIRE_NODES_MAX)
            return 0;
        for (int64_t replica = 3; replica < range.number; replica++)
            skip(&cursor);
        for (int64_t slot = first.number; slot <= last.number; slot++, mapped++)
            atomic_store_explicit(&nodes->slots[slot], (uint8_t)node, memory_order_relaxed);
    }
    return mapped;
}

static bool ask_one(const struct load_plan *plan, struct wire_nodes *nodes, const char *address,
                    char *message, size_t size)
{
    static const char *const words[] = {"CLUSTER", "SLOTS"};
    struct mf_buf out = {0};
    struct mf_buf in = {0};
    int fd = wire_connect(plan, nodes->format, address, message, size);
    if (fd < 0)
        return false;
    resp_put(&out, words, 2);
    bool fine = wire_ask(fd, &out, &in, resp_length, message, size);
    if (fine && take_slots((struct cursor){in.data, in.len}, nodes, address) != MF_SLOT_COUNT) {
        fine = false;
        if (in.data[0] == '-')
            snprintf(message, size, "%s: %.*s", address, (int)strcspn((char *)in.data, "\r"),
                     in.data + 1);
        else
            snprintf(message, size, "%s: not every slot has a node", address);
    }
    close(fd);
    mf_buf_free(&out);
    mf_buf_free(&in);
    return fine;
}

bool resp_map_slots(const struct load_plan *plan, struct wire_nodes *nodes, char *message,
                    size_t size)
{
    uint32_t given = atomic_load_explicit(&nodes->node_count, memory_order_relaxed);
    bool fine = false;
    for (uint32_t i = 0; !fine && i < given; i++)
        fine = ask_one(plan, nodes, nodes->addresses[i], message, size);
    return fine;
}
