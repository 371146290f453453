// The binary form of commands; see command.h for what its fields mean.
//
//     u8 op | u16 flags | u8 expiry | u8 id length, id
//     i64 expire_us    unless expiry is NONE
//     u64 if_version   with MF_IF_VERSION
//     u32 limit        with MF_HAS_LIMIT
//     u64 number       with MF_HAS_NUMBER
//     i64 last         with MF_HAS_LAST
//     u32 item count   of commands of many keys
//     for each item: u32 length, key; with values also u32 length, value
//     u32 length, body with MF_HAS_BODY, MF_IF_EQUAL or MF_IF_OTHER
//
// The table of commands says of each op which of these it has. There is one form for each command,
// so the decoder refuses whatever the encoder would not have written.
#include "base/command.h"

#include <assert.h>
#include <stddef.h>

#include "base/command_table.h"
#include "base/glob.h"
#include "base/txn.h"

#define ALL_FLAGS                                                                                  \
    ((uint32_t)(MF_NX | MF_XX | MF_GT | MF_LT | MF_KEEP_TTL | MF_WITH_OLD | MF_WITH_META |         \
                MF_IF_VERSION | MF_READ_LOCAL | MF_UNDO | MF_NO_TTL | MF_GO_ON | MF_META_ONLY |    \
                MF_IF_EQUAL | MF_IF_OTHER))

// How many; the first three as numbers.
enum keys { KEYS_NONE, KEYS_ONE, KEYS_TWO, KEYS_MANY };

// What a row of the table comes to in bytes.
struct shape {
    enum keys keys;
    bool values;
    bool limit;
    bool number;
    bool last;
    bool body;
};

static struct shape shape_of(const struct mf_command_row *row)
{
    struct shape shape = {
        .keys = row->params[0] == MF_PARAM_KEY ? KEYS_ONE : KEYS_NONE,
        .values = row->params[1] == MF_PARAM_VALUE || row->params[0] == MF_PARAM_PAIRS,
        .limit = (row->traits & MF_HAS_LIMIT) != 0,
        .number = (row->traits & MF_HAS_NUMBER) != 0,
        .last = (row->traits & MF_HAS_LAST) != 0,
        .body = (row->traits & MF_HAS_BODY) != 0,
    };
    if (row->params[0] == MF_PARAM_BOTH)
        shape.keys = KEYS_TWO;
    if (mf_command_splits(row))
        shape.keys = KEYS_MANY;
    return shape;
}

static bool has_body(const struct mf_command *command, struct shape shape)
{
    return shape.body || (command->flags & (MF_IF_EQUAL | MF_IF_OTHER)) != 0;
}

bool mf_op_is_write(enum mf_opcode op)
{
    const struct mf_command_row *row = mf_command_row(op);
    return row != NULL && (row->traits & MF_WRITES) != 0;
}

bool mf_op_grows(enum mf_opcode op)
{
    const struct mf_command_row *row = mf_command_row(op);
    return row != NULL && (row->traits & MF_GROWS) != 0;
}

bool mf_command_settle(struct mf_command *command, int64_t unix_us)
{
    bool asks = command->op == MF_OP_DEADLINE && command->expiry == MF_EXPIRY_NONE;
    if (command->expiry != MF_EXPIRY_AT && !asks)
        return false;
    command->expiry = MF_EXPIRY_IN;
    command->expire_us = asks ? -unix_us : command->expire_us - unix_us;
    return true;
}

const char *mf_op_name(enum mf_opcode op)
{
    const struct mf_command_row *row = mf_command_row(op);
    return row != NULL ? row->name : "?";
}

// A command that its own process built: what does not fit the table is a bug, not input.
static struct shape checked_shape(const struct mf_command *command)
{
    const struct mf_command_row *row = mf_command_row(command->op);
    assert(row != NULL);
    struct shape shape = shape_of(row);
    assert((command->flags & ~ALL_FLAGS) == 0 && command->id.len <= MF_ID_MAX);
    assert(shape.keys == KEYS_MANY || command->item_count == (uint32_t)shape.keys);
    return shape;
}

void mf_command_encode(const struct mf_command *command, struct mf_buf *out)
{
    struct shape shape = checked_shape(command);
    mf_buf_u8(out, (uint8_t)command->op);
    mf_buf_u16(out, (uint16_t)command->flags);
    mf_buf_u8(out, (uint8_t)command->expiry);
    mf_buf_u8(out, (uint8_t)command->id.len);
    mf_buf_put(out, command->id.data, command->id.len);
    if (command->expiry != MF_EXPIRY_NONE)
        mf_buf_u64(out, (uint64_t)command->expire_us);
    if ((command->flags & MF_IF_VERSION) != 0)
        mf_buf_u64(out, command->if_version);
    if (shape.limit)
        mf_buf_u32(out, command->limit);
    if (shape.number)
        mf_buf_u64(out, command->number);
    if (shape.last)
        mf_buf_u64(out, (uint64_t)command->last);
    if (shape.keys == KEYS_MANY)
        mf_buf_u32(out, command->item_count);
    for (uint32_t i = 0; i < command->item_count; i++) {
        mf_buf_blob(out, command->items[i].key);
        if (shape.values)
            mf_buf_blob(out, command->items[i].value);
    }
    if (has_body(command, shape))
        mf_buf_blob(out, command->body);
}

size_t mf_command_size(const struct mf_command *command)
{
    struct shape shape = checked_shape(command);
    size_t size = 5 + command->id.len;
    size += command->expiry != MF_EXPIRY_NONE ? 8 : 0;
    size += (command->flags & MF_IF_VERSION) != 0 ? 8 : 0;
    size += shape.limit ? 4 : 0;
    size += shape.number ? 8 : 0;
    size += shape.last ? 8 : 0;
    size += has_body(command, shape) ? 4 + command->body.len : 0;
    size += shape.keys == KEYS_MANY ? 4 : 0;
    for (uint32_t i = 0; i < command->item_count; i++) {
        size += 4 + command->items[i].key.len;
        size += shape.values ? 4 + command->items[i].value.len : 0;
    }
    return size;
}

// Makes room for the items that the command claims to have. The claim is believed only as far as
// the input could hold that many, so a few bytes cannot ask for gigabytes.
static enum mf_err place_items(struct mf_reader *r, const struct shape *shape,
                               struct mf_command *command, struct mf_item **items,
                               uint32_t *items_cap)
{
    size_t item_bytes_min = shape->values ? 8 : 4;
    if (command->item_count > mf_reader_left(r) / item_bytes_min)
        return MF_CORRUPT;
    if (command->item_count <= 1) {
        command->items = &command->one;
        return MF_OK;
    }
    if (command->item_count > *items_cap) {
        *items = mf_realloc(*items, command->item_count * sizeof(**items));
        *items_cap = command->item_count;
    }
    command->items = *items;
    return MF_OK;
}

// A log entry whose expiry means nothing, or a roster that does not say which it follows, could not
// be applied by any replica, ever; so none is taken from another node. Unix time is never negative:
// what lies before 1970 is written as 0.
static bool head_fits(const struct mf_command *command)
{
    if (command->expiry == MF_EXPIRY_AT && command->expire_us < 0)
        return false;
    if (command->expiry == MF_EXPIRY_AT && command->op == MF_OP_DEADLINE)
        return false;
    if (command->op == MF_OP_ROSTER && (command->flags & MF_IF_VERSION) == 0)
        return false;
    return command->op != MF_OP_EXPIRE || command->expiry != MF_EXPIRY_NONE;
}

// Nor one whose txn could not be carried out to its end.
static bool body_fits(const struct mf_command *command)
{
    if (command->op == MF_OP_SCAN)
        return command->body.len <= MF_GLOB_BYTES_MAX;
    if (command->op != MF_OP_TXN && command->op != MF_OP_TXN_READ)
        return true;
    return mf_txn_valid(command->body, command->op == MF_OP_TXN_READ);
}

static enum mf_err decode_head(struct mf_reader *r, struct mf_command *command, struct shape *shape)
{
    unsigned op = mf_read_u8(r);
    command->flags = mf_read_u16(r);
    unsigned expiry = mf_read_u8(r);
    size_t id_len = mf_read_u8(r);
    const struct mf_command_row *row = mf_command_row(op);
    if (r->failed || row == NULL || (command->flags & ~ALL_FLAGS) != 0 || expiry > MF_EXPIRY_AT ||
        id_len > MF_ID_MAX)
        return MF_CORRUPT;
    *shape = shape_of(row);
    command->op = (enum mf_opcode)op;
    command->expiry = (enum mf_expiry)expiry;
    command->id = mf_read_bytes(r, id_len);
    if (command->expiry != MF_EXPIRY_NONE)
        command->expire_us = (int64_t)mf_read_u64(r);
    if ((command->flags & MF_IF_VERSION) != 0)
        command->if_version = mf_read_u64(r);
    if (shape->limit)
        command->limit = mf_read_u32(r);
    if (shape->number)
        command->number = mf_read_u64(r);
    if (shape->last)
        command->last = (int64_t)mf_read_u64(r);
    command->item_count = shape->keys == KEYS_MANY ? mf_read_u32(r) : (uint32_t)shape->keys;
    return r->failed || !head_fits(command) ? MF_CORRUPT : MF_OK;
}

enum mf_err mf_command_decode(struct mf_reader *r, struct mf_command *command,
                              struct mf_item **items, uint32_t *items_cap)
{
    *command = (struct mf_command){0};
    struct shape shape;
    enum mf_err err = decode_head(r, command, &shape);
    if (err == MF_OK)
        err = place_items(r, &shape, command, items, items_cap);
    if (err != MF_OK)
        return err;
    for (uint32_t i = 0; i < command->item_count; i++) {
        command->items[i].key = mf_read_blob(r);
        command->items[i].value = shape.values ? mf_read_blob(r) : mf_bytes_of(NULL, 0);
    }
    if (has_body(command, shape))
        command->body = mf_read_blob(r);
    return r->failed || !body_fits(command) ? MF_CORRUPT : MF_OK;
}
