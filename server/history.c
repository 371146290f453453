// The recent changes of a shard; see history.h.
#include "server/history.h"

// Buffers double as they grow, so a half is a power of two.
void mf_history_init(struct mf_history *history, size_t bytes_max)
{
    size_t half_bytes = 1;
    while (half_bytes <= bytes_max / 4)
        half_bytes *= 2;
    *history = (struct mf_history){.half_bytes = half_bytes};
}

void mf_history_free(struct mf_history *history)
{
    mf_buf_free(&history->older);
    mf_buf_free(&history->newer);
}

void mf_history_restart(struct mf_history *history, uint64_t version)
{
    mf_history_free(history);
    history->complete_from = version > 0 ? version + 1 : 0;
}

// The keys of a flush share a version: one that is not all here does not count.
static void turn_over(struct mf_history *history)
{
    if (history->older.len > 0)
        history->complete_from = history->older_last + 1;
    struct mf_buf emptied = history->older;
    mf_buf_clear(&emptied, history->half_bytes);
    history->older = history->newer;
    history->older_last = history->newer_last;
    history->newer = emptied;
}

void mf_history_add(struct mf_history *history, const struct mf_event *event)
{
    size_t bytes = mf_event_bytes(event);
    if (bytes > history->half_bytes) {
        mf_history_restart(history, event->version);
        return;
    }
    if (history->newer.len + bytes > history->half_bytes)
        turn_over(history);
    mf_event_put(&history->newer, event);
    history->newer_last = event->version;
}

static void visit_one(const struct mf_buf *events, uint64_t from_version,
                      void (*visit)(void *arg, const struct mf_event *event), void *arg)
{
    struct mf_reader reader = mf_reader_of(mf_buf_view(events));
    while (mf_reader_left(&reader) > 0) {
        struct mf_event event;
        mf_event_take(&reader, &event);
        if (event.version >= from_version)
            visit(arg, &event);
    }
}

void mf_history_visit(const struct mf_history *history, uint64_t from_version,
                      void (*visit)(void *arg, const struct mf_event *event), void *arg)
{
    visit_one(&history->older, from_version, visit, arg);
    visit_one(&history->newer, from_version, visit, arg);
}

void mf_history_prefetch(const struct mf_history *history)
{
    if (history->newer.data != NULL)
        __builtin_prefetch(history->newer.data + history->newer.len, 1);
}

size_t mf_history_bytes(const struct mf_history *history)
{
    return history->older.cap + history->newer.cap;
}
