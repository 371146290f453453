// A bar on stderr, for who sits before a terminal; elsewhere nothing.
#ifndef MF_SNAPSHOT_TOOL_PROGRESS_H
#define MF_SNAPSHOT_TOOL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool on;
    bool shown;        // a bar stands on the line
    const char *doing; // "verifying"
    uint64_t bytes;
    uint64_t bytes_total; // 0: not known
    const char *unit;     // what is counted instead of bytes, "shards"; or NULL
    uint64_t start_us;
    uint64_t shown_us;
};

// to_stdout: the result goes there, and would be mixed up with a bar on the same terminal.
void progress_start(struct progress *progress, const char *doing, uint64_t bytes_total,
                    bool to_stdout);
// NULL is fine. One thread at a time.
void progress_add(struct progress *progress, uint64_t bytes);
// The same for who counts through a callback: arg is a struct progress.
void progress_count(void *arg, uint64_t bytes);
// Clears the line, so that another can be written.
void progress_end(struct progress *progress);

#endif
