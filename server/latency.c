// Series of slow moments; see latency.h.
#include "server/latency.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

#define COLUMNS 80u
#define ROWS 4u
#define STEPS (3u * ROWS) // three heights in each row

// A ring: the oldest of its samples is the next to be written over.
struct series {
    uint32_t max_ms;
    uint32_t next;
    struct mf_latency_sample samples[MF_LATENCY_SAMPLES]; // unix_s 0: none
};

struct mf_latency {
    const struct mf_resp_settings *settings;
    pthread_mutex_t mutex;
    struct series series[MF_LATENCY_EVENTS];
};

static const char *const names[MF_LATENCY_EVENTS] = {
    [MF_LATENCY_COMMAND] = "command",
    [MF_LATENCY_FAST_COMMAND] = "fast-command",
    [MF_LATENCY_FSYNC] = "aof-fsync-always",
};

const char *mf_latency_name(enum mf_latency_event event)
{
    return names[event];
}

bool mf_latency_find(struct mf_bytes name, enum mf_latency_event *event)
{
    for (uint32_t i = 0; i < MF_LATENCY_EVENTS; i++) {
        *event = (enum mf_latency_event)i;
        if (mf_bytes_equal(name, mf_bytes_str(names[i])))
            return true;
    }
    return false;
}

struct mf_latency *mf_latency_new(const struct mf_resp_settings *settings)
{
    struct mf_latency *latency = mf_calloc(1, sizeof(*latency));
    latency->settings = settings;
    pthread_mutex_init(&latency->mutex, NULL);
    return latency;
}

void mf_latency_free(struct mf_latency *latency)
{
    if (latency == NULL)
        return;
    pthread_mutex_destroy(&latency->mutex);
    free(latency);
}

void mf_latency_note(struct mf_latency *latency, enum mf_latency_event event, uint64_t us)
{
    int64_t threshold_ms = atomic_load_explicit(&latency->settings->latency_monitor_threshold_ms,
                                                memory_order_relaxed);
    if (threshold_ms <= 0 || us / 1000 < (uint64_t)threshold_ms)
        return;
    mf_latency_add(latency, event, mf_wall_us() / 1000000, us / 1000);
}

void mf_latency_add(struct mf_latency *latency, enum mf_latency_event event, uint64_t unix_s,
                    uint64_t ms)
{
    struct series *series = &latency->series[event];
    struct mf_latency_sample sample = {(uint32_t)unix_s,
                                       ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX};
    pthread_mutex_lock(&latency->mutex);
    struct mf_latency_sample *last =
        &series->samples[(series->next + MF_LATENCY_SAMPLES - 1) % MF_LATENCY_SAMPLES];
    if (sample.ms > series->max_ms)
        series->max_ms = sample.ms;
    if (last->unix_s == sample.unix_s) {
        last->ms = sample.ms > last->ms ? sample.ms : last->ms;
    } else {
        series->samples[series->next] = sample;
        series->next = (series->next + 1) % MF_LATENCY_SAMPLES;
    }
    pthread_mutex_unlock(&latency->mutex);
}

void mf_latency_read(struct mf_latency *latency, enum mf_latency_event event,
                     struct mf_latency_series *out)
{
    struct series *series = &latency->series[event];
    out->count = 0;
    pthread_mutex_lock(&latency->mutex);
    out->max_ms = series->max_ms;
    for (uint32_t i = 0; i < MF_LATENCY_SAMPLES; i++) {
        const struct mf_latency_sample *sample =
            &series->samples[(series->next + i) % MF_LATENCY_SAMPLES];
        if (sample->unix_s != 0)
            out->samples[out->count++] = *sample;
    }
    pthread_mutex_unlock(&latency->mutex);
}

bool mf_latency_reset(struct mf_latency *latency, enum mf_latency_event event)
{
    struct series *series = &latency->series[event];
    pthread_mutex_lock(&latency->mutex);
    bool any = false;
    for (uint32_t i = 0; i < MF_LATENCY_SAMPLES; i++)
        any = any || series->samples[i].unix_s != 0;
    *series = (struct series){0};
    pthread_mutex_unlock(&latency->mutex);
    return any;
}

// Drawing.

// Some columns of a drawing: how high each is, 0 to STEPS - 1, and what stands below it.
struct chart {
    uint32_t count;
    uint32_t steps[COLUMNS];
    char labels[COLUMNS][24];
};

static void label(char *out, size_t size, uint64_t age_s)
{
    if (age_s < 60)
        snprintf(out, size, "%us", (unsigned)age_s);
    else if (age_s < 3600)
        snprintf(out, size, "%um", (unsigned)(age_s / 60));
    else if (age_s < 86400)
        snprintf(out, size, "%uh", (unsigned)(age_s / 3600));
    else
        snprintf(out, size, "%ud", (unsigned)(age_s / 86400));
}

static char bar_at(uint32_t step, uint32_t row)
{
    uint32_t below = (ROWS - 1 - row) * 3;
    if (step < below)
        return ' ';
    return step - below < 3 ? "_o#"[step - below] : '|';
}

static void draw_chart(struct mf_buf *out, const struct chart *chart)
{
    for (uint32_t row = 0; row < ROWS; row++) {
        for (uint32_t i = 0; i < chart->count; i++)
            mf_buf_u8(out, (uint8_t)bar_at(chart->steps[i], row));
        mf_buf_u8(out, '\n');
    }
    // An empty line, then the labels from top to bottom.
    bool more = true;
    for (uint32_t at = 0; more; at++) {
        more = false;
        for (uint32_t i = 0; i < chart->count; i++)
            more = more || at == 0 || strlen(chart->labels[i]) >= at;
        for (uint32_t i = 0; i < chart->count && more; i++) {
            bool has = at > 0 && strlen(chart->labels[i]) >= at;
            mf_buf_u8(out, (uint8_t)(has ? chart->labels[i][at - 1] : ' '));
        }
        if (more)
            mf_buf_u8(out, '\n');
    }
}

void mf_latency_draw(struct mf_buf *out, enum mf_latency_event event,
                     const struct mf_latency_series *series, uint64_t now_s)
{
    uint32_t low = UINT32_MAX;
    uint32_t high = 0;
    for (uint32_t i = 0; i < series->count; i++) {
        low = series->samples[i].ms < low ? series->samples[i].ms : low;
        high = series->samples[i].ms > high ? series->samples[i].ms : high;
    }
    char head[160];
    int len = snprintf(head, sizeof(head), "%s - high %u ms, low %u ms (all time high %u ms)\n",
                       names[event], high, low, series->max_ms);
    mf_buf_put(out, head, (size_t)len);
    memset(mf_buf_reserve(out, COLUMNS), '-', COLUMNS);
    out->len += COLUMNS;
    mf_buf_u8(out, '\n');
    struct chart chart = {0};
    uint64_t range = high > low ? high - low : 1;
    for (uint32_t i = 0; i < series->count; i++) {
        const struct mf_latency_sample *sample = &series->samples[i];
        uint64_t step = (uint64_t)(sample->ms - low) * STEPS / range;
        uint64_t age_s = now_s > sample->unix_s ? now_s - sample->unix_s : 0;
        chart.steps[chart.count] = step < STEPS ? (uint32_t)step : STEPS - 1;
        label(chart.labels[chart.count], sizeof(chart.labels[0]), age_s);
        if (++chart.count < COLUMNS && i + 1 < series->count)
            continue;
        if (i >= COLUMNS)
            mf_buf_u8(out, '\n');
        draw_chart(out, &chart);
        chart.count = 0;
    }
}
