// mayfly-snapshot: what its verbs are given, and how they end.
#ifndef MF_SNAPSHOT_TOOL_H
#define MF_SNAPSHOT_TOOL_H

#include <stdbool.h>

#include "snapshot/reader.h"
#include "snapshot/reshard.h"

enum { EXIT_FINE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

enum tool_output { OUTPUT_UNSAID, OUTPUT_TABLE, OUTPUT_JSON, OUTPUT_PLAIN, OUTPUT_CSV };

// What the command line said; NULL where it said nothing.
struct tool_args {
    const char *file;
    const char *out; // the second path
    enum tool_output output;
    const char *format;
    const char *threads_word;
    unsigned threads; // 0: not said
    const char *data_dir;
    const char *config;
    bool force_new_cluster;
    const char *ttl_word;
    enum mf_snapshot_ttl ttl; // by default absolute
    const char *endpoints;
    const char *user;
    const char *password;
};

// The verbs. Each prints its result, or one line on stderr, and returns the exit status.
int tool_verify(const struct tool_args *args);
int tool_inspect(const struct tool_args *args);
int tool_restore(const struct tool_args *args);
int tool_export(const struct tool_args *args);
int tool_import(const struct tool_args *args);
int tool_dump(const struct tool_args *args);
int tool_dump_offline(const struct tool_args *args); // with --data-dir

// Prints `mayfly-snapshot: ...` on stderr and returns `status`.
int tool_fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

// False with a message when something is at the path that is no regular file: replacing a device is
// never what was meant.
bool tool_may_replace(const char *path, char *message, size_t message_size);

// Opens args->file; NULL after printing why not, for EXIT_FAILED.
struct mf_snapshot_reader *tool_open(const struct tool_args *args);
// What was told when a file was not sound.
struct tool_damage {
    char message[1024];
    bool salvageable; // some of it is a snapshot's:
    struct mf_snapshot_salvage whole;
};
// The same, with every block checked. damage may be NULL.
struct mf_snapshot_reader *tool_open_verified(const struct tool_args *args,
                                              struct tool_damage *damage);
// Says on stderr when the file does not hold all shards of its cluster.
void tool_warn_of_missing_shards(const struct tool_args *args,
                                 const struct mf_snapshot_reader *reader);

#endif
