// Log entries become state: the write commands.
//
// An entry's outcome depends on the state and the entry alone. A key whose deadline is not after
// the entry's log time is absent; a write that comes upon a dead one takes it out first, which is a
// change like any other: it has a version, and every replica makes it at this very place.
#include <assert.h>

#include "base/hash.h"
#include "shards/batch.h"
#include "shards/shard_internal.h"

// Changes between two reclamations, for an owner that applies many in one turn (replay).
#define RECLAIM_EVERY 64u
// Bytes of values put together between two reclamations: small commands can leave large values
// behind, many in one entry.
#define RECLAIM_EVERY_BYTES (16u << 20)
// Keys that are fetched ahead at a time; more would push the first ones out again.
#define AHEAD_KEYS 32u
// The same for keys that die together.
#define DUE_AHEAD 8u
// A larger result buffer is given back before the next command.
#define RESULT_KEEP_BYTES_MAX 65536u

struct mf_entry *mf_shard_find_live(struct mf_shard *shard, struct mf_bytes key)
{
    struct mf_entry *entry = mf_map_find(shard->keys, key);
    if (entry == NULL || !mf_entry_dead(entry, shard->log_time_us))
        return entry;
    mf_shard_drop(shard, entry, MF_CHANGE_EXPIRE);
    return NULL;
}

static bool conditions_hold(const struct mf_command *command, const struct mf_entry *entry)
{
    if ((command->flags & (MF_IF_VERSION | MF_IF_EQUAL | MF_IF_OTHER)) == 0)
        return true;
    bool equal = entry != NULL && mf_bytes_equal(mf_entry_value(entry), command->body);
    if (((command->flags & MF_IF_EQUAL) != 0 && !equal) ||
        ((command->flags & MF_IF_OTHER) != 0 && equal))
        return false;
    return (command->flags & MF_IF_VERSION) == 0 ||
           command->if_version == (entry != NULL ? mf_entry_version(entry) : 0);
}

static bool may_set(const struct mf_command *command, const struct mf_entry *entry)
{
    if ((command->flags & MF_NX) != 0 && entry != NULL)
        return false;
    if ((command->flags & MF_XX) != 0 && entry == NULL)
        return false;
    return conditions_hold(command, entry);
}

static uint64_t deadline_to_set(const struct mf_shard *shard, const struct mf_command *command,
                                const struct mf_entry *entry)
{
    if (command->expiry == MF_EXPIRY_IN)
        return mf_shard_deadline_in(shard, command->expire_us);
    bool keep = (command->flags & MF_KEEP_TTL) != 0 && entry != NULL;
    return keep ? mf_entry_deadline(entry) : MF_NO_DEADLINE;
}

static void apply_set(struct mf_shard *shard, const struct mf_command *command, struct mf_buf *out)
{
    const struct mf_item *item = &command->items[0];
    struct mf_entry *entry = mf_shard_find_live(shard, item->key);
    bool written = may_set(command, entry);
    struct mf_result result = {
        .kind = MF_RESULT_WRITTEN,
        .version = written ? shard->version + 1 : 0,
        .with_old = (command->flags & MF_WITH_OLD) != 0,
    };
    if (result.with_old && entry != NULL) {
        result.has_old = true;
        result.value = mf_entry_value(entry);
    }
    // Encoded before the old value goes.
    mf_result_encode(&result, out);
    if (written)
        mf_shard_put(shard, entry, item->key, item->value, deadline_to_set(shard, command, entry));
}

static bool any_lives(struct mf_shard *shard, const struct mf_command *command)
{
    bool lives = false;
    for (uint32_t i = 0; i < command->item_count && !lives; i++)
        lives = mf_shard_find_live(shard, command->items[i].key) != NULL;
    return lives;
}

static void apply_mset(struct mf_shard *shard, const struct mf_command *command, struct mf_buf *out)
{
    bool only_new = (command->flags & MF_NX) != 0;
    if (only_new && any_lives(shard, command)) {
        mf_result_int(out, 0);
        return;
    }
    for (uint32_t i = 0; i < command->item_count; i++) {
        struct mf_entry *entry = mf_shard_find_live(shard, command->items[i].key);
        mf_shard_put(shard, entry, command->items[i].key, command->items[i].value,
                     deadline_to_set(shard, command, entry));
    }
    mf_result_int(out, only_new ? 1 : command->item_count);
}

static void apply_del(struct mf_shard *shard, const struct mf_command *command, struct mf_buf *out)
{
    int64_t deleted = 0;
    for (uint32_t i = 0; i < command->item_count; i++) {
        struct mf_entry *entry = mf_shard_find_live(shard, command->items[i].key);
        if (entry == NULL || !conditions_hold(command, entry))
            continue;
        mf_shard_drop(shard, entry, MF_CHANGE_DELETE);
        deleted++;
    }
    mf_result_int(out, deleted);
}

// No TTL counts as one without end.
static bool may_expire(const struct mf_command *command, uint64_t now_set_us, uint64_t wanted_us)
{
    if ((command->flags & MF_NX) != 0 && now_set_us != MF_NO_DEADLINE)
        return false;
    if ((command->flags & MF_XX) != 0 && now_set_us == MF_NO_DEADLINE)
        return false;
    if ((command->flags & MF_GT) != 0 && wanted_us <= now_set_us)
        return false;
    return (command->flags & MF_LT) == 0 || wanted_us < now_set_us;
}

static void apply_expire(struct mf_shard *shard, const struct mf_command *command,
                         struct mf_buf *out)
{
    struct mf_entry *entry = mf_shard_find_live(shard, command->items[0].key);
    uint64_t wanted_us = mf_shard_deadline_in(shard, command->expire_us);
    bool holds = entry != NULL && may_expire(command, mf_entry_deadline(entry), wanted_us);
    if (holds && command->expire_us <= 0)
        mf_shard_drop(shard, entry, MF_CHANGE_DELETE);
    else if (holds && wanted_us != mf_entry_deadline(entry))
        mf_shard_retime(shard, entry, wanted_us);
    mf_result_bool(out, holds);
}

static void apply_persist(struct mf_shard *shard, const struct mf_command *command,
                          struct mf_buf *out)
{
    struct mf_entry *entry = mf_shard_find_live(shard, command->items[0].key);
    bool had_ttl = entry != NULL && mf_entry_deadline(entry) != MF_NO_DEADLINE;
    if (had_ttl)
        mf_shard_retime(shard, entry, MF_NO_DEADLINE);
    mf_result_bool(out, had_ttl);
}

static void apply_expire_due(struct mf_shard *shard, const struct mf_command *command,
                             struct mf_buf *out)
{
    uint32_t popped = 0;
    while (popped < command->limit) {
        struct mf_entry *due[MF_DUE_MAX];
        uint32_t count = mf_shard_take_due(shard, due, command->limit - popped);
        if (count == 0)
            break;
        for (uint32_t i = 0; i < count; i++) {
            if (i + DUE_AHEAD < count)
                mf_map_prefetch_bucket(mf_entry_is_id(due[i + DUE_AHEAD]) ? shard->ids
                                                                          : shard->keys,
                                       mf_entry_key(due[i + DUE_AHEAD]));
            mf_shard_drop(shard, due[i],
                          mf_entry_is_id(due[i]) ? MF_CHANGE_FORGET : MF_CHANGE_EXPIRE);
        }
        popped += count;
    }
    mf_result_int(out, popped);
}

// A key that was changed since the leader chose it is in use, and stays.
static void apply_evict(struct mf_shard *shard, const struct mf_command *command,
                        struct mf_buf *out)
{
    int64_t evicted = 0;
    for (uint32_t i = 0; i < command->item_count; i++) {
        struct mf_entry *entry = mf_shard_find_live(shard, command->items[i].key);
        struct mf_reader chosen = mf_reader_of(command->items[i].value);
        if (entry == NULL || mf_read_u64(&chosen) != mf_entry_version(entry))
            continue;
        mf_shard_drop(shard, entry, MF_CHANGE_EVICT);
        evicted++;
    }
    mf_result_int(out, evicted);
}

static void apply_roster(struct mf_shard *shard, const struct mf_command *command,
                         struct mf_buf *out)
{
    bool holds = command->if_version == shard->roster_version;
    if (holds) {
        mf_shard_load_roster(shard, shard->roster_version + 1, command->items[0].value);
        shard->rolling_hash = mf_hash_mix(shard->rolling_hash, MF_CHANGE_ROSTER);
        shard->rolling_hash =
            mf_hash_mix(shard->rolling_hash, mf_hash64(mf_buf_view(&shard->roster), 0));
    }
    mf_result_bool(out, holds);
}

enum mf_err mf_apply_command(struct mf_shard *shard, const struct mf_command *command,
                             struct mf_buf *out)
{
    switch (command->op) {
    case MF_OP_SET:
        apply_set(shard, command, out);
        return MF_OK;
    case MF_OP_MSET:
        apply_mset(shard, command, out);
        return MF_OK;
    case MF_OP_DEL:
        apply_del(shard, command, out);
        return MF_OK;
    case MF_OP_EXPIRE:
        apply_expire(shard, command, out);
        return MF_OK;
    case MF_OP_PERSIST:
        apply_persist(shard, command, out);
        return MF_OK;
    case MF_OP_FLUSH:
        mf_result_int(out, (int64_t)mf_shard_drop_all(shard));
        return MF_OK;
    case MF_OP_INCR:
        mf_apply_incr(shard, command, out);
        return MF_OK;
    case MF_OP_APPEND:
        mf_apply_append(shard, command, out);
        return MF_OK;
    case MF_OP_SETRANGE:
        mf_apply_setrange(shard, command, out);
        return MF_OK;
    case MF_OP_SETBIT:
        mf_apply_setbit(shard, command, out);
        return MF_OK;
    case MF_OP_RENAME:
        mf_apply_rename(shard, command, out);
        return MF_OK;
    case MF_OP_COPY:
        mf_apply_copy(shard, command, out);
        return MF_OK;
    case MF_OP_INCRFLOAT:
        mf_apply_incrfloat(shard, command, out);
        return MF_OK;
    case MF_OP_GETDEL:
        mf_apply_getdel(shard, command, out);
        return MF_OK;
    case MF_OP_GETEX:
        mf_apply_getex(shard, command, out);
        return MF_OK;
    case MF_OP_TXN:
        return mf_apply_txn(shard, command, out);
    case MF_OP_EXPIRE_DUE:
        apply_expire_due(shard, command, out);
        return MF_OK;
    case MF_OP_EVICT:
        apply_evict(shard, command, out);
        return MF_OK;
    case MF_OP_SEED:
        mf_shard_seed(shard, command->number);
        mf_result_nil(out);
        return MF_OK;
    case MF_OP_ROSTER:
        apply_roster(shard, command, out);
        return MF_OK;
    case MF_OP_NONE:
    case MF_OP_TRANSFER:
    case MF_OP_DRAIN:
        return MF_CORRUPT; // in no log
    case MF_OP_GET:
    case MF_OP_MGET:
    case MF_OP_HAS:
    case MF_OP_TTL:
    case MF_OP_SIZE:
    case MF_OP_INDEX:
    case MF_OP_SCAN:
    case MF_OP_TXN_READ:
    case MF_OP_STRLEN:
    case MF_OP_GETRANGE:
    case MF_OP_DEADLINE:
    case MF_OP_OBJECT:
        break;
    }
    // A read that went through the log: the state at this entry.
    return mf_shard_answer(shard, command, shard->log_time_us, out);
}

// A refusal for what the value is belongs to the result; one that says that there was none, as of a
// value that would be too large, does not: the command may be sent again under other limits.
static bool is_remembered(struct mf_bytes result)
{
    if (result.data[0] != MF_RESULT_ERROR)
        return true;
    uint8_t err = result.data[1];
    return err == MF_NOT_INTEGER || err == MF_NOT_FLOAT || err == MF_OVERFLOW ||
           err == MF_NOT_FOUND;
}

// A write with an id has its effect once: the first result is kept under the id and given again.
static enum mf_err apply_once(struct mf_shard *shard, const struct mf_command *command,
                              struct mf_buf *out)
{
    if (command->id.len == 0 || !mf_op_is_write(command->op))
        return mf_apply_command(shard, command, out);
    struct mf_entry *known = mf_map_find(shard->ids, command->id);
    if (known != NULL && !mf_entry_dead(known, shard->log_time_us)) {
        struct mf_bytes result = mf_entry_value(known);
        mf_buf_put(out, result.data, result.len);
        return MF_OK;
    }
    if (known != NULL)
        mf_shard_drop(shard, known, MF_CHANGE_FORGET);
    enum mf_err err = mf_apply_command(shard, command, out);
    if (err == MF_OK && is_remembered(mf_buf_view(out)))
        mf_shard_put_id(shard, command->id, mf_buf_view(out),
                        mf_shard_deadline_in(shard, (int64_t)MF_ID_TTL_US));
    return err;
}

// Fields that the shape of a command allows and that still mean nothing in a log entry.
static bool well_formed(const struct mf_command *command)
{
    if (command->expiry == MF_EXPIRY_AT ||
        (command->op == MF_OP_ROSTER && (command->flags & MF_IF_VERSION) == 0))
        return false;
    return command->op != MF_OP_EXPIRE || command->expiry == MF_EXPIRY_IN;
}

static void enter(struct mf_shard *shard, uint64_t index, uint64_t log_time_us)
{
    assert(index == shard->applied + 1);
    shard->applied = index;
    // A slot that a new leader closed with a no-op may carry a later time than the entries after
    // it, which are older. Time stands still over those, on every replica alike.
    if (log_time_us > shard->log_time_us)
        shard->log_time_us = log_time_us;
    // Release, pairs with the acquire in mf_shard_read_shared.
    atomic_store_explicit(&shard->reached_us, shard->log_time_us, memory_order_release);
    shard->rolling_hash = mf_hash_mix(shard->rolling_hash, index);
    shard->rolling_hash = mf_hash_mix(shard->rolling_hash, shard->log_time_us);
}

// The next commands of a batch. They are looked at some at a time and their keys brought into the
// cache: what costs most of a small command is waiting for memory, and many keys can be waited for
// at once. One of many keys is the last of those that are looked at: the reader has but one array.
struct window {
    struct mf_batch_reader reader;
    enum mf_err err; // why there are no more behind those
    uint32_t next;
    uint32_t count;
    struct mf_command commands[AHEAD_KEYS];
};

static void look_ahead(const struct mf_shard *shard, struct window *window)
{
    struct mf_map_ahead keys[2 * AHEAD_KEYS]; // ids too
    size_t count = 0;
    bool single = true;
    window->next = 0;
    window->count = 0;
    while (window->count < AHEAD_KEYS && single) {
        struct mf_command *command = &window->commands[window->count];
        window->err = mf_batch_next(&window->reader, command);
        if (window->err != MF_OK)
            break;
        window->count++;
        single = command->item_count <= 1;
        if (command->id.len > 0)
            keys[count++] = mf_map_prefetch_bucket(shard->ids, command->id);
        for (uint32_t i = 0; i < command->item_count && count < 2 * AHEAD_KEYS; i++)
            keys[count++] = mf_map_prefetch_bucket(shard->keys, command->items[i].key);
    }
    mf_map_prefetch_entries(keys, count);
}

static void reclaim(struct mf_shard *shard)
{
    shard->reclaimed_version = shard->version;
    shard->reclaimed_built_bytes = shard->built_bytes;
    mf_shard_reclaim(shard);
}

// What EXPIRE_DUE takes out is dead to all who begin to read after the entry's log time was
// reached, there or not. So they need not wait for a thousand keys to be freed.
static enum mf_err apply_command(struct mf_shard *shard, const struct mf_command *command)
{
    bool unseen = command->op == MF_OP_EXPIRE_DUE;
    mf_buf_clear(&shard->result, RESULT_KEEP_BYTES_MAX);
    if (unseen)
        mf_seq_write_end(&shard->entries);
    enum mf_err err = apply_once(shard, command, &shard->result);
    if (unseen)
        mf_seq_own_write_begin(&shard->entries);
    mf_map_release(shard->keys);
    mf_map_release(shard->ids);
    shard->commands += err == MF_OK;
    shard->built_bytes += shard->result.len;
    return err;
}

static enum mf_err apply_next(struct mf_shard *shard, struct window *window)
{
    if (window->next == window->count && window->err == MF_OK)
        look_ahead(shard, window);
    if (window->next == window->count)
        return window->err;
    const struct mf_command *command = &window->commands[window->next++];
    return well_formed(command) ? apply_command(shard, command) : MF_CORRUPT;
}

static void begin_entry(struct mf_shard *shard, uint64_t index, uint64_t log_time_us)
{
    mf_seq_own_write_begin(&shard->entries);
    enter(shard, index, log_time_us);
}

static void end_entry(struct mf_shard *shard)
{
    mf_seq_write_end(&shard->entries);
    if (shard->version - shard->reclaimed_version >= RECLAIM_EVERY)
        reclaim(shard);
}

enum mf_err mf_shard_apply(struct mf_shard *shard, uint64_t index, uint64_t log_time_us,
                           struct mf_bytes payload,
                           void (*done)(void *arg, uint32_t n, struct mf_bytes result), void *arg)
{
    struct window window;
    window.next = 0;
    window.count = 0;
    window.err = MF_OK;
    enum mf_err err = mf_batch_open(&window.reader, payload);
    if (err != MF_OK)
        goto out;
    begin_entry(shard, index, log_time_us);
    for (uint32_t n = 0;; n++) {
        err = apply_next(shard, &window);
        if (err != MF_OK)
            break;
        if (shard->built_bytes - shard->reclaimed_built_bytes >= RECLAIM_EVERY_BYTES)
            reclaim(shard);
        if (done != NULL)
            done(arg, n, mf_buf_view(&shard->result));
    }
    end_entry(shard);
    if (err == MF_NOT_FOUND)
        err = MF_OK;
out:
    mf_batch_close(&window.reader);
    return err;
}

enum mf_err mf_shard_apply_one(struct mf_shard *shard, uint64_t index, uint64_t log_time_us,
                               const struct mf_command *command, struct mf_bytes *result)
{
    bool loggable = mf_op_is_write(command->op) || command->op == MF_OP_EXPIRE_DUE;
    if (!loggable || !well_formed(command))
        return MF_BAD_REQUEST;
    begin_entry(shard, index, log_time_us);
    enum mf_err err = apply_command(shard, command);
    end_entry(shard);
    *result = mf_buf_view(&shard->result);
    return err;
}
