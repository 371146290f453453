// KEYS and RANDOMKEY, which are walks through all shards (see scan.h), and the keys of one slot, a
// walk through one. A walk asks for some keys at a time, so that no shard stands still for it.
#include <stdlib.h>

#include "base/glob.h"
#include "base/slots.h"
#include "server/resp_internal.h"
#include "shards/map.h"

#define KEYS_AT_ONCE 1000u
#define RANDOM_KEYS 10u

struct walk {
    struct mf_task task; // it goes on in the next turn
    struct mf_resp_call *call;
    struct mf_reactor *reactor;
    struct mf_buf pattern;
    struct mf_command command;
    struct mf_buf keys; // as they are told
    uint32_t count;
    bool random;     // one of those that come first is enough
    uint64_t chance; // which
    bool round;      // it has begun at a random place, and not yet at the start
    int32_t slot;    // whose keys alone are wanted, of `shard`
    uint32_t shard;
    int64_t most; // so many of them; INT64_MAX: only their number is told
};

static void end(struct walk *walk)
{
    walk->call->session->walking = false;
    mf_resp_call_end(walk->call);
    mf_buf_free(&walk->pattern);
    mf_buf_free(&walk->keys);
    free(walk);
}

static void fail(struct walk *walk, const struct mf_result *result)
{
    mf_resp_call_tell(walk->call, mf_resp_call_reply(walk->call), result);
    end(walk);
}

static void end_well(struct walk *walk)
{
    struct mf_buf *out = mf_resp_call_reply(walk->call);
    if (walk->random && walk->count == 0)
        mf_resp_null(out, walk->call->telling.version);
    else if (walk->most == INT64_MAX)
        mf_resp_int(out, walk->count);
    else if (!walk->random)
        mf_resp_array(out, walk->count);
    mf_buf_put(out, walk->keys.data, walk->keys.len);
    end(walk);
}

static bool is_full(const struct walk *walk)
{
    return walk->slot != MF_RESP_NO_SLOT && walk->count >= walk->most;
}

// Adds the keys; of a random walk one of them.
static bool take_keys(struct walk *walk, const struct mf_result *keys)
{
    struct mf_reader reader = mf_reader_of(keys->value);
    uint32_t chosen = keys->count > 0 ? (uint32_t)(walk->chance % keys->count) : 0;
    for (uint32_t i = 0; i < keys->count; i++) {
        struct mf_result key;
        if (mf_result_decode(&reader, &key) != MF_OK || key.kind != MF_RESULT_BYTES)
            return false;
        if ((walk->random && i != chosen) || is_full(walk) ||
            (walk->slot != MF_RESP_NO_SLOT && mf_slot_of(key.value) != walk->slot))
            continue;
        if (walk->most != INT64_MAX)
            mf_resp_bulk(&walk->keys, key.value);
        walk->count++;
    }
    return true;
}

static void go_on(struct walk *walk);

static void on_part(void *arg, const struct mf_result *result)
{
    struct walk *walk = arg;
    struct mf_reader reader = mf_reader_of(result->value);
    struct mf_result cursor;
    struct mf_result keys;
    if (result->kind == MF_RESULT_ERROR) {
        fail(walk, result);
        return;
    }
    if (result->kind != MF_RESULT_LIST || mf_result_decode(&reader, &cursor) != MF_OK ||
        mf_result_decode(&reader, &keys) != MF_OK || keys.kind != MF_RESULT_LIST ||
        !take_keys(walk, &keys)) {
        fail(walk, &(struct mf_result){.kind = MF_RESULT_ERROR, .err = MF_INTERNAL});
        return;
    }
    if (walk->keys.len > walk->reactor->node->config.request_bytes_max) {
        fail(walk, &(struct mf_result){
                       .kind = MF_RESULT_ERROR,
                       .err = MF_TOO_LARGE,
                       .value = mf_bytes_str("the keys together are too large for one answer")});
        return;
    }
    bool found = (walk->random && walk->count > 0) || is_full(walk);
    bool over = cursor.integer == 0 && !walk->round;
    walk->round = walk->round && cursor.integer != 0;
    walk->command.number = (uint64_t)cursor.integer;
    // Nobody walks for a client that is gone.
    if (found || over || walk->call->session->client.conn == NULL)
        end_well(walk);
    else
        go_on(walk);
}

static void ask(struct mf_reactor *reactor, struct mf_task *task)
{
    struct walk *walk = (struct walk *)task;
    if (walk->slot != MF_RESP_NO_SLOT)
        mf_request_start_on_here(reactor, walk->shard, &walk->command, on_part, walk);
    else
        mf_resp_start(walk->call->session, &walk->command, on_part, walk);
}

// In a turn of its own: what this node leads is answered at once, and others have their turn.
static void go_on(struct walk *walk)
{
    walk->task.run = ask;
    mf_reactor_send(walk->reactor, walk->reactor->index, &walk->task);
}

static void begin(struct mf_resp_session *session, struct walk *walk, struct mf_bytes pattern)
{
    const struct mf_resp_touch all = {.access = MF_RESP_READS, .many = true};
    walk->reactor = session->client.reactor;
    walk->call = mf_resp_call_begin(session, MF_RESP_FORM_PLAIN, all);
    session->walking = true;
    mf_buf_put(&walk->pattern, pattern.data, pattern.len);
    walk->command.op = MF_OP_SCAN;
    walk->command.body = mf_buf_view(&walk->pattern);
    go_on(walk);
}

static bool must_wait(const struct mf_resp_session *session)
{
    return session->walking ||
           mf_resp_must_wait(session,
                             (struct mf_resp_touch){.access = MF_RESP_READS, .many = true});
}

bool mf_resp_keys(struct mf_resp_session *session)
{
    struct mf_bytes pattern = mf_resp_word(session, 1);
    if (pattern.len > MF_GLOB_BYTES_MAX) {
        mf_resp_errorf(mf_resp_reply_begin(session),
                       "ERR the pattern is %zu bytes, at most %u are allowed", pattern.len,
                       MF_GLOB_BYTES_MAX);
        mf_resp_reply_end(session);
        return true;
    }
    if (must_wait(session))
        return false;
    struct walk *walk = mf_calloc(1, sizeof(*walk));
    walk->slot = MF_RESP_NO_SLOT;
    walk->command.limit = KEYS_AT_ONCE;
    begin(session, walk, pattern);
    return true;
}

// From a random place of a random shard on; where nothing comes after it, from the start.
bool mf_resp_randomkey(struct mf_resp_session *session)
{
    if (must_wait(session))
        return false;
    struct mf_reactor *reactor = session->client.reactor;
    uint64_t shard = mf_rand_next(&reactor->rand) % reactor->node->config.shards;
    uint64_t place = mf_rand_next(&reactor->rand) & ((UINT64_C(1) << MF_MAP_SCAN_BITS) - 1);
    struct walk *walk = mf_calloc(1, sizeof(*walk));
    walk->slot = MF_RESP_NO_SLOT;
    walk->random = true;
    walk->round = true;
    walk->chance = mf_rand_next(&reactor->rand);
    walk->command.limit = RANDOM_KEYS;
    walk->command.number = shard << MF_MAP_SCAN_BITS | place;
    begin(session, walk, mf_bytes_of("*", 1));
    return true;
}

bool mf_resp_keys_in_slot(struct mf_resp_session *session, uint16_t slot, int64_t most)
{
    if (must_wait(session))
        return false;
    struct walk *walk = mf_calloc(1, sizeof(*walk));
    walk->slot = slot;
    walk->shard = mf_shard_of_slot(slot, session->client.reactor->node->config.shards);
    walk->most = most;
    walk->command.limit = KEYS_AT_ONCE;
    begin(session, walk, mf_bytes_of("*", 1));
    return true;
}
