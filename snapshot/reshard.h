// Turns a snapshot into the first state of a new cluster with any number of shards.
//
// Keys go to the shard that owns them there. Deadlines become absolute: the new cluster's log time
// begins as the Unix time of the newest cut in the source, and every deadline is moved by the
// difference between the wall clock and its own shard's log time at that shard's cut. A key whose
// time has come by then is kept, and is dropped by the new cluster's log as any other. Remembered
// ids are left out: they do not tell which shard they would belong to, and they protect only
// retries sent to the old cluster in its last 10 minutes.
//
// That is for absolute deadlines. With remaining ones the new cluster's log time begins at 1, with
// its first start and by no wall clock, and each key has left what it had at its cut. Or no key has
// a deadline. A key that was dead at its cut stays dead in any case.
//
// A section whose cut has no wall time (it is of a cluster that was to begin with remaining
// deadlines, and has not yet) has nothing but what is left. It counts from the beginning of the new
// cluster's log time; where no section has a wall time, absolute deadlines are as remaining ones.
//
// What is written depends on the source file, the cluster's name, the number of shards and the
// choice of deadlines alone: every node of the new cluster makes its own copy, and all copies are
// equal.
#ifndef MF_SNAPSHOT_RESHARD_H
#define MF_SNAPSHOT_RESHARD_H

#include <stdint.h>

#include "base/err.h"
#include "snapshot/crew.h"
#include "snapshot/reader.h"
#include "snapshot/writer.h"

enum mf_snapshot_ttl { MF_SNAPSHOT_ABSOLUTE, MF_SNAPSHOT_REMAINING, MF_SNAPSHOT_NO_TTL };

// What a sound source will become.
struct mf_snapshot_plan {
    enum mf_snapshot_ttl ttl;
    uint32_t shard_count;
    uint64_t *keys;   // of each new shard
    uint64_t base_us; // log time
    uint64_t wall_us; // the wall clock then; 0: whatever it is
    uint64_t version; // the counter that every new shard starts from
    uint64_t seed;    // what the new shards' hash seeds are made of; 0 = none
    uint64_t keys_total;
    uint64_t ids_left_out;
};

// How the source is read; all zero: on the caller's thread, silently.
struct mf_snapshot_reading {
    unsigned threads; // 0 and 1 are the same
    // As struct mf_crew_job has it: each of the two readings comes to the file's blocks.
    void (*progress)(void *arg, uint64_t bytes);
    void *arg;
};

// Reads the whole source, which finds all damage that mf_snapshot_verify finds, and counts.
// shard_count: 1..16384. MF_CORRUPT, MF_IO, MF_OUT_OF_MEMORY with a message; else the caller frees
// the plan. `reading` may be NULL, here and below.
MF_MUST_USE enum mf_err mf_snapshot_make_plan(struct mf_snapshot_reader *source,
                                              const struct mf_snapshot_reading *reading,
                                              uint32_t shard_count, enum mf_snapshot_ttl ttl,
                                              struct mf_snapshot_plan *plan, char *message,
                                              size_t message_size);
void mf_snapshot_free_plan(struct mf_snapshot_plan *plan);

// Writes `path`, with a section for every new shard, in a second reading of the source. cluster:
// the new one's name, at most 255 bytes.
MF_MUST_USE enum mf_err mf_snapshot_reshard(struct mf_snapshot_reader *source,
                                            const struct mf_snapshot_reading *reading,
                                            const struct mf_snapshot_plan *plan, const char *path,
                                            const char *cluster, struct mf_snapshot_totals *totals,
                                            char *message, size_t message_size);

// The wall time of a section's cut; now_us for one that has none.
static inline uint64_t mf_snapshot_wall_us(const struct mf_snapshot_shard *section, uint64_t now_us)
{
    return section->wall_us != 0 ? section->wall_us : now_us;
}
// A deadline of the source in the new cluster's log time: at least 1, MF_NO_DEADLINE as it was.
uint64_t mf_snapshot_absolute_deadline(uint64_t deadline_us, uint64_t log_time_us,
                                       uint64_t wall_us);
// What is left of it at its cut, 0 when its time had come. Not of MF_NO_DEADLINE.
static inline uint64_t mf_snapshot_left_us(uint64_t deadline_us, uint64_t log_time_us)
{
    return deadline_us > log_time_us ? deadline_us - log_time_us : 0;
}

#endif
