// Turns a snapshot into the first state of a new cluster with any number of shards.
//
// Keys go to the shard that owns them there. Deadlines become absolute: the new cluster's log time
// begins as the Unix time of the newest cut in the source, and every deadline is moved by the
// difference between the wall clock and its own shard's log time at that shard's cut. A key whose
// time has come by then is kept, and is dropped by the new cluster's log as any other. Remembered
// ids are left out: they do not tell which shard they would belong to, and they protect only
// retries sent to the old cluster in its last 10 minutes.
//
// What is written depends on the source file, the cluster's name and the number of shards alone:
// every node of the new cluster makes its own copy, and all copies are equal.
#ifndef MF_SNAPSHOT_RESHARD_H
#define MF_SNAPSHOT_RESHARD_H

#include <stdint.h>

#include "base/err.h"
#include "snapshot/reader.h"
#include "snapshot/writer.h"

// What a sound source will become.
struct mf_snapshot_plan {
    uint32_t shard_count;
    uint64_t *keys; // of each new shard
    uint64_t base_us;
    uint64_t version; // the counter that every new shard starts from
    uint64_t seed;    // what the new shards' hash seeds are made of; 0 = none
    uint64_t keys_total;
    uint64_t ids_left_out;
};

// Reads the whole source, which finds all damage that mf_snapshot_verify finds, and counts.
// shard_count: 1..16384. MF_CORRUPT, MF_IO, MF_OUT_OF_MEMORY with a message; else the caller frees
// the plan.
MF_MUST_USE enum mf_err mf_snapshot_make_plan(struct mf_snapshot_reader *source,
                                              uint32_t shard_count, struct mf_snapshot_plan *plan,
                                              char *message, size_t message_size);
void mf_snapshot_free_plan(struct mf_snapshot_plan *plan);

// Writes `path`, with a section for every new shard, in a second reading of the source. cluster:
// the new one's name, at most 255 bytes.
MF_MUST_USE enum mf_err mf_snapshot_reshard(struct mf_snapshot_reader *source,
                                            const struct mf_snapshot_plan *plan, const char *path,
                                            const char *cluster, struct mf_snapshot_totals *totals,
                                            char *message, size_t message_size);

// A deadline of the source in the new cluster's log time: at least 1, MF_NO_DEADLINE as it was.
uint64_t mf_snapshot_absolute_deadline(uint64_t deadline_us, uint64_t log_time_us,
                                       uint64_t wall_us);

#endif
