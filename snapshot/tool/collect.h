// Makes a snapshot file of entries that come one by one, in any order and any number: no list of
// them is kept. Of a key that comes again the last entry counts.
//
// The first writing puts every entry into the section of its shard, at once. What repeats is found
// afterwards, section by section; only when there is something is the file written once more,
// without it. Memory: what the writer gathers, then 24 bytes for each key of the largest section.
#ifndef MF_SNAPSHOT_TOOL_COLLECT_H
#define MF_SNAPSHOT_TOOL_COLLECT_H

#include "snapshot/tool/entry.h"
#include "snapshot/writer.h"

// A restore makes as many shards of it as its cluster has; this keeps sections small.
#define COLLECT_SHARDS 64u

struct collect {
    const char *path;
    char *part; // the first writing
    bool part_exists;
    struct mf_snapshot_writer *writer;
    uint64_t cut_us;
    uint64_t versions[COLLECT_SHARDS];
    uint64_t repeated; // entries that a later one of their key replaced
    char why[1024];
};

// cut_us: the Unix time as of which the entries are; the sections' log time is the same.
MF_MUST_USE enum mf_err collect_start(struct collect *collect, const char *path, uint64_t cut_us);
// The key is not empty.
MF_MUST_USE enum mf_err collect_put(struct collect *collect, const struct entry *entry);
// Makes `path`. Ends the collection, as collect_abort does; when it fails, `path` is as it was.
MF_MUST_USE enum mf_err collect_commit(struct collect *collect, struct mf_snapshot_totals *totals);
void collect_abort(struct collect *collect);

#endif
