// What all reactors of one node share: the configuration, the other nodes, and the shards' state as
// last published. Everything mutable here is atomic or under the mutex that is named beside it.
#ifndef MF_SERVER_NODE_H
#define MF_SERVER_NODE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "consensus/formation.h"
#include "consensus/lease.h"
#include "rpc/conn.h"
#include "rpc/peer_frame.h"
#include "server/budget.h"
#include "server/config.h"
#include "server/resp_settings.h"
#include "server/settings.h"

// Places among the members: those that came, those that went, and this node.
#define MF_MEMBERS_MAX 128

struct mf_forming;
struct mf_membership;
struct mf_offline;
struct mf_roster;
struct mf_reactor;
struct mf_checkpointer;
struct mf_read_gate;
struct mf_resp_node;
struct mf_snapshotter;
struct mf_latency;
struct mf_slowlog;
struct mf_wal_ledger;
struct mf_worker;

// Where clients find a node, as it says itself.
struct mf_node_addresses {
    char rpc[300];
    char resp[300];
    char resp_cluster[300];
    char http[300];
};

// A member's clock in its newest frame that asked for the lease and was granted it: what our frames
// to it bring back. Together under the sequence lock `version`, written by whoever takes the frame.
struct mf_echo {
    _Atomic uint32_t version;
    _Atomic uint64_t incarnation; // of the process whose clock it is: no other may get it
    _Atomic uint64_t mono_us;
    _Atomic uint64_t token;
};

// A node that is, or was, in the roster. Its place among the members is its own as long as this
// process runs: reactor 0 puts new ones behind the others and then raises mf_node.member_count.
struct mf_member {
    uint16_t id;
    char peer[300];            // under mf_node.mutex, like its numeric form
    struct mf_address address; // its host is empty when it could not be resolved
    _Atomic uint64_t gone_us;  // since then it is not in the roster; 0 = it is
    _Atomic uint64_t roster;   // the version of its roster, as it said last
    _Atomic uint32_t held;     // shards of which it has a copy, as it said last
    // Written by whichever reactor hears from the node, read by all. Relaxed: each is a reading of
    // its own, and a little old is fine.
    _Atomic uint64_t heard_us;        // our monotonic clock at its last frame ...
    _Atomic uint64_t asked_us;        // ... and at its last that asked for the lease
    _Atomic uint64_t clock_offset_us; // its monotonic clock minus ours then, modulo 2^64
    _Atomic uint64_t incarnation;     // of the process that runs there; 0 = never heard
    _Atomic uint64_t memory;          // its acceptor's incarnation, as it says; 0 = none yet
    uint64_t memory_of;               // the process that has said so; under mf_node.mutex
    _Atomic bool up;                  // as reactor 0 judges
    _Atomic bool declines;            // it asks not to be given groups to lead
    struct mf_lease lease;            // what we grant it, and it grants us
    struct mf_echo echo;
    struct mf_node_addresses addresses; // under mf_node.mutex
};

// One shard as its owner last published it (relaxed, for `cluster` and statistics).
struct mf_shard_status {
    _Atomic bool held;          // this node has a copy, or will have when the cluster is formed
    _Atomic uint64_t copies[3]; // the nodes that have one, 16 bits each, 0 behind the last
    _Atomic uint32_t leader;
    _Atomic uint64_t ballot;
    _Atomic uint64_t chosen;
    _Atomic uint64_t applied;
    _Atomic uint64_t first;
    _Atomic uint64_t keys;
    _Atomic uint64_t expiring; // of them, those with a TTL
    _Atomic uint64_t ids;
    _Atomic uint64_t bytes; // of the state, see struct mf_shard_memory for its parts
    _Atomic uint64_t key_bytes;
    _Atomic uint64_t id_bytes;
    _Atomic uint64_t table_bytes;
    _Atomic uint64_t heap_bytes;
    _Atomic uint64_t log_bytes; // in memory
    _Atomic uint64_t expired;   // keys, as evicted
    _Atomic uint64_t evicted;   // since the start, or since a snapshot took the state's place
    _Atomic uint64_t hash;
};

struct mf_allocator_bytes {
    uint64_t allocated;
    uint64_t active;   // of pages that hold some of them
    uint64_t resident; // of the process in memory
};

struct mf_node {
    struct mf_config config;     // constant once the reactors run
    struct mf_settings settings; // what can be set while they do
    uint64_t incarnation;        // random for this process
    uint64_t genesis;            // see struct mf_peer_hello
    uint32_t replica_count;      // copies of each shard, as of the start
    // Our acceptor's incarnation; 0 while fresh. Stored by reactor 0 before `formed` is, at the
    // latest, and constant from then on.
    _Atomic uint64_t memory;
    enum mf_formation_state state; // before the reactors run, then reactor 0's
    _Atomic bool formed;           // we may vote: release after memory, with the acquire of readers
    struct mf_forming *forming;    // reactor 0's
    bool fresh; // this folder's acceptor has not voted, nor granted a lease, before this start
    uint32_t longest_lease_ms; // that this run or, still lasting, one before it may have granted
    char members_text[MF_PEER_TEXT_BYTES_MAX];
    uint64_t started_us;
    // Not NULL: nobody runs the node. Its data folder is read as at a start, and stays as it is.
    const struct mf_offline *offline;

    struct mf_member members[MF_MEMBERS_MAX];
    _Atomic uint32_t member_count; // release after the member, with the acquire of readers
    uint32_t self;                 // our index among them
    bool joins; // our id is not in cluster.nodes: not we form the cluster, it lets us in

    // The newest roster known here (server/membership.h): before the reactors run everybody's, then
    // reactor 0's. Each reactor has its own reference.
    const struct mf_roster *roster;
    _Atomic uint64_t roster_version;  // of it; release after identity, with the acquire of readers
    _Atomic uint64_t identity;        // of the cluster; 0 in version 1
    struct mf_membership *membership; // reactor 0's
    _Atomic uint32_t held;            // shards with a replica here (relaxed)

    struct mf_reactor **reactors;
    uint32_t reactor_count;
    struct mf_shard_status *shards;
    struct mf_budget budget; // of memory, for all shards together
    // What the allocator has given and what of the process is in memory; NULL: not known.
    void (*allocator_bytes)(struct mf_allocator_bytes *bytes);
    const char *allocator;      // its name
    struct mf_read_gate *gates; // by shard: reads beside its owner
    struct mf_snapshotter *snapshotter;
    struct mf_schedule *schedule; // of snapshots at intervals
    _Atomic uint32_t pieces;      // see snapshot_files.h (relaxed: a count)
    struct mf_checkpointer *checkpointer;
    struct mf_worker *worker;
    struct mf_wal_ledger *ledger;       // of the WAL; NULL without one
    struct mf_node_addresses addresses; // our own, as bound
    char bound_peer[300];

    _Atomic(const char *) password; // replaced by SIGHUP; old ones are kept until the end
    uint32_t clients_allowed;       // as many as there are descriptors for; constant
    _Atomic uint32_t clients;
    _Atomic uint64_t resp_ids; // the last number given to a client that speaks Redis's protocol
    _Atomic size_t resp_visiting_bytes; // of messages of clients on their way over the reactors
    _Atomic uint32_t resp_monitors;     // connections that see what others do
    _Atomic uint32_t lcs_jobs;          // LCS commands under way
    _Atomic uint32_t resp_trackers;     // connections that are told what has changed
    _Atomic uint32_t watches;           // of clients
    _Atomic bool stopping;         // it hands over what it leads, and goes on serving meanwhile
    _Atomic bool closing;          // it has, or has tried long enough: nothing new is begun
    _Atomic bool draining;         // it hands over what it leads, and goes on serving for good
    _Atomic bool disk_stalled;     // as reactor 0 judges: the node asks for no leases
    _Atomic uint32_t blocked_logs; // of the reactors, which the disk does not take (server/disk.h)
    _Atomic bool failed;           // it stops because it cannot go on: exit 1
    struct mf_resp_settings resp_settings;
    struct mf_slowlog *slowlog;
    struct mf_latency *latency;
    struct mf_resp_node *resp_node;
    pthread_mutex_t mutex;
};

// How many places among the members are taken.
static inline uint32_t mf_node_member_count(const struct mf_node *node)
{
    return atomic_load_explicit(&node->member_count, memory_order_acquire);
}
// It is in the roster no more.
static inline bool mf_member_gone(const struct mf_member *member)
{
    return atomic_load_explicit(&member->gone_us, memory_order_relaxed) != 0;
}
// The index of a node among the members, or -1.
int mf_node_member(const struct mf_node *node, uint16_t id);
// The same for one that may be gone.
int mf_node_member_ever(const struct mf_node *node, uint16_t id);
// The members are the nodes of node->roster, before the reactors run. What cannot be resolved is
// logged, and tried again with a newer roster.
void mf_node_fill_members(struct mf_node *node);
// This node has a copy of the shard. Any thread.
static inline bool mf_node_holds(const struct mf_node *node, uint32_t shard)
{
    return atomic_load_explicit(&node->shards[shard].held, memory_order_relaxed);
}
// Who leads the shard, as far as is known here; 0: nobody. Any thread.
static inline uint16_t mf_node_leader(const struct mf_node *node, uint32_t shard)
{
    return (uint16_t)atomic_load_explicit(&node->shards[shard].leader, memory_order_relaxed);
}
static inline bool mf_node_leads(const struct mf_node *node, uint32_t shard)
{
    return mf_node_leader(node, shard) == node->config.id;
}
// The nodes that have a copy, learners included, as far as known here: fills ids (at least
// MF_COPIES_MAX), returns how many. Any thread.
#define MF_COPIES_MAX 12
uint32_t mf_node_copies(const struct mf_node *node, uint32_t shard, uint16_t *ids);
// By the shard's owner.
void mf_node_set_copies(struct mf_node *node, uint32_t shard, const uint16_t *ids, uint32_t count);

static inline uint64_t mf_node_lease_us(const struct mf_node *node)
{
    return (uint64_t)node->config.lease_ms * 1000;
}
// Of one list, so that a connection can be sent it: see client.c.
static inline uint32_t mf_node_answer_bytes_max(const struct mf_node *node)
{
    uint64_t bytes = 4 * (uint64_t)node->config.request_bytes_max;
    return bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
}
// The disk does not take what some log has to write. Any thread.
static inline bool mf_node_blocked(const struct mf_node *node)
{
    return atomic_load_explicit(&node->blocked_logs, memory_order_relaxed) > 0;
}
// It hands over what it leads and takes nothing. Any thread.
static inline bool mf_node_leaving(const struct mf_node *node)
{
    return atomic_load_explicit(&node->stopping, memory_order_relaxed) ||
           atomic_load_explicit(&node->draining, memory_order_relaxed) || mf_node_blocked(node);
}
// Until when this node counts others as holding leases that a process before it may have granted;
// 0 on a folder that no process has used.
uint64_t mf_node_bound_until_us(const struct mf_node *node);
// Readies the leases with all members, once the data folder is open and before the reactors run.
void mf_node_begin_leases(struct mf_node *node);

#endif
