// Reads a snapshot file with several threads, a block at a time each.
//
// Blocks are handed out in their order: section by section, as they lie in the file. What a thread
// makes of a block it may give out when its turn comes, in the same order, whichever thread was
// faster; so the result does not depend on their number. Memory: a block for each thread, and what
// the caller makes of one.
#ifndef MF_SNAPSHOT_CREW_H
#define MF_SNAPSHOT_CREW_H

#include "snapshot/reader.h"

#define MF_CREW_THREADS_MAX 64u

// What a thread is at.
struct mf_crew_place {
    void *state; // of this thread alone
    uint32_t section_number;
    const struct mf_snapshot_shard *section;
};

struct mf_crew_job {
    struct mf_snapshot_reader *reader;
    unsigned threads; // 1 to MF_CREW_THREADS_MAX
    void **states;    // one for each thread
    // On any thread, for each record. NULL: the block is only checked. An error ends it all. The
    // views live until this thread's give_out for the block has returned.
    enum mf_err (*record)(struct mf_crew_place *place, const struct mf_record *record);
    // After the records of a block, one call at a time, in the order of blocks; or NULL.
    enum mf_err (*give_out)(struct mf_crew_place *place);
    // Unless NULL: after each block, what it takes in the file; one call at a time.
    void (*progress)(void *arg, uint64_t bytes);
    void *progress_arg;
};

// Returns when all threads have ended; the caller's is one of them. Of several errors that of the
// first block counts; message is that of mf_snapshot_read_block, or of what could not be started.
MF_MUST_USE enum mf_err mf_crew_run(const struct mf_crew_job *job, char *message,
                                    size_t message_size);

// As many threads as were asked for; 0: as many as there are CPUs, 8 at most.
unsigned mf_crew_threads(unsigned given);

#endif
