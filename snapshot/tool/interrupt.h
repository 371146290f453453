// Files that are being made go when the program is told to end.
//
// SIGINT, SIGTERM and SIGHUP remove what is guarded and then end the process as they always do.
#ifndef MF_SNAPSHOT_TOOL_INTERRUPT_H
#define MF_SNAPSHOT_TOOL_INTERRUPT_H

// Main thread. path is copied. At most INTERRUPT_PATHS_MAX at a time.
enum { INTERRUPT_PATHS_MAX = 4 };
void interrupt_guard(const char *path);
// The same for the file that the snapshot writer makes for `path`.
void interrupt_guard_snapshot(const char *path);
// Nothing is guarded any more.
void interrupt_release(void);

#endif
