// Who holds which shards of a running cluster, and at which address each node is asked.
#ifndef MF_SNAPSHOT_TOOL_LAYOUT_H
#define MF_SNAPSHOT_TOOL_LAYOUT_H

#include "snapshot/tool/tool.h"

struct layout_node {
    uint32_t id;
    char address[300]; // "" when it is not known
    bool alive;        // as the node that was asked sees it
    bool failed;       // it was asked for its shards and did not give them
    bool *holds;       // by shard
};

struct layout {
    uint32_t shard_count;
    struct layout_node *nodes;
    uint32_t node_count;
};

// Asks every endpoint of the command line, one after the other: the first that answers says what
// there is, and those that are given are reached as they are given, the others as the cluster says.
// False with a message when none answers.
bool layout_ask(struct layout *layout, const struct tool_args *args, char *message,
                size_t message_size);
void layout_free(struct layout *layout);

// Of the nodes that have not failed and have an address, the one that holds the most shards that
// are still missing, a live one first; NULL when none holds any.
struct layout_node *layout_next(const struct layout *layout, const bool *missing);

// A client of these endpoints, with the user of the command line or the environment; NULL with a
// message.
struct mayfly_client *layout_client(const struct tool_args *args, const char *endpoints,
                                    char *message, size_t message_size);

#endif
