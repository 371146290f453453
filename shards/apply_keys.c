// Commands of two keys, of which one becomes what the other is.
//
// Where one goes and the other comes, the one that goes is told first, as users of Redis know it.
#include "shards/shard_internal.h"

// What a copy of its value takes: a large one is shared.
static size_t copied_bytes(const struct mf_entry *entry)
{
    size_t len = mf_entry_value(entry).len;
    return len > MF_ENTRY_APART_BYTES ? 0 : len;
}

void mf_apply_rename(struct mf_shard *shard, const struct mf_command *command, struct mf_buf *out)
{
    struct mf_bytes name = command->items[1].key;
    bool only_new = (command->flags & MF_NX) != 0;
    struct mf_entry *source = mf_shard_find_live(shard, command->items[0].key);
    if (source == NULL) {
        mf_result_error(out, MF_NOT_FOUND, "no such key");
        return;
    }
    struct mf_entry *target = mf_shard_find_live(shard, name);
    if (target == source || (target != NULL && only_new)) {
        mf_result_bool(out, !only_new);
        return;
    }
    if (!mf_apply_may_build(shard, copied_bytes(source))) {
        mf_result_error(out, MF_TOO_LARGE, MF_TXN_TOO_LARGE);
        return;
    }
    mf_shard_drop(shard, source, MF_CHANGE_DELETE);
    mf_shard_put_as(shard, target, name, source);
    mf_result_bool(out, true);
}

void mf_apply_copy(struct mf_shard *shard, const struct mf_command *command, struct mf_buf *out)
{
    struct mf_bytes name = command->items[1].key;
    if (mf_bytes_equal(command->items[0].key, name)) {
        mf_result_error(out, MF_BAD_REQUEST, "source and destination objects are the same");
        return;
    }
    struct mf_entry *source = mf_shard_find_live(shard, command->items[0].key);
    struct mf_entry *target = mf_shard_find_live(shard, name);
    if (source == NULL || (target != NULL && (command->flags & MF_NX) != 0)) {
        mf_result_bool(out, false);
        return;
    }
    // All of it, shared or not: in a snapshot each has its own.
    if (!mf_apply_may_build(shard, mf_entry_value(source).len)) {
        mf_result_error(out, MF_TOO_LARGE, MF_TXN_TOO_LARGE);
        return;
    }
    mf_shard_put_as(shard, target, name, source);
    mf_result_bool(out, true);
}
