// What a command answers, in a form that travels between threads and nodes and into the table of
// remembered ids; each protocol turns it into its own reply.
#ifndef MF_BASE_RESULT_H
#define MF_BASE_RESULT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

enum mf_result_kind {
    MF_RESULT_NIL = 0,
    MF_RESULT_BOOL = 1,    // integer: 0 or 1
    MF_RESULT_INT = 2,     // integer
    MF_RESULT_BYTES = 3,   // value
    MF_RESULT_WRITTEN = 4, // set: version (0: a condition did not hold); has_old/value with `get`
    MF_RESULT_META = 5,    // get with meta: value, version, ttl_ms
    MF_RESULT_LIST = 6,    // `count` encoded results, one after the other, in value
    MF_RESULT_ERROR = 7,   // err, and a message for the user in value
    MF_RESULT_TXN = 8,     // integer: whether all conditions held; the branch's results as in LIST
};

struct mf_result {
    enum mf_result_kind kind;
    uint32_t count; // LIST, TXN
    int64_t integer;
    uint64_t version;
    int64_t ttl_ms;  // -1: no TTL
    bool with_old;   // WRITTEN: the command asked for the old value
    bool has_old;    // WRITTEN: there was one, in value
    enum mf_err err; // not beside kind: read as one word, they would wait for both to be in memory
    struct mf_bytes value;
};

void mf_result_encode(const struct mf_result *result, struct mf_buf *out);

// Views point into the reader's input. MF_CORRUPT for anything encode would not have written
// (elements of a LIST are checked when they are read).
MF_MUST_USE enum mf_err mf_result_decode(struct mf_reader *r, struct mf_result *result);

// Shorthands that append to out.
void mf_result_nil(struct mf_buf *out);
void mf_result_bool(struct mf_buf *out, bool value);
void mf_result_int(struct mf_buf *out, int64_t value);
void mf_result_bytes(struct mf_buf *out, struct mf_bytes value);
// message NULL: the code's own text.
void mf_result_error(struct mf_buf *out, enum mf_err err, const char *message);

// A LIST written in place: begin, append `count` encoded results, end with what begin returned.
MF_MUST_USE size_t mf_result_list_begin(struct mf_buf *out, uint32_t count);
void mf_result_list_end(struct mf_buf *out, size_t list);
// The same for a TXN, whose number of results is known at its end.
MF_MUST_USE size_t mf_result_txn_begin(struct mf_buf *out, bool ok);
void mf_result_txn_end(struct mf_buf *out, size_t list, uint32_t count);

#endif
