// LCS: what two values have in common. Its work grows with the product of their lengths, so it is
// done by the node's worker, one at a time for a connection.
#include <stdlib.h>

#include "base/lcs.h"
#include "server/hotkeys.h"
#include "server/resp_internal.h"
#include "server/worker.h"

// A row of the table has four bytes for each of these.
#define ROW_BYTES_MAX (1u << 20)
// Of a node at a time: files wait for the worker, too.
#define JOBS_MAX 16u

struct lcs_job {
    struct mf_job job;
    struct mf_resp_call *call;
    bool length_only;
    bool places;    // IDX: the matches are told
    bool with_lens; // WITHMATCHLEN
    int64_t least;  // MINMATCHLEN: only those that are as long
    struct mf_buf a;
    struct mf_buf b;
    struct mf_lcs lcs;
};

static void end_job(struct lcs_job *job)
{
    struct mf_resp_session *session = job->call->session;
    session->walking = false;
    // Relaxed: a bound that a few may pass at once.
    atomic_fetch_sub_explicit(&session->client.reactor->node->lcs_jobs, 1, memory_order_relaxed);
    mf_resp_call_end(job->call);
    mf_lcs_free(&job->lcs);
    mf_buf_free(&job->a);
    mf_buf_free(&job->b);
    free(job);
}

static void fail(struct lcs_job *job, const struct mf_result *result)
{
    mf_resp_call_tell(job->call, mf_resp_call_reply(job->call), result);
    end_job(job);
}

static uint32_t match_len(const struct mf_lcs_match *match)
{
    return match->a_last - match->a_first + 1;
}

static void put_range(struct mf_buf *out, uint32_t first, uint32_t last)
{
    mf_resp_array(out, 2);
    mf_resp_int(out, first);
    mf_resp_int(out, last);
}

static void put_places(struct mf_buf *out, unsigned version, const struct lcs_job *job)
{
    const struct mf_lcs *lcs = &job->lcs;
    uint32_t told = 0;
    for (uint32_t i = 0; i < lcs->match_count; i++)
        told += match_len(&lcs->matches[i]) >= job->least;
    mf_resp_map(out, version, 2);
    mf_resp_bulk_str(out, "matches");
    mf_resp_array(out, told);
    for (uint32_t i = 0; i < lcs->match_count; i++) {
        const struct mf_lcs_match *match = &lcs->matches[i];
        if (match_len(match) < job->least)
            continue;
        mf_resp_array(out, job->with_lens ? 3 : 2);
        put_range(out, match->a_first, match->a_last);
        put_range(out, match->b_first, match->b_last);
        if (job->with_lens)
            mf_resp_int(out, match_len(match));
    }
    mf_resp_bulk_str(out, "len");
    mf_resp_int(out, lcs->len);
}

static void tell_found(struct mf_reactor *reactor, struct mf_task *task)
{
    (void)reactor;
    struct lcs_job *job = (struct lcs_job *)task;
    const struct mf_result stopped = {.kind = MF_RESULT_ERROR, .err = MF_SHUTTING_DOWN};
    if (job->job.undone) {
        fail(job, &stopped);
        return;
    }
    struct mf_buf *out = mf_resp_call_reply(job->call);
    if (job->places)
        put_places(out, job->call->telling.version, job);
    else if (job->length_only)
        mf_resp_int(out, job->lcs.len);
    else
        mf_resp_bulk(out, mf_bytes_of(job->lcs.text, job->lcs.len));
    end_job(job);
}

// On the worker's thread.
static void find(struct mf_job *work)
{
    struct lcs_job *job = (struct lcs_job *)work;
    mf_lcs_find(mf_buf_view(&job->a), mf_buf_view(&job->b), job->length_only, &job->lcs);
}

// An absent key is an empty value.
static bool take_values(struct lcs_job *job, const struct mf_result *result)
{
    struct mf_reader reader = mf_reader_of(result->value);
    struct mf_result a;
    struct mf_result b;
    if (result->kind != MF_RESULT_LIST || result->count != 2 ||
        mf_result_decode(&reader, &a) != MF_OK || mf_result_decode(&reader, &b) != MF_OK)
        return false;
    mf_buf_put(&job->a, a.value.data, a.value.len);
    mf_buf_put(&job->b, b.value.data, b.value.len);
    return true;
}

static void on_values(void *arg, const struct mf_result *result)
{
    struct lcs_job *job = arg;
    struct mf_resp_session *session = job->call->session;
    const struct mf_result broken = {.kind = MF_RESULT_ERROR, .err = MF_INTERNAL};
    if (result->kind == MF_RESULT_ERROR || !take_values(job, result)) {
        fail(job, result->kind == MF_RESULT_ERROR ? result : &broken);
        return;
    }
    bool long_rows = job->a.len > ROW_BYTES_MAX || job->b.len > ROW_BYTES_MAX;
    if (long_rows || (job->b.len > 0 && job->a.len > MF_LCS_CELLS_MAX / job->b.len)) {
        mf_resp_error(mf_resp_call_reply(job->call),
                      "ERR the values are too long: 1048576 bytes are allowed, and for the product "
                      "of their lengths 4194304");
        end_job(job);
        return;
    }
    job->job.home = session->client.reactor;
    job->job.work = find;
    job->job.task.run = tell_found;
    mf_worker_give(session->client.reactor->node->worker, &job->job);
}

// False, with the error told.
static bool take_options(struct mf_resp_session *session, struct lcs_job *job)
{
    for (uint32_t i = 3; i < mf_resp_words(session); i++) {
        struct mf_bytes word = mf_resp_word(session, i);
        if (mf_resp_is(word, "idx")) {
            job->places = true;
        } else if (mf_resp_is(word, "len")) {
            job->length_only = true;
        } else if (mf_resp_is(word, "withmatchlen")) {
            job->with_lens = true;
        } else if (!mf_resp_is(word, "minmatchlen") || i + 1 == mf_resp_words(session)) {
            mf_resp_reply_error(session, MF_RESP_SYNTAX);
            return false;
        } else if (!mf_resp_integer(mf_resp_word(session, ++i), &job->least)) {
            mf_resp_reply_error(session, MF_RESP_NOT_INTEGER);
            return false;
        }
    }
    if (job->places && job->length_only) {
        mf_resp_reply_error(session, "ERR If you want both the length and indexes, please just "
                                     "use IDX.");
        return false;
    }
    return true;
}

bool mf_resp_lcs(struct mf_resp_session *session)
{
    struct mf_reactor *reactor = session->client.reactor;
    struct mf_item items[2] = {{.key = mf_resp_word(session, 1)},
                               {.key = mf_resp_word(session, 2)}};
    struct mf_command command = {.op = MF_OP_MGET, .items = items, .item_count = 2};
    struct mf_resp_touch touch = mf_resp_touch_of(&command);
    if (session->walking || mf_resp_must_wait(session, touch))
        return false;
    for (int i = 0; i < 2; i++) {
        if (items[i].key.len > 0 && items[i].key.len <= session->ask.key_bytes_max)
            continue;
        mf_resp_reply_error(session, "ERR a key is empty, or longer than limits.max_key");
        return true;
    }
    struct lcs_job *job = mf_calloc(1, sizeof(*job));
    if (!take_options(session, job)) {
        free(job);
        return true;
    }
    if (atomic_load_explicit(&reactor->node->lcs_jobs, memory_order_relaxed) >= JOBS_MAX) {
        mf_resp_tell_error(mf_resp_reply_begin(session), MF_BUSY, NULL);
        mf_resp_reply_end(session);
        free(job);
        return true;
    }
    atomic_fetch_add_explicit(&reactor->node->lcs_jobs, 1, memory_order_relaxed);
    mf_hotkeys_note(reactor->hotkeys, &command);
    session->walking = true;
    job->call = mf_resp_call_begin(session, MF_RESP_FORM_PLAIN, touch);
    mf_resp_start(session, &command, on_values, job);
    return true;
}
