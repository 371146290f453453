// What peers say to each other while one streams a checkpoint of a shard to the other.
//
//   offer  u64 number, u64 incarnation, u64 slot, u64 log time, u64 bytes, u64 identity
//   chunk  u64 number, u64 identity, u64 offset, bytes
//   ack    u64 number, u64 identity, u64 offset, u8 verdict
//
// Each is the content of one item of a frame (peer_frame.h), whose shard is the stream's. The
// number is the sender's, a new one with every offer; an ack brings back the number of what it
// answers, so that one which was long on its way is known as such.
#ifndef MF_RPC_PEER_SNAPSHOT_H
#define MF_RPC_PEER_SNAPSHOT_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

// No chunk is larger, and none is empty.
#define MF_PEER_CHUNK_BYTES_MAX (256u << 10)

// A checkpoint: the state of a shard after a slot, in a file.
struct mf_peer_checkpoint {
    uint64_t slot;
    uint64_t log_time_us;
    uint64_t bytes;    // of the file
    uint64_t identity; // struct mf_snapshot_summary's: files with equal ones have equal content
};

struct mf_peer_offer {
    uint64_t number;      // never 0
    uint64_t incarnation; // of the acceptor that it is for
    struct mf_peer_checkpoint file;
};

struct mf_peer_chunk {
    uint64_t number;
    uint64_t identity;
    uint64_t offset;
    struct mf_bytes bytes; // a view
};

enum mf_peer_verdict {
    MF_PEER_WANTS = 1,   // the file from `offset` on; at its end: it is being checked
    MF_PEER_HAS = 2,     // the state at its slot, or a later one
    MF_PEER_ANEW = 3,    // knows nothing of it: it has to be offered
    MF_PEER_BUSY = 4,    // takes another stream of this shard just now
    MF_PEER_DAMAGED = 5, // what came was not the file: it is forgotten, and may be offered again
    MF_PEER_REFUSES = 6, // it is of no use here
};

struct mf_peer_ack {
    uint64_t number;
    uint64_t identity;
    uint64_t offset; // 0 but for MF_PEER_WANTS
    enum mf_peer_verdict verdict;
};

void mf_peer_put_offer(struct mf_buf *out, const struct mf_peer_offer *offer);
void mf_peer_put_chunk(struct mf_buf *out, const struct mf_peer_chunk *chunk);
void mf_peer_put_ack(struct mf_buf *out, const struct mf_peer_ack *ack);

// The whole content of an item. MF_CORRUPT for anything that put would not have written, and for a
// number, a slot or a size of 0, an empty or too large chunk, one that goes past 2^63 bytes.
MF_MUST_USE enum mf_err mf_peer_get_offer(struct mf_bytes bytes, struct mf_peer_offer *offer);
MF_MUST_USE enum mf_err mf_peer_get_chunk(struct mf_bytes bytes, struct mf_peer_chunk *chunk);
MF_MUST_USE enum mf_err mf_peer_get_ack(struct mf_bytes bytes, struct mf_peer_ack *ack);

#endif
