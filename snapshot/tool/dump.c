// The verb dump: all shards of a running cluster in one file, or those of a stopped node
// (dump_offline.c).
//
// As few nodes are asked as hold every shard between them, each once, for a snapshot of what it
// holds: a shard is cut at one log position, after all that was acknowledged when its node was
// asked. A node that fails is replaced by others that hold its shards.
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/tool/fetch.h"
#include "snapshot/tool/interrupt.h"
#include "snapshot/tool/layout.h"
#include "snapshot/tool/merge.h"
#include "snapshot/tool/tool.h"

struct dump {
    const struct tool_args *args;
    struct layout layout;
    bool *missing; // by shard
    struct mf_snapshot_reader **readers;
    uint32_t reader_count;
    char nodes[256]; // those that gave something, for people
    char message[1024];
};

static void note_sections(struct dump *dump, const struct mf_snapshot_reader *reader)
{
    struct mf_snapshot_summary summary;
    mf_snapshot_summary(reader, &summary);
    for (uint32_t i = 0; i < summary.shards; i++) {
        uint32_t shard = mf_snapshot_section(reader, i)->shard;
        if (shard < dump->layout.shard_count)
            dump->missing[shard] = false;
    }
}

static uint32_t count_missing(const struct dump *dump, uint32_t *first)
{
    uint32_t count = 0;
    for (uint32_t i = dump->layout.shard_count; i-- > 0;) {
        if (!dump->missing[i])
            continue;
        *first = i;
        count += 1;
    }
    return count;
}

// A node is asked once, whatever came of it.
static bool fetch_all(struct dump *dump)
{
    struct layout_node *node;
    while ((node = layout_next(&dump->layout, dump->missing)) != NULL) {
        node->failed = true;
        struct mf_snapshot_reader *reader = fetch_shards(
            dump->args, node->address, dump->args->file, dump->message, sizeof(dump->message));
        if (reader == NULL) {
            tool_fail(0, "node %" PRIu32 " at %s", node->id, dump->message);
            continue;
        }
        size_t len = strlen(dump->nodes);
        snprintf(dump->nodes + len, sizeof(dump->nodes) - len, "%s%" PRIu32, len > 0 ? ", " : "",
                 node->id);
        dump->readers[dump->reader_count++] = reader;
        note_sections(dump, reader);
    }
    uint32_t first = 0;
    uint32_t count = count_missing(dump, &first);
    if (count > 0)
        snprintf(dump->message, sizeof(dump->message),
                 "%" PRIu32 " of %" PRIu32 " shards, shard %" PRIu32
                 " first, are on no node that could be asked",
                 count, dump->layout.shard_count, first);
    return count == 0;
}

static bool run(struct dump *dump, struct mf_snapshot_totals *totals)
{
    if (!tool_may_replace(dump->args->file, dump->message, sizeof(dump->message)) ||
        !layout_ask(&dump->layout, dump->args, dump->message, sizeof(dump->message)))
        return false;
    dump->missing = mf_calloc(dump->layout.shard_count, sizeof(*dump->missing));
    for (uint32_t i = 0; i < dump->layout.shard_count; i++)
        dump->missing[i] = true;
    dump->readers = mf_calloc(dump->layout.node_count, sizeof(struct mf_snapshot_reader *));
    if (!fetch_all(dump))
        return false;
    interrupt_guard_snapshot(dump->args->file);
    bool merged = merge_files(dump->readers, dump->reader_count, dump->args->file, totals,
                              dump->message, sizeof(dump->message)) == MF_OK;
    interrupt_release();
    return merged;
}

static int dump_cluster(const struct tool_args *args)
{
    struct dump dump = {.args = args};
    struct mf_snapshot_totals totals;
    int status = EXIT_FINE;
    if (run(&dump, &totals))
        printf("%s: %" PRIu64 " shards, %" PRIu64 " keys, %" PRIu64 " ids, %" PRIu64
               " bytes, from node %s, identity %016" PRIx64 "\n",
               args->file, totals.shards, totals.keys, totals.ids, totals.bytes, dump.nodes,
               totals.identity);
    else
        status = tool_fail(EXIT_FAILED, "%s", dump.message);
    for (uint32_t i = 0; i < dump.reader_count; i++)
        mf_snapshot_close(dump.readers[i]);
    free(dump.readers);
    free(dump.missing);
    layout_free(&dump.layout);
    return status;
}

int tool_dump(const struct tool_args *args)
{
    return args->data_dir != NULL ? tool_dump_offline(args) : dump_cluster(args);
}
