// Ops and lists of them; see op.h.
#include "server/op.h"

#include <stdlib.h>

#include "shards/entry.h"

// What an op that is emptied keeps of its buffers.
#define COMMAND_KEEP_BYTES 512u
#define RESULT_KEEP_BYTES 512u

bool mf_command_is_plain(const struct mf_command *command, uint32_t *value_bytes)
{
    size_t longest = 0;
    switch (command->op) {
    case MF_OP_SET:
    case MF_OP_MSET:
        for (uint32_t i = 0; i < command->item_count; i++) {
            size_t len = command->items[i].value.len;
            longest = len > longest ? len : longest;
        }
        *value_bytes = (uint32_t)longest;
        return longest <= MF_ENTRY_APART_BYTES && (command->flags & MF_WITH_OLD) == 0 &&
               command->expiry != MF_EXPIRY_AT;
    case MF_OP_DEL:
    case MF_OP_INCR:
    case MF_OP_INCRFLOAT:
    case MF_OP_EXPIRE:
    case MF_OP_PERSIST:
        return command->expiry != MF_EXPIRY_AT;
    default:
        return false;
    }
}

static void describe(struct mf_op *op, uint32_t shard, const struct mf_command *command)
{
    op->shard = shard;
    op->opcode = command->op;
    if (command->op == MF_OP_TRANSFER || command->op == MF_OP_DRAIN)
        op->node = (uint16_t)command->limit;
    op->undo = (command->flags & MF_UNDO) != 0;
    op->write = mf_op_is_write(command->op);
    op->local = !op->write && (command->flags & MF_READ_LOCAL) != 0;
    op->has_id = command->id.len > 0;
    op->plain = mf_command_is_plain(command, &op->value_bytes);
}

void mf_op_make(struct mf_op *op, uint32_t shard, const struct mf_command *command)
{
    *op = (struct mf_op){.command = op->command, .result = op->result};
    describe(op, shard, command);
    mf_command_encode(command, &op->command);
}

void mf_op_empty(struct mf_op *op)
{
    mf_buf_clear(&op->command, COMMAND_KEEP_BYTES);
    mf_buf_clear(&op->result, RESULT_KEEP_BYTES);
}

struct mf_op *mf_op_new(uint32_t shard, const struct mf_command *command)
{
    struct mf_op *op = mf_calloc(1, sizeof(*op));
    mf_op_make(op, shard, command);
    return op;
}

enum mf_err mf_op_from_bytes(uint32_t shard, struct mf_bytes encoded, struct mf_op **out)
{
    struct mf_command command;
    struct mf_item *items = NULL;
    uint32_t items_cap = 0;
    struct mf_reader reader = mf_reader_of(encoded);
    enum mf_err err = mf_command_decode(&reader, &command, &items, &items_cap);
    if (err == MF_OK && mf_reader_left(&reader) > 0)
        err = MF_CORRUPT;
    if (err == MF_OK) {
        *out = mf_calloc(1, sizeof(**out));
        describe(*out, shard, &command);
        mf_buf_put(&(*out)->command, encoded.data, encoded.len);
    }
    free(items);
    return err;
}

void mf_op_free(struct mf_op *op)
{
    if (op == NULL)
        return;
    mf_buf_free(&op->command);
    mf_buf_free(&op->result);
    free(op);
}

void mf_op_push(struct mf_op_list *list, struct mf_op *op)
{
    op->next = NULL;
    if (list->tail != NULL)
        list->tail->next = op;
    else
        list->head = op;
    list->tail = op;
    list->count++;
}

struct mf_op *mf_op_pop(struct mf_op_list *list)
{
    struct mf_op *op = list->head;
    if (op == NULL)
        return NULL;
    list->head = op->next;
    if (list->head == NULL)
        list->tail = NULL;
    list->count--;
    op->next = NULL;
    return op;
}

void mf_op_append(struct mf_op_list *to, struct mf_op_list *from)
{
    if (from->head == NULL)
        return;
    if (to->tail != NULL)
        to->tail->next = from->head;
    else
        to->head = from->head;
    to->tail = from->tail;
    to->count += from->count;
    *from = (struct mf_op_list){0};
}
