// Log lines to stderr that never block the caller.
//
// mf_log formats into a bounded queue; a thread of its own writes. When the queue is full the line
// is dropped and the number of lost lines is logged as soon as there is room. Any thread may log.
// Before mf_log_start and after mf_log_stop lines are written directly.
#ifndef MF_BASE_LOG_H
#define MF_BASE_LOG_H

#include <stdbool.h>

#include "base/err.h"

enum mf_log_level { MF_TRACE, MF_DEBUG, MF_INFO, MF_WARN, MF_ERROR };
enum mf_log_format { MF_LOG_TEXT, MF_LOG_JSON };

// The longest line; a longer one is cut and ends in "...".
#define MF_LOG_LINE_MAX 1024

// Starts the writer thread. `node` is put on every line when it is not 0.
void mf_log_start(enum mf_log_level level, enum mf_log_format format, unsigned node);

// Writes what is queued and ends the thread.
void mf_log_stop(void);

// May be called at any time from any thread (SIGHUP).
void mf_log_set_level(enum mf_log_level level);

// True when a line of this level would be written.
bool mf_log_on(enum mf_log_level level);

// "trace", "debug", "info", "warn", "error".
MF_MUST_USE enum mf_err mf_log_level_parse(const char *name, enum mf_log_level *out);

// Text: `2026-01-02T03:04:05.678Z INFO node=1 message`. JSON: {"time", "level", "node", "message"}.
// The message says what happened to what, in one line; control bytes are escaped.
void mf_log(enum mf_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
