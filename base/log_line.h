// One log line as text or JSON, from its parts. Pure: log.c decides when and where it is written.
#ifndef MF_BASE_LOG_LINE_H
#define MF_BASE_LOG_LINE_H

#include <stddef.h>
#include <stdint.h>

#include "base/log.h"

struct mf_log_line {
    size_t len;                     // with the newline
    char text[MF_LOG_LINE_MAX + 1]; // at most MF_LOG_LINE_MAX bytes, then the newline; no NUL
};

// Fills `line`. wall_us: Unix time. node 0 is left out. The message may hold any bytes: control
// characters and what is no UTF-8 come out as escapes, and one that is too long is cut after a
// whole character and ends in "..."; JSON stays valid all the same.
void mf_log_line_render(struct mf_log_line *line, enum mf_log_format format, unsigned node,
                        enum mf_log_level level, uint64_t wall_us, const char *message,
                        size_t message_len);

// "trace", "debug", ...
const char *mf_log_level_name(enum mf_log_level level);

#endif
