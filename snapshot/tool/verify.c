// The verb verify: checks every byte of a file.
#include <inttypes.h>
#include <stdio.h>

#include "snapshot/tool/tool.h"

int tool_verify(const struct tool_args *args)
{
    struct mf_snapshot_reader *reader = tool_open_verified(args);
    if (reader == NULL)
        return EXIT_FAILED;
    struct mf_snapshot_summary summary;
    mf_snapshot_summary(reader, &summary);
    printf("%s: sound: %" PRIu32 " of %" PRIu32 " shards, %" PRIu64 " keys, %" PRIu64
           " ids, %" PRIu64 " bytes, identity %016" PRIx64 "\n",
           args->file, summary.shards, summary.shard_count, summary.keys, summary.ids,
           summary.file_bytes, summary.identity);
    mf_snapshot_close(reader);
    return EXIT_FINE;
}
