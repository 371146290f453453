// The verb verify: checks every byte of a file.
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "snapshot/tool/inspect.h"
#include "snapshot/tool/tool.h"

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static void print_json(json_t *json)
{
    json_dumpf(json, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(json);
}

static void tell_damage(const struct tool_args *args, const struct tool_damage *damage)
{
    json_t *json = json_object();
    json_object_set_new(json, "file", inspect_json_text(args->file));
    json_object_set_new(json, "sound", json_false());
    json_object_set_new(json, "damage", inspect_json_text(damage->message));
    bool some = damage->salvageable;
    json_object_set_new(json, "blocks_whole",
                        some ? number(damage->whole.blocks_whole) : json_null());
    json_object_set_new(json, "records_whole", some ? number(damage->whole.records) : json_null());
    print_json(json);
}

static void tell_json(const struct tool_args *args, const struct mf_snapshot_summary *summary)
{
    char identity[17];
    snprintf(identity, sizeof(identity), "%016" PRIx64, summary->identity);
    json_t *json = json_object();
    json_object_set_new(json, "file", inspect_json_text(args->file));
    json_object_set_new(json, "sound", json_true());
    json_object_set_new(json, "shards", number(summary->shards));
    json_object_set_new(json, "shard_count", number(summary->shard_count));
    json_object_set_new(json, "keys", number(summary->keys));
    json_object_set_new(json, "ids", number(summary->ids));
    json_object_set_new(json, "bytes", number(summary->file_bytes));
    json_object_set_new(json, "identity", json_string(identity));
    print_json(json);
}

static void tell_plain(const struct tool_args *args, const struct mf_snapshot_summary *summary)
{
    char file[4 * 4096 + 1];
    printf("file\t%s\nsound\ttrue\nshards\t%" PRIu32 "\nshard_count\t%" PRIu32 "\nkeys\t%" PRIu64
           "\nids\t%" PRIu64 "\nbytes\t%" PRIu64 "\nidentity\t%016" PRIx64 "\n",
           inspect_escape(args->file, file, sizeof(file)), summary->shards, summary->shard_count,
           summary->keys, summary->ids, summary->file_bytes, summary->identity);
}

int tool_verify(const struct tool_args *args)
{
    struct tool_damage damage;
    struct mf_snapshot_reader *reader = tool_open_verified(args, &damage);
    if (reader == NULL) {
        if (args->output == OUTPUT_JSON)
            tell_damage(args, &damage);
        return EXIT_FAILED;
    }
    struct mf_snapshot_summary summary;
    mf_snapshot_summary(reader, &summary);
    if (args->output == OUTPUT_JSON)
        tell_json(args, &summary);
    else if (args->output == OUTPUT_PLAIN)
        tell_plain(args, &summary);
    else
        printf("%s: sound: %" PRIu32 " of %" PRIu32 " shards, %" PRIu64 " keys, %" PRIu64
               " ids, %" PRIu64 " bytes, identity %016" PRIx64 "\n",
               args->file, summary.shards, summary.shard_count, summary.keys, summary.ids,
               summary.file_bytes, summary.identity);
    mf_snapshot_close(reader);
    return EXIT_FINE;
}
