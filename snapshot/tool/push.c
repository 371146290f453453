// Pipelined sets through the client library; see push.h.
//
// Absolute deadlines travel as Unix time, worked out as for a new cluster. A key whose time is past
// is sent all the same: the cluster's clock decides, and it replaces what the cluster had.
#include "snapshot/tool/push.h"
#include "snapshot/tool/progress.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "mayfly/client.h"
#include "snapshot/crew.h"
#include "snapshot/tool/entry.h"
#include "snapshot/tool/layout.h"

// A thread's part: a connection of its own.
struct push {
    struct mayfly_client *client;
    enum mf_snapshot_ttl ttl;
    struct push_totals totals;
    bool failed;
    char why[1024];
};

static void note_failure(struct push *push, const char *why)
{
    if (!push->failed)
        snprintf(push->why, sizeof(push->why), "%s", why);
    push->failed = true;
}

static void take_reply(void *cookie, const struct mayfly_reply *reply)
{
    struct push *push = cookie;
    if (reply->err == MAYFLY_OK) {
        push->totals.keys += 1;
        return;
    }
    char why[512];
    snprintf(why, sizeof(why), "%s: %s", mayfly_err_name(reply->err), reply->message);
    note_failure(push, why);
}

// To the millisecond and never early. What was dead at the cut is sent as long past.
static void set_expiry(const struct mf_crew_place *place, const struct mf_record *record,
                       struct mayfly_options *options)
{
    const struct push *push = place->state;
    if (record->deadline_us == MF_NO_DEADLINE)
        return;
    uint64_t left_us = mf_snapshot_left_us(record->deadline_us, place->section->meta.log_time_us);
    bool absolute = push->ttl == MF_SNAPSHOT_ABSOLUTE && place->section->wall_us != 0;
    if (absolute || left_us == 0) {
        options->flags = MAYFLY_FLAG_EXPIRE_AT;
        options->expire_at_ms =
            left_us == 0 ? 1 : (int64_t)entry_of(place->section, record, 0).expire_at_ms;
    } else if (push->ttl != MF_SNAPSHOT_NO_TTL) {
        uint64_t left_ms = left_us / 1000 + (left_us % 1000 != 0);
        options->flags = MAYFLY_FLAG_TTL;
        options->ttl_ms =
            left_ms < (uint64_t)MAYFLY_TTL_MS_MAX ? (int64_t)left_ms : MAYFLY_TTL_MS_MAX;
    }
}

static enum mf_err push_record(struct mf_crew_place *place, const struct mf_record *record)
{
    struct push *push = place->state;
    if (record->is_id) {
        push->totals.ids_left_out += 1;
        return MF_OK;
    }
    struct mayfly_bytes key = {record->key.data, record->key.len};
    struct mayfly_bytes value = {record->value.data, record->value.len};
    struct mayfly_request request = {
        .method = MAYFLY_METHOD_SET, .keys = &key, .values = &value, .count = 1};
    set_expiry(place, record, &request.options);
    enum mayfly_err err = mayfly_submit(push->client, &request, take_reply, push);
    while (err == MAYFLY_ERR_WINDOW_FULL && !push->failed) {
        (void)mayfly_poll(push->client, -1);
        err = mayfly_submit(push->client, &request, take_reply, push);
    }
    if (err != MAYFLY_OK)
        note_failure(push, mayfly_client_error(push->client));
    return push->failed ? MF_IO : MF_OK;
}

// Reads the file and waits for all answers. Of several failures the first thread's is told.
static bool push_blocks(struct mf_snapshot_reader *reader, struct push *pushes, unsigned threads,
                        char *message, size_t message_size)
{
    struct mf_snapshot_summary summary;
    struct progress progress;
    void *states[MF_CREW_THREADS_MAX];
    struct mf_crew_job job = {.reader = reader,
                              .threads = threads,
                              .states = states,
                              .record = push_record,
                              .progress = progress_count,
                              .progress_arg = &progress};
    for (unsigned i = 0; i < threads; i++)
        states[i] = &pushes[i];
    mf_snapshot_summary(reader, &summary);
    progress_start(&progress, "restoring", summary.file_bytes, false);
    bool good = mf_crew_run(&job, message, message_size) == MF_OK;
    progress_end(&progress);
    for (unsigned i = threads; i-- > 0;) {
        mayfly_drain(pushes[i].client);
        if (pushes[i].failed)
            snprintf(message, message_size, "%s", pushes[i].why);
        good = good && !pushes[i].failed;
    }
    return good;
}

int push_all(struct mf_snapshot_reader *reader, const struct tool_args *args,
             struct push_totals *totals, char *message, size_t message_size)
{
    unsigned threads = mf_crew_threads(args->threads);
    struct push *pushes = mf_calloc(threads, sizeof(*pushes));
    *totals = (struct push_totals){0};
    int status = EXIT_FINE;
    for (unsigned i = 0; i < threads && status == EXIT_FINE; i++) {
        pushes[i].ttl = args->ttl;
        pushes[i].client = layout_client(args, args->endpoints, message, message_size);
        if (pushes[i].client == NULL) {
            status = EXIT_USAGE;
        } else if (mayfly_client_connect(pushes[i].client) != MAYFLY_OK) {
            snprintf(message, message_size, "%s", mayfly_client_error(pushes[i].client));
            status = EXIT_FAILED;
        }
    }
    if (status == EXIT_FINE && !push_blocks(reader, pushes, threads, message, message_size))
        status = EXIT_FAILED;
    for (unsigned i = 0; i < threads; i++) {
        totals->keys += pushes[i].totals.keys;
        totals->ids_left_out += pushes[i].totals.ids_left_out;
        mayfly_client_free(pushes[i].client);
    }
    free(pushes);
    return status;
}
