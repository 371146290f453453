// Sets the keys of a snapshot in a running cluster.
#ifndef MF_SNAPSHOT_TOOL_PUSH_H
#define MF_SNAPSHOT_TOOL_PUSH_H

#include "snapshot/tool/tool.h"

struct push_totals {
    uint64_t keys;         // that the cluster has acknowledged
    uint64_t ids_left_out; // remembered ids, which are not restored
};

// Many sets are in flight at once; each has an id of its own, so none has its effect twice. Stops
// at the first that fails and waits for those in flight. Returns the exit status, unless EXIT_FINE
// with a message.
int push_all(struct mf_snapshot_reader *reader, const struct tool_args *args,
             struct push_totals *totals, char *message, size_t message_size);

#endif
