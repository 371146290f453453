// How far a watch is in each shard: what has been told, and from where to go on.
//
// Of a shard it is known up to which version everything has been told, or that the last thing told
// was a change at some version. A flush gives one version to many changes, so in the second case
// the keys told at that version are remembered, as marks of 128 bits: who comes back asks for that
// version once more and passes over those.
#ifndef MF_RPC_CLIENT_POSITIONS_H
#define MF_RPC_CLIENT_POSITIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

// Marks that one watch may hold, 16 MiB of them.
#define MF_MARKS_MAX ((size_t)1 << 20)

struct mf_mark {
    uint64_t words[2]; // both 0: none
};

enum mf_position_state {
    MF_POSITION_UNKNOWN, // begins with now
    MF_POSITION_WHOLE,   // everything up to the version has been told
    MF_POSITION_PARTLY,  // all below the version, and at it the keys in the marks
    MF_POSITION_BLIND,   // the same, but the keys are too many to be remembered
};

struct mf_position {
    enum mf_position_state state;
    uint32_t mark_count;
    uint32_t mark_cap; // a power of 2, or 0
    bool reached;      // some progress has been heard
    struct mf_mark *marks;
    uint64_t version;
};

struct mf_positions {
    uint32_t first; // shard of the first
    uint32_t count;
    uint32_t known;   // of them, not UNKNOWN
    uint32_t reached; // of them
    size_t mark_cap_all;
    uint64_t seed[2];
    struct mf_position *all;
};

enum mf_position_verdict {
    MF_POSITION_NEW,
    MF_POSITION_TOLD,  // a repetition
    MF_POSITION_FAULT, // no node that keeps its promises says this
};

// Positions of the shards from `first` on, all unknown. False without memory.
bool mf_positions_init(struct mf_positions *positions, uint32_t first, uint32_t count);
void mf_positions_free(struct mf_positions *positions);
static inline bool mf_positions_cover(const struct mf_positions *positions, uint32_t shard)
{
    return shard >= positions->first && shard - positions->first < positions->count;
}

// The caller wants the changes of this version and later. The shard must be covered.
void mf_positions_begin(struct mf_positions *positions, uint32_t shard, uint64_t from_version);
// A change has come. The shard must be covered.
enum mf_position_verdict mf_positions_event(struct mf_positions *positions, uint32_t shard,
                                            uint64_t version, struct mf_bytes key);
// All up to this version has come. The shard must be covered.
enum mf_position_verdict mf_positions_progress(struct mf_positions *positions, uint32_t shard,
                                               uint64_t version);
// Whether it can be gone on from here without a gap or a repetition.
bool mf_positions_resumable(const struct mf_positions *positions);
// From which version to go on in a known position.
uint64_t mf_position_from(const struct mf_position *position);

#endif
