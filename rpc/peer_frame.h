// The protocol between nodes: a mutual proof of the cluster secret, then frames of items.
//
// A link carries one direction: the node that connected sends, the other listens. One link per
// sending reactor and peer. The listener opens with a challenge, the caller answers with a hello
// that proves the secret over the challenge and brings one of its own, the listener welcomes it
// with its proof. Until then nothing longer than MF_PEER_HELLO_BYTES_MAX is read.
//
//   frame  u32 length of the rest, u64 XXH3 of the body, body
//   body   head, then items: u8 kind, u32 shard, u32 length, bytes
//   head   u64 sender's monotonic clock, u8 flags (1 = asks for the lease,
//          2 = declines to lead), u64 echo, u64 token, u64 version of its roster, u32 shards held
//
// The secret is proved by HMAC-SHA256; frames are checked for damage and form but not encrypted.
#ifndef MF_RPC_PEER_FRAME_H
#define MF_RPC_PEER_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

#define MF_PEER_HELLO_BYTES_MAX 8192u
#define MF_PEER_TEXT_BYTES_MAX 512u
#define MF_PEER_NONCE_BYTES 32u
#define MF_PEER_PROOF_BYTES 32u
#define MF_PEER_PROTOCOL 7u
#define MF_PEER_FRAME_HEAD_BYTES 12u

enum mf_peer_item_kind {
    MF_PEER_PAXOS = 1,   // bytes: mf_paxos_msg_encode
    MF_PEER_FORWARD = 2, // u64 request id, u32 time left in ms, mf_command_encode
    MF_PEER_REPLY = 3,   // u64 request id, u16 status, u16 leader, mf_result_encode if status is 0
    MF_PEER_STATE = 4,   // struct mf_peer_state; the shard is 0
    // Streams of checkpoints, see peer_snapshot.h.
    MF_PEER_SNAPSHOT_OFFER = 5,
    MF_PEER_SNAPSHOT_CHUNK = 6,
    MF_PEER_SNAPSHOT_ACK = 7,
    MF_PEER_ROSTER = 8, // mf_roster_encode; the shard is 0
    MF_PEER_PLACES = 9, // of a shard's leader: u64 slot, u64 round, u64 ballot, mf_members_encode
    // Watches that one node keeps for another, see peer_watch.h.
    MF_PEER_WATCH_ORDER = 10,
    MF_PEER_WATCH_ALIVE = 11,
    MF_PEER_WATCH_NEWS = 12,
    MF_PEER_WATCH_GONE = 13,
    MF_PEER_PUBLISH = 14, // of a client: blob channel, blob message; the shard is 0
};
#define MF_PEER_ITEM_KIND_MAX MF_PEER_PUBLISH

struct mf_peer_item {
    enum mf_peer_item_kind kind;
    uint32_t shard;
    struct mf_bytes bytes;
};

// What every frame says beside its items: how nodes follow each other's clocks and grant each other
// leases (consensus/lease.h).
struct mf_peer_head {
    uint64_t mono_us; // the sender's monotonic clock when it ended the frame
    bool asks;        // for the lease
    bool declines;    // to lead: nobody should hand it a group
    uint64_t
        echo_us;    // the receiver's clock in its newest frame that asked and was granted; 0 = none
    uint64_t token; // of that grant
    uint64_t roster; // the version of the sender's (server/roster.h)
    uint32_t held;   // shards of which it has a copy
};

// Building: begin on an empty buffer, add items, end. An item may be written in place between
// item_begin and item_end.
void mf_peer_frame_begin(struct mf_buf *frame);
size_t mf_peer_item_begin(struct mf_buf *frame, enum mf_peer_item_kind kind, uint32_t shard);
void mf_peer_item_end(struct mf_buf *frame, size_t begun);
void mf_peer_frame_end(struct mf_buf *frame, const struct mf_peer_head *head);

// Finds one whole frame at the start of input: MF_OK with its size and body, MF_AGAIN when more is
// to come, MF_TOO_LARGE over bytes_max, MF_CORRUPT when the checksum or form does not hold.
MF_MUST_USE enum mf_err mf_peer_frame_split(struct mf_bytes input, size_t bytes_max, size_t *size,
                                            struct mf_bytes *body);

struct mf_peer_reader {
    struct mf_reader reader;
    struct mf_peer_head head;
};
// MF_CORRUPT for a head that is cut off, or flags that nobody sends.
MF_MUST_USE enum mf_err mf_peer_body_open(struct mf_peer_reader *reader, struct mf_bytes body);
// MF_OK, MF_NOT_FOUND at the end, MF_CORRUPT.
MF_MUST_USE enum mf_err mf_peer_item_next(struct mf_peer_reader *reader, struct mf_peer_item *item);

// What a node says of itself. Strings are views, at most MF_PEER_TEXT_BYTES_MAX bytes each.
struct mf_peer_hello {
    uint16_t node;
    uint16_t to;          // whom the caller believes to reach; the welcome's sender
    uint16_t reactor;     // of the caller
    uint64_t incarnation; // random for each start of the process
    uint64_t memory;      // of its acceptor; 0 = it has none yet
    uint32_t shards;
    uint32_t replicas;
    uint32_t lease_ms;       // how long what it grants lasts
    uint64_t roster;         // the version of its roster; 1 = it has only its configuration
    uint64_t identity;       // of the cluster, as that roster says; 0 in version 1
    uint64_t genesis;        // identity of the snapshot that the cluster began with; 0 = empty
    struct mf_bytes members; // "1,2,3": the ids in its cluster.nodes, ascending
    struct mf_bytes cluster;
    struct mf_bytes peer; // addresses for others, empty = off
    struct mf_bytes rpc;
    struct mf_bytes resp;
    struct mf_bytes resp_cluster;
    struct mf_bytes http;
};

// How far the sender is with the formation of the cluster (consensus/formation.h).
struct mf_peer_state {
    uint8_t state;     // enum mf_formation_state
    uint64_t memory;   // of its acceptor; 0 = it has none yet
    uint64_t question; // its own, to be answered
    uint64_t answer;   // the receiver's last question that it knows; 0 = none
};
void mf_peer_put_state(struct mf_buf *out, const struct mf_peer_state *state);
// MF_CORRUPT for anything but these fields.
MF_MUST_USE enum mf_err mf_peer_get_state(struct mf_bytes bytes, struct mf_peer_state *state);

// The listener's first message: u32 length, magic, protocol, nonce.
void mf_peer_put_challenge(struct mf_buf *out, const uint8_t nonce[MF_PEER_NONCE_BYTES]);
MF_MUST_USE enum mf_err mf_peer_get_challenge(struct mf_bytes body,
                                              uint8_t nonce[MF_PEER_NONCE_BYTES]);
// Hello and welcome have one form: u32 length, the fields, own nonce, proof. The proof is
// HMAC-SHA256(secret, role | other's nonce | own nonce | fields).
enum mf_peer_role { MF_PEER_CALLER = 1, MF_PEER_LISTENER = 2 };
void mf_peer_put_hello(struct mf_buf *out, const struct mf_peer_hello *hello,
                       enum mf_peer_role role, struct mf_bytes secret,
                       const uint8_t other_nonce[MF_PEER_NONCE_BYTES],
                       const uint8_t own_nonce[MF_PEER_NONCE_BYTES]);
// MF_UNAUTHORIZED when the proof does not hold. nonce_out: the sender's nonce.
MF_MUST_USE enum mf_err mf_peer_get_hello(struct mf_bytes body, struct mf_peer_hello *hello,
                                          enum mf_peer_role role, struct mf_bytes secret,
                                          const uint8_t own_nonce[MF_PEER_NONCE_BYTES],
                                          uint8_t nonce_out[MF_PEER_NONCE_BYTES]);
// Finds one length-prefixed handshake message: as mf_peer_frame_split.
MF_MUST_USE enum mf_err mf_peer_hello_split(struct mf_bytes input, size_t *size,
                                            struct mf_bytes *body);

#endif
