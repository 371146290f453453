// How far a load has come, on stderr: a bar on a terminal, a line every few seconds elsewhere.
#ifndef MF_CLI_LOAD_PROGRESS_H
#define MF_CLI_LOAD_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct load_progress {
    FILE *out; // NULL: quiet
    bool bar;
    bool shown;           // a bar stands on the current line
    uint64_t bytes_total; // 0: not known
    uint64_t start_us;
    uint64_t last_us; // when it was shown last
    uint64_t last_records;
};

// `bar`: out is a terminal.
struct load_progress load_progress_start(FILE *out, bool bar, uint64_t bytes_total,
                                         uint64_t now_us);
// Shows it when it is time again.
void load_progress_tick(struct load_progress *progress, uint64_t bytes, uint64_t records,
                        uint64_t now_us);
// Clears the bar, so that another line can be written.
void load_progress_clear(struct load_progress *progress);

#endif
