// A reactor: one thread, one libev loop, and the shards it owns.
//
// A turn of the loop takes what sockets, timers, the WAL and other reactors have brought, and ends
// with one flush: replicas propose and apply, the WAL gets one hand-over, every peer one frame,
// every other reactor one chain of tasks, every connection one write.
#ifndef MF_SERVER_REACTOR_H
#define MF_SERVER_REACTOR_H

#include <ev.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/counter.h"
#include "base/err.h"
#include "base/hist.h"
#include "base/rand.h"
#include "base/ring.h"
#include "consensus/wal.h"
#include "rpc/conn.h"
#include "server/checkpoint.h"
#include "server/leader_view.h"
#include "server/node.h"
#include "server/op.h"
#include "server/persists.h"
#include "server/replica.h"
#include "server/task.h"
#include "ttl/heap.h"

struct mf_changes;
struct mf_hotkeys;
struct mf_links;
struct mf_mover;
struct mf_placer;
struct mf_roster;
struct mf_read_gate_reader;
struct mf_request;
struct mf_resp_door;
struct mf_router;
struct mf_session_call;
struct mf_sessions;
struct mf_streams;
struct mf_watch_peers;
struct mf_watch_relay;
struct mf_watchers;
struct mf_watches;

// What a replica begins with.
struct mf_shard_base {
    uint64_t log_us; // of the checkpoint, or of the snapshot that the cluster began with, or 0
    uint64_t wall_us;
    struct mf_members members; // of the checkpoint; voter_count 0 = those that the group began with
    uint64_t marked;           // the highest slot that the log calls applied
};

// What the mover knows of a shard.
struct mf_move {
    uint16_t heir;             // a hand-over to it is under way; 0 = none
    uint16_t avoid;            // the last one to this node was called off; 0 = none
    bool pinned;               // an operator wanted the shard here
    bool led;                  // by us, when last looked at
    uint64_t until_us;         // the heir has until then to show that it leads
    uint64_t rest_until_us;    // the shard is not moved for the spread's sake before
    struct mf_op_list waiting; // TRANSFERs
};

// What is left of a copy that this node has given up: the promise of its acceptor, which holds for
// the next copy as well, since that one is the same acceptor. See server/copies.h.
struct mf_left {
    mf_ballot_t promise; // 0 = this node never had a copy, or still has its first one
    uint64_t slot;       // up to here it had applied the log
    uint64_t floor;      // of the configuration that had no place for it
    bool gone;           // and it has no other yet
};

// What the placer knows of a shard.
struct mf_places {
    uint64_t slot;             // of the newest configuration that is known here
    uint64_t shown_slot;       // of our own configuration whose copies the node was shown ...
    uint64_t shown_roster;     // ... by the roster of this version; 0 = another one's, or none
    uint64_t told_slot;        // leading: the one that the other nodes were told of ...
    mf_ballot_t told_ballot;   // ... and as whose leader
    uint64_t told_us;          // ... and when, all or its learners
    bool retiring;             // a configuration has no place for this node ...
    uint64_t retire_slot;      // ... the one of this slot, by now there may be others ...
    mf_ballot_t retire_ballot; // ... as the leader of this ballot says
    bool busy;                 // the worker has a job for it
    bool moving;               // leading: it is on its way to its places
    bool warned;
};

// Since when a majority of the shard's replicas seems to have lost its memory; see forming.c.
struct mf_lost {
    uint64_t since_us; // 0 = it does not
    uint64_t chosen;   // then
};

// A shard owned by this reactor. `replica` is NULL when this node holds no copy: then ops for the
// shard are only passed on. It is also NULL until the cluster is formed; then ops wait.
struct mf_owned_shard {
    struct mf_reactor *reactor;
    struct mf_replica *replica;
    uint32_t id;
    bool listed; // in the list of shards to flush
    bool later;  // a flush is wanted, and not soon ...
    bool waits;  // ... and it is in the list of those
    struct mf_owned_shard *next_dirty;
    struct mf_owned_shard *next_later;
    struct mf_op_list parked; // ops waiting for a leader
    struct mf_checkpoint_need checkpoint;
    struct mf_shard *state; // what the replica will begin with; NULL once it has
    struct mf_shard_base base;
    struct mf_leader_view view; // without a replica: who leads, as leaders say
    uint16_t leader_hint;       // and whom to ask, as whoever was asked last has said
    uint32_t next_try;          // without a hint: which copy to ask next
    uint64_t due_us;            // when the replica's tick is due; 0 = never
    uint64_t timer_us;          // when its timer runs out: not after that; 0 = there is none
    uint8_t timer[24];          // a heap node, in mf_reactor.timers while timer_us is not 0
    uint64_t durable_seq;       // without a WAL: what the replica is to be told of; 0 = nothing
    uint32_t parked_writes;     // of them, of clients here
    bool asks;                  // one such write has `asks`
    struct mf_move move;
    struct mf_left left;
    struct mf_places places;
    struct mf_lost lost;
};

// Counted by the reactor, read by any (relaxed).
struct mf_reactor_counters {
    _Atomic uint64_t requests;
    _Atomic uint64_t errors;
    _Atomic uint64_t forwarded;
    _Atomic uint64_t crossed;
    _Atomic uint64_t shared_reads;
    _Atomic uint64_t turns;
    _Atomic uint64_t expired;
    _Atomic uint64_t elections_won;
    _Atomic uint64_t snapshots_sent; // checkpoints streamed to others
    _Atomic uint64_t snapshots_installed;
    _Atomic uint64_t turn_us_max;
    _Atomic uint64_t walk_steps;       // of checkpoints and snapshots, see walk.c
    _Atomic uint64_t walk_step_us_max; // processor time of one
    _Atomic uint64_t walk_steps_over_1ms;
    _Atomic uint64_t walk_early_bytes_max; // handed out early and not written, see walk.h
    _Atomic uint64_t walk_holds;
    _Atomic uint64_t connections; // of clients
    _Atomic uint64_t connections_refused;
    _Atomic uint64_t led_expired; // keys, of shards while this node led them
    _Atomic uint64_t led_evicted;
    _Atomic uint64_t tracked_keys; // for CLIENT TRACKING, see resp_track_table.h
    _Atomic uint64_t tracked_items;
    _Atomic uint64_t tracked_bytes;
    _Atomic uint64_t tracked_prefixes;
};
#define MF_WAL_SEGMENT_BYTES (UINT64_C(16) << 20)
#define MF_EXPIRE_BATCH 256u // keys that one entry takes out, at most

// How many shards have their leader where.
struct mf_leadership {
    uint32_t here;
    uint32_t elsewhere;
    uint32_t nowhere;
};

struct mf_reactor {
    struct mf_node *node;
    uint16_t index;
    pthread_t thread;
    struct ev_loop *loop;
    ev_async wake;     // the inbox has something
    ev_async wal_wake; // `durable` has grown
    ev_check awake;    // first of what a turn calls
    ev_prepare turn;
    ev_prepare early; // never started: fed where the turn is not to wait for the sockets
    ev_idle again;    // active: a turn has left work, the next one follows without waiting
    ev_timer timer;   // the earliest replica timer
    ev_timer sweep;   // parked and forwarded ops, heartbeats
    struct mf_rand rand;

    struct mf_ring *inbox;      // chains of struct mf_task
    struct mf_task **out_first; // per reactor: tasks of this turn
    struct mf_task **out_last;

    struct mf_conn_pool *pool; // clients
    struct mf_conn_pool *peer_pool;
    struct mf_listener *rpc_listener;
    struct mf_listener *resp_listener;
    struct mf_listener *resp_cluster_listener;
    struct mf_listener *peer_listener;

    struct mf_owned_shard *shards; // shard id = index + i * reactor_count
    uint32_t shard_count;
    bool looks_ahead; // see ahead.h
    bool writes_ahead;
    struct mf_owned_shard *dirty; // first come, first served
    struct mf_owned_shard *dirty_last;
    uint32_t dirty_count;
    struct mf_owned_shard *later; // the same of those that were written at once
    struct mf_owned_shard *later_last;
    uint64_t later_us;       // when they have time again although there is more to do
    uint64_t later_requests; // counters.requests when they were looked at last
    uint32_t writes;         // that have come for them since the last turn, and need nothing else
    uint64_t flushing;       // the number of the shard's turn that this is; 0 outside of them
    uint64_t flushes;        // how many there have been
    struct mf_heap timers;
    uint32_t expire_left; // see struct mf_replica_config

    struct mf_wal *wal; // NULL: nothing is persisted
    _Atomic uint64_t durable;
    struct mf_persists persists;

    struct mf_resp_door *resp;
    struct mf_links *links;
    struct mf_router *router;
    struct mf_buf answer; // request.c: of what is answered at once ...
    bool answering;       // ... and it is in use
    uint64_t read_us; // the clock when the last of those was carried out, or its lease looked at
    struct mf_request *spare_requests;
    uint32_t spare_request_count;
    struct mf_session_call *spare_calls;
    uint32_t spare_call_count;
    struct mf_read_gate_reader *gate_reader;
    struct mf_mover *mover;
    const struct mf_roster *roster; // the newest that this reactor has been told of
    struct mf_placer *placer;
    struct mf_changes *changes;
    struct mf_streams *streams;
    struct mf_watchers *watchers;
    struct mf_watches *watches;
    struct mf_watch_relay *watch_relay;
    struct mf_watch_peers *watch_peers;
    struct mf_hotkeys *hotkeys;
    struct mf_reactor_counters counters;
    uint64_t awake_us; // when this turn began
    // Groups of ours most of whose voters have lost their memory (relaxed), and the first of them.
    _Atomic uint32_t lost_groups;
    _Atomic uint32_t lost_group;
    uint64_t lost_check_us;
    struct mf_leadership told; // as last logged (reactor 0)
    uint64_t tell_us;
    uint64_t stop_by_us;      // stopping: the next step is taken then at the latest; 0 = running
    uint64_t linger_us;       // closing: until then late questions are answered; 0 = not closing
    uint32_t in_flight;       // requests of this reactor's clients
    _Atomic bool handed_over; // stopping, and nothing is left that another node could lead
    _Atomic bool idle;        // closing, and nothing of ours is under way
};

// Before the threads run: the reactor and the places of its shards, without replicas yet.
struct mf_reactor *mf_reactor_new(struct mf_node *node, uint16_t index);
extern const struct mf_replica_ops mf_reactor_replica_ops; // ctx: the struct mf_owned_shard
// The shard's place; asserts that this reactor owns it.
struct mf_owned_shard *mf_reactor_shard(struct mf_reactor *reactor, uint32_t shard);
uint16_t mf_reactor_of_shard(const struct mf_node *node, uint32_t shard);

// One reactor's listening sockets; -1 = none.
struct mf_reactor_sockets {
    int rpc;
    int resp;
    int resp_cluster;
    int peer;
};
// Opens the WAL stream and takes over the sockets. MF_IO with a message.
MF_MUST_USE enum mf_err mf_reactor_open(struct mf_reactor *reactor,
                                        struct mf_reactor_sockets sockets, char *message,
                                        size_t message_size);
MF_MUST_USE enum mf_err mf_reactor_start(struct mf_reactor *reactor);
// Any thread: no new clients. What the node leads is handed over while it goes on serving, then
// nothing new is begun, and the loop ends when nothing is under way on any reactor. Each of the two
// steps takes at most two seconds. A node that has failed leaves out the first.
void mf_reactor_stop(struct mf_reactor *reactor);
void mf_reactor_join(struct mf_reactor *reactor);
// Taking the node apart, when all threads have ended. Each step for all reactors before the next:
// close (sockets, WAL), end_ops (what clients wait for ends), drain (until nothing crosses), free.
void mf_reactor_close(struct mf_reactor *reactor);
void mf_reactor_end_ops(struct mf_reactor *reactor);
void mf_reactor_drain(struct mf_reactor *reactor);
void mf_reactor_free(struct mf_reactor *reactor);

// From the reactor's own thread: runs the task on another reactor (or this one), at the end of the
// turn and in order.
void mf_reactor_send(struct mf_reactor *from, uint16_t to, struct mf_task *task);
// From a thread that is no reactor; may wait for room.
void mf_reactor_post(struct mf_reactor *to, struct mf_task *task);

// replica_gate.c: what the shard's replica lets other reactors know, at the end of its turn and
// before the turn's messages leave (read_gate.h).
void mf_reactor_publish_gate(struct mf_owned_shard *shard);
// Before the shard's state is replaced or freed: no reactor reads it any more (read_gate.h). It may
// be read again from the next turn of its replica on.
void mf_reactor_retire_gate(struct mf_owned_shard *shard);
// The shard's replica, which asks for no flush, is about to go: nothing is reported to it any more.
void mf_reactor_forget(struct mf_owned_shard *shard);
// Asks for a flush of the shard's replica before the turn ends.
void mf_reactor_touch(struct mf_owned_shard *shard);
// The same for a write that has just come: where many have that wait for nothing but their turn, it
// is before any other socket is read.
void mf_reactor_touch_to_write(struct mf_owned_shard *shard);
// The same after a write that was carried out at once: nobody waits for what is left to be done.
void mf_reactor_touch_later(struct mf_owned_shard *shard);
struct mf_replica_env mf_reactor_env(struct mf_reactor *reactor);
uint64_t mf_reactor_now_us(const struct mf_reactor *reactor);

#endif
