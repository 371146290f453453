// Answers to ops that other nodes have forwarded.
//
// Clients of other nodes may ask for far more than they read. What they are sent shares the link
// with heartbeats, Paxos and the answers to everybody else there, so a large answer goes onto it
// only when little is unsent, and small ones pass.
#include "server/links_internal.h"

// A larger result is bulk.
#define BULK_REPLY_BYTES (16u << 10)
// The results that wait in a link's bulk queue; one larger one may be alone. What comes on top is
// refused: its asker has more under way than the link can carry.
#define BULK_QUEUE_BYTES_MAX (256u << 20)
// Answers that wait for a link to its asker.
#define WAITING_BYTES_MAX (1u << 20)

static void put_reply(struct mf_buf *to, const struct mf_op *op, enum mf_err status)
{
    mf_buf_u64(to, op->from_id);
    mf_buf_u16(to, (uint16_t)status);
    mf_buf_u16(to, op->leader);
    if (status == MF_OK)
        mf_buf_put(to, op->result.data, op->result.len);
}

static void send_now(struct mf_link *link, struct mf_op *op, enum mf_err status)
{
    struct mf_buf *frame = mf_links_open_frame(link);
    size_t begun = mf_peer_item_begin(frame, MF_PEER_REPLY, op->shard);
    put_reply(frame, op, status);
    mf_links_end_item(link, begun);
    mf_op_free(op);
}

// A node that has just started asks over its link to us before our link to it stands. The answers
// wait for it, within a bound; beyond that the asker times out, or asks again.
static void keep(struct mf_link *link, struct mf_op *op)
{
    if (link->waiting_incarnation != op->from_incarnation)
        mf_buf_clear(&link->waiting, 0);
    link->waiting_incarnation = op->from_incarnation;
    if (link->waiting.len + op->result.len < WAITING_BYTES_MAX) {
        size_t begun = mf_peer_item_begin(&link->waiting, MF_PEER_REPLY, op->shard);
        put_reply(&link->waiting, op, op->status);
        mf_peer_item_end(&link->waiting, begun);
    }
    mf_op_free(op);
}

void mf_links_send_kept_replies(struct mf_link *link)
{
    if (link->waiting.len > 0 && link->waiting_incarnation == link->incarnation)
        mf_buf_put(mf_links_open_frame(link), link->waiting.data, link->waiting.len);
    mf_buf_clear(&link->waiting, 0);
}

void mf_links_send_bulk_replies(struct mf_link *link)
{
    while (link->bulk_replies.head != NULL &&
           mf_links_unsent_bytes(link) < MF_LINKS_BULK_UNSENT_BYTES_MAX) {
        struct mf_op *op = mf_op_pop(&link->bulk_replies);
        link->bulk_replies_bytes -= op->result.len;
        send_now(link, op, op->status);
    }
}

void mf_links_drop_bulk_replies(struct mf_link *link)
{
    struct mf_op *op;
    while ((op = mf_op_pop(&link->bulk_replies)) != NULL)
        mf_op_free(op);
    link->bulk_replies_bytes = 0;
}

// A frame that is too large would cost the asker its link to us, with all that is on it. What the
// frame holds already is at most MF_LINKS_FRAME_BYTES.
static bool fits_a_frame(const struct mf_links *links, const struct mf_op *op)
{
    return op->result.len <=
           mf_links_frame_bytes_max(links->reactor->node) - 2 * (size_t)MF_LINKS_FRAME_BYTES;
}

static bool fits_the_queue(const struct mf_link *link, const struct mf_op *op)
{
    return link->bulk_replies.count == 0 ||
           link->bulk_replies_bytes + op->result.len <= BULK_QUEUE_BYTES_MAX;
}

void mf_links_send_reply(struct mf_links *links, struct mf_op *op)
{
    const struct mf_node *node = links->reactor->node;
    int member = mf_node_member_ever(node, op->from_node);
    // An asker that has restarted has forgotten what it asked.
    if (member < 0 || op->from_incarnation != atomic_load(&node->members[member].incarnation)) {
        mf_op_free(op);
        return;
    }
    struct mf_link *link = &links->out[member];
    if (link->state != LINK_READY || link->incarnation != op->from_incarnation) {
        keep(link, op); // the link still leads to the process before it, or nowhere
        return;
    }
    if (op->status != MF_OK || op->result.len <= BULK_REPLY_BYTES) {
        send_now(link, op, op->status);
    } else if (!fits_a_frame(links, op)) {
        send_now(link, op, op->write ? MF_TIMEOUT : MF_TOO_LARGE); // a write had its effect
    } else if (!fits_the_queue(link, op)) {
        send_now(link, op, op->write ? MF_TIMEOUT : MF_BUSY);
    } else {
        link->bulk_replies_bytes += op->result.len;
        mf_op_push(&link->bulk_replies, op);
    }
}
