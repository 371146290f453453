// A scan over all shards, one call at a time.
//
// A cursor is the shard's number above MF_MAP_SCAN_BITS bits of where to go on in that shard, so it
// is below 2^53, and 0 is the beginning of the first shard and the end of all. It stands for a
// place in an order that all replicas of a shard share (shards/map.h) and for nothing that a node
// keeps: any node goes on with any cursor, at any time, whoever leads by then.
#ifndef MF_SERVER_SCAN_H
#define MF_SERVER_SCAN_H

#include "server/request.h"

// Starts a SCAN whose number is such a cursor; see mf_request_start. Goes on into the next shards,
// a few at most, while fewer keys than asked for have been found. here: only those shards are
// looked into that this node leads when their turn comes; the others are left out.
void mf_scan_start(struct mf_reactor *reactor, bool here, const struct mf_command *command,
                   mf_request_done *done, void *arg);

#endif
