// Keys to slots to shards to replicas: pure arithmetic that every node computes alike.
//
// Slots are Redis Cluster's: CRC16 of the key, or of the part between the first '{' and the next
// '}' when that is not empty, modulo 16384. Shard i of n owns the contiguous slots
// [i * 16384 / n, (i + 1) * 16384 / n).
#ifndef MF_BASE_SLOTS_H
#define MF_BASE_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

#define MF_SLOT_COUNT 16384u

uint16_t mf_slot_of(struct mf_bytes key);
// True when a part in braces decides: then all keys that begin with this one have the same slot.
bool mf_slot_by_tag(struct mf_bytes key);
// shard_count: 1..16384.
uint32_t mf_shard_of_slot(uint16_t slot, uint32_t shard_count);
uint32_t mf_shard_of_key(struct mf_bytes key, uint32_t shard_count);
// The first and last slot of a shard.
void mf_shard_slots(uint32_t shard, uint32_t shard_count, uint16_t *first, uint16_t *last);

#endif
