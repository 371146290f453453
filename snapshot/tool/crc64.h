// The checksum at the end of Redis's files: CRC-64 with the Jones polynomial, reflected, from 0.
#ifndef MF_SNAPSHOT_TOOL_CRC64_H
#define MF_SNAPSHOT_TOOL_CRC64_H

#include "base/bytes.h"

// Goes on from `crc`. Of "123456789", from 0: 0xe9c6d914c4b8d9ca. Main thread: the tables are made
// at the first call.
uint64_t crc64(uint64_t crc, struct mf_bytes bytes);

#endif
