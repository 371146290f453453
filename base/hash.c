// CRC16 and XXH3; see hash.h.
#include "base/hash.h"

#include <xxhash.h>

uint16_t mf_crc16(struct mf_bytes bytes)
{
    uint16_t crc = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        crc = (uint16_t)(crc ^ (bytes.data[i] << 8));
        for (int bit = 0; bit < 8; bit++)
            crc = (uint16_t)((crc & 0x8000) != 0 ? (crc << 1) ^ 0x1021 : crc << 1);
    }
    return crc;
}

uint64_t mf_hash64(struct mf_bytes bytes, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes.data, bytes.len, seed);
}

// The finaliser of SplitMix64 (Steele, Lea, Flood 2014) over state and value.
uint64_t mf_hash_mix(uint64_t state, uint64_t value)
{
    uint64_t z = state * 0x9e3779b97f4a7c15u + value + 0x632be59bd9b4e019u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
