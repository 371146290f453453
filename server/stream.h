// The two ends of a stream that brings a shard's checkpoint to another node, as state machines.
//
// The sending end offers a checkpoint and sends it in chunks, in order, with at most
// MF_STREAM_WINDOW_BYTES on the way. The receiving end takes only the chunk that comes next, says
// after each how far it is, and checks the whole file at the end. Whatever is lost, doubled,
// reordered or said by a process that is gone costs an offer: after MF_STREAM_RESEND_US without an
// answer the sender offers again under a new number, and goes on where the receiver says it is. As
// long as the receiver lives it keeps what it has of a file, by the file's identity, so a stream
// goes on after a lost link and after a restart of the sender, and begins anew after a restart of
// the receiver. An answer to an older number than the last is not listened to.
//
// Pure: time is an argument, files and links are the caller's. Each end has one thread.
#ifndef MF_SERVER_STREAM_H
#define MF_SERVER_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rpc/peer_snapshot.h"

#define MF_STREAM_CHUNK_BYTES (128u << 10)
#define MF_STREAM_WINDOW_BYTES (1u << 20)
#define MF_STREAM_RESEND_US UINT64_C(500000)
// A sender that is silent for this long may be replaced by another.
#define MF_STREAM_YIELD_US UINT64_C(2000000)
// An end that hears nothing useful for this long gives the stream up.
#define MF_STREAM_IDLE_US UINT64_C(30000000)
// So often the same file may arrive damaged before the sender takes it for damaged itself.
#define MF_STREAM_DAMAGED_MAX 3u

enum mf_stream_state {
    MF_STREAM_OFFERING, // no answer to the last offer yet, or one that asks to wait
    MF_STREAM_SENDING,
    MF_STREAM_DONE,    // the receiver is as far as the checkpoint, or further
    MF_STREAM_SILENT,  // given up: no answer for MF_STREAM_IDLE_US
    MF_STREAM_DAMAGED, // given up: it arrives damaged again and again
    MF_STREAM_REFUSED, // given up: the receiver has no use for it
};

struct mf_stream_out {
    enum mf_stream_state state;
    struct mf_peer_offer offer; // the last one
    uint64_t acked;             // the receiver has it up to here
    uint64_t sent;
    uint64_t offer_us; // when to offer (again)
    uint64_t heard_us; // the last answer that was of use
    uint32_t damaged;
};

// first_number: random, so that no answer to another stream fits.
void mf_stream_out_begin(struct mf_stream_out *out, const struct mf_peer_checkpoint *file,
                         uint64_t incarnation, uint64_t first_number, uint64_t now_us);
// The link to the receiver is new: offers at once.
void mf_stream_out_again(struct mf_stream_out *out, uint64_t now_us);
// True when out->offer is to be sent now, with a new number; or the state is one of the last four.
bool mf_stream_out_tick(struct mf_stream_out *out, uint64_t now_us);
// The chunk that may be sent now: its length, 0 for none.
size_t mf_stream_out_next(const struct mf_stream_out *out, uint64_t *offset);
// That chunk has been sent, if it still is the next one.
void mf_stream_out_sent(struct mf_stream_out *out, uint64_t now_us, uint64_t offset, size_t len);
void mf_stream_out_ack(struct mf_stream_out *out, uint64_t now_us, const struct mf_peer_ack *ack);
static inline bool mf_stream_out_ended(const struct mf_stream_out *out)
{
    return out->state >= MF_STREAM_DONE;
}

enum mf_stream_stage {
    MF_STREAM_NOTHING,
    MF_STREAM_TAKING,
    MF_STREAM_CHECKING, // the file is whole, and the caller checks and installs it
};

struct mf_stream_in {
    enum mf_stream_stage stage;
    uint16_t from; // node
    struct mf_peer_checkpoint file;
    uint64_t number; // of the sender's last message that was of use
    uint64_t taken;  // handed to the caller for writing
    uint64_t written;
    uint64_t heard_us;
    uint64_t attempt; // counts the files begun: what belongs to an earlier one is void
};

// What the caller has to do after an event.
enum mf_stream_task {
    MF_STREAM_NO_TASK,
    MF_STREAM_CREATE, // begin an empty file in place of what there is of another, for this attempt
    MF_STREAM_WRITE,  // the chunk at its offset, then mf_stream_in_written
    MF_STREAM_CHECK,  // the file is whole: check and install it, then mf_stream_in_checked
};

// An offer from a node. incarnation: our acceptor's; applied: how far our replica is. *ack is
// always to be sent.
enum mf_stream_task mf_stream_in_offer(struct mf_stream_in *in, uint64_t now_us, uint16_t from,
                                       uint64_t incarnation, uint64_t applied,
                                       const struct mf_peer_offer *offer, struct mf_peer_ack *ack);
// A chunk. Unless it is to be written, *ack is to be sent, if its number is not 0.
enum mf_stream_task mf_stream_in_chunk(struct mf_stream_in *in, uint64_t now_us, uint16_t from,
                                       const struct mf_peer_chunk *chunk, struct mf_peer_ack *ack);
// The attempt's file has been written up to `offset`; ok: without an error. *ack is to be sent, to
// in->from, if its number is not 0.
enum mf_stream_task mf_stream_in_written(struct mf_stream_in *in, uint64_t attempt, uint64_t offset,
                                         bool ok, struct mf_peer_ack *ack);
// How the check went: MF_PEER_HAS, MF_PEER_DAMAGED or MF_PEER_REFUSES. *ack as above.
void mf_stream_in_checked(struct mf_stream_in *in, uint64_t attempt, enum mf_peer_verdict verdict,
                          struct mf_peer_ack *ack);
// True when the sender has been silent for too long: the stage is MF_STREAM_NOTHING now, and the
// attempt's file is to be removed.
bool mf_stream_in_tick(struct mf_stream_in *in, uint64_t now_us);

#endif
