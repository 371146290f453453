// Acceptances that wait for the disk: which replicas have to be told when the log has got how far.
//
// In the order in which they were handed to the log. One for each reactor, and its own.
#ifndef MF_SERVER_PERSISTS_H
#define MF_SERVER_PERSISTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mf_owned_shard;

struct mf_persist {
    uint64_t wal_seq; // of the hand-over that it went with
    uint64_t seq;     // the replica's
    struct mf_owned_shard *shard;
};

// All zero is empty.
struct mf_persists {
    struct mf_persist *ring;
    size_t first;
    size_t count;
    size_t cap;
    size_t fresh; // at the end, not yet handed over
};

void mf_persists_add(struct mf_persists *persists, struct mf_owned_shard *shard, uint64_t seq);
// What was added since the last call went with this hand-over.
void mf_persists_hand_over(struct mf_persists *persists, uint64_t wal_seq);
// Takes out the oldest of which the log is durable up to `wal_seq`; false when there is none.
bool mf_persists_take(struct mf_persists *persists, uint64_t wal_seq, struct mf_persist *out);
// The shard's replica is gone: there is nobody to be told.
void mf_persists_forget(struct mf_persists *persists, const struct mf_owned_shard *shard);
void mf_persists_free(struct mf_persists *persists);

#endif
