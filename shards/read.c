// Read commands, answered from the state at a log time; see mf_shard_read.
//
// A reader's clock may be ahead of the last entry's log time. A key that died in between is dead by
// the reader's clock alone: a leader that takes over could have a clock that is still before the
// deadline, and would show the key again. Such a death is not told before an entry has reached it.
#include "shards/shard_internal.h"

// The largest answer: more would be refused on its way anyhow, and must not be gathered first.
#define ANSWER_BYTES_MAX (UINT64_C(1) << 30)

struct view {
    const struct mf_shard *shard;
    uint64_t now_us; // never before the last entry's log time
    bool local;      // deaths need no entry
    bool again;      // a death was met that no entry has reached
};

static const struct mf_entry *find_live(struct view *view, struct mf_bytes key)
{
    const struct mf_entry *entry = mf_map_find(view->shard->keys, key);
    if (entry == NULL || !mf_entry_dead(entry, view->now_us))
        return entry;
    if (!view->local && !mf_entry_dead(entry, view->shard->log_time_us))
        view->again = true;
    return NULL;
}

// Milliseconds left, rounded up: a live key never shows 0. -1 without a TTL.
static int64_t ttl_ms(const struct view *view, const struct mf_entry *entry)
{
    uint64_t deadline_us = mf_entry_deadline(entry);
    if (deadline_us == MF_NO_DEADLINE)
        return -1;
    uint64_t left_us = deadline_us - view->now_us;
    return (int64_t)(left_us / 1000 + (left_us % 1000 != 0));
}

static void answer_get(struct view *view, const struct mf_command *command, struct mf_buf *out)
{
    const struct mf_entry *entry = find_live(view, command->items[0].key);
    if (entry == NULL) {
        mf_result_nil(out);
        return;
    }
    struct mf_result result = {.kind = MF_RESULT_BYTES, .value = mf_entry_value(entry)};
    if ((command->flags & MF_WITH_META) != 0) {
        result.kind = MF_RESULT_META;
        result.version = mf_entry_version(entry);
        result.ttl_ms = ttl_ms(view, entry);
    }
    mf_result_encode(&result, out);
}

static void answer_mget(struct view *view, const struct mf_command *command, struct mf_buf *out)
{
    size_t before = out->len;
    size_t list = mf_result_list_begin(out, command->item_count);
    for (uint32_t i = 0; i < command->item_count && !view->again; i++) {
        const struct mf_entry *entry = find_live(view, command->items[i].key);
        if (entry == NULL)
            mf_result_nil(out);
        else
            mf_result_bytes(out, mf_entry_value(entry));
        if (out->len - list > ANSWER_BYTES_MAX) {
            out->len = before;
            mf_result_error(out, MF_TOO_LARGE, "the values together are too large for one answer");
            return;
        }
    }
    mf_result_list_end(out, list);
}

static void answer_has(struct view *view, const struct mf_command *command, struct mf_buf *out)
{
    size_t list = mf_result_list_begin(out, command->item_count);
    for (uint32_t i = 0; i < command->item_count && !view->again; i++)
        mf_result_bool(out, find_live(view, command->items[i].key) != NULL);
    mf_result_list_end(out, list);
}

static void answer_ttl(struct view *view, const struct mf_command *command, struct mf_buf *out)
{
    const struct mf_entry *entry = find_live(view, command->items[0].key);
    mf_result_int(out, entry != NULL ? ttl_ms(view, entry) : -2);
}

struct dead_keys {
    const struct mf_shard *shard;
    uint64_t count;
    bool unreached; // one of them died after the last entry
};

static void count_dead(void *arg, const struct mf_heap_node *node)
{
    struct dead_keys *dead = arg;
    const struct mf_entry *entry = (const struct mf_entry *)node;
    if (mf_entry_is_id(entry))
        return;
    dead->count++;
    if (!mf_entry_dead(entry, dead->shard->log_time_us))
        dead->unreached = true;
}

static void answer_size(struct view *view, struct mf_buf *out)
{
    struct dead_keys dead = {.shard = view->shard};
    mf_heap_visit_due(&view->shard->heap, view->now_us, count_dead, &dead);
    if (dead.unreached && !view->local)
        view->again = true;
    mf_result_int(out, (int64_t)(mf_map_count(view->shard->keys) - dead.count));
}

enum mf_err mf_shard_answer(const struct mf_shard *shard, const struct mf_command *command,
                            uint64_t log_now_us, struct mf_buf *out)
{
    struct view view = {
        .shard = shard,
        .now_us = log_now_us > shard->log_time_us ? log_now_us : shard->log_time_us,
        .local = (command->flags & MF_READ_LOCAL) != 0,
    };
    size_t before = out->len;
    switch (command->op) {
    case MF_OP_GET:
        answer_get(&view, command, out);
        break;
    case MF_OP_MGET:
        answer_mget(&view, command, out);
        break;
    case MF_OP_HAS:
        answer_has(&view, command, out);
        break;
    case MF_OP_TTL:
        answer_ttl(&view, command, out);
        break;
    case MF_OP_SIZE:
        answer_size(&view, out);
        break;
    case MF_OP_INDEX:
        mf_result_int(out, (int64_t)shard->applied);
        break;
    default:
        return MF_BAD_REQUEST;
    }
    if (!view.again)
        return MF_OK;
    out->len = before;
    return MF_AGAIN;
}

enum mf_err mf_shard_read(struct mf_shard *shard, const struct mf_command *command,
                          uint64_t log_now_us, struct mf_buf *out)
{
    enum mf_err err = mf_shard_answer(shard, command, log_now_us, out);
    shard->commands += err == MF_OK;
    return err;
}
