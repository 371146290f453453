// Reads a snapshot file with several threads, a block at a time each.
//
// Blocks are handed out in their order: section by section, as they lie in the file. What a thread
// makes of a block it may give out when its turn comes, in the same order, whichever thread was
// faster; so the result does not depend on their number. Memory: a block for each thread, and what
// the caller makes of one.
#ifndef MF_SNAPSHOT_TOOL_CREW_H
#define MF_SNAPSHOT_TOOL_CREW_H

#include "snapshot/reader.h"
#include "snapshot/tool/progress.h"

#define CREW_THREADS_MAX 64u

// What a thread is at.
struct crew_place {
    void *state; // of this thread alone
    uint32_t section_number;
    const struct mf_snapshot_shard *section;
};

struct crew_job {
    struct mf_snapshot_reader *reader;
    unsigned threads; // 1 to CREW_THREADS_MAX
    void **states;    // one for each thread
    // On any thread, for each record. NULL: the block is only checked. An error ends it all.
    enum mf_err (*record)(struct crew_place *place, const struct mf_record *record);
    // After the records of a block, one call at a time, in the order of blocks; or NULL.
    enum mf_err (*give_out)(struct crew_place *place);
    struct progress *progress; // counts the file's blocks by bytes; or NULL
};

// Returns when all threads have ended; the caller's is one of them. Of several errors that of the
// first block counts; message is that of mf_snapshot_read_block, or of what could not be started.
MF_MUST_USE enum mf_err crew_run(const struct crew_job *job, char *message, size_t message_size);

// --threads as it was given, or as many as there are CPUs, 8 at most.
unsigned crew_threads(unsigned given);

#endif
