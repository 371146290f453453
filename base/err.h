// Error codes: one enum for the whole project, one table with their names and texts.
//
// The first group is what clients see on the wire (docs/protocol.md); the second never leaves
// the process. 0 is success. Functions that can fail return enum mf_err and are MF_MUST_USE.
#ifndef MF_BASE_ERR_H
#define MF_BASE_ERR_H

#define MF_MUST_USE __attribute__((warn_unused_result))

enum mf_err {
    MF_OK = 0,
    // Seen by clients.
    MF_BAD_REQUEST,
    MF_UNKNOWN_METHOD,
    MF_NOT_INTEGER,
    MF_OVERFLOW,
    MF_TOO_LARGE,
    MF_CROSS_SHARD,
    MF_UNAUTHORIZED,
    MF_NO_QUORUM, // nothing happened
    MF_TIMEOUT,   // the outcome is unknown
    MF_BUSY,      // shed before any effect
    MF_OUT_OF_MEMORY,
    MF_SHUTTING_DOWN,
    MF_COMPACTED,
    MF_INTERNAL,
    // Internal.
    MF_NOT_LEADER, // ask another node
    MF_AGAIN,      // more input is needed, or a bounded queue is full
    MF_CORRUPT,    // a checksum, length or field does not hold
    MF_IO,         // a system call failed; errno tells
    MF_NOT_FOUND,
    MF_OTHER_VERSION, // whole, and written by a program whose format we do not know
    // Seen by clients of the Redis protocol. At the end: logs and snapshots hold codes as numbers.
    MF_NOT_FLOAT,
    MF_ERR_COUNT
};

// The name as clients see it ("BAD_REQUEST"); never NULL.
const char *mf_err_name(enum mf_err err);

// One English sentence without a full stop; never NULL.
const char *mf_err_text(enum mf_err err);

// The code of a name, or MF_INTERNAL for a name that is unknown (a newer server).
enum mf_err mf_err_from_name(const char *name);

#endif
