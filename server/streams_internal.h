// What the files of the streams share. Not for anybody else.
#ifndef MF_SERVER_STREAMS_INTERNAL_H
#define MF_SERVER_STREAMS_INTERNAL_H

#include "server/stream.h"
#include "server/streams.h"

struct mf_stream_sender;
struct mf_stream_receiver;

struct mf_streams {
    struct mf_reactor *reactor;
    struct mf_stream_sender *first;        // those that have waited longest for their link first
    struct mf_stream_receiver **receivers; // by the shard's place in the reactor; NULL: none yet
    uint32_t taking;                       // receivers with a file under way
};

// streams.c, on the shard's reactor
void mf_streams_put_ack(struct mf_streams *streams, uint16_t to, uint32_t shard,
                        const struct mf_peer_ack *ack);
void mf_stream_sender_ack(struct mf_streams *streams, uint16_t from, uint32_t shard,
                          const struct mf_peer_ack *ack);

// streams_in.c, on the shard's reactor
void mf_stream_receiver_offer(struct mf_owned_shard *shard, uint16_t from,
                              const struct mf_peer_offer *offer);
// Takes over the chunk's bytes, which are in `bytes`.
void mf_stream_receiver_chunk(struct mf_owned_shard *shard, uint16_t from,
                              const struct mf_peer_chunk *chunk, struct mf_buf *bytes);
void mf_stream_receiver_drop(struct mf_owned_shard *shard);
void mf_stream_receivers_tick(struct mf_streams *streams, uint64_t now_us);
void mf_stream_receivers_free(struct mf_streams *streams);

#endif
