// Acceptances that wait for the disk; see persists.h.
#include "server/persists.h"

#include <stdlib.h>

#include "base/bytes.h"

static struct mf_persist *at(const struct mf_persists *persists, size_t i)
{
    return &persists->ring[(persists->first + i) % persists->cap];
}

static void grow(struct mf_persists *persists)
{
    size_t cap = persists->cap == 0 ? 64 : persists->cap * 2;
    struct mf_persist *ring = mf_calloc(cap, sizeof(*ring));
    for (size_t i = 0; i < persists->count; i++)
        ring[i] = *at(persists, i);
    free(persists->ring);
    persists->ring = ring;
    persists->first = 0;
    persists->cap = cap;
}

void mf_persists_add(struct mf_persists *persists, struct mf_owned_shard *shard, uint64_t seq)
{
    if (persists->count == persists->cap)
        grow(persists);
    persists->count++;
    persists->fresh++;
    *at(persists, persists->count - 1) = (struct mf_persist){.seq = seq, .shard = shard};
}

void mf_persists_hand_over(struct mf_persists *persists, uint64_t wal_seq)
{
    for (; persists->fresh > 0; persists->fresh--)
        at(persists, persists->count - persists->fresh)->wal_seq = wal_seq;
}

bool mf_persists_take(struct mf_persists *persists, uint64_t wal_seq, struct mf_persist *out)
{
    while (persists->count > persists->fresh && at(persists, 0)->wal_seq <= wal_seq) {
        *out = *at(persists, 0);
        persists->first = (persists->first + 1) % persists->cap;
        persists->count--;
        if (out->shard != NULL)
            return true;
    }
    return false;
}

void mf_persists_forget(struct mf_persists *persists, const struct mf_owned_shard *shard)
{
    for (size_t i = 0; i < persists->count; i++) {
        if (at(persists, i)->shard == shard)
            at(persists, i)->shard = NULL;
    }
}

void mf_persists_free(struct mf_persists *persists)
{
    free(persists->ring);
    *persists = (struct mf_persists){0};
}
