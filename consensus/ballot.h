// Ballots: (round, node id) in 64 bits, compared as one number. 0 is lower than any real ballot.
#ifndef MF_CONSENSUS_BALLOT_H
#define MF_CONSENSUS_BALLOT_H

#include <stdint.h>

typedef uint64_t mf_ballot_t;

static inline mf_ballot_t mf_ballot_make(uint64_t round, uint16_t node)
{
    return (round << 16) | node;
}

static inline uint64_t mf_ballot_round(mf_ballot_t ballot)
{
    return ballot >> 16;
}

static inline uint16_t mf_ballot_node(mf_ballot_t ballot)
{
    return (uint16_t)(ballot & 0xffff);
}

#endif
