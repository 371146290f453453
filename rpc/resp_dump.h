// DUMP and RESTORE: a value in the form that Redis gives it to be carried elsewhere. It is one
// value of Redis's files: u8 type (0: a string), the string, u16 version of those files, and the
// CRC-64 of all before it. A short string that is a 32-bit integer is written as one, a long one
// may be packed (LZF): this writer never packs, the reader takes both. Pure.
#ifndef MF_RPC_RESP_DUMP_H
#define MF_RPC_RESP_DUMP_H

#include <stddef.h>

#include "base/bytes.h"
#include "base/err.h"

// Appends the reply: a bulk string.
void mf_resp_dump(struct mf_buf *out, struct mf_bytes value);

// Finds the value in a payload; *value is a view into the payload or into *made, which is written
// over. MF_CORRUPT: the version or the checksum is wrong, or it is cut off; MF_BAD_REQUEST: it is
// no string, or none that is whole; MF_TOO_LARGE: the value is over value_bytes_max.
MF_MUST_USE enum mf_err mf_resp_undump(struct mf_bytes payload, size_t value_bytes_max,
                                       struct mf_buf *made, struct mf_bytes *value);

#endif
