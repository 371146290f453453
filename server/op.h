// One command on its way to one shard: what the router, the replica and the peer links pass around.
//
// One holds it at a time; each hand-over moves it whole. It is made by the reactor that took the
// request, may visit the shard's reactor and another node, and comes back with its outcome. Whoever
// made it frees it: the request that it belongs to, or, for another node's, the link that answers.
#ifndef MF_SERVER_OP_H
#define MF_SERVER_OP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/command.h"
#include "base/err.h"
#include "server/task.h"

struct mf_op {
    struct mf_op *next; // for the list it is in
    uint32_t shard;
    enum mf_opcode opcode; // of the command
    uint16_t node;         // TRANSFER, DRAIN: which node is meant
    bool undo;             // DRAIN: it may lead again
    bool write;            // mf_op_is_write of the command
    bool local;            // a read of this replica's state as it is
    bool here;             // only where it was asked: never passed on to another node
    bool has_id;           // safe to send twice
    bool plain;            // a write that needs no look at it before it is proposed
    uint32_t value_bytes;  // plain: the longest value that it sets, MF_ENTRY_APART_BYTES at most
    bool proposed;         // a log entry carries it: the outcome is open until that slot is applied
    bool wants_log_time;   // read: waits until an entry with log time >= read_at_us is applied
    uint64_t deadline_us;  // monotonic: an answer is due by then
    uint64_t ticket;       // read: its quorum round
    uint64_t read_at_us;   // read: log time at which it is answered
    uint64_t read_wall_us; // read: the wall clock then
    struct mf_buf command; // mf_command_encode
    // The outcome. MF_OK: `result` is an encoded mf_result. MF_NOT_LEADER: had no effect and will
    // have none; try `leader` (0 = unknown). MF_NO_QUORUM, MF_TIMEOUT, ...: as clients see them.
    enum mf_err status;
    uint16_t leader;
    struct mf_buf result;
    // The way back: a request of the reactor `home` on this node, or of node `from_node`.
    uint16_t home;
    uint16_t from_node;        // 0 = this node
    uint64_t from_incarnation; // the process there that asks: no other may get the answer
    uint64_t from_id;          // what that process calls it
    uint8_t hops;              // times it was sent on since it last waited
    bool asks;                 // a write on its way to who may not lead: others wait behind it
    bool uncertain;            // another node had it, and may have carried it out
    struct mf_task task;       // for crossing to another reactor
    void *owner;               // of whoever made it
};

// Copies the command's binary form. The deadline, owner and result are the caller's to fill.
struct mf_op *mf_op_new(uint32_t shard, const struct mf_command *command);
// The same in memory that is an emptied op, or all zero: the buffers are used again.
void mf_op_make(struct mf_op *op, uint32_t shard, const struct mf_command *command);
void mf_op_empty(struct mf_op *op);
// The same from bytes of a peer: MF_CORRUPT when they are not one whole command.
MF_MUST_USE enum mf_err mf_op_from_bytes(uint32_t shard, struct mf_bytes encoded,
                                         struct mf_op **out);
void mf_op_free(struct mf_op *op);

// A write that has no times to settle, copies no value and sets no long one: of those that it sets,
// the longest has *value_bytes.
bool mf_command_is_plain(const struct mf_command *command, uint32_t *value_bytes);

// A first-in first-out list of ops. All zero is empty.
struct mf_op_list {
    struct mf_op *head;
    struct mf_op *tail;
    uint32_t count;
};
void mf_op_push(struct mf_op_list *list, struct mf_op *op);
struct mf_op *mf_op_pop(struct mf_op_list *list); // NULL when empty
// Moves everything from `from` to the end of `to`.
void mf_op_append(struct mf_op_list *to, struct mf_op_list *from);

#endif
