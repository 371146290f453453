// Finds the end of one MessagePack object in bytes that arrive piecemeal, before anything decodes
// them: total size, nesting depth and every claimed length are checked here, in constant memory and
// without looking at a byte twice. A claim of 2^32 elements costs nothing until its bytes come.
#ifndef MF_RPC_MSGPACK_SCAN_H
#define MF_RPC_MSGPACK_SCAN_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

#define MF_SCAN_DEPTH_MAX 16

// All zero is the start of an object.
struct mf_msgpack_scan {
    size_t offset; // bytes of the object already scanned; may point past the bytes seen so far
    uint32_t depth;
    uint64_t left[MF_SCAN_DEPTH_MAX]; // elements still to come at each level
};

// `input` begins at the object's first byte and holds everything received so far. MF_OK: the object
// is whole and *size is its length, and the scan is back at its start. MF_AGAIN: more bytes are
// needed. MF_TOO_LARGE: it is or must become larger than size_max. MF_CORRUPT: not MessagePack (the
// byte 0xc1), or nested deeper than MF_SCAN_DEPTH_MAX.
MF_MUST_USE enum mf_err mf_msgpack_scan(struct mf_msgpack_scan *scan, struct mf_bytes input,
                                        size_t size_max, size_t *size);

// A cursor over one whole scanned object, for parsers: bounded, no allocation, no copy.
struct mf_msgpack_in {
    struct mf_reader reader;
};
enum mf_msgpack_type {
    MF_MP_NIL,
    MF_MP_BOOL,
    MF_MP_INT,
    MF_MP_UINT,
    MF_MP_FLOAT,
    MF_MP_STR,
    MF_MP_BIN,
    MF_MP_ARRAY,
    MF_MP_MAP,
    MF_MP_EXT
};
struct mf_msgpack_token {
    enum mf_msgpack_type type;
    int64_t integer;       // BOOL, INT (negative)
    uint64_t uinteger;     // UINT
    uint32_t count;        // ARRAY elements, MAP pairs
    struct mf_bytes bytes; // STR, BIN, EXT (its type byte first)
};
// MF_OK or MF_CORRUPT at the end of input. Array and map contents follow as further tokens.
MF_MUST_USE enum mf_err mf_msgpack_next(struct mf_msgpack_in *in, struct mf_msgpack_token *token);
// Passes over one whole object, whatever is inside.
MF_MUST_USE enum mf_err mf_msgpack_pass(struct mf_msgpack_in *in);

#endif
