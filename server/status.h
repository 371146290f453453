// What other threads may know of a shard: its reactor writes the figures into the node's table
// (struct mf_shard_status) at the end of each turn in which something happened to the shard.
#ifndef MF_SERVER_STATUS_H
#define MF_SERVER_STATUS_H

#include "server/reactor.h"

// The shard's reactor; the shard has a replica.
void mf_status_publish(struct mf_owned_shard *shard, const struct mf_replica_env *env);

#endif
