// What requests of the Redis door cost, and how they ended.
//
// The clock is read once for each request, at its end: where several have come at once the end of
// one is the beginning of the next, so that their times add up to what all of them took. For a read
// that is answered at once the look at the clock that decided about it is enough. A request that
// the shards have to work on ends later, and only now and then the clock is read for the one behind
// it, and for short writes that end together.
//
// Commands of a transaction are carried out in one step, of which each is given an equal part.
#include "base/clock.h"
#include "server/latency.h"
#include "server/resp_internal.h"
#include "server/slowlog.h"

// The clock is read at the latest when so many requests have gone to the shards since.
#define UNREAD_MAX 16u
#define SHORT_BYTES 4096u

static struct mf_resp_door *door_of(const struct mf_resp_session *session)
{
    return session->client.reactor->resp;
}

static uint64_t read_clock(struct mf_resp_door *door)
{
    door->unread = 0;
    door->now_us = mf_mono_us();
    return door->now_us;
}

void mf_resp_account_begin(struct mf_resp_session *session)
{
    const struct mf_resp_door *door = door_of(session);
    uint64_t came_us = mf_conn_offered_us(session->client.conn);
    session->asked_us = came_us > door->now_us ? came_us : door->now_us;
    session->outcome = MF_RESP_FINE;
    session->later = false;
    session->ended_us = 0;
    session->ask.row = NULL;
}

enum mf_resp_outcome mf_resp_account_reply(struct mf_resp_session *session, struct mf_bytes reply)
{
    if (reply.len == 0 || reply.data[0] != '-')
        return MF_RESP_FINE;
    mf_client_count_error(&session->client);
    struct mf_bytes text = mf_bytes_of(reply.data + 1, reply.len - 1);
    bool refused = mf_resp_stats_error(door_of(session)->stats, text);
    return refused ? MF_RESP_REFUSED : MF_RESP_FAILED;
}

// Negative: nothing is slow.
static int64_t slow_us(const struct mf_resp_session *session, const struct mf_resp_row *row)
{
    const struct mf_resp_settings *settings = &session->client.reactor->node->resp_settings;
    if ((row->flags & MF_RESP_SKIP_SLOWLOG) != 0)
        return -1;
    return atomic_load_explicit(&settings->slowlog_log_slower_than_us, memory_order_relaxed);
}

// What nobody else may read: who is asking, and a password that is set. Words from `first` on, up
// to before `end`.
struct secret {
    uint32_t first;
    uint32_t end;
};

static struct secret secret_of(const struct mf_resp_session *session, const struct mf_resp_row *row)
{
    uint32_t count = mf_resp_words(session);
    if (row->own == MF_RESP_AUTH)
        return (struct secret){1, count};
    for (uint32_t i = 2; row->own == MF_RESP_HELLO && i < count; i++) {
        if (mf_resp_is(mf_resp_word(session, i), "auth"))
            return (struct secret){i + 1, count};
    }
    return (struct secret){0};
}

void mf_resp_account_keep(struct mf_resp_session *session, struct mf_buf *out)
{
    const struct mf_resp_row *row = session->ask.row;
    uint32_t count = mf_resp_words(session);
    if (slow_us(session, row) < 0)
        return;
    struct secret secret = secret_of(session, row);
    if (secret.first == secret.end) {
        mf_slowlog_put_words(out, session->ask.words, count);
        return;
    }
    struct mf_bytes words[MF_SLOWLOG_WORDS_MAX];
    count = count < MF_SLOWLOG_WORDS_MAX ? count : MF_SLOWLOG_WORDS_MAX;
    for (uint32_t i = 0; i < count; i++) {
        bool told = i < secret.first || i >= secret.end;
        words[i] = told ? mf_resp_word(session, i) : mf_bytes_str("(redacted)");
    }
    mf_slowlog_put_words(out, words, count);
}

// A short one is kept as it came: it is taken apart if it turns out slow.
static void keep_for_call(struct mf_resp_session *session, struct mf_resp_call *call)
{
    size_t bytes = session->request.at;
    const struct mf_resp_row *row = session->ask.row;
    call->raw = row->own == MF_RESP_DATA && bytes <= MF_RESP_KEEP_WORDS_BYTES;
    if (!call->raw)
        mf_resp_account_keep(session, &call->words);
    else if (slow_us(session, row) >= 0)
        mf_buf_put(&call->words, session->raw, bytes);
}

static void words_of_raw(struct mf_bytes raw, struct mf_buf *out)
{
    struct mf_resp_request request = {0};
    const struct mf_resp_limits limits = {.request_bytes_max = raw.len};
    size_t size;
    if (mf_resp_parse(&request, raw, &limits, &size) == MF_OK)
        mf_slowlog_put_words(out, request.words, request.word_count);
    mf_resp_free(&request);
}

static void note_slow(struct mf_resp_session *session, uint64_t us, const struct mf_resp_kept *kept)
{
    struct mf_buf words = {0};
    const struct mf_conn *conn = session->client.conn;
    if (kept == NULL)
        mf_resp_account_keep(session, &words);
    else if (kept->raw)
        words_of_raw(kept->bytes, &words);
    else
        mf_buf_put(&words, kept->bytes.data, kept->bytes.len);
    // Of one that became slow only when it was under way nothing was kept.
    if (words.len > 0)
        mf_slowlog_add(session->client.reactor->node->slowlog, mf_wall_us() / 1000000, us,
                       mf_buf_view(&words), conn != NULL ? mf_conn_peer_name(conn) : "?:0",
                       session->name);
    mf_buf_free(&words);
}

void mf_resp_account_command(struct mf_resp_session *session, const struct mf_resp_row *row,
                             uint64_t us, enum mf_resp_outcome outcome,
                             const struct mf_resp_kept *kept)
{
    struct mf_resp_stats *stats = door_of(session)->stats;
    if (outcome == MF_RESP_REFUSED) {
        mf_resp_stats_reject(stats, row);
        return;
    }
    mf_resp_stats_call(stats, row, us, outcome == MF_RESP_FAILED);
    int64_t slow = slow_us(session, row);
    if (__builtin_expect(slow >= 0 && us >= (uint64_t)slow, 0))
        note_slow(session, us, kept);
    if (__builtin_expect(us >= 1000, 0))
        mf_latency_note(
            session->client.reactor->node->latency,
            (row->flags & MF_RESP_FAST) != 0 ? MF_LATENCY_FAST_COMMAND : MF_LATENCY_COMMAND, us);
}

// A write of little that copies nothing: it ends right after the one before it in its log entry.
static bool is_short(const struct mf_resp_call *call)
{
    switch (call->op) {
    case MF_OP_SET:
    case MF_OP_DEL:
    case MF_OP_INCR:
    case MF_OP_EXPIRE:
    case MF_OP_PERSIST:
        return call->telling.form != MF_RESP_FORM_OLD && call->bytes <= SHORT_BYTES;
    default:
        return false;
    }
}

// Of the short ones that a shard's turn brings the clock is read for the first, and now and then.
static uint64_t end_of_call(struct mf_resp_door *door, const struct mf_resp_call *call)
{
    const struct mf_reactor *reactor = call->session->client.reactor;
    bool alone = reactor->flushing == 0 || door->ended_in != reactor->flushing || !is_short(call);
    if (alone || ++door->unread >= UNREAD_MAX) {
        read_clock(door);
        door->ended_in = reactor->flushing;
    }
    return door->now_us;
}

void mf_resp_account_call(struct mf_resp_call *call, enum mf_resp_outcome outcome)
{
    struct mf_resp_session *session = call->session;
    uint64_t end_us = end_of_call(door_of(session), call);
    uint64_t us = end_us > call->began_us ? end_us - call->began_us : 0;
    const struct mf_resp_kept kept = {mf_buf_view(&call->words), call->raw};
    bool fresh = session->fresh == call;
    if (fresh)
        session->fresh = NULL;
    mf_resp_account_command(session, call->telling.row, us, outcome, fresh ? NULL : &kept);
}

void mf_resp_account_end(struct mf_resp_session *session)
{
    struct mf_resp_door *door = door_of(session);
    if (session->fresh != NULL) {
        keep_for_call(session, session->fresh);
        session->fresh = NULL;
        if (++door->unread >= UNREAD_MAX)
            read_clock(door);
        return;
    }
    if (session->later)
        return; // it has ended, and told so
    if (session->ended_us == 0)
        read_clock(door);
    else if (session->ended_us > door->now_us)
        door->now_us = session->ended_us;
    uint64_t us = door->now_us > session->asked_us ? door->now_us - session->asked_us : 0;
    if (session->ask.row != NULL && session->outcome != MF_RESP_KEPT)
        mf_resp_account_command(session, session->ask.row, us, session->outcome, NULL);
}

// An empty part of a value, and a length of 0, are told of a key that is not there, too.
static bool is_hit(enum mf_opcode op, const struct mf_result *result)
{
    switch (op) {
    case MF_OP_TTL:
    case MF_OP_DEADLINE:
        return result->integer != -2;
    case MF_OP_STRLEN:
        return result->integer != 0;
    case MF_OP_GETRANGE:
        return result->value.len != 0;
    case MF_OP_SET:
        return result->has_old;
    default:
        return result->kind != MF_RESULT_NIL &&
               (result->kind != MF_RESULT_BOOL || result->integer != 0);
    }
}

static void count_list(struct mf_resp_stats *stats, const struct mf_result *list)
{
    struct mf_reader reader = mf_reader_of(list->value);
    struct mf_result element;
    uint64_t hits = 0;
    for (uint32_t i = 0; i < list->count && mf_result_decode(&reader, &element) == MF_OK; i++)
        hits += is_hit(MF_OP_NONE, &element);
    mf_resp_stats_lookups(stats, hits, list->count - hits);
}

void mf_resp_account_lookup(struct mf_resp_session *session, enum mf_opcode op,
                            enum mf_resp_form form, const struct mf_result *result)
{
    struct mf_resp_stats *stats = door_of(session)->stats;
    switch (op) {
    case MF_OP_SET:
        if (form != MF_RESP_FORM_OLD)
            return;
        break;
    case MF_OP_GET:
    case MF_OP_MGET:
    case MF_OP_HAS:
    case MF_OP_TTL:
    case MF_OP_DEADLINE:
    case MF_OP_STRLEN:
    case MF_OP_GETRANGE:
    case MF_OP_GETDEL:
    case MF_OP_GETEX:
        break;
    default:
        return;
    }
    if (result->kind == MF_RESULT_LIST)
        count_list(stats, result);
    else if (result->kind != MF_RESULT_ERROR)
        mf_resp_stats_lookups(stats, is_hit(op, result), !is_hit(op, result));
}
