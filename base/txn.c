// Bodies of txns; see txn.h for the layout.
#include "base/txn.h"

#include <assert.h>
#include <stdlib.h>

#include "base/command_table.h"

#define PART_HEAD_BYTES 8u

bool mf_condition_holds(const struct mf_condition *condition, const struct mf_key_facts *facts)
{
    int order = 0;
    switch (condition->subject) {
    case MF_SUBJECT_EXISTS:
        return (facts->exists == (condition->number != 0)) == (condition->relation == MF_EQUAL);
    case MF_SUBJECT_VERSION: {
        uint64_t version = facts->exists ? facts->version : 0;
        order = (version > condition->number) - (version < condition->number);
        break;
    }
    case MF_SUBJECT_VALUE:
        if (!facts->exists)
            return condition->relation == MF_UNEQUAL;
        order = mf_bytes_compare(facts->value, condition->value);
        break;
    }
    switch (condition->relation) {
    case MF_EQUAL:
        return order == 0;
    case MF_UNEQUAL:
        return order != 0;
    case MF_LESS:
        return order < 0;
    case MF_GREATER:
        break;
    }
    return order > 0;
}

static void put_u32_at(struct mf_buf *buf, size_t at, uint32_t value)
{
    for (size_t i = 0; i < 4; i++)
        buf->data[at + i] = (uint8_t)(value >> (8 * i));
}

size_t mf_txn_part_begin(struct mf_buf *body)
{
    size_t part = body->len;
    mf_buf_u64(body, 0);
    return part;
}

void mf_txn_part_end(struct mf_buf *body, size_t part, uint32_t count)
{
    size_t len = body->len - part - PART_HEAD_BYTES;
    assert(len <= UINT32_MAX);
    put_u32_at(body, part, count);
    put_u32_at(body, part + 4, (uint32_t)len);
}

void mf_condition_encode(const struct mf_condition *condition, struct mf_buf *body)
{
    mf_buf_u8(body, (uint8_t)condition->subject);
    mf_buf_u8(body, (uint8_t)condition->relation);
    mf_buf_blob(body, condition->key);
    if (condition->subject == MF_SUBJECT_VERSION)
        mf_buf_u64(body, condition->number);
    else if (condition->subject == MF_SUBJECT_EXISTS)
        mf_buf_u8(body, condition->number != 0);
    else
        mf_buf_blob(body, condition->value);
}

enum mf_err mf_txn_open(struct mf_txn_reader *reader, struct mf_bytes body, enum mf_txn_part part)
{
    struct mf_reader r = mf_reader_of(body);
    *reader = (struct mf_txn_reader){0};
    for (unsigned i = 0;; i++) {
        reader->left = mf_read_u32(&r);
        size_t len = mf_read_u32(&r);
        reader->in = mf_reader_of(mf_read_bytes(&r, len));
        if (r.failed)
            return MF_CORRUPT;
        if (i == (unsigned)part)
            return part == MF_TXN_ELSE && mf_reader_left(&r) > 0 ? MF_CORRUPT : MF_OK;
    }
}

// MF_OK when there is another one.
static enum mf_err take_one(struct mf_txn_reader *reader)
{
    if (reader->left == 0)
        return mf_reader_left(&reader->in) > 0 ? MF_CORRUPT : MF_NOT_FOUND;
    reader->left--;
    return MF_OK;
}

enum mf_err mf_txn_next_condition(struct mf_txn_reader *reader, struct mf_condition *condition)
{
    enum mf_err err = take_one(reader);
    if (err != MF_OK)
        return err;
    struct mf_reader *in = &reader->in;
    *condition = (struct mf_condition){0};
    unsigned subject = mf_read_u8(in);
    unsigned relation = mf_read_u8(in);
    condition->key = mf_read_blob(in);
    if (subject == MF_SUBJECT_VERSION)
        condition->number = mf_read_u64(in);
    else if (subject == MF_SUBJECT_EXISTS)
        condition->number = mf_read_u8(in);
    else if (subject == MF_SUBJECT_VALUE)
        condition->value = mf_read_blob(in);
    else
        return MF_CORRUPT;
    bool exists = subject == MF_SUBJECT_EXISTS;
    if (in->failed || relation < MF_EQUAL || relation > MF_GREATER ||
        (exists && (relation > MF_UNEQUAL || condition->number > 1)))
        return MF_CORRUPT;
    condition->subject = (enum mf_subject)subject;
    condition->relation = (enum mf_relation)relation;
    return MF_OK;
}

enum mf_err mf_txn_next_command(struct mf_txn_reader *reader, struct mf_command *command)
{
    enum mf_err err = take_one(reader);
    if (err != MF_OK)
        return err;
    return mf_command_decode(&reader->in, command, &reader->items, &reader->items_cap);
}

void mf_txn_close(struct mf_txn_reader *reader)
{
    free(reader->items);
    reader->items = NULL;
    reader->items_cap = 0;
}

static bool may_stand_inside(const struct mf_command *command, bool reads)
{
    const struct mf_command_row *row = mf_command_row(command->op);
    if ((row->traits & MF_IN_TXN) == 0 || command->id.len > 0)
        return false;
    return (command->flags & MF_READ_LOCAL) == 0 && !(reads && (row->traits & MF_WRITES) != 0);
}

static bool valid_branch(struct mf_bytes body, enum mf_txn_part part, bool reads)
{
    struct mf_txn_reader reader;
    struct mf_command command;
    enum mf_err err = mf_txn_open(&reader, body, part);
    while (err == MF_OK && (err = mf_txn_next_command(&reader, &command)) == MF_OK) {
        if (!may_stand_inside(&command, reads))
            err = MF_CORRUPT;
    }
    mf_txn_close(&reader);
    return err == MF_NOT_FOUND;
}

bool mf_txn_valid(struct mf_bytes body, bool reads)
{
    struct mf_txn_reader reader;
    struct mf_condition condition;
    enum mf_err err = mf_txn_open(&reader, body, MF_TXN_IF);
    while (err == MF_OK)
        err = mf_txn_next_condition(&reader, &condition);
    mf_txn_close(&reader);
    return err == MF_NOT_FOUND && valid_branch(body, MF_TXN_THEN, reads) &&
           valid_branch(body, MF_TXN_ELSE, reads);
}

// Is there a command in the two branches that is so?
static bool any_command(struct mf_bytes body, bool (*is_so)(const struct mf_command *command))
{
    bool found = false;
    for (enum mf_txn_part part = MF_TXN_THEN; part <= MF_TXN_ELSE && !found; part++) {
        struct mf_txn_reader reader;
        struct mf_command command;
        enum mf_err err = mf_txn_open(&reader, body, part);
        while (err == MF_OK && !found) {
            err = mf_txn_next_command(&reader, &command);
            found = err == MF_OK && is_so(&command);
        }
        mf_txn_close(&reader);
    }
    return found;
}

static bool writes(const struct mf_command *command)
{
    return mf_op_is_write(command->op);
}

bool mf_txn_writes(struct mf_bytes body)
{
    return any_command(body, writes);
}

static bool visit_branch(struct mf_bytes body, enum mf_txn_part part,
                         bool (*visit)(void *arg, struct mf_bytes key), void *arg)
{
    struct mf_txn_reader reader;
    struct mf_command command;
    bool more = mf_txn_open(&reader, body, part) == MF_OK;
    while (more && mf_txn_next_command(&reader, &command) == MF_OK) {
        for (uint32_t i = 0; i < command.item_count && more; i++)
            more = visit(arg, command.items[i].key);
    }
    mf_txn_close(&reader);
    return more;
}

bool mf_txn_each_key(struct mf_bytes body, bool (*visit)(void *arg, struct mf_bytes key), void *arg)
{
    struct mf_txn_reader reader;
    struct mf_condition condition;
    bool more = mf_txn_open(&reader, body, MF_TXN_IF) == MF_OK;
    while (more && mf_txn_next_condition(&reader, &condition) == MF_OK)
        more = visit(arg, condition.key);
    mf_txn_close(&reader);
    return more && visit_branch(body, MF_TXN_THEN, visit, arg) &&
           visit_branch(body, MF_TXN_ELSE, visit, arg);
}

static bool has_unix_time(const struct mf_command *command)
{
    struct mf_command copy = *command;
    return mf_command_settle(&copy, 0);
}

bool mf_txn_has_times(struct mf_bytes body)
{
    return any_command(body, has_unix_time);
}

static void settle_branch(struct mf_bytes body, enum mf_txn_part which, int64_t unix_us,
                          struct mf_buf *out)
{
    struct mf_txn_reader reader;
    struct mf_command command;
    size_t part = mf_txn_part_begin(out);
    enum mf_err err = mf_txn_open(&reader, body, which);
    uint32_t count = reader.left;
    while (err == MF_OK && (err = mf_txn_next_command(&reader, &command)) == MF_OK) {
        (void)mf_command_settle(&command, unix_us);
        mf_command_encode(&command, out);
    }
    mf_txn_part_end(out, part, count);
    mf_txn_close(&reader);
}

bool mf_txn_settle_times(struct mf_bytes body, int64_t unix_us, struct mf_buf *out)
{
    struct mf_txn_reader reader;
    if (!mf_txn_has_times(body) || mf_txn_open(&reader, body, MF_TXN_IF) != MF_OK)
        return false;
    size_t part = mf_txn_part_begin(out);
    mf_buf_put(out, reader.in.at, mf_reader_left(&reader.in));
    mf_txn_part_end(out, part, reader.left);
    settle_branch(body, MF_TXN_THEN, unix_us, out);
    settle_branch(body, MF_TXN_ELSE, unix_us, out);
    return true;
}
