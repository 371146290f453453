// Several snapshot files of one cluster become one, with each shard once.
#ifndef MF_SNAPSHOT_TOOL_MERGE_H
#define MF_SNAPSHOT_TOOL_MERGE_H

#include "snapshot/reader.h"
#include "snapshot/writer.h"

// Of a shard that several have, the section of the highest log index is taken, at the same index
// the first. Sections are as they were, but for the members of their groups, which only a node's
// own checkpoints carry. Every block that is taken is checked. MF_CORRUPT when the files are not of
// one cluster; when this fails, `path` is as it was.
MF_MUST_USE enum mf_err merge_files(struct mf_snapshot_reader *const *readers, uint32_t count,
                                    const char *path, struct mf_snapshot_totals *totals,
                                    char *message, size_t message_size);

#endif
