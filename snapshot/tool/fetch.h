// A node's shards, as a file of this machine.
#ifndef MF_SNAPSHOT_TOOL_FETCH_H
#define MF_SNAPSHOT_TOOL_FETCH_H

#include "snapshot/tool/layout.h"

// Has the node write a snapshot, copies it into a file in the folder of `beside`, and has it
// removed there. The file has no name: it is gone when it is closed. NULL with a message.
struct mf_snapshot_reader *fetch_shards(const struct tool_args *args, const char *address,
                                        const char *beside, char *message, size_t message_size);

#endif
