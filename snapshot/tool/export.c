// The verb export: the keys of a file as lines of text.
//
// Lines gather to a chunk and are written when it is full: memory is a block of the file and the
// text of the records in it. A block's checksum is seen before its first record is printed.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "snapshot/tool/lines.h"
#include "snapshot/tool/outfile.h"
#include "snapshot/tool/tool.h"

#define CHUNK_BYTES (256u * 1024u)

struct export
{
    const struct mf_snapshot_shard *section;
    bool csv;
    uint64_t now_ms;
    uint64_t keys;
    uint64_t dead;
    struct mf_buf lines;
    struct outfile out;
};

static enum mf_err write_lines(struct export *export)
{
    bool written = outfile_write(&export->out, mf_buf_view(&export->lines));
    mf_buf_clear(&export->lines, 2 * CHUNK_BYTES);
    return written ? MF_OK : MF_IO;
}

static enum mf_err export_record(void *arg, const struct mf_record *record)
{
    struct export *export = arg;
    if (record->is_id)
        return MF_OK;
    struct entry entry = entry_of(export->section, record);
    if (entry.expires && entry.expire_at_ms <= export->now_ms) {
        export->dead += 1;
        return MF_OK;
    }
    export->keys += 1;
    if (export->csv)
        lines_put_csv(&export->lines, &entry);
    else
        lines_put_json(&export->lines, &entry);
    return export->lines.len < CHUNK_BYTES ? MF_OK : write_lines(export);
}

// What a cluster that began with this file now would go by.
static uint64_t restored_now_ms(struct mf_snapshot_reader *reader)
{
    struct mf_snapshot_summary summary;
    mf_snapshot_summary(reader, &summary);
    uint64_t now_us = mf_wall_us();
    for (uint32_t i = 0; i < summary.shards; i++) {
        uint64_t wall_us = mf_snapshot_section(reader, i)->wall_us;
        now_us = now_us > wall_us ? now_us : wall_us;
    }
    return now_us / 1000;
}

static enum mf_err export_all(struct export *export, struct mf_snapshot_reader *reader,
                              char *message, size_t message_size)
{
    struct mf_snapshot_summary summary;
    mf_snapshot_summary(reader, &summary);
    if (export->csv)
        lines_put_csv_names(&export->lines);
    enum mf_err err = MF_OK;
    for (uint32_t i = 0; i < summary.shards && err == MF_OK; i++) {
        export->section = mf_snapshot_section(reader, i);
        err = mf_snapshot_read(reader, i, export_record, export, message, message_size);
    }
    if (err == MF_OK)
        err = write_lines(export);
    if (export->out.failed)
        snprintf(message, message_size, "%s", export->out.why);
    return err;
}

int tool_export(const struct tool_args *args)
{
    struct mf_snapshot_reader *reader = tool_open(args);
    if (reader == NULL)
        return EXIT_FAILED;
    struct export export = {.csv = args->output == OUTPUT_CSV, .now_ms = restored_now_ms(reader)};
    char message[1024];
    int status = EXIT_FINE;
    if (!outfile_open(&export.out, args->out)) {
        status = tool_fail(EXIT_FAILED, "%s", export.out.why);
        outfile_abort(&export.out);
    } else if (export_all(&export, reader, message, sizeof(message)) != MF_OK) {
        status = tool_fail(EXIT_FAILED, "%s", message);
        outfile_abort(&export.out);
    } else if (!outfile_commit(&export.out)) {
        status = tool_fail(EXIT_FAILED, "%s", export.out.why);
    } else {
        tool_warn_of_missing_shards(args, reader);
        if (args->out != NULL && strcmp(args->out, "-") != 0)
            printf("%s: %" PRIu64 " keys, %" PRIu64 " dead ones left out\n", args->out, export.keys,
                   export.dead);
    }
    mf_buf_free(&export.lines);
    mf_snapshot_close(reader);
    return status;
}
