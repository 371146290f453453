// Commands that read the value that is there and write another one, or none.
//
// The limits that they keep come with the entry (command.h), never from this node's configuration:
// replicas may be configured differently, and must come to one result.
#include <inttypes.h>
#include <stdio.h>

#include "base/extended.h"
#include "shards/shard_internal.h"

// A 64-bit signed integer in decimal, with its sign.
#define INTEGER_CHARS_MAX 20u

bool mf_shard_integer(struct mf_bytes text, int64_t *out)
{
    bool negative = text.len > 0 && text.data[0] == '-';
    size_t at = negative ? 1 : 0;
    if (text.len == at || text.len > INTEGER_CHARS_MAX)
        return false;
    if (text.data[at] == '0') {
        *out = 0;
        return text.len == 1;
    }
    // Gathered below zero, where there is one more.
    int64_t value = 0;
    for (; at < text.len; at++) {
        if (text.data[at] < '0' || text.data[at] > '9' ||
            __builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, text.data[at] - '0', &value))
            return false;
    }
    return negative ? (*out = value, true) : !__builtin_sub_overflow(0, value, out);
}

void mf_apply_incr(struct mf_shard *shard, const struct mf_command *command, struct mf_buf *out)
{
    struct mf_bytes key = command->items[0].key;
    struct mf_entry *entry = mf_shard_find_live(shard, key);
    int64_t value = 0;
    if (entry != NULL && !mf_shard_integer(mf_entry_value(entry), &value)) {
        mf_result_error(out, MF_NOT_INTEGER, NULL);
        return;
    }
    if (__builtin_add_overflow(value, (int64_t)command->number, &value)) {
        mf_result_error(out, MF_OVERFLOW, NULL);
        return;
    }
    char text[INTEGER_CHARS_MAX + 1];
    int len = snprintf(text, sizeof(text), "%" PRId64, value);
    if ((uint32_t)len > command->limit) {
        mf_result_error(out, MF_TOO_LARGE, "the value would be over limits.max_value");
        return;
    }
    uint64_t deadline_us = MF_NO_DEADLINE;
    if (entry != NULL)
        deadline_us = mf_entry_deadline(entry);
    else if (command->expiry == MF_EXPIRY_IN)
        deadline_us = mf_shard_deadline_in(shard, command->expire_us);
    mf_shard_put(shard, entry, key, mf_bytes_of(text, (size_t)len), deadline_us);
    mf_result_int(out, value);
}

void mf_apply_incrfloat(struct mf_shard *shard, const struct mf_command *command,
                        struct mf_buf *out)
{
    const struct mf_item *item = &command->items[0];
    struct mf_entry *entry = mf_shard_find_live(shard, item->key);
    struct mf_extended value = {0};
    struct mf_extended delta;
    if ((entry != NULL && !mf_extended_read(mf_entry_value(entry), &value)) ||
        !mf_extended_read(item->value, &delta)) {
        mf_result_error(out, MF_NOT_FLOAT, NULL);
        return;
    }
    if (!mf_extended_add(&value, &delta, &value)) {
        mf_result_error(out, MF_OVERFLOW, "increment would produce NaN or Infinity");
        return;
    }
    char text[MF_EXTENDED_CHARS_MAX];
    struct mf_bytes sum = mf_bytes_of(text, mf_extended_print(&value, text));
    if (sum.len > command->limit) {
        mf_result_error(out, MF_TOO_LARGE, "the value would be over limits.max_value");
        return;
    }
    mf_shard_put(shard, entry, item->key, sum,
                 entry != NULL ? mf_entry_deadline(entry) : MF_NO_DEADLINE);
    mf_result_bytes(out, sum);
}

bool mf_apply_may_build(struct mf_shard *shard, size_t bytes)
{
    struct mf_journal *journal = &shard->journal;
    if (journal->open && bytes > journal->built_bytes_left)
        return false;
    journal->built_bytes_left -= journal->open ? bytes : 0;
    shard->built_bytes += bytes;
    return true;
}

void mf_apply_append(struct mf_shard *shard, const struct mf_command *command, struct mf_buf *out)
{
    const struct mf_item *item = &command->items[0];
    struct mf_entry *entry = mf_shard_find_live(shard, item->key);
    size_t len = item->value.len + (entry != NULL ? mf_entry_value(entry).len : 0);
    if (len > command->limit) {
        mf_result_error(out, MF_TOO_LARGE, "the value would be over limits.max_value");
        return;
    }
    if (!mf_apply_may_build(shard, len)) {
        mf_result_error(out, MF_TOO_LARGE, MF_TXN_TOO_LARGE);
        return;
    }
    mf_shard_overwrite(shard, entry, item->key, len - item->value.len, item->value);
    mf_result_int(out, (int64_t)len);
}

// Redis's order: nothing to write is no change and never too long.
void mf_apply_setrange(struct mf_shard *shard, const struct mf_command *command, struct mf_buf *out)
{
    const struct mf_item *item = &command->items[0];
    struct mf_entry *entry = mf_shard_find_live(shard, item->key);
    size_t len = entry != NULL ? mf_entry_value(entry).len : 0;
    if (item->value.len == 0) {
        mf_result_int(out, (int64_t)len);
        return;
    }
    if (item->value.len > command->limit || command->number > command->limit - item->value.len) {
        mf_result_error(out, MF_TOO_LARGE, "the value would be over limits.max_value");
        return;
    }
    size_t at = (size_t)command->number;
    len = at + item->value.len > len ? at + item->value.len : len;
    if (!mf_apply_may_build(shard, len)) {
        mf_result_error(out, MF_TOO_LARGE, MF_TXN_TOO_LARGE);
        return;
    }
    mf_shard_overwrite(shard, entry, item->key, at, item->value);
    mf_result_int(out, (int64_t)len);
}

// A bit that is what it was is no change, unless the value grows.
void mf_apply_setbit(struct mf_shard *shard, const struct mf_command *command, struct mf_buf *out)
{
    struct mf_bytes key = command->items[0].key;
    struct mf_entry *entry = mf_shard_find_live(shard, key);
    struct mf_bytes value = entry != NULL ? mf_entry_value(entry) : mf_bytes_of(NULL, 0);
    uint64_t at = command->number / 16;
    uint8_t mask = (uint8_t)(0x80u >> (command->number / 2 % 8));
    if (at >= command->limit) {
        mf_result_error(out, MF_TOO_LARGE, "the value would be over limits.max_value");
        return;
    }
    uint8_t before = at < value.len ? value.data[at] : 0;
    uint8_t after = (uint8_t)(command->number % 2 != 0 ? before | mask : before & ~mask);
    if (at >= value.len || before != after) {
        if (!mf_apply_may_build(shard, at < value.len ? value.len : (size_t)at + 1)) {
            mf_result_error(out, MF_TOO_LARGE, MF_TXN_TOO_LARGE);
            return;
        }
        mf_shard_overwrite(shard, entry, key, (size_t)at, mf_bytes_of(&after, 1));
    }
    mf_result_int(out, (before & mask) != 0);
}

// The value, before it goes.
static struct mf_entry *tell_value(struct mf_shard *shard, const struct mf_command *command,
                                   struct mf_buf *out)
{
    struct mf_entry *entry = mf_shard_find_live(shard, command->items[0].key);
    if (entry != NULL)
        mf_result_bytes(out, mf_entry_value(entry));
    else
        mf_result_nil(out);
    return entry;
}

void mf_apply_getdel(struct mf_shard *shard, const struct mf_command *command, struct mf_buf *out)
{
    struct mf_entry *entry = tell_value(shard, command, out);
    if (entry != NULL)
        mf_shard_drop(shard, entry, MF_CHANGE_DELETE);
}

void mf_apply_getex(struct mf_shard *shard, const struct mf_command *command, struct mf_buf *out)
{
    struct mf_entry *entry = tell_value(shard, command, out);
    if (entry == NULL)
        return;
    uint64_t deadline_us = mf_entry_deadline(entry);
    if ((command->flags & MF_NO_TTL) != 0)
        deadline_us = MF_NO_DEADLINE;
    else if (command->expiry == MF_EXPIRY_IN)
        deadline_us = mf_shard_deadline_in(shard, command->expire_us);
    if (command->expiry == MF_EXPIRY_IN && command->expire_us <= 0)
        mf_shard_drop(shard, entry, MF_CHANGE_DELETE);
    else if (deadline_us != mf_entry_deadline(entry))
        mf_shard_retime(shard, entry, deadline_us);
}
