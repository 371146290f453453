// The text of node.meta: whose the data folder is, and which acceptor's memory it holds.
//
//   mayfly-node 2                what must not change: these lines are compared as they are
//   node.id = 1
//   ...
//   memory = 0000000000000001    the acceptor's incarnation, 16 hexadecimal digits, never 0
//   state = formed               or ready: consensus/formation.h
//   boot = 3f1c...               the kernel's boot id in the last run
//   sync = fsync                 durability.mode in the last run: fsync, os or none
//   stop = clean                 how it ended; running: it has not, or not in order
//   lease_ms = 500               the longest lease that it, or a run before it, may have granted
//   and
//                                that may last still; not there in what older versions wrote
#ifndef MF_SERVER_NODE_META_H
#define MF_SERVER_NODE_META_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "consensus/formation.h"
#include "server/config.h"

#define MF_BOOT_BYTES 40 // with the final zero

struct mf_node_meta {
    uint64_t memory;
    enum mf_formation_state state; // READY or FORMED
    char boot[MF_BOOT_BYTES];      // letters, digits and '-'; may be empty
    enum mf_durability sync;
    bool clean;
    uint32_t lease_ms; // 0: it is not said
};

// Appends the lines from "memory" on to `text`, which holds those before it. False: no room.
bool mf_node_meta_append(const struct mf_node_meta *meta, char *text, size_t size);
// Reads those lines and cuts them off `text`. MF_CORRUPT for anything that append does not write.
MF_MUST_USE enum mf_err mf_node_meta_split(char *text, struct mf_node_meta *meta);

#endif
