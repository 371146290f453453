// Read commands, answered from the state at a log time; see mf_shard_read.
//
// A reader's clock may be ahead of the last entry's log time. A key that died in between is dead by
// the reader's clock alone: a leader that takes over could have a clock that is still before the
// deadline, and would show the key again. Such a death is not told before an entry has reached it.
//
// mf_shard_read_shared reads beside the owner. That it sees one state, between two entries or where
// an entry takes out what is due, is the sequence lock's doing (base/seqlock.h): every store by
// which the map shows a change to its readers is a release (map_bucket.h), every load that finds a
// key an acquire, so a reader that saw anything of an entry finds the version changed. That it sees
// every entry whose outcome anybody has been told: the telling goes through a ring, a socket or
// both after the entry was applied, and the asking came after it the same way. What it holds on to
// stays in place through the map's epoch.
#include "shards/shard_internal.h"

// The largest answer: more would be refused on its way anyhow, and must not be gathered first.
#define ANSWER_BYTES_MAX (UINT64_C(1) << 30)
// A shorter answer is put together as it comes.
#define MEASURED_BYTES (UINT64_C(1) << 20)
// Keys that are fetched ahead at a time.
#define AHEAD_KEYS 32u

// Of OBJECT: a bucket of its own; a place in the heap, and one that is spare.
#define SHARE_TABLE_BYTES_MAX 64u
#define SHARE_HEAP_BYTES_MAX 16u

struct view {
    const struct mf_shard *shard;
    struct mf_map_reader *reader; // NULL on the owner's thread
    uint64_t now_us;              // never before the last entry's log time
    uint64_t reached_us;          // that log time
    bool local;                   // deaths need no entry
    bool again;                   // a death was met that no entry has reached
};

static const struct mf_entry *find_live(struct view *view, struct mf_bytes key)
{
    const struct mf_entry *entry =
        view->reader != NULL ? mf_map_read(view->reader, key) : mf_map_find(view->shard->keys, key);
    if (entry == NULL || !mf_entry_dead(entry, view->now_us))
        return entry;
    if (!view->local && !mf_entry_dead(entry, view->reached_us))
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
    if ((command->flags & MF_WITH_META) == 0) {
        mf_result_bytes(out, mf_entry_value(entry));
        return;
    }
    bool with_value = (command->flags & MF_META_ONLY) == 0;
    const struct mf_result result = {.kind = MF_RESULT_META,
                                     .value =
                                         with_value ? mf_entry_value(entry) : mf_bytes_of(NULL, 0),
                                     .version = mf_entry_version(entry),
                                     .ttl_ms = ttl_ms(view, entry)};
    mf_result_encode(&result, out);
}

// The keys of a read that has many are waited for side by side.
static void fetch_ahead(const struct view *view, const struct mf_command *command, uint32_t from)
{
    if (from % AHEAD_KEYS != 0 || command->item_count == 1)
        return;
    struct mf_map_ahead keys[AHEAD_KEYS];
    uint32_t left = command->item_count - from;
    uint32_t count = left < AHEAD_KEYS ? left : AHEAD_KEYS;
    for (uint32_t i = 0; i < count; i++) {
        struct mf_bytes key = command->items[from + i].key;
        keys[i] = view->reader != NULL ? mf_map_read_prefetch_bucket(view->reader, key)
                                       : mf_map_prefetch_bucket(view->shard->keys, key);
    }
    mf_map_prefetch_entries(keys, count);
}

static size_t value_bytes(const struct mf_entry *entry)
{
    return entry != NULL ? mf_entry_value(entry).len : 0;
}

// Of all items from this one on.
static uint64_t bytes_from(struct view *view, const struct mf_command *command, uint32_t from)
{
    uint64_t bytes = 0;
    for (uint32_t i = from; i < command->item_count && !view->again; i++)
        bytes += value_bytes(find_live(view, command->items[i].key));
    return bytes;
}

// What is behind `before` makes room for the error, in memory too.
static void refuse_mget(struct mf_buf *out, size_t before)
{
    out->len = before;
    if (before == 0)
        mf_buf_free(out);
    mf_result_error(out, MF_TOO_LARGE, "the values together are too large for one answer");
}

// A few keys, asked for again and again in one request, can stand for any amount of memory, and for
// the time that copying takes. So what gets long is measured before it gets longer.
static void answer_mget(struct view *view, const struct mf_command *command, struct mf_buf *out)
{
    size_t before = out->len;
    size_t most = ANSWER_BYTES_MAX;
    if (command->limit != 0 && command->limit < most)
        most = command->limit;
    size_t list = mf_result_list_begin(out, command->item_count);
    bool measured = false;
    for (uint32_t i = 0; i < command->item_count && !view->again; i++) {
        fetch_ahead(view, command, i);
        const struct mf_entry *entry = find_live(view, command->items[i].key);
        size_t bytes = out->len - list + value_bytes(entry);
        if (bytes > most || (bytes > MEASURED_BYTES && !measured &&
                             bytes + bytes_from(view, command, i + 1) > most)) {
            refuse_mget(out, before);
            return;
        }
        measured = bytes > MEASURED_BYTES;
        if (entry == NULL)
            mf_result_nil(out);
        else
            mf_result_bytes(out, mf_entry_value(entry));
    }
    mf_result_list_end(out, list);
}

static void answer_has(struct view *view, const struct mf_command *command, struct mf_buf *out)
{
    size_t list = mf_result_list_begin(out, command->item_count);
    for (uint32_t i = 0; i < command->item_count && !view->again; i++) {
        fetch_ahead(view, command, i);
        mf_result_bool(out, find_live(view, command->items[i].key) != NULL);
    }
    mf_result_list_end(out, list);
}

static void answer_ttl(struct view *view, const struct mf_command *command, struct mf_buf *out)
{
    const struct mf_entry *entry = find_live(view, command->items[0].key);
    mf_result_int(out, entry != NULL ? ttl_ms(view, entry) : -2);
}

// Settled, expire_us is how long from now Unix time 0 is: half a century back. Rounded to the
// nearest, so that a deadline that came as whole milliseconds is told as it came: between then and
// now two clocks were read twice, each time a moment apart.
static int64_t deadline_ms(const struct view *view, const struct mf_entry *entry,
                           const struct mf_command *command)
{
    uint64_t deadline_us = mf_entry_deadline(entry);
    int64_t unix_us;
    if (deadline_us == MF_NO_DEADLINE)
        return -1;
    uint64_t left_us = deadline_us - view->now_us;
    if (left_us > INT64_MAX ||
        __builtin_sub_overflow((int64_t)left_us, command->expire_us, &unix_us))
        unix_us = INT64_MAX;
    return unix_us < 0 ? 0 : unix_us / 1000 + (unix_us % 1000 >= 500);
}

static void answer_deadline(struct view *view, const struct mf_command *command, struct mf_buf *out)
{
    const struct mf_entry *entry = find_live(view, command->items[0].key);
    mf_result_int(out, entry != NULL ? deadline_ms(view, entry, command) : -2);
}

static void answer_strlen(struct view *view, const struct mf_command *command, struct mf_buf *out)
{
    const struct mf_entry *entry = find_live(view, command->items[0].key);
    mf_result_int(out, entry != NULL ? (int64_t)mf_entry_value(entry).len : 0);
}

// Where a range's end is: from the value's end where it is negative, and never before its
// beginning.
static uint64_t place_in(size_t len, int64_t at)
{
    int64_t place = at < 0 ? at + (int64_t)len : at;
    return place < 0 ? 0 : (uint64_t)place;
}

// As Redis has it: two ends that both lie before the value give its first byte, unless they are in
// the wrong order.
static struct mf_bytes part_of(struct mf_bytes value, int64_t from, int64_t to)
{
    if (value.len == 0 || (from < 0 && to < 0 && from > to))
        return mf_bytes_of(NULL, 0);
    uint64_t first = place_in(value.len, from);
    uint64_t last = place_in(value.len, to);
    if (last >= value.len)
        last = value.len - 1;
    if (first > last)
        return mf_bytes_of(NULL, 0);
    return mf_bytes_of(value.data + first, (size_t)(last - first + 1));
}

static void answer_getrange(struct view *view, const struct mf_command *command, struct mf_buf *out)
{
    const struct mf_entry *entry = find_live(view, command->items[0].key);
    struct mf_bytes value = entry != NULL ? mf_entry_value(entry) : mf_bytes_of(NULL, 0);
    mf_result_bytes(out, part_of(value, (int64_t)command->number, command->last));
}

// What a key takes of something that all share: the mean, or where there are few keys in it what
// one more may need.
static uint64_t share(uint64_t bytes, uint64_t keys, uint64_t most)
{
    uint64_t mean = (bytes + keys / 2) / keys;
    return mean < most ? mean : most;
}

// Only the owner knows how large the table is; false for any other.
static bool answer_object(struct view *view, const struct mf_command *command, struct mf_buf *out)
{
    if (view->reader != NULL)
        return false;
    const struct mf_entry *entry = find_live(view, command->items[0].key);
    if (entry == NULL) {
        mf_result_nil(out);
        return true;
    }
    struct mf_shard_memory memory;
    mf_shard_memory(view->shard, &memory);
    struct mf_bytes value = mf_entry_value(entry);
    uint64_t bytes =
        mf_entry_bytes(entry) + share(memory.table_bytes, memory.keys, SHARE_TABLE_BYTES_MAX);
    if (mf_entry_deadline(entry) != MF_NO_DEADLINE)
        bytes += share(memory.heap_bytes, view->shard->heap.count, SHARE_HEAP_BYTES_MAX);
    int64_t integer;
    size_t list = mf_result_list_begin(out, 3);
    mf_result_int(out, (int64_t)bytes);
    mf_result_int(out, (int64_t)value.len);
    mf_result_int(out, mf_shard_integer(value, &integer));
    mf_result_list_end(out, list);
    return true;
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

static bool answer_keys(struct view *view, const struct mf_command *command, struct mf_buf *out);

static void tell_facts(void *arg, struct mf_bytes key, struct mf_key_facts *facts)
{
    const struct mf_entry *entry = find_live(arg, key);
    if (entry != NULL)
        *facts = (struct mf_key_facts){true, mf_entry_version(entry), mf_entry_value(entry)};
}

static enum mf_err carry_out(void *arg, const struct mf_command *command, struct mf_buf *out)
{
    struct view *view = arg;
    if (!answer_keys(view, command, out))
        return MF_BAD_REQUEST;
    return view->again ? MF_AGAIN : MF_OK;
}

static void answer_txn(struct view *view, const struct mf_command *command, struct mf_buf *out)
{
    const struct mf_txn_run run = {tell_facts, carry_out, view};
    bool failed;
    if (mf_txn_run(&run, command, out, &failed) != MF_OK)
        view->again = true; // of commands that are reads nothing else can go wrong
}

// The reads that need nothing but the map; false for any other command.
static bool answer_keys(struct view *view, const struct mf_command *command, struct mf_buf *out)
{
    switch (command->op) {
    case MF_OP_GET:
        answer_get(view, command, out);
        return true;
    case MF_OP_MGET:
        answer_mget(view, command, out);
        return true;
    case MF_OP_HAS:
        answer_has(view, command, out);
        return true;
    case MF_OP_TTL:
        answer_ttl(view, command, out);
        return true;
    case MF_OP_DEADLINE:
        answer_deadline(view, command, out);
        return true;
    case MF_OP_STRLEN:
        answer_strlen(view, command, out);
        return true;
    case MF_OP_GETRANGE:
        answer_getrange(view, command, out);
        return true;
    case MF_OP_OBJECT:
        return answer_object(view, command, out);
    case MF_OP_TXN_READ:
        answer_txn(view, command, out);
        return true;
    default:
        return false;
    }
}

enum mf_err mf_shard_answer(const struct mf_shard *shard, const struct mf_command *command,
                            uint64_t log_now_us, struct mf_buf *out)
{
    struct view view = {
        .shard = shard,
        .now_us = log_now_us > shard->log_time_us ? log_now_us : shard->log_time_us,
        .reached_us = shard->log_time_us,
        .local = (command->flags & MF_READ_LOCAL) != 0,
    };
    size_t before = out->len;
    if (command->op == MF_OP_SIZE)
        answer_size(&view, out);
    else if (command->op == MF_OP_INDEX)
        mf_result_int(out, (int64_t)shard->applied);
    else if (command->op == MF_OP_SCAN)
        view.again = mf_shard_scan(shard, command, view.now_us, out) == MF_AGAIN;
    else if (!answer_keys(&view, command, out))
        return MF_BAD_REQUEST;
    if (!view.again)
        return MF_OK;
    out->len = before;
    return MF_AGAIN;
}

enum mf_err mf_shard_read_shared(const struct mf_shard *shard, struct mf_map_reader *reader,
                                 const struct mf_command *command, uint64_t log_now_us,
                                 struct mf_buf *out)
{
    size_t before = out->len;
    uint32_t version = mf_seq_read_begin(&shard->entries);
    if ((version & 1) != 0)
        return MF_AGAIN; // in the middle of an entry
    // Acquire, pairs with the release in apply.c.
    uint64_t reached_us = atomic_load_explicit(&shard->reached_us, memory_order_acquire);
    struct view view = {.shard = shard,
                        .reader = reader,
                        .now_us = log_now_us > reached_us ? log_now_us : reached_us,
                        .reached_us = reached_us};
    mf_map_read_begin(reader);
    bool fits = answer_keys(&view, command, out);
    bool whole = mf_seq_valid(&shard->entries, version);
    mf_map_read_end(reader);
    if (fits && whole && !view.again)
        return MF_OK;
    out->len = before;
    return fits ? MF_AGAIN : MF_BAD_REQUEST;
}

enum mf_err mf_shard_read(struct mf_shard *shard, const struct mf_command *command,
                          uint64_t log_now_us, struct mf_buf *out)
{
    enum mf_err err = mf_shard_answer(shard, command, log_now_us, out);
    shard->commands += err == MF_OK;
    return err;
}
