// The verb export: the keys of a file as lines of text.
//
// A thread makes the lines of one block and writes them when those of all blocks before it are
// written. Memory is a block of the file and its text for each thread. A block's checksum is seen
// before its first record is printed.
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "snapshot/crew.h"
#include "snapshot/tool/lines.h"
#include "snapshot/tool/outfile.h"
#include "snapshot/tool/progress.h"
#include "snapshot/tool/tool.h"

#define KEPT_BYTES (4u * 1024u * 1024u)

struct exporting {
    bool csv;
    uint64_t now_us;
    struct outfile out;
};

// A thread's part.
struct exporter {
    struct exporting *all;
    uint64_t keys;
    uint64_t dead;
    struct mf_buf lines;
};

static enum mf_err write_lines(struct mf_crew_place *place)
{
    struct exporter *exporter = place->state;
    bool written = outfile_write(&exporter->all->out, mf_buf_view(&exporter->lines));
    mf_buf_clear(&exporter->lines, KEPT_BYTES);
    return written ? MF_OK : MF_IO;
}

static enum mf_err export_record(struct mf_crew_place *place, const struct mf_record *record)
{
    struct exporter *exporter = place->state;
    if (record->is_id)
        return MF_OK;
    struct entry entry = entry_of(place->section, record, exporter->all->now_us);
    if (entry.expires && entry.expire_at_ms <= exporter->all->now_us / 1000) {
        exporter->dead += 1;
        return MF_OK;
    }
    exporter->keys += 1;
    if (exporter->all->csv)
        lines_put_csv(&exporter->lines, &entry);
    else
        lines_put_json(&exporter->lines, &entry);
    return MF_OK;
}

// What a cluster that began with this file now would go by.
static uint64_t restored_now_us(struct mf_snapshot_reader *reader)
{
    struct mf_snapshot_summary summary;
    mf_snapshot_summary(reader, &summary);
    uint64_t now_us = mf_wall_us();
    for (uint32_t i = 0; i < summary.shards; i++) {
        uint64_t wall_us = mf_snapshot_section(reader, i)->wall_us;
        now_us = now_us > wall_us ? now_us : wall_us;
    }
    return now_us;
}

static bool has_no_wall_time(struct mf_snapshot_reader *reader)
{
    struct mf_snapshot_summary summary;
    mf_snapshot_summary(reader, &summary);
    for (uint32_t i = 0; i < summary.shards; i++) {
        if (mf_snapshot_section(reader, i)->wall_us == 0)
            return true;
    }
    return false;
}

static bool to_stdout(const struct tool_args *args)
{
    return args->out == NULL || strcmp(args->out, "-") == 0;
}

static enum mf_err write_names(struct exporting *export)
{
    struct mf_buf names = {0};
    lines_put_csv_names(&names);
    bool written = outfile_write(&export->out, mf_buf_view(&names));
    mf_buf_free(&names);
    return written ? MF_OK : MF_IO;
}

static enum mf_err export_all(struct exporting *export, struct mf_snapshot_reader *reader,
                              const struct tool_args *args, struct exporter *totals, char *message,
                              size_t message_size)
{
    struct mf_snapshot_summary summary;
    mf_snapshot_summary(reader, &summary);
    struct exporter exporters[MF_CREW_THREADS_MAX] = {{.all = NULL}};
    void *states[MF_CREW_THREADS_MAX];
    struct progress progress;
    struct mf_crew_job job = {.reader = reader,
                              .threads = mf_crew_threads(args->threads),
                              .states = states,
                              .record = export_record,
                              .give_out = write_lines,
                              .progress = progress_count,
                              .progress_arg = &progress};
    for (unsigned i = 0; i < job.threads; i++) {
        exporters[i].all = export;
        states[i] = &exporters[i];
    }
    progress_start(&progress, "exporting", summary.file_bytes, to_stdout(args));
    enum mf_err err = export->csv ? write_names(export) : MF_OK;
    if (err == MF_OK)
        err = mf_crew_run(&job, message, message_size);
    progress_end(&progress);
    for (unsigned i = 0; i < job.threads; i++) {
        totals->keys += exporters[i].keys;
        totals->dead += exporters[i].dead;
        mf_buf_free(&exporters[i].lines);
    }
    if (export->out.failed)
        snprintf(message, message_size, "%s", export->out.why);
    return err;
}

int tool_export(const struct tool_args *args)
{
    struct mf_snapshot_reader *reader = tool_open(args);
    if (reader == NULL)
        return EXIT_FAILED;
    struct exporting export = {.csv = args->output == OUTPUT_CSV,
                               .now_us = restored_now_us(reader)};
    struct exporter totals = {.all = &export};
    char message[1024];
    int status = EXIT_FINE;
    if (!outfile_open(&export.out, args->out)) {
        status = tool_fail(EXIT_FAILED, "%s", export.out.why);
        outfile_abort(&export.out);
    } else if (export_all(&export, reader, args, &totals, message, sizeof(message)) != MF_OK) {
        status = tool_fail(EXIT_FAILED, "%s", message);
        outfile_abort(&export.out);
    } else if (!outfile_commit(&export.out)) {
        status = tool_fail(EXIT_FAILED, "%s", export.out.why);
    } else {
        tool_warn_of_missing_shards(args, reader);
        if (has_no_wall_time(reader))
            fprintf(stderr,
                    "mayfly-snapshot: %s: its deadlines were to count from the first start of a "
                    "cluster: here they count from now\n",
                    args->file);
        if (!to_stdout(args))
            printf("%s: %" PRIu64 " keys, %" PRIu64 " dead ones left out\n", args->out, totals.keys,
                   totals.dead);
    }
    mf_snapshot_close(reader);
    return status;
}
