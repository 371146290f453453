// Pipelined sets through the client library; see push.h.
//
// Absolute deadlines travel as Unix time, worked out as for a new cluster. A key whose time is past
// is sent all the same: the cluster's clock decides, and it replaces what the cluster had.
#include "snapshot/tool/push.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "mayfly/client.h"
#include "snapshot/tool/entry.h"
#include "snapshot/tool/layout.h"

struct push {
    struct mayfly_client *client;
    const struct mf_snapshot_shard *section;
    enum mf_snapshot_ttl ttl;
    struct push_totals *totals;
    bool failed;
    char *message;
    size_t message_size;
};

static void note_failure(struct push *push, const char *why)
{
    if (!push->failed)
        snprintf(push->message, push->message_size, "%s", why);
    push->failed = true;
}

static void take_reply(void *cookie, const struct mayfly_reply *reply)
{
    struct push *push = cookie;
    if (reply->err == MAYFLY_OK) {
        push->totals->keys += 1;
        return;
    }
    char why[512];
    snprintf(why, sizeof(why), "%s: %s", mayfly_err_name(reply->err), reply->message);
    note_failure(push, why);
}

// To the millisecond and never early. What was dead at the cut is sent as long past.
static void set_expiry(const struct push *push, const struct mf_record *record,
                       struct mayfly_options *options)
{
    if (record->deadline_us == MF_NO_DEADLINE)
        return;
    uint64_t left_us = mf_snapshot_left_us(record->deadline_us, push->section->meta.log_time_us);
    if (push->ttl == MF_SNAPSHOT_ABSOLUTE || left_us == 0) {
        options->flags = MAYFLY_FLAG_EXPIRE_AT;
        options->expire_at_ms =
            left_us == 0 ? 1 : (int64_t)entry_of(push->section, record).expire_at_ms;
    } else if (push->ttl == MF_SNAPSHOT_REMAINING) {
        uint64_t left_ms = left_us / 1000 + (left_us % 1000 != 0);
        options->flags = MAYFLY_FLAG_TTL;
        options->ttl_ms =
            left_ms < (uint64_t)MAYFLY_TTL_MS_MAX ? (int64_t)left_ms : MAYFLY_TTL_MS_MAX;
    }
}

static enum mf_err push_record(void *arg, const struct mf_record *record)
{
    struct push *push = arg;
    if (record->is_id) {
        push->totals->ids_left_out += 1;
        return MF_OK;
    }
    struct mayfly_bytes key = {record->key.data, record->key.len};
    struct mayfly_bytes value = {record->value.data, record->value.len};
    struct mayfly_request request = {
        .method = MAYFLY_METHOD_SET, .keys = &key, .values = &value, .count = 1};
    set_expiry(push, record, &request.options);
    enum mayfly_err err = mayfly_submit(push->client, &request, take_reply, push);
    while (err == MAYFLY_ERR_WINDOW_FULL && !push->failed) {
        (void)mayfly_poll(push->client, -1);
        err = mayfly_submit(push->client, &request, take_reply, push);
    }
    if (err != MAYFLY_OK)
        note_failure(push, mayfly_client_error(push->client));
    return push->failed ? MF_IO : MF_OK;
}

int push_all(struct mf_snapshot_reader *reader, const struct tool_args *args,
             struct push_totals *totals, char *message, size_t message_size)
{
    *totals = (struct push_totals){0};
    struct push push = {
        .ttl = args->ttl, .totals = totals, .message = message, .message_size = message_size};
    push.client = layout_client(args, args->endpoints, message, message_size);
    if (push.client == NULL)
        return EXIT_USAGE;
    if (mayfly_client_connect(push.client) != MAYFLY_OK)
        note_failure(&push, mayfly_client_error(push.client));
    struct mf_snapshot_summary summary;
    mf_snapshot_summary(reader, &summary);
    for (uint32_t i = 0; i < summary.shards && !push.failed; i++) {
        char reading[1024];
        push.section = mf_snapshot_section(reader, i);
        if (mf_snapshot_read(reader, i, push_record, &push, reading, sizeof(reading)) != MF_OK)
            note_failure(&push, reading);
    }
    mayfly_drain(push.client);
    mayfly_client_free(push.client);
    return push.failed ? EXIT_FAILED : EXIT_FINE;
}
