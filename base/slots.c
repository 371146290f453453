// Keys to slots to shards; see slots.h.
#include "base/slots.h"

#include <assert.h>
#include <string.h>

#include "base/hash.h"

// The part of the key that is hashed: what stands between the first '{' and the next '}' if there
// is anything, or all of it (Redis Cluster's hash tags).
static struct mf_bytes hashed_part(struct mf_bytes key)
{
    const uint8_t *open = key.len > 0 ? memchr(key.data, '{', key.len) : NULL;
    if (open == NULL)
        return key;
    const uint8_t *tag = open + 1;
    const uint8_t *close = memchr(tag, '}', (size_t)(key.data + key.len - tag));
    if (close == NULL || close == tag)
        return key;
    return mf_bytes_of(tag, (size_t)(close - tag));
}

uint16_t mf_slot_of(struct mf_bytes key)
{
    return mf_crc16(hashed_part(key)) % MF_SLOT_COUNT;
}

bool mf_slot_by_tag(struct mf_bytes key)
{
    return hashed_part(key).len < key.len;
}

// The largest i with floor(i * SLOTS / n) <= slot, which is i * SLOTS < (slot + 1) * n.
uint32_t mf_shard_of_slot(uint16_t slot, uint32_t shard_count)
{
    assert(slot < MF_SLOT_COUNT && shard_count >= 1 && shard_count <= MF_SLOT_COUNT);
    return ((slot + 1u) * shard_count - 1) / MF_SLOT_COUNT;
}

uint32_t mf_shard_of_key(struct mf_bytes key, uint32_t shard_count)
{
    return mf_shard_of_slot(mf_slot_of(key), shard_count);
}

void mf_shard_slots(uint32_t shard, uint32_t shard_count, uint16_t *first, uint16_t *last)
{
    assert(shard < shard_count && shard_count <= MF_SLOT_COUNT);
    *first = (uint16_t)(shard * MF_SLOT_COUNT / shard_count);
    *last = (uint16_t)((shard + 1) * MF_SLOT_COUNT / shard_count - 1);
}
