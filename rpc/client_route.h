// The cluster's map as a client knows it: which node leads each slot, and at which address.
//
// Read from the answer to `cluster`, which comes from the network: everything in it is bounded, and
// what does not fit is as if nobody had said it.
#ifndef MF_RPC_CLIENT_ROUTE_H
#define MF_RPC_CLIENT_ROUTE_H

#include "base/slots.h"
#include "rpc/client_internal.h"

#define MF_ROUTE_NODES_MAX 128
#define MF_ROUTE_ADDRESS_MAX 288 // a host name of 255 bytes, and a port

struct mf_route_node {
    uint32_t id;
    char address[MF_ROUTE_ADDRESS_MAX];
    struct mf_link *links[MAYFLY_CONNECTIONS_MAX]; // NULL: not made yet
};

struct mf_route_map {
    uint32_t node_count;
    struct mf_route_node nodes[MF_ROUTE_NODES_MAX];
    uint8_t leaders[MF_SLOT_COUNT]; // of each slot: its place in nodes plus 1, or 0
};

// Fills `map`, which is all zero, from the result of `cluster`. False when it is malformed.
bool mf_route_parse(struct mf_msgpack_in *in, struct mf_route_map *map);

#endif
