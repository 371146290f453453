// What the commands of a log entry make, so that an entry can end before it is too much.
//
// A few bytes can make many: a SETBIT copies the whole value, a GETEX answers with it. How much is
// foreseen from the lengths of values now and from what is proposed and not applied yet, which may
// make them longer. No value is longer then than the longest that a command sets or finds now among
// keys of its class, with all that is appended there behind it. That is too much for many keys, and
// costs them only that an entry ends early.
//
// What a command copies of values up to MF_ENTRY_APART_BYTES counts as its own work; larger ones
// are shared where only key or TTL change.
#include "base/hash.h"
#include "base/txn.h"
#include "server/replica_internal.h"
#include "shards/entry.h"
#include "shards/map.h"

// Where no value is longer, none is looked for: that would cost as much as to copy it.
#define SHORT_BYTES MF_ENTRY_APART_BYTES

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint32_t class_of(struct mf_bytes key)
{
    return (uint32_t)(mf_hash64(key, 0) % MF_LENGTH_CLASSES);
}

// Nobody here knows what the entries of earlier leaders do to lengths.
static void look_at_proposals(const struct mf_replica *replica, struct mf_work *work)
{
    bool unknown = replica->applied + 1 < replica->lead_slot;
    work->looked = true;
    for (uint32_t i = 0; i < MF_LENGTH_CLASSES && unknown; i++)
        work->before.longest[i] = replica->cfg.built_bytes;
    for (const struct mf_proposal *at = replica->first; at != NULL; at = at->next) {
        for (uint32_t i = 0; i < MF_LENGTH_CLASSES; i++) {
            work->before.longest[i] = larger(work->before.longest[i], at->lengths.longest[i]);
            work->before.appended[i] += at->lengths.appended[i];
        }
        work->before.longest_short = larger(work->before.longest_short, at->lengths.longest_short);
    }
}

// At most, when the command's turn comes.
static uint64_t length_then(const struct mf_replica *replica, struct mf_work *work,
                            struct mf_bytes key)
{
    if (!work->looked)
        look_at_proposals(replica, work);
    uint32_t class = class_of(key);
    uint64_t len = mf_shard_longest_value(replica->shard);
    if (len > SHORT_BYTES) {
        const struct mf_entry *entry = mf_map_find(mf_shard_map(replica->shard), key);
        len = entry != NULL ? mf_entry_value(entry).len : 0;
    }
    len = larger(len, larger(work->before.longest[class], work->own.longest[class]));
    len = larger(len, larger(work->before.longest_short, work->own.longest_short));
    return len + work->before.appended[class] + work->own.appended[class];
}

// The command leaves a value of this length there, or shorter.
static void leave(struct mf_work *work, struct mf_bytes key, uint64_t len)
{
    uint64_t *longest = &work->own.longest_short;
    if (len > SHORT_BYTES)
        longest = &work->own.longest[class_of(key)];
    *longest = larger(*longest, len);
}

// The command writes up to `end`.
static void foresee_patch(const struct mf_replica *replica, struct mf_work *work,
                          const struct mf_command *command, uint64_t end)
{
    struct mf_bytes key = command->items[0].key;
    if (end > command->limit)
        return; // it is refused
    work->built += larger(length_then(replica, work, key), end);
    leave(work, key, end);
}

static void foresee_txn(const struct mf_replica *replica, struct mf_work *work,
                        const struct mf_command *txn)
{
    for (enum mf_txn_part part = MF_TXN_THEN; part <= MF_TXN_ELSE; part++) {
        struct mf_txn_reader reader;
        struct mf_command command;
        enum mf_err err = mf_txn_open(&reader, txn->body, part);
        while (err == MF_OK && (err = mf_txn_next_command(&reader, &command)) == MF_OK)
            mf_replica_foresee(replica, work, &command);
        mf_txn_close(&reader);
    }
}

void mf_replica_foresee(const struct mf_replica *replica, struct mf_work *work,
                        const struct mf_command *command)
{
    size_t len;
    switch (command->op) {
    case MF_OP_SET:
    case MF_OP_MSET:
        if ((command->flags & MF_WITH_OLD) != 0)
            work->built += length_then(replica, work, command->items[0].key);
        for (uint32_t i = 0; i < command->item_count; i++)
            leave(work, command->items[i].key, command->items[i].value.len);
        break;
    case MF_OP_APPEND:
        len = command->items[0].value.len;
        work->built += length_then(replica, work, command->items[0].key) + len;
        work->own.appended[class_of(command->items[0].key)] += len;
        break;
    case MF_OP_SETRANGE:
        len = command->items[0].value.len;
        if (len > 0 && command->number <= command->limit)
            foresee_patch(replica, work, command, command->number + len);
        break;
    case MF_OP_SETBIT:
        foresee_patch(replica, work, command, command->number / 16 + 1);
        break;
    case MF_OP_RENAME:
    case MF_OP_COPY:
        leave(work, command->items[1].key, length_then(replica, work, command->items[0].key));
        break;
    case MF_OP_GET: // within a txn, as all reads here
    case MF_OP_MGET:
    case MF_OP_GETRANGE:
    case MF_OP_GETDEL:
    case MF_OP_GETEX:
        for (uint32_t i = 0; i < command->item_count; i++)
            work->built += length_then(replica, work, command->items[i].key);
        break;
    case MF_OP_TXN:
        foresee_txn(replica, work, command);
        break;
    default:
        break;
    }
}

void mf_replica_foresee_plain(struct mf_work *work, const struct mf_op *op)
{
    work->own.longest_short = larger(work->own.longest_short, op->value_bytes);
}
