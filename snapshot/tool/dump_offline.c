// dump --data-dir: what a node that is stopped, or gone, has left in its data folder.
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "server/offline.h"
#include "snapshot/crew.h"
#include "snapshot/tool/interrupt.h"
#include "snapshot/tool/progress.h"
#include "snapshot/tool/tool.h"

struct showing {
    struct progress progress;
    enum mf_offline_phase phase;
};

static void show(void *arg, enum mf_offline_phase phase, uint64_t done, uint64_t all)
{
    static const char *const doing[] = {[MF_OFFLINE_CHECKPOINTS] = "reading checkpoints",
                                        [MF_OFFLINE_LOG] = "reading the log",
                                        [MF_OFFLINE_WRITING] = "writing"};
    struct showing *showing = arg;
    if (showing->phase != phase || showing->progress.doing == NULL) {
        progress_end(&showing->progress);
        progress_start(&showing->progress, doing[phase], all, false);
        showing->progress.unit = phase == MF_OFFLINE_LOG ? NULL : "shards";
        showing->phase = phase;
    }
    progress_add(&showing->progress, done - showing->progress.bytes);
}

// What the folder holds is not touched: a file may go beside the other snapshots in it, or
// elsewhere.
static bool outside(const struct tool_args *args, char *message, size_t message_size)
{
    char dir[PATH_MAX];
    char folder[PATH_MAX];
    char *parent = mf_strdup(args->file);
    char *slash = strrchr(parent, '/');
    if (slash != NULL)
        slash[slash == parent] = '\0';
    // What cannot be resolved cannot be opened either, and that is told there.
    bool known = realpath(args->data_dir, dir) != NULL &&
                 realpath(slash != NULL ? parent : ".", folder) != NULL;
    free(parent);
    size_t len = known ? strlen(dir) : 0;
    if (!known || strncmp(folder, dir, len) != 0 || (folder[len] != '\0' && folder[len] != '/') ||
        strcmp(folder + len, "/snapshots") == 0)
        return true;
    snprintf(message, message_size, "%s is in the data folder %s: expected a path outside of it",
             args->file, args->data_dir);
    return false;
}

static void tell(const struct tool_args *args, const struct mf_offline_result *result)
{
    printf("%s: %" PRIu64 " shards, %" PRIu64 " keys, %" PRIu64 " ids, %" PRIu64
           " bytes, from node %" PRIu32 ", identity %016" PRIx64 "\n",
           args->file, result->totals.shards, result->totals.keys, result->totals.ids,
           result->totals.bytes, result->node, result->totals.identity);
    if (result->left_out > 0)
        fprintf(stderr,
                "mayfly-snapshot: %" PRIu64 " log entries are left out: this node alone cannot "
                "tell whether they were chosen\n",
                result->left_out);
    if (result->totals.shards < result->shard_count)
        fprintf(stderr,
                "mayfly-snapshot: node %" PRIu32 " holds %" PRIu64 " of the cluster's %" PRIu32
                " shards: the keys of the others are missing\n",
                result->node, result->totals.shards, result->shard_count);
}

int tool_dump_offline(const struct tool_args *args)
{
    char message[1024];
    struct showing showing = {.phase = MF_OFFLINE_CHECKPOINTS};
    struct mf_offline offline = {.data_dir = args->data_dir,
                                 .threads = mf_crew_threads(args->threads),
                                 .progress = show,
                                 .arg = &showing};
    struct mf_offline_result result;
    mf_log_set_level(MF_ERROR); // what a node would log is none of this program's lines
    if (!tool_may_replace(args->file, message, sizeof(message)) ||
        !outside(args, message, sizeof(message)))
        return tool_fail(EXIT_FAILED, "%s", message);
    interrupt_guard_snapshot(args->file);
    enum mf_err err = mf_offline_dump(&offline, args->file, &result, message, sizeof(message));
    interrupt_release();
    progress_end(&showing.progress);
    if (err != MF_OK)
        return tool_fail(EXIT_FAILED, "%s", message);
    tell(args, &result);
    return EXIT_FINE;
}
