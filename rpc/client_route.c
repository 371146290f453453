// Straight to the leader: which connection a call goes by.
//
// Any node carries out any request, so the map is only a way to save a hop: a call whose leader is
// not known, or not connected, goes by the first connection, and so does one that was refused or
// lost its connection once. A connection to a leader is used when it is there and never waited for.
//
// The map is asked for once a client has had some calls to send, again soon after a connection was
// lost or a call refused, and slowly in between. How soon and how slowly grows with its size, and
// all of it is jittered, so that ten thousand clients of a cluster in trouble are no trouble more.
#include "rpc/client_route.h"

#include <stdlib.h>
#include <string.h>

// A client of a few calls does not need to know where they go.
#define CALLS_BEFORE_MAP 16u
#define INTERVAL_MIN_US UINT64_C(30000000)
// Of a map of so many bytes: a megabyte is asked for every 17 minutes.
#define INTERVAL_US_PER_BYTE 1000u
// After trouble it is asked for so many times sooner.
#define TROUBLE_FACTOR 30u
#define FAILED_INTERVAL_US UINT64_C(300000000)

struct mf_route {
    struct mf_route_map *map; // NULL: not known yet
    struct mf_call request;   // `cluster`
    uint32_t connections;     // for each node
    uint32_t calls;           // that could be routed, up to CALLS_BEFORE_MAP
    uint32_t turn;            // whose turn it is among a node's connections
    uint32_t first_node;      // whom the first connection speaks to, when it is ready
    bool asked;
    uint64_t interval_us;
    uint64_t asked_us;
    uint64_t due_us;
    struct mf_hello_facts facts; // of the cluster, from the first connection
};

bool mf_route_init(struct mayfly_client *client, uint32_t connections)
{
    struct mf_route *route = calloc(1, sizeof *route);
    if (route == NULL)
        return false;
    client->route = route;
    route->connections = connections;
    route->interval_us = INTERVAL_MIN_US;
    struct mayfly_request request = {.method = MAYFLY_METHOD_CLUSTER};
    struct mf_buf bytes = mf_request_pack(client, MF_MAP_MSGID, &request);
    route->request = (struct mf_call){.own = true, .bytes = bytes.data, .len = bytes.len};
    return bytes.data != NULL;
}

void mf_route_free(struct mayfly_client *client)
{
    if (client->route == NULL)
        return;
    free(client->route->map);
    free(client->route->request.bytes);
    free(client->route);
    client->route = NULL;
}

// The place of a link of its own for a node; NULL when there is no room or memory.
static struct mf_link *open_link(struct mayfly_client *client, const struct mf_route_node *node)
{
    char why[MF_CLIENT_TEXT_MAX];
    size_t place = MF_LINKS_RESERVED;
    while (place < client->link_count && client->links[place] != NULL)
        place++;
    if (place == MF_LINKS_MAX)
        return NULL;
    struct mf_link *link = mf_link_new(client, node->address, why, sizeof why);
    if (link == NULL)
        return NULL;
    link->node = node->id;
    client->links[place] = link;
    client->link_count = place == client->link_count ? place + 1 : client->link_count;
    return link;
}

// A ready connection to the node, beginning with the one whose turn it is, which is opened when it
// is not there.
static struct mf_link *link_to(struct mayfly_client *client, struct mf_route_node *node)
{
    struct mf_route *route = client->route;
    struct mf_link *first = client->links[0];
    bool first_is_there = first->state == MF_LINK_READY && route->first_node == node->id;
    uint32_t turn = route->turn++ % route->connections;
    for (uint32_t i = 0; i < route->connections; i++) {
        uint32_t at = (turn + i) % route->connections;
        if (at == 0 && first_is_there)
            return first;
        if (node->links[at] == NULL && i == 0)
            node->links[at] = open_link(client, node);
        struct mf_link *link = node->links[at];
        if (link != NULL && link->state == MF_LINK_READY)
            return link;
        if (link != NULL && i == 0)
            link->wanted = true;
    }
    return first;
}

struct mf_link *mf_route_call(struct mayfly_client *client, int slot)
{
    struct mf_route *route = client->route;
    if (route == NULL || slot < 0)
        return client->links[0];
    route->calls += route->calls < CALLS_BEFORE_MAP;
    uint8_t place = route->map != NULL ? route->map->leaders[slot] : 0;
    return place > 0 ? link_to(client, &route->map->nodes[place - 1]) : client->links[0];
}

int mf_route_join(const struct mayfly_client *client, int slot, int other)
{
    const struct mf_route *route = client->route;
    if (slot == other || other < 0)
        return other;
    bool together = route != NULL && route->map != NULL &&
                    route->map->leaders[slot] == route->map->leaders[other];
    return together ? slot : -1;
}

bool mf_route_is_on(const struct mayfly_client *client)
{
    return client->route != NULL;
}

static bool is_wanted(const struct mayfly_client *client)
{
    const struct mf_route *route = client->route;
    return route != NULL && route->calls >= CALLS_BEFORE_MAP && !route->asked &&
           client->links[0]->state == MF_LINK_READY && mf_calls_pending(client) > 0;
}

uint64_t mf_route_due_us(const struct mayfly_client *client)
{
    return is_wanted(client) ? client->route->due_us : UINT64_MAX;
}

void mf_route_timers(struct mayfly_client *client, uint64_t now_us)
{
    struct mf_route *route = client->route;
    if (!is_wanted(client) || route->due_us > now_us)
        return;
    route->asked = true;
    route->asked_us = now_us;
    route->request.state = MF_CALL_QUEUED;
    mf_call_list_append(&client->links[0]->queue, &route->request);
}

static void ask_within(struct mayfly_client *client, uint64_t from_us, uint64_t within_us)
{
    struct mf_route *route = client->route;
    uint64_t due_us = from_us + within_us / 2 + mf_rand_below(&client->jitter, within_us / 2);
    route->due_us = due_us < route->due_us ? due_us : route->due_us;
}

void mf_route_trouble(struct mayfly_client *client)
{
    struct mf_route *route = client->route;
    if (route == NULL)
        return;
    uint64_t within_us = route->interval_us / TROUBLE_FACTOR;
    uint64_t now_us = client->clock_us();
    // No sooner after the last time than it is put off now.
    uint64_t from_us = route->asked_us + within_us > now_us ? route->asked_us + within_us : now_us;
    ask_within(client, from_us, within_us);
}

void mf_route_link_lost(struct mf_link *link)
{
    struct mayfly_client *client = link->client;
    if (client->route == NULL)
        return;
    link->wanted = false;
    if (link == client->links[0]) {
        client->route->asked = false;
        client->route->first_node = 0;
    }
    mf_route_trouble(client);
}

bool mf_route_greeted(struct mf_link *link, const struct mf_hello_facts *facts)
{
    struct mf_route *route = link->client->route;
    if (route == NULL)
        return true;
    // Whoever answers at an address that was only told must be whom the teller meant.
    bool told = link->node != 0 || mf_endpoint_is_learned(link);
    if (told &&
        (facts->shards != route->facts.shards || facts->cluster_hash != route->facts.cluster_hash))
        return false;
    if (link->node != 0 && facts->node != link->node)
        return false;
    if (link == link->client->links[0]) {
        route->facts = *facts;
        route->first_node = facts->node;
    }
    return true;
}

// Links of nodes that the new map has too, at the same address, go over to it; the others end, and
// what they carried goes by the first connection.
static void take_links(struct mayfly_client *client, struct mf_route_map *from,
                       struct mf_route_map *to)
{
    for (uint32_t i = 0; i < from->node_count; i++) {
        struct mf_route_node *old = &from->nodes[i];
        struct mf_route_node *now = NULL;
        for (uint32_t j = 0; j < to->node_count && now == NULL; j++) {
            if (to->nodes[j].id == old->id && strcmp(to->nodes[j].address, old->address) == 0)
                now = &to->nodes[j];
        }
        if (now != NULL)
            memcpy(now->links, old->links, sizeof old->links);
        for (uint32_t j = 0; now == NULL && j < client->route->connections; j++) {
            if (old->links[j] != NULL)
                mf_link_retire(old->links[j]);
        }
    }
}

// What the map says goes for those who are not connected to its leaders, too.
static void learn_endpoints(struct mayfly_client *client, const struct mf_route_map *map)
{
    const char *addresses[MF_ROUTE_NODES_MAX];
    for (uint32_t i = 0; i < map->node_count; i++)
        addresses[i] = map->nodes[i].address;
    mf_endpoints_learn(client->links[0], addresses, map->node_count);
    if (client->watch_link != NULL)
        mf_endpoints_learn(client->watch_link, addresses, map->node_count);
}

void mf_route_watch_begins(struct mayfly_client *client)
{
    if (client->route != NULL && client->route->map != NULL)
        learn_endpoints(client, client->route->map);
}

void mf_route_answer(struct mayfly_client *client, enum mayfly_err err, struct mf_msgpack_in *in,
                     size_t bytes)
{
    struct mf_route *route = client->route;
    // What has not left the queue whole cannot have been answered.
    if (route == NULL || !route->asked || route->request.state != MF_CALL_FREE)
        return;
    uint64_t now_us = client->clock_us();
    struct mf_route_map *map = err == MAYFLY_OK ? calloc(1, sizeof *map) : NULL;
    route->asked = false;
    route->due_us = UINT64_MAX;
    if (map == NULL || !mf_route_parse(in, map)) {
        free(map);
        ask_within(client, now_us, FAILED_INTERVAL_US);
        return;
    }
    if (route->map != NULL)
        take_links(client, route->map, map);
    free(route->map);
    route->map = map;
    learn_endpoints(client, map);
    route->interval_us = bytes * INTERVAL_US_PER_BYTE;
    if (route->interval_us < INTERVAL_MIN_US)
        route->interval_us = INTERVAL_MIN_US;
    ask_within(client, now_us, route->interval_us);
}
