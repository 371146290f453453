// Patterns as Redis's KEYS and SCAN have them.
//
//     *        any bytes, or none
//     ?        any one byte
//     [abc]    one of these; [a-z] a range, either way round; [^...] any but these
//     \x       x itself, also inside brackets
//
// An end inside brackets closes them; a backslash at the end stands for itself. A match takes time
// in proportion to text times pattern and no more, whatever either is made of.
#ifndef MF_BASE_GLOB_H
#define MF_BASE_GLOB_H

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"

// Longer patterns are for the caller to refuse.
#define MF_GLOB_BYTES_MAX 1024u

struct mf_glob;

// pattern: at most MF_GLOB_BYTES_MAX; copied.
struct mf_glob *mf_glob_new(struct mf_bytes pattern);
void mf_glob_free(struct mf_glob *glob);
bool mf_glob_matches(const struct mf_glob *glob, struct mf_bytes text);

#endif
