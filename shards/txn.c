// A txn: conditions, then the commands of one of two branches as one.
//
// Each command is carried out as if it came alone, by the very code that carries it out then, and
// sees what those before it did. One that fails makes the whole fail, so what the others changed is
// undone: the journal (shard.c) has what stood there before each change. That costs a note a change
// where nothing fails, and a failure as many steps as there were changes. Rehearsing a txn before
// carrying it out would need each command a second time, on a state that is not there.
//
// Where the txn is to go on (MF_GO_ON), a command that fails has changed nothing itself and gives
// its error in its place, as in Redis's EXEC. Only results that are too large together still make
// all of it fail.
//
// Nobody sees the state in between: readers on other threads find that an entry is being applied.
#include <string.h>

#include "shards/shard_internal.h"

static bool conditions_hold(const struct mf_txn_run *run, struct mf_bytes body, enum mf_err *err)
{
    struct mf_txn_reader reader;
    struct mf_condition condition;
    bool hold = true;
    *err = mf_txn_open(&reader, body, MF_TXN_IF);
    while (hold && *err == MF_OK && (*err = mf_txn_next_condition(&reader, &condition)) == MF_OK) {
        struct mf_key_facts facts = {0};
        run->facts(run->arg, condition.key, &facts);
        hold = mf_condition_holds(&condition, &facts);
    }
    mf_txn_close(&reader);
    if (*err == MF_NOT_FOUND)
        *err = MF_OK;
    return hold;
}

static bool is_error(const struct mf_buf *out, size_t at)
{
    return out->len > at && out->data[at] == MF_RESULT_ERROR;
}

// What stands from `at` on takes the place of what stands from `before` on.
static void keep_only(struct mf_buf *out, size_t before, size_t at)
{
    memmove(out->data + before, out->data + at, out->len - at);
    out->len -= at - before;
}

enum mf_err mf_txn_run(const struct mf_txn_run *run, const struct mf_command *txn,
                       struct mf_buf *out, bool *failed)
{
    enum mf_err err;
    size_t before = out->len;
    bool go_on = (txn->flags & MF_GO_ON) != 0;
    uint32_t count = 0;
    *failed = false;
    bool ok = conditions_hold(run, txn->body, &err);
    if (err != MF_OK)
        return err;
    struct mf_txn_reader reader;
    struct mf_command command;
    size_t list = mf_result_txn_begin(out, ok);
    err = mf_txn_open(&reader, txn->body, ok ? MF_TXN_THEN : MF_TXN_ELSE);
    while (err == MF_OK && (err = mf_txn_next_command(&reader, &command)) == MF_OK) {
        size_t at = out->len;
        if (command.op == MF_OP_MGET) // it could become much larger before it is looked at
            command.limit = txn->limit;
        err = run->carry_out(run->arg, &command, out);
        if (err == MF_OK && is_error(out, at) && !go_on) {
            keep_only(out, before, at);
            *failed = true;
        } else if (out->len - list > txn->limit) {
            out->len = before;
            mf_result_error(out, MF_TOO_LARGE, "the results together are too large for one answer");
            *failed = true;
        }
        if (*failed)
            break;
        count++;
    }
    mf_txn_close(&reader);
    if (*failed)
        return MF_OK;
    mf_result_txn_end(out, list, count);
    return err == MF_NOT_FOUND ? MF_OK : err;
}

static void tell_facts(void *arg, struct mf_bytes key, struct mf_key_facts *facts)
{
    const struct mf_entry *entry = mf_shard_find_live(arg, key);
    if (entry == NULL)
        return;
    *facts = (struct mf_key_facts){true, mf_entry_version(entry), mf_entry_value(entry)};
}

static enum mf_err carry_out(void *arg, const struct mf_command *command, struct mf_buf *out)
{
    return mf_apply_command(arg, command, out);
}

enum mf_err mf_apply_txn(struct mf_shard *shard, const struct mf_command *command,
                         struct mf_buf *out)
{
    const struct mf_txn_run run = {tell_facts, carry_out, shard};
    bool failed;
    // A few bytes of appends can make a large value grow many times over: what they may put
    // together is bounded by what the txn may answer.
    mf_journal_open(shard, command->limit);
    enum mf_err err = mf_txn_run(&run, command, out, &failed);
    if (failed)
        mf_journal_undo(shard);
    else
        mf_journal_close(shard);
    return err;
}
