// LATENCY: when this node was slow (latency.h), and how the times of its commands are spread
// (resp_stats.h).
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "server/latency.h"
#include "server/node.h"
#include "server/resp_internal.h"

#define NAMES_MAX 1024u

static struct mf_latency *latency_of(const struct mf_resp_session *session)
{
    return session->client.reactor->node->latency;
}

// Each name is looked for.
static bool too_many(struct mf_resp_session *session)
{
    if (mf_resp_words(session) - 2 <= NAMES_MAX)
        return false;
    mf_resp_reply_error(session, "ERR at most 1024 names can be asked about at once");
    return true;
}

bool mf_resp_latency_latest(struct mf_resp_session *session)
{
    struct mf_latency_series all[MF_LATENCY_EVENTS];
    uint32_t count = 0;
    for (uint32_t i = 0; i < MF_LATENCY_EVENTS; i++) {
        mf_latency_read(latency_of(session), (enum mf_latency_event)i, &all[i]);
        count += all[i].count > 0;
    }
    struct mf_buf *out = mf_resp_reply_begin(session);
    mf_resp_array(out, count);
    for (uint32_t i = 0; i < MF_LATENCY_EVENTS; i++) {
        if (all[i].count == 0)
            continue;
        const struct mf_latency_sample *last = &all[i].samples[all[i].count - 1];
        mf_resp_array(out, 4);
        mf_resp_bulk_str(out, mf_latency_name((enum mf_latency_event)i));
        mf_resp_int(out, last->unix_s);
        mf_resp_int(out, last->ms);
        mf_resp_int(out, all[i].max_ms);
    }
    mf_resp_reply_end(session);
    return true;
}

// Of an event that there is none of nothing is told.
static void read_named(const struct mf_resp_session *session, struct mf_bytes name,
                       enum mf_latency_event *event, struct mf_latency_series *series)
{
    series->count = 0;
    if (mf_latency_find(name, event))
        mf_latency_read(latency_of(session), *event, series);
}

bool mf_resp_latency_history(struct mf_resp_session *session)
{
    enum mf_latency_event event;
    struct mf_latency_series series;
    read_named(session, mf_resp_word(session, 2), &event, &series);
    struct mf_buf *out = mf_resp_reply_begin(session);
    mf_resp_array(out, series.count);
    for (uint32_t i = 0; i < series.count; i++) {
        mf_resp_array(out, 2);
        mf_resp_int(out, series.samples[i].unix_s);
        mf_resp_int(out, series.samples[i].ms);
    }
    mf_resp_reply_end(session);
    return true;
}

bool mf_resp_latency_graph(struct mf_resp_session *session)
{
    enum mf_latency_event event;
    struct mf_latency_series series;
    struct mf_bytes name = mf_resp_word(session, 2);
    read_named(session, name, &event, &series);
    if (series.count == 0) {
        mf_resp_errorf(mf_resp_reply_begin(session), "ERR No samples available for event '%.*s'",
                       mf_resp_text_len(name), (const char *)name.data);
        mf_resp_reply_end(session);
        return true;
    }
    struct mf_buf text = {0};
    mf_latency_draw(&text, event, &series, mf_wall_us() / 1000000);
    mf_resp_verbatim(mf_resp_reply_begin(session), session->version, mf_buf_view(&text));
    mf_resp_reply_end(session);
    mf_buf_free(&text);
    return true;
}

bool mf_resp_latency_reset(struct mf_resp_session *session)
{
    int64_t count = 0;
    if (too_many(session))
        return true;
    if (mf_resp_words(session) == 2) {
        for (uint32_t i = 0; i < MF_LATENCY_EVENTS; i++)
            count += mf_latency_reset(latency_of(session), (enum mf_latency_event)i);
    }
    for (uint32_t i = 2; i < mf_resp_words(session); i++) {
        enum mf_latency_event event;
        if (mf_latency_find(mf_resp_word(session, i), &event))
            count += mf_latency_reset(latency_of(session), event);
    }
    mf_resp_int(mf_resp_reply_begin(session), count);
    mf_resp_reply_end(session);
    return true;
}

// What a person is told.

static void say(struct mf_buf *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct mf_buf *out, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    mf_buf_put(out, text, len < (int)sizeof(text) ? (size_t)len : sizeof(text) - 1);
}

static const char *const advice[MF_LATENCY_EVENTS] = {
    [MF_LATENCY_COMMAND] = "SLOWLOG GET tells which commands these were. A write waits for a "
                           "majority of its shard's copies, and so for their disks and the way to "
                           "them.",
    [MF_LATENCY_FAST_COMMAND] = "These are commands of one key, so what they waited for was the "
                                "disk, other nodes, or a processor: see INFO mayfly.",
    [MF_LATENCY_FSYNC] = "The disk took long to keep the log. Another process may write to it; "
                         "durability.mode says what is waited for.",
};

static void say_series(struct mf_buf *out, enum mf_latency_event event,
                       const struct mf_latency_series *series)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < series->count; i++)
        sum += series->samples[i].ms;
    uint64_t average = sum / series->count;
    uint64_t apart = 0;
    for (uint32_t i = 0; i < series->count; i++) {
        uint64_t ms = series->samples[i].ms;
        apart += ms > average ? ms - average : average - ms;
    }
    uint32_t span_s = series->samples[series->count - 1].unix_s - series->samples[0].unix_s;
    double period_s = series->count > 1 ? (double)span_s / (series->count - 1) : 0;
    say(out,
        "%s: %u slow moments (average %" PRIu64 " ms, mean deviation %" PRIu64
        " ms, one every %.2f s). The worst took %u ms.\n",
        mf_latency_name(event), series->count, average, apart / series->count, period_s,
        series->max_ms);
    say(out, "  %s\n", advice[event]);
}

bool mf_resp_latency_doctor(struct mf_resp_session *session)
{
    const struct mf_resp_settings *settings = &session->client.reactor->node->resp_settings;
    struct mf_buf text = {0};
    for (uint32_t i = 0; i < MF_LATENCY_EVENTS; i++) {
        struct mf_latency_series series;
        mf_latency_read(latency_of(session), (enum mf_latency_event)i, &series);
        if (series.count > 0)
            say_series(&text, (enum mf_latency_event)i, &series);
    }
    bool on =
        atomic_load_explicit(&settings->latency_monitor_threshold_ms, memory_order_relaxed) > 0;
    if (text.len == 0 && on)
        say(&text, "Nothing was slow.\n");
    else if (text.len == 0)
        say(&text, "Nobody looks for slow moments: CONFIG SET latency-monitor-threshold "
                   "<milliseconds> begins to.\n");
    mf_resp_verbatim(mf_resp_reply_begin(session), session->version, mf_buf_view(&text));
    mf_resp_reply_end(session);
    mf_buf_free(&text);
    return true;
}

// HISTOGRAM.

// Over all reactors.
static void sum_times(const struct mf_node *node, const struct mf_resp_row *row,
                      struct mf_resp_times *times)
{
    *times = (struct mf_resp_times){0};
    for (uint32_t i = 0; i < node->reactor_count; i++)
        mf_resp_stats_add_times(node->reactors[i]->resp->stats, row, times);
}

// Bounds are powers of two, as far as there is more at them than below. False: no calls.
static bool put_histogram(struct mf_buf *out, unsigned version, const struct mf_node *node,
                          const struct mf_resp_row *row)
{
    struct mf_resp_times times;
    uint64_t bounds[64];
    uint64_t counts[64];
    uint32_t count = 0;
    uint64_t told = 0;
    sum_times(node, row, &times);
    if (times.count == 0)
        return false;
    for (uint32_t bit = 0; bit < 64 && told < times.count; bit++) {
        uint64_t within = mf_resp_times_within(&times, UINT64_C(1) << bit);
        if (within == told)
            continue;
        bounds[count] = UINT64_C(1) << bit;
        counts[count++] = within;
        told = within;
    }
    mf_resp_bulk_str(out, row->name);
    mf_resp_map(out, version, 2);
    mf_resp_bulk_str(out, "calls");
    mf_resp_int(out, (int64_t)times.count);
    mf_resp_bulk_str(out, "histogram_usec");
    mf_resp_map(out, version, count);
    for (uint32_t i = 0; i < count; i++) {
        mf_resp_int(out, (int64_t)bounds[i]);
        mf_resp_int(out, (int64_t)counts[i]);
    }
    return true;
}

// Marks the command of that name, and those of the container of that name.
static void mark(bool *asked, const struct mf_resp_row *rows, size_t count, struct mf_bytes name)
{
    const struct mf_resp_row *named = mf_resp_find_name(name);
    if (named == NULL)
        return;
    size_t len = strlen(named->name);
    for (const struct mf_resp_row *row = named; row < rows + count; row++) {
        if (row != named && (strncmp(row->name, named->name, len) != 0 || row->name[len] != '|'))
            break;
        asked[row - rows] = true;
    }
}

bool mf_resp_latency_histogram(struct mf_resp_session *session)
{
    const struct mf_node *node = session->client.reactor->node;
    struct mf_buf body = {0};
    uint32_t told = 0;
    size_t count;
    const struct mf_resp_row *rows = mf_resp_rows(&count);
    if (too_many(session))
        return true;
    bool *asked = mf_calloc(count, sizeof(*asked));
    for (uint32_t i = 2; i < mf_resp_words(session); i++)
        mark(asked, rows, count, mf_resp_word(session, i));
    for (size_t i = 0; i < count; i++)
        told += (asked[i] || mf_resp_words(session) == 2) &&
                put_histogram(&body, session->version, node, &rows[i]);
    struct mf_buf *out = mf_resp_reply_begin(session);
    mf_resp_map(out, session->version, told);
    mf_buf_put(out, body.data, body.len);
    mf_resp_reply_end(session);
    mf_buf_free(&body);
    free(asked);
    return true;
}
