// The cluster as its nodes describe it; see layout.h.
#include "snapshot/tool/layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mayfly/client.h"

static const char *or_environment(const char *value, const char *name)
{
    return value != NULL ? value : getenv(name);
}

struct mayfly_client *layout_client(const struct tool_args *args, const char *endpoints,
                                    char *message, size_t message_size)
{
    struct mayfly_client_options options = {
        .endpoints = endpoints,
        .user = or_environment(args->user, "MAYFLY_USER"),
        .password = or_environment(args->password, "MAYFLY_PASSWORD"),
        .name = "mayfly-snapshot",
    };
    return mayfly_client_new(&options, message, message_size);
}

static const struct mayfly_value *list_at(const struct mayfly_value *map, const char *name)
{
    const struct mayfly_value *list = mayfly_value_at(map, name);
    return list != NULL && list->type == MAYFLY_TYPE_ARRAY ? list : NULL;
}

static bool number_at(const struct mayfly_value *map, const char *name, uint32_t *out)
{
    const struct mayfly_value *number = mayfly_value_at(map, name);
    if (number == NULL || number->type != MAYFLY_TYPE_INT || number->integer < 0 ||
        number->integer > UINT16_MAX)
        return false;
    *out = (uint32_t)number->integer;
    return true;
}

static struct layout_node *find_node(const struct layout *layout, uint32_t id)
{
    for (uint32_t i = 0; i < layout->node_count; i++) {
        if (layout->nodes[i].id == id)
            return &layout->nodes[i];
    }
    return NULL;
}

static bool take_nodes(struct layout *layout, const struct mayfly_value *nodes)
{
    layout->nodes = mf_calloc(nodes->count, sizeof(*layout->nodes));
    for (uint32_t i = 0; i < nodes->count; i++) {
        const struct mayfly_value *from = &nodes->items[i];
        struct layout_node *node = &layout->nodes[i];
        if (from->type != MAYFLY_TYPE_MAP || !number_at(from, "id", &node->id))
            return false;
        const struct mayfly_value *alive = mayfly_value_at(from, "alive");
        const struct mayfly_value *rpc = mayfly_value_at(from, "rpc");
        node->alive = alive != NULL && alive->type == MAYFLY_TYPE_BOOL && alive->boolean;
        if (rpc != NULL && rpc->type == MAYFLY_TYPE_STRING)
            snprintf(node->address, sizeof(node->address), "%.*s", (int)rpc->bytes.len,
                     (const char *)rpc->bytes.data);
        node->holds = mf_calloc(layout->shard_count, sizeof(*node->holds));
        layout->node_count += 1;
    }
    return true;
}

static bool take_layout(struct layout *layout, const struct mayfly_value *cluster)
{
    const struct mayfly_value *nodes = list_at(cluster, "nodes");
    const struct mayfly_value *shards = list_at(cluster, "shards");
    if (nodes == NULL || shards == NULL || shards->count == 0)
        return false;
    layout->shard_count = shards->count;
    if (!take_nodes(layout, nodes))
        return false;
    for (uint32_t i = 0; i < shards->count; i++) {
        const struct mayfly_value *shard = &shards->items[i];
        const struct mayfly_value *replicas =
            shard->type == MAYFLY_TYPE_MAP ? list_at(shard, "replicas") : NULL;
        uint32_t id;
        if (replicas == NULL || !number_at(shard, "id", &id) || id != i)
            return false;
        for (uint32_t n = 0; n < replicas->count; n++) {
            struct layout_node *node = replicas->items[n].type == MAYFLY_TYPE_INT
                                           ? find_node(layout, (uint32_t)replicas->items[n].integer)
                                           : NULL;
            if (node != NULL)
                node->holds[i] = true;
        }
    }
    return true;
}

static bool ask(struct layout *layout, const struct tool_args *args, const char *endpoint,
                char *message, size_t message_size)
{
    struct mayfly_client *client = layout_client(args, endpoint, message, message_size);
    if (client == NULL)
        return false;
    const struct mayfly_value *cluster;
    uint32_t id;
    bool good =
        mayfly_client_connect(client) == MAYFLY_OK && mayfly_cluster(client, &cluster) == MAYFLY_OK;
    if (!good) {
        snprintf(message, message_size, "%s: %s", endpoint, mayfly_client_error(client));
    } else {
        good = number_at(cluster, "node", &id) &&
               (layout->node_count > 0 || take_layout(layout, cluster));
        if (!good)
            snprintf(message, message_size, "%s: it does not describe its cluster", endpoint);
    }
    struct layout_node *node = good ? find_node(layout, id) : NULL;
    if (node != NULL) {
        snprintf(node->address, sizeof(node->address), "%s", endpoint);
        node->alive = true;
    }
    mayfly_client_free(client);
    return good;
}

bool layout_ask(struct layout *layout, const struct tool_args *args, char *message,
                size_t message_size)
{
    *layout = (struct layout){.nodes = NULL};
    char *endpoints = mf_strdup(args->endpoints);
    char *rest = endpoints;
    bool any = false;
    for (char *endpoint = strsep(&rest, ","); endpoint != NULL; endpoint = strsep(&rest, ","))
        any = ask(layout, args, endpoint, message, message_size) || any;
    free(endpoints);
    return any;
}

void layout_free(struct layout *layout)
{
    for (uint32_t i = 0; i < layout->node_count; i++)
        free(layout->nodes[i].holds);
    free(layout->nodes);
    layout->nodes = NULL;
    layout->node_count = 0;
}

struct layout_node *layout_next(const struct layout *layout, const bool *missing)
{
    struct layout_node *best = NULL;
    uint32_t best_count = 0;
    for (uint32_t i = 0; i < layout->node_count; i++) {
        struct layout_node *node = &layout->nodes[i];
        uint32_t count = 0;
        for (uint32_t n = 0; n < layout->shard_count; n++)
            count += node->holds[n] && missing[n];
        if (count == 0 || node->failed || node->address[0] == '\0')
            continue;
        bool better = best == NULL || (node->alive && !best->alive) ||
                      (node->alive == best->alive && count > best_count);
        best = better ? node : best;
        best_count = better ? count : best_count;
    }
    return best;
}
