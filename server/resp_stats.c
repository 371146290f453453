// Counting what commands cost; see resp_stats.h.
//
// Shared between threads: all of struct mf_resp_stats. Its reactor is the only one to write, so
// that a relaxed load and a store count as well as an atomic addition, and cost what plain memory
// costs. Readers take each number as it is (relaxed). A histogram, and the name of an error, are
// complete before they can be found: release by the writer, with the acquire of readers; neither
// goes before the whole does.
#include "server/resp_stats.h"

#include <stdlib.h>
#include <string.h>

#include "base/counter.h"
#include "base/hist.h"

struct times {
    _Atomic uint64_t buckets[MF_RESP_TIMES_BUCKETS];
};

struct row_stats {
    _Atomic uint64_t calls;
    _Atomic uint64_t us;
    _Atomic uint64_t rejected;
    _Atomic uint64_t failed;
    _Atomic(struct times *) times; // NULL until the first call
};

struct error_stats {
    char name[MF_RESP_ERROR_NAME_BYTES]; // constant once it can be found
    _Atomic uint64_t count;
};

struct mf_resp_stats {
    const struct mf_resp_settings *settings;
    const struct mf_resp_row *first_row;
    size_t row_count;
    _Atomic uint64_t resets; // how many of the settings' it has seen
    _Atomic uint64_t hits;
    _Atomic uint64_t misses;
    _Atomic uint32_t error_count;
    struct error_stats errors[MF_RESP_ERROR_NAMES_MAX];
    struct row_stats rows[];
};

struct mf_resp_stats *mf_resp_stats_new(const struct mf_resp_settings *settings)
{
    size_t count;
    const struct mf_resp_row *rows = mf_resp_rows(&count);
    struct mf_resp_stats *stats = mf_calloc(1, sizeof(*stats) + count * sizeof(stats->rows[0]));
    stats->settings = settings;
    stats->first_row = rows;
    stats->row_count = count;
    return stats;
}

void mf_resp_stats_free(struct mf_resp_stats *stats)
{
    for (size_t i = 0; i < stats->row_count; i++)
        free(atomic_load_explicit(&stats->rows[i].times, memory_order_relaxed));
    free(stats);
}

// Writing.

static void clear(struct mf_resp_stats *stats)
{
    mf_counter_set(&stats->hits, 0);
    mf_counter_set(&stats->misses, 0);
    for (uint32_t i = 0; i < MF_RESP_ERROR_NAMES_MAX; i++)
        mf_counter_set(&stats->errors[i].count, 0);
    for (size_t i = 0; i < stats->row_count; i++) {
        struct row_stats *row = &stats->rows[i];
        struct times *times = atomic_load_explicit(&row->times, memory_order_relaxed);
        mf_counter_set(&row->calls, 0);
        mf_counter_set(&row->us, 0);
        mf_counter_set(&row->rejected, 0);
        mf_counter_set(&row->failed, 0);
        for (uint32_t j = 0; times != NULL && j < MF_RESP_TIMES_BUCKETS; j++)
            mf_counter_set(&times->buckets[j], 0);
    }
}

// What was counted before a reset is forgotten before anything else is counted.
static void keep_up(struct mf_resp_stats *stats)
{
    uint64_t resets = mf_counter_read(&stats->settings->resets);
    if (__builtin_expect(mf_counter_read(&stats->resets) == resets, 1))
        return;
    clear(stats);
    // Release, pairs with the acquire in is_old: whoever sees this sees what was cleared.
    atomic_store_explicit(&stats->resets, resets, memory_order_release);
}

static struct row_stats *row_of(struct mf_resp_stats *stats, const struct mf_resp_row *row)
{
    return &stats->rows[row - stats->first_row];
}

static void count_time(struct row_stats *row, uint64_t us)
{
    struct times *times = atomic_load_explicit(&row->times, memory_order_relaxed);
    if (__builtin_expect(times == NULL, 0)) {
        times = mf_calloc(1, sizeof(*times));
        // Release, pairs with the acquire in mf_resp_stats_add_times.
        atomic_store_explicit(&row->times, times, memory_order_release);
    }
    // One less, so that a bucket ends at each power of two.
    uint32_t bucket = mf_hist_bucket_of(us > 0 ? us - 1 : 0, MF_RESP_TIMES_BITS);
    mf_counter_add(
        &times->buckets[bucket < MF_RESP_TIMES_BUCKETS ? bucket : MF_RESP_TIMES_BUCKETS - 1], 1);
}

void mf_resp_stats_call(struct mf_resp_stats *stats, const struct mf_resp_row *row, uint64_t us,
                        bool failed)
{
    keep_up(stats);
    struct row_stats *own = row_of(stats, row);
    mf_counter_add(&own->calls, 1);
    mf_counter_add(&own->us, us);
    if (failed)
        mf_counter_add(&own->failed, 1);
    if (atomic_load_explicit(&stats->settings->latency_tracking, memory_order_relaxed))
        count_time(own, us);
}

void mf_resp_stats_reject(struct mf_resp_stats *stats, const struct mf_resp_row *row)
{
    keep_up(stats);
    mf_counter_add(&row_of(stats, row)->rejected, 1);
}

void mf_resp_stats_lookups(struct mf_resp_stats *stats, uint64_t hits, uint64_t misses)
{
    keep_up(stats);
    mf_counter_add(&stats->hits, hits);
    mf_counter_add(&stats->misses, misses);
}

static bool is_refusal(struct mf_bytes name)
{
    static const char *const names[] = {"ASK",      "BUSY",     "CLUSTERDOWN", "CROSSSLOT",
                                        "MOVED",    "NOAUTH",   "NOPERM",      "OOM",
                                        "READONLY", "TRYAGAIN", "SHUTTINGDOWN"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (mf_bytes_equal(name, mf_bytes_str(names[i])))
            return true;
    }
    return false;
}

// The place of a name; there may be no room for another one.
static struct error_stats *place_of(struct mf_resp_stats *stats, struct mf_bytes name)
{
    uint32_t count = atomic_load_explicit(&stats->error_count, memory_order_relaxed);
    for (uint32_t i = 0; i < count; i++) {
        if (mf_bytes_equal(mf_bytes_str(stats->errors[i].name), name))
            return &stats->errors[i];
    }
    if (count + 1 == MF_RESP_ERROR_NAMES_MAX)
        name = mf_bytes_str("ERR");
    if (count == MF_RESP_ERROR_NAMES_MAX)
        return &stats->errors[count - 1];
    memcpy(stats->errors[count].name, name.data, name.len);
    // Release, pairs with the acquire in mf_resp_stats_add_errors.
    atomic_store_explicit(&stats->error_count, count + 1, memory_order_release);
    return &stats->errors[count];
}

bool mf_resp_stats_error(struct mf_resp_stats *stats, struct mf_bytes text)
{
    struct mf_bytes name = mf_bytes_of(text.data, 0);
    while (name.len < text.len && name.len + 1 < MF_RESP_ERROR_NAME_BYTES &&
           text.data[name.len] > ' ')
        name.len++;
    keep_up(stats);
    mf_counter_add(&place_of(stats, name)->count, 1);
    return is_refusal(name);
}

// Reading.

// It has not been written since the last reset.
static bool is_old(const struct mf_resp_stats *stats)
{
    // Acquire, pairs with the release in keep_up.
    return atomic_load_explicit(&stats->resets, memory_order_acquire) !=
           mf_counter_read(&stats->settings->resets);
}

void mf_resp_stats_add_row(const struct mf_resp_stats *stats, const struct mf_resp_row *row,
                           struct mf_resp_row_sum *sum)
{
    const struct row_stats *own = &stats->rows[row - stats->first_row];
    if (is_old(stats))
        return;
    sum->calls += mf_counter_read(&own->calls);
    sum->us += mf_counter_read(&own->us);
    sum->rejected += mf_counter_read(&own->rejected);
    sum->failed += mf_counter_read(&own->failed);
}

void mf_resp_stats_add(const struct mf_resp_stats *stats, struct mf_resp_sum *sum)
{
    if (is_old(stats))
        return;
    for (size_t i = 0; i < stats->row_count; i++)
        sum->calls += mf_counter_read(&stats->rows[i].calls);
    for (uint32_t i = 0; i < MF_RESP_ERROR_NAMES_MAX; i++)
        sum->errors += mf_counter_read(&stats->errors[i].count);
    sum->hits += mf_counter_read(&stats->hits);
    sum->misses += mf_counter_read(&stats->misses);
}

// Puts a name in its order; where there is no room for it, what it counts goes to the last one.
static void add_error(struct mf_resp_error_sum *sum, const char *name, uint64_t count)
{
    uint32_t at = 0;
    while (at < sum->count && strcmp(sum->errors[at].name, name) < 0)
        at++;
    bool known = at < sum->count && strcmp(sum->errors[at].name, name) == 0;
    if (!known && sum->count == MF_RESP_ERROR_NAMES_MAX) {
        at = sum->count - 1;
    } else if (!known) {
        memmove(&sum->errors[at + 1], &sum->errors[at], (sum->count - at) * sizeof(sum->errors[0]));
        memset(&sum->errors[at], 0, sizeof(sum->errors[0]));
        strncpy(sum->errors[at].name, name, MF_RESP_ERROR_NAME_BYTES - 1);
        sum->count++;
    }
    sum->errors[at].count += count;
}

void mf_resp_stats_add_errors(const struct mf_resp_stats *stats, struct mf_resp_error_sum *sum)
{
    // Acquire, pairs with the release in place_of.
    uint32_t count = atomic_load_explicit(&stats->error_count, memory_order_acquire);
    if (is_old(stats))
        return;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t told = mf_counter_read(&stats->errors[i].count);
        if (told > 0)
            add_error(sum, stats->errors[i].name, told);
    }
}

void mf_resp_stats_add_times(const struct mf_resp_stats *stats, const struct mf_resp_row *row,
                             struct mf_resp_times *times)
{
    // Acquire, pairs with the release in count_time.
    const struct times *own =
        atomic_load_explicit(&stats->rows[row - stats->first_row].times, memory_order_acquire);
    if (own == NULL || is_old(stats))
        return;
    for (uint32_t i = 0; i < MF_RESP_TIMES_BUCKETS; i++) {
        uint64_t count = mf_counter_read(&own->buckets[i]);
        times->buckets[i] += count;
        times->count += count;
    }
}

uint64_t mf_resp_times_percentile(const struct mf_resp_times *times, double percent)
{
    if (times->count == 0)
        return 0;
    uint64_t rank = mf_hist_rank(times->count, percent);
    uint64_t seen = 0;
    uint32_t bucket = 0;
    for (; bucket + 1 < MF_RESP_TIMES_BUCKETS; bucket++) {
        seen += times->buckets[bucket];
        if (seen >= rank)
            break;
    }
    return mf_hist_bucket_max(bucket, MF_RESP_TIMES_BITS) + 1;
}

uint64_t mf_resp_times_within(const struct mf_resp_times *times, uint64_t us)
{
    uint32_t last = mf_hist_bucket_of(us - 1, MF_RESP_TIMES_BITS);
    uint64_t count = 0;
    for (uint32_t i = 0; i <= last && i < MF_RESP_TIMES_BUCKETS; i++)
        count += times->buckets[i];
    return count;
}
