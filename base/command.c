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
#include <endian.h>
#include <stddef.h>
#include <string.h>

#include "base/command_table.h"
#include "base/glob.h"
#include "base/txn.h"

#define ALL_FLAGS                                                                                  \
    ((uint32_t)(MF_NX | MF_XX | MF_GT | MF_LT | MF_KEEP_TTL | MF_WITH_OLD | MF_WITH_META |         \
                MF_IF_VERSION | MF_READ_LOCAL | MF_UNDO | MF_NO_TTL | MF_GO_ON | MF_META_ONLY |    \
                MF_IF_EQUAL | MF_IF_OTHER))

static bool has_body(const struct mf_command *command, const struct mf_command_row *row)
{
    return (row->traits & MF_HAS_BODY) != 0 || (command->flags & (MF_IF_EQUAL | MF_IF_OTHER)) != 0;
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
static const struct mf_command_row *checked_row(const struct mf_command *command)
{
    const struct mf_command_row *row = mf_command_row(command->op);
    assert(row != NULL);
    assert((command->flags & ~ALL_FLAGS) == 0 && command->id.len <= MF_ID_MAX);
    assert(row->keys == MF_KEYS_MANY || command->item_count == (uint32_t)row->keys);
    return row;
}

// Writers into room that is there; each returns where the next byte goes.

static uint8_t *put_u32(uint8_t *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof(value));
    return at + sizeof(value);
}

static uint8_t *put_u64(uint8_t *at, uint64_t value)
{
    value = htole64(value);
    memcpy(at, &value, sizeof(value));
    return at + sizeof(value);
}

static uint8_t *put_bytes(uint8_t *at, struct mf_bytes bytes)
{
    if (bytes.len > 0)
        memcpy(at, bytes.data, bytes.len);
    return at + bytes.len;
}

static uint8_t *put_blob(uint8_t *at, struct mf_bytes bytes)
{
    assert(bytes.len <= UINT32_MAX);
    return put_bytes(put_u32(at, (uint32_t)bytes.len), bytes);
}

static uint8_t *put_head(uint8_t *at, const struct mf_command *command,
                         const struct mf_command_row *row)
{
    *at++ = (uint8_t)command->op;
    *at++ = (uint8_t)command->flags;
    *at++ = (uint8_t)(command->flags >> 8);
    *at++ = (uint8_t)command->expiry;
    *at++ = (uint8_t)command->id.len;
    at = put_bytes(at, command->id);
    if (command->expiry != MF_EXPIRY_NONE)
        at = put_u64(at, (uint64_t)command->expire_us);
    if ((command->flags & MF_IF_VERSION) != 0)
        at = put_u64(at, command->if_version);
    if ((row->traits & MF_HAS_LIMIT) != 0)
        at = put_u32(at, command->limit);
    if ((row->traits & MF_HAS_NUMBER) != 0)
        at = put_u64(at, command->number);
    if ((row->traits & MF_HAS_LAST) != 0)
        at = put_u64(at, (uint64_t)command->last);
    return row->keys == MF_KEYS_MANY ? put_u32(at, command->item_count) : at;
}

void mf_command_encode(const struct mf_command *command, struct mf_buf *out)
{
    const struct mf_command_row *row = checked_row(command);
    size_t size = mf_command_size(command);
    uint8_t *start = mf_buf_reserve(out, size);
    uint8_t *at = put_head(start, command, row);
    for (uint32_t i = 0; i < command->item_count; i++) {
        at = put_blob(at, command->items[i].key);
        if (row->values)
            at = put_blob(at, command->items[i].value);
    }
    if (has_body(command, row))
        at = put_blob(at, command->body);
    assert((size_t)(at - start) == size);
    out->len += size;
}

size_t mf_command_size(const struct mf_command *command)
{
    const struct mf_command_row *row = checked_row(command);
    size_t size = 5 + command->id.len;
    size += command->expiry != MF_EXPIRY_NONE ? 8 : 0;
    size += (command->flags & MF_IF_VERSION) != 0 ? 8 : 0;
    size += (row->traits & MF_HAS_LIMIT) != 0 ? 4 : 0;
    size += (row->traits & MF_HAS_NUMBER) != 0 ? 8 : 0;
    size += (row->traits & MF_HAS_LAST) != 0 ? 8 : 0;
    size += has_body(command, row) ? 4 + command->body.len : 0;
    size += row->keys == MF_KEYS_MANY ? 4 : 0;
    for (uint32_t i = 0; i < command->item_count; i++) {
        size += 4 + command->items[i].key.len;
        size += row->values ? 4 + command->items[i].value.len : 0;
    }
    return size;
}

// Makes room for the items that the command claims to have. The claim is believed only as far as
// the input could hold that many, so a few bytes cannot ask for gigabytes.
static enum mf_err place_items(struct mf_reader *r, const struct mf_command_row *row,
                               struct mf_command *command, struct mf_item **items,
                               uint32_t *items_cap)
{
    size_t item_bytes_min = row->values ? 8 : 4;
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

// NULL where it is not one that we would have written.
static const struct mf_command_row *decode_head(struct mf_reader *r, struct mf_command *command)
{
    unsigned op = mf_read_u8(r);
    command->flags = mf_read_u16(r);
    unsigned expiry = mf_read_u8(r);
    size_t id_len = mf_read_u8(r);
    const struct mf_command_row *row = mf_command_row(op);
    if (r->failed || row == NULL || (command->flags & ~ALL_FLAGS) != 0 || expiry > MF_EXPIRY_AT ||
        id_len > MF_ID_MAX)
        return NULL;
    command->op = (enum mf_opcode)op;
    command->expiry = (enum mf_expiry)expiry;
    if (id_len > 0)
        command->id = mf_read_bytes(r, id_len);
    if (command->expiry != MF_EXPIRY_NONE)
        command->expire_us = (int64_t)mf_read_u64(r);
    if ((command->flags & MF_IF_VERSION) != 0)
        command->if_version = mf_read_u64(r);
    if ((row->traits & MF_HAS_LIMIT) != 0)
        command->limit = mf_read_u32(r);
    if ((row->traits & MF_HAS_NUMBER) != 0)
        command->number = mf_read_u64(r);
    if ((row->traits & MF_HAS_LAST) != 0)
        command->last = (int64_t)mf_read_u64(r);
    command->item_count = row->keys == MF_KEYS_MANY ? mf_read_u32(r) : (uint32_t)row->keys;
    return r->failed || !head_fits(command) ? NULL : row;
}

enum mf_err mf_command_decode(struct mf_reader *r, struct mf_command *command,
                              struct mf_item **items, uint32_t *items_cap)
{
    *command = (struct mf_command){0};
    const struct mf_command_row *row = decode_head(r, command);
    if (row == NULL)
        return MF_CORRUPT;
    enum mf_err err = place_items(r, row, command, items, items_cap);
    if (err != MF_OK)
        return err;
    for (uint32_t i = 0; i < command->item_count; i++) {
        command->items[i].key = mf_read_blob(r);
        command->items[i].value = row->values ? mf_read_blob(r) : mf_bytes_of(NULL, 0);
    }
    if (has_body(command, row))
        command->body = mf_read_blob(r);
    return r->failed || !body_fits(command) ? MF_CORRUPT : MF_OK;
}
