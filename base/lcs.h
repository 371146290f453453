// The longest common subsequence of two texts, by the classic table (Wagner and Fischer, 1974) and,
// where there are several, the one that Redis finds. Pure; any thread.
#ifndef MF_BASE_LCS_H
#define MF_BASE_LCS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

// The product of both lengths may be so much: the table takes an eighth of it in bytes.
#define MF_LCS_CELLS_MAX (UINT64_C(1) << 22)

// A run that both have, by the places of its first and its last byte.
struct mf_lcs_match {
    uint32_t a_first;
    uint32_t a_last;
    uint32_t b_first;
    uint32_t b_last;
};

struct mf_lcs {
    uint32_t len;
    uint8_t *text;                // len bytes; NULL where only the length is wanted
    struct mf_lcs_match *matches; // of which it is made, from the last to the first
    uint32_t match_count;
};

// The texts are within MF_LCS_CELLS_MAX. mf_lcs_free gives back what is in it.
void mf_lcs_find(struct mf_bytes a, struct mf_bytes b, bool length_only, struct mf_lcs *lcs);
void mf_lcs_free(struct mf_lcs *lcs);

#endif
