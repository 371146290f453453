// MULTI, EXEC, DISCARD, WATCH and UNWATCH: one txn of one shard; see base/txn.h.
//
// Between MULTI and EXEC commands are read as they come, and kept in the form that the log has.
// EXEC sends them as the branch of a txn, and its answer is told command by command. What the
// server answers itself is carried out when the shards have answered, and not at all where they
// refuse; the connection's later requests wait for it. An error in the words of a command is kept
// as its reply, as Redis does it. WATCH reads the versions of its keys, and EXEC has them as
// conditions: a key that was written, given another TTL, or has died since has another version.
// After a WATCH that failed there is nothing to compare with, and a client that pipelines has not
// seen that yet: then EXEC is refused.
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/command_table.h"
#include "base/slots.h"
#include "base/txn.h"
#include "server/hotkeys.h"
#include "server/resp_internal.h"

#define QUEUED_MAX 100000u
#define WATCHED_MAX 10000u
// What the server carries out itself it does in one turn.
#define OWN_MAX 4096u
#define SLOW_OWN_MAX 64u
#define TOO_LARGE "ERR the transaction is over 100000 commands, or limits.max_request"
// What the condition of a key takes beside the key, at most.
#define CONDITION_BYTES 32u
#define REPLIES_TOO_LARGE "ERR not carried out: the replies are over limits.max_request"
// Beside one value of the largest size, what a txn may answer.
#define ANSWER_SPARE_BYTES (1u << 20)

// A command since MULTI. Of one that the shards carry out only the form is needed.
struct queued {
    const struct mf_resp_row *row;
    enum mf_resp_form form;
    enum mf_opcode op;
    bool is_data;
    bool is_told;        // `words` is its whole reply
    struct mf_buf words; // u32 count and blobs
    size_t slow_at;      // in mf_resp_multi.slow: what SLOWLOG may have to tell of it ...
    size_t slow_bytes;   // ... 0 = nothing
};

struct mf_resp_multi {
    bool on;
    bool aborted;
    bool unguarded;    // a WATCH has failed
    uint32_t own;      // commands of the server's own ...
    uint32_t slow_own; // ... and of those that may have much to tell
    struct queued *queue;
    uint32_t count;
    uint32_t cap;
    struct mf_buf commands; // encoded, one after the other
    uint32_t command_count;
    bool writes;
    struct mf_buf slow;
    struct mf_buf tracked;    // keys that are read, for CLIENT TRACKING
    struct mf_buf conditions; // of the keys that are watched
    uint32_t watched;
    size_t bytes;         // of all words kept
    int32_t slot;         // on the Redis Cluster port: of the commands ...
    int32_t watched_slot; // ... and of a key that is watched
};

static void clear(struct mf_resp_multi *multi)
{
    for (uint32_t i = 0; i < multi->count; i++)
        mf_buf_free(&multi->queue[i].words);
    free(multi->queue);
    mf_buf_free(&multi->commands);
    mf_buf_free(&multi->slow);
    mf_buf_free(&multi->tracked);
    mf_buf_free(&multi->conditions);
    *multi = (struct mf_resp_multi){.slot = MF_RESP_NO_SLOT, .watched_slot = MF_RESP_NO_SLOT};
}

void mf_resp_multi_forget(struct mf_resp_session *session)
{
    if (session->multi != NULL)
        clear(session->multi);
    free(session->multi);
    session->multi = NULL;
}

static struct mf_resp_multi *multi_of(struct mf_resp_session *session)
{
    if (session->multi == NULL) {
        session->multi = mf_calloc(1, sizeof(*session->multi));
        clear(session->multi);
    }
    return session->multi;
}

bool mf_resp_in_multi(const struct mf_resp_session *session)
{
    return session->multi != NULL && session->multi->on;
}

bool mf_resp_multi_writes(const struct mf_resp_session *session)
{
    return mf_resp_in_multi(session) && session->multi->writes;
}

int64_t mf_resp_multi_count(const struct mf_resp_session *session)
{
    return mf_resp_in_multi(session) ? (int64_t)session->multi->count : -1;
}

void mf_resp_multi_abort(struct mf_resp_session *session)
{
    if (mf_resp_in_multi(session))
        session->multi->aborted = true;
}

void mf_resp_multi_unguarded(struct mf_resp_session *session)
{
    multi_of(session)->unguarded = true;
}

// Queueing.

static struct queued *add(struct mf_resp_multi *multi, const struct mf_resp_row *row)
{
    if (multi->count == multi->cap) {
        multi->cap = multi->cap == 0 ? 8 : multi->cap * 2;
        multi->queue = mf_realloc(multi->queue, multi->cap * sizeof(*multi->queue));
    }
    struct queued *queued = &multi->queue[multi->count++];
    *queued = (struct queued){.row = row};
    return queued;
}

static void keep_words(struct mf_resp_session *session, struct queued *queued)
{
    mf_buf_u32(&queued->words, mf_resp_words(session));
    for (uint32_t i = 0; i < mf_resp_words(session); i++)
        mf_buf_blob(&queued->words, mf_resp_word(session, i));
}

static void queue_data(struct mf_resp_session *session)
{
    struct mf_resp_multi *multi = session->multi;
    struct mf_resp_ask *ask = &session->ask;
    struct queued *queued = add(multi, ask->row);
    queued->slow_at = multi->slow.len;
    mf_resp_account_keep(session, &multi->slow);
    queued->slow_bytes = multi->slow.len - queued->slow_at;
    if (!mf_resp_ask_take(ask)) {
        queued->is_told = true;
        mf_resp_error(&queued->words, (const char *)ask->error.data);
        return;
    }
    queued->is_data = true;
    queued->form = ask->form;
    queued->op = ask->command.op;
    multi->writes = multi->writes || mf_op_is_write(ask->command.op);
    multi->command_count++;
    mf_command_encode(&ask->command, &multi->commands);
}

// Those that the server answers at once and alone.
static bool may_be_queued(const struct mf_resp_session *session)
{
    const struct mf_resp_row *row = session->ask.row;
    switch (row->own) {
    case MF_RESP_HELLO:
    case MF_RESP_CLIENT_REPLY:
    case MF_RESP_CLIENT_LIST:
    case MF_RESP_CLIENT_KILL:
    case MF_RESP_KEYS:
    case MF_RESP_RANDOMKEY:
    case MF_RESP_CLIENT_TRACKING:
    case MF_RESP_CLIENT_CACHING:
    case MF_RESP_LCS:
    case MF_RESP_MONITOR:
    case MF_RESP_PUBSUB_CHANNELS:
    case MF_RESP_PUBSUB_NUMSUB:
    case MF_RESP_PUBSUB_NUMPAT:
    case MF_RESP_SUBSCRIBE:
    case MF_RESP_PSUBSCRIBE:
    case MF_RESP_UNSUBSCRIBE:
    case MF_RESP_PUNSUBSCRIBE:
    case MF_RESP_DEBUG:
        return false;
    case MF_RESP_CLUSTER:
        return !session->cluster || !mf_resp_cluster_walks(row);
    default:
        break;
    }
    // Of the shards' commands those that look at all of them.
    return row->own != MF_RESP_DATA || row->first_key != 0;
}

static bool refuse(struct mf_resp_session *session, const char *text)
{
    mf_resp_multi_abort(session);
    mf_resp_reply_error(session, text);
    session->outcome = MF_RESP_REFUSED;
    return true;
}

// The log's form can be larger than what came: short keys, and those of WATCH.
static bool too_large(const struct mf_resp_multi *multi, const struct mf_config *config)
{
    return multi->commands.len + multi->conditions.len > config->request_bytes_max;
}

bool mf_resp_multi_queue(struct mf_resp_session *session)
{
    struct mf_resp_multi *multi = session->multi;
    const struct mf_config *config = &session->client.reactor->node->config;
    if (!may_be_queued(session))
        return refuse(session, "ERR Command not allowed inside a transaction");
    if (multi->count == QUEUED_MAX || too_large(multi, config) ||
        multi->bytes + session->request_bytes > config->request_bytes_max)
        return refuse(session, TOO_LARGE);
    multi->bytes += session->request_bytes;
    multi->slot = mf_resp_same_slot(multi->slot, session->slot);
    if (session->tracking != NULL)
        mf_resp_tracking_note(session, &multi->tracked);
    if (session->ask.row->own == MF_RESP_DATA) {
        queue_data(session);
    } else {
        multi->own++;
        multi->slow_own += (session->ask.row->flags & MF_RESP_FAST) == 0;
        if (multi->own > OWN_MAX || multi->slow_own > SLOW_OWN_MAX)
            return refuse(session, "ERR the transaction has over 4096 commands that are not about "
                                   "keys, or over 64 of those that are not fast");
        keep_words(session, add(multi, session->ask.row));
    }
    if (too_large(multi, config))
        return refuse(session, TOO_LARGE);
    mf_resp_status(mf_resp_reply_begin(session), "QUEUED");
    mf_resp_reply_end(session);
    session->outcome = MF_RESP_KEPT;
    return true;
}

bool mf_resp_multi(struct mf_resp_session *session)
{
    if (mf_resp_in_multi(session)) {
        mf_resp_reply_error(session, "ERR MULTI calls can not be nested");
        return true;
    }
    multi_of(session)->on = true;
    mf_resp_reply_ok(session);
    return true;
}

bool mf_resp_discard(struct mf_resp_session *session)
{
    if (!mf_resp_in_multi(session)) {
        mf_resp_reply_error(session, "ERR DISCARD without MULTI");
        return true;
    }
    if (session->under_way_all[MF_RESP_READS] > 0)
        return false; // a WATCH may be among them
    mf_resp_multi_forget(session);
    mf_resp_reply_ok(session);
    return true;
}

// EXEC.

struct exec {
    struct mf_resp_call *call;
    struct mf_resp_multi multi; // taken over from the session
    struct mf_buf own;          // replies of the server's own, each a blob
};

static void free_exec(struct exec *exec)
{
    clear(&exec->multi);
    mf_buf_free(&exec->own);
    free(exec);
}

// A command of the shards, or one that was refused when it came.
static void account(struct mf_resp_session *session, const struct mf_resp_multi *multi,
                    const struct queued *queued, uint64_t us, struct mf_bytes reply)
{
    const struct mf_resp_kept kept = {
        .bytes = mf_bytes_of(multi->slow.data + queued->slow_at, queued->slow_bytes)};
    mf_resp_account_command(session, queued->row, us, mf_resp_account_reply(session, reply), &kept);
}

// Carries out what was kept in words, and appends its reply to `out`.
static void run_own(struct mf_resp_session *session, const struct queued *queued,
                    struct mf_buf *out)
{
    struct mf_reader reader = mf_reader_of(mf_buf_view(&queued->words));
    uint32_t count = mf_read_u32(&reader);
    struct mf_bytes *words = mf_calloc(count, sizeof(*words));
    for (uint32_t i = 0; i < count; i++)
        words[i] = mf_read_blob(&reader);
    struct mf_resp_ask asked = session->ask;
    uint64_t began_us = mf_mono_us();
    session->ask.words = words;
    session->ask.count = count;
    session->ask.row = queued->row;
    session->capture = out;
    bool done = mf_resp_own(session);
    assert(done); // none of those that may be queued ever waits
    (void)done;
    mf_resp_account_command(session, queued->row, mf_mono_us() - began_us, session->outcome, NULL);
    session->outcome = MF_RESP_FINE;
    session->capture = NULL;
    session->ask = asked;
    free(words);
}

// In their order. Once the replies are too large together, the rest is not carried out.
static void answer_own(struct mf_resp_session *session, struct exec *exec)
{
    size_t most = session->client.reactor->node->config.request_bytes_max;
    for (uint32_t i = 0; i < exec->multi.count; i++) {
        const struct queued *queued = &exec->multi.queue[i];
        struct mf_buf reply = {0};
        if (queued->is_data)
            continue;
        if (queued->is_told) {
            mf_buf_put(&reply, queued->words.data, queued->words.len);
            account(session, &exec->multi, queued, 0, mf_buf_view(&reply));
        } else if (exec->own.len <= most) {
            run_own(session, queued, &reply);
        } else {
            mf_resp_error(&reply, REPLIES_TOO_LARGE);
        }
        mf_buf_blob(&exec->own, mf_buf_view(&reply));
        mf_buf_free(&reply);
    }
}

// us: what the shard's commands have taken, each.
static void tell_data(struct mf_resp_session *session, struct mf_buf *out,
                      const struct mf_resp_multi *multi, const struct queued *queued,
                      unsigned version, struct mf_reader *results, uint64_t us)
{
    size_t before = out->len;
    struct mf_result result;
    if (mf_result_decode(results, &result) != MF_OK)
        result = (struct mf_result){.kind = MF_RESULT_ERROR, .err = MF_INTERNAL};
    mf_resp_tell(out, (struct mf_resp_telling){queued->row, queued->form, (uint8_t)version},
                 &result);
    mf_resp_account_lookup(session, queued->op, queued->form, &result);
    struct mf_bytes reply = mf_bytes_of(out->data + before, out->len - before);
    account(session, multi, queued, us, reply);
}

// began_us: when the shard was asked.
static void tell_all(struct mf_resp_session *session, struct mf_buf *out, const struct exec *exec,
                     unsigned version, struct mf_bytes results, uint64_t began_us)
{
    struct mf_reader shards = mf_reader_of(results);
    struct mf_reader own = mf_reader_of(mf_buf_view(&exec->own));
    uint32_t parts = exec->multi.command_count;
    uint64_t us = parts > 0 ? (mf_mono_us() - began_us) / parts : 0;
    mf_resp_array(out, exec->multi.count);
    for (uint32_t i = 0; i < exec->multi.count; i++) {
        const struct queued *queued = &exec->multi.queue[i];
        if (queued->is_data) {
            tell_data(session, out, &exec->multi, queued, version, &shards, us);
        } else {
            struct mf_bytes reply = mf_read_blob(&own);
            mf_buf_put(out, reply.data, reply.len);
        }
    }
}

// The replies would be too large together: nothing has happened.
static void tell_failed(struct mf_buf *out, const struct mf_result *result,
                        struct mf_resp_telling telling)
{
    struct mf_buf why = {0};
    mf_resp_tell(&why, telling, result);
    mf_resp_errorf(out, "EXECABORT Transaction discarded because of: %.*s", (int)why.len - 3,
                   (const char *)why.data + 1);
    mf_buf_free(&why);
}

static void on_executed(void *arg, const struct mf_result *result)
{
    struct exec *exec = arg;
    struct mf_resp_call *call = exec->call;
    struct mf_resp_session *session = call->session;
    unsigned version = call->telling.version;
    bool done = result->kind == MF_RESULT_TXN && result->integer != 0;
    if (done && session->client.conn != NULL)
        answer_own(session, exec);
    if (exec->multi.own > 0)
        session->held = false;
    mf_client_learn_result(&session->client, result);
    struct mf_buf *out = mf_resp_call_reply(call);
    if (result->kind == MF_RESULT_ERROR && result->err == MF_TOO_LARGE)
        tell_failed(out, result, call->telling);
    else if (result->kind != MF_RESULT_TXN)
        mf_resp_call_tell(call, out, result);
    else if (result->integer == 0)
        mf_resp_null_array(out, version);
    else
        tell_all(call->session, out, exec, version, result->value, call->began_us);
    mf_resp_call_end(call);
    free_exec(exec);
}

static void put_part(struct mf_buf *body, const struct mf_buf *content, uint32_t count)
{
    size_t part = mf_txn_part_begin(body);
    mf_buf_put(body, content->data, content->len);
    mf_txn_part_end(body, part, count);
}

static void send_txn(struct mf_resp_session *session, struct exec *exec)
{
    const struct mf_config *config = &session->client.reactor->node->config;
    struct mf_resp_multi *multi = &exec->multi;
    struct mf_buf body = {0};
    const struct mf_buf none = {0};
    uint64_t most = config->value_bytes_max + ANSWER_SPARE_BYTES;
    most = most < config->request_bytes_max ? most : config->request_bytes_max;
    put_part(&body, &multi->conditions, multi->watched);
    put_part(&body, &multi->commands, multi->command_count);
    put_part(&body, &none, 0);
    const struct mf_command command = {
        .op = multi->writes ? MF_OP_TXN : MF_OP_TXN_READ,
        .flags = MF_GO_ON,
        .limit = most < UINT32_MAX ? (uint32_t)most : UINT32_MAX,
        .body = mf_buf_view(&body),
    };
    mf_hotkeys_note(session->client.reactor->hotkeys, &command);
    mf_resp_start(session, &command, on_executed, exec);
    mf_buf_free(&body);
}

// It must see what came before it, and be seen by what comes after.
static const struct mf_resp_touch exec_touch = {.access = MF_RESP_WRITES, .many = true};

bool mf_resp_exec(struct mf_resp_session *session)
{
    struct mf_resp_multi *multi = session->multi;
    if (!mf_resp_in_multi(session)) {
        mf_resp_reply_error(session, "ERR EXEC without MULTI");
        return true;
    }
    session->slot = multi->slot != MF_RESP_NO_SLOT ? multi->slot : multi->watched_slot;
    bool elsewhere = mf_resp_is_elsewhere(session, session->slot);
    if (multi->aborted || multi->unguarded || elsewhere) {
        if (session->under_way_all[MF_RESP_READS] > 0)
            return false; // as in DISCARD
        mf_resp_multi_forget(session);
        if (elsewhere)
            mf_resp_reply_elsewhere(session, session->slot);
        else
            mf_resp_reply_error(session,
                                "EXECABORT Transaction discarded because of previous errors.");
        return true;
    }
    // Its reads must not come before the writes under way, nor its writes before the reads.
    if (session->under_way_all[MF_RESP_READS] > 0 ||
        (!multi->writes && session->under_way_all[MF_RESP_WRITES] > 0))
        return false;
    struct exec *exec = mf_calloc(1, sizeof(*exec));
    exec->multi = *multi;
    free(multi);
    session->multi = NULL;
    if (exec->multi.command_count == 0 && exec->multi.watched == 0) {
        answer_own(session, exec);
        tell_all(session, mf_resp_reply_begin(session), exec, session->version,
                 mf_bytes_of(NULL, 0), 0);
        mf_resp_reply_end(session);
        free_exec(exec);
        return true;
    }
    exec->call = mf_resp_call_begin(session, MF_RESP_FORM_PLAIN, exec_touch);
    session->held = exec->multi.own > 0;
    if (session->tracking != NULL)
        mf_resp_tracking_exec(session, &exec->multi.tracked);
    send_txn(session, exec);
    return true;
}

// WATCH.

struct watching {
    struct mf_resp_call *call;
    struct mf_buf keys; // blobs
    uint32_t waiting;
    struct mf_result error; // MF_OK: none
    uint64_t *versions;
    uint32_t count;
};

struct watching_one {
    struct watching *watching;
    uint32_t at;
};

static void add_conditions(struct mf_resp_session *session, const struct watching *watching)
{
    struct mf_resp_multi *multi = multi_of(session);
    struct mf_reader keys = mf_reader_of(mf_buf_view(&watching->keys));
    for (uint32_t i = 0; i < watching->count; i++) {
        const struct mf_condition condition = {.subject = MF_SUBJECT_VERSION,
                                               .relation = MF_EQUAL,
                                               .key = mf_read_blob(&keys),
                                               .number = watching->versions[i]};
        mf_condition_encode(&condition, &multi->conditions);
        multi->watched++;
    }
    multi->watched_slot = watching->call->slot;
}

static void end_watching(struct watching *watching)
{
    struct mf_resp_call *call = watching->call;
    struct mf_resp_session *session = call->session;
    if (watching->error.err == MF_OK && session->client.conn != NULL)
        add_conditions(session, watching);
    else if (session->client.conn != NULL)
        mf_resp_multi_unguarded(session);
    struct mf_buf *out = mf_resp_call_reply(call);
    if (watching->error.err == MF_OK)
        mf_resp_status(out, "OK");
    else
        mf_resp_call_tell(call, out, &watching->error);
    mf_resp_call_end(call);
    mf_buf_free(&watching->keys);
    free(watching->versions);
    free(watching);
}

static void on_version(void *arg, const struct mf_result *result)
{
    struct watching_one *one = arg;
    struct watching *watching = one->watching;
    if (result->kind == MF_RESULT_META)
        watching->versions[one->at] = result->version;
    else if (result->kind == MF_RESULT_ERROR)
        watching->error = (struct mf_result){
            .kind = MF_RESULT_ERROR, .err = result->err, .integer = result->integer};
    free(one);
    if (--watching->waiting == 0)
        end_watching(watching);
}

static bool refuse_watch(struct mf_resp_session *session, const char *text)
{
    mf_resp_multi_unguarded(session);
    mf_resp_reply_error(session, text);
    return true;
}

// The limits of the key are those of every command; *bytes: what all of them take in the log.
static bool keys_fit(const struct mf_resp_session *session, size_t *bytes)
{
    *bytes = 0;
    for (uint32_t i = 1; i < mf_resp_words(session); i++) {
        size_t len = mf_resp_word(session, i).len;
        if (len == 0 || len > session->ask.key_bytes_max)
            return false;
        *bytes += len + CONDITION_BYTES;
    }
    return true;
}

bool mf_resp_watch(struct mf_resp_session *session)
{
    uint32_t count = mf_resp_words(session) - 1;
    size_t bytes;
    const struct mf_resp_touch touch = {.access = MF_RESP_READS, .many = true};
    if (mf_resp_in_multi(session)) {
        mf_resp_reply_error(session, "ERR WATCH inside MULTI is not allowed");
        return true;
    }
    if (!keys_fit(session, &bytes)) {
        char text[64];
        snprintf(text, sizeof(text), "ERR a key is not 1 to %zu bytes", session->ask.key_bytes_max);
        return refuse_watch(session, text);
    }
    uint32_t watched = session->multi != NULL ? session->multi->watched : 0;
    if (count > WATCHED_MAX - watched)
        return refuse_watch(session, "ERR 10000 keys are watched, no more are allowed");
    if (mf_resp_must_wait(session, touch) || session->under_way_all[MF_RESP_READS] > 0)
        return false;
    bytes += session->multi != NULL ? session->multi->conditions.len : 0;
    if (bytes > session->client.reactor->node->config.request_bytes_max)
        return refuse_watch(session, "ERR the keys that are watched are over limits.max_request");
    struct watching *watching = mf_calloc(1, sizeof(*watching));
    watching->call = mf_resp_call_begin(session, MF_RESP_FORM_PLAIN, touch);
    watching->count = count;
    watching->versions = mf_calloc(count, sizeof(*watching->versions));
    watching->waiting = count + 1;
    for (uint32_t i = 0; i < count; i++)
        mf_buf_blob(&watching->keys, mf_resp_word(session, i + 1));
    for (uint32_t i = 0; i < count; i++) {
        struct mf_command command = {.op = MF_OP_GET,
                                     .flags = MF_WITH_META | MF_META_ONLY,
                                     .items = &command.one,
                                     .item_count = 1};
        command.one.key = mf_resp_word(session, i + 1);
        struct watching_one *one = mf_alloc(sizeof(*one));
        *one = (struct watching_one){watching, i};
        mf_resp_start(session, &command, on_version, one);
    }
    if (--watching->waiting == 0)
        end_watching(watching);
    return true;
}

// Inside MULTI nothing is forgotten: EXEC will.
bool mf_resp_unwatch(struct mf_resp_session *session)
{
    if (session->capture == NULL && !mf_resp_in_multi(session)) {
        if (session->under_way_all[MF_RESP_READS] > 0)
            return false; // a WATCH may be among them
        mf_resp_multi_forget(session);
    }
    mf_resp_reply_ok(session);
    return true;
}
