// The verb inspect: what a file holds, from its header and index, and from its records how long
// their keys have to live. JSON is printed here, text in inspect_text.c.
#include "snapshot/tool/inspect.h"
#include "snapshot/tool/progress.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "snapshot/crew.h"
#include "snapshot/tool/tool.h"

double inspect_ratio(uint64_t raw_bytes, uint64_t stored_bytes)
{
    return stored_bytes > 0 ? (double)raw_bytes / (double)stored_bytes : 0;
}

// Exact wherever JSON's integers reach, which is everywhere in a file that Mayfly wrote.
static json_t *number(uint64_t value)
{
    return value <= INT64_MAX ? json_integer((json_int_t)value) : json_real((double)value);
}

static json_t *hex(uint64_t value)
{
    char text[17];
    snprintf(text, sizeof(text), "%016" PRIx64, value);
    return json_string(text);
}

json_t *inspect_json_text(const char *bytes)
{
    json_t *string = json_string(bytes);
    if (string != NULL)
        return string;
    // Not UTF-8.
    char escaped[4 * 4096 + 1];
    return json_string(inspect_escape(bytes, escaped, sizeof(escaped)));
}

static json_t *ttl_json(const struct ttl_counts *counts)
{
    json_t *json = json_object();
    json_object_set_new(json, "none", number(counts->none));
    json_object_set_new(json, "dead", number(counts->dead));
    json_object_set_new(json, "counted", number(ttl_counted(counts)));
    bool any = counts->least_us > 0;
    json_object_set_new(json, "least_us", any ? number(counts->least_us) : json_null());
    json_object_set_new(json, "most_us", any ? number(counts->most_us) : json_null());
    json_t *ranges = json_array();
    for (int i = 0; i < TTL_RANGES; i++) {
        json_t *range = json_object();
        uint64_t end_ms = ttl_range_end_ms(i);
        json_object_set_new(range, "below_ms", end_ms < UINT64_MAX ? number(end_ms) : json_null());
        json_object_set_new(range, "keys", number(counts->range[i]));
        json_array_append_new(ranges, range);
    }
    json_object_set_new(json, "histogram", ranges);
    return json;
}

static json_t *section_json(const struct mf_snapshot_shard *section,
                            const struct ttl_counts *counts)
{
    json_t *json = json_object();
    json_object_set_new(json, "shard", number(section->shard));
    json_object_set_new(json, "keys", number(section->meta.keys));
    json_object_set_new(json, "ids", number(section->meta.ids));
    json_object_set_new(json, "keys_with_ttl", number(section->meta.keys - counts->none));
    json_object_set_new(json, "applied", number(section->meta.applied));
    json_object_set_new(json, "log_time_us", number(section->meta.log_time_us));
    json_object_set_new(json, "wall_us",
                        section->wall_us != 0 ? number(section->wall_us) : json_null());
    json_object_set_new(json, "version", number(section->meta.version));
    json_object_set_new(json, "rolling_hash", hex(section->meta.rolling_hash));
    json_object_set_new(json, "members_bytes", number(section->members.len));
    json_object_set_new(json, "blocks", number(section->blocks));
    json_object_set_new(json, "raw_bytes", number(section->raw_bytes));
    json_object_set_new(json, "stored_bytes", number(section->stored_bytes));
    double ratio = inspect_ratio(section->raw_bytes, section->stored_bytes);
    json_object_set_new(json, "ratio", json_real(ratio));
    return json;
}

static void inspect_json(const struct inspected *inspected)
{
    const struct mf_snapshot_summary *summary = &inspected->summary;
    json_t *json = json_object();
    json_object_set_new(json, "file", inspect_json_text(inspected->file));
    json_object_set_new(json, "format", number(summary->version));
    json_object_set_new(json, "cluster", inspect_json_text(summary->cluster));
    json_object_set_new(json, "shard_count", number(summary->shard_count));
    json_object_set_new(json, "created_us", number(summary->created_us));
    json_object_set_new(json, "bytes", number(summary->file_bytes));
    json_object_set_new(json, "identity", hex(summary->identity));
    json_object_set_new(json, "shards", number(summary->shards));
    json_object_set_new(json, "keys", number(summary->keys));
    json_object_set_new(json, "ids", number(summary->ids));
    json_object_set_new(json, "ttl", ttl_json(&inspected->ttl));
    json_t *sections = json_array();
    for (uint32_t i = 0; i < summary->shards; i++)
        json_array_append_new(sections, section_json(mf_snapshot_section(inspected->reader, i),
                                                     &inspected->section_ttls[i]));
    json_object_set_new(json, "sections", sections);
    json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(json);
}

static enum mf_err count_record(struct mf_crew_place *place, const struct mf_record *record)
{
    struct ttl_counts *counts = place->state;
    if (!record->is_id)
        ttl_count(&counts[place->section_number], place->section, record);
    return MF_OK;
}

// Each thread counts by itself.
static enum mf_err count_ttls(struct mf_snapshot_reader *reader, const struct tool_args *args,
                              struct inspected *inspected, char *message, size_t message_size)
{
    uint32_t sections = inspected->summary.shards;
    struct progress progress;
    void *states[MF_CREW_THREADS_MAX];
    struct mf_crew_job job = {.reader = reader,
                              .threads = mf_crew_threads(args->threads),
                              .states = states,
                              .record = count_record,
                              .progress = progress_count,
                              .progress_arg = &progress};
    for (unsigned i = 0; i < job.threads; i++)
        states[i] = mf_calloc(sections, sizeof(struct ttl_counts));
    progress_start(&progress, "reading", inspected->summary.file_bytes, false);
    enum mf_err err = mf_crew_run(&job, message, message_size);
    progress_end(&progress);
    for (unsigned i = 0; i < job.threads; i++) {
        const struct ttl_counts *counts = states[i];
        for (uint32_t n = 0; n < sections; n++) {
            ttl_add(&inspected->section_ttls[n], &counts[n]);
            ttl_add(&inspected->ttl, &counts[n]);
        }
        free(states[i]);
    }
    return err;
}

static void print(const struct inspected *inspected, enum tool_output output)
{
    switch (output) {
    case OUTPUT_JSON:
        inspect_json(inspected);
        break;
    case OUTPUT_PLAIN:
        inspect_plain(inspected);
        break;
    default:
        inspect_table(inspected);
        break;
    }
}

int tool_inspect(const struct tool_args *args)
{
    struct mf_snapshot_reader *reader = tool_open(args);
    if (reader == NULL)
        return EXIT_FAILED;
    struct inspected inspected = {.file = args->file, .reader = reader};
    mf_snapshot_summary(reader, &inspected.summary);
    inspected.section_ttls = mf_calloc(inspected.summary.shards, sizeof(struct ttl_counts));
    char message[1024];
    int status = EXIT_FINE;
    if (count_ttls(reader, args, &inspected, message, sizeof(message)) == MF_OK)
        print(&inspected, args->output);
    else
        status = tool_fail(EXIT_FAILED, "%s", message);
    free(inspected.section_ttls);
    mf_snapshot_close(reader);
    return status;
}
