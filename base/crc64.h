// The checksum at the end of Redis's files and dumped values: CRC-64 with the Jones polynomial,
// reflected, from 0.
#ifndef MF_BASE_CRC64_H
#define MF_BASE_CRC64_H

#include "base/bytes.h"

// Goes on from `crc`. Of "123456789", from 0: 0xe9c6d914c4b8d9ca. Any thread.
uint64_t mf_crc64(uint64_t crc, struct mf_bytes bytes);

#endif
