// Any bytes as what one node sends another: greetings, frames, items, and what items carry.
//
// Links check a frame's form and hand its items on, so every layer is reached from the same input:
// as the bytes of a connection, as the body of a frame that is sealed rightly, and as the Paxos
// message, command, result, batch part of a checkpoint's stream or word about a
// watch in an item. There is one form
// for each of these: what is read must be written back byte by byte. A batch is applied too,
// because replicas apply what was chosen wherever it came from; whatever it does, the state must
// hold together afterwards.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/command.h"
#include "base/result.h"
#include "consensus/paxos_msg.h"
#include "rpc/peer_frame.h"
#include "rpc/peer_snapshot.h"
#include "rpc/peer_watch.h"
#include "shards/batch.h"
#include "shards/shard.h"

#define FRAME_BYTES_MAX 65536
#define SHARDS 64
#define MADE_BYTES_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Not assert: it must hold in every build.
static void must(bool holds)
{
    if (!holds)
        abort();
}

// What was written is what had been read.
static void must_be(struct mf_buf *written, struct mf_bytes input, const struct mf_reader *rest)
{
    size_t used = input.len - mf_reader_left(rest);
    must(mf_bytes_equal(mf_buf_view(written), mf_bytes_of(input.data, used)));
    mf_buf_free(written);
}

static void read_paxos(struct mf_bytes input)
{
    struct mf_reader reader = mf_reader_of(input);
    struct mf_buf again = {0};
    struct mf_paxos_msg msg;
    if (mf_paxos_msg_decode(&reader, &msg) != MF_OK)
        return;
    must(mf_paxos_type_name(msg.type)[0] != '?');
    mf_paxos_msg_encode(&msg, &again);
    must_be(&again, input, &reader);
    mf_paxos_msg_free(&msg);
}

static void read_command(struct mf_bytes input)
{
    struct mf_reader reader = mf_reader_of(input);
    struct mf_buf again = {0};
    struct mf_item *items = NULL;
    uint32_t items_cap = 0;
    struct mf_command command;
    if (mf_command_decode(&reader, &command, &items, &items_cap) == MF_OK) {
        mf_command_encode(&command, &again);
        must(again.len == mf_command_size(&command));
        must_be(&again, input, &reader);
    }
    free(items);
}

static void read_result(struct mf_bytes input)
{
    struct mf_reader reader = mf_reader_of(input);
    struct mf_buf again = {0};
    struct mf_result result;
    if (mf_result_decode(&reader, &result) != MF_OK)
        return;
    mf_result_encode(&result, &again);
    must_be(&again, input, &reader);
}

static void read_stream(struct mf_bytes input)
{
    struct mf_reader end = mf_reader_of(mf_bytes_of(NULL, 0)); // all of the input is read
    struct mf_buf again = {0};
    struct mf_peer_offer offer;
    if (mf_peer_get_offer(input, &offer) == MF_OK) {
        mf_peer_put_offer(&again, &offer);
        must_be(&again, input, &end);
    }
    again = (struct mf_buf){0};
    struct mf_peer_chunk chunk;
    if (mf_peer_get_chunk(input, &chunk) == MF_OK) {
        must(chunk.offset + chunk.bytes.len > chunk.offset);
        mf_peer_put_chunk(&again, &chunk);
        must_be(&again, input, &end);
    }
    again = (struct mf_buf){0};
    struct mf_peer_ack ack;
    if (mf_peer_get_ack(input, &ack) == MF_OK) {
        mf_peer_put_ack(&again, &ack);
        must_be(&again, input, &end);
    }
}

static void read_watch(struct mf_bytes input)
{
    struct mf_reader end = mf_reader_of(mf_bytes_of(NULL, 0)); // all of the input is read
    struct mf_buf again = {0};
    struct mf_peer_watch_order order;
    if (mf_peer_get_watch_order(input, SHARDS, &order) == MF_OK) {
        mf_peer_put_watch_order(&again, &order);
        must_be(&again, input, &end);
    }
    again = (struct mf_buf){0};
    struct mf_peer_watch_alive alive;
    if (mf_peer_get_watch_alive(input, &alive) == MF_OK) {
        mf_peer_put_watch_alive(&again, &alive);
        must_be(&again, input, &end);
    }
    again = (struct mf_buf){0};
    struct mf_peer_watch_news news;
    if (mf_peer_get_watch_news(input, SHARDS, &news) == MF_OK) {
        mf_peer_put_watch_news(&again, &news);
        must_be(&again, input, &end);
    }
    again = (struct mf_buf){0};
    struct mf_peer_watch_gone gone;
    if (mf_peer_get_watch_gone(input, &gone) == MF_OK) {
        mf_peer_put_watch_gone(&again, &gone);
        must_be(&again, input, &end);
    }
}

// Two entries: the second meets what the first has left.
static void apply(struct mf_bytes input)
{
    struct mf_shard *shard = mf_shard_new(0, 1);
    enum mf_err err = mf_shard_apply(shard, 1, 1000, input, NULL, NULL);
    if (err == MF_OK)
        err = mf_shard_apply(shard, 2, 2000000, input, NULL, NULL);
    must(err == MF_OK || err == MF_CORRUPT);
    must(mf_shard_valid(shard));
    mf_shard_free(shard);
}

// Commands that a node takes from another can be applied: a log that holds one that cannot be would
// stop every replica of its shard.
static void apply_alone(struct mf_bytes input)
{
    struct mf_reader reader = mf_reader_of(input);
    struct mf_item *items = NULL;
    uint32_t items_cap = 0;
    struct mf_command command;
    bool whole = mf_command_decode(&reader, &command, &items, &items_cap) == MF_OK;
    if (whole && mf_op_is_write(command.op)) {
        struct mf_buf batch = {0};
        (void)mf_command_settle(&command, 0); // as the leader does
        if (command.limit > MADE_BYTES_MAX)
            command.limit = MADE_BYTES_MAX; // a few bytes may fill a value with zeros up to it
        mf_batch_begin(&batch, 1);
        mf_batch_add(&batch, &command);
        struct mf_shard *shard = mf_shard_new(0, 1);
        must(mf_shard_apply(shard, 1, 1000, mf_buf_view(&batch), NULL, NULL) == MF_OK);
        mf_shard_free(shard);
        mf_buf_free(&batch);
    }
    free(items);
}

// The head is written back byte by byte, too.
static void read_head(struct mf_bytes body, const struct mf_peer_head *head)
{
    struct mf_buf again = {0};
    struct mf_bytes written;
    size_t size = 0;
    mf_peer_frame_begin(&again);
    mf_peer_frame_end(&again, head);
    must(mf_peer_frame_split(mf_buf_view(&again), FRAME_BYTES_MAX, &size, &written) == MF_OK);
    must(mf_bytes_equal(written, mf_bytes_of(body.data, written.len)));
    mf_buf_free(&again);
}

static void read_items(struct mf_bytes body)
{
    struct mf_peer_reader reader;
    struct mf_peer_item item;
    enum mf_err err = mf_peer_body_open(&reader, body);
    if (err == MF_OK)
        read_head(body, &reader.head);
    while (err == MF_OK && (err = mf_peer_item_next(&reader, &item)) == MF_OK) {
        must(item.bytes.len <= body.len);
        read_paxos(item.bytes);
        read_command(item.bytes);
        read_result(item.bytes);
        read_stream(item.bytes);
        read_watch(item.bytes);
    }
    must(err == MF_NOT_FOUND || err == MF_CORRUPT);
}

static void read_frame(struct mf_bytes input)
{
    struct mf_buf frame = {0};
    struct mf_bytes body;
    size_t size = 0;
    mf_peer_frame_begin(&frame);
    mf_buf_put(&frame, input.data, input.len);
    mf_peer_frame_end(&frame, &(struct mf_peer_head){.mono_us = 1});
    must(mf_peer_frame_split(mf_buf_view(&frame), FRAME_BYTES_MAX, &size, &body) == MF_OK);
    must(size == frame.len);
    read_items(body);
    read_items(input);
    mf_buf_free(&frame);
    if (mf_peer_frame_split(input, FRAME_BYTES_MAX, &size, &body) == MF_OK)
        must(size <= input.len);
}

static void read_greeting(struct mf_bytes input)
{
    uint8_t nonce[MF_PEER_NONCE_BYTES] = {0};
    uint8_t theirs[MF_PEER_NONCE_BYTES];
    struct mf_bytes secret = mf_bytes_str("nobody knows");
    struct mf_peer_hello hello;
    struct mf_bytes body;
    size_t size = 0;
    if (mf_peer_hello_split(input, &size, &body) == MF_OK)
        must(size <= input.len && body.len == size - 4);
    (void)!mf_peer_get_challenge(input, theirs);
    must(mf_peer_get_hello(input, &hello, MF_PEER_CALLER, secret, nonce, theirs) != MF_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mf_bytes input = mf_bytes_of(data, size < FRAME_BYTES_MAX / 2 ? size : 0);
    read_greeting(input);
    read_frame(input);
    read_paxos(input);
    read_command(input);
    read_result(input);
    read_stream(input);
    read_watch(input);
    apply(input);
    apply_alone(input);
    return 0;
}
