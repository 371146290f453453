// Hashes: CRC16 for slots, XXH3 for tables and checksums.
#ifndef MF_BASE_HASH_H
#define MF_BASE_HASH_H

#include <stdint.h>

#include "base/bytes.h"

// CRC-16/XMODEM (polynomial 0x1021, start 0), the one Redis Cluster names its slots with.
uint16_t mf_crc16(struct mf_bytes bytes);

// XXH3, 64 bits, seeded. A secret seed keeps clients from choosing keys that collide.
uint64_t mf_hash64(struct mf_bytes bytes, uint64_t seed);

// One step of a rolling hash over numbers; order matters.
uint64_t mf_hash_mix(uint64_t state, uint64_t value);

#endif
