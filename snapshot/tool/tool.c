// What the verbs of mayfly-snapshot share; see tool.h.
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/text.h"
#include "snapshot/crew.h"
#include "snapshot/tool/progress.h"
#include "snapshot/tool/tool.h"

int tool_fail(int status, const char *format, ...)
{
    char line[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    // One line of text, whatever names and values are in it.
    bool text = mf_utf8_valid(mf_bytes_str(line));
    for (char *at = line; *at != '\0'; at++) {
        unsigned char c = (unsigned char)*at;
        if (c < ' ' || c == 0x7f || (c > 0x7f && !text))
            *at = '?';
    }
    fprintf(stderr, "mayfly-snapshot: %s\n", line);
    return status;
}

bool tool_may_replace(const char *path, char *message, size_t message_size)
{
    struct stat about;
    if (stat(path, &about) != 0 || S_ISREG(about.st_mode))
        return true;
    snprintf(message, message_size, "%s is no regular file", path);
    return false;
}

struct mf_snapshot_reader *tool_open(const struct tool_args *args)
{
    struct mf_snapshot_reader *reader = NULL;
    char message[1024];
    if (mf_snapshot_open(args->file, &reader, message, sizeof(message)) == MF_OK)
        return reader;
    tool_fail(EXIT_FAILED, "%s", message);
    return NULL;
}

static enum mf_err check_blocks(struct mf_snapshot_reader *reader, const struct tool_args *args,
                                char *message, size_t message_size)
{
    struct mf_snapshot_summary summary;
    struct progress progress;
    mf_snapshot_summary(reader, &summary);
    progress_start(&progress, "checking", summary.file_bytes, false);
    struct mf_crew_job job = {.reader = reader,
                              .threads = mf_crew_threads(args->threads),
                              .progress = progress_count,
                              .progress_arg = &progress};
    enum mf_err err = mf_crew_run(&job, message, message_size);
    progress_end(&progress);
    return err;
}

struct mf_snapshot_reader *tool_open_verified(const struct tool_args *args,
                                              struct tool_damage *damage)
{
    struct mf_snapshot_reader *reader = NULL;
    struct tool_damage unasked;
    if (damage == NULL)
        damage = &unasked;
    *damage = (struct tool_damage){.salvageable = false};
    char *message = damage->message;
    size_t size = sizeof(damage->message);
    enum mf_err err = mf_snapshot_open(args->file, &reader, message, size);
    if (err == MF_OK)
        err = check_blocks(reader, args, message, size);
    if (err == MF_OK)
        return reader;
    mf_snapshot_close(reader);
    char ignored[1024];
    damage->salvageable =
        err == MF_CORRUPT && mf_snapshot_salvage(args->file, &damage->whole, NULL, NULL, ignored,
                                                 sizeof(ignored)) == MF_OK;
    if (damage->salvageable)
        tool_fail(EXIT_FAILED, "%s (still whole: %llu blocks with %llu records)", message,
                  (unsigned long long)damage->whole.blocks_whole,
                  (unsigned long long)damage->whole.records);
    else
        tool_fail(EXIT_FAILED, "%s", message);
    return NULL;
}

void tool_warn_of_missing_shards(const struct tool_args *args,
                                 const struct mf_snapshot_reader *reader)
{
    struct mf_snapshot_summary summary;
    mf_snapshot_summary(reader, &summary);
    if (summary.shards < summary.shard_count)
        fprintf(stderr,
                "mayfly-snapshot: %s: holds %" PRIu32 " of the cluster's %" PRIu32
                " shards: the keys of the others are missing\n",
                args->file, summary.shards, summary.shard_count);
}
