// The whole cluster as its nodes see it: one node tells who is in it, then each of them is asked
// for its own figures, all at the same time. `status`, `cluster`, `latency` and `hotkeys` print of
// this.
//
// A node that does not answer within a second is shown without figures. How far a shard has come is
// the most that any node knows of it; a copy's lag is how far it is behind that.
#ifndef MF_CLI_VIEW_H
#define MF_CLI_VIEW_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mayfly/client.h"

#define CLI_COPIES_MAX 16

struct cli;

// A shard as one node has it.
struct cli_copy_view {
    bool held;
    uint64_t leader; // whom it takes for the leader
    uint64_t ballot;
    uint64_t chosen;
    uint64_t applied;
    uint64_t keys;
    uint64_t bytes;
};

struct cli_node_view {
    uint64_t id;
    char rpc[300]; // "" when it has none: it cannot be asked
    char peer[300];
    bool told_alive; // by the node that was asked first
    struct mayfly_client *client;
    bool answered;
    char version[32];
    uint64_t read_us; // when; 0 before the first answer
    uint64_t uptime_ms;
    uint64_t requests;
    uint64_t own_requests; // of them, those of the view since
    uint64_t clients;
    uint64_t keys;
    uint64_t bytes;
    uint64_t resident_bytes;
    uint64_t memory_max_bytes;
    uint64_t held;
    uint64_t leading;
    uint64_t lag; // of its furthest copy, log entries
    bool disk_full;
    bool disk_failing;
    bool ops_known; // two readings of the same life
    double ops;     // requests of clients a second between them, without the view's own
    struct cli_copy_view *copies; // by shard
    size_t copy_count;
};

struct cli_shard_view {
    uint32_t first_slot;
    uint32_t last_slot;
    uint64_t leader;                   // 0: none
    uint64_t replicas[CLI_COPIES_MAX]; // in order
    size_t replica_count;
    size_t up; // of them, how many nodes are
    uint64_t ballot;
    uint64_t lag;  // of its furthest copy
    bool counted;  // a node that has it answered
    uint64_t keys; // as the leader has it, or whoever has come furthest
    uint64_t bytes;
};

struct cli_view {
    char name[128];
    uint64_t asked; // the node that told who is in the cluster
    struct cli_node_view *nodes;
    size_t node_count;
    struct cli_shard_view *shards;
    size_t shard_count;
    json_t *told; // what it told
};

// Reads anew, and keeps the connections of the reading before. `view` is all zero to begin with.
// CLI_YES, or a status after a line on stderr: no node tells of the cluster.
int cli_view_read(struct cli *cli, struct cli_view *view);
void cli_view_free(struct cli_view *view);

const char *cli_node_state(const struct cli_node_view *node); // alive, unreachable or dead
bool cli_node_is_up(const struct cli_view *view, uint64_t id);

// How many shards have no leader, no majority of copies up, not all copies up.
struct cli_trouble {
    size_t leaderless;
    size_t no_majority;
    size_t copies_missing;
    size_t nodes_down;
    size_t disks; // full or failing
};
struct cli_trouble cli_view_trouble(const struct cli_view *view);
// One line about it, red when there is some.
void cli_print_verdict(const struct cli *cli, const struct cli_view *view);

#endif
