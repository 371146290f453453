// The verb restore: the content of a file into the data folder of a node that has not started yet,
// or into a running cluster (push.c). Either way the whole file is proven sound first.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/config.h"
#include "snapshot/genesis.h"
#include "snapshot/tool/interrupt.h"
#include "snapshot/tool/progress.h"
#include "snapshot/tool/push.h"
#include "snapshot/tool/tool.h"

static void guard(const char *data_dir)
{
    static const char *const names[] = {MF_GENESIS_FILE, MF_GENESIS_NEW};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t size = strlen(data_dir) + strlen(names[i]) + 2;
        char *path = mf_alloc(size);
        snprintf(path, size, "%s/%s", data_dir, names[i]);
        interrupt_guard_snapshot(path);
        free(path);
    }
}

// The file is read twice: to prove it sound, and to write what is made of it.
static enum mf_err write_genesis(const struct tool_args *args, struct mf_snapshot_reader *reader,
                                 const struct mf_config *config, struct mf_snapshot_totals *totals,
                                 uint64_t *ids_left_out, char *message, size_t message_size)
{
    struct mf_snapshot_summary summary;
    struct progress progress;
    mf_snapshot_summary(reader, &summary);
    struct mf_snapshot_genesis genesis = {.data_dir = args->data_dir,
                                          .cluster = config->name,
                                          .shard_count = config->shards,
                                          .ttl = args->ttl,
                                          .force = args->force_new_cluster,
                                          .reading = {.threads = mf_crew_threads(args->threads),
                                                      .progress = progress_count,
                                                      .arg = &progress}};
    guard(args->data_dir);
    progress_start(&progress, "restoring", 2 * summary.file_bytes, false);
    enum mf_err err =
        mf_snapshot_write_genesis(reader, &genesis, totals, ids_left_out, message, message_size);
    progress_end(&progress);
    interrupt_release();
    return err;
}

static int restore_folder(const struct tool_args *args)
{
    char message[1024];
    struct mf_config *config = mf_calloc(1, sizeof(*config));
    int status = EXIT_FAILED;
    struct mf_snapshot_reader *reader = NULL;
    if (mf_config_read_file(args->config, config, message, sizeof(message)) != MF_OK) {
        status = tool_fail(EXIT_USAGE, "%s", message);
        goto out;
    }
    reader = tool_open(args);
    if (reader == NULL)
        goto out;
    struct mf_snapshot_totals totals;
    uint64_t ids_left_out;
    if (write_genesis(args, reader, config, &totals, &ids_left_out, message, sizeof(message)) !=
        MF_OK) {
        tool_fail(EXIT_FAILED, "%s", message);
        goto out;
    }
    tool_warn_of_missing_shards(args, reader);
    printf("%s/%s: %" PRIu64 " shards, %" PRIu64 " keys, %" PRIu64
           " ids left out, identity %016" PRIx64 "\n",
           args->data_dir, MF_GENESIS_FILE, totals.shards, totals.keys, ids_left_out,
           totals.identity);
    status = EXIT_FINE;
out:
    mf_snapshot_close(reader);
    free(config);
    return status;
}

static int restore_cluster(const struct tool_args *args)
{
    struct mf_snapshot_reader *reader = tool_open_verified(args, NULL);
    if (reader == NULL)
        return EXIT_FAILED;
    struct push_totals totals;
    char message[1024];
    int status = push_all(reader, args, &totals, message, sizeof(message));
    if (status == EXIT_FINE) {
        tool_warn_of_missing_shards(args, reader);
        printf("%s: %" PRIu64 " keys set, %" PRIu64 " ids left out\n", args->endpoints, totals.keys,
               totals.ids_left_out);
    } else if (status == EXIT_USAGE) {
        tool_fail(status, "-s %s: %s", args->endpoints, message);
    } else {
        tool_fail(status, "restoring into %s: %s (%" PRIu64 " keys are set)", args->endpoints,
                  message, totals.keys);
    }
    mf_snapshot_close(reader);
    return status;
}

int tool_restore(const struct tool_args *args)
{
    return args->data_dir != NULL ? restore_folder(args) : restore_cluster(args);
}
